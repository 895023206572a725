//! `cgn trace` and `cgn capture`: packets as the fast path sees them, for one who watches. The programs are
//! swapped for the watching build meanwhile (ADR 23); without a watch nothing of it is loaded.
//!
//! | file | what | I/O |
//! |---|---|---|
//! | [`seen`] | a record of the fast path, in words | no |
//! | [`capture`], [`pcapng`] | records as frames of a file | no |
//! | [`redact`], [`crypto_pan`] | what is taken out of a frame before | no |
//! | this one | the thread that swaps, reads and swaps back | yes |

pub mod capture;
pub mod crypto_pan;
pub mod pcapng;
pub mod redact;
pub mod seen;

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cgn_common::watch::Filter;
use tokio::sync::{mpsc, oneshot};

use crate::dataplane::swap::{Ear, Place, SwapError, Watching};
use crate::utc::Utc;
use seen::Seen;

/// Records that wait for a slow client; then the ring fills, and what it has no room for is counted.
const QUEUE: usize = 1024;
/// Longest wait for a record: an end is noticed so soon.
const WAIT: Duration = Duration::from_millis(100);
/// What was missed is told so often, and the filter is extended.
const SUMMARY: Duration = Duration::from_secs(1);
/// The fast path tells of nothing so long after the last word from here.
const LEASE: Duration = Duration::from_secs(3);

/// What one who watches hears.
#[derive(Debug)]
pub enum Heard {
    Packet(Seen),
    /// So many packets fitted and were not told of.
    Missed(u64),
}

/// Makes what was heard into what the client is sent; None: nothing of it, and it does not count.
pub type Teller = Box<dyn FnMut(&Heard) -> Option<Vec<u8>> + Send>;

/// How much one wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Packets.
    pub count: u64,
    pub time: Duration,
}

/// Why nobody can watch now.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("the daemon is still starting; ask again in a moment")]
    Starting,
    #[error("somebody watches already; only one can at a time")]
    Busy,
    #[error("the daemon is stopping")]
    Stopping,
    #[error("the watching programs cannot be put in place: {0}")]
    Swap(String),
    #[error("no thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Where one asks to watch. One at a time.
#[derive(Default)]
pub struct Desk {
    /// Set once the plain programs are in place.
    pub place: OnceLock<Arc<Place>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    is_closed: Arc<AtomicBool>,
}

impl Desk {
    /// Swaps the programs, and sends what `teller` makes of what fits until the bounds are reached or
    /// the receiver is gone. Takes the verifier's time.
    ///
    /// # Errors
    /// See [`WatchError`].
    pub async fn watch(
        &self,
        filter: Filter,
        bounds: Bounds,
        teller: Teller,
    ) -> Result<mpsc::Receiver<Vec<u8>>, WatchError> {
        let place = Arc::clone(self.place.get().ok_or(WatchError::Starting)?);
        let (started, has_started) = oneshot::channel();
        let (sender, receiver) = mpsc::channel(QUEUE);
        let told = Telling { teller, sender };
        {
            let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
            if self.is_closed.load(Ordering::Relaxed) {
                return Err(WatchError::Stopping);
            }
            if thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
                return Err(WatchError::Busy);
            }
            let is_closed = Arc::clone(&self.is_closed);
            let run = move || run(place, (filter, bounds), started, told, &is_closed);
            let builder = std::thread::Builder::new().name("cgn-watch".into());
            *thread = Some(builder.spawn(run)?);
        }
        match has_started.await {
            Ok(Ok(())) => Ok(receiver),
            Ok(Err(error)) => Err(WatchError::Swap(chain(&error))),
            Err(_) => Err(WatchError::Stopping),
        }
    }

    /// Ends a watch, and waits until the plain programs are back.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // It has said in the log what there is to say.
            let _ = thread.join();
        }
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn run(
    place: Arc<Place>,
    (filter, bounds): (Filter, Bounds),
    started: oneshot::Sender<Result<(), SwapError>>,
    mut telling: Telling,
    is_closed: &AtomicBool,
) {
    let watching = Watching::start(place).and_then(|mut watching| {
        watching.ear.listen(leased(filter))?;
        Ok(watching)
    });
    let mut watching = match watching {
        Ok(watching) => watching,
        Err(error) => {
            // If nobody waits for it, nobody needs to know.
            let _ = started.send(Err(error));
            return;
        }
    };
    tracing::info!("somebody watches packets: the watching programs are in place");
    if started.send(Ok(())).is_ok()
        && let Err(error) = tell(&mut watching.ear, filter, bounds, &mut telling, is_closed)
    {
        tracing::warn!(error = chain(&error), "the watch ends");
    }
    drop(watching);
    tracing::info!("nobody watches packets any more: the plain programs are in place again");
}

/// The client.
struct Telling {
    teller: Teller,
    sender: mpsc::Sender<Vec<u8>>,
}

/// The client is not there any more.
struct Gone;

impl Telling {
    /// False: there is nothing to say to this client. Waits while he reads too slowly; the ring fills
    /// meanwhile, and what it has no room for is counted.
    fn tell(&mut self, heard: &Heard) -> Result<bool, Gone> {
        match (self.teller)(heard) {
            None => Ok(false),
            Some(bytes) => self
                .sender
                .blocking_send(bytes)
                .map(|()| true)
                .map_err(|_| Gone),
        }
    }
}

fn tell(
    ear: &mut Ear,
    filter: Filter,
    bounds: Bounds,
    telling: &mut Telling,
    is_closed: &AtomicBool,
) -> Result<(), SwapError> {
    let (began, mut summary, mut told) = (Instant::now(), Instant::now(), 0);
    let mut is_over = false;
    while !is_over {
        wait(ear);
        while told < bounds.count {
            let Some(record) = ear.next_record() else {
                break;
            };
            let Some(seen) = Seen::parse(&record) else {
                continue;
            };
            match telling.tell(&Heard::Packet(seen)) {
                Ok(is_told) => told += u64::from(is_told),
                Err(Gone) => return Ok(()),
            }
        }
        is_over = told >= bounds.count
            || began.elapsed() >= bounds.time
            || is_closed.load(Ordering::Relaxed)
            || telling.sender.is_closed();
        if summary.elapsed() >= SUMMARY || is_over {
            summary = Instant::now();
            ear.listen(leased(filter))?;
            let missed = ear.missed()?;
            if missed > 0 && telling.tell(&Heard::Missed(missed)).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The filter, with an end if nothing is heard from here.
fn leased(filter: Filter) -> Filter {
    Filter {
        until_ns: now_ns() + LEASE.as_nanos() as u64,
        ..filter
    }
}

/// Waits a moment for a record.
fn wait(ear: &Ear) {
    let mut fd = libc::pollfd {
        fd: ear.ring().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one pollfd.
    let ready = unsafe { libc::poll(&raw mut fd, 1, WAIT.as_millis() as i32) };
    if ready < 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Wall clock and monotonic clock at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    unix_ns: u64,
    at_ns: u64,
}

impl Clock {
    /// Reads both.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            unix_ns: since.map_or(0, |since| since.as_nanos() as u64),
            at_ns: now_ns(),
        }
    }

    /// When it was read, in nanoseconds of Unix time.
    #[must_use]
    pub const fn unix_ns(self) -> u64 {
        self.unix_ns
    }

    /// Nanoseconds of Unix time when the monotonic clock stood at `at_ns`.
    #[must_use]
    pub const fn unix_ns_of(self, at_ns: u64) -> u64 {
        let later_ns = at_ns.wrapping_sub(self.at_ns) as i64;
        self.unix_ns.saturating_add_signed(later_ns)
    }

    /// The same in UTC, to the millisecond.
    #[must_use]
    pub fn time_of(self, at_ns: u64) -> String {
        Utc(self.unix_ns_of(at_ns) / 1_000_000).to_string()
    }
}

/// `CLOCK_MONOTONIC`, what `bpf_ktime_get_ns` reads.
fn now_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is ours and lives across the call, which cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
