//! Makes a copy of the source of the host's movable limit in which locks and atomics are shuttle's, one in which they are
//! loom's, and copies of both in each of which one line is wrong.

use std::fs;
use std::path::Path;

/// The name of a copy, what stands in the source exactly once, and what stands in the copy instead.
const COPIES: [(&str, &str, &str); 4] = [
    ("real", "", ""),
    (
        "forgets_who_came_meanwhile",
        "was handed to nobody.
        self.settle(queue, settled);",
        "was handed to nobody.
        self.publish(queue);",
    ),
    (
        "takes_above_the_limit",
        "let free = (word & IN_USE) < word >> LIMIT_SHIFT;",
        "let free = (word & IN_USE) <= word >> LIMIT_SHIFT;",
    ),
    (
        "grows_without_a_word",
        "if before & WAITERS != 0 {
            self.dispatch();",
        "if before & WAITERS == 1 {
            self.dispatch();",
    ),
];

fn main() {
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/src");
    println!("cargo::rerun-if-changed={}", host.display());
    let read = |name: &str| {
        let text = fs::read_to_string(host.join(name)).expect("the host's source is beside");
        inside(&text)
    };
    let counters = read("counters.rs")
        .replace(
            "mod reading;",
            &block("mod reading", &read("counters/reading.rs")),
        )
        .replace(
            "mod tally;",
            &block("mod tally", &read("counters/tally.rs")),
        );
    let part = "pub(crate) use trimtab_host::part::PartFigures;";
    let shuttle = [
        block("pub(crate) mod fuse", &scheduled(&read("fuse.rs"))),
        block("pub(crate) mod sharded", &read("sharded.rs")),
        block("pub(crate) mod part", part),
        block("pub(crate) mod counters", &counters),
    ];
    let limit = with_parts(&read, [scheduled, scheduled, scheduled]);
    write("limits", &copies("limits", &shuttle.concat(), &limit));
    // What only counts and what only shows is left out here: each atomic in it would be one more place to switch threads at.
    let counters = "pub(crate) use crate::looms::counters::{Counters, Stint};";
    let loom = [
        block("pub(crate) mod fuse", &modelled(&read("fuse.rs"))),
        block("pub(crate) mod sharded", &read("sharded.rs")),
        block("pub(crate) mod counters", counters),
    ];
    let limit = with_parts(&read, [modelled, str::to_owned, modelled]);
    write("looms", &copies("looms", &loom.concat(), &limit));
}

/// The limit with its two parts in it, each rewritten in its own way.
fn with_parts(read: &dyn Fn(&str) -> String, ways: [fn(&str) -> String; 3]) -> String {
    let [limit, line, waiter] = ways;
    limit(&read("limit.rs"))
        .replace(
            "mod line;",
            &block("mod line", &line(&read("limit/line.rs"))),
        )
        .replace(
            "mod waiter;",
            &block("mod waiter", &waiter(&read("limit/waiter.rs"))),
        )
}

/// A module of each copy, in a module of this name.
fn copies(parent: &str, beside: &str, limit: &str) -> String {
    let mut all = String::new();
    for (name, right, wrong) in COPIES {
        let limit = if right.is_empty() {
            limit.to_owned()
        } else {
            assert_eq!(
                limit.matches(right).count(),
                1,
                "{name}: the source has changed"
            );
            limit.replace(right, wrong)
        };
        let reason = "it is a copy, and its original is held to every rule";
        let head =
            format!("#[allow(warnings, clippy::all, clippy::pedantic, reason = \"{reason}\")]\n");
        let code = format!("{beside}{}", block("pub(crate) mod limit", &limit))
            .replace("crate::", &format!("crate::{parent}::{name}::"))
            .replace(
                &format!("crate::{parent}::{name}::looms::"),
                "crate::looms::",
            );
        all += &format!("{head}pub(crate) mod {name} {{\n{code}\n}}\n");
    }
    all
}

fn write(name: &str, code: &str) {
    let out = std::env::var_os("OUT_DIR").expect("cargo says where to write");
    let path = Path::new(&out).join(format!("{name}.rs"));
    fs::write(path, code).expect("cargo's own directory is writable");
}

/// A file without its heading and its tests.
fn inside(text: &str) -> String {
    let text = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with("//!"));
    lines.map(|line| format!("{line}\n")).collect()
}

fn scheduled(text: &str) -> String {
    text.replace("std::sync::", "shuttle::sync::")
}

/// Locks and atomics are loom's; what is only shared or told stays.
fn modelled(text: &str) -> String {
    text.replace("std::sync::atomic::", "loom::sync::atomic::")
        .replace(
            "use std::sync::{Arc, Mutex, MutexGuard, PoisonError};",
            "use loom::sync::{Mutex, MutexGuard};\nuse std::sync::{Arc, PoisonError};",
        )
        .replace(
            "use std::sync::{Arc, Mutex, PoisonError};",
            "use loom::sync::Mutex;\nuse std::sync::{Arc, PoisonError};",
        )
        .replace(
            "use std::sync::{Mutex, PoisonError};",
            "use loom::sync::Mutex;\nuse std::sync::PoisonError;",
        )
        .replace("std::sync::MutexGuard", "loom::sync::MutexGuard")
}

fn block(head: &str, code: &str) -> String {
    format!("{head} {{\n{code}\n}}\n")
}
