//! The sidecar's own API, which only reads: health, metrics, and what it saw and decided.

use super::call::{Answer, Call, Draft, text};
use trimtab_protocol::problem::ProblemKind;
use trimtab_protocol::problem::ProblemKind::{Forbidden, Method, Unauthenticated, Unknown, Value};
use trimtab_protocol::view::{Decisions, HostStatus, Readiness, Samples};
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::schema::{ArrayBuilder, Type};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

const DESCRIPTION: &str = "What the sidecar shows of itself and of the hosts that it tunes. Every call here reads and changes \
    nothing. It listens on loopback unless it is told otherwise.";

const HOST: (&str, Type, &str) = ("id", Type::String, "What the configuration calls the host.");

/// What any call below `/api` may answer.
const ANY: [ProblemKind; 3] = [Unauthenticated, Forbidden, Method];

pub(super) fn document() -> OpenApi {
    let mut draft = Draft::default();
    health(&mut draft);
    pages(&mut draft);
    hosts(&mut draft);
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Trimtab sidecar API")
                .version("1")
                .description(Some(DESCRIPTION))
                .license(Some(
                    LicenseBuilder::new().name("MIT OR Apache-2.0").build(),
                ))
                .build(),
        )
        .paths(draft.paths)
        .components(Some(draft.components))
        .build()
}

fn get<'a>(path: &'a str, id: &'a str, summary: &'a str, answers: Vec<(u16, Answer)>) -> Call<'a> {
    Call {
        method: HttpMethod::Get,
        path,
        id,
        summary,
        description: "",
        parameters: &[],
        body: None,
        answers,
        problems: &[],
        security: &[],
    }
}

fn health(draft: &mut Draft) {
    let alive = vec![(200, text("text/plain", "It lives."))];
    draft.add(Call {
        description: "Says nothing about the hosts: a sidecar whose host is gone is alive.",
        ..get(
            "/livez",
            "getLiveness",
            "Whether the process answers",
            alive,
        )
    });
    let ready = vec![
        (200, draft.json::<Readiness>("Every check passed.")),
        (
            503,
            draft.json::<Readiness>("A check failed; its words say what to do."),
        ),
    ];
    draft.add(Call {
        description: "Each check with what was found and what to do about it.",
        parameters: &[(
            "verbose",
            Type::Boolean,
            "List the checks also when all of them passed.",
        )],
        ..get(
            "/readyz",
            "getReadiness",
            "Whether it can do its work",
            ready,
        )
    });
}

fn pages(draft: &mut Draft) {
    let page = vec![(200, text("text/html", "The dashboard."))];
    draft.add(Call {
        description: "One page without anything from elsewhere.",
        ..get("/", "getDashboard", "The dashboard", page)
    });
    let metrics = vec![(
        200,
        text(
            "application/openmetrics-text",
            "Metrics in base units, one label set a host and pool.",
        ),
    )];
    draft.add(Call {
        description: "In the OpenMetrics text format, which Prometheus reads.",
        ..get("/metrics", "getMetrics", "Metrics", metrics)
    });
    let events = vec![(
        200,
        text(
            "text/event-stream",
            "One event an entry of the ledger; `data` is an Entry, `id` its id.",
        ),
    )];
    draft.schema::<Decisions>();
    draft.add(Call {
        description: "Goes on after `Last-Event-ID` as far as the entries are still kept.",
        parameters: &[(
            "Last-Event-ID",
            Type::String,
            "The id of the last entry that was seen.",
        )],
        problems: &ANY,
        ..get(
            "/api/v1/events",
            "getEvents",
            "Decisions as they are made",
            events,
        )
    });
}

fn hosts(draft: &mut Draft) {
    let statuses = ArrayBuilder::new().items(draft.schema::<HostStatus>());
    let list = vec![(
        200,
        Answer {
            media: "application/json",
            description: "One status a host.",
            schema: statuses.into(),
        },
    )];
    draft.add(Call {
        problems: &ANY,
        ..get("/api/v1/hosts", "getHosts", "All hosts", list)
    });
    let limit = (
        "limit",
        Type::Integer,
        "How many at most, counted from the newest.",
    );
    let of_host = [&ANY[..], &[Unknown]].concat();
    let of_list = [&ANY[..], &[Unknown, Value]].concat();
    let status = vec![(200, draft.json::<HostStatus>("The host as it now stands."))];
    draft.add(Call {
        parameters: &[HOST],
        problems: &of_host,
        ..get(
            "/api/v1/hosts/{id}/status",
            "getStatus",
            "How a host stands",
            status,
        )
    });
    let samples = vec![(
        200,
        draft.json::<Samples>("The samples that are kept, newest last."),
    )];
    draft.add(Call {
        parameters: &[HOST, limit.clone()],
        problems: &of_list,
        ..get(
            "/api/v1/hosts/{id}/samples",
            "getSamples",
            "What was read of a host",
            samples,
        )
    });
    let decisions = vec![(
        200,
        draft.json::<Decisions>("The entries that are kept, newest last."),
    )];
    draft.add(Call {
        parameters: &[HOST, limit],
        problems: &of_list,
        ..get(
            "/api/v1/hosts/{id}/decisions",
            "getDecisions",
            "What was decided, and why",
            decisions,
        )
    });
}
