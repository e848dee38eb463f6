//! The generator's connections: kept alive, bounded in number, and opened only when all that are open are in use.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;

type Sender = SendRequest<Full<Bytes>>;

/// Connections to one address.
#[derive(Debug)]
pub(crate) struct Connections {
    address: SocketAddr,
    room: Semaphore,
    idle: Mutex<Vec<Sender>>,
}

/// How an exchange went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The whole answer came, with this status.
    Status(StatusCode),
    /// No connection was made.
    NoConnection,
    /// The connection broke off.
    Broken,
}

impl Connections {
    /// At most `most` connections; none is opened yet.
    pub(crate) fn new(address: SocketAddr, most: usize) -> Self {
        Self {
            address,
            room: Semaphore::new(most),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Sends a request and reads the whole answer, once a connection is free.
    pub(crate) async fn exchange(&self, request: Request<Full<Bytes>>) -> Answer {
        let _room = self.room.acquire().await;
        let Some(mut sender) = self.sender().await else {
            return Answer::NoConnection;
        };
        let Ok(response) = sender.send_request(request).await else {
            return Answer::Broken;
        };
        let status = response.status();
        if response.into_body().collect().await.is_err() {
            return Answer::Broken;
        }
        self.idle().push(sender);
        Answer::Status(status)
    }

    async fn sender(&self) -> Option<Sender> {
        loop {
            // Taken in a statement of its own, so that the lock is not held while the connection gets ready.
            let kept = self.idle().pop();
            let Some(mut sender) = kept else { break };
            if sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
        let stream = TcpStream::connect(self.address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        open(stream).await.ok()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Sender>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks once over TCP and reads JSON.
pub(crate) async fn get_json<T: serde::de::DeserializeOwned>(
    address: SocketAddr,
    path: &str,
) -> anyhow::Result<T> {
    let sender = open(TcpStream::connect(address).await?).await?;
    ask(sender, &address.to_string(), path).await
}

/// Asks once over a Unix socket and reads JSON.
pub(crate) async fn get_json_at<T: serde::de::DeserializeOwned>(
    socket: &Path,
    path: &str,
) -> anyhow::Result<T> {
    let sender = open(UnixStream::connect(socket).await?).await?;
    ask(sender, "localhost", path).await
}

async fn ask<T: serde::de::DeserializeOwned>(
    mut sender: Sender,
    host: &str,
    path: &str,
) -> anyhow::Result<T> {
    let request = Request::get(path)
        .header("host", host)
        .body(Full::default())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    anyhow::ensure!(status.is_success(), "{path} answered {status}");
    Ok(serde_json::from_slice(&body)?)
}

async fn open(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> hyper::Result<Sender> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // It ends with its sender; what breaks it, the sender's next call says.
    tokio::spawn(async move { connection.await.is_ok() });
    Ok(sender)
}
