//! The lease: one holder at a time, a new epoch for each.

use super::{Governor, Lease, Refusal, ms_until, ns};
use trimtab_protocol::change::ChangeStatus;
use trimtab_protocol::lease::{LeaseGrant, LeaseRelease, LeaseRequest, TTL_MS_MAX, TTL_MS_MIN};
use trimtab_protocol::problem::{Problem, ProblemKind};

/// The longest name of a holder, in bytes.
const HOLDER_BYTES_MAX: usize = 256;

impl Governor {
    /// Takes the lease, or renews it. Taking it rolls the predecessor's trials back.
    ///
    /// # Errors
    /// `stale`, `disabled`, `value` for the time or the name, and `leased` while another holds it.
    pub fn take_lease(
        &mut self,
        request: &LeaseRequest,
        now_ns: u64,
    ) -> Result<LeaseGrant, Refusal> {
        self.check_instance(&request.instance)?;
        self.check_enabled()?;
        check_terms(request)?;
        let ends_ns = now_ns.saturating_add(ns(request.ttl_ms));
        if let Some(epoch) = request.epoch {
            self.check_epoch(epoch, None)?;
        }
        match &mut self.lease {
            Some(lease) if lease.holder != request.holder => {
                let detail = "only its holder renews or retakes the lease";
                let mut problem = Problem::new(ProblemKind::Leased, detail);
                problem.holder = Some(lease.holder.clone());
                problem.retry_after_ms = Some(ms_until(lease.ends_ns, now_ns));
                return Err(Box::new(problem));
            }
            Some(lease) if request.epoch.is_some() => lease.ends_ns = ends_ns,
            _ => {
                self.end_all_trials(ChangeStatus::RolledBack);
                self.epoch = self.epoch.next();
                self.lease = Some(Lease {
                    holder: request.holder.clone(),
                    epoch: self.epoch,
                    ends_ns,
                });
            }
        }
        Ok(LeaseGrant {
            epoch: self.epoch,
            expires_in_ms: request.ttl_ms,
        })
    }

    /// Gives the lease back; open trials are rolled back.
    ///
    /// # Errors
    /// `stale` when it is not the lease in force. A release that was carried out is answered again in the same way, as long as
    /// nobody has taken the lease since.
    pub fn release_lease(&mut self, request: &LeaseRelease, now_ns: u64) -> Result<(), Refusal> {
        self.check_instance(&request.instance)?;
        if self.lease.is_none() && request.epoch == self.epoch {
            return Ok(());
        }
        self.check_epoch(request.epoch, None)?;
        self.end_all_trials(ChangeStatus::RolledBack);
        self.end_lease(now_ns);
        Ok(())
    }

    pub(super) fn end_lease(&mut self, at_ns: u64) {
        if self.lease.take().is_some() {
            self.unleased_since_ns = at_ns;
        }
    }
}

fn check_terms(request: &LeaseRequest) -> Result<(), Refusal> {
    let refuse = |detail: String| Err(Box::new(Problem::new(ProblemKind::Value, detail)));
    if !(TTL_MS_MIN..=TTL_MS_MAX).contains(&request.ttl_ms) {
        return refuse(format!(
            "`ttl_ms` = {} is not within {TTL_MS_MIN} and {TTL_MS_MAX}",
            request.ttl_ms
        ));
    }
    if request.holder.is_empty() || request.holder.len() > HOLDER_BYTES_MAX {
        return refuse(format!("`holder` takes 1 to {HOLDER_BYTES_MAX} bytes"));
    }
    Ok(())
}
