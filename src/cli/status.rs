//! `trimtab status`: asks a running sidecar what it sees and does, over its own HTTP pages.

use super::check::write_json;
use super::client::{Client, ClientError, host_id};
use super::operate::duration;
use super::pages::PagesArgs;
use super::{Console, Exit, Format, ended};
use crate::telemetry::escaped;
use clap::Args;
use serde::Serialize;
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;
use trimtab_protocol::view::{HostStatus, PoolStatus};

/// The options of `trimtab status`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct StatusArgs {
    /// How the pages are reached
    #[command(flatten)]
    pub pages: PagesArgs,
    /// The host's id; without it, the sidecar is asked which host it tunes
    #[arg(long, value_name = "ID", value_parser = host_id)]
    pub host: Option<String>,
    /// How the answer is written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Ask again and again, each second or as often as is said
    #[arg(short, long, value_name = "EVERY", num_args = 0..=1, default_missing_value = "1s", value_parser = duration)]
    pub watch: Option<Duration>,
}

/// Moves a terminal's cursor home and clears what is below.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

impl StatusArgs {
    /// Asks, and writes the answer: 0, or 1 with the reason. With `watch` it goes on until the sidecar cannot be asked any more.
    pub async fn execute(&self, console: &mut Console<'_>) -> Exit {
        let screen = io::stdout().is_terminal();
        loop {
            let status = match self.ask().await {
                Ok(status) => status,
                Err(error) => return console.fail(&escaped(&error.to_string())),
            };
            let watches = self.watch.is_some();
            let written = match self.output {
                // One object a line, so that a program can tell where one ends and the next begins.
                Format::Json if watches => serde_json::to_writer(&mut *console.out, &status)
                    .map_err(io::Error::from)
                    .and_then(|()| writeln!(console.out)),
                Format::Json => write_json(&status, console.out),
                Format::Table if watches && screen => {
                    write!(console.out, "{CLEAR}").and_then(|()| write_table(&status, console.out))
                }
                Format::Table => write_table(&status, console.out),
            };
            let written = written.and_then(|()| console.out.flush());
            let Some(pause) = self.watch.filter(|_| written.is_ok()) else {
                return ended(written.map(|()| Exit::Done));
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn ask(&self) -> Result<HostStatus, ClientError> {
        let client = Client::Pages(self.pages.clone());
        let host = client.host(self.host.as_deref()).await?;
        client.get(&format!("/api/v1/hosts/{host}/status")).await
    }
}

/// The word that the protocol has for a value.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// Everything in it may come from the host, so everything is escaped.
fn write_table(status: &HostStatus, out: &mut dyn Write) -> io::Result<()> {
    let mut head = vec![
        format!("host {}", status.host),
        format!("mode {}", word(&status.mode)),
    ];
    if !status.app.is_empty() {
        head.push(
            format!("{} {}", status.app, status.version)
                .trim()
                .to_owned(),
        );
    }
    head.extend(status.pid.map(|pid| format!("pid {pid}")));
    head.push(match (&status.lease_holder, status.lease_ours) {
        (_, true) => "lease ours".to_owned(),
        (Some(holder), false) => format!("lease of {holder}"),
        (None, false) => "no lease".to_owned(),
    });
    if status.frozen {
        head.push("frozen".to_owned());
    }
    writeln!(out, "{}", escaped(&head.join(", ")))?;
    writeln!(out, "{}", escaped(&status.summary))?;
    if let Some(absence) = status.absent {
        writeln!(out, "the last reading failed: {}", word(&absence))?;
    }
    writeln!(out)?;
    let titles = [
        "POOL",
        "PROFILE",
        "PHASE",
        "KNOB",
        "TARGET",
        "EFFECTIVE",
        "BASELINE",
        "MIN",
        "MAX",
    ];
    let mut rows = vec![titles.map(str::to_owned)];
    for (name, pool) in &status.pools {
        rows.extend(knob_rows(name.as_str(), pool));
    }
    write_rows(&rows, out)?;
    for (name, pool) in &status.pools {
        let changes = &pool.changes;
        let mut line = format!(
            "{name}: {} ({} made, {} kept, {} rolled back, {} refused)",
            pool.text, changes.made, changes.kept, changes.rolled_back, changes.refused
        );
        if !pool.inert.is_empty() {
            line.push_str("; inert here: ");
            line.push_str(&pool.inert.join(", "));
        }
        writeln!(out, "{}", escaped(&line))?;
    }
    Ok(())
}

const COLUMNS: usize = 9;

fn knob_rows<'a>(
    name: &'a str,
    pool: &'a PoolStatus,
) -> impl Iterator<Item = [String; COLUMNS]> + 'a {
    pool.knobs.iter().map(move |(knob, status)| {
        [
            escaped(name),
            escaped(&pool.profile),
            word(&pool.phase),
            escaped(knob.as_str()),
            escaped(&status.value.to_string()),
            escaped(&status.effective.to_string()),
            escaped(&status.baseline.to_string()),
            status.min.to_string(),
            status.max.to_string(),
        ]
    })
}

/// Columns as wide as their widest cell.
fn write_rows(rows: &[[String; COLUMNS]], out: &mut dyn Write) -> io::Result<()> {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::StatusCode as Code;
    use axum::routing::get;
    use serde_json::{Value, json};

    /// The status of a host whose texts try to steer the terminal.
    fn status() -> Value {
        let knob = |value: u64, min: u64, max: u64| json!({"value": value, "effective": value, "baseline": 8, "min": min, "max": max});
        json!({
            "host": "shop", "mode": "act", "summary": "all is well\u{1b}[2J", "app": "shop", "version": "1.2", "pid": 42,
            "frozen": false, "lease_holder": "box-1", "lease_ours": true, "conformance": 2,
            "sample": {"at_ms": 0, "moment_ns": 0},
            "pools": {"checkout": {
                "profile": "web", "phase": "trial", "generation": 3,
                "knobs": {"workers": knob(12, 10, 100), "queue_limit": knob(1000, 100, 4000)},
                "inert": ["slab"], "text": "trying 12 workers",
                "changes": {"made": 3, "kept": 1, "rolled_back": 1, "refused": 0},
            }},
        })
    }

    /// A server with these routes; gone when the test ends.
    async fn sidecar(router: Router) -> StatusArgs {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move { axum::serve(listener, router).await });
        args(&format!("http://{address}"))
    }

    fn args(url: &str) -> StatusArgs {
        StatusArgs {
            pages: PagesArgs::at(url),
            host: None,
            output: Format::Table,
            watch: None,
        }
    }

    fn healthy() -> Router {
        Router::new()
            .route(
                "/api/v1/hosts",
                get(async || {
                    json!({"hosts": [{"host": "shop", "mode": "act", "summary": "", "pools": []}]})
                        .to_string()
                }),
            )
            .route(
                "/api/v1/hosts/shop/status",
                get(async || status().to_string()),
            )
    }

    async fn shown(args: &StatusArgs) -> (Exit, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console {
            out: &mut out,
            err: &mut err,
            color: false,
        };
        let exit = args.execute(&mut console).await;
        let text = |bytes| String::from_utf8(bytes).expect("it is text");
        (exit, text(out), text(err))
    }

    #[tokio::test]
    async fn the_status_is_a_table_that_steers_no_terminal() {
        let (exit, out, err) = shown(&sidecar(healthy()).await).await;
        assert_eq!((exit, err.as_str()), (Exit::Done, ""));
        insta::assert_snapshot!(out);
    }

    #[tokio::test]
    async fn a_program_gets_the_status_as_json() {
        let mut args = sidecar(healthy()).await;
        args.output = Format::Json;
        args.host = Some("shop".to_owned());
        let (exit, out, _) = shown(&args).await;
        assert_eq!(exit, Exit::Done);
        let shown: HostStatus = serde_json::from_str(&out).expect("it is a status");
        let served: HostStatus = serde_json::from_value(status()).expect("it is a status");
        assert_eq!(shown, served);
    }

    #[tokio::test]
    async fn where_nobody_listens_the_reason_is_told() {
        let free = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
            listener.local_addr().expect("it is bound")
        };
        let (exit, out, err) = shown(&args(&format!("http://{free}"))).await;
        assert_eq!((exit, exit.code(), out.as_str()), (Exit::Failed, 1, ""));
        assert!(err.contains("no sidecar answers at"), "{err}");
        assert!(err.contains("is `trimtab run` running"), "{err}");
    }

    #[tokio::test]
    async fn an_answer_that_is_no_status_is_told_as_such() {
        let hosts =
            |text: &'static str| Router::new().route("/api/v1/hosts", get(async move || text));
        let missing = Router::new().fallback(async || (Code::NOT_FOUND, "no such page\u{1b}[2J"));
        for (router, told) in [
            (hosts("<html>"), "is not this version's sidecar"),
            (hosts("{\"hosts\": []}"), "has no host yet"),
            (
                hosts(
                    r#"{"hosts": [{"host": "../x", "mode": "act", "summary": "", "pools": []}]}"#,
                ),
                "it calls its host `../x`",
            ),
            (missing, "answered 404 Not Found: no such page\\u001b[2J"),
        ] {
            let (exit, out, err) = shown(&sidecar(router).await).await;
            assert_eq!((exit, out.as_str()), (Exit::Failed, ""));
            assert!(err.contains(told), "{err}");
        }
    }

    #[tokio::test]
    async fn what_is_not_the_address_of_pages_is_refused() {
        for url in [
            "ftp://127.0.0.1:7676",
            "127.0.0.1:7676",
            "http://127.0.0.1:7676/api",
        ] {
            let (exit, _, err) = shown(&args(url)).await;
            assert_eq!(exit, Exit::Failed);
            assert!(
                err.contains("is not the address of a sidecar"),
                "{url}: {err}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sidecar_that_does_not_answer_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (exit, _, err) = shown(&args(&format!("http://{address}"))).await;
        assert_eq!(exit, Exit::Failed);
        assert!(err.contains("did not answer within 5 s"), "{err}");
    }
}
