//! Watching packets in the fast path (`cgn trace`): which ones are
//! told of, and what is told. Another build of the same programs does it (ADR 23),
//! which is on the interfaces only while somebody watches.

use bytemuck::{Pod, Zeroable};

use crate::block::block_of;
use crate::layout::{MMAPABLE, MapKind, MapSpec};
use crate::nat::next_hop::rows_of;
use crate::nat::ports;
use crate::realm;
use crate::tables::Tables;

/// Bytes at the front of a frame that are kept as they came: all that translation
/// may change (two tags, and an ICMP error with the headers that it quotes).
pub const FRONT: usize = 256;
/// Most bytes of a frame as it left.
pub const MOST_BYTES: usize = 2048;
/// In [`Record::verdict`]: translated. Lower numbers are reasons.
pub const TRANSLATED: u32 = 256;

/// Which packets are told of. Zero masks, ports and protocol fit any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Filter {
    /// Nothing is told after this time of the monotonic clock: who watches moves it
    /// on, and if he dies, that is the end.
    pub until_ns: u64,
    /// The subscriber's end, addresses in host order.
    pub inside: u32,
    pub inside_mask: u32,
    /// The end beyond the border.
    pub outside: u32,
    pub outside_mask: u32,
    pub inside_port: u16,
    pub outside_port: u16,
    /// Number of the IPv4 protocol.
    pub protocol: u32,
    /// Packets that each processor tells of in one second at most.
    pub per_second: u32,
    /// Bytes of a frame that are told at most, up to [`MOST_BYTES`].
    pub bytes: u32,
}

/// Both ends of a packet; all zero where it has none. Host order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Ends {
    pub source: u32,
    pub destination: u32,
    /// For ICMP echo, both ports are the identifier.
    pub source_port: u16,
    pub destination_port: u16,
    /// Number of the IPv4 protocol.
    pub protocol: u32,
}

impl Filter {
    /// True for a packet that came and left with these ends. `owner` is the
    /// subscriber with the external port that it was sent to; 0: nobody.
    #[inline(always)]
    #[must_use]
    pub const fn fits(&self, came: &Ends, left: &Ends, owner: u32) -> bool {
        if self.protocol != 0 && self.protocol != came.protocol {
            return false;
        }
        let outbound = self.is_near(came.source, came.source_port)
            && self.is_far(came.destination, came.destination_port);
        let is_back = self.is_near(left.destination, left.destination_port)
            || owner != 0 && self.inside_port == 0 && self.is_near(owner, 0);
        let inbound = is_back && self.is_far(came.source, came.source_port);
        outbound || inbound
    }

    #[inline(always)]
    const fn is_near(&self, address: u32, port: u16) -> bool {
        (address ^ self.inside) & self.inside_mask == 0
            && (self.inside_port == 0 || self.inside_port == port)
    }

    #[inline(always)]
    const fn is_far(&self, address: u32, port: u16) -> bool {
        (address ^ self.outside) & self.outside_mask == 0
            && (self.outside_port == 0 || self.outside_port == port)
    }
}

/// The subscriber whose block an external port is in; 0: nobody's.
#[inline(always)]
pub fn owner_of<T: Tables>(tables: &T, address: u32, port: u16) -> u32 {
    let rows = rows_of(tables, address);
    if !rows.is_pool_address() {
        return 0;
    }
    let place = ports::inward(tables, rows.pool(), address, port);
    let entry = match block_of(place, rows.block_shift()) {
        Some(number) => tables.block(rows.first_row() + number),
        None => None,
    };
    match entry.map(crate::layout::BlockEntry::read) {
        Some((slab_line, inside)) if slab_line != 0 => realm::address_of(tables, inside),
        _ => 0,
    }
}

/// A packet as it came, while it is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Arrival {
    /// When, on the monotonic clock; 0: nobody watches.
    pub at_ns: u64,
    /// See [`crate::steps::Steps`].
    pub steps: u64,
    pub ends: Ends,
    /// Length of the frame in bytes.
    pub length: u32,
    /// Which bytes of `front` are the frame's: the first so many.
    pub front_length: u32,
    pub front: [u8; FRONT],
}

/// What is told of a packet: the first bytes of the frame as it came, and as it left
/// (or ended). The payload behind [`FRONT`] bytes is the same in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Record {
    /// When it came, on the monotonic clock.
    pub at_ns: u64,
    /// See [`crate::steps::Steps`].
    pub steps: u64,
    /// Nanoseconds from the first step to the verdict.
    pub took_ns: u32,
    /// Number of the reason, or [`TRANSLATED`].
    pub verdict: u32,
    /// Interface and queue that it came by, and the interface that it leaves by (0: none).
    pub ingress: u32,
    pub queue: u32,
    pub egress: u32,
    /// Length of the frame when it came, and in the end.
    pub came: u32,
    pub left: u32,
    /// Which bytes of `front` are the frame's: the first so many.
    pub front_length: u32,
    pub front: [u8; FRONT],
    /// The frame in the end. Only the first bytes of it are sent, as the ring tells.
    pub end: [u8; MOST_BYTES],
}

/// Bytes of a [`Record`] before the frame as it left.
pub const RECORD_HEADER: usize = size_of::<Record>() - MOST_BYTES;

/// Maps that only the watching object has. None is pinned or part of the layout.
pub const FILTER: MapSpec = MapSpec {
    name: "FILTER",
    kind: MapKind::Array,
    key_bytes: 4,
    value_bytes: size_of::<Filter>() as u32,
    entries: 1,
    flags: MMAPABLE,
};
pub const ARRIVAL: MapSpec = own("ARRIVAL", size_of::<Arrival>());
pub const RECORD: MapSpec = own("RECORD", size_of::<Record>());
/// What each processor has told, see [`crate::diagnostics::Tally`].
pub const TOLD: MapSpec = own("TOLD", size_of::<crate::diagnostics::Tally>());
/// The ring of records, 1 MiB.
pub const WATCHED: MapSpec = MapSpec {
    name: "WATCHED",
    kind: MapKind::RingBuf,
    key_bytes: 0,
    value_bytes: 0,
    entries: 1 << 20,
    flags: 0,
};
pub const MAPS: [&MapSpec; 5] = [&FILTER, &ARRIVAL, &RECORD, &TOLD, &WATCHED];

const fn own(name: &'static str, bytes: usize) -> MapSpec {
    MapSpec {
        name,
        kind: MapKind::PerCpuArray,
        key_bytes: 4,
        value_bytes: bytes as u32,
        entries: 1,
        flags: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{Ends, Filter};

    const HOME: u32 = 0x6440_0102;
    const POOL: u32 = 0xcb00_7105;
    const SERVER: u32 = 0x0808_0808;

    const fn udp(source: (u32, u16), destination: (u32, u16)) -> Ends {
        Ends {
            source: source.0,
            destination: destination.0,
            source_port: source.1,
            destination_port: destination.1,
            protocol: 17,
        }
    }

    #[test]
    fn both_directions_fit_and_nobody_else_s_packets() {
        let out = (udp((HOME, 5), (SERVER, 53)), udp((POOL, 9), (SERVER, 53)));
        let back = (udp((SERVER, 53), (POOL, 9)), udp((SERVER, 53), (HOME, 5)));
        let refused = (back.0, back.0);
        let home = Filter {
            inside: HOME,
            inside_mask: u32::MAX,
            ..Filter::default()
        };
        let server = Filter {
            outside: SERVER,
            outside_mask: u32::MAX,
            ..Filter::default()
        };
        for (sentence, filter, (came, left), owner, fits) in [
            ("the subscriber's packet", home, out, 0, true),
            ("what comes back to him", home, back, 0, true),
            (
                "what is refused on the way to his block",
                home,
                refused,
                HOME,
                true,
            ),
            (
                "what is refused on the way to another's",
                home,
                refused,
                HOME + 1,
                false,
            ),
            ("to nobody's", home, refused, 0, false),
            (
                "everything, without a filter",
                Filter::default(),
                refused,
                0,
                true,
            ),
            (
                "his port",
                Filter {
                    inside_port: 5,
                    ..home
                },
                out,
                0,
                true,
            ),
            (
                "his port, on the way back",
                Filter {
                    inside_port: 5,
                    ..home
                },
                back,
                0,
                true,
            ),
            (
                "another port of his",
                Filter {
                    inside_port: 6,
                    ..home
                },
                out,
                0,
                false,
            ),
            (
                "his network",
                Filter {
                    inside: HOME & !0xff,
                    inside_mask: !0xff,
                    ..home
                },
                out,
                0,
                true,
            ),
            (
                "another protocol",
                Filter {
                    protocol: 6,
                    ..home
                },
                out,
                0,
                false,
            ),
            ("the server", server, out, 0, true),
            ("the server's answer", server, back, 0, true),
            (
                "another port of the server",
                Filter {
                    outside_port: 54,
                    ..server
                },
                back,
                0,
                false,
            ),
            (
                "his packets to another",
                Filter {
                    outside: 1,
                    outside_mask: u32::MAX,
                    ..home
                },
                out,
                0,
                false,
            ),
        ] {
            assert_eq!(filter.fits(&came, &left, owner), fits, "{sentence}");
        }
    }
}
