//! RFC 9693 and the ladder of FD.io.

use crate::registry::{Row, met_by, not_met};

/// A small run of `cargo xtask bench rfc9693`, with validation of every connection.
const SMALL_RUN: &[&str] = &["bench::the_tests_of_rfc_9693_validate_every_connection"];
/// The same with the loss over the offered rate.
const KNOWN_SESSIONS: &[&str] = &[
    "bench::the_tests_of_rfc_9693_validate_every_connection",
    "bench::the_loss_over_the_offered_rate_is_what_is_lost",
];
/// Small runs of denser hosts.
const DENSE: &[&str] = &["bench::dense_subscribers_are_validated_too"];

pub const RFC9693: &[Row] = &[
    met_by("R9693-1", "connections per second", SMALL_RUN),
    met_by("R9693-2", "throughput, loss, latency", KNOWN_SESSIONS),
    met_by("R9693-3", "tear-down", SMALL_RUN),
    met_by("R9693-4", "capacity of the table", SMALL_RUN),
    met_by("R9693-5", "scaling with sessions", SMALL_RUN),
    not_met(
        "R9693-6",
        "scaling with processors",
        "the rig has one queue, and was not run on more than two processors",
    ),
    met_by("R9693-7", "many addresses", SMALL_RUN),
    met_by("R9693-8", "report", SMALL_RUN),
    met_by("CSIT-1", "the sessions of FD.io's ladder", DENSE),
];
