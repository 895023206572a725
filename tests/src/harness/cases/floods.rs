//! Floods: packets that nobody waits for, prefixes that open too many sessions, and a slow path that
//! is overloaded, in the world of [`world`].

use std::net::Ipv4Addr;

use cgn_common::guards::PARTS;
use cgn_common::layout::{Constants, Features, Filtering, Guards, Policy, Side};
use cgn_common::limits::ticks;
use cgn_common::verdict::{Protocol, Reason};
use cgn_user::dataplane::load::Entry::{Inside, Outside};

use super::{Case, ROOM};
use crate::harness::trial::{Endpoint, Trial};
use crate::harness::world::{POOL, World, hop, remote, subscriber};
use crate::packets::{Draft, flag};

/// New sessions in a window of a source outside, and of its /24.
const OF_HOST: u16 = 8;
const OF_24: u16 = 12;
/// New mappings in a window of a subscriber, and of its /24.
pub const OF_SUBSCRIBER: u16 = 10;
pub const OF_INSIDE_24: u16 = 15;
/// Packets in a window to one address that nobody waits for.
const UNSOLICITED: u16 = 6;
const LIMIT_SECS: u32 = 20;

const CLIENT: Endpoint = (subscriber::PLAIN, 5000);
const SERVER: Endpoint = (remote::PLAIN, 443);
/// Three hosts of which two share a /24.
const SCANNER: Ipv4Addr = Ipv4Addr::new(8, 8, 4, 10);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(8, 8, 4, 77);
const STRANGER: Ipv4Addr = Ipv4Addr::new(8, 8, 5, 10);

/// Everything is guarded; one pool notes the sessions of TCP.
pub fn world() -> World {
    let mut constants = Constants::PLAIN;
    let guarded = Features::THROTTLE | Features::ATTACKS | Features::OVERLOAD;
    constants.features = Features(guarded | Features::SESSIONS);
    let anyone = Filtering::EndpointIndependent;
    constants.pools[1] = Policy::new(anyone, anyone, Policy::TIMED_SESSIONS);
    let guards = &mut constants.guards.0;
    guards[Guards::newcomers(Side::Inside, 0)] = OF_SUBSCRIBER.into();
    guards[Guards::newcomers(Side::Inside, 1)] = OF_INSIDE_24.into();
    guards[Guards::newcomers(Side::Outside, 0)] = OF_HOST.into();
    guards[Guards::newcomers(Side::Outside, 1)] = OF_24.into();
    guards[Guards::LIMIT_TICKS] = ticks(LIMIT_SECS.into());
    guards[Guards::UNSOLICITED] = UNSOLICITED.into();
    World::with(constants, ROOM)
}

/// To a port that nobody has.
fn stray(source: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    Draft::udp((source, 5353), (to, 1)).bytes()
}

/// A source in a /24 of its own.
fn anyone(number: u16) -> Ipv4Addr {
    Ipv4Addr::new(8, 9, number as u8, 1)
}

/// The client's external endpoint, after it spoke to the server.
fn opened(t: &mut Trial) -> Endpoint {
    let syn = Draft::tcp(flag::SYN, CLIENT, SERVER);
    t.outbound(Inside, &syn, hop::OUTSIDE)
}

/// A SYN of a connection of its own.
fn syn(source: Ipv4Addr, port: u16, external: Endpoint) -> Draft {
    Draft::tcp(flag::SYN, (source, port), external)
}

/// So many connections are let in, and no more.
fn lets_in(t: &mut Trial, source: Ipv4Addr, first_port: u16, count: u16, external: Endpoint) {
    for port in first_port..first_port + count {
        t.inbound(Outside, &syn(source, port, external), CLIENT, hop::INSIDE);
    }
    let beyond = syn(source, first_port + count, external).bytes();
    t.stopped(Outside, &beyond, Reason::Throttled);
}

pub const CASES: &[Case] = &[
    (
        "beyond so many packets a second that nobody waits for, an address is guarded; others are not",
        |t| {
            let external = opened(t);
            t.align(2);
            for number in 0..UNSOLICITED {
                t.stopped(Outside, &stray(anyone(number), POOL[0]), Reason::NoMapping);
            }
            for number in 0..3 {
                let more = stray(anyone(100 + number), POOL[0]);
                t.stopped(Outside, &more, Reason::AttackedAddress);
            }
            t.stopped(Outside, &stray(anyone(200), POOL[1]), Reason::NoMapping);
            // What has a mapping goes on, in both directions.
            assert_eq!(external.0, POOL[0]);
            let answer = Draft::tcp(flag::SYN | flag::ACK, SERVER, external);
            t.inbound(Outside, &answer, CLIENT, hop::INSIDE);
            t.outbound(Inside, &Draft::tcp(flag::ACK, CLIENT, SERVER), hop::OUTSIDE);
            t.pass(2);
            t.stopped(Outside, &stray(anyone(201), POOL[0]), Reason::NoMapping);
        },
    ),
    (
        "a host outside may open so many sessions a second; its neighbours are not hit by what it is refused",
        |t| {
            let external = opened(t);
            t.align(2);
            lets_in(t, SCANNER, 1000, OF_HOST, external);
            for port in 2000..2020 {
                let more = syn(SCANNER, port, external).bytes();
                t.stopped(Outside, &more, Reason::Throttled);
            }
            // What is left of the /24, of which the refused ones took nothing.
            lets_in(t, NEIGHBOUR, 1000, OF_24 - OF_HOST, external);
            lets_in(t, STRANGER, 1000, OF_HOST, external);
        },
    ),
    (
        "what a limited host has established goes on, and so does the mapping's first remote endpoint",
        |t| {
            let external = opened(t);
            t.align(2);
            lets_in(t, SCANNER, 1000, OF_HOST, external);
            let next = Draft::tcp(flag::ACK, (SCANNER, 1000), external);
            t.inbound(Outside, &next, CLIENT, hop::INSIDE);
            let answer = Draft::tcp(flag::SYN | flag::ACK, SERVER, external);
            t.inbound(Outside, &answer, CLIENT, hop::INSIDE);
            // It is answered, and may be called anew by those whom it has called.
            t.outbound(
                Inside,
                &Draft::tcp(flag::ACK, CLIENT, (SCANNER, 1000)),
                hop::OUTSIDE,
            );
            t.inbound(
                Outside,
                &Draft::tcp(flag::SYN, SERVER, external),
                CLIENT,
                hop::INSIDE,
            );
        },
    ),
    ("a SYN that is refused does not keep a mapping alive", |t| {
        let external = opened(t);
        // One further session: now any segment but an answer would keep it.
        let further = Draft::tcp(flag::SYN, CLIENT, (remote::OTHER, 80));
        t.outbound(Inside, &further, hop::OUTSIDE);
        t.align(2);
        lets_in(t, SCANNER, 1000, OF_HOST, external);
        let before = t.mapping(CLIENT, Protocol::Tcp).expect("it is there");
        assert!(before.shared);
        t.pass(1);
        let more = syn(SCANNER, 2000, external).bytes();
        t.stopped(Outside, &more, Reason::Throttled);
        assert_eq!(t.mapping(CLIENT, Protocol::Tcp), Some(before));
    }),
    (
        "where sessions are noted, a SYN of one that a subscriber began is none of a newcomer",
        |t| {
            let client = (subscriber::LARGE, 5000);
            let begins = |remote| Draft::tcp(flag::SYN, client, remote);
            let external = t.outbound(Inside, &begins(SERVER), hop::OUTSIDE);
            t.align(2);
            for port in 1000..1000 + OF_HOST {
                let first = syn(SCANNER, port, external);
                t.inbound(Outside, &first, client, hop::INSIDE);
            }
            let at_once = syn(SCANNER, 80, external);
            t.stopped(Outside, &at_once.bytes(), Reason::Throttled);
            t.outbound(Inside, &begins((SCANNER, 80)), hop::OUTSIDE);
            t.inbound(Outside, &at_once, client, hop::INSIDE);
        },
    ),
    (
        "a SYN in a first fragment counts as one in a whole packet",
        |t| {
            let external = opened(t);
            t.align(2);
            lets_in(t, SCANNER, 1000, OF_HOST, external);
            let fragmented = syn(SCANNER, 2000, external).with(|d| {
                d.dont_fragment = false;
                d.payload = vec![7; 600];
            });
            let first = &fragmented.fragments(256)[0];
            t.stopped(Outside, first, Reason::Throttled);
        },
    ),
    (
        "what a subscriber sends to another one's mapping counts as his own only",
        |t| {
            let external = opened(t);
            t.align(2);
            let again = Draft::tcp(flag::SYN, (subscriber::LARGE, 7000), external);
            for _ in 0..2 * OF_HOST {
                t.hairpin(Inside, &again, CLIENT, hop::INSIDE);
            }
        },
    ),
    ("a scan of what nobody waits for is limited, too", |t| {
        t.align(2);
        for number in 0..OF_HOST {
            let to = POOL[usize::from(number % 2)];
            t.stopped(Outside, &stray(SCANNER, to), Reason::NoMapping);
        }
        t.stopped(Outside, &stray(SCANNER, POOL[0]), Reason::Throttled);
        // And may not open anything meanwhile.
        let external = opened(t);
        let open = syn(SCANNER, 1000, external).bytes();
        t.stopped(Outside, &open, Reason::Throttled);
    }),
    (
        "a limit gives way: half its time later half as many are let in, and all at the end",
        |t| {
            let external = opened(t);
            t.align(2);
            lets_in(t, SCANNER, 1000, OF_HOST, external);
            t.pass(LIMIT_SECS / 2 + 1);
            t.align(2);
            lets_in(t, SCANNER, 2000, OF_HOST / 2, external);
            t.pass(LIMIT_SECS);
            t.align(2);
            lets_in(t, SCANNER, 3000, OF_HOST, external);
        },
    ),
    (
        "a subscriber may open so many mappings a second; those that it has go on, and others theirs",
        |t| {
            t.align(2);
            let datagram = |inside, port| Draft::udp((inside, port), SERVER);
            for port in 1..=OF_SUBSCRIBER {
                t.outbound(Inside, &datagram(subscriber::PLAIN, port), hop::OUTSIDE);
            }
            for port in 100..110 {
                let beyond = datagram(subscriber::PLAIN, port).bytes();
                t.stopped(Inside, &beyond, Reason::Throttled);
                assert!(
                    t.mapping((subscriber::PLAIN, port), Protocol::Udp)
                        .is_none()
                );
            }
            for port in 1..=OF_SUBSCRIBER {
                t.outbound(Inside, &datagram(subscriber::PLAIN, port), hop::OUTSIDE);
            }
            // What is left of its /24, and then nothing, whoever asks; of another /24 all.
            for port in 1..=OF_INSIDE_24 - OF_SUBSCRIBER {
                t.outbound(
                    Inside,
                    &datagram(subscriber::TWO_BLOCKS, port),
                    hop::OUTSIDE,
                );
            }
            let beyond = datagram(subscriber::TWO_BLOCKS, 100).bytes();
            t.stopped(Inside, &beyond, Reason::Throttled);
            for port in 1..=OF_SUBSCRIBER {
                t.outbound(Inside, &datagram(subscriber::LARGE, port), hop::OUTSIDE);
            }
            t.pass(LIMIT_SECS + 2);
            t.outbound(Inside, &datagram(subscriber::PLAIN, 100), hop::OUTSIDE);
        },
    ),
    (
        "while the slow path is overloaded new subscribers are put off, and known ones are not",
        |t| {
            let first = Draft::udp((subscriber::NO_BLOCK_YET, 5000), SERVER).bytes();
            t.stopped(Inside, &first, Reason::FirstPacket);
            put_off(t, PARTS);
            t.stopped(Inside, &first, Reason::Overload);
            t.outbound(Inside, &Draft::udp(CLIENT, SERVER), hop::OUTSIDE);
            put_off(t, 0);
            t.stopped(Inside, &first, Reason::FirstPacket);
        },
    ),
];

/// So many parts of the new subscribers, all where it is [`PARTS`]: the slow path lets one part in, and
/// who that is depends on the time, which is not the same everywhere.
fn put_off(t: &Trial, parts: u64) {
    for home in &t.homes {
        let settings = home.memory().settings.get(0).expect("the settings");
        settings.put_off.store(parts);
    }
}
