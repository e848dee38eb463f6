//! Makes a copy of the source of the host's movable limit in which locks and atomics are shuttle's, and copies of that in each
//! of which one line is wrong.

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
    let limit = scheduled(&read("limit.rs"))
        .replace(
            "mod line;",
            &block("mod line", &scheduled(&read("limit/line.rs"))),
        )
        .replace(
            "mod waiter;",
            &block("mod waiter", &scheduled(&read("limit/waiter.rs"))),
        );
    let mut all = String::new();
    for (name, right, wrong) in COPIES {
        let limit = if right.is_empty() {
            limit.clone()
        } else {
            assert_eq!(
                limit.matches(right).count(),
                1,
                "{name}: the source has changed"
            );
            limit.replace(right, wrong)
        };
        let modules = [
            block("pub(crate) mod fuse", &scheduled(&read("fuse.rs"))),
            block("pub(crate) mod sharded", &read("sharded.rs")),
            block(
                "pub(crate) mod part",
                "pub(crate) use trimtab_host::part::PartFigures;",
            ),
            block("pub(crate) mod counters", &counters),
            block("pub(crate) mod limit", &limit),
        ];
        let reason = "it is a copy, and its original is held to every rule";
        let head =
            format!("#[allow(warnings, clippy::all, clippy::pedantic, reason = \"{reason}\")]\n");
        let code = modules
            .concat()
            .replace("crate::", &format!("crate::limits::{name}::"));
        all += &format!("{head}pub(crate) mod {name} {{\n{code}\n}}\n");
    }
    let out = std::env::var_os("OUT_DIR").expect("cargo says where to write");
    fs::write(Path::new(&out).join("limits.rs"), all).expect("cargo's own directory is writable");
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

fn block(head: &str, code: &str) -> String {
    format!("{head} {{\n{code}\n}}\n")
}
