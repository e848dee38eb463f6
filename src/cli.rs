//! The command line: what may be asked of `trimtab`, one file a subcommand.
//!
//! Nothing here prints by itself or ends the process: text goes to the [`Console`] that the caller gives, and the outcome is an
//! [`Exit`] that `main` turns into the process's code.

mod approve;
mod check;
mod client;
mod completions;
mod config;
mod conform;
mod decisions;
mod doctor;
mod exec;
mod flame;
mod freeze;
mod init;
mod operate;
mod pages;
mod pin;
mod probe;
mod profile;
mod reject;
mod replay;
mod reset;
mod status;
mod time;
mod top;
mod unfreeze;
mod unpin;
mod why;

pub use approve::ApproveArgs;
pub use check::CheckArgs;
pub use completions::{CompletionsArgs, ManArgs};
pub use config::{ConfigCommand, ShowArgs, ShowFormat};
pub use conform::ConformArgs;
pub use decisions::DecisionsArgs;
pub use doctor::DoctorArgs;
pub use exec::ExecArgs;
pub use flame::{FlameArgs, FormatArg, KindArg, ViewArg};
pub use freeze::FreezeArgs;
pub use init::InitArgs;
pub use operate::OperateArgs;
pub use pages::PagesArgs;
pub use pin::PinArgs;
pub use probe::ProbeArgs;
pub use profile::{ProfileAction, ProfileArgs, UseArgs};
pub use reject::RejectArgs;
pub use replay::ReplayArgs;
pub use reset::ResetArgs;
pub use status::StatusArgs;
pub use top::TopArgs;
pub use unfreeze::UnfreezeArgs;
pub use unpin::UnpinArgs;
pub use why::WhyArgs;

use crate::config::{Config, ConfigErrors, Overrides, load};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the sidecar beside a service until it is told to stop
    Run(RunArgs),
    /// Run a service and the sidecar beside it; ends when the service does, and as it did
    Exec(ExecArgs),
    /// Check a configuration and profiles, and say all that is wrong with them
    Check(CheckArgs),
    /// Say what this machine and this user lack, for what, and what helps
    Doctor(DoctorArgs),
    /// Show the configuration that is in force, or write the commented one
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Draw where a process's time goes, from outside and without preparing it
    Flame(FlameArgs),
    /// Show what a running sidecar sees and does
    Status(StatusArgs),
    /// Watch a running sidecar on the terminal: its pools, what limits them, what it did and why
    Top(TopArgs),
    /// Show what a running sidecar decided, sent and was told
    Decisions(DecisionsArgs),
    /// Tell why a pool is as it is: its last change and what limits it now
    Why(WhyArgs),
    /// Ask whether a sidecar is ready, or lives: 0 when it is, 1 when not
    Probe(ProbeArgs),
    /// Undo open trials and change nothing until the freeze is lifted
    Freeze(FreezeArgs),
    /// Lift the freeze
    Unfreeze(UnfreezeArgs),
    /// Hold one knob for a time
    Pin(PinArgs),
    /// Release a knob that is held
    Unpin(UnpinArgs),
    /// Go back to the values that the host started with
    Reset(ResetArgs),
    /// Choose the profile of a pool
    Profile(ProfileArgs),
    /// Take the configuration that waits for a word
    Approve(ApproveArgs),
    /// Drop the configuration that waits for a word
    Reject(RejectArgs),
    /// Replay the corpus of the control API against a host, and say how far it keeps it
    Conform(ConformArgs),
    /// Decide a recorded run again, and say whether it comes out the same, or what another profile would have done
    Replay(ReplayArgs),
    /// Write a commented configuration for a host that runs
    Init(InitArgs),
    /// Write the completions for a shell
    Completions(CompletionsArgs),
    /// Write the manual pages into a directory
    Man(ManArgs),
}

impl Command {
    /// Does what was asked, apart from running the sidecar, which is the caller's: then it comes back.
    ///
    /// # Errors
    /// The options of `run`.
    pub async fn execute(
        self,
        vars: Overrides,
        console: &mut Console<'_>,
    ) -> Result<Exit, RunArgs> {
        Ok(match self {
            Self::Run(args) => return Err(args),
            Self::Exec(args) => args.execute(console).await,
            Self::Check(args) => args.execute(&vars, console).await,
            Self::Doctor(args) => args.execute(vars, console).await,
            Self::Config(asked) => asked.execute(vars, console),
            Self::Flame(args) => args.execute(console),
            Self::Status(args) => args.execute(console).await,
            Self::Top(args) => args.execute(vars, console).await,
            Self::Decisions(args) => args.execute(console).await,
            Self::Why(args) => args.execute(console).await,
            Self::Probe(args) => args.execute(console).await,
            Self::Freeze(args) => args.execute(vars, console).await,
            Self::Unfreeze(args) => args.execute(vars, console).await,
            Self::Pin(args) => args.execute(vars, console).await,
            Self::Unpin(args) => args.execute(vars, console).await,
            Self::Reset(args) => args.execute(vars, console).await,
            Self::Profile(args) => args.execute(vars, console).await,
            Self::Approve(args) => args.execute(vars, console).await,
            Self::Reject(args) => args.execute(vars, console).await,
            Self::Conform(args) => args.execute(console).await,
            Self::Replay(args) => args.execute(&vars, console),
            Self::Init(args) => args.execute(console).await,
            Self::Completions(args) => args.execute(console),
            Self::Man(args) => args.execute(console),
        })
    }
}

/// What the manual says behind all options.
const ENDS_AND_VARIABLES: &str = "\
Exit status:
  0   done
  1   failed, or the answer is no
  64  the command line is wrong
  78  the configuration is wrong
  `trimtab exec` ends as the service did that it ran.

Environment:
  TRIMTAB_CONFIG         the configuration's file, where no --config is given
  TRIMTAB__SECTION__KEY  a key of the configuration, over all files, such as TRIMTAB__SERVE__ADDRESS
  NO_COLOR               no colours";

/// An adaptive runtime optimizer that runs beside a service, resizes its pools, and proves that each change helped
#[derive(Debug, Parser)]
#[command(name = "trimtab", version, arg_required_else_help = true, after_long_help = ENDS_AND_VARIABLES)]
pub struct Cli {
    /// What is asked for.
    #[command(subcommand)]
    pub command: Command,
}

/// Where the configuration is.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigArgs {
    /// The configuration's file; without it, the one that $TRIMTAB_CONFIG names, else every key has its default
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The configuration, and what the command line says over it.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How far the sidecar may go, over the file's `mode`
    #[arg(long, value_name = "MODE", value_parser = ["observe", "advise", "act"])]
    pub mode: Option<String>,
    /// The host's control socket, over the file's `socket`
    #[arg(long, value_name = "PATH")]
    pub socket: Option<String>,
    /// The address for the sidecar's pages, over the file's `serve.address`
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
}

/// The options of `trimtab run`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct RunArgs {
    /// What is in force.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// Leave the process as the kernel starts it, instead of shutting it in once it serves
    #[arg(long)]
    pub no_cage: bool,
    /// Write all that the controller is told to this file, for `trimtab replay`; it grows by some kilobytes a tick. Where the file is
    /// there already, a number is put behind the name
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Done,
    /// Something went wrong while running.
    Failed,
    /// The command line was wrong.
    Usage,
    /// The configuration was wrong.
    Config,
    /// As the service did that it ran.
    Of(u8),
}

impl Exit {
    /// The process's code; those for usage and configuration are the ones of sysexits.h.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 64,
            Self::Config => 78,
            Self::Of(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Where the text goes.
pub struct Console<'w> {
    /// What was asked for.
    pub out: &'w mut dyn Write,
    /// What went wrong.
    pub err: &'w mut dyn Write,
    /// Whether `err` shows colours.
    pub color: bool,
}

impl fmt::Debug for Console<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Console")
            .field("color", &self.color)
            .finish_non_exhaustive()
    }
}

impl Console<'_> {
    /// Says what is wrong with a configuration.
    pub fn refuse(&mut self, errors: &ConfigErrors) -> Exit {
        let text = errors.render(self.color);
        ended(write!(self.err, "{text}").map(|()| Exit::Config))
    }

    /// Says what went wrong in one line.
    pub fn fail(&mut self, problem: &dyn fmt::Display) -> Exit {
        ended(writeln!(self.err, "error: {problem}").map(|()| Exit::Failed))
    }
}

/// Reads the command line, the program's name first. Help and version are written to the console and end with [`Exit::Done`].
///
/// # Errors
/// How the process is to end when there is nothing to run.
pub fn parse<I>(args: I, console: &mut Console<'_>) -> Result<Command, Exit>
where
    I: IntoIterator<Item = OsString>,
{
    Cli::try_parse_from(args)
        .map(|cli| cli.command)
        .map_err(|error| {
            let text = error.render();
            let text = if console.color {
                text.ansi().to_string()
            } else {
                text.to_string()
            };
            if error.use_stderr() {
                ended(write!(console.err, "{text}").map(|()| Exit::Usage))
            } else {
                ended(write!(console.out, "{text}").map(|()| Exit::Done))
            }
        })
}

impl ConfigArgs {
    /// The file that is meant, if there is one.
    fn path(&self, overrides: &Overrides) -> Option<PathBuf> {
        self.config
            .clone()
            .or_else(|| overrides.value("config").map(PathBuf::from))
    }
}

impl SettingArgs {
    /// Reads the configuration with what the variables and these options override.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(&self, vars: Overrides) -> Result<Config, ConfigErrors> {
        let mut overrides = vars;
        let path = self.config.path(&overrides);
        for (key, origin, value) in [
            ("mode", "--mode", &self.mode),
            ("host.socket", "--socket", &self.socket),
            ("serve.address", "--listen", &self.listen),
        ] {
            if let Some(value) = value {
                overrides.set(key, origin, value.as_str());
            }
        }
        load(path.as_deref(), &overrides)
    }
}

impl RunArgs {
    /// The same, with where to record.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(&self, vars: Overrides) -> Result<Config, ConfigErrors> {
        Ok(Config {
            recording: self.record.clone(),
            ..self.settings.load(vars)?
        })
    }
}

/// A reader that went away, as `head` does, leaves nobody to tell.
fn ended(written: io::Result<Exit>) -> Exit {
    written.unwrap_or(Exit::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    /// Parses a line and gives what was written to both streams.
    fn parsed(line: &str) -> (Result<Command, Exit>, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console {
            out: &mut out,
            err: &mut err,
            color: false,
        };
        let result = parse(line.split(' ').map(OsString::from), &mut console);
        let text = |bytes| String::from_utf8(bytes).expect("it is text");
        (result, text(out), text(err))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_wrong_command_line_is_told_and_ends_with_64() {
        for line in [
            "trimtab",
            "trimtab fly",
            "trimtab run --mode fast",
            "trimtab run --colour",
        ] {
            let (result, out, err) = parsed(line);
            assert_eq!(result, Err(Exit::Usage), "{line}");
            assert!(out.is_empty() && err.contains("help"), "{line}: {out}{err}");
        }
        assert_eq!(Exit::Usage.code(), 64);
    }

    #[test]
    fn help_and_version_are_answers_and_not_mistakes() {
        let (result, out, err) = parsed("trimtab --help");
        assert_eq!((result, err.as_str()), (Err(Exit::Done), ""));
        assert!(out.contains("check") && out.contains("status"), "{out}");
        let (result, out, _) = parsed("trimtab --version");
        assert_eq!(result, Err(Exit::Done));
        assert_eq!(
            out.trim_end(),
            concat!("trimtab ", env!("CARGO_PKG_VERSION"))
        );
    }

    #[test]
    fn options_outrank_variables() {
        let line = "trimtab run --mode act --socket /run/a.sock --listen 127.0.0.1:0";
        let (Ok(Command::Run(args)), _, _) = parsed(line) else {
            panic!("it is a good line");
        };
        let vars = Overrides::from_vars([("TRIMTAB__MODE".into(), "observe".into())]);
        let config = args.load(vars).expect("it is valid");
        assert_eq!(config.settings.mode, trimtab_protocol::decision::Mode::Act);
        assert_eq!(
            config.control,
            crate::place::HostPlace::from(std::path::Path::new("/run/a.sock"))
        );
        assert_eq!(config.serve.address.port(), 0);
        assert_eq!(config.overrides, ["--socket", "--mode", "--listen"]);
    }

    #[test]
    fn a_variable_names_the_file_where_no_option_does() {
        let vars = Overrides::from_vars([("TRIMTAB_CONFIG".into(), "no/such/file.toml".into())]);
        let errors = RunArgs::default()
            .load(vars)
            .expect_err("there is no such file");
        assert!(errors.to_string().contains("no/such/file.toml"), "{errors}");
    }
}
