//! Fragments of several subscribers in any order through the translator: no datagram that leaves
//! has fragments of two, also where two have the same address.

use std::collections::BTreeMap;

use cgn_common::verdict::Protocol;
use cgn_user::dataplane::load::Entry;
use cgn_user::dataplane::memory::Memory;

use crate::harness::host::run_over;
use crate::harness::trial::Endpoint;
use crate::harness::world::{INSIDE_VLAN, REALM_VLAN, World, remote, subscriber};
use crate::harness::{Ending, Run, shown};
use crate::packets::check::ends_of;
use crate::packets::{CUSTOMER_TAG, Draft, flag};

/// Two with one address in two realms, and one who shares the first one's external address.
const SENDERS: [(Endpoint, u16); 3] = [
    ((subscriber::PLAIN, 5000), INSIDE_VLAN),
    ((subscriber::PLAIN, 5000), REALM_VLAN),
    ((subscriber::TWO_BLOCKS, 6000), INSIDE_VLAN),
];
const REMOTES: [Endpoint; 2] = [(remote::PLAIN, 443), (remote::OTHER, 80)];
/// Bytes of data in a fragment.
const DATA: usize = 24;
const START: u32 = 1000;
const ROOM: usize = 8;

/// Of an IPv4 packet behind a link header of some tags.
mod field {
    use std::ops::Range;
    pub const ID: Range<usize> = 4..6;
    pub const OFFSET: Range<usize> = 6..8;
    pub const DATA: usize = 20;
}

struct Stage {
    world: World,
    memory: Memory,
    /// External endpoints of the senders, by protocol.
    externals: [[Endpoint; 3]; 3],
}

impl Stage {
    fn new() -> Self {
        let world = World::new().with_realms();
        let mut memory = Memory::private(world.geometry.sizes).expect("memory");
        memory.constants = world.constants;
        world.install(&memory);
        let opens = |sender, protocol| {
            let (entry, draft) = from_inside(sender, protocol, REMOTES[0]);
            let run = run_over(&memory, &world, START, ROOM, entry, &draft.bytes());
            assert!(matches!(run.ending, Ending::Sent { .. }), "{}", shown(&run));
            let source = ends_of(&run.bytes).expect("a packet").source;
            let at = link_length(&run.bytes) + field::DATA + port_at(protocol);
            (
                source,
                u16::from_be_bytes([run.bytes[at], run.bytes[at + 1]]),
            )
        };
        let externals =
            [0, 1, 2].map(|sender| Protocol::ALL.map(|protocol| opens(sender, protocol)));
        Self {
            externals,
            world,
            memory,
        }
    }
}

/// Offset of the source port, or of the identifier of an echo.
fn port_at(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Icmp => 4,
        Protocol::Tcp | Protocol::Udp => 0,
    }
}

fn link_length(frame: &[u8]) -> usize {
    if frame[12..14] == CUSTOMER_TAG.to_be_bytes() {
        18
    } else {
        14
    }
}

fn from_inside(sender: usize, protocol: Protocol, to: Endpoint) -> (Entry, Draft) {
    let (inside, vlan) = SENDERS[sender];
    let draft = match protocol {
        Protocol::Tcp => Draft::tcp(flag::ACK, inside, to),
        Protocol::Udp => Draft::udp(inside, to),
        Protocol::Icmp => Draft::ping(inside, to.0),
    };
    (
        Entry::Vlan,
        draft.with(|d| d.tags = vec![(CUSTOMER_TAG, vlan)]),
    )
}

fn from_outside(from: Endpoint, protocol: Protocol, to: Endpoint) -> (Entry, Draft) {
    let draft = match protocol {
        Protocol::Tcp => Draft::tcp(flag::ACK, from, to),
        Protocol::Udp => Draft::udp(from, to),
        Protocol::Icmp => Draft::pong(from.0, to),
    };
    (Entry::Outside, draft)
}

/// Who sends: a subscriber, or (the same number for all of them) a remote endpoint.
const OUTSIDE: usize = 3;

/// What was seen to leave.
#[derive(Default)]
struct Seen {
    /// Datagrams as they left (link header, addresses, protocol and identification): whose they
    /// are, and the identification that they came with.
    out: BTreeMap<Vec<u8>, (usize, u16)>,
    /// Those from outside as they came: where their last first fragment went.
    inward: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Seen {
    fn note(&mut self, sender: usize, came: &[u8], run: &Run) {
        let (before, after) = (link_length(came), link_length(&run.bytes));
        let (came_ip, left_ip) = (&came[before..], &run.bytes[after..]);
        assert_eq!(
            came_ip[field::OFFSET],
            left_ip[field::OFFSET],
            "{}",
            shown(run)
        );
        let is_first = came_ip[field::OFFSET] == [0x20, 0];
        if !is_first {
            assert_eq!(
                came_ip[field::DATA..],
                left_ip[field::DATA..],
                "{}",
                shown(run)
            );
        }
        let id = u16::from_be_bytes([came_ip[4], came_ip[5]]);
        let key = |link: &[u8], ip: &[u8]| [link, &ip[field::ID], &ip[9..10], &ip[12..20]].concat();
        let left = key(&run.bytes[..after], left_ip);
        if sender != OUTSIDE {
            let whose = *self.out.entry(left).or_insert((sender, id));
            assert_eq!(whose, (sender, id), "two in one datagram\n{}", shown(run));
            return;
        }
        assert_eq!(came_ip[field::ID], left_ip[field::ID], "{}", shown(run));
        let came = key(&[], came_ip);
        if is_first {
            self.inward.insert(came, left);
        } else {
            let first = self.inward.get(&came);
            assert_eq!(
                first,
                Some(&left),
                "to another than its first\n{}",
                shown(run)
            );
        }
    }
}

/// Three bytes say one fragment: who sends it to whom, with which identification and protocol;
/// which one it is; whether time goes by before. Whether later ones went through.
pub fn run(input: &[u8]) -> bool {
    thread_local! {
        static STAGE: Stage = Stage::new();
    }
    STAGE.with(|stage| {
        stage.memory.datagrams.clear().expect("memory of our own");
        let (mut seen, mut now, mut followed) = (Seen::default(), START, 0);
        for [who, which, wait] in input.as_chunks().0 {
            if wait & 0x80 != 0 {
                now += u32::from(wait & 15);
            }
            let (sender, other) = (usize::from(who & 3), usize::from(who >> 2 & 3));
            let protocol = usize::from(who >> 6) % 3;
            let (entry, draft) = match (sender, other) {
                (OUTSIDE, _) => {
                    let from = REMOTES[usize::from(which >> 4 & 1)];
                    let to = stage.externals[other % 3][protocol];
                    from_outside(from, Protocol::ALL[protocol], to)
                }
                (_, 0 | 1) => from_inside(sender, Protocol::ALL[protocol], REMOTES[other]),
                _ => {
                    // An echo request has no identifier to hairpin by but the receiver's.
                    let protocol = protocol % 2;
                    let to = stage.externals[other - 1][protocol];
                    from_inside(sender, Protocol::ALL[protocol], to)
                }
            };
            let whole = draft.with(|d| {
                d.id = u16::from(who >> 4 & 3);
                d.dont_fragment = false;
                // Everyone's data are his own.
                d.payload = vec![*who; 64];
            });
            let fragments = whole.fragments(DATA);
            let at = usize::from(*which & 3) % fragments.len();
            let frame = &fragments[at];
            let run = run_over(&stage.memory, &stage.world, now, ROOM, entry, frame);
            if matches!(run.ending, Ending::Sent { .. }) {
                followed += usize::from(at > 0);
                seen.note(sender, frame, &run);
            }
        }
        followed > 1
    })
}
