//! When an external address is under attack: more packets a second that nobody waits for than the
//! limit, until it had less than half of that for a while.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// It is quiet for so long before an attack is over.
const QUIET_MS: u64 = 10_000;

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// So many packets a second.
    Began(u64),
    Ended,
}

/// Every address that was looked at.
#[derive(Debug)]
pub struct Attacks {
    per_second: u64,
    /// When they were looked at last, in milliseconds.
    looked_ms: Option<u64>,
    /// Packets ever, by external address, at that time.
    seen: BTreeMap<Ipv4Addr, u64>,
    /// Those under attack: when they were busy last.
    attacked: BTreeMap<Ipv4Addr, u64>,
}

impl Attacks {
    /// `per_second` is the limit.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self {
            per_second: per_second.into(),
            looked_ms: None,
            seen: BTreeMap::new(),
            attacked: BTreeMap::new(),
        }
    }

    /// What changed, given the packets that each address had ever. The first look only remembers.
    pub fn look(
        &mut self,
        now_ms: u64,
        counts: impl Iterator<Item = (Ipv4Addr, u64)>,
    ) -> Vec<(Ipv4Addr, Change)> {
        let passed_ms = self.looked_ms.map(|last| now_ms.saturating_sub(last));
        if passed_ms == Some(0) {
            return Vec::new();
        }
        self.looked_ms = Some(now_ms);
        let mut changes = Vec::new();
        for (address, count) in counts {
            // What was never seen had none: most addresses never have any.
            let before = match count {
                0 => self.seen.remove(&address),
                count => self.seen.insert(address, count),
            };
            let Some(passed_ms) = passed_ms else { continue };
            let more = count.saturating_sub(before.unwrap_or(0));
            let rate = more.saturating_mul(1000) / passed_ms;
            changes.extend(
                self.judge(now_ms, address, rate)
                    .map(|what| (address, what)),
            );
        }
        changes
    }

    fn judge(&mut self, now_ms: u64, address: Ipv4Addr, rate: u64) -> Option<Change> {
        let Some(busy_ms) = self.attacked.get_mut(&address) else {
            if rate <= self.per_second {
                return None;
            }
            self.attacked.insert(address, now_ms);
            return Some(Change::Began(rate));
        };
        if rate > self.per_second / 2 {
            *busy_ms = now_ms;
        }
        if now_ms.saturating_sub(*busy_ms) < QUIET_MS {
            return None;
        }
        self.attacked.remove(&address);
        Some(Change::Ended)
    }

    /// The addresses under attack.
    pub fn attacked(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.attacked.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
    const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 6);

    #[test]
    fn an_attack_begins_above_the_limit_and_ends_after_a_quiet_while() {
        let mut attacks = Attacks::new(1000);
        let mut ever = 5_000_000;
        let first = attacks.look(0, [(ONE, ever), (OTHER, 0)].into_iter());
        assert_eq!(first, [], "what was before the daemon says nothing");
        // Seconds, packets a second meanwhile, what is told.
        let cases = [
            (1, 1000, vec![], "at the limit"),
            (2, 1001, vec![(ONE, Change::Began(1001))], "above"),
            (3, 9000, vec![], "told once"),
            (8, 501, vec![], "more than half still"),
            (17, 0, vec![], "quiet for nine seconds"),
            (18, 0, vec![(ONE, Change::Ended)], "for ten"),
            (19, 0, vec![], "told once"),
            (20, 2000, vec![(ONE, Change::Began(2000))], "again"),
        ];
        let mut last = 0;
        for (now, rate, expected, sentence) in cases {
            ever += rate * (now - last);
            last = now;
            let told = attacks.look(now * 1000, [(ONE, ever), (OTHER, 3)].into_iter());
            assert_eq!(told, expected, "{sentence}");
        }
        assert_eq!(attacks.attacked().collect::<Vec<_>>(), [ONE]);
    }

    #[test]
    fn a_look_too_soon_says_nothing() {
        let mut attacks = Attacks::new(10);
        let _ = attacks.look(5, [(ONE, 0)].into_iter());
        assert_eq!(attacks.look(5, [(ONE, 99)].into_iter()), []);
        assert_eq!(attacks.look(1005, [(ONE, 99)].into_iter()).len(), 1);
    }
}
