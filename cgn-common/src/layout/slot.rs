//! Slots: the 16 bytes that hold one mapping.

use super::slab::Line;
use crate::limits::SLOTS_PER_BUCKET;

/// State of a slot, the lowest 4 bits of its state and flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SlotState {
    Free = 0,
    /// Claimed, not yet known to be the only mapping of its inside port.
    Tentative = 1,
    /// The mapping ended; the port may not be used again yet (RFC 6888 REQ-8).
    Held = 2,
    /// Mapping of UDP or ICMP.
    Open = 3,
    /// TCP, RFC 7857 section 2: a SYN from inside, no answer yet.
    TcpInit = 4,
    TcpEstablished = 5,
    /// FIN seen from inside.
    TcpInsideFin = 6,
    /// FIN seen from outside.
    TcpOutsideFin = 7,
    /// FIN seen from both.
    TcpClosing = 8,
    /// After RST, or mid-stream packets without a SYN.
    TcpTransitory = 9,
}

impl SlotState {
    /// From the lowest 4 bits of `bits`; unknown values are free.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0xf {
            1 => Self::Tentative,
            2 => Self::Held,
            3 => Self::Open,
            4 => Self::TcpInit,
            5 => Self::TcpEstablished,
            6 => Self::TcpInsideFin,
            7 => Self::TcpOutsideFin,
            8 => Self::TcpClosing,
            9 => Self::TcpTransitory,
            _ => Self::Free,
        }
    }
    /// States from here on are mappings that translate packets.
    pub const FIRST_LIVE: u64 = Self::Open as u64;
    /// Name in `cgn show mappings`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Tentative => "tentative",
            Self::Held => "held",
            Self::Open => "open",
            Self::TcpInit => "init",
            Self::TcpEstablished => "established",
            Self::TcpInsideFin => "inside_fin",
            Self::TcpOutsideFin => "outside_fin",
            Self::TcpClosing => "closing",
            Self::TcpTransitory => "transitory",
        }
    }
}

/// First word of a slot: bits 0-31 last seen (ticks), 32-35 [`SlotState`],
/// 36-47 flags, 48-63 inside port. Zero is a free slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotKey(pub u64);

impl SlotKey {
    /// More than one remote endpoint uses this mapping, so the state of its
    /// first session says nothing about the others.
    pub const SHARED: u64 = 1 << 36;
    /// The mapping has talked to a port other than that of its first session,
    /// so no short timer of that port holds for it.
    pub const MANY_PORTS: u64 = 1 << 37;
    /// A further session did not fit into the table of sessions: the mapping
    /// lives as long as an established one.
    pub const UNLISTED: u64 = 1 << 38;
    /// The mapping stands away from its home, and no [`Detour`] leads to it: it is
    /// counted in the buckets between, see [`peer`].
    pub const ASTRAY: u64 = 1 << 39;
    /// The mapping log has the mapping's beginning, and not its end yet. Only the sweep sets it
    /// and takes it away, also from one in hold.
    pub const LOGGED: u64 = 1 << 40;
    const STATE: u64 = 0xf << 32;
    /// The states that are live, by number.
    const LIVE: u64 = 0xffff << SlotState::FIRST_LIVE & 0xffff;

    #[inline(always)]
    #[must_use]
    pub const fn new(inside_port: u16, state: SlotState, tick: u32) -> Self {
        Self((inside_port as u64) << 48 | (state as u64) << 32 | tick as u64)
    }
    #[inline(always)]
    #[must_use]
    pub const fn inside_port(self) -> u16 {
        (self.0 >> 48) as u16
    }
    /// Number of the [`SlotState`].
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> u64 {
        (self.0 >> 32) & 0xf
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_live(self) -> bool {
        self.state() >= SlotState::FIRST_LIVE
    }
    /// 1 if this is the live mapping of `inside_port`, else 0; without a branch.
    #[inline(always)]
    #[must_use]
    pub const fn is_live_mapping_of(self, inside_port: u16) -> u64 {
        self.is_of(inside_port) & Self::LIVE >> self.state() & 1
    }
    /// 1 if this is the mapping of `inside_port`, tentative or live, else 0.
    #[inline(always)]
    #[must_use]
    pub const fn is_claim_to(self, inside_port: u16) -> u64 {
        const CLAIM: u64 = SlotKey::LIVE | 1 << SlotState::Tentative as u64;
        self.is_of(inside_port) & CLAIM >> self.state() & 1
    }
    /// 1 if the inside port is this one, else 0.
    #[inline(always)]
    const fn is_of(self, inside_port: u16) -> u64 {
        let differs = (self.0 >> 48) ^ inside_port as u64;
        differs.wrapping_sub(1) >> 63
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_free(self) -> bool {
        self.0 == 0
    }
    #[inline(always)]
    #[must_use]
    pub const fn last_seen(self) -> u32 {
        self.0 as u32
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_shared(self) -> bool {
        self.0 & Self::SHARED != 0
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_astray(self) -> bool {
        self.0 & Self::ASTRAY != 0
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_logged(self) -> bool {
        self.0 & Self::LOGGED != 0
    }
    #[inline(always)]
    #[must_use]
    pub const fn has_many_ports(self) -> bool {
        self.0 & Self::MANY_PORTS != 0
    }
    /// The same with the stamp `now`, if its state changes to `state` or its
    /// own stamp is old: a busy flow does not dirty its cache line per packet.
    #[inline(always)]
    #[must_use]
    pub const fn stamped(self, state: u64, now: u32) -> Self {
        // Signed: a stamp may be of a moment after `now` was read.
        let age = now.wrapping_sub(self.last_seen()) as i32;
        if state != self.state() || age >= crate::limits::STAMP_TICKS as i32 {
            self.with(state, now)
        } else {
            self
        }
    }
    /// A tentative claim that another processor removed, until its owner (or
    /// the sweep, like any slot in hold) frees it.
    #[inline(always)]
    #[must_use]
    pub const fn removed(self) -> Self {
        self.with(SlotState::Held as u64, self.last_seen())
    }
    /// The same mapping with another state (as a number) and last-seen tick.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, state: u64, tick: u32) -> Self {
        Self(self.0 & !(Self::STATE | 0xffff_ffff) | state << 32 | tick as u64)
    }
}

/// Second word of a slot: bits 0-31 remote address, 32-47 remote port of the
/// first session. Bits 48-63 are the bucket's. In the others than the first slot
/// they are a [`Detour`]. In the first slot they count the mappings that stand
/// further on and have none: 58-63 *astray*, those that wanted this very bucket;
/// 48-57 *overflow*, those that wanted it or one before it.
pub mod peer {
    /// Remote endpoint part.
    pub const REMOTE: u64 = 0xffff_ffff_ffff;
    /// One mapping more that is astray beyond this bucket.
    pub const ONE_OVERFLOW: u64 = 1 << 48;
    /// One mapping more that wanted this very bucket and has no detour.
    pub const ONE_ASTRAY: u64 = 1 << ASTRAY;
    /// With so many astray no further one is placed: the count has room for the
    /// claims of a processor each, beyond.
    pub const MOST_ASTRAY: u64 = 32;
    const ASTRAY: u32 = 58;

    /// Remote endpoint as a word.
    #[inline(always)]
    #[must_use]
    pub const fn remote(address: u32, port: u16) -> u64 {
        address as u64 | (port as u64) << 32
    }
    /// Mappings that are astray beyond this bucket.
    #[inline(always)]
    #[must_use]
    pub const fn overflow(word: u64) -> u64 {
        word >> 48 & ((1 << (ASTRAY - 48)) - 1)
    }
    /// Those that wanted this very bucket and that no detour leads to.
    #[inline(always)]
    #[must_use]
    pub const fn astray(word: u64) -> u64 {
        word >> ASTRAY
    }
}
// A bucket is passed by the mappings of all slots but its own.
const _: () =
    assert!(crate::limits::MAX_BLOCK_PORTS as u64 <= peer::ONE_ASTRAY / peer::ONE_OVERFLOW);

/// Where a mapping stands that wanted this bucket: bits 0-9 slot of the block,
/// 10-15 tag of the mapping's hash, all inverted, so that 0 is none. It may lead to
/// another mapping with that tag, or to none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detour(pub u16);

impl Detour {
    pub const NONE: Self = Self(0);
    const SLOT_BITS: u32 = 10;
    const SHIFT: u32 = 48;

    /// To slot number `slot`; of `tag` only 6 bits count.
    #[inline(always)]
    #[must_use]
    pub const fn new(tag: u32, slot: u32) -> Self {
        Self(!((tag << Self::SLOT_BITS | slot) as u16))
    }
    /// From the second word of a slot that is not the first of its bucket.
    #[inline(always)]
    #[must_use]
    pub const fn of(peer_word: u64) -> Self {
        Self((peer_word >> Self::SHIFT) as u16)
    }
    /// The second word of a slot with this detour in place of its own.
    #[inline(always)]
    #[must_use]
    pub const fn put_into(self, peer_word: u64) -> u64 {
        peer_word & peer::REMOTE | (self.0 as u64) << Self::SHIFT
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }
    #[inline(always)]
    #[must_use]
    pub const fn tag(self) -> u32 {
        (!self.0) as u32 >> Self::SLOT_BITS
    }
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u32 {
        (!self.0) as u32 & ((1 << Self::SLOT_BITS) - 1)
    }
    /// 1 if it is one and has this tag, else 0; without a branch.
    #[inline(always)]
    #[must_use]
    pub const fn has_tag(self, tag: u32) -> u64 {
        let differs = (self.tag() ^ tag) as u64;
        differs.wrapping_sub(1) >> 63 & ((self.0 as u64).wrapping_neg() >> 63)
    }
    /// 1 if the home bucket has a place for one more, else 0.
    #[inline(always)]
    #[must_use]
    pub fn has_place(home: &Line) -> u64 {
        let is_taken = |at| (Self::of(home.peer_at(at).load()).0 as u64).wrapping_neg() >> 63;
        (is_taken(1) & is_taken(2) & is_taken(3)) ^ 1
    }
    /// Writes it into the second word of the slots of its home bucket, where one
    /// has a place for it.
    #[inline(always)]
    pub fn leave_in(self, home: &Line) -> bool {
        for at in 1..SLOTS_PER_BUCKET {
            let word = home.peer_at(at);
            let old = word.load();
            if !Self::of(old).is_some() && word.replace(old, self.put_into(old)) {
                return self.is_some();
            }
        }
        false
    }
    /// Takes it out of its home bucket; false if it is not there.
    #[inline(always)]
    pub fn take_from(self, home: &Line) -> bool {
        for at in 1..SLOTS_PER_BUCKET {
            let word = home.peer_at(at);
            // Once more, if lost to one that writes the remote endpoint.
            for _ in 0..4 {
                let old = word.load();
                if !self.is_some() || Self::of(old).0 != self.0 {
                    break;
                }
                if word.replace(old, Self::NONE.put_into(old)) {
                    return true;
                }
            }
        }
        false
    }
}
const _: () = assert!(crate::limits::MAX_BLOCK_PORTS <= 1 << Detour::SLOT_BITS);
