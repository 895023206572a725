//! The translator on the host: as tests and fuzzers run it, and as the slow path does.

use std::rc::Rc;

use cgn_common::answers;
use cgn_common::counters::Counters;
use cgn_common::frame::Buffer;
use cgn_common::path;
use cgn_common::tables::Tables as _;
use cgn_common::verdict::{Reason, Verdict};
use cgn_user::dataplane::load::Entry;
use cgn_user::dataplane::memory::Memory;
use cgn_user::dataplane::tables::{Counted, UserTables};
use cgn_user::slowpath::process::{self, Outcome};

use super::world::{FixedRoutes, INGRESS, World};
use super::{Ending, Home, Run};

/// Room in front of a frame, as XDP has it.
pub const HEAD_ROOM: usize = 256;

/// `path` over private memory.
pub struct Host {
    world: Rc<World>,
    memory: Memory,
    /// The clock, in ticks.
    pub now: u32,
    /// Room in front of the frame in bytes.
    pub head_room: usize,
    slow: bool,
}

impl Host {
    /// The plain translator.
    ///
    /// # Panics
    /// Out of memory.
    #[must_use]
    pub fn new(world: &Rc<World>) -> Self {
        let mut memory = Memory::private(world.geometry.sizes).expect("memory");
        memory.constants = world.constants;
        world.install(&memory);
        Self {
            world: world.clone(),
            memory,
            now: 1000,
            head_room: HEAD_ROOM,
            slow: false,
        }
    }

    /// The same through what the slow path does with a punted packet.
    ///
    /// # Panics
    /// Out of memory.
    #[must_use]
    pub fn slow_path(world: &Rc<World>) -> Self {
        let mut host = Self::new(world);
        host.slow = true;
        host
    }
}

/// One run over any memory.
#[must_use]
pub fn run_over(
    memory: &Memory,
    world: &World,
    now: u32,
    head_room: usize,
    entry: Entry,
    frame: &[u8],
) -> Run {
    let counted = Counted::default();
    let tables = world.tables(memory, &counted);
    tables.now.set(now);
    tables.ingress.set(INGRESS);
    tables.punts_answered.set(true);
    let mut bytes = vec![0x5a; head_room];
    bytes.extend(frame);
    let end = bytes.len();
    let mut buffer = Buffer::new(&mut bytes, head_room, end).expect("in range");
    let ending = match path::whole(&mut buffer, &tables, entry) {
        Verdict::Transmit { ifindex, .. } => Ending::Sent {
            back: ifindex == INGRESS,
        },
        Verdict::Pass(reason) => Ending::Passed(reason),
        Verdict::Punt(reason) => Ending::Punted(reason),
        Verdict::Drop(reason) => {
            path::dropped(&buffer, &tables, reason);
            Ending::Dropped(reason)
        }
    };
    let bytes = buffer.bytes().to_vec();
    let of_realm = counted.realm_drops.take();
    let counters = counted.counters.take();
    Run {
        ending,
        bytes,
        counters,
        of_realm,
    }
}

/// One run as the slow path makes it. It tells endings in its own words and
/// leaves out what XDP has counted; both are put back to compare.
pub(crate) fn run_slowly(
    memory: &Memory,
    world: &World,
    now: u32,
    entry: Entry,
    frame: &[u8],
) -> Run {
    let counted = Counted::default();
    let tables = world.tables(memory, &counted);
    tables.now.set(now);
    tables.ingress.set(INGRESS);
    // As if XDP had counted one of each punt before.
    let seen = Counters {
        reasons: [1; cgn_common::verdict::REASONS],
        ..Counters::ZERO
    };
    counted.counters.replace(seen);
    let mut bytes = vec![0x5a; HEAD_ROOM];
    bytes.extend(frame);
    let end = bytes.len();
    let mut buffer = Buffer::new(&mut bytes, HEAD_ROOM, end).expect("in range");
    let outcome = process::process(&mut buffer, &tables, entry);
    let bytes = buffer.bytes().to_vec();
    let mut counters = super::difference(&counted.counters.take(), &seen);
    let mut of_realm = counted.realm_drops.take();
    let ending = match outcome {
        Outcome::Send { ifindex } => Ending::Sent {
            back: ifindex == INGRESS,
        },
        // XDP has counted it, and punted it if its sender is to be told.
        Outcome::Dropped(reason) if is_told(&mut bytes.clone(), &tables, entry, reason) => {
            let again = run_over(memory, world, now, HEAD_ROOM, entry, frame);
            (counters, of_realm) = (again.counters, again.of_realm);
            again.ending
        }
        Outcome::Dropped(reason) => reason.into(),
        Outcome::NeedsBlock { .. }
        | Outcome::NeedsNeighbour
        | Outcome::NeedsRoute
        | Outcome::NeedsFirst
        | Outcome::NeedsSplitting => {
            assert_eq!(
                counters,
                Counters::ZERO,
                "a packet that goes on is counted later"
            );
            let again = run_over(memory, world, now, HEAD_ROOM, entry, frame);
            (counters, of_realm) = (again.counters, again.of_realm);
            again.ending
        }
    };
    Run {
        ending,
        bytes,
        counters,
        of_realm,
    }
}

/// True if the sender of this packet is told of its end.
fn is_told(
    bytes: &mut [u8],
    tables: &UserTables<'_, FixedRoutes>,
    entry: Entry,
    reason: Reason,
) -> bool {
    let end = bytes.len();
    let frame = Buffer::new(bytes, 0, end).expect("in range");
    path::side_of(&frame, tables, entry)
        .is_some_and(|side| tables.features().has(answers::kind(&frame, side, reason)))
}

impl Home for Host {
    fn name(&self) -> &'static str {
        if self.slow { "slow path" } else { "host" }
    }
    fn memory(&self) -> &Memory {
        &self.memory
    }
    fn tick(&self) -> u32 {
        self.now
    }
    fn pass(&mut self, ticks: u32) {
        self.now = self.now.wrapping_add(ticks);
    }
    fn run(&mut self, entry: Entry, frame: &[u8]) -> Option<Run> {
        let (memory, world) = (&self.memory, &self.world);
        Some(if self.slow {
            run_slowly(memory, world, self.now, entry, frame)
        } else {
            run_over(memory, world, self.now, self.head_room, entry, frame)
        })
    }
}
