//! `/metrics` in the format that the caller asks for.
//!
//! The metrics are rendered as OpenMetrics. A caller that does not accept that gets the older text format, in which a counter
//! is declared under its full name, there is no type `info`, and neither units nor an end are told.

use crate::serve::Shared;
use crate::serve::error::Refusal;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics.
pub(super) async fn show(
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let text = (shared.deps.metrics)().map_err(|_| Refusal::Internal)?;
    let (kind, text) = if accepts_open(&headers) {
        (OPEN, text)
    } else {
        (PLAIN, plain(&text))
    };
    let headers = [(header::CONTENT_TYPE, kind), (header::VARY, "accept")];
    Ok((headers, text).into_response())
}

/// Whether the caller takes OpenMetrics at least as gladly as plain text.
fn accepts_open(headers: &HeaderMap) -> bool {
    let mut open = 0.0_f64;
    let mut plain = 0.0_f64;
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let weight = parts
                .find_map(|part| part.strip_prefix("q="))
                .map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            match kind {
                "application/openmetrics-text" => open = open.max(weight),
                "text/plain" => plain = plain.max(weight),
                _ => {}
            }
        }
    }
    open > 0.0 && open >= plain
}

/// The same metrics in the text format 0.0.4.
fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut lines = open.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("# UNIT") || line == "# EOF" {
            continue;
        }
        // HELP comes first and tells nothing of the type, which stands in the line after it.
        let typed = if line.starts_with("# HELP ") {
            lines.peek().copied().unwrap_or_default()
        } else {
            line
        };
        let (suffix, kind) = match typed.rsplit(' ').next() {
            Some("counter") => ("_total", "counter"),
            Some("info") => ("_info", "gauge"),
            Some("unknown") => ("", "untyped"),
            other => ("", other.unwrap_or_default()),
        };
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            text.extend(["# HELP ", name, suffix, " ", help, "\n"]);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap_or_default();
            text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn accepts(value: &str) -> bool {
        let value = HeaderValue::from_str(value).unwrap();
        accepts_open(&HeaderMap::from_iter([(header::ACCEPT, value)]))
    }

    #[test]
    fn the_format_is_the_one_asked_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        assert!(accepts(prometheus));
        assert!(accepts("application/openmetrics-text"));
        assert!(!accepts("text/plain"));
        assert!(!accepts(
            "text/plain;q=0.9, application/openmetrics-text;q=0.1"
        ));
        assert!(!accepts("application/openmetrics-text;q=0"));
        assert!(!accepts("*/*"));
        assert!(!accepts_open(&HeaderMap::new()));
    }

    #[test]
    fn plain_text_knows_no_info_no_unit_and_no_end() {
        let open = "# HELP a_build The version.\n# TYPE a_build info\na_build_info{v=\"1\"} 1\n\
                    # HELP a_ticks Ticks.\n# TYPE a_ticks counter\na_ticks_total 3\n\
                    # HELP a_lag_seconds Lag.\n# TYPE a_lag_seconds gauge\n# UNIT a_lag_seconds seconds\n\
                    a_lag_seconds 0.5\n# EOF\n";
        let expected = "# HELP a_build_info The version.\n# TYPE a_build_info gauge\na_build_info{v=\"1\"} 1\n\
                    # HELP a_ticks_total Ticks.\n# TYPE a_ticks_total counter\na_ticks_total 3\n\
                    # HELP a_lag_seconds Lag.\n# TYPE a_lag_seconds gauge\na_lag_seconds 0.5\n";
        assert_eq!(plain(open), expected);
    }
}
