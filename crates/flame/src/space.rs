//! The address space of one process, and the way from a copied stack to the calls on it.
//!
//! Calls are found by the tables that compilers write for exceptions, `.eh_frame`, which also optimised and stripped programs
//! without frame pointers have. Where there is no table, as in code that was made at run time, frame pointers are followed.

use crate::module::{ModuleId, Modules};
use crate::record::Sample;
use crate::session::proc_text;
use framehop::{
    CacheNative, Error, FrameAddress, MayAllocateDuringUnwind, UnwindRegsNative, Unwinder as _,
    UnwinderNative,
};
use std::sync::Arc;

/// The most calls of one stack that are kept, from the innermost. Deeper ones count as cut off.
const DEPTH_MAX: usize = 512;

/// Where an address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a file, at this offset.
    File(ModuleId, u64),
    /// In memory without a file where code may stand: code that was made at run time.
    Made,
    /// Nowhere that is known.
    Nowhere,
}

/// How a stack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// At the beginning of its thread.
    Complete,
    /// Where the copy of the stack ended.
    Truncated,
    /// Where the tables led nowhere.
    Broken,
}

/// A call by the address to look up, and where that stands.
pub(crate) type Call = (u64, Place);

/// A stack as it was unwound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unwound {
    pub(crate) end: End,
    /// How much of the copy was read, from its beginning, in bytes.
    pub(crate) used: u64,
}

/// An address space.
pub(crate) struct Space {
    pid: u32,
    /// Sorted by their start; none overlaps another.
    mappings: Vec<Mapping>,
    unwinder: UnwinderNative<Arc<[u8]>, MayAllocateDuringUnwind>,
}

#[derive(Clone, Debug)]
struct Mapping {
    start: u64,
    end: u64,
    offset: u64,
    module: Option<ModuleId>,
}

/// What unwinding remembers between two stacks, of whatever process.
pub(crate) type Cache = CacheNative<MayAllocateDuringUnwind>;

impl Space {
    /// The space as `/proc` now shows it; an empty one when the process is gone.
    pub(crate) fn read(pid: u32, modules: &Modules) -> Self {
        let mut space = Self {
            pid,
            mappings: Vec::new(),
            unwinder: UnwinderNative::new(),
        };
        space.reread(modules);
        space
    }

    /// Reads it again, which a process that loaded or made code since then needs.
    pub(crate) fn reread(&mut self, modules: &Modules) {
        let text = proc_text(&format!("/proc/{}/maps", self.pid)).unwrap_or_default();
        for line in text.lines() {
            if let Some((range, offset, path)) = executable(line) {
                self.map(range, offset, path, modules);
            }
        }
    }

    /// Whether the process is still there.
    pub(crate) fn is_alive(&self) -> bool {
        std::fs::exists(format!("/proc/{}", self.pid)).unwrap_or(false)
    }

    /// Forgets all of it: the process became another program.
    pub(crate) fn clear(&mut self) {
        for mapping in self.mappings.drain(..) {
            self.unwinder.remove_module(mapping.start);
        }
    }

    /// Takes up a mapping of code in place of whatever was there.
    pub(crate) fn map(
        &mut self,
        (start, end): (u64, u64),
        offset: u64,
        path: &str,
        modules: &Modules,
    ) {
        if start >= end {
            return;
        }
        let same = |old: &Mapping| old.start == start && old.end == end && old.offset == offset;
        let module = match path {
            "[vdso]" => modules.vdso(),
            _ if path.starts_with('/') && !path.starts_with("//anon") => {
                modules.of_path(self.pid, path)
            }
            _ => None,
        };
        if self
            .mappings
            .iter()
            .any(|old| same(old) && old.module == module)
        {
            return;
        }
        self.mappings.retain(|old| {
            let stays = old.end <= start || end <= old.start;
            if !stays {
                self.unwinder.remove_module(old.start);
            }
            stays
        });
        if let Some(file) = module.and_then(|id| modules.get(id))
            && let Some(bias) = file.image.bias(start, offset)
        {
            self.unwinder
                .add_module(file.image.to_module(file.name.clone(), start..end, bias));
        }
        let at = self.mappings.partition_point(|old| old.start < start);
        self.mappings.insert(
            at,
            Mapping {
                start,
                end,
                offset,
                module,
            },
        );
    }

    /// Where an address stands.
    pub(crate) fn place(&self, address: u64) -> Place {
        let after = self
            .mappings
            .partition_point(|mapping| mapping.start <= address);
        let mapping = after.checked_sub(1).and_then(|at| self.mappings.get(at));
        match mapping.filter(|mapping| address < mapping.end) {
            Some(Mapping {
                module: Some(id),
                start,
                offset,
                ..
            }) => Place::File(*id, address - start + offset),
            Some(_) => Place::Made,
            None => Place::Nowhere,
        }
    }

    /// The calls of a sample's copied stack, innermost first; how the stack ended, and how much of the copy that took.
    pub(crate) fn unwind(
        &self,
        sample: &Sample<'_>,
        cache: &mut Cache,
        calls: &mut Vec<Call>,
    ) -> Unwound {
        calls.clear();
        let Some((instruction, pointer, registers)) = machine::registers(sample) else {
            let end = End::Complete;
            return Unwound { end, used: 0 };
        };
        let stack = sample.stack;
        let mut used = 0;
        let read = |address: u64| {
            let above = address.checked_sub(pointer).ok_or(())?;
            let at = usize::try_from(above).map_err(|_| ())?;
            let bytes = stack.get(at..).and_then(<[u8]>::first_chunk).ok_or(())?;
            used = used.max(above + 8);
            Ok(u64::from_ne_bytes(*bytes))
        };
        let end = self.follow(
            sample,
            (instruction, pointer, registers),
            cache,
            read,
            calls,
        );
        Unwound { end, used }
    }

    fn follow(
        &self,
        sample: &Sample<'_>,
        (instruction, pointer, mut registers): (u64, u64, UnwindRegsNative),
        cache: &mut Cache,
        mut read: impl FnMut(u64) -> Result<u64, ()>,
        calls: &mut Vec<Call>,
    ) -> End {
        let stack = sample.stack;
        let copied = u64::try_from(stack.len()).unwrap_or(u64::MAX);
        let mut frame = FrameAddress::from_instruction_pointer(instruction);
        loop {
            if calls.len() >= DEPTH_MAX {
                return End::Truncated;
            }
            let at = frame.address_for_lookup();
            let place = self.place(at);
            calls.push((at, place));
            match self.caller(frame, place, &mut registers, cache, &mut read) {
                Ok(Some(caller)) => frame = caller,
                Ok(None) | Err(Error::ReturnAddressIsNull) => return End::Complete,
                Err(Error::CouldNotReadStack(address)) => {
                    let above = address.checked_sub(pointer);
                    let just_above = above.is_some_and(|above| {
                        copied <= above.saturating_add(8) && above < STACK_SPAN
                    });
                    return if just_above {
                        End::Truncated
                    } else {
                        End::Broken
                    };
                }
                Err(_) => return End::Broken,
            }
        }
    }

    /// Who called, and the registers there.
    fn caller(
        &self,
        frame: FrameAddress,
        place: Place,
        registers: &mut UnwindRegsNative,
        cache: &mut Cache,
        read: &mut impl FnMut(u64) -> Result<u64, ()>,
    ) -> Result<Option<FrameAddress>, Error> {
        let here = *registers;
        let is_code = |address: u64| self.place(address) != Place::Nowhere;
        let found = self
            .unwinder
            .unwind_frame(frame, registers, cache, read)
            .map(|after| after.and_then(FrameAddress::from_return_address));
        if place != Place::Made {
            return found;
        }
        match found {
            Ok(Some(caller)) if is_code(caller.address_for_lookup()) => Ok(Some(caller)),
            _ => match machine::behind_a_trampoline(here, read) {
                Some((after, above)) if is_code(after.address_for_lookup()) => {
                    *registers = above;
                    Ok(Some(after))
                }
                _ => found,
            },
        }
    }
}

/// Farther above the pointer than any thread's stack goes an address is no place on it.
const STACK_SPAN: u64 = 1 << 30;

/// A mapping with code, in a line of `/proc/PID/maps`: its range, its offset in the file, and the file.
fn executable(line: &str) -> Option<((u64, u64), u64, &str)> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    words
        .next()
        .filter(|rights| rights.as_bytes().get(2) == Some(&b'x'))?;
    let offset = u64::from_str_radix(words.next()?, 16).ok()?;
    let path = words.nth(2).unwrap_or_default().trim_start();
    let hex = |text| u64::from_str_radix(text, 16).ok();
    Some(((hex(start)?, hex(end)?), offset, path))
}

/// The registers that unwinding begins with.
#[cfg(target_arch = "x86_64")]
mod machine {
    use crate::record::Sample;
    use framehop::x86_64::Reg;
    use framehop::{FrameAddress, UnwindRegsNative};

    /// The general registers in the order of the kernel's bits; the instruction's address is between them.
    const ORDER: [Option<Reg>; 17] = [
        Some(Reg::RAX),
        Some(Reg::RBX),
        Some(Reg::RCX),
        Some(Reg::RDX),
        Some(Reg::RSI),
        Some(Reg::RDI),
        Some(Reg::RBP),
        Some(Reg::RSP),
        None,
        Some(Reg::R8),
        Some(Reg::R9),
        Some(Reg::R10),
        Some(Reg::R11),
        Some(Reg::R12),
        Some(Reg::R13),
        Some(Reg::R14),
        Some(Reg::R15),
    ];

    pub(super) fn registers(sample: &Sample<'_>) -> Option<(u64, u64, UnwindRegsNative)> {
        let (base, pointer, instruction) = (
            sample.register(6)?,
            sample.register(7)?,
            sample.register(8)?,
        );
        let mut registers = UnwindRegsNative::new(instruction, pointer, base);
        for (place, register) in ORDER.into_iter().enumerate() {
            if let Some(register) = register {
                registers.set(register, sample.register(place)?);
            }
        }
        Some((instruction, pointer, registers))
    }

    /// Made code that was itself called only to call something else, as CPython has a piece of for each function (`-X perf`):
    /// it lowers the pointer by one word, so its own return address stands right above, and it keeps no frame pointer.
    pub(super) fn behind_a_trampoline(
        here: UnwindRegsNative,
        read: &mut impl FnMut(u64) -> Result<u64, ()>,
    ) -> Option<(FrameAddress, UnwindRegsNative)> {
        let after = read(here.sp().checked_add(8)?).ok()?;
        let mut above = here;
        above.set_ip(after);
        above.set_sp(here.sp().checked_add(16)?);
        Some((FrameAddress::from_return_address(after)?, above))
    }
}

/// The registers that unwinding begins with.
#[cfg(target_arch = "aarch64")]
mod machine {
    use crate::record::Sample;
    use framehop::aarch64::PtrAuthMask;
    use framehop::{FrameAddress, UnwindRegsNative};

    pub(super) fn registers(sample: &Sample<'_>) -> Option<(u64, u64, UnwindRegsNative)> {
        let (frame, link, pointer) = (
            sample.register(29)?,
            sample.register(30)?,
            sample.register(31)?,
        );
        let mask = PtrAuthMask::new_24_40();
        let registers = UnwindRegsNative::new_with_ptr_auth_mask(mask, link, pointer, frame);
        Some((sample.register(32)?, pointer, registers))
    }

    /// Here made code keeps frame pointers.
    pub(super) fn behind_a_trampoline(
        _here: UnwindRegsNative,
        _read: &mut impl FnMut(u64) -> Result<u64, ()>,
    ) -> Option<(FrameAddress, UnwindRegsNative)> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps_are_read_and_only_code_counts() {
        let line = "55d0c8a00000-55d0c8a21000 r-xp 00012000 fe:00 1835 /usr/bin/my program";
        let expected = (
            (0x55d0_c8a0_0000, 0x55d0_c8a2_1000),
            0x1_2000,
            "/usr/bin/my program",
        );
        assert_eq!(executable(line), Some(expected));
        assert_eq!(
            executable("7ffd0000-7ffd1000 rw-p 00000000 00:00 0          [stack]"),
            None
        );
        let made = executable("7ffd0000-7ffd1000 rwxp 00000000 00:00 0");
        assert_eq!(made, Some(((0x7ffd_0000, 0x7ffd_1000), 0, "")));
        assert_eq!(executable("nonsense"), None);
    }

    #[test]
    fn an_address_is_found_in_what_was_mapped_last() {
        let modules = Modules::default();
        let mut space = Space::read(u32::MAX, &modules);
        assert_eq!(space.place(0x1000), Place::Nowhere);
        space.map((0x1000, 0x3000), 0, "", &modules);
        assert_eq!(space.place(0x2fff), Place::Made);
        assert_eq!(space.place(0x3000), Place::Nowhere);
        let own = std::fs::read_link("/proc/self/exe").expect("it runs");
        space.map(
            (0x2000, 0x4000),
            0x5000,
            own.to_str().expect("it is text"),
            &modules,
        );
        assert_eq!(
            space.place(0x1000),
            Place::Nowhere,
            "the old mapping was replaced as a whole"
        );
        assert!(matches!(space.place(0x2010), Place::File(_, 0x5010)));
        space.clear();
        assert_eq!(space.place(0x2010), Place::Nowhere);
    }

    #[test]
    fn this_process_has_code_in_its_own_file() {
        let modules = Modules::default();
        let space = Space::read(std::process::id(), &modules);
        let address = Space::read as fn(u32, &Modules) -> Space as usize;
        let Place::File(id, _) = space.place(u64::try_from(address).expect("64 bits")) else {
            panic!("our own code is in our own file");
        };
        let own = std::env::current_exe().expect("it runs");
        let name = own.file_name().and_then(|name| name.to_str());
        assert_eq!(Some(&*modules.get(id).expect("it is kept").name), name);
    }
}
