//! What stands for what on one host: the names and numbers of the moment at which a case began.

use serde_json::{Map, Value};
use trimtab_protocol::knob::{KnobKind, KnobState, Shrink};
use trimtab_protocol::name::{KnobName, PoolName};
use trimtab_protocol::state::{HostState, PoolState};

/// The symbols of one case on one host.
#[derive(Clone, Debug)]
pub(super) struct Symbols {
    pub(super) instance: String,
    pub(super) epoch: u64,
    pub(super) generation: u64,
    pub(super) revision: u64,
    pub(super) pool: PoolName,
    pub(super) knob: KnobName,
    values: Vec<(&'static str, u64)>,
}

impl Symbols {
    /// Draws the symbols from a state; nothing when no knob of the host can be moved by two different small steps.
    pub(super) fn draw(state: &HostState) -> Option<Self> {
        let fit: Vec<_> = state
            .pools
            .iter()
            .flat_map(|(name, pool)| {
                pool.knobs
                    .iter()
                    .map(move |(knob, cell)| (name, pool, knob, cell))
            })
            .filter_map(|(name, pool, knob, cell)| Some((name, pool, knob, values(cell)?)))
            .collect();
        let workers = fit
            .iter()
            .position(|(_, _, knob, _)| knob.as_str() == KnobName::WORKERS);
        let chosen = fit.into_iter().nth(workers.unwrap_or(0))?;
        Some(Self::of(state, chosen))
    }

    fn of(
        state: &HostState,
        (name, pool, knob, values): (&PoolName, &PoolState, &KnobName, Vec<(&'static str, u64)>),
    ) -> Self {
        Self {
            instance: state.instance.as_str().to_owned(),
            epoch: state.epoch.0,
            generation: state.generation.0,
            revision: pool.revision.0,
            pool: name.clone(),
            knob: knob.clone(),
            values,
        }
    }

    /// The symbol of a knob's value, or the value itself.
    pub(super) fn value(&self, value: &Value) -> Value {
        let named = self
            .values
            .iter()
            .find(|(_, number)| value.as_u64() == Some(*number));
        named.map_or_else(|| value.clone(), |(name, _)| Value::from(*name))
    }

    /// The symbol of a number that counts on from where it stood when the case began.
    pub(super) fn count(name: &str, began: u64, value: u64) -> Value {
        if value == began {
            Value::from(name)
        } else if value > began {
            Value::from(format!("{name}+{}", value - began))
        } else {
            Value::from(format!("{name}-{}", began - value))
        }
    }

    /// A template with everything that stands for something replaced; the symbol, where this host has nothing for it.
    pub(super) fn fill(&self, template: &Value) -> Result<Value, String> {
        Ok(match template {
            Value::String(text) if text.starts_with('$') => self.meant(text)?,
            Value::Array(items) => {
                let items: Result<_, _> = items.iter().map(|item| self.fill(item)).collect();
                Value::Array(items?)
            }
            Value::Object(fields) => {
                let mut filled = Map::new();
                for (name, value) in fields {
                    filled.insert(self.word(name)?, self.fill(value)?);
                }
                Value::Object(filled)
            }
            other => other.clone(),
        })
    }

    /// A path with its symbols replaced.
    pub(super) fn path(&self, template: &str) -> Result<String, String> {
        let parts: Result<Vec<_>, _> = template.split('/').map(|part| self.word(part)).collect();
        Ok(parts?.join("/"))
    }

    fn word(&self, text: &str) -> Result<String, String> {
        if !text.starts_with('$') {
            return Ok(text.to_owned());
        }
        Ok(match self.meant(text)? {
            Value::String(word) => word,
            other => other.to_string(),
        })
    }

    fn meant(&self, symbol: &str) -> Result<Value, String> {
        let (name, offset) = match symbol.split_once(['+', '-']) {
            Some((name, offset)) => (name, offset.parse::<u64>().unwrap_or(0)),
            None => (symbol, 0),
        };
        let counted = |began: u64| {
            let value = if symbol.contains('-') {
                began.saturating_sub(offset)
            } else {
                began.saturating_add(offset)
            };
            Ok(Value::from(value))
        };
        match name {
            "$instance" => Ok(Value::from(self.instance.as_str())),
            "$pool" => Ok(Value::from(self.pool.as_str())),
            "$knob" => Ok(Value::from(self.knob.as_str())),
            "$epoch" => counted(self.epoch),
            "$generation" => counted(self.generation),
            "$revision" => counted(self.revision),
            _ => {
                let value = self.values.iter().find(|(known, _)| *known == name);
                value
                    .map(|(_, value)| Value::from(*value))
                    .ok_or_else(|| symbol.to_owned())
            }
        }
    }
}

/// The values of a knob that the corpus needs; nothing where the knob is not fit for it.
fn values(knob: &KnobState) -> Option<Vec<(&'static str, u64)>> {
    let fits = knob.kind != KnobKind::Choice
        && knob.shrink == Shrink::Drains
        && !knob.persists
        && knob.pinned_for_ms.is_none()
        && knob.granularity > 0;
    let now = knob.value.as_integer().filter(|_| fits)?;
    let grain = knob.granularity;
    let ratio = u128::from(knob.max_ratio_bp);
    let within = |value: u64| {
        let (less, more) = (u128::from(value.min(now)), u128::from(value.max(now)));
        more * 10_000 <= less * ratio || more - less <= u128::from(grain)
    };
    let candidates = [
        now.checked_add(grain),
        now.checked_sub(grain),
        grain.checked_mul(2).and_then(|two| now.checked_add(two)),
    ];
    let bounds = knob.min..=knob.max;
    let mut near = candidates
        .into_iter()
        .flatten()
        .filter(|value| bounds.contains(value) && within(*value));
    let mut values = vec![
        ("$value", now),
        ("$step", near.next()?),
        ("$other", near.next()?),
    ];
    let top = knob.max.saturating_sub(knob.min) / grain * grain;
    let top = knob.min.saturating_add(top);
    let leap = [top, knob.min].into_iter().find(|value| !within(*value));
    values.extend(leap.map(|value| ("$leap", value)));
    values.extend(top.checked_add(grain).map(|value| ("$above", value)));
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state() -> HostState {
        let knob = |value: u64, max: u64| {
            json!({"value": value, "effective": value, "baseline": value, "min": 1, "max": max, "granularity": 1,
                   "max_ratio_bp": 20_000, "unit": "", "kind": "integer", "shrink": "drains", "persists": false})
        };
        let pools = json!({"web": {"phase": "baseline", "revision": 3,
                                   "knobs": {"queue_limit": knob(8, 100), "workers": knob(4, 64)}}});
        let state = json!({"api": 1, "app": "shop", "instance": "i1", "at_ns": 5, "epoch": 7, "generation": 9,
                           "pools": pools});
        serde_json::from_value(state).unwrap()
    }

    #[test]
    fn templates_are_filled_and_answers_become_symbols_again() {
        let symbols = Symbols::draw(&state()).unwrap();
        let template = json!({"epoch": "$epoch+1", "set": {"$knob": "$step"}, "leap": "$leap", "above": "$above"});
        let filled = symbols.fill(&template).unwrap();
        let expected = json!({"epoch": 8, "set": {"workers": 5}, "leap": 64, "above": 65});
        assert_eq!(filled, expected);
        let path = symbols.path("/x/$generation+1/$pool").unwrap();
        assert_eq!(path, "/x/10/web");
        assert_eq!(symbols.value(&json!(5)), json!("$step"));
        assert_eq!(symbols.value(&json!(17)), json!(17));
        assert_eq!(Symbols::count("$epoch", 7, 6), json!("$epoch-1"));
        assert_eq!(symbols.fill(&json!("$none")), Err("$none".to_owned()));
    }

    #[test]
    fn a_knob_that_cannot_move_two_ways_is_not_used() {
        let mut state = state();
        for knob in state
            .pools
            .values_mut()
            .flat_map(|pool| pool.knobs.values_mut())
        {
            knob.max = 4;
            knob.min = 4;
        }
        assert!(Symbols::draw(&state).is_none());
    }
}
