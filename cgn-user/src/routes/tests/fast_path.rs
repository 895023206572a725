//! The fast path's tables: one value for a /16, and single addresses.

use super::*;

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
