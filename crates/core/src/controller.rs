//! The controller of one host: observations in, decisions out.
//!
//! Each tick it takes in one [`Observation`] and returns one [`Decision`]: a record for every pool, with its reason, and the
//! orders that follow. It reads no clock, and of what became of its orders it learns only from the next observation.

mod aftermath;
mod chain;
mod choice;
mod following;
mod judging;
mod lease;
mod others;
mod report;
mod round;
mod rules;
mod settings;
mod trial;
mod tuner;

use crate::decision::{Decision, LeaseWish, Orders};
use crate::moment::{Moment, Span};
use crate::observation::{Observation, Receipt};
use crate::profile::{Profile, Settings};
use crate::signal::HostSignals;
use crate::window::PoolDelta;
use std::collections::BTreeMap;
use std::sync::Arc;
use trimtab_protocol::decision::{Absence, Action, Evidence, Level, Mode, Reason, Regime};
use trimtab_protocol::name::{Epoch, Generation, InstanceId, KnobName, PoolName};
use trimtab_protocol::problem::Problem;
use trimtab_protocol::state::{HostState, PoolState, feature};
use trimtab_protocol::view::DecisionRecord;

pub use choice::{ProfileSwitch, ProfileWish};
use others::Others;

use choice::{Choices, Sight};
use round::{Deltas, Round};
use tuner::{Choice, PoolTick, Tuner};

/// Good ticks that are watched after a start, a gap or a restart of the host before anything is changed.
pub const WARM_UP_TICKS: u32 = 2;

/// A gap of more than this many intervals is one after which what was measured before says nothing.
const GAP_INTERVALS: u64 = 5;

/// The controller of one host.
#[derive(Clone, Debug)]
pub struct Controller {
    settings: Settings,
    tuners: BTreeMap<PoolName, Tuner>,
    /// The pools without workers.
    others: Others,
    /// The last observation whose state could be read.
    last: Option<Observation>,
    instance: Option<InstanceId>,
    lease: Option<Epoch>,
    generation: Generation,
    warm_ticks: u32,
    /// Whether an operator froze this sidecar, apart from what the host says.
    frozen: bool,
    choices: Choices,
    /// What act heard while the host could not be read; it is looked at together with the next state.
    unheard: Vec<Receipt>,
}

impl Controller {
    /// A controller that knows nothing of its host yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            tuners: BTreeMap::new(),
            others: Others::default(),
            last: None,
            instance: None,
            lease: None,
            generation: Generation::default(),
            warm_ticks: 0,
            frozen: false,
            choices: Choices::default(),
            unheard: Vec::new(),
        }
    }

    /// What it was told.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// An operator freezes this sidecar, or lifts that. While it is frozen an open trial is undone and none is begun, whatever
    /// the host says of itself.
    pub fn set_frozen(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    /// Takes an operator's wish that a pool follow another profile, or with `dry_run` only says what it would change.
    ///
    /// # Errors
    /// `unknown` when there is no such pool or no such profile.
    pub fn wish_profile(
        &mut self,
        wish: &ProfileWish,
        now: Moment,
        dry_run: bool,
    ) -> Result<ProfileSwitch, Box<Problem>> {
        let state = self.last.as_ref().and_then(|last| last.state.fresh());
        self.choices.wish(&self.settings, state, wish, now, dry_run)
    }

    /// Decides on one observation.
    pub fn handle_observation(&mut self, mut observation: Observation) -> Decision {
        self.hear_lease(&observation.receipts);
        let readable = observation
            .state
            .absence()
            .or_else(|| self.unusable(&observation));
        match readable {
            Some(absence) => {
                self.unheard.append(&mut observation.receipts);
                self.decide_blind(&observation, absence)
            }
            None => {
                let mut heard = std::mem::take(&mut self.unheard);
                heard.append(&mut observation.receipts);
                observation.receipts = heard;
                self.decide(observation)
            }
        }
    }

    /// Ends: open trials are undone and the lease is given back.
    pub fn shut_down(&mut self, at: Moment, at_ms: u64) -> Decision {
        let mut round = Round::default();
        let names: Vec<PoolName> = self.tuners.keys().cloned().collect();
        for name in names {
            let choice = self
                .tuners
                .get_mut(&name)
                .and_then(|tuner| tuner.decide_shutdown(&name));
            if let Some(choice) = choice {
                round.steps.extend(choice.step.clone());
                round
                    .records
                    .push((Some(name.clone()), self.bare_record(&name, &choice)));
            }
        }
        self.others.give_up(None, &mut round);
        let lease = self
            .lease
            .take()
            .map_or(LeaseWish::Leave, LeaseWish::Release);
        let signals = HostSignals::default();
        let status = report::status(
            self,
            self.last.as_ref(),
            &signals,
            &round.records,
            at,
            at_ms,
        );
        let orders = Orders {
            instance: self.instance.clone(),
            lease,
            steps: round.steps,
        };
        self.decision(at, at_ms, round.records, orders, status)
    }

    fn decide(&mut self, observation: Observation) -> Decision {
        let Some(state) = observation.state.fresh() else {
            return self.decide_blind(&observation, Absence::NotYet);
        };
        self.notice_instance(state);
        self.notice_gap(&observation);
        let signals = HostSignals::read(self.last.as_ref(), &observation);
        let deltas = self.deltas(state);
        let sight = Sight {
            now: observation.at,
            before: self.last.as_ref().and_then(|last| last.state.fresh()),
            state,
            signals: &signals,
            deltas: &deltas,
        };
        self.choices.observe(&self.settings, &sight);
        let comparable = self.last.is_some();
        if comparable {
            self.warm_ticks = self.warm_ticks.saturating_add(1);
        }
        let round = self.decide_pools(&observation, state, &signals, &deltas);
        let orders = Orders {
            instance: Some(state.instance.clone()),
            lease: self.lease_wish(state),
            steps: round.steps,
        };
        let (at, at_ms) = (observation.at, observation.at_ms);
        let mut status = report::status(
            self,
            Some(&observation),
            &signals,
            &round.records,
            at,
            at_ms,
        );
        report::fill_rates(&mut status.sample, self, state, &deltas);
        self.last = Some(observation);
        self.decision(at, at_ms, round.records, orders, status)
    }

    fn decision(
        &self,
        at: Moment,
        at_ms: u64,
        records: Vec<(Option<PoolName>, DecisionRecord)>,
        orders: Orders,
        status: trimtab_protocol::view::HostStatus,
    ) -> Decision {
        let (host, instance) = (self.settings.host.clone(), self.instance.clone());
        Decision {
            host,
            at,
            at_ms,
            instance,
            records,
            orders,
            status,
        }
    }

    fn decide_new(
        &self,
        state: &HostState,
        tuner: &mut Tuner,
        tick: &PoolTick<'_>,
        probing: Option<&PoolName>,
        generation: Generation,
    ) -> Choice {
        if let Some(reason) = self.gate(state).or_else(|| tuner.gate(tick)) {
            return Choice::hold(reason);
        }
        let (proposal, permitted) = match tuner.look_for_step(tick, probing) {
            Ok(step) => step,
            Err(hold) => return *hold,
        };
        match (self.settings.mode, self.lease) {
            // What it would do stands beside why it does not.
            (Mode::Observe, _) => Choice {
                expectation: Some(proposal.expectation.clone()),
                change: Some(permitted.summary(None)),
                bound_by: permitted.bound_by().to_vec(),
                ..Choice::hold(Reason::ModeObserves)
            },
            (Mode::Advise, _) => Choice {
                action: Action::Advise,
                expectation: Some(proposal.expectation.clone()),
                change: Some(permitted.summary(None)),
                bound_by: permitted.bound_by().to_vec(),
                ..Choice::hold(proposal.reason)
            },
            (Mode::Act, None) => Choice::hold(Reason::LeasePending),
            (Mode::Act, Some(epoch)) => {
                tuner.begin(tick, (proposal, &permitted), (epoch, generation))
            }
        }
    }

    /// Why nothing new may be begun on this host now.
    fn gate(&self, state: &HostState) -> Option<Reason> {
        if self.warm_ticks < WARM_UP_TICKS {
            return Some(Reason::WarmingUp {
                seen: self.warm_ticks,
                needed: WARM_UP_TICKS,
            });
        }
        // Advice needs no more than the state.
        let acts = self.settings.mode == Mode::Act;
        let offered = state.offers(feature::CHANGES) && state.offers(feature::LEASE);
        if acts && (state.control_disabled || !offered) {
            return Some(Reason::NotOffered);
        }
        let frozen = state.frozen || self.frozen;
        #[cfg(test)]
        let frozen = frozen && !crate::testing::has(crate::testing::Fault::IgnoresFreeze);
        if frozen {
            return Some(Reason::Frozen);
        }
        if self.settings.mode == Mode::Act
            && let Some(lease) = &state.lease
            && lease.holder != self.settings.holder
        {
            let (holder, expires_in_ms) = (lease.holder.clone(), lease.expires_in_ms);
            return Some(Reason::Standby {
                holder,
                expires_in_ms,
            });
        }
        None
    }

    fn decide_blind(&mut self, observation: &Observation, absence: Absence) -> Decision {
        let mut round = Round::default();
        let reason = Reason::Blind {
            missing: "state".into(),
            absence,
        };
        round.records.push((None, self.bare(Action::Hold, reason)));
        let names: Vec<PoolName> = self.tuners.keys().cloned().collect();
        for name in names {
            let choice = self
                .tuners
                .get_mut(&name)
                .and_then(|tuner| tuner.decide_blind(&name, absence));
            if let Some(choice) = choice {
                round.steps.extend(choice.step.clone());
                round
                    .records
                    .push((Some(name.clone()), self.bare_record(&name, &choice)));
            }
        }
        self.others.pause();
        self.others.give_up(Some(absence), &mut round);
        // The lease is still renewed: the host may well be there, and only its answer be late.
        let lease = match (self.settings.mode, self.lease) {
            (Mode::Act, Some(epoch)) => LeaseWish::Renew(epoch),
            _ => LeaseWish::Leave,
        };
        let orders = Orders {
            instance: self.instance.clone(),
            lease,
            steps: round.steps,
        };
        let (at, at_ms) = (observation.at, observation.at_ms);
        let signals = HostSignals::default();
        let mut status = report::status(
            self,
            self.last.as_ref(),
            &signals,
            &round.records,
            at,
            at_ms,
        );
        status.absent = Some(absence);
        self.decision(at, at_ms, round.records, orders, status)
    }

    fn bare(&self, action: Action, reason: Reason) -> DecisionRecord {
        DecisionRecord {
            action,
            reason,
            regime: Regime::Blind,
            level: Level::Conservative,
            load: None,
            profile: String::new(),
            evidence: Evidence::default(),
            expectation: None,
            change: None,
            bound_by: Vec::new(),
        }
    }

    fn bare_record(&self, name: &PoolName, choice: &Choice) -> DecisionRecord {
        let state = self.last.as_ref().and_then(|last| last.state.fresh());
        let profile = state.and_then(|state| self.profile_of(name, state.pools.get(name)?));
        DecisionRecord {
            profile: profile
                .map(|profile| profile.name.clone())
                .unwrap_or_default(),
            expectation: choice.expectation.clone(),
            change: choice.change.clone(),
            bound_by: choice.bound_by.clone(),
            ..self.bare(choice.action, choice.reason.clone())
        }
    }

    /// The profile that a pool follows.
    fn profile_of(&self, name: &PoolName, pool: &PoolState) -> Option<&Profile> {
        self.choices.of(&self.settings, name, pool)
    }

    /// Whether a state that was read cannot be used after all: the host's clock stood still or went back. One that stays so
    /// is taken as it is after a while, and watched anew.
    fn unusable(&self, observation: &Observation) -> Option<Absence> {
        let last = self.last.as_ref()?;
        let (is, was) = (observation.state.fresh()?, last.state.fresh()?);
        let odd = is.instance == was.instance && is.at_ns <= was.at_ns;
        (odd && observation.at.since(last.at) <= self.longest_gap()).then_some(Absence::Impossible)
    }

    fn longest_gap(&self) -> Span {
        Span::from_ns(self.settings.interval.as_ns().saturating_mul(GAP_INTERVALS))
    }

    fn notice_instance(&mut self, state: &HostState) {
        if self.instance.as_ref() != Some(&state.instance) {
            self.instance = Some(state.instance.clone());
            self.tuners.clear();
            self.choices.forget();
            self.unheard.clear();
            self.others = Others::default();
            self.last = None;
            self.lease = None;
            self.generation = state.generation;
            self.warm_ticks = 0;
        }
    }

    fn notice_gap(&mut self, observation: &Observation) {
        let Some(last) = &self.last else { return };
        if observation.at.since(last.at) > self.longest_gap() {
            self.last = None;
            self.warm_ticks = 0;
            let now = observation.at;
            self.tuners
                .values_mut()
                .for_each(|tuner| tuner.forget_window(now));
            self.others.pause();
        }
    }

    fn deltas<'s>(&self, state: &'s HostState) -> Deltas<'s> {
        let Some(before) = self.last.as_ref().and_then(|last| last.state.fresh()) else {
            return Deltas::default();
        };
        let span = Span::from_ns(state.at_ns.saturating_sub(before.at_ns));
        let both =
            tunable(state).filter_map(|(name, pool)| Some((name, before.pools.get(name)?, pool)));
        both.map(|(name, was, is)| (name, PoolDelta::between(was, is, span).map(Arc::new)))
            .collect()
    }
}

/// The pools with workers; the pseudo-pool of the process has none.
fn tunable(state: &HostState) -> impl Iterator<Item = (&PoolName, &PoolState)> {
    state
        .pools
        .iter()
        .filter(|(_, pool)| pool.knobs.contains_key(KnobName::WORKERS))
}
