//! `trimtab completions` and `trimtab man`: what a shell and a reader of manuals need, made from the command line itself.

use super::{Cli, Console, Exit, ended};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use std::path::PathBuf;

/// The options of `trimtab completions`.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

impl CompletionsArgs {
    /// Writes the completions.
    pub fn execute(&self, console: &mut Console<'_>) -> Exit {
        // Made in memory first: the generator ends the process when its writer fails.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "trimtab", &mut script);
        ended(console.out.write_all(&script).map(|()| Exit::Done))
    }
}

/// The options of `trimtab man`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ManArgs {
    /// The directory for the pages; it is made when it is not there
    pub directory: PathBuf,
}

impl ManArgs {
    /// Writes one page a subcommand.
    pub fn execute(&self, console: &mut Console<'_>) -> Exit {
        let made = std::fs::create_dir_all(&self.directory)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &self.directory));
        match made {
            Ok(()) => Exit::Done,
            Err(error) => {
                let place = self.directory.display();
                console.fail(&format!("the pages cannot be written to {place}: {error}"))
            }
        }
    }
}
