//! Where a mapping belongs: the keyed hash of its protocol and inside port
//! chooses the block, the bucket in the block and the slot in the bucket, and
//! with them the external port.
//!
//! The secret is the subscriber's own and random, so the port of a mapping
//! cannot be guessed from outside (RFC 6056 section 3.3.3, RFC 6888 REQ-15),
//! nor does one subscriber learn anything about another's ports.

use crate::layout::buckets;
use crate::limits::{MAX_BLOCKS_PER_SUBSCRIBER, SLOTS_PER_BUCKET};
use crate::verdict::Protocol;

/// The place of one (protocol, inside port) of one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(pub(super) u64);

impl Place {
    /// Hashes with two rounds of multiply and shift: all bits of the secret
    /// and the port reach all bits used below.
    #[inline(always)]
    #[must_use]
    pub const fn new(secret: u64, protocol: Protocol, inside_port: u16) -> Self {
        let key = inside_port as u64 | (protocol as u64 + 1) << 16;
        let x = (key ^ secret).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let x = (x ^ (x >> 32)).wrapping_mul(secret | 1);
        Self(x ^ (x >> 29))
    }

    /// Bucket, counted within the protocol's part of a block.
    #[inline(always)]
    #[must_use]
    pub const fn bucket(self, block_shift: u32) -> u32 {
        self.0 as u32 & (buckets(block_shift) - 1)
    }

    /// Buckets from one that was full to the one that is tried next. Odd, so that
    /// every bucket has its turn; and each mapping's own: if all went to the
    /// neighbour, full buckets would grow together, and the last mappings of a
    /// block would have to go past many of them.
    #[inline(always)]
    #[must_use]
    pub const fn stride(self) -> u32 {
        (self.0 >> 8) as u32 & 0x7f | 1
    }
    /// Slot in the bucket that is tried first.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u32 {
        (self.0 >> 15) as u32 & (SLOTS_PER_BUCKET - 1)
    }

    /// Six bits that tell mappings of one bucket apart, never 0, see [`crate::layout::Detour`].
    #[inline(always)]
    #[must_use]
    pub const fn tag(self) -> u32 {
        let bits = self.0 >> 58;
        let is_zero = bits.wrapping_sub(1) >> 63;
        (bits + is_zero) as u32
    }

    /// Which of `count` blocks is tried first. A further block takes
    /// 1/(count+1) of the places from each of the others and changes nothing
    /// else (jump consistent hashing), so most established flows are still
    /// found at the first try.
    #[inline(always)]
    #[must_use]
    pub const fn block(self, count: u32) -> u32 {
        let mut home = 0;
        let mut at = 1;
        while at < MAX_BLOCKS_PER_SUBSCRIBER as u32 {
            if at >= count {
                break;
            }
            let bits = (self.0 >> (10 + 8 * at)) & 0xff;
            if bits * (at as u64 + 1) < 256 {
                home = at;
            }
            at += 1;
        }
        home
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> impl Iterator<Item = Place> {
        (0..=u16::MAX).map(|port| Place::new(0x1234_5678_9abc_def1, Protocol::Udp, port))
    }

    /// Chi-square of equally likely cells; for k cells the mean is k-1 and the
    /// deviation sqrt(2(k-1)). The bound is 5 deviations.
    fn assert_uniform(cells: &[u32]) {
        let total: u32 = cells.iter().sum();
        let expected = f64::from(total) / cells.len() as f64;
        let chi: f64 = cells
            .iter()
            .map(|c| (f64::from(*c) - expected).powi(2) / expected)
            .sum();
        let freedom = cells.len() as f64 - 1.0;
        assert!(
            chi < freedom + 5.0 * (2.0 * freedom).sqrt(),
            "chi {chi} of {freedom}"
        );
    }

    #[test]
    fn buckets_and_slots_are_chosen_uniformly() {
        for shift in [6, 9, 10] {
            let mut cells = vec![0; 1 << shift];
            for place in places() {
                cells[(place.bucket(shift) * SLOTS_PER_BUCKET + place.slot()) as usize] += 1;
            }
            assert_uniform(&cells);
        }
    }

    #[test]
    fn another_secret_gives_unrelated_places() {
        let mut cells = vec![0; 64];
        for port in 0..=u16::MAX {
            let a = Place::new(0x1111_2222_3333_4444, Protocol::Tcp, port).bucket(9);
            let b = Place::new(0x1111_2222_3333_4445, Protocol::Tcp, port).bucket(9);
            cells[((a + 64 - b) % 64) as usize] += 1;
        }
        // The most frequent difference would be common if secrets were related.
        assert!(cells.iter().all(|c| *c < 65_536 / 64 * 2), "{cells:?}");
    }

    #[test]
    fn a_further_block_takes_its_share_and_moves_nothing_else() {
        for count in 1..6 {
            let mut moved = 0;
            for place in places() {
                let (before, after) = (place.block(count), place.block(count + 1));
                assert!(before < count);
                assert!(after == before || after == count);
                moved += u32::from(after != before);
            }
            let share = 65_536 / (count + 1);
            assert!(moved.abs_diff(share) < share / 10, "{moved} of {share}");
        }
    }
}
