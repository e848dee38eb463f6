//! A wire that can be made bad: it stands between a sidecar and its host, on a Unix socket of its own.

use super::{pause, wire};
use anyhow::Result;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
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

/// The wire.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) socket: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    host: PathBuf,
    toxin: AtomicUsize,
    fired: AtomicU64,
}

impl Proxy {
    /// Listens on a socket, and passes on to the host's.
    pub(super) fn start(socket: PathBuf, host: &Path) -> Result<Self> {
        let listener = UnixListener::bind(&socket)?;
        let shared = Arc::new(Shared {
            host: host.to_owned(),
            toxin: AtomicUsize::new(0),
            fired: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.carry(stream));
            }
        });
        Ok(Self { socket, shared })
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

impl Shared {
    /// Carries what one connection brings, until it ends.
    fn carry(&self, mut client: UnixStream) {
        let mut host = None;
        while let Some(request) = wire::message(&mut client) {
            let number = self.toxin.load(Ordering::SeqCst);
            let toxin = TOXINS.get(number).copied().unwrap_or(Toxin::None);
            if toxin != Toxin::None {
                self.fired.fetch_add(1, Ordering::SeqCst);
            }
            if self.one(toxin, &request, &mut client, &mut host).is_none() {
                // It may be closed already.
                drop(client.shutdown(Shutdown::Both));
                return;
            }
        }
    }

    /// One request; nothing when the connection is to end.
    fn one(
        &self,
        toxin: Toxin,
        request: &[u8],
        client: &mut UnixStream,
        kept: &mut Option<UnixStream>,
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
        client: &mut UnixStream,
        kept: &mut Option<UnixStream>,
    ) -> Option<()> {
        let mut host = match kept.take() {
            Some(host) => host,
            None => UnixStream::connect(&self.host).ok()?,
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

fn huge(client: &mut UnixStream) -> Option<()> {
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
    use std::io::Read;

    /// A host that answers everything with three letters.
    fn host(socket: &Path) {
        let listener = UnixListener::bind(socket).expect("a socket");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
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
    }

    #[test]
    fn every_toxin_does_something_and_says_so() {
        let directory = std::env::temp_dir().join(format!("trimtab-proxy-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let back = directory.join("back.sock");
        host(&back);
        let proxy = Proxy::start(directory.join("front.sock"), &back).expect("a socket");
        let ask = |toxin| {
            proxy.poison(toxin);
            let mut stream = UnixStream::connect(&proxy.socket).expect("it listens");
            stream
                .write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
                .expect("it reads");
            stream.shutdown(Shutdown::Write).expect("it is open");
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
        std::fs::remove_dir_all(directory).expect("it is ours");
    }
}
