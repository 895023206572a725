//! How packets come in, and where the kernel's routes are told: what one must know
//! beside the tables to run the translator on a packet that has not come.

use std::collections::HashMap;
use std::sync::Arc;

use cgn_common::layout::Side;
use cgn_common::path::Entry;
use tokio::sync::watch;

use crate::routes::Fib;

/// An interface, or one VLAN of it, that leads to one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    pub interface: String,
    pub ifindex: u32,
    /// Program that its packets begin in.
    pub entry: Entry,
    pub side: Side,
    /// VLAN ids of its packets, outermost first.
    pub tags: Vec<u16>,
}

/// All ways, and the routes.
#[derive(Clone, Debug)]
pub struct Wiring {
    pub ways: Vec<Way>,
    /// Sides by interface and VLANs, as the translator asks for them.
    pub vlans: HashMap<(u32, [u16; 2]), Side>,
    /// The kernel's routes.
    pub fib: watch::Receiver<Arc<Fib>>,
}

impl Wiring {
    /// The first way from this side.
    #[must_use]
    pub fn from(&self, side: Side) -> Option<&Way> {
        self.ways.iter().find(|way| way.side == side)
    }
}
