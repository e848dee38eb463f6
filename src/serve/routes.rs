//! The table of routes, and the API's small answers.

use crate::serve::error::Refusal;
use crate::serve::{
    Deps, STREAMS_MAX, Shared, configuration, dashboard, events, flame, guard, health, history,
    metrics, overview, page,
};
use crate::view::{HostView, View};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};
use trimtab_protocol::view::{HostBrief, Hosts};

/// Every route. The table in the module's documentation says the same, and a test compares them.
pub(super) fn table() -> Vec<(&'static str, MethodRouter<Shared>)> {
    let mut table = health_table();
    table.extend([
        ("/", get(dashboard::show)),
        ("/plain", get(page::show)),
        ("/ui/app.js", get(dashboard::script)),
        ("/ui/app.css", get(dashboard::style)),
        ("/flamegraph", get(flame::graph)),
        ("/flamegraph/diff", get(flame::difference)),
        ("/flamegraph/change/{generation}", get(flame::change)),
        ("/heatmap", get(flame::heatmap)),
        ("/profile/capabilities", get(flame::capabilities)),
        ("/profile/quality", get(flame::quality)),
        ("/debug/pprof/", get(flame::pprof_index)),
        ("/debug/pprof/profile", get(flame::pprof_profile)),
        ("/api/v1/hosts", get(hosts)),
        ("/api/v1/hosts/{id}/status", get(status)),
        ("/api/v1/hosts/{id}/samples", get(history::samples)),
        ("/api/v1/hosts/{id}/decisions", get(history::decisions)),
        ("/api/v1/hosts/{id}/history", get(overview::show)),
        ("/api/v1/configuration", get(configuration::status)),
        (
            "/api/v1/configuration/effective",
            get(configuration::effective),
        ),
        (guard::CHECK_PATH, configuration::check()),
        ("/api/v1/events", get(events::stream)),
    ]);
    table
}

fn health_table() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/livez", get(health::alive)),
        ("/healthz", get(health::alive)),
        ("/readyz", get(health::ready)),
        ("/metrics", get(metrics::show)),
    ]
}

/// A router of every route, without the guard.
pub(super) fn all(deps: Deps, closing: watch::Receiver<bool>) -> Router {
    of(table(), deps, closing)
}

/// A router of the routes that an orchestrator needs, without the guard.
pub(super) fn health_only(deps: Deps, closing: watch::Receiver<bool>) -> Router {
    of(health_table(), deps, closing)
}

fn of(
    table: Vec<(&'static str, MethodRouter<Shared>)>,
    deps: Deps,
    closing: watch::Receiver<bool>,
) -> Router {
    let shared = Shared {
        deps: Arc::new(deps),
        streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        checks: Arc::new(Semaphore::new(1)),
        closing,
    };
    let routes = table
        .into_iter()
        .fold(Router::new(), |router, (path, method)| {
            router.route(path, method)
        });
    routes.fallback(nowhere).with_state(shared)
}

async fn nowhere() -> Refusal {
    Refusal::Unknown("there is nothing at this path; `/` shows what there is".to_owned())
}

async fn hosts(State(shared): State<Shared>) -> Json<Hosts> {
    let view = shared.view();
    let hosts = view.hosts.values().map(|host| HostBrief {
        host: host.status.host.clone(),
        mode: host.status.mode,
        absent: host.status.absent,
        summary: host.status.summary.clone(),
        pools: host.status.pools.keys().cloned().collect(),
    });
    Json(Hosts {
        hosts: hosts.collect(),
    })
}

async fn status(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let view = shared.view();
    let host = find(&view, &id)?;
    let text = serde_json::to_string(&*host.status).map_err(|_| Refusal::Internal)?;
    Ok(json(text))
}

/// The host of this name.
pub(super) fn find<'a>(view: &'a View, id: &str) -> Result<&'a Arc<HostView>, Refusal> {
    let unknown = || {
        let known: Vec<&str> = view.hosts.keys().map(AsRef::as_ref).collect();
        Refusal::Unknown(format!(
            "there is no such host; known are: {}",
            known.join(", ")
        ))
    };
    view.hosts.get(id).ok_or_else(unknown)
}

/// An answer of ready JSON.
pub(super) fn json(body: impl Into<axum::body::Body>) -> Response {
    let body: axum::body::Body = body.into();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
