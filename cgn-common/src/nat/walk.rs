//! Walking the buckets of one protocol in one block.
//!
//! A mapping stands in the bucket that its hash names (its home) or, where
//! that was full, further on, in strides of its own. Each bucket counts the mappings
//! that wanted it and stand further on: a walk that meets a bucket with count
//! 0 knows that what it looks for is not there. So look-ups stay short, every
//! slot of a block can be used, and a freed slot hides nothing.

use crate::layout::{SlotKey, SlotState, peer};
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
    /// Number of buckets minus one.
    pub mask: u32,
    /// First bucket to visit.
    pub start: u32,
    /// See [`super::place::Place::stride`].
    pub stride: u32,
    /// Slot that is tried first in each bucket.
    pub first_slot: u32,
    /// Inside port of the mapping.
    pub inside_port: u16,
    /// Slot that is not looked at (one's own claim), or [`NO_SLOT`].
    pub skip: u32,
    /// Also find a free slot, going on behind the end of the chain if need be.
    pub want_free: bool,
}

impl Request {
    /// As two scalars: XDP calls [`walk`] as a global function, which takes no structs.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> (u64, u64) {
        (
            self.first_line as u64 | (self.mask as u64) << 32 | (self.start as u64) << 48,
            self.inside_port as u64
                | (self.skip as u64) << 16
                | (self.first_slot as u64) << 32
                | (self.want_free as u64) << 40
                | (self.stride as u64) << 48,
        )
    }
    /// The inverse of [`Request::pack`].
    #[inline(always)]
    #[must_use]
    pub const fn unpack(a: u64, b: u64) -> Self {
        Self {
            first_line: a as u32,
            mask: (a >> 32) as u32 & 0xffff,
            start: (a >> 48) as u32,
            stride: (b >> 48) as u32 & 0xff,
            inside_port: b as u16,
            skip: (b >> 16) as u32 & 0xffff,
            first_slot: (b >> 32) as u32 & 3,
            want_free: (b >> 40) & 1 != 0,
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

/// Visits the buckets from `request.start` on.
#[inline(always)]
pub fn walk<T: Tables + ?Sized>(tables: &T, request: Request) -> Found {
    let mut result = 0;
    let mut bucket = request.start;
    for step in 0..MAX_BUCKETS {
        if step > request.mask {
            break;
        }
        let Some(line) = tables.line(request.first_line + bucket) else {
            break;
        };
        for turn in 0..SLOTS_PER_BUCKET {
            // `step` keeps LLVM from computing all turns before the loop, which
            // costs more stack than XDP has.
            let at = (turn + step + request.first_slot) & (SLOTS_PER_BUCKET - 1);
            let slot = bucket * SLOTS_PER_BUCKET + at;
            let key = SlotKey(line.0[(2 * at as usize) & 7].load());
            if key.is_free() {
                if result & Found::FREE == 0 {
                    result |= Found::FREE | (slot as u64) << 32;
                }
            } else if key.inside_port() == request.inside_port
                && key.state() != SlotState::Held as u64
                && slot != request.skip
            {
                let kind = if key.is_live() {
                    Found::LIVE
                } else {
                    Found::TENTATIVE
                };
                return Found(result | kind | slot as u64);
            }
        }
        if peer::overflow(line.0[1].load()) == 0 {
            result |= Found::CHAIN_OVER;
        }
        if result & Found::CHAIN_OVER != 0 && (!request.want_free || result & Found::FREE != 0) {
            break;
        }
        bucket = (bucket + request.stride) & request.mask;
    }
    Found(result)
}

/// A change of the overflow counts between a mapping's home and its place.
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

/// Changes the overflow counts from bucket `home` on, up to (not including)
/// `bucket`, at `most` so many, for a mapping that is astray.
#[inline(always)]
pub fn spill<T: Tables + ?Sized>(tables: &T, request: Spill, most: u32) {
    let sign = if request.placed { 1 } else { u64::MAX };
    for step in 0..most {
        let at = (request.home + step * request.stride) & request.mask;
        if at == request.bucket {
            break;
        }
        let Some(line) = tables.line(request.first_line + at) else {
            break;
        };
        line.0[1].add(passed(at, request.home).wrapping_mul(sign));
    }
}

/// What a mapping that wanted bucket `home`, and was placed beyond bucket `at`,
/// counts in the latter.
#[inline(always)]
#[must_use]
pub const fn passed(at: u32, home: u32) -> u64 {
    // Without a branch, of which the verifier would follow both sides in every bucket.
    let is_home = ((at ^ home) as u64).wrapping_sub(1) >> 63;
    peer::ONE_OVERFLOW + is_home * peer::ONE_ASTRAY
}
