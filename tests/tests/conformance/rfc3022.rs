//! RFC 3022, and what RFC 5597 and RFC 5135 say of other protocols.

use cgn_common::verdict::Reason;
use cgn_tests::harness::Ending;
use cgn_tests::harness::trial::{Endpoint, Trial};
use cgn_tests::harness::world::{POOL, hop, remote, subscriber};
use cgn_tests::packets::check::judge;
use cgn_tests::packets::{Draft, Transport, flag};
use cgn_user::dataplane::load::Entry::{Inside, Outside};

use crate::registry::{run_cases, tests};

tests! {
    checksums_are_right_after_translation ["R3022-1"]
        "Section 4.1: checksums are adjusted; UDP without one stays without, and one that becomes 0 is sent as ffff";
    the_rest_of_the_header_is_kept ["R3022-2"]
        "The time to live goes down by one; don't fragment, type of service and options are kept";
    no_private_source_leaves ["R3022-3"]
        "No packet leaves with a private source address";
    dccp_is_not_offered ["R5597-1"]
        "DCCP is translated as RFC 5597 says, or not at all";
    other_protocols_are_dropped_each_with_its_counter ["R5597-2"]
        "GRE, ESP, AH, SCTP, IPv6 and IPv4 in IPv4, and whatever else, have a stated policy: dropped, and counted apart";
    multicast_is_not_forwarded ["R5135-1"]
        "Multicast and IGMP from inside are not forwarded";
}

const CLIENT: Endpoint = (subscriber::PLAIN, 5000);
const SERVER: Endpoint = (remote::PLAIN, 443);
const THERE: (u16, u16) = (hop::OUTSIDE, hop::INSIDE);

fn checksums_are_right_after_translation(t: &mut Trial) {
    for length in 0..64_u8 {
        let payload: Vec<u8> = (0..length).map(|at| at.wrapping_mul(37)).collect();
        for draft in [
            Draft::tcp(flag::ACK, CLIENT, SERVER),
            Draft::udp(CLIENT, SERVER),
            Draft::ping(CLIENT, SERVER.0),
            Draft::new(Transport::Udp { checksum: false }, CLIENT, SERVER),
        ] {
            t.round_trip(&draft.with(|d| d.payload.clone_from(&payload)), THERE);
        }
    }
    for frame in &t.translated {
        let judged = judge(frame).expect("a packet");
        assert!(judged.ip_right && judged.transport_right, "{judged:?}");
    }
    becomes_zero(t);
}

/// A payload word chosen so that the translated datagram sums to zero.
fn becomes_zero(t: &mut Trial) {
    let draft = Draft::udp(CLIENT, SERVER).with(|d| d.payload = vec![0, 0]);
    let external = t.outbound(Inside, &draft, hop::OUTSIDE);
    let field = |bytes: &[u8]| [bytes[14 + 26], bytes[14 + 27]];
    let there = draft.clone().with(|d| d.source = external);
    let word = field(&there.bytes());
    let zero = draft.with(|d| d.payload = word.to_vec());
    let run = t.run(Inside, &zero.bytes());
    assert_eq!(field(&run.bytes), [0xff, 0xff]);
}

fn the_rest_of_the_header_is_kept(t: &mut Trial) {
    for (ttl, tos, dont_fragment, options) in [
        (255, 0, true, 0),
        (64, 0xb8, false, 4),
        (2, 0x03, true, 40),
        (128, 0x48, false, 12),
    ] {
        let draft = Draft::udp(CLIENT, SERVER).with(|d| {
            (d.ttl, d.tos, d.dont_fragment) = (ttl, tos, dont_fragment);
            d.options = vec![1; options];
        });
        t.round_trip(&draft, THERE);
    }
}

fn no_private_source_leaves(t: &mut Trial) {
    let private = [
        [10, 0, 0, 1],
        [172, 16, 0, 1],
        [172, 31, 255, 255],
        [192, 168, 1, 1],
        [100, 64, 0, 200],
        [100, 127, 255, 255],
        [169, 254, 1, 1],
    ];
    for source in private.map(std::net::Ipv4Addr::from) {
        for draft in [
            Draft::tcp(flag::SYN, (source, 5000), SERVER),
            Draft::udp((source, 5000), SERVER),
            Draft::ping((source, 5000), SERVER.0),
        ] {
            t.stopped(Inside, &draft.bytes(), Reason::SpoofedSource);
        }
    }
    // What is translated leaves with a pool's address; what is not does not leave.
    for protocol in 0..=255 {
        let draft = Draft::new(Transport::Other(protocol), CLIENT, SERVER);
        let run = t.run(Inside, &draft.bytes());
        if matches!(run.ending, Ending::Sent { .. }) {
            assert!(judge(&run.bytes).is_some_and(|j| POOL.contains(&j.source)));
        }
    }
}

fn dccp_is_not_offered(t: &mut Trial) {
    let dccp = Draft::new(Transport::Other(33), CLIENT, SERVER);
    t.stopped(Inside, &dccp.bytes(), Reason::UnsupportedDccp);
    let inward = Draft::new(Transport::Other(33), SERVER, (POOL[0], 0));
    t.stopped(Outside, &inward.bytes(), Reason::UnsupportedDccp);
}

fn other_protocols_are_dropped_each_with_its_counter(t: &mut Trial) {
    run_cases(t, &["protocols that have no ports we know"]);
}

fn multicast_is_not_forwarded(t: &mut Trial) {
    let igmp = Draft::new(Transport::Other(2), CLIENT, ([224, 0, 0, 22].into(), 0));
    t.stopped(Inside, &igmp.bytes(), Reason::Multicast);
    for group in [[224, 0, 0, 1], [232, 1, 2, 3], [239, 255, 255, 250]] {
        let draft = Draft::udp(CLIENT, (group.into(), 1900));
        t.stopped(Inside, &draft.bytes(), Reason::Multicast);
    }
}
