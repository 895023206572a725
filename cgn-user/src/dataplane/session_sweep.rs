//! Expiry of sessions beside the first of their mapping. A mapping whose last
//! further session has ended is timed by its first one again.

use std::collections::HashSet;
use std::io;
use std::net::Ipv4Addr;

use cgn_common::layout::{Policy, Session, SessionKey, SlotKey, buckets, header};
use cgn_common::limits::{SLOTS_PER_BUCKET, STAMP_TICKS};
use cgn_common::verdict::Protocol;

use super::journal;
use super::memory::Memory;
use super::sessions::Sessions;
use super::sweep::{Timers, tcp_timeout};

/// A mapping that was stamped so many ticks before a pass began (1.1 s) had its
/// newest session in the table before, too: a packet stamps the one and enters
/// the other within microseconds.
const MARGIN: u32 = 4;

/// One look at every session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Tick at which it began.
    began: u32,
    /// Where to go on.
    next: Option<u32>,
    /// Protocol, inside endpoint and external port of mappings with further sessions.
    mappings: HashSet<(u16, u32, u16, u16)>,
    /// Sessions alive.
    pub live: u64,
    /// Sessions that ended.
    pub expired: u64,
    /// Whose sessions ended, since it was asked last: inside addresses.
    pub ended: Vec<u32>,
    /// What the log does not know yet, see [`journal::is_news`]; since it was asked last.
    pub news: Vec<(SessionKey, Session)>,
}

impl Pass {
    /// A pass that begins at `now`, in ticks.
    #[must_use]
    pub fn new(now: u32) -> Self {
        Self {
            began: now,
            ..Self::default()
        }
    }

    /// Goes on for a while; true when all have been seen. `timers` are those of an
    /// inside address.
    ///
    /// # Errors
    /// The kernel's; the pass is then as it was.
    pub fn advance<'t>(
        &mut self,
        sessions: &Sessions,
        now: u32,
        timers: impl Fn(u32) -> &'t Timers,
    ) -> io::Result<bool> {
        let (part, next) = sessions.part(self.next)?;
        for (key, session) in part {
            let timers = timers(key.inside);
            let is_over = is_over(&key, session, now, timers);
            let is_news = journal::is_news(&key, session, timers.logged, is_over);
            if is_news {
                self.news.push((key, session));
            }
            if is_over && !is_news && sessions.end(&key, session) {
                self.expired += 1;
                self.ended.push(key.inside);
            } else {
                self.live += 1;
                self.mappings.insert((
                    key.protocol,
                    key.inside,
                    key.inside_port,
                    session.external_port(),
                ));
            }
        }
        self.next = next;
        Ok(next.is_none())
    }

    /// After a whole pass: mappings of this slab without further sessions are
    /// not shared any more.
    pub fn unshare(&self, memory: &Memory, slab_line: u32, policy: Policy) {
        let slab = memory.header(slab_line).zip(memory.room(slab_line));
        let Some((head, room)) = slab else {
            return;
        };
        let used = room.used();
        let block = head.0[header::BLOCK].load();
        let (first_port, shift) = (block as u16, (block >> 16) as u32 & 0xff);
        let owner = head.0[header::OWNER].load();
        let (inside, external) = (owner as u32, Ipv4Addr::from_bits((owner >> 32) as u32));
        let pool = (block >> 24) as u8;
        for protocol in Protocol::ALL {
            if used.of(protocol) == 0 || !policy.notes_sessions(protocol) {
                continue;
            }
            let first_line = memory.parts.keys(slab_line, protocol);
            for slot in 0..buckets(shift) * SLOTS_PER_BUCKET {
                let Some(line) = memory.slabs.get(first_line + slot / SLOTS_PER_BUCKET) else {
                    break;
                };
                let word = line.at(slot % SLOTS_PER_BUCKET);
                let key = SlotKey(word.load());
                let port = memory.port_of(pool, external, first_port + slot as u16);
                let mapping = (protocol as u16, inside, key.inside_port(), port);
                if self.is_alone(key) && !self.mappings.contains(&mapping) {
                    // A packet that changes it meanwhile wins, until the next sweep.
                    let _ = word.replace(key.0, key.0 & !SlotKey::SHARED);
                }
            }
        }
    }

    /// True if sessions of this mapping would have been seen.
    fn is_alone(&self, key: SlotKey) -> bool {
        let age = key.age(self.began);
        key.is_live() && key.is_shared() && key.0 & SlotKey::UNLISTED == 0 && age >= MARGIN as i32
    }
}

fn is_over(key: &SessionKey, session: Session, now: u32, timers: &Timers) -> bool {
    const TCP: u16 = Protocol::Tcp as u16;
    const UDP: u16 = Protocol::Udp as u16;
    let timeout = match key.protocol {
        TCP => tcp_timeout(session.state(), timers),
        UDP => timers.udp,
        _ => timers.icmp,
    };
    // A packet may have stamped it a moment after `now` was read.
    session.age(now).max(0) as u32 >= timeout + STAMP_TICKS
}
