//! What the commands of an operator have in common: where they go, how they are told, and how the answer is shown.

use super::check::write_json;
use super::client::{Client, ClientError, host_id};
use super::{ConfigArgs, Console, Exit, Format, ended};
use crate::config::{self, Overrides};
use crate::telemetry::escaped;
use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;
use trimtab_protocol::command::CommandReceipt;

/// The options that every command of an operator has.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct OperateArgs {
    /// The operator's socket of the sidecar; without it, the one of the configuration
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The host's id; without it, the one of the configuration, and without that the sidecar is asked
    #[arg(long, value_name = "ID", value_parser = host_id)]
    pub host: Option<String>,
    /// Only say what would happen
    #[arg(long)]
    pub dry_run: bool,
    /// How the answer is written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// Why a command was not given, or has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotGiven {
    #[error(transparent)]
    Config(#[from] config::ConfigErrors),
    #[error(transparent)]
    Body(#[from] serde_json::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(
        "{0} Name the sidecar's configuration with `--config FILE` or TRIMTAB_CONFIG, or its socket with `--socket PATH`"
    )]
    Unnamed(ClientError),
}

/// Where a command goes.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    socket: PathBuf,
    /// Nothing where the sidecar is to be asked.
    host: Option<String>,
    /// Whether anybody named a configuration or a socket.
    is_named: bool,
    /// What is wrong with the configuration, which is not in the way.
    warning: Option<String>,
}

impl OperateArgs {
    /// Gives a command and shows the answer: 0 when it was done, 1 when it was not, or not in full, 78 when the configuration
    /// cannot tell the socket. What else is wrong with that is a warning.
    pub(super) async fn give(
        &self,
        word: &str,
        request: &impl Serialize,
        vars: Overrides,
        console: &mut Console<'_>,
    ) -> Exit {
        let answer = match self.target(&vars) {
            Ok(target) => {
                if let Some(warning) = &target.warning {
                    // Where nobody reads it the command still matters.
                    let _told = writeln!(console.err, "warning: {}", escaped(warning)).is_ok();
                }
                self.send(target, word, request).await
            }
            Err(errors) => Err(errors.into()),
        };
        match answer {
            Err(NotGiven::Config(errors)) => console.refuse(&errors),
            Err(error) => console.fail(&escaped(&error.to_string())),
            Ok(receipt) => {
                let whole = receipt.missing.is_none();
                let written = match self.output {
                    Format::Json => write_json(&receipt, console.out),
                    Format::Table => write_receipt(&receipt, console.out, console.err),
                };
                let exit = if whole { Exit::Done } else { Exit::Failed };
                ended(written.map(|()| exit))
            }
        }
    }

    /// Gives a command and brings the answer.
    pub(super) async fn ask(
        &self,
        word: &str,
        request: &impl Serialize,
        vars: Overrides,
    ) -> Result<CommandReceipt, NotGiven> {
        self.send(self.target(&vars)?, word, request).await
    }

    async fn send(
        &self,
        target: Target,
        word: &str,
        request: &impl Serialize,
    ) -> Result<CommandReceipt, NotGiven> {
        let body = Bytes::from(serde_json::to_vec(request)?);
        let dry_run = if self.dry_run { "?dry_run=true" } else { "" };
        let client = Client::Socket(target.socket);
        let answer = async {
            let host = client.host(target.host.as_deref()).await?;
            let path = format!("/api/v1/hosts/{host}/{word}{dry_run}");
            client.post(&path, body).await
        };
        answer.await.map_err(|error| match error {
            ClientError::Nobody(..) if !target.is_named => NotGiven::Unnamed(error),
            error => NotGiven::Client(error),
        })
    }

    /// The socket and the host. A configuration is read only for what the command line does not say.
    fn target(&self, vars: &Overrides) -> Result<Target, config::ConfigErrors> {
        if let (Some(socket), Some(host)) = (&self.socket, &self.host) {
            return Ok(Target {
                socket: socket.clone(),
                host: Some(host.clone()),
                is_named: true,
                warning: None,
            });
        }
        let path = self.config.path(vars);
        let found = config::reach(path.as_deref(), vars)?;
        let mistakes = found.mistakes;
        let Some(socket) = self.socket.clone().or(found.socket) else {
            return Err(mistakes.unwrap_or_default());
        };
        let warning = mistakes.map(|errors| {
            format!(
                "the configuration has a mistake, which `trimtab check` explains, and this goes on without: {}",
                errors.in_short()
            )
        });
        Ok(Target {
            socket,
            host: self.host.clone().or(found.host),
            is_named: path.is_some() || self.socket.is_some(),
            warning,
        })
    }
}

fn write_receipt(
    receipt: &CommandReceipt,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<()> {
    let dry = if receipt.dry_run { "dry run: " } else { "" };
    writeln!(out, "{dry}{}", escaped(&receipt.text))?;
    if let Some(missing) = &receipt.missing {
        writeln!(err, "warning: {}", escaped(missing))?;
    }
    if !receipt.recorded {
        writeln!(err, "warning: the ledger did not take the entry about this")?;
    }
    Ok(())
}

/// A duration as the configuration writes it: `90s`, `30m`, `2h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 24 * 3_600_000,
        _ => return Err("a duration is a number and ms, s, m, h or d, such as 30m".to_owned()),
    };
    let number = number.parse::<u64>().map_err(|error| error.to_string())?;
    let ms = number
        .checked_mul(unit_ms)
        .filter(|ms| *ms > 0)
        .ok_or_else(|| "it must be more than nothing and less than for ever".to_owned())?;
    Ok(Duration::from_millis(ms))
}

/// A duration in milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_the_configuration() {
        let read = |text| duration(text).map(millis);
        assert_eq!(read("250ms"), Ok(250));
        assert_eq!(read("90s"), Ok(90_000));
        assert_eq!(read("30m"), Ok(1_800_000));
        assert_eq!(read("2 h"), Ok(7_200_000));
        assert_eq!(read("1d"), Ok(86_400_000));
        for wrong in [
            "",
            "5",
            "s",
            "0s",
            "-5s",
            "1.5h",
            "999999999999999999d",
            "5 minutes",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_socket_comes_from_the_command_line_else_from_the_configuration() {
        let root = tempfile::tempdir().expect("a directory");
        let file = root.path().join("trimtab.toml");
        let text =
            "[[hosts]]\nid = \"shop\"\nsocket = \"c.sock\"\n[ledger]\ndirectory = \"kept\"\n";
        std::fs::write(&file, text).expect("writable");
        let mut args = OperateArgs {
            config: ConfigArgs { config: Some(file) },
            ..OperateArgs::default()
        };
        let target = |args: &OperateArgs| {
            let target = args.target(&Overrides::default());
            let target = target.expect("it can be read");
            (target.socket, target.host)
        };
        let (kept, shop) = (
            root.path().join("kept/operator.sock"),
            Some("shop".to_owned()),
        );
        assert_eq!(target(&args), (kept, shop));
        args.socket = Some(PathBuf::from("other.sock"));
        assert_eq!(target(&args).0, PathBuf::from("other.sock"));
        let bare = target(&OperateArgs::default());
        assert_eq!(bare, (PathBuf::from("trimtab-ledger/operator.sock"), None));
    }

    #[tokio::test]
    async fn who_names_nothing_hears_how_to_name_a_sidecar() {
        let none = Overrides::default();
        let unnamed = OperateArgs::default()
            .ask("freeze", &(), none.clone())
            .await;
        let unnamed = unnamed.expect_err("nobody is there").to_string();
        assert!(
            unnamed.contains("`--config FILE` or TRIMTAB_CONFIG"),
            "{unnamed}"
        );
        let named = OperateArgs {
            socket: Some(PathBuf::from("no/such.sock")),
            ..OperateArgs::default()
        };
        let named = named.ask("freeze", &(), none).await;
        let named = named.expect_err("nobody is there").to_string();
        assert!(
            named.contains("no/such.sock") && !named.contains("--config"),
            "{named}"
        );
    }
}
