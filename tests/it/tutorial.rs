//! The tutorial does what it says: its commands are run in their order.

use crate::support::HANG_GUARD;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The commands of a page; blocks that are marked otherwise than `sh` are for a person.
fn commands(page: &str) -> String {
    let mut script = String::new();
    let mut inside = false;
    for line in page.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => {
                script.push_str(line);
                script.push('\n');
            }
            _ => {}
        }
    }
    script
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn every_command_of_the_tutorial_does_what_it_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tutorial.md");
    let page = std::fs::read_to_string(page).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (service, pages) = (free_port().to_string(), free_port().to_string());
    // What the page names is taken on a machine where others run too.
    let script = commands(&page)
        .replace(
            "/tmp/hello",
            directory.path().join("hello").to_str().unwrap(),
        )
        .replace("8080", &service)
        .replace(
            "trimtab check",
            &format!("sed -i 's/127.0.0.1:7676/127.0.0.1:{pages}/' trimtab.toml\ntrimtab check"),
        )
        .replace(
            "trimtab probe",
            &format!("trimtab probe --url http://127.0.0.1:{pages}"),
        )
        .replace(
            "trimtab status",
            &format!("trimtab status --url http://127.0.0.1:{pages}"),
        )
        .replace(
            "trimtab why",
            &format!("trimtab why --url http://127.0.0.1:{pages}"),
        )
        .replace(
            "trimtab decisions",
            &format!("trimtab decisions --url http://127.0.0.1:{pages}"),
        );
    let programs = Path::new(env!("CARGO_BIN_EXE_trimtab")).parent().unwrap();
    assert!(
        programs.join("examples/hello_host").exists(),
        "`cargo build --example hello_host` comes first, as it does when all tests are run"
    );
    let path = format!(
        "{}:{}:{}",
        programs.display(),
        programs.join("examples").display(),
        std::env::var("PATH").unwrap()
    );
    let guard = HANG_GUARD.as_secs().to_string();
    // All that is started ends with the test, whatever becomes of it; what has ended already is no failure.
    let ending = "trap 'code=$?; set +e; kill $(jobs -p) 2> /dev/null; wait; exit $code' EXIT\nset -eu -o pipefail\n";
    let run = Command::new("timeout")
        .args([&guard, "bash", "-c", &(ending.to_owned() + &script)])
        .current_dir(directory.path())
        .env("PATH", path)
        .stdin(Stdio::null())
        .process_group(0)
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&run.stdout);
    let err = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}\n{out}\n{err}", run.status);
    let said = |words: &str| assert!(out.contains(words), "`{words}` is not in\n{out}\n{err}");
    said("hello\n");
    said("mode           advise");
    said("Would try workers 10 -> ");
    said("mode from \"advise\" to \"act\"");
    said("Keeps workers 10 -> ");
    said("dry run");
    said("holds workers of web at 20");
    let graph = std::fs::read_to_string(directory.path().join("graph.svg")).unwrap();
    assert!(graph.contains("<svg"), "{graph}");
}
