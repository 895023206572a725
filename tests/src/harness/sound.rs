//! What must hold for any frame whatsoever, and frames to try it with.

use cgn_common::verdict::Reason;
use cgn_user::dataplane::install;
use cgn_user::dataplane::load::Entry;
use cgn_user::dataplane::memory::Memory;

use super::host::run_over;
use super::world::{
    INSIDE_QINQ, INSIDE_VLAN, LARGE_POOL, OUTSIDE_QINQ, OUTSIDE_VLAN, POOL, SMALL_SHIFT, World,
    remote, subscriber,
};
use super::{Ending, Run, hex, shown};
use crate::packets::check::{ends_of, judge};
use crate::packets::{Draft, flag};

/// The three programs.
pub const ENTRIES: [Entry; 3] = [Entry::Inside, Entry::Outside, Entry::Vlan];

/// What is wrong with a run, if anything.
#[must_use]
pub fn fault(world: &World, entry: Entry, frame: &[u8], run: &Run) -> Option<&'static str> {
    if !matches!(run.ending, Ending::Sent { .. }) {
        // There, the header was rewritten before the tag did not fit.
        let may_change = run.ending == Ending::Dropped(Reason::NoHeadRoom);
        return (run.bytes != frame && !may_change).then_some("changed, but not sent");
    }
    wrong_end(world, entry, frame, run).or_else(|| wrong_header(frame, run))
}

/// What is wrong with the addresses of a packet that was sent: what goes out has an address of a
/// pool for its source, what goes in is for a subscriber, and the other end stays as it was.
fn wrong_end(world: &World, entry: Entry, frame: &[u8], run: &Run) -> Option<&'static str> {
    let [goes_out, goes_in] = run.counters.packets.map(|packets| packets != [0; 3]);
    let (Some(came), Some(left)) = (ends_of(frame), ends_of(&run.bytes)) else {
        return Some("sent, and no IPv4 packet");
    };
    let is_external = POOL.contains(&left.source) || left.source == LARGE_POOL;
    let is_for_subscriber = world.geometry.subscriber_index(left.destination).is_some();
    let wrong = match entry {
        Entry::Inside => !goes_out,
        Entry::Outside => goes_out || !goes_in,
        Entry::Vlan => !goes_out && !goes_in,
    };
    [
        (wrong, "went the wrong way"),
        (
            goes_out && !is_external,
            "left with a source that is in no pool",
        ),
        (
            !goes_out && left.source != came.source,
            "came in from another source",
        ),
        (
            goes_in && !is_for_subscriber,
            "went in, and to no subscriber",
        ),
        (
            !goes_in && left.destination != came.destination,
            "left for another destination",
        ),
        (!left.right, "the IPv4 checksum that left is wrong"),
    ]
    .into_iter()
    .find_map(|(is_wrong, what)| is_wrong.then_some(what))
}

/// What is wrong with the headers, if the packet was whole.
fn wrong_header(frame: &[u8], run: &Run) -> Option<&'static str> {
    let came = judge(frame)?;
    let Some(left) = judge(&run.bytes) else {
        return Some("what came was a packet, what left is none");
    };
    if left.ttl + 1 != came.ttl {
        return Some("the time to live went down by another number than one");
    }
    (came.transport_right && !left.transport_right)
        .then_some("the transport checksum was right and is wrong")
}

/// Runs a frame on the host.
///
/// # Panics
/// Something is wrong with the result.
pub fn try_frame(
    memory: &Memory,
    world: &World,
    now: u32,
    room: usize,
    entry: Entry,
    frame: &[u8],
) -> Run {
    let run = run_over(memory, world, now, room, entry, frame);
    if let Some(fault) = fault(world, entry, frame, &run) {
        panic!("{entry:?}: {fault}\n{}\nframe {}", shown(&run), hex(frame));
    }
    run
}

/// Gives and takes all blocks again: the next frames find empty ones, but for
/// one subscriber's, all of whose ports are mapped.
///
/// # Panics
/// A block is refused.
pub fn refresh(memory: &Memory, world: &World) {
    for grant in &world.grants {
        install::withdraw(memory, &world.geometry, grant);
    }
    world.install(memory);
    let server = (remote::PLAIN, 443);
    for port in 0..1 << SMALL_SHIFT {
        let inside = (subscriber::PLAIN, port);
        for draft in [
            Draft::tcp(flag::SYN, inside, server),
            Draft::udp(inside, server),
            Draft::ping(inside, server.0),
        ] {
            let run = run_over(memory, world, 0, 0, Entry::Inside, &draft.bytes());
            assert!(matches!(run.ending, Ending::Sent { .. }), "{}", shown(&run));
        }
    }
}

/// The frame with addresses (and, where it has tags, VLANs) that the world
/// knows, and a right header checksum, so that it gets further than the first
/// checks. `None` if it is no IPv4.
#[must_use]
pub fn at_home_here(frame: &[u8], entry: Entry, outward: bool) -> Option<Vec<u8>> {
    let mut frame = frame.to_vec();
    let (ip, tags) = network_offset(&frame)?;
    let vlans = match outward {
        true => [[INSIDE_VLAN, 0], INSIDE_QINQ],
        false => [[OUTSIDE_VLAN, 0], OUTSIDE_QINQ],
    };
    for (number, vlan) in vlans[tags.clamp(1, 2) - 1].iter().enumerate().take(tags) {
        let at = 14 + 4 * number;
        let tci = word(&frame, at)? & 0xf000 | vlan;
        frame
            .get_mut(at..at + 2)?
            .copy_from_slice(&tci.to_be_bytes());
    }
    if word(&frame, ip - 2)? != 0x0800 {
        return None;
    }
    let inside = match entry {
        Entry::Vlan => subscriber::SIX_BLOCKS,
        Entry::Inside | Entry::Outside => subscriber::LARGE,
    };
    let (source, destination) = match outward {
        true => (inside, remote::PLAIN),
        false => (remote::PLAIN, POOL[1]),
    };
    frame
        .get_mut(ip + 12..ip + 16)?
        .copy_from_slice(&source.octets());
    frame
        .get_mut(ip + 16..ip + 20)?
        .copy_from_slice(&destination.octets());
    sum_again(&mut frame, ip)?;
    Some(frame)
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]))
}

/// Offset of what is behind the link header, and the number of tags before it.
#[must_use]
pub fn network_offset(frame: &[u8]) -> Option<(usize, usize)> {
    let mut tags = 0;
    while matches!(word(frame, 12 + 4 * tags)?, 0x8100 | 0x88a8) && tags < 2 {
        tags += 1;
    }
    Some((14 + 4 * tags, tags))
}

/// Writes the right IPv4 header checksum, with foreign arithmetic. `None` if
/// there is no header at `ip`.
pub fn sum_again(frame: &mut [u8], ip: usize) -> Option<()> {
    let length = usize::from(*frame.get(ip)? & 0xf) * 4;
    frame.get_mut(ip + 10..ip + 12)?.fill(0);
    let header = frame.get(ip..ip + length.max(20))?;
    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(header);
    let checksum = sum.ones_complement().to_ne_bytes();
    frame.get_mut(ip + 10..ip + 12)?.copy_from_slice(&checksum);
    Some(())
}
