//! Packets from one subscriber to another's external endpoint (RFC 4787 REQ-9,
//! RFC 5382 REQ-8, RFC 5508 REQ-7).

use cgn_common::layout::SlotState;
use cgn_common::verdict::{Protocol, Reason};
use cgn_user::dataplane::load::Entry::{self, Inside, Outside, Vlan};

use super::Case;
use crate::harness::trial::{Endpoint, Trial};
use crate::harness::world::{INSIDE_VLAN, LARGE_POOL, POOL, hop, remote, subscriber};
use crate::packets::{CUSTOMER_TAG, Draft, Transport, flag};

const ALICE: Endpoint = (subscriber::PLAIN, 5000);
const BOB: Endpoint = (subscriber::TWO_BLOCKS, 6000);
/// In another pool, with larger blocks.
const CAROL: Endpoint = (subscriber::LARGE, 7000);
const SERVER: Endpoint = (remote::PLAIN, 443);
const TTL: usize = 14 + 8;

pub const CASES: &[Case] = &[
    (
        "a datagram reaches another subscriber from the sender's external endpoint (REQ-9a)",
        |t| {
            for (from, to) in [(ALICE, BOB), (ALICE, CAROL), (CAROL, ALICE)] {
                converse(t, from, to);
            }
        },
    ),
    (
        "the answer comes back the same way, from the receiver's external endpoint",
        |t| {
            let bob = t.outbound(Inside, &Draft::udp(BOB, SERVER), hop::OUTSIDE);
            let alice = t.hairpin(Inside, &Draft::udp(ALICE, bob), BOB, hop::INSIDE);
            let back = t.hairpin(Inside, &Draft::udp(BOB, alice), ALICE, hop::INSIDE);
            assert_eq!(
                back, bob,
                "bob has one external endpoint, wherever he sends to"
            );
        },
    ),
    (
        "the mapping that the packet opened serves the internet, too (REQ-1)",
        |t| {
            let bob = t.outbound(Inside, &Draft::udp(BOB, SERVER), hop::OUTSIDE);
            let alice = t.hairpin(Inside, &Draft::udp(ALICE, bob), BOB, hop::INSIDE);
            let again = t.outbound(Inside, &Draft::udp(ALICE, SERVER), hop::OUTSIDE);
            assert_eq!(again, alice);
            t.inbound(Outside, &Draft::udp(SERVER, alice), ALICE, hop::INSIDE);
        },
    ),
    (
        "to a mapping of one's own, also the very one that it comes from",
        |t| {
            let other = (ALICE.0, 5001);
            let mapped = t.outbound(Inside, &Draft::udp(other, SERVER), hop::OUTSIDE);
            let external = t.hairpin(Inside, &Draft::udp(ALICE, mapped), other, hop::INSIDE);
            t.hairpin(Inside, &Draft::udp(ALICE, external), ALICE, hop::INSIDE);
        },
    ),
    (
        "a TCP connection between two subscribers, and what its state is on both sides",
        |t| {
            let tcp = |flags, from, to| Draft::tcp(flags, from, to);
            let bob = t.outbound(Inside, &tcp(flag::SYN, BOB, SERVER), hop::OUTSIDE);
            let syn = tcp(flag::SYN, ALICE, bob);
            let alice = t.hairpin(Inside, &syn, BOB, hop::INSIDE);
            assert_eq!(t.state(ALICE), SlotState::TcpInit);
            let answer = tcp(flag::SYN | flag::ACK, BOB, alice);
            t.hairpin(Inside, &answer, ALICE, hop::INSIDE);
            assert_eq!(t.state(ALICE), SlotState::TcpEstablished);
            t.hairpin(Inside, &tcp(flag::FIN, ALICE, bob), BOB, hop::INSIDE);
            assert_eq!(t.state(ALICE), SlotState::TcpInsideFin);
            t.hairpin(Inside, &tcp(flag::FIN, BOB, alice), ALICE, hop::INSIDE);
            assert_eq!(t.state(ALICE), SlotState::TcpClosing);
        },
    ),
    (
        "IPv4 and TCP options, UDP without a checksum, checksums that become 0",
        |t| {
            let bob = t.outbound(Inside, &Draft::udp(BOB, SERVER), hop::OUTSIDE);
            for words in 0..=10 {
                let wide = Draft::udp(ALICE, bob).with(|d| d.options = vec![1; 4 * words]);
                t.hairpin(Inside, &wide, BOB, hop::INSIDE);
            }
            let plain = Draft::new(Transport::Udp { checksum: false }, ALICE, bob);
            t.hairpin(Inside, &plain, BOB, hop::INSIDE);
            let alice = t.mapping(ALICE, Protocol::Udp).expect("mapped").external;
            // The checksum of what arrives without a payload, as its payload.
            let arrives = Draft::udp(alice, BOB)
                .with(|d| d.payload = vec![0, 0])
                .bytes();
            let word = arrives[14 + 26..14 + 28].to_vec();
            let zero = Draft::udp(ALICE, bob).with(|d| d.payload = word);
            t.hairpin(Inside, &zero, BOB, hop::INSIDE);
            assert_eq!(
                t.translated.last().expect("one")[14 + 26..14 + 28],
                [0xff, 0xff]
            );
        },
    ),
    (
        "an echo reply to another's query, from the sender's external address",
        |t| {
            let query = t.outbound(Inside, &Draft::ping(BOB, SERVER.0), hop::OUTSIDE);
            t.outbound(Inside, &Draft::udp(CAROL, SERVER), hop::OUTSIDE);
            let run = t.run(Inside, &Draft::pong(CAROL.0, query).bytes());
            let mut wanted = Draft::pong(LARGE_POOL, BOB).with(|d| d.ttl = 63);
            let next = crate::harness::world::hop_of(hop::INSIDE);
            (wanted.source_mac, wanted.destination_mac) = (next.source_mac, next.destination_mac);
            assert_eq!(run.bytes, wanted.bytes());
            assert_eq!(
                t.mapping(CAROL, Protocol::Icmp),
                None,
                "a reply opens nothing"
            );
        },
    ),
    (
        "an echo request to another's query, and the reply: each sees the other's external address",
        |t| {
            let query = t.outbound(Inside, &Draft::ping(BOB, SERVER.0), hop::OUTSIDE);
            let asks = (ALICE.0, query.1);
            let alice = t.hairpin(Inside, &Draft::ping(asks, query.0), BOB, hop::INSIDE);
            // Bob answers to the identifier that reached him, which is that of alice's mapping.
            let reply = Draft::pong(BOB.0, alice);
            let arrives = Draft::pong(query.0, asks);
            t.becomes(Inside, &reply, arrives, hop::INSIDE, &[0, 1]);
            // It is the mapping that serves the internet, too.
            let again = t.outbound(Inside, &Draft::ping(asks, SERVER.0), hop::OUTSIDE);
            assert_eq!(again, alice);
        },
    ),
    (
        "an echo request to one's own query, and to an identifier that nobody has",
        |t| {
            let query = t.outbound(Inside, &Draft::ping(ALICE, SERVER.0), hop::OUTSIDE);
            let asks = (ALICE.0, query.1);
            let external = t.hairpin(Inside, &Draft::ping(asks, query.0), ALICE, hop::INSIDE);
            let arrives = Draft::pong(query.0, asks);
            let reply = Draft::pong(ALICE.0, external);
            t.becomes(Inside, &reply, arrives, hop::INSIDE, &[0, 1]);
            let nobody = Draft::ping((ALICE.0, 7), POOL[1]);
            stopped_without_mapping(t, Inside, &nobody, Reason::NoMapping);
        },
    ),
    (
        "from and to a VLAN; the next hop's tags with the packet's priority",
        |t| {
            let bob = t.outbound(Inside, &Draft::udp(BOB, SERVER), hop::OUTSIDE);
            let tagged = Draft::udp((subscriber::VLAN, 9), bob)
                .with(|d| d.tags = vec![(CUSTOMER_TAG, 0x6000 | INSIDE_VLAN)]);
            let external = t.hairpin(Vlan, &tagged, BOB, hop::INSIDE);
            let back = Draft::udp(BOB, external);
            t.hairpin(Inside, &back, (subscriber::VLAN, 9), hop::INSIDE_VLAN);
        },
    ),
    (
        "to a port that nobody has: dropped, and nothing is opened",
        |t| {
            for port in [1, 1023, 1024, 40_000] {
                for to in [POOL[1], LARGE_POOL] {
                    stopped_without_mapping(
                        t,
                        Inside,
                        &Draft::udp(ALICE, (to, port)),
                        Reason::NoMapping,
                    );
                    let syn = Draft::tcp(flag::SYN, ALICE, (to, port));
                    stopped_without_mapping(t, Inside, &syn, Reason::NoMapping);
                }
            }
        },
    ),
    ("each protocol has mappings of its own", |t| {
        let bob = t.outbound(Inside, &Draft::udp(BOB, SERVER), hop::OUTSIDE);
        let syn = Draft::tcp(flag::SYN, ALICE, bob);
        stopped_without_mapping(t, Inside, &syn, Reason::NoMapping);
    }),
    (
        "the time to live ends here, too, and nothing is opened",
        |t| {
            let bob = t.outbound(Inside, &Draft::udp(BOB, SERVER), hop::OUTSIDE);
            for ttl in [0, 1] {
                let late = Draft::udp(ALICE, bob).with(|d| d.ttl = ttl);
                stopped_without_mapping(t, Inside, &late, Reason::TtlExpired);
            }
            let last = Draft::udp(ALICE, bob).with(|d| d.ttl = 2);
            t.hairpin(Inside, &last, BOB, hop::INSIDE);
            assert_eq!(t.translated.last().expect("one")[TTL], 1, "once, not twice");
        },
    ),
    (
        "a sender without a block is punted for one, first or in vain",
        |t| {
            let bob = t.outbound(Inside, &Draft::udp(BOB, SERVER), hop::OUTSIDE);
            let first = Draft::udp((subscriber::NO_BLOCK_YET, 1), bob);
            t.stopped(Inside, &first.bytes(), Reason::FirstPacket);
            let refused = Draft::udp((subscriber::REFUSED, 1), bob);
            t.stopped(Inside, &refused.bytes(), Reason::NoBlock);
        },
    ),
    (
        "a spoofed source, the wrong side, a next hop with a smaller MTU",
        |t| {
            let bob = t.outbound(Inside, &Draft::udp(BOB, SERVER), hop::OUTSIDE);
            let spoofed = Draft::udp((subscriber::STRANGER, 1), bob);
            t.stopped(Inside, &spoofed.bytes(), Reason::SpoofedSource);
            let to = |t: &mut Trial, inside| {
                let draft = Draft::udp((inside, 1), SERVER);
                t.outbound(Inside, &draft, hop::OUTSIDE)
            };
            let misrouted = to(t, subscriber::MISROUTED);
            stopped_without_mapping(t, Inside, &Draft::udp(ALICE, misrouted), Reason::WrongSide);
            let small = to(t, subscriber::SMALL);
            let large = Draft::udp(ALICE, small).with(|d| d.payload = vec![7; 549]);
            stopped_without_mapping(t, Inside, &large, Reason::TooBig);
            let fits = Draft::udp(ALICE, small).with(|d| d.payload = vec![7; 548]);
            t.hairpin(Inside, &fits, (subscriber::SMALL, 1), hop::INSIDE_SMALL);
        },
    ),
];

/// UDP, TCP there, each to a mapping that the receiver opened before.
fn converse(t: &mut Trial, from: Endpoint, to: Endpoint) {
    for draft in [Draft::udp as fn(Endpoint, Endpoint) -> Draft, |a, b| {
        Draft::tcp(flag::SYN, a, b)
    }] {
        let external = t.outbound(Inside, &draft(to, SERVER), hop::OUTSIDE);
        t.hairpin(Inside, &draft(from, external), to, hop::INSIDE);
    }
}

fn stopped_without_mapping(t: &mut Trial, entry: Entry, draft: &Draft, reason: Reason) {
    t.stopped(entry, &draft.bytes(), reason);
    let protocol = crate::harness::trial::protocol_of(draft);
    assert_eq!(t.mapping(draft.source, protocol), None);
}
