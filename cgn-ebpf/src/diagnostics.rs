//! A line for each packet that is not translated. In the diagnostics object
//! only: the released one has neither this code nor the map of its lines.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;
use aya_ebpf::macros::btf_map;
use cgn_common::diagnostics::{self, Tally};
use cgn_common::frame::Frame;
use cgn_common::verdict::Reason;
use cgn_common::watch::Ends;

use crate::frame::XdpFrame;

#[btf_map]
static TALLIES: PerCpuArray<Tally, { diagnostics::TALLIES.entries as usize }> = PerCpuArray::new();

#[inline(always)]
fn is_admitted() -> bool {
    let Some(tally) = TALLIES.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: a helper without arguments.
    let now_ns = unsafe { bpf_ktime_get_coarse_ns() };
    // SAFETY: this processor's own element, and an XDP program is not interrupted by another.
    unsafe { &mut *tally }.admit(now_ns)
}

/// Writes the line. A function of its own, because the macro needs much stack.
/// `cgn_user::dataplane::diagnostics` reads these words, in this order.
#[inline(never)]
pub fn tell(ctx: *mut xdp_md, reason: Reason) {
    if !is_admitted() {
        return;
    }
    let frame = XdpFrame::new(ctx);
    let bytes = frame.len() as u32;
    let ends = Ends::of(&frame);
    // SAFETY: the context is valid for the whole run of the program.
    let (ifindex, queue) = unsafe { ((*ctx).ingress_ifindex, (*ctx).rx_queue_index) };
    aya_log_ebpf::info!(
        &ctx,
        "reason {} protocol {} from {:i} {} to {:i} {} interface {} queue {} bytes {}",
        reason as u8,
        ends.protocol,
        ends.source,
        ends.source_port,
        ends.destination,
        ends.destination_port,
        ifindex,
        queue,
        bytes
    );
}
