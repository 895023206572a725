//! Access lists, in the world of [`world`]: what is denied, and what goes through untranslated (RFC
//! 6888 REQ-6).

use std::net::Ipv4Addr;

use cgn_common::layout::{Action, Constants, Ports};
use cgn_common::verdict::{Direction, Protocol, Reason};
use cgn_user::dataplane::load::Entry::{Inside, Outside, Vlan};
use cgn_user::policy::access::Rule;

use super::Case;
use crate::harness::trial::{Endpoint, Trial};
use crate::harness::world::{INSIDE_VLAN, OUTSIDE_VLAN, POOL, World, hop, remote, subscriber};
use crate::packets::{CUSTOMER_TAG, Draft, Transport, flag};

const WEB: u16 = 80;
const MAIL: u16 = 25;
const GRE: u8 = 47;
/// Ports to which a subscriber may send so much in a window.
const NTP: u16 = 123;
const SUBMISSION: u16 = 587;
const RATE: u16 = 5;

/// Rules in the order in which packets meet them; bypasses stand in both directions.
pub fn world() -> World {
    use Action::{Bypass, Deny, Permit};
    use Direction::{Inbound, Outbound};
    let one = |address: Ipv4Addr| vec![(address.to_bits(), address.to_bits())];
    let network = |address: Ipv4Addr, host_bits: u32| {
        let (address, host) = (address.to_bits(), (1 << host_bits) - 1);
        vec![(address & !host, address | host)]
    };
    let rule = |action, direction, source, destination, protocol| Rule {
        name: String::new(),
        direction,
        action,
        source,
        destination,
        protocol,
        ports: Ports::ANY,
        most: 0,
        group: String::new(),
        realm: 0,
    };
    let to_port = |rule: Rule, port| Rule {
        ports: Ports::new((0, u16::MAX), (port, port)),
        ..rule
    };
    let limited = |rule: Rule| Rule {
        most: RATE.into(),
        ..rule
    };
    let all = Vec::new;
    let rules = [
        to_port(
            rule(Bypass, Outbound, all(), one(remote::PLAIN), Some(6)),
            WEB,
        ),
        rule(Permit, Outbound, all(), one(remote::OTHER), None),
        to_port(
            rule(Deny, Outbound, all(), network(remote::OTHER, 16), Some(6)),
            MAIL,
        ),
        rule(Deny, Outbound, all(), all(), Some(GRE)),
        rule(
            Deny,
            Outbound,
            one(subscriber::TWO_BLOCKS),
            one(remote::VLAN),
            None,
        ),
        rule(Deny, Outbound, all(), network(remote::EXACT_LOCAL, 8), None),
        rule(
            Bypass,
            Outbound,
            all(),
            network(remote::SMALL, 24),
            Some(17),
        ),
        rule(Bypass, Outbound, all(), one(remote::LOST), None),
        rule(Bypass, Outbound, all(), one(POOL[1]), None),
        rule(
            Bypass,
            Outbound,
            one(subscriber::VLAN),
            network(remote::VLAN, 8),
            None,
        ),
        rule(Deny, Inbound, network(remote::QINQ, 12), all(), None),
        limited(to_port(rule(Permit, Outbound, all(), all(), Some(17)), NTP)),
        limited(to_port(
            rule(Permit, Outbound, all(), all(), Some(6)),
            SUBMISSION,
        )),
        rule(Deny, Inbound, all(), one(POOL[0]), Some(1)),
    ];
    World::with(Constants::PLAIN, super::ROOM).with_rules(&rules)
}

pub const CASES: &[Case] = &[
    (
        "what bypasses goes out with its own address, and nothing is remembered of it",
        bypassed,
    ),
    (
        "another port of the same server is translated",
        another_port,
    ),
    (
        "what comes back from there goes to the subscriber as it is",
        back,
    ),
    (
        "what comes back from there to a pool address is an answer to translated packets",
        back_to_the_pool,
    ),
    (
        "from another port nothing comes back untranslated",
        not_back,
    ),
    ("the first rule that holds decides", first),
    ("a rule for a protocol holds for that one", protocol),
    ("a rule for a source holds for that one", source),
    ("packets to the router itself meet no rule", own_traffic),
    (
        "a rule for packets from outside looks at their source",
        from_outside,
    ),
    (
        "and at the pool address that they are for",
        to_a_pool_address,
    ),
    ("nobody bypasses with another's address", spoofed),
    (
        "what bypasses loses one of its time to live, and ends with the last",
        expired,
    ),
    (
        "what bypasses and is too large is dropped, or fragmented",
        too_large,
    ),
    (
        "what bypasses waits for a neighbour that is not known",
        unknown_neighbour,
    ),
    ("a pool address is not reached untranslated", to_the_pool),
    (
        "fragments behind the first bypass by addresses and protocol",
        fragments,
    ),
    ("and by ports only the first", fragments_by_port),
    ("the rules hold on VLANs, too", vlans),
    (
        "beyond its rate a rule drops what a subscriber sends, and nobody else's",
        rate,
    ),
    (
        "of TCP a rate counts what begins a connection, and leaves those that are there",
        rate_of_connections,
    ),
];

const CLIENT: Endpoint = (subscriber::PLAIN, 5000);

fn bypassed(t: &mut Trial) {
    let syn = Draft::tcp(flag::SYN, CLIENT, (remote::PLAIN, WEB));
    t.becomes(Inside, &syn, syn.clone(), hop::OUTSIDE, &[]);
    assert_eq!(t.mapping(CLIENT, Protocol::Tcp), None);
    // Without a block, too, and with options and payloads of any kind.
    let draft = Draft::tcp(
        flag::ACK,
        (subscriber::NO_BLOCK_YET, 9),
        (remote::PLAIN, WEB),
    )
    .with(|d| (d.options, d.tos) = (vec![1; 8], 0x48));
    t.becomes(Inside, &draft, draft.clone(), hop::OUTSIDE, &[]);
}

fn another_port(t: &mut Trial) {
    t.round_trip(
        &Draft::tcp(flag::SYN, CLIENT, (remote::PLAIN, 443)),
        (hop::OUTSIDE, hop::INSIDE),
    );
    t.round_trip(
        &Draft::udp(CLIENT, (remote::PLAIN, WEB)),
        (hop::OUTSIDE, hop::INSIDE),
    );
}

fn back(t: &mut Trial) {
    let answer = Draft::tcp(flag::ACK, (remote::PLAIN, WEB), CLIENT);
    t.becomes(Outside, &answer, answer.clone(), hop::INSIDE, &[]);
}

fn back_to_the_pool(t: &mut Trial) {
    // The mapping was opened by another destination; EIF lets the server in.
    let syn = Draft::tcp(flag::SYN, CLIENT, (remote::PLAIN, 443));
    let external = t.outbound(Inside, &syn, hop::OUTSIDE);
    let came = Draft::tcp(flag::SYN, (remote::PLAIN, WEB), external);
    t.inbound(Outside, &came, CLIENT, hop::INSIDE);
}

fn not_back(t: &mut Trial) {
    let answer = Draft::tcp(flag::ACK, (remote::PLAIN, 443), CLIENT);
    t.stopped(Outside, &answer.bytes(), Reason::NotForUs);
    let answer = Draft::udp((remote::PLAIN, WEB), CLIENT);
    t.stopped(Outside, &answer.bytes(), Reason::NotForUs);
    let stranger = Draft::tcp(
        flag::ACK,
        (remote::PLAIN, WEB),
        (subscriber::STRANGER, 5000),
    );
    t.stopped(Outside, &stranger.bytes(), Reason::NotForUs);
}

fn first(t: &mut Trial) {
    let mail = |to| Draft::tcp(flag::SYN, CLIENT, (to, MAIL));
    t.stopped(Inside, &mail(remote::PLAIN).bytes(), Reason::AccessDenied);
    t.outbound(Inside, &mail(remote::OTHER), hop::OUTSIDE);
    t.outbound(
        Inside,
        &Draft::tcp(flag::SYN, CLIENT, (remote::PLAIN, MAIL + 1)),
        hop::OUTSIDE,
    );
}

fn protocol(t: &mut Trial) {
    let other = |number| Draft::new(Transport::Other(number), CLIENT, (remote::QINQ, 0));
    t.stopped(Inside, &other(GRE).bytes(), Reason::AccessDenied);
    t.stopped(Inside, &other(50).bytes(), Reason::UnsupportedEsp);
}

fn source(t: &mut Trial) {
    let draft = |from| Draft::udp((from, 7), (remote::VLAN, 7));
    t.stopped(
        Inside,
        &draft(subscriber::TWO_BLOCKS).bytes(),
        Reason::AccessDenied,
    );
    t.outbound(Inside, &draft(subscriber::PLAIN), hop::OUTSIDE_VLAN);
}

fn own_traffic(t: &mut Trial) {
    let draft = Draft::tcp(flag::SYN, CLIENT, (remote::EXACT_LOCAL, 179));
    t.stopped(Inside, &draft.bytes(), Reason::Local);
    let denied = Draft::tcp(flag::SYN, CLIENT, (remote::EXACT, 179));
    t.stopped(Inside, &denied.bytes(), Reason::AccessDenied);
    let peer = Draft::tcp(flag::SYN, (remote::QINQ, 179), (remote::EXACT_LOCAL, 179));
    t.stopped(Outside, &peer.bytes(), Reason::Local);
}

fn from_outside(t: &mut Trial) {
    let syn = Draft::udp(CLIENT, (remote::QINQ, 53));
    let external = t.outbound(Inside, &syn, hop::OUTSIDE_QINQ);
    t.stopped(Outside, &syn.answer(external).bytes(), Reason::AccessDenied);
    let other = Draft::udp((remote::OTHER, 53), external);
    t.inbound(Outside, &other, CLIENT, hop::INSIDE);
}

fn to_a_pool_address(t: &mut Trial) {
    let ping = |from| Draft::ping((from, 9), remote::OTHER);
    let external = t.outbound(Inside, &ping(subscriber::PLAIN), hop::OUTSIDE);
    assert_eq!(external.0, POOL[0]);
    let pong = Draft::pong(remote::OTHER, external);
    t.stopped(Outside, &pong.bytes(), Reason::AccessDenied);
    t.round_trip(&ping(subscriber::SIX_BLOCKS), (hop::OUTSIDE, hop::INSIDE));
}

fn spoofed(t: &mut Trial) {
    let from = |source| Draft::tcp(flag::SYN, (source, 1), (remote::PLAIN, WEB)).bytes();
    t.stopped(Inside, &from(subscriber::STRANGER), Reason::SpoofedSource);
    t.stopped(Inside, &from(POOL[0]), Reason::SpoofedSource);
}

fn expired(t: &mut Trial) {
    let draft = Draft::tcp(flag::SYN, CLIENT, (remote::PLAIN, WEB)).with(|d| d.ttl = 2);
    t.becomes(Inside, &draft, draft.clone(), hop::OUTSIDE, &[]);
    t.stopped(
        Inside,
        &draft.with(|d| d.ttl = 1).bytes(),
        Reason::TtlExpired,
    );
}

fn too_large(t: &mut Trial) {
    let draft = Draft::udp(CLIENT, (remote::SMALL, 53)).with(|d| d.payload = vec![7; 900]);
    t.stopped(Inside, &draft.bytes(), Reason::TooBig);
    let may = draft.with(|d| d.dont_fragment = false);
    t.stopped(Inside, &may.bytes(), Reason::Oversize);
}

fn unknown_neighbour(t: &mut Trial) {
    let draft = Draft::udp(CLIENT, (remote::LOST, 53));
    t.stopped(Inside, &draft.bytes(), Reason::NoNeighbour);
}

fn to_the_pool(t: &mut Trial) {
    let draft = Draft::udp(CLIENT, (POOL[1], 60_000));
    t.stopped(Inside, &draft.bytes(), Reason::NoMapping);
}

fn fragments(t: &mut Trial) {
    let draft = Draft::udp(CLIENT, (remote::SMALL, 53))
        .with(|d| (d.dont_fragment, d.payload) = (false, vec![7; 90]));
    for order in [[0, 1, 2], [2, 1, 0]] {
        t.fragments(
            Inside,
            &draft,
            draft.clone(),
            hop::OUTSIDE_SMALL,
            40,
            &order,
            &[],
        );
    }
}

fn fragments_by_port(t: &mut Trial) {
    let draft = Draft::tcp(flag::SYN, CLIENT, (remote::PLAIN, WEB))
        .with(|d| (d.dont_fragment, d.payload) = (false, vec![7; 90]));
    t.fragments(Inside, &draft, draft.clone(), hop::OUTSIDE, 40, &[0], &[]);
    t.stopped(Inside, &draft.fragments(40)[1], Reason::FragmentUnknown);
}

fn vlans(t: &mut Trial) {
    let client = (subscriber::VLAN, 5000);
    let tagged = |draft: Draft, vlan| draft.with(|d| d.tags = vec![(CUSTOMER_TAG, vlan)]);
    let out = tagged(Draft::udp(client, (remote::VLAN, 53)), INSIDE_VLAN);
    t.becomes(Vlan, &out, out.clone(), hop::OUTSIDE_VLAN, &[]);
    let back = tagged(Draft::udp((remote::VLAN, 53), client), OUTSIDE_VLAN);
    t.becomes(Vlan, &back, back.clone(), hop::INSIDE_VLAN, &[]);
    let denied = tagged(
        Draft::udp((remote::QINQ, 53), (POOL[0], 2000)),
        OUTSIDE_VLAN,
    );
    t.stopped(Vlan, &denied.bytes(), Reason::AccessDenied);
}

fn rate(t: &mut Trial) {
    let datagram = |from, port| Draft::udp((from, port), (remote::PLAIN, NTP));
    t.align(2);
    for _ in 0..RATE {
        t.outbound(Inside, &datagram(subscriber::PLAIN, 5000), hop::OUTSIDE);
    }
    // Also those of another port, and to another server.
    let other = Draft::udp((subscriber::PLAIN, 5001), (remote::VLAN, NTP));
    for beyond in [datagram(subscriber::PLAIN, 5000), other] {
        t.stopped(Inside, &beyond.bytes(), Reason::RuleRate);
    }
    t.outbound(Inside, &datagram(subscriber::LARGE, 5000), hop::OUTSIDE);
    let elsewhere = Draft::udp(CLIENT, (remote::PLAIN, NTP + 1));
    t.outbound(Inside, &elsewhere, hop::OUTSIDE);
    // What was refused counts for nothing: two windows later all is as in the beginning.
    t.pass(3);
    t.align(2);
    for _ in 0..RATE {
        t.outbound(Inside, &datagram(subscriber::PLAIN, 5000), hop::OUTSIDE);
    }
    let beyond = datagram(subscriber::PLAIN, 5000).bytes();
    t.stopped(Inside, &beyond, Reason::RuleRate);
}

fn rate_of_connections(t: &mut Trial) {
    let segment = |flags, port| {
        Draft::tcp(
            flags,
            (subscriber::PLAIN, port),
            (remote::PLAIN, SUBMISSION),
        )
    };
    t.align(2);
    for port in 5000..5000 + RATE {
        t.outbound(Inside, &segment(flag::SYN, port), hop::OUTSIDE);
    }
    t.stopped(Inside, &segment(flag::SYN, 6000).bytes(), Reason::RuleRate);
    for _ in 0..4 * RATE {
        t.outbound(Inside, &segment(flag::ACK, 5000), hop::OUTSIDE);
    }
}
