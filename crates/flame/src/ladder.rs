//! The ways to see into a process, best first, and what is in the way of each.
//!
//! Which one is reached is found out by trying, and for each that is not there is a reason and what would help.

use crate::python;
use crate::session::{Session, setup, threads};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use trimtab_sys::perf::{Event, paranoia};

/// One way to see into a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// Python's own calls, read from a CPython process while it runs.
    Python,
    /// The kernel's samples of a whole control group: one counter a CPU, whatever the number of threads.
    PerfCgroup,
    /// The kernel's samples of each thread, with what happened in the kernel.
    PerfKernel,
    /// The kernel's samples of each thread, without what happened in the kernel.
    PerfUser,
    /// The profile that the process offers of itself over HTTP.
    OwnProfile,
    /// Which threads run and which wait, read again and again; no stacks.
    ThreadStates,
}

impl Rung {
    /// Whether it shows the stacks of compiled code.
    #[must_use]
    pub fn has_native_stacks(self) -> bool {
        matches!(self, Self::PerfCgroup | Self::PerfKernel | Self::PerfUser)
    }

    /// What a graph calls it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Python => "py-spy, Python's calls",
            Self::PerfCgroup => "perf by control group, user and kernel frames",
            Self::PerfKernel => "perf, user and kernel frames",
            Self::PerfUser => "perf, user frames",
            Self::OwnProfile => "the host's own profile",
            Self::ThreadStates => "thread states of /proc",
        }
    }
}

/// Whether a rung is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which.
    pub rung: Rung,
    /// Whether it is.
    pub reached: bool,
    /// Why, or why not.
    pub reason: String,
    /// What would help; empty where it is reached.
    pub fix: String,
}

/// What the kernel and the process let us do; tests answer as other machines would.
pub trait Ground {
    /// Tries to sample a process.
    ///
    /// # Errors
    /// Why not.
    fn try_perf(&self, pid: u32, kernel: bool) -> io::Result<()>;
    /// Tries to read a process's Python.
    ///
    /// # Errors
    /// Why not, and what would help.
    fn try_python(&self, pid: u32) -> Result<String, (String, String)>;
    /// Tries to sample the control group that belongs to the process alone.
    ///
    /// # Errors
    /// Why not, in words.
    fn try_cgroup(&self, pid: u32) -> Result<PathBuf, String>;
    /// Whether threads of the process can be listed.
    fn has_threads(&self, pid: u32) -> bool;
    /// The kernel's own setting.
    fn paranoia(&self) -> Option<i32>;
}

/// This machine.
#[derive(Clone, Copy, Debug)]
pub struct Here;

impl Ground for Here {
    fn try_perf(&self, pid: u32, kernel: bool) -> io::Result<()> {
        let setup = setup(Event::CpuClock { hz: 1 }, 1_024, kernel);
        Session::of_one_thread(pid, setup)
    }

    fn try_python(&self, pid: u32) -> Result<String, (String, String)> {
        python::probe(pid)
    }

    fn try_cgroup(&self, pid: u32) -> Result<PathBuf, String> {
        let directory = own_cgroup(pid)?;
        let setup = setup(Event::CpuClock { hz: 1 }, 1_024, true);
        match Session::of_cgroup(&directory, setup) {
            Ok(_) => Ok(directory),
            Err(error) => Err(error.to_string()),
        }
    }

    fn has_threads(&self, pid: u32) -> bool {
        !threads(pid).is_empty()
    }

    fn paranoia(&self) -> Option<i32> {
        paranoia()
    }
}

/// All rungs for a process, best first.
#[must_use]
pub fn probe(ground: &dyn Ground, pid: u32, own_profile: Option<&str>) -> Vec<Step> {
    let step = |rung, outcome: Result<String, (String, String)>| match outcome {
        Ok(reason) => Step {
            rung,
            reached: true,
            reason,
            fix: String::new(),
        },
        Err((reason, fix)) => Step {
            rung,
            reached: false,
            reason,
            fix,
        },
    };
    let paranoia = ground.paranoia();
    let perf = |kernel| {
        let outcome = ground.try_perf(pid, kernel);
        outcome
            .map(|()| "the kernel lets us".to_owned())
            .map_err(|error| (refused(&error, paranoia), help(&error, kernel)))
    };
    let cgroup = ground.try_cgroup(pid);
    let cgroup = cgroup.map(|directory| format!("its control group is {}", directory.display())).map_err(|reason| {
        let fix = "run the host in a control group of its own and give Trimtab CAP_PERFMON; per thread it works without";
        (reason, fix.to_owned())
    });
    let own = own_profile.map(|address| format!("it is asked at {address}")).ok_or_else(|| {
        let fix = "where the host serves /debug/pprof/profile, as Go services do and Rust services with the host kit's feature `pprof`, \
                   name that address in the configuration (flame.own_profile)";
        ("no address of one is configured".to_owned(), fix.to_owned())
    });
    let states = if ground.has_threads(pid) {
        Ok("its threads can be listed".to_owned())
    } else {
        Err((
            format!("no threads of process {pid} can be seen"),
            "is it running, and in this PID namespace?".to_owned(),
        ))
    };
    vec![
        step(Rung::Python, ground.try_python(pid)),
        step(Rung::PerfCgroup, cgroup),
        step(Rung::PerfKernel, perf(true)),
        step(Rung::PerfUser, perf(false)),
        step(Rung::OwnProfile, own),
        step(Rung::ThreadStates, states),
    ]
}

fn refused(error: &io::Error, paranoia: Option<i32>) -> String {
    let level = paranoia
        .map(|level| format!(" (kernel.perf_event_paranoid is {level})"))
        .unwrap_or_default();
    format!("perf_event_open: {error}{level}")
}

fn help(error: &io::Error, kernel: bool) -> String {
    const ENOSYS: i32 = 38;
    let text = match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::NotFound, _) => "is the process running, and in this PID namespace?",
        (_, Some(ENOSYS)) => {
            "this kernel or container has no perf events; let its seccomp profile allow perf_event_open"
        }
        (_, _) if kernel => "set kernel.perf_event_paranoid to 1, or give Trimtab CAP_PERFMON",
        (_, _) => {
            "run Trimtab as the host's user with kernel.perf_event_paranoid at most 2, or give it CAP_PERFMON and \
             CAP_SYS_PTRACE; in a container its seccomp profile must allow perf_event_open"
        }
    };
    text.to_owned()
}

/// The directory of a process's control group, where that is not shared with us or with everybody.
fn own_cgroup(pid: u32) -> Result<PathBuf, String> {
    let path = |of: &str| -> Option<String> {
        let text = std::fs::read_to_string(format!("/proc/{of}/cgroup")).ok()?;
        control_group(&text).map(str::to_owned)
    };
    let host = path(&pid.to_string()).ok_or("it has no control group that counts events")?;
    if host == "/" {
        return Err("it runs in the root of all control groups".to_owned());
    }
    if path("self").as_ref() == Some(&host) {
        return Err("it shares its control group with Trimtab".to_owned());
    }
    let roots = [
        "/sys/fs/cgroup/perf_event",
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/unified",
    ];
    let directories = roots
        .iter()
        .map(|root| PathBuf::from(format!("{root}{host}")));
    let directory = directories
        .into_iter()
        .find(|directory| directory.join("cgroup.procs").is_file());
    directory.ok_or_else(|| format!("its control group {host} is not to be seen from here"))
}

/// The group by which the kernel counts events, from a text as in `/proc/PID/cgroup`: that of version 1 where events have a
/// hierarchy of their own, else that of version 2.
fn control_group(text: &str) -> Option<&str> {
    let of_version_1 = text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let counts = controllers.split(',').any(|name| name == "perf_event");
        counts.then_some(path)
    });
    of_version_1.or_else(|| text.lines().find_map(|line| line.strip_prefix("0::")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that answers as it is told.
    struct Machine {
        kernel: Option<i32>,
        user: Option<i32>,
        cgroup: bool,
        python: bool,
    }

    impl Ground for Machine {
        fn try_perf(&self, _pid: u32, kernel: bool) -> io::Result<()> {
            let refusal = if kernel { self.kernel } else { self.user };
            refusal.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
        }

        fn try_python(&self, _pid: u32) -> Result<String, (String, String)> {
            if self.python {
                Ok("it runs CPython 3.11".to_owned())
            } else {
                Err(("no CPython".to_owned(), "none is needed".to_owned()))
            }
        }

        fn try_cgroup(&self, _pid: u32) -> Result<PathBuf, String> {
            if self.cgroup {
                Ok(PathBuf::from("/sys/fs/cgroup/shop"))
            } else {
                Err("shared".to_owned())
            }
        }

        fn has_threads(&self, _pid: u32) -> bool {
            true
        }

        fn paranoia(&self) -> Option<i32> {
            Some(2)
        }
    }

    fn reached(machine: &Machine) -> Vec<Rung> {
        let steps = probe(machine, 1, None);
        steps
            .into_iter()
            .filter(|step| step.reached)
            .map(|step| step.rung)
            .collect()
    }

    #[test]
    fn each_machine_reaches_what_it_lets_us() {
        const EACCES: i32 = 13;
        let root = Machine {
            kernel: None,
            user: None,
            cgroup: true,
            python: true,
        };
        let all = [
            Rung::Python,
            Rung::PerfCgroup,
            Rung::PerfKernel,
            Rung::PerfUser,
            Rung::ThreadStates,
        ];
        assert_eq!(reached(&root), all);
        let same_user = Machine {
            kernel: Some(EACCES),
            user: None,
            cgroup: false,
            python: false,
        };
        assert_eq!(reached(&same_user), [Rung::PerfUser, Rung::ThreadStates]);
        let container = Machine {
            kernel: Some(EACCES),
            user: Some(EACCES),
            cgroup: false,
            python: false,
        };
        assert_eq!(reached(&container), [Rung::ThreadStates]);
    }

    #[test]
    fn what_is_not_reached_has_a_reason_and_a_way() {
        let machine = Machine {
            kernel: Some(13),
            user: Some(38),
            cgroup: false,
            python: false,
        };
        for step in probe(&machine, 1, None).iter().filter(|step| !step.reached) {
            assert!(!step.reason.is_empty() && !step.fix.is_empty(), "{step:?}");
        }
        let steps = probe(
            &machine,
            1,
            Some("http://127.0.0.1:6060/debug/pprof/profile"),
        );
        assert!(
            steps
                .iter()
                .any(|step| step.rung == Rung::OwnProfile && step.reached)
        );
    }

    #[test]
    fn events_are_counted_by_the_hierarchy_that_has_them() {
        let hybrid = "9:name=systemd:/x\n5:cpu,perf_event:/shop\n0::/other";
        assert_eq!(control_group(hybrid), Some("/shop"));
        assert_eq!(control_group("2:cpu:/a\n0::/other"), Some("/other"));
        assert_eq!(control_group("2:cpu:/a"), None);
    }

    #[test]
    fn a_process_of_this_machine_can_be_seen_somehow() {
        let steps = probe(&Here, std::process::id(), None);
        assert!(steps.iter().any(|step| step.reached), "{steps:?}");
        let nobody = probe(&Here, u32::MAX, None);
        assert!(nobody.iter().all(|step| !step.reached), "{nobody:?}");
    }
}
