//! What the deciding process may not do any more, once it has opened what it serves on.
//!
//! It talks to one socket, reads `/proc`, `/sys` and its own configuration, and writes into two directories. Everything else
//! that a process can do is of use only to somebody who has broken into it, so the kernel is asked to refuse it: files and
//! network by landlock, programs and system calls by seccomp. Both hold for ever, and for every thread that is started
//! afterwards. What this kernel does not offer is left out and said; it is no reason not to tune.
//!
//! Profilers look into other processes, which landlock forbids, so they are started by a process of their own that was there
//! before: see `trimtab_flame::keeper`.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What stays open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Directories that are read, besides those of the kernel.
    pub reads: Vec<PathBuf>,
    /// Directories in which files are made, written, renamed and removed.
    pub writes: Vec<PathBuf>,
    /// TCP ports that are connected to; without any no such socket can be made.
    pub ports: Vec<u16>,
}

/// What came of it, each with the reason where it did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    /// Files and network, by landlock.
    pub files: Result<Extent, String>,
    /// Programs and system calls, by seccomp.
    pub calls: Result<(), String>,
}

/// How much of what was asked for the kernel refuses from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Full,
    /// A part: the kernel is older than what was asked for.
    Part,
}

/// The kernel's own files: what processes and control groups use.
const KERNELS: [&str; 2] = ["/proc", "/sys"];

/// System calls that are always refused.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_kill,
    libc::SYS_mknodat,
    libc::SYS_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setgid,
    libc::SYS_setns,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setuid,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// The older forms of some of them, which newer machines do not have.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[libc::SYS_fork, libc::SYS_mknod, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// Shuts this process in, for ever. Threads that run already are not covered by landlock, so this comes before them.
#[must_use]
pub fn enter(needs: &Needs) -> Entered {
    Entered {
        files: shut_files(needs),
        calls: shut_calls(!needs.ports.is_empty()),
    }
}

/// How much of landlock this kernel offers: the number of its version, or why there is none.
///
/// # Errors
/// In words, why there is none.
pub fn offered() -> Result<String, String> {
    // Nothing is restricted here: a set of rules is made and dropped.
    let offered = [
        ABI::V7,
        ABI::V6,
        ABI::V5,
        ABI::V4,
        ABI::V3,
        ABI::V2,
        ABI::V1,
    ]
    .into_iter()
    .find(|version| whole(*version).is_ok());
    offered
        .map(|version| format!("landlock of version {}", version as i32))
        .ok_or_else(|| "this kernel has no landlock, or it is switched off".to_owned())
}

fn whole(version: ABI) -> Result<(), RulesetError> {
    use landlock::{CompatLevel, Compatible};
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let rules = rules.handle_access(AccessFs::from_all(version))?;
    let rules = match version {
        ABI::V4 | ABI::V5 => rules.handle_access(AccessNet::from_all(version))?,
        ABI::V6 | ABI::V7 => rules
            .handle_access(AccessNet::from_all(version))?
            .scope(Scope::from_all(version))?,
        _ => rules,
    };
    rules.create().map(drop)
}

fn shut_files(needs: &Needs) -> Result<Extent, String> {
    for directory in &needs.writes {
        if !directory.is_dir() {
            return Err(format!("{} is no directory", directory.display()));
        }
    }
    match restrict(needs).map_err(|error| error.to_string())? {
        RulesetStatus::FullyEnforced => Ok(Extent::Full),
        RulesetStatus::PartiallyEnforced => Ok(Extent::Part),
        RulesetStatus::NotEnforced => {
            Err("this kernel has no landlock, or it is switched off".to_owned())
        }
    }
}

fn restrict(needs: &Needs) -> Result<RulesetStatus, RulesetError> {
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let writing: BitFlags<AccessFs> = reading
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeSock
        | AccessFs::MakeDir
        | AccessFs::RemoveFile;
    let reads = KERNELS
        .iter()
        .map(Path::new)
        .chain(needs.reads.iter().map(PathBuf::as_path));
    // No port may be bound, and none connected to but that of a host: what is served on is open already.
    let ports = needs.ports.iter();
    let ports = ports.map(|port| Ok::<_, RulesetError>(NetPort::new(*port, AccessNet::ConnectTcp)));
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V4))?
        .scope(Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(reads, reading))?
        .add_rules(path_beneath_rules(&needs.writes, writing))?
        .add_rules(ports)?
        .restrict_self()?;
    Ok(status.ruleset)
}

fn shut_calls(over_tcp: bool) -> Result<(), String> {
    let filters = filters(over_tcp).map_err(|error| error.to_string())?;
    for filter in &filters {
        apply_filter_all_threads(filter).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Two, because a filter has one answer for what it matches.
fn filters(over_tcp: bool) -> Result<[BpfProgram; 2], BackendError> {
    let machine = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = |rules, error: i32| -> Result<BpfProgram, BackendError> {
        let refuse = SeccompAction::Errno(error.unsigned_abs());
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, machine)?.try_into()
    };
    // A thread shares everything with its process; whatever does not is another process.
    let threads = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let mut rules: BTreeMap<libc::c_long, Vec<SeccompRule>> = REFUSED
        .iter()
        .chain(REFUSED_HERE)
        .map(|call| (*call, Vec::new()))
        .collect();
    let clone = only_if(SeccompCmpOp::MaskedEq(threads), 0)?;
    rules.insert(libc::SYS_clone, vec![clone]);
    let mut families = vec![libc::AF_UNIX];
    if over_tcp {
        families.extend([libc::AF_INET, libc::AF_INET6]);
    }
    let others = families
        .iter()
        .map(|family| condition(SeccompCmpOp::Ne, u64::from(family.unsigned_abs())));
    let socket = SeccompRule::new(others.collect::<Result<_, _>>()?)?;
    rules.insert(libc::SYS_socket, vec![socket]);
    // The flags of clone3 cannot be looked at, so it is told not to exist, and the C library takes clone instead.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok([filter(rules, libc::EPERM)?, filter(clone3, libc::ENOSYS)?])
}

fn only_if(first_argument: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![condition(first_argument, value)?])
}

fn condition(first_argument: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(0, SeccompCmpArgLen::Dword, first_argument, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_can_be_built_for_this_machine() {
        for over_tcp in [false, true] {
            let [calls, threads] = filters(over_tcp).expect("they can be built");
            assert!(calls.len() > REFUSED.len() && threads.len() > 1);
        }
    }

    #[test]
    fn a_directory_that_is_missing_leaves_files_open_rather_than_the_ledger_shut() {
        let needs = Needs {
            writes: vec!["no/such/directory".into()],
            ..Needs::default()
        };
        let problem = shut_files(&needs).expect_err("there is none");
        assert!(problem.contains("no/such/directory"), "{problem}");
    }
}
