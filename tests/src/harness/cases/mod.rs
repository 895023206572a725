//! The table of cases, one sentence each.

pub mod filters;
mod hairpin;
mod icmp_errors;
mod lengths;
mod mappings;
mod transports;
mod vlans;

use super::trial::Trial;

/// What is claimed, and how it is tried.
pub type Case = (&'static str, fn(&mut Trial));

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        transports::CASES,
        vlans::CASES,
        filters::CASES,
        lengths::CASES,
        mappings::CASES,
        hairpin::CASES,
        icmp_errors::CASES,
    ]
    .concat()
}

/// Runs every case.
pub fn run_all(trial: &mut Trial) {
    for (sentence, case) in all() {
        trial.begin(sentence);
        case(trial);
    }
}
