//! The taken blocks of one external address.

use std::collections::BTreeSet;

use rand::{Rng, RngExt};

/// A bit for each block, set while the block is used or in hold.
#[derive(Debug)]
pub(super) struct BlockSet {
    words: Box<[u64]>,
    free: u32,
}

impl BlockSet {
    /// Of so many blocks, of which the `closed` ones look taken for ever.
    pub(super) fn new(blocks: u32, closed: &BTreeSet<u16>) -> Self {
        let mut set = Self {
            words: vec![0; blocks.div_ceil(64) as usize].into_boxed_slice(),
            free: blocks,
        };
        let closed = closed.iter().filter(|block| u32::from(**block) < blocks);
        closed.for_each(|block| set.take(*block));
        set
    }

    pub(super) fn free(&self) -> u32 {
        self.free
    }

    pub(super) fn is_taken(&self, block: u16) -> bool {
        self.words[usize::from(block / 64)] >> (block % 64) & 1 == 1
    }

    /// Takes `block`, which is free.
    pub(super) fn take(&mut self, block: u16) {
        self.words[usize::from(block / 64)] |= 1 << (block % 64);
        self.free -= 1;
    }

    /// Gives back `block`, which is taken.
    pub(super) fn give_back(&mut self, block: u16) {
        self.words[usize::from(block / 64)] &= !(1 << (block % 64));
        self.free += 1;
    }

    /// A free block, each with the same chance (RFC 6056 section 3.1: hard to
    /// guess); None if there is none. One draw and a scan of the words, at most
    /// 16 for blocks of 64 ports, at any fill.
    pub(super) fn choose(&self, rng: &mut impl Rng) -> Option<u16> {
        if self.free == 0 {
            return None;
        }
        // Bits beyond the last block look free, but all free blocks rank before them.
        let mut rank = rng.random_range(0..self.free);
        for (at, &word) in self.words.iter().enumerate() {
            let zeros = word.count_zeros();
            if rank < zeros {
                return Some(at as u16 * 64 + nth_set_bit(!word, rank));
            }
            rank -= zeros;
        }
        None
    }
}

/// Position of the set bit of `word` that has `rank` set bits below it.
fn nth_set_bit(mut word: u64, rank: u32) -> u16 {
    for _ in 0..rank {
        word &= word - 1;
    }
    word.trailing_zeros() as u16
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn every_block_can_be_chosen_and_none_twice() {
        for blocks in [1, 2, 63, 64, 65, 126, 1008] {
            let mut rng = StdRng::seed_from_u64(7);
            let mut set = BlockSet::new(blocks, &BTreeSet::new());
            let mut seen = BTreeSet::new();
            while let Some(block) = set.choose(&mut rng) {
                assert!(!set.is_taken(block) && u32::from(block) < blocks);
                set.take(block);
                assert!(set.is_taken(block) && seen.insert(block));
                assert_eq!(set.free() as usize, blocks as usize - seen.len());
            }
            assert_eq!(seen.len(), blocks as usize, "{blocks} blocks");
            set.give_back(0);
            assert_eq!(set.choose(&mut rng), Some(0), "{blocks} blocks");
        }
    }
}
