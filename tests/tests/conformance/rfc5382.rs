//! RFC 5382: TCP.

use std::collections::BTreeSet;

use cgn_common::layout::SlotState;
use cgn_common::verdict::{Protocol, Reason};
use cgn_tests::harness::trial::{Endpoint, Trial};
use cgn_tests::harness::world::{hop, remote, subscriber};
use cgn_tests::packets::{Draft, flag};
use cgn_user::dataplane::load::Entry::{Inside, Outside};

use crate::registry::{TOLD, in_group, run_cases, tests};
use crate::rfc4787::{every_icmp_message_about, is_at};
use crate::settings::{configured, default_timers};

tests! {
    one_external_endpoint_for_every_server ["R5382-1"]
        "REQ-1: one inside address and port keeps one external address and port for all servers";
    all_sequences_of_segments_pass ["R5382-2"]
        "REQ-2: all valid sequences of TCP segments pass, whoever begins";
    both_sides_may_open_at_once ["R5382-2a"]
        "REQ-2a: a simultaneous open passes";
    a_syn_that_nobody_waits_for_gets_no_answer ["R5382-4a"]
        "REQ-4a: an unsolicited SYN is dropped in silence where policy says so";
    a_syn_that_nobody_waits_for_goes_where_it_can_wait ["R5382-4", "R5382-4b"]
        "REQ-4: an unsolicited SYN is answered after six seconds at the earliest; few of a flood get so far";
    an_established_connection_may_be_silent_for_7440_seconds ["R5382-5", "R7857-1b"]
        "REQ-5: an idle established connection lives 2 hours 4 minutes, others 4 minutes; in all, not on top";
    an_ftp_control_channel_is_left_alone ["R5382-6"]
        "REQ-6: no application layer gateway changes TCP payloads";
    no_port_is_given_twice ["R5382-7"]
        "REQ-7: two live mappings never share an external address and port";
    connections_between_subscribers ["R5382-8"]
        "REQ-8: a connection to another's external endpoint is delivered, from the sender's external endpoint";
    no_icmp_message_ends_a_connection ["R5382-10"]
        "REQ-10: receiving any ICMP message ends neither mapping nor connection";
}

const CLIENT: Endpoint = (subscriber::PLAIN, 5000);
const SERVER: Endpoint = (remote::PLAIN, 443);
const S: u8 = flag::SYN;
const A: u8 = flag::ACK;
const F: u8 = flag::FIN | flag::ACK;
const R: u8 = flag::RST;

/// Who sends, and with which flags.
#[derive(Clone, Copy)]
enum Segment {
    Out(u8),
    In(u8),
}
use Segment::{In, Out};

/// Sends segments of one connection, each of which must arrive; ends with the state of the mapping.
fn converse(t: &mut Trial, client: Endpoint, segments: &[Segment]) -> SlotState {
    let mut external = None;
    for segment in segments {
        match (*segment, external) {
            (Out(flags), _) => {
                let draft = Draft::tcp(flags, client, SERVER);
                let now = t.outbound(Inside, &draft, hop::OUTSIDE);
                assert_eq!(*external.get_or_insert(now), now, "the mapping moved");
            }
            (In(flags), Some(external)) => {
                let draft = Draft::tcp(flags, SERVER, external);
                t.inbound(Outside, &draft, client, hop::INSIDE);
            }
            (In(_), None) => panic!("the first segment comes from inside"),
        }
    }
    t.state(client)
}

fn one_external_endpoint_for_every_server(t: &mut Trial) {
    let first = t.outbound(Inside, &Draft::tcp(S, CLIENT, SERVER), hop::OUTSIDE);
    for to in [(SERVER.0, 80), (remote::OTHER, 80), (remote::OTHER, 81)] {
        let again = t.outbound(Inside, &Draft::tcp(S, CLIENT, to), hop::OUTSIDE);
        assert_eq!(again, first);
    }
}

fn all_sequences_of_segments_pass(t: &mut Trial) {
    use SlotState::{TcpClosing, TcpEstablished, TcpInit, TcpTransitory};
    let cases: &[(&str, &[Segment], SlotState)] = &[
        (
            "handshake and data",
            &[Out(S), In(S | A), Out(A), In(A), Out(A)],
            TcpEstablished,
        ),
        ("the SYN is sent again", &[Out(S), Out(S), Out(S)], TcpInit),
        (
            "the answer is lost and sent again",
            &[Out(S), In(S | A), In(S | A), Out(A)],
            TcpEstablished,
        ),
        (
            "the client closes, the server goes on",
            &[Out(S), In(S | A), Out(A), Out(F), In(A), In(A), Out(A)],
            SlotState::TcpInsideFin,
        ),
        (
            "the server closes, the client goes on",
            &[Out(S), In(S | A), Out(A), In(F), Out(A), Out(A), In(A)],
            SlotState::TcpOutsideFin,
        ),
        (
            "one closes, then the other",
            &[Out(S), In(S | A), Out(A), Out(F), In(A), In(F), Out(A)],
            TcpClosing,
        ),
        (
            "both close at once",
            &[Out(S), In(S | A), Out(A), Out(F), In(F), Out(A), In(A)],
            TcpClosing,
        ),
        ("the server refuses", &[Out(S), In(R | A)], TcpInit),
        (
            "the client aborts while opening",
            &[Out(S), Out(R)],
            TcpInit,
        ),
        (
            "the client aborts",
            &[Out(S), In(S | A), Out(A), Out(R)],
            TcpTransitory,
        ),
        (
            "the server aborts",
            &[Out(S), In(S | A), Out(A), In(R)],
            TcpTransitory,
        ),
        (
            "an abort while closing",
            &[Out(S), In(S | A), Out(A), Out(F), In(R)],
            TcpTransitory,
        ),
        (
            "the port is used for the next connection",
            &[Out(S), In(S | A), Out(F), In(F), Out(A), Out(S), In(S | A)],
            TcpEstablished,
        ),
    ];
    for (number, (sentence, segments, state)) in (0..).zip(cases) {
        let client = (CLIENT.0, 6000 + number);
        assert_eq!(converse(t, client, segments), *state, "{sentence}");
    }
    // Data in the SYN.
    let draft = Draft::tcp(S, (CLIENT.0, 7000), SERVER).with(|d| d.payload = vec![7; 100]);
    t.round_trip(&draft, (hop::OUTSIDE, hop::INSIDE));
}

fn both_sides_may_open_at_once(t: &mut Trial) {
    let segments = [Out(S), In(S), Out(S | A), In(S | A), Out(A), In(A)];
    assert_eq!(converse(t, CLIENT, &segments), SlotState::TcpEstablished);
}

fn a_syn_that_nobody_waits_for_gets_no_answer(t: &mut Trial) {
    let external = t.outbound(Inside, &Draft::tcp(S, CLIENT, SERVER), hop::OUTSIDE);
    for port in (1024..1088).filter(|port| *port != external.1) {
        let syn = Draft::tcp(S, (remote::OTHER, 1), (external.0, port));
        t.stopped(Outside, &syn.bytes(), Reason::NoMapping);
    }
}

fn a_syn_that_nobody_waits_for_goes_where_it_can_wait(t: &mut Trial) {
    let beginnings = &[
        "a SYN from outside that nobody waits for",
        "a flood of SYNs that nobody waits for",
    ];
    in_group(t, TOLD, beginnings, |_| {});
}

fn an_established_connection_may_be_silent_for_7440_seconds(t: &mut Trial) {
    for refused in ["tcp_established_secs = 7439", "tcp_opening_secs = 0"] {
        assert!(
            configured(&format!("[timeouts]\n{refused}\n")).is_err(),
            "{refused}"
        );
    }
    let timers = default_timers();
    let (opening, closing) = ((CLIENT.0, 1), (CLIENT.0, 2));
    converse(t, CLIENT, &[Out(S), In(S | A), Out(A)]);
    converse(t, opening, &[Out(S)]);
    converse(t, closing, &[Out(S), In(S | A), Out(A), Out(F), In(F)]);
    t.pass(239);
    t.sweep(&timers);
    assert!(
        t.mapping(opening, Protocol::Tcp).is_some(),
        "opening, after 239 s"
    );
    assert!(
        t.mapping(closing, Protocol::Tcp).is_some(),
        "closing, after 239 s"
    );
    t.pass(5);
    t.sweep(&timers);
    assert_eq!(
        t.mapping(opening, Protocol::Tcp),
        None,
        "opening, after 244 s"
    );
    assert_eq!(
        t.mapping(closing, Protocol::Tcp),
        None,
        "closing, after 244 s"
    );
    t.pass(7439 - 244);
    t.sweep(&timers);
    // From both sides.
    converse(t, CLIENT, &[Out(A), In(A)]);
    t.pass(7439);
    t.sweep(&timers);
    assert!(
        t.mapping(CLIENT, Protocol::Tcp).is_some(),
        "established, after 7439 s"
    );
    t.pass(5);
    t.sweep(&timers);
    assert_eq!(
        t.mapping(CLIENT, Protocol::Tcp),
        None,
        "established, after 7444 s"
    );
}

fn an_ftp_control_channel_is_left_alone(t: &mut Trial) {
    let client = (CLIENT.0, 4021);
    for (flags, said) in [
        (S, String::new()),
        (A, format!("PORT {},19,137\r\n", CLIENT.0).replace('.', ",")),
        (A, format!("EPRT |1|{}|5001|\r\n", CLIENT.0)),
        (A, "PASV\r\n".to_owned()),
    ] {
        let draft = Draft::tcp(flags, client, (SERVER.0, 21)).with(|d| d.payload = said.into());
        t.outbound(Inside, &draft, hop::OUTSIDE);
    }
}

fn no_port_is_given_twice(t: &mut Trial) {
    let mut given = BTreeSet::new();
    for (inside, ports) in [(subscriber::PLAIN, 64), (subscriber::TWO_BLOCKS, 128)] {
        for port in 0..ports {
            let draft = Draft::tcp(S, (inside, port), SERVER);
            let external = t.outbound(Inside, &draft, hop::OUTSIDE);
            assert!(given.insert(external), "{external:?} has two owners");
        }
    }
}

fn connections_between_subscribers(t: &mut Trial) {
    run_cases(t, &["a TCP connection between two subscribers"]);
}

fn no_icmp_message_ends_a_connection(t: &mut Trial) {
    assert_eq!(
        converse(t, CLIENT, &[Out(S), In(S | A), Out(A)]),
        SlotState::TcpEstablished
    );
    let external = t.mapping(CLIENT, Protocol::Tcp).expect("open").external;
    every_icmp_message_about(t, &Draft::tcp(A, CLIENT, SERVER), external);
    assert!(is_at(t.mapping(CLIENT, Protocol::Tcp), external));
    assert_eq!(
        converse(t, CLIENT, &[Out(A), In(A)]),
        SlotState::TcpEstablished
    );
}
