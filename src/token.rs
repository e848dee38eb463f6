//! What a request over HTTP shows of itself: a token, and whether a file of tokens has it.

use axum::http::{HeaderMap, header};
use std::io;
use std::path::Path;
use std::time::Duration;
use trimtab_sys::secret::SecretError;
use trimtab_sys::token::{TokenFileError, name_of};

/// How long a file of tokens may take to be read.
const FILE_TIME: Duration = Duration::from_secs(2);

/// The name of a token, if the file has it; read beside the runtime, and not waited for without end.
pub(crate) async fn look_up(file: &Path, shown: &[u8]) -> Result<Option<String>, TokenFileError> {
    let (file, shown) = (file.to_owned(), shown.to_vec());
    let looking = tokio::task::spawn_blocking(move || name_of(&file, &shown));
    match tokio::time::timeout(FILE_TIME, looking).await {
        Ok(Ok(looked)) => looked,
        Ok(Err(_)) | Err(_) => {
            let late = io::Error::from(io::ErrorKind::TimedOut);
            Err(SecretError::Unreadable(late).into())
        }
    }
}

/// The one token that a request shows by `Authorization: Bearer`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    shown_by(b"bearer ", headers)
}

/// The one token that a request shows, by `Bearer` or as the password of `Basic`, which is what a browser asks a person for.
pub(crate) fn bearer_or_password(headers: &HeaderMap) -> Option<Vec<u8>> {
    if let Some(token) = bearer(headers) {
        return Some(token.to_vec());
    }
    let pair = base64(shown_by(b"basic ", headers)?)?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair.get(colon + 1..)?.to_vec())
}

/// What stands behind a scheme in the one `Authorization`.
fn shown_by<'h>(scheme: &[u8], headers: &'h HeaderMap) -> Option<&'h [u8]> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (all.next()?.as_bytes(), all.next());
    let (named, shown) = first.split_at_checked(scheme.len())?;
    (second.is_none() && named.eq_ignore_ascii_case(scheme)).then(|| shown.trim_ascii())
}

/// The bytes of a text in Base64, with its padding or without.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"=").unwrap_or(text);
    let text = text.strip_suffix(b"=").unwrap_or(text);
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut held, mut bits) = (0_u32, 0);
    for sign in text {
        let value = match sign {
            b'A'..=b'Z' => sign - b'A',
            b'a'..=b'z' => sign - b'a' + 26,
            b'0'..=b'9' => sign - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits).to_be_bytes()[3]);
        }
    }
    (bits < 6).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_as_bearer_or_as_a_password_and_once() {
        let shown = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().expect("a value"));
            }
            bearer_or_password(&headers)
        };
        assert_eq!(shown(&["Bearer abc"]).as_deref(), Some(&b"abc"[..]));
        // me:abc, me:ab, :a and a word without a colon.
        assert_eq!(shown(&["basic bWU6YWJj"]).as_deref(), Some(&b"abc"[..]));
        assert_eq!(shown(&["Basic bWU6YWI="]).as_deref(), Some(&b"ab"[..]));
        assert_eq!(shown(&["Basic OmE="]).as_deref(), Some(&b"a"[..]));
        for wrong in [
            "Basic bWU",
            "Basic b?U6",
            "Basic b",
            "Digest abc",
            "abc",
            "",
        ] {
            assert_eq!(shown(&[wrong]), None, "{wrong}");
        }
        assert_eq!(shown(&["Bearer abc", "Bearer abc"]), None);
        assert_eq!(shown(&[]), None);
    }
}
