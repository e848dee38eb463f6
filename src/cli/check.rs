//! `trimtab check`: reads a configuration and profiles with the very functions that `run` reads them with, and says all that
//! is wrong with them, or what they come to.

use super::{ConfigArgs, Console, Exit, Format, ended};
use crate::config::{self, Config, ConfigErrors, Overrides};
use crate::host_client::{Answer, HostClient};
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use trimtab_core::controller::Controller;
use trimtab_core::moment::Moment;
use trimtab_core::observation::{Observation, Reading};
use trimtab_core::profile::{KnobRange, Profile};
use trimtab_protocol::decision::Absence;
use trimtab_protocol::state::HostState;

/// The options of `trimtab check`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Profiles to check by themselves; with none and no configuration, what the variables alone come to is checked
    #[arg(value_name = "PROFILE.toml")]
    pub profiles: Vec<PathBuf>,
    /// The control socket of a running host: says which profile each of its pools follows, and which keys it lacks a knob for
    #[arg(long, value_name = "SOCKET")]
    pub host: Option<PathBuf>,
    /// How the answer is written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

impl CheckArgs {
    /// Checks, and writes the verdict: 0 or 78.
    pub async fn execute(&self, vars: &Overrides, console: &mut Console<'_>) -> Exit {
        let path = self.config.path(vars);
        let config = (path.is_some() || self.profiles.is_empty())
            .then(|| config::load(path.as_deref(), vars))
            .transpose();
        let profiles = config::load_profiles(&self.profiles, vars);
        match (config, profiles) {
            (Ok(config), Ok(profiles)) => {
                let mut verdict = Verdict::new(config.as_ref(), &profiles);
                if let (Some(socket), Some(config)) = (&self.host, &config) {
                    match followed(socket, config).await {
                        Ok(pools) => verdict.pools = pools,
                        Err(problem) => return console.fail(&problem),
                    }
                }
                ended(self.accept(&verdict, console.out).map(|()| Exit::Done))
            }
            (Err(first), Err(second)) => self.refuse(&first.and(second), console),
            (Err(errors), Ok(_)) | (Ok(_), Err(errors)) => self.refuse(&errors, console),
        }
    }

    fn accept(&self, verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
        match self.output {
            Format::Json => write_json(verdict, out),
            Format::Table => verdict.write(out),
        }
    }

    fn refuse(&self, errors: &ConfigErrors, console: &mut Console<'_>) -> Exit {
        match self.output {
            Format::Table => console.refuse(errors),
            Format::Json => {
                let refusal = serde_json::json!({ "ok": false, "errors": errors.list() });
                ended(write_json(&refusal, console.out).map(|()| Exit::Config))
            }
        }
    }
}

/// What each pool of a running host would follow: what the status of a sidecar beside it says, decided by the same controller.
async fn followed(socket: &Path, config: &Config) -> Result<Vec<PoolSummary>, String> {
    let mut client = HostClient::new(socket.to_path_buf(), config.call_deadline);
    let state = match client.state().await {
        Answer::Done(state) => state,
        Answer::Refused(_) | Answer::Lost(_) => {
            return Err(format!("no host answers at `{}`", socket.display()));
        }
    };
    Ok(followed_by(config, state))
}

/// The same by a state that is at hand.
pub(super) fn followed_by(config: &Config, state: HostState) -> Vec<PoolSummary> {
    let (absence, at) = (Absence::NotYet, Moment::default());
    let observation = Observation {
        host: config.settings.host.clone(),
        at,
        at_ms: 0,
        state: Reading::Fresh { value: state },
        process: Reading::Absent { absence },
        cgroup: Reading::Absent { absence },
        machine: Reading::Absent { absence },
        pid: None,
        receipts: Vec::new(),
    };
    let mut controller = Controller::new(config.settings.clone());
    let status = controller.handle_observation(observation).status;
    let pools = status.pools.into_iter().map(|(name, pool)| PoolSummary {
        name: name.to_string(),
        profile: pool.profile,
        inert: pool.inert,
    });
    pools.collect()
}

pub(super) fn write_json(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// What a valid configuration comes to.
#[derive(Debug, Serialize)]
struct Verdict {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<Summary>,
    profiles: Vec<ProfileSummary>,
    /// Those of the host that was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pools: Vec<PoolSummary>,
}

/// A pool of a running host.
#[derive(Debug, Serialize)]
pub(super) struct PoolSummary {
    pub(super) name: String,
    pub(super) profile: String,
    /// Keys of the profile whose knob the host lacks.
    pub(super) inert: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Summary {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    host: String,
    socket: String,
    mode: trimtab_protocol::decision::Mode,
    interval_ms: u64,
    call_deadline_ms: u128,
    lease_ttl_ms: u128,
    serve: String,
    ledger: PathBuf,
    ledger_max_bytes: u64,
    overridden_by: Vec<String>,
}

/// Ranges are start, smallest, largest.
#[derive(Debug, Serialize)]
struct ProfileSummary {
    name: String,
    file: String,
    workers: [u64; 3],
    queue_limit: [u64; 3],
    timeout_ms: [u64; 3],
    #[serde(skip_serializing_if = "Option::is_none")]
    slo_ms: Option<u64>,
    other_knobs: Vec<String>,
}

impl Verdict {
    fn new(config: Option<&Config>, profiles: &[Profile]) -> Self {
        let configured = config
            .into_iter()
            .flat_map(|config| config.settings.profiles.values());
        Self {
            ok: true,
            configuration: config.map(Summary::new),
            profiles: configured
                .chain(profiles)
                .map(ProfileSummary::new)
                .collect(),
            pools: Vec::new(),
        }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "ok")?;
        if let Some(config) = &self.configuration {
            config.write(out)?;
        }
        for profile in &self.profiles {
            profile.write(out)?;
        }
        for pool in &self.pools {
            let (name, profile) = (&pool.name, &pool.profile);
            match pool.inert.as_slice() {
                [] => writeln!(
                    out,
                    "pool           {name} follows {profile}; every key has its knob"
                )?,
                inert => {
                    let keys = inert.join(", ");
                    writeln!(
                        out,
                        "pool           {name} follows {profile}; inert: {keys}"
                    )?;
                }
            }
        }
        Ok(())
    }
}

impl Summary {
    fn new(config: &Config) -> Self {
        let settings = &config.settings;
        // Without a file the first one would be a profile's, and profiles of one's own need a file to name them.
        Self {
            file: config.files.first().cloned(),
            host: settings.host.as_str().to_owned(),
            socket: config.control.to_string(),
            mode: settings.mode,
            interval_ms: settings.interval.as_ms(),
            call_deadline_ms: config.call_deadline.as_millis(),
            lease_ttl_ms: config.lease_ttl.as_millis(),
            serve: config.serve.address.to_string(),
            ledger: config.ledger.directory.clone(),
            ledger_max_bytes: config.ledger.max_bytes,
            overridden_by: config.overrides.clone(),
        }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.file {
            Some(file) => writeln!(out, "configuration  {}", file.display())?,
            None => writeln!(out, "configuration  none; every key has its default")?,
        }
        writeln!(out, "host           {} at {}", self.host, self.socket)?;
        let mode = super::status::word(&self.mode);
        writeln!(
            out,
            "mode           {mode}, a sample every {} ms",
            self.interval_ms
        )?;
        writeln!(out, "calls          within {} ms", self.call_deadline_ms)?;
        writeln!(out, "lease          {} ms", self.lease_ttl_ms)?;
        writeln!(out, "pages          http://{}", self.serve)?;
        writeln!(
            out,
            "ledger         {}, at most {} bytes",
            self.ledger.display(),
            self.ledger_max_bytes
        )?;
        if !self.overridden_by.is_empty() {
            writeln!(out, "overridden by  {}", self.overridden_by.join(", "))?;
        }
        Ok(())
    }
}

impl ProfileSummary {
    fn new(profile: &Profile) -> Self {
        let range = |range: &KnobRange| [range.start.value, range.min.value, range.max.value];
        Self {
            name: profile.name.clone(),
            file: profile.workers.max.citation.file.clone(),
            workers: range(&profile.workers),
            queue_limit: range(&profile.queue_limit),
            timeout_ms: range(&profile.timeout_ms),
            slo_ms: profile.slo_ms.as_ref().map(|slo| slo.value),
            other_knobs: profile.others.keys().map(ToString::to_string).collect(),
        }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let range = |[start, min, max]: [u64; 3]| format!("{start} in {min}..{max}");
        writeln!(
            out,
            "profile        {} ({}): workers {}, queue_limit {}, timeout_ms {}",
            self.name,
            self.file,
            range(self.workers),
            range(self.queue_limit),
            range(self.timeout_ms),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn checked(args: &CheckArgs, vars: &Overrides) -> (Exit, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console {
            out: &mut out,
            err: &mut err,
            color: false,
        };
        let runtime = tokio::runtime::Builder::new_current_thread();
        let mut runtime = runtime;
        let runtime = runtime.enable_all().build().expect("there is a runtime");
        let exit = runtime.block_on(args.execute(vars, &mut console));
        let root = env!("CARGO_MANIFEST_DIR");
        let text = |bytes| {
            String::from_utf8(bytes)
                .expect("it is text")
                .replace(root, "ROOT")
        };
        (exit, text(out), text(err))
    }

    fn shipped(file: &str) -> CheckArgs {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        CheckArgs {
            config: ConfigArgs { config: Some(path) },
            ..CheckArgs::default()
        }
    }

    #[test]
    fn a_valid_configuration_is_said_to_be_ok_with_what_it_comes_to() {
        let (exit, out, err) = checked(&shipped("config/demo.toml"), &Overrides::default());
        assert_eq!((exit, err.as_str()), (Exit::Done, ""));
        insta::assert_snapshot!(out);
    }

    #[test]
    fn a_program_gets_the_same_as_json() {
        let mut args = shipped("config/demo.toml");
        args.output = Format::Json;
        let vars = Overrides::from_vars([("TRIMTAB__MODE".into(), "observe".into())]);
        let (exit, out, _) = checked(&args, &vars);
        assert_eq!(exit, Exit::Done);
        let verdict: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
        assert_eq!(verdict["ok"], true);
        assert_eq!(verdict["configuration"]["mode"], "observe");
        assert_eq!(
            verdict["configuration"]["overridden_by"][0],
            "$TRIMTAB__MODE"
        );
        assert_eq!(verdict["profiles"].as_array().map(Vec::len), Some(4));
    }

    #[test]
    fn problems_of_the_configuration_and_of_single_profiles_come_together() {
        let directory = tempfile::tempdir().expect("there is room");
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("the directory is ours");
            path
        };
        let mut args = CheckArgs {
            config: ConfigArgs {
                config: Some(write("trimtab.toml", "mode = 1\n")),
            },
            profiles: vec![write("night.toml", "slo = \"0s\"\n")],
            host: None,
            output: Format::Table,
        };
        let (exit, out, err) = checked(&args, &Overrides::default());
        assert_eq!((exit, exit.code(), out.as_str()), (Exit::Config, 78, ""));
        assert!(
            err.contains("trimtab.toml:1:8") && err.contains("night.toml:1:7"),
            "{err}"
        );
        args.output = Format::Json;
        let (exit, out, err) = checked(&args, &Overrides::default());
        assert_eq!((exit, err.as_str()), (Exit::Config, ""));
        let verdict: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
        assert_eq!(verdict["ok"], false);
        assert_eq!(verdict["errors"][1]["line"], 1);
    }

    #[test]
    fn a_profile_can_be_checked_without_a_configuration() {
        let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/web.toml");
        let args = CheckArgs {
            profiles: vec![profile],
            ..CheckArgs::default()
        };
        let (exit, out, _) = checked(&args, &Overrides::default());
        assert_eq!(exit, Exit::Done);
        assert_eq!(
            out,
            "ok\nprofile        web (ROOT/profiles/web.toml): workers 10 in 10..100, queue_limit 1000 in 100..4000, \
             timeout_ms 30000 in 1000..60000\n"
        );
    }
}
