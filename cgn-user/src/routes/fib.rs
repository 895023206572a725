//! A snapshot of the routing state, ready for look-ups.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::MIXED;
use super::action::{ActionId, KERNEL_ONLY};
use super::hop::{HopKey, NextHop};
use super::kernel::{Address, Link};
use super::port::{Port, Side};
use super::realm::Networks;
use super::span::{Span, low};

/// Where a packet to some address goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// To the router itself: an own address, a broadcast address of a connected network, loopback,
    /// multicast.
    Local,
    /// To the next hop with this id.
    Hop(u16),
    /// To a neighbour whose Ethernet address is not known: ask the kernel to find it.
    Unresolved {
        /// The neighbour: a gateway, or the destination itself.
        gateway: Ipv4Addr,
        /// The device that it is behind.
        ifindex: u32,
        /// The index of its port in [`Fib::ports`].
        port: usize,
    },
    /// By a device that is none of our ports.
    OffPort {
        /// The device.
        ifindex: u32,
    },
    /// Dropped in silence by a route.
    Blackhole,
    /// Refused by a route: ICMP host unreachable.
    Unreachable,
    /// Refused by a route: ICMP communication administratively prohibited.
    Prohibited,
    /// No route: ICMP net unreachable.
    NoRoute,
    /// Only the kernel can tell (`bpf_fib_lookup`): rules of the operator's, routes by type of
    /// service, IPv6 gateways, encapsulations; or the ids for next hops are used up.
    KernelOnly,
}

/// Where an action leads. Like [`Resolution`], but for the destination still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Fixed(Resolution),
    /// The destination itself is on the link.
    OnLink {
        ifindex: u32,
        port: usize,
        route_mtu: Option<u32>,
    },
    /// By a gateway whose Ethernet address is not known. It has an id all the same (or [`MIXED`]
    /// if there is none left), so that the fast path knows what its packets wait for.
    Lost {
        id: u16,
        hop: LostHop,
    },
}

/// A gateway of a route that has an id, but whose Ethernet address is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostHop {
    /// Its address.
    pub ip: Ipv4Addr,
    /// The device that it is behind.
    pub ifindex: u32,
    /// The index of its port in [`Fib::ports`].
    pub port: usize,
}

/// A snapshot of the routing state.
#[derive(Debug, Clone)]
pub struct Fib {
    pub(super) generation: u64,
    pub(super) kernel_decides: bool,
    pub(super) ports: Arc<[Port]>,
    pub(super) networks: Networks,
    /// The links that belong to a port.
    pub(super) links: Vec<(usize, Link)>,
    /// By port: what [`Fib::port_room`] tells.
    pub(super) rooms: Vec<Option<u32>>,
    /// The router's addresses, each with the port that its link belongs to.
    pub(super) addresses: Vec<(usize, Address)>,
    /// 65,536 of them, by the high 16 bits of the address.
    pub(super) spans: Arc<Vec<Span>>,
    /// By action number.
    pub(super) targets: Vec<Target>,
    /// [`MIXED`] for those that got none.
    pub(super) ids: HashMap<HopKey, u16>,
    pub(super) hops: BTreeMap<u16, NextHop>,
    pub(super) lost: BTreeMap<u16, LostHop>,
    /// Neighbours with an id that routes reach without a gateway.
    pub(super) on_link: Vec<HopKey>,
    /// Tables of VRFs whose default route drops.
    pub(super) closed: BTreeSet<u32>,
}

impl Fib {
    /// The state before anything is known: every answer is [`Resolution::KernelOnly`].
    pub fn unknown(ports: impl Into<Arc<[Port]>>) -> Self {
        Fib {
            generation: 0,
            kernel_decides: true,
            ports: ports.into(),
            networks: Networks::default(),
            links: Vec::new(),
            rooms: Vec::new(),
            addresses: Vec::new(),
            spans: Arc::new(vec![Span::One(KERNEL_ONLY); 1 << 16]),
            targets: vec![Target::Fixed(Resolution::KernelOnly); 2],
            ids: HashMap::new(),
            hops: BTreeMap::new(),
            lost: BTreeMap::new(),
            on_link: Vec::new(),
            closed: BTreeSet::new(),
        }
    }

    /// Counts the snapshots, from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the operator's own rules (`ip rule`), a port in a VRF ([`Fib::strange_vrfs`]), or a route or rule
    /// that could not be read, leave every decision but local delivery to the kernel.
    pub fn kernel_decides(&self) -> bool {
        self.kernel_decides
    }

    /// The ports that this snapshot was made for.
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// The kernel's links that belong to a port (an index into [`Fib::ports`]): the device itself
    /// or VLAN devices on it, up or not.
    pub fn port_links(&self, port: usize) -> impl Iterator<Item = &Link> {
        let of_port = self.links.iter().filter(move |(of, _)| *of == port);
        of_port.map(|(_, link)| link)
    }

    /// Links of ports that are in a VRF whose routing table is not that of the port's realm: the kernel's
    /// rules ask a table for their packets that is not followed.
    pub fn strange_vrfs(&self) -> impl Iterator<Item = (&Port, &Link)> {
        let all = self.links.iter();
        let of_ports = all.filter_map(|(port, link)| Some((self.ports.get(*port)?, link)));
        of_ports.filter(|(port, link)| {
            link.vrf.is_some()
                && (port.side, link.vrf) != (Side::Inside, self.networks.table(port.realm))
        })
    }

    /// Links of ports in VRFs whose default route drops: where the kernel is asked for the way out of what comes
    /// by them, it knows none.
    pub fn closed_vrfs(&self) -> impl Iterator<Item = &Link> {
        let in_vrf = self.links.iter().map(|(_, link)| link);
        in_vrf.filter(|link| link.vrf.is_some_and(|table| self.closed.contains(&table)))
    }

    /// The router's own addresses in the VRF of a realm that packets of the realm do not find: outside of its
    /// networks an address has no key, and the table local does not have it.
    pub fn addresses_without_key(&self) -> impl Iterator<Item = (&Link, Ipv4Addr)> {
        let in_vrf = self.links.iter().filter(|(_, link)| link.vrf.is_some());
        in_vrf.flat_map(move |(port, link)| {
            let realm = self.ports.get(*port).map_or(0, |port| port.realm);
            let on_link = self
                .port_addresses(*port)
                .filter(|a| a.ifindex == link.ifindex);
            let lost =
                on_link.filter(move |a| realm != 0 && self.networks.key(realm, a.ip).is_none());
            lost.map(move |address| (link, address.ip))
        })
    }

    /// The largest IP packet, in bytes, that the port's device takes with the port's tags, whatever
    /// the MTU of a link on it; `None` if there is no such device.
    pub fn port_room(&self, port: usize) -> Option<u32> {
        self.rooms.get(port).copied().flatten()
    }

    /// The router's own addresses on a port (an index into [`Fib::ports`]), lowest first per link.
    pub fn port_addresses(&self, port: usize) -> impl Iterator<Item = Address> {
        let of_port = self.addresses.iter().filter(move |(of, _)| *of == port);
        of_port.map(|(_, address)| *address)
    }

    /// The router's own address on a side for packets to `destination`, of those that are fit:
    /// in the network of the neighbour that leads there, else the lowest. `None` if there is none.
    pub fn own_address(
        &self,
        side: Side,
        destination: Ipv4Addr,
        is_fit: impl Fn(Ipv4Addr) -> bool,
    ) -> Option<Ipv4Addr> {
        let neighbour = match self.resolve(destination) {
            Resolution::Hop(id) => self.next_hop(id).map(|hop| hop.ip),
            Resolution::Unresolved { gateway, .. } => Some(gateway),
            _ => None,
        };
        let realm = match side {
            Side::Inside => self.networks.realm_of((destination.to_bits() >> 16) as u16),
            Side::Outside => 0,
        };
        let fits = |port: &Port| port.side == side && port.realm == realm;
        let on_side = |port: usize| self.ports.get(port).is_some_and(fits);
        let all = self.addresses.iter();
        let fit = all.filter(|(port, address)| on_side(*port) && is_fit(address.ip));
        let fit: Vec<Address> = fit.map(|(_, address)| *address).collect();
        let is_near = |address: &&Address| neighbour.is_some_and(|ip| address.reaches(ip));
        let near = fit.iter().filter(is_near).max_by_key(|a| a.prefix_len);
        near.or(fit.iter().min_by_key(|a| a.ip)).map(|a| a.ip)
    }

    /// The next hop with this id.
    pub fn next_hop(&self, id: u16) -> Option<&NextHop> {
        self.hops.get(&id)
    }

    /// All next hops, by id. An id that was here or in [`Fib::lost_hops`] in the last snapshot and
    /// is not now must be cleared in the data plane's table.
    pub fn next_hops(&self) -> impl ExactSizeIterator<Item = (u16, &NextHop)> {
        self.hops.iter().map(|(id, hop)| (*id, hop))
    }

    /// Gateways of routes whose Ethernet address is not known, by id.
    pub fn lost_hops(&self) -> impl ExactSizeIterator<Item = (u16, &LostHop)> {
        self.lost.iter().map(|(id, hop)| (*id, hop))
    }

    /// How many next hops got no id because all 65,535 are taken.
    pub fn hops_without_id(&self) -> usize {
        self.ids.values().filter(|id| **id == MIXED).count()
    }

    /// Networks of realms, and how tables know their addresses.
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// Where a packet to `destination` goes: the longest matching prefix, as in the kernel. In a
    /// realm the destination is a key ([`Networks::key`]).
    ///
    /// Of several paths (ECMP) all packets take one: see [`super::Tracker::snapshot`].
    pub fn resolve(&self, destination: Ipv4Addr) -> Resolution {
        if is_own_business(destination) {
            return Resolution::Local;
        }
        let span = (destination.to_bits() >> 16) as u16;
        let resolution = match self.target(span, self.action(destination)) {
            Target::Fixed(resolution) => resolution,
            Target::Lost { hop, .. } => Resolution::Unresolved {
                gateway: hop.ip,
                ifindex: hop.ifindex,
                port: hop.port,
            },
            Target::OnLink {
                ifindex,
                port,
                route_mtu,
            } => {
                let address = self.networks.address(destination);
                self.resolve_on_link(address, ifindex, port, route_mtu)
            }
        };
        match resolution {
            Resolution::Local => resolution,
            _ if self.asks_kernel(span) => Resolution::KernelOnly,
            _ => resolution,
        }
    }

    /// Whether the kernel decides for the /16 `span`. It knows no keys.
    pub(super) fn asks_kernel(&self, span: u16) -> bool {
        self.kernel_decides && self.networks.of_key(span).is_none()
    }

    /// Where an action leads that is one of the /16 `span`: never by a port of another realm.
    pub(super) fn target(&self, span: u16, action: ActionId) -> Target {
        let target = self.targets[action as usize];
        if self.networks.is_empty() {
            return target;
        }
        let of_port = |port: usize| self.ports.get(port).map(|port| port.realm);
        let (realm, ifindex) = match target {
            Target::OnLink { port, ifindex, .. } => (of_port(port), ifindex),
            Target::Lost { hop, .. } => (of_port(hop.port), hop.ifindex),
            Target::Fixed(Resolution::Hop(id)) => match self.hops.get(&id) {
                Some(hop) => (Some(hop.realm), hop.phys_ifindex),
                None => return target,
            },
            Target::Fixed(_) => return target,
        };
        match realm == Some(self.networks.realm_of(span)) {
            true => target,
            false => Target::Fixed(Resolution::OffPort { ifindex }),
        }
    }

    pub(super) fn action(&self, destination: Ipv4Addr) -> ActionId {
        let address = u32::from(destination);
        self.spans[(address >> 16) as usize].lookup(low(address))
    }

    fn resolve_on_link(
        &self,
        ip: Ipv4Addr,
        ifindex: u32,
        port: usize,
        route_mtu: Option<u32>,
    ) -> Resolution {
        let key = HopKey {
            ifindex,
            ip,
            route_mtu,
        };
        match self.ids.get(&key) {
            Some(&MIXED) => Resolution::KernelOnly,
            Some(&id) if self.hops.contains_key(&id) => Resolution::Hop(id),
            // The same address may be a gateway, and then has an id though it is not known.
            Some(_) | None => Resolution::Unresolved {
                gateway: ip,
                ifindex,
                port,
            },
        }
    }
}

/// Addresses that are the router's own business whatever the routes say: a default route covers
/// them, but no router forwards to them as unicast (RFC 1122 section 3.2.1.3, RFC 5771).
pub(super) fn is_own_business(destination: Ipv4Addr) -> bool {
    destination.is_loopback()
        || destination.is_multicast()
        || destination.is_broadcast()
        || destination.is_unspecified()
}
