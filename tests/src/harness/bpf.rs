//! The translator in the kernel, through `BPF_PROG_TEST_RUN`.

use std::rc::Rc;
use std::sync::Arc;

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use cgn_common::counters::{Counters, RealmDrops};
use cgn_common::layout::{Features, VlanKey, VlanRole};
use cgn_common::limits::TICK_SHIFT;
use cgn_common::verdict::{Effect, Reason};
use cgn_common::watch::{Filter, MOST_BYTES, details};
use cgn_user::dataplane::diagnostics::Diagnostics;
use cgn_user::dataplane::load::{DIAGNOSTICS_OBJECT, Dataplane, Entry, OBJECT, WATCH_OBJECT};
use cgn_user::dataplane::memory::Memory;
use cgn_user::dataplane::swap::Ear;
use cgn_user::watch::seen::Seen;

use super::host::run_slowly;
use super::world::{INGRESS, INSIDE_IF, OUTSIDE_IF, World, exact_routes, kernel_link};
use super::{Ending, Home, Run, VERIFIER_BUDGET, difference, shown};
use crate::packets::check;

/// What the kernel's test run takes: its own headers need the rest of a page.
pub const FRAME_BYTES: std::ops::RangeInclusive<usize> = 14..=3300;

const ABORTED: u32 = 0;
const DROP: u32 = 1;
/// `XDP_PASS`; greater ones send the frame.
pub const PASS: u32 = 2;
const TX: u32 = 3;
const REDIRECT: u32 = 4;

/// What hears the lines of the diagnostics object.
pub type Tell = Box<dyn Fn(&str) + Send + Sync>;

/// The programs over the maps of a loaded object, in the namespace of this thread.
pub struct Bpf {
    name: &'static str,
    diagnostics: Option<Diagnostics<Tell>>,
    ear: Option<Ear>,
    dataplane: Dataplane,
    memory: Arc<Memory>,
    world: Rc<World>,
    /// Drops of each realm.
    realm_drops: Box<dyn Fn() -> Vec<RealmDrops>>,
}

impl Bpf {
    /// Loads the object and fills its tables.
    ///
    /// # Panics
    /// The kernel refuses something.
    #[must_use]
    pub fn new(world: &Rc<World>) -> Self {
        let dataplane = Dataplane::load(OBJECT, world.geometry.sizes, &world.constants, None)
            .expect("the object loads");
        Self::filled("BPF", dataplane, None, world)
    }

    /// The same with the diagnostics object.
    ///
    /// # Panics
    /// The kernel refuses something.
    #[must_use]
    pub fn diagnosing(world: &Rc<World>, tell: Tell) -> Self {
        let mut dataplane = Dataplane::load(
            DIAGNOSTICS_OBJECT,
            world.geometry.sizes,
            &world.constants,
            None,
        )
        .expect("the object loads");
        let diagnostics = dataplane.diagnostics(tell).expect("it has lines");
        Self::filled("BPF with diagnostics", dataplane, Some(diagnostics), world)
    }

    /// The programs that punt everything, and the slow path over their tables.
    ///
    /// # Panics
    /// The kernel refuses something.
    #[must_use]
    pub fn forced(world: &Rc<World>) -> Self {
        let mut constants = world.constants;
        constants.features.0 |= Features::FORCE_SLOW_PATH;
        let dataplane = Dataplane::load(OBJECT, world.geometry.sizes, &constants, None)
            .expect("the object loads");
        Self::filled("BPF forced to the slow path", dataplane, None, world)
    }

    /// The same with the watching object, which tells of every packet.
    ///
    /// # Panics
    /// The kernel refuses something.
    #[must_use]
    pub fn watching(world: &Rc<World>) -> Self {
        Self::sampling(world, 1)
    }

    /// The same, which tells of one packet of so many.
    ///
    /// # Panics
    /// The kernel refuses something.
    #[must_use]
    pub fn sampling(world: &Rc<World>, packets_of: u32) -> Self {
        let mut dataplane =
            Dataplane::load(WATCH_OBJECT, world.geometry.sizes, &world.constants, None)
                .expect("the object loads");
        let mut ear = Ear::of(&mut dataplane).expect("it has an ear");
        let everything = Filter {
            until_ns: u64::MAX,
            per_second: u32::MAX,
            bytes: MOST_BYTES as u32,
            details: details::ALL,
            packets_of,
            ..Filter::default()
        };
        ear.listen(0, everything).expect("it takes a filter");
        let mut bpf = Self::filled("BPF, watching", dataplane, None, world);
        bpf.ear = Some(ear);
        bpf
    }

    /// What it told of the last packet, if it is the watching object; the ring is empty then.
    ///
    /// # Panics
    /// It told of more than one, or what it told is no record.
    pub fn heard(&mut self) -> Option<Seen> {
        let ear = self.ear.as_mut()?;
        let (_, record) = ear.next_record().expect("it tells of every packet");
        assert!(ear.next_record().is_none(), "told once");
        Some(Seen::parse(&record).expect("a record"))
    }

    /// How many packets the watching object has told of since the last call.
    ///
    /// # Panics
    /// It is another object.
    pub fn told(&mut self) -> usize {
        let ear = self.ear.as_mut().expect("the watching object");
        std::iter::from_fn(|| ear.next_record()).count()
    }

    fn filled(
        name: &'static str,
        mut dataplane: Dataplane,
        diagnostics: Option<Diagnostics<Tell>>,
        world: &Rc<World>,
    ) -> Self {
        let memory = dataplane.memory().clone();
        world.install(&memory);
        for (address, value) in exact_routes() {
            dataplane
                .set_exact_route(address, Some(value))
                .expect("room in EXACT_ROUTES");
        }
        let link = kernel_link();
        dataplane
            .set_link(link.ifindex, Some(link))
            .expect("room in LINKS");
        for ((ifindex, vlans), role) in &world.vlans {
            let (ifindex, vlans) = (*ifindex, *vlans);
            let role = VlanRole {
                role: role.0,
                socket_base: 0,
            };
            dataplane
                .set_vlan(VlanKey { ifindex, vlans }, role)
                .expect("room in VLANS");
        }
        for ifindex in [INGRESS, INSIDE_IF, OUTSIDE_IF] {
            dataplane
                .set_device(ifindex as u16, ifindex)
                .expect("the interface exists");
        }
        let realms = world.geometry.realms.count();
        let realm_drops = dataplane.realm_drops_reader(realms).expect("a map");
        for entry in [Entry::Inside, Entry::Outside, Entry::Vlan] {
            let program = dataplane.program(entry).expect("the verifier accepts it");
            assert_within_budget(name, entry, program);
        }
        Self {
            name,
            diagnostics,
            ear: None,
            realm_drops: Box::new(realm_drops),
            dataplane,
            memory,
            world: Rc::clone(world),
        }
    }

    /// The loaded object.
    pub fn dataplane(&mut self) -> &mut Dataplane {
        &mut self.dataplane
    }

    /// The reader of its lines.
    ///
    /// # Panics
    /// It is not the diagnostics object.
    pub fn diagnostics(&mut self) -> &mut Diagnostics<Tell> {
        self.diagnostics.as_mut().expect("the diagnostics object")
    }
}

/// What was counted for realms between two readings. That no socket listens is a home's own affair, as above.
fn added(before: &[RealmDrops], after: &[RealmDrops]) -> Vec<(u8, Reason)> {
    let realms = (0..).zip(before.iter().zip(after));
    let all = realms.flat_map(|(realm, (before, after))| {
        let more = |reason: &Reason| after.0[*reason as usize] - before.0[*reason as usize];
        Reason::ALL
            .iter()
            .flat_map(move |reason| std::iter::repeat_n((realm, *reason), more(reason) as usize))
    });
    all.filter(|(_, reason)| *reason != Reason::PuntUndelivered)
        .collect()
}

/// Whatever a world has on and off, the verifier has room to spare.
fn assert_within_budget(name: &str, entry: Entry, program: &Xdp) {
    let info = program.info().expect("the kernel tells");
    let followed = info
        .verified_instruction_count()
        .expect("Linux 5.16 or later");
    assert!(
        followed < VERIFIER_BUDGET,
        "{name}, {entry:?}: the verifier followed {followed} instructions, more than {VERIFIER_BUDGET}"
    );
}

/// Runs a program once: its return value and the frame afterwards.
///
/// # Panics
/// The kernel refuses the run.
pub fn test_run(program: &Xdp, frame: &[u8]) -> (u32, Vec<u8>) {
    let mut out = vec![0; frame.len() + 64];
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut out),
        ..TestRunOptions::default()
    };
    let result = program
        .test_run(options)
        .unwrap_or_else(|error| panic!("test run of {} bytes: {error:?}", frame.len()));
    out.truncate(result.data_size_out as usize);
    (result.return_value, out)
}

/// The clock that XDP reads, in nanoseconds.
#[must_use]
pub fn coarse_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes the struct that is given to it.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl Home for Bpf {
    fn name(&self) -> &'static str {
        self.name
    }
    fn memory(&self) -> &Memory {
        &self.memory
    }
    fn tick(&self) -> u32 {
        let offset_ns = self.memory.clock_offset_ns();
        (coarse_ns().wrapping_add(offset_ns) >> TICK_SHIFT) as u32
    }
    fn pass(&mut self, ticks: u32) {
        let settings = self.memory.settings.get(0).expect("the settings");
        settings.clock_offset_ns.add(u64::from(ticks) << TICK_SHIFT);
    }
    /// What was punted only because everything is goes on in the slow path, over the same tables.
    fn run(&mut self, entry: Entry, frame: &[u8]) -> Option<Run> {
        if !FRAME_BYTES.contains(&frame.len()) {
            return None;
        }
        let run = self.run_program(entry, frame);
        if run.ending != Ending::Punted(Reason::Forced) {
            let is_forced = self
                .memory
                .constants
                .features
                .has(Features::FORCE_SLOW_PATH);
            // What is not IPv4 is limited or passed on by XDP in any case.
            let is_kernels = match run.ending {
                Ending::Passed(_) => true,
                Ending::Dropped(Reason::Throttled) => check::protocol_of(frame).is_none(),
                _ => false,
            };
            assert!(is_kernels || !is_forced, "not forced: {}", shown(&run));
            return Some(run);
        }
        let mut counters = Counters::ZERO;
        counters.left(Reason::Forced);
        assert_eq!(
            (run.counters, &*run.bytes),
            (counters, frame),
            "punted as it came"
        );
        let now = self.tick();
        Some(run_slowly(&self.memory, &self.world, now, entry, frame))
    }
}

impl Bpf {
    fn run_program(&mut self, entry: Entry, frame: &[u8]) -> Run {
        let before = self.dataplane.counters().expect("counters");
        let realms_before = (self.realm_drops)();
        let program = self.dataplane.program(entry).expect("loaded");
        let (action, bytes) = test_run(program, frame);
        let after = self.dataplane.counters().expect("counters");
        if let Some(seen) = self.heard() {
            assert_eq!(seen.came, frame[..seen.came.len()], "as it came");
            assert_eq!(seen.left, bytes[..seen.left.len()], "as it left");
            assert_eq!(seen.reason.is_none(), matches!(action, TX | REDIRECT));
        }
        let of_realm = added(&realms_before, &(self.realm_drops)());
        let mut counters = difference(&after, &before);
        let punted = counters.ended(Reason::PuntUndelivered) == 1;
        // No socket listens in a test run; that the packet is dropped and
        // counted for it is a home's own affair.
        counters.drops[Reason::PuntUndelivered as usize] = [0; 4];
        let reason = Reason::ALL
            .iter()
            .copied()
            .find(|reason| counters.ended(*reason) != 0);
        let ending = match (action, reason) {
            (TX, None) => Ending::Sent { back: true },
            (REDIRECT, None) => Ending::Sent { back: false },
            (PASS, Some(reason)) => Ending::Passed(reason),
            (DROP, Some(reason)) if punted && reason.effect() == Effect::Punt => {
                Ending::Punted(reason)
            }
            (DROP, Some(reason)) if !punted => Ending::Dropped(reason),
            (ABORTED, _) => panic!("the program was aborted"),
            other => panic!("action and reason contradict: {other:?}, punted {punted}"),
        };
        Run {
            ending,
            bytes,
            counters,
            of_realm,
        }
    }
}
