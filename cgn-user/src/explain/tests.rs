use std::sync::Arc;

use cgn_common::layout::Side;
use cgn_common::verdict::Protocol;
use cgn_common::word::Word;

use super::{explain, packet::Packet};
use crate::api::fixture::{Fixture, HOME};
use crate::api::rows::Explanation;
use crate::dataplane::memory::Memory;
use crate::state::State;

/// HOME has ports 1344 to 1407 of 203.0.113.2 and a TCP mapping to the server;
/// OTHER_HOME has no block.
fn daemon() -> Arc<State> {
    let mut cgn = Fixture::new();
    cgn.route();
    cgn.give(HOME, [203, 0, 113, 2], 5);
    cgn.send(Protocol::Tcp, HOME, 50_000, 0);
    cgn.state(false)
}

fn ask(state: &State, words: &str) -> Explanation {
    let packet: Packet = words.parse().unwrap();
    explain(state, &packet, None, 0).unwrap()
}

/// Every word of the tables that a packet can write.
fn words(memory: &Memory) -> Vec<u64> {
    let load = |word: &Word| word.load();
    let slabs = (0..memory.slabs.len() as u32).filter_map(|line| memory.slabs.get(line));
    let mut words: Vec<u64> = slabs.flat_map(|line| line.0.iter().map(load)).collect();
    let subscribers =
        (0..memory.subscribers.len() as u32).filter_map(|i| memory.subscribers.get(i));
    words.extend(subscribers.map(|subscriber| subscriber.head.load()));
    let blocks = (0..memory.blocks.len() as u32).filter_map(|row| memory.blocks.get(row));
    words.extend(blocks.map(|row| row.0.load()));
    let ids = (0..memory.ids.len() as u32).filter_map(|i| memory.ids.get(i));
    words.extend(ids.map(load));
    let answers = (0..memory.answers.len() as u32).filter_map(|i| memory.answers.get(i));
    words.extend(answers.map(|slot| slot.0.load()));
    words.extend(
        memory
            .sessions
            .all()
            .unwrap()
            .iter()
            .map(|(_, session)| session.0),
    );
    words
}

#[test]
fn verdict_reason_and_steps_of_each_kind_of_packet() {
    let state = daemon();
    for (sentence, packet, verdict, reason, steps) in [
        (
            "an established flow",
            "tcp 100.64.0.10:50000 > 192.0.2.80:443 ack",
            "translate",
            None,
            "route_network subscriber next_hop mapping translated",
        ),
        (
            "a new one of a subscriber with a block",
            "udp 100.64.0.10:5000 > 192.0.2.80:53",
            "translate",
            None,
            "route_network subscriber next_hop open_at_home mapping translated",
        ),
        (
            "the first of a subscriber",
            "udp 100.64.0.20:5000 > 192.0.2.80:53",
            "punt",
            Some("first_packet"),
            "route_network subscriber next_hop searched",
        ),
        (
            "a source that is no subscriber's",
            "udp 100.65.0.1:5000 > 192.0.2.80:53",
            "drop",
            Some("not_for_us"),
            "route_network",
        ),
        (
            "from outside to a port without a mapping",
            "udp 192.0.2.80:53 > 203.0.113.2:1350",
            "drop",
            Some("no_mapping"),
            "pool_address",
        ),
        (
            "one whose time to live ends here",
            "udp 100.64.0.10:5000 > 192.0.2.80:53 ttl 1",
            "drop",
            Some("ttl_expired"),
            "route_network subscriber next_hop",
        ),
        (
            "one that is too big and must not be fragmented",
            "udp 100.64.0.10:5000 > 192.0.2.80:53 bytes 1501",
            "drop",
            Some("too_big"),
            "route_network subscriber next_hop",
        ),
        (
            "one that may be",
            "udp 100.64.0.10:5000 > 192.0.2.80:53 bytes 1501 may-fragment",
            "punt",
            Some("oversize"),
            "route_network subscriber next_hop rare route_network",
        ),
        (
            "to somebody's external port",
            "udp 100.64.0.10:5000 > 203.0.113.2:1350",
            "drop",
            Some("no_mapping"),
            "subscriber rare",
        ),
    ] {
        let told = ask(&state, packet);
        let taken: Vec<&str> = told.steps.iter().map(|row| row.step.as_str()).collect();
        assert_eq!(told.verdict, verdict, "{sentence}: {told:?}");
        assert_eq!(told.reason.as_deref(), reason, "{sentence}: {told:?}");
        assert_eq!(taken.join(" "), steps, "{sentence}");
    }
}

#[test]
fn the_mapping_and_the_way_back() {
    let state = daemon();
    let known = ask(&state, "tcp 100.64.0.10:50000 > 192.0.2.80:443 ack");
    let mapping = known.mapping.as_ref().unwrap();
    assert!(!known.mapping_is_new && (1344..1408).contains(&mapping.external_port));
    let (external, port) = (mapping.external, mapping.external_port);
    let sent = known.sent.as_ref().unwrap();
    let words = format!("tcp {external}:{port} > 192.0.2.80:443 ack ttl 63 bytes 40");
    assert_eq!(sent.packet.as_deref(), Some(words.as_str()));
    assert_eq!(sent.link_address, "02:00:00:00:00:01");
    let answer = known.answer.unwrap();
    assert_eq!(
        (answer.verdict.as_str(), answer.side.as_str()),
        ("translate", "outside")
    );
    let back = answer.sent.unwrap().packet.unwrap();
    assert_eq!(
        back,
        "tcp 192.0.2.80:443 > 100.64.0.10:50000 ack ttl 63 bytes 40"
    );
    let new = ask(&state, "udp 100.64.0.10:5000 > 192.0.2.80:53");
    assert!(new.mapping_is_new, "it would be opened");
    assert_eq!(
        new.answer.unwrap().verdict,
        "translate",
        "the answer finds it"
    );
}

#[test]
fn nothing_of_it_is_seen_in_the_tables_of_the_daemon() {
    let state = daemon();
    let before = words(&state.memory);
    for (packet, opens) in [
        ("tcp 100.64.0.10:50000 > 192.0.2.80:443 rst", false),
        ("udp 100.64.0.10:5000 > 192.0.2.80:53", true),
        ("udp 100.64.0.10:5001 > 192.0.2.80:53 may-fragment", true),
        ("udp 100.64.0.20:5000 > 192.0.2.80:53", false),
        ("icmp 100.64.0.10:7 > 192.0.2.80", true),
    ] {
        // Twice: what the first would have opened is not there.
        for _ in 0..2 {
            assert_eq!(ask(&state, packet).mapping_is_new, opens, "{packet}");
        }
        assert_eq!(words(&state.memory), before, "{packet}");
    }
    // The look is fine enough: a change of one word is seen.
    state
        .memory
        .header(state.geometry.slab_line(0, 0))
        .unwrap()
        .0[0]
        .add(1);
    assert_ne!(words(&state.memory), before);
}

#[test]
fn the_side_can_be_said() {
    let state = daemon();
    let packet: Packet = "udp 10.9.9.9:5000 > 192.0.2.80:53".parse().unwrap();
    let told = explain(&state, &packet, Some(Side::Inside), 0).unwrap();
    assert_eq!(told.reason.as_deref(), Some("spoofed_source"));
    assert_eq!(told.interface, "in0");
}
