//! The engine's clocks. Both are moved by the data plane's clock offset, so
//! that a test that moves time moves timers, holds and log records alike.

use std::time::{SystemTime, UNIX_EPOCH};

use cgn_common::limits::TICK_SHIFT;

use crate::maplog::directory::Hour;
use crate::state::State;

/// Milliseconds of the monotonic clock that XDP reads, for holds.
#[must_use]
pub fn monotonic_ms(state: &State) -> u64 {
    state.now_ns() / 1_000_000
}

/// Milliseconds of Unix time, not moved.
#[must_use]
pub fn system_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as u64)
}

/// Milliseconds of Unix time, for log records.
#[must_use]
pub fn unix_ms(state: &State) -> u64 {
    system_ms() + state.memory.clock_offset_ns() / 1_000_000
}

/// Milliseconds of Unix time at which tick `tick` began, when it is `now_tick` and `now_ms` now; not
/// before the hour that is now: a record stands in the file of its hour.
#[must_use]
pub fn unix_ms_of(tick: u32, now_tick: u32, now_ms: u64) -> u64 {
    // A packet may have stamped it a moment after `now_tick` was read.
    let ticks = (now_tick.wrapping_sub(tick) as i32).max(0) as u64;
    let age_ms = (ticks << TICK_SHIFT) / 1_000_000;
    let hour_ms = Hour::of(now_ms).start_ms();
    now_ms.saturating_sub(age_ms).max(hour_ms)
}

#[cfg(test)]
mod tests {
    use super::unix_ms_of;

    #[test]
    fn a_tick_is_a_time_of_this_hour() {
        let hour = 1_772_546_400_000;
        let cases = [
            ("just now", 1000, 1000, hour + 5000, hour + 5000),
            (
                "four ticks of 268 ms ago",
                996,
                1000,
                hour + 5000,
                hour + 3927,
            ),
            (
                "stamped after the clock was read",
                1001,
                1000,
                hour + 5000,
                hour + 5000,
            ),
            (
                "the counter went round",
                u32::MAX,
                3,
                hour + 5000,
                hour + 3927,
            ),
            ("in the hour before", 900, 1000, hour + 5000, hour),
        ];
        for (what, tick, now, now_ms, expected) in cases {
            assert_eq!(unix_ms_of(tick, now, now_ms), expected, "{what}");
        }
    }
}
