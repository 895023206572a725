//! Answers of the mapping log as a table, JSON or CSV.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::cli::check::counted;
use crate::cli::csv::quoted;
use crate::cli::table::{Column, Table, numbers, words};
use crate::maplog::query::{HoldingRow, NameRow, Owned, Told};
use crate::maplog::realms::Register;
use crate::maplog::verify::Verdict;
use crate::realms::FIRST_NAME;

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    Csv,
}

/// Prints answers of `cgn log who`.
pub fn answers(format: Format, told: &[Told], out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Json => {
            let rows: Vec<_> = told.iter().map(Told::row).collect();
            json(&rows, out)
        }
        Format::Csv => {
            writeln!(
                out,
                "external,port,protocol,at,outcome,subscriber,first_port,last_port,key,pool,since,until,release_reason,remarks,realm,first_system_port,last_system_port,identity"
            )?;
            for told in told {
                let answer = told.row();
                let head = format!(
                    "{},{},{},{},{}",
                    answer.external, answer.port, answer.protocol, answer.at, answer.outcome
                );
                let remarks = quoted(&answer.remarks.join("; "));
                if answer.holdings.is_empty() {
                    writeln!(out, "{head},,,,,,,,,{remarks},,,,")?;
                }
                for held in &answer.holdings {
                    writeln!(
                        out,
                        "{head},{},{},{},{},{},{},{},{},{remarks},{},{},{},{}",
                        held.subscriber,
                        held.first_port,
                        held.last_port,
                        held.key,
                        held.pool,
                        held.since,
                        held.until,
                        held.release_reason,
                        held.realm,
                        or_nothing(held.first_system_port),
                        or_nothing(held.last_system_port),
                        identities(held)
                    )?;
                }
            }
            Ok(())
        }
        Format::Table => answers_table(told, out),
    }
}

fn answers_table(told: &[Told], out: &mut dyn Write) -> io::Result<()> {
    const COLUMNS: &[Column] = &[
        words("AT"),
        words("EXTERNAL"),
        words("PROTOCOL"),
        words("SUBSCRIBER"),
        words("SINCE"),
        words("UNTIL"),
    ];
    let mut cells = Vec::new();
    let mut names = Vec::new();
    for told in told {
        let answer = told.row();
        let head = [
            answer.at,
            format!("{}:{}", answer.external, answer.port),
            answer.protocol.to_owned(),
        ];
        if answer.holdings.is_empty() {
            let nobody = format!("({})", answer.outcome);
            cells.push([head.to_vec(), vec![nobody]].concat());
        }
        for held in answer.holdings {
            for known in &held.identities {
                let subscriber = named(&held.realm, &held.subscriber);
                names.push(format!("{}: {subscriber} is {}", head[1], told_name(known)));
            }
            let tail = vec![
                named(&held.realm, &held.subscriber),
                or(held.since, "(before the log)"),
                or(held.until, "(held)"),
            ];
            cells.push([head.to_vec(), tail].concat());
        }
    }
    write!(out, "{}", Table::new(COLUMNS, cells))?;
    for name in names {
        writeln!(out, "{name}")?;
    }
    for told in told {
        let enquiry = &told.enquiry;
        for session in told.row().sessions {
            let (what, to) = match session.remote.is_empty() {
                true => ("mapping", String::new()),
                false => ("session", format!(" to {}", session.remote)),
            };
            writeln!(
                out,
                "{}:{}: {what} of {}:{}{to} from {} to {}",
                enquiry.external,
                enquiry.port,
                named(&session.realm, &session.subscriber),
                session.inside_port,
                session.since,
                or(session.until, "(lasting)")
            )?;
        }
        for remark in &told.answer.remarks {
            writeln!(out, "{}:{}: {remark}", enquiry.external, enquiry.port)?;
        }
    }
    Ok(())
}

/// The subscriber with his realm, if that has a name.
fn named(realm: &str, subscriber: &str) -> String {
    match realm {
        FIRST_NAME => subscriber.to_owned(),
        realm => format!("{realm}/{subscriber}"),
    }
}

/// A name of a subscriber, and when it had it.
fn told_name(known: &NameRow) -> String {
    let NameRow {
        identity,
        attribute,
        since,
        until,
    } = known;
    let until = or(until.clone(), "(known)");
    format!("{identity} ({attribute}) from {since} to {until}")
}

/// The names as a cell of a CSV.
fn identities(row: &HoldingRow) -> String {
    let names: Vec<&str> = row
        .identities
        .iter()
        .map(|known| &*known.identity)
        .collect();
    match names.is_empty() {
        true => String::new(),
        false => quoted(&names.join("; ")),
    }
}

fn or(text: String, otherwise: &str) -> String {
    match text.is_empty() {
        true => otherwise.to_owned(),
        false => text,
    }
}

/// Prints the answer of `cgn log subscriber`.
pub fn owned(
    format: Format,
    owned: &Owned,
    realms: &Register,
    out: &mut dyn Write,
) -> io::Result<()> {
    #[derive(Serialize)]
    struct OwnedRow<'a> {
        holdings: &'a [HoldingRow],
        remarks: &'a [String],
    }
    const COLUMNS: &[Column] = &[
        words("SUBSCRIBER"),
        words("EXTERNAL"),
        numbers("FIRST"),
        numbers("LAST"),
        numbers("KEY"),
        numbers("POOL"),
        words("SINCE"),
        words("UNTIL"),
        words("RELEASED"),
    ];
    let holdings = owned.holdings.iter();
    let rows: Vec<_> = holdings
        .map(|held| {
            let (since_ms, until_ms) = held.time_ms();
            let names = owned.names.iter();
            let names = names.filter(|known| known.overlaps(since_ms, until_ms));
            HoldingRow::of(held, realms).named(names)
        })
        .collect();
    if format == Format::Json {
        let remarks = &owned.remarks;
        return json(
            &OwnedRow {
                holdings: &rows,
                remarks,
            },
            out,
        );
    }
    let subscriber = |row: &HoldingRow| match format {
        Format::Csv => row.subscriber.clone(),
        _ => named(&row.realm, &row.subscriber),
    };
    // A table has a line for each range of ports.
    let ranges = rows.into_iter().flat_map(|row| {
        let is_twofold = format != Format::Csv && row.first_system_port != 0;
        let system = is_twofold.then(|| HoldingRow {
            first_port: row.first_system_port,
            last_port: row.last_system_port,
            ..row.clone()
        });
        system.into_iter().chain([row])
    });
    let cells = ranges.map(|row| {
        let names = identities(&row);
        vec![
            subscriber(&row),
            row.external,
            row.first_port.to_string(),
            row.last_port.to_string(),
            row.key.to_string(),
            row.pool.to_string(),
            row.since,
            row.until,
            row.release_reason.to_owned(),
            row.realm,
            or_nothing(row.first_system_port),
            or_nothing(row.last_system_port),
            names,
        ]
    });
    if format == Format::Csv {
        writeln!(
            out,
            "subscriber,external,first_port,last_port,key,pool,since,until,release_reason,realm,first_system_port,last_system_port,identity"
        )?;
        for cells in cells {
            writeln!(out, "{}", cells.join(","))?;
        }
        return Ok(());
    }
    let cells: Vec<_> = cells
        .map(|mut cells| {
            cells.truncate(COLUMNS.len());
            cells
        })
        .collect();
    match cells.is_empty() {
        true => writeln!(out, "no block in that time")?,
        false => write!(out, "{}", Table::new(COLUMNS, cells))?,
    }
    for known in &owned.names {
        writeln!(out, "identity {}", told_name(&known.into()))?;
    }
    for remark in &owned.remarks {
        writeln!(out, "{remark}")?;
    }
    Ok(())
}

/// Of a block without ports below 1024 their columns are empty.
fn or_nothing(port: u16) -> String {
    match port {
        0 => String::new(),
        port => port.to_string(),
    }
}

fn json(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// Prints the answer of `cgn log verify`.
pub fn verdict(verdict: &Verdict, has_key: bool, out: &mut dyn Write) -> io::Result<()> {
    for problem in &verdict.problems {
        writeln!(out, "{problem}")?;
    }
    match verdict.sequences {
        None => writeln!(out, "the log is empty")?,
        Some((first, next)) => writeln!(
            out,
            "records {first} to {}: {} in {}",
            next.saturating_sub(1),
            counted(verdict.records as usize, "record"),
            counted(verdict.files as usize, "sealed file")
        )?,
    }
    match has_key {
        true => writeln!(
            out,
            "{} signed with this key",
            counted(verdict.signed_days as usize, "day")
        )?,
        false if verdict.unsigned_days > 0 => writeln!(
            out,
            "hashes only: the signatures of {} were not looked at, --public-key does that",
            counted(verdict.unsigned_days as usize, "manifest")
        )?,
        false => {}
    }
    match verdict.problems.len() {
        0 => writeln!(out, "the log is as it was written"),
        count => writeln!(
            out,
            "the log is NOT as it was written: {}",
            counted(count, "problem")
        ),
    }
}
