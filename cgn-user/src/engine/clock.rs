//! The engine's clocks. Both are moved by the data plane's clock offset, so
//! that a test that moves time moves timers, holds and log records alike. And what the kernel
//! knows of the system's clock, for log records are to be right to a second (RFC 6302 section 2).

use std::io;
use std::mem::MaybeUninit;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// Records may not be off by more.
const MOST_OFF: Duration = Duration::from_secs(1);

/// What the kernel knows of the system's clock (adjtimex(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discipline {
    /// Somebody (chrony, ntpd, systemd-timesyncd) keeps it right.
    pub is_synchronised: bool,
    /// It is off by this at most; grows while nobody tells the kernel the time, up to 16 s.
    pub most_off: Duration,
}

impl Discipline {
    /// Asks the kernel; changes nothing.
    ///
    /// # Errors
    /// The kernel's, as where a filter of system calls forbids it.
    pub fn read() -> io::Result<Self> {
        let mut timex = MaybeUninit::<libc::timex>::zeroed();
        // SAFETY: all zero is a request to read, and the memory is ours across the call.
        let state = unsafe { libc::adjtimex(timex.as_mut_ptr()) };
        if state < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: any bytes are a timex, and all of it was zeroed.
        let timex = unsafe { timex.assume_init() };
        Ok(Self::of(state, timex.status, timex.maxerror))
    }

    /// `state` is what the call returned; `most_off_us` in microseconds.
    fn of(state: i32, status: i32, most_off_us: i64) -> Self {
        Self {
            is_synchronised: state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0,
            most_off: Duration::from_micros(u64::try_from(most_off_us).unwrap_or(0)),
        }
    }

    /// True if times in log records may be taken as they are.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.is_synchronised && self.most_off <= MOST_OFF
    }
}

/// Says in the log if records may have a wrong time.
pub fn warn_if_off() {
    match Discipline::read() {
        Ok(discipline) if discipline.is_good() => {}
        Ok(discipline) => tracing::warn!(
            most_off_secs = discipline.most_off.as_secs_f64(),
            "the system's clock is not synchronised: times in the mapping log may be wrong, and whoever is asked about \
             may be the wrong one. Is chrony running?"
        ),
        Err(error) => {
            tracing::warn!(%error, "the kernel does not tell whether the system's clock is right")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Discipline, unix_ms_of};

    #[test]
    fn a_clock_that_nobody_keeps_right_is_not_good() {
        for (sentence, (state, status, most_off_us), is_good) in [
            (
                "kept right, to 30 ms",
                (libc::TIME_OK, libc::STA_PLL, 30_000),
                true,
            ),
            (
                "to a second",
                (libc::TIME_OK, libc::STA_PLL, 1_000_000),
                true,
            ),
            (
                "not heard of the time for long",
                (libc::TIME_OK, libc::STA_PLL, 1_000_001),
                false,
            ),
            (
                "a leap second to come",
                (libc::TIME_INS, libc::STA_INS, 30_000),
                true,
            ),
            (
                "as after a boot",
                (libc::TIME_ERROR, libc::STA_UNSYNC, 16_000_000),
                false,
            ),
            (
                "a hardware clock that fails",
                (libc::TIME_ERROR, libc::STA_PLL, 30_000),
                false,
            ),
        ] {
            let discipline = Discipline::of(state, status, most_off_us);
            assert_eq!(discipline.is_good(), is_good, "{sentence}");
            assert_eq!(
                discipline.most_off,
                Duration::from_micros(most_off_us as u64)
            );
        }
    }

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
