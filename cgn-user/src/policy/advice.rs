//! Which limit an operator could set: how many ports subscribers had in use at most, and whom a
//! limit would have refused how much (`cgn advise limits`). Pure.

use serde::Serialize;

/// Most ports in use at once, by protocol, of each subscriber since the daemon started; those in
/// hold count, as they do for a limit. By index in `SUBSCRIBERS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peaks(Vec<[u16; 3]>);

impl Peaks {
    /// The subscriber has so many ports in use now. Six blocks of 1,024 are the most.
    pub fn observe(&mut self, subscriber: u32, used: [u32; 3]) {
        let at = subscriber as usize;
        if at >= self.0.len() {
            self.0.resize(at + 1, [0; 3]);
        }
        for (peak, used) in self.0[at].iter_mut().zip(used) {
            *peak = (*peak).max(used.min(u16::MAX.into()) as u16);
        }
    }

    /// How many subscribers had which peak in a protocol, ascending, without those that had none.
    #[must_use]
    pub fn counts(&self, protocol: usize) -> Vec<(u16, u64)> {
        let mut counts = std::collections::BTreeMap::new();
        for peak in self.0.iter().map(|peaks| peaks[protocol]) {
            if peak > 0 {
                *counts.entry(peak).or_insert(0) += 1;
            }
        }
        counts.into_iter().collect()
    }
}

/// What is said of one protocol.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    pub protocol: &'static str,
    /// Subscribers that had a port of it in use.
    pub subscribers: u64,
    /// So many of a hundred had at most so many ports; 0 without subscribers.
    pub p50: u16,
    pub p90: u16,
    pub p99: u16,
    pub most: u16,
    pub limits: Vec<Limit>,
    /// The least of these limits that touches no more subscribers than was asked for; none: all do.
    pub advised: Option<u16>,
}

/// What a limit would have done.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limit {
    pub ports: u16,
    /// Subscribers that had more ports at some time.
    pub refused_subscribers: u64,
    /// Those, in percent of all that had one.
    pub refused_percent: f64,
    /// Ports that they had beyond it at their peaks, together.
    pub refused_ports: u64,
}

/// The limits that are looked at: each about half as much again as the one before, to 6 blocks of 1,024.
const LIMITS: [u16; 16] = [
    16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 6144,
];

impl Advice {
    /// From how many subscribers had which peak, ascending. `most_percent` of them may be refused a
    /// port by the limit that is advised.
    #[must_use]
    pub fn of(protocol: &'static str, counts: &[(u16, u64)], most_percent: f64) -> Self {
        let subscribers = counts.iter().map(|(_, count)| count).sum();
        let limits: Vec<Limit> = LIMITS
            .into_iter()
            .map(|ports| limit(ports, counts, subscribers))
            .collect();
        let fits = |limit: &&Limit| limit.refused_percent <= most_percent;
        Self {
            protocol,
            subscribers,
            p50: quantile(counts, subscribers, 50),
            p90: quantile(counts, subscribers, 90),
            p99: quantile(counts, subscribers, 99),
            most: counts.last().map_or(0, |(peak, _)| *peak),
            advised: match subscribers {
                0 => None,
                _ => limits.iter().find(fits).map(|limit| limit.ports),
            },
            limits,
        }
    }
}

fn limit(ports: u16, counts: &[(u16, u64)], subscribers: u64) -> Limit {
    let above = counts.iter().filter(|(peak, _)| *peak > ports);
    let refused_subscribers = above.clone().map(|(_, count)| count).sum();
    Limit {
        ports,
        refused_subscribers,
        refused_percent: match subscribers {
            0 => 0.0,
            all => 100.0 * refused_subscribers as f64 / all as f64,
        },
        refused_ports: above
            .map(|(peak, count)| u64::from(peak - ports) * count)
            .sum(),
    }
}

/// The least peak that `percent` of the subscribers do not exceed (nearest rank).
fn quantile(counts: &[(u16, u64)], subscribers: u64, percent: u64) -> u16 {
    let rank = (subscribers * percent).div_ceil(100);
    let mut seen = 0;
    for (peak, count) in counts {
        seen += count;
        if seen >= rank {
            return *peak;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_the_most_that_was_seen_of_each_subscriber() {
        let mut peaks = Peaks::default();
        for (subscriber, used) in [(2, [5, 1, 0]), (0, [5, 9, 0]), (2, [3, 70_000, 0])] {
            peaks.observe(subscriber, used);
        }
        assert_eq!(peaks.counts(0), [(5, 2)]);
        assert_eq!(peaks.counts(1), [(9, 1), (u16::MAX, 1)]);
        assert_eq!(peaks.counts(2), []);
    }

    /// numpy.percentile(..., method="inverted_cdf") of 900 x 10, 90 x 100, 9 x 500, 1 x 3000.
    #[test]
    fn a_limit_is_advised_that_touches_no_more_than_asked_for() {
        let counts = [(10, 900), (100, 90), (500, 9), (3000, 1)];
        let advice = Advice::of("tcp", &counts, 0.1);
        assert_eq!((advice.p50, advice.p90, advice.p99), (10, 10, 100));
        assert_eq!((advice.most, advice.subscribers), (3000, 1000));
        assert_eq!(advice.advised, Some(512));
        let at = |ports| {
            *advice
                .limits
                .iter()
                .find(|limit| limit.ports == ports)
                .unwrap()
        };
        let cases = [
            (16, 100, 10.0, 90 * 84 + 9 * 484 + 2984),
            (128, 10, 1.0, 9 * 372 + 2872),
            (512, 1, 0.1, 2488),
            (4096, 0, 0.0, 0),
        ];
        for (ports, refused_subscribers, refused_percent, refused_ports) in cases {
            let expected = Limit {
                ports,
                refused_subscribers,
                refused_percent,
                refused_ports,
            };
            assert_eq!(at(ports), expected);
        }
        for (percent, advised) in [(10.0, 16), (5.0, 128), (1.0, 128), (0.0, 4096)] {
            assert_eq!(Advice::of("tcp", &counts, percent).advised, Some(advised));
        }
    }

    #[test]
    fn without_subscribers_nothing_is_advised() {
        let advice = Advice::of("icmp", &[], 100.0);
        assert_eq!((advice.advised, advice.p99, advice.most), (None, 0, 0));
    }
}
