//! Routes, links, addresses and rules.

use std::time::Duration;

use super::namespace::{PATIENTLY, SOON, World, addr, mac_to, wait_for, world};
use crate::netlink::Options;
use crate::routes::{Exact, Fib, MIXED, Resolution, exact, summarise};

/// The kernel tells of a lost carrier at most once a second.
const CARRIER: Duration = Duration::from_secs(3);

/// Sets neighbours in the kernel that are never asked.
pub(super) fn static_neighbours(world: &World) {
    for (address, device, last) in [
        ("198.51.100.10", "out0", "0a"),
        ("198.51.100.11", "out0", "0b"),
        ("198.51.100.12", "out0", "0c"),
        ("100.64.0.20", "in0", "14"),
        ("100.64.0.21", "in0", "15"),
    ] {
        world.ip(&format!(
            "neighbour add {address} lladdr 02:00:00:00:00:{last} dev {device}"
        ));
    }
}

/// The last byte of the Ethernet address that packets to `destination` go to.
pub(super) fn to(fib: &Fib, destination: &str) -> Option<u8> {
    mac_to(fib, destination).map(|mac| mac[5])
}

#[test]
fn sees_changes_of_routes() {
    let Some(world) = world("netlink sees_changes_of_routes") else {
        return;
    };
    static_neighbours(&world);
    world.ip("route add default via 198.51.100.10");
    let follower = world.follow();
    assert_eq!(to(&follower.fib(), "10.0.0.1"), Some(10), "dumped");
    let steps = [
        ("add", "route add 10.0.0.0/8 via 100.64.0.20", Some(20)),
        (
            "replace",
            "route replace 10.0.0.0/8 via 100.64.0.21",
            Some(21),
        ),
        (
            "append",
            "route append 10.0.0.0/8 via 198.51.100.11",
            Some(21),
        ),
        (
            "prepend",
            "route prepend 10.0.0.0/8 via 198.51.100.12",
            Some(12),
        ),
        (
            "better",
            "route add 10.0.0.0/24 via 198.51.100.11",
            Some(11),
        ),
        ("drop", "route replace blackhole 10.0.0.0/24", None),
        ("delete", "route del blackhole 10.0.0.0/24", Some(12)),
        ("delete", "route del 10.0.0.0/8 via 198.51.100.12", Some(21)),
        ("delete", "route del 10.0.0.0/8 via 100.64.0.21", Some(11)),
        (
            "multipath",
            "route replace 10.0.0.0/8 nexthop via 100.64.0.20 nexthop via 198.51.100.12",
            Some(20),
        ),
        (
            "table",
            "route add 10.0.0.0/24 via 198.51.100.12 table 100",
            Some(20),
        ),
    ];
    for (what, command, expected) in steps {
        world.ip(command);
        wait_for(&follower, SOON, what, |fib| to(fib, "10.0.0.1") == expected);
    }
    let blackhole = |fib: &Fib| fib.resolve(addr("10.1.2.3")) == Resolution::Blackhole;
    world.ip("route add blackhole 10.1.0.0/16");
    wait_for(&follower, SOON, "blackhole", blackhole);
    world.ip("route add 10.2.0.0/16 via 198.51.100.12 mtu 1400");
    let fib = wait_for(&follower, SOON, "mtu", |fib| {
        to(fib, "10.2.0.1") == Some(12)
    });
    let Resolution::Hop(id) = fib.resolve(addr("10.2.0.1")) else {
        unreachable!("just seen");
    };
    assert_eq!(fib.next_hop(id).map(|hop| hop.mtu), Some(1400));
    assert_eq!(follower.status().last_error, None);
}

/// The kernel removes the routes over a link that goes down, and says nothing of it.
#[test]
fn sees_a_link_go_down_and_up() {
    let Some(world) = world("netlink sees_a_link_go_down_and_up") else {
        return;
    };
    static_neighbours(&world);
    world.ip("route add default via 198.51.100.10");
    world.ip("route add default via 100.64.0.20 metric 10");
    world.ip("route add 10.0.0.0/8 nexthop via 198.51.100.10 nexthop via 100.64.0.20");
    let follower = world.follow();
    let fib = follower.fib();
    assert_eq!(
        (to(&fib, "8.8.8.8"), to(&fib, "10.0.0.1")),
        (Some(10), Some(10))
    );

    world.ip("link set out0 down");
    wait_for(
        &follower,
        CARRIER,
        "the other route, the other path",
        |fib| (to(fib, "8.8.8.8"), to(fib, "10.0.0.1")) == (Some(20), Some(20)),
    );
    let own = follower.fib().resolve(addr("198.51.100.1"));
    assert_eq!(own, Resolution::Local, "as for the kernel");

    world.ip("link set out0 up");
    world.ip("route add default via 198.51.100.10");
    world.ip("neighbour replace 198.51.100.10 lladdr 02:00:00:00:00:0a dev out0");
    wait_for(&follower, CARRIER, "back", |fib| {
        (to(fib, "8.8.8.8"), to(fib, "10.0.0.1")) == (Some(10), Some(10))
    });

    world.theirs("link set out1 down");
    wait_for(&follower, CARRIER, "no carrier: another path", |fib| {
        to(fib, "10.0.0.1") == Some(20)
    });
    world.ip("link del out0");
    wait_for(&follower, CARRIER, "deleted", |fib| {
        to(fib, "8.8.8.8") == Some(20)
    });
}

#[test]
fn sees_own_addresses() {
    let Some(world) = world("netlink sees_own_addresses") else {
        return;
    };
    let follower = world.follow();
    let local = |fib: &Fib, address| fib.resolve(addr(address)) == Resolution::Local;
    let listed = |fib: &Fib, address| {
        let own = (addr(address), Exact::Local);
        exact(fib, &summarise(fib, &[]), 1000)
            .entries
            .contains(&own)
    };
    let fib = follower.fib();
    for address in ["100.64.0.1", "198.51.100.1", "100.64.0.255"] {
        assert!(local(&fib, address) && listed(&fib, address), "{address}");
    }
    let own = |fib: &Fib, port| fib.port_addresses(port).map(|a| a.ip).collect::<Vec<_>>();
    assert_eq!(own(&fib, 0), [addr("100.64.0.1")]);
    assert_eq!(own(&fib, 1), [addr("198.51.100.1")]);

    world.ip("address add 203.0.113.9/32 dev out0");
    wait_for(&follower, SOON, "added", |fib| {
        local(fib, "203.0.113.9") && listed(fib, "203.0.113.9")
    });
    world.ip("address del 203.0.113.9/32 dev out0");
    wait_for(&follower, SOON, "deleted", |fib| {
        !local(fib, "203.0.113.9") && !listed(fib, "203.0.113.9")
    });
    assert_eq!(own(&follower.fib(), 1), [addr("198.51.100.1")]);

    // Routes with this source go with the address, in silence.
    world.ip("address add 203.0.113.9/32 dev out0");
    world.ip("route add 10.0.0.0/8 via 100.64.0.20 src 203.0.113.9");
    wait_for(&follower, SOON, "a route", |fib| {
        fib.resolve(addr("10.0.0.1")) != Resolution::NoRoute
    });
    world.ip("address del 203.0.113.9/32 dev out0");
    wait_for(&follower, SOON, "no route", |fib| {
        fib.resolve(addr("10.0.0.1")) == Resolution::NoRoute
    });
}

#[test]
fn the_operators_rules_leave_it_to_the_kernel() {
    let Some(world) = world("netlink the_operators_rules_leave_it_to_the_kernel") else {
        return;
    };
    static_neighbours(&world);
    world.ip("route add default via 198.51.100.10");
    let follower = world.follow();
    let span = 8 << 8 | 8;
    assert_ne!(summarise(&follower.fib(), &[])[span], MIXED);
    world.ip("rule add from 10.0.0.0/8 table 100");
    let fib = wait_for(&follower, SOON, "a rule", Fib::kernel_decides);
    assert_eq!(summarise(&fib, &[])[span], MIXED);
    assert_eq!(fib.resolve(addr("8.8.8.8")), Resolution::KernelOnly);
    world.ip("rule del from 10.0.0.0/8 table 100");
    wait_for(&follower, SOON, "no rule", |fib| !fib.kernel_decides());
    assert_eq!(to(&follower.fib(), "8.8.8.8"), Some(10));
}

/// Changing or deleting a next-hop object changes routes that no message names.
#[test]
fn sees_changes_of_next_hop_objects() {
    let Some(world) = world("netlink sees_changes_of_next_hop_objects") else {
        return;
    };
    static_neighbours(&world);
    let follower = world.follow();
    let steps = [
        ("nexthop add id 1 via 198.51.100.10 dev out0", None),
        ("route add 10.0.0.0/8 nhid 1", Some(10)),
        ("nexthop replace id 1 via 198.51.100.11 dev out0", Some(11)),
        ("nexthop add id 2 via 100.64.0.20 dev in0", Some(11)),
        ("nexthop add id 3 group 2/1", Some(11)),
        ("route replace 10.0.0.0/8 nhid 3", Some(20)),
        ("nexthop del id 2", Some(11)),
        ("nexthop del id 1", None),
    ];
    for (command, expected) in steps {
        world.ip(command);
        wait_for(&follower, SOON, command, |fib| {
            to(fib, "10.0.0.1") == expected
        });
    }
}

/// The kernel drops news when nobody reads them in time; then all is read anew.
#[test]
fn recovers_from_lost_news() {
    let Some(world) = world("netlink recovers_from_lost_news") else {
        return;
    };
    static_neighbours(&world);
    let follower = world.follow_with(Options {
        receive_buffer_bytes: 1024,
        ..Options::default()
    });
    let mut commands = String::new();
    for number in 0..20_000 {
        let (high, low) = (number >> 8, number & 0xff);
        commands += &format!("route add 10.{high}.{low}.0/24 via 198.51.100.10\n");
    }
    commands += "route add 10.255.0.0/24 via 198.51.100.11\n";
    world.batch(&commands);
    let all: Vec<_> = (0..20_000)
        .map(|number| format!("10.{}.{}.1", number >> 8, number & 0xff))
        .collect();
    wait_for(&follower, PATIENTLY, "all and the last", |fib| {
        all.iter()
            .all(|destination| to(fib, destination) == Some(10))
            && to(fib, "10.255.0.1") == Some(11)
    });
    let status = follower.status();
    assert!(
        status.overruns > 0,
        "the test must lose something: {status:?}"
    );
}

#[test]
fn takes_other_ports() {
    let Some(world) = world("netlink takes_other_ports") else {
        return;
    };
    static_neighbours(&world);
    world.ip("route add default via 198.51.100.10");
    let follower = world.follow();
    assert_eq!(to(&follower.fib(), "8.8.8.8"), Some(10));
    follower.set_ports(world.ports()[..1].to_vec());
    let off_port = Resolution::OffPort {
        ifindex: world.outside,
    };
    wait_for(&follower, SOON, "not ours", |fib| {
        fib.resolve(addr("8.8.8.8")) == off_port
    });
    let fibs = follower.subscribe();
    drop(follower);
    assert!(fibs.has_changed().is_err(), "closed with the follower");
}
