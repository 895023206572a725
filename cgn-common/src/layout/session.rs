//! Further sessions: remote endpoints of a mapping beside the one in its slot.

use bytemuck::{Pod, Zeroable};

use super::{SlotKey, SlotState};
use crate::verdict::Protocol;

/// Key of `SESSIONS`: an inside endpoint and a remote one. Addresses and ports
/// in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct SessionKey {
    pub inside: u32,
    pub remote: u32,
    pub inside_port: u16,
    /// 0: any port of the remote address, which may answer.
    pub remote_port: u16,
    /// Number of the [`Protocol`].
    pub protocol: u16,
    pub reserved: u16,
}

impl SessionKey {
    #[inline(always)]
    #[must_use]
    pub const fn new(
        protocol: Protocol,
        inside: (u32, u16),
        remote: u32,
        remote_port: u16,
    ) -> Self {
        Self {
            inside: inside.0,
            remote,
            inside_port: inside.1,
            remote_port,
            protocol: protocol as u16,
            reserved: 0,
        }
    }
}

/// Value of `SESSIONS`, as a [`SlotKey`] of the mapping's external port: last seen, state,
/// [`SlotKey::LOGGED`]. A session of an earlier mapping of the same
/// inside endpoint has another external port, and counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session(pub u64);

impl Session {
    #[inline(always)]
    #[must_use]
    pub const fn new(external_port: u16, state: SlotState, tick: u32) -> Self {
        Self::of(external_port, state as u64, tick)
    }
    /// See [`SlotKey::of`].
    #[inline(always)]
    #[must_use]
    pub const fn of(external_port: u16, state: u64, tick: u32) -> Self {
        Self(SlotKey::of(external_port, state, tick).0)
    }
    #[inline(always)]
    #[must_use]
    pub const fn external_port(self) -> u16 {
        (self.0 >> 48) as u16
    }
    /// Number of the [`SlotState`].
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> u64 {
        SlotKey(self.0).state()
    }
    /// See [`SlotKey::age`].
    #[inline(always)]
    #[must_use]
    pub const fn age(self, now: u32) -> i32 {
        SlotKey(self.0).age(now)
    }
    /// Tick at which it was last seen.
    #[must_use]
    pub const fn last_seen(self, now: u32) -> u32 {
        SlotKey(self.0).last_seen(now)
    }
    /// See [`SlotKey::LOGGED`].
    #[must_use]
    pub const fn is_logged(self) -> bool {
        SlotKey(self.0).is_logged()
    }
    /// See [`SlotKey::stamped`].
    #[inline(always)]
    #[must_use]
    pub const fn stamped(self, state: u64, now: u32) -> Self {
        Self(SlotKey(self.0).stamped(state, now).0)
    }
}
