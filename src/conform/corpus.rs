//! The corpus: what is asked, what the state was before, and what the reference host answered.
//!
//! Each file of `tests/conform` is one case. The requests in it are written by hand; `before` and `answer` are recorded from the
//! host of `crates/host` by a test, which also compares them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A list of steps that together show one thing about a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it says of a host that keeps it.
    pub name: String,
    /// The level that needs it.
    pub level: u8,
    /// The features that a host must list for it to be tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// The steps in order.
    pub steps: Vec<Step>,
}

/// One request, with what surrounds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The method and the path, in which symbols may stand.
    pub call: String,
    /// Whether the operator makes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub operator: bool,
    /// What is waited for before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
    /// The body, in which symbols may stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// A body that is sent as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A body of so many spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spaces: Option<usize>,
    /// The body's content type, where it is not JSON's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<String>,
    /// The change is made and rolled back, up to thirteen times, until it is answered with this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u16>,
    /// The state before the request; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The answer; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
}

/// What the host has to do by itself before a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// End the open trial.
    TrialEnds,
    /// End the lease.
    LeaseEnds,
    /// Release the pin.
    PinEnds,
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        /// The files by name, in the order in which they are replayed.
        const FILES: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../tests/conform/", $name, ".json")))),*
        ];
    };
}

files![
    "00_the_state_is_served",
    "01_what_is_not_there_is_said_to_be_not_there",
    "10_a_lease_is_taken_renewed_and_given_back",
    "11_a_change_is_a_trial_that_is_rolled_back",
    "12_a_change_is_kept_when_it_is_confirmed",
    "13_a_change_needs_the_revision_in_force",
    "14_a_value_that_a_knob_does_not_take_is_refused",
    "15_a_step_beyond_the_ratio_is_refused",
    "16_a_body_that_is_not_well_formed_is_refused",
    "20_a_change_without_the_lease_is_refused",
    "21_another_instance_is_refused",
    "22_a_generation_is_never_taken_twice",
    "23_one_trial_at_a_time",
    "24_a_retry_gets_the_first_answer",
    "25_an_ending_that_comes_too_late_is_told_what_became_of_the_change",
    "26_one_holder_at_a_time",
    "27_the_host_undoes_a_trial_whose_time_is_up",
    "28_the_host_undoes_a_trial_whose_lease_ended",
    "29_giving_the_lease_back_undoes_the_trial",
    "30_a_sidecar_is_no_operator",
    "31_a_freeze_undoes_and_holds",
    "32_a_pin_holds_a_knob",
    "33_a_pin_ends_a_trial_and_is_not_overwritten",
    "34_a_pin_ends_by_itself",
    "35_a_reset_goes_back_to_the_baseline",
    "36_changes_come_at_a_bounded_rate",
];

/// The corpus that this version was built with, by file name.
#[must_use]
pub fn corpus() -> Vec<(&'static str, Case)> {
    let read = |&(name, text): &(&'static str, &str)| {
        let case = serde_json::from_str(text).expect("a test reads every file of the corpus");
        (name, case)
    };
    FILES.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_of_the_corpus_is_replayed_and_recorded() {
        let there = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conform"));
        let there: BTreeSet<String> = there
            .unwrap()
            .filter_map(|file| file.unwrap().file_name().into_string().ok())
            .filter_map(|name| Some(name.strip_suffix(".json")?.to_owned()))
            .collect();
        let listed: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(there, listed);
        for (name, case) in corpus() {
            let said = name.split_once('_').unwrap().1.replace('_', " ");
            assert_eq!(case.name, said);
            for step in &case.steps {
                assert!(step.answer.is_some(), "{name}");
            }
        }
    }
}
