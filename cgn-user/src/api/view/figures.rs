//! What is counted rather than listed: pools, reasons, the daemon.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cgn_common::counters::{Counters, RealmDrops};
use cgn_common::limits::USABLE_PORTS;
use cgn_common::verdict::{Effect, Reason};

use super::Selection;
use crate::api::rows::{
    DropRow, InterfaceRow, MirrorRow, PoolRow, ReconciliationRow, Refusals, RuleRow, Status,
};
use crate::config::Mirror;
use crate::dataplane::geometry::{Arrangement, Geometry, PoolShape};
use crate::policy::access::Placed;
use crate::policy::throttle::Prefix;
use crate::realms::{FIRST_NAME, Realms, label};
use crate::state::{PoolStats, Reconciliation, RulePackets, State, Stats};
use crate::utc::Utc;
use crate::watch::mirror::Figures;

/// The selected pools, in the order of the configuration.
#[must_use]
pub fn pools(geometry: &Geometry, stats: &Stats, selection: Selection) -> Vec<PoolRow> {
    let pools = geometry.pools.iter().enumerate();
    pools
        .filter(|(number, _)| {
            selection
                .pool
                .is_none_or(|pool| usize::from(pool) == *number)
        })
        .map(|(number, shape)| {
            let ranges = geometry.subscribers.iter();
            let subscriber_addresses = ranges
                .filter(|range| usize::from(range.pool) == number)
                .map(|range| u64::from(range.last.to_bits() - range.first.to_bits()) + 1)
                .sum();
            let attacked = stats.floods.attacked.iter();
            PoolRow {
                withheld: withheld(geometry, shape),
                unsolicited: stats.floods.unsolicited.get(number).copied().unwrap_or(0),
                attacked: listed(attacked.filter(|address| shape.has(**address))),
                ..pool_row(shape, stats.pool(number), subscriber_addresses)
            }
        })
        .collect()
}

/// Addresses of the pool that are out of use.
fn withheld(geometry: &Geometry, shape: &PoolShape) -> String {
    let all = geometry.withheld.all().into_iter();
    let own = all.filter(|(address, _)| shape.has(*address));
    listed(own.map(|(address, standing)| format!("{address} {}", standing.name())))
}

/// In words.
fn listed<T: ToString>(items: impl Iterator<Item = T>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    items.join(", ")
}

fn pool_row(shape: &PoolShape, pool: PoolStats, subscriber_addresses: u64) -> PoolRow {
    let status = pool.status;
    let counters = status.counters;
    PoolRow {
        pool: shape.name.clone(),
        addresses: shape.address_count().into(),
        addresses_used: status.addresses_used.into(),
        subscriber_addresses,
        subscribers: status.subscribers.into(),
        block_ports: 1 << shape.block_shift,
        port_mode: match shape.arrangement {
            Arrangement::Contiguous => "contiguous".to_owned(),
            Arrangement::Scattered => "scattered".to_owned(),
            Arrangement::Classes => "classes".to_owned(),
        },
        entropy_bits: entropy_bits(shape),
        blocks_per_subscriber: shape.blocks_per_subscriber.into(),
        max_blocks: shape.max_blocks.into(),
        blocks_used: status.blocks_used,
        blocks_held: status.blocks_held,
        blocks_free: status.blocks_free,
        mappings: pool.mappings.into(),
        held_ports: pool.held_ports,
        refusals: Refusals {
            subscriber_limit: counters.refused_subscriber_limit,
            address_exhausted: counters.refused_address_exhausted,
            pool_exhausted: counters.refused_pool_exhausted,
            no_slab: counters.refused_no_slab,
            log_unavailable: pool.refused_log_unavailable,
        },
        withheld: String::new(),
        unsolicited: 0,
        attacked: String::new(),
    }
}

/// log2 of the ports that a subscriber's next mapping can have for one who knows earlier ones: those
/// of its block (from 1024 on), or, scattered, all of the address's whole blocks; to hundredths.
fn entropy_bits(shape: &PoolShape) -> f64 {
    let block_ports = 1_u32 << shape.block_shift;
    let ports = match shape.arrangement {
        Arrangement::Contiguous => block_ports,
        Arrangement::Scattered => USABLE_PORTS,
        Arrangement::Classes => block_ports / 64 * 63,
    };
    (f64::from(ports).log2() * 100.0).round() / 100.0
}

/// Why packets were not translated, the most frequent first; only what
/// happened, unless `all` reasons are wanted.
#[must_use]
pub fn drops(fast_path: &Counters, slow_path: &Counters, all: bool) -> Vec<DropRow> {
    ends(
        |reason| [fast_path.ended(reason), slow_path.ended(reason)],
        all,
    )
}

/// The same of one realm, of which only what is dropped is counted.
#[must_use]
pub fn drops_of_realm(fast_path: &RealmDrops, slow_path: &RealmDrops, all: bool) -> Vec<DropRow> {
    let count = |drops: &RealmDrops, reason: Reason| drops.0[reason as usize];
    let mut rows = ends(
        |reason| [count(fast_path, reason), count(slow_path, reason)],
        all,
    );
    rows.retain(|row| row.effect == effect_name(Effect::Drop));
    rows
}

/// Name of each realm, and packets dropped that are of it, by fast and slow path together; nothing where there is
/// but one.
#[must_use]
pub fn drops_by_realm(state: &State) -> Vec<(String, u64)> {
    let names = state.geometry.realms.names();
    if names.len() < 2 {
        return Vec::new();
    }
    let mut sums: Vec<u64> = vec![0; names.len()];
    let fast_path = (state.fast_path_realms)();
    for of_path in [&fast_path, &state.stats().realm_drops] {
        for (sum, drops) in sums.iter_mut().zip(of_path) {
            *sum += drops.all();
        }
    }
    names.iter().cloned().zip(sums).collect()
}

/// Rows by what each path counted.
fn ends(count: impl Fn(Reason) -> [u64; 2], all: bool) -> Vec<DropRow> {
    let row = |reason: &Reason| {
        let [fast_path, slow_path] = count(*reason);
        DropRow {
            reason: reason.name().to_owned(),
            effect: effect_name(reason.effect()).to_owned(),
            fast_path,
            slow_path,
            help: reason.help().to_owned(),
        }
    };
    let count = |row: &DropRow| row.fast_path + row.slow_path;
    let mut rows: Vec<DropRow> = Reason::ALL.iter().map(row).collect();
    rows.retain(|row| all || count(row) > 0);
    let rank = |row: &DropRow| {
        ["drop", "punt", "pass"]
            .iter()
            .position(|name| *name == row.effect)
    };
    rows.sort_by_key(|row| (rank(row), std::cmp::Reverse(count(row))));
    rows
}

/// Rules of the access lists, in the order in which packets meet them.
#[must_use]
pub fn rules(rules: &[(Placed, RulePackets)], realms: &Realms) -> Vec<RuleRow> {
    let row = |(rule, packets): &(Placed, RulePackets)| RuleRow {
        place: rule.number + 1,
        rule: rule.name.clone(),
        direction: rule.direction_name().to_owned(),
        action: rule.action_name().to_owned(),
        realm: realm_of_rule(rule, realms).map(str::to_owned),
        group: (!rule.group.is_empty()).then(|| rule.group.clone()),
        prefixes: rule.ranges,
        packets: packets.held,
        over_rate: (rule.most != 0).then_some(packets.over_rate),
    };
    rules.iter().map(row).collect()
}

/// Name of the one realm that a rule is for, where there are several.
#[must_use]
pub fn realm_of_rule<'a>(rule: &Placed, realms: &'a Realms) -> Option<&'a str> {
    let number = rule.only_realm().filter(|_| realms.count() > 1)?;
    let name = realms.names().get(usize::from(number))?;
    Some(label(name))
}

/// Mirrors, in the order of the configuration.
#[must_use]
pub fn mirrors(state: &State) -> Vec<MirrorRow> {
    let all = state.config.config.mirror.iter().zip(&state.mirrors);
    let row = |(mirror, figures): (&Mirror, &Arc<Figures>)| {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        MirrorRow {
            mirror: mirror.name.clone(),
            to: mirror.target(),
            state: figures.state(),
            matched: count(&figures.matched),
            missed: count(&figures.missed),
            sent: count(&figures.sent),
            lost: count(&figures.lost),
            bytes: count(&figures.bytes),
        }
    };
    all.map(row).collect()
}

const fn effect_name(effect: Effect) -> &'static str {
    match effect {
        Effect::Drop => "drop",
        Effect::Punt => "punt",
        Effect::Pass => "pass",
    }
}

/// The daemon.
#[must_use]
pub fn status(state: &State) -> Status {
    let stats = state.stats().clone();
    let interfaces = stats.interfaces.iter().map(|interface| InterfaceRow {
        interface: interface.name.clone(),
        side: interface.side.to_owned(),
        mode: interface.mode.to_owned(),
    });
    let log = stats.log;
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: Utc(state.started_unix_ms).to_string(),
        interfaces: interfaces.collect(),
        mappings: stats.mappings().into(),
        next_hops: stats.next_hops,
        route_updates: stats.routes_generation,
        sweeps: stats.sweep.count,
        sweep_last_secs: stats.sweep.last_secs,
        log_path: state.config.config.log.directory.display().to_string(),
        log_records: log.allocate_records
            + log.release_records
            + log.session_records
            + log.mark_records,
        log_errors: log.append_errors,
        log_refusing: log.is_refusing,
        log_sync: state.config.config.log.sync,
        log_lacking_since: log.lacking_since_ms.map(|ms| Utc(ms).to_string()),
        log_lacking_records: log.lacking_records,
        reconciliation: found_at_start(&stats.reconciliation),
        waiting_packets: stats.punts.waiting_packets,
        busy_percent: stats.floods.busy_percent.round(),
        put_off_percent: stats.floods.put_off_percent,
        throttled: stats
            .floods
            .throttled
            .iter()
            .map(|prefix| throttled(prefix, state))
            .collect(),
        clock_offset_secs: state.memory.clock_offset_ns() / 1_000_000_000,
    }
}

fn throttled(prefix: &Prefix, state: &State) -> String {
    let side = prefix.side();
    match state.geometry.realms.names().get(usize::from(prefix.realm)) {
        Some(realm) if realm != FIRST_NAME => format!("{side} {realm}/{prefix}"),
        _ => format!("{side} {prefix}"),
    }
}

fn found_at_start(found: &Reconciliation) -> ReconciliationRow {
    ReconciliationRow {
        identical: found.identical,
        repaired: found.repaired,
        orphaned: found.orphaned,
        incomplete: found.incomplete,
    }
}
