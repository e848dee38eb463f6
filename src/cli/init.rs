//! `trimtab init`: looks at a service that runs and writes a commented configuration for it, never over a file that is there.

mod process;

use super::{Console, Exit, ended};
use crate::host_client::{Answer, DEADLINE_DEFAULT, HostClient};
use crate::telemetry::escaped;
use clap::{ArgGroup, Args};
use process::Seen;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;
use trimtab_protocol::name::is_plain_name;
use trimtab_protocol::state::HostState;

/// Every key with its comment; the host's are replaced.
const TEMPLATE: &str = include_str!("../../config/trimtab.toml");

/// What a host is called whose own name is none for paths and labels.
const ID_DEFAULT: &str = "host";

/// The flag of a socket that listens, in /proc/PID/net/unix.
const LISTENS: &str = "00010000";

/// The options of `trimtab init`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(group(ArgGroup::new("where").required(true)))]
pub struct InitArgs {
    /// The host's control socket
    #[arg(long, value_name = "PATH", group = "where")]
    pub socket: Option<PathBuf>,
    /// The service's process, of which the control socket is looked for
    #[arg(long, value_name = "PID", group = "where")]
    pub pid: Option<u32>,
    /// The file to write
    #[arg(default_value = "trimtab.toml")]
    pub file: PathBuf,
}

impl InitArgs {
    /// Looks at the service and writes the file: 0, or 1 with the reason.
    pub async fn execute(&self, console: &mut Console<'_>) -> Exit {
        let found = match self.look().await {
            Ok(found) => found,
            Err(why) => return console.fail(&why),
        };
        let text = match found.configuration() {
            Ok(text) => text,
            Err(why) => return console.fail(&why),
        };
        if let Err(error) = write_new(&self.file, &text) {
            let file = self.file.display();
            return console.fail(&format!("{file} is not written: {error}"));
        }
        ended(found.report(&self.file, console.out).map(|()| Exit::Done))
    }

    async fn look(&self) -> Result<Found, String> {
        let (socket, state) = match (&self.socket, self.pid) {
            (Some(socket), _) => {
                let socket = std::path::absolute(socket).unwrap_or_else(|_| socket.clone());
                let state = ask(&socket).await;
                (Some(socket), state)
            }
            (None, Some(pid)) => {
                let found = search(pid).await;
                let found =
                    found.map_err(|error| format!("process {pid} cannot be looked at: {error}"))?;
                found.map_or((None, None), |(socket, state)| (Some(socket), Some(state)))
            }
            (None, None) => return Err("give --socket or --pid".to_owned()),
        };
        let pid = self.pid.or_else(|| state.as_ref().map(|state| state.pid));
        let seen = pid.and_then(|pid| Seen::of(Path::new("/proc"), pid).ok());
        let called = state.as_ref().map(|state| state.app.as_str());
        let called = called.or_else(|| seen.as_ref().map(|seen| seen.program.as_str()));
        let id = called.filter(|name| is_plain_name(name));
        let id = id.unwrap_or(ID_DEFAULT).to_owned();
        Ok(Found {
            socket: socket.unwrap_or_else(|| Path::new("/run").join(&id).join("control.sock")),
            id,
            pid,
            seen,
            state,
        })
    }
}

/// What was found out about a service.
struct Found {
    id: String,
    pid: Option<u32>,
    seen: Option<Seen>,
    /// Where the control API is, or where the file says that it will be.
    socket: PathBuf,
    /// Nothing where no control API answered.
    state: Option<HostState>,
}

impl Found {
    fn configuration(&self) -> Result<String, String> {
        let text = filled(&self.id, &self.socket)?;
        let Some((seen, pid)) = self.seen.as_ref().zip(self.pid) else {
            return Ok(text);
        };
        let seen = escaped(&seen.describe());
        Ok(format!(
            "# Written by `trimtab init` for process {pid}, {seen}.\n#\n{text}"
        ))
    }

    fn report(&self, file: &Path, out: &mut dyn Write) -> io::Result<()> {
        if let Some((seen, pid)) = self.seen.as_ref().zip(self.pid) {
            writeln!(out, "process {pid}, {}", escaped(&seen.describe()))?;
        }
        let (file, place) = (file.display(), self.socket.display().to_string());
        let id = &self.id;
        writeln!(
            out,
            "wrote {file} for the host `{id}` at {}",
            escaped(&place)
        )?;
        match &self.state {
            Some(state) => {
                for (name, pool) in &state.pools {
                    let knobs: Vec<&str> = pool.knobs.keys().map(|knob| knob.as_str()).collect();
                    let line = format!("  pool {name}: {}", knobs.join(", "));
                    writeln!(out, "{}", escaped(&line))?;
                }
            }
            None => self.report_no_control_api(out)?,
        }
        writeln!(
            out,
            "the mode is `advise`, so nothing is changed; next: trimtab run --config {file}"
        )
    }

    fn report_no_control_api(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "  no control API answers; the sidecar waits until the service offers it there"
        )?;
        let Some((seen, pid)) = self.seen.as_ref().zip(self.pid) else {
            return Ok(());
        };
        writeln!(out, "  for that, {}", seen.language.way_in())?;
        writeln!(
            out,
            "  where its time goes can be seen without: trimtab flame --pid {pid}"
        )
    }
}

/// The template with this host's id and socket in place of the example's.
fn filled(id: &str, socket: &Path) -> Result<String, String> {
    let path = socket
        .to_str()
        .filter(|path| !path.contains(char::is_control))
        .ok_or("the socket's path is not plain text, which a configuration needs")?;
    let path = toml::Value::String(path.to_owned()).to_string();
    let (mut named, mut placed) = (false, false);
    let mut text = String::with_capacity(TEMPLATE.len());
    for line in TEMPLATE.lines() {
        // The first of each is the host's; the operators' own socket is commented out.
        if !named && line.starts_with("id = ") {
            named = true;
            text.push_str(&format!("id = \"{id}\""));
        } else if !placed && line.starts_with("socket = ") {
            placed = true;
            text.push_str(&format!("socket = {path}"));
        } else {
            text.push_str(line);
        }
        text.push('\n');
    }
    Ok(text)
}

fn write_new(file: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::File::create_new(file)?;
    file.write_all(text.as_bytes())
}

async fn ask(socket: &Path) -> Option<HostState> {
    let mut client = HostClient::new(socket.to_owned(), DEADLINE_DEFAULT);
    match client.state().await {
        Answer::Done(state) => Some(state),
        Answer::Refused(_) | Answer::Lost(_) => None,
    }
}

/// The control socket of a process: of those on which it listens, the first that answers as a host. The operator's socket
/// answers too, so one that is called so comes last.
async fn search(pid: u32) -> io::Result<Option<(PathBuf, HostState)>> {
    let mut sockets = Vec::new();
    for bound in listening(Path::new("/proc"), pid)? {
        sockets.extend(named_now(&bound));
    }
    sockets.sort();
    sockets.dedup();
    sockets.sort_by_key(|path| path.file_name().is_some_and(|name| name == "operator.sock"));
    for socket in sockets {
        if serves(&socket, pid).await
            && let Some(state) = ask(&socket).await
        {
            return Ok(Some((socket, state)));
        }
    }
    Ok(None)
}

/// What a socket may be called by now. The kernel's list has the name that it was bound to, and a host that binds beside its
/// place and then renames it, so that nobody meets a half-made one, is no longer found by that: then it is one of its directory.
fn named_now(bound: &Path) -> Vec<PathBuf> {
    let is_socket = |path: &Path| {
        fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
    };
    if is_socket(bound) {
        return vec![bound.to_owned()];
    }
    let siblings = bound.parent().map(fs::read_dir).and_then(Result::ok);
    let paths = siblings.into_iter().flatten().flatten();
    let paths = paths.map(|entry| entry.path());
    paths.filter(|path| is_socket(path)).collect()
}

/// Whether this process listens there, as the kernel tells whoever connects.
async fn serves(socket: &Path, pid: u32) -> bool {
    let Ok(stream) = UnixStream::connect(socket).await else {
        return false;
    };
    let peer = stream.peer_cred().ok().and_then(|peer| peer.pid());
    peer.and_then(|peer| u32::try_from(peer).ok()) == Some(pid)
}

/// The Unix sockets on which a process listens, by the names they were bound to, from the files that it has open and the kernel's list.
fn listening(proc: &Path, pid: u32) -> io::Result<Vec<PathBuf>> {
    let place = proc.join(pid.to_string());
    let inodes = open_sockets(&place)?;
    let list = fs::read_to_string(place.join("net/unix"))?;
    let mut sockets: Vec<PathBuf> = list
        .lines()
        .filter_map(|line| {
            let mut columns = line.split_ascii_whitespace();
            let flags = columns.nth(3)?;
            let inode = columns.nth(2)?.parse::<u64>().ok()?;
            let path = columns.next()?;
            let ours = flags == LISTENS && inodes.contains(&inode) && path.starts_with('/');
            ours.then(|| PathBuf::from(path))
        })
        .collect();
    sockets.sort();
    sockets.dedup();
    Ok(sockets)
}

/// The inodes of the sockets that a process has open.
fn open_sockets(place: &Path) -> io::Result<Vec<u64>> {
    let mut inodes = Vec::new();
    for file in fs::read_dir(place.join("fd"))? {
        // A file that was closed meanwhile is none of those that listen.
        let Ok(target) = fs::read_link(file?.path()) else {
            continue;
        };
        let target = target.to_string_lossy();
        let inode = target.strip_prefix("socket:[");
        inodes.extend(inode.and_then(|inode| inode.strip_suffix(']')?.parse::<u64>().ok()));
    }
    Ok(inodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Overrides};

    #[test]
    fn what_is_written_is_a_valid_configuration_with_every_comment() {
        let root = tempfile::tempdir().expect("a directory");
        let file = root.path().join("trimtab.toml");
        let odd = "/run/it's \"odd\"/control.sock";
        let text = filled("shop-2", Path::new(odd)).expect("it is text");
        write_new(&file, &text).expect("it is new");
        let config = config::load(Some(&file), &Overrides::default()).expect("it is valid");
        assert_eq!(config.settings.host.as_str(), "shop-2");
        assert_eq!(
            config.control,
            crate::place::HostPlace::from(Path::new(odd))
        );
        let comments = |text: &str| text.lines().filter(|line| line.starts_with('#')).count();
        assert_eq!(comments(&text), comments(TEMPLATE));
        write_new(&file, "other").expect_err("a file that is there is left alone");
        assert_eq!(fs::read_to_string(&file).expect("it is there"), text);
    }

    #[tokio::test]
    async fn a_socket_that_was_renamed_is_found_and_a_neighbours_is_not_taken_for_it() {
        let root = tempfile::tempdir().expect("a directory");
        let (draft, place) = (root.path().join(".draft"), root.path().join("control.sock"));
        let _listener = std::os::unix::net::UnixListener::bind(&draft).expect("it is free");
        assert_eq!(named_now(&draft), [draft.as_path()]);
        fs::rename(&draft, &place).expect("it is there");
        fs::write(root.path().join("a-file"), "").expect("it is written");
        assert_eq!(named_now(&draft), [place.as_path()]);
        assert!(serves(&place, std::process::id()).await);
        assert!(!serves(&place, 1).await, "another process");
        assert!(!serves(&draft, std::process::id()).await, "nothing there");
    }

    #[test]
    fn the_sockets_of_a_process_are_found_by_what_it_has_open() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("control.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("it is free");
        let own = std::process::id();
        assert!(
            listening(Path::new("/proc"), own)
                .expect("readable")
                .contains(&path)
        );
        drop(listener);
        assert!(
            !listening(Path::new("/proc"), own)
                .expect("readable")
                .contains(&path)
        );
        listening(Path::new("/proc"), u32::MAX).expect_err("there is no such process");
    }
}
