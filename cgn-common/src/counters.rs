//! Counters of the data plane: one set per processor in XDP, one in the slow path.

use bytemuck::{Pod, Zeroable};

use crate::frame::Frame;
use crate::verdict::{Direction, Protocol, REASONS, Reason};
use crate::wire::{ethernet, ipv4, transport};

/// What a dropped packet carried, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    Tcp = 0,
    Udp = 1,
    /// ICMP of any type.
    Icmp = 2,
    /// Another protocol, or none that can be read.
    Other = 3,
}

impl Carried {
    /// All of them, by number.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Icmp, Self::Other];

    /// By the IPv4 header of a frame, which may lie in all else: that may be why it is dropped.
    #[inline(always)]
    #[must_use]
    pub fn of<F: Frame>(frame: &F) -> Self {
        let Ok(link) = ethernet::parse(frame) else {
            return Self::Other;
        };
        if link.ethertype != ethernet::IPV4 {
            return Self::Other;
        }
        match frame.load::<u8>(link.length + ipv4::field::PROTOCOL) {
            Some(number) => Self::of_protocol(number),
            None => Self::Other,
        }
    }

    /// By the number of the IPv4 protocol.
    #[inline(always)]
    #[must_use]
    pub const fn of_protocol(number: u8) -> Self {
        match number {
            transport::TCP => Self::Tcp,
            transport::UDP => Self::Udp,
            transport::ICMP => Self::Icmp,
            _ => Self::Other,
        }
    }

    /// Name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => Protocol::Tcp.name(),
            Self::Udp => Protocol::Udp.name(),
            Self::Icmp => Protocol::Icmp.name(),
            Self::Other => "other",
        }
    }
}

/// Plain counters; whoever owns a set is the only one who writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Counters {
    /// Translated packets, by direction and protocol.
    pub packets: [[u64; 3]; 2],
    /// Bytes of the translated IPv4 packets, by direction and protocol.
    pub bytes: [[u64; 3]; 2],
    /// Mappings created, by protocol.
    pub created: [u64; 3],
    /// Packets punted or passed, by number of the reason.
    pub reasons: [u64; REASONS],
    /// Packets dropped, by number of the reason and by [`Carried`].
    pub drops: [[u64; Carried::ALL.len()]; REASONS],
}

impl Counters {
    /// All zero.
    pub const ZERO: Self = Self {
        packets: [[0; 3]; 2],
        bytes: [[0; 3]; 2],
        created: [0; 3],
        reasons: [0; REASONS],
        drops: [[0; Carried::ALL.len()]; REASONS],
    };

    /// One translated packet of `bytes` bytes (IPv4 total length).
    #[inline(always)]
    pub fn translated(&mut self, direction: Direction, protocol: Protocol, bytes: u16) {
        // Constant first index each: LLVM then needs no bounds check.
        let (packets, octets) = match direction {
            Direction::Outbound => (&mut self.packets[0], &mut self.bytes[0]),
            Direction::Inbound => (&mut self.packets[1], &mut self.bytes[1]),
        };
        match protocol {
            Protocol::Tcp => {
                (packets[0], octets[0]) = (packets[0] + 1, octets[0] + u64::from(bytes))
            }
            Protocol::Udp => {
                (packets[1], octets[1]) = (packets[1] + 1, octets[1] + u64::from(bytes))
            }
            Protocol::Icmp => {
                (packets[2], octets[2]) = (packets[2] + 1, octets[2] + u64::from(bytes))
            }
        }
    }

    /// One new mapping.
    #[inline(always)]
    pub fn created(&mut self, protocol: Protocol) {
        match protocol {
            Protocol::Tcp => self.created[0] += 1,
            Protocol::Udp => self.created[1] += 1,
            Protocol::Icmp => self.created[2] += 1,
        }
    }

    /// One packet that goes on elsewhere, untranslated.
    #[inline(always)]
    pub fn left(&mut self, reason: Reason) {
        self.reasons[reason as usize] += 1;
    }

    /// One packet that was dropped.
    #[inline(always)]
    pub fn dropped(&mut self, reason: Reason, carried: Carried) {
        let drops = &mut self.drops[reason as usize];
        // Constant index each, as above.
        match carried {
            Carried::Tcp => drops[0] += 1,
            Carried::Udp => drops[1] += 1,
            Carried::Icmp => drops[2] += 1,
            Carried::Other => drops[3] += 1,
        }
    }

    /// How many packets were not translated for this reason.
    #[must_use]
    pub fn ended(&self, reason: Reason) -> u64 {
        self.reasons[reason as usize] + self.all_dropped(reason)
    }

    /// How many packets were dropped for this reason, whatever they carried.
    #[must_use]
    pub fn all_dropped(&self, reason: Reason) -> u64 {
        self.drops[reason as usize].iter().sum()
    }

    /// How many packets were not translated, for any reason.
    #[must_use]
    pub fn all_ended(&self) -> u64 {
        Reason::ALL.iter().map(|reason| self.ended(*reason)).sum()
    }

    /// Adds another set, for totals over processors.
    pub fn merge(&mut self, other: &Self) {
        for direction in 0..2 {
            for protocol in 0..3 {
                self.packets[direction][protocol] += other.packets[direction][protocol];
                self.bytes[direction][protocol] += other.bytes[direction][protocol];
            }
        }
        for (mine, theirs) in self.created.iter_mut().zip(&other.created) {
            *mine += theirs;
        }
        for (mine, theirs) in self.reasons.iter_mut().zip(&other.reasons) {
            *mine += theirs;
        }
        let drops = self.drops.as_flattened_mut().iter_mut();
        for (mine, theirs) in drops.zip(other.drops.as_flattened()) {
            *mine += theirs;
        }
    }
}

/// Packets dropped that are of one realm, by number of the reason. Whose they are: [`crate::realm::of_dropped`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct RealmDrops(pub [u64; REASONS]);

impl RealmDrops {
    pub const ZERO: Self = Self([0; REASONS]);

    /// One more, by number of the reason.
    #[inline(always)]
    pub fn count(&mut self, reason: u8) {
        self.0[reason as usize % REASONS] += 1;
    }

    /// Adds another set, for totals over processors.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    /// All of them, whatever the reason.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::ZERO
    }
}

const _: () =
    assert!(size_of::<Counters>() == 8 * (6 + 6 + 3 + REASONS + Carried::ALL.len() * REASONS));
