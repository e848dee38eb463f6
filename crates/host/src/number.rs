//! The knob over one of the numbers of a pool, of tasks or of threads: how it is read, checked and set.

use crate::knob::{Applied, Knob, KnobFuture, KnobReading};
use crate::pool::Bounds;
use trimtab_protocol::knob::KnobValue;

/// A number that takes effect at once; what is above a lowered one is left to end by itself.
pub(crate) trait Number: Send + Sync + 'static {
    /// Within what it stays.
    fn bounds(&self) -> Bounds;

    /// What it is to be.
    fn target(&self) -> u64;

    /// What is in effect under a target.
    fn effective(&self, target: u64) -> u64;

    /// Makes a number within the bounds the target.
    ///
    /// # Errors
    /// Why it cannot be had now, in words; then the old one stands.
    fn store(&self, number: u64) -> Result<(), String>;
}

/// The knob that turns a number.
pub(crate) struct NumberKnob<N>(pub(crate) N);

impl<N: Number> NumberKnob<N> {
    fn set(&self, value: &KnobValue) -> Applied {
        let bounds = self.0.bounds();
        let Some(number) = value.as_integer().filter(|number| bounds.holds(*number)) else {
            let Bounds { min, max, .. } = bounds;
            return Applied::Refused(format!("{value} is not a number from {min} to {max}"));
        };
        if let Err(why) = self.0.store(number) {
            return Applied::Refused(why);
        }
        if self.0.effective(number) == number {
            Applied::Done
        } else {
            Applied::Settling
        }
    }
}

impl<N: Number> Knob for NumberKnob<N> {
    fn read(&self) -> KnobFuture<'_, Result<KnobReading, String>> {
        Box::pin(async {
            let target = self.0.target();
            Ok(KnobReading {
                value: KnobValue::Integer(target),
                effective: KnobValue::Integer(self.0.effective(target)),
            })
        })
    }

    fn apply<'a>(&'a self, value: &'a KnobValue) -> KnobFuture<'a, Applied> {
        Box::pin(async { self.set(value) })
    }
}
