//! What the packages of the workspace depend on, and that all of them take its lints.

use super::Finding;
use crate::tree::{Package, Tree};
use std::collections::BTreeSet;

/// Which of our packages each of our packages may need to run. Tests may use more.
const EDGES: &[(&str, &[&str])] = &[
    (
        "trimtab",
        &[
            "trimtab-core",
            "trimtab-flame",
            "trimtab-protocol",
            "trimtab-sys",
        ],
    ),
    ("trimtab-adapt", &["trimtab-host", "trimtab-protocol"]),
    (
        "trimtab-checks",
        &[
            "trimtab-core",
            "trimtab-host",
            "trimtab-protocol",
            "trimtab-sys",
        ],
    ),
    ("trimtab-core", &["trimtab-protocol"]),
    ("trimtab-flame", &["trimtab-protocol", "trimtab-sys"]),
    ("trimtab-host", &["trimtab-protocol", "trimtab-sys"]),
    ("trimtab-protocol", &[]),
    ("trimtab-sim", &["trimtab-core", "trimtab-protocol"]),
    ("trimtab-sys", &[]),
    ("xtask", &["trimtab-protocol", "trimtab-sys"]),
];

/// All that these packages may ask for without a feature.
const WHOLE_DIET: &[(&str, &[&str])] = &[
    ("trimtab-core", &["libm", "serde", "trimtab-protocol"]),
    ("trimtab-protocol", &["serde"]),
];

/// What may not be below those packages, however far down.
const IMPURE: &[&str] = &[
    "chrono",
    "fastrand",
    "getrandom",
    "libc",
    "log",
    "metrics",
    "mio",
    "rand",
    "rand_core",
    "rustix",
    "time",
    "tokio",
    "tracing",
    "tracing-core",
];

/// The package in which unsafe code may stand, and which therefore has lints of its own.
const UNSAFE_PACKAGE: &str = "trimtab-sys";

pub(super) fn edges(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &tree.packages {
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == package.name) else {
            let what = format!("package `{}` is in no row", package.name);
            let right = "add it to the table in xtask/src/tidy/packages.rs, with what it may need";
            findings.push(Finding::new(&package.manifest, 1, what, right));
            continue;
        };
        let runs = package.dependencies.iter().filter(|needed| !needed.dev);
        for needed in runs.filter(|needed| needed.ours && !allowed.contains(&&*needed.name)) {
            let line = tree.line_of(&package.manifest, &needed.name);
            let what = format!("`{}` depends on `{}`", package.name, needed.name);
            let right = format!("of ours it may need only {}", list(allowed));
            findings.push(Finding::new(&package.manifest, line, what, right));
        }
    }
    findings
}

pub(super) fn purity(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, diet) in WHOLE_DIET {
        let Some(package) = tree.packages.iter().find(|it| it.name == *name) else {
            continue;
        };
        let mut report = |text: &str, what: String, right: String| {
            let line = tree.line_of(&package.manifest, text);
            findings.push(Finding::new(&package.manifest, line, what, right));
        };
        for needed in always_needed(package) {
            if !diet.contains(&needed) {
                let what = format!("`{name}` depends on `{needed}`");
                report(needed, what, format!("it needs only {}", list(diet)));
            }
        }
        if !package.default_features.is_empty() {
            let what = format!("`{name}` has default features");
            report(
                "default",
                what,
                "none, so that nothing comes unasked".to_owned(),
            );
        }
        for impure in below(tree, package).intersection(&IMPURE.iter().copied().collect()) {
            let what = format!("below `{name}` there is `{impure}`");
            let right = "no runtime, clock, randomness, log or system call below it".to_owned();
            report("[dependencies]", what, right);
        }
    }
    findings
}

fn always_needed(package: &Package) -> impl Iterator<Item = &str> {
    let needed = package.dependencies.iter();
    needed
        .filter(|needed| !needed.dev && !needed.optional)
        .map(|needed| needed.name.as_str())
}

/// All packages that a package needs without its features, however far down. What another package of the workspace turns on
/// by a feature counts for that one, not here, so optional dependencies of ours are left out at every step.
fn below<'a>(tree: &'a Tree, package: &'a Package) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = always_needed(package).collect();
    while let Some(name) = open.pop() {
        if !found.insert(name) {
            continue;
        }
        match tree.packages.iter().find(|it| it.name == name) {
            Some(ours) => open.extend(always_needed(ours)),
            None => open.extend(
                tree.resolved
                    .get(name)
                    .into_iter()
                    .flatten()
                    .map(String::as_str),
            ),
        }
    }
    found
}

pub(super) fn lints(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &tree.packages {
        let table = manifest(tree, &package.manifest);
        let takes = table
            .get("lints")
            .and_then(|lints| lints.get("workspace"))
            .and_then(toml::Value::as_bool);
        if takes != Some(true) && package.name != UNSAFE_PACKAGE {
            let what = format!("`{}` does not take the workspace's lints", package.name);
            let right = "`[lints] workspace = true`, which also forbids unsafe code";
            findings.push(Finding::new(&package.manifest, 1, what, right));
        }
    }
    let workspace = manifest(tree, "Cargo.toml");
    let unsafe_code = workspace
        .get("workspace")
        .and_then(|workspace| workspace.get("lints")?.get("rust")?.get("unsafe_code"))
        .and_then(toml::Value::as_str);
    if unsafe_code != Some("forbid") {
        let line = tree.line_of("Cargo.toml", "[workspace.lints.rust]");
        let what = "the workspace does not forbid unsafe code";
        findings.push(Finding::new(
            "Cargo.toml",
            line,
            what,
            "`unsafe_code = \"forbid\"`",
        ));
    }
    findings
}

fn manifest(tree: &Tree, path: &str) -> toml::Table {
    let file = tree.files.get(path);
    file.and_then(|file| file.text.parse().ok())
        .unwrap_or_default()
}

fn list(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        names => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Dependency;

    fn package(name: &str, needed: &[&str]) -> Package {
        let dependencies = needed.iter().map(|name| Dependency {
            name: name.trim_end_matches(['?', '*']).to_owned(),
            ours: name.starts_with("trimtab"),
            optional: name.ends_with('?'),
            dev: name.ends_with('*'),
        });
        Package {
            name: name.to_owned(),
            manifest: format!("crates/{name}/Cargo.toml"),
            dependencies: dependencies.collect(),
            default_features: Vec::new(),
        }
    }

    fn tree(packages: &[Package]) -> Tree {
        Tree {
            packages: packages.to_vec(),
            ..Tree::default()
        }
    }

    fn whats(findings: &[Finding]) -> Vec<&str> {
        findings
            .iter()
            .map(|finding| finding.what.as_str())
            .collect()
    }

    #[test]
    fn a_package_that_needs_the_wrong_one_of_ours_is_found() {
        let tree = tree(&[
            package(
                "trimtab",
                &["trimtab-core", "trimtab-host*", "trimtab-host"],
            ),
            package("trimtab-sys", &["trimtab-protocol", "libc"]),
            package("trimtab-new", &[]),
        ]);
        let expected = [
            "`trimtab` depends on `trimtab-host`",
            "`trimtab-sys` depends on `trimtab-protocol`",
            "package `trimtab-new` is in no row",
        ];
        assert_eq!(whats(&edges(&tree)), expected);
        assert_eq!(edges(&tree)[1].right, "of ours it may need only nothing");
    }

    #[test]
    fn the_core_may_eat_only_its_diet() {
        let tree = tree(&[
            package(
                "trimtab-core",
                &["libm", "serde", "rand", "proptest*", "trimtab-protocol"],
            ),
            package("trimtab-protocol", &["serde", "utoipa?"]),
        ]);
        let expected = [
            "`trimtab-core` depends on `rand`",
            "below `trimtab-core` there is `rand`",
        ];
        assert_eq!(whats(&purity(&tree)), expected);
    }

    #[test]
    fn impurity_is_found_however_far_below() {
        let mut tree = tree(&[package("trimtab-protocol", &["serde"])]);
        let needs = |name: &str| BTreeSet::from([name.to_owned()]);
        tree.resolved
            .insert("serde".to_owned(), needs("serde_core"));
        assert_eq!(purity(&tree), []);
        tree.resolved
            .insert("serde_core".to_owned(), needs("tokio"));
        assert_eq!(
            whats(&purity(&tree)),
            ["below `trimtab-protocol` there is `tokio`"]
        );
    }

    #[test]
    fn a_default_feature_of_the_protocol_is_found() {
        let mut protocol = package("trimtab-protocol", &["serde", "utoipa?"]);
        protocol.default_features = vec!["openapi".to_owned()];
        let tree = tree(&[protocol]);
        assert_eq!(
            whats(&purity(&tree)),
            ["`trimtab-protocol` has default features"]
        );
    }

    #[test]
    fn a_package_without_the_lints_is_found() {
        let with = "[lints]\nworkspace = true\n";
        let mut tree = Tree::of(&[
            (
                "Cargo.toml",
                "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n",
            ),
            ("crates/trimtab-core/Cargo.toml", with),
            ("crates/trimtab-sys/Cargo.toml", ""),
            ("crates/trimtab-host/Cargo.toml", "[package]\n"),
        ]);
        tree.packages = ["core", "sys", "host"]
            .map(|name| package(&format!("trimtab-{name}"), &[]))
            .to_vec();
        assert_eq!(
            whats(&lints(&tree)),
            ["`trimtab-host` does not take the workspace's lints"]
        );
        let tree = Tree::of(&[(
            "Cargo.toml",
            "[workspace.lints.rust]\nunsafe_code = \"warn\"\n",
        )]);
        assert_eq!(
            whats(&lints(&tree)),
            ["the workspace does not forbid unsafe code"]
        );
    }
}
