//! The documents of both APIs, made from the types of `trimtab-protocol`, so that they cannot say what the code does not.
//!
//! The calls are written down here, for a host or a sidecar in another language has no routes of ours to read them from.

mod call;
mod control;
mod graphs;
mod sidecar;

use anyhow::{Context, Result, bail};
use std::path::Path;

/// The documents and their files.
fn documents() -> Result<Vec<(&'static str, String)>> {
    let documents = [
        ("docs/control-api.openapi.json", control::document()),
        ("docs/sidecar-api.openapi.json", sidecar::document()),
    ];
    let written = documents.into_iter().map(|(path, document)| {
        let text = document
            .to_pretty_json()
            .context("a document cannot be written as JSON")?;
        Ok((path, text + "\n"))
    });
    written.collect()
}

/// Writes the documents.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(root: &Path) -> Result<()> {
    std::fs::create_dir_all(root.join("docs")).context("docs cannot be created")?;
    for (path, text) in documents()? {
        std::fs::write(root.join(path), text)
            .with_context(|| format!("{path} cannot be written"))?;
        println!("wrote {path}");
    }
    Ok(())
}

/// Compares the documents with their files.
///
/// # Errors
/// When a file is missing or says something else than the types.
pub(crate) fn check(root: &Path) -> Result<()> {
    for (path, text) in documents()? {
        let found = std::fs::read_to_string(root.join(path))
            .with_context(|| format!("{path} cannot be read"))?;
        if found != text {
            let differs = text
                .lines()
                .zip(found.lines())
                .position(|(new, old)| new != old);
            let line = differs.map_or(1, |index| index + 1);
            bail!("{path}:{line}: the types say something else now: run `cargo xtask openapi`");
        }
        println!("{path} is up to date");
    }
    Ok(())
}

#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;
