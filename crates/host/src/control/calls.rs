//! The calls that change something, each from the first check to the answer.

use super::Control;
use crate::governor::{End, EndStep, Planned, Refusal};
use crate::state_dir::StateDir;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use trimtab_protocol::change::{ChangeReceipt, ChangeRequest, EndTrialRequest};
use trimtab_protocol::lease::{LeaseGrant, LeaseRelease, LeaseRequest};
use trimtab_protocol::name::{Generation, KnobName, PoolName};
use trimtab_protocol::operator::{FreezeRequest, OperatorReceipt, PinRequest, ResetRequest};
use trimtab_protocol::problem::{Problem, ProblemKind};
use trimtab_sys::clock::boot_ns;

impl Control {
    pub(crate) async fn take_lease(
        self: Arc<Self>,
        request: LeaseRequest,
    ) -> Result<LeaseGrant, Refusal> {
        let _turn = self.turn.lock().await;
        self.prepare().await;
        let grant = self.governor().take_lease(&request, boot_ns())?;
        self.settle().await;
        Ok(grant)
    }

    pub(crate) async fn release_lease(
        self: Arc<Self>,
        request: LeaseRelease,
    ) -> Result<(), Refusal> {
        let _turn = self.turn.lock().await;
        self.prepare().await;
        self.governor().release_lease(&request, boot_ns())?;
        self.settle().await;
        Ok(())
    }

    pub(crate) async fn change(
        self: Arc<Self>,
        request: ChangeRequest,
    ) -> Result<ChangeReceipt, Refusal> {
        let _turn = self.turn.lock().await;
        self.prepare().await;
        let busy = self.registry.busy(&request.pool, boot_ns());
        let planned = self.governor().plan_change(&request, busy, boot_ns())?;
        let plan = match planned {
            Planned::Answered(receipt) => return Ok(receipt),
            Planned::Apply(plan) => plan,
        };
        // The fuse is armed before the first knob moves, so that no request is admitted at trial values after their end.
        self.registry.set_fuse(&request.pool, Some(plan.ends_ns));
        if let Err(failure) = self.registry.apply_all(&plan.writes).await {
            return Err(self.failed(&failure));
        }
        self.governor().commit_change(&plan, boot_ns());
        self.sync_fuses();
        self.reread(&request.pool).await;
        let receipt = self.governor().finish_change(&plan);
        receipt.ok_or_else(|| {
            let detail = "the change was made and its receipt was lost";
            Box::new(Problem::new(ProblemKind::Internal, detail))
        })
    }

    pub(crate) async fn end(
        self: Arc<Self>,
        end: End,
        generation: Generation,
        request: EndTrialRequest,
    ) -> Result<ChangeReceipt, Refusal> {
        let _turn = self.turn.lock().await;
        self.prepare().await;
        let step = self.governor().end(end, generation, &request)?;
        if let EndStep::Answered(receipt) = step {
            return Ok(receipt);
        }
        self.settle().await;
        self.reread(&request.pool).await;
        Ok(self.governor().finish_end(end, generation, &request))
    }

    /// Rolls trials back and freezes at once, then makes it last; the answer says whether that worked.
    pub(crate) async fn freeze(
        self: Arc<Self>,
        request: FreezeRequest,
    ) -> Result<OperatorReceipt, Refusal> {
        let _turn = self.turn.lock().await;
        self.prepare().await;
        self.governor().freeze();
        self.settle().await;
        let kept = self
            .on_disk(move |dir| dir.freeze(request.reason.as_deref()))
            .await;
        self.freeze_persistent
            .store(matches!(kept, Some(Ok(()))), Ordering::Release);
        Ok(self.operator_receipt(None))
    }

    /// Lifts the freeze: first on disk, so that it does not come back at the next start.
    pub(crate) async fn unfreeze(self: Arc<Self>) -> Result<OperatorReceipt, Refusal> {
        let _turn = self.turn.lock().await;
        self.prepare().await;
        if let Some(Err(error)) = self.on_disk(StateDir::unfreeze).await {
            let detail = format!("the freeze stays, for its file does: {error}");
            return Err(Box::new(Problem::new(ProblemKind::Internal, detail)));
        }
        self.governor().unfreeze();
        self.sync_fuses();
        Ok(self.operator_receipt(None))
    }

    pub(crate) async fn pin(
        self: Arc<Self>,
        pool: PoolName,
        knob: KnobName,
        request: PinRequest,
    ) -> Result<OperatorReceipt, Refusal> {
        let _turn = self.turn.lock().await;
        self.prepare().await;
        let busy = self.registry.busy(&pool, boot_ns());
        let writes = self.governor().plan_pin(&pool, &knob, &request, busy)?;
        if let Err(failure) = self.registry.apply_all(&writes).await {
            return Err(self.failed(&failure));
        }
        self.governor()
            .commit_pin(&pool, &knob, &request, boot_ns());
        self.settle().await;
        self.reread(&pool).await;
        Ok(self.operator_receipt(Some(&pool)))
    }

    pub(crate) async fn unpin(
        self: Arc<Self>,
        pool: PoolName,
        knob: KnobName,
    ) -> Result<OperatorReceipt, Refusal> {
        let _turn = self.turn.lock().await;
        self.prepare().await;
        self.governor().unpin(&pool, &knob)?;
        self.settle().await;
        Ok(self.operator_receipt(Some(&pool)))
    }

    pub(crate) async fn reset(
        self: Arc<Self>,
        request: ResetRequest,
    ) -> Result<OperatorReceipt, Refusal> {
        let _turn = self.turn.lock().await;
        let pool = request.pool.as_ref();
        self.prepare().await;
        let writes = self.governor().plan_reset(pool)?;
        if let Err(failure) = self.registry.apply_all(&writes).await {
            return Err(self.failed(&failure));
        }
        self.governor().commit_reset(pool);
        self.settle().await;
        Ok(self.operator_receipt(pool))
    }

    /// Runs something on the state directory without holding up the control thread; nothing where there is none.
    async fn on_disk(
        &self,
        work: impl FnOnce(&StateDir) -> io::Result<()> + Send + 'static,
    ) -> Option<io::Result<()>> {
        let dir = self.state_dir.clone()?;
        let done = tokio::task::spawn_blocking(move || work(&dir)).await;
        Some(done.unwrap_or_else(|error| Err(io::Error::other(error))))
    }

    fn operator_receipt(&self, pool: Option<&PoolName>) -> OperatorReceipt {
        let governor = self.governor();
        OperatorReceipt {
            frozen: governor.is_frozen(),
            freeze_persistent: self.freeze_persistent.load(Ordering::Acquire),
            pools: governor.pool_receipts(pool),
        }
    }
}
