//! TCP (RFC 9293), UDP (RFC 768) and ICMP echo (RFC 792), as far as a NAT
//! reads them: the two ports or the identifier, the checksum, the TCP flags.

use bytemuck::{Pod, Zeroable};

use super::Be16;
use crate::frame::Frame;
use crate::verdict::{Protocol, Reason};

/// IPv4 protocol numbers.
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// What only goes through a NAT that knows it, and not through this one: see [`unsupported`].
const IP_IN_IP: u8 = 4;
const DCCP: u8 = 33;
pub const IPV6: u8 = 41;
const GRE: u8 = 47;
const ESP: u8 = 50;
const AH: u8 = 51;
const SCTP: u8 = 132;

/// ICMP message types.
pub const ECHO_REPLY: u8 = 0;
pub const ECHO_REQUEST: u8 = 8;

/// TCP flags.
pub mod flag {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;
}

/// Offsets from the start of the transport header.
pub mod field {
    pub const SOURCE_PORT: usize = 0;
    pub const DESTINATION_PORT: usize = 2;
    pub const ICMP_IDENTIFIER: usize = 4;
    pub const UDP_CHECKSUM: usize = 6;
    pub const TCP_REST: usize = 12;
    pub const TCP_FLAGS: usize = 13;
    pub const TCP_CHECKSUM: usize = 16;
    pub const ICMP_CHECKSUM: usize = 2;
}

const TCP_HEADER: u16 = 20;
const UDP_HEADER: u16 = 8;
const ICMP_HEADER: u16 = 8;

/// First 8 bytes of any of the three.
type Start = [Be16; 4];

/// Bytes 12 to 19 of TCP: data offset, flags, window, checksum, urgent pointer.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct TcpRest {
    data_offset: u8,
    flags: u8,
    window: Be16,
    checksum: Be16,
    urgent: Be16,
}
const _: () = assert!(size_of::<TcpRest>() == 8);

/// A parsed transport header. Ports in host order; for ICMP both are the identifier.
#[derive(Clone, Copy, Debug)]
pub struct Transport {
    pub protocol: Protocol,
    pub source_port: u16,
    pub destination_port: u16,
    pub checksum: Be16,
    /// TCP flags; 0 otherwise.
    pub flags: u8,
    /// ICMP type; 0 otherwise.
    pub icmp_type: u8,
}

impl Transport {
    /// True for an ICMP echo reply.
    #[inline(always)]
    #[must_use]
    pub const fn is_echo_reply(&self) -> bool {
        matches!(self.protocol, Protocol::Icmp) && self.icmp_type == ECHO_REPLY
    }
    /// True for an ICMP echo request or reply.
    #[inline(always)]
    #[must_use]
    pub const fn is_echo(&self) -> bool {
        matches!(self.protocol, Protocol::Icmp)
            && matches!(self.icmp_type, ECHO_REPLY | ECHO_REQUEST)
    }
}

/// Why a packet of an IPv4 protocol other than TCP, UDP and ICMP is dropped. The ones that
/// subscribers ask for have names of their own, so that an operator sees who misses what.
#[inline(always)]
#[must_use]
pub const fn unsupported(protocol: u8) -> Reason {
    match protocol {
        GRE => Reason::UnsupportedGre,
        ESP => Reason::UnsupportedEsp,
        AH => Reason::UnsupportedAh,
        SCTP => Reason::UnsupportedSctp,
        DCCP => Reason::UnsupportedDccp,
        IPV6 => Reason::UnsupportedIpv6,
        IP_IN_IP => Reason::UnsupportedIpip,
        _ => Reason::UnsupportedProtocol,
    }
}

/// Reads and checks the header at `offset`, of which the IPv4 packet holds
/// `length` bytes.
///
/// # Errors
/// The reason why the packet must be dropped.
#[inline(always)]
pub fn parse<F: Frame>(
    frame: &F,
    offset: usize,
    length: u16,
    protocol: u8,
) -> Result<Transport, Reason> {
    // No transport header fits in less; the frame holds what the length says.
    if length < UDP_HEADER {
        return Err(match protocol {
            TCP | UDP | ICMP => Reason::BadTransportHeader,
            _ => unsupported(protocol),
        });
    }
    let start: Start = frame.load(offset).ok_or(Reason::Truncated)?;
    match protocol {
        TCP => parse_tcp(frame, offset, length, start),
        UDP => parse_udp(length, start),
        ICMP => parse_icmp(length, start),
        _ => Err(unsupported(protocol)),
    }
}

/// The same of the first fragment of a packet: the header must be in it whole
/// (RFC 1858), while the length in a UDP header counts all fragments.
///
/// # Errors
/// The reason why the fragment must be dropped.
#[inline(always)]
pub fn parse_first<F: Frame>(
    frame: &F,
    offset: usize,
    length: u16,
    protocol: u8,
) -> Result<Transport, Reason> {
    let parsed = if protocol == UDP && length >= UDP_HEADER {
        let start: Start = frame.load(offset).ok_or(Reason::Truncated)?;
        parse_udp(u16::MAX, start)
    } else {
        parse(frame, offset, length, protocol)
    };
    parsed.map_err(|reason| match reason {
        Reason::BadTransportHeader => Reason::TinyFragment,
        other => other,
    })
}

#[inline(always)]
fn parse_tcp<F: Frame>(
    frame: &F,
    offset: usize,
    length: u16,
    start: Start,
) -> Result<Transport, Reason> {
    if length < TCP_HEADER {
        return Err(Reason::BadTransportHeader);
    }
    let rest: TcpRest = frame
        .load(offset + field::TCP_REST)
        .ok_or(Reason::Truncated)?;
    let header = u16::from(rest.data_offset >> 4) << 2;
    if header < TCP_HEADER || header > length {
        return Err(Reason::BadTransportHeader);
    }
    Ok(Transport {
        protocol: Protocol::Tcp,
        source_port: start[0].get(),
        destination_port: start[1].get(),
        checksum: rest.checksum,
        flags: rest.flags,
        icmp_type: 0,
    })
}

#[inline(always)]
fn parse_udp(length: u16, start: Start) -> Result<Transport, Reason> {
    // A UDP length below the IPv4 payload is legal (UDP options); above it lies.
    let udp_length = start[2].get();
    if udp_length < UDP_HEADER || udp_length > length {
        return Err(Reason::BadTransportHeader);
    }
    Ok(Transport {
        protocol: Protocol::Udp,
        source_port: start[0].get(),
        destination_port: start[1].get(),
        checksum: start[3],
        flags: 0,
        icmp_type: 0,
    })
}

#[inline(always)]
fn parse_icmp(length: u16, start: Start) -> Result<Transport, Reason> {
    if length < ICMP_HEADER {
        return Err(Reason::BadTransportHeader);
    }
    let [icmp_type, _code] = start[0].get().to_be_bytes();
    if icmp_type != ECHO_REQUEST && icmp_type != ECHO_REPLY {
        return Err(Reason::UnsupportedIcmp);
    }
    let identifier = start[2].get();
    Ok(Transport {
        protocol: Protocol::Icmp,
        source_port: identifier,
        destination_port: identifier,
        checksum: start[1],
        flags: 0,
        icmp_type,
    })
}
