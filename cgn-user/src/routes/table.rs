//! The route table: all routes in the kernel's order of preference, and the /16s in which
//! something changed.

use std::collections::BTreeMap;

use super::action::{Action, ActionId, Actions, KERNEL_ONLY, NO_ROUTE};
use super::kernel::{Placement, Route, RouteKind, Table};
use super::prefix::Prefix;
use super::realm::{Network, Networks};
use super::span::{Best, Cover, Segment, Span, flatten, overlay};

/// The order in which the kernel prefers the routes of one prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    prefix: Prefix,
    /// Local before main.
    table: Table,
    tos: u8,
    metric: u32,
    /// Place among those that are equal up to here.
    place: i32,
}

impl Key {
    fn lowest(prefix: Prefix, table: Table) -> Self {
        Key {
            prefix,
            table,
            tos: 0,
            metric: 0,
            place: i32::MIN,
        }
    }

    fn highest(prefix: Prefix, table: Table) -> Self {
        Key {
            prefix,
            table,
            tos: u8::MAX,
            metric: u32::MAX,
            place: i32::MAX,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    action: ActionId,
    fingerprint: u32,
}

/// Prefixes of up to this length cover whole /16s.
const COVER_BITS: u8 = 16;

/// Tables that are looked up as one.
#[derive(Default)]
struct Layer {
    /// Up to [`COVER_BITS`]; apart from the rest because they are walked for every change.
    short: BTreeMap<Key, Entry>,
    long: BTreeMap<Key, Entry>,
}

impl Layer {
    fn half(&self, prefix: Prefix) -> &BTreeMap<Key, Entry> {
        if prefix.bits() <= COVER_BITS {
            &self.short
        } else {
            &self.long
        }
    }

    fn half_mut(&mut self, prefix: Prefix) -> &mut BTreeMap<Key, Entry> {
        if prefix.bits() <= COVER_BITS {
            &mut self.short
        } else {
            &mut self.long
        }
    }

    fn is_empty(&self) -> bool {
        self.short.is_empty() && self.long.is_empty()
    }

    fn len(&self) -> usize {
        self.short.len() + self.long.len()
    }

    /// What the short prefixes say of each of `spans`, which must be in order. One pass: a
    /// change of the default route touches all /16s.
    fn covers(&self, spans: &[u16], actions: &Actions) -> Vec<Cover> {
        let last = Prefix::masked(u32::MAX, 32);
        let mut routes = best_routes(&self.short, Prefix::ALL, last, actions).peekable();
        // The prefixes around the current place, each with its last address.
        let mut around: Vec<(u32, Cover)> = vec![(u32::MAX, Cover::NOTHING)];
        let innermost = |around: &mut Vec<(u32, Cover)>, address: u32| {
            while around.pop_if(|(last, _)| *last < address).is_some() {}
            around.last().map_or(Cover::NOTHING, |(_, cover)| *cover)
        };
        let cover = |span: &u16| {
            let address = u32::from(*span) << 16;
            while let Some(best) = routes.next_if(|best| best.prefix.first() <= address) {
                let outer = innermost(&mut around, best.prefix.first());
                around.push((best.prefix.last(), outer.inside(best)));
            }
            innermost(&mut around, address)
        };
        spans.iter().map(cover).collect()
    }

    fn flatten(&self, span: u16, cover: Cover, actions: &Actions) -> Vec<Segment> {
        let first = Prefix::masked(u32::from(span) << 16, COVER_BITS);
        let last = Prefix::masked(first.last(), 32);
        flatten(cover, best_routes(&self.long, first, last, actions))
    }
}

/// The best route of each prefix from `first` to `last`.
fn best_routes(
    routes: &BTreeMap<Key, Entry>,
    first: Prefix,
    last: Prefix,
    actions: &Actions,
) -> impl Iterator<Item = Best> {
    let ends = Key::lowest(first, Table::Local)..=Key::highest(last, Table::Other(u32::MAX));
    let mut rest = routes.range(ends).peekable();
    std::iter::from_fn(move || {
        let (key, entry) = rest.next()?;
        let mut any_tos = key.tos != 0;
        while let Some((other, _)) = rest.next_if(|(other, _)| other.prefix == key.prefix) {
            any_tos |= other.tos != 0;
        }
        let action = match actions.get(entry.action).kind {
            // Which route it is depends on the packet.
            _ if any_tos => KERNEL_ONLY,
            RouteKind::Throw => NO_ROUTE,
            RouteKind::KernelOnly => KERNEL_ONLY,
            _ => entry.action,
        };
        Some(Best {
            prefix: key.prefix,
            action,
            local: key.table == Table::Local,
        })
    })
}

/// All routes of the tables local, main and default, and of those of realms.
#[derive(Default)]
pub struct RouteTable {
    /// The tables local and main; the kernel keeps them in one trie.
    primary: Layer,
    /// The table default.
    fallback: Layer,
    /// By number of the table.
    realms: BTreeMap<u32, Layer>,
    networks: Networks,
    /// What stands for a table that is not followed.
    nothing: Layer,
    actions: Actions,
    dirty: DirtySpans,
}

impl RouteTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one that also has the tables of these networks.
    pub fn of(networks: &Networks) -> Self {
        let layers = networks.all().map(|one| (one.table, Layer::default()));
        RouteTable {
            realms: layers.collect(),
            networks: networks.clone(),
            ..Self::default()
        }
    }

    /// Whether routes of this table are of interest.
    pub fn follows(&self, table: Table) -> bool {
        match table {
            Table::Other(number) => self.realms.contains_key(&number),
            _ => true,
        }
    }

    /// Whether the default route of a realm's table drops, so that the kernel looks in no other table for what
    /// comes by its VRF.
    pub fn is_closed(&self, table: u32) -> bool {
        let mut defaults = self.group(Table::Other(table), Prefix::ALL);
        defaults.next().is_some_and(|(_, action, _)| {
            matches!(
                action.kind,
                RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit
            )
        })
    }

    /// The number of routes.
    pub fn len(&self) -> usize {
        let of_realms = self.realms.values().map(Layer::len);
        self.primary.len() + self.fallback.len() + of_realms.sum::<usize>()
    }

    /// Whether there is no route.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a route, as the kernel does with NLM_F_APPEND, NLM_F_REPLACE or neither. A route that
    /// is there already stays where it is.
    pub fn insert(&mut self, route: &Route, placement: Placement) {
        if !self.follows(route.table) || self.find(route).is_some() {
            return;
        }
        let action = self.actions.acquire(Action::of(route));
        let entry = Entry {
            action,
            fingerprint: route.fingerprint,
        };
        let half = self.layer_mut(route.table).half_mut(route.dst);
        let equals = equals_of(route);
        let mut places = half.range(equals.0..=equals.1).map(|(key, _)| key.place);
        let place = match placement {
            Placement::First => places.next().map_or(0, |place| place.saturating_sub(1)),
            Placement::Replace => places.next().unwrap_or(0),
            Placement::Last => places
                .next_back()
                .map_or(0, |place| place.saturating_add(1)),
        };
        let key = Key { place, ..equals.0 };
        if let Some(replaced) = half.insert(key, entry) {
            self.actions.release(replaced.action);
        }
        self.mark(route.table, route.dst);
    }

    /// Removes a route. False if it is not there, which means that this table and the kernel's
    /// have parted.
    pub fn remove(&mut self, route: &Route) -> bool {
        let Some((key, entry)) = self.find(route) else {
            return false;
        };
        self.layer_mut(route.table).half_mut(route.dst).remove(&key);
        self.actions.release(entry.action);
        self.mark(route.table, route.dst);
        true
    }

    fn find(&self, route: &Route) -> Option<(Key, Entry)> {
        let entry = Entry {
            action: self.actions.find(&Action::of(route))?,
            fingerprint: route.fingerprint,
        };
        let equals = equals_of(route);
        let half = self.layer(route.table).half(route.dst);
        half.range(equals.0..=equals.1)
            .find_map(|(key, found)| (*found == entry).then_some((*key, entry)))
    }

    /// Takes over all routes to `dst` in `table` from `other`, in place of those here. True if
    /// these were different.
    pub(super) fn adopt(&mut self, other: &RouteTable, table: Table, dst: Prefix) -> bool {
        let theirs: Vec<(Key, Action, u32)> = other.group(table, dst).collect();
        let ours: Vec<(Key, Action, u32)> = self.group(table, dst).collect();
        let unplaced = |(key, action, fingerprint): &(Key, Action, u32)| {
            let key = Key { place: 0, ..*key };
            (key, action.clone(), *fingerprint)
        };
        if theirs.iter().map(unplaced).eq(ours.iter().map(unplaced)) {
            return false;
        }
        for (key, ..) in ours {
            if let Some(entry) = self.layer_mut(table).half_mut(dst).remove(&key) {
                self.actions.release(entry.action);
            }
        }
        for (key, action, fingerprint) in theirs {
            let action = self.actions.acquire(action);
            let entry = Entry {
                action,
                fingerprint,
            };
            self.layer_mut(table).half_mut(dst).insert(key, entry);
        }
        self.mark(table, dst);
        true
    }

    /// All routes to `dst` in `table`, in order.
    fn group(&self, table: Table, dst: Prefix) -> impl Iterator<Item = (Key, Action, u32)> {
        let half = self.layer(table).half(dst);
        let ends = Key::lowest(dst, table)..=Key::highest(dst, table);
        half.range(ends).map(|(key, entry)| {
            let action = self.actions.get(entry.action).clone();
            (*key, action, entry.fingerprint)
        })
    }

    /// What all routes do, by action number; `None` for a number that is not in use.
    pub(super) fn actions(&self) -> impl Iterator<Item = Option<&Action>> {
        self.actions.all()
    }

    /// The flattened routes of the /16s whose high 16 bits are `spans`, which must be in order.
    pub(super) fn spans(&self, spans: &[u16]) -> impl Iterator<Item = Span> {
        let primary = self.primary.covers(spans, &self.actions);
        let fallback = self.fallback.covers(spans, &self.actions);
        let covers = primary.into_iter().zip(fallback);
        spans
            .iter()
            .zip(covers)
            .map(|(&span, (primary, fallback))| {
                if let Some(network) = self.networks.of_key(span) {
                    return self.span_of(network);
                }
                let primary = self.primary.flatten(span, primary, &self.actions);
                if self.fallback.is_empty() {
                    return Span::from_segments(primary);
                }
                let fallback = self.fallback.flatten(span, fallback, &self.actions);
                Span::from_segments(overlay(&primary, &fallback, |first, second| {
                    self.either(first, second)
                }))
            })
    }

    /// The flattened routes of a network of a realm.
    fn span_of(&self, network: &Network) -> Span {
        let layer = self.layer(Table::Other(network.table));
        let covers = layer.covers(&[network.address], &self.actions);
        let cover = covers.first().copied().unwrap_or(Cover::NOTHING);
        Span::from_segments(layer.flatten(network.address, cover, &self.actions))
    }

    /// Notes that routes to `dst` changed.
    fn mark(&mut self, table: Table, dst: Prefix) {
        let Table::Other(number) = table else {
            return self.dirty.mark(dst);
        };
        let touched = (dst.first() >> 16) as u16..=(dst.last() >> 16) as u16;
        let networks = self.networks.all().filter(|one| one.table == number);
        for network in networks.filter(|one| touched.contains(&one.address)) {
            self.dirty.mark_span(network.key);
        }
    }

    /// The action when local and main say `first` and default says `second`.
    fn either(&self, first: ActionId, second: ActionId) -> ActionId {
        match self.actions.get(first).kind {
            RouteKind::Throw => second,
            // A kernel that never had a rule of the operator's goes on to the default table here,
            // another one stops.
            RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit
                if second != NO_ROUTE =>
            {
                KERNEL_ONLY
            }
            _ => first,
        }
    }

    /// The /16s that changed since the last call, by their high 16 bits, in order.
    pub(super) fn take_dirty(&mut self) -> Vec<u16> {
        self.dirty.take()
    }

    fn layer(&self, table: Table) -> &Layer {
        match table {
            Table::Local | Table::Main => &self.primary,
            Table::Default => &self.fallback,
            Table::Other(number) => self.realms.get(&number).unwrap_or(&self.nothing),
        }
    }

    fn layer_mut(&mut self, table: Table) -> &mut Layer {
        match table {
            Table::Local | Table::Main => &mut self.primary,
            Table::Default => &mut self.fallback,
            Table::Other(number) => self.realms.get_mut(&number).unwrap_or(&mut self.nothing),
        }
    }
}

/// The ends of the range of routes that differ from `route` only in place.
fn equals_of(route: &Route) -> (Key, Key) {
    let first = Key {
        tos: route.tos,
        metric: route.metric,
        ..Key::lowest(route.dst, route.table)
    };
    let last = Key {
        place: i32::MAX,
        ..first
    };
    (first, last)
}

/// A bit for each /16.
struct DirtySpans(Box<[u64; 1024]>);

impl Default for DirtySpans {
    fn default() -> Self {
        DirtySpans(Box::new([0; 1024]))
    }
}

impl DirtySpans {
    fn mark(&mut self, prefix: Prefix) {
        for span in prefix.first() >> 16..=prefix.last() >> 16 {
            self.mark_span(span as u16);
        }
    }

    fn mark_span(&mut self, span: u16) {
        self.0[usize::from(span) / 64] |= 1 << (span % 64);
    }

    fn take(&mut self) -> Vec<u16> {
        let mut spans = Vec::new();
        for (word, bits) in self.0.iter_mut().enumerate() {
            let bits = std::mem::take(bits);
            spans.extend(
                (0..64)
                    .filter(|bit| bits >> bit & 1 == 1)
                    // 1,024 words of 64 bits: below 65,536.
                    .map(|bit| (word * 64 + bit) as u16),
            );
        }
        spans
    }
}
