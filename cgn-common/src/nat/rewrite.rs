//! Writing the translation into the packet: addresses, ports, checksums, time
//! to live, and the link header of the next hop.

use crate::csum::Change;
use crate::frame::Frame;
use crate::layout::NextHopEntry;
use crate::path::Packet;
use crate::verdict::{Direction, Protocol, Reason};
use crate::wire::ethernet::{CUSTOMER_TAG, HEADER, IPV4, SERVICE_TAG, TAG};
use crate::wire::ipv4::{self, Ipv4};
use crate::wire::transport::field;
use crate::wire::{Be16, Be32};

/// Priority bits of a VLAN tag (PCP and DEI), kept from the packet's own tag.
const PRIORITY: u16 = 0xf000;

/// Replaces the inside endpoint by the external one (outbound: the source) or
/// the reverse (inbound: the destination), and takes one from the time to live.
///
/// # Errors
/// [`Reason::Truncated`]; cannot happen for a packet that was parsed.
#[inline(always)]
pub fn translate<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    direction: Direction,
    address: u32,
    port: u16,
) -> Result<(), Reason> {
    let ip = &packet.ip;
    let (old_address, old_port, address_field) = match direction {
        Direction::Outbound => (ip.source, packet.transport.source_port, ipv4::field::SOURCE),
        Direction::Inbound => (
            ip.destination,
            packet.transport.destination_port,
            ipv4::field::DESTINATION,
        ),
    };
    let address = Be32::new(address);
    let addresses = Change::NONE.word32(old_address.raw(), address.raw());
    let ports = Change::NONE.word16(Be16::new(old_port).raw(), Be16::new(port).raw());

    translate_transport(frame, packet, direction, addresses, ports, port)
        .ok_or(Reason::Truncated)?;
    translate_network(frame, packet, addresses, address_field, address).ok_or(Reason::Truncated)
}

#[inline(always)]
fn translate_network<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    addresses: Change,
    address_field: usize,
    address: Be32,
) -> Option<()> {
    let ip = &packet.ip;
    let word = Ipv4::ttl_word(ip.ttl.wrapping_sub(1), ip.protocol);
    let checksum = addresses
        .word16(Ipv4::ttl_word(ip.ttl, ip.protocol), word)
        .apply(ip.checksum.raw());
    // Time to live, protocol and checksum in one store.
    frame.store(
        packet.l3 + ipv4::field::TTL_PROTOCOL_CHECKSUM,
        [word, checksum],
    )?;
    frame.store(packet.l3 + address_field, address)
}

#[inline(always)]
fn translate_transport<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    direction: Direction,
    addresses: Change,
    ports: Change,
    port: u16,
) -> Option<()> {
    let l4 = packet.l4;
    let old = packet.transport.checksum.raw();
    let port_field = match direction {
        Direction::Outbound => field::SOURCE_PORT,
        Direction::Inbound => field::DESTINATION_PORT,
    };
    match packet.transport.protocol {
        Protocol::Tcp => {
            frame.store(l4 + port_field, Be16::new(port))?;
            let checksum = ports.and(addresses).apply(old);
            frame.store(l4 + field::TCP_CHECKSUM, checksum)
        }
        Protocol::Udp => {
            frame.store(l4 + port_field, Be16::new(port))?;
            let checksum = ports.and(addresses).apply_udp(old);
            frame.store(l4 + field::UDP_CHECKSUM, checksum)
        }
        // The ICMP checksum has no pseudo header (RFC 792).
        Protocol::Icmp => {
            frame.store(l4 + field::ICMP_IDENTIFIER, Be16::new(port))?;
            frame.store(l4 + field::ICMP_CHECKSUM, ports.apply(old))
        }
    }
}

/// Writes the link header for `hop`, moving the start of the frame if it has
/// more or fewer tags than the one that came.
///
/// # Errors
/// [`Reason::NoHeadRoom`] if the frame cannot grow.
#[inline(always)]
pub fn link_header<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    hop: &NextHopEntry,
) -> Result<(), Reason> {
    let vlans = hop.vlan_count();
    let length = HEADER + TAG * vlans as usize;
    if length != packet.l3 {
        frame
            .move_start(packet.l3 as i32 - length as i32)
            .ok_or(Reason::NoHeadRoom)?;
    }
    write_link_header(frame, packet.link.tags[0] & PRIORITY, hop).ok_or(Reason::Truncated)
}

#[inline(always)]
fn write_link_header<F: Frame>(frame: &mut F, priority: u16, hop: &NextHopEntry) -> Option<()> {
    frame.store(0, hop.mac_start())?;
    frame.store(8, hop.mac_end_and_ifindex().0)?;
    let count = hop.vlan_count();
    if count == 0 {
        return frame.store(12, Be16::new(IPV4));
    }
    let [first, second] = hop.vlans();
    if count == 1 {
        frame.store(12, Be16::new(CUSTOMER_TAG))?;
        frame.store(14, Be16::new(first | priority))?;
        return frame.store(16, Be16::new(IPV4));
    }
    frame.store(12, Be16::new(SERVICE_TAG))?;
    frame.store(14, Be16::new(first | priority))?;
    frame.store(16, Be16::new(CUSTOMER_TAG))?;
    frame.store(18, Be16::new(second | priority))?;
    frame.store(20, Be16::new(IPV4))
}
