//! Everything that one scrape reads, copied at one moment.

use cgn_common::counters::Counters;
use cgn_common::layout::{Constants, Filtering, Policy};
use cgn_common::verdict::Protocol;

use crate::api::rows::MirrorRow;
use crate::api::view;
use crate::dataplane::geometry::PoolShape;
use crate::engine::clock::Discipline;
use crate::policy::access::Placed;
use crate::state::{PoolStats, RulePackets, State, Stats};

/// What the metrics are made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Counters of the fast path.
    pub fast_path: Counters,
    /// Name of each realm, and packets dropped that are of it; empty where there is but one.
    pub realm_drops: Vec<(String, u64)>,
    pub stats: Stats,
    pub pools: Vec<PoolShape>,
    /// Inside addresses in the prefixes of the configuration.
    pub subscriber_addresses: u64,
    pub limits: Limits,
    pub started_unix_ms: u64,
    /// None: the kernel does not tell.
    pub clock: Option<Discipline>,
    /// Version of the program.
    pub version: &'static str,
    pub behaviours: Behaviours,
    /// Rules of the access lists, and how many packets each held for.
    pub rules: Vec<(Placed, RulePackets)>,
    /// Mirrors of the configuration.
    pub mirrors: Vec<MirrorRow>,
}

/// What the tables have room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Sessions beside the first of their mapping.
    pub sessions: u64,
    /// Datagrams whose first fragment came.
    pub datagrams: u64,
    /// Fragments that wait for the first one.
    pub held_fragments: u64,
}

/// How this NAT behaves, in the words of RFC 4787 and RFC 7659.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviours {
    pub mapping: &'static str,
    pub filtering: &'static str,
    pub pooling: &'static str,
    pub fragments: &'static str,
    pub hairpinning: &'static str,
}

impl Behaviours {
    /// What the translator does with these constants.
    #[must_use]
    pub fn of(constants: &Constants, pools: usize) -> Self {
        let each = constants.pools.iter().take(pools);
        let filters = |policy: &Policy| {
            [Protocol::Tcp, Protocol::Udp].map(|protocol| policy.filtering(protocol))
        };
        let mut all = each.flat_map(filters);
        let first = all.next().unwrap_or_default();
        let filtering = match first {
            _ if all.any(|other| other != first) => "mixed",
            Filtering::EndpointIndependent => "eif",
            Filtering::AddressDependent => "adf",
            Filtering::AddressAndPortDependent => "apdf",
        };
        Self {
            mapping: "eim",
            filtering,
            pooling: "paired",
            fragments: "out_of_order",
            hairpinning: "external_endpoint",
        }
    }
}

impl Snapshot {
    /// Copies the figures of a running daemon.
    #[must_use]
    pub fn take(state: &State) -> Self {
        let ranges = state.geometry.subscribers.iter();
        // Before the figures are locked: it locks them, too.
        let rules = state.rule_hits();
        let realm_drops = view::drops_by_realm(state);
        Self {
            fast_path: (state.fast_path_counters)(),
            realm_drops,
            stats: state.stats().clone(),
            pools: state.geometry.pools.clone(),
            subscriber_addresses: ranges
                .map(|range| u64::from(range.last.to_bits() - range.first.to_bits()) + 1)
                .sum(),
            limits: Limits {
                sessions: u64::from(state.config.config.sessions.max),
                datagrams: u64::from(state.config.config.fragments.max_datagrams),
                held_fragments: u64::from(state.config.config.fragments.max_held),
            },
            started_unix_ms: state.started_unix_ms,
            clock: Discipline::read().ok(),
            version: env!("CARGO_PKG_VERSION"),
            rules,
            mirrors: view::mirrors(state),
            behaviours: Behaviours::of(&state.memory.constants, state.geometry.pools.len()),
        }
    }

    /// Counters of fast and slow path together.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut sum = self.fast_path;
        sum.merge(&self.stats.slow_path);
        sum
    }

    /// Each pool of the configuration with its figures.
    pub fn each_pool(&self) -> impl Iterator<Item = (&PoolShape, PoolStats)> {
        let pools = self.pools.iter().enumerate();
        pools.map(|(number, shape)| (shape, self.stats.pool(number)))
    }
}
