//! A service made tunable: run it, then `trimtab run --socket /tmp/hello/control.sock`, or ask it yourself:
//! `curl --unix-socket /tmp/hello/control.sock http://localhost/trimtab/v1/state`
//! Its arguments, if any: the directory for the sockets, and the address to serve at.

use axum::{Router, routing::get};
use std::sync::Arc;
use std::time::Duration;
use trimtab_host::host::Host;
use trimtab_host::layer::PoolLayer;
use trimtab_host::pool::{Pool, PoolKind};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut given = std::env::args().skip(1);
    let mut or = |usual: &str| given.next().unwrap_or_else(|| usual.to_owned());
    let (directory, address) = (or("/tmp/hello"), or("127.0.0.1:8080"));

    // A pool says how much may run at a time, how much may wait, and for how long. Each knob has the value that the service
    // starts with, and bounds that nobody can leave, whatever a sidecar asks for.
    let pool = Pool::builder("web")
        .kind(PoolKind::Web) // chooses the sidecar's profile
        .workers(10, 1..=200)
        .queue_limit(100, 0..=1_000)
        .timeout_ms(5_000, 1_000..=60_000)
        .build()?;

    // The control API: a socket in this directory, on a thread of its own, so that it answers even when the service is stuck.
    // Nothing changes until somebody asks for it, and what a lost sidecar has not confirmed is undone.
    let _control = Host::builder("hello")
        .version(env!("CARGO_PKG_VERSION"))
        .socket_dir(directory)
        .part(Arc::new(pool.clone()))
        .start()?;

    // The service itself. The layer makes each request wait for its turn, and answers 503 or 504 when there is none in time.
    // Work that is not a request goes through `pool.run(async { ... })`.
    let app = Router::new()
        .route("/", get(hello))
        .layer(PoolLayer::new(pool));
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, app).await?;
    Ok(())
}

/// It mostly waits, as services do.
async fn hello() -> &'static str {
    tokio::time::sleep(Duration::from_millis(50)).await;
    "hello\n"
}
