//! JSON lines: one object per record, as `cgn_user::maplog::Record` serializes, with the time also
//! as text. Where there are several realms, a subscriber's has its name as `realm`; the first has
//! none. `identity` is the subscriber's name, if the log has it. An interim record has `kind` `interim`, no
//! `sequence`, and the time of the allocation.

use serde::Serialize;

use super::Item;
use crate::maplog::event::{Block, Record};
use crate::maplog::notice::Notice;
use crate::maplog::realms::Register;
use crate::utc::Utc;

#[derive(Serialize)]
struct RecordLine<'a> {
    time: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    realm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    #[serde(flatten)]
    record: &'a Record,
}

#[derive(Serialize)]
struct NoticeLine<'a> {
    time: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    realm: String,
    #[serde(flatten)]
    notice: &'a Notice,
}

#[derive(Serialize)]
struct InterimLine<'a> {
    time: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    realm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    unix_ms: u64,
    kind: &'static str,
    #[serde(flatten)]
    block: &'a Block,
}

/// One line, with its end.
#[must_use]
pub fn line(item: &Item, realms: &Register, identity: Option<&str>) -> Vec<u8> {
    let time = Utc(item.unix_ms()).to_string();
    let realm = realms.name(item.realm());
    let mut line = match item {
        Item::Record(record) => serde_json::to_vec(&RecordLine {
            time,
            realm,
            identity,
            record,
        }),
        Item::Notice(notice) => serde_json::to_vec(&NoticeLine {
            time,
            realm,
            notice,
        }),
        Item::Interim { block, since_ms } => serde_json::to_vec(&InterimLine {
            time,
            realm,
            identity,
            unix_ms: *since_ms,
            kind: "interim",
            block,
        }),
    }
    .expect("numbers, addresses and words are JSON");
    line.push(b'\n');
    line
}
