//! Which profile each pool follows, and why it follows another one than before.
//!
//! An operator's word comes first, then the configuration's, then the kind that the host declares, then what the pool is seen
//! to do, and then the profile `default`. A pool that turns from one profile to another says so in the ledger, once.

use super::{Deltas, Tuner, tunable};
use crate::kind::{Glimpse, KindWatch, Told};
use crate::moment::{Moment, Span};
use crate::number::whole;
use crate::profile::{Profile, Settings};
use crate::signal::HostSignals;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trimtab_protocol::decision::{ProfileBasis, Reason};
use trimtab_protocol::name::PoolName;
use trimtab_protocol::problem::{Problem, ProblemKind};
use trimtab_protocol::state::{HostState, PoolKind, PoolState};

/// An operator's wish that a pool follow another profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileWish {
    /// The pool.
    pub pool: PoolName,
    /// The profile; without it, the one that the pool follows by itself.
    pub profile: Option<String>,
    /// For how long; without it, for as long as the controller lives.
    pub span: Option<Span>,
    /// Who wishes it, in words.
    pub who: String,
}

/// From which profile to which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileSwitch {
    /// The one before.
    pub before: String,
    /// The one after; it may be the same.
    pub after: String,
}

/// An operator's word that is in force.
#[derive(Clone, Debug)]
struct Order {
    profile: String,
    until: Option<Moment>,
    who: String,
}

/// Where a choice comes from.
#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    Operator(&'a Order),
    Configured,
    Declared,
    Seen(&'a Told),
    Unknown,
}

/// What is known about which profile each pool follows.
#[derive(Clone, Debug, Default)]
pub(super) struct Choices {
    orders: BTreeMap<PoolName, Order>,
    watches: BTreeMap<PoolName, KindWatch>,
    /// The profile that each pool followed at the last tick.
    followed: BTreeMap<PoolName, String>,
    /// What is still to be said about that.
    news: BTreeMap<PoolName, Reason>,
}

/// What a tick brings for the choice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight<'a> {
    pub(super) now: Moment,
    pub(super) before: Option<&'a HostState>,
    pub(super) state: &'a HostState,
    pub(super) signals: &'a HostSignals,
    pub(super) deltas: &'a Deltas<'a>,
}

impl Choices {
    /// The profile that a pool follows.
    pub(super) fn of<'s>(
        &self,
        settings: &'s Settings,
        name: &PoolName,
        pool: &PoolState,
    ) -> Option<&'s Profile> {
        self.choose(settings, name, pool)
            .map(|(profile, _)| profile)
    }

    /// Why a pool follows its profile.
    pub(super) fn basis(
        &self,
        settings: &Settings,
        name: &PoolName,
        pool: &PoolState,
        now: Moment,
    ) -> Option<ProfileBasis> {
        let (_, source) = self.choose(settings, name, pool)?;
        Some(source.basis(now))
    }

    fn choose<'s>(
        &self,
        settings: &'s Settings,
        name: &PoolName,
        pool: &PoolState,
    ) -> Option<(&'s Profile, Source<'_>)> {
        let profiles = &settings.profiles;
        if let Some(order) = self.orders.get(name)
            && let Some(profile) = profiles.get(&order.profile)
        {
            return Some((profile, Source::Operator(order)));
        }
        if let Some(profile) = assigned(settings, name).and_then(|name| profiles.get(name)) {
            return Some((profile, Source::Configured));
        }
        if let Some(profile) = by_kind(pool.kind).and_then(|name| profiles.get(name)) {
            return Some((profile, Source::Declared));
        }
        let told = self.watches.get(name).and_then(KindWatch::told);
        if let Some(told) = told
            && let Some(profile) = by_kind(told.kind).and_then(|name| profiles.get(name))
        {
            return Some((profile, Source::Seen(told)));
        }
        Some((profiles.get("default")?, Source::Unknown))
    }

    /// Takes in a tick: what each pool of unknown kind did, whose word has run out, and which pool follows another profile.
    pub(super) fn observe(&mut self, settings: &Settings, sight: &Sight<'_>) {
        self.orders
            .retain(|_, order| order.until.is_none_or(|until| until > sight.now));
        self.watches
            .retain(|name, _| sight.state.pools.contains_key(name));
        self.followed
            .retain(|name, _| sight.state.pools.contains_key(name));
        let alone = tunable(sight.state).count() == 1;
        for (name, pool) in tunable(sight.state) {
            if by_kind(pool.kind).is_none() && assigned(settings, name).is_none() {
                self.glimpse(name, pool, sight, alone);
            }
            let Some((profile, source)) = self.choose(settings, name, pool) else {
                continue;
            };
            if self.followed.get(name) == Some(&profile.name) {
                continue;
            }
            let (after, because) = (profile.name.clone(), source.basis(sight.now));
            let before = self.followed.insert(name.clone(), after.clone());
            if let Some(before) = before {
                let reason = Reason::ProfileChosen {
                    profile: after,
                    before,
                    because,
                };
                self.news.insert(name.clone(), reason);
            }
        }
    }

    fn glimpse(&mut self, name: &PoolName, pool: &PoolState, sight: &Sight<'_>, alone: bool) {
        let watch = self.watches.entry(name.clone()).or_default();
        let Some(before) = sight.before else {
            watch.forget();
            return;
        };
        let Some(Ok(delta)) = sight.deltas.get(name) else {
            return;
        };
        let was = before.pools.get(name).and_then(|pool| pool.counters.cpu_us);
        let own = was
            .zip(pool.counters.cpu_us)
            .and_then(|(was, is)| is.checked_sub(was));
        // Where the host does not tell whose CPU time it is, that of the process is the pool's if there is no other pool.
        let of_process = || {
            let cores = sight.signals.cpu_cores.filter(|_| alone)?;
            Some(whole(cores * delta.span.as_secs_f64() * 1e6))
        };
        let glimpse = Glimpse {
            span: delta.span,
            busy_us: delta.busy_us,
            ended: delta.completed.saturating_add(delta.failed),
            cpu_us: own.or_else(of_process),
        };
        watch.add(sight.now, glimpse);
    }

    /// Hands each pool's news to it, to be told when it next has nothing more urgent to say.
    pub(super) fn tell(&mut self, tuners: &mut BTreeMap<PoolName, Tuner>) {
        self.news.retain(|name, reason| match tuners.get_mut(name) {
            Some(tuner) => {
                tuner.new_profile = Some(reason.clone());
                false
            }
            None => true,
        });
    }

    /// The host was started anew: what was seen before is about another run. An operator's word stands.
    pub(super) fn forget(&mut self) {
        self.watches.clear();
        self.news.clear();
    }

    /// Judges an operator's wish and, unless it is only a question, takes it.
    pub(super) fn wish(
        &mut self,
        settings: &Settings,
        state: Option<&HostState>,
        wish: &ProfileWish,
        now: Moment,
        dry_run: bool,
    ) -> Result<ProfileSwitch, Box<Problem>> {
        let pools = state.map(|state| &state.pools);
        let Some(pool) = pools.and_then(|pools| pools.get(&wish.pool)) else {
            let known = state.into_iter().flat_map(tunable);
            let known: Vec<&str> = known.map(|(name, _)| name.as_str()).collect();
            let detail = format!(
                "there is no pool `{}`; known are: {}",
                wish.pool,
                list(&known)
            );
            return Err(Box::new(Problem::new(ProblemKind::Unknown, detail)));
        };
        if let Some(profile) = &wish.profile
            && !settings.profiles.contains_key(profile)
        {
            let known: Vec<&str> = settings.profiles.keys().map(String::as_str).collect();
            let detail = format!(
                "there is no profile `{profile}`; known are: {}",
                list(&known)
            );
            return Err(Box::new(Problem::new(ProblemKind::Unknown, detail)));
        }
        let follows = |choices: &Self| {
            let profile = choices.of(settings, &wish.pool, pool);
            profile
                .map(|profile| profile.name.clone())
                .unwrap_or_default()
        };
        let before = follows(self);
        let last = self.orders.remove(&wish.pool);
        if let Some(profile) = &wish.profile {
            let order = Order {
                profile: profile.clone(),
                until: wish.span.map(|span| now.after(span)),
                who: wish.who.clone(),
            };
            self.orders.insert(wish.pool.clone(), order);
        }
        let after = follows(self);
        if dry_run {
            self.orders.remove(&wish.pool);
            self.orders
                .extend(last.map(|last| (wish.pool.clone(), last)));
        }
        Ok(ProfileSwitch { before, after })
    }
}

impl Source<'_> {
    fn basis(self, now: Moment) -> ProfileBasis {
        match self {
            Self::Operator(order) => ProfileBasis::Operator {
                who: order.who.clone(),
                seconds: order.until.map(|until| until.since(now).as_secs_f64()),
            },
            Self::Configured => ProfileBasis::Configured,
            Self::Declared => ProfileBasis::Declared,
            Self::Seen(told) => {
                let (job_ms, seconds) = (told.job_ms, told.span.as_secs_f64());
                match (told.kind, told.cpu_share) {
                    (PoolKind::Api, Some(cpu_share)) => ProfileBasis::Computes {
                        cpu_share,
                        job_ms,
                        seconds,
                    },
                    (PoolKind::Web, Some(cpu_share)) => ProfileBasis::Waits {
                        cpu_share,
                        job_ms,
                        seconds,
                    },
                    (PoolKind::Background, _) => ProfileBasis::LongJobs { job_ms, seconds },
                    (PoolKind::Web | PoolKind::Api | PoolKind::Other, _) => ProfileBasis::Unknown,
                }
            }
            Self::Unknown => ProfileBasis::Unknown,
        }
    }
}

/// The profile that the configuration gives a pool. The word `auto` leaves the choice to what the pool is.
fn assigned<'s>(settings: &'s Settings, name: &PoolName) -> Option<&'s str> {
    let assigned = settings.assigned.get(name)?.as_str();
    (assigned != "auto").then_some(assigned)
}

/// The profile of a kind; none for a kind that says nothing.
fn by_kind(kind: PoolKind) -> Option<&'static str> {
    match kind {
        PoolKind::Web => Some("web"),
        PoolKind::Api => Some("api"),
        PoolKind::Background => Some("background"),
        PoolKind::Other => None,
    }
}

fn list(names: &[&str]) -> String {
    names.join(", ")
}
