//! ICMP errors of the CGN's own, byte for byte, as the slow path makes them for packets that XDP
//! punted. Expected bytes are those of `etherparse`, and once more of scapy.

mod errors;
mod judged;
mod syns;

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
use cgn_tests::packets::{CUSTOMER_TAG, Draft, SERVICE_TAG, Transport, flag};
use cgn_user::dataplane::load::Entry::{self, Inside, Outside, Vlan};
use cgn_user::dataplane::memory::Memory;
use cgn_user::dataplane::tables::Counted;
use cgn_user::slowpath::answers::{Answer, AnswerStats, Answers, Kind, Withheld};
use cgn_user::slowpath::process::{Outcome, process};

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
