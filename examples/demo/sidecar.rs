//! The sidecar of the second phase: found or built, configured, started, asked, and ended.

use super::client::get_json;
use super::inner_cargo;
use crate::reference::child::PATIENCE;
use anyhow::{Context as _, bail};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use trimtab_protocol::view::HostStatus;

/// The profiles, as files that a person would edit.
const PROFILES: [(&str, &str); 3] = [
    ("web", include_str!("profiles/web.toml")),
    ("api", include_str!("profiles/api.toml")),
    ("background", include_str!("profiles/background.toml")),
];

/// With the demo among the targets cargo takes the dependencies as they were built for it, instead of building them again.
const BUILD: [&str; 5] = ["build", "--bin", "trimtab", "--example", "demo"];

/// The goal that a pool's profile states.
pub(crate) fn slo(pool: &str) -> anyhow::Result<Duration> {
    let (_, text) = PROFILES
        .iter()
        .find(|(name, _)| *name == pool)
        .with_context(|| format!("there is no profile `{pool}`"))?;
    let profile: toml::Table = text.parse()?;
    let slo = profile.get("slo").and_then(toml::Value::as_str);
    duration(slo.context("the profile has no `slo`")?)
}

fn duration(text: &str) -> anyhow::Result<Duration> {
    let (number, unit_ms) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1),
        (None, Some(number)) => (number, 1_000),
        (None, None) => bail!("`{text}` is not a duration"),
    };
    Ok(Duration::from_millis(number.parse::<u64>()? * unit_ms))
}

/// The `trimtab` binary that belongs to this one. Cargo brings it up to date when it runs this; else it must be there.
pub(crate) async fn binary() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let mut directory = own.parent().context("this program is nowhere")?;
    if directory.ends_with("examples") {
        directory = directory.parent().context("it is in no build directory")?;
    }
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut command = Command::new(cargo);
        command.args(BUILD).kill_on_drop(true);
        for name in inner_cargo::told_by_the_outer() {
            command.env_remove(name);
        }
        if let Some(root) = std::env::var_os("CARGO_MANIFEST_DIR") {
            command.current_dir(root);
        }
        if directory.ends_with("release") {
            command.arg("--release");
        }
        let status = command.status().await.context("cargo did not start")?;
        anyhow::ensure!(status.success(), "`cargo build --bin trimtab` failed");
    }
    let binary = directory.join("trimtab");
    anyhow::ensure!(
        binary.exists(),
        "{} is missing; build it with `cargo build --release --bin trimtab`",
        binary.display()
    );
    Ok(binary)
}

/// A running sidecar; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Sidecar {
    child: Child,
    /// Where it serves its pages.
    pub(crate) address: SocketAddr,
}

impl Sidecar {
    /// Starts it over a host's control socket, with its files in a directory, and waits until it knows the host.
    pub(crate) async fn start(
        binary: &Path,
        directory: &Path,
        socket: &Path,
    ) -> anyhow::Result<Self> {
        let address = free_address()?;
        let config = directory.join("trimtab.toml");
        let log = directory.join("trimtab.log");
        write_files(directory, &config, socket, address)?;
        let mut command = Command::new(binary);
        command
            .arg("run")
            .arg("--config")
            .arg(&config)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .kill_on_drop(true);
        // A variable of the caller's own would override what is compared here.
        for (name, _) in std::env::vars_os() {
            if name
                .to_str()
                .is_some_and(|name| name.starts_with("TRIMTAB_"))
            {
                command.env_remove(name);
            }
        }
        let child = command.spawn().context("the sidecar did not start")?;
        let mut sidecar = Self { child, address };
        let until = Instant::now() + PATIENCE;
        loop {
            match sidecar.status().await {
                Ok(status) if status.instance.is_some() => return Ok(sidecar),
                _ if sidecar.child.try_wait()?.is_none() && Instant::now() < until => {
                    sleep(Duration::from_millis(50)).await;
                }
                _ => bail!(
                    "the sidecar does not answer; it said:\n{}",
                    std::fs::read_to_string(&log)?
                ),
            }
        }
    }

    /// What it knows of the host.
    pub(crate) async fn status(&self) -> anyhow::Result<HostStatus> {
        get_json(self.address, "/api/v1/hosts/reference/status").await
    }

    /// Its process id while it runs.
    pub(crate) fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("the sidecar has ended")
    }

    /// Asks it to end, and kills it if it does not.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        if let Some(id) = self.child.id() {
            // The shell's own `kill` is there wherever a shell is, and sends the signal that an operator would send.
            let mut command = Command::new("sh");
            command.args(["-c", "kill -TERM \"$1\"", "sh", &id.to_string()]);
            command.status().await?;
        }
        if tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .is_err()
        {
            self.child.kill().await?;
        }
        Ok(())
    }
}

/// An address that was free a moment ago.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn write_files(
    directory: &Path,
    config: &Path,
    socket: &Path,
    address: SocketAddr,
) -> anyhow::Result<()> {
    let profiles = directory.join("profiles");
    std::fs::create_dir_all(&profiles)?;
    for (name, text) in PROFILES {
        std::fs::write(profiles.join(format!("{name}.toml")), text)?;
    }
    let socket = toml::Value::from(socket.to_str().context("the socket's path is not text")?);
    let text = format!(
        r#"mode = "act"
interval = "250ms"
profiles = "profiles"

[[hosts]]
id = "reference"
socket = {socket}
call_deadline = "200ms"

[serve]
address = "{address}"

[ledger]
directory = "ledger"
"#
    );
    std::fs::write(config, text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_states_its_goal() {
        assert_eq!(slo("web").expect("web"), Duration::from_millis(500));
        assert_eq!(
            slo("background").expect("background"),
            Duration::from_secs(5)
        );
        assert!(slo("none").is_err());
    }

    #[test]
    fn the_configuration_is_toml_whatever_the_sockets_path_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("trimtab.toml");
        let socket = Path::new("/odd \"name\"/control.sock");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1234));
        write_files(directory.path(), &config, socket, address).expect("written");
        let text = std::fs::read_to_string(config).expect("it is there");
        let table: toml::Table = text.parse().expect("TOML");
        assert_eq!(table["hosts"][0]["socket"].as_str(), socket.to_str());
    }
}
