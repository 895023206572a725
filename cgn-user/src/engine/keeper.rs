//! The keeper of the blocks: allocator, mapping log and tables, always in the
//! same order. Given: log record, then tables. Taken: tables, then log record,
//! then allocator; so a block is never without its record while a packet may
//! use it, and never given to another before its release is on record.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use cgn_common::layout::{Features, header, refusal_of};
use cgn_common::nat::quota;
use cgn_common::verdict::Reason;
use rand::rngs::StdRng;

use super::clock;
use super::notices::{Limits, Notices};
use super::scatter::Scatter;
use crate::alloc::{Allocation, Allocator, Refusal};
use crate::config::OnFull;
use crate::dataplane::install::{self, Grant};
use crate::dataplane::journal::News;
use crate::maplog::maps::{Maps, MapsError};
use crate::maplog::notice::{Notice, What};
use crate::maplog::{
    AppendError, Block, Entry, Event, Log, PortRange, ProtocolScope, ReleaseReason,
};
use crate::policy;
use crate::policy::shape;
use crate::realms::InsideKey;
use crate::state::State;
use crate::utc::Utc;
use crate::withheld::Standing;

/// Stands in a block's tables for the number of its record when it has none.
const NO_RECORD: u64 = 0;

/// A block that a subscriber has.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    pub grant: Grant,
    /// Index in `SUBSCRIBERS`.
    pub subscriber: u32,
    /// Tick at which the sweep first found it empty.
    pub empty_since: Option<u32>,
}

/// Owner of allocator and log.
pub struct Keeper {
    state: Arc<State>,
    allocator: Allocator<StdRng>,
    log: Log,
    /// Every block that a subscriber has, in no order.
    pub granted: Vec<Granted>,
    /// Subscribers whose refusal is to be reconsidered.
    refused: HashSet<u32>,
    /// Blocks that are out of the tables, but whose release could not be logged yet.
    unlogged: Vec<(Granted, ReleaseReason)>,
    notices: Notices,
    /// There if some pool has scattered blocks.
    scatter: Option<Scatter>,
    /// Records of static ports.
    maps: Maps,
    /// What allocator and tables were told of withheld addresses.
    withheld: BTreeMap<Ipv4Addr, Standing>,
}

/// A block that the allocator gave and the log has not seen yet.
struct Pending {
    grant: Grant,
    subscriber: u32,
    allocation: Allocation,
}

impl Keeper {
    /// `granted` is what the tables already hold.
    pub fn new(
        state: Arc<State>,
        allocator: Allocator<StdRng>,
        log: Log,
        granted: Vec<Granted>,
        scatter: Option<Scatter>,
        maps: Maps,
    ) -> Self {
        Self {
            notices: Notices::new(state.config.config.log.notice_secs),
            state,
            allocator,
            log,
            granted,
            refused: HashSet::new(),
            unlogged: Vec::new(),
            scatter,
            maps,
            withheld: BTreeMap::new(),
        }
    }

    /// Tells allocator and tables of addresses that were taken out of use, or into use again.
    pub fn follow_withheld(&mut self) {
        let wanted = self.state.geometry.withheld.all();
        if wanted == self.withheld {
            return;
        }
        let both = wanted.keys().chain(self.withheld.keys());
        let changed: BTreeSet<Ipv4Addr> = both
            .filter(|address| wanted.get(address) != self.withheld.get(address))
            .copied()
            .collect();
        for address in &changed {
            let standing = wanted.get(address).copied();
            let pools = self.state.geometry.pools.len() as u16;
            let is_known =
                (0..pools).any(|pool| self.allocator.withhold(pool, address.to_bits(), standing));
            let standing = standing.map_or("in use", Standing::name);
            match is_known {
                true => tracing::info!(%address, standing, "external address"),
                false => tracing::warn!(%address, standing, "an address that no pool has"),
            }
        }
        self.withheld = wanted;
        let (memory, geometry) = (&self.state.memory, &self.state.geometry);
        for granted in &self.granted {
            if changed.contains(&granted.grant.external) {
                install::limit(memory, geometry, granted.grant.inside, granted.subscriber);
            }
        }
    }

    /// Gives each subscriber one more block: one group of log records, one
    /// wait for the disk. Returns why those that got none got none.
    pub fn grant(&mut self, wanted: &HashSet<InsideKey>) -> HashMap<InsideKey, Reason> {
        let began = Instant::now();
        let mut refusals = HashMap::new();
        let pending: Vec<Pending> = wanted
            .iter()
            .filter_map(|inside| {
                self.allocate(*inside)
                    .map_err(|reason| refusals.insert(*inside, reason))
                    .ok()
            })
            .collect();
        // Whose static ports are is on record by the configuration.
        let geometry = &self.state.geometry;
        let is_static = |p: &Pending| geometry.is_static(p.grant.pool, p.grant.block);
        let (fixed, pending): (Vec<_>, Vec<_>) = pending.into_iter().partition(is_static);
        for pending in fixed {
            if let Err(reason) = self.install(&pending, NO_RECORD) {
                refusals.insert(pending.grant.inside, reason);
            }
        }
        if pending.is_empty() {
            return refusals;
        }
        let entries: Vec<Entry> = pending
            .iter()
            .map(|p| self.entry(Event::Allocate(self.block(&p.grant))))
            .collect();
        match self.append(&entries) {
            Ok(first) => {
                for (number, pending) in (0..).zip(pending) {
                    let sequence = first.map_or(NO_RECORD, |first| first + number);
                    if let Err(reason) = self.install(&pending, sequence) {
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

    fn allocate(&mut self, inside: InsideKey) -> Result<Pending, Reason> {
        let (memory, geometry) = (&self.state.memory, &self.state.geometry);
        let pool = install::pool_in_use(memory, geometry, inside);
        let (Some(pool), Some(subscriber)) = (pool, geometry.subscriber_index(inside)) else {
            return Err(Reason::SpoofedSource);
        };
        if !self.may_have_more(pool, inside, subscriber) {
            // A race: XDP was told before.
            return Err(self.refuse(subscriber, Reason::NoPort));
        }
        let now_ms = clock::monotonic_ms(&self.state);
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

    /// Records which static ports are whose, where that is due.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn record_maps(&mut self) -> Result<(), MapsError> {
        let (unix_ms, now) = (clock::unix_ms(&self.state), shape::maps(&self.state.config));
        self.maps.bring_up(&now, unix_ms).map(drop)
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

    /// Makes a new key when it is time.
    fn turn_key(&mut self) {
        let unix_ms = clock::unix_ms(&self.state);
        let Some(scatter) = &mut self.scatter else {
            return;
        };
        match scatter.turn(unix_ms) {
            Ok(true) => {
                tracing::info!(key = scatter.newest(), "a new key for scattered blocks");
                self.allocator.set_newest_key(scatter.newest());
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no new key for scattered blocks: the last one stays in use"
            ),
        }
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

    fn limits(&self, pool: u16) -> Limits {
        let config = &self.state.config.config.pool[usize::from(pool)];
        Limits {
            block_ports: config.block_ports.into(),
            high_percent: config.high_percent,
            low_percent: config.low_percent,
        }
    }

    /// Tells sinks, at once.
    pub fn post(&self, what: What) {
        let unix_ms = clock::unix_ms(&self.state);
        self.state.notices.post(Notice { unix_ms, what });
        self.state.stats().log.notices[what.number()] += 1;
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

    fn install(&mut self, pending: &Pending, sequence: u64) -> Result<(), Reason> {
        let state = &self.state;
        let unix_ms = clock::unix_ms(state);
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
        self.state.stats().log.allocate_records += u64::from(sequence != NO_RECORD);
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
        let ports = 1_u64 << shape.block_shift;
        let most = blocks
            .iter()
            .find(|(line, _)| *line == event.slab_line)
            .and_then(|(_, used)| used.iter().max().copied())?;
        let head = memory.slabs.get(event.slab_line)?;
        head.0[header::WATERMARK].store((u64::from(most) + ports / 16).min(ports));
        head.0[header::REQUESTED].store(0);
        None
    }

    /// Takes back the empty blocks among `granted[..]` that have been empty
    /// long enough, as the policy allows. `now` in ticks.
    pub fn take_idle(&mut self, now: u32, idle_ticks: u32) {
        let mut at = 0;
        while at < self.granted.len() {
            let granted = self.granted[at];
            let is_idle = granted
                .empty_since
                .is_some_and(|since| now.wrapping_sub(since) >= idle_ticks);
            if is_idle && self.may_take(&granted) && self.take(&granted) {
                self.unlogged.push((granted, ReleaseReason::Idle));
                self.granted.swap_remove(at);
            } else {
                at += 1;
            }
        }
        self.log_releases();
    }

    fn may_take(&self, granted: &Granted) -> bool {
        let geometry = &self.state.geometry;
        if geometry.is_static(granted.grant.pool, granted.grant.block) {
            return false;
        }
        let line = geometry.slab_line(granted.grant.pool, granted.grant.slab);
        let watermark = geometry.pools[usize::from(granted.grant.pool)].watermark_ports;
        let blocks = install::ports_used(&self.state.memory, granted.subscriber);
        let used: Vec<_> = blocks.iter().map(|(_, used)| *used).collect();
        blocks
            .iter()
            .position(|(at, _)| *at == line)
            .is_some_and(|at| policy::blocks::may_take(&used, at, watermark))
    }

    fn take(&self, granted: &Granted) -> bool {
        install::take(&self.state.memory, &self.state.geometry, &granted.grant)
    }

    /// Writes what is still to be logged, and that the daemon stops. Blocks stay with their
    /// subscribers.
    pub fn stop(&mut self) {
        self.catch_up();
        self.log_releases();
        self.mark(Event::Stop);
    }

    /// Logs the releases that are not logged yet, and only then lets the
    /// allocator have the blocks.
    pub fn log_releases(&mut self) {
        if self.unlogged.is_empty() {
            return;
        }
        let entries: Vec<Entry> = self
            .unlogged
            .iter()
            .map(|(granted, reason)| {
                self.entry(Event::Release {
                    block: self.block(&granted.grant),
                    reason: *reason,
                })
            })
            .collect();
        match self.append(&entries) {
            Ok(Some(_)) => self.state.stats().log.release_records += entries.len() as u64,
            Ok(None) => {}
            // They stay to be logged.
            Err(_) => return,
        }
        let now_ms = clock::monotonic_ms(&self.state);
        for (granted, _) in std::mem::take(&mut self.unlogged) {
            let Grant {
                pool,
                external,
                block,
                ..
            } = granted.grant;
            let released =
                self.allocator
                    .release(pool, granted.subscriber, external.to_bits(), block, now_ms);
            if let Err(error) = released {
                tracing::error!(error = &error as &dyn std::error::Error, "please report");
            }
        }
    }

    /// Tells the log what it does not know yet of mappings and sessions, and marks them as told.
    /// Returns the inside addresses whose sessions are over now. What cannot be written stays as it is
    /// and is news again.
    pub fn journal(&mut self, news: &[News]) -> Vec<u32> {
        if news.is_empty() {
            return Vec::new();
        }
        let (now_ms, now_tick) = (clock::unix_ms(&self.state), self.state.now_tick());
        let entries: Vec<Entry> = news
            .iter()
            .map(|news| Entry {
                unix_ms: clock::unix_ms_of(news.happened(), now_tick, now_ms),
                event: news.event,
            })
            .collect();
        match self.append(&entries) {
            Ok(Some(_)) => self.state.stats().log.session_records += entries.len() as u64,
            Ok(None) => {}
            Err(_) => return Vec::new(),
        }
        let memory = &self.state.memory;
        news.iter().filter_map(|news| news.settle(memory)).collect()
    }

    /// Puts names of subscribers on record that were told, and says whether they are. Blocks do not depend
    /// on them: a name is never a reason for a gap.
    pub fn record_identities(&mut self) {
        for wanted in self.state.identities.take() {
            let is_recorded = self.log_identities(&wanted.events);
            wanted.answer(is_recorded);
        }
    }

    /// The same of some names; true if they are on record.
    pub fn log_identities(&mut self, events: &[Event]) -> bool {
        if events.is_empty() {
            return true;
        }
        let entries: Vec<Entry> = events.iter().map(|event| self.entry(*event)).collect();
        let started = Instant::now();
        match self.log.append(&entries) {
            Ok(_) => {
                self.note(None);
                let log = &mut self.state.stats().log;
                log.commits += 1;
                log.commit_secs += started.elapsed().as_secs_f64();
                log.identity_records += entries.len() as u64;
                true
            }
            Err(error) => {
                if self.state.config.config.log.on_full == OnFull::Refuse {
                    self.note(Some(&error));
                }
                false
            }
        }
    }

    /// Logs what the last daemon did without records, first of all.
    ///
    /// # Errors
    /// The log cannot be written, and must not lack records.
    pub fn catch_up_with(&mut self, missing: &[Entry]) -> Result<(), AppendError> {
        self.catch_up();
        if !missing.is_empty() {
            self.append(missing)?;
        }
        Ok(())
    }

    /// Logs the daemon's own start or stop.
    pub fn mark(&mut self, event: Event) {
        let entry = self.entry(event);
        if let Ok(Some(_)) = self.append(&[entry]) {
            self.state.stats().log.mark_records += 1;
        }
    }

    /// Appends a group and returns the number of its first record; none if it cannot be written and
    /// the operator wants to go on without.
    fn append(&mut self, entries: &[Entry]) -> Result<Option<u64>, AppendError> {
        let started = Instant::now();
        match self.log.append(entries) {
            Ok(sequences) => {
                self.note(None);
                let log = &mut self.state.stats().log;
                log.commits += 1;
                log.commit_secs += started.elapsed().as_secs_f64();
                Ok(Some(sequences.start))
            }
            Err(error) if self.state.config.config.log.on_full == OnFull::Continue => {
                self.go_on_without(entries, &error);
                Ok(None)
            }
            Err(error) => {
                self.note(Some(&error));
                Err(error)
            }
        }
    }

    /// What happens now has no record, for `error`.
    fn go_on_without(&mut self, entries: &[Entry], error: &AppendError) {
        if self.log.lacking_since_ms().is_none() {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "the mapping log has a gap from now on: blocks are given without records"
            );
        }
        if let Err(error) = self.log.lack(clock::unix_ms(&self.state), entries) {
            tracing::error!(%error, "the gap in the mapping log cannot be marked on the disk");
        }
        let log = &mut self.state.stats().log;
        log.append_errors += u64::from(!matches!(error, AppendError::Lacking));
        log.lacking_records += entries.len() as u64;
        log.lacking_since_ms = self.log.lacking_since_ms();
    }

    /// Ends the gap of a log that lacks records, if it can be written again.
    fn catch_up(&mut self) {
        let Some(since_ms) = self.log.lacking_since_ms() else {
            return;
        };
        let outcome = self.log.catch_up(clock::unix_ms(&self.state));
        let log = &mut self.state.stats().log;
        match outcome {
            Ok(()) => {
                log.lacking_since_ms = None;
                tracing::warn!(
                    since = %Utc(since_ms),
                    records = log.lacking_records,
                    "the mapping log is written again; it lacks records of blocks that came and went since"
                );
            }
            Err(_) => log.append_errors += 1,
        }
    }

    /// Whether the log could be written. Failures are counted; the log of the daemon has a line when
    /// they begin and one when they end, for on a full disk each new subscriber is another one.
    fn note(&self, failure: Option<&AppendError>) {
        let log = &mut self.state.stats().log;
        let was_refusing = std::mem::replace(&mut log.is_refusing, failure.is_some());
        match failure {
            None if was_refusing => {
                tracing::info!("the mapping log is written again, and blocks are given");
            }
            None => {}
            Some(error) => {
                log.append_errors += 1;
                if !was_refusing {
                    tracing::error!(error = error as &dyn std::error::Error, "the mapping log");
                }
            }
        }
    }

    /// Ends holds that are due, and lets refused subscribers ask again.
    pub fn advance(&mut self) {
        self.allocator.advance(clock::monotonic_ms(&self.state));
        for subscriber in self.refused.drain() {
            install::refuse(&self.state.memory, subscriber, false);
        }
        self.catch_up();
        self.end_hour();
        self.turn_key();
        if let Err(error) = self.record_maps() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the daily record of static ports"
            );
        }
        self.tell_use();
        let mut stats = self.state.stats();
        stats.log.segment_bytes = self.log.length_bytes();
        let pools = self.state.geometry.pools.len();
        stats.pools.resize(pools, Default::default());
        for (number, pool) in stats.pools.iter_mut().enumerate() {
            pool.status = self.allocator.status(number as u16).unwrap_or_default();
        }
    }

    fn tell_use(&mut self) {
        for pool in 0..self.state.geometry.pools.len() as u16 {
            let status = self.allocator.status(pool).unwrap_or_default();
            let limits = self.limits(pool);
            let told = self.notices.used(pool, &status, &limits);
            told.into_iter().for_each(|what| self.post(what));
        }
    }

    /// Lets the sealer have the segment of an hour that is over.
    fn end_hour(&mut self) {
        if self.log.lacking_since_ms().is_some() {
            return;
        }
        // That nothing had to be done says nothing about the disk.
        if let Err(error) = self.log.end_hour(clock::unix_ms(&self.state)) {
            match self.state.config.config.log.on_full {
                OnFull::Refuse => self.note(Some(&error)),
                // The next record tells whether it is lacking.
                OnFull::Continue => self.state.stats().log.append_errors += 1,
            }
        }
    }

    fn entry(&self, event: Event) -> Entry {
        Entry {
            unix_ms: clock::unix_ms(&self.state),
            event,
        }
    }

    fn block(&self, grant: &Grant) -> Block {
        block(&self.state, grant)
    }
}

/// The block as the log records it.
#[must_use]
pub fn block(state: &State, grant: &Grant) -> Block {
    let shift = state.geometry.pools[usize::from(grant.pool)].block_shift;
    let first = cgn_common::block::first_port(u32::from(grant.block), shift);
    let (realm, inside) = state.in_log(grant.inside);
    Block {
        inside,
        realm,
        external: grant.external,
        ports: PortRange::new(first, 1 << shift).expect("blocks end at port 65535 at the latest"),
        pool: grant.pool,
        scope: ProtocolScope::All,
        key: state.memory.block_key(grant.pool as u8, grant.external),
    }
}
