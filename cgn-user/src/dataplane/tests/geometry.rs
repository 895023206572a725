use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use cgn_common::block::{blocks_per_address, page_of};
use cgn_common::layout::{Parts, Rows, SubscriberHead, buckets};

use super::{addr, installed, pool, small, subscribers};

/// Every address of a pool has rows of its own, and an address beside it none.
#[test]
fn pools_of_many_ranges_have_rows_without_overlap() {
    let cases = [
        (
            "one address",
            vec![pool(&[("203.0.113.9", "203.0.113.9")], 9)],
        ),
        (
            "a pool with gaps",
            vec![pool(
                &[
                    ("203.0.113.1", "203.0.113.3"),
                    ("203.0.113.7", "203.0.113.7"),
                    ("203.0.200.0", "203.0.200.3"),
                ],
                10,
            )],
        ),
        (
            "two pools of different block sizes, interleaved in one page",
            vec![
                pool(
                    &[
                        ("198.51.100.0", "198.51.100.3"),
                        ("198.51.100.8", "198.51.100.9"),
                    ],
                    6,
                ),
                pool(
                    &[
                        ("198.51.100.4", "198.51.100.5"),
                        ("198.51.100.20", "198.51.100.21"),
                    ],
                    10,
                ),
            ],
        ),
        (
            "a range that crosses the end of a page",
            vec![pool(&[("198.51.111.250", "198.51.112.5")], 8)],
        ),
        (
            "the first and last addresses of the space",
            vec![pool(
                &[
                    ("0.0.0.0", "0.0.0.1"),
                    ("255.255.255.254", "255.255.255.255"),
                ],
                10,
            )],
        ),
    ];
    for (sentence, pools) in cases {
        let (geometry, memory) = installed(pools, vec![subscribers("100.64.0.1", "100.64.0.1", 0)]);
        let rows_at = |address: Ipv4Addr| {
            let index = geometry.external_index(address)?;
            let rows = Rows(memory.externals.get(index)?.0.load());
            rows.is_pool_address().then_some(rows)
        };
        let mut taken = BTreeSet::new();
        for (number, pool) in geometry.pools.iter().enumerate() {
            for address in pool.each_address() {
                let rows = rows_at(address).unwrap_or_else(|| panic!("{sentence}: {address}"));
                assert_eq!(
                    rows.block_shift(),
                    pool.block_shift,
                    "{sentence}: {address}"
                );
                assert_eq!(usize::from(rows.pool()), number, "{sentence}: {address}");
                assert_eq!(rows.blocks(), blocks_per_address(pool.block_shift));
                for row in rows.first_row()..rows.first_row() + rows.blocks() {
                    assert!(row < geometry.sizes.blocks, "{sentence}: {address}");
                    assert!(taken.insert(row), "{sentence}: row {row} is used twice");
                }
            }
            let each = pool.each_address();
            let each = each.map(|address| (address, geometry.external_index(address)));
            let listed = geometry.each_external(pool);
            let listed = listed.map(|(address, index)| (address, Some(index)));
            assert!(listed.eq(each), "{sentence}: all of them, with their index");
            for (first, last) in &pool.addresses {
                for beside in [
                    first.to_bits().checked_sub(1),
                    last.to_bits().checked_add(1),
                ] {
                    let beside = beside.map(Ipv4Addr::from_bits);
                    let is_ours = |a| {
                        geometry
                            .pools
                            .iter()
                            .any(|p| p.each_address().any(|x| x == a))
                    };
                    if let Some(beside) = beside.filter(|a| !is_ours(*a)) {
                        assert!(
                            rows_at(beside).is_none(),
                            "{sentence}: {beside} is in no pool"
                        );
                    }
                }
            }
        }
        assert_eq!(
            taken.len() as u32,
            geometry.sizes.blocks,
            "{sentence}: no row is idle"
        );
    }
}

#[test]
fn subscribers_of_many_prefixes_have_lines_of_their_own() {
    let cases = [
        ("one host", vec![("100.64.0.7", "100.64.0.7")]),
        ("more than a page", vec![("100.64.15.0", "100.64.33.9")]),
        (
            "two prefixes of a page with a gap",
            vec![("10.0.0.0", "10.0.0.15"), ("10.0.1.0", "10.0.1.15")],
        ),
        (
            "unsorted",
            vec![
                ("10.0.1.0", "10.0.1.3"),
                ("10.0.0.0", "10.0.0.3"),
                ("9.0.0.0", "9.0.0.0"),
            ],
        ),
    ];
    for (sentence, ranges) in cases {
        let shapes = ranges.iter().map(|(a, b)| subscribers(a, b, 0)).collect();
        let (geometry, memory) =
            installed(vec![pool(&[("203.0.113.1", "203.0.113.1")], 6)], shapes);
        let mut taken = BTreeSet::new();
        let mut secrets = BTreeSet::new();
        for (first, last) in &ranges {
            for inside in addr(first).to_bits()..=addr(last).to_bits() {
                let inside = Ipv4Addr::from_bits(inside);
                let index = geometry.subscriber_index(inside);
                let index = index.unwrap_or_else(|| panic!("{sentence}: {inside}"));
                assert!(
                    index < geometry.sizes.subscribers && taken.insert(index),
                    "{sentence}"
                );
                let line = memory.subscribers.get(index).expect("in the table");
                let head = SubscriberHead(line.head.load());
                assert!(head.has(SubscriberHead::VALID) && head.block_count() == 0);
                assert_eq!(head.block_shift(), 6, "{sentence}");
                assert!(
                    secrets.insert(line.secret.load()),
                    "{sentence}: a shared secret"
                );
                let page = memory.inside_pages.read(page_of(inside.to_bits()));
                let page = page.expect("the directory covers all");
                assert_eq!(page.index_of(inside.to_bits()), Some(index), "{sentence}");
            }
        }
        for stranger in [
            "10.0.0.16",
            "10.0.0.255",
            "10.0.1.16",
            "192.0.2.1",
            "0.0.0.0",
        ] {
            assert_eq!(
                geometry.subscriber_index(addr(stranger)),
                None,
                "{sentence}"
            );
            assert_eq!(geometry.pool_of(addr(stranger)), None, "{sentence}");
        }
        let valid = (0..geometry.sizes.subscribers)
            .filter_map(|index| memory.subscribers.get(index))
            .filter(|line| SubscriberHead(line.head.load()).has(SubscriberHead::VALID));
        assert_eq!(
            valid.count(),
            taken.len(),
            "{sentence}: nobody else is valid"
        );
    }
}

#[test]
fn slabs_of_all_pools_lie_one_after_the_other() {
    let pools = vec![
        pool(&[("203.0.113.1", "203.0.113.1")], 6),
        pool(&[("203.0.113.2", "203.0.113.2")], 10),
    ];
    let (geometry, memory) = installed(pools, vec![subscribers("100.64.0.1", "100.64.0.1", 1)]);
    let mut next = Parts::BUCKETS_PER_HEADER;
    let mut lines = BTreeSet::new();
    for (number, shape) in (0..).zip(&geometry.pools) {
        for slab in 0..shape.max_blocks {
            let line = geometry.slab_line(number, slab);
            assert_eq!(line, next, "line 0 is never a slab, and none is wasted");
            assert_eq!(geometry.slab_of(number, line), Some(slab));
            assert_eq!(geometry.slab_of(number, line + 1), None);
            assert_eq!(geometry.slab_of(1 - number, line), None, "another pool's");
            next = line + buckets(shape.block_shift);
            for line in memory.parts.lines_of(line, shape.block_shift).flatten() {
                assert!(lines.insert(line), "line {line} has two owners");
                assert!(memory.slabs.get(line).is_some());
            }
        }
    }
    assert_eq!(geometry.sizes.slab_lines, Parts(next).lines());
    assert_eq!(memory.slabs.len(), Parts(next).lines() as usize);
    assert_eq!(memory.parts, Parts(next), "from the number of lines");
    assert_eq!(geometry.slab_of(2, 1), None, "there is no third pool");
    assert_eq!(geometry.pool_of(addr("100.64.0.1")), Some(1));
}

#[test]
fn the_layout_word_changes_with_whatever_moves_an_entry() {
    let (reference, _) = small();
    let base = |f: fn(&mut super::PoolShape, &mut super::SubscriberShape)| {
        let mut pool = pool(&[("203.0.113.1", "203.0.113.1")], 6);
        let mut range = subscribers("100.64.0.0", "100.64.0.15", 0);
        f(&mut pool, &mut range);
        super::Geometry::new(vec![pool], vec![range]).layout_word()
    };
    assert_eq!(base(|_, _| {}), reference.layout_word());
    let moved = [
        base(|pool, _| pool.block_shift = 7),
        base(|pool, _| pool.max_blocks = 11),
        base(|pool, _| pool.addresses[0].1 = addr("203.0.113.2")),
        base(|pool, _| pool.addresses[0] = (addr("203.0.113.2"), addr("203.0.113.2"))),
        base(|_, range| range.last = addr("100.64.0.16").into()),
    ];
    for word in moved {
        assert_ne!(word, reference.layout_word());
    }
    // What only says how blocks are given, and of which pool, moves nothing.
    assert_eq!(base(|_, range| range.pool = 1), reference.layout_word());
    assert_eq!(
        base(|pool, _| pool.watermark_ports = 1),
        reference.layout_word()
    );
}
