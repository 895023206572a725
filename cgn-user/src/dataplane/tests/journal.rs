//! What the log is told of mappings and sessions: each begin and end once, whatever happens between.

use std::net::Ipv4Addr;

use cgn_common::layout::{Session as Word, SessionKey, SlotKey, SlotState, header, peer};
use cgn_common::limits::{SLOTS_PER_BUCKET, STAMP_TICKS};
use cgn_common::nat::place::Place;
use cgn_common::verdict::Protocol;

use super::super::install::give;
use super::super::journal::{News, Slab, Whose, is_news, of_entry};
use super::super::memory::Memory;
use super::super::sessions::Sessions;
use super::super::sweep::{Logged, PortSet, Swept, Timers, sweep_slab};
use super::{INSIDE, grant, small};
use crate::maplog::{self, Event, Remote, Session};

const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
/// Not the key that the tables have: the log knows him by realm and address.
const WHOSE: Whose = (7, Ipv4Addr::new(10, 0, 0, 9));
const UDP_TICKS: u32 = 1000;
const HOLD_TICKS: u32 = 400;

fn timers(logged: Logged) -> Timers {
    Timers {
        udp: UDP_TICKS,
        icmp: UDP_TICKS,
        tcp_established: UDP_TICKS,
        tcp_opening: UDP_TICKS,
        tcp_closing: UDP_TICKS,
        short_udp: UDP_TICKS,
        short_udp_ports: PortSet::NONE,
        hold: HOLD_TICKS,
        hold_room: u32::MAX,
        logged,
    }
}

/// A slab with one UDP mapping at its home, last seen at tick 5000.
struct Mapped {
    memory: Memory,
    line: u32,
    at: (u32, u32),
}

impl Mapped {
    fn new() -> Self {
        let (geometry, memory) = small();
        give(&memory, &geometry, &grant(0), 0, 0).expect("free");
        let index = geometry.subscriber_index(INSIDE).expect("known");
        let secret = memory.subscribers.get(index).expect("there").secret.load();
        let line = geometry.slab_line(0, 0);
        let place = Place::new(secret, Protocol::Udp, 40_000);
        let number = memory.parts.keys(line, Protocol::Udp) + place.bucket(6);
        let bucket = memory.slabs.get(number).expect("in the slab");
        bucket
            .at(2)
            .store(SlotKey::new(40_000, SlotState::Open, 5000).0);
        let peers = memory
            .slabs
            .get(memory.parts.peers(number))
            .expect("in the slab");
        peers.at(2).store(peer::remote(0x0808_0404, 53));
        let room = memory.room(line).expect("a slab");
        assert!(room.take_port(Protocol::Udp));
        Self {
            memory,
            line,
            at: (number, 2),
        }
    }

    fn key(&self) -> SlotKey {
        let line = self.memory.slabs.get(self.at.0).expect("in the slab");
        SlotKey(line.at(self.at.1).load())
    }

    fn news(&self, logged: Logged) -> Vec<News> {
        let mut news = Vec::new();
        let slab = Slab {
            memory: &self.memory,
            line: self.line,
            logged,
            external: EXTERNAL,
            whose: WHOSE,
            now: 5010,
        };
        slab.look(&mut news);
        news
    }

    fn sweep(&self, now: u32, logged: Logged) -> Swept {
        sweep_slab(&self.memory, self.line, now, &timers(logged))
    }

    fn session(&self, remote: Option<Remote>) -> Session {
        let slot = (self.at.0 - self.memory.parts.keys(self.line, Protocol::Udp))
            * SLOTS_PER_BUCKET
            + self.at.1;
        let head = self.memory.header(self.line).expect("a slab");
        Session {
            external: EXTERNAL,
            external_port: head.0[header::BLOCK].load() as u16 + slot as u16,
            protocol: maplog::Protocol::Udp,
            realm: WHOSE.0,
            inside: WHOSE.1,
            inside_port: 40_000,
            remote,
        }
    }
}

const DNS: Remote = Remote {
    address: Ipv4Addr::new(8, 8, 4, 4),
    port: 53,
};

#[test]
fn a_mapping_is_told_of_once_when_it_begins_and_once_when_it_ends() {
    for (logged, remote) in [(Logged::Mappings, None), (Logged::Sessions, Some(DNS))] {
        let mapped = Mapped::new();
        let session = mapped.session(remote);
        let begun = mapped.news(logged);
        let told: Vec<_> = begun
            .iter()
            .map(|news| (news.event, news.happened()))
            .collect();
        assert_eq!(told, [(Event::Open(session), 5000)]);
        assert_eq!(begun[0].settle(&mapped.memory), None);
        assert_eq!(mapped.news(logged), [], "it is told");
        let over = 5000 + UDP_TICKS + STAMP_TICKS;
        assert_eq!(mapped.sweep(over, logged).expired, [0, 1, 0]);
        let ended = mapped.news(logged);
        let told: Vec<_> = ended
            .iter()
            .map(|news| (news.event, news.happened()))
            .collect();
        assert_eq!(told, [(Event::Close(session), over)]);
        // Its port is nobody's before the log has its end, however long that takes.
        assert_eq!(mapped.sweep(over + 9 * HOLD_TICKS, logged).freed, 0);
        assert_eq!(ended[0].settle(&mapped.memory), None);
        assert_eq!(mapped.news(logged), [], "it is told");
        assert_eq!(mapped.sweep(over + 9 * HOLD_TICKS, logged).freed, 1);
    }
}

#[test]
fn a_mapping_that_the_log_does_not_know_does_not_end() {
    let mapped = Mapped::new();
    let over = 5000 + UDP_TICKS + STAMP_TICKS;
    assert_eq!(mapped.sweep(over, Logged::Mappings).expired, [0; 3]);
    assert_eq!(mapped.sweep(over, Logged::Nothing).expired, [0, 1, 0]);
    assert_eq!(
        mapped.news(Logged::Mappings),
        [],
        "nobody was told that it began"
    );
}

#[test]
fn who_is_logged_no_more_is_told_of_ends_only() {
    let mapped = Mapped::new();
    assert_eq!(mapped.news(Logged::Nothing), []);
    for news in mapped.news(Logged::Mappings) {
        let _ = news.settle(&mapped.memory);
    }
    let over = 5000 + UDP_TICKS + STAMP_TICKS;
    assert_eq!(mapped.sweep(over, Logged::Nothing).expired, [0, 1, 0]);
    let told: Vec<_> = mapped
        .news(Logged::Nothing)
        .iter()
        .map(|news| news.event)
        .collect();
    assert_eq!(told, [Event::Close(mapped.session(None))]);
}

#[test]
fn a_packet_that_comes_between_keeps_what_it_wrote() {
    let mapped = Mapped::new();
    let news = mapped.news(Logged::Mappings);
    let line = mapped.memory.slabs.get(mapped.at.0).expect("in the slab");
    line.at(2)
        .store(mapped.key().with(SlotState::Open as u64, 5009).0 | SlotKey::SHARED);
    let _ = news[0].settle(&mapped.memory);
    let key = mapped.key();
    assert!(key.is_logged() && key.is_shared() && key.last_seen(5010) == 5009);
}

#[test]
fn entries_of_the_table_of_sessions_are_news_as_long_as_the_log_does_not_know_them() {
    let key = |remote_port| {
        SessionKey::new(
            Protocol::Udp,
            (INSIDE.to_bits(), 40_000),
            0x0808_0404,
            remote_port,
        )
    };
    let fresh = Word::new(1030, SlotState::Open, 5000);
    let known = Word(fresh.0 | SlotKey::LOGGED);
    let cases = [
        ("a new one", key(53), fresh, Logged::Sessions, false, true),
        (
            "also when it is over already",
            key(53),
            fresh,
            Logged::Sessions,
            true,
            true,
        ),
        (
            "not without destinations",
            key(53),
            fresh,
            Logged::Mappings,
            false,
            false,
        ),
        (
            "who may answer from any port",
            key(0),
            fresh,
            Logged::Sessions,
            false,
            false,
        ),
        (
            "one that is known",
            key(53),
            known,
            Logged::Sessions,
            false,
            false,
        ),
        (
            "until it is over",
            key(53),
            known,
            Logged::Sessions,
            true,
            true,
        ),
        (
            "whatever is logged now",
            key(53),
            known,
            Logged::Nothing,
            true,
            true,
        ),
    ];
    for (what, key, word, logged, is_over, expected) in cases {
        assert_eq!(is_news(&key, word, logged, is_over), expected, "{what}");
    }
    let (_, memory) = small();
    let memory = Memory {
        sessions: Sessions::private(4),
        ..memory
    };
    assert!(memory.sessions.enter(&key(53), fresh.0));
    assert_eq!(
        of_entry(&key(53), fresh, EXTERNAL, WHOSE, 5010).settle(&memory),
        None
    );
    assert_eq!(memory.sessions.all().expect("readable"), [(key(53), known)]);
    // A packet comes between: it goes on, and begins anew.
    let later = known.stamped(SlotState::Open as u64, 6000);
    assert!(
        memory
            .sessions
            .with(&key(53), |word| word.store(later.0))
            .is_some()
    );
    assert_eq!(
        of_entry(&key(53), known, EXTERNAL, WHOSE, 5010).settle(&memory),
        None
    );
    let anew = Word(later.0 & !SlotKey::LOGGED);
    assert_eq!(memory.sessions.all().expect("readable"), [(key(53), anew)]);
    let last = Word(anew.0 | SlotKey::LOGGED);
    assert!(
        memory
            .sessions
            .with(&key(53), |word| word.store(last.0))
            .is_some()
    );
    assert_eq!(
        of_entry(&key(53), last, EXTERNAL, WHOSE, 5010).settle(&memory),
        Some(INSIDE.to_bits())
    );
    assert_eq!(memory.sessions.all().expect("readable"), []);
}
