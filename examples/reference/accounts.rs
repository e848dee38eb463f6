//! The downstream's accounts: transfers as optimistic transactions, which lose throughput once too many run at a time.
//!
//! A transfer reads both balances, writes its record, and commits if nobody changed either account meanwhile; otherwise all of
//! it is done again. Records are written by a few writers, and a writer is busy for the record's whole time, also when the
//! transfer then fails. So with more transfers at once each waits longer for a writer, more of them find that an account has
//! changed, and the writers spend their time on transfers that come to nothing. Nothing here is made slow on purpose beyond
//! the writers' own time: throughput really falls.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// What every account holds at the start.
const OPENING_BALANCE: i64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    balance: i64,
    /// Rises with every committed transfer; it tells whether a balance that was read still holds.
    version: u64,
}

/// Accounts and the writers of their records.
#[derive(Debug)]
pub(crate) struct Accounts {
    accounts: Vec<Mutex<Account>>,
    writers: Semaphore,
    record_time: Duration,
}

impl Accounts {
    /// `count` accounts, with `writers` that take `record_time` for each record.
    pub(crate) fn new(count: usize, writers: usize, record_time: Duration) -> Self {
        let opening = Account {
            balance: OPENING_BALANCE,
            version: 0,
        };
        Self {
            accounts: (0..count.max(2)).map(|_| Mutex::new(opening)).collect(),
            writers: Semaphore::new(writers),
            record_time,
        }
    }

    /// Moves money and says how many attempts it took. Account numbers wrap around; an account and itself become neighbours.
    pub(crate) async fn transfer(&self, from: usize, to: usize, amount: i64) -> u32 {
        let from = from % self.accounts.len();
        let to = match to % self.accounts.len() {
            to if to == from => (to + 1) % self.accounts.len(),
            to => to,
        };
        let mut attempts = 0;
        loop {
            attempts += 1;
            let seen = (self.read(from).version, self.read(to).version);
            self.write_record().await;
            if self.commit((from, to), seen, amount) {
                return attempts;
            }
        }
    }

    fn read(&self, number: usize) -> Account {
        *self.lock(number)
    }

    /// Waits for a writer and holds it for the record's time.
    async fn write_record(&self) {
        let writer = self.writers.acquire().await;
        tokio::time::sleep(self.record_time).await;
        drop(writer);
    }

    /// Applies the transfer if both accounts are as they were seen.
    fn commit(&self, (from, to): (usize, usize), seen: (u64, u64), amount: i64) -> bool {
        // In the order of their numbers, so that two transfers never wait for each other.
        let (mut first, mut second) = (self.lock(from.min(to)), self.lock(from.max(to)));
        let (source, target) = if from < to {
            (&mut *first, &mut *second)
        } else {
            (&mut *second, &mut *first)
        };
        if (source.version, target.version) != seen {
            return false;
        }
        source.balance -= amount;
        target.balance += amount;
        source.version += 1;
        target.version += 1;
        true
    }

    fn lock(&self, number: usize) -> std::sync::MutexGuard<'_, Account> {
        self.accounts[number]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::task::JoinSet;
    use tokio::time::Instant;

    /// Works off `count` transfers with at most `at_once` of them running; says how long it took and how many attempts.
    async fn work_off(accounts: &Arc<Accounts>, count: usize, at_once: usize) -> (Duration, u32) {
        let began = Instant::now();
        let mut random = fastrand::Rng::with_seed(7);
        let mut running = JoinSet::new();
        let mut attempts = 0;
        for _ in 0..count {
            if running.len() == at_once {
                attempts += running
                    .join_next()
                    .await
                    .expect("one runs")
                    .expect("no panic");
            }
            let (accounts, from, to) = (
                Arc::clone(accounts),
                random.usize(..1 << 20),
                random.usize(..1 << 20),
            );
            running.spawn(async move { accounts.transfer(from, to, 5).await });
        }
        attempts += running.join_all().await.iter().sum::<u32>();
        (began.elapsed(), attempts)
    }

    #[tokio::test(start_paused = true)]
    async fn no_money_is_made_or_lost_however_many_transfers_collide() {
        let accounts = Arc::new(Accounts::new(6, 4, Duration::from_millis(10)));
        let (_, attempts) = work_off(&accounts, 500, 64).await;
        let total: i64 = (0..6).map(|number| accounts.read(number).balance).sum();
        assert_eq!(total, 6 * OPENING_BALANCE);
        let versions: u64 = (0..6).map(|number| accounts.read(number).version).sum();
        assert_eq!(versions, 2 * 500);
        assert!(attempts > 500);
    }

    #[tokio::test(start_paused = true)]
    async fn throughput_falls_when_far_more_transfers_run_than_there_are_writers() {
        let few = Arc::new(Accounts::new(24, 8, Duration::from_millis(20)));
        let many = Arc::new(Accounts::new(24, 8, Duration::from_millis(20)));
        let (at_the_knee, _) = work_off(&few, 1_000, 8).await;
        let (beyond_it, _) = work_off(&many, 1_000, 64).await;
        assert!(
            beyond_it > at_the_knee * 3 / 2,
            "{beyond_it:?} at 64, {at_the_knee:?} at 8"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_transfer_to_the_same_account_goes_to_its_neighbour() {
        let accounts = Accounts::new(4, 1, Duration::ZERO);
        assert_eq!(accounts.transfer(3, 7, 10).await, 1);
        assert_eq!(accounts.read(3).balance, OPENING_BALANCE - 10);
        assert_eq!(accounts.read(0).balance, OPENING_BALANCE + 10);
    }
}
