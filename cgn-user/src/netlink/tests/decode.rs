//! Messages that this machine's kernel may not be able to send.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_MULTIPART, NLM_F_REPLACE};
use rtnetlink::packet_core::{NetlinkDeserializable, NetlinkHeader};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVlan, InfoVrfPort, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as KernelState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RouteType, RouteVia,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::netlink::decode::{
    News, are_built_in, read, read_address, read_link, read_neighbour, read_route,
};
use crate::netlink::message::KernelMessage;
use crate::routes::{Change, NeighbourState, Path, Placement, RouteKind, Table};

fn link(attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = 7;
    message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
    message.attributes = vec![
        LinkAttribute::IfName("eth0.100".into()),
        LinkAttribute::Mtu(1496),
        LinkAttribute::Address(vec![2, 0, 0, 0, 0, 7]),
    ];
    message.attributes.extend(attributes);
    message
}

fn vlan(id: u16) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Vlan),
        LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id)])),
    ])
}

#[test]
fn links() {
    let cases = [
        ("a device", vec![], None),
        (
            "a veth has a device at the other end, not below",
            vec![LinkAttribute::Link(3)],
            None,
        ),
        (
            "a VLAN device",
            vec![LinkAttribute::Link(3), vlan(100)],
            Some((3, 100)),
        ),
        (
            "a VLAN device whose device below is in another namespace",
            vec![
                LinkAttribute::Link(3),
                LinkAttribute::LinkNetNsId(0),
                vlan(100),
            ],
            Some((0, 100)),
        ),
    ];
    for (what, attributes, expected) in cases {
        let link = read_link(&link(attributes)).expect(what);
        assert_eq!(link.vlan, expected, "{what}");
        assert_eq!((link.ifindex, link.mtu, link.up), (7, 1496, true), "{what}");
        assert_eq!(link.mac, [2, 0, 0, 0, 0, 7], "{what}");
    }
    let port_of = |kind, data| {
        LinkAttribute::LinkInfo(vec![LinkInfo::PortKind(kind), LinkInfo::PortData(data)])
    };
    let vrf = port_of(
        InfoPortKind::Vrf,
        InfoPortData::VrfPort(vec![InfoVrfPort::TableId(100)]),
    );
    let bridge = port_of(InfoPortKind::Bridge, InfoPortData::BridgePort(vec![]));
    for (what, attributes, expected) in [
        ("in no VRF", vec![], None),
        (
            "in a VRF",
            vec![LinkAttribute::Controller(5), vrf],
            Some(100),
        ),
        (
            "in a bridge",
            vec![LinkAttribute::Controller(5), bridge],
            None,
        ),
    ] {
        let link = read_link(&link(attributes)).expect(what);
        assert_eq!(link.vrf, expected, "{what}");
    }
    let mut no_carrier = link(vec![]);
    no_carrier.header.flags = LinkFlags::Up;
    assert!(
        read_link(&no_carrier).is_some_and(|link| !link.up),
        "no carrier"
    );
    let mut bridge_port = link(vec![]);
    bridge_port.header.interface_family = AddressFamily::Bridge;
    assert_eq!(
        read_link(&bridge_port),
        None,
        "news of a bridge about its port"
    );
    let gone = KernelMessage::Route(RouteNetlinkMessage::DelLink(bridge_port));
    assert_eq!(
        read(&gone, 0),
        News::Nothing,
        "a port left its bridge: the link is still there"
    );
}

#[test]
fn addresses() {
    let mut message = AddressMessage::default();
    message.header.index = 4;
    message.header.prefix_len = 32;
    let v4 = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let cases = [
        (
            "a broadcast link",
            vec![
                AddressAttribute::Address(v4(1)),
                AddressAttribute::Local(v4(1)),
            ],
            Some(1),
        ),
        (
            "a point-to-point link",
            vec![
                AddressAttribute::Address(v4(2)),
                AddressAttribute::Local(v4(1)),
            ],
            Some(1),
        ),
        ("IPv6", vec![AddressAttribute::Address(v6)], None),
    ];
    for (what, attributes, expected) in cases {
        message.attributes = attributes;
        let last = read_address(&message).map(|address| address.ip.octets()[3]);
        assert_eq!(last, expected, "{what}");
    }
}

#[test]
fn neighbours() {
    let message = |state, flags| {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.state = state;
        message.header.flags = flags;
        message.attributes = vec![
            NeighbourAttribute::Destination(Ipv4Addr::new(192, 0, 2, 1).into()),
            NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 1]),
        ];
        message
    };
    let cases = [
        (KernelState::Noarp, NeighbourState::Permanent),
        (KernelState::None, NeighbourState::Failed),
        (KernelState::Other(0x1000), NeighbourState::Failed),
        (KernelState::Delay, NeighbourState::Delay),
    ];
    for (state, expected) in cases {
        let read = read_neighbour(&message(state, NeighbourFlags::empty()));
        assert_eq!(
            read.map(|neighbour| neighbour.state),
            Some(expected),
            "{state:?}"
        );
    }
    let proxy = message(KernelState::Permanent, NeighbourFlags::Proxy);
    assert_eq!(
        read_neighbour(&proxy),
        None,
        "we answer for it, it is not there"
    );
    let mut infiniband = message(KernelState::Reachable, NeighbourFlags::empty());
    infiniband.attributes[1] = NeighbourAttribute::LinkLayerAddress(vec![0; 20]);
    assert_eq!(
        read_neighbour(&infiniband).and_then(|n| n.mac),
        None,
        "not Ethernet"
    );
}

fn route(kind: RouteType, attributes: Vec<RouteAttribute>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.table = 254;
    message.header.kind = kind;
    message.attributes = attributes;
    message
}

#[test]
fn routes() {
    let gateway = Ipv4Addr::new(192, 0, 2, 1);
    let via = || {
        vec![
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)),
            RouteAttribute::Oif(3),
        ]
    };
    let path = Path {
        gateway: Some(gateway),
        ifindex: 3,
    };
    let through_v6 = RouteAttribute::Via(RouteVia::Inet6(Ipv6Addr::LOCALHOST));
    let cases = [
        (
            "a gateway",
            RouteType::Unicast,
            via(),
            RouteKind::Unicast,
            vec![path],
        ),
        (
            "an IPv6 gateway",
            RouteType::Unicast,
            vec![through_v6, RouteAttribute::Oif(3)],
            RouteKind::KernelOnly,
            vec![Path {
                gateway: None,
                ifindex: 3,
            }],
        ),
        (
            "an encapsulation",
            RouteType::Unicast,
            [via(), vec![RouteAttribute::EncapType(1.into())]].concat(),
            RouteKind::KernelOnly,
            vec![path],
        ),
        (
            "a next-hop object alone",
            RouteType::Unicast,
            vec![RouteAttribute::NhId(1)],
            RouteKind::KernelOnly,
            vec![],
        ),
        (
            "anycast",
            RouteType::Anycast,
            vec![],
            RouteKind::Local,
            vec![],
        ),
        (
            "a type of the future",
            RouteType::Other(99),
            via(),
            RouteKind::KernelOnly,
            vec![path],
        ),
    ];
    for (what, kind, attributes, expected, paths) in cases {
        let route = read_route(&route(kind, attributes)).expect(what);
        assert_eq!((route.kind, route.paths), (expected, paths), "{what}");
    }
    let table = |id| read_route(&route(RouteType::Unicast, vec![RouteAttribute::Table(id)]));
    assert_eq!(table(255).map(|route| route.table), Some(Table::Local));
    assert_eq!(table(253).map(|route| route.table), Some(Table::Default));
    assert_eq!(
        table(100).map(|route| route.table),
        Some(Table::Other(100)),
        "a table that a realm may ask"
    );
    let mut cached = route(RouteType::Unicast, via());
    cached.header.flags = RouteFlags::Cloned;
    assert_eq!(
        read_route(&cached),
        None,
        "an exception from the cache is no route"
    );
    let by_protocol = |protocol: u8| {
        let mut message = route(RouteType::Unicast, via());
        message.header.protocol = protocol.into();
        read_route(&message).map(|route| route.fingerprint)
    };
    assert_eq!(by_protocol(3), by_protocol(3), "the same route");
    assert_ne!(
        by_protocol(3),
        by_protocol(4),
        "two routes that differ in protocol"
    );
    let by_weight = |weight: u8| {
        let mut hop = RouteNextHop::default();
        hop.hops = weight;
        let message = route(
            RouteType::Unicast,
            vec![RouteAttribute::MultiPath(vec![hop])],
        );
        read_route(&message).map(|route| route.fingerprint)
    };
    assert_ne!(by_weight(0), by_weight(1), "two that differ in weight");
}

#[test]
fn placements() {
    let cases = [
        ("add or prepend", NLM_F_CREATE, Placement::First),
        ("append", NLM_F_CREATE | NLM_F_APPEND, Placement::Last),
        ("replace", NLM_F_REPLACE, Placement::Replace),
        ("a dump", NLM_F_MULTIPART, Placement::Last),
    ];
    for (what, flags, expected) in cases {
        let message = route(RouteType::BlackHole, vec![]);
        let message = KernelMessage::Route(RouteNetlinkMessage::NewRoute(message));
        let News::Change(Change::RouteAdded(_, placement)) = read(&message, flags) else {
            panic!("{what}: not a new route");
        };
        assert_eq!(placement, expected, "{what}");
    }
}

#[test]
fn rules() {
    let rule = |priority: u32, table: u32| {
        let mut rule = RuleMessage::default();
        rule.header.action = RuleAction::ToTable;
        rule.header.table = table as u8;
        rule.attributes = vec![
            RuleAttribute::Table(table),
            RuleAttribute::SuppressPrefixLen(u32::MAX),
            RuleAttribute::Protocol(2.into()),
        ];
        // The kernel leaves out the priority 0.
        if priority > 0 {
            rule.attributes.push(RuleAttribute::Priority(priority));
        }
        rule
    };
    let with = |extra| {
        let mut rule = rule(32766, 254);
        rule.attributes.push(extra);
        rule
    };
    let [local, main, default] = [rule(0, 255), rule(32766, 254), rule(32767, 253)];
    let mark = with(RuleAttribute::FwMark(1));
    // Of the kernel's making, with the first VRF.
    let mut vrfs = rule(1000, 0);
    vrfs.attributes.push(RuleAttribute::L3MDev(true));
    let mut unreachable = vrfs.clone();
    unreachable.header.action = RuleAction::Unreachable;
    let cases = [
        (
            "the kernel's own",
            vec![local.clone(), main.clone(), default.clone()],
            true,
        ),
        (
            "in another order",
            vec![default.clone(), local.clone(), main.clone()],
            true,
        ),
        ("a kernel without rules", vec![], true),
        (
            "one more",
            vec![local.clone(), rule(100, 100), main.clone(), default.clone()],
            false,
        ),
        (
            "VRFs, which concern those who are in one",
            vec![local.clone(), vrfs.clone(), main.clone(), default.clone()],
            true,
        ),
        (
            "VRFs, and an end to them",
            vec![
                local.clone(),
                vrfs.clone(),
                unreachable,
                main.clone(),
                default.clone(),
            ],
            false,
        ),
        (
            "VRFs, and one more",
            vec![
                local.clone(),
                vrfs,
                rule(100, 100),
                main.clone(),
                default.clone(),
            ],
            false,
        ),
        (
            "main only for a mark",
            vec![local.clone(), mark, default.clone()],
            false,
        ),
        ("no local", vec![main.clone(), default.clone()], false),
        (
            "local moved down",
            vec![rule(100, 255), main, default],
            false,
        ),
    ];
    for (what, rules, expected) in cases {
        assert_eq!(are_built_in(&rules), expected, "{what}");
    }
    let mut inverted = rule(0, 255);
    inverted.header.src_len = 8;
    assert!(
        !are_built_in(&[inverted, rule(32766, 254), rule(32767, 253)]),
        "with a source"
    );
}

#[test]
fn what_cannot_be_decoded_is_seen() {
    let mut header = NetlinkHeader::default();
    let cases = [
        (
            "a route cut short",
            24,
            News::Unreadable { message_type: 24 },
        ),
        ("a next-hop object", 104, News::Routes),
        ("a next-hop object deleted", 105, News::Routes),
        (
            "a type of the future",
            999,
            News::Unreadable { message_type: 999 },
        ),
    ];
    for (what, message_type, expected) in cases {
        header.message_type = message_type;
        let Ok(message) = KernelMessage::deserialize(&header, &[2, 32, 0]);
        assert_eq!(read(&message, 0), expected, "{what}");
    }
}
