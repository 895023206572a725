//! Whose a packet is, where there are several realms: the fast path's filters know addresses, which several
//! subscribers may have.

use std::net::Ipv4Addr;
use std::sync::Arc;

use cgn_common::realm::NOBODY;
use cgn_common::watch::{Ends, Filter};

use crate::api::view::View;
use crate::slowpath::unsolicited::read;
use crate::state::State;
use crate::watch::frames::Sides;
use crate::watch::seen::{Path, Seen};

/// The subscribers of a mirror.
pub struct Whose {
    state: Arc<State>,
    /// Number of their realm.
    realm: u8,
    filter: Filter,
}

/// Realm, address and port of a subscriber's end.
type Near = (u8, u32, u16);

impl Whose {
    /// Those of the realm with this name that fit the filter; `None` where there is one realm, and the filter
    /// says it all.
    #[must_use]
    pub fn of(state: &Arc<State>, realm: &str, filter: Filter) -> Option<Self> {
        let realms = &state.geometry.realms;
        let realm = realms.number_of(realm).unwrap_or(NOBODY);
        (realms.count() > 1).then(|| Self {
            state: Arc::clone(state),
            realm,
            filter,
        })
    }

    /// True for a packet from one of them or to one. By the interface and VLANs inside, if it was or is there;
    /// else by who has the external port.
    #[must_use]
    pub fn has(&self, seen: &Seen, sides: &Sides) -> bool {
        let ends = |frame: &[u8]| read(frame, |frame| Ends::of(frame)).unwrap_or_default();
        let (came, left) = (ends(&seen.came), ends(&seen.left));
        let from = sides.realm(seen.ingress, &seen.came);
        let to = sides.realm(seen.egress, &seen.left);
        let from = from.map(|realm| (realm, came.source, came.source_port));
        let to = to.map(|realm| (realm, left.destination, left.destination_port));
        let is_inside = from.is_some() || to.is_some();
        let external = match seen.path {
            Path::Fast => (came.destination, came.destination_port),
            Path::Slow => (left.source, left.source_port),
        };
        let owner = (!is_inside).then(|| self.owner(external)).flatten();
        let mut all = [from, to, owner].into_iter().flatten();
        all.any(|near| self.is_one(near))
    }

    /// Which of his ports it was is not known.
    fn owner(&self, (external, port): (u32, u16)) -> Option<Near> {
        let (memory, geometry) = (&*self.state.memory, &self.state.geometry);
        let key = View { memory, geometry }.owner(Ipv4Addr::from_bits(external), port)?;
        let who = geometry.realms.who(key);
        Some((who.number, who.address.to_bits(), 0))
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
