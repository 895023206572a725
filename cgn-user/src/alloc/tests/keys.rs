//! Which key an address has: the newest when it gets its first block, and that one until its last
//! block is used and held no more.

use super::*;

fn scattered(addresses: u32) -> Allocator<StdRng> {
    let spec = PoolSpec {
        scattered: true,
        ..spec(addresses, 512, 2)
    };
    let mut allocator = build(spec);
    allocator.set_newest_key(1);
    allocator
}

#[test]
fn contiguous_pools_have_no_key() {
    let mut allocator = build(spec(1, 512, 2));
    allocator.set_newest_key(3);
    assert_eq!(allocator.allocate(0, 1, 0).unwrap().key, 0);
}

#[test]
fn an_address_keeps_its_key_while_a_block_is_used_or_held() {
    let mut allocator = scattered(1);
    let first = allocator.allocate(0, 1, 0).unwrap();
    let other = allocator.allocate(0, 2, 0).unwrap();
    allocator.set_newest_key(2);
    let further = allocator.allocate(0, 1, 0).unwrap();
    assert_eq!((first.key, other.key, further.key), (1, 1, 1));
    for (subscriber, block) in [(1, first.block), (1, further.block), (2, other.block)] {
        allocator
            .release(0, subscriber, first.external, block, 1_000)
            .unwrap();
    }
    assert_eq!(
        allocator.allocate(0, 3, 2_000).unwrap().key,
        1,
        "others are in hold"
    );
    let third = allocator.blocks_of(0, 3).unwrap().blocks[0].block;
    allocator
        .release(0, 3, first.external, third, 3_000)
        .unwrap();
    allocator.advance(200_000);
    assert_eq!(allocator.allocate(0, 4, 200_000).unwrap().key, 2);
}

#[test]
fn new_subscribers_mostly_go_where_the_newest_key_is() {
    let mut allocator = scattered(8);
    for subscriber in 0..80 {
        allocator.allocate(0, subscriber, 0).unwrap();
    }
    let old: BTreeSet<u32> = owners(&allocator)
        .values()
        .map(|(external, _)| *external)
        .collect();
    // Half of the addresses are emptied.
    let half: Vec<u32> = old.into_iter().take(4).collect();
    for (subscriber, (external, blocks)) in owners(&allocator) {
        if half.contains(&external) {
            allocator
                .release(0, subscriber, external, blocks[0].block, 0)
                .unwrap();
        }
    }
    allocator.advance(200_000);
    allocator.set_newest_key(2);
    let keys: Vec<u8> = (100..200)
        .map(|subscriber| allocator.allocate(0, subscriber, 200_000).unwrap().key)
        .collect();
    let new = keys.iter().filter(|key| **key == 2).count();
    // Of two addresses at random, one has it in three of four cases.
    assert!(new > 60, "{new} of 100");
}

#[test]
fn a_key_that_was_taken_over_at_start_stays() {
    let mut allocator = scattered(1);
    allocator.set_newest_key(7);
    allocator.adopt(0, 1, FIRST, 5, 0).unwrap();
    allocator.keep_key(0, FIRST, 4);
    assert_eq!(allocator.allocate(0, 1, 0).unwrap().key, 4);
    let mut allocator = scattered(1);
    allocator.set_newest_key(7);
    allocator.hold_until(0, FIRST, 5, 1_000).unwrap();
    allocator.keep_key(0, FIRST, 4);
    assert_eq!(allocator.allocate(0, 1, 0).unwrap().key, 4);
}
