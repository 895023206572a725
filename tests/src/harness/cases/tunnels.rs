//! IPv6 in IPv4: what it is, by the addresses within. The headers are written by the crate etherparse.

use std::net::{Ipv4Addr, Ipv6Addr};

use cgn_common::verdict::Reason;
use cgn_user::dataplane::load::Entry::{Inside, Outside};
use etherparse::{IpNumber, Ipv6FlowLabel, Ipv6Header};

use super::Case;
use crate::harness::trial::Trial;
use crate::harness::world::{POOL, remote, subscriber};
use crate::packets::{Draft, Transport};

const NATIVE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const RELAY: Ipv4Addr = Ipv4Addr::new(192, 88, 99, 1);
const PUBLIC: Ipv4Addr = remote::PLAIN;

/// 2002:V4ADDR::1 (RFC 3056 section 2).
fn six_to_four(address: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = address.octets().map(u16::from);
    Ipv6Addr::new(0x2002, a << 8 | b, c << 8 | d, 0, 0, 0, 0, 1)
}

/// fe80::5efe:V4ADDR (RFC 5214 section 6.1), or with the bit of a unique identifier.
fn isatap(address: Ipv4Addr, unique: bool) -> Ipv6Addr {
    let [a, b, c, d] = address.octets().map(u16::from);
    let high = if unique { 0x0200 } else { 0 };
    Ipv6Addr::new(0xfe80, 0, 0, 0, high, 0x5efe, a << 8 | b, c << 8 | d)
}

/// An IPv6 header without a payload.
pub fn ipv6(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: 0,
        next_header: IpNumber::IPV6_NO_NEXT_HEADER,
        hop_limit: 64,
        source: source.octets(),
        destination: destination.octets(),
    };
    header.to_bytes().to_vec()
}

/// A packet of protocol 41 with these ends, outer and inner.
pub fn tunnelled(from: Ipv4Addr, to: Ipv4Addr, source: Ipv6Addr, destination: Ipv6Addr) -> Draft {
    let outer = Draft::new(Transport::Other(41), (from, 0), (to, 0));
    outer.with(|d| d.payload = ipv6(source, destination))
}

/// Each row ends so from outside, where the outer source is public.
fn from_outside(t: &mut Trial, rows: &[(Ipv4Addr, Ipv6Addr, Ipv6Addr, Reason)]) {
    for (from, source, destination, reason) in rows {
        let draft = tunnelled(*from, POOL[0], *source, *destination);
        t.stopped(Outside, &draft.bytes(), *reason);
    }
}

pub const CASES: &[Case] = &[
    ("IPv6 in IPv4 is told apart: 6to4, ISATAP, neither", |t| {
        let own = six_to_four(PUBLIC);
        from_outside(
            t,
            &[
                (PUBLIC, own, NATIVE, Reason::Tunnel6to4),
                (PUBLIC, own, six_to_four(POOL[0]), Reason::Tunnel6to4),
                (RELAY, NATIVE, six_to_four(POOL[0]), Reason::Tunnel6to4),
                (RELAY, NATIVE, NATIVE, Reason::Tunnel6to4),
                (PUBLIC, isatap(PUBLIC, true), NATIVE, Reason::TunnelIsatap),
                (PUBLIC, isatap(PUBLIC, false), NATIVE, Reason::TunnelIsatap),
                (PUBLIC, NATIVE, NATIVE, Reason::UnsupportedIpv6),
            ],
        );
        let to_relay = tunnelled(subscriber::PLAIN, RELAY, NATIVE, NATIVE);
        t.stopped(Inside, &to_relay.bytes(), Reason::NoRoute);
        let isatap = tunnelled(
            subscriber::PLAIN,
            PUBLIC,
            isatap(subscriber::PLAIN, false),
            NATIVE,
        );
        t.stopped(Inside, &isatap.bytes(), Reason::TunnelIsatap);
    }),
    (
        "an address within that is not the one outside is forged",
        |t| {
            let other = Ipv4Addr::new(9, 9, 9, 9);
            from_outside(
                t,
                &[
                    (PUBLIC, six_to_four(other), NATIVE, Reason::TunnelForged),
                    (PUBLIC, NATIVE, six_to_four(other), Reason::TunnelForged),
                    (PUBLIC, isatap(other, true), NATIVE, Reason::TunnelForged),
                    (PUBLIC, isatap(other, false), NATIVE, Reason::TunnelForged),
                ],
            );
        },
    ),
    (
        "6to4 at an address that is private, shared or nobody's is forged",
        |t| {
            for address in [
                [10, 1, 2, 3],
                [172, 31, 255, 1],
                [192, 168, 0, 1],
                [127, 0, 0, 1],
                [169, 254, 1, 1],
                [100, 64, 0, 1],
                [224, 0, 0, 1],
                [255, 255, 255, 255],
                [0, 0, 0, 0],
            ] {
                let reserved = six_to_four(address.into());
                from_outside(t, &[(PUBLIC, NATIVE, reserved, Reason::TunnelForged)]);
            }
            // Who is behind a NAT has no 6to4 address.
            let own = six_to_four(subscriber::PLAIN);
            let draft = tunnelled(subscriber::PLAIN, PUBLIC, own, NATIVE);
            t.stopped(Inside, &draft.bytes(), Reason::TunnelForged);
        },
    ),
    (
        "what would come back to its sender is forged (RFC 6324)",
        |t| {
            from_outside(
                t,
                &[
                    (PUBLIC, NATIVE, six_to_four(PUBLIC), Reason::TunnelForged),
                    (PUBLIC, NATIVE, isatap(PUBLIC, false), Reason::TunnelForged),
                ],
            );
        },
    ),
    ("what is cut short, or no IPv6, is of no kind", |t| {
        let whole = tunnelled(PUBLIC, POOL[0], six_to_four(PUBLIC), NATIVE);
        let short = whole.clone().with(|d| d.payload.truncate(39));
        t.stopped(Outside, &short.bytes(), Reason::UnsupportedIpv6);
        let other = whole.with(|d| d.payload[0] = 0x40);
        t.stopped(Outside, &other.bytes(), Reason::UnsupportedIpv6);
    }),
];
