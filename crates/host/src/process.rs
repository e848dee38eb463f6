//! The host's own process, read by itself: for a sidecar that does not see its `/proc`.
//!
//! A figure that cannot be read is left out; it is never zero.

use crate::tasks::RuntimeHandle;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use trimtab_protocol::state::{CgroupFigures, ProcessFigures, RuntimeFigures};

/// Reads the process. The runtimes are those that the service named.
pub(crate) fn figures(runtimes: &[RuntimeHandle], kit_failures: u64) -> ProcessFigures {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let runtimes: BTreeMap<String, RuntimeFigures> = runtimes
        .iter()
        .map(|runtime| (runtime.name().to_owned(), runtime.figures()))
        .collect();
    ProcessFigures {
        cpu_us: trimtab_sys::clock::process_cpu_ns().map(|ns| ns / 1_000),
        rss_bytes: field(&status, "VmRSS:").and_then(|kib| kib.checked_mul(1024)),
        threads: field(&status, "Threads:"),
        tasks: (!runtimes.is_empty())
            .then(|| runtimes.values().filter_map(|runtime| runtime.tasks).sum()),
        runtimes,
        cgroup: cgroup(&Cgroups::own()),
        kit_failures: Some(kit_failures),
    }
}

/// The first number after a field's name, as `/proc` writes it.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Where the process's control groups are: each controller is either on a tree of its own (v1) or on the common one (v2).
#[derive(Debug, Default)]
struct Cgroups {
    mount: PathBuf,
    /// What `/proc/self/cgroup` says.
    text: String,
}

impl Cgroups {
    fn own() -> Self {
        Self {
            mount: PathBuf::from("/sys/fs/cgroup"),
            text: fs::read_to_string("/proc/self/cgroup").unwrap_or_default(),
        }
    }

    /// The directory of a controller on a tree of its own.
    fn v1(&self, controller: &str) -> Option<PathBuf> {
        let (controllers, path) = self.text.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let on_it = controllers.split(',').any(|listed| listed == controller);
            on_it.then_some((controllers, path))
        })?;
        let root = self.mount.join(controllers);
        // Inside a container the path is often the outer one, and the tree begins at the container's own group.
        let inner = root.join(path.trim_start_matches('/'));
        Some(if inner.is_dir() { inner } else { root })
    }

    /// The groups of the common tree, from the process's own up to the root.
    fn v2(&self) -> Vec<PathBuf> {
        let path = self.text.lines().find_map(|line| line.strip_prefix("0::"));
        let path = path.unwrap_or("/").trim_start_matches('/');
        let mut dir = self.mount.join(path);
        if !dir.is_dir() {
            dir.clone_from(&self.mount);
        }
        dir.ancestors()
            .take_while(|dir| dir.starts_with(&self.mount))
            .map(Path::to_owned)
            .collect()
    }
}

fn cgroup(groups: &Cgroups) -> Option<CgroupFigures> {
    let mut figures = CgroupFigures::default();
    if let Some(dir) = groups.v1("cpu") {
        figures.cpu_quota_millicores = quota(
            &read(&dir, "cpu.cfs_quota_us"),
            &read(&dir, "cpu.cfs_period_us"),
        );
        figures.throttled_us =
            field(&read(&dir, "cpu.stat"), "throttled_time ").map(|ns| ns / 1_000);
    } else {
        let groups = groups.v2();
        figures.cpu_quota_millicores = groups
            .iter()
            .filter_map(|dir| {
                let text = read(dir, "cpu.max");
                let (quota_us, period_us) = text.split_once(' ')?;
                quota(quota_us, period_us)
            })
            .min();
        figures.throttled_us = groups
            .first()
            .and_then(|dir| field(&read(dir, "cpu.stat"), "throttled_usec "));
    }
    if let Some(dir) = groups.v1("memory") {
        figures.memory_bytes = number(&read(&dir, "memory.usage_in_bytes"));
        let limit = number(&read(&dir, "memory.limit_in_bytes"));
        figures.memory_limit_bytes = limit.filter(|limit| *limit < UNLIMITED_V1);
    } else {
        let groups = groups.v2();
        figures.memory_bytes = groups
            .first()
            .and_then(|dir| number(&read(dir, "memory.current")));
        figures.memory_limit_bytes = groups
            .iter()
            .filter_map(|dir| number(&read(dir, "memory.max")))
            .min();
    }
    (figures != CgroupFigures::default()).then_some(figures)
}

/// Above this the old memory controller means that there is no limit; it writes the largest multiple of its page size.
const UNLIMITED_V1: u64 = 1 << 60;

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap_or_default()
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A quota in thousandths of a core; `max` and -1 are no quota.
fn quota(quota_us: &str, period_us: &str) -> Option<u64> {
    number(quota_us)?
        .checked_mul(1_000)?
        .checked_div(number(period_us)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(text: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroups) {
        let root = tempfile::tempdir().expect("a directory");
        for (name, content) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
            fs::write(path, content).expect("a file");
        }
        let groups = Cgroups {
            mount: root.path().to_owned(),
            text: text.to_owned(),
        };
        (root, groups)
    }

    #[test]
    fn this_process_has_memory_threads_and_cpu_time() {
        let figures = figures(&[], 3);
        assert!(figures.cpu_us.is_some());
        assert!(figures.rss_bytes > Some(100_000));
        assert!(figures.threads >= Some(1));
        assert_eq!(figures.tasks, None, "no runtime was named");
        assert_eq!(figures.kit_failures, Some(3));
    }

    #[tokio::test]
    async fn a_runtime_tells_its_tasks() {
        let task = tokio::spawn(std::future::pending::<()>());
        let figures = figures(&[RuntimeHandle::current("main")], 0);
        assert_eq!(figures.runtimes["main"].workers, Some(1));
        assert_eq!(figures.tasks, Some(1));
        task.abort();
    }

    #[test]
    fn on_the_common_tree_the_tightest_limit_counts() {
        let (_root, groups) = groups(
            "0::/a/b\n",
            &[
                ("a/cpu.max", "150000 100000\n"),
                ("a/b/cpu.max", "max 100000\n"),
                ("a/b/cpu.stat", "usage_usec 5\nthrottled_usec 77\n"),
                ("a/b/memory.current", "4096\n"),
                ("a/b/memory.max", "9000\n"),
                ("a/memory.max", "8000\n"),
            ],
        );
        let figures = cgroup(&groups).expect("there");
        assert_eq!(figures.cpu_quota_millicores, Some(1_500));
        assert_eq!(figures.throttled_us, Some(77));
        assert_eq!(figures.memory_bytes, Some(4_096));
        assert_eq!(figures.memory_limit_bytes, Some(8_000));
    }

    #[test]
    fn each_controller_is_looked_up_where_it_is() {
        let (_root, groups) = groups(
            "5:cpu,cpuacct:/x\n4:memory:/outer\n0::/\n",
            &[
                ("cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n"),
                ("cpu,cpuacct/x/cpu.cfs_period_us", "100000\n"),
                ("cpu,cpuacct/x/cpu.stat", "throttled_time 5000\n"),
                ("memory/memory.usage_in_bytes", "512\n"),
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ],
        );
        let figures = cgroup(&groups).expect("there");
        assert_eq!(figures.cpu_quota_millicores, None);
        assert_eq!(figures.throttled_us, Some(5));
        assert_eq!(figures.memory_bytes, Some(512));
        assert_eq!(figures.memory_limit_bytes, None);
    }

    #[test]
    fn without_a_tree_there_are_no_figures() {
        let (_root, groups) = groups("", &[]);
        assert_eq!(cgroup(&groups), None);
    }
}
