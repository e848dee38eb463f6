//! What a cargo that is started within a cargo must not inherit. The demo and the tests start one too, and share this file.

use std::ffi::OsString;

/// The variables in which the outer cargo says which package it runs. Build scripts that read them would take that for a change,
/// and programs would be built anew and their files replaced while they run.
pub(crate) fn told_by_the_outer() -> impl Iterator<Item = OsString> {
    std::env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        name == "OUT_DIR" || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    })
}
