//! Mappings, slot by slot.

use std::net::Ipv4Addr;

use cgn_common::layout::{SlotKey, SlotState};
use cgn_common::limits::{SLOTS_PER_BUCKET, TICK_SHIFT};
use cgn_common::verdict::Protocol;

use super::{Owned, Part, Selection, TRIES, View};
use crate::api::rows::{MappingRow, Page};

/// Slots of one block are numbered in the low bits of a cursor, over all
/// protocols; its row in `BLOCKS` stands above them.
const SLOT_BITS: u32 = 16;

/// What one mapping's slot says.
#[derive(Clone, Copy)]
struct Seen {
    key: SlotKey,
    peer: u64,
}

impl View<'_> {
    /// The selected mappings. `now` in ticks, of the data plane's clock.
    #[must_use]
    pub fn mappings(self, selection: Selection, part: Part, now: u32) -> Page<MappingRow> {
        let first_row = u32::try_from(part.cursor >> SLOT_BITS).unwrap_or(u32::MAX);
        let first_slot = part.cursor as u32 & ((1 << SLOT_BITS) - 1);
        let mut rows = Vec::new();
        for block in self.owned(selection, first_row) {
            let from = if block.row == first_row {
                first_slot
            } else {
                0
            };
            let before = rows.len();
            let next = self.read_slots(&block, selection, from, part.limit, now, &mut rows);
            if !self.is_still(&block) {
                rows.truncate(before);
            } else if let Some(slot) = next {
                return Page {
                    rows,
                    next_cursor: Some(u64::from(block.row) << SLOT_BITS | u64::from(slot)),
                };
            }
        }
        Page {
            rows,
            next_cursor: None,
        }
    }

    /// Adds the block's mappings from slot `from` on, up to `limit` rows in
    /// all; returns the slot to go on with.
    fn read_slots(
        self,
        block: &Owned,
        selection: Selection,
        from: u32,
        limit: usize,
        now: u32,
        rows: &mut Vec<MappingRow>,
    ) -> Option<u32> {
        let used = self.memory.room(block.slab_line)?.used();
        let wanted = selection.external_port;
        let offsets = match wanted {
            Some(port) => {
                let place = self.memory.place_of(block.pool, block.external, port);
                let offset = u32::from(place.checked_sub(block.first_place)?);
                offset..(offset + 1).min(block.ports())
            }
            None => 0..block.ports(),
        };
        for protocol in Protocol::ALL {
            let is_wanted = selection.protocol.is_none_or(|only| only == protocol);
            if !is_wanted || used.of(protocol) == 0 {
                continue;
            }
            for offset in offsets.clone() {
                let slot = protocol as u32 * block.ports() + offset;
                if slot < from {
                    continue;
                }
                let Some(seen) = self.read_slot(block, protocol, offset) else {
                    continue;
                };
                if rows.len() == limit {
                    return Some(slot);
                }
                rows.push(self.mapping_row(block, protocol, offset, seen, now));
            }
        }
        None
    }

    /// Both words of a slot with a live mapping, of one moment.
    fn read_slot(self, block: &Owned, protocol: Protocol, offset: u32) -> Option<Seen> {
        let first = self.memory.parts.keys(block.slab_line, protocol);
        let (number, at) = (first + offset / SLOTS_PER_BUCKET, offset % SLOTS_PER_BUCKET);
        let slabs = &self.memory.slabs;
        let word = slabs.get(number)?.at(at);
        let peer = slabs.get(self.memory.parts.peers(number))?.at(at);
        let mut tries = TRIES;
        loop {
            let key = SlotKey(word.load());
            if !key.is_live() {
                return None;
            }
            let peer = peer.load();
            tries -= 1;
            // A busy mapping changes its tick: what differs then is only that.
            if tries == 0 || SlotKey(word.load()) == key {
                return Some(Seen { key, peer });
            }
        }
    }

    fn mapping_row(
        self,
        block: &Owned,
        protocol: Protocol,
        offset: u32,
        seen: Seen,
        now: u32,
    ) -> MappingRow {
        let remote = (seen.peer != 0).then_some(seen.peer);
        let has_port = protocol != Protocol::Icmp;
        let who = self.geometry.realms.who(block.inside);
        MappingRow {
            protocol: protocol.name().to_owned(),
            inside: who.address,
            realm: who.realm.to_owned(),
            inside_port: seen.key.inside_port(),
            external: block.external,
            external_port: self.memory.port_of(
                block.pool,
                block.external,
                block.first_place + offset as u16,
            ),
            remote: remote.map(|peer| Ipv4Addr::from_bits(peer as u32)),
            remote_port: remote.filter(|_| has_port).map(|peer| (peer >> 32) as u16),
            state: SlotState::from_bits(seen.key.state() as u8)
                .name()
                .to_owned(),
            shared: seen.key.is_shared(),
            idle_secs: idle_secs(seen.key, now),
            pool: self.pool_name(block.pool),
        }
    }
}

/// Whole seconds since the slot's tick. A packet may have stamped it a moment
/// after `now` was read.
fn idle_secs(key: SlotKey, now: u32) -> u64 {
    let ticks = key.age(now).max(0);
    ((ticks as u64) << TICK_SHIFT) / 1_000_000_000
}
