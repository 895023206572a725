//! Tunnels that may pass: Teredo in UDP, where a rule looks into it, and IPv6 in IPv4 that a rule bypasses, with
//! the provider's 6rd.

use std::net::{Ipv4Addr, Ipv6Addr};

use cgn_common::layout::{Action, Constants, Ports, SixRd};
use cgn_common::verdict::{Direction, Reason};
use cgn_user::dataplane::load::Entry::{Inside, Outside};
use cgn_user::policy::access::Rule;

use super::Case;
use super::tunnels::{ipv6, tunnelled};
use crate::harness::trial::{Endpoint, Trial};
use crate::harness::world::{World, hop, remote, subscriber};
use crate::packets::Draft;

const TEREDO: u16 = 3544;
const CLIENT: Endpoint = (subscriber::PLAIN, 5000);
/// A server of Teredo, and another client, who is outside.
const SERVER: Endpoint = (remote::PLAIN, TEREDO);
const PEER: Endpoint = (remote::OTHER, 40_000);
const NATIVE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The relay of 6rd, and a customer of its prefix 2001:db8::/32 with 100.64.0.0/10 left out.
const RELAY: Ipv4Addr = Ipv4Addr::new(8, 8, 7, 7);
const SIX_RD: SixRd = SixRd::new(0x2001_0db8_0000_0000, 32, 0x6440_0000, 10);

/// Rules of both directions look into UDP from and to the port of Teredo and that of the peer; what is of
/// protocol 41 bypasses.
pub fn world() -> World {
    let rule = |action, direction, protocol, ports| Rule {
        name: String::new(),
        direction,
        action,
        source: Vec::new(),
        destination: Vec::new(),
        protocol: Some(protocol),
        ports,
        most: 0,
        group: String::new(),
        realm: 0,
    };
    let any = (0, u16::MAX);
    let inspect = |direction, ports| rule(Action::Inspect, direction, 17, ports);
    let relay = vec![(RELAY.to_bits(), RELAY.to_bits())];
    let rules = [
        inspect(Direction::Outbound, Ports::new(any, (TEREDO, TEREDO))),
        inspect(Direction::Outbound, Ports::new(any, (PEER.1, PEER.1))),
        inspect(Direction::Inbound, Ports::new((TEREDO, TEREDO), any)),
        inspect(Direction::Inbound, Ports::new((PEER.1, PEER.1), any)),
        Rule {
            destination: relay,
            ..rule(Action::Bypass, Direction::Outbound, 41, Ports::ANY)
        },
    ];
    let constants = Constants {
        six_rd: SIX_RD,
        ..Constants::PLAIN
    };
    World::with(constants, super::ROOM).with_rules(&rules)
}

/// 2001:0:SERVER:flags:port:CLIENT, port and client inverted (RFC 4380 section 4).
fn teredo(server: Ipv4Addr, (client, port): Endpoint) -> Ipv6Addr {
    let halves = |bits: u32| ((bits >> 16) as u16, bits as u16);
    let (a, b) = halves(server.to_bits());
    let (c, d) = halves(!client.to_bits());
    Ipv6Addr::new(0x2001, 0, a, b, 0x8000, !port, c, d)
}

/// 2001:db8:V4::1, of which the first 10 bits are left out.
fn six_rd(address: Ipv4Addr) -> Ipv6Addr {
    let rest = u128::from(address.to_bits() << 10);
    Ipv6Addr::from_bits(0x2001_0db8 << 96 | rest << 64 | 1)
}

fn in_udp(from: Endpoint, to: Endpoint, source: Ipv6Addr, destination: Ipv6Addr) -> Draft {
    Draft::udp(from, to).with(|d| d.payload = ipv6(source, destination))
}

/// The client's external endpoint, as its server has seen it.
fn qualified(t: &mut Trial) -> Endpoint {
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
    t.outbound(
        Inside,
        &in_udp(CLIENT, SERVER, link_local, routers),
        hop::OUTSIDE,
    )
}

pub const CASES: &[Case] = &[
    ("Teredo with its own addresses passes, both ways", |t| {
        let external = qualified(t);
        let own = teredo(SERVER.0, external);
        let peer = teredo(SERVER.0, PEER);
        // To the server, for a peer; to the peer; to a relay, for a native host.
        for (to, destination) in [(SERVER, peer), (PEER, peer), (PEER, NATIVE)] {
            t.outbound(Inside, &in_udp(CLIENT, to, own, destination), hop::OUTSIDE);
        }
        // From the peer by the server and directly, and from a relay.
        for (from, source) in [(SERVER, peer), (PEER, peer), (PEER, NATIVE)] {
            t.inbound(
                Outside,
                &in_udp(from, external, source, own),
                CLIENT,
                hop::INSIDE,
            );
        }
    }),
    ("with an address of another it does not", |t| {
        let external = qualified(t);
        let own = teredo(SERVER.0, external);
        let other = teredo(SERVER.0, (Ipv4Addr::new(9, 9, 9, 9), 7));
        let forged = [
            (Inside, in_udp(CLIENT, PEER, other, NATIVE)),
            (Inside, in_udp(CLIENT, PEER, own, other)),
            (Outside, in_udp(PEER, external, other, own)),
            (Outside, in_udp(PEER, external, NATIVE, other)),
        ];
        for (entry, draft) in forged {
            t.stopped(entry, &draft.bytes(), Reason::TunnelForged);
        }
    }),
    ("with a private or reserved address in it neither", |t| {
        let external = qualified(t);
        let own = teredo(SERVER.0, external);
        for address in [
            [10, 0, 0, 1],
            [127, 0, 0, 1],
            [224, 0, 0, 1],
            [100, 64, 0, 1],
        ] {
            let address = Ipv4Addr::from(address);
            for forged in [teredo(address, PEER), teredo(SERVER.0, (address, 7))] {
                let draft = in_udp(CLIENT, SERVER, own, forged);
                t.stopped(Inside, &draft.bytes(), Reason::TunnelForged);
            }
        }
    }),
    ("indications in front of it are skipped", |t| {
        let external = qualified(t);
        let own = teredo(SERVER.0, external);
        let other = teredo(PEER.0, (Ipv4Addr::new(9, 9, 9, 9), 7));
        let origin = vec![0, 0, 1, 2, 3, 4, 5, 6];
        let authentication = vec![0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0];
        let both = [authentication.clone(), origin.clone()].concat();
        for front in [origin, authentication, both] {
            let draft = |source| {
                let inner = in_udp(SERVER, external, source, own);
                inner.with(|d| d.payload = [front.clone(), d.payload.clone()].concat())
            };
            t.inbound(Outside, &draft(teredo(SERVER.0, PEER)), CLIENT, hop::INSIDE);
            t.stopped(Outside, &draft(other).bytes(), Reason::TunnelForged);
        }
    }),
    ("what is no IPv6 is translated as it is", |t| {
        let short = Draft::udp(CLIENT, SERVER).with(|d| d.payload = vec![0x60; 8]);
        t.outbound(Inside, &short, hop::OUTSIDE);
        let other = Draft::udp(CLIENT, SERVER).with(|d| d.payload = vec![7; 100]);
        t.outbound(Inside, &other, hop::OUTSIDE);
    }),
    (
        "6rd bypasses with its own address, and comes back to it",
        |t| {
            let own = six_rd(subscriber::PLAIN);
            let out = tunnelled(subscriber::PLAIN, RELAY, own, NATIVE_FAR);
            t.becomes(Inside, &out, out.clone(), hop::OUTSIDE, &[]);
            let back = tunnelled(RELAY, subscriber::PLAIN, NATIVE_FAR, own);
            t.becomes(Outside, &back, back.clone(), hop::INSIDE, &[]);
        },
    ),
    ("with another's it does not, nor may it come back", |t| {
        let other = six_rd(subscriber::TWO_BLOCKS);
        let forged = tunnelled(subscriber::PLAIN, RELAY, other, NATIVE_FAR);
        t.stopped(Inside, &forged.bytes(), Reason::TunnelForged);
        let own = six_rd(subscriber::PLAIN);
        let back = tunnelled(subscriber::PLAIN, RELAY, own, own);
        t.stopped(Inside, &back.bytes(), Reason::TunnelForged);
        let to_another = tunnelled(RELAY, subscriber::PLAIN, NATIVE_FAR, other);
        t.stopped(Outside, &to_another.bytes(), Reason::TunnelForged);
    }),
    ("6rd that no rule bypasses is told apart", |t| {
        let own = six_rd(subscriber::PLAIN);
        let elsewhere = tunnelled(subscriber::PLAIN, remote::PLAIN, own, NATIVE_FAR);
        t.stopped(Inside, &elsewhere.bytes(), Reason::Tunnel6rd);
        let forged = tunnelled(subscriber::LARGE, remote::PLAIN, own, NATIVE_FAR);
        t.stopped(Inside, &forged.bytes(), Reason::TunnelForged);
    }),
];

/// Of no prefix that says an IPv4 address.
const NATIVE_FAR: Ipv6Addr = Ipv6Addr::new(0x2a00, 0x1450, 0, 0, 0, 0, 0, 0x2004);
