//! Every order of a few threads, up to a bound of preemptions, on the source of the host's limit, weak memory included.

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use std::process::Command;
use std::sync::atomic::AtomicUsize;
use trimtab_checks::limits::Limit;
use trimtab_checks::looms::{ForgetsWhoCameMeanwhile, GrowsWithoutAWord, Real, TakesAboveTheLimit};

/// So many times a thread is stopped against its will in one order; few bugs need more.
const PREEMPTIONS: usize = 3;

/// Two pieces of work meet a limit of one.
fn shared<L: Limit>() {
    let limit = Arc::new(L::new(1, 8));
    let running = Arc::new(AtomicU64::new(0));
    let other = {
        let (limit, running) = (Arc::clone(&limit), Arc::clone(&running));
        thread::spawn(move || work(&*limit, &running, 1))
    };
    work(&*limit, &running, 1);
    other.join().expect("it ended well");
    assert_eq!(limit.busy_and_queued(), (0, 0));
}

/// The same while a third thread lets two of them run and then one again.
fn resized<L: Limit>() {
    let limit = Arc::new(L::new(1, 8));
    let running = Arc::new(AtomicU64::new(0));
    let threads = [(); 2].map(|()| {
        let (limit, running) = (Arc::clone(&limit), Arc::clone(&running));
        thread::spawn(move || work(&*limit, &running, 2))
    });
    limit.set_workers(2);
    limit.set_workers(1);
    for thread in threads {
        thread.join().expect("it ended well");
    }
    assert_eq!(limit.busy_and_queued(), (0, 0));
}

fn work(limit: &impl Limit, running: &AtomicU64, most: u64) {
    let admitted = limit.run(|| {
        assert!(
            running.fetch_add(1, Ordering::SeqCst) < most,
            "more run than were ever allowed"
        );
        running.fetch_sub(1, Ordering::SeqCst);
    });
    assert!(admitted, "there was room in the queue");
}

/// Who has the only permit waits for one who has none: the limit grows, and the new permit has to be handed over.
fn grown<L: Limit>() {
    let limit = Arc::new(L::new(1, 8));
    let met = Arc::new(AtomicU64::new(0));
    let threads = [(); 2].map(|()| {
        let (limit, met) = (Arc::clone(&limit), Arc::clone(&met));
        thread::spawn(move || {
            limit.run(|| {
                met.fetch_add(1, Ordering::SeqCst);
                while met.load(Ordering::SeqCst) < 2 {
                    thread::yield_now();
                }
            })
        })
    });
    limit.set_workers(2);
    for thread in threads {
        assert!(thread.join().expect("it ended well"));
    }
}

/// Goes through the orders, and says how many there were.
fn run(what: fn()) -> usize {
    let orders = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&orders);
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        what();
    });
    orders.load(Ordering::Relaxed)
}

#[test]
fn no_order_of_three_threads_loses_a_permit_or_a_waiter() {
    for (name, what) in [
        ("shared", shared::<Real> as fn()),
        ("resized", resized::<Real>),
        ("grown", grown::<Real>),
    ] {
        let orders = run(what);
        println!("{name}: {orders} orders of at most {PREEMPTIONS} preemptions");
        assert!(orders > 30, "{name}: only {orders}");
    }
}

/// Which of the bodies below a process of its own is to go through.
const CHOSEN: &str = "TRIMTAB_LOOM";

/// A body of each copy, and whether something is to be found.
const COPIES: [(&str, fn(), bool); 5] = [
    ("as it is, shared", shared::<Real>, false),
    ("as it is, grown", grown::<Real>, false),
    (
        "who came meanwhile",
        shared::<ForgetsWhoCameMeanwhile>,
        true,
    ),
    ("above the limit", shared::<TakesAboveTheLimit>, true),
    ("grown without a word", grown::<GrowsWithoutAWord>, true),
];

/// What loom holds panics again when it is dropped after a bug was found, so each copy has a process of its own.
#[test]
fn a_line_that_is_wrong_in_the_limit_is_found_by_an_order() {
    if let Ok(chosen) = std::env::var(CHOSEN) {
        let copy = COPIES.iter().find(|(name, _, _)| *name == chosen);
        let (_, what, _) = copy.expect("it is one of them");
        run(*what);
        return;
    }
    for (name, _, wrong) in COPIES {
        let mut command = Command::new(std::env::current_exe().expect("it runs"));
        let this = "a_line_that_is_wrong_in_the_limit_is_found_by_an_order";
        let output = command.args(["--exact", this]).env(CHOSEN, name).output();
        let found = !output.expect("it can be started").status.success();
        assert_eq!(found, wrong, "{name}");
    }
}
