//! From the kernel's routes and neighbours to next hops: pure state and look-ups, no I/O and no
//! clock. The `netlink` module feeds it.
//!
//! ```text
//! Change, dumps -> Tracker -> Fib (snapshot) -> resolve    slow path, any address
//!                                            -> summarise  fast path, a next hop per /16
//!                                            -> exact      fast path, single addresses
//! ```
//!
//! | file | what it has |
//! |---|---|
//! | `kernel` | what the kernel tells, as plain values |
//! | `port` | our ports, and which link belongs to which |
//! | `realm` | networks of realms, and by which keys tables know their addresses |
//! | `table`, `action`, `span` | all routes; what they do; the routes of one /16 flattened |
//! | `hop` | next hops and their ids |
//! | `tracker` | all state, kept up to date; makes snapshots |
//! | `fib`, `summary` | a snapshot: look-ups, and the fast path's tables |
//!
//! **Order of writing to the data plane**, so that no packet goes to a wrong neighbour: the new
//! and changed next hops, then the /16 table and the exact entries, then clear the ids that are
//! gone, then say [`Tracker::release`] with the snapshot's generation.
//!
//! **What is followed.** The tables local, main and default, as the kernel's three built-in rules
//! ask them; and for each realm the table that the configuration names, whose answers stand
//! under the keys of its networks ([`Networks`]), whatever the rules are. Any other rule but those for VRFs makes [`Fib::kernel_decides`] true, and so
//! does a port in a VRF, unless its table is that of the port's realm: every /16 is [`MIXED`] and the
//! kernel is asked. Whether an address is the router's own is told by the local table, as for the
//! kernel, and not by the list of addresses: what the kernel does not deliver locally it would
//! forward, untranslated.

mod action;
mod fib;
mod hop;
mod kernel;
mod port;
mod prefix;
mod realm;
mod span;
mod summary;
mod table;
mod tracker;

#[cfg(test)]
mod tests;

pub use fib::{Fib, LostHop, Resolution};
pub use hop::{MAX_HOP_ID, NextHop};
pub use kernel::{
    Address, Change, Link, Neighbour, NeighbourState, Path, Placement, Route, RouteKind, Table,
};
pub use port::{Port, Side};
pub use prefix::{Prefix, PrefixError};
pub use realm::{Network, Networks};
pub use summary::{Exact, ExactTable, exact, summarise};
pub use table::RouteTable;
pub use tracker::{Probe, Tracker};

/// In the /16 table: the addresses of this /16 do not share one next hop.
pub const MIXED: u16 = 0;
