//! What the configuration means for tables, allocator and sweep.

use cgn_common::limits::ticks;

use crate::alloc::{HoldPolicy, PoolSpec};
use crate::config::{Checked, Pool};
use crate::dataplane::geometry::{Geometry, PoolShape, SubscriberShape};
use crate::dataplane::sweep::Timers;

/// Memory of a released block is not used again for so long: packets in
/// flight may still look at it.
const SLAB_QUARANTINE_MS: u64 = 1_000;

/// Layout of the tables.
#[must_use]
pub fn geometry(checked: &Checked) -> Geometry {
    let pools = checked.config.pool.iter().map(pool_shape).collect();
    let subscribers = checked
        .subscribers
        .iter()
        .map(|range| SubscriberShape {
            first: range.range.first(),
            last: range.range.last(),
            pool: range.pool as u8,
        })
        .collect();
    Geometry::new(pools, subscribers)
}

fn pool_shape(pool: &Pool) -> PoolShape {
    let ports = u32::from(pool.block_ports);
    PoolShape {
        name: pool.name.clone(),
        addresses: pool
            .address_set()
            .ranges()
            .iter()
            .map(|range| (range.first(), range.last()))
            .collect(),
        block_shift: ports.trailing_zeros(),
        blocks_per_subscriber: u32::from(pool.blocks_per_subscriber),
        watermark_ports: (ports * u32::from(pool.watermark_percent) / 100).max(1),
        max_blocks: pool.blocks_at_once(),
    }
}

/// Pools as the allocator wants them.
#[must_use]
pub fn pool_specs(geometry: &Geometry) -> Vec<PoolSpec> {
    let spec = |pool: &PoolShape| PoolSpec {
        name: pool.name.clone(),
        addresses: pool
            .addresses
            .iter()
            .map(|(first, last)| (first.to_bits(), last.to_bits()))
            .collect(),
        block_ports: 1 << pool.block_shift,
        blocks_per_subscriber: pool.blocks_per_subscriber,
        max_blocks: pool.max_blocks,
    };
    geometry.pools.iter().map(spec).collect()
}

/// How long released blocks are held.
#[must_use]
pub fn hold_policy(checked: &Checked) -> HoldPolicy {
    HoldPolicy {
        block_hold_ms: u64::from(checked.config.hold.block_secs) * 1000,
        slab_quarantine_ms: SLAB_QUARANTINE_MS,
        ..HoldPolicy::default()
    }
}

/// Idle times of mappings and hold of ports.
#[must_use]
pub fn timers(checked: &Checked) -> Timers {
    let timeouts = &checked.config.timeouts;
    let secs = |secs: u32| ticks(u64::from(secs));
    Timers {
        udp: secs(timeouts.udp_secs),
        icmp: secs(timeouts.icmp_secs),
        tcp_established: secs(timeouts.tcp_established_secs),
        tcp_opening: secs(timeouts.tcp_opening_secs),
        tcp_closing: secs(timeouts.tcp_closing_secs),
        hold: secs(checked.config.hold.port_secs),
    }
}
