//! What the layer costs a request: CPU time of the server's process for each request over loopback, with and without the layer.
//!
//! Goal: at most 3 % more. One handler answers at once and so never needs a timer, the other waits 5 ms as if for a database.
//! The handlers do nothing else, so the ratio is the worst that a busy service can see. Part of it is what axum itself asks
//! for any layer, so the layer is compared with one that does nothing, too. With only a few requests at a time the second
//! handler costs more: tokio wakes its driver, by a system call, for each timer that is set while no earlier one is.
//!
//! The client is a process of its own, so that its CPU time does not hide the difference.

#[path = "support/pairs.rs"]
mod pairs;

use axum::Router;
use axum::routing::get;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use tokio::runtime::Runtime;
use tower::layer::util::Identity;
use trimtab_host::layer::PoolLayer;
use trimtab_host::pool::Pool;
use trimtab_sys::clock::process_cpu_ns;

const ROUNDS: usize = 30;
const CONNECTIONS: usize = 64;
const REQUESTS: u32 = 125;
const PATHS: [(&str, &str); 2] = [
    ("a handler that answers at once", "/ready"),
    ("a handler that waits 5 ms", "/waits"),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, address, path] = arguments.as_slice()
        && mode == "client"
    {
        return load(address.parse().expect("an address"), path);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let pool = Pool::builder("bench")
        .workers(128, 1..=512)
        .build()
        .expect("a valid pool");
    let raw = serve(&runtime, router());
    let layered = serve(&runtime, router().layer(PoolLayer::new(pool)));
    let idle = serve(&runtime, router().layer(Identity::new()));
    for (what, path) in PATHS {
        for (other, baseline) in [("no layer", raw), ("an idle layer", idle)] {
            let rounds = pairs::rounds(
                ROUNDS,
                || cpu_us_a_request(baseline, path),
                || cpu_us_a_request(layered, path),
            );
            let what = format!("{what}, the layer / {other}");
            pairs::report(&what, "CPU us a request", &rounds);
        }
    }
}

fn router() -> Router {
    let waits = || async {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        "hello"
    };
    Router::new()
        .route("/ready", get(|| async { "hello" }))
        .route("/waits", get(waits))
}

fn serve(runtime: &Runtime, router: Router) -> SocketAddr {
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .expect("a free port");
    let address = listener.local_addr().expect("bound");
    runtime.spawn(async move { axum::serve(listener, router).await });
    address
}

/// Lets a client of its own process send requests, and tells what they cost this one.
fn cpu_us_a_request(server: SocketAddr, path: &str) -> f64 {
    let program = std::env::current_exe().expect("known");
    let before = process_cpu_ns().expect("counted");
    let status = Command::new(program)
        .args(["client", &server.to_string(), path])
        .status()
        .expect("the client starts");
    let used = process_cpu_ns().expect("counted") - before;
    assert!(status.success(), "the client failed");
    let connections = u32::try_from(CONNECTIONS).expect("few");
    as_float(used) / 1e3 / f64::from(connections * REQUESTS)
}

/// The client: some connections, one request after the other on each.
fn load(server: SocketAddr, path: &str) {
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(server).expect("the server listens");
                stream.set_nodelay(true).expect("a TCP stream");
                let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n");
                let mut answer = [0_u8; 4096];
                for _ in 0..REQUESTS {
                    stream.write_all(request.as_bytes()).expect("sent");
                    read_answer(&mut stream, &mut answer);
                }
            });
        }
    });
}

/// Reads until the end of the one body that the server sends.
fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) {
    let mut filled = 0;
    while !buffer[..filled].ends_with(b"hello") {
        let read = stream.read(&mut buffer[filled..]).expect("answered");
        assert!(read > 0, "the server closed the connection");
        filled += read;
    }
    assert!(buffer.starts_with(b"HTTP/1.1 200"), "refused");
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a time is known to a few digits"
)]
fn as_float(ns: u64) -> f64 {
    ns as f64
}
