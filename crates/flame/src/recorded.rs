//! Samples that were recorded once, so that unwinding, naming and drawing are tested where the kernel gives no samples too.
//!
//! The recording is of `tests/recorded/tiny`, on x86-64: each sample's length in four bytes, then its body.

use crate::draw::View;
use crate::format::{Format, Named};
use crate::kind::Kind;
use crate::module::Modules;
use crate::names::Namer;
use crate::record::Record;
use crate::session::{Session, setup};
use crate::space::{Cache, End, Place, Space};
use crate::stacks::{Counts, Frame, Stacks};
use crate::tree::Tree;
use std::path::{Path, PathBuf};
use std::process::Command;
use trimtab_sys::perf::Event;
use trimtab_sys::perf::ring::RawRecord;

/// `PERF_RECORD_SAMPLE`.
const SAMPLE: u32 = 9;
/// How many samples the recording has.
const SAMPLES: usize = 40;

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/recorded")
        .join(name)
}

/// Writes the recording anew, when that is asked for.
fn record() {
    if std::env::var_os("TRIMTAB_RECORD").is_none() {
        return;
    }
    let mut child = Command::new(place("tiny"))
        .spawn()
        .expect("it can be started");
    let session = Session::of_processes(
        &[child.id()],
        setup(Event::CpuClock { hz: 499 }, 1_024, false),
    );
    let mut session = session.expect("the kernel gives samples");
    let (mut bytes, mut count) = (Vec::new(), 0);
    while count < SAMPLES {
        session.wait(None, 50).expect("it waits");
        session.drain(|raw| {
            if raw.kind == SAMPLE && count < SAMPLES {
                bytes.extend(
                    u32::try_from(raw.body.len())
                        .expect("16 bits")
                        .to_le_bytes(),
                );
                bytes.extend(raw.body);
                count += 1;
            }
        });
    }
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
    std::fs::write(place("samples.bin"), bytes).expect("it can be written");
}

#[test]
fn a_recording_is_unwound_named_and_drawn_as_it_was() {
    record();
    let bytes = std::fs::read(place("samples.bin")).expect("it is in the tree");
    let modules = Modules::default();
    let program = place("tiny");
    let mut space = Space::read(u32::MAX, &modules);
    let path = program.to_str().expect("it is text");
    space.map((0x40_1000, 0x40_2000), 0x1000, path, &modules);
    let (mut stacks, mut counts, mut cache, mut calls) = (
        Stacks::default(),
        Counts::default(),
        Cache::new(),
        Vec::new(),
    );
    let mut rest = &bytes[..];
    let mut samples = 0;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).expect("64 bits");
        let (body, after) = after.split_at(length);
        rest = after;
        let Record::Sample(sample) = Record::parse(RawRecord {
            kind: SAMPLE,
            misc: 0,
            body,
        }) else {
            panic!("it is a sample");
        };
        let unwound = space.unwind(&sample, &mut cache, &mut calls);
        assert_eq!(unwound.end, End::Complete);
        let copied = u64::try_from(sample.stack.len()).expect("64 bits");
        assert!((8..=copied).contains(&unwound.used), "{unwound:?}");
        let frames = calls.iter().rev().map(|(call, place)| match *place {
            Place::File(module, offset) => Frame::Code { module, offset },
            other => panic!("{call:x} is {other:?}"),
        });
        let stack = stacks.intern(frames).expect("it has calls");
        *counts.entry(stack).or_default() += 1;
        samples += 1;
    }
    assert_eq!(samples, SAMPLES);
    let names = Namer::new(modules).name(&stacks, false);
    let tree = Tree::of_stacks(&stacks, &counts, &names, None);
    let lines = tree.folded(false);
    let spinning: u64 = lines
        .iter()
        .filter_map(|line| line.strip_prefix("_start;entry;outer;inner;spin "))
        .map(|count| count.parse::<u64>().expect("a number"))
        .sum();
    assert!(spinning >= 38, "{lines:#?}");
    let named = Named {
        title: "tiny".to_owned(),
        kind: Kind::Cpu,
        tree,
        ..Named::default()
    };
    let svg = named
        .write(View::Flame, Format::Svg)
        .expect("it can be drawn");
    assert!(
        String::from_utf8(svg)
            .expect("it is text")
            .contains("<title>inner (")
    );
}
