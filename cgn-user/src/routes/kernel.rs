//! What the kernel tells: links, addresses, routes and neighbours as plain values, and the
//! changes to them. Nothing here knows netlink.

use std::net::Ipv4Addr;

use super::prefix::Prefix;

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's index, from 1.
    pub ifindex: u32,
    /// The device's name.
    pub name: String,
    /// The Ethernet address; zeros if the device has none.
    pub mac: [u8; 6],
    /// The largest IP packet, in bytes.
    pub mtu: u32,
    /// Switched on and with carrier.
    pub up: bool,
    /// For a VLAN device: the ifindex of the device below, and the VLAN id. With two tags the
    /// device below is a VLAN device itself. A device below that is in another network namespace
    /// has the ifindex 0, which no link has.
    pub vlan: Option<(u32, u16)>,
    /// The routing table of the VRF that it is in.
    pub vrf: Option<u32>,
}

/// An address of the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The device that has it.
    pub ifindex: u32,
    /// The address.
    pub ip: Ipv4Addr,
    /// The length of the connected prefix, in bits.
    pub prefix_len: u8,
}

impl Address {
    /// Whether `ip` is in the connected prefix.
    pub fn reaches(&self, ip: Ipv4Addr) -> bool {
        let differing = self.ip.to_bits() ^ ip.to_bits();
        differing.leading_zeros() >= u32::from(self.prefix_len)
    }
}

/// The routing tables that the kernel's three built-in rules ask, and those of realms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Table 255: what is delivered to the router itself.
    Local,
    /// Table 254: the ordinary routes.
    Main,
    /// Table 253: asked only when the others have nothing.
    Default,
    /// Another one, by its number.
    Other(u32),
}

/// What a route does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// Forwards it by one of the paths.
    Unicast,
    /// Delivers it to the router itself (anycast too).
    Local,
    /// Delivers it to the router itself, as a broadcast.
    Broadcast,
    /// Delivers it to the router itself, as a multicast.
    Multicast,
    /// Drops it in silence.
    Blackhole,
    /// Drops it with ICMP host unreachable.
    Unreachable,
    /// Drops it with ICMP communication administratively prohibited.
    Prohibit,
    /// Ends the look-up in this table.
    Throw,
    /// Something that only the kernel can do: an IPv6 gateway, an encapsulation, a next-hop
    /// object without paths, an unknown type.
    KernelOnly,
}

/// One way on which a route forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// The router to hand the packet to; `None`: the destination itself is on the link.
    pub gateway: Option<Ipv4Addr>,
    /// The device to send by.
    pub ifindex: u32,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destinations.
    pub dst: Prefix,
    /// The table that has it.
    pub table: Table,
    /// 0, or the only type of service that it is for.
    pub tos: u8,
    /// Of two routes to one prefix the one with the smaller metric is used.
    pub metric: u32,
    /// What it does.
    pub kind: RouteKind,
    /// The ways, in the kernel's order; more than one for a multipath route.
    pub paths: Vec<Path>,
    /// A limit on the size of packets, in bytes (`ip route ... mtu`).
    pub mtu: Option<u32>,
    /// A fingerprint of all else that tells routes apart for the kernel (protocol, scope,
    /// preferred source, weights): two routes that differ in nothing but this are two routes.
    pub fingerprint: u32,
}

/// Where a new route goes among those with the same prefix, table, type of service and metric;
/// the kernel uses the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Before the others.
    First,
    /// After the others; also the order of a dump.
    Last,
    /// In the place of the first.
    Replace,
}

/// How well the kernel knows a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeighbourState {
    /// Answered lately.
    Reachable,
    /// Not confirmed for a while; usable.
    Stale,
    /// Used after it went stale, about to be probed; usable.
    Delay,
    /// Being probed; usable.
    Probe,
    /// Set by the operator or needing no resolution; never probed.
    Permanent,
    /// Being asked for the first time.
    Incomplete,
    /// Did not answer, or was never asked.
    Failed,
}

/// An entry of the neighbour table (ARP).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The device that it is behind.
    pub ifindex: u32,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its Ethernet address if known.
    pub mac: Option<[u8; 6]>,
    /// What the kernel thinks of it.
    pub state: NeighbourState,
}

impl Neighbour {
    /// The Ethernet address to send to, if the kernel would send to it.
    pub fn usable_mac(&self) -> Option<[u8; 6]> {
        match self.state {
            NeighbourState::Incomplete | NeighbourState::Failed => None,
            _ => self.mac,
        }
    }
}

/// One change of the kernel's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A link is new or changed.
    LinkSet(Link),
    /// A link is gone.
    LinkGone {
        /// Its index.
        ifindex: u32,
    },
    /// An address is new or changed.
    AddressSet(Address),
    /// An address is gone.
    AddressGone(Address),
    /// A route is new, or replaces another.
    RouteAdded(Route, Placement),
    /// A route is gone.
    RouteGone(Route),
    /// A neighbour is new or changed.
    NeighbourSet(Neighbour),
    /// A neighbour is gone.
    NeighbourGone {
        /// The device that it was behind.
        ifindex: u32,
        /// Its address.
        ip: Ipv4Addr,
    },
}
