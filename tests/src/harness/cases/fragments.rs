//! Fragments (RFC 791 section 2.3, RFC 4787 REQ-14), packets that are to become
//! some, and identifications (RFC 6864 section 5.3.1).

use cgn_common::verdict::Reason;
use cgn_user::dataplane::load::Entry::{self, Inside, Outside, Vlan};

use super::Case;
use crate::harness::Ending;
use crate::harness::trial::{Endpoint, Trial};
use crate::harness::world::{INSIDE_VLAN, OUTSIDE_VLAN, POOL, hop, remote, subscriber};
use crate::packets::{CUSTOMER_TAG, Draft, Transport, flag};

const ALICE: Endpoint = (subscriber::PLAIN, 5000);
/// Behind the same external address.
const BOB: Endpoint = (subscriber::TWO_BLOCKS, 6000);
const SERVER: Endpoint = (remote::PLAIN, 443);
/// Bytes of data in each fragment, and fragments of a datagram.
const DATA: usize = 800;
const COUNT: usize = 3;
const ID: usize = 14 + 4;

pub const CASES: &[Case] = &[
    (
        "fragments in order go out and come in, each with what its datagram gets",
        |t| {
            for whole in each_protocol() {
                let external = there(t, Inside, &whole, hop::OUTSIDE, &[0, 1, 2]);
                if !matches!(whole.transport, Transport::Echo { .. }) {
                    back(t, Outside, &whole, external, hop::INSIDE);
                }
            }
            let external = there(
                t,
                Inside,
                &large(Draft::ping(ALICE, SERVER.0)),
                hop::OUTSIDE,
                &[0, 1, 2],
            );
            let pong = large(Draft::pong(SERVER.0, external));
            t.fragments(
                Outside,
                &pong,
                pong.clone().with(|d| d.destination = ALICE),
                hop::INSIDE,
                DATA,
                &[0, 1, 2],
                &[1],
            );
        },
    ),
    (
        "a fragment before the first is punted, and goes on once the first came",
        |t| {
            for order in [[1, 2], [2, 1]] {
                let whole = large(Draft::udp(ALICE, SERVER)).with(|d| d.id = order[0]);
                let fragments = whole.fragments(DATA);
                for early in order {
                    t.stopped(
                        Inside,
                        &fragments[usize::from(early)],
                        Reason::FragmentUnknown,
                    );
                }
                let external = there(t, Inside, &whole, hop::OUTSIDE, &[0, 2, 1]);
                let answer = whole.answer(external).with(|d| d.dont_fragment = false);
                let fragments = answer.fragments(DATA);
                for early in order {
                    t.stopped(
                        Outside,
                        &fragments[usize::from(early)],
                        Reason::FragmentUnknown,
                    );
                }
                back(t, Outside, &whole, external, hop::INSIDE);
            }
        },
    ),
    (
        "every order of three fragments, first one first, and the last one twice",
        |t| {
            for (id, order) in [[0, 1, 2, 2], [0, 2, 1, 2], [0, 2, 2, 1]]
                .iter()
                .enumerate()
            {
                let whole = large(Draft::udp(ALICE, SERVER)).with(|d| d.id = id as u16);
                there(t, Inside, &whole, hop::OUTSIDE, order);
            }
        },
    ),
    (
        "a first fragment that comes twice keeps the identification of its datagram",
        |t| {
            let whole = large(Draft::udp(ALICE, SERVER));
            there(t, Inside, &whole, hop::OUTSIDE, &[0, 1, 0, 2]);
        },
    ),
    (
        "datagrams of two subscribers with one identification, mixed: two outside (RFC 6864)",
        |t| {
            let (alice, bob) = (
                large(Draft::udp(ALICE, SERVER)),
                large(Draft::udp(BOB, SERVER)),
            );
            let [a, b] = [&alice, &bob].map(|draft| {
                let first = t.run(Inside, &draft.fragments(DATA)[0]);
                first.bytes[ID..ID + 2].to_vec()
            });
            assert_ne!(a, b, "both leave from {}", POOL[0]);
            for at in 1..COUNT {
                for (draft, id) in [(&alice, &a), (&bob, &b)] {
                    let run = t.run(Inside, &draft.fragments(DATA)[at]);
                    assert_eq!(&run.bytes[ID..ID + 2], &id[..], "fragment {at}");
                }
            }
        },
    ),
    (
        "a whole packet that may be fragmented leaves with an identification of its own; an atomic one keeps its",
        |t| {
            let mut seen = std::collections::BTreeSet::new();
            for round in 0..50 {
                for inside in [ALICE, BOB] {
                    let draft =
                        Draft::udp(inside, SERVER).with(|d| (d.dont_fragment, d.id) = (false, 7));
                    t.outbound(Inside, &draft, hop::OUTSIDE);
                    let left = t.translated.last().expect("one");
                    assert!(seen.insert(left[ID..ID + 2].to_vec()), "round {round}");
                }
            }
            t.outbound(Inside, &Draft::udp(ALICE, SERVER), hop::OUTSIDE);
            let answer = Draft::udp(
                SERVER,
                t.mapping(ALICE, cgn_common::verdict::Protocol::Udp)
                    .expect("mapped")
                    .external,
            );
            t.inbound(
                Outside,
                &answer.with(|d| d.dont_fragment = false),
                ALICE,
                hop::INSIDE,
            );
        },
    ),
    ("fragments from and to VLANs", |t| {
        let tagged =
            |draft: Draft, vlan| draft.with(|d| d.tags = vec![(CUSTOMER_TAG, 0x6000 | vlan)]);
        let inside = (subscriber::VLAN, 5000);
        let whole = tagged(large(Draft::udp(inside, (remote::VLAN, 53))), INSIDE_VLAN);
        let external = there(t, Vlan, &whole, hop::OUTSIDE_VLAN, &[0, 1, 2]);
        let answer = tagged(
            large(Draft::udp((remote::VLAN, 53), external)),
            OUTSIDE_VLAN,
        );
        let wanted = answer.clone().with(|d| d.destination = inside);
        t.fragments(
            Vlan,
            &answer,
            wanted,
            hop::INSIDE_VLAN,
            DATA,
            &[0, 2, 1],
            &[1],
        );
    }),
    (
        "fragments to another subscriber, from the sender's external address",
        |t| {
            let bob = t.outbound(Inside, &Draft::udp(BOB, SERVER), hop::OUTSIDE);
            let alice = t.outbound(Inside, &Draft::udp(ALICE, SERVER), hop::OUTSIDE);
            let whole = large(Draft::udp(ALICE, bob));
            t.stopped(Inside, &whole.fragments(DATA)[2], Reason::FragmentUnknown);
            let wanted = whole
                .clone()
                .with(|d| (d.source, d.destination) = (alice, BOB));
            t.fragments(
                Inside,
                &whole,
                wanted,
                hop::INSIDE,
                DATA,
                &[0, 2, 1],
                &[0, 1],
            );
            let other = Draft::udp(ALICE, bob).with(|d| (d.dont_fragment, d.id) = (false, 7));
            let run = t.run(Inside, &other.bytes());
            assert_ne!(run.bytes[ID..ID + 2], [0, 7], "{run:?}");
        },
    ),
    ("UDP without a checksum stays without one", |t| {
        let whole = large(Draft::new(
            Transport::Udp { checksum: false },
            ALICE,
            SERVER,
        ));
        let external = there(t, Inside, &whole, hop::OUTSIDE, &[0, 1, 2]);
        back(t, Outside, &whole, external, hop::INSIDE);
    }),
    ("IPv4 options of the first fragment, and of all", |t| {
        let whole = large(Draft::udp(ALICE, SERVER)).with(|d| d.options = vec![1; 8]);
        there(t, Inside, &whole, hop::OUTSIDE, &[0, 1, 2]);
    }),
    (
        "a first fragment without the whole transport header (RFC 1858)",
        |t| {
            let tcp = large(Draft::tcp(flag::SYN, ALICE, SERVER));
            for data in [8, 16] {
                t.stopped(Inside, &tcp.fragments(data)[0], Reason::TinyFragment);
            }
            there(t, Inside, &tcp, hop::OUTSIDE, &[0]);
            let mut wide = large(Draft::new(
                Transport::Tcp {
                    flags: flag::SYN,
                    options: vec![1; 40],
                },
                ALICE,
                SERVER,
            ));
            wide.id = 2;
            t.stopped(Inside, &wide.fragments(56)[0], Reason::TinyFragment);
            let lies = large(Draft::udp(ALICE, SERVER));
            let mut frame = lies.fragments(DATA)[0].clone();
            frame[14 + 24..14 + 26].copy_from_slice(&[0, 7]);
            t.stopped(Inside, &frame, Reason::TinyFragment);
        },
    ),
    (
        "a TCP fragment that would overwrite the flags of the first (RFC 3128)",
        |t| {
            let tcp = large(Draft::tcp(flag::SYN, ALICE, SERVER));
            there(t, Inside, &tcp, hop::OUTSIDE, &[0]);
            t.stopped(Inside, &tcp.fragments(8)[1], Reason::FragmentOverlap);
            let inbound = large(Draft::tcp(flag::ACK, SERVER, (POOL[0], 2000)));
            t.stopped(Outside, &inbound.fragments(8)[1], Reason::FragmentOverlap);
        },
    ),
    (
        "fragments that are none: empty, of a length between, beyond the end of IPv4",
        |t| {
            let piece = |bytes: usize, offset, more| {
                let draft = Draft::new(Transport::Other(17), (ALICE.0, 0), (SERVER.0, 0));
                draft.with(|d| {
                    d.payload = vec![7; bytes];
                    (d.more_fragments, d.fragment_offset) = (more, offset);
                })
            };
            for (bytes, offset, more) in [
                (0, 0, true),
                (0, 10, false),
                (12, 10, true),
                (7, 10, true),
                (16, 8189, false),
                (8, 0x1fff, false),
            ] {
                t.stopped(
                    Inside,
                    &piece(bytes, offset, more).bytes(),
                    Reason::BadFragment,
                );
                let inbound = piece(bytes, offset, more)
                    .with(|d| (d.source.0, d.destination.0) = (SERVER.0, POOL[0]));
                t.stopped(Outside, &inbound.bytes(), Reason::BadFragment);
            }
            for (bytes, offset, more) in [(7, 10, false), (1, 8189, false), (8, 1, true)] {
                t.stopped(
                    Inside,
                    &piece(bytes, offset, more).bytes(),
                    Reason::FragmentUnknown,
                );
            }
        },
    ),
    (
        "fragments of other protocols, of ICMP errors, with an ended time to live, from strangers",
        |t| {
            let piece = |protocol, offset| {
                let draft = Draft::new(Transport::Other(protocol), (ALICE.0, 0), (SERVER.0, 0));
                draft.with(|d| (d.payload, d.fragment_offset) = (vec![3; 64], offset))
            };
            t.stopped(Inside, &piece(47, 10).bytes(), Reason::UnsupportedGre);
            t.stopped(
                Inside,
                &piece(47, 0).with(|d| d.more_fragments = true).bytes(),
                Reason::UnsupportedGre,
            );
            t.stopped(
                Inside,
                &piece(1, 0).with(|d| d.more_fragments = true).bytes(),
                Reason::UnsupportedIcmp,
            );
            t.stopped(
                Inside,
                &piece(17, 10).with(|d| d.ttl = 1).bytes(),
                Reason::TtlExpired,
            );
            let stranger = piece(17, 10).with(|d| d.source.0 = subscriber::STRANGER);
            t.stopped(Inside, &stranger.bytes(), Reason::SpoofedSource);
            let spoofed = piece(17, 10)
                .with(|d| (d.source.0, d.destination.0) = ([127, 0, 0, 1].into(), POOL[0]));
            t.stopped(Outside, &spoofed.bytes(), Reason::BadSource);
        },
    ),
    (
        "a first fragment for another subscriber with the identification of a datagram on its way",
        |t| {
            let alice = t.outbound(Inside, &Draft::udp(ALICE, SERVER), hop::OUTSIDE);
            let bob = t.outbound(Inside, &Draft::udp(BOB, SERVER), hop::OUTSIDE);
            let to_alice = large(Draft::udp(SERVER, alice));
            t.fragments(
                Outside,
                &to_alice,
                to_alice.clone().with(|d| d.destination = ALICE),
                hop::INSIDE,
                DATA,
                &[0],
                &[1],
            );
            let to_bob = large(Draft::udp(SERVER, bob));
            t.stopped(
                Outside,
                &to_bob.fragments(DATA)[0],
                Reason::FragmentConflict,
            );
            t.fragments(
                Outside,
                &to_alice,
                to_alice.clone().with(|d| d.destination = ALICE),
                hop::INSIDE,
                DATA,
                &[2, 1],
                &[1],
            );
        },
    ),
    ("a datagram is forgotten after its time", |t| {
        let whole = large(Draft::udp(ALICE, SERVER));
        there(t, Inside, &whole, hop::OUTSIDE, &[0, 1]);
        t.pass(3);
        t.stopped(Inside, &whole.fragments(DATA)[2], Reason::FragmentUnknown);
        there(t, Inside, &whole, hop::OUTSIDE, &[0, 2]);
    }),
    (
        "a first fragment from outside without a mapping opens none, and its others are unknown",
        |t| {
            let stray = large(Draft::udp(SERVER, (POOL[0], 2000)));
            t.stopped(Outside, &stray.fragments(DATA)[0], Reason::NoMapping);
            t.stopped(Outside, &stray.fragments(DATA)[1], Reason::FragmentUnknown);
        },
    ),
    (
        "a first fragment of a subscriber without a block is punted for one",
        |t| {
            let whole = large(Draft::udp((subscriber::NO_BLOCK_YET, 1), SERVER));
            t.stopped(Inside, &whole.fragments(DATA)[0], Reason::FirstPacket);
        },
    ),
    (
        "too large for the next hop: to be fragmented where it may be, else dropped (RFC 4787 REQ-13)",
        |t| {
            let sized = |draft: Draft, may: bool| {
                draft.with(|d| {
                    d.payload = vec![7; 600];
                    d.dont_fragment = !may;
                })
            };
            let small = t.outbound(
                Inside,
                &Draft::udp((subscriber::SMALL, 1), SERVER),
                hop::OUTSIDE,
            );
            for (may, reason) in [(true, Reason::Oversize), (false, Reason::TooBig)] {
                let out = sized(Draft::udp(ALICE, (remote::SMALL, 53)), may);
                t.stopped(Inside, &out.bytes(), reason);
                t.stopped(
                    Outside,
                    &sized(Draft::udp(SERVER, small), may).bytes(),
                    reason,
                );
                t.stopped(
                    Inside,
                    &sized(Draft::udp(ALICE, small), may).bytes(),
                    reason,
                );
            }
        },
    ),
];

fn large(draft: Draft) -> Draft {
    let spare =
        (COUNT - 1) * DATA + 100 - (draft.clone().with(|d| d.payload = vec![]).ip_length() - 20);
    draft.with(|d| {
        d.payload = (0..spare).map(|at| (at * 7) as u8).collect();
        d.dont_fragment = false;
    })
}

fn each_protocol() -> Vec<Draft> {
    vec![
        large(Draft::udp(ALICE, SERVER)),
        large(Draft::tcp(flag::SYN, ALICE, SERVER)),
    ]
}

/// Fragments of a datagram from inside, in this order, the first one first.
fn there(t: &mut Trial, entry: Entry, whole: &Draft, hop: u16, order: &[usize]) -> Endpoint {
    let protocol = crate::harness::trial::protocol_of(whole);
    let external = match t.mapping(whole.source, protocol) {
        Some(mapping) => mapping.external,
        None => {
            // Its first fragment opens the mapping; what it becomes is looked at afterwards.
            let run = t.run(entry, &whole.fragments(DATA)[0]);
            assert!(matches!(run.ending, Ending::Sent { .. }), "{run:?}");
            t.mapping(whole.source, protocol)
                .expect("it was opened")
                .external
        }
    };
    let wanted = whole.clone().with(|d| d.source = external);
    t.fragments(entry, whole, wanted, hop, DATA, order, &[0]);
    external
}

/// The answer to it, fragmented.
fn back(t: &mut Trial, entry: Entry, whole: &Draft, external: Endpoint, hop: u16) {
    let answer = whole.answer(external);
    let wanted = answer.clone().with(|d| d.destination = whole.source);
    t.fragments(entry, &answer, wanted, hop, DATA, &[0, 1, 2], &[1]);
}
