//! What the configuration says of a pool, and the order of its addresses.

use std::collections::BTreeSet;

use super::error::SpecError;

/// First port that a block may hold (RFC 6056 section 3.2: the well-known ports stay out).
pub const FIRST_PORT: u32 = cgn_common::limits::FIRST_PORT as u32;
/// Ports of one external address that blocks may use: 1024 to 65535.
pub const USABLE_PORTS: u32 = cgn_common::limits::USABLE_PORTS;
/// Most slabs of one pool: 2^24 slabs of the smallest block are 48 GiB of slots.
pub const MAX_SLABS: u32 = 1 << 24;

/// One pool of external addresses with one allocation policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSpec {
    /// Name from the configuration, for messages and metrics.
    pub name: String,
    /// Inclusive ranges of external IPv4 addresses, host byte order, any order.
    pub addresses: Vec<(u32, u32)>,
    /// Ports in a block, 1 to 64512.
    pub block_ports: u32,
    /// Most blocks that one subscriber may have at once.
    pub blocks_per_subscriber: u32,
    /// Blocks of each address that nobody gets, since they hold a port that is reserved (RFC 6056
    /// section 3.3). One that has an owner at start is left to it.
    pub reserved_blocks: BTreeSet<u16>,
    /// Most blocks allocated at once = slabs of slot memory.
    pub max_blocks: u32,
    /// Its blocks are scattered: each address has a key while a block of it is used or in hold.
    pub scattered: bool,
    /// Blocks of each address, from 0 on, that only [`super::Allocator::assign`] gives.
    pub static_blocks: u32,
}

/// How long what was released stays out of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldPolicy {
    /// Milliseconds for which nobody gets a released block (RFC 6888 REQ-8: at least 120 s).
    pub block_hold_ms: u64,
    /// Milliseconds for which nobody gets a released slab, so that a packet in
    /// flight never sees the memory reused.
    pub slab_quarantine_ms: u64,
    /// Most blocks of one pool in hold (RFC 6888 REQ-8 wants the number of held
    /// ports configurable); a block released beyond it is free at once, and counted.
    pub max_held_blocks: u32,
}

impl Default for HoldPolicy {
    fn default() -> Self {
        Self {
            block_hold_ms: 120_000,
            slab_quarantine_ms: 1_000,
            max_held_blocks: u32::MAX,
        }
    }
}

impl PoolSpec {
    /// Blocks of one external address: 64512 / `block_ports`, rounded down.
    pub(super) fn blocks_per_address(&self) -> u32 {
        USABLE_PORTS / self.block_ports
    }

    /// Those of them that can be given.
    pub(super) fn usable_blocks(&self) -> u32 {
        let all = self.blocks_per_address();
        let reserved = self.reserved_blocks.iter();
        all - reserved.filter(|block| u32::from(**block) < all).count() as u32
    }

    /// Those that nobody is given by chance: reserved or static.
    pub(super) fn closed_blocks(&self) -> BTreeSet<u16> {
        let all = self.blocks_per_address();
        let fixed = (0..self.static_blocks).map(|block| block as u16);
        let closed = self.reserved_blocks.iter().copied().chain(fixed);
        closed.filter(|block| u32::from(*block) < all).collect()
    }

    pub(super) fn check(&self) -> Result<(), SpecError> {
        let pool = || self.name.clone();
        if self.block_ports == 0 || self.block_ports > USABLE_PORTS {
            return Err(SpecError::BlockPorts {
                pool: pool(),
                block_ports: self.block_ports,
            });
        }
        if self.usable_blocks() == 0 {
            return Err(SpecError::AllReserved { pool: pool() });
        }
        if self.blocks_per_subscriber == 0 {
            return Err(SpecError::BlocksPerSubscriber { pool: pool() });
        }
        if self.max_blocks == 0 || self.max_blocks > MAX_SLABS {
            return Err(SpecError::MaxBlocks {
                pool: pool(),
                max_blocks: self.max_blocks,
            });
        }
        Ok(())
    }
}

/// The addresses of a pool, numbered 0.. in ascending order, so that a pool of
/// any size is a few ranges and one number.
#[derive(Debug)]
pub(super) struct AddressRanges {
    /// (first address, last address, number of the first), ascending.
    ranges: Vec<(u32, u32, u32)>,
    count: u32,
}

impl AddressRanges {
    pub(super) fn new(spec: &PoolSpec) -> Result<Self, SpecError> {
        let mut sorted = spec.addresses.clone();
        sorted.sort_unstable();
        let mut ranges: Vec<(u32, u32, u32)> = Vec::with_capacity(sorted.len());
        let mut count = 0_u32;
        for (first, last) in sorted {
            if first > last {
                return Err(SpecError::ReversedRange {
                    pool: spec.name.clone(),
                    first: first.into(),
                    last: last.into(),
                });
            }
            if ranges.last().is_some_and(|&(_, end, _)| end >= first) {
                return Err(SpecError::Overlap {
                    pool: spec.name.clone(),
                    other: spec.name.clone(),
                    address: first.into(),
                });
            }
            ranges.push((first, last, count));
            count = (last - first)
                .checked_add(1)
                .and_then(|length| count.checked_add(length))
                .ok_or_else(|| SpecError::TooManyAddresses {
                    pool: spec.name.clone(),
                })?;
        }
        if count == 0 {
            return Err(SpecError::NoAddresses {
                pool: spec.name.clone(),
            });
        }
        Ok(Self { ranges, count })
    }

    /// Addresses in the pool.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Address number `ordinal`, which is below `count`.
    pub(super) fn address(&self, ordinal: u32) -> u32 {
        let after = self.ranges.partition_point(|&(_, _, base)| base <= ordinal);
        // The first range begins at number 0, so `after` is at least 1.
        let (first, _, base) = self.ranges[after - 1];
        first + (ordinal - base)
    }

    /// Number of `address`; None if it is not in the pool.
    pub(super) fn ordinal(&self, address: u32) -> Option<u32> {
        let after = self
            .ranges
            .partition_point(|&(first, _, _)| first <= address);
        let &(first, last, base) = self.ranges.get(after.checked_sub(1)?)?;
        (address <= last).then(|| base + (address - first))
    }

    /// An address that both pools hold, if there is one.
    pub(super) fn shared_with(&self, other: &Self) -> Option<u32> {
        self.ranges.iter().find_map(|&(first, last, _)| {
            let at = other.ranges.partition_point(|&(_, end, _)| end < first);
            let &(start, _, _) = other.ranges.get(at)?;
            (start <= last).then(|| start.max(first))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spec(addresses: &[(u32, u32)]) -> PoolSpec {
        PoolSpec {
            scattered: false,
            static_blocks: 0,
            name: "p".into(),
            addresses: addresses.to_vec(),
            block_ports: 512,
            blocks_per_subscriber: 4,
            reserved_blocks: BTreeSet::new(),
            max_blocks: 16,
        }
    }

    proptest! {
        #[test]
        fn numbers_and_addresses_are_a_bijection(parts in prop::collection::vec((1_u32..50, 1_u32..50), 1..6)) {
            let mut next = 0xc000_0200;
            let ranges: Vec<(u32, u32)> = parts.iter().map(|&(gap, length)| {
                let first = next + gap;
                next = first + length;
                (first, next - 1)
            }).collect();
            let mut shuffled = ranges.clone();
            shuffled.reverse();
            let addresses = AddressRanges::new(&spec(&shuffled)).unwrap();
            let all: Vec<u32> = ranges.iter().flat_map(|&(first, last)| first..=last).collect();
            prop_assert_eq!(addresses.count() as usize, all.len());
            for (ordinal, &address) in all.iter().enumerate() {
                prop_assert_eq!(addresses.address(ordinal as u32), address);
            }
            for address in 0xc000_0200 - 1..next + 1 {
                let expected = all.iter().position(|&one| one == address).map(|at| at as u32);
                prop_assert_eq!(addresses.ordinal(address), expected);
            }
        }
    }

    #[test]
    fn every_impossible_range_is_refused_by_name() {
        type Case = (&'static str, &'static [(u32, u32)], fn(&SpecError) -> bool);
        let cases: [Case; 5] = [
            ("no range at all", &[], |e| {
                matches!(e, SpecError::NoAddresses { .. })
            }),
            ("last before first", &[(9, 8)], |e| {
                matches!(e, SpecError::ReversedRange { .. })
            }),
            (
                "one address twice",
                &[(5, 9), (9, 12)],
                |e| matches!(e, SpecError::Overlap { address, .. } if u32::from(*address) == 9),
            ),
            ("a range within another", &[(1, 100), (5, 6)], |e| {
                matches!(e, SpecError::Overlap { .. })
            }),
            ("the whole address space", &[(0, u32::MAX)], |e| {
                matches!(e, SpecError::TooManyAddresses { .. })
            }),
        ];
        for (sentence, ranges, is_expected) in cases {
            let error = AddressRanges::new(&spec(ranges)).expect_err(sentence);
            assert!(is_expected(&error), "{sentence}: {error}");
        }
    }

    #[test]
    fn shared_addresses_are_found_in_either_direction() {
        let a = AddressRanges::new(&spec(&[(10, 19), (40, 49)])).unwrap();
        type Case = (&'static [(u32, u32)], Option<u32>);
        let cases: [Case; 5] = [
            (&[(20, 39)], None),
            (&[(0, 9), (50, 60)], None),
            (&[(49, 60)], Some(49)),
            (&[(0, 100)], Some(10)),
            (&[(42, 43)], Some(42)),
        ];
        for (ranges, expected) in cases {
            let b = AddressRanges::new(&spec(ranges)).unwrap();
            assert_eq!(a.shared_with(&b), expected, "{ranges:?}");
            assert_eq!(b.shared_with(&a), expected, "{ranges:?} reversed");
        }
    }
}
