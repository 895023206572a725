//! A line for each packet that is not translated. In the diagnostics object
//! only: the released one has neither this code nor the map of its lines.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;
use aya_ebpf::macros::btf_map;
use cgn_common::diagnostics::{self, Tally};
use cgn_common::frame::Frame;
use cgn_common::verdict::Reason;
use cgn_common::wire::ipv4::{self, Ipv4};
use cgn_common::wire::{Be16, ethernet, transport};

use crate::frame::XdpFrame;

#[btf_map]
static TALLIES: PerCpuArray<Tally, { diagnostics::TALLIES.entries as usize }> = PerCpuArray::new();

/// What a line says of the packet, all zero where it has no such thing.
#[derive(Clone, Copy, Default)]
struct Headers {
    protocol: u8,
    source: u32,
    destination: u32,
    source_port: u16,
    destination_port: u16,
}

/// Reads what can be read; a packet that lies may be the reason for the line.
#[inline(always)]
fn headers(frame: &XdpFrame) -> Option<Headers> {
    let link = ethernet::parse(frame).ok()?;
    if link.ethertype != ethernet::IPV4 {
        return None;
    }
    let ip: Ipv4 = frame.load(link.length)?;
    let mut headers = Headers {
        protocol: ip.protocol,
        source: ip.source.get(),
        destination: ip.destination.get(),
        ..Headers::default()
    };
    let l4 = link.length + ip.header_length();
    let port = |field: usize| frame.load::<Be16>(l4 + field).map_or(0, Be16::get);
    if ip.is_fragment() || ip.header_length() < ipv4::HEADER {
        return Some(headers);
    }
    match ip.protocol {
        transport::TCP | transport::UDP => {
            headers.source_port = port(transport::field::SOURCE_PORT);
            headers.destination_port = port(transport::field::DESTINATION_PORT);
        }
        transport::ICMP => {
            headers.source_port = port(transport::field::ICMP_IDENTIFIER);
            headers.destination_port = headers.source_port;
        }
        _ => {}
    }
    Some(headers)
}

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
    let headers = headers(&frame).unwrap_or_default();
    // SAFETY: the context is valid for the whole run of the program.
    let (ifindex, queue) = unsafe { ((*ctx).ingress_ifindex, (*ctx).rx_queue_index) };
    aya_log_ebpf::info!(
        &ctx,
        "reason {} protocol {} from {:i} {} to {:i} {} interface {} queue {} bytes {}",
        reason as u8,
        headers.protocol,
        headers.source,
        headers.source_port,
        headers.destination,
        headers.destination_port,
        ifindex,
        queue,
        bytes
    );
}
