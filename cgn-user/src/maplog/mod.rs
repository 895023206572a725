//! The mapping log: which subscriber had which block of ports, and when.
//!
//! One record is written when a block is allocated and one when it is released,
//! so (external address, port, time) leads to one subscriber (RFC 6302, RFC 6888
//! REQ-14). Destinations are not logged (RFC 6888 REQ-12), unless `log.mode` asks for sessions with them.
//!
//! * `event`: what a record says. Pure.
//! * `session`: mappings and sessions, where they are logged. Pure.
//! * `identity`: names of subscribers, where they are logged. Pure.
//! * `record`: how its bytes look. Pure.
//! * `text`: a record as one line for people. Pure.
//! * `recovery`: what a log says of blocks at start. Pure.
//! * `appender`: groups of records, all or nothing, over any storage.
//! * `scan`: reads a file record by record and tells a torn tail from damage.
//! * `file`: the daemon's own log file: lock, recovery, appending.
//! * `gap`: what the log lacks when it could not be written and blocks were given all the same.
//! * `maps`: what static ports need no records for.
//! * `realms`: which realm a number stands for.
//! * `scatter`: the keys of scattered blocks.
//! * `inbox`: records that other threads want.
//! * `reader`: the same file for other programs, also while it grows.

mod appender;
pub mod directory;
pub mod encode;
mod error;
mod event;
mod file;
mod gap;
pub mod identity;
pub mod inbox;
pub mod keys;
mod log;
pub mod maps;
pub mod notice;
pub mod query;
mod reader;
pub mod realms;
mod record;
mod recovery;
mod replay;
mod scan;
pub mod scatter;
pub mod sealed;
pub mod sealer;
mod session;
pub mod stream;
#[cfg(test)]
mod tests;
mod text;
pub mod verify;

pub use error::{AppendError, OpenError, ReadError};
pub use event::{Block, Entry, Event, PortRange, ProtocolScope, Ranges, Record, ReleaseReason};
pub use file::{LogFile, LogOptions};
pub use log::{Committed, Log, SEGMENT_RECORDS};
pub use reader::{Reader, read, read_from};
pub use record::{DecodeError, HEADER_BYTES, Header, RECORD_BYTES, VERSION};
pub use recovery::{LoggedBlock, Recovery};
pub use session::{Protocol, Remote, Session};
