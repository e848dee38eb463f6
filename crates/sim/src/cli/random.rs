//! `trimtab-sim random`: the distribution over hosts drawn at random.

use super::{CacheArgs, LeagueName, StartName};
use crate::compare::{Contest, standings};
use crate::number::percent;
use crate::oracle::quantile;
use crate::plants::{Drawn, FAMILIES, WORKS, draw};
use crate::player::Player;
use crate::score::{Score, mean};
use crate::table::{self, Format, Table};
use clap::Args;
use std::error::Error;
use std::io::Write;

/// How many of the worst are told.
const WORST: usize = 10;

#[derive(Debug, Args)]
pub(super) struct RandomArgs {
    /// How many hosts.
    #[arg(long, default_value_t = 500)]
    count: u64,
    /// The number of the first.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Seeds of each, from 1 up to this.
    #[arg(long, default_value_t = 2)]
    seeds: u64,
    /// Who plays, separated by commas; `exec:COMMAND` takes the rest of its list. May be given several times.
    #[arg(long, default_value = "trimtab")]
    controllers: Vec<String>,
    /// The rules: beside the host, or inside it.
    #[arg(long, value_enum, default_value_t = LeagueName::Sidecar)]
    league: LeagueName,
    /// Where runs start.
    #[arg(long, value_enum, default_value_t = StartName::File)]
    start: StartName,
    /// How the result is written.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Only print the scenario file of the first host.
    #[arg(long)]
    show: bool,
    #[command(flatten)]
    cache: CacheArgs,
}

pub(super) fn random(args: &RandomArgs, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    if args.show {
        return Ok(out.write_all(draw(args.from).text.as_bytes())?);
    }
    let numbers: Vec<u64> = (args.from..args.from + args.count).collect();
    let drawn = crate::parallel::map(&numbers, |number| draw(*number));
    let contest = Contest {
        scenarios: drawn.iter().map(|host| host.scenario.clone()).collect(),
        players: Player::parse_all(&args.controllers)?,
        seeds: args.seeds.max(1),
        league: args.league.league(),
        start: args.start.start(),
        cache: args.cache.open(),
    };
    let scores = contest.play();
    if args.output == Format::Json {
        serde_json::to_writer_pretty(&mut *out, &serde_json::json!({ "scores": scores }))?;
        return Ok(writeln!(out)?);
    }
    for standing in standings(&scores) {
        let name = &standing.controller;
        let own: Vec<&Score> = scores
            .iter()
            .filter(|score| score.controller == *name)
            .collect();
        writeln!(
            out,
            "{name}, {} hosts from {}, {} seeds each\n",
            args.count, args.from, contest.seeds
        )?;
        out.write_all(distribution(&drawn, &own).text(args.output).as_bytes())?;
        writeln!(out)?;
        out.write_all(against_operator(&own).text(args.output).as_bytes())?;
        writeln!(out)?;
        out.write_all(worst(&drawn, &own).text(args.output).as_bytes())?;
        writeln!(out)?;
    }
    Ok(out.write_all(
        table::standings(&standings(&scores))
            .text(args.output)
            .as_bytes(),
    )?)
}

/// One line for all hosts, one a family, one a distribution of work.
fn distribution(drawn: &[Drawn], scores: &[&Score]) -> Table {
    let mut table = Table::new(&[
        "hosts",
        "count",
        "mean %",
        ">= 90 %",
        ">= 95 %",
        ">= 97 %",
        "p1",
        "p5",
        "p10",
        "p50",
        "chg/min",
        "over %",
        "harm ok %",
    ]);
    let mut add = |name: &str, belongs: &dyn Fn(&Drawn) -> bool| {
        let pairs = drawn.iter().zip(scores).filter(|(host, _)| belongs(host));
        let own: Vec<&Score> = pairs.map(|(_, score)| *score).collect();
        if !own.is_empty() {
            table.row(line(name, &own));
        }
    };
    add("all", &|_| true);
    for family in FAMILIES {
        add(family, &|host| host.family == family);
    }
    for work in WORKS {
        add(work, &|host| host.work == work);
    }
    add("steady", &|host| host.scenario.is_stationary());
    add("changing", &|host| !host.scenario.is_stationary());
    table
}

fn line(name: &str, scores: &[&Score]) -> Vec<String> {
    let mut goodput: Vec<f64> = scores.iter().map(|score| percent(score.goodput)).collect();
    goodput.sort_by(f64::total_cmp);
    let least = |bound: f64| {
        let good = goodput.iter().filter(|share| **share >= bound).count();
        percent(good as f64 / goodput.len() as f64)
    };
    let at = |share| quantile(&goodput, share).unwrap_or(0.0);
    let with_harm: Vec<&&Score> = scores.iter().filter(|score| score.harm.is_some()).collect();
    let unharmed = with_harm.iter().filter(|score| {
        score.harm.is_some_and(|mean| mean >= 0.97)
            && score.harm_worst.is_some_and(|worst| worst >= 0.95)
    });
    let unharmed = percent(unharmed.count() as f64 / with_harm.len().max(1) as f64);
    let mut cells = vec![name.to_owned(), scores.len().to_string()];
    let figures = [
        mean(goodput.iter().copied()),
        least(90.0),
        least(95.0),
        least(97.0),
        at(0.01),
        at(0.05),
        at(0.1),
        at(0.5),
        mean(scores.iter().map(|score| score.changes_per_min)),
        percent(mean(scores.iter().map(|score| score.oversize))),
        unharmed,
    ];
    cells.extend(figures.map(|figure| format!("{figure:.1}")));
    cells
}

/// How many hosts are better and worse off than with the setting that their operator chose, over the whole run.
fn against_operator(scores: &[&Score]) -> Table {
    let mut table = Table::new(&[
        "against the operator's setting",
        "median %",
        "> 1 % better",
        "within 1 %",
        "> 1 % worse",
        "> 2 %",
        "> 5 %",
        "> 10 %",
        "worst %",
    ]);
    let mut ratios: Vec<f64> = scores
        .iter()
        .filter_map(|score| score.against_operator)
        .collect();
    ratios.sort_by(f64::total_cmp);
    let within = |least: f64, most: f64| {
        let counted = ratios.iter().filter(|ratio| (least..most).contains(*ratio));
        counted.count().to_string()
    };
    let at = |share| percent(quantile(&ratios, share).unwrap_or(0.0));
    table.row(vec![
        format!("{} hosts", ratios.len()),
        format!("{:.1}", at(0.5)),
        within(1.01, f64::INFINITY),
        within(0.99, 1.01),
        within(0.0, 0.99),
        within(0.0, 0.98),
        within(0.0, 0.95),
        within(0.0, 0.9),
        format!("{:.1}", at(0.0)),
    ]);
    table
}

/// The worst hosts with what they are, so that each can be run alone.
fn worst(drawn: &[Drawn], scores: &[&Score]) -> Table {
    let mut table = Table::new(&[
        "worst", "good %", "best", "workers", "chg/min", "over %", "harm", "host",
    ]);
    let mut pairs: Vec<(&Drawn, &&Score)> = drawn.iter().zip(scores).collect();
    pairs.sort_by(|a, b| a.1.goodput.total_cmp(&b.1.goodput));
    for (host, score) in pairs.into_iter().take(WORST) {
        let sizes: Vec<String> = score.best_sizes.iter().map(u64::to_string).collect();
        table.row(vec![
            host.number.to_string(),
            format!("{:.1}", percent(score.goodput)),
            sizes.join("/"),
            format!("{:.1}", score.workers),
            format!("{:.1}", score.changes_per_min),
            format!("{:.1}", percent(score.oversize)),
            score
                .harm
                .map_or_else(|| "-".to_owned(), |harm| format!("{harm:.3}")),
            described(host),
        ]);
    }
    table
}

fn described(host: &Drawn) -> String {
    let kept = |line: &&str| {
        let dull = ["name", "duration", "min", "max", "queue", "["];
        !dull.iter().any(|start| line.starts_with(start))
    };
    let lines: Vec<&str> = host.text.lines().filter(kept).collect();
    format!("{}: {}", host.family, lines.join("; "))
}
