//! Which flows of IPv6 are known, UDP and whatever else has no SYN: those of which a packet was let in
//! not long ago, in either direction.
//!
//! Two generations of a Bloom filter of fixed size. A flow has four marks in one word of each. A packet
//! of a flow with all marks in this generation is of a known one; so it is with those in the last
//! generation, and then it is marked in this one. So a flow is known for at least one generation after
//! its last packet, 137 s, and for two at most; RFC 6092 REC-14 asks for two minutes.
//!
//! **Who clears.** Nobody. Each word tells the generation that its marks are of, and in any other it
//! has none; whoever marks writes both by one compare-and-swap, and so takes the place of old marks.
//! Generations side by side have words of their own, so that who is a little late does not undo what
//! others marked in the next one.
//! An old word could be mistaken only if nobody marked in it for 65,536 generations, 104 days, to the
//! generation: then flows are known that are not.
//!
//! **Mistakes** are all of that kind: a new flow may be taken for a known one, and is then not counted.
//! By chance that is one of 250 with a million flows in a generation, one of 8 with four million. With
//! ever more of them new flows that are not TCP are limited no more; established ones never suffer.

use crate::tables::Tables;
use crate::wire::ipv6::Ipv6;

/// log2 of the words of one generation.
const WORDS_SHIFT: u32 = 19;
/// Words of both.
pub const WORDS: u32 = 2 << WORDS_SHIFT;
/// log2 of the ticks (2^28 ns) of a generation.
pub const GENERATION_SHIFT: u32 = 9;
/// Bits of a word that are marks.
const MARKS: u32 = 48;
/// Attempts to mark in a word that other processors mark in, too.
const TRIES: u32 = 4;

/// Marks of flows: bits 0-47 the marks, 48-63 number of the generation that they are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marks(u64);

impl Marks {
    /// What is marked in this generation.
    #[inline(always)]
    const fn of(self, generation: u16) -> u64 {
        match (self.0 >> MARKS) as u16 == generation {
            true => self.0 & ((1 << MARKS) - 1),
            false => 0,
        }
    }
    /// With these marks, and those alone that are of the same generation.
    #[inline(always)]
    const fn and(self, generation: u16, marks: u64) -> Self {
        Self(self.of(generation) | marks | (generation as u64) << MARKS)
    }
}

/// The hash of a flow's ends, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow(pub u64);

impl Flow {
    /// `secret` decides, so that nobody can choose flows that are taken for one another.
    #[inline(always)]
    #[must_use]
    pub const fn of(secret: u64, packet: &Ipv6) -> Self {
        let from = end(secret, packet.source, packet.ports[0]);
        let to = end(secret, packet.destination, packet.ports[1]);
        // A sum, so that nothing has to be put in order.
        let x = from.wrapping_add(to) ^ packet.protocol as u64;
        Self(mix(mix(x, secret), secret))
    }

    /// Where its marks are in this generation.
    #[inline(always)]
    const fn word(self, generation: u16) -> u32 {
        (generation as u32 & 1) << WORDS_SHIFT | (self.0 >> (64 - WORDS_SHIFT)) as u32
    }

    /// Its marks.
    #[inline(always)]
    const fn marks(self) -> u64 {
        let x = mix(self.0, 1);
        mark_of(x) | mark_of(x >> 16) | mark_of(x >> 32) | mark_of(x >> 48)
    }
}

/// One mark, by the lowest 16 bits of a hash.
#[inline(always)]
const fn mark_of(hash: u64) -> u64 {
    1 << (((hash & 0xffff) * MARKS as u64) >> 16)
}

/// One end of a flow.
#[inline(always)]
const fn end(secret: u64, address: [u64; 2], port: u16) -> u64 {
    let x = mix(address[0] ^ secret, secret);
    let x = mix(x ^ address[1], secret);
    mix(x ^ port as u64, secret)
}

#[inline(always)]
const fn mix(x: u64, secret: u64) -> u64 {
    let x = (x ^ (x >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 29)).wrapping_mul(secret | 1);
    x ^ (x >> 32)
}

#[inline(always)]
const fn generation(now: u32) -> u16 {
    (now >> GENERATION_SHIFT) as u16
}

/// True if the flow is known; then it is marked in this generation.
#[inline(always)]
#[must_use]
pub fn is_known<T: Tables + ?Sized>(tables: &T, flow: Flow) -> bool {
    let now = tables.now();
    let this = generation(now);
    if is_marked(tables, flow, this) {
        return true;
    }
    let known = is_marked(tables, flow, this.wrapping_sub(1));
    if known {
        mark(tables, flow, now);
    }
    known
}

#[inline(always)]
fn is_marked<T: Tables + ?Sized>(tables: &T, flow: Flow, generation: u16) -> bool {
    let Some(word) = tables.flow_word(flow.word(generation)) else {
        return true;
    };
    let marks = flow.marks();
    Marks(word.load()).of(generation) & marks == marks
}

/// The flow is known from now on.
#[inline(always)]
pub fn mark<T: Tables + ?Sized>(tables: &T, flow: Flow, now: u32) {
    let this = generation(now);
    let Some(word) = tables.flow_word(flow.word(this)) else {
        return;
    };
    for _ in 0..TRIES {
        let seen = word.load();
        // Lost to other processors so often, it is left to the flow's next packet.
        if word.replace(seen, Marks(seen).and(this, flow.marks()).0) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ipv6::Kind;

    const SECRET: u64 = 0x0123_4567_89ab_cdef;

    fn packet(number: u64) -> Ipv6 {
        Ipv6 {
            source: [0x2001_0db8_0000_0000 | number >> 16, 1],
            destination: [0x2a00_1450_0000_0000, 0x2004],
            protocol: 17,
            ports: [number as u16, 443],
            kind: Kind::Flow,
        }
    }

    #[test]
    fn a_flow_is_the_same_in_both_directions_and_another_is_another() {
        let there = packet(5000);
        let back = Ipv6 {
            source: there.destination,
            destination: there.source,
            ports: [there.ports[1], there.ports[0]],
            ..there
        };
        let flow = Flow::of(SECRET, &there);
        assert_eq!(flow, Flow::of(SECRET, &back));
        let others = [
            (
                "other ends of the ports",
                Ipv6 {
                    ports: back.ports,
                    ..there
                },
            ),
            (
                "another protocol",
                Ipv6 {
                    protocol: 132,
                    ..there
                },
            ),
            ("another port", packet(5001)),
            (
                "another host",
                Ipv6 {
                    source: [there.source[0], 2],
                    ..there
                },
            ),
        ];
        for (sentence, other) in others {
            assert_ne!(flow, Flow::of(SECRET, &other), "{sentence}");
        }
        assert_ne!(flow, Flow::of(SECRET ^ 2, &there), "another secret");
    }

    #[test]
    fn marks_are_in_their_generation_only() {
        let (one, other) = (Flow(3).marks(), Flow(4).marks());
        let marked = Marks(0).and(7, one).and(7, other);
        assert_eq!(marked.of(7), one | other);
        assert_eq!(
            (marked.of(6), marked.of(8), marked.of(9)),
            (0, 0, 0),
            "none in others"
        );
        assert_eq!(
            marked.and(9, one).of(9),
            one,
            "the next one in the same word begins anew"
        );
        assert!(one.count_ones() <= 4 && one >> MARKS == 0);
    }

    #[test]
    fn words_of_generations_side_by_side_are_not_shared_and_in_range() {
        for number in 0..10_000 {
            let flow = Flow::of(SECRET, &packet(number));
            let (this, next) = (flow.word(6), flow.word(7));
            assert!(this < WORDS / 2 && (WORDS / 2..WORDS).contains(&next));
        }
    }

    /// The figures above: of one generation, twice.
    #[test]
    fn few_new_flows_are_taken_for_known_ones() {
        // Flows in a generation, and the most of 100,000 others that may be mistaken, in two of them.
        for (flows, most) in [(1_000_000_u64, 500), (4_000_000, 14_000)] {
            let mut words = vec![0_u64; WORDS as usize / 2];
            for number in 0..flows {
                let flow = Flow::of(SECRET, &packet(number));
                let word = &mut words[flow.word(0) as usize];
                *word = Marks(*word).and(0, flow.marks()).0;
            }
            let others = (1 << 32..(1 << 32) + 100_000).map(|n| Flow::of(SECRET, &packet(n)));
            let mistaken = others.filter(|flow| {
                let marks = flow.marks();
                Marks(words[flow.word(0) as usize]).of(0) & marks == marks
            });
            let in_two = 2 * mistaken.count();
            assert!(in_two <= most, "{in_two} of 100,000 with {flows}");
        }
    }
}
