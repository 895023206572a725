//! Next hops and their ids.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use super::MIXED;
use super::port::Side;

/// The largest id; 0 means "several or unknown" ([`MIXED`]), those above are no next hops.
pub const MAX_HOP_ID: u16 = cgn_common::layout::ROUTE_ELSEWHERE - 1;

/// All that the data plane needs to send a packet to a neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHop {
    /// The neighbour.
    pub ip: Ipv4Addr,
    /// The neighbour's Ethernet address.
    pub mac: [u8; 6],
    /// The Ethernet address to send from.
    pub src_mac: [u8; 6],
    /// The ifindex of the device that the frame leaves by.
    pub phys_ifindex: u32,
    /// That device's key in the redirect map.
    pub device: u16,
    /// The side of the NAT that it is on.
    pub side: Side,
    /// The realm that it is in.
    pub realm: u8,
    /// The VLAN ids to put on the frame, outermost first.
    pub vlans: Vec<u16>,
    /// The largest IP packet that may leave, in bytes: the smallest of the link's MTU, the route's,
    /// and what the device takes with the VLAN tags.
    pub mtu: u32,
}

/// What an id means: a neighbour, and the limit that the route puts on packet sizes. The
/// neighbour's Ethernet address is not part of it: when that changes, the id stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct HopKey {
    pub(super) ifindex: u32,
    pub(super) ip: Ipv4Addr,
    pub(super) route_mtu: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    id: u16,
    /// The generation that first did without it; `None`: in use.
    retired: Option<u64>,
}

/// Gives ids to next hops.
///
/// A neighbour keeps its id as long as possible, also over times when it is not reachable. An id
/// is given to another neighbour only when no fresh one is left, oldest retirement first, and
/// only after [`HopIds::release`] has said that no table names it any more.
#[derive(Debug)]
pub(super) struct HopIds {
    held: HashMap<HopKey, Held>,
    /// By the generation of retirement.
    retired: BTreeMap<(u64, u16), HopKey>,
    /// The first id to give out; after `limit` comes 1.
    first: u16,
    /// How many ids were ever given out.
    given: u16,
    /// The highest id to give out.
    limit: u16,
    released: u64,
}

impl HopIds {
    pub(super) fn new(limit: u16) -> Self {
        HopIds {
            held: HashMap::new(),
            retired: BTreeMap::new(),
            first: 1,
            given: 0,
            limit,
            released: 0,
        }
    }

    /// Gives out `first` before all others: those before it may mean something else in tables
    /// that a daemon before us wrote, until they are cleared.
    pub(super) fn begin_at(&mut self, first: u16) {
        self.first = first.clamp(1, self.limit);
    }

    /// The data plane's tables are those of `generation` or a later one.
    pub(super) fn release(&mut self, generation: u64) {
        self.released = self.released.max(generation);
    }

    /// Ids for all of `wanted` in `generation`; every other id retires. Those for which there is
    /// none left get [`MIXED`].
    pub(super) fn assign(
        &mut self,
        wanted: &BTreeSet<HopKey>,
        generation: u64,
    ) -> HashMap<HopKey, u16> {
        for (key, held) in &mut self.held {
            if held.retired.is_none() && !wanted.contains(key) {
                held.retired = Some(generation);
                self.retired.insert((generation, held.id), *key);
            }
        }
        // First those that have one, so that nobody else gets it.
        for key in wanted {
            if let Some(held) = self.held.get_mut(key)
                && let Some(since) = held.retired.take()
            {
                self.retired.remove(&(since, held.id));
            }
        }
        wanted
            .iter()
            .map(|key| (*key, self.id_of(*key).unwrap_or(MIXED)))
            .collect()
    }

    fn id_of(&mut self, key: HopKey) -> Option<u16> {
        if let Some(held) = self.held.get(&key) {
            return Some(held.id);
        }
        let id = if self.given < self.limit {
            let after_first = u32::from(self.first - 1) + u32::from(self.given);
            self.given += 1;
            (after_first % u32::from(self.limit)) as u16 + 1
        } else {
            let (&(since, id), &old) = self.retired.first_key_value()?;
            if since > self.released {
                return None;
            }
            self.retired.remove(&(since, id));
            self.held.remove(&old);
            id
        };
        self.held.insert(key, Held { id, retired: None });
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(last: u8) -> HopKey {
        HopKey {
            ifindex: 1,
            ip: Ipv4Addr::new(192, 0, 2, last),
            route_mtu: None,
        }
    }

    fn keys(list: &[u8]) -> BTreeSet<HopKey> {
        list.iter().map(|&last| key(last)).collect()
    }

    #[test]
    fn ids_begin_where_it_is_said_and_go_round() {
        let mut ids = HopIds::new(4);
        ids.begin_at(3);
        let got = ids.assign(&keys(&[1, 2, 3, 4, 5]), 1);
        let got: Vec<_> = (1..=5).map(|last| got[&key(last)]).collect();
        assert_eq!(got, [3, 4, 1, 2, MIXED]);
    }

    #[test]
    fn an_id_keeps_its_meaning() {
        let mut ids = HopIds::new(3);
        // (what, wanted, generation, released before, expected id of each wanted one)
        type Case<'a> = (&'a str, &'a [u8], u64, u64, &'a [u16]);
        let cases: [Case; 9] = [
            ("fresh ids", &[1, 2], 1, 0, &[1, 2]),
            ("one goes, the other stays", &[2], 2, 1, &[2]),
            ("it comes back to its own id", &[1, 2], 3, 2, &[1, 2]),
            ("fresh before retired", &[2, 3], 4, 9, &[2, 3]),
            ("1 is retired and released", &[2, 3, 4], 5, 9, &[2, 3, 1]),
            ("all in use", &[2, 3, 4, 5], 6, 9, &[2, 3, 1, MIXED]),
            ("2 and 4 retire", &[3], 12, 9, &[3]),
            ("but are not released", &[3, 5], 13, 11, &[3, MIXED]),
            (
                "the owner gets its own all the same",
                &[2, 3, 5],
                14,
                12,
                &[2, 3, 1],
            ),
        ];
        for (what, wanted, generation, released, expected) in cases {
            ids.release(released);
            let got = ids.assign(&keys(wanted), generation);
            let got: Vec<_> = wanted.iter().map(|&w| got[&key(w)]).collect();
            assert_eq!(got, expected, "{what}");
        }
    }
}
