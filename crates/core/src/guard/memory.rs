//! The veto over memory: by prediction, before anything is tried.

use super::{Context, MEMORY_SHARE_MAX, Veto};
use crate::number::{fraction, whole};
use crate::profile::Profile;
use trimtab_protocol::decision::{Direction, Reason};

/// Below this share of the memory limit a small step is always allowed; above it there is no growth beyond the prediction.
pub const MEMORY_SHARE_ROOM: f64 = 0.85;

/// A size is predicted to stay this far below the share at which the ladder steps down: what is in flight and the error of the
/// prediction must not reach it.
const STEP_DOWN_MARGIN: f64 = 0.01;

/// Shortens a growth to what the memory allows: by the line through the sizes seen, and with one size seen all of the memory
/// charged to this pool's workers. That would pin a small pool of a large process for ever, so a small step is allowed while
/// there is room: memory is watched during the trial, which ends when it comes near the limit.
pub(super) fn shortened(
    wanted: u64,
    current: u64,
    direction: Direction,
    context: &Context<'_>,
) -> Result<u64, Veto> {
    let Some(share) = context.signals.memory_share else {
        return Ok(wanted);
    };
    let limit = &context.profile.ladder.no_growth;
    if share >= limit.value && direction == Direction::Up {
        let (predicted_share, allowed_share) = (share, limit.value);
        let reason = Reason::MemoryForbids {
            predicted_share,
            allowed_share,
        };
        return Err(Veto::cited(reason, limit));
    }
    let now = (fraction(current.max(1)), share);
    let predicted_share = context.footprint.share_at(now, fraction(wanted));
    let allowed_share = memory_share_max(context.profile);
    if direction == Direction::Down || predicted_share <= allowed_share {
        return Ok(wanted);
    }
    let affordable = whole(libm::floor(context.footprint.most(now, allowed_share)));
    let small_step = current.saturating_add((current / 4).max(1));
    if share < MEMORY_SHARE_ROOM && affordable < small_step {
        return Ok(wanted.min(small_step));
    }
    if affordable > current {
        return Ok(affordable);
    }
    Err(Veto::new(Reason::MemoryForbids {
        predicted_share,
        allowed_share,
    }))
}

/// The largest share of the memory limit that a size may be predicted to use: where the ladder would step down again at once,
/// there is no point in going.
#[must_use]
pub fn memory_share_max(profile: &Profile) -> f64 {
    MEMORY_SHARE_MAX.min(profile.ladder.step_down.value - STEP_DOWN_MARGIN)
}
