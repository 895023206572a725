//! Names of subscribers by RADIUS accounting (RFC 2866, `[identity]`).
//!
//! Access servers tell who has which inside address. A request is answered when what it says is on record, and
//! not before: then it is sent again. Nothing here is on a packet's way.
//!
//! * `packet`: the bytes. Pure. * `meaning`: what they say. Pure. * `desk`: what that changes. Pure.
//! * `listener`: the socket, and the thread that waits for the log.

mod desk;
mod listener;
mod meaning;
mod packet;
#[cfg(test)]
mod tests;

pub use desk::{Desk, Outcome};
pub use listener::Listener;
pub use meaning::{Request, Status};
