//! A client of the control API in a few lines: one connection a request.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use trimtab_host::host::HostHandle;
use trimtab_protocol::problem::{Problem, ProblemKind};
use trimtab_protocol::state::HostState;

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    #[track_caller]
    pub(crate) fn ok<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_str(&self.body).expect("the shape that the protocol says")
    }

    #[track_caller]
    pub(crate) fn problem(&self) -> Problem {
        let problem: Problem = serde_json::from_str(&self.body).expect("a problem");
        assert_eq!(self.status, problem.status);
        assert!(self.head.contains("content-type: application/problem+json"));
        problem
    }

    #[track_caller]
    pub(crate) fn kind(&self) -> ProblemKind {
        self.problem().kind
    }
}

/// Sends bytes as they are, and reads the answer to its end.
pub(crate) fn raw(socket: &Path, bytes: &[u8]) -> Reply {
    let stream = UnixStream::connect(socket).expect("it listens");
    stream
        .set_read_timeout(Some(crate::LONG))
        .expect("a hang guard");
    exchange(stream, bytes)
}

/// The same over TCP.
pub(crate) fn raw_tcp(address: SocketAddr, bytes: &[u8]) -> Reply {
    let stream = TcpStream::connect(address).expect("it listens");
    stream
        .set_read_timeout(Some(crate::LONG))
        .expect("a hang guard");
    exchange(stream, bytes)
}

fn exchange(mut stream: impl Read + Write, bytes: &[u8]) -> Reply {
    stream.write_all(bytes).expect("it is read");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).expect("a status");
    Reply {
        status: status.parse().expect("a number"),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

pub(crate) fn send(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> Reply {
    let body = body.map(Value::to_string).unwrap_or_default();
    let media = if body.is_empty() {
        ""
    } else {
        "content-type: application/json\r\n"
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{media}content-length: {}\r\n\r\n",
        body.len()
    );
    raw(socket, format!("{head}{body}").as_bytes())
}

/// The calls as a sidecar or an operator makes them.
pub(crate) trait Calls {
    fn handle(&self) -> &HostHandle;

    fn sidecar(&self, method: &str, path: &str, body: &Value) -> Reply {
        let path = format!("/trimtab/v1{path}");
        send(self.handle().control_socket(), method, &path, Some(body))
    }

    fn operator(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        let path = format!("/trimtab/v1{path}");
        send(self.handle().operator_socket(), method, &path, body)
    }

    #[track_caller]
    fn state(&self) -> HostState {
        send(
            self.handle().control_socket(),
            "GET",
            "/trimtab/v1/state",
            None,
        )
        .ok()
    }

    fn lease(&self, holder: &str, ttl_ms: u64) -> Reply {
        let instance = self.handle().instance();
        let body = json!({ "instance": instance, "holder": holder, "ttl_ms": ttl_ms });
        self.sidecar("POST", "/lease", &body)
    }

    /// A change that fits the state as it is.
    fn planned(&self, trial_ms: u64, set: &Value) -> Value {
        let state = self.state();
        json!({
            "instance": state.instance,
            "epoch": state.epoch,
            "generation": state.generation.next(),
            "pool": "web",
            "base_revision": state.pools["web"].revision,
            "trial_ms": trial_ms,
            "set": set,
            "reason": "a test",
        })
    }

    fn change(&self, trial_ms: u64, set: &Value) -> Reply {
        let body = self.planned(trial_ms, set);
        self.sidecar("POST", "/changes", &body)
    }

    fn end(&self, generation: u64, how: &str) -> Reply {
        let state = self.state();
        let body = json!({ "instance": state.instance, "epoch": state.epoch, "pool": "web" });
        self.sidecar("POST", &format!("/changes/{generation}/{how}"), &body)
    }
}

impl Calls for HostHandle {
    fn handle(&self) -> &HostHandle {
        self
    }
}
