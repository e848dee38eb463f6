//! Turns a state or an answer of one host into what any host should say, and compares two of them.

use super::symbols::Symbols;
use super::wire::Reply;
use serde::Serialize;
use serde_json::{Map, Value, json};
use trimtab_protocol::problem::CONTENT_TYPE;
use trimtab_protocol::state::HostState;

/// The longest time that the API lets anybody ask for, in milliseconds.
const MS_MAX: u64 = 600_000;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where: a path of field names, from `before` or `answer` on.
    pub at: String,
    /// What the reference host says there.
    pub expected: String,
    /// What this host says there.
    pub found: String,
}

/// What matters of a state, in symbols.
pub(super) fn of_state(state: &HostState, symbols: &Symbols) -> Value {
    let pool = state.pools.get(&symbols.pool);
    let knob = pool.and_then(|pool| pool.knobs.get(&symbols.knob));
    let trial = pool.and_then(|pool| pool.trial.as_ref());
    json!({
        "instance": if state.instance.as_str() == symbols.instance { "$instance" } else { "another" },
        "epoch": Symbols::count("$epoch", symbols.epoch, state.epoch.0),
        "generation": Symbols::count("$generation", symbols.generation, state.generation.0),
        "holder": state.lease.as_ref().map(|lease| lease.holder.as_str()),
        "frozen": state.frozen,
        "phase": pool.map(|pool| pool.phase),
        "revision": pool.map(|pool| Symbols::count("$revision", symbols.revision, pool.revision.0)),
        "trial": trial.map(|trial| Symbols::count("$generation", symbols.generation, trial.generation.0)),
        "value": knob.map(|knob| symbols.value(&json!(knob.value))),
        "pinned": knob.is_some_and(|knob| knob.pinned_for_ms.is_some()),
    })
}

/// What matters of an answer, in symbols. Of a whole state that is only its beginning; the rest is compared before each step.
pub(super) fn of_answer(reply: &Reply, symbols: &Symbols) -> Value {
    let mut answer = Map::new();
    answer.insert("status".to_owned(), json!(reply.status));
    if !reply.body.is_empty() {
        answer.insert("media".to_owned(), json!(reply.media));
        let body = match serde_json::from_slice::<Value>(&reply.body) {
            Ok(Value::Object(fields)) if fields.contains_key("api") => {
                let head = ["api", "app", "at_ns", "epoch", "generation", "instance"];
                let head = fields
                    .into_iter()
                    .filter(|(name, _)| head.contains(&name.as_str()));
                symbolic("", &Value::Object(head.collect()), symbols)
            }
            Ok(body) => symbolic("", &body, symbols),
            Err(error) => json!(format!("no JSON: {error}")),
        };
        answer.insert("body".to_owned(), body);
        if reply.media == CONTENT_TYPE && reply.retry_after.is_some() {
            answer.insert("retry_after".to_owned(), json!(true));
        }
    }
    Value::Object(answer)
}

fn symbolic(key: &str, value: &Value, symbols: &Symbols) -> Value {
    match (key, value) {
        ("instance", Value::String(word)) if *word == symbols.instance => json!("$instance"),
        ("pool", Value::String(word)) if word == symbols.pool.as_str() => json!("$pool"),
        ("knob", Value::String(word)) if word == symbols.knob.as_str() => json!("$knob"),
        ("title" | "detail" | "app", Value::String(word)) if !word.is_empty() => json!("$text"),
        ("epoch" | "generation" | "revision", Value::Number(_)) => {
            let began = match key {
                "epoch" => symbols.epoch,
                "generation" => symbols.generation,
                _ => symbols.revision,
            };
            value.as_u64().map_or_else(
                || value.clone(),
                |number| Symbols::count(&format!("${key}"), began, number),
            )
        }
        ("expires_in_ms" | "retry_after_ms", Value::Number(_))
            if value.as_u64().is_some_and(|ms| (1..=MS_MAX).contains(&ms)) =>
        {
            json!("$ms")
        }
        ("min" | "max" | "granularity" | "effective" | "at_ns", Value::Number(number))
            if number.is_u64() =>
        {
            json!("$number")
        }
        ("settling" | "freeze_persistent", Value::Bool(_)) => json!("$bool"),
        ("value", Value::Number(_)) => symbols.value(value),
        ("knobs" | "values", Value::Object(fields)) => one(fields, "$knob", symbols),
        ("pools", Value::Object(fields)) => one(fields, "$pool", symbols),
        (_, Value::Object(fields)) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| (name.clone(), symbolic(name, value, symbols)))
                .collect(),
        ),
        (_, other) => other.clone(),
    }
}

/// Of a map by pool or by knob, only the one that the case is about.
fn one(fields: &Map<String, Value>, symbol: &str, symbols: &Symbols) -> Value {
    let name = if symbol == "$pool" {
        symbols.pool.as_str()
    } else {
        symbols.knob.as_str()
    };
    let mut kept = Map::new();
    if let Some(value) = fields.get(name) {
        let value = match value {
            Value::Number(_) => symbols.value(value),
            other => symbolic("", other, symbols),
        };
        kept.insert(symbol.to_owned(), value);
    }
    Value::Object(kept)
}

/// Everything that was recorded and is not so here. A host may say more than the reference does.
pub(super) fn differences(at: &str, expected: &Value, found: &Value) -> Vec<Difference> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => expected
            .iter()
            .flat_map(|(name, value)| {
                let at = format!("{at}.{name}");
                differences(&at, value, found.get(name).unwrap_or(&Value::Null))
            })
            .collect(),
        _ if expected == found => Vec::new(),
        _ => vec![Difference {
            at: at.to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_may_be_said_and_less_or_else_may_not() {
        let expected = json!({"a": 1, "b": {"c": "$ms"}});
        let found = json!({"a": 1, "b": {"c": "$ms", "d": 2}, "e": 3});
        assert_eq!(differences("answer", &expected, &found), []);
        let found = json!({"a": 2, "b": {}});
        let places: Vec<String> = differences("answer", &expected, &found)
            .into_iter()
            .map(|difference| format!("{}: {}", difference.at, difference.found))
            .collect();
        assert_eq!(places, ["answer.a: 2", "answer.b.c: null"]);
    }
}
