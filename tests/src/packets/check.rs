//! Judges frames with `etherparse`'s own parser and arithmetic.

use std::net::Ipv4Addr;

use etherparse::{
    Ipv4HeaderSlice, LaxNetSlice, LaxSlicedPacket, NetSlice, SlicedPacket, TransportSlice, icmpv4,
};

/// What a foreign parser says of an Ethernet frame with an IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub ttl: u8,
    /// Source and destination port; for echo both are the identifier.
    pub ports: (u16, u16),
    /// The IPv4 header checksum is right.
    pub ip_right: bool,
    /// The transport checksum is right, or UDP says that there is none.
    pub transport_right: bool,
}

/// None if the parser finds no whole IPv4 packet with TCP, UDP or ICMP echo,
/// or if UDP has a length of its own.
#[must_use]
pub fn judge(frame: &[u8]) -> Option<Judged> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(NetSlice::Ipv4(ip)) = &packet.net else {
        return None;
    };
    let header = ip.header();
    let (source, destination) = (header.source(), header.destination());
    let length = usize::from(header.total_len()).checked_sub(header.slice().len())?;
    let (ports, transport_right) = match packet.transport.as_ref()? {
        TransportSlice::Tcp(tcp) => {
            let right = tcp
                .calc_checksum_ipv4(source, destination)
                .is_ok_and(|sum| sum == tcp.checksum());
            ((tcp.source_port(), tcp.destination_port()), right)
        }
        TransportSlice::Udp(udp) => {
            if usize::from(udp.length()) != length {
                return None;
            }
            let sum = udp
                .to_header()
                .calc_checksum_ipv4_raw(source, destination, udp.payload());
            let right = udp.checksum() == 0 || sum.is_ok_and(|sum| sum == udp.checksum());
            ((udp.source_port(), udp.destination_port()), right)
        }
        TransportSlice::Icmpv4(icmp) => {
            if !matches!(
                icmp.type_u8(),
                icmpv4::TYPE_ECHO_REPLY | icmpv4::TYPE_ECHO_REQUEST
            ) {
                return None;
            }
            let [a, b, ..] = icmp.bytes5to8();
            let id = u16::from_be_bytes([a, b]);
            ((id, id), sums_to_nothing(icmp.slice()))
        }
        TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_) => return None,
    };
    Some(Judged {
        source: source.into(),
        destination: destination.into(),
        ttl: header.ttl(),
        ports,
        ip_right: sums_to_nothing(header.slice()),
        transport_right,
    })
}

/// Sums header or message with its checksum, as a receiver does.
fn sums_to_nothing(bytes: &[u8]) -> bool {
    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(bytes);
    sum.ones_complement() == 0
}

/// Addresses of an IPv4 packet, whatever is above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    /// The header checksum is right.
    pub right: bool,
}

/// None if the frame has no IPv4 header.
#[must_use]
pub fn ends_of(frame: &[u8]) -> Option<Ends> {
    header_of(frame, |header| Ends {
        source: header.source().into(),
        destination: header.destination().into(),
        right: sums_to_nothing(header.slice()),
    })
}

/// IPv4 protocol of a frame, whatever is above it.
#[must_use]
pub fn protocol_of(frame: &[u8]) -> Option<u8> {
    header_of(frame, |header| header.protocol().0)
}

fn header_of<T>(frame: &[u8], read: impl FnOnce(Ipv4HeaderSlice<'_>) -> T) -> Option<T> {
    match LaxSlicedPacket::from_ethernet(frame).ok()?.net {
        Some(LaxNetSlice::Ipv4(ip)) => Some(read(ip.header())),
        _ => None,
    }
}
