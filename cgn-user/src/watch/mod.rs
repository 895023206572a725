//! `cgn trace`, `cgn capture` and mirrors: packets as the fast path sees them, for those who watch. The
//! programs are swapped for the watching build meanwhile (ADR 23, 39); without a watcher nothing of it is
//! loaded.
//!
//! | file | what | I/O |
//! |---|---|---|
//! | [`seen`] | a record of the fast path, in words | no |
//! | [`capture`], [`pcapng`], [`frames`] | records as frames of a file | no |
//! | [`redact`], [`crypto_pan`] | what is taken out of a frame before | no |
//! | [`whose`] | which realm a packet is of | no |
//! | [`slow`] | what the slow path sends, for the same watchers | no |
//! | [`desk`] | the thread that swaps, reads, and swaps back | yes |
//! | [`client`] | a trace or capture, until its client has seen enough | no |
//! | [`mirror`] | what the configuration mirrors, to an interface or a collector | yes |

pub mod capture;
pub mod client;
pub mod crypto_pan;
pub mod desk;
pub mod frames;
pub mod mirror;
pub mod pcapng;
pub mod redact;
pub mod seen;
pub mod slow;
pub mod whose;

use std::time::{SystemTime, UNIX_EPOCH};

use cgn_common::watch::Filter;

use crate::utc::Utc;
use seen::Seen;

/// One who watches. All of it runs in one thread, which never waits for him.
pub trait Watcher: Send {
    /// Which packets are for him; the desk says until when.
    fn filter(&self) -> Filter;

    /// Takes a packet.
    fn hear(&mut self, seen: &Seen);

    /// So many more packets fitted, and cannot be told of.
    fn miss(&mut self, packets: u64);

    /// Called after each few packets, and every few milliseconds; false: he has seen enough.
    fn go_on(&mut self) -> bool;
}

/// Wall clock and monotonic clock at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    unix_ns: u64,
    at_ns: u64,
}

impl Clock {
    /// Reads both.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            unix_ns: since.map_or(0, |since| since.as_nanos() as u64),
            at_ns: now_ns(),
        }
    }

    /// When it was read, in nanoseconds of Unix time.
    #[must_use]
    pub const fn unix_ns(self) -> u64 {
        self.unix_ns
    }

    /// Nanoseconds of Unix time when the monotonic clock stood at `at_ns`.
    #[must_use]
    pub const fn unix_ns_of(self, at_ns: u64) -> u64 {
        let later_ns = at_ns.wrapping_sub(self.at_ns) as i64;
        self.unix_ns.saturating_add_signed(later_ns)
    }

    /// The same in UTC, to the millisecond.
    #[must_use]
    pub fn time_of(self, at_ns: u64) -> String {
        Utc(self.unix_ns_of(at_ns) / 1_000_000).to_string()
    }
}

/// `CLOCK_MONOTONIC`, what `bpf_ktime_get_ns` reads.
pub(crate) fn now_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is ours and lives across the call, which cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
