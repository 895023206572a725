//! What IPv6 in IPv4 (protocol 41) is, by the addresses within: 6to4 (RFC 3056), ISATAP (RFC 5214), the
//! provider's 6rd (RFC 5969), or none of them. Such a packet has no ports and ends here, unless a rule
//! bypasses it; this tells what is counted. And what of Teredo (RFC 4380), IPv6 in UDP, is forged.
//!
//! Tunnels that need no set-up have their ends in the IPv6 addresses, so what is written outside can
//! be compared with them. Contradictions, ends that are on no public wire and packets that would
//! come back to their sender (RFC 3964 section 5, RFC 6324) are forged.

use crate::frame::Frame;
use crate::layout::{Side, SixRd, SubscriberHead};
use crate::nat::next_hop::is_host_outside;
use crate::path::subscriber_of;
use crate::realm;
use crate::tables::Tables;
use crate::verdict::Reason;
use crate::wire::ipv4::{self, Ipv4};
use crate::wire::{Be16, Be32, ethernet, transport};

/// An IPv6 header (RFC 8200 section 3): version and flow, length and next header, both addresses.
type Header = [Be32; 10];
/// First 16 bits of a 6to4 address; the next 32 are an IPv4 address.
const SIX_TO_FOUR: u32 = 0x2002;
/// Third word of an ISATAP address, but for the bit that says that it is unique; the last is an IPv4
/// address.
const ISATAP: u32 = 0x0000_5efe;
const UNIQUE: u32 = 0x0200_0000;
/// 192.88.99.0/24, the relays of 6to4 (RFC 3068; withdrawn by RFC 7526).
const RELAYS: u32 = 0xc0_5863;

/// What an IPv6 address says of IPv4.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    SixToFour(u32),
    Isatap(u32),
    SixRd(u32),
    Native,
}

#[inline(always)]
const fn end_of(words: [Be32; 4], six_rd: SixRd) -> End {
    if words[0].get() >> 16 == SIX_TO_FOUR {
        return End::SixToFour(words[0].get() << 16 | words[1].get() >> 16);
    }
    let first = (words[0].get() as u64) << 32 | words[1].get() as u64;
    if let Some(address) = six_rd.ipv4_of(first) {
        return End::SixRd(address);
    }
    if words[2].get() & !UNIQUE == ISATAP {
        return End::Isatap(words[3].get());
    }
    End::Native
}

/// Why a packet of protocol 41 ends.
#[inline(always)]
#[must_use]
pub fn kind<F: Frame, T: Tables>(frame: &F, tables: &T) -> Reason {
    let parsed = ethernet::parse(frame)
        .and_then(|link| ipv4::parse(frame, link.length).map(|ip| (link.length, ip)));
    let Ok((l3, ip)) = parsed else {
        return Reason::UnsupportedIpv6;
    };
    let at = l3 + ip.header_length();
    let is_whole = ip.payload_length() as usize >= size_of::<Header>();
    if ip.is_later_fragment() || !is_whole {
        return Reason::UnsupportedIpv6;
    }
    // At once: of a byte alone the verifier forgets that it was checked.
    let header: Option<Header> = frame.load(at);
    match header {
        Some([first, _, a, b, c, d, e, f, g, h]) if first.get() >> 28 == 6 => {
            let six_rd = tables.six_rd();
            let (source, destination) = ([a, b, c, d], [e, f, g, h]);
            judge(&ip, end_of(source, six_rd), end_of(destination, six_rd))
        }
        _ => Reason::UnsupportedIpv6,
    }
}

#[inline(always)]
fn judge(ip: &Ipv4, source: End, destination: End) -> Reason {
    let (from, to) = (ip.source.get(), ip.destination.get());
    let is_forged = match source {
        End::SixToFour(address) => address != from || !is_public(address),
        End::Isatap(address) | End::SixRd(address) => address != from,
        End::Native => false,
    };
    let is_forged = is_forged
        || match destination {
            End::SixToFour(address) => address != to || address == from || !is_public(address),
            End::Isatap(address) => address == from,
            // From a customer to the relay or to another one, never back; from the relay to this one.
            End::SixRd(address) => {
                address == from || matches!(source, End::Native) && address != to
            }
            End::Native => false,
        };
    let is_relayed = from >> 8 == RELAYS || to >> 8 == RELAYS;
    match (source, destination) {
        _ if is_forged => Reason::TunnelForged,
        (End::SixToFour(_), _) | (_, End::SixToFour(_)) => Reason::Tunnel6to4,
        _ if is_relayed => Reason::Tunnel6to4,
        (End::SixRd(_), _) | (_, End::SixRd(_)) => Reason::Tunnel6rd,
        (End::Isatap(_), _) | (_, End::Isatap(_)) => Reason::TunnelIsatap,
        _ => Reason::UnsupportedIpv6,
    }
}

/// First 32 bits of a Teredo address; then come the server's IPv4 address, flags and port, and the
/// client's, inverted (RFC 4380 section 4).
const TEREDO: u32 = 0x2001_0000;
/// Bytes of a UDP header.
const UDP: usize = 8;
/// What may stand before the IPv6 header (RFC 4380 section 5.1.1): whom an origin indication tells of, and
/// an authentication without identifiers.
const ORIGIN: usize = 8;
const AUTHENTICATION: usize = 13;

/// True for a Teredo address (its first, second and last word) that is neither at its client nor at its
/// server, or names an address that is not public. `outer` is the IPv4 address where it is; 0: not known.
#[inline(always)]
const fn contradicts(prefix: Be32, server: Be32, client: Be32, outer: u32) -> bool {
    if prefix.get() != TEREDO {
        return false;
    }
    let (server, client) = (server.get(), !client.get());
    if !is_public(server) || !is_public(client) {
        return true;
    }
    outer != 0 && client != outer && server != outer
}

/// True for a packet of Teredo in UDP from `side` whose IPv6 addresses contradict the IPv4 ones: each end
/// that is a Teredo address is at its client, whose address is the external one here, or at its server, and
/// both are public. What is no IPv6 in UDP is not forged.
#[inline(always)]
#[must_use]
pub fn is_forged_teredo<F: Frame, T: Tables>(frame: &F, tables: &T, side: Side) -> bool {
    let parsed = ethernet::parse(frame)
        .and_then(|link| ipv4::parse(frame, link.length).map(|ip| (link.length, ip)));
    let Ok((l3, ip)) = parsed else {
        return false;
    };
    if ip.protocol != transport::UDP || ip.is_fragment() {
        return false;
    }
    let at = inner_at(frame, l3 + ip.header_length() + UDP);
    let header: Option<Header> = frame.load(at);
    let Some([first, _, a, b, _, d, e, f, _, h]) = header else {
        return false;
    };
    if first.get() >> 28 != 6 {
        return false;
    }
    let (from, to) = (ip.source.get(), ip.destination.get());
    let from = match side {
        Side::Outside => from,
        Side::Inside => external_of(frame, tables, from),
    };
    contradicts(a, b, d, from) || contradicts(e, f, h, to)
}

/// Where the IPv6 header of the Teredo packet is that begins at `at`.
#[inline(always)]
fn inner_at<F: Frame>(frame: &F, mut at: usize) -> usize {
    // No identifier, no authentication value.
    const AUTHENTICATED: u32 = 0x0001_0000;
    let start: Option<Be32> = frame.load(at);
    if start.is_some_and(|start| start.get() == AUTHENTICATED) {
        at += AUTHENTICATION;
    }
    let start: Option<Be16> = frame.load(at);
    if start.is_some_and(|start| start.get() == 0) {
        at += ORIGIN;
    }
    at
}

/// External address of the subscriber who sends; 0 if he has none.
#[inline(always)]
fn external_of<F: Frame, T: Tables>(frame: &F, tables: &T, source: u32) -> u32 {
    let sender = realm::sender(frame, tables, source);
    match sender.and_then(|inside| subscriber_of(tables, inside)) {
        // Without a block it is 0, too.
        Ok((_, subscriber)) => SubscriberHead(subscriber.head.load()).external(),
        Err(_) => 0,
    }
}

/// True for an address that 6to4 and Teredo can be had at: of a host, and not private (RFC 1918).
#[inline(always)]
const fn is_public(address: u32) -> bool {
    let is_private = address >> 24 == 10
        || address >> 20 == 0xac10_0000 >> 20
        || address >> 16 == 0xc0a8_0000 >> 16;
    is_host_outside(address) && !is_private
}
