//! A row of readings as a row of bars, one character each.

/// From nothing to all.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The last `width` readings, the newest at the right, each as a share of `full`. A reading that is missing is a gap and not a
/// zero.
pub(super) fn spark(readings: &[Option<f64>], full: f64, width: usize) -> String {
    let shown = readings.len().min(width);
    let (_, last) = readings.split_at(readings.len() - shown);
    let gap = std::iter::repeat_n(' ', width - shown);
    gap.chain(last.iter().map(|reading| match reading {
        Some(value) => bar(*value, full),
        None => ' ',
    }))
    .collect()
}

/// The largest of some readings, for those that have no limit of their own.
pub(super) fn largest(readings: &[Option<f64>]) -> f64 {
    readings.iter().flatten().copied().fold(0.0, f64::max)
}

fn bar(value: f64, full: f64) -> char {
    let reached = BARS
        .iter()
        .zip(1_u8..)
        .take_while(|(_, step)| value * 8.0 > full * (f64::from(*step) - 0.5));
    reached.last().map_or(BARS[0], |(bar, _)| *bar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_reach_from_nothing_to_all_and_what_is_missing_is_a_gap() {
        let readings = [Some(0.0), None, Some(5.0), Some(10.0), Some(99.0)];
        assert_eq!(spark(&readings, 10.0, 5), "▁ ▄██");
        assert_eq!(spark(&readings, 10.0, 2), "██");
        assert_eq!(spark(&readings, 10.0, 7), "  ▁ ▄██");
        assert_eq!(spark(&[], 10.0, 3), "   ");
    }

    #[test]
    fn nothing_but_zeros_is_the_lowest_bar() {
        let readings = [Some(0.0), Some(0.0), None];
        assert_eq!(spark(&readings, largest(&readings), 3), "▁▁ ");
    }
}
