//! Watches for floods, once a second: external addresses under attack, prefixes that open too many
//! sessions, and the slow path's own load. What begins and what ends is told to the daemon's log and
//! to sinks.

use std::time::{Duration, Instant};

use cgn_common::guards::PARTS;
use cgn_common::layout::Features;

use super::clock;
use crate::config::Config;
use crate::maplog::notice::What;
use crate::policy::attacks::{self, Attacks};
use crate::policy::overload::{self, Overload};
use crate::policy::throttle::{Prefix, Throttled};
use crate::state::State;

const PERIOD: Duration = Duration::from_secs(1);

/// What was seen at the last look.
#[derive(Debug)]
pub struct Floods {
    began: Instant,
    looked: Instant,
    attacks: Option<Attacks>,
    throttled: Option<Throttled>,
    overload: Option<Overload>,
    /// Time since then that the engine did not wait for packets.
    busy: Duration,
    /// Packets since then that found full rings.
    overflowed: u64,
}

impl Floods {
    /// Looks at what the configuration asks for.
    #[must_use]
    pub fn new(config: &Config, features: Features) -> Self {
        let guard = &config.guard;
        let attacks = features.has(Features::ATTACKS);
        let overload = features.has(Features::OVERLOAD);
        let throttles = Features::THROTTLE | Features::THROTTLE_IPV6;
        Self {
            began: Instant::now(),
            looked: Instant::now(),
            attacks: attacks.then(|| Attacks::new(guard.unsolicited_per_second)),
            throttled: features.has(throttles).then(Throttled::default),
            overload: overload.then(|| Overload::new(guard.busy_percent, guard.busy_secs)),
            busy: Duration::ZERO,
            overflowed: 0,
        }
    }

    /// The engine worked for so long since it waited last.
    pub fn worked(&mut self, time: Duration) {
        self.busy += time;
    }

    /// So many packets found full rings.
    pub fn overflowed(&mut self, packets: u64) {
        self.overflowed += packets;
    }

    /// What is to be told, about once a second.
    pub fn look(&mut self, state: &State) -> Vec<What> {
        let passed = self.looked.elapsed();
        if passed < PERIOD {
            return Vec::new();
        }
        self.looked = Instant::now();
        let busy = std::mem::take(&mut self.busy);
        let overflowed = std::mem::take(&mut self.overflowed) > 0;
        let busy_percent = (busy.as_secs_f64() * 100.0 / passed.as_secs_f64()).min(100.0);
        state.stats().floods.busy_percent = busy_percent;
        let mut told = self.attacks(state);
        told.extend(self.prefixes(state));
        told.extend(self.load(state, busy_percent as u64, overflowed));
        told
    }

    fn attacks(&mut self, state: &State) -> Vec<What> {
        let Some(attacks) = &mut self.attacks else {
            return Vec::new();
        };
        let pools = state.geometry.pools.iter().zip(0_u16..);
        let mut totals = vec![0; state.geometry.pools.len()];
        let addresses = pools.flat_map(|(shape, pool)| {
            let all = state.geometry.each_external(shape);
            all.map(move |(address, index)| (address, index, pool))
        });
        let counts = addresses.filter_map(|(address, index, pool)| {
            let count = state.memory.unsolicited.get(index)?.ever.load();
            totals[usize::from(pool)] += count;
            Some((address, count))
        });
        let changes = attacks.look(clock::monotonic_ms(state), counts);
        {
            let floods = &mut state.stats().floods;
            floods.unsolicited = totals;
            floods.attacked = attacks.attacked().collect();
        }
        let pool_of = |address| {
            let found = state
                .geometry
                .pools
                .iter()
                .position(|pool| pool.has(address));
            found.unwrap_or_default() as u16
        };
        let told = changes.into_iter().map(|(external, change)| match change {
            attacks::Change::Began(per_second) => What::AttackBegan {
                pool: pool_of(external),
                external,
                per_second,
            },
            attacks::Change::Ended => What::AttackEnded {
                pool: pool_of(external),
                external,
            },
        });
        told.collect()
    }

    fn prefixes(&mut self, state: &State) -> Vec<What> {
        let Some(throttled) = &mut self.throttled else {
            return Vec::new();
        };
        let all = Prefix::all(&state.memory, state.now_tick(), &state.geometry.realms);
        let (begun, ended) = throttled.look(all.iter().copied());
        state.stats().floods.throttled = all.into_iter().collect();
        let realm = |prefix: &Prefix| state.log_realm(prefix.realm);
        let begun = begun.into_iter();
        let begun = begun.map(|prefix| What::throttled(prefix, realm(&prefix)));
        let ended = ended.into_iter();
        let ended = ended.map(|prefix| What::released(prefix, realm(&prefix)));
        begun.chain(ended).collect()
    }

    fn load(&mut self, state: &State, busy_percent: u64, overflowed: bool) -> Option<What> {
        let overload = self.overload.as_mut()?;
        let now_ms = self.began.elapsed().as_millis() as u64;
        let change = overload.look(now_ms, busy_percent, overflowed)?;
        let parts = overload.parts();
        if let Some(settings) = state.memory.settings.get(0) {
            settings.put_off.store(parts);
        }
        let put_off_percent = parts * 100 / PARTS;
        state.stats().floods.put_off_percent = put_off_percent;
        match change {
            overload::Change::Began => Some(What::OverloadBegan { busy_percent }),
            overload::Change::Ended => Some(What::OverloadEnded { busy_percent }),
            overload::Change::Step => {
                tracing::info!(busy_percent, put_off_percent, "the slow path is overloaded");
                None
            }
        }
    }
}
