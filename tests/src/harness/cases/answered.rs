//! Packets that end here, and whose senders are to be told: XDP punts those of which the slow path
//! may make an error, a few of them, and drops the others.

use std::net::Ipv4Addr;

use cgn_common::answers::{Rates, WINDOW_SHIFT};
use cgn_common::verdict::Reason;
use cgn_user::dataplane::load::Entry::{self, Inside, Outside, Vlan};

use super::Case;
use crate::harness::trial::{Endpoint, Trial};
use crate::harness::world::{
    INSIDE_VLAN, OUTSIDE_QINQ, OUTSIDE_VLAN, POOL, hop, remote, subscriber,
};
use crate::packets::{CUSTOMER_TAG, Draft, SERVICE_TAG, flag};

/// What the world of these cases allows in a window.
pub const RATES: Rates = Rates::new(EACH as u32, ALL as u32);
const EACH: usize = 5;
const ALL: usize = 8;

const CLIENT: Endpoint = (subscriber::PLAIN, 5000);
const SERVER: Endpoint = (remote::PLAIN, 443);

fn each_protocol(from: Endpoint, to: Endpoint) -> [Draft; 3] {
    let ping = if from.0 == CLIENT.0 {
        Draft::ping(from, to.0)
    } else {
        Draft::pong(from.0, to)
    };
    [Draft::tcp(flag::SYN, from, to), Draft::udp(from, to), ping]
}

fn big(draft: Draft) -> Draft {
    draft.with(|d| d.payload = vec![7; 600])
}

/// A packet is punted so that its sender is told.
fn told(t: &mut Trial, entry: Entry, draft: &Draft) {
    t.stopped(entry, &draft.bytes(), Reason::Answered);
}

/// Tells apart how many of `tries` packets are punted; the others are dropped for `reason`.
fn how_many(t: &mut Trial, entry: Entry, draft: &Draft, tries: usize, reason: Reason) -> usize {
    let mut told = 0;
    for _ in 0..tries {
        let run = t.run(entry, &draft.bytes());
        if run.ending == Reason::Answered.into() {
            told += 1;
        } else {
            assert_eq!(run.ending, reason.into());
        }
    }
    told
}

pub const CASES: &[Case] = &[
    ("the time to live ended, from inside", |t| {
        for draft in each_protocol(CLIENT, SERVER) {
            told(t, Inside, &draft.with(|d| d.ttl = 1));
        }
        let tagged = Draft::udp((subscriber::VLAN, 1), SERVER)
            .with(|d| (d.ttl, d.tags) = (1, vec![(CUSTOMER_TAG, INSIDE_VLAN)]));
        told(t, Vlan, &tagged);
    }),
    ("the time to live ended, from outside", |t| {
        for draft in each_protocol(SERVER, (POOL[0], 5000)) {
            told(t, Outside, &draft.with(|d| d.ttl = 0));
        }
        let [outer, inner] = OUTSIDE_QINQ;
        let tags = vec![(SERVICE_TAG, outer), (CUSTOMER_TAG, inner)];
        let tagged =
            Draft::udp((remote::OTHER, 1), (POOL[0], 1)).with(|d| (d.ttl, d.tags) = (1, tags));
        told(t, Vlan, &tagged);
    }),
    ("the time to live of a hairpinned packet ended", |t| {
        let receiver = t.outbound(Inside, &Draft::udp(CLIENT, SERVER), hop::OUTSIDE);
        let sender = (subscriber::TWO_BLOCKS, 9);
        told(t, Inside, &Draft::udp(sender, receiver).with(|d| d.ttl = 1));
    }),
    (
        "too big and not to be fragmented, both ways and hairpinned",
        |t| {
            let to_small = Draft::udp(CLIENT, (remote::SMALL, 443));
            told(t, Inside, &big(to_small.clone()));
            let small = (subscriber::SMALL, 77);
            let external = t.outbound(Inside, &Draft::udp(small, SERVER), hop::OUTSIDE);
            let answer = Draft::udp(SERVER, external);
            told(t, Outside, &big(answer.clone()));
            told(
                t,
                Inside,
                &big(Draft::udp((subscriber::TWO_BLOCKS, 9), external)),
            );
            for (entry, draft) in [(Inside, to_small), (Outside, answer)] {
                let may = big(draft).with(|d| d.dont_fragment = false);
                t.stopped(entry, &may.bytes(), Reason::Oversize);
            }
        },
    ),
    ("no route", |t| {
        for to in [remote::WIDE_NO_ROUTE, remote::NO_ROUTE, remote::UNREACHABLE] {
            told(t, Inside, &Draft::udp(CLIENT, (to, 443)));
        }
    }),
    ("no block, no port", |t| {
        told(t, Inside, &Draft::udp((subscriber::REFUSED, 1), SERVER));
        let large = |port| Draft::udp((subscriber::LARGE, port), SERVER);
        for port in 0..512 {
            t.outbound(Inside, &large(port), hop::OUTSIDE);
        }
        // All the blocks that one may have there.
        told(t, Inside, &large(600));
    }),
    (
        "no mapping: a datagram or segment, but no echo, has a port",
        |t| {
            let [segment, datagram, echo] = each_protocol(SERVER, (POOL[0], 5000));
            told(t, Outside, &segment);
            told(t, Outside, &datagram);
            t.stopped(Outside, &echo.bytes(), Reason::NoMapping);
        },
    ),
    (
        "a SYN from outside that nobody waits for is punted, but not one between subscribers",
        |t| {
            let stray = Draft::tcp(flag::SYN, SERVER, (POOL[0], 5000));
            told(t, Outside, &stray);
            let tags = vec![(CUSTOMER_TAG, OUTSIDE_VLAN)];
            told(t, Vlan, &stray.clone().with(|d| d.tags = tags));
            let large = (subscriber::LARGE, 1);
            let first = Draft::tcp(flag::SYN, large, SERVER);
            let external = t.outbound(Inside, &first, hop::OUTSIDE);
            let other = (remote::OTHER, 443);
            told(t, Outside, &Draft::tcp(flag::SYN, other, external));
            for flags in [flag::ACK, flag::SYN | flag::ACK, flag::RST] {
                let segment = Draft::tcp(flags, other, external).bytes();
                t.stopped(Outside, &segment, Reason::Filtered);
            }
            let hairpin = Draft::tcp(flag::SYN, CLIENT, (POOL[0], 5000)).bytes();
            t.stopped(Inside, &hairpin, Reason::NoMapping);
            // It has a mapping of its own by then, which the filter asks for.
            let filtered = Draft::tcp(flag::SYN, CLIENT, external).bytes();
            assert_eq!(t.run(Inside, &filtered).ending, Reason::Filtered.into());
        },
    ),
    (
        "a flood of SYNs that nobody waits for takes no other sender's word",
        |t| {
            t.align(WINDOW_SHIFT);
            let syn = |from| Draft::tcp(flag::SYN, (from, 443), (POOL[0], 5000));
            let (first, none) = (syn(remote::PLAIN), Reason::NoMapping);
            assert_eq!(how_many(t, Outside, &first, 3 * EACH, none), EACH);
            let second = syn(remote::VLAN);
            assert_eq!(how_many(t, Outside, &second, 3 * EACH, none), ALL - EACH);
            let expired = Draft::udp((remote::OTHER, 1), (POOL[0], 1)).with(|d| d.ttl = 1);
            let ended = Reason::TtlExpired;
            assert_eq!(how_many(t, Outside, &expired, 3 * EACH, ended), EACH);
        },
    ),
    ("no error about an error", |t| {
        let external = t.outbound(Inside, &Draft::udp(CLIENT, SERVER), hop::OUTSIDE);
        let quoted = Draft::udp(external, SERVER).packet();
        for kind in [(3, 1), (11, 0), (12, 0)] {
            let error = Draft::icmp_error(kind, [0; 4], &quoted, remote::OTHER, external.0);
            t.stopped(
                Outside,
                &error.with(|d| d.ttl = 1).bytes(),
                Reason::TtlExpired,
            );
        }
    }),
    ("no error about what came to a group of stations", |t| {
        for group in [[0xff; 6], [0x01, 0, 0x5e, 0, 0, 1]] {
            let draft =
                Draft::udp(CLIENT, SERVER).with(|d| (d.ttl, d.destination_mac) = (1, group));
            t.stopped(Inside, &draft.bytes(), Reason::TtlExpired);
        }
    }),
    ("nobody is told of what is no end of a router's", |t| {
        let spoofed = Draft::udp((Ipv4Addr::new(192, 168, 7, 7), 1), SERVER).with(|d| d.ttl = 1);
        t.stopped(Inside, &spoofed.bytes(), Reason::SpoofedSource);
        let shared = Draft::udp((remote::SHARED, 1), (POOL[0], 1)).with(|d| d.ttl = 1);
        t.stopped(Outside, &shared.bytes(), Reason::BadSource);
        let martian = Draft::udp(CLIENT, (Ipv4Addr::new(240, 0, 0, 1), 1)).with(|d| d.ttl = 1);
        t.stopped(Inside, &martian.bytes(), Reason::Martian);
    }),
    (
        "one sender is told so often, all of one side so often, and again in the next window",
        |t| {
            t.align(WINDOW_SHIFT);
            let expired = |from| Draft::udp((from, 5000), SERVER).with(|d| d.ttl = 1);
            let ended = Reason::TtlExpired;
            let first = expired(subscriber::PLAIN);
            assert_eq!(how_many(t, Inside, &first, 3 * EACH, ended), EACH);
            let second = expired(subscriber::TWO_BLOCKS);
            assert_eq!(how_many(t, Inside, &second, EACH, ended), ALL - EACH);
            assert_eq!(
                how_many(t, Inside, &expired(subscriber::SMALL), EACH, ended),
                0
            );
            let outside = Draft::udp(SERVER, (POOL[0], 1)).with(|d| d.ttl = 1);
            assert_eq!(
                how_many(t, Outside, &outside, 3 * EACH, ended),
                EACH,
                "the other side"
            );
            t.align(WINDOW_SHIFT);
            assert_eq!(how_many(t, Inside, &second, 3 * EACH, ended), EACH);
        },
    ),
];
