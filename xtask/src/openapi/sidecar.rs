//! The sidecar's own API: health, metrics, what it saw and decided, and what operators may tell it.

use super::call::{Answer, Body, Call, Draft, text};
use super::commands;
use trimtab_protocol::configuration::{
    ConfigurationStatus, DraftVerdict, EffectiveConfiguration, ProfileDraft,
};
use trimtab_protocol::problem::ProblemKind;
use trimtab_protocol::problem::ProblemKind::{
    Forbidden, Internal, Malformed, Method, Unauthenticated, Unknown,
};
use trimtab_protocol::view::{Decisions, Entry, HostStatus, Hosts, Overview, Readiness, Samples};
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

const DESCRIPTION: &str = "What the sidecar shows of itself and of the hosts that it tunes. A `GET` reads and changes \
    nothing, and so does the `POST` of `/api/v1/configuration/check`. Every other `POST` is an operator's command: it is taken over \
    the operator's Unix socket from this sidecar's user, from root and from users that the configuration names, and over HTTP only \
    with a token of `intake.token_file`. Every command is entered in the ledger with who gave it. With `serve.token_file` every call \
    needs a token of that file, as `Authorization: Bearer` or as the password that a browser asks for, and answers 401 without one; \
    only the listener of `serve.health` never asks.";

/// What the guard before every route says to a request that was meant for another server.
const EVERYWHERE: &[(u16, &str)] = &[(
    421,
    "`about:blank`: the name in `Host` is none of this server's; `serve.allowed_hosts` has them",
)];

const HOST: (&str, Type, &str) = ("id", Type::String, "What the configuration calls the host.");

/// What any call may answer.
pub(super) const ANY: [ProblemKind; 4] = [Unauthenticated, Forbidden, Method, Internal];

pub(super) fn document() -> OpenApi {
    let mut draft = Draft {
        everywhere: EVERYWHERE,
        ..Draft::default()
    };
    health(&mut draft);
    pages(&mut draft);
    super::graphs::add(&mut draft);
    hosts(&mut draft);
    commands::add(&mut draft);
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

pub(super) fn get<'a>(
    path: &'a str,
    id: &'a str,
    summary: &'a str,
    answers: Vec<(u16, Answer)>,
) -> Call<'a> {
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
    for (path, id, summary) in [
        ("/livez", "getLiveness", "Whether the process answers"),
        ("/healthz", "getHealth", "As `/livez`, under its older name"),
    ] {
        let alive = vec![(200, text("text/plain", "It lives."))];
        draft.add(Call {
            description: "Says nothing about the hosts: a sidecar whose host is gone is alive.",
            problems: &ANY,
            ..get(path, id, summary, alive)
        });
    }
    let ready = vec![
        (200, draft.json::<Readiness>("Every check passed.")),
        (
            503,
            draft.json::<Readiness>("A check failed; its words say what to do."),
        ),
    ];
    let verbose = (
        "verbose",
        Type::Boolean,
        "Tells each check as JSON; without it the checks that failed come as text.",
    );
    draft.add(Call {
        description: "Each check with what was found and what to do about it.",
        parameters: &[verbose],
        problems: &ANY,
        ..get(
            "/readyz",
            "getReadiness",
            "Whether it can do its work",
            ready,
        )
    });
}

fn pages(draft: &mut Draft) {
    let page = vec![(200, text("text/html", "The page."))];
    draft.add(Call {
        description: "One page without anything from elsewhere.",
        problems: &ANY,
        ..get("/", "getPage", "How things stand, for people", page)
    });
    draft.add(Call {
        description: "It runs no script. At `/plain?live` it loads again by itself.",
        problems: &ANY,
        ..get(
            "/plain",
            "getPlainPage",
            "How things stand, as a plain page",
            vec![(200, text("text/html", "The page."))],
        )
    });
    let media = "application/openmetrics-text";
    let metrics = vec![(
        200,
        text(
            media,
            "Metrics in base units, one label set a host and pool.",
        ),
    )];
    draft.add(Call {
        description: "In the OpenMetrics text format, or as plain text by the `Accept` header.",
        problems: &ANY,
        ..get("/metrics", "getMetrics", "Metrics", metrics)
    });
    let said = "One event an entry of the ledger: `data` is an Entry and `id` its id. The event `resync` says that entries \
                are missing, and that status and decisions are to be read again.";
    let events = vec![(200, text("text/event-stream", said))];
    draft.schema::<Entry>();
    draft.add(Call {
        description: "Goes on after `Last-Event-ID`, or after `since`, as far as entries are still kept.",
        parameters: &[
            ("Last-Event-ID", Type::String, "The id of the last entry that was seen."),
            ("since", Type::String, "The same, for a client that cannot set the header."),
        ],
        problems: &[&ANY[..], &[Malformed]].concat(),
        ..get("/api/v1/events", "getEvents", "Entries as they are made", events)
    });
}

fn hosts(draft: &mut Draft) {
    let list = vec![(200, draft.json::<Hosts>("The hosts."))];
    draft.add(Call {
        problems: &ANY,
        ..get("/api/v1/hosts", "getHosts", "All hosts", list)
    });
    configuration(draft);
    let status = vec![(200, draft.json::<HostStatus>("The host as it now stands."))];
    draft.add(Call {
        parameters: &[HOST],
        problems: &[&ANY[..], &[Unknown]].concat(),
        ..get(
            "/api/v1/hosts/{id}/status",
            "getStatus",
            "How a host stands",
            status,
        )
    });
    overview(draft);
    histories(draft);
}

fn configuration(draft: &mut Draft) {
    let status = draft.json::<ConfigurationStatus>("The configuration as it now stands.");
    draft.add(Call {
        problems: &ANY,
        ..get(
            "/api/v1/configuration",
            "getConfiguration",
            "Which files are in force, what was refused, what waits for approval",
            vec![(200, status)],
        )
    });
    let effective = draft.json::<EffectiveConfiguration>("Every key that has a value.");
    draft.add(Call {
        description: "Each key with where it is set, and the profiles as their files now are, in force or refused.",
        problems: &ANY,
        ..get(
            "/api/v1/configuration/effective",
            "getEffectiveConfiguration",
            "Every key in force, and where it is set",
            vec![(200, effective)],
        )
    });
    let body = Body::required(draft.schema::<ProfileDraft>());
    let verdict = draft.json::<DraftVerdict>("What is wrong with it, or what it would change.");
    let summary = "What an edited profile would change";
    draft.add(Call {
        method: HttpMethod::Post,
        description: "Applies nothing and writes nothing, so it asks for no operator's token. One text is checked at a time.",
        body: Some(body),
        problems: &[&ANY[..], &[Malformed, Unknown]].concat(),
        ..get(
            "/api/v1/configuration/check",
            "checkProfile",
            summary,
            vec![(200, verdict)],
        )
    });
}

fn overview(draft: &mut Draft) {
    let overview = vec![(
        200,
        draft.json::<Overview>("The least and the most of each figure in each column."),
    )];
    draft.add(Call {
        description: "For charts of a long time; what they need in detail is asked for as samples.",
        parameters: &[
            HOST,
            ("pool", Type::String, "The pool whose figures are wanted."),
            (
                "from",
                Type::Integer,
                "Where it begins, in milliseconds since 1970; without it, at the oldest sample.",
            ),
            (
                "until",
                Type::Integer,
                "Where it ends; without it, at the newest sample.",
            ),
            ("columns", Type::Integer, "How many columns, at most 1,500."),
        ],
        problems: &[&ANY[..], &[Malformed, Unknown]].concat(),
        ..get(
            "/api/v1/hosts/{id}/history",
            "getHistory",
            "A long time in as many columns as a chart has",
            overview,
        )
    });
}

fn histories(draft: &mut Draft) {
    let of_list = [&ANY[..], &[Malformed, Unknown]].concat();
    let limit = (
        "limit",
        Type::Integer,
        "How many at most: the first after `since`, and without it the last.",
    );
    let samples = vec![(
        200,
        draft.json::<Samples>("The samples that are kept, newest last."),
    )];
    draft.add(Call {
        parameters: &[
            HOST,
            ("since", Type::Integer, "Only those after this `moment_ns`."),
            limit.clone(),
        ],
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
        parameters: &[
            HOST,
            (
                "since",
                Type::String,
                "Only those after the entry of this id.",
            ),
            limit,
            ("pool", Type::String, "Only those about this pool."),
            ("action", Type::String, "Only those with this action."),
            (
                "entry",
                Type::String,
                "Only those of this sort: decision, intent, outcome, command, reload.",
            ),
        ],
        problems: &of_list,
        ..get(
            "/api/v1/hosts/{id}/decisions",
            "getDecisions",
            "What was decided, and why",
            decisions,
        )
    });
}
