//! The least and greatest value of every number in the configuration.

use cgn_common::layout::SlotKey;
use cgn_common::limits::{MAX_BLOCK_PORTS, MAX_BLOCKS_PER_SUBSCRIBER, MIN_BLOCK_PORTS, ticks};

use super::fault::Fault;

/// The values that one number may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Least allowed value.
    pub least: u32,
    /// Greatest allowed value.
    pub most: u32,
    /// What the number counts and, where a document decides the limit, which.
    pub note: &'static str,
}

impl Limit {
    const fn new(least: u32, most: u32, note: &'static str) -> Self {
        Self { least, most, note }
    }

    /// The fault of `value`, `None` when it is within the limit.
    pub fn check(&'static self, value: u32) -> Option<Fault> {
        if (self.least..=self.most).contains(&value) {
            None
        } else {
            Some(self.fault(value.to_string()))
        }
    }

    /// The fault of a value outside the limit, as it was written.
    pub(super) fn fault(&'static self, written: String) -> Fault {
        Fault::OutOfRange {
            written,
            limit: self,
        }
    }
}

/// A week: longer than any flow is silent and still alive, and it catches milliseconds that were
/// meant as seconds.
const WEEK_SECS: u32 = 7 * 24 * 3600;

/// `inside.vlan[..]`, `outside.vlan[..]`: 0 and 4095 are reserved by IEEE 802.1Q.
pub const VLAN_ID: Limit = Limit::new(1, 4094, "VLAN IDs, IEEE 802.1Q");
/// `realm[..].table`; the kernel's own tables are refused beside.
pub const TABLE: Limit = Limit::new(1, u32::MAX, "routing tables of the kernel");
/// `pool[..].block_ports`, besides being a power of two.
pub const BLOCK_PORTS: Limit =
    Limit::new(MIN_BLOCK_PORTS, MAX_BLOCK_PORTS, "ports, a power of two");
/// `pool[..].blocks_per_subscriber`: a subscriber's table entry has room for six.
pub const BLOCKS_PER_SUBSCRIBER: Limit = Limit::new(1, MAX_BLOCKS_PER_SUBSCRIBER as u32, "blocks");
/// `pool[..].watermark_percent`
pub const WATERMARK_PERCENT: Limit = Limit::new(50, 99, "percent");
/// `pool[..].max_blocks`; the pool's own number of blocks limits it further.
pub const MAX_BLOCKS: Limit = Limit::new(1, u32::MAX, "blocks, no more than the pool has");
// Slots know for how long they have not been used.
const _: () = assert!(ticks(WEEK_SECS as u64) < SlotKey::MOST_AGE);
/// `timeouts.udp_secs`
pub const UDP_SECS: Limit = Limit::new(120, WEEK_SECS, "seconds, RFC 4787 REQ-5");
/// `timeouts.icmp_secs`
pub const ICMP_SECS: Limit = Limit::new(60, WEEK_SECS, "seconds, RFC 5508 REQ-2");
/// `timeouts.tcp_established_secs`
pub const TCP_ESTABLISHED_SECS: Limit = Limit::new(7440, WEEK_SECS, "seconds, RFC 5382 REQ-5");
/// `timeouts.tcp_opening_secs`, `timeouts.tcp_closing_secs`; below 240 they warn.
pub const TCP_TRANSITORY_SECS: Limit = Limit::new(1, WEEK_SECS, "seconds");
/// `tcp.mss_outbound`, `tcp.mss_inbound`, besides 0: from what every host takes to what fits in IPv4.
pub const MSS_BYTES: Limit = Limit::new(536, 65_495, "bytes, or 0 for no limit");
/// `group[..].tcp_mappings`, `udp_mappings`, `icmp_mappings`: 0 to all ports that blocks can have.
pub const MAPPINGS: Limit = Limit::new(
    0,
    MAX_BLOCK_PORTS * MAX_BLOCKS_PER_SUBSCRIBER as u32,
    "ports",
);
/// `pool[..].dynamic_factor`
pub const DYNAMIC_FACTOR: Limit = Limit::new(0, 64_512, "shares, RFC 7422 section 2");
/// `scatter.key_days`, besides 0: in the log a key has a number of one byte.
pub const KEY_DAYS: Limit = Limit::new(7, 3650, "days, or 0 for never");
/// `group[..].sessions`
pub const OWN_SESSIONS: Limit = Limit::new(0, 1 << 24, "sessions");
/// `group[..].new_per_second`, `group[..].burst`
pub const NEW_PER_SECOND: Limit = Limit::new(1, 65_535, "mappings");
/// `sessions.max`: at most what a BPF hash map of this kind was tried with.
pub const SESSIONS: Limit = Limit::new(1, 1 << 24, "sessions");
/// `icmp.each_per_second`
pub const ANSWERS_TO_ONE: Limit = Limit::new(1, 1000, "errors a second");
/// `icmp.all_per_second`: the rings of the slow path hold some thousand packets.
pub const ANSWERS_TO_ALL: Limit = Limit::new(1, 10_000, "errors a second");
/// `fragments.max_datagrams`: the kernel keeps a few elements of such a map apart for each processor.
pub const DATAGRAMS: Limit = Limit::new(1024, 1 << 24, "datagrams");
/// `fragments.max_held`, `fragments.max_held_per_source`
pub const HELD_FRAGMENTS: Limit = Limit::new(1, 1 << 20, "fragments");
/// `fragments.max_held_kib`
pub const HELD_KIB: Limit = Limit::new(64, 1 << 22, "KiB");
/// `fragments.timeout_secs`
pub const FRAGMENT_SECS: Limit = Limit::new(2, 120, "seconds, RFC 6146 section 4");
/// `timeouts.short_udp_ports`
pub const WELL_KNOWN_PORT: Limit = Limit::new(1, 1023, "well-known ports, RFC 4787 REQ-5");
/// `pool.reserved_ports`
pub const USABLE_PORT: Limit = Limit::new(1024, 65_535, "ports below 1024 are not given out");
/// `timeouts.short_udp_secs`
pub const SHORT_UDP_SECS: Limit = Limit::new(1, WEEK_SECS, "seconds");
/// `hold.max_ports`
pub const HELD_PORTS: Limit = Limit::new(0, u32::MAX, "ports");
/// `hold.port_secs`, `hold.block_secs`; below 120 they warn.
pub const HOLD_SECS: Limit = Limit::new(0, WEEK_SECS, "seconds");
/// `hold.block_idle_secs`: at 0 a block would be taken back before its first packet used it.
pub const BLOCK_IDLE_SECS: Limit = Limit::new(1, WEEK_SECS, "seconds");
/// `sink[..].domain`
pub const SINK_DOMAIN: Limit = Limit::new(0, u32::MAX, "32 bits");
/// `sink[..].template_secs`
pub const TEMPLATE_SECS: Limit = Limit::new(1, 86_400, "seconds");
/// `sink[..].datagram_bytes`: one record and its headers, up to what UDP over IPv4 carries.
pub const DATAGRAM_BYTES: Limit = Limit::new(128, 65_507, "bytes");
/// `sink[..].interim_secs`
pub const INTERIM_SECS: Limit = Limit::new(0, 86_400, "seconds, 0 never");
/// `sink[..].partition`
pub const PARTITION: Limit = Limit::new(0, 65_535, "as number of a partition");
/// `mirror[..].session`: ERSPAN has 10 bits for it.
pub const MIRROR_SESSION: Limit = Limit::new(0, 1023, "sessions");
/// `mirror[..].inside_port`, `outside_port`, `payload_bytes`.
pub const MIRROR_PORT: Limit = Limit::new(0, 65_535, "16 bits");
/// `mirror[..].packets_of`, `flows_of`.
pub const MIRROR_SAMPLE: Limit = Limit::new(0, 1_000_000, "one of so many, 0 each");
/// `mirror[..].rate`
pub const MIRROR_RATE: Limit = Limit::new(1, 1_000_000, "packets a second");
/// `log.interim_secs`
pub const LOG_INTERIM_SECS: Limit = Limit::new(1, 86_400, "seconds");
/// `log.group_ms`: a first packet waits so long besides.
pub const GROUP_MS: Limit = Limit::new(0, 20, "milliseconds, 0 not at all");
/// `log.notice_secs`
pub const NOTICE_SECS: Limit = Limit::new(1, 86_400, "seconds");
/// `pool[..].high_percent`, `pool[..].low_percent`
pub const PERCENT: Limit = Limit::new(0, 100, "percent, 0 never");
/// `guard.unsolicited_per_second`, and the rates of `[throttle]`: a window counts to 2^24.
pub const FLOOD_RATE: Limit = Limit::new(0, 10_000_000, "a second, 0 without limit");
/// `rate` of a rule.
pub const RULE_RATE: Limit = Limit::new(1, 1_000_000, "a second");
/// `guard.busy_secs`
pub const BUSY_SECS: Limit = Limit::new(1, 600, "seconds");
/// `throttle.limit_secs`
pub const THROTTLE_SECS: Limit = Limit::new(1, 86_400, "seconds");
/// `log.keep_days`: a century at most.
pub const KEEP_DAYS: Limit = Limit::new(0, 36_500, "days, 0 for ever");
/// `log.keep_gib`: an exbibyte at most.
pub const KEEP_GIB: Limit = Limit::new(0, 1 << 30, "GiB, 0 without limit");
/// `log.spool_mib`: a tebibyte at most.
pub const SPOOL_MIB: Limit = Limit::new(0, 1 << 20, "MiB");

/// RFC 7857 section 2.1: transitory TCP timers of four minutes, less only when it is asked for.
pub const TCP_TRANSITORY_RECOMMENDED_SECS: u32 = 240;
/// RFC 6888 REQ-8: an external port is not used again for two minutes.
pub const HOLD_RECOMMENDED_SECS: u32 = 120;
