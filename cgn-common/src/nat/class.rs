//! Classes of ports, where a pool keeps them (RFC 4787 REQ-3a): a block has ports below 1024, too,
//! so that a mapping of an inside port below 1024 can get one.
//!
//! Tables, allocator and log speak of *places*, as with scattered blocks ([`super::scatter`]):
//! block b has the places from 1024 + b * N on. Of each 128 places, the first two have ports
//! below 1024, from 16 on, and the other 126 have ports from 1024 on:
//!
//! ```text
//! place - 1024 = 128 * group + at      at < 2:  port =   16 +   2 * group + at        16 to 1023
//!                                      else:    port = 1024 + 126 * group + at - 2    1024 to 64527
//! ```
//!
//! So each block has one port below 1024 for 63 others, all blocks of a size have as many, and both
//! parts of a block are one range. The size of blocks is not in it. An even place has an even port.
//! Ports 1 to 15 and from 64528 on have no place.

use crate::limits::{FIRST_PORT, SLOTS_PER_BUCKET, USABLE_PORTS};

/// Places of a group.
const GROUP: u16 = 128;
/// Those of them with a port below 1024: the first ones.
const SYSTEM: u16 = 2;
/// Those with another port.
const OTHERS: u16 = GROUP - SYSTEM;
/// The lowest port that has a place.
pub const LOWEST_PORT: u16 = 16;
const GROUPS: u16 = (USABLE_PORTS / GROUP as u32) as u16;
const _: () = assert!(GROUPS as u32 * GROUP as u32 == USABLE_PORTS);
const _: () = assert!(LOWEST_PORT + GROUPS * SYSTEM == FIRST_PORT);
/// The highest port that has a place.
pub const HIGHEST_PORT: u16 = FIRST_PORT + (GROUPS * OTHERS - 1);

/// Fewest ports of a block with ports of both classes.
pub const MIN_BLOCK_PORTS: u32 = GROUP as u32;
/// Stands in records of such a block where scattered ones have the number of a key.
pub const KEY: u8 = u8::MAX;
/// From one bucket with places of ports below 1024 to the next.
pub const BUCKETS_APART: u32 = GROUP as u32 / SLOTS_PER_BUCKET;

/// True of a port that wants an external one below 1024.
#[inline(always)]
#[must_use]
pub const fn is_system(inside_port: u16) -> bool {
    inside_port < FIRST_PORT
}

/// Slots of a bucket that have ports below 1024, a bit each.
#[inline(always)]
#[must_use]
pub const fn system_slots(bucket: u32) -> u64 {
    // Without a branch, of which the verifier would follow both sides in every bucket.
    let at = (bucket & (BUCKETS_APART - 1)) as u64;
    let is_first = at.wrapping_sub(1) >> 63;
    ((1 << SYSTEM) - 1) * is_first
}

/// Port of a place. A place below 1024 is none, and stays.
#[inline(always)]
#[must_use]
pub const fn port_of(place: u16) -> u16 {
    if place < FIRST_PORT {
        return place;
    }
    let (group, at) = ((place - FIRST_PORT) / GROUP, (place - FIRST_PORT) % GROUP);
    if at < SYSTEM {
        LOWEST_PORT + group * SYSTEM + at
    } else {
        FIRST_PORT + group * OTHERS + (at - SYSTEM)
    }
}

/// Place of a port: the inverse of [`port_of`]. 0, which is none, for a port without one.
#[inline(always)]
#[must_use]
pub const fn place_of(port: u16) -> u16 {
    if port < LOWEST_PORT || port > HIGHEST_PORT {
        return 0;
    }
    if port < FIRST_PORT {
        let at = port - LOWEST_PORT;
        return FIRST_PORT + at / SYSTEM * GROUP + at % SYSTEM;
    }
    let at = port - FIRST_PORT;
    FIRST_PORT + at / OTHERS * GROUP + SYSTEM + at % OTHERS
}

/// Ports of a block with `count` places from `first` on, below 1024 and from there on: first port
/// and number of each range.
#[must_use]
pub const fn ranges(first: u16, count: u16) -> [(u16, u16); 2] {
    let groups = count / GROUP;
    [
        (port_of(first), groups * SYSTEM),
        (port_of(first + SYSTEM), groups * OTHERS),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{block_of, blocks_per_address, first_port};

    /// From a program of a few lines of Python that lists places and ports one by one.
    #[test]
    fn another_program_says_the_same() {
        let cases = [
            (1024, 16),
            (1025, 17),
            (1026, 1024),
            (1151, 1149),
            (1152, 18),
            (1153, 19),
            (1154, 1150),
            (5060, 4996),
            (32768, 512),
            (65408, 1022),
            (65409, 1023),
            (65534, 64526),
            (65535, 64527),
        ];
        for (place, port) in cases {
            assert_eq!(port_of(place), port, "{place}");
        }
    }

    #[test]
    fn each_place_has_a_port_of_its_own_and_its_parity_and_comes_back() {
        let mut seen = vec![false; 65_536];
        for place in FIRST_PORT..=u16::MAX {
            let port = port_of(place);
            assert!(!std::mem::replace(&mut seen[usize::from(port)], true));
            assert_eq!(place_of(port), place);
            assert_eq!(place & 1, port & 1, "{place} -> {port}");
            let (bucket, slot) = ((place - FIRST_PORT) / 8, (place - FIRST_PORT) % 8);
            let is_system = system_slots(u32::from(bucket)) >> slot & 1 == 1;
            assert_eq!(is_system, port < FIRST_PORT, "{place} -> {port}");
        }
        for (port, seen) in (0..=u16::MAX).zip(seen) {
            let has_place = (LOWEST_PORT..=HIGHEST_PORT).contains(&port);
            assert_eq!(seen, has_place, "{port}");
            assert_eq!(place_of(port) != 0, has_place, "{port}");
        }
    }

    #[test]
    fn a_block_has_two_ranges_and_no_port_of_another() {
        for shift in 7..=10 {
            let mut owners = vec![None; 65_536];
            for number in 0..blocks_per_address(shift) {
                let ranges = ranges(first_port(number, shift), 1 << shift);
                assert_eq!(
                    ranges.map(|(_, count)| count),
                    [1 << shift >> 6, (1 << shift) / 64 * 63]
                );
                for port in ranges
                    .into_iter()
                    .flat_map(|(first, count)| first..first + count)
                {
                    assert_eq!(owners[usize::from(port)].replace(number), None, "{port}");
                    assert_eq!(block_of(place_of(port), shift), Some(number), "{port}");
                }
            }
            let owned = owners.iter().filter(|owner| owner.is_some()).count();
            assert_eq!(owned, 64_512, "all places are somebody's");
        }
    }
}
