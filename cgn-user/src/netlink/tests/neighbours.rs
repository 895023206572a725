//! Neighbours: found, followed, kept fresh.

use super::namespace::{PATIENTLY, SOON, World, addr, mac, mac_to, wait_for, world};
use crate::netlink::Options;
use crate::routes::{Exact, Fib, Resolution, exact, summarise};

/// The state of a neighbour as `ip neighbour` shows it.
fn state(world: &World, address: &str) -> String {
    let shown = world.ip(&format!("neighbour show {address}"));
    shown.split_whitespace().last().unwrap_or("").to_owned()
}

/// Lets the kernel probe and give up in tenths of seconds.
fn hurry(world: &World, device: &str) {
    world.neigh_sysctl(device, "delay_first_probe_time", "1");
    world.neigh_sysctl(device, "retrans_time_ms", "100");
}

#[test]
fn finds_gateways_unasked_and_hosts_when_asked() {
    let Some(world) = world("netlink finds_gateways_unasked_and_hosts_when_asked") else {
        return;
    };
    world.ip("route add default via 198.51.100.254");
    let follower = world.follow();
    let gateway = world.their_mac("out1");
    let fib = wait_for(&follower, SOON, "the default route", |fib| {
        mac_to(fib, "8.8.8.8").is_some()
    });
    assert_eq!(mac_to(&fib, "8.8.8.8"), Some(gateway));

    let host = addr("100.64.0.10");
    let unresolved = Resolution::Unresolved {
        gateway: host,
        ifindex: world.inside,
        port: 0,
    };
    assert_eq!(fib.resolve(host), unresolved);
    assert!(follower.resolve_neighbour(world.inside, host));
    let fib = wait_for(&follower, SOON, "a host", |fib| {
        mac_to(fib, "100.64.0.10").is_some()
    });
    assert_eq!(mac_to(&fib, "100.64.0.10"), Some(world.their_mac("in1")));
    let Resolution::Hop(id) = fib.resolve(host) else {
        unreachable!("just seen");
    };
    let summary = summarise(&fib, &[]);
    assert!(
        exact(&fib, &summary, 1000)
            .entries
            .contains(&(host, Exact::Hop(id)))
    );
    let hop = fib.next_hop(id).expect("listed");
    assert_eq!(
        (hop.phys_ifindex, hop.device, hop.mtu),
        (world.inside, 0, 1500)
    );
    assert_eq!(follower.status().probes_refused, 0);
}

#[test]
fn follows_a_change_of_the_mac() {
    let Some(world) = world("netlink follows_a_change_of_the_mac") else {
        return;
    };
    world.ip("route add default via 198.51.100.254");
    let follower = world.follow();
    let id = |fib: &Fib| match fib.resolve(addr("8.8.8.8")) {
        Resolution::Hop(id) => Some(id),
        _ => None,
    };
    let fib = wait_for(&follower, SOON, "the gateway", |fib| id(fib).is_some());
    let before = id(&fib);
    let other = mac("02:00:00:00:00:99");
    world.ip("neighbour replace 198.51.100.254 lladdr 02:00:00:00:00:99 dev out0 nud reachable");
    let fib = wait_for(&follower, SOON, "another MAC", |fib| {
        mac_to(fib, "8.8.8.8") == Some(other)
    });
    assert_eq!(id(&fib), before, "the id stays");
    world.ip("neighbour replace 198.51.100.254 dev out0 nud failed");
    wait_for(&follower, 3 * SOON, "asked for again", |fib| {
        mac_to(fib, "8.8.8.8") == Some(world.their_mac("out1"))
    });
    assert_eq!(id(&follower.fib()), before, "and is still the same");
}

/// A stale entry in use is confirmed, or corrected if it is wrong; nobody sends a packet.
#[test]
fn keeps_stale_neighbours_fresh() {
    let Some(world) = world("netlink keeps_stale_neighbours_fresh") else {
        return;
    };
    hurry(&world, "out0");
    hurry(&world, "in0");
    world.ip("route add default via 198.51.100.254");
    let follower = world.follow();
    let gateway = world.their_mac("out1");
    let host = world.their_mac("in1");
    world.ip("neighbour replace 198.51.100.254 lladdr 02:00:00:00:00:99 dev out0 nud stale");
    let text: Vec<String> = host.iter().map(|byte| format!("{byte:02x}")).collect();
    world.ip(&format!(
        "neighbour replace 100.64.0.10 lladdr {} dev in0 nud stale",
        text.join(":")
    ));
    wait_for(&follower, SOON, "used while stale", |fib| {
        mac_to(fib, "100.64.0.10") == Some(host)
    });
    wait_for(&follower, PATIENTLY, "corrected", |fib| {
        mac_to(fib, "8.8.8.8") == Some(gateway)
    });
    wait_for(&follower, PATIENTLY, "confirmed", |_| {
        state(&world, "100.64.0.10") == "REACHABLE"
    });
}

#[test]
fn leaves_the_operators_entries_alone() {
    let Some(world) = world("netlink leaves_the_operators_entries_alone") else {
        return;
    };
    world.ip("neighbour add 198.51.100.254 lladdr 02:00:00:00:00:99 dev out0");
    world.ip("route add default via 198.51.100.254");
    let follower = world.follow();
    assert!(follower.resolve_neighbour(world.outside, addr("198.51.100.254")));
    assert!(follower.resolve_neighbour(world.inside, addr("100.64.0.10")));
    wait_for(&follower, SOON, "the other request", |fib| {
        mac_to(fib, "100.64.0.10").is_some()
    });
    assert_eq!(state(&world, "198.51.100.254"), "PERMANENT");
    assert_eq!(
        mac_to(&follower.fib(), "8.8.8.8"),
        Some(mac("02:00:00:00:00:99"))
    );
}

#[test]
fn refusals_are_counted_and_requests_limited() {
    let Some(world) = world("netlink refusals_are_counted_and_requests_limited") else {
        return;
    };
    let follower = world.follow_with(Options {
        probes_per_sec: 100,
        ..Options::default()
    });
    assert!(follower.resolve_neighbour(999, addr("192.0.2.1")));
    wait_for(&follower, SOON, "no such device", |_| {
        follower.status().probes_refused == 1
    });
    assert!(
        follower
            .status()
            .last_error
            .is_some_and(|text| text.contains("neighbour"))
    );

    let before = follower.status().probes;
    for last in 2..250 {
        follower.resolve_neighbour(world.inside, addr(&format!("100.64.0.{last}")));
    }
    wait_for(&follower, SOON, "asked", |_| {
        follower.status().probes >= before + 90
    });
    std::thread::sleep(SOON / 5);
    let asked = follower.status().probes - before;
    assert!(
        asked < 150,
        "{asked} of 248 within a fifth of a second at 100 a second"
    );
}
