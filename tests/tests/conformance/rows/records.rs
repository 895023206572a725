//! The mapping log and its streams.

use crate::registry::{Row, met_by, refused};

const TSHARK_BLOCKS: &str = "maplog_judges::tshark_reads_the_block_events_of_ipfix";
const TSHARK_NOTICES: &str = "maplog_judges::notices::tshark_reads_each_kind_of_notice";
const PARSER: &str =
    "maplog_judges::parsers::the_crate_netflow_parser_reads_blocks_and_notices_of_ipfix";
const GOLDEN_BLOCKS: &str =
    "cgn_user::maplog::encode::tests::ipfix_is_as_rfc_7011_and_8158_draw_it";
const GOLDEN_NOTICES: &str =
    "cgn_user::maplog::encode::tests::notices::notices_are_as_rfc_8158_draws_them";
const GOLDEN_REALMS: &str =
    "cgn_user::maplog::encode::tests::of_realms::a_realm_is_told_as_ingress_vrf_and_its_name_once";
const GOLDEN_SESSIONS: &str =
    "cgn_user::maplog::encode::tests::sessions::mappings_and_sessions_are_as_rfc_8158_draws_them";
const TSHARK_REALMS: &str = "maplog_judges::realms::tshark_reads_numbers_and_names_of_realms";
const TSHARK_SESSIONS: &str = "maplog_judges::sessions::tshark_reads_mappings_and_sessions";
pub const VOLUME: &str =
    "cgn_tests::bench::maplog::volume::tests::the_same_load_takes_a_thousandth_in_blocks";
const DATAGRAMS: &str = "cgn_user::maplog::stream::tests::datagrams::datagrams_explain_themselves_and_a_refusal_is_noticed";
const LATE: &str = "cgn_user::maplog::stream::tests::delivery::what_a_dead_collector_missed_is_sent_when_it_is_back";
const AGAIN: &str = "cgn_user::maplog::stream::tests::delivery::what_a_collector_took_and_did_not_read_is_sent_again";

pub const ATTRIBUTION: &[Row] = &[
    met_by(
        "R6302-1",
        "our own services record source ports: the API over TCP, and the metrics for clients elsewhere",
        &["e2e::remote::clients_with_a_certificate_may_read"],
    ),
    met_by(
        "R6302-2",
        "time stamps in milliseconds of UTC; whether the clock is right to a second is told at start, and as a metric",
        &[
            "cgn_user::engine::clock::tests::a_clock_that_nobody_keeps_right_is_not_good",
            "e2e::maplog::what_happens_is_sent_sealed_signed_and_found_again",
            "e2e::metrics::every_metric_is_moved_by_what_it_counts",
        ],
    ),
    met_by(
        "R6302-3",
        "all transport protocols are told apart (a block has all three)",
        &["e2e::flows::several_subscribers_at_once"],
    ),
    met_by(
        "R6302-4",
        "who had this port, ambiguity told",
        &[
            "cgn_user::maplog::query::tests::who_is_answered_alike_from_segments_and_sealed_files",
            "cgn_user::cli::log::tests::what_is_not_clear_is_told_with_its_reason",
        ],
    ),
];

pub const IPFIX: &[Row] = &[
    met_by(
        "R8158-1",
        "information elements, their lengths and byte order (of the events that are sent)",
        &[
            GOLDEN_BLOCKS,
            GOLDEN_NOTICES,
            GOLDEN_REALMS,
            TSHARK_BLOCKS,
            TSHARK_NOTICES,
            TSHARK_REALMS,
            PARSER,
        ],
    ),
    met_by(
        "R8158-2",
        "historic event codes are not sent in IPFIX",
        &[GOLDEN_BLOCKS, GOLDEN_NOTICES],
    ),
    met_by(
        "R8158-3",
        "mandatory fields (of the events that are sent: not three quotas and the thresholds of mappings)",
        &[
            GOLDEN_BLOCKS,
            GOLDEN_NOTICES,
            GOLDEN_SESSIONS,
            TSHARK_SESSIONS,
        ],
    ),
    met_by(
        "R8158-4",
        "block events with start and end",
        &[GOLDEN_BLOCKS, TSHARK_BLOCKS],
    ),
    refused(
        "R8158-5",
        "adjacent blocks in one record",
        "section 4.6.10 is a MAY",
    ),
    met_by(
        "R8158-6",
        "exhaustion events are limited in rate, ports for each protocol",
        &[
            "cgn_user::engine::notices::tests::each_refusal_has_its_notice_and_has_it_once_in_a_window",
            "cgn_user::engine::notices::tests::a_hundred_thousand_who_knock_are_no_flood",
            "e2e::maplog::a_collector_is_told_once_that_a_pool_is_used_up",
        ],
    ),
    met_by(
        "R8158-7",
        "not both BIB and session events",
        &[
            "cgn_user::dataplane::tests::journal::a_mapping_is_told_of_once_when_it_begins_and_once_when_it_ends",
            "e2e::sessions_logged::each_session_is_on_record_with_begin_and_end",
        ],
    ),
    met_by(
        "R8158-8",
        "observation domains, several collectors, also after a start",
        &[
            "cgn_user::maplog::stream::tests::datagrams::two_collectors_get_the_same_records_each_in_its_domain",
            "cgn_user::maplog::stream::tests::delivery::a_new_sink_begins_with_the_next_record_and_an_old_one_where_it_was",
        ],
    ),
    met_by(
        "R8158-9",
        "events can be suppressed: blocks, mappings and sessions, notices",
        &[
            "cgn_user::maplog::stream::tests::delivery::a_sink_is_sent_what_it_wants_and_the_rest_counts_as_arrived",
        ],
    ),
    met_by(
        "R8158-10",
        "loss of log records is seen, and what then happens is chosen",
        &[
            "cgn_user::maplog::stream::tests::delivery::beyond_the_spool_records_are_lost_and_counted",
            "e2e::life::no_room_for_the_log",
            "e2e::life::no_room_for_the_log_and_on_without",
        ],
    ),
    met_by("R7011-1", "message header", &[GOLDEN_BLOCKS, TSHARK_BLOCKS]),
    met_by(
        "R7011-2",
        "sequence numbers count data records and go round",
        &[GOLDEN_BLOCKS, GOLDEN_NOTICES],
    ),
    met_by(
        "R7011-3",
        "templates over UDP, twice at first and then again and again",
        &[
            DATAGRAMS,
            "cgn_user::maplog::stream::tests::datagrams::datagrams_explain_their_templates_again_when_it_is_time",
        ],
    ),
    met_by(
        "R7011-4",
        "messages within the path MTU",
        &[
            GOLDEN_BLOCKS,
            "cgn_user::maplog::encode::tests::notices::no_datagram_of_notices_is_larger_than_it_may_be",
        ],
    ),
    met_by(
        "R7011-5",
        "template numbers from 256 on, one for each set of fields; nothing is ever withdrawn",
        &[GOLDEN_BLOCKS, GOLDEN_NOTICES, GOLDEN_SESSIONS],
    ),
    met_by("R7011-6", "export over TCP", &[LATE, AGAIN]),
];

pub const TEXT_LOGS: &[Row] = &[
    met_by(
        "LOG-1",
        "interim records of a block",
        &[
            "cgn_user::maplog::stream::tests::delivery::held_blocks_are_told_again_also_after_a_start",
        ],
    ),
    met_by(
        "LOG-2",
        "syslog of RFC 5424",
        &[
            "cgn_user::maplog::encode::tests::syslog_is_one_line_of_structured_data",
            "maplog_judges::rsyslogd_parses_the_structured_data_of_syslog",
        ],
    ),
    met_by(
        "LOG-3",
        "identity of the subscriber by RADIUS accounting, off by default",
        &[
            "e2e::identity::a_name_is_answered_once_it_is_on_record_and_told_with_the_ports",
            "e2e::identity::what_cannot_be_on_record_is_not_answered_and_traffic_goes_on",
            "cgn_user::radius::tests::sessions_begin_and_end_in_whatever_order_they_are_told",
            "cgn_user::maplog::tests::identities::a_name_is_found_at_its_time_alike_in_segments_sealed_files_and_a_copy",
        ],
    ),
    met_by(
        "LOG-4",
        "retention and tamper evidence",
        &[
            "cgn_user::maplog::tests::store::old_days_go_by_age_and_by_size_but_never_the_newest",
            "cgn_user::maplog::tests::proof::whatever_is_changed_is_found",
        ],
    ),
    met_by(
        "LOG-5",
        "volume against a log of sessions: the same load in both modes, a thousand to one and more",
        &[VOLUME],
    ),
    met_by(
        "LOG-6",
        "a sheet for sizing: `cgn advise sizing`, for so many days, with bytes of a record that a measurement keeps below",
        &[
            "cgn_user::cli::advise::tests::the_document_has_what_the_program_prints",
            VOLUME,
        ],
    ),
];
