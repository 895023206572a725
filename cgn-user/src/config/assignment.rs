//! Which pool serves whom: that of the subscriber's group, where the group names one, else that
//! of `[[subscribers]]`.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use super::SubscriberRange;
use super::address::{Ipv4Range, Ipv4Set};
use super::schema::{Config, PoolMode};

impl Config {
    /// All subscribers in ascending order, each range with its pool. Those whose pool or realm does
    /// not exist are left out; the validation refuses them.
    #[must_use]
    pub fn subscriber_ranges(&self) -> Vec<SubscriberRange> {
        let owners = GroupPools::of(self);
        let mut ranges: Vec<SubscriberRange> = self
            .subscribers
            .iter()
            .filter_map(|subscribers| {
                let pool = self.pool_index(&subscribers.pool)?;
                let realm = self.realm_number(&subscribers.realm)?;
                let prefixes = subscribers.prefixes.iter();
                Some(prefixes.map(move |prefix| SubscriberRange {
                    realm,
                    range: prefix.range(),
                    pool,
                }))
            })
            .flatten()
            .flat_map(|range| owners.split(range))
            .collect();
        ranges.sort_unstable_by_key(|subscribers| (subscribers.realm, subscribers.range));
        ranges
    }

    /// Whether both configurations have the same subscribers, and the same static ports for those
    /// of deterministic pools. Then tables of the one fit the other: who changes his pool does so
    /// with his next first block.
    pub(super) fn keeps_subscribers(&self, other: &Self) -> bool {
        self.everyone() == other.everyone() && self.of_static_pools() == other.of_static_pools()
    }

    /// Inside addresses of each realm, by its name.
    fn everyone(&self) -> HashMap<&str, Ipv4Set> {
        let mut all: HashMap<&str, Vec<Ipv4Range>> = HashMap::new();
        for one in &self.subscribers {
            let ranges = one.prefixes.iter().map(|prefix| prefix.range());
            all.entry(&one.realm).or_default().extend(ranges);
        }
        let sets = all.into_iter();
        sets.map(|(realm, ranges)| (realm, ranges.into_iter().collect()))
            .collect()
    }

    /// Realm and inside addresses of each deterministic pool, by its name.
    pub(super) fn of_static_pools(&self) -> HashMap<&str, (&str, Ipv4Set)> {
        let ranges = self.subscriber_ranges();
        let pools = self.pool.iter().enumerate();
        let fixed = pools.filter(|(_, pool)| pool.mode == PoolMode::Deterministic);
        fixed
            .map(|(number, pool)| {
                let own = ranges.iter().filter(|range| range.pool == number);
                let own = own.map(|range| range.range).collect();
                (pool.name.as_str(), (self.realm_of_pool(number), own))
            })
            .collect()
    }
}

/// Pool by realm and network. `None`: that of `[[subscribers]]`.
type PoolByNetwork = HashMap<(u8, u32), Option<usize>>;

/// Prefixes of groups, with the pools that they name.
struct GroupPools {
    /// Number of the realm, first and last address, by the first.
    prefixes: Vec<(u8, Ipv4Range)>,
    /// For each length of a prefix, the longest first.
    by_length: Vec<(u8, PoolByNetwork)>,
}

impl GroupPools {
    fn of(config: &Config) -> Self {
        let mut prefixes = Vec::new();
        let mut by_length: HashMap<u8, PoolByNetwork> = HashMap::new();
        for group in &config.group {
            let Some(realm) = config.realm_number(&group.realm) else {
                continue;
            };
            let pool = group.pool.as_ref().and_then(|name| config.pool_index(name));
            if group.is_of_realm() {
                by_length.entry(0).or_default().insert((realm, 0), pool);
            }
            for prefix in &group.prefixes {
                let networks = by_length.entry(prefix.length()).or_default();
                networks.insert((realm, prefix.range().first().to_bits()), pool);
                prefixes.push((realm, prefix.range()));
            }
        }
        prefixes.sort_unstable();
        let mut by_length: Vec<_> = by_length.into_iter().collect();
        by_length.sort_unstable_by_key(|(length, _)| std::cmp::Reverse(*length));
        Self {
            prefixes,
            by_length,
        }
    }

    /// The parts of a prefix of subscribers that have different pools. Prefixes lie within each
    /// other or apart, so a part begins where a group's prefix begins, or behind its end.
    fn split(&self, whole: SubscriberRange) -> Vec<SubscriberRange> {
        let (realm, range) = (whole.realm, whole.range);
        let from = self
            .prefixes
            .partition_point(|(of, prefix)| (*of, prefix.first()) < (realm, range.first()));
        let within = self.prefixes[from..]
            .iter()
            .take_while(|(of, prefix)| (*of, prefix.first()) <= (realm, range.last()));
        let mut starts = BTreeSet::from([range.first().to_bits()]);
        for (_, prefix) in within.filter(|(_, prefix)| prefix.last() <= range.last()) {
            starts.insert(prefix.first().to_bits());
            starts.extend(prefix.last().to_bits().checked_add(1));
        }
        starts.retain(|start| *start <= range.last().to_bits());
        let ends = starts.iter().skip(1).map(|next| next - 1);
        let ends = ends.chain([range.last().to_bits()]);
        let mut parts: Vec<SubscriberRange> = Vec::new();
        for (first, last) in starts.iter().copied().zip(ends) {
            let pool = self.pool(realm, first).unwrap_or(whole.pool);
            let begin = match parts.last() {
                Some(before) if before.pool == pool => {
                    parts.pop().map(|before| before.range.first())
                }
                _ => None,
            };
            let [first, last] = [first, last].map(Ipv4Addr::from_bits);
            parts.extend(
                Ipv4Range::new(begin.unwrap_or(first), last).map(|range| SubscriberRange {
                    realm,
                    range,
                    pool,
                }),
            );
        }
        parts
    }

    /// Pool that the group of an inside address names.
    fn pool(&self, realm: u8, inside: u32) -> Option<usize> {
        let lengths = self.by_length.iter();
        let found = lengths.map(|(length, networks)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(*length)).unwrap_or(0);
            networks.get(&(realm, inside & mask))
        });
        found.flatten().next().copied().flatten()
    }
}
