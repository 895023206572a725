//! The little world in which every home of the translator runs the same cases.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use cgn_common::answers::{self, Rates};
use cgn_common::ipv6::{flows, prefixes};
use cgn_common::layout::{
    Constants, EXACT_LOCAL, Features, Link, NextHop, ROUTE_ELSEWHERE, ROUTE_LOCAL, ROUTE_NONE,
    Role, SESSIONS, Side,
};
use cgn_common::limits::ticks;
use cgn_common::nat::throttle;
use cgn_common::wire::icmp::code;
use cgn_user::dataplane::geometry::{Arrangement, Geometry, PoolShape, SubscriberShape};
use cgn_user::dataplane::install::{self, Grant};
use cgn_user::dataplane::memory::Memory;
use cgn_user::dataplane::tables::{Counted, Resolved, Router, Routing, UserTables};
use cgn_user::policy::access::{Lists, Rule};
use cgn_user::realms::Realms;

/// Interface that receives every frame: the loopback device of the test's own
/// network namespace, because `BPF_PROG_TEST_RUN` takes it.
pub const INGRESS: u32 = 1;
/// Other interfaces of the namespace, made in this order.
pub const INSIDE_IF: u32 = 11;
pub const OUTSIDE_IF: u32 = 12;
/// An interface that is not ours.
pub const OTHER_IF: u32 = 13;

/// Addresses of the router itself.
pub const OWN_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 64, 255, 1);
pub const OWN_OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);
/// Ticks that a fragmented datagram is known: 2 s.
pub const FRAGMENT_TICKS: u32 = ticks(2);

/// Interior of a VLAN tag for each role.
pub const INSIDE_VLAN: u16 = 100;
pub const OUTSIDE_VLAN: u16 = 200;
pub const INSIDE_QINQ: [u16; 2] = [300, 301];
pub const OUTSIDE_QINQ: [u16; 2] = [400, 401];
/// Those of two further realms, in a world that has them ([`World::with_realms`]).
pub const REALM_VLAN: u16 = 500;
pub const REALM_QINQ: [u16; 2] = [600, 601];

/// Numbers in `NEXT_HOPS`.
pub mod hop {
    /// Untagged, out of another interface, MTU 1500.
    pub const OUTSIDE: u16 = 1;
    pub const INSIDE: u16 = 2;
    /// Back out of the receiving interface, with tags.
    pub const OUTSIDE_VLAN: u16 = 3;
    pub const OUTSIDE_QINQ: u16 = 4;
    pub const INSIDE_VLAN: u16 = 5;
    pub const INSIDE_QINQ: u16 = 6;
    /// MTU 576.
    pub const OUTSIDE_SMALL: u16 = 7;
    pub const INSIDE_SMALL: u16 = 8;
    /// Never written.
    pub const EMPTY: u16 = 9;
    /// Their link addresses are not known.
    pub const LOST: u16 = 10;
    pub const LOST_INSIDE: u16 = 11;
    /// Towards the subscribers of two further realms.
    pub const REALM_VLAN: u16 = 12;
    pub const REALM_QINQ: u16 = 13;
    /// Only the kernel knows it.
    pub const KERNEL: u16 = 40;
}

/// Destinations outside, by what their route is.
pub mod remote {
    use std::net::Ipv4Addr;
    pub const PLAIN: Ipv4Addr = Ipv4Addr::new(8, 8, 4, 4);
    pub const OTHER: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
    pub const VLAN: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);
    pub const QINQ: Ipv4Addr = Ipv4Addr::new(11, 1, 2, 3);
    pub const SMALL: Ipv4Addr = Ipv4Addr::new(12, 1, 2, 3);
    pub const EMPTY_HOP: Ipv4Addr = Ipv4Addr::new(13, 1, 2, 3);
    /// Behind a gateway that does not answer, outside and inside.
    pub const LOST: Ipv4Addr = Ipv4Addr::new(17, 1, 2, 3);
    pub const LOST_INSIDE: Ipv4Addr = Ipv4Addr::new(18, 1, 2, 3);
    /// In a /16 that is the router's own, one without a route, and one behind
    /// an interface that is not ours.
    pub const WIDE_LOCAL: Ipv4Addr = Ipv4Addr::new(14, 1, 2, 3);
    pub const WIDE_NO_ROUTE: Ipv4Addr = Ipv4Addr::new(15, 1, 2, 3);
    pub const WIDE_ELSEWHERE: Ipv4Addr = Ipv4Addr::new(16, 1, 2, 3);
    /// Shared address space (RFC 6598) that a default route leads outside.
    pub const SHARED: Ipv4Addr = Ipv4Addr::new(100, 127, 2, 3);
    /// In `EXACT_ROUTES`: the router's own, the broadcast address of a connected
    /// subnet, an own link-local address, a host route.
    pub const EXACT_LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);
    pub const BROADCAST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 255);
    pub const LINK_LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 1);
    pub const EXACT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 201);
    /// Decided by the kernel: an own address that came a moment ago, a known
    /// neighbour, an unknown one, a network without any route, an unreachable
    /// one, an interface that is not ours, a route that XDP is not told.
    pub const NEW_LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    pub const KERNEL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
    pub const NO_NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);
    pub const NO_ROUTE: Ipv4Addr = Ipv4Addr::new(198, 17, 0, 7);
    pub const UNREACHABLE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 7);
    pub const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 2);
    pub const UNKNOWN: Ipv4Addr = Ipv4Addr::new(198, 20, 0, 2);
}

/// Subscribers, by what is special about them. All have one block but where said.
pub mod subscriber {
    use std::net::Ipv4Addr;
    pub const PLAIN: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
    pub const TWO_BLOCKS: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 2);
    pub const NO_BLOCK_YET: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 3);
    pub const REFUSED: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 4);
    /// All the blocks that one may have.
    pub const SIX_BLOCKS: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 5);
    /// In a pool of another block size.
    pub const LARGE: Ipv4Addr = Ipv4Addr::new(100, 64, 1, 1);
    /// Behind one tag, two tags, a small MTU, no next hop, and the wrong side.
    pub const VLAN: Ipv4Addr = Ipv4Addr::new(100, 65, 0, 1);
    pub const QINQ: Ipv4Addr = Ipv4Addr::new(100, 66, 0, 1);
    pub const SMALL: Ipv4Addr = Ipv4Addr::new(100, 67, 0, 1);
    pub const MISROUTED: Ipv4Addr = Ipv4Addr::new(100, 68, 0, 1);
    /// Between two prefixes of one page, and far from all.
    pub const NOT_ONE: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 200);
    pub const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
}

/// Pool addresses: of the small blocks, and of the large ones.
pub const POOL: [Ipv4Addr; 2] = [
    Ipv4Addr::new(198, 51, 100, 1),
    Ipv4Addr::new(198, 51, 100, 2),
];
pub const LARGE_POOL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// In the pages of the pools, but in none.
pub const NO_POOL: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 3);
/// log2 of the ports of a block.
pub const SMALL_SHIFT: u32 = 6;
pub const LARGE_SHIFT: u32 = 9;

/// What a VLAN is to us, by interface and tags.
pub type Vlans = HashMap<(u32, [u16; 2]), Role>;

/// Geometry, routes and who has which block.
pub struct World {
    pub geometry: Geometry,
    pub routes: FixedRoutes,
    pub vlans: Vlans,
    pub grants: Vec<Grant>,
    /// What the programs are loaded with.
    pub constants: Constants,
    /// How often senders are told of the end of their packets.
    pub rates: Rates,
    /// Rules that packets meet first.
    pub lists: Lists,
    /// Next-hop numbers of the /16 networks of keys.
    pub realm_routes: Vec<(u16, u16)>,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// This memory with the routes and VLANs here, for runs of the translator in user space.
    #[must_use]
    pub fn tables<'a>(
        &'a self,
        memory: &'a Memory,
        counted: &'a Counted,
    ) -> UserTables<'a, FixedRoutes> {
        UserTables::new(memory, &self.routes, &self.vlans, counted)
    }

    /// With everything off that can be off.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Constants::PLAIN, SESSIONS.entries)
    }

    /// With these constants, and room for so many sessions.
    #[must_use]
    pub fn with(constants: Constants, sessions: u32) -> Self {
        let mut geometry = Geometry::new(pools(&constants), subscribers());
        geometry.sizes.sessions = sessions;
        if constants.features.has(Features::THROTTLE | Features::RATES) {
            geometry.sizes.newcomers = throttle::CELLS;
        }
        if constants.features.has(Features::THROTTLE_IPV6) {
            geometry.sizes.newcomers_ipv6 = prefixes::CELLS;
            geometry.sizes.flows_ipv6 = flows::WORDS;
        }
        let vlans = HashMap::from([
            ((INGRESS, [INSIDE_VLAN, 0]), Role::new(Side::Inside, 0)),
            ((INGRESS, [OUTSIDE_VLAN, 0]), Role::new(Side::Outside, 0)),
            ((INGRESS, INSIDE_QINQ), Role::new(Side::Inside, 0)),
            ((INGRESS, OUTSIDE_QINQ), Role::new(Side::Outside, 0)),
            ((INGRESS, [REALM_VLAN, 0]), Role::new(Side::Inside, 1)),
            ((INGRESS, REALM_QINQ), Role::new(Side::Inside, 2)),
        ]);
        Self {
            geometry,
            routes: FixedRoutes::new(),
            vlans,
            grants: grants(),
            constants,
            rates: Rates::default(),
            lists: Lists::default(),
            realm_routes: Vec::new(),
        }
    }

    /// The same with two further realms, in which the addresses of the first one's subscribers are
    /// others' (RFC 6598 section 4).
    #[must_use]
    pub fn with_realms(mut self) -> Self {
        let halves =
            |all: &[Ipv4Addr]| all.iter().map(|one| (one.to_bits() >> 16) as u16).collect();
        let realms = Realms::new(vec![
            (
                "mvno".to_owned(),
                halves(&[subscriber::PLAIN, subscriber::VLAN]),
            ),
            ("cloud".to_owned(), halves(&[subscriber::PLAIN])),
        ]);
        let sizes = self.geometry.sizes;
        let mut ranges = subscribers();
        for (realm, pool) in [(1, 0), (2, 1)] {
            let first = Ipv4Addr::from_bits(subscriber::PLAIN.to_bits() & !0xf);
            let last = Ipv4Addr::from_bits(subscriber::PLAIN.to_bits() | 0xf);
            let keys = realms.ranges(realm, first, last).into_iter();
            ranges.extend(keys.map(|[first, last]| SubscriberShape { first, last, pool }));
        }
        let key = |realm| realms.key(realm, subscriber::PLAIN).expect("a subscriber");
        let (mvno, cloud) = (key(1), key(2));
        let neighbour = realms.key(1, subscriber::TWO_BLOCKS);
        self.grants.extend([
            Grant {
                inside: neighbour.expect("a subscriber"),
                external: POOL[1],
                pool: 0,
                block: 501,
                slab: 41,
            },
            Grant {
                inside: mvno,
                external: POOL[1],
                pool: 0,
                block: 500,
                slab: 40,
            },
            Grant {
                inside: cloud,
                external: LARGE_POOL,
                pool: 1,
                block: 3,
                slab: 9,
            },
        ]);
        self.realm_routes = [(mvno, hop::REALM_VLAN), (cloud, hop::REALM_QINQ)]
            .map(|(key, hop)| ((key.to_bits() >> 16) as u16, hop))
            .to_vec();
        self.geometry = Geometry::of(realms, self.geometry.pools, ranges);
        self.geometry.sizes.sessions = sizes.sessions;
        self.geometry.sizes.prefix_lines = sizes.prefix_lines;
        self.geometry.sizes.newcomers = sizes.newcomers;
        self.geometry.sizes.newcomers_ipv6 = sizes.newcomers_ipv6;
        self.geometry.sizes.flows_ipv6 = sizes.flows_ipv6;
        self.constants.features.0 |= Features::REALMS;
        self
    }

    /// Gives each address of a scattered pool keys of its own, the same every time.
    fn scatter(&self, memory: &Memory) {
        let pools = self
            .geometry
            .pools
            .iter()
            .filter(|pool| pool.is_scattered());
        for address in pools.flat_map(PoolShape::each_address) {
            let index = self.geometry.external_index(address).expect("in a pool");
            let element = memory.scatterings.get(index).expect("of every address");
            let mut key = u64::from(address.to_bits());
            for word in &element.0 {
                key = key.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                word.store(key);
            }
        }
    }

    /// The same with access lists.
    #[must_use]
    pub fn with_rules(mut self, rules: &[Rule]) -> Self {
        let subscribers = subscribers();
        let ranges = subscribers
            .iter()
            .map(|shape| (shape.first.to_bits(), shape.last.to_bits()));
        self.lists = Lists::new(rules, &ranges.collect::<Vec<_>>());
        self.geometry.sizes.prefix_lines = self.lists.lines();
        self.constants.features.0 |= Features::ACCESS;
        if rules.iter().any(|rule| rule.most != 0) {
            self.constants.features.0 |= Features::RATES;
            self.geometry.sizes.newcomers = throttle::CELLS;
        }
        self
    }

    /// Writes it all into empty tables. Secrets are the same every time, so
    /// that every home gives the same ports.
    ///
    /// # Panics
    /// A block is refused.
    pub fn install(&self, memory: &Memory) {
        let mut secret = 0x0123_4567_89ab_cdef_u64;
        self.geometry.install(memory, || {
            secret = secret.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            secret
        });
        let settings = memory.settings.get(0).expect("the settings");
        settings.fragment_ticks.store(u64::from(FRAGMENT_TICKS));
        settings.answers.store(self.rates.0);
        settings.put_off.store(0);
        forget_floods(memory);
        self.lists.install(memory);
        for slot in (0..answers::SLOTS).filter_map(|slot| memory.answers.get(slot)) {
            slot.0.store(0);
        }
        for (number, hop) in hops() {
            if let Some(entry) = memory.next_hops.get(u32::from(number)) {
                entry.write(&hop);
            }
        }
        for (network, number) in summaries().into_iter().chain(self.realm_routes.clone()) {
            memory.set_route(network, number);
        }
        self.scatter(memory);
        for grant in &self.grants {
            install::give(memory, &self.geometry, grant, 0, 0).expect("the block is free");
        }
        for (inside, index) in self.geometry.each_subscriber() {
            let quota = memory.quotas.get(index).expect("one");
            let words = [&quota.bucket, &quota.sessions].into_iter();
            words.chain(&quota.refused).for_each(|word| word.store(0));
            install::renew(memory, &self.geometry, inside, index);
        }
        let refused = self.geometry.subscriber_index(subscriber::REFUSED);
        install::refuse(memory, refused.expect("known"), true);
    }
}

/// Nobody has flooded yet.
fn forget_floods(memory: &Memory) {
    let addresses =
        (0..memory.unsolicited.len() as u32).filter_map(|at| memory.unsolicited.get(at));
    for address in addresses {
        address.lately.0.store(0);
        address.ever.store(0);
    }
    let cells = (0..memory.newcomers.len() as u32).filter_map(|at| memory.newcomers.get(at));
    for cell in cells {
        cell.window.store(0);
        cell.limited.store(0);
    }
    let table = &memory.newcomers_ipv6;
    for cell in (0..table.len() as u32).filter_map(|at| table.get(at)) {
        cell.counts.window.store(0);
        cell.counts.limited.store(0);
    }
    let table = &memory.flows_ipv6;
    for word in (0..table.len() as u32).filter_map(|at| table.get(at)) {
        word.store(0);
    }
}

fn pools(constants: &Constants) -> Vec<PoolShape> {
    let pool =
        |number: usize, name: &str, addresses, block_shift, blocks_per_subscriber| PoolShape {
            arrangement: Arrangement::of_policy(constants.pools[number]),
            name: name.to_owned(),
            addresses,
            block_shift,
            blocks_per_subscriber,
            watermark_ports: (1 << block_shift) * 3 / 4,
            max_blocks: 64,
        };
    vec![
        pool(0, "small", vec![(POOL[0], POOL[1])], SMALL_SHIFT, 6),
        pool(1, "large", vec![(LARGE_POOL, LARGE_POOL)], LARGE_SHIFT, 1),
    ]
}

fn subscribers() -> Vec<SubscriberShape> {
    let sixteen = |first: Ipv4Addr, pool| SubscriberShape {
        first: Ipv4Addr::from_bits(first.to_bits() & !0xf).into(),
        last: Ipv4Addr::from_bits(first.to_bits() | 0xf).into(),
        pool,
    };
    vec![
        sixteen(subscriber::PLAIN, 0),
        sixteen(subscriber::LARGE, 1),
        sixteen(subscriber::VLAN, 0),
        sixteen(subscriber::QINQ, 0),
        sixteen(subscriber::SMALL, 0),
        sixteen(subscriber::MISROUTED, 0),
    ]
}

fn grants() -> Vec<Grant> {
    let small = |inside: Ipv4Addr, slab: u32| Grant {
        inside: inside.into(),
        external: POOL[usize::from(slab >= 20)],
        pool: 0,
        // Neither neighbouring nor in order.
        block: (slab * 37 % 1008) as u16,
        slab,
    };
    let mut grants = vec![
        small(subscriber::PLAIN, 0),
        small(subscriber::TWO_BLOCKS, 2),
        small(subscriber::TWO_BLOCKS, 1),
        small(subscriber::VLAN, 20),
        small(subscriber::QINQ, 21),
        small(subscriber::SMALL, 22),
        small(subscriber::MISROUTED, 23),
        Grant {
            inside: subscriber::LARGE.into(),
            external: LARGE_POOL,
            pool: 1,
            block: 125,
            slab: 7,
        },
    ];
    grants.extend((30..36).map(|slab| small(subscriber::SIX_BLOCKS, slab)));
    grants
}

/// Next hops by number.
#[must_use]
pub fn hops() -> Vec<(u16, NextHop)> {
    use Side::{Inside, Outside};
    let next = |number: u16, side: Side, ifindex: u32, mtu: u16, vlans: [u16; 2]| {
        let hop = NextHop {
            destination_mac: [0x02, 0xd0, 0, 0, 0, number as u8],
            source_mac: [0x02, 0x50, 0, 0, 0, number as u8],
            ifindex,
            device: ifindex as u16,
            mtu,
            side: side as u8,
            vlan_count: vlans.iter().filter(|v| **v != 0).count() as u8,
            vlans,
            waits_for: 0,
        };
        (number, hop)
    };
    let lost = |number: u16, side: Side, gateway: Ipv4Addr| {
        let hop = NextHop {
            side: side as u8,
            waits_for: gateway.to_bits(),
            ..NextHop::default()
        };
        (number, hop)
    };
    vec![
        next(hop::OUTSIDE, Outside, OUTSIDE_IF, 1500, [0, 0]),
        next(hop::INSIDE, Inside, INSIDE_IF, 1500, [0, 0]),
        next(hop::OUTSIDE_VLAN, Outside, INGRESS, 1500, [OUTSIDE_VLAN, 0]),
        next(hop::OUTSIDE_QINQ, Outside, INGRESS, 1500, OUTSIDE_QINQ),
        next(hop::INSIDE_VLAN, Inside, INGRESS, 1500, [INSIDE_VLAN, 0]),
        next(hop::INSIDE_QINQ, Inside, INGRESS, 1500, INSIDE_QINQ),
        next(hop::REALM_VLAN, Inside, INGRESS, 1500, [REALM_VLAN, 0]),
        next(hop::REALM_QINQ, Inside, INGRESS, 1500, REALM_QINQ),
        lost(hop::LOST, Outside, remote::LOST),
        lost(hop::LOST_INSIDE, Inside, remote::LOST_INSIDE),
        next(hop::OUTSIDE_SMALL, Outside, OUTSIDE_IF, 576, [0, 0]),
        next(hop::INSIDE_SMALL, Inside, INSIDE_IF, 576, [0, 0]),
        next(hop::KERNEL, Outside, OUTSIDE_IF, 1400, [OUTSIDE_VLAN, 0]),
    ]
}

/// The next hop with this number.
///
/// # Panics
/// There is none.
#[must_use]
pub fn hop_of(number: u16) -> NextHop {
    let found = hops().into_iter().find(|(n, _)| *n == number);
    found.expect("a number of `hop`").1
}

/// Next-hop number of each /16, by its upper 16 bits.
fn summaries() -> Vec<(u16, u16)> {
    let network = |address: Ipv4Addr| (address.to_bits() >> 16) as u16;
    vec![
        (network(remote::PLAIN), hop::OUTSIDE),
        (network(remote::VLAN), hop::OUTSIDE_VLAN),
        (network(remote::QINQ), hop::OUTSIDE_QINQ),
        (network(remote::SMALL), hop::OUTSIDE_SMALL),
        (network(remote::SHARED), hop::OUTSIDE),
        (network(remote::EMPTY_HOP), hop::EMPTY),
        (network(remote::LOST), hop::LOST),
        (network(remote::LOST_INSIDE), hop::LOST_INSIDE),
        (network(remote::WIDE_LOCAL), ROUTE_LOCAL),
        (network(remote::WIDE_NO_ROUTE), ROUTE_NONE),
        (network(remote::WIDE_ELSEWHERE), ROUTE_ELSEWHERE),
        (network(subscriber::PLAIN), hop::INSIDE),
        (network(subscriber::VLAN), hop::INSIDE_VLAN),
        (network(subscriber::QINQ), hop::INSIDE_QINQ),
        (network(subscriber::SMALL), hop::INSIDE_SMALL),
        (network(subscriber::MISROUTED), hop::OUTSIDE),
    ]
}

/// `EXACT_ROUTES`.
#[must_use]
pub fn exact_routes() -> Vec<(Ipv4Addr, u32)> {
    vec![
        (remote::EXACT_LOCAL, EXACT_LOCAL),
        (remote::BROADCAST, EXACT_LOCAL),
        (remote::LINK_LOCAL, EXACT_LOCAL),
        (remote::EXACT, u32::from(hop::OUTSIDE)),
    ]
}

/// `LINKS`: what the interface of [`hop::KERNEL`] is to us.
#[must_use]
pub fn kernel_link() -> Link {
    let hop = hop_of(hop::KERNEL);
    Link {
        ifindex: hop.ifindex,
        device: hop.device,
        mtu: hop.mtu,
        side: hop.side,
        vlan_count: hop.vlan_count,
        vlans: hop.vlans,
        realm: 0,
        reserved: 0,
    }
}

/// The kernel's routes of the test's namespace, as user space knows them.
pub struct FixedRoutes {
    exact: HashMap<u32, u32>,
    /// The router's own addresses.
    pub own_inside: Option<Ipv4Addr>,
    pub own_outside: Option<Ipv4Addr>,
}

impl FixedRoutes {
    fn new() -> Self {
        let exact = exact_routes();
        Self {
            exact: exact.into_iter().map(|(a, v)| (a.to_bits(), v)).collect(),
            own_inside: Some(OWN_INSIDE),
            own_outside: Some(OWN_OUTSIDE),
        }
    }
}

impl Routing for FixedRoutes {
    fn exact(&self, address: u32) -> Option<u32> {
        self.exact.get(&address).copied()
    }
    fn resolve(&self, address: u32) -> Resolved {
        match Ipv4Addr::from_bits(address) {
            remote::KERNEL => Resolved::Hop(u32::from(hop::KERNEL)),
            remote::ELSEWHERE => Resolved::Elsewhere,
            // User space has not heard of it either.
            remote::NEW_LOCAL => Resolved::None,
            remote::UNKNOWN => Resolved::Unknown,
            remote::LOST_INSIDE => unresolved(address, Side::Inside),
            a if a == remote::LOST || a.octets()[..3] == [192, 0, 2] => {
                unresolved(address, Side::Outside)
            }
            _ => Resolved::None,
        }
    }
}

impl Router for FixedRoutes {
    fn own_address(&self, side: Side, _destination: u32) -> Option<Ipv4Addr> {
        match side {
            Side::Inside => self.own_inside,
            Side::Outside => self.own_outside,
        }
    }
    fn unreachable_code(&self, destination: u32) -> Option<u8> {
        match Ipv4Addr::from_bits(destination) {
            remote::UNREACHABLE => Some(code::HOST),
            // As if by a blackhole route.
            remote::WIDE_NO_ROUTE => None,
            _ => Some(code::NETWORK),
        }
    }
}

fn unresolved(neighbour: u32, side: Side) -> Resolved {
    Resolved::Unresolved { neighbour, side }
}
