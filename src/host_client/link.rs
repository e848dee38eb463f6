//! One connection to a host, driven by whoever makes a call and by nobody else.
//!
//! There is no task behind it: while no call runs, nothing is read, so a host that writes without end fills the kernel's
//! buffer and not our memory.

use super::Peer;
use crate::fail::{self, Point};
use crate::place::{HostPlace, LoopbackAddress};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use trimtab_protocol::decision::Absence;
use trimtab_protocol::path;
use trimtab_sys::{peer, token};

/// The most that is buffered for the head of an answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// An answer in one piece.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    media_type: String,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// Whether the content type is this one, with whatever parameters.
    pub(super) fn has_media_type(&self, expected: &str) -> bool {
        self.media_type.eq_ignore_ascii_case(expected)
    }

    /// Whether both status and content type are these.
    pub(super) fn is(&self, status: StatusCode, media_type: &str) -> bool {
        self.status == status && self.has_media_type(media_type)
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum SendError {
    /// The connection was closed before anything was sent.
    NotSent,
    /// It was sent, and the connection was closed before the answer began.
    Unanswered,
    /// An answer began and was no good.
    Bad(Absence),
}

impl SendError {
    pub(super) fn absence(&self) -> Absence {
        match self {
            Self::NotSent | Self::Unanswered => Absence::Unreachable,
            Self::Bad(absence) => *absence,
        }
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Link {
    sender: SendRequest<Full<Bytes>>,
    wire: Wire,
    shown: Shown,
}

/// What each request shows of itself.
struct Shown {
    host: String,
    authorization: Option<HeaderValue>,
}

/// The token is nobody's business.
impl std::fmt::Debug for Shown {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Shown")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// What moves the bytes of calls.
type Carrier = Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// What a connection goes over.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug> Stream for T {}

/// The part of a connection that moves bytes, and whether it has ended; once it has, it must not be polled again.
#[derive(Debug)]
struct Wire {
    connection: Pin<Box<Carrier>>,
    closed: bool,
}

impl Link {
    /// Connects, and on a socket checks who listens before anything is sent.
    pub(super) async fn open(
        place: &HostPlace,
        trusted_uids: &[u32],
        number: u64,
    ) -> Result<(Self, Option<Peer>), Absence> {
        let (stream, peer, shown): (Box<dyn Stream>, _, _) = match place {
            HostPlace::Socket(path) => {
                let (stream, peer) = connect(path, trusted_uids, number).await?;
                let shown = Shown {
                    host: "localhost".to_owned(),
                    authorization: None,
                };
                (Box::new(stream), Some(peer), shown)
            }
            HostPlace::Tcp {
                address,
                token_file,
            } => {
                let shown = shown(*address, token_file).await?;
                let stream = TcpStream::connect(address.socket_addr()).await;
                let stream = stream.map_err(|_| Absence::Unreachable)?;
                // Calls are small and each waits for its answer.
                stream.set_nodelay(true).map_err(|_| Absence::Unreachable)?;
                (Box::new(stream), None, shown)
            }
        };
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Absence::Unreachable)?;
        let wire = Wire {
            connection: Box::pin(connection),
            closed: false,
        };
        let link = Self {
            sender,
            wire,
            shown,
        };
        Ok((link, peer))
    }

    /// Sends a request and reads its answer, of which the body has at most `limit` bytes.
    pub(super) async fn send(
        &mut self,
        method: &Method,
        path: &str,
        body: Bytes,
        limit: usize,
    ) -> Result<Reply, SendError> {
        let Self {
            sender,
            wire,
            shown,
        } = self;
        // Looking at the connection first notices that the host closed it since the last call.
        wire.drive(sender.ready())
            .await
            .and_then(Result::ok)
            .ok_or(SendError::NotSent)?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &shown.host);
        if let Some(authorization) = &shown.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(body))
            .expect("paths are made of plain names and numbers");
        let sent = sent(method, path);
        let response = wire
            .drive_past(sender.try_send_request(request), sent)
            .await
            .ok_or(SendError::Unanswered)?
            .map_err(|mut error| {
                if error.take_message().is_some() {
                    return SendError::NotSent;
                }
                let error = error.into_error();
                if error.is_parse() || error.is_parse_too_large() || error.is_parse_status() {
                    return SendError::Bad(Absence::Garbage);
                }
                SendError::Unanswered
            })?;
        if response.status().is_redirection() {
            return Err(SendError::Bad(Absence::Redirected));
        }
        wire.drive(collect(response, limit))
            .await
            .unwrap_or(Err(Absence::Garbage))
            .map_err(SendError::Bad)
    }
}

/// Connects to a socket, and checks who listens.
async fn connect(
    socket: &Path,
    trusted_uids: &[u32],
    number: u64,
) -> Result<(UnixStream, Peer), Absence> {
    let stream = UnixStream::connect(socket).await.map_err(|error| {
        // A full backlog: someone listens and does not come round to accepting.
        if error.kind() == io::ErrorKind::WouldBlock {
            Absence::TimedOut
        } else {
            Absence::Unreachable
        }
    })?;
    let credentials = peer::credentials(&stream).map_err(|_| Absence::NotTrusted)?;
    if !trusted_uids.contains(&credentials.uid) {
        return Err(Absence::NotTrusted);
    }
    let peer = Peer {
        pid: credentials.pid,
        uid: credentials.uid,
        handle: peer::pidfd(&stream).ok().map(Arc::new),
        connection: number,
    };
    Ok((stream, peer))
}

/// The token that is to be shown at an address, read beside the runtime.
async fn shown(address: LoopbackAddress, token_file: &Path) -> Result<Shown, Absence> {
    let file = token_file.to_owned();
    let reading = tokio::task::spawn_blocking(move || token::first(&file));
    let token = match reading.await {
        Ok(Ok(token)) => token,
        Ok(Err(error)) => {
            tracing::warn!(file = %token_file.display(), %error, "the host's token cannot be read");
            return Err(Absence::NotTrusted);
        }
        Err(_) => return Err(Absence::NotTrusted),
    };
    let authorization = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut authorization = authorization.map_err(|_| Absence::NotTrusted)?;
    authorization.set_sensitive(true);
    Ok(Shown {
        host: address.socket_addr().to_string(),
        authorization: Some(authorization),
    })
}

impl Wire {
    /// Polls the connection along with a call on it; nothing when the connection ended and the call still has no result.
    async fn drive<F: Future>(&mut self, call: F) -> Option<F::Output> {
        self.drive_past(call, None).await
    }

    /// The same, past a point that is reached once everything is sent that can be.
    async fn drive_past<F: Future>(&mut self, call: F, sent: Option<Point>) -> Option<F::Output> {
        let mut call = pin!(call);
        poll_fn(|context| {
            if !self.closed {
                // An error of the connection is told to the call as well, with more detail.
                self.closed = self.connection.as_mut().poll(context).is_ready();
            }
            // The connection was told of the request before it was polled, and a request fits into the socket's buffer.
            if let Some(point) = sent {
                fail::at(point);
            }
            match call.as_mut().poll(context) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending if self.closed => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

/// The point after a request has left.
fn sent(method: &Method, path: &str) -> Option<Point> {
    if method != Method::POST {
        return None;
    }
    match path {
        path::LEASE => Some(Point::LeaseSent),
        path::CHANGES => Some(Point::TrySent),
        path if path.ends_with("/confirm") => Some(Point::ConfirmSent),
        path if path.ends_with("/rollback") => Some(Point::RollBackSent),
        _ => None,
    }
}

async fn collect(
    response: Response<hyper::body::Incoming>,
    limit: usize,
) -> Result<Reply, Absence> {
    let (head, mut body) = response.into_parts();
    // We ask for no encoding, so one that comes unasked is not undone.
    if head.headers.contains_key(CONTENT_ENCODING) {
        return Err(Absence::Garbage);
    }
    let promised = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if promised > limit {
        return Err(Absence::TooLarge);
    }
    let media_type = head
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_owned();
    let mut bytes = Vec::with_capacity(promised);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Absence::Garbage)?;
        if let Some(data) = frame.data_ref() {
            if data.len() > limit - bytes.len() {
                return Err(Absence::TooLarge);
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(Reply {
        status: head.status,
        media_type,
        body: bytes,
    })
}
