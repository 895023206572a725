//! What the slow path sends, for those who watch: packets that it translated, fragments and ICMP errors
//! that it made. The fast path told of their coming, with the reason why it punted them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cgn_common::diagnostics::Tally;
use cgn_common::steps::Steps;
use cgn_common::watch::{Ends, Filter, WATCHERS};

use super::now_ns;
use super::seen::{Path, Seen};
use crate::slowpath::unsolicited::read;

/// Frames that wait for the watching thread; what more comes is counted, and not told of.
const QUEUE: usize = 1024;

/// Where the slow path tells of what it sends. It never waits.
#[derive(Debug)]
pub struct SlowEar {
    /// Who listens, a bit each: asked for each frame that is sent.
    open: AtomicU32,
    listening: Mutex<Listening>,
    sender: SyncSender<(u32, Seen)>,
    receiver: Mutex<Receiver<(u32, Seen)>>,
}

/// As in the fast path.
#[derive(Debug, Default)]
struct Listening {
    /// State of the generator that chooses packets of a sample.
    chance: u32,
    filters: [Filter; WATCHERS],
    /// Frames until the next one of each sample.
    gaps: [u64; WATCHERS],
    tallies: [Tally; WATCHERS],
    /// Frames for which the queue had no room.
    lost: [u64; WATCHERS],
    /// Missed frames of which the watcher knows.
    known: [u64; WATCHERS],
}

impl Default for SlowEar {
    fn default() -> Self {
        let (sender, receiver) = mpsc::sync_channel(QUEUE);
        Self {
            open: AtomicU32::new(0),
            listening: Mutex::default(),
            sender,
            receiver: Mutex::new(receiver),
        }
    }
}

impl SlowEar {
    /// Tells watcher `number` of what fits `filter`, until [`SlowEar::deafen`].
    pub fn listen(&self, number: usize, filter: Filter) {
        let mut listening = self.listening();
        listening.filters[number] = Filter {
            until_ns: u64::MAX,
            ..filter
        };
        let chance = listening.chance();
        listening.gaps[number] = filter.gap(chance);
        listening.tallies[number] = Tally::default();
        (listening.lost[number], listening.known[number]) = (0, 0);
        self.open.fetch_or(1 << number, Ordering::Relaxed);
    }

    /// Tells this watcher of nothing any more.
    pub fn deafen(&self, number: usize) {
        self.open.fetch_and(!(1 << number), Ordering::Relaxed);
    }

    /// The ends of a frame that comes, for [`SlowEar::tell`]; `None`: nobody listens.
    #[must_use]
    pub fn ends(&self, frame: &[u8]) -> Option<Ends> {
        match self.open.load(Ordering::Relaxed) {
            0 => None,
            _ => read(frame, |frame| Ends::of(frame)),
        }
    }

    /// A frame is sent out of interface `egress`. `came` are the ends that it had before; `None`: the same,
    /// for it is our own, or not known.
    pub fn tell(&self, came: Option<Ends>, frame: &[u8], egress: u32) {
        let Some(left) = self.ends(frame) else {
            return;
        };
        let came = came.unwrap_or(left);
        let now_ns = now_ns();
        let mut listening = self.listening();
        let open = self.open.load(Ordering::Relaxed);
        let watchers = (0..WATCHERS).filter(|number| {
            open >> number & 1 != 0 && listening.wants(*number, (&came, &left), now_ns)
        });
        let watchers = watchers.fold(0, |all, number| all | 1 << number);
        if watchers == 0 {
            return;
        }
        let seen = Seen {
            path: Path::Slow,
            at_ns: now_ns,
            took_ns: 0,
            steps: Steps::default(),
            reason: None,
            ingress: 0,
            queue: 0,
            egress,
            came_bytes: 0,
            left_bytes: frame.len() as u32,
            came: Vec::new(),
            left: frame.to_vec(),
        };
        if self.sender.try_send((watchers, seen)).is_err() {
            for number in crate::dataplane::swap::numbers(watchers) {
                listening.lost[number] += 1;
            }
        }
    }

    /// The next frame, and whom it is told, a bit each.
    #[must_use]
    pub fn next(&self) -> Option<(u32, Seen)> {
        let receiver = self.receiver.lock();
        let receiver = receiver.unwrap_or_else(PoisonError::into_inner);
        receiver.try_recv().ok()
    }

    /// Frames that fitted and were not told to each watcher since the last call.
    #[must_use]
    pub fn missed(&self) -> [u64; WATCHERS] {
        let mut listening = self.listening();
        std::array::from_fn(|number| {
            let all = listening.tallies[number].suppressed + listening.lost[number];
            all - std::mem::replace(&mut listening.known[number], all)
        })
    }

    fn listening(&self) -> MutexGuard<'_, Listening> {
        // Filters and figures: none is half-written that matters.
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listening {
    /// The next number of a xorshift generator: nobody gains by guessing it.
    fn chance(&mut self) -> u32 {
        let mut x = self.chance.max(1);
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.chance = x;
        x
    }

    fn wants(&mut self, number: usize, (came, left): (&Ends, &Ends), now_ns: u64) -> bool {
        let filter = self.filters[number];
        self.gaps[number] -= 1;
        if self.gaps[number] != 0 {
            return false;
        }
        self.gaps[number] = filter.gap(self.chance());
        filter.is_open(now_ns)
            && filter.fits(came, left, 0)
            && filter.has_flow(came, left)
            && self.tallies[number].admit_most(now_ns, u64::from(filter.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A datagram from 1.1.1.1 to 2.2.2.2, both ports 0x0101.
    fn datagram() -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend([1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1, 1, 0, 8, 0, 0]);
        frame
    }

    #[test]
    fn who_listens_is_told_and_what_is_too_much_is_counted() {
        let ear = SlowEar::default();
        ear.tell(None, &datagram(), 7);
        assert!(ear.next().is_none(), "nobody listens");
        let to_2222 = Filter {
            outside: 0x0202_0202,
            outside_mask: u32::MAX,
            per_second: u32::MAX,
            ..Filter::default()
        };
        ear.listen(3, to_2222);
        ear.listen(
            5,
            Filter {
                outside: 0x0303_0303,
                ..to_2222
            },
        );
        ear.tell(None, &datagram(), 7);
        let (watchers, seen) = ear.next().expect("told");
        assert_eq!((watchers, seen.egress), (1 << 3, 7));
        assert_eq!((seen.path, seen.left), (Path::Slow, datagram()));
        for _ in 0..QUEUE + 10 {
            ear.tell(None, &datagram(), 7);
        }
        assert_eq!(ear.missed()[3], 10);
        assert_eq!((ear.missed()[3], ear.missed()[5]), (0, 0));
        ear.deafen(3);
        ear.deafen(5);
        assert!(ear.ends(&datagram()).is_none());
    }

    #[test]
    fn the_rate_of_a_filter_holds_here_too() {
        let ear = SlowEar::default();
        let two = Filter {
            per_second: 2,
            ..Filter::default()
        };
        ear.listen(0, two);
        for _ in 0..10 {
            ear.tell(None, &datagram(), 7);
        }
        let told = std::iter::from_fn(|| ear.next()).count() as u64;
        assert!(
            (2..=4).contains(&told),
            "{told}: it may have been two seconds"
        );
        assert_eq!(told + ear.missed()[0], 10);
    }
}
