//! `trimtab-sim`: scenarios, controllers and their scores on the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    trimtab_sim::cli::main()
}
