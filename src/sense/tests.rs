//! The stage against hosts that are a few lines on a socket.

use super::*;
use crate::clock::{BootClock, ManualClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use trimtab_core::moment::Moment;
use trimtab_core::observation::Answer;
use trimtab_protocol::decision::Absence;

const TICK: Duration = Duration::from_millis(40);
/// Far beyond what any of these tests needs, so that only a hang reaches it.
const LONG: Duration = Duration::from_secs(30);

struct Stage {
    directory: tempfile::TempDir,
    observations: Receiver<Observation>,
    receipts: Sender<Receipt>,
    counts: Arc<SenseCounts>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Stage {
    /// The stage running, and the socket that it calls, if there is to be one.
    fn start(
        interval: Duration,
        clock: Arc<dyn Clock>,
        listening: bool,
    ) -> (Self, Option<UnixListener>) {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("host.sock");
        let listener = listening.then(|| UnixListener::bind(&socket).expect("a socket"));
        let (receipts, heard) = mpsc::channel(16);
        let (sender, observations) = mpsc::channel(1);
        let (stop, stopped) = oneshot::channel::<()>();
        let settings = SenseSettings {
            host: HostId::from("shop"),
            place: socket.into(),
            interval,
            deadline: Duration::from_secs(1),
        };
        let sense = Sense::new(settings, heard, clock);
        let counts = sense.counts();
        let task = tokio::spawn(sense.run(sender, async {
            drop(stopped.await);
        }));
        let stage = Self {
            directory,
            observations,
            receipts,
            counts,
            stop,
            task,
        };
        (stage, listener)
    }

    async fn next(&mut self) -> Observation {
        tokio::time::timeout(LONG, self.observations.recv())
            .await
            .expect("it does not hang")
            .expect("it runs")
    }

    /// Takes observations until one is of this run of the host.
    async fn until_instance(&mut self, instance: &str) {
        let found = async {
            loop {
                let observation = self.next().await;
                let state = observation.state.fresh();
                if state.is_some_and(|state| state.instance.as_str() == instance) {
                    return;
                }
            }
        };
        tokio::time::timeout(LONG, found)
            .await
            .expect("it is found");
    }
}

/// Answers every request with a state of this instance, for ever.
async fn serve(listener: UnixListener, instance: &'static str) {
    loop {
        let (mut stream, _) = listener.accept().await.expect("a caller");
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
            let state = format!(
                r#"{{"api":1,"app":"shop","instance":"{instance}","at_ns":5,"pools":{{}}}}"#
            );
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                state.len()
            );
            // A caller whose time ran out has hung up.
            if stream.write_all((head + &state).as_bytes()).await.is_err() {
                break;
            }
        }
    }
}

fn receipt() -> Receipt {
    Receipt::Lease {
        answer: Answer::NotSent,
    }
}

#[tokio::test]
async fn the_first_tick_comes_at_once_and_holds_everything() {
    let clock = Arc::new(ManualClock::at(Moment::from_boot_ns(1_000_000), 70));
    let (mut stage, listener) = Stage::start(Duration::from_secs(3_600), clock, true);
    let host = tokio::spawn(serve(listener.expect("it listens"), "i-1"));
    stage.receipts.send(receipt()).await.expect("it runs");
    let observation = stage.next().await;
    assert_eq!(observation.host, HostId::from("shop"));
    assert_eq!(observation.at, Moment::from_boot_ns(1_000_000));
    assert_eq!(observation.at_ms, 71);
    assert_eq!(
        observation
            .state
            .fresh()
            .map(|state| state.instance.as_str()),
        Some("i-1")
    );
    assert_eq!(observation.pid, Some(std::process::id()));
    assert!(
        observation
            .process
            .fresh()
            .is_some_and(|process| process.threads > 0)
    );
    assert!(
        observation
            .machine
            .fresh()
            .is_some_and(|machine| machine.cores >= 1.0)
    );
    assert_eq!(observation.receipts, [receipt()]);
    assert_eq!(stage.counts.dropped(), 0);
    host.abort();
}

#[tokio::test]
async fn a_host_that_hangs_is_late_at_every_tick_and_delays_none() {
    let (mut stage, listener) = Stage::start(TICK, Arc::new(BootClock), true);
    for _ in 0..3 {
        let observation = stage.next().await;
        assert_eq!(observation.state.absence(), Some(Absence::TimedOut));
        // It is known by its socket and seen from outside all the same.
        assert_eq!(observation.pid, Some(std::process::id()));
        assert!(observation.process.fresh().is_some());
    }
    // And once it comes round again, it is read again.
    let host = tokio::spawn(serve(listener.expect("it listens"), "i-1"));
    stage.until_instance("i-1").await;
    host.abort();
}

#[tokio::test]
async fn a_host_that_starts_late_and_restarts_is_found_each_time() {
    let (mut stage, _) = Stage::start(TICK, Arc::new(BootClock), false);
    let observation = stage.next().await;
    assert_eq!(observation.state.absence(), Some(Absence::Unreachable));
    assert_eq!(observation.process.absence(), Some(Absence::Unreachable));
    assert_eq!(observation.pid, None);
    let socket = stage.directory.path().join("host.sock");
    for instance in ["i-1", "i-2"] {
        let host = tokio::spawn(serve(
            UnixListener::bind(&socket).expect("a socket"),
            instance,
        ));
        stage.until_instance(instance).await;
        host.abort();
        drop(host.await);
        std::fs::remove_file(&socket).expect("it was there");
    }
}

#[tokio::test]
async fn a_busy_next_stage_costs_ticks_and_no_receipts() {
    let (mut stage, _) = Stage::start(Duration::from_millis(5), Arc::new(BootClock), false);
    // The first observation lies in the channel, so every later one is dropped, and the receipts with it come back.
    while stage.counts.ticks() == 0 {
        tokio::task::yield_now().await;
    }
    for sent in 1..=3 {
        stage.receipts.send(receipt()).await.expect("it runs");
        let so_far = stage.counts.dropped();
        while stage.counts.dropped() < so_far + 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(stage.counts.ticks() > sent);
    }
    assert!(stage.next().await.receipts.is_empty());
    assert_eq!(stage.next().await.receipts.len(), 3);
}

#[tokio::test]
async fn it_ends_when_it_is_told_to_even_in_the_midst_of_a_reading() {
    let (stage, _listener) = Stage::start(Duration::from_secs(3_600), Arc::new(BootClock), true);
    tokio::task::yield_now().await;
    stage.stop.send(()).expect("it runs");
    tokio::time::timeout(LONG, stage.task)
        .await
        .expect("it does not hang")
        .expect("it does not panic");
}

#[tokio::test]
async fn it_ends_when_nobody_listens_any_more() {
    let (stage, _) = Stage::start(Duration::from_secs(3_600), Arc::new(BootClock), false);
    drop(stage.observations);
    tokio::time::timeout(LONG, stage.task)
        .await
        .expect("it does not hang")
        .expect("it does not panic");
}
