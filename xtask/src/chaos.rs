//! Fault campaigns: real hosts and real sidecars as processes, to which bad things happen.
//!
//! Each case counts what it did and proves that it happened; a fault that did nothing is a failure of the campaign. What each
//! fault is, and which of the fifty have a case here or elsewhere, stands in `docs/reliability.md`.

mod beside;
mod cases;
mod control;
mod crowd;
mod groups;
mod many;
mod others;
mod points;
mod proxy;
pub(crate) mod schema;
mod storm;
mod table;
mod wire;
mod world;

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How much is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    counts: Counts,
    /// One fault alone.
    fault: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    /// At most five minutes, as CI does.
    Quick,
    /// Ten thousand kills, and as many trials.
    Full,
    /// So many kills, and of the others as many as in the quick set.
    Kills(usize),
}

impl Extent {
    /// As CI does.
    pub(crate) const QUICK: Self = Self {
        counts: Counts::Quick,
        fault: None,
    };

    /// What these options ask for, if they are some.
    pub(crate) fn of(options: &[&str]) -> Option<Self> {
        let Self {
            mut counts,
            mut fault,
        } = Self::QUICK;
        let mut options = options.iter();
        while let Some(option) = options.next() {
            match *option {
                "--quick" => counts = Counts::Quick,
                "--full" => counts = Counts::Full,
                "--kills" => counts = Counts::Kills(options.next()?.parse().ok()?),
                "--fault" => fault = Some((*options.next()?).to_owned()),
                _ => return None,
            }
        }
        Some(Self { counts, fault })
    }
}

/// How the programs under test are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// Quickly.
    Debug,
    /// As they are used.
    Release,
}

/// What a case needs.
#[derive(Debug)]
struct Bench {
    sidecar: PathBuf,
    host: PathBuf,
    directory: PathBuf,
    counts: Counts,
}

impl Bench {
    /// Whether there is time for all of it.
    fn is_full(&self) -> bool {
        self.counts == Counts::Full
    }

    /// How many kills there are, those at named points included.
    fn kills(&self) -> usize {
        match self.counts {
            Counts::Quick => 300,
            Counts::Full => 10_000,
            Counts::Kills(kills) => kills,
        }
    }

    /// A small share of them, for what takes longer: at least ten.
    fn few(&self) -> usize {
        self.kills().div_ceil(30)
    }
}

/// What came of a case.
#[derive(Debug)]
enum Outcome {
    /// It was done, in these words.
    Held(String),
    /// It cannot be done here.
    NotRun(String),
}

struct Case {
    fault: &'static str,
    name: &'static str,
    run: fn(&Bench) -> Result<Outcome>,
}

const CASES: [Case; 26] = [
    // The longest of those that go on beside others.
    Case {
        fault: "F44",
        name: "a sidecar with few file descriptors, and many who connect",
        run: cases::few_descriptors,
    },
    Case {
        fault: "F01",
        name: "sidecars are killed at random times",
        run: cases::kill_sidecars,
    },
    Case {
        fault: "F01",
        name: "sidecars are killed at every named point",
        run: points::kill_sidecars,
    },
    Case {
        fault: "F01",
        name: "hosts are killed, panic and hang at every named point",
        run: points::hosts,
    },
    Case {
        fault: "F49",
        name: "a stage of the sidecar panics",
        run: points::panics,
    },
    Case {
        fault: "F02",
        name: "a sidecar is stopped during a trial, and goes on when its lease has ended",
        run: cases::stop_sidecar,
    },
    Case {
        fault: "F03",
        name: "hosts are killed and start anew",
        run: cases::kill_hosts,
    },
    Case {
        fault: "F03",
        name: "hosts and sidecars are killed at the same moment",
        run: cases::kill_both,
    },
    Case {
        fault: "F08",
        name: "a host is stopped during a trial",
        run: cases::stop_host,
    },
    Case {
        fault: "F13",
        name: "a bad wire: F13 to F19",
        run: cases::bad_wire,
    },
    Case {
        fault: "F17",
        name: "a wire that lies: garbage, versions, redirects, too much",
        run: cases::lying_wire,
    },
    Case {
        fault: "F29",
        name: "the ledger's disk is full",
        run: cases::full_disk,
    },
    Case {
        fault: "F16",
        name: "holders of leases that are over send what they had",
        run: control::zombies,
    },
    Case {
        fault: "F43",
        name: "a crowd at the pages: F42 and F43",
        run: crowd::crowd,
    },
    Case {
        fault: "F46",
        name: "a freeze, and restarts of both sides",
        run: control::frozen,
    },
    Case {
        fault: "F47",
        name: "trials that nobody confirms",
        run: control::unconfirmed,
    },
    Case {
        fault: "F36",
        name: "a host is killed for its memory",
        run: groups::out_of_memory,
    },
    Case {
        fault: "F38",
        name: "clocks that are ten years apart",
        run: groups::other_clock,
    },
    Case {
        fault: "F39",
        name: "both sides stand still for longer than a lease",
        run: groups::frozen_machine,
    },
    Case {
        fault: "F40",
        name: "a sidecar with a hundredth of a core",
        run: groups::throttled,
    },
    Case {
        fault: "F04",
        name: "another process gets the host's number",
        run: others::same_number,
    },
    Case {
        fault: "F11",
        name: "another version takes over",
        run: others::other_version,
    },
    Case {
        fault: "F12",
        name: "a host with four thousand threads",
        run: many::threads,
    },
    Case {
        fault: "F35",
        name: "clients that ask again outlive their cause",
        run: storm::retries,
    },
    Case {
        fault: "F48",
        name: "many sidecars read one directory of profiles",
        run: many::one_directory,
    },
    Case {
        fault: "F45",
        name: "a sidecar with 32 MiB, and many who listen",
        run: groups::little_memory,
    },
];

/// Cases that are about how fast something is, or that keep the machine busy by themselves: nothing else goes on beside them.
const ALONE: [&str; 5] = ["F01", "F35", "F43", "F47", "F49"];
/// The others mostly wait.
const LANES: usize = 3;

/// Runs the campaign and prints what came of it.
///
/// # Errors
/// When a promise is broken, or a fault did not happen.
pub(crate) fn run(root: &Path, extent: &Extent) -> Result<()> {
    let chosen: Vec<&Case> = CASES
        .iter()
        .filter(|case| {
            let fault = extent.fault.as_deref();
            fault.is_none_or(|fault| case.fault == fault)
        })
        .collect();
    if let (Some(fault), true) = (&extent.fault, chosen.is_empty()) {
        println!(
            "{fault} has no case of its own: {}",
            table::place(root, fault)?
        );
        return Ok(());
    }
    let bench = bench(root, extent.counts, Build::Debug, &["--features", "fail"])?;
    let (alone, others): (Vec<&Case>, Vec<&Case>) = chosen
        .into_iter()
        .partition(|case| ALONE.contains(&case.fault));
    let failed = carry_out(&bench, &others, LANES) + carry_out(&bench, &alone, 1);
    std::fs::remove_dir_all(&bench.directory).context("the bench cannot be cleared")?;
    ensure!(failed == 0, "{failed} cases found something");
    Ok(())
}

/// Sends cases that schemathesis makes of both documents to a live sidecar and a live host, and says how many.
///
/// # Errors
/// When one of them was a server error, or it cannot be run.
pub(crate) fn schemathesis(root: &Path, extent: schema::Extent) -> Result<String> {
    let bench = bench(root, Counts::Quick, Build::Debug, &[])?;
    let sent = schema::run(root, &bench, extent);
    std::fs::remove_dir_all(&bench.directory).context("the bench cannot be cleared")?;
    sent
}

/// Runs cases, so many at a time, prints what came of each, and says how many found something.
fn carry_out(bench: &Bench, cases: &[&Case], lanes: usize) -> usize {
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let (outcome, took) = crate::ci::shell::timed(|| (case.run)(bench));
                    failed.fetch_add(usize::from(outcome.is_err()), Ordering::SeqCst);
                    let (verdict, what) = match outcome {
                        Ok(Outcome::Held(what)) => ("held   ", what),
                        Ok(Outcome::NotRun(why)) => ("not run", why),
                        Err(error) => ("BROKEN ", format!("{error:#}")),
                    };
                    let (fault, name, seconds) = (case.fault, case.name, took.as_secs());
                    println!("{fault} {verdict}  {seconds:>4} s  {name}: {what}");
                }
            });
        }
    });
    failed.into_inner()
}

/// Measures a service beside a sidecar in trouble, and prints the table.
///
/// # Errors
/// When a request failed because of it.
pub(crate) fn beside(root: &Path, build: Build, requests: &str, pairs: &str) -> Result<()> {
    let extent = beside::Extent {
        requests: requests.parse().context("how many requests?")?,
        pairs: pairs.parse().context("how many pairs?")?,
    };
    let bench = bench(root, Counts::Quick, build, &[])?;
    let measured = beside::run(&bench, extent);
    std::fs::remove_dir_all(&bench.directory).context("the bench cannot be cleared")?;
    measured
}

/// Builds what is run, with or without the points at which it can be made to fail, and a directory for it.
fn bench(root: &Path, counts: Counts, build: Build, features: &[&str]) -> Result<Bench> {
    let mut arguments = vec![
        "build",
        "--locked",
        "--bin",
        "trimtab",
        "--bin",
        "trimtab-prof",
        "--example",
        "campaign_host",
    ];
    arguments.extend(features);
    if build == Build::Release {
        arguments.push("--release");
    }
    crate::ci::shell::cargo(root, &arguments)?;
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(root)
        .no_deps()
        .exec()
        .context("cargo does not say where it builds")?;
    let profile = match build {
        Build::Debug => "debug",
        Build::Release => "release",
    };
    let built = metadata.target_directory.as_std_path().join(profile);
    let directory = std::env::temp_dir().join(format!("trimtab-chaos-{}", std::process::id()));
    std::fs::create_dir_all(&directory).context("no directory for the campaign")?;
    Ok(Bench {
        sidecar: built.join("trimtab"),
        host: built.join("examples/campaign_host"),
        directory,
        counts,
    })
}

/// Lets time pass: the processes under test have clocks of their own.
#[expect(clippy::disallowed_methods, reason = "real processes need real time")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Looks until there is something, for at most half a minute.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    for _ in 0..1_500 {
        if let Some(found) = look() {
            return Ok(found);
        }
        pause(Duration::from_millis(20));
    }
    bail!("waited in vain for {what}")
}
