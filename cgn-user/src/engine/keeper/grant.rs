//! Giving blocks: who gets one, and in which order allocator, log and tables are told.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use cgn_common::layout::{Features, refusal_of};
use cgn_common::nat::quota;
use cgn_common::verdict::Reason;
use foldhash::{HashSet, HashSetExt as _};

use super::{Granted, Keeper};
use crate::alloc::{Allocation, Refusal};
use crate::dataplane::install::{self, Grant};
use crate::engine::clock;
use crate::maplog::{Entry, Event};
use crate::policy;
use crate::realms::InsideKey;

/// Stands in a block's tables for the number of its record when it has none.
const NO_RECORD: u64 = 0;

/// A block that the allocator gave and the log has not seen yet.
struct Pending {
    grant: Grant,
    subscriber: u32,
    allocation: Allocation,
}

impl Keeper {
    /// Gives each subscriber one more block, however often he is named, and who asked first first: one
    /// group of log records, one wait for the disk, one time. Returns why those that got none got none.
    pub fn grant(&mut self, mut wanted: Vec<InsideKey>) -> HashMap<InsideKey, Reason> {
        let mut seen = HashSet::with_capacity(wanted.len());
        wanted.retain(|inside| seen.insert(*inside));
        let began = Instant::now();
        let now_ms = clock::monotonic_ms(&self.state);
        let mut refusals = HashMap::new();
        let pending: Vec<Pending> = wanted
            .into_iter()
            .filter_map(|inside| {
                self.allocate(inside, now_ms)
                    .map_err(|reason| refusals.insert(inside, reason))
                    .ok()
            })
            .collect();
        let unix_ms = clock::unix_ms(&self.state);
        // Whose static ports are is on record by the configuration.
        let geometry = &self.state.geometry;
        let is_static = |p: &Pending| geometry.is_static(p.grant.pool, p.grant.block);
        let (fixed, pending): (Vec<_>, Vec<_>) = pending.into_iter().partition(is_static);
        for pending in fixed {
            if let Err(reason) = self.install(&pending, NO_RECORD, unix_ms) {
                refusals.insert(pending.grant.inside, reason);
            }
        }
        if pending.is_empty() {
            return refusals;
        }
        let entries: Vec<Entry> = pending
            .iter()
            .map(|p| Entry {
                unix_ms,
                event: Event::Allocate(self.block(&p.grant)),
            })
            .collect();
        match self.append(&entries) {
            Ok(first) => {
                self.state.stats().log.allocate_records +=
                    first.map_or(0, |_| entries.len() as u64);
                for (number, pending) in (0..).zip(pending) {
                    let sequence = first.map_or(NO_RECORD, |first| first + number);
                    if let Err(reason) = self.install(&pending, sequence, unix_ms) {
                        refusals.insert(pending.grant.inside, reason);
                    }
                }
            }
            Err(_) => {
                for pending in pending {
                    self.refuse_unlogged(&pending);
                    refusals.insert(pending.grant.inside, Reason::LogUnavailable);
                }
            }
        }
        let grants = &mut self.state.stats().punts.grants;
        grants.observe(began.elapsed().as_secs_f64());
        refusals
    }

    fn allocate(&mut self, inside: InsideKey, now_ms: u64) -> Result<Pending, Reason> {
        let (memory, geometry) = (&self.state.memory, &self.state.geometry);
        let pool = install::pool_in_use(memory, geometry, inside);
        let (Some(pool), Some(subscriber)) = (pool, geometry.subscriber_index(inside)) else {
            return Err(Reason::SpoofedSource);
        };
        if !self.may_have_more(pool, inside, subscriber) {
            // A race: XDP was told before.
            return Err(self.refuse(subscriber, Reason::NoPort));
        }
        let allocated = match self.next_static(pool, inside, subscriber) {
            Some((external, block)) => self
                .allocator
                .assign(pool, subscriber, external, block, now_ms),
            None => self.allocator.allocate(pool, subscriber, now_ms),
        };
        match allocated {
            Ok(allocation) => self.scattered(Pending {
                grant: Grant {
                    inside,
                    external: Ipv4Addr::from_bits(allocation.external),
                    pool,
                    block: allocation.block,
                    slab: allocation.slab,
                },
                subscriber,
                allocation,
            }),
            Err(refusal) => {
                self.tell_refusal(pool, inside, refusal);
                install::refuse(&self.state.memory, subscriber, true);
                if !matches!(refusal, Refusal::SubscriberLimit { .. }) {
                    self.refused.insert(subscriber);
                }
                let has_blocks = self.allocator.blocks_of(pool, subscriber).is_some();
                let reason = match has_blocks {
                    true => Reason::NoPort,
                    false => Reason::NoBlock,
                };
                Err(self.refuse(subscriber, reason))
            }
        }
    }

    /// External address and number of the first static block that the subscriber has not got yet.
    fn next_static(&self, pool: u16, inside: InsideKey, subscriber: u32) -> Option<(u32, u16)> {
        let map = self.state.geometry.map(pool)?;
        let who = self.state.geometry.realms.who(inside);
        // Who moved to another pool may still have blocks of this one.
        let share = map
            .forward(who.address)
            .filter(|_| map.realm == who.realm)?;
        let owned = self.allocator.blocks_of(pool, subscriber);
        let is_owned = |number: u16| {
            owned.is_some_and(|owned| owned.blocks.iter().any(|one| one.block == number))
        };
        let mut blocks = share.first_block..share.first_block + map.static_blocks;
        let next = blocks.find(|number| !is_owned(*number as u16))?;
        Some((share.external.to_bits(), next as u16))
    }

    /// The block with its address's key in the tables, where it is to have one.
    fn scattered(&mut self, pending: Pending) -> Result<Pending, Reason> {
        let (key, external) = (pending.allocation.key, pending.grant.external);
        let Some(scatter) = self.scatter.as_ref().filter(|_| key != 0) else {
            return Ok(pending);
        };
        if let Err(error) = scatter.install(&self.state, external, key) {
            tracing::error!(error = &error as &dyn std::error::Error, "please report");
            self.take_back(&pending);
            return Err(Reason::Internal);
        }
        Ok(pending)
    }

    /// Tells daemon's log and sinks, the same once in a while.
    fn tell_refusal(&mut self, pool: u16, inside: InsideKey, refusal: Refusal) {
        let state = Arc::clone(&self.state);
        let who = state.geometry.realms.who(inside);
        let logged = state.in_log(inside);
        let limits = self.limits(pool);
        let now_ms = clock::monotonic_ms(&self.state);
        let told = self
            .notices
            .refused(now_ms, pool, logged, &refusal, &limits);
        if told.is_empty() {
            tracing::debug!(inside = %who, %refusal, "no block");
            return;
        }
        tracing::warn!(inside = %who, %refusal, "no block");
        told.into_iter().for_each(|what| self.post(what));
    }

    /// Whether the subscriber's group leaves it a further block.
    fn may_have_more(&self, pool: u16, inside: InsideKey, subscriber: u32) -> bool {
        let geometry = &self.state.geometry;
        let of_pool = geometry.pools[usize::from(pool)].blocks_per_subscriber;
        let most = geometry.groups.allowance(inside).most_blocks(of_pool);
        let blocks = self.allocator.blocks_of(pool, subscriber);
        blocks.map_or(0, |blocks| blocks.blocks.len()) < most as usize
    }

    /// Remembers a refusal, where any are.
    fn refuse(&self, subscriber: u32, reason: Reason) -> Reason {
        let memory = &self.state.memory;
        if memory.constants.features.has(Features::QUOTAS)
            && let Some((quota, kind)) = memory.quotas.get(subscriber).zip(refusal_of(reason))
        {
            quota::note(quota, kind, self.state.now_tick());
        }
        reason
    }

    fn install(&mut self, pending: &Pending, sequence: u64, unix_ms: u64) -> Result<(), Reason> {
        let state = &self.state;
        let given = install::give(
            &state.memory,
            &state.geometry,
            &pending.grant,
            unix_ms,
            sequence,
        );
        if let Err(error) = given {
            // The tables disagree with the allocator: a fault of ours. Fail closed.
            tracing::error!(error = &error as &dyn std::error::Error, "please report");
            return Err(Reason::Internal);
        }
        self.granted.push(Granted {
            grant: pending.grant,
            subscriber: pending.subscriber,
            empty_since: None,
        });
        Ok(())
    }

    /// Gives a block that nobody could use back to the allocator.
    fn take_back(&mut self, pending: &Pending) {
        let withdrawn =
            self.allocator
                .withdraw(pending.grant.pool, pending.subscriber, &pending.allocation);
        if let Err(error) = withdrawn {
            tracing::error!(error = &error as &dyn std::error::Error, "please report");
        }
    }

    fn refuse_unlogged(&mut self, pending: &Pending) {
        self.take_back(pending);
        let pool = usize::from(pending.grant.pool);
        if let Some(pool) = self.state.stats().pools.get_mut(pool) {
            pool.refused_log_unavailable += 1;
        }
    }

    /// A subscriber's newest block is nearly full: the inside key if it
    /// should get the next one. If its other blocks have room, the block asks
    /// again when it is fuller.
    #[must_use]
    pub fn consider(&self, event: &cgn_common::event::Event) -> Option<InsideKey> {
        let inside = InsideKey::from_bits(event.inside);
        let (memory, geometry) = (&self.state.memory, &self.state.geometry);
        let pool = install::pool_in_use(memory, geometry, inside)?;
        let shape = &geometry.pools[usize::from(pool)];
        let blocks = install::ports_used(memory, event.subscriber);
        let allowance = geometry.groups.allowance(inside);
        let capped = allowance.capped(blocks.len(), 1 << shape.block_shift);
        // Of a protocol of which it may have no more, it wants no more.
        let wanted = |used: [u32; 3]| [0, 1, 2].map(|at| if capped[at] { 0 } else { used[at] });
        let used: Vec<_> = blocks.iter().map(|(_, used)| wanted(*used)).collect();
        if policy::blocks::wants_next(&used, shape.watermark_ports) {
            return Some(inside);
        }
        let ports = 1 << shape.block_shift;
        let most = blocks
            .iter()
            .find(|(line, _)| *line == event.slab_line)
            .and_then(|(_, used)| used.iter().max().copied())?;
        let watermark = (most + ports / 16).min(ports);
        let room = memory.room(event.slab_line)?;
        room.set_limits(|limits| limits.requesting_at(watermark, false));
        None
    }
}
