//! What happens to one punted packet. Pure: the same translator as in XDP, on
//! the same tables; no socket, no clock, no allocation of blocks.

use cgn_common::block::page_of;
use cgn_common::counters::{Carried, Counters};
use cgn_common::frame::Frame;
use cgn_common::layout::SubscriberHead;
use cgn_common::nat::next_hop::rows_of;
use cgn_common::path;
use cgn_common::tables::Tables;
use cgn_common::verdict::{Reason, Verdict};
use cgn_common::wire::{ethernet, ipv4};

use crate::dataplane::load::Entry;
use crate::realms::InsideKey;
use crate::slowpath::unsolicited::read;

/// What to do with the packet now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is translated: send it out of this interface.
    Send { ifindex: u32 },
    /// Its subscriber needs a block first; then process it again.
    NeedsBlock { inside: InsideKey },
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
        Verdict::Drop(reason) => {
            path::dropped(frame, tables, reason);
            Outcome::Dropped(reason)
        }
        // What became the kernel's meanwhile: its sender tries again, and XDP passes it.
        Verdict::Pass(reason) => Outcome::Dropped(reason),
        Verdict::Punt(reason) => {
            tables.count(|c| uncount(c, reason));
            match reason {
                Reason::FirstPacket | Reason::BlockFull => match sender(frame, tables) {
                    Some(inside) => Outcome::NeedsBlock { inside },
                    None => drop(frame, tables, Reason::Truncated),
                },
                // Wherever it leads. XDP knew the route, and punted it so that its sender is told.
                Reason::RouteUnknown if has_expired(frame) => {
                    drop(frame, tables, Reason::TtlExpired)
                }
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
pub fn drop<F: Frame, T: Tables>(frame: &F, tables: &T, reason: Reason) -> Outcome {
    path::dropped(frame, tables, reason);
    Outcome::Dropped(reason)
}

/// The same of a packet that is kept as bytes, with the tables of who received it.
pub fn drop_bytes<T: Tables>(bytes: &[u8], tables: &T, reason: Reason) {
    let counted = read(bytes, |frame| path::dropped(frame, tables, reason));
    if counted.is_none() {
        tables.count(|c| c.dropped(reason, Carried::Other));
    }
}

/// What a frame carries, as far as drops are told apart.
#[must_use]
pub fn carried_by(frame: &[u8]) -> Carried {
    read(frame, |frame| Carried::of(frame)).unwrap_or(Carried::Other)
}

/// XDP counted the punt; here it would be counted twice.
fn uncount(counters: &mut Counters, reason: Reason) {
    counters.reasons[reason as usize] -= 1;
}

/// Who sent a frame from inside that the translator has parsed.
fn sender<F: Frame, T: Tables>(frame: &F, tables: &T) -> Option<InsideKey> {
    path::sender_key(frame, tables).map(InsideKey::from_bits)
}

/// True for a packet whose time to live ends here.
fn has_expired<F: Frame>(frame: &F) -> bool {
    let Ok(link) = ethernet::parse(frame) else {
        return false;
    };
    ipv4::parse(frame, link.length).is_ok_and(|header| header.ttl <= 1)
}

/// Sender of a packet from inside whose subscriber has no block. XDP knew its
/// route, but what the packet was punted for, a block, comes after the route.
fn without_block<F: Frame, T: Tables>(frame: &F, tables: &T) -> Option<InsideKey> {
    let link = ethernet::parse(frame).ok()?;
    let header = ipv4::parse(frame, link.length).ok()?;
    if rows_of(tables, header.destination.get()).is_pool_address() {
        // From outside.
        return None;
    }
    let sender = sender(frame, tables)?;
    let key = sender.to_bits();
    let index = tables.inside_page(page_of(key))?.index_of(key)?;
    let head = SubscriberHead(tables.subscriber(index)?.head.load());
    let has_none = head.has(SubscriberHead::VALID) && head.block_count() == 0;
    has_none.then_some(sender)
}
