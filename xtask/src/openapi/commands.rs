//! The sidecar's commands for operators: the only calls of it that change something.

use super::call::{Body, Call, Draft};
use trimtab_protocol::command::{
    CommandReceipt, PinCommand, PlainCommand, ProfileCommand, UnpinCommand,
};
use trimtab_protocol::operator::{FreezeRequest, ResetRequest};
use trimtab_protocol::problem::ProblemKind;
use trimtab_protocol::problem::ProblemKind::{
    Disabled, Forbidden, Internal, KnobFailed, Malformed, MediaType, Method, Silent, TooLarge,
    Unauthenticated, Unknown, Value,
};
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

const PARAMETERS: [(&str, Type, &str); 2] = [
    ("id", Type::String, "What the configuration calls the host."),
    (
        "dry_run",
        Type::Boolean,
        "With `true`: say what would happen, and change nothing.",
    ),
];

/// What any command may answer.
const ANY: [ProblemKind; 8] = [
    Malformed,
    Unauthenticated,
    Forbidden,
    Unknown,
    Method,
    TooLarge,
    MediaType,
    Internal,
];
/// What one that goes to the host may answer besides.
const HOST: [ProblemKind; 4] = [Value, KnobFailed, Disabled, Silent];

pub(super) fn add(draft: &mut Draft) {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A token of the file that the configuration names, for HTTP. Over the operator's socket the peer credentials say \
             who asks.",
        ));
    draft
        .components
        .add_security_scheme("operator_token", SecurityScheme::Http(scheme.build()));
    let body = Body::optional(draft.schema::<FreezeRequest>());
    let said = "Takes effect at once, whatever else is going on, and survives restarts of the sidecar; only an operator lifts it. \
                What could not be done of it is said in `missing`.";
    command(
        draft,
        ("freeze", "Undo open trials and change nothing"),
        said,
        body,
        &ANY,
    );
    let body = Body::optional(draft.schema::<PlainCommand>());
    let said = "Lifts the sidecar's freeze and the host's.";
    command(draft, ("unfreeze", "Lift the freeze"), said, body, &ANY);
    let of_host = [&ANY[..], &HOST].concat();
    let body = Body::required(draft.schema::<PinCommand>());
    let said =
        "Ends by itself after its time, and then the knob goes back to its last confirmed value.";
    command(
        draft,
        ("pin", "Hold one knob for a time"),
        said,
        body,
        &of_host,
    );
    let body = Body::required(draft.schema::<UnpinCommand>());
    let said = "The knob goes back to its last confirmed value.";
    command(draft, ("unpin", "Release one knob"), said, body, &of_host);
    let body = Body::optional(draft.schema::<ResetRequest>());
    let said = "One pool or all; pins are released and trials end.";
    command(
        draft,
        ("reset", "Go back to the baseline"),
        said,
        body,
        &of_host,
    );
    let body = Body::required(draft.schema::<ProfileCommand>());
    let said = "Until the sidecar is started again, or for a time.";
    let of_decide = [&ANY[..], &[Value]].concat();
    command(
        draft,
        ("profile", "Let a pool follow another profile"),
        said,
        body,
        &of_decide,
    );
    for (word, summary) in [
        ("approve", "Take the configuration that waits"),
        ("reject", "Drop the configuration that waits"),
    ] {
        let body = Body::optional(draft.schema::<PlainCommand>());
        let said = "`unknown` when none waits.";
        command(draft, (word, summary), said, body, &ANY);
    }
}

fn command(
    draft: &mut Draft,
    (word, summary): (&str, &str),
    description: &str,
    body: Body,
    problems: &[ProblemKind],
) {
    let done = draft.json::<CommandReceipt>("Done as far as it says, and entered in the ledger.");
    draft.add(Call {
        method: HttpMethod::Post,
        path: &format!("/api/v1/hosts/{{id}}/{word}"),
        id: &format!("post{}{}", word[..1].to_uppercase(), &word[1..]),
        summary,
        description,
        parameters: &PARAMETERS,
        body: Some(body),
        answers: vec![(200, done)],
        problems,
        security: &["operator_token"],
    });
}
