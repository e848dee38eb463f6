//! The files whose code was seen in some process, each kept once and open.
//!
//! An open file outlives its name: what was deleted, or lies in another mount namespace, or belonged to a process that has
//! ended, can still be read when a graph is drawn.

use crate::elf::Image;
use crate::kind::Kind;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many files are kept. No process maps as many.
const MODULES_MAX: usize = 4_096;
/// The kernel's page of code is a few kilobytes.
const VDSO_BYTES_MAX: u64 = 1 << 20;

/// A file by its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ModuleId(u32);

/// A file with code.
#[derive(Debug)]
pub(crate) struct Module {
    /// What it is called: the last part of its path.
    pub(crate) name: String,
    /// What unwinding needs of it.
    pub(crate) image: Image,
    file: Option<File>,
}

impl Module {
    /// A path under which this process can read the file, whatever became of its name.
    pub(crate) fn readable(&self) -> Option<PathBuf> {
        let file = self.file.as_ref()?;
        Some(PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))
    }
}

/// The table of them, shared by those who collect and those who name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Modules(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    all: Vec<Arc<Module>>,
    /// By device and inode. What is no program is remembered as nothing.
    known: HashMap<(u64, u64), Option<ModuleId>>,
    vdso: Option<Option<ModuleId>>,
    /// How much of its stacks must be copied, by process and kind, where the usual was too little or too much.
    copies: HashMap<(u32, Kind), u32>,
}

impl Modules {
    /// A file by its id.
    pub(crate) fn get(&self, id: ModuleId) -> Option<Arc<Module>> {
        let index = usize::try_from(id.0).ok()?;
        self.table().all.get(index).cloned()
    }

    /// The file that a process maps under this path; nothing when it cannot be read or is no program.
    pub(crate) fn of_path(&self, pid: u32, path: &str) -> Option<ModuleId> {
        let file = open(pid, path)?;
        let meta = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let key = (meta.dev(), meta.ino());
        let mut table = self.table();
        if let Some(known) = table.known.get(&key) {
            return *known;
        }
        let module = Image::read(&file).map(|image| {
            let path = path.trim_end_matches(DELETED);
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            Module {
                name,
                image,
                file: Some(file),
            }
        });
        let id = module.and_then(|module| table.add(module));
        table.known.insert(key, id);
        id
    }

    /// The code that the kernel itself puts into every process; this process has the same as all others of its kind.
    pub(crate) fn vdso(&self) -> Option<ModuleId> {
        let mut table = self.table();
        if let Some(known) = table.vdso {
            return known;
        }
        let module = own_vdso().and_then(|bytes| {
            let image = Image::from_bytes(&bytes)?;
            Some(Module {
                name: "[vdso]".to_owned(),
                image,
                file: None,
            })
        });
        let id = module.and_then(|module| table.add(module));
        table.vdso = Some(id);
        id
    }

    /// How much of a process's stacks is to be copied: what was found out earlier, or else this.
    pub(crate) fn stack_bytes(&self, pid: u32, kind: Kind, usual: u32) -> u32 {
        let known = self.table().copies.get(&(pid, kind)).copied();
        known.unwrap_or(usual)
    }

    /// Whether that was found out.
    pub(crate) fn knows_stack_bytes(&self, pid: u32, kind: Kind) -> bool {
        self.table().copies.contains_key(&(pid, kind))
    }

    /// Notes that so much must be copied.
    pub(crate) fn note_stack_bytes(&self, pid: u32, kind: Kind, bytes: u32) {
        let mut table = self.table();
        if table.copies.len() >= MODULES_MAX {
            table.copies.clear();
        }
        table.copies.insert((pid, kind), bytes);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn add(&mut self, module: Module) -> Option<ModuleId> {
        if self.all.len() >= MODULES_MAX {
            return None;
        }
        let id = ModuleId(u32::try_from(self.all.len()).ok()?);
        self.all.push(Arc::new(module));
        Some(id)
    }
}

/// Opens a file as the process sees it: in its own root; its program also after it was deleted or replaced.
fn open(pid: u32, path: &str) -> Option<File> {
    if path.ends_with(DELETED) {
        let program = format!("/proc/{pid}/exe");
        let is_program =
            std::fs::read_link(&program).is_ok_and(|target| target.to_str() == Some(path));
        return File::open(program).ok().filter(|_| is_program);
    }
    let in_its_root = File::open(format!("/proc/{pid}/root{path}"));
    in_its_root.or_else(|_| File::open(path)).ok()
}

fn own_vdso() -> Option<Vec<u8>> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"))?;
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    let (start, end) = (
        u64::from_str_radix(start, 16).ok()?,
        u64::from_str_radix(end, 16).ok()?,
    );
    let length = end
        .checked_sub(start)
        .filter(|length| *length <= VDSO_BYTES_MAX)?;
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    File::open("/proc/self/mem")
        .ok()?
        .read_exact_at(&mut bytes, start)
        .ok()?;
    Some(bytes)
}

/// What the kernel writes behind the path of a file that has no name any more.
const DELETED: &str = " (deleted)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_kept_once_and_can_be_read_after_it_was_deleted() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("program");
        std::fs::copy("/proc/self/exe", &path).expect("it can be copied");
        let path = path.to_str().expect("it is text");
        let modules = Modules::default();
        let first = modules
            .of_path(std::process::id(), path)
            .expect("it is a program");
        assert_eq!(modules.of_path(std::process::id(), path), Some(first));
        std::fs::remove_file(path).expect("it is ours");
        let module = modules.get(first).expect("it is kept");
        assert_eq!(module.name, "program");
        let again = File::open(module.readable().expect("it has a file")).expect("it is open");
        assert!(Image::read(&again).is_some());
    }

    #[test]
    fn what_was_found_out_of_a_process_is_kept() {
        let modules = Modules::default();
        modules.note_stack_bytes(7, Kind::Cpu, 32_768);
        let copy = |pid, kind| modules.clone().stack_bytes(pid, kind, 16_384);
        assert_eq!(copy(7, Kind::Cpu), 32_768);
        assert_eq!(
            (copy(8, Kind::Cpu), copy(7, Kind::Offcpu)),
            (16_384, 16_384)
        );
        assert!(modules.knows_stack_bytes(7, Kind::Cpu));
        assert!(!modules.knows_stack_bytes(7, Kind::Wall));
    }

    #[test]
    fn what_is_no_program_is_no_module() {
        let modules = Modules::default();
        let pid = std::process::id();
        assert_eq!(modules.of_path(pid, "/etc/passwd"), None);
        assert_eq!(modules.of_path(pid, "/no/such/file"), None);
        assert_eq!(modules.of_path(pid, "/dev/zero"), None);
    }

    #[test]
    fn the_kernels_own_page_of_code_can_be_unwound() {
        let modules = Modules::default();
        let Some(id) = modules.vdso() else {
            println!("skipped: this kernel shows no [vdso]");
            return;
        };
        assert_eq!(modules.vdso(), Some(id));
        assert_eq!(modules.get(id).expect("it is kept").name, "[vdso]");
    }
}
