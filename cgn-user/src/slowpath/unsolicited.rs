//! SYNs from outside that nobody waits for: their senders are told, but not
//! within six seconds, and not if a SYN from inside meets them meanwhile (RFC
//! 5382 REQ-4). Pure.
//!
//! XDP admits few of them, see [`cgn_common::answers`]; the store bounds what
//! that adds up to. A SYN that finds no room ends in silence, as any may (REQ-4a).

use std::collections::{HashMap, HashSet, VecDeque};

use cgn_common::frame::{Buffer, Frame};
use cgn_common::layout::{Features, is_ahead, peer};
use cgn_common::limits::ticks;
use cgn_common::nat::lookup;
use cgn_common::nat::next_hop::rows_of;
use cgn_common::nat::session::{self, Party};
use cgn_common::path::{self, Packet};
use cgn_common::tables::Tables;
use cgn_common::verdict::Reason;
use cgn_common::wire::ethernet;
use cgn_common::{answers, wire::ipv4};

use crate::dataplane::load::Entry;

/// SYNs in all.
pub const MOST: usize = 8192;
/// SYNs from one source address.
pub const MOST_PER_SOURCE: usize = 64;
/// Bytes of their frames in all.
pub const MOST_BYTES: usize = 4 << 20;
/// Seconds that the sender of a SYN which nobody waits for is not told (RFC 5382 REQ-4).
pub const PATIENCE_SECS: u64 = 6;
/// Ticks that a SYN waits, with the one in which it came.
pub const PATIENCE: u32 = ticks(PATIENCE_SECS) + 1;

/// Source and destination of a SYN, each address and port.
pub type Connection = ((u32, u16), (u32, u16));

/// A SYN that waits, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syn {
    pub frame: Vec<u8>,
    /// Number of the port that received it.
    pub port: usize,
    connection: Connection,
    until: u32,
}

/// The SYNs, oldest first.
#[derive(Debug, Default)]
pub struct Store {
    waiting: VecDeque<Syn>,
    connections: HashSet<Connection>,
    per_source: HashMap<u32, usize>,
    bytes: usize,
}

impl Store {
    /// Keeps a SYN; false if there is no room. One that is sent again waits as
    /// long as the first.
    #[must_use]
    pub fn keep(&mut self, frame: Vec<u8>, port: usize, now: u32) -> bool {
        let Some(connection) = connection_of(&frame) else {
            return false;
        };
        if self.connections.contains(&connection) {
            return true;
        }
        let ((source, _), _) = connection;
        let of_source = self.per_source.get(&source).copied().unwrap_or(0);
        let is_full = self.waiting.len() >= MOST || self.bytes + frame.len() > MOST_BYTES;
        if is_full || of_source >= MOST_PER_SOURCE {
            return false;
        }
        self.bytes += frame.len();
        self.connections.insert(connection);
        self.per_source.insert(source, of_source + 1);
        self.waiting.push_back(Syn {
            frame,
            port,
            connection,
            until: now.wrapping_add(PATIENCE),
        });
        true
    }

    /// The next SYN whose time is over.
    #[must_use]
    pub fn next_due(&mut self, now: u32) -> Option<Syn> {
        let syn = self.waiting.pop_front_if(|syn| !is_ahead(syn.until, now))?;
        self.bytes -= syn.frame.len();
        self.connections.remove(&syn.connection);
        let ((source, _), _) = syn.connection;
        match self.per_source.get_mut(&source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.per_source.remove(&source);
            }
        }
        Some(syn)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// Runs `f` on a frame.
pub(crate) fn read<R>(frame: &[u8], f: impl FnOnce(&Buffer<'_>) -> R) -> Option<R> {
    let mut bytes = frame.to_vec();
    let end = bytes.len();
    Buffer::new(&mut bytes, 0, end).map(|buffer| f(&buffer))
}

/// True for a frame that asks for a TCP connection.
#[must_use]
pub fn opens_connection(frame: &[u8]) -> bool {
    read(frame, |frame| answers::opens_connection(frame)).unwrap_or(false)
}

/// True for a SYN that came in by `entry`, from outside, and was dropped since nobody waits for it.
#[must_use]
pub fn is_one<T: Tables>(frame: &[u8], tables: &T, entry: Entry, reason: Reason) -> bool {
    let kind = |frame: &Buffer<'_>| {
        let side = path::side_of(frame, tables, entry)?;
        Some(answers::kind(frame, side, reason))
    };
    read(frame, kind).flatten() == Some(Features::TELL_SYN)
}

fn parse<F: Frame>(frame: &F) -> Option<Packet> {
    let link = ethernet::parse(frame).ok()?;
    let ip = ipv4::parse(frame, link.length).ok()?;
    path::transport_of(frame, link, ip).ok()
}

fn connection_of(frame: &[u8]) -> Option<Connection> {
    let Packet { ip, transport, .. } = read(frame, |frame| parse(frame))??;
    Some((
        (ip.source.get(), transport.source_port),
        (ip.destination.get(), transport.destination_port),
    ))
}

/// True if a SYN would reach a mapping by now. Where everything is filtered, that
/// is a SYN from inside that met it; where anyone may send, the mapping was opened
/// since, and the SYN that is sent again will reach it.
#[must_use]
pub fn is_admitted<T: Tables>(frame: &[u8], tables: &T) -> bool {
    let Some(Packet { ip, transport, .. }) = read(frame, |frame| parse(frame)).flatten() else {
        return false;
    };
    let destination = ip.destination.get();
    let rows = rows_of(tables, destination);
    let (protocol, port) = (transport.protocol, transport.destination_port);
    let address = (destination, rows);
    let Ok((slot, inside_address)) = lookup::mapping_at(tables, address, protocol, port) else {
        return false;
    };
    let party = Party {
        protocol,
        inside: (inside_address, slot.key.inside_port()),
        external_port: port,
        remote: peer::remote(ip.source.get(), transport.source_port),
        flags: transport.flags,
        policy: tables.policy(rows.pool()),
        tick: tables.now(),
    };
    session::admits(tables, party, slot.peer)
}

#[cfg(test)]
mod tests;
