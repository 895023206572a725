//! External addresses, and who has which block of them: an inbound packet's way to its slab.

use crate::word::Word;

/// One external address: where its rows in `BLOCKS` stand. Bits 0-31 row of
/// block 0, 32-47 blocks of the address, 48-55 log2 of the ports of a block,
/// 56-63 pool. Zero: not a pool address.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct External(pub Word);

/// An [`External`], unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows(pub u64);

impl Rows {
    #[inline(always)]
    #[must_use]
    pub const fn new(first_row: u32, blocks: u16, block_shift: u8, pool: u8) -> Self {
        Self(
            first_row as u64
                | (blocks as u64) << 32
                | (block_shift as u64) << 48
                | (pool as u64) << 56,
        )
    }
    /// Row in `BLOCKS` of the address's block 0.
    #[inline(always)]
    #[must_use]
    pub const fn first_row(self) -> u32 {
        self.0 as u32
    }
    /// Blocks of the address.
    #[inline(always)]
    #[must_use]
    pub const fn blocks(self) -> u32 {
        (self.0 >> 32) as u32 & 0xffff
    }
    /// log2 of the ports of a block.
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
    /// False for an address that is in no pool.
    #[inline(always)]
    #[must_use]
    pub const fn is_pool_address(self) -> bool {
        self.0 != 0
    }
}

/// Element of `SCATTERINGS`, by the index in `EXTERNALS`: the keys that scatter the
/// blocks of an address. Written before the address has a block, and never while it
/// has one. The lowest byte of the last word is the number of the key in the mapping
/// log; all zero: none yet.
#[derive(Debug, Default)]
#[repr(C, align(32))]
pub struct Scattering(pub [Word; 4]);

impl Scattering {
    #[inline(always)]
    #[must_use]
    pub fn keys(&self) -> [u64; 4] {
        [
            self.0[0].load(),
            self.0[1].load(),
            self.0[2].load(),
            self.0[3].load(),
        ]
    }
    /// Number of the key in the mapping log; 0: none.
    #[must_use]
    pub fn key_number(&self) -> u8 {
        self.0[3].load() as u8
    }
}

/// One element of `BLOCKS`: who has this block of this external address.
/// Bits 0-31 first line of its slab in `SLABS` (0: nobody has it), 32-63
/// inside address of the owner.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct BlockEntry(pub Word);

impl BlockEntry {
    #[inline(always)]
    #[must_use]
    pub const fn pack(slab_line: u32, inside: u32) -> u64 {
        slab_line as u64 | (inside as u64) << 32
    }
    /// Slab line (0: nobody has the block) and inside address.
    #[inline(always)]
    #[must_use]
    pub fn read(&self) -> (u32, u32) {
        let word = self.0.load();
        (word as u32, (word >> 32) as u32)
    }
}
