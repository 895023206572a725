//! Mappings: endpoint independence, blocks, states.

use std::collections::BTreeSet;

use cgn_common::layout::SlotState;
use cgn_common::verdict::{Protocol, Reason};
use cgn_user::dataplane::load::Entry::{Inside, Outside};

use super::Case;
use crate::harness::slots;
use crate::harness::trial::{Endpoint, Trial};
use crate::harness::world::{POOL, hop, remote, subscriber};
use crate::packets::{Draft, flag};

const CLIENT: Endpoint = (subscriber::PLAIN, 5000);
const SERVER: Endpoint = (remote::PLAIN, 443);
const OTHER: Endpoint = (remote::OTHER, 80);
const HERE: u16 = hop::OUTSIDE;

pub const CASES: &[Case] = &[
    (
        "one inside port has one external port, whatever the destination (RFC 4787 REQ-1)",
        |t| {
            for draft in [
                Draft::udp as fn(Endpoint, Endpoint) -> Draft,
                |a, b| Draft::tcp(flag::SYN, a, b),
                |a, b| Draft::ping(a, b.0),
            ] {
                let first = t.outbound(Inside, &draft(CLIENT, SERVER), HERE);
                for port in [1, 443, 65_535] {
                    let again = t.outbound(Inside, &draft(CLIENT, (OTHER.0, port)), HERE);
                    assert_eq!(again, first);
                }
            }
        },
    ),
    (
        "anyone outside may answer (RFC 4787 REQ-8, endpoint-independent filtering)",
        |t| {
            for draft in [
                Draft::udp(CLIENT, SERVER),
                Draft::tcp(flag::SYN, CLIENT, SERVER),
            ] {
                let external = t.outbound(Inside, &draft, HERE);
                let stranger = draft
                    .answer(external)
                    .with(|d| d.source = (remote::QINQ, 7));
                t.inbound(Outside, &stranger, CLIENT, hop::INSIDE);
            }
        },
    ),
    (
        "all mappings of a subscriber have one external address (RFC 4787 REQ-2)",
        |t| {
            let mut ports = BTreeSet::new();
            for port in 0..128 {
                let inside = (subscriber::TWO_BLOCKS, port);
                let external = t.outbound(Inside, &Draft::udp(inside, SERVER), HERE);
                assert_eq!(external.0, POOL[0]);
                assert!(ports.insert(external.1), "{external:?} is given twice");
            }
        },
    ),
    (
        "two subscribers with the same inside port have different ports",
        |t| {
            let a = t.outbound(Inside, &Draft::udp(CLIENT, SERVER), HERE);
            let inside = (subscriber::TWO_BLOCKS, CLIENT.1);
            let b = t.outbound(Inside, &Draft::udp(inside, SERVER), HERE);
            assert_ne!(a, b);
        },
    ),
    (
        "all 64 ports of one block are usable, then the next block is asked for",
        |t| {
            fill(t, subscriber::PLAIN, 64, Reason::BlockFull);
        },
    ),
    (
        "all 384 ports of six blocks are usable, then there are none",
        |t| {
            fill(t, subscriber::SIX_BLOCKS, 384, Reason::NoPort);
        },
    ),
    (
        "a full block still serves its flows, in both directions",
        |t| {
            for port in 0..64 {
                t.outbound(Inside, &Draft::udp((CLIENT.0, port), SERVER), HERE);
            }
            for port in (0..64).rev() {
                let draft = Draft::udp((CLIENT.0, port), OTHER);
                t.round_trip(&draft, (HERE, hop::INSIDE));
            }
        },
    ),
    (
        "a TCP connection's states are seen in its slot (RFC 7857 section 2)",
        tcp_states,
    ),
    (
        "a connection in mid-stream opens a transitory mapping",
        |t| {
            for (flags, port) in [
                (flag::ACK, 1),
                (flag::SYN | flag::ACK, 2),
                (flag::FIN | flag::ACK, 3),
                (0, 4),
            ] {
                let inside = (CLIENT.0, port);
                t.outbound(Inside, &Draft::tcp(flags, inside, SERVER), HERE);
                assert_eq!(t.state(inside), SlotState::TcpTransitory, "{flags:#x}");
            }
        },
    ),
    (
        "a reset of a connection that is not there opens nothing, with a block or without",
        |t| {
            for flags in [flag::RST, flag::RST | flag::ACK, flag::RST | flag::SYN] {
                for inside in [CLIENT.0, subscriber::NO_BLOCK_YET, subscriber::SIX_BLOCKS] {
                    let reset = Draft::tcp(flags, (inside, 5000), SERVER);
                    t.stopped(Inside, &reset.bytes(), Reason::StrayReset);
                }
            }
        },
    ),
    ("both sides open at the same time (RFC 5382 REQ-2a)", |t| {
        let external = t.outbound(Inside, &Draft::tcp(flag::SYN, CLIENT, SERVER), HERE);
        let inward = |flags| Draft::tcp(flags, SERVER, external);
        t.inbound(Outside, &inward(flag::SYN), CLIENT, hop::INSIDE);
        assert_eq!(t.state(CLIENT), SlotState::TcpEstablished);
        let answer = flag::SYN | flag::ACK;
        t.outbound(Inside, &Draft::tcp(answer, CLIENT, SERVER), HERE);
        t.inbound(Outside, &inward(answer), CLIENT, hop::INSIDE);
        t.outbound(Inside, &Draft::tcp(flag::ACK, CLIENT, SERVER), HERE);
        assert_eq!(t.state(CLIENT), SlotState::TcpEstablished);
    }),
    (
        "a second remote endpoint makes the mapping shared, and its state stays",
        |t| {
            let syn = Draft::tcp(flag::SYN, CLIENT, SERVER);
            let external = t.outbound(Inside, &syn, HERE);
            t.outbound(Inside, &Draft::tcp(flag::SYN, CLIENT, OTHER), HERE);
            assert!(
                t.mapping(CLIENT, Protocol::Tcp)
                    .expect("it is there")
                    .shared
            );
            let reset = Draft::tcp(flag::RST, OTHER, external);
            t.inbound(Outside, &reset, CLIENT, hop::INSIDE);
            assert_eq!(t.state(CLIENT), SlotState::TcpInit);
        },
    ),
    ("a stranger's segment from outside changes no state", |t| {
        let external = t.outbound(Inside, &Draft::tcp(flag::SYN, CLIENT, SERVER), HERE);
        for flags in [flag::RST, flag::FIN, flag::SYN | flag::ACK] {
            let blind = Draft::tcp(flags, OTHER, external);
            t.inbound(Outside, &blind, CLIENT, hop::INSIDE);
            assert_eq!(t.state(CLIENT), SlotState::TcpInit, "{flags:#x}");
        }
    }),
];

/// Fills every port of a subscriber's blocks, for each protocol; then the next
/// packet has this reason and the old flows go on.
fn fill(t: &mut Trial, inside: std::net::Ipv4Addr, ports: u16, reason: Reason) {
    for draft in [
        Draft::udp as fn(Endpoint, Endpoint) -> Draft,
        |a, b| Draft::tcp(flag::SYN, a, b),
        |a, b| Draft::ping(a, b.0),
    ] {
        let mut given = BTreeSet::new();
        for port in 0..ports {
            let external = t.outbound(Inside, &draft((inside, port), SERVER), HERE);
            assert!(given.insert(external), "{external:?} is given twice");
        }
        for port in [ports, 40_000] {
            t.stopped(Inside, &draft((inside, port), SERVER).bytes(), reason);
        }
        t.outbound(Inside, &draft((inside, ports / 2), OTHER), HERE);
    }
    for home in &t.homes {
        for protocol in Protocol::ALL {
            let used = slots(home.memory(), &t.world, inside, protocol);
            assert_eq!(
                used.len(),
                usize::from(ports),
                "{} {protocol:?}",
                home.name()
            );
        }
    }
}

fn tcp_states(t: &mut Trial) {
    let out = |flags| Draft::tcp(flags, CLIENT, SERVER);
    let external = t.outbound(Inside, &out(flag::SYN), HERE);
    assert_eq!(t.state(CLIENT), SlotState::TcpInit);
    let inward = |flags| Draft::tcp(flags, SERVER, external);
    let steps = [
        (false, flag::ACK, SlotState::TcpInit),
        (false, flag::SYN | flag::ACK, SlotState::TcpEstablished),
        (true, flag::ACK, SlotState::TcpEstablished),
        (true, flag::FIN | flag::ACK, SlotState::TcpInsideFin),
        (false, flag::ACK, SlotState::TcpInsideFin),
        (false, flag::FIN | flag::ACK, SlotState::TcpClosing),
        (true, flag::ACK, SlotState::TcpClosing),
        // The port is used again for the next connection.
        (true, flag::SYN, SlotState::TcpInit),
        (false, flag::SYN | flag::ACK, SlotState::TcpEstablished),
        (false, flag::FIN, SlotState::TcpOutsideFin),
        (false, flag::RST, SlotState::TcpTransitory),
        (true, flag::ACK, SlotState::TcpEstablished),
        // Late copies after both FINs open nothing.
        (true, flag::FIN, SlotState::TcpInsideFin),
        (false, flag::FIN, SlotState::TcpClosing),
        (true, flag::RST, SlotState::TcpClosing),
        (true, flag::ACK, SlotState::TcpClosing),
    ];
    for (number, (outbound, flags, state)) in steps.into_iter().enumerate() {
        if outbound {
            assert_eq!(t.outbound(Inside, &out(flags), HERE), external);
        } else {
            t.inbound(Outside, &inward(flags), CLIENT, hop::INSIDE);
        }
        assert_eq!(t.state(CLIENT), state, "step {number}, flags {flags:#x}");
    }
}
