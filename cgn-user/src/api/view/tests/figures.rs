//! Pools and reasons.

use cgn_common::counters::Counters;
use cgn_common::verdict::Reason;

use super::ALL;
use crate::api::fixture::Fixture;
use crate::api::view::{Selection, drops, pools};
use crate::state::{PoolStats, Stats};

#[test]
fn drops_stand_before_punts_and_passes_and_the_most_frequent_first() {
    let mut fast = Counters::ZERO;
    let mut slow = Counters::ZERO;
    fast.drops[Reason::NoMapping as usize] = [2, 2, 1, 0];
    slow.drops[Reason::NoBlock as usize] = [0, 9, 0, 0];
    fast.reasons[Reason::FirstPacket as usize] = 100;
    fast.reasons[Reason::NotIpv4 as usize] = 1000;
    let rows = drops(&fast, &slow, false);
    let brief: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.effect.as_str(),
                row.reason.as_str(),
                row.fast_path,
                row.slow_path,
            )
        })
        .collect();
    assert_eq!(
        brief,
        [
            ("drop", "no_block", 0, 9),
            ("drop", "no_mapping", 5, 0),
            ("punt", "first_packet", 100, 0),
            ("pass", "not_ipv4", 1000, 0),
        ]
    );
    assert_eq!(rows[1].help, Reason::NoMapping.help());
    assert_eq!(drops(&fast, &slow, true).len(), Reason::ALL.len());
}

#[test]
fn pools_tell_what_the_allocator_and_the_sweep_said() {
    let cgn = Fixture::new();
    let mut stats = Stats::default();
    let mut business = PoolStats::default();
    business.status.blocks_used = 3;
    business.status.counters.refused_no_slab = 4;
    business.mappings = [1, 2, 3];
    stats.pools = vec![PoolStats::default(), business];
    let rows = pools(&cgn.geometry, &stats, ALL);
    assert_eq!((rows[0].addresses, rows[0].subscriber_addresses), (4, 256));
    assert_eq!(
        (
            rows[1].blocks_used,
            rows[1].refusals.sum(),
            rows[1].mappings.icmp
        ),
        (3, 4, 3)
    );
    let only = pools(
        &cgn.geometry,
        &stats,
        Selection {
            pool: Some(1),
            ..ALL
        },
    );
    assert_eq!(only, [rows[1].clone()]);
    assert_eq!(
        pools(&cgn.geometry, &Stats::default(), ALL).len(),
        2,
        "before the engine reports"
    );
}
