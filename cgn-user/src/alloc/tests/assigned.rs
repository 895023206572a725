//! Blocks that are reserved in each address, and given by name only.

use super::*;

/// Two addresses of 126 blocks, the first 120 of each reserved.
fn reserved() -> Allocator<StdRng> {
    build(PoolSpec {
        static_blocks: 120,
        ..spec(2, 512, 4)
    })
}

#[test]
fn a_subscriber_gets_its_own_block_and_further_ones_from_the_rest_of_its_address() {
    let mut allocator = reserved();
    let own = allocator.assign(0, 9, FIRST + 1, 119, 0).unwrap();
    assert_eq!(
        (own.external, own.block, own.base_port),
        (FIRST + 1, 119, 1024 + 119 * 512)
    );
    for _ in 0..3 {
        let further = allocator.allocate(0, 9, 0).unwrap();
        assert_eq!(further.external, FIRST + 1);
        assert!(further.block >= 120, "{further:?}");
    }
    assert_conserved(&allocator);
    assert!(matches!(
        allocator.allocate(0, 9, 0),
        Err(Refusal::SubscriberLimit { .. })
    ));
}

#[test]
fn what_is_not_for_the_subscriber_is_refused_and_nothing_else_happens() {
    let mut allocator = reserved();
    allocator.assign(0, 1, FIRST, 5, 0).unwrap();
    allocator.hold_until(0, FIRST, 7, 1_000).unwrap();
    let before = owners(&allocator);
    let cases = [
        ("another's block", 2, FIRST, 5),
        ("a block of another address than its own", 1, FIRST + 1, 6),
        ("a block in hold", 2, FIRST, 7),
        ("a block that anyone can get", 2, FIRST, 120),
        ("an address that is not in the pool", 2, FIRST + 2, 5),
    ];
    for (what, subscriber, external, block) in cases {
        let assigned = allocator.assign(0, subscriber, external, block, 0);
        assert!(
            matches!(assigned, Err(Refusal::AddressExhausted { .. })),
            "{what}"
        );
    }
    assert_eq!(owners(&allocator), before);
    assert_conserved(&allocator);
    allocator.assign(0, 2, FIRST, 7, 1_000).unwrap();
    assert_conserved(&allocator);
}

#[test]
fn a_block_that_could_not_be_used_is_free_again() {
    let mut allocator = reserved();
    let own = allocator.assign(0, 1, FIRST, 5, 0).unwrap();
    allocator.withdraw(0, 1, &own).unwrap();
    assert_conserved(&allocator);
    assert_eq!(allocator.status(0).unwrap().blocks_used, 0);
    assert_eq!(allocator.assign(0, 2, FIRST, 5, 0).unwrap().block, 5);
}

#[test]
fn others_than_the_rest_are_given_to_nobody_by_chance() {
    let mut allocator = reserved();
    let mut given = BTreeSet::new();
    while let Ok(got) = allocator.allocate(0, given.len() as u32, 0) {
        assert!(got.block >= 120);
        assert!(given.insert((got.external, got.block)));
    }
    assert_eq!(given.len(), 12);
    assert_conserved(&allocator);
}

#[test]
fn adopted_at_start_it_is_the_subscribers() {
    let mut allocator = reserved();
    allocator.adopt(0, 1, FIRST, 5, 0).unwrap();
    allocator.adopt(0, 1, FIRST, 121, 1).unwrap();
    assert!(allocator.assign(0, 2, FIRST, 5, 0).is_err());
    assert_eq!(allocator.blocks_of(0, 1).unwrap().blocks.len(), 2);
    assert_conserved(&allocator);
}

/// R7422-10: what alarms are told of.
#[test]
fn blocks_for_overflow_are_counted_by_themselves() {
    let mut allocator = reserved();
    let counts = |allocator: &Allocator<StdRng>| {
        let status = allocator.status(0).unwrap();
        (status.overflow_free, status.overflow_full)
    };
    assert_eq!(allocator.status(0).unwrap().overflow_total, 12);
    allocator.assign(0, 1, FIRST, 5, 0).unwrap();
    assert_eq!(
        counts(&allocator),
        (12, 0),
        "a static block is none of them"
    );
    let further: Vec<_> = (0..3)
        .map(|_| allocator.allocate(0, 1, 0).unwrap())
        .collect();
    assert_eq!(counts(&allocator), (9, 0));
    allocator.assign(0, 2, FIRST, 6, 0).unwrap();
    for _ in 0..3 {
        allocator.allocate(0, 2, 0).unwrap();
    }
    assert_eq!(
        counts(&allocator),
        (6, 1),
        "an address is full, the other one is not"
    );
    allocator.release(0, 1, FIRST, further[0].block, 0).unwrap();
    assert_eq!(counts(&allocator), (6, 1), "in hold");
    allocator.advance(HoldPolicy::default().block_hold_ms);
    assert_eq!(counts(&allocator), (7, 0));
    // Where nothing is static, there is no overflow.
    let status = build(spec(2, 512, 4)).status(0).unwrap();
    assert_eq!((status.overflow_total, status.overflow_free), (0, 0));
}
