//! How packets come in, and where the kernel's routes are told: what one must know
//! beside the tables to run the translator on a packet that has not come.

use std::collections::HashMap;
use std::sync::Arc;

use cgn_common::layout::{Role, Side};
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
    /// Number of the realm that it leads to, inside.
    pub realm: u8,
    /// VLAN ids of its packets, outermost first.
    pub tags: Vec<u16>,
}

/// All ways, and the routes.
#[derive(Clone, Debug)]
pub struct Wiring {
    pub ways: Vec<Way>,
    /// What VLANs are to us, as the translator asks for them.
    pub vlans: HashMap<(u32, [u16; 2]), Role>,
    /// The kernel's routes.
    pub fib: watch::Receiver<Arc<Fib>>,
}

impl Wiring {
    /// The first way from this side, of a realm.
    #[must_use]
    pub fn from(&self, side: Side, realm: u8) -> Option<&Way> {
        let mut ways = self.ways.iter();
        ways.find(|way| (way.side, way.realm) == (side, realm))
    }
}
