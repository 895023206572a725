use cgn_common::layout;

use super::super::memory::{Memory, Sizes};
use super::super::routing::{free_ids, links_of, narrow};
use crate::routes::{Fib, Link, Port, Side, Tracker};

fn link(ifindex: u32, mtu: u32, vlan: Option<(u32, u16)>) -> Link {
    Link {
        ifindex,
        name: format!("if{ifindex}"),
        mac: [2, 0, 0, 0, 0, ifindex as u8],
        mtu,
        up: true,
        vlan,
    }
}

/// Inside untagged on device 2, outside with two tags on device 3. No link has an address.
fn fib(inside_mtu: u32, trunk_mtu: u32) -> Fib {
    let port = |device, side, phys_ifindex, vlan| Port {
        device,
        side,
        phys_ifindex,
        vlan,
        realm: 0,
    };
    let mut tracker = Tracker::new(vec![
        port(0, Side::Inside, 2, vec![]),
        port(1, Side::Outside, 3, vec![7, 100]),
    ]);
    tracker.set_links(vec![
        link(1, 65_536, None),
        link(2, inside_mtu, None),
        link(3, trunk_mtu, None),
        link(4, trunk_mtu, Some((3, 7))),
        link(5, 1500, Some((4, 100))),
        link(6, 1500, Some((3, 200))),
    ]);
    tracker.snapshot()
}

#[test]
fn every_link_of_a_port_is_known_to_xdp_with_its_mtu() {
    let inside = layout::Link {
        ifindex: 2,
        device: 0,
        mtu: 9000,
        side: layout::Side::Inside as u8,
        vlan_count: 0,
        vlans: [0, 0],
        realm: 0,
        reserved: 0,
    };
    let outside = layout::Link {
        ifindex: 3,
        device: 1,
        mtu: 1500,
        side: layout::Side::Outside as u8,
        vlan_count: 2,
        vlans: [7, 100],
        realm: 0,
        reserved: 0,
    };
    let links = links_of(&fib(9000, 1504));
    assert_eq!(
        links.into_iter().collect::<Vec<_>>(),
        [(2, inside), (5, outside)]
    );
    let wide = links_of(&fib(70_000, 1504));
    assert_eq!(wide[&2].mtu, u16::MAX, "the largest that IPv4 has");
}

#[test]
fn a_link_that_is_wider_than_its_device_is_told() {
    assert_eq!(narrow(&fib(1500, 1504)).len(), 0);
    let told = narrow(&fib(1500, 1500));
    assert_eq!(
        told.into_iter().collect::<Vec<_>>(),
        [("if5".to_owned(), 1500, 1496)]
    );
    assert_eq!(links_of(&fib(1500, 1500))[&5].mtu, 1496);
}

#[test]
fn new_ids_begin_where_the_tables_have_most_room() {
    let cases: &[(&[u16], u16, &str)] = &[
        (&[], 1, "empty tables"),
        (&[1, 2, 3], 4, "a first daemon's"),
        (&[40_000, 40_001], 1, "room before them"),
        (&[10, 20_000, 60_000], 20_001, "room between them"),
    ];
    for (used, expected, what) in cases {
        let memory = Memory::private(Sizes::default()).expect("memory");
        for id in *used {
            let hop = layout::NextHop {
                side: layout::Side::Inside as u8,
                ..layout::NextHop::default()
            };
            let entry = memory.next_hops.get(u32::from(*id)).expect("an entry");
            entry.write(&hop);
        }
        assert_eq!(free_ids(&memory), *expected, "{what}");
    }
}
