//! Fragments that wait for the first one of their datagram, since only that one
//! has ports: few, not for long, and no source at the expense of another. Pure.
//!
//! Nothing is reassembled: what waited goes on as the fragments that they are,
//! in order.

use std::collections::{BTreeMap, HashMap};

use cgn_common::layout::{FragmentKey, is_ahead};
use cgn_common::verdict::Reason;

/// What the store may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Fragments in all.
    pub fragments: usize,
    /// Bytes of their frames in all.
    pub bytes: usize,
    /// Fragments from one source address.
    pub per_source: usize,
    /// Ticks (0.268 s) that a fragment waits.
    pub ticks: u32,
}

/// A fragment that waits, untranslated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    pub frame: Vec<u8>,
    /// Number of the port that received it.
    pub port: usize,
    /// The bytes of the datagram that it has.
    pub range: std::ops::Range<u32>,
}

/// Where a fragment came from: address, and whether from inside.
type Source = (u32, bool);

fn source_of(key: &FragmentKey) -> Source {
    (key.source, key.is_from_inside())
}

#[derive(Debug)]
struct Datagram {
    fragments: Vec<Fragment>,
    /// Tick until which they wait, from the first that came.
    until: u32,
    /// Its place in the order: another datagram with the same key has another.
    serial: u64,
}

/// The fragments, by datagram.
#[derive(Debug)]
pub struct Store {
    limits: Limits,
    datagrams: HashMap<FragmentKey, Datagram>,
    /// Datagrams in the order in which they came; some may be gone.
    order: std::collections::VecDeque<(u64, FragmentKey)>,
    next_serial: u64,
    per_source: BTreeMap<Source, usize>,
    fragments: usize,
    bytes: usize,
}

/// Fragments that end in the store, and why.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// How many of which datagrams.
    pub datagrams: Vec<(FragmentKey, usize)>,
    pub reason: Option<Reason>,
}

impl Ended {
    const NONE: Self = Self {
        datagrams: Vec::new(),
        reason: None,
    };

    /// So many fragments of one datagram end for a reason.
    pub fn new(fragments: usize, key: &FragmentKey, reason: Reason) -> Self {
        Self::NONE.and(fragments, key, reason)
    }

    /// And so many of another one, for the same reason.
    fn and(mut self, fragments: usize, key: &FragmentKey, reason: Reason) -> Self {
        self.datagrams.push((*key, fragments));
        self.reason = Some(reason);
        self
    }

    /// How many of all.
    #[must_use]
    pub fn count(&self) -> usize {
        self.datagrams.iter().map(|(_, fragments)| fragments).sum()
    }
}

impl Store {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            datagrams: HashMap::new(),
            order: std::collections::VecDeque::new(),
            next_serial: 0,
            per_source: BTreeMap::new(),
            fragments: 0,
            bytes: 0,
        }
    }

    /// Keeps a fragment. What ends for it, or instead of it, is returned: one
    /// that overlaps another ends the datagram, as nobody can tell which of the
    /// two is right (RFC 1858); one too many ends itself, or, where the store is
    /// full, the oldest datagram of the source that has most.
    pub fn keep(&mut self, key: FragmentKey, fragment: Fragment, now: u32) -> Ended {
        let source = source_of(&key);
        if let Some(datagram) = self.datagrams.get(&key) {
            let overlaps = |other: &Fragment| {
                other.range.start < fragment.range.end && fragment.range.start < other.range.end
            };
            let twice =
                |other: &Fragment| other.range == fragment.range && other.frame == fragment.frame;
            if datagram
                .fragments
                .iter()
                .any(|other| overlaps(other) && !twice(other))
            {
                let ended = self
                    .take(&key)
                    .map_or(0, |datagram| datagram.fragments.len());
                return Ended::new(ended + 1, &key, Reason::FragmentOverlap);
            }
        }
        if self.held_by(source) >= self.limits.per_source {
            return Ended::new(1, &key, Reason::FragmentLimit);
        }
        let mut ended = Ended::NONE;
        while self.is_full(&fragment) {
            let largest = self.per_source.iter().max_by_key(|(_, held)| **held);
            let Some((&largest, &held)) = largest else {
                return ended.and(1, &key, Reason::FragmentLimit);
            };
            if held <= self.held_by(source) + 1 {
                return ended.and(1, &key, Reason::FragmentLimit);
            }
            if let Some((oldest, fragments)) = self.end_oldest_of(largest) {
                ended = ended.and(fragments, &oldest, Reason::FragmentLimit);
            }
        }
        self.insert(key, fragment, now);
        ended
    }

    fn insert(&mut self, key: FragmentKey, fragment: Fragment, now: u32) {
        *self.per_source.entry(source_of(&key)).or_default() += 1;
        self.fragments += 1;
        self.bytes += fragment.frame.len();
        let until = now.wrapping_add(self.limits.ticks);
        let (order, serial) = (&mut self.order, &mut self.next_serial);
        let datagram = self.datagrams.entry(key).or_insert_with(|| {
            *serial += 1;
            order.push_back((*serial, key));
            Datagram {
                fragments: Vec::new(),
                until,
                serial: *serial,
            }
        });
        datagram.fragments.push(fragment);
    }

    /// The fragments of a datagram whose first one came, in the order of the datagram.
    #[must_use]
    pub fn release(&mut self, key: &FragmentKey) -> Vec<Fragment> {
        let mut fragments = self
            .take(key)
            .map_or_else(Vec::new, |datagram| datagram.fragments);
        fragments.sort_by_key(|fragment| fragment.range.start);
        fragments
    }

    /// Ends the datagrams that waited too long.
    pub fn expire(&mut self, now: u32) -> Ended {
        let mut ended = Ended::NONE;
        while let Some(place) = self.order.front().copied() {
            let held = self.held_at(&place).map(|held| held.until);
            if held.is_some_and(|until| is_ahead(until, now)) {
                break;
            }
            self.order.pop_front();
            if held.is_some()
                && let Some(datagram) = self.take(&place.1)
            {
                let fragments = datagram.fragments.len();
                ended = ended.and(fragments, &place.1, Reason::FragmentExpired);
            }
        }
        ended
    }

    /// Fragments that are held, and the bytes of their frames.
    #[must_use]
    pub const fn held(&self) -> (usize, usize) {
        (self.fragments, self.bytes)
    }

    /// True if nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fragments == 0
    }

    fn held_by(&self, source: Source) -> usize {
        self.per_source.get(&source).copied().unwrap_or(0)
    }

    fn is_full(&self, fragment: &Fragment) -> bool {
        self.fragments >= self.limits.fragments
            || self.bytes + fragment.frame.len() > self.limits.bytes
    }

    /// The datagram at this place in the order, if it is not gone.
    fn held_at(&self, (serial, key): &(u64, FragmentKey)) -> Option<&Datagram> {
        let held = self.datagrams.get(key);
        held.filter(|held| held.serial == *serial)
    }

    /// Ends the oldest datagram of a source; its key, and the number of its fragments.
    fn end_oldest_of(&mut self, source: Source) -> Option<(FragmentKey, usize)> {
        let mut theirs = self
            .order
            .iter()
            .filter(|(_, key)| source_of(key) == source);
        let (_, key) = theirs.find(|place| self.held_at(place).is_some())?;
        let key = *key;
        let datagram = self.take(&key)?;
        Some((key, datagram.fragments.len()))
    }

    fn take(&mut self, key: &FragmentKey) -> Option<Datagram> {
        let datagram = self.datagrams.remove(key)?;
        let bytes: usize = datagram
            .fragments
            .iter()
            .map(|fragment| fragment.frame.len())
            .sum();
        self.fragments -= datagram.fragments.len();
        self.bytes -= bytes;
        let source = source_of(key);
        let left = self.held_by(source) - datagram.fragments.len();
        match left {
            0 => self.per_source.remove(&source),
            left => self.per_source.insert(source, left),
        };
        self.shorten();
        Some(datagram)
    }

    /// Forgets places in the order whose datagrams are gone, once they are the most.
    fn shorten(&mut self) {
        if self.order.len() > 64 && self.order.len() > 2 * self.datagrams.len() {
            let datagrams = &self.datagrams;
            self.order.retain(|(serial, key)| {
                datagrams
                    .get(key)
                    .is_some_and(|held| held.serial == *serial)
            });
        }
    }
}

#[cfg(test)]
mod tests;
