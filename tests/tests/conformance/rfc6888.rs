//! RFC 6888: what a carrier-grade NAT owes.

use std::collections::BTreeSet;

use cgn_common::layout::SlotState;
use cgn_common::verdict::{Protocol, Reason};
use cgn_tests::harness::slots;
use cgn_tests::harness::trial::{Endpoint, Trial};
use cgn_tests::harness::world::{POOL, hop, remote, subscriber};
use cgn_tests::packets::{Draft, flag};
use cgn_user::dataplane::install;
use cgn_user::dataplane::load::Entry::{Inside, Outside};

use crate::registry::{LIMITED, LISTED, Verdict, in_group, run_cases, tests};
use crate::rows::behaviour;
use crate::settings::{configured, default_timers, timers_with};

tests! {
    one_address_for_all_protocols ["R6888-2"]
        "REQ-2: all mappings of a subscriber, of all protocols, have one external address";
    a_subscriber_has_so_many_ports_and_no_more ["R6888-4", "R6888-11a", "R7857-6"]
        "REQ-4, REQ-11a: external ports of a subscriber are limited; beyond the limit packets are dropped, others go on";
    the_limit_is_the_administrators ["R6888-4a"]
        "REQ-4a: the administrator sets the limit";
    new_mappings_have_a_rate ["R6888-4c"]
        "REQ-4c: the rate at which a subscriber opens mappings is limited; established flows are not slowed";
    sessions_have_a_limit ["R6888-5"]
        "REQ-5: what a subscriber can note beside its ports is limited, and so is the rate";
    every_transport_behaves_as_its_document_says ["R6888-1"]
        "REQ-1: what is translated behaves as RFC 4787, 5382 and 5508 say, and what has no such document is dropped";
    a_closed_connection_counts_as_a_used_port ["S-4"]
        "RFC 6269: a port is used, and shown as such, until its connection's last timer and its hold are over";
    chosen_destinations_go_untranslated ["R6888-6"]
        "REQ-6: traffic to chosen destinations and ports goes untranslated, and so does what comes back; the rest is translated";
    anyone_may_answer_by_default ["R6888-7"]
        "REQ-7: endpoint-independent filtering by default";
    a_freed_port_rests_for_two_minutes ["R6888-8"]
        "REQ-8: a port that was freed is not given out again for 120 seconds";
    no_mapping_makes_room_for_another ["R6888-11d"]
        "REQ-11d: existing mappings are not removed to make room for new ones";
    every_port_is_usable ["R6888-13"]
        "REQ-13: the ports that a subscriber has are used to the last one";
}

const CLIENT: Endpoint = (subscriber::PLAIN, 5000);
const SERVER: Endpoint = (remote::PLAIN, 443);

type Protocols = [fn(Endpoint) -> Draft; 3];

/// A first packet of each protocol.
pub const FIRST_PACKETS: Protocols = [
    |from| Draft::tcp(flag::SYN, from, SERVER),
    |from| Draft::udp(from, SERVER),
    |from| Draft::ping(from, SERVER.0),
];

fn one_address_for_all_protocols(t: &mut Trial) {
    for port in 0..384 {
        for draft in FIRST_PACKETS {
            let draft = draft((subscriber::SIX_BLOCKS, port));
            assert_eq!(t.outbound(Inside, &draft, hop::OUTSIDE).0, POOL[1]);
        }
    }
}

fn a_subscriber_has_so_many_ports_and_no_more(t: &mut Trial) {
    let draft = |port| Draft::udp((subscriber::SIX_BLOCKS, port), SERVER);
    let opened: Vec<_> = (0..384)
        .map(|port| t.outbound(Inside, &draft(port), hop::OUTSIDE))
        .collect();
    for port in [384, 385, 60_000] {
        t.stopped(Inside, &draft(port).bytes(), Reason::NoPort);
    }
    for (port, external) in (0..).zip(opened) {
        assert_eq!(t.outbound(Inside, &draft(port), hop::OUTSIDE), external);
    }
    t.outbound(Inside, &Draft::udp(CLIENT, SERVER), hop::OUTSIDE);
}

fn the_limit_is_the_administrators(t: &mut Trial) {
    for (blocks, ports, most) in [(1, 64, 64), (4, 512, 2048), (6, 1024, 6144)] {
        let text = format!(
            "[inside]\ninterface = \"a\"\n[outside]\ninterface = \"b\"\n\
             [[pool]]\nname = \"p\"\naddresses = [\"203.0.113.0/28\"]\n\
             block_ports = {ports}\nblocks_per_subscriber = {blocks}\n\
             [[subscribers]]\nprefixes = [\"100.64.0.0/24\"]\npool = \"p\"\n"
        );
        let checked = cgn_user::config::Config::parse(&text).expect("a good configuration");
        let pool = &checked.config.pool[0];
        assert_eq!(
            u32::from(pool.blocks_per_subscriber) * u32::from(pool.block_ports),
            most
        );
    }
    // One pool's subscribers may have six blocks of 64, another's one of 512.
    for (inside, most) in [(subscriber::SIX_BLOCKS, 384), (subscriber::LARGE, 512)] {
        for port in 0..most {
            t.outbound(Inside, &Draft::udp((inside, port), SERVER), hop::OUTSIDE);
        }
        t.stopped(
            Inside,
            &Draft::udp((inside, most), SERVER).bytes(),
            Reason::NoPort,
        );
    }
}

fn new_mappings_have_a_rate(t: &mut Trial) {
    let beginnings = ["so many new mappings at once, then so many a second"];
    in_group(t, LIMITED, &beginnings, |_| {});
}

fn sessions_have_a_limit(t: &mut Trial) {
    let beginnings = [
        "further sessions end at the limit",
        "one mapping more than the group may have is refused",
        "the limit is that of all blocks together",
    ];
    in_group(t, LIMITED, &beginnings, |_| {});
}

fn every_transport_behaves_as_its_document_says(t: &mut Trial) {
    for row in [behaviour::RFC4787, behaviour::RFC5382, behaviour::RFC5508]
        .into_iter()
        .flatten()
    {
        assert!(
            !matches!(row.verdict, Verdict::NotMet(_)),
            "{} is open",
            row.id
        );
    }
    run_cases(t, &["protocols that have no ports we know"]);
}

fn a_closed_connection_counts_as_a_used_port(t: &mut Trial) {
    let tcp = |flags, port| Draft::tcp(flags, (CLIENT.0, port), SERVER);
    let timers = default_timers();
    for port in 0..64 {
        let external = t.outbound(Inside, &tcp(flag::SYN, port), hop::OUTSIDE);
        let back = |flags| Draft::tcp(flags, SERVER, external);
        for flags in [flag::SYN | flag::ACK, flag::FIN | flag::ACK] {
            t.inbound(Outside, &back(flags), (CLIENT.0, port), hop::INSIDE);
        }
        t.outbound(Inside, &tcp(flag::FIN | flag::ACK, port), hop::OUTSIDE);
    }
    let used = |t: &Trial| {
        let index = t.world.geometry.subscriber_index(CLIENT.0).expect("one");
        install::ports_used(t.homes[0].memory(), index)[0].1[Protocol::Tcp as usize]
    };
    let live = |t: &Trial| {
        slots(t.homes[0].memory(), &t.world, CLIENT.0, Protocol::Tcp)
            .iter()
            .filter(|(_, mapping)| mapping.state == SlotState::TcpClosing as u64)
            .count()
    };
    // TIME_WAIT: 240 s in which the mappings are live, then 120 s of hold.
    t.pass(238);
    t.sweep(&timers);
    assert_eq!((used(t), live(t)), (64, 64));
    t.stopped(Inside, &tcp(flag::SYN, 99).bytes(), Reason::BlockFull);
    t.pass(5);
    t.sweep(&timers);
    assert_eq!((used(t), live(t)), (64, 0));
    t.stopped(Inside, &tcp(flag::SYN, 99).bytes(), Reason::BlockFull);
    t.pass(122);
    t.sweep(&timers);
    assert_eq!(used(t), 0);
    t.outbound(Inside, &tcp(flag::SYN, 99), hop::OUTSIDE);
}

fn chosen_destinations_go_untranslated(t: &mut Trial) {
    let cases = [
        "what bypasses goes out with its own address",
        "another port of the same server is translated",
        "what comes back from there goes to the subscriber",
        "what comes back from there to a pool address",
        "from another port nothing comes back untranslated",
        "nobody bypasses with another's address",
    ];
    in_group(t, LISTED, &cases, |_| {});
}

fn anyone_may_answer_by_default(t: &mut Trial) {
    for draft in [
        Draft::udp(CLIENT, SERVER),
        Draft::tcp(flag::SYN, CLIENT, SERVER),
    ] {
        let external = t.outbound(Inside, &draft, hop::OUTSIDE);
        for stranger in [(remote::OTHER, SERVER.1), (remote::QINQ, 7), (SERVER.0, 9)] {
            let inward = draft.answer(external).with(|d| d.source = stranger);
            t.inbound(Outside, &inward, CLIENT, hop::INSIDE);
        }
    }
}

fn a_freed_port_rests_for_two_minutes(t: &mut Trial) {
    let warned = configured("[hold]\nport_secs = 119\n").expect("allowed");
    assert!(!warned.warnings.is_empty(), "a shorter hold is warned of");
    let timers = timers_with("[timeouts]\nudp_secs = 120\n");
    let draft = |port| Draft::udp((CLIENT.0, port), SERVER);
    for port in 0..64 {
        t.outbound(Inside, &draft(port), hop::OUTSIDE);
    }
    t.pass(123);
    t.sweep(&timers);
    t.stopped(Inside, &draft(100).bytes(), Reason::BlockFull);
    t.pass(119);
    t.sweep(&timers);
    t.stopped(Inside, &draft(100).bytes(), Reason::BlockFull);
    t.pass(2);
    t.sweep(&timers);
    t.outbound(Inside, &draft(100), hop::OUTSIDE);
}

fn no_mapping_makes_room_for_another(t: &mut Trial) {
    let draft = |port| Draft::udp((CLIENT.0, port), SERVER);
    let opened: Vec<_> = (0..64)
        .map(|port| t.outbound(Inside, &draft(port), hop::OUTSIDE))
        .collect();
    for port in 64..2000 {
        t.stopped(Inside, &draft(port).bytes(), Reason::BlockFull);
    }
    t.pass(200);
    t.sweep(&default_timers());
    for (port, external) in (0..).zip(opened) {
        let answer = draft(port).answer(external);
        t.inbound(Outside, &answer, (CLIENT.0, port), hop::INSIDE);
    }
}

fn every_port_is_usable(t: &mut Trial) {
    for (protocol, draft) in Protocol::ALL.into_iter().zip(FIRST_PACKETS) {
        let mut ports = BTreeSet::new();
        for port in 0..512 {
            let external = t.outbound(Inside, &draft((subscriber::LARGE, port)), hop::OUTSIDE);
            ports.insert(external.1);
        }
        assert_eq!(ports.len(), 512);
        assert_eq!(
            ports.last().expect("512") - ports.first().expect("512"),
            511
        );
        let used = slots(t.homes[0].memory(), &t.world, subscriber::LARGE, protocol);
        assert_eq!(used.len(), 512);
    }
}
