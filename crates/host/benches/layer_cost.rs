//! What the layer costs a request: CPU time of the server's process for each request over loopback, with and without the layer.
//!
//! Goal: at most 3 % more. One handler answers at once and so never needs a deadline, the other waits as if for a database. They do
//! nothing else, so the ratio is the worst that a busy service can see. Part of it is what axum itself asks for any layer,
//! so the layer is compared with one that does nothing, too.
//!
//! The client is a process of its own, so that its CPU time does not hide the difference. It keeps its connections, and what is
//! measured in turns is short, so that most turns fall between what else the machine does.

#[path = "support/pairs.rs"]
mod pairs;

use axum::Router;
use axum::routing::get;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tokio::runtime::Runtime;
use tower::layer::util::Identity;
use trimtab_host::layer::PoolLayer;
use trimtab_host::pool::Pool;
use trimtab_sys::clock::process_cpu_ns;

const ROUNDS: usize = 250;
const CONNECTIONS: usize = 16;
const REQUESTS: usize = 40;
/// What is asked for, and on how many connections at a time: on all, so that the server has always some to do, or on one, so that it
/// sleeps and wakes for each.
const LOADS: [(&str, &str, usize); 3] = [
    ("16 at a time, answered at once", "/ready", CONNECTIONS),
    ("one at a time, answered at once", "/ready", 1),
    ("16 at a time, each waits 1 ms", "/waits", CONNECTIONS),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, addresses @ ..] = arguments.as_slice()
        && mode == "client"
    {
        return Load::connect(addresses).serve();
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
    let routers = [
        router(),
        router().layer(Identity::new()),
        router().layer(PoolLayer::new(pool)),
    ];
    let servers = routers.map(|router| serve(&runtime, router));
    let client = std::cell::RefCell::new(Client::start(&servers));
    for (what, path, at_once) in LOADS {
        for (server, other) in [(0, "no layer"), (1, "an idle layer")] {
            let cost = |server| client.borrow_mut().cpu_us_a_request(server, path, at_once);
            let rounds = pairs::rounds(ROUNDS, || cost(server), || cost(2));
            let what = format!("{what}, the layer / {other}");
            pairs::report(&what, "CPU us a request", &rounds);
        }
    }
}

fn router() -> Router {
    let waits = || async {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
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

/// The client as this process sees it: a line asks for requests, a line says that they are answered.
struct Client {
    process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Client {
    fn start(servers: &[SocketAddr]) -> Self {
        let program = std::env::current_exe().expect("known");
        let mut process = Command::new(program)
            .arg("client")
            .args(servers.iter().map(SocketAddr::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client starts");
        let orders = process.stdin.take().expect("piped");
        let answers = BufReader::new(process.stdout.take().expect("piped")).lines();
        Self {
            process,
            orders,
            answers,
        }
    }

    /// Lets the client send requests, and tells what they cost this process.
    fn cpu_us_a_request(&mut self, server: usize, path: &str, at_once: usize) -> f64 {
        let before = process_cpu_ns().expect("counted");
        writeln!(self.orders, "{server} {at_once} {path}").expect("it listens");
        self.answers.next().expect("it lives").expect("it answers");
        let used = process_cpu_ns().expect("counted") - before;
        let requests = u32::try_from(CONNECTIONS * REQUESTS).expect("few");
        as_float(used) / 1e3 / f64::from(requests)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.process.kill().expect("it lives");
        self.process.wait().expect("it ends");
    }
}

/// The client itself: some connections to each server.
struct Load {
    servers: Vec<Vec<TcpStream>>,
}

impl Load {
    fn connect(addresses: &[String]) -> Self {
        let connect = |address: &String| {
            let stream = TcpStream::connect(address).expect("the server listens");
            stream.set_nodelay(true).expect("a TCP stream");
            stream
        };
        let connections = |address| (0..CONNECTIONS).map(|_| connect(address)).collect();
        Self {
            servers: addresses.iter().map(connections).collect(),
        }
    }

    /// Carries orders out until there are no more.
    #[expect(clippy::print_stdout, reason = "the other process listens there")]
    fn serve(mut self) {
        for order in std::io::stdin().lines() {
            let order = order.expect("text");
            let words: Vec<&str> = order.splitn(3, ' ').collect();
            let number = |index: usize| words[index].parse().expect("a number");
            self.send(number(0), number(1), words[2]);
            println!("done");
        }
    }

    /// One request on each of some connections, and then the answers of all, again and again.
    fn send(&mut self, server: usize, at_once: usize, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n");
        let mut answer = [0_u8; 4096];
        for _ in 0..REQUESTS {
            for some in self.servers[server].chunks_mut(at_once) {
                for stream in &mut *some {
                    stream.write_all(request.as_bytes()).expect("sent");
                }
                for stream in some {
                    read_answer(stream, &mut answer);
                }
            }
        }
    }
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
