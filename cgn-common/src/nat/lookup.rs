//! Finding the mapping of an established flow, and keeping it alive.

use super::tcp_state;
use crate::block::{block_of, first_port};
use crate::layout::{Line, Rows, SlotKey, SlotState, bucket_line, peer};
use crate::limits::{SLOTS_PER_BUCKET, STAMP_TICKS};
use crate::tables::Tables;
use crate::verdict::{Direction, Protocol, Reason};
use crate::wire::transport::flag;

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
    #[inline(always)]
    fn peer(&self) -> &crate::word::Word {
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

/// The live mapping that has this external port, and its inside address.
///
/// # Errors
/// [`Reason::NoMapping`].
#[inline(always)]
pub fn mapping_at<T: Tables>(
    tables: &T,
    rows: Rows,
    protocol: Protocol,
    port: u16,
) -> Result<(Slot<'_>, u32), Reason> {
    let shift = rows.block_shift();
    let number = block_of(port, shift).ok_or(Reason::NoMapping)?;
    let entry = tables
        .block(rows.first_row() + number)
        .ok_or(Reason::Internal)?;
    let (slab_line, inside_address) = entry.read();
    if slab_line == 0 {
        return Err(Reason::NoMapping);
    }
    let offset = u32::from(port - first_port(number, shift));
    let slot = by_port(tables, slab_line, protocol, shift, offset).ok_or(Reason::NoMapping)?;
    Ok((slot, inside_address))
}

/// Notes that the mapping was used by an outbound packet. False if it ended
/// meanwhile: the packet then needs a new one.
///
/// The word is written only when its stamp is old or its state changes, so that
/// a busy flow does not dirty its cache line with every packet.
#[inline(always)]
#[must_use]
pub fn refresh_outbound(slot: &Slot, remote: u64, flags: Option<u8>, now: u32) -> bool {
    let mut new = stamped(slot.key, slot.key.state(), now);
    if let Some(flags) = flags {
        if slot.peer().load() & peer::REMOTE == remote {
            let state = tcp_state::next(slot.key.state(), Direction::Outbound, flags);
            new = stamped(slot.key, state, now);
        } else if !slot.key.is_shared() {
            new = another_session(slot, remote, flags, now);
        }
    }
    update(slot, new)
}

/// A TCP segment to a second remote endpoint. If the first session is over, a
/// SYN takes its place; otherwise the mapping lives as long as an established one.
#[inline(never)]
fn another_session(slot: &Slot, remote: u64, flags: u8, now: u32) -> SlotKey {
    const CLOSING: u64 = SlotState::TcpClosing as u64;
    const TRANSITORY: u64 = SlotState::TcpTransitory as u64;
    let state = slot.key.state();
    if flags & flag::SYN != 0 && (state == CLOSING || state == TRANSITORY) {
        set_remote(slot.peer(), remote);
        return slot.key.with(SlotState::TcpInit as u64, now);
    }
    SlotKey(slot.key.with(state, now).0 | SlotKey::SHARED)
}

/// Notes an inbound TCP segment. Inbound packets of other protocols do not
/// refresh (RFC 4787 REQ-6a): who can reach a mapping could keep it for ever.
#[inline(always)]
#[must_use]
pub fn refresh_inbound_tcp(slot: &Slot, remote: u64, flags: u8, now: u32) -> bool {
    let first_session = slot.peer().load() & peer::REMOTE == remote;
    if !first_session && !slot.key.is_shared() {
        return true;
    }
    let state = if first_session {
        tcp_state::next(slot.key.state(), Direction::Inbound, flags)
    } else {
        slot.key.state()
    };
    update(slot, stamped(slot.key, state, now))
}

/// The key in `state`, with the stamp `now` if its own is old.
#[inline(always)]
const fn stamped(key: SlotKey, state: u64, now: u32) -> SlotKey {
    // Signed: a stamp may be of a moment after `now` was read.
    if state != key.state() || now.wrapping_sub(key.last_seen()) as i32 >= STAMP_TICKS as i32 {
        key.with(state, now)
    } else {
        key
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
