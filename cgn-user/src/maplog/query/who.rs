//! Which subscriber had a port of an external address at a time (RFC 6302, RFC 6888 REQ-14).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;

use super::super::error::ReadError;
use super::super::event::Event;
use super::super::maps::Maps;
use super::super::realms::Register;
use super::super::scatter::Keyring;
use super::super::sealed::{Fact, Row};
use super::walk::{Gap, Source, Walk};
use super::{Holding, concerns, exact_since, held_by_map};
use crate::utc::Utc;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enquiry {
    pub external: Ipv4Addr,
    pub port: u16,
    /// Milliseconds of Unix time.
    pub at_ms: u64,
    /// How far the asker's clock can be off, either way, in milliseconds.
    pub skew_ms: u64,
}

/// What can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// One subscriber had the port at some time within the skew, and no other had.
    One,
    /// Nobody had it.
    Nobody,
    /// Several had it within the skew, one after the other.
    Several,
    /// The log does not reach there, or records are missing that could change the answer.
    Unknown,
}

/// The answer to an enquiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub outcome: Outcome,
    /// Who had the port within the skew, in the order of time.
    pub holdings: Vec<Holding>,
    /// What the asker must know of the answer, each a sentence.
    pub remarks: Vec<String>,
}

/// Remark of an answer without a record of the subscriber.
const STATIC: &str = "by the configuration of that time, which is on record: the port is static";

/// Answers from the log in the directory `root`.
///
/// # Errors
/// A file that the answer depends on cannot be read.
pub fn who(root: &Path, enquiry: &Enquiry) -> Result<Answer, ReadError> {
    let from_ms = enquiry.at_ms.saturating_sub(enquiry.skew_ms);
    let to_ms = enquiry.at_ms.saturating_add(enquiry.skew_ms);
    let (maps, realms) = (Maps::read(root)?, Register::read(root)?);
    let fixed = maps.who(enquiry.external, enquiry.port, from_ms, to_ms);
    let fixed = fixed.filter_map(|held| held_by_map(held, &realms));
    let fixed: Vec<Holding> = fixed.collect::<Result<_, _>>()?;
    // A static port is nobody else's while its map holds: the log has nothing to say of it.
    if let [one] = &fixed[..]
        && one.since_ms.is_some_and(|since| since <= from_ms)
        && one.until.is_none_or(|(until, _)| until > to_ms)
    {
        return Ok(Answer {
            outcome: Outcome::One,
            holdings: fixed,
            remarks: vec![STATIC.to_owned()],
        });
    }
    let mut walk = Walk::back_from(root, to_ms)?;
    let keys = Keyring::read(root)?;
    let facts = facts(&mut walk, &keys, enquiry, from_ms, to_ms)?;
    let mut holdings = holdings(&facts.rows, from_ms);
    for holding in &mut holdings {
        if let Some(hour_ms) = facts.held_since_ms
            && holding.since_ms == Some(hour_ms)
        {
            holding.since_ms = exact_since(root, &holding.block, hour_ms)?;
        }
    }
    if !fixed.is_empty() {
        holdings.extend(fixed);
        holdings.sort_by_key(|holding| holding.since_ms);
    }
    let subscriber = |held: &Holding| (held.block.realm, held.block.inside);
    let subscribers: BTreeSet<(u16, Ipv4Addr)> = holdings.iter().map(subscriber).collect();
    let mut remarks: Vec<String> = walk
        .missing
        .iter()
        .map(|(first, last)| {
            format!("records {first} to {last} of the log are missing, which could change the answer: get their files from a copy")
        })
        .collect();
    let mut outcome = match subscribers.len() {
        0 => Outcome::Nobody,
        1 => Outcome::One,
        _ => Outcome::Several,
    };
    remarks.extend(facts.gaps.iter().map(Gap::remark));
    let is_lacking = !walk.missing.is_empty() || !facts.gaps.is_empty();
    if is_lacking || (!facts.is_decided && outcome == Outcome::Nobody) {
        outcome = Outcome::Unknown;
    }
    if !facts.is_decided {
        remarks.push(match walk.begins_at() {
            None => "the log has no record".to_owned(),
            Some(first) => format!(
                "the log begins with record {first}, which is later: what was before is not in it"
            ),
        });
    }
    if !walk.is_end_known {
        remarks.push(
            "this is a copy without write-ahead segments, whose last file may end before that time"
                .to_owned(),
        );
    }
    if outcome == Outcome::Several {
        remarks.push(format!(
            "the port changed hands within {} s of {}: a time that is more exact, or a smaller skew, can decide",
            enquiry.skew_ms / 1000,
            Utc(enquiry.at_ms)
        ));
    }
    Ok(Answer {
        outcome,
        holdings,
        remarks,
    })
}

/// What the log says of the port.
struct Facts {
    /// In the order of time: the last one up to `from_ms`, if there is one, and all up to `to_ms`.
    rows: Vec<Row>,
    /// Hour from which the block was held when its day began, if that is the first row.
    held_since_ms: Option<u64>,
    /// What was at `from_ms` is known, also if it was nobody.
    is_decided: bool,
    /// Gaps of the log that reach into the time that is asked for.
    gaps: Vec<Gap>,
}

fn facts(
    walk: &mut Walk,
    keys: &Keyring,
    enquiry: &Enquiry,
    from_ms: u64,
    to_ms: u64,
) -> Result<Facts, ReadError> {
    let mut facts = Facts {
        rows: Vec::new(),
        held_since_ms: None,
        is_decided: false,
        gaps: walk.marked_in(from_ms, to_ms).into_iter().collect(),
    };
    while let Some(source) = walk.next()? {
        facts.gaps.extend(source.gaps_in(from_ms, to_ms)?);
        let (rows, day_ms) = match source {
            Source::Segments(rows) => (rows, None),
            Source::Records(file) => (file.rows_of_port(enquiry.external, enquiry.port)?, None),
            Source::Held(file, day_ms) if day_ms <= from_ms => (
                file.rows_of_port(enquiry.external, enquiry.port)?,
                Some(day_ms),
            ),
            Source::Held(..) => continue,
        };
        let mut wanted = Vec::new();
        for row in rows.into_iter().filter(|row| row.unix_ms <= to_ms) {
            if concerns(&row, keys, enquiry.external, enquiry.port)? {
                wanted.push(row);
            }
        }
        // Blocks of several keys or sizes stand apart in a sealed file.
        if wanted.iter().any(|row| row.key() != wanted[0].key()) {
            wanted.sort_by_key(|row| row.unix_ms);
        }
        if day_ms.is_some() {
            facts.held_since_ms = wanted.last().map(|row| row.unix_ms);
        }
        let has_earlier = wanted.iter().any(|row| row.unix_ms <= from_ms);
        facts.rows.splice(0..0, wanted);
        if has_earlier || day_ms.is_some() {
            facts.is_decided = true;
            break;
        }
        if walk.begins_at() == Some(1) {
            // Before its first record nobody had anything.
            facts.is_decided = true;
        }
    }
    Ok(facts)
}

/// Who had the port from `from_ms` on.
fn holdings(rows: &[Row], from_ms: u64) -> Vec<Holding> {
    let mut holdings: Vec<Holding> = Vec::new();
    for row in rows {
        match row.fact {
            Fact::Held(block) | Fact::Event(Event::Allocate(block)) => holdings.push(Holding {
                block,
                since_ms: Some(row.unix_ms),
                until: None,
            }),
            Fact::Event(Event::Release { block, reason }) => {
                let until = Some((row.unix_ms, reason));
                let mut open = holdings.iter_mut().rev();
                match open.find(|held| held.block == block && held.until.is_none()) {
                    Some(held) => held.until = until,
                    None => holdings.push(Holding {
                        block,
                        since_ms: None,
                        until,
                    }),
                }
            }
            Fact::Event(Event::Start | Event::Stop | Event::Gap | Event::Resume)
            | Fact::Event(Event::Open(_) | Event::Close(_))
            | Fact::Event(Event::Name(_) | Event::Login { .. } | Event::Logout(_))
            | Fact::Lasting(_) => {}
        }
    }
    holdings.retain(|holding| holding.until.is_none_or(|(until, _)| until > from_ms));
    holdings
}
