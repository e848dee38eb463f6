//! With more rights than usual, and with none at all.

use crate::attribution::{C, RUST};
use crate::kinds::{CROWD, FAMILY, WAITING};
use crate::targets::{MADE, c, can_sample, compile, folded, print_of, rust_options, share};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use trimtab_flame::ask::Shot;
use trimtab_flame::ladder::{Here, Rung, probe};

/// A user who owns nothing and may do nothing special.
const NOBODY: u32 = 65_534;

#[test]
fn all_of_this_as_a_user_without_privileges() {
    let test = "all_of_this_as_a_user_without_privileges";
    if !can_sample(test) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (programs, scratch) = (directory.path().join("made"), directory.path().join("tmp"));
    for path in [&programs, &scratch] {
        std::fs::create_dir(path).unwrap();
    }
    if chown(&scratch, Some(NOBODY), Some(NOBODY)).is_err() {
        println!("skipped: {test}: only the superuser can become another user");
        return;
    }
    for path in [directory.path(), &programs] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let frames = ["-Cforce-frame-pointers=yes"];
    let stripped = ["-Cstrip=symbols", "-Clink-arg=-Wl,--build-id"];
    for (source, options) in [
        (RUST, &[][..]),
        (RUST, &frames),
        (RUST, &stripped),
        (WAITING, &[]),
        (CROWD, &[]),
    ] {
        make(
            &programs,
            "rustc",
            "target.rs",
            source,
            &rust_options(options),
        );
    }
    for (source, options) in [
        (C, &["-O2", "-fomit-frame-pointer"][..]),
        (C, &["-O2", "-fno-omit-frame-pointer"]),
        (FAMILY, &["-O2"]),
    ] {
        make(&programs, "gcc", "target.c", source, options);
    }
    let own = directory.path().join("live");
    std::fs::copy(std::env::current_exe().unwrap(), &own).unwrap();
    // One after another: how much memory a user may lock for samples is shared among all that it does.
    let options = [
        "--test-threads=1",
        "--nocapture",
        "--skip",
        test,
        "--skip",
        "gunicorn",
    ];
    let output = Command::new(&own)
        .args(options)
        .env(MADE, &programs)
        .env("TMPDIR", &scratch)
        .env("HOME", &scratch)
        .current_dir(&scratch)
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("a_rust_release_program"), "{said}");
}

/// Compiles a program for a user who cannot.
fn make(programs: &Path, compiler: &str, name: &str, source: &str, options: &[&str]) {
    if let Some((_directory, program)) = compile(compiler, name, source, options) {
        let to = programs.join(print_of(compiler, source, options));
        std::fs::create_dir(&to).unwrap();
        std::fs::copy(program, to.join("target")).unwrap();
    }
}

/// A control group that goes when it is dropped, after what was in it.
struct Group(PathBuf);

impl Group {
    fn make() -> Option<Self> {
        let roots = [
            "/sys/fs/cgroup/perf_event",
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/unified",
        ];
        let name = format!("trimtab-live-{}", std::process::id());
        let mut directories = roots.iter().map(|root| Path::new(root).join(&name));
        let made = directories.find(|path| {
            std::fs::create_dir(path).is_ok() && {
                let whole = path.join("cgroup.procs").is_file();
                if !whole {
                    // Not a control group at all.
                    drop(std::fs::remove_dir(path));
                }
                whole
            }
        });
        made.map(Self)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It can go when the last process in it has gone, which takes the kernel a moment.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            trimtab_sys::perf::wait(&[], 10).unwrap();
        }
    }
}

#[test]
fn a_process_in_a_control_group_of_its_own_is_seen_by_that() {
    let test = "a_process_in_a_control_group_of_its_own_is_seen_by_that";
    if !can_sample(test) {
        return;
    }
    let Some(group) = Group::make() else {
        println!("skipped: {test}: no control group can be made here");
        return;
    };
    let Some(target) = c(FAMILY, &["-O2"]) else {
        return;
    };
    for pid in family(target.pid()) {
        std::fs::write(group.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
    let steps = probe(&Here, target.pid(), None);
    let step = steps
        .iter()
        .find(|step| step.rung == Rung::PerfCgroup)
        .unwrap();
    if !step.reached {
        println!("skipped: {test}: {}", step.reason);
        return;
    }
    let shot = Shot {
        hz: 499,
        ..Shot::of(target.pid())
    };
    let (named, lines) = folded(&shot, 1_500);
    println!("{}", named.quality);
    assert!(
        named.quality.collector.contains("control group"),
        "{}",
        named.quality
    );
    assert!(share(&lines, "serve") > 95.0, "{lines:#?}");
    drop(target);
}

/// A process and its children.
fn family(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(path).unwrap();
    let children = children
        .split_whitespace()
        .map(|word| word.parse().unwrap());
    std::iter::once(pid).chain(children).collect()
}
