//! Where connections stand whose caller has shown nothing yet: few, for a short while, and none keeps the next one out.
//!
//! Whoever else may connect would otherwise take all places and keep a sidecar out until its lease has run out. So a connection
//! gets a place of its own only once a request on it was good; until then it stands here, and when there are too many the one
//! that came first goes. Whoever has just been heard is judged before anybody is sent away for want of room.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How many stand here at once.
pub(super) const STANDING: usize = 8;
/// How long each may: to say the first thing, to be judged, and to hear the refusal.
pub(super) const STANDING_TIME: Duration = Duration::from_secs(2);

/// The connections that stand before one socket.
#[derive(Debug)]
pub(super) struct Doorstep {
    guests: Mutex<VecDeque<Arc<Guest>>>,
    /// One has gone, or is judged no more.
    changed: Notify,
    seats: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Guest {
    /// It is being judged, or was found good and has no seat; changed only while the guests are held.
    stays: AtomicBool,
    is_good: AtomicBool,
    away: Notify,
}

/// A connection's place; given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    doorstep: Arc<Doorstep>,
    guest: Arc<Guest>,
    seat: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Doorstep {
    /// Before a socket at which so many have a seat once they are known.
    pub(super) fn new(seats: usize) -> Arc<Self> {
        Arc::new(Self {
            guests: Mutex::default(),
            changed: Notify::new(),
            seats: Arc::new(Semaphore::new(seats)),
        })
    }

    /// A place for whoever has just connected. Where all that stand here are being judged it waits for the first verdict.
    pub(super) async fn enter(self: &Arc<Self>) -> Place {
        loop {
            let changed = self.changed.notified();
            if let Some(guest) = self.admit() {
                return Place {
                    doorstep: Arc::clone(self),
                    guest,
                    seat: Mutex::default(),
                };
            }
            changed.await;
        }
    }

    fn admit(&self) -> Option<Arc<Guest>> {
        let mut guests = self.guests();
        if guests.len() >= STANDING {
            let first = guests.iter().position(|guest| !guest.stays())?;
            guests.remove(first)?.away.notify_one();
        }
        let guest = Arc::new(Guest::default());
        guests.push_back(Arc::clone(&guest));
        Some(guest)
    }

    fn leave(&self, gone: &Arc<Guest>) {
        self.guests().retain(|guest| !Arc::ptr_eq(guest, gone));
        self.changed.notify_one();
    }

    fn guests(&self) -> MutexGuard<'_, VecDeque<Arc<Guest>>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    fn stays(&self) -> bool {
        self.stays.load(Ordering::Acquire)
    }
}

impl Place {
    /// It is judged from now on, and is not sent away meanwhile.
    pub(super) fn is_judged(&self) {
        let _guests = self.doorstep.guests();
        self.guest.stays.store(true, Ordering::Release);
    }

    /// Its caller is known: it may stay. Whether it has a seat; without one it is to go after this answer.
    pub(super) fn is_good(&self) -> bool {
        self.guest.is_good.store(true, Ordering::Release);
        let mut seat = self.seat.lock().unwrap_or_else(PoisonError::into_inner);
        if seat.is_some() {
            return true;
        }
        *seat = Arc::clone(&self.doorstep.seats).try_acquire_owned().ok();
        if seat.is_some() {
            self.doorstep.leave(&self.guest);
        }
        seat.is_some()
    }

    /// Nothing that it said was good.
    pub(super) fn is_refused(&self) {
        {
            let _guests = self.doorstep.guests();
            self.guest.stays.store(false, Ordering::Release);
        }
        self.doorstep.changed.notify_one();
    }

    /// Returns once it is to be closed: it was sent away, or has stood here for too long.
    pub(super) async fn over(&self) {
        let away = self.guest.away.notified();
        // Either way it is over, unless its caller is known by now.
        drop(tokio::time::timeout(STANDING_TIME, away).await);
        if self.guest.is_good.load(Ordering::Acquire) {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.doorstep.leave(&self.guest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    async fn is_over(place: &Place) -> bool {
        tokio::time::timeout(Duration::ZERO, place.over())
            .await
            .is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_came_first_makes_room_for_the_next() {
        let doorstep = Doorstep::new(1);
        let mut places = Vec::new();
        for _ in 0..STANDING + 2 {
            places.push(doorstep.enter().await);
        }
        let mut over = Vec::new();
        for place in &places {
            over.push(is_over(place).await);
        }
        assert_eq!(over.iter().position(|over| !over), Some(2));
        assert_eq!(doorstep.guests().len(), STANDING);
        drop(places);
        assert_eq!(doorstep.guests().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_judged_is_not_sent_away_and_who_is_good_stays_for_good() {
        let doorstep = Doorstep::new(1);
        let good = doorstep.enter().await;
        good.is_judged();
        let mut crowd = Vec::new();
        for _ in 0..3 * STANDING {
            crowd.push(doorstep.enter().await);
        }
        assert!(!is_over(&good).await);
        assert!(good.is_good(), "there is a seat");
        for _ in 0..3 * STANDING {
            crowd.push(doorstep.enter().await);
        }
        let stays = tokio::time::timeout(STANDING_TIME * 100, good.over()).await;
        assert!(stays.is_err());
        assert!(good.is_good(), "it keeps its seat");
        let second = doorstep.enter().await;
        second.is_judged();
        assert!(!second.is_good(), "there is one seat");
        drop(good);
        assert!(second.is_good(), "the seat is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_are_judged_the_next_waits_for_a_verdict() {
        let doorstep = Doorstep::new(1);
        let mut judged = Vec::new();
        for _ in 0..STANDING {
            let place = doorstep.enter().await;
            place.is_judged();
            judged.push(place);
        }
        let next = tokio::time::timeout(Duration::from_secs(60), doorstep.enter()).await;
        next.expect_err("all are being judged");
        let verdict = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            judged[3].is_refused();
        };
        let (_next, ()) = tokio::join!(doorstep.enter(), verdict);
        assert!(is_over(&judged[3]).await, "the one that was refused went");
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_left_soon() {
        let doorstep = Doorstep::new(1);
        let place = doorstep.enter().await;
        let began = Instant::now();
        place.over().await;
        assert_eq!(began.elapsed(), STANDING_TIME);
    }
}
