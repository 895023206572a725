//! The translator of the CGN: written once, run in three homes.
//!
//! * XDP (`cgn-ebpf`) runs it over BPF maps and packet pointers,
//! * the slow path (`cgn-user`) runs it over the same maps, mmapped,
//! * tests, fuzzers and benches run it over plain memory.
//!
//! Start reading at [`path`] (the packet's way), then [`layout`] (the tables)
//! and [`verdict`] (why a packet was dropped).
//!
//! Rules of this crate: `no_std`, no allocation, no panic, no I/O, no clock of
//! its own, and no dependency but bytemuck, which proves what is plain bytes.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics))]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        internal_features,
        reason = "core::sync::atomic has no compare-and-swap on BPF"
    )
)]

pub mod access;
pub mod answers;
pub mod block;
pub mod counters;
pub mod csum;
pub mod diagnostics;
pub mod event;
pub mod forced;
pub mod frame;
pub mod guards;
pub mod ipv6;
pub mod layout;
pub mod limits;
pub mod nat;
pub mod path;
pub mod punts;
pub mod rare;
pub mod realm;
pub mod steps;
pub mod tables;
pub mod tunnels;
pub mod verdict;
pub mod watch;
pub mod wire;
pub mod word;
