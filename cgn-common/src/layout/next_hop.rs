//! Routes and next hops.

use bytemuck::{Pod, Zeroable};

use crate::word::Word;

/// Next hops of 32 neighbouring /16 networks: `ROUTES[address >> 21].0[address >> 16 & 31]`.
/// 0: not all addresses of this /16 have the same next hop; look further.
/// [`ROUTE_ELSEWHERE`] and above are no next hops.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct RouteLine(pub [u16; ROUTES_PER_LINE as usize]);
/// Networks in one [`RouteLine`].
pub const ROUTES_PER_LINE: u32 = 32;

/// In `ROUTES`: all addresses of this /16 are the router's own.
pub const ROUTE_LOCAL: u16 = u16::MAX;
/// In `ROUTES`: none of this /16 has a route that forwards.
pub const ROUTE_NONE: u16 = u16::MAX - 1;
/// In `ROUTES`: all of this /16 is behind interfaces that are not ours. Next
/// hops have smaller numbers.
pub const ROUTE_ELSEWHERE: u16 = u16::MAX - 2;

/// Value in `EXACT_ROUTES` for an address of the router itself.
pub const EXACT_LOCAL: u32 = u32::MAX;

/// Where to send a packet: everything that its new link header needs. Words,
/// because packets read an entry while user space rewrites it.
#[derive(Debug, Default)]
#[repr(C)]
pub struct NextHopEntry(pub [Word; 4]);

/// A [`NextHopEntry`], unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHop {
    pub destination_mac: [u8; 6],
    pub source_mac: [u8; 6],
    /// Interface that carries the frame (never a VLAN device).
    pub ifindex: u32,
    /// Key in `DEVICES`.
    pub device: u16,
    /// Largest IPv4 packet in bytes.
    pub mtu: u16,
    /// [`Side`](super::Side) as a number; 0: this entry is empty.
    pub side: u8,
    /// VLAN tags to write.
    pub vlan_count: u8,
    /// VLAN ids to write, outermost first.
    pub vlans: [u16; 2],
    /// IPv4 address of the neighbour if its link address is not known; else 0.
    pub waits_for: u32,
}

impl NextHopEntry {
    /// Added to the side of an entry whose link address is not known, so that
    /// no packet takes it for usable.
    pub const UNRESOLVED: u8 = 0x80;

    /// Bytes 0-7 of the link header: destination MAC and the first two of the source's.
    #[inline(always)]
    #[must_use]
    pub fn mac_start(&self) -> u64 {
        self.0[0].load()
    }
    /// Bytes 8-11 of the link header, and the interface that carries the frame.
    #[inline(always)]
    #[must_use]
    pub fn mac_end_and_ifindex(&self) -> (u32, u32) {
        let word = self.0[1].load();
        (word as u32, (word >> 32) as u32)
    }
    /// Key in `DEVICES`.
    #[inline(always)]
    #[must_use]
    pub fn device(&self) -> u16 {
        self.0[2].load() as u16
    }
    /// Largest IPv4 packet in bytes.
    #[inline(always)]
    #[must_use]
    pub fn mtu(&self) -> u16 {
        (self.0[2].load() >> 16) as u16
    }
    /// [`Side`](super::Side) as a number, with [`Self::UNRESOLVED`]; 0: this entry is empty.
    #[inline(always)]
    #[must_use]
    pub fn side(&self) -> u8 {
        (self.0[2].load() >> 32) as u8
    }
    /// IPv4 address of a neighbour whose link address is not known; else 0.
    #[inline(always)]
    #[must_use]
    pub fn waits_for(&self) -> u32 {
        (self.0[3].load() >> 32) as u32
    }
    /// VLAN tags to write, at most 2.
    #[inline(always)]
    #[must_use]
    pub fn vlan_count(&self) -> u32 {
        (self.0[2].load() >> 40) as u32 & 3
    }
    /// VLAN ids to write, outermost first.
    #[inline(always)]
    #[must_use]
    pub fn vlans(&self) -> [u16; 2] {
        let word = self.0[3].load();
        [word as u16, (word >> 16) as u16]
    }
    /// Everything.
    #[must_use]
    pub fn read(&self) -> NextHop {
        let [a, b, c, d, e, f, g, h] = self.mac_start().to_ne_bytes();
        let (end, ifindex) = self.mac_end_and_ifindex();
        let [i, j, k, l] = end.to_ne_bytes();
        NextHop {
            destination_mac: [a, b, c, d, e, f],
            source_mac: [g, h, i, j, k, l],
            ifindex,
            device: self.device(),
            mtu: self.mtu(),
            side: self.side() & !Self::UNRESOLVED,
            vlan_count: self.vlan_count() as u8,
            vlans: self.vlans(),
            waits_for: self.waits_for(),
        }
    }
    /// Replaces the entry. Only the link addresses of a neighbour ever change
    /// under a number; a packet in that moment may get one of each, and a
    /// switch then drops it.
    pub fn write(&self, hop: &NextHop) {
        let unresolved = if hop.waits_for == 0 {
            0
        } else {
            Self::UNRESOLVED
        };
        let last = u64::from(hop.device)
            | u64::from(hop.mtu) << 16
            | u64::from(hop.side | unresolved) << 32
            | u64::from(hop.vlan_count & 3) << 40;
        if unresolved != 0 {
            // Before the link addresses go: no packet shall take the rest for good.
            self.0[2].store(last);
        }
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (hop.destination_mac, hop.source_mac);
        self.0[0].store(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
        let end = u64::from(u32::from_ne_bytes([i, j, k, l]));
        self.0[1].store(end | u64::from(hop.ifindex) << 32);
        let vlans = u64::from(hop.vlans[0]) | u64::from(hop.vlans[1]) << 16;
        self.0[3].store(vlans | u64::from(hop.waits_for) << 32);
        self.0[2].store(last);
    }
}

/// One element of `PUNTS`: bits 0-31 punts in the tick that is in bits 32-63.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Punts(pub Word);

#[cfg(test)]
mod tests {
    use super::super::Side;
    use super::*;

    #[test]
    fn a_next_hop_is_read_as_it_was_written() {
        let hop = NextHop {
            destination_mac: [1, 2, 3, 4, 5, 6],
            source_mac: [7, 8, 9, 10, 11, 12],
            ifindex: 0xdead_beef,
            device: 63,
            mtu: 9000,
            side: Side::Outside as u8,
            vlan_count: 2,
            vlans: [100, 4094],
            waits_for: 0,
        };
        let entry = NextHopEntry::default();
        let lost = NextHop {
            waits_for: 0xc000_0201,
            ..hop
        };
        entry.write(&lost);
        assert_eq!(entry.read(), lost);
        assert_ne!(entry.side(), hop.side, "not usable");
        entry.write(&hop);
        assert_eq!((entry.read(), entry.side()), (hop, hop.side));
        let mut start = entry.mac_start().to_ne_bytes().to_vec();
        start.extend(entry.mac_end_and_ifindex().0.to_ne_bytes());
        assert_eq!(
            start,
            (1..=12).collect::<Vec<u8>>(),
            "the link header, byte by byte"
        );
    }
}
