//! What a pool prefers of the external port of a new mapping: the parity of the inside port
//! (RFC 4787 REQ-4, of UDP), and its class (REQ-3a, of TCP and UDP), below 1024 or not.
//!
//! It is a preference. Where no such slot is near, the mapping gets another one, for no port of
//! a block shall be out of reach. A block begins with an even port, so slots have the
//! parity of their ports; which of them have ports below 1024 says [`super::class`].

use super::class;
use super::home::free_slot;
use super::place::Place;
use crate::layout::{Features, Policy, buckets};
use crate::limits::SLOTS_PER_BUCKET;
use crate::tables::Tables;
use crate::verdict::Protocol;

/// Buckets that are looked at, from the mapping's home on: what a new mapping costs stays
/// bounded where one parity is used up. A block has at most half as many with ports below 1024.
const NEAR: u32 = 8;

/// True if new mappings of the pool are not content with every free slot.
#[inline(always)]
pub fn has_any<T: Tables + ?Sized>(tables: &T, pool: u8, protocol: Protocol) -> bool {
    Preference::of(tables, pool, protocol, 0) != Preference::ANY
}

/// What a mapping prefers, as slots of a bucket, a bit each: bits 0-7 those of its parity, 8-15 those
/// that its class does not matter for, 16-23 those that have ports from 1024 on if they are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preference(pub u32);

impl Preference {
    /// Every free slot will do.
    pub const ANY: Self = Self(0xffff);
    const EVEN: u32 = 0b0101_0101;
    const PARITIES: u32 = 0x00_00ff;
    const CLASSES: u32 = 0xff_ff00;
    const OTHERS: u32 = 0xff_0000;

    /// That of a mapping of this inside port.
    #[inline(always)]
    pub fn of<T: Tables + ?Sized>(
        tables: &T,
        pool: u8,
        protocol: Protocol,
        inside_port: u16,
    ) -> Self {
        let features = tables.features();
        // The policy is not even read where no pool has one.
        if !features.has(Features::PARITY | Features::CLASSES) {
            return Self::ANY;
        }
        let is_kept = |feature, policy| features.has(feature) && tables.policy(pool).has(policy);
        let mut wanted = Self::ANY.0;
        if matches!(protocol, Protocol::Udp) && is_kept(Features::PARITY, Policy::PARITY) {
            wanted = wanted & !Self::PARITIES | Self::EVEN << (inside_port & 1);
        }
        if !matches!(protocol, Protocol::Icmp) && is_kept(Features::CLASSES, Policy::CLASSES) {
            wanted &= !Self::CLASSES;
            if !class::is_system(inside_port) {
                wanted |= Self::OTHERS;
            }
        }
        Self(wanted)
    }

    #[inline(always)]
    const fn is_system(self) -> bool {
        self.0 & Self::CLASSES == 0
    }

    /// The slots of a bucket that will do, a bit each. Without a branch, of which the verifier would
    /// follow both sides in every bucket.
    #[inline(always)]
    const fn slots(self, bucket: u32) -> u64 {
        let bits = self.0 as u64;
        let of_class = class::system_slots(bucket) ^ bits >> 16 | bits >> 8;
        bits & of_class & 0xff
    }
}

/// Where to look for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Line of bucket 0 of the protocol in the block.
    pub first_line: u32,
    /// log2 of the ports of the block.
    pub shift: u32,
    pub place: Place,
    pub preference: Preference,
}

impl Wanted {
    /// As two scalars: XDP calls [`nearest`] as a global function, which takes no structs.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> (u64, u64) {
        let preference = self.preference.0 as u64;
        (
            self.first_line as u64 | (self.shift as u64) << 32 | preference << 40,
            self.place.0,
        )
    }
    /// The inverse of [`Wanted::pack`].
    #[inline(always)]
    #[must_use]
    pub const fn unpack(a: u64, place: u64) -> Self {
        Self {
            first_line: a as u32,
            shift: (a >> 32) as u32 & 0xf,
            place: Place(place),
            preference: Preference((a >> 40) as u32),
        }
    }

    /// The first bucket to look at, and how far it is from each to the next. Those with ports
    /// below 1024 begin with the one before the home, so that it is no known one.
    #[inline(always)]
    const fn way(self) -> (u32, u32) {
        let home = self.place.bucket(self.shift);
        if self.preference.is_system() {
            (home & !(class::BUCKETS_APART - 1), class::BUCKETS_APART)
        } else {
            (home, self.place.stride())
        }
    }
}

/// The nearest free slot that is preferred, and one more; 0: none is near.
#[inline(always)]
pub fn nearest<T: Tables + ?Sized>(tables: &T, wanted: Wanted) -> u32 {
    let mask = buckets(wanted.shift) - 1;
    let (mut bucket, step) = wanted.way();
    for _ in 0..NEAR {
        let Some(line) = tables.line(wanted.first_line + bucket) else {
            break;
        };
        let slots = wanted.preference.slots(bucket);
        if let Some(at) = free_slot(line, wanted.place.slot(), slots) {
            return bucket * SLOTS_PER_BUCKET + at + 1;
        }
        bucket = (bucket + step) & mask;
    }
    0
}
