//! Tables whose user is often stopped between two steps of opening a mapping,
//! as if its processor had been taken away: races become common.

use std::cell::RefCell;
use std::thread;

use cgn_common::answers::Budget;
use cgn_common::counters::Counters;
use cgn_common::event::Event;
use cgn_common::frame::Frame;
use cgn_common::layout::{
    Access, BlockEntry, Datagram, External, Features, FragmentKey, FurtherBlocks, Line, Newcomers,
    NewcomersIpv6, NextHopEntry, Page, Parts, Policy, Quota, Role, Scattering, SessionKey, SixRd,
    Subscriber, Unsolicited, VlanKey,
};
use cgn_common::nat::{open, search, walk};
use cgn_common::tables::{Route, Tables};
use cgn_common::verdict::{Direction, Reason};
use cgn_common::word::Word;
use cgn_tests::harness::world::{FixedRoutes, INGRESS, World};
use cgn_tests::packets::mutate::Dice;
use cgn_user::dataplane::memory::Memory;
use cgn_user::dataplane::tables::{Counted, UserTables};

pub struct Hesitant<'a> {
    pub tables: UserTables<'a, FixedRoutes>,
    dice: RefCell<Dice>,
    /// Done once, after the next walk.
    pub meanwhile: RefCell<Option<Box<dyn FnOnce() + 'a>>>,
}

impl<'a> Hesitant<'a> {
    pub fn new(memory: &'a Memory, world: &'a World, counted: &'a Counted, seed: usize) -> Self {
        let tables = world.tables(memory, counted);
        tables.ingress.set(INGRESS);
        Self {
            tables,
            dice: RefCell::new(Dice::new(seed as u64 + 1)),
            meanwhile: RefCell::new(None),
        }
    }

    fn hesitate(&self) {
        if self.dice.borrow_mut().roll(4) == 0 {
            thread::yield_now();
        }
    }
}

impl Tables for Hesitant<'_> {
    fn walk(&self, request: walk::Request) -> walk::Found {
        let found = walk::walk(self, request);
        if let Some(meanwhile) = self.meanwhile.take() {
            meanwhile();
        }
        found
    }
    fn search(&self, flow: open::Flow) -> search::Searched {
        let searched = search::search(self, flow);
        self.hesitate();
        searched
    }
    fn claim(&self, flow: open::Flow, candidate: search::Candidate) -> bool {
        let claimed = open::claim(self, flow, candidate);
        self.hesitate();
        claimed
    }
    fn is_alone(&self, flow: open::Flow, own: search::Candidate) -> bool {
        let alone = search::is_alone(self, flow, own);
        self.hesitate();
        alone
    }

    // The rest only passes on.
    fn now(&self) -> u32 {
        self.tables.now()
    }
    fn features(&self) -> Features {
        self.tables.features()
    }
    fn policy(&self, pool: u8) -> Policy {
        self.tables.policy(pool)
    }
    fn session<R>(&self, key: &SessionKey, f: impl FnOnce(&Word) -> R) -> Option<R> {
        self.tables.session(key, f)
    }
    fn enter_session(&self, key: &SessionKey, session: u64) -> bool {
        self.tables.enter_session(key, session)
    }
    fn inside_page(&self, page: u32) -> Option<Page> {
        self.tables.inside_page(page)
    }
    fn outside_page(&self, page: u32) -> Option<Page> {
        self.tables.outside_page(page)
    }
    fn subscriber(&self, index: u32) -> Option<&Subscriber> {
        self.tables.subscriber(index)
    }
    fn quota(&self, index: u32) -> Option<&Quota> {
        self.tables.quota(index)
    }
    fn further_blocks(&self, index: u32) -> Option<&FurtherBlocks> {
        self.tables.further_blocks(index)
    }
    fn parts(&self) -> Parts {
        self.tables.parts()
    }
    fn scattering(&self, index: u32) -> Option<&Scattering> {
        self.tables.scattering(index)
    }
    fn unsolicited(&self, index: u32) -> Option<&Unsolicited> {
        self.tables.unsolicited(index)
    }
    fn guard(&self, at: usize) -> u32 {
        self.tables.guard(at)
    }
    fn six_rd(&self) -> SixRd {
        self.tables.six_rd()
    }
    fn newcomers(&self, cell: u32) -> Option<&Newcomers> {
        self.tables.newcomers(cell)
    }
    fn newcomers_ipv6(&self, cell: u32) -> Option<&NewcomersIpv6> {
        self.tables.newcomers_ipv6(cell)
    }
    fn flow_word(&self, at: u32) -> Option<&Word> {
        self.tables.flow_word(at)
    }
    fn is_own_ipv6(&self, source: [u64; 2], destination: [u64; 2]) -> bool {
        self.tables.is_own_ipv6(source, destination)
    }
    fn put_off(&self) -> u64 {
        self.tables.put_off()
    }
    fn external(&self, index: u32) -> Option<&External> {
        self.tables.external(index)
    }
    fn block(&self, index: u32) -> Option<&BlockEntry> {
        self.tables.block(index)
    }
    fn line(&self, index: u32) -> Option<&Line> {
        // Between any two looks at a bucket, also within one step.
        self.hesitate();
        self.tables.line(index)
    }
    fn route_summary(&self, address: u32) -> u16 {
        self.tables.route_summary(address)
    }
    fn next_hop(&self, number: u32) -> Option<&NextHopEntry> {
        self.tables.next_hop(number)
    }
    fn exact_route(&self, address: u32) -> Option<u32> {
        self.tables.exact_route(address)
    }
    fn kernel_route(&self, source: u32, destination: u32) -> Route<'_> {
        self.tables.kernel_route(source, destination)
    }
    fn may_punt(&self, key: u32) -> bool {
        self.tables.may_punt(key)
    }
    fn may_answer(&self, source: u32, budget: Budget) -> bool {
        self.tables.may_answer(source, budget)
    }
    fn datagram(&self, key: &FragmentKey) -> Option<Datagram> {
        self.tables.datagram(key)
    }
    fn enter_datagram(&self, key: &FragmentKey, datagram: &Datagram) -> bool {
        self.tables.enter_datagram(key, datagram)
    }
    fn is_awaited(&self, key: &FragmentKey) -> bool {
        self.tables.is_awaited(key)
    }
    fn fragment_ticks(&self) -> u32 {
        self.tables.fragment_ticks()
    }
    fn may_punt_fragment(&self, source: u32) -> bool {
        self.tables.may_punt_fragment(source)
    }
    fn may_begin_datagram(&self, inside: u32) -> bool {
        self.tables.may_begin_datagram(inside)
    }
    fn id_counter(&self, index: u32) -> Option<&Word> {
        self.tables.id_counter(index)
    }
    fn id_secret(&self) -> u64 {
        self.tables.id_secret()
    }
    fn realm_of_pool(&self, pool: u8) -> u8 {
        self.tables.realm_of_pool(pool)
    }
    fn count_for_realm<F: Frame>(&self, frame: &F, reason: Reason) {
        self.tables.count_for_realm(frame, reason);
    }
    fn access(&self) -> Option<&Access> {
        self.tables.access()
    }
    fn prefixes(&self, line: u32) -> Option<&Line> {
        self.tables.prefixes(line)
    }
    fn over_rate(&self, rule: u32) {
        self.tables.over_rate(rule);
    }
    fn hit(&self, direction: Direction, rule: u32) {
        self.tables.hit(direction, rule);
    }
    fn vlan_role(&self, key: &VlanKey) -> Option<Role> {
        self.tables.vlan_role(key)
    }
    fn realm_half(&self, at: u32) -> u16 {
        self.tables.realm_half(at)
    }
    fn ingress(&self) -> u32 {
        self.tables.ingress()
    }
    fn count(&self, f: impl FnOnce(&mut Counters)) {
        self.tables.count(f);
    }
    fn request_block(&self, event: Event) -> bool {
        self.tables.request_block(event)
    }
}
