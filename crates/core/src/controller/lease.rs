//! The lease: whether it is ours, and what to do about it.

use super::Controller;
use crate::decision::LeaseWish;
use crate::observation::{Answer, Receipt};
use trimtab_protocol::decision::Mode;
use trimtab_protocol::problem::ProblemKind;
use trimtab_protocol::state::{HostState, feature};

impl Controller {
    /// Takes in what the host answered about the lease.
    pub(super) fn hear_lease(&mut self, receipts: &[Receipt]) {
        for receipt in receipts {
            if let Receipt::Lease { answer } = receipt {
                match answer {
                    Answer::Done { value } => self.lease = Some(value.epoch),
                    Answer::Refused { .. } => self.lease = None,
                    // Whether it was renewed is not known; using a lapsed epoch is refused by the host.
                    Answer::Lost { .. } | Answer::NotSent => {}
                }
            }
            if let Receipt::Change {
                answer: Answer::Refused { problem },
                ..
            } = receipt
                && problem.kind == ProblemKind::Leased
            {
                self.lease = None;
            }
        }
    }

    /// What to do about the lease this tick.
    pub(super) fn lease_wish(&self, state: &HostState) -> LeaseWish {
        let offered = state.offers(feature::LEASE) && !state.control_disabled;
        if self.settings.mode != Mode::Act {
            // One that is left over from before the mode was changed is given back.
            return self.lease.map_or(LeaseWish::Leave, LeaseWish::Release);
        }
        if !offered {
            return LeaseWish::Leave;
        }
        match (&state.lease, self.lease) {
            (Some(lease), _) if lease.holder != self.settings.holder => LeaseWish::Leave,
            (Some(_), Some(epoch)) if epoch == state.epoch => LeaseWish::Renew(epoch),
            _ => LeaseWish::Take,
        }
    }
}
