//! The host: its own word over the control API, and its process and control groups from outside.
//!
//! Which process that is, the socket's peer credentials say, never the host's answer. Its files are held open for as long as
//! the process, the connection's peer and the host's instance stay the same. Where `/proc` does not show the process, as in
//! a container beside it, the figures that the host reads itself stand in.

use crate::clock::Clock;
use crate::host_client::{Answer, HostClient, Peer};
use crate::sense::cgroup::CgroupReader;
use crate::sense::process::ProcessReader;
use trimtab_core::moment::Moment;
use trimtab_core::observation::{CgroupSample, ProcessIo, ProcessSample, Reading};
use trimtab_protocol::decision::Absence;
use trimtab_protocol::name::InstanceId;
use trimtab_protocol::state::HostState;

/// Reads one host.
#[derive(Debug)]
pub struct HostReader {
    client: HostClient,
    attached: Option<Attached>,
}

/// What was read of a host for one tick.
#[derive(Clone, Debug, PartialEq)]
pub struct HostSample {
    /// Its state.
    pub state: Reading<HostState>,
    /// Its process.
    pub process: Reading<ProcessSample>,
    /// Its control groups.
    pub cgroup: Reading<CgroupSample>,
    /// The number of the process at the other end of the socket.
    pub pid: Option<u32>,
}

/// The process that is read, and the run of the host for which it was opened.
#[derive(Debug)]
struct Attached {
    pid: Option<u32>,
    connection: u64,
    instance: Option<InstanceId>,
    process: Result<ProcessReader, Absence>,
    cgroup: Result<CgroupReader, Absence>,
}

impl HostReader {
    /// A reader that calls through this client.
    #[must_use]
    pub fn new(client: HostClient) -> Self {
        Self {
            client,
            attached: None,
        }
    }

    /// Reads the host, within the client's deadline and a few microseconds.
    pub async fn read(&mut self, clock: &dyn Clock) -> HostSample {
        let state = match self.client.state().await {
            Answer::Done(state) => Reading::Fresh { value: state },
            Answer::Refused(_) => absent(Absence::Garbage),
            Answer::Lost(absence) => absent(absence),
        };
        // The state comes first, for it may have come from another process than the last one did.
        let instance = state.fresh().map(|state| &state.instance);
        if let Some(peer) = self.client.peer() {
            let fits = self
                .attached
                .as_mut()
                .is_some_and(|attached| attached.fits(peer, instance));
            if !fits {
                self.attached = Some(Attached::to(peer, instance));
            }
        }
        let (process, cgroup) = match &mut self.attached {
            Some(attached) => attached.read(clock.now()),
            None => {
                // A host that answers and is no peer of a socket is reached over TCP, where the kernel names no process.
                let why = state.absence().unwrap_or(Absence::NotOffered);
                (Err(why), Err(why))
            }
        };
        HostSample {
            process: or_told(process, || process_told(state.fresh()?)),
            cgroup: or_told(cgroup, || cgroup_told(state.fresh()?)),
            pid: self.attached.as_ref().and_then(|attached| attached.pid),
            state,
        }
    }
}

impl Attached {
    fn to(peer: &Peer, instance: Option<&InstanceId>) -> Self {
        let process = peer
            .pid
            .ok_or(Absence::NotOffered)
            .and_then(|pid| ProcessReader::open(pid, peer.handle.clone()));
        let cgroup = match &process {
            Ok(process) => CgroupReader::open(process.pid())
                // It was opened by number; that the process still lives proves the number right.
                .and_then(|groups| process.is_alive().then_some(groups).ok_or(Absence::Gone)),
            Err(absence) => Err(*absence),
        };
        tracing::debug!(
            pid = peer.pid,
            connection = peer.connection,
            process = process.is_ok(),
            cgroup = cgroup.is_ok(),
            "attached to the process of the host"
        );
        Self {
            pid: peer.pid,
            connection: peer.connection,
            instance: instance.cloned(),
            process,
            cgroup,
        }
    }

    /// Whether what is held open is of the process that the peer is. A new connection to the same living process changes
    /// nothing; another instance always does, for a program may replace itself and keep its number.
    fn fits(&mut self, peer: &Peer, instance: Option<&InstanceId>) -> bool {
        if let (Some(known), Some(told)) = (&self.instance, instance)
            && known != told
        {
            return false;
        }
        if self.connection != peer.connection {
            let same = self.pid == peer.pid
                && self.process.as_ref().is_ok_and(ProcessReader::is_alive)
                && self.cgroup.is_ok();
            if !same {
                return false;
            }
            self.connection = peer.connection;
        }
        if self.instance.is_none() {
            self.instance = instance.cloned();
        }
        true
    }

    fn read(
        &mut self,
        at: Moment,
    ) -> (
        Result<ProcessSample, Absence>,
        Result<CgroupSample, Absence>,
    ) {
        let process = match &self.process {
            Ok(reader) => reader.read_with_traffic(at),
            Err(absence) => Err(*absence),
        };
        let cgroup = match &mut self.cgroup {
            Ok(reader) => reader.read(),
            Err(absence) => Err(*absence),
        };
        (process, cgroup)
    }
}

fn absent<T>(absence: Absence) -> Reading<T> {
    Reading::Absent { absence }
}

/// The outside reading; where it is not offered, what the host itself tells.
fn or_told<T>(read: Result<T, Absence>, told: impl FnOnce() -> Option<T>) -> Reading<T> {
    let value = match read {
        Err(Absence::NotOffered) => told().ok_or(Absence::NotOffered),
        read => read,
    };
    match value {
        Ok(value) => Reading::Fresh { value },
        Err(absence) => absent(absence),
    }
}

/// The host's figures about its own process, if it has all of them. They are as old as the state.
fn process_told(state: &HostState) -> Option<ProcessSample> {
    Some(ProcessSample {
        at: Moment::from_boot_ns(state.at_ns),
        cpu_ns: state.process.cpu_us?.checked_mul(1_000)?,
        rss_bytes: state.process.rss_bytes?,
        threads: state.process.threads?,
        io: ProcessIo::default(),
    })
}

/// The host's figures about its control group, if it is in one.
fn cgroup_told(state: &HostState) -> Option<CgroupSample> {
    let told = state.process.cgroup.as_ref()?;
    Some(CgroupSample {
        cpu_quota_millicores: told.cpu_quota_millicores,
        throttled_us: told.throttled_us,
        memory_bytes: told.memory_bytes,
        memory_limit_bytes: told.memory_limit_bytes,
        ..CgroupSample::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};
    use std::sync::Arc;
    use trimtab_protocol::state::{CgroupFigures, ProcessFigures};
    use trimtab_sys::process::PidFd;

    fn peer(pid: u32, connection: u64) -> Peer {
        Peer {
            pid: Some(pid),
            uid: 0,
            handle: PidFd::open(pid).ok().map(Arc::new),
            connection,
        }
    }

    fn sleeper() -> Child {
        Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("it can be started")
    }

    fn end(mut child: Child) {
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
    }

    fn state() -> HostState {
        serde_json::from_str(r#"{"api":1,"app":"shop","instance":"i-1","at_ns":5000}"#)
            .expect("it is a state")
    }

    const AT: Moment = Moment::from_boot_ns(1);

    #[test]
    fn a_new_connection_to_the_same_process_changes_nothing() {
        let own = std::process::id();
        let one = InstanceId::from("i-1");
        let mut attached = Attached::to(&peer(own, 1), None);
        assert!(attached.fits(&peer(own, 1), Some(&one)), "now it is known");
        assert_eq!(attached.instance.as_ref(), Some(&one));
        if attached.cgroup.is_ok() {
            assert!(attached.fits(&peer(own, 2), Some(&one)));
        }
        assert!(attached.fits(&peer(own, attached.connection), None));
    }

    #[test]
    fn another_instance_or_another_process_is_attached_to_anew() {
        let own = std::process::id();
        let (one, two) = (InstanceId::from("i-1"), InstanceId::from("i-2"));
        let mut attached = Attached::to(&peer(own, 1), Some(&one));
        assert!(!attached.fits(&peer(own, 1), Some(&two)));
        let child = sleeper();
        assert!(!attached.fits(&peer(child.id(), 2), Some(&one)));
        end(child);
    }

    #[test]
    fn a_process_that_ended_is_gone_until_another_peer_answers() {
        let child = sleeper();
        let mut attached = Attached::to(&peer(child.id(), 1), None);
        assert!(attached.read(AT).0.is_ok());
        let ended = peer(child.id(), 2);
        end(child);
        let (process, _) = attached.read(AT);
        assert_eq!(process, Err(Absence::Gone));
        assert!(!attached.fits(&ended, None));
        assert_eq!(Attached::to(&ended, None).read(AT).0, Err(Absence::Gone));
    }

    #[test]
    fn a_process_that_is_not_visible_here_is_what_the_host_says() {
        let hidden = Peer {
            pid: None,
            uid: 0,
            handle: None,
            connection: 1,
        };
        let (process, cgroup) = Attached::to(&hidden, None).read(AT);
        assert_eq!(process, Err(Absence::NotOffered));
        let mut state = state();
        assert_eq!(
            or_told(process, || process_told(&state)).absence(),
            Some(Absence::NotOffered),
            "it says nothing"
        );
        state.process = ProcessFigures {
            cpu_us: Some(7),
            rss_bytes: Some(4096),
            threads: Some(3),
            cgroup: Some(CgroupFigures {
                memory_limit_bytes: Some(9),
                ..CgroupFigures::default()
            }),
            ..ProcessFigures::default()
        };
        assert_eq!(
            or_told(process, || process_told(&state)).fresh(),
            Some(&ProcessSample {
                at: Moment::from_boot_ns(5000),
                cpu_ns: 7_000,
                rss_bytes: 4096,
                threads: 3,
                io: ProcessIo::default(),
            })
        );
        assert_eq!(
            or_told(cgroup, || cgroup_told(&state)).fresh(),
            Some(&CgroupSample {
                memory_limit_bytes: Some(9),
                ..CgroupSample::default()
            })
        );
        state.process.threads = None;
        assert_eq!(process_told(&state), None, "half a sample is none");
    }

    #[test]
    fn a_process_that_is_gone_is_not_made_up_for_by_words() {
        let gone: Result<u64, Absence> = Err(Absence::Gone);
        assert_eq!(or_told(gone, || Some(5)).absence(), Some(Absence::Gone));
    }
}
