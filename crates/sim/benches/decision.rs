//! What one decision costs: `cargo bench -p trimtab-sim --bench decision`.
//!
//! The observations of whole runs are kept, and then a new controller decides on each of them again, and is timed. So the time is
//! that of the controller alone: all that it takes in, learns, decides and says, its record for people included. The median of the
//! rounds' means is told, with the highest thousandth of the round in which that is least, for other work can only add to it.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use trimtab_core::controller::Controller;
use trimtab_core::observation::Observation;
use trimtab_sim::run::{Driver, Run};
use trimtab_sim::scenario::Scenario;
use trimtab_sim::sidecar;
use trimtab_sim::trace::Trace;
use trimtab_sim::world::League;
use trimtab_sys::clock::boot_ns;
use trimtab_sys::count_alloc::{CountingAllocator, allocations};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const ROUNDS: usize = 9;

/// A pool that is always short of workers, one with little to do, one whose load moves, and three pools of one host.
const SCENARIOS: [&str; 4] = [
    "web-knee-over",
    "low-traffic",
    "square-burst",
    "three-pools",
];

fn observations(scenario: &Scenario) -> Vec<Observation> {
    let trace = Trace::draw(scenario, 1);
    let run = Run {
        scenario,
        trace: &trace,
        seed: 1,
        league: League::Sidecar,
    };
    let mut read = Vec::new();
    let controller = Box::new(sidecar::controller(scenario));
    drop(
        run.watched(Driver::Controller(controller), &mut |observation, _, _| {
            read.push(observation.clone());
        }),
    );
    read
}

/// Microseconds of each decision, in order, and allocations of all of them.
fn round(mut controller: Controller, read: Vec<Observation>) -> (Vec<f64>, u64) {
    let mut took = Vec::with_capacity(read.len());
    let mut allocated = 0;
    for observation in read {
        let (before, began) = (allocations(), boot_ns());
        let decision = controller.handle_observation(observation);
        took.push(boot_ns().saturating_sub(began) as f64 / 1e3);
        allocated += allocations() - before;
        drop(decision);
    }
    took.sort_by(f64::total_cmp);
    (took, allocated)
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios");
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| scenario | decisions | mean | median | highest thousandth | allocations |\n|---|---:|---:|---:|---:|---:|"
    )?;
    for name in SCENARIOS {
        let scenario = Scenario::read(&directory.join(format!("{name}.toml")))?;
        let read = observations(&scenario);
        let (mut means, mut medians, mut high) = (Vec::new(), Vec::new(), f64::INFINITY);
        let mut allocated = 0;
        for _ in 0..ROUNDS {
            let (took, count) = round(sidecar::controller(&scenario), read.clone());
            means.push(took.iter().sum::<f64>() / took.len() as f64);
            medians.push(took[took.len() / 2]);
            high = high.min(took[took.len() - 1 - took.len() / 1_000]);
            allocated = count;
        }
        means.sort_by(f64::total_cmp);
        medians.sort_by(f64::total_cmp);
        writeln!(
            out,
            "| {name} | {} | {:.1} us | {:.1} us | {high:.1} us | {:.0} |",
            read.len(),
            means[ROUNDS / 2],
            medians[ROUNDS / 2],
            allocated as f64 / read.len() as f64
        )?;
    }
    Ok(())
}
