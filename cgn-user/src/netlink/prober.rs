//! When to ask the kernel for a neighbour: not too often for one, not too often for all. Pure.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use crate::routes::Probe;

/// One neighbour is asked for at most this often.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Limits requests for neighbours. Someone who scans a connected prefix makes one request per
/// address, and each becomes a broadcast on the link and an entry in the kernel's table.
#[derive(Debug)]
pub(super) struct Prober {
    per_sec: u32,
    /// Requests that may be made now; up to a second's worth.
    budget: f64,
    filled: Duration,
    asked: HashMap<Probe, Duration>,
}

impl Prober {
    pub(super) fn new(per_sec: u32) -> Self {
        Prober {
            per_sec,
            budget: f64::from(per_sec),
            filled: Duration::ZERO,
            asked: HashMap::new(),
        }
    }

    /// Those of `wanted` to ask for now, in order. `now` may start anywhere but never goes back.
    pub(super) fn pick(
        &mut self,
        now: Duration,
        wanted: impl IntoIterator<Item = Probe>,
    ) -> Vec<Probe> {
        let passed = now.saturating_sub(self.filled).as_secs_f64();
        let per_sec = f64::from(self.per_sec);
        self.budget = (self.budget + passed * per_sec).min(per_sec);
        self.filled = now;
        self.asked
            .retain(|_, at| now.saturating_sub(*at) < AGAIN_AFTER);
        let mut picked = Vec::new();
        for probe in wanted {
            if self.budget < 1.0 {
                break;
            }
            if let Entry::Vacant(entry) = self.asked.entry(probe) {
                entry.insert(now);
                self.budget -= 1.0;
                picked.push(probe);
            }
        }
        picked
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn probes(range: std::ops::Range<u32>) -> Vec<Probe> {
        range
            .map(|number| Probe {
                ifindex: 1,
                ip: Ipv4Addr::from(number),
            })
            .collect()
    }

    #[test]
    fn limits_each_and_all() {
        let ms = Duration::from_millis;
        let cases = [
            ("a second's worth at once", 0, 0..20, 0..10),
            ("the same again at once", 0, 0..20, 0..0),
            ("a tenth of a second later, one more", 100, 0..20, 10..11),
            ("half a second later, five of the rest", 600, 0..20, 11..16),
            (
                "after a second the first ones may be asked again",
                1500,
                0..20,
                0..9,
            ),
            ("a long rest does not save up", 60_000, 0..20, 0..10),
        ];
        let mut prober = Prober::new(10);
        for (what, now_ms, wanted, expected) in cases {
            let picked = prober.pick(ms(now_ms), probes(wanted));
            assert_eq!(picked, probes(expected), "{what}");
        }
    }
}
