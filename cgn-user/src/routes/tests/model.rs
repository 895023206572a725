//! A naive model of the kernel's look-up: a list of routes, scanned whole for each address.

use std::net::Ipv4Addr;

use crate::routes::*;

/// The routes in the order of their placement.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) routes: Vec<Route>,
}

/// What the routes say, before links and neighbours come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    NoRoute,
    Ask,
    Route(RouteKind, Vec<Path>, Option<u32>),
}

fn equals(a: &Route, b: &Route) -> bool {
    (a.dst, a.table, a.tos, a.metric) == (b.dst, b.table, b.tos, b.metric)
}

impl Model {
    pub(super) fn add(&mut self, route: Route, placement: Placement) {
        if self.routes.contains(&route) {
            return;
        }
        let first = self.routes.iter().position(|other| equals(other, &route));
        match (placement, first) {
            (Placement::Replace, Some(first)) => self.routes[first] = route,
            (Placement::First, Some(first)) => self.routes.insert(first, route),
            _ => self.routes.push(route),
        }
    }

    pub(super) fn remove(&mut self, route: &Route) -> bool {
        let place = self.routes.iter().position(|other| other == route);
        place.map(|place| self.routes.remove(place)).is_some()
    }

    pub(super) fn look_up(&self, address: Ipv4Addr) -> Answer {
        let is_fallback = |route: &&Route| route.table == Table::Default;
        let (second, first): (Vec<_>, Vec<_>) = self
            .routes
            .iter()
            .filter(|route| route.dst.contains(address))
            .partition(is_fallback);
        let second = best(&second);
        match best(&first) {
            Answer::NoRoute => second,
            Answer::Route(
                RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit,
                _,
                _,
            ) if second != Answer::NoRoute => Answer::Ask,
            first => first,
        }
    }
}

fn best(covering: &[&Route]) -> Answer {
    let Some(len) = covering.iter().map(|route| route.dst.bits()).max() else {
        return Answer::NoRoute;
    };
    let (longest, shorter): (Vec<&Route>, Vec<&Route>) =
        covering.iter().partition(|route| route.dst.bits() == len);
    // Stable: among equals the order of the list.
    let mut longest = longest;
    longest.sort_by_key(|route| (route.table, route.tos, route.metric));
    let chosen = longest[0];
    let in_local = shorter.iter().any(|route| route.table == Table::Local);
    if longest.iter().any(|route| route.tos != 0)
        || (in_local && chosen.table != Table::Local)
        || chosen.kind == RouteKind::KernelOnly
    {
        return Answer::Ask;
    }
    match chosen.kind {
        RouteKind::Throw => Answer::NoRoute,
        kind => Answer::Route(kind, chosen.paths.clone(), chosen.mtu),
    }
}
