//! Random sequences of packets, ICMP errors, time, sweeps, blocks, changes of the configuration and restarts with other
//! pools, against a NAT so plain that it can be read at a glance.

mod fragments;
mod packets;
mod reference;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use cgn_common::block::block_of;
use cgn_common::layout::{Features, Filtering, Policy};
use cgn_common::verdict::Protocol;
use cgn_tests::harness::world::{POOL, SMALL_SHIFT, World, remote};
use cgn_tests::harness::{audit, slots};
use cgn_tests::packets::flag;
use cgn_user::dataplane::geometry::Geometry;
use cgn_user::dataplane::growth::Old;
use cgn_user::dataplane::install::{self, Grant};
use cgn_user::dataplane::memory::Memory;
use cgn_user::dataplane::sweep::{Swept, sweep_slab};
use fragments::{Datagrams, Piece};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use reference::{Endpoint, QUICK, Reference, TIMERS};

/// Subscribers of the world's first pool that begin without a block.
const INSIDE: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 64, 0, 8),
    Ipv4Addr::new(100, 64, 0, 9),
    Ipv4Addr::new(100, 64, 0, 10),
];
const REMOTES: [Endpoint; 3] = [
    (remote::PLAIN, 443),
    (remote::PLAIN, 80),
    (remote::OTHER, 443),
];
const FLAGS: [u8; 6] = [
    flag::SYN,
    flag::SYN | flag::ACK,
    flag::ACK,
    flag::FIN | flag::ACK,
    flag::RST,
    flag::RST | flag::ACK,
];

const ERRORS: [(u8, u8); 3] = [(3, 3), (3, 4), (11, 0)];
const FILTERINGS: [Filtering; 3] = [
    Filtering::EndpointIndependent,
    Filtering::AddressDependent,
    Filtering::AddressAndPortDependent,
];

/// What is counted, so that no rule goes untried.
const HAPPENINGS: [&str; 12] = [
    "a packet went out",
    "a packet came in",
    "a packet from outside was filtered",
    "a hairpin",
    "a hairpin was filtered",
    "a fragment of another's datagram",
    "a fragment followed the first",
    "a fragment waited",
    "a fragment that had waited followed",
    "fragments overlapped",
    "an error came in",
    "an error went out",
];

const fn flags_of(number: usize) -> u8 {
    FLAGS[number % FLAGS.len()]
}

/// Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    /// From inside: subscriber, protocol, port, remote, flags.
    Out(usize, usize, u16, usize, usize),
    /// Fills a subscriber's ports from this one on.
    Fill(usize, usize, u16),
    /// From outside to an external port that was once given: which, protocol, remote, flags.
    In(usize, usize, usize, usize),
    /// From inside to an external endpoint that was once given: subscriber, protocol, port, which, flags.
    Hairpin(usize, usize, u16, usize, usize),
    /// From outside to any port.
    Guess(u16, usize),
    /// Fragments of two datagrams, which differ in the inside port and in which external endpoint
    /// is meant, in any order: which of the two, and which part ([`Pair::piece`]).
    Pieces([Piece; 2], Vec<(bool, usize)>),
    /// An ICMP error from outside about what an external endpoint sent: which, protocol, remote, and
    /// type of the error.
    ErrorIn(usize, usize, usize, usize),
    /// One from inside about what came to a subscriber's port: protocol, port, from whom, and type.
    ErrorOut(usize, usize, u16, usize, usize),
    /// The configuration changes: other timers, and the parity of ports is kept; segments in
    /// mid-stream are dropped; from whom mappings take datagrams and echoes.
    Reload(bool, bool, usize),
    /// The clock goes on, in ticks.
    Wait(u32),
    Sweep,
    Give(usize),
    /// Tries to take back one of a subscriber's blocks.
    Take(usize, usize),
    /// Another daemon takes over the tables, with so many further addresses in each pool.
    Restart(u32),
}

fn step() -> impl Strategy<Value = Step> {
    use Step::{ErrorIn, ErrorOut, Fill, Give, Guess, Hairpin, In, Out, Reload, Sweep, Take, Wait};
    let small = 0..6_usize;
    prop_oneof![
        12 => (small.clone(), small.clone(), 0..12_u16, small.clone(), small.clone())
            .prop_map(|(s, p, port, r, f)| Out(s, p, port, r, f)),
        1 => (small.clone(), small.clone(), 100..200_u16).prop_map(|(s, p, n)| Fill(s, p, n)),
        8 => (any::<usize>(), small.clone(), small.clone(), small.clone())
            .prop_map(|(e, p, r, f)| In(e, p, r, f)),
        4 => (small.clone(), small.clone(), 0..12_u16, any::<usize>(), small.clone())
            .prop_map(|(s, p, port, e, f)| Hairpin(s, p, port, e, f)),
        1 => (1000..3000_u16, small.clone()).prop_map(|(port, p)| Guess(port, p)),
        4 => (any::<usize>(), small.clone(), small.clone(), small.clone())
            .prop_map(|(e, p, r, t)| ErrorIn(e, p, r, t)),
        3 => (small.clone(), small.clone(), 0..12_u16, any::<usize>(), small.clone())
            .prop_map(|(s, p, port, r, t)| ErrorOut(s, p, port, r, t)),
        8 => pieces(),
        1 => (any::<bool>(), any::<bool>(), small.clone()).prop_map(|(t, m, f)| Reload(t, m, f)),
        4 => (1..120_u32).prop_map(Wait),
        4 => Just(Sweep),
        6 => small.clone().prop_map(Give),
        2 => (small.clone(), small).prop_map(|(s, b)| Take(s, b)),
    ]
}

/// Few identifications, so that fragments meet also with those of an earlier step.
fn pieces() -> impl Strategy<Value = Step> {
    let small = 0..6_usize;
    let whose = (0..4_usize, small.clone(), small, 1..3_u16);
    let ends = [(0..12_u16, any::<usize>()), (0..12_u16, any::<usize>())];
    let order = proptest::collection::vec((any::<bool>(), 0..4_usize), 1..8);
    (whose, ends, order).prop_map(|((sender, protocol, to, id), ends, order)| {
        let whose = ends.map(|(port, which)| Piece {
            sender,
            protocol,
            port,
            to,
            which,
            id,
        });
        Step::Pieces(whose, order)
    })
}

fn step_or_restart() -> impl Strategy<Value = Step> {
    prop_oneof![30 => step(), 1 => (0..4_u32).prop_map(Step::Restart)]
}

/// The tables and the plain NAT, side by side.
struct Pair {
    world: World,
    memory: Memory,
    reference: Reference,
    now: u32,
    /// Segments in mid-stream open nothing.
    strict: bool,
    /// Classes of ports are kept. With blocks of 64 ports, which no configuration can have then, only
    /// every second block has ports below 1024, and the others' first ones are taken for such.
    classes: bool,
    /// Blocks in the hands of each subscriber.
    grants: Vec<Vec<Grant>>,
    free_slabs: BTreeSet<u32>,
    /// External endpoints that were ever given.
    known: Vec<Endpoint>,
    datagrams: Datagrams,
    happened: RefCell<BTreeMap<&'static str, u32>>,
}

impl Pair {
    fn new(classes: bool) -> Self {
        let world = World::new();
        let memory = Memory::private(world.geometry.sizes).expect("memory");
        world.install(&memory);
        let mut pair = Self {
            world,
            memory,
            reference: Reference::default(),
            now: u32::MAX - 300,
            strict: false,
            classes,
            grants: vec![Vec::new(); INSIDE.len()],
            free_slabs: (40..64).collect(),
            known: Vec::new(),
            datagrams: Datagrams::default(),
            happened: RefCell::default(),
        };
        pair.reload(false, false, Filtering::EndpointIndependent);
        pair
    }

    /// One of the external endpoints that were ever given.
    fn given(&self, which: usize) -> Option<Endpoint> {
        // Rather one of the last, which may still be there.
        let last = self.known.len().clamp(1, 16);
        self.known.iter().rev().nth(which % last).copied()
    }

    /// Counts one of [`HAPPENINGS`].
    fn happens(&self, what: &'static str) {
        assert!(HAPPENINGS.contains(&what), "{what}");
        *self.happened.borrow_mut().entry(what).or_insert(0) += 1;
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Out(subscriber, protocol, port, to, flags) => {
                let (protocol, to) = (Protocol::ALL[protocol % 3], REMOTES[to % REMOTES.len()]);
                self.out(
                    subscriber % INSIDE.len(),
                    protocol,
                    port,
                    to,
                    flags_of(flags),
                    None,
                );
            }
            Step::Fill(subscriber, protocol, from) => {
                let protocol = Protocol::ALL[protocol % 3];
                for port in from..from + 70 {
                    let subscriber = subscriber % INSIDE.len();
                    self.out(subscriber, protocol, port, REMOTES[0], flag::SYN, None);
                }
            }
            Step::In(which, protocol, from, flags) => {
                if let Some(external) = self.given(which) {
                    let (protocol, from) = (Protocol::ALL[protocol % 3], REMOTES[from % 3]);
                    self.inbound(external, protocol, from, flags_of(flags), None);
                }
            }
            Step::Hairpin(subscriber, protocol, port, which, flags) => {
                if let Some(to) = self.given(which) {
                    let protocol = [Protocol::Tcp, Protocol::Udp][protocol % 2];
                    let subscriber = subscriber % INSIDE.len();
                    self.hairpin(subscriber, protocol, port, to, flags_of(flags), None);
                }
            }
            Step::Pieces(whose, ref order) => {
                for (is_second, part) in order {
                    self.piece(whose[usize::from(*is_second)], *part);
                }
            }
            Step::ErrorIn(which, protocol, about, kind) => {
                if let Some(external) = self.given(which) {
                    let (protocol, about) = (Protocol::ALL[protocol % 3], REMOTES[about % 3]);
                    self.error_in(external, protocol, about, ERRORS[kind % ERRORS.len()]);
                }
            }
            Step::ErrorOut(subscriber, protocol, port, about, kind) => {
                let inside = (INSIDE[subscriber % INSIDE.len()], port);
                let (protocol, kind) = (Protocol::ALL[protocol % 3], ERRORS[kind % ERRORS.len()]);
                let remote = REMOTES[about % REMOTES.len()];
                let hairpinned = self.given(about).filter(|_| {
                    // An echo that was hairpinned has another identifier.
                    about % 2 == 0 && protocol != Protocol::Icmp
                });
                self.error_out(inside, protocol, hairpinned.unwrap_or(remote), kind);
            }
            Step::Reload(quick, strict, filtering) => {
                self.reload(quick, strict, FILTERINGS[filtering % FILTERINGS.len()]);
            }
            Step::Guess(port, protocol) => {
                let protocol = Protocol::ALL[protocol % 3];
                self.inbound((POOL[1], port), protocol, REMOTES[0], flag::SYN, None);
            }
            Step::Wait(ticks) => {
                self.now = self.now.wrapping_add(ticks);
                self.tire();
            }
            Step::Sweep => self.sweep(),
            Step::Give(subscriber) => self.give(subscriber % INSIDE.len()),
            Step::Take(subscriber, block) => self.take(subscriber % INSIDE.len(), block),
            Step::Restart(further) => self.restart(further),
        }
    }

    /// What holds from now on; no mapping is lost to it.
    fn reload(&mut self, quick: bool, strict: bool, filtering: Filtering) {
        self.strict = strict;
        let constants = &mut self.memory.constants;
        let kept = Policy::PARITY | (self.classes as u16 * Policy::CLASSES);
        constants.pools[0] = Policy::new(filtering, Filtering::EndpointIndependent, kept);
        let switches = [
            (self.classes, Features::CLASSES),
            (strict, Features::DROP_MIDSTREAM),
            (quick, Features::PARITY),
            (
                filtering != Filtering::EndpointIndependent,
                Features::SESSIONS,
            ),
        ];
        let on = switches.iter().filter(|(is_on, _)| *is_on);
        constants.features = Features(on.map(|(_, feature)| feature).sum());
        self.reference.timers = if quick { QUICK } else { TIMERS };
        self.reference.filtering = filtering;
    }

    fn sweep(&mut self) {
        let mut swept = Swept::default();
        for grant in self.grants.iter().flatten() {
            let line = self.world.geometry.slab_line(0, grant.slab);
            swept.merge(&sweep_slab(
                &self.memory,
                line,
                self.now,
                &self.reference.timers,
            ));
        }
        // A plain NAT has no buckets that mappings could stand outside of.
        swept.overflow = [0; 3];
        let wanted = self.reference.sweep(self.now);
        assert_eq!(swept, wanted, "at {}", self.now);
    }

    fn give(&mut self, subscriber: usize) {
        let slab = *self.free_slabs.first().expect("more slabs than blocks");
        let grant = Grant {
            inside: INSIDE[subscriber].into(),
            external: POOL[1],
            pool: 0,
            block: slab as u16 - 35,
            slab,
        };
        let given = install::give(&self.memory, &self.world.geometry, &grant, 0, 0);
        assert_eq!(
            given.is_ok(),
            self.grants[subscriber].len() < 6,
            "{given:?}"
        );
        if given.is_ok() {
            self.free_slabs.remove(&slab);
            self.grants[subscriber].push(grant);
        }
    }

    fn take(&mut self, subscriber: usize, block: usize) {
        let count = self.grants[subscriber].len();
        if count == 0 {
            return;
        }
        let at = block % count;
        let grant = self.grants[subscriber][at];
        let is_empty = !self
            .reference
            .uses(grant.external, |port| self.is_of(&grant, port));
        let taken = install::take(&self.memory, &self.world.geometry, &grant);
        assert_eq!(
            taken, is_empty,
            "block {} of {:?}",
            grant.block, grant.inside
        );
        if taken {
            self.grants[subscriber].remove(at);
            self.free_slabs.insert(grant.slab);
        }
    }

    /// Whether the block of a grant has a port.
    fn is_of(&self, grant: &Grant, port: u16) -> bool {
        let place = self.memory.place_of(0, grant.external, port);
        block_of(place, SMALL_SHIFT) == Some(grant.block.into())
    }

    /// As a start does with pinned tables for pools that grew: nothing of the plain NAT changes.
    /// The further addresses come before and after the old ones, so that every row moves.
    fn restart(&mut self, further: u32) {
        let mut pools = World::new().geometry.pools;
        for pool in &mut pools {
            let (first, last) = pool.addresses[0];
            let before = Ipv4Addr::from_bits(first.to_bits() - further / 2);
            let after = Ipv4Addr::from_bits(last.to_bits() + further);
            pool.addresses = vec![(before, after)];
        }
        let was = &self.world.geometry;
        let mut geometry = Geometry::new(pools, was.subscribers.clone());
        geometry.groups = was.groups.clone();
        (geometry.sizes.sessions, geometry.sizes.datagrams) =
            (was.sizes.sessions, was.sizes.datagrams);
        assert_eq!(geometry.fixed_word(), was.fixed_word());
        let new = Memory::private(geometry.sizes).expect("memory");
        let memory = &mut self.memory;
        let old = Old {
            pages: std::mem::replace(&mut memory.outside_pages, new.outside_pages),
            externals: std::mem::replace(&mut memory.externals, new.externals),
            blocks: std::mem::replace(&mut memory.blocks, new.blocks),
        };
        assert_eq!(old.misfit(&geometry), None);
        old.carry_over(&geometry, memory);
        self.world.geometry = geometry;
    }

    /// The tables hold what the plain NAT holds, and their counts are right.
    fn compare(&self) {
        for inside in INSIDE {
            let index = self.world.geometry.subscriber_index(inside).expect("known");
            let wrong = audit::contradictions(&self.memory, index);
            assert!(wrong.is_empty(), "{inside}: {wrong:#?}");
            for protocol in Protocol::ALL {
                let mut stands: Vec<_> = slots(&self.memory, &self.world, inside, protocol)
                    .into_iter()
                    .map(|(port, m)| (m.external.1, port, m.state, m.shared, m.last_seen))
                    .collect();
                stands.sort_unstable();
                let wanted = self.reference.slots(inside, protocol);
                assert_eq!(stands, wanted, "{inside} {protocol:?}");
            }
        }
    }
}

/// Runs the steps, and then ends everything, which must leave nothing.
fn live(steps: &[Step], classes: bool) -> BTreeMap<&'static str, u32> {
    let mut pair = Pair::new(classes);
    for step in steps {
        pair.step(step);
    }
    pair.compare();
    pair.now = pair.now.wrapping_add(100_000);
    pair.sweep();
    pair.now = pair.now.wrapping_add(TIMERS.hold + 1);
    pair.sweep();
    pair.compare();
    assert!(pair.reference.is_empty());
    pair.happened.into_inner()
}

/// Many lives; in all of them together, everything that can happen must have happened.
fn lives(cases: u32, classes: bool, step: impl Strategy<Value = Step>) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let all = RefCell::new(BTreeMap::new());
    let steps = proptest::collection::vec(step, 1..150);
    let result = TestRunner::new(config).run(&steps, |steps| {
        for (what, count) in live(&steps, classes) {
            *all.borrow_mut().entry(what).or_insert(0) += count;
        }
        Ok(())
    });
    if let Err(counter_example) = result {
        panic!("{counter_example}");
    }
    let all = all.into_inner();
    println!("{all:#?}");
    for what in HAPPENINGS {
        let count = all.get(what).copied().unwrap_or(0);
        assert!(
            count >= cases / 300,
            "{what}: only {count} times in {cases} lives"
        );
    }
}

#[test]
fn a_random_life_is_that_of_a_plain_nat() {
    lives(1500, false, step());
}

#[test]
fn it_goes_on_over_restarts_with_other_pools() {
    lives(150, false, step_or_restart());
}

#[test]
fn a_random_life_with_classes_of_ports_is_that_of_a_plain_nat() {
    lives(500, true, step());
}
