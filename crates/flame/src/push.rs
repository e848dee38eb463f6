//! Sending remembered time to a Pyroscope-compatible server.
//!
//! One request to `/ingest` carries the folded stacks of one stretch, with the name, the times and the rate in its address.

use crate::scrape::invalid;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// How long any part of a request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most that is read of an answer: its first line.
const ANSWER_BYTES_MAX: u64 = 4_096;

/// Where to, and under which name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// The server, such as `http://127.0.0.1:4040`.
    pub server: String,
    /// The service's name there.
    pub name: String,
    /// When the stretch began, in seconds since 1970.
    pub from_s: u64,
    /// When it ended.
    pub until_s: u64,
    /// Samples a second of CPU time.
    pub hz: u32,
}

/// Sends folded stacks.
///
/// # Errors
/// When the server cannot be reached or does not take them.
pub(crate) fn push(parcel: &Parcel, folded: &[u8]) -> io::Result<()> {
    let host = parcel
        .server
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'))
        .ok_or_else(|| invalid("the server's address must begin with http://"))?;
    let address: SocketAddr = host
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| invalid("the server's name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        target(parcel),
        folded.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(folded)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    match answer.split(' ').nth(1) {
        Some(status) if status.starts_with('2') => Ok(()),
        Some(status) => Err(invalid(&format!(
            "the server answered with status {status}"
        ))),
        None => Err(invalid("the server did not answer")),
    }
}

/// The request's target, as the server documents it.
fn target(parcel: &Parcel) -> String {
    let Parcel {
        name,
        from_s,
        until_s,
        hz,
        ..
    } = parcel;
    let name = escaped(&format!("{name}.cpu"));
    format!(
        "/ingest?name={name}&from={from_s}&until={until_s}&sampleRate={hz}&spyName=trimtab&format=folded&units=samples&aggregationType=sum"
    )
}

/// A text as it may stand in an address.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => {
                escaped.push(char::from(byte))
            }
            _ => {
                // Writing to a string cannot fail.
                let _never = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;

    /// A server that takes one request and gives it back: its first line and its body.
    fn server(status: &'static str) -> (String, std::thread::JoinHandle<(String, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("it has one"));
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("somebody sends");
            let mut stream = BufReader::new(stream);
            let (mut first, mut length, mut line) = (String::new(), 0, String::new());
            stream.read_line(&mut first).expect("a head");
            while line != "\r\n" {
                line.clear();
                stream.read_line(&mut line).expect("a head");
                if let Some(bytes) = line.strip_prefix("Content-Length: ") {
                    length = bytes.trim().parse().expect("a number");
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("all of it");
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            stream
                .get_mut()
                .write_all(answer.as_bytes())
                .expect("it is read");
            (
                first.trim_end().to_owned(),
                String::from_utf8(body).expect("it is text"),
            )
        });
        (address, thread)
    }

    fn parcel(server: String) -> Parcel {
        Parcel {
            server,
            name: "shop{zone=a b}".to_owned(),
            from_s: 1_790_000_000,
            until_s: 1_790_000_015,
            hz: 49,
        }
    }

    #[test]
    fn a_stretch_is_sent_as_the_server_documents_it() {
        let (address, thread) = server("200 OK");
        push(&parcel(address), b"main;work 7\n").expect("it is taken");
        let (first, body) = thread.join().expect("it answered");
        let expected = "POST /ingest?name=shop%7Bzone%3Da%20b%7D.cpu&from=1790000000&until=1790000015&sampleRate=49&spyName=trimtab\
                        &format=folded&units=samples&aggregationType=sum HTTP/1.1";
        assert_eq!((first.as_str(), body.as_str()), (expected, "main;work 7\n"));
    }

    #[test]
    fn a_server_that_refuses_is_told_of() {
        let (address, thread) = server("422 Unprocessable Content");
        let error = push(&parcel(address), b"x 1\n").expect_err("it is refused");
        assert!(error.to_string().contains("422"), "{error}");
        thread.join().expect("it answered");
        assert!(push(&parcel("https://127.0.0.1:1".to_owned()), b"").is_err());
    }
}
