//! Finding the mapping of an established flow, and keeping it alive.

use super::next_hop::rows_of;
use super::ports;
use super::tcp_state;
use crate::block::{block_of, first_port};
use crate::layout::{BlockEntry, Features, Line, Rows, SlotKey, SlotState, peer};
use crate::limits::SLOTS_PER_BUCKET;
use crate::realm::NO_KEY;
use crate::tables::Tables;
use crate::verdict::{Direction, Protocol, Reason};
use crate::wire::transport::{Transport, flag};
use crate::word::Word;

/// A slot as found, and its key as it was read.
pub struct Slot<'a> {
    word: &'a Word,
    pub key: SlotKey,
    pub peer: Peer,
}

/// Where the second word of a slot is, see [`peer`]: in another cache line, which the common packet
/// does not touch. The number of the line times the slots of a bucket, and the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub u64);

impl Peer {
    /// The word; None if there is no such line.
    #[inline(always)]
    #[must_use]
    pub fn word<T: Tables + ?Sized>(self, tables: &T) -> Option<&Word> {
        let line = tables.line((self.0 / u64::from(SLOTS_PER_BUCKET)) as u32)?;
        Some(line.at(self.0 as u32 % SLOTS_PER_BUCKET))
    }
    /// Writes the remote endpoint, if there is none. False if there is one: another packet may have
    /// written it just now.
    #[inline(always)]
    pub fn write_first<T: Tables + ?Sized>(self, tables: &T, remote: u64) -> bool {
        self.word(tables)
            .is_some_and(|word| word.replace(0, remote))
    }
    /// Writes the remote endpoint.
    #[inline(always)]
    pub fn write<T: Tables + ?Sized>(self, tables: &T, remote: u64) {
        if let Some(word) = self.word(tables) {
            word.store(remote);
        }
    }
    /// The remote endpoint; 0 if there is none.
    #[inline(always)]
    #[must_use]
    pub fn read<T: Tables + ?Sized>(self, tables: &T) -> u64 {
        self.word(tables).map_or(0, Word::load)
    }
}

impl<'a> Slot<'a> {
    /// Slot `at` of the bucket with these keys, whose peers are in line `peers`.
    #[inline(always)]
    pub fn new(keys: &'a Line, peers: u32, at: u32) -> Self {
        let word = keys.at(at);
        Self {
            word,
            key: SlotKey(word.load()),
            peer: Peer(u64::from(peers) * u64::from(SLOTS_PER_BUCKET) + u64::from(at)),
        }
    }
    /// True if the segment changes nothing but the stamp, and that is fresh: of which session it is need not
    /// be known.
    #[inline(always)]
    fn is_settled(&self, flags: u8, now: u32) -> bool {
        const ESTABLISHED: u64 = SlotState::TcpEstablished as u64;
        flags & (flag::SYN | flag::FIN | flag::RST) == 0
            && self.key.state() == ESTABLISHED
            && self.key.stamped(ESTABLISHED, now) == self.key
    }
}

/// Slot of an external port: its index is the port.
#[inline(always)]
pub fn by_port<'t, T: Tables + ?Sized>(
    tables: &'t T,
    slab_line: u32,
    protocol: Protocol,
    offset: u32,
) -> Option<Slot<'t>> {
    let parts = tables.parts();
    let first = parts.keys(slab_line, protocol);
    let number = first + offset / SLOTS_PER_BUCKET;
    let line = tables.line(number)?;
    let peers = parts.peers(number);
    let slot = Slot::new(line, peers, offset % SLOTS_PER_BUCKET);
    slot.key.is_live().then_some(slot)
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
    let slot = by_port(tables, slab_line, protocol, offset).ok_or(Reason::NoMapping)?;
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
pub fn refresh_outbound<T: Tables + ?Sized>(
    tables: &T,
    slot: &Slot,
    remote: u64,
    flags: Option<u8>,
    now: u32,
    features: Features,
) -> bool {
    let mut new = slot.key.stamped(slot.key.state(), now);
    if let Some(flags) = flags {
        if slot.is_settled(flags, now) {
            return true;
        }
        let first_session = peer::is_first(tables.peer(slot.peer), remote);
        if first_session {
            new = after_segment(slot.key, Direction::Outbound, flags, now);
        } else if tcp_state::is_answer(flags) {
            return true;
        } else if !slot.key.is_shared() {
            new = another_session(tables, slot, remote, flags, now, features);
        }
    } else if !slot.key.is_peer_known() {
        new = SlotKey(new.0 | look_at_peer(tables, slot, remote, new != slot.key, features));
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
fn another_session<T: Tables + ?Sized>(
    tables: &T,
    slot: &Slot,
    remote: u64,
    flags: u8,
    now: u32,
    features: Features,
) -> SlotKey {
    const CLOSING: u64 = SlotState::TcpClosing as u64;
    const TRANSITORY: u64 = SlotState::TcpTransitory as u64;
    let state = slot.key.state();
    if flags & flag::SYN != 0
        && (state == CLOSING || state == TRANSITORY)
        && !features.has(Features::SESSIONS)
    {
        // Two that write at once: the later one's session is the first then.
        slot.peer.write(tables, remote);
        return slot.key.with(SlotState::TcpInit as u64, now);
    }
    SlotKey(slot.key.with(state, now).0 | SlotKey::SHARED)
}

/// [`SlotKey::PEER_KNOWN`] if that holds from now on, else 0. Where nobody asks for peers they are written with
/// the first stamp, two seconds after the mapping was opened: many do not live so long.
#[inline(always)]
fn look_at_peer<T: Tables + ?Sized>(
    tables: &T,
    slot: &Slot,
    remote: u64,
    is_stamped: bool,
    features: Features,
) -> u64 {
    const PORT: u64 = 0xffff << 32;
    if features.has(Features::SHORT_TIMERS) {
        let peer = tables.peer(slot.peer);
        return match peer != 0 && (peer ^ remote) & PORT != 0 {
            true => SlotKey::PEER_KNOWN,
            false => 0,
        };
    }
    if !is_stamped || features.has(Features::SESSIONS) {
        return 0;
    }
    // Whoever wrote it: it is known.
    let _ = tables.write_first_peer(slot.peer, remote);
    SlotKey::PEER_KNOWN
}

/// Notes an inbound TCP segment.
#[inline(always)]
#[must_use]
pub fn refresh_inbound_tcp<T: Tables + ?Sized>(
    tables: &T,
    slot: &Slot,
    remote: u64,
    flags: u8,
    now: u32,
) -> bool {
    if slot.is_settled(flags, now) {
        return true;
    }
    let new = if peer::is_first(tables.peer(slot.peer), remote) {
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
pub fn comes_anew<T: Tables + ?Sized>(
    tables: &T,
    slot: &Slot,
    transport: &Transport,
    remote: u64,
) -> bool {
    let of_opening = flag::SYN | flag::ACK | flag::RST;
    transport.protocol == Protocol::Tcp
        && transport.flags & of_opening == flag::SYN
        && tables.peer(slot.peer) != remote
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
    if new == slot.key || slot.word.replace(slot.key.0, new.0) {
        return true;
    }
    let seen = SlotKey(slot.word.load());
    seen.is_live() && seen.inside_port() == slot.key.inside_port()
}
