//! Packets that wait for the link address of their next hop: few, and not for
//! long. Pure.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;

/// Packets in all.
const MOST: usize = 1024;
/// Packets for one next hop.
const MOST_PER_HOP: usize = 32;
/// Ticks (0.268 s) that a packet waits: the kernel gives up after 3 s.
const PATIENCE: u32 = 12;

/// A packet that waits, untranslated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub frame: Vec<u8>,
    /// Number of the port that received it.
    pub port: usize,
    /// Next hop: interface and address.
    pub hop: (u32, Ipv4Addr),
    since: u32,
}

/// The packets, oldest first.
#[derive(Debug, Default)]
pub struct Waiting {
    packets: VecDeque<Packet>,
    per_hop: HashMap<(u32, Ipv4Addr), usize>,
}

impl Waiting {
    /// Keeps a packet; false if too many wait already.
    pub fn keep(&mut self, frame: &[u8], port: usize, hop: (u32, Ipv4Addr), now: u32) -> bool {
        let count = self.per_hop.entry(hop).or_default();
        if self.packets.len() >= MOST || *count >= MOST_PER_HOP {
            return false;
        }
        *count += 1;
        self.packets.push_back(Packet {
            frame: frame.to_vec(),
            port,
            hop,
            since: now,
        });
        true
    }

    /// All packets, to be tried again after the routes changed.
    pub fn take_all(&mut self) -> Vec<Packet> {
        self.per_hop.clear();
        self.packets.drain(..).collect()
    }

    /// Puts a packet back that still must wait.
    pub fn put_back(&mut self, packet: Packet) {
        *self.per_hop.entry(packet.hop).or_default() += 1;
        self.packets.push_back(packet);
    }

    /// Packets that waited too long.
    pub fn take_overdue(&mut self, now: u32) -> Vec<Packet> {
        let mut overdue = Vec::new();
        self.packets.retain(|packet| {
            let is_over = now.wrapping_sub(packet.since) >= PATIENCE;
            if is_over {
                overdue.push(packet.clone());
            }
            !is_over
        });
        for packet in &overdue {
            if let Some(count) = self.per_hop.get_mut(&packet.hop) {
                *count = count.saturating_sub(1);
            }
        }
        self.per_hop.retain(|_, count| *count > 0);
        overdue
    }

    /// Number of packets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// True if none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOP: (u32, Ipv4Addr) = (3, Ipv4Addr::new(203, 0, 113, 1));

    #[test]
    fn one_dead_next_hop_does_not_take_the_room_of_others() {
        let mut waiting = Waiting::default();
        for _ in 0..MOST_PER_HOP {
            assert!(waiting.keep(&[1], 0, HOP, 5));
        }
        assert!(!waiting.keep(&[1], 0, HOP, 5));
        let other = (3, Ipv4Addr::new(203, 0, 113, 2));
        assert!(waiting.keep(&[2], 0, other, 5));
        assert_eq!(waiting.len(), MOST_PER_HOP + 1);
    }

    #[test]
    fn packets_wait_for_a_while_and_make_room_when_they_leave() {
        let mut waiting = Waiting::default();
        for _ in 0..MOST_PER_HOP {
            assert!(waiting.keep(&[1], 0, HOP, 5));
        }
        assert!(waiting.take_overdue(5 + PATIENCE - 1).is_empty());
        assert_eq!(waiting.take_overdue(5 + PATIENCE).len(), MOST_PER_HOP);
        assert!(waiting.is_empty());
        assert!(
            waiting.keep(&[1], 0, HOP, 40),
            "the count of the hop is free again"
        );
        let mut all = waiting.take_all();
        assert_eq!((all.len(), waiting.len()), (1, 0));
        waiting.put_back(all.remove(0));
        assert_eq!(waiting.len(), 1);
        assert_eq!(
            waiting.take_overdue(40 + PATIENCE).len(),
            1,
            "a packet keeps its age"
        );
    }
}
