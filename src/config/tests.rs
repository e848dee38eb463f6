//! The configuration as a whole: the files that are shipped, the reports, and what no input may do.

use super::raw::Source;
use super::*;
use proptest::prelude::*;
use trimtab_protocol::decision::Mode;
use trimtab_protocol::knob::KnobValue;

/// Checks a profile given as text.
fn check_profile(name: &str, text: &str) -> Result<Profile, ConfigErrors> {
    check_bytes(name, text.as_bytes(), &Overrides::default())
}

fn check_bytes(name: &str, bytes: &[u8], overrides: &Overrides) -> Result<Profile, ConfigErrors> {
    let desk = Desk::new(overrides);
    let file = format!("{name}.toml");
    let profile = match Source::decode(file, bytes.to_vec()) {
        Ok(source) => profile::read(&source, name, &desk),
        Err(finding) => {
            desk.report(finding);
            None
        }
    };
    let findings = desk.take();
    match profile {
        Some(profile) if findings.is_empty() => Ok(profile),
        _ => Err(ConfigErrors::from_findings(findings)),
    }
}

/// Checks a configuration given as text, with the built-in profiles.
fn check_config(text: &str, overrides: &Overrides) -> Result<Config, ConfigErrors> {
    let desk = Desk::new(overrides);
    let source = Source::decode("trimtab.toml".to_owned(), text.as_bytes().to_vec());
    let sources: Vec<_> = source
        .map_err(|finding| desk.report(finding))
        .into_iter()
        .collect();
    let parsed = layers::parsed(&sources, &desk);
    let draft =
        (!parsed.is_empty()).then(|| validate::read(&parsed, true, Path::new("etc"), &desk));
    let mut findings = desk.take();
    let profiles = profile::built_in(&desk, &mut findings);
    let config = draft.and_then(|draft| draft.into_config(profiles, Vec::new(), &desk));
    desk.report_unknown_variables();
    findings.extend(desk.take());
    match config {
        Some(config) if findings.is_empty() => Ok(config),
        _ => Err(ConfigErrors::from_findings(findings)),
    }
}

fn report(result: Result<impl std::fmt::Debug, ConfigErrors>) -> String {
    result.expect_err("the text is wrong").to_string()
}

fn places(errors: &ConfigErrors) -> Vec<(u32, u32)> {
    let place = |error: ConfigError| Some((error.line?, error.column?));
    errors.list().into_iter().filter_map(place).collect()
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

const MINIMAL: &str = "[[hosts]]\nid = \"shop\"\nsocket = \"/run/shop/control.sock\"\n";

mod shipped {
    use super::*;

    #[test]
    fn the_commented_file_holds_the_defaults() {
        let none = Overrides::default();
        let full = load(Some(&repository("config/trimtab.toml")), &none).expect("it is valid");
        let minimal = load(Some(&repository("config/minimal.toml")), &none).expect("it is valid");
        let (files, origins) = (minimal.files.clone(), minimal.origins.clone());
        let directories = minimal.directories.clone();
        let watched = minimal.watched.clone();
        let full = Config {
            files,
            origins,
            directories,
            watched,
            ..full
        };
        assert_eq!(full, minimal);
    }

    #[test]
    fn the_commented_file_names_every_key_there_is() {
        // What is commented out in the file is a key without a default; uncommented, the file must still be valid, and any
        // key that the reader knows is found in it.
        let text = std::fs::read_to_string(repository("config/trimtab.toml")).expect("it is there");
        let text = text
            .replace("# profiles = ", "profiles = ")
            .replace("# checkout = ", "checkout = ")
            .replace("# holder = ", "holder = ")
            .replace("# own_profile = ", "own_profile = ")
            .replace("# health = ", "health = ")
            .replace("# operator_socket = ", "operator_socket = ")
            .replace("# socket = ", "socket = ")
            .replace("# token_file = ", "token_file = ")
            .replace("# certificate = ", "certificate = ")
            .replace("# key = ", "key = ")
            .replace("# push = ", "push = ");
        let config = check_config(&text, &Overrides::default()).expect("it is valid");
        assert_eq!(config.settings.holder, "shop-sidecar");
        assert_eq!(config.settings.assigned["checkout"], "web");
        for (table, keys) in [
            (
                "",
                "mode, interval, profiles, hosts, serve, flame, intake, ledger, lease, log",
            ),
            (
                "hosts",
                "id, socket, token_file, operator_socket, call_deadline, pools",
            ),
            (
                "serve",
                "address, allow_remote, behind_proxy, token_file, tls, health, allowed_hosts",
            ),
            ("serve.tls", "certificate, key"),
            ("flame", "remember, hz, max_bytes, own_profile, push"),
            ("intake", "socket, uids, token_file"),
            ("ledger", "directory, max_bytes"),
            ("lease", "ttl, holder"),
            ("log", "format, level"),
        ] {
            let wrong = match table {
                "" => format!("zzz = 1\n{text}"),
                "hosts" => text.replace("[[hosts]]", "[[hosts]]\nzzz = 1"),
                table => text.replace(&format!("[{table}]"), &format!("[{table}]\nzzz = 1")),
            };
            let errors = check_config(&wrong, &Overrides::default()).expect_err("zzz is unknown");
            let known = errors.list()[0].notes[0].replace('`', "");
            let known: std::collections::BTreeSet<&str> =
                known["known here: ".len()..].split(", ").collect();
            let named: std::collections::BTreeSet<&str> = keys.split(", ").collect();
            assert_eq!(known, named, "{table}");
            for key in keys.split(", ") {
                assert!(
                    text.contains(&format!("{key} = ")) || text.contains(&format!("{key}]")),
                    "{key}"
                );
            }
        }
    }

    #[test]
    fn the_demo_looks_often_and_acts() {
        let demo = load(Some(&repository("config/demo.toml")), &Overrides::default());
        let demo = demo.expect("it is valid");
        assert_eq!(demo.settings.mode, Mode::Act);
        assert_eq!(demo.settings.interval.as_ms(), 250);
        assert_eq!(
            demo.control,
            HostPlace::from(repository("config/demo-control.sock"))
        );
    }

    #[test]
    fn the_profiles_in_the_tree_are_the_built_in_ones() {
        for (name, text) in profile::BUILT_IN {
            let path = repository(&format!("profiles/{name}.toml"));
            assert_eq!(std::fs::read_to_string(&path).expect("it is there"), text);
            let paths = [path];
            let own = load_profiles(&paths, &Overrides::default()).expect("it is valid");
            let built_in = check_profile(name, text).expect("it is valid");
            assert_eq!(own[0].workers.max.value, built_in.workers.max.value);
            assert_eq!(own[0].others.len(), built_in.others.len());
        }
    }

    #[test]
    fn the_built_in_profiles_hold_the_figures_that_were_asked_for() {
        let config = check_config(MINIMAL, &Overrides::default()).expect("it is valid");
        let profiles = &config.settings.profiles;
        let range = |range: &trimtab_core::profile::KnobRange| {
            (range.start.value, range.min.value, range.max.value)
        };
        let figures = |name: &str| {
            let profile = &profiles[name];
            let timeout = range(&profile.timeout_ms);
            (
                range(&profile.workers),
                profile.queue_limit.start.value,
                timeout,
                profile.slo_ms.as_ref().map(|slo| slo.value),
            )
        };
        assert_eq!(
            figures("web"),
            ((10, 10, 100), 1000, (30_000, 1_000, 60_000), Some(1_000))
        );
        assert_eq!(
            figures("api"),
            ((20, 5, 50), 5000, (60_000, 2_000, 300_000), Some(2_000))
        );
        assert_eq!(
            figures("background"),
            (
                (50, 5, 200),
                10_000,
                (300_000, 30_000, 600_000),
                Some(30_000)
            )
        );
        assert_eq!(
            figures("default"),
            ((2, 2, 10), 1000, (30_000, 1_000, 300_000), Some(1_000))
        );
        let other = |profile: &str, knob: &str| profiles[profile].others[knob].value.clone();
        assert_eq!(
            other("web", "memory_level"),
            KnobValue::Choice("conservative".to_owned())
        );
        assert_eq!(
            other("api", "memory_level"),
            KnobValue::Choice("moderate".to_owned())
        );
        assert_eq!(
            other("background", "memory_level"),
            KnobValue::Choice("aggressive".to_owned())
        );
        assert_eq!(other("web", "slab"), KnobValue::Integer(1024));
        assert_eq!(other("api", "object_pool"), KnobValue::Integer(200));
        assert_eq!(other("api", "cleanup"), KnobValue::Integer(600_000));
        assert_eq!(other("default", "idle"), KnobValue::Integer(60_000));
        for profile in profiles.values() {
            assert_eq!(profile.changes_per_window.value, 10);
            assert_eq!(profile.change_window.value.as_ms(), 60_000);
        }
    }

    #[test]
    fn a_decision_can_cite_the_line_of_a_built_in_profile() {
        let config = check_config(MINIMAL, &Overrides::default()).expect("it is valid");
        let citation = &config.settings.profiles["web"].workers.max.citation;
        let text = include_str!("../../profiles/web.toml");
        let line = text
            .lines()
            .nth(usize::try_from(citation.line).expect("small") - 1);
        assert_eq!(line, Some("max = 100"));
        assert_eq!(
            (
                citation.key.as_str(),
                citation.file.as_str(),
                citation.column
            ),
            ("workers.max", "built-in/web.toml", 7)
        );
    }
}

mod reports {
    use super::*;

    #[test]
    fn a_profile_with_five_mistakes_reports_five() {
        let text = r#"slo = "2 seconds"

[workers]
start = 10
min = 200
max = 100

[queue_limit]
start = -5
min = 1
max = 10
maxx = 11

[timeout]
start = "2m"
min = "1s"
max = "60s"
"#;
        let errors = check_profile("shop", text).expect_err("it is wrong");
        assert_eq!(errors.count(), 5);
        assert_eq!(places(&errors), [(1, 7), (5, 7), (9, 9), (12, 1), (15, 9)]);
        insta::assert_snapshot!(errors.to_string());
    }

    #[test]
    fn a_misspelt_key_that_is_missing_is_one_mistake() {
        let text = include_str!("../../profiles/web.toml").replace("max = 100\n", "maxi = 100\n");
        let errors = check_profile("web", &text).expect_err("it is wrong");
        assert_eq!(errors.count(), 1);
        insta::assert_snapshot!(errors.to_string());
    }

    #[test]
    fn missing_tables_and_wrong_types_are_each_reported() {
        let text = r#"
queue_limit = 1000
[workers]
start = 1.5
min = nan
max = inf
[other_knobs]
timeout_ms = 5
slab = "1 kb"
Batch = 3
memory_level = ["aggressive"]
[changes]
per_window = 40
window = 60
"#;
        insta::assert_snapshot!(report(check_profile("shop", text)));
    }

    #[test]
    fn a_key_that_is_set_twice_is_reported_with_both_places_and_the_rest_is_read() {
        let text = "mode = \"advise\"\nmode = \"act\"\ninterval = \"5ms\"\n[[hosts]]\nid = \"a\"\nsocket = \"s\"\n[log]\n[log]\n";
        insta::assert_snapshot!(report(check_config(text, &Overrides::default())));
    }

    #[test]
    fn a_mistake_of_syntax_is_one_finding() {
        let text = "mode = act\ninterval = = 5\n[[hosts\n";
        let errors = check_config(text, &Overrides::default()).expect_err("it is wrong");
        assert_eq!(errors.count(), 1);
        insta::assert_snapshot!(errors.to_string());
    }

    #[test]
    fn a_configuration_with_many_mistakes_reports_them_all() {
        let text = r#"
mode = "acts"
interval = 1
colour = true

[[hosts]]
id = "My Shop"
socket = ""
call_deadline = "2s"
pools = { checkout = "wep", "a b" = "web", mail = 7 }

[serve]
address = "0.0.0.0:80"
allowed_hosts = ["ok.example.net", "http://x", 5]

[ledger]
max_bytes = "1KB"

[lease]
ttl = "61s"
holder = "a b"

[log]
level = "verbose"
"#;
        insta::assert_snapshot!(report(check_config(text, &Overrides::default())));
    }

    #[test]
    fn a_lease_that_ends_between_two_ticks_is_refused_in_mode_act_only() {
        let text = format!("mode = \"act\"\ninterval = \"4s\"\n{MINIMAL}[lease]\nttl = \"5s\"\n");
        insta::assert_snapshot!(report(check_config(&text, &Overrides::default())));
        let text = text.replace("act", "advise");
        assert!(check_config(&text, &Overrides::default()).is_ok());
    }

    #[test]
    fn more_than_one_host_is_refused_with_both_places() {
        let text = format!("{MINIMAL}{MINIMAL}");
        insta::assert_snapshot!(report(check_config(&text, &Overrides::default())));
    }

    #[test]
    fn a_wrong_override_is_reported_like_a_wrong_line() {
        let mut overrides = Overrides::from_vars([
            ("TRIMTAB__INTERVAL".into(), "fast".into()),
            ("TRIMTAB__PROFILE__WEB__WORKERS__MAX".into(), "5".into()),
        ]);
        overrides.set("mode", "--mode", "avdise");
        insta::assert_snapshot!(report(check_config(MINIMAL, &overrides)));
    }

    #[test]
    fn a_rules_mistakes_are_shown_within_its_condition() {
        let text = r#"
[levels]
moderate = 0.3
maximum = "40%"
[memory]
level = "90%"
step_down = "101%"
[[triggers]]
when = "cpu > 80 and taks > 10 or (queue_wait_p95 > 5%)"
do = "grow"
[[triggers]]
when = "cpu > 80% andd memory > 10%"
do = "shrnk"
benefit = "money"
[[triggers]]
do = "set workers"
because = ""
wen = "cpu > 1%"
"#;
        let whole = include_str!("../../profiles/web.toml");
        let start = whole
            .split("# From which load")
            .next()
            .expect("it has levels");
        insta::assert_snapshot!(report(check_profile("web", &format!("{start}{text}"))));
    }

    #[test]
    fn a_variable_that_no_key_answers_to_is_a_mistake() {
        let vars = [
            ("TRIMTAB__INTERVALL".into(), "1s".into()),
            ("TRIMTAB__PROFILE__WEB__WORKERS__MAXI".into(), "80".into()),
            // The names of services make such variables.
            ("TRIMTAB_PORT".into(), "tcp://10.0.0.1:80".into()),
        ];
        insta::assert_snapshot!(report(check_config(MINIMAL, &Overrides::from_vars(vars))));
    }

    #[test]
    fn text_that_steers_a_terminal_is_shown_and_not_obeyed() {
        for text in [
            "mode = \"\\u001b[2J\"\n",
            "mode = \"\u{1b}[2J\"\n",
            "\"\\u001b[2J\" = 1\n",
            "mode = \"\u{202e}\u{9b}\"\n",
        ] {
            let errors = check_config(text, &Overrides::default()).expect_err("it is wrong");
            let report = errors.to_string();
            let bad = |char: char| (char.is_control() && char != '\n') || char == '\u{202e}';
            assert!(!report.contains(bad), "{report:?}");
        }
    }

    #[test]
    fn the_same_findings_are_there_for_programs() {
        let text = "mode = \"act\"\ninterval = \"5ms\"\n";
        let errors = check_config(text, &Overrides::default()).expect_err("it is wrong");
        insta::assert_json_snapshot!(errors.list());
    }
}

mod files {
    use super::*;

    fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, text).expect("the directory is ours");
        path
    }

    #[test]
    fn problems_of_all_files_come_in_one_report() {
        let directory = tempfile::tempdir().expect("there is room");
        let profiles = directory.path().join("profiles");
        std::fs::create_dir(&profiles).expect("the directory is ours");
        write(&profiles, "web.toml", "slo = 5\n");
        write(&profiles, "Web 2.toml", "");
        write(&profiles, "night.toml", "this is not toml\n");
        write(&profiles, "notes.txt", "not ours");
        std::fs::create_dir(profiles.join("odd.toml")).expect("the directory is ours");
        let text =
            format!("profiles = \"profiles\"\n{MINIMAL}pools = {{ a = \"night\" }}\nx = 1\n");
        let path = write(directory.path(), "trimtab.toml", &text);
        let errors = load(Some(&path), &Overrides::default()).expect_err("they are wrong");
        let text = errors
            .to_string()
            .replace(&directory.path().display().to_string(), "DIR");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn own_profiles_replace_built_in_ones_and_add_to_them() {
        let directory = tempfile::tempdir().expect("there is room");
        let web = include_str!("../../profiles/web.toml").replace("max = 100\n", "max = 90\n");
        write(directory.path(), "web.toml", &web);
        write(directory.path(), "night.toml", &web);
        let text = format!("profiles = \".\"\n{MINIMAL}pools = {{ a = \"night\" }}\n");
        let path = write(directory.path(), "sub.conf", &text);
        let config = load(Some(&path), &Overrides::default()).expect("it is valid");
        let names: Vec<&str> = config
            .settings
            .profiles
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(names, ["api", "background", "default", "night", "web"]);
        assert_eq!(config.settings.profiles["web"].workers.max.value, 90);
        assert_eq!(config.files.len(), 3);
    }

    #[test]
    fn drop_ins_outrank_the_file_in_the_order_of_their_names_and_overrides_outrank_both() {
        let directory = tempfile::tempdir().expect("there is room");
        let text =
            format!("mode = \"observe\"\ninterval = \"2s\"\n{MINIMAL}[log]\nlevel = \"warn\"\n");
        let path = write(directory.path(), "trimtab.toml", &text);
        let drop_ins = directory.path().join("trimtab.d");
        std::fs::create_dir(&drop_ins).expect("the directory is ours");
        write(&drop_ins, "20-late.toml", "interval = \"4s\"\n");
        write(
            &drop_ins,
            "10-early.toml",
            "interval = \"3s\"\nmode = \"act\"\n[[hosts]]\ncall_deadline = \"100ms\"\n",
        );
        write(&drop_ins, "30.conf", "not read");
        let vars = [("TRIMTAB__MODE".into(), "advise".into())];
        let config = load(Some(&path), &Overrides::from_vars(vars)).expect("it is valid");
        assert_eq!(config.settings.interval.as_ms(), 4_000);
        assert_eq!(config.settings.mode, Mode::Advise);
        assert_eq!(config.call_deadline.as_millis(), 100);
        assert_eq!(config.settings.host.as_str(), "shop");
        assert_eq!(config.files.len(), 3);
        let origin = |key: &str| {
            let citation = &config.origins[key];
            let file = Path::new(&citation.file);
            let name = file.file_name().expect("a name").to_string_lossy();
            format!("{name}:{}", citation.line)
        };
        assert_eq!(origin("interval"), "20-late.toml:1");
        assert_eq!(origin("mode"), "$TRIMTAB__MODE:1");
        assert_eq!(origin("hosts.call_deadline"), "10-early.toml:4");
        assert_eq!(origin("log.level"), "trimtab.toml:7");
        write(&drop_ins, "20-late.toml", "interval = 4\nmood = 1\n");
        write(&drop_ins, "40.toml", "= 1\n");
        let errors = load(Some(&path), &Overrides::default()).expect_err("it is wrong");
        assert!(errors.to_string().contains("40.toml:1:1"), "{errors}");
        write(&drop_ins, "40.toml", "");
        let errors = load(Some(&path), &Overrides::default()).expect_err("it is wrong");
        assert_eq!(errors.count(), 2, "{errors}");
    }

    #[test]
    fn what_is_not_a_readable_text_is_refused() {
        let directory = tempfile::tempdir().expect("there is room");
        let large = write(directory.path(), "large.toml", &"#".repeat(256 * 1024 + 1));
        let binary = directory.path().join("binary.toml");
        std::fs::write(&binary, b"mode = \"\xff\"").expect("the directory is ours");
        let none = directory.path().join("none.toml");
        for (path, title) in [
            (large, "is larger than 256 KiB"),
            (binary, "the file is not UTF-8 text"),
            (none, "cannot read"),
            (directory.path().to_path_buf(), "is not a regular file"),
        ] {
            let errors = load(Some(&path), &Overrides::default()).expect_err("it is wrong");
            assert_eq!(errors.count(), 1);
            assert!(errors.list()[0].message.contains(title), "{errors}");
        }
    }

    #[test]
    fn without_a_file_the_socket_alone_is_enough() {
        let errors = load(None, &Overrides::default()).expect_err("there is no host");
        assert_eq!(errors.count(), 1);
        let mut overrides = Overrides::default();
        overrides.set("host.socket", "--socket", "/run/x.sock");
        let config = load(None, &overrides).expect("it is enough");
        assert_eq!(config.control, HostPlace::from(Path::new("/run/x.sock")));
        assert_eq!(config.settings.host.as_str(), "host");
        assert_eq!(config.settings.mode, Mode::Advise);
    }
}

mod values {
    use super::*;

    #[test]
    fn an_override_outranks_the_file_and_an_option_outranks_a_variable() {
        let vars = [
            ("TRIMTAB__MODE".into(), "observe".into()),
            ("TRIMTAB__SERVE__ADDRESS".into(), "[::1]:0".into()),
            (
                "TRIMTAB__SERVE__ALLOWED_HOSTS".into(),
                "a.example, b.example".into(),
            ),
            ("TRIMTAB__HOST__SOCKET".into(), "here.sock".into()),
            ("TRIMTAB__PROFILE__WEB__WORKERS__MAX".into(), "80".into()),
            (
                "TRIMTAB__PROFILE__WEB__OTHER_KNOBS__OBJECT_POOL".into(),
                "7".into(),
            ),
            (
                "TRIMTAB__PROFILE__WEB__OTHER_KNOBS__BATCH".into(),
                "9".into(),
            ),
            (
                "TRIMTAB__PROFILE__WEB__TRIGGERS__0__WHEN".into(),
                "tasks > 5".into(),
            ),
            ("TRIMTAB__HOST__POOLS__CHECKOUT".into(), "api".into()),
            ("TRIMTAB__LOG__LEVEL".into(), String::new().into()),
            ("HOME".into(), "/root".into()),
        ];
        let mut overrides = Overrides::from_vars(vars);
        overrides.set("mode", "--mode", "act");
        let config = check_config(MINIMAL, &overrides).expect("it is valid");
        assert_eq!(config.settings.mode, Mode::Act);
        assert_eq!(config.serve.address.to_string(), "[::1]:0");
        assert_eq!(config.serve.allowed_hosts, ["a.example", "b.example"]);
        assert_eq!(config.control, HostPlace::from(Path::new("here.sock")));
        assert_eq!(config.log, LogConfig::default());
        let web = &config.settings.profiles["web"];
        assert_eq!(web.workers.max.value, 80);
        assert_eq!(
            web.workers.max.citation.file,
            "$TRIMTAB__PROFILE__WEB__WORKERS__MAX"
        );
        assert_eq!(web.others["object_pool"].value, KnobValue::Integer(7));
        assert_eq!(web.others["batch"].value, KnobValue::Integer(9));
        assert_eq!(web.triggers[0].when.value.text(), "tasks > 5");
        assert_eq!(config.settings.assigned["checkout"], "api");
    }

    #[test]
    fn relative_paths_are_relative_to_the_file() {
        let text = "[[hosts]]\nid = \"a\"\nsocket = \"a.sock\"\n";
        let config = check_config(text, &Overrides::default()).expect("it is valid");
        assert_eq!(config.control, HostPlace::from(Path::new("etc/a.sock")));
        assert_eq!(config.ledger.directory, Path::new("etc/trimtab-ledger"));
    }

    #[test]
    fn what_follows_from_the_interval_follows_it() {
        for (interval, deadline, ttl) in [
            ("100ms", 100, 5_000),
            ("1s", 500, 5_000),
            ("10s", 500, 30_000),
            ("60s", 500, 60_000),
        ] {
            let text = format!("interval = \"{interval}\"\n{MINIMAL}");
            let config = check_config(&text, &Overrides::default()).expect("it is valid");
            assert_eq!(config.call_deadline.as_millis(), deadline, "{interval}");
            assert_eq!(config.lease_ttl.as_millis(), ttl, "{interval}");
        }
    }

    #[test]
    fn bounds_are_read_at_their_edges() {
        for (interval, good) in [
            ("99ms", false),
            ("100ms", true),
            ("1m", true),
            ("60001ms", false),
        ] {
            let text = format!("interval = \"{interval}\"\n{MINIMAL}");
            assert_eq!(
                check_config(&text, &Overrides::default()).is_ok(),
                good,
                "{interval}"
            );
        }
        for (address, good) in [
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("10.0.0.1:1", false),
            ("[::]:1", false),
            ("localhost:1", false),
        ] {
            let text = format!("{MINIMAL}[serve]\naddress = \"{address}\"\n");
            assert_eq!(
                check_config(&text, &Overrides::default()).is_ok(),
                good,
                "{address}"
            );
        }
    }
}

mod any_input;
mod serve;
