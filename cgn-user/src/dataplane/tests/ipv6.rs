//! Limits of prefixes of IPv6 against very many sources and flows, in the tables that XDP counts in.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv6Addr;

use cgn_common::ipv6::flows::{Flow, GENERATION_SHIFT, WORDS};
use cgn_common::ipv6::prefixes::{CELLS, Place};
use cgn_common::ipv6::{flows, prefixes, verdict};
use cgn_common::layout::{Constants, Features, Guards, Side};
use cgn_common::limits::ticks;
use cgn_common::tables::Tables as _;
use cgn_common::verdict::{Reason, Verdict};
use cgn_common::wire::ipv6::{Ipv6, Kind};

use super::super::memory::Memory;
use super::super::tables::{Counted, UserTables};
use super::floods::Nowhere;
use super::{pool, subscribers};
use crate::dataplane::geometry::Geometry;
use crate::policy::throttle::Prefix;
use crate::realms::Realms;

/// Limits of a /64, a /56 and a /48 in a window.
const LIMITS: [u32; 3] = [100, 400, 1600];
const SECS: u64 = 60;
const NOW: u32 = 4000;

fn memory() -> Memory {
    let pools = vec![pool(&[("203.0.113.1", "203.0.113.1")], 6)];
    let mut geometry = Geometry::new(pools, vec![subscribers("100.64.0.0", "100.64.0.15", 0)]);
    geometry.sizes.newcomers_ipv6 = CELLS;
    geometry.sizes.flows_ipv6 = WORDS;
    let mut memory = Memory::private(geometry.sizes).expect("memory");
    let mut constants = Constants::PLAIN;
    constants.features = Features(Features::THROTTLE_IPV6);
    for (at, limit) in LIMITS.into_iter().enumerate() {
        for side in [Side::Inside, Side::Outside] {
            constants.guards.0[Guards::newcomers_ipv6(side, at)] = limit;
        }
    }
    constants.guards.0[Guards::LIMIT_TICKS] = ticks(SECS);
    memory.constants = constants;
    geometry.install(&memory, || 0x5851_f42d_4c95_7f2d);
    memory
}

fn run<R>(memory: &Memory, work: impl FnOnce(&UserTables<'_, Nowhere>) -> R) -> R {
    let (vlans, counted) = (HashMap::new(), Counted::default());
    let tables = UserTables::new(memory, &Nowhere, &vlans, &counted);
    tables.now.set(NOW);
    work(&tables)
}

fn prefix(is_inside: bool, first: u64, length: u8) -> Prefix {
    Prefix {
        is_inside,
        realm: 0,
        first: Ipv6Addr::from_bits(u128::from(first) << 64).into(),
        length,
    }
}

fn limited(memory: &Memory, now: u32) -> BTreeSet<Prefix> {
    Prefix::all(memory, now, &Realms::default())
}

/// A million networks in as many /48s begin a session each within a second, from either side, and one ten
/// thousand. The tables are what they were.
#[test]
fn among_a_million_networks_the_busy_one_alone_is_limited() {
    for side in [Side::Inside, Side::Outside] {
        let memory = memory();
        run(&memory, |tables| {
            let comes = |source: u64| prefixes::count(tables, side, 0, source);
            let busy = 0x2a02_0100_0007_1200_u64;
            let mut refused = [0_u32; 2];
            for number in 0..1_000_000_u64 {
                // Each /48 once: an odd factor, modulo 2^32.
                let spread = number.wrapping_mul(0x9e37_79b1) & 0xffff_ffff;
                let innocent = 0x2001 << 48 | spread << 16 | number & 0xffff;
                refused[0] += u32::from(!comes(innocent));
                if number % 100 == 0 {
                    refused[1] += u32::from(!comes(busy));
                }
            }
            assert_eq!(refused[0], 0, "nobody else is hit");
            let let_in = 10_000 - refused[1];
            assert!((60..=LIMITS[0]).contains(&let_in), "{let_in} were let in");
            let only = prefix(side == Side::Inside, busy, 64);
            assert_eq!(limited(&memory, NOW), BTreeSet::from([only]));
            assert!(limited(&memory, NOW + ticks(SECS)).is_empty(), "it ends");
        });
    }
}

/// Two networks that share a cell are both limited and named.
#[test]
fn who_comes_second_takes_the_other_cell() {
    let memory = memory();
    run(&memory, |tables| {
        let first_cell = |source| {
            let place = Place::of(tables.id_secret(), (Side::Outside, 0), 0, source);
            place.cells[0]
        };
        let first = 0x2a02_0100_0000_0000_u64;
        // Each in a /48 of its own.
        let mut others = (1..200_000_u64).map(|number| first + (number << 16));
        let second = others.find(|source| first_cell(*source) == first_cell(first));
        let both = [first, second.expect("one in 32,768 has the same cell")];
        for source in both {
            for _ in 0..=LIMITS[0] {
                let _ = prefixes::count(tables, Side::Outside, 0, source);
            }
        }
        let both = both.map(|source| prefix(false, source, 64));
        assert_eq!(limited(&memory, NOW), BTreeSet::from(both));
    });
}

/// A name that does not fit the limit beside it is nobody's: it is of whom was limited there before, or half
/// written.
#[test]
fn a_limit_is_not_told_of_before_its_name_is_written() {
    let memory = memory();
    run(&memory, |tables| {
        let source = 0x2a02_0100_0000_0000_u64;
        for _ in 0..=LIMITS[0] {
            let _ = prefixes::count(tables, Side::Outside, 0, source);
        }
        let named = prefix(false, source, 64);
        assert_eq!(limited(&memory, NOW), BTreeSet::from([named]));
        let place = Place::of(tables.id_secret(), (Side::Outside, 0), 0, source);
        let cells = place.cells.map(|cell| memory.newcomers_ipv6.get(cell));
        for cell in cells.into_iter().flatten() {
            cell.prefix.store(0x2a02_0100_0001_0000);
        }
        assert!(limited(&memory, NOW).is_empty());
        let _ = prefixes::count(tables, Side::Outside, 0, source);
        assert_eq!(limited(&memory, NOW), BTreeSet::from([named]), "told again");
    });
}

fn packet(number: u64) -> Ipv6 {
    Ipv6 {
        source: [0x2001_0db8_0000_0000 | number >> 16, 1],
        destination: [0x2a00_1450_0000_0000, 0x2004],
        protocol: 17,
        ports: [number as u16, 443],
        kind: Kind::Flow,
    }
}

/// A million flows are known for a generation at least and two at most, and others hardly ever.
#[test]
fn a_million_flows_are_known_and_forgotten() {
    let memory = memory();
    run(&memory, |tables| {
        let flow = |number| Flow::of(tables.id_secret(), &packet(number));
        let start = 8 << GENERATION_SHIFT;
        let generation = 1_u32 << GENERATION_SHIFT;
        tables.now.set(start + generation - 1);
        (0..1_000_000).for_each(|number| flows::mark(tables, flow(number), tables.now()));
        let known = |numbers: std::ops::Range<u64>, now| {
            tables.now.set(now);
            let known = numbers.filter(|number| flows::is_known(tables, flow(*number)));
            known.count()
        };
        let others = 1 << 32..(1 << 32) + 100_000_u64;
        let mistaken = known(others.clone(), start + generation - 1);
        assert!(mistaken < 500, "{mistaken} of 100,000");
        // At the end of the next generation, which marks half of them again.
        let late = start + 2 * generation - 1;
        assert_eq!(known(0..500_000, late), 500_000);
        assert_eq!(known(0..500_000, late + 1), 500_000, "marked again");
        let forgotten = known(500_000..1_000_000, late + 1);
        assert!(forgotten < 5000, "{forgotten} of 500,000 are still known");
        assert_eq!(known(others, late + 3 * generation), 0, "all is forgotten");
    });
}

/// A frame of UDP from a network outside.
fn datagram(port: u16) -> Vec<u8> {
    let packet = packet(port.into());
    let mut frame = vec![2; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64]);
    let words = packet.source.into_iter().chain(packet.destination);
    frame.extend(words.flat_map(u64::to_be_bytes));
    frame.extend([port.to_be_bytes(), 443_u16.to_be_bytes(), [0, 8], [0, 0]].concat());
    frame
}

/// What went on before the table was there is learnt, whoever it is from.
#[test]
fn flows_are_learnt_before_they_are_counted() {
    let mut memory = memory();
    memory.constants.guards.0[Guards::LEARNT] = NOW + ticks(30);
    run(&memory, |tables| {
        let comes = |port| {
            let mut bytes = datagram(port);
            let end = bytes.len();
            let frame = cgn_common::frame::Buffer::new(&mut bytes, 0, end).expect("in range");
            verdict(&frame, tables, Side::Outside)
        };
        let passed = Verdict::Pass(Reason::NotIpv4);
        for port in 0..1000 {
            assert_eq!(comes(port), passed, "learnt");
        }
        tables.now.set(NOW + ticks(30));
        for port in 0..1000 {
            assert_eq!(comes(port), passed, "known");
        }
        let let_in = (2000..3000).filter(|port| comes(*port) == passed).count();
        assert_eq!(let_in, LIMITS[0] as usize);
        assert_eq!(comes(2999), Verdict::Drop(Reason::Throttled));
        assert_eq!(comes(500), passed, "known still");
    });
}
