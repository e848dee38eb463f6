use super::*;
use proptest::prelude::*;

fn holds(text: &str, figures: &[(Signal, f64)]) -> Truth {
    let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let mut signals = SignalSet::default();
    for (signal, value) in figures {
        signals.set(*signal, Some(*value));
    }
    expression.evaluate(&signals)
}

fn problems(text: &str) -> Vec<(String, String)> {
    let error = Expression::parse(text).expect_err(text);
    let told = |problem: Problem| {
        let marked = text[problem.span.clone()].to_owned();
        (marked, problem.title)
    };
    error.problems.into_iter().map(told).collect()
}

#[test]
fn conditions_with_units_hold_when_their_figures_say_so() {
    for (text, signal, below, above) in [
        ("cpu > 80%", Signal::Cpu, 0.8, 0.81),
        ("tasks > 10_000", Signal::Tasks, 10_000.0, 10_001.0),
        ("queue_wait_p95 > 50ms", Signal::QueueWaitP95, 0.05, 0.051),
        ("throughput >= 100/s", Signal::Throughput, 99.9, 100.0),
        ("rss > 1.5GiB", Signal::Rss, 1.6e9, 1.7e9),
        ("load > 0.8", Signal::Load, 0.8, 0.81),
        ("load > 80%", Signal::Load, 0.8, 0.81),
        ("not response_p99 <= 2m", Signal::ResponseP99, 120.0, 121.0),
    ] {
        assert_eq!(holds(text, &[(signal, below)]), Truth::Fails, "{text}");
        assert_eq!(holds(text, &[(signal, above)]), Truth::Holds, "{text}");
        assert_eq!(holds(text, &[]), Truth::Unknown, "{text}");
    }
}

#[test]
fn a_microsecond_count_equals_the_literal_that_it_is() {
    let figures = [(Signal::QueueWaitP95, 50_000.0 / 1e6)];
    assert_eq!(holds("queue_wait_p95 >= 50ms", &figures), Truth::Holds);
    assert_eq!(holds("queue_wait_p95 > 50ms", &figures), Truth::Fails);
}

#[test]
fn what_is_absent_is_unknown_and_never_zero() {
    let cpu = [(Signal::Cpu, 0.9)];
    assert_eq!(holds("tasks < 10", &cpu), Truth::Unknown);
    assert_eq!(holds("not tasks < 10", &cpu), Truth::Unknown);
    assert_eq!(holds("cpu > 80% and tasks < 10", &cpu), Truth::Unknown);
    assert_eq!(holds("cpu > 80% or tasks < 10", &cpu), Truth::Holds);
    assert_eq!(holds("cpu < 80% and tasks < 10", &cpu), Truth::Fails);
    assert_eq!(holds("cpu < 80% or tasks < 10", &cpu), Truth::Unknown);
    assert_eq!(
        holds("cpu > 80%", &[(Signal::Cpu, f64::NAN)]),
        Truth::Unknown
    );
    assert_eq!(
        holds("cpu > 80%", &[(Signal::Cpu, f64::INFINITY)]),
        Truth::Unknown
    );
}

#[test]
fn a_division_by_nothing_is_unknown() {
    let figures = [(Signal::Queued, 3.0), (Signal::Throughput, 0.0)];
    assert_eq!(holds("queued / throughput > 2s", &figures), Truth::Unknown);
}

#[test]
fn arithmetic_binds_as_on_paper() {
    let figures = [
        (Signal::Busy, 9.0),
        (Signal::Workers, 10.0),
        (Signal::Queued, 4.0),
    ];
    for text in [
        "busy / workers > 80%",
        "busy > 80% * workers",
        "busy + queued * 2 == 17",
        "(busy + queued) * 2 == 26",
        "busy - queued - 1 == 4",
        "-busy < -8 and workers / 2 / 5 >= 1",
        "queued != 5",
        "1 > 2 or 1 < 2 and 3 < 4",
        "not 1 > 2 and not (1 > 2 or 2 > 3)",
        "queued / 2/s >= 2s",
    ] {
        assert_eq!(holds(text, &figures), Truth::Holds, "{text}");
    }
}

#[test]
fn figures_of_different_quantities_are_told_apart() {
    let case = |text: &str, marked: &str, title: &str| {
        assert_eq!(
            problems(text),
            [(marked.to_owned(), title.to_owned())],
            "{text}"
        );
    };
    case("cpu > 80", "80", "a share is compared with a count");
    case("cpu > 50ms", "50ms", "a share is compared with a duration");
    case("tasks > 80%", "80%", "a count is compared with a share");
    case("throughput > 100", "100", "a rate is compared with a count");
    case(
        "cpu + tasks > 3",
        "cpu + tasks",
        "a count cannot be added to a share",
    );
    case(
        "queue_wait_p95 * timeout > 1s",
        "queue_wait_p95 * timeout",
        "a duration cannot be multiplied by a duration",
    );
    case("cpu == 80%", "==", "a share is never exactly another");
    case("cpu", "cpu", "this is no condition");
    case("cpu > 1% and tasks", "tasks", "this is no condition");
    case(
        "(cpu > 1%) > 2%",
        "(cpu > 1%)",
        "this is a condition and no figure",
    );
}

#[test]
fn a_bare_number_is_told_with_the_unit_that_was_meant() {
    for (text, help) in [
        ("cpu > 80", "did you mean `80%`?"),
        ("cpu > 0.8", "did you mean `80%`?"),
        ("timeout < 30", "did you mean `30s`?"),
        ("goodput < 5", "did you mean `5/s`?"),
        ("tasks > 10k", "did you mean `KiB`?"),
        ("timeout < 30sec", "did you mean `s`?"),
        ("cpu > 80% && tasks > 1", "write `and`"),
    ] {
        let error = Expression::parse(text).expect_err(text);
        assert_eq!(error.problems[0].help.as_deref(), Some(help), "{text}");
    }
}

#[test]
fn all_wrong_figures_of_a_condition_are_told_at_once() {
    assert_eq!(
        problems("cpux > 80% and tasks > 5ms or memory > 70"),
        [
            ("cpux".to_owned(), "there is no signal `cpux`".to_owned()),
            (
                "5ms".to_owned(),
                "a count is compared with a duration".to_owned()
            ),
            (
                "70".to_owned(),
                "a share is compared with a count".to_owned()
            ),
        ]
    );
}

#[test]
fn mistakes_of_grammar_are_told_with_their_place() {
    for (text, start) in [
        ("", 0),
        ("cpu >", 5),
        ("cpu > 80% tasks", 10),
        ("(cpu > 80%", 10),
        ("1 < 2 < 3", 6),
        ("cpu > and", 6),
        ("cpu > 5§", 7),
        ("and", 0),
    ] {
        let error = Expression::parse(text).expect_err(text);
        assert_eq!(error.problems.len(), 1, "{text}: {error}");
        assert_eq!(error.problems[0].span.start, start, "{text}: {error}");
    }
}

#[test]
fn nesting_and_length_have_an_end() {
    let deep = format!("{}1{} > 0", "(".repeat(33), ")".repeat(33));
    let wide = format!("{}1{} > 0", "1 + (".repeat(16), ")".repeat(16));
    let long = format!("cpu > 1%{}", " or cpu > 1%".repeat(100));
    for text in [deep, wide, long, "not ".repeat(200), "-".repeat(500)] {
        assert!(Expression::parse(&text).is_err(), "{text}");
    }
    let fits = format!("{}1{} > 0", "1 + (".repeat(14), ")".repeat(14));
    assert_eq!(holds(&fits, &[]), Truth::Holds);
}

#[test]
fn a_condition_is_written_and_read_as_its_text() {
    let text = "cpu > 80% and tasks > 10000";
    let expression = Expression::parse(text).expect("it is good");
    let json = serde_json::to_string(&expression).expect("it is text");
    assert_eq!(json, format!("{text:?}"));
    assert_eq!(
        serde_json::from_str::<Expression>(&json).expect("it is good"),
        expression
    );
    assert!(serde_json::from_str::<Expression>("\"cpu > 80\"").is_err());
    let names: Vec<&str> = expression.signals().map(Signal::name).collect();
    assert_eq!(names, ["cpu", "tasks"]);
}

#[test]
fn no_two_signals_share_a_name_and_each_has_a_meaning() {
    let names: std::collections::BTreeSet<&str> = Vocabulary::Signals.words().collect();
    assert_eq!(names.len(), Signal::ALL.len());
    for signal in Signal::ALL {
        assert_eq!(Signal::named(signal.name()), Some(*signal));
        assert!(signal.meaning().ends_with('.'), "{}", signal.name());
    }
}

/// Conditions with the truth that plain Rust finds for them.
fn condition() -> impl Strategy<Value = (String, bool)> {
    let leaf = (0_u32..20, 0_u32..20, 0_usize..4).prop_map(|(left, right, sign)| match sign {
        0 => (format!("{left} < {right}"), left < right),
        1 => (format!("{left} >= {right}"), left >= right),
        2 => (format!("{left} == {right}"), left == right),
        _ => (format!("{left}+{right} > 2 * {right}"), left > right),
    });
    leaf.prop_recursive(4, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone())
                .prop_map(|((a, x), (b, y))| (format!("({a}) and ({b})"), x && y)),
            (inner.clone(), inner.clone())
                .prop_map(|((a, x), (b, y))| (format!("({a} or {b})"), x || y)),
            inner.prop_map(|(a, x)| (format!("not ({a})"), !x)),
        ]
    })
}

proptest! {
    #[test]
    fn conditions_agree_with_plain_arithmetic((text, expected) in condition()) {
        if text.len() <= TEXT_BYTES_MAX {
            let expected = if expected { Truth::Holds } else { Truth::Fails };
            prop_assert_eq!(holds(&text, &[]), expected, "{}", text);
        }
    }

    #[test]
    fn any_text_is_read_or_told(text in "[a-z0-9%/().<>=+*! é_-]{0,60}") {
        if let Err(error) = Expression::parse(&text) {
            prop_assert!(!error.problems.is_empty());
            for problem in error.problems {
                prop_assert!(text.get(problem.span).is_some());
            }
        }
    }

    /// Filling in a figure that was absent never turns a certain answer into the other one.
    #[test]
    fn what_is_certain_without_a_figure_stays_so_with_it(cpu in 0.0..2.0_f64, tasks in 0.0..20.0_f64, shape in 0_usize..5) {
        let text = [
            "cpu > 80% and tasks > 10",
            "cpu > 80% or tasks > 10",
            "not (cpu > 80% or tasks > 10)",
            "cpu * tasks > 5 or cpu > 90%",
            "not cpu > 50% and tasks / cpu > 3",
        ][shape];
        let without = holds(text, &[(Signal::Cpu, cpu)]);
        let with = holds(text, &[(Signal::Cpu, cpu), (Signal::Tasks, tasks)]);
        prop_assert!(without == Truth::Unknown || without == with, "{without:?} {with:?}");
    }
}
