//! A service that allocates and frees, and what its resident memory does at each memory level.
//!
//! A process of its own, because what is measured is the process. With the feature `jemalloc` its allocator is jemalloc.

#[path = "it/client.rs"]
#[expect(dead_code, reason = "it is made for the other tests, which need more")]
mod client;

use client::Calls as _;
use serde_json::json;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use trimtab_host::host::{Host, HostHandle};
use trimtab_host::memory::{Memory, MemoryLevel};
use trimtab_sys::clock::boot_ns;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: trimtab_host::memory::Jemalloc = trimtab_host::memory::Jemalloc;

/// A hang guard, never a measure.
const LONG: Duration = Duration::from_secs(60);

/// The size of what the service allocates in a rush: pieces far below the size that allocators map on their own.
const PIECES: usize = 30_000;
const PIECE_BYTES: usize = 4_000;
const RUSH_BYTES: u64 = 120_000_000;

/// Threads that have allocated in a rush and freed all but a few pieces, which pin the ends of the heaps. They live on, as
/// those of a service do: an allocator may give back what a thread leaves behind when it ends.
struct Rush(Vec<Sender<()>>);

impl Rush {
    fn new() -> Self {
        let threads = (0..3).map(|_| {
            let (done, freed) = channel();
            let (end, ended) = channel::<()>();
            std::thread::spawn(move || {
                let mut pieces: Vec<Vec<u8>> =
                    (0..PIECES / 3).map(|_| vec![1; PIECE_BYTES]).collect();
                pieces.drain(..pieces.len() - 8);
                done.send(()).expect("somebody waits");
                ended.recv().unwrap_or_default();
                drop(pieces);
            });
            freed.recv().expect("no panic");
            end
        });
        Self(threads.collect())
    }
}

fn resident_bytes(host: &HostHandle) -> u64 {
    host.state().process.rss_bytes.expect("it can be read")
}

fn set_level(host: &HostHandle, level: MemoryLevel) {
    let state = host.state();
    let body = json!({
        "instance": state.instance,
        "epoch": state.epoch,
        "generation": state.generation.next(),
        "pool": "process",
        "base_revision": state.pools["process"].revision,
        "trial_ms": 600_000,
        "set": { "memory_level": level.word() },
        "reason": "a test",
    });
    let reply = host.sidecar("POST", "/changes", &body);
    assert_eq!(reply.status, 200, "{reply:?}");
    let path = format!("/changes/{}/confirm", state.generation.next());
    let body = json!({ "instance": state.instance, "epoch": state.epoch, "pool": "process" });
    let reply = host.sidecar("POST", &path, &body);
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[track_caller]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let ends_ns = boot_ns() + 60_000_000_000;
    while !is_so() {
        assert!(boot_ns() < ends_ns, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn aggressive_gives_back_what_a_rush_left_behind_and_keeps_doing_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let memory = Memory::detect().expect("an allocator that can be told");
    let uses_jemalloc = cfg!(feature = "jemalloc");
    assert_eq!(memory.allocator() == "jemalloc", uses_jemalloc);
    let host = Host::builder("rush")
        .socket_dir(dir.path())
        .part(Arc::new(memory))
        .start()
        .expect("it starts");
    assert_eq!(host.lease("tester", 60_000).status, 200);

    let before = resident_bytes(&host);
    let first = Rush::new();
    let after = resident_bytes(&host);
    assert!(
        after - before > RUSH_BYTES * 9 / 10,
        "the allocator keeps it: {before} to {after}"
    );
    set_level(&host, MemoryLevel::Aggressive);
    let given_back = |host: &HostHandle| resident_bytes(host) < before + (after - before) / 10;
    wait_for("nine tenths are given back", || given_back(&host));
    wait_for("it is in force", || !host.state().pools["process"].settling);

    // The next rush is given back without another word.
    let second = Rush::new();
    wait_for("the next rush is given back too", || given_back(&host));
    set_level(&host, MemoryLevel::Conservative);
    drop((first.0, second.0));
}
