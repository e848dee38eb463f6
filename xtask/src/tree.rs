//! The tree that the checks look at: the files of the repository and its packages.
//!
//! Checks take a [`Tree`] and never the disk, so that a test can hand them a small tree with a fault in it.

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Directories that hold nothing of ours, at whatever depth.
const NOT_OURS: [&str; 3] = [".git", "node_modules", "target"];

/// The repository as the checks see it.
#[derive(Default)]
pub(crate) struct Tree {
    /// The files by their path from the root, with `/` between the parts.
    pub(crate) files: BTreeMap<String, File>,
    /// The packages of the workspace.
    pub(crate) packages: Vec<Package>,
    /// What each package in the lock file depends on to run, by name.
    pub(crate) resolved: BTreeMap<String, BTreeSet<String>>,
}

/// One file.
#[derive(Default)]
pub(crate) struct File {
    /// Its text; empty when it is not UTF-8.
    pub(crate) text: String,
    /// Its syntax, when it is Rust and can be parsed.
    pub(crate) syntax: Option<syn::File>,
    /// Where and why it cannot be parsed.
    pub(crate) broken: Option<(usize, String)>,
}

/// One package of the workspace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its manifest's path from the root.
    pub(crate) manifest: String,
    /// What its manifest asks for.
    pub(crate) dependencies: Vec<Dependency>,
    /// What its feature `default` switches on.
    pub(crate) default_features: Vec<String>,
}

/// One dependency as a manifest states it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dependency {
    /// The name of the package that is meant.
    pub(crate) name: String,
    /// Whether it is one of this workspace.
    pub(crate) ours: bool,
    /// Whether only a feature brings it in.
    pub(crate) optional: bool,
    /// Whether only tests, examples and benches see it.
    pub(crate) dev: bool,
}

impl Tree {
    /// Reads the repository and asks cargo about its packages.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        let walk = walkdir::WalkDir::new(root)
            .into_iter()
            .filter_entry(|entry| {
                !(entry.file_type().is_dir()
                    && NOT_OURS.iter().any(|name| entry.file_name() == *name))
            });
        for entry in walk {
            let entry = entry.context("the repository cannot be read")?;
            if entry.file_type().is_file() {
                let relative = entry.path().strip_prefix(root)?;
                let path = relative.to_string_lossy().replace('\\', "/");
                let bytes = std::fs::read(entry.path())
                    .with_context(|| format!("{path} cannot be read"))?;
                tree.add(path, String::from_utf8(bytes).unwrap_or_default());
            }
        }
        let metadata = MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .other_options(["--locked".to_owned()])
            .exec()
            .context("cargo cannot describe the workspace; is Cargo.lock up to date?")?;
        tree.packages = packages(&metadata);
        tree.resolved = resolved(&metadata);
        Ok(tree)
    }

    /// A tree of these files, for tests.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.add((*path).to_owned(), (*text).to_owned());
        }
        tree
    }

    fn add(&mut self, path: String, text: String) {
        let mut file = File {
            text,
            ..File::default()
        };
        if path.ends_with(".rs") {
            match syn::parse_file(&file.text) {
                Ok(syntax) => file.syntax = Some(syntax),
                Err(error) => {
                    file.broken = Some((error.span().start().line, error.to_string()));
                }
            }
        }
        self.files.insert(path, file);
    }

    /// The Rust files with their syntax.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &File, &syn::File)> {
        self.files
            .iter()
            .filter_map(|(path, file)| Some((path.as_str(), file, file.syntax.as_ref()?)))
    }

    /// Whether a path, with or without a closing `/`, is a file or a directory of the tree.
    pub(crate) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.files.contains_key(path) || {
            let below = format!("{path}/");
            self.files
                .range(below.clone()..)
                .next()
                .is_some_and(|(file, _)| file.starts_with(&below))
        }
    }

    /// The line of a file, from 1, on which a text first stands; 1 when it does not.
    pub(crate) fn line_of(&self, path: &str, text: &str) -> usize {
        self.files
            .get(path)
            .and_then(|file| file.text.lines().position(|line| line.contains(text)))
            .map_or(1, |index| index + 1)
    }
}

fn packages(metadata: &Metadata) -> Vec<Package> {
    let describe = |package: &&cargo_metadata::Package| {
        let manifest = package
            .manifest_path
            .strip_prefix(&metadata.workspace_root)
            .unwrap_or(&package.manifest_path);
        let dependencies = package.dependencies.iter().map(|dependency| Dependency {
            name: dependency.name.clone(),
            ours: dependency.path.is_some(),
            optional: dependency.optional,
            dev: dependency.kind == DependencyKind::Development,
        });
        Package {
            name: package.name.to_string(),
            manifest: manifest.to_string(),
            dependencies: dependencies.collect(),
            default_features: package.features.get("default").cloned().unwrap_or_default(),
        }
    };
    metadata.workspace_packages().iter().map(describe).collect()
}

fn resolved(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let mut resolved = BTreeMap::<String, BTreeSet<String>>::new();
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    for node in nodes {
        let runs = node.deps.iter().filter(|dependency| {
            dependency
                .dep_kinds
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal)
        });
        resolved
            .entry(metadata[&node.id].name.to_string())
            .or_default()
            .extend(runs.map(|dependency| metadata[&dependency.pkg].name.to_string()));
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_there_when_a_file_is_below_it() {
        let tree = Tree::of(&[("docs/api.md", "# API"), ("docs-old/a.md", "")]);
        assert!(tree.has("docs/api.md") && tree.has("docs") && tree.has("docs/"));
        assert!(!tree.has("doc") && !tree.has("docs/ap") && !tree.has("docs-"));
    }

    #[test]
    fn the_real_tree_is_read_with_its_packages_and_what_they_need() {
        let tree = Tree::read(&crate::workspace_root()).expect("the repository is readable");
        assert!(tree.has("crates/protocol/src/lib.rs") && !tree.has("target"));
        let core = tree.packages.iter().find(|it| it.name == "trimtab-core");
        let core = core.expect("the workspace has a core");
        assert_eq!(core.manifest, "crates/core/Cargo.toml");
        assert!(
            core.dependencies
                .iter()
                .any(|it| it.name == "trimtab-protocol" && it.ours)
        );
        assert!(tree.resolved["serde"].contains("serde_core"));
    }
}
