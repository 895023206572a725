//! The engine's clocks. Both are moved by the data plane's clock offset, so
//! that a test that moves time moves timers, holds and log records alike.

use std::time::{SystemTime, UNIX_EPOCH};

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
