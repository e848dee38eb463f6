//! Shuts the sidecar in, once its listeners are open and before its first thread.

use crate::cage::{self, Entered, Extent, Needs};
use crate::config::Config;
use crate::flame::Keeper;
use crate::place::HostPlace;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use tracing::{info, warn};

/// How many links behind each other are followed: the kernel follows as many.
const LINKS_MAX: usize = 40;

/// Starts what starts profilers, and then shuts this process in. It is done before any thread is started, for landlock holds
/// for a thread and those that it starts.
pub(super) fn shut_in(config: &Config) -> Option<Keeper> {
    let keeper = Keeper::start().inspect_err(
        |error| warn!(%error, "there will be no graphs: what starts profilers cannot be started"),
    );
    let needs = needs(config);
    for directory in &needs.writes {
        // Whoever writes there says what is wrong, if anything is.
        drop(
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory),
        );
    }
    let Entered { files, calls } = cage::enter(&needs);
    match &files {
        Ok(Extent::Full) => {}
        Ok(Extent::Part) => {
            info!("landlock of this kernel is old: not all that is of no use is refused")
        }
        Err(why) => warn!(why, "files and network are not shut: no landlock"),
    }
    if let Err(why) = &calls {
        warn!(why, "system calls are not shut: no seccomp");
    }
    info!(landlock = files.is_ok(), seccomp = calls.is_ok(), "shut in");
    keeper.ok()
}

/// What a running sidecar reads and writes. Directories and not files, because editors put another file in a file's place.
fn needs(config: &Config) -> Needs {
    let mut reads = config.directories.clone();
    let files = config.files.iter().map(PathBuf::as_path);
    let tokens = [&config.intake.token_file, &config.serve.token_file];
    let tokens = tokens.into_iter().filter_map(|file| file.as_deref());
    let tls = config.serve.tls.iter();
    let tls = tls.flat_map(|files| [files.certificate.as_path(), files.key.as_path()]);
    reads.extend(files.chain(tokens).chain(tls).flat_map(places));
    // For the names of functions in a panic's backtrace.
    reads.extend(std::env::current_exe());
    let writes = vec![
        config.ledger.directory.clone(),
        parent(&config.intake.socket),
    ];
    let mut ports = Vec::new();
    if let HostPlace::Tcp {
        address,
        token_file,
    } = &config.control
    {
        reads.extend(places(token_file));
        ports.push(address.socket_addr().port());
    }
    Needs {
        reads,
        writes,
        ports,
    }
}

fn parent(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    parent.unwrap_or_else(|| Path::new(".")).to_path_buf()
}

/// The directories that reading a file goes through: its own, and where it is a link, that of each file which it leads to. The
/// kernel judges a link by what is at its end, and who renews certificates puts a new file there or turns a link.
fn places(file: &Path) -> Vec<PathBuf> {
    let mut places = vec![parent(file)];
    let mut here = file.to_path_buf();
    for _ in 0..LINKS_MAX {
        let Ok(target) = fs::read_link(&here) else {
            break;
        };
        // A target that is not absolute counts from the directory of its link.
        here = parent(&here).join(target);
        places.push(parent(&here));
    }
    places.extend(fs::canonicalize(file).ok().as_deref().map(parent));
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_behind_links_is_read_where_each_of_them_leads() {
        let root = tempfile::tempdir().expect("there is room");
        let root = fs::canonicalize(root.path()).expect("it is there");
        for directory in ["own", "live", "archive"] {
            fs::create_dir(root.join(directory)).expect("it is ours");
        }
        fs::write(root.join("archive/key2.pem"), "key").expect("it is ours");
        symlink("../archive/key2.pem", root.join("live/key.pem")).expect("it is ours");
        symlink(root.join("live/key.pem"), root.join("own/key.pem")).expect("it is ours");
        let real = |place: &PathBuf| fs::canonicalize(place).expect("it is there");
        let found: Vec<PathBuf> = places(&root.join("own/key.pem")).iter().map(real).collect();
        for directory in ["own", "live", "archive"] {
            assert!(
                found.contains(&root.join(directory)),
                "{directory}: {found:?}"
            );
        }
        assert_eq!(
            places(&root.join("archive/key2.pem")),
            [root.join("archive")]
        );
    }

    #[test]
    fn links_in_a_circle_have_an_end() {
        let root = tempfile::tempdir().expect("there is room");
        symlink("b", root.path().join("a")).expect("it is ours");
        symlink("a", root.path().join("b")).expect("it is ours");
        assert_eq!(places(&root.path().join("a")), [root.path()]);
    }
}
