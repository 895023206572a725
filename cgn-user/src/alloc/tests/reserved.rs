//! Blocks that hold a reserved port: nobody gets one (RFC 6056 section 3.3).

use std::collections::BTreeSet;

use super::*;

/// 15 blocks of each address, of which two are reserved.
fn reserving(addresses: u32, reserved: impl IntoIterator<Item = u16>) -> PoolSpec {
    PoolSpec {
        reserved_blocks: reserved.into_iter().collect(),
        ..spec(addresses, 4_096, 4)
    }
}

#[test]
fn all_blocks_but_the_reserved_ones_are_given() {
    let mut allocator = build(reserving(2, [0, 7, 99]));
    assert_eq!(allocator.status(0).unwrap().blocks_total, 2 * 13);
    let mut given = BTreeSet::new();
    for subscriber in 0..2 * 13 {
        let got = allocator.allocate(0, subscriber, 0).unwrap();
        assert!(got.block != 0 && got.block != 7, "{got:?}");
        assert!(given.insert((got.external, got.block)));
    }
    assert_eq!(allocator.allocate(0, 99, 0), Err(Refusal::PoolExhausted));
    assert_eq!(allocator.status(0).unwrap().blocks_free, 0);
    for blocks in owners(&allocator) {
        let (subscriber, (external, blocks)) = blocks;
        allocator
            .release(0, subscriber, external, blocks[0].block, 0)
            .unwrap();
    }
    allocator.advance(200_000);
    assert_eq!(allocator.status(0).unwrap().blocks_free, 2 * 13);
}

#[test]
fn who_has_a_reserved_block_keeps_it_and_nobody_gets_it_after() {
    let mut allocator = build(reserving(1, [3]));
    allocator.adopt(0, 5, FIRST, 3, 0).unwrap();
    let status = allocator.status(0).unwrap();
    assert_eq!((status.blocks_used, status.blocks_free), (1, 14));
    let further = allocator.allocate(0, 5, 0).unwrap();
    assert_eq!(further.external, FIRST, "it is paired by that block");
    allocator.release(0, 5, FIRST, further.block, 0).unwrap();
    allocator.advance(200_000);
    assert_eq!(allocator.status(0).unwrap().addresses_used, 1);
    allocator.release(0, 5, FIRST, 3, 200_000).unwrap();
    allocator.advance(400_000);
    let status = allocator.status(0).unwrap();
    assert_eq!((status.addresses_used, status.blocks_free), (0, 14));
    for subscriber in 0..14 {
        let got = allocator.allocate(0, subscriber, 400_000).unwrap();
        assert_ne!(got.block, 3);
    }
    assert_eq!(
        allocator.allocate(0, 99, 400_000),
        Err(Refusal::PoolExhausted)
    );
}

#[test]
fn a_hold_that_the_log_tells_of_frees_no_reserved_block() {
    let mut allocator = build(reserving(1, [3]));
    allocator.hold_until(0, FIRST, 3, 1_000).unwrap();
    allocator.advance(2_000);
    let status = allocator.status(0).unwrap();
    assert_eq!((status.blocks_held, status.blocks_free), (0, 14));
}

#[test]
fn a_pool_of_reserved_blocks_only_is_refused() {
    let spec = reserving(1, 0..15);
    let built = Allocator::new(&[spec], HoldPolicy::default(), StdRng::seed_from_u64(1));
    assert!(matches!(built, Err(SpecError::AllReserved { .. })));
}
