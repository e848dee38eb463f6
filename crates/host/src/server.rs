//! Serves the control API on its sockets: few connections, none of which may keep a place without saying anything.

use crate::control::Control;
use crate::router::{self, Caller};
use crate::socket::Socket;
use crate::tcp::TcpDoor;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at once on the control socket.
pub(crate) const CONTROL_CONNECTIONS: usize = 24;
/// Connections at once on the operator's socket; its own, so that nobody keeps an operator out.
pub(crate) const OPERATOR_CONNECTIONS: usize = 8;
/// How long a request's head may take; an idle connection is closed after it.
const HEADER_TIME: Duration = Duration::from_secs(15);
/// The longest head of a request.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// The pause after a connection could not be accepted, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections for as long as the host runs.
pub(crate) async fn serve(
    socket: Socket,
    control: Arc<Control>,
    caller: Caller,
    connections: usize,
) -> io::Result<Infallible> {
    let listener = UnixListener::from_std(socket.listener.try_clone()?)?;
    let places = Arc::new(Semaphore::new(connections));
    loop {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        let Some((stream, place)) = seated(accepted, &places).await else {
            continue;
        };
        let caller = if is_trusted(&stream, socket.uid) {
            caller
        } else {
            Caller::Stranger
        };
        let control = Arc::clone(&control);
        tokio::spawn(async move {
            converse(stream, control, Proof::Peer(caller)).await;
            drop(place);
        });
    }
}

/// The same over TCP, where each request says who calls.
pub(crate) async fn serve_tcp(door: Arc<TcpDoor>, control: Arc<Control>) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(door.listener.try_clone()?)?;
    let places = Arc::new(Semaphore::new(CONTROL_CONNECTIONS));
    loop {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        let Some((stream, place)) = seated(accepted, &places).await else {
            continue;
        };
        let (control, door) = (Arc::clone(&control), Arc::clone(&door));
        tokio::spawn(async move {
            converse(stream, control, Proof::Token(door)).await;
            drop(place);
        });
    }
}

/// A connection that was accepted, with a place for it; nothing where there is neither.
async fn seated<T>(
    accepted: io::Result<T>,
    places: &Arc<Semaphore>,
) -> Option<(T, OwnedSemaphorePermit)> {
    match accepted {
        Ok(stream) => {
            let place = Arc::clone(places).try_acquire_owned();
            if place.is_err() {
                tracing::debug!("a connection was closed: there are too many");
            }
            Some((stream, place.ok()?))
        }
        Err(error) => {
            tracing::debug!(%error, "a connection was not accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// How it is known who calls.
#[derive(Clone)]
enum Proof {
    /// By the kernel's word, once for the connection.
    Peer(Caller),
    /// By what each request shows.
    Token(Arc<TcpDoor>),
}

async fn converse<T>(stream: T, control: Arc<Control>, proof: Proof)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (control, proof) = (Arc::clone(&control), proof.clone());
        async move {
            let judged = match proof {
                Proof::Peer(caller) => Ok(caller),
                Proof::Token(door) => door
                    .judge(request.headers())
                    .await
                    .map(|()| Caller::Sidecar),
            };
            Ok::<_, Infallible>(match judged {
                Ok(caller) => router::answer(control, caller, request).await,
                Err(refusal) => router::refused(&refusal),
            })
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}

/// The host's own user and root are trusted; a peer whose credentials cannot be read is not.
fn is_trusted(stream: &UnixStream, own_uid: u32) -> bool {
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == own_uid || peer.uid() == 0)
}
