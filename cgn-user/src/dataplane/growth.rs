//! Pools that grow while mappings live (RFC 6888 REQ-3). Of all tables only those that tell what
//! is at an external address depend on the addresses of the pools, and nobody writes them but the
//! daemon. So they are made anew, with what was in the old ones, while the programs that run
//! keep the old; each interface then gets a program with the new ones by one atomic step, and no
//! packet is lost or meets half of both.

use std::net::Ipv4Addr;

use cgn_common::layout::{self, BlockEntry, External, MapSpec, PAGES, Page, Rows};

use super::attach::Pins;
use super::geometry::Geometry;
use super::memory::{Memory, Table};

/// The tables that are made anew.
pub const RENEWED: [&MapSpec; 4] = [
    &layout::OUTSIDE_PAGES,
    &layout::EXTERNALS,
    &layout::UNSOLICITED,
    &layout::BLOCKS,
];

/// These tables as an earlier daemon left them.
pub struct Old {
    pub pages: Table<Page>,
    pub externals: Table<External>,
    pub blocks: Table<BlockEntry>,
}

/// A block that somebody has, by the old tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    pub external: Ipv4Addr,
    pub pool: u8,
    /// Number of the block in its address.
    pub block: u32,
    /// Element of `BLOCKS`.
    pub entry: u64,
}

impl Old {
    /// Those that are pinned; None if one is missing.
    #[must_use]
    pub fn of(pins: &Pins) -> Option<Self> {
        Some(Self {
            pages: pins.table(&layout::OUTSIDE_PAGES, Some(PAGES as usize))?,
            externals: pins.table(&layout::EXTERNALS, None)?,
            blocks: pins.table(&layout::BLOCKS, None)?,
        })
    }

    /// Every block that somebody has.
    pub fn used(&self) -> impl Iterator<Item = Used> + '_ {
        let addresses = (0..PAGES).flat_map(|number| {
            let page = self.pages.read(number);
            let Page { first, end, .. } = page.unwrap_or(Page {
                base: 0,
                first: 0,
                end: 0,
            });
            (first..end).map(move |at| number << 12 | u32::from(at))
        });
        addresses.flat_map(|address| self.used_of(address))
    }

    fn used_of(&self, address: u32) -> impl Iterator<Item = Used> + '_ {
        let page = self.pages.read(cgn_common::block::page_of(address));
        let index = page.and_then(|page| page.index_of(address));
        let entry = index.and_then(|index| self.externals.get(index));
        let rows = Rows(entry.map_or(0, |entry| entry.0.load()));
        (0..rows.blocks()).filter_map(move |block| {
            let row = self.blocks.get(rows.first_row() + block)?;
            (row.read().0 != 0).then(|| Used {
                external: Ipv4Addr::from_bits(address),
                pool: rows.pool(),
                block,
                entry: row.0.load(),
            })
        })
    }

    /// The first used block whose address is in another pool of `geometry`, or in none.
    #[must_use]
    pub fn misfit(&self, geometry: &Geometry) -> Option<Used> {
        self.used().find(|used| {
            let pool = geometry.pools.get(usize::from(used.pool));
            !pool.is_some_and(|pool| pool.has_address(used.external))
        })
    }

    /// Writes into new tables of `geometry` what is at each address.
    pub fn carry_over(&self, geometry: &Geometry, memory: &Memory) {
        geometry.install_externals(memory);
        for used in self.used() {
            let index = geometry.external_index(used.external);
            let entry = index.and_then(|index| memory.externals.get(index));
            let rows = Rows(entry.map_or(0, |entry| entry.0.load()));
            if let Some(row) = memory.blocks.get(rows.first_row() + used.block) {
                row.0.store(used.entry);
            }
        }
    }
}
