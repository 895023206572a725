//! The whole module against hand-made cases and against a naive model.

use std::net::Ipv4Addr;

use cgn_common::layout::{ROUTE_ELSEWHERE, ROUTE_LOCAL, ROUTE_NONE};

use super::*;

mod model;
mod properties;

const INSIDE: u32 = 2;
const OUTSIDE: u32 = 3;
const TAGGED: u32 = 4;
const OTHER: u32 = 9;

fn ip(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

fn prefix(text: &str) -> Prefix {
    let (address, len) = text.split_once('/').expect("a prefix");
    Prefix::new(ip(address), len.parse().expect("a length")).expect("a prefix")
}

fn mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, last]
}

fn link(ifindex: u32, vlan: Option<(u32, u16)>) -> Link {
    Link {
        ifindex,
        name: format!("if{ifindex}"),
        mac: mac(ifindex as u8),
        mtu: 1500,
        up: true,
        vlan,
        vrf: None,
    }
}

fn links() -> Vec<Link> {
    vec![
        link(1, None),
        link(INSIDE, None),
        link(OUTSIDE, None),
        link(TAGGED, Some((OUTSIDE, 100))),
        link(OTHER, None),
    ]
}

fn ports() -> Vec<Port> {
    let port = |device, side, phys_ifindex, vlan| Port {
        device,
        side,
        phys_ifindex,
        vlan,
        realm: 0,
    };
    vec![
        port(0, Side::Inside, INSIDE, vec![]),
        port(1, Side::Outside, OUTSIDE, vec![]),
        port(1, Side::Outside, OUTSIDE, vec![100]),
    ]
}

fn route(dst: &str, kind: RouteKind, paths: &[Path]) -> Route {
    Route {
        dst: prefix(dst),
        table: match kind {
            RouteKind::Local | RouteKind::Broadcast => Table::Local,
            _ => Table::Main,
        },
        tos: 0,
        metric: 0,
        kind,
        paths: paths.to_vec(),
        mtu: None,
        fingerprint: 0,
    }
}

fn via(gateway: &str, ifindex: u32) -> Path {
    Path {
        gateway: Some(ip(gateway)),
        ifindex,
    }
}

fn on_link(ifindex: u32) -> Path {
    Path {
        gateway: None,
        ifindex,
    }
}

fn neighbour(ifindex: u32, address: &str, last: u8, state: NeighbourState) -> Neighbour {
    Neighbour {
        ifindex,
        ip: ip(address),
        mac: (last != 0).then(|| mac(last)),
        state,
    }
}

/// Inside 100.64.0.1/24, outside 198.51.100.1/24 with the default gateway .254, and on VLAN 100
/// of the same device 203.0.113.1/24.
fn tracker() -> Tracker {
    let mut tracker = Tracker::new(ports());
    tracker.set_links(links());
    let mut routes = RouteTable::new();
    let connected = [
        (INSIDE, "100.64.0"),
        (OUTSIDE, "198.51.100"),
        (TAGGED, "203.0.113"),
    ];
    let mut addresses = Vec::new();
    for (ifindex, net) in connected {
        addresses.push(Address {
            ifindex,
            ip: ip(&format!("{net}.1")),
            prefix_len: 24,
        });
        for (dst, kind) in [
            (format!("{net}.1/32"), RouteKind::Local),
            (format!("{net}.255/32"), RouteKind::Broadcast),
            (format!("{net}.0/24"), RouteKind::Unicast),
        ] {
            routes.insert(&route(&dst, kind, &[on_link(ifindex)]), Placement::Last);
        }
    }
    let default = route(
        "0.0.0.0/0",
        RouteKind::Unicast,
        &[via("198.51.100.254", OUTSIDE)],
    );
    routes.insert(&default, Placement::Last);
    tracker.set_routes(routes);
    tracker.set_addresses(addresses);
    tracker.set_neighbours(vec![
        neighbour(INSIDE, "100.64.0.10", 10, NeighbourState::Reachable),
        neighbour(INSIDE, "100.64.0.11", 11, NeighbourState::Stale),
        neighbour(INSIDE, "100.64.0.12", 0, NeighbourState::Failed),
        neighbour(OUTSIDE, "198.51.100.254", 254, NeighbourState::Permanent),
        neighbour(TAGGED, "203.0.113.2", 2, NeighbourState::Delay),
    ]);
    tracker
}

fn add(tracker: &mut Tracker, route: Route) {
    tracker.apply(Change::RouteAdded(route, Placement::First));
}

/// The exact table that goes with the /16 table.
fn listed(fib: &Fib, special: &[Prefix], limit: usize) -> ExactTable {
    exact(fib, &summarise(fib, special), limit)
}

/// The Ethernet address that packets to `destination` go to.
fn mac_to(fib: &Fib, destination: &str) -> Option<[u8; 6]> {
    match fib.resolve(ip(destination)) {
        Resolution::Hop(id) => Some(fib.next_hop(id).expect("the id is listed").mac),
        _ => None,
    }
}

#[test]
fn resolves_as_the_kernel_does() {
    let mut tracker = tracker();
    let unicast = |dst, path: Path| route(dst, RouteKind::Unicast, &[path]);
    add(
        &mut tracker,
        unicast("10.0.0.0/8", via("192.168.0.1", OTHER)),
    );
    add(
        &mut tracker,
        unicast("10.1.0.0/16", via("100.64.0.10", INSIDE)),
    );
    add(
        &mut tracker,
        unicast("10.1.2.0/24", via("100.64.0.13", INSIDE)),
    );
    add(
        &mut tracker,
        route("10.2.0.0/16", RouteKind::Blackhole, &[]),
    );
    add(
        &mut tracker,
        route("10.3.0.0/16", RouteKind::Unreachable, &[]),
    );
    add(&mut tracker, route("10.4.0.0/16", RouteKind::Prohibit, &[]));
    add(&mut tracker, route("10.5.0.0/16", RouteKind::Throw, &[]));
    add(
        &mut tracker,
        route("10.6.0.0/16", RouteKind::KernelOnly, &[]),
    );
    let fib = tracker.snapshot();
    let unresolved = |gateway, ifindex, port| Resolution::Unresolved {
        gateway: ip(gateway),
        ifindex,
        port,
    };
    let cases = [
        ("an own address", "100.64.0.1", Resolution::Local),
        ("a broadcast", "203.0.113.255", Resolution::Local),
        ("loopback", "127.0.0.53", Resolution::Local),
        ("multicast", "224.0.0.5", Resolution::Local),
        (
            "the limited broadcast",
            "255.255.255.255",
            Resolution::Local,
        ),
        ("no address", "0.0.0.0", Resolution::Local),
        (
            "a neighbour never heard of",
            "100.64.0.99",
            unresolved("100.64.0.99", INSIDE, 0),
        ),
        (
            "a neighbour that does not answer",
            "100.64.0.12",
            unresolved("100.64.0.12", INSIDE, 0),
        ),
        (
            "a neighbour on a VLAN",
            "203.0.113.3",
            unresolved("203.0.113.3", TAGGED, 2),
        ),
        (
            "a gateway never heard of",
            "10.1.2.3",
            unresolved("100.64.0.13", INSIDE, 0),
        ),
        (
            "not our port",
            "10.255.0.1",
            Resolution::OffPort { ifindex: OTHER },
        ),
        ("blackhole", "10.2.0.1", Resolution::Blackhole),
        ("unreachable", "10.3.0.1", Resolution::Unreachable),
        ("prohibit", "10.4.0.1", Resolution::Prohibited),
        (
            "throw, and nothing in the default table",
            "10.5.0.1",
            Resolution::NoRoute,
        ),
        (
            "an IPv6 gateway and the like",
            "10.6.0.1",
            Resolution::KernelOnly,
        ),
    ];
    for (what, destination, expected) in cases {
        assert_eq!(fib.resolve(ip(destination)), expected, "{what}");
    }
    let hops = [
        ("a neighbour", "100.64.0.10", 10),
        ("a stale neighbour", "100.64.0.11", 11),
        ("the default gateway", "8.8.8.8", 254),
        ("another gateway", "10.1.3.1", 10),
        ("a neighbour on a VLAN", "203.0.113.2", 2),
    ];
    for (what, destination, expected) in hops {
        assert_eq!(mac_to(&fib, destination), Some(mac(expected)), "{what}");
    }
}

#[test]
fn a_next_hop_has_all_that_a_frame_needs() {
    let mut tracker = tracker();
    let mut small = route(
        "192.0.2.0/24",
        RouteKind::Unicast,
        &[via("203.0.113.2", TAGGED)],
    );
    small.mtu = Some(1400);
    add(&mut tracker, small);
    let fib = tracker.snapshot();
    let hop = |destination| match fib.resolve(ip(destination)) {
        Resolution::Hop(id) => fib.next_hop(id).cloned(),
        _ => None,
    };
    let expected = NextHop {
        ip: ip("203.0.113.2"),
        mac: mac(2),
        src_mac: mac(TAGGED as u8),
        phys_ifindex: OUTSIDE,
        device: 1,
        side: Side::Outside,
        realm: 0,
        vlans: vec![100],
        mtu: 1500,
    };
    assert_eq!(hop("203.0.113.2"), Some(expected.clone()), "on the link");
    let smaller = NextHop {
        mtu: 1400,
        ..expected
    };
    assert_eq!(hop("192.0.2.1"), Some(smaller), "the route's MTU");
}

/// A device takes frames with one tag more than its MTU says. What is larger would be lost uncounted.
#[test]
fn tags_must_fit_into_the_frames_of_the_device() {
    // (what, tags, MTU of the device, MTU of the link, the largest packet)
    let cases: [(&str, &[u16], u32, u32, u32); 6] = [
        ("untagged", &[], 1500, 1500, 1500),
        ("one tag", &[100], 1500, 1500, 1500),
        ("two tags", &[7, 100], 1500, 1500, 1496),
        ("two tags, room for them", &[7, 100], 1504, 1500, 1500),
        ("two tags, a smaller link", &[7, 100], 1500, 1400, 1400),
        (
            "a device that is too small for one tag's packets",
            &[100],
            1400,
            1500,
            1400,
        ),
    ];
    for (what, tags, device_mtu, link_mtu, expected) in cases {
        let mut port = ports().remove(1);
        port.vlan = tags.to_vec();
        let mut tracker = Tracker::new(vec![port]);
        let mut links = vec![Link {
            mtu: device_mtu,
            ..link(OUTSIDE, None)
        }];
        for (number, id) in (10..).zip(tags) {
            let below = if number == 10 { OUTSIDE } else { number - 1 };
            links.push(link(number, Some((below, *id))));
        }
        let top = links.last_mut().expect("the device at least");
        top.mtu = top.mtu.min(link_mtu);
        let ifindex = top.ifindex;
        tracker.set_links(links);
        let mut routes = RouteTable::new();
        routes.insert(
            &route("203.0.113.0/24", RouteKind::Unicast, &[on_link(ifindex)]),
            Placement::Last,
        );
        tracker.set_routes(routes);
        tracker.set_neighbours(vec![neighbour(
            ifindex,
            "203.0.113.2",
            2,
            NeighbourState::Reachable,
        )]);
        let fib = tracker.snapshot();
        let mtus: Vec<u32> = fib.next_hops().map(|(_, hop)| hop.mtu).collect();
        assert_eq!(mtus, [expected], "{what}");
        let room = fib.port_room(0).expect("the device is there");
        assert_eq!(room.min(link_mtu), expected, "{what}");
    }
}

/// What only the kernel knows, or what depends on more than the destination, is left to it.
#[test]
fn doubt_is_left_to_the_kernel() {
    let gateway = [via("198.51.100.254", OUTSIDE)];
    let main = |dst| route(dst, RouteKind::Unicast, &gateway);
    let fallback = |dst| Route {
        table: Table::Default,
        ..main(dst)
    };
    let for_tos = |dst| Route {
        tos: 16,
        ..main(dst)
    };
    let local = |dst| route(dst, RouteKind::Local, &[on_link(1)]);
    let drop = |dst| route(dst, RouteKind::Blackhole, &[]);
    let throw = |dst| route(dst, RouteKind::Throw, &[]);
    let hop = Some(mac(254));
    let cases = [
        ("one route", vec![main("10.0.0.0/24")], hop),
        (
            "also one for a type of service",
            vec![main("10.0.0.0/24"), for_tos("10.0.0.0/24")],
            None,
        ),
        (
            "inside a wide local route",
            vec![local("10.0.0.0/8"), main("10.0.0.0/24")],
            None,
        ),
        (
            "the same, in one /16",
            vec![local("10.0.0.0/20"), main("10.0.0.0/24")],
            None,
        ),
        (
            "dropped, and in the default table too",
            vec![drop("10.0.0.0/24"), fallback("10.0.0.0/8")],
            None,
        ),
        (
            "thrown to the default table",
            vec![throw("10.0.0.0/24"), fallback("10.0.0.0/8")],
            hop,
        ),
    ];
    for (what, routes, expected) in cases {
        let mut tracker = tracker();
        tracker.apply(Change::RouteGone(main("0.0.0.0/0")));
        for route in routes {
            add(&mut tracker, route);
        }
        let fib = tracker.snapshot();
        assert_eq!(mac_to(&fib, "10.0.0.1"), expected, "{what}");
        if expected.is_none() {
            assert_eq!(
                fib.resolve(ip("10.0.0.1")),
                Resolution::KernelOnly,
                "{what}"
            );
        }
    }

    let mut tracker = tracker();
    tracker.set_kernel_decides(true);
    let fib = tracker.snapshot();
    assert_eq!(fib.resolve(ip("8.8.8.8")), Resolution::KernelOnly, "rules");
    assert_eq!(fib.resolve(ip("100.64.0.1")), Resolution::Local, "rules");
    assert!(summarise(&fib, &[]).iter().all(|&id| id == MIXED), "rules");
    add(&mut tracker, local("10.0.0.0/16"));
    let table = summarise(&tracker.snapshot(), &[]);
    assert_eq!(table[0x0a00], ROUTE_LOCAL, "rules and a wide local route");
    let locals_only = listed(&fib, &[], 100);
    assert!(
        locals_only
            .entries
            .iter()
            .all(|(_, to)| *to == Exact::Local)
    );
}

#[test]
fn a_vrf_is_followed_if_its_table_is_that_of_the_realm() {
    const OF_REALM: u32 = 20;
    let network = Network {
        realm: 1,
        table: 100,
        address: 0x6440,
        key: 0xf000,
    };
    let cases = [
        ("no link in a VRF", OF_REALM, None, false),
        ("a realm's, with its table", OF_REALM, Some(100), false),
        ("a realm's, with another table", OF_REALM, Some(7), true),
        ("the first realm's", INSIDE, Some(100), true),
        ("outside", OUTSIDE, Some(100), true),
        ("a VLAN outside", TAGGED, Some(100), true),
        ("a link that is none of ours", OTHER, Some(7), false),
    ];
    for (what, ifindex, vrf, expected) in cases {
        let mut ports = ports();
        ports.push(Port {
            device: 2,
            side: Side::Inside,
            phys_ifindex: OF_REALM,
            vlan: vec![],
            realm: 1,
        });
        let mut tracker = Tracker::new(ports).with_networks(Networks::new(&[network]));
        let mut links = links();
        links.push(link(OF_REALM, None));
        for link in links.iter_mut().filter(|link| link.ifindex == ifindex) {
            link.vrf = vrf;
        }
        tracker.set_links(links.clone());
        let fib = tracker.snapshot();
        assert_eq!(fib.kernel_decides(), expected, "{what}");
        let strange: Vec<u32> = fib.strange_vrfs().map(|(_, link)| link.ifindex).collect();
        assert_eq!(strange == [ifindex], expected, "{what}");
        // Taken out of it.
        for mut link in links {
            link.vrf = None;
            tracker.apply(Change::LinkSet(link));
        }
        assert!(!tracker.snapshot().kernel_decides(), "{what}, not any more");
    }
}

#[test]
fn takes_the_first_path_that_works() {
    let paths = [
        via("100.64.0.12", INSIDE),
        via("198.51.100.254", OUTSIDE),
        via("203.0.113.2", TAGGED),
    ];
    let mut tracker = tracker();
    add(
        &mut tracker,
        route("10.0.0.0/8", RouteKind::Unicast, &paths),
    );
    let down = |ifindex, vlan| Link {
        up: false,
        ..link(ifindex, vlan)
    };
    let known = neighbour(INSIDE, "100.64.0.12", 12, NeighbourState::Reachable);
    let steps = [
        ("the first gateway does not answer", None, Some(254)),
        (
            "the first answers",
            Some(Change::NeighbourSet(known)),
            Some(12),
        ),
        (
            "its link goes down",
            Some(Change::LinkSet(down(INSIDE, None))),
            Some(254),
        ),
        (
            "so does the second's",
            Some(Change::LinkSet(down(OUTSIDE, None))),
            Some(2),
        ),
        (
            "and the third's",
            Some(Change::LinkSet(down(TAGGED, Some((OUTSIDE, 100))))),
            None,
        ),
        (
            "the second is back",
            Some(Change::LinkSet(link(OUTSIDE, None))),
            Some(254),
        ),
    ];
    for (what, change, expected) in steps {
        if let Some(change) = change {
            assert!(tracker.apply(change), "{what}: a change that shows");
        }
        let fib = tracker.snapshot();
        assert_eq!(mac_to(&fib, "10.0.0.1"), expected.map(mac), "{what}");
    }
}

/// The kernel uses the first of the routes that are equal but for their place.
#[test]
fn placement_decides_among_equals() {
    let to = |last: u8, metric, fingerprint| Route {
        metric,
        fingerprint,
        ..route(
            "10.0.0.0/8",
            RouteKind::Unicast,
            &[via(&format!("100.64.0.{last}"), INSIDE)],
        )
    };
    let added = |route, placement| Change::RouteAdded(route, placement);
    let steps = [
        ("the first", added(to(10, 5, 0), Placement::First), Some(10)),
        ("appended", added(to(11, 5, 0), Placement::Last), Some(10)),
        (
            "again: news from before a dump",
            added(to(10, 5, 0), Placement::Last),
            Some(10),
        ),
        (
            "the same by another protocol",
            added(to(10, 5, 7), Placement::Last),
            Some(10),
        ),
        (
            "one of these two goes",
            Change::RouteGone(to(10, 5, 0)),
            Some(11),
        ),
        (
            "the other one too",
            Change::RouteGone(to(10, 5, 7)),
            Some(11),
        ),
        ("prepended", added(to(10, 5, 0), Placement::First), Some(10)),
        (
            "replaced by one not known",
            added(to(12, 5, 0), Placement::Replace),
            None,
        ),
        (
            "what was replaced is gone",
            Change::RouteGone(to(12, 5, 0)),
            Some(11),
        ),
        (
            "a better metric",
            added(to(10, 1, 0), Placement::Last),
            Some(10),
        ),
        ("gone", Change::RouteGone(to(10, 1, 0)), Some(11)),
        (
            "gone to the default route",
            Change::RouteGone(to(11, 5, 0)),
            Some(254),
        ),
    ];
    let mut tracker = tracker();
    let before = tracker.route_count();
    for (what, change, expected) in steps {
        assert!(tracker.apply(change), "{what}");
        let fib = tracker.snapshot();
        assert_eq!(mac_to(&fib, "10.0.0.1"), expected.map(mac), "{what}");
    }
    assert_eq!(tracker.route_count(), before);
    assert!(
        !tracker.apply(Change::RouteGone(to(11, 5, 0))),
        "removing what is not there is reported"
    );
}

#[test]
fn a_neighbour_keeps_its_id() {
    let mut tracker = tracker();
    let id = |fib: &Fib| match fib.resolve(ip("8.8.8.8")) {
        Resolution::Hop(id) => Some(id),
        _ => None,
    };
    let first = tracker.snapshot();
    let before = id(&first).expect("resolved");
    let gateway =
        |last, state| Change::NeighbourSet(neighbour(OUTSIDE, "198.51.100.254", last, state));

    assert!(
        !tracker.apply(gateway(254, NeighbourState::Stale)),
        "nothing that shows"
    );
    assert!(
        tracker.apply(gateway(77, NeighbourState::Reachable)),
        "another MAC shows"
    );
    let fib = tracker.snapshot();
    assert_eq!(id(&fib), Some(before), "the id stays");
    assert_eq!(mac_to(&fib, "8.8.8.8"), Some(mac(77)));
    assert_eq!(
        mac_to(&first, "8.8.8.8"),
        Some(mac(254)),
        "snapshots do not change"
    );

    tracker.apply(gateway(0, NeighbourState::Failed));
    let fib = tracker.snapshot();
    assert_eq!(id(&fib), None);
    assert!(fib.next_hop(before).is_none());
    assert!(
        summarise(&fib, &[])[0x0808] == before,
        "its routes still name it"
    );
    let lost: Vec<_> = fib.lost_hops().map(|(id, hop)| (id, *hop)).collect();
    let expected = LostHop {
        ip: ip("198.51.100.254"),
        ifindex: OUTSIDE,
        port: 1,
    };
    assert_eq!(
        lost,
        [(before, expected)],
        "and it is known who must be found"
    );

    tracker.apply(Change::NeighbourSet(neighbour(
        INSIDE,
        "100.64.0.50",
        50,
        NeighbourState::Reachable,
    )));
    tracker.apply(gateway(254, NeighbourState::Reachable));
    let fib = tracker.snapshot();
    assert_eq!(id(&fib), Some(before), "it is still the gateway's");
    assert!(fib.generation() > first.generation());
}

#[test]
fn without_ids_the_kernel_is_asked() {
    let mut tracker = Tracker::with_hop_limit(ports(), 2);
    tracker.set_links(links());
    let mut routes = RouteTable::new();
    routes.insert(
        &route("100.64.0.0/24", RouteKind::Unicast, &[on_link(INSIDE)]),
        Placement::Last,
    );
    tracker.set_routes(routes);
    let reachable = |last| {
        neighbour(
            INSIDE,
            &format!("100.64.0.{last}"),
            last,
            NeighbourState::Reachable,
        )
    };
    tracker.set_neighbours(vec![reachable(10), reachable(11), reachable(12)]);
    let fib = tracker.snapshot();
    let count = |wanted: fn(&Resolution) -> bool| {
        (10..13)
            .filter(|last| wanted(&fib.resolve(ip(&format!("100.64.0.{last}")))))
            .count()
    };
    assert_eq!(count(|r| matches!(r, Resolution::Hop(_))), 2);
    assert_eq!(count(|r| *r == Resolution::KernelOnly), 1);
    assert_eq!(fib.hops_without_id(), 1);
    assert_eq!(listed(&fib, &[], 100).entries.len(), 2);
}

#[test]
fn the_exact_table_is_bounded() {
    let mut tracker = tracker();
    add(
        &mut tracker,
        route("192.0.2.0/28", RouteKind::Local, &[on_link(1)]),
    );
    add(
        &mut tracker,
        route("10.0.0.0/8", RouteKind::Local, &[on_link(1)]),
    );
    let fib = tracker.snapshot();
    let all = listed(&fib, &[], 1000);
    let locals = all
        .entries
        .iter()
        .filter(|(_, to)| *to == Exact::Local)
        .count();
    assert_eq!(
        locals,
        6 + 16,
        "three own addresses, three broadcasts, a small local prefix; a /8 is in the other table"
    );
    assert_eq!(
        all.entries.len(),
        locals + 4,
        "and four neighbours, the gateway among them"
    );
    assert_eq!((all.omitted_local, all.omitted_hops), (0, 0));
    let some = listed(&fib, &[], 21);
    assert_eq!(some.entries, all.entries[..21], "own addresses come first");
    assert_eq!((some.omitted_local, some.omitted_hops), (1, 4));
    let special = listed(&fib, &[prefix("10.7.0.0/16")], 1000);
    assert!(
        special.entries.contains(&(ip("10.7.0.5"), Exact::Local)),
        "this /16 is not in the other table"
    );
    assert_eq!(special.omitted_local, 0x1_0000 + locals - 1000);
}

/// A /16 without a next hop is told in one word, too, so that nobody must be asked for it.
#[test]
fn a_16_that_is_not_forwarded_is_told() {
    let mut tracker = tracker();
    tracker.apply(Change::RouteGone(route(
        "0.0.0.0/0",
        RouteKind::Unicast,
        &[via("198.51.100.254", OUTSIDE)],
    )));
    for (dst, kind, paths) in [
        ("10.0.0.0/15", RouteKind::Local, vec![on_link(1)]),
        ("10.1.2.0/24", RouteKind::Broadcast, vec![on_link(1)]),
        ("10.3.0.0/17", RouteKind::Local, vec![on_link(1)]),
        ("10.4.0.0/16", RouteKind::Blackhole, vec![]),
        ("10.5.0.0/17", RouteKind::Unreachable, vec![]),
        (
            "10.6.0.0/16",
            RouteKind::Unicast,
            vec![via("192.168.0.1", OTHER)],
        ),
        ("10.7.0.0/16", RouteKind::KernelOnly, vec![]),
        ("10.8.0.0/16", RouteKind::Unicast, vec![on_link(INSIDE)]),
        ("127.0.0.0/8", RouteKind::Local, vec![on_link(1)]),
        ("169.254.0.0/16", RouteKind::Local, vec![on_link(1)]),
    ] {
        add(&mut tracker, route(dst, kind, &paths));
    }
    let fib = tracker.snapshot();
    let table = summarise(&fib, &[prefix("10.0.4.0/24")]);
    for (what, span, expected) in [
        ("local, but a pool is in it", 0x0a00, MIXED),
        ("local and broadcast", 0x0a01, ROUTE_LOCAL),
        ("half of it is local", 0x0a03, MIXED),
        ("blackhole", 0x0a04, ROUTE_NONE),
        (
            "half of it unreachable, half without a route",
            0x0a05,
            ROUTE_NONE,
        ),
        ("not our port", 0x0a06, ROUTE_ELSEWHERE),
        ("the kernel's", 0x0a07, MIXED),
        ("on the link", 0x0a08, MIXED),
        ("no route at all", 0x0808, ROUTE_NONE),
        ("loopback", 0x7f01, MIXED),
        ("link-local", 0xa9fe, MIXED),
        ("multicast", 0xe000, MIXED),
    ] {
        assert_eq!(table[span], expected, "{what}");
    }
}

/// The same address behind two links: the one that the route names counts, once.
#[test]
fn a_neighbour_on_the_wrong_link_does_not_count() {
    let mut tracker = tracker();
    let twin = |ifindex, last| {
        let state = NeighbourState::Reachable;
        Change::NeighbourSet(neighbour(ifindex, "100.64.0.10", last, state))
    };
    tracker.apply(twin(OUTSIDE, 77));
    let fib = tracker.snapshot();
    assert_eq!(mac_to(&fib, "100.64.0.10"), Some(mac(10)));
    let listed = listed(&fib, &[], 1000).entries;
    let entries = listed.iter().filter(|(at, _)| *at == ip("100.64.0.10"));
    assert_eq!(entries.count(), 1);
    let hops = fib.next_hops().filter(|(_, hop)| hop.mac == mac(77));
    assert_eq!(hops.count(), 0, "no id for the other one");
}

#[test]
fn a_special_prefix_makes_its_16s_mixed() {
    let fib = tracker().snapshot();
    let span = |text: &str| (u32::from(ip(text)) >> 16) as usize;
    let plain = summarise(&fib, &[]);
    assert_ne!(plain[span("8.8.0.0")], MIXED);
    for (what, special, inside) in [
        ("a single address", "8.8.8.8/32", vec!["8.8.0.0"]),
        ("a wide prefix", "8.8.0.0/14", vec!["8.8.0.0", "8.11.0.0"]),
    ] {
        let table = summarise(&fib, &[prefix(special)]);
        for address in inside {
            assert_eq!(table[span(address)], MIXED, "{what}");
        }
        assert_eq!(
            table[span("8.7.0.0")],
            plain[span("8.7.0.0")],
            "{what}: outside"
        );
        assert_eq!(
            table[span("8.12.0.0")],
            plain[span("8.12.0.0")],
            "{what}: outside"
        );
    }
}

/// A default route covers these, and must not carry them out.
#[test]
fn what_no_router_forwards_is_mixed() {
    let mut tracker = tracker();
    let loopback = route("127.0.0.0/24", RouteKind::Local, &[on_link(1)]);
    add(&mut tracker, loopback);
    let fib = tracker.snapshot();
    let table = summarise(&fib, &[]);
    for (what, span) in [
        ("0.0.0.0", 0x0000),
        ("the rest of this network", 0x00ff),
        ("link-local", 0xa9fe),
        ("reserved", 0xf000),
        ("loopback", 0x7f00),
        ("the rest of loopback", 0x7fff),
        ("multicast", 0xe000),
        ("the rest of multicast", 0xefff),
        ("the limited broadcast", 0xffff),
    ] {
        assert_eq!(table[span], MIXED, "{what}");
    }
    assert_ne!(table[0x7e00], MIXED, "an ordinary one");
    let listed = listed(&fib, &[], 1000).entries;
    let loopback = listed.iter().filter(|(ip, _)| ip.is_loopback());
    assert_eq!(loopback.count(), 0, "loopback needs no entry");
}

#[test]
fn own_addresses_of_a_port() {
    let fib = tracker().snapshot();
    let of = |port| fib.port_addresses(port).map(|a| a.ip).collect::<Vec<_>>();
    assert_eq!(of(0), [ip("100.64.0.1")]);
    assert_eq!(of(1), [ip("198.51.100.1")]);
    assert_eq!(of(2), [ip("203.0.113.1")]);
    let links = |port| fib.port_links(port).map(|link| link.ifindex);
    assert!(links(1).eq([OUTSIDE]) && links(2).eq([TAGGED]));
}

#[test]
fn own_address_towards_a_destination() {
    let mut tracker = tracker();
    for (ifindex, own, prefix_len) in [(INSIDE, "10.9.0.1", 30), (OUTSIDE, "10.8.0.1", 30)] {
        let (ip, prefix_len) = (ip(own), prefix_len);
        tracker.apply(Change::AddressSet(Address {
            ifindex,
            ip,
            prefix_len,
        }));
    }
    add(
        &mut tracker,
        route(
            "172.30.0.0/16",
            RouteKind::Unicast,
            &[via("10.9.0.2", INSIDE)],
        ),
    );
    let fib = tracker.snapshot();
    let any = |_: Ipv4Addr| true;
    let public = |ip: Ipv4Addr| !ip.is_private();
    let of = |side, to: &str, is_fit: fn(Ipv4Addr) -> bool| {
        fib.own_address(side, to.parse().unwrap(), is_fit)
    };
    type Fit = fn(Ipv4Addr) -> bool;
    let cases: [(&str, Side, &str, Fit, Option<&str>); 6] = [
        (
            "the neighbour's network",
            Side::Inside,
            "100.64.0.10",
            any,
            Some("100.64.0.1"),
        ),
        (
            "the gateway's, though it is silent",
            Side::Inside,
            "172.30.0.1",
            any,
            Some("10.9.0.1"),
        ),
        (
            "no way on this side: the lowest",
            Side::Inside,
            "203.0.113.2",
            any,
            Some("10.9.0.1"),
        ),
        (
            "the lowest outside",
            Side::Outside,
            "100.64.0.10",
            any,
            Some("10.8.0.1"),
        ),
        (
            "but a public one",
            Side::Outside,
            "100.64.0.10",
            public,
            Some("198.51.100.1"),
        ),
        (
            "none that fits",
            Side::Outside,
            "100.64.0.10",
            |_| false,
            None,
        ),
    ];
    for (what, side, to, is_fit, expected) in cases {
        assert_eq!(of(side, to, is_fit), expected.map(ip), "{what}");
    }
}

#[test]
fn probes_the_lost_then_the_stale() {
    let mut tracker = tracker();
    let paths = [via("100.64.0.13", INSIDE), via("192.168.0.1", OTHER)];
    add(
        &mut tracker,
        route("10.0.0.0/8", RouteKind::Unicast, &paths),
    );
    tracker.apply(Change::NeighbourSet(neighbour(
        OUTSIDE,
        "198.51.100.254",
        254,
        NeighbourState::Stale,
    )));
    let fib = tracker.snapshot();
    let asked: Vec<_> = tracker.probes(&fib).iter().map(|probe| probe.ip).collect();
    let expected = ["100.64.0.13", "198.51.100.254", "100.64.0.11"].map(ip);
    assert_eq!(
        asked, expected,
        "a lost gateway, a stale gateway, a stale neighbour; no other port"
    );

    let wants = |ifindex, address| {
        tracker.wants_probe(Probe {
            ifindex,
            ip: ip(address),
        })
    };
    assert!(wants(INSIDE, "100.64.0.12"), "failed");
    assert!(wants(INSIDE, "100.64.0.77"), "unknown");
    assert!(!wants(INSIDE, "100.64.0.10"), "reachable");
    tracker.apply(Change::NeighbourSet(neighbour(
        INSIDE,
        "100.64.0.12",
        1,
        NeighbourState::Permanent,
    )));
    let wants = |ifindex, address| {
        tracker.wants_probe(Probe {
            ifindex,
            ip: ip(address),
        })
    };
    assert!(
        !wants(INSIDE, "100.64.0.12"),
        "permanent entries are not touched"
    );
}
