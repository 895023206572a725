//! Classes of ports: below 1024 stays below 1024, as long as there are such ports.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use cgn_common::nat::class;
use cgn_common::verdict::Reason;
use cgn_user::dataplane::load::Entry::{Inside, Outside};

use super::Case;
use crate::harness::trial::{Endpoint, Trial};
use crate::harness::world::{LARGE_POOL, hop, remote, subscriber};
use crate::packets::{Draft, flag};

const SERVER: Endpoint = (remote::PLAIN, 443);
/// The ports of the last block of the address with large ones.
const SYSTEM: RangeInclusive<u16> = 1016..=1023;
const OTHERS: RangeInclusive<u16> = 64_024..=64_527;
/// Ports of that block.
const BLOCK_PORTS: u16 = 512;

pub const CASES: &[Case] = &[
    (
        "a port below 1024 becomes one below 1024, another another one, and answers come back (RFC 4787 REQ-3a)",
        |t| {
            let system = [0, 1, 53, 123, 500, 512, 1023].map(|port| (port, SYSTEM));
            let others = [1024, 1025, 5060, 40_000, 65_535].map(|port| (port, OTHERS));
            for (port, expected) in system.into_iter().chain(others) {
                for draft in [
                    Draft::udp((subscriber::LARGE, port), SERVER),
                    Draft::tcp(flag::SYN, (subscriber::LARGE, port), SERVER),
                ] {
                    let external = there_and_back(t, &draft);
                    assert!(expected.contains(&external), "{port} became {external}");
                }
            }
        },
    ),
    ("parity is kept, too", |t| {
        for port in [500, 501, 123, 40_000, 40_001] {
            let external = there_and_back(t, &Draft::udp((subscriber::LARGE, port), SERVER));
            let is_system = SYSTEM.contains(&external);
            assert_eq!((external & 1, is_system), (port & 1, port < 1024), "{port}");
        }
    }),
    (
        "an identifier of a ping has no class: all of a block's come back",
        |t| {
            let mut seen = Vec::new();
            for id in 0..BLOCK_PORTS {
                let (draft, inside) = (
                    Draft::ping((subscriber::LARGE, id), SERVER.0),
                    (subscriber::LARGE, id),
                );
                let external = t.outbound(Inside, &draft, hop::OUTSIDE);
                t.inbound(Outside, &draft.answer(external), inside, hop::INSIDE);
                seen.push(external.1);
            }
            assert!(seen[..8].iter().any(|id| *id >= 1024), "{seen:?}");
            let all: BTreeSet<u16> = seen.into_iter().collect();
            assert_eq!(all, SYSTEM.chain(OTHERS).collect());
        },
    ),
    (
        "eight ports below 1024 are used first, then others serve: all 512 of the block are usable",
        |t| {
            let ports = fill(t, 0..BLOCK_PORTS);
            let first: BTreeSet<u16> = ports[..8].iter().copied().collect();
            assert_eq!(first, SYSTEM.collect());
        },
    ),
    (
        "ports from 1024 on are used first, then the others: all 512 of the block are usable",
        |t| {
            let ports = fill(t, 20_000..20_000 + BLOCK_PORTS);
            let early = ports[..300].iter().filter(|port| **port < 1024);
            assert_eq!(early.count(), 0, "while there is room near");
        },
    ),
    ("a port that has no place is nobody's", |t| {
        for port in [0, 1, 15, 64_528, 65_535] {
            let stranger = Draft::udp(SERVER, (LARGE_POOL, port));
            t.stopped(Outside, &stranger.bytes(), Reason::NoMapping);
        }
    }),
];

/// External port of a flow whose answer came back.
fn there_and_back(t: &mut Trial, draft: &Draft) -> u16 {
    let (address, port) = t.round_trip(draft, (hop::OUTSIDE, hop::INSIDE));
    assert_eq!(address, LARGE_POOL);
    port
}

/// External ports of so many inside ports, in their order. They are all of the block's; then there
/// is none.
fn fill(t: &mut Trial, inside: std::ops::Range<u16>) -> Vec<u16> {
    let after = inside.end;
    let draft = |port| Draft::udp((subscriber::LARGE, port), SERVER);
    let ports: Vec<u16> = inside.map(|port| there_and_back(t, &draft(port))).collect();
    let all: BTreeSet<u16> = ports.iter().copied().collect();
    assert_eq!(all, SYSTEM.chain(OTHERS).collect());
    assert!(all.iter().all(|port| class::place_of(*port) >= 65_024));
    t.stopped(Inside, &draft(after).bytes(), Reason::NoPort);
    ports
}
