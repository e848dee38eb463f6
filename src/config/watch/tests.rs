//! Real directories and the real system: what it tells, and when, is what is tested here.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;

const TEXT: &str = "[[hosts]]\nid = \"shop\"\nsocket = \"s\"\n";

struct Site {
    directory: tempfile::TempDir,
    sets: mpsc::Receiver<NewSet>,
}

impl Site {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn watch(directory: tempfile::TempDir) -> Self {
        let path = directory.path().join("trimtab.toml");
        let overrides = Overrides::default();
        let loaded = load_set(Some(&path), &overrides);
        loaded.result.as_ref().expect("it is valid");
        let sets = start(path, overrides, loaded.fingerprint, loaded.directories);
        let sets = sets.expect("there is a thread");
        Self { directory, sets }
    }

    fn begin(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("there is room");
        fs::write(directory.path().join("trimtab.toml"), text).expect("it is ours");
        Self::watch(directory)
    }

    /// The interval of the next set, or how many mistakes it has.
    fn next(&mut self) -> Result<u64, usize> {
        let set = self.sets.blocking_recv().expect("the watch goes on");
        let result = set.loaded.result;
        let config = result.map_err(|errors| errors.count())?;
        Ok(config.settings.interval.as_ms())
    }
}

fn interval(seconds: u64) -> String {
    format!("interval = \"{seconds}s\"\n{TEXT}")
}

#[test]
fn a_file_that_is_written_or_replaced_is_seen() {
    let mut site = Site::begin(TEXT);
    fs::write(site.path("trimtab.toml"), interval(2)).expect("it is ours");
    assert_eq!(site.next(), Ok(2_000));
    for seconds in 3..6 {
        // As an editor does: another file takes the place.
        fs::write(site.path("trimtab.toml~"), interval(seconds)).expect("it is ours");
        fs::rename(site.path("trimtab.toml~"), site.path("trimtab.toml")).expect("it is ours");
        assert_eq!(site.next(), Ok(seconds * 1_000));
    }
}

#[test]
fn a_file_that_is_deleted_is_refused_and_seen_when_it_returns() {
    let mut site = Site::begin(TEXT);
    fs::remove_file(site.path("trimtab.toml")).expect("it is ours");
    assert_eq!(site.next(), Err(1));
    fs::write(site.path("trimtab.toml"), interval(2)).expect("it is ours");
    assert_eq!(site.next(), Ok(2_000));
}

#[test]
fn drop_ins_and_profiles_that_come_and_go_are_seen() {
    let text = format!("profiles = \"p\"\n{TEXT}");
    let directory = tempfile::tempdir().expect("there is room");
    fs::write(directory.path().join("trimtab.toml"), text).expect("it is ours");
    fs::create_dir(directory.path().join("p")).expect("it is ours");
    let mut site = Site::watch(directory);
    fs::create_dir(site.path("trimtab.d")).expect("it is ours");
    fs::write(site.path("trimtab.d/a.toml"), "interval = \"2s\"\n").expect("it is ours");
    assert_eq!(site.next(), Ok(2_000));
    fs::write(site.path("trimtab.d/a.toml"), "interval = \"3s\"\n").expect("it is ours");
    assert_eq!(site.next(), Ok(3_000));
    fs::write(site.path("p/web.toml"), "oh = 1\n").expect("it is ours");
    assert!(site.next().is_err());
    fs::remove_dir_all(site.path("p")).expect("it is ours");
    assert!(site.next().is_err());
    fs::create_dir(site.path("p")).expect("it is ours");
    assert_eq!(site.next(), Ok(3_000));
    fs::write(site.path("p/web.toml"), "oh = 1\n").expect("it is ours");
    assert!(site.next().is_err());
}

/// An orchestrator puts a whole set in place by turning one link around. A mixture of two sets would name a profile that is
/// not there, and so be refused.
#[test]
fn a_set_that_is_swapped_by_a_link_is_seen_whole() {
    let directory = tempfile::tempdir().expect("there is room");
    let root = directory.path().to_path_buf();
    let fill = |name: &str, seconds: u64| {
        let set = root.join(name);
        fs::create_dir(&set).expect("it is ours");
        let profile = format!("night-{seconds}");
        let text = format!(
            "profiles = \"..data/p\"\n{}[hosts.pools]\na = \"{profile}\"\n",
            interval(seconds)
        );
        fs::write(set.join("trimtab.toml"), text).expect("it is ours");
        fs::create_dir(set.join("p")).expect("it is ours");
        let web = include_str!("../../../profiles/web.toml");
        fs::write(set.join(format!("p/{profile}.toml")), web).expect("it is ours");
    };
    fill("..1", 1);
    symlink("..1", root.join("..data")).expect("it is ours");
    symlink("..data/trimtab.toml", root.join("trimtab.toml")).expect("it is ours");
    let mut site = Site::watch(directory);
    for set in 2..8 {
        fill(&format!("..{set}"), set);
        symlink(format!("..{set}"), root.join("..new")).expect("it is ours");
        fs::rename(root.join("..new"), root.join("..data")).expect("it is ours");
        fs::remove_dir_all(root.join(format!("..{}", set - 1))).expect("it is ours");
        assert_eq!(site.next(), Ok(set * 1_000));
    }
}

#[test]
fn a_file_that_is_touched_and_says_the_same_is_no_new_set() {
    let mut site = Site::begin(TEXT);
    fs::write(site.path("trimtab.toml"), TEXT).expect("it is ours");
    fs::write(site.path("notes.txt"), "not ours").expect("it is ours");
    fs::write(site.path("trimtab.toml"), interval(2)).expect("it is ours");
    assert_eq!(site.next(), Ok(2_000));
}

#[test]
fn events_that_were_lost_are_a_reason_to_look_and_reading_is_none() {
    use notify::event::{AccessKind, CreateKind, Event, EventKind, Flag};
    let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
    assert!(lost.need_rescan() && is_hint(&Ok(lost)));
    assert!(is_hint(&Err(notify::Error::generic("it cannot tell"))));
    assert!(is_hint(&Ok(Event::new(EventKind::Create(
        CreateKind::File
    )))));
    assert!(!is_hint(&Ok(Event::new(EventKind::Access(
        AccessKind::Any
    )))));
}

/// Where the system tells nothing, the files are read every second.
#[test]
fn without_any_event_a_change_is_found_by_reading() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("trimtab.toml");
    fs::write(&path, TEXT).expect("it is ours");
    let overrides = Overrides::default();
    let loaded = load_set(Some(&path), &overrides);
    let (sets, mut new_sets) = mpsc::channel(1);
    let (hint, hints) = sync_channel(1);
    let watch = Watch {
        armed: Armed {
            watcher: None,
            _hint: hint,
            armed: BTreeMap::new(),
            root: directory.path().to_path_buf(),
        },
        hints,
        path: path.clone(),
        overrides,
        seen: loaded.fingerprint,
        directories: loaded.directories,
    };
    // The channel is open, so it is waited at: a closed one would be asked again and again without a pause.
    let waited = watch.hints.recv_timeout(QUIET);
    assert_eq!(waited, Err(std::sync::mpsc::RecvTimeoutError::Timeout));
    let thread = std::thread::spawn(move || watch.run(&sets));
    fs::write(&path, interval(2)).expect("it is ours");
    let set = new_sets.blocking_recv().expect("the watch goes on");
    assert_eq!(set.watching, Watching::Rescans);
    let config = set.loaded.result.expect("it is valid");
    assert_eq!(config.settings.interval.as_ms(), 2_000);
    drop(new_sets);
    thread.join().expect("it ends when nobody listens");
}
