//! The graphs of where the host's time goes.

use super::section::Section;
use super::unit::Unit;
use super::value::{NumberRule, TextRule};
use std::net::SocketAddr;
use trimtab_flame::ask::HZ_MAX;

/// The graphs of where the host's time goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlameConfig {
    /// Whether the recent past is remembered, so that a change can be compared with what was before it.
    pub remember: bool,
    /// Samples a second of CPU time for that.
    pub hz: u32,
    /// The most memory for that, in bytes.
    pub max_bytes: usize,
    /// Where the host offers a profile of itself.
    pub own_profile: Option<String>,
    /// A Pyroscope-compatible server to which what is remembered is sent.
    pub push: Option<String>,
}

impl Default for FlameConfig {
    fn default() -> Self {
        Self {
            remember: false,
            hz: 49,
            max_bytes: 4 << 20,
            own_profile: None,
            push: None,
        }
    }
}

const REMEMBER: [(&str, bool); 2] = [("off", false), ("on", true)];

const HZ: NumberRule = NumberRule {
    key: "hz",
    unit: Unit::Count,
    min: 1,
    max: HZ_MAX as u64,
    why: "each sample costs the host about 20 microseconds",
};

const MAX_BYTES: NumberRule = NumberRule {
    key: "max_bytes",
    unit: Unit::Bytes,
    min: 256 << 10,
    max: 1 << 30,
    why: "less holds no minute, and more than a gigabyte is a slip of the pen",
};

const OWN_PROFILE: TextRule = TextRule {
    key: "own_profile",
    what: "an address such as \"http://127.0.0.1:6060/debug/pprof/profile\", or \"unix:\" and the path of a socket",
    takes: is_own_profile,
    why: "only a loopback IP address with a port or a local socket is asked, and without encryption",
};

const PUSH: TextRule = TextRule {
    key: "push",
    what: "an address such as \"http://127.0.0.1:4040\"",
    takes: is_server,
    why: "the server's name or IP address with its port, and without encryption",
};

/// Reads the section.
pub(super) fn flame(root: &mut Section<'_>) -> FlameConfig {
    let mut table = root.section("flame");
    let why = "`on` samples the host all the time, at `hz`";
    let remember = table.word("remember", &REMEMBER, why);
    let (hz, max_bytes) = (table.number(&HZ), table.number(&MAX_BYTES));
    let own_profile = table.text(&OWN_PROFILE);
    let push = table.text(&PUSH);
    table.finish();
    let default = FlameConfig::default();
    let number = |found: Option<u64>| found.and_then(|number| usize::try_from(number).ok());
    FlameConfig {
        remember: remember.map_or(default.remember, |found| found.value),
        hz: hz
            .and_then(|found| u32::try_from(found.value).ok())
            .unwrap_or(default.hz),
        max_bytes: number(max_bytes.map(|found| found.value)).unwrap_or(default.max_bytes),
        own_profile: own_profile.map(|found| found.value),
        push: push.map(|found| found.value),
    }
}

fn is_server(text: &str) -> bool {
    let host = text.strip_prefix("http://").unwrap_or_default();
    let port = host
        .rsplit_once(':')
        .map(|(_, port)| port.trim_end_matches('/'));
    port.is_some_and(|port| port.parse::<u16>().is_ok())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_own_profile(text: &str) -> bool {
    if let Some(socket) = text.strip_prefix("unix:") {
        return socket.starts_with('/') && socket.bytes().all(|byte| byte.is_ascii_graphic());
    }
    let rest = text.strip_prefix("http://").unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    let is_loopback = host
        .parse::<SocketAddr>()
        .is_ok_and(|address| address.ip().is_loopback());
    is_loopback && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_a_name_and_a_port() {
        assert!(is_server("http://pyroscope:4040") && is_server("http://[::1]:4040/"));
        for wrong in [
            "https://pyroscope:4040",
            "http://pyroscope",
            "http://a b:1",
            "pyroscope:1",
        ] {
            assert!(!is_server(wrong), "{wrong}");
        }
    }

    #[test]
    fn only_a_plain_address_on_loopback_is_asked_for_a_profile() {
        assert!(is_own_profile("http://127.0.0.1:6060/debug/pprof/profile"));
        assert!(is_own_profile("http://[::1]:6060"));
        assert!(is_own_profile("unix:/run/shop/control.sock") && !is_own_profile("unix:shop"));
        for wrong in [
            "https://127.0.0.1:6060/",
            "http://localhost:6060/",
            "http://10.0.0.1:6060/",
            "http://127.0.0.1/",
            "http://127.0.0.1:1/a b",
        ] {
            assert!(!is_own_profile(wrong), "{wrong}");
        }
    }
}
