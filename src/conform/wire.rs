//! One request to a host and its answer, whatever they are: over a Unix socket or over TCP, with nothing checked but sizes and
//! time.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use trimtab_protocol::STATE_BYTES_MAX;

/// How long a host may take to answer. It promises 50 ms for a state; this only keeps the replay from hanging.
const DEADLINE: Duration = Duration::from_secs(10);

/// Where a host listens.
#[derive(Clone)]
pub struct Door {
    place: Place,
    token: Option<String>,
}

#[derive(Clone, Debug)]
enum Place {
    Unix(PathBuf),
    Tcp(Uri),
}

/// What is not a place where a host listens.
#[derive(Debug, Error)]
pub enum DoorError {
    /// An address with something in it that is not looked at.
    #[error("`{0}` is neither the path of a socket nor an address like http://127.0.0.1:7070")]
    NoPlace(String),
    /// A token that cannot stand in a header.
    #[error("the token has characters that cannot be sent")]
    Token,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum Trouble {
    /// Nobody listens, or the connection broke.
    #[error("{0}")]
    Broken(String),
    /// It took too long.
    #[error("no answer within {} s", DEADLINE.as_secs())]
    TooSlow,
}

impl Door {
    /// The same place, with a bearer token in every request.
    ///
    /// # Errors
    /// When the token cannot stand in a header.
    pub fn with_token(mut self, token: &str) -> Result<Self, DoorError> {
        HeaderValue::from_str(token).map_err(|_| DoorError::Token)?;
        self.token = Some(token.to_owned());
        Ok(self)
    }
}

impl FromStr for Door {
    type Err = DoorError;

    fn from_str(text: &str) -> Result<Self, DoorError> {
        let no_place = || DoorError::NoPlace(text.to_owned());
        if !text.contains("://") {
            let place = Place::Unix(PathBuf::from(text));
            return Ok(Self { place, token: None });
        }
        let uri: Uri = text.parse().map_err(|_| no_place())?;
        let plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/");
        if !plain || uri.authority().is_none() {
            return Err(no_place());
        }
        let place = Place::Tcp(uri);
        Ok(Self { place, token: None })
    }
}

/// The token is nobody's business.
impl fmt::Debug for Door {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Door")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// What is sent.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) media: String,
    pub(super) body: Bytes,
}

/// What came back.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) media: String,
    pub(super) retry_after: Option<String>,
    pub(super) body: Bytes,
}

impl Door {
    /// Makes one request over a connection of its own.
    pub(super) async fn ask(&self, ask: &Ask) -> Result<Reply, Trouble> {
        let exchange = async {
            match &self.place {
                Place::Unix(path) => {
                    let stream = UnixStream::connect(path).await;
                    self.exchange(stream.map_err(broken)?, "localhost", ask)
                        .await
                }
                Place::Tcp(uri) => {
                    let authority = uri.authority().map_or("", |authority| authority.as_str());
                    let name = uri.host().unwrap_or_default().trim_matches(['[', ']']);
                    let port = uri.port_u16().unwrap_or(80);
                    let stream = TcpStream::connect((name, port)).await.map_err(broken)?;
                    self.exchange(stream, authority, ask).await
                }
            }
        };
        tokio::time::timeout(DEADLINE, exchange)
            .await
            .unwrap_or(Err(Trouble::TooSlow))
    }

    async fn exchange<S>(&self, stream: S, authority: &str, ask: &Ask) -> Result<Reply, Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let mut request = Request::builder()
            .method(ask.method.as_str())
            .uri(ask.path.as_str())
            .header(HOST, authority);
        if !ask.body.is_empty() {
            request = request.header(CONTENT_TYPE, ask.media.as_str());
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(ask.body.clone())).map_err(broken)?;
        let talk = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, STATE_BYTES_MAX).collect().await;
            let text = |name| {
                let value: Option<&HeaderValue> = head.headers.get(name);
                Some(value?.to_str().unwrap_or_default().to_owned())
            };
            let media = text(CONTENT_TYPE).unwrap_or_default();
            Ok(Reply {
                status: head.status.as_u16(),
                media: media
                    .split(';')
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_owned(),
                retry_after: text(RETRY_AFTER),
                body: body.map_err(broken)?.to_bytes(),
            })
        };
        tokio::pin!(talk);
        // The connection has to be driven beside the exchange; where it ends first, the exchange still knows why.
        tokio::select! {
            reply = &mut talk => reply,
            _ended = connection => talk.await,
        }
    }
}

fn broken(error: impl fmt::Display) -> Trouble {
    Trouble::Broken(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_a_path_or_a_plain_address() {
        for good in [
            "/run/shop/control.sock",
            "http://127.0.0.1:7070",
            "http://[::1]:7070/",
        ] {
            assert!(good.parse::<Door>().is_ok(), "{good}");
        }
        for bad in [
            "https://127.0.0.1",
            "http://127.0.0.1/x",
            "ftp://a",
            "http://",
        ] {
            assert!(bad.parse::<Door>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let door: Door = "http://127.0.0.1:1".parse().unwrap();
        let door = door.with_token("s3cret").unwrap();
        assert!(!format!("{door:?}").contains("s3cret"));
        assert!(door.with_token("a\nb").is_err());
    }
}
