//! Geometry, giving and taking of blocks, links, and the sweep, over private memory.

mod floods;
mod geometry;
mod growth;
mod install;
mod ipv6;
mod journal;
mod routing;
mod sessions;
mod sweep;

use std::net::Ipv4Addr;

use super::geometry::{Arrangement, Geometry, PoolShape, SubscriberShape};
use super::install::Grant;
use super::memory::Memory;

const INSIDE: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

fn addr(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

fn pool(ranges: &[(&str, &str)], block_shift: u32) -> PoolShape {
    PoolShape {
        arrangement: Arrangement::Contiguous,
        name: "main".to_owned(),
        addresses: ranges.iter().map(|(a, b)| (addr(a), addr(b))).collect(),
        block_shift,
        blocks_per_subscriber: 6,
        watermark_ports: 48,
        max_blocks: 10,
    }
}

fn subscribers(first: &str, last: &str, pool: u8) -> SubscriberShape {
    SubscriberShape {
        first: addr(first).into(),
        last: addr(last).into(),
        pool,
    }
}

/// One pool of one address with blocks of 64 ports, 16 subscribers.
fn small() -> (Geometry, Memory) {
    let pools = vec![pool(&[("203.0.113.1", "203.0.113.1")], 6)];
    installed(pools, vec![subscribers("100.64.0.0", "100.64.0.15", 0)])
}

fn installed(pools: Vec<PoolShape>, subscribers: Vec<SubscriberShape>) -> (Geometry, Memory) {
    let geometry = Geometry::new(pools, subscribers);
    let memory = Memory::private(geometry.sizes).expect("memory");
    let mut secret = 0;
    geometry.install(&memory, || {
        secret = 0x9e37_79b9_7f4a_7c15_u64.wrapping_add(secret);
        secret
    });
    (geometry, memory)
}

/// Block `number` of the external address, in slab `number`.
fn grant(number: u16) -> Grant {
    Grant {
        inside: INSIDE.into(),
        external: EXTERNAL,
        pool: 0,
        block: number,
        slab: u32::from(number),
    }
}
