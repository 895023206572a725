//! Hairpinning: a packet goes outbound and inbound at once.
//!
//! An echo has one identifier for both ends (RFC 792). That of a request tells
//! the receiver's mapping, as from outside, and becomes the one of the sender's
//! mapping; a reply to that finds its way back by it, and becomes what the
//! sender's own was.

use crate::frame::Frame;
use crate::layout::{Features, NextHopEntry, Side, SubscriberHead, peer};
use crate::nat::next_hop::{leave, route_inside, rows_of};
use crate::nat::session::Party;
use crate::nat::{lookup, rewrite};
use crate::path::{Packet, arrive, depart, external_port_if, network, subscriber_of, transmit};
use crate::rare::fragments;
use crate::realm::{self, address_of};
use crate::steps::Step;
use crate::tables::Tables;
use crate::verdict::{Direction, Protocol, Reason, Verdict};
use crate::wire::{ethernet, transport};

/// A packet from a subscriber to a pool address: another subscriber's mapping,
/// or one of his own. The receiver sees the sender's external endpoint (RFC
/// 4787 REQ-9, RFC 5382 REQ-8).
#[inline(always)]
pub fn hairpin<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Verdict, Reason> {
    // 1 to 5 for the receiver: so that no mapping is opened in vain
    let delivery = deliver(frame, tables)?;
    let (transport, ip) = (delivery.packet.transport, delivery.packet.ip);
    // 3 filter, 5 look up for the sender
    let key = realm::sender(frame, tables, ip.source.get())?;
    let (index, subscriber) = subscriber_of(tables, key)?;
    let port = if transport.is_echo_reply() {
        0 // its identifier is the receiver's
    } else {
        let external = SubscriberHead(subscriber.head.load()).external();
        let may_open = admits_newcomer(tables, &delivery, external);
        let destination = ip.destination.get();
        external_port_if(tables, index, subscriber, &transport, destination, may_open).map_err(
            |reason| match reason {
                Reason::MidStream | Reason::StrayReset if !may_open => Reason::Filtered,
                other => other,
            },
        )?
    };
    let head = SubscriberHead(subscriber.head.load());
    if head.block_count() == 0 {
        return Err(Reason::FirstPacket);
    }
    let sender = (head.external(), port);
    if !transport.is_echo_reply() {
        let own = || realm::sender(frame, tables, ip.source.get());
        depart(
            tables,
            &transport,
            ip.destination.get(),
            own,
            head.pool(),
            sender,
        )?;
    }
    // Once more, since the stack of XDP has no room to keep it while a mapping is opened.
    let Delivery {
        mut packet,
        slot,
        inside_key,
        pool,
        hop,
    } = deliver(frame, tables)?;
    // 3 filter: the receiver's mapping sees the sender's external endpoint
    let from = (Side::Inside, peer::remote(sender.0, sender.1));
    arrive(tables, &packet.transport, from, pool, &slot, inside_key)?;
    if !packet.ip.is_atomic() {
        let ends = (sender.0, inside_key);
        packet.ip = fragments::identify(frame, tables, &packet, ends)?;
    }
    // 6 translate
    let is_request = packet.transport.icmp_type == transport::ECHO_REQUEST;
    let receiver_port = if is_request {
        sender.1
    } else {
        slot.key.inside_port()
    };
    let receiver = (address_of(tables, inside_key), receiver_port);
    rewrite::translate_both(frame, &packet, sender, receiver)?;
    // 7 emit: a packet of the sender's, and one of the receiver's
    rewrite::link_header(frame, &packet.link, hop)?;
    tables.note(Step::Translated);
    count_both(tables, &packet);
    Ok(transmit(hop))
}

/// A packet to a pool address, and where it goes inside.
struct Delivery<'t> {
    packet: Packet,
    slot: lookup::Slot<'t>,
    inside_key: u32,
    /// The receiver's pool.
    pool: u8,
    hop: &'t NextHopEntry,
}

/// Steps 1 to 5 for the destination of a packet from inside.
#[inline(always)]
fn deliver<'t, F: Frame, T: Tables>(frame: &F, tables: &'t T) -> Result<Delivery<'t>, Reason> {
    let link = ethernet::parse(frame)?;
    let ip = network(frame, &link)?;
    let (source, destination) = (ip.source.get(), ip.destination.get());
    subscriber_of(tables, realm::sender(frame, tables, source)?)?;
    fragments::check(&ip)?;
    let packet = fragments::packet_of(frame, link, ip)?;
    let transport = packet.transport;
    if transport.protocol == Protocol::Icmp && !transport.is_echo() {
        return Err(Reason::UnsupportedIcmp);
    }
    let rows = rows_of(tables, destination);
    let (mut slot, inside_key) = lookup::mapping_at(
        tables,
        (destination, rows),
        transport.protocol,
        transport.destination_port,
    )?;
    // Kept as one number: its parts, from which LLVM would make it late, have no room on XDP's stack.
    slot.peer = core::hint::black_box(slot.peer);
    tables.note(Step::Port);
    let route_in = route_inside(tables, source, inside_key);
    let hop = leave(tables, route_in, Side::Inside, inside_key)?;
    fragments::fits(tables, &ip, hop)?;
    Ok(Delivery {
        packet,
        slot,
        inside_key,
        pool: rows.pool(),
        hop,
    })
}

/// True if the receiver's filter lets in a mapping of address `external` that is yet to be
/// opened. A sender who has a mapping may go on and be refused: the receiver's answer, if he
/// sends one, then comes through, as between two NATs. To one who has none nobody can answer.
#[inline(always)]
fn admits_newcomer<T: Tables>(tables: &T, delivery: &Delivery<'_>, external: u32) -> bool {
    let Delivery {
        packet, slot, pool, ..
    } = delivery;
    let transport = packet.transport;
    let features = tables.features_within(*pool, transport.protocol);
    if !features.has(Features::SESSIONS) {
        return true;
    }
    let party = Party {
        protocol: transport.protocol,
        inside: (delivery.inside_key, slot.key.inside_port()),
        external_port: transport.destination_port,
        remote: peer::remote(external, 0),
        flags: transport.flags,
        policy: tables.policy(*pool),
        tick: tables.now(),
    };
    tables.admits(party, slot.peer)
}

#[inline(always)]
fn count_both<T: Tables>(tables: &T, packet: &Packet) {
    let (protocol, bytes) = (packet.transport.protocol, packet.ip.total_length());
    tables.count(|c| {
        c.translated(Direction::Outbound, protocol, bytes);
        c.translated(Direction::Inbound, protocol, bytes);
    });
}
