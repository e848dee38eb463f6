//! The curve through what was seen: residence by size, and so throughput by size.
//!
//! `R(n) = max(p0 + p1 (n-1) + p2 n (n-1), n / Xinf)` with no negative term: jobs alone, contention, crosstalk (the Universal
//! Scalability Law), and a wall behind which no more is served. Six families of it are fitted by linear least squares and
//! averaged by how well they fit, because one family chosen alone flips with every new reading.

use super::cells::{CLASSES, Cells};

/// Families: flat, crosstalk, contention, both; flat and contention with a wall.
const FAMILIES: usize = 6;
/// Misfit that is granted at the present size, and by how much it grows with the squared logarithm of the distance: 1.2 % at
/// home, 6 % at twice the size, 20 % at four times. A curve need only hold near where the pool is.
const MISFIT: (f64, f64) = (0.012, 0.10);
/// A class that the best curve misses by more than three such errors contradicts it ...
const CONTRADICTION: f64 = 9.0;
/// ... and is dropped if it is older than the newest by this many seconds.
const CONTRADICTION_AGE_S: f64 = 3.0;
/// So many contradictions are removed at one fit.
const CONTRADICTIONS_MOST: usize = 4;
/// Families with less weight than this are left out of the mean.
const WEIGHT_LEAST: f64 = 0.02;

/// One curve.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Curve {
    /// A job alone, contention, crosstalk, in seconds.
    terms: [f64; 3],
    /// Throughput of the wall; infinite without one.
    wall: f64,
    score: f64,
}

impl Curve {
    /// Mean residence at a size, in seconds.
    #[must_use]
    pub fn residence_s(&self, size: f64) -> f64 {
        let [alone, contention, crosstalk] = self.terms;
        let curve = alone + contention * (size - 1.0) + crosstalk * size * (size - 1.0);
        curve.max(size / self.wall).max(1e-9)
    }

    /// Throughput at a size.
    #[must_use]
    pub fn throughput(&self, size: f64) -> f64 {
        size / self.residence_s(size)
    }

    /// The size at which throughput peaks; infinite where it does not fall.
    fn peak(&self) -> f64 {
        let [alone, contention, crosstalk] = self.terms;
        if crosstalk > 0.0 {
            ((alone - contention).max(0.0) / crosstalk).sqrt()
        } else {
            f64::INFINITY
        }
    }

    /// The smallest size that does `throughput`, on the rising branch; `most` where none does.
    #[must_use]
    pub fn demand(&self, throughput: f64, most: f64) -> f64 {
        let top = self.peak().min(most).max(1.0);
        if self.throughput(top) < throughput {
            return most;
        }
        let (mut low, mut high) = (0.0, top);
        for _ in 0..30 {
            let middle = 0.5 * (low + high);
            if middle / self.residence_s(middle.max(1.0)) >= throughput {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    }
}

/// The curves of all families, weighed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape {
    curves: [Option<Curve>; FAMILIES],
    weights: [f64; FAMILIES],
    best: Curve,
    classes: usize,
}

impl Shape {
    /// The curve that fits best.
    #[must_use]
    pub fn best(&self) -> &Curve {
        &self.best
    }

    /// How many classes of sizes it stands on.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Expected throughput at a size.
    #[must_use]
    pub fn throughput(&self, size: f64) -> f64 {
        let weighed = self.curves.iter().zip(self.weights);
        let parts = weighed.filter_map(|(curve, weight)| {
            let curve = curve.as_ref().filter(|_| weight > 0.0)?;
            Some(weight * curve.throughput(size))
        });
        parts.sum()
    }

    /// How much of a growth in size shows up as growth in throughput, here: 1 all, 0 none, below 0 it does harm.
    #[must_use]
    pub fn elasticity(&self, size: f64) -> f64 {
        libm::log(self.throughput(size * 1.1) / self.throughput(size / 1.1))
            / (2.0 * libm::log(1.1))
    }

    /// The same of the best curve alone.
    #[must_use]
    pub fn best_elasticity(&self, size: f64) -> f64 {
        let ratio = self.best.throughput(size * 1.1) / self.best.throughput(size / 1.1);
        libm::log(ratio) / (2.0 * libm::log(1.1))
    }

    /// The smallest size up to `most` with a share of the highest `value`.
    #[must_use]
    pub fn knee(&self, most: f64, share: f64, value: impl Fn(f64) -> f64) -> f64 {
        let most = most.max(1.0);
        let (mut top, mut at, mut size) = (0.0, 1.0, 1.0);
        loop {
            let here = value(size);
            if here > top {
                (top, at) = (here, size);
            } else if here < 0.9 * top {
                break;
            }
            if size >= most {
                break;
            }
            size = (size * 1.06_f64).min(most);
        }
        let (mut low, mut high) = (1.0, at);
        for _ in 0..12 {
            let middle = 0.5 * (low + high);
            if value(middle) >= share * top {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    }
}

/// What the fit looks at: sizes, residences and weights.
struct Points {
    count: usize,
    size: [f64; CLASSES],
    residence: [f64; CLASSES],
    weight: [f64; CLASSES],
    /// Logarithms of the throughputs.
    log_rate: [f64; CLASSES],
    at_s: [f64; CLASSES],
    place: [usize; CLASSES],
}

impl Points {
    fn of(cells: &Cells, now_s: f64, dispersion: f64, at: f64) -> Self {
        let mut points = Self {
            count: 0,
            size: [0.0; CLASSES],
            residence: [0.0; CLASSES],
            weight: [0.0; CLASSES],
            log_rate: [0.0; CLASSES],
            at_s: [0.0; CLASSES],
            place: [0; CLASSES],
        };
        for (index, (place, cell)) in cells.speaking().enumerate() {
            let far = libm::log(cell.size() / at.max(1.0));
            let misfit = MISFIT.0 + MISFIT.1 * far * far;
            let chance = dispersion / cell.weight(now_s).max(0.5);
            points.size[index] = cell.size();
            points.residence[index] = cell.residence_s.max(1e-9);
            points.weight[index] = 1.0 / (chance + misfit * misfit);
            points.log_rate[index] = libm::log(points.size[index] / points.residence[index]);
            points.at_s[index] = cell.at_s;
            points.place[index] = place;
            points.count = index + 1;
        }
        points
    }

    /// How badly a curve misses all classes, with what is added for its terms; nothing where that is not less than `least`. A
    /// sum of squares only grows, so most curves are given up after a few classes.
    fn score(&self, curve: &Curve, added: [f64; 2], least: Option<f64>) -> Option<f64> {
        let [parameters, open_ended] = added;
        let (mut misses, mut score) = (0.0, parameters + open_ended);
        for index in 0..self.count {
            misses += self.surprise(curve, index);
            score = misses + parameters + open_ended;
            if least.is_some_and(|least| score >= least) {
                return None;
            }
        }
        Some(score)
    }

    /// How badly a curve misses one class, in squared errors.
    fn surprise(&self, curve: &Curve, index: usize) -> f64 {
        let miss = libm::log(self.residence[index] / curve.residence_s(self.size[index]));
        self.weight[index] * miss * miss
    }

    /// The oldest class that the best curve contradicts.
    fn contradicted(&self, best: &Curve) -> Option<usize> {
        if self.count < 3 {
            return None;
        }
        let ages = &self.at_s[..self.count];
        let newest = ages.iter().copied().fold(f64::MIN, f64::max);
        let odd = (0..self.count).filter(|index| {
            newest - self.at_s[*index] > CONTRADICTION_AGE_S
                && self.surprise(best, *index) > CONTRADICTION
        });
        odd.min_by(|left, right| self.at_s[*left].total_cmp(&self.at_s[*right]))
    }
}

/// Terms of a family, as bits: alone, contention, crosstalk; and its place with and without a wall.
const TERMS: [(usize, usize, Option<usize>); 4] = [
    (0b001, 0, Some(4)),
    (0b101, 1, None),
    (0b011, 2, Some(5)),
    (0b111, 3, None),
];

/// Fits the curves to what was seen, for a pool at size `at`. Classes that newer ones contradict are dropped.
pub fn fit(cells: &mut Cells, now_s: f64, dispersion: f64, at: f64) -> Option<Shape> {
    for _ in 0..CONTRADICTIONS_MOST {
        let points = Points::of(cells, now_s, dispersion, at);
        let shape = fit_points(&points)?;
        match points.contradicted(&shape.best) {
            Some(index) => cells.forget_at(points.place[index]),
            None => return Some(shape),
        }
    }
    fit_points(&Points::of(cells, now_s, dispersion, at))
}

/// What the curve through `cells` says of the residence at a size, in seconds, without changing anything.
#[must_use]
pub fn predict(cells: &Cells, now_s: f64, dispersion: f64, size: f64) -> Option<f64> {
    let shape = fit_points(&Points::of(cells, now_s, dispersion, size))?;
    Some(shape.best.residence_s(size))
}

fn fit_points(points: &Points) -> Option<Shape> {
    let mut shape = Shape {
        classes: points.count,
        ..Shape::default()
    };
    let mut sums = [[0.0; 4]; 3];
    // Each split: so many of the smallest classes lie under the curve, the rest on the wall.
    for under in 1..=points.count {
        add_row(&mut sums, points, under - 1);
        let wall = wall_of(points, under);
        let walled = under < points.count;
        for (terms, open, closed) in TERMS {
            let Some(family) = (if walled { closed } else { Some(open) }) else {
                continue;
            };
            let bits = terms.count_ones() as usize;
            let parameters = bits + usize::from(walled);
            if parameters > points.count || bits > under {
                continue;
            }
            let Some(found) = solve(&sums, terms) else {
                continue;
            };
            let mut curve = Curve {
                terms: found,
                wall,
                score: 0.0,
            };
            // Contention alone has no peak, so it needs a little more evidence than the others.
            let open_ended = f64::from(u8::from(terms == 0b011 && !walled));
            let slot = &mut shape.curves[family];
            let least = slot.map(|known| known.score);
            if let Some(score) = points.score(&curve, [parameters as f64, open_ended], least) {
                curve.score = score;
                *slot = Some(curve);
            }
        }
    }
    weigh(&mut shape)?;
    Some(shape)
}

fn weigh(shape: &mut Shape) -> Option<()> {
    let curves = shape.curves.iter().flatten();
    shape.best = *curves.min_by(|left, right| left.score.total_cmp(&right.score))?;
    let mut sum = 0.0;
    for (weight, curve) in shape.weights.iter_mut().zip(&shape.curves) {
        let likelihood = curve.map_or(0.0, |curve| {
            libm::exp(-0.5 * (curve.score - shape.best.score))
        });
        *weight = if likelihood < WEIGHT_LEAST {
            0.0
        } else {
            likelihood
        };
        sum += *weight;
    }
    shape.weights.iter_mut().for_each(|weight| *weight /= sum);
    Some(())
}

/// Adds a class to the normal equations of relative errors in residence.
fn add_row(sums: &mut [[f64; 4]; 3], points: &Points, index: usize) {
    let (size, residence) = (points.size[index], points.residence[index]);
    let row = [1.0, size - 1.0, size * (size - 1.0)];
    let weight = points.weight[index] / (residence * residence);
    for (line, left) in sums.iter_mut().zip(row) {
        for (sum, right) in line.iter_mut().zip(row) {
            *sum += weight * left * right;
        }
        line[3] += weight * left * residence;
    }
}

/// The wall through all classes from `under` on: the weighed geometric mean of their throughputs.
fn wall_of(points: &Points, under: usize) -> f64 {
    let (mut weights, mut logs) = (0.0, 0.0);
    for index in under..points.count {
        weights += points.weight[index];
        logs += points.weight[index] * points.log_rate[index];
    }
    if weights > 0.0 {
        libm::exp(logs / weights)
    } else {
        f64::INFINITY
    }
}

/// Least squares over the terms whose bits are set; nothing unless all of them come out positive, the first truly so.
fn solve(sums: &[[f64; 4]; 3], terms: usize) -> Option<[f64; 3]> {
    let (mut chosen, mut count) = ([0_usize; 3], 0);
    for term in (0..3).filter(|term| terms & (1 << term) != 0) {
        chosen[count] = term;
        count += 1;
    }
    let mut matrix = [[0.0_f64; 4]; 3];
    for row in 0..count {
        for column in 0..count {
            matrix[row][column] = sums[chosen[row]][chosen[column]];
        }
        matrix[row][3] = sums[chosen[row]][3];
        // So little that it moves nothing, and keeps classes of one size from dividing by zero.
        matrix[row][row] *= 1.0 + 1e-9;
    }
    for pivot in 0..count {
        if matrix[pivot][pivot].abs() < 1e-30 {
            return None;
        }
        let line = matrix[pivot];
        for (_, other) in matrix
            .iter_mut()
            .enumerate()
            .take(count)
            .filter(|(row, _)| *row != pivot)
        {
            let factor = other[pivot] / line[pivot];
            for column in pivot..count {
                other[column] -= factor * line[column];
            }
            other[3] -= factor * line[3];
        }
    }
    let mut found = [0.0; 3];
    for row in 0..count {
        found[chosen[row]] = matrix[row][3] / matrix[row][row];
    }
    let [alone, contention, crosstalk] = found;
    (alone > 0.0 && contention >= 0.0 && crosstalk >= 0.0).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::super::cells::tests::second;
    use super::*;
    use proptest::prelude::*;

    fn cells(sizes: &[f64], residence_s: impl Fn(f64) -> f64) -> Cells {
        let mut cells = Cells::default();
        for size in sizes {
            (0..5).for_each(|_| cells.add(0.0, &second(*size, residence_s(*size)), 1.0));
        }
        cells
    }

    fn knee(shape: &Shape, most: f64) -> f64 {
        shape.knee(most, 0.995, |size| shape.throughput(size))
    }

    #[test]
    fn contention_and_crosstalk_are_found_again() {
        let law = |size: f64| 0.05 * (1.0 + 0.03 * (size - 1.0) + 0.0008 * size * (size - 1.0));
        let mut cells = cells(&[4.0, 8.0, 16.0, 30.0, 50.0, 80.0], law);
        let shape = fit(&mut cells, 0.0, 1.0, 30.0).unwrap();
        for size in [10.0, 35.0, 60.0] {
            let ratio = shape.best().residence_s(size) / law(size);
            assert!((ratio - 1.0).abs() < 0.02, "{ratio} at {size}");
        }
        // The law peaks at sqrt((1 - 0.03) / 0.0008) = 34.8; half a percent below its height begins at about 30.
        assert!(
            (26.0..36.0).contains(&knee(&shape, 120.0)),
            "{}",
            knee(&shape, 120.0)
        );
    }

    #[test]
    fn a_wall_is_filled_and_not_more() {
        let wall = |size: f64| (size / 480.0).max(0.05);
        let mut cells = cells(&[8.0, 16.0, 20.0, 28.0, 40.0, 60.0], wall);
        let shape = fit(&mut cells, 0.0, 1.0, 32.0).unwrap();
        let knee = knee(&shape, 96.0);
        assert!((20.0..30.0).contains(&knee), "{knee}");
        assert!(shape.elasticity(60.0).abs() < 0.1);
    }

    #[test]
    fn demand_is_the_size_that_does_the_load() {
        let mut cells = cells(&[4.0, 8.0, 16.0], |_| 0.1);
        let shape = fit(&mut cells, 0.0, 1.0, 8.0).unwrap();
        assert!((shape.best().demand(50.0, 512.0) - 5.0).abs() < 0.01);
        assert!((shape.best().demand(1e6, 512.0) - 512.0).abs() < 1e-9);
    }

    #[test]
    fn what_newer_sizes_contradict_is_forgotten() {
        let mut cells = cells(&[8.0, 64.0], |_| 0.1);
        for size in [10.0, 13.0, 16.0, 20.0, 25.0] {
            (0..10).for_each(|_| cells.add(20.0, &second(size, 0.3), 1.0));
        }
        fit(&mut cells, 20.0, 1.0, 16.0).unwrap();
        assert_eq!(cells.near(8.0), None);
    }

    #[test]
    fn nothing_seen_has_no_shape() {
        assert!(fit(&mut Cells::default(), 0.0, 1.0, 8.0).is_none());
    }

    proptest! {
        #[test]
        fn any_law_with_a_peak_is_found_within_a_few_percent_of_its_height(
            alone in 0.005_f64..0.5, contention in 0.0_f64..0.2, crosstalk in 0.0002_f64..0.02,
        ) {
            let law = |size: f64| alone * (1.0 + contention * (size - 1.0) + crosstalk * size * (size - 1.0));
            let peak = ((1.0 - contention) / crosstalk).sqrt();
            let sizes = [0.4, 0.6, 0.9, 1.3, 1.8].map(|part| (part * peak).max(1.0));
            let mut cells = cells(&sizes, law);
            if let Some(shape) = fit(&mut cells, 0.0, 1.0, peak) {
                let found = knee(&shape, 2.0 * peak).max(1.0);
                let height = |size: f64| size / law(size);
                prop_assert!(height(found) >= 0.97 * height(peak), "{found} for {peak}");
            }
        }
    }
}
