//! A copy of that part of the live tables that a packet and its answer can touch.
//! The translator runs on the copy, so nothing that it does is seen by traffic.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use cgn_common::block::{block_of, page_of};
use cgn_common::layout::{
    BlockEntry, OwnedBlock, RULES, Rows, Side, SubscriberHead, THROTTLED_LENGTHS,
};
use cgn_common::limits::MAX_BLOCKS_PER_SUBSCRIBER;
use cgn_common::nat::throttle;

use crate::dataplane::geometry::Geometry;
use crate::dataplane::memory::Memory;
use crate::dataplane::sessions::Sessions;
use crate::realms::InsideKey;

/// The tables that are copied to, and where from.
struct Copy<'a> {
    live: &'a Memory,
    own: Memory,
    geometry: &'a Geometry,
}

/// What a packet of the subscriber `inside`, if it is from one, with these `ends` can touch, and its answer:
/// both their entries, all blocks of the subscribers who they are or who have
/// them, and the small tables whole. `session_room` more sessions fit.
///
/// # Errors
/// Out of memory.
pub fn copy(
    live: &Arc<Memory>,
    geometry: &Geometry,
    session_room: usize,
    inside: Option<InsideKey>,
    ends: [(Ipv4Addr, u16); 2],
) -> io::Result<Memory> {
    let mut own = Memory::private(geometry.sizes)?;
    own.sessions = Sessions::over(Arc::clone(live), session_room);
    own.constants = live.constants;
    let copy = Copy {
        live,
        own,
        geometry,
    };
    copy.small_tables();
    let realm = inside.map_or(0, |inside| geometry.realms.who(inside).number);
    inside
        .into_iter()
        .for_each(|inside| copy.subscriber(inside));
    for (address, port) in ends {
        copy.subscriber(address.into());
        copy.external(address);
        copy.newcomers(Side::Outside, address.to_bits());
        copy.rated(address, realm);
        if let Some(owner) = copy.owner(address, port) {
            copy.subscriber(owner);
        }
    }
    Ok(copy.own)
}

impl Copy<'_> {
    fn small_tables(&self) {
        let (live, own) = (self.live, &self.own);
        own.settings.copy_from(&live.settings, 0..1);
        own.answers
            .copy_from(&live.answers, 0..live.answers.len() as u32);
        own.access.copy_from(&live.access, 0..1);
        own.prefixes
            .copy_from(&live.prefixes, 0..live.prefixes.len() as u32);
        for line in 0..live.realms.len() as u32 {
            if let Some(halves) = live.realms.read(line) {
                own.realms.write(line, halves);
            }
        }
        own.ids.copy_from(&live.ids, 0..live.ids.len() as u32);
        for line in 0..live.routes.len() as u32 {
            if let Some(routes) = live.routes.read(line) {
                own.routes.write(line, routes);
            }
        }
        for number in 0..live.next_hops.len() as u32 {
            // Most are empty, and so are the new ones.
            if live
                .next_hops
                .get(number)
                .is_some_and(|hop| hop.side() != 0)
            {
                own.next_hops.copy_from(&live.next_hops, number..number + 1);
            }
        }
    }

    /// What limits the prefixes of a source: inside a key, outside an address.
    fn newcomers(&self, side: Side, source: u32) {
        let secret = self.secret();
        self.cells((0..THROTTLED_LENGTHS.len()).flat_map(|at| {
            let prefix = throttle::prefix_of(at, source);
            throttle::cells_of(secret, side, at, prefix)
        }));
    }

    /// What rules with a rate count of an address of a realm.
    fn rated(&self, address: Ipv4Addr, realm: u8) {
        let secret = self.secret();
        let rules = 0..RULES as u32;
        self.cells(
            rules.flat_map(|rule| throttle::cells_of_rule(secret, rule, realm, address.to_bits())),
        );
    }

    fn secret(&self) -> u64 {
        self.own.settings.get(0).map_or(0, |s| s.id_secret.load())
    }

    fn cells(&self, cells: impl Iterator<Item = u32>) {
        for cell in cells {
            let (live, own) = (&self.live.newcomers, &self.own.newcomers);
            own.copy_from(live, cell..cell + 1);
        }
    }

    /// A subscriber with all its blocks and what limits its prefixes; nothing if it is none.
    fn subscriber(&self, inside: InsideKey) {
        let page = page_of(inside.to_bits());
        if let Some(directory) = self.live.inside_pages.read(page) {
            self.own.inside_pages.write(page, directory);
        }
        let Some(index) = self.geometry.subscriber_index(inside) else {
            return;
        };
        self.newcomers(Side::Inside, inside.to_bits());
        self.own
            .subscribers
            .copy_from(&self.live.subscribers, index..index + 1);
        // From the copy, so that head and blocks are of one moment with what follows.
        let Some(subscriber) = self.own.subscribers.get(index) else {
            return;
        };
        let head = SubscriberHead(subscriber.head.load());
        let count = (head.block_count() as usize).min(MAX_BLOCKS_PER_SUBSCRIBER);
        if count > 0 {
            self.external(Ipv4Addr::from_bits(head.external()));
        }
        self.own
            .further_blocks
            .copy_from(&self.live.further_blocks, index..index + 1);
        self.own
            .quotas
            .copy_from(&self.live.quotas, index..index + 1);
        for block in self.own.owned_blocks(index).take(count) {
            let first = OwnedBlock(block.load()).slab_line();
            for lines in self.own.parts.lines_of(first, head.block_shift()) {
                self.own.slabs.copy_from(&self.live.slabs, lines);
            }
            if let (Some(own), Some(live)) = (self.own.room(first), self.live.room(first)) {
                own.begin(live.limits());
                own.set_used(live.used());
            }
        }
    }

    /// An external address with the entries of all its blocks; nothing if it is none.
    fn external(&self, external: Ipv4Addr) {
        let page = page_of(external.to_bits());
        if let Some(directory) = self.live.outside_pages.read(page) {
            self.own.outside_pages.write(page, directory);
        }
        let Some(index) = self.geometry.external_index(external) else {
            return;
        };
        self.own
            .externals
            .copy_from(&self.live.externals, index..index + 1);
        self.own
            .scatterings
            .copy_from(&self.live.scatterings, index..index + 1);
        self.own
            .unsolicited
            .copy_from(&self.live.unsolicited, index..index + 1);
        let rows = self.rows(external);
        let (first, count) = (rows.first_row(), rows.blocks());
        self.own
            .blocks
            .copy_from(&self.live.blocks, first..first + count);
    }

    fn rows(&self, external: Ipv4Addr) -> Rows {
        let index = self.geometry.external_index(external);
        let entry = index.and_then(|index| self.own.externals.get(index));
        entry.map_or(Rows(0), |entry| Rows(entry.0.load()))
    }

    /// The subscriber who has a port of an external address.
    fn owner(&self, external: Ipv4Addr, port: u16) -> Option<InsideKey> {
        let rows = self.rows(external);
        if !rows.is_pool_address() {
            return None;
        }
        let place = self.own.place_of(rows.pool(), external, port);
        let row = rows.first_row() + block_of(place, rows.block_shift())?;
        let (slab_line, inside) = self.own.blocks.get(row).map(BlockEntry::read)?;
        (slab_line != 0).then(|| InsideKey::from_bits(inside))
    }
}
