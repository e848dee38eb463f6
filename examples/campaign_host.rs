//! The host of the fault campaigns: the pool of `hello_host`, a freeze that survives restarts, and ways to make it worse while it runs.
//!
//! `GET /delay/MS` says how long a request takes, `GET /threads/N` how many idle threads the process has beside its own. Its
//! arguments: the directory for the sockets, and the address to serve at; then, for a control API over TCP as well, a loopback address
//! and a file of tokens.

use anyhow::Context;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Router, routing::get};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;
use trimtab_host::host::Host;
use trimtab_host::layer::PoolLayer;
use trimtab_host::pool::{Pool, PoolKind};

/// What a thread that only waits needs.
const STACK_BYTES: usize = 32 * 1024;

/// How bad it is.
struct Mood {
    delay_ms: AtomicU64,
    /// A thread waits for each of these to be dropped.
    threads: Mutex<Vec<mpsc::Sender<()>>>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut given = std::env::args().skip(1);
    let directory = given.next().context("no directory for the sockets")?;
    let address = given.next().context("no address to serve at")?;
    let pool = Pool::builder("web")
        .kind(PoolKind::Web)
        .workers(10, 1..=200)
        .queue_limit(100, 0..=1_000)
        .timeout_ms(5_000, 1_000..=60_000)
        .build()?;
    let mut host = Host::builder("campaign")
        .version(env!("CARGO_PKG_VERSION"))
        .state_dir(format!("{directory}/state"))
        .socket_dir(directory)
        .part(Arc::new(pool.clone()));
    if let (Some(control), Some(tokens)) = (given.next(), given.next()) {
        host = host.tcp(control.parse()?, tokens);
    }
    let _control = host.start()?;
    let mood = Arc::new(Mood {
        delay_ms: AtomicU64::new(50),
        threads: Mutex::default(),
    });
    let work = Router::new()
        .route("/", get(wait))
        .layer(PoolLayer::new(pool));
    let app = work
        .route("/delay/{ms}", get(delay))
        .route("/threads/{number}", get(threads))
        .with_state(mood);
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, app).await?;
    Ok(())
}

async fn wait(State(mood): State<Arc<Mood>>) -> &'static str {
    tokio::time::sleep(Duration::from_millis(mood.delay_ms.load(Ordering::Relaxed))).await;
    "done\n"
}

async fn delay(State(mood): State<Arc<Mood>>, Path(ms): Path<u64>) {
    mood.delay_ms.store(ms, Ordering::Relaxed);
}

/// Answers how many there are now: the system may refuse more.
async fn threads(
    State(mood): State<Arc<Mood>>,
    Path(number): Path<usize>,
) -> Result<String, (StatusCode, String)> {
    let mut threads = mood.threads.lock().unwrap_or_else(PoisonError::into_inner);
    threads.truncate(number);
    while threads.len() < number {
        let (release, released) = mpsc::channel::<()>();
        let thread = thread::Builder::new().stack_size(STACK_BYTES);
        // It ends when its other half is dropped.
        let started = thread.spawn(move || released.recv().is_ok());
        started.map_err(|error| {
            let told = format!("{error} after {}", threads.len());
            (StatusCode::SERVICE_UNAVAILABLE, told)
        })?;
        threads.push(release);
    }
    Ok(threads.len().to_string())
}
