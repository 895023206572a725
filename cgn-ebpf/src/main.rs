//! XDP entry points: glue only. The packet's way is `cgn_common::path`.

#![no_std]
#![no_main]

#[cfg(feature = "diagnostics")]
mod diagnostics;
mod frame;
mod maps;
mod tables;

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use cgn_common::layout::{QUEUES_PER_DEVICE, VlanKey};
use cgn_common::path;
use cgn_common::tables::Tables;
use cgn_common::verdict::{Reason, Verdict};
use cgn_common::wire::ethernet;

#[cfg(feature = "diagnostics")]
use crate::diagnostics::tell;
use crate::frame::XdpFrame;
use crate::tables::XdpTables;

/// Sockets of the inside interface come first in `SOCKETS`.
const INSIDE_SOCKETS: u32 = 0;
const OUTSIDE_SOCKETS: u32 = QUEUES_PER_DEVICE;

/// For an interface that leads to subscribers only, without VLANs.
#[xdp]
pub fn cgn_inside(ctx: XdpContext) -> u32 {
    let tables = XdpTables { ctx: ctx.ctx };
    let verdict = path::inside(&mut XdpFrame::new(ctx.ctx), &tables);
    act(ctx.ctx, &tables, verdict, INSIDE_SOCKETS)
}

/// For an interface that leads to the internet only, without VLANs.
#[xdp]
pub fn cgn_outside(ctx: XdpContext) -> u32 {
    let tables = XdpTables { ctx: ctx.ctx };
    let verdict = path::outside(&mut XdpFrame::new(ctx.ctx), &tables);
    act(ctx.ctx, &tables, verdict, OUTSIDE_SOCKETS)
}

/// For an interface with VLANs; also for both sides on one interface.
#[xdp]
pub fn cgn_vlan(ctx: XdpContext) -> u32 {
    let tables = XdpTables { ctx: ctx.ctx };
    let mut frame = XdpFrame::new(ctx.ctx);
    let verdict = path::vlan(&mut frame, &tables);
    let base = match verdict {
        Verdict::Punt(_) => socket_base(&frame, &tables),
        _ => 0,
    };
    act(ctx.ctx, &tables, verdict, base)
}

/// First socket of the interface that received a punted VLAN frame.
#[inline(always)]
fn socket_base(frame: &XdpFrame, tables: &XdpTables) -> u32 {
    let Ok(link) = ethernet::parse(frame) else {
        return 0;
    };
    let key = VlanKey {
        ifindex: tables.ingress(),
        vlans: link.vlans(),
    };
    // SAFETY: only the 4-byte socket base is read, at once.
    unsafe { maps::VLANS.get(key) }.map_or(0, |role| role.socket_base)
}

/// Turns a verdict into an XDP action.
#[inline(always)]
fn act(ctx: *mut xdp_md, tables: &XdpTables, verdict: Verdict, sockets: u32) -> u32 {
    match verdict {
        Verdict::Transmit { device, ifindex } => {
            if ifindex == tables.ingress() {
                return xdp_action::XDP_TX;
            }
            match maps::DEVICES.redirect(u32::from(device), 0) {
                Ok(action) => action,
                Err(_) => drop(tables, Reason::Internal),
            }
        }
        Verdict::Pass(_) => xdp_action::XDP_PASS,
        Verdict::Drop(reason) => {
            tell(ctx, reason);
            xdp_action::XDP_DROP
        }
        Verdict::Punt(reason) => {
            // SAFETY: the context is valid for the whole run of the program.
            let queue = unsafe { (*ctx).rx_queue_index };
            if queue >= QUEUES_PER_DEVICE {
                return drop(tables, Reason::PuntUndelivered);
            }
            match maps::SOCKETS.redirect(sockets + queue, 0) {
                Ok(action) => {
                    tell(ctx, reason);
                    action
                }
                Err(_) => drop(tables, Reason::PuntUndelivered),
            }
        }
    }
}

#[inline(always)]
fn drop(tables: &XdpTables, reason: Reason) -> u32 {
    tables.count(|c| c.stopped(reason));
    tell(tables.ctx, reason);
    xdp_action::XDP_DROP
}

/// The released object tells nothing.
#[cfg(not(feature = "diagnostics"))]
#[inline(always)]
fn tell(_ctx: *mut xdp_md, _reason: Reason) {}

/// A reachable panic would be an endless loop, which the verifier refuses: so
/// a loaded object has none.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
