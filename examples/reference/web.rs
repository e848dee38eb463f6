//! The web pool's work: a customer's page, from three questions to the catalogue that follow each other, and a template.
//!
//! It nearly only waits, so a pool that is small for its rate leaves the machine idle and its customers in the queue.
//!
//! A page is rendered into a buffer that is used again: it goes out as the body without a copy, and comes back to its pool once
//! it was sent.

use super::host::{Failure, Service};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use minijinja::{AutoEscape, Environment, Value, context};
use std::sync::Arc;

/// The templates, compiled once.
pub(crate) fn templates() -> Result<Environment<'static>, minijinja::Error> {
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    templates.add_filter("price", |cents: u64| {
        format!("{}.{:02}", cents / 100, cents % 100)
    });
    templates.add_template("page", include_str!("page.html"))?;
    Ok(templates)
}

/// `GET /pages/{customer}`.
pub(crate) async fn page(
    State(service): State<Arc<Service>>,
    Path(customer): Path<u32>,
) -> Result<Response, Failure> {
    let person = entry(&service, &format!("customer:{customer}")).await?;
    let basket = entry(&service, &format!("basket:{customer}")).await?;
    let offers = entry(&service, &format!("offers:{}", person["segment"])).await?;
    let mut page = service.pages.take();
    let shown = context! {
        customer => value(&person),
        basket => value(&basket),
        offers => value(&offers),
    };
    let template = service.templates.get_template("page")?;
    drop(template.render_captured_to(shown, &mut *page)?);
    let html = [(CONTENT_TYPE, "text/html; charset=utf-8")];
    Ok((html, Body::from(page.freeze())).into_response())
}

async fn entry(service: &Service, key: &str) -> Result<serde_json::Value, Failure> {
    let text = service.downstream.call(&format!("get {key}")).await?;
    Ok(serde_json::from_str(&text)?)
}

/// JSON as the template engine takes it.
fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(truth) => Value::from(*truth),
        serde_json::Value::Number(number) => number
            .as_i64()
            .map_or_else(|| Value::from(number.as_f64()), Value::from),
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => items.iter().map(value).collect::<Vec<_>>().into(),
        serde_json::Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (name.clone(), value(field)))
            .collect::<std::collections::BTreeMap<_, _>>()
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_page_shows_names_as_text_and_prices_in_whole_money() {
        let templates = templates().expect("the template compiles");
        let page = templates.get_template("page").expect("it is there");
        let html = page
            .render(context! {
                customer => value(&json!({"name": "Ann <b>", "points": 3000, "segment": 1})),
                basket => value(&json!([{"name": "Bell", "cents": 1205, "count": 2}])),
                offers => value(&json!([{"name": "Chair", "cents": 199, "count": 1}])),
            })
            .expect("it renders");
        assert!(
            html.contains("Ann &lt;b&gt;") && html.contains("free delivery"),
            "{html}"
        );
        assert!(html.contains("<td>12.05</td><td>24.10</td>"), "{html}");
        assert!(html.contains("CHAIR</a> 1.99 <em>a bargain</em>"), "{html}");
    }
}
