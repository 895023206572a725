//! Blocks that move in their subscriber's line while a processor looks at them.

use cgn_common::layout::{SlotKey, SlotState, SubscriberHead, Used};
use cgn_common::nat::home::{self, Home};
use cgn_common::nat::open::{self, Flow};
use cgn_common::nat::place::Place;
use cgn_common::nat::search::{self, Outcome};
use cgn_common::verdict::Protocol;
use cgn_tests::harness::world::{POOL, SMALL_SHIFT, World, subscriber};
use cgn_user::dataplane::install::{self, Grant};
use cgn_user::dataplane::memory::Memory;
use cgn_user::dataplane::tables::Counted;

use super::hesitant::Hesitant;

fn grant(slab: u32) -> Grant {
    Grant {
        inside: subscriber::NO_BLOCK_YET.into(),
        external: POOL[0],
        pool: 0,
        block: 500 + slab as u16,
        slab,
    }
}

/// Between a look at the first and at the second block the first is taken, so
/// that the last, which has the mapping, moves to its place, and another is given.
#[test]
fn a_mapping_in_a_block_that_moved_past_is_not_overlooked() {
    let world = World::new();
    let memory = Memory::private(world.geometry.sizes).expect("memory");
    world.install(&memory);
    let give = |slab| {
        install::give(&memory, &world.geometry, &grant(slab), 0, 0).expect("the block is free");
    };
    let counted = Counted::default();
    let tables = Hesitant::new(&memory, &world, &counted, 0);
    let index = world
        .geometry
        .subscriber_index(subscriber::NO_BLOCK_YET)
        .expect("known");
    let secret = memory.subscribers.get(index).expect("known").secret.load();
    let place = |port| Place::new(secret, Protocol::Udp, port);
    // Of two blocks it belongs in the second; of three too, so not in the third.
    let flow = Flow {
        subscriber: index,
        protocol: Protocol::Udp,
        inside_port: (0..=u16::MAX)
            .find(|port| place(*port).block(2) == 1 && place(*port).block(3) == 1)
            .expect("a third of them do"),
        remote: 1,
        state: SlotState::Open as u64,
        tick: 100,
    };
    for slab in [8, 9] {
        give(slab);
    }
    let Outcome::Free(own) = search::search(&tables, flow).outcome() else {
        panic!("two empty blocks");
    };
    assert!(open::claim(&tables, flow, own));
    give(10);
    // A rival's mapping of the same port, in the last block.
    let slab = world.geometry.slab_line(0, 10);
    let bucket =
        memory.parts.keys(slab, flow.protocol) + place(flow.inside_port).bucket(SMALL_SHIFT);
    let rival = SlotKey::new(flow.inside_port, SlotState::Open, 100);
    let line = |at| memory.slabs.get(at).expect("in the table");
    line(bucket).at(0).store(rival.0);
    let room = memory.room(slab).expect("a slab");
    assert!(room.take_port(flow.protocol));

    let (memory, world) = (&memory, &world);
    *tables.meanwhile.borrow_mut() = Some(Box::new(move || {
        assert!(install::take(memory, &world.geometry, &grant(8)), "empty");
        install::give(memory, &world.geometry, &grant(11), 0, 0).expect("free");
    }));
    assert!(!search::is_alone(&tables, flow, own));
    assert!(tables.meanwhile.borrow().is_none(), "it happened");
}

/// Between the look at its home and the claim the only block is taken and given to another subscriber, or
/// given back as it was: in another's block nothing is opened, and nothing is left.
#[test]
fn nothing_is_opened_in_a_block_that_is_another_ones_by_then() {
    for heir in [subscriber::PLAIN, subscriber::NO_BLOCK_YET] {
        let world = World::new();
        let memory = Memory::private(world.geometry.sizes).expect("memory");
        world.install(&memory);
        let give = |inside: std::net::Ipv4Addr| {
            let grant = Grant {
                inside: inside.into(),
                ..grant(8)
            };
            install::give(&memory, &world.geometry, &grant, 0, 0).expect("the block is free");
        };
        give(subscriber::NO_BLOCK_YET);
        let index = world.geometry.subscriber_index(subscriber::NO_BLOCK_YET);
        let flow = Flow {
            subscriber: index.expect("known"),
            protocol: Protocol::Udp,
            inside_port: 40_000,
            remote: 1,
            state: SlotState::Open as u64,
            tick: 100,
        };
        let counted = Counted::default();
        let tables = world.tables(&memory, &counted);
        let entry = memory.subscribers.get(flow.subscriber).expect("known");
        let head = SubscriberHead(entry.head.load());
        let (index, protocol, port) = (flow.subscriber, flow.protocol, flow.inside_port);
        let home = Home::of(&tables, index, entry, head, protocol, port).expect("one block");

        assert!(install::take(&memory, &world.geometry, &grant(8)), "empty");
        give(heir);
        let opened = home::open(&tables, flow, home.known(), true);
        assert!(!opened.live().is_some(), "the head tells");
        let claim = opened.claim();
        assert!(claim.is_some(), "whose it is was not asked before");
        assert!(search::is_alone(&tables, flow, claim), "he has no other");
        let is_own = heir == subscriber::NO_BLOCK_YET;
        let settled = open::settle(&tables, flow, claim, true);
        assert_eq!(settled.port().is_some(), is_own);
        let room = memory.room(world.geometry.slab_line(0, 8)).expect("a slab");
        let used = if is_own { Used::one(protocol) } else { 0 };
        assert_eq!(room.used(), Used(used));
    }
}
