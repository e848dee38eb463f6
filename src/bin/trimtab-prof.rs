//! The profiler's process, which the sidecar starts and talks to over a pipe.

use std::process::ExitCode;
use trimtab_flame::keeper;

fn main() -> ExitCode {
    let keeps = std::env::args_os().nth(1);
    if keeps.is_some_and(|word| word == keeper::OPTION) {
        return keeper::main();
    }
    trimtab_flame::desk::main()
}
