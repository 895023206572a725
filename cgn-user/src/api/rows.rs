//! What the API answers with: the JSON of every endpoint. `docs/api.md`
//! describes the fields for people.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::watch::crypto_pan::Key;
use crate::withheld::Standing;

use crate::config::LogSync;
use crate::config::difference::Effect;

/// A part of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    pub rows: Vec<T>,
    /// Ask for the next part with `cursor=` this number; `null`: there is none.
    pub next_cursor: Option<u64>,
}

/// A number for each protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PerProtocol {
    pub tcp: u64,
    pub udp: u64,
    /// ICMP queries; their identifiers are the ports.
    pub icmp: u64,
}

impl From<[u64; 3]> for PerProtocol {
    /// In the order of [`cgn_common::verdict::Protocol::ALL`].
    fn from([tcp, udp, icmp]: [u64; 3]) -> Self {
        Self { tcp, udp, icmp }
    }
}

/// `/v1/subscribers`: a subscriber that has a block, or was refused one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriberRow {
    pub inside: Ipv4Addr,
    /// Name of its realm; left out (empty) for the first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub realm: String,
    /// The one external address of all its blocks; `null` without a block.
    pub external: Option<Ipv4Addr>,
    pub pool: String,
    /// The pool that the configuration has for it, if its blocks are of another: it moves there when
    /// the last of them is released.
    pub next_pool: Option<String>,
    pub blocks: u32,
    /// Ports in use, those in hold included.
    pub ports_used: PerProtocol,
    /// Ports of its blocks, for each protocol.
    pub ports_usable: u64,
    /// It can have no further block at the moment.
    pub refused: bool,
    /// Name of the group whose limits hold for it; `null`: it is in none.
    pub group: Option<String>,
    /// What was refused to it lately, one row a reason; remembered where there are groups.
    pub refusals: Vec<RefusalRow>,
}

/// New flows of a subscriber that were refused for one reason, in [`SubscriberRow`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusalRow {
    /// As in `/v1/drops`.
    pub reason: String,
    /// Whole seconds since the last one.
    pub last_secs: u64,
    /// Whole seconds since the first one after a minute without any.
    pub since_secs: u64,
}

/// `/v1/blocks`: a block that a subscriber has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockRow {
    pub external: Ipv4Addr,
    pub first_port: u16,
    /// Belongs to the block, too.
    pub last_port: u16,
    /// Its ports below 1024, in a pool with `keep_class`; left out (0) else.
    #[serde(default, skip_serializing_if = "is_none")]
    pub first_system_port: u16,
    #[serde(default, skip_serializing_if = "is_none")]
    pub last_system_port: u16,
    /// Number of the key of a scattered block, whose ports are places: `external_port` tells which
    /// block has a port. Left out (0) if it is contiguous.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub key: u8,
    pub pool: String,
    pub inside: Ipv4Addr,
    /// Name of the subscriber's realm; left out (empty) for the first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub realm: String,
    /// When the subscriber got it: RFC 3339, UTC.
    pub allocated: String,
    /// Number of the record in the mapping log.
    pub log_sequence: u64,
    /// Ports in use, those in hold included.
    pub ports_used: PerProtocol,
}

/// `/v1/mappings`: one inside address and port with its external ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MappingRow {
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    pub inside: Ipv4Addr,
    /// Name of the subscriber's realm; left out (empty) for the first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub realm: String,
    /// For ICMP, this and the other ports are identifiers.
    pub inside_port: u16,
    pub external: Ipv4Addr,
    pub external_port: u16,
    /// Remote endpoint of the first session; others may use the mapping, too. `null` for a UDP or ICMP
    /// mapping of the last seconds where nothing but this would ask for it.
    pub remote: Option<Ipv4Addr>,
    /// `null` for ICMP, and without `remote`.
    pub remote_port: Option<u16>,
    /// `open` (UDP, ICMP), or the state of the first TCP session: `init`,
    /// `established`, `inside_fin`, `outside_fin`, `closing`, `transitory`.
    pub state: String,
    /// A TCP mapping with more than one remote endpoint: `state` then says
    /// nothing of the others.
    pub shared: bool,
    /// Whole seconds since the last packet that keeps the mapping alive.
    pub idle_secs: u64,
    pub pool: String,
}

/// `/v1/pools`: a pool of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolRow {
    pub pool: String,
    pub addresses: u64,
    /// Addresses of which somebody has a block.
    pub addresses_used: u64,
    /// Inside addresses that the pool serves.
    pub subscriber_addresses: u64,
    /// Of those, how many have a block.
    pub subscribers: u64,
    /// Ports of a block, for each protocol.
    pub block_ports: u64,
    /// `contiguous`, `scattered`, or `classes`: contiguous, and another range below 1024.
    pub port_mode: String,
    /// What one faces outside who knows a subscriber's earlier ports and guesses the next: log2 of
    /// the ports that it can have.
    pub entropy_bits: f64,
    pub blocks_per_subscriber: u64,
    /// Blocks that can be used at once.
    pub max_blocks: u64,
    pub blocks_used: u64,
    /// Released, and not yet given to another.
    pub blocks_held: u64,
    pub blocks_free: u64,
    /// As of the last complete sweep.
    pub mappings: PerProtocol,
    /// Ports in hold, all protocols together, as of the last complete sweep.
    pub held_ports: u64,
    /// Blocks wanted and not given, since start.
    pub refusals: Refusals,
    /// Addresses that are out of use, as `203.0.113.5 drained, 203.0.113.6 quarantined`.
    pub withheld: String,
    /// Packets to its addresses that nobody waited for, where they are counted.
    pub unsolicited: u64,
    /// Addresses under attack, as `203.0.113.5, 203.0.113.6`.
    pub attacked: String,
}

/// What is asked of `POST /v1/addresses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddressRequest {
    /// An external address.
    pub address: Ipv4Addr,
    /// `quarantined`, `drained`, or `null`: in use again.
    pub standing: Option<Standing>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddressAnswer {
    pub pool: String,
    /// Subscribers that have blocks of it.
    pub subscribers: u64,
}

/// For serde.
fn is_none(port: &u16) -> bool {
    *port == 0
}

/// For serde.
fn is_zero(key: &u8) -> bool {
    *key == 0
}

/// `/v1/peaks`: how many ports subscribers had in use at once at most, those in hold included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeaksRow {
    /// Start of the daemon: RFC 3339, UTC.
    pub since: String,
    /// Pairs of ports and how many subscribers had at most so many, ascending; nobody without one.
    #[schemars(with = "Vec<[u64; 2]>")]
    pub tcp: Vec<(u16, u64)>,
    #[schemars(with = "Vec<[u64; 2]>")]
    pub udp: Vec<(u16, u64)>,
    #[schemars(with = "Vec<[u64; 2]>")]
    pub icmp: Vec<(u16, u64)>,
}

/// Why blocks were not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusals {
    pub subscriber_limit: u64,
    pub address_exhausted: u64,
    pub pool_exhausted: u64,
    pub no_slab: u64,
    pub log_unavailable: u64,
}

impl Refusals {
    /// All reasons together.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.subscriber_limit
            + self.address_exhausted
            + self.pool_exhausted
            + self.no_slab
            + self.log_unavailable
    }
}

/// `/v1/drops`: a reason why packets are not translated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DropRow {
    pub reason: String,
    /// `drop`; `punt`: to the slow path; `pass`: to the kernel.
    pub effect: String,
    /// Packets with this end in XDP.
    pub fast_path: u64,
    /// Packets with this end in the slow path.
    pub slow_path: u64,
    pub help: String,
}

/// `/v1/rules`: a rule of the access lists, as packets of one direction meet it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuleRow {
    /// Place among the rules of its direction, from 1: the first that holds decides.
    pub place: usize,
    pub rule: String,
    /// `out`: packets from inside; `in`: packets from outside.
    pub direction: String,
    /// `permit`, `deny`, `bypass` or `inspect`.
    pub action: String,
    /// Name of the realm whose packets it is for, `[inside]` for the first; `null`: it is for those of all, or there
    /// is one realm only.
    pub realm: Option<String>,
    /// Name of the group whose subscribers it is for; `null`: it names none.
    pub group: Option<String>,
    /// Prefixes and addresses of the rule.
    pub prefixes: usize,
    /// Packets that it held for, since the rules are these.
    pub packets: u64,
    /// Those of them that were over its rate, and so dropped; `null`: it has no rate.
    pub over_rate: Option<u64>,
}

/// `/v1/mirrors`: a mirror of the configuration, since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MirrorRow {
    pub mirror: String,
    /// The interface or the collector that it sends to, and how.
    pub to: String,
    /// `on`, or why it is not, or why frames were lost last.
    pub state: String,
    /// Packets that fitted and were mirrored, and those that fitted and were not: beyond its rate, or than
    /// could be read.
    pub matched: u64,
    pub missed: u64,
    /// Frames, of which a packet has up to two, that were sent, and that the kernel did not take.
    pub sent: u64,
    pub lost: u64,
    /// Bytes sent, headers of GRE and ERSPAN included.
    pub bytes: u64,
}

/// `/v1/status`: the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    pub version: String,
    /// RFC 3339, UTC.
    pub started: String,
    pub interfaces: Vec<InterfaceRow>,
    /// As of the last complete sweep.
    pub mappings: PerProtocol,
    pub next_hops: u64,
    pub route_updates: u64,
    pub sweeps: u64,
    pub sweep_last_secs: f64,
    /// The mapping log file.
    pub log_path: String,
    pub log_records: u64,
    pub log_errors: u64,
    /// The mapping log cannot be written, and no new blocks are given.
    pub log_refusing: bool,
    /// `full` or `relaxed`, as `log.sync` says.
    pub log_sync: LogSync,
    /// RFC 3339, UTC: since then blocks are given without records; absent if they are not.
    pub log_lacking_since: Option<String>,
    /// Records that the log lacks since the daemon's start.
    pub log_lacking_records: u64,
    /// Blocks that the daemon found at its start.
    pub reconciliation: ReconciliationRow,
    /// Packets that wait for the link address of their next hop.
    pub waiting_packets: u64,
    /// Percent of the last second that the slow path worked.
    pub busy_percent: f64,
    /// Percent of new subscribers that is put off meanwhile.
    pub put_off_percent: u64,
    /// Source prefixes that are limited, as `outside 192.0.2.0/24`.
    pub throttled: Vec<String>,
    /// By how much the clock was moved for a test.
    pub clock_offset_secs: u64,
}

/// Blocks that were there at the daemon's start, in [`Status`]. `docs/api.md` explains the kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReconciliationRow {
    pub identical: u64,
    pub repaired: u64,
    pub orphaned: u64,
    pub incomplete: u64,
}

/// An interface in [`Status`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceRow {
    pub interface: String,
    /// `inside` or `outside`.
    pub side: String,
    /// `native` or `generic`.
    pub mode: String,
}

/// What `POST /v1/clock` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockRequest {
    pub advance_secs: u32,
}

/// What `POST /v1/clock` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClockAnswer {
    pub clock_offset_secs: u64,
}

/// What `POST /v1/reload` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReloadRequest {
    /// Only say what would change.
    pub dry_run: bool,
    /// Mappings may be lost, traffic may stop.
    pub allow_disruption: bool,
}

/// What `POST /v1/reload` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReloadAnswer {
    pub changes: Vec<ChangeRow>,
    /// The most harmful of the changes.
    pub effect: Effect,
    /// The changes are being taken over: the daemon ends and starts anew.
    pub applies: bool,
}

/// A key of the configuration that differs, in [`ReloadAnswer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeRow {
    pub key: String,
    /// As TOML; `null`: the key was not there.
    pub from: Option<String>,
    /// As TOML; `null`: the key is not there any more.
    pub to: Option<String>,
    pub effect: Effect,
    /// Subscribers with a block whom the change concerns.
    pub subscribers: u64,
}

/// The body of every answer that is not 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    pub error: String,
}

/// `/v1/explain`: what would happen to a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The packet, as it was understood.
    pub packet: String,
    /// Interface that it comes by.
    pub interface: String,
    /// `inside` or `outside`.
    pub side: String,
    /// What the translator did, in its order.
    pub steps: Vec<StepRow>,
    /// `translate`, `drop`, `punt`, `pass` or `send`.
    pub verdict: String,
    /// Why it is not translated, as in `/v1/drops`; `null` if it is.
    pub reason: Option<String>,
    /// The reason in a sentence.
    pub help: Option<String>,
    /// What slow path or kernel do then.
    pub then: Option<String>,
    /// The mapping that it uses.
    pub mapping: Option<MappingRow>,
    /// The mapping is not there yet: this packet would open it. The port is then one
    /// that it could get; the next look may give another.
    pub mapping_is_new: bool,
    /// What is sent, if it is translated.
    pub sent: Option<SentRow>,
    /// What would happen to the answer of who gets it.
    pub answer: Option<Box<Explanation>>,
}

/// A step in an [`Explanation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepRow {
    pub step: String,
    pub text: String,
}

/// The frame that leaves, in an [`Explanation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SentRow {
    pub packet: Option<String>,
    pub interface: String,
    /// Its VLAN ids, outermost first.
    pub vlans: Vec<u16>,
    /// Link address of the neighbour that gets it.
    pub link_address: String,
    /// Length of the frame.
    pub bytes: u64,
}

/// What is asked of `POST /v1/capture`, besides its query part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CaptureRequest {
    /// Addresses get other names by this key; `null`: they stay.
    #[schemars(with = "Option<String>")]
    pub key: Option<Key>,
}

/// A line of `/v1/trace`: a packet of the fast path, or how many are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and nearly all are the large one"
)]
pub enum TraceLine {
    Packet(TraceRow),
    /// Packets that fitted, and of which there is no line.
    Missed {
        missed: u64,
    },
}

/// A packet as the fast path saw it, or one that the slow path sends (verdict `send`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraceRow {
    /// When it came: RFC 3339, UTC.
    pub time: String,
    /// As it came; with `send`, as it leaves.
    pub packet: String,
    /// Name of the subscriber's realm, empty for the first; `null` where there are no realms, and for a packet
    /// that is nobody's.
    pub realm: Option<String>,
    /// Interface and receive queue that it came by; with `send`, the interface that it leaves by.
    pub interface: String,
    pub queue: u32,
    /// Length of the frame.
    pub bytes: u32,
    /// Names of the steps, in their order.
    pub steps: Vec<String>,
    /// `translate`, `drop`, `punt`, `pass` or `send`.
    pub verdict: String,
    /// Why it is not translated, as in `/v1/drops`; `null` if it is.
    pub reason: Option<String>,
    /// The packet that is sent, if it is translated, and the interface.
    pub sent: Option<String>,
    pub sent_by: Option<String>,
    /// Nanoseconds from the first step to the verdict, those for telling included.
    pub took_ns: u32,
}

/// `/v1/top`: what changes from moment to moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Top {
    /// When, in milliseconds of the data plane's clock.
    pub at_ms: u64,
    /// Translated packets since the tables were made.
    pub outbound: Traffic,
    pub inbound: Traffic,
    /// Mappings opened since then.
    pub created: PerProtocol,
    /// As of the last complete sweep.
    pub mappings: PerProtocol,
    pub drops: Vec<DropRow>,
    pub pools: Vec<PoolRow>,
    /// The subscribers that use most ports, most first.
    pub subscribers: Vec<SubscriberRow>,
}

/// Translated packets of one direction, in [`Top`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    pub packets: PerProtocol,
    /// Bytes of the IPv4 packets.
    pub bytes: PerProtocol,
}

impl PerProtocol {
    /// All protocols together.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.tcp + self.udp + self.icmp
    }
}
