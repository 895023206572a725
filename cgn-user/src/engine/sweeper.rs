//! Sweeping in slices, so that no packet waits long for the engine: first the
//! sessions, then what the log has to know of, then the slabs.

use std::mem;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use cgn_common::layout::{Features, Quota, SubscriberHead, Used};

use super::keeper::Keeper;
use crate::dataplane::install;
use crate::dataplane::journal::{self, News};
use crate::dataplane::session_sweep::Pass;
use crate::dataplane::sweep::{Logged, Swept, Timers, sweep_slab};
use crate::histogram::{self, Histogram};
use crate::realms::InsideKey;
use crate::state::{RealmStats, State};

/// Time that one slice may take.
const SLICE: Duration = Duration::from_millis(1);
/// Most news that the log is told at once.
const MOST_NEWS: usize = 2048;
/// A new sweep begins no sooner after the last one began.
const PERIOD: Duration = Duration::from_millis(500);
/// The same in times of what the last sweep took: sweeping takes a hundredth of one processor. With ten
/// million mappings (16 ns each, by `bench control`) one ends up to 16 s late.
const PERIOD_OF_BUSY: u32 = 100;
/// But no later than this.
const LONGEST_PERIOD: Duration = Duration::from_secs(20);

/// No subscriber was seen yet.
const NO_PORTS: [Histogram; 3] = [Histogram::new(histogram::PORTS); 3];

/// Where the sweep stands.
pub struct Sweeper {
    timers: Timers,
    /// Those of each group.
    group_timers: Vec<Timers>,
    /// Ports of a pool that may be held at once.
    most_held: u32,
    idle_ticks: u32,
    step: Step,
    began: Instant,
    /// From the beginning of the last sweep to that of the next.
    period: Duration,
    busy: Duration,
    /// What the last pass over the sessions saw; None where none are noted.
    sessions: Option<Pass>,
    swept: Vec<Swept>,
    /// Ports of the subscribers seen so far, by pool and protocol.
    subscriber_ports: Vec<[Histogram; 3]>,
    /// What was seen so far, by realm.
    realms: Vec<RealmStats>,
    /// Ports of each pool in hold after the last sweep.
    held: Vec<u32>,
    /// Whether slots have to be looked at for the log: it is told of mappings, or was.
    is_journaling: bool,
}

/// What the next slice looks at.
enum Step {
    /// Nothing, until the period is over.
    Rest,
    Sessions(Pass),
    /// What the log does not know yet, in slabs from this granted block on.
    News(usize),
    /// Slabs from this granted block on.
    Slabs(usize),
}

impl Sweeper {
    /// `timers` are those of all, and of each group. Another daemon that left blocks may have left
    /// marks in them, too.
    #[must_use]
    pub fn new(
        (timers, group_timers): (Timers, Vec<Timers>),
        most_held: u32,
        idle_ticks: u32,
        (pools, realms): (usize, usize),
        is_after_another: bool,
    ) -> Self {
        let mut sweeper = Self {
            timers,
            group_timers,
            most_held,
            idle_ticks,
            step: Step::Rest,
            began: Instant::now(),
            period: PERIOD,
            busy: Duration::ZERO,
            sessions: None,
            swept: vec![Swept::default(); pools],
            subscriber_ports: vec![NO_PORTS; pools],
            realms: vec![RealmStats::default(); realms],
            held: vec![0; pools],
            is_journaling: is_after_another,
        };
        sweeper.is_journaling |= sweeper.is_logging();
        sweeper
    }

    /// True if the log is to know of anybody's mappings.
    fn is_logging(&self) -> bool {
        let mut timers = self.group_timers.iter().chain([&self.timers]);
        timers.any(|timers| timers.logged != Logged::Nothing)
    }

    /// Sweeps for about a millisecond at most. `now` in ticks.
    pub fn slice(&mut self, state: &State, keeper: &mut Keeper, now: u32) {
        let start = Instant::now();
        match mem::replace(&mut self.step, Step::Rest) {
            Step::Rest if self.began.elapsed() < self.period => return,
            Step::Rest => {
                self.began = start;
                // Also where none are noted any more: those that were, end.
                self.step = Step::Sessions(Pass::new(now));
            }
            Step::Sessions(pass) => self.look_at_sessions(state, keeper, pass, now),
            Step::News(next) => self.look_for_news(state, keeper, next, now),
            Step::Slabs(next) => self.sweep_slabs(state, keeper, next, now),
        }
        self.busy += start.elapsed();
        if matches!(self.step, Step::Rest) {
            self.finish(state);
        }
    }

    fn look_at_sessions(&mut self, state: &State, keeper: &mut Keeper, mut pass: Pass, now: u32) {
        let timers = |inside| self.timers_of(state, InsideKey::from_bits(inside));
        let advanced = pass.advance(&state.memory.sessions, now, timers);
        self.tell_of_sessions(state, keeper, &mut pass, now);
        for inside in mem::take(&mut pass.ended) {
            let subscriber = state.geometry.subscriber_index(Ipv4Addr::from_bits(inside));
            if let Some(quota) = subscriber.and_then(|index| state.memory.quotas.get(index)) {
                uncount(quota);
            }
        }
        match advanced {
            Ok(false) => self.step = Step::Sessions(pass),
            Ok(true) => {
                let mut stats = state.stats();
                stats.sessions.live = pass.live;
                stats.sessions.expired += pass.expired;
                let is_on = state.memory.constants.features.has(Features::SESSIONS);
                self.sessions = is_on.then_some(pass);
                self.step = match self.is_journaling {
                    true => Step::News(0),
                    false => Step::Slabs(0),
                };
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the table of sessions cannot be read; its sessions live on until the next sweep"
                );
                self.sessions = None;
                self.step = Step::Slabs(0);
            }
        }
    }

    /// Tells the log what the pass found.
    fn tell_of_sessions(&self, state: &State, keeper: &mut Keeper, pass: &mut Pass, now: u32) {
        let external = |inside| {
            let index = state
                .geometry
                .subscriber_index(Ipv4Addr::from_bits(inside))?;
            let subscriber = state.memory.subscribers.get(index)?;
            Some(Ipv4Addr::from_bits(
                SubscriberHead(subscriber.head.load()).external(),
            ))
        };
        let found = mem::take(&mut pass.news).into_iter();
        let news: Vec<News> = found
            .filter_map(|(key, word)| {
                let whose = state.in_log(InsideKey::from_bits(key.inside));
                Some(journal::of_entry(
                    &key,
                    word,
                    external(key.inside)?,
                    whose,
                    now,
                ))
            })
            .collect();
        let ended = keeper.journal(&news);
        pass.expired += ended.len() as u64;
        pass.live -= ended.len() as u64;
        pass.ended.extend(ended);
    }

    /// Tells the log of mappings that began or ended, before the sweep ends or frees more.
    fn look_for_news(&mut self, state: &State, keeper: &mut Keeper, first: usize, now: u32) {
        let start = Instant::now();
        let mut news = Vec::new();
        self.step = Step::Slabs(0);
        for (number, granted) in keeper.granted.iter().enumerate().skip(first) {
            let grant = &granted.grant;
            let line = state.geometry.slab_line(grant.pool, grant.slab);
            let logged = self.timers_of(state, grant.inside).logged;
            let slab = journal::Slab {
                memory: &state.memory,
                line,
                logged,
                external: grant.external,
                whose: state.in_log(grant.inside),
                now,
            };
            slab.look(&mut news);
            if start.elapsed() >= SLICE || news.len() >= MOST_NEWS {
                self.step = Step::News(number + 1);
                break;
            }
        }
        let _ = keeper.journal(&news);
    }

    fn sweep_slabs(&mut self, state: &State, keeper: &mut Keeper, first: usize, now: u32) {
        let start = Instant::now();
        let mut next = first;
        while let Some(granted) = keeper.granted.get_mut(next) {
            let pool = usize::from(granted.grant.pool);
            let line = state
                .geometry
                .slab_line(granted.grant.pool, granted.grant.slab);
            let (inside, subscriber) = (granted.grant.inside, granted.subscriber);
            let timers = Timers {
                hold_room: self.hold_room(pool),
                ..*self.timers_of(state, inside)
            };
            let swept = sweep_slab(&state.memory, line, now, &timers);
            self.swept[pool].merge(&swept);
            let realm = &mut self.realms[usize::from(state.geometry.realms.who(inside).number)];
            for (all, live) in realm.mappings.iter_mut().zip(swept.live) {
                *all += u64::from(live);
            }
            if !self.group_timers.is_empty() {
                install::limit(&state.memory, &state.geometry, inside, subscriber);
            }
            let ports =
                install::ports_of_first_block_owner(&state.memory, granted.subscriber, line);
            if let Some(ports) = ports {
                realm.subscribers += 1;
                state.peaks().observe(subscriber, ports);
            }
            for (histogram, ports) in self.subscriber_ports[pool]
                .iter_mut()
                .zip(ports.into_iter().flatten())
            {
                histogram.observe(f64::from(ports));
            }
            if let Some(pass) = &self.sessions {
                pass.unshare(&state.memory, line, state.memory.constants.pools[pool]);
            }
            let is_empty = state
                .memory
                .room(line)
                .is_some_and(|room| room.used() == Used::NONE);
            granted.empty_since = match granted.empty_since {
                _ if !is_empty => None,
                None => Some(now),
                since => since,
            };
            next += 1;
            if start.elapsed() >= SLICE {
                self.step = Step::Slabs(next);
                return;
            }
        }
        keeper.take_idle(now, self.idle_ticks);
    }

    /// The timers of a subscriber.
    fn timers_of(&self, state: &State, inside: InsideKey) -> &Timers {
        match state.geometry.groups.number_of(inside) {
            Some(number) => self.group_timers.get(number).unwrap_or(&self.timers),
            None => &self.timers,
        }
    }

    /// Ports of the pool that may begin their hold now.
    fn hold_room(&self, pool: usize) -> u32 {
        let (before, swept) = (self.held[pool], &self.swept[pool]);
        let held = (before + swept.newly_held).saturating_sub(swept.freed);
        self.most_held.saturating_sub(held)
    }

    fn finish(&mut self, state: &State) {
        let mut stats = state.stats();
        stats.sweep.count += 1;
        stats.sweep.last_secs = self.busy.as_secs_f64();
        stats.sweep.total_secs += self.busy.as_secs_f64();
        self.is_journaling = self.is_logging() || self.swept.iter().any(|swept| swept.logged > 0);
        // The time of a session's record is that of the sweep.
        self.period = match self.is_journaling {
            true => PERIOD,
            false => period_after(self.busy),
        };
        for (number, swept) in self.swept.iter_mut().enumerate() {
            for protocol in 0..3 {
                stats.sweep.expired[protocol] += u64::from(swept.expired[protocol]);
            }
            stats.sweep.unheld_ports += u64::from(swept.unheld);
            if let Some(pool) = stats.pools.get_mut(number) {
                pool.mappings = swept.live.map(u64::from);
                pool.held_ports = u64::from(swept.held);
                pool.overflow = swept.overflow;
                pool.subscriber_ports = self.subscriber_ports[number];
            }
            self.held[number] = swept.held;
            *swept = Swept::default();
            self.subscriber_ports[number] = NO_PORTS;
        }
        let names = state.geometry.realms.names().iter().cloned();
        stats.realms = names.zip(self.realms.iter_mut().map(mem::take)).collect();
        self.busy = Duration::ZERO;
    }
}

/// Time between the beginnings of two sweeps, the first of which took so long.
fn period_after(busy: Duration) -> Duration {
    let all = busy.saturating_mul(PERIOD_OF_BUSY);
    all.clamp(PERIOD, LONGEST_PERIOD)
}

/// One session less. Those that were entered before anybody counted them are not there.
fn uncount(quota: &Quota) {
    loop {
        let count = quota.sessions.load();
        if count == 0 || quota.sessions.replace(count, count - 1) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_that_takes_long_comes_less_often() {
        let cases = [
            ("a small table: as often as ever", 0, 500),
            ("still a hundredth of a processor", 5_000, 500),
            ("ten million mappings", 160_000, 16_000),
            ("never later than that", 4_000_000, 20_000),
        ];
        for (sentence, micros, millis) in cases {
            assert_eq!(
                period_after(Duration::from_micros(micros)),
                Duration::from_millis(millis),
                "{sentence}"
            );
        }
    }
}
