//! Random sequences of packets, ICMP errors, time, sweeps, blocks, changes of the configuration and restarts with other
//! pools, against a NAT so plain that it can be read at a glance.

mod reference;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use cgn_common::layout::{Features, Policy};
use cgn_common::verdict::{Protocol, Reason};
use cgn_tests::harness::host::run_over;
use cgn_tests::harness::world::{POOL, SMALL_SHIFT, World, remote};
use cgn_tests::harness::{Ending, Run, audit, shown, slots};
use cgn_tests::packets::check::judge;
use cgn_tests::packets::{Draft, flag};
use cgn_user::dataplane::geometry::Geometry;
use cgn_user::dataplane::growth::Old;
use cgn_user::dataplane::install::{self, Grant};
use cgn_user::dataplane::load::Entry;
use cgn_user::dataplane::memory::Memory;
use cgn_user::dataplane::sweep::{Swept, sweep_slab};
use proptest::prelude::*;
use reference::{Endpoint, QUICK, Reference, Segment, TIMERS};

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
    /// An ICMP error from outside about what an external endpoint sent: which, protocol, remote, and
    /// type of the error.
    Error(usize, usize, usize, usize),
    /// The configuration changes: other timers, and the parity of ports is kept; segments in
    /// mid-stream are dropped.
    Reload(bool, bool),
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
    use Step::{Error, Fill, Give, Guess, Hairpin, In, Out, Reload, Sweep, Take, Wait};
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
            .prop_map(|(e, p, r, t)| Error(e, p, r, t)),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(t, m)| Reload(t, m)),
        4 => (1..120_u32).prop_map(Wait),
        4 => Just(Sweep),
        3 => small.clone().prop_map(Give),
        2 => (small.clone(), small).prop_map(|(s, b)| Take(s, b)),
    ]
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
    /// Blocks in the hands of each subscriber.
    grants: Vec<Vec<Grant>>,
    free_slabs: BTreeSet<u32>,
    /// External endpoints that were ever given.
    known: Vec<Endpoint>,
}

impl Pair {
    fn new() -> Self {
        let world = World::new();
        let memory = Memory::private(world.geometry.sizes).expect("memory");
        world.install(&memory);
        Self {
            world,
            memory,
            reference: Reference::default(),
            now: u32::MAX - 300,
            strict: false,
            grants: vec![Vec::new(); INSIDE.len()],
            free_slabs: (40..64).collect(),
            known: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Out(subscriber, protocol, port, to, flags) => {
                self.out(subscriber, protocol, port, to, FLAGS[flags % FLAGS.len()]);
            }
            Step::Fill(subscriber, protocol, from) => {
                for port in from..from + 70 {
                    self.out(subscriber, protocol, port, 0, flag::SYN);
                }
            }
            Step::In(which, protocol, from, flags) => {
                if !self.known.is_empty() {
                    let external = self.known[which % self.known.len()];
                    self.inbound(external, protocol, from, FLAGS[flags % FLAGS.len()]);
                }
            }
            Step::Hairpin(subscriber, protocol, port, which, flags) => {
                if !self.known.is_empty() {
                    let to = self.known[which % self.known.len()];
                    let flags = FLAGS[flags % FLAGS.len()];
                    self.hairpin(subscriber % INSIDE.len(), protocol, port, to, flags);
                }
            }
            Step::Error(which, protocol, about, kind) => {
                if !self.known.is_empty() {
                    let external = self.known[which % self.known.len()];
                    self.error(external, protocol, about, kind);
                }
            }
            Step::Reload(quick, strict) => self.reload(quick, strict),
            Step::Guess(port, protocol) => self.inbound((POOL[1], port), protocol, 0, flag::SYN),
            Step::Wait(ticks) => self.now = self.now.wrapping_add(ticks),
            Step::Sweep => self.sweep(),
            Step::Give(subscriber) => self.give(subscriber % INSIDE.len()),
            Step::Take(subscriber, block) => self.take(subscriber % INSIDE.len(), block),
            Step::Restart(further) => self.restart(further),
        }
    }

    fn draft(protocol: Protocol, flags: u8, from: Endpoint, to: Endpoint) -> Draft {
        match protocol {
            Protocol::Tcp => Draft::tcp(flags, from, to),
            Protocol::Udp => Draft::udp(from, to),
            Protocol::Icmp => Draft::ping(from, to.0),
        }
    }

    fn run(&self, entry: Entry, draft: &Draft) -> Run {
        run_over(
            &self.memory,
            &self.world,
            self.now,
            0,
            entry,
            &draft.bytes(),
        )
    }

    fn out(&mut self, subscriber: usize, protocol: usize, port: u16, to: usize, flags: u8) {
        let subscriber = subscriber % INSIDE.len();
        let protocol = Protocol::ALL[protocol % 3];
        let (inside, to) = ((INSIDE[subscriber], port), REMOTES[to % REMOTES.len()]);
        let segment = Segment {
            remote: if protocol == Protocol::Icmp {
                (to.0, 0)
            } else {
                to
            },
            flags,
        };
        let run = self.run(Entry::Inside, &Self::draft(protocol, flags, inside, to));
        let external = judge(&run.bytes).map(|j| (j.source, j.ports.0));
        if let Some(known) = self.reference.external_of(inside, protocol) {
            assert_eq!(
                external,
                Some(known),
                "the mapping is stable\n{}",
                shown(&run)
            );
            assert_eq!(run.counters.created, [0; 3]);
            return self
                .reference
                .refresh_out(inside, protocol, segment, self.now);
        }
        if let Some(reason) = self.stray(protocol, flags) {
            assert_eq!(run.ending, reason.into(), "opens nothing\n{}", shown(&run));
            return;
        }
        if let Some(reason) = self.refusal(subscriber, protocol) {
            assert_eq!(run.ending, Ending::from(reason), "{}", shown(&run));
            return;
        }
        assert_eq!(run.ending, Ending::Sent { back: false }, "{}", shown(&run));
        let external = external.expect("a packet");
        self.assert_theirs(subscriber, external);
        self.reference
            .open(inside, protocol, external, segment, self.now);
        self.known.push(external);
    }

    /// Why a segment from inside opens nothing, if so: a RST never does, and one in mid-stream only
    /// where that is allowed.
    fn stray(&self, protocol: Protocol, flags: u8) -> Option<Reason> {
        let begins = flags & (flag::SYN | flag::ACK) == flag::SYN;
        match protocol {
            Protocol::Tcp if flags & flag::RST != 0 => Some(Reason::StrayReset),
            Protocol::Tcp if self.strict && !begins => Some(Reason::MidStream),
            _ => None,
        }
    }

    /// What holds from now on; no mapping is lost to it.
    fn reload(&mut self, quick: bool, strict: bool) {
        self.strict = strict;
        let constants = &mut self.memory.constants;
        constants.pools[0] = Policy(Policy::PARITY);
        let switches = [
            (strict, Features::DROP_MIDSTREAM),
            (quick, Features::PARITY),
        ];
        let on = switches.iter().filter(|(is_on, _)| *is_on);
        constants.features = Features(on.map(|(_, feature)| feature).sum());
        self.reference.timers = if quick { QUICK } else { TIMERS };
    }

    /// It reaches who sent the packet that it quotes, which is his own again; nothing is opened,
    /// refreshed or ended by it (RFC 5508 REQ-6).
    fn error(&self, external: Endpoint, protocol: usize, about: usize, kind: usize) {
        let protocol = Protocol::ALL[protocol % 3];
        let to = REMOTES[about % REMOTES.len()];
        let quoted = Self::draft(protocol, flag::ACK, external, to).packet();
        let kind = [(3, 3), (3, 4), (11, 0)][kind % 3];
        let error = Draft::icmp_error(kind, [0; 4], &quoted[..28], remote::OTHER, external.0);
        let run = self.run(Entry::Outside, &error);
        assert_eq!(run.counters.created, [0; 3]);
        let Some(inside) = self.reference.inside_of(external, protocol) else {
            let ending = Ending::Dropped(Reason::NoQuotedMapping);
            return assert_eq!(run.ending, ending, "{}", shown(&run));
        };
        assert_eq!(run.ending, Ending::Sent { back: false }, "{}", shown(&run));
        let ip = |at: usize| Ipv4Addr::from(*run.bytes[at..].first_chunk::<4>().expect("there"));
        // Ethernet, IPv4, ICMP, the quoted IPv4; the port, or, of an echo request, the identifier.
        const QUOTED: usize = 14 + 20 + 8;
        let at = QUOTED + 20 + if protocol == Protocol::Icmp { 4 } else { 0 };
        let port = u16::from_be_bytes([run.bytes[at], run.bytes[at + 1]]);
        assert_eq!(ip(14 + 16), inside.0, "it reaches its owner");
        assert_eq!((ip(QUOTED + 12), port), inside, "about what he sent");
    }

    /// Why no mapping can be opened, if so.
    fn refusal(&self, subscriber: usize, protocol: Protocol) -> Option<Reason> {
        let blocks = &self.grants[subscriber];
        let used = self.reference.ports_used(INSIDE[subscriber], protocol);
        let ports = blocks.len() << SMALL_SHIFT;
        assert!(used <= ports);
        (used == ports).then_some(match blocks.len() {
            0 => Reason::FirstPacket,
            6 => Reason::NoPort,
            _ => Reason::BlockFull,
        })
    }

    fn assert_theirs(&self, subscriber: usize, external: Endpoint) {
        let within = |grant: &Grant| {
            let first = 1024 + (grant.block << SMALL_SHIFT);
            external.0 == grant.external && external.1 >> SMALL_SHIFT == first >> SMALL_SHIFT
        };
        let is_theirs = self.grants[subscriber].iter().any(within);
        assert!(is_theirs, "{external:?} is not theirs");
    }

    /// A packet of one subscriber to an external endpoint: the mapping of another, or his own.
    fn hairpin(&mut self, subscriber: usize, protocol: usize, port: u16, to: Endpoint, flags: u8) {
        let protocol = [Protocol::Tcp, Protocol::Udp][protocol % 2];
        let sender = (INSIDE[subscriber], port);
        let run = self.run(Entry::Inside, &Self::draft(protocol, flags, sender, to));
        let known = self.reference.external_of(sender, protocol);
        let stopped = match self.reference.inside_of(to, protocol) {
            None => Some(Reason::NoMapping),
            Some(_) if known.is_some() => None,
            Some(_) => self
                .stray(protocol, flags)
                .or_else(|| self.refusal(subscriber, protocol)),
        };
        if let Some(reason) = stopped {
            assert_eq!(run.ending, Ending::from(reason), "{}", shown(&run));
            assert_eq!(run.counters.created, [0; 3], "opened in vain");
            return;
        }
        assert_eq!(run.ending, Ending::Sent { back: false }, "{}", shown(&run));
        let judged = judge(&run.bytes).expect("a packet");
        let external = (judged.source, judged.ports.0);
        let receiver = self
            .reference
            .inside_of(to, protocol)
            .expect("looked up above");
        assert_eq!(
            (judged.destination, judged.ports.1),
            receiver,
            "it reaches its owner"
        );
        let segment = Segment { remote: to, flags };
        match known {
            Some(known) => {
                assert_eq!(external, known, "the mapping is stable");
                self.reference
                    .refresh_out(sender, protocol, segment, self.now);
            }
            None => {
                self.assert_theirs(subscriber, external);
                self.reference
                    .open(sender, protocol, external, segment, self.now);
                self.known.push(external);
            }
        }
        let segment = Segment {
            remote: external,
            flags,
        };
        self.reference
            .refresh_in(receiver, protocol, segment, self.now);
    }

    fn inbound(&mut self, external: Endpoint, protocol: usize, from: usize, flags: u8) {
        let protocol = Protocol::ALL[protocol % 3];
        let from = REMOTES[from % REMOTES.len()];
        let draft = match protocol {
            Protocol::Icmp => Draft::pong(from.0, external),
            _ => Self::draft(protocol, flags, from, external),
        };
        let run = self.run(Entry::Outside, &draft);
        match self.reference.inside_of(external, protocol) {
            Some(inside) => {
                let judged = judge(&run.bytes).map(|j| (j.destination, j.ports.1));
                assert_eq!(run.ending, Ending::Sent { back: false }, "{}", shown(&run));
                assert_eq!(judged, Some(inside), "it reaches its owner");
                let remote = from;
                let segment = Segment { remote, flags };
                self.reference
                    .refresh_in(inside, protocol, segment, self.now);
            }
            None => assert_eq!(
                run.ending,
                Ending::Dropped(Reason::NoMapping),
                "{}",
                shown(&run)
            ),
        }
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
            inside: INSIDE[subscriber],
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
        let blocks = &mut self.grants[subscriber];
        if blocks.is_empty() {
            return;
        }
        let at = block % blocks.len();
        let grant = blocks[at];
        let first = 1024 + (grant.block << SMALL_SHIFT);
        let is_empty = !self
            .reference
            .uses(grant.external, first..first + (1 << SMALL_SHIFT));
        let taken = install::take(&self.memory, &self.world.geometry, &grant);
        assert_eq!(taken, is_empty, "block {} of {}", grant.block, grant.inside);
        if taken {
            blocks.remove(at);
            self.free_slabs.insert(grant.slab);
        }
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
fn live(steps: &[Step]) {
    let mut pair = Pair::new();
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
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_random_life_is_that_of_a_plain_nat(steps in proptest::collection::vec(step(), 1..150)) {
        live(&steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn it_goes_on_over_restarts_with_other_pools(steps in proptest::collection::vec(step_or_restart(), 1..150)) {
        live(&steps);
    }
}
