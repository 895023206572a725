//! Sinks: who is sent the log while it is written.
//!
//! The spool of a sink is the log itself: a cursor says up to which record the collector has it.
//! A sink has a thread of its own and never keeps the writer waiting; what a collector missed
//! is sent when it is back, as far as the write-ahead segments still reach, and counted beyond.
//! Only committed records are sent. After a lost connection some can be sent twice, never none.
//!
//! * `cursor`: how far a sink is, on disk. * `link`: the socket, and what has arrived. * `kafka`: a topic
//!   in its place.
//! * `trust`: TLS, and whom it believes. * `format`: records to messages. * `scope`: of which realms.

mod cursor;
mod format;
mod kafka;
mod link;
mod scope;
#[cfg(test)]
mod tests;
mod trust;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use thiserror::Error;

pub use format::Format;
pub use kafka::{Mechanism, Sasl};
pub use link::Transport;
pub use scope::Scope;
pub use trust::Trust;

use super::encode::Item;
use super::error::ReadError;
use super::event::{Block, Event, Record};
use super::log::Committed;
use super::notice::{MOST_KEPT, Notice};
use super::reader::{Reader, read_from};
use super::recovery::Recovery;
use super::replay::{names_before, replay_sealed};
use cursor::Cursor;
use format::{Encoder, Message};
use link::Link;
use scope::is_wanted;

/// Records that one turn sends at most.
const BATCH: usize = 4096;
/// Between two attempts to reach a collector.
const RETRY: Duration = Duration::from_secs(1);

/// Blocks by external address and first port, and since when they are held, in Unix ms.
type Held = HashMap<(Ipv4Addr, u16), (Block, u64)>;

/// What a sink is sent; starts, stops and gaps in any case, where its format has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds {
    /// Blocks that are given and taken, interim records with them.
    pub blocks: bool,
    /// Mappings and sessions, if there are any (`log.mode`).
    pub sessions: bool,
    pub notices: bool,
}

impl Kinds {
    pub const ALL: Self = Self {
        blocks: true,
        sessions: true,
        notices: true,
    };

    fn has(self, item: &Item) -> bool {
        match item {
            Item::Notice(_) => self.notices,
            _ if item.block().is_some() => self.blocks,
            _ if item.session().is_some() => self.sessions,
            _ => true,
        }
    }
}

/// What a sink is sent, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names its cursor and metrics.
    pub name: String,
    pub format: Format,
    pub transport: Transport,
    pub address: SocketAddr,
    /// Observation domain (IPFIX) or source identifier (NetFlow 9).
    pub domain: u32,
    /// How often a datagram explains the templates again.
    pub template_every: Duration,
    /// Most bytes of the payload of a datagram.
    pub datagram_bytes: usize,
    /// How often each held block is told again; None never.
    pub interim_every: Option<Duration>,
    /// What it is sent.
    pub kinds: Kinds,
    /// Of which realms; None: of all.
    pub scope: Option<Scope>,
    /// HOSTNAME of syslog messages.
    pub host: String,
    /// Whether syslog and JSON are told the names of subscribers that the log has.
    pub identities: bool,
}

/// Figures of a sink, since start but for `pending`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkStats {
    /// Records that have arrived, as far as the transport tells.
    pub sent: u64,
    /// Records that the spool had no more when the collector was back.
    pub lost: u64,
    /// Records that have not arrived yet.
    pub pending: u64,
    /// Interim records sent.
    pub interim: u64,
    /// Notices sent, and those that waited for the collector too long.
    pub notices: u64,
    pub lost_notices: u64,
    /// Connections that failed or ended.
    pub failures: u64,
    pub is_connected: bool,
}

/// Why a turn sent less than it could.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SinkError {
    #[error(
        "sink {name}: cannot send to {address}; nothing is lost, and it is tried again every second"
    )]
    Link {
        name: String,
        address: SocketAddr,
        source: io::Error,
    },
    #[error("sink {name}: cannot keep its cursor {path}", path = path.display())]
    Cursor {
        name: String,
        path: PathBuf,
        source: io::Error,
    },
    #[error("sink {name}: its certificates or its password cannot be used")]
    Secrets { name: String, source: io::Error },
    #[error("sink {name}: cannot read the log")]
    Read { name: String, source: ReadError },
}

/// One collector and how far it is.
pub struct Sink {
    root: PathBuf,
    options: Options,
    committed: Committed,
    cursor: Cursor,
    connector: link::Connector,
    link: Option<Link>,
    encoder: Encoder,
    reader: Option<Reader>,
    /// What is held after the last record that was sent; kept only for interim records.
    held: Held,
    retry_at: Instant,
    interim_at: Instant,
    /// Notices that were not sent yet.
    notices: VecDeque<Notice>,
    stats: SinkStats,
}

impl Sink {
    /// A sink of the log in `root`. One that was never there begins with the next record.
    ///
    /// # Errors
    /// Its cursor is unreadable, its certificates are none, or the log is unreadable.
    pub fn open(root: &Path, options: Options, committed: Committed) -> Result<Self, SinkError> {
        let now = Instant::now();
        let name = || options.name.clone();
        let cursor = Cursor::open(root, &options.name, committed.next_sequence()).map_err(
            |(path, source)| SinkError::Cursor {
                name: name(),
                path,
                source,
            },
        )?;
        let connector =
            link::Connector::new(&options.transport, options.address).map_err(|source| {
                SinkError::Secrets {
                    name: name(),
                    source,
                }
            })?;
        let mut sink = Self {
            root: root.into(),
            encoder: Encoder::new(root, &options),
            committed,
            cursor,
            connector,
            link: None,
            reader: None,
            held: HashMap::new(),
            retry_at: now,
            interim_at: now,
            notices: VecDeque::new(),
            stats: SinkStats::default(),
            options,
        };
        if sink.options.interim_every.is_some() {
            sink.held = sink
                .held_at_cursor()
                .map_err(|source| sink.unreadable(source))?;
        }
        Ok(sink)
    }

    /// Sealed files tell what was held at their end; older records that are sent once more
    /// change it and change it back.
    fn held_at_cursor(&self) -> Result<Held, ReadError> {
        let mut recovery = Recovery::default();
        let sealed = replay_sealed(&self.root, u64::MAX, &mut recovery)?;
        let live = recovery.live.into_iter();
        let mut held: Held = live
            .map(|(key, logged)| (key, (logged.block, logged.unix_ms)))
            .collect();
        if sealed.next_sequence < self.cursor.next_sequence() {
            for record in read_from(&self.root, sealed.next_sequence)? {
                let record = record?;
                if record.sequence >= self.cursor.next_sequence() {
                    break;
                }
                follow(&mut held, &record);
            }
        }
        Ok(held)
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    #[must_use]
    pub fn stats(&self) -> SinkStats {
        let pending = self.committed.next_sequence();
        SinkStats {
            pending: pending.saturating_sub(self.cursor.next_sequence()),
            is_connected: self.link.is_some(),
            ..self.stats.clone()
        }
    }

    /// Notices to send in the next turns, after `lost` that are gone already. They are in memory only:
    /// of those that a collector misses, the oldest are dropped and counted.
    pub fn notify(&mut self, notices: Vec<Notice>, lost: u64) {
        let (kinds, scope) = (self.options.kinds, self.options.scope.as_ref());
        if !kinds.notices {
            return;
        }
        self.stats.lost_notices += lost;
        let notices = notices.into_iter();
        let wanted = notices.filter(|notice| is_wanted(kinds, scope, &Item::Notice(*notice)));
        self.notices.extend(wanted);
        let excess = self.notices.len().saturating_sub(MOST_KEPT);
        self.notices.drain(..excess);
        self.stats.lost_notices += excess as u64;
    }

    /// Sends what there is, a batch at most; true if there is more. `unix_secs` is the time that
    /// messages carry.
    ///
    /// # Errors
    /// The connection is given up and is tried again later, or the log cannot be read.
    pub fn turn(&mut self, now: Instant, unix_secs: u32) -> Result<bool, SinkError> {
        if self.link.is_none() && now < self.retry_at {
            return Ok(false);
        }
        match self.exchange(now, unix_secs) {
            Ok(is_more) => Ok(is_more),
            Err(Trouble::Link(source)) => {
                self.give_up(now);
                Err(SinkError::Link {
                    name: self.options.name.clone(),
                    address: self.options.address,
                    source,
                })
            }
            Err(Trouble::Read(source)) => {
                self.give_up(now);
                Err(self.unreadable(source))
            }
            Err(Trouble::Cursor(source)) => Err(SinkError::Cursor {
                name: self.options.name.clone(),
                path: self.cursor.path().into(),
                source,
            }),
        }
    }

    /// What was sent and has not arrived is sent again.
    fn give_up(&mut self, now: Instant) {
        self.link = None;
        self.reader = None;
        self.retry_at = now + RETRY;
        self.stats.failures += 1;
    }

    fn unreadable(&self, source: ReadError) -> SinkError {
        SinkError::Read {
            name: self.options.name.clone(),
            source,
        }
    }

    fn exchange(&mut self, now: Instant, unix_secs: u32) -> Result<bool, Trouble> {
        if self.link.is_none() {
            let link = self.connector.connect(now).map_err(Trouble::Link)?;
            self.encoder.begin(now);
            self.link = Some(link);
            if self.options.interim_every.is_some() {
                self.learn_names(self.cursor.next_sequence())?;
            }
        }
        for message in self.encoder.templates(now, unix_secs) {
            self.send(&message, now)?;
        }
        self.tell_held(now, unix_secs)?;
        self.tell_notices(now, unix_secs)?;
        let records = self.read()?;
        let items: Vec<Item> = records.iter().copied().map(Item::Record).collect();
        for message in self.encoder.messages(now, unix_secs, &items) {
            self.send(&message, now)?;
        }
        if self.options.interim_every.is_some() {
            records
                .iter()
                .for_each(|record| follow(&mut self.held, record));
        }
        self.confirm(now)?;
        Ok(records.len() == BATCH)
    }

    fn send(&mut self, message: &Message, now: Instant) -> Result<(), Trouble> {
        let link = self.link.as_mut().ok_or_else(not_connected)?;
        link.send(message, now).map_err(Trouble::Link)
    }

    /// Each held block once more, when it is time.
    fn tell_held(&mut self, now: Instant, unix_secs: u32) -> Result<(), Trouble> {
        let Some(every) = self.options.interim_every else {
            return Ok(());
        };
        if now < self.interim_at {
            return Ok(());
        }
        self.interim_at = now + every;
        let (kinds, scope) = (self.options.kinds, self.options.scope.as_ref());
        let held = self.held.values().map(|(block, since_ms)| Item::Interim {
            block: *block,
            since_ms: *since_ms,
        });
        let items: Vec<Item> = held.filter(|item| is_wanted(kinds, scope, item)).collect();
        for message in self.encoder.messages(now, unix_secs, &items) {
            self.send(&message, now)?;
        }
        self.stats.interim += items.len() as u64;
        Ok(())
    }

    fn tell_notices(&mut self, now: Instant, unix_secs: u32) -> Result<(), Trouble> {
        if self.notices.is_empty() {
            return Ok(());
        }
        let notices: Vec<Notice> = self.notices.iter().copied().collect();
        for message in self.encoder.notices(now, unix_secs, &notices) {
            self.send(&message, now)?;
        }
        self.stats.notices += notices.len() as u64;
        self.notices.clear();
        Ok(())
    }

    /// The next committed records.
    fn read(&mut self) -> Result<Vec<Record>, Trouble> {
        let committed = self.committed.next_sequence();
        let mut records = Vec::new();
        if self.reader.is_none() && self.cursor.next_sequence() < committed {
            let wanted = self.cursor.next_sequence();
            let reader = read_from(&self.root, wanted).map_err(Trouble::Read)?;
            if reader.next_sequence() > wanted {
                let lost = reader.next_sequence() - wanted;
                tracing::warn!(
                    sink = self.options.name,
                    records = lost,
                    "log.spool_mib kept too little for a sink that was away: records are not sent to it; the log has them"
                );
                self.stats.lost += lost;
                self.cursor.advance(reader.next_sequence());
            }
            // What is sent again is told with the names of its time.
            self.learn_names(reader.next_sequence())?;
            self.reader = Some(reader);
        }
        let Some(reader) = &mut self.reader else {
            return Ok(records);
        };
        while records.len() < BATCH && reader.next_sequence() < committed {
            match reader.next() {
                Some(record) => records.push(record.map_err(Trouble::Read)?),
                // The segment was removed under it: begin anew, where the log does.
                None => {
                    self.reader = None;
                    break;
                }
            }
        }
        Ok(records)
    }

    /// The names as of the record of this number, which is told next.
    fn learn_names(&mut self, sequence: u64) -> Result<(), Trouble> {
        if self.options.identities {
            let names = names_before(&self.root, sequence).map_err(Trouble::Read)?;
            self.encoder.set_names(names);
        }
        Ok(())
    }

    fn confirm(&mut self, now: Instant) -> Result<(), Trouble> {
        let link = self.link.as_mut().ok_or_else(not_connected)?;
        if let Some(next_sequence) = link.arrived(now).map_err(Trouble::Link)? {
            let before = self.cursor.next_sequence();
            self.stats.sent += next_sequence.saturating_sub(before);
            self.cursor.advance(next_sequence);
        }
        self.cursor.save(now).map_err(Trouble::Cursor)
    }

    /// Puts down how far it came, at the end of the daemon.
    ///
    /// # Errors
    /// The cursor cannot be written: after the next start some records are sent twice.
    pub fn close(mut self, now: Instant) -> Result<(), SinkError> {
        // What cannot be confirmed any more is sent again.
        let _ = self.confirm(now);
        self.cursor.save_now().map_err(|source| SinkError::Cursor {
            name: self.options.name.clone(),
            path: self.cursor.path().into(),
            source,
        })
    }
}

enum Trouble {
    Link(io::Error),
    Read(ReadError),
    Cursor(io::Error),
}

fn not_connected() -> Trouble {
    Trouble::Link(io::ErrorKind::NotConnected.into())
}

fn follow(held: &mut Held, record: &Record) {
    match record.entry.event {
        Event::Start | Event::Stop | Event::Gap | Event::Resume => {}
        Event::Open(_) | Event::Close(_) => {}
        Event::Name(_) | Event::Login { .. } | Event::Logout(_) => {}
        Event::Allocate(block) => {
            let key = (block.external, block.ports.first());
            held.insert(key, (block, record.entry.unix_ms));
        }
        Event::Release { block, .. } => {
            held.remove(&(block.external, block.ports.first()));
        }
    }
}
