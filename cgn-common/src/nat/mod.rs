//! The steps of the packet's way: where a mapping stands, how one is found,
//! opened and rewritten into the packet.

pub mod class;
pub mod fragment;
pub mod home;
pub mod lookup;
pub mod mss;
pub mod next_hop;
pub mod open;
pub mod place;
pub mod ports;
pub mod preference;
pub mod quota;
pub mod rewrite;
pub mod scatter;
pub mod search;
pub mod session;
pub mod tcp_state;
pub mod throttle;
pub mod walk;
