//! What sort of work a pool does, from what it is seen to do, for a pool whose host does not say.
//!
//! Long jobs are background work. Among short ones, those that use the CPU for a good part of the time that a worker is busy
//! are calls that compute; the others mostly wait and are pages. Five minutes are looked at before anything is said, and what
//! was said is kept for ten: a profile brings bounds and goals, and those should not change with the weather.

use crate::moment::{Moment, Span};
use crate::number::fraction;
use std::collections::VecDeque;
use trimtab_protocol::state::PoolKind;

/// How much is looked at before a kind is told.
pub const EVIDENCE: Span = Span::from_secs(300);
/// How long a kind that was told is kept.
pub const STICKY: Span = Span::from_secs(600);
/// A job that takes longer than this on average is background work, in milliseconds.
pub const LONG_JOB_MS: f64 = 5_000.0;
/// At this share of CPU time in busy time, and above, a short job computes.
pub const COMPUTING_SHARE: f64 = 0.3;
/// Fewer jobs than this have no average worth the name.
const JOBS_MIN: u64 = 20;
/// The evidence is kept in pieces of this length; the oldest piece goes when the rest is enough.
const PIECE: Span = Span::from_secs(15);

/// What a pool did in one tick, as far as its kind shows in it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Glimpse {
    /// How long.
    pub span: Span,
    /// Worker time used, in microseconds.
    pub busy_us: u64,
    /// Jobs that ended, well or in an error of their own.
    pub ended: u64,
    /// CPU time of its work, in microseconds; absent where nobody can tell it.
    pub cpu_us: Option<u64>,
}

impl Glimpse {
    /// Both together; CPU time is known only where it is known of both.
    fn plus(self, other: Self) -> Self {
        let cpu_us = self.cpu_us.zip(other.cpu_us);
        Self {
            span: Span::from_ns(self.span.as_ns().saturating_add(other.span.as_ns())),
            busy_us: self.busy_us.saturating_add(other.busy_us),
            ended: self.ended.saturating_add(other.ended),
            cpu_us: cpu_us.map(|(one, two)| one.saturating_add(two)),
        }
    }
}

/// What the evidence says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told {
    /// The kind.
    pub kind: PoolKind,
    /// What a job took on average, in milliseconds.
    pub job_ms: f64,
    /// CPU time as a share of busy time, where it is known.
    pub cpu_share: Option<f64>,
    /// How much was looked at.
    pub span: Span,
}

/// Watches one pool and tells its kind.
#[derive(Clone, Debug, Default)]
pub struct KindWatch {
    pieces: VecDeque<Glimpse>,
    told: Option<(Told, Moment)>,
}

impl KindWatch {
    /// Takes in one tick.
    pub fn add(&mut self, now: Moment, glimpse: Glimpse) {
        match self.pieces.back_mut() {
            Some(last) if last.span < PIECE => *last = last.plus(glimpse),
            _ => self.pieces.push_back(glimpse),
        }
        while let Some(first) = self.pieces.front()
            && self.all().span.as_ns() - first.span.as_ns() >= EVIDENCE.as_ns()
        {
            self.pieces.pop_front();
        }
        let resting = self
            .told
            .is_some_and(|(_, since)| now.since(since) < STICKY);
        if !resting && let Some(seen) = judge(self.all()) {
            match &mut self.told {
                // The same again is no news, and keeps nothing from being told a moment later.
                Some((told, _)) if told.kind == seen.kind => {}
                told => *told = Some((seen, now)),
            }
        }
    }

    /// Forgets what was seen, as after a gap; what was told stays told.
    pub fn forget(&mut self) {
        self.pieces.clear();
    }

    /// What was told last.
    #[must_use]
    pub fn told(&self) -> Option<&Told> {
        self.told.as_ref().map(|(told, _)| told)
    }

    fn all(&self) -> Glimpse {
        let none = Glimpse {
            cpu_us: Some(0),
            ..Glimpse::default()
        };
        self.pieces.iter().fold(none, |sum, piece| sum.plus(*piece))
    }
}

/// The kind that the evidence shows; nothing where it is too little, or where CPU time is needed and not known.
fn judge(all: Glimpse) -> Option<Told> {
    if all.span < EVIDENCE || all.ended < JOBS_MIN || all.busy_us == 0 {
        return None;
    }
    let job_ms = fraction(all.busy_us) / fraction(all.ended) / 1e3;
    let cpu_share = all.cpu_us.map(|cpu| fraction(cpu) / fraction(all.busy_us));
    let kind = if job_ms > LONG_JOB_MS {
        PoolKind::Background
    } else if cpu_share? >= COMPUTING_SHARE {
        PoolKind::Api
    } else {
        PoolKind::Web
    };
    Some(Told {
        kind,
        job_ms,
        cpu_share,
        span: all.span,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second with this many jobs of so many milliseconds, and this share of CPU time in it.
    fn second(jobs: u64, job_ms: u64, cpu_percent: Option<u64>) -> Glimpse {
        let busy_us = jobs * job_ms * 1_000;
        Glimpse {
            span: Span::from_secs(1),
            busy_us,
            ended: jobs,
            cpu_us: cpu_percent.map(|percent| busy_us * percent / 100),
        }
    }

    /// Watches for so many seconds and gives the moment after.
    fn watch(watch: &mut KindWatch, from: u64, seconds: u64, glimpse: Glimpse) -> u64 {
        for at in from..from + seconds {
            watch.add(Moment::default().after(Span::from_secs(at)), glimpse);
        }
        from + seconds
    }

    fn kind_of(glimpse: Glimpse) -> Option<PoolKind> {
        let mut kinds = KindWatch::default();
        watch(&mut kinds, 0, 300, glimpse);
        kinds.told().map(|told| told.kind)
    }

    #[test]
    fn long_jobs_are_background_whatever_they_compute() {
        assert_eq!(
            kind_of(second(1, 5_100, Some(90))),
            Some(PoolKind::Background)
        );
        assert_eq!(kind_of(second(1, 5_100, None)), Some(PoolKind::Background));
        assert_eq!(kind_of(second(1, 5_000, Some(5))), Some(PoolKind::Web));
    }

    #[test]
    fn short_jobs_are_told_apart_by_their_cpu_time() {
        assert_eq!(kind_of(second(10, 20, Some(30))), Some(PoolKind::Api));
        assert_eq!(kind_of(second(10, 20, Some(29))), Some(PoolKind::Web));
    }

    #[test]
    fn unknown_cpu_time_is_not_no_cpu_time() {
        assert_eq!(kind_of(second(10, 20, None)), None);
        let mut kinds = KindWatch::default();
        let at = watch(&mut kinds, 0, 299, second(10, 20, Some(50)));
        watch(&mut kinds, at, 1, second(10, 20, None));
        assert_eq!(kinds.told(), None, "one second of it was unknown");
    }

    #[test]
    fn nothing_is_told_before_five_minutes_or_of_a_handful_of_jobs() {
        let mut kinds = KindWatch::default();
        let at = watch(&mut kinds, 0, 299, second(10, 20, Some(50)));
        assert_eq!(kinds.told(), None);
        watch(&mut kinds, at, 1, second(10, 20, Some(50)));
        let told = kinds.told().expect("it is five minutes now");
        assert_eq!((told.kind, told.span), (PoolKind::Api, EVIDENCE));
        assert!((told.job_ms - 20.0).abs() < 1e-9);

        let mut quiet = KindWatch::default();
        let at = watch(&mut quiet, 0, 19, second(1, 20, Some(50)));
        watch(&mut quiet, at, 400, second(0, 0, Some(50)));
        assert_eq!(quiet.told(), None, "19 jobs are no evidence");
    }

    #[test]
    fn what_was_told_is_kept_for_ten_minutes_and_then_follows_the_last_five() {
        let mut kinds = KindWatch::default();
        let told = watch(&mut kinds, 0, 300, second(10, 20, Some(50)));
        let at = watch(&mut kinds, told, 598, second(10, 20, Some(5)));
        assert_eq!(kinds.told().map(|told| told.kind), Some(PoolKind::Api));
        watch(&mut kinds, at, 2, second(10, 20, Some(5)));
        let now = kinds.told().expect("it was told");
        assert_eq!(now.kind, PoolKind::Web);
        assert!(now.cpu_share.is_some_and(|share| share < 0.06), "{now:?}");
    }

    #[test]
    fn after_a_gap_the_evidence_begins_anew_and_the_word_stands() {
        let mut kinds = KindWatch::default();
        let at = watch(&mut kinds, 0, 300, second(10, 20, Some(50)));
        kinds.forget();
        watch(&mut kinds, at, 800, Glimpse::default());
        assert_eq!(kinds.told().map(|told| told.kind), Some(PoolKind::Api));
    }

    #[test]
    fn what_is_kept_stays_small() {
        let mut kinds = KindWatch::default();
        watch(&mut kinds, 0, 5_000, second(10, 20, Some(50)));
        assert!(kinds.pieces.len() <= 22, "{}", kinds.pieces.len());
    }
}
