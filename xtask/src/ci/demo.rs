//! Holds what the demo wrote against what it promises: the figures are all there and make sense, and something was tuned.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// What is measured of a pool in each of the two runs.
const FIGURES: [&str; 7] = [
    "goodput",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "errors",
    "workers",
    "timeout_ms",
];

/// The two runs: with the settings as they were, and tuned.
const RUNS: [&str; 2] = ["static", "tuned"];

/// What the sidecar itself took.
const SIDECAR: [&str; 2] = ["cpu_percent", "rss_bytes"];

/// Checks what the demo wrote and says it in a line.
///
/// # Errors
/// When a figure is missing or makes no sense, or nothing was changed; all faults are named.
pub(super) fn check(text: &str) -> Result<String> {
    let value: Value = serde_json::from_str(text).context("the demo wrote no JSON")?;
    let found = faults(&value);
    if !found.is_empty() {
        bail!("the demo's figures do not hold:\n  {}", found.join("\n  "));
    }
    let names: Vec<&str> = pools(&value).map(|(name, _)| name.as_str()).collect();
    let (made, kept) = (sum(&value, "made"), sum(&value, "kept"));
    Ok(format!(
        "{made} changes made and {kept} kept in {}",
        names.join(", ")
    ))
}

fn faults(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (name, pool) in pools(value) {
        for run in RUNS {
            for figure in FIGURES {
                check_figure(pool, &format!("/{run}/{figure}"), name, &mut found);
            }
            check_order(&pool[run], &format!("{name}/{run}"), &mut found);
        }
        let changes = ["made", "kept", "rolled_back"].map(|count| pool["changes"][count].as_u64());
        match changes {
            [Some(made), Some(kept), Some(rolled_back)] => {
                if made < kept.saturating_add(rolled_back) {
                    found.push(format!(
                        "{name}/changes: {kept} kept and {rolled_back} rolled back of {made} made"
                    ));
                }
            }
            _ => found.push(format!(
                "{name}/changes: made, kept and rolled_back are whole numbers"
            )),
        }
    }
    if pools(value).next().is_none() {
        found.push("pools: there is none".to_owned());
    } else if sum(value, "made") == 0 {
        found.push("pools: nothing was changed in any of them".to_owned());
    }
    for figure in SIDECAR {
        check_figure(value, &format!("/sidecar/{figure}"), "", &mut found);
    }
    found
}

fn pools(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value["pools"].as_object().into_iter().flatten()
}

/// JSON holds no infinity, so a number that is there is finite; none of these can be below zero.
fn check_figure(value: &Value, pointer: &str, name: &str, found: &mut Vec<String>) {
    match value.pointer(pointer).map(Value::as_f64) {
        Some(Some(number)) if number.is_finite() && number >= 0.0 => {}
        Some(_) => found.push(format!("{name}{pointer}: it is not a number from zero up")),
        None => found.push(format!("{name}{pointer}: it is missing")),
    }
}

fn check_order(run: &Value, place: &str, found: &mut Vec<String>) {
    let percentiles = ["p50_ms", "p95_ms", "p99_ms"].map(|name| run[name].as_f64());
    let known: Vec<f64> = percentiles.into_iter().flatten().collect();
    if !known.is_sorted() {
        found.push(format!("{place}: p50, p95 and p99 do not rise: {known:?}"));
    }
}

fn sum(value: &Value, count: &str) -> u64 {
    let counts = pools(value).filter_map(|(_, pool)| pool["changes"][count].as_u64());
    counts.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        let run = json!({
            "goodput": 120.5, "p50_ms": 10, "p95_ms": 40.5, "p99_ms": 90,
            "errors": 0, "workers": 16, "timeout_ms": 500,
        });
        let pool = json!({
            "static": run, "tuned": run,
            "changes": {"made": 5, "kept": 2, "rolled_back": 2},
        });
        let mut still = pool.clone();
        still["changes"] = json!({"made": 0, "kept": 0, "rolled_back": 0});
        json!({
            "pools": {"api": pool, "web": still},
            "sidecar": {"cpu_percent": 0.75, "rss_bytes": 9_000_000},
        })
    }

    fn faults_after(pointer: &str, value: Value) -> Vec<String> {
        let mut broken = good();
        *broken.pointer_mut(pointer).expect(pointer) = value;
        faults(&broken)
    }

    #[test]
    fn good_figures_pass_and_are_said_in_a_line() {
        let said = check(&good().to_string()).expect("the figures are good");
        assert_eq!(said, "5 changes made and 2 kept in api, web");
    }

    #[test]
    fn a_missing_figure_is_found_wherever_it_is_missing() {
        for run in RUNS {
            for figure in FIGURES {
                let mut broken = good();
                let fields = broken["pools"]["web"][run].as_object_mut();
                fields.expect("a run is an object").remove(figure);
                assert_eq!(
                    faults(&broken),
                    [format!("web/{run}/{figure}: it is missing")]
                );
            }
        }
        for figure in SIDECAR {
            let mut broken = good();
            let fields = broken["sidecar"].as_object_mut();
            fields.expect("the sidecar is an object").remove(figure);
            assert_eq!(
                faults(&broken),
                [format!("/sidecar/{figure}: it is missing")]
            );
        }
    }

    #[test]
    fn a_figure_that_is_no_number_is_found() {
        for bad in [json!(null), json!("12"), json!(-1)] {
            let found = faults_after("/pools/api/tuned/goodput", bad);
            assert_eq!(
                found,
                ["api/tuned/goodput: it is not a number from zero up"]
            );
        }
        assert_eq!(faults_after("/sidecar/cpu_percent", json!(null)).len(), 1);
        assert!(check("{\"pools\": NaN}").is_err(), "JSON has no NaN");
    }

    #[test]
    fn percentiles_that_fall_are_found() {
        assert_eq!(faults_after("/pools/api/tuned/p50_ms", json!(50)).len(), 1);
    }

    #[test]
    fn a_run_without_pools_or_without_a_change_is_found() {
        assert_eq!(faults_after("/pools", json!({})), ["pools: there is none"]);
        let still = json!({"made": 0, "kept": 0, "rolled_back": 0});
        assert_eq!(
            faults_after("/pools/api/changes", still),
            ["pools: nothing was changed in any of them"]
        );
    }

    #[test]
    fn more_kept_and_undone_than_made_is_found() {
        let counts = json!({"made": 5, "kept": 4, "rolled_back": 2});
        assert_eq!(
            faults_after("/pools/api/changes", counts),
            ["api/changes: 4 kept and 2 rolled back of 5 made"]
        );
        assert_eq!(faults_after("/pools/api/changes/kept", json!(1.5)).len(), 1);
    }
}
