//! A packet in words, and its bytes: `udp 100.64.1.2:5000 > 8.8.8.8:53`. Pure.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::{FromStr, SplitWhitespace};

use cgn_common::verdict::Protocol;
use cgn_common::wire::ethernet;
use cgn_common::wire::transport::flag;
use etherparse::{
    IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, LaxNetSlice, LaxSlicedPacket, PacketBuilder,
    TransportSlice,
};

/// Time to live of a packet that says nothing of it.
const TTL: u8 = 64;
/// Largest packet that can be asked about: the largest that XDP sees.
const MOST_BYTES: u16 = 3_500;
/// Tag of a VLAN (IEEE 802.1Q), and of the outer one of two (802.1ad).
const TAG: u16 = 0x8100;
const OUTER_TAG: u16 = 0x88a8;

/// A TCP or UDP packet, or an ICMP echo message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub protocol: Protocol,
    pub source: Ipv4Addr,
    /// For ICMP, both ports are the identifier.
    pub source_port: u16,
    pub destination: Ipv4Addr,
    pub destination_port: u16,
    /// Flags of a TCP segment, else 0.
    pub flags: u8,
    /// An echo reply rather than a request.
    pub is_reply: bool,
    pub ttl: u8,
    /// The packet must not be fragmented.
    pub dont_fragment: bool,
    /// Length of the IPv4 packet in bytes, where it is more than its headers.
    pub bytes: u16,
}

/// What is wrong with the words for a packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what}; write, for example, `udp 100.64.1.2:5000 > 8.8.8.8:53`, `tcp 100.64.1.2:5000 > 192.0.2.1:443 syn`, \
         or `icmp 100.64.1.2:77 > 8.8.8.8` (77: the identifier of an echo), and behind it, if need be, \
         `reply` (ICMP), `syn`, `ack`, `fin`, `rst` (TCP), `ttl N`, `bytes N`, `may-fragment`"
)]
pub struct WordsError {
    what: String,
}

fn wrong(what: impl Into<String>) -> WordsError {
    WordsError { what: what.into() }
}

impl Packet {
    /// What the receiver of this packet sends back.
    #[must_use]
    pub fn answer(&self) -> Self {
        let flags = match self.flags {
            0 => 0,
            flags if flags & flag::SYN != 0 => flag::SYN | flag::ACK,
            _ => flag::ACK,
        };
        Self {
            source: self.destination,
            source_port: self.destination_port,
            destination: self.source,
            destination_port: self.source_port,
            flags,
            is_reply: self.protocol == Protocol::Icmp,
            ttl: TTL,
            bytes: 0,
            ..*self
        }
    }

    /// An Ethernet frame with it; `tags` are VLAN ids, outermost first.
    #[must_use]
    pub fn frame(&self, tags: &[u16]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        for (at, tag) in tags.iter().enumerate() {
            let is_outer = at == 0 && tags.len() > 1;
            let kind = if is_outer { OUTER_TAG } else { TAG };
            frame.extend(kind.to_be_bytes());
            frame.extend(tag.to_be_bytes());
        }
        frame.extend(ethernet::IPV4.to_be_bytes());
        // Into memory, and of a length that was checked.
        self.write(&mut frame)
            .expect("a packet of 3,500 bytes at most");
        frame
    }

    fn write(&self, frame: &mut Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
        let number = match self.protocol {
            Protocol::Tcp => IpNumber::TCP,
            Protocol::Udp => IpNumber::UDP,
            Protocol::Icmp => IpNumber::ICMP,
        };
        let (source, destination) = (self.source.octets(), self.destination.octets());
        let mut header = Ipv4Header::new(0, self.ttl, number, source, destination)?;
        header.dont_fragment = self.dont_fragment;
        let builder = PacketBuilder::ip(IpHeaders::Ipv4(header, Ipv4Extensions::default()));
        let payload = |headers: u16| vec![0; usize::from(self.bytes.saturating_sub(headers))];
        match self.protocol {
            Protocol::Tcp => {
                let mut tcp = builder.tcp(self.source_port, self.destination_port, 1, 65_535);
                for (bit, set) in FLAGS {
                    if self.flags & bit != 0 {
                        tcp = set(tcp);
                    }
                }
                tcp.write(frame, &payload(40))?;
            }
            Protocol::Udp => builder
                .udp(self.source_port, self.destination_port)
                .write(frame, &payload(28))?,
            Protocol::Icmp if self.is_reply => builder
                .icmpv4_echo_reply(self.source_port, 1)
                .write(frame, &payload(28))?,
            Protocol::Icmp => builder
                .icmpv4_echo_request(self.source_port, 1)
                .write(frame, &payload(28))?,
        }
        Ok(())
    }

    /// The packet in a frame, or in the first bytes of one; None if it is another kind of packet.
    #[must_use]
    pub fn of(frame: &[u8]) -> Option<Self> {
        let sliced = LaxSlicedPacket::from_ethernet(frame).ok()?;
        let Some(LaxNetSlice::Ipv4(ip)) = &sliced.net else {
            return None;
        };
        let header = ip.header();
        let mut packet = Self {
            protocol: Protocol::Tcp,
            source: header.source_addr(),
            source_port: 0,
            destination: header.destination_addr(),
            destination_port: 0,
            flags: 0,
            is_reply: false,
            ttl: header.ttl(),
            dont_fragment: header.dont_fragment(),
            bytes: header.total_len(),
        };
        match &sliced.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                (packet.source_port, packet.destination_port) =
                    (tcp.source_port(), tcp.destination_port());
                packet.flags = tcp.slice()[13];
            }
            Some(TransportSlice::Udp(udp)) => {
                packet.protocol = Protocol::Udp;
                (packet.source_port, packet.destination_port) =
                    (udp.source_port(), udp.destination_port());
            }
            Some(TransportSlice::Icmpv4(icmp)) => {
                use etherparse::Icmpv4Type::{EchoReply, EchoRequest};
                packet.protocol = Protocol::Icmp;
                let (echo, is_reply) = match icmp.icmp_type() {
                    EchoRequest(echo) => (echo, false),
                    EchoReply(echo) => (echo, true),
                    _ => return None,
                };
                (packet.source_port, packet.destination_port) = (echo.id, echo.id);
                packet.is_reply = is_reply;
            }
            _ => return None,
        }
        Some(packet)
    }
}

type Tcp = etherparse::PacketBuilderStep<etherparse::TcpHeader>;
type SetFlag = fn(Tcp) -> Tcp;
const FLAGS: [(u8, SetFlag); 4] = [
    (flag::SYN, Tcp::syn),
    (flag::ACK, |tcp| tcp.ack(1)),
    (flag::FIN, Tcp::fin),
    (flag::RST, Tcp::rst),
];
const FLAG_NAMES: [(u8, &str); 4] = [
    (flag::SYN, "syn"),
    (flag::ACK, "ack"),
    (flag::FIN, "fin"),
    (flag::RST, "rst"),
];

/// As it can be typed; without what is as usual.
impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.protocol.name();
        write!(f, "{name} {}:{} > ", self.source, self.source_port)?;
        write!(f, "{}:{}", self.destination, self.destination_port)?;
        for (bit, name) in FLAG_NAMES {
            if self.flags & bit != 0 {
                write!(f, " {name}")?;
            }
        }
        if self.is_reply {
            f.write_str(" reply")?;
        }
        write!(f, " ttl {}", self.ttl)?;
        if self.bytes != 0 {
            write!(f, " bytes {}", self.bytes)?;
        }
        if !self.dont_fragment {
            f.write_str(" may-fragment")?;
        }
        Ok(())
    }
}

impl FromStr for Packet {
    type Err = WordsError;

    fn from_str(text: &str) -> Result<Self, WordsError> {
        let mut words = text.split_whitespace();
        let protocol = match words.next() {
            Some("tcp") => Protocol::Tcp,
            Some("udp") => Protocol::Udp,
            Some("icmp") => Protocol::Icmp,
            Some(other) => return Err(wrong(format!("{other:?} is not tcp, udp or icmp"))),
            None => return Err(wrong("there is no packet")),
        };
        let source = endpoint(words.next(), "source")?;
        if words.next() != Some(">") {
            return Err(wrong("between source and destination stands a >"));
        }
        let destination = endpoint(words.next(), "destination")?;
        let (source_port, destination_port) = match (protocol, source.1, destination.1) {
            (Protocol::Icmp, Some(a), Some(b)) if a != b => {
                return Err(wrong("an echo has one identifier"));
            }
            (Protocol::Icmp, a, b) => {
                let id = a.or(b).unwrap_or(1);
                (id, id)
            }
            (_, Some(a), Some(b)) => (a, b),
            _ => return Err(wrong("TCP and UDP have a port on both sides")),
        };
        let mut packet = Self {
            protocol,
            source: source.0,
            source_port,
            destination: destination.0,
            destination_port,
            flags: 0,
            is_reply: false,
            ttl: TTL,
            dont_fragment: true,
            bytes: 0,
        };
        while let Some(word) = words.next() {
            packet.detail(word, &mut words)?;
        }
        if protocol == Protocol::Tcp && packet.flags == 0 {
            packet.flags = flag::SYN;
        }
        Ok(packet)
    }
}

impl Packet {
    /// What stands behind the endpoints.
    fn detail(&mut self, word: &str, rest: &mut SplitWhitespace<'_>) -> Result<(), WordsError> {
        let flag = FLAG_NAMES.iter().find(|(_, name)| *name == word);
        match (word, flag) {
            (_, Some((bit, _))) if self.protocol == Protocol::Tcp => self.flags |= bit,
            ("reply", _) if self.protocol == Protocol::Icmp => self.is_reply = true,
            ("may-fragment", _) => self.dont_fragment = false,
            ("ttl", _) => {
                let number = rest.next().and_then(|number| number.parse().ok());
                self.ttl = number.ok_or_else(|| wrong("behind ttl stands a number up to 255"))?;
            }
            ("bytes", _) => {
                let number = rest.next().and_then(|number| number.parse().ok());
                self.bytes = number.filter(|bytes| *bytes <= MOST_BYTES).ok_or_else(|| {
                    wrong(format!("behind bytes stands a number up to {MOST_BYTES}"))
                })?;
            }
            _ => return Err(wrong(format!("{word:?} says nothing of such a packet"))),
        }
        Ok(())
    }
}

fn endpoint(word: Option<&str>, what: &str) -> Result<(Ipv4Addr, Option<u16>), WordsError> {
    let word = word.ok_or_else(|| wrong(format!("the {what} is missing")))?;
    let (address, port) = match word.split_once(':') {
        Some((address, port)) => (address, Some(port)),
        None => (word, None),
    };
    let bad = || wrong(format!("the {what} {word:?} is no ADDRESS:PORT"));
    let address = address.parse().map_err(|_| bad())?;
    let port = port.map(str::parse).transpose().map_err(|_| bad())?;
    Ok((address, port))
}

#[cfg(test)]
mod tests {
    use super::Packet;

    #[test]
    fn words_and_what_they_mean() {
        for (words, meaning) in [
            (
                "udp 100.64.1.2:5000 > 8.8.8.8:53",
                "udp 100.64.1.2:5000 > 8.8.8.8:53 ttl 64",
            ),
            (
                "tcp 100.64.1.2:5000 > 8.8.8.8:53",
                "tcp 100.64.1.2:5000 > 8.8.8.8:53 syn ttl 64",
            ),
            (
                "  tcp 1.2.3.4:5 >  6.7.8.9:10 rst ack ttl 1",
                "tcp 1.2.3.4:5 > 6.7.8.9:10 ack rst ttl 1",
            ),
            (
                "icmp 1.2.3.4 > 6.7.8.9:7 reply",
                "icmp 1.2.3.4:7 > 6.7.8.9:7 reply ttl 64",
            ),
            (
                "udp 1.2.3.4:5 > 6.7.8.9:10 bytes 1500 may-fragment",
                "udp 1.2.3.4:5 > 6.7.8.9:10 ttl 64 bytes 1500 may-fragment",
            ),
        ] {
            let packet: Packet = words.parse().unwrap();
            assert_eq!(packet.to_string(), meaning, "{words}");
            assert_eq!(meaning.parse(), Ok(packet), "as it can be typed");
        }
    }

    #[test]
    fn words_that_are_no_packet() {
        for (words, complaint) in [
            ("", "there is no packet"),
            ("sctp 1.2.3.4:5 > 6.7.8.9:10", "\"sctp\" is not tcp"),
            ("udp 1.2.3.4 > 6.7.8.9:10", "a port on both sides"),
            ("udp 1.2.3.4:5 6.7.8.9:10", "stands a >"),
            (
                "udp 1.2.3.4:70000 > 6.7.8.9:10",
                "the source \"1.2.3.4:70000\"",
            ),
            ("udp 1.2.3.4:5 >", "the destination is missing"),
            ("udp 1.2.3.4:5 > 6.7.8.9:10 syn", "\"syn\" says nothing"),
            ("icmp 1.2.3.4:5 > 6.7.8.9:10", "one identifier"),
            ("udp 1.2.3.4:5 > 6.7.8.9:10 ttl 256", "up to 255"),
            ("udp 1.2.3.4:5 > 6.7.8.9:10 bytes 9000", "up to 3500"),
        ] {
            let error = words.parse::<Packet>().unwrap_err().to_string();
            assert!(
                error.starts_with(complaint) || error.contains(complaint),
                "{words}: {error}"
            );
        }
    }

    #[test]
    fn a_frame_is_read_as_the_packet_that_it_was_made_of() {
        for (words, tags, bytes) in [
            ("udp 1.2.3.4:5 > 6.7.8.9:10", &[][..], 28),
            (
                "udp 1.2.3.4:5 > 6.7.8.9:10 bytes 1500 may-fragment",
                &[7],
                1500,
            ),
            ("tcp 1.2.3.4:5 > 6.7.8.9:10 syn ack ttl 3", &[7, 8], 40),
            ("icmp 1.2.3.4:5 > 6.7.8.9 reply", &[], 28),
        ] {
            let packet: Packet = words.parse().unwrap();
            let read = Packet::of(&packet.frame(tags)).unwrap();
            assert_eq!(read, Packet { bytes, ..packet }, "{words}");
        }
    }
}
