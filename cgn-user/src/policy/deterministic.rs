//! Deterministic NAT (RFC 7422): which static ports an inside address has, and back. Pure arithmetic
//! over what the configuration says, so that a past configuration answers as the present one.
//!
//! Inside addresses are numbered in ascending order, external ones too. C = ceil(inside / outside)
//! inside addresses share an external one, and D (`dynamic_factor`) further shares of its ports stay
//! for overflow. A share is floor(64512 / (C + D)) ports, rounded down to whole blocks, because a
//! range is some blocks here. Algorithm 0 (sequential): share i of an address begins at
//! 1024 + i * share; what is behind share C - 1 is for overflow.

use std::net::Ipv4Addr;

use cgn_common::limits::{FIRST_PORT, MAX_BLOCKS_PER_SUBSCRIBER, USABLE_PORTS};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::realms::FIRST_NAME;

/// Inclusive ranges of addresses, ascending, without overlap.
pub type Ranges = Vec<(Ipv4Addr, Ipv4Addr)>;

/// What decides the static ports of the subscribers of one pool: the inputs of RFC 7422 section 2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Map {
    /// Name of the realm that they are in; empty for the first. A record of the map has it beside.
    #[serde(skip)]
    pub realm: String,
    /// I: inside addresses.
    pub inside: Ranges,
    /// O: external addresses.
    pub outside: Ranges,
    /// C: inside addresses that share an external one.
    pub compression: u32,
    /// D: shares that are kept for overflow.
    pub dynamic_factor: u32,
    /// M: most ports of one subscriber.
    pub most_ports: u32,
    /// A: 0, sequential.
    pub algorithm: u8,
    /// R: ports below this one are reserved.
    pub first_port: u16,
    /// Ports of a block.
    pub block_ports: u32,
    /// Blocks of a share.
    pub static_blocks: u32,
}

/// Why a pool cannot be deterministic.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MapError {
    #[error(
        "{inside} subscribers on {outside} addresses leave {share} ports for each, less than a block of {block_ports}"
    )]
    TooFew {
        inside: u64,
        outside: u64,
        share: u32,
        block_ports: u32,
    },
    #[error("a share of {blocks} blocks is more than the {most} that a subscriber can have")]
    TooMany { blocks: u32, most: u32 },
}

/// Static ports of an inside address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub external: Ipv4Addr,
    /// Number of its first block in the address.
    pub first_block: u32,
    pub first_port: u16,
    pub last_port: u16,
}

/// Whose a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// In the share of this inside address, in the map's realm.
    Static(Ipv4Addr),
    /// For overflow: the mapping log tells.
    Dynamic,
    /// Reserved, or of no subscriber.
    Nobody,
}

impl Map {
    /// The map of a pool with these addresses; `most_blocks` of `block_ports` ports can be one
    /// subscriber's.
    ///
    /// # Errors
    /// The shares are no whole block, or more than a subscriber can have.
    pub fn new(
        inside: Ranges,
        outside: Ranges,
        dynamic_factor: u32,
        block_ports: u32,
        most_blocks: u32,
    ) -> Result<Self, MapError> {
        let (subscribers, addresses) = (count(&inside), count(&outside));
        let compression = subscribers.div_ceil(addresses.max(1)).max(1);
        let shares = compression.saturating_add(u64::from(dynamic_factor));
        let share = (u64::from(USABLE_PORTS) / shares) as u32;
        let static_blocks = share / block_ports;
        if static_blocks == 0 {
            return Err(MapError::TooFew {
                inside: subscribers,
                outside: addresses,
                share,
                block_ports,
            });
        }
        let most = most_blocks.min(MAX_BLOCKS_PER_SUBSCRIBER as u32);
        if static_blocks > most {
            let blocks = static_blocks;
            return Err(MapError::TooMany { blocks, most });
        }
        Ok(Self {
            realm: FIRST_NAME.to_owned(),
            inside,
            outside,
            // At most 64512, or a share were no whole block.
            compression: compression as u32,
            dynamic_factor,
            most_ports: most * block_ports,
            algorithm: 0,
            first_port: FIRST_PORT,
            block_ports,
            static_blocks,
        })
    }

    /// The same of subscribers in the realm with this name.
    #[must_use]
    pub fn in_realm(self, realm: &str) -> Self {
        let realm = realm.to_owned();
        Self { realm, ..self }
    }

    /// Static ports of an address in the map's realm; None if it is no subscriber of the pool.
    #[must_use]
    pub fn forward(&self, inside: Ipv4Addr) -> Option<Share> {
        let number = ordinal(&self.inside, inside)?;
        let compression = u64::from(self.compression);
        let external = address(&self.outside, number / compression)?;
        let first_block = (number % compression) as u32 * self.static_blocks;
        let first = u32::from(self.first_port) + first_block * self.block_ports;
        Some(Share {
            external,
            first_block,
            first_port: u16::try_from(first).ok()?,
            last_port: u16::try_from(first + self.share_ports() - 1).ok()?,
        })
    }

    /// Whose `port` of `external` is; None if the address is not of the pool.
    #[must_use]
    pub fn reverse(&self, external: Ipv4Addr, port: u16) -> Option<Owner> {
        let number = ordinal(&self.outside, external)?;
        let Some(place) = port.checked_sub(self.first_port) else {
            return Some(Owner::Nobody);
        };
        let share = u32::from(place) / self.share_ports();
        if share < self.compression {
            let subscriber = number * u64::from(self.compression) + u64::from(share);
            let inside = address(&self.inside, subscriber);
            return Some(inside.map_or(Owner::Nobody, Owner::Static));
        }
        // Blocks that make no whole one at the end of the address are nobody's.
        let blocks = USABLE_PORTS / self.block_ports;
        Some(match u32::from(place) < blocks * self.block_ports {
            true => Owner::Dynamic,
            false => Owner::Nobody,
        })
    }

    /// Ports of a share.
    #[must_use]
    pub const fn share_ports(&self) -> u32 {
        self.static_blocks * self.block_ports
    }

    /// Blocks of each external address that are in shares: those from 0 on.
    #[must_use]
    pub const fn reserved_blocks(&self) -> u32 {
        self.compression * self.static_blocks
    }

    /// First port for overflow; None if there is none.
    #[must_use]
    pub fn first_dynamic(&self) -> Option<u16> {
        let blocks = USABLE_PORTS / self.block_ports;
        let first = u32::from(self.first_port) + self.reserved_blocks() * self.block_ports;
        let is_port = self.reserved_blocks() < blocks;
        is_port.then(|| u16::try_from(first).ok()).flatten()
    }
}

/// Addresses of all ranges.
fn count(ranges: &Ranges) -> u64 {
    ranges.iter().map(length).sum()
}

fn length((first, last): &(Ipv4Addr, Ipv4Addr)) -> u64 {
    u64::from(last.to_bits()) - u64::from(first.to_bits()) + 1
}

/// Number of an address in the ranges, counted from 0.
fn ordinal(ranges: &Ranges, wanted: Ipv4Addr) -> Option<u64> {
    let mut before = 0;
    for range in ranges {
        if (range.0..=range.1).contains(&wanted) {
            return Some(before + u64::from(wanted.to_bits() - range.0.to_bits()));
        }
        before += length(range);
    }
    None
}

/// The address with this number.
fn address(ranges: &Ranges, mut number: u64) -> Option<Ipv4Addr> {
    for range in ranges {
        if number < length(range) {
            return Some(Ipv4Addr::from_bits(range.0.to_bits() + number as u32));
        }
        number -= length(range);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranges(all: &[(&str, &str)]) -> Ranges {
        let address = |text: &str| text.parse().unwrap();
        all.iter()
            .map(|(first, last)| (address(first), address(last)))
            .collect()
    }

    /// RFC 7422 section 2.1: 198.51.100.0/28 (14 hosts) behind one address, D = 2. The share is
    /// 4,032 ports there, and 3 blocks of 1,024 here.
    fn example() -> Map {
        let inside = ranges(&[("198.51.100.1", "198.51.100.14")]);
        let outside = ranges(&[("192.0.2.1", "192.0.2.1")]);
        Map::new(inside, outside, 2, 1024, 5).unwrap()
    }

    #[test]
    fn the_example_of_the_rfc_in_whole_blocks() {
        let map = example();
        assert_eq!(
            (map.compression, map.static_blocks, map.share_ports()),
            (14, 3, 3072)
        );
        assert_eq!(map.most_ports, 5120);
        let cases = [
            ("198.51.100.1", 1024, 4095),
            ("198.51.100.2", 4096, 7167),
            ("198.51.100.14", 40_960, 44_031),
        ];
        for (inside, first, last) in cases {
            let share = map.forward(inside.parse().unwrap()).unwrap();
            assert_eq!(share.external, Ipv4Addr::new(192, 0, 2, 1));
            assert_eq!(
                (share.first_port, share.last_port),
                (first, last),
                "{inside}"
            );
        }
        assert_eq!(map.first_dynamic(), Some(44_032));
        assert_eq!(map.forward(Ipv4Addr::new(198, 51, 100, 15)), None);
    }

    #[test]
    fn each_port_has_the_owner_that_it_should() {
        let map = example();
        let external = Ipv4Addr::new(192, 0, 2, 1);
        let inside = |last| Owner::Static(Ipv4Addr::new(198, 51, 100, last));
        let cases = [
            (0, Owner::Nobody),
            (1023, Owner::Nobody),
            (1024, inside(1)),
            (4095, inside(1)),
            (4096, inside(2)),
            (44_031, inside(14)),
            (44_032, Owner::Dynamic),
            (65_535, Owner::Dynamic),
        ];
        for (port, owner) in cases {
            assert_eq!(map.reverse(external, port), Some(owner), "{port}");
        }
        assert_eq!(map.reverse(Ipv4Addr::new(192, 0, 2, 2), 1024), None);
    }

    #[test]
    fn shares_that_are_no_block_or_too_many_are_refused() {
        let inside = ranges(&[("100.64.0.0", "100.64.0.255")]);
        let outside = ranges(&[("192.0.2.1", "192.0.2.1")]);
        let few = Map::new(inside.clone(), outside.clone(), 0, 512, 4);
        assert!(
            matches!(few, Err(MapError::TooFew { share: 252, .. })),
            "{few:?}"
        );
        let many = Map::new(inside, outside, 0, 64, 2);
        assert_eq!(many, Err(MapError::TooMany { blocks: 3, most: 2 }));
    }

    proptest! {
        /// R7422-2: reverse(forward(x)) = x for every subscriber and every port of its share, and
        /// no port has two owners.
        #[test]
        fn reverse_undoes_forward(
            (first, subscribers) in (0_u32..1000, 1_u32..600),
            gap in 1_u32..50,
            addresses in 1_u32..9,
            factor in 0_u32..4,
            shift in 6_u32..=10,
        ) {
            let inside = vec![
                (Ipv4Addr::from_bits(0x6440_0000 + first), Ipv4Addr::from_bits(0x6440_0000 + first + subscribers - 1)),
                (Ipv4Addr::from_bits(0x6450_0000), Ipv4Addr::from_bits(0x6450_0000 + gap)),
            ];
            let outside = vec![(Ipv4Addr::from_bits(0xc633_6401), Ipv4Addr::from_bits(0xc633_6400 + addresses))];
            let map = Map::new(inside.clone(), outside, factor, 1 << shift, 6);
            prop_assume!(map.is_ok());
            let map = map.unwrap();
            let mut owned = std::collections::BTreeSet::new();
            for (first, last) in inside {
                for inside in (first.to_bits()..=last.to_bits()).map(Ipv4Addr::from_bits) {
                    let share = map.forward(inside).unwrap();
                    for port in share.first_port..=share.last_port {
                        prop_assert_eq!(map.reverse(share.external, port), Some(Owner::Static(inside)));
                    }
                    prop_assert!(owned.insert((share.external, share.first_port)));
                }
            }
        }
    }
}
