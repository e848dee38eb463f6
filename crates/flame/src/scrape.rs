//! The profile that a process offers of itself, as Go services do at `/debug/pprof/profile`.

use crate::format::{Foreign, read_pprof};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 32 << 20;
/// How much longer than the window an answer may take.
const GRACE: Duration = Duration::from_secs(10);

/// Where services offer it.
const PATH: &str = "/debug/pprof/profile";

/// Asks for a profile of so many seconds, at an address on loopback, or, as `unix:` and a path, at a socket.
///
/// # Errors
/// When the address is not one on loopback, nobody answers there, or the answer is no profile.
pub(crate) fn scrape(address: &str, window_ms: u64) -> io::Result<Foreign> {
    let seconds = window_ms.div_ceil(1_000);
    let patience = Duration::from_secs(seconds) + GRACE;
    if let Some(socket) = address.strip_prefix("unix:") {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(GRACE))?;
        return ask(stream, "localhost", PATH, seconds);
    }
    let (host, path) = split(address)?;
    let stream = TcpStream::connect_timeout(&host, GRACE)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(GRACE))?;
    ask(stream, &host.to_string(), path, seconds)
}

fn ask(mut stream: impl Read + Write, host: &str, path: &str, seconds: u64) -> io::Result<Foreign> {
    let mark = if path.contains('?') { '&' } else { '?' };
    // With version 1.0 the answer has no chunks and ends with the connection.
    write!(
        stream,
        "GET {path}{mark}seconds={seconds} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let (head, body) = end
        .and_then(|end| answer.split_at_checked(end + 4))
        .ok_or_else(|| invalid("the answer has no head"))?;
    let status = String::from_utf8_lossy(head);
    let status = status.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return Err(invalid(&format!(
            "the host's own profile was answered with status {status}"
        )));
    }
    read_pprof(body)
}

/// The socket and the path of an address. A name could be made to point anywhere, so only numbers on loopback are taken.
fn split(address: &str) -> io::Result<(SocketAddr, &str)> {
    let rest = address
        .strip_prefix("http://")
        .ok_or_else(|| invalid("the address must begin with http://"))?;
    let (host, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, PATH),
    };
    let host: SocketAddr = host
        .parse()
        .map_err(|_| invalid("the address must have a loopback IP address and a port"))?;
    let is_loopback = match host.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback(),
    };
    if !is_loopback
        || path
            .bytes()
            .any(|byte| byte.is_ascii_control() || byte == b' ')
    {
        return Err(invalid("the address must be a plain one on loopback"));
    }
    Ok((host, path))
}

/// What is wrong with an address or an answer.
pub(crate) fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Format, Named};
    use crate::quality::Quality;
    use crate::tree::Tree;
    use std::net::TcpListener;

    /// Answers one request with these bytes, and gives the request's first line.
    fn respond(mut stream: impl Read + Write, answer: &[u8]) -> String {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).expect("a whole head");
            head.push(byte[0]);
        }
        stream.write_all(answer).expect("it is read");
        let head = String::from_utf8_lossy(&head);
        head.lines().next().unwrap_or_default().to_owned()
    }

    /// Serves one request at a port.
    fn serve(answer: Vec<u8>) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it has one");
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("somebody asks");
            respond(stream, &answer)
        });
        (address, thread)
    }

    #[test]
    fn a_services_own_profile_is_read() {
        let tree = Tree::of_folded("main.main;main.work 5").expect("it is folded");
        let quality = Quality {
            hz: 99,
            ..Quality::default()
        };
        let named = Named {
            tree,
            quality,
            ..Named::default()
        };
        let body = named
            .write(crate::draw::View::Flame, Format::Pprof)
            .expect("it can be written");
        let mut answer =
            b"HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n".to_vec();
        answer.extend(body);
        let (address, thread) = serve(answer);
        let scraped =
            scrape(&format!("http://{address}/debug/pprof/profile"), 1_500).expect("a profile");
        assert_eq!(scraped.tree.folded(false), ["main.main;main.work 5"]);
        assert_eq!(scraped.hz, 99);
        assert_eq!(
            thread.join().expect("it answered"),
            "GET /debug/pprof/profile?seconds=2 HTTP/1.0"
        );
    }

    #[test]
    fn a_profile_is_asked_for_at_a_socket_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("somebody asks");
            respond(stream, b"HTTP/1.0 429 Too Many Requests\r\n\r\n")
        });
        let error = scrape(&format!("unix:{}", path.display()), 3_000).expect_err("it is busy");
        assert!(error.to_string().contains("429"), "{error}");
        let asked = thread.join().expect("it answered");
        assert_eq!(asked, "GET /debug/pprof/profile?seconds=3 HTTP/1.0");
    }

    #[test]
    fn a_refusal_is_told_and_only_loopback_is_asked() {
        let (address, thread) = serve(b"HTTP/1.0 404 Not Found\r\n\r\n".to_vec());
        let error = scrape(&format!("http://{address}/x"), 1).expect_err("it is refused");
        assert!(error.to_string().contains("404"), "{error}");
        thread.join().expect("it answered");
        for wrong in [
            "https://127.0.0.1:1/",
            "http://example.com:80/",
            "http://10.0.0.1:80/",
            "http://127.0.0.1:1/a b",
        ] {
            assert_eq!(
                scrape(wrong, 1).expect_err(wrong).kind(),
                io::ErrorKind::InvalidInput
            );
        }
    }
}
