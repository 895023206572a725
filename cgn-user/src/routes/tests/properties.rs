//! Properties over random histories of routes, links and neighbours.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use cgn_common::layout::{ROUTE_ELSEWHERE, ROUTE_LOCAL, ROUTE_NONE};
use proptest::prelude::*;

use super::model::{Answer, Model};
use super::{INSIDE, OTHER, OUTSIDE, TAGGED, link, links, listed, mac, ports};
use crate::routes::fib::is_own_business;
use crate::routes::hop::HopKey;
use crate::routes::span::Span;
use crate::routes::*;

/// A few /16s next to each other, so that prefixes of all lengths meet.
fn address() -> impl Strategy<Value = u32> {
    let low = prop_oneof![any::<u32>(), Just(0), Just(u32::MAX), 0u32..600];
    (0u32..4, low).prop_map(|(span, low)| 0x0a00_0000 | span << 16 | (low & 0xffff))
}

fn prefix() -> impl Strategy<Value = Prefix> {
    (
        address(),
        prop_oneof![1 => 0u8..=32, 8 => 14u8..=18, 8 => 22u8..=32],
    )
        .prop_map(|(address, len)| {
            Prefix::containing(Ipv4Addr::from(address), len).expect("32 bits at most")
        })
}

fn path() -> impl Strategy<Value = Path> {
    let gateway = prop_oneof![Just(None), (1u8..5).prop_map(|last| Some(gateway(last)))];
    let ifindex = prop_oneof![Just(INSIDE), Just(OUTSIDE), Just(TAGGED), Just(OTHER)];
    (gateway, ifindex).prop_map(|(gateway, ifindex)| Path { gateway, ifindex })
}

fn gateway(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, last)
}

fn route() -> impl Strategy<Value = Route> {
    let kind = prop_oneof![
        12 => Just(RouteKind::Unicast),
        1 => Just(RouteKind::Local),
        1 => Just(RouteKind::Broadcast),
        1 => Just(RouteKind::Blackhole),
        1 => Just(RouteKind::Unreachable),
        1 => Just(RouteKind::Prohibit),
        1 => Just(RouteKind::Throw),
        1 => Just(RouteKind::KernelOnly),
    ];
    let table = prop_oneof![
        8 => Just(Table::Main),
        1 => Just(Table::Local),
        1 => Just(Table::Default),
    ];
    let tos = prop_oneof![20 => Just(0u8), 1 => Just(16u8)];
    let mtu = prop_oneof![5 => Just(None), 1 => Just(Some(1400))];
    let paths = prop::collection::vec(path(), 1..3);
    (prefix(), table, tos, 0u32..3, kind, paths, mtu, 0u32..2).prop_map(
        |(dst, table, tos, metric, kind, paths, mtu, fingerprint)| Route {
            dst,
            table,
            tos,
            metric,
            kind,
            paths: if kind == RouteKind::Unicast {
                paths
            } else {
                vec![]
            },
            mtu,
            fingerprint,
        },
    )
}

fn neighbour() -> impl Strategy<Value = Neighbour> {
    let state = prop_oneof![
        Just(NeighbourState::Reachable),
        Just(NeighbourState::Stale),
        Just(NeighbourState::Permanent),
        Just(NeighbourState::Failed),
    ];
    let ip = prop_oneof![
        (1u8..5).prop_map(gateway),
        address().prop_map(Ipv4Addr::from)
    ];
    let ifindex = prop_oneof![Just(INSIDE), Just(OUTSIDE), Just(TAGGED), Just(OTHER)];
    (ifindex, ip, 1u8..4, state).prop_map(|(ifindex, ip, last, state)| Neighbour {
        ifindex,
        ip,
        mac: Some(mac(last)),
        state,
    })
}

#[derive(Debug, Clone)]
enum Step {
    Add(Route, Placement),
    /// Removes the route at this place of the model's list.
    Remove(prop::sample::Index),
    Neighbour(Neighbour),
    NeighbourGone(prop::sample::Index),
    Up(u32, bool),
    Snapshot,
}

fn step() -> impl Strategy<Value = Step> {
    let placement = prop_oneof![
        Just(Placement::First),
        Just(Placement::Last),
        Just(Placement::Replace),
    ];
    let port = prop_oneof![Just(INSIDE), Just(OUTSIDE), Just(TAGGED)];
    prop_oneof![
        8 => (route(), placement).prop_map(|(route, placement)| Step::Add(route, placement)),
        3 => any::<prop::sample::Index>().prop_map(Step::Remove),
        4 => neighbour().prop_map(Step::Neighbour),
        1 => any::<prop::sample::Index>().prop_map(Step::NeighbourGone),
        1 => (port, any::<bool>()).prop_map(|(ifindex, up)| Step::Up(ifindex, up)),
        2 => Just(Step::Snapshot),
    ]
}

/// The naive state beside the real one.
struct World {
    tracker: Tracker,
    model: Model,
    links: BTreeMap<u32, Link>,
    neighbours: BTreeMap<(u32, Ipv4Addr), Neighbour>,
}

impl World {
    fn new() -> Self {
        let mut tracker = Tracker::new(ports());
        tracker.set_links(links());
        World {
            tracker,
            model: Model::default(),
            links: links()
                .into_iter()
                .map(|link| (link.ifindex, link))
                .collect(),
            neighbours: BTreeMap::new(),
        }
    }

    fn take(&mut self, step: Step) {
        let change = match step {
            Step::Add(route, placement) => {
                self.model.add(route.clone(), placement);
                Change::RouteAdded(route, placement)
            }
            Step::Remove(_) if self.model.routes.is_empty() => return,
            Step::Remove(index) => {
                let route = self.model.routes[index.index(self.model.routes.len())].clone();
                assert!(self.model.remove(&route));
                Change::RouteGone(route)
            }
            Step::Neighbour(neighbour) => {
                let key = (neighbour.ifindex, neighbour.ip);
                self.neighbours.insert(key, neighbour);
                Change::NeighbourSet(neighbour)
            }
            Step::NeighbourGone(_) if self.neighbours.is_empty() => return,
            Step::NeighbourGone(index) => {
                let at = index.index(self.neighbours.len());
                let (ifindex, ip) = *self.neighbours.keys().nth(at).expect("in range");
                self.neighbours.remove(&(ifindex, ip));
                Change::NeighbourGone { ifindex, ip }
            }
            Step::Up(ifindex, up) => {
                let vlan = (ifindex == TAGGED).then_some((OUTSIDE, 100));
                let link = Link {
                    up,
                    ..link(ifindex, vlan)
                };
                self.links.insert(ifindex, link.clone());
                Change::LinkSet(link)
            }
            Step::Snapshot => {
                let fib = self.tracker.snapshot();
                self.tracker.release(fib.generation());
                return;
            }
        };
        self.tracker.apply(change);
    }

    /// A second tracker that is told only the outcome.
    fn rebuilt(&self) -> Tracker {
        let mut tracker = Tracker::new(ports());
        let mut table = RouteTable::new();
        for route in &self.model.routes {
            table.insert(route, Placement::Last);
        }
        tracker.set_routes(table);
        tracker.set_links(self.links.values().cloned().collect());
        tracker.set_neighbours(self.neighbours.values().copied().collect());
        tracker
    }

    /// What a naive reader makes of the same state.
    fn expected(&self, address: Ipv4Addr) -> Seen {
        let (kind, paths, mtu) = match self.model.look_up(address) {
            Answer::NoRoute => return Seen::Other(Resolution::NoRoute),
            Answer::Ask => return Seen::Other(Resolution::KernelOnly),
            Answer::Route(kind, paths, mtu) => (kind, paths, mtu),
        };
        let fixed = match kind {
            RouteKind::Unicast => return self.expected_unicast(address, &paths, mtu),
            RouteKind::Blackhole => Resolution::Blackhole,
            RouteKind::Unreachable => Resolution::Unreachable,
            RouteKind::Prohibit => Resolution::Prohibited,
            _ => Resolution::Local,
        };
        Seen::Other(fixed)
    }

    fn expected_unicast(&self, address: Ipv4Addr, paths: &[Path], mtu: Option<u32>) -> Seen {
        let up = |path: &&Path| self.links[&path.ifindex].up;
        let usable = |path: &Path| {
            let gateway = path.gateway?;
            self.hop(path.ifindex, gateway, mtu)
        };
        let on_port = |path: &Path| path.ifindex != OTHER;
        let works =
            |path: &&Path| on_port(path) && (path.gateway.is_none() || usable(path).is_some());
        let path = paths
            .iter()
            .filter(up)
            .find(works)
            .or_else(|| paths.iter().find(up))
            .unwrap_or(&paths[0]);
        let ifindex = path.ifindex;
        if !on_port(path) {
            return Seen::Other(Resolution::OffPort { ifindex });
        }
        let next = path.gateway.unwrap_or(address);
        match self.hop(ifindex, next, mtu) {
            Some(hop) => Seen::Hop(hop),
            None => Seen::Other(Resolution::Unresolved {
                gateway: next,
                ifindex,
                port: [INSIDE, OUTSIDE, TAGGED]
                    .iter()
                    .position(|port| *port == ifindex)
                    .expect("a port"),
            }),
        }
    }

    fn hop(&self, ifindex: u32, ip: Ipv4Addr, mtu: Option<u32>) -> Option<NextHop> {
        let mac = self.neighbours.get(&(ifindex, ip))?.usable_mac()?;
        let link = self.links.get(&ifindex).filter(|link| link.up)?;
        Some(NextHop {
            realm: 0,
            ip,
            mac,
            src_mac: link.mac,
            phys_ifindex: if ifindex == TAGGED { OUTSIDE } else { ifindex },
            device: u16::from(ifindex != INSIDE),
            side: if ifindex == INSIDE {
                Side::Inside
            } else {
                Side::Outside
            },
            vlans: if ifindex == TAGGED { vec![100] } else { vec![] },
            mtu: mtu.unwrap_or(1500),
        })
    }

    /// The addresses at which something may change.
    fn edges(&self) -> Vec<u32> {
        let of_routes = self.model.routes.iter().flat_map(|route| {
            let first = u32::from(route.dst.network());
            let size = 1u64 << (32 - route.dst.bits());
            let last = (u64::from(first) + size - 1) as u32;
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
        });
        let of_neighbours = self.neighbours.keys().map(|(_, ip)| u32::from(*ip));
        of_routes.chain(of_neighbours).collect()
    }
}

/// A resolution that can be compared between trackers: the hop itself in place of its id.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Hop(NextHop),
    Other(Resolution),
}

fn seen(fib: &Fib, address: Ipv4Addr) -> Seen {
    match fib.resolve(address) {
        Resolution::Hop(id) => Seen::Hop(fib.next_hop(id).expect("listed").clone()),
        other => Seen::Other(other),
    }
}

/// Where the segments of all /16s start: the actions' numbers may differ, these may not.
fn borders(fib: &Fib) -> Vec<(usize, Vec<u16>)> {
    let many = fib
        .spans
        .iter()
        .enumerate()
        .filter_map(|(span, routes)| match routes {
            Span::One(_) => None,
            Span::Many(segments) => Some((span, segments.iter().map(|s| s.start).collect())),
        });
    many.collect()
}

fn is_tidy(span: &Span) -> bool {
    let Span::Many(segments) = span else {
        return true;
    };
    let differ = segments
        .windows(2)
        .all(|pair| pair[0].action != pair[1].action);
    segments.len() > 1 && segments[0].start == 0 && differ
}

/// A quarter of the usual cases, 64: each builds 65,536 /16s at least once, without optimisation.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: ProptestConfig::default().cases / 4,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn agrees_with_a_scan_and_with_a_rebuild(
        steps in prop::collection::vec(step(), 1..60),
        addresses in prop::collection::vec(prop_oneof![4 => address(), 1 => any::<u32>()], 1..40),
    ) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        let fib = world.tracker.snapshot();
        let rebuilt = world.rebuilt().snapshot();
        for address in addresses.into_iter().chain(world.edges()) {
            let address = Ipv4Addr::from(address);
            if is_own_business(address) {
                prop_assert_eq!(fib.resolve(address), Resolution::Local);
                continue;
            }
            let got = seen(&fib, address);
            prop_assert_eq!(&got, &world.expected(address), "{} against a scan", address);
            prop_assert_eq!(&got, &seen(&rebuilt, address), "{} against a rebuild", address);
        }
        let hops = |fib: &Fib| {
            let mut hops: Vec<_> = fib.next_hops().map(|(_, hop)| format!("{hop:?}")).collect();
            hops.sort();
            hops
        };
        prop_assert_eq!(hops(&fib), hops(&rebuilt));
        prop_assert_eq!(borders(&fib), borders(&rebuilt), "the same segments");
        prop_assert!(fib.spans.iter().all(is_tidy), "and no more than needed");
    }

    #[test]
    fn the_summary_is_the_whole_truth(
        steps in prop::collection::vec(step(), 1..40),
        special in prop::collection::vec(prefix(), 0..2),
        far in any::<u32>(),
    ) {
        let special: Vec<Prefix> = special.into_iter().filter(|p| p.bits() > 15).collect();
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        let fib = world.tracker.snapshot();
        let table = summarise(&fib, &special);
        for span in [0x0a00, 0x0a01, 0x0a02, 0x0a03, 0x0a09, 0, 0x7f00, 0xe000, 0xffff, far >> 16] {
            let value = |low| match fib.resolve(Ipv4Addr::from(span << 16 | low)) {
                Resolution::Hop(id) => id,
                Resolution::Local => ROUTE_LOCAL,
                Resolution::OffPort { .. } => ROUTE_ELSEWHERE,
                Resolution::Blackhole
                | Resolution::Unreachable
                | Resolution::Prohibited
                | Resolution::NoRoute => ROUTE_NONE,
                Resolution::KernelOnly | Resolution::Unresolved { .. } => MIXED,
            };
            let gateway = |low| match fib.resolve(Ipv4Addr::from(span << 16 | low)) {
                Resolution::Unresolved { gateway, ifindex, .. } => Some((gateway, ifindex)),
                _ => None,
            };
            let lost = fib.lost_hops().find(|(id, _)| *id == table[span as usize]);
            if let Some((_, hop)) = lost {
                for low in 0..=0xffff {
                    prop_assert_eq!(gateway(low), Some((hop.ip, hop.ifindex)));
                }
                continue;
            }
            let first = value(0);
            let all_same = (0..=0xffffu32).all(|low| value(low) == first);
            let touched = special.iter().any(|p| u32::from(p.network()) >> 16 == span);
            let on_no_wire = matches!(span >> 8, 0 | 127 | 224..=255) || span == 0xa9fe;
            let expected = if all_same && !touched && !on_no_wire { first } else { MIXED };
            prop_assert_eq!(table[span as usize], expected, "/16 number {:#06x}", span);
        }
    }

    #[test]
    fn the_exact_table_tells_the_truth(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        let fib = world.tracker.snapshot();
        let table = listed(&fib, &[], 1 << 20);
        let entries: BTreeMap<_, _> = table.entries.iter().copied().collect();
        prop_assert_eq!(entries.len(), table.entries.len(), "no address twice");
        for (ip, to) in &entries {
            let expected = match to {
                Exact::Local => Resolution::Local,
                Exact::Hop(id) => Resolution::Hop(*id),
            };
            prop_assert_eq!(fib.resolve(*ip), expected, "{}", ip);
        }
        for (_, ip) in world.neighbours.keys() {
            let on_link = matches!(
                world.model.look_up(*ip),
                Answer::Route(RouteKind::Unicast, ref paths, _) if paths.len() == 1 && paths[0].gateway.is_none()
            );
            if on_link && matches!(fib.resolve(*ip), Resolution::Hop(_)) {
                // A local route for half of all addresses fills the table; then it is counted.
                let is_left_out = entries.len() == 1 << 20 && table.omitted_hops > 0;
                prop_assert!(entries.contains_key(ip) || is_left_out, "{} is missing", ip);
            }
        }
    }

    /// A dump takes a while: each destination is read at another moment, while changes come in.
    /// Some routes went in silence before it; the dump does not have them.
    #[test]
    fn a_dump_and_the_news_make_the_truth(
        before in prop::collection::vec(step(), 0..30),
        silent in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        during in prop::collection::vec((step(), 0usize..20), 1..20),
    ) {
        let mut world = World::new();
        for step in before {
            world.take(step);
        }
        for index in silent {
            if !world.model.routes.is_empty() {
                let at = index.index(world.model.routes.len());
                world.model.routes.remove(at);
            }
        }
        let mut history = vec![world.model.clone()];
        let mut touched = BTreeSet::new();
        let mut moments = Vec::new();
        for (step, moment) in during {
            let known = world.model.routes.clone();
            world.take(step);
            let changed = |a: &Vec<Route>, b: &Vec<Route>| {
                a.iter().filter(|r| !b.contains(r)).map(|r| (r.table, r.dst)).collect::<Vec<_>>()
            };
            touched.extend(changed(&known, &world.model.routes));
            touched.extend(changed(&world.model.routes, &known));
            history.push(world.model.clone());
            moments.push(moment);
        }
        // What went in silence and then changed is only put right by the next dump.
        let silently_gone = world.tracker.route_count() != world.model.routes.len();
        let mut dumped = RouteTable::new();
        let mut groups: BTreeMap<(Table, Prefix), usize> = BTreeMap::new();
        for model in &history {
            for route in &model.routes {
                let next = groups.len();
                let place = moments[next % moments.len()] % history.len();
                groups.entry((route.table, route.dst)).or_insert(place);
            }
        }
        for ((table, dst), moment) in groups {
            let of_group = |r: &&Route| (r.table, r.dst) == (table, dst);
            for route in history[moment].routes.iter().filter(of_group) {
                dumped.insert(route, Placement::Last);
            }
        }
        world.tracker.merge_routes(dumped, &touched);
        let fib = world.tracker.snapshot();
        for address in world.edges() {
            let address = Ipv4Addr::from(address);
            if is_own_business(address) {
                continue;
            }
            if silently_gone && touched.iter().any(|(_, dst)| dst.contains(address)) {
                continue;
            }
            prop_assert_eq!(&seen(&fib, address), &world.expected(address), "{}", address);
        }
    }

    /// Each id stands for one neighbour for ever, as long as there are fresh ones.
    #[test]
    fn ids_never_change_their_meaning(steps in prop::collection::vec(step(), 1..30)) {
        let mut world = World::new();
        let mut meaning: BTreeMap<u16, HopKey> = BTreeMap::new();
        for step in steps {
            world.take(step);
            let fib = world.tracker.snapshot();
            for (key, id) in &fib.ids {
                prop_assert_eq!(meaning.entry(*id).or_insert(*key), key);
            }
            prop_assert_eq!(fib.ids.len(), fib.next_hops().len() + fib.lost_hops().len(), "one id each");
        }
    }
}
