//! Sweeping in slices, so that no packet waits long for the engine.

use std::time::{Duration, Instant};

use cgn_common::layout::header;

use super::keeper::Keeper;
use crate::dataplane::sweep::{Swept, Timers, sweep_slab};
use crate::state::State;

/// Time that one slice may take.
const SLICE: Duration = Duration::from_millis(1);
/// A new sweep begins no sooner after the last one began.
const PERIOD: Duration = Duration::from_millis(500);

/// Where the sweep stands.
pub struct Sweeper {
    timers: Timers,
    idle_ticks: u32,
    next: usize,
    began: Instant,
    busy: Duration,
    swept: Vec<Swept>,
}

impl Sweeper {
    #[must_use]
    pub fn new(timers: Timers, idle_ticks: u32, pools: usize) -> Self {
        Self {
            timers,
            idle_ticks,
            next: 0,
            began: Instant::now(),
            busy: Duration::ZERO,
            swept: vec![Swept::default(); pools],
        }
    }

    /// Sweeps for at most a millisecond. `now` in ticks.
    pub fn slice(&mut self, state: &State, keeper: &mut Keeper, now: u32) {
        if self.next == 0 && self.began.elapsed() < PERIOD {
            return;
        }
        let start = Instant::now();
        if self.next == 0 {
            self.began = start;
        }
        while let Some(granted) = keeper.granted.get_mut(self.next) {
            let line = state
                .geometry
                .slab_line(granted.grant.pool, granted.grant.slab);
            let swept = sweep_slab(&state.memory, line, now, &self.timers);
            self.swept[usize::from(granted.grant.pool)].merge(&swept);
            let is_empty = state
                .memory
                .slabs
                .get(line)
                .is_some_and(|head| head.0[header::USED].load() == 0);
            granted.empty_since = match granted.empty_since {
                _ if !is_empty => None,
                None => Some(now),
                since => since,
            };
            self.next += 1;
            if start.elapsed() >= SLICE {
                self.busy += start.elapsed();
                return;
            }
        }
        keeper.take_idle(now, self.idle_ticks);
        self.busy += start.elapsed();
        self.finish(state);
    }

    fn finish(&mut self, state: &State) {
        let mut stats = state.stats();
        stats.sweep.count += 1;
        stats.sweep.last_secs = self.busy.as_secs_f64();
        stats.sweep.total_secs += self.busy.as_secs_f64();
        for (number, swept) in self.swept.iter_mut().enumerate() {
            for protocol in 0..3 {
                stats.sweep.expired[protocol] += u64::from(swept.expired[protocol]);
            }
            if let Some(pool) = stats.pools.get_mut(number) {
                pool.mappings = swept.live.map(u64::from);
                pool.held_ports = u64::from(swept.held);
            }
            *swept = Swept::default();
        }
        self.busy = Duration::ZERO;
        self.next = 0;
    }
}
