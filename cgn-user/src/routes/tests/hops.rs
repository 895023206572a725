//! Next hops: what a frame needs, their numbers, and what is asked for.

use super::*;

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
