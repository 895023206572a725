//! TCP connection tracking, RFC 7857 section 2, as one pure function.
//!
//! It only decides how long an idle mapping lives; no packet is dropped for
//! its flags. A blind RST therefore does no more than start the transitory
//! timer, and the next segment of the real connection undoes it.

use crate::layout::SlotState;
use crate::verdict::Direction;
use crate::wire::transport::flag;

/// State after a segment with `flags` in `direction`. `state` is the number
/// of a live TCP [`SlotState`].
#[inline(always)]
#[must_use]
pub const fn next(state: u64, direction: Direction, flags: u8) -> u64 {
    const INIT: u64 = SlotState::TcpInit as u64;
    const ESTABLISHED: u64 = SlotState::TcpEstablished as u64;
    const INSIDE_FIN: u64 = SlotState::TcpInsideFin as u64;
    const OUTSIDE_FIN: u64 = SlotState::TcpOutsideFin as u64;
    const CLOSING: u64 = SlotState::TcpClosing as u64;
    const TRANSITORY: u64 = SlotState::TcpTransitory as u64;

    let outbound = matches!(direction, Direction::Outbound);
    // The common segment of an established connection first.
    if flags & (flag::SYN | flag::FIN | flag::RST) == 0 {
        return match state {
            // Any segment of a connection that was given up restores it.
            TRANSITORY => ESTABLISHED,
            // Without a SYN from outside the connection is not open yet.
            _ => state,
        };
    }
    if flags & flag::RST != 0 {
        return TRANSITORY;
    }
    if flags & flag::SYN != 0 {
        return match (state, outbound) {
            (INIT, false) => ESTABLISHED,
            (CLOSING | TRANSITORY, true) => INIT,
            (TRANSITORY, false) => ESTABLISHED,
            _ => state,
        };
    }
    match (state, outbound) {
        (OUTSIDE_FIN, true) | (INSIDE_FIN, false) => CLOSING,
        (CLOSING | INSIDE_FIN | OUTSIDE_FIN, _) => state,
        (_, true) => INSIDE_FIN,
        (_, false) => OUTSIDE_FIN,
    }
}

/// State of a new mapping whose first segment, from inside, has `flags`. A
/// segment in mid-stream (the NAT was restarted, say) opens one, too: an
/// established flow must survive.
#[inline(always)]
#[must_use]
pub const fn first(flags: u8) -> SlotState {
    if flags & (flag::SYN | flag::RST) == flag::SYN {
        SlotState::TcpInit
    } else {
        SlotState::TcpTransitory
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Inbound, Outbound};
    use SlotState::{
        TcpClosing as Closing, TcpEstablished as Est, TcpInit as Init, TcpInsideFin as InFin,
        TcpOutsideFin as OutFin, TcpTransitory as Trans,
    };

    #[test]
    fn every_state_and_event_of_rfc_7857_section_2() {
        const S: u8 = flag::SYN;
        const F: u8 = flag::FIN;
        const R: u8 = flag::RST;
        // state, then the state after: SYN out, SYN in, FIN out, FIN in, RST out, RST in, data out, data in
        let table = [
            (Init, [Init, Est, InFin, OutFin, Trans, Trans, Init, Init]),
            (Est, [Est, Est, InFin, OutFin, Trans, Trans, Est, Est]),
            (
                InFin,
                [InFin, InFin, InFin, Closing, Trans, Trans, InFin, InFin],
            ),
            (
                OutFin,
                [
                    OutFin, OutFin, Closing, OutFin, Trans, Trans, OutFin, OutFin,
                ],
            ),
            (
                Closing,
                [
                    Init, Closing, Closing, Closing, Trans, Trans, Closing, Closing,
                ],
            ),
            (Trans, [Init, Est, InFin, OutFin, Trans, Trans, Est, Est]),
        ];
        let events = [
            (Outbound, S),
            (Inbound, S),
            (Outbound, F),
            (Inbound, F),
            (Outbound, R),
            (Inbound, R),
            (Outbound, 0x10),
            (Inbound, 0x10),
        ];
        for (state, after) in table {
            for ((direction, flags), expected) in events.into_iter().zip(after) {
                assert_eq!(
                    next(state as u64, direction, flags),
                    expected as u64,
                    "{state:?} {direction:?} {flags:#x}"
                );
            }
        }
    }

    #[test]
    fn a_syn_opens_and_anything_else_is_mid_stream() {
        assert_eq!(first(flag::SYN), Init);
        assert_eq!(first(0x10), Trans);
        assert_eq!(first(flag::RST), Trans);
        assert_eq!(first(flag::SYN | flag::RST), Trans);
    }
}
