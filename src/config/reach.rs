//! Where the sidecar of a configuration takes commands, read so that a mistake elsewhere in the files is not in the way: who
//! freezes a service must not have to mend a file first.

use super::error::ConfigErrors;
use super::raw::{Desk, Parsed};
use super::section::Section;
use super::{Overrides, door, layers, load, validate};
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// What a command needs of a configuration.
#[derive(Debug)]
pub struct Reach {
    /// The operator's socket; nothing where what the files say of it cannot be one.
    pub socket: Option<PathBuf>,
    /// The host's id, where the files give one.
    pub host: Option<String>,
    /// All that is wrong with the files, where something is.
    pub mistakes: Option<ConfigErrors>,
}

/// Reads what a command needs. Without a file there are the overrides and the default place of the socket.
///
/// # Errors
/// The file itself cannot be read.
pub fn reach(path: Option<&Path>, overrides: &Overrides) -> Result<Reach, ConfigErrors> {
    let desk = Desk::new(overrides);
    let base = path.and_then(Path::parent).unwrap_or_else(|| Path::new(""));
    let sources = layers::sources(path, &desk);
    if sources.is_empty() {
        return Err(ConfigErrors::from_findings(desk.take()));
    }
    let parsed: Vec<Parsed<'_>> = sources
        .iter()
        .map(|source| Parsed {
            source,
            // What can be made out of a file with a slip in it; `mistakes` tells of the slip.
            table: DeTable::parse_recoverable(source.text()).0.into_inner(),
        })
        .collect();
    let mut root = Section::root(&desk, &parsed, String::new());
    let ledger = validate::ledger(&mut root, base);
    let socket = door::operators(&mut root, base, &ledger.directory);
    let host = validate::host_id(&mut root);
    let mistakes = path.and_then(|path| load(Some(path), overrides).err());
    Ok(Reach {
        socket,
        host,
        mistakes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of a file with this text, its directory cut off.
    fn read(text: &str) -> (Option<PathBuf>, Option<String>, bool) {
        let root = tempfile::tempdir().expect("there is room");
        let file = root.path().join("trimtab.toml");
        std::fs::write(&file, text).expect("it is ours");
        let found = reach(Some(&file), &Overrides::default()).expect("it can be read");
        let socket = found.socket.map(|socket| {
            let within = socket.strip_prefix(root.path());
            within.map(Path::to_path_buf).unwrap_or(socket)
        });
        (socket, found.host, found.mistakes.is_some())
    }

    const GOOD: &str =
        "[[hosts]]\nid = \"shop\"\nsocket = \"c.sock\"\n[ledger]\ndirectory = \"kept\"\n";

    #[test]
    fn a_mistake_elsewhere_hides_neither_the_socket_nor_the_host() {
        let socket = || Some(PathBuf::from("kept/operator.sock"));
        let shop = || Some("shop".to_owned());
        assert_eq!(read(GOOD), (socket(), shop(), false));
        for slip in [
            "[serve]\naddress = \"nowhere\"\n",
            "[colours]\n",
            "[log]\nlevel = loud\n",
            "[lease\n",
            "[intake]\ntoken_file = \"no/such/file\"\nuids = [\"me\"]\n",
        ] {
            assert_eq!(
                read(&format!("{GOOD}{slip}")),
                (socket(), shop(), true),
                "{slip}"
            );
        }
        let unnamed = GOOD.replace("shop", "no name");
        assert_eq!(read(&unnamed), (socket(), None, true));
    }

    #[test]
    fn a_socket_that_is_named_and_cannot_be_one_is_not_replaced_by_another() {
        assert_eq!(
            read(&format!("{GOOD}[intake]\nsocket = 5\n")),
            (None, Some("shop".to_owned()), true)
        );
        let own = format!("{GOOD}[intake]\nsocket = \"/run/o.sock\"\n");
        assert_eq!(read(&own).0, Some(PathBuf::from("/run/o.sock")));
    }

    #[test]
    fn without_a_file_there_are_the_variables_and_the_default_place() {
        let bare = reach(None, &Overrides::default()).expect("there is nothing to read");
        let place = PathBuf::from("trimtab-ledger/operator.sock");
        assert_eq!((bare.socket, bare.host), (Some(place), None));
        let set = ("TRIMTAB__INTAKE__SOCKET".into(), "/run/o.sock".into());
        let found = reach(None, &Overrides::from_vars([set])).expect("there is nothing to read");
        assert_eq!(found.socket, Some(PathBuf::from("/run/o.sock")));
        let missing = reach(Some(Path::new("no/such/file.toml")), &Overrides::default());
        let missing = missing.expect_err("it is not there").to_string();
        assert!(missing.contains("no/such/file.toml"), "{missing}");
    }
}
