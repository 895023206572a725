//! A trace or a capture: what its client is sent, until he has seen enough.

use std::time::{Duration, Instant};

use cgn_common::watch::Filter;
use tokio::sync::mpsc;

use super::Watcher;
use super::seen::Seen;

/// Answers that wait for a slow client; what comes beyond is counted as missed.
const QUEUE: usize = 4096;
/// What was missed is told so often.
const SUMMARY: Duration = Duration::from_secs(1);

/// What a client hears.
#[derive(Debug)]
pub enum Heard<'a> {
    Packet(&'a Seen),
    /// So many packets fitted and were not told of.
    Missed(u64),
}

/// Makes what was heard into what the client is sent; None: nothing of it, and it does not count.
pub type Teller = Box<dyn FnMut(&Heard<'_>) -> Option<Vec<u8>> + Send>;

/// How much one wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Packets.
    pub count: u64,
    pub time: Duration,
}

/// The watcher.
pub struct Client {
    filter: Filter,
    bounds: Bounds,
    teller: Teller,
    sender: mpsc::Sender<Vec<u8>>,
    began: Instant,
    summary: Instant,
    told: u64,
    missed: u64,
}

impl Client {
    /// A client, and where he reads.
    #[must_use]
    pub fn new(filter: Filter, bounds: Bounds, teller: Teller) -> (Self, mpsc::Receiver<Vec<u8>>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let now = Instant::now();
        let client = Self {
            filter,
            bounds,
            teller,
            sender,
            began: now,
            summary: now,
            told: 0,
            missed: 0,
        };
        (client, receiver)
    }

    /// Says what is missing; a client that reads too slowly hears it later.
    fn sum_up(&mut self) {
        self.summary = Instant::now();
        if self.missed == 0 {
            return;
        }
        let Some(bytes) = (self.teller)(&Heard::Missed(self.missed)) else {
            return;
        };
        if self.sender.try_send(bytes).is_ok() {
            self.missed = 0;
        }
    }
}

impl Watcher for Client {
    fn filter(&self) -> Filter {
        self.filter
    }

    fn hear(&mut self, seen: &Seen) {
        if self.told >= self.bounds.count {
            return;
        }
        let Ok(room) = self.sender.try_reserve() else {
            self.missed += 1;
            return;
        };
        if let Some(bytes) = (self.teller)(&Heard::Packet(seen)) {
            room.send(bytes);
            self.told += 1;
        }
    }

    fn miss(&mut self, packets: u64) {
        self.missed += packets;
    }

    fn go_on(&mut self) -> bool {
        let is_over = self.told >= self.bounds.count || self.began.elapsed() >= self.bounds.time;
        if is_over || self.summary.elapsed() >= SUMMARY {
            self.sum_up();
        }
        !is_over && !self.sender.is_closed()
    }
}
