//! Limits of prefixes against very many sources, in the table that XDP counts in.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use cgn_common::layout::{Constants, Guards, Limited, Side};
use cgn_common::limits::ticks;
use cgn_common::nat::throttle::{self, CELLS};
use cgn_common::tables::Tables as _;

use super::super::memory::Memory;
use super::super::tables::{Counted, Resolved, Routing, UserTables};
use super::{pool, subscribers};
use crate::dataplane::geometry::Geometry;
use crate::policy::throttle::Prefix;
use crate::realms::Realms;

/// No packet is sent.
pub struct Nowhere;
impl Routing for Nowhere {
    fn exact(&self, _address: u32) -> Option<u32> {
        None
    }
    fn resolve(&self, _address: u32) -> Resolved {
        Resolved::None
    }
}

/// Limits of a host, a /24 and a /20 in a window.
const LIMITS: [u32; 3] = [100, 400, 1600];
const SECS: u64 = 60;

fn memory() -> Memory {
    let pools = vec![pool(&[("203.0.113.1", "203.0.113.1")], 6)];
    let mut geometry = Geometry::new(pools, vec![subscribers("100.64.0.0", "100.64.0.15", 0)]);
    geometry.sizes.newcomers = CELLS;
    let mut memory = Memory::private(geometry.sizes).expect("memory");
    let mut constants = Constants::PLAIN;
    for (at, limit) in LIMITS.into_iter().enumerate() {
        constants.guards.0[Guards::newcomers(Side::Outside, at)] = limit;
    }
    constants.guards.0[Guards::LIMIT_TICKS] = ticks(SECS);
    memory.constants = constants;
    geometry.install(&memory, || 0x5851_f42d_4c95_7f2d);
    memory
}

fn limited(memory: &Memory, now: u32) -> BTreeSet<Prefix> {
    let cells = (0..CELLS).filter_map(|cell| {
        let word = memory.newcomers.get(cell)?.limited.load();
        Prefix::of(cell, Limited(word), now, &Realms::default())
    });
    cells.collect()
}

/// A million hosts in as many networks open a session each within a second, and one /24 ten thousand.
#[test]
fn among_a_million_sources_the_busy_prefix_alone_is_limited() {
    let memory = memory();
    let vlans = HashMap::new();
    let counted = Counted::default();
    let tables = UserTables::new(&memory, &Nowhere, &vlans, &counted);
    tables.now.set(4000);
    let comes = |source: u32| throttle::count(&tables, Side::Outside, source);
    let busy = 0xc633_6400_u32;
    let mut refused = [0_u32; 2];
    for number in 0..1_000_000_u32 {
        // Every network but the busy one, each once: 2^12 addresses apart, modulo an odd number.
        let innocent = number.wrapping_mul(0x9e37_79b1) | 0xff;
        if innocent >> 8 != busy >> 8 {
            refused[0] += u32::from(!comes(innocent));
        }
        if number % 100 == 0 {
            refused[1] += u32::from(!comes(busy | (number / 100 % 200)));
        }
    }
    assert_eq!(refused[0], 0, "nobody else is hit");
    // What came before it was seen: the limit, or less by what its cells had from others.
    let let_in = 10_000 - refused[1];
    assert!((300..=LIMITS[1]).contains(&let_in), "{let_in} were let in");
    let only = Prefix {
        is_inside: false,
        realm: 0,
        first: Ipv4Addr::from_bits(busy).into(),
        length: 24,
    };
    assert_eq!(limited(&memory, 4000), BTreeSet::from([only]));
    assert!(limited(&memory, 4000 + ticks(SECS)).is_empty(), "it ends");
}

/// Two hosts that share a cell are both limited: a limit does not push out another's.
#[test]
fn who_comes_second_takes_the_other_cell() {
    let memory = memory();
    let vlans = HashMap::new();
    let counted = Counted::default();
    let tables = UserTables::new(&memory, &Nowhere, &vlans, &counted);
    tables.now.set(4000);
    let first_cell = |host| throttle::cells_of(tables.id_secret(), Side::Outside, 0, host)[0];
    let first = 0x0500_0001_u32;
    // Each in a /20 of its own.
    let mut others = (1..200_000_u32).map(|number| 0x0600_0001 + (number << 12));
    let second = others.find(|host| first_cell(*host) == first_cell(first));
    let hosts = [first, second.expect("one in 32,768 has the same cell")];
    for host in hosts {
        for _ in 0..=LIMITS[0] {
            let _ = throttle::count(&tables, Side::Outside, host);
        }
    }
    let both = hosts.map(|host| Prefix {
        is_inside: false,
        realm: 0,
        first: Ipv4Addr::from_bits(host).into(),
        length: 32,
    });
    assert_eq!(limited(&memory, 4000), BTreeSet::from(both));
}

/// The bound of the sketch: what all others add to a cell is their number by the number of cells.
#[test]
fn what_others_add_to_a_count_is_little() {
    let memory = memory();
    let vlans = HashMap::new();
    let counted = Counted::default();
    let tables = UserTables::new(&memory, &Nowhere, &vlans, &counted);
    tables.now.set(4000);
    let mut let_in = Vec::new();
    for number in 0..1_000_000_u32 {
        let _ = throttle::count(&tables, Side::Outside, number.wrapping_mul(0x9e37_79b1));
    }
    for host in 0..50_u32 {
        // Networks of the documentation's kind, far from one another.
        let source = 0x0500_0001 + host * 0x0101_0100;
        let admitted = (0..LIMITS[0]).filter(|_| throttle::count(&tables, Side::Outside, source));
        let_in.push(admitted.count());
    }
    let least = let_in.iter().min().copied().unwrap_or_default();
    // A million in 32,768 cells are 31 in each; the lower of two has fewer.
    assert!(least >= 60, "a host was let in only {least} times of 100");
}
