//! The formats of two viewers that run in a browser.

use crate::kind::Kind;
use crate::quality::Quality;
use crate::tree::Tree;
use fxprof_processed_profile::{
    CategoryHandle, CpuDelta, Frame, FrameFlags, FrameInfo, Profile, ReferenceTimestamp,
    SamplingInterval, Timestamp, WeightType,
};
use serde_json::json;
use std::collections::HashMap;
use std::io;

/// What speedscope reads: stacks as lists of frames, with weights.
pub(super) fn speedscope(tree: &Tree, title: &str, kind: Kind) -> io::Result<Vec<u8>> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let (mut frames, mut samples, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    tree.each_stack(|calls, [count, _]| {
        let stack: Vec<usize> = calls
            .iter()
            .map(|call| {
                *places.entry((*call).to_owned()).or_insert_with(|| {
                    frames.push(json!({ "name": call }));
                    frames.len() - 1
                })
            })
            .collect();
        samples.push(stack);
        weights.push(count);
    });
    let end: u64 = weights.iter().sum();
    let unit = match kind {
        Kind::Cpu => "none",
        Kind::Offcpu | Kind::Wall => "microseconds",
    };
    let profile = json!({
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": concat!("trimtab ", env!("CARGO_PKG_VERSION")),
        "name": title,
        "shared": { "frames": frames },
        "profiles": [{
            "type": "sampled", "name": title, "unit": unit, "startValue": 0, "endValue": end,
            "samples": samples, "weights": weights,
        }],
    });
    Ok(serde_json::to_vec(&profile)?)
}

/// What the Firefox profiler reads. Each stack is one sample with its weight; their order in time is not kept. A weight has 31
/// bits there, so where one would not fit all are told in a coarser unit, and the time between two samples is as much longer.
pub(super) fn firefox(
    tree: &Tree,
    title: &str,
    kind: Kind,
    quality: &Quality,
) -> io::Result<Vec<u8>> {
    let one_ns = match kind {
        Kind::Cpu => 1_000_000_000 / u64::from(quality.hz.max(1)),
        Kind::Offcpu | Kind::Wall => 1_000,
    };
    let mut unit = 1;
    tree.each_stack(|_, [count, _]| {
        while i32::try_from(rounded(count, unit)).is_err() {
            unit *= 10;
        }
    });
    let interval = SamplingInterval::from_nanos(one_ns * unit);
    let start = Timestamp::from_nanos_since_reference(0);
    let mut profile = Profile::new(
        title,
        ReferenceTimestamp::from_millis_since_unix_epoch(0.0),
        interval,
    );
    let process = profile.add_process(title, 1, start);
    let thread = profile.add_thread(process, 1, start, true);
    profile.set_thread_name(thread, title);
    profile.set_thread_samples_weight_type(thread, WeightType::Samples);
    let mut at_ns = 0_u64;
    tree.each_stack(|calls, [count, _]| {
        let frames: Vec<FrameInfo> = calls
            .iter()
            .map(|call| FrameInfo {
                frame: Frame::Label(profile.intern_string(call)),
                category_pair: CategoryHandle::OTHER.into(),
                flags: FrameFlags::empty(),
            })
            .collect();
        let stack = profile.intern_stack_frames(thread, frames.into_iter());
        let weight = i32::try_from(rounded(count, unit)).unwrap_or(i32::MAX);
        profile.add_sample(
            thread,
            Timestamp::from_nanos_since_reference(at_ns),
            stack,
            CpuDelta::ZERO,
            weight,
        );
        at_ns = at_ns.saturating_add(count.saturating_mul(one_ns));
    });
    Ok(serde_json::to_vec(&profile)?)
}

/// A count in a coarser unit, to the nearest whole one; nothing that was counted is told as nothing.
fn rounded(count: u64, unit: u64) -> u64 {
    (count.saturating_add(unit / 2) / unit).max(u64::from(count > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn tree() -> Tree {
        Tree::of_folded("main;a 6\nmain;b 3").expect("it is folded")
    }

    #[test]
    fn speedscope_gets_each_stack_with_its_weight() {
        let bytes = speedscope(&tree(), "shop", Kind::Cpu).expect("it can be written");
        let value: Value = serde_json::from_slice(&bytes).expect("it is JSON");
        assert_eq!(
            value["shared"]["frames"],
            json!([{ "name": "main" }, { "name": "a" }, { "name": "b" }])
        );
        let profile = &value["profiles"][0];
        assert_eq!(
            (&profile["samples"], &profile["weights"]),
            (&json!([[0, 1], [0, 2]]), &json!([6, 3]))
        );
        assert_eq!(profile["endValue"], 9);
    }

    #[test]
    fn firefox_gets_each_stack_with_its_weight() {
        let quality = Quality {
            hz: 100,
            ..Quality::default()
        };
        let bytes = firefox(&tree(), "shop", Kind::Cpu, &quality).expect("it can be written");
        let value: Value = serde_json::from_slice(&bytes).expect("it is JSON");
        assert_eq!(value["threads"][0]["samples"]["weight"], json!([6, 3]));
        assert_eq!(value["meta"]["interval"], 10.0);
    }

    #[test]
    fn firefox_gets_long_times_in_a_coarser_unit() {
        // An hour of fifty threads that wait, and a moment.
        let tree = Tree::of_folded("main;a 180000000000\nmain;b 90000000000\nmain;c 7")
            .expect("it is folded");
        let quality = Quality::default();
        let bytes = firefox(&tree, "shop", Kind::Wall, &quality).expect("it can be written");
        let value: Value = serde_json::from_slice(&bytes).expect("it is JSON");
        let samples = &value["threads"][0]["samples"];
        assert_eq!(samples["weight"], json!([1_800_000_000, 900_000_000, 1]));
        assert_eq!(
            value["meta"]["interval"], 0.1,
            "in milliseconds, for microseconds times a hundred"
        );
    }
}
