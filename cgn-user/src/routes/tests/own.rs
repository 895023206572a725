//! The router's own addresses.

use super::*;

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
