//! Every look-up in the tries agrees with a plain scan of the rules.

use std::cell::Cell;
use std::net::Ipv4Addr;

use cgn_common::access::{first_match, rules_of};
use cgn_common::layout::{Action, End, Held, Ports};
use cgn_common::realm::{FIRST, NOBODY};
use cgn_common::verdict::Direction;
use proptest::prelude::*;

use super::*;
use crate::config::{Config, Ipv4Range, Ipv4Set};
use crate::dataplane::memory::Sizes;
use crate::dataplane::tables::{Counted, Resolved, Routing, UserTables};
use crate::policy::shape;

struct Nowhere;
impl Routing for Nowhere {
    fn exact(&self, _: u32) -> Option<u32> {
        None
    }
    fn resolve(&self, _: u32) -> Resolved {
        Resolved::None
    }
}

/// A packet, as far as rules care.
#[derive(Clone, Copy, Debug)]
struct Seen {
    direction: Direction,
    source: u32,
    destination: u32,
    protocol: u8,
    ports: Option<(u16, u16)>,
}

fn memory_of(lists: &Lists) -> Memory {
    let sizes = Sizes {
        prefix_lines: lists.lines(),
        ..Sizes::default()
    };
    let memory = Memory::private(sizes).expect("memory");
    lists.install(&memory);
    memory
}

/// By the tables.
fn found(memory: &Memory, seen: Seen) -> Option<(u32, Action)> {
    let held = held(memory, seen, FIRST);
    (held != Held::NONE).then(|| (held.rule(), held.action()))
}

/// The same of a packet that came from this realm.
fn held(memory: &Memory, seen: Seen, realm: u8) -> Held {
    let vlans = std::collections::HashMap::new();
    let counted = Counted::default();
    let tables = UserTables::new(memory, &Nowhere, &vlans, &counted);
    let (outside, ours) = match seen.direction {
        Direction::Outbound => (seen.destination, seen.source),
        Direction::Inbound => (seen.source, seen.destination),
    };
    let candidates = rules_of(&tables, End::Outside, seen.direction, outside)
        & rules_of(&tables, End::Ours, seen.direction, ours);
    first_match(
        &tables,
        candidates,
        (seen.direction, realm),
        seen.protocol,
        seen.ports,
    )
}

/// By a scan of the rules, which shares nothing with the tables.
fn scanned(rules: &[Rule], seen: Seen) -> Option<(u32, Action)> {
    let number = Cell::new(0);
    rules
        .iter()
        .filter(|rule| rule.direction == seen.direction)
        .inspect(|_| number.set(number.get() + 1))
        .find(|rule| {
            let holds = |ranges: &[Range], address| {
                ranges.is_empty() || ranges.iter().any(|(a, b)| (*a..=*b).contains(&address))
            };
            let ports = match (rule.ports == Ports::ANY, seen.ports) {
                (true, _) => true,
                (false, None) => false,
                (false, Some((source, destination))) => {
                    let word = rule.ports.0.to_le_bytes();
                    let port = |at: usize| u16::from_le_bytes([word[at], word[at + 1]]);
                    (port(0)..=port(2)).contains(&source)
                        && (port(4)..=port(6)).contains(&destination)
                }
            };
            holds(&rule.source, seen.source)
                && holds(&rule.destination, seen.destination)
                && rule
                    .protocol
                    .is_none_or(|protocol| protocol == seen.protocol)
                && ports
        })
        .map(|rule| (number.get() - 1, rule.action))
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Outbound), Just(Direction::Inbound)]
}

/// Addresses that lie close together at each of the trie's levels.
fn address() -> impl Strategy<Value = u32> {
    let byte = || {
        prop_oneof![
            Just(0_u8),
            Just(1),
            Just(63),
            Just(64),
            Just(128),
            Just(255),
            any::<u8>()
        ]
    };
    (byte(), byte(), byte(), byte())
        .prop_map(|(a, b, c, d)| u32::from_be_bytes([a & 1, b & 3, c, d]))
}

fn ranges() -> impl Strategy<Value = Vec<Range>> {
    let range = (address(), 1_u32..=32).prop_map(|(address, length)| {
        let host = u32::MAX.checked_shr(length).unwrap_or(0);
        (address & !host, address | host)
    });
    prop_oneof![1 => Just(Vec::new()), 3 => prop::collection::vec(range, 1..20)]
}

fn rule() -> impl Strategy<Value = Rule> {
    let protocol = prop_oneof![
        Just(None),
        Just(Some(6)),
        Just(Some(17)),
        Just(Some(1)),
        Just(Some(41))
    ];
    let ports = prop_oneof![
        2 => Just(Ports::ANY),
        1 => (0_u16..4, 0_u16..4).prop_map(|(a, b)| Ports::new((a, 3), (0, b))),
    ];
    let action = prop_oneof![Just(Action::Permit), Just(Action::Deny)];
    (direction(), action, ranges(), ranges(), protocol, ports).prop_map(
        |(direction, action, source, destination, protocol, ports)| Rule {
            name: "r".to_owned(),
            direction,
            action,
            source,
            destination,
            protocol,
            ports,
            most: 0,
            realm: RuleWords::EVERY_REALM,
            group: String::new(),
        },
    )
}

fn seen() -> impl Strategy<Value = Seen> {
    let protocol = prop_oneof![Just(6_u8), Just(17), Just(1), Just(41), Just(47)];
    let ports = prop_oneof![Just(None), (0_u16..5, 0_u16..5).prop_map(Some)];
    (direction(), address(), address(), protocol, ports).prop_map(
        |(direction, source, destination, protocol, ports)| Seen {
            direction,
            source,
            destination,
            protocol,
            ports,
        },
    )
}

proptest! {
    #[test]
    fn the_first_rule_that_holds_is_found(
        rules in prop::collection::vec(rule(), 1..12),
        packets in prop::collection::vec(seen(), 50),
    ) {
        let memory = memory_of(&Lists::new(&rules, &[]));
        for packet in packets {
            prop_assert_eq!(found(&memory, packet), scanned(&rules, packet), "{:?}", packet);
        }
    }
}

fn rule_of(action: Action, direction: Direction) -> Rule {
    Rule {
        name: format!("{action:?}"),
        direction,
        action,
        source: Vec::new(),
        destination: Vec::new(),
        protocol: None,
        ports: Ports::ANY,
        most: 0,
        realm: RuleWords::EVERY_REALM,
        group: String::new(),
    }
}

#[test]
fn what_bypasses_comes_back_to_subscribers_and_to_no_pool_address() {
    let server = (0xcb00_710a, 0xcb00_710a);
    let mut rule = rule_of(Action::Bypass, Direction::Outbound);
    (rule.destination, rule.protocol, rule.realm) = (vec![server], Some(6), FIRST);
    rule.ports = Ports::new((0, u16::MAX), (80, 80));
    let lists = Lists::new(&[rule], &[(0x6440_0000, 0x647f_ffff)]);
    let memory = memory_of(&lists);
    let packet = |direction, source, destination, ports| {
        let seen = Seen {
            direction,
            source,
            destination,
            protocol: 6,
            ports: Some(ports),
        };
        found(&memory, seen).is_some()
    };
    let (host, pool) = (0x6440_0009, 0xc633_6401);
    assert!(packet(Direction::Outbound, host, server.0, (5000, 80)));
    assert!(!packet(Direction::Outbound, host, server.0, (5000, 443)));
    assert!(packet(Direction::Inbound, server.0, host, (80, 5000)));
    assert!(!packet(Direction::Inbound, server.0, host, (443, 5000)));
    assert!(!packet(Direction::Inbound, server.0, pool, (80, 5000)));
}

/// Others than those of its realm meet the rule behind it; on the way back it tells the realm.
#[test]
fn a_bypass_holds_for_its_realm() {
    let mut bypass = rule_of(Action::Bypass, Direction::Outbound);
    let server = (0xcb00_710a, 0xcb00_710a);
    (bypass.destination, bypass.realm) = (vec![server], 2);
    let deny = rule_of(Action::Deny, Direction::Outbound);
    let host = 0x6440_0009;
    let memory = memory_of(&Lists::new(&[bypass, deny], &[(host, host)]));
    let mut seen = Seen {
        direction: Direction::Outbound,
        source: host,
        destination: server.0,
        protocol: 47,
        ports: None,
    };
    for (realm, action) in [
        (FIRST, Action::Deny),
        (1, Action::Deny),
        (2, Action::Bypass),
    ] {
        assert_eq!(held(&memory, seen, realm).action(), action, "{realm}");
    }
    (seen.direction, seen.source, seen.destination) = (Direction::Inbound, server.0, host);
    let back = held(&memory, seen, NOBODY);
    assert_eq!((back.action(), back.realm()), (Action::Bypass, 2));
}

/// From inside it is for its realm; from outside nothing has one, and every rule but a bypass is for all.
#[test]
fn a_deny_holds_for_its_realm() {
    let mut of_realm = rule_of(Action::Deny, Direction::Outbound);
    of_realm.realm = 2;
    let mut from_outside = rule_of(Action::Deny, Direction::Inbound);
    from_outside.realm = 2;
    let lists = Lists::new(&[of_realm, from_outside], &[]);
    let memory = memory_of(&lists);
    let mut seen = Seen {
        direction: Direction::Outbound,
        source: 0x6440_0009,
        destination: 0xcb00_710a,
        protocol: 47,
        ports: None,
    };
    for (realm, is_held) in [(FIRST, false), (1, false), (2, true)] {
        let held = held(&memory, seen, realm);
        assert_eq!(held != Held::NONE, is_held, "{realm}");
    }
    seen.direction = Direction::Inbound;
    let held = held(&memory, seen, NOBODY);
    assert_eq!((held.action(), held.realm()), (Action::Deny, FIRST));
}

/// Numbers of a group each, up to three, with prefixes of 100.64.0.0/22, the same in no two of them.
fn groups() -> impl Strategy<Value = Vec<Vec<(u32, u8)>>> {
    let prefix = (0_u32..1024, 22_u8..=32).prop_map(|(host, length)| {
        let mask = u32::MAX << (32 - length);
        ((0x6440_0000 | host) & mask, length)
    });
    let prefixes = prop::collection::btree_set((prefix, 0_usize..3), 1..24);
    prefixes.prop_map(|all| {
        let mut groups = vec![Vec::new(); 3];
        let mut taken = std::collections::BTreeSet::new();
        for (prefix, group) in all {
            if taken.insert(prefix) {
                groups[group].push(prefix);
            }
        }
        groups.retain(|prefixes| !prefixes.is_empty());
        groups
    })
}

proptest! {
    /// Every address of a small space: a rule of a group denies it if the subscriber is in this group, which
    /// the policy finds by the longest prefix. A group that is left without addresses is refused.
    #[test]
    fn a_rule_of_a_group_is_for_who_is_in_it(prefixes in groups()) {
        let mut text = "[inside]\ninterface = \"a\"\n[outside]\ninterface = \"b\"\n\
                        [[pool]]\nname = \"p\"\naddresses = [\"203.0.113.0/28\"]\n\
                        [[subscribers]]\nprefixes = [\"100.64.0.0/22\"]\npool = \"p\"\n".to_owned();
        for (number, prefixes) in prefixes.iter().enumerate() {
            let written = prefixes
                .iter()
                .map(|(network, length)| format!("{}/{length}", Ipv4Addr::from_bits(*network)));
            let written: Vec<String> = written.collect();
            text += &format!("[[group]]\nname = \"g{number}\"\nprefixes = {written:?}\n");
        }
        let plain = Config::parse(&text).expect("good");
        let groups = shape::geometry(&plain).groups;
        for number in 0..prefixes.len() {
            let rule = format!(
                "[[rule]]\nname = \"r\"\naction = \"deny\"\ndirection = \"out\"\ngroup = \"g{number}\"\n"
            );
            let members: Vec<u32> = (0x6440_0000..0x6440_0400)
                .filter(|inside| groups.number_of(Ipv4Addr::from_bits(*inside)) == Some(number))
                .collect();
            let checked = Config::parse(&format!("{text}{rule}"));
            prop_assert_eq!(checked.is_err(), members.is_empty());
            let Ok(checked) = checked else { continue };
            let memory = memory_of(&shape::lists(&checked));
            let denied = (0x643f_ff00..0x6440_0500).filter(|source| {
                let seen = Seen {
                    direction: Direction::Outbound,
                    source: *source,
                    destination: 0xcb00_710a,
                    protocol: 17,
                    ports: None,
                };
                found(&memory, seen).is_some()
            });
            prop_assert_eq!(denied.collect::<Vec<u32>>(), members);
        }
    }
}

/// A hundred thousand scattered hosts and networks: each is found, its neighbours are not, and the
/// tables are no larger than ADR 27 says.
#[test]
fn a_hundred_thousand_prefixes_are_found_and_nothing_beside_them() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        seed = seed
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        (seed >> 32) as u32
    };
    let mut rule = rule_of(Action::Deny, Direction::Inbound);
    for number in 0..100_000 {
        let host = if number % 2 == 0 { 0 } else { 0xff };
        let address = random();
        rule.source.push((address & !host, address | host));
    }
    let lists = Lists::new(std::slice::from_ref(&rule), &[]);
    let memory = memory_of(&lists);
    let range = |(first, last): &Range| {
        Ipv4Range::new(Ipv4Addr::from_bits(*first), Ipv4Addr::from_bits(*last)).expect("in order")
    };
    let listed: Ipv4Set = rule.source.iter().map(range).collect();
    let is_denied = |source| {
        let seen = Seen {
            direction: Direction::Inbound,
            source,
            destination: 1,
            protocol: 47,
            ports: None,
        };
        found(&memory, seen) == Some((0, Action::Deny))
    };
    for (first, last) in &rule.source {
        assert!(is_denied(*first) && is_denied(*last));
        for beside in [first.wrapping_sub(1), last.wrapping_add(1), random()] {
            assert_eq!(
                is_denied(beside),
                listed.contains(beside.into()),
                "{beside:x}"
            );
        }
    }
    assert!(lists.bytes() < 200 * 100_000, "{} bytes", lists.bytes());
}

#[test]
fn other_rules_are_counted_anew() {
    let digest = |names: &[&str]| {
        let rules = names.iter().map(|name| Rule {
            name: (*name).to_owned(),
            ..rule_of(Action::Deny, Direction::Inbound)
        });
        Lists::new(&rules.collect::<Vec<_>>(), &[]).digest()
    };
    assert_eq!(digest(&["a", "b"]), digest(&["a", "b"]));
    assert_ne!(digest(&["a", "b"]), digest(&["b", "a"]));
    assert_ne!(digest(&["a"]), digest(&["a", "b"]));
}
