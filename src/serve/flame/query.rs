//! What may stand behind the `?` of a graph's address.

use super::only_host;
use crate::serve::Shared;
use crate::serve::error::Refusal;
use serde::Deserialize;
use trimtab_flame::ask::{HZ_MAX, SETTLED_MS, Stretch, WINDOW_MS_MAX};
use trimtab_flame::{Format, Kind, View};

/// Whom to look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(in crate::serve) enum Target {
    /// The host.
    #[default]
    #[serde(rename = "host")]
    Host,
    /// The sidecar itself.
    #[serde(rename = "self")]
    Own,
}

/// All of it; what is left out has its default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::serve) struct GraphQuery {
    pub(super) target: Option<Target>,
    pub(super) host: Option<String>,
    /// The run of the host that numbered a change.
    pub(super) instance: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<Kind>,
    pub(super) seconds: Option<u64>,
    pub(super) hz: Option<u32>,
    pub(super) from: Option<String>,
    pub(super) until: Option<String>,
    pub(super) a: Option<String>,
    pub(super) b: Option<String>,
    pub(super) thread: Option<String>,
    pub(super) inlined: Option<bool>,
    pub(super) view: Option<View>,
    pub(super) format: Option<Format>,
}

/// Two stretches to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moments {
    pub(super) before: Stretch,
    pub(super) after: Stretch,
}

/// So many seconds before a moment and after it; the second in which it lies belongs to neither. Of those after it only what is
/// over.
pub(super) fn around(at_ns: u64, seconds: u64, now_ns: u64) -> Result<Moments, Refusal> {
    let span_ns = seconds * Past::SECOND_NS;
    let begun_ns = Past::second_of(at_ns);
    let over_ns = at_ns
        .div_ceil(Past::SECOND_NS)
        .saturating_mul(Past::SECOND_NS);
    if now_ns < over_ns.saturating_add(Past::SECOND_NS + SETTLED_MS * 1_000_000) {
        return Err(Refusal::Later {
            after_s: 2,
            detail: "the first second after the change is not over yet",
        });
    }
    Ok(Moments {
        before: Stretch {
            from_ns: begun_ns.saturating_sub(span_ns),
            until_ns: begun_ns,
        },
        after: Stretch {
            from_ns: over_ns,
            until_ns: over_ns.saturating_add(span_ns).min(now_ns),
        },
    })
}

/// How times are written: nanoseconds of the boot-time clock, as `moment_ns` everywhere, or seconds before now, as `-30`.
pub(super) struct Past;

impl Past {
    /// A second.
    pub(super) const SECOND_NS: u64 = 1_000_000_000;

    /// The beginning of the second in which a moment lies. Seconds are remembered whole.
    fn second_of(at_ns: u64) -> u64 {
        at_ns - at_ns % Self::SECOND_NS
    }

    fn moment(text: &str, now_ns: u64) -> Result<u64, Refusal> {
        let wrong = || {
            Refusal::Malformed(format!(
                "`{}` is no time: give nanoseconds of the boot-time clock, or seconds before now as -30",
                text.escape_debug()
            ))
        };
        match text.strip_prefix('-') {
            Some(seconds) => {
                let seconds: u64 = seconds.trim_end_matches('s').parse().map_err(|_| wrong())?;
                Ok(now_ns.saturating_sub(seconds.saturating_mul(Self::SECOND_NS)))
            }
            None => text.parse().map_err(|_| wrong()),
        }
    }

    fn stretch(text: &str, now_ns: u64) -> Result<Stretch, Refusal> {
        let wrong = || {
            Refusal::Malformed(format!(
                "`{}` is no stretch: write FROM..UNTIL",
                text.escape_debug()
            ))
        };
        let (from, until) = text.split_once("..").ok_or_else(wrong)?;
        let until_ns = if until.is_empty() {
            now_ns
        } else {
            Self::moment(until, now_ns)?
        };
        let from_ns = Self::moment(from, now_ns)?;
        if from_ns >= until_ns {
            return Err(wrong());
        }
        // It begins with the second in which `from` lies, and has at least that.
        let from_ns = Self::second_of(from_ns);
        Ok(Stretch {
            from_ns,
            until_ns: until_ns.max(from_ns.saturating_add(Self::SECOND_NS)),
        })
    }
}

impl GraphQuery {
    /// The host that is meant.
    pub(super) fn host(&self, shared: &Shared) -> Result<String, Refusal> {
        let named = self.host.clone().or_else(|| only_host(&shared.view()));
        named.ok_or_else(|| Refusal::Malformed("say which host with `host=`".to_owned()))
    }

    fn is_of_no_change(&self) -> Result<(), Refusal> {
        match self.instance {
            None => Ok(()),
            Some(_) => Err(Refusal::Malformed(
                "`instance` belongs to /flamegraph/change".to_owned(),
            )),
        }
    }

    /// The remembered stretch that is meant, if one is.
    pub(super) fn past(&self, now_ns: u64) -> Result<Option<Stretch>, Refusal> {
        self.is_of_no_change()?;
        if self.a.is_some() || self.b.is_some() {
            return Err(Refusal::Malformed(
                "`a` and `b` belong to /flamegraph/diff".to_owned(),
            ));
        }
        match (&self.from, &self.until) {
            (Some(from), until) => Past::stretch(
                &format!("{from}..{}", until.as_deref().unwrap_or_default()),
                now_ns,
            )
            .map(Some),
            (None, Some(_)) => Err(Refusal::Malformed("`until` needs `from`".to_owned())),
            (None, None) => Ok(None),
        }
    }

    /// The two stretches that are to be compared: unless the caller says, the last half minute and the one before.
    pub(super) fn moments(&self, now_ns: u64) -> Result<Moments, Refusal> {
        self.is_of_no_change()?;
        let (a, b) = match (&self.a, &self.b) {
            (Some(a), Some(b)) => (a.as_str(), b.as_str()),
            (None, None) => ("-60..-30", "-30.."),
            _ => {
                let text = "give both times: `a=FROM..UNTIL&b=FROM..UNTIL`, for example `a=-60..-30&b=-30..`";
                return Err(Refusal::Malformed(text.to_owned()));
            }
        };
        Ok(Moments {
            before: Past::stretch(a, now_ns)?,
            after: Past::stretch(b, now_ns)?,
        })
    }

    /// How many seconds are asked for.
    pub(super) fn seconds(&self) -> Result<Option<u64>, Refusal> {
        let most = WINDOW_MS_MAX / 1_000;
        match self.seconds {
            Some(seconds) if !(1..=most).contains(&seconds) => {
                Err(Refusal::Malformed(format!("`seconds` is 1 to {most}")))
            }
            seconds => Ok(seconds),
        }
    }

    /// The window of a new profile.
    pub(super) fn window_ms(&self) -> Result<u64, Refusal> {
        Ok(self.seconds()?.unwrap_or(10) * 1_000)
    }

    /// Samples a second of CPU time.
    pub(super) fn hz(&self) -> Result<u32, Refusal> {
        match self.hz {
            Some(hz) if !(1..=HZ_MAX).contains(&hz) => {
                Err(Refusal::Malformed(format!("`hz` is 1 to {HZ_MAX}")))
            }
            hz => Ok(hz.unwrap_or(99)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 100 * Past::SECOND_NS;

    fn query(from: Option<&str>, until: Option<&str>) -> GraphQuery {
        GraphQuery {
            from: from.map(str::to_owned),
            until: until.map(str::to_owned),
            ..GraphQuery::default()
        }
    }

    #[test]
    fn times_are_moments_or_seconds_before_now() {
        let stretch = |from_s: u64, until_s: u64| {
            Some(Stretch {
                from_ns: from_s * Past::SECOND_NS,
                until_ns: until_s * Past::SECOND_NS,
            })
        };
        assert_eq!(query(Some("-30"), None).past(NOW), Ok(stretch(70, 100)));
        assert_eq!(
            query(Some("-30s"), Some("-10")).past(NOW),
            Ok(stretch(70, 90))
        );
        assert_eq!(
            query(Some("5000000000"), Some("7000000000")).past(NOW),
            Ok(stretch(5, 7))
        );
        assert_eq!(query(None, None).past(NOW), Ok(None));
        for (from, until) in [
            (None, Some("-5")),
            (Some("-5"), Some("-10")),
            (Some("soon"), None),
            (Some("-"), None),
        ] {
            assert!(query(from, until).past(NOW).is_err(), "{from:?} {until:?}");
        }
    }

    /// The whole seconds of a stretch, which are all that is remembered of it.
    fn whole(stretch: Stretch) -> std::ops::Range<u64> {
        stretch.from_ns.div_ceil(Past::SECOND_NS)..stretch.until_ns / Past::SECOND_NS
    }

    #[test]
    fn so_many_seconds_are_so_many_whole_ones_whenever_it_is_asked() {
        for now_ns in [NOW, NOW + 1, NOW + 999_999_999] {
            let past = |from, until| query(from, until).past(now_ns).map(|it| whole(it.unwrap()));
            assert_eq!(past(Some("-1"), None), Ok(99..100));
            assert_eq!(past(Some("-30"), Some("-10")), Ok(70..90));
            let Moments { before, after } = GraphQuery::default().moments(now_ns).unwrap();
            assert_eq!((whole(before), whole(after)), (40..70, 70..100));
        }
        let less = query(Some("5400000000"), Some("5500000000")).past(NOW);
        assert_eq!(
            whole(less.unwrap().unwrap()),
            5..6,
            "the second in which it lies"
        );
    }

    #[test]
    fn a_change_stands_between_its_seconds_and_in_none_of_them() {
        let second = Past::SECOND_NS;
        let seconds = |at_ns, count, now_ns| {
            around(at_ns, count, now_ns)
                .map(|Moments { before, after }| (whole(before), whole(after)))
        };
        assert_eq!(seconds(90 * second + 1, 1, NOW), Ok((89..90, 91..92)));
        assert_eq!(
            seconds(90 * second, 20, NOW),
            Ok((70..90, 90..100)),
            "only until now"
        );
        assert_eq!(seconds(3 * second + 5, 10, NOW), Ok((0..3, 4..14)));
        assert!(
            seconds(98 * second + 1, 1, NOW + second / 10).is_err(),
            "it is not settled"
        );
        assert_eq!(
            seconds(98 * second + 1, 1, NOW + second / 2),
            Ok((97..98, 99..100))
        );
    }

    #[test]
    fn a_window_has_at_most_a_minute() {
        let of = |seconds| {
            GraphQuery {
                seconds,
                ..GraphQuery::default()
            }
            .window_ms()
        };
        assert_eq!(of(None), Ok(10_000));
        assert_eq!(of(Some(60)), Ok(60_000));
        assert!(of(Some(61)).is_err() && of(Some(0)).is_err());
    }
}
