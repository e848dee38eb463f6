//! Every key with the value that it has in force, written as in a file, and where that value comes from.

use super::unit::Unit;
use super::{Config, LogFormat};
use crate::place::HostPlace;
use std::path::Path;
use std::time::Duration;
use trimtab_core::profile::{Cited, KnobRange, Profile, Trigger, TriggerAction};
use trimtab_protocol::decision::{Citation, Mode};
use trimtab_protocol::knob::KnobValue;

/// One key in force.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    /// The key, such as `serve.address` or `profile.web.workers.max`.
    pub(crate) key: String,
    /// Its value as it is written in TOML; absent where there is none.
    pub(crate) value: Option<String>,
    /// Where it is set; absent where it has its default.
    pub(crate) origin: Option<Citation>,
    /// Whether it can change while the sidecar runs.
    pub(crate) live: bool,
    /// The number itself, where it limits how far the host may be changed.
    pub(crate) limit: Option<u64>,
}

impl Config {
    /// Every key with its value: those of the configuration in the order of its commented file, then the profiles by name.
    pub(crate) fn settings_in_force(&self) -> Vec<Setting> {
        let mut list = self.own_keys();
        for (pool, profile) in &self.settings.assigned {
            list.push(self.own(&format!("hosts.pools.{pool}"), Some(text(profile)), true));
        }
        for profile in self.settings.profiles.values() {
            of_profile(profile, &mut list);
        }
        list
    }

    fn own(&self, key: &str, value: Option<String>, live: bool) -> Setting {
        Setting {
            key: key.to_owned(),
            value,
            origin: self.origins.get(key).cloned(),
            live,
            limit: None,
        }
    }

    fn own_keys(&self) -> Vec<Setting> {
        let settings = &self.settings;
        let mode = match settings.mode {
            Mode::Observe => "observe",
            Mode::Advise => "advise",
            Mode::Act => "act",
        };
        let format = match self.log.format {
            LogFormat::Human => "human",
            LogFormat::Json => "json",
        };
        let level = self.log.level.to_string().to_lowercase();
        let names = self.serve.allowed_hosts.iter().map(|name| text(name));
        let names = format!("[{}]", names.collect::<Vec<_>>().join(", "));
        let uids = self.intake.uids.iter().map(u32::to_string);
        let uids = format!("[{}]", uids.collect::<Vec<_>>().join(", "));
        let token_file = self.intake.token_file.as_deref().map(path);
        let profiles = self.profiles_directory.as_deref().map(path);
        let bytes = Unit::Bytes.show(self.ledger.max_bytes);
        let flame = &self.flame;
        let remember = if flame.remember { "on" } else { "off" };
        let flame_bytes = Unit::Bytes.show(u64::try_from(flame.max_bytes).unwrap_or(u64::MAX));
        let own_profile = flame.own_profile.as_deref().map(text);
        let push = flame.push.as_deref().map(text);
        let health = self.serve.health.map(|address| text(&address.to_string()));
        let host_tokens = match &self.control {
            HostPlace::Tcp { token_file, .. } => Some(path(token_file)),
            HostPlace::Socket(_) => None,
        };
        let page_tokens = self.serve.token_file.as_deref().map(path);
        let tls = self.serve.tls.as_ref();
        let certificate = tls.map(|files| path(&files.certificate));
        let key = tls.map(|files| path(&files.key));
        let fixed = |key: &str, value: String| self.own(key, Some(value), false);
        vec![
            self.own("mode", Some(text(mode)), true),
            fixed("interval", millis(settings.interval.as_ms())),
            self.own("profiles", profiles, true),
            fixed("hosts.id", text(settings.host.as_str())),
            fixed("hosts.socket", text(&self.control.to_string())),
            self.own("hosts.token_file", host_tokens, false),
            fixed("hosts.operator_socket", path(&self.intake.host_socket)),
            fixed("hosts.call_deadline", duration(self.call_deadline)),
            fixed("serve.address", text(&self.serve.address.to_string())),
            fixed("serve.allow_remote", self.serve.allow_remote.to_string()),
            fixed("serve.behind_proxy", self.serve.behind_proxy.to_string()),
            self.own("serve.token_file", page_tokens, false),
            self.own("serve.tls.certificate", certificate, false),
            self.own("serve.tls.key", key, false),
            self.own("serve.health", health, false),
            fixed("serve.allowed_hosts", names),
            fixed("flame.remember", text(remember)),
            fixed("flame.hz", count(u64::from(flame.hz))),
            fixed("flame.max_bytes", text(&flame_bytes)),
            self.own("flame.own_profile", own_profile, false),
            self.own("flame.push", push, false),
            fixed("intake.socket", path(&self.intake.socket)),
            fixed("intake.uids", uids),
            self.own("intake.token_file", token_file, false),
            fixed("ledger.directory", path(&self.ledger.directory)),
            fixed("ledger.max_bytes", text(&bytes)),
            fixed("lease.ttl", duration(self.lease_ttl)),
            fixed("lease.holder", text(&settings.holder)),
            fixed("log.format", text(format)),
            fixed("log.level", text(&level)),
        ]
    }
}

/// The keys of a profile, below `profile.NAME`.
fn of_profile(profile: &Profile, list: &mut Vec<Setting>) {
    let mut add = |key: &str, value: String, by: &Citation, limit: Option<u64>| {
        list.push(Setting {
            key: format!("profile.{}.{key}", profile.name),
            value: Some(value),
            origin: (!by.file.is_empty()).then(|| by.clone()),
            live: true,
            limit,
        });
    };
    if let Some(slo) = &profile.slo_ms {
        add("slo", millis(slo.value), &slo.citation, None);
    }
    type Range<'r> = (&'r str, &'r KnobRange, fn(u64) -> String);
    let ranges: [Range<'_>; 3] = [
        ("workers", &profile.workers, count),
        ("queue_limit", &profile.queue_limit, count),
        ("timeout", &profile.timeout_ms, millis),
    ];
    for (key, range, show) in ranges {
        let bounds = [
            ("start", &range.start, false),
            ("min", &range.min, true),
            ("max", &range.max, true),
        ];
        for (bound, cited, limits) in bounds {
            let limit = limits.then_some(cited.value);
            add(
                &format!("{key}.{bound}"),
                show(cited.value),
                &cited.citation,
                limit,
            );
        }
    }
    let per_window = &profile.changes_per_window;
    let number = u64::from(per_window.value);
    add(
        "changes.per_window",
        count(number),
        &per_window.citation,
        None,
    );
    let window = &profile.change_window;
    let shown = millis(window.value.as_ms());
    add("changes.window", shown, &window.citation, None);
    if let Some(every) = &profile.decide_every {
        let shown = millis(every.value.as_ms());
        add("changes.every", shown, &every.citation, None);
    }
    for (knob, cited) in &profile.others {
        let key = format!("other_knobs.{knob}");
        add(&key, knob_value(&cited.value), &cited.citation, None);
    }
    let (levels, ladder) = (&profile.levels, &profile.ladder);
    for (key, cited) in [
        ("levels.moderate", &levels.moderate),
        ("levels.aggressive", &levels.aggressive),
        ("levels.maximum", &levels.maximum),
        ("memory.level", &ladder.level),
        ("memory.no_growth", &ladder.no_growth),
        ("memory.step_down", &ladder.step_down),
    ] {
        add(key, share(cited), &cited.citation, None);
    }
    for (index, trigger) in profile.triggers.iter().enumerate() {
        let key = format!("triggers.{index}");
        add(&key, rule(trigger), &trigger.when.citation, None);
    }
}

fn rule(trigger: &Trigger) -> String {
    let action = match &trigger.action.value {
        TriggerAction::Grow => "grow".to_owned(),
        TriggerAction::Shrink => "shrink".to_owned(),
        TriggerAction::Set { knob, value } => format!("set {knob} = {}", bare(value)),
    };
    let lasting = millis(trigger.lasting.as_ms());
    let when = text(trigger.when.value.text());
    format!(
        "{{ when = {when}, do = {}, lasting = {lasting} }}",
        text(&action)
    )
}

fn share(cited: &Cited<f64>) -> String {
    // Shares are read in hundredths of a percent, so this is the number that was read.
    let percent = (cited.value * 10_000.0).round() / 100.0;
    text(&format!("{percent}%"))
}

fn knob_value(value: &KnobValue) -> String {
    match value {
        KnobValue::Integer(number) => count(*number),
        KnobValue::Choice(word) => text(word),
    }
}

fn bare(value: &KnobValue) -> String {
    match value {
        KnobValue::Integer(number) => count(*number),
        KnobValue::Choice(word) => word.clone(),
    }
}

fn text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn path(path: &Path) -> String {
    text(&path.display().to_string())
}

fn millis(ms: u64) -> String {
    text(&Unit::Millis.show(ms))
}

fn duration(duration: Duration) -> String {
    millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn count(number: u64) -> String {
    number.to_string()
}
