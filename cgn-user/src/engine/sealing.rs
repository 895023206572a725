//! The thread that seals the mapping log while the engine writes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::clock;
use crate::config;
use crate::maplog::Committed;
use crate::maplog::keys::SigningKey;
use crate::maplog::sealer::{Retention, Sealer, Turn};
use crate::state::State;

/// Between two turns.
const TURN: Duration = Duration::from_secs(1);

/// A sealer that is ready to start.
#[derive(Debug)]
pub struct Sealing {
    sealer: Sealer,
    committed: Committed,
    /// The last turn failed, and the daemon's log has a line of it.
    is_failing: bool,
}

impl Sealing {
    /// Reads key and sealed files; with [`super::start::open_log`] before everything else,
    /// for what is wrong with them must be known before a packet is touched.
    ///
    /// # Errors
    /// The key is unusable, or a sealed file is.
    pub fn open(log: &config::Log, committed: Committed) -> Result<Self> {
        let key = match log.sign_key.as_os_str().is_empty() {
            true => None,
            false => Some(SigningKey::read(&log.sign_key)?),
        };
        let sealer = Sealer::open(&log.directory, retention(log), key)
            .context("the mapping log cannot be sealed")?;
        Ok(Self {
            sealer,
            committed,
            is_failing: false,
        })
    }

    /// Seals until `stop`.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn spawn(mut self, state: Arc<State>, stop: Arc<AtomicBool>) -> Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name("cgn-sealer".into())
            .spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    self.turn(&state);
                    std::thread::park_timeout(TURN);
                }
            })
            .context("no thread for the sealer")
    }

    fn turn(&mut self, state: &State) {
        let outcome = self.sealer.turn(clock::unix_ms(state));
        let next_sequence = self.committed.next_sequence();
        let unsealed = next_sequence.saturating_sub(self.sealer.next_sequence());
        let log = &mut state.stats().log;
        log.unsealed_records = unsealed;
        match outcome {
            Ok(turn) => {
                log.sealed_files += turn.files;
                log.spool_bytes = turn.spool_bytes;
                log.sealed_bytes = turn.sealed_bytes.unwrap_or(log.sealed_bytes);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("the mapping log is sealed again");
                }
                tell(&turn);
            }
            Err(error) => {
                log.seal_errors += 1;
                // One line, not one a second.
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the mapping log is not sealed; nothing of it is lost, and it is tried again every second"
                    );
                }
            }
        }
    }
}

fn tell(turn: &Turn) {
    if turn.files > 0 {
        tracing::info!(
            files = turn.files,
            records = turn.records,
            "the mapping log is sealed"
        );
    }
    for day in &turn.removed_days {
        tracing::info!(%day, "removed from the mapping log, as log.keep_days and log.keep_gib say");
    }
}

fn retention(log: &config::Log) -> Retention {
    let limited = |number: u32| (number > 0).then_some(u64::from(number));
    Retention {
        days: limited(log.keep_days),
        sealed_bytes: limited(log.keep_gib).map(|gib| gib << 30),
        spool_bytes: u64::from(log.spool_mib) << 20,
    }
}
