//! Taking blocks back that nobody uses: out of the tables, onto record, and only then free.

use super::{Granted, Keeper};
use crate::dataplane::install::{self, Grant};
use crate::engine::clock;
use crate::maplog::{Entry, Event, ReleaseReason};
use crate::policy;

impl Keeper {
    /// Takes back the empty blocks among `granted[..]` that have been empty
    /// long enough, as the policy allows. `now` in ticks.
    pub fn take_idle(&mut self, now: u32, idle_ticks: u32) {
        let mut at = 0;
        while at < self.granted.len() {
            let granted = self.granted[at];
            let is_idle = granted
                .empty_since
                .is_some_and(|since| now.wrapping_sub(since) >= idle_ticks);
            if is_idle && self.may_take(&granted) && self.take(&granted) {
                self.unlogged.push((granted, ReleaseReason::Idle));
                self.granted.swap_remove(at);
            } else {
                at += 1;
            }
        }
        self.log_releases();
    }

    fn may_take(&self, granted: &Granted) -> bool {
        let geometry = &self.state.geometry;
        if geometry.is_static(granted.grant.pool, granted.grant.block) {
            return false;
        }
        let line = geometry.slab_line(granted.grant.pool, granted.grant.slab);
        let watermark = geometry.pools[usize::from(granted.grant.pool)].watermark_ports;
        let blocks = install::ports_used(&self.state.memory, granted.subscriber);
        let used: Vec<_> = blocks.iter().map(|(_, used)| *used).collect();
        blocks
            .iter()
            .position(|(at, _)| *at == line)
            .is_some_and(|at| policy::blocks::may_take(&used, at, watermark))
    }

    fn take(&self, granted: &Granted) -> bool {
        install::take(&self.state.memory, &self.state.geometry, &granted.grant)
    }

    /// Logs the releases that are not logged yet, and only then lets the
    /// allocator have the blocks.
    pub fn log_releases(&mut self) {
        if self.unlogged.is_empty() {
            return;
        }
        let entries: Vec<Entry> = self
            .unlogged
            .iter()
            .map(|(granted, reason)| {
                self.entry(Event::Release {
                    block: self.block(&granted.grant),
                    reason: *reason,
                })
            })
            .collect();
        match self.append(&entries) {
            Ok(Some(_)) => self.state.stats().log.release_records += entries.len() as u64,
            Ok(None) => {}
            // They stay to be logged.
            Err(_) => return,
        }
        let now_ms = clock::monotonic_ms(&self.state);
        for (granted, _) in std::mem::take(&mut self.unlogged) {
            let Grant {
                pool,
                external,
                block,
                ..
            } = granted.grant;
            let released =
                self.allocator
                    .release(pool, granted.subscriber, external.to_bits(), block, now_ms);
            if let Err(error) = released {
                tracing::error!(error = &error as &dyn std::error::Error, "please report");
            }
        }
    }
}
