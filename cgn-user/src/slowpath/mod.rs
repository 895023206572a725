//! The slow path: packets that XDP punted through AF_XDP.
//!
//! [`rings`] is the I/O; [`process`] says what happens to one packet;
//! [`waiting`] keeps those whose next hop is not known yet.

pub mod process;
pub mod rings;
pub mod waiting;
