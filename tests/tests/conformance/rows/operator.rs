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
    met_by(
        "M-9",
        "figures by protocol: mappings, translations, creations, drops",
        &[
            "translator::every_case_is_the_same_on_host_and_slow_path",
            "prog_run::every_case_is_the_same_on_host_slow_path_and_bpf",
            "cgn_user::metrics::tests::values_are_those_of_their_sources",
        ],
    ),
    met_by(
        "M-10",
        "figures by pool",
        &[
            "cgn_user::api::view::tests::figures::pools_tell_what_the_allocator_and_the_sweep_said",
            "cgn_user::metrics::tests::values_are_those_of_their_sources",
        ],
    ),
    met_by(
        "M-11",
        "figures by subscriber: as a distribution in metrics, each by command and API",
        &["e2e::metrics::a_scrape_with_a_hundred_thousand_subscribers_is_small_and_quick"],
    ),
    met_by(
        "M-12",
        "behaviour as a metric",
        &["cgn_user::metrics::tests::values_are_those_of_their_sources"],
    ),
    met_by(
        "M-13",
        "notices of thresholds: pools to collectors, once in a window; the others as alerts",
        &[
            "cgn_user::engine::notices::tests::each_refusal_has_its_notice_and_has_it_once_in_a_window",
            "cgn_user::engine::notices::tests::a_threshold_is_told_again_only_after_the_other",
            "cgn_user::metrics::tests::promtool_takes_the_alerts_and_they_fire",
        ],
    ),
    met_by(
        "M-14",
        "names of RFC 8512, validated by libyang",
        &["e2e::programs::yanglint_takes_what_is_told_by_rfc_8512"],
    ),
];

pub const SHARING: &[Row] = &[
    met(
        "S-1",
        "a forged packet too big, about no mapping's packet, is dropped",
    ),
    met("S-2", "identifications of merged sources"),
    met_by(
        "S-3",
        "an infected host exhausts only its own ports, and is named",
        &[
            "e2e::floods::an_infected_host_inside_is_limited_alone_and_named",
            "e2e::refusals::a_subscriber_at_its_limit",
        ],
    ),
    met_by(
        "S-4",
        "TIME_WAIT counts as a used port",
        &["cgn_user::metrics::tests::values_are_those_of_their_sources"],
    ),
    met_by(
        "S-5",
        "a shared address that is blocked, or taken for another place: addresses out of use, pools of regions",
        &[
            "e2e::withheld::an_address_is_quarantined_drained_and_restored",
            "e2e::groups::each_region_has_addresses_of_its_own_and_borrows_none",
        ],
    ),
    met_by(
        "S-6",
        "traceability: who had a port of an address at a time",
        &[
            "cgn_user::maplog::query::tests::who_is_answered_alike_from_segments_and_sealed_files",
            "e2e::flows::several_subscribers_at_once",
        ],
    ),
    met_by(
        "S-7",
        "scenarios that fail behind NATs: a game of two behind one address, BitTorrent seeding, SIP without a gateway, four-minute keep-alives",
        &[
            "scenarios::players::two_behind_one_address_play_with_each_other",
            "scenarios::players::a_mapping_kept_every_four_minutes_is_reached_from_outside",
            "scenarios::torrent::a_seed_behind_the_cgn_serves_its_neighbour_and_a_stranger",
            "scenarios::calls::two_behind_one_address_call_each_other",
        ],
    ),
    refused(
        "S-8",
        "host identification",
        "RFC 6967 section 4 leaves it to the operator's policy; it would tell who a subscriber is",
    ),
    met_by(
        "S-9",
        "the profile of RFC 6346 section 5.2: 128 ports at first, 128 more on demand, at most 768 of each protocol",
        &["scenarios::household::ranges_of_128_ports_on_demand"],
    ),
    met_by(
        "S-10",
        "a sweep of limits from 15 to 2,048 ports with a model of a browser; the curve is in docs/operate/sizing.md",
        &["scenarios::limits::what_each_limit_of_ports_refuses_is_documented"],
    ),
];

pub const ASKED_FOR: &[Row] = &[
    met_by(
        "SEED-1",
        "policy before NAT: prefix lists, bogons, spoof check, pools, limits and rules by group, rates by port",
        &[
            "e2e::access::a_rule_of_a_group_is_for_who_is_in_it",
            "e2e::access::a_subscriber_sends_so_much_to_a_port_and_no_more",
            "e2e::groups::a_group_has_addresses_blocks_and_filters_of_its_own",
            "cgn_user::config::tests::behaviour::the_bogons_come_behind_the_rules_of_the_file",
        ],
    ),
    met_by(
        "SEED-2",
        "restriction of noisy prefixes (IPv4: outside TCP and what nobody waits for, see ADR 33; IPv6: all that begins, see ADR 47)",
        &[
            "e2e::floods::a_noisy_prefix_outside_is_limited_within_a_second_and_released",
            "e2e::floods::an_infected_host_inside_is_limited_alone_and_named",
            "cgn_user::dataplane::tests::floods::among_a_million_sources_the_busy_prefix_alone_is_limited",
            "e2e::ipv6::a_noisy_network_outside_is_limited_within_a_second_and_released",
            "e2e::ipv6::an_infected_network_inside_is_limited_alone_and_named",
            "e2e::ipv6::flows_that_were_there_before_a_limit_was_set_go_on",
            "cgn_user::dataplane::tests::ipv6::among_a_million_networks_the_busy_one_alone_is_limited",
            "cgn_user::dataplane::tests::ipv6::a_million_flows_are_known_and_forgotten",
        ],
    ),
    met_by(
        "SEED-3",
        "abuse of tunnels: 6to4, ISATAP and 6rd told apart, permitted or denied by rules; forged ones and forged Teredo refused",
        &[
            "prog_run::every_case_of_what_is_off_by_default_is_the_same_everywhere",
            "cgn_common::layout::constants::tests::a_six_rd_address_says_an_ipv4_address",
        ],
    ),
    not_met(
        "SEED-4",
        "mirroring",
        "subscribers, prefixes, ports and samples, before, after or both sides, to an interface, by GRE or ERSPAN (e2e::mirrors): there, and no copy is missed or lost at 315,000 a second; of the packets a second without it, those with a sample of 10 % were 0.83, 0.88 and 0.90 at 1 k flows and 0.87, 0.88 and 0.92 at 1 M in three runs (goal 0.9; `cargo xtask bench rig --systems native,mirror`)",
    ),
    met_by(
        "SEED-5",
        "captures with names for addresses, less payload, right checksums",
        &[
            "cgn_user::watch::crypto_pan::tests::the_addresses_of_the_reference_sample",
            "cgn_user::watch::crypto_pan::tests::as_many_first_bits_are_common_as_before",
            "cgn_user::watch::redact::tests::renamed_packets_are_those_between_the_names",
            "e2e::capture::other_addresses_and_a_bounded_rate",
        ],
    ),
    not_met("SEED-6", "topologies of IPv4, IPv6 and both", LATER),
    met_by(
        "SEED-7",
        "modes of logging (none for static ports, block, interim, session, with destination), retention by age, search",
        &[
            "e2e::deterministic::static_ports_need_no_record_and_overflow_has_one",
            "cgn_user::maplog::stream::tests::delivery::held_blocks_are_told_again_also_after_a_start",
            "e2e::sessions_logged::each_session_is_on_record_with_begin_and_end",
            "cgn_user::maplog::tests::store::old_days_go_by_age_and_by_size_but_never_the_newest",
            "cgn_user::maplog::query::tests::who_is_answered_alike_from_segments_and_sealed_files",
        ],
    ),
    met_by(
        "SEED-8",
        "ports in use by subscriber, and whom a limit would have refused: `cgn advise limits`",
        &[
            "cgn_user::policy::advice::tests::a_limit_is_advised_that_touches_no_more_than_asked_for",
            "e2e::deterministic::static_ports_need_no_record_and_overflow_has_one",
        ],
    ),
    met_by(
        "SEED-9",
        "a simulator of port assignment: `cargo xtask bench sharing` with CSV and plot",
        &[
            "cgn_tests::bench::sharing::tests::small_worlds_that_can_be_counted_by_hand",
            "cgn_tests::bench::sharing::tests::the_trade_is_seen",
            "cgn_tests::bench::sharing::tests::every_scheme_is_in_table_and_file",
        ],
    ),
    met_by(
        "SEED-10",
        "a sheet for capacity, central or in several places: `cgn advise sizing`",
        &[
            "cgn_user::policy::sizing::tests::what_ten_thousand_need",
            "cgn_user::policy::sizing::tests::places_share_subscribers_and_round_up_each_by_itself",
        ],
    ),
    not_met("SEED-11", "redundancy", LATER),
    met_by(
        "SEED-12",
        "VPNs by UDP and TCP: IPsec with NAT traversal, WireGuard, OpenVPN; ESP, GRE and so PPTP are optional, refused and counted",
        &[
            "scenarios::tunnels::ipsec::ipsec_of_two_households_with_nat_traversal",
            "scenarios::tunnels::wireguard_of_two_households_lives_through_silence_and_a_new_address",
            "scenarios::tunnels::openvpn_by_udp_and_by_tcp",
        ],
    ),
    not_met(
        "SEED-13",
        "peer to peer",
        "BitTorrent by DHT and uTP seeds to neighbours and strangers (scenarios::torrent); there is no PCP for clients that ask for a port",
    ),
    not_met(
        "SEED-14",
        "SIP",
        "two behind one address call each other by STUN (scenarios::calls; the registrar is a model of ours); ICE is not tried, and there is no gateway",
    ),
    met_by(
        "SEED-15",
        "WebSockets: with pings for 24 hours and on, without for 7,440 s",
        &[
            "scenarios::idle::a_websocket_with_pings_lives_for_a_day_and_a_silent_one_as_long_as_it_may",
        ],
    ),
    met_by(
        "SEED-16",
        "ports of a page by HTTP/1.1, HTTP/2 and HTTP/3; QUIC moves to another port, and lives through a lost mapping",
        &[
            "scenarios::pages::ports_of_a_page_by_http_version",
            "scenarios::idle::quic_goes_on_from_another_port_and_after_a_silence",
        ],
    ),
    not_met(
        "SEED-17",
        "fragments between IPv4 and IPv6",
        "no IPv6 transition",
    ),
    met_by(
        "SEED-18",
        "mobile networks: short UDP timers on request; MPTCP's options byte for byte, and a subflow of another subscriber joins",
        &[
            "cgn_user::config::tests::behaviour::the_sweep_is_told_the_timers",
            "scenarios::multipath::mptcp_joins_a_second_subflow_and_its_options_are_untouched",
        ],
    ),
    met_by(
        "SEED-19",
        "tenants by interface or VLAN: equal addresses, own pools (deterministic ones, too), groups, limits, rules, routes and log streams; log, commands and metrics (subscribers, mappings, drops) tell them apart",
        &[
            "e2e::realms::three_hosts_with_one_address_are_three_subscribers",
            "e2e::realms::floods::a_worm_is_limited_in_its_realm_and_named_with_it",
            "e2e::realms::rules::drops_are_counted_for_the_tenant",
        ],
    ),
    met_by(
        "SEED-20",
        "cache poisoning through the CGN: a resolver's ports stay random within its block, and `cgn check` hints at small blocks",
        &[
            "cgn_user::cli::tests::check_names_every_error_and_otherwise_says_what_the_file_provides",
        ],
    ),
    refused(
        "SEED-21",
        "servers log source ports",
        "the servers' affair: see R6302-1",
    ),
    met_by(
        "SEED-22",
        "an overloaded slow path puts new subscribers off in steps, and recovers",
        &[
            "e2e::floods::an_overloaded_slow_path_puts_new_subscribers_off_and_recovers",
            "cgn_user::policy::overload::tests::it_falls_in_steps_and_recovers_in_steps",
        ],
    ),
];
