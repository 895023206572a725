//! Frames, built and checked by a foreign implementation (`etherparse`), so
//! that our own arithmetic never judges itself.

pub mod alike;
pub mod check;
pub mod corpus;
pub mod mutate;
pub mod native;
pub mod pcap;
pub mod scapy;

use std::net::Ipv4Addr;

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type, IpNumber, Ipv4Header, TcpHeader};

/// EtherType of a customer tag.
pub const CUSTOMER_TAG: u16 = 0x8100;
/// EtherType of a service tag.
pub const SERVICE_TAG: u16 = 0x88a8;
const IPV4: u16 = 0x0800;

/// What is above IPv4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp {
        flags: u8,
        options: Vec<u8>,
    },
    /// Without `checksum`, the field is 0.
    Udp {
        checksum: bool,
    },
    /// ICMP echo; the identifier is the port of the endpoint that asks.
    Echo {
        request: bool,
    },
    /// Anything else: protocol number; all of it is the payload.
    Other(u8),
}

/// Flags of TCP, as in the header.
pub mod flag {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;
}

/// A packet in words; [`Draft::bytes`] builds the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub destination_mac: [u8; 6],
    pub source_mac: [u8; 6],
    /// EtherType and tag control information, outermost first.
    pub tags: Vec<(u16, u16)>,
    pub source: (Ipv4Addr, u16),
    pub destination: (Ipv4Addr, u16),
    pub ttl: u8,
    pub tos: u8,
    pub id: u16,
    pub dont_fragment: bool,
    pub more_fragments: bool,
    /// In units of 8 bytes.
    pub fragment_offset: u16,
    /// A multiple of 4 bytes, at most 40.
    pub options: Vec<u8>,
    pub transport: Transport,
    pub payload: Vec<u8>,
    /// Bytes behind the IPv4 packet.
    pub padding: Vec<u8>,
}

impl Draft {
    /// A packet between two endpoints, `(address, port or identifier)`.
    #[must_use]
    pub fn new(
        transport: Transport,
        source: (Ipv4Addr, u16),
        destination: (Ipv4Addr, u16),
    ) -> Self {
        Self {
            destination_mac: [0x02, 0, 0, 0, 0xc6, 0x01],
            source_mac: [0x02, 0, 0, 0, 0xc6, 0x02],
            tags: Vec::new(),
            source,
            destination,
            ttl: 64,
            tos: 0,
            id: 0x1234,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            options: Vec::new(),
            transport,
            payload: b"carrier grade".to_vec(),
            padding: Vec::new(),
        }
    }

    /// A TCP segment with these flags.
    #[must_use]
    pub fn tcp(flags: u8, source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16)) -> Self {
        let options = Vec::new();
        Self::new(Transport::Tcp { flags, options }, source, destination)
    }

    /// A UDP datagram with a checksum.
    #[must_use]
    pub fn udp(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16)) -> Self {
        Self::new(Transport::Udp { checksum: true }, source, destination)
    }

    /// An echo request from `source`, whose port is the identifier.
    #[must_use]
    pub fn ping(source: (Ipv4Addr, u16), destination: Ipv4Addr) -> Self {
        Self::new(Transport::Echo { request: true }, source, (destination, 0))
    }

    /// An echo reply to `destination`, whose port is the identifier.
    #[must_use]
    pub fn pong(source: Ipv4Addr, destination: (Ipv4Addr, u16)) -> Self {
        Self::new(Transport::Echo { request: false }, (source, 0), destination)
    }

    /// An ICMP error: type and code, the rest of its header, what it quotes.
    #[must_use]
    pub fn icmp_error(
        kind: (u8, u8),
        rest: [u8; 4],
        quoted: &[u8],
        source: Ipv4Addr,
        destination: Ipv4Addr,
    ) -> Self {
        let mut message = vec![kind.0, kind.1, 0, 0];
        message.extend(rest);
        message.extend(quoted);
        let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&message);
        // In the order of the words as they lie there.
        message[2..4].copy_from_slice(&sum.ones_complement().to_ne_bytes());
        Self::new(Transport::Other(1), (source, 0), (destination, 0)).with(|d| d.payload = message)
    }

    /// The IPv4 packet without its link header.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        let untagged = self.clone().with(|d| {
            d.tags.clear();
            d.padding.clear();
        });
        untagged.bytes().split_off(14)
    }

    /// The answer of the remote endpoint to this packet, which has become `external`.
    #[must_use]
    pub fn answer(&self, external: (Ipv4Addr, u16)) -> Self {
        let mut answer = self.clone();
        answer.source = self.destination;
        answer.destination = external;
        if let Transport::Echo { request } = &mut answer.transport {
            *request = !*request;
        }
        answer
    }

    /// The same packet with a change.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Bytes of the IPv4 packet.
    #[must_use]
    pub fn ip_length(&self) -> usize {
        let header = match &self.transport {
            Transport::Tcp { options, .. } => 20 + options.len(),
            Transport::Udp { .. } | Transport::Echo { .. } => 8,
            Transport::Other(_) => 0,
        };
        20 + self.options.len() + header + self.payload.len()
    }

    /// The frame.
    ///
    /// # Panics
    /// The draft is no packet: options of 3 bytes, for one.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut frame = [self.destination_mac, self.source_mac].concat();
        for (ethertype, tci) in &self.tags {
            frame.extend(ethertype.to_be_bytes());
            frame.extend(tci.to_be_bytes());
        }
        frame.extend(IPV4.to_be_bytes());
        let ip = self.ip_header();
        frame.extend(ip.to_bytes());
        frame.extend(self.transport_header(&ip));
        frame.extend(&self.payload);
        frame.extend(&self.padding);
        frame
    }

    /// The frames of its fragments, with so many bytes of data in each but the
    /// last. All have its options.
    ///
    /// # Panics
    /// `data` is no multiple of 8.
    #[must_use]
    pub fn fragments(&self, data: usize) -> Vec<Vec<u8>> {
        assert_eq!(data % 8, 0);
        let whole = self.bytes();
        let link = 14 + 4 * self.tags.len();
        let header = 20 + self.options.len();
        let payload = &whole[link + header..whole.len() - self.padding.len()];
        let count = payload.chunks(data).count();
        let fragments = payload.chunks(data).enumerate().map(|(at, piece)| {
            let mut ip = self.ip_header();
            ip.total_len = (header + piece.len()) as u16;
            ip.more_fragments = at + 1 < count;
            ip.fragment_offset = ((at * data / 8) as u16).try_into().expect("13 bits");
            ip.header_checksum = ip.calc_header_checksum();
            [&whole[..link], &ip.to_bytes(), piece].concat()
        });
        fragments.collect()
    }

    fn ip_header(&self) -> Ipv4Header {
        let protocol = match self.transport {
            Transport::Tcp { .. } => IpNumber::TCP,
            Transport::Udp { .. } => IpNumber::UDP,
            Transport::Echo { .. } => IpNumber::ICMP,
            Transport::Other(number) => IpNumber(number),
        };
        let mut ip = Ipv4Header {
            dscp: (self.tos >> 2).try_into().expect("6 bits"),
            ecn: (self.tos & 3).try_into().expect("2 bits"),
            total_len: self.ip_length().try_into().expect("fits in IPv4"),
            identification: self.id,
            dont_fragment: self.dont_fragment,
            more_fragments: self.more_fragments,
            fragment_offset: self.fragment_offset.try_into().expect("13 bits"),
            time_to_live: self.ttl,
            protocol,
            source: self.source.0.octets(),
            destination: self.destination.0.octets(),
            options: self.options.as_slice().try_into().expect("whole words"),
            ..Ipv4Header::default()
        };
        ip.header_checksum = ip.calc_header_checksum();
        ip
    }

    fn transport_header(&self, ip: &Ipv4Header) -> Vec<u8> {
        match &self.transport {
            Transport::Tcp { flags, options } => self.tcp_header(ip, *flags, options),
            Transport::Udp { checksum } => {
                let (from, to) = (self.source.1, self.destination.1);
                let mut udp =
                    etherparse::UdpHeader::without_ipv4_checksum(from, to, self.payload.len())
                        .expect("fits in UDP");
                if *checksum {
                    udp.checksum = udp
                        .calc_checksum_ipv4(ip, &self.payload)
                        .expect("fits in UDP");
                }
                udp.to_bytes().to_vec()
            }
            Transport::Echo { request } => {
                let id = if *request {
                    self.source.1
                } else {
                    self.destination.1
                };
                let echo = IcmpEchoHeader { id, seq: 7 };
                let kind = if *request {
                    Icmpv4Type::EchoRequest(echo)
                } else {
                    Icmpv4Type::EchoReply(echo)
                };
                Icmpv4Header::with_checksum(kind, &self.payload)
                    .to_bytes()
                    .to_vec()
            }
            Transport::Other(_) => Vec::new(),
        }
    }

    fn tcp_header(&self, ip: &Ipv4Header, flags: u8, options: &[u8]) -> Vec<u8> {
        let mut tcp = TcpHeader::new(self.source.1, self.destination.1, 0x1020_3040, 0x4000);
        tcp.set_options_raw(options).expect("whole words");
        tcp.fin = flags & flag::FIN != 0;
        tcp.syn = flags & flag::SYN != 0;
        tcp.rst = flags & flag::RST != 0;
        tcp.ack = flags & flag::ACK != 0;
        tcp.checksum = tcp
            .calc_checksum_ipv4(ip, &self.payload)
            .expect("fits in TCP");
        tcp.to_bytes().to_vec()
    }
}
