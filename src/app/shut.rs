//! Shuts the sidecar in, once its listeners are open and before its first thread.

use crate::cage::{self, Entered, Extent, Needs};
use crate::config::Config;
use crate::flame::Keeper;
use crate::place::HostPlace;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use tracing::{info, warn};

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
    let parent = |path: &Path| {
        let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
        parent.unwrap_or_else(|| Path::new(".")).to_path_buf()
    };
    let mut reads = config.directories.clone();
    reads.extend(config.files.iter().map(|file| parent(file)));
    reads.extend(config.intake.token_file.as_deref().map(parent));
    reads.extend(config.serve.token_file.as_deref().map(parent));
    let tls = config.serve.tls.iter();
    reads.extend(tls.flat_map(|files| [parent(&files.certificate), parent(&files.key)]));
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
        reads.push(parent(token_file));
        ports.push(address.socket_addr().port());
    }
    Needs {
        reads,
        writes,
        ports,
    }
}
