//! Everything that can be wrong with a configuration, in the words that the operator reads:
//! `what is wrong; what would be right`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use super::limit::{self, Limit};
use super::notation::AddressError;
use super::place::{KeyPath, Places};
use crate::policy::deterministic::MapError;
use crate::realms::FIRST_NAME;

/// What is wrong with a key, and what would be right. Text from the file is quoted and escaped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    // ---- the text ----
    #[error(
        "column {column}: this is not TOML: {message}; write `key = value` with strings in double quotes, lists in [ ] and sections as [name]"
    )]
    Syntax { column: usize, message: String },
    #[error(
        "column {column}: the key stands here for the second time{}; delete one of the two (only [[pool]], [[subscribers]], [[group]], [[rule]], [[realm]], [[sink]], [[identity.client]] and [[mirror]] can repeat)",
        .first_line.map(|line| format!(", first in line {line}")).unwrap_or_default()
    )]
    DuplicateKey {
        column: usize,
        /// `None` when the parser kept no trace of the first.
        first_line: Option<usize>,
    },
    #[error("unknown key; {}", suggest(.nearest.as_deref(), .known))]
    UnknownKey {
        nearest: Option<String>,
        known: Vec<String>,
    },
    #[error(
        "is a pool's: all that share an address have it; write it in a [[pool]] of the group's own, and here for example `pool = \"business\"`"
    )]
    OfPool,
    #[error(
        "is no length that prefixes of IPv6 are limited by; write inside_64 (one network), inside_56 or inside_48, or the same of outside"
    )]
    LengthOfIpv6,
    #[error("the key is missing; add it, for example `{example}`")]
    MissingKey { example: &'static str },
    #[error("is {found}; must be {wanted}")]
    WrongType {
        found: &'static str,
        wanted: &'static str,
    },

    // ---- one value ----
    #[error("is {written}; must be {} to {} ({})", .limit.least, .limit.most, .limit.note)]
    OutOfRange {
        /// The number as it was written, for it may not fit any type of ours.
        written: String,
        limit: &'static Limit,
    },
    #[error("is {value}; must be a power of two, for example {nearest}")]
    NotPowerOfTwo { value: u16, nearest: u16 },
    #[error("is {text:?}; must be {choices}")]
    UnknownChoice { text: String, choices: &'static str },
    #[error(transparent)]
    Address(AddressError),
    #[error("{text:?} is not ADDRESS:PORT; write for example \"127.0.0.1:9464\"")]
    SocketAddress { text: String },
    #[error("{text:?} is not an IPv4 address; write one, for example \"192.0.2.20\"")]
    Host { text: String },
    #[error("{text:?} is not an IP address; write one, for example \"192.0.2.30\"")]
    AnyHost { text: String },
    #[error(
        "{listen} can be reached from other machines and has no access control; write a loopback address, for example \"127.0.0.1:{}\"",
        .listen.port()
    )]
    NotLoopback { listen: SocketAddr },
    #[error("{path:?} is not an absolute path; begin it with a slash")]
    NotAbsolute { path: PathBuf },
    #[error(
        "the path has {bytes} bytes; a Unix socket's path can have {most}, choose a shorter one"
    )]
    SocketPathTooLong { bytes: usize, most: usize },
    #[error(
        "is the same file as {other}, which would be overwritten or deleted; give each a path of its own"
    )]
    SamePath { other: &'static str },
    #[error("{name:?} cannot be the name of an interface: {reason}; `ip link` lists the names")]
    InterfaceName { name: String, reason: &'static str },
    #[error("there is no interface {interface:?}; `ip link` lists those that exist")]
    NoSuchInterface { interface: String },
    #[error("there are {count} VLAN IDs; a frame can have at most {most}, outermost first")]
    TooManyTags { count: usize, most: usize },
    #[error("the list is empty; add at least one entry, for example {example}")]
    EmptyList { example: &'static str },
    #[error(
        "{name:?} is not a usable name; write 1 to {most} letters, digits, '-', '_' or '.' (ASCII)"
    )]
    PoolName { name: String, most: usize },

    // ---- values together ----
    #[error(
        "inside and outside are both interface {interface:?} with VLAN IDs {vlan:?}; give one of them another interface or other VLAN IDs"
    )]
    SameSides { interface: String, vlan: Vec<u16> },
    #[error("there is no pool; add a [[pool]] section with name and addresses")]
    NoPools,
    #[error("there are no subscribers; add a [[subscribers]] section with prefixes and pool")]
    NoSubscribers,
    #[error("{name:?} is also the name of {other}; give each pool a name of its own")]
    DuplicatePoolName { name: String, other: KeyPath },
    #[error("{name:?} is also the name of {other}; give each sink a name of its own")]
    DuplicateSinkName { name: String, other: KeyPath },
    #[error("with `sasl`, it must be there; add for example `{example}`")]
    SaslNeeds { example: &'static str },
    #[error(
        "only a sink with `sasl` uses it; remove it, or write for example `sasl = \"scram-sha-512\"`"
    )]
    NotSasl,
    #[error(
        "shows the password to whoever listens; write `transport = \"kafka_tls\"`, or \"scram-sha-512\" here"
    )]
    PlainInClear,
    #[error(
        "nobody may tell names; add a section [[identity.client]] with address and secret_file, or remove `listen`"
    )]
    NoClients,
    #[error(
        "nothing is listened to; write for example `listen = \"192.0.2.1:1813\"` in [identity]"
    )]
    NoListen,
    #[error("is also the address of {other}; a client has one secret and one realm")]
    DuplicateClient { other: KeyPath },
    #[error("stands here twice; remove one")]
    AttributeTwice,
    #[error("{name:?} is also the name of {other}; give each mirror a name of its own")]
    DuplicateMirrorName { name: String, other: KeyPath },
    #[error("{other} has this session at this collector; give each a number of its own")]
    SameSession { other: KeyPath },
    #[error("this mirror needs it; add for example `{example}`")]
    MirrorNeeds { example: &'static str },
    #[error("a mirror with this value of `to` has no use for it; remove it, or write another `to`")]
    MirrorUnused,
    #[error(
        "{name:?} is an interface of the CGN itself, where copies would be taken for packets; write another"
    )]
    MirrorOwnInterface { name: String },
    #[error("there are {count} mirrors; there can be {most}, take wider prefixes")]
    TooManyMirrors { count: usize, most: usize },
    #[error("with debug.force_slow_path no mirror sees packets come; remove one of the two")]
    MirrorForced,
    #[error("{name:?} is also the name of {other}; give each group a name of its own")]
    DuplicateGroupName { name: String, other: KeyPath },
    #[error(
        "{written} also stands at {other}; a prefix can be in one group, delete one of the two"
    )]
    PrefixTwice { written: String, other: KeyPath },
    #[error("all of realm {name:?} are in {other}, too; write prefixes in one of the two")]
    RealmTwice { name: String, other: KeyPath },
    #[error("only new_per_second makes use of it; add that, or remove this key")]
    BurstWithoutRate,
    #[error(
        "further blocks would have no record; write \"block\", which has none of the static blocks of deterministic pools"
    )]
    NothingLogged,
    #[error(
        "sessions are logged of contiguous blocks only, and those of pool {pool:?} are scattered; write \"block\", or port_mode = \"contiguous\""
    )]
    SessionsScattered { pool: String },
    #[error(
        "sessions are logged of blocks of one range only, and those of pool {pool:?} have ports of both classes; write \"block\", or keep_class = false"
    )]
    SessionsOfClasses { pool: String },
    #[error(
        "held blocks are told again by sinks, of all subscribers alike; write \"block\" here, and log.mode = \"interim\" or sink.interim_secs"
    )]
    InterimOfGroup,
    #[error("NetFlow 9 goes over UDP only; write \"udp\", or format = \"ipfix\"")]
    SinkTransport,
    #[error(
        "{0}; change addresses, block_ports, blocks_per_subscriber or dynamic_factor, or write \"dynamic\""
    )]
    Deterministic(MapError),
    #[error(
        "blocks of a deterministic pool cannot be scattered; write \"dynamic\", or port_mode = \"contiguous\""
    )]
    DeterministicScattered,
    #[error(
        "all subscribers together have {needed} static blocks; write a max_blocks of at least that"
    )]
    DeterministicBlocks { needed: u64 },
    #[error(
        "this format has ranges of ports only, and the blocks of pool {pool:?} are scattered; write \"syslog\" or \"jsonl\", or port_mode = \"contiguous\""
    )]
    ScatteredRanges { pool: String },
    #[error("Kafka takes \"jsonl\" and \"syslog\" only; write one of them as format")]
    KafkaFormat,
    #[error(
        "a topic has 1 to 249 letters, digits, `-`, `_` and `.`; add for example `topic = \"cgn\"`"
    )]
    Topic,
    #[error(
        "only a sink with transport = \"kafka\" or \"kafka_tls\" uses it; remove it, or write one of them"
    )]
    NotKafka,
    #[error("TLS needs {what}; add for example `{example}`")]
    TlsNeeds {
        what: &'static str,
        example: &'static str,
    },
    #[error(
        "only a sink with transport = \"tls\" or \"kafka_tls\" uses it; remove it, or write one of them"
    )]
    NotTls,
    #[error("towards Kafka, TLS is for IPv4 addresses only; write one of a broker's")]
    KafkaTlsAddress,
    #[error(
        "nobody uses it without control.listen; remove it, or add for example `listen = \"192.0.2.1:9465\"`"
    )]
    NotListening,
    #[error("there is no pool {name:?}; {}", suggest(.nearest.as_deref(), .known))]
    UnknownPool {
        name: String,
        nearest: Option<String>,
        known: Vec<String>,
    },
    #[error(
        "{written} has addresses that are {kind}, which a router must not forward; remove them"
    )]
    Unusable { written: String, kind: &'static str },
    #[error("{written} overlaps {other} ({other_written}); {}", .remedy)]
    Overlap {
        written: String,
        other: KeyPath,
        other_written: String,
        remedy: &'static str,
    },

    // ---- realms ----
    #[error("there is no realm {name:?}; {}", suggest(.nearest.as_deref(), .known))]
    UnknownRealm {
        name: String,
        nearest: Option<String>,
        known: Vec<String>,
    },
    #[error("{name:?} is also the name of {other}; give each realm a name of its own")]
    DuplicateRealmName { name: String, other: KeyPath },
    #[error("no subscribers are in this realm; name it in a [[subscribers]] section, or delete it")]
    EmptyRealm,
    #[error("table {table} is also that of {other}; give each realm a table of its own")]
    SameTable { table: u32, other: KeyPath },
    #[error("table {table} is the kernel's own; write the number of another, such as 100")]
    KernelTable { table: u32 },
    #[error(
        "interface {interface:?} with VLAN IDs {vlan:?} is {other}, too; give one of them another interface or other VLAN IDs"
    )]
    SidesTwice {
        interface: String,
        vlan: Vec<u16>,
        other: KeyPath,
    },
    #[error(
        "all sides together are {count} interfaces; use VLANs, at most {most} interfaces can be"
    )]
    TooManyInterfaces { count: usize, most: usize },
    #[error("with the first one there are {count} realms; write at most {most}")]
    TooManyRealms { count: usize, most: usize },
    #[error(
        "subscribers of realms are in {count} networks of 16 bits, each realm's counted by itself; at most {most} can be: write longer prefixes, or fewer"
    )]
    TooManyNetworks { count: usize, most: usize },
    #[error(
        "what comes from outside is of no realm before it is translated; delete the key, or write direction = \"out\""
    )]
    RealmFromOutside,
    #[error(
        "{written} is also of {other}, a bypass of another realm, so nobody could tell whose an answer from there is; bypass it for one of them only"
    )]
    BypassesOverlap { written: String, other: KeyPath },
    #[error(
        "bypasses are of several realms here, of which no destination may be of two; write all of them in the rules, as destination"
    )]
    BypassesInFile,
    #[error(
        "static ports are computed from addresses, so a deterministic pool is of one realm, and this one is of {}; give each realm a pool of its own, or set mode = \"dynamic\"",
        realm_in_words(.other)
    )]
    DeterministicRealms { other: String },
    #[error("nobody in the realm has an address of {written}; correct the prefix, or delete it")]
    NobodyInGroup { written: String },

    #[error("every block holds a reserved port, so nobody would get one; reserve fewer ports")]
    AllBlocksReserved,
    #[error(
        "a port is reserved with its whole block, which is possible in dynamic pools with contiguous blocks only; leave it out, or set mode = \"dynamic\" and port_mode = \"contiguous\""
    )]
    ReservedOfNoRange,
    #[error(
        "ports of scattered blocks have no class to keep; leave it out, or set port_mode = \"contiguous\""
    )]
    ClassScattered,
    #[error(
        "blocks of fewer than {least} ports cannot have ports of both classes; leave it out, or set block_ports = {least}"
    )]
    ClassSmall { least: u32 },
    #[error(
        "static ports are one range, which has no ports of both classes; leave it out, or set mode = \"dynamic\""
    )]
    ClassDeterministic,
    #[error(
        "ports of scattered blocks have no parity to keep; leave it out, or set port_mode = \"contiguous\""
    )]
    ParityScattered,

    // ---- warnings: allowed, but worth knowing ----
    #[error(
        "is {value}, but the pool has only {total} blocks; the memory of the others waits for addresses to come"
    )]
    RoomToGrow { value: u32, total: u64 },
    #[error(
        "no subscribers use this pool; name it in a [[subscribers]] or [[group]] section, or delete it"
    )]
    UnusedPool,
    #[error(
        "{subscribers} subscribers share {blocks} blocks, so not all can be served at once; add addresses{}, or make block_ports smaller",
        if *.capped { ", raise max_blocks" } else { "" }
    )]
    MoreSubscribersThanBlocks {
        subscribers: u64,
        blocks: u32,
        /// Whether `max_blocks` keeps the pool below the blocks that its addresses have.
        capped: bool,
    },
    #[error(
        "{written} has private addresses, to which the internet has no route; use public ones unless another NAT follows"
    )]
    PrivatePool { written: String },
    #[error(
        "{secs} seconds cut off slow peers; RFC 7857 section 2.1 recommends {} or more",
        limit::TCP_TRANSITORY_RECOMMENDED_SECS
    )]
    ShortTransitory { secs: u32 },
    #[error(
        "after {secs} seconds late packets can reach another subscriber; RFC 6888 REQ-8 asks for {} or more",
        limit::HOLD_RECOMMENDED_SECS
    )]
    ShortHold { secs: u32 },
    #[error(
        "a power failure can lose records of ports that were in use; write \"full\" unless the machine outlives every one"
    )]
    LogRelaxed,
    #[error("the name {name:?} is {other}'s, too; give each rule a name of its own")]
    DuplicateRuleName { name: String, other: KeyPath },
    #[error(
        "{count} rules are for packets of one direction, those that bypass and the bogons counting in both; write at most {most}"
    )]
    TooManyRules { count: usize, most: usize },
    #[error("a bypass is \"out\": what comes back goes untranslated of itself")]
    BypassFromOutside,
    #[error(
        "a bypass without destinations would translate nothing; write for example destination = [\"203.0.113.10/32\"]"
    )]
    BypassToAll,
    #[error(
        "only what is permitted from inside has a rate; write action = \"permit\" and direction = \"out\", or see [guard] and [throttle] for what comes from outside"
    )]
    RateOfOther,
    #[error("only IPv6 in UDP is looked into; write protocol = \"udp\"")]
    InspectsUdp,
    #[error("nobody uses it without access.six_rd_prefix; remove it, or add the IPv6 prefix")]
    SixRdWithoutPrefix,
    #[error("leaves nothing of an address to tell customers apart; write at most 31 bits")]
    SixRdOfOne,
    #[error(
        "with the bits of an IPv4 address behind it, it is longer than 64 bits; write at most {most}, or a longer six_rd_ipv4"
    )]
    SixRdTooLong { most: u8 },
    #[error("there is no group {name:?}; {}", suggest(.nearest.as_deref(), .known))]
    UnknownGroup {
        name: String,
        nearest: Option<String>,
        known: Vec<String>,
    },
    #[error(
        "what comes from outside has a pool address, and whose it is is not known before it is translated; write direction = \"out\", or as destination the addresses of a pool of the group's own"
    )]
    GroupFromOutside,
    #[error(
        "the addresses of group {group:?} are the source; delete one of the two, or write a rule for each"
    )]
    GroupAndSource { group: String },
    #[error(
        "group {group:?} is of realm {}; delete the key, or name a group of this realm",
        realm_in_words(.of)
    )]
    GroupOfOtherRealm { group: String, of: String },
    #[error(
        "nobody is in group {group:?}: longer prefixes of other groups have all its addresses; correct prefixes, or delete the rule"
    )]
    NobodyInGroupOfRule { group: String },
    #[error("only TCP and UDP have ports; write protocol = \"tcp\" or \"udp\"")]
    PortsWithoutProtocol,
    #[error("the list {path:?} cannot be read: {reason}; make it readable, or leave the key out")]
    ListUnreadable { path: PathBuf, reason: String },
    #[error(
        "line {line} of {path:?} is {text:?}; must be an IPv4 prefix of 1 to 32 bits without host bits, or an address"
    )]
    NotAPrefix {
        path: PathBuf,
        line: usize,
        text: String,
    },
    #[error(
        "the list {path:?} is empty, so that the rule would fit every address; leave the rule out"
    )]
    EmptyPrefixList { path: PathBuf },
    #[error("the lists have {count} prefixes; there can be {most}")]
    TooManyPrefixes { count: usize, most: usize },
    #[error("is {low}, and the notice begins at {high}; write a lower percentage")]
    LowNotBelowHigh { low: u8, high: u8 },
    #[error(
        "when the log cannot be written, blocks are given without records, and who had them cannot be told; write \"refuse\" if the law asks for every one"
    )]
    LogMayLack,
    #[error(
        "every packet goes by the slow path, many times slower, and none while the daemon is away; write false but for tests"
    )]
    ForcedSlowPath,
}

/// A realm by its name; the first has none.
fn realm_in_words(name: &str) -> String {
    match name {
        FIRST_NAME => "the first".to_owned(),
        name => format!("{name:?}"),
    }
}

/// The remedy for a name that is not known. Escaped, because names of pools are text from the file.
fn suggest(nearest: Option<&str>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `{}`?", nearest.escape_debug()),
        None => format!("known here: {}", known.join(", ").escape_debug()),
    }
}

/// One fault at its place. Prints as one line without the file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, empty when the file itself is meant.
    pub path: KeyPath,
    /// The line of the key, or of the section that should have it; counted from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub fault: Fault,
}

impl Problem {
    /// Prints as `FILE:LINE: key.path: what is wrong; what would be right`.
    pub fn in_file<'a>(&'a self, file: &'a str) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| match self.line {
            Some(line) => write!(f, "{file}:{line}: {}", self.statement()),
            None => write!(f, "{file}: {}", self.statement()),
        })
    }

    fn statement(&self) -> impl fmt::Display {
        let separator = if self.path.as_str().is_empty() {
            ""
        } else {
            ": "
        };
        fmt::from_fn(move |f| write!(f, "{}{separator}{}", self.path, self.fault))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.statement()),
            None => self.statement().fmt(f),
        }
    }
}

/// Every error of a configuration, one line each. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct ConfigErrors {
    file: Option<String>,
    problems: Vec<Problem>,
}

impl ConfigErrors {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        Self {
            file: None,
            problems,
        }
    }

    /// The same errors with the file's name, so that they print as `FILE:LINE: ...`.
    #[must_use]
    pub fn in_file(self, file: impl Into<String>) -> Self {
        Self {
            file: Some(file.into()),
            ..self
        }
    }

    /// The errors, by line.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            match &self.file {
                Some(file) => problem.in_file(file).fmt(f)?,
                None => problem.fmt(f)?,
            }
        }
        Ok(())
    }
}

/// Collects faults while a configuration is read and checked, so that none hides another, and
/// knows which keys cannot be relied on any more, so that none causes another.
#[derive(Debug, Default)]
pub(super) struct Findings {
    faults: Vec<(KeyPath, Option<usize>, Fault)>,
    spoiled: Vec<KeyPath>,
}

impl Findings {
    /// True if nothing is wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.faults.is_empty() && self.spoiled.is_empty()
    }

    pub(super) fn add(&mut self, path: KeyPath, fault: Fault) {
        self.spoil(path.clone());
        self.faults.push((path, None, fault));
    }

    /// Adds a fault of the text at `line`, which leaves the key with a value that can be checked.
    pub(super) fn add_at(&mut self, path: KeyPath, line: usize, fault: Fault) {
        self.faults.push((path, Some(line), fault));
    }

    /// Adds what another collection has found.
    pub(super) fn append(&mut self, mut other: Self) {
        self.faults.append(&mut other.faults);
        self.spoiled.append(&mut other.spoiled);
    }

    /// Marks a key whose value is a placeholder without a fault of its own.
    pub(super) fn spoil(&mut self, path: KeyPath) {
        self.spoiled.push(path);
    }

    /// Whether the value at `path` was there to be read, whatever may be wrong within it.
    pub(super) fn readable(&self, path: &KeyPath) -> bool {
        !self.spoiled.iter().any(|spoiled| spoiled.holds(path))
    }

    /// Whether the value at `path` is what the file says: nothing was found at it, in it or
    /// around it.
    pub(super) fn sound(&self, path: &KeyPath) -> bool {
        !self
            .spoiled
            .iter()
            .any(|spoiled| spoiled.holds(path) || path.holds(spoiled))
    }

    pub(super) fn into_problems(self, places: &Places) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self
            .faults
            .into_iter()
            .map(|(path, line, fault)| Problem {
                line: line.or_else(|| places.line(&path)),
                path,
                fault,
            })
            .collect();
        problems.sort_by(|a, b| (a.line, &a.path).cmp(&(b.line, &b.path)));
        problems
    }
}
