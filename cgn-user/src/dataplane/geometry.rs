//! Where everything stands in the tables, worked out from the configuration.
//! Pure: no map, no I/O.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use cgn_common::block::{blocks_per_address, page_of};
use cgn_common::layout::{
    FRAGMENTS, LAYOUT_VERSION, PAGE_SHIFT, Page, Parts, Policy, Rows, SESSIONS, SubscriberHead,
    buckets,
};
use cgn_common::nat::class;

use super::memory::{Memory, Sizes};
use crate::policy::deterministic::Map;
use crate::policy::groups::Groups;
use crate::realms::{InsideKey, Realms};
use crate::withheld::Withheld;

/// A pool, as far as the tables care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolShape {
    pub name: String,
    /// Inclusive ranges of external addresses, sorted, without overlap.
    pub addresses: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// log2 of the ports of a block.
    pub block_shift: u32,
    pub blocks_per_subscriber: u32,
    /// Mappings of one protocol in the newest block at which the next is requested.
    pub watermark_ports: u32,
    /// Blocks that can be allocated at once.
    pub max_blocks: u32,
    pub arrangement: Arrangement,
}

/// Which ports the blocks of a pool have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrangement {
    /// A range.
    #[default]
    Contiguous,
    /// Any, see [`cgn_common::nat::scatter`].
    Scattered,
    /// A range below 1024 and another one, see [`cgn_common::nat::class`].
    Classes,
}

impl Arrangement {
    /// That of a block with this key on record.
    #[must_use]
    pub const fn of_key(key: u8) -> Self {
        match key {
            0 => Self::Contiguous,
            class::KEY => Self::Classes,
            _ => Self::Scattered,
        }
    }

    /// The flag of the pool's policy that says so.
    #[must_use]
    pub const fn flag(self) -> u16 {
        match self {
            Self::Contiguous => 0,
            Self::Scattered => Policy::SCATTERED,
            Self::Classes => Policy::CLASSES,
        }
    }

    /// That of a pool with this policy.
    #[must_use]
    pub const fn of_policy(policy: Policy) -> Self {
        match (policy.has(Policy::SCATTERED), policy.has(Policy::CLASSES)) {
            (true, _) => Self::Scattered,
            (_, true) => Self::Classes,
            _ => Self::Contiguous,
        }
    }
}

/// Subscribers with neighbouring keys that use one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriberShape {
    pub first: InsideKey,
    pub last: InsideKey,
    pub pool: u8,
}

/// The whole layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub pools: Vec<PoolShape>,
    /// In ascending order.
    pub subscribers: Vec<SubscriberShape>,
    pub sizes: Sizes,
    /// Which key is whose.
    pub realms: Realms,
    /// Who may do what: decides nothing of the layout, so that it may change.
    pub groups: Groups,
    /// By pool: static ports of its subscribers, if it is deterministic.
    pub maps: Vec<Option<Map>>,
    /// External addresses that are out of use; decides nothing of the layout either.
    pub withheld: Withheld,
    inside_pages: BTreeMap<u32, Page>,
    outside_pages: BTreeMap<u32, Page>,
    /// Line of slab 0, by pool.
    first_lines: Vec<u32>,
}

impl Geometry {
    /// Works out the layout. The configuration was checked: nothing overlaps.
    #[must_use]
    pub fn new(pools: Vec<PoolShape>, subscribers: Vec<SubscriberShape>) -> Self {
        Self::of(Realms::default(), pools, subscribers)
    }

    /// The same with these realms.
    #[must_use]
    pub fn of(
        realms: Realms,
        pools: Vec<PoolShape>,
        mut subscribers: Vec<SubscriberShape>,
    ) -> Self {
        subscribers.sort_unstable_by_key(|range| range.first);
        let inside = subscribers
            .iter()
            .map(|s| (s.first.to_bits(), s.last.to_bits()));
        let (inside_pages, subscriber_count) = pages(inside);
        let outside = pools.iter().flat_map(|pool| {
            let bits = |(first, last): &(Ipv4Addr, Ipv4Addr)| (first.to_bits(), last.to_bits());
            pool.addresses.iter().map(bits)
        });
        let (outside_pages, external_count) = pages(outside);
        let mut rows = 0;
        let mut first_lines = Vec::new();
        // Line 0 is never a slab: 0 means "no slab" everywhere.
        let mut lines = Parts::BUCKETS_PER_HEADER;
        for pool in &pools {
            rows += pool.address_count() * blocks_per_address(pool.block_shift);
            first_lines.push(lines);
            lines += pool.max_blocks * buckets(pool.block_shift);
        }
        Self {
            sizes: Sizes {
                subscribers: subscriber_count.max(1),
                externals: external_count.max(1),
                scatterings: match pools.iter().any(PoolShape::is_scattered) {
                    true => external_count.max(1),
                    false => 1,
                },
                blocks: rows.max(1),
                slab_lines: Parts(lines).lines(),
                sessions: SESSIONS.entries,
                datagrams: FRAGMENTS.entries,
                prefix_lines: 1,
                realm_lines: realms.lines(),
                realms: realms.count() as u32,
                newcomers: 1,
                newcomers_ipv6: 1,
                flows_ipv6: 1,
            },
            realms,
            pools,
            subscribers,
            groups: Groups::default(),
            maps: Vec::new(),
            withheld: Withheld::default(),
            inside_pages,
            outside_pages,
            first_lines,
        }
    }

    /// First word of the settings: layout version, and a hash (FNV-1a) of
    /// everything that decides where things stand. Pinned tables with another
    /// word are not adopted.
    #[must_use]
    pub fn layout_word(&self) -> u64 {
        let pools = self.pools.iter();
        let ends = pools.flat_map(|pool| pool.addresses.iter().flat_map(|(a, b)| [a, b]));
        let addresses = ends.map(|address| address.to_bits());
        self.word_of(self.fixed_parts().chain(addresses))
    }

    /// The same without the addresses of the pools. Tables that differ in those only can be
    /// adopted, too: see [`super::growth`].
    #[must_use]
    pub fn fixed_word(&self) -> u64 {
        self.word_of(self.fixed_parts())
    }

    fn fixed_parts(&self) -> impl Iterator<Item = u32> + '_ {
        let pools = self.pools.iter();
        let arranged = |pool: &PoolShape| match pool.arrangement {
            Arrangement::Contiguous => None,
            Arrangement::Scattered => Some(u32::MAX),
            Arrangement::Classes => Some(u32::MAX - 1),
        };
        let pools = pools.flat_map(move |pool| {
            let sizes = [pool.block_shift, pool.max_blocks];
            sizes.into_iter().chain(arranged(pool))
        });
        // Who is a subscriber decides where lines are, not from which pool blocks come.
        let ranges = self.subscribers.iter();
        let ranges = joined(ranges.map(|range| [range.first.to_bits(), range.last.to_bits()]));
        // With other addresses, inside or outside, subscribers of a deterministic pool have other ports.
        let maps = self.pools.iter().zip(&self.maps);
        let maps = maps.filter_map(|(pool, map)| Some((pool, map.as_ref()?)));
        let maps = maps.flat_map(|(pool, map)| {
            let bits = |(first, last): &(Ipv4Addr, Ipv4Addr)| [first.to_bits(), last.to_bits()];
            let outside = pool.addresses.iter().flat_map(bits);
            let realm = map.realm.bytes().map(u32::from);
            [map.compression, map.static_blocks]
                .into_iter()
                .chain(realm)
                .chain(outside)
                .chain(joined(map.inside.iter().map(bits)))
        });
        let sizes = [self.sizes.sessions, self.sizes.datagrams];
        let realms = self.realms.parts();
        pools.chain(ranges).chain(maps).chain(sizes).chain(realms)
    }

    fn word_of(&self, parts: impl Iterator<Item = u32>) -> u64 {
        let bytes = parts.flat_map(u32::to_le_bytes);
        let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        u64::from(LAYOUT_VERSION) | u64::from(hash) << 32
    }

    /// First line of a slab in each of the [`Parts`] of the table.
    #[must_use]
    pub fn slab_line(&self, pool: u16, slab: u32) -> u32 {
        let shift = self.pools[usize::from(pool)].block_shift;
        self.first_lines[usize::from(pool)] + slab * buckets(shift)
    }

    /// Number of the slab in its pool, from its first line.
    #[must_use]
    pub fn slab_of(&self, pool: u16, line: u32) -> Option<u32> {
        let shape = self.pools.get(usize::from(pool))?;
        let offset = line.checked_sub(self.first_lines[usize::from(pool)])?;
        let lines = buckets(shape.block_shift);
        (offset % lines == 0 && offset / lines < shape.max_blocks).then_some(offset / lines)
    }

    /// Index in `SUBSCRIBERS`; None for a key that is no subscriber's.
    #[must_use]
    pub fn subscriber_index(&self, inside: impl Into<InsideKey>) -> Option<u32> {
        let inside = inside.into();
        self.pool_of(inside)?;
        self.inside_pages
            .get(&page_of(inside.to_bits()))?
            .index_of(inside.to_bits())
    }

    /// Every key that is a subscriber's, with its index in `SUBSCRIBERS`.
    pub fn each_subscriber(&self) -> impl Iterator<Item = (InsideKey, u32)> + '_ {
        self.subscribers.iter().flat_map(|range| {
            (range.first.to_bits()..=range.last.to_bits()).filter_map(|inside| {
                let page = self.inside_pages.get(&page_of(inside))?;
                Some((InsideKey::from_bits(inside), page.index_of(inside)?))
            })
        })
    }

    /// Pool that the configuration has for a subscriber. His blocks may be of an earlier one: see
    /// [`super::install::pool_in_use`].
    #[must_use]
    pub fn pool_of(&self, inside: impl Into<InsideKey>) -> Option<u16> {
        let inside = inside.into();
        let at = self.subscribers.partition_point(|s| s.last < inside);
        let range = self.subscribers.get(at).filter(|s| s.first <= inside)?;
        Some(u16::from(range.pool))
    }

    /// Static ports of the subscribers of a pool, if it is deterministic.
    #[must_use]
    pub fn map(&self, pool: u16) -> Option<&Map> {
        self.maps.get(usize::from(pool))?.as_ref()
    }

    /// Whether a block of a pool is in a share: its owner is known without a record.
    #[must_use]
    pub fn is_static(&self, pool: u16, block: u16) -> bool {
        self.map(pool)
            .is_some_and(|map| u32::from(block) < map.reserved_blocks())
    }

    /// Index in `EXTERNALS`; None for an address that is in no page of a pool.
    #[must_use]
    pub fn external_index(&self, external: Ipv4Addr) -> Option<u32> {
        self.outside_pages
            .get(&page_of(external.to_bits()))?
            .index_of(external.to_bits())
    }

    /// Every external address of a pool, with its index in `EXTERNALS`.
    pub fn each_external(&self, pool: &PoolShape) -> impl Iterator<Item = (Ipv4Addr, u32)> {
        let ranges = pool.addresses.iter();
        let parts = ranges.flat_map(move |(first, last)| {
            let (first, last) = (first.to_bits(), last.to_bits());
            (page_of(first)..=page_of(last)).filter_map(move |number| {
                let begin = first.max(number << PAGE_SHIFT);
                let end = last.min(number << PAGE_SHIFT | ((1 << PAGE_SHIFT) - 1));
                let index = self.outside_pages.get(&number)?.index_of(begin)?;
                Some((begin..=end).zip(index..))
            })
        });
        parts
            .flatten()
            .map(|(address, index)| (Ipv4Addr::from_bits(address), index))
    }

    /// Writes the directory and the entries of external addresses into empty tables.
    pub fn install_externals(&self, memory: &Memory) {
        for (number, page) in &self.outside_pages {
            memory.outside_pages.write(*number, *page);
        }
        let mut row = 0;
        for (number, pool) in self.pools.iter().enumerate() {
            let blocks = blocks_per_address(pool.block_shift);
            for address in pool.each_address() {
                if let Some(entry) = self
                    .external_index(address)
                    .and_then(|i| memory.externals.get(i))
                {
                    let rows = Rows::new(row, blocks as u16, pool.block_shift as u8, number as u8);
                    entry.0.store(rows.0);
                }
                row += blocks;
            }
        }
    }

    /// Writes directories, subscriber and address entries into empty tables.
    /// `secret` gives each subscriber its own random secret.
    pub fn install(&self, memory: &Memory, mut secret: impl FnMut() -> u64) {
        for (number, page) in &self.inside_pages {
            memory.inside_pages.write(*number, *page);
        }
        self.install_externals(memory);
        self.realms.install(memory);
        for range in &self.subscribers {
            let shift = self.pools[usize::from(range.pool)].block_shift as u8;
            let head = SubscriberHead::new(0, 0, shift, range.pool, SubscriberHead::VALID);
            for inside in range.first.to_bits()..=range.last.to_bits() {
                let entry = self
                    .inside_pages
                    .get(&page_of(inside))
                    .and_then(|page| page.index_of(inside))
                    .and_then(|index| memory.subscribers.get(index));
                if let Some(entry) = entry {
                    entry.secret.store(secret());
                    entry.head.store(head.0);
                }
            }
        }
        if let Some(settings) = memory.settings.get(0) {
            settings.id_secret.store(secret());
        }
    }
}

impl PoolShape {
    #[must_use]
    pub fn is_scattered(&self) -> bool {
        self.arrangement == Arrangement::Scattered
    }

    /// True for an external address of the pool.
    #[must_use]
    pub fn has(&self, external: Ipv4Addr) -> bool {
        let mut ranges = self.addresses.iter();
        ranges.any(|(first, last)| (*first..=*last).contains(&external))
    }

    /// Number of external addresses.
    #[must_use]
    pub fn address_count(&self) -> u32 {
        self.addresses
            .iter()
            .map(|(first, last)| last.to_bits() - first.to_bits() + 1)
            .sum()
    }

    /// True for an external address of this pool.
    #[must_use]
    pub fn has_address(&self, address: Ipv4Addr) -> bool {
        let mut ranges = self.addresses.iter();
        ranges.any(|(first, last)| (first..=last).contains(&&address))
    }

    /// Every external address, in order.
    pub fn each_address(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.addresses
            .iter()
            .flat_map(|(first, last)| (first.to_bits()..=last.to_bits()).map(Ipv4Addr::from_bits))
    }
}

/// First and last of ascending ranges, in as few as there can be.
fn joined(ranges: impl Iterator<Item = [u32; 2]>) -> impl Iterator<Item = u32> {
    let mut fewest: Vec<[u32; 2]> = Vec::new();
    for [first, last] in ranges {
        match fewest.last_mut() {
            Some(before) if before[1].checked_add(1) == Some(first) => before[1] = last,
            _ => fewest.push([first, last]),
        }
    }
    fewest.into_iter().flatten()
}

/// Directory pages that span the inclusive ranges, and the number of entries
/// behind them.
fn pages(ranges: impl Iterator<Item = (u32, u32)>) -> (BTreeMap<u32, Page>, u32) {
    let mut spans: BTreeMap<u32, (u16, u16)> = BTreeMap::new();
    for (first, last) in ranges {
        for page in page_of(first)..=page_of(last) {
            let start = if page == page_of(first) {
                first & 0xfff
            } else {
                0
            };
            let end = if page == page_of(last) {
                (last & 0xfff) + 1
            } else {
                4096
            };
            let span = spans.entry(page).or_insert((start as u16, end as u16));
            *span = (span.0.min(start as u16), span.1.max(end as u16));
        }
    }
    let mut base = 0;
    let mut pages = BTreeMap::new();
    for (number, (first, end)) in spans {
        pages.insert(number, Page { base, first, end });
        base += u32::from(end - first);
    }
    (pages, base)
}
