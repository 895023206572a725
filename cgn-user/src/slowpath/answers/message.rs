//! The bytes of an ICMP error (RFC 792).

use std::net::Ipv4Addr;
use std::ops::Range;

use cgn_common::csum;
use cgn_common::frame::{Buffer, Frame as _};
use cgn_common::wire::{icmp, ipv4, transport};

/// Largest IPv4 packet that holds an error (RFC 1812 section 4.3.2.3).
pub const MOST_BYTES: usize = 576;
/// Time to live of packets of our own.
const TTL: u8 = 64;
/// IPv4, without options.
const VERSION_AND_LENGTH: u8 = 0x45;
/// Precedence 6, internetwork control, which an error has (RFC 1812 section 4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 6 << 5;
/// Of the type of service, what an error has of the packet that it is about: all
/// but precedence and the bits of ECN (RFC 3168), which speak of that packet only.
const COPIED: u8 = 0x1c;

/// An ICMP error before it is bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub message_type: u8,
    pub code: u8,
    /// MTU of the way on in bytes, for fragmentation needed (RFC 1191); else 0.
    pub mtu: u16,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    /// Identification of the IPv4 packet; any router may fragment it.
    pub identification: u16,
}

impl Message {
    /// A frame with this link header that holds the error about the IPv4 packet
    /// `about`, in an IPv4 packet of `most` bytes at most: as much is quoted as fits.
    #[must_use]
    pub fn frame(&self, link_header: &[u8], about: &[u8], most: usize) -> Vec<u8> {
        let room = most.saturating_sub(ipv4::HEADER + icmp::HEADER);
        let quoted = &about[..about.len().min(room)];
        let tos = INTERNETWORK_CONTROL | about.get(1).map_or(0, |tos| tos & COPIED);
        let length = ipv4::HEADER + icmp::HEADER + quoted.len();
        let mut frame = link_header.to_vec();
        frame.extend([VERSION_AND_LENGTH, tos]);
        frame.extend((length as u16).to_be_bytes());
        frame.extend(self.identification.to_be_bytes());
        frame.extend([0, 0, TTL, transport::ICMP, 0, 0]);
        frame.extend(self.source.octets());
        frame.extend(self.destination.octets());
        frame.extend([self.message_type, self.code, 0, 0, 0, 0]);
        frame.extend(self.mtu.to_be_bytes());
        frame.extend(quoted);
        let l3 = link_header.len();
        let l4 = l3 + ipv4::HEADER;
        write_checksum(&mut frame, l3..l4, ipv4::field::TTL_PROTOCOL_CHECKSUM + 2);
        write_checksum(&mut frame, l4..l3 + length, transport::field::ICMP_CHECKSUM);
        frame
    }
}

/// Writes the checksum of a part of the frame, at offset `at` of the part.
fn write_checksum(frame: &mut [u8], part: Range<usize>, at: usize) {
    let (start, end) = (part.start, frame.len());
    let buffer = Buffer::new(frame, 0, end);
    let sum = buffer.and_then(|buffer| buffer.sum(start, part.len()));
    let checksum = !csum::fold(sum.expect("behind a link header, and of 576 bytes at most"));
    frame[start + at..start + at + 2].copy_from_slice(&checksum.to_ne_bytes());
}
