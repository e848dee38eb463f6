//! Limits, use and pressure of a process's control groups, of version 1, version 2, or both side by side.
//!
//! Which version holds a controller is settled controller by controller: one that a version 1 hierarchy lists in
//! `/proc/PID/cgroup` is read there, every other in version 2. That cgroup2 is mounted says nothing by itself, for on hybrid
//! machines it is mounted and empty. A limit is the smallest on the way from the group up to the mount.
//!
//! Files are held open and read at every tick, limits included, because they change while a process runs; a file that
//! vanished is looked for again. When the process is moved to another group, everything is opened anew. A group that lies
//! outside what is mounted here is absent; the limits of some other group are never taken for it.

mod handle;
mod place;

use self::handle::{Handle, Scratch};
use self::place::Places;
use std::path::{Path, PathBuf};
use trimtab_core::observation::CgroupSample;
use trimtab_protocol::decision::Absence;

/// At and above this, version 1 means that there is no limit: the largest 64-bit number, rounded down to a page of 64 KiB.
const NO_LIMIT_BYTES: u64 = 0x7fff_ffff_ffff_0000;

/// Reads the control groups of one process.
#[derive(Debug)]
pub struct CgroupReader {
    root: PathBuf,
    pid: u32,
    membership: Handle,
    /// What `/proc/PID/cgroup` said when the files below were chosen.
    known: Vec<u8>,
    /// Whether any of them lies in what is mounted here.
    visible: bool,
    groups: Groups,
    scratch: Scratch,
}

impl CgroupReader {
    /// Attaches to the groups of the process with this number. Whether it still is the same process is for the caller to know.
    ///
    /// # Errors
    /// `Gone` when `/proc` does not show the process; `NotOffered` when none of its groups lies in what is mounted here.
    pub fn open(pid: u32) -> Result<Self, Absence> {
        Self::open_under(Path::new("/"), pid)
    }

    /// The same, with `/proc` and all mounts looked up below another directory.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_under(root: &Path, pid: u32) -> Result<Self, Absence> {
        let mut reader = Self {
            root: root.to_owned(),
            pid,
            membership: Handle::new(root.join(format!("proc/{pid}/cgroup"))),
            known: Vec::new(),
            visible: false,
            groups: Groups::default(),
            scratch: Scratch::default(),
        };
        reader.follow()?;
        Ok(reader)
    }

    /// One sample.
    ///
    /// # Errors
    /// `Gone` when the process has ended; `NotOffered` when it was moved to a group that is not visible here.
    pub fn read(&mut self) -> Result<CgroupSample, Absence> {
        self.follow()?;
        let Self {
            groups, scratch, ..
        } = self;
        Ok(CgroupSample {
            cpu_quota_millicores: groups.cpu.quota_millicores(scratch),
            cpu_usage_us: groups.cpu.usage_us(scratch),
            throttled_us: groups.cpu.throttled_us(scratch),
            memory_limit_bytes: groups.memory.limit_bytes(scratch),
            oom_kills: groups.memory.oom_kills(scratch),
            cpu_pressure: groups.cpu_pressure.read(scratch),
            memory_pressure: groups.memory_pressure.read(scratch),
            ..groups.memory.usage(scratch)
        })
    }

    /// Opens everything anew if the process is in other groups than before.
    fn follow(&mut self) -> Result<(), Absence> {
        // It is never opened again by its number, which another process may have by now.
        let text = self
            .membership
            .read_held(&mut self.scratch)
            .ok_or(Absence::Gone)?;
        if text != self.known {
            self.known = text.to_vec();
            let mounts = std::fs::read(self.root.join("proc/self/mountinfo")).unwrap_or_default();
            let places = Places::find(&self.known, &mounts);
            tracing::debug!(pid = self.pid, ?places, "control groups found");
            self.groups = Groups::open(&self.root, &places);
            self.visible = !places.is_empty();
        }
        if self.visible {
            Ok(())
        } else {
            Err(Absence::NotOffered)
        }
    }
}

#[derive(Debug, Default)]
struct Groups {
    cpu: Cpu,
    memory: Memory,
    cpu_pressure: Pressure,
    memory_pressure: Pressure,
}

impl Groups {
    fn open(root: &Path, places: &Places) -> Self {
        let pressure = |kind: &str| Pressure {
            // Version 2 tells pressure a group, wherever the controllers are.
            group: places
                .unified
                .as_ref()
                .map(|place| place.file(root, &format!("{kind}.pressure"))),
            machine: Some(Handle::new(root.join(format!("proc/pressure/{kind}")))),
        };
        Self {
            cpu: Cpu::open(root, places),
            memory: Memory::open(root, places),
            cpu_pressure: pressure("cpu"),
            memory_pressure: pressure("memory"),
        }
    }
}

/// The CPU controller. Usage and throttling are of the group itself; the quota is the smallest on the way up.
#[derive(Debug, Default)]
enum Cpu {
    #[default]
    None,
    V1 {
        quotas: Vec<(Handle, Handle)>,
        usage: Option<Handle>,
        stat: Option<Handle>,
    },
    V2 {
        quotas: Vec<Handle>,
        stat: Handle,
    },
}

impl Cpu {
    fn open(root: &Path, places: &Places) -> Self {
        if places.cpu.is_some() || places.cpuacct.is_some() {
            let cpu = places.cpu.as_ref();
            let quotas = cpu.map_or_else(Vec::new, |place| {
                let periods = place.files_upward(root, "cpu.cfs_period_us");
                let quotas = place.files_upward(root, "cpu.cfs_quota_us");
                quotas.into_iter().zip(periods).collect()
            });
            let usage = places.cpuacct.as_ref();
            return Self::V1 {
                quotas,
                usage: usage.map(|place| place.file(root, "cpuacct.usage")),
                stat: cpu.map(|place| place.file(root, "cpu.stat")),
            };
        }
        places
            .unified
            .as_ref()
            .map_or(Self::None, |place| Self::V2 {
                quotas: place.files_upward(root, "cpu.max"),
                stat: place.file(root, "cpu.stat"),
            })
    }

    fn quota_millicores(&mut self, scratch: &mut Scratch) -> Option<u64> {
        match self {
            Self::None => None,
            Self::V1 { quotas, .. } => quotas
                .iter_mut()
                .filter_map(|(quota, period)| {
                    // Without a quota it is -1, which is no number.
                    let quota = quota.number(scratch)?;
                    millicores(quota, period.number(scratch)?)
                })
                .min(),
            Self::V2 { quotas, .. } => quotas
                .iter_mut()
                .filter_map(|max| parse_cpu_max(max.read(scratch)?))
                .min(),
        }
    }

    fn usage_us(&mut self, scratch: &mut Scratch) -> Option<u64> {
        match self {
            Self::None => None,
            Self::V1 { usage, .. } => Some(usage.as_mut()?.number(scratch)? / 1_000),
            Self::V2 { stat, .. } => parse_keyed(stat.read(scratch)?, b"usage_usec"),
        }
    }

    fn throttled_us(&mut self, scratch: &mut Scratch) -> Option<u64> {
        match self {
            Self::None => None,
            Self::V1 { stat, .. } => {
                Some(parse_keyed(stat.as_mut()?.read(scratch)?, b"throttled_time")? / 1_000)
            }
            Self::V2 { stat, .. } => parse_keyed(stat.read(scratch)?, b"throttled_usec"),
        }
    }
}

/// The memory controller; the two versions differ in the names of files and keys.
#[derive(Debug, Default)]
struct Memory {
    limits: Vec<Handle>,
    usage: Option<Handle>,
    stat: Option<Handle>,
    events: Option<Handle>,
    inactive_key: &'static [u8],
}

impl Memory {
    fn open(root: &Path, places: &Places) -> Self {
        let (place, [limit, usage, events], inactive_key) = if let Some(place) = &places.memory {
            let names = [
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "memory.oom_control",
            ];
            (place, names, &b"total_inactive_file"[..])
        } else if let Some(place) = &places.unified {
            let names = ["memory.max", "memory.current", "memory.events"];
            (place, names, &b"inactive_file"[..])
        } else {
            return Self::default();
        };
        Self {
            limits: place.files_upward(root, limit),
            usage: Some(place.file(root, usage)),
            stat: Some(place.file(root, "memory.stat")),
            events: Some(place.file(root, events)),
            inactive_key,
        }
    }

    fn limit_bytes(&mut self, scratch: &mut Scratch) -> Option<u64> {
        self.limits
            .iter_mut()
            // Without a limit it is `max`, which is no number, or a number that no machine has.
            .filter_map(|limit| {
                limit
                    .number(scratch)
                    .filter(|bytes| *bytes < NO_LIMIT_BYTES)
            })
            .min()
    }

    fn usage(&mut self, scratch: &mut Scratch) -> CgroupSample {
        let used = self.usage.as_mut().and_then(|usage| usage.number(scratch));
        let inactive = self
            .stat
            .as_mut()
            .and_then(|stat| parse_keyed(stat.read(scratch)?, self.inactive_key));
        CgroupSample {
            memory_bytes: used,
            working_set_bytes: used
                .zip(inactive)
                .map(|(used, inactive)| used.saturating_sub(inactive)),
            ..CgroupSample::default()
        }
    }

    fn oom_kills(&mut self, scratch: &mut Scratch) -> Option<u64> {
        parse_keyed(self.events.as_mut()?.read(scratch)?, b"oom_kill")
    }
}

/// Pressure of the group, or of the machine where the group has none.
#[derive(Debug, Default)]
struct Pressure {
    group: Option<Handle>,
    machine: Option<Handle>,
}

impl Pressure {
    fn read(&mut self, scratch: &mut Scratch) -> Option<f64> {
        [&mut self.group, &mut self.machine]
            .into_iter()
            .flatten()
            .find_map(|handle| parse_pressure(handle.read(scratch)?))
    }
}

/// A quota in thousandths of a core.
fn millicores(quota: u64, period: u64) -> Option<u64> {
    quota.checked_mul(1_000)?.checked_div(period)
}

/// Reads `cpu.max`: `QUOTA PERIOD`, in thousandths of a core; nothing for `max`.
#[must_use]
pub fn parse_cpu_max(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let quota = fields.next()?.parse().ok()?;
    let period = fields
        .next()
        .map_or(Some(100_000), |period| period.parse().ok())?;
    millicores(quota, period)
}

/// Reads the number behind a key in a file of `KEY NUMBER` lines.
#[must_use]
pub fn parse_keyed(text: &[u8], key: &[u8]) -> Option<u64> {
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let number = line.strip_prefix(key)?.strip_prefix(b" ")?;
        std::str::from_utf8(number).ok()?.trim().parse().ok()
    })
}

/// Reads a pressure file: the share of the last ten seconds in which some task waited, 0 to 1.
#[must_use]
pub fn parse_pressure(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let percent: f64 = line
        .split_ascii_whitespace()
        .find_map(|field| field.strip_prefix("avg10="))?
        .parse()
        .ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

#[cfg(test)]
mod tests;
