//! Answers as `cgn log` and the API tell them; the names of the fields are part of the interface.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Answer, Enquiry, Holding, Known, Lasted, Outcome};
use crate::maplog::event::{PortRange, Ranges};
use crate::maplog::realms::Register;
use crate::utc::Utc;

/// An answer with its question.
#[derive(Debug)]
pub struct Told {
    pub enquiry: Enquiry,
    pub protocol: &'static str,
    pub realms: Register,
    pub answer: Answer,
    /// Where the log has them.
    pub sessions: Vec<Lasted>,
    /// Names of the subscriber of each holding at that time, where the log has them.
    pub names: Vec<Vec<Known>>,
}

/// A block in the hands of one subscriber.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HoldingRow {
    pub subscriber: String,
    /// Name of the subscriber's realm; empty (and left out) for the first.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub realm: String,
    pub external: String,
    pub first_port: u16,
    pub last_port: u16,
    /// Its ports below 1024, if it has some; 0 (and left out) else.
    #[serde(skip_serializing_if = "is_none")]
    pub first_system_port: u16,
    #[serde(skip_serializing_if = "is_none")]
    pub last_system_port: u16,
    /// Number of the key of a scattered block, whose ports are places; 0 (and left out) else.
    #[serde(skip_serializing_if = "is_zero")]
    pub key: u8,
    pub pool: u16,
    /// Empty when the record of it is not in the log any more.
    pub since: String,
    /// Empty while it is held.
    pub until: String,
    pub release_reason: &'static str,
    /// Names of the subscriber, if `[identity]` has them logged; left out if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<NameRow>,
}

/// A name that a subscriber had.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct NameRow {
    pub identity: String,
    /// The attribute of RADIUS that it is from.
    pub attribute: &'static str,
    pub since: String,
    /// Empty while it has it.
    pub until: String,
}

/// A mapping or session of the port.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SessionRow {
    pub subscriber: String,
    /// Name of the subscriber's realm; empty (and left out) for the first.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub realm: String,
    pub inside_port: u16,
    /// Empty where destinations are not logged.
    pub remote: String,
    pub since: String,
    /// Empty while it lasts.
    pub until: String,
}

/// An answer of `cgn log who`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AnswerRow {
    pub external: String,
    pub port: u16,
    pub protocol: &'static str,
    pub at: String,
    pub skew_secs: u64,
    pub outcome: &'static str,
    pub holdings: Vec<HoldingRow>,
    /// Mappings and sessions of the port, if `log.mode` has them logged.
    pub sessions: Vec<SessionRow>,
    pub remarks: Vec<String>,
}

/// For serde.
fn is_none(port: &u16) -> bool {
    *port == 0
}

/// For serde.
fn is_zero(key: &u8) -> bool {
    *key == 0
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Nobody => "nobody",
            Self::Several => "several",
            Self::Unknown => "unknown",
        }
    }
}

impl HoldingRow {
    /// The row of a holding, in a log with these realms.
    #[must_use]
    pub fn of(holding: &Holding, realms: &Register) -> Self {
        let block = holding.block;
        let time = |ms: Option<u64>| ms.map(|ms| Utc(ms).to_string()).unwrap_or_default();
        let Ranges { ports, system } = block.ranges();
        Self {
            subscriber: block.inside.to_string(),
            realm: realms.name(block.realm),
            external: block.external.to_string(),
            first_port: ports.first(),
            last_port: ports.last(),
            first_system_port: system.map_or(0, PortRange::first),
            last_system_port: system.map_or(0, PortRange::last),
            key: if block.is_scattered() { block.key } else { 0 },
            pool: block.pool,
            since: time(holding.since_ms),
            until: time(holding.until.map(|until| until.0)),
            release_reason: holding.until.map_or("", |until| until.1.name()),
            identities: Vec::new(),
        }
    }

    /// The same with the subscriber's names.
    #[must_use]
    pub fn named<'a>(mut self, names: impl Iterator<Item = &'a Known>) -> Self {
        self.identities.extend(names.map(NameRow::from));
        self
    }
}

impl From<&Known> for NameRow {
    fn from(known: &Known) -> Self {
        let time = |ms| Utc(ms).to_string();
        Self {
            identity: known.name.to_string(),
            attribute: known.attribute.name(),
            since: time(known.since_ms),
            until: known.until_ms.map_or_else(String::new, time),
        }
    }
}

impl SessionRow {
    /// The row of what lasted, in a log with these realms.
    fn of(lasted: &Lasted, realms: &Register) -> Self {
        let session = &lasted.session;
        let remote = session.remote;
        let time = |ms| Utc(ms).to_string();
        Self {
            subscriber: session.inside.to_string(),
            realm: realms.name(session.realm),
            inside_port: session.inside_port,
            remote: remote.map_or_else(String::new, |to| format!("{}:{}", to.address, to.port)),
            since: time(lasted.since_ms),
            until: lasted.until_ms.map_or_else(String::new, time),
        }
    }
}

impl Told {
    #[must_use]
    pub fn row(&self) -> AnswerRow {
        let enquiry = &self.enquiry;
        let names = self.names.iter().map(Vec::as_slice);
        let names = names.chain(std::iter::repeat(&[][..]));
        let holdings = self.answer.holdings.iter().zip(names);
        let holdings = holdings
            .map(|(holding, names)| HoldingRow::of(holding, &self.realms).named(names.iter()));
        let sessions = self.sessions.iter();
        let sessions = sessions.map(|lasted| SessionRow::of(lasted, &self.realms));
        AnswerRow {
            external: enquiry.external.to_string(),
            port: enquiry.port,
            protocol: self.protocol,
            at: Utc(enquiry.at_ms).to_string(),
            skew_secs: enquiry.skew_ms / 1000,
            outcome: self.answer.outcome.name(),
            holdings: holdings.collect(),
            sessions: sessions.collect(),
            remarks: self.answer.remarks.clone(),
        }
    }
}
