//! `[[pool]]`.

use serde::{Deserialize, Serialize};

use crate::config::notation::AddressSpan;

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
