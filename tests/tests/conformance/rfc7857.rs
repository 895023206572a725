//! RFC 7857: what changed in the behaviour of NATs.

use cgn_common::layout::SlotState;
use cgn_common::verdict::{Protocol, Reason};
use cgn_tests::harness::trial::{Endpoint, Trial};
use cgn_tests::harness::world::{hop, remote, subscriber};
use cgn_tests::packets::{Draft, flag};
use cgn_user::dataplane::load::Entry::{Inside, Outside};

use crate::registry::{EVERYTHING, TIMED, in_group, run_cases, tests};
use crate::rfc6888::FIRST_PACKETS;
use crate::settings::{configured, default_timers, timers_with};

tests! {
    opening_and_closing_have_timers_of_their_own ["R7857-2"]
        "Section 2.1: the idle times of opening and of closing connections are configured apart, 240 seconds by default";
    a_reset_is_translated ["R7857-3"]
        "Section 2.2: a RST that matches a mapping is translated";
    a_reset_connection_lives_four_minutes ["R7857-4"]
        "Section 2.2: after a RST the state stays four minutes, and data restores the connection";
    a_blind_reset_does_no_harm ["R7857-4b"]
        "Section 2.2: a RST of somebody else does not end a connection";
    protocols_have_mappings_of_their_own ["R7857-7"]
        "Section 5: mappings of TCP, UDP and ICMP with one inside port are independent";
    filtering_is_by_protocol ["R7857-8"]
        "Section 6: a mapping of one protocol admits no packet of another";
    what_is_refused_does_not_refresh ["R7857-9"]
        "Section 7: a packet from outside that a filter refuses keeps no mapping alive, even where others do";
    answers_of_refusal_do_not_refresh ["R7857-10"]
        "Section 7.1: an ICMP error or a RST sent as an answer keeps no mapping alive";
    sessions_have_states_of_their_own ["R7857-1"]
        "Section 2: each session goes through the states of the figure";
    ports_are_not_preserved ["R7857-12", "R6056-4"]
        "Section 9, RFC 6056 section 4: every port is changed to one that is hard to guess";
    identifications_do_not_collide ["R7857-13", "S-2"]
        "Section 10, RFC 6864 section 5.3.1: hosts behind one address do not use one identification towards the same host";
}

const CLIENT: Endpoint = (subscriber::PLAIN, 5000);
const SERVER: Endpoint = (remote::PLAIN, 443);
const SYN_ACK: u8 = flag::SYN | flag::ACK;

/// An established connection; its external endpoint.
fn established(t: &mut Trial, client: Endpoint) -> Endpoint {
    let external = t.outbound(Inside, &Draft::tcp(flag::SYN, client, SERVER), hop::OUTSIDE);
    let answer = Draft::tcp(SYN_ACK, SERVER, external);
    t.inbound(Outside, &answer, client, hop::INSIDE);
    t.outbound(Inside, &Draft::tcp(flag::ACK, client, SERVER), hop::OUTSIDE);
    assert_eq!(t.state(client), SlotState::TcpEstablished);
    external
}

fn opening_and_closing_have_timers_of_their_own(t: &mut Trial) {
    let lines = "[timeouts]\ntcp_opening_secs = 30\ntcp_closing_secs = 240\n";
    let warned = configured(lines).expect("allowed");
    assert_eq!(warned.warnings.len(), 1, "30 s is warned of");
    assert_eq!(configured("").expect("good").warnings.len(), 0);
    let timers = timers_with(lines);
    let opening = (CLIENT.0, 1);
    t.outbound(
        Inside,
        &Draft::tcp(flag::SYN, opening, SERVER),
        hop::OUTSIDE,
    );
    let external = established(t, CLIENT);
    let fin = Draft::tcp(flag::FIN | flag::ACK, CLIENT, SERVER);
    t.outbound(Inside, &fin, hop::OUTSIDE);
    let fin = Draft::tcp(flag::FIN | flag::ACK, SERVER, external);
    t.inbound(Outside, &fin, CLIENT, hop::INSIDE);
    t.pass(29);
    t.sweep(&timers);
    assert!(t.mapping(opening, Protocol::Tcp).is_some());
    t.pass(5);
    t.sweep(&timers);
    assert_eq!(t.mapping(opening, Protocol::Tcp), None);
    t.pass(239 - 34);
    t.sweep(&timers);
    assert!(t.mapping(CLIENT, Protocol::Tcp).is_some());
    t.pass(5);
    t.sweep(&timers);
    assert_eq!(t.mapping(CLIENT, Protocol::Tcp), None);
}

fn a_reset_is_translated(t: &mut Trial) {
    for (client, from_inside) in [((CLIENT.0, 1), true), ((CLIENT.0, 2), false)] {
        let external = established(t, client);
        for flags in [flag::RST, flag::RST | flag::ACK] {
            if from_inside {
                let reset = Draft::tcp(flags, client, SERVER);
                assert_eq!(t.outbound(Inside, &reset, hop::OUTSIDE), external);
            } else {
                let reset = Draft::tcp(flags, SERVER, external);
                t.inbound(Outside, &reset, client, hop::INSIDE);
            }
            assert_eq!(t.state(client), SlotState::TcpTransitory);
        }
    }
}

fn a_reset_connection_lives_four_minutes(t: &mut Trial) {
    let timers = default_timers();
    let (silent, goes_on) = ((CLIENT.0, 1), (CLIENT.0, 2));
    let externals = [silent, goes_on].map(|client| {
        let external = established(t, client);
        let reset = Draft::tcp(flag::RST, SERVER, external);
        t.inbound(Outside, &reset, client, hop::INSIDE);
        external
    });
    t.pass(239);
    t.sweep(&timers);
    let data = Draft::tcp(flag::ACK, goes_on, SERVER);
    assert_eq!(t.outbound(Inside, &data, hop::OUTSIDE), externals[1]);
    assert_eq!(t.state(goes_on), SlotState::TcpEstablished);
    assert!(t.mapping(silent, Protocol::Tcp).is_some());
    t.pass(5);
    t.sweep(&timers);
    assert_eq!(t.mapping(silent, Protocol::Tcp), None);
    assert_eq!(t.state(goes_on), SlotState::TcpEstablished);
}

fn a_blind_reset_does_no_harm(t: &mut Trial) {
    let external = established(t, CLIENT);
    // From another address or port: no part of the connection.
    for stranger in [(remote::OTHER, SERVER.1), (SERVER.0, 80)] {
        let blind = Draft::tcp(flag::RST, stranger, external);
        t.inbound(Outside, &blind, CLIENT, hop::INSIDE);
        assert_eq!(t.state(CLIENT), SlotState::TcpEstablished);
    }
    // With the server's address: no more than a shorter timer, and the next segment undoes it.
    let blind = Draft::tcp(flag::RST, SERVER, external);
    t.inbound(Outside, &blind, CLIENT, hop::INSIDE);
    t.pass(200);
    t.sweep(&default_timers());
    let data = Draft::tcp(flag::ACK, SERVER, external);
    t.inbound(Outside, &data, CLIENT, hop::INSIDE);
    assert_eq!(t.state(CLIENT), SlotState::TcpEstablished);
}

fn protocols_have_mappings_of_their_own(t: &mut Trial) {
    let timers = default_timers();
    let externals = FIRST_PACKETS.map(|draft| t.outbound(Inside, &draft(CLIENT), hop::OUTSIDE));
    // One ends, and the others stay where they are.
    t.pass(65);
    t.sweep(&timers);
    let live = Protocol::ALL.map(|protocol| t.mapping(CLIENT, protocol).map(|m| m.external));
    assert_eq!(live, [Some(externals[0]), Some(externals[1]), None]);
}

fn filtering_is_by_protocol(t: &mut Trial) {
    let external = t.outbound(Inside, &Draft::tcp(flag::SYN, CLIENT, SERVER), hop::OUTSIDE);
    t.stopped(
        Outside,
        &Draft::udp(SERVER, external).bytes(),
        Reason::NoMapping,
    );
    t.stopped(
        Outside,
        &Draft::pong(SERVER.0, external).bytes(),
        Reason::NoMapping,
    );
    let client = (CLIENT.0, 6000);
    let external = t.outbound(Inside, &Draft::udp(client, SERVER), hop::OUTSIDE);
    let syn = Draft::tcp(flag::SYN, SERVER, external);
    if t.mapping(CLIENT, Protocol::Tcp)
        .is_none_or(|m| m.external != external)
    {
        t.stopped(Outside, &syn.bytes(), Reason::NoMapping);
    }
}

fn what_is_refused_does_not_refresh(t: &mut Trial) {
    in_group(t, EVERYTHING, &["what is refused changes no state"], |t| {
        let timers = default_timers();
        let external = t.outbound(Inside, &Draft::udp(CLIENT, SERVER), hop::OUTSIDE);
        let probe = Draft::udp((remote::OTHER, 7), external);
        for _ in 0..4 {
            t.pass(60);
            t.sweep(&timers);
            t.stopped(Outside, &probe.bytes(), Reason::Filtered);
        }
        assert!(t.mapping(CLIENT, Protocol::Udp).is_some(), "after 240 s");
        t.pass(65);
        t.sweep(&timers);
        assert_eq!(t.mapping(CLIENT, Protocol::Udp), None, "after 305 s");
    });
}

fn answers_of_refusal_do_not_refresh(t: &mut Trial) {
    run_cases(t, &["no error ends, opens or refreshes anything"]);
    in_group(
        t,
        EVERYTHING,
        &["a reset to a stranger lets nobody in"],
        |_| (),
    );
}

fn sessions_have_states_of_their_own(t: &mut Trial) {
    run_cases(t, &["a TCP connection's states are seen in its slot"]);
    in_group(
        t,
        TIMED,
        &["each session goes through states of its own"],
        |_| (),
    );
}

fn ports_are_not_preserved(t: &mut Trial) {
    // The block's own ports as inside ports: few may be kept, and by chance only.
    let first = t
        .outbound(Inside, &Draft::udp(CLIENT, SERVER), hop::OUTSIDE)
        .1
        & !63;
    let kept = (first..first + 63)
        .filter(|port| {
            let draft = Draft::udp((CLIENT.0, *port), SERVER);
            t.outbound(Inside, &draft, hop::OUTSIDE).1 == *port
        })
        .count();
    assert!(kept < 8, "{kept} of 63 ports were kept");
}

fn identifications_do_not_collide(t: &mut Trial) {
    run_cases(
        t,
        &[
            "datagrams of two subscribers with one identification",
            "a whole packet that may be fragmented leaves with an identification of its own",
        ],
    );
}
