//! Finding a mapping wherever it stands, or opening it: look-up and port
//! allocation are the same walk.
//!
//! Any number of processors, and the slow path, may open the same mapping at
//! once. Two things must never happen: one inside port with two mappings
//! (endpoint independence, RFC 4787 REQ-1), one external port with two owners
//! (REQ-3). The second cannot, because a slot is claimed by one
//! compare-and-swap from free. The first is settled like this:
//!
//! 1. search all blocks of the subscriber; found: done;
//! 2. claim a free slot as *tentative*;
//! 3. search again. Whoever claimed first is seen by whoever claimed second.
//!    A live mapping wins over ours. Of two tentative ones the lower place
//!    wins: it removes the other, who begins again;
//! 4. make ours live, by a compare-and-swap that fails if another removed it;
//!    then we free the slot, and nobody else may take it before.
//!
//! Nobody waits for anybody: after [`TRIES`] lost races the packet is dropped
//! as `contended`, and its retry finds the winner's mapping.

use super::lookup::{by_port, refresh_outbound};
use super::place::Place;
use super::search::{Candidate, Outcome};
use super::tcp_state;
use super::walk::Spill;
use crate::event::Event;
use crate::layout::{
    Detour, Features, Line, Room, SlotKey, SlotState, SubscriberHead, astray, buckets, header,
};
use crate::limits::SLOTS_PER_BUCKET;
use crate::tables::Tables;
use crate::verdict::{Protocol, Reason};
use crate::word::Word;

/// Attempts before a packet is dropped as contended.
pub const TRIES: u32 = 4;

/// A flow that needs a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Index in `SUBSCRIBERS`.
    pub subscriber: u32,
    pub protocol: Protocol,
    pub inside_port: u16,
    /// Remote endpoint, see [`crate::layout::peer::remote`].
    pub remote: u64,
    /// Number of the [`SlotState`] of the mapping, if it is new; `Free`: the packet must open none.
    pub state: u64,
    /// Now, in ticks.
    pub tick: u32,
}

impl Flow {
    /// False for a segment that must not open a mapping.
    #[inline(always)]
    #[must_use]
    pub const fn opens(self) -> bool {
        self.state != SlotState::Free as u64
    }
    /// All but remote endpoint and tick, as one scalar: global BPF functions
    /// take no structs, and none that they do not use.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.subscriber as u64
            | (self.protocol as u64) << 32
            | self.state << 40
            | (self.inside_port as u64) << 48
    }
    /// The inverse of [`Flow::pack`].
    #[inline(always)]
    #[must_use]
    pub const fn unpack(a: u64, remote: u64, tick: u32) -> Self {
        Self {
            subscriber: a as u32,
            protocol: Protocol::from_number(a >> 32 & 0xff),
            inside_port: (a >> 48) as u16,
            remote,
            state: a >> 40 & 0xf,
            tick,
        }
    }
}

/// What became of a claim: bits 0-15 external port, 16 the mapping is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled(pub u64);

impl Settled {
    const LIVE: u64 = 1 << 16;
    const LOST: Self = Self(0);

    #[inline(always)]
    pub(super) const fn live(port: u16) -> Self {
        Self(Self::LIVE | port as u64)
    }

    /// External port; None if the race was lost.
    #[inline(always)]
    #[must_use]
    pub const fn port(self) -> Option<u16> {
        if self.0 & Self::LIVE != 0 {
            Some(self.0 as u16)
        } else {
            None
        }
    }
}

/// External port of `flow`'s mapping, which is found or opened. `flags` are
/// those of a TCP segment; `claim` is a slot that was claimed already, or none.
///
/// # Errors
/// Why there is none: a reason to punt or to drop.
#[inline(always)]
pub fn open<T: Tables + ?Sized>(
    tables: &T,
    flow: Flow,
    flags: u8,
    mut claim: Candidate,
) -> Result<u16, Reason> {
    for _ in 0..TRIES {
        if !claim.is_some() {
            match tables.search(flow).outcome() {
                Outcome::Found { port, slab_line } => {
                    // False if it ended a moment ago: search again.
                    if tables.renew(flow, flags, port, slab_line) {
                        return Ok(port);
                    }
                }
                Outcome::Refused(_) | Outcome::Free(_) if !flow.opens() => {
                    return Err(stray(flags));
                }
                Outcome::Refused(reason) => return Err(reason),
                Outcome::Race => {}
                Outcome::Free(_) if !tables.may_open(flow.subscriber, flow.tick) => {
                    return Err(Reason::MappingRate);
                }
                Outcome::Free(candidate) if tables.claim(flow, candidate) => {
                    claim = candidate;
                }
                Outcome::Free(_) => {}
            }
        }
        if claim.is_some() {
            let alone = tables.is_alone(flow, claim);
            if let Some(port) = tables.settle(flow, claim, alone).port() {
                note_opened(tables, flow.subscriber);
                return Ok(port);
            }
            claim = Candidate::NONE;
        }
    }
    Err(Reason::Contended)
}

/// A mapping was opened: counted, where prefixes are limited.
#[inline(always)]
pub fn note_opened<T: Tables + ?Sized>(tables: &T, subscriber: u32) {
    if tables.features().has(Features::THROTTLE) {
        // It is open: what it says is for the next one.
        let _ = tables.may_begin(subscriber, true);
    }
}

/// Why a segment of a flow without a mapping opens none.
#[inline(always)]
const fn stray(flags: u8) -> Reason {
    if tcp_state::is_answer(flags) {
        Reason::StrayReset
    } else {
        Reason::MidStream
    }
}

/// Refreshes a mapping that was found by the search, as the fast path does
/// with those at home. False if it ended meanwhile.
#[inline(always)]
pub fn renew<T: Tables + ?Sized>(
    tables: &T,
    flow: Flow,
    flags: u8,
    port: u16,
    slab_line: u32,
) -> bool {
    let Some(head) = tables.header(slab_line) else {
        return false;
    };
    let block = head.0[header::BLOCK].load();
    let offset = u32::from(port.wrapping_sub(block as u16));
    let flags = (flow.protocol == Protocol::Tcp).then_some(flags);
    match by_port(tables, slab_line, flow.protocol, offset) {
        Some(slot) if slot.key.inside_port() == flow.inside_port => {
            let features = features_of(tables, flow);
            refresh_outbound(tables, &slot, flow.remote, flags, flow.tick, features)
        }
        _ => false,
    }
}

#[inline(always)]
fn features_of<T: Tables + ?Sized>(tables: &T, flow: Flow) -> Features {
    let features = tables.features();
    if !features.has(Features::SESSIONS) {
        return features;
    }
    match tables.subscriber(flow.subscriber) {
        Some(subscriber) => {
            let pool = SubscriberHead(subscriber.head.load()).pool();
            tables.features_within(pool, flow.protocol)
        }
        None => features,
    }
}

/// Step 2, see [`Standing::claim`] and [`Standing::leave_detour`].
#[inline(always)]
pub fn claim<T: Tables + ?Sized>(tables: &T, flow: Flow, candidate: Candidate) -> bool {
    match Standing::new(tables, flow, candidate) {
        Some(mut standing) => standing.claim(tables) && standing.leave_detour(tables),
        None => false,
    }
}

/// Step 4, see [`Standing::settle`].
#[inline(always)]
pub fn settle<T: Tables + ?Sized>(
    tables: &T,
    flow: Flow,
    candidate: Candidate,
    alone: bool,
) -> Settled {
    match Standing::new(tables, flow, candidate) {
        Some(standing) => standing.settle(tables, alone),
        None => Settled::LOST,
    }
}

/// log2 of the ports of the block with this slab; None if there is none.
///
/// Read again wherever it is needed, for that is seldom, and a value kept takes room on XDP's stack.
#[inline(always)]
fn shift_of<T: Tables + ?Sized>(tables: &T, slab_line: u32) -> Option<u32> {
    let head = tables.header(slab_line)?;
    Some((head.0[header::BLOCK].load() >> 16) as u32 & 0xff)
}

/// Writes the peer of a mapping that has just been opened in slot `slot` of the slab part that begins with keys in line
/// `first_line`, where somebody asks for it before its first stamp.
///
/// The last of all, for the line is cold, and whatever is locked waits for the stores before it. Until
/// then it is 0, as the sweep left it.
#[inline(always)]
pub fn write_peer<T: Tables + ?Sized>(tables: &T, flow: Flow, first_line: u32, slot: u32) {
    let needed = Features::SESSIONS | Features::SHORT_TIMERS;
    if matches!(flow.protocol, Protocol::Tcp) || tables.features().has(needed) {
        let peers = tables.parts().peers(first_line + slot / SLOTS_PER_BUCKET);
        let Some(line) = tables.line(peers) else {
            return;
        };
        if tables.features().has(Features::SESSIONS) {
            // Another packet may have found the mapping, and written its own: it counts on that.
            let _ = line.at(slot).replace(0, flow.remote);
        } else {
            line.at(slot).store(flow.remote);
        }
    }
}

/// Where a claim stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'t> {
    pub(super) flow: Flow,
    pub(super) candidate: Candidate,
    /// Bucket that the mapping wants.
    pub(super) home: u32,
    /// Bucket that it got.
    pub(super) bucket: u32,
    /// Of the mapping; at home any, for there is no detour and nothing is passed.
    pub(super) place: Place,
    /// Of the block.
    pub(super) room: Room<'t>,
    /// Keys of that bucket.
    pub(super) line: &'t Line,
    /// [`SlotKey::ASTRAY`] if no detour will lead to it, else 0.
    pub(super) astray: u64,
}

impl<'t> Standing<'t> {
    /// Where `candidate` is; None if there is no such place.
    #[inline(always)]
    pub fn new<T: Tables + ?Sized>(
        tables: &'t T,
        flow: Flow,
        candidate: Candidate,
    ) -> Option<Self> {
        let bucket = candidate.slot() / SLOTS_PER_BUCKET;
        let (home, place) = if candidate.is_at_home() {
            (bucket, Place(0))
        } else {
            let subscriber = tables.subscriber(flow.subscriber)?;
            let place = Place::new(subscriber.secret.load(), flow.protocol, flow.inside_port);
            (
                place.bucket(shift_of(tables, candidate.slab_line())?),
                place,
            )
        };
        let first = tables.parts().keys(candidate.slab_line(), flow.protocol);
        let line = tables.line(first + bucket)?;
        // If it is ours, as it was claimed; if not, nothing will be changed.
        let key = line.at(candidate.slot() % SLOTS_PER_BUCKET).load();
        Some(Self {
            flow,
            candidate,
            home,
            bucket,
            place,
            room: tables.room(candidate.slab_line())?,
            line,
            astray: key & SlotKey::ASTRAY,
        })
    }

    /// Step 2: takes a port of the block and claims the slot as tentative. One that
    /// goes astray is counted before. False, with everything undone, if another
    /// was quicker.
    #[inline(always)]
    pub fn claim<T: Tables + ?Sized>(&mut self, tables: &T) -> bool {
        self.astray = 0;
        if self.is_away() {
            let Some(home) = self.home_line(tables) else {
                return false;
            };
            if !Detour::has_place(home) {
                self.astray = SlotKey::ASTRAY;
                if astray::astray(home.at(0).load()) >= astray::MOST_ASTRAY {
                    return false;
                }
            }
        }
        if !self.room.take_port(self.flow.protocol) {
            return false;
        }
        self.spill(tables, true);
        let claimed = self.mark();
        if !claimed {
            self.give_back(tables);
        }
        claimed
    }

    /// The last of step 2, after the slot was claimed, so that every detour leads
    /// somewhere: whoever comes to the home sees the claim. False, with everything
    /// undone, if the home has no place for it any more.
    #[inline(always)]
    pub fn leave_detour<T: Tables + ?Sized>(&self, tables: &T) -> bool {
        if !self.is_away() || self.astray != 0 {
            return true;
        }
        let left = match self.home_line(tables) {
            Some(home) => self.detour().leave_in(home),
            None => false,
        };
        if !left {
            self.give_up(tables);
        }
        left
    }

    /// Claims the slot, if it is free.
    #[inline(always)]
    pub(super) fn mark(&self) -> bool {
        SlotKey::exchange(self.word(), SlotKey(0), self.tentative())
    }

    /// Gives back what a claim took, but for the slot.
    #[inline(always)]
    pub(super) fn give_back<T: Tables + ?Sized>(&self, tables: &T) {
        self.spill(tables, false);
        self.room.give_port(self.flow.protocol);
    }

    /// Step 4: makes the claim live if it is `alone`, in a block of its subscriber and was not removed;
    /// else gives up everything that [`Standing::claim`] took.
    #[inline(always)]
    pub fn settle<T: Tables + ?Sized>(&self, tables: &T, alone: bool) -> Settled {
        if alone && self.is_in_ours(tables) && self.go_live(tables) {
            write_peer(
                tables,
                self.flow,
                self.first_line(tables),
                self.candidate.slot(),
            );
            return self.settled(tables);
        }
        self.give_up(tables);
        Settled::LOST
    }

    /// True if the block is its subscriber's, and was not taken and given to another since the flow was told of it.
    #[inline(always)]
    fn is_in_ours<T: Tables + ?Sized>(&self, tables: &T) -> bool {
        let head = tables.header(self.candidate.slab_line());
        head.is_some_and(|head| (head.0[header::BLOCK].load() >> 32) as u32 == self.flow.subscriber)
    }

    /// Frees the slot, and gives back what the claim took. Whoever empties the slot
    /// does that: not us, if we come so late that the sweep found the claim abandoned.
    #[inline(always)]
    fn give_up<T: Tables + ?Sized>(&self, tables: &T) {
        let claim = self.tentative();
        if self.is_away() && self.astray == 0 {
            // Its detour is taken away while the slot is nobody else's. Nobody
            // needs it: the claim counts no longer.
            let removed = claim.removed();
            let _ = SlotKey::exchange(self.word(), claim, removed);
            let is_ours = SlotKey(self.word().load()).mapping() == removed;
            if is_ours && let Some(home) = self.home_line(tables) {
                self.detour().take_from(home);
            }
        }
        // Again, if another left a detour here meanwhile. What is left after all is found by the sweep.
        for _ in 0..2 {
            let free = |claim| SlotKey::exchange(self.word(), claim, SlotKey(0));
            if free(claim) || free(claim.removed()) {
                self.give_back(tables);
                return;
            }
        }
    }

    /// Makes the claim live; false if it was removed.
    #[inline(always)]
    pub(super) fn go_live<T: Tables + ?Sized>(&self, tables: &T) -> bool {
        if !SlotKey::exchange(self.word(), self.tentative(), self.live()) {
            return false;
        }
        tables.count(|c| c.created(self.flow.protocol));
        self.watch_fill(tables);
        true
    }
    /// The external port of a claim that is live.
    #[inline(always)]
    fn settled<T: Tables + ?Sized>(&self, tables: &T) -> Settled {
        let Some(head) = tables.header(self.candidate.slab_line()) else {
            return Settled::LOST; // never: the slab was there when it was claimed
        };
        let first_port = head.0[header::BLOCK].load() as u16;
        Settled::live(first_port.wrapping_add(self.candidate.slot() as u16))
    }
    /// The slot.
    #[inline(always)]
    #[must_use]
    pub const fn candidate(&self) -> Candidate {
        self.candidate
    }
    #[inline(always)]
    const fn tentative(&self) -> SlotKey {
        let claim = SlotKey::new(self.flow.inside_port, SlotState::Tentative, self.flow.tick);
        SlotKey(claim.0 | self.astray)
    }
    /// True if it stands in another bucket than it wants.
    #[inline(always)]
    const fn is_away(&self) -> bool {
        self.bucket != self.home
    }
    #[inline(always)]
    const fn detour(&self) -> Detour {
        Detour::new(self.place.tag(), self.candidate.slot())
    }
    #[inline(always)]
    fn home_line<T: Tables + ?Sized>(&self, tables: &'t T) -> Option<&'t Line> {
        tables.line(self.first_line(tables) + self.home)
    }
    #[inline(always)]
    const fn live(&self) -> SlotKey {
        self.tentative().with(self.flow.state, self.flow.tick)
    }
    #[inline(always)]
    fn word(&self) -> &Word {
        self.line.at(self.candidate.slot() % SLOTS_PER_BUCKET)
    }
    #[inline(always)]
    fn first_line<T: Tables + ?Sized>(&self, tables: &T) -> u32 {
        tables
            .parts()
            .keys(self.candidate.slab_line(), self.flow.protocol)
    }

    /// Counts a mapping that is astray in (or out of) the buckets that it was placed
    /// beyond.
    #[inline(always)]
    fn spill<T: Tables + ?Sized>(&self, tables: &T, placed: bool) {
        if self.astray != 0
            && let Some(shift) = shift_of(tables, self.candidate.slab_line())
        {
            tables.spill(Spill {
                first_line: self.first_line(tables),
                mask: buckets(shift) - 1,
                home: self.home,
                bucket: self.bucket,
                stride: self.place.stride(),
                placed,
            });
        }
    }

    /// Requests the next block when the newest one is nearly full.
    #[inline(always)]
    fn watch_fill<T: Tables + ?Sized>(&self, tables: &T) {
        let slab_line = self.candidate.slab_line();
        if self.candidate.is_newest()
            && self.room.is_to_request(self.flow.protocol)
            && let Some(head) = tables.header(slab_line)
        {
            let requested = tables.request_block(Event {
                version: Event::VERSION,
                subscriber: self.flow.subscriber,
                slab_line,
                inside: head.0[header::OWNER].load() as u32,
            });
            if !requested {
                // The ring is full: the next mapping asks again.
                self.room.take_back_request();
            }
        }
    }
}
