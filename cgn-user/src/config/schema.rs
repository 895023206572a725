//! The keys of the configuration file. The comments here are their reference documentation.
//!
//! Each key can be left out unless it is marked *required*.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::mirrors::Mirror;
use super::notation::{AddressSpan, Ipv4Prefix};
use super::rules::{Access, Rule};
use crate::maplog::identity::Attribute;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[inside]`, *required*: the side towards the subscribers.
    pub inside: Side,
    /// `[outside]`, *required*: the side towards the internet. May be on the same interface as
    /// `inside` when the VLAN lists differ (one-armed set-up).
    pub outside: Side,
    /// `[[realm]]`, any number: further inside networks, whose addresses may be the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub realm: Vec<Realm>,
    /// `[xdp]`
    #[serde(default)]
    pub xdp: Xdp,
    /// `[[pool]]`, *required*, once or more: the external addresses.
    pub pool: Vec<Pool>,
    /// `[[subscribers]]`, *required*, once or more: who is translated, from which pool.
    pub subscribers: Vec<Subscribers>,
    /// `[[group]]`, any number: what some subscribers may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<Group>,
    /// `[access]`
    #[serde(default)]
    pub access: Access,
    /// `[[rule]]`, any number: access lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rule: Vec<Rule>,
    /// `[guard]`
    #[serde(default)]
    pub guard: Guard,
    /// `[throttle]`
    #[serde(default)]
    pub throttle: Throttle,
    /// `[tcp]`
    #[serde(default)]
    pub tcp: Tcp,
    /// `[icmp]`
    #[serde(default)]
    pub icmp: Icmp,
    /// `[sessions]`
    #[serde(default)]
    pub sessions: Sessions,
    /// `[fragments]`
    #[serde(default)]
    pub fragments: Fragments,
    /// `[timeouts]`
    #[serde(default)]
    pub timeouts: Timeouts,
    /// `[hold]`
    #[serde(default)]
    pub hold: Hold,
    /// `[scatter]`
    #[serde(default)]
    pub scatter: Scatter,
    /// `[log]`
    #[serde(default)]
    pub log: Log,
    /// `[identity]`
    #[serde(default)]
    pub identity: Identity,
    /// `[[sink]]`, any number: collectors that are sent the mapping log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sink: Vec<Sink>,
    /// `[[mirror]]`, any number: copies of packets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirror: Vec<Mirror>,
    /// `[metrics]`
    #[serde(default)]
    pub metrics: Metrics,
    /// `[control]`
    #[serde(default)]
    pub control: Control,
    /// `[debug]`
    #[serde(default)]
    pub debug: Debug,
}

/// `[inside]` and `[outside]`: where packets of one side come from and go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// *Required*: name of a network interface, 1 to 15 bytes.
    pub interface: String,
    /// VLAN IDs of the frames, outermost first: none, one, or two (802.1ad), each 1 to 4094.
    /// Default: none, untagged frames.
    #[serde(default)]
    pub vlan: Vec<u16>,
}

/// `[[realm]]`: an inside network beside `[inside]`, whose subscribers may have the same addresses as
/// those of others (RFC 6598 section 4). `[inside]` is the first realm, which has no name. The interface
/// or VLAN by which a packet comes tells its realm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Realm {
    /// *Required*: by this name `[[subscribers]]`, `[[group]]`, log and commands refer to the realm. 1 to 63
    /// letters, digits, `-`, `_` and `.`; each name once. A realm with another name is another one.
    pub name: String,
    /// *Required*: interfaces and VLANs towards its subscribers, as in `[inside]`, once or more. None may
    /// be another side's, too.
    pub inside: Vec<Side>,
    /// *Required*: number of the kernel's routing table with the routes to its subscribers, 1 to 4294967295
    /// but 253, 254 and 255; each table once. Its routes must lead out of the realm's own interfaces.
    pub table: u32,
}

/// `[xdp]`: how the program is attached to the interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Xdp {
    /// `"auto"`, `"native"` or `"generic"`. Default: `"auto"`.
    pub mode: XdpMode,
}

/// The values of `xdp.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// Native where the driver can, else generic, with a warning at start.
    #[default]
    Auto,
    /// In the driver, before the kernel makes a packet buffer; refuses to start where the driver cannot.
    Native,
    /// In the kernel's receive path: works on every interface, but slower.
    Generic,
}

/// `[[pool]]`: a set of external addresses with one allocation policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// *Required*: by this name `[[subscribers]]`, metrics and the log refer to the pool. 1 to 63
    /// letters, digits, `-`, `_` and `.`; each name once.
    pub name: String,
    /// *Required*: prefixes (`"203.0.113.0/28"`), single addresses (`"198.51.100.7"`) and ranges
    /// (`"198.51.100.64-198.51.100.70"`, both ends included). Every address of a prefix is used,
    /// the first and the last too. No address may be in two pools or twice in one.
    pub addresses: Vec<AddressSpan>,
    /// Ports per block: a power of two, 64 to 1024. TCP, UDP and ICMP each have that many. A block
    /// is what the log records, so a larger one means fewer records and more unused ports.
    /// Default: 512.
    #[serde(default = "Pool::default_block_ports")]
    pub block_ports: u16,
    /// Who gets which block: `"dynamic"`, any, on record, or `"deterministic"` (RFC 7422): the
    /// subscribers share the addresses in order, as many on each, and each has the same static ports
    /// as long as the configuration is the same. These need no record (`cgn map` computes them), only
    /// the configuration is recorded. Further blocks come from the rest of the address, on record.
    /// None is fetched ahead of need: `watermark_percent` has no effect. Default: `"dynamic"`.
    #[serde(default)]
    pub mode: PoolMode,
    /// In a deterministic pool, how many shares of each address are kept for further blocks; 0 to 64512.
    /// A share is 64512 / (subscribers of an address + this) ports, rounded down to whole blocks.
    /// Default: 1.
    #[serde(default = "Pool::default_dynamic_factor")]
    pub dynamic_factor: u32,
    /// Which ports make a block (RFC 6431): `"contiguous"`, one range, or `"scattered"`, ports from all
    /// over the address by a permutation with a secret key, so that one who knows some of a
    /// subscriber's ports cannot guess others. A scattered block is one record in the log too, which
    /// only the log's `scatter.keys` explains; no sink with ranges (`ipfix`, `netflow9`) can tell of
    /// it. Default: `"contiguous"`.
    #[serde(default)]
    pub port_mode: PortMode,
    /// A UDP mapping gets an even external port for an even inside port, and an odd one for an odd one
    /// (RFC 4787 REQ-4), as long as its block has one within 16 buckets of four ports. Old RTP stacks
    /// want it; RFC 7857 section 8 advises against it, and new mappings cost more. Ports of scattered
    /// blocks have no parity to keep. Default: false.
    #[serde(default)]
    pub keep_parity: bool,
    /// Blocks have ports below 1024, too, and a TCP or UDP mapping gets one of them for an inside port
    /// below 1024, and one from 1024 on for another (RFC 4787 REQ-3a), as long as its block has one
    /// near. One port of 64 is below 1024; 16 to 1023 and 1024 to 64527 are used, the others not.
    /// New mappings cost more. For dynamic pools with contiguous blocks of 128 ports and more, of
    /// which mappings and sessions are not logged. Default: false.
    #[serde(default)]
    pub keep_class: bool,
    /// How many blocks one subscriber can have at once, 1 to 6; all on one external address
    /// (paired pooling). Beyond them new flows are refused, existing ones stay. Default: 4.
    #[serde(default = "Pool::default_blocks_per_subscriber")]
    pub blocks_per_subscriber: u8,
    /// Fill of a subscriber's newest block, in percent, at which the next block is fetched ahead of
    /// need; 50 to 99. Default: 80.
    #[serde(default = "Pool::default_watermark_percent")]
    pub watermark_percent: u8,
    /// Percent of the pool's blocks in use or in hold at which sinks are told so; 0 never. In a
    /// deterministic pool the same of its blocks for overflow by themselves. Default: 90.
    #[serde(default = "Pool::default_high_percent")]
    pub high_percent: u8,
    /// Percent at which they are told that it is over, below `high_percent`. Default: 80.
    #[serde(default = "Pool::default_low_percent")]
    pub low_percent: u8,
    /// How many blocks of the pool can be allocated at once. This sets the slot memory: 64 + 48 x
    /// `block_ports` bytes for each. While it stays as it is, addresses can be added by a reload
    /// without losing a packet, so a pool that is to grow has more than its blocks. Default: all blocks of the pool, but at
    /// most 16384.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_blocks: Option<u32>,
    /// External ports that no subscriber gets (RFC 6056 section 3.3), 1024 to 65535. The whole block
    /// that holds one is left out, on each address, so each costs up to `block_ports` ports. Who has
    /// such a block keeps it until it is released. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved_ports: Vec<u16>,
    /// From whom a UDP or ICMP mapping takes packets (RFC 4787 REQ-8). What it refuses is dropped
    /// and counted, and keeps nothing alive. Default: `"endpoint-independent"`.
    #[serde(default)]
    pub filtering: Filtering,
    /// The same for TCP (RFC 5382 REQ-3). Default: `"endpoint-independent"`.
    #[serde(default)]
    pub tcp_filtering: Filtering,
}

/// The values of `mode` of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolMode {
    /// Any free block of the subscriber's address.
    #[default]
    Dynamic,
    /// Its own first.
    Deterministic,
}

/// The values of `port_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortMode {
    /// Block b has the ports from 1024 + b * `block_ports` on.
    #[default]
    Contiguous,
    /// It has the ports that the key of the address gives for these.
    Scattered,
}

/// `[scatter]`: the keys of pools with `port_mode = "scattered"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scatter {
    /// After how many days a new key is made, 7 to 3650; 0 never. An address takes it once none of
    /// its blocks is in use or in hold, and new subscribers go to addresses with the newest key where
    /// there is a choice; blocks in use keep theirs. There can be 255 keys in all. Default: 30.
    pub key_days: u32,
}

impl Default for Scatter {
    fn default() -> Self {
        Self { key_days: 30 }
    }
}

/// The values of `filtering` and `tcp_filtering`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// From anyone.
    #[default]
    EndpointIndependent,
    /// From addresses that the inside endpoint has sent to.
    AddressDependent,
    /// From addresses and ports that the inside endpoint has sent to; for ICMP, from addresses.
    AddressAndPortDependent,
}

impl Pool {
    /// The default of `block_ports`.
    pub const fn default_block_ports() -> u16 {
        512
    }

    /// The default of `dynamic_factor`.
    pub const fn default_dynamic_factor() -> u32 {
        1
    }

    /// The default of `blocks_per_subscriber`.
    pub const fn default_blocks_per_subscriber() -> u8 {
        4
    }

    /// The default of `high_percent`.
    pub const fn default_high_percent() -> u8 {
        90
    }

    /// The default of `low_percent`.
    pub const fn default_low_percent() -> u8 {
        80
    }

    /// The default of `watermark_percent`.
    pub const fn default_watermark_percent() -> u8 {
        80
    }
}

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

/// `[tcp]`: what is special in TCP.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tcp {
    /// What becomes of a segment from inside that is no SYN, of a flow without a mapping: after a
    /// loss of state, `"translate"` lets such flows go on. A RST is dropped in any case.
    /// Default: `"translate"`.
    pub midstream: Midstream,
    /// Most bytes of the MSS option in a SYN from inside, 536 to 65495; a larger one is lowered. 0
    /// leaves it alone. Default: 0.
    pub mss_outbound: u16,
    /// The same in a SYN from outside. Default: 0.
    pub mss_inbound: u16,
}

/// The values of `tcp.midstream`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Midstream {
    /// It opens a mapping with the closing timer; the next segment makes it an established one.
    #[default]
    Translate,
    /// It is dropped and counted.
    Drop,
}

/// `[guard]`: what happens while somebody floods. Established flows are never touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// Packets a second from outside to one external address that nobody waits for, at most
    /// 10000000. Beyond it they are dropped before anything costly, and the address is under attack.
    /// 0: nobody counts. Default: 0.
    pub unsolicited_per_second: u32,
    /// Percent of the time that the slow path is busy at which it is overloaded; new subscribers are
    /// then put off, a tenth more for each `busy_secs`. 0: never. Default: 0.
    pub busy_percent: u8,
    /// Seconds that it must be so, 1 to 600, before each step. Default: 5.
    pub busy_secs: u32,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            unsolicited_per_second: 0,
            busy_percent: 0,
            busy_secs: 5,
        }
    }
}

/// `[throttle]`: new sessions a second of the sources in one prefix, at most 10000000; 0 sets no limit,
/// which is the default of each. A prefix beyond is limited for `limit_secs`. Prefixes are of IPv4, which
/// alone is translated; inside, each realm's are its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Throttle {
    /// New mappings of one subscriber.
    pub inside_host: u32,
    /// Of all subscribers in a /24.
    pub inside_24: u32,
    /// In a /20.
    pub inside_20: u32,
    /// New sessions of one source outside: SYNs to mappings that it is not the first remote endpoint
    /// of, and packets of any kind that nobody waits for.
    pub outside_host: u32,
    /// Of all sources in a /24.
    pub outside_24: u32,
    /// In a /20.
    pub outside_20: u32,
    /// Seconds that a prefix is limited after it was over its limit last, 1 to 86400. It may open
    /// nothing at first, and ever more to the end. Default: 60.
    pub limit_secs: u32,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            inside_host: 0,
            inside_24: 0,
            inside_20: 0,
            outside_host: 0,
            outside_24: 0,
            outside_20: 0,
            limit_secs: 60,
        }
    }
}

impl Throttle {
    /// The limits, those of inside first, the narrowest prefix first.
    #[must_use]
    pub const fn rates(&self) -> [u32; 6] {
        [
            self.inside_host,
            self.inside_24,
            self.inside_20,
            self.outside_host,
            self.outside_24,
            self.outside_20,
        ]
    }
}

/// `[icmp]`: of which ends of their packets senders are told by an ICMP error, and how often. Every
/// packet is counted for its reason in any case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Icmp {
    /// The time to live ended here: this router stands in a traceroute. Default: true.
    pub time_exceeded: bool,
    /// A packet that must not be fragmented is too large for its way: path MTU discovery (RFC 1191).
    /// Default: true.
    pub fragmentation_needed: bool,
    /// There is no route to the destination, or its neighbour does not answer. As the kernel does,
    /// nothing is said of a `blackhole` route. Default: true.
    pub unreachable: bool,
    /// A new flow is refused since ports, blocks or sessions are used up: `"none"`,
    /// `"host-unreachable"` (RFC 6888 REQ-11b) or `"prohibited"` (RFC 5508 REQ-8). A told refusal
    /// costs more than a silent one. Default: `"none"`.
    pub exhausted: Exhausted,
    /// A packet from outside has no mapping: port unreachable. It tells scanners that nobody is
    /// there. Default: false.
    pub port_unreachable: bool,
    /// Nobody waits for a SYN from outside: port unreachable, but not before six seconds, and not if
    /// its connection is opened from inside meanwhile (RFC 5382 REQ-4). Without it such a SYN is
    /// dropped in silence (REQ-4a). Default: true.
    pub unsolicited_syn: bool,
    /// Errors in a second to one sender, 1 to 1000. Default: 20.
    pub each_per_second: u32,
    /// Errors in a second to all senders of one side, 1 to 10000. Default: 1000.
    pub all_per_second: u32,
}

impl Default for Icmp {
    fn default() -> Self {
        Self {
            time_exceeded: true,
            fragmentation_needed: true,
            unreachable: true,
            exhausted: Exhausted::None,
            port_unreachable: false,
            unsolicited_syn: true,
            each_per_second: 20,
            all_per_second: 1000,
        }
    }
}

/// The values of `icmp.exhausted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exhausted {
    /// Silence.
    #[default]
    None,
    /// Code 1: a soft error, after which TCP tries again.
    HostUnreachable,
    /// Code 13: communication administratively prohibited.
    Prohibited,
}

/// `[sessions]`: remote endpoints of a mapping beside its first one. They are noted where a pool
/// filters, and where `time_tcp` is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sessions {
    /// Room of the table, about 80 bytes each, taken at start. When it is full, a packet to a
    /// further endpoint is dropped and counted where a filter would refuse the answer. At least 1.
    /// Default: 65536.
    pub max: u32,
    /// Each TCP session of a mapping is timed by itself (RFC 7857 section 2). Without it, a mapping
    /// with several TCP sessions lives as long as an established one. Default: false.
    pub time_tcp: bool,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            max: 65_536,
            time_tcp: false,
        }
    }
}

/// `[fragments]`: fragments of one datagram follow the first one, which has the ports. Those that come
/// before it wait for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fragments {
    /// Room for datagrams whose first fragment was translated, about 100 bytes each, taken at start.
    /// When it is full, the oldest are forgotten. At least 1024. Default: 65536.
    pub max_datagrams: u32,
    /// How many fragments can wait for their first one. At least 1. Default: 4096.
    pub max_held: u32,
    /// KiB that they can take. At least 64. Default: 8192.
    pub max_held_kib: u32,
    /// How many can wait from one source address. At least 1. Default: 64.
    pub max_held_per_source: u32,
    /// For how many seconds a datagram is known, and a fragment waits. 2 to 120 (RFC 6146 section 4).
    /// Default: 2.
    pub timeout_secs: u32,
}

impl Default for Fragments {
    fn default() -> Self {
        Self {
            max_datagrams: 65_536,
            max_held: 4096,
            max_held_kib: 8192,
            max_held_per_source: 64,
            timeout_secs: 2,
        }
    }
}

/// `[timeouts]`: after how many seconds without a packet a session ends. At most a week (604800).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// UDP. At least 120 (RFC 4787 REQ-5). Default: 300.
    pub udp_secs: u32,
    /// ICMP queries (ping). At least 60 (RFC 5508 REQ-2). Default: 60.
    pub icmp_secs: u32,
    /// TCP connections that are open. At least 7440, that is 2 h 4 min (RFC 5382 REQ-5).
    /// Default: 7440.
    pub tcp_established_secs: u32,
    /// TCP connections that are being opened. At least 1; below 240 warns (RFC 7857 section 2.1).
    /// Default: 240.
    pub tcp_opening_secs: u32,
    /// TCP connections after FIN or RST. At least 1; below 240 warns (RFC 7857 section 2.1).
    /// Default: 240.
    pub tcp_closing_secs: u32,
    /// Inbound UDP and ICMP packets keep a mapping alive, too (RFC 4787 REQ-6). Whoever can reach a
    /// mapping can then keep it for ever. Default: false.
    pub inbound_refresh: bool,
    /// Destination ports, 1 to 1023, for which `short_udp_secs` holds instead of `udp_secs`, as
    /// long as a mapping sends to no other port (RFC 4787 REQ-5). Default: none.
    pub short_udp_ports: Vec<u16>,
    /// UDP mappings that send to one of `short_udp_ports` only. At least 1. Default: 10.
    pub short_udp_secs: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            udp_secs: 300,
            icmp_secs: 60,
            tcp_established_secs: 7440,
            tcp_opening_secs: 240,
            tcp_closing_secs: 240,
            inbound_refresh: false,
            short_udp_ports: Vec::new(),
            short_udp_secs: 10,
        }
    }
}

/// `[hold]`: for how many seconds what was given back stays unused, so that a late packet or an
/// enquiry about a log record cannot meet the wrong subscriber. At most a week (604800).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hold {
    /// A freed port is not used by a new mapping. Below 120 warns (RFC 6888 REQ-8). Default: 120.
    pub port_secs: u32,
    /// How many ports of a pool can be held at once; beyond, a freed port can be used at once (RFC
    /// 6888 REQ-8). 0 is no limit. Default: 0.
    pub max_ports: u32,
    /// A released block is not given to another subscriber. Below 120 warns (RFC 6888 REQ-8).
    /// Default: 120.
    pub block_secs: u32,
    /// A block without mappings is kept by its subscriber before it is released. At least 1.
    /// Default: 60.
    pub block_idle_secs: u32,
}

impl Default for Hold {
    fn default() -> Self {
        Self {
            port_secs: 120,
            max_ports: 0,
            block_secs: 120,
            block_idle_secs: 60,
        }
    }
}

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

/// `[metrics]`: where Prometheus scrapes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Address and port to listen on; must be a loopback address, for there is no access control.
    /// Default: `127.0.0.1:9464`.
    pub listen: SocketAddr,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
        }
    }
}

/// `[control]`: where the daemon can be reached and keeps its tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// Unix socket for `cgn show`, an absolute path of at most 107 bytes.
    /// Default: `/run/cgn/cgn.sock`.
    pub socket: PathBuf,
    /// Directory on a BPF file system that holds maps and links while the daemon is away, an
    /// absolute path. Default: `/sys/fs/bpf/cgn`.
    pub pin_directory: PathBuf,
    /// Address and port where the API can be read over TCP with TLS, by clients whose certificate is of
    /// `client_ca_file`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// With `listen`, *required*: the daemon's certificate, those between it and its root behind it (PEM).
    pub cert_file: PathBuf,
    /// With `listen`, *required*: the key of the certificate (PEM), which nobody else may read.
    pub key_file: PathBuf,
    /// With `listen`, *required*: the certificates (PEM) that clients' must descend from.
    pub client_ca_file: PathBuf,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/cgn/cgn.sock"),
            pin_directory: PathBuf::from("/sys/fs/bpf/cgn"),
            listen: None,
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            client_ca_file: PathBuf::new(),
        }
    }
}

/// `[debug]`: for tests and for the search of faults, not for traffic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Debug {
    /// XDP hands every packet that is not the kernel's to the slow path, which translates it by the
    /// same rules, many times slower, and not while the daemon is away. `true` warns. Default: false.
    pub force_slow_path: bool,
}
