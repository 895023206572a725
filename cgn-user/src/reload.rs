//! Reloading the configuration: what would change, and asking the supervisor for it.
//!
//! A reload is a restart in the same process (ADR 13): the daemon ends in order and executes itself
//! again, which adopts tables and programs.

use cgn_common::layout::SubscriberHead;

use crate::api;
use crate::api::rows::{ChangeRow, ReloadAnswer, ReloadRequest};
use crate::config::Checked;
use crate::config::difference::{Concerned, Difference, Effect, differences};
use crate::config::prefix_list::Network;
use crate::dataplane::geometry::Geometry;
use crate::policy::groups::Groups;
use crate::policy::shape;
use crate::realms::InsideKey;
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
    let geometry = shape::geometry(&new);
    let changes: Vec<ChangeRow> = differences(&state.config.config, &new.config)
        .into_iter()
        .chain(lists_that_differ(&state.config, &new))
        .map(|difference| row(state, &geometry, difference))
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

/// A change, with the number of subscribers that have a block and whom it concerns. What is to come
/// is `new`.
fn row(state: &State, new: &Geometry, difference: Difference) -> ChangeRow {
    let old = &state.geometry;
    let subscribers = match &difference.concerns {
        // What changes the layout changes that of all.
        _ if difference.effect >= Effect::Disruptive => in_pools(state, |_| true),
        Concerned::All => in_pools(state, |_| true),
        Concerned::Pool(name) => in_pools(state, |pool| pool == name),
        Concerned::Group(name) => with_blocks(state, |inside| {
            is_in(&old.groups, inside, name) || is_in(&new.groups, inside, name)
        }),
        Concerned::Moved => with_blocks(state, |inside| old.pool_of(inside) != new.pool_of(inside)),
    };
    ChangeRow {
        key: difference.key,
        from: difference.from,
        to: difference.to,
        effect: difference.effect,
        subscribers,
    }
}

fn is_in(groups: &Groups, inside: InsideKey, name: &str) -> bool {
    let number = groups.number_of(inside);
    number.is_some_and(|number| groups.all()[number].name == name)
}

/// Subscribers with a block of pools with such names.
fn in_pools(state: &State, fits: impl Fn(&str) -> bool) -> u64 {
    let stats = state.stats();
    let pools = state.geometry.pools.iter().enumerate();
    pools
        .filter(|(_, pool)| fits(&pool.name))
        .map(|(number, _)| u64::from(stats.pool(number).status.subscribers))
        .sum()
}

/// Subscribers with a block and such keys.
fn with_blocks(state: &State, fits: impl Fn(InsideKey) -> bool) -> u64 {
    let has_block = |index| {
        let entry = state.memory.subscribers.get(index);
        entry.is_some_and(|entry| SubscriberHead(entry.head.load()).block_count() > 0)
    };
    let all = state.geometry.each_subscriber();
    let fitting = all.filter(|(inside, index)| has_block(*index) && fits(*inside));
    fitting.count() as u64
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
                    concerns: Concerned::All,
                });
            }
        }
    }
    changes
}
