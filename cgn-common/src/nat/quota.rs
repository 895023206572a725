//! Limits of subscribers that are more than a count of ports: new mappings a second
//! (RFC 6888 REQ-4c), further sessions (REQ-5), and what was refused when.
//!
//! How many *mappings* one may have costs nothing to know: it stands in the room
//! of each block, see [`crate::layout::Limits`].

use crate::block::page_of;
use crate::layout::{Features, Quota, QuotaLimits, Refused, refusal_of};
use crate::tables::Tables;
use crate::verdict::Reason;

/// New mappings in a tick (2^28 ns) for each one a second, in 2^-16.
const PER_TICK: u64 = (1 << (28 + 16)) / 1_000_000_000;
/// One mapping in a bucket.
const ONE: u64 = 1 << 16;
/// Most that fit in 32 bits.
const MOST: u64 = (1 << 32) - 1;
/// Attempts to take one from a bucket that other processors take from, too.
const TRIES: u32 = 4;

/// Takes one of the new mappings that a subscriber may open now; false if there is
/// none. Never gives more than the limit: who loses every race goes without.
#[inline(always)]
#[must_use]
pub fn may_open<T: Tables + ?Sized>(tables: &T, subscriber: u32, tick: u32) -> bool {
    if !tables.features().has(Features::QUOTAS) {
        return true;
    }
    match tables.quota(subscriber) {
        Some(quota) => take(quota, tick),
        None => true,
    }
}

/// Takes one from the bucket.
#[inline(always)]
fn take(quota: &Quota, now: u32) -> bool {
    let Some((each_second, burst)) = QuotaLimits(quota.limits.load()).rate() else {
        return true;
    };
    let most = u64::from(burst) * ONE;
    let most = if most > MOST { MOST } else { most };
    for _ in 0..TRIES {
        let seen = quota.bucket.load();
        // Signed: another processor may have counted a moment after `now` was read.
        let elapsed = now.wrapping_sub(seen as u32) as i32;
        let elapsed = if elapsed < 0 { 0 } else { elapsed as u64 };
        let filled = (seen >> 32) + elapsed * u64::from(each_second) * PER_TICK;
        let filled = if filled > most { most } else { filled };
        if filled < ONE {
            return false;
        }
        let counted = if elapsed == 0 { seen as u32 } else { now };
        if quota
            .bucket
            .replace(seen, u64::from(counted) | (filled - ONE) << 32)
        {
            return true;
        }
    }
    false
}

/// Remembers that a flow of the subscriber was refused, if it was, and if any are
/// remembered. Once a tick and kind, so that a flood of them writes no memory.
#[inline(always)]
pub fn remember<T: Tables + ?Sized>(tables: &T, subscriber: u32, reason: Reason, tick: u32) {
    if !tables.features().has(Features::QUOTAS) {
        return;
    }
    if let (Some(kind), Some(quota)) = (refusal_of(reason), tables.quota(subscriber)) {
        note(quota, kind, tick);
    }
}

/// Notes a refusal of this kind.
#[inline(always)]
pub fn note(quota: &Quota, kind: usize, tick: u32) {
    let Some(word) = quota.refused.get(kind) else {
        return;
    };
    let seen = Refused(word.load());
    if seen.0 == 0 || seen.last() != tick {
        // Lost to another processor, which noted the same.
        let _ = word.replace(seen.0, seen.again(tick).0);
    }
}

/// The quota of an inside address, where any are looked at.
#[inline(always)]
pub(super) fn of_inside<T: Tables + ?Sized>(tables: &T, inside: u32) -> Option<&Quota> {
    if !tables.features().has(Features::QUOTAS) {
        return None;
    }
    let page = tables.inside_page(page_of(inside))?;
    tables.quota(page.index_of(inside)?)
}

/// True if a subscriber may have one more session.
#[inline(always)]
pub(super) fn may_enter(quota: &Quota) -> bool {
    QuotaLimits(quota.limits.load()).admits(quota.sessions.load())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ticks;

    fn quota(each_second: u16, burst: u16) -> Quota {
        let quota = Quota::default();
        let limits = QuotaLimits::NONE.with_rate(each_second, burst);
        quota.limits.store(limits.0);
        quota
    }

    #[test]
    fn a_bucket_gives_a_burst_and_then_so_many_a_second() {
        for (each_second, burst) in [(1, 2), (200, 50), (200, 400), (65_535, 65_535)] {
            let quota = quota(each_second, burst);
            let start = ticks(100_000);
            let taken = |tick| (0..200_000).filter(|_| take(&quota, tick)).count();
            assert_eq!(
                taken(start),
                usize::from(burst),
                "{each_second}/s, a full bucket"
            );
            assert_eq!(taken(start), 0);
            let secs = 60;
            let sum: usize = (1..=ticks(secs)).map(|t| taken(start + t)).sum();
            let wanted = (u64::from(each_second) * secs) as f64;
            let most = usize::from(burst) as f64;
            // A bucket smaller than what a tick brings gives no more than itself.
            let per_tick = f64::from(each_second) * 0.268_435_456;
            let wanted = if per_tick > most {
                wanted * most / per_tick
            } else {
                wanted
            };
            let ratio = sum as f64 / wanted;
            assert!(
                (0.98..1.01).contains(&ratio),
                "{each_second}/s: {sum} of {wanted}"
            );
            assert_eq!(
                taken(start + ticks(1_000_000)),
                usize::from(burst),
                "full again"
            );
        }
    }

    #[test]
    fn a_clock_that_stands_back_on_another_processor_gives_nothing() {
        let quota = quota(10, 5);
        assert_eq!((0..9).filter(|_| take(&quota, 1000)).count(), 5);
        assert!(!take(&quota, 999));
        assert!(!take(&quota, 1000));
    }

    #[test]
    fn many_processors_take_no_more_than_there_is() {
        let quota = quota(1, 1000);
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..10_000).filter(|_| take(&quota, 5000)).count()))
                .collect();
            threads
                .into_iter()
                .map(|t| t.join().expect("no panic"))
                .sum()
        });
        assert_eq!(taken, 1000);
    }
}
