//! `trimtab top` on a real terminal: a pseudo terminal whose screen is read as a person would.

use crate::support::{SLOW, Service, Sidecar, until};
use pty_process::blocking::{Command, Pty, open};
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::process::Child;
use std::sync::{Arc, Mutex};

/// As small as terminals are.
const ROWS: NonZero<u16> = NonZero::new(24).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(80).unwrap();

/// A terminal with a program in it.
struct Terminal {
    pty: Arc<Pty>,
    screen: Arc<Mutex<vt100::Parser>>,
    child: Child,
}

impl Terminal {
    /// Runs `trimtab top` beside a sidecar on 80 columns and 24 rows.
    fn top(service: &Service, sidecar: &Sidecar) -> Self {
        let (pty, pts) = open().unwrap();
        pty.resize(pty_process::Size::new(ROWS.get(), COLUMNS.get()))
            .unwrap();
        let config = service.directory.path().join("sidecar.toml");
        let command = Command::new(env!("CARGO_BIN_EXE_trimtab"))
            .args(["top", "--every", "100ms", "--url"])
            .arg(format!("http://{}", sidecar.address))
            .arg("--config")
            .arg(config)
            .env("TERM", "xterm-256color")
            .env("NO_COLOR", "1");
        let child = command.spawn(pts).unwrap();
        let pty = Arc::new(pty);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(ROWS, COLUMNS, 0)));
        let (from, to) = (Arc::clone(&pty), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            // The other end closes with an error when its last process ends.
            while let Ok(count @ 1..) = (&*from).read(&mut buffer) {
                to.lock().unwrap().process(&buffer[..count]);
            }
        });
        Self { pty, screen, child }
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    fn press(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).unwrap();
    }

    async fn until(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        until(what, || async {
            Some(self.text()).filter(|text| fits(text))
        })
        .await
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_at_a_terminal_sees_the_pools_filters_freezes_and_leaves() {
    let service = Service::start(SLOW);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    let mut terminal = Terminal::top(&service, &sidecar);
    let shown = terminal
        .until("a trial in the list", |text| text.contains("◐ web"))
        .await;
    assert!(
        shown.contains("host shop") && shown.contains("lease ours"),
        "{shown}"
    );
    assert!(
        shown.lines().all(|line| line.chars().count() <= 80),
        "{shown}"
    );

    terminal.press("/nothing like it");
    terminal.press("\r");
    terminal
        .until("no pool", |text| text.contains("No pool fits the filter."))
        .await;
    // Alone, for an escape may also begin a longer key.
    terminal.press("\u{1b}");
    terminal
        .until("the pool again", |text| text.contains("◐ web"))
        .await;

    terminal.press("f");
    terminal
        .until("the dry run", |text| {
            text.contains("Nothing has been sent yet.")
        })
        .await;
    assert!(!service.state().await.unwrap().frozen);
    terminal.press("\r");
    terminal
        .until("the freeze", |text| text.contains("▲ Frozen."))
        .await;
    until("the freeze in the host", || async {
        service.state().await.filter(|state| state.frozen)
    })
    .await;

    terminal.press("q");
    until("its end", || {
        let ended = terminal.child.try_wait().unwrap();
        async move { ended }
    })
    .await;
    terminal
        .until("the shell's own screen again", |text| {
            text.trim().is_empty()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_is_started_again_comes_back_onto_the_screen() {
    let service = Service::start(SLOW);
    let mut sidecar = Sidecar::start(&service, "sidecar").await;
    let mut terminal = Terminal::top(&service, &sidecar);
    terminal
        .until("the host", |text| text.contains("host shop"))
        .await;
    sidecar.signal("TERM");
    sidecar.ended().await;
    terminal
        .until("the loss", |text| {
            text.contains("✖ no sidecar answers") && text.contains("host shop")
        })
        .await;
    let address = sidecar.address.clone();
    let same = |text: String| text.replace("127.0.0.1:0", &address);
    let _again = Sidecar::start_as(&service, "sidecar", same).await;
    terminal
        .until("the host again", |text| {
            !text.contains('✖') && text.contains("host shop")
        })
        .await;
    drop(terminal.child.kill());
}
