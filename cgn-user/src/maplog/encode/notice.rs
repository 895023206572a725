//! Exhaustion, quota and threshold events (RFC 8158 sections 4.6.5 to 4.6.8): their templates and
//! records, the same in IPFIX and in NetFlow 9, whose field numbers are those of IPFIX.

use super::Fields;
use super::sets::{Element, IN_REALM, REALM, Template};
use crate::maplog::notice::{Notice, What};

const TIME: Element = (323, 8); // observationTimeMilliseconds
const EVENT: Element = (230, 1); // natEvent
const POOL: Element = (283, 4); // natPoolId
const EXTERNAL: Element = (225, 4); // postNATSourceIPv4Address
const PROTOCOL: Element = (4, 1); // protocolIdentifier
const INSIDE: Element = (8, 4); // sourceIPv4Address
const QUOTA: Element = (466, 4); // natQuotaExceededEvent
const MOST_BINDINGS: Element = (472, 4); // maxBIBEntries
const MOST_OF_USER: Element = (473, 4); // maxEntriesPerUser
const THRESHOLD: Element = (467, 4); // natThresholdEvent
const HIGH: Element = (476, 4); // addressPoolHighThreshold
const LOW: Element = (477, 4); // addressPoolLowThreshold

/// Number and fields of each template, in the order of a record.
const TEMPLATES: [(u16, &[Element]); 6] = [
    (257, &[TIME, EVENT, POOL]),
    (258, &[TIME, EVENT, EXTERNAL, PROTOCOL]),
    (259, &[TIME, EVENT, QUOTA, MOST_BINDINGS]),
    (260, &[TIME, EVENT, QUOTA, MOST_OF_USER, INSIDE]),
    (261, &[TIME, EVENT, THRESHOLD, POOL, HIGH]),
    (262, &[TIME, EVENT, THRESHOLD, POOL, LOW]),
];

/// Values of natEvent (RFC 8158 section 4.3).
const ADDRESSES_EXHAUSTED: u8 = 3;
const PORTS_EXHAUSTED: u8 = 12;
const QUOTA_EXCEEDED: u8 = 13;
const THRESHOLD_REACHED: u8 = 18;
/// Values of natQuotaExceededEvent (section 4.4).
const MAX_BINDINGS: u32 = 2;
const MAX_PER_USER: u32 = 3;
/// Values of natThresholdEvent (section 4.5).
const POOL_HIGH: u32 = 1;
const POOL_LOW: u32 = 2;

/// Appends the record; returns the number of its template, or none where RFC 8158 has no event.
pub(super) fn put(notice: &Notice, fields: &mut Fields) -> Option<u16> {
    fields.u64(notice.unix_ms);
    Some(match notice.what {
        What::AddressesExhausted { pool } => {
            fields.u8(ADDRESSES_EXHAUSTED);
            fields.u32(pool.into());
            257
        }
        What::PortsExhausted {
            external, protocol, ..
        } => {
            fields.u8(PORTS_EXHAUSTED);
            fields.u32(external.to_bits());
            fields.u8(protocol);
            258
        }
        What::MappingsExceeded { most, .. } => {
            fields.u8(QUOTA_EXCEEDED);
            fields.u32(MAX_BINDINGS);
            fields.u32(most);
            259
        }
        What::SubscriberExceeded {
            realm,
            most,
            inside,
            ..
        } => {
            fields.u8(QUOTA_EXCEEDED);
            fields.u32(MAX_PER_USER);
            fields.u32(most);
            fields.u32(inside.to_bits());
            match realm {
                0 => 260,
                _ => {
                    fields.u32(realm.into());
                    260 + IN_REALM
                }
            }
        }
        What::PoolHigh { pool, addresses } => {
            fields.u8(THRESHOLD_REACHED);
            fields.u32(POOL_HIGH);
            fields.u32(pool.into());
            fields.u32(addresses);
            261
        }
        What::PoolLow { pool, addresses } => {
            fields.u8(THRESHOLD_REACHED);
            fields.u32(POOL_LOW);
            fields.u32(pool.into());
            fields.u32(addresses);
            262
        }
        What::AttackBegan { .. }
        | What::AttackEnded { .. }
        | What::PrefixThrottled { .. }
        | What::PrefixReleased { .. }
        | What::OverloadBegan { .. }
        | What::OverloadEnded { .. }
        | What::OverflowHigh { .. }
        | What::OverflowLow { .. } => return None,
    })
}

/// The templates of all notices.
pub(super) fn templates() -> Vec<Template> {
    let templates = TEMPLATES.iter();
    templates
        .map(|(number, elements)| (*number, elements.to_vec()))
        .collect()
}

/// The template of the only notice that tells of a subscriber, if he is in another realm than the first.
pub(super) fn template_in_realm() -> Template {
    let (number, elements) = TEMPLATES[3];
    (number + IN_REALM, [elements, &[REALM]].concat())
}

/// Each notice as a data set of its own, filled with zeros up to a multiple of `align`; several in one
/// message of at most `most_bytes`.
pub(super) fn data_sets(
    notices: &[Notice],
    most_bytes: usize,
    align: usize,
) -> Vec<(Vec<u8>, u16)> {
    let mut messages: Vec<(Vec<u8>, u16)> = Vec::new();
    for notice in notices {
        let mut set = Fields(vec![0; 4]);
        let Some(number) = put(notice, &mut set) else {
            continue;
        };
        while !set.0.len().is_multiple_of(align) {
            set.u8(0);
        }
        let length = set.0.len() as u16;
        set.put_u16(0, number);
        set.put_u16(2, length);
        match messages.last_mut() {
            Some((bytes, count)) if bytes.len() + set.0.len() <= most_bytes => {
                bytes.extend_from_slice(&set.0);
                *count += 1;
            }
            _ => messages.push((set.0, 1)),
        }
    }
    messages
}
