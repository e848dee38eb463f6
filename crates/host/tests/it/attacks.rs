//! Every call of the control API against every attack: a table of both. A call without a row fails.

use crate::Bench;
use crate::client::{Calls, Reply, raw};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use trimtab_protocol::problem::ProblemKind::{
    self, Forbidden, Malformed, MediaType, Method, TooLarge, Unknown,
};

/// A call as an attacker would send it: the socket that takes it, and a request that would be carried out.
pub(crate) struct Target<'b> {
    socket: &'b Path,
    pub(crate) method: String,
    pub(crate) path: String,
    /// What it would take; nothing where the call reads no body.
    body: Option<Map<String, Value>>,
    pub(crate) is_operators: bool,
}

/// One request: what stands before the path, what comes after the head's first line, and the body.
pub(crate) struct Shot {
    method: String,
    path: String,
    head: String,
    body: String,
}

/// How an attack turns a good request into a bad one; nothing where it does not apply.
pub(crate) type Attack = (
    &'static str,
    ProblemKind,
    fn(&Target<'_>, Shot) -> Option<Shot>,
);

const JSON: &str = "content-type: application/json\r\n";

pub(crate) fn attacks() -> Vec<Attack> {
    vec![
        ("a method that is not offered", Method, |_, it| {
            Some(Shot {
                method: "PATCH".to_owned(),
                ..it
            })
        }),
        ("a method that repeats what is sent", Method, |_, it| {
            Some(Shot {
                method: "TRACE".to_owned(),
                ..it
            })
        }),
        ("another version", Unknown, |_, it| {
            Some(Shot {
                path: it.path.replace("/v1/", "/v2/"),
                ..it
            })
        }),
        ("a path that goes up", Unknown, |_, it| {
            Some(Shot {
                path: it.path.replace("/v1/", "/v1/../v1/"),
                ..it
            })
        }),
        ("a page of another site", Forbidden, |_, it| {
            with(it, "origin: http://evil.example\r\n")
        }),
        ("a page without an origin", Forbidden, |_, it| {
            with(it, "origin: null\r\n")
        }),
        ("a browser, across sites", Forbidden, |_, it| {
            with(it, "sec-fetch-site: cross-site\r\n")
        }),
        ("a browser, as if by hand", Forbidden, |_, it| {
            with(it, "sec-fetch-site: none\r\n")
        }),
    ]
}

/// The same with what they carry.
pub(crate) fn attacks_by_body() -> Vec<Attack> {
    vec![
        ("a form", MediaType, |_, it| {
            typed(it, "content-type: application/x-www-form-urlencoded\r\n")
        }),
        ("plain text", MediaType, |_, it| {
            typed(it, "content-type: text/plain\r\n")
        }),
        ("no content type", MediaType, |_, it| typed(it, "")),
        ("two content types", MediaType, |_, it| {
            typed(
                it,
                "content-type: application/json\r\ncontent-type: text/plain\r\n",
            )
        }),
        ("a body of more than 64 KiB", TooLarge, |_, it| {
            Some(Shot {
                body: "x".repeat(65_537),
                head: JSON.to_owned(),
                ..it
            })
        }),
        ("a body that is cut", Malformed, |target, it| {
            target.body.as_ref()?;
            let cut = it.body.len().saturating_sub(1).max(1);
            Some(Shot {
                body: it.body.chars().take(cut).collect(),
                ..it
            })
        }),
        ("nesting without end", Malformed, |target, it| {
            target.body.as_ref()?;
            Some(Shot {
                body: "[".repeat(60_000),
                ..it
            })
        }),
        ("an unknown key", Malformed, |target, it| {
            let mut body = target.body.clone()?;
            body.insert("colour".to_owned(), json!("green"));
            Some(Shot {
                body: Value::from(body).to_string(),
                ..it
            })
        }),
        ("a key twice", Malformed, |target, it| {
            let body = target.body.as_ref()?;
            let (key, value) = body.iter().next()?;
            let rest = it.body.strip_prefix('{')?.to_owned();
            Some(Shot {
                body: format!("{{{}:{value},{rest}", json!(key)),
                ..it
            })
        }),
        ("a number beyond all numbers", Malformed, |target, it| {
            let body = target.body.as_ref()?;
            let (key, _) = body.iter().find(|(_, value)| value.is_u64())?;
            let numbers = it.body.replacen(
                &format!("{}:", json!(key)),
                &format!("{}:1e999,\"x\":", json!(key)),
                1,
            );
            Some(Shot {
                body: numbers,
                ..it
            })
        }),
    ]
}

fn with(shot: Shot, header: &str) -> Option<Shot> {
    Some(shot.with(header))
}

/// With a body under another content type, whether the call reads it or not.
fn typed(shot: Shot, header: &str) -> Option<Shot> {
    let body = if shot.body.is_empty() {
        "{}".to_owned()
    } else {
        shot.body
    };
    Some(Shot {
        body,
        head: header.to_owned(),
        ..shot
    })
}

fn fire(socket: &Path, shot: &Shot) -> Reply {
    raw(socket, shot.text("localhost").as_bytes())
}

impl Shot {
    /// As it stands on the wire.
    pub(crate) fn text(&self, host: &str) -> String {
        let Self {
            method,
            path,
            head,
            body,
        } = self;
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{head}content-length: {length}\r\n\r\n{body}"
        )
    }

    /// The same with one more header.
    pub(crate) fn with(self, header: &str) -> Self {
        let head = format!("{}{header}", self.head);
        Self { head, ..self }
    }
}

/// The calls that the document of the API names, method first. What a host may offer besides is not among them.
pub(crate) fn documented() -> BTreeSet<(String, String)> {
    let text = include_str!("../../../../docs/control-api.openapi.json");
    let document: Value = serde_json::from_str(text).expect("it is JSON");
    let paths = document["paths"].as_object().expect("it has paths");
    let ours = paths
        .iter()
        .filter(|(path, _)| path.starts_with("/trimtab/"));
    ours.flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods");
        methods
            .keys()
            .map(|method| (method.to_uppercase(), path.clone()))
    })
    .collect()
}

pub(crate) fn target<'b>(
    bench: &'b Bench,
    (method, path): (String, String),
    trial: &Value,
) -> Target<'b> {
    let state = bench.state();
    let (instance, epoch) = (&state.instance, state.epoch);
    let named = |body: Value| body.as_object().expect("an object").clone();
    let end = named(json!({ "instance": instance, "epoch": epoch, "pool": "web" }));
    let call = format!("{method} {}", path.trim_start_matches("/trimtab/v1"));
    let (is_operators, body) = match call.as_str() {
        "GET /state" => (false, None),
        "POST /lease" => {
            let body = json!({ "instance": instance, "holder": "other", "ttl_ms": 9_000 });
            (false, Some(named(body)))
        }
        "DELETE /lease" => (
            false,
            Some(named(json!({ "instance": instance, "epoch": epoch }))),
        ),
        "POST /changes" => (false, Some(named(trial.clone()))),
        "POST /changes/{generation}/confirm" | "POST /changes/{generation}/rollback" => {
            (false, Some(end))
        }
        "PUT /freeze" => (true, Some(named(json!({ "reason": "an attack" })))),
        "PUT /pins/{pool}/{knob}" => (true, Some(named(json!({ "value": 9, "for_ms": 60_000 })))),
        "DELETE /freeze" | "DELETE /pins/{pool}/{knob}" => (true, None),
        "POST /reset" => (true, Some(named(json!({ "pool": "web" })))),
        _ => panic!("{call} has no row here: add it, with a body that it would take"),
    };
    let socket = if is_operators {
        bench.host.operator_socket()
    } else {
        bench.host.control_socket()
    };
    let generation = state.generation.0.to_string();
    let path = path
        .replace("{generation}", &generation)
        .replace("{pool}", "web")
        .replace("{knob}", "workers");
    Target {
        socket,
        method,
        path,
        body,
        is_operators,
    }
}

impl Target<'_> {
    pub(crate) fn good(&self) -> Shot {
        Shot {
            method: self.method.clone(),
            path: self.path.clone(),
            head: self.body.as_ref().map_or("", |_| JSON).to_owned(),
            body: self
                .body
                .clone()
                .map(|body| Value::from(body).to_string())
                .unwrap_or_default(),
        }
    }
}

/// What an attack could have changed.
pub(crate) fn standing(bench: &Bench) -> Value {
    let state = serde_json::to_value(bench.state()).expect("JSON");
    let pool = &state["pools"]["web"];
    json!([
        state["epoch"],
        state["generation"],
        state["frozen"],
        state["lease"]["holder"],
        pool["revision"],
        pool["phase"],
        pool["trial"]["generation"],
        pool["knobs"]["workers"]["value"],
        pool["knobs"]["workers"]["pinned_for_ms"],
    ])
}

#[test]
fn each_attack_on_each_call_is_refused_and_changes_nothing() {
    let bench = Bench::new();
    bench.lease("us", 60_000);
    let trial = bench.planned(60_000, &json!({ "workers": 9 }));
    assert_eq!(bench.sidecar("POST", "/changes", &trial).status, 200);
    let before = standing(&bench);
    let mut fired = 0;
    for call in documented() {
        let target = target(&bench, call, &trial);
        for (name, expected, attack) in attacks().into_iter().chain(attacks_by_body()) {
            let Some(shot) = attack(&target, target.good()) else {
                continue;
            };
            let reply = fire(target.socket, &shot);
            let what = format!("{name} on {} {}", target.method, target.path);
            assert_eq!(reply.kind(), expected, "{what}: {}", reply.body);
            fired += 1;
        }
        if target.is_operators {
            let reply = fire(bench.host.control_socket(), &target.good());
            assert_eq!(reply.kind(), Forbidden, "{} by a sidecar", target.path);
        }
        assert_eq!(
            standing(&bench),
            before,
            "after {} {}",
            target.method,
            target.path
        );
    }
    assert!(fired >= 11 * 12, "only {fired} attacks were made");
}

#[test]
fn a_request_with_two_lengths_is_nobodys() {
    let bench = Bench::new();
    for call in documented() {
        let target = target(&bench, call, &json!({}));
        let (method, path) = (&target.method, &target.path);
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2\r\ncontent-length: 7\r\n\r\n{{}}"
        );
        assert_eq!(
            raw(target.socket, text.as_bytes()).status,
            400,
            "{method} {path}"
        );
    }
}
