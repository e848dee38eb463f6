//! The accept loop: how many may connect, and how long each may take.
//!
//! `axum::serve` sets no timer, so hyper's own deadline for headers is off there; here it is on. Connections are counted: most
//! are for anybody, the last few answer health checks only, and those beyond are told 503. When the process has no file
//! descriptor left, accepting pauses instead of spinning.

use crate::origin::PeerAddress;
use crate::serve::closed;
use crate::serve::guard::Reserve;
use crate::serve::patience::{Heads, Patience, Patient};
use crate::tls::Certificates;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

/// How many may connect, and how long each may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// How many of them are kept for health checks.
    pub reserved: usize,
    /// From the connection to its first byte.
    pub first_byte: Duration,
    /// From a request's first byte to the end of its head.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// For the peer to take some of what is being written.
    pub write: Duration,
    /// For open requests, once the end is asked for.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            reserved: 16,
            first_byte: Duration::from_secs(5),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            write: Duration::from_secs(10),
            drain: Duration::from_secs(1),
        }
    }
}

impl Limits {
    /// For a listener that shows health and metrics only, where a few probes come and go.
    pub(super) fn health() -> Self {
        Self {
            connections: 32,
            reserved: 4,
            idle: Duration::from_secs(30),
            ..Self::default()
        }
    }
}

/// The largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most header lines of a request.
const HEADERS_MAX: usize = 64;
/// How many connections may be told 503 at the same time; those beyond are closed at once.
const REFUSALS_MAX: usize = 32;
/// How long a connection that is refused is listened to, so that the answer is not lost with unread bytes.
const REFUSAL: Duration = Duration::from_secs(1);
/// The first pause after accepting failed; it doubles up to the longest.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Accepts until `shutdown` ends. Then `close` tells long answers to end, open requests get a moment, and the rest is dropped.
pub(super) async fn run(
    (listener, tls): (TcpListener, Option<Arc<Certificates>>),
    router: Router,
    limits: Limits,
    close: watch::Sender<bool>,
    shutdown: impl Future<Output = ()>,
) {
    let mut desk = Desk {
        router,
        tls,
        limits,
        close,
        seats: Arc::new(Semaphore::new(limits.connections)),
        refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        open: JoinSet::new(),
    };
    let mut pause = PAUSE;
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_ended) = desk.open.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = PAUSE;
                desk.seat(stream, peer);
            }
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::select! {
                    () = &mut shutdown => break,
                    () = sleep(pause) => {}
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
    drop(listener);
    desk.finish().await;
}

/// Where connections get their seats.
struct Desk {
    router: Router,
    tls: Option<Arc<Certificates>>,
    limits: Limits,
    close: watch::Sender<bool>,
    seats: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    open: JoinSet<()>,
}

impl Desk {
    fn seat(&mut self, stream: TcpStream, peer: SocketAddr) {
        let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else {
            self.refuse(stream);
            return;
        };
        let reserve = self.seats.available_permits() < self.limits.reserved;
        let (heads, patient) = patient(stream, self.limits);
        let (router, limits) = (self.router.clone(), self.limits);
        let marks = (reserve.then_some(Reserve), PeerAddress(peer));
        let closing = self.close.subscribe();
        let tls = self.tls.clone();
        self.open.spawn(async move {
            match tls {
                None => serve(patient, heads, router, limits, marks, closing).await,
                Some(tls) => {
                    if let Some(stream) = handshake(&tls, patient, limits).await {
                        serve(stream, heads, router, limits, marks, closing).await;
                    }
                }
            }
            drop(seat);
        });
    }

    fn refuse(&mut self, stream: TcpStream) {
        // What could be said without a handshake would be taken for garbage.
        if self.tls.is_none()
            && let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned()
        {
            self.open.spawn(refuse(stream, permit));
        }
    }

    async fn finish(mut self) {
        self.close.send_replace(true);
        let all = async { while self.open.join_next().await.is_some() {} };
        if timeout(self.limits.drain, all).await.is_err() {
            tracing::debug!("some connections were still open and are dropped");
        }
    }
}

/// Deadlines around a connection's own bytes, below any encryption, and what counts the heads that were read in full.
fn patient<T>(stream: T, limits: Limits) -> (Heads, Patient<T>) {
    let heads = Heads::default();
    let patience = Patience {
        first_byte: limits.first_byte,
        head: limits.head,
        write: limits.write,
    };
    (heads.clone(), Patient::new(stream, patience, heads))
}

/// What comes out of a handshake that ends in time. It has as long as a first byte has, however busily it goes on.
#[cfg(feature = "tls")]
async fn handshake<T>(
    tls: &Arc<Certificates>,
    stream: Patient<T>,
    limits: Limits,
) -> Option<tokio_rustls::server::TlsStream<Patient<T>>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let acceptor = tls.acceptor().await;
    match timeout(limits.first_byte, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a connection came to no encryption");
            None
        }
        Err(_) => {
            tracing::debug!("a handshake did not end in time");
            None
        }
    }
}

/// There is no certificate without the feature.
#[cfg(not(feature = "tls"))]
async fn handshake<T>(
    tls: &Arc<Certificates>,
    _stream: Patient<T>,
    _limits: Limits,
) -> Option<Patient<T>> {
    match **tls {}
}

/// Serves one connection to its end.
async fn serve<T>(
    stream: T,
    heads: Heads,
    router: Router,
    limits: Limits,
    (reserve, peer): (Option<Reserve>, PeerAddress),
    closing: watch::Receiver<bool>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        heads.add();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        if let Some(reserve) = reserve {
            request.extensions_mut().insert(reserve);
        }
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = closed(closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Says 503 to one connection. What it sent is read first: closing over unread bytes would take the answer back.
async fn refuse(stream: TcpStream, _permit: OwnedSemaphorePermit) {
    let mut buffer = [0; 1_024];
    let listening = timeout(REFUSAL, async {
        loop {
            stream.readable().await?;
            match stream.try_read(&mut buffer) {
                // It was said to be readable and is not yet.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                heard => return heard,
            }
        }
    });
    if matches!(listening.await, Ok(Ok(_))) {
        // The answer fits any socket's buffer, and a peer that is gone needs none.
        let _told = stream.try_write(BUSY);
    }
}

/// Whether accepting failed because of the one peer, and not of this process.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests;
