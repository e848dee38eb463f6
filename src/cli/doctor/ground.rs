//! What can be found out without the host: the user, the kernel, and the files and addresses that the configuration names.

use super::Finding;
use crate::cage;
use crate::config::Config;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use trimtab_sys::process::effective_uid;

/// Descriptors that suffice for a full house: 256 connections, the ledger, the host and the kernel's files.
const DESCRIPTORS: u64 = 512;
/// Clock sources that are read without a system call or nearly so.
const QUICK_CLOCKS: [&str; 6] = [
    "tsc",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "arch_sys_counter",
    "pvclock",
    "riscv_clocksource",
];

pub(super) fn of_the_machine() -> Vec<Finding> {
    vec![user(), kernel_cage(), clock(), descriptors(), watches()]
}

pub(super) fn of_the_configuration(config: &Config) -> Vec<Finding> {
    let mut findings = vec![
        files(config),
        directory(
            "ledger",
            &config.ledger.directory,
            "changes: what cannot be written down is not begun",
        ),
        directory(
            "operator",
            parent(&config.intake.socket),
            "freeze, pin and reset through the sidecar",
        ),
        address("address", config.serve.address),
        pages(config),
        profiler(),
    ];
    findings.extend(config.serve.health.map(|health| address("health", health)));
    findings.extend(config.intake.token_file.as_deref().map(token));
    findings
}

pub(super) fn configuration(config: &Config) -> Finding {
    let count = config.files.len();
    match config.files.first() {
        Some(first) if count == 1 => Finding::ok("configuration", first.display().to_string()),
        Some(first) => Finding::ok(
            "configuration",
            format!("{} and {} more", first.display(), count - 1),
        ),
        None => Finding::ok("configuration", "no file: every key has its default"),
    }
}

fn user() -> Finding {
    let uid = effective_uid();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    let capabilities = field("CapEff:").unwrap_or("unknown");
    let none = capabilities.bytes().all(|byte| byte == b'0');
    if uid == 0 || !none {
        let found = format!("user {uid} with the capabilities {capabilities}");
        let fix = "run the sidecar as the service's own user, with no capabilities: it needs none";
        return Finding::missing("user", found, "least privilege", fix);
    }
    Finding::ok("user", format!("user {uid} without capabilities"))
}

fn kernel_cage() -> Finding {
    let seccomp = Path::new("/proc/sys/kernel/seccomp/actions_avail").exists();
    match (cage::offered(), seccomp) {
        (Ok(landlock), true) => Finding::ok("cage", format!("seccomp and {landlock}")),
        (landlock, _) => {
            let landlock = landlock.unwrap_or_else(|why| why);
            let seccomp = if seccomp { "seccomp" } else { "no seccomp" };
            let fix = "a kernel of at least 5.13 with `landlock` in its parameter `lsm=`, and CONFIG_SECCOMP_FILTER";
            Finding::missing(
                "cage",
                format!("{seccomp}; {landlock}"),
                "shutting the sidecar in",
                fix,
            )
        }
    }
}

fn clock() -> Finding {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let source = fs::read_to_string(path).unwrap_or_default();
    let source = source.trim();
    if source.is_empty() || QUICK_CLOCKS.contains(&source) {
        let source = if source.is_empty() { "unnamed" } else { source };
        return Finding::ok("clock", format!("the clock source is {source}"));
    }
    let fix =
        "boot with a clock source that programs can read by themselves, such as `clocksource=tsc`";
    Finding::missing(
        "clock",
        format!("the clock source `{source}` is slow to read"),
        "cheap samples",
        fix,
    )
}

fn descriptors() -> Finding {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    match soft.and_then(|soft| soft.parse::<u64>().ok()) {
        Some(soft) if soft < DESCRIPTORS => Finding::missing(
            "descriptors",
            format!("{soft} files may be open at once"),
            "256 connections to the pages",
            format!("`ulimit -n {DESCRIPTORS}`, or `LimitNOFILE={DESCRIPTORS}` in the unit"),
        ),
        Some(soft) => Finding::ok("descriptors", format!("{soft} files may be open at once")),
        None => Finding::ok("descriptors", "no limit is told"),
    }
}

fn watches() -> Finding {
    let read = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    match (read("max_user_watches"), read("max_user_instances")) {
        (Some(watches), Some(instances)) if watches > 8 && instances > 0 => Finding::ok(
            "watches",
            format!("{watches} watches, {instances} instances"),
        ),
        _ => Finding::missing(
            "watches",
            "inotify offers no watches",
            "seeing a new configuration at once rather than within a second",
            "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances",
        ),
    }
}

/// Whoever may write a file of the configuration may steer the sidecar within the host's bounds.
fn files(config: &Config) -> Finding {
    let own = effective_uid();
    let loose = config.files.iter().find_map(|file| {
        let metadata = fs::metadata(file).ok()?;
        let why = if metadata.uid() != 0 && metadata.uid() != own {
            format!("belongs to user {}", metadata.uid())
        } else if metadata.mode() & 0o002 != 0 {
            format!(
                "may be written by anybody: its mode is {:03o}",
                metadata.mode() & 0o777
            )
        } else {
            return None;
        };
        Some((file, why))
    });
    match loose {
        Some((file, why)) => Finding::wrong(
            "files",
            format!("{} {why}", file.display()),
            "nobody else may say how the service is tuned",
            format!("chown and `chmod 644` {}", file.display()),
        ),
        None => Finding::ok(
            "files",
            format!(
                "{} files, none of them in others' hands",
                config.files.len()
            ),
        ),
    }
}

/// Whether files can be made in a directory, which is made at the start if it is not there.
fn directory(name: &'static str, path: &Path, needed_for: &'static str) -> Finding {
    let there = path
        .ancestors()
        .find(|ancestor| ancestor.is_dir())
        .unwrap_or_else(|| Path::new("."));
    let trial = there.join(format!(".trimtab-doctor-{}", std::process::id()));
    let made = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&trial);
    drop(fs::remove_file(&trial));
    if let Err(error) = made {
        let found = format!("nothing can be written in {}: {error}", there.display());
        let fix = format!(
            "make {} and give it to user {}",
            path.display(),
            effective_uid()
        );
        return Finding::wrong(name, found, needed_for, fix);
    }
    let mode = fs::metadata(path).map_or(0o700, |metadata| metadata.mode() & 0o777);
    if mode & 0o002 != 0 {
        let found = format!(
            "{} may be written by anybody: its mode is {mode:03o}",
            path.display()
        );
        return Finding::wrong(
            name,
            found,
            needed_for,
            format!("chmod 700 {}", path.display()),
        );
    }
    let made_later = if path.is_dir() {
        ""
    } else {
        ", made at the start"
    };
    Finding::ok(name, format!("{}{made_later}", path.display()))
}

fn address(name: &'static str, address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(name, format!("{address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Finding::missing(
            name,
            format!(
                "somebody listens on {address}: a sidecar that runs already, or another program"
            ),
            "starting another sidecar here",
            "stop what listens there, or choose another port with `serve.address`, `serve.health` or `--listen`",
        ),
        Err(error) => Finding::wrong(
            name,
            format!("{address} cannot be bound: {error}"),
            "pages, metrics and health",
            "an address of this machine, and a port of at least 1024 for users without capabilities",
        ),
    }
}

/// Who can reach the pages. What others lack to be let in safely is a mistake of the configuration, and said with its place.
fn pages(config: &Config) -> Finding {
    const NAME: &str = "pages";
    let serve = &config.serve;
    let asks = if serve.token_file.is_some() {
        "with a token"
    } else {
        "without a token"
    };
    let encrypts = match (&serve.tls, serve.behind_proxy) {
        (Some(_), _) => "by TLS 1.3",
        (None, true) => "through a proxy that encrypts, if it does",
        (None, false) => "without encryption",
    };
    let who = if serve.address.ip().is_loopback() {
        "whoever is on this machine"
    } else {
        "whoever reaches the address"
    };
    Finding::ok(NAME, format!("shown to {who}, {asks}, {encrypts}"))
}

fn profiler() -> Finding {
    const NAME: &str = "trimtab-prof";
    let beside = std::env::current_exe()
        .ok()
        .map(|own| own.with_file_name(NAME));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = beside
        .into_iter()
        .chain(std::env::split_paths(&path).map(|place| place.join(NAME)));
    let found: Option<PathBuf> = places.into_iter().find(|place| place.is_file());
    match found {
        Some(place) => Finding::ok("profiler", place.display().to_string()),
        None => Finding::missing(
            "profiler",
            format!("there is no {NAME} beside this program, nor in the PATH"),
            "graphs of where time goes",
            format!("install {NAME} beside trimtab"),
        ),
    }
}

fn token(file: &Path) -> Finding {
    let needed_for = "commands over HTTP";
    let metadata = match fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) => {
            let fix = "make the file, with a token of at least 32 characters a line";
            return Finding::wrong(
                "token",
                format!("{}: {error}", file.display()),
                needed_for,
                fix,
            );
        }
    };
    let (own, owner, mode) = (effective_uid(), metadata.uid(), metadata.mode() & 0o777);
    if !metadata.is_file() || (owner != 0 && owner != own) || mode & 0o077 != 0 {
        let found = format!(
            "{} belongs to user {owner} and has the mode {mode:03o}",
            file.display()
        );
        let fix = format!("a plain file of user {own} with the mode 600");
        return Finding::wrong("token", found, needed_for, fix);
    }
    Finding::ok("token", file.display().to_string())
}

fn parent(path: &Path) -> &Path {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    parent.unwrap_or_else(|| Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_file_that_others_can_read_is_wrong() {
        let root = tempfile::tempdir().expect("there is room");
        let path = root.path().join("tokens");
        assert_eq!(token(&path).verdict, Verdict::Wrong);
        fs::write(&path, "t").expect("it is ours");
        for (mode, verdict) in [(0o640, Verdict::Wrong), (0o600, Verdict::Ok)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
            assert_eq!(token(&path).verdict, verdict, "{mode:o}");
        }
    }

    #[test]
    fn a_directory_must_be_there_or_be_makeable_and_ours() {
        let root = tempfile::tempdir().expect("there is room");
        let later = directory("ledger", &root.path().join("a/b"), "changes");
        assert!(
            later.verdict == Verdict::Ok && later.found.ends_with("made at the start"),
            "{later:?}"
        );
        assert_eq!(
            fs::read_dir(root.path()).expect("it is there").count(),
            0,
            "nothing is left behind"
        );
        let open = root.path().join("open");
        fs::create_dir(&open).expect("it is ours");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("it is ours");
        assert_eq!(
            directory("ledger", &open, "changes").verdict,
            Verdict::Wrong
        );
        assert_eq!(
            directory("ledger", Path::new("/proc/1/x"), "changes").verdict,
            Verdict::Wrong
        );
    }

    #[test]
    fn an_address_that_is_taken_is_told() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let taken = taken
            .local_addr()
            .map(|at| (at, taken))
            .expect("it is bound");
        assert_eq!(address("address", taken.0).verdict, Verdict::Missing);
        assert_eq!(
            address("address", SocketAddr::from(([127, 0, 0, 1], 0))).verdict,
            Verdict::Ok
        );
    }
}
