//! The allocator as a whole: cases. How it chooses, and at what effort, is in
//! `distribution`; the comparison with a naive reference is in `model`.

mod assigned;
mod distribution;
mod keys;
mod model;
mod reserved;

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

const FIRST: u32 = 0xcb00_7100;

fn spec(addresses: u32, block_ports: u32, blocks_per_subscriber: u32) -> PoolSpec {
    PoolSpec {
        scattered: false,
        static_blocks: 0,
        name: "residential".into(),
        addresses: vec![(FIRST, FIRST + addresses - 1)],
        block_ports,
        blocks_per_subscriber,
        reserved_blocks: BTreeSet::new(),
        max_blocks: addresses * (USABLE_PORTS / block_ports),
    }
}

fn build(spec: PoolSpec) -> Allocator<StdRng> {
    Allocator::new(&[spec], HoldPolicy::default(), StdRng::seed_from_u64(42)).unwrap()
}

fn assert_conserved<R: CryptoRng>(allocator: &Allocator<R>) {
    let status = allocator.status(0).unwrap();
    assert_eq!(
        status.blocks_used + status.blocks_held + status.blocks_free,
        status.blocks_total,
        "{status:?}"
    );
}

#[test]
fn every_block_of_a_pool_can_be_allocated_and_then_others_are_refused_and_nothing_else_happens() {
    for (addresses, block_ports) in [(1, 64_512), (1, 64), (3, 512), (16, 4_096), (2, 1_000)] {
        let mut allocator = build(spec(addresses, block_ports, 1));
        let total = addresses * (USABLE_PORTS / block_ports);
        let mut ports = BTreeSet::new();
        let mut slabs = BTreeSet::new();
        for subscriber in 0..total {
            let got = allocator.allocate(0, subscriber, 0).unwrap();
            let first = FIRST_PORT + u32::from(got.block) * block_ports;
            assert_eq!(u32::from(got.base_port), first);
            assert!(first + block_ports <= 65_536);
            assert!((FIRST..FIRST + addresses).contains(&got.external));
            assert!(ports.insert((got.external, got.block)), "one owner each");
            assert!(slabs.insert(got.slab) && got.slab < total);
        }
        let before: BTreeMap<u32, _> = owners(&allocator);
        assert_eq!(
            allocator.allocate(0, total, 0),
            Err(Refusal::PoolExhausted),
            "{addresses} addresses, blocks of {block_ports}"
        );
        assert_eq!(owners(&allocator), before);
        assert_conserved(&allocator);
        let status = allocator.status(0).unwrap();
        assert_eq!((status.blocks_free, status.slabs_free), (0, 0));
        assert_eq!(status.counters.refused_pool_exhausted, 1);
    }
}

fn owners<R: CryptoRng>(allocator: &Allocator<R>) -> BTreeMap<u32, (u32, Vec<BlockSlab>)> {
    let all = allocator.subscribers(0);
    all.map(|one| (one.subscriber, (one.external, one.blocks.to_vec())))
        .collect()
}

#[test]
fn a_pool_of_one_block_goes_round_with_its_hold() {
    let mut allocator = build(spec(1, 64_512, 1));
    let got = allocator.allocate(0, 1, 5).unwrap();
    assert_eq!((got.block, got.base_port, got.slab), (0, 1024, 0));
    let limit = Refusal::SubscriberLimit { limit: 1 };
    assert_eq!(allocator.allocate(0, 1, 5), Err(limit));
    assert_eq!(allocator.allocate(0, 2, 5), Err(Refusal::PoolExhausted));
    let released = allocator.release(0, 1, got.external, 0, 10).unwrap();
    assert_eq!((released.slab, released.free_at_ms), (0, 120_010));
    for subscriber in [1, 2] {
        assert_eq!(
            allocator.allocate(0, subscriber, 120_009),
            Err(Refusal::PoolExhausted),
            "held against everybody, its last owner too"
        );
    }
    assert_eq!(
        allocator.allocate(0, 2, 120_010).map(|got| got.block),
        Ok(0),
        "the hold is over, without any call of advance"
    );
}

#[test]
fn each_refusal_has_its_name() {
    // 15 blocks in one address; the slabs run out before the blocks.
    let mut few_slabs = spec(1, 4_096, 2);
    few_slabs.max_blocks = 3;
    let mut allocator = build(few_slabs);
    for subscriber in 0..3 {
        allocator.allocate(0, subscriber, 0).unwrap();
    }
    let no_slab = Refusal::NoSlab { max_blocks: 3 };
    assert_eq!(allocator.allocate(0, 9, 0), Err(no_slab), "first block");
    assert_eq!(allocator.allocate(0, 0, 0), Err(no_slab), "further block");
    let unknown = Refusal::UnknownPool { pool: 1 };
    assert_eq!(allocator.allocate(1, 0, 0), Err(unknown));

    // Two addresses of one block each: the other address is of no use.
    let mut allocator = build(spec(2, 64_512, 4));
    let got = allocator.allocate(0, 7, 0).unwrap();
    let exhausted = Refusal::AddressExhausted {
        external: got.external.into(),
    };
    assert_eq!(allocator.allocate(0, 7, 0), Err(exhausted));
    assert!(allocator.allocate(0, 8, 0).is_ok());
    let counters = allocator.status(0).unwrap().counters;
    assert_eq!(
        (counters.allocated, counters.refused_address_exhausted),
        (2, 1)
    );
}

#[test]
fn each_outcome_has_its_counter() {
    let mut one_slab = spec(2, 64_512, 2);
    one_slab.max_blocks = 1;
    let mut allocator = build(one_slab);
    let got = allocator.allocate(0, 1, 0).unwrap();
    allocator.withdraw(0, 1, &got).unwrap();
    allocator.adopt(0, 1, FIRST, 0, 0).unwrap();
    allocator.allocate(0, 2, 0).unwrap_err();
    allocator.allocate(0, 1, 0).unwrap_err();
    allocator.release(0, 1, FIRST, 0, 0).unwrap();
    allocator.hold_until(0, FIRST + 1, 0, 9_000).unwrap();
    allocator.allocate(0, 1, 0).unwrap_err();
    let mut limited = build(spec(1, 64_512, 1));
    limited.allocate(0, 1, 0).unwrap();
    limited.allocate(0, 1, 0).unwrap_err();
    let expected = PoolCounters {
        allocated: 1,
        paired: 1,
        withdrawn: 1,
        adopted: 1,
        released: 1,
        refused_no_slab: 1,
        refused_address_exhausted: 1,
        refused_pool_exhausted: 1,
        ..PoolCounters::default()
    };
    assert_eq!(allocator.status(0).unwrap().counters, expected);
    let expected = PoolCounters {
        allocated: 1,
        paired: 1,
        refused_subscriber_limit: 1,
        ..PoolCounters::default()
    };
    assert_eq!(limited.status(0).unwrap().counters, expected);
}

#[test]
fn a_slab_rests_although_its_block_need_not() {
    let policy = HoldPolicy {
        block_hold_ms: 0,
        ..HoldPolicy::default()
    };
    let spec = spec(1, 64_512, 1);
    let mut allocator = Allocator::new(&[spec], policy, StdRng::seed_from_u64(1)).unwrap();
    let got = allocator.allocate(0, 1, 0).unwrap();
    allocator.release(0, 1, got.external, 0, 100).unwrap();
    let no_slab = Refusal::NoSlab { max_blocks: 1 };
    assert_eq!(allocator.allocate(0, 1, 1_099), Err(no_slab));
    assert!(allocator.allocate(0, 1, 1_100).is_ok());
}

#[test]
fn a_withdrawn_allocation_leaves_nothing_behind() {
    let mut allocator = build(spec(1, 64_512, 1));
    for _ in 0..3 {
        let got = allocator.allocate(0, 1, 0).unwrap();
        allocator.withdraw(0, 1, &got).unwrap();
        assert!(allocator.withdraw(0, 1, &got).is_err(), "only once");
    }
    let status = allocator.status(0).unwrap();
    assert_eq!((status.blocks_free, status.slabs_free), (1, 1));
    assert_eq!((status.subscribers, status.addresses_used), (0, 0));
}

#[test]
fn only_the_owner_can_release() {
    let mut allocator = build(spec(2, 512, 2));
    let got = allocator.allocate(0, 1, 0).unwrap();
    let other = FIRST + u32::from(got.external == FIRST);
    for (subscriber, external, block) in [
        (2, got.external, got.block),
        (1, other, got.block),
        (1, got.external, got.block ^ 1),
        (1, 0x0808_0808, got.block),
    ] {
        let error = allocator.release(0, subscriber, external, block, 0);
        assert!(matches!(error, Err(ReleaseError::NotOwner { .. })));
    }
    assert_eq!(allocator.status(0).unwrap().blocks_used, 1);
    allocator.release(0, 1, got.external, got.block, 0).unwrap();
}

#[test]
fn beyond_the_most_held_blocks_a_release_skips_the_hold_and_is_counted() {
    let policy = HoldPolicy {
        max_held_blocks: 2,
        ..HoldPolicy::default()
    };
    let mut allocator =
        Allocator::new(&[spec(1, 512, 4)], policy, StdRng::seed_from_u64(1)).unwrap();
    let got: Vec<_> = (0..3)
        .map(|_| allocator.allocate(0, 1, 0).unwrap())
        .collect();
    let free_at: Vec<u64> = got
        .iter()
        .map(|one| allocator.release(0, 1, one.external, one.block, 7).unwrap())
        .map(|released| released.free_at_ms)
        .collect();
    assert_eq!(free_at, [120_007, 120_007, 7]);
    let status = allocator.status(0).unwrap();
    assert_eq!((status.blocks_held, status.counters.holds_skipped), (2, 1));
}

#[test]
fn adopting_refuses_every_double_owner_and_changes_nothing_then() {
    let mut allocator = build(spec(2, 512, 1));
    allocator.adopt(0, 10, FIRST, 5, 3).unwrap();
    allocator.hold_until(0, FIRST, 6, 1_000).unwrap();
    let before = (owners(&allocator), allocator.status(0).unwrap());
    type Case = (&'static str, u32, u32, u16, u32, fn(&AdoptError) -> bool);
    let cases: [Case; 8] = [
        ("block with another owner", 11, FIRST, 5, 4, |e| {
            matches!(e, AdoptError::Owned { owner: 10, .. })
        }),
        ("block that it has already", 10, FIRST, 5, 3, |e| {
            matches!(e, AdoptError::Owned { owner: 10, .. })
        }),
        ("block in hold", 11, FIRST, 6, 4, |e| {
            matches!(e, AdoptError::Held { .. })
        }),
        ("slab of another block", 11, FIRST, 7, 3, |e| {
            matches!(e, AdoptError::SlabInUse { slab: 3 })
        }),
        ("second external address", 10, FIRST + 1, 7, 4, |e| {
            matches!(e, AdoptError::Paired { .. })
        }),
        ("address of no pool", 11, FIRST + 2, 7, 4, |e| {
            matches!(e, AdoptError::NotInPool { .. })
        }),
        ("block beyond the last", 11, FIRST, 126, 4, |e| {
            matches!(e, AdoptError::NotInPool { .. })
        }),
        ("slab beyond the last", 11, FIRST, 7, 252, |e| {
            matches!(e, AdoptError::SlabOutOfRange { .. })
        }),
    ];
    for (sentence, subscriber, external, block, slab, is_expected) in cases {
        let error = allocator.adopt(0, subscriber, external, block, slab);
        let error = error.expect_err(sentence);
        assert!(is_expected(&error), "{sentence}: {error}");
    }
    assert!(matches!(
        allocator.hold_until(0, FIRST, 5, 9),
        Err(HoldError::Owned { owner: 10, .. })
    ));
    assert_eq!((owners(&allocator), allocator.status(0).unwrap()), before);
    allocator
        .adopt(0, 10, FIRST, 8, 9)
        .expect("live traffic may exceed a lowered limit");
    let limit = Refusal::SubscriberLimit { limit: 1 };
    assert_eq!(allocator.allocate(0, 10, 0), Err(limit));
}

#[test]
fn after_adoption_the_rest_of_the_pool_is_given_out_and_nothing_twice() {
    let mut allocator = build(spec(2, 4_096, 30));
    allocator.adopt(0, 1, FIRST, 14, 29).unwrap();
    allocator.adopt(0, 1, FIRST, 0, 7).unwrap();
    allocator.hold_until(0, FIRST + 1, 3, 500).unwrap();
    let mut slabs: BTreeSet<u32> = [29, 7].into();
    let mut blocks: BTreeSet<(u32, u16)> = [(FIRST, 14), (FIRST, 0)].into();
    for subscriber in 100..127 {
        let got = allocator.allocate(0, subscriber, 499).unwrap();
        assert!(slabs.insert(got.slab) && blocks.insert((got.external, got.block)));
    }
    assert_eq!(allocator.allocate(0, 5, 499), Err(Refusal::PoolExhausted));
    let last = allocator.allocate(0, 5, 500).unwrap();
    assert_eq!((last.external, last.block), (FIRST + 1, 3));
}

#[test]
fn time_that_goes_backwards_shortens_no_hold() {
    let mut allocator = build(spec(1, 64_512, 1));
    allocator.advance(1_000_000);
    let got = allocator.allocate(0, 1, 0).unwrap();
    let released = allocator.release(0, 1, got.external, 0, 0).unwrap();
    assert_eq!(released.free_at_ms, 1_120_000);
}

#[test]
fn pools_do_not_touch_each_other() {
    let mut second = spec(1, 64_512, 1);
    assert!(matches!(
        Allocator::new(
            &[spec(2, 512, 1), second.clone()],
            HoldPolicy::default(),
            StdRng::seed_from_u64(1)
        ),
        Err(SpecError::Overlap { .. })
    ));
    second.addresses = vec![(FIRST + 2, FIRST + 2)];
    let pools = [spec(2, 512, 1), second];
    let mut allocator =
        Allocator::new(&pools, HoldPolicy::default(), StdRng::seed_from_u64(1)).unwrap();
    assert_eq!(allocator.allocate(1, 1, 0).unwrap().external, FIRST + 2);
    assert_eq!(allocator.allocate(1, 2, 0), Err(Refusal::PoolExhausted));
    assert!(allocator.allocate(0, 2, 0).unwrap().external < FIRST + 2);
    assert_eq!(allocator.base_port(0, 125), Some(65_024));
    assert_eq!(allocator.base_port(1, 1), None);
}

#[test]
fn the_blocks_of_a_port_range_are_found_also_after_block_ports_changed() {
    let allocator = build(spec(1, 512, 1));
    let cases = [
        (1024..=1535, Some(0..=0)),
        (1024..=2047, Some(0..=1)),
        (1100..=1100, Some(0..=0)),
        (1535..=1536, Some(0..=1)),
        (65_024..=65_535, Some(125..=125)),
        (0..=65_535, Some(0..=125)),
        (0..=1023, None),
    ];
    for (ports, expected) in cases {
        let found = allocator.blocks_covering(FIRST, ports.clone());
        assert_eq!(found, expected.map(|blocks| (0, blocks)), "{ports:?}");
    }
    assert_eq!(allocator.blocks_covering(FIRST + 1, 0..=65_535), None);
    let rest = build(spec(1, 4_096, 1));
    let found = rest.blocks_covering(FIRST, 60_000..=65_535);
    assert_eq!(found, Some((0, 14..=14)), "the rest makes no block");
    assert_eq!(rest.blocks_covering(FIRST, 62_464..=65_535), None);
}

#[test]
fn a_pool_of_2_to_the_24_addresses_costs_what_is_used() {
    let mut large = spec(1, 64, 2);
    large.addresses = vec![(0x0a00_0000, 0x0aff_ffff)];
    large.max_blocks = 1_000;
    let mut allocator = build(large);
    assert_eq!(allocator.pools[0].address_entries(), 0);
    let got: Vec<_> = (0..1_000)
        .map(|subscriber| allocator.allocate(0, subscriber, 0).unwrap())
        .collect();
    assert!(allocator.pools[0].address_entries() <= 1_000);
    assert_eq!(
        allocator.status(0).unwrap().blocks_total,
        (1 << 24) * 1_008_u64
    );
    for (subscriber, one) in got.iter().enumerate() {
        allocator
            .release(0, subscriber as u32, one.external, one.block, 0)
            .unwrap();
    }
    allocator.advance(120_000);
    assert_eq!(allocator.pools[0].address_entries(), 0, "and gives it back");
}

/// An address that is withheld goes to no new subscriber; who has it keeps it, and gets further blocks
/// there unless it is drained. In any order with addresses that are full.
#[test]
fn an_address_that_is_withheld_goes_to_nobody_new() {
    let mut allocator = build(spec(3, 32_256, 2));
    let got = |allocator: &mut Allocator<StdRng>, subscriber| {
        allocator.allocate(0, subscriber, 0).map(|got| got.external)
    };
    let mine = got(&mut allocator, 1).unwrap();
    let others: Vec<u32> = (FIRST..FIRST + 3).filter(|other| *other != mine).collect();
    assert!(allocator.withhold(0, mine, Some(Standing::Quarantined)));
    for subscriber in 2..6 {
        let external = got(&mut allocator, subscriber).unwrap();
        assert!(others.contains(&external), "{subscriber}");
    }
    assert_eq!(got(&mut allocator, 6), Err(Refusal::PoolExhausted));
    assert_eq!(got(&mut allocator, 1), Ok(mine), "who has it keeps it");
    // Full, given back, restored: free for others again.
    let blocks: Vec<u16> = (0..2).collect();
    for block in &blocks {
        allocator.release(0, 1, mine, *block, 0).unwrap();
    }
    let later = HoldPolicy::default().block_hold_ms + 1;
    allocator.advance(later);
    assert_eq!(allocator.allocate(0, 6, later), Err(Refusal::PoolExhausted));
    assert!(allocator.withhold(0, mine, None));
    assert_eq!(
        allocator.allocate(0, 6, later).map(|got| got.external),
        Ok(mine)
    );
    allocator.withhold(0, mine, Some(Standing::Drained));
    let refused = allocator.allocate(0, 6, later);
    assert_eq!(
        refused,
        Err(Refusal::AddressExhausted {
            external: mine.into()
        })
    );
    allocator.withhold(0, mine, Some(Standing::Quarantined));
    assert_eq!(
        allocator.allocate(0, 6, later).map(|got| got.external),
        Ok(mine)
    );
    allocator.withhold(0, mine, None);
    assert_eq!(allocator.allocate(0, 7, later), Err(Refusal::PoolExhausted));
    assert!(!allocator.withhold(0, FIRST + 3, None), "not of the pool");
    assert_conserved(&allocator);
}
