//! Both ends of a packet, whatever becomes of it: for those who watch.

use cgn_common::frame::Frame;
use cgn_common::watch::Ends;
use cgn_common::wire::ipv4::{self, Ipv4};
use cgn_common::wire::{Be16, ethernet, transport};

use crate::frame::XdpFrame;

/// Reads what can be read; a packet that lies may be the reason for the look. All
/// zero without an IPv4 header.
#[inline(always)]
pub fn ends(frame: &XdpFrame) -> Ends {
    read(frame).unwrap_or_default()
}

#[inline(always)]
fn read(frame: &XdpFrame) -> Option<Ends> {
    let link = ethernet::parse(frame).ok()?;
    if link.ethertype != ethernet::IPV4 {
        return None;
    }
    let ip: Ipv4 = frame.load(link.length)?;
    let mut ends = Ends {
        protocol: u32::from(ip.protocol),
        source: ip.source.get(),
        destination: ip.destination.get(),
        ..Ends::default()
    };
    let l4 = link.length + ip.header_length();
    let port = |field: usize| frame.load::<Be16>(l4 + field).map_or(0, Be16::get);
    if ip.is_fragment() || ip.header_length() < ipv4::HEADER {
        return Some(ends);
    }
    match ip.protocol {
        transport::TCP | transport::UDP => {
            ends.source_port = port(transport::field::SOURCE_PORT);
            ends.destination_port = port(transport::field::DESTINATION_PORT);
        }
        transport::ICMP => {
            ends.source_port = port(transport::field::ICMP_IDENTIFIER);
            ends.destination_port = ends.source_port;
        }
        _ => {}
    }
    Some(ends)
}
