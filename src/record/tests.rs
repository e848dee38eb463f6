//! Record from its inbox to what others read of it, over ledgers that fail on purpose.

use super::*;
use crate::message::NotDurable;
use crate::record::ledger::{Ledger, Skipped};
use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc as blocking;
use tokio::sync::oneshot;
use tokio::sync::watch::Receiver;
use trimtab_core::decision::Orders;
use trimtab_core::moment::{Moment, Span};
use trimtab_protocol::change::Phase;
use trimtab_protocol::decision::{Evidence, Level, Mode, Regime};
use trimtab_protocol::name::{Epoch, Generation};
use trimtab_protocol::name::{InstanceId, PoolName};
use trimtab_protocol::problem::ProblemKind;
use trimtab_protocol::view::IntentRecord;
use trimtab_protocol::view::{DecisionRecord, HostStatus, PoolSample, PoolStatus, Sample};

pub(in crate::record) fn about(pool: &str) -> About {
    About {
        host: HostId::from("demo"),
        instance: Some(InstanceId::from("run1")),
        pool: Some(PoolName::from(pool)),
        at: Moment::from_boot_ns(5_000_000_000),
        at_ms: 1_790_000_000_000,
    }
}

pub(in crate::record) fn held() -> DecisionRecord {
    DecisionRecord {
        action: Action::Hold,
        reason: Reason::Ample,
        regime: Regime::Ample,
        level: Level::Moderate,
        load: Some(0.31),
        profile: "web".to_owned(),
        evidence: Evidence::default(),
        expectation: None,
        change: None,
        bound_by: Vec::new(),
    }
}

pub(in crate::record) fn stored(sequence: u64) -> Stored {
    let about = about("web");
    let entry = Entry {
        id: EntryId {
            boot: "b".to_owned(),
            sequence,
        },
        at_ms: about.at_ms,
        moment_ns: about.at.as_boot_ns(),
        host: about.host,
        instance: about.instance,
        pool: about.pool,
        body: EntryBody::Decision(held()),
        text: text::decision(&held()),
    };
    Stored {
        sequence,
        boot: Arc::from("b"),
        pool: Some(Arc::from("web")),
        sort: Sort::Decision,
        action: Some(Action::Hold),
        json: serde_json::to_string(&entry).unwrap().into_boxed_str(),
    }
}

pub(in crate::record) fn tick(second: u64, records: &[(&str, DecisionRecord)]) -> Recorded {
    let at = Moment::from_boot_ns(second * 1_000_000_000);
    let pools = records.iter().map(|(name, record)| {
        let status = PoolStatus {
            profile: "web".to_owned(),
            profile_basis: None,
            phase: Phase::Baseline,
            generation: Generation(0),
            trial_expires_in_ms: None,
            knobs: BTreeMap::new(),
            figures: BTreeMap::from([("cache_hits".to_owned(), 7)]),
            inert: Vec::new(),
            decision: Some(record.clone()),
            text: String::new(),
            changes: ChangeCounts::default(),
        };
        (PoolName::from(*name), status)
    });
    let samples = records.iter().map(|(name, _)| {
        let sample = PoolSample {
            workers: Some(8),
            busy: Some(2.5),
            p99_us: Some(120_000),
            ..PoolSample::default()
        };
        (PoolName::from(*name), sample)
    });
    let status = HostStatus {
        host: HostId::from("demo"),
        mode: Mode::Act,
        absent: None,
        summary: String::new(),
        app: "shop".to_owned(),
        version: "1.2".to_owned(),
        instance: None,
        pid: None,
        frozen: false,
        lease_holder: None,
        lease_ours: true,
        lease_expires_in_ms: None,
        epoch: None,
        uptime_ms: None,
        held: BTreeMap::new(),
        age_ms: Some(10),
        conformance: 2,
        sample: Sample {
            moment_ns: at.as_boot_ns(),
            cpu_cores: Some(0.5),
            pools: samples.collect(),
            ..Sample::default()
        },
        pools: pools.collect(),
    };
    Recorded::Tick(Box::new(Tick {
        decision: Decision {
            host: HostId::from("demo"),
            at,
            at_ms: 1_790_000_000_000 + second * 1_000,
            instance: Some(InstanceId::from("run1")),
            records: records
                .iter()
                .map(|(name, record)| (Some(PoolName::from(*name)), record.clone()))
                .collect(),
            orders: Orders::default(),
            status,
        },
        lag: Span::from_ms(2),
        dropped: 0,
    }))
}

fn intent(generation: u64) -> (Recorded, oneshot::Receiver<Result<(), NotDurable>>) {
    let (done, answered) = oneshot::channel();
    let intent = Recorded::Intent {
        about: about("web"),
        intent: IntentRecord {
            action: Action::Try,
            epoch: Epoch(1),
            generation: Generation(generation),
            set: BTreeMap::new(),
        },
        done,
    };
    (intent, answered)
}

pub(in crate::record) fn outcome(action: Action, reason: Option<Reason>) -> Recorded {
    Recorded::Outcome {
        about: about("web"),
        outcome: OutcomeRecord {
            action,
            generation: Generation(3),
            reason,
            took_us: 1_500,
        },
    }
}

/// A ledger that fails on demand, and can be made to hang.
#[derive(Clone, Debug, Default)]
struct Fake {
    state: Arc<Mutex<FakeState>>,
}

#[derive(Debug, Default)]
struct FakeState {
    fails_with: Option<io::ErrorKind>,
    kept: Vec<(u64, bool)>,
    gate: Option<blocking::Receiver<()>>,
}

impl Fake {
    fn fail(&self, kind: Option<io::ErrorKind>) {
        self.state.lock().unwrap().fails_with = kind;
    }

    fn kept(&self) -> Vec<(u64, bool)> {
        self.state.lock().unwrap().kept.clone()
    }
}

impl Ledger for Fake {
    fn append(&mut self, entry: &Stored, durable: bool) -> io::Result<()> {
        let gate = self.state.lock().unwrap().gate.take();
        if let Some(gate) = gate {
            // Until the test lets go of the other end.
            gate.recv().expect_err("the test never sends");
        }
        let mut state = self.state.lock().unwrap();
        match state.fails_with {
            Some(kind) => Err(kind.into()),
            None => {
                state.kept.push((entry.sequence, durable));
                Ok(())
            }
        }
    }

    fn scan(&self, _: &mut dyn FnMut(Entry)) -> io::Result<Skipped> {
        Ok(Skipped::default())
    }

    fn last_sequence(&self) -> u64 {
        self.kept().last().map_or(0, |(sequence, _)| *sequence)
    }
}

struct Rig {
    inbox: mpsc::Sender<Recorded>,
    outlets: Outlets,
    task: tokio::task::JoinHandle<()>,
}

fn rig(ledger: &Fake) -> Rig {
    let journal = Journal::start(Box::new(ledger.clone()));
    let (recorder, outlets) = Recorder::new("b", Retention::default(), journal);
    let (inbox, input) = mpsc::channel(16);
    let task = tokio::spawn(recorder.run(input));
    Rig {
        inbox,
        outlets,
        task,
    }
}

impl Rig {
    async fn send(&self, recorded: Recorded) {
        self.inbox.send(recorded).await.unwrap();
    }

    async fn finish(self) -> Outlets {
        drop(self.inbox);
        self.task.await.unwrap();
        self.outlets
    }
}

async fn until(view: &mut Receiver<Arc<View>>, sequence: u64) -> Arc<View> {
    let found = view.wait_for(|view| view.last_sequence >= sequence).await;
    Arc::clone(&found.unwrap())
}

#[tokio::test]
async fn each_tick_makes_one_entry_a_pool_and_a_view_that_holds_it() {
    let ledger = Fake::default();
    let rig = rig(&ledger);
    for second in 0..3 {
        rig.send(tick(second, &[("api", held()), ("web", held())]))
            .await;
    }
    let mut view = rig.outlets.view.clone();
    let view = until(&mut view, 6).await;
    let host = &view.hosts["demo"];
    let ids: Vec<String> = host
        .entries
        .iter()
        .map(|entry| entry.id().to_string())
        .collect();
    assert_eq!(ids, ["b-1", "b-2", "b-3", "b-4", "b-5", "b-6"]);
    let last = host.entries.iter().next_back().unwrap().entry().unwrap();
    assert_eq!(last.pool, Some(PoolName::from("web")));
    assert_eq!(last.text, "Held: work flows and nothing waits.");
    assert_eq!(host.status.pools["web"].text, last.text);
    assert_eq!(
        host.status.summary,
        "api is ample. Held: work flows and nothing waits."
    );
    assert_eq!(host.samples.len(), 3);
    assert_eq!(host.deeds.len(), 0);
}

#[tokio::test]
async fn a_listener_that_subscribes_and_then_reads_the_view_misses_nothing() {
    let rig = rig(&Fake::default());
    let mut seen = Vec::new();
    let mut view = rig.outlets.view.clone();
    rig.send(tick(0, &[("web", held())])).await;
    until(&mut view, 1).await;
    let mut live = rig.outlets.entries.subscribe();
    let known = rig.outlets.view.borrow().last_sequence;
    for second in 1..20 {
        rig.send(tick(second, &[("web", held())])).await;
    }
    rig.finish().await;
    seen.extend(1..=known);
    while let Ok(entry) = live.recv().await {
        if entry.sequence > known {
            seen.push(entry.sequence);
        }
    }
    assert_eq!(seen, (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_intent_is_acknowledged_once_it_is_durable() {
    let ledger = Fake::default();
    let rig = rig(&ledger);
    rig.send(tick(0, &[("web", held())])).await;
    let (asked, answered) = intent(1);
    rig.send(asked).await;
    assert_eq!(answered.await.unwrap(), Ok(()));
    assert_eq!(ledger.kept(), [(1, false), (2, true)]);
}

#[tokio::test]
async fn a_broken_disk_refuses_intents_and_views_go_on() {
    for kind in [
        io::ErrorKind::StorageFull,
        io::ErrorKind::ReadOnlyFilesystem,
        io::ErrorKind::Other,
    ] {
        let ledger = Fake::default();
        ledger.fail(Some(kind));
        let rig = rig(&ledger);
        let (asked, answered) = intent(1);
        rig.send(asked).await;
        assert_eq!(answered.await.unwrap(), Err(NotDurable));
        rig.send(tick(1, &[("web", held())])).await;
        let mut view = rig.outlets.view.clone();
        let broken = until(&mut view, 2).await;
        assert!(!broken.journal.ok, "{kind}");
        assert!(broken.journal.errors >= 1 && broken.journal.lost >= 1);
        assert_eq!(broken.hosts["demo"].entries.len(), 1);

        ledger.fail(None);
        let (asked, answered) = intent(2);
        rig.send(asked).await;
        assert_eq!(answered.await.unwrap(), Ok(()), "after {kind}");
        rig.send(tick(2, &[("web", held())])).await;
        let whole = until(&mut view, 4).await;
        assert!(whole.journal.ok, "after {kind}");
    }
}

#[tokio::test]
async fn a_hanging_disk_delays_no_view_and_refuses_what_it_cannot_queue() {
    let ledger = Fake::default();
    let (gate, closed) = blocking::channel();
    ledger.state.lock().unwrap().gate = Some(closed);
    let rig = rig(&ledger);
    let mut deed = held();
    deed.action = Action::Confirm;
    for second in 0..400 {
        rig.send(tick(second, &[("web", deed.clone())])).await;
    }
    let mut view = rig.outlets.view.clone();
    let behind = until(&mut view, 400).await;
    assert!(!behind.journal.ok);
    assert!(behind.journal.lost > 0);
    let (asked, answered) = intent(1);
    rig.send(asked).await;
    assert_eq!(answered.await.unwrap(), Err(NotDurable));
    drop(gate);
    rig.finish().await;
    assert!(ledger.kept().len() >= 256);
}

#[tokio::test]
async fn repeated_holds_are_left_out_on_disk_but_not_in_memory() {
    let ledger = Fake::default();
    let rig = rig(&ledger);
    for second in 0..61 {
        rig.send(tick(second, &[("web", held())])).await;
    }
    let outlets = rig.finish().await;
    assert_eq!(ledger.kept(), [(1, false), (61, false)]);
    let view = outlets.view.borrow();
    assert_eq!(view.hosts["demo"].entries.len(), 61);
    assert_eq!(view.journal.thinned, 59);
}

#[tokio::test]
async fn what_becomes_of_changes_is_counted_once() {
    let rig = rig(&Fake::default());
    let refused = Reason::Refused {
        problem: ProblemKind::Frozen,
        detail: "no".to_owned(),
    };
    let expired = DecisionRecord {
        reason: Reason::TrialEnded {
            status: ChangeStatus::Expired,
        },
        ..held()
    };
    rig.send(outcome(Action::Try, None)).await;
    rig.send(outcome(Action::Confirm, None)).await;
    rig.send(outcome(Action::Try, Some(refused))).await;
    rig.send(tick(1, &[("web", expired.clone())])).await;
    rig.send(tick(2, &[("web", expired)])).await;
    rig.send(outcome(Action::RollBack, None)).await;
    rig.send(tick(3, &[("web", held())])).await;
    let outlets = rig.finish().await;
    let view = outlets.view.borrow();
    let counts = view.hosts["demo"].status.pools["web"].changes;
    let expected = ChangeCounts {
        made: 1,
        kept: 1,
        rolled_back: 2,
        refused: 1,
    };
    assert_eq!(counts, expected);
    let text = outlets.metrics.render().unwrap();
    for (result, count) in [("made", 1), ("kept", 1), ("rolled_back", 2), ("refused", 1)] {
        let line = format!(
            "trimtab_changes_total{{host=\"demo\",pool=\"web\",result=\"{result}\"}} {count}\n"
        );
        assert!(text.contains(&line), "{line}{text}");
    }
}

#[tokio::test]
async fn a_full_history_stays_within_its_bytes() {
    let journal = Journal::start(Box::new(Fake::default()));
    let (mut recorder, outlets) = Recorder::new("b", Retention::default(), journal);
    let records: Vec<(&str, DecisionRecord)> =
        ["a", "b", "c", "d"].map(|pool| (pool, held())).to_vec();
    for second in 0..10_000 {
        recorder.record(tick(second, &records));
    }
    let view = outlets.view.borrow();
    let host = &view.hosts["demo"];
    let retention = Retention::default();
    assert!(host.entries.bytes() <= retention.entries_bytes_max + 64 * 1024);
    assert!(host.samples.bytes() <= retention.samples_bytes_max + 64 * 1024);
    assert!(host.entries.len() > 4_000, "{}", host.entries.len());
    assert!(host.samples.len() >= 3_584, "{}", host.samples.len());
}
