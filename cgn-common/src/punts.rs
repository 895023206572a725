//! How many packets may be punted for want of a route or a neighbour. A next
//! hop that does not answer, or someone who scans a network, must not take the
//! slow path's time; what is over the limit is dropped where it came in.
//!
//! Every neighbour (or, where not even that is known, destination) has a slot
//! of `PUNTS` by its hash and may have [`MOST_PER_KEY`] punts in a tick; all
//! together may have [`MOST`].

use crate::layout::Punts;

/// Slots, the common one included.
pub const SLOTS: u32 = 1024;
/// The slot of all together.
pub const ALL: u32 = 0;
/// Punts in a tick (0.268 s) for one neighbour: as many packets as may wait for it.
pub const MOST_PER_KEY: u32 = 32;
/// Punts in a tick for all neighbours.
pub const MOST: u32 = 2048;

/// The slot of `key`.
#[inline(always)]
#[must_use]
pub const fn slot_of(key: u32) -> u32 {
    // The upper bits of a product with 2^32 / phi depend on all bits of the key.
    let hash = key.wrapping_mul(0x9e37_79b9) >> 22;
    if hash == ALL { 1 } else { hash }
}

/// Takes one of the punts that a slot has in the tick `now`; false if all are
/// taken. Exact, whoever else does the same at the same time.
#[inline(always)]
#[must_use]
pub fn take(slot: &Punts, now: u32, most: u32) -> bool {
    let begun = u64::from(now) << 32;
    let seen = slot.0.load();
    if seen & !0xffff_ffff != begun && slot.0.replace(seen, begun | 1) {
        return most != 0;
    }
    // Read again: another processor may have begun the tick just now. Without
    // the look before, the count would grow into the tick.
    if slot.0.load() as u32 >= most {
        return false;
    }
    (slot.0.add(1) as u32) < most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_a_tick_and_again_in_the_next() {
        let slot = Punts::default();
        let taken = |now, tries| (0..tries).filter(|_| take(&slot, now, 5)).count();
        assert_eq!(taken(7, 3), 3);
        assert_eq!(taken(7, 10), 2, "the rest of it");
        assert_eq!(taken(7, 10), 0);
        assert_eq!(taken(8, 100), 5, "another tick");
        assert_eq!(taken(u32::MAX, 100), 5, "much later");
        assert_eq!(taken(0, 100), 5, "the clock went round");
    }

    #[test]
    fn slots_are_in_range_spread_and_not_the_common_one() {
        let mut used = [0_u32; SLOTS as usize];
        for key in 0..SLOTS * 16 {
            // A /18 of neighbours.
            used[slot_of(0xc612_0000 + key) as usize] += 1;
        }
        assert_eq!(used[ALL as usize], 0);
        let most = used.iter().max().copied().unwrap_or(0);
        assert!(most <= 40, "{most} of 16 on average share a slot");
    }
}
