//! The status page: plain HTML that works on a phone, in the dark, and without scripts.
//!
//! It is made on request from the newest view. Nothing moves under a reader who did not ask for it: there is a link that loads
//! it again, and one that lets the browser do so every few seconds. Each name and sentence is escaped, and cleaned of control
//! characters first.

use crate::serve::Shared;
use crate::serve::flame::link_of_change;
use crate::serve::health;
use crate::view::words::{foreign, level, regime};
use crate::view::{HostView, Stored};
use axum::extract::{RawQuery, State};
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::sync::Arc;
use trimtab_protocol::decision::{Action, Mode};
use trimtab_protocol::knob::KnobValue;
use trimtab_protocol::name::{KnobName, PoolName};
use trimtab_protocol::view::{Entry, EntryBody, HostStatus, KnobStatus, PoolSample, PoolStatus};

/// The page's one style sheet; the guard's content policy names its hash.
const STYLE: &str = include_str!("page.css");
/// How many decisions that did something are shown.
const DEEDS: usize = 20;
/// How many of all decisions are folded below them.
const LATEST: usize = 20;
/// After how many seconds the page loads again, where the reader asked for that.
const REFRESH_S: u32 = 5;
/// The query that asks for it.
const LIVE: &str = "live";

/// The page.
pub(super) async fn show(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let live = query.as_deref() == Some(LIVE);
    let view = shared.view();
    let now_ms = (shared.deps.wall_ms)();
    let readiness = health::readiness(&shared);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Trimtab" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Trimtab" }
                    (again(live))
                    @if readiness.ready {
                        p { span.good { "Ready." } " Every check passes." }
                    } @else {
                        @for (name, check) in readiness.checks.iter().filter(|(_, check)| !check.ok) {
                            p { span.bad { "Not ready." } " " (name) ": " (check.text) "." }
                        }
                    }
                }
                main {
                    @for host in view.hosts.values() { (self::host(host, now_ms)) }
                }
                footer {
                    p.quiet {
                        "The same as data: " a href="/api/v1/hosts" { "hosts" } ", "
                        a href="/metrics" { "metrics" } ", " a href="/readyz?verbose" { "checks" } "."
                    }
                }
            }
        }
    };
    let page = Html(page.into_string());
    if live {
        // No header has a standard name for this, and every browser knows this one.
        return ([("refresh", REFRESH_S.to_string())], page).into_response();
    }
    page.into_response()
}

/// The ways to newer figures.
fn again(live: bool) -> Markup {
    html! {
        nav {
            @if live {
                "Loads again every " (REFRESH_S) " s. " a href="/plain" { "Stop that" }
            } @else {
                a href="/plain" { "Load again" } " or "
                a href={ "/plain?" (LIVE) } { "every " (REFRESH_S) " s" }
            }
        }
    }
}

fn host(host: &HostView, now_ms: u64) -> Markup {
    let status = &host.status;
    html! {
        section {
            h2 { (foreign(status.host.as_str())) }
            p { (status.summary) }
            p.quiet { (about(status)) }
            @for (name, pool) in &status.pools {
                (self::pool(name, pool, status.sample.pools.get(name)))
            }
            h3 { "What was done" }
            @if host.deeds.is_empty() { p.quiet { "Nothing yet." } }
            ol { @for entry in host.deeds.iter().rev().take(DEEDS) { (line(entry, now_ms)) } }
            details {
                summary { "The latest decisions, those that changed nothing included" }
                ol { @for entry in host.entries.iter().rev().take(LATEST) { (line(entry, now_ms)) } }
            }
        }
    }
}

/// The host's process in one line.
fn about(status: &HostStatus) -> String {
    let mode = match status.mode {
        Mode::Observe => "observes",
        Mode::Advise => "advises",
        Mode::Act => "acts",
    };
    let mut parts = vec![format!("Trimtab {mode}")];
    if !status.app.is_empty() {
        let (app, version) = (foreign(&status.app), foreign(&status.version));
        parts.push(format!("{app} {version}").trim_end().to_owned());
    }
    if status.frozen {
        parts.push("frozen by an operator".to_owned());
    }
    let sample = &status.sample;
    match (sample.cpu_cores, sample.quota_cores) {
        (Some(used), Some(quota)) => parts.push(format!("CPU {used:.2} of {quota:.1} cores")),
        (Some(used), None) => parts.push(format!("CPU {used:.2} cores")),
        (None, _) => {}
    }
    if let Some(rss) = sample.rss_bytes {
        let limit = sample
            .memory_limit_bytes
            .map(|limit| format!(" of {} MiB", limit >> 20));
        parts.push(format!(
            "memory {} MiB{}",
            rss >> 20,
            limit.unwrap_or_default()
        ));
    }
    if let Some(threads) = sample.threads {
        parts.push(format!("{threads} threads"));
    }
    if let Some(tasks) = sample.tasks {
        parts.push(format!("{tasks} tasks"));
    }
    parts.join(" · ")
}

fn pool(name: &PoolName, pool: &PoolStatus, sample: Option<&PoolSample>) -> Markup {
    let decision = pool.decision.as_ref();
    html! {
        article {
            h3 {
                (foreign(name.as_str())) " "
                span.quiet {
                    "profile " (foreign(&pool.profile))
                    @if let Some(decision) = decision {
                        ", " (regime(decision.regime)) ", " (level(decision.level))
                    }
                }
            }
            dl {
                @for (name, value) in figures(pool, sample) {
                    div { dt { (foreign(name)) } dd { (value.as_deref().unwrap_or("not known")) } }
                }
            }
            p { (pool.text) }
            @if !pool.inert.is_empty() {
                @let inert: Vec<String> = pool.inert.iter().map(|key| foreign(key)).collect();
                p.quiet { "This host lacks what the profile names: " (inert.join(", ")) "." }
            }
        }
    }
}

/// The pool's figures by name; what is not known says so.
fn figures<'a>(
    pool: &'a PoolStatus,
    sample: Option<&PoolSample>,
) -> Vec<(&'a str, Option<String>)> {
    if !pool.knobs.contains_key(KnobName::WORKERS) {
        let knobs = pool.knobs.iter();
        let shown = knobs.map(|(name, knob)| (name.as_str(), Some(setting(knob))));
        let own = pool.figures.iter();
        let own = own.map(|(name, value)| (name.as_str(), Some(value.to_string())));
        let changes = [("changes", Some(changes(pool)))];
        return shown.chain(own).chain(changes).collect();
    }
    let load = pool.decision.as_ref().and_then(|decision| decision.load);
    let of = |read: fn(&PoolSample) -> Option<f64>| sample.and_then(read);
    vec![
        ("load", load.map(|load| format!("{:.0} %", load * 100.0))),
        ("workers", workers(pool)),
        ("goodput", of(|sample| sample.goodput_per_s).map(rate)),
        ("p50 / p95 / p99", sample.and_then(latency)),
        (
            "queue",
            of(|sample| sample.queued).map(|queued| format!("{queued:.1}")),
        ),
        ("lost", of(|sample| sample.lost_per_s).map(rate)),
        ("failed", of(|sample| sample.failed_per_s).map(rate)),
        ("changes", Some(changes(pool))),
    ]
}

fn workers(pool: &PoolStatus) -> Option<String> {
    pool.knobs.get(KnobName::WORKERS).map(setting)
}

fn setting(knob: &KnobStatus) -> String {
    let mut text = word(&knob.value);
    if knob.effective != knob.value {
        text.push_str(&format!(" ({} in effect)", word(&knob.effective)));
    }
    text.push_str(&format!(", began with {}", word(&knob.baseline)));
    text
}

fn word(value: &KnobValue) -> String {
    foreign(&value.to_string())
}

fn latency(sample: &PoolSample) -> Option<String> {
    let all = [sample.p50_us?, sample.p95_us?, sample.p99_us?];
    let shown = all.map(|us| format!("{}.{}", us / 1_000, us % 1_000 / 100));
    Some(format!("{} ms", shown.join(" / ")))
}

fn rate(per_s: f64) -> String {
    format!("{per_s:.1} a second")
}

fn changes(pool: &PoolStatus) -> String {
    let counts = pool.changes;
    format!(
        "{} made, {} kept, {} rolled back, {} refused",
        counts.made, counts.kept, counts.rolled_back, counts.refused
    )
}

/// An entry's age is by the clock for people: one of an earlier start of the machine was written by another boot-time clock.
fn line(stored: &Arc<Stored>, now_ms: u64) -> Markup {
    let Some(Entry {
        at_ms,
        instance,
        pool,
        text,
        body,
        ..
    }) = stored.entry()
    else {
        return html! {};
    };
    let ago = now_ms.saturating_sub(at_ms) / 1_000;
    html! {
        li {
            time title=(clock(at_ms)) { (ago_text(ago)) }
            @if let Some(pool) = pool { b { (foreign(pool.as_str())) } " " }
            (text)
            @if let Some(generation) = began(&body) {
                " " a href=(link_of_change(generation, instance.as_ref())) { "before and after" }
            }
        }
    }
}

/// The change that an entry tells of, if it tells that one was begun.
fn began(body: &EntryBody) -> Option<u64> {
    match body {
        EntryBody::Outcome(outcome) if outcome.action == Action::Try => Some(outcome.generation.0),
        _ => None,
    }
}

fn ago_text(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        _ => format!("{} h ago", seconds / 3_600),
    }
}

/// The time of day in UTC.
fn clock(at_ms: u64) -> String {
    let seconds = at_ms / 1_000 % 86_400;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// The usual alphabet, three bytes to four letters.
    fn base64(bytes: &[u8]) -> String {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for group in bytes.chunks(3) {
            let word = group
                .iter()
                .chain(&[0, 0])
                .take(3)
                .fold(0_usize, |word, &byte| word << 8 | usize::from(byte));
            for place in 0..4 {
                let letter = LETTERS[word >> (18 - 6 * place) & 63];
                text.push(if place > group.len() {
                    '='
                } else {
                    char::from(letter)
                });
            }
        }
        text
    }

    #[test]
    fn the_policy_names_the_hash_of_the_style_sheet() {
        let hash = base64(&Sha256::digest(STYLE.as_bytes()));
        assert_eq!(hash, include_str!("page.css.sha256"));
    }

    #[test]
    fn times_are_told_as_people_tell_them() {
        assert_eq!(ago_text(0), "0 s ago");
        assert_eq!(ago_text(150), "2 min ago");
        assert_eq!(ago_text(90_000), "25 h ago");
        assert_eq!(clock(1_790_000_000_000), "14:13:20 UTC");
    }
}
