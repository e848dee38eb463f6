//! A CPU profile that the service takes of itself, in the format of `go tool pprof`.
//!
//! It is for machines on which the kernel lets nobody sample a process from outside, as in most containers. The control side
//! offers it at [`PATH`], to whoever may read the service's state, and a service with a web server of its own can offer
//! [`profile`] there too. It runs only when asked: signals interrupt the service, and while it lasts it takes some sixty
//! mebibytes of memory, most of which stays with the process.

use flate2::Compression;
use flate2::write::GzEncoder;
use pprof::ProfilerGuardBuilder;
use pprof::protos::Message as _;
use std::io::{self, Write as _};
use std::time::Duration;
use thiserror::Error;

/// Where the control side offers it, as Go services do.
pub const PATH: &str = "/debug/pprof/profile";
/// The longest window of one profile.
pub const WINDOW_MAX: Duration = Duration::from_secs(60);
/// The window of whoever does not say, in seconds; what `go tool pprof` expects.
const SECONDS: u64 = 30;
/// Samples a second of CPU time. Not a round number, so that it keeps no step with the service's own timers.
const HZ: i32 = 99;
/// Code in these may hold locks that looking from a signal needs.
const LEFT_OUT: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// Why there is no profile.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// Another is being taken.
    #[error("another profile is being taken")]
    Busy,
    /// The system did not let it.
    #[error("no profile could be taken: {0}")]
    Failed(io::Error),
}

/// Takes a profile of the process's CPU time, gzipped. The window is at most [`WINDOW_MAX`]. Runs on tokio.
///
/// # Errors
/// [`ProfileError::Busy`] while another is being taken, and when the system does not let it.
pub async fn profile(window: Duration) -> Result<Vec<u8>, ProfileError> {
    let guard = ProfilerGuardBuilder::default()
        .frequency(HZ)
        .blocklist(&LEFT_OUT)
        .build()
        .map_err(failed)?;
    tokio::time::sleep(window.min(WINDOW_MAX)).await;
    let written = tokio::task::spawn_blocking(move || {
        let report = guard.report().build().map_err(failed)?;
        let bytes = report.pprof().map_err(failed)?.encode_to_vec();
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed
            .write_all(&bytes)
            .and_then(|()| packed.finish())
            .map_err(ProfileError::Failed)
    });
    written
        .await
        .unwrap_or_else(|error| Err(ProfileError::Failed(io::Error::other(error))))
}

fn failed(error: pprof::Error) -> ProfileError {
    match error {
        pprof::Error::Running => ProfileError::Busy,
        other => ProfileError::Failed(io::Error::other(other)),
    }
}

/// The window that a request's query asks for, such as `seconds=10`.
pub(crate) fn window(query: Option<&str>) -> Result<Duration, String> {
    let mut pairs = query.unwrap_or_default().split('&');
    let seconds = pairs.find_map(|pair| pair.strip_prefix("seconds="));
    let seconds = seconds.map_or(Some(SECONDS), |text| text.parse().ok());
    let window = seconds
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs);
    window
        .filter(|window| *window <= WINDOW_MAX)
        .ok_or_else(|| format!("`seconds` is 1 to {}", WINDOW_MAX.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_half_a_minute_unless_asked_and_never_more_than_one() {
        let seconds = |query| window(query).map(|window| window.as_secs());
        assert_eq!(seconds(None), Ok(30));
        assert_eq!(seconds(Some("debug=0&seconds=5")), Ok(5));
        for wrong in ["seconds=0", "seconds=61", "seconds=x"] {
            assert!(seconds(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
