//! What an operator counts, and wishes.

use crate::registry::{Row, met, met_by, not_met, refused};

const LATER: &str = "later";

pub const COUNTED: &[Row] = &[
    met_by(
        "M-1",
        "translated packets by direction and protocol",
        &["e2e::programs::promtool_checks_the_metrics"],
    ),
    met_by(
        "M-2",
        "address mappings and their creations",
        &["cgn_user::metrics::tests::values_are_those_of_their_sources"],
    ),
    met_by(
        "M-3",
        "port mappings and their creations",
        &["cgn_user::metrics::tests::values_are_those_of_their_sources"],
    ),
    met_by(
        "M-4",
        "drops for a limit",
        &["e2e::refusals::a_subscriber_at_its_limit"],
    ),
    met_by(
        "M-5",
        "drops for want of address, port, memory",
        &[
            "cgn_user::alloc::tests::each_refusal_has_its_name",
            "cgn_user::metrics::tests::values_are_those_of_their_sources",
        ],
    ),
    met_by(
        "M-6",
        "drops of fragments",
        &[
            "translator::every_reason_has_a_case",
            "cgn_user::metrics::tests::values_are_those_of_their_sources",
        ],
    ),
    met_by(
        "M-7",
        "start time",
        &["cgn_user::metrics::tests::values_are_those_of_their_sources"],
    ),
    met_by(
        "M-8",
        "limits",
        &["cgn_user::metrics::tests::values_are_those_of_their_sources"],
    ),
    not_met(
        "M-9",
        "figures by protocol",
        "drops are not told by protocol",
    ),
    met_by(
        "M-10",
        "figures by pool",
        &[
            "cgn_user::api::view::tests::figures::pools_tell_what_the_allocator_and_the_sweep_said",
            "cgn_user::metrics::tests::values_are_those_of_their_sources",
        ],
    ),
    not_met(
        "M-11",
        "figures by subscriber",
        "by `cgn show subscribers`; not measured with 100,000 of them",
    ),
    met_by(
        "M-12",
        "behaviour as a metric",
        &["cgn_user::metrics::tests::values_are_those_of_their_sources"],
    ),
    not_met("M-13", "notices of thresholds", LATER),
    not_met("M-14", "names of RFC 8512", LATER),
];

pub const SHARING: &[Row] = &[
    met(
        "S-1",
        "a forged packet too big, about no mapping's packet, is dropped",
    ),
    met("S-2", "identifications of merged sources"),
    not_met(
        "S-3",
        "an infected host exhausts only its own ports",
        "limits are there, detection is not",
    ),
    met_by(
        "S-4",
        "TIME_WAIT counts as a used port",
        &["cgn_user::metrics::tests::values_are_those_of_their_sources"],
    ),
    not_met(
        "S-5",
        "a shared address that is blocked",
        "`cgn pool quarantine|drain|restore` and the query are there (e2e::withheld), pools grouped by region are not",
    ),
    met_by(
        "S-6",
        "traceability: who had a port of an address at a time",
        &[
            "cgn_user::maplog::query::tests::who_is_answered_alike_from_segments_and_sealed_files",
            "e2e::flows::several_subscribers_at_once",
        ],
    ),
    not_met("S-7", "scenarios that fail behind NATs", "not tried yet"),
    refused(
        "S-8",
        "host identification",
        "RFC 6967 section 4 leaves it to the operator's policy; it would tell who a subscriber is",
    ),
    not_met(
        "S-9",
        "the profile of RFC 6346 section 5.2",
        "block_ports = 128 can be set; not tested as a profile",
    ),
    not_met("S-10", "a sweep of limits with a browser", "not measured"),
];

pub const ASKED_FOR: &[Row] = &[
    not_met(
        "SEED-1",
        "policy before NAT",
        "access lists, bogons and the spoof check are there (see R6888-6), with 100,000 prefixes; a limit of rate per port is not",
    ),
    not_met("SEED-2", "restriction of noisy prefixes", LATER),
    not_met("SEED-3", "abuse of tunnels", LATER),
    not_met("SEED-4", "mirroring", LATER),
    not_met("SEED-5", "anonymised captures", LATER),
    not_met("SEED-6", "topologies of IPv4, IPv6 and both", LATER),
    not_met(
        "SEED-7",
        "modes of logging, retention, search",
        "block log only",
    ),
    met_by(
        "SEED-8",
        "ports in use by subscriber, and whom a limit would have refused: `cgn advise limits`",
        &[
            "cgn_user::policy::advice::tests::a_limit_is_advised_that_touches_no_more_than_asked_for",
            "e2e::deterministic::static_ports_need_no_record_and_overflow_has_one",
        ],
    ),
    not_met("SEED-9", "a simulator of port assignment", LATER),
    not_met("SEED-10", "a sheet for capacity", LATER),
    not_met("SEED-11", "redundancy", LATER),
    not_met("SEED-12", "VPNs", "by UDP they pass; ESP and GRE do not"),
    not_met("SEED-13", "peer to peer", "not tried yet"),
    not_met("SEED-14", "SIP", "not tried yet"),
    not_met("SEED-15", "WebSockets", "not tried yet"),
    not_met("SEED-16", "HTTP/2 and QUIC", "not tried yet"),
    not_met(
        "SEED-17",
        "fragments between IPv4 and IPv6",
        "no IPv6 transition",
    ),
    not_met("SEED-18", "mobile networks", "not tried yet"),
    not_met(
        "SEED-19",
        "tenants",
        "realms have equal addresses, own pools, groups and routes, and log and commands tell them apart; no log stream or metrics of their own",
    ),
    not_met(
        "SEED-20",
        "cache poisoning through the CGN",
        "see R6056-7; the warning is missing",
    ),
    refused(
        "SEED-21",
        "servers log source ports",
        "the servers' affair: see R6302-1",
    ),
    not_met("SEED-22", "overload", LATER),
];
