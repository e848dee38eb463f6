//! The dashboard: its types and its style are checked, and a real browser opens it beside a real service.

use super::shell;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// Where Chromium is, by the names it goes by.
const CHROMIUM: [&str; 3] = [
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
];

/// Checks and tests the dashboard; what it needs and does not find, it installs.
///
/// # Errors
/// When a check or a test fails, or what it needs cannot be had.
pub(super) fn run(root: &Path) -> Result<String> {
    let ui = root.join("ui");
    chromium()?;
    if !ui.join("node_modules/playwright-core").is_dir() {
        println!("installing the dashboard's own tools into ui/node_modules");
        npm(&ui, &["ci", "--ignore-scripts"])?;
    }
    npm(&ui, &["run", "check"])?;
    let programs = [
        "--locked",
        "--bin",
        "trimtab",
        "--bin",
        "trimtab-prof",
        "--example",
        "hello_host",
    ];
    shell::cargo(root, &[&["build"][..], &programs].concat())?;
    let mut test = Command::new("npm");
    test.current_dir(&ui)
        .args(["test"])
        .env("TRIMTAB_PROGRAMS", shell::target(root).join("debug"))
        .env(
            "TRIMTAB_SCREENSHOTS",
            shell::target(root).join("screenshots"),
        );
    shell::run(&mut test)?;
    Ok("pictures are in target/screenshots".to_owned())
}

fn npm(ui: &Path, arguments: &[&str]) -> Result<()> {
    shell::run(Command::new("npm").current_dir(ui).args(arguments))
}

fn chromium() -> Result<()> {
    if CHROMIUM.iter().any(|path| Path::new(path).exists()) {
        return Ok(());
    }
    println!("there is no Chromium; installing the system's package");
    let installed = install(&[
        (
            "apt-get",
            &[
                "install",
                "-y",
                "-qq",
                "--no-install-recommends",
                "chromium",
            ],
        ),
        ("dnf", &["install", "-y", "-q", "chromium"]),
        ("apk", &["add", "--quiet", "chromium"]),
    ]);
    installed.context("install Chromium by hand; the dashboard is tested in it")
}

/// Installs packages of the system by the first of these commands that is there.
///
/// # Errors
/// When none is there, or it fails.
pub(crate) fn install(installers: &[(&str, &[&str])]) -> Result<()> {
    for (program, arguments) in installers {
        if !Path::new("/usr/bin").join(program).exists()
            && !Path::new("/sbin").join(program).exists()
        {
            continue;
        }
        if *program == "apt-get" {
            shell::run(&mut as_root(program, &["update", "-qq"]))?;
        }
        return shell::run(&mut as_root(program, arguments));
    }
    bail!("there is no package manager that is known here")
}

fn as_root(program: &str, arguments: &[&str]) -> Command {
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    let mut command = Command::new(if is_root { program } else { "sudo" });
    if !is_root {
        command.arg(program);
    }
    command.args(arguments);
    command
}
