//! The plain NAT: two maps, and the rules of the RFCs as they are written.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use cgn_common::layout::{Filtering, SlotKey, SlotState as S};
use cgn_common::limits::STAMP_TICKS;
use cgn_common::verdict::Protocol;
use cgn_tests::packets::flag;
use cgn_user::dataplane::sweep::{Logged, PortSet, Swept, Timers};

pub type Endpoint = (Ipv4Addr, u16);

/// In ticks; all different.
pub const TIMERS: Timers = Timers {
    udp: 70,
    icmp: 40,
    tcp_established: 250,
    tcp_opening: 90,
    tcp_closing: 60,
    short_udp: 30,
    short_udp_ports: PortSet::NONE,
    hold: 50,
    hold_room: u32::MAX,
    logged: Logged::Nothing,
};

/// The same after a change of the configuration.
pub const QUICK: Timers = Timers {
    udp: 35,
    icmp: 20,
    tcp_established: 120,
    tcp_opening: 45,
    tcp_closing: 30,
    short_udp: 15,
    hold: 25,
    ..TIMERS
};

/// What a packet tells of its session.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub remote: Endpoint,
    pub flags: u8,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    inside: Endpoint,
    /// Of the first session, as far as it is known.
    remote: Option<Endpoint>,
    state: S,
    shared: bool,
    last_seen: u32,
}

impl Entry {
    /// Notes a packet: at once if it changed something, else if the last stamp is old.
    fn stamp(&mut self, before: (S, bool), now: u32) {
        let changed = before != (self.state, self.shared);
        if changed || now.wrapping_sub(self.last_seen) >= STAMP_TICKS {
            self.last_seen = now;
        }
    }

    fn is_live(&self) -> bool {
        self.state != S::Held
    }

    fn timeout(&self, protocol: Protocol, timers: &Timers) -> u32 {
        match (protocol, self.state) {
            (Protocol::Udp, _) => timers.udp,
            (Protocol::Icmp, _) => timers.icmp,
            (Protocol::Tcp, S::TcpInit) if !self.shared => timers.tcp_opening,
            (Protocol::Tcp, S::TcpClosing | S::TcpTransitory) if !self.shared => timers.tcp_closing,
            (Protocol::Tcp, _) => timers.tcp_established,
        }
    }
}

/// By protocol and external endpoint.
pub struct Reference {
    entries: BTreeMap<(usize, Endpoint), Entry>,
    /// To whom an inside endpoint has sent, by protocol, and from which external port; port 0
    /// is any of the address.
    sessions: BTreeMap<(usize, Endpoint, Endpoint), u16>,
    /// What the configuration says: of timers, and of datagrams and echoes.
    pub timers: Timers,
    pub filtering: Filtering,
}

impl Default for Reference {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            sessions: BTreeMap::new(),
            timers: TIMERS,
            filtering: Filtering::EndpointIndependent,
        }
    }
}

impl Reference {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn live(&mut self, inside: Endpoint, protocol: Protocol) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .find(|((p, _), e)| *p == protocol as usize && e.inside == inside && e.is_live())
            .map(|(_, e)| e)
    }

    /// External endpoint of a live mapping.
    pub fn external_of(&self, inside: Endpoint, protocol: Protocol) -> Option<Endpoint> {
        self.entries
            .iter()
            .find(|((p, _), e)| *p == protocol as usize && e.inside == inside && e.is_live())
            .map(|((_, external), _)| *external)
    }

    /// Inside endpoint of a live mapping.
    pub fn inside_of(&self, external: Endpoint, protocol: Protocol) -> Option<Endpoint> {
        let entry = self.entries.get(&(protocol as usize, external))?;
        entry.is_live().then_some(entry.inside)
    }

    /// Ports with a mapping, or in hold.
    pub fn ports_used(&self, inside: Ipv4Addr, protocol: Protocol) -> usize {
        self.slots(inside, protocol).len()
    }

    /// Whether any protocol uses one of these ports.
    pub fn uses(&self, external: Ipv4Addr, is_one: impl Fn(u16) -> bool) -> bool {
        let mut used = self.entries.keys();
        used.any(|(_, (address, port))| *address == external && is_one(*port))
    }

    /// As `(external port, inside port, state, shared, last seen)`, sorted.
    pub fn slots(&self, inside: Ipv4Addr, protocol: Protocol) -> Vec<(u16, u16, u64, bool, u32)> {
        let mine =
            |(p, _): &(usize, Endpoint), e: &Entry| *p == protocol as usize && e.inside.0 == inside;
        self.entries
            .iter()
            .filter(|(k, e)| mine(k, e))
            .map(|((_, x), e)| {
                // As far as a key has the tick.
                let seen = SlotKey::new(0, S::Free, e.last_seen).stamp();
                (x.1, e.inside.1, e.state as u64, e.shared, seen)
            })
            .collect()
    }

    /// A new mapping, whose external port nobody may have had.
    pub fn open(
        &mut self,
        inside: Endpoint,
        protocol: Protocol,
        external: Endpoint,
        by: Segment,
        now: u32,
    ) {
        let state = match protocol {
            Protocol::Tcp if by.flags & (flag::SYN | flag::ACK) == flag::SYN => S::TcpInit,
            Protocol::Tcp => S::TcpTransitory,
            Protocol::Udp | Protocol::Icmp => S::Open,
        };
        let is_asked_for = self.filtering != Filtering::EndpointIndependent;
        let entry = Entry {
            inside,
            remote: (protocol == Protocol::Tcp || is_asked_for).then_some(by.remote),
            state,
            shared: false,
            last_seen: now,
        };
        let before = self.entries.insert((protocol as usize, external), entry);
        assert!(
            before.is_none(),
            "{external:?} belonged to {before:?}, and is given to {inside:?}"
        );
    }

    /// Any packet from inside refreshes (RFC 4787 REQ-6), but for a RST that
    /// may be an answer (RFC 7857 section 7.1).
    pub fn refresh_out(&mut self, inside: Endpoint, protocol: Protocol, by: Segment, now: u32) {
        let is_asked_for = self.filtering != Filtering::EndpointIndependent;
        let Some(entry) = self.live(inside, protocol) else {
            return;
        };
        let before = (entry.state, entry.shared);
        if protocol != Protocol::Tcp {
            let seen = entry.last_seen;
            entry.stamp(before, now);
            if entry.remote.is_none() && seen != entry.last_seen && !is_asked_for {
                entry.remote = Some(by.remote);
            }
            return;
        }
        // Whose segment it is matters only if it begins or ends something, or when the stamp is old.
        let goes_on = by.flags & (flag::SYN | flag::FIN | flag::RST) == 0;
        let is_fresh = now.wrapping_sub(entry.last_seen) < STAMP_TICKS;
        if goes_on && is_fresh && entry.state == S::TcpEstablished {
            return;
        }
        let is_reset = by.flags & flag::RST != 0;
        if entry.remote == Some(by.remote) {
            entry.state = after(entry.state, true, by.flags);
            if is_reset && before.0 == entry.state {
                return;
            }
        } else if is_reset {
            return;
        } else if !entry.shared {
            let over = matches!(entry.state, S::TcpClosing | S::TcpTransitory);
            if over && by.flags & flag::SYN != 0 {
                entry.remote = Some(by.remote);
                entry.state = S::TcpInit;
            } else {
                entry.shared = true;
            }
        }
        entry.stamp(before, now);
    }

    /// From outside only TCP of a known session refreshes.
    pub fn refresh_in(&mut self, inside: Endpoint, protocol: Protocol, by: Segment, now: u32) {
        let Some(entry) = self.live(inside, protocol) else {
            return;
        };
        let first = entry.remote == Some(by.remote);
        if protocol == Protocol::Tcp && (first || entry.shared) {
            let before = (entry.state, entry.shared);
            if first {
                entry.state = after(entry.state, false, by.flags);
            }
            if by.flags & flag::RST != 0 && before.0 == entry.state {
                return;
            }
            entry.stamp(before, now);
        }
    }

    /// The filtering; that of an echo, which has no port on the other side, is by address only.
    fn filtering_of(&self, protocol: Protocol) -> Filtering {
        match (protocol, self.filtering) {
            (Protocol::Tcp, _) => Filtering::EndpointIndependent,
            (Protocol::Icmp, Filtering::AddressAndPortDependent) => Filtering::AddressDependent,
            (_, filtering) => filtering,
        }
    }

    /// An inside endpoint sent to this remote one, which may answer from now on.
    pub fn note_session(&mut self, inside: Endpoint, protocol: Protocol, to: Endpoint, now: u32) {
        let port = match self.filtering_of(protocol) {
            Filtering::EndpointIndependent => return,
            Filtering::AddressDependent => 0,
            Filtering::AddressAndPortDependent => to.1,
        };
        let external = self.external_of(inside, protocol);
        let (Some(external), Some(entry)) = (external, self.live(inside, protocol)) else {
            return;
        };
        let first = *entry.remote.get_or_insert(to);
        if first == to {
            return;
        }
        let is_noted = port != 0 || first.0 != to.0;
        let before = (entry.state, entry.shared);
        entry.shared = true;
        if before != (entry.state, entry.shared) {
            entry.last_seen = now;
        }
        if is_noted {
            let key = (protocol as usize, inside, (to.0, port));
            self.sessions.insert(key, external.1);
        }
    }

    /// Whether a live mapping takes a packet from there (RFC 4787 REQ-8).
    pub fn admits(&self, inside: Endpoint, protocol: Protocol, from: Endpoint) -> bool {
        let number = protocol as usize;
        let mut entries = self.entries.iter();
        let Some(((_, external), entry)) =
            entries.find(|((p, _), e)| *p == number && e.inside == inside && e.is_live())
        else {
            return false;
        };
        let has_sent = |to| self.sessions.get(&(number, inside, to)) == Some(&external.1);
        match self.filtering_of(protocol) {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => {
                entry.remote.is_some_and(|first| first.0 == from.0) || has_sent((from.0, 0))
            }
            // The port of one who has none yet is 0, which is here that of a noted address.
            Filtering::AddressAndPortDependent => {
                entry.remote == Some(from) || from.1 != 0 && has_sent(from)
            }
        }
    }

    /// Ends what is idle; frees what has been held.
    pub fn sweep(&mut self, now: u32) -> Swept {
        let (mut swept, timers) = (Swept::default(), self.timers);
        self.entries.retain(|(protocol, _), entry| {
            let idle = now.wrapping_sub(entry.last_seen);
            if entry.is_live() {
                if idle < entry.timeout(Protocol::ALL[*protocol], &timers) + STAMP_TICKS {
                    swept.live[*protocol] += 1;
                } else {
                    entry.state = S::Held;
                    entry.last_seen = now;
                    swept.expired[*protocol] += 1;
                    swept.held += 1;
                    swept.newly_held += 1;
                }
                return true;
            }
            let over = idle > timers.hold;
            swept.freed += u32::from(over);
            swept.held += u32::from(!over);
            !over
        });
        swept
    }
}

/// RFC 7857 section 2, with the additions that `nat::tcp_state` lists.
fn after(state: S, outbound: bool, flags: u8) -> S {
    let (syn, ack, fin, rst) = (
        flags & flag::SYN != 0,
        flags & flag::ACK != 0,
        flags & flag::FIN != 0,
        flags & flag::RST != 0,
    );
    match state {
        S::TcpInit | S::TcpClosing if rst => state,
        _ if rst => S::TcpTransitory,
        S::TcpInit if syn && (!outbound || ack) => S::TcpEstablished,
        S::TcpClosing | S::TcpTransitory if syn && outbound && ack => S::TcpEstablished,
        S::TcpClosing | S::TcpTransitory if syn && outbound => S::TcpInit,
        S::TcpTransitory if syn => S::TcpTransitory,
        S::TcpTransitory if !fin => S::TcpEstablished,
        S::TcpEstablished | S::TcpTransitory if fin && !syn => {
            if outbound {
                S::TcpInsideFin
            } else {
                S::TcpOutsideFin
            }
        }
        S::TcpInsideFin if fin && !syn && !outbound => S::TcpClosing,
        S::TcpOutsideFin if fin && !syn && outbound => S::TcpClosing,
        other => other,
    }
}
