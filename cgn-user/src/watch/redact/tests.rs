//! etherparse makes each packet twice, with the addresses and with their names: one must become the
//! other, checksums and all.

use std::net::Ipv4Addr;

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{
    EtherType, Icmpv4Type, IpNumber, Ipv4Options, PacketBuilder, TcpOptionElement, VlanId,
};

use super::*;
use crate::watch::crypto_pan::Key;

const HOME: Ipv4Addr = Ipv4Addr::new(100, 64, 1, 2);
const SERVER: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);

fn pan() -> CryptoPan {
    CryptoPan::new(&Key(*b"a key of thirty-two bytes, no more"[..32]
        .first_chunk()
        .unwrap()))
}

type Step<T> = etherparse::PacketBuilderStep<T>;

fn ip(from: Ipv4Addr, to: Ipv4Addr, stations: [u8; 2]) -> Step<etherparse::IpHeaders> {
    let [source, destination] = stations.map(|byte| [byte; 6]);
    PacketBuilder::ethernet2(source, destination).ipv4(from.octets(), to.octets(), 64)
}

/// A kind of packet: what it is, and how it is made between two addresses.
type Kind = (&'static str, fn(Ipv4Addr, Ipv4Addr, [u8; 2]) -> Vec<u8>);

fn udp(from: Ipv4Addr, to: Ipv4Addr, stations: [u8; 2]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = ip(from, to, stations).udp(5000, 53);
    builder.write(&mut frame, b"payload").unwrap();
    frame
}

fn udp_without_checksum(from: Ipv4Addr, to: Ipv4Addr, stations: [u8; 2]) -> Vec<u8> {
    let mut frame = udp(from, to, stations);
    frame[40..42].fill(0);
    frame
}

fn tagged(from: Ipv4Addr, to: Ipv4Addr, stations: [u8; 2]) -> Vec<u8> {
    let [source, destination] = stations.map(|byte| [byte; 6]);
    let id = |id| VlanId::try_new(id).unwrap();
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(source, destination).double_vlan(id(7), id(9));
    let builder = builder.ipv4(from.octets(), to.octets(), 64).udp(5000, 53);
    builder.write(&mut frame, b"odd").unwrap();
    frame
}

fn tcp(from: Ipv4Addr, to: Ipv4Addr, stations: [u8; 2]) -> Vec<u8> {
    let options = [
        TcpOptionElement::MaximumSegmentSize(1460),
        TcpOptionElement::WindowScale(7),
    ];
    let builder = ip(from, to, stations).tcp(5000, 443, 1, 1000);
    let mut frame = Vec::new();
    let builder = builder.syn().options(&options).unwrap();
    builder.write(&mut frame, b"five!").unwrap();
    frame
}

fn echo(from: Ipv4Addr, to: Ipv4Addr, stations: [u8; 2]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = ip(from, to, stations).icmpv4_echo_request(77, 1);
    builder.write(&mut frame, b"abcdefg").unwrap();
    frame
}

/// A port is unreachable: an error to the sender, about his packet.
fn error(from: Ipv4Addr, to: Ipv4Addr, stations: [u8; 2]) -> Vec<u8> {
    let quoted = tcp(to, from, [0, 0])[14..].to_vec();
    let kind = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port);
    let mut frame = Vec::new();
    ip(from, to, stations)
        .icmpv4(kind)
        .write(&mut frame, &quoted)
        .unwrap();
    frame
}

/// Only what is needed of the quoted packet: its transport checksum is cut off.
fn short_error(from: Ipv4Addr, to: Ipv4Addr, stations: [u8; 2]) -> Vec<u8> {
    let quoted = tcp(to, from, [0, 0])[14..14 + 28].to_vec();
    let kind = Icmpv4Type::TimeExceeded(etherparse::icmpv4::TimeExceededCode::TtlExceededInTransit);
    let mut frame = Vec::new();
    ip(from, to, stations)
        .icmpv4(kind)
        .write(&mut frame, &quoted)
        .unwrap();
    frame
}

fn gre(from: Ipv4Addr, to: Ipv4Addr, stations: [u8; 2]) -> Vec<u8> {
    let mut frame = Vec::new();
    ip(from, to, stations)
        .write(&mut frame, IpNumber(47), b"inner")
        .unwrap();
    frame
}

const KINDS: [Kind; 8] = [
    ("UDP", udp),
    ("UDP without a checksum", udp_without_checksum),
    ("UDP behind two tags, an odd number of bytes", tagged),
    ("TCP with options", tcp),
    ("ICMP echo", echo),
    ("an ICMP error with a whole packet", error),
    ("an ICMP error with the first bytes of one", short_error),
    ("GRE", gre),
];

#[test]
fn renamed_packets_are_those_between_the_names() {
    let redaction = Redaction {
        payload: None,
        addresses: Some(pan()),
    };
    for (what, make) in KINDS {
        let mut frame = make(HOME, SERVER, [0xaa, 0xbb]);
        redaction.apply(&mut frame);
        let expected = make(pan().address(HOME), pan().address(SERVER), [0, 0]);
        assert_eq!(frame, expected, "{what}");
    }
}

#[test]
fn what_may_hold_addresses_says_nothing() {
    let redaction = Redaction {
        payload: None,
        addresses: Some(pan()),
    };
    let names = (pan().address(HOME), pan().address(SERVER));
    // Loose source route; MPTCP's ADD_ADDR between two harmless TCP options, or one that lies.
    let with_ip = |from: Ipv4Addr, to: Ipv4Addr, options: [u8; 8], stations| {
        let mut frame = Vec::new();
        let mut header =
            etherparse::Ipv4Header::new(12, 64, IpNumber(17), from.octets(), to.octets()).unwrap();
        header.options = Ipv4Options::from(options);
        let headers = etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default());
        let [source, destination] = [stations; 2].map(|byte: u8| [byte; 6]);
        let builder = PacketBuilder::ethernet2(source, destination)
            .ip(headers)
            .udp(1, 2);
        builder.write(&mut frame, b"data").unwrap();
        frame
    };
    let mut frame = with_ip(HOME, SERVER, [0x83, 7, 4, 9, 9, 9, 9, 0], 1);
    redaction.apply(&mut frame);
    assert_eq!(frame, with_ip(names.0, names.1, [1; 8], 0));

    let with_tcp = |from, to, options: &[u8], stations| {
        let mut frame = Vec::new();
        let builder = ip(from, to, stations).tcp(5000, 443, 1, 1000);
        builder
            .options_raw(options)
            .unwrap()
            .write(&mut frame, b"data")
            .unwrap();
        frame
    };
    for (options, expected) in [
        (
            [2, 4, 5, 180, 30, 8, 0x30, 1, 8, 8, 4, 4, 3, 3, 7, 0],
            [2, 4, 5, 180, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3, 7, 0],
        ),
        (
            [2, 4, 5, 180, 8, 40, 8, 8, 8, 8, 4, 4, 3, 3, 7, 0],
            [2, 4, 5, 180, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        ),
    ] {
        let mut frame = with_tcp(HOME, SERVER, &options, [1, 1]);
        redaction.apply(&mut frame);
        assert_eq!(
            frame,
            with_tcp(names.0, names.1, &expected, [0, 0]),
            "{options:?}"
        );
    }
}

#[test]
fn a_wrong_checksum_stays_as_wrong() {
    let redaction = Redaction {
        payload: None,
        addresses: Some(pan()),
    };
    let mut frame = udp(HOME, SERVER, [1, 1]);
    // Time to live and port, changed on the way.
    (frame[22], frame[35]) = (9, 9);
    redaction.apply(&mut frame);
    let mut expected = udp(pan().address(HOME), pan().address(SERVER), [0, 0]);
    (expected[22], expected[35]) = (9, 9);
    assert_eq!(frame, expected);
}

#[test]
fn the_payload_ends_where_it_is_told_to() {
    let arp = {
        let mut frame = vec![1; 42];
        frame[12..14].copy_from_slice(&EtherType::ARP.0.to_be_bytes());
        frame
    };
    let fragment = {
        let mut frame = udp(HOME, SERVER, [1, 1]);
        frame[20..22].copy_from_slice(&100_u16.to_be_bytes());
        frame
    };
    let cases: [(&str, Vec<u8>, usize); 11] = [
        ("UDP", udp(HOME, SERVER, [1, 1]), 42),
        ("two tags", tagged(HOME, SERVER, [1, 1]), 50),
        ("TCP with 8 bytes of options", tcp(HOME, SERVER, [1, 1]), 62),
        ("echo", echo(HOME, SERVER, [1, 1]), 42),
        (
            "an error: 8 bytes of what it quotes",
            error(HOME, SERVER, [1, 1]),
            70,
        ),
        ("GRE: all is payload", gre(HOME, SERVER, [1, 1]), 34),
        ("a later fragment, likewise", fragment, 34),
        ("ARP, likewise", arp, 14),
        (
            "cut off in the TCP header",
            tcp(HOME, SERVER, [1, 1])[..44].to_vec(),
            44,
        ),
        (
            "cut off in the IPv4 header",
            udp(HOME, SERVER, [1, 1])[..30].to_vec(),
            14,
        ),
        ("cut off in the link header", vec![1; 9], 0),
    ];
    for (what, frame, headers) in cases {
        for payload in [0, 3, 1000] {
            let redaction = Redaction {
                payload: Some(payload),
                addresses: None,
            };
            let mut cut = frame.clone();
            redaction.apply(&mut cut);
            let expected = (headers + payload).min(frame.len());
            assert_eq!(cut, frame[..expected], "{what}, {payload} bytes");
        }
        let redaction = Redaction {
            payload: Some(1000),
            addresses: Some(pan()),
        };
        let mut renamed = frame.clone();
        redaction.apply(&mut renamed);
        if matches!(headers, 14 | 0) {
            assert_eq!(
                renamed.len(),
                headers,
                "{what}: nothing that is not understood is left"
            );
        }
        let old = HOME.octets();
        assert!(!renamed.windows(4).any(|bytes| bytes == old), "{what}");
    }
}
