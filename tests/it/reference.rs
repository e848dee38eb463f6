//! The reference pages are what the program says of itself: they are made from it, and compared with it here.
//!
//! `UPDATE_REFERENCE=1 cargo test -p trimtab --test it reference` writes them anew.

use clap::{Arg, Command, CommandFactory as _};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use trimtab::cli::Cli;

const MADE: &str = "<!-- Made from the program; `UPDATE_REFERENCE=1 cargo test -p trimtab --test it reference` makes it anew. -->";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn compare(name: &str, title: &str, body: &str) {
    let text = format!("# {title}\n\n{MADE}\n\n{}\n", body.trim_end());
    let path = root().join("docs/reference").join(name);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        there, text,
        "docs/reference/{name} is not what the program says; see the head of tests/it/reference.rs"
    );
}

/// Text for one cell of a table.
fn cell(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace('|', "\\|").replace('<', "&lt;")
}

fn shown(argument: &Arg) -> String {
    let value = argument
        .get_value_names()
        .filter(|_| argument.get_action().takes_values())
        .map(|names| names.join(" "));
    let flags = [
        argument.get_short().map(|short| format!("-{short}")),
        argument.get_long().map(|long| format!("--{long}")),
    ];
    let mut text = flags.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if let Some(value) = value {
        let apart = if text.is_empty() { "" } else { " " };
        write!(text, "{apart}{value}").unwrap();
    }
    text
}

fn explained(argument: &Arg) -> String {
    let mut text = argument
        .get_help()
        .map_or_else(String::new, |help| help.to_string());
    let values: Vec<String> = argument
        .get_possible_values()
        .iter()
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if argument.get_action().takes_values() && !values.is_empty() {
        write!(text, ": {}", values.join(", ")).unwrap();
    }
    let defaults = argument.get_default_values();
    if argument.get_action().takes_values()
        && let Some(default) = defaults.first()
    {
        write!(text, " (default `{}`)", default.to_string_lossy()).unwrap();
    }
    text
}

fn described(command: &Command, name: &str, page: &mut String) {
    let about = command.get_long_about().or_else(|| command.get_about());
    let about = about.map_or_else(String::new, |about| about.to_string());
    writeln!(page, "## `{name}`\n\n{}.\n", about.trim_end_matches('.')).unwrap();
    let arguments: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
        .collect();
    if !arguments.is_empty() {
        page.push_str("| argument | what |\n|---|---|\n");
        for argument in arguments {
            let row = (shown(argument), cell(&explained(argument)));
            writeln!(page, "| `{}` | {} |", row.0, row.1).unwrap();
        }
        page.push('\n');
    }
    for below in command
        .get_subcommands()
        .filter(|below| below.get_name() != "help")
    {
        described(below, &format!("{name} {}", below.get_name()), page);
    }
}

#[test]
fn the_page_of_the_command_line_is_what_it_takes() {
    let mut command = Cli::command();
    command.build();
    let mut page = String::from(
        "Exit codes: 0 done, 1 failed, 64 wrong usage, 78 wrong configuration. `trimtab man DIRECTORY` writes manual pages and \
         `trimtab completions SHELL` completions.\n\n",
    );
    described(&command, "trimtab", &mut page);
    compare("command-line.md", "Command line", &page);
}

#[test]
fn the_page_of_the_configuration_is_the_commented_file() {
    let text = trimtab::config::example().expect("the defaults are valid");
    let page = format!(
        "Every key with its default, as `trimtab config example` writes it. `trimtab config show --origin` tells what is in force and \
         which file and line says so.\n\n```toml\n{}\n```",
        text.trim_end()
    );
    compare("configuration.md", "Configuration", &page);
}

fn flattened(table: &toml::Table, above: &str, rows: &mut Vec<(String, String)>) {
    for (key, value) in table {
        let key = format!("{above}{key}");
        match value {
            toml::Value::Table(below) => flattened(below, &format!("{key}."), rows),
            toml::Value::Array(_) => {}
            plain => rows.push((key, plain.to_string().trim_matches('"').to_owned())),
        }
    }
}

#[test]
fn the_page_of_profiles_is_what_the_shipped_ones_say() {
    let names = ["web", "api", "background", "default"];
    let mut columns: Vec<Vec<(String, String)>> = Vec::new();
    for name in names {
        let table: toml::Table = read(&format!("profiles/{name}.toml")).parse().unwrap();
        let mut rows = Vec::new();
        flattened(&table, "", &mut rows);
        columns.push(rows);
    }
    let mut keys: Vec<&String> = columns.iter().flatten().map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    let mut page = format!("| key | {} |\n|---|---|---|---|---|\n", names.join(" | "));
    for key in keys {
        let value = |rows: &Vec<(String, String)>| {
            let found = rows.iter().find(|(its, _)| its == key);
            found.map_or_else(|| "—".to_owned(), |(_, value)| value.clone())
        };
        let values: Vec<String> = columns.iter().map(value).collect();
        writeln!(page, "| `{key}` | {} |", values.join(" | ")).unwrap();
    }
    write!(
        page,
        "\n## What each key means\n\nThe profile `web`, as it is shipped:\n\n```toml\n{}\n```",
        read("profiles/web.toml").trim_end()
    )
    .unwrap();
    compare("profiles.md", "Profiles", &page);
}

#[test]
fn the_page_of_metrics_names_every_one() {
    let snapshot = read("tests/snapshots/metrics.snap");
    let mut page = String::from(
        "At `/metrics`, in the OpenMetrics text format. Labels are `host` and, where it is about one, `pool`; a figure that is not known has no line.\n\n\
         | metric | type | what |\n|---|---|---|\n",
    );
    let mut help = (String::new(), String::new());
    for line in snapshot.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(text)) => {
                help = (name.to_owned(), text.to_owned());
            }
            (Some("#"), Some("TYPE"), Some(name), Some(sort)) => {
                assert_eq!(help.0, name, "help comes before the type");
                let suffix = if sort == "counter" { "_total" } else { "" };
                writeln!(page, "| `{name}{suffix}` | {sort} | {} |", cell(&help.1)).unwrap();
            }
            _ => {}
        }
    }
    compare("metrics.md", "Metrics", &page);
}

fn described_api(document: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut page = format!("{}\n\n", text(&document["info"]["description"]));
    for (path, calls) in document["paths"].as_object().unwrap() {
        for (method, call) in calls.as_object().unwrap() {
            writeln!(page, "## `{} {path}`\n", method.to_uppercase()).unwrap();
            writeln!(
                page,
                "{}. {}\n",
                text(&call["summary"]),
                text(&call["description"])
            )
            .unwrap();
            let parameters = call["parameters"].as_array().into_iter().flatten();
            let mut rows = String::new();
            for parameter in parameters {
                let name = text(&parameter["name"]);
                let what = cell(&text(&parameter["description"]));
                writeln!(rows, "| `{name}` | {} | {what} |", text(&parameter["in"])).unwrap();
            }
            if !rows.is_empty() {
                writeln!(page, "| parameter | in | what |\n|---|---|---|\n{rows}").unwrap();
            }
            page.push_str("| answer | what |\n|---|---|\n");
            for (status, answer) in call["responses"].as_object().unwrap() {
                let what = cell(&text(&answer["description"]));
                writeln!(page, "| {status} | {what} |").unwrap();
            }
            page.push('\n');
        }
    }
    page
}

#[test]
fn the_pages_of_the_apis_list_every_call() {
    for (file, name, title) in [
        ("sidecar-api", "sidecar-api.md", "The sidecar's HTTP API"),
        ("control-api", "control-api.md", "The control API"),
    ] {
        let document: Value =
            serde_json::from_str(&read(&format!("docs/{file}.openapi.json"))).unwrap();
        let page = format!(
            "The shapes of bodies are in `docs/{file}.openapi.json`, from which this page is made.\n\n{}",
            described_api(&document)
        );
        compare(name, title, &page);
    }
}

#[test]
fn every_page_is_in_the_summary() {
    fn pages(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pages(&path, found);
            } else if path.extension().is_some_and(|end| end == "md") {
                found.push(path);
            }
        }
    }
    let docs = root().join("docs");
    let summary = read("docs/SUMMARY.md");
    let mut found = Vec::new();
    pages(&docs, &mut found);
    for page in found {
        let page = page.strip_prefix(&docs).unwrap().to_str().unwrap();
        let listed = page == "SUMMARY.md" || summary.contains(&format!("]({page})"));
        assert!(listed, "docs/SUMMARY.md does not name {page}");
    }
}
