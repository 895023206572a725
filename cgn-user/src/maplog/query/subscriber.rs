//! All blocks that a subscriber had within a time.

use std::net::Ipv4Addr;
use std::path::Path;

use super::super::error::ReadError;
use super::super::event::Event;
use super::super::maps::Maps;
use super::super::realms::Register;
use super::super::sealed::{Fact, Row};
use super::walk::{Gap, Source, Walk};
use super::{Holding, Known, exact_since, held_by_map, identities};

/// What a subscriber had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// In the order of allocation.
    pub holdings: Vec<Holding>,
    /// The subscriber's names, where the log has them.
    pub names: Vec<Known>,
    /// What the asker must know of the answer, each a sentence.
    pub remarks: Vec<String>,
}

/// The blocks that `inside`, an address in the realm with this number, had at some time from `from_ms` to `to_ms`, in milliseconds of Unix time.
///
/// # Errors
/// A file that the answer depends on cannot be read.
pub fn subscriber(
    root: &Path,
    (realm, inside): (u16, Ipv4Addr),
    from_ms: u64,
    to_ms: u64,
) -> Result<Owned, ReadError> {
    let mut walk = Walk::back_from(root, to_ms)?;
    let mut files: Vec<Vec<Row>> = Vec::new();
    let mut is_decided = false;
    let mut gaps: Vec<Gap> = walk.marked_in(from_ms, to_ms).into_iter().collect();
    while let Some(source) = walk.next()? {
        gaps.extend(source.gaps_in(from_ms, to_ms)?);
        match source {
            Source::Segments(mut rows) => {
                rows.retain(|row| row.block().is_some_and(|block| block.inside == inside));
                files.push(rows);
            }
            Source::Records(file) => files.push(file.rows_of_inside(inside)?),
            Source::Held(file, day_ms) if day_ms <= from_ms => {
                files.push(file.rows_of_inside(inside)?);
                is_decided = true;
                break;
            }
            Source::Held(..) => {}
        }
        if walk.begins_at() == Some(1) {
            is_decided = true;
        }
    }
    let rows = files.into_iter().rev().flatten();
    let rows = rows.filter(|row| row.realm() == realm);
    let mut holdings = Vec::new();
    for row in rows.filter(|row| row.unix_ms <= to_ms) {
        add(&mut holdings, root, &row)?;
    }
    holdings.retain(|holding| holding.until.is_none_or(|(until, _)| until >= from_ms));
    let (maps, realms) = (Maps::read(root)?, Register::read(root)?);
    let name = realms.name(realm);
    let fixed = maps.of_subscriber((&name, inside), from_ms, to_ms);
    for held in fixed.filter_map(|held| held_by_map(held, &realms)) {
        holdings.push(held?);
    }
    holdings.sort_by_key(|holding| (holding.since_ms, holding.block.ports.first()));
    let mut remarks: Vec<String> = walk
        .missing
        .iter()
        .map(|(first, last)| format!("records {first} to {last} of the log are missing: the list may have gaps; get their files from a copy"))
        .collect();
    remarks.extend(gaps.iter().map(Gap::remark));
    if !is_decided {
        remarks.push("the log begins later: what was before is not in it".to_owned());
    }
    if !walk.is_end_known {
        remarks.push(
            "this is a copy without write-ahead segments: its last hours may be missing".to_owned(),
        );
    }
    let names = identities(root, (realm, inside), from_ms, to_ms)?;
    Ok(Owned {
        holdings,
        names,
        remarks,
    })
}

fn add(holdings: &mut Vec<Holding>, root: &Path, row: &Row) -> Result<(), ReadError> {
    match row.fact {
        Fact::Held(block) => holdings.push(Holding {
            block,
            since_ms: exact_since(root, &block, row.unix_ms)?,
            until: None,
        }),
        Fact::Event(Event::Allocate(block)) => holdings.push(Holding {
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
    Ok(())
}
