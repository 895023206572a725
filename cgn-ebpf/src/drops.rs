//! Dropped packets by protocol: a global function, which the verifier checks once, so that
//! the way of a translated packet has nothing of it.

use aya_ebpf::bindings::xdp_md;
use cgn_common::counters::Kind;
use cgn_common::tables::Tables as _;
use cgn_common::verdict::Reason;

use crate::frame::XdpFrame;
use crate::tables::XdpTables;

/// Counts a dropped packet by what it carries.
#[inline(always)]
pub fn count(ctx: *mut xdp_md, reason: Reason) {
    cgn_dropped(ctx, reason as u64);
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_dropped(ctx: *mut xdp_md, reason: u64) -> u64 {
    let kind = Kind::of(&XdpFrame::new(ctx));
    XdpTables { ctx }.count(|c| c.dropped(reason as u8, kind));
    0
}
