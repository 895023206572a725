//! Everything by way of the slow path: what XDP does with a frame where
//! [`Features::FORCE_SLOW_PATH`] is set. Steps 1 and 2 of [`crate::path`] tell what is the
//! kernel's; whatever is ours to translate or to drop is punted, so that the same
//! translator in user space decides. IPv6 never is: it goes its own way ([`crate::ipv6`]). XDP has
//! programs of their own for it, which take the place of the ordinary ones: those know nothing of it.
//!
//! [`Features::FORCE_SLOW_PATH`]: crate::layout::Features::FORCE_SLOW_PATH

use crate::frame::Frame;
use crate::layout::{Features, Side};
use crate::nat::next_hop::{is_multicast, route, rows_of};
use crate::path::{self, Entry, Next, network, stop};
use crate::realm::{is_own, realm_of};
use crate::tables::{Route, Tables};
use crate::verdict::{Effect, Reason};
use crate::wire::ethernet::Ethernet;

/// What becomes of a frame that came in by `entry`: the kernel has it, or the slow path.
#[inline(always)]
pub fn next<F: Frame, T: Tables>(frame: &F, tables: &T, entry: Entry) -> Next {
    // 1 parse
    let way = match path::link_and_side(frame, tables, entry) {
        Ok((side, link)) => match classify(frame, tables, side, &link) {
            Err(Reason::NotIpv4) if tables.features().has(Features::THROTTLE_IPV6) => {
                return Next::Foreign(side);
            }
            way => way,
        },
        Err(reason) => Err(reason),
    };
    let reason = match way {
        Err(reason) if matches!(reason.effect(), Effect::Pass) => reason,
        _ => Reason::Forced,
    };
    Next::Done(stop(tables, reason))
}

/// An error says what else the frame is than a packet to be translated.
#[inline(always)]
fn classify<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    side: Side,
    link: &Ethernet,
) -> Result<(), Reason> {
    let ip = network(frame, link)?;
    let (source, destination) = (ip.source.get(), ip.destination.get());
    // 2 classify
    match side {
        // A pool address stays one, even where it is the router's, too.
        Side::Outside if rows_of(tables, destination).is_pool_address() => Ok(()),
        _ if is_multicast(destination) => Err(Reason::Multicast),
        Side::Inside if is_own(tables, realm_of(frame, tables), destination) => Err(Reason::Local),
        _ => match route(tables, source, destination) {
            Route::Local => Err(Reason::Local),
            _ => Ok(()),
        },
    }
}
