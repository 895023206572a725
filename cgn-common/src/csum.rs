//! Internet checksums (RFC 1071) and their incremental update (RFC 1624).
//! Nothing else computes a checksum.
//!
//! One's-complement sums do not depend on byte order as long as all terms have
//! the same (RFC 1071 section 2 B), so everything here works on 16-bit words
//! as they lie in the packet, read in the machine's own order.

use crate::frame::Frame;

/// A change to the data under a checksum, as a one's-complement sum of
/// what went (inverted) and what came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change(u64);

impl Change {
    /// Nothing changed.
    pub const NONE: Self = Self(0);

    /// One 16-bit word of the packet changes.
    #[inline(always)]
    #[must_use]
    pub const fn word16(self, old: u16, new: u16) -> Self {
        Self(self.0 + (!old) as u64 + new as u64)
    }

    /// Two neighbouring 16-bit words (an address) change.
    #[inline(always)]
    #[must_use]
    pub const fn word32(self, old: u32, new: u32) -> Self {
        // 2^16 = 1 modulo 0xffff: a 32-bit word may be summed whole and folded later.
        Self(self.0 + (!old) as u64 + new as u64)
    }

    /// Both changes.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum after the change: RFC 1624 equation 3, HC' = ~(~HC + ~m + m').
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold((!checksum) as u64 + self.0)
    }

    /// As [`Change::apply`] for UDP over IPv4: 0 means "no checksum" and stays
    /// (RFC 3022 section 4.1); a result of 0 is sent as 0xffff (RFC 768).
    #[inline(always)]
    #[must_use]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        match self.apply(checksum) {
            0 => 0xffff,
            sum => sum,
        }
    }
}

/// Folds a sum of 16-bit (or whole 32-bit) words to 16 bits.
#[inline(always)]
#[must_use]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// Most bytes that [`sum`] sums: a page, and no XDP frame is larger.
const MOST_SUMMED: usize = 4096;

/// Sum of the 16-bit words, as they lie in the packet, of `length` bytes from
/// `offset` on, a last odd byte filled up with zero (RFC 1071); not folded. None
/// if they do not lie in the frame behind its first byte, or are more than a page.
#[inline(always)]
pub fn sum<F: Frame + ?Sized>(frame: &F, offset: usize, length: usize) -> Option<u64> {
    if offset == 0 || offset >= MOST_SUMMED || length > MOST_SUMMED {
        return None;
    }
    let mut sum = 0;
    for word in 0..MOST_SUMMED / 4 {
        let at = 4 * word;
        if at + 4 > length {
            return sum_rest(frame, offset + at, length - at, sum);
        }
        sum += u64::from(frame.load::<u32>(offset + at)?);
    }
    Some(sum)
}

/// `sum` with the last `length` bytes, at most 3.
#[inline(always)]
fn sum_rest<F: Frame + ?Sized>(
    frame: &F,
    offset: usize,
    length: usize,
    mut sum: u64,
) -> Option<u64> {
    if length & 2 != 0 {
        sum += u64::from(frame.load::<u16>(offset)?);
    }
    if length & 1 != 0 {
        // With the byte before it, and the offset in one number: the verifier takes
        // neither a bound of a single byte nor one behind a step back.
        let before = core::hint::black_box(offset + (length & 2) - 1);
        let [_, last]: [u8; 2] = frame.load(before & (MOST_SUMMED * 2 - 1))?;
        sum += u64::from(u16::from_ne_bytes([last, 0]));
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 section 4.1, byte by byte: not our arithmetic.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn a_sum_equals_a_computation_byte_by_byte(mut data in proptest::collection::vec(any::<u8>(), 1..300), before in 0_usize..9, after in 0_usize..9) {
            let (from, to) = (before.clamp(1, data.len()), data.len().saturating_sub(after));
            let length = to.saturating_sub(from);
            let wanted = reference(&data[from..from + length]);
            let end = data.len();
            let frame = crate::frame::Buffer::new(&mut data, 0, end).unwrap();
            let sum = sum(&frame, from, length).unwrap();
            prop_assert_eq!(!u16::from_be(fold(sum)), wanted);
            prop_assert_eq!(frame.sum(from, end + 1), None);
        }

        #[test]
        fn an_update_equals_a_recomputation(mut data in proptest::collection::vec(any::<u8>(), 8..64), new in any::<u32>(), word in any::<u16>()) {
            data[6] |= 1; // all-zero data has two representations of its sum
            let before = u16::from_be_bytes(reference(&data).to_be_bytes()).to_be();
            let old = u32::from_ne_bytes(data[0..4].try_into().unwrap());
            let old16 = u16::from_ne_bytes(data[4..6].try_into().unwrap());
            data[0..4].copy_from_slice(&new.to_ne_bytes());
            data[4..6].copy_from_slice(&word.to_ne_bytes());
            let after = Change::NONE.word32(old, new).word16(old16, word).apply(before);
            prop_assert_eq!(u16::from_be(after), reference(&data));
        }

        #[test]
        fn a_change_and_its_reverse_cancel(sum in 1_u16.., old in any::<u32>(), new in any::<u32>()) {
            let there = Change::NONE.word32(old, new).apply(sum);
            let back = Change::NONE.word32(new, old).apply(there);
            // 0x0000 and 0xffff are both zero in one's complement.
            prop_assert!(back == sum || (back == 0 && sum == 0xffff) || (back == 0xffff && sum == 0));
        }
    }

    #[test]
    fn udp_keeps_zero_and_never_makes_it() {
        assert_eq!(Change::NONE.word16(1, 2).apply_udp(0), 0);
        for sum in 1..=u16::MAX {
            for new in [0, 1, 0x1234, 0xffff] {
                assert_ne!(
                    Change::NONE.word16(0x4321, new).apply_udp(sum),
                    0,
                    "{sum:#x} {new:#x}"
                );
            }
        }
    }
}
