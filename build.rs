//! Bundles the dashboard from `ui/`, when the feature `dashboard` is on and Node with npm is there.
//!
//! Without them the build succeeds all the same, with a warning, and `/` shows the plain page.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

type Fallible<T> = Result<T, Box<dyn Error>>;

/// What the bundle consists of, with its media types.
const FILES: [(&str, &str); 3] = [
    ("index.html", "text/html; charset=utf-8"),
    ("app.js", "text/javascript; charset=utf-8"),
    ("app.css", "text/css; charset=utf-8"),
];
/// Without these packages nothing can be bundled; the others are for checks and tests.
const PACKAGES: [&str; 3] = ["esbuild", "preact", "uplot"];

fn main() -> Fallible<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let ui = root.join("ui");
    println!("cargo::rerun-if-changed=build.rs");
    // Node may be installed later, which shows in no file of ours.
    println!("cargo::rerun-if-env-changed=PATH");
    for path in ["src", "package-lock.json", "package.json", "build.mjs"] {
        println!("cargo::rerun-if-changed={}", ui.join(path).display());
    }
    let bundled = match env::var_os("CARGO_FEATURE_DASHBOARD") {
        None => false,
        Some(_) => match bundle(&ui, &out.join("ui")) {
            Ok(()) => true,
            Err(error) => {
                println!(
                    "cargo::warning=the dashboard is left out, and `/` shows the plain page: {error}"
                );
                false
            }
        },
    };
    fs::write(out.join("dashboard.rs"), table(bundled, &out.join("ui")))?;
    Ok(())
}

fn bundle(ui: &Path, out: &Path) -> Fallible<()> {
    let installed = ui.join("node_modules");
    let missing = PACKAGES
        .iter()
        .any(|package| !installed.join(package).is_dir());
    if missing || is_stale(ui)? {
        let options = [
            "ci",
            "--omit=dev",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
        ];
        run(Command::new("npm").args(options).current_dir(ui))?;
        fs::copy(ui.join("package-lock.json"), stamp(ui))?;
    }
    run(Command::new("node")
        .arg("build.mjs")
        .arg(out)
        .current_dir(ui))
}

/// Whether what is installed was installed from another lock file. What a person installed is taken as it is.
fn is_stale(ui: &Path) -> Fallible<bool> {
    let stamp = stamp(ui);
    Ok(stamp.is_file() && fs::read(stamp)? != fs::read(ui.join("package-lock.json"))?)
}

fn stamp(ui: &Path) -> PathBuf {
    ui.join("node_modules/.installed-from")
}

fn run(command: &mut Command) -> Fallible<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("`{name}` cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    Err(format!("`{name}` failed: {}", last.unwrap_or("it does not say why")).into())
}

/// The files as a constant of Rust: name, media type, content, and the content gzipped.
fn table(bundled: bool, out: &Path) -> String {
    let mut text = "const FILES: &[File] = &[\n".to_owned();
    for (name, media) in FILES.iter().filter(|_| bundled) {
        let path = out.join(name);
        let plain = path.display().to_string();
        text.push_str(&format!(
            "    File {{ name: {name:?}, media: {media:?}, plain: include_bytes!({plain:?}), gzip: include_bytes!({:?}) }},\n",
            format!("{plain}.gz")
        ));
    }
    text.push_str("];\n");
    text
}
