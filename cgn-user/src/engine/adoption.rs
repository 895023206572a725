//! What an earlier daemon left in the tables, held against what it left in the log: blocks that
//! both know go on, and where they differ, both are repaired.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use cgn_common::block::{blocks_per_address, first_port};
use cgn_common::layout::{OwnedBlock, Rows};
use cgn_common::limits::FIRST_PORT;
use rand::SeedableRng as _;
use rand::rngs::{StdRng, SysRng};

use super::clock;
use super::keeper::{Granted, Keeper, block};
use super::scatter::Scatter;
use crate::alloc::Allocator;
use crate::dataplane::geometry::Arrangement;
use crate::dataplane::install::{self, Grant};
use crate::maplog::identity::Login;
use crate::maplog::maps::Maps;
use crate::maplog::{Entry as LogEntry, Event, Log, LoggedBlock, Recovery, ReleaseReason};
use crate::policy::shape;
use crate::realms::InsideKey;
use crate::state::{Reconciliation, State};

/// Allocator and log, with what the tables (if they are adopted) and the log say of earlier
/// blocks.
///
/// # Errors
/// The tables contradict themselves, or the log cannot be written.
pub fn keeper(
    state: &Arc<State>,
    log: Log,
    recovery: &Recovery,
    adopt: bool,
    random: StdRng,
) -> Result<Keeper> {
    let specs = shape::pool_specs(&state.geometry, &state.config.config);
    let mut allocator = Allocator::new(&specs, shape::hold_policy(&state.config), random)?;
    let seed = StdRng::try_from_rng(&mut SysRng).context("no random numbers from the kernel")?;
    let scatter = Scatter::open(state, recovery, seed)?;
    if let Some(scatter) = &scatter {
        allocator.set_newest_key(scatter.newest());
    }
    let maps = Maps::read(&state.config.config.log.directory)?;
    let mut report = Reconciliation::default();
    let granted = match adopt {
        true => adopted(state, &mut report),
        false => Vec::new(),
    };
    for one in &granted {
        let Grant {
            pool,
            external,
            block,
            slab,
            ..
        } = one.grant;
        allocator
            .adopt(pool, one.subscriber, external.to_bits(), block, slab)
            .context("the tables contradict themselves; `cgn run --discard-tables` starts with empty ones")?;
        if let Some(scatter) = scatter.as_ref().filter(|_| is_scattered(state, pool)) {
            let key = scatter.adopted(state, external)?;
            allocator.keep_key(pool, external.to_bits(), key);
        }
    }
    for (inside, subscriber) in state.geometry.each_subscriber() {
        install::renew(&state.memory, &state.geometry, inside, subscriber);
    }
    count_sessions(state).context("the table of sessions cannot be read")?;
    let missing = reconcile(state, &granted, recovery, &mut report);
    hold(state, &mut allocator, &granted, recovery);
    tell(&report);
    state.stats().reconciliation = report;
    let mut keeper = Keeper::new(Arc::clone(state), allocator, log, granted, scatter, maps);
    keeper
        .catch_up_with(&missing)
        .context("the mapping log cannot be brought up to date")?;
    keeper
        .record_maps()
        .context("static ports must be on record before they are used")?;
    keeper.mark(Event::Start);
    if state.config.config.identity.listen.is_none() {
        // Nobody tells of their end any more.
        let logins = recovery.names.all().map(|named| named.login);
        let ends = logins.map(|login| {
            Event::Logout(Login {
                early_secs: 0,
                ..login
            })
        });
        keeper.log_identities(&ends.collect::<Vec<_>>());
    }
    keeper.advance();
    keeper.follow_withheld();
    Ok(keeper)
}

fn tell(report: &Reconciliation) {
    let Reconciliation {
        identical,
        repaired,
        orphaned,
        incomplete,
    } = *report;
    if *report == Reconciliation::default() {
        return;
    }
    if repaired > 0 {
        tracing::warn!(
            repaired,
            "blocks in use had no log record: who had them before now cannot be told from the log"
        );
    }
    tracing::info!(
        identical,
        repaired,
        orphaned,
        incomplete,
        "blocks of the last daemon: identical in tables and log; repaired, those in use without a \
         record, logged again; orphaned, those in the log only, released on record and held; \
         incomplete, those that were only half given, taken out of the tables"
    );
}

/// Counts whose sessions are in the table.
fn count_sessions(state: &State) -> std::io::Result<()> {
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for (key, _) in state.memory.sessions.all()? {
        *counts.entry(key.inside).or_default() += 1;
    }
    for (inside, subscriber) in state.geometry.each_subscriber() {
        if let Some(quota) = state.memory.quotas.get(subscriber) {
            let count = counts.get(&inside.to_bits()).copied().unwrap_or(0);
            quota.sessions.store(count);
        }
    }
    Ok(())
}

/// Blocks that the tables hold whole. A block that its last daemon had only
/// half given is taken out of them.
fn adopted(state: &State, report: &mut Reconciliation) -> Vec<Granted> {
    let (geometry, memory) = (&state.geometry, &state.memory);
    let mut granted = Vec::new();
    for (pool, shape) in geometry.pools.iter().enumerate() {
        let pool = pool as u16;
        for external in shape.each_address() {
            let entry = geometry
                .external_index(external)
                .and_then(|i| memory.externals.get(i));
            let Some(entry) = entry else { continue };
            let first_row = Rows(entry.0.load()).first_row();
            for block in 0..blocks_per_address(shape.block_shift) {
                let Some(row) = memory.blocks.get(first_row + block) else {
                    continue;
                };
                let (line, inside) = row.read();
                let inside = InsideKey::from_bits(inside);
                let (Some(slab), Some(subscriber)) = (
                    geometry.slab_of(pool, line),
                    geometry.subscriber_index(inside),
                ) else {
                    if line != 0 {
                        row.0.store(0);
                        report.incomplete += 1;
                    }
                    continue;
                };
                let grant = Grant {
                    inside,
                    external,
                    pool,
                    block: block as u16,
                    slab,
                };
                if has_block(state, subscriber, line) && !is_closed(state, line) {
                    granted.push(Granted {
                        grant,
                        subscriber,
                        empty_since: None,
                    });
                } else {
                    install::withdraw(memory, geometry, &grant);
                    report.incomplete += 1;
                }
            }
        }
    }
    granted
}

fn has_block(state: &State, subscriber: u32, line: u32) -> bool {
    let mut blocks = state.memory.owned_blocks(subscriber);
    blocks.any(|block| OwnedBlock(block.load()).slab_line() == line)
}

/// A block that was being taken back when the daemon died: no mapping can be opened in it.
fn is_closed(state: &State, line: u32) -> bool {
    let room = state.memory.room(line);
    room.is_none_or(|room| room.used().is_closed())
}

type Key = (Ipv4Addr, u16);

fn key(state: &State, grant: &Grant) -> Key {
    let shift = state.geometry.pools[usize::from(grant.pool)].block_shift;
    (grant.external, first_port(u32::from(grant.block), shift))
}

/// Log records that bring the log in line with the tables.
fn reconcile(
    state: &State,
    granted: &[Granted],
    recovery: &Recovery,
    report: &mut Reconciliation,
) -> Vec<LogEntry> {
    let unix_ms = clock::unix_ms(state);
    let in_tables: BTreeMap<Key, &Granted> = granted
        .iter()
        .map(|one| (key(state, &one.grant), one))
        .collect();
    let is_same = |key: &Key, logged: &LoggedBlock| {
        in_tables
            .get(key)
            .is_some_and(|one| is_same_owner(state, logged, one))
    };
    let mut entries = Vec::new();
    for (key, logged) in &recovery.live {
        if !is_same(key, logged) {
            let event = Event::Release {
                block: logged.block,
                reason: ReleaseReason::Orphan,
            };
            entries.push(LogEntry { unix_ms, event });
            report.orphaned += 1;
        }
    }
    for (key, one) in &in_tables {
        if state.geometry.is_static(one.grant.pool, one.grant.block) {
            report.identical += 1;
            continue;
        }
        let logged = recovery.live.get(key);
        if logged.is_some_and(|logged| is_same_owner(state, logged, one)) {
            report.identical += 1;
        } else {
            report.repaired += 1;
            tracing::debug!(inside = %state.geometry.realms.who(one.grant.inside), external = %key.0, port = key.1, "a block in use had no log record");
            let event = Event::Allocate(block(state, &one.grant));
            entries.push(LogEntry { unix_ms, event });
        }
    }
    entries
}

fn is_scattered(state: &State, pool: u16) -> bool {
    state.geometry.pools[usize::from(pool)].is_scattered()
}

fn is_same_owner(state: &State, logged: &LoggedBlock, one: &Granted) -> bool {
    let now = block(state, &one.grant);
    (logged.block.realm, logged.block.inside) == (now.realm, now.inside)
}

/// Holds the blocks that were live or held before, and are nobody's now
/// (RFC 6888 REQ-8, also after a crash).
fn hold(
    state: &State,
    allocator: &mut Allocator<StdRng>,
    granted: &[Granted],
    recovery: &Recovery,
) {
    let hold_ms = u64::from(state.config.config.hold.block_secs) * 1000;
    let (now_ms, unix_ms) = (clock::monotonic_ms(state), clock::unix_ms(state));
    let owned: BTreeSet<Key> = granted.iter().map(|one| key(state, &one.grant)).collect();
    let orphans = recovery.live.iter().filter(|(key, _)| !owned.contains(key));
    let orphans = orphans.map(|(_, logged)| (logged.block, now_ms + hold_ms));
    let released = recovery.released.values().map(|logged| {
        let since = unix_ms.saturating_sub(logged.unix_ms);
        (logged.block, now_ms + hold_ms.saturating_sub(since))
    });
    for (block, until_ms) in orphans.chain(released) {
        let external = block.external.to_bits();
        let ports = block.ports.first()..=block.ports.last();
        let Some((pool, blocks)) = allocator.blocks_covering(external, ports) else {
            continue; // the configuration has it no more
        };
        let arrangement = state.geometry.pools[usize::from(pool)].arrangement;
        let blocks = match arrangement == Arrangement::of_key(block.key) {
            true => Some(blocks),
            // Its ports may be in any block now.
            false => allocator
                .blocks_covering(external, FIRST_PORT..=u16::MAX)
                .map(|(_, all)| all),
        };
        for number in blocks.into_iter().flatten() {
            // Fails for a block that has an owner again, which needs no hold.
            let held = allocator.hold_until(pool, external, number, until_ms);
            if held.is_ok() && is_scattered(state, pool) && block.is_scattered() {
                allocator.keep_key(pool, external, block.key);
            }
        }
    }
}
