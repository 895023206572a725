//! Who sends on the rig, in numbers.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};

use crate::bench::crowd::{Crowd, FIRST_INSIDE};
use crate::bench::plan::reciprocal;
use cgn_common::block::blocks_per_address;
use cgn_common::limits::MAX_BLOCK_PORTS;

/// First address of the pool.
const EXTERNAL: u32 = 0xc612_0000;
/// Ports of a subscriber: the first density of FD.io's grid.
pub const PORTS: u64 = 63;
/// Times that, of the densest: 4,032 ports.
const DENSEST: u64 = 64;
/// Ports of a block for so many sessions, and of the largest block.
const BLOCK_PORTS: u64 = PORTS + 1;
const MOST_BLOCK_PORTS: u64 = MAX_BLOCK_PORTS as u64;
/// Addresses of the pool where a subscriber needs several blocks, all of one address, by the fewest
/// that have as many blocks: which address a subscriber gets is drawn.
const ROOM: u32 = 2;

/// Subscribers, each with as many sessions from as many ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Population {
    hosts: u64,
    ports: u64,
}

impl Population {
    /// `sessions` is [`PORTS`] times a power of two.
    ///
    /// # Errors
    /// It is not, or there are more than the rig has numbers for.
    pub fn of(sessions: u64) -> Result<Self> {
        Self::dense(sessions, PORTS)
    }

    /// With `ports` sessions of each subscriber, which is [`PORTS`] times a power of two up to 64.
    ///
    /// # Errors
    /// Either number is not of its kind, or there are more than the rig has numbers for.
    pub fn dense(sessions: u64, ports: u64) -> Result<Self> {
        let times = ports / PORTS;
        ensure!(
            ports.is_multiple_of(PORTS) && times.is_power_of_two() && times <= DENSEST,
            "{ports} sessions of a subscriber are not 63 times a power of two up to 64: 63, 126, 252, 504, 1008, \
             2016 and 4032 are"
        );
        let hosts = sessions / ports;
        ensure!(
            sessions.is_multiple_of(ports) && hosts.is_power_of_two() && hosts <= 1 << 20,
            "{sessions} sessions are not {ports} times a power of two up to 2^20: with 63 of a subscriber 1008, \
             64512, 129024, 1032192, 4128768 and 16515072 are"
        );
        Ok(Self { hosts, ports })
    }

    #[must_use]
    pub const fn hosts(self) -> u64 {
        self.hosts
    }

    /// Sessions of a subscriber.
    #[must_use]
    pub const fn per_host(self) -> u64 {
        self.ports
    }

    #[must_use]
    pub const fn sessions(self) -> u64 {
        self.hosts * self.ports
    }

    /// Ports of a block: as FD.io's grid has them, one in 64 is left over.
    #[must_use]
    pub const fn block_ports(self) -> u64 {
        let ports = self.ports / PORTS * BLOCK_PORTS;
        if ports < MOST_BLOCK_PORTS {
            ports
        } else {
            MOST_BLOCK_PORTS
        }
    }

    /// Blocks that a subscriber needs.
    #[must_use]
    pub const fn blocks_per_host(self) -> u64 {
        self.ports.div_ceil(self.block_ports())
    }

    /// As the generator knows them.
    #[must_use]
    pub const fn crowd(self) -> Crowd {
        let shift = self.hosts.trailing_zeros() as u64;
        Crowd {
            host_mask: self.hosts - 1,
            host_shift: shift,
            spread: if shift < 2 { 1 } else { shift / 2 },
            ports: self.ports,
            ports_reciprocal: reciprocal(self.ports),
        }
    }

    /// Prefix of the subscribers.
    #[must_use]
    pub fn prefix(self) -> String {
        let first = Ipv4Addr::from_bits(FIRST_INSIDE as u32);
        format!("{first}/{}", 32 - self.hosts.trailing_zeros())
    }

    /// External addresses that have the blocks of all.
    #[must_use]
    pub fn pool(self) -> (Ipv4Addr, Ipv4Addr) {
        let blocks = blocks_per_address(self.block_ports().trailing_zeros());
        let several = self.blocks_per_host() as u32;
        let hosts = blocks / several;
        let room = if several > 1 { ROOM } else { 1 };
        let addresses = room * (self.hosts as u32).div_ceil(hosts);
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
        let cases = [
            (1, PORTS),
            (2, PORTS),
            (16, PORTS),
            (1024, PORTS),
            (64, 1008),
            (16, 4032),
        ];
        for (hosts, ports) in cases {
            let population = Population::dense(hosts * ports, ports).expect("a power of two");
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
    fn the_grid_of_fd_io_has_its_hosts_and_blocks() {
        let cases = [
            ("63 sessions of each", 64_512, 63, (1024, 64, 1)),
            ("the second step", 258_048, 63, (4096, 64, 1)),
            ("1,008 of each", 1_032_192, 1008, (1024, 1024, 1)),
            ("the top, dense", 16_515_072, 1008, (16_384, 1024, 1)),
            ("more than a block has", 64_512, 4032, (16, 1024, 4)),
        ];
        for (sentence, sessions, ports, wanted) in cases {
            let population = Population::dense(sessions, ports).expect(sentence);
            let blocks = (population.block_ports(), population.blocks_per_host());
            assert_eq!(
                (population.hosts(), blocks.0, blocks.1),
                wanted,
                "{sentence}"
            );
            let (first, last) = population.pool();
            let addresses = u64::from(last.to_bits() - first.to_bits() + 1);
            let ports = addresses * 63 * MOST_BLOCK_PORTS;
            let needed = population.hosts() * blocks.0 * blocks.1;
            assert!(ports >= needed, "{sentence}: {addresses} addresses");
        }
    }

    #[test]
    fn what_the_rig_cannot_have_is_refused() {
        let cases = [
            ("no power of two of subscribers", 3 * 63, 63),
            ("no multiple", 64_513, 63),
            ("no density of the grid", 6_400, 64),
            ("denser than the grid", 8_064, 8_064),
            ("nobody", 0, 63),
            ("no sessions of anybody", 64_512, 0),
        ];
        for (sentence, sessions, ports) in cases {
            assert!(Population::dense(sessions, ports).is_err(), "{sentence}");
        }
    }

    #[test]
    fn a_bucket_begins_at_most_an_eighth_below_what_is_in_it() {
        for ns in [8, 9, 15, 16, 100, 1_000, 12_345, 1_000_000, 999_999_999] {
            let least = bucket_ns(bucket_of(ns));
            assert!(least <= ns && ns - least <= ns / 8, "{ns} in {least}");
        }
    }
}
