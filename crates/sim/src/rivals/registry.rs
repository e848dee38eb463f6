//! Limits of published crates, run as they are, in virtual time.
//!
//! `tower-resilience-adaptive` takes latencies as arguments. `congestion-limiter` measures them by tokio's clock, which is
//! paused here and moved by each job's own time; so its limits run without windows, for a window would end by that clock.
//! Its `Gradient` is left out: its moving average panics when a latency is below the mean before it.

use super::{Bounds, Limit, Window};
use crate::number::{count, index, whole};
use crate::pool::{Ended, Ending};
use congestion_limiter::limiter::{DefaultLimiter, Limiter, Outcome, Token};
use congestion_limiter::limits::{Aimd, LimitAlgorithm, Vegas};
use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tower_resilience_adaptive as tower;
use tower_resilience_adaptive::ConcurrencyAlgorithm;

pub(super) fn limit(name: &str, bounds: Bounds) -> Option<Box<dyn Limit>> {
    let start = index(whole(bounds.clamp(bounds.start)));
    let range = index(whole(bounds.min))..=index(whole(bounds.max));
    match name {
        "crate-aimd" => clocked(Aimd::new(start, range)),
        "crate-vegas" => clocked(Vegas::new(start, range)),
        "tower-aimd" => tower_aimd(start, &range, bounds.slo),
        "tower-vegas" => tower_vegas(start, &range),
        "tower-gradient2" => tower_gradient2(start, &range),
        _ => None,
    }
}

/// A limiter of `congestion-limiter` and the paused clock by which it measures.
struct Clocked<A> {
    runtime: Runtime,
    limiter: DefaultLimiter<A>,
    /// Stand-ins for the other jobs in service, of which the limiter counts how many there are.
    others: Vec<Token>,
    limit: f64,
}

fn clocked<A>(algorithm: A) -> Option<Box<dyn Limit>>
where
    A: LimitAlgorithm + Sync + Debug + 'static,
{
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .ok()?;
    let limit = count(algorithm.limit()) as f64;
    Some(Box::new(Clocked {
        runtime,
        limiter: DefaultLimiter::new(algorithm),
        others: Vec::new(),
        limit,
    }))
}

impl<A: LimitAlgorithm + Sync + Debug> Clocked<A> {
    fn sample(&mut self, service_s: f64, busy: f64, cut: bool) -> f64 {
        let others = index(whole((busy - 1.0).max(0.0)));
        let outcome = if cut {
            Outcome::Overload
        } else {
            Outcome::Success
        };
        let (limiter, tokens) = (&self.limiter, &mut self.others);
        let limit = self.runtime.block_on(async {
            while tokens.len() > others {
                if let Some(token) = tokens.pop() {
                    limiter.release(token, None).await;
                }
            }
            while tokens.len() < others {
                match limiter.try_acquire().await {
                    Some(token) => tokens.push(token),
                    None => break,
                }
            }
            let own = match limiter.try_acquire().await {
                Some(token) => Some(token),
                // The limit fell below what runs: one of the others is the one that ends.
                None => tokens.pop(),
            };
            let token = own?;
            let began = tokio::time::Instant::now();
            tokio::time::advance(Duration::from_secs_f64(service_s)).await;
            debug_assert_eq!(began.elapsed(), Duration::from_secs_f64(service_s));
            Some(limiter.release(token, Some(outcome)).await)
        });
        if let Some(limit) = limit {
            self.limit = count(limit) as f64;
        }
        self.limit
    }
}

impl<A: LimitAlgorithm + Sync + Debug> Limit for Clocked<A> {
    fn update(&mut self, window: &Window) -> f64 {
        self.sample(window.mean_s, window.busy, window.cut)
    }

    fn job(&mut self, job: &Ended) -> Option<f64> {
        sampled(job).map(|cut| self.sample(job.service_s, job.busy as f64, cut))
    }

    fn window_s(&self) -> f64 {
        f64::INFINITY
    }
}

/// Whether a job that was in service was cut; nothing for one that was not.
fn sampled(job: &Ended) -> Option<bool> {
    match job.ending {
        Ending::Done => Some(false),
        Ending::TimedOut if job.service_s > 0.0 => Some(true),
        Ending::TimedOut | Ending::Rejected => None,
    }
}

/// A rule of `tower-resilience-adaptive`.
struct Plain<A>(A);

impl<A: ConcurrencyAlgorithm> Plain<A> {
    fn sample(&self, service_s: f64, busy: f64, cut: bool) -> f64 {
        if cut {
            self.0.record_failure();
        } else {
            let busy = index(whole(busy));
            self.0
                .record_success_with_load(Duration::from_secs_f64(service_s), busy);
        }
        count(self.0.limit()) as f64
    }
}

impl<A: ConcurrencyAlgorithm> Limit for Plain<A> {
    fn update(&mut self, window: &Window) -> f64 {
        self.sample(window.mean_s, window.busy, window.cut)
    }

    fn job(&mut self, job: &Ended) -> Option<f64> {
        sampled(job).map(|cut| self.sample(job.service_s, job.busy as f64, cut))
    }

    fn window_s(&self) -> f64 {
        f64::INFINITY
    }
}

fn tower_aimd(start: usize, range: &RangeInclusive<usize>, slo: f64) -> Option<Box<dyn Limit>> {
    let builder = tower::Aimd::builder()
        .initial_limit(start)
        .min_limit(*range.start())
        .max_limit(*range.end())
        .latency_threshold(Duration::from_secs_f64(slo));
    Some(Box::new(Plain(builder.build().ok()?)))
}

fn tower_vegas(start: usize, range: &RangeInclusive<usize>) -> Option<Box<dyn Limit>> {
    let builder = tower::Vegas::builder()
        .initial_limit(start)
        .min_limit(*range.start())
        .max_limit(*range.end());
    Some(Box::new(Plain(builder.build().ok()?)))
}

fn tower_gradient2(start: usize, range: &RangeInclusive<usize>) -> Option<Box<dyn Limit>> {
    let builder = tower::Gradient2::builder()
        .initial_limit(start)
        .min_limit(*range.start())
        .max_limit(*range.end());
    Some(Box::new(Plain(builder.build().ok()?)))
}
