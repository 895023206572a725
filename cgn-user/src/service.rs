//! What the service manager is told (sd_notify): readiness, reloads, and that the engine lives.
//! Without a service manager, nobody.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Tells the service manager; that it is not there, or does not listen, is no error of ours.
pub fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager");
    }
}

/// Tells the service manager that this process is going to be ready again.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

/// Tells the service manager that the engine lives, if it asked for that.
#[derive(Debug)]
pub struct Watchdog {
    /// Half of what the service manager allows; `None`: it does not ask.
    period: Option<Duration>,
    told: Instant,
    turns: u64,
}

impl Watchdog {
    #[must_use]
    pub fn new() -> Self {
        Self {
            period: sd_notify::watchdog_enabled().map(|limit| limit / 2),
            told: Instant::now(),
            turns: 0,
        }
    }

    /// Tells if it is due, and the engine has made turns since it was told last.
    pub fn look(&mut self, turns: u64) {
        let is_due = self
            .period
            .is_some_and(|period| self.told.elapsed() >= period);
        if is_due && turns != self.turns {
            notify(&[NotifyState::Watchdog]);
            self.told = Instant::now();
            self.turns = turns;
        }
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        Self::new()
    }
}
