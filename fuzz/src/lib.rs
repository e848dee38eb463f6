//! The bodies of `tests/it/fuzz.rs`, for the targets beside this.

use std::path::Path;
use std::sync::LazyLock;
use tempfile::TempDir;

#[path = "../../tests/it/fuzz/bodies.rs"]
mod bodies;
#[path = "../../tests/it/fuzz/shown.rs"]
mod shown;

/// A directory for what a body reads from a file; it stays when a fuzzer is ended.
fn scratch() -> &'static Path {
    static SCRATCH: LazyLock<TempDir> =
        LazyLock::new(|| tempfile::tempdir().expect("there is a place for temporary files"));
    SCRATCH.path()
}

/// What comes from a host.
pub fn host_answer(bytes: &[u8]) {
    bodies::host_answer(bytes);
}

/// What comes to a host.
pub fn host_request(bytes: &[u8]) {
    bodies::host_request(bytes);
}

/// What the kernel tells of processes and control groups.
pub fn kernel_file(bytes: &[u8]) {
    bodies::kernel_file(bytes);
}

/// A profile and a configuration.
pub fn configuration(bytes: &[u8]) {
    bodies::configuration(scratch(), bytes);
}

/// A file of the ledger.
pub fn ledger(bytes: &[u8]) {
    bodies::ledger(scratch(), bytes);
}

/// What a query names as an entry.
pub fn entry_name(bytes: &[u8]) {
    bodies::entry_name(bytes);
}

/// Names of a foreign process, as pictures and profiles.
pub fn picture(bytes: &[u8]) {
    shown::picture(bytes);
}

/// A host as metrics.
pub fn metrics(bytes: &[u8]) {
    shown::metrics(bytes);
}

/// What a page is asked.
pub fn page(bytes: &[u8]) {
    thread_local!(static PAGES: shown::Pages = shown::Pages::new());
    PAGES.with(|pages| pages.ask(bytes));
}
