//! How the commands reach a running sidecar: its pages over HTTP, and its operator's socket.

use super::pages::{PagesArgs, Unconnected};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use trimtab_protocol::name::is_plain_name;
use trimtab_protocol::problem::Problem;

/// How long the sidecar may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long it may take for a command: it asks the host several times, and its disk.
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The longest text of a foreign answer that is shown, in characters.
const SHOWN_MAX: usize = 200;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("`{0}` is not the address of a sidecar, which looks like http://127.0.0.1:7676")]
    Address(Uri),
    #[error("{0}: {1}")]
    Setup(String, String),
    #[error("no sidecar answers at {0}: {1}; is `trimtab run` running, and does it serve there?")]
    Nobody(String, String),
    #[error("the sidecar at {0} did not answer within {seconds} s", seconds = .1.as_secs())]
    TooSlow(String, Duration),
    #[error("{0} answered {1}: {2}")]
    Refused(String, StatusCode, String),
    #[error("{0}")]
    Problem(Box<Problem>),
    #[error("what answers at {0} is not this version's sidecar: {1}")]
    Garbage(String, String),
    #[error("the sidecar at {0} has no host yet")]
    NoHost(String),
}

/// As much of the list of hosts as both the pages and the operator's socket have.
#[derive(Debug, Deserialize)]
struct Known {
    hosts: Vec<KnownHost>,
}

#[derive(Debug, Deserialize)]
struct KnownHost {
    host: String,
}

/// Where a sidecar is asked.
#[derive(Clone, Debug)]
pub(super) enum Client {
    /// Its pages.
    Pages(PagesArgs),
    /// Its operator's socket.
    Socket(PathBuf),
}

/// An answer and the connection that brings the rest of it.
struct Talk {
    response: Response<Incoming>,
    connection: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Client {
    /// Reads a document.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let (status, body) = self.fetch(path).await?;
        if status != StatusCode::OK {
            return Err(self.refused(status, &body));
        }
        serde_json::from_slice(&body).map_err(|error| self.garbage(&error.to_string()))
    }

    /// Reads whatever is there: the status and the body.
    pub(super) async fn fetch(&self, path: &str) -> Result<(StatusCode, Bytes), ClientError> {
        self.whole(DEADLINE, "GET", path, Bytes::new()).await
    }

    /// Gives a command.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let answer = self.whole(COMMAND_DEADLINE, "POST", path, body).await;
        let (status, body) = answer?;
        if status != StatusCode::OK {
            return Err(self.refused(status, &body));
        }
        serde_json::from_slice(&body).map_err(|error| self.garbage(&error.to_string()))
    }

    /// Hands each piece of an endless answer on as it comes, until `each` says that it is enough or the sidecar ends.
    pub(super) async fn stream(
        &self,
        path: &str,
        mut each: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), ClientError> {
        let begun = tokio::time::timeout(DEADLINE, self.talk("GET", path, Bytes::new())).await;
        let Talk {
            response,
            mut connection,
        } = begun.map_err(|_| ClientError::TooSlow(self.place(), DEADLINE))??;
        if response.status() != StatusCode::OK {
            let status = response.status();
            return Err(self.refused(status, b""));
        }
        let mut body = response.into_body();
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = &mut connection => {
                    // It is at its end and must not be polled again; what it brought is still there.
                    connection = Box::pin(std::future::pending());
                    body.frame().await
                }
            };
            match frame {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref()
                        && !each(data)
                    {
                        return Ok(());
                    }
                }
                Some(Err(_)) | None => return Ok(()),
            }
        }
    }

    /// The host that is meant: the one that was named, else the only one.
    pub(super) async fn host(&self, named: Option<&str>) -> Result<String, ClientError> {
        let host = match named {
            Some(host) => host.to_owned(),
            None => {
                let known: Known = self.get("/api/v1/hosts").await?;
                let first = known.hosts.into_iter().next();
                first.ok_or_else(|| ClientError::NoHost(self.place()))?.host
            }
        };
        // What a sidecar calls its host goes back into a path only if it needs no escaping there.
        if is_plain_name(&host) {
            Ok(host)
        } else {
            Err(self.garbage(&format!("it calls its host `{host}`")))
        }
    }

    async fn whole(
        &self,
        deadline: Duration,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let exchange = async {
            let Talk {
                response,
                connection,
            } = self.talk(method, path, body).await?;
            let status = response.status();
            let reading = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
            tokio::pin!(reading);
            // The connection has to be driven beside the reading; where it ends first, the reading still has its end.
            let body = tokio::select! {
                body = &mut reading => body,
                () = connection => reading.await,
            };
            let body = body.map_err(|error| self.garbage(&error.to_string()))?;
            Ok((status, body.to_bytes()))
        };
        match tokio::time::timeout(deadline, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::TooSlow(self.place(), deadline)),
        }
    }

    async fn talk(&self, method: &str, path: &str, body: Bytes) -> Result<Talk, ClientError> {
        match self {
            Self::Pages(pages) => {
                let token = pages.token()?;
                let stream = pages.connect().await.map_err(|error| match error {
                    Unconnected::Wrong(error) => error,
                    Unconnected::Nobody(why) => ClientError::Nobody(self.place(), why),
                })?;
                let shown = (pages.authority()?.as_str(), token.as_deref());
                self.exchange(stream, shown, method, path, body).await
            }
            Self::Socket(socket) => {
                let stream = UnixStream::connect(socket).await;
                let stream = stream.map_err(|error| self.nobody(&error))?;
                let shown = ("localhost", None);
                self.exchange(stream, shown, method, path, body).await
            }
        }
    }

    async fn exchange<S>(
        &self,
        stream: S,
        (host, token): (&str, Option<&str>),
        method: &str,
        path: &str,
        body: Bytes,
    ) -> Result<Talk, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.nobody(&error))?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host)
            .header(ACCEPT, "application/json, text/event-stream");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if method == "POST" {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| self.garbage(&error.to_string()))?;
        let mut connection: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
            // How it ended shows in the answer.
            drop(connection.await);
        });
        let sending = sender.send_request(request);
        tokio::pin!(sending);
        let response = tokio::select! {
            response = &mut sending => response,
            () = &mut connection => {
                // It is at its end and must not be polled again.
                connection = Box::pin(std::future::pending());
                sending.await
            }
        };
        let response = response.map_err(|error| self.nobody(&error))?;
        Ok(Talk {
            response,
            connection,
        })
    }

    fn place(&self) -> String {
        match self {
            Self::Pages(pages) => pages.url.to_string(),
            Self::Socket(path) => path.display().to_string(),
        }
    }

    fn nobody(&self, error: &dyn std::error::Error) -> ClientError {
        ClientError::Nobody(self.place(), error.to_string())
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        if let Ok(problem) = serde_json::from_slice::<Problem>(body) {
            return ClientError::Problem(Box::new(problem));
        }
        let text = String::from_utf8_lossy(body);
        let text = text.trim().chars().take(SHOWN_MAX).collect();
        ClientError::Refused(self.place(), status, text)
    }

    fn garbage(&self, why: &str) -> ClientError {
        ClientError::Garbage(self.place(), why.to_owned())
    }
}

/// A host's id, as a command line may give it.
pub(super) fn host_id(text: &str) -> Result<String, String> {
    if is_plain_name(text) {
        return Ok(text.to_owned());
    }
    let allowed =
        "a host's id is 1 to 64 characters of a-z, 0-9, `_` and `-`, beginning with a letter";
    Err(allowed.to_owned())
}
