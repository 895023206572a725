//! THE PACKET'S WAY. The steps, in order; nothing else decides the order.
//!
//! ```text
//!  1 parse      link header, IPv4, TCP/UDP/ICMP: lengths and checksums that lie end here
//!  2 classify   the router's own traffic goes to the kernel
//!  3 filter     a source from inside must be a subscriber's, from outside a host's
//!  4 route      where to; before the mapping is opened, so that nothing is opened in vain
//!  5 look up    the mapping: at home (one cache line), else found or opened by `nat::open`
//!  6 translate  address, port, checksums, time to live
//!  7 emit       link header of the next hop; out of its device
//! ```
//!
//! What is not the common packet leaves this file between two of the steps, and
//! goes on in [`crate::rare`]: a packet to a pool address from inside (hairpin),
//! ICMP other than echo, fragments and what is to become some. XDP has programs of
//! their own for them, which begin at step 1 again; elsewhere [`whole`] calls them.
//!
//! Anything that cannot be translated leaves with a [`Reason`]; nothing leaves
//! untranslated. Cache lines of a packet of an established flow, beside its
//! own two and the always-hot settings, counters and next hop:
//!
//! | outbound | waits for | inbound | waits for |
//! |---|---|---|---|
//! | `ROUTES` line | | `OUTSIDE_PAGES` page | |
//! | `INSIDE_PAGES` page | | `EXTERNALS` entry | page |
//! | `SUBSCRIBERS` entry | page | `BLOCKS` entry | `EXTERNALS` |
//! | `SLABS` bucket | subscriber | `SLABS` bucket | `BLOCKS` |
//! | | | `ROUTES` line | `BLOCKS` |

use crate::access::{self, Gate};
use crate::answers;
use crate::block::page_of;
use crate::counters::Carried;
use crate::frame::Frame;
use crate::guards;
use crate::ipv6;
use crate::layout::{
    Features, NextHopEntry, Role, Side, SlotState, Subscriber, SubscriberHead, VlanKey, peer,
};
use crate::nat::home::Home;
use crate::nat::next_hop::{is_host_outside, is_multicast, leave, route, route_inside, rows_of};
use crate::nat::session::{Arrival, Departure, Party};
use crate::nat::{lookup, open, ports, rewrite, search, tcp_state, throttle};
use crate::rare;
use crate::realm;
use crate::steps::Step;
use crate::tables::{Route, Tables};
use crate::verdict::{Direction, Protocol, Reason, Verdict};
use crate::wire::ethernet::{self, Ethernet};
use crate::wire::ipv4::{self, Ipv4};
use crate::wire::transport::{self, Transport, flag};

/// A parsed packet: offsets from the start of the frame, headers by value.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    pub link: Ethernet,
    /// Offset of the IPv4 header.
    pub l3: usize,
    /// Offset of the transport header.
    pub l4: usize,
    pub ip: Ipv4,
    pub transport: Transport,
}

/// What the interface that received a frame leads to: where its way begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// To subscribers only, without VLANs.
    Inside,
    /// To the internet only, without VLANs.
    Outside,
    /// Wherever its VLANs say.
    Vlan,
}

/// Where a part of the way ends.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At the end of the way; counted, unless it is dropped: see [`stop`].
    Done(Verdict),
    /// In [`crate::rare`], from this side, for this reason; not counted yet.
    Rare(Side, Reason),
    /// In [`crate::ipv6`], from this side: not IPv4, where prefixes of IPv6 are limited; not counted
    /// yet.
    Foreign(Side),
    /// At the end, for this reason, of which the sender may have to be told, or which a
    /// guard knows better; not counted yet.
    Refused(Side, Reason),
}

/// The whole way of a frame, through the access lists, the rare part with it.
pub fn whole<F: Frame, T: Tables>(frame: &mut F, tables: &T, entry: Entry) -> Verdict {
    if tables.features().has(Features::ACCESS) {
        let (gate, side, realm) = access::gate(frame, tables, entry);
        match gate {
            Gate::Translate => {}
            Gate::Done(verdict) => return verdict,
            Gate::Inspect => {
                if let Some(verdict) = access::inspect(frame, tables, side) {
                    return verdict;
                }
            }
            Gate::Bypass => {
                let next = access::bypass(frame, tables, (side, realm));
                return ending(frame, tables, next);
            }
        }
    }
    let next = match entry {
        Entry::Inside => inside(frame, tables),
        Entry::Outside => outside(frame, tables),
        Entry::Vlan => vlan(frame, tables),
    };
    ending(frame, tables, next)
}

/// The rest of a frame's way.
fn ending<F: Frame, T: Tables>(frame: &mut F, tables: &T, next: Next) -> Verdict {
    match next {
        Next::Done(verdict) => verdict,
        Next::Rare(side, reason) => rare::whole(frame, tables, side, reason),
        Next::Foreign(side) => ipv6::verdict(frame, tables, side),
        Next::Refused(side, reason) => rare::refused(frame, tables, side, reason),
    }
}

/// Side that a frame came from; None if its VLAN is none of ours.
#[must_use]
pub fn side_of<F: Frame, T: Tables>(frame: &F, tables: &T, entry: Entry) -> Option<Side> {
    match entry {
        Entry::Inside => Some(Side::Inside),
        Entry::Outside => Some(Side::Outside),
        Entry::Vlan => vlan_role(frame, tables).ok()?.0.side(),
    }
}

/// Way of a frame that an untagged inside interface received.
#[inline(always)]
pub fn inside<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Next {
    let way = untagged(frame).and_then(|link| outbound(frame, tables, link, realm::FIRST));
    finish(tables, Side::Inside, way)
}

/// Way of a frame that an untagged outside interface received.
#[inline(always)]
pub fn outside<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Next {
    let way = untagged(frame).and_then(|link| inbound(frame, tables, link));
    finish(tables, Side::Outside, way)
}

/// Way of a frame from an interface that carries VLANs: the tags tell the side.
#[inline(always)]
pub fn vlan<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Next {
    let (role, link) = match vlan_role(frame, tables) {
        Ok(found) => found,
        Err(reason) => return Next::Done(stop(tables, reason)),
    };
    match role.side() {
        Some(Side::Inside) => {
            let way = outbound(frame, tables, link, role.realm());
            finish(tables, Side::Inside, way)
        }
        Some(Side::Outside) => {
            let way = inbound(frame, tables, link);
            finish(tables, Side::Outside, way)
        }
        None => Next::Done(stop(tables, Reason::OtherVlan)),
    }
}

/// Side and link header of a frame that came in by `entry`.
#[inline(always)]
pub(crate) fn link_and_side<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    entry: Entry,
) -> Result<(Side, Ethernet), Reason> {
    match entry {
        Entry::Inside => untagged(frame).map(|link| (Side::Inside, link)),
        Entry::Outside => untagged(frame).map(|link| (Side::Outside, link)),
        Entry::Vlan => {
            let (role, link) = vlan_role(frame, tables)?;
            Ok((role.side().ok_or(Reason::OtherVlan)?, link))
        }
    }
}

/// Key of the subscriber that sent a frame which was parsed and came in by `entry`, from inside.
#[must_use]
pub fn sender_key<F: Frame, T: Tables>(frame: &F, tables: &T) -> Option<u32> {
    let link = ethernet::parse(frame).ok()?;
    let ip = ipv4::parse(frame, link.length).ok()?;
    realm::sender(frame, tables, ip.source.get()).ok()
}

/// Tells the packets that are rare from those that end here.
#[inline(always)]
fn finish<T: Tables>(tables: &T, side: Side, way: Result<Verdict, Reason>) -> Next {
    match way {
        Ok(verdict) => Next::Done(verdict),
        Err(reason) if reason.is_rare() => {
            tables.note(Step::Rare);
            Next::Rare(side, reason)
        }
        Err(Reason::NotIpv4) if tables.features().has(Features::THROTTLE_IPV6) => {
            Next::Foreign(side)
        }
        Err(reason) => end(tables, side, reason),
    }
}

/// The end of a packet that came from `side`.
#[inline(always)]
pub(crate) fn end<T: Tables>(tables: &T, side: Side, reason: Reason) -> Next {
    let features = tables.features();
    if answers::concern(features, reason) {
        tables.note(Step::Told);
        return Next::Refused(side, reason);
    }
    if guards::concern(features, side, reason) {
        return Next::Refused(side, reason);
    }
    Next::Done(stop(tables, reason))
}

/// The one place where packets that go on elsewhere are counted. What is dropped is counted once,
/// by who drops it, together with what it carried: see [`dropped`].
#[inline(always)]
pub fn stop<T: Tables>(tables: &T, reason: Reason) -> Verdict {
    let verdict = Verdict::from(reason);
    if !matches!(verdict, Verdict::Drop(_)) {
        tables.count(|c| c.left(reason));
    }
    verdict
}

/// Counts a frame that is dropped; for who drops it.
#[inline(always)]
pub fn dropped<F: Frame, T: Tables>(frame: &F, tables: &T, reason: Reason) {
    let carried = Carried::of(frame);
    tables.count(|c| c.dropped(reason, carried));
    if tables.features().has(Features::REALMS) {
        tables.count_for_realm(frame, reason);
    }
}

#[inline(always)]
fn outbound<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    link: Ethernet,
    realm: u8,
) -> Result<Verdict, Reason> {
    // 1 parse
    let ip = network(frame, &link)?;
    let (source, destination) = (ip.source.get(), ip.destination.get());
    // 2 classify
    if is_multicast(destination) {
        return Err(Reason::Multicast);
    }
    // 4 route (tells the router's own addresses, too)
    let route_out = route(tables, source, destination);
    if matches!(route_out, Route::Local) || realm::is_own(tables, realm, destination) {
        return Err(Reason::Local);
    }
    // 3 filter
    let (index, subscriber) = match subscriber_in(tables, realm, source) {
        // A router between us and a subscriber may have to say something.
        Err(Reason::SpoofedSource) if ip.protocol == transport::ICMP => {
            return Err(Reason::UnsupportedIcmp);
        }
        found => found?,
    };
    tables.note(Step::Subscriber);
    let hop = leave(tables, route_out, Side::Outside, destination)?;
    tables.note(Step::NextHop);
    check_whole(&ip)?;
    let mut packet = transport_of(frame, link, ip)?;
    let transport = packet.transport;
    if transport.protocol == Protocol::Icmp && transport.icmp_type != transport::ECHO_REQUEST {
        return Err(Reason::UnsupportedIcmp);
    }
    check_size(&packet.ip, hop)?;
    // 5 look up
    let port = external_port(tables, index, subscriber, &transport, destination)?;
    tables.note(Step::Mapping);
    // A block may have been given since `head` was read.
    let head = SubscriberHead(subscriber.head.load());
    let external = head.external();
    let sender = || realm::key_of(tables, realm, packet.ip.source.get());
    depart(
        tables,
        &transport,
        destination,
        sender,
        head.pool(),
        (external, port),
    )?;
    // 6 translate
    packet.ip = ipv4::again(frame, packet.l3)?;
    if !packet.ip.is_atomic() {
        // A router behind us may fragment it, and shall not take it for another's.
        let id = tables.fresh_id(external, destination, packet.ip.protocol);
        packet.ip = rewrite::identify(frame, packet.l3, &packet.ip, id)?;
    }
    rewrite::translate(frame, &packet, Direction::Outbound, external, port)?;
    clamp_mss(frame, tables, &packet, Direction::Outbound);
    // 7 emit
    emit(frame, tables, &packet, hop, Direction::Outbound)
}

#[inline(always)]
fn inbound<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    link: Ethernet,
) -> Result<Verdict, Reason> {
    // 1 parse
    let ip = network(frame, &link)?;
    let (source, destination) = (ip.source.get(), ip.destination.get());
    // 2 classify: ours is what goes to a pool address
    let rows = rows_of(tables, destination);
    if !rows.is_pool_address() {
        return Err(not_for_a_pool(tables, source, destination));
    }
    tables.note(Step::PoolAddress);
    // 3 filter
    if !is_host_outside(source) {
        return Err(Reason::BadSource);
    }
    check_whole(&ip)?;
    let packet = transport_of(frame, link, ip)?;
    let transport = packet.transport;
    if transport.protocol == Protocol::Icmp && transport.icmp_type != transport::ECHO_REPLY {
        return Err(Reason::UnsupportedIcmp);
    }
    // 5 look up: the slot's index is the port
    let (slot, inside_key) = lookup::mapping_at(
        tables,
        (destination, rows),
        transport.protocol,
        transport.destination_port,
    )?;
    tables.note(Step::Port);
    // 4 route
    let route_in = route_inside(tables, source, inside_key);
    let hop = leave(tables, route_in, Side::Inside, inside_key)?;
    tables.note(Step::NextHop);
    check_size(&packet.ip, hop)?;
    // 3 filter, by the sessions of the mapping
    let remote = peer::remote(source, transport.source_port);
    let from = (Side::Outside, remote);
    arrive(tables, &transport, from, rows.pool(), &slot, inside_key)?;
    // 6 translate
    let port = slot.key.inside_port();
    let address = realm::address_of(tables, inside_key);
    rewrite::translate(frame, &packet, Direction::Inbound, address, port)?;
    clamp_mss(frame, tables, &packet, Direction::Inbound);
    // 7 emit
    emit(frame, tables, &packet, hop, Direction::Inbound)
}

/// Link header of a frame from an interface without VLANs of ours.
#[inline(always)]
fn untagged<F: Frame>(frame: &F) -> Result<Ethernet, Reason> {
    let link = ethernet::parse_untagged(frame)?;
    if ethernet::is_tag(link.ethertype) {
        return Err(Reason::OtherVlan);
    }
    Ok(link)
}

/// Link header of a frame from an interface that carries VLANs, and what they are to us.
#[inline(always)]
fn vlan_role<F: Frame, T: Tables>(frame: &F, tables: &T) -> Result<(Role, Ethernet), Reason> {
    let link = ethernet::parse(frame)?;
    let key = VlanKey {
        ifindex: tables.ingress(),
        vlans: link.vlans(),
    };
    let role = tables.vlan_role(&key).ok_or(Reason::OtherVlan)?;
    if ethernet::is_tag(link.ethertype) {
        return Err(Reason::VlanDepth);
    }
    Ok((role, link))
}

/// IPv4 header; other protocols are the kernel's.
#[inline(always)]
pub(crate) fn network<F: Frame>(frame: &F, link: &Ethernet) -> Result<Ipv4, Reason> {
    if link.ethertype != ethernet::IPV4 {
        return Err(Reason::NotIpv4);
    }
    ipv4::parse(frame, link.length)
}

/// Transport header of a whole packet.
#[inline(always)]
pub fn transport_of<F: Frame>(frame: &F, link: Ethernet, ip: Ipv4) -> Result<Packet, Reason> {
    let l3 = link.length;
    let l4 = l3 + ip.header_length();
    let length = ip.payload_length();
    let transport = transport::parse(frame, l4, length, ip.protocol)?;
    Ok(Packet {
        link,
        l3,
        l4,
        ip,
        transport,
    })
}

/// Only a whole packet that lives on goes further.
#[inline(always)]
pub(crate) fn check_whole(ip: &Ipv4) -> Result<(), Reason> {
    if ip.is_fragment() {
        return Err(Reason::Fragment);
    }
    check_alive(ip)
}

/// Only a packet that lives on goes further.
#[inline(always)]
pub(crate) fn check_alive(ip: &Ipv4) -> Result<(), Reason> {
    if ip.ttl <= 1 {
        return Err(Reason::TtlExpired);
    }
    Ok(())
}

/// Index and line of the subscriber with this address in a realm.
#[inline(always)]
pub(crate) fn subscriber_in<T: Tables>(
    tables: &T,
    realm: u8,
    source: u32,
) -> Result<(u32, &Subscriber), Reason> {
    subscriber_of(tables, realm::key_of(tables, realm, source)?)
}

/// Index and line of the subscriber with this inside key.
#[inline(always)]
pub(crate) fn subscriber_of<T: Tables>(
    tables: &T,
    source: u32,
) -> Result<(u32, &Subscriber), Reason> {
    let page = tables
        .inside_page(page_of(source))
        .ok_or(Reason::Internal)?;
    let index = page.index_of(source).ok_or(Reason::SpoofedSource)?;
    let subscriber = tables.subscriber(index).ok_or(Reason::Internal)?;
    if !SubscriberHead(subscriber.head.load()).has(SubscriberHead::VALID) {
        return Err(Reason::SpoofedSource);
    }
    Ok((index, subscriber))
}

/// External port of the mapping of an outbound packet, which is found or opened.
#[inline(always)]
pub(crate) fn external_port<T: Tables>(
    tables: &T,
    index: u32,
    subscriber: &Subscriber,
    transport: &Transport,
    destination: u32,
) -> Result<u16, Reason> {
    external_port_if(tables, index, subscriber, transport, destination, true)
}

/// The same; with `may_open` false none is opened, and the error says [`Reason::MidStream`]
/// or [`Reason::StrayReset`].
#[inline(always)]
pub(crate) fn external_port_if<T: Tables>(
    tables: &T,
    index: u32,
    subscriber: &Subscriber,
    transport: &Transport,
    destination: u32,
    may_open: bool,
) -> Result<u16, Reason> {
    let found = find_or_open(tables, index, subscriber, transport, destination, may_open);
    match found {
        Ok(place) => {
            // A block may have been given since, and the first one tells the address.
            let head = SubscriberHead(subscriber.head.load());
            Ok(ports::outward(tables, head.pool(), head.external(), place))
        }
        Err(reason) => {
            let reason = match may_open && tables.features().has(Features::THROTTLE) {
                true => throttle::blame(tables, index, reason),
                false => reason,
            };
            tables.remember(index, reason);
            Err(reason)
        }
    }
}

/// Its place, which is the port where blocks are contiguous: at home, opened there, or else.
#[inline(always)]
fn find_or_open<T: Tables>(
    tables: &T,
    index: u32,
    subscriber: &Subscriber,
    transport: &Transport,
    destination: u32,
    may_open: bool,
) -> Result<u16, Reason> {
    let (protocol, inside_port) = (transport.protocol, transport.source_port);
    let remote = peer::remote(destination, transport.destination_port);
    let tick = tables.now();
    let flags = (protocol == Protocol::Tcp).then_some(transport.flags);
    let head = SubscriberHead(subscriber.head.load());
    let features = tables.features_within(head.pool(), protocol);
    let mut flow = open::Flow {
        subscriber: index,
        protocol,
        inside_port,
        remote,
        state: match flags {
            _ if !may_open => SlotState::Free as u64,
            Some(flags) => tcp_state::first(flags, !features.has(Features::DROP_MIDSTREAM)),
            None => SlotState::Open as u64,
        },
        tick,
    };
    let mut claim = search::Candidate::NONE;
    if let Some(home) = Home::of(tables, index, subscriber, head, protocol, inside_port) {
        match home.find(tables, inside_port) {
            Ok((port, slot)) => {
                if lookup::refresh_outbound(tables, &slot, remote, flags, tick, features) {
                    return Ok(port);
                }
            }
            // What opens nothing may still stand elsewhere.
            Err(_) if !flow.opens() => {}
            Err(_) if is_throttled(tables, index) => flow.state = SlotState::Free as u64,
            Err(is_clear) if head.block_count() == 1 => {
                if let Some(reason) = home.refusal(tables, protocol)
                    && (home.is_free_of(inside_port) || tables.is_clear(flow))
                {
                    return Err(reason);
                }
                let mut opened = tables.open_at_home(flow, home.known(), is_clear);
                if opened.is_unclear() && tables.is_clear(flow) {
                    opened = tables.open_at_home(flow, home.known(), true);
                }
                if opened.is_limited() {
                    return Err(Reason::MappingRate);
                }
                let live = opened.live();
                if live.is_some() {
                    home.write_peer(tables, flow, live.slot());
                    open::note_opened(tables, index);
                    return Ok(home.port_of(live.slot()));
                }
                claim = opened.claim();
            }
            Err(_) => {}
        }
    }
    open::open(tables, flow, transport.flags, claim)
}

/// True if the subscriber's prefixes may open nothing now.
#[inline(always)]
fn is_throttled<T: Tables>(tables: &T, subscriber: u32) -> bool {
    tables.features().has(Features::THROTTLE) && !tables.may_begin(subscriber, false)
}

/// The packet of this `sender` to this destination leaves a mapping of pool `pool`: its session is noted, where
/// sessions are.
#[inline(always)]
pub(crate) fn depart<T: Tables>(
    tables: &T,
    transport: &Transport,
    destination: u32,
    sender: impl FnOnce() -> Result<u32, Reason>,
    pool: u8,
    external: (u32, u16),
) -> Result<(), Reason> {
    if !tables
        .features_within(pool, transport.protocol)
        .has(Features::SESSIONS)
    {
        return Ok(());
    }
    tables.note(Step::Sessions);
    let inside = sender()?;
    let party = Party {
        protocol: transport.protocol,
        inside: (inside, transport.source_port),
        external_port: external.1,
        remote: peer::remote(destination, transport.destination_port),
        flags: transport.flags,
        policy: tables.policy(pool),
        tick: tables.now(),
    };
    match tables.depart(party, external.0) {
        Departure::Open => Ok(()),
        Departure::Full => Err(Reason::SessionsFull),
        Departure::Limit => Err(Reason::SessionLimit),
    }
}

/// The packet from a side and a remote endpoint arrives at a mapping of pool `pool`: it is filtered,
/// and keeps the mapping alive as it may. What is refused leaves no trace there.
#[inline(always)]
pub(crate) fn arrive<T: Tables>(
    tables: &T,
    transport: &Transport,
    (side, remote): (Side, u64),
    pool: u8,
    slot: &lookup::Slot<'_>,
    inside_key: u32,
) -> Result<(), Reason> {
    let features = tables.features_within(pool, transport.protocol);
    let mut arrival = Arrival::WHERE_NONE_IS_NOTED;
    if features.has(Features::SESSIONS) {
        tables.note(Step::Sessions);
        arrival = tables.arrive(
            Party {
                protocol: transport.protocol,
                inside: (inside_key, slot.key.inside_port()),
                external_port: transport.destination_port,
                remote,
                flags: transport.flags,
                policy: tables.policy(pool),
                tick: tables.now(),
            },
            slot.peer,
        );
        if !arrival.is_admitted() {
            return Err(Reason::Filtered);
        }
    }
    // What a subscriber sends to another one's mapping was asked for as his.
    if tables.features().has(Features::THROTTLE)
        && matches!(side, Side::Outside)
        && !arrival.is_noted()
        && lookup::comes_anew(tables, slot, transport, remote)
        && !tables.newcomer(side, remote as u32)
    {
        return Err(Reason::Throttled);
    }
    if arrival.is_known() && !keep_alive(tables, transport, features, remote, slot) {
        return Err(Reason::NoMapping);
    }
    tables.note(Step::Admitted);
    Ok(())
}

/// The mapping lives on, if a packet of this kind may see to that; false if it ended meanwhile.
#[inline(always)]
fn keep_alive<T: Tables>(
    tables: &T,
    transport: &Transport,
    features: Features,
    remote: u64,
    slot: &lookup::Slot<'_>,
) -> bool {
    if transport.protocol == Protocol::Tcp {
        lookup::refresh_inbound_tcp(tables, slot, remote, transport.flags, tables.now())
    } else if features.has(Features::INBOUND_REFRESH) {
        lookup::refresh_inbound(slot, tables.now())
    } else {
        true
    }
}

#[inline(always)]
pub(crate) fn check_hop(ip: &Ipv4, hop: &NextHopEntry) -> Result<(), Reason> {
    if ip.total_length() > hop.mtu() {
        return Err(Reason::TooBig);
    }
    Ok(())
}

/// The same of a packet that may be fragmented.
#[inline(always)]
pub(crate) fn check_size(ip: &Ipv4, hop: &NextHopEntry) -> Result<(), Reason> {
    match check_hop(ip, hop) {
        Err(_) if !ip.dont_fragment() => Err(Reason::Oversize),
        checked => checked,
    }
}

/// Lowers the MSS option of a SYN, where it is to be.
#[inline(always)]
fn clamp_mss<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    direction: Direction,
) {
    let most = tables.features().mss(direction);
    if most != 0 && packet.transport.flags & flag::SYN != 0 {
        frame.clamp_mss(packet.l4, most);
    }
}

/// Step 7 of a packet that went in `direction`.
#[inline(always)]
fn emit<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    hop: &NextHopEntry,
    direction: Direction,
) -> Result<Verdict, Reason> {
    rewrite::link_header(frame, &packet.link, hop)?;
    tables.note(Step::Translated);
    let (protocol, bytes) = (packet.transport.protocol, packet.ip.total_length());
    tables.count(|c| c.translated(direction, protocol, bytes));
    Ok(transmit(hop))
}

/// Out of the device of `hop`.
#[inline(always)]
pub(crate) fn transmit(hop: &NextHopEntry) -> Verdict {
    Verdict::Transmit {
        device: hop.device(),
        ifindex: hop.mac_end_and_ifindex().1,
    }
}

/// A packet from outside to an address that is in no pool.
#[inline(always)]
fn not_for_a_pool<T: Tables>(tables: &T, source: u32, destination: u32) -> Reason {
    if is_multicast(destination) {
        return Reason::Multicast;
    }
    match route(tables, source, destination) {
        Route::Local => Reason::Local,
        Route::Martian => Reason::Martian,
        _ => Reason::NotForUs,
    }
}
