//! Fragmenting a packet (RFC 791 section 3.2), in order, first fragment first
//! (RFC 4787 REQ-13a). Pure.

use cgn_common::csum;
use cgn_common::frame::Buffer;
use cgn_common::wire::{ethernet, ipv4};

/// Offsets in the IPv4 header.
const TOTAL_LENGTH: usize = 2;
const CHECKSUM: usize = 10;

/// A datagram cannot have more: its offsets have 13 bits, in units of 8 bytes.
const MOST_BYTES: usize = 65_535;

/// More fragments follow.
const MORE: u16 = 0x2000;
/// End of options; no operation.
const END: u8 = 0;
const NOTHING: u8 = 1;
/// Bit of an option that all fragments have.
const COPIED: u8 = 0x80;

/// Frames with the fragments of the packet in `frame`, of at most `mtu` bytes
/// each without the link header. A fragment is fragmented further. None if it is
/// no IPv4 packet, a fragment that goes beyond the end of the largest one, or if `mtu` leaves no
/// room for 8 bytes of data.
#[must_use]
pub fn split(frame: &[u8], mtu: u16) -> Option<Vec<Vec<u8>>> {
    let mut copy = frame.to_vec();
    let buffer = Buffer::new(&mut copy, 0, frame.len())?;
    let link = ethernet::parse(&buffer).ok()?.length;
    let ip = ipv4::parse(&buffer, link).ok()?;
    let header = frame.get(link..link + ip.header_length())?;
    let later = later_header(header);
    let data = frame.get(link + header.len()..link + usize::from(ip.total_length()))?;
    let room = usize::from(mtu).checked_sub(header.len())? & !7;
    if room == 0 {
        return None;
    }
    if usize::from(ip.fragment_offset()) * 8 + data.len() > MOST_BYTES {
        return None;
    }
    let pieces = data.chunks(room).count();
    let fragments = data.chunks(room).enumerate().map(|(number, piece)| {
        let header = if number == 0 { header } else { &later };
        let more = number + 1 < pieces || ip.has_more_fragments();
        let offset = ip.fragment_offset() + (number * room / 8) as u16;
        let flags = offset | if more { MORE } else { 0 };
        let mut fragment = frame[..link].to_vec();
        fragment.extend(with_fields(header, piece.len(), flags));
        fragment.extend(piece);
        fragment
    });
    Some(fragments.collect())
}

/// The header with length, flags and checksum of a fragment.
fn with_fields(header: &[u8], data: usize, flags: u16) -> Vec<u8> {
    let mut header = header.to_vec();
    let total = (header.len() + data) as u16;
    header[TOTAL_LENGTH..TOTAL_LENGTH + 2].copy_from_slice(&total.to_be_bytes());
    let at = ipv4::field::FRAGMENT;
    header[at..at + 2].copy_from_slice(&flags.to_be_bytes());
    header[CHECKSUM..CHECKSUM + 2].fill(0);
    let words = header.chunks_exact(2);
    let sum = words
        .map(|word| u64::from(u16::from_ne_bytes([word[0], word[1]])))
        .sum();
    let checksum = !csum::fold(sum);
    header[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_ne_bytes());
    header
}

/// The header of fragments behind the first: with the options that are copied.
fn later_header(header: &[u8]) -> Vec<u8> {
    let mut options = &header[ipv4::HEADER..];
    let mut later = header[..ipv4::HEADER].to_vec();
    while let [kind, rest @ ..] = options {
        let length = match (*kind, rest) {
            (END, _) => break,
            (NOTHING, _) => 1,
            (_, [length, ..]) => usize::from(*length),
            (_, []) => break,
        };
        // A length that lies ends the options.
        let Some((option, rest)) = options.split_at_checked(length.max(1)) else {
            break;
        };
        if kind & COPIED != 0 {
            later.extend(option);
        }
        options = rest;
    }
    later.resize(later.len().next_multiple_of(4), END);
    later[0] = 0x40 | (later.len() / 4) as u8;
    later
}
