//! The thread that follows the kernel, and what others may ask of it.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc as sync_mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::{mpsc, oneshot, watch};

use super::session::{Inbox, Session};
use super::{FollowError, Options};
use crate::routes::{Fib, Port, Probe, Tracker};

/// Requests for neighbours that may wait; more at once are dropped.
const ASKS_WAITING: usize = 4096;

/// The sockets are opened anew so long after they failed.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// A packet of which only the kernel knows where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The interface that received it.
    pub ifindex: u32,
    /// Where it is from.
    pub source: Ipv4Addr,
    /// Where it is to go.
    pub destination: Ipv4Addr,
}

/// What may be asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ask {
    Neighbour(Probe),
    Route(Question),
}

/// What happened so far, for metrics and for the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Times that the kernel dropped news for want of buffer, and all was dumped anew.
    pub overruns: u64,
    /// Dumps of all routes, the first one included.
    pub route_dumps: u64,
    /// Messages that could not be decoded.
    pub unreadable: u64,
    /// Requests for neighbours made to the kernel.
    pub probes: u64,
    /// Requests for neighbours that the kernel refused.
    pub probes_refused: u64,
    /// Requests for neighbours dropped because too many were waiting.
    pub asks_dropped: u64,
    /// Times that the sockets failed and were opened anew.
    pub reopened: u64,
    /// Routes known.
    pub routes: u64,
    /// The last thing that went wrong, with its causes.
    pub last_error: Option<String>,
}

/// What the thread and its users share.
#[derive(Default)]
pub(super) struct Shared {
    status: Mutex<Status>,
    /// The newest snapshot that the data plane has taken over.
    applied: AtomicU64,
}

impl Shared {
    pub(super) fn status(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn failed(&self, error: &dyn std::error::Error) {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        self.status(|status| status.last_error = Some(text));
    }

    pub(super) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }
}

/// Follows the kernel's tables in a thread of its own, until it is dropped.
pub struct Follower {
    fib: watch::Receiver<Arc<Fib>>,
    asks: mpsc::Sender<Ask>,
    ports: mpsc::UnboundedSender<Vec<Port>>,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Starts to follow the network namespace that the calling thread is in, and waits for the
    /// first snapshot: milliseconds, or some seconds with a full table. Needs no runtime.
    ///
    /// Fails if the thread or the sockets cannot be had, or if the kernel refuses a dump. What
    /// fails later is tried again and shown by [`Follower::status`].
    pub fn spawn(ports: Vec<Port>, options: Options) -> Result<Self, FollowError> {
        let (fib_sender, fib) = watch::channel(Arc::new(Fib::unknown(ports.clone())));
        let (asks, asks_inbox) = mpsc::channel(ASKS_WAITING);
        let (ports_sender, ports_inbox) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = sync_mpsc::channel();
        let shared = Arc::new(Shared::default());
        let mut tracker = Tracker::new(ports).with_networks(options.networks.clone());
        tracker.begin_ids_at(options.first_hop_id);
        let worker = Worker {
            tracker,
            options,
            fib: fib_sender,
            inbox: Inbox {
                asks: asks_inbox,
                ports: ports_inbox,
            },
            shared: Arc::clone(&shared),
            ready: Some(ready),
        };
        // The thread inherits the caller's network namespace; the sockets are opened in it.
        let thread = std::thread::Builder::new()
            .name("cgn-netlink".into())
            .spawn(move || worker.run_until(stopped))
            .map_err(FollowError::Thread)?;
        let follower = Follower {
            fib,
            asks,
            ports: ports_sender,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        };
        is_ready.recv().unwrap_or(Err(FollowError::Ended))?;
        Ok(follower)
    }

    /// The newest snapshot.
    pub fn fib(&self) -> Arc<Fib> {
        Arc::clone(&self.fib.borrow())
    }

    /// A receiver that is notified of each new snapshot (only the newest is kept). It is closed
    /// when the follower is dropped.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Fib>> {
        self.fib.clone()
    }

    /// Asks the kernel to find a neighbour: see [`Resolver::resolve_neighbour`].
    pub fn resolve_neighbour(&self, ifindex: u32, ip: Ipv4Addr) -> bool {
        self.resolver().resolve_neighbour(ifindex, ip)
    }

    /// A handle for other threads that only asks for neighbours.
    pub fn resolver(&self) -> Resolver {
        Resolver {
            asks: self.asks.clone(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Says that the data plane's tables are now those of the snapshot with this generation. Ids
    /// that it does not have may then be given to other next hops. (Never called: no id is ever
    /// used again, and after 65,535 next hops new ones are left to the kernel.)
    pub fn applied(&self, generation: u64) {
        self.shared.applied.fetch_max(generation, Ordering::AcqRel);
    }

    /// Other ports, after a change of the configuration. A new snapshot follows.
    pub fn set_ports(&self, ports: Vec<Port>) {
        // The receiver is gone only if the thread has panicked; the closed watch channel shows that.
        let _ = self.ports.send(ports);
    }

    /// What happened so far.
    pub fn status(&self) -> Status {
        let mut copy = Status::default();
        self.shared.status(|status| copy = status.clone());
        copy
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, has been printed already.
            let _ = thread.join();
        }
    }
}

/// Asks the kernel for neighbours.
#[derive(Clone)]
pub struct Resolver {
    asks: mpsc::Sender<Ask>,
    shared: Arc<Shared>,
}

impl Resolver {
    /// Asks the kernel to find the Ethernet address of a neighbour; the answer comes with a
    /// later snapshot. Does not wait. May be called for every packet: each neighbour is asked for
    /// at most once a second, all together at most [`Options::probes_per_sec`] times.
    ///
    /// False if the request was dropped because too many are waiting.
    pub fn resolve_neighbour(&self, ifindex: u32, ip: Ipv4Addr) -> bool {
        self.ask(Ask::Neighbour(Probe { ifindex, ip }))
    }

    /// Asks the kernel which neighbour it would send such a packet to, and to find that one. As
    /// limited as [`Resolver::resolve_neighbour`].
    pub fn resolve_route(&self, question: Question) -> bool {
        self.ask(Ask::Route(question))
    }

    fn ask(&self, ask: Ask) -> bool {
        let queued = self.asks.try_send(ask).is_ok();
        if !queued {
            self.shared.status(|status| status.asks_dropped += 1);
        }
        queued
    }
}

/// What runs in the thread.
struct Worker {
    tracker: Tracker,
    options: Options,
    fib: watch::Sender<Arc<Fib>>,
    inbox: Inbox,
    shared: Arc<Shared>,
    /// Taken by the first session that has published.
    ready: Option<sync_mpsc::Sender<Result<(), FollowError>>>,
}

impl Worker {
    /// The body of the thread.
    fn run_until(mut self, stopped: oneshot::Receiver<()>) {
        match runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(async {
                tokio::select! {
                    () = self.run() => {}
                    _ = stopped => {}
                }
            }),
            Err(error) => self.report(Err(FollowError::Thread(error))),
        }
    }

    /// Tells the caller of [`Follower::spawn`], if it still waits.
    fn report(&mut self, outcome: Result<(), FollowError>) {
        if let Some(ready) = self.ready.take() {
            // It always waits: it holds the other end until it has heard.
            let _ = ready.send(outcome);
        }
    }

    /// Follows until the sockets fail, and then again with new ones. Returns only if the first try
    /// fails, and then has said so.
    async fn run(&mut self) {
        loop {
            let Err(error) = self.session().await;
            if self.ready.is_some() {
                return self.report(Err(error));
            }
            self.shared.failed(&error);
            self.shared.status(|status| status.reopened += 1);
            tokio::time::sleep(REOPEN_AFTER).await;
        }
    }

    async fn session(&mut self) -> Result<std::convert::Infallible, FollowError> {
        let mut session = Session::open(
            &mut self.tracker,
            &self.options,
            &self.fib,
            &mut self.inbox,
            &self.shared,
        )?;
        session.start().await?;
        if let Some(ready) = self.ready.take() {
            // It always waits, as in `report`.
            let _ = ready.send(Ok(()));
        }
        session.follow().await
    }
}
