//! What a limit of ports refuses: the tables and the translator in memory, an hour of browsing, and one
//! limit after the other. The table is in docs/operate/sizing.md, and is compared with it.
//!
//! The browser is a model. A device opens a page every [`PAGE_SECS`] on average; a page has things from
//! [`SERVERS`] servers, the few large pages from most of them; by HTTP/1.1 up to six connections to each
//! (`pages` shows it with real programs), by HTTP/2 one. A connection stays open for some while and is
//! closed by the client; its port counts until TIME_WAIT and hold are over. What is refused is sent again
//! as kernels do, and fails after [`RETRY_SECS`].

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use cgn_common::layout::{Constants, Features};
use cgn_common::limits::ticks;
use cgn_common::verdict::Reason;
use cgn_tests::harness::Ending;
use cgn_tests::harness::host::{HEAD_ROOM, run_over};
use cgn_tests::harness::world::{LARGE_POOL, World, remote, subscriber};
use cgn_tests::packets::mutate::Dice;
use cgn_tests::packets::{Draft, flag};
use cgn_user::dataplane::geometry::{Geometry, PoolShape, SubscriberShape};
use cgn_user::dataplane::install::Grant;
use cgn_user::dataplane::load::Entry;
use cgn_user::dataplane::memory::Memory;
use cgn_user::dataplane::sweep::{Logged, PortSet, Timers, sweep_slab};
use cgn_user::policy::groups::{Allowance, Group, Groups};

/// The limits, from where maps lack tiles (RFC 9313) to what a house may need.
const LIMITS: [u16; 12] = [15, 30, 60, 100, 150, 200, 300, 500, 750, 1000, 1500, 2048];

const HOUR_SECS: u32 = 3600;
/// Between two pages of a device, on average.
const PAGE_SECS: usize = 45;
const SERVERS: (usize, usize) = (2, 30);
/// How long a connection stays open.
const OPEN_SECS: (usize, usize) = (5, 90);
/// When a SYN without an answer is sent again: Linux's first tries.
const RETRY_SECS: [u32; 3] = [1, 3, 7];
const SWEEP_SECS: u32 = 2;

/// Who browses: heading, devices, most connections to one server.
const HOUSEHOLDS: [(&str, usize, usize); 4] = [
    ("one device, HTTP/1.1", 1, 6),
    ("one device, HTTP/2", 1, 1),
    ("five devices, HTTP/1.1", 5, 6),
    ("five devices, HTTP/2", 5, 1),
];

/// Ports of an external address (RFC 7422 section 2 leaves those below 1024 out).
const PORTS_OF_AN_ADDRESS: u32 = 64_512;

const BLOCK_SHIFT: u32 = 10;
const BLOCKS: u32 = 3;
const HOME: Ipv4Addr = subscriber::PLAIN;

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

/// What comes next, by the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Page,
    /// A SYN from this port for this page, so many times refused before.
    Open {
        port: u16,
        page: usize,
        tries: usize,
    },
    Close {
        port: u16,
    },
    Sweep,
}

/// What became of an hour.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    connections: u32,
    refused: u32,
    pages: u32,
    /// Pages that lack something.
    broken: u32,
}

impl Outcome {
    fn refused_percent(&self) -> f64 {
        100.0 * f64::from(self.refused) / f64::from(self.connections)
    }

    fn broken_percent(&self) -> f64 {
        100.0 * f64::from(self.broken) / f64::from(self.pages)
    }
}

/// A household behind a CGN with a limit.
struct Home {
    world: World,
    memory: Memory,
    now: u32,
    events: BinaryHeap<Reverse<(u32, Event)>>,
    dice: Dice,
    next_port: u16,
    externals: HashMap<u16, (Ipv4Addr, u16)>,
    /// By page: whether something failed.
    broken: Vec<bool>,
    outcome: Outcome,
}

impl Home {
    fn new(limit: u16) -> Self {
        let world = world(limit);
        let mut memory = Memory::private(world.geometry.sizes).expect("memory");
        memory.constants = world.constants;
        world.install(&memory);
        Self {
            world,
            memory,
            now: 1000,
            events: BinaryHeap::new(),
            dice: Dice::new(0x9313),
            next_port: 1024,
            externals: HashMap::new(),
            broken: Vec::new(),
            outcome: Outcome::default(),
        }
    }

    /// An hour of these devices.
    fn live(mut self, devices: usize, connections: usize) -> Outcome {
        for _ in 0..devices {
            let first = self.within((0, PAGE_SECS));
            self.at(first, Event::Page);
        }
        self.at(0, Event::Sweep);
        while let Some(Reverse((second, event))) = self.events.pop() {
            if second >= HOUR_SECS {
                break;
            }
            self.now = 1000 + ticks(u64::from(second));
            match event {
                Event::Page => self.open_page(second, connections),
                Event::Open { port, page, tries } => self.open(second, port, page, tries),
                Event::Close { port } => self.close(port),
                Event::Sweep => self.sweep(second),
            }
        }
        self.outcome.pages = self.broken.len() as u32;
        self.outcome.broken = self.broken.iter().filter(|broken| **broken).count() as u32;
        self.outcome
    }

    fn at(&mut self, second: u32, event: Event) {
        self.events.push(Reverse((second, event)));
    }

    fn within(&mut self, (least, most): (usize, usize)) -> u32 {
        (least + self.dice.roll(most - least + 1)) as u32
    }

    fn open_page(&mut self, second: u32, most: usize) {
        let page = self.broken.len();
        self.broken.push(false);
        // The lesser of two throws: many small pages, few large ones.
        let servers = self.within(SERVERS).min(self.within(SERVERS));
        for _ in 0..servers {
            for _ in 0..self.within((1, most)) {
                let port = self.next_port;
                // As a kernel whose range of ports begins at 1024 and is large.
                self.next_port = self.next_port.checked_add(1).unwrap_or(1024);
                self.outcome.connections += 1;
                self.at(
                    second,
                    Event::Open {
                        port,
                        page,
                        tries: 0,
                    },
                );
            }
        }
        let next = second + 1 + self.within((0, 2 * PAGE_SECS - 2));
        self.at(next, Event::Page);
    }

    fn open(&mut self, second: u32, port: u16, page: usize, tries: usize) {
        let syn = Draft::tcp(flag::SYN, (HOME, port), SERVER);
        let run = self.run(Entry::Inside, &syn);
        match run.ending {
            Ending::Sent { .. } => {
                let external = source(&run.bytes);
                self.externals.insert(port, external);
                self.answer(flag::SYN | flag::ACK, port);
                self.say(flag::ACK, port);
                let closed = second + self.within(OPEN_SECS);
                self.at(closed, Event::Close { port });
            }
            Ending::Dropped(Reason::MappingLimit) => match RETRY_SECS.get(tries) {
                Some(after) => {
                    let tries = tries + 1;
                    self.at(second + after, Event::Open { port, page, tries });
                }
                None => {
                    self.outcome.refused += 1;
                    self.broken[page] = true;
                }
            },
            other => panic!("a SYN ended as {other:?}"),
        }
    }

    fn close(&mut self, port: u16) {
        self.say(flag::FIN | flag::ACK, port);
        self.answer(flag::FIN | flag::ACK, port);
        self.say(flag::ACK, port);
        self.externals.remove(&port);
    }

    /// A segment from inside that passes.
    fn say(&mut self, flags: u8, port: u16) {
        let segment = Draft::tcp(flags, (HOME, port), SERVER);
        let run = self.run(Entry::Inside, &segment);
        assert!(
            matches!(run.ending, Ending::Sent { .. }),
            "{:?}",
            run.ending
        );
    }

    /// One from outside that does.
    fn answer(&mut self, flags: u8, port: u16) {
        let segment = Draft::tcp(flags, SERVER, self.externals[&port]);
        let run = self.run(Entry::Outside, &segment);
        assert!(
            matches!(run.ending, Ending::Sent { .. }),
            "{:?}",
            run.ending
        );
    }

    fn run(&self, entry: Entry, draft: &Draft) -> cgn_tests::harness::Run {
        let (memory, world) = (&self.memory, &self.world);
        run_over(memory, world, self.now, HEAD_ROOM, entry, &draft.bytes())
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

const SERVER: (Ipv4Addr, u16) = (remote::PLAIN, 443);

/// Source of a frame of Ethernet, IPv4 without options and TCP.
fn source(frame: &[u8]) -> (Ipv4Addr, u16) {
    let address = frame[26..30].first_chunk::<4>().expect("four bytes");
    (
        Ipv4Addr::from(*address),
        u16::from_be_bytes([frame[34], frame[35]]),
    )
}

/// One household, with more ports than the limit.
fn world(limit: u16) -> World {
    let pool = PoolShape {
        scattered: false,
        name: "large".to_owned(),
        addresses: vec![(LARGE_POOL, LARGE_POOL)],
        block_shift: BLOCK_SHIFT,
        blocks_per_subscriber: BLOCKS,
        watermark_ports: (1 << BLOCK_SHIFT) * 3 / 4,
        max_blocks: BLOCKS,
    };
    let subscribers = SubscriberShape {
        first: Ipv4Addr::new(100, 64, 0, 0),
        last: Ipv4Addr::new(100, 64, 0, 15),
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
        inside: HOME,
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
            let outcome = Home::new(limit).live(devices, connections);
            let (refused, broken) = (outcome.refused_percent(), outcome.broken_percent());
            let _ = write!(text, " {refused:.1} / {broken:.0} |");
        }
    }
    text
}

#[test]
fn what_each_limit_of_ports_refuses_is_documented() {
    const DOCUMENT: &str = include_str!("../../../docs/operate/sizing.md");
    let table = table();
    println!("{table}");
    assert!(
        DOCUMENT.contains(&table),
        "docs/operate/sizing.md has another table than this:\n{table}"
    );
}
