use super::*;

const PLATEAU: &str = r#"name = "plateau"
duration = "300s"
start = 8
min = 1
max = 512
operator = 64
slo = "300ms"
queue_limit = 2000
queue_deadline = "75ms"
[plant]
work = { dist = "lognormal", mean = "50ms", cv = 1.0 }
capacity = 24
[load]
points = [["0s", 0.5], ["20s", 0.5], ["20s", 1.5], ["40s", 2]]
period = "40s"
"#;

fn parsed(text: &str) -> Scenario {
    Scenario::parse(text, "file.toml").expect("a scenario")
}

fn error(text: &str) -> String {
    Scenario::parse(text, "file.toml")
        .expect_err("wrong")
        .to_string()
}

#[test]
fn the_load_is_a_multiple_of_the_peak_and_linear_between_points() {
    let scenario = parsed(PLATEAU);
    let load = &scenario.pools[0].load;
    let peak = 24.0 / 0.05;
    for (time, multiple) in [
        (0.0, 0.5),
        (19.9, 0.5),
        (20.0, 1.5),
        (30.0, 1.75),
        (50.0, 0.5),
        (70.0, 1.75),
    ] {
        let rate = load.rate(time);
        assert!((rate - multiple * peak).abs() < 1e-6, "{time}: {rate}");
    }
    assert_eq!(scenario.turning_points()[..4], [20.0, 40.0, 60.0, 80.0]);
    assert_eq!(scenario.pools[0].timeout.to_bits(), 30_f64.to_bits());
}

#[test]
fn an_error_names_line_and_column() {
    let cases = [
        (
            "slo = \"300ms\"",
            "slo = \"300\"",
            "file.toml:7:7: `300` is no duration",
        ),
        ("max = 512", "max = 0", "file.toml:5:7: `max` is at least 1"),
        (
            "min = 1\n",
            "min = 600\n",
            "file.toml:5:7: max 512 is below min 600",
        ),
        (
            "operator = 64",
            "operater = 64",
            "file.toml:6:1: unknown field `operater`",
        ),
        (
            "operator = 64\n",
            "",
            "file.toml:1:1: missing key `operator`",
        ),
        (
            "\"lognormal\"",
            "\"normal\"",
            "file.toml:11:17: `normal` is no distribution",
        ),
        (
            "capacity = 24",
            "capacity = -1",
            "file.toml:12:12: `capacity` is a number above 0",
        ),
        (
            "[\"20s\", 1.5]",
            "[\"19s\", 1.5]",
            "file.toml:14:39: a point before",
        ),
        ("start = 8", "start = \"8\"", "file.toml:3:9: invalid type"),
        ("[load]", "[load", "file.toml:13:6: "),
    ];
    for (right, wrong, expected) in cases {
        assert!(PLATEAU.contains(right), "{right}");
        let message = error(&PLATEAU.replacen(right, wrong, 1));
        assert!(
            message.starts_with(expected),
            "{message}\nexpected {expected}"
        );
    }
}

#[test]
fn an_event_needs_its_keys() {
    let with = |event: &str| format!("{PLATEAU}[[event]]\nat = \"5s\"\nfor = \"9s\"\n{event}\n");
    for (event, expected) in [
        (
            "kind = \"override\"",
            "file.toml:16:1: missing key `workers`",
        ),
        (
            "kind = \"stall\"\nshare = 2.0",
            "file.toml:20:9: `share` is a share",
        ),
        (
            "kind = \"quake\"",
            "file.toml:19:8: `quake` is no kind of event",
        ),
        (
            "kind = \"hang\"\npool = \"web\"",
            "file.toml:20:8: there is no pool `web`",
        ),
    ] {
        let message = error(&with(event));
        assert!(
            message.starts_with(expected),
            "{message}\nexpected {expected}"
        );
    }
    let scenario = parsed(&with("kind = \"plant\"\ncapacity = 60"));
    let EventKind::Plant(plants) = &scenario.events[0].kind else {
        panic!("{:?}", scenario.events);
    };
    assert_eq!(plants[0].capacity, Some(60.0));
    assert_eq!(plants[0].work, scenario.pools[0].plant.work);
}

#[test]
fn every_scenario_of_the_repository_is_read() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios");
    let files = files(&directory).expect("readable");
    assert_eq!(files.len(), 19);
    for file in files {
        let scenario = Scenario::read(&file).expect("a scenario");
        assert_eq!(file.file_stem().expect("named"), scenario.name.as_str());
        let pools = if scenario.name == "three-pools" { 3 } else { 1 };
        assert_eq!(scenario.pools.len(), pools);
    }
}
