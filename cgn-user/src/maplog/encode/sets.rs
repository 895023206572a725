//! Records of blocks, mappings and sessions as data sets, which IPFIX and NetFlow 9 have in common: the
//! same fields by the same numbers, but for what NEL adds to a block and how it counts events.

use super::{Fields, Item, Names, names};
use crate::maplog::event::PortRange;
use crate::maplog::session::Session;

/// An information element and its length in bytes.
pub(super) type Element = (u16, u16);

/// Bytes of a set header: its number and length (RFC 7011 section 3.3.2, RFC 3954 section 5.2).
pub(super) const SET_HEADER_BYTES: usize = 4;
/// Template of block events; those from 256 on are ours to number.
pub(super) const BLOCK_TEMPLATE: u16 = 256;
/// Templates of mappings, and of sessions with their destination.
const MAPPING_TEMPLATE: u16 = 263;
const SESSION_TEMPLATE: u16 = 264;

/// Information elements and their lengths in bytes, in the order of a record (RFC 8158 sections
/// 4.6.1 and 4.6.3).
const SESSION_FIELDS: [Element; 9] = [
    (323, 8), // observationTimeMilliseconds
    (230, 1), // natEvent
    (8, 4),   // sourceIPv4Address: inside
    (225, 4), // postNATSourceIPv4Address: external
    (4, 1),   // protocolIdentifier
    (7, 2),   // sourceTransportPort
    (227, 2), // postNAPTSourceTransportPort
    (12, 4),  // destinationIPv4Address
    (11, 2),  // destinationTransportPort
];
/// Those of them that a mapping has, whose destinations are not logged.
const MAPPING_FIELDS: usize = 7;
const MAPPING_BYTES: usize = 22;
const SESSION_BYTES: usize = 28;

/// ingressVRFID: number of the subscriber's realm in the log, at the end of records of those who are
/// in another than the first.
pub(super) const REALM: Element = (234, 4);
/// What is added to the number of a template for them.
pub(super) const IN_REALM: u16 = 16;

/// What differs between the two formats.
pub(super) struct Kind {
    /// Fields of a block, in the order of a record.
    pub block_fields: &'static [Element],
    /// Appends time, event, addresses and ports of a block; of one with two ranges, one of them.
    pub put_block: fn(&Item, PortRange, &mut Fields),
    pub block_bytes: usize,
    /// Values of natEvent for begin and end: of a mapping, and of a session.
    pub mapping_events: [u8; 2],
    pub session_events: [u8; 2],
    /// Sets are filled with zeros up to a multiple of so many bytes.
    pub align: usize,
}

/// Template and bytes of each of the records of an item whose subscriber has this name; None if it has none.
fn shape(item: &Item, name: Option<&str>, kind: &Kind) -> Option<(u16, usize)> {
    let (template, bytes) = match (item.block(), item.session()) {
        (Some(_), _) => (BLOCK_TEMPLATE, kind.block_bytes),
        (_, Some(Session { remote: None, .. })) => (MAPPING_TEMPLATE, MAPPING_BYTES),
        (_, Some(_)) => (SESSION_TEMPLATE, SESSION_BYTES),
        _ => return None,
    };
    let (template, bytes) = match item.realm() {
        0 => (template, bytes),
        _ => (template + IN_REALM, bytes + usize::from(REALM.1)),
    };
    Some(match name {
        None => (template, bytes),
        Some(name) => (template + names::NAMED, bytes + names::bytes(name)),
    })
}

/// A block has a record for each range of its ports, all else has one.
fn ranges(item: &Item) -> impl Iterator<Item = Option<PortRange>> + use<> {
    let ranges = item.block().map(|block| block.ranges());
    let first = ranges.map(|ranges| ranges.ports);
    let system = ranges.and_then(|ranges| ranges.system);
    [Some(first), system.map(Some)].into_iter().flatten()
}

fn put_session(item: &Item, session: &Session, kind: &Kind, fields: &mut Fields) {
    let events = match session.remote {
        None => kind.mapping_events,
        Some(_) => kind.session_events,
    };
    fields.u64(item.unix_ms());
    fields.u8(events[usize::from(!item.is_given())]);
    fields.u32(session.inside.to_bits());
    fields.u32(session.external.to_bits());
    fields.u8(session.protocol.number());
    fields.u16(session.inside_port);
    fields.u16(session.external_port);
    if let Some(remote) = session.remote {
        fields.u32(remote.address.to_bits());
        fields.u16(remote.port);
    }
}

/// Data sets that take `most_bytes` at most (but one item in any case), how many records they
/// hold, and how many of `items` they cover: those without a record are passed over.
pub(super) fn data_sets(
    items: &[Item],
    names: Names<'_>,
    most_bytes: usize,
    kind: &Kind,
) -> (Vec<u8>, u16, usize) {
    let mut fields = Fields(Vec::new());
    let (mut records, mut covered) = (0, 0);
    // Where the open set begins, and its template.
    let mut open: Option<(usize, u16)> = None;
    let names = names.iter().map(Option::as_deref);
    for (item, name) in items.iter().zip(names.chain(std::iter::repeat(None))) {
        if let Some((template, bytes)) = shape(item, name, kind) {
            let is_open = open.is_some_and(|(_, of)| of == template);
            let head = if is_open {
                0
            } else {
                SET_HEADER_BYTES + kind.align - 1
            };
            let bytes = bytes * ranges(item).count();
            if records > 0 && fields.0.len() + head + bytes + kind.align - 1 > most_bytes {
                break;
            }
            if !is_open {
                close(&mut fields, open, kind.align);
                open = Some((fields.0.len(), template));
                fields.u16(template);
                fields.u16(0);
            }
            for ports in ranges(item) {
                match (item.session(), ports) {
                    (Some(session), _) => put_session(item, &session, kind, &mut fields),
                    (None, Some(ports)) => (kind.put_block)(item, ports, &mut fields),
                    (None, None) => continue,
                }
                if item.realm() != 0 {
                    fields.u32(item.realm().into());
                }
                if let Some(name) = name {
                    names::put(name, &mut fields);
                }
                records += 1;
            }
        }
        covered += 1;
    }
    close(&mut fields, open, kind.align);
    (fields.0, records, covered)
}

/// Fills the open set, and writes its length.
fn close(fields: &mut Fields, open: Option<(usize, u16)>, align: usize) {
    let Some((begin, _)) = open else { return };
    while !(fields.0.len() - begin).is_multiple_of(align) {
        fields.u8(0);
    }
    let length = (fields.0.len() - begin) as u16;
    fields.put_u16(begin + 2, length);
}

/// A template: its number, and its fields in the order of a record.
pub(super) type Template = (u16, Vec<Element>);

/// The template of blocks.
pub(super) fn block_template(kind: &Kind) -> Template {
    (BLOCK_TEMPLATE, kind.block_fields.to_vec())
}

/// The templates of mappings and sessions.
pub(super) fn session_templates() -> [Template; 2] {
    [
        (MAPPING_TEMPLATE, SESSION_FIELDS[..MAPPING_FIELDS].to_vec()),
        (SESSION_TEMPLATE, SESSION_FIELDS.to_vec()),
    ]
}

/// The templates as bytes of template sets of number `set`, `most_bytes` of them at most in one, each
/// with how many templates it has.
pub(super) fn template_sets(
    set: u16,
    templates: &[Template],
    most_bytes: usize,
) -> Vec<(Vec<u8>, u16)> {
    let mut sets: Vec<(Vec<u8>, u16)> = Vec::new();
    for (number, elements) in templates {
        let bytes = 4 + 4 * elements.len();
        if sets
            .last()
            .is_none_or(|(set, _)| set.len() + bytes > most_bytes)
        {
            let mut head = Fields(Vec::new());
            head.u16(set);
            head.u16(0);
            sets.push((head.0, 0));
        }
        let Some((open, count)) = sets.last_mut() else {
            continue;
        };
        let mut fields = Fields(std::mem::take(open));
        fields.u16(*number);
        fields.u16(elements.len() as u16);
        for (element, length) in elements {
            fields.u16(*element);
            fields.u16(*length);
        }
        let length = fields.0.len() as u16;
        fields.put_u16(2, length);
        (*open, *count) = (fields.0, *count + 1);
    }
    sets
}
