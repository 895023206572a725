//! Subscribers that come and go. Three in ten are always on and change their block about every ten
//! days (a restart, a night without traffic); the others come twice a day for some hours. Every
//! fourth day or so each needs a second block for about an hour. Blocks of 512 ports are chosen
//! at random, a subscriber's second one on the same address. Times are to the millisecond.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;

use cgn_user::maplog::sealed::Row;
use cgn_user::maplog::{Block, Entry, Event, PortRange, ProtocolScope, ReleaseReason};

use super::{HOUR_MS, block_of};

const BLOCK_PORTS: u16 = 512;
const BLOCKS_PER_ADDRESS: u32 = 126;
/// 100.64.0.0 and 185.0.0.0.
const INSIDE: u32 = 0x6440_0000;
const EXTERNAL: u32 = 0xb900_0000;
/// Chances and mean durations.
const ALWAYS_ON_PERCENT: u64 = 30;
const ALWAYS_ON_HOURS: f64 = 240.0;
const ALWAYS_OFF_HOURS: f64 = 0.2;
const SOME_ON_HOURS: f64 = 7.0;
const SOME_OFF_HOURS: f64 = 7.5;
const SECOND_EVERY_HOURS: f64 = 90.0;
const SECOND_HOURS: f64 = 1.0;

/// A question whose answer is known.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    pub block: Block,
    pub port: u16,
    pub at_ms: u64,
    pub since_ms: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Held {
    address: u32,
    number: u8,
    since_ms: u64,
}

/// What happens to a subscriber's first or second block next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    /// Milliseconds from the start.
    at_ms: u64,
    subscriber: u32,
    is_second: bool,
}

/// All subscribers, and who has what.
pub struct Population {
    random: u64,
    held: Vec<[Option<Held>; 2]>,
    /// Blocks in use, by address.
    used: Vec<u128>,
    /// What is due in each hour to come.
    due: Vec<Vec<Due>>,
    started_ms: u64,
}

impl Population {
    /// With addresses for at least `blocks` blocks.
    pub fn new(subscribers: u32, blocks: usize) -> Self {
        let mut population = Self {
            random: 0x9e37_79b9_7f4a_7c15,
            held: vec![[None; 2]; subscribers as usize],
            used: vec![0; blocks / BLOCKS_PER_ADDRESS as usize + 1],
            due: Vec::new(),
            started_ms: 0,
        };
        for subscriber in 0..subscribers {
            let first = population.hours(SOME_OFF_HOURS);
            let second = population.hours(SECOND_EVERY_HOURS);
            population.push(first, subscriber, false);
            population.push(second, subscriber, true);
        }
        population
    }

    /// A block for each of the first `count` subscribers, in one millisecond each hundred.
    pub fn allocations(&mut self, count: usize, start_ms: u64) -> Vec<Entry> {
        let subscribers = self.held.len() as u32;
        (0..count as u32)
            .filter_map(|number| {
                let held = self.take_block(None)?;
                let event = Event::Allocate(block(number % subscribers, &held));
                let unix_ms = start_ms + u64::from(number) / 100;
                Some(Entry { unix_ms, event })
            })
            .collect()
    }

    /// What happens in an hour, in the order of time, and questions about moments in it.
    pub fn hour(&mut self, start_ms: u64, hour: u64, probes: usize) -> (Vec<Entry>, Vec<Probe>) {
        self.started_ms = start_ms;
        let mut asked = Vec::new();
        let mut entries = Vec::new();
        let mut moments: Vec<u64> = (0..probes)
            .map(|_| hour * HOUR_MS + self.next() % HOUR_MS)
            .collect();
        moments.sort_unstable();
        let mut moments = moments.into_iter().peekable();
        let hour = hour as usize;
        let mut due = BinaryHeap::new();
        loop {
            // What became due in this same hour, too.
            if let Some(more) = self.due.get_mut(hour) {
                // Its memory goes, too: a billion events are 24 GB.
                due.extend(std::mem::take(more).into_iter().map(Reverse));
            }
            let Some(Reverse(now)) = due.pop() else { break };
            while moments.peek().is_some_and(|moment| *moment < now.at_ms) {
                asked.extend(moments.next().and_then(|moment| self.probe(moment)));
            }
            entries.extend(self.change(&now));
        }
        for moment in moments {
            asked.extend(self.probe(moment));
        }
        (entries, asked)
    }

    /// Every block that is held now, as the first file of a day lists them.
    pub fn held(&self) -> Vec<Row> {
        let subscribers = self.held.iter().enumerate();
        let blocks = subscribers.flat_map(|(subscriber, held)| {
            let held = held.iter().flatten();
            held.map(move |held| Row::held(block(subscriber as u32, held), held.since_ms))
        });
        blocks.collect()
    }

    fn change(&mut self, due: &Due) -> Option<Entry> {
        let subscriber = due.subscriber as usize;
        let is_always_on = u64::from(due.subscriber) % 100 < ALWAYS_ON_PERCENT;
        let which = usize::from(due.is_second);
        let (on, off) = match (due.is_second, is_always_on) {
            (true, _) => (SECOND_HOURS, SECOND_EVERY_HOURS),
            (false, true) => (ALWAYS_ON_HOURS, ALWAYS_OFF_HOURS),
            (false, false) => (SOME_ON_HOURS, SOME_OFF_HOURS),
        };
        let unix_ms = self.started_ms + due.at_ms;
        let held = self.held[subscriber];
        // A second block needs a first, and the first is not given back before the second.
        let is_out_of_turn =
            held[0].is_none() && due.is_second || held[1].is_some() && !due.is_second;
        let event = if is_out_of_turn {
            None
        } else if let Some(had) = held[which] {
            self.held[subscriber][which] = None;
            self.used[had.address as usize] &= !(1 << had.number);
            Some(Event::Release {
                block: block(due.subscriber, &had),
                reason: ReleaseReason::Idle,
            })
        } else {
            let found = self.take_block(held[0].map(|first| first.address));
            found.map(|found| {
                let held = Held {
                    since_ms: unix_ms,
                    ..found
                };
                self.held[subscriber][which] = Some(held);
                Event::Allocate(block(due.subscriber, &held))
            })
        };
        let is_on = self.held[subscriber][which].is_some();
        let wait = match (event.is_some(), is_on) {
            (false, _) => self.hours(0.5),
            (true, true) => self.hours(on),
            (true, false) => self.hours(off),
        };
        self.push(due.at_ms + wait, due.subscriber, due.is_second);
        event.map(|event| Entry { unix_ms, event })
    }

    fn probe(&mut self, moment: u64) -> Option<Probe> {
        for _ in 0..64 {
            let subscriber = self.next() as usize % self.held.len();
            if let Some(held) = self.held[subscriber][0] {
                let event = Event::Allocate(block(subscriber as u32, &held));
                let unix_ms = held.since_ms;
                let block = block_of(&Entry { unix_ms, event })?;
                return Some(Probe {
                    block,
                    port: block.ports.first() + (self.next() % u64::from(BLOCK_PORTS)) as u16,
                    at_ms: self.started_ms + moment,
                    since_ms: unix_ms,
                });
            }
        }
        None
    }

    /// A free block of `address`, or of any.
    fn take_block(&mut self, address: Option<u32>) -> Option<Held> {
        for _ in 0..256 {
            let any = (self.next() % self.used.len() as u64) as u32;
            let address = address.unwrap_or(any);
            let number = (self.next() % u64::from(BLOCKS_PER_ADDRESS)) as u8;
            let used = &mut self.used[address as usize];
            if *used & (1 << number) == 0 {
                *used |= 1 << number;
                let since_ms = 0;
                return Some(Held {
                    address,
                    number,
                    since_ms,
                });
            }
        }
        None
    }

    fn push(&mut self, at_ms: u64, subscriber: u32, is_second: bool) {
        let hour = (at_ms / HOUR_MS) as usize;
        if self.due.len() <= hour {
            self.due.resize_with(hour + 1, Vec::new);
        }
        self.due[hour].push(Due {
            at_ms,
            subscriber,
            is_second,
        });
    }

    /// An exponential time of this mean, in milliseconds.
    fn hours(&mut self, mean: f64) -> u64 {
        let uniform = ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        (-uniform.ln() * mean * HOUR_MS as f64) as u64 + 1
    }

    /// SplitMix64: the same year at every run.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn block(subscriber: u32, held: &Held) -> Block {
    let first = 1024 + u16::from(held.number) * BLOCK_PORTS;
    Block {
        realm: 0,
        inside: Ipv4Addr::from_bits(INSIDE + subscriber),
        external: Ipv4Addr::from_bits(EXTERNAL + held.address),
        ports: PortRange::new(first, BLOCK_PORTS).expect("126 blocks end at port 65535"),
        pool: 0,
        scope: ProtocolScope::All,
        key: 0,
    }
}
