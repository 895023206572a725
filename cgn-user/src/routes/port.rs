//! The ports that the NAT owns, and which kernel device sends by which of them.

use std::collections::{BTreeMap, HashMap};

use super::kernel::Link;

/// VLAN devices stacked deeper than this are not followed: the data plane handles two tags.
const MAX_DEPTH: usize = 4;

/// Which side of the NAT a port is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Towards the subscribers.
    Inside,
    /// Towards the internet.
    Outside,
}

/// An interface, or one VLAN of it, that the NAT sends by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Port {
    /// The key of the device in the redirect map.
    pub device: u16,
    /// The side of the NAT.
    pub side: Side,
    /// The ifindex of the device that the XDP program is on.
    pub phys_ifindex: u32,
    /// The VLAN ids of its packets, outermost first; empty: untagged.
    pub vlan: Vec<u16>,
    /// Number of the realm that it leads to; 0 outside.
    pub realm: u8,
}

/// Bytes of a VLAN tag.
const TAG_BYTES: u32 = 4;

impl Port {
    /// The largest IP packet, in bytes, that a device with this MTU takes with the port's tags: XDP
    /// may hand it frames of its MTU, the Ethernet header and one tag, and larger ones are lost
    /// without a count.
    pub fn room(&self, device_mtu: u32) -> u32 {
        let tags = TAG_BYTES.saturating_mul(self.vlan.len() as u32);
        device_mtu.min((device_mtu.saturating_add(TAG_BYTES)).saturating_sub(tags))
    }
}

/// Which of `ports` each link sends by, as an index into `ports`.
///
/// A link belongs to a port if walking down its VLAN devices comes to the port's device with
/// exactly the port's VLAN ids. So a link that is the device itself belongs to the port without
/// VLAN ids, and a VLAN device that carries the XDP program itself is a port without VLAN ids.
pub(super) fn assign(links: &BTreeMap<u32, Link>, ports: &[Port]) -> HashMap<u32, usize> {
    links
        .keys()
        .filter_map(|&ifindex| Some((ifindex, port_of(ifindex, links, ports)?)))
        .collect()
}

fn port_of(ifindex: u32, links: &BTreeMap<u32, Link>, ports: &[Port]) -> Option<usize> {
    // Innermost first while walking down.
    let mut vlan = Vec::new();
    let mut at = links.get(&ifindex)?;
    for _ in 0..=MAX_DEPTH {
        let found = ports.iter().position(|port| {
            port.phys_ifindex == at.ifindex && port.vlan.iter().eq(vlan.iter().rev())
        });
        if found.is_some() {
            return found;
        }
        let (below, vid) = at.vlan?;
        vlan.push(vid);
        at = links.get(&below)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(ifindex: u32, vlan: Option<(u32, u16)>) -> (u32, Link) {
        let link = Link {
            ifindex,
            name: format!("if{ifindex}"),
            mac: [2, 0, 0, 0, 0, ifindex as u8],
            mtu: 1500,
            up: true,
            vlan,
            vrf: None,
        };
        (ifindex, link)
    }

    fn port(device: u16, phys_ifindex: u32, vlan: &[u16]) -> Port {
        Port {
            device,
            side: Side::Outside,
            phys_ifindex,
            vlan: vlan.to_vec(),
            realm: 0,
        }
    }

    #[test]
    fn walks_down_vlan_devices() {
        let links = BTreeMap::from([
            link(1, None),
            link(2, Some((1, 100))),
            link(3, Some((2, 7))),
            link(4, Some((3, 8))),
            link(5, Some((0, 100))),
            link(6, Some((7, 1))),
            link(7, Some((6, 1))),
            link(8, Some((1, 200))),
        ]);
        let one_armed = [port(0, 1, &[100]), port(1, 1, &[200])];
        let double = [port(0, 1, &[100, 7])];
        let cases: [(&str, &[Port], u32, Option<usize>); 12] = [
            ("untagged, no VLAN device", &[port(0, 1, &[])], 1, Some(0)),
            (
                "a VLAN device of an untagged port",
                &[port(0, 1, &[])],
                2,
                None,
            ),
            ("the device itself, of a tagged port", &one_armed, 1, None),
            ("one tag", &one_armed, 2, Some(0)),
            ("one arm, the other VLAN", &one_armed, 8, Some(1)),
            ("two tags, outermost first", &double, 3, Some(0)),
            (
                "two tags in the wrong order",
                &[port(0, 1, &[7, 100])],
                3,
                None,
            ),
            ("a third tag", &double, 4, None),
            (
                "XDP on the VLAN device itself",
                &[port(0, 2, &[])],
                2,
                Some(0),
            ),
            ("and one tag on top of it", &[port(0, 2, &[7])], 3, Some(0)),
            ("the device below is elsewhere", &one_armed, 5, None),
            ("a loop ends", &one_armed, 6, None),
        ];
        for (what, ports, ifindex, expected) in cases {
            assert_eq!(port_of(ifindex, &links, ports), expected, "{what}");
        }
        assert_eq!(port_of(99, &links, &double), None, "an unknown link");
        let all = assign(&links, &one_armed);
        assert_eq!(all, HashMap::from([(2, 0), (8, 1)]));
    }
}
