//! The command line.

mod bad;
mod outer;
mod random;

use crate::compare::{Contest, Start, standings};
use crate::journal;
use crate::oracle::{Cache, sweep};
use crate::player::Player;
use crate::run::Run;
use crate::scenario::{Scenario, files};
use crate::score::Score;
use crate::table::{self, Format, Table};
use crate::trace::Trace;
use crate::world::League;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Who is compared beside the rivals.
const FIRST: [&str; 6] = [
    "trimtab",
    "operator",
    "fixed-8",
    "fixed-64",
    "fixed-200",
    "clairvoyant",
];

/// A simulator of hosts, in which the controller of Trimtab meets its rivals.
#[derive(Debug, Parser)]
#[command(name = "trimtab-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Leave these parts out of the product's controller, separated by commas, to see what they earn.
    #[cfg(feature = "ablation")]
    #[arg(long, global = true, value_delimiter = ',', value_parser = part)]
    without: Vec<trimtab_core::ablation::Part>,
}

#[cfg(feature = "ablation")]
fn part(name: &str) -> Result<trimtab_core::ablation::Part, String> {
    let all = trimtab_core::ablation::Part::ALL;
    let found = all.iter().find(|(known, _)| *known == name);
    found.map(|(_, part)| *part).ok_or_else(|| {
        let known: Vec<&str> = all.iter().map(|(known, _)| *known).collect();
        format!("known are {}", known.join(", "))
    })
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a controller in scenarios: one line a scenario.
    Run(RunArgs),
    /// All controllers in all scenarios on the same jobs.
    Compare(CompareArgs),
    /// Goodput by fixed size, the best static setting and the best schedule.
    Sweep(SweepArgs),
    /// The distribution over hosts drawn at random, and the worst ten.
    Random(random::RandomArgs),
    /// The sidecar between a loop that adds hosts and a person who edits knobs, and without it.
    Outer(outer::OuterArgs),
    /// Bad profiles under load, and how long what they ask for stays in force where it does harm.
    BadProfiles(bad::BadArgs),
    /// Draw sizes, load, goodput and p99 over time as an SVG, with decisions marked.
    Plot(PlotArgs),
    /// Run the product's controller once and record all that it read and decided.
    Record(RecordArgs),
    /// Make the decisions of a recording again and compare them, bit for bit.
    Replay(ReplayArgs),
}

#[derive(Debug, Args)]
struct PlotArgs {
    /// The scenario file.
    scenario: PathBuf,
    /// Who is at the knobs.
    #[arg(long, default_value = "trimtab")]
    controller: String,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The rules: beside the host, or inside it.
    #[arg(long, value_enum, default_value_t = LeagueName::Sidecar)]
    league: LeagueName,
    /// Where the run starts.
    #[arg(long, value_enum, default_value_t = StartName::File)]
    start: StartName,
    /// Where the picture goes.
    #[arg(short, long)]
    output: PathBuf,
    #[command(flatten)]
    cache: CacheArgs,
}

#[derive(Debug, Args)]
struct RecordArgs {
    /// The scenario file.
    scenario: PathBuf,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the recording goes.
    file: PathBuf,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// The recording.
    file: PathBuf,
}

#[derive(Debug, Args)]
struct Common {
    /// Scenario files, or directories of them.
    #[arg(required = true)]
    scenarios: Vec<PathBuf>,
    /// Seeds, from 1 up to this.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The rules: beside the host, or inside it.
    #[arg(long, value_enum, default_value_t = LeagueName::Sidecar)]
    league: LeagueName,
    /// Where runs start.
    #[arg(long, value_enum, default_value_t = StartName::File)]
    start: StartName,
    /// How the result is written.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    cache: CacheArgs,
}

#[derive(Debug, Args)]
struct CacheArgs {
    /// Where the results of sweeps are kept; beside the program where it is not given.
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Make every sweep anew.
    #[arg(long)]
    no_cache: bool,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    common: Common,
    /// Who is at the knobs.
    #[arg(long, default_value = "trimtab")]
    controller: String,
    /// Write each second of each pool, with what was decided and why, to this file: one JSON line each, of one scenario and
    /// the last of the seeds.
    #[arg(long)]
    trace: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CompareArgs {
    #[command(flatten)]
    common: Common,
    /// Who plays, separated by commas; `exec:COMMAND` takes the rest of its list. May be given several times.
    #[arg(long)]
    controllers: Vec<String>,
}

#[derive(Debug, Args)]
struct SweepArgs {
    /// The scenario file.
    scenario: PathBuf,
    #[command(flatten)]
    cache: CacheArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LeagueName {
    Sidecar,
    InProcess,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StartName {
    File,
    Operator,
}

impl LeagueName {
    fn league(self) -> League {
        match self {
            Self::Sidecar => League::Sidecar,
            Self::InProcess => League::InProcess,
        }
    }
}

impl StartName {
    fn start(self) -> Start {
        match self {
            Self::File => Start::File,
            Self::Operator => Start::Operator,
        }
    }
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    match run(Cli::parse(), &mut out) {
        Ok(code) => code,
        Err(error) => {
            complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn complain(error: &dyn Error) {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    // There is nowhere left to say that this failed.
    drop(writeln!(std::io::stderr(), "trimtab-sim: {text}"));
}

type Done = Result<ExitCode, Box<dyn Error>>;

fn run(cli: Cli, out: &mut dyn Write) -> Done {
    #[cfg(feature = "ablation")]
    trimtab_core::ablation::leave_out(&cli.without);
    match cli.command {
        Command::Run(args) => run_one(&args, out),
        Command::Compare(args) => compare(&args, out),
        Command::Sweep(args) => sweep_one(&args, out),
        Command::Random(args) => random::random(&args, out).map(|()| ExitCode::SUCCESS),
        Command::Outer(args) => outer::outer(&args, out).map(code),
        Command::BadProfiles(args) => bad::bad_profiles(&args, out).map(code),
        Command::Plot(args) => plot(&args),
        Command::Record(args) => record(&args),
        Command::Replay(args) => replay(&args, out),
    }
}

fn code(held: bool) -> ExitCode {
    if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// All scenarios that can be read. What cannot is told at once, and the command fails at its end.
fn read_all(paths: &[PathBuf]) -> Result<(Vec<Scenario>, ExitCode), Box<dyn Error>> {
    let mut scenarios = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for path in paths {
        for file in files(path)? {
            match Scenario::read(&file) {
                Ok(scenario) => scenarios.push(scenario),
                Err(error) => {
                    complain(&error);
                    code = ExitCode::FAILURE;
                }
            }
        }
    }
    if scenarios.is_empty() {
        return Err("there is no scenario to run".into());
    }
    Ok((scenarios, code))
}

fn contest(common: &Common, players: Vec<Player>) -> Result<(Contest, ExitCode), Box<dyn Error>> {
    let (scenarios, code) = read_all(&common.scenarios)?;
    let contest = Contest {
        scenarios,
        players,
        seeds: common.seeds.max(1),
        league: common.league.league(),
        start: common.start.start(),
        cache: common.cache.open(),
    };
    Ok((contest, code))
}

fn run_one(args: &RunArgs, out: &mut dyn Write) -> Done {
    let player = Player::parse(&args.controller)?;
    let (contest, code) = contest(&args.common, vec![player])?;
    if let Some(file) = &args.trace {
        trace(&contest, file)?;
    }
    let scores = contest.play();
    write_scores(&scores, args.common.output, out)?;
    Ok(code)
}

fn trace(contest: &Contest, file: &Path) -> Result<(), Box<dyn Error>> {
    let ([scenario], [player]) = (contest.scenarios.as_slice(), contest.players.as_slice()) else {
        return Err("a trace is of one scenario".into());
    };
    let best = contest.cache.best(scenario);
    let scenario = contest.started(scenario);
    let jobs = Trace::draw(&scenario, contest.seeds);
    let run = Run {
        scenario: &scenario,
        trace: &jobs,
        seed: contest.seeds,
        league: contest.league,
    };
    let mut out = BufWriter::new(File::create(file)?);
    for line in journal::trace(&run, player, &best) {
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

fn plot(args: &PlotArgs) -> Done {
    let scenario = Scenario::read(&args.scenario)?;
    let player = Player::parse(&args.controller)?;
    let best = args.cache.open().best(&scenario);
    let started = match args.start.start() {
        Start::File => scenario.clone(),
        Start::Operator => scenario.started_at(&scenario.operator()),
    };
    let jobs = Trace::draw(&started, args.seed);
    let run = Run {
        scenario: &started,
        trace: &jobs,
        seed: args.seed,
        league: args.league.league(),
    };
    std::fs::write(&args.output, crate::plot::svg(&run, &player, &best)?)?;
    Ok(ExitCode::SUCCESS)
}

fn record(args: &RecordArgs) -> Done {
    let scenario = Scenario::read(&args.scenario)?;
    let jobs = Trace::draw(&scenario, args.seed);
    let run = Run {
        scenario: &scenario,
        trace: &jobs,
        seed: args.seed,
        league: League::Sidecar,
    };
    let mut out = BufWriter::new(File::create(&args.file)?);
    journal::record(&run, &scenario, &mut out)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn replay(args: &ReplayArgs, out: &mut dyn Write) -> Done {
    let replayed = journal::replay(&mut BufReader::new(File::open(&args.file)?))?;
    match replayed.different {
        None => {
            writeln!(out, "{} decisions, all the same", replayed.decisions)?;
            Ok(ExitCode::SUCCESS)
        }
        Some((number, was, is)) => {
            writeln!(out, "decision {number} differs\nwas: {was}\nis:  {is}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn compare(args: &CompareArgs, out: &mut dyn Write) -> Done {
    let players = if args.controllers.is_empty() {
        let rivals = crate::rivals::NAMES.iter().map(|(name, _)| *name);
        let all = FIRST.iter().copied().chain(rivals);
        all.map(Player::parse).collect::<Result<_, _>>()?
    } else {
        Player::parse_all(&args.controllers)?
    };
    let (contest, code) = contest(&args.common, players)?;
    write_scores(&contest.play(), args.common.output, out)?;
    Ok(code)
}

fn write_scores(
    scores: &[Score],
    format: Format,
    out: &mut dyn Write,
) -> Result<(), Box<dyn Error>> {
    let standings = standings(scores);
    if format == Format::Json {
        let value = serde_json::json!({ "standings": standings, "scores": scores });
        serde_json::to_writer_pretty(&mut *out, &value)?;
        return Ok(writeln!(out)?);
    }
    for standing in &standings {
        let own: Vec<&Score> = scores
            .iter()
            .filter(|score| score.controller == standing.controller)
            .collect();
        writeln!(
            out,
            "\n{}{}\n",
            if format == Format::Markdown {
                "### "
            } else {
                ""
            },
            standing.controller
        )?;
        out.write_all(table::scores(&own).text(format).as_bytes())?;
    }
    writeln!(out)?;
    Ok(out.write_all(table::standings(&standings).text(format).as_bytes())?)
}

fn sweep_one(args: &SweepArgs, out: &mut dyn Write) -> Done {
    let scenario = Scenario::read(&args.scenario)?;
    let best = args.cache.open().best(&scenario);
    if scenario.pools.len() == 1 {
        let mut table = Table::new(&["workers", "good/s", "of best %", "p99 s"]);
        let runs = sweep(&scenario);
        let mean = |outcomes: &[crate::run::Outcome], of: fn(&crate::run::Outcome) -> f64| {
            crate::score::mean(outcomes.iter().map(of))
        };
        let good = |outcomes: &[crate::run::Outcome]| mean(outcomes, |outcome| outcome.goodput(0));
        let most = runs
            .values()
            .map(|outcomes| good(outcomes))
            .fold(0.0, f64::max);
        for (size, outcomes) in &runs {
            let p99 = mean(outcomes, |outcome| {
                outcome
                    .pools
                    .first()
                    .and_then(|pool| pool.p99())
                    .unwrap_or(0.0)
            });
            table.row(vec![
                size.to_string(),
                format!("{:.2}", good(outcomes)),
                format!(
                    "{:.2}",
                    100.0 * good(outcomes) / most.max(f64::MIN_POSITIVE)
                ),
                format!("{p99:.3}"),
            ]);
        }
        out.write_all(table.text(Format::Table).as_bytes())?;
    }
    writeln!(out, "best static: workers {:?}", best.setting.workers)?;
    if let Some(timeout) = best.setting.timeout {
        writeln!(out, "with a timeout of {timeout:.1} s")?;
    }
    writeln!(out, "best size (the smallest as good): {:?}", best.sizes)?;
    for (at, sizes) in &best.schedule {
        writeln!(out, "clairvoyant from {at:.0} s: {sizes:?}")?;
    }
    Ok(ExitCode::SUCCESS)
}

impl CacheArgs {
    fn open(&self) -> Cache {
        if self.no_cache {
            return Cache::default();
        }
        let beside = || {
            Some(
                std::env::current_exe()
                    .ok()?
                    .parent()?
                    .join("trimtab-sim-cache"),
            )
        };
        Cache::new(self.cache.clone().or_else(beside))
    }
}
