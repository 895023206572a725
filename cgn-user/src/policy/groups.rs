//! Groups of subscribers: what each may do, and who is in which.

use std::collections::HashMap;

use cgn_common::layout::{Limits, QuotaLimits};

use super::blocks::PortsUsed;
use crate::realms::InsideKey;

/// What one subscriber may do; `None` sets no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Blocks, in place of the pool's number.
    pub blocks: Option<u32>,
    /// Ports in use by protocol, those in hold included (RFC 6888 REQ-4).
    pub mappings: [Option<u32>; 3],
    /// Remote endpoints beside the first of each mapping (RFC 6888 REQ-5).
    pub sessions: Option<u32>,
    /// New mappings a second, and at once (RFC 6888 REQ-4c).
    pub rate: Option<(u16, u16)>,
}

impl Allowance {
    /// Whatever the pool gives.
    pub const ALL: Self = Self {
        blocks: None,
        mappings: [None; 3],
        sessions: None,
        rate: None,
    };

    /// Blocks that the subscriber may have, of a pool that gives so many to each.
    #[must_use]
    pub fn most_blocks(&self, of_pool: u32) -> u32 {
        self.blocks.unwrap_or(of_pool)
    }

    /// By protocol: whether a further block of `ports` ports would bring no port,
    /// beside the `blocks` that the subscriber has.
    #[must_use]
    pub fn capped(&self, blocks: usize, ports: u32) -> [bool; 3] {
        let room = blocks as u64 * u64::from(ports);
        self.mappings
            .map(|most| most.is_some_and(|most| u64::from(most) <= room))
    }

    /// What the room of each block says, whose `ports` ports are in use like this. The
    /// limits of a protocol add up to the subscriber's. What is free of it goes to the
    /// older blocks first. Beyond it nothing is free anywhere.
    #[must_use]
    pub fn limits(&self, used: &[PortsUsed], ports: u32) -> Vec<Limits> {
        let capped = self.capped(used.len(), ports);
        let mut most = vec![[ports; 3]; used.len()];
        for protocol in (0..3).filter(|protocol| capped[*protocol]) {
            let used = used.iter().map(|used| used[protocol]);
            let limit = self.mappings[protocol].unwrap_or(u32::MAX);
            let sum: u32 = used.clone().sum();
            let mut free = limit.saturating_sub(sum);
            for (most, used) in most.iter_mut().zip(used) {
                let more = free.min(ports.saturating_sub(used));
                free -= more;
                most[protocol] = if sum > limit { 0 } else { used + more };
            }
        }
        most.into_iter()
            .map(|most| Limits::new(most, capped))
            .collect()
    }

    /// What the subscriber's quota says.
    #[must_use]
    pub fn quota(&self) -> QuotaLimits {
        let mut limits = QuotaLimits::NONE;
        if let Some((each_second, burst)) = self.rate {
            limits = limits.with_rate(each_second, burst);
        }
        if let Some(most) = self.sessions {
            limits = limits.with_sessions(most);
        }
        limits
    }
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub allowance: Allowance,
}

/// All groups. An inside address is in the group with the longest prefix that holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    all: Vec<Group>,
    /// Group by network, for each length of a prefix, the longest first.
    by_length: Vec<(u8, HashMap<u32, usize>)>,
}

impl Groups {
    /// Groups with their prefixes, as network and length. No prefix is twice there.
    #[must_use]
    pub fn new<K: Into<InsideKey>>(groups: Vec<(Group, Vec<(K, u8)>)>) -> Self {
        let mut by_length: HashMap<u8, HashMap<u32, usize>> = HashMap::new();
        let mut all = Vec::new();
        for (number, (group, prefixes)) in groups.into_iter().enumerate() {
            for (network, length) in prefixes {
                let networks = by_length.entry(length).or_default();
                networks.insert(network.into().to_bits() & mask(length), number);
            }
            all.push(group);
        }
        let mut by_length: Vec<_> = by_length.into_iter().collect();
        by_length.sort_unstable_by_key(|(length, _)| std::cmp::Reverse(*length));
        Self { all, by_length }
    }

    /// Every group, by number.
    #[must_use]
    pub fn all(&self) -> &[Group] {
        &self.all
    }

    /// Number of the group of an inside address.
    #[must_use]
    pub fn number_of(&self, inside: impl Into<InsideKey>) -> Option<usize> {
        let inside = inside.into();
        let lengths = self.by_length.iter();
        let found = lengths.map(|(length, groups)| groups.get(&(inside.to_bits() & mask(*length))));
        found.flatten().next().copied()
    }

    /// What an inside address may do.
    #[must_use]
    pub fn allowance(&self, inside: impl Into<InsideKey>) -> Allowance {
        self.number_of(inside)
            .map_or(Allowance::ALL, |number| self.all[number].allowance)
    }
}

/// The bits of a network of `length` bits.
fn mask(length: u8) -> u32 {
    u32::MAX
        .checked_shl(32 - u32::from(length.min(32)))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use cgn_common::verdict::Protocol;
    use proptest::prelude::*;

    use super::*;

    fn group(name: &str) -> Group {
        Group {
            name: name.to_owned(),
            allowance: Allowance::ALL,
        }
    }

    #[test]
    fn the_longest_prefix_decides() {
        let wide = (Ipv4Addr::new(100, 64, 0, 0), 10);
        let office = (Ipv4Addr::new(100, 64, 7, 0), 24);
        let boss = (Ipv4Addr::new(100, 64, 7, 9), 32);
        let groups = Groups::new(vec![
            (group("wide"), vec![wide, boss]),
            (group("office"), vec![office]),
        ]);
        for (address, expected) in [
            ([100, 64, 0, 0], Some("wide")),
            ([100, 127, 255, 255], Some("wide")),
            ([100, 64, 7, 8], Some("office")),
            ([100, 64, 7, 9], Some("wide")),
            ([100, 128, 0, 0], None),
            ([10, 0, 0, 1], None),
        ] {
            let number = groups.number_of(address);
            let name = number.map(|number| groups.all()[number].name.as_str());
            assert_eq!(name, expected, "{address:?}");
        }
        assert_eq!(Groups::default().number_of([100, 64, 0, 1]), None);
    }

    #[test]
    fn limits_are_shared_out_over_the_blocks() {
        let allowance = |most| Allowance {
            mappings: [Some(most), None, Some(0)],
            ..Allowance::ALL
        };
        type Case = (u32, &'static [u32], &'static [u32], bool, &'static str);
        let cases: &[Case] = &[
            (1000, &[10], &[64], false, "more than the block has"),
            (64, &[64], &[64], true, "all that the block has"),
            (50, &[10], &[50], true, "less than it has"),
            (100, &[52, 0], &[64, 36], true, "the rest for the second"),
            (
                100,
                &[60, 30],
                &[64, 36],
                true,
                "what is free, to the first",
            ),
            (100, &[30, 60], &[40, 60], true, "what is in use stays"),
            (100, &[40, 60], &[40, 60], true, "reached"),
            (100, &[41, 60], &[0, 0], true, "a limit that was lowered"),
            (0, &[], &[], true, "no block"),
        ];
        for (most, used, expected, capped, what) in cases {
            let blocks: Vec<PortsUsed> = used.iter().map(|used| [*used, 7, 0]).collect();
            let limits = allowance(*most).limits(&blocks, 64);
            let of = |protocol| -> Vec<u32> { limits.iter().map(|l| l.of(protocol)).collect() };
            assert_eq!(of(Protocol::Tcp), *expected, "{what}");
            assert!(of(Protocol::Udp).iter().all(|most| *most == 64), "{what}");
            assert!(of(Protocol::Icmp).iter().all(|most| *most == 0), "{what}");
            for limits in limits {
                assert_eq!(limits.is_capped(Protocol::Tcp), *capped, "{what}");
                assert!(!limits.is_capped(Protocol::Udp), "{what}");
                assert!(limits.is_capped(Protocol::Icmp), "{what}");
            }
        }
    }

    proptest! {
        #[test]
        fn limits_add_up_and_take_nothing_away(
            most in 0_u32..400,
            used in prop::collection::vec(0_u32..=64, 1..6),
        ) {
            let allowance = Allowance { mappings: [Some(most); 3], ..Allowance::ALL };
            let blocks: Vec<PortsUsed> = used.iter().map(|used| [*used; 3]).collect();
            let limits: Vec<u32> =
                allowance.limits(&blocks, 64).iter().map(|l| l.of(Protocol::Udp)).collect();
            let (sum, in_use) = (limits.iter().sum::<u32>(), used.iter().sum::<u32>());
            let room = 64 * used.len() as u32;
            prop_assert!(limits.iter().all(|most| *most <= 64));
            prop_assert_eq!(sum, if in_use > most && most <= room { 0 } else { most.min(room) });
            if in_use <= most {
                prop_assert!(limits.iter().zip(&used).all(|(most, used)| most >= used));
            }
        }
    }
}
