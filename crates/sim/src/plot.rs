//! A run as a picture: sizes, load and goodput, and the response time over time, with the decisions marked.

use crate::oracle::Best;
use crate::player::Player;
use crate::run::{Outcome, Run};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use std::error::Error;
use trimtab_core::decision::{Decision, Step};

const SIZE: (u32, u32) = (1_200, 900);
/// What is drawn of a second's response times is smoothed over this many seconds.
const SMOOTH_S: usize = 5;

type Drawn = Result<(), Box<dyn Error>>;

/// What happened to a trial, where it happened.
struct Mark {
    at: f64,
    pool: usize,
    what: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Tried,
    Kept,
    Undone,
}

/// Runs and draws: one column a pool.
///
/// # Errors
/// Where the picture cannot be drawn.
pub fn svg(run: &Run<'_>, player: &Player, best: &Best) -> Result<String, Box<dyn Error>> {
    let mut marks = Vec::new();
    let mut look = |_: &_, decision: Option<&Decision>, second: &crate::run::Second| {
        if let Some(decision) = decision {
            marks.extend(decided(decision, run, second.at));
        }
    };
    let outcome = player.watch(run, best, &mut look);
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let title = format!(
            "{}, {}, seed {}",
            run.scenario.name,
            player.name(),
            run.seed
        );
        let body = root.titled(&title, ("sans-serif", 20))?;
        let columns = body.split_evenly((1, run.scenario.pools.len()));
        for (pool, column) in columns.iter().enumerate() {
            let rows = column.split_evenly((3, 1));
            if let [sizes, rates, times] = rows.as_slice() {
                let own: Vec<&Mark> = marks.iter().filter(|mark| mark.pool == pool).collect();
                draw_sizes(sizes, run, &outcome, best, pool, &own)?;
                draw_rates(rates, run, &outcome, pool)?;
                draw_times(times, run, &outcome, pool)?;
            }
        }
        root.present()?;
    }
    Ok(text)
}

fn decided(decision: &Decision, run: &Run<'_>, at: f64) -> Vec<Mark> {
    let pools = &run.scenario.pools;
    let steps = decision.orders.steps.iter();
    let mark = |step: &Step| {
        let pool = pools
            .iter()
            .position(|pool| pool.name == step.pool().as_str())?;
        let what = match step {
            Step::Try(_) => Kind::Tried,
            Step::Confirm(_) => Kind::Kept,
            Step::RollBack(_) => Kind::Undone,
        };
        Some(Mark { at, pool, what })
    };
    steps.filter_map(mark).collect()
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn chart<'a, 'b>(
    area: &'a Area<'b>,
    title: &str,
    width: f64,
    height: f64,
) -> Result<Chart<'a, 'b>, Box<dyn Error>> {
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 14))
        .margin(6)
        .x_label_area_size(24)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..width, 0.0..(height * 1.1).max(1e-3))?;
    chart.configure_mesh().light_line_style(WHITE).draw()?;
    Ok(chart)
}

fn draw_sizes(
    area: &Area<'_>,
    run: &Run<'_>,
    outcome: &Outcome,
    best: &Best,
    pool: usize,
    marks: &[&Mark],
) -> Drawn {
    let sizes: Vec<(f64, f64)> = outcome
        .seconds
        .iter()
        .filter_map(|second| Some((second.at, second.settings.get(pool)?.workers as f64)))
        .collect();
    let best_size = best.sizes.get(pool).copied().unwrap_or(0) as f64;
    let name = run.scenario.pools.get(pool).map_or("", |pool| &pool.name);
    let title = format!("{name}: workers (blue), best size (grey); tried ▲ kept ● undone ✕");
    let mut chart = chart(
        area,
        &title,
        run.scenario.duration,
        highest(&sizes).max(best_size),
    )?;
    chart.draw_series(LineSeries::new(
        [(0.0, best_size), (run.scenario.duration, best_size)],
        &BLACK.mix(0.4),
    ))?;
    chart.draw_series(LineSeries::new(steps(&sizes), &BLUE))?;
    for mark in marks {
        let at = sizes
            .iter()
            .find(|(at, _)| *at >= mark.at)
            .map_or(0.0, |(_, size)| *size);
        let place = [(mark.at, at)];
        match mark.what {
            Kind::Tried => chart
                .draw_series(place.map(|place| TriangleMarker::new(place, 4, BLUE.filled())))?,
            Kind::Kept => {
                chart.draw_series(place.map(|place| Circle::new(place, 3, GREEN.filled())))?
            }
            Kind::Undone => chart.draw_series(place.map(|place| Cross::new(place, 4, RED)))?,
        };
    }
    Ok(())
}

fn draw_rates(area: &Area<'_>, run: &Run<'_>, outcome: &Outcome, pool: usize) -> Drawn {
    let seconds = outcome.seconds.iter();
    let load: Vec<(f64, f64)> = seconds
        .filter_map(|second| {
            Some((
                second.at,
                run.scenario.pools.get(pool)?.load.rate(second.at),
            ))
        })
        .collect();
    let good = outcome
        .pools
        .get(pool)
        .map_or(&[] as &[u32], |pool| &pool.good);
    let good: Vec<(f64, f64)> = (0_u32..)
        .zip(good)
        .map(|(second, good)| (f64::from(second), f64::from(*good)))
        .collect();
    let title = "jobs a second: load (grey), within the goal (green)";
    let mut chart = chart(
        area,
        title,
        run.scenario.duration,
        highest(&load).max(highest(&good)),
    )?;
    chart.draw_series(LineSeries::new(good, &GREEN))?;
    chart.draw_series(LineSeries::new(load, &BLACK.mix(0.5)))?;
    Ok(())
}

fn draw_times(area: &Area<'_>, run: &Run<'_>, outcome: &Outcome, pool: usize) -> Drawn {
    let seconds = outcome
        .pools
        .get(pool)
        .map_or(&[] as &[_], |pool| &pool.slow);
    let p99: Vec<(f64, f64)> = (0_u32..)
        .zip(seconds.windows(SMOOTH_S))
        .map(|(second, slow)| {
            let slowest = slow.iter().fold(0.0_f32, |most, slow| most.max(*slow));
            (f64::from(second), f64::from(slowest))
        })
        .collect();
    let slo = run.scenario.pools.get(pool).map_or(0.0, |pool| pool.slo);
    let title = format!(
        "p99 of the response time, the most of {SMOOTH_S} s (red), and the goal (grey), in seconds"
    );
    let mut chart = chart(area, &title, run.scenario.duration, highest(&p99).max(slo))?;
    chart.draw_series(LineSeries::new(
        [(0.0, slo), (run.scenario.duration, slo)],
        &BLACK.mix(0.4),
    ))?;
    chart.draw_series(LineSeries::new(p99, &RED))?;
    Ok(())
}

/// A size stands until the next one does.
fn steps(sizes: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let pairs = sizes.windows(2).filter_map(|pair| match pair {
        [(at, size), (next, after)] => Some([(*at, *size), (*next, *size), (*next, *after)]),
        _ => None,
    });
    pairs.flatten().collect()
}

fn highest(points: &[(f64, f64)]) -> f64 {
    points.iter().map(|(_, value)| *value).fold(0.0, f64::max)
}
