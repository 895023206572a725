//! `cgn detach`: the end of what a stopped daemon left running.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};

use super::clock::system_ms;
use super::start::open_log;
use crate::config::Checked;
use crate::dataplane::attach::Pins;
use crate::maplog::{Entry, Event, ReleaseReason};

/// What was ended.
#[derive(Debug)]
pub struct Detached {
    /// Interfaces that XDP was on.
    pub interfaces: Vec<String>,
    /// Blocks that were released on record.
    pub blocks: usize,
    /// Subscribers that had them.
    pub subscribers: usize,
}

/// Takes XDP off the interfaces, frees the tables, and releases on record every block that the
/// log says is live: in this order, so that no packet uses a block after its release.
///
/// # Errors
/// The daemon runs (it holds the log), or the log is unusable. When a record cannot be written,
/// XDP is off all the same, and the next start releases the blocks as orphans.
pub fn detach(checked: &Checked) -> Result<Detached> {
    let (mut log, recovery) = open_log(checked).context("nothing was detached")?;
    let pins = Pins::left_in(&checked.config.control.pin_directory);
    let interfaces = pins.interfaces();
    pins.close();
    let unix_ms = system_ms();
    let release = |block| Entry {
        unix_ms,
        event: Event::Release {
            block,
            reason: ReleaseReason::Shutdown,
        },
    };
    let live = || recovery.live.values().map(|logged| logged.block);
    let mut entries: Vec<Entry> = live().map(release).collect();
    if !entries.is_empty() {
        entries.sort_by_key(|entry| entry.event.block().map(|b| (b.external, b.ports.first())));
        log.append(&entries)
            .context("XDP is detached, but the releases of the blocks cannot be logged")?;
    }
    let owners: BTreeSet<(u16, Ipv4Addr)> =
        live().map(|block| (block.realm, block.inside)).collect();
    Ok(Detached {
        interfaces,
        blocks: entries.len(),
        subscribers: owners.len(),
    })
}
