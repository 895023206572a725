//! Frames of IPv6, which goes by untranslated; written by `etherparse`, too.

use std::net::Ipv6Addr;

use etherparse::{PacketBuilder, PacketBuilderStep};

use super::flag;

/// An address and a port (for ICMP: the identifier).
pub type Endpoint = (Ipv6Addr, u16);

const LINK: usize = 14;
const PAYLOAD: &[u8] = b"as it came";

fn ip(source: Ipv6Addr, destination: Ipv6Addr) -> PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2([0x02, 0, 0, 0, 0xc6, 2], [0x02, 0, 0, 0, 0xc6, 1]).ipv6(
        source.octets(),
        destination.octets(),
        64,
    )
}

/// A TCP segment with some of the flags SYN, ACK, RST.
///
/// # Panics
/// Never: what is written fits.
#[must_use]
pub fn tcp(flags: u8, source: Endpoint, destination: Endpoint) -> Vec<u8> {
    let mut step = ip(source.0, destination.0).tcp(source.1, destination.1, 1, 65_535);
    if flags & flag::SYN != 0 {
        step = step.syn();
    }
    if flags & flag::ACK != 0 {
        step = step.ack(1);
    }
    if flags & flag::RST != 0 {
        step = step.rst();
    }
    let mut frame = Vec::new();
    step.write(&mut frame, &[]).expect("it fits");
    frame
}

/// A UDP datagram.
///
/// # Panics
/// As above.
#[must_use]
pub fn udp(source: Endpoint, destination: Endpoint) -> Vec<u8> {
    let step = ip(source.0, destination.0).udp(source.1, destination.1);
    let mut frame = Vec::new();
    step.write(&mut frame, PAYLOAD).expect("it fits");
    frame
}

/// An echo request, or the reply.
///
/// # Panics
/// As above.
#[must_use]
pub fn echo(request: bool, source: Ipv6Addr, destination: Ipv6Addr, id: u16) -> Vec<u8> {
    let step = match request {
        true => ip(source, destination).icmpv6_echo_request(id, 1),
        false => ip(source, destination).icmpv6_echo_reply(id, 1),
    };
    let mut frame = Vec::new();
    step.write(&mut frame, PAYLOAD).expect("it fits");
    frame
}

/// Another message of ICMPv6.
///
/// # Panics
/// As above.
#[must_use]
pub fn icmp(message: u8, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let step = ip(source, destination).icmpv6_raw(message, 0, [0; 4]);
    let mut frame = Vec::new();
    step.write(&mut frame, PAYLOAD).expect("it fits");
    frame
}

/// The frame with a header between its IPv6 header and the rest.
#[must_use]
pub fn with_extension(mut frame: Vec<u8>, number: u8, mut header: Vec<u8>) -> Vec<u8> {
    const LENGTH: usize = LINK + 4;
    const NEXT: usize = LINK + 6;
    const REST: usize = LINK + 40;
    header[0] = frame[NEXT];
    frame[NEXT] = number;
    let length = u16::from_be_bytes([frame[LENGTH], frame[LENGTH + 1]]) + header.len() as u16;
    frame[LENGTH..LENGTH + 2].copy_from_slice(&length.to_be_bytes());
    frame.splice(REST..REST, header);
    frame
}

/// The frame on a VLAN, outermost tag first (EtherType and tag).
#[must_use]
pub fn tagged(mut frame: Vec<u8>, tags: &[(u16, u16)]) -> Vec<u8> {
    const TYPE: usize = 12;
    let tags = tags
        .iter()
        .flat_map(|(ethertype, tag)| [ethertype.to_be_bytes(), tag.to_be_bytes()].concat());
    let tags: Vec<u8> = tags.collect();
    frame.splice(TYPE..TYPE, tags);
    frame
}

/// The packet in a frame without tags.
#[must_use]
pub fn packet(frame: &[u8]) -> &[u8] {
    &frame[LINK..]
}
