//! Control groups of each version, written into a directory.

use super::*;
use proptest::prelude::*;
use std::fs;

const V2_MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
const V1_MOUNTS: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";

/// A machine in a directory, with one process of number 7.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new(groups: &str, mounts: &str) -> Self {
        let machine = Self(tempfile::tempdir().expect("a directory"));
        machine.write("proc/7/cgroup", groups);
        machine.write("proc/self/mountinfo", mounts);
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
        fs::write(path, text).expect("written");
    }

    fn write_all(&self, directory: &str, files: &[(&str, &str)]) {
        for (name, text) in files {
            self.write(&format!("{directory}/{name}"), text);
        }
    }

    fn open(&self) -> Result<CgroupReader, Absence> {
        CgroupReader::open_under(self.0.path(), 7)
    }

    fn read(&self) -> CgroupSample {
        self.open()
            .expect("it is there")
            .read()
            .expect("it is there")
    }
}

fn v2() -> Machine {
    let machine = Machine::new("0::/shop/web\n", V2_MOUNTS);
    machine.write_all(
        "sys/fs/cgroup/shop/web",
        &[
            ("cpu.max", "150000 100000\n"),
            (
                "cpu.stat",
                "usage_usec 5000\nuser_usec 1\nnr_throttled 2\nthrottled_usec 77\n",
            ),
            ("memory.current", "1000000\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 5\ninactive_file 300000\nactive_file 2\n"),
            ("memory.events", "low 0\noom 9\noom_kill 3\noom_group_kill 0\n"),
            (
                "cpu.pressure",
                "some avg10=12.50 avg60=1.00 avg300=0.00 total=5\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
            ),
        ],
    );
    machine.write("sys/fs/cgroup/shop/cpu.max", "max 100000\n");
    machine.write("sys/fs/cgroup/shop/memory.max", "2000000\n");
    machine.write(
        "proc/pressure/memory",
        "some avg10=1.00 avg60=1.00 avg300=0.00 total=5\n",
    );
    machine
}

#[test]
fn version_2_gives_every_figure() {
    assert_eq!(
        v2().read(),
        CgroupSample {
            cpu_quota_millicores: Some(1_500),
            cpu_usage_us: Some(5_000),
            throttled_us: Some(77),
            memory_bytes: Some(1_000_000),
            working_set_bytes: Some(700_000),
            memory_limit_bytes: Some(2_000_000),
            oom_kills: Some(3),
            cpu_pressure: Some(0.125),
            // The group has none of its own, so it is the machine's.
            memory_pressure: Some(0.01),
        }
    );
}

#[test]
fn version_1_gives_every_figure_from_other_files() {
    let machine = Machine::new("4:memory:/jobs\n3:cpu,cpuacct:/a/b\n", V1_MOUNTS);
    machine.write_all(
        "sys/fs/cgroup/cpu,cpuacct/a/b",
        &[
            ("cpu.cfs_quota_us", "-1\n"),
            ("cpu.cfs_period_us", "100000\n"),
            ("cpuacct.usage", "9000000\n"),
            (
                "cpu.stat",
                "nr_periods 5\nnr_throttled 2\nthrottled_time 4000\n",
            ),
        ],
    );
    machine.write_all(
        "sys/fs/cgroup/cpu,cpuacct/a",
        &[
            ("cpu.cfs_quota_us", "25000\n"),
            ("cpu.cfs_period_us", "50000\n"),
        ],
    );
    machine.write_all(
        "sys/fs/cgroup/memory/jobs",
        &[
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.usage_in_bytes", "500\n"),
            ("memory.stat", "inactive_file 1\ntotal_inactive_file 600\n"),
            (
                "memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
            ),
        ],
    );
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "8000\n");
    assert_eq!(
        machine.read(),
        CgroupSample {
            cpu_quota_millicores: Some(500),
            cpu_usage_us: Some(9_000),
            throttled_us: Some(4),
            memory_bytes: Some(500),
            working_set_bytes: Some(0),
            memory_limit_bytes: Some(8_000),
            oom_kills: Some(4),
            cpu_pressure: None,
            memory_pressure: None,
        }
    );
}

#[test]
fn on_a_hybrid_machine_an_empty_version_2_hides_nothing() {
    let mounts =
        format!("{V1_MOUNTS}41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    let machine = Machine::new("4:memory:/jobs\n3:cpu,cpuacct:/\n0::/\n", &mounts);
    machine.write_all(
        "sys/fs/cgroup/memory/jobs",
        &[
            ("memory.limit_in_bytes", "4096\n"),
            ("memory.usage_in_bytes", "100\n"),
        ],
    );
    machine.write("sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", "1000\n");
    // A version 2 file of the same meaning, which is not this process's.
    machine.write("sys/fs/cgroup/unified/memory.max", "1\n");
    machine.write("sys/fs/cgroup/unified/cpu.max", "1000 100000\n");
    let sample = machine.read();
    assert_eq!(sample.memory_limit_bytes, Some(4096));
    assert_eq!(sample.memory_bytes, Some(100));
    assert_eq!(
        sample.working_set_bytes, None,
        "without the page cache's size"
    );
    assert_eq!(sample.cpu_usage_us, Some(1));
    assert_eq!(sample.cpu_quota_millicores, None);
}

#[test]
fn a_controller_that_version_1_lacks_is_read_in_version_2() {
    let mounts = "\
32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
    let machine = Machine::new("3:cpu:/\n0::/a\n", mounts);
    machine.write("sys/fs/cgroup/unified/a/memory.max", "4096\n");
    assert_eq!(machine.read().memory_limit_bytes, Some(4096));
}

#[test]
fn within_a_namespace_the_mount_itself_is_the_group() {
    let machine = Machine::new("0::/\n", V2_MOUNTS);
    machine.write("sys/fs/cgroup/cpu.max", "50000 100000\n");
    machine.write("sys/fs/cgroup/memory.max", "7000\n");
    let sample = machine.read();
    assert_eq!(sample.cpu_quota_millicores, Some(500));
    assert_eq!(sample.memory_limit_bytes, Some(7_000));
}

#[test]
fn limits_that_change_are_seen_at_the_next_tick() {
    let machine = v2();
    let mut reader = machine.open().expect("it is there");
    let mut limits = |quota: &str, memory: &str| {
        machine.write("sys/fs/cgroup/shop/web/cpu.max", quota);
        machine.write("sys/fs/cgroup/shop/web/memory.max", memory);
        let sample = reader.read().expect("it is there");
        (sample.cpu_quota_millicores, sample.memory_limit_bytes)
    };
    assert_eq!(limits("25000 100000\n", "900\n"), (Some(250), Some(900)));
    assert_eq!(limits("max 100000\n", "max\n"), (None, Some(2_000_000)));
    assert_eq!(limits("", "x\n"), (None, Some(2_000_000)), "not readable");
}

#[test]
fn files_that_appear_later_are_found() {
    let machine = Machine::new("0::/a\n", V2_MOUNTS);
    machine.write("sys/fs/cgroup/a/cpu.stat", "usage_usec 5\n");
    let mut reader = machine.open().expect("it is there");
    assert_eq!(reader.read().expect("it is there").memory_bytes, None);
    machine.write("sys/fs/cgroup/a/memory.current", "12\n");
    assert_eq!(reader.read().expect("it is there").memory_bytes, Some(12));
}

#[test]
fn a_process_that_is_moved_is_followed() {
    let machine = v2();
    let mut reader = machine.open().expect("it is there");
    reader.read().expect("it is there");
    machine.write("sys/fs/cgroup/other/memory.current", "44\n");
    machine.write("proc/7/cgroup", "0::/other\n");
    assert_eq!(reader.read().expect("it is there").memory_bytes, Some(44));
    machine.write("proc/7/cgroup", "0::/../outside\n");
    assert_eq!(reader.read(), Err(Absence::NotOffered));
    assert_eq!(reader.read(), Err(Absence::NotOffered), "and stays so");
    machine.write("proc/7/cgroup", "0::/other\n");
    assert_eq!(reader.read().expect("it is back").memory_bytes, Some(44));
}

#[test]
fn without_a_process_or_without_mounts_there_is_no_reader() {
    let machine = v2();
    assert_eq!(
        CgroupReader::open_under(machine.0.path(), 8).expect_err("nobody"),
        Absence::Gone
    );
    fs::remove_file(machine.0.path().join("proc/self/mountinfo")).expect("it was there");
    assert_eq!(machine.open().expect_err("no mounts"), Absence::NotOffered);
}

#[test]
fn the_groups_of_this_very_process_can_be_read() {
    let mut reader = match CgroupReader::open(std::process::id()) {
        Ok(reader) => reader,
        // A kernel without control groups, or none mounted here.
        Err(absence) => {
            assert_eq!(absence, Absence::NotOffered);
            return;
        }
    };
    let first = reader.read().expect("we run");
    let second = reader.read().expect("we run");
    assert!(first.cpu_usage_us <= second.cpu_usage_us);
    assert!(first.working_set_bytes <= first.memory_bytes);
    assert!(first.cpu_usage_us.is_some() || first.memory_bytes.is_some());
}

#[test]
fn the_end_of_a_process_is_noticed() {
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .expect("it can be started");
    let reader = CgroupReader::open(child.id());
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
    if let Ok(mut reader) = reader {
        assert_eq!(reader.read(), Err(Absence::Gone));
    }
}

#[test]
fn broken_figures_are_absent() {
    for text in [
        &b""[..],
        b"max",
        b"max 100000",
        b"-1 100000",
        b"5 0",
        b"5 x",
        b"\xff",
    ] {
        assert_eq!(parse_cpu_max(text), None, "{text:?}");
    }
    assert_eq!(parse_cpu_max(b"200000"), Some(2_000));
    for text in [
        &b""[..],
        b"oom_kill",
        b"oom_kill x",
        b"oom_kill_disable 5",
        b"oom_kill -1",
    ] {
        assert_eq!(parse_keyed(text, b"oom_kill"), None, "{text:?}");
    }
    for text in [
        &b""[..],
        b"full avg10=5.00",
        b"some avg60=5.00",
        b"some avg10=NaN",
        b"some avg10=-1",
        b"some avg10=101",
    ] {
        assert_eq!(parse_pressure(text), None, "{text:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_whatever_upset_the_parsers(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        std::hint::black_box((
            parse_cpu_max(&bytes),
            parse_keyed(&bytes, b"oom_kill"),
            parse_pressure(&bytes),
        ));
    }

    #[test]
    fn a_quota_reads_back_as_thousandths_of_a_core(millicores in 1_u64..1_000_000) {
        let text = format!("{} 100000\n", millicores * 100);
        prop_assert_eq!(parse_cpu_max(text.as_bytes()), Some(millicores));
    }
}
