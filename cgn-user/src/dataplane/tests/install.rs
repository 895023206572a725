use std::net::Ipv4Addr;

use cgn_common::block::first_port;
use cgn_common::layout::{OwnedBlock, SubscriberHead, Used, header};
use cgn_common::verdict::Protocol;

use super::super::geometry::Geometry;
use super::super::install::{
    Grant, InstallError, give, pool_in_use, ports_of_first_block_owner, ports_used, refuse, renew,
    take, withdraw,
};
use super::super::memory::Memory;
use super::{EXTERNAL, INSIDE, addr, grant, installed, pool, small, subscribers};
use crate::policy::groups::{Allowance, Group, Groups};

/// Head, and slab line and first port of each block, of the subscriber.
fn line_of(memory: &Memory, geometry: &Geometry) -> (SubscriberHead, Vec<(u32, u16)>) {
    let index = geometry.subscriber_index(INSIDE).expect("known");
    let line = memory.subscribers.get(index).expect("in the table");
    let head = SubscriberHead(line.head.load());
    let blocks = memory.owned_blocks(index).take(head.block_count() as usize);
    let blocks = blocks.map(|b| OwnedBlock(b.load()));
    (
        head,
        blocks.map(|b| (b.slab_line(), b.first_port())).collect(),
    )
}

fn owner_of(memory: &Memory, block: u32) -> (u32, Ipv4Addr) {
    let (line, inside) = memory.blocks.get(block).expect("a row").read();
    (line, Ipv4Addr::from_bits(inside))
}

#[test]
fn a_given_block_is_seen_from_both_sides() {
    let (geometry, memory) = small();
    give(&memory, &geometry, &grant(5), 1234, 77).expect("free");
    let line = geometry.slab_line(0, 5);
    let (head, blocks) = line_of(&memory, &geometry);
    assert_eq!(head.external(), EXTERNAL.to_bits());
    assert!(head.has(SubscriberHead::VALID) && !head.has(SubscriberHead::REFUSED));
    assert_eq!(blocks, [(line, first_port(5, 6))]);
    assert_eq!(owner_of(&memory, 5), (line, INSIDE));
    let slab = &memory.header(line).expect("a slab").0;
    let index = geometry.subscriber_index(INSIDE).expect("known");
    assert_eq!(slab[header::OWNER].load() as u32, INSIDE.to_bits());
    assert_eq!(
        (slab[header::OWNER].load() >> 32) as u32,
        EXTERNAL.to_bits()
    );
    let block = slab[header::BLOCK].load();
    assert_eq!(
        (block as u16, (block >> 16) as u8, (block >> 24) as u8),
        (1024 + 5 * 64, 6, 0)
    );
    assert_eq!((block >> 32) as u32, index);
    assert_eq!(slab[header::ALLOCATED_MS].load(), 1234);
    assert_eq!(slab[header::LOG_SEQUENCE].load(), 77);
    let room = memory.room(line).expect("a slab");
    assert_eq!((room.used(), room.limits().watermark()), (Used::NONE, 48));
    assert_eq!(ports_used(&memory, index), [(line, [0; 3])]);
}

/// Also of those that do not stand in the subscriber's own entry.
#[test]
fn the_use_of_each_of_six_blocks_is_told() {
    let (geometry, memory) = small();
    let lines: Vec<_> = (0..6).map(|slab| geometry.slab_line(0, slab)).collect();
    for (number, line) in (0..6).zip(&lines) {
        give(&memory, &geometry, &grant(number), 0, 0).expect("free");
        let room = memory.room(*line).expect("a slab");
        room.set_used(Used(u64::from(number + 1) * Used::one(Protocol::Udp)));
    }
    let index = geometry.subscriber_index(INSIDE).expect("known");
    let told: Vec<_> = (1..=6).map(|udp| [0, udp, 0]).collect();
    let told: Vec<_> = lines.iter().copied().zip(told).collect();
    assert_eq!(ports_used(&memory, index), told);
    let sum = |line| ports_of_first_block_owner(&memory, index, line);
    assert_eq!(sum(lines[0]), Some([0, 21, 0]));
    assert_eq!(sum(lines[2]), None, "met already");
}

#[test]
fn what_a_group_may_is_shared_out_over_all_blocks() {
    let (mut geometry, memory) = small();
    let allowance = Allowance {
        mappings: [None, Some(200), None],
        ..Allowance::ALL
    };
    let group = Group {
        name: "few".to_owned(),
        allowance,
    };
    geometry.groups = Groups::new(vec![(group, vec![(INSIDE, 32)])]);
    for number in 0..6 {
        give(&memory, &geometry, &grant(number), 0, 0).expect("free");
        let limits = (0..=u32::from(number)).map(|slab| {
            let room = memory.room(geometry.slab_line(0, slab));
            room.expect("a slab").limits()
        });
        let (udp, tcp) = limits.fold((0, 0), |(udp, tcp), limits| {
            let of = |protocol| limits.of(protocol);
            (udp + of(Protocol::Udp), tcp + of(Protocol::Tcp))
        });
        let ports = 64 * (u32::from(number) + 1);
        assert_eq!((udp, tcp), (ports.min(200), ports), "{number}");
    }
}

#[test]
fn six_blocks_can_be_had_and_the_last_one_asks_for_no_more() {
    let (geometry, memory) = small();
    for number in 0..6 {
        give(&memory, &geometry, &grant(number), 0, 0).expect("free");
        let (head, blocks) = line_of(&memory, &geometry);
        let last = number == 5;
        assert_eq!(blocks.len(), usize::from(number) + 1);
        assert_eq!(head.has(SubscriberHead::REFUSED), last, "block {number}");
        let room = memory.room(geometry.slab_line(0, u32::from(number)));
        let limits = room.expect("a slab").limits();
        assert_eq!(limits.has_requested(), last, "block {number}");
    }
    let seventh = give(&memory, &geometry, &grant(6), 0, 0);
    assert_eq!(seventh, Err(InstallError::TooManyBlocks(INSIDE.into())));
    assert_eq!(owner_of(&memory, 6).0, 0, "nothing was changed");
}

#[test]
fn grants_that_contradict_the_tables_are_refused_and_change_nothing() {
    let (geometry, memory) = small();
    give(&memory, &geometry, &grant(3), 0, 0).expect("free");
    let stranger = addr("100.64.0.16");
    let no_pool = addr("203.0.113.2");
    let neighbour = addr("100.64.0.2");
    let cases: [(&str, Grant, InstallError); 4] = [
        (
            "no subscriber",
            Grant {
                inside: stranger.into(),
                ..grant(4)
            },
            InstallError::NoSubscriber(stranger.into()),
        ),
        (
            "no pool address",
            Grant {
                external: no_pool,
                ..grant(4)
            },
            InstallError::NoExternal(no_pool),
        ),
        (
            "a block number beyond the address",
            Grant {
                block: 1008,
                ..grant(4)
            },
            InstallError::NoExternal(EXTERNAL),
        ),
        (
            "somebody's block",
            Grant {
                inside: neighbour.into(),
                slab: 4,
                ..grant(3)
            },
            InstallError::Owned {
                external: EXTERNAL,
                block: 3,
                owner: INSIDE.into(),
            },
        ),
    ];
    let before = line_of(&memory, &geometry);
    for (sentence, grant, wanted) in cases {
        assert_eq!(
            give(&memory, &geometry, &grant, 0, 0),
            Err(wanted),
            "{sentence}"
        );
        assert_eq!(line_of(&memory, &geometry), before, "{sentence}");
        assert_eq!(owner_of(&memory, 4).0, 0, "{sentence}");
        assert_eq!(owner_of(&memory, 3).1, INSIDE, "{sentence}");
    }
}

#[test]
fn blocks_are_taken_in_any_order_and_the_others_stay() {
    for taken in 0..3 {
        let (geometry, memory) = small();
        for number in 0..3 {
            give(&memory, &geometry, &grant(number), 0, 0).expect("free");
        }
        assert!(take(&memory, &geometry, &grant(taken)), "it is empty");
        let (head, mut blocks) = line_of(&memory, &geometry);
        blocks.sort_unstable();
        let left: Vec<_> = (0..3)
            .filter(|number| *number != taken)
            .map(|number| {
                (
                    geometry.slab_line(0, u32::from(number)),
                    first_port(u32::from(number), 6),
                )
            })
            .collect();
        assert_eq!(blocks, left, "without {taken}");
        assert_eq!(head.external(), EXTERNAL.to_bits());
        assert_eq!(owner_of(&memory, u32::from(taken)).0, 0);
        let room = memory
            .room(geometry.slab_line(0, u32::from(taken)))
            .expect("a slab");
        assert!(room.used().is_closed(), "no packet in flight may use it");
        assert!(
            !take(&memory, &geometry, &grant(taken)),
            "it is not theirs any more"
        );
        // It can be given again, empty and open.
        give(&memory, &geometry, &grant(taken), 0, 0).expect("free again");
        assert_eq!(room.used(), Used::NONE);
        assert_eq!(line_of(&memory, &geometry).1.len(), 3);
    }
}

#[test]
fn a_block_in_use_is_not_taken_but_can_be_withdrawn() {
    let (geometry, memory) = small();
    give(&memory, &geometry, &grant(0), 0, 0).expect("free");
    let room = memory.room(geometry.slab_line(0, 0)).expect("a slab");
    assert!(room.take_port(Protocol::Udp));
    assert!(!take(&memory, &geometry, &grant(0)), "a mapping is in it");
    assert!(!room.used().is_closed(), "and it stays open");
    assert_eq!(owner_of(&memory, 0).1, INSIDE);
    withdraw(&memory, &geometry, &grant(0));
    let (head, blocks) = line_of(&memory, &geometry);
    assert_eq!(
        (head.external(), blocks),
        (0, vec![]),
        "the last block frees the address"
    );
    assert!(head.has(SubscriberHead::VALID), "still a subscriber");
    assert_eq!(owner_of(&memory, 0).0, 0);
}

#[test]
fn a_block_given_back_lifts_the_refusal_and_the_next_may_be_asked_for() {
    let (geometry, memory) = small();
    for number in 0..6 {
        give(&memory, &geometry, &grant(number), 0, 0).expect("free");
    }
    assert!(take(&memory, &geometry, &grant(0)));
    let (head, blocks) = line_of(&memory, &geometry);
    assert!(!head.has(SubscriberHead::REFUSED));
    for (line, _) in blocks {
        let room = memory.room(line).expect("a slab");
        assert!(!room.limits().has_requested());
    }
}

#[test]
fn a_refusal_is_set_and_lifted_without_touching_the_rest() {
    let (geometry, memory) = small();
    give(&memory, &geometry, &grant(0), 0, 0).expect("free");
    let index = geometry.subscriber_index(INSIDE).expect("known");
    let before = line_of(&memory, &geometry);
    refuse(&memory, index, true);
    assert!(line_of(&memory, &geometry).0.has(SubscriberHead::REFUSED));
    refuse(&memory, index, false);
    assert_eq!(line_of(&memory, &geometry), before);
    refuse(&memory, u32::MAX, true); // nobody: nothing happens
}

/// Another pool, of other blocks, holds for a subscriber from his next first block on.
#[test]
fn who_has_a_block_stays_in_its_pool() {
    let pools = vec![
        pool(&[("203.0.113.1", "203.0.113.1")], 6),
        pool(&[("203.0.113.2", "203.0.113.2")], 7),
    ];
    let (mut geometry, memory) = installed(
        pools.clone(),
        vec![subscribers("100.64.0.0", "100.64.0.15", 0)],
    );
    let index = geometry.subscriber_index(INSIDE).expect("known");
    let next = |geometry: &Geometry| pool_in_use(&memory, geometry, INSIDE.into());
    give(&memory, &geometry, &grant(5), 0, 0).expect("free");
    geometry = Geometry::new(pools, vec![subscribers("100.64.0.0", "100.64.0.15", 1)]);
    renew(&memory, &geometry, INSIDE.into(), index);
    assert_eq!(next(&geometry), Some(0), "while it has a block");
    give(&memory, &geometry, &grant(6), 0, 0).expect("a further one of the old pool");
    assert!(take(&memory, &geometry, &grant(5)));
    assert_eq!(next(&geometry), Some(0), "while it has one");
    assert!(take(&memory, &geometry, &grant(6)));
    let (head, _) = line_of(&memory, &geometry);
    assert_eq!(
        (head.pool(), head.block_shift()),
        (1, 7),
        "with the last one"
    );
    assert_eq!(next(&geometry), Some(1));
    // Who had none at the change is told at once.
    let other = addr("100.64.0.2");
    let index = geometry.subscriber_index(other).expect("known");
    renew(&memory, &geometry, other.into(), index);
    let line = memory.subscribers.get(index).expect("in the table");
    let head = SubscriberHead(line.head.load());
    assert_eq!((head.pool(), head.block_shift()), (1, 7));
}
