//! What the kernel told so far, kept up to date change by change, and made into snapshots.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::MIXED;
use super::action::{Action, NO_ROUTE};
use super::fib::{Fib, LostHop, Resolution, Target};
use super::hop::{HopIds, HopKey, MAX_HOP_ID, NextHop};
use super::kernel::{Address, Change, Link, Neighbour, NeighbourState, Path, RouteKind, Table};
use super::port::{Port, assign};
use super::prefix::Prefix;
use super::realm::Networks;
use super::span::Span;
use super::table::RouteTable;

/// The kernel's tables, and the next-hop ids that were given out.
pub struct Tracker {
    ports: Arc<[Port]>,
    networks: Networks,
    links: BTreeMap<u32, Link>,
    /// By ifindex: an index into `ports`. Made anew by the next snapshot if links or ports changed.
    port_of: HashMap<u32, usize>,
    links_changed: bool,
    addresses: BTreeSet<Address>,
    neighbours: BTreeMap<(u32, Ipv4Addr), Neighbour>,
    routes: RouteTable,
    kernel_decides: bool,
    spans: Arc<Vec<Span>>,
    ids: HopIds,
    generation: u64,
}

/// A neighbour that the kernel should look for or probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Probe {
    /// The device that it is behind.
    pub ifindex: u32,
    /// Its address.
    pub ip: Ipv4Addr,
}

impl Tracker {
    /// Knows nothing yet.
    pub fn new(ports: Vec<Port>) -> Self {
        Self::with_hop_limit(ports, MAX_HOP_ID)
    }

    /// Follows the tables of realms, too.
    #[must_use]
    pub fn with_networks(mut self, networks: Networks) -> Self {
        self.routes = RouteTable::of(&networks);
        self.networks = networks;
        self
    }

    /// An empty table for a dump.
    pub fn new_table(&self) -> RouteTable {
        RouteTable::of(&self.networks)
    }

    /// Whether routes of this table are of interest.
    pub fn follows(&self, table: Table) -> bool {
        self.routes.follows(table)
    }

    /// Gives out the id `first` before all others; see [`crate::dataplane::routing::free_ids`].
    pub fn begin_ids_at(&mut self, first: u16) {
        self.ids.begin_at(first);
    }

    /// Gives out the ids 1 to `limit` only.
    pub fn with_hop_limit(ports: Vec<Port>, limit: u16) -> Self {
        Tracker {
            ports: ports.into(),
            networks: Networks::default(),
            links: BTreeMap::new(),
            port_of: HashMap::new(),
            links_changed: false,
            addresses: BTreeSet::new(),
            neighbours: BTreeMap::new(),
            routes: RouteTable::new(),
            kernel_decides: false,
            spans: Arc::new(vec![Span::One(NO_ROUTE); 1 << 16]),
            ids: HopIds::new(limit),
            generation: 0,
        }
    }

    /// Other ports, after a change of the configuration.
    pub fn set_ports(&mut self, ports: Vec<Port>) {
        self.ports = ports.into();
        self.links_changed = true;
    }

    /// Whether all decisions are left to the kernel (rules of the operator's, or unreadable routes).
    pub fn set_kernel_decides(&mut self, yes: bool) {
        self.kernel_decides = yes;
    }

    /// All links, from a dump.
    pub fn set_links(&mut self, links: Vec<Link>) {
        self.links = links.into_iter().map(|link| (link.ifindex, link)).collect();
        self.links_changed = true;
    }

    /// All addresses, from a dump.
    pub fn set_addresses(&mut self, addresses: Vec<Address>) {
        self.addresses = addresses.into_iter().collect();
    }

    /// All neighbours, from a dump.
    pub fn set_neighbours(&mut self, neighbours: Vec<Neighbour>) {
        let keyed = neighbours.into_iter().map(|n| ((n.ifindex, n.ip), n));
        self.neighbours = keyed.collect();
    }

    /// All routes, from a dump.
    pub fn set_routes(&mut self, routes: RouteTable) {
        self.routes = routes;
        let all: Vec<u16> = (0..=u16::MAX).collect();
        self.spans = Arc::new(self.routes.spans(&all).collect());
        self.routes.take_dirty();
    }

    /// All routes, from a dump that took a while. `touched` are the destinations of which a change
    /// was taken in since the dump began: there the routes known here are newer, provided that no
    /// change was missed before. True if they differ from the dump.
    ///
    /// Taking in the changes on top of the dump would not do: "replaced" means the first route
    /// at that time, and if the dump has the outcome already, another one would fall.
    pub fn merge_routes(
        &mut self,
        mut dumped: RouteTable,
        touched: &BTreeSet<(Table, Prefix)>,
    ) -> bool {
        let mut differ = false;
        for (table, dst) in touched {
            differ |= dumped.adopt(&self.routes, *table, *dst);
        }
        self.set_routes(dumped);
        differ
    }

    /// The number of routes.
    pub fn route_count(&self) -> usize {
        self.routes.len()
    }

    /// Takes in one change. False if nothing that a snapshot shows can have changed.
    pub fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::LinkSet(link) => {
                let old = self.links.insert(link.ifindex, link.clone());
                let changed = old != Some(link);
                self.links_changed |= changed;
                changed
            }
            Change::LinkGone { ifindex } => {
                self.addresses.retain(|address| address.ifindex != ifindex);
                self.neighbours.retain(|(of, _), _| *of != ifindex);
                self.links_changed = true;
                self.links.remove(&ifindex).is_some()
            }
            Change::AddressSet(address) => self.addresses.insert(address),
            Change::AddressGone(address) => self.addresses.remove(&address),
            Change::RouteAdded(route, placement) => {
                self.routes.insert(&route, placement);
                true
            }
            Change::RouteGone(route) => self.routes.remove(&route),
            Change::NeighbourSet(neighbour) => {
                let key = (neighbour.ifindex, neighbour.ip);
                let old = self.neighbours.insert(key, neighbour);
                old.and_then(|old| old.usable_mac()) != neighbour.usable_mac()
            }
            Change::NeighbourGone { ifindex, ip } => {
                let old = self.neighbours.remove(&(ifindex, ip));
                old.is_some_and(|old| old.usable_mac().is_some())
            }
        }
    }

    /// Says that the data plane's tables now name only next hops of snapshot `generation` (or
    /// of later ones). Only then may ids that it did not have be used again.
    pub fn release(&mut self, generation: u64) {
        self.ids.release(generation);
    }

    /// Makes a snapshot of the present state.
    ///
    /// Of several paths (ECMP) all packets take one, as a table by /16 cannot spread them: the
    /// first that is alive (its link is up) and leads to a known neighbour on one of our ports;
    /// if there is none the first that is alive, or else the first.
    pub fn snapshot(&mut self) -> Fib {
        self.generation += 1;
        self.rebuild_spans();
        if std::mem::take(&mut self.links_changed) {
            self.port_of = assign(&self.links, &self.ports);
        }
        let mut fib = Fib {
            generation: self.generation,
            kernel_decides: self.kernel_decides,
            ports: Arc::clone(&self.ports),
            networks: self.networks.clone(),
            links: self.port_links(),
            rooms: self.ports.iter().map(|port| self.room(port)).collect(),
            addresses: self.port_addresses(),
            spans: Arc::clone(&self.spans),
            targets: Vec::new(),
            ids: HashMap::new(),
            hops: BTreeMap::new(),
            lost: BTreeMap::new(),
            on_link: Vec::new(),
            closed: BTreeSet::new(),
        };
        let vrfs = fib.links.iter().filter_map(|(_, link)| link.vrf);
        fib.closed = vrfs.filter(|vrf| self.routes.is_closed(*vrf)).collect();
        let is_strange = fib.strange_vrfs().next().is_some();
        fib.kernel_decides |= is_strange;
        // First without ids: where each action leads, from which follows who needs an id.
        let leads: Vec<Lead> = self.leads().collect();
        fib.targets = leads.iter().map(|lead| lead.target(&fib.ids)).collect();
        fib.on_link = self.neighbours_on_link(&fib);
        let mut wanted: BTreeSet<HopKey> = fib.on_link.iter().copied().collect();
        wanted.extend(leads.iter().filter_map(Lead::hop));
        fib.ids = self.ids.assign(&wanted, self.generation);
        fib.targets = leads.iter().map(|lead| lead.target(&fib.ids)).collect();
        let with_id = || fib.ids.iter().filter(|&(_, &id)| id != MIXED);
        fib.hops = with_id()
            .filter_map(|(key, id)| Some((*id, self.next_hop(key)?)))
            .collect();
        fib.lost = with_id()
            .filter(|(_, id)| !fib.hops.contains_key(id))
            .filter_map(|(key, id)| Some((*id, self.lost_hop(key)?)))
            .collect();
        fib
    }

    fn rebuild_spans(&mut self) {
        let dirty = self.routes.take_dirty();
        if dirty.is_empty() {
            return;
        }
        let spans = Arc::make_mut(&mut self.spans);
        for (span, routes) in dirty.iter().zip(self.routes.spans(&dirty)) {
            spans[usize::from(*span)] = routes;
        }
    }

    fn port_links(&self) -> Vec<(usize, Link)> {
        let of_port = |link: &Link| Some((*self.port_of.get(&link.ifindex)?, link.clone()));
        self.links.values().filter_map(of_port).collect()
    }

    fn room(&self, port: &Port) -> Option<u32> {
        let device = self.links.get(&port.phys_ifindex)?;
        Some(port.room(device.mtu))
    }

    fn port_addresses(&self) -> Vec<(usize, Address)> {
        let of_port = |address: &Address| Some((*self.port_of.get(&address.ifindex)?, *address));
        self.addresses.iter().filter_map(of_port).collect()
    }

    fn leads(&self) -> impl Iterator<Item = Lead> {
        self.routes.actions().map(|action| match action {
            Some(action) => self.lead(action),
            None => Lead::Fixed(Resolution::NoRoute),
        })
    }

    fn lead(&self, action: &Action) -> Lead {
        let fixed = match action.kind {
            RouteKind::Unicast => return self.unicast(action),
            RouteKind::Local | RouteKind::Broadcast | RouteKind::Multicast => Resolution::Local,
            RouteKind::Blackhole => Resolution::Blackhole,
            RouteKind::Unreachable => Resolution::Unreachable,
            RouteKind::Prohibit => Resolution::Prohibited,
            RouteKind::Throw => Resolution::NoRoute,
            RouteKind::KernelOnly => Resolution::KernelOnly,
        };
        Lead::Fixed(fixed)
    }

    fn unicast(&self, action: &Action) -> Lead {
        let lead = |path: &Path| self.path(path, action.mtu);
        let alive = || action.paths.iter().filter(|path| self.is_up(path.ifindex));
        let known = alive().map(lead).find(Lead::is_known);
        known
            .or_else(|| alive().next().map(lead))
            .or_else(|| action.paths.first().map(lead))
            .unwrap_or(Lead::Fixed(Resolution::KernelOnly))
    }

    fn is_up(&self, ifindex: u32) -> bool {
        self.links.get(&ifindex).is_some_and(|link| link.up)
    }

    fn path(&self, path: &Path, route_mtu: Option<u32>) -> Lead {
        let ifindex = path.ifindex;
        let Some(&port) = self.port_of.get(&ifindex) else {
            return Lead::Fixed(Resolution::OffPort { ifindex });
        };
        let Some(gateway) = path.gateway else {
            return Lead::OnLink(Target::OnLink {
                ifindex,
                port,
                route_mtu,
            });
        };
        let key = HopKey {
            ifindex,
            ip: gateway,
            route_mtu,
        };
        match self.next_hop(&key) {
            Some(_) => Lead::Gateway(key),
            None => Lead::LostGateway(key, port),
        }
    }

    fn lost_hop(&self, key: &HopKey) -> Option<LostHop> {
        Some(LostHop {
            ip: key.ip,
            ifindex: key.ifindex,
            port: *self.port_of.get(&key.ifindex)?,
        })
    }

    /// The next hop as it is now; `None` if packets cannot be sent to it.
    fn next_hop(&self, key: &HopKey) -> Option<NextHop> {
        let mac = self.neighbours.get(&(key.ifindex, key.ip))?.usable_mac()?;
        let link = self.links.get(&key.ifindex).filter(|link| link.up)?;
        let port = self.ports.get(*self.port_of.get(&key.ifindex)?)?;
        Some(NextHop {
            ip: key.ip,
            mac,
            src_mac: link.mac,
            phys_ifindex: port.phys_ifindex,
            device: port.device,
            side: port.side,
            realm: port.realm,
            vlans: port.vlan.clone(),
            mtu: [key.route_mtu, self.room(port)]
                .into_iter()
                .flatten()
                .fold(link.mtu, u32::min),
        })
    }

    /// The usable neighbours that the routes reach without a gateway.
    fn neighbours_on_link(&self, fib: &Fib) -> Vec<HopKey> {
        let keys = self.neighbours.values().filter_map(|neighbour| {
            let realm = self
                .port_of
                .get(&neighbour.ifindex)
                .map_or(0, |at| self.ports[*at].realm);
            let known_as = self.networks.key(realm, neighbour.ip)?;
            let Target::OnLink {
                ifindex, route_mtu, ..
            } = fib.targets[fib.action(known_as) as usize]
            else {
                return None;
            };
            let key = HopKey {
                ifindex,
                ip: neighbour.ip,
                route_mtu,
            };
            (ifindex == neighbour.ifindex && self.next_hop(&key).is_some()).then_some(key)
        });
        keys.collect()
    }

    /// The neighbours that the kernel should look after, most urgent first: gateways that it does
    /// not know, gateways not confirmed for a while, other neighbours with an id not confirmed
    /// for a while. (The fast path sends past the kernel, which therefore takes them for idle.)
    pub fn probes(&self, fib: &Fib) -> Vec<Probe> {
        let gateways: BTreeSet<(u32, Ipv4Addr)> = self
            .routes
            .actions()
            .flatten()
            .flat_map(|action| &action.paths)
            .filter(|path| self.is_up(path.ifindex) && self.port_of.contains_key(&path.ifindex))
            .filter_map(|path| Some((path.ifindex, path.gateway?)))
            .collect();
        let on_link = fib.on_link.iter().map(|key| (key.ifindex, key.ip));
        let others = on_link.filter(|key| !gateways.contains(key));
        let unknown = gateways.iter().copied().filter(|key| self.is_lost(key));
        let known = gateways.iter().copied().chain(others);
        let stale = known.filter(|key| self.state(key) == Some(NeighbourState::Stale));
        let wanted = unknown.chain(stale);
        wanted.map(|(ifindex, ip)| Probe { ifindex, ip }).collect()
    }

    /// Whether asking the kernel for this neighbour can help: it knows nothing or nothing fresh.
    /// Entries set by the operator must not be asked for: the kernel would make them ordinary ones.
    pub fn wants_probe(&self, probe: Probe) -> bool {
        let key = (probe.ifindex, probe.ip);
        self.is_lost(&key) || self.state(&key) == Some(NeighbourState::Stale)
    }

    fn is_lost(&self, key: &(u32, Ipv4Addr)) -> bool {
        matches!(self.state(key), None | Some(NeighbourState::Failed))
    }

    fn state(&self, key: &(u32, Ipv4Addr)) -> Option<NeighbourState> {
        self.neighbours.get(key).map(|neighbour| neighbour.state)
    }
}

/// Where an action leads, before ids are given out.
enum Lead {
    Fixed(Resolution),
    OnLink(Target),
    Gateway(HopKey),
    /// With the port that it is behind.
    LostGateway(HopKey, usize),
}

impl Lead {
    fn is_known(&self) -> bool {
        matches!(self, Lead::OnLink(_) | Lead::Gateway(_))
    }

    fn hop(&self) -> Option<HopKey> {
        match self {
            Lead::Gateway(key) | Lead::LostGateway(key, _) => Some(*key),
            Lead::Fixed(_) | Lead::OnLink(_) => None,
        }
    }

    fn target(&self, ids: &HashMap<HopKey, u16>) -> Target {
        match self {
            Lead::Fixed(resolution) => Target::Fixed(*resolution),
            Lead::OnLink(target) => *target,
            Lead::LostGateway(key, port) => Target::Lost {
                id: ids.get(key).copied().unwrap_or(MIXED),
                hop: LostHop {
                    ip: key.ip,
                    ifindex: key.ifindex,
                    port: *port,
                },
            },
            Lead::Gateway(key) => Target::Fixed(match ids.get(key) {
                Some(&MIXED) | None => Resolution::KernelOnly,
                Some(&id) => Resolution::Hop(id),
            }),
        }
    }
}
