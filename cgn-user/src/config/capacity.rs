//! What a configuration provides: addresses, blocks and the memory that they take.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use cgn_common::block::block_of;
use cgn_common::layout::slab_bytes;
use cgn_common::nat::class;

use super::address::Ipv4Set;
use super::schema::{Config, Pool, PortMode};
use crate::dataplane::geometry::Arrangement;
use crate::policy::deterministic::{Map, MapError};
use crate::realms::FIRST_NAME;

/// How many ports of an external address are given out, for each protocol: 1024 to 65535.
pub const PORTS_PER_ADDRESS: u32 = cgn_common::limits::USABLE_PORTS;
/// `max_blocks` of a pool that has more blocks and does not say.
pub const DEFAULT_MAX_BLOCKS: u32 = 16384;

impl Pool {
    /// The external addresses; their [`Ipv4Set::position`] numbers them.
    pub fn address_set(&self) -> Ipv4Set {
        self.addresses.iter().map(|span| span.range()).collect()
    }

    /// How many external addresses the pool has.
    pub fn address_count(&self) -> u64 {
        self.address_set().address_count()
    }

    /// How many whole blocks one address has. The ports after the last whole block stay unused.
    pub fn blocks_per_address(&self) -> u32 {
        PORTS_PER_ADDRESS
            .checked_div(self.block_ports.into())
            .unwrap_or(0)
    }

    /// How many blocks all addresses have together.
    pub fn total_blocks(&self) -> u64 {
        self.address_count() * u64::from(self.blocks_per_address())
    }

    /// Which ports its blocks have.
    pub fn arrangement(&self) -> Arrangement {
        match (self.port_mode, self.keep_class) {
            (PortMode::Scattered, _) => Arrangement::Scattered,
            (PortMode::Contiguous, true) => Arrangement::Classes,
            (PortMode::Contiguous, false) => Arrangement::Contiguous,
        }
    }

    /// Numbers of the blocks of each address that hold a reserved port, in order.
    pub fn reserved_blocks(&self) -> BTreeSet<u16> {
        let shift = self.block_ports.trailing_zeros();
        let ports = self.reserved_ports.iter();
        let places = ports.map(|port| match self.keep_class {
            true => class::place_of(*port),
            false => *port,
        });
        let blocks = places.filter_map(|place| block_of(place, shift));
        blocks.map(|block| block as u16).collect()
    }

    /// How many blocks all addresses have together for subscribers.
    pub fn blocks_to_give(&self) -> u64 {
        let reserved = self.reserved_blocks().len() as u64;
        self.total_blocks() - self.address_count() * reserved
    }

    /// How many blocks can be allocated at once: `max_blocks` or its default.
    pub fn blocks_at_once(&self) -> u32 {
        self.max_blocks.unwrap_or_else(|| {
            u32::try_from(self.total_blocks())
                .unwrap_or(u32::MAX)
                .min(DEFAULT_MAX_BLOCKS)
        })
    }

    /// Bytes of memory for one allocated block with its slots.
    pub fn block_bytes(&self) -> u64 {
        u64::from(slab_bytes(self.block_ports.trailing_zeros()))
    }

    /// Bytes of memory for all blocks that can be allocated at once.
    pub fn slot_bytes(&self) -> u64 {
        u64::from(self.blocks_at_once()) * self.block_bytes()
    }
}

impl Config {
    /// Whether some pool has scattered blocks.
    #[must_use]
    pub fn scatters(&self) -> bool {
        let mut pools = self.pool.iter();
        pools.any(|pool| pool.port_mode == PortMode::Scattered)
    }

    /// Static ports of the subscribers of a pool, were it deterministic.
    ///
    /// # Errors
    /// It cannot be.
    pub fn map_of(&self, number: usize) -> Result<Map, MapError> {
        let pool = &self.pool[number];
        let ranges = self.subscriber_ranges().into_iter();
        let inside = ranges
            .filter(|range| range.pool == number)
            .map(|range| (range.range.first(), range.range.last()));
        let outside = pool.address_set();
        let outside = outside.ranges().iter();
        let map = Map::new(
            inside.collect(),
            outside.map(|range| (range.first(), range.last())).collect(),
            pool.dynamic_factor,
            pool.block_ports.into(),
            pool.blocks_per_subscriber.into(),
        )?;
        Ok(map.in_realm(self.realm_of_pool(number)))
    }

    /// Name of the realm of a pool's first subscriber. A deterministic pool has no subscribers in others.
    pub(super) fn realm_of_pool(&self, number: usize) -> &str {
        let mut ranges = self.subscriber_ranges().into_iter();
        let of_pool = ranges.find(|range| range.pool == number);
        let realm = of_pool.and_then(|range| usize::from(range.realm).checked_sub(1));
        realm.map_or(FIRST_NAME, |at| &self.realm[at].name)
    }

    /// Number of the realm with this name: 0 the first, which has none.
    pub fn realm_number(&self, name: &str) -> Option<u8> {
        if name.is_empty() {
            return Some(0);
        }
        let at = self.realm.iter().position(|realm| realm.name == name)?;
        u8::try_from(at + 1).ok()
    }

    /// Each realm but the first with the upper halves of its subscribers' addresses.
    pub fn realm_networks(&self) -> Vec<(String, BTreeSet<u16>)> {
        let networks = |name: &str| -> BTreeSet<u16> {
            let own = self.subscribers.iter().filter(|one| one.realm == name);
            let ranges = own.flat_map(|one| one.prefixes.iter().map(|prefix| prefix.range()));
            let half = |address: Ipv4Addr| (address.to_bits() >> 16) as u16;
            let networks = ranges.flat_map(|range| half(range.first())..=half(range.last()));
            networks.collect()
        };
        let realms = self.realm.iter();
        let all = realms.map(|realm| (realm.name.clone(), networks(&realm.name)));
        all.collect()
    }

    /// The index of the pool with this name.
    pub fn pool_index(&self, name: &str) -> Option<usize> {
        self.pool.iter().position(|pool| pool.name == name)
    }

    /// The index of the group with this name.
    pub fn group_index(&self, name: &str) -> Option<usize> {
        self.group.iter().position(|group| group.name == name)
    }

    /// How many subscribers each pool serves.
    pub(super) fn subscriber_counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.pool.len()];
        for subscribers in self.subscriber_ranges() {
            counts[subscribers.pool] += subscribers.range.address_count();
        }
        counts
    }

    /// What the configuration provides, pool by pool; prints as a table's worth of lines.
    pub fn capacity(&self) -> Capacity {
        let pools = self.pool.iter().zip(self.subscriber_counts());
        Capacity {
            pools: pools
                .map(|(pool, subscribers)| PoolCapacity {
                    name: pool.name.clone(),
                    addresses: pool.address_count(),
                    subscribers,
                    block_ports: pool.block_ports,
                    blocks: pool.blocks_to_give(),
                    blocks_at_once: pool.blocks_at_once(),
                    slot_bytes: pool.slot_bytes(),
                })
                .collect(),
        }
    }
}

/// What a configuration provides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// In the order of the file.
    pub pools: Vec<PoolCapacity>,
}

/// What one pool provides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolCapacity {
    /// The pool's name.
    pub name: String,
    /// External addresses.
    pub addresses: u64,
    /// Inside addresses that the pool serves.
    pub subscribers: u64,
    /// Ports per block and protocol.
    pub block_ports: u16,
    /// Blocks that the addresses have, without those that hold a reserved port.
    pub blocks: u64,
    /// Blocks that can be allocated at once.
    pub blocks_at_once: u32,
    /// Bytes of memory for those blocks.
    pub slot_bytes: u64,
}

impl Capacity {
    /// Bytes of slot memory of all pools together.
    pub fn slot_bytes(&self) -> u64 {
        self.pools.iter().map(|pool| pool.slot_bytes).sum()
    }
}

impl fmt::Display for PoolCapacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pool {}: {} addresses for {} subscribers, {} blocks of {} ports, {} at once, {:.1} MiB of slots",
            self.name,
            self.addresses,
            self.subscribers,
            self.blocks,
            self.block_ports,
            self.blocks_at_once,
            mebibytes(self.slot_bytes)
        )
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for pool in &self.pools {
            writeln!(f, "{pool}")?;
        }
        let total = mebibytes(self.slot_bytes());
        write!(f, "slot memory of all pools: {total:.1} MiB")
    }
}

/// Exact far beyond the memory of any machine: up to 2^53 bytes.
#[expect(clippy::cast_precision_loss, reason = "printed with one decimal")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
