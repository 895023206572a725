//! Slabs: the memory of a block, a header line and its buckets.

use core::iter;
use core::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::limits::{MIN_BLOCK_PORTS, SLOTS_PER_BUCKET};
use crate::verdict::Protocol;
use crate::word::Word;

/// One cache line of `SLABS`. A slab serves one block: a header line, and of TCP, UDP and ICMP a line with the
/// keys of each bucket, and one with the peers of each. They stand apart, see [`Parts`].
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Line(pub [Word; 8]);

impl Line {
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
    /// Of a slab's header: whether the block has a free port of `protocol`. A
    /// full block is seen from here, without a look at its slots.
    #[inline(always)]
    #[must_use]
    pub fn has_room(&self, protocol: Protocol) -> bool {
        Used(self.0[header::USED].load()).has_room(protocol, self.limits())
    }
    /// Of a slab's header: how many ports may be in use.
    #[inline(always)]
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits(self.0[header::LIMITS].load())
    }
    /// Of a slab's header: counts one more port of `protocol` in use. False,
    /// and nothing counted, if the block has none or is closed.
    #[inline(always)]
    #[must_use]
    pub fn take_port(&self, protocol: Protocol) -> bool {
        let before = Used(self.0[header::USED].add(Used::one(protocol)));
        let taken = before.has_room(protocol, self.limits());
        if !taken {
            self.give_port(protocol);
        }
        taken
    }
    /// Of a slab's header: one port of `protocol` less in use.
    #[inline(always)]
    pub fn give_port(&self, protocol: Protocol) {
        self.0[header::USED].add(Used::one(protocol).wrapping_neg());
    }
}

/// Lines of `SLABS` for a block of `1 << block_shift` ports.
#[must_use]
pub const fn slab_lines(block_shift: u32) -> u32 {
    Parts(buckets(block_shift)).lines()
}

/// Buckets of one protocol in a slab.
#[inline(always)]
#[must_use]
pub const fn buckets(block_shift: u32) -> u32 {
    (1 << block_shift) / SLOTS_PER_BUCKET
}

/// How `SLABS` is divided: keys of TCP, UDP and ICMP; peers of the same; headers. In each of the first six
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

    /// Those of a table with so many lines.
    #[must_use]
    pub const fn of_table(lines: u32) -> Self {
        const UNIT: u32 = Parts(Parts::BUCKETS_PER_HEADER).lines();
        Self(lines / UNIT * Self::BUCKETS_PER_HEADER)
    }
    /// Lines of the whole table.
    #[inline(always)]
    #[must_use]
    pub const fn lines(self) -> u32 {
        2 * Self::PROTOCOLS * self.0 + self.0 / Self::BUCKETS_PER_HEADER
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
    /// All lines of a slab: its header, and one range in each of the other parts.
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

/// Words of a slab's header line.
pub mod header {
    /// Ports in use (mappings and ports in hold), see [`super::Used`].
    pub const USED: usize = 0;
    /// Bits 0-31 inside address, 32-63 external address.
    pub const OWNER: usize = 1;
    /// Bits 0-15 first port, 16-23 log2 of ports, 24-31 pool, 32-63 subscriber index.
    pub const BLOCK: usize = 2;
    /// Unix time of the allocation in milliseconds.
    pub const ALLOCATED_MS: usize = 3;
    /// Sequence number of the allocation's log record.
    pub const LOG_SEQUENCE: usize = 4;
    /// 1 when the next block has been requested (fill watermark).
    pub const REQUESTED: usize = 5;
    /// Mappings at which the next block is requested.
    pub const WATERMARK: usize = 6;
    /// See [`super::Limits`].
    pub const LIMITS: usize = 7;
}

/// First word of a slab header: three counters of 20 bits, one a protocol,
/// and a bit that closes the block for new mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used(pub u64);

impl Used {
    /// No new mapping may be opened in this block.
    pub const CLOSED: u64 = 1 << 63;

    /// One port of `protocol`.
    #[inline(always)]
    #[must_use]
    pub const fn one(protocol: Protocol) -> u64 {
        1 << (20 * protocol as u32)
    }
    #[inline(always)]
    #[must_use]
    pub const fn of(self, protocol: Protocol) -> u32 {
        (self.0 >> (20 * protocol as u32)) as u32 & 0xf_ffff
    }
    /// True if one more port of `protocol` may be taken.
    #[inline(always)]
    #[must_use]
    pub const fn has_room(self, protocol: Protocol, limits: Limits) -> bool {
        !self.closed() && self.of(protocol) < limits.of(protocol)
    }
    #[inline(always)]
    #[must_use]
    pub const fn closed(self) -> bool {
        self.0 & Self::CLOSED != 0
    }
}

/// Last word of a slab header: how many ports of each protocol may be in use in the
/// block, in 20 bits each as in [`Used`], at most all that it has. Bits 60-62: the
/// subscriber may have no more of that protocol, so that a further block would
/// bring none.
///
/// The limit of a subscriber is thus the sum over its blocks, and costs a packet
/// nothing: the word lies beside the count that it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits(pub u64);

impl Limits {
    const CAPPED: u32 = 60;
    /// No port more, and no further block.
    pub const NOTHING: Self = Self::new([0; 3], [true; 3]);

    /// By protocol: the most ports in use, and whether no further ones may be had.
    #[must_use]
    pub const fn new(most: [u32; 3], capped: [bool; 3]) -> Self {
        let mut word = 0;
        let mut at = 0;
        while at < 3 {
            word |=
                (most[at] as u64) << (20 * at) | (capped[at] as u64) << (Self::CAPPED + at as u32);
            at += 1;
        }
        Self(word)
    }
    #[inline(always)]
    #[must_use]
    pub const fn of(self, protocol: Protocol) -> u32 {
        Used(self.0).of(protocol)
    }
    /// True if a further block would bring no port of `protocol`.
    #[inline(always)]
    #[must_use]
    pub const fn is_capped(self, protocol: Protocol) -> bool {
        self.0 >> (Self::CAPPED + protocol as u32) & 1 != 0
    }
}
const _: () = assert!(crate::limits::MAX_BLOCK_PORTS < 1 << 20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_bit_of_every_byte_is_found() {
        for bits in 1..1 << SLOTS_PER_BUCKET {
            assert_eq!(lowest(bits), bits.trailing_zeros(), "{bits:#010b}");
        }
    }
}
