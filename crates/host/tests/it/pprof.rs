//! The profile that a service takes of itself.

use crate::{Bench, LONG};
use ::pprof::protos::{Message as _, Profile};
use flate2::read::GzDecoder;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[inline(never)]
fn burn_for_the_profile(stop: &AtomicBool) -> u64 {
    let mut sum = 1_u64;
    while !stop.load(Ordering::Relaxed) {
        sum = std::hint::black_box(sum.wrapping_mul(31));
    }
    sum
}

/// The head and the body of what is answered.
fn get(bench: &Bench, query: &str) -> (String, Vec<u8>) {
    let mut stream = UnixStream::connect(bench.host.control_socket()).expect("it listens");
    stream.set_read_timeout(Some(LONG)).expect("a hang guard");
    let request = format!(
        "GET /debug/pprof/profile{query} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it ends");
    let end = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .expect("a head");
    let body = answer.split_off(end + 4);
    (String::from_utf8_lossy(&answer).into_owned(), body)
}

#[test]
fn a_service_offers_a_profile_of_its_own_time() {
    let bench = Bench::new();
    let stop = Arc::new(AtomicBool::new(false));
    let of_thread = Arc::clone(&stop);
    let burning = std::thread::spawn(move || burn_for_the_profile(&of_thread));
    let (head, body) = get(&bench, "?seconds=1");
    stop.store(true, Ordering::Relaxed);
    burning.join().expect("it ends");
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    let mut plain = Vec::new();
    GzDecoder::new(&*body)
        .read_to_end(&mut plain)
        .expect("it is gzipped");
    let profile = Profile::decode(&*plain).expect("it is a profile");
    assert!(!profile.sample.is_empty());
    let named = |text: &String| text.contains("burn_for_the_profile");
    assert!(profile.string_table.iter().any(named));
}

#[test]
fn a_window_that_is_none_is_refused() {
    let bench = Bench::new();
    let (head, body) = get(&bench, "?seconds=61");
    assert!(head.starts_with("HTTP/1.0 400"), "{head}");
    assert!(String::from_utf8_lossy(&body).contains("1 to 60"));
}
