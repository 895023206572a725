//! ICMP errors of others (RFC 5508 section 4): the packet that an error quotes
//! tells whose it is. Nothing is opened, refreshed or ended by them (REQ-6, RFC
//! 4787 REQ-12), and nobody is asked who sent them (RFC 4787 REQ-12a).

use crate::frame::Frame;
use crate::layout::{Side, SlotState, SubscriberHead};
use crate::nat::next_hop::{is_host, leave, route, route_inside, rows_of};
use crate::nat::open::Flow;
use crate::nat::rewrite::{self, ErrorEnds};
use crate::nat::{lookup, ports, search};
use crate::path::{check_hop, check_whole, subscriber_in, transmit};
use crate::realm::{address_of, realm_of};
use crate::steps::Step;
use crate::tables::Tables;
use crate::verdict::{Direction, Protocol, Reason, Verdict};
use crate::wire::ethernet::Ethernet;
use crate::wire::icmp::{self, IcmpError};
use crate::wire::ipv4::Ipv4;
use crate::wire::transport::{ECHO_REPLY, ECHO_REQUEST};

/// An error from outside, about a packet that left with an external endpoint.
#[inline(always)]
pub fn from_outside<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    link: Ethernet,
    ip: Ipv4,
) -> Result<Verdict, Reason> {
    let error = parse(frame, &link, &ip)?;
    if is_about(&error, ECHO_REPLY) {
        // To outside, a reply was never sent from a mapping.
        return Err(Reason::NoQuotedMapping);
    }
    let mut ends = unchanged(&ip, &error);
    // 5 look up
    let receiver = receiver_of(tables, &ip, &error)?;
    tell(&mut ends, tables, receiver);
    emit(frame, tables, (link, ip), &error, &ends, Some(receiver.0))
}

/// An error from a subscriber, or from a router before him, about a packet that
/// came in; also about one that was hairpinned.
#[inline(always)]
pub fn from_inside<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    link: Ethernet,
    ip: Ipv4,
) -> Result<Verdict, Reason> {
    let error = parse(frame, &link, &ip)?;
    let mut ends = unchanged(&ip, &error);
    // 3 filter, 5 look up
    ends.quoted_destination = sender_of(frame, tables, &ip, &error)?;
    ends.source = ends.quoted_destination.0;
    let mut inside_key = None;
    if rows_of(tables, ends.destination).is_pool_address() {
        let receiver = receiver_of(tables, &ip, &error)?;
        tell(&mut ends, tables, receiver);
        inside_key = Some(receiver.0);
    } else if is_about(&error, ECHO_REQUEST) {
        // None comes in from outside.
        return Err(Reason::NoQuotedMapping);
    }
    emit(frame, tables, (link, ip), &error, &ends, inside_key)
}

/// The error, if it lives on.
#[inline(always)]
fn parse<F: Frame>(frame: &F, link: &Ethernet, ip: &Ipv4) -> Result<IcmpError, Reason> {
    check_whole(ip)?;
    let (header, total) = (ip.header_length(), ip.total_length() as usize);
    icmp::parse(frame, link.length + header, total - header)
}

/// All ends as they came.
#[inline(always)]
fn unchanged(ip: &Ipv4, error: &IcmpError) -> ErrorEnds {
    let [source, destination] = error.ports;
    ErrorEnds {
        source: ip.source.get(),
        destination: ip.destination.get(),
        quoted_source: (error.quoted.source.get(), source.get()),
        quoted_destination: (error.quoted.destination.get(), destination.get()),
    }
}

/// True if the quoted packet is an echo of this type.
#[inline(always)]
fn is_about(error: &IcmpError, echo: u8) -> bool {
    error.quoted_type == echo && matches!(error.protocol, Protocol::Icmp)
}

/// The error goes to this inside endpoint, a key and a port.
#[inline(always)]
fn tell<T: Tables>(ends: &mut ErrorEnds, tables: &T, receiver: (u32, u16)) {
    ends.destination = address_of(tables, receiver.0);
    ends.quoted_source = (ends.destination, receiver.1);
}

/// Inside endpoint (a key and a port) of who is told: he sent the quoted packet, from the
/// external endpoint that the error is sent to.
#[inline(always)]
fn receiver_of<T: Tables>(tables: &T, ip: &Ipv4, error: &IcmpError) -> Result<(u32, u16), Reason> {
    let external = error.quoted.source.get();
    if external != ip.destination.get() {
        return Err(Reason::QuoteMismatch);
    }
    let rows = rows_of(tables, external);
    let port = error.ports[0].get();
    let (slot, inside) = lookup::mapping_at(tables, (external, rows), error.protocol, port)
        .map_err(|reason| match reason {
            Reason::NoMapping => Reason::NoQuotedMapping,
            other => other,
        })?;
    Ok((inside, slot.key.inside_port()))
}

/// External endpoint of who had the quoted packet: the subscriber that sends the
/// error, or one behind the router that does.
#[inline(always)]
fn sender_of<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    ip: &Ipv4,
    error: &IcmpError,
) -> Result<(u32, u16), Reason> {
    let realm = realm_of(frame, tables);
    let (source, inside) = (ip.source.get(), error.quoted.destination.get());
    if !is_host(source) {
        return Err(Reason::BadSource);
    }
    let is_subscriber = subscriber_in(tables, realm, source).is_ok();
    let is_about_another = error.quoted.source.get() != ip.destination.get();
    if is_about_another || is_subscriber && source != inside {
        return Err(Reason::QuoteMismatch);
    }
    let (index, subscriber) = match subscriber_in(tables, realm, inside) {
        Err(_) if is_subscriber => return Err(Reason::QuoteMismatch),
        found => found?,
    };
    if is_about(error, ECHO_REQUEST) {
        // Its identifier is that of who sent it.
        let head = SubscriberHead(subscriber.head.load());
        return Ok((head.external(), 0));
    }
    let flow = Flow {
        subscriber: index,
        protocol: error.protocol,
        inside_port: error.ports[1].get(),
        remote: 0,
        state: SlotState::Open as u64,
        tick: 0,
    };
    match tables.search(flow).outcome() {
        search::Outcome::Found { port, .. } => {
            let head = SubscriberHead(subscriber.head.load());
            let port = ports::outward(tables, head.pool(), head.external(), port);
            Ok((head.external(), port))
        }
        _ => Err(Reason::NoQuotedMapping),
    }
}

/// Steps 4, 6 and 7. `inside_key` is that of who is told; None: he is outside.
#[inline(always)]
fn emit<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    (link, ip): (Ethernet, Ipv4),
    error: &IcmpError,
    ends: &ErrorEnds,
    inside_key: Option<u32>,
) -> Result<Verdict, Reason> {
    // 4 route
    let source = ip.source.get();
    let hop = match inside_key {
        Some(key) => leave(tables, route_inside(tables, source, key), Side::Inside, key)?,
        None => {
            let way = route(tables, source, ends.destination);
            leave(tables, way, Side::Outside, ends.destination)?
        }
    };
    check_hop(&ip, hop)?;
    // 6 translate
    rewrite::translate_error(frame, link.length, &ip, error, ends)?;
    // 7 emit
    rewrite::link_header(frame, &link, hop)?;
    tables.note(Step::Translated);
    let bytes = ip.total_length();
    let has_changed = [
        (ends.source != ip.source.get(), Direction::Outbound),
        (ends.destination != ip.destination.get(), Direction::Inbound),
    ];
    tables.count(|c| {
        for (_, direction) in has_changed.into_iter().filter(|(changed, _)| *changed) {
            c.translated(direction, Protocol::Icmp, bytes);
        }
    });
    Ok(transmit(hop))
}
