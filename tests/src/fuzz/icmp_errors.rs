//! ICMP errors of any bytes about mappings that there are.

use std::net::Ipv4Addr;

use cgn_common::verdict::Protocol;
use cgn_user::dataplane::load::Entry;
use cgn_user::dataplane::memory::Memory;
use etherparse::checksum::Sum16BitWords;

use crate::harness::sound::{self, try_frame};
use crate::harness::trial::Endpoint;
use crate::harness::world::{World, remote, subscriber};
use crate::harness::{Ending, Mapping, hex, slots};
use crate::packets::{Draft, Transport};

const CLIENT: Endpoint = (subscriber::PLAIN, 7);
const SERVER: Endpoint = (remote::PLAIN, 443);
const ROUTER: Ipv4Addr = Ipv4Addr::new(62, 1, 2, 3);
const LINK: usize = 14;

/// What is done to the message before it is sent: bits of the first byte.
mod ready {
    /// It comes from inside.
    pub const INSIDE: u8 = 1;
    /// Its checksum is made right.
    pub const SUM: u8 = 2;
    /// The checksum of the quoted header is made right.
    pub const QUOTED_SUM: u8 = 4;
    /// It quotes the addresses and ports of a mapping.
    pub const ENDS: u8 = 8;
}

struct Stage {
    world: World,
    memory: Memory,
    /// External endpoints of [`CLIENT`], by protocol.
    externals: [Endpoint; 3],
    mappings: Vec<(u16, Mapping)>,
}

impl Stage {
    fn new() -> Self {
        let world = World::new();
        let memory = Memory::private(world.geometry.sizes).expect("memory");
        sound::refresh(&memory, &world);
        let externals = Protocol::ALL.map(|protocol| {
            let all = slots(&memory, &world, CLIENT.0, protocol);
            let own = all.iter().find(|(port, _)| *port == CLIENT.1);
            own.expect("all ports are mapped").1.external
        });
        let mappings = mappings(&memory, &world);
        Self {
            world,
            memory,
            externals,
            mappings,
        }
    }
}

fn mappings(memory: &Memory, world: &World) -> Vec<(u16, Mapping)> {
    let of = |protocol| slots(memory, world, CLIENT.0, protocol);
    Protocol::ALL.into_iter().flat_map(of).collect()
}

/// A byte that says how it is made ready, one for the protocol of the mapping and the words of outer
/// options, then the message.
pub fn run(input: &[u8]) -> bool {
    thread_local! {
        static STAGE: Stage = Stage::new();
    }
    let [how, shape, message @ ..] = input else {
        return false;
    };
    if message.len() > 1400 {
        return false;
    }
    STAGE.with(|stage| {
        let (from_inside, protocol) = (how & ready::INSIDE != 0, usize::from(shape & 3) % 3);
        let external = stage.externals[protocol];
        let mut message = message.to_vec();
        if how & ready::ENDS != 0 {
            let (from, to) = match from_inside {
                true => (SERVER, CLIENT),
                false => (external, SERVER),
            };
            quote(&mut message, (from, to), protocol);
        }
        if how & ready::QUOTED_SUM != 0 {
            let _ = sound::sum_again(&mut message, 8);
        }
        if how & ready::SUM != 0 && message.len() >= 4 {
            message[2..4].fill(0);
            let sum = Sum16BitWords::new().add_slice(&message).ones_complement();
            message[2..4].copy_from_slice(&sum.to_ne_bytes());
        }
        let (entry, source, destination) = match from_inside {
            true => (Entry::Inside, CLIENT, SERVER),
            false => (Entry::Outside, (ROUTER, 0), external),
        };
        let frame = Draft::new(Transport::Other(1), source, destination)
            .with(|d| {
                d.options = vec![1; usize::from(shape >> 2) % 11 * 4];
                d.payload = message;
            })
            .bytes();
        let run = try_frame(&stage.memory, &stage.world, 5, 0, entry, &frame);
        let after = mappings(&stage.memory, &stage.world);
        assert_eq!(
            after, stage.mappings,
            "an error opens, refreshes and ends nothing"
        );
        // An echo is no error, and may be translated as what it is.
        let is_error = matches!(
            frame[LINK + usize::from(frame[LINK] & 15) * 4..],
            [3 | 11 | 12, ..]
        );
        if !is_error || !matches!(run.ending, Ending::Sent { .. }) {
            return false;
        }
        if let Err(fault) = judge(&frame, &run.bytes, from_inside, external.0) {
            panic!("{fault}\ncame {}\nleft {}", hex(&frame), hex(&run.bytes));
        }
        true
    })
}

/// Writes ends into the packet that a message quotes, as far as it goes.
fn quote(message: &mut [u8], (from, to): (Endpoint, Endpoint), protocol: usize) {
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(field) = message.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    };
    put(8 + 9, &[[6, 17, 1][protocol]]);
    put(8 + 12, &from.0.octets());
    put(8 + 16, &to.0.octets());
    let header = usize::from(message.get(8).map_or(5, |first| first & 15)) * 4;
    let mut put = |at: usize, port: u16| {
        if let Some(field) = message.get_mut(8 + header + at..8 + header + at + 2) {
            field.copy_from_slice(&port.to_be_bytes());
        }
    };
    // An echo request went out; a reply came in. Both have the identifier of the inner end.
    match (protocol, to == CLIENT) {
        (2, true) => [(0, 0), (4, to.1)],
        (2, false) => [(0, 8 << 8), (4, from.1)],
        _ => [(0, from.1), (2, to.1)],
    }
    .into_iter()
    .for_each(|(at, value)| put(at, value));
}

/// What is wrong with an error that was translated, by foreign arithmetic.
fn judge(
    came: &[u8],
    left: &[u8],
    from_inside: bool,
    external: Ipv4Addr,
) -> Result<(), &'static str> {
    if came.len() != left.len() {
        return Err("another length");
    }
    let header = usize::from(left[LINK] & 15) * 4;
    let (l4, end) = (
        LINK + header,
        LINK + usize::from(u16::from_be_bytes([left[16], left[17]])),
    );
    let is_right = |bytes: &[u8]| Sum16BitWords::new().add_slice(bytes).ones_complement() == 0;
    if !is_right(&came[l4..end]) {
        return Err("it came with a wrong checksum, and was sent (RFC 5508 REQ-3)");
    }
    if !is_right(&left[LINK..l4]) || !is_right(&left[l4..end]) {
        return Err("a checksum is wrong");
    }
    let quoted = l4 + 8;
    let quoted_l4 = quoted + usize::from(left[quoted] & 15) * 4;
    if !is_right(&left[quoted..quoted_l4]) {
        return Err("the checksum of the quoted header is wrong");
    }
    let sum_at = match left[quoted + 9] {
        6 => 16,
        17 => 6,
        _ => 2,
    };
    let mut may_change = vec![
        0..12,
        LINK + 8..LINK + 9,
        LINK + 10..LINK + 20,
        l4 + 2..l4 + 4,
        quoted + 10..quoted + 20,
        quoted_l4 + sum_at..quoted_l4 + sum_at + 2,
    ];
    may_change.push(match left[quoted + 9] {
        1 => quoted_l4 + 4..quoted_l4 + 6,
        _ => quoted_l4..quoted_l4 + 4,
    });
    let differs = |at: &usize| came[*at] != left[*at];
    if (0..came.len())
        .filter(differs)
        .any(|at| !may_change.iter().any(|range| range.contains(&at)))
    {
        return Err("a byte was changed that is none of ours");
    }
    let address = |at: usize| Ipv4Addr::new(left[at], left[at + 1], left[at + 2], left[at + 3]);
    let (source, destination) = (address(LINK + 12), address(LINK + 16));
    match from_inside {
        true if source != external || address(quoted + 16) != external => {
            Err("it left with another source than the mapping's")
        }
        false if destination != CLIENT.0 || address(quoted + 12) != CLIENT.0 => {
            Err("it reached another than the owner of the mapping")
        }
        _ => Ok(()),
    }
}
