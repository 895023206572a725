//! TCP connection tracking, RFC 7857 section 2, as one table.
//!
//! It only decides how long an idle session lives; no packet is dropped for
//! its flags. Sequence numbers are not followed: a blind RST does no more than
//! start the transitory timer, and the next segment of the real connection
//! undoes it (section 2.2 asks for either the check or the wait).
//!
//! Where the RFC's figure says nothing, the table does what keeps a connection
//! that lives, and gives the port of one that is over back in time:
//!
//! * SYN from inside after both FINs or a RST: the port is used again, and
//!   else an idle connection would end after four minutes;
//! * SYN+ACK from inside answers a SYN from outside that was let in: the
//!   connection is open, though the figure knows only those opened from inside;
//! * FIN after RST: the connection lived on, and closes;
//! * RST after one FIN: no reason to wait two hours for the other;
//! * anything but a SYN from inside after both FINs: late copies open nothing.

use crate::layout::SlotState;
use crate::verdict::Direction;
use crate::wire::transport::flag;

/// States after one event, a number of 4 bits for each state before.
type Row = u64;

/// The row of an event, from the states after it: of init, established, FIN
/// from inside, FIN from outside, FIN from both, transitory.
const fn row(after: [SlotState; 6]) -> Row {
    let mut row = 0;
    let mut at = 0;
    while at < after.len() {
        row |= (after[at] as u64) << (4 * (at as u64 + SlotState::TcpInit as u64));
        at += 1;
    }
    row
}

#[rustfmt::skip]
mod rows {
    use super::{Row, row};
    use crate::layout::SlotState::{
        TcpClosing as Both, TcpEstablished as Open, TcpInit as Init, TcpInsideFin as InFin,
        TcpOutsideFin as OutFin, TcpTransitory as Trans,
    };
    //                                    Init  Open    InFin   OutFin  Both  Trans
    pub const DATA: Row           = row([Init, Open,   InFin,  OutFin, Both, Open]);
    pub const SYN_OUT: Row        = row([Init, Open,   InFin,  OutFin, Init, Init]);
    pub const SYN_ACK_OUT: Row    = row([Open, Open,   InFin,  OutFin, Open, Open]);
    pub const SYN_IN: Row         = row([Open, Open,   InFin,  OutFin, Both, Trans]);
    pub const FIN_OUT: Row        = row([Init, InFin,  InFin,  Both,   Both, InFin]);
    pub const FIN_IN: Row         = row([Init, OutFin, Both,   OutFin, Both, OutFin]);
    pub const RST: Row            = row([Init, Trans,  Trans,  Trans,  Both, Trans]);
}

/// State after a segment with `flags` in `direction`. `state` is the number
/// of a live TCP [`SlotState`].
#[inline(always)]
#[must_use]
pub const fn next(state: u64, direction: Direction, flags: u8) -> u64 {
    let row = if flags & (flag::SYN | flag::FIN | flag::RST) == 0 {
        // The common segment of an established connection first.
        rows::DATA
    } else {
        begin_or_end(direction, flags)
    };
    row >> (4 * state) & 0xf
}

/// Row of a segment that begins or ends a connection.
#[inline(always)]
const fn begin_or_end(direction: Direction, flags: u8) -> Row {
    let outbound = matches!(direction, Direction::Outbound);
    if flags & flag::RST != 0 {
        rows::RST
    } else if flags & flag::SYN == 0 {
        if outbound {
            rows::FIN_OUT
        } else {
            rows::FIN_IN
        }
    } else if !outbound {
        rows::SYN_IN
    } else if flags & flag::ACK != 0 {
        rows::SYN_ACK_OUT
    } else {
        rows::SYN_OUT
    }
}

/// True for segments that keep no mapping alive, unless they change its state:
/// a RST may be an answer to whoever tries the port (RFC 7857 section 7.1).
#[inline(always)]
#[must_use]
pub const fn is_answer(flags: u8) -> bool {
    flags & flag::RST != 0
}

/// State (its number) of a new mapping whose first segment, from inside, has `flags`;
/// `Free` if it must not open one. A segment in mid-stream opens one if
/// `midstream`: after a loss of state an established flow goes on. A RST opens
/// none: it ends a connection that is not there.
#[inline(always)]
#[must_use]
pub const fn first(flags: u8, midstream: bool) -> u64 {
    // By arithmetic: of a branch for each, the verifier would follow all to the end.
    const MIDSTREAM: Row = openings(SlotState::TcpTransitory);
    const STRICT: Row = openings(SlotState::Free);
    let row = if midstream { MIDSTREAM } else { STRICT };
    row >> (4 * opening(flags)) & 0xf
}

/// SYN, RST and ACK of the flags, as a number of three bits in this order.
const fn opening(flags: u8) -> u32 {
    (flags >> 1 & 3 | flags >> 2 & 4) as u32
}

/// The row of [`first`], by [`opening`], where mid-stream leads to `midstream`.
const fn openings(midstream: SlotState) -> Row {
    let mut row = 0;
    let mut at: u32 = 0;
    while at < 8 {
        let state = match at {
            1 => SlotState::TcpInit,
            _ if at & 2 != 0 => SlotState::Free,
            _ => midstream,
        };
        row |= (state as u64) << (4 * at);
        at += 1;
    }
    row
}

/// State (its number) of a further session whose first segment, from inside, has `flags`,
/// as [`first`]; but a SYN+ACK answers a SYN that an existing mapping let in.
#[inline(always)]
#[must_use]
pub const fn first_of_further(flags: u8) -> u64 {
    match flags & (flag::SYN | flag::RST | flag::ACK) {
        ANSWER => SlotState::TcpEstablished as u64,
        _ => first(flags, true),
    }
}
const ANSWER: u8 = flag::SYN | flag::ACK;

#[cfg(test)]
mod tests;
