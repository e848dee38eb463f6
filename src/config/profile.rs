//! Workload profiles: the four that are built in, and those that people write.
//!
//! A profile's name is its file's name. A directory of profiles replaces the built-in ones of the same name and adds others;
//! `default` is always there, because a pool that no other profile fits needs one.

use super::Overrides;
use super::error::Finding;
use super::raw::{Desk, Found, Parsed, Source, parse};
use super::rule;
use super::section::{DOT, Given, Raw, Section, as_variable, shorten};
use super::unit::Unit;
use super::value::{NumberRule, contradiction, text_of, whole, wrong};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::de::DeValue;
use trimtab_core::moment::Span;
use trimtab_core::profile::{Cited, KnobRange, Profile};
use trimtab_protocol::change::{CHANGE_WINDOW_MS, CHANGES_PER_WINDOW};
use trimtab_protocol::knob::KnobValue;
use trimtab_protocol::name::{KnobName, is_plain_name};

/// The built-in profiles by name, as they stand in `profiles/`.
pub(super) const BUILT_IN: [(&str, &str); 4] = [
    ("api", include_str!("../../profiles/api.toml")),
    ("background", include_str!("../../profiles/background.toml")),
    ("default", include_str!("../../profiles/default.toml")),
    ("web", include_str!("../../profiles/web.toml")),
];

/// The most profiles that a directory may hold.
pub(super) const FILES_MAX: usize = 64;

/// The built-in profiles by name, with the overrides that name them.
pub(super) fn built_in(
    desk: &Desk<'_>,
    findings: &mut Vec<Finding>,
) -> BTreeMap<String, Option<Profile>> {
    let mut profiles = BTreeMap::new();
    for (name, text) in BUILT_IN {
        let source = Source::built_in(&format!("{name}.toml"), text);
        let profile = read(&source, name, desk);
        findings.extend(desk.take());
        profiles.insert(name.to_owned(), profile);
    }
    profiles
}

/// The profiles of a directory by name, with nothing for a file that is not one, so that what refers to it is not called
/// unknown as well. Files that do not end in `.toml` are somebody else's.
pub(super) fn directory(
    path: &Path,
    desk: &Desk<'_>,
    findings: &mut Vec<Finding>,
) -> Result<BTreeMap<String, Option<Profile>>, std::io::Error> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|end| end == "toml") {
            files.push(file);
        }
    }
    files.sort();
    if files.len() > FILES_MAX {
        let title = format!("`{}` holds {} profiles", path.display(), files.len());
        findings.push(Finding::new(title).note(format!(
            "at most {FILES_MAX} are read; is this the right directory?"
        )));
        return Ok(BTreeMap::new());
    }
    let mut profiles = BTreeMap::new();
    for file in files {
        let profile = file_profile(&file, Some(path), desk);
        findings.extend(desk.take());
        profiles.insert(name_of(&file).to_owned(), profile);
    }
    Ok(profiles)
}

/// The profile of one file, of the directory of the profiles or of nobody's.
pub(super) fn file_profile(
    path: &Path,
    directory: Option<&Path>,
    desk: &Desk<'_>,
) -> Option<Profile> {
    let name = name_of(path);
    if !is_plain_name(name) {
        let title = format!(
            "`{}` is not a profile's name",
            shorten(&path.display().to_string())
        );
        desk.report(Finding::new(title).note(
            "a profile is named like its file: 1 to 64 characters of a-z, 0-9, `_` and `-`, beginning with a letter",
        ));
        return None;
    }
    match desk.read(path, directory) {
        Ok(source) => read(&source, name, desk),
        Err(finding) => {
            desk.report(finding);
            None
        }
    }
}

fn name_of(path: &Path) -> &str {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default()
}

/// Whether a text is meant to be a profile: it is TOML, and has one of the tables without which there is none.
pub(super) fn is_meant(source: &Arc<Source>) -> bool {
    let nobody = Overrides::default();
    let table = parse(source, &Desk::new(&nobody));
    let needed = [WORKERS, QUEUE_LIMIT, TIMEOUT];
    table.is_some_and(|table| needed.iter().any(|rule| table.contains_key(rule.key)))
}

/// Reads a profile and reports all that is wrong with it.
pub(super) fn read(source: &Arc<Source>, name: &str, desk: &Desk<'_>) -> Option<Profile> {
    let table = parse(source, desk)?;
    let variable = format!("PROFILE{DOT}{}{DOT}", as_variable(name));
    let files = [Parsed { source, table }];
    let mut root = Section::root(desk, &files, variable);
    let workers = range(&mut root, &WORKERS);
    let queue_limit = range(&mut root, &QUEUE_LIMIT);
    let timeout = range(&mut root, &TIMEOUT);
    let slo = root.number(&SLO);
    if let (Some(slo), Some(timeout)) = (&slo, &timeout)
        && slo.value > timeout.max.value
    {
        desk.report(contradiction(
            "`slo` is longer than the longest timeout".to_owned(),
            slo,
            &timeout.max,
            Unit::Millis,
            "work is cut off at the timeout, so the goal would be met by everything that ends at all",
        ));
    }
    let (changes_per_window, change_window, decide_every) = changes(&mut root);
    let others = others(&mut root);
    let levels = rule::levels(&mut root);
    let ladder = rule::ladder(&mut root);
    let triggers = rule::triggers(&mut root);
    root.finish();
    Some(Profile {
        name: name.to_owned(),
        workers: workers?.cited(),
        queue_limit: queue_limit?.cited(),
        timeout_ms: timeout?.cited(),
        slo_ms: slo.map(Found::cited),
        changes_per_window,
        change_window,
        others,
        decide_every,
        levels,
        ladder,
        triggers,
    })
}

/// A knob that every profile bounds.
struct RangeRule {
    key: &'static str,
    unit: Unit,
    min: u64,
    max: u64,
    why: &'static str,
}

const WORKERS: RangeRule = RangeRule {
    key: "workers",
    unit: Unit::Count,
    min: 1,
    max: 65_536,
    why: "a pool without workers does nothing, and beyond this the scheduler is the service",
};

const QUEUE_LIMIT: RangeRule = RangeRule {
    key: "queue_limit",
    unit: Unit::Count,
    min: 1,
    max: 10_000_000,
    why: "a pool needs one place to take work in, and beyond this the queue is the memory",
};

const TIMEOUT: RangeRule = RangeRule {
    key: "timeout",
    unit: Unit::Millis,
    min: 1,
    max: 86_400_000,
    why: "a timeout of nothing fails everything, and one of more than a day ends nothing",
};

const SLO: NumberRule = NumberRule {
    key: "slo",
    unit: Unit::Millis,
    min: 1,
    max: 86_400_000,
    why: "it is the response time that still counts as good",
};

const PER_WINDOW: NumberRule = NumberRule {
    key: "per_window",
    unit: Unit::Count,
    min: 1,
    max: 1_000,
    why: "without a trial nothing is learned; to change nothing, use mode `advise`",
};

const PER_WINDOW_DEFAULT: u32 = 10;

/// How many changes of a pool a host takes in its own window.
const HOST_CHANGES_MAX: u64 = CHANGES_PER_WINDOW as u64;

const WINDOW: NumberRule = NumberRule {
    key: "window",
    unit: Unit::Millis,
    min: 10_000,
    max: 3_600_000,
    why: "a shorter window hardly limits, and a longer one blocks for an hour after one bad minute",
};

const WINDOW_DEFAULT_MS: u64 = 60_000;

/// A range whose three values agree.
struct Range {
    start: Found<u64>,
    min: Found<u64>,
    max: Found<u64>,
}

impl Range {
    fn cited(self) -> KnobRange {
        KnobRange {
            start: self.start.cited(),
            min: self.min.cited(),
            max: self.max.cited(),
        }
    }
}

fn range(root: &mut Section<'_>, rule: &RangeRule) -> Option<Range> {
    if !root.gives(rule.key) {
        root.require(rule.key, "a table with `start`, `min` and `max`");
    }
    let mut table = root.section(rule.key);
    let mut bound = |key, what| {
        let number = NumberRule {
            key,
            unit: rule.unit,
            min: rule.min,
            max: rule.max,
            why: rule.why,
        };
        table.need_number(&number, what)
    };
    let start = bound("start", "the size to go to first is yours to choose");
    let min = bound("min", "the smallest size is yours to choose");
    let max = bound("max", "the largest size is yours to choose");
    let desk = table.desk;
    table.finish();
    let (key, unit) = (rule.key, rule.unit);
    if let (Some(min), Some(max)) = (&min, &max)
        && min.value > max.value
    {
        let title = format!("`{key}.min` is above `{key}.max`");
        desk.report(contradiction(
            title,
            min,
            max,
            unit,
            "allowed: min <= start <= max; no size would be left",
        ));
        return None;
    }
    let (start, min, max) = (start?, min?, max?);
    let against = match start.value {
        value if value < min.value => Some((&min, "below", "min")),
        value if value > max.value => Some((&max, "above", "max")),
        _ => None,
    };
    if let Some((bound, side, name)) = against {
        let title = format!("`{key}.start` is {side} `{key}.{name}`");
        let why = "allowed: min <= start <= max; the first size would break the bounds at once";
        desk.report(contradiction(title, &start, bound, unit, why));
        return None;
    }
    Some(Range { start, min, max })
}

const EVERY: NumberRule = NumberRule {
    key: "every",
    unit: Unit::Millis,
    min: 100,
    max: 3_600_000,
    why: "more often than a sample comes there is nothing new to decide on",
};

/// How often a pool may be changed. Bad values give the defaults, because their finding already refuses the file.
fn changes(root: &mut Section<'_>) -> (Cited<u32>, Cited<Span>, Option<Cited<Span>>) {
    let mut table = root.section("changes");
    let count = table.number(&PER_WINDOW);
    let window = table.number(&WINDOW);
    let every = table.number(&EVERY);
    let desk = table.desk;
    table.finish();
    let window_ms = window
        .as_ref()
        .map_or(WINDOW_DEFAULT_MS, |window| window.value);
    let host_max = HOST_CHANGES_MAX * window_ms.div_ceil(CHANGE_WINDOW_MS);
    if let Some(count) = &count
        && count.value > host_max
    {
        let title = "`changes.per_window` is more than a host takes";
        let why = format!(
            "allowed: {host_max} in {}; a host refuses more than {HOST_CHANGES_MAX} changes of a pool in {}",
            Unit::Millis.show(window_ms),
            Unit::Millis.show(CHANGE_WINDOW_MS),
        );
        let finding = Finding::new(title).at(&count.spot, format!("found {}", count.value));
        let finding = match &window {
            Some(window) => finding.at(
                &window.spot,
                format!("in {}", Unit::Millis.show(window.value)),
            ),
            None => finding,
        };
        desk.report(finding.note(why));
    }
    let count = match count {
        Some(count) => Cited {
            citation: count.spot.citation(),
            value: u32::try_from(count.value).unwrap_or(PER_WINDOW_DEFAULT),
        },
        None => Cited::built_in("changes.per_window", PER_WINDOW_DEFAULT),
    };
    let window = match window {
        Some(window) => span(window),
        None => Cited::built_in("changes.window", Span::from_ms(WINDOW_DEFAULT_MS)),
    };
    (count, window, every.map(span))
}

fn span(found: Found<u64>) -> Cited<Span> {
    let Cited { value, citation } = found.cited();
    let value = Span::from_ms(value);
    Cited { value, citation }
}

/// Knobs beyond the three: any name that a knob can have, with a number, a size, a duration or a word.
fn others(root: &mut Section<'_>) -> BTreeMap<KnobName, Cited<KnobValue>> {
    let mut table = root.section("other_knobs");
    let mut knobs = BTreeMap::new();
    for (name, key, given) in table.entries() {
        if !is_plain_name(&name) {
            let title = format!("`{}` is not a knob's name", shorten(&name));
            table.desk.report(Finding::new(title).at(&key, "found here").note(
                "allowed: 1 to 64 characters of a-z, 0-9, `_` and `-`, beginning with a letter; names stand in paths and labels",
            ));
            continue;
        }
        let own = ["workers", "queue_limit", "timeout"];
        if let Some(own) = own
            .iter()
            .find(|own| name == **own || name.strip_suffix("_ms") == Some(**own))
        {
            let title = format!("`{own}` has a table of its own");
            let help = format!("write `[{own}]` with `start`, `min` and `max`");
            table
                .desk
                .report(Finding::new(title).at(&key, "found here").help(help));
            continue;
        }
        match other_value(&given) {
            Ok(value) => {
                let citation = given.spot.citation();
                knobs.insert(KnobName::from(name), Cited { value, citation });
            }
            Err(finding) => table.desk.report(*finding),
        }
    }
    table.finish();
    knobs
}

/// The value of a knob that only the host knows: text that begins with a digit is a quantity, other text is a word.
pub(super) fn other_value(given: &Given<'_>) -> Result<KnobValue, Box<Finding>> {
    let wanted = "a whole number, a size such as \"1KiB\", a duration such as \"300s\" or a word";
    let bad = || Box::new(wrong(given, wanted).note("a host's knob takes nothing else"));
    if let Raw::Toml(DeValue::Integer(number)) = given.raw {
        return whole(number).map(KnobValue::Integer).ok_or_else(bad);
    }
    let text = text_of(given).ok_or_else(bad)?;
    let bare = match given.raw {
        Raw::Text(_) => Unit::Count.parse(text).ok(),
        Raw::Toml(_) => None,
    };
    let quantity = bare
        .or_else(|| Unit::Millis.parse(text).ok())
        .or_else(|| Unit::Bytes.parse(text).ok());
    match quantity {
        Some(value) => Ok(KnobValue::Integer(value)),
        None if is_plain_name(text) => Ok(KnobValue::Choice(text.to_owned())),
        None => Err(bad()),
    }
}
