//! What a number of subscribers needs: addresses, memory, rates and room for the log
//! (`cgn advise sizing`). Pure arithmetic; what it assumes is said beside each figure.

use cgn_common::layout::{Subscriber, slab_bytes};
use cgn_common::limits::USABLE_PORTS;
use serde::Serialize;

use crate::maplog::encode::ipfix;

/// Bytes of an event in a sealed file: a year of a million subscribers takes 8.03
/// (`cargo xtask bench log --year`), two days of three thousand 11.8: files of an hour have fewer rows to pack.
pub const STORED_BYTES: f64 = 12.0;
/// Headers of IPv4 and UDP, of an IPFIX message and of its set, for a record by itself.
const DATAGRAM_BYTES: usize = 28 + ipfix::HEADER_BYTES + 4;
/// Rates at the busiest hour, against the mean of the day.
const BUSY: f64 = 2.0;
/// Blocks that are given back stay in hold, and addresses do not fill alike.
const SPARE: f64 = 1.1;
const SECS_A_DAY: f64 = 86_400.0;

/// What is known or assumed of subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Load {
    /// How many places share them, alike; what a place needs is told.
    pub sites: u64,
    pub block_ports: u32,
    /// Blocks of a subscriber at the busiest hour, the mean of all.
    pub blocks: f64,
    /// Mappings of a subscriber then, the mean of all.
    pub mappings: f64,
    /// Connections of a subscriber in a day.
    pub connections: f64,
    /// Traffic of a subscriber at the busiest hour, both directions, the mean of all, in kbit/s.
    pub kbit: f64,
    /// Mean bytes of a packet.
    pub packet_bytes: f64,
    /// What the processor takes for a packet, in nanoseconds.
    pub packet_ns: f64,
    /// Records of blocks (taken or given back) of a subscriber in a day.
    pub events: f64,
    /// Days that the log is kept.
    pub days: u32,
}

/// What one place needs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Need {
    pub subscribers: u64,
    /// External addresses of all their ports.
    pub addresses: u64,
    /// The pool's `max_blocks`.
    pub max_blocks: u64,
    /// Memory of tables: the blocks and the subscribers.
    pub memory_bytes: u64,
    /// Mappings at the busiest hour.
    pub mappings: u64,
    /// New mappings a second then.
    pub mappings_per_second: u64,
    pub gbit_per_second: f64,
    pub packets_per_second: u64,
    /// Processors that forward them.
    pub cores: u64,
    pub records_per_day: u64,
    /// Log on the disk, sealed, for all days.
    pub log_bytes: u64,
    /// To each collector by IPFIX at the busiest hour, in bits per second, each record alone in its datagram.
    pub collector_bits_per_second: u64,
}

impl Load {
    /// What each of the places needs for its part of so many subscribers.
    #[must_use]
    pub fn need(&self, subscribers: u64) -> Need {
        let subscribers = subscribers.div_ceil(self.sites);
        let count = subscribers as f64;
        let shift = self.block_ports.trailing_zeros();
        let per_address = u64::from(USABLE_PORTS >> shift);
        let max_blocks = up(count * self.blocks * SPARE);
        let slab_bytes = u64::from(slab_bytes(shift));
        let packets = count * self.kbit * 1000.0 / 8.0 / self.packet_bytes;
        let records = count * self.events;
        let record_bits = ((DATAGRAM_BYTES + ipfix::BLOCK_BYTES) * 8) as f64;
        Need {
            subscribers,
            addresses: max_blocks.div_ceil(per_address),
            max_blocks,
            memory_bytes: max_blocks * slab_bytes + subscribers * size_of::<Subscriber>() as u64,
            mappings: up(count * self.mappings),
            mappings_per_second: up(count * self.connections / SECS_A_DAY * BUSY),
            gbit_per_second: count * self.kbit / 1e6,
            packets_per_second: up(packets),
            cores: up(packets * self.packet_ns / 1e9),
            records_per_day: up(records),
            log_bytes: up(records * f64::from(self.days) * STORED_BYTES),
            collector_bits_per_second: up(records / SECS_A_DAY * BUSY * record_bits),
        }
    }
}

/// The next whole number; what is above one by an error of rounding only is that one.
fn up(number: f64) -> u64 {
    (number - 1e-6).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Load = Load {
        sites: 1,
        block_ports: 512,
        blocks: 1.0,
        mappings: 100.0,
        connections: 43_200.0,
        kbit: 2000.0,
        packet_bytes: 1000.0,
        packet_ns: 100.0,
        events: 10.0,
        days: 100,
    };

    /// Each worked out by hand.
    #[test]
    fn what_ten_thousand_need() {
        let need = LOAD.need(10_000);
        assert_eq!(need.max_blocks, 11_000, "a tenth more than they have");
        assert_eq!(need.addresses, 88, "of 126 blocks: 87.3");
        // Of three protocols 64 lines of eight keys and as many of peers, and for every eight a header line and a room.
        assert_eq!(
            need.memory_bytes,
            11_000 * ((384 + 8) * 64 + 8 * 16) + 10_000 * 32
        );
        assert_eq!(need.mappings, 1_000_000);
        assert_eq!(need.mappings_per_second, 10_000, "twice 43,200 a day each");
        assert!((need.gbit_per_second - 20.0).abs() < 1e-9);
        assert_eq!(need.packets_per_second, 2_500_000);
        assert_eq!(need.cores, 1, "a quarter of one");
        assert_eq!(need.records_per_day, 100_000);
        assert_eq!(need.log_bytes, 120_000_000, "12 bytes, 100 days");
        // 69 bytes 2.31 times a second.
        assert_eq!(need.collector_bits_per_second, 1278);
    }

    #[test]
    fn places_share_subscribers_and_round_up_each_by_itself() {
        let two = Load { sites: 2, ..LOAD };
        assert_eq!(two.need(10_001), LOAD.need(5001));
        let (central, each) = (LOAD.need(1000), Load { sites: 100, ..LOAD }.need(1000));
        assert_eq!(
            (central.addresses, each.addresses),
            (9, 1),
            "small places waste addresses"
        );
    }

    /// "A million block events a day per 100,000 subscribers costs less than 50 kbit/s of IPFIX per 50,000."
    #[test]
    fn records_are_nothing_beside_the_traffic() {
        assert!(LOAD.need(50_000).collector_bits_per_second < 50_000);
    }
}
