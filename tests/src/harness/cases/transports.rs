//! Protocols, checksums, headers of every length.

use cgn_common::verdict::Reason;
use cgn_user::dataplane::load::Entry::{Inside, Outside};

use super::Case;
use crate::harness::trial::{Endpoint, Trial};
use crate::harness::world::{LARGE_POOL, POOL, hop, remote, subscriber};
use crate::packets::{Draft, Transport, flag};

const THERE: (u16, u16) = (hop::OUTSIDE, hop::INSIDE);
const CLIENT: Endpoint = (subscriber::PLAIN, 5000);
const SERVER: Endpoint = (remote::PLAIN, 443);

pub const CASES: &[Case] = &[
    ("TCP goes out and its answer comes back", |t| {
        let external = t.round_trip(&Draft::tcp(flag::SYN, CLIENT, SERVER), THERE);
        assert_eq!(external.0, POOL[0]);
        assert!(external.1 >= 1024 && external.1 < 1024 + 64, "{external:?}");
    }),
    ("UDP goes out and its answer comes back", |t| {
        t.round_trip(&Draft::udp(CLIENT, SERVER), THERE);
    }),
    ("an echo request goes out and its reply comes back", |t| {
        t.round_trip(&Draft::ping(CLIENT, remote::PLAIN), THERE);
    }),
    ("the three protocols have port spaces of their own", |t| {
        let tcp = t.round_trip(&Draft::tcp(flag::SYN, CLIENT, SERVER), THERE);
        let udp = t.round_trip(&Draft::udp(CLIENT, SERVER), THERE);
        let echo = t.round_trip(&Draft::ping(CLIENT, remote::PLAIN), THERE);
        assert!(tcp.0 == udp.0 && udp.0 == echo.0, "one external address");
    }),
    (
        "a block of another size, the last of its address, works",
        |t| {
            let client = (subscriber::LARGE, 0);
            let external = t.round_trip(&Draft::udp(client, SERVER), THERE);
            assert!(external.0 == LARGE_POOL && external.1 >= 65_024);
        },
    ),
    ("inside ports 0 and 65535 are ports like others", |t| {
        for port in [0, 65_535] {
            t.round_trip(&Draft::udp((CLIENT.0, port), SERVER), THERE);
            t.round_trip(&Draft::tcp(flag::SYN, (CLIENT.0, port), SERVER), THERE);
            t.round_trip(&Draft::ping((CLIENT.0, port), SERVER.0), THERE);
        }
    }),
    ("UDP without a checksum stays without", |t| {
        let transport = Transport::Udp { checksum: false };
        t.round_trip(&Draft::new(transport, CLIENT, SERVER), THERE);
    }),
    (
        "a UDP checksum that becomes 0 is sent as ffff",
        zero_checksums,
    ),
    ("every IPv4 header length from 20 to 60 bytes", |t| {
        for words in 0..=10 {
            // No-operation options, the last one ends the list.
            let mut options = vec![1; 4 * words];
            if let Some(last) = options.last_mut() {
                *last = 0;
            }
            let wide = |draft: Draft| draft.with(|d| d.options = options.clone());
            t.round_trip(&wide(Draft::tcp(flag::SYN, CLIENT, SERVER)), THERE);
            t.round_trip(&wide(Draft::udp(CLIENT, SERVER)), THERE);
            t.round_trip(&wide(Draft::ping(CLIENT, SERVER.0)), THERE);
        }
    }),
    (
        "TCP options of every length, payloads of odd and even length",
        |t| {
            for words in 0..=10 {
                let mut draft = Draft::tcp(flag::ACK, CLIENT, SERVER);
                draft.transport = Transport::Tcp {
                    flags: flag::ACK,
                    options: vec![1; 4 * words],
                };
                draft.payload = vec![0xab; words];
                t.round_trip(&draft, THERE);
            }
        },
    ),
    (
        "type of service, identification and don't-fragment are kept, set or not",
        |t| {
            for (tos, id, df) in [(0, 0, false), (0xb8, 0xffff, true), (0x03, 1, false)] {
                let draft = Draft::udp(CLIENT, SERVER).with(|d| {
                    d.tos = tos;
                    d.id = id;
                    d.dont_fragment = df;
                });
                t.round_trip(&draft, THERE);
            }
        },
    ),
    (
        "Ethernet padding behind the packet is kept and not summed",
        |t| {
            for padding in [1, 2, 18, 46] {
                let draft = Draft::ping(CLIENT, SERVER.0).with(|d| {
                    d.payload = vec![];
                    d.padding = vec![0xee; padding];
                });
                t.round_trip(&draft, THERE);
            }
        },
    ),
    (
        "a time to live of 2 leaves as 1; 1 and 0 end here, both ways",
        |t| {
            let draft = Draft::udp(CLIENT, SERVER).with(|d| d.ttl = 2);
            let external = t.round_trip(&draft, THERE);
            for ttl in [0, 1] {
                let late = draft.clone().with(|d| d.ttl = ttl);
                t.stopped(Inside, &late.bytes(), Reason::TtlExpired);
                t.stopped(Outside, &late.answer(external).bytes(), Reason::TtlExpired);
            }
        },
    ),
    (
        "a wrong transport checksum stays wrong by the same amount",
        |t| {
            let good = Draft::tcp(flag::SYN, CLIENT, SERVER);
            t.round_trip(&good, THERE);
            let mut bad = good.bytes();
            let at = 14 + 20 + 16;
            let sum = u16::from_be_bytes([bad[at], bad[at + 1]]);
            // Far from the ends, where one's complement has two zeros.
            bad[at..at + 2].copy_from_slice(&(sum ^ 0x0100).to_be_bytes());
            let right = t.run(Inside, &good.bytes()).bytes;
            let wrong = t.run(Inside, &bad).bytes;
            let judged = crate::packets::check::judge(&wrong).expect("a packet");
            assert!(judged.ip_right && !judged.transport_right);
            assert_eq!(right[..at], wrong[..at], "nothing but the checksum differs");
        },
    ),
];

/// Payloads chosen so that the sum of the translated datagram is 0xffff, and
/// so that the sum of what comes is.
fn zero_checksums(t: &mut Trial) {
    let draft = Draft::udp(CLIENT, SERVER).with(|d| d.payload = vec![0, 0]);
    let external = t.outbound(Inside, &draft, hop::OUTSIDE);
    let field = |bytes: &[u8]| u16::from_be_bytes([bytes[14 + 26], bytes[14 + 27]]);
    for (source, what) in [(external, "goes out"), (CLIENT, "came")] {
        // Without payload words the checksum is c; with the word c it is 0.
        let plain = draft.clone().with(|d| d.source = source);
        let word = field(&plain.bytes());
        let zero = draft
            .clone()
            .with(|d| d.payload = word.to_be_bytes().to_vec());
        let there = zero.clone().with(|d| d.source = source);
        assert_eq!(field(&there.bytes()), 0xffff, "{what} as ffff");
        t.outbound(Inside, &zero, hop::OUTSIDE);
    }
    // And the same inbound.
    let answer = draft.answer(external);
    for (destination, what) in [(external, "came"), (CLIENT, "goes in")] {
        let word = field(&answer.clone().with(|d| d.destination = destination).bytes());
        let zero = answer
            .clone()
            .with(|d| d.payload = word.to_be_bytes().to_vec());
        let there = zero.clone().with(|d| d.destination = destination);
        assert_eq!(field(&there.bytes()), 0xffff, "{what} as ffff");
        t.inbound(Outside, &zero, CLIENT, hop::INSIDE);
    }
}
