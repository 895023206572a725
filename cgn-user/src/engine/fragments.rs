//! Fragments in the slow path: those that came before the first of their
//! datagram wait here, and packets that are too large for their way out and may
//! be fragmented are.

use cgn_common::counters::Carried;
use cgn_common::frame::{Buffer, Frame};
use cgn_common::layout::FragmentKey;
use cgn_common::realm;
use cgn_common::verdict::Reason;
use cgn_common::wire::{ethernet, ipv4};

use super::{Engine, Ran, tables};
use crate::realms::InsideKey;
use crate::slowpath::fragments::{Ended, Fragment};
use crate::slowpath::split;

impl Engine {
    /// Keeps a fragment whose datagram is not known.
    pub(super) fn hold(&mut self, port: usize, key: Option<FragmentKey>, mut frame: Vec<u8>) {
        let now = self.state.now_tick();
        let fragment = range_of(&mut frame).map(|range| Fragment { frame, port, range });
        let (Some(key), Some(fragment)) = (key, fragment) else {
            return self.count(Reason::Internal, Carried::Other, None);
        };
        self.state.stats().fragments.came_early += 1;
        let ended = self.fragments.keep(key, fragment, now);
        self.count_ended(ended);
    }

    /// Sends what waited for the fragment that was sent just now.
    pub(super) fn release(&mut self, key: Option<FragmentKey>, queue: usize) {
        let Some(key) = key.filter(|_| !self.fragments.is_empty()) else {
            return;
        };
        for fragment in self.fragments.release(&key) {
            self.state.stats().fragments.released += 1;
            let ran = self.run_copy(fragment.port, &fragment.frame, None);
            // None but the first can want a block.
            let _ = self.finish(ran, fragment.port, queue, None);
        }
    }

    /// Ends the fragments that waited in vain.
    pub(super) fn give_up_fragments(&mut self, now: u32) {
        let ended = self.fragments.expire(now);
        self.count_ended(ended);
        let (held, bytes) = self.fragments.held();
        let mut stats = self.state.stats();
        (stats.fragments.held, stats.fragments.held_bytes) = (held as u64, bytes as u64);
    }

    fn count_ended(&self, ended: Ended) {
        let Some(reason) = ended.reason else {
            return;
        };
        let tables = tables(&self.state, &self.routing, &self.vlans, &self.counted);
        let has_realms = self.state.geometry.realms.count() > 1;
        for (key, fragments) in ended.datagrams {
            let realm = has_realms.then(|| match key.is_from_inside() {
                true => realm::of_key(&tables, key.source),
                false => realm::of_external(&tables, key.destination, None),
            });
            let carried = Carried::of_protocol(key.protocol());
            for _ in 0..fragments {
                self.count(reason, carried, realm);
            }
        }
    }

    /// Fragments a packet that is larger than its next hop takes, and sends the
    /// fragments as if they had come. Returns the inside address if the first
    /// needs a block; nothing was sent then.
    pub(super) fn split(
        &mut self,
        ran: &Ran,
        port: usize,
        queue: usize,
        last: Option<Reason>,
    ) -> Option<InsideKey> {
        let Some(fragments) = split::split(&ran.bytes, ran.mtu) else {
            self.drop(Reason::TooBig, port, &ran.bytes);
            return None;
        };
        for (number, fragment) in fragments.iter().enumerate() {
            let part = self.run_copy(port, fragment, last);
            let is_sent = part.is_sent();
            let needs = self.finish(part, port, queue, last);
            if needs.is_some() {
                return needs;
            }
            if number == 0 && !is_sent {
                // Without the first, the others are of no use.
                return None;
            }
        }
        self.state.stats().fragments.split += 1;
        None
    }
}

/// Bytes of its datagram that a fragment has.
fn range_of(frame: &mut [u8]) -> Option<std::ops::Range<u32>> {
    let end = frame.len();
    let frame = Buffer::new(frame, 0, end)?;
    debug_assert!(!frame.is_empty());
    let link = ethernet::parse(&frame).ok()?;
    let ip = ipv4::parse(&frame, link.length).ok()?;
    let start = u32::from(ip.fragment_offset()) * 8;
    Some(start..start + u32::from(ip.payload_length()))
}
