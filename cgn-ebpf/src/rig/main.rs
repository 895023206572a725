//! Bench only: both ends of the rig, and the bare redirect that is its limit.
//!
//! The generators run under `BPF_PROG_TEST_RUN` with live frames: each run writes one whole frame
//! and redirects it into a veth pair. The sinks are XDP programs at the far ends. Every frame has
//! the number of its session in its payload, so that the sink knows which ends it should have.

#![no_std]
#![no_main]

mod crowd;
#[expect(
    dead_code,
    reason = "the other generator's file, for its arithmetic; not all of it is needed here"
)]
#[path = "../bench/plan.rs"]
mod plan;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, DevMap};
use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_xdp_adjust_tail};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use cgn_common::csum;

use crate::crowd::{
    BUCKETS, FRAME_BYTES, MAGIC, REMOTE_PORT, Run, Session, Tally, bucket_of, mixed_bytes, seen,
};

/// `BPF_F_MMAPABLE`: user space reads and writes in place.
const MMAPABLE: usize = 1 << 10;
/// Numbers of the ends in the arrays below.
const OUTSIDE: u32 = 0;
const INSIDE: u32 = 1;

/// What the generator inside, and the one outside, does next.
#[btf_map]
static RIG_RUN: Array<Run, 2, MMAPABLE> = Array::new();
/// What the sink outside, and the one inside, has seen.
#[btf_map]
static RIG_TALLY: Array<Tally, 2, MMAPABLE> = Array::new();
/// External endpoint of each session, as the responder saw it: its state table.
#[btf_map]
static RIG_SEEN: Array<u64, 1, MMAPABLE> = Array::new();
/// Devices that generators send by: outside, inside. A map of devices, since one generator may send by
/// both, and they are in two network namespaces.
#[btf_map]
static RIG_LINKS: DevMap<2> = DevMap::new();
/// Where the bare redirect sends: outside, inside.
#[btf_map]
static RIG_DEVICES: DevMap<2> = DevMap::new();

/// Bytes of the link header.
const LINK_BYTES: usize = 14;
const UDP: u64 = 17;
const TTL: u64 = 64;

/// The ends of a frame, host order.
struct Ends {
    source: u32,
    source_port: u16,
    destination: u32,
    destination_port: u16,
}

/// A subscriber's frame. (The redirect is to the device in front of the link: the device under test
/// sees it come.)
#[xdp]
pub fn rig_send(ctx: XdpContext) -> u32 {
    send(&ctx, INSIDE, asked)
}

/// A frame from the remote endpoint to what the responder has seen of the session.
#[xdp]
pub fn rig_answer(ctx: XdpContext) -> u32 {
    send(&ctx, OUTSIDE, answered)
}

/// A frame from the end that has sent fewer: with one pace for both, they take turns.
#[xdp]
pub fn rig_both(ctx: XdpContext) -> u32 {
    match next(OUTSIDE) < next(INSIDE) {
        true => send(&ctx, OUTSIDE, answered),
        false => send(&ctx, INSIDE, asked),
    }
}

/// Number of the next frame from this end.
#[inline(always)]
fn next(end: u32) -> u64 {
    // SAFETY: the element lives as long as the program, and one processor runs it.
    RIG_RUN.get_ptr(end).map_or(0, |run| unsafe { (*run).next })
}

#[inline(always)]
fn asked(session: &Session) -> Option<Ends> {
    Some(Ends {
        source: session.inside,
        source_port: session.inside_port,
        destination: session.remote,
        destination_port: REMOTE_PORT,
    })
}

/// None: the responder has not seen the session.
#[inline(always)]
fn answered(session: &Session) -> Option<Ends> {
    let seen = RIG_SEEN.get_ptr(session.number as u32)?;
    // SAFETY: the element lives as long as the program; a word.
    let seen = unsafe { seen.read_volatile() };
    (seen != 0).then_some(Ends {
        source: session.remote,
        source_port: REMOTE_PORT,
        destination: seen as u32,
        destination_port: (seen >> 32) as u16,
    })
}

/// The sink behind the device under test.
#[xdp]
pub fn rig_outside(ctx: XdpContext) -> u32 {
    receive(&ctx, OUTSIDE).unwrap_or(xdp_action::XDP_PASS)
}

/// The sink in front of it, for answers.
#[xdp]
pub fn rig_inside(ctx: XdpContext) -> u32 {
    receive(&ctx, INSIDE).unwrap_or(xdp_action::XDP_PASS)
}

/// The limit: what a device under test costs that only sends frames on, outwards.
#[xdp]
pub fn rig_out(ctx: XdpContext) -> u32 {
    forward(&ctx, OUTSIDE)
}

/// The same, inwards.
#[xdp]
pub fn rig_in(ctx: XdpContext) -> u32 {
    forward(&ctx, INSIDE)
}

/// The generator and the first link alone. The number in the frame tells that it is ours.
#[xdp]
pub fn rig_drop(ctx: XdpContext) -> u32 {
    receive(&ctx, OUTSIDE).unwrap_or(xdp_action::XDP_PASS)
}

/// Behind an interface of which nobody counts the frames.
#[xdp]
#[inline(always)]
pub fn rig_sink(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

#[inline(always)]
fn forward(ctx: &XdpContext, to: u32) -> u32 {
    let start = ctx.data();
    // ARP, too: neighbours are fixed.
    if start + LINK_BYTES > ctx.data_end() {
        return xdp_action::XDP_PASS;
    }
    // The rig's own link addresses: `mac` in tests/src/lab/bed.rs.
    let link = 2 - to as u8;
    // SAFETY: the length was checked.
    unsafe {
        (start as *mut u64).write_unaligned(u64::from_ne_bytes([2, 0, 0, 0, link, 2, 2, 0]));
        ((start + 8) as *mut u32).write_unaligned(u32::from_ne_bytes([0, 0, link, 1]));
    }
    RIG_DEVICES.redirect(to, 0).unwrap_or_else(|action| action)
}

#[inline(always)]
fn send(ctx: &XdpContext, end: u32, ends: impl FnOnce(&Session) -> Option<Ends>) -> u32 {
    let Some(run) = RIG_RUN.get_ptr_mut(end) else {
        return xdp_action::XDP_ABORTED;
    };
    // SAFETY: the element lives as long as the program, and one processor runs it.
    let run = unsafe { &mut *run };
    let frame = run.next;
    if frame >= run.end {
        return xdp_action::XDP_DROP;
    }
    let mut now = 0;
    if run.interval != 0 {
        // SAFETY: a helper without arguments.
        now = unsafe { bpf_ktime_get_ns() };
        if run.first_ns == 0 {
            run.first_ns = now;
        }
        if now < run.first_ns + ((frame * run.interval) >> 10) {
            return xdp_action::XDP_DROP;
        }
        run.last_ns = now;
    } else if frame & run.untimed == 0 {
        // SAFETY: as above.
        now = unsafe { bpf_ktime_get_ns() };
    }
    run.next = frame + 1;
    let session = run.crowd.session_of(run.first + frame);
    let Some(ends) = ends(&session) else {
        run.unknown += 1;
        return xdp_action::XDP_DROP;
    };
    let time = if frame & run.untimed == 0 { now } else { 0 };
    let payload = [
        u64::from(MAGIC) | session.number << 16 | (frame & 0xffff) << 48,
        frame >> 16 & 0xffff,
        time,
    ];
    if run.mixed != 0 && shorten(ctx, mixed_bytes(frame)).is_none() {
        return xdp_action::XDP_ABORTED;
    }
    if write(ctx, run, &ends, payload).is_none() {
        return xdp_action::XDP_ABORTED;
    }
    run.bytes += (ctx.data_end() - ctx.data()) as u64;
    RIG_LINKS.redirect(end, 0).unwrap_or_else(|action| action)
}

/// Takes the end of the frame off, so that it has so many bytes. (The kernel gives the next run of this
/// buffer all of it again.)
#[inline(always)]
fn shorten(ctx: &XdpContext, bytes: usize) -> Option<()> {
    let less = (ctx.data_end() - ctx.data()).checked_sub(bytes)?;
    // SAFETY: the context is the kernel's; no pointer into the frame is kept.
    match unsafe { bpf_xdp_adjust_tail(ctx.ctx, -(less as i32)) } {
        0 => Some(()),
        _ => None,
    }
}

/// Writes a whole frame with right checksums. The payload is 18 bytes (the last two of its
/// middle word), and zeros up to the end of a longer frame.
#[inline(always)]
fn write(ctx: &XdpContext, run: &Run, ends: &Ends, payload: [u64; 3]) -> Option<()> {
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + FRAME_BYTES > end {
        return None;
    }
    let ip_bytes = ((end - start) as u16).wrapping_sub(14);
    let udp_bytes = ip_bytes.wrapping_sub(20).to_be();
    let [length_high, length_low] = ip_bytes.to_be_bytes();
    let (source, destination) = (ends.source.to_be(), ends.destination.to_be());
    let addresses = u64::from(source) + u64::from(destination);
    let head = u64::from_ne_bytes([0x45, 0, length_high, length_low, 0, 0, 0x40, 0]);
    let time_and_protocol = TTL | UDP << 8;
    let sum = (head >> 32) + (head & 0xffff_ffff) + time_and_protocol;
    let checksum = !csum::fold(sum + addresses);
    let middle = time_and_protocol | u64::from(checksum) << 16 | u64::from(source) << 32;
    let ports =
        u64::from(ends.source_port.to_be()) | u64::from(ends.destination_port.to_be()) << 16;
    let words = |word: u64| (word >> 32) + (word & 0xffff_ffff);
    let data = words(payload[0]) + payload[1] + words(payload[2]);
    let pseudo = addresses + (UDP << 8) + u64::from(udp_bytes);
    let checksum = match !csum::fold(pseudo + ports + u64::from(udp_bytes) + data) {
        0 => 0xffff,
        sum => sum,
    };
    let transport = ports | u64::from(udp_bytes) << 32 | u64::from(checksum) << 48;
    let store = |offset: usize, word: u64| {
        // SAFETY: every offset below is at most FRAME_BYTES - 8, and the length was checked.
        unsafe { ((start + offset) as *mut u64).write_unaligned(word) };
    };
    store(0, run.link_head);
    store(6, run.link_tail);
    store(14, head);
    store(22, middle);
    // SAFETY: as in `store`.
    unsafe { ((start + 30) as *mut u32).write_unaligned(destination) };
    store(34, transport);
    store(42, payload[0]);
    store(50, payload[1]);
    store(52, payload[2]);
    Some(())
}

/// Counts a frame of the rig and drops it; None: it is not one.
#[inline(always)]
fn receive(ctx: &XdpContext, end: u32) -> Option<u32> {
    let start = ctx.data();
    if start + FRAME_BYTES > ctx.data_end() {
        return None;
    }
    let half = |offset: usize| {
        // SAFETY: every offset below is at most FRAME_BYTES - 4, and the length was checked.
        unsafe { ((start + offset) as *const u32).read_unaligned() }
    };
    let long = |offset: usize| u64::from(half(offset)) | u64::from(half(offset + 4)) << 32;
    let [first, second, version, _] = half(12).to_ne_bytes();
    let payload = long(42);
    if [first, second, version] != [8, 0, 0x45] || payload as u16 != MAGIC {
        return None;
    }
    let number = payload >> 16 & 0xffff_ffff;
    let frame = payload >> 48 | u64::from(half(50) & 0xffff) << 16;
    // SAFETY: the elements live as long as the program; one processor at a time runs it.
    let (tally, run) = unsafe {
        (
            &mut *RIG_TALLY.get_ptr_mut(end)?,
            &*RIG_RUN.get_ptr(INSIDE)?,
        )
    };
    let session = run.crowd.numbered(number & 0x3fff_ffff);
    let (source, destination) = (u32::from_be(half(26)), u32::from_be(half(30)));
    let (source_port, destination_port) = {
        let ports = half(34);
        (
            u16::from_be(ports as u16),
            u16::from_be((ports >> 16) as u16),
        )
    };
    let (near, near_port, far, far_port) = match end {
        OUTSIDE => (source, source_port, destination, destination_port),
        _ => (destination, destination_port, source, source_port),
    };
    let is_inside = near == session.inside && near_port == session.inside_port;
    let is_remote = far == session.remote && far_port == REMOTE_PORT;
    tally.frames += 1;
    tally.bytes += (ctx.data_end() - start) as u64;
    match (is_inside, is_remote) {
        (_, false) => tally.wrong += 1,
        (true, true) => tally.untouched += 1,
        (false, true) => tally.translated += 1,
    }
    if tally.check != 0 {
        note(ctx, tally, end, &session, seen(near, near_port));
    }
    time(tally, frame, long(52));
    Some(xdp_action::XDP_DROP)
}

/// Looks at the clock now and then.
#[inline(always)]
fn time(tally: &mut Tally, frame: u64, sent_ns: u64) {
    if frame & tally.untimed != 0 {
        return;
    }
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    if tally.first_ns == 0 {
        tally.first_ns = now;
        tally.first_frames = tally.frames;
    }
    tally.last_ns = now;
    tally.last_frames = tally.frames;
    if sent_ns != 0 {
        // The verifier does not know how many zeros lead; LLVM does, and leaves a bare mask out.
        let bucket = core::hint::black_box(bucket_of(now.wrapping_sub(sent_ns))) & (BUCKETS - 1);
        tally.delays[bucket] += 1;
    }
}

/// The state table's part: notes what the session became, outside; inside, that it was answered,
/// once. And looks at the checksums.
#[inline(always)]
fn note(ctx: &XdpContext, tally: &mut Tally, end: u32, session: &Session, ends: u64) {
    const ANSWERED: u64 = 1 << 49;
    if !is_sound(ctx) {
        tally.damaged += 1;
    }
    let Some(known) = RIG_SEEN.get_ptr_mut(session.number as u32) else {
        tally.wrong += 1;
        return;
    };
    // SAFETY: the element lives as long as the program; a word.
    let before = unsafe { known.read_volatile() };
    let after = match end {
        OUTSIDE => ends,
        _ => before | ANSWERED,
    };
    if before == after || (end == OUTSIDE && before != 0) {
        tally.repeated += 1;
    }
    // SAFETY: as above.
    unsafe { known.write_volatile(after) };
}

/// Whether both checksums of a frame of the shortest length are right.
#[inline(always)]
fn is_sound(ctx: &XdpContext) -> bool {
    let start = ctx.data();
    if start + FRAME_BYTES > ctx.data_end() {
        return false;
    }
    let half = |offset: usize| {
        // SAFETY: every offset below is at most FRAME_BYTES - 2, and the length was checked.
        u64::from(unsafe { ((start + offset) as *const u16).read_unaligned() })
    };
    let (mut ip, mut udp) = (0, UDP << 8);
    for word in 0..10 {
        ip += half(14 + 2 * word);
    }
    // The addresses and the length of the pseudo header, then the datagram.
    udp += half(26) + half(28) + half(30) + half(32) + half(38);
    for word in 0..13 {
        udp += half(34 + 2 * word);
    }
    csum::fold(ip) == 0xffff && csum::fold(udp) == 0xffff
}

/// See the product's: a reachable panic would not be loaded.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
