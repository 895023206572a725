//! ICMP errors (RFC 792): the packet that they quote.

use super::Be16;
use super::ipv4::{self, Ipv4};
use super::transport::{self, ECHO_REPLY, ECHO_REQUEST, TCP, UDP, field};
use crate::csum;
use crate::frame::Frame;
use crate::verdict::{Protocol, Reason};

/// Types of the errors that are translated (RFC 5508 REQ-10).
pub const DESTINATION_UNREACHABLE: u8 = 3;
pub const TIME_EXCEEDED: u8 = 11;
pub const PARAMETER_PROBLEM: u8 = 12;
/// Errors that are not, but are errors all the same: no error may be about them.
const SOURCE_QUENCH: u8 = 4;
const REDIRECT: u8 = 5;

/// Codes of destination unreachable.
pub mod code {
    pub const NETWORK: u8 = 0;
    pub const HOST: u8 = 1;
    pub const PORT: u8 = 3;
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    pub const PROHIBITED: u8 = 13;
}

/// Bytes in front of the quoted packet.
pub const HEADER: usize = 8;
/// Of the quoted packet's transport header, so much must be there (RFC 792).
const QUOTED_TRANSPORT: usize = 8;

/// True for an error that is translated.
#[inline(always)]
#[must_use]
pub const fn is_translated_error(icmp_type: u8) -> bool {
    matches!(
        icmp_type,
        DESTINATION_UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM
    )
}

/// True for any ICMP error (RFC 1122 section 3.2.2).
#[inline(always)]
#[must_use]
pub const fn is_error(icmp_type: u8) -> bool {
    is_translated_error(icmp_type) || matches!(icmp_type, SOURCE_QUENCH | REDIRECT)
}

/// An ICMP error and the packet that it quotes.
#[derive(Clone, Copy, Debug)]
pub struct IcmpError {
    /// Offset of the ICMP header in the frame.
    pub l4: usize,
    pub checksum: Be16,
    /// The quoted packet; its end may be missing.
    pub quoted: Ipv4,
    /// Offsets of the quoted packet's headers.
    pub quoted_l3: usize,
    pub quoted_l4: usize,
    pub protocol: Protocol,
    /// Ports of the quoted packet; for a query both are the identifier.
    pub ports: [Be16; 2],
    /// True for an echo request or reply: then only one end has the identifier.
    pub quoted_type: u8,
    /// Offset in the frame of the quoted transport checksum, and the checksum;
    /// None if it is cut off. It is not verified, for the payload is (REQ-3).
    pub transport_checksum: Option<(usize, Be16)>,
}

/// Type of the ICMP message at `offset`.
///
/// # Errors
/// [`Reason::BadTransportHeader`] if the packet ends before it.
#[inline(always)]
pub fn message_type<F: Frame>(frame: &F, offset: usize, length: usize) -> Result<u8, Reason> {
    if length < HEADER {
        return Err(Reason::BadTransportHeader);
    }
    let kind: Be16 = frame.load(offset).ok_or(Reason::Truncated)?;
    let [message_type, _code] = kind.get().to_be_bytes();
    Ok(message_type)
}

/// Reads and checks the ICMP error of `length` bytes at `offset`, and the packet
/// that it quotes.
///
/// # Errors
/// The reason why it must be dropped (RFC 5508 REQ-3).
#[inline(always)]
pub fn parse<F: Frame>(frame: &F, offset: usize, length: usize) -> Result<IcmpError, Reason> {
    let start: [Be16; 4] = frame.load(offset).ok_or(Reason::Truncated)?;
    let sum = frame.sum(offset, length).ok_or(Reason::BadQuote)?;
    if csum::fold(sum) != 0xffff {
        return Err(Reason::BadIcmpChecksum);
    }
    let quoted_l3 = offset + HEADER;
    let quoted = ipv4::parse_header(frame, quoted_l3).map_err(|_| Reason::BadQuote)?;
    let there = quoted_bytes(length - HEADER, start[2]).min(quoted.total_length() as usize);
    let header = quoted.header_length();
    if header + QUOTED_TRANSPORT > there {
        return Err(Reason::BadQuote);
    }
    if quoted.is_later_fragment() {
        return Err(Reason::QuotedFragment);
    }
    let quoted_l4 = quoted_l3 + header;
    let begin: [Be16; 4] = frame.load(quoted_l4).ok_or(Reason::Truncated)?;
    let error = IcmpError {
        l4: offset,
        checksum: start[1],
        quoted,
        quoted_l3,
        quoted_l4,
        protocol: Protocol::Udp,
        ports: [begin[0], begin[1]],
        quoted_type: 0,
        transport_checksum: Some((quoted_l4 + field::UDP_CHECKSUM, begin[3])),
    };
    match quoted.protocol {
        TCP => Ok(IcmpError {
            protocol: Protocol::Tcp,
            transport_checksum: tcp_checksum(frame, quoted_l4, there - header),
            ..error
        }),
        UDP => Ok(error),
        transport::ICMP => {
            let [quoted_type, _code] = begin[0].get().to_be_bytes();
            if is_error(quoted_type) {
                return Err(Reason::QuotedError);
            }
            if quoted_type != ECHO_REQUEST && quoted_type != ECHO_REPLY {
                return Err(Reason::NoQuotedMapping);
            }
            Ok(IcmpError {
                protocol: Protocol::Icmp,
                ports: [begin[2]; 2],
                quoted_type,
                transport_checksum: Some((quoted_l4 + field::ICMP_CHECKSUM, begin[1])),
                ..error
            })
        }
        _ => Err(Reason::NoQuotedMapping),
    }
}

/// Bytes of the original datagram in a message that has `rest` bytes behind its
/// header: all, or as many 32-bit words as the length attribute says, behind which
/// there are extensions (RFC 4884 sections 4 and 5). It is the second byte of `word`.
#[inline(always)]
const fn quoted_bytes(rest: usize, word: Be16) -> usize {
    let attribute = 4 * (word.get() & 0xff) as usize;
    if attribute == 0 || attribute > rest {
        rest
    } else {
        attribute
    }
}

/// Where the checksum of a quoted TCP header is, of which `there` bytes are quoted.
#[inline(always)]
fn tcp_checksum<F: Frame>(frame: &F, l4: usize, there: usize) -> Option<(usize, Be16)> {
    if there < field::TCP_CHECKSUM + size_of::<Be16>() {
        return None;
    }
    let at = l4 + field::TCP_CHECKSUM;
    Some((at, frame.load(at)?))
}
