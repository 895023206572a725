//! Every order of the steps of several processors that open the same mapping,
//! one step after the other: no luck needed to meet a race. Orders that lead to
//! a state that was seen before are not followed twice.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::thread;

use cgn_common::layout::{Detour, OwnedBlock, SlotKey, SlotState, SubscriberHead};
use cgn_common::limits::SLOTS_PER_BUCKET;
use cgn_common::nat::home::{Claim, Home};
use cgn_common::nat::open::{self, Flow, Standing, TRIES};
use cgn_common::nat::place::Place;
use cgn_common::nat::search::{self, Candidate, Outcome};
use cgn_common::tables::Tables as _;
use cgn_common::verdict::{Protocol, Reason};
use cgn_tests::harness::audit;
use cgn_tests::harness::world::{FixedRoutes, POOL, SMALL_SHIFT, World, subscriber};
use cgn_user::dataplane::install::{self, Grant};
use cgn_user::dataplane::memory::Memory;
use cgn_user::dataplane::sweep::{Logged, PortSet, Timers, sweep_slab};
use cgn_user::dataplane::tables::{Counted, UserTables};

type Tables<'a> = UserTables<'a, FixedRoutes>;

/// One processor between two steps: first those at home, then, if they led to
/// nothing, those of `open::open`.
#[derive(Clone, Copy, Debug)]
enum At<'a> {
    Home,
    Clear(Home<'a>),
    ClaimAtHome(Home<'a>),
    PointAtHome(Home<'a>, Standing<'a>),
    LookAtHome(Home<'a>, Standing<'a>),
    LookFurther(Standing<'a>),
    SettleAtHome(Standing<'a>, bool),
    Search,
    Claim(Candidate),
    Point(Standing<'a>),
    Look(Candidate),
    Settle(Candidate, bool),
    Done(Result<u16, Reason>),
}

#[derive(Clone, Copy, Debug)]
struct Processor<'a> {
    at: At<'a>,
    tries: u32,
    flow: Flow,
}

impl<'a> Processor<'a> {
    fn again(&mut self) -> At<'a> {
        self.tries += 1;
        if self.tries == TRIES {
            At::Done(Err(Reason::Contended))
        } else {
            At::Search
        }
    }

    /// One step, as in `path::external_port`, `Home::open` and `open::open`.
    fn step(&mut self, tables: &'a Tables<'a>) {
        self.at = match self.at {
            At::Home => self.find_home(tables),
            At::Clear(home) => match home.is_clear(tables, self.flow.inside_port) {
                true => At::ClaimAtHome(home),
                false => At::Search,
            },
            At::ClaimAtHome(home) => match home.claim(tables, self.flow) {
                Claim::Slot(claim) if claim.candidate().is_at_home() => At::LookAtHome(home, claim),
                Claim::Slot(claim) => At::PointAtHome(home, claim),
                Claim::Limited | Claim::Lost => At::Search,
            },
            At::PointAtHome(home, claim) => match claim.leave_detour(tables) {
                true => At::LookAtHome(home, claim),
                false => At::Search,
            },
            At::LookAtHome(home, claim) => match home.is_surely_alone(tables, &claim) {
                true => At::SettleAtHome(claim, true),
                false => At::LookFurther(claim),
            },
            At::LookFurther(claim) => {
                let alone = search::is_alone(tables, self.flow, claim.candidate());
                At::SettleAtHome(claim, alone)
            }
            At::SettleAtHome(claim, alone) => match claim.settle(tables, alone).port() {
                Some(port) => At::Done(Ok(port)),
                None => At::Search,
            },
            At::Search => match search::search(tables, self.flow).outcome() {
                Outcome::Found { port, .. } => At::Done(Ok(port)),
                Outcome::Refused(reason) => At::Done(Err(reason)),
                Outcome::Race => self.again(),
                Outcome::Free(candidate) => At::Claim(candidate),
            },
            At::Claim(candidate) => {
                let mut claim = Standing::new(tables, self.flow, candidate).expect("a place");
                match claim.claim(tables) {
                    true if candidate.is_at_home() => At::Look(candidate),
                    true => At::Point(claim),
                    false => self.again(),
                }
            }
            At::Point(claim) => match claim.leave_detour(tables) {
                true => At::Look(claim.candidate()),
                false => self.again(),
            },
            At::Look(candidate) => {
                At::Settle(candidate, search::is_alone(tables, self.flow, candidate))
            }
            At::Settle(candidate, alone) => {
                match open::settle(tables, self.flow, candidate, alone).port() {
                    Some(port) => At::Done(Ok(port)),
                    None => self.again(),
                }
            }
            done => done,
        };
    }

    fn find_home(&self, tables: &'a Tables<'a>) -> At<'a> {
        let subscriber = tables.subscriber(self.flow.subscriber).expect("known");
        let head = SubscriberHead(subscriber.head.load());
        let (protocol, port) = (self.flow.protocol, self.flow.inside_port);
        let Some(home) = Home::of(
            tables,
            self.flow.subscriber,
            subscriber,
            head,
            protocol,
            port,
        ) else {
            return At::Search;
        };
        match home.find(tables, port) {
            Ok((port, _)) => At::Done(Ok(port)),
            Err(_) => At::Clear(home),
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.at, At::Done(_))
    }
}

/// Something that happens once, at any moment between the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Nothing,
    /// The subscriber gets its second block, whose slab lies before the first's.
    SecondBlock,
    /// The sweep frees the slots of the home bucket, which were in hold.
    HoldEnds,
    /// None, but the home bucket is full and has so many detours to others.
    HomeFull {
        detours: u32,
    },
}

/// Slab 9 is the block from the start, slab 8 comes second.
fn grant(slab: u32) -> Grant {
    Grant {
        inside: subscriber::NO_BLOCK_YET.into(),
        external: POOL[0],
        pool: 0,
        block: 500 + slab as u16,
        slab,
    }
}

const EXPIRED: Timers = Timers {
    udp: 1000,
    icmp: 1000,
    tcp_established: 1000,
    tcp_opening: 1000,
    tcp_closing: 1000,
    short_udp: 1000,
    short_udp_ports: PortSet::NONE,
    hold: 5,
    hold_room: u32::MAX,
    logged: Logged::Nothing,
};
const NOW: u32 = 100;

struct Scene<'a> {
    tables: &'a Tables<'a>,
    /// Where processors begin: at home, or, as those with several blocks, with a search.
    begin: At<'a>,
    world: &'a World,
    index: u32,
    event: Event,
    flow: Flow,
}

impl<'a> Scene<'a> {
    fn memory(&self) -> &Memory {
        self.tables.memory
    }

    /// One block, empty but, for [`Event::HoldEnds`], for all but one slot of the home bucket in hold.
    fn reset(&self) {
        for slab in [8, 9] {
            install::withdraw(self.memory(), &self.world.geometry, &grant(slab));
        }
        // Else the count of the changes so far would make every state a new one.
        let subscriber = self.memory().subscribers.get(self.index).expect("known");
        let head = SubscriberHead(subscriber.head.load());
        let (shift, pool) = (head.block_shift() as u8, head.pool());
        let fresh = SubscriberHead::new(0, 0, shift, pool, SubscriberHead::VALID);
        subscriber.head.store(fresh.0);
        self.give(9);
        match self.event {
            Event::HoldEnds => self.hold_home_slots(SLOTS_PER_BUCKET - 1, NOW - 6),
            Event::HomeFull { detours } => {
                self.hold_home_slots(SLOTS_PER_BUCKET, NOW);
                self.leave_detours(detours);
            }
            _ => {}
        }
    }

    fn give(&self, slab: u32) {
        install::give(self.memory(), &self.world.geometry, &grant(slab), 0, 0)
            .expect("the block is free");
    }

    fn hold_home_slots(&self, slots: u32, since: u32) {
        let subscriber = self.memory().subscribers.get(self.index).expect("known");
        let shift = SubscriberHead(subscriber.head.load()).block_shift();
        let block = OwnedBlock(subscriber.blocks[0].load());
        let first = self
            .memory()
            .parts
            .keys(block.slab_line(), self.flow.protocol);
        let room = self.memory().room(block.slab_line()).expect("a slab");
        let mut held = 0;
        for port in 1000..=u16::MAX {
            let place = Place::new(subscriber.secret.load(), self.flow.protocol, port);
            if place.bucket(shift) == self.place().bucket(shift) && held < slots {
                let line = self
                    .memory()
                    .slabs
                    .get(first + place.bucket(shift))
                    .expect("in it");
                line.at(held)
                    .store(SlotKey::new(port, SlotState::Held, since).0);
                assert!(room.take_port(self.flow.protocol));
                held += 1;
            }
        }
    }

    /// In the home bucket, to slots that are free: what a processor left that came late.
    fn leave_detours(&self, detours: u32) {
        let subscriber = self.memory().subscribers.get(self.index).expect("known");
        let shift = SubscriberHead(subscriber.head.load()).block_shift();
        let block = OwnedBlock(subscriber.blocks[0].load());
        let first = self
            .memory()
            .parts
            .keys(block.slab_line(), self.flow.protocol);
        let home = first + self.place().bucket(shift);
        let home = self.memory().slabs.get(home).expect("in it");
        for slot in 0..detours {
            let other = self.place().tag() % 63 + 1;
            assert!(Detour::new(other, slot).leave_in(home), "a place");
        }
    }

    fn place(&self) -> Place {
        let subscriber = self.memory().subscribers.get(self.index).expect("known");
        Place::new(
            subscriber.secret.load(),
            self.flow.protocol,
            self.flow.inside_port,
        )
    }

    fn happen(&self) {
        match self.event {
            Event::Nothing | Event::HomeFull { .. } => {}
            Event::SecondBlock => self.give(8),
            Event::HoldEnds => {
                let line = self.world.geometry.slab_line(0, 9);
                let swept = sweep_slab(self.memory(), line, NOW, &EXPIRED);
                assert_eq!(swept.freed, SLOTS_PER_BUCKET - 1, "{swept:?}");
            }
        }
    }

    /// Runs one schedule; `choose(n, state)` names the next of n that can act,
    /// or ends it.
    fn play(
        &self,
        processors: usize,
        mut choose: impl FnMut(usize, u64) -> Option<usize>,
    ) -> Option<Vec<Processor<'a>>> {
        let start = Processor {
            at: self.begin,
            tries: 0,
            flow: self.flow,
        };
        let mut all = vec![start; processors];
        let mut happened = matches!(self.event, Event::Nothing | Event::HomeFull { .. });
        loop {
            let mut able: Vec<usize> = (0..processors).filter(|p| !all[*p].is_done()).collect();
            // Processors that have not begun are alike: one of them stands for all.
            let fresh = |p: &Processor<'_>| {
                p.tries == 0 && std::mem::discriminant(&p.at) == std::mem::discriminant(&self.begin)
            };
            let first_fresh = able.iter().copied().find(|p| fresh(&all[*p]));
            able.retain(|p| !fresh(&all[*p]) || Some(*p) == first_fresh);
            if !happened {
                able.push(processors);
            }
            if able.is_empty() {
                return Some(all);
            }
            match able[choose(able.len(), self.state(&all, happened))?] {
                event if event == processors => {
                    happened = true;
                    self.happen();
                }
                processor => {
                    let settles =
                        matches!(all[processor].at, At::Settle(..) | At::SettleAtHome(..));
                    all[processor].step(self.tables);
                    if settles {
                        let twice = audit::doubled(self.memory(), self.index, self.flow.protocol);
                        assert!(twice.is_empty(), "two mappings at once: {all:#?}");
                    }
                }
            }
        }
    }

    /// Everything that decides what can still happen, as a hash.
    fn state(&self, all: &[Processor<'_>], happened: bool) -> u64 {
        let mut hash = DefaultHasher::new();
        happened.hash(&mut hash);
        // Processors are alike: their order does not matter.
        let mut processors: Vec<String> = all
            .iter()
            .map(|p| format!("{:?}", (p.at, p.tries)))
            .collect();
        processors.sort();
        processors.hash(&mut hash);
        let parts = self.memory().parts;
        let slabs = [8, 9].map(|slab| self.world.geometry.slab_line(0, slab));
        let lines = slabs.map(|slab| parts.lines_of(slab, SMALL_SHIFT).flatten());
        let rooms = slabs.map(|slab| parts.room(slab).0);
        for line in lines.into_iter().flatten().chain(rooms) {
            let line = self.memory().slabs.get(line).expect("in the table");
            line.0.iter().for_each(|word| word.load().hash(&mut hash));
        }
        hash.finish()
    }
}

/// Plays every schedule; returns how many states there are.
fn explore(processors: usize, event: Event, at_home: bool) -> usize {
    let world = World::new();
    let memory = Memory::private(world.geometry.sizes).expect("memory");
    world.install(&memory);
    let counted = Counted::default();
    let tables = world.tables(&memory, &counted);
    let index = world
        .geometry
        .subscriber_index(subscriber::NO_BLOCK_YET)
        .expect("known");
    let secret = memory.subscribers.get(index).expect("known").secret.load();
    // With two blocks it belongs in the second one.
    let wanders = |port: &u16| Place::new(secret, Protocol::Udp, *port).block(2) == 1;
    let flow = Flow {
        subscriber: index,
        protocol: Protocol::Udp,
        inside_port: (0..=u16::MAX).find(wanders).expect("half of them do"),
        remote: 1,
        state: SlotState::Open as u64,
        tick: NOW,
    };
    let scene = Scene {
        tables: &tables,
        begin: if at_home { At::Home } else { At::Search },
        world: &world,
        index,
        event,
        flow,
    };
    follow_all(&scene, processors)
}

/// Depth first: each round plays the path again from the start, as the tables
/// cannot be copied back, and then goes on.
fn follow_all(scene: &Scene<'_>, processors: usize) -> usize {
    let mut path: Vec<(usize, usize)> = Vec::new();
    let mut seen = HashSet::new();
    loop {
        scene.reset();
        let mut depth = 0;
        let ended = scene.play(processors, |able, state| {
            if depth == path.len() {
                if !seen.insert(state) {
                    return None;
                }
                path.push((0, able));
            }
            depth += 1;
            Some(path[depth - 1].0)
        });
        if let Some(all) = ended {
            check(scene, &all, &path);
        }
        while path
            .last()
            .is_some_and(|(chosen, able)| chosen + 1 == *able)
        {
            path.pop();
        }
        match path.last_mut() {
            Some((chosen, _)) => *chosen += 1,
            None => return seen.len(),
        }
    }
}

fn check(scene: &Scene<'_>, all: &[Processor<'_>], path: &[(usize, usize)]) {
    let wrong = audit::contradictions(scene.memory(), scene.index);
    assert!(wrong.is_empty(), "{wrong:#?}\n{all:#?}\n{path:?}");
    let ports: Vec<u16> = all
        .iter()
        .filter_map(|p| match p.at {
            At::Done(Ok(port)) => Some(port),
            At::Done(Err(Reason::Contended)) => None,
            other => panic!("{other:?} in {all:#?}"),
        })
        .collect();
    assert!(!ports.is_empty(), "nobody won: {all:#?}");
    assert!(ports.iter().all(|port| *port == ports[0]), "{all:#?}");
}

#[test]
fn processors_in_every_order_open_one_mapping() {
    // A place for every detour, for one, and for none: then a mapping goes astray.
    let full = [0, 6, 7].map(|detours| Event::HomeFull { detours });
    let others = [Event::Nothing, Event::SecondBlock, Event::HoldEnds];
    thread::scope(|scope| {
        for event in others.into_iter().chain(full) {
            scope.spawn(move || open_one_mapping(event));
        }
    });
}

fn open_one_mapping(event: Event) {
    for (processors, least) in [(2, 15), (3, 60), (4, 100)] {
        for at_home in [true, false] {
            let is_long = matches!(event, Event::HoldEnds | Event::HomeFull { detours: 0 });
            if processors == 4 && at_home && is_long {
                continue; // hundreds of thousands of states, in minutes; three have 5,000
            }
            let states = explore(processors, event, at_home);
            println!("{processors} processors, {event:?}, at home {at_home}: {states} states");
            assert!(states > least, "only {states}: something keeps them apart");
        }
    }
}
