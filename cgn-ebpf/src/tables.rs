//! `Tables` over the maps: the only map helper calls.

use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_BLACKHOLE, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_NOT_FWDED,
    BPF_FIB_LKUP_RET_PROHIBIT, BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LKUP_RET_UNREACHABLE, BPF_NOEXIST,
    bpf_fib_lookup, xdp_md,
};
use aya_ebpf::helpers::{bpf_fib_lookup as fib_lookup, bpf_jiffies64, bpf_ktime_get_coarse_ns};
use bytemuck::Pod;
use cgn_common::answers::{self, Budget};
use cgn_common::counters::Counters;
use cgn_common::event::Event;
use cgn_common::frame::Frame;
use cgn_common::ipv6::flows::Flow;
use cgn_common::layout::{
    Access, BlockEntry, Datagram, End, External, Features, FragmentKey, FurtherBlocks, GUARDS,
    HALVES_PER_LINE, Handed, Held, Line, Link, Newcomers, NewcomersIpv6, NextHopEntry, Page, Parts,
    Policy, Quota, ROUTES_PER_LINE, Role, Scattering, SessionKey, Side, SixRd, Subscriber,
    Unsolicited, VlanKey, is_ahead,
};
use cgn_common::limits::TICK_SHIFT;
use cgn_common::nat::lookup::Peer;
use cgn_common::nat::{fragment, home, open, preference, quota, scatter, search, session, walk};
use cgn_common::punts;
use cgn_common::realm::{self, is_key_here};
use cgn_common::steps::Step;
use cgn_common::tables::{Route, Tables};
use cgn_common::verdict::{Direction, Reason};
use cgn_common::word::Word;

use crate::frame::XdpFrame;
use crate::{floods, lists, maps};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The maps, with the context that `bpf_fib_lookup` asks for.
pub struct XdpTables {
    /// Null in functions of their own, which look up no route.
    pub ctx: *mut xdp_md,
}

impl XdpTables {
    /// Leaves word for the program that this one jumps to.
    #[inline(always)]
    pub fn hand_over(&self, handed: Handed) {
        if let Some(place) = maps::HANDED.get_ptr_mut(0) {
            // SAFETY: this processor's own element, and an XDP program is not interrupted by another.
            unsafe { *place = handed.0 };
        }
    }

    /// What the program left that jumped here.
    #[inline(always)]
    pub fn handed(&self) -> Option<Handed> {
        // SAFETY: as above.
        maps::HANDED
            .get_ptr(0)
            .map(|place| Handed(unsafe { *place }))
    }
}

/// A copy of an element. User space may rewrite it at any time, so it is read once.
#[inline(always)]
fn copy<T: Pod>(pointer: Option<*const T>) -> Option<T> {
    // SAFETY: the pointer is to an element of an array map, which lives as
    // long as the program, and any bytes are a T.
    pointer.map(|p| unsafe { p.read_volatile() })
}

/// The coarse monotonic clock. It moves only when jiffies do, and those are read
/// by one load that the verifier writes in place of the helper, while a call
/// costs as much as a cache miss.
#[inline(always)]
fn coarse_ns() -> u64 {
    // SAFETY: a helper without arguments.
    let jiffies = unsafe { bpf_jiffies64() };
    let Some(clock) = maps::CLOCK.get_ptr_mut(0) else {
        // SAFETY: as above.
        return unsafe { bpf_ktime_get_coarse_ns() };
    };
    // SAFETY: this processor's own element, and an XDP program is not interrupted by another.
    let clock = unsafe { &mut *clock };
    if clock[0] != jiffies {
        // SAFETY: as above.
        *clock = [jiffies, unsafe { bpf_ktime_get_coarse_ns() }];
    }
    clock[1]
}

/// Writes an answer of the kernel as a next hop. The addresses are read in
/// aligned halves: they lie at odd places, and the BPF stack allows no
/// misaligned access.
#[inline(always)]
fn write_hop(hop: &NextHopEntry, answer: &bpf_fib_lookup, link: &Link) {
    let half = |mac: &[u8; 6], at: usize| {
        // SAFETY: `at` is 0, 1 or 2; the field is 6 bytes at an even offset.
        u64::from(unsafe { mac.as_ptr().cast::<u16>().add(at).read_volatile() })
    };
    let (to, from) = (&answer.dmac, &answer.smac);
    hop.0[0].store(half(to, 0) | half(to, 1) << 16 | half(to, 2) << 32 | half(from, 0) << 48);
    hop.0[1].store(half(from, 1) | half(from, 2) << 16 | u64::from(link.ifindex) << 32);
    hop.0[2].store(
        u64::from(link.device)
            | u64::from(link.mtu) << 16
            | u64::from(link.side) << 32
            | u64::from(link.vlan_count) << 40,
    );
    hop.0[3].store(u64::from(link.vlans[0]) | u64::from(link.vlans[1]) << 16);
}

/// An address of IPv6 as the kernel has it.
#[inline(always)]
const fn words_of([first, last]: [u64; 2]) -> [u32; 4] {
    [
        ((first >> 32) as u32).to_be(),
        (first as u32).to_be(),
        ((last >> 32) as u32).to_be(),
        (last as u32).to_be(),
    ]
}

impl Tables for XdpTables {
    #[inline(always)]
    fn now(&self) -> u32 {
        let offset = match maps::SETTINGS.get(0) {
            Some(settings) => settings.clock_offset_ns.load(),
            None => 0,
        };
        (coarse_ns().wrapping_add(offset) >> TICK_SHIFT) as u32
    }

    #[inline(always)]
    fn features(&self) -> Features {
        // SAFETY: a static of our own. Volatile, because the loader wrote
        // another value over the one that the compiler knows.
        unsafe { (&raw const maps::CONSTANTS.features).read_volatile() }
    }

    #[inline(always)]
    fn policy(&self, pool: u8) -> Policy {
        // SAFETY: as above; there is an element for every number.
        unsafe { (&raw const maps::CONSTANTS.pools[pool as usize]).read_volatile() }
    }

    #[inline(always)]
    fn session<R>(&self, key: &SessionKey, f: impl FnOnce(&Word) -> R) -> Option<R> {
        // SAFETY: elements of a preallocated map live as long as the map, and
        // a `Word` may change while it is looked at.
        unsafe { maps::SESSIONS.get(key) }.map(f)
    }

    #[inline(always)]
    fn enter_session(&self, key: &SessionKey, session: u64) -> bool {
        maps::SESSIONS
            .insert(key, Word::new(session), u64::from(BPF_NOEXIST))
            .is_ok()
    }

    #[inline(always)]
    fn inside_page(&self, page: u32) -> Option<Page> {
        copy(maps::INSIDE_PAGES.get_ptr(page))
    }

    #[inline(always)]
    fn outside_page(&self, page: u32) -> Option<Page> {
        copy(maps::OUTSIDE_PAGES.get_ptr(page))
    }

    #[inline(always)]
    fn subscriber(&self, index: u32) -> Option<&Subscriber> {
        maps::SUBSCRIBERS.get(index)
    }

    #[inline(always)]
    fn quota(&self, index: u32) -> Option<&Quota> {
        maps::QUOTAS.get(index)
    }

    #[inline(always)]
    fn further_blocks(&self, index: u32) -> Option<&FurtherBlocks> {
        maps::FURTHER_BLOCKS.get(index)
    }

    #[inline(always)]
    fn external(&self, index: u32) -> Option<&External> {
        maps::EXTERNALS.get(index)
    }

    #[inline(always)]
    fn scattering(&self, index: u32) -> Option<&Scattering> {
        maps::SCATTERINGS.get(index)
    }

    #[inline(always)]
    fn unsolicited(&self, index: u32) -> Option<&Unsolicited> {
        maps::UNSOLICITED.get(index)
    }

    #[inline(always)]
    fn block(&self, index: u32) -> Option<&BlockEntry> {
        maps::BLOCKS.get(index)
    }

    #[inline(always)]
    fn line(&self, index: u32) -> Option<&Line> {
        maps::SLABS.get(index)
    }

    #[inline(always)]
    fn parts(&self) -> Parts {
        // SAFETY: a static of our own; volatile as in `features`.
        unsafe { (&raw const maps::CONSTANTS.parts).read_volatile() }
    }

    #[inline(always)]
    fn route_summary(&self, address: u32) -> u16 {
        let network = address >> 16;
        match maps::ROUTES.get(network / ROUTES_PER_LINE) {
            Some(line) => line.0[(network % ROUTES_PER_LINE) as usize],
            None => 0,
        }
    }

    #[inline(always)]
    fn next_hop(&self, number: u32) -> Option<&NextHopEntry> {
        maps::NEXT_HOPS.get(number)
    }

    #[inline(always)]
    fn exact_route(&self, address: u32) -> Option<u32> {
        // SAFETY: a 4-byte value that is copied at once.
        unsafe { maps::EXACT_ROUTES.get(address).copied() }
    }

    #[inline(never)]
    fn kernel_route(&self, source: u32, destination: u32) -> Route<'_> {
        // The kernel knows no keys; the slow path knows the routes of their realms.
        if is_key_here(self, destination) {
            return Route::Unknown;
        }
        // SAFETY: all bytes zero is a valid query of the kernel's plain C struct.
        let mut query: bpf_fib_lookup = unsafe { core::mem::zeroed() };
        query.family = AF_INET;
        query.ifindex = self.ingress();
        query.__bindgen_anon_3.ipv4_src = source.to_be();
        query.__bindgen_anon_4.ipv4_dst = destination.to_be();
        // SAFETY: context and query are valid, the length is the query's own.
        let answer = unsafe {
            fib_lookup(
                self.ctx.cast(),
                &raw mut query,
                size_of::<bpf_fib_lookup>() as i32,
                0,
            )
        } as u32;
        match answer {
            BPF_FIB_LKUP_RET_SUCCESS => {}
            // No route, or an own address that came a moment ago: those that
            // user space knows of are in our tables.
            BPF_FIB_LKUP_RET_NOT_FWDED
            | BPF_FIB_LKUP_RET_BLACKHOLE
            | BPF_FIB_LKUP_RET_UNREACHABLE
            | BPF_FIB_LKUP_RET_PROHIBIT => return Route::None,
            BPF_FIB_LKUP_RET_NO_NEIGH => {
                // The kernel has put the gateway in the place of the destination.
                // SAFETY: a plain integer, whatever the variant.
                let neighbour = u32::from_be(unsafe { query.__bindgen_anon_4.ipv4_dst });
                // SAFETY: only the 1-byte side is read, at once.
                return match unsafe { maps::LINKS.get(query.ifindex) } {
                    Some(link) if link.realm == realm::FIRST => Route::Unresolved {
                        neighbour,
                        side: link.side,
                    },
                    _ => Route::Elsewhere,
                };
            }
            // The helper refuses: forwarding is off on the interface, say.
            _ => return Route::Unknown,
        }
        // SAFETY: a 16-byte value that is copied at once.
        let Some(link) = (unsafe { maps::LINKS.get(query.ifindex).copied() }) else {
            return Route::Elsewhere;
        };
        // Subscribers of other realms have keys.
        if link.realm != realm::FIRST {
            return Route::Elsewhere;
        }
        let Some(hop) = maps::KERNEL_HOP.get(0) else {
            return Route::None;
        };
        write_hop(hop, &query, &link);
        Route::Via(hop)
    }

    #[inline(never)]
    fn may_punt(&self, key: u32) -> bool {
        let slots = maps::PUNTS
            .get(punts::slot_of(key))
            .zip(maps::PUNTS.get(punts::ALL));
        let Some((own, all)) = slots else {
            return false;
        };
        let now = self.now();
        punts::take(own, now, punts::MOST_PER_KEY) && punts::take(all, now, punts::MOST)
    }

    #[inline(never)]
    fn may_answer(&self, source: u32, budget: Budget) -> bool {
        let slots = maps::ANSWERS
            .get(answers::slot_of(source))
            .zip(maps::ANSWERS.get(budget as u32));
        let Some(((own, all), settings)) = slots.zip(maps::SETTINGS.get(0)) else {
            return false;
        };
        answers::Rates(settings.answers.load()).take(own, all, self.now())
    }

    #[inline(always)]
    fn datagram(&self, key: &FragmentKey) -> Option<Datagram> {
        // SAFETY: a 16-byte value that is copied at once.
        unsafe { maps::FRAGMENTS.get(key).copied() }
    }

    #[inline(always)]
    fn enter_datagram(&self, key: &FragmentKey, datagram: &Datagram) -> bool {
        maps::FRAGMENTS.insert(key, datagram, 0).is_ok()
    }

    #[inline(always)]
    fn is_awaited(&self, key: &FragmentKey) -> bool {
        let Some(until) = maps::AWAITED.get(key.awaited_at()) else {
            return false;
        };
        // A locked change, so that it is not read before the datagram is entered.
        is_ahead(until.add(0) as u32, self.now())
    }

    #[inline(always)]
    fn fragment_ticks(&self) -> u32 {
        match maps::SETTINGS.get(0) {
            Some(settings) => settings.fragment_ticks.load() as u32,
            None => 0,
        }
    }

    #[inline(never)]
    fn may_punt_fragment(&self, source: u32) -> bool {
        let shares = maps::FRAGMENT_SHARES
            .get(fragment::share_of_source(source))
            .zip(maps::FRAGMENT_SHARES.get(fragment::ALL));
        let Some((own, all)) = shares else {
            return false;
        };
        let now = self.now();
        punts::take(own, now, fragment::MOST_PUNTS_PER_SOURCE)
            && punts::take(all, now, fragment::MOST_PUNTS)
    }

    #[inline(never)]
    fn may_begin_datagram(&self, inside: u32) -> bool {
        maps::FRAGMENT_SHARES
            .get(fragment::share_of_subscriber(inside))
            .is_some_and(|own| punts::take(own, self.now(), fragment::MOST_DATAGRAMS))
    }

    #[inline(always)]
    fn id_counter(&self, index: u32) -> Option<&Word> {
        maps::IDS.get(index)
    }

    #[inline(always)]
    fn id_secret(&self) -> u64 {
        match maps::SETTINGS.get(0) {
            Some(settings) => settings.id_secret.load(),
            None => 0,
        }
    }

    #[inline(always)]
    fn begin(&self, beginning: fragment::Beginning) -> fragment::Begun {
        let (key, rest, ends) = beginning.pack();
        fragment::Begun(cgn_begin(key, rest, ends))
    }

    #[inline(always)]
    fn fresh_id(&self, source: u32, destination: u32, protocol: u8) -> u16 {
        let ends = u64::from(source) | u64::from(destination) << 32;
        cgn_fresh_id(ends, u64::from(protocol)) as u16
    }

    #[inline(always)]
    fn guard(&self, at: usize) -> u32 {
        // SAFETY: a static of our own, and the index is in range; volatile as in `features`.
        unsafe { (&raw const maps::CONSTANTS.guards.0[at & (GUARDS - 1)]).read_volatile() }
    }

    #[inline(always)]
    fn six_rd(&self) -> SixRd {
        let words = &raw const maps::CONSTANTS.six_rd.0;
        // SAFETY: a static of our own; volatile as in `features`.
        SixRd(unsafe { words.read_volatile() })
    }

    #[inline(always)]
    fn newcomers(&self, cell: u32) -> Option<&Newcomers> {
        maps::NEWCOMERS.get(cell)
    }

    #[inline(always)]
    fn newcomers_ipv6(&self, cell: u32) -> Option<&NewcomersIpv6> {
        maps::NEWCOMERS_IPV6.get(cell)
    }

    #[inline(always)]
    fn flow_word(&self, at: u32) -> Option<&Word> {
        maps::FLOWS_IPV6.get(at)
    }

    #[inline(always)]
    fn newcomer_ipv6(&self, side: Side, realm: u8, source: u64) -> bool {
        floods::newcomer_ipv6(side, realm, source)
    }

    #[inline(always)]
    fn knows_flow(&self, flow: Flow) -> bool {
        floods::knows_flow(flow)
    }

    #[inline(always)]
    fn mark_flow(&self, flow: Flow) {
        floods::mark_flow(flow);
    }

    #[inline(always)]
    fn is_own_ipv6(&self, source: [u64; 2], destination: [u64; 2]) -> bool {
        // SAFETY: all bytes zero is a valid query of the kernel's plain C struct.
        let mut query: bpf_fib_lookup = unsafe { core::mem::zeroed() };
        query.family = AF_INET6;
        query.ifindex = self.ingress();
        query.__bindgen_anon_3.ipv6_src = words_of(source);
        query.__bindgen_anon_4.ipv6_dst = words_of(destination);
        // SAFETY: context and query are valid, the length is the query's own.
        let answer = unsafe {
            fib_lookup(
                self.ctx.cast(),
                &raw mut query,
                size_of::<bpf_fib_lookup>() as i32,
                0,
            )
        };
        // What is not forwarded stays here; where the interface forwards nothing, it says so instead.
        answer as u32 == BPF_FIB_LKUP_RET_NOT_FWDED
    }

    #[inline(always)]
    fn put_off(&self) -> u64 {
        match maps::SETTINGS.get(0) {
            Some(settings) => settings.put_off.load(),
            None => 0,
        }
    }

    #[inline(always)]
    fn newcomer(&self, side: Side, source: u32) -> bool {
        floods::newcomer(side, source)
    }

    #[inline(always)]
    fn may_begin(&self, subscriber: u32, counted: bool) -> bool {
        floods::may_begin(subscriber, counted)
    }

    #[inline(always)]
    fn access(&self) -> Option<&Access> {
        maps::ACCESS.get(0)
    }

    #[inline(always)]
    fn prefixes(&self, line: u32) -> Option<&Line> {
        maps::PREFIXES.get(line)
    }

    #[inline(always)]
    fn hit(&self, direction: Direction, rule: u32) {
        if let Some(hits) = maps::HITS.get_ptr_mut(0) {
            // SAFETY: this processor's own element, and an XDP program is not interrupted by another.
            unsafe { &mut *hits }.count(direction, rule);
        }
    }

    #[inline(always)]
    fn over_rate(&self, rule: u32) {
        if let Some(hits) = maps::HITS.get_ptr_mut(0) {
            // SAFETY: as above.
            unsafe { &mut *hits }.count_over(rule);
        }
    }

    #[inline(always)]
    fn is_within_rate(&self, held: Held, realm: u8, inside: u32) -> bool {
        lists::is_within_rate(held, realm, inside)
    }

    #[inline(always)]
    fn rules_of(&self, end: End, direction: Direction, address: u32) -> u64 {
        lists::rules_of(end, direction, address)
    }

    #[inline(always)]
    fn first_match(
        &self,
        candidates: u64,
        from: (Direction, u8),
        protocol: u8,
        ports: Option<(u16, u16)>,
    ) -> Held {
        lists::first_match(candidates, from, protocol, ports)
    }

    #[inline(always)]
    fn vlan_role(&self, key: &VlanKey) -> Option<Role> {
        // SAFETY: only the 4-byte role is read, at once.
        Some(Role(unsafe { maps::VLANS.get(key) }?.role))
    }

    #[inline(always)]
    fn realm_half(&self, at: u32) -> u16 {
        match maps::REALMS.get(at / HALVES_PER_LINE) {
            Some(line) => line.0[(at % HALVES_PER_LINE) as usize],
            None => 0,
        }
    }

    #[inline(always)]
    fn sender<F: Frame>(&self, _frame: &F) -> u32 {
        cgn_sender(self.ctx) as u32
    }

    #[inline(always)]
    fn realm_of<F: Frame>(&self, _frame: &F) -> u8 {
        cgn_realm_of(self.ctx) as u8
    }

    #[inline(always)]
    fn key_of(&self, realm: u8, address: u32) -> u32 {
        cgn_key_of(u64::from(realm), u64::from(address)) as u32
    }

    #[inline(always)]
    fn address_of(&self, key: u32) -> u32 {
        cgn_address_of(u64::from(key)) as u32
    }

    #[inline(always)]
    fn is_own_in(&self, realm: u8, address: u32) -> bool {
        cgn_is_own_in(u64::from(realm), u64::from(address)) != 0
    }

    #[inline(always)]
    fn realm_of_pool(&self, pool: u8) -> u8 {
        // SAFETY: a static of our own; volatile as in `features`, and there is an element for every number.
        unsafe { (&raw const maps::CONSTANTS.realms[pool as usize]).read_volatile() }
    }

    #[inline(always)]
    fn count_for_realm<F: Frame>(&self, _frame: &F, reason: Reason) {
        cgn_count_for_realm(self.ctx, reason as u64);
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        // SAFETY: the context is valid for the whole run of the program.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    #[cfg(feature = "watch")]
    #[inline(always)]
    fn note(&self, step: Step) {
        crate::watch::note(step);
    }

    #[inline(always)]
    fn count(&self, f: impl FnOnce(&mut Counters)) {
        if let Some(counters) = maps::COUNTERS.get_ptr_mut(0) {
            // SAFETY: this processor's own element, and an XDP program is not interrupted by another.
            f(unsafe { &mut *counters });
        }
    }

    #[inline(always)]
    fn request_block(&self, event: Event) -> bool {
        maps::EVENTS
            .output_untyped::<[u64; 2]>(event.to_words(), 0)
            .is_ok()
    }

    #[inline(always)]
    fn port_of(&self, external: u32, place: u16) -> u16 {
        cgn_port_of(u64::from(external), u64::from(place)) as u16
    }

    #[inline(always)]
    fn place_of(&self, external: u32, port: u16) -> u16 {
        cgn_place_of(u64::from(external), u64::from(port)) as u16
    }

    #[inline(always)]
    fn may_open(&self, subscriber: u32, tick: u32) -> bool {
        // Not even called where nobody is limited.
        !self.features().has(Features::QUOTAS)
            || cgn_may_open(u64::from(subscriber), u64::from(tick)) != 0
    }

    #[inline(always)]
    fn remember(&self, subscriber: u32, reason: Reason) {
        // Only there the clock is read: the compiler may not leave out a helper.
        if self.features().has(Features::QUOTAS) {
            cgn_remember(u64::from(subscriber), reason as u64, u64::from(self.now()));
        }
    }

    #[inline(always)]
    fn walk(&self, request: walk::Request) -> walk::Found {
        let (a, b, place) = request.pack();
        match cgn_follow(a, b, place) {
            0 => walk::Found(cgn_visit(a, b, place)),
            found => walk::Found(found),
        }
    }

    #[inline(always)]
    fn nearest_preferred(&self, wanted: preference::Wanted) -> u32 {
        let (a, place) = wanted.pack();
        cgn_preferred(a, place) as u32
    }

    #[inline(always)]
    fn spill(&self, request: walk::Spill) {
        let (a, b) = request.pack();
        cgn_spill(a, b);
    }

    #[inline(always)]
    fn is_clear(&self, flow: open::Flow) -> bool {
        cgn_is_clear(flow.pack()) != 0
    }

    #[inline(always)]
    fn open_at_home(&self, flow: open::Flow, known: home::Known, clear: bool) -> home::Opened {
        self.note(Step::OpenAtHome);
        let tick = u64::from(flow.tick) | u64::from(clear) << 32;
        let (place, head, block) = known.pack();
        home::Opened(cgn_open_at_home(flow.pack(), tick, place, head, block))
    }

    #[inline(always)]
    fn search(&self, flow: open::Flow) -> search::Searched {
        self.note(Step::Searched);
        search::Searched(cgn_search(flow.pack()))
    }

    #[inline(always)]
    fn is_alone(&self, flow: open::Flow, own: search::Candidate) -> bool {
        cgn_is_alone(flow.pack(), own.0) != 0
    }

    #[inline(always)]
    fn renew(&self, flow: open::Flow, flags: u8, port: u16, slab_line: u32) -> bool {
        let tick = u64::from(flow.tick) | u64::from(flags) << 32;
        let found = u64::from(port) | u64::from(slab_line) << 16;
        cgn_renew(flow.pack(), flow.remote, tick, found) != 0
    }

    #[inline(always)]
    fn claim(&self, flow: open::Flow, candidate: search::Candidate) -> bool {
        cgn_claim(flow.pack(), u64::from(flow.tick), candidate.0) != 0
    }

    #[inline(always)]
    fn depart(&self, party: session::Party, external: u32) -> session::Departure {
        let (a, b, c) = party.pack();
        session::Departure::from_number(cgn_depart(a, b, c, u64::from(external)))
    }

    #[inline(always)]
    fn arrive(&self, party: session::Party, peer: Peer) -> session::Arrival {
        let (a, b, c) = party.pack();
        session::Arrival(cgn_arrive(a, b, c, peer.0))
    }

    #[inline(always)]
    fn admits(&self, party: session::Party, peer: Peer) -> bool {
        let (a, b, c) = party.pack();
        cgn_admits(a, b, c, peer.0) != 0
    }

    #[inline(always)]
    fn write_first_peer(&self, peer: Peer, remote: u64) -> bool {
        cgn_write_first_peer(peer.0, remote) != 0
    }

    #[inline(always)]
    fn peer(&self, peer: Peer) -> u64 {
        cgn_peer(peer.0)
    }

    #[inline(always)]
    fn settle(&self, flow: open::Flow, own: search::Candidate, alone: bool) -> open::Settled {
        let tick = u64::from(flow.tick) | u64::from(alone) << 32;
        open::Settled(cgn_settle(flow.pack(), flow.remote, tick, own.0))
    }
}

// Global functions: the verifier checks each once, whatever calls it how often.

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_sender(ctx: *mut xdp_md) -> u64 {
    let tables = XdpTables { ctx };
    u64::from(realm::sender_of_frame(&XdpFrame::new(ctx), &tables))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_realm_of(ctx: *mut xdp_md) -> u64 {
    u64::from(realm::of_frame(&XdpFrame::new(ctx), &XdpTables { ctx }))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_count_for_realm(ctx: *mut xdp_md, reason: u64) -> u64 {
    let realm = realm::of_dropped(&XdpFrame::new(ctx), &XdpTables { ctx });
    // There is none for who is of no realm.
    if let Some(drops) = maps::REALM_DROPS.get_ptr_mut(u32::from(realm)) {
        // SAFETY: this processor's own element, and an XDP program is not interrupted by another.
        unsafe { &mut *drops }.count(reason as u8);
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_key_of(realm: u64, address: u64) -> u64 {
    u64::from(realm::key(&DETACHED, realm as u8, address as u32))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_address_of(key: u64) -> u64 {
    u64::from(realm::address(&DETACHED, key as u32))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_is_own_in(realm: u64, address: u64) -> u64 {
    realm::own_in(&DETACHED, realm as u8, address as u32)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_port_of(external: u64, place: u64) -> u64 {
    let keys = scatter::keys_of(&DETACHED, external as u32);
    u64::from(scatter::port_of(keys, place as u16))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_place_of(external: u64, port: u64) -> u64 {
    let keys = scatter::keys_of(&DETACHED, external as u32);
    u64::from(scatter::place_of(keys, port as u16))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_may_open(subscriber: u64, tick: u64) -> u64 {
    u64::from(quota::may_open(&DETACHED, subscriber as u32, tick as u32))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_remember(subscriber: u64, reason: u64, tick: u64) -> u64 {
    let reason = answers::reason(reason as u8);
    quota::remember(&DETACHED, subscriber as u32, reason, tick as u32);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_follow(a: u64, b: u64, place: u64) -> u64 {
    walk::follow(&DETACHED, walk::Request::unpack(a, b, place)).0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_visit(a: u64, b: u64, place: u64) -> u64 {
    walk::visit(&DETACHED, walk::Request::unpack(a, b, place)).0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_preferred(a: u64, place: u64) -> u64 {
    let wanted = preference::Wanted::unpack(a, place);
    u64::from(preference::nearest(&DETACHED, wanted))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_spill(a: u64, b: u64) -> u64 {
    walk::spill(&DETACHED, walk::Spill::unpack(a, b));
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_is_clear(flow: u64) -> u64 {
    u64::from(home::is_clear(&DETACHED, open::Flow::unpack(flow, 0, 0)))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_open_at_home(flow: u64, tick: u64, place: u64, head: u64, block: u64) -> u64 {
    let (flow, clear) = (open::Flow::unpack(flow, 0, tick as u32), tick >> 32 != 0);
    let known = home::Known::unpack(place, head, block);
    home::open(&DETACHED, flow, known, clear).0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_search(flow: u64) -> u64 {
    search::search(&DETACHED, open::Flow::unpack(flow, 0, 0)).0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_is_alone(flow: u64, own: u64) -> u64 {
    let flow = open::Flow::unpack(flow, 0, 0);
    u64::from(search::is_alone(&DETACHED, flow, search::Candidate(own)))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_renew(flow: u64, remote: u64, tick: u64, found: u64) -> u64 {
    let flow = open::Flow::unpack(flow, remote, tick as u32);
    let (flags, port) = ((tick >> 32) as u8, found as u16);
    u64::from(open::renew(
        &DETACHED,
        flow,
        flags,
        port,
        (found >> 16) as u32,
    ))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_claim(flow: u64, tick: u64, candidate: u64) -> u64 {
    let flow = open::Flow::unpack(flow, 0, tick as u32);
    u64::from(open::claim(&DETACHED, flow, search::Candidate(candidate)))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_settle(flow: u64, remote: u64, tick: u64, own: u64) -> u64 {
    let (flow, alone) = (
        open::Flow::unpack(flow, remote, tick as u32),
        tick >> 32 != 0,
    );
    open::settle(&DETACHED, flow, search::Candidate(own), alone).0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_depart(a: u64, b: u64, c: u64, external: u64) -> u64 {
    let party = session::Party::unpack(a, b, c);
    session::depart(&DETACHED, party, external as u32) as u64
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_write_first_peer(peer: u64, remote: u64) -> u64 {
    u64::from(Peer(peer).write_first(&DETACHED, remote))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_peer(peer: u64) -> u64 {
    Peer(peer).read(&DETACHED)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_arrive(a: u64, b: u64, c: u64, peer: u64) -> u64 {
    session::arrive(&DETACHED, session::Party::unpack(a, b, c), Peer(peer)).0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_admits(a: u64, b: u64, c: u64, peer: u64) -> u64 {
    u64::from(session::admits(
        &DETACHED,
        session::Party::unpack(a, b, c),
        Peer(peer),
    ))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_begin(key: u64, rest: u64, ends: u64) -> u64 {
    fragment::begin(&DETACHED, fragment::Beginning::unpack(key, rest, ends)).0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_fresh_id(ends: u64, protocol: u64) -> u64 {
    let (source, destination) = (ends as u32, (ends >> 32) as u32);
    u64::from(fragment::fresh_id(
        &DETACHED,
        source,
        destination,
        protocol as u8,
    ))
}

pub const DETACHED: XdpTables = XdpTables {
    ctx: core::ptr::null_mut(),
};
