use cgn_common::layout::{Detour, Line, SlotKey, SlotState, Used, astray, buckets, peer};
use cgn_common::limits::{SLOTS_PER_BUCKET, STAMP_TICKS};
use cgn_common::nat::place::Place;
use cgn_common::verdict::Protocol;
use cgn_common::word::Word;

use super::super::install::give;
use super::super::memory::Memory;

use super::super::sweep::{Logged, PortSet, Swept, Timers, sweep_slab};
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

/// A slab with one block, and ways to put slots into it.
struct Slab {
    memory: Memory,
    line: u32,
    secret: u64,
}

impl Slab {
    fn new() -> Self {
        let (geometry, memory) = small();
        give(&memory, &geometry, &grant(0), 0, 0).expect("free");
        let index = geometry.subscriber_index(INSIDE).expect("known");
        let subscriber = memory.subscribers.get(index).expect("in the table");
        let secret = subscriber.secret.load();
        let line = geometry.slab_line(0, 0);
        Self {
            memory,
            line,
            secret,
        }
    }

    fn bucket(&self, protocol: Protocol, bucket: u32) -> &Line {
        let line = self.memory.parts.keys(self.line, protocol) + bucket;
        self.memory.slabs.get(line).expect("in the slab")
    }

    fn peer(&self, protocol: Protocol, (bucket, at): (u32, u32)) -> &Word {
        let parts = self.memory.parts;
        let line = parts.peers(parts.keys(self.line, protocol) + bucket);
        self.memory.slabs.get(line).expect("in the slab").at(at)
    }

    fn used(&self) -> Used {
        self.memory.room(self.line).expect("a slab").used()
    }

    fn home(&self, protocol: Protocol, port: u16) -> u32 {
        Place::new(self.secret, protocol, port).bucket(6)
    }

    /// The bucket that `port` comes to after so many strides from its home.
    fn after(&self, protocol: Protocol, port: u16, strides: u32) -> u32 {
        let place = Place::new(self.secret, protocol, port);
        (place.bucket(6) + strides * place.stride()) % buckets(6)
    }

    /// Writes a slot `further` strides behind its home, with the detour to it, or with
    /// all its counts where there is no place for one.
    fn put(&self, protocol: Protocol, mut key: SlotKey, further: u32) -> (u32, u32) {
        let place = Place::new(self.secret, protocol, key.inside_port());
        let home = place.bucket(6);
        let bucket = self.after(protocol, key.inside_port(), further);
        let line = self.bucket(protocol, bucket);
        let is_free = |at: &u32| SlotKey(line.at(*at).load()).is_free();
        let free = (0..SLOTS_PER_BUCKET).find(is_free).expect("room");
        if further > 0 {
            let home = self.bucket(protocol, home);
            let detour = Detour::new(place.tag(), bucket * SLOTS_PER_BUCKET + free);
            let has_none = |at: &u32| !Detour::of(home.at(*at).load()).is_some();
            let vacant = (1..SLOTS_PER_BUCKET).find(has_none);
            match vacant.map(|at| home.at(at)) {
                Some(word) => word.store(detour.put_into(word.load())),
                None => {
                    key.0 |= SlotKey::ASTRAY;
                    home.at(0).add(astray::ONE_ASTRAY);
                }
            }
        }
        for passed in 0..if key.is_astray() { further } else { 0 } {
            let passed = self.after(protocol, key.inside_port(), passed);
            let passed = self.bucket(protocol, passed);
            passed.at(0).add(astray::ONE_OVERFLOW);
        }
        line.at(free).add(key.0);
        self.peer(protocol, (bucket, free))
            .store(peer::remote(0x0808_0808, 53));
        let room = self.memory.room(self.line).expect("a slab");
        assert!(room.take_port(protocol));
        (bucket, free)
    }

    fn key(&self, protocol: Protocol, at: (u32, u32)) -> SlotKey {
        SlotKey(self.bucket(protocol, at.0).at(at.1).load()).mapping()
    }

    fn sweep(&self, now: u32) -> Swept {
        sweep_slab(&self.memory, self.line, now, &TIMERS)
    }
}

#[test]
fn every_state_ends_after_its_own_timer_and_is_then_held() {
    use Protocol::{Icmp, Tcp, Udp};
    use SlotState as S;
    let cases = [
        (Udp, S::Open, false, TIMERS.udp),
        (Icmp, S::Open, false, TIMERS.icmp),
        (Tcp, S::TcpInit, false, TIMERS.tcp_opening),
        (Tcp, S::TcpEstablished, false, TIMERS.tcp_established),
        // Half closed: the other half may go on for long (RFC 7857 section 2.2).
        (Tcp, S::TcpInsideFin, false, TIMERS.tcp_established),
        (Tcp, S::TcpOutsideFin, false, TIMERS.tcp_established),
        (Tcp, S::TcpClosing, false, TIMERS.tcp_closing),
        (Tcp, S::TcpTransitory, false, TIMERS.tcp_closing),
        // One session's state says nothing about the others.
        (Tcp, S::TcpInit, true, TIMERS.tcp_established),
        (Tcp, S::TcpTransitory, true, TIMERS.tcp_established),
    ];
    // Also across the end of the tick counter.
    for seen in [5, 1_000_000, u32::MAX - 10] {
        for (protocol, state, shared, timeout) in cases {
            let slab = Slab::new();
            let shared = if shared { SlotKey::SHARED } else { 0 };
            let key = SlotKey(SlotKey::new(7, state, seen).0 | shared);
            let at = slab.put(protocol, key, 0);
            let what = format!("{protocol:?} {state:?} {shared:#x} seen {seen}");
            // The last packet may have come up to a whole stamp later.
            let timeout = timeout + STAMP_TICKS;
            let swept = slab.sweep(seen.wrapping_add(timeout - 1));
            assert_eq!(swept.live[protocol as usize], 1, "{what}: not yet");
            assert_eq!(slab.key(protocol, at), key, "{what}: untouched");
            let end = seen.wrapping_add(timeout);
            let swept = slab.sweep(end);
            assert_eq!(
                (swept.expired[protocol as usize], swept.held),
                (1, 1),
                "{what}"
            );
            let held = slab.key(protocol, at);
            assert_eq!(
                (held.state(), held.last_seen(end)),
                (SlotState::Held as u64, end),
                "{what}"
            );
            assert_eq!(held.inside_port(), 7, "{what}");
            assert_eq!(slab.used().of(protocol), 1, "{what}: a held port is in use");
            let swept = slab.sweep(end.wrapping_add(TIMERS.hold));
            assert_eq!((swept.held, swept.freed), (1, 0), "{what}: still held");
            let swept = slab.sweep(end.wrapping_add(TIMERS.hold + 1));
            assert_eq!((swept.held, swept.freed), (0, 1), "{what}: free");
            assert!(
                slab.key(protocol, at).is_free() && slab.used() == Used(0),
                "{what}"
            );
        }
    }
}

#[test]
fn a_slot_stamped_a_moment_after_the_sweep_read_the_clock_is_young() {
    let slab = Slab::new();
    let at = slab.put(Protocol::Udp, SlotKey::new(7, SlotState::Open, 101), 0);
    let swept = slab.sweep(100);
    assert_eq!(swept.live, [0, 1, 0]);
    assert!(slab.key(Protocol::Udp, at).is_live());
}

#[test]
fn a_freed_slot_takes_back_every_count_of_its_way() {
    for further in [0, 1, 5, 7] {
        let slab = Slab::new();
        let key = SlotKey::new(4711, SlotState::Held, 0);
        let at = slab.put(Protocol::Tcp, key, further);
        assert_eq!(
            slab.sweep(TIMERS.hold + 1).freed,
            1,
            "{further} buckets further"
        );
        for bucket in 0..buckets(6) {
            let line = slab.bucket(Protocol::Tcp, bucket);
            for at in 0..SLOTS_PER_BUCKET {
                assert_eq!(line.at(at).load(), 0, "bucket {bucket}: counts or a detour");
            }
        }
        let peer = slab.peer(Protocol::Tcp, at).load();
        assert_eq!(peer, 0, "the remote endpoint is forgotten");
        assert_eq!(slab.used(), Used(0));
    }
}

#[test]
fn a_freed_slot_takes_its_own_detour_with_it() {
    let slab = Slab::new();
    let old = SlotKey::new(1, SlotState::Held, 0);
    let home = slab.home(Protocol::Udp, 1);
    let same_home = (2..).find(|port| slab.home(Protocol::Udp, *port) == home);
    let young = SlotKey::new(same_home.expect("some"), SlotState::Open, 500);
    slab.put(Protocol::Udp, old, 3);
    let stays = slab.put(Protocol::Udp, young, 2);
    let swept = slab.sweep(500);
    assert_eq!((swept.freed, swept.live), (1, [0, 1, 0]));
    assert_eq!(swept.overflow, [0, 1, 0], "one stands away from home");
    assert!(slab.key(Protocol::Udp, stays).is_live());
    assert_eq!(slab.used().of(Protocol::Udp), 1);
    let detour = || Detour::of(slab.bucket(Protocol::Udp, home).at(2).load());
    let to_the_other = detour();
    assert!(to_the_other.is_some(), "it was put last");
    let word = slab.bucket(Protocol::Udp, home).at(1);
    assert_eq!(
        Detour::of(word.load()),
        Detour::NONE,
        "freed with its mapping"
    );
    word.store(Detour::new(1, 63).put_into(word.load()));
    let _ = slab.sweep(500);
    assert_eq!(detour(), to_the_other, "still leads to its mapping");
    assert_eq!(Detour::of(word.load()), Detour::NONE, "led nowhere");
}

#[test]
fn a_freed_slot_that_was_astray_leaves_the_counts_of_others_alone() {
    let slab = Slab::new();
    let home = slab.home(Protocol::Udp, 1);
    let mut ports = (1..).filter(|port| slab.home(Protocol::Udp, *port) == home);
    let mut put = |state, seen, further| {
        let key = SlotKey::new(ports.next().expect("more"), state, seen);
        slab.put(Protocol::Udp, key, further);
        key.inside_port()
    };
    for _ in 0..7 {
        put(SlotState::Open, 500, 1); // these take the detours
    }
    put(SlotState::Held, 0, 3);
    let stays = put(SlotState::Open, 500, 2);
    assert_eq!(slab.sweep(500).freed, 1);
    for (passed, count) in [(0, 1), (1, 1), (2, 0)] {
        let bucket = slab.after(Protocol::Udp, stays, passed);
        let word = slab.bucket(Protocol::Udp, bucket).at(0).load();
        assert_eq!(astray::overflow(word), count, "{passed} further");
    }
}

#[test]
fn a_claim_that_was_abandoned_is_freed_and_a_fresh_one_is_not() {
    let slab = Slab::new();
    let at = slab.put(Protocol::Udp, SlotKey::new(9, SlotState::Tentative, 100), 2);
    for now in [100, 101, 115] {
        assert_eq!(slab.sweep(now).freed, 0);
        assert_eq!(
            slab.key(Protocol::Udp, at).state(),
            SlotState::Tentative as u64,
            "at {now}"
        );
    }
    let swept = slab.sweep(116);
    assert_eq!((swept.live, swept.held), ([0; 3], 0));
    assert!(slab.key(Protocol::Udp, at).is_free());
    assert_eq!(slab.used(), Used(0));
}

#[test]
fn an_empty_slab_and_one_that_does_not_exist_are_swept_in_no_time() {
    let slab = Slab::new();
    assert_eq!(slab.sweep(1_000_000), Swept::default());
    let beyond = sweep_slab(&slab.memory, u32::MAX, 0, &TIMERS);
    assert_eq!(beyond, Swept::default());
}

#[test]
fn mappings_without_a_detour_are_astray_until_they_are_freed() {
    let slab = Slab::new();
    let home = slab.home(Protocol::Udp, 1);
    let ports = (1..).filter(|port| slab.home(Protocol::Udp, *port) == home);
    // Seven detours have a place; the eighth and ninth mapping go astray.
    let seen = [0, 0, 1000, 1000, 1000, 1000, 1000, 0, 1000];
    for (number, (port, seen)) in (0..).zip(ports.take(9).zip(seen)) {
        let key = SlotKey::new(port, SlotState::Held, seen);
        slab.put(Protocol::Udp, key, 1 + number % 2);
    }
    let astray = || astray::astray(slab.bucket(Protocol::Udp, home).at(0).load());
    assert_eq!(astray(), 2);
    assert_eq!(slab.sweep(1000).freed, 3);
    assert_eq!(astray(), 1, "one of the two is left");
}
