//! Schemathesis: cases made from both OpenAPI documents, sent to a live sidecar and to a live host. None may be a server error.

use super::proxy::{End, Proxy};
use super::world::World;
use super::{Bench, until, wire};
use crate::ci::shell;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything that is installed, each in one version.
const PACKAGES: &str = "xtask/schemathesis.txt";

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    /// As many cases as these seconds allow, to each.
    Seconds(u64),
    /// At least so many cases, to both together.
    Cases(u64),
}

/// What stays out: streams, which never end; graphs, each of which takes seconds of sampling; and whether the sidecar is ready,
/// which says 503 when the host is late, as on a busy machine it is.
const LEFT_OUT: &str = "^/(api/v1/events|flamegraph.*|heatmap|debug/pprof/profile|readyz)$";

/// The longest round of a run that goes by cases, in seconds.
const ROUND_S: u64 = 240;

/// Runs both documents, and says how many cases were sent.
pub(super) fn run(root: &Path, bench: &Bench, extent: Extent) -> Result<String> {
    let program = installed(root)?;
    let mut world = World::idle(bench, "schema")?;
    let (sidecar, _) = world.sidecar()?;
    sidecar.until_attached()?;
    // The operator's socket takes the calls of sidecars too.
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let operators = world.directory.join("operator.sock");
    let bridge = Proxy::start(End::Tcp(any), End::Socket(operators))?;
    let End::Tcp(host) = &bridge.front else {
        anyhow::bail!("the bridge is no address");
    };
    let targets = [
        ("sidecar", sidecar.address.clone()),
        ("control", host.to_string()),
    ];
    let mut sent = [0_u64; 2];
    for seed in 1.. {
        for ((name, address), sent) in targets.iter().zip(&mut sent) {
            let seconds = match extent {
                Extent::Seconds(seconds) => seconds,
                Extent::Cases(_) => ROUND_S,
            };
            *sent += one(root, &program, (name, address), (seconds, seed), bench)?;
            println!("{name}: {sent} cases so far, 0 server errors");
        }
        if matches!(extent, Extent::Seconds(_))
            || matches!(extent, Extent::Cases(cases) if sent.iter().sum::<u64>() >= cases)
        {
            break;
        }
    }
    let [to_sidecar, to_host] = sent;
    until("the sidecar to be ready afterwards", || {
        let (status, _) = wire::get(&sidecar.address, "/readyz").ok()?;
        (status == 200).then_some(())
    })?;
    world
        .state()
        .context("the host does not answer afterwards")?;
    Ok(format!(
        "{to_sidecar} cases to a live sidecar, {to_host} to a live host, 0 server errors"
    ))
}

/// One run against one server: how many cases it sent. A server error fails it, and so does a run that sent next to nothing.
fn one(
    root: &Path,
    program: &Path,
    (name, address): (&str, &str),
    (seconds, seed): (u64, u64),
    bench: &Bench,
) -> Result<u64> {
    let report = bench.directory.join(format!("schema-{name}.json"));
    // What covers the document is the same every time, and counts once.
    let phases = if seed == 1 {
        "coverage,fuzzing"
    } else {
        "fuzzing"
    };
    let mut command = Command::new(program);
    command
        .current_dir(&bench.directory)
        .arg("--no-color")
        .arg("run")
        .arg(root.join(format!("docs/{name}-api.openapi.json")))
        .args(["--url", &format!("http://{address}")])
        .args(["--phases", phases])
        .args(["--checks", "not_a_server_error"])
        .args(["--exclude-path-regex", LEFT_OUT])
        .args(["--max-time", &seconds.to_string()])
        .args(["--seed", &seed.to_string()])
        .args(["--suppress-health-check", "all"])
        .args(["--warnings", "off", "--report", "json"])
        .arg("--report-json-path")
        .arg(&report);
    shell::run(&mut command)?;
    let text = std::fs::read_to_string(&report).context("it wrote no report")?;
    let report: Value = serde_json::from_str(&text).context("its report is no JSON")?;
    let sent = cases(&report).context("its report counts no cases")?;
    ensure!(sent >= CASES_MIN, "{name}: only {sent} cases were sent");
    let lost = report["test_cases"]["errored"].as_u64();
    ensure!(lost == Some(0), "{name}: {lost:?} cases got no answer");
    Ok(sent)
}

/// Fewer than this and the document was not understood.
const CASES_MIN: u64 = 50;

fn cases(report: &Value) -> Option<u64> {
    report["test_cases"]["generated"].as_u64()
}

/// The program, which is installed first where it is missing.
fn installed(root: &Path) -> Result<PathBuf> {
    let packages = root.join(PACKAGES);
    let wanted = std::fs::read_to_string(&packages).context("no list of packages")?;
    let directory = shell::target(root).join("tools/schemathesis");
    let (program, list) = (directory.join("bin/st"), directory.join("installed.txt"));
    if program.is_file() && std::fs::read_to_string(&list).is_ok_and(|had| had == wanted) {
        return Ok(program);
    }
    println!("installing schemathesis into {}", directory.display());
    // What is half there, or of another list, is made anew.
    drop(std::fs::remove_dir_all(&directory));
    if shell::run(&mut venv(&directory)).is_err() {
        println!("there is no Python with virtual environments; installing the system's packages");
        drop(std::fs::remove_dir_all(&directory));
        crate::ci::browser::install(&[
            (
                "apt-get",
                &[
                    "install",
                    "-y",
                    "-qq",
                    "--no-install-recommends",
                    "python3",
                    "python3-venv",
                ],
            ),
            ("dnf", &["install", "-y", "-q", "python3"]),
            ("apk", &["add", "--quiet", "python3"]),
        ])?;
        shell::run(&mut venv(&directory))?;
    }
    let mut install = Command::new(directory.join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", "-r"]);
    shell::run(install.arg(&packages))?;
    std::fs::write(&list, wanted)?;
    Ok(program)
}

fn venv(directory: &Path) -> Command {
    let mut command = Command::new("python3");
    command.args(["-m", "venv"]).arg(directory);
    command
}
