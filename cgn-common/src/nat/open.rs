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

use super::lookup::{by_port, refresh_outbound, set_remote};
use super::place::Place;
use super::search::{Candidate, Outcome};
use super::walk::Spill;
use crate::event::Event;
use crate::layout::{Line, SlotKey, SlotState, SubscriberHead, Used, bucket_line, buckets, header};
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
    /// State of the mapping, if it is new.
    pub state: SlotState,
    /// Now, in ticks.
    pub tick: u32,
}

impl Flow {
    /// All but remote endpoint and tick, as one scalar: global BPF functions
    /// take no structs, and none that they do not use.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.subscriber as u64
            | (self.protocol as u64) << 32
            | (self.state as u64) << 40
            | (self.inside_port as u64) << 48
    }
    /// The inverse of [`Flow::pack`].
    #[inline(always)]
    #[must_use]
    pub const fn unpack(a: u64, remote: u64, tick: u32) -> Self {
        let protocol = match (a >> 32) & 0xff {
            0 => Protocol::Tcp,
            1 => Protocol::Udp,
            _ => Protocol::Icmp,
        };
        Self {
            subscriber: a as u32,
            protocol,
            inside_port: (a >> 48) as u16,
            remote,
            state: SlotState::from_bits((a >> 40) as u8),
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
/// those of a TCP segment.
///
/// # Errors
/// Why there is none: a reason to punt or to drop.
#[inline(always)]
pub fn open<T: Tables + ?Sized>(tables: &T, flow: Flow, flags: u8) -> Result<u16, Reason> {
    for _ in 0..TRIES {
        match tables.search(flow).outcome() {
            Outcome::Found { port, slab_line } => {
                // False if it ended a moment ago: search again.
                if tables.renew(flow, flags, port, slab_line) {
                    return Ok(port);
                }
            }
            Outcome::Refused(reason) => return Err(reason),
            Outcome::Race => {}
            Outcome::Free(candidate) => {
                if tables.claim(flow, candidate) {
                    let alone = tables.is_alone(flow, candidate);
                    if let Some(port) = tables.settle(flow, candidate, alone).port() {
                        return Ok(port);
                    }
                }
            }
        }
    }
    Err(Reason::Contended)
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
    let Some(head) = tables.line(slab_line) else {
        return false;
    };
    let block = head.0[header::BLOCK].load();
    let offset = u32::from(port.wrapping_sub(block as u16));
    let shift = (block >> 16) as u32 & 0xff;
    let flags = (flow.protocol == Protocol::Tcp).then_some(flags);
    match by_port(tables, slab_line, flow.protocol, shift, offset) {
        Some(slot) if slot.key.inside_port() == flow.inside_port => {
            refresh_outbound(&slot, flow.remote, flags, flow.tick)
        }
        _ => false,
    }
}

/// Step 2: reserves a port of the block and claims the slot as tentative.
/// False, with everything undone, if another was quicker.
#[inline(always)]
pub fn claim<T: Tables + ?Sized>(tables: &T, flow: Flow, candidate: Candidate) -> bool {
    let Some(place) = Standing::new(tables, flow, candidate) else {
        return false;
    };
    let used = &place.head.0[header::USED];
    let one = Used::one(flow.protocol);
    let before = Used(used.add(one));
    if before.closed() || before.of(flow.protocol) >= 1 << place.shift {
        used.add(one.wrapping_neg());
        return false;
    }
    place.spill(tables, true);
    if !place.word().replace(0, place.tentative().0) {
        place.spill(tables, false);
        used.add(one.wrapping_neg());
        return false;
    }
    set_remote(place.peer(), flow.remote);
    true
}

/// Step 4: makes the claim live if it is `alone` and was not removed; else
/// gives up everything that [`claim`] took.
#[inline(always)]
pub fn settle<T: Tables + ?Sized>(
    tables: &T,
    flow: Flow,
    candidate: Candidate,
    alone: bool,
) -> Settled {
    let Some(place) = Standing::new(tables, flow, candidate) else {
        return Settled::LOST;
    };
    let claim = place.tentative();
    let live = claim.with(flow.state as u64, flow.tick);
    if alone && place.word().replace(claim.0, live.0) {
        tables.count(|c| c.created(flow.protocol));
        place.watch_fill(tables);
        let first_port = place.head.0[header::BLOCK].load() as u16;
        return Settled(Settled::LIVE | (first_port + candidate.slot() as u16) as u64);
    }
    // Whoever empties the slot gives back what the claim took. That is not us
    // if we come so late that the sweep found the claim abandoned.
    if place.word().replace(claim.0, 0) || place.word().replace(claim.removed().0, 0) {
        place.spill(tables, false);
        place.head.0[header::USED].add(Used::one(flow.protocol).wrapping_neg());
    }
    Settled::LOST
}

/// Where a claim stands.
struct Standing<'t> {
    flow: Flow,
    candidate: Candidate,
    /// log2 of the ports of the block.
    shift: u32,
    /// Bucket that the mapping wants.
    home: u32,
    /// Header line of the slab.
    head: &'t Line,
    /// Bucket that it got.
    line: &'t Line,
}

impl<'t> Standing<'t> {
    #[inline(always)]
    fn new<T: Tables + ?Sized>(tables: &'t T, flow: Flow, candidate: Candidate) -> Option<Self> {
        let subscriber = tables.subscriber(flow.subscriber)?;
        let shift = SubscriberHead(subscriber.head.load()).block_shift();
        let place = Place::new(subscriber.secret.load(), flow.protocol, flow.inside_port);
        let first = bucket_line(candidate.slab_line(), flow.protocol, shift);
        Some(Self {
            flow,
            candidate,
            shift,
            home: place.bucket(shift),
            head: tables.line(candidate.slab_line())?,
            line: tables.line(first + candidate.slot() / SLOTS_PER_BUCKET)?,
        })
    }

    #[inline(always)]
    const fn tentative(&self) -> SlotKey {
        SlotKey::new(self.flow.inside_port, SlotState::Tentative, self.flow.tick)
    }
    #[inline(always)]
    fn word(&self) -> &Word {
        &self.line.0[(2 * (self.candidate.slot() % SLOTS_PER_BUCKET) as usize) & 7]
    }
    #[inline(always)]
    fn peer(&self) -> &Word {
        &self.line.0[(2 * (self.candidate.slot() % SLOTS_PER_BUCKET) as usize + 1) & 7]
    }

    /// Counts the mapping in (or out of) the buckets that it was placed beyond.
    #[inline(always)]
    fn spill<T: Tables + ?Sized>(&self, tables: &T, placed: bool) {
        let bucket = self.candidate.slot() / SLOTS_PER_BUCKET;
        if bucket != self.home {
            tables.spill(Spill {
                first_line: bucket_line(self.candidate.slab_line(), self.flow.protocol, self.shift),
                mask: buckets(self.shift) - 1,
                home: self.home,
                bucket,
                placed,
            });
        }
    }

    /// Requests the next block when the newest one is nearly full.
    #[inline(always)]
    fn watch_fill<T: Tables + ?Sized>(&self, tables: &T) {
        let head = &self.head.0;
        let used = Used(head[header::USED].load()).of(self.flow.protocol);
        if self.candidate.is_newest()
            && u64::from(used) >= head[header::WATERMARK].load()
            && head[header::REQUESTED].load() == 0
            && head[header::REQUESTED].replace(0, 1)
        {
            let requested = tables.request_block(Event {
                version: Event::VERSION,
                subscriber: self.flow.subscriber,
                slab_line: self.candidate.slab_line(),
                inside: head[header::OWNER].load() as u32,
            });
            if !requested {
                // The ring is full: the next mapping asks again.
                head[header::REQUESTED].store(0);
            }
        }
    }
}
