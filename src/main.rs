//! The `trimtab` command.

use std::io::{IsTerminal, stderr, stdout};
use std::process::ExitCode;
use trimtab::cli::{Command, Console, Exit, RunArgs, parse};
use trimtab::config::Overrides;
use trimtab::{app, signal, telemetry};

fn main() -> ExitCode {
    let (mut out, mut err) = (stdout().lock(), stderr());
    let color = err.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut console = Console {
        out: &mut out,
        err: &mut err,
        color,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return console.fail(&error).into(),
    };
    let exit = match parse(std::env::args_os(), &mut console) {
        Ok(command) => runtime.block_on(execute(command, &mut console)),
        Err(exit) => exit,
    };
    // A ledger on a disk that hangs must not keep the process: its thread is left behind.
    runtime.shutdown_background();
    exit.into()
}

fn variables() -> Overrides {
    Overrides::from_vars(std::env::vars_os())
}

async fn execute(command: Command, console: &mut Console<'_>) -> Exit {
    match command.execute(variables(), console).await {
        Ok(exit) => exit,
        Err(args) => run(args, console).await,
    }
}

async fn run(args: RunArgs, console: &mut Console<'_>) -> Exit {
    let config = match args.load(variables()) {
        Ok(config) => config,
        Err(errors) => return console.refuse(&errors),
    };
    let mut shutdown = match signal::Shutdown::listen() {
        Ok(shutdown) => shutdown,
        Err(error) => return console.fail(&error),
    };
    if let Err(error) = telemetry::init(config.log) {
        return console.fail(&error);
    }
    match app::run(config, !args.no_cage, shutdown.wait()).await {
        Ok(()) => Exit::Done,
        Err(error) => console.fail(&error),
    }
}
