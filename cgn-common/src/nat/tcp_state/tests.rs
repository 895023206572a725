//! Every pair of state and event, against RFC 7857 figure 1 as it is drawn
//! there, arrow by arrow, and against what we say where it draws none.

use super::*;
use Direction::{Inbound, Outbound};
use SlotState::{
    TcpClosing as Both, TcpEstablished as Est, TcpInit as Init, TcpInsideFin as ClientFin,
    TcpOutsideFin as ServerFin, TcpTransitory as Trans,
};

const STATES: [SlotState; 6] = [Init, Est, ClientFin, ServerFin, Both, Trans];

/// What may happen: a sentence, the direction, the flags as in the header.
const EVENTS: [(&str, Direction, u8); 9] = [
    ("client SYN", Outbound, 0x02),
    ("client SYN+ACK", Outbound, 0x12),
    ("server SYN", Inbound, 0x02),
    ("client FIN", Outbound, 0x11),
    ("server FIN", Inbound, 0x11),
    ("client RST", Outbound, 0x04),
    ("server RST", Inbound, 0x14),
    ("client data", Outbound, 0x18),
    ("server data", Inbound, 0x10),
];

/// The arrows of the figure between states of a mapping that exists (those to
/// and from CLOSED are timers and `first`), and REQ-2a of RFC 5382: after a
/// SYN from either side the connection is open.
const FIGURE: [(SlotState, &str, SlotState); 9] = [
    (Init, "server SYN", Est),
    (Est, "client FIN", ClientFin),
    (Est, "server FIN", ServerFin),
    (ClientFin, "server FIN", Both),
    (ServerFin, "client FIN", Both),
    (Est, "client RST", Trans),
    (Est, "server RST", Trans),
    (Trans, "client data", Est),
    (Trans, "server data", Est),
];

/// Changes of state that the figure does not draw, with the reason.
const OURS: [(SlotState, &str, SlotState, &str); 11] = [
    (
        Init,
        "client SYN+ACK",
        Est,
        "it answers a SYN that was let in",
    ),
    (
        Trans,
        "client SYN+ACK",
        Est,
        "it answers a SYN that was let in",
    ),
    (Both, "client SYN", Init, "the port is used again"),
    (Trans, "client SYN", Init, "the port is used again"),
    (Both, "client SYN+ACK", Est, "a connection from outside"),
    (Trans, "client FIN", ClientFin, "it lived on, and closes"),
    (Trans, "server FIN", ServerFin, "it lived on, and closes"),
    (
        ClientFin,
        "client RST",
        Trans,
        "the other FIN will not come",
    ),
    (
        ClientFin,
        "server RST",
        Trans,
        "the other FIN will not come",
    ),
    (
        ServerFin,
        "client RST",
        Trans,
        "the other FIN will not come",
    ),
    (
        ServerFin,
        "server RST",
        Trans,
        "the other FIN will not come",
    ),
];

/// What every pair must lead to: an arrow, or the same state.
fn wanted(state: SlotState, event: &str) -> SlotState {
    let drawn = FIGURE.iter().map(|(from, what, to)| (from, what, to));
    let ours = OURS.iter().map(|(from, what, to, _)| (from, what, to));
    drawn
        .chain(ours)
        .find(|(from, what, _)| **from == state && **what == event)
        .map_or(state, |(_, _, to)| *to)
}

#[test]
fn every_state_and_event_is_an_arrow_of_rfc_7857_figure_1_or_stays() {
    for state in STATES {
        for (event, direction, flags) in EVENTS {
            assert_eq!(
                SlotState::from_bits(next(state as u64, direction, flags) as u8),
                wanted(state, event),
                "{state:?}, {event}"
            );
        }
    }
}

#[test]
fn any_combination_of_flags_leads_to_a_live_tcp_state() {
    for state in STATES {
        for flags in 0..=u8::MAX {
            for direction in [Outbound, Inbound] {
                let after = next(state as u64, direction, flags);
                assert!(
                    STATES.iter().any(|known| *known as u64 == after),
                    "{state:?} {direction:?} {flags:#x} leads to {after}"
                );
            }
        }
    }
}

#[test]
fn a_reset_counts_as_a_reset_whatever_else_is_set() {
    for extra in [0x02, 0x01, 0x03, 0x10] {
        assert_eq!(next(Est as u64, Inbound, 0x04 | extra), Trans as u64);
    }
}

/// Flags of the segment; the state of a mapping that it opens, where segments
/// in mid-stream may, and where not; the state of a further session.
const OPENINGS: [(&str, u8, SlotState, SlotState, SlotState); 8] = [
    ("SYN", 0x02, Init, Init, Init),
    ("SYN with data and PSH", 0x0a, Init, Init, Init),
    ("SYN of ECN (RFC 3168)", 0xc2, Init, Init, Init),
    ("SYN+ACK", 0x12, Trans, SlotState::Free, Est),
    ("data", 0x18, Trans, SlotState::Free, Trans),
    ("FIN", 0x11, Trans, SlotState::Free, Trans),
    (
        "RST",
        0x04,
        SlotState::Free,
        SlotState::Free,
        SlotState::Free,
    ),
    (
        "SYN+RST",
        0x06,
        SlotState::Free,
        SlotState::Free,
        SlotState::Free,
    ),
];

#[test]
fn what_a_first_segment_opens() {
    for (what, flags, lenient, strict, further) in OPENINGS {
        assert_eq!(first(flags, true), lenient as u64, "{what}");
        assert_eq!(first(flags, false), strict as u64, "{what}");
        assert_eq!(first_of_further(flags), further as u64, "{what}");
    }
}
