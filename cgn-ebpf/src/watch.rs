//! Telling of packets while somebody watches. In the watching object only: the
//! released one has neither this code nor its maps.
//!
//! A packet that may be wanted is kept as it came ([`begin`]), its steps are noted ([`note`]),
//! and where its way ends it is told of if it fits ([`end`]): in this program, or in the one
//! for rare packets that the first jumped to. One record is for all whose filters it fits.
//! What is in nobody's sample goes on in the plain programs ([`PLAIN`]).
//! Nothing waits for a reader; what the ring has no room for is counted.

use aya_ebpf::bindings::{BPF_RB_NO_WAKEUP, xdp_md};
use aya_ebpf::btf_maps::{Array, PerCpuArray, ProgramArray, RingBuf};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_xdp_load_bytes};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::XdpContext;
use cgn_common::diagnostics::Tally;
use cgn_common::frame::Frame;
use cgn_common::layout::MMAPABLE;
use cgn_common::steps::{Step, Steps};
use cgn_common::watch::{
    self, Arrival, Draws, Ends, FRONT, Filter, Filters, Head, MOST_BYTES, Record, TRANSLATED,
    WATCHERS, details,
};

use crate::frame::XdpFrame;
use crate::tables::XdpTables;

#[btf_map]
static FILTERS: Array<Filters, 1, { MMAPABLE as usize }> = Array::new();
#[btf_map]
static DRAWS: PerCpuArray<Draws, 1> = PerCpuArray::new();
#[btf_map]
static ARRIVAL: PerCpuArray<Arrival, 1> = PerCpuArray::new();
#[btf_map]
static RECORD: PerCpuArray<Record, 1> = PerCpuArray::new();
#[btf_map]
static TOLD: PerCpuArray<Tally, WATCHERS> = PerCpuArray::new();
#[btf_map]
static WATCHED: RingBuf<(), { watch::WATCHED.entries as usize }> = RingBuf::new();
#[btf_map]
static PLAIN: ProgramArray<{ watch::PLAIN.entries as usize }> = ProgramArray::new();

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// A filter; `None`: there are no more. User space may rewrite it at any time; it shuts a
/// filter before it writes another one there. Not a copy: the stack has no room for one
/// below all programs.
#[inline(always)]
fn filter(number: usize) -> Option<&'static Filter> {
    let filters = FILTERS.get_ptr(0)?;
    if number >= WATCHERS {
        return None;
    }
    // SAFETY: the element lives as long as the program, any bytes are a count and
    // filters, and the number is one of theirs.
    unsafe {
        let count = (&raw const (*filters).count).read_volatile();
        if number as u64 >= count {
            return None;
        }
        Some(&*(&raw const (*filters).filters).cast::<Filter>().add(number))
    }
}

/// See [`Filters::generation`].
#[inline(always)]
fn generation() -> u64 {
    // SAFETY: the element lives as long as the program, and any bytes are a number.
    FILTERS.get_ptr(0).map_or(0, |filters| unsafe {
        (&raw const (*filters).generation).read_volatile()
    })
}

#[inline(always)]
fn draws() -> Option<&'static mut Draws> {
    // SAFETY: this processor's own element, and an XDP program is not interrupted by another.
    DRAWS.get_ptr_mut(0).map(|p| unsafe { &mut *p })
}

#[inline(always)]
fn arrival() -> Option<&'static mut Arrival> {
    // SAFETY: as above.
    ARRIVAL.get_ptr_mut(0).map(|p| unsafe { &mut *p })
}

#[inline(always)]
fn record() -> Option<&'static mut Record> {
    // SAFETY: as above.
    RECORD.get_ptr_mut(0).map(|p| unsafe { &mut *p })
}

/// The ends of a packet, if they decide who is told.
#[inline(always)]
fn ends(frame: &XdpFrame, details: u32) -> Ends {
    match details & details::ENDS {
        0 => Ends::default(),
        _ => Ends::of(frame),
    }
}

/// The packet as it came; false: nobody wants it.
#[inline(always)]
pub fn begin(ctx: *mut xdp_md) -> bool {
    draws().is_some_and(|draws| draws.is_due(generation())) && cgn_watch_begin(ctx) != 0
}

/// Leaves a packet that nobody wants to the plain program of this number, and does not return. If
/// that is not there, the caller does the same, and tells nobody.
#[inline(always)]
pub fn go_on_plain(ctx: &XdpContext, program: u32) {
    // SAFETY: nothing of the calling program is needed once it has jumped.
    unsafe { PLAIN.tail_call(ctx, program) };
}

/// Whether somebody may want the packet that is on its way.
#[inline(always)]
pub fn is_watched() -> bool {
    arrival().is_some_and(|arrival| arrival.at_ns != 0)
}

/// Where its way ends: `verdict` as in [`Record::verdict`], `egress` as in [`Record::egress`].
#[inline(always)]
pub fn end(ctx: *mut xdp_md, verdict: u32, egress: u32) {
    cgn_watch_end(ctx, u64::from(verdict) | u64::from(egress) << 32);
}

/// Notes a step.
#[inline(always)]
pub fn note(step: Step) {
    if let Some(arrival) = arrival() {
        arrival.steps = Steps(arrival.steps).and(step).0;
    }
}

// Global functions: the verifier checks each once, whatever calls it how often. What they
// find stands in [`Arrival`], for of that the verifier keeps no account: in a loop over all
// watchers, it would follow each set of them. The first watcher, mostly the only one, is
// asked without a call.

/// Notes whether the packet that comes now is in the sample of watcher `number`, and his
/// filter open. `is_new`: filters are not what they were. False: there is no such watcher.
#[inline(always)]
fn open(number: usize, now: u64, is_new: bool) -> bool {
    let (Some(arrival), Some(draws)) = (arrival(), draws()) else {
        return false;
    };
    let Some(filter) = filter(number) else {
        return false;
    };
    // SAFETY: a helper without arguments.
    let chance = unsafe { bpf_get_prandom_u32() };
    if draws.takes(number, filter, is_new, chance) && filter.is_open(now) {
        arrival.watchers |= 1_u32.wrapping_shl(number as u32);
        arrival.details |= filter.details;
    }
    true
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_watch_open(number: u64, now: u64, is_new: u64) -> u64 {
    u64::from(open(number as usize, now, is_new != 0))
}

/// Returns 0 if nobody wants the packet.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_watch_begin(ctx: *mut xdp_md) -> u64 {
    let (Some(arrival), Some(draws)) = (arrival(), draws()) else {
        return 0;
    };
    let (now, generation) = (now_ns(), generation());
    let is_new = draws.generation != generation;
    (draws.generation, draws.next) = (generation, u64::MAX);
    arrival.at_ns = 0;
    (arrival.watchers, arrival.details) = (0, 0);
    if !open(0, now, is_new) {
        return 0;
    }
    for number in 1..WATCHERS {
        if filter(number).is_none() {
            break;
        }
        cgn_watch_open(number as u64, now, u64::from(is_new));
    }
    // Again, for the calls have written it.
    let (Some(arrival), Some(record)) = (self::arrival(), record()) else {
        return 0;
    };
    if arrival.watchers == 0 {
        return 0;
    }
    let frame = XdpFrame::new(ctx);
    arrival.at_ns = now;
    arrival.steps = 0;
    (arrival.told, arrival.bytes) = (0, 0);
    arrival.ends = ends(&frame, arrival.details);
    arrival.length = frame.len() as u32;
    record.head.front_length = match arrival.details & details::CAME {
        0 => 0,
        _ => load::<FRONT>(ctx, record.frames.as_mut_ptr().cast(), FRONT as u32),
    };
    1
}

/// Notes whether the packet is told to watcher `number`, and counts it. `owner` as in
/// [`Filter::fits`].
#[inline(always)]
fn ask(number: usize, owner: u32) {
    let (Some(arrival), Some(filter)) = (arrival(), filter(number)) else {
        return;
    };
    let bit = 1_u32.wrapping_shl(number as u32);
    let (came, left) = (&arrival.ends, &arrival.left);
    if arrival.watchers & bit == 0
        || !filter.fits(came, left, owner)
        || !filter.has_flow(came, left)
    {
        return;
    }
    let Some(tally) = TOLD.get_ptr_mut(number as u32) else {
        return;
    };
    // SAFETY: this processor's own element, and an XDP program is not interrupted by another.
    let tally = unsafe { &mut *tally };
    if tally.admit_most(arrival.left_ns, u64::from(filter.per_second)) {
        arrival.told |= bit;
        arrival.bytes = arrival.bytes.max(filter.bytes);
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_watch_ask(number: u64, owner: u64) -> u64 {
    ask(number as usize, owner as u32);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_watch_end(ctx: *mut xdp_md, ended: u64) -> u64 {
    let Some(arrival) = arrival() else {
        return 0;
    };
    if arrival.at_ns == 0 {
        return 0;
    }
    let at_ns = arrival.at_ns;
    // Whoever comes to an end without a beginning is not told of.
    arrival.at_ns = 0;
    arrival.left = ends(&XdpFrame::new(ctx), arrival.details);
    arrival.left_ns = match arrival.details & details::TIMES {
        0 => at_ns,
        _ => now_ns(),
    };
    let verdict = ended as u32;
    let owner = match verdict {
        _ if arrival.details & details::ENDS == 0 => 0,
        // It has the subscriber's address by now.
        TRANSLATED => 0,
        _ => {
            let came = &arrival.ends;
            watch::owner_of(&XdpTables { ctx }, came.destination, came.destination_port)
        }
    };
    let watchers = arrival.watchers;
    ask(0, owner);
    for number in 1..WATCHERS {
        if watchers >> number == 0 {
            break;
        }
        cgn_watch_ask(number as u64, u64::from(owner));
    }
    // Again, for the calls have written it.
    let Some(arrival) = self::arrival() else {
        return 0;
    };
    if arrival.told == 0 {
        return 0;
    }
    let Some(record) = record() else {
        return 0;
    };
    // SAFETY: the context is valid for the whole run of the program. Volatile, for the
    // verifier takes no load of two fields in one.
    let (ingress, queue) = unsafe {
        (
            (&raw const (*ctx).ingress_ifindex).read_volatile(),
            (&raw const (*ctx).rx_queue_index).read_volatile(),
        )
    };
    let head = &mut record.head;
    head.at_ns = at_ns;
    head.steps = arrival.steps;
    head.took_ns = (arrival.left_ns - at_ns) as u32;
    head.verdict = verdict;
    head.ingress = ingress;
    head.queue = queue;
    head.egress = (ended >> 32) as u32;
    head.came = arrival.length;
    head.left = XdpFrame::new(ctx).len() as u32;
    head.watchers = arrival.told;
    tell(ctx, record, arrival.bytes);
    0
}

/// Puts the record into the ring, with at most `most` bytes of the frame as it is now.
#[inline(always)]
fn tell(ctx: *mut xdp_md, record: &mut Record, most: u32) {
    let front = core::hint::black_box(record.head.front_length);
    if front > FRONT as u32 {
        return;
    }
    // SAFETY: there is room for [`FRONT`] bytes, and for the frame behind them.
    let end = unsafe { record.frames.as_mut_ptr().cast::<u8>().add(front as usize) };
    let bytes = load::<MOST_BYTES>(ctx, end, most);
    let length = core::hint::black_box(size_of::<Head>() as u32 + front + bytes);
    if length > size_of::<Record>() as u32 {
        return;
    }
    let record = core::ptr::from_mut(record).cast::<u8>();
    // SAFETY: the record is no shorter than `length`, and any bytes of it may be read.
    let told = unsafe { core::slice::from_raw_parts(record, length as usize) };
    // A full ring refuses: the reader knows from the tallies how many records there should be.
    // He looks every few milliseconds: to wake him would cost the packet more than all of this.
    let _ = WATCHED.output_untyped::<[u8]>(told, u64::from(BPF_RB_NO_WAKEUP));
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
