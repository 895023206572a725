//! Whose a packet is, where there are several realms: the fast path's filters know addresses, which several
//! subscribers may have.

use std::net::Ipv4Addr;
use std::sync::Arc;

use cgn_common::watch::{Ends, Filter};

use crate::api::view::View;
use crate::slowpath::unsolicited::read;
use crate::state::State;
use crate::watch::frames::Sides;
use crate::watch::seen::{Path, Seen};
use crate::wiring::Wiring;

/// Tells the subscribers of packets apart.
pub struct Owners {
    state: Arc<State>,
    sides: Sides,
}

/// Realm, address and port of a subscriber's end.
type Near = (u8, u32, u16);

impl Owners {
    /// `None` where there is one realm, and an address says it all.
    #[must_use]
    pub fn of(state: &Arc<State>, wiring: &Wiring) -> Option<Self> {
        (state.geometry.realms.count() > 1).then(|| Self {
            state: Arc::clone(state),
            sides: Sides::new(wiring),
        })
    }

    /// Name of the realm that a packet is of, empty for the first; of one between two subscribers, the
    /// sender's. `None`: it is nobody's.
    #[must_use]
    pub fn realm_of(&self, seen: &Seen) -> Option<&str> {
        let (realm, ..) = self.subscribers(seen).next()?;
        let names = self.state.geometry.realms.names();
        names.get(usize::from(realm)).map(String::as_str)
    }

    /// Those who sent a packet or are to get it: by the interface and VLANs inside, if it was or is there; else
    /// by who has the external port.
    fn subscribers(&self, seen: &Seen) -> impl Iterator<Item = Near> {
        let ends = |frame: &[u8]| read(frame, |frame| Ends::of(frame)).unwrap_or_default();
        let (came, left) = (ends(&seen.came), ends(&seen.left));
        let from = self.sides.realm(seen.ingress, &seen.came);
        let to = self.sides.realm(seen.egress, &seen.left);
        let from = from.map(|realm| (realm, came.source, came.source_port));
        let to = to.map(|realm| (realm, left.destination, left.destination_port));
        let is_inside = from.is_some() || to.is_some();
        let external = match seen.path {
            Path::Fast => (came.destination, came.destination_port),
            Path::Slow => (left.source, left.source_port),
        };
        let owner = (!is_inside).then(|| self.owner(external)).flatten();
        [from, to, owner].into_iter().flatten()
    }

    /// Which of his ports it was is not known.
    fn owner(&self, (external, port): (u32, u16)) -> Option<Near> {
        let (memory, geometry) = (&*self.state.memory, &self.state.geometry);
        let key = View { memory, geometry }.owner(Ipv4Addr::from_bits(external), port)?;
        let who = geometry.realms.who(key);
        Some((who.number, who.address.to_bits(), 0))
    }
}

/// The subscribers of one realm that a filter is for.
#[derive(Clone, Copy, Debug)]
pub struct Whose {
    /// Number of their realm.
    pub realm: u8,
    pub filter: Filter,
}

impl Whose {
    /// True for a packet from one of them or to one.
    #[must_use]
    pub fn has(&self, owners: &Owners, seen: &Seen) -> bool {
        owners.subscribers(seen).any(|near| self.is_one(near))
    }

    fn is_one(&self, (realm, address, port): Near) -> bool {
        let Filter {
            inside,
            inside_mask,
            inside_port,
            ..
        } = self.filter;
        realm == self.realm
            && (address ^ inside) & inside_mask == 0
            && (inside_port == 0 || inside_port == port)
    }
}
