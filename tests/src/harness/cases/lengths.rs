//! Truncated frames and lengths that lie.

use cgn_common::verdict::Reason;
use cgn_user::dataplane::load::Entry::{Inside, Outside, Vlan};

use super::Case;
use crate::harness::Ending;
use crate::harness::trial::{Endpoint, Trial};
use crate::harness::world::{INSIDE_QINQ, hop, remote, subscriber};
use crate::packets::{CUSTOMER_TAG, Draft, SERVICE_TAG, Transport, flag};

const CLIENT: Endpoint = (subscriber::PLAIN, 5000);
const SERVER: Endpoint = (remote::PLAIN, 443);
/// Offset of the IPv4 header.
const IP: usize = 14;

pub const CASES: &[Case] = &[
    ("a frame cut off at any length is never translated", |t| {
        for draft in whole() {
            let frame = draft.bytes();
            let external = t.outbound(Inside, &draft, hop::OUTSIDE);
            let answer = draft.answer(external).bytes();
            for length in 0..frame.len() {
                cut(t, &frame[..length], &[Inside, Outside, Vlan]);
                cut(t, &answer[..length], &[Inside, Outside, Vlan]);
            }
        }
    }),
    (
        "a tagged frame cut off at any length is never translated",
        |t| {
            for draft in whole() {
                let tags = vec![
                    (SERVICE_TAG, INSIDE_QINQ[0]),
                    (CUSTOMER_TAG, INSIDE_QINQ[1]),
                ];
                let frame = draft.with(|d| d.tags = tags).bytes();
                for length in 0..frame.len() {
                    cut(t, &frame[..length], &[Vlan, Inside]);
                }
            }
        },
    ),
    ("header lengths below 20, versions but 4", |t| {
        for first in [0x00_u8, 0x40, 0x41, 0x44, 0x05, 0x35, 0x55, 0x65, 0xf5] {
            t.stopped(Inside, &with_ip(|ip| ip[0] = first), Reason::BadIpHeader);
        }
    }),
    (
        "total lengths shorter than the header or longer than the frame",
        |t| {
            let length = with_ip(|_| {}).len() - IP;
            for total in [0, 1, 19, length as u16 + 1, 1500, 65_535] {
                let frame = with_ip(|ip| ip[2..4].copy_from_slice(&total.to_be_bytes()));
                t.stopped(Inside, &frame, Reason::BadIpLength);
            }
            // A header of 60 bytes in a packet of 59.
            let wide = Draft::udp(CLIENT, SERVER).with(|d| d.options = vec![1; 40]);
            let mut frame = wide.bytes();
            frame[IP + 2..IP + 4].copy_from_slice(&59_u16.to_be_bytes());
            t.stopped(Inside, &resummed(frame), Reason::BadIpLength);
        },
    ),
    (
        "a total length that leaves no room for the transport header",
        |t| {
            for (draft, header) in [
                (Draft::tcp(flag::SYN, CLIENT, SERVER), 20),
                (Draft::udp(CLIENT, SERVER), 8),
                (Draft::ping(CLIENT, SERVER.0), 8),
            ] {
                for length in 0..header {
                    let total = 20 + length as u16;
                    let mut frame = draft.bytes();
                    frame[IP + 2..IP + 4].copy_from_slice(&total.to_be_bytes());
                    t.stopped(Inside, &resummed(frame), Reason::BadTransportHeader);
                }
            }
        },
    ),
    (
        "a wrong IPv4 header checksum, with options and without",
        |t| {
            for options in [vec![], vec![1; 4], vec![1; 40]] {
                let draft = Draft::udp(CLIENT, SERVER).with(|d| d.options = options.clone());
                let header = 20 + options.len();
                for byte in (0..header).filter(|at| !matches!(at, 0 | 2 | 3)) {
                    let mut frame = draft.bytes();
                    frame[IP + byte] ^= 0x10;
                    let destination = (16..20).contains(&byte);
                    if !destination {
                        t.stopped(Inside, &frame, Reason::BadIpChecksum);
                    }
                }
            }
        },
    ),
    (
        "UDP lengths below 8 and above the packet lie; in between are options",
        |t| {
            let draft = Draft::udp(CLIENT, SERVER);
            let udp = 8 + draft.payload.len() as u16;
            for (length, reason) in [
                (0, Some(Reason::BadTransportHeader)),
                (7, Some(Reason::BadTransportHeader)),
                (udp + 1, Some(Reason::BadTransportHeader)),
                (65_535, Some(Reason::BadTransportHeader)),
                (8, None),
                (udp - 1, None),
            ] {
                let mut frame = draft.bytes();
                frame[IP + 24..IP + 26].copy_from_slice(&length.to_be_bytes());
                match reason {
                    Some(reason) => t.stopped(Inside, &frame, reason),
                    None => {
                        let run = t.run(Inside, &frame);
                        assert_eq!(run.ending, Ending::Sent { back: false }, "length {length}");
                    }
                }
            }
        },
    ),
    (
        "TCP header lengths below 20 and above the packet lie",
        |t| {
            let draft = Draft::tcp(flag::SYN, CLIENT, SERVER).with(|d| d.payload = vec![0; 12]);
            for words in 0..16_u8 {
                let mut frame = draft.bytes();
                frame[IP + 20 + 12] = words << 4;
                if (5..=8).contains(&words) {
                    assert_eq!(t.run(Inside, &frame).ending, Ending::Sent { back: false });
                } else {
                    t.stopped(Inside, &frame, Reason::BadTransportHeader);
                }
            }
        },
    ),
];

/// A packet of each protocol.
fn whole() -> Vec<Draft> {
    let tcp = Transport::Tcp {
        flags: flag::SYN,
        options: vec![1; 8],
    };
    vec![
        Draft::new(tcp, CLIENT, SERVER),
        Draft::udp(CLIENT, SERVER).with(|d| d.options = vec![1; 8]),
        Draft::ping(CLIENT, SERVER.0),
    ]
}

fn cut(t: &mut Trial, frame: &[u8], entries: &[cgn_user::dataplane::load::Entry]) {
    for entry in entries {
        let run = t.run(*entry, frame);
        assert_eq!(run.bytes, frame, "{entry:?}, {} bytes", frame.len());
        assert!(!matches!(run.ending, Ending::Sent { .. }), "{run:?}");
        if frame.len() < 14 {
            assert_eq!(run.ending, Ending::Dropped(Reason::Truncated));
        }
    }
}

/// A datagram with a change to its IPv4 header, whose checksum is right.
fn with_ip(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut frame = Draft::udp(CLIENT, SERVER).bytes();
    change(&mut frame[IP..IP + 20]);
    resummed(frame)
}

/// Corrects the header checksum for the header length that the frame states,
/// with foreign arithmetic.
fn resummed(mut frame: Vec<u8>) -> Vec<u8> {
    let end = IP + (usize::from(frame[IP] & 0xf) * 4).max(20);
    frame[IP + 10..IP + 12].fill(0);
    let Some(header) = frame.get(IP..end) else {
        return frame;
    };
    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(header);
    let checksum = sum.ones_complement().to_ne_bytes();
    frame[IP + 10..IP + 12].copy_from_slice(&checksum);
    frame
}
