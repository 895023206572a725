//! IPv6 transition.

use crate::registry::{Row, not_met};

const NO_NAT64: &str = "no NAT64";
const NO_DS_LITE: &str = "no DS-Lite";
const NO_A_PLUS_P: &str = "no lw4o6 and no MAP-E";

pub const NAT64: &[Row] = &[
    not_met("R6146-1", "binding and session tables", NO_NAT64),
    not_met("R6146-2", "no loops", NO_NAT64),
    not_met("R6146-3", "which packets are handled", NO_NAT64),
    not_met("R6146-4", "fragments", NO_NAT64),
    not_met("R6146-5", "fragments of UDP without checksum", NO_NAT64),
    not_met("R6146-6", "other transports", NO_NAT64),
    not_met("R6146-7", "no resources", NO_NAT64),
    not_met("R6146-8", "pairing, class and parity", NO_NAT64),
    not_met("R6146-9", "filtering", NO_NAT64),
    not_met("R6146-10", "unsolicited SYNs", NO_NAT64),
    not_met(
        "R6146-11",
        "a probe before a connection is given up",
        NO_NAT64,
    ),
    not_met("R6146-12", "query sessions", NO_NAT64),
    not_met("R6146-13", "hairpinning", NO_NAT64),
    not_met("R6146-14", "errors about errors", NO_NAT64),
    not_met("R6146-15", "static bindings", NO_NAT64),
    not_met("R6146-16", "limits by prefix", NO_NAT64),
    not_met("R6052-1", "prefix lengths", NO_NAT64),
    not_met(
        "R6052-2",
        "well-known prefix with global addresses only",
        NO_NAT64,
    ),
    not_met("R6052-3", "local-use prefix", NO_NAT64),
    not_met("R7915-1", "headers from IPv4", NO_NAT64),
    not_met("R7915-2", "DF and identification", NO_NAT64),
    not_met("R7915-3", "MTUs in packet too big", NO_NAT64),
    not_met("R7915-4", "fragmenting towards IPv6", NO_NAT64),
    not_met("R7915-5", "IPv4 options", NO_NAT64),
    not_met("R7915-6", "UDP without checksum", NO_NAT64),
    not_met("R7915-7", "routing headers", NO_NAT64),
    not_met("R7915-8", "ICMP types and codes", NO_NAT64),
    not_met("R7915-9", "sources of untranslatable routers", NO_NAT64),
    not_met("R7915-10", "explicit address mappings", NO_NAT64),
    not_met("R7915-11", "only what the prefix covers", NO_NAT64),
    not_met("R6877-1", "the provider side of 464XLAT", NO_NAT64),
    not_met("R6877-2", "a subscriber is a prefix", NO_NAT64),
];

pub const DS_LITE: &[Row] = &[
    not_met("R6333-1", "tunnel end and NAT in one", NO_DS_LITE),
    not_met("R6333-2", "MTU of the tunnel", NO_DS_LITE),
    not_met("R6333-3", "well-known addresses", NO_DS_LITE),
    not_met("R6333-4", "behaviour as of NAT44", NO_DS_LITE),
    not_met("R6333-5", "inner sources", NO_DS_LITE),
    not_met("R6333-6", "traffic class", NO_DS_LITE),
    not_met("R6333-7", "notices, quotas, log", NO_DS_LITE),
    not_met("R6333-8", "gateways", NO_DS_LITE),
    not_met("R6334-1", "name of the tunnel end by DHCPv6", NO_DS_LITE),
    not_met("R7785-1", "softwires per subscriber", NO_DS_LITE),
    not_met("R7785-2", "a subscriber's address changes", NO_DS_LITE),
];

pub const ADDRESS_PLUS_PORT: &[Row] = &[
    not_met("R7596-1", "no state of flows", NO_A_PLUS_P),
    not_met("R7596-2", "upstream checks", NO_A_PLUS_P),
    not_met("R7596-3", "downstream checks", NO_A_PLUS_P),
    not_met("R7596-4", "hairpinning", NO_A_PLUS_P),
    not_met("R7596-5", "ICMP", NO_A_PLUS_P),
    not_met("R7596-6", "ICMPv6 limited in rate", NO_A_PLUS_P),
    not_met("R7596-7", "contiguous port sets", NO_A_PLUS_P),
    not_met("R7597-1", "port mapping algorithm", NO_A_PLUS_P),
    not_met("R7597-2", "spoofed packets", NO_A_PLUS_P),
    not_met("R7597-3", "fragments", NO_A_PLUS_P),
    not_met("R7597-4", "240 ports for a house", NO_A_PLUS_P),
];
