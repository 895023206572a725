//! Reloading the configuration: what would change, and asking the supervisor for it.
//!
//! A reload is a restart in the same process (ADR 13): the daemon ends in order and executes itself
//! again, which adopts tables and programs.

use crate::api;
use crate::api::rows::{ChangeRow, ReloadAnswer, ReloadRequest};
use crate::config::Checked;
use crate::config::difference::{Difference, Effect, differences};
use crate::config::prefix_list::Network;
use crate::state::State;
use crate::supervisor;
use crate::watch::mirror;

/// What the supervisor is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// Tables that cannot be adopted may go: an operator said so.
    pub discard_tables: bool,
}

/// Reads the configuration file again, and says what is different. Unless it is a dry run, or
/// more than was allowed, the daemon then takes the changes over: it ends and starts anew.
///
/// # Errors
/// Every error of the file; nothing was changed.
pub fn reload(state: &State, request: ReloadRequest) -> anyhow::Result<ReloadAnswer> {
    let new = supervisor::configuration(&state.config_path)?;
    // A file that is of no use would end the daemon when it starts anew.
    api::tls(&new.config.control)?;
    mirror::check(&new.config)?;
    let changes: Vec<ChangeRow> = differences(&state.config.config, &new.config)
        .into_iter()
        .chain(lists_that_differ(&state.config, &new))
        .map(|difference| row(state, difference))
        .collect();
    let effect = changes
        .iter()
        .map(|change| change.effect)
        .max()
        .unwrap_or(Effect::None);
    let is_allowed = match effect {
        Effect::None => false,
        Effect::InPlace => true,
        Effect::Disruptive => request.allow_disruption,
        Effect::NeedsDetach => false,
    };
    let applies = is_allowed && !request.dry_run;
    if applies {
        let discard_tables = effect == Effect::Disruptive;
        state.reload.send_replace(Some(Reload { discard_tables }));
    }
    Ok(ReloadAnswer {
        changes,
        effect,
        applies,
    })
}

/// A change, with the number of subscribers that have a block and whom it concerns.
fn row(state: &State, difference: Difference) -> ChangeRow {
    let stats = state.stats();
    let pools = state.geometry.pools.iter().enumerate();
    let concerned = pools.filter(|(_, pool)| {
        let named = difference.pool.as_ref();
        // A pool that is changed in layout changes the layout of all.
        difference.effect >= Effect::Disruptive || named.is_none_or(|name| *name == pool.name)
    });
    let subscribers = concerned
        .map(|(number, _)| u64::from(stats.pool(number).status.subscribers))
        .sum();
    ChangeRow {
        key: difference.key,
        from: difference.from,
        to: difference.to,
        effect: difference.effect,
        subscribers,
    }
}

/// The files with prefixes that hold others than when they were read. Files of rules that are
/// new, or gone, are told by the keys of the configuration.
fn lists_that_differ(old: &Checked, new: &Checked) -> Vec<Difference> {
    let was = |name: &str| {
        let place = old.config.rule.iter().position(|rule| rule.name == name)?;
        old.lists.get(place)
    };
    let mut changes = Vec::new();
    for (rule, is) in new.config.rule.iter().zip(&new.lists) {
        let Some(was) = was(&rule.name) else {
            continue;
        };
        for (key, was, is) in [
            ("source_file", &was.source, &is.source),
            ("destination_file", &was.destination, &is.destination),
        ] {
            if was != is {
                let told = |list: &[Network]| Some(format!("{} prefixes", list.len()));
                changes.push(Difference {
                    key: format!("rule[{}].{key}, in the file", rule.name),
                    from: told(was),
                    to: told(is),
                    effect: Effect::InPlace,
                    pool: None,
                });
            }
        }
    }
    changes
}
