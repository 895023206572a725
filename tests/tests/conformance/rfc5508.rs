//! RFC 5508: ICMP.

use cgn_common::verdict::{Protocol, Reason};
use cgn_tests::harness::Ending;
use cgn_tests::harness::trial::{Endpoint, Trial};
use cgn_tests::harness::world::{hop, remote, subscriber};
use cgn_tests::packets::{Draft, Transport};
use cgn_user::dataplane::load::Entry::{Inside, Outside};

use crate::registry::{run_cases, tests};
use crate::rfc4787::with_checksum;
use crate::settings::{configured, default_timers};

tests! {
    queries_of_two_hosts_are_told_apart ["R5508-1"]
        "REQ-1: hosts that ask with the same identifier get each its own replies";
    one_external_identifier_for_every_destination ["R5508-1a"]
        "REQ-1a: an inside host and identifier keep one external identifier for all destinations";
    a_query_waits_sixty_seconds ["R5508-2", "R7857-14"]
        "REQ-2: a query session lives 60 seconds at the least, and its mapping ends with it";
    damaged_errors_are_dropped ["R5508-3", "R5508-3a"]
        "REQ-3, REQ-3a: an error whose own checksum or whose quoted header's checksum is wrong is dropped";
    options_in_the_quoted_header_are_passed_over ["R5508-3b"]
        "REQ-3b: the quoted transport header is found behind IP options";
    quoted_transport_checksums_are_not_verified ["R5508-3c"]
        "REQ-3c: what is cut off or wrong in the quoted transport does not stop an error";
    extensions_are_kept ["R5508-3d"]
        "REQ-3d: extensions behind the quoted packet stay as they are (RFC 4884)";
    errors_from_outside_reach_the_sender ["R5508-4", "R4787-12a", "R4787-12b", "R5382-9", "S-1"]
        "REQ-4, RFC 4787 REQ-12: an error about a mapping's packet, whoever reports it, reaches the inside host; any other is dropped";
    errors_from_inside_leave ["R5508-5"]
        "REQ-5: an error of an inside host leaves with its external address, quoting the external endpoint";
    errors_refresh_and_end_nothing ["R5508-6"]
        "REQ-6: errors about a session neither refresh nor end it";
    errors_between_subscribers ["R5508-7", "R7857-15"]
        "REQ-7, RFC 7857 section 12: errors about hairpinned packets are translated twice";
    errors_about_errors_are_dropped ["R6598-4"]
        "An error that quotes an error is dropped, and none shows an inside address outside";
    what_is_deprecated_is_not_translated ["R5508-10c"]
        "REQ-10c: source quench and information messages are not supported";
    optional_messages_are_dropped ["R5508-10b"]
        "REQ-10b: redirects, router messages, timestamps and masks need not be supported";
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

fn damaged_errors_are_dropped(t: &mut Trial) {
    run_cases(
        t,
        &["a wrong checksum of the message, or of the quoted header"],
    );
}

fn options_in_the_quoted_header_are_passed_over(t: &mut Trial) {
    run_cases(
        t,
        &["options in the quoted header, in the outer one, in both"],
    );
}

fn quoted_transport_checksums_are_not_verified(t: &mut Trial) {
    run_cases(
        t,
        &[
            "the quoted time to live and a wrong quoted transport checksum stay",
            "whatever is cut off of the quoted packet",
        ],
    );
}

fn extensions_are_kept(t: &mut Trial) {
    run_cases(t, &["extensions behind the quoted packet stay"]);
}

fn errors_from_outside_reach_the_sender(t: &mut Trial) {
    run_cases(
        t,
        &[
            "every code of unreachable, time exceeded, parameter problem",
            "about UDP with and without checksum, TCP, an echo request",
            "no mapping, another protocol, a port of nobody",
            "about another's packet than that of whom it is sent to",
        ],
    );
}

fn errors_from_inside_leave(t: &mut Trial) {
    run_cases(
        t,
        &[
            "a subscriber's own error leaves with his external endpoint",
            "an error from inside about nobody's packet",
        ],
    );
}

fn errors_refresh_and_end_nothing(t: &mut Trial) {
    run_cases(t, &["no error ends, opens or refreshes anything"]);
    // For ten minutes, every 20 seconds, about a query: it ends all the same.
    let timers = default_timers();
    let external = t.outbound(Inside, &Draft::ping(CLIENT, remote::PLAIN), hop::OUTSIDE);
    let quoted = Draft::ping(external, remote::PLAIN).packet();
    let error = Draft::icmp_error((3, 1), [0; 4], &quoted, remote::OTHER, external.0);
    let mut passed = 0;
    for secs in (20..=600).step_by(20) {
        t.pass(20);
        t.sweep(&timers);
        let run = t.run(Outside, &error.bytes());
        if matches!(run.ending, Ending::Sent { .. }) {
            passed = secs;
        }
    }
    assert_eq!(passed, 60, "the last error that found the mapping");
}

fn errors_between_subscribers(t: &mut Trial) {
    run_cases(
        t,
        &[
            "an error about a hairpinned packet",
            "an error about a hairpinned echo request",
            "an echo request to another's query, and the reply",
            "an echo request to one's own query",
        ],
    );
}

fn errors_about_errors_are_dropped(t: &mut Trial) {
    run_cases(t, &["about an ICMP error, whatever its type"]);
}

fn what_is_deprecated_is_not_translated(t: &mut Trial) {
    let external = t.outbound(Inside, &Draft::ping(CLIENT, remote::PLAIN), hop::OUTSIDE);
    for kind in [4, 15, 16] {
        refused_both_ways(t, kind, external);
    }
}

fn optional_messages_are_dropped(t: &mut Trial) {
    let external = t.outbound(Inside, &Draft::ping(CLIENT, remote::PLAIN), hop::OUTSIDE);
    for kind in [5, 9, 10, 13, 14, 17, 18] {
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
        assert_eq!(run.counters.all_ended(), 1, "type {kind}: one reason");
    }
}
