//! Time is attributed to where it was spent, on programs that spend it by a known rule.

use crate::targets::{Target, c, can_sample, folded, rust, share};
use trimtab_flame::Quality;
use trimtab_flame::ask::Shot;

/// Two threads that use seven milliseconds of CPU time in one function and three in another, by their own CPU clocks, so that
/// it is 70 to 30 whatever else the machine does.
pub(crate) const RUST: &str = r#"
#[repr(C)] struct Time { s: i64, ns: i64 }
unsafe extern "C" { fn clock_gettime(clock: i32, time: *mut Time) -> i32; }
fn used() -> i64 { let mut t = Time { s: 0, ns: 0 }; unsafe { clock_gettime(3, &mut t) }; t.s * 1_000_000_000 + t.ns }
#[inline(never)] fn churn(mut x: u64) -> u64 { for _ in 0..20_000 { x = std::hint::black_box(x.wrapping_mul(31).rotate_left(7) ^ 5); } x }
#[inline(never)] fn do_parse(until: i64) -> u64 { let mut x = 1; while used() < until { x = churn(x); } std::hint::black_box(x) }
#[inline(never)] fn do_sort(until: i64) -> u64 { let mut x = 2; while used() < until { x = churn(x) + 1; } std::hint::black_box(x) }
#[inline(never)] fn deep(level: u32, until: i64) -> u64 { if level == 0 { do_sort(until) } else { std::hint::black_box(deep(level - 1, until)) + 1 } }
fn work() { let mut at = used(); loop { at += 7_000_000; do_parse(at); at += 3_000_000; std::hint::black_box(deep(6, at)); } }
fn main() { let other = std::thread::Builder::new().name("second".into()).spawn(work).unwrap(); println!("under way"); work(); other.join().unwrap(); }
"#;

/// The same in C, where one function has an array on its stack that is larger than the usual copy.
pub(crate) const C: &str = r#"
#include <stdio.h>
#include <string.h>
#include <time.h>
static long used(void) { struct timespec t; clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); return t.tv_sec * 1000000000L + t.tv_nsec; }
static volatile unsigned long sink;
__attribute__((noinline)) static void churn(void) { unsigned long x = sink; for (int i = 0; i < 20000; i++) x = (x * 31) ^ 5 ^ (x >> 3); sink = x; }
__attribute__((noinline)) static void do_parse(long until) { while (used() < until) churn(); __asm__(""); }
__attribute__((noinline)) static void do_sort(long until) { char large[20000]; memset(large, (int)sink, sizeof large); sink += large[17]; while (used() < until) { churn(); sink += large[sink % sizeof large]; } __asm__(""); }
int main(void) { puts("under way"); fflush(stdout); long at = used(); for (;;) { at += 7000000; do_parse(at); at += 3000000; do_sort(at); } }
"#;

/// At this rate a few seconds have thousands of samples, whose share is uncertain by half a point.
const HZ: u32 = 997;
const WINDOW_MS: u64 = 4_000;
/// So many are enough to judge. A busy machine gives the target less time, and then it is looked at for several windows.
const SAMPLES: u64 = 1_500;
const WINDOWS_MAX: u32 = 6;
const USUAL_STACK_BYTES: u32 = 16_384;
/// A copy is doubled after three truncated samples, at most twice, and those of one wait come together.
const GREW_MAX: u64 = 8;

/// Looks at a target, and checks that nearly every stack is complete.
fn look(target: &Target) -> (Quality, Vec<(String, u64)>) {
    let (mut sum, mut all) = (Quality::default(), Vec::new());
    for _ in 0..WINDOWS_MAX {
        let shot = Shot {
            hz: HZ,
            ..Shot::of(target.pid())
        };
        let (named, lines) = folded(&shot, WINDOW_MS);
        println!("{}", named.quality);
        // Those that told that the copy was too small, before it grew, are not held against it.
        let grew = u64::from(named.quality.stack_bytes > USUAL_STACK_BYTES) * GREW_MAX;
        sum.samples += named.quality.samples - named.quality.truncated.min(grew);
        sum.complete += named.quality.complete;
        sum.stack_bytes = sum.stack_bytes.max(named.quality.stack_bytes);
        all.extend(lines);
        if sum.samples >= SAMPLES {
            break;
        }
    }
    assert!(
        sum.samples > 0 && sum.complete_percent() >= 99.5,
        "{sum:?}\n{all:#?}"
    );
    (sum, all)
}

/// Checks that the two functions have 70 and 30 parts in a hundred, within a point and what chance allows at three sigma.
fn check_split(quality: &Quality, lines: &[(String, u64)], parse: &str, sort: &str) {
    let samples = f64::from(u32::try_from(quality.samples).unwrap());
    let chance = 3.0 * (70.0 * 30.0 / samples).sqrt();
    for (call, truth) in [(parse, 70.0), (sort, 30.0)] {
        let found = share(lines, call);
        println!("{call}: {found:.2} % of {truth} %, chance {chance:.2}");
        assert!(
            (found - truth).abs() <= 1.0 + chance,
            "{call}: {found} and not {truth}\n{lines:#?}"
        );
    }
}

#[test]
fn a_rust_release_program_without_frame_pointers() {
    if !can_sample("a_rust_release_program_without_frame_pointers") {
        return;
    }
    let Some(target) = rust(RUST, &[]) else {
        return;
    };
    let (quality, lines) = look(&target);
    check_split(&quality, &lines, "do_parse", "do_sort");
    assert!(
        share(&lines, "second;") > 30.0,
        "each thread stands by its name: {lines:#?}"
    );
    let recursion = "deep;".repeat(6);
    let clean: Vec<(String, u64)> = lines
        .iter()
        .map(|(stack, count)| (stack.replace("target::", ""), *count))
        .collect();
    assert!(
        share(&clean, &recursion) > 25.0,
        "all six calls of the recursion are there: {lines:#?}"
    );
    let (_, lines) = folded(
        &Shot {
            thread: Some("second".to_owned()),
            ..Shot::of(target.pid())
        },
        500,
    );
    assert!(
        lines.iter().all(|(stack, _)| stack.starts_with("second;")),
        "{lines:#?}"
    );
}

#[test]
fn a_rust_program_with_frame_pointers() {
    if !can_sample("a_rust_program_with_frame_pointers") {
        return;
    }
    let Some(target) = rust(RUST, &["-Cforce-frame-pointers=yes"]) else {
        return;
    };
    let (quality, lines) = look(&target);
    check_split(&quality, &lines, "do_parse", "do_sort");
}

#[test]
fn a_stripped_program_is_told_apart_by_file_place_and_build_id() {
    if !can_sample("a_stripped_program_is_told_apart_by_file_place_and_build_id") {
        return;
    }
    let Some(target) = rust(RUST, &["-Cstrip=symbols", "-Clink-arg=-Wl,--build-id"]) else {
        return;
    };
    let (_, lines) = look(&target);
    assert!(share(&lines, "target+0x") > 99.0, "{lines:#?}");
    let (stack, _) = lines.iter().max_by_key(|(_, count)| *count).unwrap();
    let place = stack
        .rsplit(';')
        .find(|call| call.starts_with("target+0x"))
        .unwrap();
    assert!(
        place.ends_with(']') && place.contains(" ["),
        "with its build id: {place}"
    );
}

#[test]
fn a_c_program_with_a_large_frame_and_no_frame_pointers() {
    if !can_sample("a_c_program_with_a_large_frame_and_no_frame_pointers") {
        return;
    }
    let Some(target) = c(C, &["-O2", "-fomit-frame-pointer"]) else {
        return;
    };
    let (quality, lines) = look(&target);
    check_split(&quality, &lines, "do_parse", "do_sort");
    assert!(quality.stack_bytes > 16_384, "the copy grew: {quality:?}");
}

#[test]
fn a_c_program_with_frame_pointers() {
    if !can_sample("a_c_program_with_frame_pointers") {
        return;
    }
    let Some(target) = c(C, &["-O2", "-fno-omit-frame-pointer"]) else {
        return;
    };
    let (quality, lines) = look(&target);
    check_split(&quality, &lines, "do_parse", "do_sort");
}
