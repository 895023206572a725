//! RFC 4787: UDP.

use std::collections::BTreeSet;

use cgn_common::verdict::{Protocol, Reason};
use cgn_tests::harness::Mapping;
use cgn_tests::harness::trial::{Endpoint, Trial};
use cgn_tests::harness::world::{POOL, hop, remote, subscriber};
use cgn_tests::packets::{Draft, Transport, flag};
use cgn_user::dataplane::load::Entry::{Inside, Outside};

use crate::registry::{CLASSES, EVERYTHING, in_group, run_cases, tests};
use crate::settings::{configured, default_timers, timers_with};

tests! {
    one_external_endpoint_for_every_destination ["R4787-1"]
        "REQ-1: one inside address and port keeps one external address and port for all destinations";
    all_mappings_of_a_host_have_one_address ["R4787-2"]
        "REQ-2: all mappings of an inside host have the same external address";
    no_port_is_given_twice ["R4787-3"]
        "REQ-3: two live mappings never share an external address and port; what does not fit is refused";
    classes_are_kept_where_it_is_said ["R4787-3a"]
        "REQ-3a: where a pool says so, a source port below 1024 becomes one below 1024, another does not";
    system_ports_are_not_used ["R4787-3a"]
        "REQ-3a: by default no external port is below 1024";
    a_mapping_lives_two_minutes_at_the_least ["R4787-5"]
        "REQ-5: a UDP mapping does not expire in less than two minutes";
    a_mapping_lives_five_minutes_by_default ["R4787-5c"]
        "REQ-5c: by default it lives five minutes";
    packets_from_inside_refresh ["R4787-6"]
        "REQ-6: packets from inside keep a mapping alive";
    short_timers_for_known_ports ["R4787-5a"]
        "REQ-5a: a mapping that talks to chosen ports only may end sooner, another may not";
    packets_from_outside_refresh_where_it_is_said ["R4787-6a"]
        "REQ-6a: whether packets from outside keep a mapping alive is configurable";
    filtering_by_address_or_endpoint ["R4787-8", "R4787-8a", "R5382-3"]
        "REQ-8, RFC 5382 REQ-3: filtering is endpoint-independent or address-dependent, TCP apart from UDP";
    subscribers_reach_one_another ["R4787-9", "R4787-9a", "R6598-4"]
        "REQ-9: a packet to another's external endpoint is delivered, from the sender's external endpoint";
    parity_is_kept_where_it_is_said ["R4787-4"]
        "REQ-4: where a pool says so, even stays even and odd stays odd, as long as there is such a port near";
    parity_tells_nothing ["R4787-4"]
        "RFC 7857 section 8: it need not be kept; by default an external port tells nothing of the inside one's";
    a_sip_invite_is_left_alone ["R4787-10"]
        "REQ-10: no application layer gateway changes UDP payloads";
    behaviour_does_not_depend_on_load ["R4787-11"]
        "REQ-11: mapping and filtering are the same when the ports are nearly or all used";
    what_is_too_large_is_to_be_fragmented ["R4787-13a"]
        "REQ-13a: a packet without DF that its next hop does not take is fragmented";
    fragments_in_order_and_out_of_order ["R4787-14"]
        "REQ-14: fragments are translated in whatever order they come";
    no_icmp_message_ends_a_mapping ["R4787-12"]
        "REQ-12: receiving any ICMP message ends no UDP mapping";
}

const CLIENT: Endpoint = (subscriber::PLAIN, 5000);
const SERVER: Endpoint = (remote::PLAIN, 443);
const OTHER: Endpoint = (remote::OTHER, 8053);

fn one_external_endpoint_for_every_destination(t: &mut Trial) {
    let first = t.round_trip(&Draft::udp(CLIENT, SERVER), (hop::OUTSIDE, hop::INSIDE));
    for to in [
        (SERVER.0, 7),
        (OTHER.0, 7),
        OTHER,
        (remote::EXACT, 1),
        (OTHER.0, 65_535),
    ] {
        assert_eq!(
            t.outbound(Inside, &Draft::udp(CLIENT, to), hop::OUTSIDE),
            first
        );
    }
}

fn all_mappings_of_a_host_have_one_address(t: &mut Trial) {
    for port in 0..384 {
        let draft = Draft::udp((subscriber::SIX_BLOCKS, port), SERVER);
        assert_eq!(t.outbound(Inside, &draft, hop::OUTSIDE).0, POOL[1]);
    }
}

fn no_port_is_given_twice(t: &mut Trial) {
    let mut given = BTreeSet::new();
    let mut flows = Vec::new();
    for (inside, ports) in [
        (subscriber::PLAIN, 64),
        (subscriber::TWO_BLOCKS, 128),
        (subscriber::SIX_BLOCKS, 384),
    ] {
        for port in 0..ports {
            let draft = Draft::udp((inside, port), SERVER);
            let external = t.outbound(Inside, &draft, hop::OUTSIDE);
            assert!(given.insert(external), "{external:?} has two owners");
            flows.push((draft, external));
        }
    }
    let refused = Draft::udp((subscriber::SIX_BLOCKS, 40_000), SERVER);
    t.stopped(Inside, &refused.bytes(), Reason::NoPort);
    for (draft, external) in flows {
        assert_eq!(
            t.outbound(Inside, &draft, hop::OUTSIDE),
            external,
            "none of them moved"
        );
    }
}

fn classes_are_kept_where_it_is_said(t: &mut Trial) {
    in_group(
        t,
        CLASSES,
        &[
            "a port below 1024 becomes one below 1024",
            "eight ports below 1024 are used first",
            "ports from 1024 on are used first",
        ],
        |_| {},
    );
}

fn system_ports_are_not_used(t: &mut Trial) {
    for port in [1, 53, 500, 1023] {
        let external = t.outbound(Inside, &Draft::udp((CLIENT.0, port), SERVER), hop::OUTSIDE);
        assert!(external.1 >= 1024, "{port} became {}", external.1);
    }
}

fn a_mapping_lives_two_minutes_at_the_least(t: &mut Trial) {
    assert!(configured("[timeouts]\nudp_secs = 119\n").is_err());
    let timers = timers_with("[timeouts]\nudp_secs = 120\n");
    let draft = Draft::udp(CLIENT, SERVER);
    let external = t.outbound(Inside, &draft, hop::OUTSIDE);
    t.pass(119);
    t.sweep(&timers);
    let answer = draft.answer(external);
    t.inbound(Outside, &answer, CLIENT, hop::INSIDE);
    t.pass(5);
    t.sweep(&timers);
    t.stopped(Outside, &answer.bytes(), Reason::NoMapping);
}

fn a_mapping_lives_five_minutes_by_default(t: &mut Trial) {
    let timers = default_timers();
    let draft = Draft::udp(CLIENT, SERVER);
    let external = t.outbound(Inside, &draft, hop::OUTSIDE);
    t.pass(299);
    t.sweep(&timers);
    t.inbound(Outside, &draft.answer(external), CLIENT, hop::INSIDE);
    t.pass(5);
    t.sweep(&timers);
    t.stopped(Outside, &draft.answer(external).bytes(), Reason::NoMapping);
}

fn packets_from_inside_refresh(t: &mut Trial) {
    let timers = default_timers();
    let draft = Draft::udp(CLIENT, SERVER);
    let external = t.outbound(Inside, &draft, hop::OUTSIDE);
    for _ in 0..12 {
        t.pass(100);
        t.sweep(&timers);
        assert_eq!(t.outbound(Inside, &draft, hop::OUTSIDE), external);
    }
    t.pass(299);
    t.sweep(&timers);
    t.inbound(Outside, &draft.answer(external), CLIENT, hop::INSIDE);
}

/// In a laboratory with short timers; the ports are the sweep's.
fn short_timers_for_known_ports(t: &mut Trial) {
    in_group(t, EVERYTHING, &[], |t| {
        let timers = timers_with("[timeouts]\nshort_udp_ports = [53]\nshort_udp_secs = 10\n");
        let (resolver, both) = ((CLIENT.0, 1), (CLIENT.0, 2));
        for client in [resolver, both] {
            t.outbound(Inside, &Draft::udp(client, (SERVER.0, 53)), hop::OUTSIDE);
        }
        t.outbound(Inside, &Draft::udp(both, OTHER), hop::OUTSIDE);
        t.pass(9);
        t.sweep(&timers);
        assert!(t.mapping(resolver, Protocol::Udp).is_some(), "after 9 s");
        t.pass(5);
        t.sweep(&timers);
        assert_eq!(t.mapping(resolver, Protocol::Udp), None, "after 14 s");
        t.pass(280);
        t.sweep(&timers);
        assert!(
            t.mapping(both, Protocol::Udp).is_some(),
            "it talked to 8053, too"
        );
    });
}

fn packets_from_outside_refresh_where_it_is_said(t: &mut Trial) {
    assert!(!outlives_its_timer(t), "by default they do not");
    in_group(t, EVERYTHING, &[], |t| {
        assert!(outlives_its_timer(t), "here they do");
    });
}

/// Whether a mapping is there after ten minutes with packets from outside alone.
fn outlives_its_timer(t: &mut Trial) -> bool {
    let timers = default_timers();
    let draft = Draft::udp(CLIENT, SERVER);
    let external = t.outbound(Inside, &draft, hop::OUTSIDE);
    for _ in 0..10 {
        t.pass(60);
        t.sweep(&timers);
        let _ = t.run(Outside, &draft.answer(external).bytes());
    }
    t.mapping(CLIENT, Protocol::Udp).is_some()
}

fn filtering_by_address_or_endpoint(t: &mut Trial) {
    run_cases(t, &["anyone outside may answer"]);
    let filters = [
        "by address: an address that was sent to may answer from any port",
        "by address and port: only an endpoint that was sent to may answer",
        "a hairpinned packet is filtered by its sender's external endpoint",
    ];
    in_group(t, EVERYTHING, &filters, |t| {
        // Whom an earlier mapping of the same inside port let in is a stranger to the next one.
        let (timers, inside) = (default_timers(), (subscriber::LARGE, 5000));
        let sends = |t: &mut Trial, to| t.outbound(Inside, &Draft::udp(inside, to), hop::OUTSIDE);
        let earlier = sends(t, SERVER);
        sends(t, OTHER);
        t.inbound(Outside, &Draft::udp(OTHER, earlier), inside, hop::INSIDE);
        t.pass(400);
        t.sweep(&timers);
        let next = sends(t, SERVER);
        assert_ne!(next, earlier, "the earlier port is held");
        let late = Draft::udp(OTHER, next).bytes();
        t.stopped(Outside, &late, Reason::Filtered);
        sends(t, OTHER);
        t.inbound(Outside, &Draft::udp(OTHER, next), inside, hop::INSIDE);
    });
}

fn subscribers_reach_one_another(t: &mut Trial) {
    run_cases(
        t,
        &[
            "a datagram reaches another subscriber from the sender's external endpoint",
            "the answer comes back the same way",
            "the mapping that the packet opened serves the internet",
            "to a mapping of one's own",
            "to a port that nobody has",
        ],
    );
}

/// How many of 200 mappings have a port with the parity of their inside port.
fn parities_kept(t: &mut Trial, draft: fn(Endpoint) -> Draft) -> u16 {
    let mut kept = 0;
    for port in 5000..5200 {
        let external = t.outbound(Inside, &draft((subscriber::LARGE, port)), hop::OUTSIDE);
        kept += u16::from(external.1 & 1 == port & 1);
    }
    kept
}

fn parity_is_kept_where_it_is_said(t: &mut Trial) {
    in_group(t, EVERYTHING, &[], |t| {
        assert_eq!(parities_kept(t, |from| Draft::udp(from, SERVER)), 200);
        let of_tcp = parities_kept(t, |from| Draft::tcp(flag::SYN, from, SERVER));
        assert!((60..=140).contains(&of_tcp), "TCP has none: {of_tcp}");
        // No port of a block is out of reach: the odd ones serve when no even one is left.
        let mut ports = BTreeSet::new();
        for port in (0..128).step_by(2) {
            let draft = Draft::udp((CLIENT.0, port), SERVER);
            let (_, external) = t.outbound(Inside, &draft, hop::OUTSIDE);
            assert!(ports.insert(external), "{external} twice");
        }
        let even = ports.iter().filter(|port| *port & 1 == 0).count();
        assert_eq!((even, ports.len()), (32, 64));
    });
}

fn parity_tells_nothing(t: &mut Trial) {
    let kept = parities_kept(t, |from| Draft::udp(from, SERVER));
    // Of 200 fair throws; 40 more or less are nearly six deviations.
    assert!(
        (60..=140).contains(&kept),
        "{kept} of 200 kept their parity"
    );
}

fn a_sip_invite_is_left_alone(t: &mut Trial) {
    let invite = format!(
        "INVITE sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/UDP {0}:5060;branch=z9hG4bK1\r\n\
         Contact: <sip:a@{0}:5060>\r\nContent-Type: application/sdp\r\n\r\n\
         v=0\r\nc=IN IP4 {0}\r\nm=audio 49170 RTP/AVP 0\r\n",
        CLIENT.0
    );
    let draft = Draft::udp((CLIENT.0, 5060), (SERVER.0, 5060)).with(|d| d.payload = invite.into());
    t.round_trip(&draft, (hop::OUTSIDE, hop::INSIDE));
}

fn behaviour_does_not_depend_on_load(t: &mut Trial) {
    let first = Draft::udp((CLIENT.0, 0), SERVER);
    let external = t.outbound(Inside, &first, hop::OUTSIDE);
    let mut used = 1;
    for full in [1, 61, 64] {
        for port in used..full {
            t.outbound(Inside, &Draft::udp((CLIENT.0, port), SERVER), hop::OUTSIDE);
        }
        used = full;
        let elsewhere = Draft::udp(first.source, OTHER);
        assert_eq!(
            t.outbound(Inside, &elsewhere, hop::OUTSIDE),
            external,
            "{full} of 64 used"
        );
        let stranger = Draft::udp((remote::QINQ, 7), external);
        t.inbound(Outside, &stranger, first.source, hop::INSIDE);
    }
}

/// To the slow path, which makes the fragments; see `e2e::fragments`.
fn what_is_too_large_is_to_be_fragmented(t: &mut Trial) {
    run_cases(t, &["too large for the next hop"]);
}

fn fragments_in_order_and_out_of_order(t: &mut Trial) {
    run_cases(
        t,
        &[
            "fragments in order go out and come in",
            "a fragment before the first is punted",
            "every order of three fragments",
            "fragments from and to VLANs",
            "fragments to another subscriber",
            "UDP without a checksum stays without one",
        ],
    );
}

fn no_icmp_message_ends_a_mapping(t: &mut Trial) {
    let draft = Draft::udp(CLIENT, SERVER);
    let external = t.outbound(Inside, &draft, hop::OUTSIDE);
    let before = t.mapping(CLIENT, Protocol::Udp);
    every_icmp_message_about(t, &draft, external);
    assert_eq!(t.mapping(CLIENT, Protocol::Udp), before);
    t.inbound(Outside, &draft.answer(external), CLIENT, hop::INSIDE);
}

/// Every type and the codes 0 to 15, from both sides, quoting a packet of a mapping.
pub fn every_icmp_message_about(t: &mut Trial, draft: &Draft, external: Endpoint) {
    let sent = draft.clone().with(|d| d.source = external);
    let received = draft.answer(draft.source);
    for (entry, quoted, to) in [(Outside, sent, external.0), (Inside, received, SERVER.0)] {
        let from = if entry == Outside {
            SERVER.0
        } else {
            draft.source.0
        };
        for kind in 0..=255_u8 {
            for code in 0..16 {
                let mut message = vec![kind, code, 0, 0, 0, 0, 5, 0];
                message.extend(&quoted.bytes()[14..14 + 28]);
                let icmp = Draft::new(Transport::Other(1), (from, 0), (to, 0)).with(|d| {
                    d.payload = with_checksum(message);
                });
                let _ = t.run(entry, &icmp.bytes());
            }
        }
    }
}

/// An ICMP message with its checksum, by foreign arithmetic.
pub fn with_checksum(mut message: Vec<u8>) -> Vec<u8> {
    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&message);
    message[2..4].copy_from_slice(&sum.ones_complement().to_ne_bytes());
    message
}

/// A mapping is there, and its external endpoint is this one.
pub fn is_at(mapping: Option<Mapping>, external: Endpoint) -> bool {
    mapping.is_some_and(|mapping| mapping.external == external)
}
