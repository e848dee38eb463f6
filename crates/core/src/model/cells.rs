//! How long a job is in service, by the number in service.
//!
//! Sizes are kept in classes on a logarithmic grid, each with faded sums. A tick counts where its mean number in service
//! lies, so that a pool that is not full teaches too.

use super::flow::Flow;

/// Ratio of two neighbouring classes: sizes 12 % apart are told apart, closer ones share what they learn.
const GRID: f64 = 1.12;
/// Classes: up to `1.12^79`, some 7,700 workers.
pub const CLASSES: usize = 80;
/// Seconds after which a class is worth a third: services change within minutes.
const FADE_S: f64 = 150.0;
/// Completions below which a class says nothing.
pub const COMPLETIONS_LEAST: f64 = 10.0;
/// Successes from which the mean of logarithms is taken.
const LOG_LEAST: f64 = 10.0;
/// A class taken from the shelf counts half, and as if seen this long ago.
const SHELF_AGE_S: f64 = 30.0;

/// One class of sizes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cell {
    /// Completions.
    pub completed: f64,
    /// Worker time, in seconds.
    busy_s: f64,
    /// Sum of size times completions.
    sized: f64,
    log_sum: f64,
    log_count: f64,
    /// When it was last added to, in seconds.
    pub at_s: f64,
    /// Mean time in service, in seconds.
    pub residence_s: f64,
    /// The geometric mean of service times, in seconds, where there are enough of them.
    geometric_s: f64,
}

impl Cell {
    /// The mean size.
    #[must_use]
    pub fn size(&self) -> f64 {
        self.sized / self.completed.max(1e-9)
    }

    /// Throughput at its mean size.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        self.size() / self.residence_s.max(1e-9)
    }

    /// Completions, faded to now.
    #[must_use]
    pub fn weight(&self, now_s: f64) -> f64 {
        self.completed * fade(now_s - self.at_s)
    }

    fn speaks(&self) -> bool {
        self.completed >= COMPLETIONS_LEAST
    }

    /// Whether its pool has turned over twice: a residence seen in less is that of jobs from before.
    fn is_settled(&self) -> bool {
        self.completed >= 30.0 && self.completed >= 2.0 * self.size()
    }

    fn settle(&mut self, mix: Option<f64>) {
        self.residence_s = match mix {
            Some(mix) if self.log_count >= LOG_LEAST => mix * self.geometric_s,
            _ => self.busy_s / self.completed.max(1e-9),
        };
    }
}

fn fade(seconds: f64) -> f64 {
    libm::exp(-seconds.max(0.0) / FADE_S)
}

/// All classes.
#[derive(Clone, Debug)]
pub struct Cells {
    cells: [Cell; CLASSES],
    /// Outside of these, the second not included, nothing was ever seen.
    seen: (usize, usize),
    mix: Option<f64>,
}

impl Default for Cells {
    fn default() -> Self {
        Self {
            cells: [Cell::default(); CLASSES],
            seen: (CLASSES, 0),
            mix: None,
        }
    }
}

impl Cells {
    /// Takes in a tick at its mean number in service, with a weight.
    pub fn add(&mut self, now_s: f64, flow: &Flow, weight: f64) {
        let (mix, class) = (self.mix, class_of(flow.busy));
        self.seen = (self.seen.0.min(class), self.seen.1.max(class + 1));
        let Some(cell) = self.cells.get_mut(class) else {
            return;
        };
        let kept = fade(now_s - cell.at_s);
        cell.completed = cell.completed * kept + flow.finished * weight;
        cell.busy_s = cell.busy_s * kept + flow.busy * flow.seconds * weight;
        cell.sized = cell.sized * kept + flow.busy * flow.finished * weight;
        cell.log_sum = cell.log_sum * kept + flow.log_sum * weight;
        cell.log_count = cell.log_count * kept + flow.log_count * weight;
        cell.at_s = now_s;
        if cell.log_count >= LOG_LEAST {
            cell.geometric_s = libm::exp(cell.log_sum / cell.log_count);
        }
        cell.settle(mix);
    }

    /// Takes one mix of work for all sizes: the ratio of mean to geometric mean. Which long jobs happened to end in a class
    /// then no longer moves its residence. `log_variance` corrects what few successes lack; nothing where the mean is used.
    pub fn remix(&mut self, log_variance: Option<f64>) {
        let mut mix = None;
        if let Some(variance) = log_variance {
            let (mut time, mut stretched) = (0.0, 0.0);
            let known = |cell: &&Cell| cell.speaks() && cell.log_count >= LOG_LEAST;
            for cell in self.seen().iter().filter(known) {
                let mean = cell.log_sum / cell.log_count;
                time += cell.busy_s;
                stretched += cell.completed * libm::exp(mean - 0.5 * variance / cell.log_count);
            }
            mix = (stretched > 0.0).then(|| time / stretched);
        }
        self.mix = mix;
        let known = self.seen_mut().iter_mut();
        known
            .filter(|cell| cell.completed > 0.0)
            .for_each(|cell| cell.settle(mix));
    }

    fn seen(&self) -> &[Cell] {
        self.cells.get(self.seen.0..self.seen.1).unwrap_or(&[])
    }

    fn seen_mut(&mut self) -> &mut [Cell] {
        let (first, end) = self.seen;
        self.cells.get_mut(first..end).unwrap_or(&mut [])
    }

    /// The mix of work in force.
    #[must_use]
    pub fn mix(&self) -> Option<f64> {
        self.mix
    }

    /// Forgets the class of a size, into which a change may have leaked already.
    pub fn forget(&mut self, size: f64) {
        if let Some(cell) = self.cells.get_mut(class_of(size)) {
            *cell = Cell::default();
        }
    }

    /// Forgets one class by its place.
    pub fn forget_at(&mut self, place: usize) {
        if let Some(cell) = self.cells.get_mut(place) {
            *cell = Cell::default();
        }
    }

    /// Ages what comes from the shelf: it is believed half, and is older than anything seen from now on.
    pub fn age(&mut self, now_s: f64) {
        for cell in &mut self.cells {
            for sum in [
                &mut cell.completed,
                &mut cell.busy_s,
                &mut cell.sized,
                &mut cell.log_sum,
                &mut cell.log_count,
            ] {
                *sum *= 0.5;
            }
            cell.at_s = now_s - SHELF_AGE_S;
        }
    }

    /// The classes that say something, with their place, from small to large.
    pub fn speaking(&self) -> impl DoubleEndedIterator<Item = (usize, &Cell)> {
        let first = self.seen.0;
        let cells = self.seen().iter().enumerate();
        cells
            .map(move |(place, cell)| (first + place, cell))
            .filter(|(_, cell)| cell.speaks())
    }

    /// How many classes say something.
    #[must_use]
    pub fn count(&self) -> usize {
        self.speaking().count()
    }

    /// The largest size seen.
    #[must_use]
    pub fn largest(&self) -> f64 {
        self.speaking()
            .map(|(_, cell)| cell.size())
            .fold(0.0, f64::max)
    }

    /// Mean residence and completions of the class of a size; carried from the class's mean size as if half of a growth
    /// showed up as longer service.
    #[must_use]
    pub fn near(&self, size: f64) -> Option<(f64, f64)> {
        let cell = self
            .cells
            .get(class_of(size))
            .filter(|cell| cell.completed > 0.0)?;
        let carried = cell.residence_s * (size / cell.size().max(1e-9)).sqrt();
        Some((carried, cell.completed))
    }

    /// The shortest residence among classes that have turned over.
    #[must_use]
    pub fn residence_least(&self) -> Option<f64> {
        let settled = self.seen().iter().filter(|cell| cell.is_settled());
        settled.map(|cell| cell.residence_s).min_by(f64::total_cmp)
    }

    /// The shortest residence, and the smallest size within a quarter of it.
    #[must_use]
    pub fn leanest(&self) -> Option<(f64, f64)> {
        let least = self.residence_least()?;
        let lean = |cell: &&Cell| cell.is_settled() && cell.residence_s <= 1.25 * least;
        let cell = self.seen().iter().find(lean)?;
        Some((least, cell.size()))
    }

    /// Completions, faded to now, seen at sizes within a range.
    #[must_use]
    pub fn weight_within(&self, now_s: f64, least: f64, most: f64) -> f64 {
        let within = |cell: &&Cell| cell.completed > 0.0 && (least..=most).contains(&cell.size());
        self.seen()
            .iter()
            .filter(within)
            .map(|cell| cell.weight(now_s))
            .sum()
    }

    /// The largest size seen that is at most `size`, and its throughput.
    #[must_use]
    pub fn next_below(&self, size: f64) -> Option<(f64, f64)> {
        let mut below = self.speaking().rev().map(|(_, cell)| cell);
        let cell = below.find(|cell| cell.size() <= size)?;
        Some((cell.size(), cell.throughput()))
    }

    /// Among sizes below `size`: the largest whose throughput was under a share of `throughput`, and the smallest above
    /// that which was not. The edge of a wall lies between the two.
    #[must_use]
    pub fn edge_below(&self, size: f64, throughput: f64, share: f64) -> (f64, f64) {
        let (mut low, mut high) = (1.0, size);
        for (_, cell) in self
            .speaking()
            .rev()
            .filter(|(_, cell)| cell.size() < 0.97 * size)
        {
            if cell.throughput() < share * throughput {
                low = cell.size();
                break;
            }
            high = cell.size();
        }
        (low, high)
    }
}

fn class_of(size: f64) -> usize {
    let class = libm::round(libm::log(size.max(1.0)) / libm::log(GRID));
    usize::try_from(crate::number::whole(class))
        .unwrap_or(CLASSES)
        .min(CLASSES - 1)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A second at a size with a residence, and jobs that all take that long.
    pub(crate) fn second(size: f64, residence_s: f64) -> Flow {
        let finished = size / residence_s;
        Flow {
            seconds: 1.0,
            busy: size,
            finished,
            ended: finished,
            arrived: finished,
            log_sum: finished * libm::log(residence_s),
            log_count: finished,
            ..Flow::default()
        }
    }

    #[test]
    fn a_class_knows_how_long_jobs_take_at_its_size() {
        let mut cells = Cells::default();
        (0..5).for_each(|second_of| cells.add(f64::from(second_of), &second(16.0, 0.1), 1.0));
        let (residence, completed) = cells.near(16.0).unwrap();
        assert!((residence - 0.1).abs() < 1e-9 && completed > 700.0);
        assert_eq!(cells.count(), 1);
        assert_eq!(cells.near(40.0), None);
    }

    #[test]
    fn what_was_seen_fades() {
        let mut cells = Cells::default();
        cells.add(0.0, &second(16.0, 0.1), 1.0);
        let later = cells.weight_within(FADE_S, 10.0, 20.0);
        assert!((later / 160.0 - libm::exp(-1.0)).abs() < 1e-9);
    }

    #[test]
    fn the_leanest_size_is_the_smallest_that_is_not_crowded() {
        let mut cells = Cells::default();
        for (size, residence) in [(4.0, 0.05), (8.0, 0.052), (16.0, 0.1)] {
            cells.add(0.0, &second(size, residence), 1.0);
        }
        let (residence, size) = cells.leanest().unwrap();
        assert!((residence - 0.05).abs() < 1e-9 && (size - 4.0).abs() < 1e-9);
    }

    #[test]
    fn the_edge_of_a_wall_lies_between_two_sizes() {
        let mut cells = Cells::default();
        // A wall at 24: below it a job takes 50 ms, beyond it the throughput stays at 480.
        for size in [8.0, 16.0, 30.0, 50.0_f64] {
            cells.add(0.0, &second(size, (size / 480.0).max(0.05)), 1.0);
        }
        let (low, high) = cells.edge_below(50.0, 480.0, 0.95);
        assert!(
            (low - 16.0).abs() < 1.0 && (high - 30.0).abs() < 1.0,
            "{low} {high}"
        );
    }

    #[test]
    fn long_jobs_that_happened_to_end_do_not_lengthen_a_size() {
        let mut cells = Cells::default();
        let mut lucky = second(16.0, 0.1);
        lucky.finished = 200.0;
        cells.add(0.0, &lucky, 1.0);
        cells.add(0.0, &second(32.0, 0.1), 1.0);
        cells.remix(Some(1.0));
        let (at_16, at_32) = (cells.near(16.0).unwrap().0, cells.near(32.0).unwrap().0);
        assert!((at_16 / at_32 - 1.0).abs() < 0.05, "{at_16} {at_32}");
    }
}
