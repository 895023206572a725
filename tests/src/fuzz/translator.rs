//! Any frame, with any features on, through the translator: what leaves is sound, and the slow path
//! does the same.

use std::cell::RefCell;

use cgn_common::layout::{Constants, Features, Guards, Policy, Side};
use cgn_user::dataplane::memory::Memory;

use crate::harness::host::run_slowly;
use crate::harness::sound::{self, ENTRIES, try_frame};
use crate::harness::world::World;
use crate::harness::{Ending, hex, shown};

/// What kind of world it is, and what is done to the frame: bits of a byte.
mod shape {
    /// There are realms.
    pub const REALMS: u8 = 1;
    /// Blocks are scattered.
    pub const SCATTERED: u8 = 2;
    /// The header checksum is made right.
    pub const SUM: u8 = 4;
    /// It gets addresses that the world knows; those of a packet from inside with [`OUTWARD`].
    pub const AT_HOME: u8 = 8;
    pub const OUTWARD: u8 = 16;
    /// Blocks have ports below 1024, if they are not scattered.
    pub const CLASSES: u8 = 32;

    /// Number of the world: its bits, side by side.
    pub const fn world(shape: u8) -> usize {
        let of_blocks = match (shape & SCATTERED != 0, shape & CLASSES != 0) {
            (true, _) => SCATTERED,
            (_, true) => 4,
            _ => 0,
        };
        (shape & REALMS | of_blocks) as usize
    }
}

/// What can be on, one bit of two bytes each; the last is the clamping of the MSS.
const SWITCHES: [u64; 15] = [
    Features::SESSIONS,
    Features::DROP_MIDSTREAM,
    Features::INBOUND_REFRESH,
    Features::SHORT_TIMERS,
    Features::QUOTAS,
    Features::PARITY,
    Features::THROTTLE,
    Features::ATTACKS,
    Features::OVERLOAD,
    Features::TELL_EXPIRED,
    Features::TELL_TOO_BIG,
    Features::TELL_UNREACHABLE,
    Features::TELL_EXHAUSTED,
    Features::TELL_NO_MAPPING,
    Features::TELL_SYN,
];
/// XDP counts what they limit; the slow path, which sees a packet again, does not.
const FLOODS: u64 = Features::THROTTLE | Features::ATTACKS | Features::OVERLOAD;
/// What only a world that was made for it has.
const OF_THE_WORLD: u64 = Features::REALMS | Features::SCATTERED | Features::CLASSES;
/// Most bytes of the MSS option, outbound and inbound.
const MSS: (u16, u16) = (1300, 1400);
/// Room for sessions.
const SESSIONS: u32 = 64;
/// Mappings that inputs opened, after which all is as at first: blocks are never full for long.
const MAPPINGS: u64 = 24;

/// The bytes before the frame.
struct Head {
    entry: u8,
    room: u8,
    /// The clock, in ticks.
    now: u8,
    shape: u8,
    /// [`Policy`] of both pools.
    policy: u8,
    on: u16,
}

impl Head {
    fn parse(input: &[u8]) -> Option<(Self, &[u8])> {
        let ([entry, room, now, shape, policy, low, high], frame) = input.split_first_chunk()?;
        let head = Self {
            entry: *entry,
            room: *room,
            now: *now,
            shape: *shape,
            policy: *policy,
            on: u16::from_le_bytes([*low, *high]),
        };
        Some((head, frame))
    }

    /// What the programs would be loaded with in a world of these features.
    fn constants(&self, world: &World) -> Constants {
        let bits = (0..).zip(SWITCHES);
        let on = bits.filter(|(bit, _)| self.on >> bit & 1 != 0);
        let on: u64 = on.map(|(_, feature)| feature).sum();
        let mut constants = world.constants;
        let of_the_world = constants.features.0 & OF_THE_WORLD;
        constants.features = Features(of_the_world | on);
        if self.on >> SWITCHES.len() != 0 {
            constants.features = constants.features.with_mss(MSS.0, MSS.1);
        }
        let arranged = Policy::SCATTERED | Policy::CLASSES;
        let of_the_world = constants.pools[0].0 & arranged;
        let policy = u16::from(self.policy) & !arranged | of_the_world;
        constants.pools.fill(Policy(policy));
        constants
    }
}

/// Tables of one kind of world, of XDP and of the slow path: both see the same packets.
struct Stage {
    world: World,
    homes: [Memory; 2],
    /// What the tables were filled with.
    constants: Constants,
    opened: u64,
}

impl Stage {
    fn new(shape: u8) -> Self {
        let mut constants = Constants::PLAIN;
        // So that the table of newcomers has its size.
        constants.features = Features(Features::THROTTLE);
        let guards = &mut constants.guards.0;
        for side in [Side::Inside, Side::Outside] {
            guards[Guards::newcomers(side, 0)] = 8;
            guards[Guards::newcomers(side, 1)] = 12;
        }
        guards[Guards::LIMIT_TICKS] = 20;
        guards[Guards::UNSOLICITED] = 6;
        if shape & shape::SCATTERED != 0 {
            constants.pools = [Policy(Policy::SCATTERED); 256];
            constants.features.0 |= Features::SCATTERED;
        } else if shape & shape::CLASSES != 0 {
            constants.pools = [Policy(Policy::CLASSES); 256];
            constants.features.0 |= Features::CLASSES;
        }
        let mut world = World::with(constants, SESSIONS);
        if shape & shape::REALMS != 0 {
            world = world.with_realms();
        }
        world.constants.features.0 &= OF_THE_WORLD;
        let memory = || Memory::private(world.geometry.sizes).expect("memory");
        let mut stage = Self {
            homes: [memory(), memory()],
            constants: world.constants,
            opened: 0,
            world,
        };
        stage.refresh();
        stage
    }

    fn refresh(&mut self) {
        self.opened = 0;
        for memory in &mut self.homes {
            memory.constants = self.constants;
            memory.datagrams.clear().expect("memory of our own");
            sound::refresh(memory, &self.world);
        }
    }

    fn run(&mut self, head: &Head, frame: &[u8]) -> bool {
        if self.opened >= MAPPINGS {
            self.refresh();
        }
        let constants = head.constants(&self.world);
        for memory in &mut self.homes {
            memory.constants = constants;
        }
        let entry = ENTRIES[usize::from(head.entry) % ENTRIES.len()];
        let (now, room) = (u32::from(head.now), usize::from(head.room));
        let [xdp, slow] = &self.homes;
        let run = try_frame(xdp, &self.world, now, room, entry, frame);
        self.opened += run.counters.created.iter().sum::<u64>();
        // A tag of two numbers is the most that a frame grows by.
        let is_comparable = room >= 8 && !constants.features.has(FLOODS);
        let slow = run_slowly(slow, &self.world, now, entry, frame);
        assert!(
            slow == run || !is_comparable,
            "{entry:?}: the slow path differs\n{}\n{}\nframe {}",
            shown(&run),
            shown(&slow),
            hex(frame)
        );
        matches!(run.ending, Ending::Sent { .. })
    }
}

/// Seven bytes (program, head room, clock, kind of world, policy of the pools, and two of what is
/// on), then the frame. Whether it was translated.
pub fn run(input: &[u8]) -> bool {
    thread_local! {
        static STAGES: [RefCell<Option<Stage>>; 6] = const { [const { RefCell::new(None) }; 6] };
    }
    let Some((head, frame)) = Head::parse(input) else {
        return false;
    };
    let mut frame = frame.to_vec();
    let outward = head.shape & shape::OUTWARD != 0;
    if head.shape & shape::AT_HOME != 0 {
        let entry = ENTRIES[usize::from(head.entry) % ENTRIES.len()];
        frame = sound::at_home_here(&frame, entry, outward).unwrap_or(frame);
    }
    if head.shape & shape::SUM != 0
        && let Some((ip, _)) = sound::network_offset(&frame)
    {
        let _ = sound::sum_again(&mut frame, ip);
    }
    STAGES.with(|stages| {
        let mut stage = stages[shape::world(head.shape)].borrow_mut();
        let stage = stage.get_or_insert_with(|| Stage::new(head.shape));
        stage.run(&head, &frame)
    })
}
