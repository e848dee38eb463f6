//! The control API: what a host offers so that a sidecar or an operator can read and resize it.

use super::call::{Body, Call, Draft, nothing, text};
use trimtab_protocol::change::{ChangeReceipt, ChangeRequest, EndTrialRequest};
use trimtab_protocol::lease::{LeaseGrant, LeaseRelease, LeaseRequest};
use trimtab_protocol::operator::{FreezeRequest, OperatorReceipt, PinRequest, ResetRequest};
use trimtab_protocol::problem::ProblemKind;
use trimtab_protocol::problem::ProblemKind::{
    Disabled, Forbidden, Frozen, Internal, KnobFailed, Leased, Malformed, MediaType, Method,
    Pinned, Stale, TooLarge, TooSoon, Unauthenticated, Unknown, Value,
};
use trimtab_protocol::state::HostState;
use trimtab_protocol::{API_VERSION, path};
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

const DESCRIPTION: &str = "What a host offers so that a sidecar, a person or another tool can read and resize it. \
    HTTP/1.1 over a Unix socket, whose peer has to be the same user or root, or over loopback TCP with a bearer token. \
    Requests are at most 64 KiB and refuse unknown fields; a state is at most 1 MiB, and whoever reads it ignores unknown \
    fields. Durations are whole milliseconds, ratios are basis points. A refused request changed nothing. \
    A call that an operator makes comes over the operator's own socket or with the operator's token.";

/// The token of whoever may read and change; and the operator's.
const TOKEN: &[&str] = &["token", "operator_token"];
const OPERATOR: &[&str] = &["operator_token"];

/// What any call may answer.
const ANY: [ProblemKind; 4] = [Unauthenticated, Forbidden, Method, Internal];
/// What any call with a body may answer besides.
const BODY: [ProblemKind; 3] = [Malformed, TooLarge, MediaType];

const GENERATION: (&str, Type, &str) = (
    "generation",
    Type::Integer,
    "The number of the change whose trial ends.",
);
const POOL: (&str, Type, &str) = ("pool", Type::String, "The pool's name.");
const KNOB: (&str, Type, &str) = ("knob", Type::String, "The knob's name.");

pub(super) fn document() -> OpenApi {
    let mut draft = Draft::default();
    reading(&mut draft);
    lease(&mut draft);
    changes(&mut draft);
    freeze(&mut draft);
    pins(&mut draft);
    for (name, words) in [
        ("token", "The sidecar's token, from a file of mode 0600."),
        (
            "operator_token",
            "The operator's token; the sidecar never holds it.",
        ),
    ] {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(words));
        draft
            .components
            .add_security_scheme(name, SecurityScheme::Http(scheme.build()));
    }
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Trimtab control API")
                .version(API_VERSION.to_string())
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

fn reading(draft: &mut Draft) {
    let answers = vec![(200, draft.json::<HostState>("The state."))];
    draft.add(Call {
        method: HttpMethod::Get,
        path: path::STATE,
        id: "getState",
        summary: "Everything, in one consistent read",
        description: "Answers within 50 ms, also while every worker of the service is blocked.",
        parameters: &[],
        body: None,
        answers,
        problems: &ANY,
        security: TOKEN,
    });
    draft.add(Call {
        method: HttpMethod::Get,
        path: "/debug/pprof/profile",
        id: "getCpuProfile",
        summary: "CPU stacks of the host itself",
        description: "Off, and then unknown, unless the host turns it on.",
        parameters: &[
            ("seconds", Type::Integer, "For how long to sample."),
            ("hz", Type::Integer, "How often a second."),
        ],
        body: None,
        answers: vec![(
            200,
            text(
                "application/octet-stream",
                "A profile in the pprof format, gzipped.",
            ),
        )],
        problems: &[&ANY[..], &[Unknown, Value]].concat(),
        security: TOKEN,
    });
}

fn lease(draft: &mut Draft) {
    let body = draft.schema::<LeaseRequest>();
    let answers = vec![(200, draft.json::<LeaseGrant>("The lease is held."))];
    draft.add(Call {
        method: HttpMethod::Post,
        path: path::LEASE,
        id: "takeLease",
        summary: "Take or renew the right to change the host",
        description: "The host assigns epochs. The same holder retakes its lease at once with a new epoch. Whoever takes over \
                      rolls the predecessor's trials back. Observers take none.",
        parameters: &[],
        body: Some(Body::required(body)),
        answers,
        problems: &[&ANY[..], &BODY, &[Stale, Leased, Value, Disabled]].concat(),
        security: TOKEN,
    });
    let body = draft.schema::<LeaseRelease>();
    let answers = vec![(204, nothing("The lease is given back."))];
    draft.add(Call {
        method: HttpMethod::Delete,
        path: path::LEASE,
        id: "releaseLease",
        summary: "Give the right back",
        description: "Open trials are rolled back. Confirmed values are held for as long as the host says, 24 hours where it says nothing; then each \
                      pool goes back to its baseline, a step every 30 seconds. The same after a lease that ran out.",
        parameters: &[],
        body: Some(Body::required(body)),
        answers,
        problems: &[&ANY[..], &BODY, &[Stale]].concat(),
        security: TOKEN,
    });
}

fn changes(draft: &mut Draft) {
    let body = draft.schema::<ChangeRequest>();
    let answers = vec![(
        200,
        draft.json::<ChangeReceipt>("The change is on trial; a retry gets this answer again."),
    )];
    draft.add(Call {
        method: HttpMethod::Post,
        path: path::CHANGES,
        id: "tryChange",
        summary: "Apply all of `set` or none of it, as a trial",
        description: "Instance, epoch, generation and base_revision have to fit. The trial lives until the earlier of its own \
                      deadline and the end of its lease, and is then undone by the host alone.",
        parameters: &[],
        body: Some(Body::required(body)),
        answers,
        problems: &[
            &ANY[..],
            &BODY,
            &[Unknown, Stale, Value, Frozen, Pinned, TooSoon, KnobFailed, Disabled],
        ]
        .concat(),
        security: TOKEN,
    });
    let ends = [
        (
            "confirm",
            "confirmChange",
            "Keep a change",
            "Never refused for its step or rate.",
        ),
        (
            "rollback",
            "rollBackChange",
            "Undo a change",
            "Restores only the knobs of that trial. Never refused for its step or rate.",
        ),
    ];
    for (end, id, summary, description) in ends {
        let body = draft.schema::<EndTrialRequest>();
        let answers = vec![(
            200,
            draft.json::<ChangeReceipt>("What has become of the change."),
        )];
        draft.add(Call {
            method: HttpMethod::Post,
            path: &format!("{}/{{generation}}/{end}", path::CHANGES),
            id,
            summary,
            description,
            parameters: &[GENERATION],
            body: Some(Body::required(body)),
            answers,
            problems: &[&ANY[..], &BODY, &[Unknown, Stale]].concat(),
            security: TOKEN,
        });
    }
}

fn freeze(draft: &mut Draft) {
    let body = draft.schema::<FreezeRequest>();
    let answers = vec![(200, draft.json::<OperatorReceipt>("The host is frozen."))];
    draft.add(Call {
        method: HttpMethod::Put,
        path: path::FREEZE,
        id: "freeze",
        summary: "Roll open trials back, then take no change",
        description: "One step; the body may be left out. Survives restarts where the receipt says `freeze_persistent`.",
        parameters: &[],
        body: Some(Body::optional(body)),
        answers,
        problems: &[&ANY[..], &BODY].concat(),
        security: OPERATOR,
    });
    let answers = vec![(
        200,
        draft.json::<OperatorReceipt>("Changes are taken again."),
    )];
    draft.add(Call {
        method: HttpMethod::Delete,
        path: path::FREEZE,
        id: "unfreeze",
        summary: "Lift the freeze",
        description: "Nothing else changes.",
        parameters: &[],
        body: None,
        answers,
        problems: &ANY,
        security: OPERATOR,
    });
    let body = draft.schema::<ResetRequest>();
    let answers = vec![(
        200,
        draft.json::<OperatorReceipt>("The baseline is in force."),
    )];
    draft.add(Call {
        method: HttpMethod::Post,
        path: path::RESET,
        id: "reset",
        summary: "Go back to the baseline",
        description: "For one pool, or for all when there is no body. Never refused for its step or rate.",
        parameters: &[],
        body: Some(Body::optional(body)),
        answers,
        problems: &[&ANY[..], &BODY, &[Unknown, KnobFailed, Disabled]].concat(),
        security: OPERATOR,
    });
}

fn pins(draft: &mut Draft) {
    let pin = format!("{}/{{pool}}/{{knob}}", path::PINS);
    let body = draft.schema::<PinRequest>();
    let answers = vec![(200, draft.json::<OperatorReceipt>("The knob is held."))];
    draft.add(Call {
        method: HttpMethod::Put,
        path: &pin,
        id: "pin",
        summary: "Hold one knob at a value for a time",
        description: "Afterwards it goes back to its last confirmed value. A trial of the knob ends as superseded.",
        parameters: &[POOL, KNOB],
        body: Some(Body::required(body)),
        answers,
        problems: &[&ANY[..], &BODY, &[Unknown, Value, KnobFailed, Disabled]].concat(),
        security: OPERATOR,
    });
    let answers = vec![(200, draft.json::<OperatorReceipt>("The knob is free."))];
    draft.add(Call {
        method: HttpMethod::Delete,
        path: &pin,
        id: "unpin",
        summary: "Release a knob",
        description: "It goes back to its last confirmed value.",
        parameters: &[POOL, KNOB],
        body: None,
        answers,
        problems: &[&ANY[..], &[Unknown, Disabled]].concat(),
        security: OPERATOR,
    });
}
