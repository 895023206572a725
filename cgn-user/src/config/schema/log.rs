//! `[log]`, `[identity]` and `[[sink]]`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::maplog::identity::Attribute;

/// `[log]`: the mapping log, one record for each block that is allocated or released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The directory of the log, an absolute path; made if it is not there.
    /// Default: `/var/lib/cgn/log`.
    pub directory: PathBuf,
    /// What is logged; a group can have its own. Default: `"block"`.
    pub mode: LogMode,
    /// With `mode = "interim"`: seconds after which sinks are told of each held block again, 1 to
    /// 86400, unless they have `interim_secs` of their own. Default: 3600.
    pub interim_secs: u32,
    /// When records are brought to the disk. `"relaxed"` warns. Default: `"full"`.
    pub sync: LogSync,
    /// What to do when the log cannot be written, as on a full disk. Default: `"refuse"`.
    pub on_full: OnFull,
    /// Milliseconds that the first record of a group waits for others, at most 20: fewer and larger
    /// writes, later first packets. 0: it is what came while the last group was written. Default: 0.
    pub group_ms: u32,
    /// Seconds within which a sink is told of the same exhaustion, quota or threshold only once, 1 to
    /// 86400. Default: 60.
    pub notice_secs: u32,
    /// Days that the sealed files of a day are kept after it, at most 36500; 0 keeps them for ever.
    /// Default: 365.
    pub keep_days: u32,
    /// Most GiB of sealed files; beyond it the oldest days are removed, whatever `keep_days` says.
    /// 0 sets no limit. Default: 0.
    pub keep_gib: u32,
    /// MiB of write-ahead segments that are kept after they were sealed, at most 1048576: what sinks
    /// that were away can still be sent. Default: 1024.
    pub spool_mib: u32,
    /// Ed25519 private key (PKCS #8 in PEM, which nobody but its owner may read) that signs each
    /// day's manifest, an absolute path; empty signs nothing. Default: empty.
    pub sign_key: PathBuf,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("/var/lib/cgn/log"),
            mode: LogMode::Block,
            interim_secs: 3600,
            sync: LogSync::Full,
            on_full: OnFull::Refuse,
            group_ms: 0,
            notice_secs: 60,
            keep_days: 365,
            keep_gib: 0,
            spool_mib: 1024,
            sign_key: PathBuf::new(),
        }
    }
}

/// The values of `log.mode` and `group.log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogMode {
    /// Nothing but the configuration: refused, as no pool has deterministic blocks.
    None,
    /// Blocks that are given and taken.
    Block,
    /// The same, and sinks are told of each held block again and again.
    Interim,
    /// Blocks, and each mapping that begins and ends, without its destinations.
    Session,
    /// Blocks, and each session with its destination. Sessions are then noted for all subscribers,
    /// as where a pool filters, and those of TCP timed one by one.
    SessionWithDestination,
}

/// The values of `log.sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogSync {
    /// Each group of records is on the disk (fdatasync) before its blocks are used.
    Full,
    /// The kernel brings them there in its own time, half a minute or so: a power failure loses
    /// records of ports that were in use.
    Relaxed,
}

/// The values of `log.on_full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFull {
    /// No new blocks until the log can be written.
    Refuse,
    /// Blocks are given and taken without records, which are counted; the log has a gap, and says so.
    /// Warns.
    Continue,
}

/// `[identity]`: names of subscribers in the mapping log, as RADIUS accounting (RFC 2866) tells them. Off by
/// default: with them the log says who did something, not only which address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// Address and UDP port (of RADIUS: 1813) to which the clients send accounting. Default: none, and no
    /// names are logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Which attributes make the name: the first of them that a request has. `"User-Name"`,
    /// `"Calling-Station-Id"`, `"Chargeable-User-Identity"`, `"NAS-Port-Id"`, `"3GPP-IMSI"`,
    /// `"ADSL-Agent-Circuit-Id"`. Default: `["User-Name"]`.
    pub attributes: Vec<Attribute>,
    /// `[[identity.client]]`, with `listen` *required*, once or more: who may tell names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub client: Vec<IdentityClient>,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            listen: None,
            attributes: vec![Attribute::UserName],
            client: Vec::new(),
        }
    }
}

/// `[[identity.client]]`: an access server, or a proxy that passes on what several say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityClient {
    /// *Required*: its address; each once.
    pub address: IpAddr,
    /// *Required*: file with the secret that it shares with us, which nobody else may read; white space at
    /// its end does not count.
    pub secret_file: PathBuf,
    /// The `name` of the `[[realm]]` of its subscribers. Default: the first, that of `[inside]`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub realm: String,
}

/// `[[sink]]`: a collector that is sent the mapping log while it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// *Required*: names its cursor and metrics. 1 to 63 letters, digits, `-`, `_` and `.`; each
    /// name once. A sink that is renamed is a new one, and begins with the next record.
    pub name: String,
    /// *Required*: `"ipfix"` (RFC 8158), `"netflow9"` (NEL), `"syslog"` (RFC 5424) or `"jsonl"`.
    pub format: SinkFormat,
    /// *Required*: `"udp"`, `"tcp"` or `"tls"`, of which NetFlow 9 has only UDP; or `"kafka"` or
    /// `"kafka_tls"`, with `"syslog"` and `"jsonl"`.
    pub transport: SinkTransport,
    /// *Required*: address and port of the collector; of Kafka, of any broker that knows the others.
    pub address: SocketAddr,
    /// With TLS: file with the certificates (PEM) that the collector's must descend from.
    #[serde(default, skip_serializing_if = "is_empty_path")]
    pub ca_file: PathBuf,
    /// With TLS: the name that the collector's certificate must be for; of Kafka, that of the broker at
    /// `address`, and the others' must be for the names that the cluster announces.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub server_name: String,
    /// With Kafka: the topic, which must be there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub topic: String,
    /// With Kafka: how the cluster learns who we are (SASL): `"scram-sha-256"`, `"scram-sha-512"`, or, which shows it
    /// the password and so needs `"kafka_tls"`, `"plain"`. Default: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<SinkSasl>,
    /// With `sasl`, *required*: the user.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// With `sasl`, *required*: file with the password, which nobody else may read; white space at its end does
    /// not count.
    #[serde(default, skip_serializing_if = "is_empty_path")]
    pub password_file: PathBuf,
    /// With Kafka: the partition that all records go to, in order; at most 65535. Default: 0.
    #[serde(default)]
    pub partition: u32,
    /// Observation domain of IPFIX, source identifier of NetFlow 9: tells several NATs apart.
    /// Default: 1.
    #[serde(default = "Sink::default_domain")]
    pub domain: u32,
    /// Seconds after which datagrams explain their templates again, 1 to 86400. Default: 60.
    #[serde(default = "Sink::default_template_secs")]
    pub template_secs: u32,
    /// Most bytes of a datagram's payload, 128 to 65507. Default: 484, which with its headers fits
    /// every path (RFC 7011 section 10.3.3).
    #[serde(default = "Sink::default_datagram_bytes")]
    pub datagram_bytes: u32,
    /// Seconds after which each held block is told again, at most 86400; 0 never. Default: 0.
    #[serde(default)]
    pub interim_secs: u32,
    /// Whether it is told of blocks. Default: true.
    #[serde(default = "Sink::default_kind")]
    pub blocks: bool,
    /// Whether it is told of mappings and sessions, if the log has any. Default: true.
    #[serde(default = "Sink::default_kind")]
    pub sessions: bool,
    /// Whether it is told of exhaustion, quotas and thresholds, too. Default: true.
    #[serde(default = "Sink::default_kind")]
    pub notices: bool,
    /// Names of the realms that it is told of, `""` for the first: their subscribers' records, and notices of
    /// their subscribers and of the pools that serve them. Starts, stops and gaps are in any case. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub realms: Vec<String>,
}

fn is_empty_path(path: &std::path::Path) -> bool {
    path.as_os_str().is_empty()
}

impl Sink {
    /// The default of `domain`.
    pub const fn default_domain() -> u32 {
        1
    }

    /// The default of `template_secs`.
    pub const fn default_template_secs() -> u32 {
        60
    }

    /// The default of `blocks`, `sessions` and `notices`.
    pub const fn default_kind() -> bool {
        true
    }

    /// The default of `datagram_bytes`.
    pub const fn default_datagram_bytes() -> u32 {
        484
    }
}

/// The values of `sink.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkFormat {
    Ipfix,
    Netflow9,
    Syslog,
    Jsonl,
}

/// The values of `sink.transport`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkTransport {
    Udp,
    Tcp,
    Tls,
    Kafka,
    #[serde(rename = "kafka_tls")]
    KafkaTls,
}

impl SinkTransport {
    #[must_use]
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::KafkaTls)
    }
    #[must_use]
    pub const fn is_kafka(self) -> bool {
        matches!(self, Self::Kafka | Self::KafkaTls)
    }
}

/// The values of `sink.sasl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SinkSasl {
    #[serde(rename = "plain")]
    Plain,
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}
