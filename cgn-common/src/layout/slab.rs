//! Slabs: the memory of a block, a header line and its buckets.

use core::iter;
use core::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::limits::{MIN_BLOCK_PORTS, SLOTS_PER_BUCKET};
use crate::verdict::Protocol;
use crate::word::Word;

/// One cache line of `SLABS`. A slab serves one block: a header line, a [`Room`](super::Room), and of TCP, UDP and ICMP a line
/// with the keys of each bucket, and one with the peers of each. They stand apart, see [`Parts`].
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Line(pub [Word; 8]);

impl Line {
    const WORDS: u32 = 8;

    /// Of a bucket: the key of slot `at`, see [`SlotKey`](super::SlotKey); of its other line the peer, see
    /// [`peer`](super::peer).
    #[inline(always)]
    #[must_use]
    pub const fn at(&self, at: u32) -> &Word {
        &self.0[at as usize & 7]
    }
    /// The slots of a bucket whose word `is_one` says 1 of, and not 0; a bit each. Without a branch, if
    /// that has none.
    #[inline(always)]
    #[must_use]
    pub fn slots_where(&self, is_one: impl Fn(u64) -> u64) -> u64 {
        let mut found = 0;
        for at in 0..SLOTS_PER_BUCKET {
            found |= is_one(self.at(at).load()) << at;
        }
        found
    }
}

/// Bytes of `SLABS` for a block of `1 << block_shift` ports.
#[must_use]
pub const fn slab_bytes(block_shift: u32) -> u32 {
    // So many blocks fill all their lines.
    let blocks = Parts::ROOMS_PER_LINE;
    Parts(blocks * buckets(block_shift)).lines() * size_of::<Line>() as u32 / blocks
}

/// Buckets of one protocol in a slab.
#[inline(always)]
#[must_use]
pub const fn buckets(block_shift: u32) -> u32 {
    (1 << block_shift) / SLOTS_PER_BUCKET
}

/// How `SLABS` is divided: keys of TCP, UDP and ICMP; peers of the same; headers; rooms. In each of the first six
/// every block has a line for each bucket, one block after the other, and the first of those is what a slab is
/// known by. So what packets of established flows read of all blocks lies together, on fewer
/// pages than if each block had its own in one piece, whose translation a packet would wait for
/// ([ADR 48](../../../docs/adr/0048-keys-and-peers.md)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Parts(pub u32);

impl Parts {
    const PROTOCOLS: u32 = 3;
    /// Every block has as many buckets, or a multiple of them, for one header.
    pub const BUCKETS_PER_HEADER: u32 = buckets(MIN_BLOCK_PORTS.trailing_zeros());
    const ROOMS_PER_LINE: u32 = 4;

    /// Those of a table with so many lines.
    #[must_use]
    pub const fn of_table(lines: u32) -> Self {
        /// With so many headers all parts fill their lines.
        const HEADERS: u32 = Parts::ROOMS_PER_LINE;
        const LINES: u32 = Parts(HEADERS * Parts::BUCKETS_PER_HEADER).lines();
        let headers = lines as u64 * HEADERS as u64 / LINES as u64;
        Self(headers as u32 * Self::BUCKETS_PER_HEADER)
    }
    /// Lines of the whole table.
    #[must_use]
    pub const fn lines(self) -> u32 {
        let headers = self.0 / Self::BUCKETS_PER_HEADER;
        self.header(0) + headers + headers.div_ceil(Self::ROOMS_PER_LINE)
    }
    /// Line with the keys of the first bucket of `protocol` of a slab.
    #[inline(always)]
    #[must_use]
    pub const fn keys(self, slab_line: u32, protocol: Protocol) -> u32 {
        protocol as u32 * self.0 + slab_line
    }
    /// Line with the peers of the bucket whose keys are in line `keys`.
    #[inline(always)]
    #[must_use]
    pub const fn peers(self, keys: u32) -> u32 {
        Self::PROTOCOLS * self.0 + keys
    }
    /// All lines of a slab that are its own: its header, and one range in each of the other parts. Its room is in a
    /// line that others have a part of.
    pub fn lines_of(self, slab_line: u32, block_shift: u32) -> impl Iterator<Item = Range<u32>> {
        let header = self.header(slab_line);
        let parts = (0..2 * Self::PROTOCOLS).map(move |part| {
            let first = part * self.0 + slab_line;
            first..first + buckets(block_shift)
        });
        parts.chain(iter::once(header..header + 1))
    }
    /// Header line of a slab.
    #[inline(always)]
    #[must_use]
    pub const fn header(self, slab_line: u32) -> u32 {
        2 * Self::PROTOCOLS * self.0 + slab_line / Self::BUCKETS_PER_HEADER
    }
    /// Line with the [`Room`](super::Room) of a slab, and the first of its words.
    #[inline(always)]
    #[must_use]
    pub const fn room(self, slab_line: u32) -> (u32, u32) {
        let number = slab_line / Self::BUCKETS_PER_HEADER;
        let first = self.header(self.0);
        let words = Line::WORDS / Self::ROOMS_PER_LINE;
        (
            first + number / Self::ROOMS_PER_LINE,
            number % Self::ROOMS_PER_LINE * words,
        )
    }
}

/// Number of the lowest bit that is set in `bits`, of eight. BPF has no instruction for it.
#[inline(always)]
#[must_use]
pub const fn lowest(bits: u64) -> u32 {
    /// A byte whose three bits from the left are another number after each shift.
    const TURNS: u64 = 0b0001_0111;
    /// Shifts by the number that they give, four bits each.
    const SHIFTS: u32 = {
        let (mut shifts, mut shift) = (0, 0);
        while shift < SLOTS_PER_BUCKET {
            let number = ((TURNS << shift) & 0xff) >> 5;
            shifts |= shift << (4 * number);
            shift += 1;
        }
        shifts
    };
    let lowest = bits & bits.wrapping_neg();
    let number = ((lowest * TURNS) & 0xff) >> 5;
    SHIFTS >> (4 * number as u32) & 7
}

/// Words of a slab's header line: whose the block is. What is common in the fast path reads none of it.
pub mod header {
    /// Bits 0-31 inside address, 32-63 external address.
    pub const OWNER: usize = 0;
    /// Bits 0-15 first port, 16-23 log2 of ports, 24-31 pool, 32-63 subscriber index.
    pub const BLOCK: usize = 1;
    /// Unix time of the allocation in milliseconds.
    pub const ALLOCATED_MS: usize = 2;
    /// Sequence number of the allocation's log record.
    pub const LOG_SEQUENCE: usize = 3;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_bit_of_every_byte_is_found() {
        for bits in 1..1 << SLOTS_PER_BUCKET {
            assert_eq!(lowest(bits), bits.trailing_zeros(), "{bits:#010b}");
        }
    }

    #[test]
    fn a_table_is_divided_as_whoever_sized_it_meant_and_every_slab_has_a_room_in_it() {
        for slabs in 1..50 {
            let parts = Parts(slabs * Parts::BUCKETS_PER_HEADER);
            assert_eq!(Parts::of_table(parts.lines()), parts, "{slabs} slabs");
            let rooms = (0..slabs).map(|slab| parts.room(slab * Parts::BUCKETS_PER_HEADER));
            let mut rooms: Vec<_> = rooms.collect();
            assert_eq!(rooms[0], (parts.header(parts.0), 0), "behind the headers");
            assert!(rooms.iter().all(|(_, word)| word % 2 == 0), "of two words");
            assert_eq!(rooms.last().map(|(line, _)| line + 1), Some(parts.lines()));
            rooms.dedup();
            assert_eq!(rooms.len(), slabs as usize, "each its own");
        }
    }
}
