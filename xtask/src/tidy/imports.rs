//! Who may import whom, within the sidecar and within the core, and what the core may not touch at all.
//!
//! A module in no row is a finding, so a new module is placed on purpose and not by accident. Test code is free.

use super::Finding;
use crate::rust::{PathUse, files_for_tests, module_of, paths};
use crate::tree::Tree;
use std::collections::BTreeSet;

/// A module and, in words, what it may import: modules of its crate, and crates of ours by their full name.
type Row = (&'static str, &'static str);

/// The sidecar. `lib` stands for what is in `src/lib.rs` itself.
const SIDECAR: &[Row] = &[
    ("main", "app cli config lib signal telemetry"),
    ("lib", "app config"),
    (
        "app",
        "act cage clock config decide flame host_client intake message origin place record reload sense serve signal supervisor tape tls view \
         trimtab_core trimtab_protocol",
    ),
    (
        "cli",
        // `doctor` tries what sense does with the very same readers.
        "cage config conform host_client lib place record sense signal telemetry tls view trimtab_core trimtab_flame trimtab_protocol trimtab_sys",
    ),
    // The profiler's own process.
    ("bin", "trimtab_flame"),
    // What runs first. They know no stage.
    (
        "config",
        "place tls trimtab_core trimtab_flame trimtab_protocol trimtab_sys",
    ),
    ("signal", ""),
    ("telemetry", "config"),
    // A judge of hosts from outside; it knows the wire and nothing of the sidecar.
    ("conform", "trimtab_protocol"),
    // What the process shuts itself in with.
    ("cage", ""),
    // Encryption, and tokens.
    ("tls", "trimtab_sys"),
    ("token", "trimtab_sys"),
    // What the stages stand on.
    ("clock", "trimtab_core trimtab_sys"),
    // Points at which a campaign makes it die; in no release.
    ("fail", "trimtab_sys"),
    ("host_client", "fail place trimtab_protocol trimtab_sys"),
    ("message", "trimtab_core trimtab_flame trimtab_protocol"),
    ("origin", ""),
    ("place", ""),
    ("supervisor", "view trimtab_core trimtab_protocol"),
    ("tape", "trimtab_core"),
    ("view", "trimtab_core trimtab_protocol"),
    // The stages. None imports another.
    (
        "sense",
        "clock fail host_client message place trimtab_core trimtab_protocol trimtab_sys",
    ),
    (
        "decide",
        "clock fail message tape trimtab_core trimtab_protocol",
    ),
    (
        "act",
        "clock fail host_client message trimtab_core trimtab_protocol",
    ),
    (
        "record",
        "clock fail message view trimtab_core trimtab_protocol",
    ),
    (
        "reload",
        "clock config message trimtab_core trimtab_protocol",
    ),
    (
        "serve",
        "clock message origin tls token view trimtab_core trimtab_flame trimtab_protocol",
    ),
    ("flame", "clock message view trimtab_flame"),
    (
        "intake",
        "clock message origin token trimtab_core trimtab_protocol trimtab_sys",
    ),
];

/// The core's plain data and helpers, which all of it may import; each also what stands above it here.
const CORE_LEAVES: &[&str] = &[
    "ablation",
    "moment",
    "number",
    "counts",
    "expression",
    "profile",
    "trigger",
    "kind",
    // Made-up readings and seeded bugs; they are in no build but that of the tests.
    "testing",
];

/// The core's stages: each may import what stands above it, and every leaf.
const CORE_STAGES: &[&str] = &[
    "observation",
    "window",
    "signal",
    "model",
    "regime",
    "policy",
    "guard",
    // What the controller returns; a plan in it is made by the guard alone.
    "decision",
    "controller",
    // All that a controller is told, written down.
    "recording",
];

/// What the core may not name, and why.
const IMPURE: &[(&str, &str)] = &[
    ("std::env", "a setting comes in the profile"),
    ("std::fs", "the shell reads and writes"),
    ("std::net", "the shell talks to hosts"),
    ("std::process", "the shell runs programs"),
    ("std::thread", "the core has no threads"),
    ("std::time", "time comes as a `Moment` and lasts a `Span`"),
];

/// Types that the core may not name, whatever path leads there.
const IMPURE_TYPES: &[(&str, &str)] = &[
    (
        "HashMap",
        "a `BTreeMap`, whose order is the same in every run",
    ),
    (
        "HashSet",
        "a `BTreeSet`, whose order is the same in every run",
    ),
    ("Instant", "time comes as a `Moment`"),
    ("SystemTime", "time comes as a `Moment`"),
];

pub(super) fn sidecar(tree: &Tree) -> Vec<Finding> {
    edges(tree, "src", |from, to| {
        let (_, allowed) = SIDECAR.iter().find(|(module, _)| *module == from)?;
        Some(allowed.split(' ').any(|allowed| allowed == to))
    })
}

pub(super) fn core(tree: &Tree) -> Vec<Finding> {
    edges(tree, "crates/core/src", |from, to| {
        if from == "lib" || to == "trimtab_protocol" {
            return Some(true);
        }
        let order: Vec<&str> = CORE_LEAVES.iter().chain(CORE_STAGES).copied().collect();
        let place = |name| order.iter().position(|module| *module == name);
        let from = place(from)?;
        Some(place(to).is_some_and(|to| to < from))
    })
}

/// Checks each import of each file; `allowed` answers nothing for a module that is in no row.
fn edges(tree: &Tree, source: &str, allowed: impl Fn(&str, &str) -> Option<bool>) -> Vec<Finding> {
    let hidden = files_for_tests(tree, source);
    let modules = modules(tree, source);
    let mut findings = Vec::new();
    for (path, _, syntax) in tree.rust().filter(|(path, _, _)| !hidden.contains(*path)) {
        let Some(module) = module_of(path, source) else {
            continue;
        };
        let from = match module.first() {
            Some(first) => first.as_str(),
            None if path.ends_with("/main.rs") => "main",
            None => "lib",
        };
        if allowed(from, "").is_none() {
            let right = "add it to the table in xtask/src/tidy/imports.rs, with what it may import";
            findings.push(Finding::new(
                path,
                1,
                format!("module `{from}` is in no row"),
                right,
            ));
            continue;
        }
        for used in paths(syntax, &module) {
            let Some(to) = target(&used, &modules, from) else {
                continue;
            };
            if to != from && allowed(from, to) == Some(false) {
                let what = format!("`{from}` imports `{to}`");
                let right = "who may import whom is a table in xtask/src/tidy/imports.rs; \
                             move what is shared below both";
                findings.push(Finding::new(path, used.line, what, right));
            }
        }
    }
    findings
}

/// The top modules of a crate, from its files.
fn modules(tree: &Tree, source: &str) -> BTreeSet<String> {
    let files = tree.files.keys();
    files
        .filter_map(|path| module_of(path, source)?.first().cloned())
        .collect()
}

/// The module or crate of ours that a path leads to.
fn target<'a>(used: &'a PathUse, modules: &'a BTreeSet<String>, from: &str) -> Option<&'a str> {
    let first = used.segments.first()?.as_str();
    let second = used.segments.get(1).map(String::as_str);
    match first {
        "crate" | "trimtab" => {
            let second = second?;
            Some(if modules.contains(second) {
                second
            } else {
                "lib"
            })
        }
        _ if first.starts_with("trimtab_") => Some(first),
        // In a crate's root file a module needs no `crate::` before it.
        _ if matches!(from, "lib" | "main") && second.is_some() => {
            modules.get(first).map(String::as_str)
        }
        _ => None,
    }
}

pub(super) fn purity(tree: &Tree) -> Vec<Finding> {
    let source = "crates/core/src";
    let hidden = files_for_tests(tree, source);
    let mut findings = Vec::new();
    for (path, _, syntax) in tree.rust().filter(|(path, _, _)| !hidden.contains(*path)) {
        let Some(module) = module_of(path, source) else {
            continue;
        };
        for used in paths(syntax, &module) {
            let written = used.segments.join("::");
            let by_path = IMPURE.iter().find(|(prefix, _)| {
                written == *prefix || written.starts_with(&format!("{prefix}::"))
            });
            let by_type = IMPURE_TYPES
                .iter()
                .find(|(name, _)| used.segments.iter().any(|segment| segment == name));
            if let Some((_, right)) = by_path.or(by_type) {
                let what = format!("the core names `{written}`");
                findings.push(Finding::new(path, used.line, what, *right));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(findings: &[Finding]) -> Vec<String> {
        findings
            .iter()
            .map(|finding| format!("{}:{} {}", finding.file, finding.line, finding.what))
            .collect()
    }

    #[test]
    fn a_stage_that_imports_another_stage_is_found() {
        let tree = Tree::of(&[
            (
                "src/lib.rs",
                "pub mod sense;\npub mod act;\npub mod serve;\n",
            ),
            (
                "src/sense/host.rs",
                "use crate::host_client::get;\nuse super::super::act::Plan;\n",
            ),
            ("src/host_client.rs", ""),
            ("src/act.rs", "fn f() { log!(crate::serve::go()); }"),
            (
                "src/serve.rs",
                "use trimtab_core::moment::Moment;\nuse trimtab_sys::clock;",
            ),
        ]);
        let expected = [
            "src/act.rs:1 `act` imports `serve`",
            "src/sense/host.rs:2 `sense` imports `act`",
            "src/serve.rs:2 `serve` imports `trimtab_sys`",
        ];
        assert_eq!(whats(&sidecar(&tree)), expected);
    }

    #[test]
    fn app_may_know_every_stage_and_main_only_the_first_steps() {
        let tree = Tree::of(&[
            (
                "src/app.rs",
                "use crate::{act, decide, intake, record, sense, serve};",
            ),
            (
                "src/main.rs",
                "use trimtab::{app, cli};\nuse trimtab::sense;\nfn f() { trimtab::run() }",
            ),
            ("src/act.rs", ""),
            ("src/cli.rs", ""),
            ("src/decide.rs", ""),
            ("src/intake.rs", ""),
            ("src/record.rs", ""),
            ("src/sense.rs", ""),
            ("src/serve.rs", ""),
        ]);
        assert_eq!(
            whats(&sidecar(&tree)),
            ["src/main.rs:2 `main` imports `sense`"]
        );
    }

    #[test]
    fn the_root_file_is_held_to_its_row_too() {
        let tree = Tree::of(&[
            (
                "src/lib.rs",
                "pub mod app;\npub mod sense;\nuse sense::X;\nfn run() { app::run() }",
            ),
            ("src/app.rs", ""),
            ("src/sense.rs", ""),
        ]);
        assert_eq!(
            whats(&sidecar(&tree)),
            ["src/lib.rs:3 `lib` imports `sense`"]
        );
    }

    #[test]
    fn a_module_in_no_row_is_found() {
        let tree = Tree::of(&[("src/helpers.rs", ""), ("crates/core/src/helpers/x.rs", "")]);
        assert_eq!(
            whats(&sidecar(&tree)),
            ["src/helpers.rs:1 module `helpers` is in no row"]
        );
        assert_eq!(
            whats(&core(&tree)),
            ["crates/core/src/helpers/x.rs:1 module `helpers` is in no row"]
        );
    }

    #[test]
    fn the_core_looks_back_and_never_ahead() {
        let tree = Tree::of(&[
            ("crates/core/src/lib.rs", "pub use controller::Controller;"),
            (
                "crates/core/src/controller.rs",
                "use crate::{guard::Guard, window, moment};",
            ),
            (
                "crates/core/src/guard.rs",
                "use crate::policy;\nuse crate::controller::Controller;",
            ),
            ("crates/core/src/moment.rs", "use crate::window::Window;"),
            (
                "crates/core/src/policy/size.rs",
                "use super::grow;\nuse crate::regime::Regime;",
            ),
            (
                "crates/core/src/regime.rs",
                "use trimtab_protocol::name::HostId;\nuse trimtab_host::x;",
            ),
            ("crates/core/src/window.rs", ""),
        ]);
        let expected = [
            "crates/core/src/guard.rs:2 `guard` imports `controller`",
            "crates/core/src/moment.rs:1 `moment` imports `window`",
            "crates/core/src/regime.rs:2 `regime` imports `trimtab_host`",
        ];
        assert_eq!(whats(&core(&tree)), expected);
    }

    #[test]
    fn a_clock_a_file_or_an_unordered_map_in_the_core_is_found() {
        let tree = Tree::of(&[
            (
                "crates/core/src/window.rs",
                "use std::{collections::{BTreeMap, HashMap}, fmt};\nfn f() -> std::time::Duration { x }\nfn g() { y!(std::fs::read(p)); }",
            ),
            (
                "crates/core/src/guard.rs",
                "#[cfg(test)] mod tests { use std::collections::HashSet; }",
            ),
            ("src/sense.rs", "use std::collections::HashMap;"),
        ]);
        let expected = [
            "crates/core/src/window.rs:1 the core names `std::collections::HashMap`",
            "crates/core/src/window.rs:2 the core names `std::time::Duration`",
            "crates/core/src/window.rs:3 the core names `std::fs::read`",
        ];
        assert_eq!(whats(&purity(&tree)), expected);
    }
}
