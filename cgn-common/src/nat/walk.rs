//! Walking the buckets of one protocol in one block.
//!
//! A mapping stands in the bucket that its hash names (its home) or, where
//! that was full, further on, in strides of its own. Its home has a detour to it;
//! where there is no place for one more, it is astray, and counted in each bucket that
//! it was placed beyond: a walk that meets a bucket with count 0 knows that
//! what it looks for is not there. As few are astray, look-ups stay short in a
//! block that is full, too; every slot of a block can be used, and a freed slot hides
//! nothing.

use super::place::Place;
use crate::layout::{Detour, SlotKey, SlotState, astray, buckets};
use crate::limits::{MAX_BLOCK_PORTS, SLOTS_PER_BUCKET};
use crate::tables::Tables;

/// Buckets of the largest block.
pub const MAX_BUCKETS: u32 = MAX_BLOCK_PORTS / SLOTS_PER_BUCKET;
/// Slot number that no block has: nothing to skip.
pub const NO_SLOT: u32 = 0xffff;

/// What to look for, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Line of bucket 0 of this protocol in this block.
    pub first_line: u32,
    /// log2 of the ports of the block.
    pub shift: u32,
    /// Where the mapping belongs: the walk begins at its home.
    pub place: Place,
    /// Inside port of the mapping.
    pub inside_port: u16,
    /// Slot that is not looked at (one's own claim), or [`NO_SLOT`].
    pub skip: u32,
    /// Also find a free slot, going on behind the end of the chain if need be.
    pub want_free: bool,
}

impl Request {
    /// As three scalars: XDP calls [`walk`] as a global function, which takes no structs.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> (u64, u64, u64) {
        (
            self.first_line as u64 | (self.shift as u64) << 32 | (self.want_free as u64) << 40,
            self.inside_port as u64 | (self.skip as u64) << 16,
            self.place.0,
        )
    }
    /// The inverse of [`Request::pack`].
    #[inline(always)]
    #[must_use]
    pub const fn unpack(a: u64, b: u64, place: u64) -> Self {
        Self {
            first_line: a as u32,
            shift: (a >> 32) as u32 & 0xf,
            place: Place(place),
            inside_port: b as u16,
            skip: (b >> 16) as u32 & 0xffff,
            want_free: (a >> 40) & 1 != 0,
        }
    }
}

/// Result of a walk: bits 0-15 slot of the mapping, 16 it is live, 17 it is
/// tentative, 32-47 first free slot, 48 there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found(pub u64);

impl Found {
    const LIVE: u64 = 1 << 16;
    const TENTATIVE: u64 = 1 << 17;
    const FREE: u64 = 1 << 48;
    /// During the walk: no bucket from here on has the mapping. Nobody asks for it
    /// afterwards; here, because a variable of its own does not fit on XDP's stack.
    const CHAIN_OVER: u64 = 1 << 49;

    /// Slot number of the mapping, valid if live or tentative.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.0 as u32 & 0xffff
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_live(self) -> bool {
        self.0 & Self::LIVE != 0
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_tentative(self) -> bool {
        self.0 & Self::TENTATIVE != 0
    }
    /// What a slot says that has the mapping.
    #[inline(always)]
    const fn claim(key: SlotKey, slot: u32) -> u64 {
        slot as u64
            | if key.is_live() {
                Self::LIVE
            } else {
                Self::TENTATIVE
            }
    }
    /// A free slot, the nearest to the start.
    #[inline(always)]
    #[must_use]
    pub const fn free(self) -> Option<u32> {
        if self.0 & Self::FREE != 0 {
            Some((self.0 >> 32) as u32 & 0xffff)
        } else {
            None
        }
    }
}

/// The mapping, if it stands where a detour of its home leads or else somewhere
/// from the home on.
#[inline(always)]
pub fn walk<T: Tables + ?Sized>(tables: &T, request: Request) -> Found {
    match follow(tables, request) {
        Found(0) => visit(tables, request),
        found => found,
    }
}

/// Visits the buckets from the home on.
#[inline(always)]
pub fn visit<T: Tables + ?Sized>(tables: &T, request: Request) -> Found {
    let mut result = 0;
    let mask = buckets(request.shift) - 1;
    let mut bucket = request.place.bucket(request.shift);
    for step in 0..MAX_BUCKETS {
        if step > mask {
            break;
        }
        let Some(line) = tables.line(request.first_line + bucket) else {
            break;
        };
        for turn in 0..SLOTS_PER_BUCKET {
            // `step` keeps LLVM from computing all turns before the loop, which
            // costs more stack than XDP has.
            let at = turn ^ (step + request.place.slot()) & (SLOTS_PER_BUCKET - 1);
            let slot = bucket * SLOTS_PER_BUCKET + at;
            let key = SlotKey(line.at(at).load());
            if key.is_free() {
                if result & Found::FREE == 0 {
                    result |= Found::FREE | (slot as u64) << 32;
                }
            } else if key.inside_port() == request.inside_port
                && key.state() != SlotState::Held as u64
                && slot != request.skip
            {
                return Found(result | Found::claim(key, slot));
            }
        }
        if astray::overflow(line.at(0).load()) == 0 {
            result |= Found::CHAIN_OVER;
        }
        if result & Found::CHAIN_OVER != 0 && (!request.want_free || result & Found::FREE != 0) {
            break;
        }
        bucket = (bucket + request.place.stride()) & mask;
    }
    Found(result)
}

/// The mapping, if it stands where a detour of its home leads.
#[inline(always)]
pub fn follow<T: Tables + ?Sized>(tables: &T, request: Request) -> Found {
    let Some(home) = tables.line(request.first_line + request.place.bucket(request.shift)) else {
        return Found(0);
    };
    for at in 1..SLOTS_PER_BUCKET {
        let detour = Detour::of(home.at(at).load());
        if detour.has_tag(request.place.tag()) == 0 || detour.slot() == request.skip {
            continue;
        }
        let slot = detour.slot();
        let Some(line) = tables.line(request.first_line + slot / SLOTS_PER_BUCKET) else {
            continue;
        };
        let key = SlotKey(line.at(slot % SLOTS_PER_BUCKET).load());
        if key.is_claim_to(request.inside_port) != 0 {
            return Found(Found::claim(key, slot));
        }
    }
    Found(0)
}

/// A change of the counts between the home of a mapping that is astray and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spill {
    /// Line of bucket 0 of this protocol in this block.
    pub first_line: u32,
    /// Number of buckets minus one.
    pub mask: u32,
    /// Bucket that the mapping wanted.
    pub home: u32,
    /// Bucket that it stands in; not counted itself.
    pub bucket: u32,
    /// See [`super::place::Place::stride`].
    pub stride: u32,
    /// One more (placed) or one less (freed).
    pub placed: bool,
}

impl Spill {
    /// As two scalars, like [`Request::pack`].
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> (u64, u64) {
        (
            self.first_line as u64 | (self.mask as u64) << 32 | (self.home as u64) << 48,
            self.bucket as u64 | (self.placed as u64) << 32 | (self.stride as u64) << 48,
        )
    }
    /// The inverse of [`Spill::pack`].
    #[inline(always)]
    #[must_use]
    pub const fn unpack(a: u64, b: u64) -> Self {
        Self {
            first_line: a as u32,
            mask: (a >> 32) as u32 & 0xffff,
            home: (a >> 48) as u32,
            bucket: b as u32,
            stride: (b >> 48) as u32 & 0xff,
            placed: (b >> 32) & 1 != 0,
        }
    }
}

/// Changes the counts from bucket `home` on, up to (not including) `bucket`, for a
/// mapping that is astray.
#[inline(always)]
pub fn spill<T: Tables + ?Sized>(tables: &T, request: Spill) {
    let sign = if request.placed { 1 } else { u64::MAX };
    for step in 0..MAX_BUCKETS {
        let at = (request.home + step * request.stride) & request.mask;
        if at == request.bucket {
            break;
        }
        let Some(line) = tables.line(request.first_line + at) else {
            break;
        };
        line.at(0).add(passed(at, request.home).wrapping_mul(sign));
    }
}

/// What a mapping that wanted bucket `home`, and was placed beyond bucket `at`,
/// counts in the latter.
#[inline(always)]
#[must_use]
pub const fn passed(at: u32, home: u32) -> u64 {
    // Without a branch, of which the verifier would follow both sides in every bucket.
    let is_home = ((at ^ home) as u64).wrapping_sub(1) >> 63;
    astray::ONE_OVERFLOW + is_home * astray::ONE_ASTRAY
}
