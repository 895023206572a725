//! Fragments in the random life, and what is plainly known of their datagrams (RFC 791 section 2.3,
//! RFC 4787 REQ-14): the first one has the ports, and decides for all.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use cgn_common::layout::{FragmentKey, Side};
use cgn_common::verdict::{Protocol, Reason};
use cgn_tests::harness::world::FRAGMENT_TICKS;
use cgn_tests::harness::{Ending, Run, shown};
use cgn_tests::packets::{Draft, flag};
use cgn_user::dataplane::load::Entry;
use cgn_user::slowpath::fragments::{Fragment, Limits, Store};

use super::reference::Endpoint;
use super::{INSIDE, Pair, REMOTES};

/// Bytes of data in a fragment; of what overlaps with two of them.
const DATA: usize = 24;
const WIDE: usize = 32;
/// Ticks that a fragment waits for the first.
const PATIENCE: u32 = 12;
/// Larger than any life: the limits are for `fuzz/fragments`.
const LIMITS: Limits = Limits {
    fragments: 10_000,
    bytes: 10_000_000,
    per_source: 10_000,
    ticks: PATIENCE,
};

/// What fragments have in common: side, source, destination, protocol, identification.
type Key = (bool, Ipv4Addr, Ipv4Addr, usize, u16);
/// The two addresses that they get.
type Ends = (Ipv4Addr, Ipv4Addr);

/// A datagram whose first fragment was translated.
#[derive(Clone, Copy, Debug)]
struct Known {
    ends: Ends,
    id: u16,
    until: u32,
}

/// Datagrams: the store of the slow path, and what is plainly known.
pub struct Datagrams {
    store: Store,
    known: BTreeMap<Key, Known>,
    /// Fragments that wait, with the tick in which the first of theirs came.
    waiting: Vec<(Key, u32, Fragment)>,
}

impl Default for Datagrams {
    fn default() -> Self {
        Self {
            store: Store::new(LIMITS),
            known: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }
}

const fn is_past(until: u32, now: u32) -> bool {
    until.wrapping_sub(now) as i32 <= 0
}

/// As the slow path calls it.
fn store_key((is_inside, from, to, protocol, id): Key) -> FragmentKey {
    let side = if is_inside {
        Side::Inside
    } else {
        Side::Outside
    };
    FragmentKey::new(side, [6, 17, 1][protocol], from.to_bits(), to.to_bits(), id)
}

fn id_of(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[18], frame[19]])
}

/// A datagram of a random life; see [`super::Step::Pieces`].
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub sender: usize,
    pub protocol: usize,
    pub port: u16,
    pub to: usize,
    pub which: usize,
    pub id: u16,
}

impl Pair {
    /// The whole packet, or the first of its fragments with this identification.
    pub fn frame(draft: Draft, first_of: Option<u16>) -> Vec<u8> {
        match first_of {
            Some(id) => Self::cut(draft, id, DATA).remove(0),
            None => draft.bytes(),
        }
    }

    fn cut(draft: Draft, id: u16, data: usize) -> Vec<Vec<u8>> {
        let draft = draft.with(|d| {
            (d.id, d.dont_fragment) = (id, false);
            d.payload = (0..48).collect();
        });
        draft.fragments(data)
    }

    /// A fragment: the first, one behind it, or one that overlaps with those.
    pub fn piece(&mut self, piece: Piece, part: usize) {
        let Piece { port, id, .. } = piece;
        let external = self.given(piece.which);
        let protocol = Protocol::ALL[piece.protocol % 3];
        let remote = REMOTES[piece.to % REMOTES.len()];
        let (entry, from, to) = match (piece.sender % 4, external) {
            (3, Some(external)) => (Entry::Outside, remote, external),
            (3, None) => return,
            (sender, Some(external)) if piece.to >= 4 && protocol != Protocol::Icmp => {
                (Entry::Inside, (INSIDE[sender], port), external)
            }
            (sender, _) => (Entry::Inside, (INSIDE[sender], port), remote),
        };
        if part != 0 {
            return self.later(entry, protocol, (from, to), id, part);
        }
        match entry {
            Entry::Outside => self.inbound(to, protocol, from, flag::ACK, Some(id)),
            _ if to == remote => {
                self.out(piece.sender % 4, protocol, port, to, flag::SYN, Some(id));
            }
            _ => self.hairpin(piece.sender % 4, protocol, port, to, flag::SYN, Some(id)),
        }
    }

    fn later(
        &mut self,
        entry: Entry,
        protocol: Protocol,
        (from, to): (Endpoint, Endpoint),
        id: u16,
        part: usize,
    ) {
        let (data, at) = if part == 3 { (WIDE, 1) } else { (DATA, part) };
        let draft = Self::draft(protocol, flag::SYN, from, to);
        let frame = Self::cut(draft, id, data).remove(at);
        let key = (entry == Entry::Inside, from.0, to.0, protocol as usize, id);
        if let Some(known) = self.known_datagram(&key) {
            self.happens("a fragment followed the first");
            return self.follows(entry, &frame, known);
        }
        let run = self.run(entry, &frame);
        assert_eq!(
            run.ending,
            Reason::FragmentUnknown.into(),
            "{}",
            shown(&run)
        );
        let start = (data * at) as u32;
        let fragment = Fragment {
            range: start..start + (frame.len() - 34) as u32,
            frame,
            port: 0,
        };
        self.happens("a fragment waited");
        self.wait_for_first(key, fragment);
    }

    /// It waits; but if it overlaps with another that does, all of the datagram end (RFC 1858,
    /// RFC 5722).
    fn wait_for_first(&mut self, key: Key, fragment: Fragment) {
        let now = self.now;
        let Datagrams { store, waiting, .. } = &mut self.datagrams;
        let of_datagram = |(other, ..): &(Key, u32, Fragment)| *other == key;
        let overlaps = |other: &Fragment| {
            let (a, b) = (&other.range, &fragment.range);
            a.start < b.end && b.start < a.end && *other != fragment
        };
        let mut others = waiting.iter().filter(|one| of_datagram(one));
        let since = others.clone().next().map_or(now, |(_, since, _)| *since);
        let is_refused = others.any(|(.., other)| overlaps(other));
        let before = waiting.len();
        let ended = store.keep(store_key(key), fragment.clone(), now);
        if is_refused {
            waiting.retain(|one| !of_datagram(one));
            let gone = before - waiting.len() + 1;
            assert_eq!(
                (ended.count(), ended.reason),
                (gone, Some(Reason::FragmentOverlap))
            );
            self.happens("fragments overlapped");
        } else {
            waiting.push((key, since, fragment));
            assert_eq!(ended.count(), 0, "{:?}", ended.reason);
        }
    }

    /// Those that waited for too long end.
    pub fn tire(&mut self) {
        let now = self.now;
        let Datagrams { store, waiting, .. } = &mut self.datagrams;
        let before = waiting.len();
        waiting.retain(|(_, since, _)| !is_past(since.wrapping_add(PATIENCE), now));
        assert_eq!(store.expire(now).count(), before - waiting.len());
    }

    /// A later fragment gets what its first one got, whatever became of the mapping.
    fn follows(&self, entry: Entry, frame: &[u8], known: Known) {
        let run = self.run(entry, frame);
        assert_eq!(run.ending, Ending::Sent { back: false }, "{}", shown(&run));
        let ends = [known.ends.0.octets(), known.ends.1.octets()].concat();
        assert_eq!(run.bytes[26..34], ends[..], "{}", shown(&run));
        assert_eq!(id_of(&run.bytes), known.id, "{}", shown(&run));
        assert_eq!(run.bytes[34..], frame[34..], "its data");
    }

    fn known_datagram(&self, key: &Key) -> Option<Known> {
        let known = self.datagrams.known.get(key).copied();
        known.filter(|known| !is_past(known.until, self.now))
    }

    /// True if a first fragment for these ends would join the datagram of others.
    pub fn conflicts(
        &self,
        entry: Entry,
        (from, to): (Ipv4Addr, Ipv4Addr),
        protocol: Protocol,
        id: u16,
        ends: Ends,
    ) -> bool {
        let key = (entry == Entry::Inside, from, to, protocol as usize, id);
        let known = self.known_datagram(&key);
        known.is_some_and(|known| known.ends != ends)
    }

    /// A first fragment was translated as `run`: noted, and those that waited go on, in order.
    pub fn begun(
        &mut self,
        entry: Entry,
        (from, to): (Ipv4Addr, Ipv4Addr),
        protocol: Protocol,
        id: u16,
        ends: Ends,
        run: &Run,
    ) {
        let key = (entry == Entry::Inside, from, to, protocol as usize, id);
        let left = id_of(&run.bytes);
        let known = match self.known_datagram(&key) {
            Some(known) => known,
            None => {
                self.assert_own_id(&key, ends, left);
                let until = self.now.wrapping_add(FRAGMENT_TICKS);
                Known {
                    ends,
                    id: left,
                    until,
                }
            }
        };
        assert_eq!((left, ends), (known.id, known.ends), "{}", shown(run));
        self.datagrams.known.insert(key, known);
        let Datagrams { store, waiting, .. } = &mut self.datagrams;
        let released = store.release(&store_key(key));
        let mut wanted: Vec<Fragment> = Vec::new();
        waiting.retain(|(other, _, fragment)| {
            if *other == key {
                wanted.push(fragment.clone());
            }
            *other != key
        });
        wanted.sort_by_key(|fragment| fragment.range.start);
        assert_eq!(released, wanted);
        for fragment in released {
            self.happens("a fragment that had waited followed");
            self.follows(entry, &fragment.frame, known);
        }
    }

    /// No other datagram on its way between the same addresses has the identification that this
    /// one leaves with (RFC 6864 section 4.2); from outside it keeps its own.
    fn assert_own_id(&self, key: &Key, ends: Ends, left: u16) {
        if !key.0 {
            return assert_eq!(left, key.4, "nobody else's from there");
        }
        let is_same = |(other, known): (&Key, &Known)| {
            other.0
                && other.3 == key.3
                && (known.ends, known.id) == (ends, left)
                && !is_past(known.until, self.now)
        };
        assert!(!self.datagrams.known.iter().any(is_same), "{key:?}: {left}");
    }
}
