//! [`Tables`] over [`Memory`]: what XDP reads through map pointers, the slow
//! path, tests and benches read here.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::Ipv4Addr;

use cgn_common::answers::{self, Budget};
use cgn_common::counters::Counters;
use cgn_common::event::Event;
use cgn_common::frame::Frame;
use cgn_common::layout::{
    Access, BlockEntry, Datagram, External, Features, FragmentKey, FurtherBlocks, HALVES_PER_LINE,
    Held, Hits, Line, Newcomers, NewcomersIpv6, NextHopEntry, Page, Parts, Policy, Quota,
    ROUTES_PER_LINE, Role, Scattering, SessionKey, Settings, Side, SixRd, Subscriber, Unsolicited,
    VlanKey,
};
use cgn_common::nat::{home, open, search, throttle};
use cgn_common::realm::{self, is_key_here};
use cgn_common::steps::{Step, Steps};
use cgn_common::tables::{Route, Tables};
use cgn_common::verdict::{Direction, Reason};
use cgn_common::word::Word;

use super::memory::Memory;

/// What user space knows of the kernel's routes.
pub trait Routing {
    /// Value of `EXACT_ROUTES` for this address.
    fn exact(&self, address: u32) -> Option<u32>;
    /// Answer for any address, as `bpf_fib_lookup` would give it.
    fn resolve(&self, address: u32) -> Resolved;
}

/// What the router knows of itself.
pub trait Router: Routing {
    /// Its own address on a side for packets to `destination`; outside only one
    /// that may be seen there.
    fn own_address(&self, side: Side, destination: u32) -> Option<Ipv4Addr>;
    /// Code of the destination unreachable for a destination without a route; None
    /// where the operator wants silence.
    fn unreachable_code(&self, destination: u32) -> Option<u8>;
}

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// Number in `NEXT_HOPS`.
    Hop(u32),
    /// An address of the router itself.
    Local,
    /// The link address of this neighbour, on this side, is not known yet.
    Unresolved { neighbour: u32, side: Side },
    /// Only the kernel knows.
    Unknown,
    /// Out of an interface that is not ours.
    Elsewhere,
    /// No route.
    None,
}

/// What runs of the translator counted, to be taken by who runs it. They are large: not made anew
/// for every packet.
#[derive(Debug, Default)]
pub struct Counted {
    pub counters: RefCell<Counters>,
    /// Realm and reason of packets that were dropped, where there are several realms.
    pub realm_drops: RefCell<Vec<(u8, Reason)>>,
    /// How often rules of the access lists held; XDP counted those of packets that it punted.
    pub hits: RefCell<Hits>,
}

/// The tables with what one run of the translator needs beside them.
pub struct UserTables<'a, R: Routing> {
    pub memory: &'a Memory,
    pub routing: &'a R,
    /// What VLANs are to us; empty on interfaces without VLANs.
    pub vlans: &'a HashMap<(u32, [u16; 2]), Role>,
    /// Now, in coarse ticks, already moved by the clock offset.
    pub now: Cell<u32>,
    /// Interface that received the packet.
    pub ingress: Cell<u32>,
    /// Source and destination of the last packet of which only the kernel knows
    /// the route.
    pub unknown: Cell<Option<(u32, u32)>>,
    /// The fragmented datagram that was looked up last.
    pub asked: Cell<Option<FragmentKey>>,
    /// MTU that the last packet is too large for.
    pub mtu: Cell<u16>,
    pub counted: &'a Counted,
    /// The rule that held for the last packet that any held for.
    pub hit: Cell<Option<(Direction, u32)>>,
    /// Requests for further blocks, to be taken by the caller.
    pub requests: RefCell<Vec<Event>>,
    /// True: a packet whose sender is to be told of its end is punted, as XDP does.
    /// False: it ends, as in the slow path, which tells him then.
    pub punts_answered: Cell<bool>,
    /// False: XDP saw the packet before and counted it, so the guards against floods do not.
    pub sees_first: Cell<bool>,
    /// Steps of the last packet, to be taken by the caller.
    pub steps: Cell<Steps>,
}

impl<'a, R: Routing> UserTables<'a, R> {
    #[must_use]
    pub fn new(
        memory: &'a Memory,
        routing: &'a R,
        vlans: &'a HashMap<(u32, [u16; 2]), Role>,
        counted: &'a Counted,
    ) -> Self {
        Self {
            memory,
            routing,
            vlans,
            now: Cell::new(0),
            ingress: Cell::new(0),
            unknown: Cell::new(None),
            asked: Cell::new(None),
            mtu: Cell::new(0),
            counted,
            hit: Cell::new(None),
            requests: RefCell::new(Vec::new()),
            punts_answered: Cell::new(false),
            sees_first: Cell::new(true),
            steps: Cell::new(Steps::default()),
        }
    }

    fn setting(&self, read: impl FnOnce(&Settings) -> &Word) -> u64 {
        self.memory
            .settings
            .get(0)
            .map_or(0, |settings| read(settings).load())
    }
}

impl<R: Routing> Tables for UserTables<'_, R> {
    fn now(&self) -> u32 {
        self.now.get()
    }
    fn features(&self) -> Features {
        self.memory.constants.features
    }
    fn policy(&self, pool: u8) -> Policy {
        self.memory.constants.pools[usize::from(pool)]
    }
    fn session<S>(&self, key: &SessionKey, f: impl FnOnce(&Word) -> S) -> Option<S> {
        self.memory.sessions.with(key, f)
    }
    fn enter_session(&self, key: &SessionKey, session: u64) -> bool {
        self.memory.sessions.enter(key, session)
    }
    fn inside_page(&self, page: u32) -> Option<Page> {
        self.memory.inside_pages.read(page)
    }
    fn outside_page(&self, page: u32) -> Option<Page> {
        self.memory.outside_pages.read(page)
    }
    fn subscriber(&self, index: u32) -> Option<&Subscriber> {
        self.memory.subscribers.get(index)
    }
    fn quota(&self, index: u32) -> Option<&Quota> {
        self.memory.quotas.get(index)
    }
    fn further_blocks(&self, index: u32) -> Option<&FurtherBlocks> {
        self.memory.further_blocks.get(index)
    }
    fn external(&self, index: u32) -> Option<&External> {
        self.memory.externals.get(index)
    }
    fn scattering(&self, index: u32) -> Option<&Scattering> {
        self.memory.scatterings.get(index)
    }
    fn unsolicited(&self, index: u32) -> Option<&Unsolicited> {
        self.memory.unsolicited.get(index)
    }
    fn block(&self, index: u32) -> Option<&BlockEntry> {
        self.memory.blocks.get(index)
    }
    fn line(&self, index: u32) -> Option<&Line> {
        self.memory.slabs.get(index)
    }

    fn parts(&self) -> Parts {
        self.memory.parts
    }
    fn route_summary(&self, address: u32) -> u16 {
        let network = address >> 16;
        let number = match self.memory.routes.read(network / ROUTES_PER_LINE) {
            Some(line) => line.0[(network % ROUTES_PER_LINE) as usize],
            None => 0,
        };
        // A neighbour that is not known is looked up in full: who is to ask for
        // it must know its link.
        match self.memory.next_hops.get(u32::from(number)) {
            Some(hop) if hop.side() & NextHopEntry::UNRESOLVED != 0 => 0,
            _ => number,
        }
    }
    fn next_hop(&self, number: u32) -> Option<&NextHopEntry> {
        self.memory.next_hops.get(number)
    }
    fn exact_route(&self, address: u32) -> Option<u32> {
        self.routing.exact(address)
    }
    fn kernel_route(&self, source: u32, destination: u32) -> Route<'_> {
        match self.routing.resolve(destination) {
            Resolved::Hop(number) => match self.memory.next_hops.get(number) {
                Some(hop) => Route::Via(hop),
                None => Route::None,
            },
            Resolved::Local => Route::Local,
            Resolved::Unresolved { neighbour, side } => Route::Unresolved {
                neighbour,
                side: side as u8,
            },
            // The kernel knows no keys.
            Resolved::Unknown if is_key_here(self, destination) => Route::None,
            Resolved::Unknown => {
                self.unknown.set(Some((source, destination)));
                Route::Unknown
            }
            Resolved::Elsewhere => Route::Elsewhere,
            Resolved::None => Route::None,
        }
    }
    fn may_punt(&self, _key: u32) -> bool {
        // It has been punted; how many may wait is said there.
        true
    }
    fn may_answer(&self, source: u32, budget: Budget) -> bool {
        let slots = self.memory.answers.get(answers::slot_of(source));
        let slots = slots.zip(self.memory.answers.get(budget as u32));
        let rates = self.memory.settings.get(0).map(|s| s.answers.load());
        self.punts_answered.get()
            && slots
                .zip(rates)
                .is_some_and(|((own, all), rates)| answers::Rates(rates).take(own, all, self.now()))
    }
    fn datagram(&self, key: &FragmentKey) -> Option<Datagram> {
        self.asked.set(Some(*key));
        self.memory.datagrams.get(key)
    }
    /// Says that it is awaited before the last look, so that one of the two sees
    /// the other: XDP enters a datagram before it asks.
    fn datagram_or_wait(&self, key: &FragmentKey) -> Option<Datagram> {
        let known = |datagram: &Datagram| datagram.is_alive(self.now.get());
        if let Some(datagram) = self.datagram(key).filter(known) {
            return Some(datagram);
        }
        let until = self.now.get().wrapping_add(self.fragment_ticks());
        self.memory.await_first(key, until);
        self.memory.datagrams.get(key)
    }
    fn enter_datagram(&self, key: &FragmentKey, datagram: &Datagram) -> bool {
        self.memory.datagrams.enter(key, *datagram)
    }
    fn is_awaited(&self, _key: &FragmentKey) -> bool {
        // Who waits here is asked by the caller.
        false
    }
    fn fragment_ticks(&self) -> u32 {
        self.setting(|settings| &settings.fragment_ticks) as u32
    }
    fn may_punt_fragment(&self, _source: u32) -> bool {
        // It has been punted; how many may wait is said there.
        true
    }
    fn may_begin_datagram(&self, _inside: u32) -> bool {
        // What comes here was admitted by XDP.
        true
    }
    fn needs_mtu(&self, mtu: u16) {
        self.mtu.set(mtu);
    }
    fn id_counter(&self, index: u32) -> Option<&Word> {
        self.memory.ids.get(index)
    }
    fn id_secret(&self) -> u64 {
        self.setting(|settings| &settings.id_secret)
    }
    fn guard(&self, at: usize) -> u32 {
        self.memory.constants.guards.0[at]
    }
    fn six_rd(&self) -> SixRd {
        self.memory.constants.six_rd
    }
    fn newcomers(&self, cell: u32) -> Option<&Newcomers> {
        self.memory.newcomers.get(cell)
    }
    fn newcomers_ipv6(&self, cell: u32) -> Option<&NewcomersIpv6> {
        self.memory.newcomers_ipv6.get(cell)
    }
    fn flow_word(&self, at: u32) -> Option<&Word> {
        self.memory.flows_ipv6.get(at)
    }
    fn is_own_ipv6(&self, _source: [u64; 2], _destination: [u64; 2]) -> bool {
        // XDP alone sees IPv6, and never hands it over.
        false
    }
    fn put_off(&self) -> u64 {
        self.setting(|settings| &settings.put_off)
    }
    fn sees_first(&self) -> bool {
        self.sees_first.get()
    }
    fn newcomer(&self, side: Side, source: u32) -> bool {
        !self.sees_first.get() || throttle::count(self, side, source)
    }
    fn access(&self) -> Option<&Access> {
        self.memory.access.get(0)
    }
    fn prefixes(&self, line: u32) -> Option<&Line> {
        self.memory.prefixes.get(line)
    }
    fn hit(&self, direction: Direction, rule: u32) {
        self.hit.set(Some((direction, rule)));
        self.counted.hits.borrow_mut().count(direction, rule);
    }
    fn over_rate(&self, rule: u32) {
        self.counted.hits.borrow_mut().count_over(rule);
    }
    fn is_within_rate(&self, held: Held, realm: u8, inside: u32) -> bool {
        !self.sees_first.get() || throttle::is_within_rate(self, held, (realm, inside))
    }
    fn vlan_role(&self, key: &VlanKey) -> Option<Role> {
        self.vlans.get(&(key.ifindex, key.vlans)).copied()
    }
    fn realm_half(&self, at: u32) -> u16 {
        match self.memory.realms.read(at / HALVES_PER_LINE) {
            Some(line) => line.0[(at % HALVES_PER_LINE) as usize],
            None => 0,
        }
    }
    fn realm_of_pool(&self, pool: u8) -> u8 {
        self.memory.constants.realms[usize::from(pool)]
    }

    fn count_for_realm<F: Frame>(&self, frame: &F, reason: Reason) {
        match realm::of_dropped(frame, self) {
            realm::NOBODY => {}
            realm => self.counted.realm_drops.borrow_mut().push((realm, reason)),
        }
    }

    fn ingress(&self) -> u32 {
        self.ingress.get()
    }
    fn open_at_home(&self, flow: open::Flow, known: home::Known, clear: bool) -> home::Opened {
        self.note(Step::OpenAtHome);
        home::open(self, flow, known, clear)
    }
    fn search(&self, flow: open::Flow) -> search::Searched {
        self.note(Step::Searched);
        search::search(self, flow)
    }
    fn note(&self, step: Step) {
        self.steps.set(self.steps.get().and(step));
    }
    fn count(&self, f: impl FnOnce(&mut Counters)) {
        f(&mut self.counted.counters.borrow_mut());
    }
    fn request_block(&self, event: Event) -> bool {
        self.requests.borrow_mut().push(event);
        true
    }
}
