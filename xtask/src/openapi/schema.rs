//! Holds a JSON value against a schema of a document: as much of JSON Schema as the documents use.

use serde_json::Value;

/// What is wrong with a value by a schema, with the place in the value; nothing when it fits.
pub(super) fn faults(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#'));
        return match target {
            Some(target) => faults(document, target, value, at),
            None => vec![format!("{at}: there is no schema `{reference}`")],
        };
    }
    let mut found = Vec::new();
    let alternatives = schema["oneOf"]
        .as_array()
        .or_else(|| schema["anyOf"].as_array());
    if let Some(alternatives) = alternatives {
        let fits = |one: &&Value| faults(document, one, value, at).is_empty();
        if alternatives.iter().filter(fits).count() == 0 {
            found.push(format!("{at}: {value} fits none of the alternatives"));
        }
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        found.extend(faults(document, part, value, at));
    }
    if !is_of_type(&schema["type"], value) {
        found.push(format!("{at}: {value} is not of type {}", schema["type"]));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        found.push(format!("{at}: {value} is not one of {}", schema["enum"]));
    }
    if let (Some(minimum), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
        && number < minimum
    {
        found.push(format!("{at}: {value} is below {minimum}"));
    }
    if let Some(items) = value.as_array() {
        for (index, item) in items.iter().enumerate() {
            found.extend(faults(
                document,
                &schema["items"],
                item,
                &format!("{at}/{index}"),
            ));
        }
    }
    found.extend(faults_of_object(document, schema, value, at));
    found
}

fn faults_of_object(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let Some(fields) = value.as_object() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for name in schema["required"].as_array().into_iter().flatten() {
        if name.as_str().is_none_or(|name| !fields.contains_key(name)) {
            found.push(format!("{at}: {name} is missing"));
        }
    }
    for (name, field) in fields {
        let at = format!("{at}/{name}");
        match schema["properties"].get(name) {
            Some(schema) => found.extend(faults(document, schema, field, &at)),
            None if schema["additionalProperties"] == false => {
                found.push(format!("{at}: the schema knows no such field"));
            }
            None => found.extend(faults(
                document,
                &schema["additionalProperties"],
                field,
                &at,
            )),
        }
    }
    found
}

fn is_of_type(sort: &Value, value: &Value) -> bool {
    match sort {
        Value::Array(sorts) => sorts.iter().any(|sort| is_of_type(sort, value)),
        Value::String(sort) => match sort.as_str() {
            "array" => value.is_array(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "null" => value.is_null(),
            "number" => value.is_number(),
            "object" => value.is_object(),
            _ => value.is_string(),
        },
        _ => true,
    }
}

/// The names of all fields that a schema knows, whatever it is put together from.
pub(super) fn fields(document: &Value, schema: &Value) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#'));
        return target.map_or_else(Vec::new, |target| fields(document, target));
    }
    let own = schema["properties"].as_object().into_iter().flatten();
    let mut names: Vec<String> = own.map(|(name, _)| name.clone()).collect();
    for list in ["allOf", "anyOf", "oneOf"] {
        for part in schema[list].as_array().into_iter().flatten() {
            names.extend(fields(document, part));
        }
    }
    names
}
