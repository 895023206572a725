//! What becomes of a packet, and why. The one list of reasons: counters,
//! metrics, `cgn show drops` and documents are made from it.

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a subscriber to the internet.
    Outbound = 0,
    /// From the internet to a subscriber.
    Inbound = 1,
}

/// Transport protocols that are translated. Each has its own port space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp = 0,
    Udp = 1,
    /// ICMP queries; the identifier is the port.
    Icmp = 2,
}

impl Protocol {
    /// All protocols, in the order of their port spaces in a slab.
    pub const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp];

    /// The inverse of `as`; other numbers are ICMP.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        match number {
            0 => Self::Tcp,
            1 => Self::Udp,
            _ => Self::Icmp,
        }
    }
    /// Lower-case name, as in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Icmp => "icmp",
        }
    }
}

/// What becomes of a packet.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Translated; send it out of device `device` (key of the `DEVICES` map).
    Transmit { device: u16, ifindex: u32 },
    /// Not ours to translate: the kernel has it.
    Pass(Reason),
    /// The slow path must see it.
    Punt(Reason),
    /// Dropped.
    Drop(Reason),
}

/// What a reason does to the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Drop,
    Punt,
    Pass,
}

macro_rules! reasons {
    ($($number:literal $variant:ident $effect:ident $name:literal $help:literal;)*) => {
        /// Why a packet was dropped, punted or passed. Numbers are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason { $(#[doc = $help] $variant = $number,)* }

        impl Reason {
            /// Every reason, by number.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// Name in metrics, `cgn show drops` and documents.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// One sentence for an operator.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Reason::$variant => $help,)* }
            }

            const DECLARED: &'static [Effect] = &[$(Effect::$effect,)*];
        }
    };
}

reasons! {
    0 Truncated Drop "truncated" "the frame ends before the headers that it announces";
    1 VlanDepth Drop "vlan_depth" "more than two VLAN tags on a VLAN of ours";
    2 BadIpHeader Drop "bad_ip_header" "IPv4 version or header length is impossible";
    3 BadIpLength Drop "bad_ip_length" "IPv4 total length is shorter than its header or longer than the frame";
    4 BadIpChecksum Drop "bad_ip_checksum" "the IPv4 header checksum is wrong (RFC 1812 section 5.2.2)";
    5 BadTransportHeader Drop "bad_transport_header" "TCP, UDP or ICMP header does not fit in the IPv4 packet, or its length field lies";
    6 Fragment Drop "fragment" "a fragment, and the program for them is missing; please report it";
    7 UnsupportedProtocol Drop "unsupported_protocol" "an IPv4 protocol that is not translated and has no reason of its own";
    8 UnsupportedIcmp Drop "unsupported_icmp" "an ICMP message other than echo requests from inside, their replies, and the errors of RFC 5508 REQ-10a and 10b";
    9 TtlExpired Drop "ttl_expired" "the time to live ended here";
    10 SpoofedSource Drop "spoofed_source" "the source address of a packet from inside belongs to no subscriber prefix";
    11 NotForUs Drop "not_for_us" "a packet from outside to an address that is neither a pool's nor the router's";
    12 NoMapping Drop "no_mapping" "a packet from outside to an external port without a mapping";
    13 Hairpin Drop "hairpin" "a packet from inside to a pool address, and the program for rare packets is missing; please report it";
    14 NoRoute Drop "no_route" "the kernel has no route to the destination";
    15 WrongSide Drop "wrong_side" "the route leads back to the side that the packet came from, or to an interface that is not ours";
    16 TooBig Drop "too_big" "the packet is larger than the MTU of the next hop";
    17 NoPort Drop "no_port" "all ports of the subscriber's blocks are in use and it may have no more blocks";
    18 NoBlock Drop "no_block" "no block could be given to the subscriber: pool, paired address or slot memory exhausted";
    19 Contended Drop "contended" "two processors opened the same mapping again and again; the sender's retry will find it";
    20 NoHeadRoom Drop "no_head_room" "no room in front of the frame for another VLAN tag";
    21 BadSource Drop "bad_source" "the source address cannot be a host's (multicast, broadcast, loopback, link-local, zero, shared address space of RFC 6598, or our own pool's)";
    22 LogUnavailable Drop "log_unavailable" "the mapping log could not be written, so the new block was not used";
    23 NeighbourUnresolved Drop "neighbour_unresolved" "the next hop did not answer in time, or too many packets were sent to it meanwhile";
    24 PuntUndelivered Drop "punt_undelivered" "no slow-path socket on this receive queue took the packet: none is there, or its ring was full";
    25 Internal Drop "internal" "a table named an entry that does not exist; please report it";
    26 Martian Drop "martian" "to an address that no router forwards to: 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 240.0.0.0/4 (RFC 1122, RFC 3927), or from inside to 100.64.0.0/10 outside (RFC 6598)";
    27 RouteUnresolved Drop "route_unresolved" "the route could not be looked up in the slow path, or too many packets asked for it";
    64 BadIcmpChecksum Drop "bad_icmp_checksum" "the checksum of an ICMP error is wrong (RFC 5508 REQ-3)";
    65 BadQuote Drop "bad_quote" "the packet that an ICMP error quotes is too short, or its IPv4 header is wrong (RFC 5508 REQ-3)";
    66 QuotedError Drop "quoted_error" "an ICMP error about an ICMP error (RFC 1122 section 3.2.2)";
    67 QuotedFragment Drop "quoted_fragment" "an ICMP error about a fragment that is not the first: it has no ports";
    68 QuoteMismatch Drop "quote_mismatch" "an ICMP error about a packet that was not its receiver's, or not for its sender";
    69 NoQuotedMapping Drop "no_quoted_mapping" "an ICMP error about a packet without a mapping (RFC 5508 REQ-4, REQ-5)";
    70 UnsupportedGre Drop "unsupported_gre" "GRE (IPv4 protocol 47; PPTP, say): it has no ports to translate";
    71 UnsupportedEsp Drop "unsupported_esp" "ESP (50; IPsec that is not in UDP): it has no ports to translate";
    72 UnsupportedAh Drop "unsupported_ah" "AH (51): it signs the addresses, so that no NAT can change them";
    73 UnsupportedSctp Drop "unsupported_sctp" "SCTP (132): not translated";
    74 UnsupportedDccp Drop "unsupported_dccp" "DCCP (33): not translated (RFC 5597 binds who does)";
    75 UnsupportedIpv6 Drop "unsupported_ipv6" "IPv6 in IPv4 (41; 6to4, 6in4): it has no ports to translate";
    76 UnsupportedIpip Drop "unsupported_ipip" "IPv4 in IPv4 (4): it has no ports to translate";
    80 TinyFragment Drop "tiny_fragment" "a first fragment that does not hold a whole transport header (RFC 1858)";
    81 BadFragment Drop "bad_fragment" "a fragment without data, not the last and no multiple of 8 bytes long, or beyond the end of the largest packet";
    82 FragmentOverlap Drop "fragment_overlap" "a fragment that overwrites what another one says (RFC 1858, RFC 3128)";
    83 FragmentConflict Drop "fragment_conflict" "a first fragment with the identification of another datagram that is still on its way";
    84 FragmentLimit Drop "fragment_limit" "the source has as many fragments waiting, or as many datagrams on their way, as one may have";
    85 FragmentExpired Drop "fragment_expired" "the first fragment of the datagram did not come in time";

    96 MidStream Drop "mid_stream" "a TCP segment from inside that is no SYN, of a flow without a mapping, and the configuration says to drop it (tcp.midstream)";
    97 StrayReset Drop "stray_reset" "a TCP RST from inside of a flow without a mapping: there is nothing to end";
    98 Filtered Drop "filtered" "a packet from outside to a mapping, from a remote endpoint that its pool's filtering does not admit";
    99 SessionsFull Drop "sessions_full" "the table of sessions is full, so the filter would refuse the answer to this packet (sessions.max)";
    100 MappingLimit Drop "mapping_limit" "the subscriber has as many mappings of the protocol, ports in hold included, as its group may have; or its external address is drained (`cgn pool`)";
    101 MappingRate Drop "mapping_rate" "the subscriber opens more mappings a second than its group may";
    102 SessionLimit Drop "session_limit" "the subscriber has as many further sessions as its group may have, so the filter would refuse the answer to this packet";
    103 AccessDenied Drop "access_denied" "a rule of the access lists denies the packet (`cgn show rules` tells which)";
    104 Throttled Drop "throttled" "a new session of a source prefix that opens too many (throttle); flows that are established go on";
    105 AttackedAddress Drop "attacked_address" "a packet from outside that nobody waits for, to an external address that gets too many of them (guard.unsolicited_per_second)";
    106 Overload Drop "overload" "a new subscriber is put off while the slow path is overloaded (guard.busy_percent); those that have a block go on";
    107 Tunnel6to4 Drop "tunnel_6to4" "IPv6 in IPv4 (41) of 6to4 (RFC 3056), by its addresses or by a relay's: it has no ports to translate";
    108 TunnelIsatap Drop "tunnel_isatap" "IPv6 in IPv4 (41) of ISATAP (RFC 5214): it has no ports to translate";
    109 TunnelForged Drop "tunnel_forged" "IPv6 in IPv4 (41) whose IPv6 addresses contradict the IPv4 ones, name a private or reserved address, or would send it back (RFC 3964, RFC 6324); or a bypassed packet or one of Teredo like that";
    110 RuleRate Drop "rule_rate" "a packet from inside over the rate that a rule of the access lists has for each subscriber (`cgn show rules` tells which)";
    111 Tunnel6rd Drop "tunnel_6rd" "IPv6 in IPv4 (41) of the provider's 6rd (RFC 5969; access.six_rd_prefix): it has no ports to translate, and no rule bypasses it";

    32 FirstPacket Punt "first_packet" "the subscriber has no block yet";
    33 BlockFull Punt "block_full" "all ports of the subscriber's blocks are in use, another block may be had";
    34 NoNeighbour Punt "no_neighbour" "the link address of the next hop is not known yet";
    35 RouteUnknown Punt "route_unknown" "the kernel did not tell XDP the route (forwarding is off on the interface, for one), so that the slow path looks it up";
    40 Answered Punt "answered" "the packet ends here, and the slow path tells its sender by an ICMP error (the section icmp of the configuration)";

    36 FragmentUnknown Punt "fragment_unknown" "a fragment that came before the first of its datagram: it waits for it";
    37 FragmentAwaited Punt "fragment_awaited" "the first fragment of a datagram whose others wait for it";
    38 Oversize Punt "oversize" "the packet is larger than the MTU of the next hop, and may be fragmented";
    47 Forced Punt "forced" "every packet that is not the kernel's goes by the slow path (debug.force_slow_path)";

    48 Local Pass "local" "to an address of the router itself";
    49 Multicast Pass "multicast" "to a multicast or broadcast address";
    50 NotIpv4 Pass "not_ipv4" "ARP, IPv6 or another protocol that is the kernel's";
    51 OtherVlan Pass "other_vlan" "on a VLAN that is not configured here";
}

impl Reason {
    /// What happens to a packet with this reason. By ranges of numbers, so
    /// that it costs XDP two comparisons and no table.
    #[inline(always)]
    #[must_use]
    pub const fn effect(self) -> Effect {
        match self as u8 {
            32..=47 => Effect::Punt,
            48..=63 => Effect::Pass,
            _ => Effect::Drop,
        }
    }

    /// True for what is no end of the packet's way: it goes on in [`crate::rare`].
    #[inline(always)]
    #[must_use]
    pub const fn is_rare(self) -> bool {
        matches!(
            self,
            Reason::Fragment | Reason::Oversize | Reason::UnsupportedIcmp | Reason::Hairpin
        )
    }

    /// The reason with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|r| *r as u8 == number)
    }
}

impl From<Reason> for Verdict {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        match reason.effect() {
            Effect::Drop => Verdict::Drop(reason),
            Effect::Punt => Verdict::Punt(reason),
            Effect::Pass => Verdict::Pass(reason),
        }
    }
}

/// Counters kept for reasons: one for every number that a reason can have, so
/// that no bound needs to be checked (LLVM drops a mask that it can prove
/// useless, and then the verifier misses it).
pub const REASONS: usize = 256;

const _: () = {
    let mut i = 0;
    while i < Reason::ALL.len() {
        assert!(Reason::ALL[i].effect() as u8 == Reason::DECLARED[i] as u8);
        i += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_fit_for_metrics() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|r| r.name()).collect();
        assert!(names.iter().all(|n| {
            n.bytes()
                .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
        }));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
