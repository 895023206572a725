//! What to do when: dump, take in news, publish, ask for neighbours.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::rule::RuleMessage;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::decode::{News, are_built_in, read};
use super::due::{Due, schedule, take_due};
use super::follow::Shared;
use super::message::{KernelMessage, is_routing};
use super::prober::Prober;
use super::sockets::{Dump, Incoming, Requests, listen};
use super::{FollowError, Options};
use crate::routes::{
    Address, Change, Fib, Link, Neighbour, Placement, Port, Probe, RouteTable, Tracker,
};

/// Neighbours are looked after this often even if there is no news.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// The kernel announces that a link is down before it removes the routes over it, so the dump
/// that follows the announcement may come too early; this one does not.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// News taken in at once before looking at the clock.
const NEWS_AT_ONCE: usize = 4096;

/// After a dump or a snapshot rest for so many times as long as it took, so that a storm of
/// changes leaves time for other things.
const REST_FACTOR: u32 = 3;

/// EOPNOTSUPP: this kernel has no rules.
const NOT_SUPPORTED: i32 = 95;

/// Where requests come in.
pub(super) struct Inbox {
    pub(super) asks: mpsc::Receiver<Probe>,
    pub(super) ports: mpsc::UnboundedReceiver<Vec<Port>>,
}

/// Following with one pair of sockets.
pub(super) struct Session<'a> {
    tracker: &'a mut Tracker,
    options: &'a Options,
    out: &'a watch::Sender<Arc<Fib>>,
    inbox: &'a mut Inbox,
    shared: &'a Shared,
    news: Incoming,
    requests: Requests,
    due: Due,
    asked: Vec<Probe>,
    for_packets: Prober,
    to_keep: Prober,
    started: Instant,
    rules_built_in: bool,
    /// A route or rule could not be decoded since the last dump.
    unreadable: bool,
    /// Ends the sockets' tasks when dropped.
    _tasks: JoinSet<()>,
}

impl<'a> Session<'a> {
    pub(super) fn open(
        tracker: &'a mut Tracker,
        options: &'a Options,
        out: &'a watch::Sender<Arc<Fib>>,
        inbox: &'a mut Inbox,
        shared: &'a Shared,
    ) -> Result<Self, FollowError> {
        let mut tasks = JoinSet::new();
        // News first: what changes during the first dump must be heard of.
        let news = listen(&mut tasks, options.receive_buffer_bytes).map_err(FollowError::Socket)?;
        let requests = Requests::open(&mut tasks).map_err(FollowError::Socket)?;
        Ok(Session {
            tracker,
            options,
            out,
            inbox,
            shared,
            news,
            requests,
            due: Due::default(),
            asked: Vec::new(),
            for_packets: Prober::new(options.probes_per_sec),
            to_keep: Prober::new(options.probes_per_sec),
            started: Instant::now(),
            rules_built_in: false,
            unreadable: false,
            _tasks: tasks,
        })
    }

    /// Dumps everything and publishes the first snapshot.
    pub(super) async fn start(&mut self) -> Result<(), FollowError> {
        self.dump_everything().await?;
        self.publish();
        self.due.probe = Some(Instant::now());
        Ok(())
    }

    /// Follows for ever, or until a socket fails.
    pub(super) async fn follow(&mut self) -> Result<Infallible, FollowError> {
        loop {
            let idle = Instant::now() + PROBE_EVERY;
            let wake = self.due.earliest().unwrap_or(idle);
            tokio::select! {
                message = self.news.next() => {
                    let (message, _) = message.ok_or(FollowError::Closed)?;
                    self.take_in(message);
                }
                Some(probe) = self.inbox.asks.recv() => self.asked.push(probe),
                Some(ports) = self.inbox.ports.recv() => {
                    self.tracker.set_ports(ports);
                    self.publish_soon();
                }
                () = sleep_until(wake) => {}
            }
            self.take_in_waiting()?;
            self.act().await?;
        }
    }

    fn take_in_waiting(&mut self) -> Result<(), FollowError> {
        for _ in 0..NEWS_AT_ONCE {
            let Some(message) = self.news.next().now_or_never() else {
                break;
            };
            let (message, _) = message.ok_or(FollowError::Closed)?;
            self.take_in(message);
        }
        while let Ok(probe) = self.inbox.asks.try_recv() {
            self.asked.push(probe);
        }
        if !self.asked.is_empty() {
            self.due.probe = Some(Instant::now());
        }
        Ok(())
    }

    fn take_in(&mut self, message: NetlinkMessage<KernelMessage>) {
        let (header, payload) = message.into_parts();
        let soon = Instant::now() + self.options.coalesce;
        match payload {
            NetlinkPayload::InnerMessage(message) => match read(&message, header.flags) {
                News::Change(change) => self.change(change),
                News::Rules => schedule(&mut self.due.rules, soon, None),
                News::Routes => schedule(&mut self.due.routes, soon, self.due.dump_rest),
                News::Unreadable { message_type } => self.could_not_read(message_type),
                News::Nothing => {}
            },
            NetlinkPayload::Overrun(_) => {
                self.shared.status(|status| status.overruns += 1);
                schedule(&mut self.due.everything, soon, self.due.dump_rest);
            }
            _ => {}
        }
    }

    fn change(&mut self, change: Change) {
        let now = Instant::now();
        let soon = now + self.options.coalesce;
        let is_link = matches!(change, Change::LinkSet(_) | Change::LinkGone { .. });
        let is_address_gone = matches!(change, Change::AddressGone(_));
        let is_route_gone = matches!(change, Change::RouteGone(_));
        let changed = self.tracker.apply(change);
        if changed {
            self.publish_soon();
        }
        // The kernel removes the routes of a link or an address without a word. And a route
        // that is gone here already: the two tables have parted.
        if changed && (is_link || is_address_gone) || !changed && is_route_gone {
            schedule(&mut self.due.routes, soon, self.due.dump_rest);
            self.due.second_look = Some(now + SECOND_LOOK);
        }
    }

    /// A route that is not known must not be forwarded past.
    fn could_not_read(&mut self, message_type: u16) {
        self.shared.status(|status| {
            status.unreadable += 1;
            let text = format!("a netlink message of type {message_type} could not be decoded");
            status.last_error = Some(text);
        });
        if is_routing(message_type) {
            self.unreadable = true;
            self.kernel_decides_if_in_doubt();
            let soon = Instant::now() + self.options.coalesce;
            schedule(&mut self.due.rules, soon, None);
            schedule(&mut self.due.routes, soon, self.due.dump_rest);
        }
    }

    fn kernel_decides_if_in_doubt(&mut self) {
        let doubt = self.unreadable || !self.rules_built_in;
        self.tracker.set_kernel_decides(doubt);
        self.publish_soon();
    }

    fn publish_soon(&mut self) {
        let soon = Instant::now() + self.options.coalesce;
        schedule(&mut self.due.publish, soon, self.due.publish_rest);
    }

    async fn act(&mut self) -> Result<(), FollowError> {
        let now = Instant::now();
        if take_due(&mut self.due.everything, now) {
            self.dump_everything().await?;
        }
        if take_due(&mut self.due.rules, now) {
            self.dump_rules().await?;
        }
        let routes = take_due(&mut self.due.routes, now);
        if take_due(&mut self.due.second_look, now) || routes {
            self.dump_routes().await?;
        }
        if take_due(&mut self.due.publish, now) {
            self.publish();
        }
        if take_due(&mut self.due.probe, now) {
            self.probe().await?;
        }
        Ok(())
    }

    async fn dump_everything(&mut self) -> Result<(), FollowError> {
        let mut links: Vec<Link> = Vec::new();
        let mut addresses: Vec<Address> = Vec::new();
        let mut neighbours: Vec<Neighbour> = Vec::new();
        let mut torn = false;
        for table in [Dump::Links, Dump::Addresses, Dump::Neighbours] {
            let shared = self.shared;
            let take = |message, flags| match read(&message, flags) {
                News::Change(Change::LinkSet(link)) => links.push(link),
                News::Change(Change::AddressSet(address)) => addresses.push(address),
                News::Change(Change::NeighbourSet(neighbour)) => neighbours.push(neighbour),
                News::Unreadable { .. } => shared.status(|status| status.unreadable += 1),
                _ => {}
            };
            torn |= self.requests.dump(table, take).await?;
        }
        self.tracker.set_links(links);
        self.tracker.set_addresses(addresses);
        self.tracker.set_neighbours(neighbours);
        self.dump_rules().await?;
        self.dump_routes().await?;
        let again = if torn {
            self.options.coalesce
        } else {
            self.options.resync
        };
        self.due.everything = None;
        let at = Instant::now() + again;
        schedule(&mut self.due.everything, at, self.due.dump_rest);
        Ok(())
    }

    async fn dump_rules(&mut self) -> Result<(), FollowError> {
        let mut rules: Vec<RuleMessage> = Vec::new();
        let mut readable = true;
        let dumped = self.requests.dump(Dump::Rules, |message, _| match message {
            KernelMessage::Route(RouteNetlinkMessage::NewRule(rule)) => rules.push(rule),
            KernelMessage::Undecodable { .. } => readable = false,
            _ => {}
        });
        match dumped.await {
            Ok(torn) => readable &= !torn,
            Err(FollowError::Dump { source, .. }) if is_not_supported(&source) => {}
            Err(error) => return Err(error),
        }
        if !readable {
            let at = Instant::now() + self.options.coalesce;
            schedule(&mut self.due.rules, at + SECOND_LOOK, None);
        }
        self.rules_built_in = readable && are_built_in(&rules);
        self.kernel_decides_if_in_doubt();
        Ok(())
    }

    async fn dump_routes(&mut self) -> Result<(), FollowError> {
        let began = Instant::now();
        let mut routes = RouteTable::new();
        let mut readable = true;
        let take = |message, flags| match read(&message, flags) {
            News::Change(Change::RouteAdded(route, _)) => routes.insert(&route, Placement::Last),
            News::Unreadable { .. } => readable = false,
            _ => {}
        };
        let torn = self.requests.dump(Dump::Routes, take).await?;
        self.tracker.set_routes(routes);
        self.unreadable = !readable;
        self.kernel_decides_if_in_doubt();
        let now = Instant::now();
        self.due.dump_rest = Some(now + (now - began) * REST_FACTOR);
        if torn {
            schedule(&mut self.due.routes, now, self.due.dump_rest);
        }
        let count = self.tracker.route_count();
        self.shared.status(|status| {
            status.route_dumps += 1;
            status.unreadable += u64::from(!readable);
        });
        self.shared.status(|status| status.routes = count as u64);
        Ok(())
    }

    fn publish(&mut self) {
        let began = Instant::now();
        self.due.publish = None;
        self.tracker.release(self.shared.applied());
        let fib = Arc::new(self.tracker.snapshot());
        self.out.send_replace(fib);
        let count = self.tracker.route_count();
        self.shared.status(|status| status.routes = count as u64);
        let now = Instant::now();
        self.due.publish_rest = Some(now + (now - began) * REST_FACTOR);
        self.due.probe = Some(now);
    }

    async fn probe(&mut self) -> Result<(), FollowError> {
        let now = Instant::now();
        self.due.probe = Some(now + PROBE_EVERY);
        let since = now - self.started;
        let fib = Arc::clone(&self.out.borrow());
        let asked = std::mem::take(&mut self.asked);
        let asked = asked
            .into_iter()
            .filter(|probe| self.tracker.wants_probe(*probe));
        let mut probes = self.to_keep.pick(since, self.tracker.probes(&fib));
        probes.extend(self.for_packets.pick(since, asked));
        let refused = self.requests.ask(&probes).await?;
        self.shared.status(|status| {
            status.probes += probes.len() as u64;
            if let Some((count, reason)) = refused {
                status.probes_refused += count as u64;
                let text = format!("the kernel refused a request for a neighbour: {reason}");
                status.last_error = Some(text);
            }
        });
        Ok(())
    }
}

fn is_not_supported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(NOT_SUPPORTED)
}
