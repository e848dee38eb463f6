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
use trimtab_sys::fail::{self, Point};

impl Control {
    pub(crate) async fn take_lease(
        self: Arc<Self>,
        request: LeaseRequest,
    ) -> Result<LeaseGrant, Refusal> {
        let _turn = self.turn.lock().await;
        self.prepare().await;
        let grant = self.governor().take_lease(&request, boot_ns())?;
        self.settle().await;
        fail::at(Point::HostLeaseGranted);
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
        fail::at(Point::HostChangeJudged);
        // The fuse is armed before the first knob moves, so that no request is admitted at trial values after their end.
        self.registry.set_fuse(&request.pool, Some(plan.ends_ns));
        let whole = self.set_all(&plan.writes).await?;
        fail::at(Point::HostChangeSet);
        self.governor().commit_change(&plan, boot_ns());
        whole.settled();
        self.sync_fuses();
        self.reread(&request.pool).await;
        let receipt = self.governor().finish_change(&plan);
        fail::at(Point::HostChangeRecorded);
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
        fail::at(match end {
            End::Confirm => Point::HostConfirmAsked,
            End::RollBack => Point::HostRollBackAsked,
        });
        let step = self.governor().end(end, generation, &request)?;
        if let EndStep::Answered(receipt) = step {
            return Ok(receipt);
        }
        if end == End::Confirm {
            fail::at(Point::HostConfirmKept);
        }
        self.settle().await;
        self.reread(&request.pool).await;
        let receipt = self.governor().finish_end(end, generation, &request);
        fail::at(match end {
            End::Confirm => Point::HostConfirmDone,
            End::RollBack => Point::HostRollBackDone,
        });
        Ok(receipt)
    }

    /// Rolls trials back and freezes at once, then makes it last; the answer says whether that worked.
    pub(crate) async fn freeze(
        self: Arc<Self>,
        request: FreezeRequest,
    ) -> Result<OperatorReceipt, Refusal> {
        let _turn = self.turn.lock().await;
        self.prepare().await;
        fail::at(Point::HostFreezeAsked);
        self.governor().freeze();
        self.settle().await;
        fail::at(Point::HostFreezeDecided);
        let kept = self
            .on_disk(move |dir| dir.freeze(request.reason.as_deref()))
            .await;
        self.freeze_persistent
            .store(matches!(kept, Some(Ok(()))), Ordering::Release);
        fail::at(Point::HostFreezeKept);
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
        let whole = self.set_all(&writes).await?;
        self.governor()
            .commit_pin(&pool, &knob, &request, boot_ns());
        whole.settled();
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
        let whole = self.set_all(&writes).await?;
        self.governor().commit_reset(pool);
        whole.settled();
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
