//! The keeper of the blocks: allocator, mapping log and tables, always in the
//! same order. Given: log record, then tables. Taken: tables, then log record,
//! then allocator; so a block is never without its record while a packet may
//! use it, and never given to another before its release is on record.

mod grant;
mod records;
mod release;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use rand::rngs::StdRng;

use crate::alloc::Allocator;
use crate::dataplane::install::{self, Grant};
use crate::engine::clock;
use crate::engine::notices::{Limits, Notices};
use crate::engine::scatter::Scatter;
use crate::maplog::maps::{Maps, MapsError};
use crate::maplog::notice::{Notice, What};
use crate::maplog::{Event, Log, ReleaseReason};
use crate::policy::shape;
use crate::state::State;
use crate::withheld::Standing;

pub use records::block;

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

    /// Records which static ports are whose, where that is due.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn record_maps(&mut self) -> Result<(), MapsError> {
        let (unix_ms, now) = (clock::unix_ms(&self.state), shape::maps(&self.state.config));
        self.maps.bring_up(&now, unix_ms).map(drop)
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

    /// Writes what is still to be logged, and that the daemon stops. Blocks stay with their
    /// subscribers.
    pub fn stop(&mut self) {
        self.catch_up();
        self.log_releases();
        self.mark(Event::Stop);
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
}
