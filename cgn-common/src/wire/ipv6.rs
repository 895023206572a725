//! IPv6 (RFC 8200), as far as it is looked into: who sends to whom, and what a packet may begin.
//! It is never translated, so nothing is refused for how it looks: what is not understood is the
//! kernel's.

use bytemuck::{Pod, Zeroable};

use super::transport::{self, flag};
use super::{Be16, Be32};
use crate::frame::Frame;

/// Bytes of the header without extensions.
pub const HEADER: usize = 40;
/// Extension headers that are passed over. Whoever sends more has no ports.
pub const MOST_EXTENSIONS: usize = 4;

/// Numbers of next headers beside those of [`transport`].
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
pub const ICMP: u8 = 58;
const NOTHING: u8 = 59;
const DESTINATION: u8 = 60;

/// ICMPv6 echo request (RFC 4443 section 4.1).
const ECHO_REQUEST: u8 = 128;

/// What a packet means for who counts new sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It asks for a TCP connection.
    Connection,
    /// It is of a flow that this packet may begin.
    Flow,
    /// It begins nothing: a further segment, an answer or error of ICMP, a later fragment.
    Neither,
}

/// What is read of a packet. Addresses in host order, their first half first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    pub source: [u64; 2],
    pub destination: [u64; 2],
    /// Number of the header behind the extensions.
    pub protocol: u8,
    /// Ports of source and destination; both the identifier of an echo, and 0 where there are none.
    pub ports: [u16; 2],
    pub kind: Kind,
}

impl Ipv6 {
    /// True for a packet that a router sends from one network into another: both ends may be hosts
    /// beyond the link.
    #[inline(always)]
    #[must_use]
    pub const fn is_between_networks(&self) -> bool {
        let ([first, rest], [to, _]) = (self.source, self.destination);
        let is_unspecified = first == 0 && rest == 0;
        !is_unspecified && is_beyond_the_link(first) && is_beyond_the_link(to)
    }
}

/// True for an address with this first half that is neither multicast (ff00::/8) nor link-local
/// (fe80::/10).
#[inline(always)]
const fn is_beyond_the_link(first: u64) -> bool {
    first >> 56 != 0xff && first >> 54 != 0xfe80 >> 6
}

/// The fixed header, as it lies in the packet.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    version: Be32,
    /// Payload length, next header, hop limit.
    length: Be32,
    source: [Be32; 4],
    destination: [Be32; 4],
}
const _: () = assert!(size_of::<Header>() == HEADER);

#[inline(always)]
const fn address([a, b, c, d]: [Be32; 4]) -> [u64; 2] {
    [
        (a.get() as u64) << 32 | b.get() as u64,
        (c.get() as u64) << 32 | d.get() as u64,
    ]
}

/// Reads the packet at `offset`; None if it is no IPv6, or ends before it says.
#[inline(always)]
#[must_use]
pub fn parse<F: Frame>(frame: &F, offset: usize) -> Option<Ipv6> {
    let header: Header = frame.load(offset)?;
    let start = offset + HEADER;
    let end = start + (header.length.get() >> 16) as usize;
    if header.version.get() >> 28 != 6 || end > frame.len() {
        return None;
    }
    let upper = pass_extensions(frame, start, end, (header.length.get() >> 8) as u8)?;
    let (ports, kind) = match upper.is_later_fragment {
        true => ([0, 0], Kind::Neither),
        false => upper.begins(frame, end)?,
    };
    Some(Ipv6 {
        source: address(header.source),
        destination: address(header.destination),
        protocol: upper.protocol,
        ports,
        kind,
    })
}

/// What stands behind the extension headers.
struct Upper {
    protocol: u8,
    at: usize,
    is_later_fragment: bool,
}

#[inline(always)]
fn pass_extensions<F: Frame>(frame: &F, mut at: usize, end: usize, mut next: u8) -> Option<Upper> {
    let mut is_later_fragment = false;
    for _ in 0..MOST_EXTENSIONS {
        if !matches!(next, HOP_BY_HOP | ROUTING | DESTINATION | FRAGMENT) || is_later_fragment {
            break;
        }
        // At once: of a byte alone the verifier forgets that it was checked.
        let start: Be32 = frame.load(at)?;
        let start = start.get();
        let more = match next {
            FRAGMENT => {
                is_later_fragment = start & 0xfff8 != 0;
                0
            }
            _ => (start >> 16 & 0xff) as usize * 8,
        };
        at += 8 + more;
        if at > end {
            return None;
        }
        next = (start >> 24) as u8;
    }
    Some(Upper {
        protocol: next,
        at,
        is_later_fragment,
    })
}

impl Upper {
    /// Ports of a packet that is whole or a first fragment, and what it is. What is too short for its
    /// transport header has none.
    #[inline(always)]
    fn begins<F: Frame>(&self, frame: &F, end: usize) -> Option<([u16; 2], Kind)> {
        const TCP_HEADER: usize = 20;
        const SHORTEST: usize = 8;
        let length = end - self.at;
        match self.protocol {
            NOTHING => Some(([0, 0], Kind::Neither)),
            transport::TCP if length >= TCP_HEADER => {
                let ports: [Be16; 2] = frame.load(self.at)?;
                let flags: Be16 = frame.load(self.at + transport::field::TCP_REST)?;
                let of_opening = flag::SYN | flag::ACK | flag::RST;
                let kind = match flags.get() as u8 & of_opening == flag::SYN {
                    true => Kind::Connection,
                    false => Kind::Neither,
                };
                Some(([ports[0].get(), ports[1].get()], kind))
            }
            transport::UDP if length >= SHORTEST => {
                let ports: [Be16; 2] = frame.load(self.at)?;
                Some(([ports[0].get(), ports[1].get()], Kind::Flow))
            }
            ICMP => {
                let start: [Be16; 3] = match length >= SHORTEST {
                    true => frame.load(self.at)?,
                    false => return Some(([0, 0], Kind::Neither)),
                };
                match start[0].get().to_be_bytes()[0] {
                    ECHO_REQUEST => Some(([start[2].get(); 2], Kind::Flow)),
                    _ => Some(([0, 0], Kind::Neither)),
                }
            }
            _ => Some(([0, 0], Kind::Flow)),
        }
    }
}

#[cfg(test)]
mod tests;
