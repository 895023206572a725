//! The bucket where a flow's mapping stands if it can: the mapping of an
//! established flow is found here, and that of a new one opened here, without
//! a look at anything else. Whatever is less simple is for [`super::open`].
//!
//! No branch depends on which of the four slots it is: that cannot be
//! predicted, and a wrong guess costs more than the arithmetic, above all
//! while the line is still on its way from memory. And nothing here is a
//! function of its own: a return costs as much as ten loads on processors
//! that guard against speculative returns.

use super::lookup::Slot;
use super::open::{Flow, Standing};
use super::place::Place;
use super::search::Candidate;
use super::walk::{NO_SLOT, Request};
use crate::layout::{
    Detour, Line, OwnedBlock, SlotKey, Subscriber, SubscriberHead, bucket_line, buckets, peer,
};
use crate::limits::SLOTS_PER_BUCKET;
use crate::tables::Tables;
use crate::verdict::Protocol;

/// A flow's home bucket in its home block.
#[derive(Clone, Copy, Debug)]
pub struct Home<'t> {
    /// The subscriber's head as it was read.
    head: SubscriberHead,
    place: Place,
    block: OwnedBlock,
    /// Line of bucket 0 of the protocol in the block.
    first_line: u32,
    /// Number of the bucket.
    bucket: u32,
    line: &'t Line,
}

impl<'t> Home<'t> {
    /// None if the subscriber has no block.
    #[inline(always)]
    pub fn new<T: Tables + ?Sized>(
        tables: &'t T,
        subscriber: &Subscriber,
        head: SubscriberHead,
        protocol: Protocol,
        inside_port: u16,
    ) -> Option<Self> {
        let place = Place::new(subscriber.secret.load(), protocol, inside_port);
        let at = match head.block_count() {
            0 => return None,
            1 => 0,
            count => place.block(count),
        };
        let block = OwnedBlock(subscriber.blocks.get(at as usize)?.load());
        if block.slab_line() == 0 {
            return None; // given back since `head` was read
        }
        let shift = head.block_shift();
        let first_line = bucket_line(block.slab_line(), protocol, shift);
        let bucket = place.bucket(shift);
        Some(Self {
            head,
            place,
            block,
            first_line,
            bucket,
            line: tables.line(first_line + bucket)?,
        })
    }

    /// External port and slot of the live mapping of `inside_port`, if it
    /// stands in this bucket or where the bucket says that it went.
    #[inline(always)]
    pub fn find<T: Tables + ?Sized>(
        &self,
        tables: &'t T,
        inside_port: u16,
    ) -> Option<(u16, Slot<'t>)> {
        if let Some(at) = position(self.line, inside_port) {
            let number = self.bucket * SLOTS_PER_BUCKET + at;
            return self.slot(self.line, number, inside_port);
        }
        let number = detour(self.line, self.place.tag())?;
        let line = tables.line(self.first_line + number / SLOTS_PER_BUCKET)?;
        self.slot(line, number, inside_port)
    }

    /// Slot `number` of the block, if it still has the live mapping of
    /// `inside_port`: slots are not read all at one instant.
    #[inline(always)]
    fn slot(&self, line: &'t Line, number: u32, inside_port: u16) -> Option<(u16, Slot<'t>)> {
        let at = number % SLOTS_PER_BUCKET;
        let key = SlotKey(line.key_at(at).load());
        if key.is_live_mapping_of(inside_port) == 0 {
            return None;
        }
        let port = self.block.first_port() + number as u16;
        Some((port, Slot { line, at, key }))
    }

    /// Step 1: a free slot for a mapping that is nowhere yet.
    #[inline(always)]
    pub fn vacancy<T: Tables + ?Sized>(&self, tables: &T, flow: Flow) -> Vacancy {
        if self.head.block_count() != 1 {
            return Vacancy::Unclear;
        }
        let Some(head) = tables.line(self.block.slab_line()) else {
            return Vacancy::Unclear;
        };
        // Read before the bucket is looked at, though a claim will write it: so
        // both lines are on their way at the same time.
        let room = head.has_room(flow.protocol, self.head.block_shift());
        // With a rival's claim in this bucket there is no hurry: of three who
        // all gave up for each other, none would win in time.
        if room
            && self.is_alone_here(flow, NO_SLOT)
            && let Some(at) = free_slot(self.line, self.place.slot())
        {
            return self.vacant(self.bucket * SLOTS_PER_BUCKET + at);
        }
        let found = tables.walk(self.request(flow, NO_SLOT, room));
        if found.is_live() || found.is_tentative() {
            return Vacancy::Unclear;
        }
        match found.free() {
            Some(slot) if room => self.vacant(slot),
            _ => Vacancy::Full,
        }
    }

    #[inline(always)]
    const fn vacant(&self, slot: u32) -> Vacancy {
        Vacancy::Slot(Candidate::new(
            self.block.slab_line(),
            slot,
            self.bucket,
            true,
        ))
    }

    /// Step 3: whether the claim `own` is the only one. If
    /// not, or not certainly, it is given up, and [`super::open`] decides.
    #[inline(always)]
    pub fn is_alone<T: Tables + ?Sized>(&self, tables: &T, flow: Flow, own: Candidate) -> bool {
        let Some(subscriber) = tables.subscriber(flow.subscriber) else {
            return false;
        };
        if subscriber.head.load() != self.head.0 || subscriber.blocks[0].load() != self.block.0 {
            return false;
        }
        if self.is_alone_here(flow, own.slot()) {
            return true;
        }
        // From any slot of each bucket on: less to keep on the stack than the place's own.
        let request = Request {
            first_slot: 0,
            ..self.request(flow, own.slot(), false)
        };
        let found = tables.walk(request);
        !found.is_live() && !found.is_tentative()
    }

    /// True if this bucket alone tells that no slot but `own` has a claim to
    /// the inside port: nothing that stands elsewhere went past it.
    #[inline(always)]
    fn is_alone_here(&self, flow: Flow, own: u32) -> bool {
        let mut claims = peer::overflow(self.line.peer_at(0).load());
        for at in 0..SLOTS_PER_BUCKET {
            let claim = SlotKey(self.line.key_at(at).load()).is_claim_to(flow.inside_port);
            let is_other = self.bucket * SLOTS_PER_BUCKET + at != own;
            claims |= claim & is_other as u64;
        }
        claims == 0
    }

    #[inline(always)]
    const fn request(&self, flow: Flow, skip: u32, want_free: bool) -> Request {
        Request {
            first_line: self.first_line,
            mask: buckets(self.head.block_shift()) - 1,
            start: self.bucket,
            first_slot: self.place.slot(),
            inside_port: flow.inside_port,
            skip,
            want_free,
        }
    }

    #[inline(always)]
    fn standing<'h, T: Tables + ?Sized>(
        &'h self,
        tables: &'h T,
        flow: Flow,
        candidate: Candidate,
    ) -> Option<Standing<'h>> {
        let bucket = candidate.slot() / SLOTS_PER_BUCKET;
        Some(Standing {
            flow,
            candidate,
            shift: self.head.block_shift(),
            home: self.bucket,
            bucket,
            tag: self.place.tag(),
            head: tables.line(self.block.slab_line())?,
            line: tables.line(self.first_line + bucket)?,
        })
    }
}

/// What a look for a free slot found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vacancy {
    /// This slot is free, and the mapping is nowhere.
    Slot(Candidate),
    /// The mapping is nowhere, and the only block is full.
    Full,
    /// Anything else.
    Unclear,
}

/// What [`claim`] did, as one scalar: bits 0-49 a [`Candidate`], 50 it is
/// claimed, 51 and known to be alone, 52 the only block is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed(pub u64);

impl Claimed {
    const CLAIMED: u64 = 1 << Candidate::BITS;
    const ALONE: u64 = Self::CLAIMED << 1;
    const FULL: Self = Self(Self::CLAIMED << 2);
    const UNCLEAR: Self = Self(0);

    /// The claim, to be settled.
    #[inline(always)]
    #[must_use]
    pub const fn candidate(self) -> Option<Candidate> {
        if self.0 & Self::CLAIMED != 0 {
            Some(Candidate(self.0 & (Self::CLAIMED - 1)))
        } else {
            None
        }
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_alone(self) -> bool {
        self.0 & Self::ALONE != 0
    }
    /// True if the only block of the subscriber is full.
    #[inline(always)]
    #[must_use]
    pub const fn is_full(self) -> bool {
        self.0 == Self::FULL.0
    }
}

/// The first three of the four steps of [`super::open`], for a subscriber with
/// one block. Nothing is claimed if anything is unclear.
#[inline(always)]
pub fn claim<T: Tables + ?Sized>(tables: &T, flow: Flow) -> Claimed {
    let Some(subscriber) = tables.subscriber(flow.subscriber) else {
        return Claimed::UNCLEAR;
    };
    let head = SubscriberHead(subscriber.head.load());
    let Some(home) = Home::new(tables, subscriber, head, flow.protocol, flow.inside_port) else {
        return Claimed::UNCLEAR;
    };
    let candidate = match home.vacancy(tables, flow) {
        Vacancy::Slot(candidate) => candidate,
        Vacancy::Full => return Claimed::FULL,
        Vacancy::Unclear => return Claimed::UNCLEAR,
    };
    let Some(standing) = home.standing(tables, flow, candidate) else {
        return Claimed::UNCLEAR;
    };
    if !standing.claim(tables) {
        return Claimed::UNCLEAR;
    }
    let alone = match home.is_alone(tables, flow, candidate) {
        true => Claimed::ALONE,
        false => 0,
    };
    Claimed(Claimed::CLAIMED | alone | candidate.0)
}

/// Number of the slot in this bucket with the live mapping of `inside_port`.
#[inline(always)]
fn position(line: &Line, inside_port: u16) -> Option<u32> {
    let hit = |at| SlotKey(line.key_at(at).load()).is_live_mapping_of(inside_port);
    let (first, second, third) = (hit(1), hit(2), hit(3));
    if hit(0) | first | second | third == 0 {
        return None;
    }
    Some((first + 2 * second + 3 * third) as u32 % SLOTS_PER_BUCKET)
}

/// Slot number that the first detour with this tag names.
#[inline(always)]
fn detour(line: &Line, tag: u32) -> Option<u32> {
    for at in 1..SLOTS_PER_BUCKET {
        let detour = Detour::of(line.peer_at(at).load());
        if detour.is_some() && detour.tag() == tag {
            return Some(detour.slot());
        }
    }
    None
}

/// A free slot of the bucket, the first from `start` on.
#[inline(always)]
fn free_slot(line: &Line, start: u32) -> Option<u32> {
    /// Number of the lowest bit set in each number of four bits.
    const LOWEST: u32 = {
        let mut table = 0;
        let mut bits: u32 = 1;
        while bits < 16 {
            table |= bits.trailing_zeros() << (2 * bits);
            bits += 1;
        }
        table
    };
    let mut free = 0;
    for at in 0..SLOTS_PER_BUCKET {
        let key = line.key_at(at).load();
        // The top bit of `key | -key` is 0 only for 0.
        let taken = (key | key.wrapping_neg()) >> 63;
        free |= (taken ^ 1) << at;
    }
    if free == 0 {
        return None;
    }
    let turned = (free | free << SLOTS_PER_BUCKET) >> start & 0xf;
    let nearest = LOWEST >> (2 * turned) & 3;
    Some((start + nearest) % SLOTS_PER_BUCKET)
}
