//! What no input may do: panic, hang, or be taken in silence.

use super::*;

#[test]
fn a_file_of_nothing_but_mistakes_is_reported_in_part() {
    let unknown: String = (0..20_000).map(|n| format!("k{n} = 1\n")).collect();
    for text in [unknown, "mode = 1\n".repeat(20_000)] {
        let errors = check_config(&text, &Overrides::default()).expect_err("it is wrong");
        assert_eq!(errors.count(), 101);
    }
}

#[test]
fn nesting_without_end_is_refused_and_not_followed() {
    let dotted = format!("{}a = 1", "a.".repeat(100_000));
    let header = format!("[{}a]", "a.".repeat(100_000));
    let lists = "a = ".to_owned() + &"[".repeat(200_000);
    let tables = "a = ".to_owned() + &"{a=".repeat(80_000);
    for text in [dotted, header, lists, tables] {
        let errors = check_config(&text, &Overrides::default()).expect_err("it is wrong");
        assert!(errors.count() > 0);
        assert!(!errors.to_string().is_empty());
    }
}

/// Lines that are near to valid ones, so that the reader is reached and not only the parser.
fn line() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("mode"),
        Just("interval"),
        Just("profiles"),
        Just("hosts"),
        Just("serve"),
        Just("workers"),
        Just("start"),
        Just("min"),
        Just("max"),
        Just("slo"),
        Just("changes"),
        Just("per_window"),
        Just("window"),
        Just("other_knobs"),
        Just("id"),
        Just("socket"),
        Just("pools"),
        Just("address"),
        Just("\"é\\u0000\""),
        Just("a.b"),
        Just("ttl"),
    ];
    let value = prop_oneof![
        Just("1".to_owned()),
        Just("-1".to_owned()),
        Just("nan".to_owned()),
        Just("\"5s\"".to_owned()),
        Just("\"1KiB\"".to_owned()),
        Just("[]".to_owned()),
        Just("[[1], {}]".to_owned()),
        Just("{ start = 3 }".to_owned()),
        Just("1979-05-27".to_owned()),
        Just("0xffffffffffffffffffff".to_owned()),
        Just("\"act\"".to_owned()),
        Just("\"\u{202e}é\"".to_owned()),
        Just("true".to_owned()),
    ];
    (key, value, 0..4).prop_map(|(key, value, shape)| match shape {
        0 => format!("[{key}]"),
        1 => format!("[[{key}]]"),
        _ => format!("{key} = {value}"),
    })
}

proptest! {
    #[test]
    fn bytes_give_a_profile_or_a_report(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(errors) = check_bytes("any", &bytes, &Overrides::default()) {
            prop_assert!(errors.count() > 0);
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn lines_give_a_configuration_or_a_report(lines in proptest::collection::vec(line(), 0..12)) {
        let text = lines.join("\n");
        for errors in [
            check_config(&text, &Overrides::default()).err(),
            check_profile("any", &text).err(),
        ].into_iter().flatten() {
            prop_assert!(errors.count() > 0);
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn overrides_give_a_configuration_or_a_report(value in ".{1,30}", variable in 0usize..6) {
        let name = ["MODE", "INTERVAL", "SERVE__ADDRESS", "HOST__SOCKET", "HOST__POOLS__X", "PROFILE__API__TIMEOUT__MAX"][variable];
        let vars = [(format!("TRIMTAB__{name}").into(), value.into())];
        if let Err(errors) = check_config(MINIMAL, &Overrides::from_vars(vars)) {
            prop_assert!(errors.count() > 0);
            prop_assert!(!errors.to_string().is_empty());
        }
    }
}
