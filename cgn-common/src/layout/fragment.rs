//! Fragmented datagrams that are on their way.

use bytemuck::{Pod, Zeroable};

use super::Side;

/// Key of `FRAGMENTS`: what all fragments of a datagram have in common, as
/// they came (RFC 791 section 2.3), and the side that they came from.
/// Addresses in host order; `rest` is bits 0-15 identification, 16-23
/// protocol, 24-31 [`Side`] as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct FragmentKey {
    pub source: u32,
    pub destination: u32,
    pub rest: u32,
}

impl FragmentKey {
    #[inline(always)]
    #[must_use]
    pub const fn new(side: Side, protocol: u8, source: u32, destination: u32, id: u16) -> Self {
        Self {
            source,
            destination,
            rest: id as u32 | (protocol as u32) << 16 | (side as u32) << 24,
        }
    }
    #[inline(always)]
    #[must_use]
    pub const fn id(&self) -> u16 {
        self.rest as u16
    }
    /// IPv4 protocol number.
    #[inline(always)]
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        (self.rest >> 16) as u8
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_from_inside(&self) -> bool {
        self.rest >> 24 == Side::Inside as u32
    }
    /// Element of `AWAITED` for this datagram. Not keyed: who makes two meet
    /// gains nothing but a detour through the slow path for his own.
    #[inline(always)]
    #[must_use]
    pub const fn awaited_at(&self) -> u32 {
        let sum = self.source.wrapping_mul(0x85eb_ca6b)
            ^ self.destination.wrapping_mul(0xc2b2_ae35)
            ^ self.rest;
        sum.wrapping_mul(0x9e37_79b9) >> (32 - AWAITED_SHIFT)
    }
}

/// log2 of the elements of `AWAITED`.
pub const AWAITED_SHIFT: u32 = 16;

/// Value of `FRAGMENTS`: what becomes of the fragments of a datagram whose
/// first one was translated. Addresses in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Datagram {
    pub source: u32,
    pub destination: u32,
    /// Tick in which it is forgotten.
    pub until: u32,
    /// Identification; 16 bits.
    pub id: u32,
}

impl Datagram {
    /// False once it is to be forgotten.
    #[inline(always)]
    #[must_use]
    pub const fn is_alive(&self, now: u32) -> bool {
        is_ahead(self.until, now)
    }
}

/// True if tick `until` is still to come.
#[inline(always)]
#[must_use]
pub const fn is_ahead(until: u32, now: u32) -> bool {
    until.wrapping_sub(now) as i32 > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let key = FragmentKey::new(Side::Outside, 17, 1, 2, 0xabcd);
        assert_eq!(
            (key.id(), key.protocol(), key.is_from_inside()),
            (0xabcd, 17, false)
        );
        assert!(FragmentKey::new(Side::Inside, 255, 1, 2, 0xffff).is_from_inside());
    }

    #[test]
    fn a_datagram_is_forgotten_also_when_the_clock_goes_round() {
        let datagram = |until| Datagram {
            source: 0,
            destination: 0,
            until,
            id: 0,
        };
        assert!(datagram(8).is_alive(7));
        assert!(!datagram(8).is_alive(8));
        assert!(datagram(3).is_alive(u32::MAX));
        assert!(!datagram(u32::MAX).is_alive(3));
    }

    #[test]
    fn identifications_in_a_row_are_awaited_at_different_places() {
        let places: std::collections::BTreeSet<u32> = (0..1000)
            .map(|id| FragmentKey::new(Side::Inside, 17, 0x6440_0001, 0x0808_0808, id).awaited_at())
            .collect();
        assert!(places.len() > 980, "{} places", places.len());
        assert!(places.iter().all(|place| *place < 1 << AWAITED_SHIFT));
    }
}
