//! What the mapping log has to know of mappings and sessions (`log.mode`): found by the sweep, not told
//! by the fast path, which neither waits for it nor knows of it.
//!
//! A mapping that the log does not know lacks a mark, and cannot end; one that ended keeps the mark,
//! and its port, until the log has its end. So none is missed, however short the log's disk was of room
//! meanwhile. A daemon that dies between record and mark writes the record once more.

use std::net::Ipv4Addr;

use cgn_common::layout::{Session as Word, SessionKey, SlotKey, SlotState, buckets, header};
use cgn_common::limits::SLOTS_PER_BUCKET;
use cgn_common::verdict::Protocol;

use super::memory::Memory;
use super::sweep::Logged;
use crate::maplog::{Event, Remote, Session};

/// Something that the log does not know yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    pub event: Event,
    /// Last packet, in ticks; a sweep that comes around within a second sees the first.
    tick: u32,
    place: Place,
}

/// Where the mark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Line in `SLABS`, slot in it, and its word.
    Slot(u32, u32, SlotKey),
    Entry(SessionKey, Word),
}

/// Number of a subscriber's realm in the log, and his address.
pub type Whose = (u16, Ipv4Addr);

/// The slab of a block, whose slots are looked at.
pub struct Slab<'m> {
    pub memory: &'m Memory,
    /// Line of its header.
    pub line: u32,
    /// What is logged of the subscriber; what ended is told also of who is not logged any more.
    pub logged: Logged,
    pub external: Ipv4Addr,
    pub whose: Whose,
    /// In ticks.
    pub now: u32,
}

impl Slab<'_> {
    /// Appends its news.
    pub fn look(&self, news: &mut Vec<News>) {
        let slab = self
            .memory
            .header(self.line)
            .zip(self.memory.room(self.line));
        let Some((head, room)) = slab else {
            return;
        };
        let used = room.used();
        let block = head.0[header::BLOCK].load();
        for protocol in Protocol::ALL {
            if used.of(protocol) != 0 {
                self.look_at(protocol, block, news);
            }
        }
    }

    /// `block` is the word of the header that tells the first port and the size.
    fn look_at(&self, protocol: Protocol, block: u64, news: &mut Vec<News>) {
        let (first_port, shift) = (block as u16, (block >> 16) as u32 & 0xff);
        let (realm, inside) = self.whose;
        let first_line = self.memory.parts.keys(self.line, protocol);
        for slot in 0..buckets(shift) * SLOTS_PER_BUCKET {
            let (number, at) = (
                first_line + slot / SLOTS_PER_BUCKET,
                slot % SLOTS_PER_BUCKET,
            );
            let Some(line) = self.memory.slabs.get(number) else {
                return;
            };
            let key = SlotKey(line.at(at).load());
            let begins = key.is_live() && !key.is_logged() && self.logged != Logged::Nothing;
            let ends = key.state() == SlotState::Held as u64 && key.is_logged();
            if !begins && !ends {
                continue;
            }
            let Some(peers) = self.memory.slabs.get(self.memory.parts.peers(number)) else {
                return;
            };
            let remote = peers.at(at).load();
            let has_peer = remote != 0;
            if begins && self.logged == Logged::Sessions && !has_peer && key.age(self.now) < 2 {
                continue; // it may be being written just now
            }
            let session = Session {
                external: self.external,
                external_port: first_port + slot as u16,
                protocol: protocol.into(),
                realm,
                inside,
                inside_port: key.inside_port(),
                remote: (self.logged == Logged::Sessions && has_peer).then(|| Remote {
                    address: Ipv4Addr::from_bits(remote as u32),
                    port: (remote >> 32) as u16,
                }),
            };
            news.push(News {
                event: match begins {
                    true => Event::Open(session),
                    false => Event::Close(session),
                },
                tick: key.last_seen(self.now),
                place: Place::Slot(number, at, key),
            });
        }
    }
}

/// Whether an entry of the table of sessions, `is_over` or not, is news. Only the log's knowing of it
/// lets such a one end.
#[must_use]
pub fn is_news(key: &SessionKey, word: Word, logged: Logged, is_over: bool) -> bool {
    // Those for any port of an address say who may answer, not who was talked to.
    let is_session = key.remote_port != 0 || key.protocol == Protocol::Icmp as u16;
    match word.is_logged() {
        true => is_over,
        false => logged == Logged::Sessions && is_session,
    }
}

/// The news of such an entry, of a mapping at `external`. `now` in ticks.
#[must_use]
pub fn of_entry(
    key: &SessionKey,
    word: Word,
    external: Ipv4Addr,
    (realm, inside): Whose,
    now: u32,
) -> News {
    let session = Session {
        external,
        external_port: word.external_port(),
        protocol: Protocol::from_number(key.protocol.into()).into(),
        realm,
        inside,
        inside_port: key.inside_port,
        remote: Some(Remote {
            address: Ipv4Addr::from_bits(key.remote),
            port: key.remote_port,
        }),
    };
    News {
        event: match word.is_logged() {
            true => Event::Close(session),
            false => Event::Open(session),
        },
        tick: word.last_seen(now),
        place: Place::Entry(*key, word),
    }
}

impl News {
    /// When it happened, in ticks: of a beginning, the first packet, or one of about a second later;
    /// of an end, when the sweep saw it.
    #[must_use]
    pub const fn happened(&self) -> u32 {
        self.tick
    }

    /// The log knows it: marks it, or takes the mark away; an entry of the table of sessions that is
    /// over is taken out. A packet that changes it meanwhile keeps what it wrote. Returns the inside
    /// address whose entry was taken out.
    #[must_use]
    pub fn settle(&self, memory: &Memory) -> Option<u32> {
        match self.place {
            Place::Slot(line, at, key) => {
                self.mark(memory.slabs.get(line)?.at(at), key);
                None
            }
            Place::Entry(key, word) => {
                let begins = matches!(self.event, Event::Open(_));
                if !begins && memory.sessions.end(&key, word) {
                    return Some(key.inside);
                }
                // One that goes on after all begins anew.
                memory.sessions.with(&key, |entry| {
                    let now = entry.load();
                    if Word(now).external_port() == word.external_port() {
                        entry.store(self.marked(now));
                    }
                });
                None
            }
        }
    }

    const fn marked(&self, word: u64) -> u64 {
        match self.event {
            Event::Open(_) => word | SlotKey::LOGGED,
            _ => word & !SlotKey::LOGGED,
        }
    }

    /// Nobody but the sweep, which is not at work meanwhile, ends a mapping or frees a slot.
    fn mark(&self, word: &cgn_common::word::Word, key: SlotKey) {
        loop {
            let now = SlotKey(word.load());
            let is_same = now.inside_port() == key.inside_port();
            if !is_same || word.replace(now.0, self.marked(now.0)) {
                return;
            }
        }
    }
}
