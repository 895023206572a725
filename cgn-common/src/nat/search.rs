//! Searching all blocks of a subscriber for one inside port: before a mapping
//! is opened ([`search`]), and once more after its slot was claimed ([`is_alone`]).

use super::open::Flow;
use super::place::Place;
use super::preference::{Preference, Wanted};
use super::walk::{Found, NO_SLOT, Request};
use crate::layout::{Limits, OwnedBlock, SlotKey, SlotState, Subscriber, SubscriberHead};
use crate::limits::{MAX_BLOCKS_PER_SUBSCRIBER, SLOTS_PER_BUCKET};
use crate::tables::Tables;
use crate::verdict::{Protocol, Reason};

const MAX_BLOCKS: u32 = MAX_BLOCKS_PER_SUBSCRIBER as u32;

/// A free slot in a block of the subscriber: bits 0-31 slab line, 32-47 slot,
/// 48 it is in the subscriber's newest block, 49 in the flow's home bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate(pub u64);

impl Candidate {
    const NEWEST: u64 = 1 << 48;
    const AT_HOME: u64 = 1 << 49;
    /// No slot: slabs begin at line 1. In place of an `Option`, which costs XDP a
    /// word of stack more.
    pub const NONE: Self = Self(0);

    #[inline(always)]
    pub(super) const fn new(slab_line: u32, slot: u32, home: u32, newest: bool) -> Self {
        let at_home = slot / SLOTS_PER_BUCKET == home;
        Self(
            slab_line as u64
                | (slot as u64) << 32
                | (newest as u64 * Self::NEWEST)
                | (at_home as u64 * Self::AT_HOME),
        )
    }
    /// A claim of which only the place matters: slot and slab line, the order in
    /// which tentative claims of one inside port win.
    #[inline(always)]
    const fn place(self) -> u64 {
        self.0 & (Self::NEWEST - 1)
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 != Self::NONE.0
    }
    /// True if nothing was passed to get there.
    #[inline(always)]
    #[must_use]
    pub const fn is_at_home(self) -> bool {
        self.0 & Self::AT_HOME != 0
    }
    #[inline(always)]
    #[must_use]
    pub const fn slab_line(self) -> u32 {
        self.0 as u32
    }
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u32 {
        (self.0 >> 32) as u32 & 0xffff
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_newest(self) -> bool {
        self.0 & Self::NEWEST != 0
    }
}

/// Result of a search, as one scalar: bits 60-63 what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Searched(pub u64);

/// A [`Searched`], unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The mapping is there, in the block whose slab begins at this line.
    Found { port: u16, slab_line: u32 },
    /// It is not there; this slot is free.
    Free(Candidate),
    /// It is just being opened by another processor.
    Race,
    /// It is not there and cannot be opened.
    Refused(Reason),
}

impl Searched {
    const KIND: u32 = 60;

    #[inline(always)]
    const fn found(port: u16, slab_line: u32) -> Self {
        Self(1 << Self::KIND | port as u64 | (slab_line as u64) << 16)
    }
    #[inline(always)]
    const fn free(candidate: Candidate) -> Self {
        Self(2 << Self::KIND | candidate.0)
    }
    const RACE: Self = Self(3 << Self::KIND);
    #[inline(always)]
    const fn refused(reason: Reason) -> Self {
        Self(reason as u64)
    }
    #[inline(always)]
    #[must_use]
    pub const fn outcome(self) -> Outcome {
        match self.0 >> Self::KIND {
            1 => Outcome::Found {
                port: self.0 as u16,
                slab_line: (self.0 >> 16) as u32,
            },
            2 => Outcome::Free(Candidate(self.0 & !(0xf << Self::KIND))),
            3 => Outcome::Race,
            _ => Outcome::Refused(match self.0 as u8 {
                n if n == Reason::FirstPacket as u8 => Reason::FirstPacket,
                n if n == Reason::BlockFull as u8 => Reason::BlockFull,
                n if n == Reason::NoPort as u8 => Reason::NoPort,
                n if n == Reason::NoBlock as u8 => Reason::NoBlock,
                n if n == Reason::MappingLimit as u8 => Reason::MappingLimit,
                _ => Reason::Internal,
            }),
        }
    }
}

/// Searches all blocks, the flow's home block first.
#[inline(always)]
pub fn search<T: Tables + ?Sized>(tables: &T, flow: Flow) -> Searched {
    let Some(scope) = Scope::new(tables, flow) else {
        return Searched::refused(Reason::Internal);
    };
    let count = scope.head.block_count();
    let refused = scope.head.has(SubscriberHead::REFUSED);
    if count == 0 {
        return Searched::refused(if refused {
            Reason::NoBlock
        } else {
            Reason::FirstPacket
        });
    }
    let mut candidate = 0;
    let mut at = scope.place.block(count);
    for turn in 0..MAX_BLOCKS {
        if turn >= count {
            break;
        }
        let Some(block) = scope.block(at) else {
            return Searched::RACE;
        };
        // A full block is walked no further than its chain: to find, not to claim.
        let want_free = candidate == 0 && scope.has_room(block);
        let found = scope.walk(block, NO_SLOT, want_free);
        if found.is_live() {
            let port = block.first_port() + found.slot() as u16;
            return Searched::found(port, block.slab_line());
        }
        if found.is_tentative() {
            return Searched::RACE;
        }
        if want_free && let Some(slot) = found.free() {
            candidate = scope.candidate(block, slot, at + 1 == count).0;
        }
        at = if at + 1 >= count { 0 } else { at + 1 };
    }
    match candidate {
        0 => Searched::refused(scope.full()),
        _ => Searched::free(scope.preferred(Candidate(candidate))),
    }
}

/// Why a subscriber gets no mapping all of whose blocks are full; one of them has
/// these limits.
#[inline(always)]
#[must_use]
pub const fn full(head: SubscriberHead, limits: Limits, protocol: Protocol) -> Reason {
    if limits.is_capped(protocol) {
        Reason::MappingLimit
    } else if head.has(SubscriberHead::REFUSED) {
        Reason::NoPort
    } else {
        Reason::BlockFull
    }
}

/// False if another mapping of the flow's inside port than the tentative one
/// in `own` must win. Tentative ones in higher places are removed; their
/// owners notice and search again.
#[inline(always)]
pub fn is_alone<T: Tables + ?Sized>(tables: &T, flow: Flow, own: Candidate) -> bool {
    let Some(scope) = Scope::new(tables, flow) else {
        return false;
    };
    let own = Candidate(own.place());
    let mut at = 0;
    // Two turns more than blocks: room for two removals.
    for _ in 0..MAX_BLOCKS + 2 {
        let head = scope.subscriber.head.load();
        if head != scope.head.0 {
            // A block may have moved from an index not yet seen to one that was.
            return false;
        }
        if at >= SubscriberHead(head).block_count() {
            return true;
        }
        let Some(block) = scope.block(at) else {
            return false;
        };
        let skip = if block.slab_line() == own.slab_line() {
            own.slot()
        } else {
            NO_SLOT
        };
        let found = scope.walk(block, skip, false);
        if found.is_live() {
            return false;
        }
        if found.is_tentative() {
            let other = scope.candidate(block, found.slot(), false);
            if other.place() < own.0 || !scope.remove(other) {
                return false;
            }
        } else {
            at += 1;
        }
    }
    false
}

/// Where to search for what.
struct Scope<'a, T: Tables + ?Sized> {
    tables: &'a T,
    subscriber: &'a Subscriber,
    head: SubscriberHead,
    flow: Flow,
    place: Place,
}

impl<'a, T: Tables + ?Sized> Scope<'a, T> {
    #[inline(always)]
    fn new(tables: &'a T, flow: Flow) -> Option<Self> {
        let subscriber = tables.subscriber(flow.subscriber)?;
        Some(Self {
            tables,
            subscriber,
            head: SubscriberHead(subscriber.head.load()),
            flow,
            place: Place::new(subscriber.secret.load(), flow.protocol, flow.inside_port),
        })
    }

    /// None if the block was given back since the count was read.
    #[inline(always)]
    fn block(&self, at: u32) -> Option<OwnedBlock> {
        let index = self.flow.subscriber;
        let block = self.tables.owned_block(index, self.subscriber, at)?;
        (block.slab_line() != 0).then_some(block)
    }

    #[inline(always)]
    fn walk(&self, block: OwnedBlock, skip: u32, want_free: bool) -> Found {
        let shift = self.head.block_shift();
        self.tables.walk(Request {
            first_line: self
                .tables
                .parts()
                .keys(block.slab_line(), self.flow.protocol),
            shift,
            place: self.place,
            inside_port: self.flow.inside_port,
            skip,
            want_free,
        })
    }

    #[inline(always)]
    fn candidate(&self, block: OwnedBlock, slot: u32, newest: bool) -> Candidate {
        let home = self.place.bucket(self.head.block_shift());
        Candidate::new(block.slab_line(), slot, home, newest)
    }

    /// The candidate, or a slot of the same block that its pool prefers, if there is one near.
    #[inline(always)]
    fn preferred(&self, candidate: Candidate) -> Candidate {
        let Flow {
            protocol,
            inside_port,
            ..
        } = self.flow;
        let preference = Preference::of(self.tables, self.head.pool(), protocol, inside_port);
        if preference == Preference::ANY {
            return candidate;
        }
        let shift = self.head.block_shift();
        let found = self.tables.nearest_preferred(Wanted {
            first_line: self
                .tables
                .parts()
                .keys(candidate.slab_line(), self.flow.protocol),
            shift,
            place: self.place,
            preference,
        });
        if found == 0 {
            return candidate;
        }
        let home = self.place.bucket(shift);
        Candidate::new(
            candidate.slab_line(),
            found - 1,
            home,
            candidate.is_newest(),
        )
    }

    /// Why the subscriber gets no mapping, all of whose blocks are full.
    #[inline(always)]
    fn full(&self) -> Reason {
        let first = self.block(0);
        match first.and_then(|block| self.tables.room(block.slab_line())) {
            Some(room) => full(self.head, room.limits(), self.flow.protocol),
            None => Reason::Contended, // it was given back a moment ago
        }
    }

    /// A full block is seen from its counter.
    #[inline(always)]
    fn has_room(&self, block: OwnedBlock) -> bool {
        let room = self.tables.room(block.slab_line());
        room.is_some_and(|room| room.has_room(self.flow.protocol))
    }

    /// Removes another's tentative claim of this inside port. The slot is not
    /// free yet: its owner frees it (`open::settle`), for if a third processor
    /// could claim it first, with the same word, the owner would take that
    /// claim for its own.
    #[inline(always)]
    fn remove(&self, other: Candidate) -> bool {
        let parts = self.tables.parts();
        let first = parts.keys(other.slab_line(), self.flow.protocol);
        let Some(line) = self.tables.line(first + other.slot() / SLOTS_PER_BUCKET) else {
            return false;
        };
        let word = line.at(other.slot() % SLOTS_PER_BUCKET);
        let key = SlotKey(word.load());
        key.inside_port() == self.flow.inside_port
            && key.state() == SlotState::Tentative as u64
            && word.replace(key.0, key.removed().0)
    }
}
