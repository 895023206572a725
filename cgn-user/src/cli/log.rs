//! `cgn log`: enquiries to the mapping log and its proof.

mod print;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand, ValueEnum};

use super::config_file::{ConfigFileError, read_config};
use crate::config;
use crate::maplog::keys::{KeyError, VerifyingKey};
use crate::maplog::query::access_log::{self, Defaults};
use crate::maplog::query::{self, Enquiry, Outcome, Told};
use crate::maplog::realms::Register;
use crate::maplog::verify::verify;
use crate::maplog::{Protocol, ReadError};
use crate::utc::{Day, Utc, offset_ms};
use print::Format;

/// Exit code when there is not exactly one subscriber, or the log is not as it was written.
const NOT_CLEAR: u8 = 2;
/// How far a server's clock is off, unless --skew says otherwise, in seconds.
const SKEW_SECS: u32 = 1;

/// `cgn log`.
#[derive(Clone, Debug, Subcommand)]
pub enum Log {
    /// Which subscriber had a port of an external address at a time
    Who(Who),
    /// Which blocks a subscriber had
    Subscriber(Subscriber),
    /// Whether the log is whole and unchanged
    Verify(Verify),
}

/// Which log is read.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// Directory of the log, or a copy of it [default: /var/lib/cgn/log]
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    dir: Option<PathBuf>,
    /// Take the directory from this configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct Who {
    /// External address and port
    #[arg(
        value_name = "ADDRESS:PORT",
        required_unless_present = "from_log",
        conflicts_with = "from_log"
    )]
    external: Option<String>,
    /// Protocol of the port; for icmp, the port is the identifier of the echo request
    #[arg(long, value_name = "PROTOCOL", value_enum)]
    proto: Proto,
    /// When, as 2026-03-03T14:03:07Z or with an offset [default: now]
    #[arg(long, value_name = "TIME", conflicts_with = "from_log")]
    at: Option<String>,
    /// How many seconds the asker's clock can be off, either way
    #[arg(long, value_name = "SECONDS", default_value_t = SKEW_SECS)]
    skew: u32,
    /// Ask for each line of a server's log (nginx, Apache, Postfix, sshd, with ports); - is stdin
    #[arg(long, value_name = "FILE")]
    from_log: Option<PathBuf>,
    /// Year of lines that have none [default: this year]
    #[arg(long, value_name = "YEAR", requires = "from_log")]
    year: Option<u64>,
    /// Offset of lines that have none, as +01:00
    #[arg(
        long,
        value_name = "OFFSET",
        requires = "from_log",
        default_value = "Z",
        allow_hyphen_values = true
    )]
    utc_offset: String,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// What a port can belong to; a block has the same ports of all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Proto {
    Tcp,
    Udp,
    Icmp,
}

#[derive(Clone, Debug, Args)]
pub struct Subscriber {
    /// Inside address
    address: Ipv4Addr,
    /// Name of its realm [default: the first, which has none]
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    realm: String,
    /// From when on, as 2026-03-03T14:03:07Z [default: a day before --to]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Until when [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Debug, Args)]
pub struct Verify {
    /// Directory of the log, or a copy of it
    dir: PathBuf,
    /// Public key (PEM); each day that is over must then be signed with its private one
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Config(#[from] ConfigFileError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(
        "{text:?} is no time: write it as 2026-03-03T14:03:07Z, or with an offset such as +01:00"
    )]
    Time { text: String },
    #[error("{text:?} is not ADDRESS:PORT: write for example 203.0.113.5:40123")]
    External { text: String },
    #[error("{text:?} is no offset: write for example +01:00")]
    Offset { text: String },
    #[error("cannot read {path}", path = path.display())]
    AccessLog { path: PathBuf, source: io::Error },
    #[error("there is no directory {path}: name that of the log with --dir, or its configuration file with --config", path = path.display())]
    NoLog { path: PathBuf },
    #[error("the log knows no realm {name:?}: its realms.jsonl has their names")]
    Realm { name: String },
    #[error("cannot print")]
    Print(#[from] io::Error),
}

/// Answers; an error goes to stderr, with exit code 1. Exit code 2 when there is no
/// one subscriber to name, or the log is not as it was written.
#[must_use]
pub fn log(arguments: &Log) -> ExitCode {
    let mut out = io::stdout().lock();
    let outcome = match arguments {
        Log::Who(arguments) => who(arguments, &mut out),
        Log::Subscriber(arguments) => subscriber(arguments, &mut out),
        Log::Verify(arguments) => prove(arguments, &mut out),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_CLEAR),
        Err(LogError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let error = anyhow::Error::from(error);
            // Without stderr, the exit code is all that can be said.
            let _ = writeln!(io::stderr(), "cgn log: {error:#}");
            ExitCode::FAILURE
        }
    }
}

pub(super) fn who(arguments: &Who, out: &mut dyn Write) -> Result<bool, LogError> {
    let root = directory(&arguments.place)?;
    let skew_ms = u64::from(arguments.skew) * 1000;
    let told = match (&arguments.from_log, &arguments.external) {
        (Some(file), _) => join(&root, arguments, file, skew_ms)?,
        (None, external) => {
            let text = external.clone().unwrap_or_default();
            let (external, port) = address_and_port(&text).ok_or(LogError::External { text })?;
            let at_ms = time(arguments.at.as_deref())?.unwrap_or_else(now_ms);
            let enquiry = Enquiry {
                external,
                port,
                at_ms,
                skew_ms,
            };
            vec![tell(&root, enquiry, arguments.proto)?]
        }
    };
    print::answers(arguments.format, &told, out)?;
    Ok(!told.is_empty() && told.iter().all(|told| told.answer.outcome == Outcome::One))
}

/// Asks for each line that tells of a visit.
fn join(root: &Path, arguments: &Who, file: &Path, skew_ms: u64) -> Result<Vec<Told>, LogError> {
    let failed = |source| LogError::AccessLog {
        path: file.into(),
        source,
    };
    let text = arguments.utc_offset.clone();
    let defaults = Defaults {
        year: arguments.year.unwrap_or_else(this_year),
        offset_ms: offset_ms(&text).ok_or(LogError::Offset { text })?,
    };
    let reader: Box<dyn BufRead> = match file.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(file).map_err(failed)?)),
    };
    let mut told = Vec::new();
    let mut others = 0_u64;
    for line in reader.split(b'\n') {
        let line = line.map_err(failed)?;
        let line = String::from_utf8_lossy(&line);
        let Some(visit) = access_log::parse(line.trim_end(), &defaults) else {
            others += u64::from(!line.trim().is_empty());
            continue;
        };
        let enquiry = Enquiry {
            external: visit.external,
            port: visit.port,
            at_ms: visit.unix_ms,
            skew_ms,
        };
        told.push(tell(root, enquiry, arguments.proto)?);
    }
    if others > 0 {
        // Without stderr, the answers are still right.
        let _ = writeln!(
            io::stderr(),
            "{others} lines tell no IPv4 address with port and time: let the server log ports (docs/log.md says how)"
        );
    }
    Ok(told)
}

fn tell(root: &Path, enquiry: Enquiry, proto: Proto) -> Result<Told, LogError> {
    let answer = query::who(root, &enquiry)?;
    let protocol = match proto {
        Proto::Tcp => Protocol::Tcp,
        Proto::Udp => Protocol::Udp,
        Proto::Icmp => Protocol::Icmp,
    };
    Ok(Told {
        enquiry,
        protocol: protocol.name(),
        realms: realms_of(root)?,
        sessions: query::sessions(root, &enquiry, protocol)?,
        names: query::names(root, &enquiry, &answer)?,
        answer,
    })
}

pub(super) fn subscriber(arguments: &Subscriber, out: &mut dyn Write) -> Result<bool, LogError> {
    const DAY_MS: u64 = 86_400_000;
    let root = directory(&arguments.place)?;
    let to_ms = time(arguments.to.as_deref())?.unwrap_or_else(now_ms);
    let from_ms = time(arguments.from.as_deref())?.unwrap_or_else(|| to_ms.saturating_sub(DAY_MS));
    let realms = realms_of(&root)?;
    let name = &arguments.realm;
    let realm = realms
        .number(name)
        .ok_or_else(|| LogError::Realm { name: name.clone() })?;
    let who = (realm, arguments.address);
    let owned = query::subscriber(&root, who, from_ms, to_ms)?;
    print::owned(arguments.format, &owned, &realms, out)?;
    Ok(owned.remarks.is_empty())
}

fn realms_of(root: &Path) -> Result<Register, LogError> {
    Ok(Register::read(root).map_err(ReadError::Realms)?)
}

pub(super) fn prove(arguments: &Verify, out: &mut dyn Write) -> Result<bool, LogError> {
    if !arguments.dir.is_dir() {
        let path = arguments.dir.clone();
        return Err(LogError::NoLog { path });
    }
    let key = arguments.public_key.as_deref();
    let key = key.map(VerifyingKey::read).transpose()?;
    let verdict = verify(&arguments.dir, key.as_ref())?;
    print::verdict(&verdict, key.is_some(), out)?;
    Ok(verdict.problems.is_empty())
}

fn directory(place: &Place) -> Result<PathBuf, LogError> {
    let path = match (&place.dir, &place.config) {
        (Some(dir), _) => dir.clone(),
        (None, Some(file)) => read_config(file)?.config.log.directory,
        (None, None) => config::Log::default().directory,
    };
    match path.is_dir() {
        true => Ok(path),
        false => Err(LogError::NoLog { path }),
    }
}

fn time(text: Option<&str>) -> Result<Option<u64>, LogError> {
    let Some(text) = text else { return Ok(None) };
    let parsed = Utc::parse(text).ok_or_else(|| LogError::Time { text: text.into() })?;
    Ok(Some(parsed.0))
}

pub(super) fn address_and_port(text: &str) -> Option<(Ipv4Addr, u16)> {
    let (address, port) = text.rsplit_once(':')?;
    Some((address.parse().ok()?, port.parse().ok()?))
}

pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as u64)
}

fn this_year() -> u64 {
    let today = Day(now_ms() / 86_400_000).to_string();
    today[..4].parse().unwrap_or(1970)
}
