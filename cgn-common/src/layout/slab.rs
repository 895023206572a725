//! Slabs: the memory of a block, a header line and its buckets.

use crate::limits::SLOTS_PER_BUCKET;
use crate::verdict::Protocol;
use crate::word::Word;

/// One cache line of `SLABS`. A slab serves one block: a header line, then the
/// buckets of TCP, UDP and ICMP, one after the other.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Line(pub [Word; 8]);

impl Line {
    /// First word of slot `at` of a bucket, see [`SlotKey`].
    #[inline(always)]
    #[must_use]
    pub const fn key_at(&self, at: u32) -> &Word {
        &self.0[(2 * at as usize) & 7]
    }
    /// Second word of slot `at` of a bucket, see [`peer`].
    #[inline(always)]
    #[must_use]
    pub const fn peer_at(&self, at: u32) -> &Word {
        &self.0[(2 * at as usize + 1) & 7]
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

/// Lines of a slab whose block has `1 << block_shift` ports.
#[must_use]
pub const fn slab_lines(block_shift: u32) -> u32 {
    1 + 3 * buckets(block_shift)
}

/// Buckets of one protocol in a slab.
#[inline(always)]
#[must_use]
pub const fn buckets(block_shift: u32) -> u32 {
    (1 << block_shift) / SLOTS_PER_BUCKET
}

/// First bucket line of `protocol` in the slab that begins at `slab_line`.
#[inline(always)]
#[must_use]
pub const fn bucket_line(slab_line: u32, protocol: Protocol, block_shift: u32) -> u32 {
    slab_line + 1 + (protocol as u32) * buckets(block_shift)
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
