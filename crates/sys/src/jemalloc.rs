//! Jemalloc's controls, where a program has made it its allocator.
//!
//! Only this handful is reached, each by its documented name and with the type that the name asks for. Nothing here installs
//! the allocator; that is the program's own choice.

use std::ffi::{CStr, CString, c_char, c_void};
use std::io;
use std::ptr;
use tikv_jemalloc_sys::mallctl;

/// Jemalloc's word for all arenas at once (`MALLCTL_ARENAS_ALL`).
const ALL_ARENAS: u32 = 4096;

/// How long unused pages are kept, in milliseconds; 0 gives them back at once, and less than that never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decay {
    /// Pages that were used and are still mapped.
    pub dirty_ms: isize,
    /// Pages that the system may take when it needs them.
    pub muzzy_ms: isize,
}

/// Whether the program's memory comes from jemalloc: it is asked whose a block is that was just handed out.
#[must_use]
pub fn is_in_use() -> bool {
    let block = Box::new([0_u8; 64]);
    let mut address: *const c_void = ptr::from_ref(std::hint::black_box(&*block)).cast();
    let mut arena: u32 = 0;
    let mut length = size_of::<u32>();
    // SAFETY: `arenas.lookup` takes a pointer and yields an unsigned number. Both are where the pointers say and of the sizes
    // given, for the length of the call. Jemalloc only looks the address up; one that is not its own is answered with EINVAL.
    let answer = unsafe {
        mallctl(
            c"arenas.lookup".as_ptr(),
            (&raw mut arena).cast(),
            &raw mut length,
            (&raw mut address).cast(),
            size_of::<*const c_void>(),
        )
    };
    answer == 0
}

/// How long arenas keep unused pages that are made from now on.
///
/// # Errors
/// What jemalloc answers.
pub fn decay() -> io::Result<Decay> {
    Ok(Decay {
        dirty_ms: read(c"arenas.dirty_decay_ms")?,
        muzzy_ms: read(c"arenas.muzzy_decay_ms")?,
    })
}

/// Sets how long unused pages are kept, in all arenas there are and all that will be. A shorter time takes effect at once, so
/// the call may take as long as giving the pages back does.
///
/// # Errors
/// What jemalloc answers; then some arenas may have the new times and some the old.
pub fn set_decay(decay: Decay) -> io::Result<()> {
    write(c"arenas.dirty_decay_ms", decay.dirty_ms)?;
    write(c"arenas.muzzy_decay_ms", decay.muzzy_ms)?;
    let arenas: u32 = read(c"arenas.narenas")?;
    for arena in 0..arenas {
        write_to_arena(arena, "dirty_decay_ms", decay.dirty_ms)?;
        write_to_arena(arena, "muzzy_decay_ms", decay.muzzy_ms)?;
    }
    Ok(())
}

/// Gives back the pages whose time is up, which otherwise waits until somebody asks for memory.
///
/// # Errors
/// What jemalloc answers.
pub fn give_back_due() -> io::Result<()> {
    command(ALL_ARENAS, "decay")
}

/// Gives back all unused pages.
///
/// # Errors
/// What jemalloc answers.
pub fn give_back_all() -> io::Result<()> {
    command(ALL_ARENAS, "purge")
}

/// Numbers that a control of this module can have, so that none is read or written as another type.
trait Number: Copy + Default {}

impl Number for isize {}
impl Number for u32 {}

/// Reads a control. `T` must be the type that the control's documentation names, and its size is checked by jemalloc.
fn read<T: Number>(name: &CStr) -> io::Result<T> {
    let mut value = T::default();
    let mut length = size_of::<T>();
    // SAFETY: the name ends with a zero byte, and the pointers are to a plain number and to its size for the length of the
    // call. A control of another size is refused with EINVAL and not written.
    let answer = unsafe {
        mallctl(
            name.as_ptr(),
            (&raw mut value).cast(),
            &raw mut length,
            ptr::null_mut(),
            0,
        )
    };
    checked(answer).map(|()| value)
}

fn write<T: Number>(name: &CStr, mut value: T) -> io::Result<()> {
    // SAFETY: as in `read`; the number is only read, and one of another size is refused with EINVAL.
    let answer = unsafe {
        mallctl(
            name.as_ptr(),
            ptr::null_mut(),
            ptr::null_mut(),
            (&raw mut value).cast(),
            size_of::<T>(),
        )
    };
    checked(answer)
}

fn write_to_arena(arena: u32, what: &str, value: isize) -> io::Result<()> {
    match write(&of_arena(arena, what)?, value) {
        // A number that no arena has been made for yet.
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(()),
        other => other,
    }
}

fn command(arena: u32, what: &str) -> io::Result<()> {
    let name = of_arena(arena, what)?;
    let name: *const c_char = name.as_ptr();
    // SAFETY: the name ends with a zero byte and outlives the call. `purge` and `decay` take and yield nothing, so there is no
    // memory of ours to be read or written; they touch only pages that nobody has been given.
    let answer = unsafe { mallctl(name, ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), 0) };
    checked(answer)
}

fn of_arena(arena: u32, what: &str) -> io::Result<CString> {
    CString::new(format!("arena.{arena}.{what}")).map_err(io::Error::other)
}

fn checked(answer: i32) -> io::Result<()> {
    match answer {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The unit tests of this crate run on the system's allocator, beside which jemalloc is linked and can be asked.

    #[test]
    fn a_program_that_is_linked_with_it_does_not_thereby_use_it() {
        assert!(!is_in_use());
    }

    #[test]
    fn times_are_read_back_as_they_were_set() {
        let before = decay().unwrap();
        let other = Decay {
            dirty_ms: 1_234,
            muzzy_ms: 56,
        };
        set_decay(other).unwrap();
        assert_eq!(decay().unwrap(), other);
        set_decay(before).unwrap();
        give_back_due().unwrap();
        give_back_all().unwrap();
    }

    #[test]
    fn a_control_that_does_not_exist_or_has_another_size_is_refused() {
        assert!(read::<isize>(c"arenas.none").is_err());
        assert!(read::<isize>(c"arenas.narenas").is_err());
    }
}
