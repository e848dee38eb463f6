//! `trimtab status`: asks a running sidecar what it sees and does, over its own HTTP pages.

use super::check::write_json;
use super::{Console, Exit, Format, ended};
use crate::telemetry::escaped;
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::{ACCEPT, HOST};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Write};
use std::time::Duration;
use tokio::net::TcpStream;
use trimtab_protocol::view::{HostStatus, Hosts, PoolStatus};

/// How long the sidecar may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The options of `trimtab status`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct StatusArgs {
    /// Where the sidecar's pages are
    #[arg(long, default_value = "http://127.0.0.1:7676")]
    pub url: Uri,
    /// The host's id; without it, the sidecar is asked which host it tunes
    #[arg(long, value_name = "ID", value_parser = host_id)]
    pub host: Option<String>,
    /// How the answer is written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
enum StatusError {
    #[error("`{0}` is not the address of a sidecar, which looks like http://127.0.0.1:7676")]
    Address(Uri),
    #[error("no sidecar answers at {0}: {1}; is `trimtab run` running, and does it serve there?")]
    Nobody(Uri, String),
    #[error("the sidecar at {0} did not answer within {seconds} s", seconds = DEADLINE.as_secs())]
    TooSlow(Uri),
    #[error("{0} answered {1}: {2}")]
    Refused(Uri, StatusCode, String),
    #[error("what answers at {0} is not this version's sidecar: {1}")]
    Garbage(Uri, String),
    #[error("the sidecar at {0} has no host yet")]
    NoHost(Uri),
}

impl StatusArgs {
    /// Asks, and writes the answer: 0, or 1 with the reason.
    pub async fn execute(&self, console: &mut Console<'_>) -> Exit {
        match self.ask().await {
            Err(error) => console.fail(&escaped(&error.to_string())),
            Ok(status) => {
                let written = match self.output {
                    Format::Json => write_json(&status, console.out),
                    Format::Table => write_table(&status, console.out),
                };
                ended(written.map(|()| Exit::Done))
            }
        }
    }

    async fn ask(&self) -> Result<HostStatus, StatusError> {
        let host = match &self.host {
            Some(host) => host.clone(),
            None => {
                let hosts: Hosts = self.get("/api/v1/hosts").await?;
                let first = hosts.hosts.into_iter().next();
                let first = first.ok_or_else(|| StatusError::NoHost(self.url.clone()))?;
                first.host.as_str().to_owned()
            }
        };
        // What a sidecar calls its host goes back into a path only if it needs no escaping there.
        if !trimtab_protocol::name::is_plain_name(&host) {
            return Err(self.garbage(format!("it calls its host `{host}`")));
        }
        self.get(&format!("/api/v1/hosts/{host}/status")).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, StatusError> {
        let answer = tokio::time::timeout(DEADLINE, self.fetch(path)).await;
        let (status, body) = answer.map_err(|_| StatusError::TooSlow(self.url.clone()))??;
        if status != StatusCode::OK {
            let text = String::from_utf8_lossy(&body);
            let text = text.trim().chars().take(200).collect();
            return Err(StatusError::Refused(self.url.clone(), status, text));
        }
        serde_json::from_slice(&body).map_err(|error| self.garbage(error.to_string()))
    }

    async fn fetch(&self, path: &str) -> Result<(StatusCode, Bytes), StatusError> {
        let bad = || StatusError::Address(self.url.clone());
        let nobody = |error: &dyn std::error::Error| {
            StatusError::Nobody(self.url.clone(), error.to_string())
        };
        let plain = self.url.scheme_str() == Some("http") && matches!(self.url.path(), "" | "/");
        let authority = self.url.authority().filter(|_| plain).ok_or_else(bad)?;
        let name = authority.host().trim_matches(['[', ']']);
        let stream = TcpStream::connect((name, authority.port_u16().unwrap_or(80))).await;
        let stream = stream.map_err(|error| nobody(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| nobody(&error))?;
        let request = Request::get(path)
            .header(HOST, authority.as_str())
            .header(ACCEPT, "application/json")
            .body(Empty::<Bytes>::new())
            .map_err(|_| bad())?;
        let exchange = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| nobody(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await;
            let body = body.map_err(|error| self.garbage(error.to_string()))?;
            Ok((status, body.to_bytes()))
        };
        tokio::pin!(exchange);
        // The connection has to be driven beside the exchange; where it ends first, the exchange still knows why.
        tokio::select! {
            answer = &mut exchange => answer,
            _ended = connection => exchange.await,
        }
    }

    fn garbage(&self, why: String) -> StatusError {
        StatusError::Garbage(self.url.clone(), why)
    }
}

fn host_id(text: &str) -> Result<String, String> {
    if trimtab_protocol::name::is_plain_name(text) {
        Ok(text.to_owned())
    } else {
        Err(
            "a host's id is 1 to 64 characters of a-z, 0-9, `_` and `-`, beginning with a letter"
                .to_owned(),
        )
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
            url: url.parse().expect("it is a URL"),
            host: None,
            output: Format::Table,
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
    async fn what_is_not_a_plain_http_address_is_refused() {
        for url in [
            "https://127.0.0.1:7676",
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
