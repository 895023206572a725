//! Any bytes as a packet of IPv6: what is read of it is what a foreign parser reads, and nothing lies
//! beyond its end.

use cgn_common::frame::Buffer;
use cgn_common::wire::ipv6::{self, Ipv6, Kind};
use etherparse::{
    IpNumber, Ipv6ExtensionSlice, Ipv6ExtensionsSlice, Ipv6HeaderSlice, TcpHeaderSlice,
    UdpHeaderSlice,
};

use crate::harness::hex;

const HEADER: usize = 40;

/// What is done to the packet first: bits of the first byte.
mod ready {
    /// Its version is made right.
    pub const VERSION: u8 = 1;
    /// Its length is.
    pub const LENGTH: u8 = 2;
}

fn prepare(what: u8, packet: &mut [u8]) {
    if packet.len() < HEADER {
        return;
    }
    if what & ready::VERSION != 0 {
        packet[0] = 0x60 | packet[0] & 0xf;
    }
    if what & ready::LENGTH != 0 {
        let length = (packet.len() - HEADER).min(usize::from(u16::MAX)) as u16;
        packet[4..6].copy_from_slice(&length.to_be_bytes());
    }
}

fn parsed(packet: &[u8], padding: usize) -> Option<Ipv6> {
    let mut bytes = packet.to_vec();
    bytes.resize(packet.len() + padding, 0x5a);
    let end = bytes.len();
    let frame = Buffer::new(&mut bytes, 0, end).expect("in range");
    ipv6::parse(&frame, 0)
}

/// Extension headers that both parsers take for such, none of them a later fragment; and what follows.
fn behind_extensions(next: IpNumber, payload: &[u8]) -> Option<(IpNumber, &[u8])> {
    let (extensions, next, rest) = Ipv6ExtensionsSlice::from_slice(next, payload).ok()?;
    let mut count = 0;
    for extension in extensions {
        count += 1;
        match extension {
            Ipv6ExtensionSlice::HopByHop(_)
            | Ipv6ExtensionSlice::Routing(_)
            | Ipv6ExtensionSlice::DestinationOptions(_) => {}
            Ipv6ExtensionSlice::Fragment(fragment) if fragment.fragment_offset().value() == 0 => {}
            _ => return None,
        }
    }
    (count <= ipv6::MOST_EXTENSIONS).then_some((next, rest))
}

/// One byte of [`ready`], then the packet. Whether it begins something.
pub fn run(input: &[u8]) -> bool {
    let Some((what, packet)) = input.split_first() else {
        return false;
    };
    let mut packet = packet.to_vec();
    prepare(*what, &mut packet);
    let Some(found) = parsed(&packet, 0) else {
        return false;
    };
    let shown = hex(&packet);
    assert_eq!(
        parsed(&packet, 9),
        Some(found),
        "padding is none of its: {shown}"
    );
    let header = Ipv6HeaderSlice::from_slice(&packet).expect("a header");
    let half = |address: [u8; 16]| {
        let bits = u128::from_be_bytes(address);
        [(bits >> 64) as u64, bits as u64]
    };
    assert_eq!(found.source, half(header.source()), "{shown}");
    assert_eq!(found.destination, half(header.destination()), "{shown}");
    let end = HEADER + usize::from(header.payload_length());
    if let Some((next, rest)) = behind_extensions(header.next_header(), &packet[HEADER..end]) {
        assert_eq!(IpNumber(found.protocol), next, "{shown}");
        match next {
            IpNumber::TCP => same_as_tcp(&found, rest, &shown),
            IpNumber::UDP if rest.len() >= 8 => {
                let udp = UdpHeaderSlice::from_slice(rest).expect("a header");
                assert_eq!(found.ports, [udp.source_port(), udp.destination_port()]);
            }
            _ => {}
        }
    }
    found.kind != Kind::Neither
}

fn same_as_tcp(found: &Ipv6, rest: &[u8], shown: &str) {
    // One whose options lie is a segment to us.
    let Ok(tcp) = TcpHeaderSlice::from_slice(rest) else {
        return;
    };
    assert_eq!(found.ports, [tcp.source_port(), tcp.destination_port()]);
    let asks = tcp.syn() && !tcp.ack() && !tcp.rst();
    assert_eq!(found.kind == Kind::Connection, asks, "{shown}");
}
