//! Packets by hand, right ones and such as lie.

use super::*;
use crate::frame::Buffer;

const SOURCE: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 9];
const DESTINATION: [u8; 16] = [0x2a, 0, 0x14, 0x50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 4];

/// A header that says as much as follows.
fn packet(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x6c, 0xa, 0xbc, 0xde];
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend([next, 64]);
    bytes.extend(SOURCE);
    bytes.extend(DESTINATION);
    bytes.extend(payload);
    bytes
}

/// An extension header of so many units of 8 bytes beside the first.
fn extension(next: u8, more: u8) -> Vec<u8> {
    let mut bytes = vec![0x5a; 8 + 8 * usize::from(more)];
    bytes[..2].copy_from_slice(&[next, more]);
    bytes
}

fn fragment(next: u8, offset_and_more: u16) -> Vec<u8> {
    let [high, low] = offset_and_more.to_be_bytes();
    vec![next, 0, high, low, 1, 2, 3, 4]
}

fn tcp(flags: u8) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 187];
    bytes.extend([0; 8]);
    bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes
}

const UDP: [u8; 8] = [0x13, 0x88, 0, 53, 0, 8, 0, 0];
const PORTS: [u16; 2] = [5000, 53];

fn echo(message: u8) -> Vec<u8> {
    vec![message, 0, 0, 0, 0xab, 0xcd, 0, 1]
}

fn parsed(bytes: &[u8]) -> Option<Ipv6> {
    // As if behind a link header.
    let mut memory = vec![0xa5; 14];
    memory.extend(bytes);
    let end = memory.len();
    let frame = Buffer::new(&mut memory, 0, end).expect("in range");
    parse(&frame, 14)
}

fn chained(headers: &[Vec<u8>]) -> Vec<u8> {
    headers.concat()
}

#[test]
fn what_a_packet_begins_is_told_by_its_transport_header() {
    let connection = flag::SYN;
    let (opens, neither, flow) = (Kind::Connection, Kind::Neither, Kind::Flow);
    let tcp_ports = [0x1234, 443];
    for (sentence, next, payload, ports, kind) in [
        ("a SYN", 6, tcp(connection), tcp_ports, opens),
        ("a SYN with ECN", 6, tcp(0xc2), tcp_ports, opens),
        ("its answer", 6, tcp(0x12), tcp_ports, neither),
        ("a segment", 6, tcp(0x18), tcp_ports, neither),
        ("a reset", 6, tcp(0x04), tcp_ports, neither),
        ("a SYN and a reset", 6, tcp(0x06), tcp_ports, neither),
        ("UDP", 17, UDP.to_vec(), PORTS, flow),
        ("an echo request", 58, echo(128), [0xabcd; 2], flow),
        ("an echo reply", 58, echo(129), [0, 0], neither),
        ("a neighbour solicitation", 58, echo(135), [0, 0], neither),
        ("an error", 58, echo(1), [0, 0], neither),
        ("half a message", 58, vec![128, 0, 0], [0, 0], neither),
        ("ESP, by addresses", 50, vec![1; 40], [0, 0], flow),
        ("nothing", 59, vec![], [0, 0], neither),
        (
            "TCP cut short",
            6,
            tcp(connection)[..19].to_vec(),
            [0, 0],
            flow,
        ),
        ("UDP cut short", 17, UDP[..7].to_vec(), [0, 0], flow),
    ] {
        let packet = parsed(&packet(next, &payload)).expect(sentence);
        assert_eq!((packet.ports, packet.kind), (ports, kind), "{sentence}");
        assert_eq!(packet.protocol, next, "{sentence}");
        assert_eq!(packet.source, [0x2001_0db8_0001_0203, 9], "{sentence}");
        assert_eq!(packet.destination, [0x2a00_1450_0000_0000, 0x2004]);
    }
}

#[test]
fn extension_headers_are_passed_over() {
    let all = [0, 60, 43, 44];
    let four = [
        extension(all[1], 0),
        extension(all[2], 2),
        extension(all[3], 31),
        fragment(17, 1),
        UDP.to_vec(),
    ];
    let later = [extension(44, 0), fragment(6, 8 * 5 + 1), tcp(flag::SYN)];
    let five = [
        extension(60, 0),
        extension(60, 0),
        extension(60, 0),
        extension(60, 0),
        extension(17, 0),
        UDP.to_vec(),
    ];
    for (sentence, next, headers, protocol, ports, kind) in [
        (
            "all four kinds, and a first fragment",
            0,
            &four[..],
            17,
            PORTS,
            Kind::Flow,
        ),
        (
            "a whole datagram in a fragment",
            44,
            &[fragment(17, 0), UDP.to_vec()],
            17,
            PORTS,
            Kind::Flow,
        ),
        (
            "a later fragment, whatever it begins with",
            0,
            &later,
            6,
            [0, 0],
            Kind::Neither,
        ),
        (
            "reserved bits of a fragment header are no offset",
            44,
            &[fragment(17, 6), UDP.to_vec()],
            17,
            PORTS,
            Kind::Flow,
        ),
        (
            "one more than is passed over: no ports",
            60,
            &five,
            60,
            [0, 0],
            Kind::Flow,
        ),
    ] {
        let found = parsed(&packet(next, &chained(headers))).expect(sentence);
        assert_eq!(
            (found.protocol, found.ports, found.kind),
            (protocol, ports, kind),
            "{sentence}"
        );
    }
}

#[test]
fn what_lies_about_its_length_is_none() {
    let whole = packet(17, &UDP);
    let mut other_version = whole.clone();
    other_version[0] = 0x45;
    let mut too_long = whole.clone();
    too_long[5] += 1;
    let jumbo = packet(0, &[]);
    for (sentence, bytes) in [
        ("no byte", &[][..]),
        ("a header cut short", &whole[..39]),
        ("a payload cut short", &whole[..47]),
        ("another version", &other_version),
        ("more than there is", &too_long),
        (
            "an extension beyond the end",
            &packet(0, &extension(17, 3)[..24]),
        ),
        ("an extension of which nothing is there", &jumbo),
        (
            "a fragment header cut short",
            &packet(44, &fragment(17, 0)[..7]),
        ),
    ] {
        assert_eq!(parsed(bytes), None, "{sentence}");
    }
    // Padding of the link is not the packet's.
    let mut padded = whole;
    padded.extend([0; 10]);
    assert_eq!(parsed(&padded).map(|p| p.ports), Some(PORTS));
}

#[test]
fn any_byte_and_any_length_are_borne() {
    let whole = packet(
        0,
        &chained(&[extension(44, 1), fragment(6, 1), tcp(flag::SYN)]),
    );
    for length in 0..=whole.len() {
        let _ = parsed(&whole[..length]);
    }
    for at in 0..whole.len() {
        for value in 0..=u8::MAX {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let _ = parsed(&bytes);
        }
    }
}

#[test]
fn only_what_goes_from_network_to_network_is_looked_at() {
    let from_to = |source: u64, destination: u64| Ipv6 {
        source: [source, 1],
        destination: [destination, 1],
        protocol: 17,
        ports: PORTS,
        kind: Kind::Flow,
    };
    const GLOBAL: u64 = 0x2001_0db8_0000_0000;
    for (sentence, packet, expected) in [
        ("between hosts", from_to(GLOBAL, GLOBAL + 1), true),
        (
            "of unique local addresses",
            from_to(0xfd00 << 48, 0xfd01 << 48),
            true,
        ),
        ("to a group", from_to(GLOBAL, 0xff02 << 48), false),
        ("on the link", from_to(0xfe80 << 48, GLOBAL), false),
        ("to one on the link", from_to(GLOBAL, 0xfebf << 48), false),
        (
            "of who has no address yet",
            Ipv6 {
                source: [0, 0],
                ..from_to(0, GLOBAL)
            },
            false,
        ),
    ] {
        assert_eq!(packet.is_between_networks(), expected, "{sentence}");
    }
}
