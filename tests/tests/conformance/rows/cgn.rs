//! RFC 6888 and 7857: what a carrier-grade NAT owes, and what changed since.

use crate::registry::{Row, met, met_by, not_met, refused};

pub const RFC6888: &[Row] = &[
    met(
        "R6888-1",
        "every transport that is handled behaves as its RFC says",
    ),
    met_by(
        "R6888-2",
        "paired pooling over all protocols of a subscriber, who is one of each realm",
        &[
            "e2e::flows::several_subscribers_at_once",
            "e2e::realms::three_hosts_with_one_address_are_three_subscribers",
        ],
    ),
    met_by(
        "R6888-3",
        "pools of any size and any ranges, which can grow",
        &[
            "e2e::reload::a_pool_grows_without_a_lost_packet",
            "model::it_goes_on_over_restarts_with_other_pools",
            "cgn_user::dataplane::tests::growth::what_was_at_an_address_is_there_in_the_grown_tables",
            "cgn_user::config::tests::refused_addresses::addresses_that_overlap",
        ],
    ),
    met_by(
        "R6888-4",
        "a limit of external ports per subscriber",
        &["e2e::refusals::a_subscriber_at_its_limit"],
    ),
    met(
        "R6888-4a",
        "the administrator sets the limit (blocks and ports of a block, by pool)",
    ),
    met_by(
        "R6888-4b",
        "limits by protocol, by group",
        &["e2e::reload::a_limit_of_a_group_is_changed_without_losing_a_flow"],
    ),
    met_by(
        "R6888-4c",
        "a limit of new mappings per second, by group",
        &["cgn_user::config::tests::behaviour::tables_and_sweep_are_told_of_groups"],
    ),
    met_by(
        "R6888-5",
        "a limit of state per subscriber, by group: mappings, further sessions, and their rate",
        &["e2e::reload::a_limit_of_a_group_is_changed_without_losing_a_flow"],
    ),
    met_by(
        "R6888-6",
        "chosen destinations go untranslated",
        &["e2e::access::chosen_traffic_goes_untranslated_and_comes_back_so"],
    ),
    met("R6888-7", "endpoint-independent filtering by default"),
    met_by(
        "R6888-8",
        "a freed port or block rests for 120 s",
        &[
            "e2e::blocks::an_idle_block_is_released_and_then_held",
            "cgn_user::alloc::tests::a_pool_of_one_block_goes_round_with_its_hold",
        ],
    ),
    met_by(
        "R6888-8b",
        "hold time and number of held ports are configurable",
        &["cgn_user::dataplane::tests::sessions::beyond_the_most_held_a_port_is_free_at_once"],
    ),
    met_by(
        "R6888-8c",
        "the hold outlives a crash",
        &["e2e::life::killed_while_it_allocates"],
    ),
    not_met("R6888-9", "subscribers control mappings", "no PCP"),
    met_by(
        "R6888-10",
        "manageable: what RFC 7659 has objects for is counted (M-1 to M-14)",
        &[
            "e2e::metrics::every_metric_is_moved_by_what_it_counts",
            "cgn_user::metrics::tests::values_are_those_of_their_sources",
        ],
    ),
    met_by(
        "R6888-11a",
        "out of ports: dropped",
        &["e2e::refusals::a_subscriber_at_its_limit"],
    ),
    met_by(
        "R6888-11b",
        "out of ports: host unreachable to the sender, on request (icmp.exhausted)",
        &[
            "answers::errors::exhausted_and_unmapped",
            "e2e::icmp::a_refused_subscriber_is_told_on_request",
        ],
    ),
    met_by(
        "R6888-11c",
        "out of ports: the operator is told, by notices (natEvent 12, 13), once in a window",
        &[
            "cgn_user::engine::notices::tests::each_refusal_has_its_notice_and_has_it_once_in_a_window",
            "cgn_user::maplog::encode::tests::notices::notices_are_as_rfc_8158_draws_them",
            "maplog_judges::notices::tshark_reads_each_kind_of_notice",
        ],
    ),
    met("R6888-11d", "no mapping is removed to make room"),
    met_by(
        "R6888-12",
        "destinations are not logged: a record has no place for them",
        &["cgn_user::maplog::tests::codec::the_bytes_are_those_of_the_table"],
    ),
    met_by(
        "R6888-12b",
        "the log tells who had a port at a time",
        &["e2e::flows::several_subscribers_at_once"],
    ),
    met("R6888-13", "ports are used to the last one"),
    met_by(
        "R6888-14",
        "little to log: one record per block, bytes of a subscriber's day by cargo xtask bench log",
        &[super::records::VOLUME],
    ),
    met("R6888-15", "ports are hard to guess"),
];

pub const RFC7857: &[Row] = &[
    met_by(
        "R7857-1",
        "the state machine of section 2",
        &[
            "cgn_common::nat::tcp_state::tests::every_state_and_event_is_an_arrow_of_rfc_7857_figure_1_or_stays",
        ],
    ),
    met("R7857-1b", "an idle connection lives 7440 s in all"),
    met_by(
        "R7857-2",
        "timers of opening and closing are apart; below 240 s warns",
        &["cgn_user::config::tests::warned::warnings"],
    ),
    met("R7857-3", "RST is translated"),
    met("R7857-4", "four minutes after RST, and data restores"),
    met("R7857-4b", "a blind RST does no harm"),
    refused(
        "R7857-5",
        "ports shared by destination",
        "section 3 is a MAY; it would end endpoint independence",
    ),
    met(
        "R7857-6",
        "out of ports: dropped, never another address (soft pairing is a MAY)",
    ),
    met("R7857-7", "mappings are per protocol"),
    met("R7857-8", "filtering is per protocol"),
    met("R7857-9", "what is refused does not refresh"),
    met(
        "R7857-10",
        "an ICMP error or RST sent as an answer does not refresh",
    ),
    not_met(
        "R7857-11",
        "an explicit request for parity is honoured",
        "no PCP",
    ),
    met("R7857-12", "ports are obfuscated"),
    met_by(
        "R7857-13",
        "IPv4 identifications of merged sources do not collide",
        &["answers::no_two_packets_to_one_host_have_one_identification"],
    ),
    met("R7857-14", "a query mapping ends with its last session"),
    met("R7857-15", "ICMP hairpinning finds the inside address"),
];
