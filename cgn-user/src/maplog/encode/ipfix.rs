//! IPFIX (RFC 7011) with the events of RFC 8158: port blocks (natEvent 16 and 17, section 4.6.10),
//! mappings (8 and 9, section 4.6.3), sessions (4 and 5, section 4.6.1), and notices.
//!
//! All numbers are big endian.

use super::{Fields, Item, notice, sets};
use crate::maplog::notice::Notice;
use sets::{BLOCK_TEMPLATE, Kind, SET_HEADER_BYTES};

/// Bytes of a message header: version, length, export time, sequence, domain (RFC 7011 section 3.1).
pub const HEADER_BYTES: usize = 16;
const VERSION: u16 = 10;
/// Set of templates (RFC 7011 section 3.3.2).
const TEMPLATE_SET: u16 = 2;

/// Information element and its length in bytes, in the order of a record.
const BLOCK_FIELDS: [(u16, u16); 6] = [
    (323, 8), // observationTimeMilliseconds
    (230, 1), // natEvent
    (8, 4),   // sourceIPv4Address: inside
    (225, 4), // postNATSourceIPv4Address: external
    (361, 2), // portRangeStart
    (362, 2), // portRangeEnd: the text of section 4.6.10 makes it mandatory
];
/// Bytes of a record of them.
pub const BLOCK_BYTES: usize = 21;

/// Values of natEvent (RFC 8158 section 4.3).
const BLOCK_ALLOCATED: u8 = 16;
const BLOCK_RELEASED: u8 = 17;
const KIND: Kind = Kind {
    put_block,
    block_bytes: BLOCK_BYTES,
    mapping_events: [8, 9],
    session_events: [4, 5],
    align: 1,
};

/// One stream of messages to one collector.
#[derive(Debug, Clone)]
pub struct Exporter {
    /// Observation domain: tells several NATs apart.
    domain: u32,
    /// Data records sent so far, modulo 2^32 (RFC 7011 section 3.1).
    sequence: u32,
}

impl Exporter {
    /// A stream that has sent `sequence` records.
    #[must_use]
    pub fn new(domain: u32, sequence: u32) -> Self {
        Self { domain, sequence }
    }

    /// The message that explains the others; must be sent before them, and over UDP
    /// again and again (RFC 7011 section 8.4). `now` in seconds of Unix time.
    #[must_use]
    pub fn templates(&self, now: u32) -> Vec<u8> {
        let mut fields = self.header(now);
        fields.u16(TEMPLATE_SET);
        fields.u16((SET_HEADER_BYTES + 4 + 4 * BLOCK_FIELDS.len()) as u16);
        fields.u16(BLOCK_TEMPLATE);
        fields.u16(BLOCK_FIELDS.len() as u16);
        for (element, length) in BLOCK_FIELDS {
            fields.u16(element);
            fields.u16(length);
        }
        finish(fields)
    }

    /// The messages that explain notices, of at most `most_bytes` each.
    #[must_use]
    pub fn notice_templates(&self, now: u32, most_bytes: usize) -> Vec<Vec<u8>> {
        let sets = notice::template_sets(TEMPLATE_SET, most_bytes.saturating_sub(HEADER_BYTES));
        let messages = sets.into_iter().map(|(set, _)| {
            let mut fields = self.header(now);
            fields.0.extend_from_slice(&set);
            finish(fields)
        });
        messages.collect()
    }

    /// All notices, in as few messages of at most `most_bytes` as they take.
    pub fn notices(&mut self, now: u32, notices: &[Notice], most_bytes: usize) -> Vec<Vec<u8>> {
        let sets = notice::data_sets(notices, most_bytes.saturating_sub(HEADER_BYTES), 1);
        let messages = sets.into_iter().map(|(sets, count)| {
            let mut fields = self.header(now);
            fields.0.extend_from_slice(&sets);
            self.sequence = self.sequence.wrapping_add(count.into());
            finish(fields)
        });
        messages.collect()
    }

    /// The message that explains mappings and sessions.
    #[must_use]
    pub fn session_templates(&self, now: u32) -> Vec<u8> {
        let mut fields = self.header(now);
        fields
            .0
            .extend_from_slice(&sets::session_templates(TEMPLATE_SET).0);
        finish(fields)
    }

    /// A message of events of blocks, mappings and sessions of at most `most_bytes`, and how many of
    /// `items` it covers. Starts and stops have no event and are passed over; None if there is nothing
    /// else.
    pub fn message(
        &mut self,
        now: u32,
        items: &[Item],
        most_bytes: usize,
    ) -> (Option<Vec<u8>>, usize) {
        let room = most_bytes.saturating_sub(HEADER_BYTES);
        let (sets, records, covered) = sets::data_sets(items, room, &KIND);
        if records == 0 {
            return (None, covered);
        }
        let mut fields = self.header(now);
        fields.0.extend_from_slice(&sets);
        self.sequence = self.sequence.wrapping_add(records.into());
        (Some(finish(fields)), covered)
    }

    fn header(&self, now: u32) -> Fields {
        let mut fields = Fields(Vec::new());
        fields.u16(VERSION);
        fields.u16(0);
        fields.u32(now);
        fields.u32(self.sequence);
        fields.u32(self.domain);
        fields
    }
}

fn put_block(item: &Item, fields: &mut Fields) {
    let Some(block) = item.block() else { return };
    fields.u64(item.unix_ms());
    fields.u8(match item.is_given() {
        true => BLOCK_ALLOCATED,
        false => BLOCK_RELEASED,
    });
    fields.u32(block.inside.to_bits());
    fields.u32(block.external.to_bits());
    fields.u16(block.ports.first());
    fields.u16(block.ports.last());
}

fn finish(mut fields: Fields) -> Vec<u8> {
    let length = fields.0.len() as u16;
    fields.put_u16(2, length);
    fields.0
}
