//! Steps and reasons in words, with the facts of one packet. Pure.

use std::net::Ipv4Addr;

use cgn_common::layout::{Side, SubscriberHead};
use cgn_common::steps::Step;
use cgn_common::verdict::Reason;

use crate::api::rows::MappingRow;
use crate::api::view::realm_of_rule;
use crate::dataplane::install;
use crate::policy::access::Placed;
use crate::realms::InsideKey;
use crate::state::State;

/// What is known of a packet beside its steps.
pub struct Facts<'a> {
    pub state: &'a State,
    /// Its subscriber, if it comes from one.
    pub inside: Option<InsideKey>,
    pub mapping: Option<&'a MappingRow>,
    /// Neighbour and interface that the route leads to.
    pub neighbour: Option<(Ipv4Addr, String)>,
    /// MTU that it is too large for.
    pub mtu: u16,
    /// Rule of the access lists that holds for it.
    pub rule: Option<&'a Placed>,
}

impl Facts<'_> {
    /// A sentence for a step.
    pub fn step(&self, step: Step) -> String {
        let told = match step {
            Step::Listed => self.rule.map(|rule| {
                let (name, direction, action) =
                    (&rule.name, rule.direction_name(), rule.action_name());
                let realm = realm_of_rule(rule, &self.state.geometry.realms);
                let realm = realm.map_or_else(String::new, |realm| format!(", realm {realm}"));
                let group = match rule.group.as_str() {
                    "" => String::new(),
                    group => format!(", group {group}"),
                };
                format!(
                    "rule {name} ({direction}, {action}{realm}{group}) is the first that holds for it"
                )
            }),
            Step::Subscriber => self.inside.map(|inside| self.subscriber(inside)),
            Step::NextHop => self.neighbour.as_ref().map(|(address, interface)| {
                format!("the next hop is {address} on {interface}, and its link address is known")
            }),
            Step::Mapping | Step::Port => {
                let ends = self.mapping.map(|row| {
                    let (inside, external) = (row.inside, row.external);
                    format!(
                        "{inside}:{} = {external}:{}",
                        row.inside_port, row.external_port
                    )
                });
                ends.map(|ends| format!("{}: {ends}", step.help()))
            }
            _ => None,
        };
        told.unwrap_or_else(|| step.help().to_owned())
    }

    fn subscriber(&self, inside: InsideKey) -> String {
        let (pool, head) = (self.pool(inside), self.head(inside));
        let inside = self.state.geometry.realms.who(inside);
        let pool = pool.map_or("?", |(_, name)| name);
        match head.map(|head| (head.block_count(), Ipv4Addr::from_bits(head.external()))) {
            Some((0, _)) | None => {
                format!("{inside} is a subscriber of pool {pool}, without a block")
            }
            Some((1, external)) => {
                format!("{inside} is a subscriber of pool {pool}, with a block of {external}")
            }
            Some((count, external)) => {
                format!(
                    "{inside} is a subscriber of pool {pool}, with {count} blocks of {external}"
                )
            }
        }
    }

    fn head(&self, inside: InsideKey) -> Option<SubscriberHead> {
        let index = self.state.geometry.subscriber_index(inside)?;
        let subscriber = self.state.memory.subscribers.get(index)?;
        Some(SubscriberHead(subscriber.head.load()))
    }

    /// Number and name of the subscriber's pool.
    fn pool(&self, inside: InsideKey) -> Option<(usize, &str)> {
        let (memory, geometry) = (&self.state.memory, &self.state.geometry);
        let number = usize::from(install::pool_in_use(memory, geometry, inside)?);
        Some((number, &self.state.geometry.pools[number].name))
    }

    /// What happens after the fast path, if anything does.
    pub fn then(&self, reason: Reason) -> Option<String> {
        let neighbour = || match &self.neighbour {
            Some((address, interface)) => format!("{address} on {interface}"),
            None => "the neighbour".to_owned(),
        };
        Some(match reason {
            Reason::FirstPacket | Reason::BlockFull => self.block(self.inside?)?,
            Reason::NoNeighbour => format!(
                "the slow path asks for the link address of {}, keeps the packet until it is known, and begins anew",
                neighbour()
            ),
            Reason::RouteUnknown => {
                "the slow path asks the kernel for the route, and begins anew".to_owned()
            }
            Reason::Oversize => format!(
                "the slow path fragments it for the MTU of {} bytes, and begins anew with the fragments",
                self.mtu
            ),
            Reason::Answered => "the slow path tells the sender by an ICMP error".to_owned(),
            Reason::FragmentUnknown | Reason::FragmentAwaited => {
                "the fragments wait for each other in the slow path".to_owned()
            }
            Reason::Local | Reason::Multicast | Reason::NotIpv4 | Reason::OtherVlan => {
                "the kernel has it".to_owned()
            }
            _ => return None,
        })
    }

    /// What the slow path does for one who needs a block.
    fn block(&self, inside: InsideKey) -> Option<String> {
        let (number, name) = self.pool(inside)?;
        let ports = 1_u32 << self.state.geometry.pools[number].block_shift;
        let stats = self.state.stats();
        let free = stats.pool(number).status.blocks_free;
        let inside = self.state.geometry.realms.who(inside);
        Some(match (stats.log.is_refusing, free) {
            (true, _) => "no block is given, because the mapping log cannot be written".to_owned(),
            (_, 0) => format!("no block is given: pool {name} has none that is free"),
            _ => format!(
                "the slow path gives {inside} a block of {ports} ports of pool {name} ({free} blocks are free), \
                 logs it, and begins anew"
            ),
        })
    }
}

/// `inside` or `outside`.
pub const fn side(side: Side) -> &'static str {
    match side {
        Side::Inside => "inside",
        Side::Outside => "outside",
    }
}

/// Who gets a frame, as `02:00:00:00:00:01`.
pub fn link_address(frame: &[u8]) -> String {
    let bytes = frame.iter().take(6).map(|byte| format!("{byte:02x}"));
    bytes.collect::<Vec<_>>().join(":")
}
