//! `/v1/log/who`: enquiries to the mapping log, for those who may use the socket and not read the files.

use std::net::SocketAddrV4;
use std::path::Path;

use serde::Deserialize;

use crate::maplog::query::{AnswerRow, Enquiry, Told, names, sessions, who};
use crate::maplog::realms::Register;
use crate::maplog::{Protocol, ReadError};
use crate::utc::Utc;

/// How far an asker's clock is off, unless the request says otherwise, in seconds.
const SKEW_SECS: u32 = 1;

/// The query part, as it was written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    external: String,
    protocol: String,
    at: Option<String>,
    skew: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum EnquiryError {
    #[error("{key} is {text:?}; it must be {wanted}")]
    Malformed {
        key: &'static str,
        text: String,
        wanted: &'static str,
    },
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Answers from the log in `root`; without `at`, of `now_ms` in Unix time.
///
/// # Errors
/// The question is none, or the log cannot be read.
pub fn answer(root: &Path, asked: &Asked, now_ms: u64) -> Result<AnswerRow, EnquiryError> {
    let malformed = |key, text: &str, wanted| EnquiryError::Malformed {
        key,
        text: text.to_owned(),
        wanted,
    };
    let external: SocketAddrV4 = asked.external.parse().map_err(|_| {
        let wanted = "an address and port such as 203.0.113.5:40123";
        malformed("external", &asked.external, wanted)
    })?;
    let protocol = Protocol::named(asked.protocol.as_bytes())
        .ok_or_else(|| malformed("protocol", &asked.protocol, "tcp, udp or icmp"))?;
    let at_ms = asked.at.as_deref().map_or(Ok(now_ms), |text| {
        let wanted = "a time such as 2026-03-03T14:03:07Z";
        let time = Utc::parse(text).ok_or_else(|| malformed("at", text, wanted));
        time.map(|time| time.0)
    })?;
    let skew_secs = asked.skew.as_deref().map_or(Ok(SKEW_SECS), |text| {
        let secs = text.parse();
        secs.map_err(|_| malformed("skew", text, "a number of seconds"))
    })?;
    let enquiry = Enquiry {
        external: *external.ip(),
        port: external.port(),
        at_ms,
        skew_ms: u64::from(skew_secs) * 1000,
    };
    let answer = who(root, &enquiry)?;
    let told = Told {
        enquiry,
        protocol: protocol.name(),
        realms: Register::read(root).map_err(ReadError::Realms)?,
        sessions: sessions(root, &enquiry, protocol)?,
        names: names(root, &enquiry, &answer)?,
        answer,
    };
    Ok(told.row())
}
