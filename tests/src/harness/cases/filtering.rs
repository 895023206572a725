//! Filtering by remote endpoint (RFC 4787 REQ-8, RFC 5382 REQ-3), and segments
//! in mid-stream where they are to be dropped.

use std::net::Ipv4Addr;

use cgn_common::layout::{Session, SessionKey, SlotState};
use cgn_common::verdict::{Protocol, Reason};
use cgn_user::dataplane::load::Entry::{Inside, Outside};
use cgn_user::realms::InsideKey;

use super::{Case, ROOM};
use crate::harness::trial::{Endpoint, Trial};
use crate::harness::world::{hop, remote, subscriber};
use crate::packets::{Draft, flag};

/// UDP by address, TCP by address and port.
const SMALL: Endpoint = (subscriber::PLAIN, 5000);
/// UDP by address and port, TCP by address.
const LARGE: Endpoint = (subscriber::LARGE, 5000);
const SERVER: Endpoint = (remote::PLAIN, 443);
const OTHER: Endpoint = (remote::OTHER, 80);
const HERE: u16 = hop::OUTSIDE;

type Make = fn(Endpoint, Endpoint) -> Draft;
const UDP: Make = Draft::udp;
const SYN: Make = |from, to| Draft::tcp(flag::SYN, from, to);

pub const CASES: &[Case] = &[
    (
        "by address: an address that was sent to may answer from any port, no other may",
        |t| {
            for (inside, make) in [(SMALL, UDP), (LARGE, SYN)] {
                let external = t.outbound(Inside, &make(inside, SERVER), HERE);
                admitted(t, make, (SERVER.0, 444), external, inside);
                refused(t, make, OTHER, external);
                t.outbound(Inside, &make(inside, OTHER), HERE);
                admitted(t, make, OTHER, external, inside);
                admitted(t, make, (OTHER.0, 7), external, inside);
                admitted(t, make, SERVER, external, inside);
                refused(t, make, (remote::VLAN, 80), external);
            }
        },
    ),
    (
        "by address and port: only an endpoint that was sent to may answer",
        |t| {
            for (inside, make) in [(LARGE, UDP), (SMALL, SYN)] {
                let external = t.outbound(Inside, &make(inside, SERVER), HERE);
                let second = (SERVER.0, 444);
                admitted(t, make, SERVER, external, inside);
                refused(t, make, second, external);
                refused(t, make, OTHER, external);
                t.outbound(Inside, &make(inside, second), HERE);
                admitted(t, make, second, external, inside);
                admitted(t, make, SERVER, external, inside);
                refused(t, make, (SERVER.0, 445), external);
            }
        },
    ),
    ("echo replies are filtered by address in any case", |t| {
        for inside in [SMALL, LARGE] {
            let external = t.outbound(Inside, &Draft::ping(inside, SERVER.0), HERE);
            let reply = |from| Draft::pong(from, external);
            t.inbound(Outside, &reply(SERVER.0), inside, hop::INSIDE);
            t.stopped(Outside, &reply(OTHER.0).bytes(), Reason::Filtered);
            t.outbound(Inside, &Draft::ping(inside, OTHER.0), HERE);
            t.inbound(Outside, &reply(OTHER.0), inside, hop::INSIDE);
        }
    }),
    (
        "one protocol's mapping lets nothing of another in (RFC 7857 section 6)",
        |t| {
            let external = t.outbound(Inside, &SYN(SMALL, SERVER), HERE);
            let datagram = UDP(SERVER, external).bytes();
            t.stopped(Outside, &datagram, Reason::NoMapping);
        },
    ),
    ("what is refused changes no state", |t| {
        let external = t.outbound(Inside, &SYN(SMALL, SERVER), HERE);
        for flags in [flag::RST, flag::SYN | flag::ACK, flag::FIN, flag::ACK] {
            let blind = Draft::tcp(flags, (SERVER.0, 444), external).bytes();
            t.stopped(Outside, &blind, Reason::Filtered);
            assert_eq!(t.state(SMALL), SlotState::TcpInit);
        }
        assert_eq!(t.sessions(), []);
    }),
    (
        "a full table refuses new endpoints only, and evicts none (RFC 6888 REQ-11)",
        |t| {
            let to = |port| (SERVER.0, port);
            let external = t.outbound(Inside, &SYN(SMALL, to(1)), HERE);
            let last = 1 + ROOM as u16;
            for port in 2..=last {
                t.outbound(Inside, &SYN(SMALL, to(port)), HERE);
            }
            let beyond = SYN(SMALL, to(last + 1)).bytes();
            t.stopped(Inside, &beyond, Reason::SessionsFull);
            refused(t, SYN, to(last + 1), external);
            for port in 1..=last {
                admitted(t, SYN, to(port), external, SMALL);
                t.outbound(Inside, &SYN(SMALL, to(port)), HERE);
            }
            // A mapping's first session needs no room.
            t.outbound(Inside, &UDP(SMALL, SERVER), HERE);
            t.outbound(Inside, &SYN((SMALL.0, 5001), to(last + 1)), HERE);
        },
    ),
    (
        "a reset to a stranger lets nobody in, and keeps nothing alive (RFC 7857 section 7.1)",
        |t| {
            let external = t.outbound(Inside, &SYN(SMALL, SERVER), HERE);
            t.outbound(Inside, &Draft::tcp(flag::RST, SMALL, OTHER), HERE);
            assert_eq!(t.sessions(), []);
            refused(t, SYN, OTHER, external);
            assert!(!t.mapping(SMALL, Protocol::Tcp).expect("it is there").shared);
        },
    ),
    (
        "a hairpinned packet is filtered by its sender's external endpoint",
        |t| {
            let (alice, bob) = (SMALL, (subscriber::TWO_BLOCKS, 6000));
            for make in [UDP, SYN] {
                let at_alice = t.outbound(Inside, &make(alice, SERVER), HERE);
                let at_bob = t.outbound(Inside, &make(bob, SERVER), HERE);
                let uncalled = make(bob, at_alice);
                t.stopped(Inside, &uncalled.bytes(), Reason::Filtered);
                // But bob has sent to her now.
                t.hairpin(Inside, &make(alice, at_bob), bob, hop::INSIDE);
                t.hairpin(Inside, &uncalled, alice, hop::INSIDE);
            }
        },
    ),
    (
        "a hairpinned packet that nobody could answer opens no mapping of its sender",
        |t| {
            let (alice, bob) = (SMALL, (subscriber::TWO_BLOCKS, 6000));
            for (make, protocol) in [(UDP, Protocol::Udp), (SYN, Protocol::Tcp)] {
                let at_alice = t.outbound(Inside, &make(alice, SERVER), HERE);
                let uncalled = make(bob, at_alice).bytes();
                t.stopped(Inside, &uncalled, Reason::Filtered);
                assert_eq!(t.mapping(bob, protocol), None);
                // Who has a mapping can be answered: his packet lets the answer in.
                let at_bob = t.outbound(Inside, &make(bob, SERVER), HERE);
                t.stopped(Inside, &uncalled, Reason::Filtered);
                t.hairpin(Inside, &make(alice, at_bob), bob, hop::INSIDE);
            }
            let query = t.outbound(Inside, &Draft::ping(alice, SERVER.0), HERE);
            let ping = Draft::ping((bob.0, query.1), query.0).bytes();
            t.stopped(Inside, &ping, Reason::Filtered);
            assert_eq!(t.mapping((bob.0, query.1), Protocol::Icmp), None);
        },
    ),
    (
        "by address: who has sent to the sender's address lets a new mapping of it in",
        |t| {
            let (alice, bob) = (SMALL, (subscriber::TWO_BLOCKS, 6000));
            let at_alice = t.outbound(Inside, &UDP(alice, SERVER), HERE);
            let at_bob = t.outbound(Inside, &UDP((bob.0, 1), SERVER), HERE);
            t.stopped(Inside, &UDP(alice, at_bob).bytes(), Reason::Filtered);
            assert_eq!(t.mapping(bob, Protocol::Udp), None);
            t.hairpin(Inside, &UDP(bob, at_alice), alice, hop::INSIDE);
        },
    ),
    (
        "by address and port: an address that was noted by itself, before a reload, lets no new mapping in",
        |t| {
            let (alice, bob) = (SMALL, (subscriber::TWO_BLOCKS, 6000));
            let at_alice = t.outbound(Inside, &SYN(alice, SERVER), HERE);
            let (address, _) = t.outbound(Inside, &UDP((bob.0, 1), SERVER), HERE);
            note_address(t, alice, at_alice.1, address);
            t.stopped(Inside, &SYN(bob, at_alice).bytes(), Reason::Filtered);
            assert_eq!(t.mapping(bob, Protocol::Tcp), None);
        },
    ),
    (
        "a segment in mid-stream of an unknown flow is dropped where it is to be",
        |t| {
            for flags in [
                0,
                flag::ACK,
                flag::FIN | flag::ACK,
                flag::SYN | flag::ACK,
                flag::RST,
            ] {
                let reason = match flags {
                    flag::RST => Reason::StrayReset,
                    _ => Reason::MidStream,
                };
                for inside in [SMALL.0, subscriber::SIX_BLOCKS, subscriber::NO_BLOCK_YET] {
                    let segment = Draft::tcp(flags, (inside, 5000), SERVER);
                    t.stopped(Inside, &segment.bytes(), reason);
                }
            }
        },
    ),
    (
        "in every block of a subscriber, segments of known flows go on",
        |t| {
            for port in 0..300 {
                let inside = (subscriber::SIX_BLOCKS, port);
                let first = t.outbound(Inside, &SYN(inside, SERVER), HERE);
                let next = Draft::tcp(flag::ACK, inside, SERVER);
                assert_eq!(t.outbound(Inside, &next, HERE), first);
            }
        },
    ),
];

/// As if a TCP mapping's filter had been by address when it sent to `remote`.
fn note_address(t: &Trial, inside: Endpoint, external_port: u16, remote: Ipv4Addr) {
    let inside = (InsideKey::from(inside.0).to_bits(), inside.1);
    let key = SessionKey::new(Protocol::Tcp, inside, remote.to_bits(), 0);
    for home in &t.homes {
        let noted = Session::new(external_port, SlotState::Open, home.tick());
        assert!(home.memory().sessions.enter(&key, noted.0));
    }
}

fn admitted(t: &mut Trial, make: Make, from: Endpoint, external: Endpoint, inside: Endpoint) {
    t.inbound(Outside, &make(from, external), inside, hop::INSIDE);
}

fn refused(t: &mut Trial, make: Make, from: Endpoint, external: Endpoint) {
    t.stopped(Outside, &make(from, external).bytes(), Reason::Filtered);
}
