//! The table of sessions and its sweep, short timers, and the limit of holds.

use std::collections::HashMap;

use cgn_common::layout::{
    Features, Filtering, Policy, Session, SessionKey, SlotKey, SlotState, header, peer,
};
use cgn_common::limits::{SLOTS_PER_BUCKET, STAMP_TICKS};
use cgn_common::nat::lookup::Peer;
use cgn_common::nat::session::{Departure, Party, depart};
use cgn_common::verdict::Protocol;

use super::super::install::give;
use super::super::memory::Memory;
use super::super::session_sweep::Pass;
use super::super::sessions::Sessions;
use super::super::sweep::{Logged, PortSet, Timers, sweep_slab};
use super::super::tables::{Counted, UserTables};
use super::floods::Nowhere;
use super::{INSIDE, grant, small};

/// All different, so that a wrong one is seen.
const TIMERS: Timers = Timers {
    udp: 1000,
    icmp: 200,
    tcp_established: 30_000,
    tcp_opening: 700,
    tcp_closing: 900,
    short_udp: 100,
    short_udp_ports: PortSet::NONE,
    hold: 400,
    hold_room: u32::MAX,
    logged: Logged::Nothing,
};

/// A session of the mapping with external port 1024.
fn session(protocol: Protocol, number: u16, state: SlotState, seen: u32) -> (SessionKey, Session) {
    let inside = (INSIDE.to_bits(), 5000);
    let key = SessionKey::new(protocol, inside, 0x0808_0808, number);
    (key, Session::new(1024, state, seen))
}

#[test]
fn a_full_table_takes_no_more_and_loses_none() {
    let sessions = Sessions::private(2);
    let [a, b, c] = [1, 2, 3].map(|n| session(Protocol::Udp, n, SlotState::Open, 7));
    assert!(sessions.enter(&a.0, a.1.0));
    assert!(sessions.enter(&b.0, b.1.0));
    assert!(!sessions.enter(&c.0, c.1.0), "it is full");
    assert!(!sessions.enter(&a.0, a.1.0), "nobody is entered twice");
    assert_eq!(sessions.all().expect("readable"), [a, b]);
    assert!(sessions.end(&a.0, a.1));
    assert!(sessions.enter(&c.0, c.1.0), "there is room again");
    assert_eq!(sessions.all().expect("readable"), [b, c]);
}

#[test]
fn a_session_that_changed_since_it_was_seen_is_not_ended() {
    let sessions = Sessions::private(2);
    let (key, seen) = session(Protocol::Tcp, 1, SlotState::TcpEstablished, 7);
    assert!(sessions.enter(&key, seen.0));
    let changed = sessions.with(&key, |word| word.store(seen.0 + 1));
    assert!(changed.is_some());
    assert!(!sessions.end(&key, seen));
    assert!(sessions.end(&key, Session(seen.0 + 1)));
    assert!(!sessions.end(&key, Session(seen.0 + 1)), "it is out");
}

#[test]
fn every_session_ends_after_the_timer_of_its_own_state() {
    use Protocol::{Icmp, Tcp, Udp};
    use SlotState as S;
    for (protocol, state, timeout) in [
        (Udp, S::Open, TIMERS.udp),
        (Icmp, S::Open, TIMERS.icmp),
        (Tcp, S::TcpInit, TIMERS.tcp_opening),
        (Tcp, S::TcpEstablished, TIMERS.tcp_established),
        (Tcp, S::TcpInsideFin, TIMERS.tcp_established),
        (Tcp, S::TcpClosing, TIMERS.tcp_closing),
        (Tcp, S::TcpTransitory, TIMERS.tcp_closing),
        // Who may answer, for any port of an address.
        (Tcp, S::Open, TIMERS.tcp_established),
    ] {
        for seen in [5, u32::MAX - 10] {
            let sessions = Sessions::private(1);
            let (key, word) = session(protocol, 1, state, seen);
            assert!(sessions.enter(&key, word.0));
            let end = seen.wrapping_add(timeout + STAMP_TICKS);
            for (now, live) in [(end.wrapping_sub(1), 1), (end, 0)] {
                let mut pass = Pass::new(now);
                assert!(pass.advance(&sessions, now, |_| &TIMERS).expect("readable"));
                let what = format!("{protocol:?} {state:?} at {now}");
                assert_eq!((pass.live, pass.expired), (live, 1 - live), "{what}");
                assert_eq!(sessions.all().expect("readable").len(), live as usize);
            }
        }
    }
}

/// One slab with mapping 5000 -> 1024 in its first slot.
struct World {
    memory: Memory,
    line: u32,
}

impl World {
    fn new(protocol: Protocol, key: SlotKey, remote_port: u16) -> Self {
        let (geometry, memory) = small();
        give(&memory, &geometry, &grant(0), 0, 0).expect("free");
        let line = geometry.slab_line(0, 0);
        assert!(memory.room(line).expect("a slab").take_port(protocol));
        let world = Self { memory, line };
        let parts = world.memory.parts;
        let keys = parts.keys(line, protocol);
        let slabs = &world.memory.slabs;
        let peers = slabs.get(parts.peers(keys)).expect("in the slab");
        peers.at(0).store(peer::remote(0x0101_0101, remote_port));
        world.slot(protocol).at(0).store(key.0);
        world
    }

    fn slot(&self, protocol: Protocol) -> &cgn_common::layout::Line {
        let line = self.memory.parts.keys(self.line, protocol);
        self.memory.slabs.get(line).expect("in the slab")
    }

    fn key(&self, protocol: Protocol) -> SlotKey {
        SlotKey(self.slot(protocol).at(0).load())
    }
}

#[test]
fn a_mapping_without_further_sessions_is_timed_by_its_first_again() {
    const TCP: Protocol = Protocol::Tcp;
    let timed = Policy::new(
        Filtering::EndpointIndependent,
        Filtering::EndpointIndependent,
        Policy::TIMED_SESSIONS,
    );
    let seen = 1000;
    let closing = SlotKey::new(5000, SlotState::TcpClosing, seen);
    let (shared, unlisted) = (SlotKey::SHARED, SlotKey::SHARED | SlotKey::UNLISTED);
    for (sentence, flags, has_session, policy, began, is_shared) in [
        ("Its sessions are over.", shared, false, timed, 1100, false),
        ("One lives on.", shared, true, timed, 1100, true),
        (
            "One did not fit into the table.",
            unlisted,
            false,
            timed,
            1100,
            true,
        ),
        (
            "Nobody notes sessions here.",
            shared,
            false,
            Policy::PLAIN,
            1100,
            true,
        ),
        (
            "It may have got one a moment ago.",
            shared,
            false,
            timed,
            seen + 3,
            true,
        ),
        (
            "It was stamped after the look began.",
            shared,
            false,
            timed,
            seen - 1,
            true,
        ),
    ] {
        let world = World::new(TCP, SlotKey(closing.0 | flags), 80);
        if has_session {
            let (key, word) = session(TCP, 1, SlotState::TcpEstablished, seen);
            assert!(world.memory.sessions.enter(&key, word.0));
        }
        let mut pass = Pass::new(began);
        let whole = pass.advance(&world.memory.sessions, began, |_| &TIMERS);
        assert!(whole.expect("readable"));
        pass.unshare(&world.memory, world.line, policy);
        assert_eq!(world.key(TCP).is_shared(), is_shared, "{sentence}");
        assert_eq!(world.key(TCP).stamp(), seen, "{sentence}");
    }
}

#[test]
fn short_timers_hold_for_mappings_that_talk_to_such_ports_only() {
    const UDP: Protocol = Protocol::Udp;
    let timers = Timers {
        short_udp_ports: PortSet::new(&[53, 123, 1023]),
        ..TIMERS
    };
    let open = SlotKey::new(5000, SlotState::Open, 50);
    let many = SlotKey(open.0 | SlotKey::PEER_KNOWN);
    for (sentence, key, port, timeout) in [
        ("DNS.", open, 53, timers.short_udp),
        ("The last well-known port.", open, 1023, timers.short_udp),
        ("A port beside it.", open, 54, timers.udp),
        ("The same in the next word.", open, 53 + 64, timers.udp),
        ("A high port.", open, 8053, timers.udp),
        ("A port that is 53 modulo 1024.", open, 1077, timers.udp),
        ("DNS and others.", many, 53, timers.udp),
    ] {
        let world = World::new(UDP, key, port);
        let end = 50 + timeout + STAMP_TICKS;
        let swept = sweep_slab(&world.memory, world.line, end - 1, &timers);
        assert_eq!(swept.live[1], 1, "{sentence}: not yet");
        let is_known = timeout == timers.udp;
        assert_eq!(world.key(UDP).is_peer_known(), is_known, "{sentence}");
        let swept = sweep_slab(&world.memory, world.line, end, &timers);
        assert_eq!(swept.expired[1], 1, "{sentence}");
    }
}

#[test]
fn beyond_the_most_held_a_port_is_free_at_once() {
    const UDP: Protocol = Protocol::Udp;
    for (room, held, unheld) in [(1, 1, 0), (0, 0, 1)] {
        let world = World::new(UDP, SlotKey::new(5000, SlotState::Open, 50), 80);
        let timers = Timers {
            hold_room: room,
            ..TIMERS
        };
        let now = 50 + timers.udp + STAMP_TICKS;
        let swept = sweep_slab(&world.memory, world.line, now, &timers);
        let seen = (swept.held, swept.newly_held, swept.unheld);
        assert_eq!(seen, (held, held, unheld));
        assert_eq!(world.key(UDP).is_free(), room == 0);
    }
}

/// Policies that ask for sessions come with a reload; a UDP mapping of the moment before has no peer.
#[test]
fn of_a_mapping_whose_peer_nobody_asked_for_the_next_session_is_the_first_but_for_the_log() {
    const UDP: Protocol = Protocol::Udp;
    let anyone = Filtering::EndpointIndependent;
    let by_address = Policy::new(Filtering::AddressDependent, anyone, 0);
    let by_port = Policy::new(Filtering::AddressAndPortDependent, anyone, 0);
    let logged = Policy::new(anyone, anyone, Policy::LOGGED_SESSIONS);
    let remotes = [peer::remote(0x0808_0404, 53), peer::remote(0x0808_0808, 53)];
    for (sentence, policy, first, noted) in [
        ("By address.", by_address, remotes[0], 1),
        ("By address and port.", by_port, remotes[0], 1),
        ("The log has the mapping, without it.", logged, 0, 2),
    ] {
        let mut world = World::new(UDP, SlotKey::new(5000, SlotState::Open, 50), 80);
        let peer = Peer(
            u64::from(
                world
                    .memory
                    .parts
                    .peers(world.memory.parts.keys(world.line, UDP)),
            ) * u64::from(SLOTS_PER_BUCKET),
        );
        world.memory.constants.pools[0] = policy;
        world.memory.constants.features = Features(Features::SESSIONS);
        let (vlans, counted) = (HashMap::new(), Counted::default());
        let tables = UserTables::new(&world.memory, &Nowhere, &vlans, &counted);
        peer.word(&tables).expect("in the slab").store(0);
        let block = world.memory.header(world.line).expect("a slab").0[header::BLOCK].load();
        for remote in remotes {
            let party = Party {
                protocol: UDP,
                inside: (INSIDE.to_bits(), 5000),
                external_port: block as u16,
                remote,
                flags: 0,
                policy,
                tick: 51,
            };
            let departure = depart(&tables, party, grant(0).external.to_bits());
            assert_eq!(departure, Departure::Open, "{sentence}");
        }
        assert_eq!(peer.read(&tables), first, "{sentence}");
        let all = world.memory.sessions.all().expect("readable");
        assert_eq!(all.len(), noted, "{sentence}");
    }
}
