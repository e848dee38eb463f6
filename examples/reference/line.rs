//! Calls to the downstream: one line there, one line back, over connections that are kept.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use trimtab_host::deadline::Deadline;

/// A client that opens as many connections as calls run at a time, and keeps them.
#[derive(Debug)]
pub(crate) struct LineClient {
    address: SocketAddr,
    idle: Mutex<Vec<BufReader<TcpStream>>>,
}

impl LineClient {
    /// A client of the service at an address; nothing is connected yet.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Sends one line and returns what follows `ok ` in the answer, as long as the deadline in force allows.
    pub(crate) async fn call(&self, line: &str) -> io::Result<String> {
        let Some(deadline) = Deadline::current() else {
            return self.exchange(line).await;
        };
        let answer = deadline.bound(self.exchange(line)).await;
        answer.map_err(|late| io::Error::new(io::ErrorKind::TimedOut, late))?
    }

    /// A call that is given up takes its connection with it, because its answer would be read as the next one's.
    async fn exchange(&self, line: &str) -> io::Result<String> {
        let mut connection = self.connection().await?;
        connection
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())
            .await?;
        let mut answer = String::new();
        if connection.read_line(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
        match answer.trim_end().strip_prefix("ok ") {
            Some(rest) => Ok(rest.to_owned()),
            None => Err(io::Error::other(answer.trim_end().to_owned())),
        }
    }

    async fn connection(&self) -> io::Result<BufReader<TcpStream>> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        if let Some(connection) = idle {
            return Ok(connection);
        }
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }
}
