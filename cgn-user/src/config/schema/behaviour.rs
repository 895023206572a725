//! What packets and mappings are to do, and the limits that protect others from a few.

use serde::{Deserialize, Serialize};

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
/// is translated, and of IPv6, which the kernel routes on the same interfaces; inside, each realm's are its
/// own.
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
    /// New sessions in IPv6 of one network inside: SYNs, and first packets of flows of other protocols, to
    /// and from anywhere.
    pub inside_64: u32,
    /// Of all networks in a /56.
    pub inside_56: u32,
    /// In a /48.
    pub inside_48: u32,
    /// The same of one network outside.
    pub outside_64: u32,
    /// Of all networks in a /56.
    pub outside_56: u32,
    /// In a /48.
    pub outside_48: u32,
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
            inside_64: 0,
            inside_56: 0,
            inside_48: 0,
            outside_64: 0,
            outside_56: 0,
            outside_48: 0,
            limit_secs: 60,
        }
    }
}

impl Throttle {
    /// The limits of IPv4, those of inside first, the narrowest prefix first.
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

    /// The same of IPv6.
    #[must_use]
    pub const fn rates_ipv6(&self) -> [u32; 6] {
        [
            self.inside_64,
            self.inside_56,
            self.inside_48,
            self.outside_64,
            self.outside_56,
            self.outside_48,
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
