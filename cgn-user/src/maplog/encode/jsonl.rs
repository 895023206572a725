//! JSON lines: one object per record, as `cgn_user::maplog::Record` serializes, with the time also
//! as text. An interim record has `kind` `interim`, no `sequence`, and the time of the allocation.

use serde::Serialize;

use super::Item;
use crate::maplog::event::{Block, Record};
use crate::maplog::notice::Notice;
use crate::utc::Utc;

#[derive(Serialize)]
struct RecordLine<'a> {
    time: String,
    #[serde(flatten)]
    record: &'a Record,
}

#[derive(Serialize)]
struct NoticeLine<'a> {
    time: String,
    #[serde(flatten)]
    notice: &'a Notice,
}

#[derive(Serialize)]
struct InterimLine<'a> {
    time: String,
    unix_ms: u64,
    kind: &'static str,
    #[serde(flatten)]
    block: &'a Block,
}

/// One line, with its end.
#[must_use]
pub fn line(item: &Item) -> Vec<u8> {
    let time = Utc(item.unix_ms()).to_string();
    let mut line = match item {
        Item::Record(record) => serde_json::to_vec(&RecordLine { time, record }),
        Item::Notice(notice) => serde_json::to_vec(&NoticeLine { time, notice }),
        Item::Interim { block, since_ms } => serde_json::to_vec(&InterimLine {
            time,
            unix_ms: *since_ms,
            kind: "interim",
            block,
        }),
    }
    .expect("numbers, addresses and words are JSON");
    line.push(b'\n');
    line
}
