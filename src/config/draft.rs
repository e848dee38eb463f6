//! What is in force with where each value comes from, the profiles as they are written, and what a text would change.
//!
//! Nothing here applies anything: a draft is read and compared, and then it is dropped.

use super::raw::{Desk, Source};
use super::{Config, ConfigErrors, Overrides, changes, profile};
use std::collections::BTreeSet;
use std::path::Path;
use trimtab_protocol::configuration::{DraftVerdict, ProfileDraft};
use trimtab_protocol::configuration::{EffectiveConfiguration, ProfileText, SettingInForce};
use trimtab_protocol::name::is_plain_name;

impl Config {
    /// Every key that has a value, as it is in force, and the profiles as their files now are. What takes effect only after a
    /// restart is shown as it was when the sidecar began with `started`.
    pub(crate) fn effective(&self, started: &Self) -> EffectiveConfiguration {
        let began = started.settings_in_force();
        let settings = self.settings_in_force().into_iter().map(|setting| {
            let before = began.iter().find(|it| it.key == setting.key);
            before.filter(|_| !setting.live).cloned().unwrap_or(setting)
        });
        let settings = settings.filter_map(|setting| {
            Some(SettingInForce {
                key: setting.key,
                value: setting.value?,
                origin: setting.origin,
                live: setting.live,
            })
        });
        EffectiveConfiguration {
            settings: settings.collect(),
            profiles: self.profile_texts(),
        }
    }

    /// What would come of a profile's text; nothing when there is no such profile.
    pub(crate) fn consider(&self, draft: &ProfileDraft) -> Option<DraftVerdict> {
        let (file, _) = self.profile_file(&draft.profile)?;
        let none = Overrides::default();
        let overrides = self.watched.as_ref().map_or(&none, |it| &it.overrides);
        let desk = Desk::new(overrides);
        let read = match Source::decode(file, draft.text.clone().into_bytes()) {
            Ok(source) => profile::read(&source, &draft.profile, &desk),
            Err(finding) => {
                desk.report(finding);
                None
            }
        };
        let findings = desk.take();
        let changes = match read {
            Some(profile) if findings.is_empty() => {
                let mut edited = self.clone();
                let profiles = &mut edited.settings.profiles;
                profiles.insert(draft.profile.clone(), profile);
                changes(self, &edited)
            }
            Some(_) | None => Vec::new(),
        };
        Some(DraftVerdict {
            problems: ConfigErrors::from_findings(findings).problems(),
            needs_approval: changes.iter().any(|change| change.drastic),
            changes,
        })
    }

    fn profile_texts(&self) -> Vec<ProfileText> {
        let mut names: BTreeSet<String> = self.settings.profiles.keys().cloned().collect();
        // A file that was refused as new is in nobody's settings yet, and its text is wanted most.
        let directory = self.profiles_directory.as_deref();
        for entry in directory
            .and_then(|it| it.read_dir().ok())
            .into_iter()
            .flatten()
        {
            let path = entry.map(|entry| entry.path()).unwrap_or_default();
            if path.extension().is_some_and(|end| end == "toml") {
                names.extend(
                    path.file_stem()
                        .and_then(|name| name.to_str())
                        .map(str::to_owned),
                );
            }
        }
        let texts = names
            .into_iter()
            .take(profile::FILES_MAX)
            .filter_map(|name| {
                let (file, text) = self.profile_file(&name)?;
                Some(ProfileText { name, file, text })
            });
        texts.collect()
    }

    /// The file of a profile and what it says; the directory's outranks the one that is built in.
    fn profile_file(&self, name: &str) -> Option<(String, String)> {
        if !is_plain_name(name) {
            return None;
        }
        let directory = self.profiles_directory.as_deref();
        let own = directory.map(|it| (it, it.join(format!("{name}.toml"))));
        if let Some((directory, path)) = own
            && path.symlink_metadata().is_ok()
        {
            return Some((path.display().to_string(), text_of(directory, &path)));
        }
        let (_, text) = profile::BUILT_IN.iter().find(|(known, _)| *known == name)?;
        Some((format!("built-in/{name}.toml"), (*text).to_owned()))
    }
}

/// What a file of the profiles' directory says. Nothing where it cannot be read, which the configuration's status tells of, and
/// nothing where it is no profile: another file that came there by its name is nobody's to see.
fn text_of(directory: &Path, path: &Path) -> String {
    let read = Source::read(path, Some(directory)).ok();
    let profile = read.filter(profile::is_meant);
    profile.map_or_else(String::new, |source| source.text().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;
    use std::os::unix::fs::symlink;

    fn config(root: &Path) -> Config {
        let path = root.join("trimtab.toml");
        let text = "profiles = \"profiles\"\n[[hosts]]\nid = \"shop\"\nsocket = \"s\"\n";
        std::fs::write(&path, text).expect("it is ours");
        std::fs::create_dir_all(root.join("profiles")).expect("it is ours");
        let own = web().replace("max = 100\n", "max = 150\n");
        std::fs::write(root.join("profiles/web.toml"), own).expect("it is ours");
        load(Some(&path), &Overrides::default()).expect("it is valid")
    }

    fn web() -> &'static str {
        include_str!("../../profiles/web.toml")
    }

    fn draft(profile: &str, text: &str) -> ProfileDraft {
        ProfileDraft {
            profile: profile.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_text_is_compared_with_what_is_in_force_and_not_applied() {
        let root = tempfile::tempdir().expect("there is room");
        let config = config(root.path());
        let (before, files) = (config.clone(), config.effective(&config).profiles);
        let file = files
            .iter()
            .find(|it| it.name == "web")
            .expect("it is known");
        let verdict = |text: &str| config.consider(&draft("web", text)).expect("it is known");
        let same = verdict(&file.text);
        assert_eq!((same.problems.len(), same.changes.len()), (0, 0));
        let more = verdict(&file.text.replace("max = 150", "max = 200"));
        let keys: Vec<&str> = more.changes.iter().map(|it| it.key.as_str()).collect();
        assert_eq!(
            (keys, more.needs_approval),
            (vec!["profile.web.workers.max"], false)
        );
        assert!(verdict(&file.text.replace("max = 150", "max = 1500")).needs_approval);
        let wrong = verdict(&format!("{}\nworkers.colour = 7", file.text));
        assert!(
            wrong
                .problems
                .iter()
                .all(|it| it.line.is_some() && it.column.is_some())
        );
        assert!(!wrong.problems.is_empty() && wrong.changes.is_empty());
        assert_eq!(config, before, "nothing was applied");
        assert!(
            config.consider(&draft("../trimtab", "")).is_none(),
            "no path is a name"
        );
    }

    #[test]
    fn each_value_is_told_with_its_place() {
        let root = tempfile::tempdir().expect("there is room");
        let config = config(root.path());
        let effective = config.effective(&config);
        let key = |key: &str| {
            effective
                .settings
                .iter()
                .find(|it| it.key == key)
                .expect("a key")
        };
        let own = key("profile.web.workers.min")
            .origin
            .clone()
            .expect("a file sets it");
        assert!(own.file.ends_with("profiles/web.toml") && own.line > 0);
        let built_in = key("profile.api.workers.min")
            .origin
            .clone()
            .expect("a file sets it");
        assert_eq!(built_in.file, "built-in/api.toml");
        assert_eq!(key("mode").origin, None, "it has its default");
        let names: Vec<&str> = effective
            .profiles
            .iter()
            .map(|it| it.name.as_str())
            .collect();
        assert_eq!(names, ["api", "background", "default", "web"]);
    }

    #[test]
    fn only_what_is_a_profile_and_lies_in_the_directory_is_shown() {
        let root = tempfile::tempdir().expect("there is room");
        let config = config(root.path());
        let profiles = root.path().join("profiles");
        let secret = root.path().join("tokens.toml");
        // Even what looks like a profile is shown from nowhere else.
        let text = format!("# hunter2\n{}", web());
        std::fs::write(&secret, text).expect("it is ours");
        symlink("../tokens.toml", profiles.join("api.toml")).expect("it is ours");
        symlink(&secret, profiles.join("new.toml")).expect("it is ours");
        std::fs::write(profiles.join("mine.toml"), "night hunter2\n").expect("it is ours");
        std::fs::write(profiles.join("keys.toml"), "token = 'hunter2'\n").expect("it is ours");
        let wrong = web().replace("max = 100\n", "max = 'many'\n");
        std::fs::write(profiles.join("wrong.toml"), &wrong).expect("it is ours");
        let shown = config.effective(&config).profiles;
        let text = |name: &str| {
            let profile = shown.iter().find(|it| it.name == name);
            profile.map_or("no such", |it| it.text.as_str())
        };
        for name in ["api", "new", "mine", "keys"] {
            assert_eq!(text(name), "", "{name}");
        }
        assert_eq!(text("wrong"), wrong, "who mends it wants to see it");
        assert_ne!(text("web"), "");
        assert!(
            !serde_json::to_string(&shown)
                .expect("it is JSON")
                .contains("hunter2")
        );

        let loaded = load(
            Some(&root.path().join("trimtab.toml")),
            &Overrides::default(),
        );
        let errors = loaded.expect_err("links lead out");
        let told: Vec<String> = errors.list().into_iter().map(|it| it.message).collect();
        let out = told
            .iter()
            .filter(|it| it.contains("is a link to a file outside its directory"));
        assert_eq!(out.count(), 2, "{told:?}");
        assert!(
            errors.to_string().contains("link to one below it"),
            "{errors}"
        );
        assert!(
            !serde_json::to_string(&errors.problems())
                .expect("it is JSON")
                .contains("hunter2")
        );
    }

    #[test]
    fn a_directory_whose_files_are_swapped_by_a_link_is_read_and_shown() {
        let root = tempfile::tempdir().expect("there is room");
        config(root.path());
        let profiles = root.path().join("profiles");
        std::fs::create_dir(profiles.join("..set")).expect("it is ours");
        std::fs::rename(profiles.join("web.toml"), profiles.join("..set/web.toml"))
            .expect("it is ours");
        symlink("..set", profiles.join("..data")).expect("it is ours");
        symlink("..data/web.toml", profiles.join("web.toml")).expect("it is ours");
        let loaded = load(
            Some(&root.path().join("trimtab.toml")),
            &Overrides::default(),
        );
        let config = loaded.expect("it is valid");
        let shown = config.effective(&config).profiles;
        let web = shown
            .iter()
            .find(|it| it.name == "web")
            .expect("it is known");
        assert!(web.text.contains("max = 150\n") && web.file.ends_with("profiles/web.toml"));
    }
}
