//! Which pieces of slot memory serve no block.

use std::collections::VecDeque;

/// Place of a slab that is not in the free stack.
const NOT_FREE: u32 = u32::MAX;

/// The slabs of one pool. A freed slab is the next one given out, because its
/// memory is the likeliest to be in a cache; slabs need not be hard to guess.
#[derive(Debug)]
pub(super) struct Slabs {
    free: Vec<u32>,
    /// Slab -> its index in `free`, so that adopting a given slab is one step.
    place: Vec<u32>,
    /// (free again at, slab), in the order of release.
    quarantine: VecDeque<(u64, u32)>,
}

impl Slabs {
    pub(super) fn new(count: u32) -> Self {
        // Slab 0 on top, so that a fresh pool touches its memory from the start.
        Self {
            free: (0..count).rev().collect(),
            place: (0..count).rev().collect(),
            quarantine: VecDeque::new(),
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.place.len() as u32
    }

    pub(super) fn free(&self) -> u32 {
        self.free.len() as u32
    }

    pub(super) fn quarantined(&self) -> u32 {
        self.quarantine.len() as u32
    }

    pub(super) fn take(&mut self) -> Option<u32> {
        let slab = self.free.pop()?;
        self.place[slab as usize] = NOT_FREE;
        Some(slab)
    }

    pub(super) fn is_free(&self, slab: u32) -> bool {
        self.place
            .get(slab as usize)
            .is_some_and(|&place| place != NOT_FREE)
    }

    /// Takes `slab`, which is free.
    pub(super) fn take_this(&mut self, slab: u32) {
        let place = self.place[slab as usize] as usize;
        self.free.swap_remove(place);
        if let Some(&moved) = self.free.get(place) {
            self.place[moved as usize] = place as u32;
        }
        self.place[slab as usize] = NOT_FREE;
    }

    /// Gives back `slab`, which no packet can have seen.
    pub(super) fn give_back(&mut self, slab: u32) {
        self.place[slab as usize] = self.free.len() as u32;
        self.free.push(slab);
    }

    /// Gives back `slab` for use from `until_ms` on. Callers' times ascend, since
    /// every quarantine is equally long.
    pub(super) fn quarantine(&mut self, slab: u32, until_ms: u64) {
        self.quarantine.push_back((until_ms, slab));
    }

    /// Ends the quarantines that are due; returns how many.
    pub(super) fn advance(&mut self, now_ms: u64) -> usize {
        let mut ended = 0;
        while let Some(&(until_ms, slab)) = self.quarantine.front() {
            if until_ms > now_ms {
                break;
            }
            self.quarantine.pop_front();
            self.give_back(slab);
            ended += 1;
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slab_is_given_out_once() {
        let mut slabs = Slabs::new(5);
        assert!(slabs.is_free(3));
        slabs.take_this(3);
        assert!(!slabs.is_free(3), "an adopted slab is not free");
        assert!(!slabs.is_free(5), "nor is one that does not exist");
        slabs.take_this(0);
        let mut rest: Vec<u32> = std::iter::from_fn(|| slabs.take()).collect();
        rest.sort_unstable();
        assert_eq!(rest, [1, 2, 4]);
        assert_eq!(slabs.free(), 0);
    }

    #[test]
    fn a_quarantined_slab_comes_back_at_its_time_and_not_before() {
        let mut slabs = Slabs::new(1);
        let slab = slabs.take().unwrap();
        slabs.quarantine(slab, 1_000);
        assert_eq!((slabs.advance(999), slabs.take()), (0, None));
        assert!(!slabs.is_free(slab));
        assert_eq!((slabs.advance(1_000), slabs.take()), (1, Some(slab)));
    }
}
