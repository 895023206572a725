//! Fragments (RFC 791 section 2.3, RFC 4787 REQ-14), and packets that are to be
//! fragmented since their way out is too narrow.
//!
//! The first fragment has the ports: it goes the way of any packet, and what
//! becomes of it is noted for the others. A later one needs no more than that
//! note: addresses, identification, time to live. Without the note it waits in
//! the slow path. Nothing is reassembled.

use crate::frame::Frame;
use crate::layout::{FragmentKey, NextHopEntry, Side, SubscriberHead, peer};
use crate::nat::fragment::Beginning;
use crate::nat::next_hop::{is_host_outside, leave, route, route_inside, rows_of};
use crate::nat::{lookup, rewrite};
use crate::path::{
    Packet, arrive, check_alive, check_size, depart, external_port, network, subscriber_of,
    transmit, transport_of,
};
use crate::realm::{self, address_of};
use crate::tables::Tables;
use crate::verdict::{Direction, Protocol, Reason, Verdict};
use crate::wire::ethernet::{self, Ethernet};
use crate::wire::ipv4::Ipv4;
use crate::wire::transport;

/// Offset in units of 8 bytes at which a TCP fragment would overwrite the flags
/// of the first one (RFC 3128).
const TCP_FLAGS: u16 = 1;

#[inline(always)]
pub fn from_inside<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Verdict, Reason> {
    // 1 parse; which tags are ours was seen before
    let link = ethernet::parse(frame)?;
    let ip = network(frame, &link)?;
    // 3 filter
    subscriber_of(tables, realm::sender(frame, tables, ip.source.get())?)?;
    check(&ip)?;
    if ip.is_later_fragment() {
        return follow(frame, tables, link, ip, Side::Inside);
    }
    send(frame, tables)
}

/// A packet from inside that has ports: whole, or a first fragment.
#[inline(always)]
fn send<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Verdict, Reason> {
    let Departure { packet, .. } = way_out(frame, tables)?;
    // 3 filter, 5 look up
    let (source, destination) = (packet.ip.source.get(), packet.ip.destination.get());
    let key = realm::sender(frame, tables, source)?;
    let (index, subscriber) = subscriber_of(tables, key)?;
    let port = external_port(tables, index, subscriber, &packet.transport, destination)?;
    let head = SubscriberHead(subscriber.head.load());
    let external = head.external();
    // Once more, since the stack of XDP has no room to keep it while a mapping is opened.
    let Departure { mut packet, hop } = way_out(frame, tables)?;
    let own = || realm::sender(frame, tables, source);
    depart(
        tables,
        &packet.transport,
        packet.ip.destination.get(),
        own,
        head.pool(),
        (external, port),
    )?;
    let (ip, link) = (packet.ip, packet.link);
    packet.ip = identify(frame, tables, &packet, (external, destination))?;
    // 6 translate
    rewrite::translate(frame, &packet, Direction::Outbound, external, port)?;
    // 7 emit
    emit(frame, tables, &link, &ip, hop, [true, false])
}

/// A packet from inside with ports, and where it leaves.
struct Departure<'t> {
    packet: Packet,
    hop: &'t NextHopEntry,
}

/// Steps 1 and 4.
#[inline(always)]
fn way_out<'t, F: Frame, T: Tables>(frame: &F, tables: &'t T) -> Result<Departure<'t>, Reason> {
    let link = ethernet::parse(frame)?;
    let ip = network(frame, &link)?;
    let (source, destination) = (ip.source.get(), ip.destination.get());
    let way = route(tables, source, destination);
    let hop = leave(tables, way, Side::Outside, destination)?;
    let packet = packet_of(frame, link, ip)?;
    let transport = packet.transport;
    if transport.protocol == Protocol::Icmp && transport.icmp_type != transport::ECHO_REQUEST {
        return Err(Reason::UnsupportedIcmp);
    }
    fits(tables, &ip, hop)?;
    Ok(Departure { packet, hop })
}

#[inline(always)]
pub fn from_outside<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Verdict, Reason> {
    // 1 parse
    let link = ethernet::parse(frame)?;
    let ip = network(frame, &link)?;
    // 2 classify, 3 filter
    let (source, destination) = (ip.source.get(), ip.destination.get());
    let rows = rows_of(tables, destination);
    if !rows.is_pool_address() {
        return Err(Reason::NotForUs);
    }
    if !is_host_outside(source) {
        return Err(Reason::BadSource);
    }
    check(&ip)?;
    if ip.is_later_fragment() {
        return follow(frame, tables, link, ip, Side::Outside);
    }
    let mut packet = packet_of(frame, link, ip)?;
    let transport = packet.transport;
    if transport.protocol == Protocol::Icmp && transport.icmp_type != transport::ECHO_REPLY {
        return Err(Reason::UnsupportedIcmp);
    }
    // 5 look up
    let (slot, key) = lookup::mapping_at(
        tables,
        (destination, rows),
        transport.protocol,
        transport.destination_port,
    )?;
    // 4 route
    let way = route_inside(tables, source, key);
    let hop = leave(tables, way, Side::Inside, key)?;
    fits(tables, &ip, hop)?;
    // 3 filter, by the sessions of the mapping
    let remote = peer::remote(source, transport.source_port);
    let from = (Side::Outside, remote);
    arrive(tables, &transport, from, rows.pool(), &slot, key)?;
    if ip.is_fragment() {
        let beginning = Beginning {
            key: key_of_all(&ip, Side::Outside, source),
            source,
            destination: key,
            inside: key,
        };
        let id = tables.begin(beginning).id()?;
        packet.ip = rewrite::identify(frame, packet.l3, &ip, id)?;
    }
    // 6 translate
    let port = slot.key.inside_port();
    let inside = address_of(tables, key);
    rewrite::translate(frame, &packet, Direction::Inbound, inside, port)?;
    // 7 emit
    emit(frame, tables, &link, &ip, hop, [false, true])
}

/// A fragment that is not the first: what became of the first becomes of it.
#[inline(always)]
fn follow<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    link: Ethernet,
    ip: Ipv4,
    side: Side,
) -> Result<Verdict, Reason> {
    // 5 look up
    let source = ip.source.get();
    let from = match side {
        Side::Inside => realm::sender(frame, tables, source)?,
        Side::Outside => source,
    };
    let known = match tables.datagram_or_wait(&key_of_all(&ip, side, from)) {
        Some(known) if known.is_alive(tables.now()) => known,
        _ => return Err(punt(tables, &ip, Reason::FragmentUnknown)),
    };
    let goes_in = known.destination != ip.destination.get();
    // 4 route; what goes in has a key there
    let hop = match goes_in {
        true => {
            let way = route_inside(tables, source, known.destination);
            leave(tables, way, Side::Inside, known.destination)?
        }
        false => {
            let way = route(tables, source, known.destination);
            leave(tables, way, Side::Outside, known.destination)?
        }
    };
    fits(tables, &ip, hop)?;
    // 6 translate
    let translated = rewrite::identify(frame, link.length, &ip, known.id as u16)?;
    let ends = [known.source, address_of(tables, known.destination)];
    rewrite::translate_addresses(frame, link.length, &translated, ends)?;
    // 7 emit
    let goes_out = known.source != source;
    emit(frame, tables, &link, &ip, hop, [goes_out, goes_in])
}

/// What all fragments of the datagram have in common; `source` is a key if it came from inside.
#[inline(always)]
fn key_of_all(ip: &Ipv4, side: Side, source: u32) -> FragmentKey {
    FragmentKey::new(side, ip.protocol, source, ip.destination.get(), ip.id.get())
}

/// Gives a packet from inside the identification that it leaves with, and notes
/// it for the fragments that follow. `ends` are the addresses that it gets; of a
/// receiver inside, his key.
#[inline(always)]
pub(crate) fn identify<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    ends: (u32, u32),
) -> Result<Ipv4, Reason> {
    let ip = &packet.ip;
    let id = if ip.is_fragment() {
        let inside = realm::sender(frame, tables, ip.source.get())?;
        let beginning = Beginning {
            key: key_of_all(ip, Side::Inside, inside),
            source: ends.0,
            destination: ends.1,
            inside,
        };
        tables.begin(beginning).id()?
    } else {
        tables.fresh_id(ends.0, ends.1, ip.protocol)
    };
    rewrite::identify(frame, packet.l3, ip, id)
}

/// Transport header of a whole packet, or of the first fragment of one.
#[inline(always)]
pub(crate) fn packet_of<F: Frame>(frame: &F, link: Ethernet, ip: Ipv4) -> Result<Packet, Reason> {
    if !ip.is_fragment() {
        return transport_of(frame, link, ip);
    }
    let l3 = link.length;
    let l4 = l3 + ip.header_length();
    let transport = transport::parse_first(frame, l4, ip.payload_length(), ip.protocol)?;
    Ok(Packet {
        link,
        l3,
        l4,
        ip,
        transport,
    })
}

/// What goes through as a fragment is one, and cannot harm the first one.
#[inline(always)]
pub(crate) fn check(ip: &Ipv4) -> Result<(), Reason> {
    check_alive(ip)?;
    if !ip.is_fragment() {
        return Ok(());
    }
    let length = ip.payload_length() as u32;
    let end = ip.fragment_offset() as u32 * 8 + ip.header_length() as u32 + length;
    if length == 0 || ip.has_more_fragments() && !length.is_multiple_of(8) || end > 0xffff {
        return Err(Reason::BadFragment);
    }
    match ip.protocol {
        transport::TCP if ip.fragment_offset() == TCP_FLAGS => Err(Reason::FragmentOverlap),
        transport::TCP | transport::UDP | transport::ICMP => Ok(()),
        _ => Err(transport::unsupported(ip.protocol)),
    }
}

/// Whether the next hop takes a packet of this size, or the slow path must fragment it.
#[inline(always)]
pub(crate) fn fits<T: Tables>(tables: &T, ip: &Ipv4, hop: &NextHopEntry) -> Result<(), Reason> {
    let fits = check_size(ip, hop);
    if fits == Err(Reason::Oversize) {
        tables.needs_mtu(hop.mtu());
    }
    fits.map_err(|reason| punt(tables, ip, reason))
}

/// The reason of a punt, unless the source had enough of them lately.
#[inline(always)]
fn punt<T: Tables>(tables: &T, ip: &Ipv4, reason: Reason) -> Reason {
    let is_limited = matches!(reason, Reason::FragmentUnknown | Reason::Oversize);
    if is_limited && !tables.may_punt_fragment(ip.source.get()) {
        return Reason::FragmentLimit;
    }
    reason
}

/// Step 7; `directions` are those in which the packet counts, outbound first.
#[inline(always)]
fn emit<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    link: &Ethernet,
    ip: &Ipv4,
    hop: &NextHopEntry,
    directions: [bool; 2],
) -> Result<Verdict, Reason> {
    rewrite::link_header(frame, link, hop)?;
    let bytes = ip.total_length();
    let protocol = match ip.protocol {
        transport::TCP => Protocol::Tcp,
        transport::UDP => Protocol::Udp,
        _ => Protocol::Icmp,
    };
    tables.count(|c| {
        if directions[0] {
            c.translated(Direction::Outbound, protocol, bytes);
        }
        if directions[1] {
            c.translated(Direction::Inbound, protocol, bytes);
        }
    });
    Ok(transmit(hop))
}
