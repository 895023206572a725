//! The store of fragments that wait.

use cgn_common::layout::Side;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

const LIMITS: Limits = Limits {
    fragments: 64,
    bytes: 64 * 100,
    per_source: 16,
    ticks: 8,
};

fn key(source: u32, id: u16) -> FragmentKey {
    FragmentKey::new(Side::Inside, 17, source, 0x0808_0808, id)
}

/// So many fragments of the datagrams here end.
fn udp(fragments: usize, reason: Reason) -> Ended {
    Ended::new(fragments, &key(1, 1), reason)
}

fn fragment(range: std::ops::Range<u32>) -> Fragment {
    Fragment {
        frame: vec![7; 100],
        port: 0,
        range,
    }
}

#[test]
fn what_waited_goes_on_in_the_order_of_the_datagram() {
    let mut store = Store::new(LIMITS);
    for start in [24, 8, 16] {
        assert_eq!(
            store.keep(key(1, 1), fragment(start..start + 8), 0),
            Ended::NONE
        );
    }
    assert_eq!(store.keep(key(1, 2), fragment(8..16), 0), Ended::NONE);
    let starts: Vec<u32> = store
        .release(&key(1, 1))
        .iter()
        .map(|f| f.range.start)
        .collect();
    assert_eq!(starts, [8, 16, 24]);
    assert_eq!(store.release(&key(1, 1)), [], "once");
    assert_eq!(store.held(), (1, 100), "the other datagram still waits");
}

#[test]
fn a_flood_from_one_source_takes_nothing_from_another() {
    let mut store = Store::new(LIMITS);
    let mut refused = 0;
    for id in 0..10_000 {
        refused += store.keep(key(1, id), fragment(8..16), 0).count();
        if id % 1000 == 0 {
            let other = key(2 + u32::from(id), 5);
            assert_eq!(store.keep(other, fragment(8..16), 0), Ended::NONE);
            assert_eq!(store.release(&other).len(), 1, "in the midst of {id}");
        }
    }
    assert_eq!(refused, 10_000 - LIMITS.per_source);
    assert_eq!(store.held().0, LIMITS.per_source);
}

#[test]
fn where_the_store_is_full_those_with_most_make_room_for_those_with_few() {
    let mut store = Store::new(LIMITS);
    for source in 1..=4 {
        for id in 0..16 {
            assert_eq!(store.keep(key(source, id), fragment(8..16), 0), Ended::NONE);
        }
    }
    let ended = store.keep(key(9, 1), fragment(8..16), 1);
    assert_eq!(
        (ended.count(), ended.reason),
        (1, Some(Reason::FragmentLimit))
    );
    assert_eq!(store.held().0, LIMITS.fragments);
    assert_eq!(store.release(&key(9, 1)).len(), 1);
    let oldest_gone = (1..=4).filter(|source| store.release(&key(*source, 0)).is_empty());
    assert_eq!(oldest_gone.count(), 1, "the oldest of one of the four");
}

#[test]
fn bytes_are_bounded_like_fragments() {
    let mut store = Store::new(Limits {
        bytes: 250,
        ..LIMITS
    });
    assert_eq!(store.keep(key(1, 1), fragment(8..16), 0), Ended::NONE);
    assert_eq!(store.keep(key(1, 2), fragment(8..16), 0), Ended::NONE);
    assert_eq!(
        store.keep(key(1, 3), fragment(8..16), 0),
        Ended::new(1, &key(1, 3), Reason::FragmentLimit),
        "its own source has most"
    );
    assert_eq!(store.keep(key(2, 1), fragment(8..16), 0).count(), 1);
    assert_eq!(store.held(), (2, 200));
}

#[test]
fn who_waits_in_vain_ends_after_the_time_from_the_first_that_came() {
    let mut store = Store::new(LIMITS);
    let start = u32::MAX - 3; // the clock goes round
    let _ = store.keep(key(1, 1), fragment(8..16), start);
    let _ = store.keep(key(1, 1), fragment(16..24), start.wrapping_add(6));
    let _ = store.keep(key(1, 2), fragment(8..16), start.wrapping_add(6));
    assert_eq!(store.expire(start.wrapping_add(7)), Ended::NONE);
    let ended = store.expire(start.wrapping_add(8));
    assert_eq!(ended, udp(2, Reason::FragmentExpired));
    assert_eq!(store.held().0, 1);
    // The same key once more, after it was released.
    let _ = store.release(&key(1, 2));
    let _ = store.keep(key(1, 2), fragment(8..16), start.wrapping_add(9));
    assert_eq!(store.expire(start.wrapping_add(14)), Ended::NONE);
    assert_eq!(store.expire(start.wrapping_add(17)).count(), 1);
    assert!(store.is_empty());
}

#[test]
fn fragments_that_overlap_end_their_datagram_the_same_one_twice_does_not() {
    for other in [8..17, 15..24, 8..24, 9..10] {
        let mut store = Store::new(LIMITS);
        let _ = store.keep(key(1, 1), fragment(8..16), 0);
        let ended = store.keep(key(1, 1), fragment(other), 0);
        assert_eq!(ended, udp(2, Reason::FragmentOverlap));
        assert!(store.is_empty());
    }
    let mut store = Store::new(LIMITS);
    let _ = store.keep(key(1, 1), fragment(8..16), 0);
    assert_eq!(store.keep(key(1, 1), fragment(8..16), 0), Ended::NONE);
    assert_eq!(store.keep(key(1, 1), fragment(16..24), 0), Ended::NONE);
}

/// Whatever comes: nothing is lost uncounted, no bound is passed, and who has
/// few is not refused for those who have many.
#[test]
fn a_random_life_keeps_its_bounds_and_loses_nothing() {
    let mut random = StdRng::seed_from_u64(0x5eed);
    let mut store = Store::new(LIMITS);
    let (mut came, mut left, mut now) = (0, 0, u32::MAX - 500);
    for step in 0..50_000 {
        now = now.wrapping_add(u32::from(random.random_ratio(1, 20)));
        let source = random.random_range(0..4_u32) * random.random_range(0..8_u32);
        let key = key(source, random.random_range(0..12));
        match random.random_range(0..10) {
            0 => left += store.release(&key).len(),
            1 => left += store.expire(now).count(),
            _ => {
                let start = random.random_range(1..6) * 8;
                let mut one = fragment(start..start + random.random_range(1..12));
                one.frame = vec![step as u8; random.random_range(40..300)];
                came += 1;
                left += store.keep(key, one, now).count();
            }
        }
        let (fragments, bytes) = store.held();
        assert_eq!(came - left, fragments, "step {step}");
        assert!(fragments <= LIMITS.fragments && bytes <= LIMITS.bytes);
        assert!(
            store
                .per_source
                .values()
                .all(|held| (1..=LIMITS.per_source).contains(held))
        );
        assert_eq!(store.per_source.values().sum::<usize>(), fragments);
        assert!(store.order.len() <= 64 + 2 * LIMITS.fragments + 1);
    }
    left += store.expire(now.wrapping_add(100)).count();
    assert_eq!((came, store.held()), (left, (0, 0)));
}
