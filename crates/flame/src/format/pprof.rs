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

/// Reads a profile that another program wrote, gzipped or not. The last of its values is taken, as `go tool pprof` does.
///
/// # Errors
/// When it is no profile, or one too large.
pub fn read_pprof(bytes: &[u8]) -> io::Result<Tree> {
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
        let value = sample
            .value
            .last()
            .and_then(|value| u64::try_from(*value).ok());
        tree.add(calls, Side::First, value.unwrap_or(0));
    }
    Ok(tree)
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
        let in_ns = [
            "main;parse 70000000",
            "main;sort 30000000",
            "main;sort;swap 20000000",
        ];
        assert_eq!(read.folded(false), in_ns);
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        assert!(read_pprof(b"<html>").is_err());
        assert!(read_pprof(&[0x1f, 0x8b, 1, 2]).is_err());
        assert!(
            read_pprof(b"")
                .expect("no bytes are an empty profile")
                .is_empty()
        );
    }
}
