//! RFC 5508: ICMP.

use cgn_common::verdict::{Protocol, Reason};
use cgn_tests::harness::Ending;
use cgn_tests::harness::trial::{Endpoint, Trial};
use cgn_tests::harness::world::{hop, remote, subscriber};
use cgn_tests::packets::{Draft, Transport};
use cgn_user::dataplane::load::Entry::{Inside, Outside};

use crate::registry::tests;
use crate::rfc4787::with_checksum;
use crate::settings::{configured, default_timers};

tests! {
    queries_of_two_hosts_are_told_apart ["R5508-1"]
        "REQ-1: hosts that ask with the same identifier get each its own replies";
    one_external_identifier_for_every_destination ["R5508-1a"]
        "REQ-1a: an inside host and identifier keep one external identifier for all destinations";
    a_query_waits_sixty_seconds ["R5508-2", "R7857-14"]
        "REQ-2: a query session lives 60 seconds at the least, and its mapping ends with it";
    what_is_deprecated_is_not_translated ["R5508-10c"]
        "REQ-10c: source quench and information messages are not supported";
    unknown_types_are_dropped ["R5508-11"]
        "REQ-11: what is neither query nor error is dropped by policy";
}

const CLIENT: Endpoint = (subscriber::PLAIN, 77);

fn queries_of_two_hosts_are_told_apart(t: &mut Trial) {
    let clients = [CLIENT, (subscriber::TWO_BLOCKS, CLIENT.1)];
    let externals =
        clients.map(|client| t.outbound(Inside, &Draft::ping(client, remote::PLAIN), hop::OUTSIDE));
    assert_ne!(externals[0], externals[1]);
    for (client, external) in clients.into_iter().zip(externals) {
        let reply = Draft::pong(remote::PLAIN, external);
        t.inbound(Outside, &reply, client, hop::INSIDE);
    }
}

fn one_external_identifier_for_every_destination(t: &mut Trial) {
    let [first, second] = [remote::PLAIN, remote::OTHER]
        .map(|to| t.outbound(Inside, &Draft::ping(CLIENT, to), hop::OUTSIDE));
    assert_eq!(first, second);
}

fn a_query_waits_sixty_seconds(t: &mut Trial) {
    assert!(configured("[timeouts]\nicmp_secs = 59\n").is_err());
    let timers = default_timers();
    let external = t.outbound(Inside, &Draft::ping(CLIENT, remote::PLAIN), hop::OUTSIDE);
    let reply = Draft::pong(remote::PLAIN, external);
    t.pass(59);
    t.sweep(&timers);
    t.inbound(Outside, &reply, CLIENT, hop::INSIDE);
    t.pass(5);
    t.sweep(&timers);
    t.stopped(Outside, &reply.bytes(), Reason::NoMapping);
    assert_eq!(t.mapping(CLIENT, Protocol::Icmp), None);
}

fn what_is_deprecated_is_not_translated(t: &mut Trial) {
    let external = t.outbound(Inside, &Draft::ping(CLIENT, remote::PLAIN), hop::OUTSIDE);
    for kind in [4, 15, 16] {
        refused_both_ways(t, kind, external);
    }
}

fn unknown_types_are_dropped(t: &mut Trial) {
    let external = t.outbound(Inside, &Draft::ping(CLIENT, remote::PLAIN), hop::OUTSIDE);
    for kind in [1, 2, 7, 41, 200, 255] {
        refused_both_ways(t, kind, external);
    }
}

/// A message of a type with the mapping's identifier: dropped, and counted for one reason.
fn refused_both_ways(t: &mut Trial, kind: u8, external: Endpoint) {
    let quoted = Draft::ping(external, remote::PLAIN).bytes();
    let [high, low] = external.1.to_be_bytes();
    let mut message = vec![kind, 0, 0, 0, high, low, 0, 1];
    message.extend(&quoted[14..]);
    let message = with_checksum(message);
    for (entry, from, to) in [
        (Outside, remote::PLAIN, external.0),
        (Inside, CLIENT.0, remote::PLAIN),
    ] {
        let icmp = Draft::new(Transport::Other(1), (from, 0), (to, 0))
            .with(|d| d.payload.clone_from(&message));
        let run = t.run(entry, &icmp.bytes());
        assert!(
            matches!(run.ending, Ending::Dropped(_)),
            "type {kind}: {:?}",
            run.ending
        );
        assert_eq!(
            run.counters.reasons.iter().sum::<u64>(),
            1,
            "type {kind}: one reason"
        );
    }
}
