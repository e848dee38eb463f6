//! The profiler's process, which the sidecar starts and talks to over a pipe.

use std::process::ExitCode;

fn main() -> ExitCode {
    trimtab_flame::desk::main()
}
