//! Protocols by which others control the NAT.

use crate::registry::{Row, not_met};

const NO_RADIUS: &str = "RADIUS is heard for names only";
const NO_PCP: &str = "no PCP";

pub const RADIUS: &[Row] = &[
    not_met("R8045-1", "limits of ports", NO_RADIUS),
    not_met("R8045-2", "ranges in accounting", NO_RADIUS),
    not_met("R8045-3", "forwardings", NO_RADIUS),
    not_met("R8045-4", "wire form", NO_RADIUS),
    not_met("R8045-5", "a dead server harms no traffic", NO_RADIUS),
];

pub const PCP: &[Row] = &[
    not_met("R6887-1", "requests from inside only", NO_PCP),
    not_met("R6887-2", "what is no request is dropped", NO_PCP),
    not_met("R6887-3", "other versions", NO_PCP),
    not_met("R6887-4", "impossible lengths", NO_PCP),
    not_met("R6887-5", "unknown opcodes and options", NO_PCP),
    not_met("R6887-6", "a NAT between client and server", NO_PCP),
    not_met("R6887-7", "error replies", NO_PCP),
    not_met("R6887-8", "protocol 0, wildcards", NO_PCP),
    not_met("R6887-9", "another nonce", NO_PCP),
    not_met("R6887-10", "renewal", NO_PCP),
    not_met("R6887-11", "a mapping that traffic made", NO_PCP),
    not_met("R6887-12", "suggested endpoint", NO_PCP),
    not_met("R6887-13", "PREFER_FAILURE", NO_PCP),
    not_met(
        "R6887-14",
        "ports and protocols that are never mapped",
        NO_PCP,
    ),
    not_met("R6887-15", "deletion", NO_PCP),
    not_met("R6887-16", "lifetimes", NO_PCP),
    not_met("R6887-17", "static mappings", NO_PCP),
    not_met(
        "R6887-18",
        "FIN and RST do not shorten an explicit mapping",
        NO_PCP,
    ),
    not_met("R6887-19", "FILTER", NO_PCP),
    not_met("R6887-20", "limits", NO_PCP),
    not_met("R6887-21", "THIRD_PARTY", NO_PCP),
    not_met("R6887-22", "the simple threat model", NO_PCP),
    not_met("R6887-23", "epoch", NO_PCP),
    not_met("R6887-24", "a client that checks the epoch", NO_PCP),
    not_met("R6887-25", "ANNOUNCE", NO_PCP),
    not_met("R6887-26", "updates of mappings", NO_PCP),
    not_met("R6887-27", "PEER", NO_PCP),
    not_met("R6887-28", "hold after the end", NO_PCP),
    not_met("R6887-29", "MAP admits inbound and hairpin", NO_PCP),
    not_met("R6887-30", "a parser that nothing breaks", NO_PCP),
    not_met("R7753-1", "PORT_SET option", NO_PCP),
    not_met("R7753-2", "malformed PORT_SET", NO_PCP),
    not_met("R7753-3", "never more ports than asked", NO_PCP),
    not_met("R7753-4", "one port: no option in the answer", NO_PCP),
    not_met("R7753-5", "a set is renewed as one", NO_PCP),
    not_met("R7753-6", "a set that overlaps mappings", NO_PCP),
    not_met("R7753-7", "parity of the first port", NO_PCP),
];
