//! A host with three pools that do real work: pages, payments, and exports. Run it beside `trimtab`, or let `demo` do both.
//!
//! ```text
//! cargo run --release --example reference_host -- --listen 127.0.0.1:8080 --socket-dir /tmp/reference
//! curl http://127.0.0.1:8080/pages/7
//! curl --data 'one kettle, 12.05' http://127.0.0.1:8080/payments/1/2/5
//! curl --data '' 'http://127.0.0.1:8080/jobs?wait=true'
//! ```
//!
//! It says in one line of JSON where it serves and where its control socket is. What its pools start with are flags; the
//! defaults are guesses, as in life.

#[path = "reference/reference.rs"]
mod reference;

use clap::Parser;
use reference::host::HostOptions;
use reference::{DownstreamOptions, run_downstream};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: trimtab_host::memory::Jemalloc = trimtab_host::memory::Jemalloc;

/// A service with three pools that can be resized while it runs.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    options: HostOptions,
}

/// What this binary is in its child process.
#[derive(Debug, clap::Subcommand)]
enum Role {
    /// The service behind the host.
    #[command(hide = true)]
    Downstream(DownstreamOptions),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Downstream(options)) => run_downstream(&options).await,
        None => reference::host::run(&cli.options).await,
    }
}
