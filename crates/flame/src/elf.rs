//! What unwinding and naming need of a program's file: where its code is loaded, its unwinding tables and its build id.
//!
//! Of a file only these parts are read into memory, some hundred kilobytes for most. It is not mapped, so a file that someone
//! shortens meanwhile is a failed read and not a crash.

use framehop::{ExplicitModuleSectionInfo, Module};
use object::elf::PF_X;
use object::read::ReadRef;
use object::{Object as _, ObjectSection as _, ObjectSegment as _, SegmentFlags};
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

/// The most that is read of one file's unwinding tables. A browser's are about as large.
const TABLES_BYTES_MAX: u64 = 48 << 20;
/// The kernel maps whole pages, whatever page a file was linked for.
const PAGE: u64 = 4_096;

/// The parts of a file that are kept.
#[derive(Debug, Default)]
pub(crate) struct Image {
    /// The segments with code.
    code: Vec<Segment>,
    eh_frame: Option<Section>,
    eh_frame_hdr: Option<Section>,
    got: Option<Range<u64>>,
    text: Option<Range<u64>>,
    /// The file's own identity, which a file with its symbols shares.
    pub(crate) build_id: Option<String>,
    /// Whether the file has names of functions.
    pub(crate) named: bool,
}

#[derive(Clone, Debug)]
struct Section {
    addresses: Range<u64>,
    bytes: Arc<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    offset: u64,
    bytes: u64,
    address: u64,
}

impl Image {
    /// Reads a file; nothing when it is no program.
    pub(crate) fn read(file: &File) -> Option<Self> {
        let cache = object::ReadCache::new(file);
        Self::parse(&cache)
    }

    /// Reads bytes that are a program, as the kernel's own page of code is.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::parse(bytes)
    }

    fn parse<'d, R: ReadRef<'d>>(data: R) -> Option<Self> {
        let file = object::File::parse(data).ok()?;
        let section = |name: &str| {
            let section = file.section_by_name(name)?;
            let addresses = section.address()..section.address().checked_add(section.size())?;
            if section.size() > TABLES_BYTES_MAX {
                return None;
            }
            Some(Section {
                addresses,
                bytes: section.data().ok()?.into(),
            })
        };
        let addresses = |name: &str| {
            let section = file.section_by_name(name)?;
            Some(section.address()..section.address().checked_add(section.size())?)
        };
        let code = file.segments().filter_map(|segment| {
            let SegmentFlags::Elf { p_flags, .. } = segment.flags() else {
                return None;
            };
            let (offset, bytes) = segment.file_range();
            (p_flags.contains(PF_X) && bytes > 0).then_some(Segment {
                offset,
                bytes,
                address: segment.address(),
            })
        });
        Some(Self {
            code: code.collect(),
            eh_frame: section(".eh_frame"),
            eh_frame_hdr: section(".eh_frame_hdr"),
            got: addresses(".got"),
            text: addresses(".text"),
            build_id: file.build_id().ok().flatten().map(hex),
            named: file.section_by_name(".symtab").is_some(),
        })
    }

    /// How far a mapping of the file's code lies from the addresses that the file itself speaks of; nothing when no code of the
    /// file is mapped there.
    ///
    /// A linker need not begin segments at a page of the file, and `rust-lld` does not; the kernel maps from the page in which
    /// a segment begins. So two segments may share a page of the file, and the one with code whose first page it is counts.
    pub(crate) fn bias(&self, start: u64, offset: u64) -> Option<u64> {
        let first_page = |segment: &&Segment| segment.offset & !(PAGE - 1);
        let begins = self
            .code
            .iter()
            .find(|segment| first_page(segment) == offset);
        let segment = begins.or_else(|| {
            let inside = |segment: &&Segment| {
                first_page(segment) < offset
                    && offset < segment.offset.saturating_add(segment.bytes)
            };
            self.code.iter().find(inside)
        })?;
        let mapped_at = segment
            .address
            .wrapping_sub(segment.offset)
            .wrapping_add(offset);
        Some(start.wrapping_sub(mapped_at))
    }

    /// The address that the file itself uses for a place in it.
    pub(crate) fn address_of(&self, offset: u64) -> Option<u64> {
        let holds = |segment: &&Segment| {
            (segment.offset..segment.offset.saturating_add(segment.bytes)).contains(&offset)
        };
        let segment = self.code.iter().find(holds)?;
        Some(offset - segment.offset + segment.address)
    }

    /// Where the function that holds an address of the file begins, by the unwinding tables, which also a stripped file has.
    pub(crate) fn function_start(&self, address: u64) -> Option<u64> {
        let table = self.eh_frame_hdr.as_ref()?;
        // Version 1, the frame's pointer as 32 bits, the count as 32 bits, the table as pairs relative to the table's section.
        let [1, _, 0x03, 0x3b, rest @ ..] = &*table.bytes else {
            return None;
        };
        let (_, rest) = rest.split_first_chunk::<4>()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let start = |index: usize| {
            let from = i32::from_le_bytes(*rest.get(index * 8..)?.first_chunk()?);
            Some(table.addresses.start.wrapping_add_signed(i64::from(from)))
        };
        // The pairs are sorted by address, and there may be hundreds of thousands.
        let (mut low, mut high) = (0, count.min(rest.len() / 8));
        while low < high {
            let middle = low.midpoint(high);
            if start(middle)? <= address {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        start(low.checked_sub(1)?)
    }

    /// The image as the unwinder takes it, mapped at these addresses.
    pub(crate) fn to_module(
        &self,
        name: String,
        mapped: Range<u64>,
        bias: u64,
    ) -> Module<Arc<[u8]>> {
        let split = |section: &Option<Section>| {
            let section = section.clone();
            section
                .map(|section| (section.addresses, section.bytes))
                .unzip()
        };
        let (eh_frame_svma, eh_frame) = split(&self.eh_frame);
        let (eh_frame_hdr_svma, eh_frame_hdr) = split(&self.eh_frame_hdr);
        let sections = ExplicitModuleSectionInfo {
            base_svma: 0,
            text_svma: self.text.clone(),
            got_svma: self.got.clone(),
            eh_frame_svma,
            eh_frame,
            eh_frame_hdr_svma,
            eh_frame_hdr,
            ..ExplicitModuleSectionInfo::default()
        };
        Module::new(name, mapped, bias, sections)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(offset: u64, bytes: u64, address: u64) -> Segment {
        Segment {
            offset,
            bytes,
            address,
        }
    }

    #[test]
    fn a_segment_that_begins_inside_a_page_is_found_by_that_page() {
        // As rust-lld lays them out: the data before it ends in the page where the code begins.
        let image = Image {
            code: vec![segment(0x1_2340, 0x8000, 0x1_3340)],
            ..Image::default()
        };
        let bias = image
            .bias(0x5555_0001_3000, 0x1_2000)
            .expect("its code is mapped");
        assert_eq!(bias, 0x5555_0000_0000);
        assert_eq!(
            image.bias(0x5555_0001_3000, 0x1_0000),
            None,
            "that page holds no code"
        );
        assert_eq!(image.address_of(0x1_2350), Some(0x1_3350));
        assert_eq!(image.address_of(0x1_2330), None);
    }

    #[test]
    fn the_later_part_of_a_mapping_that_was_split_has_the_same_bias() {
        let image = Image {
            code: vec![segment(0x1000, 0x8000, 0x1000)],
            ..Image::default()
        };
        assert_eq!(image.bias(0x7f00_0000_1000, 0x1000), Some(0x7f00_0000_0000));
        assert_eq!(image.bias(0x7f00_0000_4000, 0x4000), Some(0x7f00_0000_0000));
    }

    #[test]
    fn this_program_has_tables_and_its_functions_are_found_by_them() {
        let file = File::open("/proc/self/exe").expect("it runs");
        let image = Image::read(&file).expect("it is a program");
        assert!(image.eh_frame.is_some() && image.named);
        let code = image.code.first().copied().expect("it has code");
        let inside = code.address + code.bytes / 2;
        let start = image
            .function_start(inside)
            .expect("most code has a function");
        assert!(start <= inside && image.function_start(start) == Some(start));
    }

    #[test]
    fn what_is_no_program_is_none() {
        assert!(Image::from_bytes(b"#!/bin/sh\necho\n").is_none());
        assert!(Image::from_bytes(b"").is_none());
    }
}
