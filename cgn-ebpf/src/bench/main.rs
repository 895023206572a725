//! Bench only: a generator that writes a whole frame and then jumps, by a tail
//! call, into the program to be measured: the product's own, taken from the
//! product's object, or one of the references below. So `BPF_PROG_TEST_RUN`
//! can repeat programs that rewrite their packet, and what is measured are the
//! very instructions that run in the field.

#![no_std]
#![no_main]

mod plan;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, HashMap, ProgramArray};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use cgn_common::csum;

use crate::plan::{CHUNK_SHIFT, ERROR_BYTES, FRAME_BYTES, Flow, OFFSETS, Plan, STAMPS};

/// `BPF_F_MMAPABLE`: user space writes the plan and reads the stamps in place.
const MMAPABLE: usize = 1 << 10;

/// The plan, and the one of the far ends of hairpinned packets.
#[btf_map]
static BENCH_PLAN: Array<Plan, 2, MMAPABLE> = Array::new();
/// Offset of a flow's port in its row, by layout and number in the row, for each plan.
#[btf_map]
static BENCH_OFFSETS: Array<[u16; OFFSETS], 2, MMAPABLE> = Array::new();
/// Time at every 2^`CHUNK_SHIFT`th packet, in nanoseconds.
#[btf_map]
static BENCH_STAMPS: Array<[u64; STAMPS], 1, MMAPABLE> = Array::new();
/// The reference: an ordinary kernel hash map with one entry for each flow.
#[btf_map]
static BENCH_HASH: HashMap<Key, u64, 1> = HashMap::new();
/// The program to be measured.
#[btf_map]
static BENCH_TARGET: ProgramArray<1> = ProgramArray::new();

/// Addresses, ports and protocol as a key of 16 bytes.
type Key = [u64; 2];

const UDP: u32 = 17;
const TTL: u64 = 64;
/// Bytes of the IPv4 packet and of the UDP datagram.
const IP_BYTES: u16 = FRAME_BYTES as u16 - 14;
const UDP_BYTES: u16 = IP_BYTES - 20;
/// Not zero, so that it is updated; nobody checks it.
const UDP_CHECKSUM: u16 = 0x1234;

/// Writes the next frame of the plan and jumps into the program to be measured.
#[xdp]
pub fn bench_generator(ctx: XdpContext) -> u32 {
    if generate(&ctx).is_some() {
        // SAFETY: nothing here needs to be dropped.
        unsafe { BENCH_TARGET.tail_call(&ctx, 0) };
    }
    xdp_action::XDP_ABORTED
}

/// Does nothing: behind the generator its cost is what is subtracted from all
/// others, alone it is the least that a program can cost.
#[xdp]
pub fn bench_xdp_tx(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// One look-up of the packet's flow in the hash map.
#[xdp]
pub fn bench_hash_lookup(ctx: XdpContext) -> u32 {
    let found = match key(&ctx) {
        // SAFETY: the pointer is only compared.
        Some(key) => unsafe { BENCH_HASH.get(key) }.is_some(),
        None => false,
    };
    tx_if(found)
}

/// Puts the packet's flow into the hash map.
#[xdp]
pub fn bench_hash_fill(ctx: XdpContext) -> u32 {
    let filled = match key(&ctx) {
        Some(key) => BENCH_HASH.insert(key, 1, 0).is_ok(),
        None => false,
    };
    tx_if(filled)
}

/// Only the last run's action is seen from outside, so failures are counted.
#[inline(always)]
fn tx_if(success: bool) -> u32 {
    if success {
        return xdp_action::XDP_TX;
    }
    if let Some(plan) = BENCH_PLAN.get_ptr_mut(0) {
        // SAFETY: the element lives as long as the program, and only one processor runs it.
        unsafe { (*plan).missed += 1 };
    }
    xdp_action::XDP_ABORTED
}

#[inline(always)]
fn key(ctx: &XdpContext) -> Option<Key> {
    let start = ctx.data();
    if start + FRAME_BYTES > ctx.data_end() {
        return None;
    }
    // In halves, as they were written: a wider load would have to wait for two stores.
    let half = |offset: usize| {
        // SAFETY: every offset below is at most FRAME_BYTES - 4, and the length was checked.
        u64::from(unsafe { ((start + offset) as *const u32).read_volatile() })
    };
    Some([half(26) | half(30) << 32, half(34) | u64::from(UDP) << 32])
}

#[inline(always)]
fn generate(ctx: &XdpContext) -> Option<()> {
    let plan = BENCH_PLAN.get_ptr_mut(0)?;
    // SAFETY: the element lives as long as the program; user space writes it
    // only while no program runs.
    let plan = unsafe { &mut *plan };
    let packet = plan.next;
    plan.next = packet + 1;
    if packet & ((1 << CHUNK_SHIFT) - 1) == 0 {
        let stamps = BENCH_STAMPS.get_ptr_mut(0)?;
        let at = (packet >> CHUNK_SHIFT) as usize & (STAMPS - 1);
        // SAFETY: as above; `at` is within the array. A helper without arguments.
        unsafe { (*stamps)[at] = bpf_ktime_get_ns() };
    }
    let flow = flow_of(plan, 0, packet)?;
    if plan.icmp_error != 0 {
        return write_error(ctx, flow);
    }
    if plan.hairpin == 0 {
        return write(ctx, flow, plan.ethertype);
    }
    // SAFETY: as above.
    let far = unsafe { &*BENCH_PLAN.get_ptr(1)? };
    let flow = Plan::hairpin(flow, flow_of(far, 1, packet + 1)?);
    write(ctx, flow, plan.ethertype)
}

/// The flow of a packet by plan number `at`.
#[inline(always)]
fn flow_of(plan: &Plan, at: u32, packet: u64) -> Option<Flow> {
    let number = plan.number(packet);
    let offsets = BENCH_OFFSETS.get_ptr(at)?;
    // SAFETY: the element lives as long as the program; `offset_at` is within the array.
    let offset = unsafe { (*offsets)[number.offset_at] };
    Some(plan.flow(number, offset))
}

/// Writes all headers in words that hold the fields a translator reads, so
/// that a load can take its value from the store before it.
#[inline(always)]
fn write(ctx: &XdpContext, flow: Flow, ethertype: u64) -> Option<()> {
    let start = ctx.data();
    if start + FRAME_BYTES > ctx.data_end() {
        return None;
    }
    let (source, destination) = (flow.source.to_be(), flow.destination.to_be());
    let [length_high, length_low] = IP_BYTES.to_be_bytes();
    let head = u64::from_ne_bytes([0x45, 0, length_high, length_low, 0, 0, 0x40, 0]);
    let time_and_protocol = TTL | u64::from(UDP) << 8;
    let sum = (head >> 32) + (head & 0xffff_ffff) + time_and_protocol;
    let checksum = !csum::fold(sum + u64::from(source) + u64::from(destination));
    let middle = time_and_protocol | u64::from(checksum) << 16 | u64::from(source) << 32;
    let transport = u64::from(flow.source_port.to_be())
        | u64::from(flow.destination_port.to_be()) << 16
        | u64::from(UDP_BYTES.to_be()) << 32
        | u64::from(UDP_CHECKSUM) << 48;
    let store = |offset: usize, word: u64| {
        // SAFETY: every offset below is at most FRAME_BYTES - 8, and the length was checked.
        unsafe { ((start + offset) as *mut u64).write_unaligned(word) };
    };
    // Locally administered addresses 02:..:01 and 02:..:02, then EtherType IPv4.
    store(0, u64::from_ne_bytes([2, 0, 0, 0, 0, 1, 2, 0]));
    store(
        6,
        u64::from_ne_bytes([2, 0, 0, 0, 0, 2, 0, 0]) | ethertype << 48,
    );
    store(14, head);
    store(22, middle);
    // SAFETY: as in `store`.
    unsafe { ((start + 30) as *mut u32).write_unaligned(destination) };
    store(34, transport);
    Some(())
}

/// Writes an ICMP error, "port unreachable", of the flow's source about a packet that its
/// destination sent to it.
#[inline(always)]
fn write_error(ctx: &XdpContext, flow: Flow) -> Option<()> {
    const ICMP: u64 = 1;
    const BYTES: u16 = ERROR_BYTES as u16 - 14;
    let start = ctx.data();
    if start + ERROR_BYTES > ctx.data_end() {
        return None;
    }
    let (near, far) = (flow.destination.to_be(), flow.source.to_be());
    let header = |bytes: u16, protocol: u64, source: u32| {
        let [high, low] = bytes.to_be_bytes();
        let head = u64::from_ne_bytes([0x45, 0, high, low, 0, 0, 0x40, 0]);
        let time_and_protocol = TTL | protocol << 8;
        let addresses = u64::from(near) + u64::from(far);
        let sum = (head >> 32) + (head & 0xffff_ffff) + time_and_protocol + addresses;
        let checksum = u64::from(!csum::fold(sum));
        (
            head,
            time_and_protocol | checksum << 16 | u64::from(source) << 32,
        )
    };
    let (outer_head, outer_middle) = header(BYTES, ICMP, far);
    let (inner_head, inner_middle) = header(IP_BYTES, u64::from(UDP), near);
    let transport = u64::from(flow.destination_port.to_be())
        | u64::from(flow.source_port.to_be()) << 16
        | u64::from(UDP_BYTES.to_be()) << 32
        | u64::from(UDP_CHECKSUM) << 48;
    let words = |word: u64| (word >> 32) + (word & 0xffff_ffff);
    // A right IPv4 header sums up to nothing: left are type and code, and the datagram.
    let kind = u64::from(u16::from_ne_bytes([3, 3]));
    let checksum = u64::from(!csum::fold(kind + words(transport)));
    let store = |offset: usize, word: u64| {
        // SAFETY: every offset below is at most ERROR_BYTES - 8, and the length was checked.
        unsafe { ((start + offset) as *mut u64).write_unaligned(word) };
    };
    store(0, u64::from_ne_bytes([2, 0, 0, 0, 0, 1, 2, 0]));
    store(6, u64::from_ne_bytes([2, 0, 0, 0, 0, 2, 8, 0]));
    store(14, outer_head);
    store(22, outer_middle);
    store(30, u64::from(near) | (kind | checksum << 16) << 32);
    store(38, inner_head << 32);
    store(42, inner_head);
    store(50, inner_middle);
    // SAFETY: as in `store`.
    unsafe { ((start + 58) as *mut u32).write_unaligned(far) };
    store(62, transport);
    Some(())
}

/// See the product's: a reachable panic would not be loaded.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
