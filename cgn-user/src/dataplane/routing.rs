//! From the kernel's routes, as [`crate::routes`] sees them, to the tables.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;

use cgn_common::layout::{EXACT_LOCAL, EXACT_ROUTES, Link, NextHop, Side};
use cgn_common::nat::next_hop::{is_host_outside, is_martian};
use cgn_common::realm::is_key;
use cgn_common::wire::icmp::code;

use super::load::{Dataplane, LoadError};
use super::memory::Memory;
use super::tables::{Resolved, Router, Routing};
use crate::routes::{self, Exact, ExactTable, Fib, Prefix, Resolution};

/// Most destinations that the slow path looked up and XDP then has.
const MOST_LEARNED: usize = 1 << 14;
/// Most of them that wait to be written.
const MOST_ASKED: usize = 1 << 10;

/// The routes that the tables hold now.
pub struct Applied {
    /// /16 networks that must not have one next hop: they hold pool addresses.
    special: Vec<Prefix>,
    fib: Arc<Fib>,
    exact: HashMap<Ipv4Addr, u32>,
    hops: Vec<u16>,
    links: BTreeMap<u32, Link>,
    /// What [`narrow`] last told.
    narrow: BTreeSet<(String, u32, u32)>,
    /// What [`vrf_cautions`] last told.
    vrf_cautions: BTreeSet<(String, String)>,
    /// Destinations that XDP had to ask for, and their next hops: with
    /// forwarding off, `bpf_fib_lookup` does not tell.
    asked: RefCell<Vec<(Ipv4Addr, u16)>>,
    /// Those that were written to `EXACT_ROUTES`, oldest first.
    learned: VecDeque<Ipv4Addr>,
    /// Next hop that the last look-up could not resolve: interface and address.
    unresolved: Cell<Option<(u32, Ipv4Addr)>>,
}

fn used_ids(memory: &Memory) -> impl Iterator<Item = u16> + '_ {
    (1..=routes::MAX_HOP_ID).filter(|id| {
        let entry = memory.next_hops.get(u32::from(*id));
        entry.is_some_and(|entry| entry.read() != NextHop::default())
    })
}

/// Where the largest range of next-hop ids begins that the tables do not use. A new daemon
/// gives those, so that no packet goes astray while old and new routes are in the tables.
#[must_use]
pub fn free_ids(memory: &Memory) -> u16 {
    let end = routes::MAX_HOP_ID + 1;
    let (mut best, mut begin) = (0..0, 1);
    for used in used_ids(memory).chain([end]) {
        if used - begin > best.end - best.start {
            best = begin..used;
        }
        begin = used + 1;
    }
    best.start.max(1)
}

impl Applied {
    /// No routes yet; `pool_networks` are addresses in /16s that hold pool addresses.
    #[must_use]
    pub fn new(fib: Arc<Fib>, pool_networks: impl Iterator<Item = Ipv4Addr>) -> Self {
        let mut special: Vec<Prefix> = pool_networks
            .filter_map(|address| Prefix::containing(address, 16).ok())
            .collect();
        special.sort_unstable();
        special.dedup();
        Self {
            special,
            fib,
            exact: HashMap::new(),
            hops: Vec::new(),
            links: BTreeMap::new(),
            narrow: BTreeSet::new(),
            vrf_cautions: BTreeSet::new(),
            asked: RefCell::new(Vec::new()),
            learned: VecDeque::new(),
            unresolved: Cell::new(None),
        }
    }

    /// Takes over what an earlier daemon left in the tables, so that
    /// [`Applied::apply`] removes what is not true any more: an address that is
    /// no longer the router's, for one. What it had looked up for XDP stays as
    /// long as the routes lead somewhere: nobody could be asked at the moment.
    ///
    /// # Errors
    /// The kernel's.
    pub fn adopt(&mut self, dataplane: &Dataplane) -> Result<(), LoadError> {
        self.exact = dataplane.exact_routes()?.into_iter().collect();
        let looked_up = self
            .exact
            .iter()
            .filter(|(_, value)| **value != EXACT_LOCAL);
        self.learned = looked_up
            .map(|(address, _)| *address)
            .take(MOST_LEARNED)
            .collect();
        self.hops = used_ids(dataplane.memory()).collect();
        let links = dataplane.links()?.into_iter();
        self.links = links.map(|ifindex| (ifindex, Link::default())).collect();
        Ok(())
    }

    /// Number of next hops that packets can be sent to.
    #[must_use]
    pub fn hop_count(&self) -> usize {
        self.fib.next_hops().len()
    }

    /// Snapshot number of the routes in the tables.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.fib.generation()
    }

    /// The next hop that the last look-up could not resolve.
    pub fn take_unresolved(&self) -> Option<(u32, Ipv4Addr)> {
        self.unresolved.take()
    }

    /// Writes a new snapshot into the tables. New next hops first, then what
    /// names them; old ones are cleared last.
    ///
    /// # Errors
    /// The kernel refused an exact route or a link; the rest is written.
    pub fn apply(&mut self, dataplane: &mut Dataplane, fib: Arc<Fib>) -> Result<(), LoadError> {
        let memory = Arc::clone(dataplane.memory());
        let hops: BTreeMap<u16, NextHop> = next_hops(&fib).collect();
        for (id, hop) in &hops {
            if let Some(entry) = memory.next_hops.get(u32::from(*id))
                && entry.read() != *hop
            {
                entry.write(hop);
            }
        }
        let summary = routes::summarise(&fib, &self.special);
        for (network, value) in (0..=u16::MAX).zip(summary.iter()) {
            memory.set_route(network, *value);
        }
        let room = EXACT_ROUTES.entries as usize - MOST_LEARNED;
        let table = routes::exact(&fib, &summary, room);
        let exact = self.write_exact(dataplane, &fib, table);
        for id in std::mem::take(&mut self.hops) {
            if !hops.contains_key(&id)
                && let Some(entry) = memory.next_hops.get(u32::from(id))
            {
                entry.write(&NextHop::default());
            }
        }
        self.hops = hops.into_keys().collect();
        let links = self.write_links(dataplane, &fib);
        self.warn_of_narrow(&fib);
        self.warn_of_vrfs(&fib);
        self.fib = fib;
        exact.and(links)
    }

    /// Writes what the slow path looked up since the last call, in the place of
    /// what it looked up longest ago.
    ///
    /// # Errors
    /// The kernel's.
    pub fn learn(&mut self, dataplane: &mut Dataplane) -> Result<(), LoadError> {
        for (address, id) in self.asked.take() {
            if self.exact.contains_key(&address) {
                continue;
            }
            if self.learned.len() >= MOST_LEARNED
                && let Some(oldest) = self.learned.pop_front()
            {
                self.exact.remove(&oldest);
                dataplane.set_exact_route(oldest, None)?;
            }
            dataplane.set_exact_route(address, Some(u32::from(id)))?;
            self.exact.insert(address, u32::from(id));
            self.learned.push_back(address);
        }
        Ok(())
    }

    fn write_exact(
        &mut self,
        dataplane: &mut Dataplane,
        fib: &Fib,
        table: ExactTable,
    ) -> Result<(), LoadError> {
        if table.omitted_local > 0 {
            tracing::warn!(
                addresses = table.omitted_local,
                "more own addresses than the tables hold: packets to the others are dropped \
                 (no_route); use fewer or whole /16 networks in routes of type local"
            );
        }
        if table.omitted_hops > 0 {
            tracing::debug!(
                neighbours = table.omitted_hops,
                "neighbours that do not fit: the kernel is asked for them"
            );
        }
        let mut new: HashMap<Ipv4Addr, u32> = table
            .entries
            .into_iter()
            .map(|(address, exact)| {
                let value = match exact {
                    Exact::Local => EXACT_LOCAL,
                    Exact::Hop(id) => u32::from(id),
                };
                (address, value)
            })
            .collect();
        self.asked.borrow_mut().clear();
        self.learned
            .retain(|address| match Fib::resolve(fib, *address) {
                Resolution::Hop(id) if !new.contains_key(address) => {
                    new.insert(*address, u32::from(id));
                    true
                }
                _ => false,
            });
        let mut result = Ok(());
        for address in self.exact.keys().filter(|a| !new.contains_key(a)) {
            result = result.and(dataplane.set_exact_route(*address, None));
        }
        for (address, value) in &new {
            if self.exact.get(address) != Some(value) {
                result = result.and(dataplane.set_exact_route(*address, Some(*value)));
            }
        }
        self.exact = new;
        result
    }

    fn write_links(&mut self, dataplane: &mut Dataplane, fib: &Fib) -> Result<(), LoadError> {
        let new = links_of(fib);
        let mut result = Ok(());
        for ifindex in self.links.keys().filter(|i| !new.contains_key(i)) {
            result = result.and(dataplane.set_link(*ifindex, None));
        }
        for (ifindex, link) in &new {
            if self.links.get(ifindex) != Some(link) {
                result = result.and(dataplane.set_link(*ifindex, Some(*link)));
            }
        }
        self.links = new;
        result
    }

    /// Once for each that is new.
    fn warn_of_narrow(&mut self, fib: &Fib) {
        let new = narrow(fib);
        for (name, mtu, room) in new.difference(&self.narrow) {
            tracing::warn!(
                interface = name,
                mtu,
                "with its VLAN tags only packets of {room} bytes fit into the frames of the device \
                 below, larger ones are dropped (too_big); raise that device's MTU by {} bytes \
                 with `ip link set`, or lower this one's",
                mtu - room
            );
        }
        self.narrow = new;
    }

    /// Once for each that is new.
    fn warn_of_vrfs(&mut self, fib: &Fib) {
        let new = vrf_cautions(fib);
        for (interface, text) in new.difference(&self.vrf_cautions) {
            tracing::warn!(interface, "{text}");
        }
        self.vrf_cautions = new;
    }
}

/// The routes as they are now, for one who has not got the tables that were made
/// from them. They say the same.
impl Routing for Fib {
    fn exact(&self, address: u32) -> Option<u32> {
        let destination = Ipv4Addr::from_bits(address);
        let mut addresses = (0..self.ports().len()).flat_map(|port| self.port_addresses(port));
        let is_local = matches!(Fib::resolve(self, destination), Resolution::Local)
            && (!is_martian(address)
                || is_key(address) && !self.networks().is_empty()
                || addresses.any(|own| own.ip == destination));
        is_local.then_some(EXACT_LOCAL)
    }

    fn resolve(&self, address: u32) -> Resolved {
        match Fib::resolve(self, Ipv4Addr::from_bits(address)) {
            Resolution::Local => Resolved::Local,
            Resolution::Hop(id) => Resolved::Hop(u32::from(id)),
            Resolution::Unresolved { gateway, port, .. } => match self.ports().get(port) {
                Some(port) => Resolved::Unresolved {
                    neighbour: gateway.to_bits(),
                    side: side(port.side),
                },
                None => Resolved::Elsewhere,
            },
            Resolution::OffPort { .. } => Resolved::Elsewhere,
            Resolution::KernelOnly => Resolved::Unknown,
            Resolution::Blackhole
            | Resolution::Unreachable
            | Resolution::Prohibited
            | Resolution::NoRoute => Resolved::None,
        }
    }
}

impl Routing for Applied {
    fn exact(&self, address: u32) -> Option<u32> {
        self.exact.get(&Ipv4Addr::from_bits(address)).copied()
    }

    fn resolve(&self, address: u32) -> Resolved {
        let destination = Ipv4Addr::from_bits(address);
        match Fib::resolve(&self.fib, destination) {
            Resolution::Hop(id) => {
                let mut asked = self.asked.borrow_mut();
                if asked.len() < MOST_ASKED {
                    asked.push((destination, id));
                }
            }
            Resolution::Unresolved {
                gateway, ifindex, ..
            } => self.unresolved.set(Some((ifindex, gateway))),
            _ => {}
        }
        Routing::resolve(&*self.fib, address)
    }
}

impl Router for Applied {
    fn own_address(&self, side: Side, destination: u32) -> Option<Ipv4Addr> {
        let destination = Ipv4Addr::from_bits(destination);
        match side {
            Side::Inside => self
                .fib
                .own_address(routes::Side::Inside, destination, |_| true),
            Side::Outside => {
                let is_public = |ip: Ipv4Addr| is_host_outside(ip.to_bits()) && !ip.is_private();
                let outside = routes::Side::Outside;
                self.fib.own_address(outside, destination, is_public)
            }
        }
    }

    /// As the kernel answers where it forwards by itself.
    fn unreachable_code(&self, destination: u32) -> Option<u8> {
        match Fib::resolve(&self.fib, Ipv4Addr::from_bits(destination)) {
            Resolution::Blackhole => None,
            Resolution::Unreachable => Some(code::HOST),
            Resolution::Prohibited => Some(code::PROHIBITED),
            _ => Some(code::NETWORK),
        }
    }
}

fn side(side: routes::Side) -> Side {
    match side {
        routes::Side::Inside => Side::Inside,
        routes::Side::Outside => Side::Outside,
    }
}

fn two(vlans: &[u16]) -> [u16; 2] {
    let at = |index: usize| vlans.get(index).copied().unwrap_or(0);
    [at(0), at(1)]
}

fn mtu(mtu: u32) -> u16 {
    u16::try_from(mtu).unwrap_or(u16::MAX)
}

fn next_hop(hop: &routes::NextHop) -> NextHop {
    NextHop {
        destination_mac: hop.mac,
        source_mac: hop.src_mac,
        ifindex: hop.phys_ifindex,
        device: hop.device,
        mtu: mtu(hop.mtu),
        side: side(hop.side) as u8,
        vlan_count: hop.vlans.len() as u8,
        vlans: two(&hop.vlans),
        waits_for: 0,
    }
}

/// The entries of `NEXT_HOPS`: also of gateways that are not known, which hold
/// back what is sent to them.
pub(super) fn next_hops(fib: &Fib) -> impl Iterator<Item = (u16, NextHop)> {
    let lost = fib.lost_hops().filter_map(|(id, hop)| {
        let port = fib.ports().get(hop.port)?;
        let entry = NextHop {
            side: side(port.side) as u8,
            waits_for: hop.ip.to_bits(),
            ..NextHop::default()
        };
        Some((id, entry))
    });
    let known = fib.next_hops().map(|(id, hop)| (id, next_hop(hop)));
    known.chain(lost)
}

/// What the kernel's answers mean, by ifindex: each link of ours, VLAN devices
/// included.
pub(super) fn links_of(fib: &Fib) -> BTreeMap<u32, Link> {
    let ports = fib.ports().iter().enumerate();
    let all = ports.flat_map(|(number, port)| {
        let room = fib.port_room(number).unwrap_or(u32::MAX);
        let of_port = fib.port_links(number);
        of_port.map(move |link| {
            let value = Link {
                ifindex: port.phys_ifindex,
                device: port.device,
                mtu: mtu(link.mtu.min(room)),
                side: side(port.side) as u8,
                vlan_count: port.vlan.len() as u8,
                vlans: two(&port.vlan),
                realm: port.realm,
                reserved: 0,
            };
            (link.ifindex, value)
        })
    });
    all.collect()
}

/// Links whose packets do not all fit with their tags into the frames of the
/// device below: name, MTU in bytes, and what fits.
pub(super) fn narrow(fib: &Fib) -> BTreeSet<(String, u32, u32)> {
    let ports = 0..fib.ports().len();
    let all = ports.flat_map(|number| {
        let room = fib.port_room(number).unwrap_or(u32::MAX);
        let of_port = fib.port_links(number).filter(move |link| link.mtu > room);
        of_port.map(move |link| (link.name.clone(), link.mtu, room))
    });
    all.collect()
}

/// What does not work of links in VRFs, and what to do: name of the link, and a text.
pub(super) fn vrf_cautions(fib: &Fib) -> BTreeSet<(String, String)> {
    let strange = fib.strange_vrfs().map(|(port, link)| {
        let table = link.vrf.unwrap_or_default();
        let remedy = match (port.side, fib.networks().table(port.realm)) {
            (routes::Side::Inside, Some(own)) => {
                format!("let the realm have `table = {table}` in place of {own}")
            }
            (routes::Side::Inside, None) => {
                format!("make it a [[realm]] with `table = {table}`, or take it out of the VRF with `ip link set {} nomaster`", link.name)
            }
            (routes::Side::Outside, _) => {
                format!("take it out of the VRF with `ip link set {} nomaster`", link.name)
            }
        };
        let text = format!(
            "it is in a VRF with table {table}, whose routes are not followed: XDP asks the kernel for each packet's route, \
             and drops what that does not tell it (no_route, route_unknown); {remedy}"
        );
        (link.name.clone(), text)
    });
    let lost = fib.addresses_without_key().map(|(link, address)| {
        let text = format!(
            "packets of its realm do not reach the router's address {address} in this VRF; give the router one in a /16 of \
             the realm's [[subscribers]], or name the prefix of this one there, too"
        );
        (link.name.clone(), text)
    });
    let closed = fib.closed_vrfs().map(|link| {
        let (name, table) = (&link.name, link.vrf.unwrap_or_default());
        let text = format!(
            "the default route in its VRF's table {table} drops: where XDP asks the kernel for the way out of what comes by \
             this interface, that is dropped (no_route); set `net.ipv4.conf.{name}.forwarding` to 0, which leaves such \
             packets to the slow path and the main table, or give the VRF a default route out of the outside interface"
        );
        (name.clone(), text)
    });
    strange.chain(lost).chain(closed).collect()
}
