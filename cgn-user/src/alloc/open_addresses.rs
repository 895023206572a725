//! The addresses that have a free block, to choose one of them uniformly.
//!
//! Addresses are numbers below `total`. Those with no free block are *closed*.
//! Choosing means drawing a position below the count of open addresses and
//! looking up who is there: position i holds address i, except where address i
//! is closed; there it holds an open address from beyond the last position.
//! So one draw always hits, however full the pool is, and memory is
//! proportional to closed addresses: a pool of 2^24 addresses costs nothing at first.

use foldhash::{HashMap, HashMapExt as _};
use rand::{Rng, RngExt};

#[derive(Debug)]
pub(super) struct OpenAddresses {
    /// Open addresses = positions to draw from.
    open: u32,
    /// Position of a closed address -> the open address that sits there.
    stand_in: HashMap<u32, u32>,
    /// The inverse of `stand_in`.
    seat: HashMap<u32, u32>,
}

impl OpenAddresses {
    pub(super) fn new(total: u32) -> Self {
        Self {
            open: total,
            stand_in: HashMap::new(),
            seat: HashMap::new(),
        }
    }

    /// An open address, each with the same chance; None if all are closed.
    pub(super) fn choose(&self, rng: &mut impl Rng) -> Option<u32> {
        if self.open == 0 {
            return None;
        }
        let position = rng.random_range(0..self.open);
        Some(self.stand_in.get(&position).copied().unwrap_or(position))
    }

    /// Takes out `address`, which is open.
    pub(super) fn close(&mut self, address: u32) {
        let hole = self.seat.remove(&address).unwrap_or(address);
        // The last position goes away; who sat there moves into the hole.
        let last = self.open - 1;
        let moved = self.stand_in.remove(&last).unwrap_or(last);
        self.open = last;
        if hole != last {
            self.put(hole, moved);
        }
    }

    /// Puts back `address`, which is closed.
    pub(super) fn reopen(&mut self, address: u32) {
        let added = self.open;
        self.open += 1;
        // Position `added` is its own address's home. If that address is open it
        // goes home now, and the seat where it waited is the empty one.
        let hole = match self.seat.remove(&added) {
            Some(seat) => {
                self.stand_in.remove(&seat);
                seat
            }
            None => added,
        };
        if hole == address {
            return;
        }
        if address < added {
            // Home is below: the stand-in there makes room.
            if let Some(moved) = self.stand_in.remove(&address) {
                self.put(hole, moved);
            }
        } else {
            self.put(hole, address);
        }
    }

    fn put(&mut self, position: u32, address: u32) {
        self.stand_in.insert(position, address);
        self.seat.insert(address, position);
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.stand_in.len() + self.seat.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn seated(addresses: &OpenAddresses) -> Vec<u32> {
        let mut all: Vec<u32> = (0..addresses.open)
            .map(|position| {
                let found = addresses.stand_in.get(&position);
                found.copied().unwrap_or(position)
            })
            .collect();
        all.sort_unstable();
        all
    }

    proptest! {
        #[test]
        fn positions_hold_exactly_the_open_addresses(total in 1_u32..24, toggles in prop::collection::vec(0_u32..24, 0..200)) {
            let mut addresses = OpenAddresses::new(total);
            let mut open: BTreeSet<u32> = (0..total).collect();
            for toggle in toggles {
                let address = toggle % total;
                if open.remove(&address) {
                    addresses.close(address);
                } else {
                    open.insert(address);
                    addresses.reopen(address);
                }
                prop_assert_eq!(seated(&addresses), open.iter().copied().collect::<Vec<_>>());
                let closed = total as usize - open.len();
                prop_assert!(addresses.entries() <= 2 * closed, "memory follows closed addresses");
            }
        }
    }
}
