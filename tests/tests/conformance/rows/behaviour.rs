//! RFC 4787, 5382 and 5508: how a NAT behaves.

use crate::registry::{Row, met, met_by, refused};

pub const RFC4787: &[Row] = &[
    met_by(
        "R4787-1",
        "endpoint-independent mapping",
        &["e2e::flows::mapping_and_filtering_do_not_depend_on_the_endpoint"],
    ),
    met_by(
        "R4787-2",
        "paired pooling",
        &["e2e::flows::several_subscribers_at_once"],
    ),
    met_by(
        "R4787-3",
        "no port has two owners",
        &[
            "model::a_random_life_is_that_of_a_plain_nat",
            "concurrency::kernel::xdp_and_user_space_race_for_the_same_mappings",
        ],
    ),
    met_by(
        "R4787-3a",
        "a source below 1024 stays below 1024 where a pool says so (`keep_class`); by default ports below 1024 are left out, as in RFC 7422 section 2",
        &["e2e::classes::a_port_below_1024_stays_below_and_is_attributed"],
    ),
    met(
        "R4787-4",
        "parity of UDP ports is kept where a pool says so (`keep_parity`); by default ports are hard to guess instead (RFC 7857 section 8, RFC 6888 REQ-15)",
    ),
    met_by(
        "R4787-5",
        "a UDP mapping lives 120 s at the least; less is refused",
        &["cgn_user::config::tests::refused_values::numbers_of_seconds"],
    ),
    met_by(
        "R4787-5a",
        "shorter timers for chosen destination ports",
        &["cgn_user::config::tests::behaviour::the_sweep_is_told_the_timers"],
    ),
    met_by(
        "R4787-5b",
        "the timer is configurable at run time",
        &["e2e::reload::a_timer_changes_while_it_runs"],
    ),
    met("R4787-5c", "300 s by default"),
    met_by(
        "R4787-6",
        "packets from inside refresh",
        &["e2e::blocks::a_busy_mapping_outlives_its_timer"],
    ),
    met_by(
        "R4787-6a",
        "packets from outside refresh where that is configured",
        &["cgn_user::config::tests::behaviour::each_key_switches_on_what_it_says"],
    ),
    met_by(
        "R4787-7",
        "inside and outside addresses that collide are refused by the configuration",
        &["cgn_user::config::tests::refused_addresses::addresses_that_overlap"],
    ),
    met(
        "R4787-8",
        "endpoint-independent or address-dependent filtering",
    ),
    met_by(
        "R4787-8a",
        "filtering is configured by pool, and a group can have a pool of its own",
        &[
            "cgn_user::config::tests::behaviour::each_pool_filters_as_it_says_tcp_by_itself",
            "e2e::groups::a_group_has_addresses_blocks_and_filters_of_its_own",
        ],
    ),
    met("R4787-9", "hairpinning"),
    met(
        "R4787-9a",
        "a hairpinned packet has the sender's external endpoint",
    ),
    met("R4787-10", "no gateway changes payloads by default"),
    refused(
        "R4787-10a",
        "every gateway has a switch of its own",
        "recommended for those that there are, and there are none (REQ-10 wants them off)",
    ),
    met("R4787-11", "behaviour does not depend on load"),
    met("R4787-12", "no ICMP message ends a UDP mapping"),
    met("R4787-12a", "ICMP errors are not filtered on their source"),
    met("R4787-12b", "destination unreachable is translated"),
    met_by(
        "R4787-13",
        "too big with DF: fragmentation needed",
        &[
            "answers::errors::fragmentation_needed",
            "e2e::icmp::tracepath_finds_the_mtu_outbound",
            "e2e::icmp::the_mtu_inbound_is_found",
        ],
    ),
    met_by(
        "R4787-13a",
        "too big without DF: fragmented, in order",
        &[
            "e2e::fragments::what_is_too_large_for_the_way_out_is_fragmented",
            "split::scapy_makes_the_same_fragments",
        ],
    ),
    met_by(
        "R4787-14",
        "fragments in order and out of order",
        &[
            "e2e::fragments::fragments_in_every_order_and_mixed",
            "e2e::fragments::large_datagrams_both_ways_also_to_another_subscriber",
        ],
    ),
    met_by(
        "R4787-14a",
        "a flood of fragments harms nobody else",
        &[
            "e2e::fragments::a_flood_of_fragments_costs_nobody_else_one",
            "prog_run::fragments_of_one_source_take_nothing_from_another",
            "cgn_user::slowpath::fragments::tests::a_flood_from_one_source_takes_nothing_from_another",
        ],
    ),
];

pub const RFC5382: &[Row] = &[
    met("R5382-1", "endpoint-independent mapping for TCP"),
    met("R5382-2", "all valid sequences of segments"),
    met_by(
        "R5382-2a",
        "simultaneous open",
        &["e2e::unsolicited::both_sides_open_at_once"],
    ),
    met_by(
        "R5382-3",
        "filtering of TCP is configured apart from UDP",
        &["cgn_user::config::tests::behaviour::each_pool_filters_as_it_says_tcp_by_itself"],
    ),
    met_by(
        "R5382-4",
        "an unsolicited SYN waits six seconds, then its sender is told, unless a SYN from inside met it",
        &[
            "answers::syns::an_unsolicited_syn_is_not_answered_at_once_but_later",
            "answers::syns::a_syn_that_is_met_from_inside_is_dropped_in_silence",
            "cgn_user::slowpath::unsolicited::tests::a_syn_waits_for_six_seconds_at_the_least",
            "e2e::unsolicited::a_syn_that_nobody_waits_for_is_told_after_six_seconds",
        ],
    ),
    met_by(
        "R5382-4a",
        "silence where policy forbids an answer",
        &["e2e::unsolicited::silence_where_it_is_configured"],
    ),
    met_by(
        "R5382-4b",
        "the store of waiting SYNs is bounded",
        &[
            "cgn_user::slowpath::unsolicited::tests::a_flood_of_many_sources_stays_within_the_bounds",
            "cgn_user::slowpath::unsolicited::tests::no_source_takes_the_room_of_another",
        ],
    ),
    met_by(
        "R5382-5",
        "established 7440 s, opening and closing 240 s",
        &["cgn_user::config::tests::refused_values::numbers_of_seconds"],
    ),
    refused(
        "R5382-6",
        "an FTP gateway",
        "REQ-6 speaks of the gateways that a NAT includes, and leaves the default of FTP's open; there are none, so passive FTP works and active does not",
    ),
    met("R5382-7", "no TCP port has two owners"),
    met("R5382-8", "TCP hairpinning"),
    met("R5382-9", "destination unreachable for TCP"),
    met("R5382-10", "no ICMP message ends a connection"),
    met_by(
        "R5382-t",
        "TIME_WAIT and RST as RFC 7857 section 2 says",
        &[
            "cgn_common::nat::tcp_state::tests::every_state_and_event_is_an_arrow_of_rfc_7857_figure_1_or_stays",
        ],
    ),
];

pub const RFC5508: &[Row] = &[
    met("R5508-1", "queries and their replies"),
    met("R5508-1a", "endpoint-independent identifiers"),
    met_by(
        "R5508-2",
        "a query session lives 60 s at the least; less is refused",
        &["cgn_user::config::tests::refused_values::numbers_of_seconds"],
    ),
    met("R5508-3", "an error with a wrong checksum is dropped"),
    met(
        "R5508-3a",
        "an embedded header with a wrong checksum is dropped",
    ),
    met("R5508-3b", "options in the embedded header"),
    met(
        "R5508-3c",
        "the embedded transport checksum is not verified",
    ),
    met("R5508-3d", "extensions of RFC 4884 are kept"),
    met("R5508-4", "errors from outside"),
    met("R5508-5", "errors from inside"),
    met("R5508-6", "errors refresh and end nothing"),
    met("R5508-7", "hairpinned errors, and queries"),
    met_by(
        "R5508-8",
        "no resources: administratively prohibited, on request (RFC 6888 REQ-11b asks for another code)",
        &["e2e::icmp::a_refused_subscriber_is_told_on_request"],
    ),
    refused(
        "R5508-9",
        "the administrator may drop types",
        "REQ-9 is a MAY",
    ),
    met_by(
        "R5508-10a",
        "unreachable, time exceeded, echo",
        &[
            "answers::errors::time_exceeded",
            "answers::errors::unreachable",
            "answers::errors::fragmentation_needed",
            "e2e::icmp::traceroute_shows_every_hop",
            "e2e::icmp::ping_with_a_short_life",
            "e2e::icmp::unreachable_networks_and_hosts",
        ],
    ),
    met(
        "R5508-10b",
        "parameter problem is translated; others are counted and dropped",
    ),
    met("R5508-10c", "no source quench, no information messages"),
    met_by(
        "R5508-10d",
        "type of service of generated messages",
        &["answers::errors::type_of_service"],
    ),
    met_by(
        "R5508-10e",
        "no message about messages, multicast, later fragments",
        &["answers::errors::never_about_what_rfc_1812_forbids"],
    ),
    met_by(
        "R5508-10f",
        "generated messages are limited in rate",
        &[
            "answers::so_many_in_a_window_whatever_the_kind",
            "e2e::icmp::a_flood_is_told_little_and_takes_nobodys_block",
        ],
    ),
    met("R5508-11", "other types are dropped, and counted"),
];
