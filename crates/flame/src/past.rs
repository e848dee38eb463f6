//! The recent past, so that a graph of what just happened needs no waiting.
//!
//! Samples are kept in slices of a second. All stacks share one tree of calls, so a slice is a few numbers a distinct stack.
//! Both together stay below a bound in bytes: what is oldest goes first.

use crate::ask::{HeatColumn, Remembered, Stretch};
use crate::collect::Profile;
use crate::kind::Kind;
use crate::quality::Quality;
use crate::stacks::{Counts, StackId, Stacks};
use crate::watch::Hit;
use std::collections::VecDeque;

/// A slice's length.
const SLICE_NS: u64 = 1_000_000_000;
/// Parts of a slice in a heat map.
const CELLS: u64 = 50;
/// When memory runs out one in so many slices goes, so that room is made seldom.
const DROPPED_PART: usize = 8;

/// What is remembered of one process.
#[derive(Debug)]
pub(crate) struct Past {
    pid: u32,
    bytes_max: usize,
    collector: String,
    pub(crate) stacks: Stacks,
    /// Only seconds with samples have one.
    slices: VecDeque<Slice>,
    /// The seconds that were watched and are not forgotten: the first, and the last, which may not be over.
    known: Option<(u64, u64)>,
    /// What the watch had said when the last slice began.
    told: Quality,
    unseen: Vec<String>,
    hz: u32,
    runs: bool,
}

#[derive(Debug, Default)]
struct Slice {
    second: u64,
    counts: Vec<(StackId, u32)>,
    cells: Vec<u16>,
    samples: u32,
    complete: u32,
    truncated: u32,
    broken: u32,
    lost: u32,
}

impl Past {
    pub(crate) fn new(pid: u32, hz: u32, bytes_max: usize) -> Self {
        Self {
            pid,
            bytes_max,
            collector: "nothing yet".to_owned(),
            stacks: Stacks::default(),
            slices: VecDeque::new(),
            known: None,
            told: Quality::default(),
            unseen: Vec::new(),
            hz,
            runs: true,
        }
    }

    /// Notes how it is taken.
    pub(crate) fn began(&mut self, collector: &str) {
        collector.clone_into(&mut self.collector);
    }

    /// Notes that nothing more comes, and why.
    pub(crate) fn ended(&mut self, words: String) {
        self.collector = words;
        self.runs = false;
    }

    /// Whether more comes.
    pub(crate) fn is_running(&self) -> bool {
        self.runs
    }

    /// Whose past it is.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Notes that it is watched at a moment: from the first such moment until the last, a second without a sample was idle.
    pub(crate) fn watched(&mut self, at_ns: u64) {
        let second = at_ns / SLICE_NS;
        let (first, last) = self.known.unwrap_or((second, second));
        self.known = Some((first, last.max(second)));
    }

    /// Takes up a sample. Those of different CPUs come a little out of order, so it may belong to an earlier slice.
    pub(crate) fn add(&mut self, hit: Hit) {
        self.watched(hit.time_ns);
        let second = hit.time_ns / SLICE_NS;
        let after = self.slices.partition_point(|slice| slice.second < second);
        if self
            .slices
            .get(after)
            .is_none_or(|slice| slice.second != second)
        {
            let cells = vec![0; usize::try_from(CELLS).unwrap_or(0)];
            self.slices.insert(
                after,
                Slice {
                    second,
                    cells,
                    ..Slice::default()
                },
            );
        }
        let Some(slice) = self.slices.get_mut(after) else {
            return;
        };
        let weight = u32::try_from(hit.weight).unwrap_or(u32::MAX);
        match slice
            .counts
            .iter_mut()
            .find(|(stack, _)| *stack == hit.stack)
        {
            Some((_, count)) => *count = count.saturating_add(weight),
            None => slice.counts.push((hit.stack, weight)),
        }
        let cell = usize::try_from(hit.time_ns % SLICE_NS * CELLS / SLICE_NS).unwrap_or(0);
        if let Some(cell) = slice.cells.get_mut(cell) {
            *cell = cell.saturating_add(1);
        }
    }

    /// Notes in the newest slice how good its samples were, from what the watch says of all of them.
    pub(crate) fn tell(&mut self, now: Quality) {
        let Some(slice) = self.slices.back_mut() else {
            return;
        };
        let since =
            |now: u64, before: u64| u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX);
        slice.samples += since(now.samples, self.told.samples);
        slice.complete += since(now.complete, self.told.complete);
        slice.truncated += since(now.truncated, self.told.truncated);
        slice.broken += since(now.broken, self.told.broken);
        slice.lost += since(now.lost, self.told.lost);
        self.unseen.clone_from(&now.unseen);
        self.told = now;
    }

    /// Begins to count anew what a new watch says.
    pub(crate) fn forget_told(&mut self) {
        self.told = Quality::default();
    }

    /// Makes room when there is too much. The stacks of what is left are put into a new tree.
    pub(crate) fn trim(&mut self) {
        while self.bytes() > self.bytes_max && !self.slices.is_empty() {
            let dropped = self.slices.len().div_ceil(DROPPED_PART);
            let newest = self.slices.drain(..dropped).map(|slice| slice.second).max();
            if let (Some((first, _)), Some(newest)) = (&mut self.known, newest) {
                *first = (*first).max(newest + 1);
            }
            let mut stacks = Stacks::default();
            for slice in &mut self.slices {
                let adopted = slice.counts.iter().filter_map(|(stack, count)| {
                    Some((stacks.adopt(&self.stacks, *stack)?, *count))
                });
                slice.counts = adopted.collect();
            }
            self.stacks = stacks;
        }
    }

    /// About how much memory it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let of_slices: usize = self.slices.iter().map(Slice::bytes).sum();
        self.stacks.bytes() + of_slices
    }

    /// What is remembered of a stretch: the seconds that lie wholly in it. Nothing when none of them was watched and is
    /// remembered; of seconds in which the process did nothing a profile without samples.
    pub(crate) fn stretch(&self, stretch: Stretch) -> Option<Profile> {
        let (first, last) = self.known?;
        let seconds = stretch.from_ns.div_ceil(SLICE_NS).max(first)
            ..(stretch.until_ns / SLICE_NS).min(last.saturating_add(1));
        if seconds.is_empty() {
            return None;
        }
        let inside = |slice: &&Slice| seconds.contains(&slice.second);
        let slices: Vec<&Slice> = self.slices.iter().filter(inside).collect();
        let (from_ns, until_ns) = (seconds.start * SLICE_NS, seconds.end * SLICE_NS);
        let mut profile = Profile {
            kind: Kind::Cpu,
            from_ns,
            until_ns,
            ..Profile::default()
        };
        let mut counts = Counts::new();
        for slice in &slices {
            for (stack, count) in &slice.counts {
                *counts.entry(*stack).or_default() += u64::from(*count);
            }
            let quality = &mut profile.quality;
            quality.samples += u64::from(slice.samples);
            quality.complete += u64::from(slice.complete);
            quality.truncated += u64::from(slice.truncated);
            quality.broken += u64::from(slice.broken);
            quality.lost += u64::from(slice.lost);
        }
        for (stack, count) in counts {
            if let Some(stack) = profile.stacks.adopt(&self.stacks, stack) {
                *profile.counts.entry(stack).or_default() += count;
            }
        }
        let quality = &mut profile.quality;
        self.collector.clone_into(&mut quality.collector);
        (quality.hz, quality.window_ms) = (self.hz, (until_ns - from_ns) / 1_000_000);
        quality.unseen.clone_from(&self.unseen);
        Some(profile)
    }

    /// How busy each part of the remembered seconds was.
    pub(crate) fn heat(&self, stretch: Stretch) -> Vec<HeatColumn> {
        let inside = |slice: &&Slice| {
            (stretch.from_ns..stretch.until_ns).contains(&(slice.second * SLICE_NS))
        };
        let column = |slice: &Slice| HeatColumn {
            from_ns: slice.second * SLICE_NS,
            cells: slice.cells.clone(),
        };
        self.slices.iter().filter(inside).map(column).collect()
    }

    /// What is remembered, in short.
    pub(crate) fn brief(&self) -> Remembered {
        Remembered {
            pid: self.pid,
            from_ns: self.known.map_or(0, |(first, _)| first * SLICE_NS),
            until_ns: self.known.map_or(0, |(_, last)| (last + 1) * SLICE_NS),
            bytes: self.bytes(),
            bytes_max: self.bytes_max,
            collector: self.collector.clone(),
        }
    }
}

impl Slice {
    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.counts.capacity() * size_of::<(StackId, u32)>()
            + self.cells.capacity() * size_of::<u16>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stacks::Frame;

    fn hit(past: &mut Past, time_ns: u64, call: u64) {
        let stack = past
            .stacks
            .intern([Frame::Kernel(1), Frame::Kernel(call)])
            .expect("it has calls");
        past.add(Hit {
            time_ns,
            stack,
            weight: 1,
        });
    }

    fn seconds(from: u64, until: u64) -> Stretch {
        Stretch {
            from_ns: from * SLICE_NS,
            until_ns: until * SLICE_NS,
        }
    }

    #[test]
    fn a_stretch_has_the_samples_of_its_whole_seconds() {
        let mut past = Past::new(7, 49, 1 << 20);
        for second in 10..20 {
            hit(&mut past, second * SLICE_NS + 5, 2);
        }
        hit(&mut past, 12 * SLICE_NS + 999_999_999, 3);
        let profile = past.stretch(seconds(12, 15)).expect("it is remembered");
        assert_eq!(profile.counts.values().sum::<u64>(), 4);
        assert_eq!(
            (profile.from_ns, profile.until_ns),
            (12 * SLICE_NS, 15 * SLICE_NS)
        );
        let cut = Stretch {
            from_ns: 12 * SLICE_NS + 1,
            until_ns: 15 * SLICE_NS,
        };
        let profile = past.stretch(cut).expect("two seconds are whole");
        assert_eq!(
            profile.counts.values().sum::<u64>(),
            2,
            "the second in which it begins is left out"
        );
        assert!(past.stretch(seconds(30, 40)).is_none());
    }

    #[test]
    fn seconds_without_a_sample_are_remembered_as_idle() {
        let mut past = Past::new(7, 49, 1 << 20);
        assert!(past.stretch(seconds(0, 100)).is_none(), "not watched yet");
        past.watched(10 * SLICE_NS + 300_000_000);
        hit(&mut past, 12 * SLICE_NS, 2);
        past.watched(20 * SLICE_NS + 100_000_000);
        let idle = past.stretch(seconds(14, 18)).expect("it was watched");
        assert!(idle.counts.is_empty());
        assert_eq!((idle.quality.samples, idle.quality.window_ms), (0, 4_000));
        let part = past.stretch(seconds(5, 15)).expect("a part was watched");
        assert_eq!(
            (part.from_ns, part.until_ns),
            (10 * SLICE_NS, 15 * SLICE_NS)
        );
        assert_eq!(part.counts.values().sum::<u64>(), 1);
        for unknown in [seconds(5, 10), seconds(21, 30)] {
            assert!(past.stretch(unknown).is_none(), "{unknown:?}");
        }
        let brief = past.brief();
        assert_eq!(
            (brief.from_ns, brief.until_ns),
            (10 * SLICE_NS, 21 * SLICE_NS)
        );
        let less = Stretch {
            from_ns: 14 * SLICE_NS + 1,
            until_ns: 15 * SLICE_NS + 1,
        };
        assert!(past.stretch(less).is_none(), "no second is whole");
    }

    #[test]
    fn two_stretches_that_meet_have_all_samples_of_both() {
        let mut past = Past::new(7, 49, 1 << 20);
        for part in 0..40 {
            hit(&mut past, 10 * SLICE_NS + part * SLICE_NS / 2, 2);
        }
        let sum = |from, until| {
            let profile = past
                .stretch(seconds(from, until))
                .expect("it is remembered");
            profile.counts.values().sum::<u64>()
        };
        assert_eq!((sum(10, 25), sum(25, 30), sum(10, 30)), (30, 10, 40));
    }

    #[test]
    fn a_heat_map_has_each_fiftieth_part_of_a_second() {
        let mut past = Past::new(7, 49, 1 << 20);
        hit(&mut past, 3 * SLICE_NS, 2);
        hit(&mut past, 3 * SLICE_NS + 21_000_000, 2);
        hit(&mut past, 3 * SLICE_NS + 22_000_000, 2);
        let columns = past.heat(seconds(0, 10));
        assert_eq!(columns.len(), 1);
        assert_eq!(columns[0].cells.get(..3), Some(&[1, 2, 0][..]));
    }

    #[test]
    fn it_never_takes_more_than_its_bound_and_the_newest_stays() {
        let mut past = Past::new(7, 49, 64 * 1_024);
        for second in 1..400_u64 {
            for call in 0..40 {
                hit(&mut past, second * SLICE_NS + call, 2 + second * 40 + call);
            }
            past.trim();
            assert!(past.bytes() <= 64 * 1_024, "{}", past.bytes());
        }
        let newest = past
            .stretch(seconds(399, 400))
            .expect("the newest is there");
        assert_eq!(newest.counts.len(), 40);
        assert!(past.stretch(seconds(1, 2)).is_none(), "the oldest went");
    }

    #[test]
    fn the_quality_of_a_stretch_is_that_of_its_seconds() {
        let mut past = Past::new(7, 49, 1 << 20);
        for second in 1..4_u64 {
            hit(&mut past, second * SLICE_NS, 2);
            past.tell(Quality {
                samples: second * 10,
                complete: second * 9,
                ..Quality::default()
            });
        }
        let quality = past
            .stretch(seconds(2, 4))
            .expect("it is remembered")
            .quality;
        assert_eq!(
            (quality.samples, quality.complete, quality.hz),
            (20, 18, 49)
        );
    }
}
