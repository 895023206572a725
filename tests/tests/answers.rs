//! ICMP errors of the CGN's own, byte for byte, as the slow path makes them for packets that XDP
//! punted. Expected bytes are those of `etherparse`, and once more of scapy.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::rc::Rc;

use cgn_common::answers::Rates;
use cgn_common::frame::Buffer;
use cgn_common::layout::{Constants, Features, Filtering, Policy};
use cgn_common::tables::Tables as _;
use cgn_common::verdict::Reason;
use cgn_tests::harness::hex;
use cgn_tests::harness::world::{
    INGRESS, INSIDE_IF, INSIDE_QINQ, INSIDE_VLAN, OUTSIDE_IF, OUTSIDE_VLAN, OWN_INSIDE,
    OWN_OUTSIDE, POOL, World, hop, hop_of, remote, subscriber,
};
use cgn_tests::packets::{CUSTOMER_TAG, Draft, SERVICE_TAG, Transport, flag, scapy};
use cgn_user::dataplane::load::Entry::{self, Inside, Outside, Vlan};
use cgn_user::dataplane::memory::Memory;
use cgn_user::dataplane::tables::Counted;
use cgn_user::slowpath::answers::{Answer, AnswerStats, Answers, Kind, Withheld};
use cgn_user::slowpath::process::{Outcome, process};
use cgn_user::slowpath::unsolicited;

const CLIENT: (Ipv4Addr, u16) = (subscriber::PLAIN, 5000);
const SERVER: (Ipv4Addr, u16) = (remote::PLAIN, 443);
const PROHIBITED: u8 = 13;

/// The slow path alone.
struct SlowPath {
    world: Rc<World>,
    memory: Memory,
    answers: Answers,
    now: u32,
}

impl SlowPath {
    fn new() -> Self {
        Self::with(1000, |_| {})
    }

    /// With so many errors to one sender in a window, and a change to the world.
    fn with(each: u32, change: impl FnOnce(&mut World)) -> Self {
        let mut constants = Constants::PLAIN;
        constants.features = Features(
            Features::TELL_EXPIRED
                | Features::TELL_TOO_BIG
                | Features::TELL_UNREACHABLE
                | Features::TELL_EXHAUSTED
                | Features::TELL_NO_MAPPING
                | Features::TELL_SYN,
        );
        let mut world = World::with(constants, 8);
        change(&mut world);
        let mut memory = Memory::private(world.geometry.sizes).expect("memory");
        memory.constants = world.constants;
        world.install(&memory);
        Self {
            world: Rc::new(world),
            memory,
            answers: Answers::new(Rates::new(each, 1000), PROHIBITED),
            now: 1000,
        }
    }

    /// What becomes of a frame, and what its sender is told.
    fn run(&mut self, entry: Entry, frame: &[u8]) -> (Outcome, Option<Answer>) {
        let counted = Counted::default();
        let tables = self.world.tables(&self.memory, &counted);
        tables.now.set(self.now);
        tables.ingress.set(INGRESS);
        let mut memory = frame.to_vec();
        let end = memory.len();
        let mut buffer = Buffer::new(&mut memory, 0, end).expect("in range");
        let outcome = process(&mut buffer, &tables, entry);
        let answer = match outcome {
            Outcome::Dropped(reason) => {
                assert_eq!(buffer.bytes(), frame, "what is quoted is what came");
                self.answers.answer(frame, &tables, entry, reason)
            }
            _ => None,
        };
        (outcome, answer)
    }

    /// The external endpoint of an inside one.
    fn open(&mut self, draft: &Draft) -> (Ipv4Addr, u16) {
        let counted = Counted::default();
        let tables = self.world.tables(&self.memory, &counted);
        let mut memory = draft.bytes();
        let end = memory.len();
        let mut buffer = Buffer::new(&mut memory, 0, end).expect("in range");
        let outcome = process(&mut buffer, &tables, Inside);
        assert!(matches!(outcome, Outcome::Send { .. }), "{outcome:?}");
        let bytes = buffer.bytes();
        let source: [u8; 4] = bytes[26..30].try_into().expect("4 bytes");
        (source.into(), u16::from_be_bytes([bytes[34], bytes[35]]))
    }

    /// A frame is dropped for `reason`, and its sender told by `wanted`, out of `ifindex`.
    fn told(&mut self, what: &str, entry: Entry, came: &Draft, reason: Reason, wanted: &Error) {
        let (outcome, answer) = self.run(entry, &came.bytes());
        assert_eq!(outcome, Outcome::Dropped(reason), "{what}");
        let answer = answer.unwrap_or_else(|| panic!("{what}: {:?}", self.answers.stats()));
        let expected = wanted.frame(came, identification(&answer.frame));
        assert_eq!(hex(&answer.frame), hex(&expected), "{what}");
        assert_eq!(answer.ifindex, wanted.ifindex, "{what}");
    }

    /// A frame is dropped for `reason`, and its sender is not told.
    fn silent(
        &mut self,
        what: &str,
        entry: Entry,
        came: &[u8],
        reason: Reason,
        why: Option<Withheld>,
    ) {
        let before = self.answers.stats();
        let (outcome, answer) = self.run(entry, came);
        assert_eq!(
            (outcome, answer),
            (Outcome::Dropped(reason), None),
            "{what}"
        );
        let mut expected = before;
        if let Some(why) = why {
            expected.withheld[why as usize] += 1;
        }
        assert_eq!(self.answers.stats(), expected, "{what}");
    }
}

/// IPv4 identification of a frame, behind its tags.
fn identification(frame: &[u8]) -> u16 {
    let is_tag = |at: &usize| matches!(frame[*at..], [0x81, 0x00, ..] | [0x88, 0xa8, ..]);
    let tags = (0..2).take_while(|tag| is_tag(&(12 + 4 * tag))).count();
    let at = 14 + 4 * tags + 4;
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

/// An error in words.
struct Error {
    kind: (u8, u8),
    mtu: u16,
    from: Ipv4Addr,
    tos: u8,
    /// Number of the next hop; None: back to the neighbour.
    hop: Option<u16>,
    ifindex: u32,
}

impl Error {
    fn inside(kind: (u8, u8)) -> Self {
        Self {
            kind,
            mtu: 0,
            from: OWN_INSIDE,
            tos: 0xc0,
            hop: Some(hop::INSIDE),
            ifindex: INSIDE_IF,
        }
    }

    fn outside(kind: (u8, u8)) -> Self {
        Self {
            from: OWN_OUTSIDE,
            hop: Some(hop::OUTSIDE),
            ifindex: OUTSIDE_IF,
            ..Self::inside(kind)
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// By etherparse.
    fn frame(&self, about: &Draft, identification: u16) -> Vec<u8> {
        let mut quoted = about.packet();
        quoted.truncate(548);
        let [high, low] = self.mtu.to_be_bytes();
        let rest = [0, 0, high, low];
        let mut error = Draft::icmp_error(self.kind, rest, &quoted, self.from, about.source.0);
        error.id = identification;
        error.tos = self.tos;
        error.dont_fragment = false;
        (error.destination_mac, error.source_mac) = (about.source_mac, about.destination_mac);
        error.tags.clone_from(&about.tags);
        if let Some(number) = self.hop {
            let hop = hop_of(number);
            (error.destination_mac, error.source_mac) = (hop.destination_mac, hop.source_mac);
            let tags = [(CUSTOMER_TAG, hop.vlans[0])];
            let two = [(SERVICE_TAG, hop.vlans[0]), (CUSTOMER_TAG, hop.vlans[1])];
            error.tags = [&[][..], &tags, &two][usize::from(hop.vlan_count)].to_vec();
        }
        error.bytes()
    }
}

fn expired(draft: Draft) -> Draft {
    draft.with(|d| d.ttl = 1)
}

fn big(draft: Draft) -> Draft {
    draft.with(|d| d.payload = vec![7; 700])
}

#[test]
fn time_exceeded() {
    let mut slow = SlowPath::new();
    let reason = Reason::TtlExpired;
    for (what, draft) in [
        ("UDP from inside", Draft::udp(CLIENT, SERVER)),
        ("TCP", Draft::tcp(flag::SYN, CLIENT, SERVER)),
        ("an echo request", Draft::ping(CLIENT, SERVER.0)),
        (
            "with IP options",
            Draft::udp(CLIENT, SERVER).with(|d| d.options = vec![1; 40]),
        ),
        (
            "a long packet is quoted in part",
            big(Draft::udp(CLIENT, SERVER)),
        ),
        (
            "padding is not quoted",
            Draft::udp(CLIENT, SERVER).with(|d| d.padding = vec![0; 9]),
        ),
        (
            "a wrong UDP checksum is quoted as it came",
            Draft::new(Transport::Other(17), CLIENT, SERVER).with(|d| {
                d.payload = vec![0x13, 0x88, 0x01, 0xbb, 0, 9, 0xba, 0xad, 7];
            }),
        ),
    ] {
        slow.told(
            what,
            Inside,
            &expired(draft),
            reason,
            &Error::inside((11, 0)),
        );
    }
    let from_outside = expired(Draft::udp(SERVER, (POOL[0], 5000)));
    slow.told(
        "from outside, whether or not it has a mapping",
        Outside,
        &from_outside,
        reason,
        &Error::outside((11, 0)),
    );
}

#[test]
fn type_of_service() {
    let mut slow = SlowPath::new();
    for (what, tos, wanted) in [
        (
            "DSCP EF: delay and throughput bits of RFC 791 stay, precedence is internetwork control",
            0xb8,
            0xd8,
        ),
        ("ECN does not speak of the error", 0x03, 0xc0),
        ("all bits", 0xff, 0xdc),
    ] {
        let draft = expired(Draft::udp(CLIENT, SERVER)).with(|d| d.tos = tos);
        let error = Error::inside((11, 0)).with(|e| e.tos = wanted);
        slow.told(what, Inside, &draft, Reason::TtlExpired, &error);
    }
}

#[test]
fn fragmentation_needed() {
    let mut slow = SlowPath::new();
    let small = (subscriber::SMALL, 77);
    let external = slow.open(&Draft::udp(small, SERVER));
    let too_big = |mut error: Error| {
        error.mtu = 576;
        error
    };
    let cases = [
        (
            "outbound: the MTU of the way to the destination",
            Inside,
            Draft::udp(CLIENT, (remote::SMALL, 443)),
            Error::inside((3, 4)),
        ),
        (
            "inbound: the MTU of the way to the subscriber, quoting the external endpoint",
            Outside,
            Draft::udp(SERVER, external),
            Error::outside((3, 4)),
        ),
        (
            "hairpinned: the MTU of the way to the other subscriber",
            Inside,
            Draft::udp((subscriber::TWO_BLOCKS, 9), external),
            Error::inside((3, 4)),
        ),
    ];
    for (what, entry, draft, error) in cases {
        slow.told(
            what,
            entry,
            &big(draft.clone()),
            Reason::TooBig,
            &too_big(error),
        );
        let may = big(draft).with(|d| d.dont_fragment = false);
        let split = (Outcome::NeedsSplitting, None);
        assert_eq!(
            slow.run(entry, &may.bytes()),
            split,
            "{what}: it is fragmented"
        );
    }
}

#[test]
fn unreachable() {
    let mut slow = SlowPath::new();
    for (what, to, code) in [
        ("no route: network unreachable", remote::NO_ROUTE, 0),
        (
            "a route of type unreachable: host unreachable",
            remote::UNREACHABLE,
            1,
        ),
    ] {
        let draft = Draft::udp(CLIENT, (to, 443));
        slow.told(
            what,
            Inside,
            &draft,
            Reason::NoRoute,
            &Error::inside((3, code)),
        );
    }
    let blackhole = Draft::udp(CLIENT, (remote::WIDE_NO_ROUTE, 443)).bytes();
    slow.silent(
        "a blackhole",
        Inside,
        &blackhole,
        Reason::NoRoute,
        Some(Withheld::Silent),
    );
    // The engine tells it when a packet waited in vain.
    let waited = Draft::udp(CLIENT, (remote::LOST, 443));
    let counted = Counted::default();
    let tables = slow.world.tables(&slow.memory, &counted);
    let reason = Reason::NeighbourUnresolved;
    let answer = slow
        .answers
        .answer(&waited.bytes(), &tables, Inside, reason);
    let answer = answer.expect("a silent neighbour");
    let expected = Error::inside((3, 1)).frame(&waited, identification(&answer.frame));
    assert_eq!(hex(&answer.frame), hex(&expected), "a silent neighbour");
}

#[test]
fn exhausted_and_unmapped() {
    let mut slow = SlowPath::new();
    let refused = Draft::tcp(flag::SYN, (subscriber::REFUSED, 1), SERVER);
    let prohibited = Error::inside((3, PROHIBITED));
    slow.told("no block", Inside, &refused, Reason::NoBlock, &prohibited);
    for port in 0..512 {
        slow.open(&Draft::udp((subscriber::LARGE, port), SERVER));
    }
    let full = Draft::udp((subscriber::LARGE, 600), SERVER);
    slow.told("no port", Inside, &full, Reason::NoPort, &prohibited);
    let stray = (POOL[0], 5000);
    let [segment, datagram] = [
        Draft::tcp(flag::ACK, SERVER, stray),
        Draft::udp(SERVER, stray),
    ];
    for draft in [segment, datagram] {
        slow.told(
            "no mapping",
            Outside,
            &draft,
            Reason::NoMapping,
            &Error::outside((3, 3)),
        );
    }
    let echo = Draft::pong(SERVER.0, stray).bytes();
    let why = Some(Withheld::Forbidden);
    slow.silent(
        "an echo has no port",
        Outside,
        &echo,
        Reason::NoMapping,
        why,
    );
}

/// A slow path whose first pool filters TCP by address and port, and a mapping there to a server
/// that nobody else knows of: its external endpoint.
fn filtering() -> (SlowPath, (Ipv4Addr, u16)) {
    let mut slow = SlowPath::with(1000, |world| {
        let (anyone, port) = (
            Filtering::EndpointIndependent,
            Filtering::AddressAndPortDependent,
        );
        world.constants.pools[0] = Policy::new(anyone, port, 0);
        world.constants.features.0 |= Features::SESSIONS;
    });
    let external = slow.open(&Draft::tcp(flag::SYN, CLIENT, (remote::OTHER, 80)));
    (slow, external)
}

impl SlowPath {
    /// What the sender of a SYN is told when it has waited.
    fn after_six_seconds(&mut self, syn: &Draft) -> Option<Answer> {
        let counted = Counted::default();
        let tables = self.world.tables(&self.memory, &counted);
        tables.now.set(self.now);
        tables.ingress.set(INGRESS);
        self.answers.answer_syn(&syn.bytes(), &tables, Outside)
    }

    /// Whether it waits at all.
    fn is_held(&self, entry: Entry, draft: &Draft, reason: Reason) -> bool {
        let counted = Counted::default();
        let tables = self.world.tables(&self.memory, &counted);
        tables.ingress.set(INGRESS);
        unsolicited::is_one(&draft.bytes(), &tables, entry, reason)
    }
}

#[test]
fn an_unsolicited_syn_is_not_answered_at_once_but_later() {
    let (mut slow, external) = filtering();
    for (what, to, reason) in [
        (
            "to a port without a mapping",
            (POOL[0], 5000),
            Reason::NoMapping,
        ),
        (
            "to a mapping whose filter refuses it",
            external,
            Reason::Filtered,
        ),
    ] {
        let syn = Draft::tcp(flag::SYN, SERVER, to);
        slow.silent(what, Outside, &syn.bytes(), reason, None);
        assert!(slow.is_held(Outside, &syn, reason), "{what}");
        let answer = slow.after_six_seconds(&syn).expect(what);
        let expected = Error::outside((3, 3)).frame(&syn, identification(&answer.frame));
        assert_eq!(hex(&answer.frame), hex(&expected), "{what}");
        assert_eq!(answer.ifindex, OUTSIDE_IF, "{what}");
    }
    let mut expected = AnswerStats::default();
    expected.sent[Kind::UnsolicitedSyn as usize] = 2;
    assert_eq!(slow.answers.stats(), expected);
}

#[test]
fn a_syn_that_is_met_from_inside_is_dropped_in_silence() {
    let (mut slow, external) = filtering();
    let syn = Draft::tcp(flag::SYN, SERVER, external);
    let refused = Outcome::Dropped(Reason::Filtered);
    assert_eq!(slow.run(Outside, &syn.bytes()).0, refused);
    let again = slow.open(&Draft::tcp(flag::SYN, CLIENT, SERVER));
    assert_eq!(again, external);
    assert_eq!(slow.after_six_seconds(&syn), None, "the same connection");
    let other = Draft::tcp(flag::SYN, (SERVER.0, 444), external);
    assert!(slow.after_six_seconds(&other).is_some(), "another one");
    let mut expected = AnswerStats::default();
    expected.sent[Kind::UnsolicitedSyn as usize] = 1;
    expected.withheld[Withheld::Connected as usize] = 1;
    assert_eq!(slow.answers.stats(), expected);
}

#[test]
fn only_syns_from_outside_wait() {
    let (slow, external) = filtering();
    let stray = (POOL[0], 5000);
    let (syn, no_mapping) = (flag::SYN, Reason::NoMapping);
    for (what, entry, draft, reason) in [
        (
            "SYN and ACK",
            Outside,
            Draft::tcp(syn | flag::ACK, SERVER, stray),
            no_mapping,
        ),
        (
            "data",
            Outside,
            Draft::tcp(flag::ACK, SERVER, stray),
            no_mapping,
        ),
        ("a datagram", Outside, Draft::udp(SERVER, stray), no_mapping),
        (
            "a datagram that a filter refuses",
            Outside,
            Draft::udp(SERVER, external),
            Reason::Filtered,
        ),
        (
            "from one subscriber to another: silence",
            Inside,
            Draft::tcp(syn, CLIENT, stray),
            no_mapping,
        ),
        (
            "dropped for something else",
            Outside,
            Draft::tcp(syn, SERVER, stray),
            Reason::TtlExpired,
        ),
    ] {
        assert!(!slow.is_held(entry, &draft, reason), "{what}");
    }
}

#[test]
fn never_about_what_rfc_1812_forbids() {
    let mut slow = SlowPath::new();
    let reason = Reason::TtlExpired;
    let why = Some(Withheld::Forbidden);
    let external = slow.open(&Draft::udp(CLIENT, SERVER));
    let quoted = Draft::udp(external, SERVER).packet();
    for kind in [3, 11, 12] {
        let error = Draft::icmp_error((kind, 0), [0; 4], &quoted, remote::OTHER, external.0);
        slow.silent(
            "about an error",
            Outside,
            &expired(error).bytes(),
            reason,
            why,
        );
    }
    for group in [[0xff; 6], [0x01, 0, 0x5e, 0, 0, 1]] {
        let draft = expired(Draft::udp(CLIENT, SERVER)).with(|d| d.destination_mac = group);
        slow.silent("to all on the link", Inside, &draft.bytes(), reason, why);
    }
    // The translator stops them before; this is the last line of defence.
    let base = || expired(Draft::udp(CLIENT, SERVER));
    let cases: [(&str, Draft); 6] = [
        ("a later fragment", base().with(|d| d.fragment_offset = 1)),
        (
            "to a group",
            base().with(|d| d.destination.0 = Ipv4Addr::new(224, 0, 0, 5)),
        ),
        (
            "to all",
            base().with(|d| d.destination.0 = Ipv4Addr::BROADCAST),
        ),
        (
            "from nobody",
            base().with(|d| d.source.0 = Ipv4Addr::UNSPECIFIED),
        ),
        (
            "from loopback",
            base().with(|d| d.source.0 = Ipv4Addr::LOCALHOST),
        ),
        (
            "from a group",
            base().with(|d| d.source.0 = Ipv4Addr::new(224, 0, 0, 5)),
        ),
    ];
    let counted = Counted::default();
    let tables = slow.world.tables(&slow.memory, &counted);
    for (what, draft) in cases {
        let answer = slow.answers.answer(&draft.bytes(), &tables, Inside, reason);
        assert_eq!(answer, None, "{what}");
    }
    for type_of_error in [3, 4, 5, 11, 12] {
        let mut draft = base();
        (draft.transport, draft.payload) = (
            Transport::Other(1),
            vec![type_of_error, 0, 0, 0, 0, 0, 0, 0],
        );
        let answer = slow.answers.answer(&draft.bytes(), &tables, Inside, reason);
        assert_eq!(answer, None, "ICMP type {type_of_error}");
    }
    assert_eq!(slow.answers.stats().sent, [0; 6]);
}

#[test]
fn where_it_comes_from_and_goes() {
    let back = |came: Error| came.with(|e| (e.hop, e.ifindex) = (None, INGRESS));
    let expired_to = |to| expired(Draft::udp(SERVER, to));
    let mut slow = SlowPath::with(1000, |world| world.routes.own_outside = None);
    slow.told(
        "outside without a public address: the pool address that the packet was sent to",
        Outside,
        &expired_to((POOL[1], 9)),
        Reason::TtlExpired,
        &Error::outside((11, 0)).with(|e| e.from = POOL[1]),
    );
    let mut slow = SlowPath::with(1000, |world| world.routes.own_inside = None);
    slow.told(
        "inside without an address: that of the outside",
        Inside,
        &expired(Draft::udp(CLIENT, SERVER)),
        Reason::TtlExpired,
        &Error::inside((11, 0)).with(|e| e.from = OWN_OUTSIDE),
    );
    let mut slow = SlowPath::with(1000, |world| {
        (world.routes.own_inside, world.routes.own_outside) = (None, None);
    });
    let draft = expired(Draft::udp(CLIENT, SERVER)).bytes();
    let why = Some(Withheld::NoAddress);
    slow.silent("no address at all", Inside, &draft, Reason::TtlExpired, why);
    let mut slow = SlowPath::new();
    slow.told(
        "no way back: to the neighbour that it came from",
        Inside,
        &expired(Draft::udp((subscriber::MISROUTED, 9), SERVER)),
        Reason::TtlExpired,
        &back(Error::inside((11, 0))),
    );
}

#[test]
fn tags_of_the_way_back() {
    let mut slow = SlowPath::new();
    let [outer, inner] = INSIDE_QINQ;
    let tagged = |from, tags: &[(u16, u16)]| {
        expired(Draft::udp((from, 5000), SERVER)).with(|d| d.tags = tags.to_vec())
    };
    let one = [(CUSTOMER_TAG, INSIDE_VLAN)];
    let two = [(SERVICE_TAG, outer), (CUSTOMER_TAG, inner)];
    let to = |number| {
        Error::inside((11, 0)).with(|e| (e.hop, e.ifindex) = (Some(number), hop_of(number).ifindex))
    };
    for (what, came, error) in [
        (
            "one tag",
            tagged(subscriber::VLAN, &one),
            to(hop::INSIDE_VLAN),
        ),
        (
            "two tags",
            tagged(subscriber::QINQ, &two),
            to(hop::INSIDE_QINQ),
        ),
        (
            "it came with one and goes with two",
            tagged(subscriber::QINQ, &one),
            to(hop::INSIDE_QINQ),
        ),
        (
            "with two and goes with none",
            tagged(subscriber::PLAIN, &two),
            to(hop::INSIDE),
        ),
    ] {
        slow.told(what, Vlan, &came, Reason::TtlExpired, &error);
    }
    let outside = expired(Draft::udp((remote::VLAN, 1), (POOL[0], 1)))
        .with(|d| d.tags = vec![(CUSTOMER_TAG, OUTSIDE_VLAN)]);
    let error =
        Error::outside((11, 0)).with(|e| (e.hop, e.ifindex) = (Some(hop::OUTSIDE_VLAN), INGRESS));
    slow.told("from outside", Vlan, &outside, Reason::TtlExpired, &error);
}

#[test]
fn so_many_in_a_window_whatever_the_kind() {
    let mut slow = SlowPath::with(3, |_| {});
    let frame = |from| expired(Draft::udp((from, 5000), SERVER)).bytes();
    let (mine, other) = (frame(subscriber::PLAIN), frame(subscriber::TWO_BLOCKS));
    for _ in 0..2 {
        for number in 0..10 {
            let (_, answer) = slow.run(Inside, &mine);
            assert_eq!(answer.is_some(), number < 3, "{number}");
        }
        assert!(slow.run(Inside, &other).1.is_some(), "another sender");
        slow.now += 4;
    }
    let mut expected = AnswerStats::default();
    expected.sent[Kind::Expired as usize] = 8;
    expected.withheld[Withheld::Rate as usize] = 14;
    assert_eq!(slow.answers.stats(), expected);
}

/// RFC 6864 section 4.3: also across a restart, and beside what is translated between the two.
#[test]
fn no_two_packets_to_one_host_have_one_identification() {
    let mut slow = SlowPath::new();
    let mut seen = BTreeSet::new();
    for _ in 0..500 {
        slow.answers = Answers::new(Rates::new(1000, 1000), PROHIBITED);
        let (_, answer) = slow.run(Inside, &expired(Draft::udp(CLIENT, SERVER)).bytes());
        assert!(seen.insert(identification(&answer.expect("told").frame)));
        let counted = Counted::default();
        let tables = slow.world.tables(&slow.memory, &counted);
        let (own, host) = (OWN_INSIDE.to_bits(), CLIENT.0.to_bits());
        assert!(seen.insert(tables.fresh_id(own, host, 1)));
        slow.now += 4;
    }
}

/// A second foreign judge builds each error from its parts and the packet that it is about.
#[test]
fn scapy_builds_the_same_errors() {
    const TEST: &str = "answers::scapy_builds_the_same_errors";
    let mut slow = SlowPath::new();
    let external = slow.open(&Draft::udp((subscriber::SMALL, 77), SERVER));
    let mut lines = Vec::new();
    for (entry, from, came, kind, mtu) in [
        (
            Inside,
            OWN_INSIDE,
            expired(Draft::tcp(flag::SYN, CLIENT, SERVER)),
            (11, 0),
            0,
        ),
        (
            Inside,
            OWN_INSIDE,
            expired(big(Draft::ping(CLIENT, SERVER.0))),
            (11, 0),
            0,
        ),
        (
            Outside,
            OWN_OUTSIDE,
            expired(Draft::udp(SERVER, external)),
            (11, 0),
            0,
        ),
        (
            Inside,
            OWN_INSIDE,
            big(Draft::udp(CLIENT, (remote::SMALL, 1))),
            (3, 4),
            576,
        ),
        (
            Outside,
            OWN_OUTSIDE,
            big(Draft::udp(SERVER, external)),
            (3, 4),
            576,
        ),
        (
            Inside,
            OWN_INSIDE,
            Draft::udp(CLIENT, (remote::NO_ROUTE, 1)),
            (3, 0),
            0,
        ),
        (
            Outside,
            OWN_OUTSIDE,
            Draft::udp(SERVER, (POOL[0], 9)),
            (3, 3),
            0,
        ),
    ] {
        let came = came.bytes();
        let (_, answer) = slow.run(entry, &came);
        let answer = hex(&answer.expect("an error").frame[14..]);
        let (kind, code) = kind;
        lines.push(format!(
            "{from} {kind} {code} {mtu} {} {answer}",
            hex(&came[14..])
        ));
    }
    if let Some(said) = scapy::output(TEST, BUILD, &lines) {
        assert_eq!(said, format!("{} equal", lines.len()));
    }
}

const BUILD: &str = "
import sys
from scapy.layers.inet import IP, ICMP
from scapy.packet import Raw
equal = 0
for line in sys.stdin:
    source, kind, code, mtu, came, answer = line.split()
    came, answer = bytes.fromhex(came), bytes.fromhex(answer)
    about = IP(came)
    error = IP(src=source, dst=about.src, ttl=64, tos=0xc0, id=IP(answer).id)
    error /= ICMP(type=int(kind), code=int(code), **({'nexthopmtu': int(mtu)} if mtu != '0' else {}))
    error /= Raw(came[:576 - 28])
    if bytes(error) == answer:
        equal += 1
    else:
        print(answer.hex(), 'should be', bytes(error).hex())
print(equal, 'equal')
";

#[test]
fn what_is_off_is_off() {
    let mut slow = SlowPath::with(1000, |world| world.constants = Constants::PLAIN);
    let draft = expired(Draft::udp(CLIENT, SERVER)).bytes();
    slow.silent(
        "nothing is even counted",
        Inside,
        &draft,
        Reason::TtlExpired,
        None,
    );
}
