//! The rest of the time in a request's header, so that a deadline reaches the next process.
//!
//! What is sent is how long the receiver has, not until when: two machines have two clocks, and the time on the wire is the
//! smaller mistake. The header is `x-request-timeout-ms`, whole milliseconds. There is no standard for plain HTTP; gRPC's
//! `grpc-timeout` says the same in its own notation and is read too, so that a gRPC caller's deadline counts as well.

use super::Deadline;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

/// The header that [`pass_on`] writes: how long the receiver has, in whole milliseconds.
pub const REQUEST_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-request-timeout-ms");

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Writes the rest of the deadline in force into the headers of a request to someone else, and takes out what stood there.
/// Answers the deadline, so that the caller may hold itself to it. Without a deadline in force nothing is changed.
pub fn pass_on(headers: &mut HeaderMap) -> Option<Deadline> {
    let deadline = Deadline::current()?;
    // Rounded down: the receiver gives up before the sender does, and its answer still comes in time.
    let left_ms = u64::try_from(deadline.remaining().as_millis()).unwrap_or(u64::MAX);
    headers.remove(GRPC_TIMEOUT);
    headers.insert(REQUEST_TIMEOUT_MS, HeaderValue::from(left_ms));
    Some(deadline)
}

/// How long the sender of these headers waits; the shortest, if they say it twice. Nothing if they do not say it, or not in
/// a way that can be read.
#[must_use]
pub fn taken_from(headers: &HeaderMap) -> Option<Duration> {
    let own = headers.get_all(REQUEST_TIMEOUT_MS).iter().map(|value| {
        let digits = value.to_str().ok().filter(|text| is_number(text))?;
        Some(Duration::from_millis(digits.parse().ok()?))
    });
    let grpc = headers.get_all(GRPC_TIMEOUT).iter().map(grpc_timeout);
    own.chain(grpc).flatten().min()
}

/// Up to eight digits and a unit.
fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !is_number(digits) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// `parse` also takes a sign.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: HeaderName, value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a header"));
        taken_from(&headers)
    }

    #[test]
    fn what_is_passed_on_is_the_rest_and_is_read_as_such() {
        let mut headers = HeaderMap::new();
        assert!(pass_on(&mut headers).is_none());
        assert!(headers.is_empty());
        headers.insert(GRPC_TIMEOUT, HeaderValue::from_static("1H"));
        let minute = Duration::from_secs(60);
        Deadline::after(minute).run(|| pass_on(&mut headers));
        let read = taken_from(&headers).expect("written");
        assert!(read <= minute && !read.is_zero(), "{read:?}");
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn a_deadline_that_has_passed_is_passed_on_as_nothing() {
        let mut headers = HeaderMap::new();
        Deadline::after(Duration::ZERO).run(|| pass_on(&mut headers));
        assert_eq!(taken_from(&headers), Some(Duration::ZERO));
    }

    #[test]
    fn both_notations_are_read() {
        let ms = Duration::from_millis;
        assert_eq!(read(REQUEST_TIMEOUT_MS, "250"), Some(ms(250)));
        for (text, time) in [("2S", ms(2_000)), ("250m", ms(250)), ("5000u", ms(5))] {
            assert_eq!(read(GRPC_TIMEOUT, text), Some(time), "{text}");
        }
        assert_eq!(read(GRPC_TIMEOUT, "1H"), Some(ms(3_600_000)));
    }

    #[test]
    fn what_cannot_be_read_is_no_deadline() {
        for text in ["", "-5", "+5", "1.5", "5 ms", "99999999999999999999999"] {
            assert_eq!(read(REQUEST_TIMEOUT_MS, text), None, "{text}");
        }
        for text in ["5", "m", "123456789m", "5x", "+5m"] {
            assert_eq!(read(GRPC_TIMEOUT, text), None, "{text}");
        }
    }

    #[test]
    fn of_two_the_shorter_counts() {
        let mut headers = HeaderMap::new();
        headers.append(REQUEST_TIMEOUT_MS, HeaderValue::from(900_u64));
        headers.append(REQUEST_TIMEOUT_MS, HeaderValue::from(300_u64));
        headers.append(GRPC_TIMEOUT, HeaderValue::from_static("400m"));
        assert_eq!(taken_from(&headers), Some(Duration::from_millis(300)));
    }
}
