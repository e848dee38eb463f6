//! Serves the control API on its sockets: few connections, none of which may keep a place without saying anything.

use crate::control::Control;
use crate::router::{self, Caller};
use crate::socket::Socket;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

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
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::debug!("a connection was closed: there are too many");
            continue;
        };
        let caller = if is_trusted(&stream, socket.uid) {
            caller
        } else {
            Caller::Stranger
        };
        let control = Arc::clone(&control);
        tokio::spawn(async move {
            converse(stream, control, caller).await;
            drop(place);
        });
    }
}

async fn converse(stream: UnixStream, control: Arc<Control>, caller: Caller) {
    let service = service_fn(move |request| {
        let control = Arc::clone(&control);
        async move { Ok::<_, Infallible>(router::answer(control, caller, request).await) }
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
