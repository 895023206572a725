//! Lowering the MSS option of a SYN. Options in, options out; the rest of the
//! frame, checksum and all, is built anew by the foreign implementation.

use cgn_user::dataplane::load::Entry::{Inside, Outside};

use super::Case;
use crate::harness::trial::Endpoint;
use crate::harness::world::{hop, remote, subscriber};
use crate::packets::{Draft, Transport, flag};

pub const OUTBOUND: u16 = 1360;
pub const INBOUND: u16 = 1400;

const CLIENT: Endpoint = (subscriber::PLAIN, 5000);
const SERVER: Endpoint = (remote::PLAIN, 443);

/// 1460 and 1360 as they stand in the option; 1400 inbound.
const LARGE: [u8; 2] = [0x05, 0xb4];
const LOWERED: [u8; 2] = [0x05, 0x50];
const LOWERED_INBOUND: [u8; 2] = [0x05, 0x78];

/// What stands before and behind the two bytes that are lowered.
type Lowered = (&'static str, &'static [u8], &'static [u8]);

const LOWERED_OPTIONS: &[Lowered] = &[
    ("Alone.", &[2, 4], &[]),
    (
        "As Linux writes it.",
        &[2, 4],
        &[4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7],
    ),
    ("At an odd place.", &[1, 2, 4], &[1, 1, 1]),
    ("At another odd place.", &[1, 1, 1, 2, 4], &[0, 0, 0]),
    (
        "Behind an option of odd length.",
        &[3, 3, 7, 2, 4],
        &[1, 1, 1],
    ),
    (
        "Behind timestamps.",
        &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 2, 4],
        &[1, 1],
    ),
    (
        "Behind an unknown option.",
        &[254, 5, 9, 9, 9, 1, 2, 4],
        &[1, 1],
    ),
    (
        "At the end of the longest header.",
        &[
            1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
            1, 1, 1, 1, 1, 1, 1, 2, 4,
        ],
        &[],
    ),
];

const LEFT_ALONE: &[(&str, &[u8])] = &[
    ("No options.", &[]),
    ("Smaller.", &[2, 4, 0x04, 0xb0]),
    ("Equal.", &[2, 4, 0x05, 0x50]),
    (
        "Behind the end of the list.",
        &[0, 2, 4, 0x05, 0xb4, 0, 0, 0],
    ),
    ("Too short.", &[2, 3, 0x05, 0xb4]),
    ("Too long.", &[2, 5, 0x05, 0xb4, 0, 0, 0, 0]),
    ("Without a length.", &[2, 0, 0x05, 0xb4]),
    ("Cut off by the end of the header.", &[1, 1, 2, 4]),
    ("Cut off, one byte later.", &[1, 2, 4, 0x05]),
    (
        "Behind an option of length 0.",
        &[3, 0, 1, 1, 2, 4, 0x05, 0xb4],
    ),
    (
        "Behind an option of length 1.",
        &[3, 1, 1, 1, 2, 4, 0x05, 0xb4],
    ),
    (
        "Behind an option that leaves the header.",
        &[8, 40, 1, 1, 2, 4, 0x05, 0xb4],
    ),
    ("Within another option.", &[254, 8, 2, 4, 0x05, 0xb4, 0, 0]),
    ("Only padding.", &[1; 40]),
];

pub const CASES: &[Case] = &[
    ("the MSS option of a SYN from inside is lowered", |t| {
        for (number, (sentence, before, behind)) in LOWERED_OPTIONS.iter().enumerate() {
            t.comes_to(sentence);
            let inside = (CLIENT.0, 6000 + number as u16);
            let draft = syn(flag::SYN, inside, SERVER, &around(before, LARGE, behind));
            t.outbound_as(Inside, &draft, hop::OUTSIDE, |wanted| {
                set(wanted, &around(before, LOWERED, behind));
            });
        }
    }),
    ("that of a SYN+ACK from outside, too", |t| {
        for (number, (sentence, before, behind)) in LOWERED_OPTIONS.iter().enumerate() {
            t.comes_to(sentence);
            let inside = (CLIENT.0, 6000 + number as u16);
            let external = t.outbound(Inside, &Draft::tcp(flag::SYN, inside, SERVER), hop::OUTSIDE);
            let options = around(before, LARGE, behind);
            let answer = syn(flag::SYN | flag::ACK, SERVER, external, &options);
            t.inbound_as(Outside, &answer, inside, hop::INSIDE, |wanted| {
                set(wanted, &around(before, LOWERED_INBOUND, behind));
            });
        }
    }),
    ("other options stay as they are, however odd", |t| {
        for (number, (sentence, options)) in LEFT_ALONE.iter().enumerate() {
            t.comes_to(sentence);
            let inside = (CLIENT.0, 6000 + number as u16);
            t.outbound(
                Inside,
                &syn(flag::SYN, inside, SERVER, options),
                hop::OUTSIDE,
            );
        }
    }),
    ("a segment that is no SYN stays as it is", |t| {
        t.outbound(Inside, &syn(flag::SYN, CLIENT, SERVER, &[]), hop::OUTSIDE);
        let options = [2, 4, 0x05, 0xb4];
        for flags in [0, flag::ACK, flag::FIN | flag::ACK] {
            t.outbound(Inside, &syn(flags, CLIENT, SERVER, &options), hop::OUTSIDE);
        }
    }),
    ("behind IPv4 options it is found as well", |t| {
        let draft = syn(flag::SYN, CLIENT, SERVER, &[2, 4, 0x05, 0xb4]).with(|d| {
            d.options = vec![1; 40];
        });
        t.outbound_as(Inside, &draft, hop::OUTSIDE, |wanted| {
            set(wanted, &[2, 4, 0x05, 0x50]);
        });
    }),
];

fn syn(flags: u8, from: Endpoint, to: Endpoint, options: &[u8]) -> Draft {
    Draft::tcp(flags, from, to).with(|draft| set(draft, options))
}

fn set(draft: &mut Draft, new: &[u8]) {
    if let Transport::Tcp { options, .. } = &mut draft.transport {
        *options = new.to_vec();
    }
}

fn around(before: &[u8], mss: [u8; 2], behind: &[u8]) -> Vec<u8> {
    [before, &mss, behind].concat()
}
