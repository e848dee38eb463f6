use super::*;
use crate::knob::{Applied, Knob};
use proptest::prelude::*;
use std::io::Write as _;

fn buffers(objects: u64) -> ObjectPool<Vec<u8>> {
    ObjectPool::builder("buffers", Vec::new)
        .objects(objects, 0..=1_000)
        .bytes_max(1_000)
        .build()
        .unwrap()
}

fn knob<T: Reusable>(pool: &ObjectPool<T>, name: &str) -> Arc<dyn Knob> {
    let knobs = pool.knobs();
    let found = knobs.iter().find(|knob| knob.spec.name.as_str() == name);
    Arc::clone(&found.unwrap().knob)
}

fn named(pool: &ObjectPool<Vec<u8>>, name: &str) -> u64 {
    pool.figures(0).gauges.named[name]
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn what_comes_back_is_used_again_without_what_it_held() {
    let pool = buffers(4);
    let mut first = pool.take();
    first.extend_from_slice(b"a secret");
    let place = first.as_ptr();
    drop(first);
    let second = pool.take();
    assert!(second.is_empty());
    assert_eq!(second.as_ptr(), place);
    assert_eq!(named(&pool, "object_pool_hits"), 1);
    assert_eq!(named(&pool, "object_pool_misses"), 1);
}

#[test]
fn no_more_is_kept_than_the_limit_says() {
    let pool = buffers(2);
    let taken: Vec<_> = (0..5).map(|_| pool.take()).collect();
    drop(taken);
    assert_eq!(pool.kept(), 2);
}

#[test]
fn an_object_that_has_grown_too_large_is_dropped() {
    let pool = buffers(4);
    pool.take().reserve(1_001);
    assert_eq!((pool.kept(), named(&pool, "object_pool_spoilt")), (0, 1));
}

#[test]
fn an_object_whose_user_panicked_is_dropped() {
    let pool = buffers(4);
    drop(pool.take());
    let user = pool.clone();
    let ended = std::thread::spawn(move || {
        let mut object = user.take();
        object.push(1);
        panic!("on purpose");
    });
    assert!(ended.join().is_err());
    assert_eq!((pool.kept(), named(&pool, "object_pool_spoilt")), (0, 1));
}

/// Cannot be wiped.
struct Stubborn;

impl Reusable for Stubborn {
    fn wipe(&mut self) {
        panic!("on purpose");
    }

    fn held_bytes(&self) -> usize {
        0
    }
}

#[test]
fn an_object_that_cannot_be_wiped_is_dropped() {
    let pool = ObjectPool::builder("stubborn", || Stubborn)
        .build()
        .unwrap();
    drop(pool.take());
    assert_eq!(pool.kept(), 0);
}

#[test]
fn an_object_that_was_taken_out_does_not_come_back() {
    let pool = buffers(4);
    let mut object = pool.take();
    object.push(7);
    assert_eq!(object.into_inner(), [7]);
    assert_eq!(pool.kept(), 0);
}

#[test]
fn frozen_bytes_bring_their_buffer_back_with_the_last_copy() {
    let pool = buffers(4);
    let mut object = pool.take();
    write!(object, "page").unwrap();
    let (bytes, copy) = {
        let bytes = object.freeze();
        (bytes.slice(1..3), bytes)
    };
    drop(copy);
    assert_eq!((&bytes[..], pool.kept()), (&b"ag"[..], 0));
    drop(bytes);
    assert_eq!(pool.kept(), 1);
}

#[tokio::test]
async fn a_lower_limit_drops_at_once_what_is_above_it() {
    let pool = buffers(10);
    let taken: Vec<_> = (0..8).map(|_| pool.take()).collect();
    drop(taken);
    assert_eq!(pool.kept(), 8);
    let size = knob(&pool, "object_pool");
    assert_eq!(size.apply(&3.into()).await, Applied::Done);
    assert_eq!(pool.kept(), 3);
    assert_eq!(size.read().await.unwrap().effective, 3.into());
    assert!(matches!(
        size.apply(&1_001.into()).await,
        Applied::Refused(_)
    ));
}

#[tokio::test]
async fn a_cleanup_drops_what_nobody_needed_since_the_last() {
    let pool = buffers(100);
    let taken: Vec<_> = (0..10).map(|_| pool.take()).collect();
    drop(taken);
    assert_eq!(pool.upkeep(SECOND), Some(301 * SECOND));
    // Four at a time are needed from now on.
    let taken: Vec<_> = (0..4).map(|_| pool.take()).collect();
    drop(taken);
    assert_eq!(pool.upkeep(300 * SECOND), Some(301 * SECOND));
    assert_eq!(pool.kept(), 10, "it is not time yet");
    assert_eq!(pool.upkeep(301 * SECOND), Some(601 * SECOND));
    assert_eq!(pool.kept(), 4);
    let cleanup = knob(&pool, "cleanup");
    assert_eq!(cleanup.apply(&20_000.into()).await, Applied::Done);
    assert_eq!(pool.upkeep(321 * SECOND), Some(341 * SECOND));
    assert_eq!(pool.kept(), 0, "nobody needed any in those 20 s");
}

#[test]
fn many_threads_lose_nothing_and_share_nothing() {
    let pool = buffers(16);
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            let pool = pool.clone();
            scope.spawn(move || {
                for _ in 0..2_000 {
                    let mut object = pool.take();
                    assert!(object.is_empty());
                    object.push(thread);
                    assert_eq!(object[..], [thread]);
                }
            });
        }
    });
    assert!(pool.kept() <= 16);
    let on_shelves: usize = pool
        .inner
        .shelves
        .iter()
        .map(|shelf| shelf.0.lock().unwrap().len())
        .sum();
    assert_eq!(u64::try_from(on_shelves).unwrap(), pool.kept());
    let (hits, misses) = (
        named(&pool, "object_pool_hits"),
        named(&pool, "object_pool_misses"),
    );
    assert_eq!(hits + misses, 16_000);
}

#[test]
fn a_pool_that_cannot_be_is_refused() {
    let named = |name: &str| ObjectPool::builder(name, String::new);
    assert!(matches!(named("a b").build(), Err(BuildError::Name(_))));
    let small = named("a").cleanup_ms(10, 10..=20).build();
    assert!(matches!(small, Err(BuildError::Bounds { .. })));
    let outside = named("a").objects(0, 1..=2).build();
    assert!(matches!(outside, Err(BuildError::Baseline { .. })));
}

proptest! {
    #[test]
    fn whatever_is_done_the_limit_holds_and_what_is_taken_is_empty(steps in prop::collection::vec(0_u8..5, 1..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let pool = buffers(8);
        let size = knob(&pool, "object_pool");
        let (mut taken, mut now_ns, mut limit) = (Vec::new(), SECOND, 8);
        for step in steps {
            match step {
                0 | 1 => {
                    let mut object = pool.take();
                    prop_assert!(object.is_empty());
                    object.push(1);
                    taken.push(object);
                }
                2 => drop(taken.pop()),
                3 => {
                    limit = (limit * 7 + 3) % 11;
                    runtime.block_on(size.apply(&limit.into()));
                }
                _ => {
                    now_ns += 200 * SECOND;
                    pool.upkeep(now_ns);
                }
            }
            prop_assert!(pool.kept() <= limit);
        }
    }
}
