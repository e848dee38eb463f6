//! Processes that wait, end, become another program, or have very many threads.

use crate::targets::{Target, c, can_sample, folded, installed, rust, sees_kernel, share};
use std::process::Command;
use trimtab_flame::ask::Shot;
use trimtab_flame::{Kind, shoot};

/// Waits nine tenths of the time, in a function of its own.
pub(crate) const WAITING: &str = r#"
#[inline(never)] fn wait_for_mail() { std::thread::sleep(std::time::Duration::from_millis(45)); std::hint::black_box(()); }
#[inline(never)] fn sort_mail() { let end = std::time::Instant::now() + std::time::Duration::from_millis(5); while std::time::Instant::now() < end {} }
fn main() { println!("under way"); loop { wait_for_mail(); sort_mail(); } }
"#;

#[test]
fn time_off_the_cpu_is_told_with_the_stack_that_waits() {
    if !sees_kernel("time_off_the_cpu_is_told_with_the_stack_that_waits") {
        return;
    }
    let Some(target) = rust(WAITING, &[]) else {
        return;
    };
    let (named, lines) = folded(
        &Shot {
            kind: Kind::Offcpu,
            ..Shot::of(target.pid())
        },
        2_000,
    );
    println!("{}", named.quality);
    // Where the machine is busy, whoever works is kept off the CPU too, and that is told with its own stack.
    let waits: Vec<(String, u64)> = lines
        .iter()
        .filter(|(stack, _)| !stack.contains("sort_mail"))
        .cloned()
        .collect();
    assert!(share(&waits, "wait_for_mail") > 80.0, "{lines:#?}");
    let (_, lines) = folded(
        &Shot {
            kind: Kind::Wall,
            ..Shot::of(target.pid())
        },
        2_000,
    );
    assert!(
        share(&lines, "wait_for_mail") > 10.0 && share(&lines, "sort_mail") > 2.0,
        "{lines:#?}"
    );
}

#[test]
fn an_idle_process_and_one_that_ends_give_a_graph() {
    if !can_sample("an_idle_process_and_one_that_ends_give_a_graph") {
        return;
    }
    let mut idle = Command::new("sleep").arg("60").spawn().unwrap();
    let (named, svg) = shoot(&Shot::of(idle.id()), 300).unwrap();
    assert_eq!(named.quality.samples, 0);
    assert!(String::from_utf8(svg).unwrap().contains("No samples"));
    idle.kill().unwrap();
    idle.wait().unwrap();
    let mut short = Command::new("sleep").arg("0.3").spawn().unwrap();
    let (named, _) = shoot(&Shot::of(short.id()), 60_000).unwrap();
    assert!(named.quality.window_ms < 60_000, "it ends with the process");
    short.wait().unwrap();
}

#[test]
fn a_process_that_becomes_another_program_is_followed() {
    if !can_sample("a_process_that_becomes_another_program_is_followed") {
        return;
    }
    let script = "echo under way; i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; exec sha256sum /dev/zero";
    let target = Target::start(Command::new("sh").args(["-c", script]), None);
    let (named, lines) = folded(
        &Shot {
            hz: 499,
            ..Shot::of(target.pid())
        },
        3_000,
    );
    println!("{}", named.quality);
    assert!(share(&lines, "sha256sum") > 20.0, "{lines:#?}");
    assert!(share(&lines, "[nowhere]") < 2.0, "{lines:#?}");
}

/// A thousand threads, of which each works now and then. A thread that uses less CPU time than passes between two samples is
/// not seen by a counter of its own.
pub(crate) const CROWD: &str = r#"
fn main() {
    for n in 0..1000u64 { std::thread::Builder::new().stack_size(65536).spawn(move || { let mut x = n; loop {
        for _ in 0..300_000 { x = std::hint::black_box(x.wrapping_mul(31)); }
        std::thread::sleep(std::time::Duration::from_millis(200)); } }).unwrap(); }
    println!("under way"); std::thread::park(); }
"#;

#[test]
fn a_thousand_threads_are_all_counted() {
    if !can_sample("a_thousand_threads_are_all_counted") {
        return;
    }
    let Some(target) = rust(CROWD, &[]) else {
        return;
    };
    let (named, lines) = folded(
        &Shot {
            hz: 997,
            ..Shot::of(target.pid())
        },
        2_000,
    );
    println!("{}", named.quality);
    assert!(
        named
            .quality
            .unseen
            .iter()
            .all(|sentence| !sentence.contains("threads")),
        "{:?}",
        named.quality
    );
    assert!(
        !lines.is_empty() && named.quality.complete_percent() > 99.0,
        "{}",
        named.quality
    );
}

/// A parent that starts two children, which work.
pub(crate) const FAMILY: &str = r#"
#include <stdio.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <signal.h>
static volatile unsigned long sink;
__attribute__((noinline)) static void serve(void) { for (;;) sink = sink * 31 + 7; }
int main(void) {
    for (int i = 0; i < 2; i++) if (fork() == 0) { prctl(PR_SET_PDEATHSIG, SIGKILL); serve(); }
    puts("under way"); fflush(stdout); pause(); return 0; }
"#;

#[test]
fn processes_that_a_process_began_are_shown_beside_it() {
    if !can_sample("processes_that_a_process_began_are_shown_beside_it") {
        return;
    }
    let Some(target) = c(FAMILY, &["-O2"]) else {
        return;
    };
    let (named, lines) = folded(
        &Shot {
            hz: 499,
            ..Shot::of(target.pid())
        },
        1_500,
    );
    println!("{}", named.quality);
    assert!(share(&lines, "serve") > 95.0, "{lines:#?}");
    let children: std::collections::BTreeSet<&str> = lines
        .iter()
        .filter_map(|(stack, _)| stack.split(';').next())
        .collect();
    assert_eq!(children.len(), 2, "each by its number: {children:?}");
}

#[test]
fn code_that_node_made_has_the_names_it_wrote_down() {
    if !can_sample("code_that_node_made_has_the_names_it_wrote_down") || installed("node").is_none()
    {
        return;
    }
    let script = "console.log('under way'); function countWords(n) { let s = 0; for (let i = 0; i < n; i++) s = (s * 31 + i) | 0; return s; } \
                  function forever() { for (;;) countWords(1e7); } forever();";
    // Node writes a file of its own where it stands.
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("node");
    command
        .args(["--perf-basic-prof", "-e", script])
        .current_dir(directory.path());
    let target = Target::start(&mut command, Some(directory));
    let (named, lines) = folded(
        &Shot {
            hz: 499,
            ..Shot::of(target.pid())
        },
        2_000,
    );
    println!("{}", named.quality);
    drop(std::fs::remove_file(format!(
        "/tmp/perf-{}.map",
        target.pid()
    )));
    assert!(share(&lines, "countWords") > 80.0, "{lines:#?}");
}

#[test]
fn functions_of_python_have_the_names_it_wrote_down_and_their_callers() {
    let test = "functions_of_python_have_the_names_it_wrote_down_and_their_callers";
    if !can_sample(test) || installed("python3").is_none() {
        return;
    }
    let asked = "import sys; sys.exit(sys.version_info < (3, 12))";
    let knows_perf = Command::new("python3").args(["-c", asked]).status();
    if !knows_perf.unwrap().success() {
        println!("skipped: {test}: this python3 is older than 3.12 and writes no names down");
        return;
    }
    let script = "def count_words(n):\n s = 0\n for k in range(n): s = (s * 31 + k) % 1000003\n return s\n\
                  def forever():\n while True: count_words(100000)\nprint('under way', flush=True)\nforever()";
    let mut command = Command::new("python3");
    command.args(["-X", "perf", "-c", script]);
    let target = Target::start(&mut command, None);
    let shot = Shot {
        hz: 499,
        ..Shot::of(target.pid())
    };
    let (named, lines) = folded(&shot, 2_000);
    println!("{}", named.quality);
    drop(std::fs::remove_file(format!(
        "/tmp/perf-{}.map",
        target.pid()
    )));
    assert!(share(&lines, "py::count_words") > 80.0, "{lines:#?}");
    let called = lines.into_iter().map(|(stack, count)| {
        let at = stack.find("py::count_words").unwrap_or(0);
        (stack[..at].to_owned(), count)
    });
    let callers: Vec<(String, u64)> = called.collect();
    assert!(share(&callers, "py::forever") > 80.0, "{callers:#?}");
}
