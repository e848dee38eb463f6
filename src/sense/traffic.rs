//! What a process reads and writes on disk, and what its network namespace receives and sends.
//!
//! Both are for people to look at; nothing is decided by them. So a file that is missing, closed to us or unreadable is a figure
//! that is absent, and no reason to call the process gone.

use super::process::parse_number;
use std::fs::File;
use std::os::unix::fs::FileExt;
use trimtab_core::observation::ProcessIo;

/// Enough for the interfaces of a container; what is beyond is not counted, and then nothing is.
const BUFFER: usize = 4_096;

/// The files that tell, each where it could be opened.
#[derive(Debug)]
pub(super) struct IoFiles {
    /// `/proc/PID/io`: only for who may trace the process.
    pub(super) disk: Option<File>,
    /// `/proc/PID/net/dev`.
    pub(super) network: Option<File>,
}

impl IoFiles {
    pub(super) fn read(&self) -> ProcessIo {
        let (mut disk, mut network) = ([0_u8; 512], [0_u8; BUFFER]);
        let (read_bytes, written_bytes) = text(self.disk.as_ref(), &mut disk)
            .map(parse_disk)
            .unwrap_or_default();
        let network = text(self.network.as_ref(), &mut network).and_then(parse_network);
        ProcessIo {
            read_bytes,
            written_bytes,
            received_bytes: network.map(|(received, _)| received),
            sent_bytes: network.map(|(_, sent)| sent),
        }
    }
}

/// The whole of a file; nothing where it is longer than the buffer.
fn text<'b>(file: Option<&File>, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let length = file?.read_at(buffer, 0).ok()?;
    buffer.get(..length).filter(|text| text.len() < BUFFER)
}

/// `read_bytes` and `write_bytes` of `/proc/PID/io`.
fn parse_disk(text: &[u8]) -> (Option<u64>, Option<u64>) {
    let figure = |key: &[u8]| {
        let mut lines = text.split(|byte| *byte == b'\n');
        lines.find_map(|line| parse_number(line.strip_prefix(key)?.trim_ascii()))
    };
    (figure(b"read_bytes:"), figure(b"write_bytes:"))
}

/// The sums of the bytes received and sent over all interfaces but loopback; nothing where there is no other.
fn parse_network(text: &[u8]) -> Option<(u64, u64)> {
    let mut sums: Option<(u64, u64)> = None;
    // Two lines of headings have no colon.
    for line in text.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, figures) = line.split_at(colon);
        if name.trim_ascii() == b"lo" {
            continue;
        }
        let mut figures = figures
            .get(1..)
            .unwrap_or_default()
            .split(u8::is_ascii_whitespace)
            .filter(|figure| !figure.is_empty());
        // The first of eight figures about receiving, and the first of eight about sending.
        let received = parse_number(figures.next()?)?;
        let sent = parse_number(figures.nth(7)?)?;
        let (received_before, sent_before) = sums.unwrap_or_default();
        sums = Some((
            received_before.saturating_add(received),
            sent_before.saturating_add(sent),
        ));
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_the_disk_are_those_that_reached_it() {
        let text = b"rchar: 9\nwchar: 8\nsyscr: 1\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 1\n";
        assert_eq!(parse_disk(text), (Some(4_096), Some(8_192)));
        assert_eq!(parse_disk(b"read_bytes: many\n"), (None, None));
    }

    #[test]
    fn loopback_is_left_out_and_all_else_is_summed() {
        let text = b"Inter-|   Receive    |  Transmit\n face |bytes packets|bytes packets\n    lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n  eth0: 10 1 0 0 0 0 0 0 200 1 0 0 0 0 0 0\n eth1:7 1 0 0 0 0 0 0 3 1 0 0 0 0 0 0\n";
        assert_eq!(parse_network(text), Some((17, 203)));
        let alone = b"    lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n";
        assert_eq!(parse_network(alone), None, "absent, and not nought");
    }

    #[test]
    fn our_own_traffic_can_be_read_or_is_absent() {
        let open = |path: &str| File::open(path).ok();
        let files = IoFiles {
            disk: open("/proc/self/io"),
            network: None,
        };
        let io = files.read();
        assert_eq!(io.read_bytes.is_some(), files.disk.is_some());
        assert_eq!((io.received_bytes, io.sent_bytes), (None, None));
    }
}
