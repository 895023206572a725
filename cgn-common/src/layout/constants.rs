//! What the configuration decides once, when the programs are loaded. It lies
//! in their read-only data, so that the verifier takes out what is off.

use bytemuck::{Pod, Zeroable};

use super::{Guards, Parts};
use crate::realm::NOBODY;
use crate::verdict::{Direction, Protocol};

/// Pools that a configuration can have.
pub const POOLS: usize = 256;

/// Value of the static `CONSTANTS` of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct Constants {
    pub features: Features,
    /// By number of the pool.
    pub pools: [Policy; POOLS],
    pub guards: Guards,
    pub six_rd: SixRd,
    /// By number of the pool, the realm that it serves; [`NOBODY`] if it is several, or none.
    pub realms: [u8; POOLS],
    /// Of `SLABS`; whoever loads programs knows it.
    pub parts: Parts,
    pub reserved: u32,
}

impl Constants {
    /// Everything that can be off is off.
    pub const PLAIN: Self = Self {
        features: Features::NONE,
        pools: [Policy::PLAIN; POOLS],
        guards: Guards::NONE,
        six_rd: SixRd::NONE,
        realms: [NOBODY; POOLS],
        parts: Parts(0),
        reserved: 0,
    };
}

impl Default for Constants {
    fn default() -> Self {
        Self::PLAIN
    }
}

/// How the IPv6 addresses of 6rd say an IPv4 address (RFC 5969 section 4): words 0 and 1 the first 64
/// bits of the prefix, 2 the bits that all IPv4 addresses have in common, 3 length of the prefix (bits
/// 0-7) and number of the bits that differ (8-15). All 0: there is no 6rd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct SixRd(pub [u32; 4]);

impl SixRd {
    pub const NONE: Self = Self([0; 4]);

    /// The prefix has `length` bits; an IPv4 address has the first `common_bits` of `common`, at most 31.
    /// What differs must fit into the first 64 bits of an IPv6 address.
    #[must_use]
    pub const fn new(prefix: u64, length: u8, common: u32, common_bits: u8) -> Self {
        let differing = 32 - common_bits as u32;
        let mask = ((1_u64 << differing) - 1) as u32;
        Self([
            (prefix >> 32) as u32,
            prefix as u32,
            common & !mask,
            length as u32 | differing << 8,
        ])
    }

    /// The IPv4 address in an IPv6 address with these first 64 bits; None for one that is not of 6rd.
    #[inline(always)]
    #[must_use]
    pub const fn ipv4_of(self, address: u64) -> Option<u32> {
        let [high, low, common, lengths] = self.0;
        let (length, differing) = (lengths & 0xff, lengths >> 8 & 0xff);
        if length == 0 || length > 63 || differing == 0 || differing > 32 {
            return None;
        }
        let prefix = (high as u64) << 32 | low as u64;
        if (address ^ prefix) >> (64 - length) != 0 {
            return None;
        }
        Some(common | (address << length >> (64 - differing)) as u32)
    }
}

/// What any packet has to look after. Bits 0-15 most bytes of the MSS option
/// outbound, 16-31 inbound (0: it is left alone), from 32 on one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Features(pub u64);

impl Features {
    pub const NONE: Self = Self(0);
    /// Some pool filters, or times the sessions of a TCP mapping one by one.
    pub const SESSIONS: u64 = 1 << 32;
    /// A TCP segment that is no SYN opens no mapping.
    pub const DROP_MIDSTREAM: u64 = 1 << 33;
    /// Inbound UDP and ICMP keep a mapping alive, too.
    pub const INBOUND_REFRESH: u64 = 1 << 34;
    /// Some destination ports have short timers.
    pub const SHORT_TIMERS: u64 = 1 << 35;
    /// Some group limits new mappings or sessions, or wants refusals remembered:
    /// `QUOTAS` is looked at.
    pub const QUOTAS: u64 = 1 << 36;
    /// Some pool has scattered blocks: see [`crate::nat::scatter`].
    pub const SCATTERED: u64 = 1 << 37;
    /// There are access lists: packets meet them first, see [`crate::access`].
    pub const ACCESS: u64 = 1 << 38;
    /// There are several realms: see [`crate::realm`].
    pub const REALMS: u64 = 1 << 39;
    /// New sessions are limited by the prefix of their source: see [`crate::nat::throttle`].
    pub const THROTTLE: u64 = 1 << 40;
    /// Packets that nobody waits for are counted by external address: see [`crate::guards`].
    pub const ATTACKS: u64 = 1 << 41;
    /// New subscribers are put off while the slow path is overloaded: see [`crate::guards`].
    pub const OVERLOAD: u64 = 1 << 42;
    /// Some pool keeps the parity of ports: see [`crate::nat::preference`].
    pub const PARITY: u64 = 1 << 43;
    /// Some pool keeps the class of ports: see [`crate::nat::class`].
    pub const CLASSES: u64 = 1 << 44;
    /// New sessions in IPv6 are limited by the prefix of their source: see [`crate::ipv6`].
    pub const THROTTLE_IPV6: u64 = 1 << 45;
    /// Some rule of the access lists has a rate: see [`crate::access`].
    pub const RATES: u64 = 1 << 47;
    /// Senders are told by an ICMP error: the time to live ended.
    pub const TELL_EXPIRED: u64 = 1 << 48;
    /// Fragmentation is needed, and forbidden.
    pub const TELL_TOO_BIG: u64 = 1 << 49;
    /// There is no way to the destination.
    pub const TELL_UNREACHABLE: u64 = 1 << 50;
    /// Ports, blocks or sessions are used up.
    pub const TELL_EXHAUSTED: u64 = 1 << 51;
    /// A packet from outside has no mapping.
    pub const TELL_NO_MAPPING: u64 = 1 << 52;
    /// Nobody waited for a SYN from outside; six seconds later (RFC 5382 REQ-4).
    pub const TELL_SYN: u64 = 1 << 53;
    /// Any of these errors.
    pub const TELL_ANY: u64 = Self::TELL_EXPIRED
        | Self::TELL_TOO_BIG
        | Self::TELL_UNREACHABLE
        | Self::TELL_EXHAUSTED
        | Self::TELL_NO_MAPPING
        | Self::TELL_SYN;
    /// The programs punt whatever is not the kernel's: see [`crate::forced`].
    pub const FORCE_SLOW_PATH: u64 = 1 << 63;

    #[inline(always)]
    #[must_use]
    pub const fn has(self, feature: u64) -> bool {
        self.0 & feature != 0
    }
    /// Most bytes of the MSS option in this direction; 0: it is left alone.
    #[inline(always)]
    #[must_use]
    pub const fn mss(self, direction: Direction) -> u16 {
        match direction {
            Direction::Outbound => self.0 as u16,
            Direction::Inbound => (self.0 >> 16) as u16,
        }
    }
    /// What is left of it in a pool: [`Self::SESSIONS`] only where packets of
    /// `protocol` have some that are noted.
    #[inline(always)]
    #[must_use]
    pub const fn within(self, policy: Policy, protocol: Protocol) -> Self {
        // Without a branch: the verifier would follow both ways to the end.
        let off = !policy.notes_sessions(protocol) as u64;
        Self(self.0 & !(off * Self::SESSIONS))
    }
    /// The same with the most bytes of the MSS option.
    #[must_use]
    pub const fn with_mss(self, outbound: u16, inbound: u16) -> Self {
        Self(self.0 & !0xffff_ffff | outbound as u64 | (inbound as u64) << 16)
    }
}

/// From whom a mapping takes packets (RFC 4787 section 5, RFC 5382 section 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Filtering {
    /// From anyone.
    #[default]
    EndpointIndependent = 0,
    /// From an address that the inside endpoint has sent to.
    AddressDependent = 1,
    /// From an address and port that it has sent to.
    AddressAndPortDependent = 2,
}

/// What is special in one pool. Bits 0-1 [`Filtering`] of UDP and ICMP, 2-3 of
/// TCP, 4 TCP sessions are timed one by one, 5 blocks are scattered, 6 every session is logged,
/// 7 parity of ports is kept, 8 their class is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Policy(pub u16);

impl Policy {
    pub const PLAIN: Self = Self(0);
    pub const TIMED_SESSIONS: u16 = 1 << 4;
    pub const SCATTERED: u16 = 1 << 5;
    /// Remote endpoints are logged: every one of them is noted, and a packet to one that cannot be
    /// is dropped.
    pub const LOGGED_SESSIONS: u16 = 1 << 6;
    /// A UDP mapping gets an even port for an even one, an odd one for an odd one, if it can
    /// (RFC 4787 REQ-4).
    pub const PARITY: u16 = 1 << 7;
    /// Blocks have ports below 1024, too, and a TCP or UDP mapping gets one of them for an inside
    /// port below 1024, another for another, if it can (RFC 4787 REQ-3a).
    pub const CLASSES: u16 = 1 << 8;

    #[must_use]
    pub const fn new(others: Filtering, tcp: Filtering, flags: u16) -> Self {
        Self(others as u16 | (tcp as u16) << 2 | flags)
    }
    #[inline(always)]
    #[must_use]
    pub const fn filtering(self, protocol: Protocol) -> Filtering {
        let bits = match protocol {
            Protocol::Tcp => self.0 >> 2,
            Protocol::Udp | Protocol::Icmp => self.0,
        };
        match bits & 3 {
            0 => Filtering::EndpointIndependent,
            1 => Filtering::AddressDependent,
            _ => Filtering::AddressAndPortDependent,
        }
    }
    #[inline(always)]
    #[must_use]
    pub const fn has(self, flag: u16) -> bool {
        self.0 & flag != 0
    }
    /// True if sessions beside a mapping's first one are noted: it filters, times
    /// or logs them.
    #[inline(always)]
    #[must_use]
    pub const fn notes_sessions(self, protocol: Protocol) -> bool {
        let bits = match protocol {
            Protocol::Tcp => 3 << 2 | Self::TIMED_SESSIONS | Self::LOGGED_SESSIONS,
            Protocol::Udp | Protocol::Icmp => 3 | Self::LOGGED_SESSIONS,
        };
        self.has(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 5969 section 4: 2001:db8::/32 with 10.0.0.0/8 gives 10.100.100.1 the prefix
    /// 2001:db8:6464:100::/56.
    #[test]
    fn a_six_rd_address_says_an_ipv4_address() {
        let ten = SixRd::new(0x2001_0db8_0000_0000, 32, 0x0a00_0000, 8);
        let all = SixRd::new(0x2001_0db8_0000_0000, 32, 0, 0);
        for (six_rd, address, expected, sentence) in [
            (
                ten,
                0x2001_0db8_6464_0100,
                Some(0x0a64_6401),
                "the RFC's example",
            ),
            (
                ten,
                0x2001_0db8_6464_01ff,
                Some(0x0a64_6401),
                "another subnet of it",
            ),
            (
                all,
                0x2001_0db8_0a64_6401,
                Some(0x0a64_6401),
                "the whole address",
            ),
            (ten, 0x2001_0db9_6464_0100, None, "another prefix"),
            (SixRd::NONE, 0, None, "no 6rd"),
        ] {
            assert_eq!(six_rd.ipv4_of(address), expected, "{sentence}");
        }
    }
}
