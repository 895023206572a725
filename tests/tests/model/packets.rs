//! Packets of the random life: what the translator does with each, and what the plain NAT says to it.

use std::net::Ipv4Addr;

use cgn_common::verdict::{Protocol, Reason};
use cgn_tests::harness::host::run_over;
use cgn_tests::harness::world::SMALL_SHIFT;
use cgn_tests::harness::{Ending, Run, mapping_of, shown};
use cgn_tests::packets::{Draft, flag};
use cgn_user::dataplane::install::Grant;
use cgn_user::dataplane::load::Entry;

use super::reference::{Endpoint, Segment};
use super::{INSIDE, Pair, REMOTES};

/// Ethernet and an IPv4 header without options; an ICMP header.
const IP: usize = 14;
const L4: usize = IP + 20;
const QUOTED: usize = L4 + 8;

fn address(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from(*bytes[at..].first_chunk::<4>().expect("it is that long"))
}

fn port(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Source and destination of the packet at `ip`; those of an echo have its identifier.
fn ends(bytes: &[u8], ip: usize, protocol: Protocol) -> (Endpoint, Endpoint) {
    let ports = match protocol {
        Protocol::Icmp => [4, 4],
        Protocol::Tcp | Protocol::Udp => [0, 2],
    };
    let [from, to] = ports.map(|at| port(bytes, ip + 20 + at));
    (
        (address(bytes, ip + 12), from),
        (address(bytes, ip + 16), to),
    )
}

/// The end that sessions know: an echo has no port there.
fn remote_of(protocol: Protocol, remote: Endpoint) -> Endpoint {
    match protocol {
        Protocol::Icmp => (remote.0, 0),
        Protocol::Tcp | Protocol::Udp => remote,
    }
}

impl Pair {
    pub fn draft(protocol: Protocol, flags: u8, from: Endpoint, to: Endpoint) -> Draft {
        match protocol {
            Protocol::Tcp => Draft::tcp(flags, from, to),
            Protocol::Udp => Draft::udp(from, to),
            Protocol::Icmp if INSIDE.contains(&from.0) => Draft::ping(from, to.0),
            Protocol::Icmp => Draft::pong(from.0, to),
        }
    }

    pub fn run(&self, entry: Entry, frame: &[u8]) -> Run {
        run_over(&self.memory, &self.world, self.now, 0, entry, frame)
    }

    /// A packet from inside to a remote endpoint; `first_of`: the identification of a datagram
    /// whose first fragment it is.
    pub fn out(
        &mut self,
        subscriber: usize,
        protocol: Protocol,
        port: u16,
        to: Endpoint,
        flags: u8,
        first_of: Option<u16>,
    ) {
        let inside = (INSIDE[subscriber], port);
        let segment = Segment {
            remote: remote_of(protocol, to),
            flags,
        };
        let draft = Self::draft(protocol, flags, inside, to);
        let run = self.run(Entry::Inside, &Self::frame(draft, first_of));
        let external = ends(&run.bytes, IP, protocol).0;
        if let Some(known) = self.reference.external_of(inside, protocol) {
            assert_eq!(external, known, "the mapping is stable\n{}", shown(&run));
            assert_eq!(run.counters.created, [0; 3]);
            self.reference
                .refresh_out(inside, protocol, segment, self.now);
        } else {
            let refused = self
                .stray(protocol, flags)
                .or_else(|| self.refusal(subscriber, protocol));
            if let Some(reason) = refused {
                assert_eq!(run.ending, reason.into(), "opens nothing\n{}", shown(&run));
                return;
            }
            self.assert_theirs(subscriber, external);
            self.reference
                .open(inside, protocol, external, segment, self.now);
            self.known.push(external);
        }
        assert_eq!(run.ending, Ending::Sent { back: false }, "{}", shown(&run));
        self.happens("a packet went out");
        self.reference
            .note_session(inside, protocol, segment.remote, self.now);
        if let Some(id) = first_of {
            let ends = (external.0, to.0);
            self.begun(Entry::Inside, (inside.0, to.0), protocol, id, ends, &run);
        }
    }

    /// Why a segment from inside opens nothing, if so: a RST never does, and one in mid-stream only
    /// where that is allowed.
    fn stray(&self, protocol: Protocol, flags: u8) -> Option<Reason> {
        let begins = flags & (flag::SYN | flag::ACK) == flag::SYN;
        match protocol {
            Protocol::Tcp if flags & flag::RST != 0 => Some(Reason::StrayReset),
            Protocol::Tcp if self.strict && !begins => Some(Reason::MidStream),
            _ => None,
        }
    }

    /// Why no mapping can be opened, if so.
    fn refusal(&self, subscriber: usize, protocol: Protocol) -> Option<Reason> {
        let blocks = &self.grants[subscriber];
        let used = self.reference.ports_used(INSIDE[subscriber], protocol);
        let ports = blocks.len() << SMALL_SHIFT;
        assert!(used <= ports);
        (used == ports).then_some(match blocks.len() {
            0 => Reason::FirstPacket,
            6 => Reason::NoPort,
            _ => Reason::BlockFull,
        })
    }

    fn assert_theirs(&self, subscriber: usize, external: Endpoint) {
        let within = |grant: &Grant| external.0 == grant.external && self.is_of(grant, external.1);
        let is_theirs = self.grants[subscriber].iter().any(within);
        assert!(is_theirs, "{external:?} is not theirs");
    }

    /// Why a packet of one subscriber reaches no other, if so.
    fn no_hairpin(
        &self,
        subscriber: usize,
        protocol: Protocol,
        port: u16,
        to: Endpoint,
        flags: u8,
    ) -> Option<Reason> {
        let Some(receiver) = self.reference.inside_of(to, protocol) else {
            return Some(Reason::NoMapping);
        };
        let sender = (INSIDE[subscriber], port);
        if self.reference.external_of(sender, protocol).is_some() {
            return None;
        }
        // Nothing is opened in vain. His address is known before he has a port.
        let address = self.grants[subscriber].first().map(|grant| grant.external);
        let newcomer = (address.unwrap_or(Ipv4Addr::UNSPECIFIED), 0);
        if !self.reference.admits(receiver, protocol, newcomer) {
            return Some(Reason::Filtered);
        }
        self.stray(protocol, flags)
            .or_else(|| self.refusal(subscriber, protocol))
    }

    /// A packet of one subscriber to an external endpoint: the mapping of another, or his own.
    pub fn hairpin(
        &mut self,
        subscriber: usize,
        protocol: Protocol,
        port: u16,
        to: Endpoint,
        flags: u8,
        first_of: Option<u16>,
    ) {
        let sender = (INSIDE[subscriber], port);
        let draft = Self::draft(protocol, flags, sender, to);
        let refused = self.no_hairpin(subscriber, protocol, port, to, flags);
        let run = self.run(Entry::Inside, &Self::frame(draft, first_of));
        if let Some(reason) = refused {
            assert_eq!(run.ending, Ending::from(reason), "{}", shown(&run));
            assert_eq!(run.counters.created, [0; 3], "opened in vain");
            if reason == Reason::Filtered {
                self.happens("a hairpin was filtered");
            }
            return;
        }
        let receiver = self.reference.inside_of(to, protocol).expect("not refused");
        let mapping = mapping_of(&self.memory, &self.world, sender, protocol);
        let external = mapping.expect("it was there, or is now").external;
        let segment = Segment { remote: to, flags };
        match self.reference.external_of(sender, protocol) {
            Some(known) => {
                assert_eq!(external, known, "the mapping is stable");
                self.reference
                    .refresh_out(sender, protocol, segment, self.now);
            }
            None => {
                self.assert_theirs(subscriber, external);
                self.reference
                    .open(sender, protocol, external, segment, self.now);
                self.known.push(external);
            }
        }
        self.reference.note_session(sender, protocol, to, self.now);
        if !self.reference.admits(receiver, protocol, external) {
            self.happens("a hairpin was filtered");
            return assert_eq!(run.ending, Reason::Filtered.into(), "{}", shown(&run));
        }
        let segment = Segment {
            remote: external,
            flags,
        };
        self.reference
            .refresh_in(receiver, protocol, segment, self.now);
        let all = (external.0, receiver.0);
        if let Some(id) = first_of
            && self.conflicts(Entry::Inside, (sender.0, to.0), protocol, id, all)
        {
            self.happens("a fragment of another's datagram");
            return assert_eq!(run.ending, Reason::FragmentConflict.into());
        }
        assert_eq!(run.ending, Ending::Sent { back: false }, "{}", shown(&run));
        let left = ends(&run.bytes, IP, protocol);
        assert_eq!(left, (external, receiver), "it reaches its owner");
        self.happens("a hairpin");
        if let Some(id) = first_of {
            self.begun(Entry::Inside, (sender.0, to.0), protocol, id, all, &run);
        }
    }

    pub fn inbound(
        &mut self,
        external: Endpoint,
        protocol: Protocol,
        from: Endpoint,
        flags: u8,
        first_of: Option<u16>,
    ) {
        let draft = Self::draft(protocol, flags, from, external);
        let run = self.run(Entry::Outside, &Self::frame(draft, first_of));
        let Some(inside) = self.reference.inside_of(external, protocol) else {
            return assert_eq!(run.ending, Reason::NoMapping.into(), "{}", shown(&run));
        };
        let remote = remote_of(protocol, from);
        if !self.reference.admits(inside, protocol, remote) {
            self.happens("a packet from outside was filtered");
            return assert_eq!(run.ending, Reason::Filtered.into(), "{}", shown(&run));
        }
        let segment = Segment {
            remote: from,
            flags,
        };
        self.reference
            .refresh_in(inside, protocol, segment, self.now);
        let all = (from.0, inside.0);
        if let Some(id) = first_of
            && self.conflicts(Entry::Outside, (from.0, external.0), protocol, id, all)
        {
            self.happens("a fragment of another's datagram");
            return assert_eq!(run.ending, Reason::FragmentConflict.into());
        }
        assert_eq!(run.ending, Ending::Sent { back: false }, "{}", shown(&run));
        assert_eq!(
            ends(&run.bytes, IP, protocol).1,
            inside,
            "it reaches its owner"
        );
        self.happens("a packet came in");
        if let Some(id) = first_of {
            self.begun(
                Entry::Outside,
                (from.0, external.0),
                protocol,
                id,
                all,
                &run,
            );
        }
    }

    /// An ICMP error from outside reaches who sent the packet that it quotes, which is his own
    /// again; nothing is opened, refreshed or ended by it (RFC 5508 REQ-6).
    pub fn error_in(&self, external: Endpoint, protocol: Protocol, to: Endpoint, kind: (u8, u8)) {
        let quoted = match protocol {
            Protocol::Icmp => Draft::ping(external, to.0),
            _ => Self::draft(protocol, flag::ACK, external, to),
        };
        let error = Draft::icmp_error(
            kind,
            [0; 4],
            &quoted.packet()[..28],
            REMOTES[2].0,
            external.0,
        );
        let run = self.run(Entry::Outside, &error.bytes());
        assert_eq!(run.counters.created, [0; 3]);
        let Some(inside) = self.reference.inside_of(external, protocol) else {
            return assert_eq!(
                run.ending,
                Reason::NoQuotedMapping.into(),
                "{}",
                shown(&run)
            );
        };
        assert_eq!(run.ending, Ending::Sent { back: false }, "{}", shown(&run));
        assert_eq!(
            address(&run.bytes, IP + 16),
            inside.0,
            "it reaches its owner"
        );
        self.happens("an error came in");
        let quoted = ends(&run.bytes, QUOTED, protocol).0;
        assert_eq!(quoted, inside, "about what he sent");
    }

    /// An ICMP error from inside, about a packet of `from` (a remote endpoint, or the external one
    /// of a subscriber) that came to an inside endpoint: it leaves from his external address, about
    /// the packet as it was sent; or it reaches the other subscriber.
    pub fn error_out(&self, inside: Endpoint, protocol: Protocol, from: Endpoint, kind: (u8, u8)) {
        let quoted = Self::draft(protocol, flag::ACK, from, inside).packet();
        let error = Draft::icmp_error(kind, [0; 4], &quoted[..28], inside.0, from.0);
        let run = self.run(Entry::Inside, &error.bytes());
        assert_eq!(run.counters.created, [0; 3]);
        let is_remote = REMOTES.iter().any(|remote| remote.0 == from.0);
        let teller = self.reference.external_of(inside, protocol);
        let told = match is_remote {
            true => Some(remote_of(protocol, from)),
            false => self.reference.inside_of(from, protocol),
        };
        let (Some(teller), Some(told)) = (teller, told) else {
            return assert_eq!(
                run.ending,
                Reason::NoQuotedMapping.into(),
                "{}",
                shown(&run)
            );
        };
        assert_eq!(run.ending, Ending::Sent { back: false }, "{}", shown(&run));
        let addresses = (address(&run.bytes, IP + 12), address(&run.bytes, IP + 16));
        assert_eq!(addresses, (teller.0, told.0), "{}", shown(&run));
        self.happens("an error went out");
        let (from, to) = ends(&run.bytes, QUOTED, protocol);
        assert_eq!(
            (from.0, to),
            (told.0, teller),
            "as it was sent\n{}",
            shown(&run)
        );
        if protocol != Protocol::Icmp {
            assert_eq!(from.1, told.1, "{}", shown(&run));
        }
    }
}
