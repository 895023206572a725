//! Who is told by an ICMP error of our own that its packet ends here, and how
//! often. XDP makes no such error: it punts the packet, and the slow path, which
//! ends it for the same reason, tells its sender.
//!
//! So that neither a flood of expired packets nor a subscriber who scans takes
//! the slow path's time, every sender has a slot of `ANSWERS` by the hash of its
//! address, and may cause so many punts in a window of 2^30 ns; all senders of
//! one [`Budget`] together may cause so many (RFC 1812 section 4.3.2.8). What is over
//! a limit is dropped where it came in, and counted for its own reason.

use crate::frame::Frame;
use crate::layout::{Features, Punts, Side};
use crate::nat::next_hop::{is_host, is_multicast};
use crate::punts;
use crate::verdict::Reason;
use crate::wire::transport::flag;
use crate::wire::{ethernet, icmp, ipv4, transport};

/// Slots, those of all senders included.
pub const SLOTS: u32 = 1024;
/// A window is so many ticks long, as a shift: 2^30 ns = 1.07 s.
pub const WINDOW_SHIFT: u32 = 2;

/// The errors, as bits of [`Features`], that a packet with this end may cause; 0
/// if nobody is told of it.
#[inline(always)]
#[must_use]
pub const fn kinds(reason: Reason) -> u64 {
    match reason {
        Reason::TtlExpired => Features::TELL_EXPIRED,
        Reason::TooBig => Features::TELL_TOO_BIG,
        Reason::NoRoute => Features::TELL_UNREACHABLE,
        Reason::NoPort
        | Reason::NoBlock
        | Reason::SessionsFull
        | Reason::MappingLimit
        | Reason::MappingRate
        | Reason::SessionLimit => Features::TELL_EXHAUSTED,
        Reason::NoMapping => Features::TELL_NO_MAPPING | Features::TELL_SYN,
        Reason::Filtered => Features::TELL_SYN,
        _ => 0,
    }
}

/// True if a packet with this end may cause an error. Where none is sent, which is known when XDP's
/// programs are loaded, the reason is not looked at.
#[inline(always)]
#[must_use]
pub const fn concern(features: Features, reason: Reason) -> bool {
    features.has(Features::TELL_ANY) && features.has(kinds(reason))
}

/// Of these errors, the one that this packet from `side` may cause. A SYN that
/// nobody waits for is never answered at once (RFC 5382 REQ-4), and from inside
/// never at all; what else a filter refuses is not told.
#[inline(always)]
#[must_use]
pub fn kind<F: Frame>(frame: &F, side: Side, reason: Reason) -> u64 {
    match reason {
        Reason::NoMapping | Reason::Filtered if opens_connection(frame) => match side {
            Side::Outside => Features::TELL_SYN,
            Side::Inside => 0,
        },
        Reason::NoMapping => Features::TELL_NO_MAPPING,
        Reason::Filtered => 0,
        _ => kinds(reason),
    }
}

/// True for a TCP segment that asks for a connection.
#[inline(always)]
#[must_use]
pub fn opens_connection<F: Frame>(frame: &F) -> bool {
    let parsed = ethernet::parse(frame)
        .and_then(|link| ipv4::parse(frame, link.length).map(|ip| (link.length, ip)));
    let Ok((l3, ip)) = parsed else {
        return false;
    };
    if ip.protocol != transport::TCP || ip.is_later_fragment() {
        return false;
    }
    let flags: Option<u8> = frame.load(l3 + ip.header_length() + transport::field::TCP_FLAGS);
    let of_opening = flag::SYN | flag::ACK | flag::RST;
    flags.is_some_and(|flags| flags & of_opening == flag::SYN)
}

/// The reason with this number, if [`kinds`] or [`crate::guards::kinds`] has something for it.
#[inline(always)]
#[must_use]
pub const fn reason(number: u8) -> Reason {
    match number {
        n if n == Reason::TtlExpired as u8 => Reason::TtlExpired,
        n if n == Reason::TooBig as u8 => Reason::TooBig,
        n if n == Reason::NoRoute as u8 => Reason::NoRoute,
        n if n == Reason::NoPort as u8 => Reason::NoPort,
        n if n == Reason::NoBlock as u8 => Reason::NoBlock,
        n if n == Reason::SessionsFull as u8 => Reason::SessionsFull,
        n if n == Reason::MappingLimit as u8 => Reason::MappingLimit,
        n if n == Reason::MappingRate as u8 => Reason::MappingRate,
        n if n == Reason::SessionLimit as u8 => Reason::SessionLimit,
        n if n == Reason::NoMapping as u8 => Reason::NoMapping,
        n if n == Reason::Filtered as u8 => Reason::Filtered,
        n if n == Reason::NoQuotedMapping as u8 => Reason::NoQuotedMapping,
        n if n == Reason::FirstPacket as u8 => Reason::FirstPacket,
        n if n == Reason::UnsupportedIpv6 as u8 => Reason::UnsupportedIpv6,
        _ => Reason::Internal,
    }
}

/// Source of a packet, if it may be told of the packet's end at all (RFC 1122
/// section 3.2.2, RFC 1812 section 4.3.2.7): it is one host, the packet went to
/// one, on the link too, and is neither an ICMP error nor a later fragment. Who
/// allows fragments is not told that one was needed.
#[inline(always)]
#[must_use]
pub fn recipient<F: Frame>(frame: &F, reason: Reason) -> Option<u32> {
    let link = ethernet::parse(frame).ok()?;
    let ip = ipv4::parse(frame, link.length).ok()?;
    let (source, destination) = (ip.source.get(), ip.destination.get());
    let is_unicast = is_host(source) && !is_multicast(destination);
    if !is_unicast || ethernet::is_to_group(frame)? || ip.is_later_fragment() {
        return None;
    }
    if matches!(reason, Reason::TooBig) && !ip.dont_fragment() {
        return None;
    }
    if ip.protocol == transport::ICMP {
        let header = ip.header_length();
        let rest = ip.total_length() as usize - header;
        let message = icmp::message_type(frame, link.length + header, rest).ok()?;
        // An echo has no port that could be unreachable.
        if icmp::is_error(message) || matches!(reason, Reason::NoMapping) {
            return None;
        }
    }
    Some(source)
}

/// The slot of a sender.
#[inline(always)]
#[must_use]
pub const fn slot_of(source: u32) -> u32 {
    // As in `punts`; the first slots are those of all.
    let hash = source.wrapping_mul(0x9e37_79b9) >> 22;
    if hash < Budget::COUNT {
        hash + Budget::COUNT
    } else {
        hash
    }
}

/// What all senders of one kind have together; the number is that of its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Budget {
    Inside = 0,
    Outside = 1,
    /// SYNs from outside that nobody waits for: a flood of them, which is common,
    /// takes nobody else's word.
    Syn = 2,
}

impl Budget {
    const COUNT: u32 = 3;

    /// Of which a packet from `side` takes, if it causes an error of this [`kind`].
    #[inline(always)]
    #[must_use]
    pub const fn of(side: Side, kind: u64) -> Self {
        match side {
            _ if kind == Features::TELL_SYN => Self::Syn,
            Side::Inside => Self::Inside,
            Side::Outside => Self::Outside,
        }
    }
}

/// How many packets of one sender, and of one [`Budget`], may be answered in a
/// window: bits 0-31 and 32-63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates(pub u64);

impl Rates {
    #[must_use]
    pub const fn new(each: u32, all: u32) -> Self {
        Self(each as u64 | (all as u64) << 32)
    }

    /// Takes one of the answers that a sender with these slots has in the tick
    /// `now`; false if all are taken.
    #[inline(always)]
    #[must_use]
    pub fn take(self, own: &Punts, all: &Punts, now: u32) -> bool {
        let window = now >> WINDOW_SHIFT;
        punts::take(own, window, self.0 as u32) && punts::take(all, window, (self.0 >> 32) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guards;

    #[test]
    fn what_is_handed_over_by_number_comes_back() {
        let told = Reason::ALL.iter().filter(|r| kinds(**r) != 0);
        assert_eq!(told.clone().count(), 11);
        let is_guarded = |r: &&Reason| {
            let all = Features(u64::MAX);
            [Side::Inside, Side::Outside]
                .iter()
                .any(|side| guards::concern(all, *side, **r))
        };
        for told in told.chain(Reason::ALL.iter().filter(is_guarded)) {
            assert_eq!(reason(*told as u8), *told);
        }
        assert_eq!(reason(Reason::Martian as u8), Reason::Internal);
    }

    #[test]
    fn slots_are_in_range_spread_and_not_those_of_all() {
        let mut used = [0_u32; SLOTS as usize];
        for host in 0..SLOTS * 16 {
            used[slot_of(0x6440_0000 + host) as usize] += 1;
        }
        assert_eq!(used[..Budget::COUNT as usize], [0; 3]);
        let most = used.iter().max().copied().unwrap_or(0);
        assert!(most <= 40, "{most} of 16 on average share a slot");
    }

    #[test]
    fn one_sender_has_so_many_and_all_together_have() {
        let rates = Rates::new(3, 5);
        let (all, senders) = (Punts::default(), [Punts::default(), Punts::default()]);
        let taken = |now, sender: usize| {
            (0..9)
                .filter(|_| rates.take(&senders[sender], &all, now))
                .count()
        };
        assert_eq!((taken(40, 0), taken(43, 1)), (3, 2), "one window");
        assert_eq!(taken(44, 1), 3, "the next");
    }
}
