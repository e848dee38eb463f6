//! Clients that give up and ask again: what was too much for a moment stays too much, although its cause is gone.

use super::control::{Watch, side_by_side};
use super::world::World;
use super::{Bench, Outcome, pause, wire};
use anyhow::{Result, ensure};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// How long a client waits for one answer. A request takes 50 ms as long as nothing is wrong.
const PATIENCE: Duration = Duration::from_millis(300);
/// What every request takes while the cause lasts: more than anybody waits.
const SLOW_MS: u64 = 400;
/// Before the cause, and for how long it lasts.
const CALM_S: usize = 5;
const CAUSE_S: usize = 5;
/// For so long a service is watched that does not come back by itself.
const ALONE_S: usize = 10;
/// Within this time after the cause a service has to be back, ...
const BACK_S: usize = 30;
/// ... which is when so many of a hundred users in each of so many seconds in a row are answered.
const BACK_PERCENT: usize = 95;
const BACK_ROW: usize = 3;
/// So many users can be waiting at a time.
const HANDS: usize = 160;

/// Who comes.
#[derive(Clone, Copy, Debug)]
struct Users {
    /// New users a second.
    rate: usize,
    /// How often each asks before giving up for good.
    tries: usize,
    /// Whether they keep a pool of ten workers from ever coming back, so that without a sidecar it is not waited for.
    endless: bool,
}

/// Twice what comes is still less than ten workers can do, 200 a second, so that it goes by if nobody does harm.
const HALF: Users = Users {
    rate: 90,
    tries: 2,
    endless: false,
};
/// Four times what comes is far more than they can do: this goes on for ever unless something is done.
const ENDLESS: Users = Users {
    rate: 110,
    tries: 4,
    endless: true,
};

/// What came of a run: how many users of each second were answered, how many attempts there were, and the workers at its end.
struct Run {
    answered: Vec<usize>,
    attempts: usize,
    workers: u64,
}

/// How many seconds after the cause it was back, if it ever was, by how many users of each second were answered.
fn back(answered: &[usize], users: Users) -> Option<usize> {
    let after = answered.get(CALM_S + CAUSE_S..)?;
    let good = |answered: &usize| answered * 100 >= users.rate * BACK_PERCENT;
    after.windows(BACK_ROW).position(|row| row.iter().all(good))
}

impl Run {
    fn tell(&self, users: Users) -> String {
        let back = match back(&self.answered, users) {
            Some(seconds) => format!("back after {seconds} s"),
            None => {
                let watched = self.answered.len().saturating_sub(CALM_S + CAUSE_S);
                format!("not back within {watched} s")
            }
        };
        format!(
            "{back}, {} attempts of {} users, {} workers at the end",
            self.attempts,
            users.rate * self.answered.len(),
            self.workers
        )
    }
}

pub(super) fn retries(bench: &Bench) -> Result<Outcome> {
    let mut told = Vec::new();
    for users in [HALF, ENDLESS] {
        let runs = side_by_side(2, |number| run(bench, users, number == 1))?;
        let [without, with] = &runs[..] else {
            anyhow::bail!("not two runs");
        };
        for run in &runs {
            // Who came just before its end was answered at a later try.
            let storm = run.answered.get(CALM_S + 1..CALM_S + CAUSE_S - 1);
            let stormy = storm.is_some_and(|seconds| seconds.iter().all(|good| *good == 0));
            ensure!(stormy, "the cause did no harm: {:?}", run.answered);
        }
        told.push(format!(
            "{} users a second with {} tries each: alone {}; beside a sidecar {}",
            users.rate,
            users.tries,
            without.tell(users),
            with.tell(users)
        ));
        let is_back = |run: &Run| back(&run.answered, users).is_some();
        ensure!(
            is_back(with) && (users.endless || is_back(without)),
            "it did not come back: {:?}, beside a sidecar {:?}",
            without.answered,
            with.answered
        );
    }
    Ok(Outcome::Held(format!(
        "{CAUSE_S} s in which no answer came in time: {}",
        told.join("; ")
    )))
}

fn run(bench: &Bench, users: Users, tuned: bool) -> Result<Run> {
    let mut world = World::idle(bench, &format!("storm-{}-{tuned}", users.tries))?;
    let sidecar = if tuned {
        let sidecar = world.sidecar()?.0;
        sidecar.until_attached()?;
        Some(sidecar)
    } else {
        None
    };
    let watched = if users.endless && !tuned {
        ALONE_S
    } else {
        BACK_S
    };
    let seconds = CALM_S + CAUSE_S + watched + BACK_ROW;
    let storm = Storm {
        users,
        address: world.address().to_owned(),
        began: Watch::start(),
        next: AtomicUsize::new(0),
        attempts: AtomicUsize::new(0),
        answered: (0..seconds).map(|_| AtomicUsize::new(0)).collect(),
        end: AtomicUsize::new(seconds),
    };
    thread::scope(|scope| -> Result<()> {
        for _ in 0..HANDS {
            scope.spawn(|| storm.come());
        }
        storm.go_by()
    })?;
    if let Some(mut sidecar) = sidecar {
        ensure!(sidecar.process.is_alive()?, "the sidecar ended");
        world.audit(&world.state()?)?;
    }
    let state = world.state()?;
    let end = storm.end.into_inner();
    let answered = storm.answered.into_iter().take(end);
    Ok(Run {
        answered: answered.map(AtomicUsize::into_inner).collect(),
        attempts: storm.attempts.into_inner(),
        workers: state["pools"]["web"]["knobs"]["workers"]["value"]
            .as_u64()
            .unwrap_or(0),
    })
}

/// Users that come whether the service answers or not.
struct Storm {
    users: Users,
    address: String,
    began: Watch,
    /// Who comes next.
    next: AtomicUsize,
    attempts: AtomicUsize,
    /// How many of the users of each second were answered.
    answered: Vec<AtomicUsize>,
    /// Users of this second and later ones do not come any more.
    end: AtomicUsize,
}

impl Storm {
    /// One user after another, each when it is due.
    fn come(&self) {
        loop {
            let user = self.next.fetch_add(1, Ordering::SeqCst);
            let second = user / self.users.rate;
            let Some(answered) = self.answered.get(second) else {
                return;
            };
            if second >= self.end.load(Ordering::SeqCst) {
                return;
            }
            let part = u64::try_from(user % self.users.rate * 1_000 / self.users.rate).unwrap_or(0);
            self.until(second, Duration::from_millis(part));
            for _ in 0..self.users.tries {
                self.attempts.fetch_add(1, Ordering::SeqCst);
                if asked(&self.address) {
                    answered.fetch_add(1, Ordering::SeqCst);
                    break;
                }
            }
        }
    }

    /// Makes the cause and takes it away, and lets them come until the service is back.
    fn go_by(&self) -> Result<()> {
        self.until(CALM_S, Duration::ZERO);
        wire::get(&self.address, &format!("/delay/{SLOW_MS}"))?;
        self.until(CALM_S + CAUSE_S, Duration::ZERO);
        wire::get(&self.address, "/delay/50")?;
        for over in CALM_S + CAUSE_S + BACK_ROW..self.answered.len() {
            // By then whoever came before was answered or has given up.
            self.until(over, Duration::from_millis(1_500));
            let so_far = self.answered.iter().take(over);
            let so_far: Vec<usize> = so_far.map(|good| good.load(Ordering::SeqCst)).collect();
            if back(&so_far, self.users).is_some() {
                self.end.store(over, Ordering::SeqCst);
                break;
            }
        }
        Ok(())
    }

    fn until(&self, second: usize, part: Duration) {
        let due = Duration::from_secs(u64::try_from(second).unwrap_or(0)) + part;
        pause(due.saturating_sub(self.began.elapsed()));
    }
}

/// One attempt: answered well in time, or given up.
fn asked(address: &str) -> bool {
    let began = Watch::start();
    let Ok(stream) = TcpStream::connect(address) else {
        return false;
    };
    let good =
        wire::get_within(stream, address, "/", PATIENCE).is_ok_and(|(status, _)| status == 200);
    good && began.elapsed() <= PATIENCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_back_once_so_many_seconds_in_a_row_are_good() {
        let users = Users {
            rate: 10,
            tries: 1,
            endless: false,
        };
        let run = |after: &[usize]| [&[0; CALM_S + CAUSE_S], after].concat();
        assert_eq!(back(&run(&[0, 10, 10, 9, 10, 10, 10]), users), Some(4));
        assert_eq!(back(&run(&[10, 10, 9]), users), None);
    }
}
