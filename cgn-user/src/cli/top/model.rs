//! What `cgn top` knows: the last two looks, and rates of those before. Pure.

use std::collections::VecDeque;

use crate::api::rows::{DropRow, PoolRow, SubscriberRow, Top, Traffic};

/// Rates that are kept: as many as the widest screen has columns.
const KEPT: usize = 512;

/// Rates between two looks, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    pub packets: [u64; 2],
    /// Bits of the IPv4 packets.
    pub bits: [u64; 2],
    pub created: u64,
    /// Packets dropped.
    pub dropped: u64,
}

/// Everything that is shown.
#[derive(Clone, Debug, Default)]
pub struct Model {
    now: Option<Top>,
    before: Option<Top>,
    /// Oldest first.
    history: VecDeque<Rates>,
    /// Why there was no answer to the last look.
    pub trouble: Option<String>,
}

impl Model {
    /// Takes in a look.
    pub fn push(&mut self, top: Top) {
        self.trouble = None;
        self.before = self.now.take();
        self.now = Some(top);
        if let Some(rates) = self.difference() {
            self.history.push_back(rates);
            if self.history.len() > KEPT {
                self.history.pop_front();
            }
        }
    }

    /// The last look.
    #[must_use]
    pub fn now(&self) -> Option<&Top> {
        self.now.as_ref()
    }

    /// The last rates; zero before the second look.
    #[must_use]
    pub fn rates(&self) -> Rates {
        self.history.back().copied().unwrap_or_default()
    }

    /// The last `count` values of a rate, oldest first.
    #[must_use]
    pub fn history(&self, count: usize, of: impl Fn(&Rates) -> u64) -> Vec<u64> {
        let skipped = self.history.len().saturating_sub(count);
        self.history.iter().skip(skipped).map(of).collect()
    }

    /// Reasons of drops and punts with packets per second and in all, the most frequent now first.
    #[must_use]
    pub fn reasons(&self) -> Vec<(&DropRow, u64)> {
        let Some(now) = &self.now else {
            return Vec::new();
        };
        let before = self.before.iter().flat_map(|top| &top.drops);
        let rate = |row: &DropRow| {
            let old = before.clone().find(|old| old.reason == row.reason);
            self.per_second(total(row), old.map_or(0, total))
        };
        let mut rows: Vec<_> = now.drops.iter().map(|row| (row, rate(row))).collect();
        rows.sort_by_key(|(row, rate)| std::cmp::Reverse((*rate, total(row))));
        rows
    }

    /// Pools with refusals per second.
    #[must_use]
    pub fn pools(&self) -> Vec<(&PoolRow, u64)> {
        let before = self.before.iter().flat_map(|top| &top.pools);
        let rate = |row: &PoolRow| {
            let old = before.clone().find(|old| old.pool == row.pool);
            self.per_second(row.refusals.sum(), old.map_or(0, |old| old.refusals.sum()))
        };
        let pools = self.now.iter().flat_map(|top| &top.pools);
        pools.map(|row| (row, rate(row))).collect()
    }

    /// The busiest subscribers with how many ports more they use than before; None: they were
    /// not among the busiest then.
    #[must_use]
    pub fn subscribers(&self) -> Vec<(&SubscriberRow, Option<i64>)> {
        let before = |now: &SubscriberRow| {
            let mut rows = self.before.iter().flat_map(|top| &top.subscribers);
            rows.find(|row| (&row.realm, row.inside) == (&now.realm, now.inside))
        };
        let more = |row: &SubscriberRow| {
            let old = before(row)?;
            Some(row.ports_used.sum() as i64 - old.ports_used.sum() as i64)
        };
        let rows = self.now.iter().flat_map(|top| &top.subscribers);
        rows.map(|row| (row, more(row))).collect()
    }

    fn difference(&self) -> Option<Rates> {
        let (now, before) = (self.now.as_ref()?, self.before.as_ref()?);
        let pair = |of: fn(&Traffic) -> u64| {
            let one = |now, before| self.per_second(of(now), of(before));
            [
                one(&now.outbound, &before.outbound),
                one(&now.inbound, &before.inbound),
            ]
        };
        let dropped = |top: &Top| -> u64 {
            let drops = top.drops.iter().filter(|row| row.effect == "drop");
            drops.map(total).sum()
        };
        Some(Rates {
            packets: pair(|traffic| traffic.packets.sum()),
            bits: pair(|traffic| 8 * traffic.bytes.sum()),
            created: self.per_second(now.created.sum(), before.created.sum()),
            dropped: self.per_second(dropped(now), dropped(before)),
        })
    }

    /// A counter's growth per second between the last two looks. One that fell began anew.
    fn per_second(&self, now: u64, before: u64) -> u64 {
        let (Some(last), Some(first)) = (&self.now, &self.before) else {
            return 0;
        };
        let ms = last.at_ms.saturating_sub(first.at_ms);
        match ms {
            0 => 0,
            ms => (u128::from(now.saturating_sub(before)) * 1000 / u128::from(ms)) as u64,
        }
    }
}

/// Packets with this reason, in both paths.
#[must_use]
pub fn total(row: &DropRow) -> u64 {
    row.fast_path + row.slow_path
}
