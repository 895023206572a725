//! Choice of ports, other traffic, deterministic mapping, shared space, discovery.

use crate::registry::{Row, met, met_by, refused};

pub const CHOICE: &[Row] = &[
    met("R6056-1", "all ports from 1024 to 65535"),
    met_by(
        "R6056-2",
        "reserved ports are skipped, with the block that holds them",
        &["cgn_user::alloc::tests::reserved::all_blocks_but_the_reserved_ones_are_given"],
    ),
    met(
        "R6056-3",
        "an algorithm of section 3.3: a keyed hash of the inside port, random per block",
    ),
    met("R6056-4", "every port is changed"),
    met_by(
        "R6056-5",
        "earlier ports tell nothing of the next",
        &["cgn_user::alloc::tests::distribution::earlier_blocks_say_nothing_of_the_next"],
    ),
    met(
        "R6056-6",
        "the bits of randomness of a block are shown: `cgn show pools`",
    ),
    met("R6056-7", "random ports of a resolver stay random"),
    met_by(
        "R6431-1",
        "scattered blocks by a keyed permutation of an address's ports; the keys are with the log",
        &[
            "cgn_user::maplog::scatter::tests::each_port_is_of_exactly_one_block_of_a_key",
            "e2e::scattered::ports_lie_anywhere_and_every_one_is_attributed",
        ],
    ),
    met_by(
        "R7768-1",
        "one record per block; idle blocks are released; the next is picked at random",
        &[
            "e2e::blocks::an_idle_block_is_released_and_then_held",
            "cgn_user::alloc::tests::distribution::blocks_and_addresses_are_chosen_uniformly_at_any_fill",
        ],
    ),
];

pub const OTHER_TRAFFIC: &[Row] = &[
    met_by(
        "R3022-1",
        "checksums",
        &["e2e::wire::nothing_private_leaves_and_all_checksums_are_right"],
    ),
    met("R3022-2", "time to live, DF and options"),
    met_by(
        "R3022-3",
        "nothing leaves with a private source",
        &[
            "translator::two_hundred_thousand_mutated_frames_break_nothing",
            "e2e::wire::nothing_private_leaves_and_all_checksums_are_right",
        ],
    ),
    refused(
        "R5597-1",
        "DCCP",
        "RFC 5597 binds only a NAT that offers it; protocol 33 is dropped and counted",
    ),
    met(
        "R5597-2",
        "GRE, ESP, AH, SCTP and others are dropped, each with a counter of its own; none can be let through",
    ),
    met("R5135-1", "multicast is not forwarded"),
];

pub const DETERMINISTIC: &[Row] = &[
    met_by(
        "R7422-1",
        "inputs of the map: prefixes, addresses, `dynamic_factor`, `blocks_per_subscriber`, ports from 1024",
        &["cgn_user::config::tests::deterministic::the_map_follows_from_the_file"],
    ),
    met_by(
        "R7422-2",
        "map and reverse map offline: `cgn map forward`, `cgn map reverse`",
        &[
            "cgn_user::policy::deterministic::tests::reverse_undoes_forward",
            "e2e::deterministic::static_ports_need_no_record_and_overflow_has_one",
        ],
    ),
    met_by(
        "R7422-3",
        "ports per subscriber, rounded down to whole blocks (3,072 where the example has 4,032)",
        &["cgn_user::policy::deterministic::tests::the_example_of_the_rfc_in_whole_blocks"],
    ),
    met_by(
        "R7422-4",
        "algorithm codes: 0, sequential, is the one that is offered",
        &["cgn_user::policy::deterministic::tests::each_port_has_the_owner_that_it_should"],
    ),
    met("R7422-5", "random within the range, block by block"),
    met_by(
        "R7422-6",
        "static range first, then overflow",
        &["e2e::deterministic::static_ports_need_no_record_and_overflow_has_one"],
    ),
    met_by(
        "R7422-7",
        "only overflow is logged",
        &["e2e::deterministic::static_ports_need_no_record_and_overflow_has_one"],
    ),
    met_by(
        "R7422-8",
        "a record of each configuration, and one a day",
        &[
            "cgn_user::maplog::maps::tests::a_record_at_each_change_and_once_a_day_answers_for_every_moment",
        ],
    ),
    met_by(
        "R7422-9",
        "old maps stay answerable",
        &[
            "cgn_user::maplog::maps::tests::a_record_at_each_change_and_once_a_day_answers_for_every_moment",
            "cgn_user::maplog::query::tests::a_static_port_is_answered_by_the_map_of_its_time",
        ],
    ),
    met_by(
        "R7422-10",
        "alarms of utilisation: of all blocks (`pool_high`, `pool_low`), and of those for overflow (`overflow_high`, `overflow_low`)",
        &[
            "cgn_user::engine::notices::tests::a_threshold_is_told_again_only_after_the_other",
            "cgn_user::engine::notices::tests::blocks_for_overflow_have_thresholds_of_their_own",
            "e2e::deterministic::who_watches_is_told_when_overflow_runs_short_and_when_it_does_not_any_more",
        ],
    ),
];

pub const SHARED_SPACE: &[Row] = &[
    met(
        "R6598-1",
        "100.64.0.0/10 does not cross the border, as source or destination",
    ),
    met_by(
        "R6598-2",
        "the same inside range behind several interfaces or VLANs",
        &[
            "e2e::realms::three_hosts_with_one_address_are_three_subscribers",
            "e2e::realms::also_where_everything_goes_by_the_slow_path",
            "cgn_user::config::tests::realms::equal_addresses_in_different_realms_are_allowed",
        ],
    ),
    met_by(
        "R6598-3",
        "reverse DNS stays inside: a resolver's affair, of which `cgn check` and the documents remind",
        &[
            "cgn_user::cli::tests::check_names_every_error_and_otherwise_says_what_the_file_provides",
        ],
    ),
    met_by(
        "R6598-4",
        "nothing shows an inside address outside",
        &["e2e::wire::nothing_private_leaves_and_all_checksums_are_right"],
    ),
];

pub const DISCOVERY: &[Row] = &[
    met_by(
        "R5780-1",
        "a STUN client finds endpoint-independent mapping",
        &["e2e::discovery::coturn_finds_mapping_and_filtering_independent_of_the_endpoint"],
    ),
    met_by(
        "R5780-2",
        "a STUN client finds the filtering, whichever is configured",
        &[
            "e2e::discovery::coturn_finds_mapping_and_filtering_independent_of_the_endpoint",
            "e2e::discovery::coturn_finds_the_filters_of_a_pool",
        ],
    ),
    met_by(
        "R5780-3",
        "a STUN client finds hairpinning",
        &["e2e::discovery::coturn_finds_that_a_host_reaches_its_own_external_endpoint"],
    ),
    met_by(
        "R5780-4",
        "a STUN client finds the lifetime",
        &["e2e::discovery::coturn_finds_that_a_mapping_lives_five_minutes"],
    ),
    met_by(
        "R5780-5",
        "a STUN client finds that fragments pass",
        &["e2e::discovery::coturn_finds_that_fragments_pass"],
    ),
    met_by(
        "R5780-6",
        "the attributes that such a test needs, from ports that nobody used before",
        &["e2e::discovery::coturn_finds_mapping_and_filtering_independent_of_the_endpoint"],
    ),
];
