//! Follows the kernel's links, addresses, routes, rules and neighbours over netlink, and keeps
//! next hops resolved. What it hears it gives to [`crate::routes`], which decides.
//!
//! | file | what it has |
//! |---|---|
//! | `follow` | [`Follower`]: the thread and what others may ask of it |
//! | `session`, `due` | what to do when: take in news, dump, publish, probe |
//! | `dumps` | reading whole tables, and joining them with the news |
//! | `sockets` | the two sockets, dumps and neighbour requests |
//! | `message`, `decode` | from bytes to plain values |
//! | `prober` | how often neighbours are asked for |
//!
//! **No change is lost.** News are followed from before the first dump on. Where the kernel
//! changes routes without a message (a link goes down, an address or a next-hop object goes),
//! the routes are dumped again; when it drops messages because the socket's buffer is full, all
//! is dumped again; and all is dumped again every ten minutes in any case. Until then a link that
//! is down is not used, whatever the routes say.
//!
//! **Neighbours.** XDP sends past the kernel, so the kernel takes neighbours for idle. Gateways
//! of routes on our ports are asked for without waiting for a packet, and neighbours that have a
//! next-hop id and go stale are probed, so that a wrong Ethernet address does not stay. The
//! kernel holds 1,024 neighbours unless net.ipv4.neigh.default.gc_thresh1, 2 and 3 are raised.

mod decode;
mod due;
mod dumps;
mod follow;
mod message;
mod prober;
mod session;
mod sockets;

#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::routes::Networks;

pub use follow::{Follower, Question, Resolver, Status};

/// Why the kernel's tables cannot be followed.
#[derive(Debug, Error)]
pub enum FollowError {
    /// The operating system has no thread left, or no runtime can be made.
    #[error("cannot start the netlink thread")]
    Thread(#[source] io::Error),
    /// No netlink socket.
    #[error("cannot open a netlink socket")]
    Socket(#[source] io::Error),
    /// The kernel said no to a dump.
    #[error("the kernel refused to list its {what}")]
    Dump {
        /// Which table.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The kernel stopped in the middle of an answer.
    #[error("no answer from the kernel about {what} for {after_secs} s")]
    Stalled {
        /// What was asked for.
        what: &'static str,
        /// How long it was waited for, in seconds.
        after_secs: u64,
    },
    /// Reading from the socket failed.
    #[error("the netlink socket failed")]
    Closed,
    /// The thread ended before the first snapshot.
    #[error("the netlink thread ended")]
    Ended,
}

/// Settings of a [`Follower`]; the defaults are right for a router with a full table.
#[derive(Debug, Clone)]
pub struct Options {
    /// Changes within this time make one snapshot.
    pub coalesce: Duration,
    /// All is dumped anew this often.
    pub resync: Duration,
    /// So many neighbours are asked for in a second on behalf of packets, and as many again to
    /// keep known ones fresh.
    pub probes_per_sec: u32,
    /// Receive buffer for news, in bytes; the kernel caps it at net.core.rmem_max.
    pub receive_buffer_bytes: usize,
    /// The next-hop id that is given out before all others.
    pub first_hop_id: u16,
    /// Networks of realms, whose routes are in tables of their own.
    pub networks: Networks,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            coalesce: Duration::from_millis(20),
            resync: Duration::from_secs(600),
            probes_per_sec: 500,
            receive_buffer_bytes: 8 << 20,
            first_hop_id: 1,
            networks: Networks::default(),
        }
    }
}
