//! `[[subscribers]]` and `[[group]]`.

use serde::{Deserialize, Serialize};

use super::LogMode;
use crate::config::notation::Ipv4Prefix;

/// `[[subscribers]]`: networks whose addresses are translated, and the pool that serves them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribers {
    /// *Required*: prefixes of inside addresses; each address is one subscriber. No address may be
    /// in two prefixes of one realm, nor in a pool. Packets from other inside addresses are dropped.
    pub prefixes: Vec<Ipv4Prefix>,
    /// *Required*: the `name` of a `[[pool]]`. Who has blocks of another one, from before a reload, keeps
    /// that one until the last of them is released.
    pub pool: String,
    /// The `name` of a `[[realm]]`. Default: the first, that of `[inside]`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub realm: String,
}

/// `[[group]]`: what the subscribers of some prefixes, or of a realm, may do, from which pool they are
/// served, and how long their mappings live. A subscriber is in the group with the longest prefix that
/// holds its address; who is in none has no limit but the pool's. A limit ends nothing that is there: it
/// refuses what is new, and with a group in the file refusals are remembered (`cgn subscriber`). A
/// reload changes all without losing a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// *Required*: 1 to 63 letters, digits, `-`, `_` and `.`; each name once.
    pub name: String,
    /// *Required* without `realm`: prefixes of inside addresses. One may lie within another; each can be
    /// in one group. Default: all subscribers of the realm.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<Ipv4Prefix>,
    /// The `name` of a `[[realm]]`. Default: the first, that of `[inside]`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub realm: String,
    /// The `name` of a `[[pool]]` that serves its subscribers: with it come its addresses, block size,
    /// port mode and filtering. Who has blocks of another pool keeps that one until the last of them
    /// is released. Default: that of `[[subscribers]]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Blocks of one subscriber, 1 to 6. Default: `blocks_per_subscriber` of the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<u8>,
    /// External ports of one subscriber for TCP, those in hold included (RFC 6888 REQ-4); 0 refuses
    /// all. Default: all ports of its blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_mappings: Option<u32>,
    /// The same for UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_mappings: Option<u32>,
    /// The same for ICMP queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_mappings: Option<u32>,
    /// Remote endpoints beside the first of each mapping, of one subscriber, where they are noted (see
    /// `[sessions]`); RFC 6888 REQ-5. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u32>,
    /// New mappings of one subscriber in a second, at least 1 (RFC 6888 REQ-4c). Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_per_second: Option<u16>,
    /// How many of them can come at once, at least 1. Default: twice `new_per_second`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u16>,
    /// In place of the key of this name in `[timeouts]`, as the four below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_secs: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_secs: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_established_secs: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_opening_secs: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_closing_secs: Option<u32>,
    /// What the log has of its subscribers, in place of `log.mode`, and not `"interim"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogMode>,
}

impl Group {
    /// Whether all subscribers of its realm are in it, who are in no other.
    #[must_use]
    pub fn is_of_realm(&self) -> bool {
        self.prefixes.is_empty() && !self.realm.is_empty()
    }
}
