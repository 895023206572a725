//! Subscribers of other realms than the first: what explains their records, which have ingressVRFID, and
//! which name each of its numbers stands for, as options (RFC 7011 section 3.4.2.2, RFC 3954 section
//! 6.1), the same elements in IPFIX and in NetFlow 9.

use super::Fields;
use super::notice;
use super::sets::{
    IN_REALM, Kind, REALM, SET_HEADER_BYTES, Template, block_template, session_templates,
};

/// Template of the names.
pub(super) const NAME_TEMPLATE: u16 = 281;
/// VRFname.
pub(super) const NAME: u16 = 236;

/// The templates of records of such subscribers.
pub(super) fn templates(kind: &Kind) -> Vec<Template> {
    let of_first = [block_template(kind)]
        .into_iter()
        .chain(session_templates());
    let mut templates: Vec<Template> = of_first
        .map(|(number, elements)| (number + IN_REALM, [elements, vec![REALM]].concat()))
        .collect();
    templates.push(notice::template_in_realm());
    templates
}

/// The names as data sets, each in as many as take `most_bytes`, with how many are in it. `put` appends
/// the record of a number and a name.
pub(super) fn name_sets(
    realms: &[(u16, &str)],
    most_bytes: usize,
    align: usize,
    put: impl Fn(&mut Fields, u16, &str),
) -> Vec<(Vec<u8>, u16)> {
    let mut sets: Vec<(Vec<u8>, u16)> = Vec::new();
    for (number, name) in realms {
        let mut record = Fields(Vec::new());
        put(&mut record, *number, name);
        match sets.last_mut() {
            Some((set, count)) if set.len() + record.0.len() + align - 1 <= most_bytes => {
                set.extend_from_slice(&record.0);
                *count += 1;
            }
            _ => {
                let mut set = Fields(vec![0; SET_HEADER_BYTES]);
                set.put_u16(0, NAME_TEMPLATE);
                set.0.extend_from_slice(&record.0);
                sets.push((set.0, 1));
            }
        }
    }
    for (set, _) in &mut sets {
        set.resize(set.len().next_multiple_of(align), 0);
        let length = set.len() as u16;
        set[2..4].copy_from_slice(&length.to_be_bytes());
    }
    sets
}
