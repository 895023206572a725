//! `cgn map`: static ports of deterministic pools, computed without the daemon (RFC 7422 section 2).

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::config_file::{ConfigFileError, read_config};
use super::log::{address_and_port, now_ms};
use crate::config;
use crate::maplog::maps::{Maps, MapsError};
use crate::policy::deterministic::{Map as PoolMap, Owner};
use crate::policy::shape;
use crate::realms::FIRST_NAME;
use crate::utc::Utc;

/// Exit code when the address or port is no subscriber's by a map.
const NO_SUBSCRIBER: u8 = 2;

/// `cgn map`.
#[derive(Clone, Debug, Subcommand)]
pub enum Map {
    /// Which external address and ports an inside address has
    Forward(Forward),
    /// Which inside address has an external address and port
    Reverse(Reverse),
}

#[derive(Clone, Debug, Args)]
pub struct Forward {
    /// Inside address
    address: Ipv4Addr,
    /// Of the realm with this name [default: the first]
    #[arg(long, value_name = "NAME", default_value = FIRST_NAME, hide_default_value = true)]
    realm: String,
    #[command(flatten)]
    source: Source,
}

#[derive(Clone, Debug, Args)]
pub struct Reverse {
    /// External address and port
    #[arg(value_name = "ADDRESS:PORT")]
    external: String,
    #[command(flatten)]
    source: Source,
}

/// Which map is asked.
#[derive(Clone, Debug, Args)]
struct Source {
    /// By this configuration file; with --at by the records in its mapping log. This or --dir must be given
    #[arg(long, value_name = "FILE", required_unless_present = "dir")]
    config: Option<PathBuf>,
    /// By the records in this directory of a mapping log, or a copy of one
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    dir: Option<PathBuf>,
    /// By the configuration of this time, as 2026-03-03T14:03:07Z [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum MapCommandError {
    #[error(transparent)]
    Config(#[from] ConfigFileError),
    #[error(transparent)]
    Records(#[from] MapsError),
    #[error(
        "{text:?} is no time: write it as 2026-03-03T14:03:07Z, or with an offset such as +01:00"
    )]
    Time { text: String },
    #[error("{text:?} is not ADDRESS:PORT: write for example 203.0.113.5:40123")]
    External { text: String },
    #[error("cannot print")]
    Print(#[from] io::Error),
}

/// A map, by its pool's name.
type Named = (String, PoolMap);

/// What is told of an inside address.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct ForwardRow {
    pool: String,
    /// Name of its realm; empty (and left out) for the first.
    #[serde(skip_serializing_if = "String::is_empty")]
    realm: String,
    inside: Ipv4Addr,
    external: Ipv4Addr,
    first_port: u16,
    last_port: u16,
    /// Where further ports come from, shared with others; null: there are none.
    first_overflow_port: Option<u16>,
}

/// What is told of a port.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct ReverseRow {
    pool: String,
    external: Ipv4Addr,
    port: u16,
    /// `static`, `overflow` (ask `cgn log who`) or `nobody`.
    owner: &'static str,
    /// Name of the subscriber's realm; empty (and left out) for the first, and where there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    realm: String,
    inside: Option<Ipv4Addr>,
}

/// Answers; an error goes to stderr, with exit code 1. Exit code 2 if it is no subscriber's.
#[must_use]
pub fn map(arguments: &Map) -> ExitCode {
    match told(arguments, &mut io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NO_SUBSCRIBER),
        Err(error) => {
            let error = anyhow::Error::from(error);
            // Without stderr, the exit code is all that can be said.
            let _ = writeln!(io::stderr(), "cgn map: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the answer; whether it names a subscriber.
pub(super) fn told(arguments: &Map, out: &mut dyn Write) -> Result<bool, MapCommandError> {
    match arguments {
        Map::Forward(Forward {
            address,
            realm,
            source,
        }) => {
            let maps = maps(source)?;
            let row = maps.iter().find_map(|(pool, map)| {
                let share = map.forward(*address).filter(|_| map.realm == *realm)?;
                Some(ForwardRow {
                    pool: pool.clone(),
                    realm: realm.clone(),
                    inside: *address,
                    external: share.external,
                    first_port: share.first_port,
                    last_port: share.last_port,
                    first_overflow_port: map.first_dynamic(),
                })
            });
            print_forward(source.json, &named(realm, *address), row, out)
        }
        Map::Reverse(Reverse { external, source }) => {
            let (external, port) =
                address_and_port(external).ok_or_else(|| MapCommandError::External {
                    text: external.clone(),
                })?;
            let maps = maps(source)?;
            let row = maps.iter().find_map(|(pool, map)| {
                let (owner, inside) = match map.reverse(external, port)? {
                    Owner::Static(inside) => ("static", Some(inside)),
                    Owner::Dynamic => ("overflow", None),
                    Owner::Nobody => ("nobody", None),
                };
                Some(ReverseRow {
                    pool: pool.clone(),
                    external,
                    port,
                    owner,
                    realm: inside.map_or("", |_| &map.realm).to_owned(),
                    inside,
                })
            });
            print_reverse(source.json, (external, port), row, out)
        }
    }
}

/// A subscriber in a realm with this name.
fn named(realm: &str, inside: Ipv4Addr) -> String {
    match realm {
        FIRST_NAME => inside.to_string(),
        realm => format!("{realm}/{inside}"),
    }
}

fn print_forward(
    json: bool,
    inside: &str,
    row: Option<ForwardRow>,
    out: &mut dyn Write,
) -> Result<bool, MapCommandError> {
    if json {
        serde_json::to_writer_pretty(&mut *out, &row).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(row.is_some());
    }
    match &row {
        None => writeln!(out, "{inside} is no subscriber of a deterministic pool")?,
        Some(row) => {
            let (external, first, last) = (row.external, row.first_port, row.last_port);
            writeln!(
                out,
                "{inside} has {external}:{first}-{last} (pool {})",
                row.pool
            )?;
            match row.first_overflow_port {
                Some(port) => writeln!(out, "further ports come from {port}-65535, with records")?,
                None => writeln!(out, "there are no further ports")?,
            }
        }
    }
    Ok(row.is_some())
}

fn print_reverse(
    json: bool,
    (external, port): (Ipv4Addr, u16),
    row: Option<ReverseRow>,
    out: &mut dyn Write,
) -> Result<bool, MapCommandError> {
    let is_one = row.as_ref().is_some_and(|row| row.inside.is_some());
    if json {
        serde_json::to_writer_pretty(&mut *out, &row).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(is_one);
    }
    match row {
        None => writeln!(out, "{external} is in no deterministic pool")?,
        Some(ReverseRow {
            inside: Some(inside),
            realm,
            pool,
            ..
        }) => {
            let inside = named(&realm, inside);
            writeln!(out, "{external}:{port} is {inside}'s (pool {pool})")?;
        }
        Some(row) if row.owner == "overflow" => writeln!(
            out,
            "{external}:{port} is for overflow (pool {}): ask `cgn log who`",
            row.pool
        )?,
        Some(row) => writeln!(out, "{external}:{port} is nobody's (pool {})", row.pool)?,
    }
    Ok(is_one)
}

/// The maps that hold at the time that is asked for.
fn maps(source: &Source) -> Result<Vec<Named>, MapCommandError> {
    let at_ms = match &source.at {
        None => None,
        Some(text) => {
            let time = Utc::parse(text).ok_or_else(|| MapCommandError::Time { text: text.clone() });
            Some(time?.0)
        }
    };
    let directory = match (&source.dir, &source.config) {
        (Some(directory), _) => directory.clone(),
        (None, None) => config::Log::default().directory,
        (None, Some(file)) => {
            let checked = read_config(file)?;
            if at_ms.is_none() {
                let maps = shape::maps(&checked).into_iter();
                return Ok(maps.filter_map(|(pool, map)| Some((pool, map?))).collect());
            }
            checked.config.log.directory
        }
    };
    let at_ms = at_ms.unwrap_or_else(now_ms);
    let records = Maps::read(&directory)?;
    let spans = records.spans(at_ms, at_ms);
    Ok(spans
        .map(|span| (span.record.pool.clone(), span.map.clone()))
        .collect())
}
