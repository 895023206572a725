use cgn_common::layout;

use super::super::memory::{Memory, Sizes};
use super::super::routing::{free_ids, links_of, narrow, vrf_cautions};
use crate::routes::{
    Address, Change, Fib, Link, Network, Networks, Placement, Port, Prefix, Route, RouteKind, Side,
    Table, Tracker,
};

fn link(ifindex: u32, mtu: u32, vlan: Option<(u32, u16)>) -> Link {
    Link {
        ifindex,
        name: format!("if{ifindex}"),
        mac: [2, 0, 0, 0, 0, ifindex as u8],
        mtu,
        up: true,
        vlan,
        vrf: None,
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

/// Inside 2, outside 3, and 4 of a realm with table 100 and subscribers of 100.64.0.0/16; one of them in a VRF, and
/// with an address; and what the default route in table 100 does.
fn fib_with_vrf(ifindex: u32, table: u32, address: [u8; 4], default: RouteKind) -> Fib {
    let port = |device, side, phys_ifindex, realm| Port {
        device,
        side,
        phys_ifindex,
        vlan: vec![],
        realm,
    };
    let network = Network {
        realm: 1,
        table: 100,
        address: 0x6440,
        key: 0xf000,
    };
    let mut tracker = Tracker::new(vec![
        port(0, Side::Inside, 2, 0),
        port(1, Side::Outside, 3, 0),
        port(2, Side::Inside, 4, 1),
    ])
    .with_networks(Networks::new(&[network]));
    let mut links: Vec<Link> = (2..6).map(|ifindex| link(ifindex, 1500, None)).collect();
    links[ifindex as usize - 2].vrf = Some(table);
    tracker.set_links(links);
    tracker.set_addresses(vec![Address {
        ifindex,
        ip: address.into(),
        prefix_len: 30,
    }]);
    let route = Route {
        dst: Prefix::ALL,
        table: Table::Other(100),
        tos: 0,
        metric: 4_278_198_272,
        kind: default,
        paths: Vec::new(),
        mtu: None,
        fingerprint: 0,
    };
    tracker.apply(Change::RouteAdded(route, Placement::Last));
    tracker.snapshot()
}

#[test]
fn what_does_not_work_in_a_vrf_is_told_with_its_remedy() {
    use RouteKind::{Throw, Unreachable};
    let (own, link) = ([100, 64, 255, 1], [10, 99, 0, 1]);
    type Case<'a> = (&'a str, u32, u32, [u8; 4], RouteKind, &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (
            "a realm's VRF, and an address with a key",
            4,
            100,
            own,
            Throw,
            &[],
        ),
        (
            "an address that has none",
            4,
            100,
            link,
            Throw,
            &["the router's address 10.99.0.1 in this VRF"],
        ),
        (
            "a realm's, with another table",
            4,
            7,
            own,
            Throw,
            &["`table = 7` in place of 100"],
        ),
        (
            "the first realm's",
            2,
            7,
            link,
            Throw,
            &["make it a [[realm]] with `table = 7`"],
        ),
        (
            "outside",
            3,
            7,
            link,
            Throw,
            &["out of the VRF with `ip link set if3 nomaster`"],
        ),
        ("a link that is none of ours", 5, 7, link, Throw, &[]),
        (
            "a VRF that ends all look-ups",
            4,
            100,
            own,
            Unreachable,
            &["set `net.ipv4.conf.if4.forwarding` to 0"],
        ),
    ];
    for (sentence, ifindex, table, address, default, expected) in cases {
        let told = vrf_cautions(&fib_with_vrf(*ifindex, *table, *address, *default));
        assert_eq!(told.len(), expected.len(), "{sentence}: {told:?}");
        for ((interface, text), words) in told.iter().zip(*expected) {
            assert_eq!(*interface, format!("if{ifindex}"), "{sentence}");
            assert!(text.contains(words), "{sentence}: {text}");
        }
    }
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
