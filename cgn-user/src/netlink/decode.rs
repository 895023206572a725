//! From netlink messages to plain values. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};

use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_MULTIPART, NLM_F_REPLACE};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoPortData, InfoVlan, InfoVrfPort, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
    NeighbourState as KernelState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop, RouteType,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::message::KernelMessage;
use crate::routes::{
    Address, Change, Link, Neighbour, NeighbourState, Path, Placement, Prefix, Route, RouteKind,
    Table,
};

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    Change(Change),
    /// A rule is new or gone: dump the rules.
    Rules,
    /// Routes may have changed in silence: dump the routes.
    Routes,
    /// A message of this type could not be read.
    Unreadable {
        message_type: u16,
    },
    /// Of no interest here.
    Nothing,
}

/// Reads a message with the flags of its netlink header.
pub(super) fn read(message: &KernelMessage, flags: u16) -> News {
    let change = match message {
        KernelMessage::NextHopObject => return News::Routes,
        KernelMessage::Undecodable { message_type } => {
            let message_type = *message_type;
            return News::Unreadable { message_type };
        }
        KernelMessage::Route(message) => match message {
            RouteNetlinkMessage::NewRule(_) | RouteNetlinkMessage::DelRule(_) => {
                return News::Rules;
            }
            RouteNetlinkMessage::NewLink(link) => read_link(link).map(Change::LinkSet),
            RouteNetlinkMessage::DelLink(link) => is_whole_link(link).then_some(Change::LinkGone {
                ifindex: link.header.index,
            }),
            RouteNetlinkMessage::NewAddress(address) => {
                read_address(address).map(Change::AddressSet)
            }
            RouteNetlinkMessage::DelAddress(address) => {
                read_address(address).map(Change::AddressGone)
            }
            RouteNetlinkMessage::NewRoute(route) => {
                read_route(route).map(|route| Change::RouteAdded(route, placement(flags)))
            }
            RouteNetlinkMessage::DelRoute(route) => read_route(route).map(Change::RouteGone),
            RouteNetlinkMessage::NewNeighbour(neighbour) => {
                read_neighbour(neighbour).map(Change::NeighbourSet)
            }
            RouteNetlinkMessage::DelNeighbour(neighbour) => read_neighbour(neighbour)
                .map(|Neighbour { ifindex, ip, .. }| Change::NeighbourGone { ifindex, ip }),
            _ => None,
        },
    };
    change.map_or(News::Nothing, News::Change)
}

fn placement(flags: u16) -> Placement {
    if flags & NLM_F_MULTIPART != 0 || flags & NLM_F_APPEND != 0 {
        Placement::Last
    } else if flags & NLM_F_REPLACE != 0 {
        Placement::Replace
    } else {
        Placement::First
    }
}

/// Bridges send messages of their own family about their ports, also when a port leaves.
fn is_whole_link(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

/// `None` for messages that do not describe the link as a whole.
pub(super) fn read_link(message: &LinkMessage) -> Option<Link> {
    if !is_whole_link(message) {
        return None;
    }
    let mut link = Link {
        ifindex: message.header.index,
        name: String::new(),
        mac: [0; 6],
        mtu: 0,
        up: message
            .header
            .flags
            .contains(LinkFlags::Up | LinkFlags::LowerUp),
        vlan: None,
        vrf: None,
    };
    let mut below = None;
    let mut elsewhere = false;
    let mut vid = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().unwrap_or([0; 6]),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Link(ifindex) => below = Some(*ifindex),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::LinkInfo(infos) => {
                vid = infos.iter().find_map(vlan_id);
                link.vrf = infos.iter().find_map(vrf_table);
            }
            _ => {}
        }
    }
    let below = if elsewhere { Some(0) } else { below };
    link.vlan = vid.map(|vid| (below.unwrap_or(0), vid));
    // News about radio state and the like have no MTU.
    (link.mtu > 0).then_some(link)
}

fn vlan_id(info: &LinkInfo) -> Option<u16> {
    let LinkInfo::Data(InfoData::Vlan(vlan)) = info else {
        return None;
    };
    vlan.iter().find_map(|info| match info {
        InfoVlan::Id(vid) => Some(*vid),
        _ => None,
    })
}

/// Of a link that is enslaved to a VRF.
fn vrf_table(info: &LinkInfo) -> Option<u32> {
    let LinkInfo::PortData(InfoPortData::VrfPort(port)) = info else {
        return None;
    };
    port.iter().find_map(|info| match info {
        InfoVrfPort::TableId(table) => Some(*table),
        _ => None,
    })
}

/// `None` for what is not IPv4.
pub(super) fn read_address(message: &AddressMessage) -> Option<Address> {
    let v4 = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => Some(*ip),
        IpAddr::V6(_) => None,
    };
    // On a point-to-point link `Address` is the other end, and `Local` is ours.
    let find = |pick: fn(&AddressAttribute) -> Option<&IpAddr>| {
        message.attributes.iter().find_map(pick).and_then(v4)
    };
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(ip),
        _ => None,
    });
    let address = find(|attribute| match attribute {
        AddressAttribute::Address(ip) => Some(ip),
        _ => None,
    });
    Some(Address {
        ifindex: message.header.index,
        ip: local.or(address)?,
        prefix_len: message.header.prefix_len,
    })
}

/// `None` for what is not IPv4, for proxy entries, and for entries without an address.
pub(super) fn read_neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    let header = &message.header;
    if header.family != AddressFamily::Inet || header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let mut ip = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => ip = Some(*address),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    let state = match header.state {
        KernelState::Reachable => NeighbourState::Reachable,
        KernelState::Stale => NeighbourState::Stale,
        KernelState::Delay => NeighbourState::Delay,
        KernelState::Probe => NeighbourState::Probe,
        KernelState::Permanent | KernelState::Noarp => NeighbourState::Permanent,
        KernelState::Incomplete => NeighbourState::Incomplete,
        // Failed, none (never asked), and what a later kernel may add: not usable.
        _ => NeighbourState::Failed,
    };
    Some(Neighbour {
        ifindex: header.ifindex,
        ip: ip?,
        mac,
        state,
    })
}

/// `None` for what is not an IPv4 route, and for cached exceptions.
pub(super) fn read_route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    if header.address_family != AddressFamily::Inet || header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let mut parts = RouteParts::default();
    let mut table = u32::from(header.table);
    let mut other = DefaultHasher::new();
    (u8::from(header.protocol), u8::from(header.scope)).hash(&mut other);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::PrefSource(RouteAddress::Inet(source)) => source.hash(&mut other),
            RouteAttribute::MultiPath(hops) => {
                for hop in hops {
                    hop.hops.hash(&mut other);
                }
                parts.take(attribute);
            }
            _ => parts.take(attribute),
        }
    }
    let table = match table {
        255 => Table::Local,
        254 => Table::Main,
        253 => Table::Default,
        other => Table::Other(other),
    };
    let dst = parts.dst.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let (metric, mtu) = (parts.metric, parts.mtu);
    let (kind, paths) = parts.outcome(header.kind);
    Some(Route {
        dst: Prefix::containing(dst, header.destination_prefix_length).ok()?,
        table,
        tos: header.tos,
        metric,
        kind,
        paths,
        mtu,
        // Half of the hash is as good as the whole.
        fingerprint: other.finish() as u32,
    })
}

#[derive(Default)]
struct RouteParts {
    dst: Option<Ipv4Addr>,
    gateway: Option<Ipv4Addr>,
    ifindex: Option<u32>,
    metric: u32,
    mtu: Option<u32>,
    multipath: Vec<Path>,
    /// Something that a [`Path`] cannot express.
    beyond: bool,
}

impl RouteParts {
    fn take(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(dst)) => self.dst = Some(*dst),
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => self.gateway = Some(*gateway),
            RouteAttribute::Oif(ifindex) => self.ifindex = Some(*ifindex),
            RouteAttribute::Priority(metric) => self.metric = *metric,
            RouteAttribute::Metrics(metrics) => {
                self.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
                    _ => None,
                });
            }
            RouteAttribute::MultiPath(hops) => {
                for hop in hops {
                    self.take_hop(hop);
                }
            }
            RouteAttribute::Via(_) | RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) => {
                self.beyond = true;
            }
            _ => {}
        }
    }

    fn take_hop(&mut self, hop: &RouteNextHop) {
        let mut parts = RouteParts::default();
        for attribute in &hop.attributes {
            parts.take(attribute);
        }
        self.beyond |= parts.beyond;
        self.multipath.push(Path {
            gateway: parts.gateway,
            ifindex: hop.interface_index,
        });
    }

    fn outcome(self, kind: RouteType) -> (RouteKind, Vec<Path>) {
        let single = self.ifindex.map(|ifindex| Path {
            gateway: self.gateway,
            ifindex,
        });
        let paths = if self.multipath.is_empty() {
            single.into_iter().collect()
        } else {
            self.multipath
        };
        let kind = match kind {
            RouteType::Unicast if self.beyond || paths.is_empty() => RouteKind::KernelOnly,
            RouteType::Unicast => RouteKind::Unicast,
            RouteType::Local | RouteType::Anycast => RouteKind::Local,
            RouteType::Broadcast => RouteKind::Broadcast,
            RouteType::Multicast => RouteKind::Multicast,
            RouteType::BlackHole => RouteKind::Blackhole,
            RouteType::Unreachable => RouteKind::Unreachable,
            RouteType::Prohibit => RouteKind::Prohibit,
            RouteType::Throw => RouteKind::Throw,
            _ => RouteKind::KernelOnly,
        };
        (kind, paths)
    }
}

/// Whether these are just the kernel's own three rules: ask local, then main, then default. A
/// kernel without rules (no CONFIG_IP_MULTIPLE_TABLES) shows none and does the same. Rules for VRFs hold for
/// nothing but what comes by an interface that is in one: [`Fib::kernel_decides`](crate::routes::Fib::kernel_decides).
pub(super) fn are_built_in(rules: &[RuleMessage]) -> bool {
    const BUILT_IN: [(u32, u32); 3] = [(0, 255), (32766, 254), (32767, 253)];
    let is_of_vrfs = |rule: &RuleMessage| {
        rule.header.action == RuleAction::ToTable
            && rule.attributes.contains(&RuleAttribute::L3MDev(true))
    };
    let others = rules.iter().filter(|rule| !is_of_vrfs(rule));
    let mut seen: Vec<_> = others.map(bare_rule).collect();
    seen.sort_unstable();
    rules.is_empty() || seen == BUILT_IN.map(Some)
}

/// The priority and table of a rule that sends all packets to a table; `None` for any other one.
fn bare_rule(rule: &RuleMessage) -> Option<(u32, u32)> {
    let header = &rule.header;
    let bare = header.action == RuleAction::ToTable
        && (header.dst_len, header.src_len, header.tos) == (0, 0, 0)
        && header.flags.is_empty();
    let mut priority = 0;
    let mut table = u32::from(header.table);
    for attribute in &rule.attributes {
        match attribute {
            RuleAttribute::Priority(value) => priority = *value,
            RuleAttribute::Table(value) => table = *value,
            // All ones: no limit. Who made the rule does not matter.
            RuleAttribute::SuppressPrefixLen(u32::MAX) | RuleAttribute::Protocol(_) => {}
            _ => return None,
        }
    }
    bare.then_some((priority, table))
}
