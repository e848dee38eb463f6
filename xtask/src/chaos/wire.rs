//! As much of HTTP as a campaign needs.

use anyhow::{Context, Result};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// After this, nobody answers.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks a host for its state.
pub(super) fn state(socket: &Path) -> Result<Value> {
    let stream = UnixStream::connect(socket).context("the host does not listen")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (status, body) = exchange(
        stream,
        "GET /trimtab/v1/state HTTP/1.0\r\nHost: localhost\r\n\r\n",
    )?;
    anyhow::ensure!(status == 200, "the host answers {status}");
    serde_json::from_str(&body).context("the state is no JSON")
}

/// Asks a host for something else: the status, and what it says.
pub(super) fn ask(socket: &Path, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
    let stream = UnixStream::connect(socket).context("the host does not listen")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = body.to_string();
    let length = body.len();
    let (status, answer) = exchange(
        stream,
        &format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
    )?;
    Ok((status, serde_json::from_str(&answer).unwrap_or(Value::Null)))
}

/// Asks a process over TCP.
pub(super) fn get(address: &str, path: &str) -> Result<(u16, String)> {
    let stream = TcpStream::connect(address).context("nobody listens")?;
    get_within(stream, address, path, PATIENCE)
}

/// Asks over a connection that is open; each part of the answer has to come within a time.
pub(super) fn get_within(
    stream: TcpStream,
    address: &str,
    path: &str,
    patience: Duration,
) -> Result<(u16, String)> {
    stream.set_read_timeout(Some(patience))?;
    exchange(
        stream,
        &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"),
    )
}

fn exchange(mut stream: impl Read + Write, request: &str) -> Result<(u16, String)> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer).context("no text")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((status.context("no status")?, body.to_owned()))
}

/// Reads one message of HTTP/1.1 with a length: head and body as they stand. Nothing at the end of the stream.
pub(super) fn message(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut one = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut one).ok()? == 0 {
            return None;
        }
        bytes.extend_from_slice(&one);
    }
    let head = String::from_utf8_lossy(&bytes).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0_usize);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    bytes.extend(body);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_its_length_says() {
        let two = b"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\n\r\n";
        let mut stream = &two[..];
        assert!(message(&mut stream).is_some_and(|first| first.ends_with(b"\r\n\r\nabc")));
        assert!(message(&mut stream).is_some_and(|second| second.starts_with(b"GET /b")));
        assert_eq!(message(&mut stream), None);
    }
}
