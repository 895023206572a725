//! Which prefixes are limited: what the table says now, against what was told before.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cgn_common::ipv6::prefixes;
use cgn_common::layout::{Guards, IPV6_LENGTHS, Limited, Side, THROTTLED_LENGTHS};
use cgn_common::limits::ticks;
use cgn_common::nat::throttle;

use crate::config::{self, Throttle};
use crate::dataplane::memory::Memory;
use crate::realms::{InsideKey, Realms};

/// Prefixes that are told of at once; beyond, who scans from everywhere would be a load for collectors.
const MOST: usize = 4096;

/// Sources whose new sessions are limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    pub is_inside: bool,
    /// Number of the realm in the configuration; outside there is none but 0.
    pub realm: u8,
    pub first: IpAddr,
    pub length: u8,
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

impl Prefix {
    /// The one that a cell of `NEWCOMERS` limits at the tick `now`. Inside, its bits are of a key: a
    /// key's upper half stands for one /16 of one realm, and no prefix here is wider.
    #[must_use]
    pub fn of(cell: u32, limited: Limited, now: u32, realms: &Realms) -> Option<Self> {
        if limited.left(now) == 0 {
            return None;
        }
        let (side, at) = throttle::kind_of(cell);
        let is_inside = side == Side::Inside;
        let (realm, first) = match is_inside {
            true => {
                let who = realms.who(InsideKey::from_bits(limited.prefix()));
                (who.number, who.address)
            }
            false => (0, Ipv4Addr::from_bits(limited.prefix())),
        };
        Some(Self {
            is_inside,
            realm,
            first: first.into(),
            length: THROTTLED_LENGTHS[at] as u8,
        })
    }

    /// The one of IPv6 that a cell of `NEWCOMERS_IPV6` limits at the tick `now`. A limit is not told of
    /// before its name is written.
    #[must_use]
    pub fn of_ipv6(memory: &Memory, cell: u32, now: u32) -> Option<Self> {
        let secret = memory.settings.get(0)?.id_secret.load();
        let found = memory.newcomers_ipv6.get(cell)?;
        let (first, realm) = prefixes::limited(secret, cell, found, now)?;
        let (side, at) = prefixes::kind_of(cell);
        Some(Self {
            is_inside: side == Side::Inside,
            realm,
            first: Ipv6Addr::from_bits(u128::from(first) << 64).into(),
            length: IPV6_LENGTHS[at] as u8,
        })
    }

    /// All that are limited at the tick `now`, in order.
    #[must_use]
    pub fn all(memory: &Memory, now: u32, realms: &Realms) -> BTreeSet<Self> {
        // Behind those of prefixes are those of rules.
        let cells = throttle::PREFIX_CELLS.min(memory.newcomers.len() as u32);
        let of_ipv4 = (0..cells).filter_map(|cell| {
            let word = memory.newcomers.get(cell)?.limited.load();
            Self::of(cell, Limited(word), now, realms)
        });
        let cells = memory.newcomers_ipv6.len() as u32;
        let of_ipv6 = (0..cells).filter_map(|cell| Self::of_ipv6(memory, cell, now));
        of_ipv4.chain(of_ipv6).collect()
    }

    /// `inside` or `outside`.
    #[must_use]
    pub const fn side(&self) -> &'static str {
        match self.is_inside {
            true => "inside",
            false => "outside",
        }
    }
}

/// What was told.
#[derive(Debug, Default)]
pub struct Throttled(BTreeSet<Prefix>);

impl Throttled {
    /// Those that are limited now: which of them are new, and which are limited no more.
    pub fn look(&mut self, now: impl Iterator<Item = Prefix>) -> (Vec<Prefix>, Vec<Prefix>) {
        let now: BTreeSet<Prefix> = now.collect();
        let ended: Vec<Prefix> = self.0.difference(&now).copied().collect();
        for prefix in &ended {
            self.0.remove(prefix);
        }
        let room = MOST - self.0.len();
        let begun = now.difference(&self.0).take(room).copied();
        let begun: Vec<Prefix> = begun.collect();
        self.0.extend(&begun);
        (begun, ended)
    }
}

/// Seconds that flows of IPv6 are learnt, where the table of those that are known is new: what went on
/// before is then known, and nobody is blamed for it. Whoever is silent for longer begins anew.
pub const LEARN_SECS: u64 = 30;

/// How many there are in a window, which is 2^30 ns, of so many a second.
#[must_use]
pub const fn in_window(rate: u32) -> u32 {
    ((rate as u64) << 30).div_ceil(1_000_000_000) as u32
}

/// The limits, in units of the data plane.
#[must_use]
pub fn guards(throttle: &Throttle, guard: &config::Guard) -> Guards {
    let (rates, rates_ipv6) = (throttle.rates(), throttle.rates_ipv6());
    let mut guards = Guards::NONE;
    let first = Guards::newcomers(Side::Inside, 0);
    guards.0[first..first + rates.len()].copy_from_slice(&rates.map(in_window));
    let first = Guards::newcomers_ipv6(Side::Inside, 0);
    guards.0[first..first + rates_ipv6.len()].copy_from_slice(&rates_ipv6.map(in_window));
    if rates != [0; 6] || rates_ipv6 != [0; 6] {
        guards.0[Guards::LIMIT_TICKS] = ticks(u64::from(throttle.limit_secs));
    }
    guards.0[Guards::UNSOLICITED] = in_window(guard.unsolicited_per_second);
    guards
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(number: u32) -> Prefix {
        Prefix {
            is_inside: false,
            realm: 0,
            first: Ipv4Addr::from_bits(number << 8).into(),
            length: 24,
        }
    }

    #[test]
    fn each_is_told_once_when_it_begins_and_once_when_it_ends() {
        let mut throttled = Throttled::default();
        let both = [prefix(1), prefix(2)];
        // A prefix can stand in both its cells.
        let twice = both.into_iter().chain(both);
        assert_eq!(throttled.look(twice), (both.to_vec(), vec![]));
        assert_eq!(throttled.look(both.into_iter()), (vec![], vec![]));
        let other = [prefix(2), prefix(3)].into_iter();
        assert_eq!(throttled.look(other), (vec![prefix(3)], vec![prefix(1)]));
        let ended = vec![prefix(2), prefix(3)];
        assert_eq!(throttled.look([].into_iter()), (vec![], ended));
    }

    #[test]
    fn a_flood_of_prefixes_is_no_flood_of_notices() {
        let mut throttled = Throttled::default();
        let (begun, _) = throttled.look((0..100_000).map(prefix));
        assert_eq!(begun.len(), MOST);
        let (begun, ended) = throttled.look([].into_iter());
        assert_eq!(
            (begun.len(), ended.len()),
            (0, MOST),
            "what was not told does not end"
        );
    }

    #[test]
    fn rates_are_those_of_a_window() {
        let throttle = Throttle {
            outside_24: 1000,
            inside_host: 1,
            outside_48: 500,
            limit_secs: 60,
            ..Throttle::default()
        };
        let guard = config::Guard {
            unsolicited_per_second: 10_000,
            ..config::Guard::default()
        };
        let guards = guards(&throttle, &guard).0;
        assert_eq!(guards[Guards::newcomers(Side::Outside, 1)], 1074);
        assert_eq!(
            guards[Guards::newcomers(Side::Inside, 0)],
            2,
            "never less than asked for"
        );
        assert_eq!(guards[Guards::newcomers(Side::Inside, 2)], 0, "not limited");
        assert_eq!(guards[Guards::newcomers_ipv6(Side::Outside, 2)], 537);
        assert_eq!(
            guards[Guards::newcomers_ipv6(Side::Inside, 0)],
            0,
            "not limited"
        );
        assert_eq!(guards[Guards::LEARNT], 0, "set at start");
        assert_eq!(guards[Guards::LIMIT_TICKS], ticks(60));
        assert_eq!(guards[Guards::UNSOLICITED], 10_738);
    }
}
