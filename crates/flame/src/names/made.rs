//! Names of code that a process made at run time, from the file that it writes for profilers: `/tmp/perf-PID.map`.
//!
//! Node writes it with `--perf-basic-prof`, Python from 3.12 with `-X perf`, and Java with an agent.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;

/// The most that is read of such a file.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The files of the processes that are being named.
#[derive(Debug, Default)]
pub(super) struct Maps(HashMap<u32, Map>);

#[derive(Debug, Default)]
struct Map {
    text: String,
    /// Start, end and where the name stands in the text; sorted by start.
    entries: Vec<(u64, u64, usize, usize)>,
}

impl Maps {
    /// The name of the code at an address of a process, if it wrote one.
    pub(super) fn name(&mut self, pid: u32, address: u64) -> Option<&str> {
        self.0
            .entry(pid)
            .or_insert_with(|| Map::read(pid))
            .name(address)
    }

    /// Forgets all files: they grow, and are read again for the next graph.
    pub(super) fn forget_old(&mut self) {
        self.0.clear();
    }
}

impl Map {
    fn read(pid: u32) -> Self {
        let inner = inner_number(pid).unwrap_or(pid);
        let paths = [
            format!("/proc/{pid}/root/tmp/perf-{inner}.map"),
            format!("/tmp/perf-{pid}.map"),
        ];
        let mut bytes = Vec::new();
        let is_plain = |file: &File| file.metadata().is_ok_and(|meta| meta.is_file());
        if let Some(file) = paths
            .iter()
            .find_map(|path| File::open(path).ok().filter(is_plain))
        {
            // What could be read before an error is better than nothing.
            let _partly = file.take(FILE_BYTES_MAX).read_to_end(&mut bytes);
        }
        Self::parse(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Reads lines of a start, a length and a name. Where code was replaced the later line counts.
    fn parse(text: String) -> Self {
        let mut entries = Vec::new();
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let trimmed = line.trim_end();
            let mut words = trimmed.splitn(3, ' ');
            if let (Some(start), Some(length), Some(name)) =
                (words.next(), words.next(), words.next())
                && let (Ok(start), Ok(length)) = (hex(start), hex(length))
            {
                let from = at + trimmed.len() - name.len();
                entries.push((start, start.saturating_add(length), from, from + name.len()));
            }
            at += line.len();
        }
        // A stable order, so that of two at one place the later stays last.
        entries.sort_by_key(|(start, ..)| *start);
        Self { text, entries }
    }

    fn name(&self, address: u64) -> Option<&str> {
        let after = self
            .entries
            .partition_point(|(start, ..)| *start <= address);
        let (_, end, from, to) = *self.entries.get(after.checked_sub(1)?)?;
        self.text.get(from..to).filter(|_| address < end)
    }
}

fn hex(text: &str) -> Result<u64, std::num::ParseIntError> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16)
}

/// The process's number as it knows itself, inside its container.
fn inner_number(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_lines_replace_earlier_ones_and_gaps_have_no_name() {
        let map = Map::parse(
            "1000 100 old\nnonsense\n2000 10 LazyCompile:*work a.js:1:2\n1000 80 new\n".to_owned(),
        );
        assert_eq!(map.name(0x1040), Some("new"));
        assert_eq!(map.name(0x2008), Some("LazyCompile:*work a.js:1:2"));
        assert_eq!(map.name(0x2010), None);
        assert_eq!(map.name(0xfff), None);
    }

    #[test]
    fn a_process_knows_its_own_number() {
        assert!(inner_number(std::process::id()).is_some());
    }
}
