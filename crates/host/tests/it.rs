//! A host over its real sockets, with a part made for the tests.

#[path = "it/api.rs"]
mod api;
#[path = "it/attacks.rs"]
mod attacks;
#[path = "it/client.rs"]
mod client;
#[path = "it/freeze.rs"]
mod freeze;
#[path = "it/guard.rs"]
mod guard;
#[path = "it/part.rs"]
mod part;
#[path = "it/pool.rs"]
mod pool;
#[cfg(feature = "pprof")]
#[path = "it/pprof.rs"]
mod pprof;
#[path = "it/tcp.rs"]
mod tcp;
#[path = "it/threads.rs"]
mod threads;
#[path = "it/trial.rs"]
mod trial;

use part::Fake;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use trimtab_host::host::{Host, HostBuilder, HostHandle};

/// A hang guard, never a measure: far longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// A host in a directory of its own, with one pool `web`.
struct Bench {
    host: HostHandle,
    part: Arc<Fake>,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(edit: impl FnOnce(HostBuilder) -> HostBuilder) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let part = Fake::new("web");
        let host = edit(builder(dir.path(), &part)).start().expect("it starts");
        Self { host, part, dir }
    }
}

fn builder(dir: &Path, part: &Arc<Fake>) -> HostBuilder {
    Host::builder("shop")
        .version("1.2.3")
        .label("zone", "a")
        .socket_dir(dir.join("sockets"))
        .part(Arc::clone(part) as Arc<dyn trimtab_host::part::Part>)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

impl client::Calls for Bench {
    fn handle(&self) -> &HostHandle {
        &self.host
    }
}
