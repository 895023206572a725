//! Limits of groups (RFC 6888 REQ-4 and 5), in the world of [`world`].

use cgn_common::layout::{Constants, Features, Filtering, Policy};
use cgn_common::verdict::{Protocol, Reason};
use cgn_user::dataplane::load::Entry::{Inside, Outside};
use cgn_user::policy::groups::{Allowance, Group, Groups};

use super::{Case, ROOM};
use crate::harness::trial::{Endpoint, Trial};
use crate::harness::world::{World, hop, remote, subscriber};
use crate::packets::{Draft, flag};

/// TCP mappings of `PLAIN`, who may have no ICMP ones.
const TCP: u16 = 5;
/// UDP mappings of `TWO_BLOCKS`, whose blocks have 64 ports each.
const UDP: u16 = 70;
/// New mappings at once of `LARGE`, who may have one a second, and further sessions.
const BURST: u16 = 20;
const SESSIONS: u16 = 3;

const SERVER: Endpoint = (remote::PLAIN, 443);
const HERE: u16 = hop::OUTSIDE;

/// Three groups of one subscriber each; pool 1 filters by address and port.
pub fn world() -> World {
    let allowances = [
        (
            subscriber::PLAIN,
            Allowance {
                mappings: [Some(TCP.into()), None, Some(0)],
                ..Allowance::ALL
            },
        ),
        (
            subscriber::TWO_BLOCKS,
            Allowance {
                mappings: [None, Some(UDP.into()), None],
                ..Allowance::ALL
            },
        ),
        (
            subscriber::LARGE,
            Allowance {
                sessions: Some(SESSIONS.into()),
                rate: Some((1, BURST)),
                ..Allowance::ALL
            },
        ),
    ];
    let groups = allowances.map(|(inside, allowance)| {
        let name = inside.to_string();
        (Group { name, allowance }, vec![(inside, 32)])
    });
    let mut constants = Constants::PLAIN;
    let port = Filtering::AddressAndPortDependent;
    constants.pools[1] = Policy::new(port, port, 0);
    constants.features = Features(Features::QUOTAS | Features::SESSIONS);
    let mut world = World::with(constants, 2 * ROOM);
    world.geometry.groups = Groups::new(groups.into());
    world
}

fn syn(inside: Endpoint) -> Draft {
    Draft::tcp(flag::SYN, inside, SERVER)
}

pub const CASES: &[Case] = &[
    (
        "one mapping more than the group may have is refused, and the others go on",
        |t| {
            let inside = |port| (subscriber::PLAIN, port);
            for port in 1..=TCP {
                t.outbound(Inside, &syn(inside(port)), HERE);
            }
            for _ in 0..3 {
                let beyond = syn(inside(TCP + 1)).bytes();
                t.stopped(Inside, &beyond, Reason::MappingLimit);
            }
            for port in 1..=TCP {
                let next = Draft::tcp(flag::ACK, inside(port), SERVER);
                t.outbound(Inside, &next, HERE);
            }
            assert_eq!(t.refusals(subscriber::PLAIN), [Reason::MappingLimit]);
        },
    ),
    ("each protocol has a limit of its own, and 0 is none", |t| {
        for port in 1..=TCP {
            t.outbound(Inside, &syn((subscriber::PLAIN, port)), HERE);
        }
        for port in 1..=60 {
            let datagram = Draft::udp((subscriber::PLAIN, port), SERVER);
            t.outbound(Inside, &datagram, HERE);
        }
        let ping = Draft::ping((subscriber::PLAIN, 1), SERVER.0).bytes();
        t.stopped(Inside, &ping, Reason::MappingLimit);
    }),
    ("another subscriber has nothing to do with it", |t| {
        for port in 1..=TCP + 1 {
            t.outbound(Inside, &syn((subscriber::SIX_BLOCKS, port)), HERE);
        }
        assert_eq!(t.refusals(subscriber::SIX_BLOCKS), []);
    }),
    ("the limit is that of all blocks together", |t| {
        let inside = |port| (subscriber::TWO_BLOCKS, port);
        for port in 1..=UDP {
            t.outbound(Inside, &Draft::udp(inside(port), SERVER), HERE);
        }
        for port in UDP + 1..UDP + 40 {
            let beyond = Draft::udp(inside(port), SERVER).bytes();
            t.stopped(Inside, &beyond, Reason::MappingLimit);
        }
        for port in 1..=UDP {
            t.outbound(Inside, &Draft::udp(inside(port), SERVER), HERE);
        }
        // No limit of TCP but the two blocks.
        for port in 1..=128 {
            t.outbound(Inside, &syn(inside(port)), HERE);
        }
        t.stopped(Inside, &syn(inside(129)).bytes(), Reason::BlockFull);
        assert_eq!(t.refusals(subscriber::TWO_BLOCKS), [Reason::MappingLimit]);
    }),
    (
        "so many new mappings at once, then so many a second; established flows are not slowed",
        |t| {
            let inside = |port| (subscriber::LARGE, port);
            for port in 1..=BURST {
                t.outbound(Inside, &Draft::udp(inside(port), SERVER), HERE);
            }
            let next = |t: &mut Trial, port| {
                let beyond = Draft::udp(inside(port), SERVER).bytes();
                t.stopped(Inside, &beyond, Reason::MappingRate);
            };
            next(t, 100);
            for port in 1..=BURST {
                t.outbound(Inside, &Draft::udp(inside(port), SERVER), HERE);
            }
            t.pass(3);
            for port in 101..104 {
                t.outbound(Inside, &Draft::udp(inside(port), SERVER), HERE);
            }
            next(t, 104);
            assert!(t.mapping(inside(104), Protocol::Udp).is_none());
            assert_eq!(t.refusals(subscriber::LARGE), [Reason::MappingRate]);
        },
    ),
    (
        "further sessions end at the limit; those that are noted stay",
        |t| {
            let inside = (subscriber::LARGE, 5000);
            let to = |port| Draft::udp(inside, (SERVER.0, port));
            let external = t.outbound(Inside, &to(1), HERE);
            for port in 2..2 + SESSIONS {
                t.outbound(Inside, &to(port), HERE);
            }
            let last = 2 + SESSIONS;
            t.stopped(Inside, &to(last).bytes(), Reason::SessionLimit);
            for port in 1..last {
                let answer = Draft::udp((SERVER.0, port), external);
                t.inbound(Outside, &answer, inside, hop::INSIDE);
                t.outbound(Inside, &to(port), HERE);
            }
            assert_eq!(t.refusals(subscriber::LARGE), [Reason::SessionLimit]);
        },
    ),
];
