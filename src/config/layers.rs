//! Which files a configuration is made of, and in which order.

use super::error::Finding;
use super::raw::{Desk, Parsed, Source, parse};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most drop-in files that are read.
const DROP_INS_MAX: usize = 64;

/// The file and its drop-ins, the one that outranks the others last. What cannot be read is reported and left out.
pub(super) fn sources(path: Option<&Path>, desk: &Desk<'_>) -> Vec<Arc<Source>> {
    let Some(path) = path else {
        return vec![Source::built_in("trimtab.toml", "")];
    };
    let mut sources = Vec::new();
    let mut take = |read: Result<Arc<Source>, Finding>| match read {
        Ok(source) => sources.push(source),
        Err(finding) => desk.report(finding),
    };
    let base = desk.read(path, None);
    // Drop-ins of a file that is not there would be held for the whole.
    let drop_ins = if base.is_ok() {
        drop_ins(path, desk)
    } else {
        Vec::new()
    };
    take(base);
    for file in drop_ins {
        take(desk.read(&file, None));
    }
    sources
}

/// Parses them; one that is no TOML is reported and left out.
pub(super) fn parsed<'a>(sources: &'a [Arc<Source>], desk: &Desk<'_>) -> Vec<Parsed<'a>> {
    let parsed = sources.iter().filter_map(|source| {
        let table = parse(source, desk)?;
        Some(Parsed { source, table })
    });
    parsed.collect()
}

/// The directories in which a file and its drop-ins are, whether there now or not.
pub(super) fn directories(path: &Path) -> Vec<PathBuf> {
    vec![parent(path), drop_in_directory(path)]
}

/// The directory of a file, as one that can be opened.
pub(super) fn parent(path: &Path) -> PathBuf {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// `trimtab.toml` has its drop-ins in `trimtab.d`.
fn drop_in_directory(path: &Path) -> PathBuf {
    path.with_extension("d")
}

fn drop_ins(path: &Path, desk: &Desk<'_>) -> Vec<PathBuf> {
    let directory = drop_in_directory(path);
    let Ok(entries) = std::fs::read_dir(&directory) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    if files.len() > DROP_INS_MAX {
        let title = format!("`{}` holds {} files", directory.display(), files.len());
        desk.report(Finding::new(title).note(format!(
            "at most {DROP_INS_MAX} are read; is this the right directory?"
        )));
        return Vec::new();
    }
    files
}
