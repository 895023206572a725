//! When sinks are told that something ran out or is about to: the same once in a window, and a
//! threshold again only after the other one was reached.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use crate::alloc::{PoolStatus, Refusal};
use crate::maplog::notice::What;

/// Different notices that one window can have; beyond, subscribers who knock on a full pool would
/// be a load for collectors.
const MOST_OF_WINDOW: usize = 4096;
/// Looking through all of them takes longer than a refusal may, so it is done so seldom.
const TIDY_MS: u64 = 1000;
/// IANA numbers of the protocols that a block has ports of: ICMP, TCP, UDP.
const PROTOCOLS: [u8; 3] = [1, 6, 17];

/// What was told lately.
#[derive(Debug)]
pub struct Notices {
    window_ms: u64,
    /// When each was told last, on the monotonic clock, in milliseconds.
    told: HashMap<What, u64>,
    /// When what is older than the window was removed last.
    tidied_ms: u64,
    /// By number of the pool: of all its blocks, and of those for overflow, the high threshold was
    /// reached, and the low one not since.
    is_high: Vec<[bool; 2]>,
}

/// A pool's limits, as the configuration has them.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub block_ports: u32,
    /// Percent of its blocks; 0 never.
    pub high_percent: u8,
    pub low_percent: u8,
}

/// A threshold that was reached, and its percentage.
enum Crossed {
    High(u8),
    Low(u8),
}

impl Limits {
    /// Whether blocks are many now, or few again, of which `free` are neither in use nor in hold.
    fn crossed(&self, is_high: &mut bool, total: u64, free: u64) -> Option<Crossed> {
        let (high, low) = (self.high_percent, self.low_percent);
        let taken = total - free;
        if !*is_high && high > 0 && total > 0 && taken * 100 >= total * u64::from(high) {
            *is_high = true;
            return Some(Crossed::High(high));
        }
        // At the low percentage or below.
        if *is_high && taken * 100 <= total * u64::from(low) {
            *is_high = false;
            return Some(Crossed::Low(low));
        }
        None
    }
}

/// So many percent, rounded up.
fn part(total: u64, percent: u8) -> u64 {
    (total * u64::from(percent)).div_ceil(100)
}

impl Notices {
    #[must_use]
    pub fn new(window_secs: u32) -> Self {
        Self {
            window_ms: u64::from(window_secs) * 1000,
            told: HashMap::new(),
            tidied_ms: 0,
            is_high: Vec::new(),
        }
    }

    /// What is to be told of a refusal; nothing if it was told within the window.
    pub fn refused(
        &mut self,
        now_ms: u64,
        pool: u16,
        (realm, inside): (u16, Ipv4Addr),
        refusal: &Refusal,
        limits: &Limits,
    ) -> Vec<What> {
        let mappings = |blocks: u32| blocks.saturating_mul(limits.block_ports);
        let whats = match *refusal {
            Refusal::PoolExhausted => vec![What::AddressesExhausted { pool }],
            Refusal::AddressExhausted { external } => PROTOCOLS
                .map(|protocol| What::PortsExhausted {
                    pool,
                    external,
                    protocol,
                })
                .to_vec(),
            Refusal::SubscriberLimit { limit } => vec![What::SubscriberExceeded {
                pool,
                inside,
                realm,
                most: mappings(limit),
            }],
            Refusal::NoSlab { max_blocks } => vec![What::MappingsExceeded {
                pool,
                most: mappings(max_blocks),
            }],
            Refusal::UnknownPool { .. } => Vec::new(),
        };
        let mut whats = whats;
        whats.retain(|what| self.is_due(*what, now_ms));
        whats
    }

    /// What is to be told of a pool's use.
    pub fn used(&mut self, pool: u16, status: &PoolStatus, limits: &Limits) -> Vec<What> {
        let number = usize::from(pool);
        if self.is_high.len() <= number {
            self.is_high.resize(number + 1, [false; 2]);
        }
        let [is_high, is_overflow_high] = &mut self.is_high[number];
        let addresses = |percent| part(status.addresses_total.into(), percent) as u32;
        let of_all = limits.crossed(is_high, status.blocks_total, status.blocks_free);
        let of_all = of_all.map(|crossed| match crossed {
            Crossed::High(percent) => What::PoolHigh {
                pool,
                addresses: addresses(percent),
            },
            Crossed::Low(percent) => What::PoolLow {
                pool,
                addresses: addresses(percent),
            },
        });
        let total = status.overflow_total;
        let of_overflow = limits.crossed(is_overflow_high, total, status.overflow_free);
        let of_overflow = of_overflow.map(|crossed| match crossed {
            Crossed::High(percent) => What::OverflowHigh {
                pool,
                blocks: part(total, percent),
            },
            Crossed::Low(percent) => What::OverflowLow {
                pool,
                blocks: part(total, percent),
            },
        });
        of_all.into_iter().chain(of_overflow).collect()
    }

    fn is_due(&mut self, what: What, now_ms: u64) -> bool {
        let window_ms = self.window_ms;
        let is_old = |told_ms: u64| now_ms.saturating_sub(told_ms) >= window_ms;
        if self.told.get(&what).is_some_and(|told| !is_old(*told)) {
            return false;
        }
        let since_tidied_ms = now_ms.saturating_sub(self.tidied_ms);
        if self.told.len() >= MOST_OF_WINDOW && since_tidied_ms >= TIDY_MS {
            self.tidied_ms = now_ms;
            self.told.retain(|_, told| !is_old(*told));
        }
        if self.told.len() >= MOST_OF_WINDOW {
            return false;
        }
        self.told.insert(what, now_ms);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSIDE: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
    const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
    const LIMITS: Limits = Limits {
        block_ports: 512,
        high_percent: 90,
        low_percent: 50,
    };

    #[test]
    fn each_refusal_has_its_notice_and_has_it_once_in_a_window() {
        let ports = |protocol| What::PortsExhausted {
            pool: 3,
            external: EXTERNAL,
            protocol,
        };
        let cases = [
            (
                Refusal::PoolExhausted,
                vec![What::AddressesExhausted { pool: 3 }],
            ),
            (
                Refusal::AddressExhausted { external: EXTERNAL },
                vec![ports(1), ports(6), ports(17)],
            ),
            (
                Refusal::SubscriberLimit { limit: 4 },
                vec![What::SubscriberExceeded {
                    pool: 3,
                    inside: INSIDE,
                    realm: 7,
                    most: 2048,
                }],
            ),
            (
                Refusal::NoSlab { max_blocks: 100 },
                vec![What::MappingsExceeded {
                    pool: 3,
                    most: 51_200,
                }],
            ),
        ];
        let mut notices = Notices::new(60);
        for (now_ms, is_told) in [(5, true), (6, false), (60_004, false), (60_005, true)] {
            for (refusal, expected) in &cases {
                let told = notices.refused(now_ms, 3, (7, INSIDE), refusal, &LIMITS);
                let expected = if is_told {
                    expected.clone()
                } else {
                    Vec::new()
                };
                assert_eq!(told, expected, "{refusal:?} at {now_ms} ms");
            }
        }
    }

    #[test]
    fn a_hundred_thousand_who_knock_are_no_flood() {
        let mut notices = Notices::new(60);
        let mut told = [0; 2];
        for (window, told) in told.iter_mut().enumerate() {
            for number in 0..100_000_u32 {
                let inside = Ipv4Addr::from_bits(0x6440_0000 + number);
                let limit = Refusal::SubscriberLimit { limit: 4 };
                let now_ms = window as u64 * 60_000 + u64::from(number) / 100;
                *told += notices
                    .refused(now_ms, 0, (0, inside), &limit, &LIMITS)
                    .len();
                // Of the pool itself, one in all.
                let pool = Refusal::PoolExhausted;
                *told += notices
                    .refused(now_ms, 0, (0, inside), &pool, &LIMITS)
                    .len();
            }
        }
        assert_eq!(told[0], MOST_OF_WINDOW);
        assert!(told[1] <= MOST_OF_WINDOW, "{told:?}");
    }

    #[test]
    fn a_threshold_is_told_again_only_after_the_other() {
        let mut notices = Notices::new(60);
        let high = What::PoolHigh {
            pool: 1,
            addresses: 18,
        };
        let low = What::PoolLow {
            pool: 1,
            addresses: 10,
        };
        // Of 1000 blocks at 20 addresses.
        let cases = [
            (100, None, "little is used: low was never left"),
            (899, None, "just below"),
            (900, Some(high), "reached"),
            (950, None, "still"),
            (501, None, "between the two"),
            (900, None, "high again without low between"),
            (500, Some(low), "low reached"),
            (0, None, "still low"),
            (1000, Some(high), "full"),
        ];
        for (taken, expected, what) in cases {
            let status = PoolStatus {
                blocks_total: 1000,
                blocks_free: 1000 - taken,
                addresses_total: 20,
                ..PoolStatus::default()
            };
            let told = notices.used(1, &status, &LIMITS);
            assert_eq!(told, Vec::from_iter(expected), "{what}");
            let never = Limits {
                high_percent: 0,
                ..LIMITS
            };
            assert_eq!(Notices::new(60).used(1, &status, &never), []);
        }
    }

    /// R7422-10: shares are as good as never used up together; what is behind them is.
    #[test]
    fn blocks_for_overflow_have_thresholds_of_their_own() {
        let mut notices = Notices::new(60);
        let high = What::OverflowHigh {
            pool: 1,
            blocks: 36,
        };
        let low = What::OverflowLow {
            pool: 1,
            blocks: 20,
        };
        // Of 1,000 blocks 40 are for overflow.
        let cases = [
            (35, None, "just below"),
            (36, Some(high), "reached"),
            (40, None, "all"),
            (21, None, "between the two"),
            (20, Some(low), "low reached"),
            (36, Some(high), "high again"),
        ];
        for (taken, expected, what) in cases {
            let status = PoolStatus {
                blocks_total: 1000,
                blocks_free: 1000 - 100 - taken,
                overflow_total: 40,
                overflow_free: 40 - taken,
                addresses_total: 20,
                ..PoolStatus::default()
            };
            let told = notices.used(1, &status, &LIMITS);
            assert_eq!(told, Vec::from_iter(expected), "{what}");
        }
    }
}
