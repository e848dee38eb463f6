//! A wire that can be made bad: it stands between a sidecar and its host, on a Unix socket of its own or on loopback TCP.

use super::{pause, wire};
use anyhow::Result;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// What the wire does to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toxin {
    /// Nothing.
    None,
    /// The answer comes after two seconds.
    Late,
    /// The answer comes a byte at a time, ten a second.
    Drip,
    /// The request arrives; instead of an answer the stream ends.
    LoseAnswer,
    /// The connection is closed before the request arrives.
    Reset,
    /// Half of the answer comes.
    Truncate,
    /// The request is taken and nothing ever comes back.
    Hold,
    /// The request arrives twice.
    Twice,
    /// Something that is no HTTP comes back.
    Garbage,
    /// A state of another version comes back.
    OtherVersion,
    /// Somebody else is said to have it.
    Redirect,
    /// A hundred million bytes are announced and begun.
    Huge,
}

/// In the order of their numbers.
const TOXINS: [Toxin; 12] = [
    Toxin::None,
    Toxin::Late,
    Toxin::Drip,
    Toxin::LoseAnswer,
    Toxin::Reset,
    Toxin::Truncate,
    Toxin::Hold,
    Toxin::Twice,
    Toxin::Garbage,
    Toxin::OtherVersion,
    Toxin::Redirect,
    Toxin::Huge,
];

/// An end of the wire.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// A Unix socket.
    Socket(PathBuf),
    /// An address of loopback; port 0 is any free one.
    Tcp(SocketAddr),
}

impl End {
    fn connect(&self) -> io::Result<Line> {
        Ok(match self {
            Self::Socket(path) => Line::Socket(UnixStream::connect(path)?),
            Self::Tcp(address) => Line::tcp(TcpStream::connect(address)?)?,
        })
    }
}

/// A connection over either.
#[derive(Debug)]
enum Line {
    Socket(UnixStream),
    Tcp(TcpStream),
}

impl Line {
    fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    /// Ends it in both directions.
    fn end(&self) {
        // It may be closed already.
        drop(match self {
            Self::Socket(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
        });
    }

    /// Ends it as if the machine at the other end had never heard of it, where the transport knows such a thing.
    fn reset(&self) {
        if let Self::Tcp(stream) = self {
            // Without it the connection ends like any other, which is bad enough.
            let _refused = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Socket(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Socket(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Socket(stream) => stream.flush(),
            Self::Tcp(stream) => stream.flush(),
        }
    }
}

/// The wire.
#[derive(Debug)]
pub(super) struct Proxy {
    /// Where a sidecar connects to.
    pub(super) front: End,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    host: End,
    toxin: AtomicUsize,
    fired: AtomicU64,
}

impl Proxy {
    /// Listens at its own end, and passes on to the host's.
    pub(super) fn start(front: End, host: End) -> Result<Self> {
        let (front, lines) = listen(front)?;
        let shared = Arc::new(Shared {
            host,
            toxin: AtomicUsize::new(0),
            fired: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in lines {
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.carry(stream));
            }
        });
        Ok(Self { front, shared })
    }

    /// Makes it bad, or good again.
    pub(super) fn poison(&self, toxin: Toxin) {
        let number = TOXINS.iter().position(|known| *known == toxin);
        self.shared
            .toxin
            .store(number.unwrap_or(0), Ordering::SeqCst);
        self.shared.fired.store(0, Ordering::SeqCst);
    }

    /// How often it did harm since it was made so.
    pub(super) fn fired(&self) -> u64 {
        self.shared.fired.load(Ordering::SeqCst)
    }
}

/// Where it listens now, and the connections as they come.
fn listen(front: End) -> Result<(End, Box<dyn Iterator<Item = Line> + Send>)> {
    Ok(match front {
        End::Socket(path) => {
            let listener = UnixListener::bind(&path)?;
            let next = move || Some(listener.accept().ok().map(|(it, _)| Line::Socket(it)));
            (
                End::Socket(path),
                Box::new(std::iter::from_fn(next).flatten()),
            )
        }
        End::Tcp(address) => {
            let listener = TcpListener::bind(address)?;
            let address = listener.local_addr()?;
            let next = move || Some(listener.accept().and_then(|(it, _)| Line::tcp(it)).ok());
            (
                End::Tcp(address),
                Box::new(std::iter::from_fn(next).flatten()),
            )
        }
    })
}

impl Shared {
    /// Carries what one connection brings, until it ends.
    fn carry(&self, mut client: Line) {
        let mut host = None;
        while let Some(request) = wire::message(&mut client) {
            let number = self.toxin.load(Ordering::SeqCst);
            let toxin = TOXINS.get(number).copied().unwrap_or(Toxin::None);
            if toxin != Toxin::None {
                self.fired.fetch_add(1, Ordering::SeqCst);
            }
            if self.one(toxin, &request, &mut client, &mut host).is_none() {
                if toxin == Toxin::Reset {
                    client.reset();
                } else {
                    client.end();
                }
                return;
            }
        }
    }

    /// One request; nothing when the connection is to end.
    fn one(
        &self,
        toxin: Toxin,
        request: &[u8],
        client: &mut Line,
        kept: &mut Option<Line>,
    ) -> Option<()> {
        let canned: &[u8] = match toxin {
            Toxin::Garbage => b"220 mail.example ready\r\n",
            Toxin::OtherVersion => {
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{\"api\":9}"
            }
            Toxin::Redirect => {
                b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n"
            }
            Toxin::Huge => return huge(client),
            Toxin::Reset => return None,
            Toxin::Hold => {
                pause(Duration::from_secs(10));
                return None;
            }
            _ => return self.pass(toxin, request, client, kept),
        };
        client.write_all(canned).ok()
    }

    fn pass(
        &self,
        toxin: Toxin,
        request: &[u8],
        client: &mut Line,
        kept: &mut Option<Line>,
    ) -> Option<()> {
        let mut host = match kept.take() {
            Some(host) => host,
            None => self.host.connect().ok()?,
        };
        host.write_all(request).ok()?;
        let answer = wire::message(&mut host)?;
        if toxin == Toxin::Twice {
            host.write_all(request).ok()?;
            wire::message(&mut host)?;
        }
        *kept = Some(host);
        match toxin {
            Toxin::LoseAnswer => return None,
            Toxin::Truncate => {
                client.write_all(answer.get(..answer.len() / 2)?).ok()?;
                return None;
            }
            Toxin::Late => pause(Duration::from_secs(2)),
            Toxin::Drip => {
                for byte in answer {
                    client.write_all(&[byte]).ok()?;
                    pause(Duration::from_millis(100));
                }
                return Some(());
            }
            _ => {}
        }
        client.write_all(&answer).ok()
    }
}

fn huge(client: &mut Line) -> Option<()> {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write_all(head.as_bytes()).ok()?;
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    for _ in 0..100 {
        client.write_all(&chunk).ok()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host that answers everything with three letters.
    fn host(end: End) -> End {
        let (end, lines) = listen(end).expect("it is free");
        thread::spawn(move || {
            for mut stream in lines {
                thread::spawn(move || {
                    while wire::message(&mut stream).is_some() {
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
                        if stream.write_all(answer).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        end
    }

    #[test]
    fn every_toxin_does_something_and_says_so() {
        let directory = std::env::temp_dir().join(format!("trimtab-proxy-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        for (front, back) in [
            (
                End::Socket(directory.join("front.sock")),
                End::Socket(directory.join("back.sock")),
            ),
            (End::Tcp(any), End::Tcp(any)),
        ] {
            let proxy = Proxy::start(front, host(back)).expect("it is free");
            each_does_something(&proxy);
        }
        std::fs::remove_dir_all(directory).expect("it is ours");
    }

    fn each_does_something(proxy: &Proxy) {
        let ask = |toxin| {
            proxy.poison(toxin);
            let mut stream = proxy.front.connect().expect("it listens");
            stream
                .write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
                .expect("it reads");
            // Nothing more is asked, so the wire's end closes after its answer; a reset may have closed it already.
            drop(match &stream {
                Line::Socket(stream) => stream.shutdown(Shutdown::Write),
                Line::Tcp(stream) => stream.shutdown(Shutdown::Write),
            });
            let mut answer = Vec::new();
            // A connection that breaks off is an answer too.
            drop(stream.read_to_end(&mut answer));
            (answer, proxy.fired())
        };
        let (good, fired) = ask(Toxin::None);
        assert!(good.ends_with(b"abc") && fired == 0);
        for toxin in [
            Toxin::LoseAnswer,
            Toxin::Reset,
            Toxin::Truncate,
            Toxin::Garbage,
            Toxin::OtherVersion,
            Toxin::Redirect,
            Toxin::Huge,
        ] {
            let (answer, fired) = ask(toxin);
            assert!(answer != good && fired == 1, "{toxin:?}");
        }
        let (answer, fired) = ask(Toxin::Twice);
        assert!(answer == good && fired == 1);
    }
}
