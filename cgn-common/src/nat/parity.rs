//! Parity of ports, where a pool keeps it (RFC 4787 REQ-4): a UDP mapping gets an even port for
//! an even inside port and an odd one for an odd one.
//!
//! It is a preference. Where no such slot is near, the mapping gets another one, for no port of
//! a block shall be out of reach. A block begins with an even port, so slots have the
//! parity of their ports.

use super::place::Place;
use crate::layout::{Features, Policy, SlotKey, buckets};
use crate::limits::SLOTS_PER_BUCKET;
use crate::tables::Tables;
use crate::verdict::Protocol;

/// Buckets that are looked at, from the mapping's home on: what a new mapping costs stays
/// bounded where one parity is used up.
const NEAR: u32 = 16;

/// True if new mappings of the pool have a parity to keep.
#[inline(always)]
pub fn keeps<T: Tables + ?Sized>(tables: &T, pool: u8, protocol: Protocol) -> bool {
    // The policy is not even read where no pool does.
    tables.features().has(Features::PARITY)
        && matches!(protocol, Protocol::Udp)
        && tables.policy(pool).has(Policy::PARITY)
}

/// Where to look for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Line of bucket 0 of UDP in the block.
    pub first_line: u32,
    /// log2 of the ports of the block.
    pub shift: u32,
    pub place: Place,
    pub inside_port: u16,
}

impl Wanted {
    /// As two scalars: XDP calls [`nearest`] as a global function, which takes no structs.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> (u64, u64) {
        let port = self.inside_port as u64;
        (
            self.first_line as u64 | (self.shift as u64) << 32 | port << 48,
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
            inside_port: (a >> 48) as u16,
        }
    }
}

/// The nearest free slot with the parity of the inside port, and one more; 0: none is near.
#[inline(always)]
pub fn nearest<T: Tables + ?Sized>(tables: &T, wanted: Wanted) -> u32 {
    let mask = buckets(wanted.shift) - 1;
    let mut bucket = wanted.place.bucket(wanted.shift);
    for _ in 0..NEAR {
        let Some(line) = tables.line(wanted.first_line + bucket) else {
            break;
        };
        // The two slots of the parity, in an order that depends on the place.
        for turn in 0..SLOTS_PER_BUCKET / 2 {
            let other = (wanted.place.slot() ^ (2 * turn)) & 2;
            let at = u32::from(wanted.inside_port & 1) + other;
            if SlotKey(line.key_at(at).load()).is_free() {
                return bucket * SLOTS_PER_BUCKET + at + 1;
            }
        }
        bucket = (bucket + wanted.place.stride()) & mask;
    }
    0
}
