//! The desk over a pipe that a test writes and reads.

use super::*;
use crate::ask::Remembered;
use crate::draw::View;
use crate::format::Format;
use std::io::{BufReader, Read, pipe};
use std::process::{Child, Command, Stdio};

/// A desk and both ends of the way to it.
struct Visitor {
    input: io::PipeWriter,
    output: BufReader<io::PipeReader>,
    desk: Option<thread::JoinHandle<io::Result<()>>>,
}

impl Visitor {
    fn new() -> Self {
        let (read, input) = pipe().expect("a pipe");
        let (output, write) = pipe().expect("a pipe");
        let desk = thread::spawn(move || {
            Desk::new(Box::new(write), true).serve(&mut BufReader::new(read))
        });
        Self {
            input,
            output: BufReader::new(output),
            desk: Some(desk),
        }
    }

    fn ask(&mut self, id: u64, ask: Ask) {
        let line = serde_json::to_string(&Request { id, ask }).expect("it can be written");
        writeln!(self.input, "{line}").expect("the desk listens");
    }

    fn hear(&mut self) -> (Answer, Vec<u8>) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the desk answers");
        let answer: Answer = serde_json::from_str(&line).expect("it is an answer");
        let mut bytes = vec![0; answer.bytes];
        self.output.read_exact(&mut bytes).expect("all of it comes");
        (answer, bytes)
    }
}

/// A process that sleeps until it is dropped.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Self {
        Self(
            Command::new("sleep")
                .arg("60")
                .stdin(Stdio::null())
                .spawn()
                .expect("sleep can be started"),
        )
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0
            .kill()
            .and_then(|()| self.0.wait())
            .expect("it is ours");
    }
}

#[test]
fn an_idle_process_gets_a_graph_that_says_so_and_two_who_ask_share_it() {
    let sleeper = Sleeper::new();
    let mut visitor = Visitor::new();
    let shot = Shot::of(sleeper.0.id());
    visitor.ask(
        1,
        Ask::Next {
            shot: shot.clone(),
            window_ms: 700,
        },
    );
    visitor.ask(
        2,
        Ask::Next {
            shot: Shot {
                format: Format::Folded,
                ..shot.clone()
            },
            window_ms: 700,
        },
    );
    visitor.ask(
        3,
        Ask::Next {
            shot,
            window_ms: 800,
        },
    );
    let (busy, _) = visitor.hear();
    assert_eq!(
        busy,
        Answer {
            id: 3,
            outcome: Outcome::Busy { retry_after_s: 1 },
            bytes: 0
        }
    );
    let (first, svg) = visitor.hear();
    let (second, folded) = visitor.hear();
    assert_eq!((first.id, second.id), (1, 2));
    let svg = String::from_utf8(svg).expect("it is text");
    assert!(svg.contains("No samples"), "{svg}");
    assert_eq!(folded, b"\n");
    visitor.ask(4, Ask::Quality);
    let Outcome::Quality { recent } = visitor.hear().0.outcome else {
        panic!("it was asked for")
    };
    assert_eq!(recent.len(), 2);
}

#[test]
fn whoever_is_not_there_is_not_found() {
    let mut visitor = Visitor::new();
    visitor.ask(
        1,
        Ask::Next {
            shot: Shot::of(u32::MAX),
            window_ms: 100,
        },
    );
    let Outcome::Failed { because, .. } = visitor.hear().0.outcome else {
        panic!("nobody is there")
    };
    assert_eq!(because, Because::Unknown);
    let shot = Shot {
        view: View::Icicle,
        ..Shot::of(1)
    };
    let stretch = crate::ask::Stretch {
        from_ns: 0,
        until_ns: u64::MAX,
    };
    visitor.ask(2, Ask::Past { shot, stretch });
    let Outcome::Failed { because, problem } = visitor.hear().0.outcome else {
        panic!("nothing is remembered")
    };
    assert_eq!(because, Because::Unknown);
    assert!(problem.contains("switched off"), "{problem}");
}

#[test]
fn the_desk_ends_with_its_input_and_by_nonsense() {
    let mut visitor = Visitor::new();
    let desk = visitor.desk.take().expect("it runs");
    drop(visitor);
    assert!(desk.join().expect("it ends").is_ok());
    let mut visitor = Visitor::new();
    visitor
        .input
        .write_all(b"nonsense\n")
        .expect("the desk listens");
    let desk = visitor.desk.take().expect("it runs");
    assert!(desk.join().expect("it ends").is_err());
}

#[test]
fn what_can_be_seen_is_told_with_what_is_remembered() {
    let sleeper = Sleeper::new();
    let mut visitor = Visitor::new();
    let pid = sleeper.0.id();
    visitor.ask(
        1,
        Ask::Remember {
            pid: Some(pid),
            hz: 49,
            bytes_max: 1 << 20,
        },
    );
    assert_eq!(visitor.hear().0.outcome, Outcome::Done);
    visitor.ask(
        2,
        Ask::Capabilities {
            pid,
            own_profile: None,
        },
    );
    let Outcome::Capabilities { steps, remembered } = visitor.hear().0.outcome else {
        panic!("it was asked for")
    };
    assert_eq!(steps.len(), 6);
    assert_eq!(remembered.expect("it is switched on").pid, pid);
}

#[test]
fn an_idle_process_is_remembered_as_idle() {
    if !can_sample(std::process::id()) {
        println!("skipped: perf_event_open is denied here");
        return;
    }
    let sleeper = Sleeper::new();
    let (mut visitor, pid) = (Visitor::new(), sleeper.0.id());
    visitor.ask(
        1,
        Ask::Remember {
            pid: Some(pid),
            hz: 49,
            bytes_max: 1 << 20,
        },
    );
    assert_eq!(visitor.hear().0.outcome, Outcome::Done);
    let mut remembered = || {
        visitor.ask(
            2,
            Ask::Capabilities {
                pid,
                own_profile: None,
            },
        );
        match visitor.hear().0.outcome {
            Outcome::Capabilities { remembered, .. } => remembered.expect("it is switched on"),
            other => panic!("{other:?}"),
        }
    };
    let mut wait_until = |known: &dyn Fn(&Remembered) -> bool| {
        for _ in 0..1_000 {
            let brief = remembered();
            if known(&brief) {
                return brief;
            }
            trimtab_sys::perf::wait(&[], 20).expect("it waits");
        }
        panic!("nothing is remembered: {:?}", remembered());
    };
    let brief = wait_until(&|brief| brief.until_ns > 0);
    // The first second may not be over, and it may have samples of what `sleep` did at its start; the next must have none.
    let stretch = |second: u64| crate::ask::Stretch {
        from_ns: brief.from_ns + second * 1_000_000_000,
        until_ns: brief.from_ns + (second + 1) * 1_000_000_000,
    };
    wait_until(&|brief| brief.until_ns >= stretch(1).until_ns);
    let shot = Shot::of(pid);
    visitor.ask(
        3,
        Ask::Past {
            shot: shot.clone(),
            stretch: stretch(1),
        },
    );
    let (answer, svg) = visitor.hear();
    let Outcome::Graph { quality } = answer.outcome else {
        panic!("{:?}", answer.outcome)
    };
    assert_eq!((quality.samples, quality.window_ms), (0, 1_000));
    let svg = String::from_utf8(svg).expect("it is text");
    assert!(svg.contains("No samples"), "{svg}");
    visitor.ask(
        4,
        Ask::Difference {
            shot: shot.clone(),
            before: stretch(0),
            after: stretch(1),
        },
    );
    let (answer, _) = visitor.hear();
    assert!(
        matches!(answer.outcome, Outcome::Graph { .. }),
        "{:?}",
        answer.outcome
    );
    // Nobody listens there, and nobody is asked.
    let parcel = crate::push::Parcel {
        server: "http://127.0.0.1:1".to_owned(),
        name: "idle".to_owned(),
        from_s: 1,
        until_s: 2,
        hz: 49,
    };
    visitor.ask(
        5,
        Ask::Push {
            shot,
            stretch: stretch(1),
            parcel,
        },
    );
    assert_eq!(visitor.hear().0.outcome, Outcome::Done);
}

fn can_sample(pid: u32) -> bool {
    probe(&Here, pid, None)
        .iter()
        .any(|step| step.reached && step.rung.has_native_stacks())
}

/// Works on a stack of a few hundred bytes until a line comes, and then on one of six kilobytes more.
const DEEPENS: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
static volatile unsigned long sink; static volatile int is_deep;
static void work(void) { for (int i = 0; i < 100000; i++) sink = sink * 31 + 7; }
__attribute__((noinline)) static void deep(void) { volatile char large[6000]; large[sink % sizeof large] = 1; work(); sink += large[sink % sizeof large]; }
static void *spin(void *unused) { for (;;) { if (is_deep) deep(); else work(); } return unused; }
int main(void) { pthread_t thread; pthread_create(&thread, 0, spin, 0); is_deep = getchar() == '\n'; pthread_join(thread, 0); }
"#;

#[test]
fn a_copy_shrinks_where_stacks_are_small_and_grows_with_the_first_that_it_cuts_off() {
    let directory = tempfile::tempdir().expect("a directory");
    let (source, program) = (
        directory.path().join("deepens.c"),
        directory.path().join("deepens"),
    );
    std::fs::write(&source, DEEPENS).expect("it is ours");
    let mut compiler = Command::new("gcc");
    let built = compiler
        .args(["-O2", "-pthread", "-o"])
        .arg(&program)
        .arg(&source)
        .status();
    if !built.is_ok_and(|status| status.success()) || !can_sample(std::process::id()) {
        println!("skipped: there is no gcc, or perf_event_open is denied here");
        return;
    }
    let mut target = Sleeper(
        Command::new(&program)
            .stdin(Stdio::piped())
            .spawn()
            .expect("it was built"),
    );
    let mut visitor = Visitor::new();
    let shot = Shot {
        hz: 997,
        ..Shot::of(target.0.id())
    };
    let mut look = || {
        visitor.ask(
            1,
            Ask::Next {
                shot: shot.clone(),
                window_ms: 1_000,
            },
        );
        match visitor.hear().0.outcome {
            Outcome::Graph { quality } => quality,
            other => panic!("{other:?}"),
        }
    };
    let first = look();
    assert_eq!((first.stack_bytes, first.truncated), (16_384, 0), "{first}");
    let mut known = first;
    // A machine with much else to do gives the target little time, and then it takes a few windows.
    for _ in 0..10 {
        if known.samples >= 300 {
            break;
        }
        known = look();
    }
    if known.samples < 300 {
        println!("skipped: too little time for the target ({known})");
        return;
    }
    let small = look();
    assert!(small.stack_bytes < 8_192, "{small}");
    assert_eq!((small.truncated, small.broken), (0, 0), "{small}");
    target
        .0
        .stdin
        .take()
        .expect("it is piped")
        .write_all(b"\n")
        .expect("it reads");
    let mut grown = look();
    for _ in 0..10 {
        if grown.stack_bytes == 16_384 {
            break;
        }
        grown = look();
    }
    let after = look();
    assert_eq!(
        (grown.stack_bytes, after.stack_bytes),
        (16_384, 16_384),
        "{grown}\n{after}"
    );
    assert_eq!((after.truncated, after.broken), (0, 0), "{after}");
}
