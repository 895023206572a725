//! What the keeper puts on record, and what it does where the log cannot be written.

use std::time::Instant;

use super::Keeper;
use crate::config::OnFull;
use crate::dataplane::install::Grant;
use crate::dataplane::journal::News;
use crate::engine::clock;
use crate::maplog::{AppendError, Block, Entry, Event, PortRange, ProtocolScope};
use crate::state::State;
use crate::utc::Utc;

impl Keeper {
    /// Tells the log what it does not know yet of mappings and sessions, and marks them as told.
    /// Returns the inside addresses whose sessions are over now. What cannot be written stays as it is
    /// and is news again.
    pub fn journal(&mut self, news: &[News]) -> Vec<u32> {
        if news.is_empty() {
            return Vec::new();
        }
        let (now_ms, now_tick) = (clock::unix_ms(&self.state), self.state.now_tick());
        let entries: Vec<Entry> = news
            .iter()
            .map(|news| Entry {
                unix_ms: clock::unix_ms_of(news.happened(), now_tick, now_ms),
                event: news.event,
            })
            .collect();
        match self.append(&entries) {
            Ok(Some(_)) => self.state.stats().log.session_records += entries.len() as u64,
            Ok(None) => {}
            Err(_) => return Vec::new(),
        }
        let memory = &self.state.memory;
        news.iter().filter_map(|news| news.settle(memory)).collect()
    }

    /// Puts names of subscribers on record that were told, and says whether they are. Blocks do not depend
    /// on them: a name is never a reason for a gap.
    pub fn record_identities(&mut self) {
        for wanted in self.state.identities.take() {
            let is_recorded = self.log_identities(&wanted.events);
            wanted.answer(is_recorded);
        }
    }

    /// The same of some names; true if they are on record.
    pub fn log_identities(&mut self, events: &[Event]) -> bool {
        if events.is_empty() {
            return true;
        }
        let entries: Vec<Entry> = events.iter().map(|event| self.entry(*event)).collect();
        let started = Instant::now();
        match self.log.append(&entries) {
            Ok(_) => {
                self.note(None);
                let log = &mut self.state.stats().log;
                log.commits += 1;
                log.commit_secs += started.elapsed().as_secs_f64();
                log.identity_records += entries.len() as u64;
                true
            }
            Err(error) => {
                if self.state.config.config.log.on_full == OnFull::Refuse {
                    self.note(Some(&error));
                }
                false
            }
        }
    }

    /// Logs what the last daemon did without records, first of all.
    ///
    /// # Errors
    /// The log cannot be written, and must not lack records.
    pub fn catch_up_with(&mut self, missing: &[Entry]) -> Result<(), AppendError> {
        self.catch_up();
        if !missing.is_empty() {
            self.append(missing)?;
        }
        Ok(())
    }

    /// Logs the daemon's own start or stop.
    pub fn mark(&mut self, event: Event) {
        let entry = self.entry(event);
        if let Ok(Some(_)) = self.append(&[entry]) {
            self.state.stats().log.mark_records += 1;
        }
    }

    /// Appends a group and returns the number of its first record; none if it cannot be written and
    /// the operator wants to go on without.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<Option<u64>, AppendError> {
        let started = Instant::now();
        match self.log.append(entries) {
            Ok(sequences) => {
                self.note(None);
                let log = &mut self.state.stats().log;
                log.commits += 1;
                log.commit_secs += started.elapsed().as_secs_f64();
                Ok(Some(sequences.start))
            }
            Err(error) if self.state.config.config.log.on_full == OnFull::Continue => {
                self.go_on_without(entries, &error);
                Ok(None)
            }
            Err(error) => {
                self.note(Some(&error));
                Err(error)
            }
        }
    }

    /// What happens now has no record, for `error`.
    fn go_on_without(&mut self, entries: &[Entry], error: &AppendError) {
        if self.log.lacking_since_ms().is_none() {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "the mapping log has a gap from now on: blocks are given without records"
            );
        }
        if let Err(error) = self.log.lack(clock::unix_ms(&self.state), entries) {
            tracing::error!(%error, "the gap in the mapping log cannot be marked on the disk");
        }
        let log = &mut self.state.stats().log;
        log.append_errors += u64::from(!matches!(error, AppendError::Lacking));
        log.lacking_records += entries.len() as u64;
        log.lacking_since_ms = self.log.lacking_since_ms();
    }

    /// Ends the gap of a log that lacks records, if it can be written again.
    pub(super) fn catch_up(&mut self) {
        let Some(since_ms) = self.log.lacking_since_ms() else {
            return;
        };
        let outcome = self.log.catch_up(clock::unix_ms(&self.state));
        let log = &mut self.state.stats().log;
        match outcome {
            Ok(()) => {
                log.lacking_since_ms = None;
                tracing::warn!(
                    since = %Utc(since_ms),
                    records = log.lacking_records,
                    "the mapping log is written again; it lacks records of blocks that came and went since"
                );
            }
            Err(_) => log.append_errors += 1,
        }
    }

    /// Whether the log could be written. Failures are counted; the log of the daemon has a line when
    /// they begin and one when they end, for on a full disk each new subscriber is another one.
    fn note(&self, failure: Option<&AppendError>) {
        let log = &mut self.state.stats().log;
        let was_refusing = std::mem::replace(&mut log.is_refusing, failure.is_some());
        match failure {
            None if was_refusing => {
                tracing::info!("the mapping log is written again, and blocks are given");
            }
            None => {}
            Some(error) => {
                log.append_errors += 1;
                if !was_refusing {
                    tracing::error!(error = error as &dyn std::error::Error, "the mapping log");
                }
            }
        }
    }

    /// Lets the sealer have the segment of an hour that is over.
    pub(super) fn end_hour(&mut self) {
        if self.log.lacking_since_ms().is_some() {
            return;
        }
        // That nothing had to be done says nothing about the disk.
        if let Err(error) = self.log.end_hour(clock::unix_ms(&self.state)) {
            match self.state.config.config.log.on_full {
                OnFull::Refuse => self.note(Some(&error)),
                // The next record tells whether it is lacking.
                OnFull::Continue => self.state.stats().log.append_errors += 1,
            }
        }
    }

    pub(super) fn entry(&self, event: Event) -> Entry {
        Entry {
            unix_ms: clock::unix_ms(&self.state),
            event,
        }
    }

    pub(super) fn block(&self, grant: &Grant) -> Block {
        block(&self.state, grant)
    }
}

/// The block as the log records it.
#[must_use]
pub fn block(state: &State, grant: &Grant) -> Block {
    let shift = state.geometry.pools[usize::from(grant.pool)].block_shift;
    let first = cgn_common::block::first_port(u32::from(grant.block), shift);
    let (realm, inside) = state.in_log(grant.inside);
    Block {
        inside,
        realm,
        external: grant.external,
        ports: PortRange::new(first, 1 << shift).expect("blocks end at port 65535 at the latest"),
        pool: grant.pool,
        scope: ProtocolScope::All,
        key: state.memory.block_key(grant.pool as u8, grant.external),
    }
}
