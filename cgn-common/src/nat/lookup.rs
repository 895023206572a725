//! Finding the mapping of an established flow, and keeping it alive.

use super::next_hop::rows_of;
use super::ports;
use super::tcp_state;
use crate::block::{block_of, first_port};
use crate::layout::{BlockEntry, Features, Line, Rows, SlotKey, SlotState, bucket_line, peer};
use crate::limits::SLOTS_PER_BUCKET;
use crate::realm::NO_KEY;
use crate::tables::Tables;
use crate::verdict::{Direction, Protocol, Reason};
use crate::wire::transport::{Transport, flag};

/// A slot as found: its line, its number in the line, and its first word.
pub struct Slot<'a> {
    pub line: &'a Line,
    pub at: u32,
    pub key: SlotKey,
}

impl Slot<'_> {
    #[inline(always)]
    fn word(&self) -> &crate::word::Word {
        self.line.key_at(self.at)
    }
    /// Its second word.
    #[inline(always)]
    pub fn peer(&self) -> &crate::word::Word {
        self.line.peer_at(self.at)
    }
}

/// Slot of an external port: its index is the port.
#[inline(always)]
pub fn by_port<'t, T: Tables + ?Sized>(
    tables: &'t T,
    slab_line: u32,
    protocol: Protocol,
    block_shift: u32,
    offset: u32,
) -> Option<Slot<'t>> {
    let first = bucket_line(slab_line, protocol, block_shift);
    let line = tables.line(first + offset / SLOTS_PER_BUCKET)?;
    let at = offset % SLOTS_PER_BUCKET;
    let key = SlotKey(line.key_at(at).load());
    key.is_live().then_some(Slot { line, at, key })
}

/// The live mapping that has this port of the external address with these rows, and its
/// inside address.
///
/// # Errors
/// [`Reason::NoMapping`].
#[inline(always)]
pub fn mapping_at<T: Tables + ?Sized>(
    tables: &T,
    (external, rows): (u32, Rows),
    protocol: Protocol,
    port: u16,
) -> Result<(Slot<'_>, u32), Reason> {
    let shift = rows.block_shift();
    let place = ports::inward(tables, rows.pool(), external, port);
    let number = block_of(place, shift).ok_or(Reason::NoMapping)?;
    let entry = tables
        .block(rows.first_row() + number)
        .ok_or(Reason::Internal)?;
    let (slab_line, inside_address) = entry.read();
    if slab_line == 0 {
        return Err(Reason::NoMapping);
    }
    let offset = u32::from(place - first_port(number, shift));
    let slot = by_port(tables, slab_line, protocol, shift, offset).ok_or(Reason::NoMapping)?;
    Ok((slot, inside_address))
}

/// Inside key of the subscriber who has the block with this port of the external address with these rows,
/// whether the port is in use or not; [`NO_KEY`] if nobody has.
#[inline(always)]
pub fn owner_of<T: Tables + ?Sized>(tables: &T, (external, rows): (u32, Rows), port: u16) -> u32 {
    let place = ports::inward(tables, rows.pool(), external, port);
    let Some(number) = block_of(place, rows.block_shift()) else {
        return NO_KEY;
    };
    match tables
        .block(rows.first_row() + number)
        .map(BlockEntry::read)
    {
        Some((slab_line, inside)) if slab_line != 0 => inside,
        _ => NO_KEY,
    }
}

/// Slot of an external port of an address, with the live mapping there.
#[inline(always)]
pub fn by_external<T: Tables + ?Sized>(
    tables: &T,
    external: u32,
    port: u16,
    protocol: Protocol,
) -> Option<Slot<'_>> {
    let rows = rows_of(tables, external);
    if !rows.is_pool_address() {
        return None;
    }
    let (slot, _) = mapping_at(tables, (external, rows), protocol, port).ok()?;
    Some(slot)
}

/// Notes that the mapping was used by an outbound packet. False if it ended
/// meanwhile: the packet then needs a new one.
#[inline(always)]
#[must_use]
pub fn refresh_outbound(
    slot: &Slot,
    remote: u64,
    flags: Option<u8>,
    now: u32,
    features: Features,
) -> bool {
    let mut new = slot.key.stamped(slot.key.state(), now);
    if let Some(flags) = flags {
        let first_session = slot.peer().load() & peer::REMOTE == remote;
        if first_session {
            new = after_segment(slot.key, Direction::Outbound, flags, now);
        } else if tcp_state::is_answer(flags) {
            return true;
        } else if !slot.key.is_shared() {
            new = another_session(slot, remote, flags, now, features);
        }
    } else if features.has(Features::SHORT_TIMERS) {
        new = SlotKey(new.0 | many_ports(slot, remote));
    }
    update(slot, new)
}

/// The key after a segment of its first session.
#[inline(always)]
const fn after_segment(key: SlotKey, direction: Direction, flags: u8, now: u32) -> SlotKey {
    let state = tcp_state::next(key.state(), direction, flags);
    if state == key.state() && tcp_state::is_answer(flags) {
        return key;
    }
    key.stamped(state, now)
}

/// A TCP segment to a second remote endpoint. If the first session is over, a
/// SYN takes its place; otherwise the mapping lives as long as an established
/// one, or, with a table of sessions, as long as any of them.
#[inline(never)]
fn another_session(slot: &Slot, remote: u64, flags: u8, now: u32, features: Features) -> SlotKey {
    const CLOSING: u64 = SlotState::TcpClosing as u64;
    const TRANSITORY: u64 = SlotState::TcpTransitory as u64;
    let state = slot.key.state();
    if flags & flag::SYN != 0
        && (state == CLOSING || state == TRANSITORY)
        && !features.has(Features::SESSIONS)
    {
        set_remote(slot.peer(), remote);
        return slot.key.with(SlotState::TcpInit as u64, now);
    }
    SlotKey(slot.key.with(state, now).0 | SlotKey::SHARED)
}

/// The flag of a mapping that talks to a further port.
#[inline(always)]
fn many_ports(slot: &Slot, remote: u64) -> u64 {
    const PORT: u64 = 0xffff << 32;
    if (slot.peer().load() ^ remote) & PORT != 0 {
        SlotKey::MANY_PORTS
    } else {
        0
    }
}

/// Notes an inbound TCP segment.
#[inline(always)]
#[must_use]
pub fn refresh_inbound_tcp(slot: &Slot, remote: u64, flags: u8, now: u32) -> bool {
    let new = if slot.peer().load() & peer::REMOTE == remote {
        after_segment(slot.key, Direction::Inbound, flags, now)
    } else if slot.key.is_shared() && !tcp_state::is_answer(flags) {
        slot.key.stamped(slot.key.state(), now)
    } else {
        return true;
    };
    update(slot, new)
}

/// Notes an inbound packet of another protocol, where the configuration says
/// so: by default these do not refresh (RFC 4787 REQ-6a), for whoever can reach
/// a mapping could keep it for ever.
#[inline(always)]
#[must_use]
pub fn refresh_inbound(slot: &Slot, now: u32) -> bool {
    update(slot, slot.key.stamped(slot.key.state(), now))
}

/// True for a packet from outside that surely begins a session: a SYN that does not answer, from
/// another than the mapping's first remote endpoint. Of other protocols nobody can tell.
#[inline(always)]
#[must_use]
pub fn comes_anew(slot: &Slot, transport: &Transport, remote: u64) -> bool {
    let of_opening = flag::SYN | flag::ACK | flag::RST;
    transport.protocol == Protocol::Tcp
        && transport.flags & of_opening == flag::SYN
        && slot.peer().load() & peer::REMOTE != remote
}

/// Notes that a further session uses the mapping: [`SlotKey::SHARED`], and
/// [`SlotKey::UNLISTED`] too if the table has no room for it.
#[inline(always)]
pub fn share(slot: &Slot, flags: u64, now: u32) {
    if slot.key.0 & flags != flags {
        let shared = slot.key.with(slot.key.state(), now).0 | flags;
        // Lost to a packet that stamped it: the session's next packet tries again.
        let _ = update(slot, SlotKey(shared));
    }
}

/// Writes the first word; on a lost race, true if the mapping is still the same.
#[inline(always)]
fn update(slot: &Slot, new: SlotKey) -> bool {
    if new == slot.key || slot.word().replace(slot.key.0, new.0) {
        return true;
    }
    let seen = SlotKey(slot.word().load());
    seen.is_live() && seen.inside_port() == slot.key.inside_port()
}

/// Writes the remote endpoint of the first session, leaving the bucket's
/// overflow count alone. Gives up after a few lost races: the endpoint then
/// belongs to another packet, which costs nothing but timing precision.
#[inline(always)]
pub fn set_remote(peer_word: &crate::word::Word, remote: u64) {
    for _ in 0..4 {
        let old = peer_word.load();
        if peer_word.replace(old, old & !peer::REMOTE | remote) {
            return;
        }
    }
}
