//! `trimtab-sim outer`: the sidecar between a loop that adds hosts and a person who edits knobs.

use crate::number::percent;
use crate::outer::{Case, Pair, Signal, broken_together};
use crate::score::mean;
use crate::table::{Format, Table};
use clap::Args;
use std::error::Error;
use std::io::Write;

#[derive(Debug, Args)]
pub(super) struct OuterArgs {
    /// How many hosts; each runs for two hours, with the sidecar and without.
    #[arg(long, default_value_t = 100)]
    count: u64,
    /// The number of the first.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How the result is written.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Whether all laws held.
pub(super) fn outer(args: &OuterArgs, out: &mut dyn Write) -> Result<bool, Box<dyn Error>> {
    let cases: Result<Vec<Case>, _> = (args.from..args.from + args.count)
        .map(Case::draw)
        .collect();
    let cases = cases?;
    let pairs = crate::parallel::map(&cases, Case::play);
    let mut table = Table::new(&[
        "the loop scales by",
        "hosts",
        "edits",
        "overwritten s",
        "moves/h",
        "reversals/h",
        "most",
        "resizes/h without",
        "with",
        "settle without",
        "with",
        "host hours %",
        "good % mean",
        "worst",
    ]);
    for signal in [Signal::Cpu, Signal::InFlight] {
        let both = cases.iter().zip(&pairs);
        let own: Vec<&Pair> = both
            .filter(|(case, _)| case.signal == signal)
            .map(|(_, pair)| pair)
            .collect();
        if !own.is_empty() {
            table.row(line(signal, &own));
        }
    }
    out.write_all(table.text(args.output).as_bytes())?;
    let together = broken_together(&pairs);
    let mut held = together.is_empty();
    for law in together {
        writeln!(out, "{law}")?;
    }
    for (case, pair) in cases.iter().zip(&pairs) {
        for law in pair.broken() {
            held = false;
            writeln!(
                out,
                "host {}, by {}: {law}",
                case.number,
                case.signal.name()
            )?;
        }
    }
    Ok(held)
}

fn line(signal: Signal, pairs: &[&Pair]) -> Vec<String> {
    let sum = |of: fn(&Pair) -> u64| pairs.iter().map(|pair| of(pair)).sum::<u64>().to_string();
    let average = |of: fn(&Pair) -> f64| format!("{:.2}", mean(pairs.iter().map(|pair| of(pair))));
    let most = pairs.iter().map(|pair| pair.with.reversals).max();
    let worst = pairs
        .iter()
        .map(|pair| pair.goodput())
        .fold(f64::INFINITY, f64::min);
    vec![
        signal.name().to_owned(),
        pairs.len().to_string(),
        sum(|pair| pair.with.edits),
        sum(|pair| pair.with.overwritten),
        average(|pair| pair.with.moves as f64),
        average(|pair| pair.with.reversals as f64),
        most.unwrap_or(0).to_string(),
        average(|pair| pair.without.resizes as f64),
        average(|pair| pair.with.resizes as f64),
        sum(|pair| u64::from(pair.without.is_settled())),
        sum(|pair| u64::from(pair.with.is_settled())),
        average(|pair| percent(pair.with.host_seconds / pair.without.host_seconds)),
        average(|pair| percent(pair.goodput())),
        format!("{:.2}", percent(worst)),
    ]
}
