//! The mapping log and its streams.

use crate::registry::{Row, met_by, not_met, refused};

const NO_STREAM: &str = "the log is a local file; no IPFIX yet";
const LOCAL: &str = "the log is a local file";

pub const ATTRIBUTION: &[Row] = &[
    not_met(
        "R6302-1",
        "our own services record source ports",
        "the API listens on a local socket; metrics do not log requests",
    ),
    not_met(
        "R6302-2",
        "time stamps right to a second, traceable",
        "milliseconds of UTC, but nobody asks whether the clock is synchronised",
    ),
    met_by(
        "R6302-3",
        "all transport protocols are told apart (a block has all three)",
        &["e2e::flows::several_subscribers_at_once"],
    ),
    not_met(
        "R6302-4",
        "who had this port, ambiguity told",
        "the log is readable; there is no query command yet",
    ),
];

pub const IPFIX: &[Row] = &[
    not_met("R8158-1", "information elements", NO_STREAM),
    not_met("R8158-2", "historic event codes are not sent", NO_STREAM),
    not_met("R8158-3", "mandatory fields", NO_STREAM),
    not_met("R8158-4", "block events with start and end", NO_STREAM),
    refused(
        "R8158-5",
        "adjacent blocks in one record",
        "section 4.6.10 is a MAY",
    ),
    not_met(
        "R8158-6",
        "exhaustion events are limited in rate",
        NO_STREAM,
    ),
    not_met("R8158-7", "not both BIB and session events", NO_STREAM),
    not_met(
        "R8158-8",
        "observation domains, several collectors",
        NO_STREAM,
    ),
    not_met("R8158-9", "events can be suppressed", NO_STREAM),
    not_met("R8158-10", "loss of log records is seen", NO_STREAM),
    not_met("R7011-1", "message header", NO_STREAM),
    not_met("R7011-2", "sequence numbers", NO_STREAM),
    not_met("R7011-3", "templates over UDP", NO_STREAM),
    not_met("R7011-4", "messages within the path MTU", NO_STREAM),
    not_met("R7011-5", "template numbers", NO_STREAM),
    not_met("R7011-6", "export over TCP", NO_STREAM),
];

pub const TEXT_LOGS: &[Row] = &[
    not_met("LOG-1", "interim records of a block", LOCAL),
    not_met("LOG-2", "syslog of RFC 5424", LOCAL),
    not_met("LOG-3", "identity of the subscriber", LOCAL),
    not_met("LOG-4", "retention and tamper evidence", LOCAL),
    not_met(
        "LOG-5",
        "volume against a log of sessions",
        "not measured yet",
    ),
    not_met("LOG-6", "a sheet for sizing", "not written yet"),
];
