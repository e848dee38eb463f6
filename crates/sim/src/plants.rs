//! Hosts drawn at random: breadth instead of fit. A number gives the same host on any machine.

use crate::dice::Dice;
use crate::scenario::Scenario;
use std::fmt::Write as _;

/// The stream of the dice from which hosts are drawn.
const STREAM: u64 = 77;

/// A host may have so many jobs in its run: a whole set is to be measured in minutes.
const JOBS_MAX: f64 = 200_000.0;

/// The families of plants.
pub const FAMILIES: [&str; 4] = ["usl", "wall", "cpu", "two"];
/// The distributions of work.
pub const WORKS: [&str; 5] = ["constant", "exponential", "lognormal", "bimodal", "pareto"];

/// A host drawn at random.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// Its number.
    pub number: u64,
    /// What limits it: one of [`FAMILIES`].
    pub family: &'static str,
    /// How its jobs are distributed: one of [`WORKS`].
    pub work: &'static str,
    /// The file.
    pub text: String,
    /// What the file says.
    pub scenario: Scenario,
}

/// Draws the host of a number. One whose run would have too many jobs is drawn anew from the same dice.
#[must_use]
pub fn draw(number: u64) -> Drawn {
    let mut dice = Dice::new(number, STREAM);
    loop {
        if let Some(drawn) = attempt(number, &mut dice) {
            return drawn;
        }
    }
}

fn attempt(number: u64, dice: &mut Dice) -> Option<Drawn> {
    let family = FAMILIES[crate::number::index(number % 4)];
    let mean_ms = dice.log_between(5.0, 1_000.0);
    let (work, work_text) = work(dice, mean_ms);
    let limits = limits(dice, family);
    let plant = format!("[plant]\nwork = {work_text}\n{limits}");
    let load = load(dice);
    // Goal and deadline as in the scenarios of the repository: six times the time in service at the best size, and a quarter.
    let bare = with_head(number, (8, 16), 1.0, &plant, "rate = 1.0\n");
    let bare = Scenario::parse(&bare, "drawn").ok()?;
    let plant_read = &bare.pools.first()?.plant;
    let slo = 6.0 * plant_read.smallest_near_peak(0.99) as f64 / plant_read.peak();
    let start = [8, 8, 8, 16, 32, 64][crate::number::index(dice.below(6))];
    let operator = [16, 32, 64][crate::number::index(dice.below(3))];
    let text = with_head(number, (start, operator), slo, &plant, &load);
    let scenario = Scenario::parse(&text, "drawn").ok()?;
    let few = scenario.pools.first()?.load.rate_max() * scenario.duration <= JOBS_MAX;
    few.then_some(Drawn {
        number,
        family,
        work,
        text,
        scenario,
    })
}

fn with_head(
    number: u64,
    (start, operator): (u64, u64),
    slo: f64,
    plant: &str,
    load: &str,
) -> String {
    format!(
        "name = \"drawn-{number}\"\nduration = \"300s\"\nstart = {start}\nmin = 1\nmax = 512\noperator = {operator}\n\
         slo = \"{:.1}ms\"\nqueue_limit = 2000\nqueue_deadline = \"{:.1}ms\"\n{plant}[load]\n{load}",
        slo * 1e3,
        slo * 250.0
    )
}

fn work(dice: &mut Dice, mean: f64) -> (&'static str, String) {
    let kind = WORKS[crate::number::index(dice.below(5))];
    let rest = match kind {
        "constant" | "exponential" => format!("mean = \"{mean:.3}ms\""),
        "lognormal" => format!("mean = \"{mean:.3}ms\", cv = {:.2}", dice.between(0.3, 2.0)),
        "bimodal" => {
            // A tenth of the jobs is large, and the mean stays.
            let (small, large) = (0.22 * mean, 8.02 * mean);
            format!("small = \"{small:.3}ms\", large = \"{large:.3}ms\", small_share = 0.9")
        }
        _ => format!(
            "mean = \"{mean:.3}ms\", shape = {:.2}",
            dice.between(1.5, 2.5)
        ),
    };
    (kind, format!("{{ dist = \"{kind}\", {rest} }}"))
}

fn limits(dice: &mut Dice, family: &str) -> String {
    let wall = libm::round(dice.log_between(4.0, 200.0));
    let best = dice.log_between(4.0, 250.0);
    let alpha = dice.log_between(0.0005, 0.2).min(3.2 / best).min(0.9);
    let beta = (1.0 - alpha) / (best * best);
    let cores = libm::round(dice.log_between(1.0, 16.0));
    let share = dice.between(0.3, 1.0);
    let usl = format!("alpha = {alpha:.6}\nbeta = {beta:.8}\n");
    let light = dice.log_between(0.01, 0.3).min(6.0 / best);
    let mut text = String::new();
    let wrote = match (family, dice.below(3)) {
        ("usl", _) => write!(text, "{usl}cpu_share = {light:.4}\n"),
        ("wall", _) => write!(text, "capacity = {wall}\ncpu_share = 0.02\n"),
        ("cpu", _) => write!(text, "cores = {cores}\ncpu_share = {share:.3}\n"),
        (_, 0) => write!(text, "{usl}capacity = {wall}\ncpu_share = 0.02\n"),
        (_, 1) => write!(text, "{usl}cores = {cores}\ncpu_share = {share:.3}\n"),
        (_, _) => write!(
            text,
            "capacity = {wall}\ncores = {cores}\ncpu_share = {:.3}\n",
            0.02 + 0.3 * share
        ),
    };
    // Writing to a text cannot fail.
    wrote.map_or_else(|_| String::new(), |()| text)
}

fn load(dice: &mut Dice) -> String {
    let kind = dice.below(4);
    let (low, high) = (dice.between(0.3, 1.3), dice.between(0.3, 2.0));
    match kind {
        0 | 1 => format!("points = [[\"0s\", {high:.2}]]\n"),
        2 => {
            let at = 40 + dice.below(200);
            format!(
                "points = [[\"0s\", {low:.2}], [\"{at}s\", {low:.2}], [\"{at}s\", {high:.2}]]\n"
            )
        }
        _ => {
            let (low, high) = (0.3 + 0.6 * (low - 0.3), 0.8 + 0.7 * (high - 0.3));
            let half = 15 + dice.below(60);
            let whole = 2 * half;
            format!(
                "points = [[\"0s\", {low:.2}], [\"{half}s\", {high:.2}], [\"{whole}s\", {low:.2}]]\nperiod = \"{whole}s\"\n"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_draws_the_same_host_again_and_all_families_and_works_occur() {
        let drawn: Vec<Drawn> = (0..60).map(draw).collect();
        for host in &drawn {
            assert_eq!(draw(host.number).text, host.text);
        }
        for family in FAMILIES {
            assert!(drawn.iter().any(|host| host.family == family), "{family}");
        }
        for work in WORKS {
            assert!(drawn.iter().any(|host| host.work == work), "{work}");
        }
        assert!(
            drawn
                .iter()
                .any(|host| host.scenario.pools[0].load.period.is_some())
        );
    }
}
