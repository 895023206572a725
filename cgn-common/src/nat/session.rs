//! Sessions beside a mapping's first one: who may send to a mapping that
//! filters (RFC 4787 REQ-8, RFC 5382 REQ-3), and how long each TCP session
//! lives by itself (RFC 7857 section 2), and which ones the log has to name.
//!
//! Only packets from inside enter a session, so nobody outside can fill the
//! table. It never evicts. When it is full, a packet whose answer would be
//! refused, or whose remote endpoint is to be logged, is dropped and counted
//! (`sessions_full`); where anyone may answer, the packet is translated, and its
//! mapping lives as long as an established one.

use super::lookup::{self, Peer};
use super::{quota, tcp_state};
use crate::layout::{
    Features, Filtering, Policy, Session, SessionKey, SlotKey, SlotState, peer, refusal_of,
};
use crate::tables::Tables;
use crate::verdict::{Direction, Protocol, Reason};
use crate::word::Word;

/// A translated packet as sessions see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party {
    pub protocol: Protocol,
    /// Inside address and port.
    pub inside: (u32, u16),
    pub external_port: u16,
    /// See [`peer::remote`].
    pub remote: u64,
    /// Of a TCP segment.
    pub flags: u8,
    pub policy: Policy,
    /// Now, in ticks.
    pub tick: u32,
}

impl Party {
    /// As three scalars: XDP calls the functions here as global functions.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> (u64, u64, u64) {
        (
            self.remote | (self.protocol as u64) << 48 | (self.flags as u64) << 56,
            self.inside.0 as u64 | (self.inside.1 as u64) << 32 | (self.external_port as u64) << 48,
            self.tick as u64 | (self.policy.0 as u64) << 32,
        )
    }
    /// The inverse of [`Party::pack`].
    #[inline(always)]
    #[must_use]
    pub const fn unpack(a: u64, b: u64, c: u64) -> Self {
        let protocol = match (a >> 48) & 0xff {
            0 => Protocol::Tcp,
            1 => Protocol::Udp,
            _ => Protocol::Icmp,
        };
        Self {
            protocol,
            inside: (b as u32, (b >> 32) as u16),
            external_port: (b >> 48) as u16,
            remote: a & peer::REMOTE,
            flags: (a >> 56) as u8,
            policy: Policy((c >> 32) as u16),
            tick: c as u32,
        }
    }

    /// The filtering; for ICMP, whose remote side has no port, by address only.
    #[inline(always)]
    const fn filtering(self) -> Filtering {
        match (self.policy.filtering(self.protocol), self.protocol) {
            (Filtering::AddressAndPortDependent, Protocol::Icmp) => Filtering::AddressDependent,
            (filtering, _) => filtering,
        }
    }

    /// True if every remote endpoint is a session of its own.
    #[inline(always)]
    const fn has_full_sessions(self) -> bool {
        matches!(self.filtering(), Filtering::AddressAndPortDependent)
            || self.policy.has(Policy::LOGGED_SESSIONS)
            || matches!(self.protocol, Protocol::Tcp) && self.policy.has(Policy::TIMED_SESSIONS)
    }

    #[inline(always)]
    const fn is_by_address(self) -> bool {
        matches!(self.filtering(), Filtering::AddressDependent)
    }

    #[inline(always)]
    const fn session(self) -> SessionKey {
        let port = (self.remote >> 32) as u16;
        SessionKey::new(self.protocol, self.inside, self.remote as u32, port)
    }

    /// The key for any port of the remote address.
    #[inline(always)]
    const fn address(self) -> SessionKey {
        SessionKey::new(self.protocol, self.inside, self.remote as u32, 0)
    }
}

/// What sessions say of an outbound packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Departure {
    /// Its answer will be admitted, or needs no session.
    Open = 0,
    /// The answer would be refused: the table is full.
    Full = 1,
    /// The answer would be refused: the subscriber has as many sessions as it may.
    Limit = 2,
}

impl Departure {
    /// The one with this number.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        match number {
            0 => Self::Open,
            1 => Self::Full,
            _ => Self::Limit,
        }
    }
}

/// Notes an outbound packet.
#[inline(always)]
#[must_use]
pub fn depart<T: Tables + ?Sized>(tables: &T, party: Party, external: u32) -> Departure {
    let port = party.external_port;
    let Some(slot) = lookup::by_external(tables, external, port, party.protocol) else {
        return Departure::Open; // it ended a moment ago
    };
    let first = slot.peer.read(tables);
    if first == party.remote {
        return Departure::Open; // its state is in the slot
    }
    // Opened when nobody asked for sessions: this one is the first that is known. Not for the log,
    // which may have the mapping already, without it: there it is one more.
    if first == 0
        && !party.policy.has(Policy::LOGGED_SESSIONS)
        && slot.peer.write_first(tables, party.remote)
    {
        return Departure::Open;
    }
    let is_tcp = matches!(party.protocol, Protocol::Tcp);
    if is_tcp && tcp_state::is_answer(party.flags) {
        // It keeps nothing alive and lets nobody in, but may end a session.
        if party.has_full_sessions() {
            let _ = tables.session(&party.session(), |word| {
                renew(word, party, Direction::Outbound)
            });
        }
        return Departure::Open;
    }
    let mut noted = Departure::Open;
    let mut flags = SlotKey::SHARED;
    if party.is_by_address() && first as u32 != party.remote as u32 {
        noted = note(tables, party, &party.address(), SlotState::Open as u64);
    }
    if party.has_full_sessions() {
        let state = match is_tcp {
            true => tcp_state::first_of_further(party.flags),
            false => SlotState::Open as u64,
        };
        let session = note(tables, party, &party.session(), state);
        if !matches!(session, Departure::Open) {
            flags |= SlotKey::UNLISTED;
            if !party.is_by_address() || party.policy.has(Policy::LOGGED_SESSIONS) {
                noted = session;
            }
        }
    }
    lookup::share(&slot, flags, party.tick);
    match party.filtering() {
        Filtering::EndpointIndependent if !party.policy.has(Policy::LOGGED_SESSIONS) => {
            Departure::Open
        }
        _ => noted,
    }
}

/// Refreshes or enters one session, if that is possible; `first` is the number of its first state.
#[inline(always)]
fn note<T: Tables + ?Sized>(tables: &T, party: Party, key: &SessionKey, first: u64) -> Departure {
    let fresh = Session::of(party.external_port, first, party.tick);
    let seen = tables.session(key, |word| {
        if !renew(word, party, Direction::Outbound) {
            // Of an earlier mapping.
            word.store(fresh.0);
        }
    });
    if seen.is_some() {
        return Departure::Open;
    }
    let quota = quota::of_inside(tables, party.inside.0);
    if let Some(quota) = quota
        && !quota::may_enter(quota)
    {
        if let Some(kind) = refusal_of(Reason::SessionLimit) {
            quota::note(quota, kind, party.tick);
        }
        return Departure::Limit;
    }
    if tables.enter_session(key, fresh.0) {
        if let Some(quota) = quota {
            quota.sessions.add(1);
        }
        return Departure::Open;
    }
    // Another processor may have entered it just now.
    match tables.session(key, |_| ()) {
        Some(()) => Departure::Open,
        None => Departure::Full,
    }
}

/// Refreshes a session; false if it is an earlier mapping's.
#[inline(always)]
fn renew(word: &Word, party: Party, direction: Direction) -> bool {
    const OPEN: u64 = SlotState::Open as u64;
    let old = Session(word.load());
    if old.external_port() != party.external_port {
        return false;
    }
    let state = match old.state() {
        OPEN => OPEN,
        state => tcp_state::next(state, direction, party.flags),
    };
    let is_answer = matches!(party.protocol, Protocol::Tcp) && tcp_state::is_answer(party.flags);
    if state == old.state() && is_answer {
        return true;
    }
    let new = old.stamped(state, party.tick);
    if new != old {
        // Lost to another packet of the session, which did the same.
        let _ = word.replace(old.0, new.0);
    }
    true
}

/// What sessions say of an inbound packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival(pub u64);

impl Arrival {
    const ADMITTED: u64 = 1;
    const KNOWN: u64 = 2;
    const NOTED: u64 = 4;
    /// Where mappings let in everyone, and no session beside the first one is noted.
    pub const WHERE_NONE_IS_NOTED: Self = Self(Self::ADMITTED | Self::KNOWN);

    /// True if the mapping's filter lets it in.
    #[inline(always)]
    #[must_use]
    pub const fn is_admitted(self) -> bool {
        self.0 & Self::ADMITTED != 0
    }
    /// True if it belongs to a session, and so may keep the mapping alive.
    #[inline(always)]
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.0 & Self::KNOWN != 0
    }
    /// True if it is of a session beside the mapping's first one that a packet from inside began.
    #[inline(always)]
    #[must_use]
    pub const fn is_noted(self) -> bool {
        self.0 & Self::NOTED != 0
    }
}

/// Looks up the session of an inbound packet, and notes it there. `peer` is the mapping's.
#[inline(always)]
pub fn arrive<T: Tables + ?Sized>(tables: &T, party: Party, peer: Peer) -> Arrival {
    let first = peer.read(tables);
    const BOTH: Arrival = Arrival::WHERE_NONE_IS_NOTED;
    let same_address = first as u32 == party.remote as u32;
    let is_icmp = matches!(party.protocol, Protocol::Icmp);
    if first == party.remote || is_icmp && same_address {
        return BOTH;
    }
    let mut found = 0;
    if matches!(party.filtering(), Filtering::EndpointIndependent) {
        found |= Arrival::ADMITTED;
        if !party.has_full_sessions() {
            return BOTH; // nobody keeps sessions here
        }
    }
    if party.is_by_address() {
        let admitted = same_address || look(tables, party, &party.address());
        if admitted {
            found |= Arrival::ADMITTED;
            if !party.has_full_sessions() {
                found |= Arrival::KNOWN;
            }
        }
    }
    if party.has_full_sessions() && look(tables, party, &party.session()) {
        found |= Arrival::KNOWN | Arrival::NOTED;
        if !party.is_by_address() {
            found |= Arrival::ADMITTED;
        }
    }
    Arrival(found)
}

/// True if a packet of `party` would be let in now; nothing is noted.
#[must_use]
pub fn admits<T: Tables + ?Sized>(tables: &T, party: Party, peer: Peer) -> bool {
    let first = peer.read(tables);
    // A newcomer without an address is not who is not known.
    let is_known = first != 0;
    let is_noted = |key: &SessionKey| {
        let port = tables.session(key, |word| Session(word.load()).external_port());
        port == Some(party.external_port)
    };
    match party.filtering() {
        Filtering::EndpointIndependent => true,
        Filtering::AddressDependent => {
            is_known && first as u32 == party.remote as u32 || is_noted(&party.address())
        }
        Filtering::AddressAndPortDependent => {
            // Of a newcomer no port is known yet, and 0 is also the key of a noted address.
            let has_port = party.remote >> 32 != 0;
            is_known && first == party.remote || has_port && is_noted(&party.session())
        }
    }
}

/// True if there is this session. It is refreshed if it has a state of its own,
/// and else where inbound packets may.
#[inline(always)]
fn look<T: Tables + ?Sized>(tables: &T, party: Party, key: &SessionKey) -> bool {
    let refresh = tables.features().has(Features::INBOUND_REFRESH);
    let found = tables.session(key, |word| {
        let old = Session(word.load());
        if old.external_port() != party.external_port {
            return false;
        }
        let has_state = old.state() != SlotState::Open as u64;
        if has_state || refresh && !matches!(party.protocol, Protocol::Tcp) {
            renew(word, party, Direction::Inbound);
        }
        true
    });
    found == Some(true)
}
