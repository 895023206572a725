//! Who sends on the rig, in numbers.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};

use crate::bench::crowd::{Crowd, FIRST_INSIDE};
use crate::bench::plan::reciprocal;
use cgn_common::block::blocks_per_address;

/// First address of the pool.
const EXTERNAL: u32 = 0xc612_0000;
/// log2 of the ports of a block.
const BLOCK_SHIFT: u32 = 6;
/// Ports of a subscriber: the first density of FD.io's ladder.
pub const PORTS: u64 = 63;

/// Subscribers, each with [`PORTS`] sessions from as many ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Population {
    hosts: u64,
}

impl Population {
    /// `sessions` is [`PORTS`] times a power of two.
    ///
    /// # Errors
    /// It is not, or there are more than the rig has numbers for.
    pub fn of(sessions: u64) -> Result<Self> {
        let hosts = sessions / PORTS;
        ensure!(
            sessions.is_multiple_of(PORTS) && hosts.is_power_of_two() && hosts <= 1 << 20,
            "{sessions} sessions are not 63 times a power of two up to 2^20: 1008, 64512, 129024, \
             1032192, 4128768 and 16515072 are"
        );
        Ok(Self { hosts })
    }

    #[must_use]
    pub const fn hosts(self) -> u64 {
        self.hosts
    }

    #[must_use]
    pub const fn sessions(self) -> u64 {
        self.hosts * PORTS
    }

    /// As the generator knows them.
    #[must_use]
    pub const fn crowd(self) -> Crowd {
        let shift = self.hosts.trailing_zeros() as u64;
        Crowd {
            host_mask: self.hosts - 1,
            host_shift: shift,
            spread: if shift < 2 { 1 } else { shift / 2 },
            ports: PORTS,
            ports_reciprocal: reciprocal(PORTS),
        }
    }

    /// Prefix of the subscribers.
    #[must_use]
    pub fn prefix(self) -> String {
        let first = Ipv4Addr::from_bits(FIRST_INSIDE as u32);
        format!("{first}/{}", 32 - self.hosts.trailing_zeros())
    }

    /// External addresses that have a block of 64 ports for each.
    #[must_use]
    pub fn pool(self) -> (Ipv4Addr, Ipv4Addr) {
        let addresses = (self.hosts as u32).div_ceil(blocks_per_address(BLOCK_SHIFT));
        let first = Ipv4Addr::from_bits(EXTERNAL);
        (first, Ipv4Addr::from_bits(EXTERNAL + addresses - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::crowd::{bucket_ns, bucket_of};

    #[test]
    fn every_session_has_its_turn_once_from_any_multiple_of_the_subscribers_on() {
        for hosts in [1, 2, 16, 1024] {
            let population = Population::of(hosts * PORTS).expect("a power of two");
            let crowd = population.crowd();
            for first in [0, 5 * hosts, 4_000_000 / hosts * hosts] {
                let mut seen = vec![false; population.sessions() as usize];
                for frame in first..first + population.sessions() {
                    let session = crowd.session_of(frame);
                    assert_eq!(crowd.numbered(session.number), session);
                    let was = std::mem::replace(&mut seen[session.number as usize], true);
                    assert!(!was, "{session:?} twice, {hosts} subscribers from {first}");
                }
            }
        }
    }

    #[test]
    fn the_first_frames_are_of_one_subscriber_each() {
        let population = Population::of(64_512).expect("1024 subscribers");
        let crowd = population.crowd();
        let mut hosts: Vec<u32> = (0..1024).map(|f| crowd.session_of(f).inside).collect();
        hosts.sort_unstable();
        hosts.dedup();
        assert_eq!(hosts.len(), 1024);
    }

    #[test]
    fn a_bucket_begins_at_most_an_eighth_below_what_is_in_it() {
        for ns in [8, 9, 15, 16, 100, 1_000, 12_345, 1_000_000, 999_999_999] {
            let least = bucket_ns(bucket_of(ns));
            assert!(least <= ns && ns - least <= ns / 8, "{ns} in {least}");
        }
    }
}
