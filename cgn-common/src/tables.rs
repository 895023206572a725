//! What the packet's way may ask of the tables, whoever holds them.

use crate::access;
use crate::answers::Budget;
use crate::counters::Counters;
use crate::event::Event;
use crate::frame::Frame;
use crate::ipv6::{flows, prefixes};
use crate::layout::{
    Access, BlockEntry, Datagram, End, External, Features, FragmentKey, FurtherBlocks, Held, Line,
    NEAR_BLOCKS, Newcomers, NewcomersIpv6, NextHopEntry, OwnedBlock, Page, Parts, Policy, Quota,
    Role, Room, Scattering, SessionKey, Side, SixRd, Subscriber, Unsolicited, VlanKey,
};
use crate::nat::{
    fragment, home, lookup, open, preference, quota, scatter, search, session, throttle, walk,
};
use crate::realm;
use crate::steps::Step;
use crate::verdict::{Direction, Protocol, Reason};
use crate::word::Word;

/// Where a destination leads.
#[derive(Clone, Copy, Debug)]
pub enum Route<'t> {
    /// Send it there.
    Via(&'t NextHopEntry),
    /// An address of the router itself.
    Local,
    /// A pool address.
    Pool,
    /// No router forwards to it: see [`crate::nat::next_hop::is_martian`].
    Martian,
    /// By a neighbour (its IPv4 address) whose link address is not known yet,
    /// on a [`Side`] (as a number).
    Unresolved { neighbour: u32, side: u8 },
    /// The kernel does not tell here; the slow path may know.
    Unknown,
    /// Out of an interface that is not ours.
    Elsewhere,
    /// The kernel has no route.
    None,
}

/// The tables of the layout. Indices beyond a table give `None`.
///
/// The methods with a body are the same everywhere; XDP overrides some to make
/// them functions of their own, which the verifier then checks once.
pub trait Tables {
    /// The clock in coarse ticks (2^28 ns), shifted as the settings say.
    fn now(&self) -> u32;

    /// What the configuration decides for all packets.
    fn features(&self) -> Features;
    /// What it decides for those of one pool.
    fn policy(&self, pool: u8) -> Policy;

    /// What holds of it for packets of `protocol` in one pool.
    #[inline(always)]
    fn features_within(&self, pool: u8, protocol: Protocol) -> Features {
        let features = self.features();
        // The policy is not even read where no pool has one.
        if features.has(Features::SESSIONS) {
            features.within(self.policy(pool), protocol)
        } else {
            features
        }
    }

    /// Page of an inside address; its entries are in `subscriber`.
    fn inside_page(&self, page: u32) -> Option<Page>;
    /// Page of an external address; its entries are in `external`.
    fn outside_page(&self, page: u32) -> Option<Page>;
    fn subscriber(&self, index: u32) -> Option<&Subscriber>;
    /// Blocks of a subscriber that are not in its entry.
    fn further_blocks(&self, index: u32) -> Option<&FurtherBlocks>;
    /// Block number `at` of the subscriber with this index and entry.
    #[inline(always)]
    fn owned_block(&self, index: u32, subscriber: &Subscriber, at: u32) -> Option<OwnedBlock> {
        let at = at as usize;
        let word = match subscriber.blocks.get(at) {
            Some(word) => word,
            None => self.further_blocks(index)?.0.get(at - NEAR_BLOCKS)?,
        };
        Some(OwnedBlock(word.load()))
    }
    /// By the same index.
    fn quota(&self, index: u32) -> Option<&Quota>;
    fn external(&self, index: u32) -> Option<&External>;
    /// By the same index.
    fn scattering(&self, index: u32) -> Option<&Scattering>;
    /// By the same index.
    fn unsolicited(&self, index: u32) -> Option<&Unsolicited>;
    fn block(&self, index: u32) -> Option<&BlockEntry>;
    fn line(&self, index: u32) -> Option<&Line>;
    /// How the table of [`Tables::line`] is divided.
    fn parts(&self) -> Parts;
    /// Header line of a slab.
    #[inline(always)]
    fn header(&self, slab_line: u32) -> Option<&Line> {
        self.line(self.parts().header(slab_line))
    }
    /// How full a block is.
    #[inline(always)]
    fn room(&self, slab_line: u32) -> Option<Room<'_>> {
        let (line, first) = self.parts().room(slab_line);
        Some(Room::new(self.line(line)?, first))
    }

    /// Runs `f` on the [`crate::layout::Session`] with this key; None if there is none.
    fn session<R>(&self, key: &SessionKey, f: impl FnOnce(&Word) -> R) -> Option<R>;
    /// Enters a session; false if the table is full, or has it.
    fn enter_session(&self, key: &SessionKey, session: u64) -> bool;

    /// Next-hop number of the /16 that holds `address`, or one of the values
    /// of [`crate::layout::RouteLine`] that are none.
    fn route_summary(&self, address: u32) -> u16;
    fn next_hop(&self, number: u32) -> Option<&NextHopEntry>;
    /// Value of `EXACT_ROUTES` for this very address.
    fn exact_route(&self, address: u32) -> Option<u32>;
    /// What the kernel's routing table says, for addresses in neither table.
    fn kernel_route(&self, source: u32, destination: u32) -> Route<'_>;

    /// Takes one of the punts for `key`, a neighbour or a destination; false if
    /// there were enough lately. See [`crate::punts`].
    fn may_punt(&self, key: u32) -> bool;

    /// Takes one of the answers for the sender `source`, and of `budget`; false if
    /// there were enough lately. See [`crate::answers`].
    fn may_answer(&self, source: u32, budget: Budget) -> bool;
    /// What becomes of the fragments of a datagram, if its first one came.
    fn datagram(&self, key: &FragmentKey) -> Option<Datagram>;
    /// The same for a fragment that will wait if it is not known.
    #[inline(always)]
    fn datagram_or_wait(&self, key: &FragmentKey) -> Option<Datagram> {
        self.datagram(key)
    }
    /// Enters a datagram; false if it cannot be done.
    fn enter_datagram(&self, key: &FragmentKey, datagram: &Datagram) -> bool;
    /// True if the slow path has fragments that wait for the first one of this datagram.
    fn is_awaited(&self, key: &FragmentKey) -> bool;
    /// Ticks that a datagram is known.
    fn fragment_ticks(&self) -> u32;
    /// Takes one of the punts for fragments of `source`; false if there were
    /// enough lately. See [`fragment::MOST_PUNTS`].
    fn may_punt_fragment(&self, source: u32) -> bool;
    /// The same for datagrams of the subscriber with this inside address.
    fn may_begin_datagram(&self, inside: u32) -> bool;
    /// Hears of the MTU that a packet is too large for and shall be fragmented to.
    #[inline(always)]
    fn needs_mtu(&self, _mtu: u16) {}
    /// Element of `IDS`.
    fn id_counter(&self, index: u32) -> Option<&Word>;
    /// Decides who shares one.
    fn id_secret(&self) -> u64;

    /// What a receiving VLAN is to us; None if it is not ours.
    fn vlan_role(&self, key: &VlanKey) -> Option<Role>;
    /// Element of `REALMS`; 0 if there is none.
    fn realm_half(&self, at: u32) -> u16;
    /// See [`realm::sender_of_frame`].
    #[inline(always)]
    fn sender<F: Frame>(&self, frame: &F) -> u32 {
        realm::sender_of_frame(frame, self)
    }
    /// See [`realm::of_frame`].
    #[inline(always)]
    fn realm_of<F: Frame>(&self, frame: &F) -> u8 {
        realm::of_frame(frame, self)
    }
    /// See [`realm::key`].
    #[inline(always)]
    fn key_of(&self, realm: u8, address: u32) -> u32 {
        realm::key(self, realm, address)
    }
    /// See [`realm::address`].
    #[inline(always)]
    fn address_of(&self, key: u32) -> u32 {
        realm::address(self, key)
    }
    /// See [`realm::own_in`].
    #[inline(always)]
    fn is_own_in(&self, realm: u8, address: u32) -> bool {
        realm::own_in(self, realm, address) != 0
    }
    /// The realm that a pool serves, [`realm::NOBODY`] if not one alone.
    fn realm_of_pool(&self, pool: u8) -> u8;
    /// Counts a dropped frame for its realm, see [`realm::of_dropped`]; where there are several.
    fn count_for_realm<F: Frame>(&self, frame: &F, reason: Reason);
    /// Interface that received the packet.
    fn ingress(&self) -> u32;

    /// Number `at` of the [`crate::layout::Guards`].
    fn guard(&self, at: usize) -> u32;
    /// How the provider's 6rd works.
    fn six_rd(&self) -> SixRd;
    fn newcomers(&self, cell: u32) -> Option<&Newcomers>;
    /// Parts of new subscribers that are put off, see [`crate::guards::puts_off`].
    fn put_off(&self) -> u64;
    /// False in the slow path, where XDP saw the packet before.
    #[inline(always)]
    fn sees_first(&self) -> bool {
        true
    }
    /// See [`throttle::count`].
    #[inline(always)]
    fn newcomer(&self, side: Side, source: u32) -> bool {
        throttle::count(self, side, source)
    }
    /// See [`throttle::may_begin`].
    #[inline(always)]
    fn may_begin(&self, subscriber: u32, counted: bool) -> bool {
        throttle::may_begin(self, subscriber, counted)
    }

    /// Element of `NEWCOMERS_IPV6`.
    fn newcomers_ipv6(&self, cell: u32) -> Option<&NewcomersIpv6>;
    /// Element of `FLOWS_IPV6`.
    fn flow_word(&self, at: u32) -> Option<&Word>;
    /// See [`prefixes::count`].
    #[inline(always)]
    fn newcomer_ipv6(&self, side: Side, realm: u8, source: u64) -> bool {
        prefixes::count(self, side, realm, source)
    }
    /// See [`flows::is_known`].
    #[inline(always)]
    fn knows_flow(&self, flow: flows::Flow) -> bool {
        flows::is_known(self, flow)
    }
    /// See [`flows::mark`].
    #[inline(always)]
    fn mark_flow(&self, flow: flows::Flow) {
        flows::mark(self, flow, self.now());
    }
    /// True if a packet of IPv6 from `source` to `destination` is for the router itself, as far as the
    /// kernel's routing tells.
    fn is_own_ipv6(&self, source: [u64; 2], destination: [u64; 2]) -> bool;

    /// What the rules of the access lists say.
    fn access(&self) -> Option<&Access>;
    /// A line of the tries that lead to them.
    fn prefixes(&self, line: u32) -> Option<&Line>;
    /// Counts a packet that a rule holds for.
    fn hit(&self, direction: Direction, rule: u32);
    /// Counts one that is over its rate.
    fn over_rate(&self, rule: u32);
    /// See [`throttle::is_within_rate`].
    #[inline(always)]
    fn is_within_rate(&self, held: Held, realm: u8, inside: u32) -> bool {
        throttle::is_within_rate(self, held, (realm, inside))
    }
    /// See [`access::rules_of`].
    #[inline(always)]
    fn rules_of(&self, end: End, direction: Direction, address: u32) -> u64 {
        access::rules_of(self, end, direction, address)
    }
    /// See [`access::first_match`].
    #[inline(always)]
    fn first_match(
        &self,
        candidates: u64,
        from: (Direction, u8),
        protocol: u8,
        ports: Option<(u16, u16)>,
    ) -> Held {
        access::first_match(self, candidates, from, protocol, ports)
    }

    /// Hears of a step of the packet's way; nobody listens where packets are many.
    #[inline(always)]
    fn note(&self, _step: Step) {}

    /// Runs `f` on the counters of this processor.
    fn count(&self, f: impl FnOnce(&mut Counters));
    /// Asks user space for the subscriber's next block; false if the ring is full.
    fn request_block(&self, event: Event) -> bool;

    /// Port of a place of a scattered address: see [`scatter::port_of`].
    #[inline(always)]
    fn port_of(&self, external: u32, place: u16) -> u16 {
        scatter::port_of(scatter::keys_of(self, external), place)
    }
    /// The inverse: see [`scatter::place_of`].
    #[inline(always)]
    fn place_of(&self, external: u32, port: u16) -> u16 {
        scatter::place_of(scatter::keys_of(self, external), port)
    }
    /// See [`quota::may_open`].
    #[inline(always)]
    fn may_open(&self, subscriber: u32, tick: u32) -> bool {
        quota::may_open(self, subscriber, tick)
    }
    /// See [`quota::remember`].
    #[inline(always)]
    fn remember(&self, subscriber: u32, reason: Reason) {
        quota::remember(self, subscriber, reason, self.now());
    }
    /// See [`walk::walk`].
    #[inline(always)]
    fn walk(&self, request: walk::Request) -> walk::Found {
        walk::walk(self, request)
    }
    /// See [`preference::nearest`].
    #[inline(always)]
    fn nearest_preferred(&self, wanted: preference::Wanted) -> u32 {
        preference::nearest(self, wanted)
    }
    /// See [`walk::spill`].
    #[inline(always)]
    fn spill(&self, request: walk::Spill) {
        walk::spill(self, request);
    }
    /// See [`home::is_clear`].
    #[inline(always)]
    fn is_clear(&self, flow: open::Flow) -> bool {
        home::is_clear(self, flow)
    }
    /// See [`home::open`].
    #[inline(always)]
    fn open_at_home(&self, flow: open::Flow, known: home::Known, clear: bool) -> home::Opened {
        home::open(self, flow, known, clear)
    }
    /// See [`search::search`].
    #[inline(always)]
    fn search(&self, flow: open::Flow) -> search::Searched {
        search::search(self, flow)
    }
    /// See [`open::renew`].
    #[inline(always)]
    fn renew(&self, flow: open::Flow, flags: u8, port: u16, slab_line: u32) -> bool {
        open::renew(self, flow, flags, port, slab_line)
    }
    /// See [`open::claim`].
    #[inline(always)]
    fn claim(&self, flow: open::Flow, candidate: search::Candidate) -> bool {
        open::claim(self, flow, candidate)
    }
    /// See [`search::is_alone`].
    #[inline(always)]
    fn is_alone(&self, flow: open::Flow, own: search::Candidate) -> bool {
        search::is_alone(self, flow, own)
    }
    /// See [`fragment::begin`].
    #[inline(always)]
    fn begin(&self, beginning: fragment::Beginning) -> fragment::Begun {
        fragment::begin(self, beginning)
    }
    /// See [`fragment::fresh_id`].
    #[inline(always)]
    fn fresh_id(&self, source: u32, destination: u32, protocol: u8) -> u16 {
        fragment::fresh_id(self, source, destination, protocol)
    }
    /// See [`session::depart`].
    #[inline(always)]
    fn depart(&self, party: session::Party, external: u32) -> session::Departure {
        session::depart(self, party, external)
    }
    /// See [`session::arrive`].
    #[inline(always)]
    fn arrive(&self, party: session::Party, peer: lookup::Peer) -> session::Arrival {
        session::arrive(self, party, peer)
    }
    /// See [`session::admits`].
    #[inline(always)]
    fn admits(&self, party: session::Party, peer: lookup::Peer) -> bool {
        session::admits(self, party, peer)
    }
    /// See [`lookup::Peer::write_first`].
    #[inline(always)]
    fn write_first_peer(&self, peer: lookup::Peer, remote: u64) -> bool {
        peer.write_first(self, remote)
    }
    /// See [`lookup::Peer::read`].
    #[inline(always)]
    fn peer(&self, peer: lookup::Peer) -> u64 {
        peer.read(self)
    }
    /// See [`open::settle`].
    #[inline(always)]
    fn settle(&self, flow: open::Flow, own: search::Candidate, alone: bool) -> open::Settled {
        open::settle(self, flow, own, alone)
    }
}
