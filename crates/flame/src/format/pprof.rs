//! The format of `go tool pprof`: gzipped protocol buffers.

use crate::kind::Kind;
use crate::quality::Quality;
use crate::tree::{Side, Tree};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use pprof::protos::{Function, Line, Location, Message as _, Profile, Sample, ValueType};
use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};

/// The most that a foreign profile may unpack to.
const FOREIGN_BYTES_MAX: u64 = 64 << 20;

/// Texts, each once; the first is empty.
#[derive(Default)]
struct Texts {
    all: Vec<String>,
    known: HashMap<String, i64>,
}

impl Texts {
    fn id(&mut self, text: &str) -> i64 {
        if let Some(known) = self.known.get(text) {
            return *known;
        }
        let id = i64::try_from(self.all.len()).unwrap_or(0);
        self.all.push(text.to_owned());
        self.known.insert(text.to_owned(), id);
        id
    }

    fn value_type(&mut self, ty: &str, unit: &str) -> ValueType {
        ValueType {
            ty: self.id(ty),
            unit: self.id(unit),
        }
    }
}

/// Writes a tree.
pub(super) fn write(tree: &Tree, kind: Kind, quality: &Quality) -> io::Result<Vec<u8>> {
    let mut texts = Texts::default();
    texts.id("");
    let period = 1_000_000_000 / i64::from(quality.hz.max(1));
    let mut profile = Profile {
        sample_type: vec![
            texts.value_type("samples", "count"),
            texts.value_type(kind.word(), "nanoseconds"),
        ],
        period_type: Some(texts.value_type(kind.word(), "nanoseconds")),
        period,
        duration_nanos: i64::try_from(quality.window_ms)
            .unwrap_or(0)
            .saturating_mul(1_000_000),
        comment: vec![texts.id(&quality.to_string())],
        ..Profile::default()
    };
    let mut functions: HashMap<String, u64> = HashMap::new();
    tree.each_stack(|calls, [count, _]| {
        let mut location = |name: &&str| {
            if let Some(known) = functions.get(*name) {
                return *known;
            }
            let id = u64::try_from(functions.len()).unwrap_or(0) + 1;
            functions.insert((*name).to_owned(), id);
            let name = texts.id(name);
            // With a system name of its own nothing is left to demangle; `go tool pprof` would take all that stands in angle
            // brackets for parameters of a template and leave it out.
            profile.function.push(Function {
                id,
                name,
                ..Function::default()
            });
            let line = Line {
                function_id: id,
                line: 0,
            };
            profile.location.push(Location {
                id,
                line: vec![line],
                ..Location::default()
            });
            id
        };
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let value = match kind {
            Kind::Cpu => vec![count, count.saturating_mul(period)],
            // Of time that was measured and not sampled there is no number of samples.
            Kind::Offcpu | Kind::Wall => vec![1, count.saturating_mul(1_000)],
        };
        let location_id = calls.iter().rev().map(&mut location).collect();
        profile.sample.push(Sample {
            location_id,
            value,
            ..Sample::default()
        });
    });
    profile.string_table = texts.all;
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&profile.encode_to_vec())?;
    packed.finish()
}

/// A profile that another program wrote.
#[derive(Clone, Debug, Default)]
pub struct Foreign {
    /// Its numbers: samples where it has CPU time, microseconds where it has other time, and else whatever it counts.
    pub tree: Tree,
    /// What they count, where it says so.
    pub kind: Option<Kind>,
    /// Samples a second of CPU time; 0 where it has none or does not say.
    pub hz: u32,
}

/// What stands in a profile's samples, and how it becomes the numbers of a tree.
struct Measure {
    /// Which of a sample's values is taken.
    column: usize,
    /// A value times the first, by the second, is a number of the tree.
    ratio: (u128, u128),
    kind: Option<Kind>,
    hz: u32,
}

/// What a number of CPU time is taken for where the profile has neither samples nor a period: a millisecond.
const PERIOD_NS: u128 = 1_000_000;

impl Measure {
    /// The last of a profile's values is taken, as `go tool pprof` does; for CPU time the samples that stand beside it.
    fn of<'t>(profile: &Profile, text: &impl Fn(i64) -> &'t str) -> Self {
        let period_unit = profile
            .period_type
            .as_ref()
            .map_or("nanoseconds", |of| text(of.unit));
        let period_ns =
            u128::try_from(profile.period).unwrap_or(0) * unit_ns(period_unit).unwrap_or(0);
        let rate = |period_ns: u128| {
            let hz = (1_000_000_000 + period_ns / 2) / period_ns;
            u32::try_from(hz).unwrap_or(u32::MAX).max(1)
        };
        let hz = if period_ns == 0 { 0 } else { rate(period_ns) };
        let column = profile.sample_type.len().saturating_sub(1);
        let last = profile.sample_type.last();
        let (ty, unit) = last.map_or(("", ""), |last| (text(last.ty), text(last.unit)));
        let kind = Kind::ALL.into_iter().find(|kind| kind.word() == ty);
        let samples = profile
            .sample_type
            .iter()
            .position(|of| (text(of.ty), text(of.unit)) == ("samples", "count"));
        match (unit_ns(unit), kind, samples) {
            (Some(_), Some(Kind::Cpu), Some(column)) => Self {
                column,
                ratio: (1, 1),
                kind,
                hz,
            },
            (Some(times), Some(Kind::Cpu), None) => {
                let period_ns = if period_ns == 0 { PERIOD_NS } else { period_ns };
                Self {
                    column,
                    ratio: (times, period_ns),
                    kind,
                    hz: rate(period_ns),
                }
            }
            (Some(times), _, _) => Self {
                column,
                ratio: (times, 1_000),
                kind,
                hz: 0,
            },
            (None, _, _) => Self {
                column,
                ratio: (1, 1),
                kind: None,
                hz: 0,
            },
        }
    }

    /// A sample's number, to the nearest whole one, and no sample without any.
    fn number(&self, sample: &Sample) -> u64 {
        let value = sample
            .value
            .get(self.column)
            .and_then(|value| u128::try_from(*value).ok());
        let Some(value) = value.filter(|value| *value > 0) else {
            return 0;
        };
        let (times, by) = self.ratio;
        let number = (value.saturating_mul(times) + by / 2) / by;
        u64::try_from(number).unwrap_or(u64::MAX).max(1)
    }
}

/// A unit of time in nanoseconds; nothing for what is no time.
fn unit_ns(unit: &str) -> Option<u128> {
    match unit {
        "nanoseconds" => Some(1),
        "microseconds" => Some(1_000),
        "milliseconds" => Some(1_000_000),
        "seconds" => Some(1_000_000_000),
        _ => None,
    }
}

/// Reads a profile that another program wrote, gzipped or not.
///
/// # Errors
/// When it is no profile, or one too large.
pub fn read_pprof(bytes: &[u8]) -> io::Result<Foreign> {
    let mut plain = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        GzDecoder::new(bytes)
            .take(FOREIGN_BYTES_MAX)
            .read_to_end(&mut plain)?;
    } else {
        plain.extend_from_slice(bytes);
    }
    let profile = Profile::decode(&*plain)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let text = |at: i64| {
        usize::try_from(at)
            .ok()
            .and_then(|at| profile.string_table.get(at))
            .map_or("", |text| text)
    };
    let functions: HashMap<u64, &str> = profile
        .function
        .iter()
        .map(|function| (function.id, text(function.name)))
        .collect();
    let locations: HashMap<u64, &Location> = profile
        .location
        .iter()
        .map(|location| (location.id, location))
        .collect();
    let measure = Measure::of(&profile, &text);
    let mut tree = Tree::default();
    for sample in &profile.sample {
        // Lines of one location are innermost first, and so are locations.
        let lines = sample
            .location_id
            .iter()
            .filter_map(|id| locations.get(id))
            .flat_map(|location| &location.line);
        let mut calls: Vec<&str> = lines
            .filter_map(|line| functions.get(&line.function_id).copied())
            .collect();
        calls.reverse();
        tree.add(calls, Side::First, measure.number(sample));
    }
    let Measure { kind, hz, .. } = measure;
    Ok(Foreign { tree, kind, hz })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let text = "main;parse 7\nmain;sort 3\nmain;sort;swap 2";
        let tree = Tree::of_folded(text).expect("it is folded");
        let quality = Quality {
            hz: 100,
            ..Quality::default()
        };
        let bytes = write(&tree, Kind::Cpu, &quality).expect("it can be written");
        assert!(bytes.starts_with(&[0x1f, 0x8b]));
        let read = read_pprof(&bytes).expect("it can be read");
        assert_eq!(read.tree.folded(false).join("\n"), text);
        assert_eq!((read.kind, read.hz), (Some(Kind::Cpu), 100));
        let bytes = write(&tree, Kind::Wall, &Quality::default()).expect("it can be written");
        let read = read_pprof(&bytes).expect("it can be read");
        assert_eq!(read.tree.folded(false).join("\n"), text, "in microseconds");
        assert_eq!((read.kind, read.hz), (Some(Kind::Wall), 0));
    }

    /// A profile of one stack with these values of these types, and a period in nanoseconds.
    fn foreign(types: &[(&str, &str)], value: &[i64], period: i64) -> Foreign {
        let mut texts = Texts::default();
        texts.id("");
        let profile = Profile {
            sample_type: types
                .iter()
                .map(|(ty, unit)| texts.value_type(ty, unit))
                .collect(),
            sample: vec![Sample {
                location_id: vec![1],
                value: value.to_vec(),
                ..Sample::default()
            }],
            location: vec![Location {
                id: 1,
                line: vec![Line {
                    function_id: 1,
                    line: 0,
                }],
                ..Location::default()
            }],
            function: vec![Function {
                id: 1,
                name: texts.id("work"),
                ..Function::default()
            }],
            period,
            string_table: texts.all,
            ..Profile::default()
        };
        read_pprof(&profile.encode_to_vec()).expect("it can be read")
    }

    #[test]
    fn cpu_time_of_others_is_told_in_samples_and_other_time_in_microseconds() {
        let told = |types: &[(&str, &str)], value: &[i64], period| {
            let read = foreign(types, value, period);
            let line = read.tree.folded(false).concat();
            (
                line.strip_prefix("work ")
                    .expect("one stack")
                    .parse()
                    .expect("a number"),
                read.kind,
                read.hz,
            )
        };
        let (samples, cpu) = (("samples", "count"), ("cpu", "nanoseconds"));
        let of_cpu = Some(Kind::Cpu);
        assert_eq!(
            told(&[samples, cpu], &[5, 50_000_000], 10_000_000),
            (5_u64, of_cpu, 100)
        );
        assert_eq!(told(&[cpu], &[50_000_000], 10_101_010), (5, of_cpu, 99));
        assert_eq!(told(&[cpu], &[50_000_000], 0), (50, of_cpu, 1_000));
        assert_eq!(
            told(&[("cpu", "milliseconds")], &[3], 1),
            (3_000_000, of_cpu, 1_000_000_000)
        );
        let delay = [("contentions", "count"), ("delay", "nanoseconds")];
        assert_eq!(told(&delay, &[5, 7_000], 1), (7, None, 0));
        assert_eq!(
            told(&[("inuse_space", "bytes")], &[9], 524_288),
            (9, None, 0)
        );
        assert_eq!(
            told(&[samples, cpu], &[1, i64::MAX], i64::MAX),
            (1, of_cpu, 1)
        );
        assert!(foreign(&[cpu], &[-5], 1).tree.is_empty());
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        assert!(read_pprof(b"<html>").is_err());
        assert!(read_pprof(&[0x1f, 0x8b, 1, 2]).is_err());
        assert!(
            read_pprof(b"")
                .expect("no bytes are an empty profile")
                .tree
                .is_empty()
        );
    }
}
