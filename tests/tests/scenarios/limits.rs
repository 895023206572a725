//! What a limit of ports refuses: the tables and the translator in memory, an hour of browsing, and one
//! limit after the other. The table is in docs/operate/sizing.md, and is compared with it.
//!
//! Who browses is a model (`cgn_tests::bench::browsing`; `pages` counts connections of real programs). The
//! port of a connection counts until TIME_WAIT and hold are over. What is refused is sent again as kernels
//! do, and fails in the end.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use cgn_common::layout::{Constants, Features};
use cgn_common::limits::ticks;
use cgn_common::verdict::Reason;
use cgn_tests::bench::browsing::{Connection, HOUR_SECS, HTTP_1, HTTP_2, hour};
use cgn_tests::bench::sharing;
use cgn_tests::harness::host::{HEAD_ROOM, run_over};
use cgn_tests::harness::trial::Endpoint;
use cgn_tests::harness::world::{LARGE_POOL, World, remote, subscriber};
use cgn_tests::harness::{Ending, Run};
use cgn_tests::packets::{Draft, flag};
use cgn_user::dataplane::geometry::{Arrangement, Geometry, PoolShape, SubscriberShape};
use cgn_user::dataplane::install::Grant;
use cgn_user::dataplane::load::Entry;
use cgn_user::dataplane::memory::Memory;
use cgn_user::dataplane::sweep::{Logged, PortSet, Timers, sweep_slab};
use cgn_user::policy::groups::{Allowance, Group, Groups};

/// The limits, from where maps lack tiles (RFC 9313) to what a house may need.
const LIMITS: [u16; 12] = [15, 30, 60, 100, 150, 200, 300, 500, 750, 1000, 1500, 2048];

/// The same hour for each limit.
const SEED: u64 = 0x9313;
/// When a SYN without an answer is sent again: Linux's first tries.
const RETRY_SECS: [u32; 3] = [1, 3, 7];
const SWEEP_SECS: u32 = 2;

/// Who browses: heading, devices, most connections to one server.
const HOUSEHOLDS: [(&str, usize, usize); 4] = [
    ("one device, HTTP/1.1", 1, HTTP_1),
    ("one device, HTTP/2", 1, HTTP_2),
    ("five devices, HTTP/1.1", 5, HTTP_1),
    ("five devices, HTTP/2", 5, HTTP_2),
];

/// Ports of an external address (RFC 7422 section 2 leaves those below 1024 out).
const PORTS_OF_AN_ADDRESS: u32 = 64_512;

const BLOCK_SHIFT: u32 = 10;
const BLOCKS: u32 = 3;
const HOME: Ipv4Addr = subscriber::PLAIN;
const SERVER: Endpoint = (remote::PLAIN, 443);
/// Tick of the hour's beginning.
const START: u32 = 1000;

/// The defaults of the configuration, in ticks.
const TIMERS: Timers = Timers {
    udp: ticks(300),
    icmp: ticks(60),
    tcp_established: ticks(7440),
    tcp_opening: ticks(240),
    tcp_closing: ticks(240),
    short_udp: ticks(300),
    short_udp_ports: PortSet::NONE,
    hold: ticks(120),
    hold_room: u32::MAX,
    logged: Logged::Nothing,
};

/// What comes next, by the second. A connection is named by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A SYN, so many times refused before.
    Open {
        number: usize,
        tries: usize,
    },
    Close {
        number: usize,
    },
    Sweep,
}

/// What became of an hour.
struct Outcome {
    connections: usize,
    refused: usize,
    pages: usize,
    /// Pages that lack something.
    broken: usize,
}

/// So many of a hundred.
fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole as f64
}

/// A household behind a CGN with a limit.
struct Home {
    world: World,
    memory: Memory,
    now: u32,
    events: BinaryHeap<Reverse<(u32, Event)>>,
    connections: Vec<Connection>,
    /// What is open, by number: its external endpoint.
    open: HashMap<usize, (Ipv4Addr, u16)>,
    refused: Vec<usize>,
}

impl Home {
    fn new(limit: u16, connections: Vec<Connection>) -> Self {
        let world = world(limit);
        let mut memory = Memory::private(world.geometry.sizes).expect("memory");
        memory.constants = world.constants;
        world.install(&memory);
        let opened = connections.iter().enumerate();
        let opened = opened.map(|(number, one)| (one.opened, Event::Open { number, tries: 0 }));
        let first = (0, Event::Sweep);
        Self {
            world,
            memory,
            now: 0,
            events: opened.chain([first]).map(Reverse).collect(),
            connections,
            open: HashMap::new(),
            refused: Vec::new(),
        }
    }

    /// The hour.
    fn live(mut self) -> Outcome {
        while let Some(Reverse((second, event))) = self.events.pop() {
            if second >= HOUR_SECS {
                break;
            }
            self.now = START + ticks(u64::from(second));
            match event {
                Event::Open { number, tries } => self.open(second, number, tries),
                Event::Close { number } => self.close(number),
                Event::Sweep => self.sweep(second),
            }
        }
        let pages: HashSet<_> = self.connections.iter().map(|one| one.page).collect();
        let lacking = self
            .refused
            .iter()
            .map(|number| self.connections[*number].page);
        Outcome {
            connections: self.connections.len(),
            refused: self.refused.len(),
            pages: pages.len(),
            broken: lacking.collect::<HashSet<_>>().len(),
        }
    }

    fn at(&mut self, second: u32, event: Event) {
        self.events.push(Reverse((second, event)));
    }

    fn open(&mut self, second: u32, number: usize, tries: usize) {
        let run = self.run(Entry::Inside, flag::SYN, (inside(number), SERVER));
        match run.ending {
            Ending::Sent { .. } => {
                self.open.insert(number, source(&run.bytes));
                self.answer(flag::SYN | flag::ACK, number);
                self.say(flag::ACK, number);
                let closed = second + self.connections[number].open_secs;
                self.at(closed, Event::Close { number });
            }
            Ending::Dropped(Reason::MappingLimit) => match RETRY_SECS.get(tries) {
                Some(after) => {
                    let tries = tries + 1;
                    self.at(second + after, Event::Open { number, tries });
                }
                None => self.refused.push(number),
            },
            other => panic!("a SYN ended as {other:?}"),
        }
    }

    fn close(&mut self, number: usize) {
        self.say(flag::FIN | flag::ACK, number);
        self.answer(flag::FIN | flag::ACK, number);
        self.say(flag::ACK, number);
        self.open.remove(&number);
    }

    /// A segment from inside that passes.
    fn say(&self, flags: u8, number: usize) {
        let run = self.run(Entry::Inside, flags, (inside(number), SERVER));
        assert!(
            matches!(run.ending, Ending::Sent { .. }),
            "{:?}",
            run.ending
        );
    }

    /// One from outside that does.
    fn answer(&self, flags: u8, number: usize) {
        let run = self.run(Entry::Outside, flags, (SERVER, self.open[&number]));
        assert!(
            matches!(run.ending, Ending::Sent { .. }),
            "{:?}",
            run.ending
        );
    }

    fn run(&self, entry: Entry, flags: u8, (from, to): (Endpoint, Endpoint)) -> Run {
        let segment = Draft::tcp(flags, from, to).bytes();
        run_over(
            &self.memory,
            &self.world,
            self.now,
            HEAD_ROOM,
            entry,
            &segment,
        )
    }

    fn sweep(&mut self, second: u32) {
        for slab in 0..BLOCKS {
            let line = self.world.geometry.slab_line(0, slab);
            // What it counts is for metrics.
            let _ = sweep_slab(&self.memory, line, self.now, &TIMERS);
        }
        self.at(second + SWEEP_SECS, Event::Sweep);
    }
}

/// Where a connection comes from: each has a port of its own.
fn inside(number: usize) -> Endpoint {
    (
        HOME,
        1024 + u16::try_from(number).expect("fewer connections than ports"),
    )
}

/// Source of a frame of Ethernet, IPv4 without options and TCP.
fn source(frame: &[u8]) -> Endpoint {
    let address = frame[26..30].first_chunk::<4>().expect("four bytes");
    (
        Ipv4Addr::from(*address),
        u16::from_be_bytes([frame[34], frame[35]]),
    )
}

/// One household, with more ports than the limit.
fn world(limit: u16) -> World {
    let pool = PoolShape {
        arrangement: Arrangement::Contiguous,
        name: "large".to_owned(),
        addresses: vec![(LARGE_POOL, LARGE_POOL)],
        block_shift: BLOCK_SHIFT,
        blocks_per_subscriber: BLOCKS,
        watermark_ports: (1 << BLOCK_SHIFT) * 3 / 4,
        max_blocks: BLOCKS,
    };
    let subscribers = SubscriberShape {
        first: Ipv4Addr::new(100, 64, 0, 0).into(),
        last: Ipv4Addr::new(100, 64, 0, 15).into(),
        pool: 0,
    };
    let mut constants = Constants::PLAIN;
    constants.features = Features(Features::QUOTAS);
    let allowance = Allowance {
        mappings: [Some(limit.into()), None, None],
        ..Allowance::ALL
    };
    let group = Group {
        name: "home".to_owned(),
        allowance,
    };
    let mut geometry = Geometry::new(vec![pool], vec![subscribers]);
    geometry.groups = Groups::new(vec![(group, vec![(HOME, 32)])]);
    let grants = (0..BLOCKS).map(|slab| Grant {
        inside: HOME.into(),
        external: LARGE_POOL,
        pool: 0,
        block: slab as u16 + 1,
        slab,
    });
    World {
        geometry,
        grants: grants.collect(),
        constants,
        ..World::new()
    }
}

/// The table as docs/operate/sizing.md has it: of connections, and of pages that lack something.
fn table() -> String {
    let mut text = "| limit | households an address |".to_owned();
    // Writing to a String cannot fail.
    for (heading, ..) in HOUSEHOLDS {
        let _ = write!(text, " {heading} |");
    }
    text += "\n|---:|---:|";
    text += &"---:|".repeat(HOUSEHOLDS.len());
    for limit in LIMITS {
        let households = PORTS_OF_AN_ADDRESS / u32::from(limit);
        let _ = write!(text, "\n| {limit} | {households} |");
        for (_, devices, connections) in HOUSEHOLDS {
            let home = Home::new(limit, hour(devices, connections, SEED));
            let outcome = home.live();
            let refused = percent(outcome.refused, outcome.connections);
            let broken = percent(outcome.broken, outcome.pages);
            let _ = write!(text, " {refused:.1} / {broken:.0} |");
        }
    }
    text
}

const DOCUMENT: &str = include_str!("../../../docs/operate/sizing.md");

/// Prints a table, and looks for it in the document.
fn is_documented(table: &str) {
    println!("{table}");
    assert!(
        DOCUMENT.contains(table),
        "docs/operate/sizing.md has another table than this:\n{table}"
    );
}

#[test]
fn what_each_limit_of_ports_refuses_is_documented() {
    is_documented(&table());
}

#[test]
fn how_ports_may_be_shared_out_is_documented() {
    const HOUSEHOLDS: usize = 1000;
    is_documented(&sharing::table(&sharing::simulate(HOUSEHOLDS), HOUSEHOLDS));
}
