//! What can be found out from the host: whether it answers, and what can be seen of its process.

use super::Finding;
use crate::config::Config;
use crate::host_client::{Answer, HostClient};
use crate::sense::cgroup::CgroupReader;
use crate::sense::process::ProcessReader;
use crate::view::words;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use trimtab_core::moment::Moment;
use trimtab_flame::ladder::{Here, Rung, probe};
use trimtab_protocol::state::HostState;

/// Asks the host, and looks at its process where it can be found.
pub(super) async fn all(config: &Config) -> Vec<Finding> {
    let mut client = HostClient::new(config.control.clone(), config.call_deadline);
    let state = match client.state().await {
        Answer::Done(state) => state,
        Answer::Refused(problem) => {
            let found = format!("{} refuses: {}", config.control, problem.detail);
            let fix = "run the sidecar as the service's own user, or as root";
            return vec![Finding::wrong("host", found, "tuning anything at all", fix)];
        }
        Answer::Lost(absence) => {
            let found = format!(
                "no host answers at {}: {}",
                config.control,
                words::absence(absence)
            );
            let fix = "start the service with a host library, or set `socket` of `[[hosts]]`";
            return vec![Finding::wrong("host", found, "tuning anything at all", fix)];
        }
    };
    let pid = client.peer().and_then(|peer| peer.pid);
    let mut findings = vec![
        answers(config, &state),
        operators(&config.intake.host_socket),
        profiles(config, &state),
    ];
    match pid {
        Some(pid) => {
            findings.extend([process(pid), cgroup(pid), time(pid), perf(config, pid)]);
        }
        None => findings.push(Finding::missing(
            "process",
            "the host's process is not known",
            "its CPU, memory and threads, and graphs",
            "let the sidecar share the process namespace, such as `shareProcessNamespace: true`",
        )),
    }
    findings
}

fn answers(config: &Config, state: &HostState) -> Finding {
    let (app, version, pools) = (&state.app, &state.version, state.pools.len());
    let found = format!("{app} {version} with {pools} pools at {}", config.control);
    if pools == 0 {
        let fix = "hand a pool to the host library";
        return Finding::missing("host", found, "tuning: there is nothing to resize", fix);
    }
    Finding::ok("host", found)
}

fn operators(socket: &Path) -> Finding {
    match UnixStream::connect(socket) {
        Ok(_) => Finding::ok(
            "operators",
            format!("the host takes operators' calls at {}", socket.display()),
        ),
        Err(error) => Finding::missing(
            "operators",
            format!("{}: {error}", socket.display()),
            "a freeze, a pin and a reset that reach the host",
            "set `operator_socket` of `[[hosts]]`, and run as a user who may connect to it",
        ),
    }
}

fn profiles(config: &Config, state: &HostState) -> Finding {
    let followed = crate::cli::check::followed_by(config, state.clone());
    let lacking: Vec<String> = followed
        .iter()
        .filter(|pool| !pool.inert.is_empty())
        .map(|pool| {
            format!(
                "{} has no knob for {} of its profile {}",
                pool.name,
                pool.inert.join(", "),
                pool.profile
            )
        })
        .collect();
    if lacking.is_empty() {
        return Finding::ok(
            "profiles",
            format!(
                "{} pools have a knob for each key of their profile",
                followed.len()
            ),
        );
    }
    let fix = "offer those knobs in the host, or leave the keys out of the profile";
    Finding::missing("profiles", lacking.join("; "), "those keys", fix)
}

fn process(pid: u32) -> Finding {
    let read = ProcessReader::open(pid, None).and_then(|reader| reader.read(Moment::default()));
    match read {
        Ok(sample) => Finding::ok(
            "process",
            format!(
                "{pid} with {} threads and {} MiB",
                sample.threads,
                sample.rss_bytes >> 20
            ),
        ),
        Err(absence) => Finding::missing(
            "process",
            format!(
                "nothing of process {pid} can be read: {}",
                words::absence(absence)
            ),
            "its CPU, memory and threads",
            "mount /proc without `hidepid`, and let the sidecar share the process namespace",
        ),
    }
}

fn cgroup(pid: u32) -> Finding {
    let read = CgroupReader::open(pid).and_then(|mut reader| reader.read());
    let needed_for =
        "knowing the CPU quota and the memory limit, throttling, and kills for want of memory";
    match read {
        Ok(sample) if sample.cpu_usage_us.is_none() && sample.memory_bytes.is_none() => {
            Finding::missing(
                "cgroup",
                "the control group shows neither CPU nor memory",
                needed_for,
                "switch the controllers `cpu` and `memory` on for the service's group",
            )
        }
        Ok(sample) => {
            let quota = sample.cpu_quota_millicores.map_or_else(
                || "no CPU quota".to_owned(),
                |it| format!("{it} millicores"),
            );
            let limit = sample.memory_limit_bytes.map_or_else(
                || "no memory limit".to_owned(),
                |it| format!("{} MiB", it >> 20),
            );
            let pressure = if sample.cpu_pressure.is_some() {
                "pressure is told"
            } else {
                "pressure is not told"
            };
            Finding::ok("cgroup", format!("{quota}, {limit}; {pressure}"))
        }
        Err(absence) => Finding::missing(
            "cgroup",
            format!(
                "the control group of process {pid} is not visible: {}",
                words::absence(absence)
            ),
            needed_for,
            "mount /sys/fs/cgroup into the sidecar's container, read-only",
        ),
    }
}

/// Leases and trials are told in the host's time and shown in ours, so both must count from the same moment.
fn time(pid: u32) -> Finding {
    let ours = fs::read_link("/proc/self/ns/time");
    let theirs = fs::read_link(format!("/proc/{pid}/ns/time"));
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) if ours != theirs => Finding::missing(
            "time",
            "the host is in another time namespace",
            "figures whose time can be compared with ours",
            "start both in the same time namespace",
        ),
        (Ok(_), Ok(_)) => Finding::ok("time", "the host counts time from the same moment"),
        _ => Finding::ok(
            "time",
            "the kernel tells no time namespaces, or not of the host",
        ),
    }
}

fn perf(config: &Config, pid: u32) -> Finding {
    let steps = probe(&Here, pid, config.flame.own_profile.as_deref());
    let best = steps.iter().find(|step| step.reached);
    let has_stacks = |rung| rung != Rung::ThreadStates;
    match (best, steps.iter().find(|step| step.rung == Rung::PerfUser)) {
        (Some(best), _) if has_stacks(best.rung) => Finding::ok("perf", best.rung.words()),
        (_, Some(wanted)) => {
            Finding::missing("perf", &wanted.reason, "graphs with stacks", &wanted.fix)
        }
        _ => Finding::missing(
            "perf",
            "nothing can be seen of the host",
            "graphs",
            "see the manual",
        ),
    }
}
