//! `trimtab config`: what is in force and where it comes from, and the commented example.

use super::{Console, Exit, SettingArgs, ended};
use crate::config::{self, Config, Overrides};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use std::io::{self, Write};

/// What may be asked about the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum ConfigCommand {
    /// Show every key with the value that is in force
    Show(ShowArgs),
    /// Write the commented configuration with every key and its default
    Example,
}

/// The options of `trimtab config show`: what may be said over the file counts too.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ShowArgs {
    /// What is in force.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// Say of each key where its value comes from
    #[arg(long)]
    pub origin: bool,
    /// How the answer is written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ShowFormat,
}

/// How the keys are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ShowFormat {
    /// As in a file, with one key a line.
    #[default]
    Toml,
    /// For programs.
    Json,
}

/// A key for programs.
#[derive(Debug, Serialize)]
struct Shown {
    key: String,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

impl ConfigCommand {
    /// Answers.
    pub fn execute(&self, vars: Overrides, console: &mut Console<'_>) -> Exit {
        match self {
            Self::Show(args) => match args.settings.load(vars) {
                Ok(config) => ended(args.write(&config, console.out).map(|()| Exit::Done)),
                Err(errors) => console.refuse(&errors),
            },
            Self::Example => match config::example() {
                Ok(text) => ended(write!(console.out, "{text}").map(|()| Exit::Done)),
                Err(errors) => console.refuse(&errors),
            },
        }
    }
}

impl ShowArgs {
    fn write(&self, config: &Config, out: &mut dyn Write) -> io::Result<()> {
        let settings = config.settings_in_force().into_iter();
        let shown = settings.filter_map(|setting| {
            let origin = setting.origin.map_or_else(
                || "default".to_owned(),
                |by| format!("{}:{}:{}", by.file, by.line, by.column),
            );
            Some(Shown {
                key: setting.key,
                value: setting.value?,
                origin: self.origin.then_some(origin),
            })
        });
        match self.output {
            ShowFormat::Json => super::check::write_json(&shown.collect::<Vec<_>>(), out),
            ShowFormat::Toml => {
                for Shown { key, value, origin } in shown {
                    let line = format!("{key} = {value}");
                    match origin {
                        Some(origin) => writeln!(out, "{line:<60}  # {origin}")?,
                        None => writeln!(out, "{line}")?,
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ConfigArgs;

    fn shown(args: &ShowArgs, vars: Overrides) -> String {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console {
            out: &mut out,
            err: &mut err,
            color: false,
        };
        let exit = ConfigCommand::Show(args.clone()).execute(vars, &mut console);
        assert_eq!(exit, Exit::Done, "{}", String::from_utf8_lossy(&err));
        String::from_utf8(out).expect("it is text")
    }

    fn origin_of(text: &str, key: &str) -> String {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{key} = ")));
        let line = line.unwrap_or_else(|| panic!("{key} is missing in {text}"));
        line.rsplit("# ").next().expect("an origin").to_owned()
    }

    #[test]
    fn each_key_is_shown_with_the_layer_that_won() {
        let directory = tempfile::tempdir().expect("there is room");
        let path = directory.path().join("trimtab.toml");
        let text =
            "interval = \"2s\"\nmode = \"observe\"\n[[hosts]]\nid = \"shop\"\nsocket = \"s\"\n";
        std::fs::write(&path, text).expect("it is ours");
        std::fs::create_dir(directory.path().join("trimtab.d")).expect("it is ours");
        let drop_in = "mode = \"act\"\n[log]\nlevel = \"warn\"\n[ledger]\nmax_bytes = \"2MiB\"\n";
        std::fs::write(directory.path().join("trimtab.d/a.toml"), drop_in).expect("it is ours");
        let args = ShowArgs {
            settings: SettingArgs {
                config: ConfigArgs { config: Some(path) },
                listen: Some("127.0.0.1:0".to_owned()),
                ..SettingArgs::default()
            },
            origin: true,
            output: ShowFormat::Toml,
        };
        let vars = Overrides::from_vars([
            ("TRIMTAB__LOG__LEVEL".into(), "debug".into()),
            ("TRIMTAB__SERVE__ADDRESS".into(), "127.0.0.1:1".into()),
            ("TRIMTAB__PROFILE__WEB__WORKERS__MAX".into(), "50".into()),
        ]);
        let text = shown(&args, vars.clone());
        assert_eq!(origin_of(&text, "log.format"), "default");
        assert!(origin_of(&text, "interval").ends_with("trimtab.toml:1:12"));
        assert!(origin_of(&text, "mode").ends_with("trimtab.d/a.toml:1:8"));
        assert_eq!(origin_of(&text, "log.level"), "$TRIMTAB__LOG__LEVEL:1:1");
        assert_eq!(origin_of(&text, "serve.address"), "--listen:1:1");
        assert!(text.contains("log.level = \"debug\""), "{text}");
        assert!(text.contains("profile.web.workers.max = 50"), "{text}");
        let web = origin_of(&text, "profile.web.workers.min");
        assert!(web.starts_with("built-in/web.toml:"), "{web}");
        // Without its origins it is TOML.
        let bare = shown(
            &ShowArgs {
                origin: false,
                ..args.clone()
            },
            vars.clone(),
        );
        let table: toml::Table = bare.parse().expect("it is TOML");
        assert_eq!(table["ledger"]["max_bytes"].as_str(), Some("2MiB"));
        let json = shown(
            &ShowArgs {
                output: ShowFormat::Json,
                ..args
            },
            vars,
        );
        let keys: Vec<serde_json::Value> = serde_json::from_str(&json).expect("it is JSON");
        assert!(keys.iter().any(|key| key["origin"] == "--listen:1:1"));
    }
}
