//! The bucket where a flow's mapping stands if it can: the mapping of an
//! established flow is found here, and that of a new one opened here, without
//! a look at anything else. Whatever is less simple is for [`super::open`].
//!
//! No branch depends on which of the eight slots it is: that cannot be
//! predicted, and a wrong guess costs more than the arithmetic, above all
//! while the line is still on its way from memory. And nothing here is a
//! function of its own: a return costs as much as ten loads on processors
//! that guard against speculative returns.

use super::lookup::Slot;
use super::open::{self, Flow, Standing};
use super::place::Place;
use super::preference;
use super::quota;
use super::search::{self, Candidate};
use super::walk::{NO_SLOT, Request};
use crate::layout::{
    Detour, Line, Others, OwnedBlock, SlotKey, Subscriber, SubscriberHead, astray, buckets, lowest,
};
use crate::limits::SLOTS_PER_BUCKET;
use crate::tables::Tables;
use crate::verdict::{Protocol, Reason};

/// All slots of a bucket.
const ANY: u64 = (1 << SLOTS_PER_BUCKET) - 1;

/// Buckets that a new mapping goes past at most before it is opened in the general
/// way. The verifier follows each of them.
const NEAR: u32 = 8;

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
    /// The bucket's keys.
    line: &'t Line,
}

/// Where the home of a flow is: what is read and worked out on the way there.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub place: Place,
    /// The subscriber's, as it was read.
    pub head: SubscriberHead,
    /// Its only block, or the one that the place chooses.
    pub block: OwnedBlock,
}

impl Known {
    /// As three scalars, like [`Request::pack`].
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> (u64, u64, u64) {
        (self.place.0, self.head.0, self.block.0)
    }
    /// The inverse of [`Known::pack`].
    #[inline(always)]
    #[must_use]
    pub const fn unpack(place: u64, head: u64, block: u64) -> Self {
        Self {
            place: Place(place),
            head: SubscriberHead(head),
            block: OwnedBlock(block),
        }
    }
}

impl<'t> Home<'t> {
    /// None if the subscriber has no block.
    #[inline(always)]
    pub fn of<T: Tables + ?Sized>(
        tables: &'t T,
        index: u32,
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
        let block = tables.owned_block(index, subscriber, at)?;
        if block.slab_line() == 0 {
            return None; // given back since `head` was read
        }
        Self::new(tables, Known { place, head, block }, protocol)
    }

    #[inline(always)]
    fn new<T: Tables + ?Sized>(
        tables: &'t T,
        Known { place, head, block }: Known,
        protocol: Protocol,
    ) -> Option<Self> {
        let first_line = tables.parts().keys(block.slab_line(), protocol);
        let bucket = place.bucket(head.block_shift());
        Some(Self {
            head,
            place,
            block,
            first_line,
            bucket,
            line: tables.line(first_line + bucket)?,
        })
    }

    /// What tells where it is.
    #[inline(always)]
    pub const fn known(&self) -> Known {
        Known {
            place: self.place,
            head: self.head,
            block: self.block,
        }
    }

    /// Writes the peer of a mapping that was opened in this block, in slot `slot`, see [`open::write_peer`].
    #[inline(always)]
    pub fn write_peer<T: Tables + ?Sized>(&self, tables: &T, flow: Flow, slot: u32) {
        open::write_peer(tables, flow, self.first_line, slot);
    }

    /// External port and slot of the live mapping of `inside_port`, if it
    /// stands in this bucket or where the bucket says that it went.
    ///
    /// # Errors
    /// Whether this tells that it stands nowhere: see [`Home::tells_all`].
    #[inline(always)]
    pub fn find<T: Tables + ?Sized>(
        &self,
        tables: &'t T,
        inside_port: u16,
    ) -> Result<(u16, Slot<'t>), bool> {
        if let Some(at) = position(self.line, inside_port) {
            return self
                .slot(tables, self.line, self.bucket, at, inside_port)
                .ok_or(false);
        }
        let Some(number) = detour(self.line, self.place.tag()) else {
            return Err(self.astray() == 0);
        };
        let (bucket, at) = (number / SLOTS_PER_BUCKET, number % SLOTS_PER_BUCKET);
        let line = tables.line(self.first_line + bucket).ok_or(false)?;
        self.slot(tables, line, bucket, at, inside_port)
            .ok_or(false)
    }

    /// Slot `at` of a bucket of the block, if it still has the live mapping of
    /// `inside_port`: slots are not read all at one instant.
    #[inline(always)]
    fn slot<T: Tables + ?Sized>(
        &self,
        tables: &T,
        line: &'t Line,
        bucket: u32,
        at: u32,
        inside_port: u16,
    ) -> Option<(u16, Slot<'t>)> {
        let peers = tables.parts().peers(self.first_line + bucket);
        let slot = Slot::new(line, peers, at);
        if slot.key.is_live_mapping_of(inside_port) == 0 {
            return None;
        }
        Some((self.port_of(bucket * SLOTS_PER_BUCKET + at), slot))
    }

    /// True if the mapping surely does not stand further on: of those that do,
    /// none is astray, and no detour has its tag.
    #[inline(always)]
    #[must_use]
    pub fn tells_all(&self) -> bool {
        self.astray() | detours(self.line, self.place.tag()) == 0
    }
    /// External port of a slot of its block.
    #[inline(always)]
    #[must_use]
    pub const fn port_of(&self, slot: u32) -> u16 {
        self.block.first_port() + slot as u16
    }
    /// True if no claim to the inside port is seen in this bucket or from it.
    #[inline(always)]
    pub fn is_free_of(&self, inside_port: u16) -> bool {
        self.tells_all() && claims(self.line, inside_port) == 0
    }

    #[inline(always)]
    fn has_room<T: Tables + ?Sized>(&self, tables: &T, protocol: Protocol) -> bool {
        let room = tables.room(self.block.slab_line());
        room.is_some_and(|room| room.has_room(protocol))
    }

    /// Why a flow can have no mapping if it has none, where its only block is full.
    #[inline(always)]
    pub fn refusal<T: Tables + ?Sized>(&self, tables: &T, protocol: Protocol) -> Option<Reason> {
        let room = tables.room(self.block.slab_line())?;
        if room.has_room(protocol) {
            return None;
        }
        Some(search::full(self.head, room.limits(), protocol))
    }

    /// Step 1: whether the mapping stands nowhere, and nobody is about to open it.
    #[inline(always)]
    pub fn is_clear<T: Tables + ?Sized>(&self, tables: &T, inside_port: u16) -> bool {
        if claims(self.line, inside_port) != 0 {
            return false;
        }
        if self.tells_all() {
            return true;
        }
        let found = tables.walk(Request {
            first_line: self.first_line,
            shift: self.head.block_shift(),
            place: self.place,
            inside_port,
            skip: NO_SLOT,
            want_free: false,
        });
        !found.is_live() && !found.is_tentative()
    }

    /// Step 2: takes a port of the block and claims a slot as tentative, here
    /// or as near as one is free; but for the detour to it, if it is not here
    /// ([`Standing::leave_detour`]). None goes astray: that is for [`super::open`].
    #[inline(always)]
    pub fn claim<T: Tables + ?Sized>(&self, tables: &'t T, flow: Flow) -> Claim<'t> {
        let Some(room) = tables.room(self.block.slab_line()) else {
            return Claim::Lost;
        };
        // Of a block that is full, `refusal` has told before.
        if !room.has_room(flow.protocol) {
            return Claim::Lost;
        }
        let Some((bucket, line, slot)) = self.nearest_free(tables) else {
            return Claim::Lost;
        };
        // Not `tables.may_open`: as below.
        if !quota::may_open(tables, flow.subscriber, flow.tick) {
            return Claim::Limited;
        }
        if !room.take_port(flow.protocol) {
            return Claim::Lost;
        }
        let slot = bucket * SLOTS_PER_BUCKET + slot;
        let standing = Standing {
            flow,
            candidate: Candidate::new(self.block.slab_line(), slot, self.bucket, true),
            home: self.bucket,
            bucket,
            place: self.place,
            room,
            line,
            astray: 0,
        };
        if standing.mark() {
            return Claim::Slot(standing);
        }
        room.give_port(flow.protocol);
        Claim::Lost
    }

    /// Goes from bucket to bucket until one has a free slot: bucket, its line and the
    /// slot in it.
    #[inline(always)]
    fn nearest_free<T: Tables + ?Sized>(&self, tables: &'t T) -> Option<(u32, &'t Line, u32)> {
        let (mut bucket, mut line) = (self.bucket, self.line);
        for _ in 0..NEAR {
            if let Some(free) = free_slot(line, self.place.slot(), ANY) {
                return Some((bucket, line, free));
            }
            if bucket == self.bucket && !Detour::has_place(line) {
                return None;
            }
            bucket = self.after(bucket);
            if bucket == self.bucket {
                return None;
            }
            line = tables.line(self.first_line + bucket)?;
        }
        None
    }

    /// Step 3, where one look tells: whether the claim is known to be the only one.
    #[inline(always)]
    pub fn is_surely_alone<T: Tables + ?Sized>(&self, tables: &T, claim: &Standing) -> bool {
        let Some(subscriber) = tables.subscriber(claim.flow.subscriber) else {
            return false;
        };
        if subscriber.head.load() != self.head.0 || subscriber.blocks[0].load() != self.block.0 {
            return false;
        }
        // Its own claim is one, here or where a detour leads. If it was removed, `settle`
        // will notice.
        // A port in hold counts, too: it is rare, and one comparison less.
        let others = Detour::others_in(self.line, claim.flow.inside_port, self.place.tag());
        let own = match claim.bucket == self.bucket {
            true => Others::than(1, 0),
            false => Others::than(0, 1),
        };
        self.astray() == 0 && others == own
    }

    /// The bucket that is tried after this one, see [`Place::stride`].
    #[inline(always)]
    const fn after(&self, bucket: u32) -> u32 {
        (bucket + self.place.stride()) & (buckets(self.head.block_shift()) - 1)
    }

    /// Mappings that wanted this bucket and are astray.
    #[inline(always)]
    fn astray(&self) -> u64 {
        astray::astray(self.line.at(0).load())
    }
}

/// What became of step 2.
#[derive(Clone, Copy, Debug)]
pub enum Claim<'t> {
    /// A slot is claimed.
    Slot(Standing<'t>),
    /// The subscriber may open none now.
    Limited,
    /// Another was quicker; nothing is claimed.
    Lost,
}

/// What [`open`] did, as one scalar: a [`Candidate`], if there is one, and in bits 60 to 63 what became
/// of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened(pub u64);

impl Opened {
    const CLAIM: u64 = 1 << 63;
    const LIVE: u64 = 1 << 61;
    const LIMITED: Self = Self(1 << 62);
    const UNCLEAR: Self = Self(1 << 60);
    const LOST: Self = Self(0);

    #[inline(always)]
    const fn claimed(candidate: Candidate) -> Self {
        Self(candidate.0 | Self::CLAIM)
    }
    #[inline(always)]
    const fn made_live(candidate: Candidate) -> Self {
        Self(candidate.0 | Self::LIVE)
    }

    /// True if the subscriber may open no mapping now: [`Reason::MappingRate`].
    #[inline(always)]
    #[must_use]
    pub const fn is_limited(self) -> bool {
        self.0 == Self::LIMITED.0
    }
    /// True if the home bucket does not tell whether the mapping stands elsewhere.
    #[inline(always)]
    #[must_use]
    pub const fn is_unclear(self) -> bool {
        self.0 == Self::UNCLEAR.0
    }
    /// A claim of which it is still to be seen whether it is the only one.
    #[inline(always)]
    #[must_use]
    pub const fn claim(self) -> Candidate {
        if self.0 & Self::CLAIM != 0 {
            Candidate(self.0 & !Self::CLAIM)
        } else {
            Candidate::NONE
        }
    }
    /// Where the new mapping stands.
    #[inline(always)]
    #[must_use]
    pub const fn live(self) -> Candidate {
        if self.0 & Self::LIVE != 0 {
            Candidate(self.0 & !Self::LIVE)
        } else {
            Candidate::NONE
        }
    }
}

/// The home of `flow`, if its subscriber has one block.
#[inline(always)]
fn only_home<T: Tables + ?Sized>(tables: &T, flow: Flow) -> Option<Home<'_>> {
    let subscriber = tables.subscriber(flow.subscriber)?;
    let head = SubscriberHead(subscriber.head.load());
    if head.block_count() != 1 {
        return None;
    }
    let (protocol, inside_port) = (flow.protocol, flow.inside_port);
    Home::of(
        tables,
        flow.subscriber,
        subscriber,
        head,
        protocol,
        inside_port,
    )
}

/// Step 1, see [`Home::is_clear`].
#[inline(always)]
pub fn is_clear<T: Tables + ?Sized>(tables: &T, flow: Flow) -> bool {
    match only_home(tables, flow) {
        Some(home) => home.is_clear(tables, flow.inside_port),
        None => false,
    }
}

/// All steps of [`super::open`] for a subscriber with one block, which is `known`, if the home
/// bucket tells that the mapping stands nowhere, or if that is `clear`; no
/// further than step 2 if rivals are about. Its peer is still to be written: [`Home::write_peer`].
#[inline(always)]
pub fn open<T: Tables + ?Sized>(tables: &T, flow: Flow, known: Known, clear: bool) -> Opened {
    // Where not every free slot will do, it takes a search.
    if preference::has_any(tables, known.head.pool(), flow.protocol) {
        return Opened::LOST;
    }
    let Some(home) = Home::new(tables, known, flow.protocol) else {
        return Opened::LOST;
    };
    if !clear && !home.tells_all() {
        // In a full block there is nothing to open, whatever is clear.
        return if home.has_room(tables, flow.protocol) {
            Opened::UNCLEAR
        } else {
            Opened::LOST
        };
    }
    match home.claim(tables, flow) {
        Claim::Slot(claim) if !claim.leave_detour(tables) => Opened::LOST,
        Claim::Slot(claim) => match home.is_surely_alone(tables, &claim) {
            true if claim.go_live(tables) => Opened::made_live(claim.candidate),
            _ => Opened::claimed(claim.candidate),
        },
        // A rival may have taken the last of the limit for this very mapping.
        Claim::Limited if home.is_free_of(flow.inside_port) => Opened::LIMITED,
        Claim::Limited | Claim::Lost => Opened::LOST,
    }
}

/// The slots of the bucket that keep a detour with this tag.
#[inline(always)]
fn detours(line: &Line, tag: u32) -> u64 {
    line.slots_where(|key| Detour::of(key).has_tag(tag)) & Detour::SLOTS
}

/// The slots of the bucket with a claim to the inside port.
#[inline(always)]
fn claims(line: &Line, inside_port: u16) -> u64 {
    line.slots_where(|key| SlotKey(key).is_claim_to(inside_port))
}

/// Number of the slot in this bucket with the live mapping of `inside_port`.
#[inline(always)]
fn position(line: &Line, inside_port: u16) -> Option<u32> {
    let found = line.slots_where(|key| SlotKey(key).is_live_mapping_of(inside_port));
    (found != 0).then(|| lowest(found))
}

/// Slot number that the first detour with this tag names.
#[inline(always)]
fn detour(line: &Line, tag: u32) -> Option<u32> {
    let found = detours(line, tag);
    if found == 0 {
        return None;
    }
    Some(Detour::of(line.at(lowest(found)).load()).slot())
}

/// A free slot of the bucket among those that are `wanted`, a bit each: of the slots `start ^ 0`, `start ^ 1`, ... the
/// first. In this order no slot is oftener the next one after a taken one than others, as it would be
/// if all went to the neighbour: who knows a port learns little of the next (RFC 6056).
#[inline(always)]
pub(super) fn free_slot(line: &Line, start: u32, wanted: u64) -> Option<u32> {
    let free = line.slots_where(|key| SlotKey(key).is_taken() ^ 1) & wanted;
    if free == 0 {
        return None;
    }
    Some(lowest(exchanged(free, start)) ^ start)
}

/// The eight bits, each at its number `^ start`: halves, quarters and neighbours change places, or do not.
#[inline(always)]
const fn exchanged(bits: u64, start: u32) -> u64 {
    /// Shifts those in `lower` to the left and the others to the right.
    const fn shifted(bits: u64, lower: u64, by: u32) -> u64 {
        (bits & lower) << by | (bits & !lower) >> by
    }
    let bits = shifted(bits, 0b0101_0101, start & 1);
    let bits = shifted(bits, 0b0011_0011, start & 2);
    shifted(bits, 0b0000_1111, start & 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_exchanged_with_those_at_the_other_numbers() {
        for bits in 0..=ANY {
            for start in 0..SLOTS_PER_BUCKET {
                let slots = (0..SLOTS_PER_BUCKET).filter(|at| bits >> (at ^ start) & 1 == 1);
                let expected: u64 = slots.map(|at| 1 << at).sum();
                assert_eq!(exchanged(bits, start), expected, "{bits:#010b} {start}");
            }
        }
    }

    #[test]
    fn what_was_opened_is_told_apart_whatever_its_numbers_are() {
        for (slab_line, slot) in [(1, 0), (1 << 16, 1023), (u32::MAX, 1023), (0x5_5555, 7)] {
            let candidate = Candidate::new(slab_line, slot, slot / SLOTS_PER_BUCKET, true);
            let opened = Opened::claimed(candidate);
            assert_eq!(opened.claim(), candidate);
            assert_eq!(opened.live(), Candidate::NONE);
            assert!(!opened.is_limited());
            let opened = Opened::made_live(candidate);
            assert_eq!(opened.live(), candidate);
            assert_eq!(opened.claim(), Candidate::NONE);
            assert!(!opened.is_limited());
        }
        for nothing in [Opened::LIMITED, Opened::UNCLEAR, Opened::LOST] {
            assert_eq!(
                (nothing.live(), nothing.claim()),
                (Candidate::NONE, Candidate::NONE)
            );
        }
        assert!(Opened::LIMITED.is_limited() && !Opened::LOST.is_limited());
        assert!(Opened::UNCLEAR.is_unclear() && !Opened::LOST.is_unclear());
    }
}
