//! Scattered blocks: where ports lie, and that each comes back.

use std::collections::BTreeSet;

use cgn_common::verdict::Reason;
use cgn_user::dataplane::load::Entry::{Inside, Outside};

use super::Case;
use crate::harness::trial::Endpoint;
use crate::harness::world::{POOL, hop, remote, subscriber};
use crate::packets::Draft;

const SERVER: Endpoint = (remote::PLAIN, 443);
/// The last block of the address with large ones.
const LARGE_PLACES: std::ops::RangeInclusive<u16> = 65_024..=65_535;

pub const CASES: &[Case] = &[
    (
        "a block's ports lie in all parts of the address, and the answer to each comes back",
        |t| {
            let mut quarters = BTreeSet::new();
            for port in 0..64 {
                let client = (subscriber::PLAIN, port);
                let draft = Draft::udp(client, SERVER);
                let external = t.outbound(Inside, &draft, hop::OUTSIDE);
                assert!(external.1 >= 1024, "{external:?}");
                quarters.insert((external.1 - 1024) / 16_128);
                t.inbound(Outside, &draft.answer(external), client, hop::INSIDE);
            }
            assert_eq!(quarters.len(), 4, "{quarters:?}");
        },
    ),
    (
        "the ports that the block would have if it were contiguous are mostly not its own",
        |t| {
            let mut own = 0;
            for port in 0..512 {
                let draft = Draft::udp((subscriber::LARGE, port), SERVER);
                let external = t.outbound(Inside, &draft, hop::OUTSIDE);
                own += u32::from(LARGE_PLACES.contains(&external.1));
            }
            // By chance 4 of 512.
            assert!(own < 20, "{own} ports");
        },
    ),
    (
        "no port of six blocks, one and another's is given twice, and a stranger's port is nobody's",
        |t| {
            let mut ports = BTreeSet::new();
            let hosts = [
                (subscriber::PLAIN, 64),
                (subscriber::TWO_BLOCKS, 128),
                (subscriber::SIX_BLOCKS, 384),
            ];
            for (host, count) in hosts {
                for port in 0..count {
                    let draft = Draft::udp((host, port), SERVER);
                    let external = t.outbound(Inside, &draft, hop::OUTSIDE);
                    assert!(ports.insert(external), "{external:?} is given twice");
                }
            }
            let nobody = (1024..).find(|port| !ports.contains(&(POOL[0], *port)));
            let stranger = Draft::udp(SERVER, (POOL[0], nobody.expect("most are free")));
            t.stopped(Outside, &stranger.bytes(), Reason::NoMapping);
        },
    ),
];
