//! What stands on pictures.

use super::*;
use crate::format::Format;

/// Samples of two threads, one of which has some that end early.
fn profile(kind: Kind) -> Profile {
    let mut profile = Profile {
        kind,
        ..Profile::default()
    };
    let stacks = &mut profile.stacks;
    let [main, mail, cut, lost, work] =
        ["main", "mail", CUT_OFF, CALLERS_NOT_FOUND, "work"].map(|text| stacks.text_id(text));
    let [main, mail] = [(1, main), (2, mail)].map(|(tid, name)| Frame::Thread { tid, name });
    let counted = [
        (vec![main, Frame::Text(work)], 60),
        (vec![mail, Frame::Text(work)], 10),
        (vec![mail, Frame::Nowhere], 5),
        (vec![mail, Frame::Text(cut), Frame::Text(work)], 3),
        (vec![mail, Frame::Text(lost), Frame::Text(work)], 2),
    ];
    for (calls, samples) in counted {
        let stack = profile.stacks.intern(calls).expect("it has calls");
        if kind == Kind::Cpu {
            profile.counts.insert(stack, samples);
        } else {
            profile.counts.insert(stack, samples * 1_000);
            profile.hits.insert(stack, samples);
        }
    }
    profile.quality = Quality {
        samples: 80,
        complete: 75,
        truncated: 3,
        broken: 2,
        threads: 2,
        window_ms: 10_000,
        ..Quality::default()
    };
    profile
}

fn shown(taken: &Taken, thread: Option<&str>) -> Named {
    let shot = Shot {
        thread: thread.map(str::to_owned),
        ..Shot::of(1)
    };
    name(taken, &shot, &mut Namer::new(Modules::default()))
}

/// Samples, and of these the complete, cut off, broken and nameless ones; and the threads.
fn numbers(quality: &Quality) -> [u64; 6] {
    [
        quality.samples,
        quality.complete,
        quality.truncated,
        quality.broken,
        quality.unknown,
        quality.threads,
    ]
}

#[test]
fn a_threads_picture_has_that_threads_numbers() {
    for kind in Kind::ALL {
        let taken = Taken::Stacks(profile(kind));
        let told = |thread| numbers(&shown(&taken, thread).quality);
        assert_eq!(told(None), [80, 75, 3, 2, 5, 2], "{kind}");
        for mail in ["mail", "2"] {
            assert_eq!(told(Some(mail)), [20, 15, 3, 2, 5, 1], "{kind}");
        }
        assert_eq!(told(Some("main")), [60, 60, 0, 0, 0, 1], "{kind}");
        assert_eq!(told(Some("nobody")), [0; 6], "{kind}");
    }
    let svg = shown(&Taken::Stacks(profile(Kind::Cpu)), Some("mail"));
    let svg = svg
        .write(View::Flame, Format::Svg)
        .expect("it can be drawn");
    let svg = String::from_utf8(svg).expect("it is text");
    assert!(
        svg.contains("(20 samples, 100%)") && svg.contains("20 samples, 75.0 % complete"),
        "{svg}"
    );
}

#[test]
fn whose_samples_got_lost_is_said_not_to_be_known() {
    let mut profile = profile(Kind::Cpu);
    profile.quality.lost = 4;
    let taken = Taken::Stacks(profile);
    assert!(shown(&taken, None).quality.unseen.is_empty());
    let quality = shown(&taken, Some("mail")).quality;
    assert!(
        quality.lost == 4 && quality.unseen[0].contains("got lost"),
        "{quality}"
    );
}

#[test]
fn of_what_has_names_already_a_thread_has_its_part() {
    let text = "main;work 60000\nmail;work 15000\nmail;[callers not found];work 5000";
    let tree = Tree::of_folded(text).expect("it is folded");
    let quality = Quality {
        samples: 84,
        complete: 75,
        broken: 5,
        lost: 4,
        ..Quality::default()
    };
    let taken = Taken::Named(tree, Kind::Wall, quality);
    assert_eq!(
        numbers(&shown(&taken, Some("mail")).quality),
        [20, 15, 0, 5, 0, 0]
    );
}

#[test]
fn what_a_host_says_of_itself_has_its_samples_and_its_rate() {
    let foreign = Foreign {
        tree: Tree::of_folded("main.main;main.work 5\nmain.main 2").expect("it is folded"),
        kind: Some(Kind::Cpu),
        hz: 100,
    };
    let named = shown(&told_by_itself(foreign, 1_000), None);
    let written = |format| named.write(View::Flame, format).expect("it can be written");
    let svg = String::from_utf8(written(Format::Svg)).expect("it is text");
    assert!(
        svg.contains("(7 samples, 100%)") && svg.contains(">7 samples, "),
        "{svg}"
    );
    assert!(svg.contains("at 100 Hz"), "{svg}");
    let read = crate::format::read_pprof(&written(Format::Pprof)).expect("it is a profile");
    assert_eq!(
        read.tree.folded(false),
        ["main.main 2", "main.main;main.work 5"]
    );
    assert_eq!(read.hz, 100);
}
