//! The slow path: packets that XDP punted through AF_XDP.
//!
//! [`rings`] is the I/O; [`process`] says what happens to one packet;
//! [`answers`] tells senders of the end of their packets;
//! [`waiting`] keeps those whose next hop is not known yet.

pub mod answers;
pub mod process;
pub mod rings;
pub mod waiting;
