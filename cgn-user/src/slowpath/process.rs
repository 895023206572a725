//! What happens to one punted packet. Pure: the same translator as in XDP, on
//! the same tables; no socket, no clock, no allocation of blocks.

use std::net::Ipv4Addr;

use cgn_common::block::page_of;
use cgn_common::counters::Counters;
use cgn_common::frame::Frame;
use cgn_common::layout::SubscriberHead;
use cgn_common::nat::next_hop::rows_of;
use cgn_common::path;
use cgn_common::tables::Tables;
use cgn_common::verdict::{Reason, Verdict};
use cgn_common::wire::{ethernet, ipv4};

use crate::dataplane::load::Entry;

/// What to do with the packet now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is translated: send it out of this interface.
    Send { ifindex: u32 },
    /// Its subscriber needs a block first; then process it again.
    NeedsBlock { inside: Ipv4Addr },
    /// Its next hop must be resolved first; then process it again.
    NeedsNeighbour,
    /// Only the kernel knows its route.
    NeedsRoute,
    /// It is a fragment whose datagram's first one must come first.
    NeedsFirst,
    /// It is to be fragmented first; then process the fragments.
    NeedsSplitting,
    /// It ends here, and was counted.
    Dropped(Reason),
}

/// Runs the translator on a frame that came in by `entry`. What is still to
/// be done for the packet is not counted yet; its end is.
pub fn process<F: Frame, T: Tables>(frame: &mut F, tables: &T, entry: Entry) -> Outcome {
    match path::whole(frame, tables, entry) {
        Verdict::Transmit { ifindex, .. } => Outcome::Send { ifindex },
        // What became the kernel's meanwhile: its sender tries again, and XDP passes it.
        Verdict::Drop(reason) | Verdict::Pass(reason) => Outcome::Dropped(reason),
        Verdict::Punt(reason) => {
            tables.count(|c| uncount(c, reason));
            match reason {
                Reason::FirstPacket | Reason::BlockFull => match source(frame) {
                    Some(inside) => Outcome::NeedsBlock { inside },
                    None => drop(tables, Reason::Truncated),
                },
                Reason::RouteUnknown => match without_block(frame, tables) {
                    Some(inside) => Outcome::NeedsBlock { inside },
                    None => Outcome::NeedsRoute,
                },
                Reason::FragmentUnknown => Outcome::NeedsFirst,
                Reason::Oversize => Outcome::NeedsSplitting,
                _ => Outcome::NeedsNeighbour,
            }
        }
    }
}

/// Ends a packet that waited in vain.
pub fn drop<T: Tables>(tables: &T, reason: Reason) -> Outcome {
    tables.count(|c| c.stopped(reason));
    Outcome::Dropped(reason)
}

/// XDP counted the punt; here it would be counted twice.
fn uncount(counters: &mut Counters, reason: Reason) {
    counters.reasons[reason as usize] -= 1;
}

/// Source address of a frame that the translator has parsed.
fn source<F: Frame>(frame: &F) -> Option<Ipv4Addr> {
    let link = ethernet::parse(frame).ok()?;
    let header = ipv4::parse(frame, link.length).ok()?;
    Some(Ipv4Addr::from_bits(header.source.get()))
}

/// Source of a packet from inside whose subscriber has no block. XDP knew its
/// route, but what the packet was punted for, a block, comes after the route.
fn without_block<F: Frame, T: Tables>(frame: &F, tables: &T) -> Option<Ipv4Addr> {
    let link = ethernet::parse(frame).ok()?;
    let header = ipv4::parse(frame, link.length).ok()?;
    let (source, destination) = (header.source.get(), header.destination.get());
    if rows_of(tables, destination).is_pool_address() {
        // From outside.
        return None;
    }
    let index = tables.inside_page(page_of(source))?.index_of(source)?;
    let head = SubscriberHead(tables.subscriber(index)?.head.load());
    let has_none = head.has(SubscriberHead::VALID) && head.block_count() == 0;
    has_none.then(|| Ipv4Addr::from_bits(source))
}
