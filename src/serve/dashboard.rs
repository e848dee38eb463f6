//! The dashboard: three files that the build bundled from `ui/` and put into the program.
//!
//! Where the build could not bundle it, or the feature `dashboard` is off, `/` is the plain page.

use crate::serve::error::Refusal;
use crate::serve::guard::ContentPolicy;
use crate::serve::{Shared, page};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// One file of the bundle.
struct File {
    name: &'static str,
    media: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));

/// The page may run its own script, use its own style and ask this server, and nothing else.
const POLICY: ContentPolicy = ContentPolicy(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     frame-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Whether the dashboard is in this program.
#[cfg(test)]
pub(super) fn is_bundled() -> bool {
    !FILES.is_empty()
}

/// The dashboard, or the plain page where it is not in the program.
pub(super) async fn show(state: State<Shared>, headers: HeaderMap) -> Response {
    match find("index.html") {
        Some(file) => answer(file, &headers),
        None => page::show(state, RawQuery(None)).await,
    }
}

/// Its script.
pub(super) async fn script(headers: HeaderMap) -> Result<Response, Refusal> {
    part("app.js", &headers)
}

/// Its style sheet.
pub(super) async fn style(headers: HeaderMap) -> Result<Response, Refusal> {
    part("app.css", &headers)
}

fn part(name: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
    let missing = || Refusal::Unknown("the dashboard is not in this program".to_owned());
    find(name)
        .map(|file| answer(file, headers))
        .ok_or_else(missing)
}

fn find(name: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.name == name)
}

fn answer(file: &'static File, headers: &HeaderMap) -> Response {
    let zipped = takes_gzip(headers);
    let body = if zipped { file.gzip } else { file.plain };
    let mut response = body.into_response();
    let set = response.headers_mut();
    set.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.media));
    set.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if zipped {
        set.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response.extensions_mut().insert(POLICY);
    response
}

/// Whether the caller takes gzip, and does not give it a weight of nought.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = lists
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let gzip = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = parts.any(|weight| {
            let number = weight
                .strip_prefix("q=")
                .and_then(|number| number.parse::<f32>().ok());
            number.is_some_and(|number| number <= 0.0)
        });
        gzip && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(encoding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(encoding))])
    }

    #[test]
    fn gzip_is_sent_to_whoever_takes_it() {
        assert!(takes_gzip(&asked("gzip, deflate, br")));
        assert!(takes_gzip(&asked("br;q=1.0, GZIP;q=0.5")));
        assert!(!takes_gzip(&asked("gzip;q=0, br")));
        assert!(!takes_gzip(&asked("identity")));
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn the_whole_page_weighs_at_most_150_kib_gzipped() {
        let weight: usize = FILES.iter().map(|file| file.gzip.len()).sum();
        assert!(weight <= 150 * 1024, "{weight} bytes");
    }

    #[test]
    fn the_page_asks_nobody_else_for_anything() {
        for file in FILES {
            let text = String::from_utf8_lossy(file.plain);
            for (at, _) in text.match_indices("://") {
                let address: String = text[at + 3..].chars().take(40).collect();
                // Names of XML vocabularies and the address in a licence's comment are not asked for.
                let known = ["www.w3.org/", "github.com/leeoniya/uPlot"];
                assert!(
                    known.iter().any(|name| address.starts_with(name)),
                    "{}: {address}",
                    file.name
                );
            }
        }
    }
}
