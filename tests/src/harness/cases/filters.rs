//! What is not translated, and why: a case for every reason that a packet can cause.

use std::net::Ipv4Addr;

use cgn_common::verdict::Reason;
use cgn_user::dataplane::load::Entry::{Inside, Outside, Vlan};

use super::Case;
use crate::harness::trial::{Endpoint, Trial};
use crate::harness::world::{INSIDE_VLAN, NO_POOL, POOL, hop, remote, subscriber};
use crate::packets::{CUSTOMER_TAG, Draft, Transport, flag};

const CLIENT: Endpoint = (subscriber::PLAIN, 5000);
const SERVER: Endpoint = (remote::PLAIN, 443);

/// Reasons that no packet of this table can cause, and why not.
pub const UNREACHABLE: &[(Reason, &str)] = &[
    (
        Reason::NoHeadRoom,
        "a test run always has 256 bytes of head room; see `translator.rs`",
    ),
    (
        Reason::Contended,
        "needs another processor at the same moment; see `concurrency.rs`",
    ),
    (
        Reason::Forced,
        "only the programs of `debug.force_slow_path` say so, of every packet; see `Bpf::forced`",
    ),
    (
        Reason::LogUnavailable,
        "the engine counts it, not the translator",
    ),
    (
        Reason::NeighbourUnresolved,
        "needs many packets in one tick; see `prog_run.rs`",
    ),
    (
        Reason::RouteUnresolved,
        "needs many packets in one tick; see `prog_run.rs`",
    ),
    (
        Reason::PuntUndelivered,
        "XDP counts it when no socket listens; the BPF home checks it with each punt",
    ),
    (
        Reason::Hairpin,
        "needs a program that is missing; see `prog_run.rs`",
    ),
    (
        Reason::Fragment,
        "needs a program that is missing; see `prog_run.rs`",
    ),
    (
        Reason::FragmentAwaited,
        "XDP alone asks for the slow path; see `prog_run.rs`",
    ),
    (
        Reason::FragmentLimit,
        "needs many packets in one tick; see `prog_run.rs`",
    ),
    (
        Reason::FragmentExpired,
        "the engine counts it, not the translator",
    ),
    (Reason::Internal, "needs a table that contradicts itself"),
];

fn udp_to(destination: Ipv4Addr) -> Vec<u8> {
    Draft::udp(CLIENT, (destination, 53)).bytes()
}

fn udp_from(source: Ipv4Addr) -> Draft {
    Draft::udp((source, 5000), SERVER)
}

/// Protocols that are not translated, by their numbers at the IANA: those that subscribers ask
/// for are counted each by itself.
pub const OTHER_PROTOCOLS: &[(u8, Reason)] = &[
    (4, Reason::UnsupportedIpip),
    (33, Reason::UnsupportedDccp),
    (41, Reason::UnsupportedIpv6),
    (47, Reason::UnsupportedGre),
    (50, Reason::UnsupportedEsp),
    (51, Reason::UnsupportedAh),
    (132, Reason::UnsupportedSctp),
    (0, Reason::UnsupportedProtocol),
    (2, Reason::UnsupportedProtocol),
    (89, Reason::UnsupportedProtocol),
    (136, Reason::UnsupportedProtocol),
    (255, Reason::UnsupportedProtocol),
];

pub const CASES: &[Case] = &[
    (
        "ARP, IPv6, LLDP, PPPoE, an 802.3 length: the kernel's",
        |t| {
            let mut frame = udp_to(SERVER.0);
            for ethertype in [0x0806_u16, 0x86dd, 0x88cc, 0x8863, 0x8864, 0x0026, 0] {
                frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
                t.stopped(Inside, &frame, Reason::NotIpv4);
                t.stopped(Outside, &frame, Reason::NotIpv4);
            }
            let tagged =
                Draft::udp(CLIENT, SERVER).with(|d| d.tags = vec![(CUSTOMER_TAG, INSIDE_VLAN)]);
            let mut tagged = tagged.bytes();
            tagged[16..18].copy_from_slice(&[0x86, 0xdd]);
            t.stopped(Vlan, &tagged, Reason::NotIpv4);
        },
    ),
    (
        "multicast and limited broadcast: the kernel's, from both sides",
        |t| {
            for to in [[224, 0, 0, 5], [239, 255, 255, 250], [255, 255, 255, 255]] {
                let frame = udp_to(to.into());
                t.stopped(Inside, &frame, Reason::Multicast);
                t.stopped(Outside, &frame, Reason::Multicast);
            }
        },
    ),
    (
        "what no router may forward is dropped, though the kernel might",
        |t| {
            for to in [
                [0, 0, 0, 0],
                [0, 1, 2, 3],
                [127, 0, 0, 1],
                [127, 255, 255, 255],
                [169, 254, 1, 1],
                [240, 0, 0, 1],
                [255, 255, 255, 254],
            ] {
                let frame = udp_to(to.into());
                t.stopped(Inside, &frame, Reason::Martian);
                t.stopped(Outside, &frame, Reason::Martian);
            }
            let spoofed =
                udp_from(subscriber::STRANGER).with(|d| d.destination.0 = [127, 0, 0, 1].into());
            t.stopped(Inside, &spoofed.bytes(), Reason::SpoofedSource);
        },
    ),
    (
        "the router's own addresses: the kernel's, from both sides",
        |t| {
            for to in [
                remote::EXACT_LOCAL,
                remote::WIDE_LOCAL,
                remote::BROADCAST,
                remote::LINK_LOCAL,
            ] {
                let inside = Draft::tcp(flag::SYN, CLIENT, (to, 22));
                t.stopped(Inside, &inside.bytes(), Reason::Local);
                let outside = Draft::tcp(flag::SYN, SERVER, (to, 22));
                t.stopped(Outside, &outside.bytes(), Reason::Local);
            }
        },
    ),
    (
        "the router's own traffic is not held to what we translate",
        |t| {
            let to = |draft: Draft| {
                draft
                    .with(|d| d.destination.0 = remote::EXACT_LOCAL)
                    .bytes()
            };
            let ospf = Draft::new(Transport::Other(89), CLIENT, SERVER);
            t.stopped(Inside, &to(ospf), Reason::Local);
            let ping = Draft::ping(CLIENT, SERVER.0).with(|d| d.ttl = 1);
            t.stopped(Inside, &to(ping), Reason::Local);
            let fragment = Draft::udp(CLIENT, SERVER).with(|d| d.fragment_offset = 100);
            t.stopped(Inside, &to(fragment), Reason::Local);
            // Its own access network may use addresses that are no subscriber's.
            t.stopped(Inside, &to(udp_from(subscriber::STRANGER)), Reason::Local);
        },
    ),
    ("a source that is no subscriber's is spoofed", |t| {
        let sources = [
            subscriber::NOT_ONE,
            subscriber::STRANGER,
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::LOCALHOST,
            Ipv4Addr::BROADCAST,
            POOL[0],
            SERVER.0,
            Ipv4Addr::new(100, 64, 0, 16),
            Ipv4Addr::new(100, 63, 255, 255),
        ];
        for source in sources {
            t.stopped(Inside, &udp_from(source).bytes(), Reason::SpoofedSource);
        }
    }),
    (
        "a spoofed source is told before a missing route or a bad transport",
        |t| {
            let spoofed = udp_from(subscriber::STRANGER);
            let nowhere = spoofed
                .clone()
                .with(|d| d.destination.0 = remote::UNREACHABLE);
            t.stopped(Inside, &nowhere.bytes(), Reason::SpoofedSource);
            let other = Draft::new(Transport::Other(47), spoofed.source, SERVER);
            t.stopped(Inside, &other.bytes(), Reason::SpoofedSource);
        },
    ),
    (
        "from outside to an address that is neither a pool's nor ours",
        |t| {
            for to in [NO_POOL, SERVER.0, subscriber::PLAIN, subscriber::VLAN] {
                let frame = Draft::tcp(flag::SYN, SERVER, (to, 1024)).bytes();
                t.stopped(Outside, &frame, Reason::NotForUs);
            }
        },
    ),
    ("from outside, a source that no host has", |t| {
        for source in [
            [0, 0, 0, 0],
            [127, 0, 0, 1],
            [224, 0, 0, 1],
            [255, 255, 255, 255],
            [0, 1, 2, 3],
            [169, 254, 1, 1],
        ] {
            let frame = Draft::udp((source.into(), 53), (POOL[0], 1024)).bytes();
            t.stopped(Outside, &frame, Reason::BadSource);
        }
    }),
    (
        "from outside to a port without a mapping, a block without an owner, a port below 1024",
        |t| {
            for port in [0, 1, 1023, 1024, 1087, 1088, 30_000, 65_535] {
                for draft in [
                    Draft::tcp(flag::SYN, SERVER, (POOL[0], port)),
                    Draft::udp(SERVER, (POOL[0], port)),
                    Draft::pong(SERVER.0, (POOL[0], port)),
                ] {
                    t.stopped(Outside, &draft.bytes(), Reason::NoMapping);
                }
            }
        },
    ),
    (
        "no route, an unknown neighbour, a route out of another interface",
        |t| {
            for to in [remote::NO_ROUTE, remote::UNREACHABLE, remote::WIDE_NO_ROUTE] {
                t.stopped(Inside, &udp_to(to), Reason::NoRoute);
            }
            for to in [remote::NO_NEIGHBOUR, remote::LOST] {
                t.stopped(Inside, &udp_to(to), Reason::NoNeighbour);
            }
            // Nobody is asked for a neighbour on the side that the packet came from.
            t.stopped(Inside, &udp_to(remote::LOST_INSIDE), Reason::WrongSide);
            t.stopped(Inside, &udp_to(remote::UNKNOWN), Reason::RouteUnknown);
            for to in [remote::ELSEWHERE, remote::WIDE_ELSEWHERE] {
                t.stopped(Inside, &udp_to(to), Reason::WrongSide);
            }
        },
    ),
    (
        "an own address that is not in the tables yet is nobody's, not passed untranslated",
        |t| {
            t.stopped(Inside, &udp_to(remote::NEW_LOCAL), Reason::NoRoute);
            let outside = Draft::tcp(flag::SYN, SERVER, (remote::NEW_LOCAL, 22));
            t.stopped(Outside, &outside.bytes(), Reason::NotForUs);
        },
    ),
    (
        "a route that leads back to the same side, or to a next hop that is gone",
        |t| {
            t.stopped(Inside, &udp_to(subscriber::VLAN), Reason::WrongSide);
            t.stopped(Inside, &udp_to(remote::EMPTY_HOP), Reason::WrongSide);
            let misrouted = udp_from(subscriber::MISROUTED);
            let external = t.outbound(Inside, &misrouted, hop::OUTSIDE);
            t.stopped(
                Outside,
                &misrouted.answer(external).bytes(),
                Reason::WrongSide,
            );
        },
    ),
    ("a host route and the kernel's own answer are used", |t| {
        t.outbound(
            Inside,
            &Draft::udp(CLIENT, (remote::EXACT, 53)),
            hop::OUTSIDE,
        );
        t.outbound(
            Inside,
            &Draft::udp(CLIENT, (remote::KERNEL, 53)),
            hop::KERNEL,
        );
    }),
    (
        "larger than the next hop takes, in both directions; equal goes",
        too_big,
    ),
    ("protocols that have no ports we know", |t| {
        for (number, reason) in OTHER_PROTOCOLS {
            let draft = Draft::new(Transport::Other(*number), CLIENT, SERVER);
            t.stopped(Inside, &draft.bytes(), *reason);
            let empty = draft.clone().with(|d| d.payload = vec![]);
            t.stopped(Inside, &empty.bytes(), *reason);
            let inbound = draft.with(|d| (d.source.0, d.destination.0) = (SERVER.0, POOL[0]));
            t.stopped(Outside, &inbound.bytes(), *reason);
        }
    }),
    ("ICMP but echo from inside and its reply from outside", icmp),
    (
        "a subscriber without a block is punted, a refused one is not",
        |t| {
            for protocol in [Draft::udp, |a, b| Draft::tcp(flag::SYN, a, b)] {
                let first = protocol((subscriber::NO_BLOCK_YET, 1), SERVER);
                t.stopped(Inside, &first.bytes(), Reason::FirstPacket);
                let refused = protocol((subscriber::REFUSED, 1), SERVER);
                t.stopped(Inside, &refused.bytes(), Reason::NoBlock);
            }
        },
    ),
];

fn too_big(t: &mut Trial) {
    let sized = |draft: &Draft, bytes: usize| {
        let spare = bytes - draft.clone().with(|d| d.payload = vec![]).ip_length();
        draft.clone().with(|d| d.payload = vec![7; spare])
    };
    let small = Draft::udp(CLIENT, (remote::SMALL, 53));
    t.outbound(Inside, &sized(&small, 576), hop::OUTSIDE_SMALL);
    t.stopped(Inside, &sized(&small, 577).bytes(), Reason::TooBig);
    let plain = Draft::udp(CLIENT, SERVER);
    t.outbound(Inside, &sized(&plain, 1500), hop::OUTSIDE);
    t.stopped(Inside, &sized(&plain, 1501).bytes(), Reason::TooBig);
    let inside = (subscriber::SMALL, 1);
    let external = t.outbound(Inside, &Draft::udp(inside, SERVER), hop::OUTSIDE);
    let answer = Draft::udp(SERVER, external);
    t.inbound(Outside, &sized(&answer, 576), inside, hop::INSIDE_SMALL);
    t.stopped(Outside, &sized(&answer, 577).bytes(), Reason::TooBig);
    // A packet that is refused opens nothing.
    let fresh = Draft::udp((CLIENT.0, 6000), (remote::SMALL, 53));
    t.stopped(Inside, &sized(&fresh, 577).bytes(), Reason::TooBig);
    assert_eq!(
        t.mapping(fresh.source, cgn_common::verdict::Protocol::Udp),
        None
    );
}

fn icmp(t: &mut Trial) {
    let ping = Draft::ping(CLIENT, SERVER.0);
    let external = t.outbound(Inside, &ping, hop::OUTSIDE);
    let pong = ping.answer(external);
    // Source quench, redirect, the queries but echo, and what is none (REQ-10b, 10c, 11).
    for kind in [4_u8, 5, 8, 9, 10, 13, 14, 15, 16, 17, 18, 30, 200, 255] {
        let with_kind = |draft: &Draft| {
            let mut frame = draft.bytes();
            frame[14 + 20] = kind;
            frame
        };
        if kind != 8 {
            t.stopped(Inside, &with_kind(&ping), Reason::UnsupportedIcmp);
        }
        t.stopped(Outside, &with_kind(&pong), Reason::UnsupportedIcmp);
    }
    let reply_from_inside = Draft::pong(CLIENT.0, (SERVER.0, 1));
    t.stopped(Inside, &reply_from_inside.bytes(), Reason::UnsupportedIcmp);
    let request_from_outside = Draft::ping((SERVER.0, external.1), external.0);
    t.stopped(
        Outside,
        &request_from_outside.bytes(),
        Reason::UnsupportedIcmp,
    );
}
