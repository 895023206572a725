//! Every row, by chapter. What a row demands is said in a few words; the RFC says it whole.

pub mod behaviour;
mod benchmark;
mod cgn;
mod control;
mod operator;
mod port_choice;
mod records;
mod transition;

use crate::registry::Row;

/// Chapters of `docs/rfc.md`.
pub const CHAPTERS: &[(&str, &[Row])] = &[
    ("RFC 4787: UDP", behaviour::RFC4787),
    ("RFC 5382: TCP", behaviour::RFC5382),
    ("RFC 5508: ICMP", behaviour::RFC5508),
    ("RFC 6888: carrier-grade NAT", cgn::RFC6888),
    ("RFC 7857: updates", cgn::RFC7857),
    ("RFC 6056, 6431, 7768: choice of ports", port_choice::CHOICE),
    (
        "RFC 3022, 5597, 5135: other traffic",
        port_choice::OTHER_TRAFFIC,
    ),
    (
        "RFC 7422: deterministic mapping",
        port_choice::DETERMINISTIC,
    ),
    ("RFC 6302: who had this port", records::ATTRIBUTION),
    ("RFC 8158, 7011: IPFIX", records::IPFIX),
    ("Interim and text logs", records::TEXT_LOGS),
    ("RFC 8045: RADIUS", control::RADIUS),
    ("RFC 6887, 7753: PCP", control::PCP),
    (
        "RFC 6146, 6052, 7915, 6877: NAT64 and 464XLAT",
        transition::NAT64,
    ),
    ("RFC 6333, 6334, 7785: DS-Lite", transition::DS_LITE),
    (
        "RFC 7596, 7597: lw4o6 and MAP-E",
        transition::ADDRESS_PLUS_PORT,
    ),
    ("RFC 6598: shared address space", port_choice::SHARED_SPACE),
    ("RFC 5780: behaviour discovery", port_choice::DISCOVERY),
    ("RFC 9693: benchmarks", benchmark::RFC9693),
    ("RFC 7659: what to count", operator::COUNTED),
    (
        "RFC 6269, 6346, 6967, 7021, 9313: sharing an address",
        operator::SHARING,
    ),
    ("What operators asked for", operator::ASKED_FOR),
];
