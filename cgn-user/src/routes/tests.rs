//! The whole module against hand-made cases and against a naive model.

use std::net::Ipv4Addr;

use cgn_common::layout::{ROUTE_ELSEWHERE, ROUTE_LOCAL, ROUTE_NONE};

use super::*;

mod fast_path;
mod hops;
mod lookups;
mod model;
mod own;
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
