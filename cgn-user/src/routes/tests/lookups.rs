//! Where packets go: preference, doubt, several paths.

use super::*;

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
