//! What a simulated hour costs in CPU time: `cargo bench -p trimtab-sim --bench hour`.
//!
//! The scenario is `soak`: an hour at 1.3 times the peak, some 306 jobs a second. CPU time is the scheduler's count of this thread,
//! so it holds on a busy machine too. Each figure is the least of the rounds, for only other work can add to it.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use trimtab_core::observation::Observation;
use trimtab_sim::pool::{Ended, Setting};
use trimtab_sim::run::{Driver, Rival, Run, Wish};
use trimtab_sim::scenario::Scenario;
use trimtab_sim::sidecar;
use trimtab_sim::trace::Trace;
use trimtab_sim::world::League;

const ROUNDS: usize = 3;

/// Reads every sample and wants nothing.
struct Reader;

impl Rival for Reader {
    fn tick(&mut self, _: &Observation) -> Vec<Wish> {
        Vec::new()
    }

    fn ended(&mut self, _: usize, _: &Ended, _: &Setting) -> Vec<Wish> {
        Vec::new()
    }
}

/// CPU time of this thread, in milliseconds.
fn cpu_ms() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split(' ').next().ok_or("an empty schedstat")?;
    Ok(first.parse::<f64>()? / 1e6)
}

fn main() -> Result<(), Box<dyn Error>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios/soak.toml");
    let scenario = Scenario::read(&file)?;
    let best = scenario.started_at(&[33]);
    let mut least = [f64::INFINITY; 4];
    let mut jobs = 0;
    for _ in 0..ROUNDS {
        let mut before = cpu_ms()?;
        let trace = Trace::draw(&scenario, 1);
        jobs = trace.len();
        let mut took = vec![cpu_ms()? - before];
        let run = Run {
            scenario: &best,
            trace: &trace,
            seed: 1,
            league: League::Sidecar,
        };
        let drivers = [
            Driver::Nobody,
            Driver::Rival(Box::new(Reader)),
            Driver::Controller(Box::new(sidecar::controller(&best))),
        ];
        for driver in drivers {
            before = cpu_ms()?;
            let outcome = run.drive(driver);
            took.push(cpu_ms()? - before);
            drop(outcome);
        }
        for (least, took) in least.iter_mut().zip(took) {
            *least = least.min(took);
        }
    }
    let mut out = std::io::stdout().lock();
    let [draw, nobody, reader, controller] = least;
    writeln!(
        out,
        "| one simulated hour, {jobs} jobs | CPU time |\n|---|---:|"
    )?;
    writeln!(
        out,
        "| drawing the jobs, once for all controllers | {draw:.0} ms |"
    )?;
    writeln!(out, "| a run with nobody at the knobs | {nobody:.0} ms |")?;
    writeln!(out, "| the same with 3,600 observations | {reader:.0} ms |")?;
    writeln!(
        out,
        "| with the product's controller | {controller:.0} ms |"
    )?;
    Ok(())
}
