//! XDP entry points: glue only. The packet's way is `cgn_common::path`, and
//! `cgn_common::rare` for what is not the common packet.

#![no_std]
#![no_main]

#[cfg(feature = "diagnostics")]
mod diagnostics;
mod floods;
mod frame;
mod lists;
mod maps;
mod tables;
#[cfg(feature = "watch")]
mod watch;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use cgn_common::access::{self, Gate};
use cgn_common::answers;
use cgn_common::forced;
use cgn_common::ipv6;
#[cfg(feature = "watch")]
use cgn_common::layout::Features;
use cgn_common::layout::{Handed, QUEUES_PER_DEVICE, RareProgram, Side, VlanKey};
use cgn_common::path::{self, Entry, Next};
use cgn_common::rare;
use cgn_common::tables::Tables;
use cgn_common::verdict::{Reason, Verdict};
use cgn_common::wire::ethernet;

use crate::frame::XdpFrame;
use crate::tables::XdpTables;

/// Sockets of the inside interface come first in `SOCKETS`.
const INSIDE_SOCKETS: u32 = 0;
const OUTSIDE_SOCKETS: u32 = QUEUES_PER_DEVICE;

/// For an interface that leads to subscribers only, without VLANs.
#[xdp]
#[inline(always)]
pub fn cgn_inside(ctx: XdpContext) -> u32 {
    begin_behind_rules(&ctx, RareProgram::TranslateInside);
    let tables = XdpTables { ctx: ctx.ctx };
    let next = path::inside(&mut XdpFrame::new(ctx.ctx), &tables);
    go_on(&ctx, &tables, next, |_| INSIDE_SOCKETS)
}

/// For an interface that leads to the internet only, without VLANs.
#[xdp]
#[inline(always)]
pub fn cgn_outside(ctx: XdpContext) -> u32 {
    begin_behind_rules(&ctx, RareProgram::TranslateOutside);
    let tables = XdpTables { ctx: ctx.ctx };
    let next = path::outside(&mut XdpFrame::new(ctx.ctx), &tables);
    go_on(&ctx, &tables, next, |_| OUTSIDE_SOCKETS)
}

/// For an interface with VLANs; also for both sides on one interface.
#[xdp]
#[inline(always)]
pub fn cgn_vlan(ctx: XdpContext) -> u32 {
    begin_behind_rules(&ctx, RareProgram::TranslateVlan);
    let tables = XdpTables { ctx: ctx.ctx };
    let next = path::vlan(&mut XdpFrame::new(ctx.ctx), &tables);
    go_on(&ctx, &tables, next, |tables| socket_base(tables, 0))
}

/// In front of `cgn_inside` where there are access lists.
#[xdp]
#[inline(always)]
pub fn cgn_access_inside(ctx: XdpContext) -> u32 {
    enter(&ctx, Entry::Inside)
}

/// In front of `cgn_outside`, likewise.
#[xdp]
#[inline(always)]
pub fn cgn_access_outside(ctx: XdpContext) -> u32 {
    enter(&ctx, Entry::Outside)
}

/// In front of `cgn_vlan`, likewise.
#[xdp]
#[inline(always)]
pub fn cgn_access_vlan(ctx: XdpContext) -> u32 {
    enter(&ctx, Entry::Vlan)
}

/// For packets that a rule lets through untranslated, whatever the interface.
#[xdp]
#[inline(always)]
pub fn cgn_bypass(ctx: XdpContext) -> u32 {
    arrive(&ctx, RareProgram::Bypass);
    let tables = XdpTables { ctx: ctx.ctx };
    let Some(handed) = tables.handed() else {
        return drop(&tables, Reason::Internal);
    };
    let side = handed.side();
    let from = (side, handed.realm());
    let next = access::bypass(&mut XdpFrame::new(ctx.ctx), &tables, from);
    go_on(&ctx, &tables, next, |tables| {
        socket_base(tables, untagged_sockets(side))
    })
}

/// For packets that a rule wants looked into, whatever the interface.
#[xdp]
#[inline(always)]
pub fn cgn_inspect(ctx: XdpContext) -> u32 {
    arrive(&ctx, RareProgram::Inspect);
    let tables = XdpTables { ctx: ctx.ctx };
    let Some(handed) = tables.handed() else {
        return drop(&tables, Reason::Internal);
    };
    let frame = XdpFrame::new(ctx.ctx);
    if let Some(verdict) = access::inspect(&frame, &tables, handed.side()) {
        return act(&tables, verdict, |_| INSIDE_SOCKETS);
    }
    // SAFETY: nothing of this program is needed once it has jumped.
    unsafe { maps::RARE.tail_call(&ctx, handed.program()) };
    drop(&tables, Reason::Internal)
}

/// In the place of `cgn_inside` where everything goes by the slow path.
#[xdp]
#[inline(always)]
pub fn cgn_forced_inside(ctx: XdpContext) -> u32 {
    let tables = XdpTables { ctx: ctx.ctx };
    let next = forced::next(&XdpFrame::new(ctx.ctx), &tables, Entry::Inside);
    go_on(&ctx, &tables, next, |_| INSIDE_SOCKETS)
}

/// In the place of `cgn_outside`, likewise.
#[xdp]
#[inline(always)]
pub fn cgn_forced_outside(ctx: XdpContext) -> u32 {
    let tables = XdpTables { ctx: ctx.ctx };
    let next = forced::next(&XdpFrame::new(ctx.ctx), &tables, Entry::Outside);
    go_on(&ctx, &tables, next, |_| OUTSIDE_SOCKETS)
}

/// In the place of `cgn_vlan`, likewise.
#[xdp]
#[inline(always)]
pub fn cgn_forced_vlan(ctx: XdpContext) -> u32 {
    let tables = XdpTables { ctx: ctx.ctx };
    let next = forced::next(&XdpFrame::new(ctx.ctx), &tables, Entry::Vlan);
    go_on(&ctx, &tables, next, |tables| socket_base(tables, 0))
}

/// For rare packets from inside, whatever the interface.
#[xdp]
#[inline(always)]
pub fn cgn_rare_inside(ctx: XdpContext) -> u32 {
    arrive(&ctx, RareProgram::Inside);
    let tables = XdpTables { ctx: ctx.ctx };
    let next = rare::inside(&mut XdpFrame::new(ctx.ctx), &tables);
    go_on(&ctx, &tables, next, |tables| {
        socket_base(tables, INSIDE_SOCKETS)
    })
}

/// For packets from inside to a pool address, whatever the interface.
#[xdp]
#[inline(always)]
pub fn cgn_hairpin(ctx: XdpContext) -> u32 {
    arrive(&ctx, RareProgram::Hairpin);
    let tables = XdpTables { ctx: ctx.ctx };
    let next = rare::hairpin(&mut XdpFrame::new(ctx.ctx), &tables);
    go_on(&ctx, &tables, next, |tables| {
        socket_base(tables, INSIDE_SOCKETS)
    })
}

/// For rare packets from outside, whatever the interface.
#[xdp]
#[inline(always)]
pub fn cgn_rare_outside(ctx: XdpContext) -> u32 {
    arrive(&ctx, RareProgram::Outside);
    let tables = XdpTables { ctx: ctx.ctx };
    let next = rare::outside(&mut XdpFrame::new(ctx.ctx), &tables);
    go_on(&ctx, &tables, next, |tables| {
        socket_base(tables, OUTSIDE_SOCKETS)
    })
}

/// For packets that end here, and whose senders may have to be told.
#[xdp]
#[inline(always)]
pub fn cgn_refused(ctx: XdpContext) -> u32 {
    arrive(&ctx, RareProgram::Refused);
    let tables = XdpTables { ctx: ctx.ctx };
    let Some(handed) = tables.handed() else {
        return drop(&tables, Reason::Internal);
    };
    let (side, reason) = (handed.side(), answers::reason(handed.reason()));
    let verdict = rare::refused(&XdpFrame::new(ctx.ctx), &tables, side, reason);
    act(&tables, verdict, |tables| {
        socket_base(tables, untagged_sockets(side))
    })
}

/// For packets that are not IPv4, where prefixes of IPv6 are limited, whatever the interface.
#[xdp]
#[inline(always)]
pub fn cgn_ipv6(ctx: XdpContext) -> u32 {
    arrive(&ctx, RareProgram::Ipv6);
    let tables = XdpTables { ctx: ctx.ctx };
    let Some(handed) = tables.handed() else {
        return drop(&tables, Reason::Internal);
    };
    let verdict = ipv6::verdict(&XdpFrame::new(ctx.ctx), &tables, handed.side());
    act(&tables, verdict, |_| INSIDE_SOCKETS)
}

/// For fragments from inside, and packets that are to become some, whatever the interface.
#[xdp]
#[inline(always)]
pub fn cgn_fragment_inside(ctx: XdpContext) -> u32 {
    arrive(&ctx, RareProgram::FragmentInside);
    let tables = XdpTables { ctx: ctx.ctx };
    let next = rare::fragment_inside(&mut XdpFrame::new(ctx.ctx), &tables);
    go_on(&ctx, &tables, next, |tables| {
        socket_base(tables, INSIDE_SOCKETS)
    })
}

/// For fragments from outside, and packets that are to become some, whatever the interface.
#[xdp]
#[inline(always)]
pub fn cgn_fragment_outside(ctx: XdpContext) -> u32 {
    arrive(&ctx, RareProgram::FragmentOutside);
    let tables = XdpTables { ctx: ctx.ctx };
    let next = rare::fragment_outside(&mut XdpFrame::new(ctx.ctx), &tables);
    go_on(&ctx, &tables, next, |tables| {
        socket_base(tables, OUTSIDE_SOCKETS)
    })
}

/// Through the access lists, and into the translator if they let it.
#[inline(always)]
fn enter(ctx: &XdpContext, entry: Entry) -> u32 {
    begin_at_rules(ctx, entry);
    let tables = XdpTables { ctx: ctx.ctx };
    let (gate, side, realm) = access::gate(&XdpFrame::new(ctx.ctx), &tables, entry);
    let program = match gate {
        Gate::Translate => {
            // A jump of its own, to a place that the verifier knows: the kernel makes it a direct one.
            // SAFETY: nothing of this program is needed once it has jumped.
            unsafe { maps::RARE.tail_call(ctx, RareProgram::translator(entry) as u32) };
            return drop(&tables, Reason::Internal);
        }
        Gate::Bypass => {
            tables.hand_over(Handed::bypassing(side, realm));
            RareProgram::Bypass
        }
        Gate::Inspect => {
            let translator = RareProgram::translator(entry);
            tables.hand_over(Handed::on_the_way_to(side, translator));
            RareProgram::Inspect
        }
        Gate::Done(verdict) => return act(&tables, verdict, |_| INSIDE_SOCKETS),
    };
    // SAFETY: as above.
    unsafe { maps::RARE.tail_call(ctx, program as u32) };
    // It did not jump: the program is not there.
    drop(&tables, Reason::Internal)
}

/// First socket of the interface that leads to this side only.
const fn untagged_sockets(side: Side) -> u32 {
    match side {
        Side::Inside => INSIDE_SOCKETS,
        Side::Outside => OUTSIDE_SOCKETS,
    }
}

/// Ends the way, or leaves it to the program for rare packets. Only here, in [`enter`] and in
/// [`cgn_inspect`] a program jumps, for the verifier wants it in the main function.
#[inline(always)]
fn go_on(
    ctx: &XdpContext,
    tables: &XdpTables,
    next: Next,
    sockets: impl FnOnce(&XdpTables) -> u32,
) -> u32 {
    match next {
        Next::Done(verdict) => act(tables, verdict, sockets),
        Next::Rare(side, reason) => {
            let program = RareProgram::of(side, reason);
            // SAFETY: nothing of this program is needed once it has jumped.
            unsafe { maps::RARE.tail_call(ctx, program as u32) };
            // It did not jump: the program is not there.
            drop(tables, reason)
        }
        Next::Foreign(side) => {
            tables.hand_over(Handed::new(side, Reason::NotIpv4));
            // SAFETY: as above.
            unsafe { maps::RARE.tail_call(ctx, RareProgram::Ipv6 as u32) };
            // The program is not there, and nothing is limited.
            let passed = path::stop(tables, Reason::NotIpv4);
            act(tables, passed, sockets)
        }
        Next::Refused(side, reason) => {
            tables.hand_over(Handed::new(side, reason));
            // SAFETY: as above.
            unsafe { maps::RARE.tail_call(ctx, RareProgram::Refused as u32) };
            drop(tables, reason)
        }
    }
}

/// First socket of the interface that received a punted frame, by its tags;
/// `untagged` if they are none of ours.
#[inline(always)]
fn socket_base(tables: &XdpTables, untagged: u32) -> u32 {
    let Ok(link) = ethernet::parse(&XdpFrame::new(tables.ctx)) else {
        return untagged;
    };
    let key = VlanKey {
        ifindex: tables.ingress(),
        vlans: link.vlans(),
    };
    // SAFETY: only the 4-byte socket base is read, at once.
    unsafe { maps::VLANS.get(key) }.map_or(untagged, |role| role.socket_base)
}

/// Turns a verdict into an XDP action.
#[inline(always)]
fn act(tables: &XdpTables, verdict: Verdict, sockets: impl FnOnce(&XdpTables) -> u32) -> u32 {
    match verdict {
        Verdict::Transmit { device, ifindex } => {
            sent(tables.ctx, ifindex);
            if ifindex == tables.ingress() {
                return xdp_action::XDP_TX;
            }
            match maps::DEVICES.redirect(u32::from(device), 0) {
                Ok(action) => action,
                Err(_) => drop(tables, Reason::Internal),
            }
        }
        Verdict::Pass(reason) => {
            passed(tables.ctx, reason);
            xdp_action::XDP_PASS
        }
        Verdict::Drop(reason) => drop(tables, reason),
        Verdict::Punt(reason) => {
            // SAFETY: the context is valid for the whole run of the program.
            let queue = unsafe { (*tables.ctx).rx_queue_index };
            if queue >= QUEUES_PER_DEVICE {
                return drop(tables, Reason::PuntUndelivered);
            }
            match maps::SOCKETS.redirect(sockets(tables) + queue, 0) {
                Ok(action) => {
                    tell(tables.ctx, reason);
                    action
                }
                Err(_) => drop(tables, Reason::PuntUndelivered),
            }
        }
    }
}

/// The one place where packets are dropped, and counted.
#[inline(always)]
fn drop(tables: &XdpTables, reason: Reason) -> u32 {
    path::dropped(&XdpFrame::new(tables.ctx), tables, reason);
    tell(tables.ctx, reason);
    xdp_action::XDP_DROP
}

// What the diagnostics object and the watching one do here; the released one nothing.

/// A packet comes to the translator `_program`; where there are access lists it began there.
#[inline(always)]
fn begin_behind_rules(_ctx: &XdpContext, _program: RareProgram) {
    #[cfg(feature = "watch")]
    {
        let tables = XdpTables { ctx: _ctx.ctx };
        let is_watched = match tables.features().has(Features::ACCESS) {
            true => watch::is_watched(),
            false => watch::begin(_ctx.ctx),
        };
        if !is_watched {
            watch::go_on_plain(_ctx, _program as u32);
        }
    }
}

/// A packet comes to the access lists.
#[inline(always)]
fn begin_at_rules(_ctx: &XdpContext, _entry: Entry) {
    #[cfg(feature = "watch")]
    if !watch::begin(_ctx.ctx) {
        watch::go_on_plain(_ctx, cgn_common::watch::of_access(_entry));
    }
}

/// A packet comes from another program.
#[inline(always)]
fn arrive(_ctx: &XdpContext, _program: RareProgram) {
    #[cfg(feature = "watch")]
    if !watch::is_watched() {
        watch::go_on_plain(_ctx, _program as u32);
    }
}

/// It is dropped, or handed to the slow path.
#[inline(always)]
fn tell(_ctx: *mut xdp_md, _reason: Reason) {
    #[cfg(feature = "diagnostics")]
    diagnostics::tell(_ctx, _reason);
    passed(_ctx, _reason);
}

/// It is left to the kernel.
#[inline(always)]
fn passed(_ctx: *mut xdp_md, _reason: Reason) {
    #[cfg(feature = "watch")]
    watch::end(_ctx, _reason as u32, 0);
}

/// It is translated, and goes out of interface `_ifindex`.
#[inline(always)]
fn sent(_ctx: *mut xdp_md, _ifindex: u32) {
    #[cfg(feature = "watch")]
    watch::end(_ctx, cgn_common::watch::TRANSLATED, _ifindex);
}

/// A reachable panic would be an endless loop, which the verifier refuses: so
/// a loaded object has none.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
