//! The engine: one thread that owns allocator, mapping log and slow path, so
//! that nothing of them is locked. It waits for punted packets and for
//! requests of further blocks, and sweeps in between.

mod adoption;
pub mod clock;
pub mod detach;
mod floods;
mod fragments;
mod gathering;
pub mod keeper;
mod loss;
pub mod notices;
mod scatter;
pub mod sealing;
pub mod start;
pub mod streaming;
mod sweeper;
#[cfg(test)]
mod tests;
mod unsolicited;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aya::maps::{MapData, RingBuf};
use cgn_common::counters::Carried;
use cgn_common::event::Event as BlockRequest;
use cgn_common::frame::Buffer;
use cgn_common::layout::{Features, FragmentKey, Role};
use cgn_common::verdict::Reason;
use cgn_common::watch::Ends;
use tokio::sync::watch;

use crate::dataplane::diagnostics::Reader;
use crate::dataplane::load::{Dataplane, Entry};
use crate::dataplane::routing::Applied;
use crate::dataplane::tables::{Counted, UserTables};
use crate::histogram::Histogram;
use crate::netlink::{Follower, Question};
use crate::realms::InsideKey;
use crate::routes::Fib;
use crate::slowpath::answers::{Answer, Answers};
use crate::slowpath::fragments::Store;
use crate::slowpath::process::{self, Outcome, carried_by};
use crate::slowpath::rings::{QueueSocket, Received};
use crate::slowpath::unsolicited::Store as SynStore;
use crate::slowpath::waiting::{Packet as Waiter, Waiting};
use crate::state::{Retry, State};
use floods::Floods;
use gathering::Gathering;
use keeper::Keeper;
use sweeper::Sweeper;

/// Most packets that one turn takes from one socket: a full ring.
const BATCH: u32 = 2048;
/// Longest wait for packets, in milliseconds: sweep and routes come around so often.
const WAIT_MS: i32 = 20;
/// Holds, refusals and figures are brought up to date so often.
const HOUSEKEEPING: Duration = Duration::from_millis(500);
/// A wait that was shorter found packets that were there already.
const ASLEEP: Duration = Duration::from_micros(20);

/// An interface with its sockets.
pub struct Port {
    pub name: String,
    pub ifindex: u32,
    pub entry: Entry,
    pub sockets: Vec<QueueSocket>,
}

/// A punted packet in the memory of its socket.
#[derive(Clone, Copy)]
struct Punted {
    port: usize,
    queue: usize,
    received: Received,
    /// It came after this.
    since: Instant,
}

/// What one run of the translator left.
struct Ran {
    outcome: Outcome,
    /// The frame afterwards; of one that is to be translated again as it came, nothing.
    bytes: Vec<u8>,
    /// Requests of further blocks.
    requests: Vec<BlockRequest>,
    /// Source and destination of which only the kernel knows the route.
    unknown: Option<(u32, u32)>,
    /// The fragmented datagram that it asked for.
    asked: Option<FragmentKey>,
    /// MTU that the packet is too large for.
    mtu: u16,
    /// Tells its sender of its end.
    answer: Option<Answer>,
    /// Both ends before, if somebody watches.
    came: Option<Ends>,
}

impl Ran {
    fn is_sent(&self) -> bool {
        matches!(self.outcome, Outcome::Send { .. })
    }
}

/// Whether XDP hands everything to the slow path, unseen.
fn is_forced(state: &State) -> bool {
    let features = state.memory.constants.features;
    features.has(Features::FORCE_SLOW_PATH)
}

/// The tables as the translator of the slow path sees them. The parts of the engine by themselves: another
/// part is changed meanwhile.
fn tables<'a>(
    state: &'a State,
    routing: &'a Applied,
    vlans: &'a HashMap<(u32, [u16; 2]), Role>,
    counted: &'a Counted,
) -> UserTables<'a, Applied> {
    UserTables::new(&state.memory, routing, vlans, counted)
}

/// Runs the translator on a frame. With `last`, a packet that needs a block is dropped for that
/// reason instead.
fn run(
    state: &State,
    tables: UserTables<'_, Applied>,
    answers: &mut Answers,
    (entry, ifindex): (Entry, u32),
    frame: &mut Buffer<'_>,
    last: Option<Reason>,
) -> Ran {
    tables.now.set(state.now_tick());
    tables.ingress.set(ifindex);
    tables.sees_first.set(is_forced(state));
    let came = state.watch.slow.ends(frame.bytes());
    let mut outcome = process::process(frame, &tables, entry);
    if let (Outcome::NeedsBlock { .. }, Some(reason)) = (outcome, last) {
        outcome = process::drop(frame, &tables, reason);
    }
    let answer = match outcome {
        Outcome::Dropped(reason) => answers.answer(frame.bytes(), &tables, entry, reason),
        _ => None,
    };
    let bytes = match outcome {
        Outcome::NeedsBlock { .. } => Vec::new(),
        _ => frame.bytes().to_vec(),
    };
    Ran {
        outcome,
        answer,
        bytes,
        requests: tables.requests.take(),
        unknown: tables.unknown.take(),
        asked: tables.asked.take(),
        mtu: tables.mtu.take(),
        came,
    }
}

/// The engine. Field order is drop order: sockets before the maps they are in.
pub struct Engine {
    state: Arc<State>,
    ports: Vec<Port>,
    events: RingBuf<MapData>,
    keeper: Keeper,
    sweeper: Sweeper,
    gathering: Gathering,
    waiting: Waiting,
    answers: Answers,
    fragments: Store,
    syns: SynStore,
    routing: Applied,
    fib: watch::Receiver<Arc<Fib>>,
    follower: Follower,
    vlans: HashMap<(u32, [u16; 2]), Role>,
    dataplane: Dataplane,
    _diagnostics: Option<Reader>,
    housekeeping: Instant,
    /// When the sockets were looked at last.
    looked: Instant,
    /// The packets at hand came after this.
    came: Instant,
    /// When the last wait ended.
    woke: Instant,
    latency: Histogram,
    /// Since when the packets at hand were here that are done with, and leave with the next flush.
    leaving: Vec<Instant>,
    /// What the translator counted in this turn.
    counted: Counted,
    floods: Floods,
}

impl Engine {
    /// Runs until `stop`. Programs, tables and blocks stay as they are for the next daemon:
    /// known subscribers' traffic goes on meanwhile.
    pub fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.wait();
            self.turn();
            self.state.turns.fetch_add(1, Ordering::Relaxed);
        }
        self.grant_gathered();
        self.flush();
        tracing::info!(
            "stopping: XDP stays on the interfaces and goes on with known subscribers; \
             `cgn detach` would end that"
        );
        self.keeper.stop();
    }

    /// One turn: packets, requests, routes, sweep.
    fn turn(&mut self) {
        self.follow_routes();
        let punted = self.receive();
        self.process(&punted);
        self.keeper.record_identities();
        let now = self.state.now_tick();
        self.give_up_waiting(now);
        self.give_up_fragments(now);
        self.answer_syns(now);
        self.sweeper.slice(&self.state, &mut self.keeper, now);
        if self.housekeeping.elapsed() >= HOUSEKEEPING {
            self.housekeeping = Instant::now();
            self.keeper.log_releases();
            self.keeper.advance();
            self.keeper.follow_withheld();
            self.count_undelivered();
            self.watch_floods();
        }
    }

    /// Tells what begins and ends, with a line each.
    fn watch_floods(&mut self) {
        for what in self.floods.look(&self.state) {
            tracing::warn!(?what, "{}", what.name());
            self.keeper.post(what);
        }
    }

    /// Counts punts that found a full ring: XDP took them for delivered.
    fn count_undelivered(&mut self) {
        let sockets = self.ports.iter_mut().flat_map(|port| &mut port.sockets);
        let count: u64 = sockets.map(QueueSocket::newly_undelivered).sum();
        // Nobody saw these packets.
        let reason = Reason::PuntUndelivered as usize;
        let slow_path = &mut self.state.stats().slow_path;
        slow_path.drops[reason][Carried::Other as usize] += count;
        self.floods.overflowed(count);
    }

    /// Waits for packets or requests.
    fn wait(&mut self) {
        let sockets = self.ports.iter().flat_map(|port| &port.sockets);
        let fds = sockets
            .map(AsRawFd::as_raw_fd)
            .chain([self.events.as_raw_fd()]);
        let mut fds: Vec<libc::pollfd> = fds.map(poll_in).collect();
        let wait_ms = self.gathering.wait_ms().unwrap_or(WAIT_MS);
        let began = Instant::now();
        self.floods.worked(began.duration_since(self.woke));
        // SAFETY: an array of pollfd with its length.
        let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, wait_ms) };
        self.came = match began.elapsed() {
            waited if waited >= ASLEEP => began + waited,
            _ => self.looked,
        };
        self.woke = Instant::now();
        let broken = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
        if ready < 0 || fds.iter().any(|fd| fd.revents & broken != 0) {
            // An interface that went down, for one: do not spin until it is back.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn receive(&mut self) -> Vec<Punted> {
        self.looked = Instant::now();
        let mut punted = Vec::new();
        let mut received = Vec::new();
        let since = self.came;
        for (number, port) in self.ports.iter_mut().enumerate() {
            for (queue, socket) in port.sockets.iter_mut().enumerate() {
                socket.receive(BATCH, &mut received);
                punted.extend(received.drain(..).map(|received| Punted {
                    port: number,
                    queue,
                    received,
                    since,
                }));
            }
        }
        if !punted.is_empty() {
            let mut stats = self.state.stats();
            stats.punts.batches += 1;
            stats.punts.packets += punted.len() as u64;
        }
        punted
    }

    /// Translates what can be translated; those who need a block get one, all in one group, when
    /// it is due; then the rest is translated.
    fn process(&mut self, punted: &[Punted]) {
        let requests = self.requests();
        self.gathering.ask(requests);
        for punted in punted {
            match self.translate(*punted, None) {
                Some(inside) => self.gathering.keep(*punted, inside),
                None => self.done(*punted),
            }
        }
        self.learn_routes();
        let is_due = self.gathering.is_due();
        if is_due {
            self.grant_gathered();
        }
        self.flush();
        if is_due || !punted.is_empty() {
            self.state.stats().punts.latency = self.latency;
        }
    }

    fn count_retries(&self, retry: Retry, count: usize) {
        self.state.stats().punts.retries[retry as usize] += count as u64;
    }

    /// Gives blocks to all that were gathered, in one group of records, and goes on with their
    /// packets.
    fn grant_gathered(&mut self) {
        let (wanted, needy) = self.gathering.take();
        let refusals = self.keeper.grant(wanted);
        self.count_retries(Retry::Block, needy.len());
        for (punted, inside) in needy {
            let refusal = refusals.get(&inside).copied();
            // A race: the block may be full again already.
            let refusal = refusal.unwrap_or(Reason::NoPort);
            let _ = self.translate(punted, Some(refusal));
            self.done(punted);
        }
    }

    /// Adds up what the translator counted. XDP counted the hits of what it punted, unless it punts
    /// everything.
    fn add_up(&self) {
        let mut stats = self.state.stats();
        stats.slow_path.merge(&self.counted.counters.take());
        for (realm, reason) in self.counted.realm_drops.take() {
            stats.dropped_of_realm(realm, reason);
        }
        let hits = self.counted.hits.take();
        if is_forced(&self.state) {
            stats.hits.merge(&hits);
        }
    }

    /// What is sent has been counted.
    fn flush(&mut self) {
        self.add_up();
        for port in &mut self.ports {
            for socket in &mut port.sockets {
                socket.flush();
            }
        }
        let now = Instant::now();
        for since in self.leaving.drain(..) {
            self.latency.observe((now - since).as_secs_f64());
        }
    }

    fn done(&mut self, punted: Punted) {
        self.leaving.push(punted.since);
        self.ports[punted.port].sockets[punted.queue].done(punted.received);
    }

    /// Requests for further blocks: from XDP, those that the policy grants.
    fn requests(&mut self) -> Vec<InsideKey> {
        let mut wanted = Vec::new();
        while let Some(item) = self.events.next() {
            if let Some(request) = BlockRequest::from_bytes(&item) {
                wanted.extend(self.keeper.consider(&request));
            }
        }
        wanted
    }

    /// Runs the translator on a punted packet and does what it says. Returns
    /// the inside key if the packet needs a block; with `last`, such a
    /// packet is dropped for that reason instead.
    fn translate(&mut self, punted: Punted, last: Option<Reason>) -> Option<InsideKey> {
        let port = &mut self.ports[punted.port];
        let received_by = (port.entry, port.ifindex);
        let (memory, start, end) = port.sockets[punted.queue].frame(punted.received);
        let mut frame = Buffer::new(memory, start, end)?;
        let tables = tables(&self.state, &self.routing, &self.vlans, &self.counted);
        let answers = &mut self.answers;
        let ran = run(&self.state, tables, answers, received_by, &mut frame, last);
        if let (Outcome::NeedsRoute, Some((source, destination))) = (ran.outcome, ran.unknown) {
            self.follower.resolver().resolve_route(Question {
                ifindex: received_by.1,
                source: Ipv4Addr::from_bits(source),
                destination: Ipv4Addr::from_bits(destination),
            });
        }
        if ran.outcome == Outcome::NeedsRoute && last.is_some() {
            // It has its block now, and XDP knew its route.
            self.run_again(punted, &ran.bytes);
            return None;
        }
        self.finish(ran, punted.port, punted.queue, last)
    }

    /// Runs the translator on a copy of a frame that `port` received.
    fn run_copy(&mut self, port: usize, frame: &[u8], last: Option<Reason>) -> Ran {
        // Head room for the tags of the way out.
        const HEAD_ROOM: usize = 8;
        let mut memory = vec![0; HEAD_ROOM];
        memory.extend_from_slice(frame);
        let end = memory.len();
        let received_by = (self.ports[port].entry, self.ports[port].ifindex);
        let tables = tables(&self.state, &self.routing, &self.vlans, &self.counted);
        let answers = &mut self.answers;
        match Buffer::new(&mut memory, HEAD_ROOM, end) {
            Some(mut frame) => run(&self.state, tables, answers, received_by, &mut frame, last),
            None => unreachable!("the frame was appended to its head room"),
        }
    }

    /// Requests of further blocks that the slow path's own translator made.
    fn grant(&mut self, requests: &[BlockRequest]) {
        let wanted: Vec<InsideKey> = requests
            .iter()
            .filter_map(|request| self.keeper.consider(request))
            .collect();
        if !wanted.is_empty() {
            self.keeper.grant(wanted);
        }
    }

    /// Sends the error that tells a sender of the end of his packet, if there is one.
    fn tell(&mut self, queue: usize, answer: Option<Answer>) {
        if let Some(answer) = answer {
            self.send(answer.ifindex, queue, None, &answer.frame);
        }
    }

    /// Does what the translator said. Returns the inside key if the packet
    /// needs a block.
    fn finish(
        &mut self,
        mut ran: Ran,
        port: usize,
        queue: usize,
        last: Option<Reason>,
    ) -> Option<InsideKey> {
        self.grant(&ran.requests);
        self.tell(queue, ran.answer.take());
        match ran.outcome {
            Outcome::Send { ifindex } => {
                self.send(ifindex, queue, ran.came, &ran.bytes);
                self.release(ran.asked, queue);
            }
            Outcome::NeedsNeighbour => {
                let now = self.state.now_tick();
                let hop = self.routing.take_unresolved();
                if let Some((ifindex, address)) = hop {
                    self.follower.resolve_neighbour(ifindex, address);
                }
                let kept = hop.is_some_and(|hop| self.waiting.keep(&ran.bytes, port, hop, now));
                if !kept {
                    self.drop(Reason::NeighbourUnresolved, port, &ran.bytes);
                }
            }
            Outcome::NeedsRoute => self.drop(Reason::RouteUnresolved, port, &ran.bytes),
            Outcome::NeedsFirst => self.hold(port, ran.asked, ran.bytes),
            Outcome::NeedsSplitting => return self.split(&ran, port, queue, last),
            Outcome::NeedsBlock { inside } => return Some(inside),
            Outcome::Dropped(reason) => self.hold_syn(reason, port, ran.bytes),
        }
        None
    }

    /// Gives a packet back to XDP; only a first one, so that none goes round.
    fn run_again(&mut self, punted: Punted, bytes: &[u8]) {
        self.count_retries(Retry::Xdp, 1);
        let port = &self.ports[punted.port];
        let received_by = (port.ifindex, punted.queue as u32);
        if let Err(error) = self.dataplane.run_again(port.entry, received_by, bytes) {
            tracing::debug!(error = &error as &dyn std::error::Error, "a first packet");
            self.drop(Reason::RouteUnresolved, punted.port, bytes);
        }
    }

    /// Sends a frame that had the ends `came` before, and tells those who watch.
    fn send(&mut self, ifindex: u32, queue: usize, came: Option<Ends>, bytes: &[u8]) {
        let port = self.ports.iter_mut().find(|port| port.ifindex == ifindex);
        let sent = port.is_some_and(|port| {
            let count = port.sockets.len();
            port.sockets[queue % count].send(bytes)
        });
        match sent {
            true => self.state.watch.slow.tell(came, bytes, ifindex),
            // It is another's packet now, so of no realm.
            false => self.count(Reason::PuntUndelivered, carried_by(bytes), None),
        }
    }

    /// Ends a packet that `port` received, and that nothing more is done for.
    fn drop(&self, reason: Reason, port: usize, bytes: &[u8]) {
        let tables = tables(&self.state, &self.routing, &self.vlans, &self.counted);
        tables.ingress.set(self.ports[port].ifindex);
        process::drop_bytes(bytes, &tables, reason);
    }

    /// The same of one that is not at hand; of a realm, if that is known.
    fn count(&self, reason: Reason, carried: Carried, realm: Option<u8>) {
        let mut stats = self.state.stats();
        stats.slow_path.dropped(reason, carried);
        if let Some(realm) = realm {
            stats.dropped_of_realm(realm, reason);
        }
    }

    /// Takes over new routes, and tries the packets that waited for them.
    fn follow_routes(&mut self) {
        if !self.fib.has_changed().unwrap_or(false) {
            return;
        }
        let fib = Arc::clone(&self.fib.borrow_and_update());
        let generation = fib.generation();
        if let Err(error) = self.routing.apply(&mut self.dataplane, fib) {
            tracing::warn!(error = &error as &dyn std::error::Error, "routes");
        }
        self.follower.applied(generation);
        {
            let mut stats = self.state.stats();
            stats.next_hops = self.routing.hop_count() as u64;
            stats.routes_generation = generation;
        }
        self.try_waiting();
        self.flush();
    }

    /// What had to be looked up here, XDP knows next time.
    fn learn_routes(&mut self) {
        if let Err(error) = self.routing.learn(&mut self.dataplane) {
            tracing::warn!(error = &error as &dyn std::error::Error, "routes");
        }
    }

    /// Tries the packets that wait for a neighbour. Their subscribers may need
    /// a block first: all get theirs in one group.
    fn try_waiting(&mut self) {
        let packets = self.waiting.take_all();
        let tried = packets.into_iter().filter_map(|packet| {
            let inside = self.try_again(&packet, None)?;
            Some((packet, inside))
        });
        let needy: Vec<_> = tried.collect();
        if needy.is_empty() {
            return;
        }
        let wanted = needy.iter().map(|(_, inside)| *inside).collect();
        let refusals = self.keeper.grant(wanted);
        for (packet, inside) in needy {
            let refusal = refusals.get(&inside).copied();
            let _ = self.try_again(&packet, Some(refusal.unwrap_or(Reason::NoPort)));
        }
    }

    /// Runs the translator on a packet that waited, as [`Self::translate`] does.
    fn try_again(&mut self, packet: &Waiter, last: Option<Reason>) -> Option<InsideKey> {
        let ran = self.run_copy(packet.port, &packet.frame, last);
        if ran.outcome == Outcome::NeedsNeighbour {
            self.waiting.put_back(packet.clone());
            return None;
        }
        self.count_retries(Retry::Neighbour, 1);
        self.finish(ran, packet.port, 0, last)
    }

    fn give_up_waiting(&mut self, now: u32) {
        for packet in self.waiting.take_overdue(now) {
            self.drop(Reason::NeighbourUnresolved, packet.port, &packet.frame);
            let (entry, ifindex) = (
                self.ports[packet.port].entry,
                self.ports[packet.port].ifindex,
            );
            let tables = tables(&self.state, &self.routing, &self.vlans, &self.counted);
            tables.now.set(now);
            tables.ingress.set(ifindex);
            let reason = Reason::NeighbourUnresolved;
            let answer = self.answers.answer(&packet.frame, &tables, entry, reason);
            self.tell(0, answer);
        }
        let waiting = self.waiting.len() as u64;
        let mut stats = self.state.stats();
        stats.punts.waiting_packets = waiting;
        stats.answers = self.answers.stats();
    }
}

fn poll_in(fd: RawFd) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}
