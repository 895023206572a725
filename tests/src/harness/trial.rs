//! Cases in words: a packet goes in, and this packet, or this reason, must
//! come out, the same in every home.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::rc::Rc;

use cgn_common::counters::{Carried, Counters};
use cgn_common::layout::{NextHop, Refused, SlotState, refusal_of};
use cgn_common::limits::ticks;
use cgn_common::verdict::{Effect, Protocol, Reason};
use cgn_user::dataplane::install;
use cgn_user::dataplane::load::Entry;
use cgn_user::dataplane::sweep::{Timers, sweep_slab};
use cgn_user::policy::throttle::Prefix;
use cgn_user::realms::InsideKey;

use super::bpf::Bpf;
use super::host::Host;
use super::world::{World, hop_of};
use super::{Ending, Home, Mapping, Run, hex, mapping_of, run_everywhere, shown};
use crate::packets::{CUSTOMER_TAG, Draft, SERVICE_TAG, Transport, check};

/// An address and a port (for ICMP: the identifier).
pub type Endpoint = (Ipv4Addr, u16);

/// All homes, and what one asks of them.
pub struct Trial {
    pub world: Rc<World>,
    pub homes: Vec<Box<dyn Home>>,
    /// Frames and expected frames of what was translated, for other judges.
    pub translated: Vec<Vec<u8>>,
    /// Reasons that frames were stopped for.
    pub seen: BTreeSet<Reason>,
    /// The case, as it began.
    case: &'static str,
    /// The case with the detail that it has come to.
    sentence: String,
}

impl Trial {
    /// Host and slow path.
    #[must_use]
    pub fn on_host() -> Self {
        Self::on_host_of(World::new())
    }

    /// The same in another world.
    #[must_use]
    pub fn on_host_of(world: World) -> Self {
        let world = Rc::new(world);
        let homes: Vec<Box<dyn Home>> = vec![
            Box::new(Host::new(&world)),
            Box::new(Host::slow_path(&world)),
        ];
        Self {
            world,
            homes,
            translated: Vec::new(),
            seen: BTreeSet::new(),
            case: "",
            sentence: String::new(),
        }
    }

    /// Host, slow path, all BPF objects, and the released one with everything forced to the slow
    /// path; to be called within [`super::namespace::in_namespace`].
    #[must_use]
    pub fn everywhere() -> Self {
        Self::everywhere_of(World::new())
    }

    /// The same in another world.
    #[must_use]
    pub fn everywhere_of(world: World) -> Self {
        let mut trial = Self::on_host_of(world);
        let bpf = Bpf::new(&trial.world);
        trial.homes.push(Box::new(bpf));
        let diagnosing = Bpf::diagnosing(&trial.world, Box::new(|_| {}));
        trial.homes.push(Box::new(diagnosing));
        let forced = Bpf::forced(&trial.world);
        trial.homes.push(Box::new(forced));
        let watching = Bpf::watching(&trial.world);
        trial.homes.push(Box::new(watching));
        trial
    }

    /// Begins a case: every block is as new.
    ///
    /// # Panics
    /// A block is refused.
    pub fn begin(&mut self, sentence: &'static str) {
        self.case = sentence;
        sentence.clone_into(&mut self.sentence);
        for home in &self.homes {
            for grant in &self.world.grants {
                install::withdraw(home.memory(), &self.world.geometry, grant);
            }
            self.world.install(home.memory());
            let memory = home.memory();
            memory.datagrams.clear().expect("it can be read");
            for words in [&memory.ids, &memory.awaited] {
                (0..words.len() as u32).for_each(|at| words.get(at).expect("one").store(0));
            }
            let sessions = &home.memory().sessions;
            for (key, session) in sessions.all().expect("it can be read") {
                assert!(sessions.end(&key, session));
            }
        }
    }

    /// Says which row of its table a case has come to; what fails from here on tells it.
    pub fn comes_to(&mut self, detail: &str) {
        self.sentence = format!("{}: {detail}", self.case);
    }

    /// Moves every clock on; no mapping is looked at.
    pub fn pass(&mut self, secs: u32) {
        for home in &mut self.homes {
            home.pass(ticks(u64::from(secs)));
        }
    }

    /// Moves every clock to the next tick whose number is a multiple of 2^`shift`.
    pub fn align(&mut self, shift: u32) {
        for home in &mut self.homes {
            home.pass((1 << shift) - home.tick() % (1 << shift));
        }
    }

    /// Sweeps every block, as the control plane does, at each home's own time.
    pub fn sweep(&mut self, timers: &Timers) {
        for home in &self.homes {
            for grant in &self.world.grants {
                let line = self.world.geometry.slab_line(grant.pool, grant.slab);
                let _ = sweep_slab(home.memory(), line, home.tick(), timers);
            }
        }
    }

    /// Runs a frame everywhere.
    pub fn run(&mut self, entry: Entry, frame: &[u8]) -> Run {
        run_everywhere(&mut self.homes, entry, frame, &self.sentence)
    }

    /// The frame is not translated: this reason is counted, once and alone,
    /// and no byte is changed.
    ///
    /// # Panics
    /// It is otherwise.
    pub fn stopped(&mut self, entry: Entry, frame: &[u8], reason: Reason) {
        let _ = self.stops(entry, frame, reason);
    }

    /// The same, and it is counted for the realm with this number, or for none.
    ///
    /// # Panics
    /// It is otherwise.
    pub fn stopped_of(&mut self, entry: Entry, frame: &[u8], reason: Reason, realm: Option<u8>) {
        let run = self.stops(entry, frame, reason);
        let expected: Vec<_> = realm.map(|realm| (realm, reason)).into_iter().collect();
        let what = format!("{}\n{}", self.sentence, shown(&run));
        assert_eq!(run.of_realm, expected, "{what}");
    }

    fn stops(&mut self, entry: Entry, frame: &[u8], reason: Reason) -> Run {
        let run = self.run(entry, frame);
        let what = format!("{}\n{}", self.sentence, shown(&run));
        assert_eq!(run.ending, reason.into(), "{what}");
        self.seen.insert(reason);
        assert_eq!(run.bytes, frame, "the frame is left alone: {what}");
        let mut counters = Counters::ZERO;
        if reason.effect() != Effect::Drop {
            counters.left(reason);
        } else {
            // Behind three tags nobody here looks, the foreign parser does.
            let looked = (reason != Reason::VlanDepth).then(|| check::protocol_of(frame));
            match looked.flatten() {
                Some(number) => counters.dropped(reason, Carried::of_protocol(number)),
                // What is no packet to the foreign parser may have a protocol to us.
                None => counters.drops[reason as usize] = run.counters.drops[reason as usize],
            }
            let dropped = counters.all_dropped(reason);
            assert_eq!(dropped, 1, "of one protocol: {what}");
        }
        assert_eq!(run.counters, counters, "one count: {what}");
        run
    }

    /// A packet from inside is translated and sent to `hop`; returns its
    /// external endpoint.
    ///
    /// # Panics
    /// It is otherwise.
    pub fn outbound(&mut self, entry: Entry, draft: &Draft, hop: u16) -> Endpoint {
        self.outbound_as(entry, draft, hop, |_| {})
    }

    /// The same, with a change beside the translation.
    ///
    /// # Panics
    /// It is otherwise.
    pub fn outbound_as(
        &mut self,
        entry: Entry,
        draft: &Draft,
        hop: u16,
        change: impl FnOnce(&mut Draft),
    ) -> Endpoint {
        let run = self.run(entry, &draft.bytes());
        let protocol = protocol_of(draft);
        let external = self.mapping(draft.source, protocol).map(|m| m.external);
        let Some(external) = external else {
            panic!("{}: no mapping\n{}", self.sentence, shown(&run));
        };
        let mut wanted = draft.clone();
        wanted.source = external;
        change(&mut wanted);
        self.sent(&run, draft, wanted, &hop_of(hop), &[0]);
        external
    }

    /// A packet from outside is translated for `inside` and sent to `hop`.
    ///
    /// # Panics
    /// It is otherwise.
    pub fn inbound(&mut self, entry: Entry, draft: &Draft, inside: Endpoint, hop: u16) {
        self.inbound_as(entry, draft, inside, hop, |_| {});
    }

    /// The same, with a change beside the translation.
    ///
    /// # Panics
    /// It is otherwise.
    pub fn inbound_as(
        &mut self,
        entry: Entry,
        draft: &Draft,
        inside: Endpoint,
        hop: u16,
        change: impl FnOnce(&mut Draft),
    ) {
        let run = self.run(entry, &draft.bytes());
        let mut wanted = draft.clone();
        wanted.destination = inside;
        change(&mut wanted);
        self.sent(&run, draft, wanted, &hop_of(hop), &[1]);
    }

    /// A packet from inside to the external endpoint of `receiver`, another
    /// inside endpoint, reaches it by `hop` from the sender's external endpoint,
    /// which is returned.
    ///
    /// # Panics
    /// It is otherwise.
    pub fn hairpin(
        &mut self,
        entry: Entry,
        draft: &Draft,
        receiver: Endpoint,
        hop: u16,
    ) -> Endpoint {
        let run = self.run(entry, &draft.bytes());
        let sender = self.mapping(draft.source, protocol_of(draft));
        let Some(sender) = sender.map(|m| m.external) else {
            panic!("{}: no mapping\n{}", self.sentence, shown(&run));
        };
        let mut wanted = draft.clone();
        (wanted.source, wanted.destination) = (sender, receiver);
        self.sent(&run, draft, wanted, &hop_of(hop), &[0, 1]);
        sender
    }

    /// A packet is sent to `hop` as `wanted`, but for link header and time to
    /// live; it counts in these directions.
    ///
    /// # Panics
    /// It is otherwise.
    pub fn becomes(
        &mut self,
        entry: Entry,
        came: &Draft,
        wanted: Draft,
        hop: u16,
        directions: &[usize],
    ) {
        let run = self.run(entry, &came.bytes());
        self.sent(&run, came, wanted, &hop_of(hop), directions);
    }

    /// Fragments of `came`, of so many bytes of data and in this order, are sent
    /// to `hop` as those of `wanted`, but for link header, time to live and the
    /// identification, which is the first one's for all.
    ///
    /// # Panics
    /// It is otherwise.
    #[expect(clippy::too_many_arguments, reason = "each is a part of one sentence")]
    pub fn fragments(
        &mut self,
        entry: Entry,
        came: &Draft,
        mut wanted: Draft,
        hop: u16,
        data: usize,
        order: &[usize],
        directions: &[usize],
    ) {
        let hop = hop_of(hop);
        wanted.ttl -= 1;
        (wanted.destination_mac, wanted.source_mac) = (hop.destination_mac, hop.source_mac);
        wanted.tags = tags_for(&hop, came);
        let fragments = came.fragments(data);
        let mut is_first = true;
        for at in order {
            let run = self.run(entry, &fragments[*at]);
            let what = format!("{}, fragment {at}\n{}", self.sentence, shown(&run));
            assert!(matches!(run.ending, Ending::Sent { .. }), "{what}");
            if is_first {
                let left = id_of(&run.bytes, &wanted.tags);
                if directions == [1] {
                    assert_eq!(left, came.id, "nobody else's from there: {what}");
                }
                wanted.id = left;
                is_first = false;
            }
            assert_eq!(hex(&run.bytes), hex(&wanted.fragments(data)[*at]), "{what}");
            let mut counted = [0; 2];
            directions
                .iter()
                .for_each(|direction| counted[*direction] = 1);
            let packets = run
                .counters
                .packets
                .map(|protocols| protocols.iter().sum::<u64>());
            assert_eq!(packets, counted, "{what}");
        }
    }

    /// There and back again.
    pub fn round_trip(&mut self, draft: &Draft, hops: (u16, u16)) -> Endpoint {
        let external = self.outbound(Entry::Inside, draft, hops.0);
        let answer = draft.answer(external);
        self.inbound(Entry::Outside, &answer, draft.source, hops.1);
        external
    }

    fn sent(
        &mut self,
        run: &Run,
        came: &Draft,
        mut wanted: Draft,
        hop: &NextHop,
        directions: &[usize],
    ) {
        wanted.ttl -= 1;
        wanted.destination_mac = hop.destination_mac;
        wanted.source_mac = hop.source_mac;
        wanted.tags = tags_for(hop, came);
        let what = format!("{}\n{}", self.sentence, shown(run));
        assert!(matches!(run.ending, Ending::Sent { .. }), "{what}");
        if directions.contains(&0) && !came.dont_fragment {
            // One of its own; `cases::fragments` looks at it.
            wanted.id = id_of(&run.bytes, &wanted.tags);
        }
        let bytes = wanted.bytes();
        assert_eq!(hex(&run.bytes), hex(&bytes), "{what}");
        let (mut packets, mut octets) = ([[0; 3]; 2], [[0; 3]; 2]);
        for direction in directions {
            let protocol = protocol_of(came) as usize;
            packets[*direction][protocol] = 1;
            octets[*direction][protocol] = came.ip_length() as u64;
        }
        assert_eq!(run.counters.packets, packets, "{what}");
        assert_eq!(run.counters.bytes, octets, "{what}");
        assert_eq!(run.counters.all_ended(), 0, "{what}");
        self.translated.push(bytes);
    }

    /// The mapping of an inside endpoint, the same in every home.
    ///
    /// # Panics
    /// Homes differ, or there are two mappings.
    #[must_use]
    pub fn mapping(
        &self,
        inside: (impl Into<InsideKey>, u16),
        protocol: Protocol,
    ) -> Option<Mapping> {
        let inside = (inside.0.into(), inside.1);
        let mut found = self.homes.iter().map(|home| {
            let mapping = mapping_of(home.memory(), &self.world, inside, protocol);
            // Homes have clocks of their own.
            mapping.map(|m| Mapping { last_seen: 0, ..m })
        });
        let first = found.next().expect("a home");
        for other in found {
            assert_eq!(first, other, "{}: homes differ", self.sentence);
        }
        first
    }

    /// Prefixes that are limited, in order, the same in every home.
    ///
    /// # Panics
    /// Homes differ.
    #[must_use]
    pub fn limited(&self) -> Vec<Prefix> {
        let realms = &self.world.geometry.realms;
        let mut found = self.homes.iter().map(|home| {
            let all = Prefix::all(home.memory(), home.tick(), realms);
            all.into_iter().collect()
        });
        let first: Vec<Prefix> = found.next().expect("a home");
        for other in found {
            assert_eq!(first, other, "{}: homes differ", self.sentence);
        }
        first
    }

    /// Remote endpoints and states of the sessions in the table, the same in every home.
    ///
    /// # Panics
    /// Homes differ.
    #[must_use]
    pub fn sessions(&self) -> Vec<(Endpoint, SlotState)> {
        let mut found = self.homes.iter().map(|home| {
            let all = home.memory().sessions.all().expect("it can be read");
            let mut all: Vec<_> = all
                .into_iter()
                .map(|(key, session)| {
                    let remote = (Ipv4Addr::from_bits(key.remote), key.remote_port);
                    (remote, session.state())
                })
                .collect();
            all.sort_unstable();
            all
        });
        let first = found.next().expect("a home");
        for other in found {
            assert_eq!(first, other, "{}: homes differ", self.sentence);
        }
        first
            .into_iter()
            .map(|(remote, state)| (remote, SlotState::from_bits(state as u8)))
            .collect()
    }

    /// For which kinds of reasons flows of a subscriber are remembered to have been refused, the
    /// same in every home.
    ///
    /// # Panics
    /// Homes differ.
    #[must_use]
    pub fn refusals(&self, inside: Ipv4Addr) -> Vec<Reason> {
        let index = self.world.geometry.subscriber_index(inside);
        let mut found = self.homes.iter().map(|home| {
            let quota = index.and_then(|index| home.memory().quotas.get(index));
            let quota = quota.expect("a subscriber");
            let is_noted = |reason: &Reason| {
                refusal_of(*reason).is_some_and(|kind| {
                    let seen = Refused(quota.refused[kind].load());
                    seen.0 != 0 && home.tick().wrapping_sub(seen.last()) <= Refused::PAUSE
                })
            };
            let all = Reason::ALL.iter().copied();
            all.filter(is_noted).collect::<Vec<_>>()
        });
        let first = found.next().expect("a home");
        for other in found {
            assert_eq!(first, other, "{}: homes differ", self.sentence);
        }
        first
    }

    /// State of a TCP mapping.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn state(&self, inside: Endpoint) -> SlotState {
        let mapping = self.mapping(inside, Protocol::Tcp).expect("a mapping");
        SlotState::from_bits(mapping.state as u8)
    }
}

/// Identification of the IPv4 packet behind so many tags.
fn id_of(frame: &[u8], tags: &[(u16, u16)]) -> u16 {
    let at = 14 + 4 * tags.len() + 4;
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

/// Tags that a packet must have on its way to `hop`: the VLANs of the hop with
/// the priority of the tag that it came with.
fn tags_for(hop: &NextHop, came: &Draft) -> Vec<(u16, u16)> {
    let priority = came.tags.first().map_or(0, |(_, tci)| tci & 0xf000);
    let [outer, inner] = hop.vlans.map(|vlan| vlan | priority);
    match hop.vlan_count {
        0 => vec![],
        1 => vec![(CUSTOMER_TAG, outer)],
        _ => vec![(SERVICE_TAG, outer), (CUSTOMER_TAG, inner)],
    }
}

/// Protocol of a draft that can be translated.
///
/// # Panics
/// It cannot.
#[must_use]
pub fn protocol_of(draft: &Draft) -> Protocol {
    match draft.transport {
        Transport::Tcp { .. } => Protocol::Tcp,
        Transport::Udp { .. } => Protocol::Udp,
        Transport::Echo { .. } | Transport::Other(1) => Protocol::Icmp,
        Transport::Other(number) => panic!("protocol {number} has no port space"),
    }
}
