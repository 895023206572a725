//! Names of subscribers in IPFIX: userName (371) at the end of records of those
//! whose name is known, which have templates of their own. NetFlow 9 has no fields of varying length.

use super::Fields;
use super::sets::{IN_REALM, Kind, REALM, Template, block_template, session_templates};

/// userName, of a length that each record tells (RFC 7011 section 7).
const USER_NAME: (u16, u16) = (371, 0xffff);
/// What is added to the number of a template for them.
pub(super) const NAMED: u16 = 32;
/// A length that has two bytes more.
const LONG: usize = 255;

/// The templates of records of such subscribers, in each realm.
pub(super) fn templates(kind: &Kind) -> Vec<Template> {
    let plain = || {
        let blocks = [block_template(kind)].into_iter();
        blocks.chain(session_templates())
    };
    let of_first = plain().map(|(number, elements)| (number + NAMED, elements));
    let of_others = plain().map(|(number, elements)| {
        let number = number + IN_REALM + NAMED;
        (number, [elements, vec![REALM]].concat())
    });
    let all = of_first.chain(of_others);
    all.map(|(number, elements)| (number, [elements, vec![USER_NAME]].concat()))
        .collect()
}

/// Bytes that a name takes.
pub(super) const fn bytes(name: &str) -> usize {
    match name.len() {
        0..LONG => 1 + name.len(),
        _ => 3 + name.len(),
    }
}

/// Appends a name.
pub(super) fn put(name: &str, fields: &mut Fields) {
    match name.len() {
        length @ 0..LONG => fields.u8(length as u8),
        length => {
            fields.u8(LONG as u8);
            // At most twice as many digits as an attribute has bytes.
            fields.u16(length as u16);
        }
    }
    fields.0.extend_from_slice(name.as_bytes());
}
