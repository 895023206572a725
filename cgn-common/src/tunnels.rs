//! What IPv6 in IPv4 (protocol 41) is, by the addresses within: 6to4 (RFC 3056), ISATAP (RFC 5214),
//! or neither. Such a packet has no ports and ends here; this tells what is counted.
//!
//! Tunnels that need no set-up have their ends in the IPv6 addresses, so what is written outside can
//! be compared with them. Contradictions, ends that are on no public wire and packets that would
//! come back to their sender (RFC 3964 section 5, RFC 6324) are forged.

use crate::frame::Frame;
use crate::nat::next_hop::is_host_outside;
use crate::verdict::Reason;
use crate::wire::Be32;
use crate::wire::ethernet;
use crate::wire::ipv4::{self, Ipv4};

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
    Native,
}

#[inline(always)]
const fn end_of(words: [Be32; 4]) -> End {
    if words[0].get() >> 16 == SIX_TO_FOUR {
        return End::SixToFour(words[0].get() << 16 | words[1].get() >> 16);
    }
    if words[2].get() & !UNIQUE == ISATAP {
        return End::Isatap(words[3].get());
    }
    End::Native
}

/// Why a packet of protocol 41 ends.
#[inline(always)]
#[must_use]
pub fn kind<F: Frame>(frame: &F) -> Reason {
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
            judge(&ip, end_of([a, b, c, d]), end_of([e, f, g, h]))
        }
        _ => Reason::UnsupportedIpv6,
    }
}

#[inline(always)]
fn judge(ip: &Ipv4, source: End, destination: End) -> Reason {
    let (from, to) = (ip.source.get(), ip.destination.get());
    let is_forged = match source {
        End::SixToFour(address) => address != from || !is_public(address),
        End::Isatap(address) => address != from,
        End::Native => false,
    };
    let is_forged = is_forged
        || match destination {
            End::SixToFour(address) => address != to || address == from || !is_public(address),
            End::Isatap(address) => address == from,
            End::Native => false,
        };
    let is_relayed = from >> 8 == RELAYS || to >> 8 == RELAYS;
    match (source, destination) {
        _ if is_forged => Reason::TunnelForged,
        (End::SixToFour(_), _) | (_, End::SixToFour(_)) => Reason::Tunnel6to4,
        _ if is_relayed => Reason::Tunnel6to4,
        (End::Isatap(_), _) | (_, End::Isatap(_)) => Reason::TunnelIsatap,
        _ => Reason::UnsupportedIpv6,
    }
}

/// True for an address that 6to4 can be had at: of a host, and not private (RFC 1918).
#[inline(always)]
const fn is_public(address: u32) -> bool {
    let is_private = address >> 24 == 10
        || address >> 20 == 0xac10_0000 >> 20
        || address >> 16 == 0xc0a8_0000 >> 16;
    is_host_outside(address) && !is_private
}
