//! The slow path: packets that XDP punted through AF_XDP.
//!
//! [`rings`] is the I/O; [`process`] says what happens to one packet;
//! [`waiting`] keeps those whose next hop is not known yet, [`fragments`] those whose
//! datagram is not known yet; [`split`] makes fragments; [`answers`] tells senders of
//! the end of their packets, of a SYN that nobody waited for after the time in
//! [`unsolicited`].

pub mod answers;
pub mod fragments;
pub mod process;
pub mod rings;
pub mod split;
pub mod unsolicited;
pub mod waiting;
