//! IPFIX (RFC 7011) with the events of RFC 8158: port blocks (natEvent 16 and 17, section 4.6.10),
//! mappings (8 and 9, section 4.6.3), sessions (4 and 5, section 4.6.1), and notices.
//!
//! All numbers are big endian.

use super::{Fields, Item, Names, names, notice, realms, sets};
use crate::maplog::event::PortRange;
use crate::maplog::notice::Notice;
use sets::{Kind, REALM, Template};

/// Bytes of a message header: version, length, export time, sequence, domain (RFC 7011 section 3.1).
pub const HEADER_BYTES: usize = 16;
const VERSION: u16 = 10;
/// Set of templates (RFC 7011 section 3.3.2).
const TEMPLATE_SET: u16 = 2;
/// Set of templates of options (section 3.3.2), and a length that each record tells (section 7).
const OPTIONS_SET: u16 = 3;
const VARIABLE: u16 = 0xffff;

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
    block_fields: &BLOCK_FIELDS,
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
        let all = self.explained(now, &[sets::block_template(&KIND)], usize::MAX);
        all.concat()
    }

    /// The messages that explain notices, of at most `most_bytes` each.
    #[must_use]
    pub fn notice_templates(&self, now: u32, most_bytes: usize) -> Vec<Vec<u8>> {
        self.explained(now, &notice::templates(), most_bytes)
    }

    /// The message that explains mappings and sessions.
    #[must_use]
    pub fn session_templates(&self, now: u32) -> Vec<u8> {
        let all = self.explained(now, &sets::session_templates(), usize::MAX);
        all.concat()
    }

    /// The messages that explain records of subscribers whose name is known, of at most `most_bytes` each.
    #[must_use]
    pub fn name_templates(&self, now: u32, most_bytes: usize) -> Vec<Vec<u8>> {
        self.explained(now, &names::templates(&KIND), most_bytes)
    }

    /// The messages that explain records of subscribers of other realms than the first, and tell
    /// number and name of each of these; at most `most_bytes` each.
    pub fn realms(&mut self, now: u32, realms: &[(u16, &str)], most_bytes: usize) -> Vec<Vec<u8>> {
        let mut messages = self.explained(now, &realms::templates(&KIND), most_bytes);
        let mut fields = self.header(now);
        for number in [
            OPTIONS_SET,
            18,
            realms::NAME_TEMPLATE,
            2,
            1,
            REALM.0,
            REALM.1,
        ] {
            fields.u16(number);
        }
        fields.u16(realms::NAME);
        fields.u16(VARIABLE);
        messages.push(finish(fields));
        let room = most_bytes.saturating_sub(HEADER_BYTES);
        let names = realms::name_sets(realms, room, 1, |fields, number, name| {
            fields.u32(number.into());
            // Names have at most 63 bytes.
            fields.u8(name.len() as u8);
            fields.0.extend_from_slice(name.as_bytes());
        });
        messages.extend(self.counted(now, names));
        messages
    }

    /// All notices, in as few messages of at most `most_bytes` as they take.
    pub fn notices(&mut self, now: u32, notices: &[Notice], most_bytes: usize) -> Vec<Vec<u8>> {
        let sets = notice::data_sets(notices, most_bytes.saturating_sub(HEADER_BYTES), 1);
        self.counted(now, sets)
    }

    fn explained(&self, now: u32, templates: &[Template], most_bytes: usize) -> Vec<Vec<u8>> {
        let room = most_bytes.saturating_sub(HEADER_BYTES);
        let sets = sets::template_sets(TEMPLATE_SET, templates, room);
        let messages = sets.into_iter().map(|(set, _)| {
            let mut fields = self.header(now);
            fields.0.extend_from_slice(&set);
            finish(fields)
        });
        messages.collect()
    }

    /// Messages of data, which count.
    fn counted(&mut self, now: u32, sets: Vec<(Vec<u8>, u16)>) -> Vec<Vec<u8>> {
        let messages = sets.into_iter().map(|(sets, count)| {
            let mut fields = self.header(now);
            fields.0.extend_from_slice(&sets);
            self.sequence = self.sequence.wrapping_add(count.into());
            finish(fields)
        });
        messages.collect()
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
        self.message_with(now, items, &[], most_bytes)
    }

    /// The same with the names of subscribers.
    pub fn message_with(
        &mut self,
        now: u32,
        items: &[Item],
        names: Names<'_>,
        most_bytes: usize,
    ) -> (Option<Vec<u8>>, usize) {
        let room = most_bytes.saturating_sub(HEADER_BYTES);
        let (sets, records, covered) = sets::data_sets(items, names, room, &KIND);
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

fn put_block(item: &Item, ports: PortRange, fields: &mut Fields) {
    let Some(block) = item.block() else { return };
    fields.u64(item.unix_ms());
    fields.u8(match item.is_given() {
        true => BLOCK_ALLOCATED,
        false => BLOCK_RELEASED,
    });
    fields.u32(block.inside.to_bits());
    fields.u32(block.external.to_bits());
    fields.u16(ports.first());
    fields.u16(ports.last());
}

fn finish(mut fields: Fields) -> Vec<u8> {
    let length = fields.0.len() as u16;
    fields.put_u16(2, length);
    fields.0
}
