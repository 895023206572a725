//! Table and JSON of `bench control`.

use serde_json::{Value, json};

use super::{Figures, PORTS_PER_SUBSCRIBER, bytes};
use crate::bench::report::{Goal, rounded};

/// Mappings of the goal for the sweep.
const SWEEP_GOAL: f64 = 10e6;

/// The goals that have figures.
#[must_use]
pub fn goals(figures: &Figures) -> Vec<Goal> {
    let mut goals = vec![Goal {
        what: "sweep: per cent of one processor for 10 M mappings (the daemon's share, in proportion)",
        limit: 1.0,
        value: 100.0 * figures.daemon_share * SWEEP_GOAL / figures.mappings as f64,
        is_least: false,
    }];
    let fastest = figures.floods.iter().map(|flood| flood.blocks_per_second);
    if let Some(value) = fastest.reduce(f64::max) {
        goals.push(Goal {
            what: "first packets of new subscribers a second on one core",
            limit: 300_000.0,
            value,
            is_least: true,
        });
    }
    goals
}

/// Lines for people.
#[must_use]
pub fn table(figures: &Figures) -> String {
    let times = |times: Option<[f64; 3]>| {
        times.map_or_else(
            || "not measured".to_owned(),
            |[least, median, most]| {
                format!("least {least:.1}, median {median:.1}, 99.9 % {most:.1} us")
            },
        )
    };
    let mut text = format!(
        "with {} live mappings, {PORTS_PER_SUBSCRIBER} a subscriber:\n\
         first packet of a new subscriber, to the far end: {}\n\
         packets of known sessions while the daemon sweeps: {}\n\
         packets of known sessions while it is stopped:     {}\n\
         sweep: {:.3} s of work for one; the daemon takes {:.1} % of one processor\n\
         a start that takes over: {:.2} s to its first answer\n",
        figures.mappings,
        times(figures.punt_us),
        times(figures.swept_us),
        times(figures.calm_us),
        figures.sweep_secs,
        100.0 * figures.daemon_share,
        figures.takeover_secs,
    );
    for (what, bytes) in bytes() {
        text.push_str(&format!("memory of a {what}: {bytes} bytes\n"));
    }
    for flood in &figures.floods {
        text.push_str(&format!(
            "new subscribers, log.sync = {}: {:.0} blocks/s on one core; known subscriber {} of {} answered\n",
            if flood.sync { "full" } else { "relaxed" },
            flood.blocks_per_second,
            flood.known_answered,
            flood.known_sent,
        ));
    }
    if let Some(log) = &figures.log {
        text.push_str(&format!(
            "log: {:.0} events/s committed, {:.0} events/s written and sealed, on one thread\n",
            log.committed_per_second, log.sealed_per_second
        ));
    }
    for goal in goals(figures) {
        text.push_str(&goal.line());
    }
    text
}

/// One object with everything.
#[must_use]
pub fn json(figures: &Figures) -> Value {
    let memory: serde_json::Map<String, Value> = bytes()
        .into_iter()
        .map(|(what, bytes)| (what.replace(' ', "_"), json!(bytes)))
        .collect();
    let log = figures.log.as_ref().map(|log| {
        json!({
            "committed_per_second": rounded(log.committed_per_second, 0),
            "sealed_per_second": rounded(log.sealed_per_second, 0),
        })
    });
    json!({
        "control": {
            "mappings": figures.mappings,
            "punt_us": figures.punt_us,
            "swept_us": figures.swept_us,
            "calm_us": figures.calm_us,
            "sweep_secs": rounded(figures.sweep_secs, 4),
            "daemon_share": rounded(figures.daemon_share, 4),
            "takeover_secs": rounded(figures.takeover_secs, 2),
            "bytes": memory,
            "new_subscribers": figures.floods,
            "log": log,
        },
        "goals": goals(figures).iter().map(Goal::json).collect::<Vec<_>>(),
    })
}
