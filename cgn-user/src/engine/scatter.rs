//! The keys of scattered blocks while the daemon runs: in the log's directory, in the
//! tables, and a new one from time to time.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use rand::Rng as _;
use rand::rngs::StdRng;

use super::clock;
use crate::maplog::scatter::{Keyring, KeyringError, LAST_KEY};
use crate::maplog::{Block, Recovery};
use crate::state::State;

const DAY_MS: u64 = 86_400_000;

/// The keys, where some pool has scattered blocks.
#[derive(Debug)]
pub struct Scatter {
    keys: Keyring,
    /// How long a key is the newest one, in milliseconds; None: for ever.
    period_ms: Option<u64>,
    random: StdRng,
}

impl Scatter {
    /// The keys that are in the log's directory, or a first one. None if no pool has
    /// scattered blocks.
    ///
    /// # Errors
    /// The keys cannot be used, or do not explain the log.
    pub fn open(state: &State, recovery: &Recovery, random: StdRng) -> Result<Option<Self>> {
        let config = &state.config.config;
        if !config.scatters() {
            return Ok(None);
        }
        let keys = Keyring::read(&config.log.directory)?;
        let logged = recovery.live.values().chain(recovery.released.values());
        let scattered = logged
            .map(|logged| logged.block)
            .filter(Block::is_scattered);
        let named = scattered.map(|block| block.key).max().unwrap_or(0);
        ensure!(
            named <= keys.newest(),
            "the mapping log names the key {named} of scattered blocks, and its directory has only \
             {}: get `scatter.keys` from a copy",
            keys.newest()
        );
        let days = u64::from(config.scatter.key_days);
        let mut scatter = Self {
            keys,
            period_ms: (days > 0).then_some(days * DAY_MS),
            random,
        };
        if scatter.keys.newest() == 0 {
            scatter.add(clock::unix_ms(state))?;
        }
        Ok(Some(scatter))
    }

    /// Number of the newest key.
    #[must_use]
    pub fn newest(&self) -> u8 {
        self.keys.newest()
    }

    /// Makes a new key if the newest is old enough; true if it did.
    ///
    /// # Errors
    /// It cannot be written: the newest one stays in use.
    pub fn turn(&mut self, unix_ms: u64) -> Result<bool, KeyringError> {
        let is_due = self.period_ms.is_some_and(|period_ms| {
            let made_ms = self.keys.newest_made_ms().unwrap_or(0);
            unix_ms >= made_ms.saturating_add(period_ms)
        });
        if is_due && self.newest() < LAST_KEY {
            self.add(unix_ms)?;
            return Ok(true);
        }
        Ok(false)
    }

    fn add(&mut self, unix_ms: u64) -> Result<(), KeyringError> {
        let mut secret = [0; 32];
        self.random.fill_bytes(&mut secret);
        self.keys.add(secret, unix_ms)
    }

    /// Writes the key of an address into the tables. It has no block, or has this key.
    ///
    /// # Errors
    /// There is no such key.
    pub fn install(
        &self,
        state: &State,
        external: Ipv4Addr,
        number: u8,
    ) -> Result<(), KeyringError> {
        let index = state.geometry.external_index(external);
        let element = index.and_then(|index| state.memory.scatterings.get(index));
        if let Some(element) = element.filter(|element| element.key_number() != number) {
            let keys = self.keys.of(number, external)?;
            for (word, key) in element.0.iter().zip(keys) {
                word.store(key);
            }
        }
        Ok(())
    }

    /// Number of the key that the tables have for an address with blocks.
    ///
    /// # Errors
    /// It is not the key of that number: the log's records would be misread.
    pub fn adopted(&self, state: &State, external: Ipv4Addr) -> Result<u8> {
        let index = state.geometry.external_index(external);
        let element = index.and_then(|index| state.memory.scatterings.get(index));
        let element = element.context("an address without keys")?;
        let number = element.key_number();
        ensure!(
            self.keys.of(number, external)? == element.keys(),
            "`scatter.keys` in the log's directory has another key {number} than the tables: get \
             the file from a copy, or start with --discard-tables"
        );
        Ok(number)
    }
}
