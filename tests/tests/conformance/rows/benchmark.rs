//! RFC 9693 and the ladder of FD.io.

use crate::registry::{Row, not_met};

const OTHER_BENCH: &str = "`cargo xtask bench` measures a packet's price, not by this method yet";

pub const RFC9693: &[Row] = &[
    not_met("R9693-1", "connections per second", OTHER_BENCH),
    not_met("R9693-2", "throughput, loss, latency", OTHER_BENCH),
    not_met("R9693-3", "tear-down", OTHER_BENCH),
    not_met("R9693-4", "capacity of the table", OTHER_BENCH),
    not_met("R9693-5", "scaling with sessions", OTHER_BENCH),
    not_met("R9693-6", "scaling with processors", OTHER_BENCH),
    not_met("R9693-7", "many addresses", OTHER_BENCH),
    not_met("R9693-8", "report", OTHER_BENCH),
    not_met("CSIT-1", "the sessions of FD.io's ladder", OTHER_BENCH),
];
