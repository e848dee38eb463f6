//! How two things are compared on a machine that does other work too.
//!
//! A and B are measured in turns, many times, so that whatever slows the machine slows both. What is told is the ratio of
//! the medians with a 95 % interval from a bootstrap over the rounds. Beside it stands A against A, measured in the same
//! rounds: a difference smaller than that one is none.

/// One round: the baseline, the subject, and the baseline again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) baseline: f64,
    pub(crate) subject: f64,
    pub(crate) again: f64,
}

/// A ratio of medians with its 95 % interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Measures in rounds; the order within a round rotates. One unmeasured round comes first.
pub(crate) fn rounds(
    count: usize,
    mut baseline: impl FnMut() -> f64,
    mut subject: impl FnMut() -> f64,
) -> Vec<Round> {
    baseline();
    subject();
    let mut measured = Vec::with_capacity(count);
    for turn in 0..count {
        let mut round = Round {
            baseline: 0.0,
            subject: 0.0,
            again: 0.0,
        };
        for step in 0..3 {
            match (turn + step) % 3 {
                0 => round.baseline = baseline(),
                1 => round.subject = subject(),
                _ => round.again = baseline(),
            }
        }
        measured.push(round);
    }
    measured
}

/// The subject's median over the baseline's.
pub(crate) fn subject_over_baseline(rounds: &[Round]) -> Ratio {
    bootstrap(rounds, |round| (round.subject, round.baseline))
}

/// The baseline's median over its own, from other runs of the same rounds.
pub(crate) fn baseline_over_itself(rounds: &[Round]) -> Ratio {
    bootstrap(rounds, |round| (round.again, round.baseline))
}

/// The middle of some values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Prints a comparison on one line, with A against A on the next.
#[expect(clippy::print_stdout, reason = "a bench speaks to its reader")]
pub(crate) fn report(what: &str, unit: &str, rounds: &[Round]) {
    let of = |pick: fn(&Round) -> f64| median(rounds.iter().map(pick).collect());
    let show = |ratio: Ratio| {
        format!(
            "{:.3} (95 %: {:.3} to {:.3})",
            ratio.median, ratio.low, ratio.high
        )
    };
    println!(
        "{what}: {} over {} rounds; {:.3} {unit} against {:.3} {unit}",
        show(subject_over_baseline(rounds)),
        rounds.len(),
        of(|round| round.subject),
        of(|round| round.baseline),
    );
    println!("    A/A: {}", show(baseline_over_itself(rounds)));
}

const RESAMPLES: usize = 2_000;

fn bootstrap(rounds: &[Round], pick: fn(&Round) -> (f64, f64)) -> Ratio {
    let ratio_of = |sample: &[Round]| {
        let (above, below): (Vec<f64>, Vec<f64>) = sample.iter().map(pick).unzip();
        median(above) / median(below)
    };
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = || {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        rounds[usize::try_from(noise >> 33).unwrap_or(0) % rounds.len()]
    };
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| ratio_of(&(0..rounds.len()).map(|_| draw()).collect::<Vec<_>>()))
        .collect();
    ratios.sort_by(f64::total_cmp);
    Ratio {
        median: ratio_of(rounds),
        low: ratios[RESAMPLES / 40],
        high: ratios[RESAMPLES - 1 - RESAMPLES / 40],
    }
}
