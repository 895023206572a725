//! Dropped packets by protocol.

use cgn_common::counters::Kind;
use cgn_common::tables::Tables as _;
use cgn_common::verdict::Reason;

use crate::frame::XdpFrame;
use crate::tables::XdpTables;

/// Counts a dropped packet by what it carries.
#[inline(always)]
pub fn count(tables: &XdpTables, reason: Reason) {
    let kind = Kind::of(&XdpFrame::new(tables.ctx));
    tables.count(|c| c.dropped(reason as u8, kind));
}
