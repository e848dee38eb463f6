//! What the profiler's process may not do, so that a file or a name made to trick it can do little.
//!
//! It reads files of other processes and answers over a pipe. It needs to write no file, start no program, and change no other
//! process, so the kernel is asked to refuse all of that.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};
use std::collections::BTreeMap;

/// Calls that are always refused.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_finit_module,
    libc::SYS_ftruncate,
    libc::SYS_init_module,
    libc::SYS_kexec_load,
    libc::SYS_kill,
    libc::SYS_linkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_openat2,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_reboot,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_setgid,
    libc::SYS_setns,
    libc::SYS_setresuid,
    libc::SYS_setuid,
    libc::SYS_symlinkat,
    libc::SYS_truncate,
    libc::SYS_umount2,
    libc::SYS_unlinkat,
    libc::SYS_unshare,
];

/// The older forms of some of them, which newer machines do not have.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_creat,
    libc::SYS_fork,
    libc::SYS_link,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_symlink,
    libc::SYS_unlink,
    libc::SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// Puts this process and all its threads into the cage, for ever.
///
/// # Errors
/// Why that is not possible, in words; nothing is refused then.
pub(crate) fn enter() -> Result<(), String> {
    let filter = filter().map_err(|error| error.to_string())?;
    apply_filter_all_threads(&filter).map_err(|error| error.to_string())
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    // The lowest two bits of the flags say whether a file is opened for writing.
    let opens_for = |place, how: i32| {
        let (mask, how) = (
            u64::from(libc::O_ACCMODE.unsigned_abs()),
            u64::from(how.unsigned_abs()),
        );
        SeccompCondition::new(
            place,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::MaskedEq(mask),
            how,
        )
        .and_then(|condition| SeccompRule::new(vec![condition]))
    };
    let mut rules: BTreeMap<libc::c_long, Vec<SeccompRule>> = REFUSED
        .iter()
        .chain(REFUSED_HERE)
        .map(|call| (*call, Vec::new()))
        .collect();
    rules.insert(
        libc::SYS_openat,
        vec![opens_for(2, libc::O_WRONLY)?, opens_for(2, libc::O_RDWR)?],
    );
    #[cfg(target_arch = "x86_64")]
    rules.insert(
        libc::SYS_open,
        vec![opens_for(1, libc::O_WRONLY)?, opens_for(1, libc::O_RDWR)?],
    );
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let machine = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, machine)?.try_into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_cage_can_be_built_for_this_machine() {
        assert!(super::filter().expect("it can be built").len() > super::REFUSED.len());
    }
}
