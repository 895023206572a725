//! Realms: subscribers with equal addresses, told apart by the VLAN that they come by (RFC 6598
//! section 4, RFC 6888 REQ-2).

use std::net::Ipv4Addr;

use cgn_common::frame::Buffer;
use cgn_common::layout::{self, Action, Constants, FIRST_KEY, Features, Filtering, Policy, Ports};
use cgn_common::path;
use cgn_common::verdict::{Direction, Protocol, Reason};
use cgn_user::dataplane::load::Entry::{Inside, Outside, Vlan};
use cgn_user::dataplane::tables::Counted;
use cgn_user::policy::access::Rule;
use cgn_user::policy::throttle::Prefix;
use cgn_user::realms::InsideKey;

use super::{Case, floods};
use crate::harness::Ending;
use crate::harness::trial::{Endpoint, Trial, protocol_of};
use crate::harness::world::{
    INGRESS, INSIDE_VLAN, LARGE_POOL, OUTSIDE_VLAN, POOL, REALM_QINQ, REALM_VLAN, World, hop,
    remote, subscriber,
};
use crate::packets::{CUSTOMER_TAG, Draft, SERVICE_TAG, Transport, flag};

/// The one inside address of three subscribers, and a port that all of them use.
const HOME: Endpoint = (subscriber::PLAIN, 4000);
const SERVER: Endpoint = (remote::PLAIN, 443);
const OTHER: Endpoint = (remote::VLAN, 80);
const ROUTER: Ipv4Addr = Ipv4Addr::new(62, 1, 2, 3);
/// An address that is a key of the second realm in the tables.
const LIKE_A_KEY: Ipv4Addr = Ipv4Addr::from_bits(FIRST_KEY | 1);

/// With sessions, which have keys as well.
pub fn world() -> World {
    let mut constants = Constants::PLAIN;
    let anyone = Filtering::EndpointIndependent;
    constants.pools = [Policy::new(anyone, anyone, Policy::TIMED_SESSIONS); 256];
    constants.features = Features(Features::SESSIONS | Features::QUOTAS);
    World::with(constants, super::ROOM).with_realms()
}

/// The first of several realms, in which all is as ever.
pub fn world_of_first() -> World {
    World::new().with_realms()
}

/// New mappings are limited, in each realm by itself.
pub fn world_of_floods() -> World {
    floods::world().with_realms()
}

/// The first pool is said to be the second realm's alone, so what is for nobody's port is counted there.
pub fn world_of_drops() -> World {
    let mut world = World::new().with_realms();
    world.constants.realms[0] = 1;
    world
}

/// Who may go where untranslated: everyone has a host outside of his own; and nobody else goes there. There is
/// one more that only the third realm may not send to.
pub fn world_of_rules() -> World {
    let rule = |action, realm, to: Ipv4Addr| Rule {
        name: String::new(),
        direction: Direction::Outbound,
        action,
        realm,
        source: Vec::new(),
        destination: vec![(to.to_bits(), to.to_bits())],
        protocol: None,
        ports: Ports::ANY,
        most: 0,
        group: String::new(),
    };
    let own = [0, 1, 2].map(|realm| rule(Action::Bypass, realm, portal(realm)));
    let denied = rule(Action::Deny, layout::Rule::EVERY_REALM, portal(1));
    let of_cloud = rule(Action::Deny, 2, remote::QINQ);
    World::new()
        .with_realms()
        .with_rules(&[own.as_slice(), &[denied, of_cloud]].concat())
}

/// The host that subscribers of a realm reach untranslated.
fn portal(realm: u8) -> Ipv4Addr {
    [remote::OTHER, remote::PLAIN, remote::VLAN][usize::from(realm)]
}

/// A subscriber with the address [`HOME`].
struct Tenant {
    /// Number of his realm.
    realm: u8,
    /// Tags of his packets.
    tags: Vec<(u16, u16)>,
    /// Towards him.
    hop: u16,
    external: Ipv4Addr,
}

fn tenants() -> [Tenant; 3] {
    let one = |realm, vlan, hop, external| Tenant {
        realm,
        tags: vec![(CUSTOMER_TAG, vlan)],
        hop,
        external,
    };
    [
        one(0, INSIDE_VLAN, hop::INSIDE, POOL[0]),
        one(1, REALM_VLAN, hop::REALM_VLAN, POOL[1]),
        Tenant {
            realm: 2,
            tags: vec![(SERVICE_TAG, REALM_QINQ[0]), (CUSTOMER_TAG, REALM_QINQ[1])],
            hop: hop::REALM_QINQ,
            external: LARGE_POOL,
        },
    ]
}

impl Tenant {
    fn key(&self, t: &Trial) -> InsideKey {
        let realms = &t.world.geometry.realms;
        realms.key(self.realm, HOME.0).expect("a subscriber")
    }

    /// His packet, as it comes.
    fn sends(&self, draft: Draft) -> Draft {
        draft.with(|d| d.tags.clone_from(&self.tags))
    }

    /// What opens a mapping leaves as it must; its external endpoint.
    fn goes_out(&self, t: &mut Trial, draft: &Draft, out: u16) -> Endpoint {
        let draft = self.sends(draft.clone());
        let opening = t.run(Vlan, &draft.bytes());
        assert!(matches!(opening.ending, Ending::Sent { .. }), "{opening:?}");
        let external = self.external(t, draft.source.1, protocol_of(&draft));
        let wanted = draft.clone().with(|d| d.source = external);
        t.becomes(Vlan, &draft, wanted, out, &[0]);
        external
    }

    fn external(&self, t: &Trial, port: u16, protocol: Protocol) -> Endpoint {
        let mapping = t.mapping((self.key(t), port), protocol);
        mapping.expect("a mapping of his own").external
    }

    /// What comes back reaches him and nobody else.
    fn comes_back(&self, t: &mut Trial, draft: &Draft, external: Endpoint) {
        let answer = draft.answer(external);
        let wanted = answer.clone().with(|d| d.destination = draft.source);
        t.becomes(Outside, &answer, wanted, self.hop, &[1]);
    }
}

fn drafts() -> [Draft; 3] {
    [
        Draft::udp(HOME, SERVER),
        Draft::tcp(flag::SYN, HOME, SERVER),
        Draft::ping(HOME, SERVER.0),
    ]
}

fn unreachable(quoted: &[u8], from: Ipv4Addr, to: Ipv4Addr) -> Draft {
    Draft::icmp_error((3, 3), [0; 4], quoted, from, to)
}

pub const CASES: &[Case] = &[
    (
        "three subscribers with one inside address and port are three, both ways, all protocols",
        |t| {
            for draft in drafts() {
                let opened = tenants().map(|tenant| {
                    let external = tenant.goes_out(t, &draft, hop::OUTSIDE);
                    assert_eq!(external.0, tenant.external, "the pool of his realm");
                    (tenant, external)
                });
                for (tenant, external) in opened {
                    tenant.comes_back(t, &draft, external);
                    let again = tenant.goes_out(t, &draft, hop::OUTSIDE);
                    assert_eq!(again, external, "his mapping is still his");
                }
            }
        },
    ),
    (
        "all mappings of a subscriber of a realm have one external address (REQ-2)",
        |t| {
            for tenant in tenants() {
                for port in 0..20 {
                    for draft in drafts() {
                        let draft = draft.with(|d| d.source.1 = 5000 + port);
                        let external = tenant.goes_out(t, &draft, hop::OUTSIDE);
                        assert_eq!(external.0, tenant.external);
                    }
                }
            }
        },
    ),
    (
        "sessions of equal endpoints are apart: each realm has its own",
        |t| {
            for (number, tenant) in tenants().into_iter().enumerate() {
                let first = Draft::tcp(flag::SYN, HOME, SERVER);
                tenant.goes_out(t, &first, hop::OUTSIDE);
                assert_eq!(t.sessions().len(), number, "the first one is in the slot");
                let second = Draft::tcp(flag::SYN, HOME, OTHER);
                tenant.goes_out(t, &second, hop::OUTSIDE_VLAN);
                assert_eq!(t.sessions().len(), number + 1);
            }
        },
    ),
    (
        "fragments of equal datagrams follow the first one of their own realm",
        |t| {
            const DATA: usize = 800;
            let whole = Draft::udp(HOME, SERVER).with(|d| d.payload = vec![7; 2000]);
            let opened = tenants().map(|tenant| {
                let external = tenant.goes_out(t, &Draft::udp(HOME, SERVER), hop::OUTSIDE);
                (tenant, external)
            });
            for order in [&[0][..], &[1, 2]] {
                for (tenant, external) in &opened {
                    let came = tenant.sends(whole.clone());
                    let wanted = came.clone().with(|d| d.source = *external);
                    t.fragments(Vlan, &came, wanted, hop::OUTSIDE, DATA, order, &[0]);
                }
            }
            for (tenant, external) in &opened {
                let came = whole.answer(*external).with(|d| d.id = 77);
                let wanted = came.clone().with(|d| d.destination = HOME);
                t.fragments(Outside, &came, wanted, tenant.hop, DATA, &[0, 1, 2], &[1]);
            }
        },
    ),
    (
        "an ICMP error reaches the subscriber who sent what it quotes, by his address",
        |t| {
            for tenant in tenants() {
                for draft in drafts() {
                    let external = tenant.goes_out(t, &draft, hop::OUTSIDE);
                    let left = draft.clone().with(|d| {
                        d.source = external;
                        d.ttl -= 1;
                    });
                    let error = unreachable(&left.packet(), ROUTER, external.0);
                    let quoted = left.with(|d| d.source = draft.source);
                    let wanted = unreachable(&quoted.packet(), ROUTER, HOME.0);
                    t.becomes(Outside, &error, wanted, tenant.hop, &[1]);
                }
            }
        },
    ),
    (
        "an ICMP error of a subscriber leaves from his external endpoint",
        |t| {
            for tenant in tenants() {
                let draft = Draft::udp(HOME, SERVER);
                let external = tenant.goes_out(t, &draft, hop::OUTSIDE);
                let arrived = draft.answer(HOME);
                let error = tenant.sends(unreachable(&arrived.packet(), HOME.0, SERVER.0));
                let quoted = draft.answer(external);
                let wanted = unreachable(&quoted.packet(), external.0, SERVER.0);
                let wanted = wanted.with(|d| d.tags.clone_from(&error.tags));
                t.becomes(Vlan, &error, wanted, hop::OUTSIDE, &[0]);
            }
        },
    ),
    (
        "a packet to the external endpoint of a subscriber of another realm is hairpinned",
        |t| {
            for from in tenants() {
                for to in tenants() {
                    let theirs = Draft::udp((HOME.0, 6000), SERVER);
                    let external = to.goes_out(t, &theirs, hop::OUTSIDE);
                    let sends = from.sends(Draft::udp(HOME, external));
                    let opening = t.run(Vlan, &sends.bytes());
                    assert!(matches!(opening.ending, Ending::Sent { .. }), "{opening:?}");
                    let own = from.external(t, HOME.1, Protocol::Udp);
                    let wanted = sends.clone().with(|d| {
                        (d.source, d.destination) = (own, (HOME.0, 6000));
                    });
                    t.becomes(Vlan, &sends, wanted, to.hop, &[0, 1]);
                }
            }
        },
    ),
    (
        "an error about a hairpinned packet finds its way between realms",
        |t| {
            let [_, mvno, cloud] = tenants();
            let theirs = Draft::udp((HOME.0, 6000), SERVER);
            let external = cloud.goes_out(t, &theirs, hop::OUTSIDE);
            let sends = mvno.sends(Draft::udp(HOME, external));
            let _ = t.run(Vlan, &sends.bytes());
            let own = mvno.external(t, HOME.1, Protocol::Udp);
            let arrived = Draft::udp(own, (HOME.0, 6000));
            let error = cloud.sends(unreachable(&arrived.packet(), HOME.0, own.0));
            let quoted = Draft::udp(HOME, external);
            let wanted = unreachable(&quoted.packet(), external.0, HOME.0);
            let wanted = wanted.with(|d| d.tags.clone_from(&error.tags));
            t.becomes(Vlan, &error, wanted, mvno.hop, &[0, 1]);
        },
    ),
    ("an address is a subscriber's in its own realm only", |t| {
        for (sentence, realm, source) in [
            ("of the first realm only", 1, subscriber::LARGE),
            ("in no network of the realm", 2, subscriber::VLAN),
            ("in its network, but nobody's", 1, subscriber::NOT_ONE),
            ("like a key", 1, LIKE_A_KEY),
            ("like a key, in the first realm", 0, LIKE_A_KEY),
        ] {
            t.comes_to(sentence);
            let tenant = &tenants()[realm];
            for draft in drafts() {
                let spoofed = tenant.sends(draft.with(|d| d.source.0 = source));
                t.stopped(Vlan, &spoofed.bytes(), Reason::SpoofedSource);
            }
        }
        let spoofed = Draft::udp((LIKE_A_KEY, 1), SERVER);
        t.stopped(Inside, &spoofed.bytes(), Reason::SpoofedSource);
    }),
    (
        "a frame whose VLAN is not ours any more is nobody's, not one of the first realm",
        |t| {
            let world = std::rc::Rc::clone(&t.world);
            let counted = Counted::default();
            let tables = world.tables(t.homes[0].memory(), &counted);
            tables.ingress.set(INGRESS);
            for (tags, key) in [
                (vec![], Some(HOME.0.to_bits())),
                (vec![(CUSTOMER_TAG, INSIDE_VLAN)], Some(HOME.0.to_bits())),
                (vec![(CUSTOMER_TAG, 4000)], None),
                (vec![(SERVICE_TAG, REALM_VLAN), (CUSTOMER_TAG, 4000)], None),
            ] {
                let mut bytes = Draft::udp(HOME, SERVER).with(|d| d.tags = tags).bytes();
                let end = bytes.len();
                let frame = Buffer::new(&mut bytes, 0, end).expect("in range");
                assert_eq!(path::sender_key(&frame, &tables), key);
            }
        },
    ),
    ("no packet is for a key", |t| {
        for tenant in tenants() {
            let draft = tenant.sends(Draft::udp(HOME, (LIKE_A_KEY, 53)));
            t.stopped(Vlan, &draft.bytes(), Reason::Martian);
        }
        let inbound = Draft::udp(SERVER, (LIKE_A_KEY, 53));
        t.stopped(Outside, &inbound.bytes(), Reason::Martian);
        let untagged = Draft::udp(HOME, (LIKE_A_KEY, 53));
        t.stopped(Inside, &untagged.bytes(), Reason::Martian);
    }),
    (
        "who has no block yet is punted for one, and so is he in each realm",
        |t| {
            for tenant in tenants() {
                let new = Draft::udp((subscriber::NO_BLOCK_YET, 1), SERVER);
                t.stopped(Vlan, &tenant.sends(new).bytes(), Reason::FirstPacket);
            }
        },
    ),
    (
        "the time to live, the size and the router's own address are as ever",
        |t| {
            for tenant in tenants() {
                let late = tenant.sends(Draft::udp(HOME, SERVER).with(|d| d.ttl = 1));
                t.stopped(Vlan, &late.bytes(), Reason::TtlExpired);
                let large = Draft::udp(HOME, (remote::SMALL, 1)).with(|d| {
                    d.payload = vec![1; 600];
                    d.dont_fragment = true;
                });
                t.stopped(Vlan, &tenant.sends(large).bytes(), Reason::TooBig);
                let own = tenant.sends(Draft::udp(HOME, (remote::EXACT_LOCAL, 22)));
                t.stopped(Vlan, &own.bytes(), Reason::Local);
            }
        },
    ),
];

pub const FLOODS: &[Case] = &[
    (
        "who opens too many mappings is limited in his own realm: whom his address is elsewhere is not",
        |t| {
            let datagram = |port| Draft::udp((HOME.0, port), SERVER);
            for tenant in tenants() {
                t.comes_to(&format!("realm {}", tenant.realm));
                t.align(2);
                for port in 1..=floods::OF_SUBSCRIBER {
                    tenant.goes_out(t, &datagram(port), hop::OUTSIDE);
                }
                let beyond = tenant.sends(datagram(100)).bytes();
                t.stopped(Vlan, &beyond, Reason::Throttled);
                tenant.goes_out(t, &datagram(1), hop::OUTSIDE);
            }
            let each = [0, 1, 2].map(|realm| Prefix {
                is_inside: true,
                realm,
                first: HOME.0.into(),
                length: 32,
            });
            assert_eq!(t.limited(), each, "who reads the table is told of each");
        },
    ),
    ("a /24 of a realm is not that of another", |t| {
        let [first, mvno, cloud] = tenants();
        let of_neighbour = |port| Draft::udp((subscriber::TWO_BLOCKS, port), SERVER);
        for tenant in [&mvno, &first] {
            t.align(2);
            for port in 1..=floods::OF_SUBSCRIBER {
                tenant.goes_out(t, &Draft::udp((HOME.0, port), SERVER), hop::OUTSIDE);
            }
            for port in 1..=floods::OF_INSIDE_24 - floods::OF_SUBSCRIBER {
                let draft = tenant.sends(of_neighbour(port));
                let opening = t.run(Vlan, &draft.bytes());
                assert!(matches!(opening.ending, Ending::Sent { .. }), "{opening:?}");
            }
            let beyond = tenant.sends(of_neighbour(100)).bytes();
            t.stopped(Vlan, &beyond, Reason::Throttled);
        }
        for port in 1..=floods::OF_SUBSCRIBER {
            cloud.goes_out(t, &Draft::udp((HOME.0, port), SERVER), hop::OUTSIDE);
        }
    }),
];

/// What leaves with a tag comes back with one: only VLANs tell the sides where there are realms.
fn from_outside(draft: Draft) -> Vec<u8> {
    let tagged = draft.with(|d| d.tags = vec![(CUSTOMER_TAG, OUTSIDE_VLAN)]);
    tagged.bytes()
}

pub const DROPS: &[Case] = &[
    (
        "a drop from inside is counted for the realm of its VLANs, whatever its source",
        |t| {
            for tenant in tenants() {
                t.comes_to(&format!("realm {}", tenant.realm));
                let realm = Some(tenant.realm);
                let spoofed = tenant.sends(Draft::udp((subscriber::NOT_ONE, 1), SERVER));
                t.stopped_of(Vlan, &spoofed.bytes(), Reason::SpoofedSource, realm);
                let late = tenant.sends(Draft::udp(HOME, SERVER).with(|d| d.ttl = 1));
                t.stopped_of(Vlan, &late.bytes(), Reason::TtlExpired, realm);
                // What is no packet at all has its VLANs, too.
                let short = &late.bytes()[..30];
                t.stopped_of(Vlan, short, Reason::Truncated, realm);
            }
        },
    ),
    (
        "one from outside is for the realm of who has the block of its port, with a mapping there or not",
        |t| {
            for tenant in tenants() {
                t.comes_to(&format!("realm {}", tenant.realm));
                let realm = Some(tenant.realm);
                for draft in [
                    Draft::udp(HOME, SERVER),
                    Draft::tcp(flag::SYN, HOME, SERVER),
                ] {
                    let external = tenant.goes_out(t, &draft, hop::OUTSIDE);
                    let late = draft.answer(external).with(|d| d.ttl = 1);
                    t.stopped_of(Vlan, &from_outside(late), Reason::TtlExpired, realm);
                    let unused = draft.answer((external.0, external.1 ^ 1));
                    t.stopped_of(Vlan, &from_outside(unused), Reason::NoMapping, realm);
                }
            }
        },
    ),
    (
        "one to a port of nobody, or without a port, is for the realm that the pool is of alone",
        |t| {
            let to = |address, port| Draft::udp(SERVER, (address, port));
            // Nobody is given the last block.
            for (address, realm) in [(POOL[0], Some(1)), (LARGE_POOL, None)] {
                let nobodys = from_outside(to(address, 64_000));
                t.stopped_of(Vlan, &nobodys, Reason::NoMapping, realm);
            }
            let ping = Draft::ping((HOME.0, 4000), SERVER.0).answer((POOL[0], 64_000));
            t.stopped_of(Vlan, &from_outside(ping), Reason::NoMapping, Some(1));
        },
    ),
    ("one that is for no address of ours is for nobody", |t| {
        let stray = from_outside(Draft::udp(SERVER, (remote::SHARED, 1)));
        t.stopped_of(Vlan, &stray, Reason::NotForUs, None);
    }),
];

pub const RULES: &[Case] = &[
    (
        "a bypass of a realm is for its packets, and what comes back from there is for its subscriber",
        |t| {
            for tenant in tenants() {
                t.comes_to(&format!("realm {}", tenant.realm));
                let to = portal(tenant.realm);
                let out = match tenant.realm {
                    2 => hop::OUTSIDE_VLAN,
                    _ => hop::OUTSIDE,
                };
                let draft = Draft::udp(HOME, (to, 53));
                let sends = tenant.sends(draft.clone());
                t.becomes(Vlan, &sends, sends.clone(), out, &[]);
                assert_eq!(t.mapping((tenant.key(t), HOME.1), Protocol::Udp), None);
                let answer = Draft::udp((to, 53), HOME);
                t.becomes(Outside, &answer, answer.clone(), tenant.hop, &[]);
                // Whatever it carries, also without a block.
                let other =
                    Draft::new(Transport::Other(47), (subscriber::NO_BLOCK_YET, 0), (to, 0));
                let sends = tenant.sends(other);
                t.becomes(Vlan, &sends, sends.clone(), out, &[]);
            }
        },
    ),
    (
        "others are translated on their way there, or denied by the rule behind it",
        |t| {
            let [first, mvno, cloud] = tenants();
            let draft = |to| Draft::udp(HOME, (to, 53));
            mvno.goes_out(t, &draft(portal(0)), hop::OUTSIDE);
            first.goes_out(t, &draft(portal(2)), hop::OUTSIDE_VLAN);
            for tenant in [&first, &cloud] {
                let denied = tenant.sends(draft(portal(1))).bytes();
                t.stopped(Vlan, &denied, Reason::AccessDenied);
            }
        },
    ),
    (
        "a rule of a realm denies its packets, and nobody else's from the same address",
        |t| {
            let [first, mvno, cloud] = tenants();
            let draft = Draft::udp(HOME, (remote::QINQ, 53));
            for tenant in [&first, &mvno] {
                tenant.goes_out(t, &draft, hop::OUTSIDE_QINQ);
            }
            let denied = cloud.sends(draft).bytes();
            t.stopped(Vlan, &denied, Reason::AccessDenied);
        },
    ),
    (
        "nobody gets an answer who is in another realm, and nobody bypasses with another's address",
        |t| {
            // A subscriber of the first realm only, and one of nobody.
            for address in [subscriber::LARGE, subscriber::NOT_ONE] {
                for realm in [1, 2] {
                    let to_other = Draft::udp((portal(realm), 53), (address, 1));
                    t.stopped(Outside, &to_other.bytes(), Reason::NotForUs);
                    let tenant = &tenants()[usize::from(realm)];
                    let spoofed = tenant.sends(Draft::udp((address, 1), (portal(realm), 53)));
                    t.stopped(Vlan, &spoofed.bytes(), Reason::SpoofedSource);
                }
            }
            let of_first = Draft::udp((portal(0), 53), (subscriber::LARGE, 1));
            t.becomes(Outside, &of_first, of_first.clone(), hop::INSIDE, &[]);
            let like_a_key = Draft::udp((portal(1), 53), (LIKE_A_KEY, 1));
            t.stopped(Outside, &like_a_key.bytes(), Reason::Martian);
        },
    ),
    (
        "what bypasses in a realm loses one of its time to live, and must fit, both ways",
        |t| {
            let mvno = &tenants()[1];
            let late = Draft::udp(HOME, (portal(1), 53)).with(|d| d.ttl = 1);
            t.stopped(Vlan, &mvno.sends(late).bytes(), Reason::TtlExpired);
            let back = Draft::udp((portal(1), 53), HOME);
            let late = back.clone().with(|d| d.ttl = 1);
            t.stopped(Outside, &late.bytes(), Reason::TtlExpired);
            let large = back.with(|d| d.payload = vec![7; 1490]);
            t.stopped(Outside, &large.bytes(), Reason::TooBig);
        },
    ),
];
