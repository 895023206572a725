//! Writing the translation into the packet: addresses, ports, checksums, time
//! to live, and the link header of the next hop.

use crate::csum::Change;
use crate::frame::Frame;
use crate::layout::NextHopEntry;
use crate::path::Packet;
use crate::verdict::{Direction, Protocol, Reason};
use crate::wire::ethernet::{CUSTOMER_TAG, Ethernet, HEADER, IPV4, SERVICE_TAG, TAG};
use crate::wire::icmp::IcmpError;
use crate::wire::ipv4::{self, Ipv4};
use crate::wire::transport::{ECHO_REQUEST, field};
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

/// Gives the packet at `l3` another identification. Returns its header, whose
/// checksum is written with what else is translated.
///
/// # Errors
/// [`Reason::Truncated`]; cannot happen for a packet that was parsed.
#[inline(always)]
pub fn identify<F: Frame>(frame: &mut F, l3: usize, ip: &Ipv4, id: u16) -> Result<Ipv4, Reason> {
    let identified = ip.identified(id);
    frame
        .store(l3 + ipv4::field::ID, identified.id)
        .ok_or(Reason::Truncated)?;
    Ok(identified)
}

/// Replaces both addresses, and takes one from the time to live: all that there
/// is to translate in a fragment behind the first.
///
/// # Errors
/// [`Reason::Truncated`]; cannot happen for a packet that was parsed.
#[inline(always)]
pub fn translate_addresses<F: Frame>(
    frame: &mut F,
    l3: usize,
    ip: &Ipv4,
    ends: [u32; 2],
) -> Result<(), Reason> {
    let ttl = ip.ttl.wrapping_sub(1);
    store_addresses(frame, l3, ip, ends.map(Be32::new), ttl).ok_or(Reason::Truncated)?;
    Ok(())
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

/// Replaces both ends, each an address and a port, and takes one from the time
/// to live: what [`translate`] would do outbound and then inbound. The
/// identifier of an echo becomes that of the destination.
///
/// # Errors
/// [`Reason::Truncated`]; cannot happen for a packet that was parsed.
#[inline(always)]
pub fn translate_both<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    source: (u32, u16),
    destination: (u32, u16),
) -> Result<(), Reason> {
    let ip = &packet.ip;
    let addresses = [source.0, destination.0].map(Be32::new);
    let stored = store_addresses(frame, packet.l3, ip, addresses, ip.ttl.wrapping_sub(1))
        .ok_or(Reason::Truncated)?;
    let ports = [source.1, destination.1].map(Be16::new);
    store_both_ports(frame, packet, stored.addresses, ports).ok_or(Reason::Truncated)
}

#[inline(always)]
fn store_both_ports<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    addresses: Change,
    ports: [Be16; 2],
) -> Option<()> {
    let (l4, transport) = (packet.l4, &packet.transport);
    let old = transport.checksum.raw();
    let old_ports = [transport.source_port, transport.destination_port].map(Be16::new);
    let second = Change::NONE.word16(old_ports[1].raw(), ports[1].raw());
    let both = second.word16(old_ports[0].raw(), ports[0].raw());
    match transport.protocol {
        Protocol::Tcp => {
            frame.store(l4 + field::SOURCE_PORT, ports)?;
            let checksum = both.and(addresses).apply(old);
            frame.store(l4 + field::TCP_CHECKSUM, checksum)
        }
        Protocol::Udp => {
            frame.store(l4 + field::SOURCE_PORT, ports)?;
            let checksum = both.and(addresses).apply_udp(old);
            frame.store(l4 + field::UDP_CHECKSUM, checksum)
        }
        Protocol::Icmp => {
            frame.store(l4 + field::ICMP_IDENTIFIER, ports[1])?;
            frame.store(l4 + field::ICMP_CHECKSUM, second.apply(old))
        }
    }
}

/// The ends of an ICMP error and of the packet that it quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorEnds {
    pub source: u32,
    pub destination: u32,
    pub quoted_source: (u32, u16),
    pub quoted_destination: (u32, u16),
}

/// Replaces the ends of an ICMP error and those of the packet that it quotes, and
/// takes one from the error's time to live. Lengths, extensions (RFC 4884) and the
/// quoted time to live stay as they are.
///
/// # Errors
/// [`Reason::Truncated`]; cannot happen for an error that was parsed.
#[inline(always)]
pub fn translate_error<F: Frame>(
    frame: &mut F,
    l3: usize,
    ip: &Ipv4,
    error: &IcmpError,
    ends: &ErrorEnds,
) -> Result<(), Reason> {
    let addresses = [ends.source, ends.destination].map(Be32::new);
    store_quoted(frame, error, ends).ok_or(Reason::Truncated)?;
    store_addresses(frame, l3, ip, addresses, ip.ttl.wrapping_sub(1)).ok_or(Reason::Truncated)?;
    Ok(())
}

/// Writes the quoted packet and the checksum of the message around it.
#[inline(always)]
fn store_quoted<F: Frame>(frame: &mut F, error: &IcmpError, ends: &ErrorEnds) -> Option<()> {
    let (from, to) = (ends.quoted_source, ends.quoted_destination);
    let (ip, l4) = (&error.quoted, error.quoted_l4);
    let addresses = [from.0, to.0].map(Be32::new);
    let network = store_addresses(frame, error.quoted_l3, ip, addresses, ip.ttl)?;
    let new = [from.1, to.1].map(Be16::new);
    let ports = match error.protocol {
        Protocol::Tcp | Protocol::Udp => {
            frame.store(l4 + field::SOURCE_PORT, new)?;
            let [source, destination] = error.ports.map(Be16::raw);
            Change::NONE
                .word16(source, new[0].raw())
                .word16(destination, new[1].raw())
        }
        Protocol::Icmp => {
            let new = if error.quoted_type == ECHO_REQUEST {
                new[0]
            } else {
                new[1]
            };
            frame.store(l4 + field::ICMP_IDENTIFIER, new)?;
            Change::NONE.word16(error.ports[0].raw(), new.raw())
        }
    };
    let mut all = network.whole.and(ports);
    if let Some((at, old)) = error.transport_checksum {
        let new = match error.protocol {
            Protocol::Tcp => ports.and(network.addresses).apply(old.raw()),
            Protocol::Udp => ports.and(network.addresses).apply_udp(old.raw()),
            Protocol::Icmp => ports.apply(old.raw()),
        };
        frame.store(at, new)?;
        all = all.word16(old.raw(), new);
    }
    frame.store(
        error.l4 + field::ICMP_CHECKSUM,
        all.apply(error.checksum.raw()),
    )
}

/// What [`store_addresses`] changed: the addresses, and the whole header.
struct Stored {
    addresses: Change,
    whole: Change,
}

/// Writes both addresses, the time to live and the checksum of an IPv4 header.
#[inline(always)]
fn store_addresses<F: Frame>(
    frame: &mut F,
    l3: usize,
    ip: &Ipv4,
    new: [Be32; 2],
    ttl: u8,
) -> Option<Stored> {
    let addresses = Change::NONE
        .word32(ip.source.raw(), new[0].raw())
        .word32(ip.destination.raw(), new[1].raw());
    let words = [ip.ttl, ttl].map(|ttl| Ipv4::ttl_word(ttl, ip.protocol));
    let change = addresses.word16(words[0], words[1]);
    let checksum = change.apply(ip.checksum.raw());
    // Time to live, protocol and checksum in one store.
    frame.store(
        l3 + ipv4::field::TTL_PROTOCOL_CHECKSUM,
        [words[1], checksum],
    )?;
    frame.store(l3 + ipv4::field::SOURCE, new)?;
    let whole = change.word16(ip.checksum.raw(), checksum);
    Some(Stored { addresses, whole })
}

/// Writes the link header for `hop`, moving the start of the frame if it has
/// more or fewer tags than the one that came.
///
/// # Errors
/// [`Reason::NoHeadRoom`] if the frame cannot grow.
#[inline(always)]
pub fn link_header<F: Frame>(
    frame: &mut F,
    came: &Ethernet,
    hop: &NextHopEntry,
) -> Result<(), Reason> {
    let vlans = hop.vlan_count();
    let length = HEADER + TAG * vlans as usize;
    if length != came.length {
        frame
            .move_start(came.length as i32 - length as i32)
            .ok_or(Reason::NoHeadRoom)?;
    }
    write_link_header(frame, came.tags[0] & PRIORITY, hop).ok_or(Reason::Truncated)
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
