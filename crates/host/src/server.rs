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
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

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

/// Requests a second that are answered on one socket when more come without end. Ten looks a second with five calls each are a
/// quarter of it, and at some hundred microseconds a call it is a fiftieth of a core.
const PACE: u32 = 200;
/// The time of one turn at that pace.
const EACH: Duration = Duration::from_millis(1_000 / PACE as u64);
/// Requests that are answered as they come before that pace is held, as whoever tries out all calls makes.
const AT_ONCE: u32 = 400;

/// Accepts connections for as long as the host runs.
pub(crate) async fn serve(
    socket: Socket,
    control: Arc<Control>,
    caller: Caller,
    connections: usize,
) -> io::Result<Infallible> {
    let listener = UnixListener::from_std(socket.listener.try_clone()?)?;
    let places = Arc::new(Semaphore::new(connections));
    let pace = Arc::new(Pace::new());
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
        let (control, pace) = (Arc::clone(&control), Arc::clone(&pace));
        tokio::spawn(async move {
            converse(stream, (control, pace), Proof::Peer(caller)).await;
            drop(place);
        });
    }
}

/// The same over TCP, where each request says who calls.
pub(crate) async fn serve_tcp(door: Arc<TcpDoor>, control: Arc<Control>) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(door.listener.try_clone()?)?;
    let places = Arc::new(Semaphore::new(CONTROL_CONNECTIONS));
    let pace = Arc::new(Pace::new());
    loop {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        let Some((stream, place)) = seated(accepted, &places).await else {
            continue;
        };
        let (control, door) = (Arc::clone(&control), Arc::clone(&door));
        let pace = Arc::clone(&pace);
        tokio::spawn(async move {
            converse(stream, (control, pace), Proof::Token(door)).await;
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

/// Lets requests through one after another, and those of a caller without end at a pace: a sidecar that floods takes a known share
/// of the processor from the service and no more. Nobody is refused, and whoever waits is behind at most as many as there are places.
#[derive(Debug)]
struct Pace {
    /// When the next request's turn would come if each had been answered at the pace.
    next: Mutex<Instant>,
}

impl Pace {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            next: Mutex::new(now.checked_sub(EACH * AT_ONCE).unwrap_or(now)),
        }
    }

    /// Waits for its turn. Whoever goes away meanwhile takes no turn from the others.
    async fn turn(&self) {
        let mut next = self.next.lock().await;
        let now = Instant::now();
        let earliest = now.checked_sub(EACH * AT_ONCE).unwrap_or(now);
        let own = (*next).max(earliest);
        if own > now {
            tokio::time::sleep_until(own).await;
        }
        *next = own + EACH;
    }
}

async fn converse<T>(stream: T, (control, pace): (Arc<Control>, Arc<Pace>), proof: Proof)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (control, proof) = (Arc::clone(&control), proof.clone());
        let pace = Arc::clone(&pace);
        async move {
            pace.turn().await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asks_now_and_then_never_waits_and_who_floods_is_held_to_the_pace() {
        let pace = Pace::new();
        let began = Instant::now();
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            for _ in 0..20 {
                pace.turn().await;
            }
        }
        assert_eq!(began.elapsed(), Duration::from_secs(10), "200 a second");
        let began = Instant::now();
        for _ in 0..AT_ONCE + 10 * PACE {
            pace.turn().await;
        }
        let took = began.elapsed().as_millis();
        assert!((9_900..=10_200).contains(&took), "{took} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_goes_away_takes_no_turn() {
        let pace = Pace::new();
        for _ in 0..=AT_ONCE {
            pace.turn().await;
        }
        let began = Instant::now();
        for _ in 0..1_000 {
            let gone = tokio::time::timeout(Duration::ZERO, pace.turn());
            gone.await.expect_err("it was not its turn yet");
        }
        pace.turn().await;
        let took = began.elapsed().as_millis();
        assert!(took <= 20, "the thousand took nothing: {took} ms");
    }
}
