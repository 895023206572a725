//! How full a block is, and how full it may be.

use super::slab::Line;
use crate::verdict::Protocol;
use crate::word::Word;

/// What a flow without a mapping reads of its block: two words, of four blocks in a line. Apart from the block's header,
/// so that those of all blocks lie close together: a full block is seen from here, without a look at its slots,
/// and a new mapping is counted here.
#[derive(Clone, Copy, Debug)]
pub struct Room<'t> {
    used: &'t Word,
    limits: &'t Word,
}

impl<'t> Room<'t> {
    /// The one whose words begin with number `first` of the line, see [`Parts::room`](super::Parts::room).
    #[inline(always)]
    #[must_use]
    pub const fn new(line: &'t Line, first: u32) -> Self {
        Self {
            used: line.at(first),
            limits: line.at(first + 1),
        }
    }
    #[inline(always)]
    #[must_use]
    pub fn used(self) -> Used {
        Used(self.used.load())
    }
    #[inline(always)]
    #[must_use]
    pub fn limits(self) -> Limits {
        Limits(self.limits.load())
    }
    /// Whether the block has a free port of `protocol`.
    #[inline(always)]
    #[must_use]
    pub fn has_room(self, protocol: Protocol) -> bool {
        self.used().has_room(protocol, self.limits())
    }
    /// Counts one more port of `protocol` in use. False, and nothing counted, if the block has none or is closed.
    #[inline(always)]
    #[must_use]
    pub fn take_port(self, protocol: Protocol) -> bool {
        let before = Used(self.used.add(Used::one(protocol)));
        let taken = before.has_room(protocol, self.limits());
        if !taken {
            self.give_port(protocol);
        }
        taken
    }
    /// One port of `protocol` less in use.
    #[inline(always)]
    pub fn give_port(self, protocol: Protocol) {
        self.used.add(Used::one(protocol).wrapping_neg());
    }
    /// Closes the block for new mappings; false if it is not empty.
    #[inline(always)]
    #[must_use]
    pub fn close(self) -> bool {
        self.used.replace(0, Used::CLOSED)
    }
    /// True for one caller, if so many ports of `protocol` are in use that the next block is to be requested.
    #[inline(always)]
    #[must_use]
    pub fn is_to_request(self, protocol: Protocol) -> bool {
        // Again, if the control plane changed the limits meanwhile.
        for _ in 0..2 {
            let limits = self.limits();
            if self.used().of(protocol) < limits.watermark() || limits.has_requested() {
                return false;
            }
            if self.limits.replace(limits.0, limits.requested(true).0) {
                return true;
            }
        }
        false
    }
    /// The next block could not be requested: whoever opens the next mapping tries again.
    #[inline(always)]
    pub fn take_back_request(self) {
        // Again, if the control plane changed the limits meanwhile.
        for _ in 0..2 {
            let limits = self.limits();
            if self.limits.replace(limits.0, limits.requested(false).0) {
                return;
            }
        }
    }
    /// An empty block with these limits; before anybody knows of it.
    pub fn begin(self, limits: Limits) {
        self.used.store(0);
        self.limits.store(limits.0);
    }
    /// Changes the limits; for the control plane, while packets may request the next block.
    pub fn set_limits(self, change: impl Fn(Limits) -> Limits) {
        loop {
            let old = self.limits();
            let new = change(old);
            if old == new || self.limits.replace(old.0, new.0) {
                return;
            }
        }
    }
    /// Empties the block, for who empties its slots; as full as `model`, for who fills them like those.
    pub fn set_used(self, model: Used) {
        self.used.store(model.0);
    }
}

/// Ports in use (mappings and ports in hold): three counters of 16 bits, one a protocol, and a bit that closes the block
/// for new mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used(pub u64);

impl Used {
    pub const NONE: Self = Self(0);
    /// No new mapping may be opened in this block.
    const CLOSED: u64 = 1 << 63;

    /// One port of `protocol`.
    #[inline(always)]
    #[must_use]
    pub const fn one(protocol: Protocol) -> u64 {
        1 << (16 * protocol as u32)
    }
    #[inline(always)]
    #[must_use]
    pub const fn of(self, protocol: Protocol) -> u32 {
        (self.0 >> (16 * protocol as u32)) as u16 as u32
    }
    /// True if one more port of `protocol` may be taken.
    #[inline(always)]
    #[must_use]
    pub const fn has_room(self, protocol: Protocol, limits: Limits) -> bool {
        !self.is_closed() && self.of(protocol) < limits.of(protocol)
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_closed(self) -> bool {
        self.0 & Self::CLOSED != 0
    }
}

/// How many ports of each protocol may be in use in the block, in 16 bits each as in [`Used`], at most all that it has. Bits
/// 48-59: ports in use, of any protocol, at which the next block is requested. Bits 60-62: the subscriber may
/// have no more of that protocol, so that a further block would bring none. Bit 63: the next block has been
/// requested, or there is to be none.
///
/// The limit of a subscriber is thus the sum over its blocks, and costs a packet
/// nothing: the word lies beside the count that it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits(pub u64);

impl Limits {
    const WATERMARK: u32 = 48;
    const CAPPED: u32 = 60;
    const REQUESTED: u64 = 1 << 63;
    /// No port more, and no further block.
    pub const NOTHING: Self = Self::new([0; 3], [true; 3]);

    /// By protocol: the most ports in use, and whether no further ones may be had. The next block is
    /// not to be requested.
    #[must_use]
    pub const fn new(most: [u32; 3], capped: [bool; 3]) -> Self {
        let mut word = Self::REQUESTED;
        let mut at = 0;
        while at < 3 {
            word |=
                (most[at] as u64) << (16 * at) | (capped[at] as u64) << (Self::CAPPED + at as u32);
            at += 1;
        }
        Self(word)
    }
    /// The same, with the next block requested at so many ports in use; or not any more.
    #[must_use]
    pub const fn requesting_at(self, watermark: u32, is_requested: bool) -> Self {
        let kept = self.0 & !(0xfff << Self::WATERMARK);
        Self(kept | (watermark as u64) << Self::WATERMARK).requested(is_requested)
    }
    /// The same, with the next block requested as `other` says.
    #[must_use]
    pub const fn requesting_as(self, other: Self) -> Self {
        self.requesting_at(other.watermark(), other.has_requested())
    }
    #[inline(always)]
    #[must_use]
    pub const fn requested(self, is_requested: bool) -> Self {
        match is_requested {
            true => Self(self.0 | Self::REQUESTED),
            false => Self(self.0 & !Self::REQUESTED),
        }
    }
    #[inline(always)]
    #[must_use]
    pub const fn of(self, protocol: Protocol) -> u32 {
        Used(self.0).of(protocol)
    }
    /// Ports in use at which the next block is requested.
    #[inline(always)]
    #[must_use]
    pub const fn watermark(self) -> u32 {
        (self.0 >> Self::WATERMARK) as u32 & 0xfff
    }
    /// True if the next block has been requested, or there is to be none.
    #[inline(always)]
    #[must_use]
    pub const fn has_requested(self) -> bool {
        self.0 & Self::REQUESTED != 0
    }
    /// True if a further block would bring no port of `protocol`.
    #[inline(always)]
    #[must_use]
    pub const fn is_capped(self, protocol: Protocol) -> bool {
        self.0 >> (Self::CAPPED + protocol as u32) & 1 != 0
    }
}
const _: () = assert!(crate::limits::MAX_BLOCK_PORTS < 1 << 11);

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits::new([1024, 0, 7], [false, true, false]);

    #[test]
    fn a_port_is_taken_while_there_is_one_of_its_protocol() {
        let line = Line::default();
        let room = Room::new(&line, 2);
        room.begin(LIMITS);
        for _ in 0..7 {
            assert!(room.has_room(Protocol::Icmp) && room.take_port(Protocol::Icmp));
        }
        assert!(!room.has_room(Protocol::Icmp) && !room.take_port(Protocol::Icmp));
        assert!(!room.take_port(Protocol::Udp), "there is none");
        assert_eq!(Protocol::ALL.map(|of| room.used().of(of)), [0, 0, 7]);
        assert!(!room.close(), "it is not empty");
        for _ in 0..7 {
            room.give_port(Protocol::Icmp);
        }
        assert!(room.close() && room.used().is_closed());
        assert!(!room.has_room(Protocol::Tcp) && !room.take_port(Protocol::Tcp));
        assert_eq!(line.at(0).load() | line.at(4).load(), 0, "others' words");
    }

    #[test]
    fn the_next_block_is_requested_once_at_the_watermark_and_again_if_that_failed() {
        let line = Line::default();
        let room = Room::new(&line, 6);
        room.begin(LIMITS.requesting_at(2, false));
        assert!(room.take_port(Protocol::Tcp) && !room.is_to_request(Protocol::Tcp));
        assert!(room.take_port(Protocol::Tcp) && room.is_to_request(Protocol::Tcp));
        assert!(!room.is_to_request(Protocol::Tcp), "it was");
        room.take_back_request();
        assert!(room.is_to_request(Protocol::Tcp));
        room.set_limits(|old| Limits::NOTHING.requesting_as(old));
        assert!(!room.is_to_request(Protocol::Tcp), "still");
        room.set_limits(|old| old.requesting_at(1024, false));
        assert!(!room.is_to_request(Protocol::Tcp), "not so many are in use");
        let limits = room.limits();
        assert_eq!((limits.watermark(), limits.has_requested()), (1024, false));
        assert_eq!(limits.requesting_at(0, true), Limits::NOTHING);
    }

    #[test]
    fn limits_say_of_each_protocol_what_they_were_told() {
        let limits = LIMITS.requesting_at(1024, true);
        assert_eq!(Protocol::ALL.map(|of| limits.of(of)), [1024, 0, 7]);
        assert_eq!(
            Protocol::ALL.map(|of| limits.is_capped(of)),
            [false, true, false]
        );
        assert_eq!(limits.requesting_as(LIMITS), LIMITS);
    }
}
