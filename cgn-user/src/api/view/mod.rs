//! The tables, read while packets change them. Pure: memory in, rows out.
//!
//! A row is consistent in itself: it is read, and then it is checked that the
//! block still has the same owner; what changed hands meanwhile is left out or
//! read again. Two rows may be of different moments.

mod blocks;
mod figures;
mod ietf_nat;
mod mappings;
mod subscribers;
#[cfg(test)]
mod tests;
mod top;

use std::net::Ipv4Addr;

use cgn_common::block::{block_of, first_port};
use cgn_common::layout::{OwnedBlock, Rows, SubscriberHead, header};
use cgn_common::verdict::Protocol;

use crate::dataplane::geometry::{Geometry, PoolShape};
use crate::dataplane::memory::Memory;
use crate::maplog::{PortRange, Ranges};
use crate::realms::InsideKey;

pub use figures::{
    drops, drops_by_realm, drops_of_realm, mirrors, pools, realm_of_rule, rules, status,
};
pub use ietf_nat::ietf_nat;
pub use top::top;

/// How often a row that changes while it is read is read again.
const TRIES: u32 = 8;

/// Which rows are wanted; `None` is all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub subscriber: Option<InsideKey>,
    /// Number of the realm.
    pub realm: Option<u8>,
    /// Number of the pool.
    pub pool: Option<u16>,
    pub protocol: Option<Protocol>,
    pub external: Option<Ipv4Addr>,
    pub external_port: Option<u16>,
}

/// Which part of the rows is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Most rows.
    pub limit: usize,
    /// Where to begin: 0, or what the part before said.
    pub cursor: u64,
}

/// The tables and what they mean.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub memory: &'a Memory,
    pub geometry: &'a Geometry,
}

/// A block that somebody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owned {
    /// Its row in `BLOCKS`.
    row: u32,
    slab_line: u32,
    inside: InsideKey,
    external: Ipv4Addr,
    /// Its first place, which is its first port if it is contiguous.
    first_place: u16,
    /// As on record, see [`Memory::block_key`].
    key: u8,
    /// log2 of its ports.
    shift: u32,
    pool: u8,
    /// Of the record of its allocation: no two owners have the same.
    log_sequence: u64,
}

impl Owned {
    fn ports(&self) -> u32 {
        1 << self.shift
    }

    /// As they are told; None: of no block that there can be.
    fn ranges(&self) -> Option<Ranges> {
        let places = PortRange::new(self.first_place, 1 << self.shift)?;
        Some(Ranges::of(places, self.key))
    }
}

impl<'a> View<'a> {
    fn pool_name(&self, pool: u8) -> String {
        let shape = self.geometry.pools.get(usize::from(pool));
        shape.map_or_else(String::new, |shape| shape.name.clone())
    }

    /// The selected blocks that somebody has, by row, which is by pool,
    /// address and port; from row `first` on.
    fn owned(self, selection: Selection, first: u32) -> Box<dyn Iterator<Item = Owned> + 'a> {
        let fits = move |block: &Owned| {
            block.row >= first
                && selection
                    .pool
                    .is_none_or(|pool| pool == u16::from(block.pool))
                && selection
                    .realm
                    .is_none_or(|realm| realm == self.geometry.realms.who(block.inside).number)
                && selection
                    .external
                    .is_none_or(|address| address == block.external)
                && selection.external_port.is_none_or(|port| {
                    let place = self.memory.place_of(block.pool, block.external, port);
                    block_of(place, block.shift) == block_of(block.first_place, block.shift)
                })
        };
        match selection.subscriber {
            Some(inside) => {
                let mut blocks = self.blocks_of(inside);
                blocks.sort_unstable_by_key(|block| block.row);
                Box::new(blocks.into_iter().filter(fits))
            }
            None => Box::new(self.each_owned(selection, first).filter(fits)),
        }
    }

    /// Every block that somebody has, of the selected pool and address.
    fn each_owned(self, selection: Selection, first: u32) -> impl Iterator<Item = Owned> + 'a {
        let pools = self.geometry.pools.iter().enumerate();
        pools
            .filter(move |(number, _)| {
                selection
                    .pool
                    .is_none_or(|pool| usize::from(pool) == *number)
            })
            .flat_map(move |(_, shape)| addresses(shape, selection.external))
            .filter_map(move |external| Some((external, self.rows_of(external)?)))
            .flat_map(move |(external, rows)| {
                let from = first.saturating_sub(rows.first_row());
                (from..rows.blocks()).filter_map(move |number| self.block(external, rows, number))
            })
    }

    /// The blocks in a subscriber's line, in no order.
    fn blocks_of(self, inside: InsideKey) -> Vec<Owned> {
        let Some(index) = self.geometry.subscriber_index(inside) else {
            return Vec::new();
        };
        let Some(entry) = self.memory.subscribers.get(index) else {
            return Vec::new();
        };
        let head = SubscriberHead(entry.head.load());
        let external = Ipv4Addr::from_bits(head.external());
        let Some(rows) = self.rows_of(external) else {
            return Vec::new();
        };
        let blocks = self.memory.owned_blocks(index);
        let numbers = blocks.take(head.block_count() as usize).filter_map(|word| {
            let block = OwnedBlock(word.load());
            block_of(block.first_port(), rows.block_shift())
        });
        numbers
            .filter_map(|number| self.block(external, rows, number))
            .filter(|block| block.inside == inside)
            .collect()
    }

    /// Who has the block that a port of an external address is in.
    #[must_use]
    pub fn owner(self, external: Ipv4Addr, port: u16) -> Option<InsideKey> {
        let rows = self.rows_of(external)?;
        let place = self.memory.place_of(rows.pool(), external, port);
        let number = block_of(place, rows.block_shift())?;
        Some(self.block(external, rows, number)?.inside)
    }

    fn rows_of(self, external: Ipv4Addr) -> Option<Rows> {
        let index = self.geometry.external_index(external)?;
        let rows = Rows(self.memory.externals.get(index)?.0.load());
        rows.is_pool_address().then_some(rows)
    }

    /// Block `number` of an address, if somebody has it.
    fn block(self, external: Ipv4Addr, rows: Rows, number: u32) -> Option<Owned> {
        let row = rows.first_row() + number;
        let (slab_line, inside) = self.memory.blocks.get(row)?.read();
        if slab_line == 0 {
            return None;
        }
        Some(Owned {
            row,
            slab_line,
            inside: InsideKey::from_bits(inside),
            external,
            first_place: first_port(number, rows.block_shift()),
            shift: rows.block_shift(),
            pool: rows.pool(),
            key: self.memory.block_key(rows.pool(), external),
            log_sequence: self.log_sequence(slab_line)?,
        })
    }

    /// True if the block was its owner's all the time since it was found: then
    /// what was read of its slab is, too. A slab's header changes only while
    /// no row names the slab, and gets a new sequence number with each owner.
    fn is_still(self, block: &Owned) -> bool {
        let row = self.memory.blocks.get(block.row);
        row.is_some_and(|row| row.read() == (block.slab_line, block.inside.to_bits()))
            && self.log_sequence(block.slab_line) == Some(block.log_sequence)
    }

    fn log_sequence(self, slab_line: u32) -> Option<u64> {
        let head = self.memory.header(slab_line)?;
        Some(head.0[header::LOG_SEQUENCE].load())
    }
}

/// External addresses of a pool; only one, if one is named.
fn addresses(shape: &PoolShape, only: Option<Ipv4Addr>) -> Box<dyn Iterator<Item = Ipv4Addr> + '_> {
    match only {
        None => Box::new(shape.each_address()),
        Some(address) => {
            let mut ranges = shape.addresses.iter();
            let is_in = ranges.any(|(first, last)| (*first..=*last).contains(&address));
            Box::new(is_in.then_some(address).into_iter())
        }
    }
}
