//! Serves the control API on its sockets: few connections, none of which may keep a place without saying anything, and none at all
//! before its caller is known.

mod doorstep;

use crate::control::Control;
use crate::governor::Refusal;
use crate::router::{self, Caller};
use crate::socket::Socket;
use crate::tcp::TcpDoor;
use doorstep::{Doorstep, Place};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
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

/// Connections at once on the control socket, and as many over TCP. Those whose caller is not known stand on a doorstep besides.
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
/// Requests that are answered as they come before that pace is held: a look and a change for each of a few dozen pools.
const AT_ONCE: u32 = 50;

/// Accepts connections for as long as the host runs.
pub(crate) async fn serve(
    socket: Socket,
    control: Arc<Control>,
    caller: Caller,
    connections: usize,
) -> io::Result<Infallible> {
    let listener = UnixListener::from_std(socket.listener.try_clone()?)?;
    let places = Arc::new(Semaphore::new(connections));
    let doorstep = Doorstep::new(0);
    let pace = Arc::new(Pace::new());
    loop {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        let Some(stream) = taken(accepted).await else {
            continue;
        };
        let host = (Arc::clone(&control), Arc::clone(&pace));
        if is_trusted(&stream, socket.uid) {
            let Some(place) = seated(&places) else {
                continue;
            };
            tokio::spawn(async move {
                converse(stream, host, Proof::Peer(caller)).await;
                drop(place);
            });
        } else {
            let place = Arc::new(doorstep.enter().await);
            tokio::spawn(visit(stream, host, (place, Proof::Peer(Caller::Stranger))));
            tokio::task::yield_now().await;
        }
    }
}

/// The same over TCP, where each request says who calls.
pub(crate) async fn serve_tcp(door: Arc<TcpDoor>, control: Arc<Control>) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(door.listener.try_clone()?)?;
    let doorstep = Doorstep::new(CONTROL_CONNECTIONS);
    let pace = Arc::new(Pace::new());
    loop {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        let Some(stream) = taken(accepted).await else {
            continue;
        };
        let host = (Arc::clone(&control), Arc::clone(&pace));
        let place = Arc::new(doorstep.enter().await);
        let proof = Proof::Token(Arc::clone(&door), Arc::clone(&place));
        tokio::spawn(visit(stream, host, (place, proof)));
        // It is heard before the next is let in: a crowd that comes all at once would push it from the doorstep unheard.
        tokio::task::yield_now().await;
    }
}

/// A connection that was accepted.
async fn taken<T>(accepted: io::Result<T>) -> Option<T> {
    match accepted {
        Ok(stream) => Some(stream),
        Err(error) => {
            tracing::debug!(%error, "a connection was not accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// A place for a caller who is known.
fn seated(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    let place = Arc::clone(places).try_acquire_owned();
    if place.is_err() {
        tracing::debug!("a connection was closed: there are too many");
    }
    place.ok()
}

/// A conversation that ends when its place on the doorstep does.
async fn visit<T>(stream: T, host: (Arc<Control>, Arc<Pace>), (place, proof): (Arc<Place>, Proof))
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::select! {
        () = converse(stream, host, proof) => {}
        () = place.over() => tracing::debug!("a connection was closed: nobody knows who calls"),
    }
}

/// How it is known who calls.
#[derive(Clone)]
enum Proof {
    /// By the kernel's word, once for the connection.
    Peer(Caller),
    /// By what each request shows; the first good one gives the connection a seat.
    Token(Arc<TcpDoor>, Arc<Place>),
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
            // Whoever is refused takes no turn from the others.
            let (mut answer, stays) = match judged(proof, &request).await {
                Ok((Caller::Stranger, _)) => (
                    router::answer(control, Caller::Stranger, request).await,
                    false,
                ),
                Ok((caller, stays)) => {
                    pace.turn().await;
                    (router::answer(control, caller, request).await, stays)
                }
                Err(refusal) => (router::refused(&refusal), false),
            };
            if !stays {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(answer)
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

/// Who calls, and whether the connection may stay after the answer.
async fn judged(proof: Proof, request: &Request<Incoming>) -> Result<(Caller, bool), Refusal> {
    match proof {
        Proof::Peer(caller) => Ok((caller, true)),
        Proof::Token(door, place) => {
            place.is_judged();
            match door.judge(request.headers()).await {
                Ok(()) => Ok((Caller::Sidecar, place.is_good())),
                Err(refusal) => {
                    place.is_refused();
                    Err(refusal)
                }
            }
        }
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
    use crate::control::{Identity, Setup};
    use crate::governor::Governor;
    use crate::registry::Registry;
    use doorstep::STANDING_TIME;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use trimtab_protocol::name::InstanceId;
    use trimtab_sys::clock::boot_ns;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    /// A host without parts behind a door of its own.
    struct Bench {
        control: Arc<Control>,
        pace: Arc<Pace>,
        door: Arc<TcpDoor>,
        doorstep: Arc<Doorstep>,
        _directory: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let file = directory.path().join("tokens");
            fs::write(&file, TOKEN).expect("writable");
            fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("ours");
            let door = TcpDoor::open(([127, 0, 0, 1], 0).into(), file).expect("it listens");
            let (registry, specs) = Registry::new(Vec::new()).expect("no two of a name");
            let instance = InstanceId::from("run1");
            let control = Control::new(Setup {
                identity: Identity {
                    app: "shop".to_owned(),
                    version: String::new(),
                    labels: Default::default(),
                    started_ns: boot_ns(),
                },
                registry,
                governor: Governor::new(instance, specs, 0, boot_ns()),
                state_dir: None,
                freeze_persistent: false,
                disabled_from_outside: false,
                runtimes: Vec::new(),
            });
            Self {
                control: Arc::new(control),
                pace: Arc::new(Pace::new()),
                door: Arc::new(door),
                doorstep: Doorstep::new(2),
                _directory: directory,
            }
        }

        /// A connection on which this is said; what is answered until the host closes it.
        async fn hears(&self, caller: Option<Caller>, said: &str) -> String {
            let (mut client, server) = tokio::io::duplex(64 * 1024);
            let place = Arc::new(self.doorstep.enter().await);
            let proof = match caller {
                Some(caller) => Proof::Peer(caller),
                None => Proof::Token(Arc::clone(&self.door), Arc::clone(&place)),
            };
            let host = (Arc::clone(&self.control), Arc::clone(&self.pace));
            let client = async {
                client.write_all(said.as_bytes()).await.expect("it is read");
                let mut answer = String::new();
                client.read_to_string(&mut answer).await.expect("text");
                answer
            };
            tokio::join!(client, visit(server, host, (place, proof))).0
        }
    }

    fn ask(shown: &str) -> String {
        format!("GET /trimtab/v1/state HTTP/1.1\r\nhost: localhost\r\n{shown}\r\n")
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_that_is_refused_takes_no_turn_from_who_is_known() {
        let bench = Bench::new();
        let began = Instant::now();
        for _ in 0..1_000 {
            let heard = bench.hears(None, &ask("")).await;
            assert!(heard.starts_with("HTTP/1.1 401"), "{heard}");
            let heard = bench.hears(Some(Caller::Stranger), &ask("")).await;
            assert!(heard.starts_with("HTTP/1.1 403"), "{heard}");
        }
        let shown = format!("authorization: Bearer {TOKEN}\r\nconnection: close\r\n");
        let heard = bench.hears(None, &ask(&shown)).await;
        assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
        assert!(began.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_says_anything_whole_is_left_soon() {
        let bench = Bench::new();
        for said in ["", "GET /trimtab/v1/state HTTP/1.1\r\nhost: loc"] {
            let began = Instant::now();
            assert_eq!(bench.hears(None, said).await, "");
            assert_eq!(began.elapsed(), STANDING_TIME);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_known_may_take_its_time() {
        let bench = Bench::new();
        let shown = format!("authorization: Bearer {TOKEN}\r\n");
        let began = Instant::now();
        let heard = bench.hears(None, &ask(&shown)).await;
        assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
        assert!(!heard.contains("connection: close"), "{heard}");
        assert!(
            began.elapsed() >= HEADER_TIME,
            "it was kept for a second call"
        );
    }

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
