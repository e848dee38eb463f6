//! The parts of a host and their knobs: what the control side calls when it reads or sets something.
//!
//! A part is someone else's code: a knob may fail, hang or panic. Here that ends: each call has a time limit and is caught,
//! and a failure is counted and returned as words. The registry decides nothing.

use crate::fuse::Fuse;
use crate::governor::{PoolSpec, Write};
use crate::knob::{Applied, Knob, KnobReading, KnobSpec};
use crate::part::{Part, PartFigures};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use trimtab_protocol::knob::{KnobKind, KnobValue, Shrink};
use trimtab_protocol::name::{KnobName, PoolName, is_plain_name};
use trimtab_protocol::state::PoolKind;
use trimtab_sys::fail::{self, Point};

/// How long a knob may take to apply a value.
const APPLY_TIME: Duration = Duration::from_secs(5);

/// Why a part cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// A name that would need escaping in a path, a label or a file.
    #[error("`{0}` is not a name: 1 to 64 of a-z, 0-9, _ and -, beginning with a letter")]
    Name(String),
    /// Two parts of one name, or two knobs of one name in a part.
    #[error("`{0}` is there twice")]
    Twice(String),
    /// A knob whose limits contradict each other or its baseline.
    #[error("knob `{knob}` of pool `{pool}`: {why}")]
    Knob {
        /// The pool.
        pool: PoolName,
        /// The knob.
        knob: KnobName,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// A change that could not be carried out.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) pool: PoolName,
    pub(crate) knob: KnobName,
    pub(crate) why: String,
    /// Knobs of which it is not known that they stand where they stood before.
    pub(crate) unsettled: Vec<(PoolName, KnobName)>,
}

#[derive(Debug)]
pub(crate) struct Registry {
    pools: BTreeMap<PoolName, Entry>,
    kit_failures: AtomicU64,
    /// Some knob was turned.
    pub(crate) turned: Notify,
}

#[derive(Debug)]
struct Entry {
    part: Arc<dyn Part>,
    kind: PoolKind,
    knobs: BTreeMap<KnobName, Arc<dyn Knob>>,
    fuse: Option<Arc<Fuse>>,
    /// What the fuse was last set to, in nanoseconds of the boot-time clock; 0 means that it is clear.
    armed_ns: AtomicU64,
    /// What the part was last told.
    steered: AtomicBool,
    kills: bool,
}

impl Registry {
    /// Takes the parts in, after a look at what they declare.
    pub(crate) fn new(parts: Vec<Arc<dyn Part>>) -> Result<(Self, Vec<PoolSpec>), PartError> {
        let mut pools = BTreeMap::new();
        let mut specs = Vec::new();
        for part in parts {
            let name = part.name().clone();
            check_name(name.as_str())?;
            let mut knobs = BTreeMap::new();
            let mut declared = Vec::new();
            for item in part.knobs() {
                check_knob(&name, &item.spec)?;
                declared.push((item.spec.clone(), item.knob.shrink()));
                if knobs.insert(item.spec.name.clone(), item.knob).is_some() {
                    return Err(PartError::Twice(item.spec.name.to_string()));
                }
            }
            let entry = Entry {
                kind: part.kind(),
                fuse: part.fuse(),
                armed_ns: AtomicU64::new(0),
                steered: AtomicBool::new(false),
                kills: declared.iter().any(|(_, shrink)| *shrink == Shrink::Kills),
                knobs,
                part,
            };
            if pools.insert(name.clone(), entry).is_some() {
                return Err(PartError::Twice(name.to_string()));
            }
            specs.push(PoolSpec {
                name,
                knobs: declared,
            });
        }
        let registry = Self {
            pools,
            kit_failures: AtomicU64::new(0),
            turned: Notify::new(),
        };
        Ok((registry, specs))
    }

    pub(crate) fn pools(&self) -> impl Iterator<Item = (&PoolName, PoolKind)> {
        self.pools.iter().map(|(name, entry)| (name, entry.kind))
    }

    pub(crate) fn kit_failures(&self) -> u64 {
        self.kit_failures.load(Ordering::Relaxed)
    }

    pub(crate) fn count_failure(&self) {
        self.kit_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Arms a pool's fuse for the end of its trial, or clears it. Nothing is done where it stands so already, for whoever
    /// watches a fuse is called at each change of it.
    pub(crate) fn set_fuse(&self, pool: &PoolName, ends_ns: Option<u64>) {
        let Some(entry) = self.pools.get(pool) else {
            return;
        };
        let Some(fuse) = &entry.fuse else {
            return;
        };
        let wanted = ends_ns.map_or(0, |ends_ns| ends_ns.max(1));
        if entry.armed_ns.swap(wanted, Ordering::AcqRel) == wanted {
            return;
        }
        let set = || match wanted {
            0 => fuse.clear(),
            ends_ns => fuse.arm(ends_ns),
        };
        if catch_unwind(AssertUnwindSafe(set)).is_err() {
            self.count_failure();
        }
    }

    /// Tells a part whether someone decides about its knobs, if that is not what it was told last.
    pub(crate) fn set_steered(&self, pool: &PoolName, steered: bool) {
        let Some(entry) = self.pools.get(pool) else {
            return;
        };
        if entry.steered.swap(steered, Ordering::AcqRel) == steered {
            return;
        }
        if catch_unwind(AssertUnwindSafe(|| entry.part.steered(steered))).is_err() {
            self.count_failure();
        }
    }

    /// Opens all fuses: whatever becomes of the control side, no request waits for it.
    pub(crate) fn clear_fuses(&self) {
        for pool in self.pools.keys() {
            self.set_fuse(pool, None);
        }
    }

    /// Lets each part do what is due, and says when the next thing will be, if ever.
    pub(crate) fn upkeep(&self, now_ns: u64) -> Option<u64> {
        let due = self.pools.values().filter_map(|entry| {
            catch_unwind(AssertUnwindSafe(|| entry.part.upkeep(now_ns))).unwrap_or_else(|_| {
                self.count_failure();
                None
            })
        });
        due.min()
    }

    pub(crate) fn persists(&self, pool: &PoolName, knob: &KnobName) -> bool {
        self.knob(pool, knob).is_some_and(|knob| knob.persists())
    }

    /// How much work runs in a pool, where a knob's shrink would kill it and the part can tell.
    pub(crate) fn busy(&self, pool: &PoolName, now_ns: u64) -> Option<u64> {
        self.pools.get(pool).filter(|entry| entry.kills)?;
        self.figures(pool, now_ns).gauges.busy
    }

    /// A part's figures; nothing at all where the part fails to tell them.
    pub(crate) fn figures(&self, pool: &PoolName, now_ns: u64) -> PartFigures {
        let Some(entry) = self.pools.get(pool) else {
            return PartFigures::default();
        };
        catch_unwind(AssertUnwindSafe(|| entry.part.figures(now_ns))).unwrap_or_else(|_| {
            self.count_failure();
            PartFigures::default()
        })
    }

    /// Reads the knobs of a pool, as far as they answer in time.
    pub(crate) async fn read(
        &self,
        pool: &PoolName,
        deadline: Instant,
    ) -> Vec<(KnobName, KnobReading)> {
        let mut readings = Vec::new();
        let Some(entry) = self.pools.get(pool) else {
            return readings;
        };
        let reading = async {
            for (name, knob) in &entry.knobs {
                match self.caught(async { knob.read().await }).await {
                    Some(Ok(reading)) => readings.push((name.clone(), reading)),
                    Some(Err(why)) => {
                        tracing::debug!(%pool, knob = %name, %why, "a knob cannot be read");
                    }
                    None => {}
                }
            }
        };
        if tokio::time::timeout_at(deadline, reading).await.is_err() {
            tracing::debug!(%pool, "the knobs take long to be read");
        }
        readings
    }

    /// Sets one knob.
    pub(crate) async fn apply(&self, write: &Write) -> Result<(), Refused> {
        let Some(knob) = self.knob(&write.pool, &write.knob) else {
            return Err(Refused {
                why: "it is gone".to_owned(),
                unsettled: false,
            });
        };
        let applying = self.caught(async { knob.apply(&write.value).await });
        let (why, unsettled) = match tokio::time::timeout(APPLY_TIME, applying).await {
            Ok(Some(Applied::Done | Applied::Settling)) => {
                self.turned.notify_one();
                return Ok(());
            }
            Ok(Some(Applied::Refused(why))) => (why, false),
            Ok(None) => ("it panicked".to_owned(), true),
            Err(_) => ("it took too long".to_owned(), true),
        };
        tracing::debug!(pool = %write.pool, knob = %write.knob, %why, "a knob was not set");
        Err(Refused { why, unsettled })
    }

    /// Sets all knobs or none: if one refuses, those before it are put back.
    pub(crate) async fn apply_all(&self, writes: &[Write]) -> Result<(), Failure> {
        for (index, write) in writes.iter().enumerate() {
            if index > 0 {
                fail::at(Point::HostChangeHalfSet);
            }
            let Err(refused) = self.apply(write).await else {
                continue;
            };
            let mut unsettled = Vec::new();
            if refused.unsettled {
                unsettled.push((write.pool.clone(), write.knob.clone()));
            }
            for done in writes.iter().take(index).rev() {
                let back = Write {
                    value: done.before.clone(),
                    ..done.clone()
                };
                if self.apply(&back).await.is_err() {
                    unsettled.push((done.pool.clone(), done.knob.clone()));
                }
            }
            return Err(Failure {
                pool: write.pool.clone(),
                knob: write.knob.clone(),
                why: refused.why,
                unsettled,
            });
        }
        Ok(())
    }

    fn knob(&self, pool: &PoolName, knob: &KnobName) -> Option<&dyn Knob> {
        Some(&**self.pools.get(pool)?.knobs.get(knob)?)
    }

    /// Runs a knob's future; a panic in it is counted and becomes nothing.
    async fn caught<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|context| {
            let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
            match polled {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(value)) => Poll::Ready(Some(value)),
                Err(_) => {
                    self.count_failure();
                    Poll::Ready(None)
                }
            }
        })
        .await
    }
}

/// A knob that was not set.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) why: String,
    /// Whether it may have taken the value all the same.
    pub(crate) unsettled: bool,
}

fn check_name(name: &str) -> Result<(), PartError> {
    if is_plain_name(name) {
        return Ok(());
    }
    Err(PartError::Name(name.to_owned()))
}

fn check_knob(pool: &PoolName, spec: &KnobSpec) -> Result<(), PartError> {
    check_name(spec.name.as_str())?;
    let why = match (&spec.baseline, spec.kind) {
        (KnobValue::Choice(word), KnobKind::Choice) if spec.choices.contains(word) => return Ok(()),
        (_, KnobKind::Choice) => "its baseline is not one of its choices",
        (KnobValue::Choice(_), _) => "its baseline is not a number",
        _ if spec.min > spec.max => "its smallest value is above its largest",
        _ if spec.granularity == 0 => "its granularity is 0",
        _ if spec.max_ratio_bp <= 10_000 => "a ratio of 10000 basis points or less moves nothing",
        (KnobValue::Integer(baseline), _) if !(spec.min..=spec.max).contains(baseline) => {
            "its baseline is out of its bounds"
        }
        _ => return Ok(()),
    };
    Err(PartError::Knob {
        pool: pool.clone(),
        knob: spec.name.clone(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knob::KnobFuture;
    use crate::part::PartKnob;
    use std::sync::Mutex;

    /// A knob that does what its name says.
    struct Odd {
        name: &'static str,
        value: Mutex<KnobValue>,
    }

    impl Knob for Odd {
        fn read(&self) -> KnobFuture<'_, Result<KnobReading, String>> {
            Box::pin(async {
                let value = self.value.lock().expect("not poisoned").clone();
                Ok(KnobReading {
                    effective: value.clone(),
                    value,
                })
            })
        }

        fn apply<'a>(&'a self, value: &'a KnobValue) -> KnobFuture<'a, Applied> {
            Box::pin(async move {
                match self.name {
                    "panics" => panic!("on purpose"),
                    "hangs" => std::future::pending().await,
                    "refuses" => Applied::Refused("no".to_owned()),
                    _ => {
                        *self.value.lock().expect("not poisoned") = value.clone();
                        Applied::Done
                    }
                }
            })
        }
    }

    struct Parts(PoolName, Vec<(&'static str, KnobSpec)>);

    impl Part for Parts {
        fn name(&self) -> &PoolName {
            &self.0
        }

        fn kind(&self) -> PoolKind {
            PoolKind::Other
        }

        fn knobs(&self) -> Vec<PartKnob> {
            let knob = |(name, spec): &(&'static str, KnobSpec)| PartKnob {
                spec: spec.clone(),
                knob: Arc::new(Odd {
                    name,
                    value: Mutex::new(spec.baseline.clone()),
                }),
            };
            self.1.iter().map(knob).collect()
        }

        fn figures(&self, _now_ns: u64) -> PartFigures {
            panic!("on purpose")
        }

        fn fuse(&self) -> Option<Arc<Fuse>> {
            None
        }
    }

    fn registry(knobs: &[&'static str]) -> Registry {
        let knobs = knobs
            .iter()
            .map(|name| (*name, KnobSpec::integer(name, "", 1, 1, 9)))
            .collect();
        let part: Arc<dyn Part> = Arc::new(Parts("p".into(), knobs));
        Registry::new(vec![part]).expect("well declared").0
    }

    fn write(knob: &str) -> Write {
        Write {
            pool: "p".into(),
            knob: knob.into(),
            before: KnobValue::Integer(1),
            value: KnobValue::Integer(2),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_a_knob_does_the_others_are_put_back() {
        for (bad, unsettled, failures) in [
            ("refuses", 0, 0),
            ("panics", 1, 1),
            ("hangs", 1, 0),
            ("none", 0, 0),
        ] {
            let registry = registry(&["good", "refuses", "panics", "hangs"]);
            let failure = registry
                .apply_all(&[write("good"), write(bad)])
                .await
                .expect_err("one is bad");
            assert_eq!(failure.knob.as_str(), bad);
            assert_eq!(failure.unsettled.len(), unsettled, "{bad}");
            assert_eq!(registry.kit_failures(), failures, "{bad}");
            let readings = registry
                .read(&"p".into(), Instant::now() + APPLY_TIME)
                .await;
            assert!(
                readings
                    .iter()
                    .all(|(_, reading)| reading.value == KnobValue::Integer(1))
            );
        }
    }

    #[test]
    fn a_part_that_panics_has_no_figures() {
        let registry = registry(&["good"]);
        assert_eq!(registry.figures(&"p".into(), 0), PartFigures::default());
        assert_eq!(registry.kit_failures(), 1);
    }

    #[test]
    fn a_part_must_be_well_declared() {
        let knob = KnobSpec::integer("n", "", 1, 1, 9);
        let part = |name: &str, knobs: Vec<KnobSpec>| -> Arc<dyn Part> {
            let knobs = knobs.into_iter().map(|spec| ("good", spec)).collect();
            Arc::new(Parts(name.into(), knobs))
        };
        let good = || part("p", vec![knob.clone()]);
        assert!(Registry::new(vec![good()]).is_ok());
        let bad = [
            vec![good(), good()],
            vec![part("P", Vec::new())],
            vec![part("p", vec![knob.clone(), knob.clone()])],
            vec![part("p", vec![KnobSpec::integer("n/", "", 1, 1, 9)])],
            vec![part("p", vec![KnobSpec::integer("n", "", 0, 1, 9)])],
            vec![part("p", vec![KnobSpec::integer("n", "", 5, 9, 1)])],
            vec![part(
                "p",
                vec![KnobSpec {
                    granularity: 0,
                    ..knob.clone()
                }],
            )],
            vec![part(
                "p",
                vec![KnobSpec {
                    max_ratio_bp: 10_000,
                    ..knob.clone()
                }],
            )],
            vec![part(
                "p",
                vec![KnobSpec {
                    kind: KnobKind::Choice,
                    ..knob.clone()
                }],
            )],
        ];
        for parts in bad {
            assert!(Registry::new(parts).is_err());
        }
    }
}
