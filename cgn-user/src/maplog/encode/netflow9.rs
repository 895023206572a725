//! NetFlow version 9 (RFC 3954) with Cisco's NAT event logging (NEL), for collectors that read port
//! ranges there and not in IPFIX (nfdump 1.7.1). All numbers are big endian.

use super::{Fields, Item, notice, realms, sets};
use crate::maplog::event::PortRange;
use crate::maplog::notice::Notice;
use sets::{Kind, REALM, Template};

/// Bytes of a packet header: version, count, uptime, time, sequence, source (RFC 3954 section 5.1).
pub const HEADER_BYTES: usize = 20;
const VERSION: u16 = 9;
const TEMPLATE_SET: u16 = 0;
/// Set of templates of options, whose scope is the system (RFC 3954 section 6.1).
const OPTIONS_SET: u16 = 1;
const SYSTEM: u16 = 1;
/// Bytes of a name, filled with zeros: as long as one gets, and one more.
const NAME_BYTES: u16 = 64;

/// Field and its length in bytes, in the order of a record.
const BLOCK_FIELDS: [(u16, u16); 8] = [
    (323, 8), // time of the event, Unix ms
    (230, 1), // NAT event
    (8, 4),   // inside address
    (225, 4), // external address
    (361, 2), // first port
    (362, 2), // last port
    (363, 2), // step between ports
    (364, 2), // number of ports
];
/// Bytes of a record of them.
pub const BLOCK_BYTES: usize = 25;

/// NEL has its own numbers: created and deleted, for sessions and blocks alike.
const CREATED: u8 = 1;
const DELETED: u8 = 2;
const KIND: Kind = Kind {
    block_fields: &BLOCK_FIELDS,
    put_block,
    block_bytes: BLOCK_BYTES,
    mapping_events: [CREATED, DELETED],
    session_events: [CREATED, DELETED],
    align: 4,
};

/// One stream of packets to one collector.
#[derive(Debug, Clone)]
pub struct Exporter {
    /// Source identifier: tells several NATs apart.
    source: u32,
    /// Packets sent so far, modulo 2^32 (RFC 3954 section 5.1).
    sequence: u32,
}

impl Exporter {
    /// A stream that has sent `sequence` packets.
    #[must_use]
    pub fn new(source: u32, sequence: u32) -> Self {
        Self { source, sequence }
    }

    /// The packet that explains the others; to be sent before them, again and again.
    /// `now` in seconds of Unix time, `uptime_ms` since the program's start.
    pub fn templates(&mut self, now: u32, uptime_ms: u32) -> Vec<u8> {
        let block = [sets::block_template(&KIND)];
        self.explained(now, uptime_ms, &block, usize::MAX).concat()
    }

    /// The packets that explain notices, of at most `most_bytes` each.
    pub fn notice_templates(
        &mut self,
        now: u32,
        uptime_ms: u32,
        most_bytes: usize,
    ) -> Vec<Vec<u8>> {
        self.explained(now, uptime_ms, &notice::templates(), most_bytes)
    }

    /// The packets that explain records of subscribers of other realms than the first, and tell
    /// number and name of each of these; at most `most_bytes` each.
    pub fn realms(
        &mut self,
        now: u32,
        uptime_ms: u32,
        realms: &[(u16, &str)],
        most_bytes: usize,
    ) -> Vec<Vec<u8>> {
        let mut packets = self.explained(now, uptime_ms, &realms::templates(&KIND), most_bytes);
        let mut options = Fields(Vec::new());
        for number in [OPTIONS_SET, 24, realms::NAME_TEMPLATE, 4, 8, SYSTEM, 4] {
            options.u16(number);
        }
        for number in [REALM.0, REALM.1, realms::NAME, NAME_BYTES, 0] {
            options.u16(number);
        }
        let room = most_bytes.saturating_sub(HEADER_BYTES);
        let names = realms::name_sets(realms, room, 4, |fields, number, name| {
            fields.u32(0);
            fields.u32(number.into());
            let end = fields.0.len() + usize::from(NAME_BYTES);
            fields.0.extend_from_slice(name.as_bytes());
            fields.0.resize(end, 0);
        });
        packets.extend(self.packets(now, uptime_ms, vec![(options.0, 1)]));
        packets.extend(self.packets(now, uptime_ms, names));
        packets
    }

    /// All notices, in as few packets of at most `most_bytes` as they take.
    pub fn notices(
        &mut self,
        now: u32,
        uptime_ms: u32,
        notices: &[Notice],
        most_bytes: usize,
    ) -> Vec<Vec<u8>> {
        let room = most_bytes.saturating_sub(HEADER_BYTES);
        self.packets(now, uptime_ms, notice::data_sets(notices, room, 4))
    }

    fn packets(&mut self, now: u32, uptime_ms: u32, sets: Vec<(Vec<u8>, u16)>) -> Vec<Vec<u8>> {
        let packets = sets.into_iter().map(|(sets, count)| {
            let mut fields = self.header(now, uptime_ms, count);
            fields.0.extend_from_slice(&sets);
            fields.0
        });
        packets.collect()
    }

    /// The packet that explains mappings and sessions.
    pub fn session_templates(&mut self, now: u32, uptime_ms: u32) -> Vec<u8> {
        let of_sessions = sets::session_templates();
        self.explained(now, uptime_ms, &of_sessions, usize::MAX)
            .concat()
    }

    fn explained(
        &mut self,
        now: u32,
        uptime_ms: u32,
        templates: &[Template],
        most_bytes: usize,
    ) -> Vec<Vec<u8>> {
        let room = most_bytes.saturating_sub(HEADER_BYTES);
        let sets = sets::template_sets(TEMPLATE_SET, templates, room);
        self.packets(now, uptime_ms, sets)
    }

    /// A packet of events of blocks, mappings and sessions of at most `most_bytes`, and how many of
    /// `items` it covers. Starts and stops have no event and are passed over; None if there is nothing
    /// else.
    pub fn message(
        &mut self,
        now: u32,
        uptime_ms: u32,
        items: &[Item],
        most_bytes: usize,
    ) -> (Option<Vec<u8>>, usize) {
        let room = most_bytes.saturating_sub(HEADER_BYTES);
        let (sets, records, covered) = sets::data_sets(items, &[], room, &KIND);
        if records == 0 {
            return (None, covered);
        }
        let mut fields = self.header(now, uptime_ms, records);
        fields.0.extend_from_slice(&sets);
        (Some(fields.0), covered)
    }

    fn header(&mut self, now: u32, uptime_ms: u32, count: u16) -> Fields {
        let mut fields = Fields(Vec::new());
        fields.u16(VERSION);
        fields.u16(count);
        fields.u32(uptime_ms);
        fields.u32(now);
        fields.u32(self.sequence);
        fields.u32(self.source);
        self.sequence = self.sequence.wrapping_add(1);
        fields
    }
}

fn put_block(item: &Item, ports: PortRange, fields: &mut Fields) {
    let Some(block) = item.block() else { return };
    fields.u64(item.unix_ms());
    fields.u8(match item.is_given() {
        true => CREATED,
        false => DELETED,
    });
    fields.u32(block.inside.to_bits());
    fields.u32(block.external.to_bits());
    fields.u16(ports.first());
    fields.u16(ports.last());
    fields.u16(1);
    fields.u16(ports.count());
}
