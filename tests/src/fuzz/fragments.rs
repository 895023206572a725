//! The store of fragments that wait, against one so plain that it searches everything.

use cgn_common::layout::{FragmentKey, Side, is_ahead};
use cgn_common::verdict::Reason;
use cgn_user::slowpath::fragments::{Ended, Fragment, Limits, Store};

/// Small, so that a few fragments reach them.
const LIMITS: Limits = Limits {
    fragments: 8,
    bytes: 600,
    per_source: 4,
    ticks: 5,
};

/// The clock of ticks goes round.
const START: u32 = u32::MAX - 20;

/// Datagrams in the order in which they came.
#[derive(Default)]
struct Plain(Vec<(FragmentKey, u32, Vec<Fragment>)>);

impl Plain {
    fn count(&self, of: impl Fn(&FragmentKey) -> bool) -> usize {
        let held = self.0.iter().filter(|(key, ..)| of(key));
        held.map(|(.., fragments)| fragments.len()).sum()
    }

    fn bytes(&self) -> usize {
        let all = self.0.iter().flat_map(|(.., fragments)| fragments);
        all.map(|fragment| fragment.frame.len()).sum()
    }

    fn of_source(&self, key: &FragmentKey) -> usize {
        self.count(|other| source(other) == source(key))
    }

    fn keep(&mut self, key: FragmentKey, fragment: Fragment, now: u32) -> Ended {
        let overlaps = |other: &Fragment| {
            let (a, b) = (&other.range, &fragment.range);
            a.start < b.end && b.start < a.end && *other != fragment
        };
        let at = self.0.iter().position(|(other, ..)| *other == key);
        if let Some(at) = at
            && self.0[at].2.iter().any(overlaps)
        {
            let (.., gone) = self.0.remove(at);
            return Ended::new(gone.len() + 1, &key, Reason::FragmentOverlap);
        }
        if self.of_source(&key) >= LIMITS.per_source {
            return Ended::new(1, &key, Reason::FragmentLimit);
        }
        let mut gone = Vec::new();
        while self.count(|_| true) >= LIMITS.fragments
            || self.bytes() + fragment.frame.len() > LIMITS.bytes
        {
            // Of the source with most, the oldest; not for one that would then have as many.
            let most = |(other, ..): &&(FragmentKey, _, _)| (self.of_source(other), source(other));
            let largest = self.0.iter().max_by_key(most).map(|(key, ..)| *key);
            let Some(largest) =
                largest.filter(|largest| self.of_source(largest) > self.of_source(&key) + 1)
            else {
                gone.push((key, 1));
                return ended(gone, Reason::FragmentLimit);
            };
            let is_theirs = |(other, ..): &(FragmentKey, _, _)| source(other) == source(&largest);
            let oldest = self.0.iter().position(is_theirs).expect("it has most");
            let (other, _, fragments) = self.0.remove(oldest);
            gone.push((other, fragments.len()));
        }
        match self.0.iter_mut().find(|(other, ..)| *other == key) {
            Some((.., fragments)) => fragments.push(fragment),
            None => {
                let until = now.wrapping_add(LIMITS.ticks);
                self.0.push((key, until, vec![fragment]));
            }
        }
        ended(gone, Reason::FragmentLimit)
    }

    fn release(&mut self, key: &FragmentKey) -> Vec<Fragment> {
        let at = self.0.iter().position(|(other, ..)| other == key);
        let mut fragments = at.map_or_else(Vec::new, |at| self.0.remove(at).2);
        fragments.sort_by_key(|fragment| fragment.range.start);
        fragments
    }

    fn expire(&mut self, now: u32) -> Ended {
        let over = self
            .0
            .extract_if(.., |(_, until, _)| !is_ahead(*until, now));
        let gone = over.map(|(key, _, fragments)| (key, fragments.len()));
        ended(gone.collect(), Reason::FragmentExpired)
    }
}

/// So many fragments of these datagrams end, in this order.
fn ended(datagrams: Vec<(FragmentKey, usize)>, reason: Reason) -> Ended {
    let reason = (!datagrams.is_empty()).then_some(reason);
    Ended { datagrams, reason }
}

fn source(key: &FragmentKey) -> (u32, bool) {
    (key.source, key.is_from_inside())
}

/// Four bytes say one step: what, whose, which part, how much.
pub fn run(input: &[u8]) -> bool {
    let (mut store, mut plain, mut now) = (Store::new(LIMITS), Plain::default(), START);
    let mut released = 0;
    for [what, whose, part, much] in input.as_chunks().0 {
        let key = key(*whose);
        match what % 8 {
            5 => {
                let fragments = store.release(&key);
                assert_eq!(fragments, plain.release(&key), "released");
                released += fragments.len();
            }
            6 | 7 => {
                now = now.wrapping_add(u32::from(part % 8));
                assert_eq!(store.expire(now), plain.expire(now), "expired");
            }
            _ => {
                let fragment = fragment(*part, *much);
                let ended = store.keep(key, fragment.clone(), now);
                assert_eq!(ended, plain.keep(key, fragment, now), "kept");
            }
        }
        assert_eq!(store.held(), (plain.count(|_| true), plain.bytes()));
        assert_eq!(store.is_empty(), plain.0.is_empty());
        let (fragments, bytes) = store.held();
        assert!(fragments <= LIMITS.fragments && bytes <= LIMITS.bytes);
    }
    released > 1
}

fn key(whose: u8) -> FragmentKey {
    let side = [Side::Inside, Side::Outside][usize::from(whose >> 4 & 1)];
    let (source, id) = (u32::from(whose & 3), u16::from(whose >> 2 & 3));
    FragmentKey::new(side, 17, source, 1, id)
}

fn fragment(part: u8, much: u8) -> Fragment {
    let start = u32::from(part & 7) * 8;
    Fragment {
        frame: vec![part; usize::from(much) + 1],
        port: 0,
        range: start..start + 8 * (1 + u32::from(part >> 3 & 3)),
    }
}
