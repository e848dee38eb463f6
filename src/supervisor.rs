//! What a supervisor such as systemd is told, and what it hands over: the notification socket, the watchdog, listening sockets.
//!
//! The watchdog is fed by finished ticks and by nothing else. A sidecar whose pages answer while its loop stands still is
//! dead in all that matters, and the supervisor is to start it anew. A tick in which the host could not be read is finished
//! too: a restart of the sidecar would not bring the host back.

use crate::view::{View, words};
use listenfd::ListenFd;
use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;
use trimtab_core::moment::Moment;

/// The supervisor's notification socket.
#[derive(Debug)]
pub struct Supervisor {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: bool,
}

impl Supervisor {
    /// The supervisor that the variables tell of, as sd_notify(3) describes them: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and
    /// `WATCHDOG_PID`. Nothing where there is none.
    ///
    /// # Errors
    /// There is one, and its socket cannot be used.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>) -> io::Result<Option<Self>> {
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(Path::new(&name))?,
        };
        let socket = UnixDatagram::unbound()?;
        // A supervisor that does not read is not waited for.
        socket.set_nonblocking(true)?;
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = ours && number("WATCHDOG_USEC").is_some_and(|time| time > 0);
        Ok(Some(Self {
            socket,
            address,
            watchdog,
        }))
    }

    /// The sidecar has started.
    pub fn ready(&self) {
        self.tell("READY=1\nSTATUS=looking at the host for the first time");
    }

    /// The sidecar is about to end.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=undoing what is open");
    }

    /// Tells of each finished tick, until there will be no more.
    pub async fn follow(&self, mut view: watch::Receiver<Arc<View>>) {
        let mut last = None;
        while view.changed().await.is_ok() {
            let tick = newest(&view.borrow_and_update());
            let Some((at, summary)) = tick.filter(|(at, _)| last < Some(*at)) else {
                continue;
            };
            last = Some(at);
            let feed = if self.watchdog { "WATCHDOG=1\n" } else { "" };
            self.tell(&format!("{feed}STATUS={}", words::foreign(&summary)));
        }
    }

    fn tell(&self, state: &str) {
        if let Err(error) = self.socket.send_to_addr(state.as_bytes(), &self.address) {
            tracing::debug!(%error, "the supervisor did not hear");
        }
    }
}

/// The last tick that was finished, and how things stand after it.
fn newest(view: &View) -> Option<(Moment, String)> {
    let hosts = view.hosts.values();
    let newest = hosts.max_by_key(|host| host.at)?;
    Some((newest.at, newest.status.summary.clone()))
}

/// The first listening socket that a supervisor opened for this process, if it did.
///
/// # Errors
/// What was handed over is no listening TCP socket.
pub fn inherited_listener() -> io::Result<Option<TcpListener>> {
    ListenFd::from_env().take_tcp_listener(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::pack::SampleHistory;
    use crate::view::ring::Ring;
    use crate::view::{HostView, Stored};
    use std::time::Duration;
    use trimtab_core::moment::Span;
    use trimtab_protocol::view::HostStatus;

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 1_024];
        let length = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn status(summary: &str) -> HostStatus {
        let json = serde_json::json!({
            "host": "shop", "mode": "act", "summary": summary, "app": "", "version": "", "frozen": false, "lease_ours": false,
            "conformance": 2, "sample": {"at_ms": 0, "moment_ns": 0}, "pools": {},
        });
        serde_json::from_value(json).expect("it is a status")
    }

    /// The view after a tick; `entries` are written between ticks too.
    fn view(second: u64, summary: &str, last_sequence: u64) -> Arc<View> {
        let host = HostView {
            status: Arc::new(status(summary)),
            at: Moment::default().after(Span::from_secs(second)),
            samples: SampleHistory::new(1, 1_024),
            entries: Ring::<Arc<Stored>>::new(1, 1_024),
            deeds: Ring::<Arc<Stored>>::new(1, 1_024),
        };
        let mut view = View::empty("b");
        view.hosts.insert("shop".into(), Arc::new(host));
        view.last_sequence = last_sequence;
        Arc::new(view)
    }

    fn supervisor(root: &Path, watchdog: &[(&str, String)]) -> (UnixDatagram, Supervisor) {
        let path = root.join("notify");
        let socket = UnixDatagram::bind(&path).expect("it is free");
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a hang guard");
        let supervisor = Supervisor::of(|name| {
            if name == "NOTIFY_SOCKET" {
                return Some(path.clone().into());
            }
            let given = watchdog.iter().find(|(key, _)| *key == name);
            given.map(|(_, value)| value.into())
        });
        (
            socket,
            supervisor.expect("it is usable").expect("it is there"),
        )
    }

    #[tokio::test]
    async fn the_watchdog_is_fed_by_finished_ticks_only() {
        let root = tempfile::tempdir().expect("a directory");
        let watchdog = [("WATCHDOG_USEC", "3000000".to_owned())];
        let (socket, supervisor) = supervisor(root.path(), &watchdog);
        let (views, seen) = watch::channel(Arc::new(View::empty("b")));
        let following = async {
            supervisor.follow(seen).await;
            supervisor.stopping();
        };
        let publishing = async {
            supervisor.ready();
            for view in [
                Arc::new(View::empty("b")),
                view(1, "all is\u{1b} well", 1),
                // An intent and an outcome are published between two ticks.
                view(1, "all is well", 2),
                view(1, "all is well", 3),
                view(2, "it is starved", 4),
            ] {
                views.send_replace(view);
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
            }
            drop(views);
        };
        tokio::join!(following, publishing);
        let told: Vec<String> = std::iter::from_fn(|| heard(&socket)).take(4).collect();
        let expected = [
            "READY=1\nSTATUS=looking at the host for the first time",
            "WATCHDOG=1\nSTATUS=all is\u{fffd} well",
            "WATCHDOG=1\nSTATUS=it is starved",
            "STOPPING=1\nSTATUS=undoing what is open",
        ];
        assert_eq!(told, expected);
    }

    #[tokio::test]
    async fn a_watchdog_of_another_process_or_of_none_is_not_fed() {
        for watchdog in [
            &[][..],
            &[("WATCHDOG_USEC", "0".to_owned())],
            &[
                ("WATCHDOG_USEC", "3000000".to_owned()),
                ("WATCHDOG_PID", "1".to_owned()),
            ],
        ] {
            let root = tempfile::tempdir().expect("a directory");
            let (socket, supervisor) = supervisor(root.path(), watchdog);
            let (views, seen) = watch::channel(Arc::new(View::empty("b")));
            views.send_replace(view(1, "well", 1));
            drop(views);
            supervisor.follow(seen).await;
            supervisor.ready();
            let told = heard(&socket).expect("something is told");
            assert!(!told.contains("WATCHDOG"), "{told}");
        }
    }

    #[test]
    fn without_a_supervisor_there_is_nobody_to_tell() {
        assert!(Supervisor::of(|_| None).expect("no error").is_none());
        let empty = Supervisor::of(|_| Some(OsString::new()));
        assert!(empty.expect("no error").is_none());
    }

    #[test]
    fn an_abstract_name_is_a_socket_too() {
        let name = format!("trimtab-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("it is free");
        let supervisor = Supervisor::of(|variable| {
            (variable == "NOTIFY_SOCKET").then(|| format!("@{name}").into())
        });
        supervisor
            .expect("it is usable")
            .expect("it is there")
            .ready();
        assert!(heard(&socket).is_some_and(|told| told.starts_with("READY=1")));
    }
}
