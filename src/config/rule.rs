//! The rules of a profile: from which load on how much may change, what is done as memory runs short, and its triggers.

use super::error::Finding;
use super::profile::other_value;
use super::raw::{Found, Spot};
use super::section::{Given, Raw, Section, closest, list, shorten};
use super::unit::Unit;
use super::value::{NumberRule, TextRule, contradiction};
use trimtab_core::expression::{Expression, Problem};
use trimtab_core::moment::Span;
use trimtab_core::profile::{Benefit, Cited, Levels, MemoryLadder, Trigger, TriggerAction};
use trimtab_protocol::name::{KnobName, is_plain_name};

/// The most triggers of a profile; each is looked at in every sample.
const TRIGGERS_MAX: usize = 32;

/// Hundredths of a percent that make a whole.
const WHOLE: f64 = 10_000.0;

const fn share(key: &'static str, min: u64, why: &'static str) -> NumberRule {
    NumberRule {
        key,
        unit: Unit::Share,
        min,
        max: 10_000,
        why,
    }
}

const LEVEL_WHY: &str = "a load is a share of what there is, and at none there is nothing to learn";
const LEVELS: [NumberRule; 3] = [
    share("moderate", 100, LEVEL_WHY),
    share("aggressive", 100, LEVEL_WHY),
    share("maximum", 100, LEVEL_WHY),
];

const LADDER_WHY: &str =
    "it is a share of the memory limit; below a tenth every service lives above it";
const LADDER: [NumberRule; 3] = [
    share("level", 1_000, LADDER_WHY),
    share("no_growth", 1_000, LADDER_WHY),
    share("step_down", 1_000, LADDER_WHY),
];

/// From which load on how bold a change may be.
pub(super) fn levels(root: &mut Section<'_>) -> Levels {
    let default = Levels::default();
    let defaults = [default.moderate, default.aggressive, default.maximum];
    let why = "allowed: moderate < aggressive < maximum; a level that begins at once with the next one is never in force";
    let [moderate, aggressive, maximum] = rising(root, "levels", &LEVELS, defaults, true, why);
    Levels {
        moderate,
        aggressive,
        maximum,
    }
}

/// What is done as memory runs short.
pub(super) fn ladder(root: &mut Section<'_>) -> MemoryLadder {
    let default = MemoryLadder::default();
    let defaults = [default.level, default.no_growth, default.step_down];
    let why = "allowed: level <= no_growth <= step_down; what costs least comes first";
    let [level, no_growth, step_down] = rising(root, "memory", &LADDER, defaults, false, why);
    MemoryLadder {
        level,
        no_growth,
        step_down,
    }
}

/// Three shares of which each is above the one before. Bad ones give the defaults, because their finding already refuses the
/// file.
fn rising(
    root: &mut Section<'_>,
    key: &'static str,
    rules: &[NumberRule; 3],
    defaults: [Cited<f64>; 3],
    strictly: bool,
    why: &str,
) -> [Cited<f64>; 3] {
    let mut table = root.section(key);
    let given = rules.each_ref().map(|rule| table.number(rule));
    let desk = table.desk;
    table.finish();
    let hundredths = |index: usize| {
        let found = given[index].as_ref().map(|found| found.value);
        found.unwrap_or_else(|| as_hundredths(defaults[index].value))
    };
    for (below, above) in [(0, 1), (1, 2)] {
        let (low, high) = (hundredths(below), hundredths(above));
        if low < high || (low == high && !strictly) {
            continue;
        }
        let names = (rules[below].key, rules[above].key);
        let title = format!("`{key}.{}` is not below `{key}.{}`", names.0, names.1);
        let finding = match (&given[below], &given[above]) {
            (Some(low), Some(high)) => contradiction(title, low, high, Unit::Share, why),
            (Some(found), None) | (None, Some(found)) => {
                let (other, value) = if found.value == low {
                    (names.1, high)
                } else {
                    (names.0, low)
                };
                let value = Unit::Share.show(value);
                Finding::new(title)
                    .at(
                        &found.spot,
                        format!("found {}", Unit::Share.show(found.value)),
                    )
                    .note(format!("`{key}.{other}` is {value} when it is left out"))
                    .note(why)
            }
            (None, None) => continue,
        };
        desk.report(finding);
    }
    let mut values = given.into_iter().zip(defaults);
    let mut next = || {
        values.next().map_or_else(
            || Cited::built_in(key, 0.0),
            |(given, default)| given.map_or(default, as_share),
        )
    };
    [next(), next(), next()]
}

fn as_share(found: Found<u64>) -> Cited<f64> {
    let Cited { value, citation } = found.cited();
    let value = f64::from(u32::try_from(value).unwrap_or(u32::MAX)) / WHOLE;
    Cited { value, citation }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a default is a share between 0 and 1"
)]
fn as_hundredths(share: f64) -> u64 {
    (share * WHOLE).round() as u64
}

const WHEN: TextRule = TextRule {
    key: "when",
    what: "a condition such as \"cpu > 80% and queued > 10\"",
    takes: |text| !text.is_empty(),
    why: "the trigger is followed while it holds",
};

const DO: TextRule = TextRule {
    key: "do",
    what: "`grow`, `shrink` or `set KNOB = VALUE`",
    takes: |text| !text.is_empty(),
    why: "it is what the trigger tries, and undoes when it did not help",
};

const BECAUSE: TextRule = TextRule {
    key: "because",
    what: "a sentence of 1 to 200 characters",
    takes: |text| (1..=200).contains(&text.chars().count()) && !text.chars().any(super::steers),
    why: "it stands in the decisions that follow the trigger",
};

const LASTING: NumberRule = NumberRule {
    key: "lasting",
    unit: Unit::Millis,
    min: 0,
    max: 3_600_000,
    why: "one moment says little, and what has not shown in an hour is another trigger",
};
const LASTING_DEFAULT_MS: u64 = 5_000;

const BENEFITS: [(&str, Benefit); 2] = [
    ("memory", Benefit::Memory),
    ("contention", Benefit::Contention),
];

/// The triggers, in the order of the file. Bad ones are reported and left out.
pub(super) fn triggers(root: &mut Section<'_>) -> Vec<Trigger> {
    let desk = root.desk;
    let variable = |index: usize| format!("triggers.{index}");
    let Some(tables) = root.sections("triggers", variable) else {
        return Vec::new();
    };
    if let Some(table) = tables.get(TRIGGERS_MAX) {
        let title = format!("a profile has {} triggers", tables.len());
        let finding = Finding::new(title).at(&table.heading(), "one too many");
        desk.report(finding.note(format!(
            "allowed: {TRIGGERS_MAX}; each is looked at in every sample"
        )));
        return Vec::new();
    }
    tables.into_iter().filter_map(trigger).collect()
}

fn trigger(mut table: Section<'_>) -> Option<Trigger> {
    let when = table
        .need_text(&WHEN)
        .and_then(|found| condition(&table, &found));
    let action = table
        .need_text(&DO)
        .and_then(|found| action(&table, &found));
    let lasting = table.number(&LASTING);
    let because = table.text(&BECAUSE);
    let benefit = table.word(
        "benefit",
        &BENEFITS,
        "it is what a smaller size is good for",
    );
    table.finish();
    Some(Trigger {
        when: when?,
        lasting: Span::from_ms(lasting.map_or(LASTING_DEFAULT_MS, |found| found.value)),
        action: action?,
        because: because.map_or_else(String::new, |found| found.value),
        benefit: benefit.map(|found| found.value),
    })
}

/// Reads a condition; each mistake is shown at its place within the quotes.
fn condition(table: &Section<'_>, found: &Found<String>) -> Option<Cited<Expression>> {
    match Expression::parse(&found.value) {
        Ok(value) => {
            let citation = found.spot.citation();
            Some(Cited { value, citation })
        }
        Err(error) => {
            for problem in &error.problems {
                table.desk.report(mistake(problem, found));
            }
            None
        }
    }
}

fn mistake(problem: &Problem, found: &Found<String>) -> Finding {
    let Spot { source, span, .. } = &found.spot;
    let span = match source.within_quotes(span, &found.value) {
        Some(start) => start + problem.span.start..start + problem.span.end,
        None => span.clone(),
    };
    let title = format!("`{}`: {}", found.spot.key, problem.title);
    let mut finding = Finding::new(title).at_span(source, span, problem.found.clone());
    if let Some(note) = &problem.note {
        finding = finding.note(note.clone());
    }
    let written = &found.value[problem.span.clone()];
    let meant = problem
        .unknown
        .and_then(|known| closest(written, known.words()));
    let help = problem.help.clone();
    match help.or_else(|| meant.map(|meant| format!("did you mean `{meant}`?"))) {
        Some(help) => finding.help(help),
        None => finding,
    }
}

/// `grow`, `shrink` or `set KNOB = VALUE`.
fn action(table: &Section<'_>, found: &Found<String>) -> Option<Cited<TriggerAction>> {
    let value = match found.value.trim() {
        "grow" => Some(TriggerAction::Grow),
        "shrink" => Some(TriggerAction::Shrink),
        other => other
            .strip_prefix("set ")
            .and_then(|rest| set(rest, &found.spot)),
    };
    let citation = found.spot.citation();
    if let Some(value) = value {
        return Some(Cited { value, citation });
    }
    let mut finding = Finding::new(format!("`{}` must be {}", found.spot.key, DO.what))
        .at(&found.spot, format!("found \"{}\"", shorten(&found.value)))
        .note("a value is a whole number, a size, a duration or a word, as in `set memory_level = aggressive`");
    let words = ["grow", "shrink"];
    finding = match closest(&found.value, words.into_iter()) {
        Some(meant) => finding.help(format!("did you mean `{meant}`?")),
        None => finding.note(format!("allowed: {} or a knob to set", list(&words))),
    };
    table.desk.report(finding);
    None
}

fn set(text: &str, spot: &Spot) -> Option<TriggerAction> {
    let (knob, value) = text.split_once('=')?;
    let (knob, value) = (knob.trim(), value.trim());
    if !is_plain_name(knob) {
        return None;
    }
    // What people call `timeout` is the knob `timeout_ms`.
    let knob = if knob == "timeout" {
        KnobName::TIMEOUT_MS
    } else {
        knob
    };
    let given = Given {
        raw: Raw::Text(value),
        spot: spot.clone(),
    };
    let value = other_value(&given).ok()?;
    Some(TriggerAction::Set {
        knob: KnobName::from(knob.to_owned()),
        value,
    })
}
