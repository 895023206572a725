//! Subscribers and their blocks: an outbound packet's way to its slab.

use crate::limits::MAX_BLOCKS_PER_SUBSCRIBER;
use crate::word::Word;

/// Blocks in a subscriber's own entry; the others are in [`FurtherBlocks`].
pub const NEAR_BLOCKS: usize = 2;

/// One subscriber: half a cache line, all that an outbound packet of an established
/// flow needs to find its slot and its external address, where the subscriber has no
/// more than two blocks. The table is small so that it stays in the cache (ADR 18).
#[derive(Debug, Default)]
#[repr(C, align(32))]
pub struct Subscriber {
    /// See [`SubscriberHead`].
    pub head: Word,
    /// Random secret of the hash that places mappings in blocks. Each
    /// subscriber has its own, so that one who learns his own port choice
    /// learns nothing of another's (RFC 6056 section 4).
    pub secret: Word,
    /// See [`OwnedBlock`]; of these and the further ones, the first `block_count` are valid.
    pub blocks: [Word; NEAR_BLOCKS],
}

/// The blocks of a subscriber beyond those in its own entry, at the same index.
#[derive(Debug, Default)]
#[repr(C, align(32))]
pub struct FurtherBlocks(pub [Word; MAX_BLOCKS_PER_SUBSCRIBER - NEAR_BLOCKS]);

/// First word of a [`Subscriber`].
/// Bits 0-31 external address, 32-39 flags, 40-47 block count, 48-55 log2 of
/// the ports of a block, 56-63 pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriberHead(pub u64);

impl SubscriberHead {
    /// The address is in a subscriber prefix of the configuration.
    pub const VALID: u64 = 1 << 32;
    /// No further block can be had at the moment: refuse in the fast path.
    pub const REFUSED: u64 = 1 << 33;
    /// Counts the changes of the blocks, modulo 64: see [`Self::next_generation`].
    const GENERATION: u64 = 0x3f << 34;

    #[inline(always)]
    #[must_use]
    pub const fn new(external: u32, blocks: u8, block_shift: u8, pool: u8, flags: u64) -> Self {
        Self(
            external as u64
                | flags
                | (blocks as u64) << 40
                | (block_shift as u64) << 48
                | (pool as u64) << 56,
        )
    }
    /// The flags of a head that follows this one after a block was given or
    /// taken: one that reads the same head before and after a look at all
    /// blocks has seen them all, though blocks move up when one is taken.
    #[must_use]
    pub const fn next_generation(self) -> u64 {
        const ONE: u64 = 1 << SubscriberHead::GENERATION.trailing_zeros();
        (self.0 + ONE) & Self::GENERATION
    }
    #[inline(always)]
    #[must_use]
    pub const fn external(self) -> u32 {
        self.0 as u32
    }
    #[inline(always)]
    #[must_use]
    pub const fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }
    #[inline(always)]
    #[must_use]
    pub const fn block_count(self) -> u32 {
        (self.0 >> 40) as u32 & 0xff
    }
    #[inline(always)]
    #[must_use]
    pub const fn block_shift(self) -> u32 {
        (self.0 >> 48) as u32 & 0xff
    }
    #[inline(always)]
    #[must_use]
    pub const fn pool(self) -> u8 {
        (self.0 >> 56) as u8
    }
}

/// A block in its subscriber's line: bits 0-31 first line of its slab in
/// `SLABS` (0: none), 32-47 first port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedBlock(pub u64);

impl OwnedBlock {
    #[inline(always)]
    #[must_use]
    pub const fn new(slab_line: u32, first_port: u16) -> Self {
        Self(slab_line as u64 | (first_port as u64) << 32)
    }
    #[inline(always)]
    #[must_use]
    pub const fn slab_line(self) -> u32 {
        self.0 as u32
    }
    #[inline(always)]
    #[must_use]
    pub const fn first_port(self) -> u16 {
        (self.0 >> 32) as u16
    }
}
