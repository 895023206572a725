//! One table of cases, run in every home of the translator: the host, XDP
//! (`BPF_PROG_TEST_RUN`) and the slow path. Equal bytes, verdicts and counters
//! in all of them are the test.

pub mod audit;
pub mod bpf;
pub mod cases;
pub mod host;
pub mod namespace;
pub mod sound;
pub mod trial;
pub mod world;

use std::net::Ipv4Addr;

use cgn_common::counters::Counters;
use cgn_common::layout::{OwnedBlock, SlotKey, SubscriberHead};
use cgn_common::limits::SLOTS_PER_BUCKET;
use cgn_common::verdict::{Effect, Protocol, Reason};
use cgn_user::dataplane::load::Entry;
use cgn_user::dataplane::memory::Memory;
use cgn_user::realms::InsideKey;

use world::World;

/// Instructions that the verifier may follow in one program, of its limit of a
/// million: a small change of source, compiler or kernel must not be the one too many.
pub const VERIFIER_BUDGET: u32 = 900_000;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Translated and sent; `back` out of the interface that received it.
    Sent {
        back: bool,
    },
    /// The kernel has it.
    Passed(Reason),
    /// The slow path must see it.
    Punted(Reason),
    Dropped(Reason),
}

impl From<Reason> for Ending {
    fn from(reason: Reason) -> Self {
        match reason.effect() {
            Effect::Drop => Ending::Dropped(reason),
            Effect::Punt => Ending::Punted(reason),
            Effect::Pass => Ending::Passed(reason),
        }
    }
}

/// One run of the translator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub ending: Ending,
    /// The frame afterwards, whatever became of it.
    pub bytes: Vec<u8>,
    /// What this run added to the counters.
    pub counters: Counters,
    /// Number of the realm that a drop was counted for, and why.
    pub of_realm: Vec<(u8, Reason)>,
}

/// A place where the translator runs.
pub trait Home {
    fn name(&self) -> &'static str;
    fn memory(&self) -> &Memory;
    /// Its clock, in ticks.
    fn tick(&self) -> u32;
    /// Moves its clock on.
    fn pass(&mut self, ticks: u32);
    /// Runs the program of `entry` on a frame; None if this home cannot be
    /// given such a frame (the kernel's test run takes 14 to some 3,400 bytes).
    fn run(&mut self, entry: Entry, frame: &[u8]) -> Option<Run>;
}

/// Runs a frame in every home and compares them with the first, which can run
/// everything.
///
/// # Panics
/// Two homes differ.
pub fn run_everywhere(homes: &mut [Box<dyn Home>], entry: Entry, frame: &[u8], what: &str) -> Run {
    let (first, others) = homes.split_first_mut().expect("a home");
    let reference = first.run(entry, frame).expect("it runs everything");
    for home in others {
        let Some(run) = home.run(entry, frame) else {
            continue;
        };
        if run != reference {
            panic!(
                "{what} ({entry:?}): {} and {} differ\n{}\n{}\nframe {}",
                first.name(),
                home.name(),
                shown(&reference),
                shown(&run),
                hex(frame)
            );
        }
    }
    reference
}

/// A run in words: the counters without the many zeros.
#[must_use]
pub fn shown(run: &Run) -> String {
    let c = &run.counters;
    let reasons: Vec<_> = Reason::ALL
        .iter()
        .filter(|r| c.ended(**r) != 0)
        .map(|r| (r.name(), c.ended(*r)))
        .collect();
    let drops: Vec<_> = Reason::ALL
        .iter()
        .filter(|r| c.drops[**r as usize] != [0; 4])
        .map(|r| (r.name(), c.drops[*r as usize]))
        .collect();
    format!(
        "{:?} of {:?} packets {:?} bytes {:?} created {:?} reasons {reasons:?} drops {drops:?}\n  {}",
        run.ending,
        run.of_realm,
        c.packets,
        c.bytes,
        c.created,
        hex(&run.bytes)
    )
}

/// Bytes as one would write them.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// `after` minus `before`.
#[must_use]
pub fn difference(after: &Counters, before: &Counters) -> Counters {
    let mut d = *after;
    for (d, b) in d
        .packets
        .as_flattened_mut()
        .iter_mut()
        .zip(before.packets.as_flattened())
    {
        *d -= b;
    }
    for (d, b) in d
        .bytes
        .as_flattened_mut()
        .iter_mut()
        .zip(before.bytes.as_flattened())
    {
        *d -= b;
    }
    for (d, b) in d.created.iter_mut().zip(&before.created) {
        *d -= b;
    }
    for (d, b) in d.reasons.iter_mut().zip(&before.reasons) {
        *d -= b;
    }
    let drops = d.drops.as_flattened_mut().iter_mut();
    for (d, b) in drops.zip(before.drops.as_flattened()) {
        *d -= b;
    }
    d
}

/// A mapping as it stands in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mapping {
    pub external: (Ipv4Addr, u16),
    /// Number of the [`cgn_common::layout::SlotState`].
    pub state: u64,
    pub shared: bool,
    /// Tick of the last refresh.
    pub last_seen: u32,
}

/// Every slot in use (in hold, too) of a subscriber, with its inside port: a
/// plain scan that shares nothing with the translator's search.
#[must_use]
pub fn slots(
    memory: &Memory,
    world: &World,
    inside: impl Into<InsideKey>,
    protocol: Protocol,
) -> Vec<(u16, Mapping)> {
    let index = world.geometry.subscriber_index(inside);
    let entry = index.and_then(|index| Some((index, memory.subscribers.get(index)?)));
    let Some((index, subscriber)) = entry else {
        return Vec::new();
    };
    let head = SubscriberHead(subscriber.head.load());
    let external = Ipv4Addr::from_bits(head.external());
    let mut found = Vec::new();
    for block in memory.owned_blocks(index).take(head.block_count() as usize) {
        let block = OwnedBlock(block.load());
        let first = memory.parts.keys(block.slab_line(), protocol);
        for slot in 0..1_u32 << head.block_shift() {
            let Some(line) = memory.slabs.get(first + slot / SLOTS_PER_BUCKET) else {
                continue;
            };
            let key = SlotKey(line.at(slot % SLOTS_PER_BUCKET).load());
            if !key.is_free() {
                let mapping = Mapping {
                    external: (
                        external,
                        memory.port_of(head.pool(), external, block.first_port() + slot as u16),
                    ),
                    state: key.state(),
                    shared: key.is_shared(),
                    last_seen: key.stamp(),
                };
                found.push((key.inside_port(), mapping));
            }
        }
    }
    found
}

/// The one live mapping of an inside endpoint.
///
/// # Panics
/// There are two: endpoint independence is broken.
#[must_use]
pub fn mapping_of(
    memory: &Memory,
    world: &World,
    inside: (impl Into<InsideKey>, u16),
    protocol: Protocol,
) -> Option<Mapping> {
    use cgn_common::layout::SlotState;
    let inside = (inside.0.into(), inside.1);
    let live: Vec<_> = slots(memory, world, inside.0, protocol)
        .into_iter()
        .filter(|(port, mapping)| *port == inside.1 && mapping.state >= SlotState::FIRST_LIVE)
        .collect();
    assert!(live.len() <= 1, "{inside:?} {protocol:?} has {live:?}");
    live.first().map(|(_, mapping)| *mapping)
}
