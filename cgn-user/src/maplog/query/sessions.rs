//! The mappings and sessions of a port at a time, where the log has them (`log.mode`).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use super::super::error::ReadError;
use super::super::event::Event;
use super::super::sealed::{Fact, Row};
use super::super::session::{Protocol, Session};
use super::Enquiry;
use super::walk::{Source, Walk};

/// A mapping or session that lasted at some time within the skew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lasted {
    pub session: Session,
    /// Milliseconds of Unix time; of one that lasted when its day began, the hour in which it began.
    pub since_ms: u64,
    /// None if it lasted still at the end of what was read.
    pub until_ms: Option<u64>,
}

/// All that lasted at the port of `enquiry` for `protocol`, in the order in which they began. Empty
/// where only blocks are logged.
///
/// # Errors
/// A file that the answer depends on cannot be read.
pub fn sessions(
    root: &Path,
    enquiry: &Enquiry,
    protocol: Protocol,
) -> Result<Vec<Lasted>, ReadError> {
    let from_ms = enquiry.at_ms.saturating_sub(enquiry.skew_ms);
    let to_ms = enquiry.at_ms.saturating_add(enquiry.skew_ms);
    let mut walk = Walk::back_from(root, to_ms)?;
    let mut files: Vec<Vec<Row>> = Vec::new();
    while let Some(source) = walk.next()? {
        let (rows, is_last) = match source {
            Source::Segments(rows) => (rows, false),
            Source::Records(file) => (file.rows_of_port(enquiry.external, enquiry.port)?, false),
            Source::Held(file, day_ms) if day_ms <= from_ms => {
                (file.rows_of_port(enquiry.external, enquiry.port)?, true)
            }
            Source::Held(..) => continue,
        };
        files.push(rows);
        if is_last {
            break;
        }
    }
    let mut port = Port::of(enquiry.external, enquiry.port, protocol);
    for row in files.into_iter().rev().flatten() {
        if row.unix_ms <= to_ms {
            port.follow(&row);
        }
    }
    let mut lasted = port.all();
    lasted.retain(|lasted| lasted.until_ms.is_none_or(|until| until >= from_ms));
    lasted.sort_by_key(|lasted| (lasted.since_ms, lasted.session));
    Ok(lasted)
}

/// What one port had.
struct Port {
    external: Ipv4Addr,
    port: u16,
    protocol: Protocol,
    lasting: BTreeMap<Session, u64>,
    over: Vec<Lasted>,
}

impl Port {
    fn of(external: Ipv4Addr, port: u16, protocol: Protocol) -> Self {
        Self {
            external,
            port,
            protocol,
            lasting: BTreeMap::new(),
            over: Vec::new(),
        }
    }

    fn has(&self, session: &Session) -> bool {
        session.external == self.external
            && session.external_port == self.port
            && session.protocol == self.protocol
    }

    fn follow(&mut self, row: &Row) {
        match row.fact {
            Fact::Lasting(session) | Fact::Event(Event::Open(session)) if self.has(&session) => {
                // A daemon that died between record and mark wrote it twice.
                self.lasting.entry(session).or_insert(row.unix_ms);
            }
            Fact::Event(Event::Close(session)) if self.has(&session) => {
                if let Some(since_ms) = self.lasting.remove(&session) {
                    self.end(session, since_ms, row.unix_ms);
                }
            }
            // Its rows stand before those of the sessions that it ends.
            Fact::Event(Event::Release { block, .. })
                if block.external == self.external && block.ports.contains(self.port) =>
            {
                for (session, since_ms) in std::mem::take(&mut self.lasting) {
                    self.end(session, since_ms, row.unix_ms);
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, session: Session, since_ms: u64, until_ms: u64) {
        self.over.push(Lasted {
            session,
            since_ms,
            until_ms: Some(until_ms),
        });
    }

    fn all(self) -> Vec<Lasted> {
        let lasting = self.lasting.into_iter().map(|(session, since_ms)| Lasted {
            session,
            since_ms,
            until_ms: None,
        });
        self.over.into_iter().chain(lasting).collect()
    }
}
