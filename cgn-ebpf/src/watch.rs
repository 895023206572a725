//! Telling of packets while somebody watches. In the watching object only: the
//! released one has neither this code nor its maps.
//!
//! A packet is kept as it came ([`begin`]), its steps are noted ([`note`]), and where
//! its way ends it is told of if it fits ([`end`]): in this program, or in the one for
//! rare packets that the first jumped to. Nothing waits for a reader; what the ring
//! has no room for is counted.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::btf_maps::{Array, PerCpuArray, RingBuf};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_xdp_load_bytes;
use aya_ebpf::macros::btf_map;
use cgn_common::diagnostics::Tally;
use cgn_common::frame::Frame;
use cgn_common::layout::MMAPABLE;
use cgn_common::steps::{Step, Steps};
use cgn_common::watch::{self, Arrival, FRONT, Filter, MOST_BYTES, RECORD_HEADER, Record};

use crate::frame::XdpFrame;
use crate::headers;
use crate::tables::XdpTables;

#[btf_map]
static FILTER: Array<Filter, 1, { MMAPABLE as usize }> = Array::new();
#[btf_map]
static ARRIVAL: PerCpuArray<Arrival, 1> = PerCpuArray::new();
#[btf_map]
static RECORD: PerCpuArray<Record, 1> = PerCpuArray::new();
#[btf_map]
static TOLD: PerCpuArray<Tally, 1> = PerCpuArray::new();
#[btf_map]
static WATCHED: RingBuf<(), { watch::WATCHED.entries as usize }> = RingBuf::new();

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// A copy of the filter. User space may rewrite it at any time.
#[inline(always)]
fn filter() -> Option<Filter> {
    // SAFETY: the element lives as long as the program, and any bytes are a filter.
    FILTER.get_ptr(0).map(|p| unsafe { p.read_volatile() })
}

#[inline(always)]
fn arrival() -> Option<&'static mut Arrival> {
    // SAFETY: this processor's own element, and an XDP program is not interrupted by another.
    ARRIVAL.get_ptr_mut(0).map(|p| unsafe { &mut *p })
}

/// The packet as it came.
#[inline(always)]
pub fn begin(ctx: *mut xdp_md) {
    cgn_watch_begin(ctx);
}

/// Where its way ends: `verdict` as in [`Record::verdict`], `egress` as in [`Record::egress`].
#[inline(always)]
pub fn end(ctx: *mut xdp_md, verdict: u32, egress: u32) {
    cgn_watch_end(ctx, u64::from(verdict) | u64::from(egress) << 32);
}

/// Notes a step.
#[inline(always)]
pub fn note(step: Step) {
    cgn_watch_note(step as u64);
}

// Global functions: the verifier checks each once, whatever calls it how often.

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_watch_note(step: u64) -> u64 {
    if let Some(arrival) = arrival() {
        arrival.steps = Steps(arrival.steps).and_number(step).0;
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_watch_begin(ctx: *mut xdp_md) -> u64 {
    let (Some(arrival), Some(filter)) = (arrival(), filter()) else {
        return 0;
    };
    let now = now_ns();
    arrival.at_ns = 0;
    if now > filter.until_ns {
        return 0;
    }
    let frame = XdpFrame::new(ctx);
    arrival.at_ns = now;
    arrival.steps = 0;
    arrival.ends = headers::ends(&frame);
    arrival.length = frame.len() as u32;
    arrival.front_length = load::<FRONT>(ctx, arrival.front.as_mut_ptr(), FRONT as u32);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_watch_end(ctx: *mut xdp_md, ended: u64) -> u64 {
    let (Some(arrival), Some(filter)) = (arrival(), filter()) else {
        return 0;
    };
    if arrival.at_ns == 0 {
        return 0;
    }
    let now = now_ns();
    let at_ns = arrival.at_ns;
    // Whoever comes to an end without a beginning is not told of.
    arrival.at_ns = 0;
    let left = headers::ends(&XdpFrame::new(ctx));
    let came = arrival.ends;
    let tables = XdpTables { ctx };
    let owner = watch::owner_of(&tables, came.destination, came.destination_port);
    if !filter.fits(&came, &left, owner) {
        return 0;
    }
    let Some(tally) = TOLD.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this processor's own element, and an XDP program is not interrupted by another.
    let tally = unsafe { &mut *tally };
    if !tally.admit_most(now, u64::from(filter.per_second)) {
        return 0;
    }
    let Some(record) = RECORD.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: as above.
    let record = unsafe { &mut *record };
    record.at_ns = at_ns;
    record.steps = arrival.steps;
    record.took_ns = (now - at_ns) as u32;
    record.verdict = ended as u32;
    record.egress = (ended >> 32) as u32;
    // SAFETY: the context is valid for the whole run of the program.
    unsafe {
        record.ingress = (*ctx).ingress_ifindex;
        record.queue = (*ctx).rx_queue_index;
    }
    record.came = arrival.length;
    record.left = XdpFrame::new(ctx).len() as u32;
    record.front_length = arrival.front_length;
    record.front = arrival.front;
    tell(ctx, record, filter.bytes);
    0
}

/// Puts the record into the ring, with at most `most` bytes of the frame as it is now.
#[inline(always)]
fn tell(ctx: *mut xdp_md, record: &mut Record, most: u32) {
    let bytes = load::<MOST_BYTES>(ctx, record.end.as_mut_ptr(), most);
    if bytes > MOST_BYTES as u32 {
        return;
    }
    let length = RECORD_HEADER + bytes as usize;
    // SAFETY: the record is longer than `length`, and any bytes of it may be read.
    let told =
        unsafe { core::slice::from_raw_parts(core::ptr::from_mut(record).cast::<u8>(), length) };
    // A full ring refuses: the reader knows from the tally how many records there should be.
    let _ = WATCHED.output_untyped::<[u8]>(told, 0);
}

/// Copies the first bytes of the frame, at most `most` and `ROOM`, and returns how many.
#[inline(always)]
fn load<const ROOM: usize>(ctx: *mut xdp_md, to: *mut u8, most: u32) -> u32 {
    let length = XdpFrame::new(ctx).len() as u32;
    // LLVM must not know the bounds, else it leaves out what the verifier wants to see.
    let bytes = core::hint::black_box(if length < most { length } else { most });
    let bytes = if bytes > ROOM as u32 {
        ROOM as u32
    } else {
        bytes
    };
    // As one less than it is: from a comparison with 0 the verifier of 6.1 does not learn
    // that it is at least 1.
    let less = core::hint::black_box(bytes.wrapping_sub(1));
    if less >= ROOM as u32 {
        return 0;
    }
    let bytes = less + 1;
    // SAFETY: `to` has room for `ROOM` bytes.
    match unsafe { bpf_xdp_load_bytes(ctx, 0, to.cast(), bytes) } {
        0 => bytes,
        _ => 0,
    }
}
