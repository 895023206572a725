//! IPv6 goes by to the kernel, and prefixes of it that begin too much are limited, in the world of
//! [`world`].

use std::net::Ipv6Addr;

use cgn_common::ipv6::flows::GENERATION_SHIFT;
use cgn_common::layout::{self, Action, Constants, Features, Guards, Ports, Side};
use cgn_common::limits::ticks;
use cgn_common::verdict::{Direction, Reason};
use cgn_user::dataplane::load::Entry::{self, Inside, Outside, Vlan};
use cgn_user::policy::access::Rule;
use cgn_user::policy::throttle::Prefix;

use super::Case;
use crate::harness::trial::Trial;
use crate::harness::world::{INSIDE_VLAN, OUTSIDE_VLAN, REALM_QINQ, REALM_VLAN, World, remote};
use crate::packets::native::{self, Endpoint, echo, icmp, tcp, udp};
use crate::packets::{CUSTOMER_TAG, Draft, SERVICE_TAG, flag};

/// New sessions in a window of a /64 outside, of its /56, of its /48.
const OF_64: u16 = 8;
const OF_56: u16 = 12;
const OF_48: u16 = 14;
/// The same inside, of a /64 and its /56.
const OF_INSIDE_64: u16 = 10;
const OF_INSIDE_56: u16 = 15;
const LIMIT_SECS: u32 = 20;

/// A subscriber's host, and a server.
const HOME: Endpoint = (
    Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0x100, 0, 0, 0, 5),
    40_000,
);
const SERVER: Endpoint = (
    Ipv6Addr::new(0x2a00, 0x1450, 0x4001, 0x800, 0, 0, 0, 0x2004),
    443,
);
/// A network outside; one in its /56, one in its /48, and one elsewhere.
const NOISY: Ipv6Addr = Ipv6Addr::new(0x2a02, 0x100, 0x7, 0x1200, 0, 0, 0, 1);
const NEIGHBOUR: Ipv6Addr = Ipv6Addr::new(0x2a02, 0x100, 0x7, 0x12ff, 0, 0, 0, 1);
const COUSIN: Ipv6Addr = Ipv6Addr::new(0x2a02, 0x100, 0x7, 0x1300, 0, 0, 0, 1);
const STRANGER: Ipv6Addr = Ipv6Addr::new(0x2a02, 0x100, 0x8, 0x1200, 0, 0, 0, 1);

/// Prefixes of IPv6 are limited, and nothing else.
pub fn world() -> World {
    let mut constants = Constants::PLAIN;
    constants.features = Features(Features::THROTTLE_IPV6);
    let guards = &mut constants.guards.0;
    guards[Guards::newcomers_ipv6(Side::Outside, 0)] = OF_64.into();
    guards[Guards::newcomers_ipv6(Side::Outside, 1)] = OF_56.into();
    guards[Guards::newcomers_ipv6(Side::Outside, 2)] = OF_48.into();
    guards[Guards::newcomers_ipv6(Side::Inside, 0)] = OF_INSIDE_64.into();
    guards[Guards::newcomers_ipv6(Side::Inside, 1)] = OF_INSIDE_56.into();
    guards[Guards::LIMIT_TICKS] = ticks(LIMIT_SECS.into());
    World::with(constants, super::ROOM)
}

/// There are several realms, and a program with access lists is in front, of which none is for IPv6.
pub fn world_of_realms() -> World {
    let to = remote::OTHER.to_bits();
    world().with_realms().with_rules(&[Rule {
        name: String::new(),
        group: String::new(),
        direction: Direction::Outbound,
        action: Action::Deny,
        realm: layout::Rule::EVERY_REALM,
        source: Vec::new(),
        destination: vec![(to, to)],
        protocol: None,
        ports: Ports::ANY,
        most: 0,
    }])
}

/// Another host of the same network.
fn host(network: Ipv6Addr, number: u16) -> Ipv6Addr {
    Ipv6Addr::from_bits(network.to_bits() & !0xffff | u128::from(number))
}

fn passes(t: &mut Trial, entry: Entry, frame: &[u8]) {
    t.stopped(entry, frame, Reason::NotIpv4);
}

/// A SYN to the subscriber's host.
fn syn(source: Ipv6Addr, port: u16) -> Vec<u8> {
    tcp(flag::SYN, (source, port), HOME)
}

/// So many connections of a network's hosts are let in, and no more.
fn lets_in(t: &mut Trial, network: Ipv6Addr, first_port: u16, count: u16) {
    for port in first_port..first_port + count {
        passes(t, Outside, &syn(host(network, port), port));
    }
    let beyond = syn(network, first_port + count);
    t.stopped(Outside, &beyond, Reason::Throttled);
}

/// So many flows of one host inside are let out, and no more.
fn lets_out(t: &mut Trial, source: Ipv6Addr, first_port: u16, count: u16) {
    for port in first_port..first_port + count {
        passes(t, Inside, &udp((source, port), SERVER));
    }
    let beyond = udp((source, first_port + count), SERVER);
    t.stopped(Inside, &beyond, Reason::Throttled);
}

fn outside(first: Ipv6Addr, length: u8) -> Prefix {
    Prefix {
        is_inside: false,
        realm: 0,
        first: first.into(),
        length,
    }
}

/// The first address of a host's network.
fn network(host: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(host.to_bits() >> 64 << 64)
}

pub const CASES: &[Case] = &[
    (
        "a network outside may begin so much a second, whoever of its hosts does; it is named; its neighbours have \
         what is left of their /56, and what is left of their /48",
        |t| {
            t.align(2);
            lets_in(t, NOISY, 1000, OF_64);
            for port in 2000..2020 {
                t.stopped(Outside, &syn(host(NOISY, port), port), Reason::Throttled);
            }
            assert_eq!(t.limited(), [outside(network(NOISY), 64)]);
            lets_in(t, NEIGHBOUR, 1000, OF_56 - OF_64);
            lets_in(t, COUSIN, 1000, OF_48 - OF_56);
            lets_in(t, STRANGER, 1000, OF_64);
            let limited = t.limited();
            let first = |bits| Ipv6Addr::from_bits(bits);
            let of_noisy = NOISY.to_bits();
            for prefix in [
                outside(network(NOISY), 64),
                outside(first(of_noisy >> 72 << 72), 56),
                outside(first(of_noisy >> 80 << 80), 48),
                outside(network(STRANGER), 64),
            ] {
                assert!(limited.contains(&prefix), "{prefix} of {limited:?}");
            }
            assert_eq!(limited.len(), 4);
        },
    ),
    (
        "what a limited network has established goes on: segments of TCP, and flows that are known",
        |t| {
            t.align(2);
            let flow = |port| udp((NOISY, port), HOME);
            for port in 1..=OF_64 / 2 {
                passes(t, Outside, &flow(port));
            }
            lets_in(t, NOISY, 1000, OF_64 - OF_64 / 2);
            for _ in 0..3 {
                for port in 1..=OF_64 / 2 {
                    passes(t, Outside, &flow(port));
                }
                for flags in [flag::ACK, flag::SYN | flag::ACK, flag::RST] {
                    passes(t, Outside, &tcp(flags, (NOISY, 9999), HOME));
                }
            }
            let more = flow(100);
            t.stopped(Outside, &more, Reason::Throttled);
            t.stopped(Outside, &more, Reason::Throttled);
        },
    ),
    (
        "an answer is of the flow that it answers: neither a subscriber's nor a server's flow is begun twice",
        |t| {
            t.align(2);
            // Far more answers than the server's network may begin, and the other way round.
            for number in 0..2 * OF_64 {
                let inside = Ipv6Addr::from_bits(HOME.0.to_bits() + (u128::from(number) << 72));
                passes(t, Inside, &udp((inside, 5), SERVER));
                passes(t, Outside, &udp(SERVER, (inside, 5)));
                passes(t, Inside, &echo(true, inside, SERVER.0, 7));
                passes(t, Outside, &echo(false, SERVER.0, inside, 7));
                let outside = Ipv6Addr::from_bits(NOISY.to_bits() + (u128::from(number) << 80));
                passes(t, Outside, &udp((outside, 5), HOME));
                passes(t, Inside, &udp(HOME, (outside, 5)));
            }
            assert!(t.limited().is_empty());
        },
    ),
    (
        "a flow is known in its generation and the next, longer if it goes on, and then begins anew",
        |t| {
            let flow = udp((NOISY, 7), HOME);
            let silent = udp((NOISY, 8), HOME);
            let exhaust = |t: &mut Trial, port| {
                t.align(2);
                lets_in(t, NOISY, port, OF_64);
            };
            t.align(GENERATION_SHIFT);
            passes(t, Outside, &flow);
            passes(t, Outside, &silent);
            for turn in 0..3 {
                t.pass(60);
                t.align(GENERATION_SHIFT);
                exhaust(t, 1000 + 100 * turn);
                passes(t, Outside, &flow);
            }
            t.stopped(Outside, &silent, Reason::Throttled);
        },
    ),
    (
        "a limit gives way: half its time later half as many are let in, and all at the end",
        |t| {
            t.align(2);
            lets_in(t, NOISY, 1000, OF_64);
            t.pass(LIMIT_SECS / 2 + 1);
            t.align(2);
            lets_in(t, NOISY, 2000, OF_64 / 2);
            t.pass(LIMIT_SECS);
            t.align(2);
            lets_in(t, NOISY, 3000, OF_64);
            t.pass(LIMIT_SECS + 2);
            assert!(t.limited().is_empty());
        },
    ),
    (
        "a network inside may begin so many flows a second, of any protocol; its neighbour has the rest of the /56",
        |t| {
            t.align(2);
            passes(t, Inside, &tcp(flag::SYN, HOME, SERVER));
            passes(t, Inside, &echo(true, HOME.0, SERVER.0, 1));
            lets_out(t, HOME.0, 1, OF_INSIDE_64 - 2);
            t.stopped(Inside, &tcp(flag::SYN, HOME, SERVER), Reason::Throttled);
            t.stopped(Inside, &echo(true, HOME.0, SERVER.0, 2), Reason::Throttled);
            passes(t, Inside, &tcp(flag::ACK, HOME, SERVER));
            passes(t, Inside, &udp((HOME.0, 1), SERVER));
            let neighbour = Ipv6Addr::from_bits(HOME.0.to_bits() | 1 << 64);
            lets_out(t, neighbour, 1, OF_INSIDE_56 - OF_INSIDE_64);
            let other = Ipv6Addr::from_bits(HOME.0.to_bits() ^ 1 << 72);
            lets_out(t, other, 1, OF_INSIDE_64);
            // Whom they send to has begun nothing.
            lets_in(t, network(SERVER.0), 1000, OF_64);
        },
    ),
    (
        "behind extension headers, and in a first fragment, a packet is what it is",
        |t| {
            t.align(2);
            lets_in(t, NOISY, 1000, OF_64);
            let syn = || syn(NOISY, 2000);
            let options = vec![0, 0, 1, 4, 0, 0, 0, 0];
            for (number, header) in [
                (0, options.clone()),
                (60, options.clone()),
                (43, [options.clone(), vec![0; 16]].concat()),
                (44, vec![0, 0, 0, 1, 9, 9, 9, 9]),
            ] {
                let mut header = header;
                if number == 43 {
                    header[1] = 2;
                }
                let frame = native::with_extension(syn(), number, header);
                t.stopped(Outside, &frame, Reason::Throttled);
            }
            let both = native::with_extension(syn(), 44, vec![0, 0, 0, 0, 9, 9, 9, 9]);
            let both = native::with_extension(both, 0, options);
            t.stopped(Outside, &both, Reason::Throttled);
        },
    ),
    (
        "neighbour discovery, groups, what stays on the link, errors, answers, later fragments and what is no \
         IPv6 are never counted nor refused",
        |t| {
            let (own, all) = (
                Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9),
                Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
            );
            let later = native::with_extension(syn(NOISY, 3), 44, vec![0, 0, 0, 9, 9, 9, 9, 9]);
            let mut other_version = syn(NOISY, 4);
            other_version[14] = 0x40;
            let mut cut = syn(NOISY, 5);
            cut.truncate(60);
            let frames = [
                icmp(135, NOISY, HOME.0),
                icmp(136, NOISY, HOME.0),
                icmp(2, NOISY, HOME.0),
                echo(false, NOISY, HOME.0, 3),
                udp((NOISY, 1), (all, 2)),
                udp((own, 1), HOME),
                udp((Ipv6Addr::UNSPECIFIED, 1), HOME),
                udp((NOISY, 1), (own, 2)),
                later,
                other_version,
                cut,
            ];
            t.align(2);
            for _ in 0..2 * OF_64 {
                for frame in &frames {
                    passes(t, Outside, frame);
                }
            }
            lets_in(t, NOISY, 1000, OF_64);
            for frame in &frames {
                passes(t, Outside, frame);
            }
            let mut arp = Draft::udp((remote::PLAIN, 1), (remote::OTHER, 2)).bytes();
            arp[12..14].copy_from_slice(&[8, 6]);
            passes(t, Outside, &arp);
        },
    ),
    (
        "on VLANs, each side counts its own, and other VLANs are the kernel's",
        |t| {
            let on = |vlan, frame| native::tagged(frame, &[(CUSTOMER_TAG, vlan)]);
            t.align(2);
            for port in 0..OF_64 {
                passes(t, Vlan, &on(OUTSIDE_VLAN, syn(NOISY, port)));
            }
            let beyond = syn(NOISY, 100);
            t.stopped(Vlan, &on(OUTSIDE_VLAN, beyond.clone()), Reason::Throttled);
            t.stopped(Vlan, &on(999, beyond.clone()), Reason::OtherVlan);
            for port in 0..OF_INSIDE_64 {
                passes(t, Vlan, &on(INSIDE_VLAN, udp((HOME.0, port), SERVER)));
            }
            let beyond = udp((HOME.0, 100), SERVER);
            t.stopped(Vlan, &on(INSIDE_VLAN, beyond), Reason::Throttled);
        },
    ),
];

pub const REALMS: &[Case] = &[(
    "inside, each realm's prefixes are its own, and what is dropped is counted for it",
    |t| {
        let tags: [(u8, &[(u16, u16)]); 3] = [
            (0, &[(CUSTOMER_TAG, INSIDE_VLAN)]),
            (1, &[(CUSTOMER_TAG, REALM_VLAN)]),
            (
                2,
                &[(SERVICE_TAG, REALM_QINQ[0]), (CUSTOMER_TAG, REALM_QINQ[1])],
            ),
        ];
        t.align(2);
        for (realm, tags) in tags {
            t.comes_to(&format!("realm {realm}"));
            let sends = |port: u16| {
                let to = (host(SERVER.0, realm.into()), 443);
                native::tagged(udp((HOME.0, port), to), tags)
            };
            for port in 0..OF_INSIDE_64 {
                passes(t, Vlan, &sends(port));
            }
            t.stopped_of(Vlan, &sends(100), Reason::Throttled, Some(realm));
        }
        let each = [0, 1, 2].map(|realm| Prefix {
            is_inside: true,
            realm,
            first: network(HOME.0).into(),
            length: 64,
        });
        assert_eq!(t.limited(), each);
    },
)];
