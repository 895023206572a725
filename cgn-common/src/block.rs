//! Arithmetic of blocks: ports <-> block numbers, addresses <-> table indices.

use crate::layout::{PAGE_SHIFT, Page};
use crate::limits::{FIRST_PORT, USABLE_PORTS};

/// Blocks of `1 << block_shift` ports in one external address.
#[inline(always)]
#[must_use]
pub const fn blocks_per_address(block_shift: u32) -> u32 {
    USABLE_PORTS >> block_shift
}

/// First port of block `number`.
#[inline(always)]
#[must_use]
pub const fn first_port(number: u32, block_shift: u32) -> u16 {
    FIRST_PORT + (number << block_shift) as u16
}

/// Block that holds `port`; None for ports below 1024 and for the remainder
/// of the port space that makes no whole block.
#[inline(always)]
#[must_use]
pub const fn block_of(port: u16, block_shift: u32) -> Option<u32> {
    if port < FIRST_PORT {
        return None;
    }
    let number = ((port - FIRST_PORT) >> block_shift) as u32;
    if number < blocks_per_address(block_shift) {
        Some(number)
    } else {
        None
    }
}

/// Page number of an address in the directories.
#[inline(always)]
#[must_use]
pub const fn page_of(address: u32) -> u32 {
    address >> PAGE_SHIFT
}

const fn offset_in_page(address: u32) -> u32 {
    address & ((1 << PAGE_SHIFT) - 1)
}

impl Page {
    /// Index of `address` in the table behind the directory; None if it has no entry.
    #[inline(always)]
    #[must_use]
    pub const fn index_of(&self, address: u32) -> Option<u32> {
        let offset = offset_in_page(address);
        if offset < self.first as u32 || offset >= self.end as u32 {
            return None;
        }
        Some(self.base + (offset - self.first as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_port_of_a_block_names_its_block(shift in 6_u32..=10, number in 0_u32..1008) {
            prop_assume!(number < blocks_per_address(shift));
            let first = first_port(number, shift);
            for port in [u32::from(first), u32::from(first) + (1 << shift) - 1] {
                prop_assert!(port <= 65_535);
                prop_assert_eq!(block_of(port as u16, shift), Some(number));
            }
            if first > FIRST_PORT {
                prop_assert_eq!(block_of(first - 1, shift), Some(number - 1));
            }
        }

        #[test]
        fn pages_and_indices_are_a_bijection(base in 0_u32..1000, first in 0_u16..4096, len in 1_u16..100, page in 0_u32..0x10_0000) {
            let end = (first + len).min(4096);
            let entries = Page { base, first, end };
            for offset in 0..4096_u32 {
                let address = page << 12 | offset;
                let inside = offset >= u32::from(first) && offset < u32::from(end);
                prop_assert_eq!(entries.index_of(address), inside.then(|| base + offset - u32::from(first)));
            }
        }
    }

    #[test]
    fn ports_that_make_no_whole_block_belong_to_nobody() {
        assert_eq!(block_of(1023, 9), None);
        assert_eq!(block_of(65_535, 9), Some(125));
        assert_eq!(
            blocks_per_address(11),
            31,
            "2048 ports do not divide the port space"
        );
        assert_eq!(block_of(1024 + 31 * 2048 - 1, 11), Some(30));
        assert_eq!(block_of(1024 + 31 * 2048, 11), None);
    }

    #[test]
    fn an_empty_page_has_no_entry() {
        assert_eq!(Page::default().index_of(0), None);
        assert_eq!(Page::default().index_of(0x6440_0000), None);
    }
}
