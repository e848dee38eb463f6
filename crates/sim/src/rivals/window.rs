//! What a rule looks at: a stretch of jobs, or the difference of two readings.

use crate::pool::{Ended, Ending, Setting};
use trimtab_core::moment::Moment;
use trimtab_core::observation::Observation;
use trimtab_core::signal::HostSignals;
use trimtab_protocol::name::{InstanceId, KnobName, PoolName};
use trimtab_protocol::state::PoolState;

/// A window of jobs is not judged before it holds so many.
const JOBS_MIN: usize = 10;

/// A stretch of time of one pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Its end, in seconds.
    pub at: f64,
    /// Its length, in seconds.
    pub span: f64,
    /// Jobs that ended well.
    pub completed: u64,
    /// Their mean time in service, in seconds.
    pub mean_s: f64,
    /// The least of them.
    pub least_s: f64,
    /// Their median.
    pub median_s: f64,
    /// Jobs in service, in the mean.
    pub busy: f64,
    /// Whether the timeout cut a job in service.
    pub cut: bool,
    /// Workers at its end.
    pub workers: u64,
    /// CPU used, as a share of the quota.
    pub cpu_share: Option<f64>,
}

/// Jobs that are becoming a window.
#[derive(Clone, Debug, Default)]
pub(super) struct Collected {
    since: Option<f64>,
    services: Vec<f64>,
    busy: f64,
    cut: bool,
}

impl Collected {
    /// Takes in a job, and returns the window that it completes.
    pub(super) fn add(&mut self, job: &Ended, setting: &Setting, span_min: f64) -> Option<Window> {
        let since = *self.since.get_or_insert(job.at);
        match job.ending {
            Ending::Done => {
                self.services.push(job.service_s);
                self.busy += job.busy as f64;
            }
            Ending::TimedOut => self.cut |= job.service_s > 0.0,
            Ending::Rejected => {}
        }
        let span = job.at - since;
        if span < span_min || self.services.len() < JOBS_MIN {
            return None;
        }
        let mut all = std::mem::take(self);
        all.services.sort_by(f64::total_cmp);
        let count = all.services.len() as f64;
        Some(Window {
            at: job.at,
            span,
            completed: crate::number::count(all.services.len()),
            mean_s: all.services.iter().sum::<f64>() / count,
            least_s: *all.services.first()?,
            median_s: crate::oracle::quantile(&all.services, 0.5)?,
            busy: all.busy / count,
            cut: all.cut,
            workers: setting.workers,
            cpu_share: None,
        })
    }
}

/// The reading before.
#[derive(Debug, Default)]
pub(super) struct Seen {
    before: Option<(InstanceId, Moment, PoolState, Observation)>,
}

impl Seen {
    /// The window between the reading before and this one; nothing where one of them cannot be used.
    pub(super) fn window(&mut self, observation: &Observation, pool: &PoolName) -> Option<Window> {
        let state = observation.state.fresh()?;
        let now = state.pools.get(pool)?.clone();
        let at = Moment::from_boot_ns(state.at_ns);
        let before =
            self.before
                .replace((state.instance.clone(), at, now.clone(), observation.clone()));
        let (instance, was_at, was, earlier) = before?;
        if instance != state.instance {
            return None;
        }
        let span = at.since(was_at).as_secs_f64();
        let rise = |earlier: Option<u64>, later: Option<u64>| later?.checked_sub(earlier?);
        let completed = rise(was.counters.completed, now.counters.completed)?;
        let busy_us = rise(was.counters.busy_us, now.counters.busy_us)?;
        let later = now.histograms.service_us.as_ref()?;
        let service = later.since(was.histograms.service_us.as_ref()?)?;
        if span <= 0.0 || completed == 0 {
            return None;
        }
        let timeout_ms = now.knobs.get(KnobName::TIMEOUT_MS)?.value.as_integer()?;
        let timeouts = now.histograms.timeout_us.as_ref()?;
        let timeouts = timeouts.since(was.histograms.timeout_us.as_ref()?)?;
        // A histogram's bucket is up to 9 % wide, and what waits in the queue expires far sooner.
        let within = timeouts.count_within(timeout_ms.saturating_mul(900));
        let seconds = |us: Option<u64>| us.map(|us| us as f64 / 1e6);
        Some(Window {
            at: at.since(Moment::default()).as_secs_f64(),
            span,
            completed,
            mean_s: busy_us as f64 / 1e6 / completed as f64,
            least_s: seconds(service.at_rank(1))?,
            median_s: seconds(service.quantile_us(5_000))?,
            busy: busy_us as f64 / 1e6 / span,
            cut: timeouts.count > within,
            workers: now.knobs.get(KnobName::WORKERS)?.value.as_integer()?,
            cpu_share: HostSignals::read(Some(&earlier), observation).cpu_share(),
        })
    }
}
