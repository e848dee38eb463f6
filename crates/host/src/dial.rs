//! A number that can be turned while the service runs: its bounds, its target, and the knob that turns it.
//!
//! It holds the number and nothing else; what a turn means is its owner's business.

use crate::knob::{Applied, Knob, KnobFuture, KnobReading, KnobSpec};
use crate::pool::BuildError;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use trimtab_protocol::knob::{KnobKind, KnobValue};

/// A number with a baseline and bounds that it never leaves.
#[derive(Debug)]
pub(crate) struct Dial {
    baseline: u64,
    min: u64,
    max: u64,
    target: AtomicU64,
}

impl Dial {
    pub(crate) fn new(baseline: u64, bounds: &RangeInclusive<u64>) -> Self {
        Self {
            baseline,
            min: *bounds.start(),
            max: *bounds.end(),
            target: AtomicU64::new(baseline),
        }
    }

    /// The number now.
    pub(crate) fn get(&self) -> u64 {
        self.target.load(Ordering::Acquire)
    }

    /// Whether baseline and bounds fit each other, and lie within what the owner can do.
    pub(crate) fn check(
        &self,
        knob: &'static str,
        least: u64,
        most: u64,
    ) -> Result<(), BuildError> {
        let Self {
            baseline, min, max, ..
        } = *self;
        if min > max || min < least || max > most {
            return Err(BuildError::Bounds {
                knob,
                min,
                max,
                least,
                most,
            });
        }
        if !(min..=max).contains(&baseline) {
            return Err(BuildError::Baseline {
                knob,
                baseline,
                min,
                max,
            });
        }
        Ok(())
    }

    /// What a knob over it takes.
    pub(crate) fn spec(&self, name: &str, unit: &'static str, kind: KnobKind) -> KnobSpec {
        KnobSpec {
            kind,
            ..KnobSpec::integer(name, unit, self.baseline, self.min, self.max)
        }
    }

    fn turn(&self, value: &KnobValue) -> Result<u64, String> {
        let Self { min, max, .. } = self;
        let number = value
            .as_integer()
            .filter(|number| (min..=max).contains(&number))
            .ok_or_else(|| format!("{value} is not a number from {min} to {max}"))?;
        self.target.store(number, Ordering::Release);
        Ok(number)
    }
}

/// The knob that turns a dial of some owner.
pub(crate) struct DialKnob<T> {
    pub(crate) owner: Arc<T>,
    /// Which dial.
    pub(crate) dial: fn(&T) -> &Dial,
    /// What is in effect under a target.
    pub(crate) effective: fn(&T, u64) -> u64,
    /// Called after each turn.
    pub(crate) turned: fn(&Arc<T>),
}

impl<T: Send + Sync + 'static> Knob for DialKnob<T> {
    fn read(&self) -> KnobFuture<'_, Result<KnobReading, String>> {
        Box::pin(async {
            let target = (self.dial)(&self.owner).get();
            Ok(KnobReading {
                value: KnobValue::Integer(target),
                effective: KnobValue::Integer((self.effective)(&self.owner, target)),
            })
        })
    }

    fn apply<'a>(&'a self, value: &'a KnobValue) -> KnobFuture<'a, Applied> {
        Box::pin(async {
            let target = match (self.dial)(&self.owner).turn(value) {
                Ok(target) => target,
                Err(why) => return Applied::Refused(why),
            };
            (self.turned)(&self.owner);
            if (self.effective)(&self.owner, target) == target {
                Applied::Done
            } else {
                Applied::Settling
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Owner(Dial, AtomicU64);

    #[tokio::test]
    async fn a_turn_within_the_bounds_is_taken_and_told() {
        let owner = Arc::new(Owner(Dial::new(4, &(2..=8)), AtomicU64::new(0)));
        let knob = DialKnob {
            owner: Arc::clone(&owner),
            dial: |owner| &owner.0,
            effective: |_, target| target.max(5),
            turned: |owner| {
                owner.1.fetch_add(1, Ordering::Relaxed);
            },
        };
        assert_eq!(knob.apply(&7.into()).await, Applied::Done);
        assert_eq!(knob.apply(&3.into()).await, Applied::Settling);
        for wrong in [KnobValue::Integer(9), KnobValue::Choice("3".to_owned())] {
            assert!(matches!(knob.apply(&wrong).await, Applied::Refused(_)));
        }
        let reading = knob.read().await.unwrap();
        assert_eq!((reading.value, reading.effective), (3.into(), 5.into()));
        assert_eq!(owner.1.load(Ordering::Relaxed), 2);
    }
}
