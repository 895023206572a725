//! Slots: what is known of one mapping, in two words that stand apart.

use super::slab::{Line, lowest};
use crate::limits::{SLOTS_PER_BUCKET, STAMP_TICKS};
use crate::word::Word;

/// State of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SlotState {
    Free = 0,
    /// Claimed, not yet known to be the only mapping of its inside port.
    Tentative = 1,
    /// The mapping ended; the port may not be used again yet (RFC 6888 REQ-8).
    Held = 2,
    /// Mapping of UDP or ICMP.
    Open = 8,
    /// TCP, RFC 7857 section 2: a SYN from inside, no answer yet.
    TcpInit = 9,
    TcpEstablished = 10,
    /// FIN seen from inside.
    TcpInsideFin = 11,
    /// FIN seen from outside.
    TcpOutsideFin = 12,
    /// FIN seen from both.
    TcpClosing = 13,
    /// After RST, or mid-stream packets without a SYN.
    TcpTransitory = 14,
}

impl SlotState {
    /// States from here on are mappings that translate packets: those with the highest bit.
    pub const FIRST_LIVE: u64 = Self::Open as u64;

    /// From the lowest 4 bits of `bits`; unknown values are free.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0xf {
            1 => Self::Tentative,
            2 => Self::Held,
            8 => Self::Open,
            9 => Self::TcpInit,
            10 => Self::TcpEstablished,
            11 => Self::TcpInsideFin,
            12 => Self::TcpOutsideFin,
            13 => Self::TcpClosing,
            14 => Self::TcpTransitory,
            _ => Self::Free,
        }
    }
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

/// First word of a slot, its *key*: bits 0-22 last seen (ticks, modulo 2^23), 23-27 flags, 28-43 the
/// bucket's, see [`Detour`] and [`astray`], 44-47 [`SlotState`], 48-63 inside port. A free slot has
/// nothing but the bucket's bits.
///
/// The inside port and the bit that says that a mapping is live are the highest ones, so that one
/// comparison finds the mapping of a packet. Eight keys are a cache line: all that a packet of an established
/// flow reads of it ([ADR 48](../../../docs/adr/0048-keys-and-peers.md)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotKey(pub u64);

impl SlotKey {
    /// More than one remote endpoint uses this mapping, so the state of its
    /// first session says nothing about the others.
    pub const SHARED: u64 = 1 << 23;
    /// Of UDP and ICMP: the peer is written, and no short timer of its port holds: it was none of those
    /// ports, or the mapping has talked to another one since. So outbound packets need not look at it.
    pub const PEER_KNOWN: u64 = 1 << 24;
    /// A further session did not fit into the table of sessions: the mapping
    /// lives as long as an established one.
    pub const UNLISTED: u64 = 1 << 25;
    /// The mapping stands away from its home, and no [`Detour`] leads to it: it is
    /// counted in the buckets between, see [`astray`].
    pub const ASTRAY: u64 = 1 << 26;
    /// The mapping log has the mapping's beginning, and not its end yet. Only the sweep sets it
    /// and takes it away, also from one in hold.
    pub const LOGGED: u64 = 1 << 27;
    const SEEN: u64 = (1 << 23) - 1;
    /// Stamps so many ticks ahead are of packets that came since `now` was read (4.6 minutes).
    const AHEAD: u32 = 1 << 10;
    /// What has not been seen for more ticks (26 days) looks as if it had been seen since. Timers are
    /// shorter, and the sweep comes around every few seconds.
    pub const MOST_AGE: u32 = Self::SEEN as u32 - Self::AHEAD;
    const STATE_SHIFT: u32 = 44;
    const STATE: u64 = 0xf << Self::STATE_SHIFT;
    /// Inside port and the bit of the live states.
    const IDENTITY_SHIFT: u32 = 47;
    /// What is the bucket's, and not the mapping's.
    const BUCKET: u64 = 0xffff << Detour::SHIFT;

    #[inline(always)]
    #[must_use]
    pub const fn new(inside_port: u16, state: SlotState, tick: u32) -> Self {
        Self::of(inside_port, state as u64, tick)
    }
    /// The same with the number of the state: programs handle the number, for of each state by itself the
    /// verifier would follow a way of its own.
    #[inline(always)]
    #[must_use]
    pub const fn of(inside_port: u16, state: u64, tick: u32) -> Self {
        let seen = tick as u64 & Self::SEEN;
        Self((inside_port as u64) << 48 | state << Self::STATE_SHIFT | seen)
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
        (self.0 >> Self::STATE_SHIFT) & 0xf
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_live(self) -> bool {
        self.0 >> Self::IDENTITY_SHIFT & 1 != 0
    }
    /// 1 if this is the live mapping of `inside_port`, else 0; without a branch.
    #[inline(always)]
    #[must_use]
    pub const fn is_live_mapping_of(self, inside_port: u16) -> u64 {
        let live = (inside_port as u64) << 1 | 1;
        is_zero(self.0 >> Self::IDENTITY_SHIFT ^ live)
    }
    /// 1 if this is the mapping of `inside_port`, tentative or live, else 0.
    #[inline(always)]
    #[must_use]
    pub const fn is_claim_to(self, inside_port: u16) -> u64 {
        const TENTATIVE: u64 = SlotState::Tentative as u64;
        let tentative = (inside_port as u64) << 4 | TENTATIVE;
        self.is_live_mapping_of(inside_port) | is_zero(self.0 >> Self::STATE_SHIFT ^ tentative)
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_free(self) -> bool {
        self.mapping().0 == 0
    }
    /// 1 if it is not free, else 0; without a branch.
    #[inline(always)]
    #[must_use]
    pub const fn is_taken(self) -> u64 {
        // Every state but the first one, 0, carries into the fifth bit.
        (self.state() + 0xf) >> 4
    }
    /// Ticks since it was last seen, up to [`Self::MOST_AGE`]. Negative for a stamp of a moment after
    /// `now` was read.
    #[inline(always)]
    #[must_use]
    pub const fn age(self, now: u32) -> i32 {
        let ahead = now.wrapping_sub(self.stamp()).wrapping_add(Self::AHEAD);
        (ahead as u64 & Self::SEEN) as i32 - Self::AHEAD as i32
    }
    /// Tick at which it was last seen.
    #[must_use]
    pub const fn last_seen(self, now: u32) -> u32 {
        now.wrapping_sub(self.age(now) as u32)
    }
    /// The same, as far as the key has it.
    #[inline(always)]
    #[must_use]
    pub const fn stamp(self) -> u32 {
        (self.0 & Self::SEEN) as u32
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
    pub const fn is_peer_known(self) -> bool {
        self.0 & Self::PEER_KNOWN != 0
    }
    /// The same with the stamp `now`, if its state changes to `state` or its
    /// own stamp is old: a busy flow does not dirty its cache line per packet.
    #[inline(always)]
    #[must_use]
    pub const fn stamped(self, state: u64, now: u32) -> Self {
        if state != self.state() || self.age(now) >= STAMP_TICKS as i32 {
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
        self.with(SlotState::Held as u64, self.stamp())
    }
    /// The same mapping with another state (as a number) and last-seen tick.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, state: u64, tick: u32) -> Self {
        let kept = self.0 & !(Self::STATE | Self::SEEN);
        Self(kept | state << Self::STATE_SHIFT | tick as u64 & Self::SEEN)
    }
    /// The mapping alone, without what is the bucket's.
    #[inline(always)]
    #[must_use]
    pub const fn mapping(self) -> Self {
        Self(self.0 & !Self::BUCKET)
    }
    /// Puts the mapping `new` (none: zero) in the place of `old`, and keeps what is the bucket's. False if
    /// `old` is not there, or another processor was quicker: perhaps only with a detour.
    #[inline(always)]
    #[must_use]
    pub fn exchange(word: &Word, old: Self, new: Self) -> bool {
        let seen = Self(word.load());
        seen.mapping().0 == old.0 && word.replace(seen.0, seen.0 & Self::BUCKET | new.0)
    }
}

/// 1 if a number below 2^63 is 0, else 0; without a branch.
#[inline(always)]
const fn is_zero(number: u64) -> u64 {
    number.wrapping_sub(1) >> 63
}

/// Second word of a slot, its *peer*: bits 0-31 remote address, 32-47 remote port of the first session; 0: it
/// was not written yet, as of a UDP mapping that is not two seconds old where nobody asks for it. It stands in
/// another line than the key: who touches it pays for that.
pub mod peer {
    /// The bits of a remote endpoint.
    pub const REMOTE: u64 = 0xffff_ffff_ffff;
    /// Remote endpoint as a word.
    #[inline(always)]
    #[must_use]
    pub const fn remote(address: u32, port: u16) -> u64 {
        address as u64 | (port as u64) << 32
    }
    /// True for the remote endpoint of the first session, also before it was written.
    #[inline(always)]
    #[must_use]
    pub const fn is_first(peer: u64, remote: u64) -> bool {
        peer == remote || peer == 0
    }
}

/// The bucket's bits of its first key. They count the mappings that stand further on and have no
/// [`Detour`]: bits 38-43 *astray*, those that wanted this very bucket; 28-37 *overflow*, those that
/// wanted it or one before it.
pub mod astray {
    /// One mapping more that is astray beyond this bucket.
    pub const ONE_OVERFLOW: u64 = 1 << OVERFLOW;
    /// One mapping more that wanted this very bucket and has no detour.
    pub const ONE_ASTRAY: u64 = 1 << ASTRAY;
    /// With so many astray no further one is placed: the count has room for the
    /// claims of a processor each, beyond.
    pub const MOST_ASTRAY: u64 = 32;
    const OVERFLOW: u32 = super::Detour::SHIFT;
    const ASTRAY: u32 = OVERFLOW + 10;

    /// Mappings that are astray beyond this bucket.
    #[inline(always)]
    #[must_use]
    pub const fn overflow(first_key: u64) -> u64 {
        first_key >> OVERFLOW & ((1 << (ASTRAY - OVERFLOW)) - 1)
    }
    /// Those that wanted this very bucket and that no detour leads to.
    #[inline(always)]
    #[must_use]
    pub const fn astray(first_key: u64) -> u64 {
        first_key >> ASTRAY & 0x3f
    }
}
// A bucket is passed by the mappings of all slots but its own.
const _: () =
    assert!(crate::limits::MAX_BLOCK_PORTS as u64 <= astray::ONE_ASTRAY / astray::ONE_OVERFLOW);

/// The bucket's bits of its other keys. Where a mapping stands that wanted this bucket: bits 0-9 slot of the
/// block, 10-15 tag of the mapping's hash, never 0, so that 0 is none and has the tag of
/// none. It may lead to another mapping with that tag, or to none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detour(pub u16);

impl Detour {
    pub const NONE: Self = Self(0);
    /// The slots of a bucket that keep one, a bit each: the first keeps the counts.
    pub const SLOTS: u64 = 0xfe;
    const SLOT_BITS: u32 = 10;
    /// Where it stands in a key.
    const SHIFT: u32 = 28;
    const TAG_SHIFT: u32 = Self::SHIFT + Self::SLOT_BITS;

    /// To slot number `slot`; `tag` is 1 to 63.
    #[inline(always)]
    #[must_use]
    pub const fn new(tag: u32, slot: u32) -> Self {
        Self((tag << Self::SLOT_BITS | slot) as u16)
    }
    /// From the key of a slot that is not the first of its bucket.
    #[inline(always)]
    #[must_use]
    pub const fn of(key: u64) -> Self {
        Self((key >> Self::SHIFT) as u16)
    }
    /// The key with this detour in place of its own.
    #[inline(always)]
    #[must_use]
    pub const fn put_into(self, key: u64) -> u64 {
        key & !SlotKey::BUCKET | (self.0 as u64) << Self::SHIFT
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }
    #[inline(always)]
    #[must_use]
    pub const fn tag(self) -> u32 {
        self.0 as u32 >> Self::SLOT_BITS
    }
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.0 as u32 & ((1 << Self::SLOT_BITS) - 1)
    }
    /// 1 if it has this tag, else 0; without a branch.
    #[inline(always)]
    #[must_use]
    pub const fn has_tag(self, tag: u32) -> u64 {
        is_zero((self.tag() ^ tag) as u64)
    }
    /// Counts the keys of a mapping's home bucket that have not its inside port, and the detours there that have not its tag.
    ///
    /// Both at once: a field of the difference is 0 where they are the same, and else the sum with as many ones as
    /// it has bits carries into the bit to its left.
    #[inline(always)]
    #[must_use]
    pub fn others_in(home: &Line, inside_port: u16, tag: u32) -> Others {
        const PORT: u64 = 0xffff << 47;
        const TAG: u64 = 0x3f << (Detour::TAG_SHIFT - 1);
        const CARRIES: u64 = Others::ONE_PORT | Others::ONE_TAG;
        let wanted = (inside_port as u64) << 48 | (tag as u64) << Self::TAG_SHIFT;
        let mut others = 0;
        for at in 0..SLOTS_PER_BUCKET {
            let differs = (home.at(at).load() ^ wanted) >> 1;
            // The first key has no detour, but counts.
            let fields = if at == 0 { PORT } else { PORT | TAG };
            let carries = ((differs & fields) + fields) >> (Self::TAG_SHIFT + 5);
            others += carries & CARRIES;
        }
        Others(others)
    }
    /// True if the home bucket has a place for one more.
    #[inline(always)]
    #[must_use]
    pub fn has_place(home: &Line) -> bool {
        Self::NONE.places(home) != 0
    }
    /// The slots of its home bucket that keep it, a bit each.
    #[inline(always)]
    fn places(self, home: &Line) -> u64 {
        home.slots_where(|key| is_zero((Self::of(key).0 ^ self.0) as u64)) & Self::SLOTS
    }
    /// Writes `new` into a key of its home bucket, in its place; false if it is not there, or if others were
    /// quicker every time.
    #[inline(always)]
    fn replace_by(self, new: Self, home: &Line) -> bool {
        for _ in 0..2 {
            let places = self.places(home);
            if places == 0 {
                return false;
            }
            let word = home.at(lowest(places));
            let old = word.load();
            if Self::of(old).0 == self.0 && word.replace(old, new.put_into(old)) {
                return true;
            }
        }
        false
    }
    /// Writes it into a key of its home bucket, where one has a place for it.
    #[inline(always)]
    pub fn leave_in(self, home: &Line) -> bool {
        Self::NONE.replace_by(self, home)
    }
    /// Takes it out of its home bucket; false if it is not there.
    #[inline(always)]
    pub fn take_from(self, home: &Line) -> bool {
        self.replace_by(Self::NONE, home)
    }
}
const _: () = assert!(crate::limits::MAX_BLOCK_PORTS <= 1 << Detour::SLOT_BITS);

/// What is not of a mapping in its home bucket: bits 0-3 detours with other tags, 20-23 keys of other inside ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Others(u64);

impl Others {
    const ONE_TAG: u64 = 1;
    const ONE_PORT: u64 = 1 << 20;

    /// All but so many keys that have its port, and detours that have its tag.
    #[inline(always)]
    #[must_use]
    pub const fn than(keys: u64, detours: u64) -> Self {
        const SLOTS: u64 = SLOTS_PER_BUCKET as u64;
        Self((SLOTS - keys) * Self::ONE_PORT + (SLOTS - 1 - detours) * Self::ONE_TAG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: u16 = 40_000;

    #[test]
    fn an_age_is_right_wherever_the_ticks_and_their_23_bits_turn_over() {
        let most = SlotKey::MOST_AGE as i32;
        for seen in [0, 5, 1 << 22, (1 << 23) - 1, 1 << 23, 1 << 31, u32::MAX - 3] {
            for age in [-1023, -1, 0, 1, 8, 27_000, most] {
                let key = SlotKey::new(PORT, SlotState::Open, seen);
                let now = seen.wrapping_add_signed(age);
                assert_eq!(key.age(now), age, "seen at {seen}");
                assert_eq!(key.last_seen(now), seen);
            }
        }
    }

    #[test]
    fn a_mapping_is_found_by_its_port_while_it_is_live_whatever_the_bucket_keeps() {
        use SlotState as S;
        let live = [
            S::Open,
            S::TcpInit,
            S::TcpEstablished,
            S::TcpClosing,
            S::TcpTransitory,
        ];
        let cases = live.map(|state| (state, 1, 1));
        for (state, is_live, is_claim) in
            cases
                .into_iter()
                .chain([(S::Tentative, 0, 1), (S::Held, 0, 0), (S::Free, 0, 0)])
        {
            for detour in [Detour::NONE, Detour::new(1, 0), Detour::new(63, 1023)] {
                let key = SlotKey(detour.put_into(SlotKey::new(PORT, state, 77).0));
                let what = format!("{state:?} {detour:?}");
                assert_eq!(key.is_live(), is_live == 1, "{what}");
                assert_eq!(key.is_live_mapping_of(PORT), is_live, "{what}");
                assert_eq!(key.is_live_mapping_of(PORT + 1), 0, "{what}");
                assert_eq!(key.is_claim_to(PORT), is_claim, "{what}");
                assert_eq!(key.is_claim_to(0), 0, "{what}");
                assert_eq!(key.is_taken(), u64::from(state != S::Free), "{what}");
                assert_eq!(SlotState::from_bits(key.state() as u8), state, "{what}");
                assert_eq!(
                    (Detour::of(key.0), key.inside_port()),
                    (detour, PORT),
                    "{what}"
                );
            }
        }
    }

    #[test]
    fn mapping_and_bucket_change_their_parts_of_a_key_and_leave_the_others() {
        let detour = Detour::new(63, 1023);
        let word = Word::new(detour.put_into(0));
        assert!(SlotKey(word.load()).is_free(), "a detour takes no slot");
        let claim = SlotKey::new(PORT, SlotState::Tentative, 9);
        let live = claim.with(SlotState::Open as u64, 9);
        assert!(SlotKey::exchange(&word, SlotKey(0), claim));
        assert!(!SlotKey::exchange(&word, SlotKey(0), claim), "it is taken");
        assert!(SlotKey::exchange(&word, claim, live));
        assert_eq!(SlotKey(word.load()).mapping(), live);
        assert_eq!(Detour::of(word.load()), detour, "all the time");
        word.store(Detour::NONE.put_into(word.load()));
        assert_eq!(word.load(), live.0, "the mapping is as it was");
        word.add(astray::ONE_OVERFLOW + astray::ONE_ASTRAY);
        let counts = (astray::overflow(word.load()), astray::astray(word.load()));
        assert_eq!((counts, SlotKey(word.load()).mapping()), ((1, 1), live));
        assert!(SlotKey::exchange(&word, live, SlotKey(0)));
        word.add((astray::ONE_OVERFLOW + astray::ONE_ASTRAY).wrapping_neg());
        assert_eq!(word.load(), 0);
    }

    #[test]
    fn keys_of_another_port_and_detours_of_another_tag_are_counted() {
        let ports = [0, 1, PORT, PORT ^ 1, 0xffff];
        let states = [
            SlotState::Free,
            SlotState::Tentative,
            SlotState::TcpTransitory,
        ];
        for (number, (port, tag)) in ports
            .iter()
            .flat_map(|p| [1, 2, 32, 63].map(|t| (*p, t)))
            .enumerate()
        {
            let line = Line::default();
            let (mut keys, mut detours) = (0, 0);
            for at in 0..SLOTS_PER_BUCKET {
                let nth = number + at as usize;
                let own = ports[nth % ports.len()];
                let key = SlotKey::new(own, states[nth % 3], 0x7f_ffff);
                let detour = match nth % 4 {
                    0 => Detour::NONE,
                    1 => Detour::new(tag, 1023),
                    _ => Detour::new(tag % 63 + 1, 0),
                };
                keys += u64::from(own == port);
                detours += u64::from(at > 0 && detour.tag() == tag);
                let counts = astray::ONE_ASTRAY * u64::from(tag);
                line.at(at).store(if at > 0 {
                    detour.put_into(key.0)
                } else {
                    key.0 | counts
                });
            }
            let others = Detour::others_in(&line, port, tag);
            assert_eq!(
                others,
                Others::than(keys, detours),
                "port {port}, tag {tag}"
            );
        }
    }

    #[test]
    fn a_home_bucket_has_a_place_for_seven_detours() {
        let line = Line::default();
        for slot in 0..7 {
            assert!(Detour::has_place(&line) && Detour::new(3, slot).leave_in(&line));
        }
        assert!(!Detour::has_place(&line) && !Detour::new(3, 7).leave_in(&line));
        assert!(!Detour::new(3, 7).take_from(&line), "it is not there");
        assert!(Detour::new(3, 4).take_from(&line) && Detour::has_place(&line));
        assert_eq!(line.at(0).load(), 0, "the first key keeps the counts");
    }
}
