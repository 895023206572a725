//! Reading whole tables, and joining them with the news that come meanwhile.

use std::io;
use std::time::Duration;

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::rule::RuleMessage;
use tokio::time::Instant;

use super::FollowError;
use super::decode::{News, are_built_in, read};
use super::due::schedule;
use super::message::KernelMessage;
use super::session::{SECOND_LOOK, Session};
use super::sockets::Dump;
use crate::routes::{Address, Change, Link, Neighbour, Placement, RouteTable};

/// EOPNOTSUPP: this kernel has no rules.
const NOT_SUPPORTED: i32 = 95;

/// After a dump rest for so long per route, a few times as long as it takes: a storm of changes
/// must leave time for other things.
const REST_PER_ROUTE: Duration = Duration::from_micros(5);

/// Dumps of routes that do not agree with the news are repeated after [`SECOND_LOOK`], then after
/// twice that, and so on up to this many times twice.
const MAX_DOUBLINGS: u32 = 6;

impl Session<'_> {
    /// Links, addresses and neighbours may be older here than the news that are still waiting;
    /// as each message tells all about one of them, the last one makes it right.
    pub(super) async fn dump_everything(&mut self) -> Result<(), FollowError> {
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
        let again = if torn || self.news_lost {
            self.options.coalesce
        } else {
            self.options.resync
        };
        self.due.everything = None;
        let at = Instant::now() + again;
        schedule(&mut self.due.everything, at, self.due.dump_rest);
        Ok(())
    }

    pub(super) async fn dump_rules(&mut self) -> Result<(), FollowError> {
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
            let at = Instant::now() + SECOND_LOOK;
            schedule(&mut self.due.rules, at, None);
        }
        self.rules_built_in = readable && are_built_in(&rules);
        self.kernel_decides_if_in_doubt();
        Ok(())
    }

    pub(super) async fn dump_routes(&mut self) -> Result<(), FollowError> {
        self.catch_up().await?;
        self.touched = Some(Default::default());
        let was_exact = !std::mem::take(&mut self.news_lost);
        let mut routes = self.tracker.new_table();
        let mut readable = true;
        let take = |message, flags| match read(&message, flags) {
            News::Change(Change::RouteAdded(route, _)) => routes.insert(&route, Placement::Last),
            News::Unreadable { .. } => readable = false,
            _ => {}
        };
        let torn = self.requests.dump(Dump::Routes, take).await?;
        self.unreadable = !readable;
        let disagree = self.join(routes, was_exact).await?;
        self.look_again(torn || disagree);
        self.kernel_decides_if_in_doubt();
        let count = self.tracker.route_count();
        let rest = REST_PER_ROUTE.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        self.due.dump_rest = Some(Instant::now() + rest);
        self.shared.status(|status| {
            status.route_dumps += 1;
            status.routes = count as u64;
            status.unreadable += u64::from(!readable);
        });
        Ok(())
    }

    /// Joins a dump with the news that came since it began. True if they do not agree, which may
    /// only mean that the news are newer.
    async fn join(&mut self, dumped: RouteTable, was_exact: bool) -> Result<bool, FollowError> {
        if !was_exact {
            // There is nothing better to take in the news on.
            self.tracker.set_routes(dumped);
            self.catch_up().await?;
            let touched = self.touched.take();
            return Ok(touched.is_some_and(|touched| !touched.is_empty()));
        }
        self.catch_up().await?;
        let touched = self.touched.take().unwrap_or_default();
        Ok(self.tracker.merge_routes(dumped, &touched))
    }

    /// After a dump that did not agree with the news there will be another one, in quieter times.
    fn look_again(&mut self, disagreed: bool) {
        if !disagreed {
            self.disagreed = 0;
            return;
        }
        let delay = SECOND_LOOK * 2u32.pow(self.disagreed.min(MAX_DOUBLINGS));
        self.disagreed += 1;
        schedule(&mut self.due.second_look, Instant::now() + delay, None);
    }
}

fn is_not_supported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(NOT_SUPPORTED)
}
