//! What to do when: dump, take in news, publish, ask for neighbours.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::decode::{News, read};
use super::due::{Due, schedule, take_due};
use super::follow::{Ask, Question, Shared};
use super::message::{KernelMessage, is_routing};
use super::prober::Prober;
use super::sockets::{Newsfeed, Requests};
use super::{FollowError, Options};
use crate::routes::{Change, Fib, Port, Prefix, Probe, Table, Tracker};

/// Neighbours are looked after this often even if there is no news.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// The kernel announces that a link is down before it removes the routes over it, so the dump
/// that follows the announcement may come too early; this one does not.
pub(super) const SECOND_LOOK: Duration = Duration::from_secs(1);

/// Questions for routes to the kernel.
const QUESTIONS_PER_SEC: u32 = 100;

/// News taken in at once before looking at the clock.
const NEWS_AT_ONCE: usize = 4096;

/// After a snapshot rest for so many times as long as it took, so that a storm of changes leaves
/// time for other things.
const REST_FACTOR: u32 = 3;

/// Where requests come in.
pub(super) struct Inbox {
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) ports: mpsc::UnboundedReceiver<Vec<Port>>,
}

/// Following with one pair of sockets.
pub(super) struct Session<'a> {
    pub(super) tracker: &'a mut Tracker,
    pub(super) options: &'a Options,
    out: &'a watch::Sender<Arc<Fib>>,
    inbox: &'a mut Inbox,
    pub(super) shared: &'a Shared,
    news: Newsfeed,
    pub(super) requests: Requests,
    pub(super) due: Due,
    asked: Vec<Probe>,
    questions: Vec<Question>,
    for_packets: Prober,
    /// For questions, by interface and destination.
    for_routes: Prober,
    to_keep: Prober,
    started: Instant,
    pub(super) rules_built_in: bool,
    /// A route or rule could not be decoded since the last dump.
    pub(super) unreadable: bool,
    /// The routes known here are not exactly those of the kernel at any moment: there was no dump yet, or
    /// news were lost since.
    pub(super) news_lost: bool,
    /// While routes are being dumped: the destinations of which news came.
    pub(super) touched: Option<BTreeSet<(Table, Prefix)>>,
    /// Dumps of routes in a row that did not agree with the news.
    pub(super) disagreed: u32,
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
        let news = Newsfeed::open(&mut tasks, options.receive_buffer_bytes)
            .map_err(FollowError::Socket)?;
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
            questions: Vec::new(),
            for_packets: Prober::new(options.probes_per_sec),
            for_routes: Prober::new(QUESTIONS_PER_SEC),
            to_keep: Prober::new(options.probes_per_sec),
            started: Instant::now(),
            rules_built_in: false,
            unreadable: false,
            news_lost: true,
            touched: None,
            disagreed: 0,
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
                message = self.news.next() => self.take_in(message?),
                Some(ask) = self.inbox.asks.recv() => self.note(ask),
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
            let Some(message) = self.news.next_waiting()? else {
                break;
            };
            self.take_in(message);
        }
        while let Ok(ask) = self.inbox.asks.try_recv() {
            self.note(ask);
        }
        if !self.asked.is_empty() || !self.questions.is_empty() {
            self.due.probe = Some(Instant::now());
        }
        Ok(())
    }

    fn note(&mut self, ask: Ask) {
        match ask {
            Ask::Neighbour(probe) => self.asked.push(probe),
            Ask::Route(question) => self.questions.push(question),
        }
    }

    /// Takes in all news from before the call.
    pub(super) async fn catch_up(&mut self) -> Result<(), FollowError> {
        self.news.catch_up().await?;
        while let Some(message) = self.news.next_waiting()? {
            self.take_in(message);
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
                self.news_lost = true;
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
        if let Change::RouteAdded(route, _) | Change::RouteGone(route) = &change
            && !self.tracker.follows(route.table)
        {
            return;
        }
        if let Change::RouteAdded(route, _) | Change::RouteGone(route) = &change
            && let Some(touched) = &mut self.touched
        {
            touched.insert((route.table, route.dst));
        }
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

    pub(super) fn kernel_decides_if_in_doubt(&mut self) {
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

    /// Neighbours for packets of which only the kernel knows where they go.
    async fn ask_routes(&mut self, since: Duration) -> Result<(), FollowError> {
        for question in std::mem::take(&mut self.questions) {
            let key = Probe {
                ifindex: question.ifindex,
                ip: question.destination,
            };
            if !self.for_routes.pick(since, [key]).is_empty() {
                self.asked
                    .extend(self.requests.neighbour_for(question).await?);
            }
        }
        Ok(())
    }

    async fn probe(&mut self) -> Result<(), FollowError> {
        let now = Instant::now();
        self.due.probe = Some(now + PROBE_EVERY);
        let since = now - self.started;
        let fib = Arc::clone(&self.out.borrow());
        self.ask_routes(since).await?;
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
