//! A frame as it may be kept: less of its payload, other addresses. Pure.

use std::net::Ipv4Addr;

use cgn_common::csum::Change;
use cgn_common::frame::Buffer;
use cgn_common::wire::ethernet::{self, Ethernet};
use cgn_common::wire::ipv4::{self, Ipv4};
use cgn_common::wire::{icmp, transport};

use super::crypto_pan::CryptoPan;

/// Bytes of a link header with two tags, and of the EtherType behind.
const LINK_BYTES: usize = 22;
/// Bytes of both link addresses.
const LINK_ADDRESSES: usize = 12;
const IP_CHECKSUM: usize = 10;
const QUOTED_TRANSPORT: usize = 8;
/// An ICMP message that names a gateway, and where.
const REDIRECT: u8 = 5;
const GATEWAY: usize = 4;
/// Bytes that a TCP header has without options.
const TCP_HEADER: usize = 20;
/// An option of IPv4 and TCP that says nothing.
const NO_OPERATION: u8 = 1;
/// Kinds of TCP options that are kept: end, no operation, MSS, window scale, selective
/// acknowledgement (4, 5), timestamps. Others may carry addresses, as MPTCP's do.
const KEPT_OPTIONS: [u8; 7] = [0, 1, 2, 3, 4, 5, 8];

/// What is taken out of a frame.
#[derive(Clone, Debug, Default)]
pub struct Redaction {
    /// Bytes that are kept behind the headers; None: all.
    pub payload: Option<usize>,
    /// Addresses get other names, link addresses become zero.
    pub addresses: Option<CryptoPan>,
}

/// Reads the link header of a frame whose end may be missing.
#[must_use]
pub fn link(frame: &[u8]) -> Option<Ethernet> {
    let mut front = [0; LINK_BYTES];
    let length = frame.len().min(LINK_BYTES);
    front[..length].copy_from_slice(&frame[..length]);
    let link = ethernet::parse(&Buffer::new(&mut front, 0, LINK_BYTES)?).ok()?;
    (link.length <= length).then_some(link)
}

impl Redaction {
    /// Changes a frame, of which the first bytes are here. Checksums that were right are right
    /// afterwards, those that were wrong are wrong. With other addresses, nothing is left of what is not
    /// understood.
    pub fn apply(&self, frame: &mut Vec<u8>) {
        let link = link(frame);
        let known = link.filter(|link| link.ethertype == ethernet::IPV4);
        let headers = known.and_then(|link| Headers::read(frame, link.length));
        let end = match &headers {
            Some(headers) => headers.end(frame),
            None => link.map_or(0, |link| link.length).min(frame.len()),
        };
        if let Some(pan) = &self.addresses {
            let stations = frame.len().min(LINK_ADDRESSES);
            frame[..stations].fill(0);
            match &headers {
                Some(headers) => headers.rename(frame, pan),
                None => frame.truncate(end),
            }
        }
        if let Some(payload) = self.payload {
            frame.truncate(end.saturating_add(payload));
        }
    }
}

/// Where the headers of an IPv4 packet are in a frame.
#[derive(Clone, Copy, Debug)]
struct Headers {
    ip: usize,
    /// End of the IPv4 header; it lies in the frame.
    transport: usize,
    /// Of the transport header, if the packet has one.
    protocol: Option<u8>,
}

impl Headers {
    /// None: there is no IPv4 header at `ip`, or only a part of it.
    fn read(frame: &[u8], ip: usize) -> Option<Self> {
        let bytes = frame.get(ip..ip + ipv4::HEADER)?;
        let header: Ipv4 = bytemuck::try_pod_read_unaligned(bytes).ok()?;
        let is_header = bytes[0] >> 4 == 4 && header.header_length() >= ipv4::HEADER;
        let transport = ip + header.header_length();
        (is_header && transport <= frame.len()).then_some(Self {
            ip,
            transport,
            protocol: (!header.is_later_fragment()).then_some(header.protocol),
        })
    }

    /// The packet that an ICMP error quotes.
    fn quoted(&self, frame: &[u8]) -> Option<Self> {
        let kind = *frame.get(self.transport)?;
        let is_error = self.protocol == Some(transport::ICMP) && icmp::is_error(kind);
        is_error.then(|| Self::read(frame, self.transport + icmp::HEADER))?
    }

    /// End of all headers, those of a quoted packet with them, within the frame.
    fn end(&self, frame: &[u8]) -> usize {
        if let Some(quoted) = self.quoted(frame) {
            // Of the quoted transport header, what every error has (RFC 792).
            return (quoted.transport + QUOTED_TRANSPORT).min(frame.len());
        }
        let length = match self.protocol {
            Some(transport::TCP) => self.tcp_header(frame),
            Some(transport::UDP | transport::ICMP) => icmp::HEADER,
            _ => 0,
        };
        (self.transport + length).min(frame.len())
    }

    /// Length of the TCP header, by what it says.
    fn tcp_header(&self, frame: &[u8]) -> usize {
        let field = frame.get(self.transport + transport::field::TCP_REST);
        field
            .map_or(0, |field| usize::from(field >> 4) << 2)
            .max(TCP_HEADER)
    }

    /// Gives the packet, and what it quotes, other addresses and the checksums for them.
    fn rename(&self, frame: &mut [u8], pan: &CryptoPan) {
        let before = frame.to_vec();
        self.rename_ip(frame, pan);
        let (start, end) = (self.transport, frame.len());
        let addresses = self.ip + ipv4::field::SOURCE..self.ip + ipv4::HEADER;
        let pseudo_header = change(&before, frame, addresses);
        match self.protocol {
            Some(transport::TCP) => {
                blank_options(frame, start + TCP_HEADER..self.end(&before));
                let header = change(&before, frame, start..self.end(&before));
                let both = pseudo_header.and(header);
                apply(frame, start + transport::field::TCP_CHECKSUM, |sum| {
                    both.apply(sum)
                });
            }
            Some(transport::UDP) => {
                let place = start + transport::field::UDP_CHECKSUM;
                apply(frame, place, |sum| pseudo_header.apply_udp(sum));
            }
            Some(transport::ICMP) => {
                if let Some(quoted) = self.quoted(&before) {
                    quoted.rename(frame, pan);
                    rename_gateway(frame, start, pan);
                }
                let message = change(&before, frame, start..end);
                let place = start + transport::field::ICMP_CHECKSUM;
                apply(frame, place, |sum| message.apply(sum));
            }
            _ => {}
        }
    }

    /// Both addresses of the IPv4 header; its options, which may hold more, say nothing then.
    fn rename_ip(&self, frame: &mut [u8], pan: &CryptoPan) {
        let before = frame.to_vec();
        for field in [ipv4::field::SOURCE, ipv4::field::DESTINATION] {
            rename_at(frame, self.ip + field, pan);
        }
        frame[self.ip + ipv4::HEADER..self.transport].fill(NO_OPERATION);
        let header = change(&before, frame, self.ip..self.transport);
        apply(frame, self.ip + IP_CHECKSUM, |sum| header.apply(sum));
    }
}

/// A redirect names a gateway; of other errors these bytes are no address.
fn rename_gateway(frame: &mut [u8], message: usize, pan: &CryptoPan) {
    let is_redirect = frame.get(message).is_some_and(|kind| *kind == REDIRECT);
    if is_redirect {
        rename_at(frame, message + GATEWAY, pan);
    }
}

fn rename_at(frame: &mut [u8], place: usize, pan: &CryptoPan) {
    if let Some(bytes) = frame
        .get_mut(place..place + 4)
        .and_then(|bytes| bytes.first_chunk_mut())
    {
        *bytes = pan.address(Ipv4Addr::from(*bytes)).octets();
    }
}

/// Makes those TCP options say nothing that are not [`KEPT_OPTIONS`].
fn blank_options(frame: &mut [u8], options: std::ops::Range<usize>) {
    let Some(mut rest) = frame.get_mut(options) else {
        return;
    };
    while let [kind, ..] = *rest {
        let said = rest.get(1).map_or(0, |length| usize::from(*length));
        let is_single = kind <= NO_OPERATION;
        let is_sound = is_single || (2..=rest.len()).contains(&said);
        // Behind one that lies about its length, nothing can be told apart.
        let length = match (is_single, is_sound) {
            (true, _) => 1,
            (false, true) => said,
            (false, false) => rest.len(),
        };
        let (option, behind) = std::mem::take(&mut rest).split_at_mut(length);
        if !is_sound || !KEPT_OPTIONS.contains(&kind) {
            option.fill(NO_OPERATION);
        }
        rest = behind;
    }
}

/// What happened to a range of the frame, for a checksum over it. A last odd byte stands first in
/// its word (RFC 1071).
fn change(before: &[u8], after: &[u8], range: std::ops::Range<usize>) -> Change {
    let words = |frame: &'_ [u8]| -> Vec<u16> {
        let bytes = frame.get(range.clone()).unwrap_or_default();
        let word = |pair: &[u8]| u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        bytes.chunks(2).map(word).collect()
    };
    let pairs = words(before).into_iter().zip(words(after));
    pairs.fold(Change::NONE, |change, (old, new)| change.word16(old, new))
}

/// Replaces the checksum at `place`, if it is in the frame.
fn apply(frame: &mut [u8], place: usize, new: impl FnOnce(u16) -> u16) {
    if let Some(bytes) = frame
        .get_mut(place..place + 2)
        .and_then(|bytes| bytes.first_chunk_mut())
    {
        *bytes = new(u16::from_ne_bytes(*bytes)).to_ne_bytes();
    }
}

#[cfg(test)]
mod tests;
