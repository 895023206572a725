//! Where one asks to watch, and the thread that does it: it loads the watching programs for the first
//! watcher, reads what they tell for all of them, and puts the plain programs back after the last.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cgn_common::watch::{Filter, WATCHERS};
use tokio::sync::oneshot;

use super::seen::Seen;
use super::slow::SlowEar;
use super::{Watcher, now_ns};
use crate::dataplane::swap::{Ear, Place, SwapError, Watching, numbers};

/// Pause after what was there was read. Nothing wakes this thread: that would cost the packet more than
/// all of the telling. In the ring there is room for what 10 Gbit/s bring in three times as long.
const PAUSE: Duration = Duration::from_millis(1);
/// Most records before the watchers may finish what they have.
const BATCH: usize = 256;
/// What was missed is asked so often, and filters are extended.
const SUMMARY: Duration = Duration::from_secs(1);
/// The fast path tells of nothing so long after the last word from here.
const LEASE: Duration = Duration::from_secs(3);

/// Why one cannot watch now.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("the daemon is still starting; ask again in a moment")]
    Starting,
    #[error("{WATCHERS} watch already, mirrors included; more cannot at a time")]
    Full,
    #[error("the daemon is stopping")]
    Stopping,
    #[error("the watching programs cannot be put in place: {0}")]
    Swap(String),
    #[error("no thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Where one asks to watch.
#[derive(Default)]
pub struct Desk {
    /// Set once the plain programs are in place.
    pub place: OnceLock<Arc<Place>>,
    /// Where the slow path tells of what it sends.
    pub slow: Arc<SlowEar>,
    lobby: Arc<Mutex<Lobby>>,
    is_closed: Arc<AtomicBool>,
}

/// Who waits to be let in, and the thread that lets in.
#[derive(Default)]
struct Lobby {
    waiting: Vec<Waiting>,
    /// It takes those who wait; set and cleared under the lock, cleared when the plain programs are back.
    is_open: bool,
    thread: Option<JoinHandle<()>>,
}

struct Waiting {
    watcher: Box<dyn Watcher>,
    answer: oneshot::Sender<Result<(), WatchError>>,
}

impl Desk {
    /// Lets `watcher` hear, until he has seen enough. For the first one, the programs are swapped, which
    /// takes the verifier's time.
    ///
    /// # Errors
    /// See [`WatchError`].
    pub async fn watch(&self, watcher: Box<dyn Watcher>) -> Result<(), WatchError> {
        let place = Arc::clone(self.place.get().ok_or(WatchError::Starting)?);
        let (answer, answered) = oneshot::channel();
        {
            let mut lobby = locked(&self.lobby);
            if self.is_closed.load(Ordering::Relaxed) {
                return Err(WatchError::Stopping);
            }
            let is_gone = lobby.thread.as_ref().is_none_or(JoinHandle::is_finished);
            if is_gone || !lobby.is_open {
                let room = Room {
                    lobby: Arc::clone(&self.lobby),
                    slow: Arc::clone(&self.slow),
                    is_closed: Arc::clone(&self.is_closed),
                    seats: Default::default(),
                };
                let builder = std::thread::Builder::new().name("cgn-watch".into());
                lobby.thread = Some(builder.spawn(move || room.open(place))?);
                lobby.is_open = true;
            }
            lobby.waiting.push(Waiting { watcher, answer });
        }
        answered.await.unwrap_or(Err(WatchError::Stopping))
    }

    /// Ends all watches, and waits until the plain programs are back.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        let thread = locked(&self.lobby).thread.take();
        if let Some(thread) = thread {
            // It has said in the log what there is to say.
            let _ = thread.join();
        }
    }
}

fn locked(lobby: &Mutex<Lobby>) -> MutexGuard<'_, Lobby> {
    lobby.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The thread's own.
struct Room {
    lobby: Arc<Mutex<Lobby>>,
    slow: Arc<SlowEar>,
    is_closed: Arc<AtomicBool>,
    /// Watchers by their numbers in the filters.
    seats: [Option<Seat>; WATCHERS],
}

struct Seat {
    watcher: Box<dyn Watcher>,
    /// Packets that came before this time of the monotonic clock are not for him, but for who had the
    /// number before.
    since_ns: u64,
}

impl Room {
    /// Until nobody is there and nobody waits.
    fn open(mut self, place: Arc<Place>) {
        let mut watching = match Watching::start(place) {
            Ok(watching) => watching,
            Err(error) => {
                let mut lobby = locked(&self.lobby);
                lobby.is_open = false;
                for waiting in lobby.waiting.drain(..) {
                    // If nobody waits for it, nobody needs to know.
                    let _ = waiting.answer.send(Err(WatchError::Swap(chain(&error))));
                }
                return;
            }
        };
        let mut is_told = false;
        loop {
            let served = self.let_in(&mut watching.ear);
            if !std::mem::replace(&mut is_told, true) {
                tracing::info!("somebody watches packets: the watching programs are in place");
            }
            if let Err(error) = served.and_then(|()| self.serve(&mut watching.ear)) {
                tracing::warn!(error = chain(&error), "all watches end");
            }
            let mut lobby = locked(&self.lobby);
            if lobby.waiting.is_empty() || self.is_closed.load(Ordering::Relaxed) {
                lobby.waiting.clear();
                // Under the lock: who comes now waits until they can be swapped again.
                drop(watching);
                lobby.is_open = false;
                break;
            }
        }
        tracing::info!("nobody watches packets any more: the plain programs are in place again");
    }

    /// Until the last seat is empty.
    fn serve(&mut self, ear: &mut Ear) -> Result<(), SwapError> {
        let mut summary = Instant::now();
        let served = loop {
            if let Err(error) = self.let_in(ear) {
                break Err(error);
            }
            if self.taken() == 0 || self.is_closed.load(Ordering::Relaxed) {
                break Ok(());
            }
            let is_empty = self.turn(ear);
            if summary.elapsed() >= SUMMARY {
                summary = Instant::now();
                if let Err(error) = self.sum_up(ear) {
                    break Err(error);
                }
            }
            if is_empty {
                std::thread::sleep(PAUSE);
            }
        };
        for number in 0..WATCHERS {
            self.leave(ear, number);
        }
        served
    }

    /// Seats those who wait.
    fn let_in(&mut self, ear: &mut Ear) -> Result<(), SwapError> {
        let waiting: Vec<Waiting> = locked(&self.lobby).waiting.drain(..).collect();
        for Waiting { watcher, answer } in waiting {
            let Some(number) = self.seats.iter().position(Option::is_none) else {
                let _ = answer.send(Err(WatchError::Full));
                continue;
            };
            let (filter, since_ns) = (watcher.filter(), now_ns());
            ear.listen(number, leased(filter))?;
            self.slow.listen(number, filter);
            self.seats[number] = Some(Seat { watcher, since_ns });
            if answer.send(Ok(())).is_err() {
                // The client went away meanwhile.
                self.leave(ear, number);
            }
        }
        Ok(())
    }

    /// A batch of what was told, in the order of time as far as both paths know it. True: that was all.
    fn turn(&mut self, ear: &mut Ear) -> bool {
        let slow = std::iter::from_fn(|| self.slow.next());
        let mut batch: Vec<(u32, Seen)> = slow.take(BATCH).collect();
        let has_slow = !batch.is_empty();
        let records = std::iter::from_fn(|| ear.next_record()).take(BATCH);
        batch.extend(records.filter_map(|(to, record)| Some((to, Seen::parse(&record)?))));
        if has_slow {
            batch.sort_by_key(|(_, seen)| seen.at_ns);
        }
        for (watchers, seen) in &batch {
            for number in numbers(*watchers) {
                if let Some(seat) = &mut self.seats[number]
                    && seat.since_ns <= seen.at_ns
                {
                    seat.watcher.hear(seen);
                }
            }
        }
        for number in 0..WATCHERS {
            let is_done = |seat: &mut Seat| !seat.watcher.go_on();
            if self.seats[number].as_mut().is_some_and(is_done) {
                self.leave(ear, number);
            }
        }
        batch.len() < BATCH
    }

    /// What was missed; and that we still listen.
    fn sum_up(&mut self, ear: &mut Ear) -> Result<(), SwapError> {
        let until_ns = lease_ns();
        ear.extend(|_| until_ns, self.taken())?;
        let both = ear.missed()?.into_iter().zip(self.slow.missed());
        for (seat, (fast, slow)) in self.seats.iter_mut().zip(both) {
            if let Some(seat) = seat {
                seat.watcher.miss(fast + slow);
            }
        }
        Ok(())
    }

    /// Empties a seat, after a last word of what was missed.
    fn leave(&mut self, ear: &mut Ear, number: usize) {
        let Some(mut seat) = self.seats[number].take() else {
            return;
        };
        self.slow.deafen(number);
        // It ends anyway when the lease is over.
        if let Err(error) = ear.deafen(number) {
            tracing::debug!(error = chain(&error), "a filter stays open for a moment");
        }
        seat.watcher.go_on();
    }

    /// Numbers of the seats that are taken, a bit each.
    fn taken(&self) -> u32 {
        let taken = (0..WATCHERS).filter(|number| self.seats[*number].is_some());
        taken.fold(0, |all, number| all | 1 << number)
    }
}

fn lease_ns() -> u64 {
    now_ns() + LEASE.as_nanos() as u64
}

/// The filter, with an end if nothing is heard from here.
fn leased(filter: Filter) -> Filter {
    Filter {
        until_ns: lease_ns(),
        ..filter
    }
}
