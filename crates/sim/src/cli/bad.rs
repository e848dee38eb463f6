//! `trimtab-sim bad-profiles`: how long the harm of a bad profile lasts.

use crate::bad::{Case, Kind, Verdict, cases};
use crate::number::percent;
use crate::score::mean;
use crate::table::{Format, Table};
use clap::Args;
use std::error::Error;
use std::io::Write;

/// At least this share has to be undone in time.
const UNDONE_MIN: f64 = 0.999;

#[derive(Debug, Args)]
pub(super) struct BadArgs {
    /// How many profiles, each on a host of its own.
    #[arg(long, default_value_t = 1_000)]
    count: usize,
    /// The number of the first host.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How the result is written.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Whether enough of them were undone in time.
pub(super) fn bad_profiles(args: &BadArgs, out: &mut dyn Write) -> Result<bool, Box<dyn Error>> {
    let cases = cases(args.from, args.count)?;
    let verdicts = crate::parallel::map(&cases, Case::play);
    let mut table = Table::new(&[
        "bad profile",
        "hosts",
        "changed something",
        "did harm",
        "spells",
        "median s",
        "longest s",
        "undone in time",
        "good % mean",
        "worst",
    ]);
    for kind in Kind::ALL {
        let pairs = cases.iter().zip(&verdicts);
        let own: Vec<&Verdict> = pairs
            .filter(|(case, _)| case.kind == kind)
            .map(|(_, verdict)| verdict)
            .collect();
        if !own.is_empty() {
            table.row(line(&kind.to_string(), &own));
        }
    }
    let good = crate::parallel::map(&cases, Case::play_good);
    table.row(line(
        "the good one, for comparison",
        &good.iter().collect::<Vec<_>>(),
    ));
    let all: Vec<&Verdict> = verdicts.iter().collect();
    table.row(line("all", &all));
    out.write_all(table.text(args.output).as_bytes())?;
    list(out, &cases, &verdicts, |case| case.kind.to_string())?;
    list(out, &cases, &good, |_| "the good one".to_owned())?;
    let undone = verdicts
        .iter()
        .filter(|verdict| verdict.is_undone())
        .count();
    Ok(undone as f64 >= UNDONE_MIN * verdicts.len() as f64)
}

/// The hosts whose harm did not end in time.
fn list(
    out: &mut dyn Write,
    cases: &[Case],
    verdicts: &[Verdict],
    name: impl Fn(&Case) -> String,
) -> std::io::Result<()> {
    let pairs = cases.iter().zip(verdicts);
    for (case, verdict) in pairs.filter(|(_, verdict)| !verdict.is_undone()) {
        writeln!(
            out,
            "host {}, {}: {:?} s of harm, {} allowed, {:.1} jobs/s",
            case.number,
            name(case),
            verdict.spells,
            verdict.allowed_s(),
            verdict.completes
        )?;
    }
    Ok(())
}

fn line(name: &str, verdicts: &[&Verdict]) -> Vec<String> {
    let number = |is: fn(&Verdict) -> bool| verdicts.iter().filter(|it| is(it)).count().to_string();
    let mut spells: Vec<u64> = verdicts.iter().flat_map(|it| it.spells.clone()).collect();
    spells.sort_unstable();
    let goodput = || verdicts.iter().map(|it| percent(it.goodput));
    vec![
        name.to_owned(),
        verdicts.len().to_string(),
        number(|it| it.changes > 0),
        number(|it| !it.spells.is_empty()),
        spells.len().to_string(),
        spells
            .get(spells.len() / 2)
            .copied()
            .unwrap_or(0)
            .to_string(),
        spells.last().copied().unwrap_or(0).to_string(),
        number(Verdict::is_undone),
        format!("{:.1}", mean(goodput())),
        format!("{:.1}", goodput().fold(f64::INFINITY, f64::min)),
    ]
}
