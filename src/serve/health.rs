//! Whether the sidecar lives, and whether it can do its work.
//!
//! Alive means that this process answers; no check stands behind it, for a restart would repair none of them. Ready means that
//! each host is read in time and that the ledger takes entries. A sidecar that is not ready must not gate its host.

use crate::serve::Shared;
use crate::view::{View, words};
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::collections::BTreeMap;
use trimtab_protocol::view::{Check, Readiness};

/// Alive.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// Ready, or what is in the way.
pub(super) async fn ready(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let readiness = readiness(&shared);
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let verbose = query.is_some_and(|query| {
        query
            .split('&')
            .any(|part| part == "verbose" || part.starts_with("verbose="))
    });
    if verbose {
        return (status, Json(readiness)).into_response();
    }
    let failed = readiness.checks.iter().filter(|(_, check)| !check.ok);
    let lines: String = failed
        .map(|(name, check)| format!("{name}: {}\n", check.text))
        .collect();
    let text = if readiness.ready { "ok\n" } else { &lines };
    (status, text.to_owned()).into_response()
}

/// A configuration that was refused or waits leaves the sidecar ready: what was in force before still is.
fn configuration(view: &View) -> Check {
    let status = &view.configuration;
    let mut text = match (status.problems.first(), status.waiting.len()) {
        (Some(problem), _) => {
            let line = problem.line.unwrap_or_default();
            format!(
                "the newest files have {} and were refused, first in {}:{line}: {}; the last good set is in force",
                words::counted(status.problems.len(), "mistake"),
                words::foreign(&problem.file),
                words::foreign(&problem.message)
            )
        }
        (None, 0) => "the files are in force".to_owned(),
        (None, waiting) => format!(
            "the newest files change {waiting} keys, move limits far and wait for `trimtab approve`; the last set is in force"
        ),
    };
    if !status.needs_restart.is_empty() {
        text.push_str("; a restart is needed for ");
        text.push_str(&words::foreign(&status.needs_restart.join(", ")));
    }
    Check { ok: true, text }
}

/// All checks.
pub(super) fn readiness(shared: &Shared) -> Readiness {
    let view = shared.view();
    let now = (shared.deps.now)();
    let mut checks = BTreeMap::new();
    if view.hosts.is_empty() {
        let text = "no host was looked at yet".to_owned();
        checks.insert("hosts".to_owned(), Check { ok: false, text });
    }
    for host in view.hosts.values() {
        let age = now.since(host.at);
        let status = &host.status;
        let (ok, text) = match status.absent {
            _ if age > shared.deps.stale_after => {
                let seconds = age.as_ms() / 1_000;
                let text = format!(
                    "the last look at the host was {seconds} s ago; the control loop does not run"
                );
                (false, text)
            }
            Some(absence) => {
                let why = words::absence(absence);
                (false, format!("the host cannot be read: {why}"))
            }
            None => (true, "the host is read in time".to_owned()),
        };
        let name = format!("host {}", words::foreign(status.host.as_str()));
        checks.insert(name, Check { ok, text });
    }
    checks.insert(
        "ledger".to_owned(),
        Check {
            ok: view.journal.ok,
            text: words::foreign(&view.journal.text),
        },
    );
    checks.insert("configuration".to_owned(), configuration(&view));
    if let Some(damaged) = &view.damaged {
        // What is lost is lost; the sidecar does its work all the same.
        let text = damaged.to_string();
        checks.insert("history".to_owned(), Check { ok: true, text });
    }
    let closing = *shared.closing.borrow();
    if closing {
        let text = "the sidecar is shutting down".to_owned();
        checks.insert("running".to_owned(), Check { ok: false, text });
    }
    Readiness {
        ready: checks.values().all(|check| check.ok),
        checks,
    }
}
