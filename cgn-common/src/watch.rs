//! Watching packets in the fast path (`cgn trace`, captures and mirrors): which ones
//! are told of, and what is told. Another build of the same programs does it (ADR 23,
//! 39), which is on the interfaces only while somebody watches.

use bytemuck::{Pod, Zeroable};

use crate::block::block_of;
use crate::frame::Frame;
use crate::layout::{MMAPABLE, MapKind, MapSpec, RareProgram};
use crate::nat::next_hop::rows_of;
use crate::nat::ports;
use crate::path::Entry;
use crate::realm;
use crate::tables::Tables;
use crate::wire::ipv4::{self, Ipv4};
use crate::wire::{Be16, ethernet, transport};

/// Bytes at the front of a frame that are kept as they came: all that translation
/// may change (two tags, and an ICMP error with the headers that it quotes).
pub const FRONT: usize = 256;
/// Most bytes of a frame as it left.
pub const MOST_BYTES: usize = 2048;
/// In [`Record::verdict`]: translated. Lower numbers are reasons.
pub const TRANSLATED: u32 = 256;

/// Most that can watch at once: traces, captures and mirrors together.
pub const WATCHERS: usize = 16;

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
    /// One packet of so many is told of, by chance; 0 and 1: each. Less than 2^31.
    pub packets_of: u32,
    /// All packets of one flow of so many, both ways; 0 and 1: of each.
    pub flows_of: u32,
    /// Which flows: another seed, other flows.
    pub seed: u32,
    /// What is told beside the frame as it left, see [`details`].
    pub details: u32,
}

/// Bits of [`Filter::details`]: what a packet pays for only if somebody wants it.
pub mod details {
    /// The frame as it came.
    pub const CAME: u32 = 1;
    /// How long it took.
    pub const TIMES: u32 = 2;
    /// All that there is.
    pub const ALL: u32 = CAME | TIMES;
    /// Its ends are asked for; set by [`super::Filter::with_ends`] alone.
    pub const ENDS: u32 = 4;
}

/// All filters, in one element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Filters {
    /// Another one each time that anything else is, but for the times of filters.
    pub generation: u64,
    /// How many of the first may be in use.
    pub count: u64,
    pub filters: [Filter; WATCHERS],
}

/// Which packet of one processor is the next that somebody wants: what is in nobody's
/// sample costs one look at this. Packets are numbered as they come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Draws {
    /// Number of the last one that came.
    pub came: u64,
    /// Those before this one are nobody's, as long as the filters are of this generation.
    pub next: u64,
    pub generation: u64,
    /// The next one of each watcher's sample.
    pub next_of: [u64; WATCHERS],
}

impl Draws {
    /// A packet comes; false: it is in nobody's sample.
    #[inline(always)]
    #[must_use]
    pub fn is_due(&mut self, generation: u64) -> bool {
        self.came += 1;
        self.came >= self.next || self.generation != generation
    }

    /// Whether the packet is in the sample of watcher `number`; draws the next one if it is,
    /// and the first one where the filter is a new one. To be asked of all watchers, with
    /// [`Draws::next`] beyond all numbers before.
    #[inline(always)]
    #[must_use]
    pub fn takes(&mut self, number: usize, filter: &Filter, is_new: bool, chance: u32) -> bool {
        let Some(next) = self.next_of.get_mut(number) else {
            return false;
        };
        let gap = filter.gap(chance);
        if is_new {
            *next = self.came + gap - 1;
        }
        let is_taken = self.came >= *next;
        if is_taken {
            *next = self.came + gap;
        }
        if *next < self.next {
            self.next = *next;
        }
        is_taken
    }
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

impl Ends {
    /// Reads what can be read; a packet that lies may be the reason for the look. All
    /// zero without an IPv4 header.
    #[inline(always)]
    #[must_use]
    pub fn of<F: Frame>(frame: &F) -> Self {
        Self::read(frame).unwrap_or_default()
    }

    #[inline(always)]
    fn read<F: Frame>(frame: &F) -> Option<Self> {
        let link = ethernet::parse(frame).ok()?;
        if link.ethertype != ethernet::IPV4 {
            return None;
        }
        let ip: Ipv4 = frame.load(link.length)?;
        let mut ends = Self {
            protocol: u32::from(ip.protocol),
            source: ip.source.get(),
            destination: ip.destination.get(),
            ..Self::default()
        };
        let l4 = link.length + ip.header_length();
        let port = |field: usize| frame.load::<Be16>(l4 + field).map_or(0, Be16::get);
        if ip.is_fragment() || ip.header_length() < ipv4::HEADER {
            return Some(ends);
        }
        match ip.protocol {
            transport::TCP | transport::UDP => {
                ends.source_port = port(transport::field::SOURCE_PORT);
                ends.destination_port = port(transport::field::DESTINATION_PORT);
            }
            transport::ICMP => {
                ends.source_port = port(transport::field::ICMP_IDENTIFIER);
                ends.destination_port = ends.source_port;
            }
            _ => {}
        }
        Some(ends)
    }
}

impl Filter {
    /// The same, which says whether the ends of a packet decide if it fits: who is told of
    /// any does not pay for a look at them.
    #[must_use]
    pub const fn with_ends(self) -> Self {
        let is_any = self.inside_mask == 0
            && self.outside_mask == 0
            && self.inside_port == 0
            && self.outside_port == 0
            && self.protocol == 0
            && self.flows_of <= 1;
        Self {
            details: self.details | if is_any { 0 } else { details::ENDS },
            ..self
        }
    }

    /// True until the time of the filter is over.
    #[inline(always)]
    #[must_use]
    pub const fn is_open(&self, now_ns: u64) -> bool {
        now_ns <= self.until_ns
    }

    /// By how much the number of a packet of the sample is greater than that of the one
    /// before, by chance: each number below twice `packets_of` is as likely, which is
    /// `packets_of` on average, and nobody can tell the next one from those before.
    #[inline(always)]
    #[must_use]
    pub const fn gap(&self, chance: u32) -> u64 {
        match self.packets_of {
            0 | 1 => 1,
            of => 1 + ((chance as u64 * (2 * of as u64 - 1)) >> 32),
        }
    }

    /// True for the flows that are told of: both directions of one are one flow, by the
    /// endpoints that the subscriber has and sees.
    #[inline(always)]
    #[must_use]
    pub const fn has_flow(&self, came: &Ends, left: &Ends) -> bool {
        if self.flows_of <= 1 {
            return true;
        }
        let is_outbound = left.source != came.source || left.source_port != came.source_port;
        let is_inbound = !is_outbound
            && (left.destination != came.destination
                || left.destination_port != came.destination_port);
        let (near, far) = match is_inbound {
            true => (
                (left.destination, left.destination_port),
                (came.source, came.source_port),
            ),
            false => (
                (came.source, came.source_port),
                (came.destination, came.destination_port),
            ),
        };
        let addresses = (near.0 as u64) << 32 | far.0 as u64;
        let ports = (near.1 as u64) << 16 | far.1 as u64 | (came.protocol as u64) << 32;
        let mixed = (addresses ^ self.seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ports;
        let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed >> 32) as u32).is_multiple_of(self.flows_of)
    }

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
    /// Where its way ended.
    pub left: Ends,
    /// When that was.
    pub left_ns: u64,
    /// Length of the frame in bytes.
    pub length: u32,
    /// Whose filters were open when it came, and took it, a bit each.
    pub watchers: u32,
    /// What they want, see [`details`].
    pub details: u32,
    /// Whom it is told, a bit each, and the most bytes that one of them wants.
    pub told: u32,
    pub bytes: u32,
    pub reserved: u32,
}

/// What is told of a packet beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Head {
    /// When it came, on the monotonic clock.
    pub at_ns: u64,
    /// See [`crate::steps::Steps`].
    pub steps: u64,
    /// Nanoseconds from the first step to the verdict; 0 if nobody wants to know.
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
    /// How many of the first bytes behind this are of the frame as it came; none if nobody wants it.
    pub front_length: u32,
    /// Whom it is told, a bit each.
    pub watchers: u32,
    pub reserved: u32,
}

/// What is told of a packet: the first bytes of the frame as it came, at most [`FRONT`],
/// and right behind them those of it as it left (or ended), as many as the ring tells. The
/// payload behind [`FRONT`] bytes is the same in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Record {
    pub head: Head,
    pub frames: [[u8; FRONT]; 1 + MOST_BYTES / FRONT],
}

/// Maps that only the watching object has. None is pinned or part of the layout.
pub const FILTERS: MapSpec = MapSpec {
    name: "FILTERS",
    kind: MapKind::Array,
    key_bytes: 4,
    value_bytes: size_of::<Filters>() as u32,
    entries: 1,
    flags: MMAPABLE,
};
pub const DRAWS: MapSpec = own("DRAWS", size_of::<Draws>(), 1);
pub const ARRIVAL: MapSpec = own("ARRIVAL", size_of::<Arrival>(), 1);
pub const RECORD: MapSpec = own("RECORD", size_of::<Record>(), 1);
/// What each processor has told to whom, see [`crate::diagnostics::Tally`].
pub const TOLD: MapSpec = own(
    "TOLD",
    size_of::<crate::diagnostics::Tally>(),
    WATCHERS as u32,
);
/// The ring of records, 4 MiB.
pub const WATCHED: MapSpec = MapSpec {
    name: "WATCHED",
    kind: MapKind::RingBuf,
    key_bytes: 0,
    value_bytes: 0,
    entries: 1 << 22,
    flags: 0,
};
/// The plain programs, by [`RareProgram`] and [`of_access`]: in them goes on what nobody
/// watches.
pub const PLAIN: MapSpec = MapSpec {
    name: "PLAIN",
    kind: MapKind::ProgArray,
    key_bytes: 4,
    value_bytes: 4,
    entries: RareProgram::ALL.len() as u32 + 3,
    flags: 0,
};
pub const MAPS: [&MapSpec; 7] = [&FILTERS, &DRAWS, &ARRIVAL, &RECORD, &TOLD, &WATCHED, &PLAIN];

/// Place in [`PLAIN`] of the program with the access lists for frames that come in by `entry`.
#[inline(always)]
#[must_use]
pub const fn of_access(entry: Entry) -> u32 {
    RareProgram::ALL.len() as u32 + entry as u32
}

const fn own(name: &'static str, bytes: usize, entries: u32) -> MapSpec {
    MapSpec {
        name,
        kind: MapKind::PerCpuArray,
        key_bytes: 4,
        value_bytes: bytes as u32,
        entries,
        flags: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{Draws, Ends, Filter, details};

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

    #[test]
    fn a_flow_is_taken_both_ways_or_not_at_all_and_one_of_so_many_is() {
        let tenth = Filter {
            flows_of: 10,
            ..Filter::default()
        };
        let mut taken = 0;
        for port in 0..10_000_u16 {
            let out = (
                udp((HOME, port), (SERVER, 53)),
                udp((POOL, 9), (SERVER, 53)),
            );
            let back = (
                udp((SERVER, 53), (POOL, 9)),
                udp((SERVER, 53), (HOME, port)),
            );
            let first = (out.0, out.0);
            let is_taken = tenth.has_flow(&out.0, &out.1);
            assert_eq!(is_taken, tenth.has_flow(&back.0, &back.1), "port {port}");
            assert_eq!(is_taken, tenth.has_flow(&first.0, &first.1), "punted");
            taken += u32::from(is_taken);
        }
        assert!((900..1100).contains(&taken), "{taken} of 10,000");
    }

    /// Which of the next packets each watcher takes.
    fn taken(
        draws: &mut Draws,
        filters: &[Filter],
        generation: u64,
        packets: u64,
    ) -> Vec<Vec<u64>> {
        let mut taken = vec![Vec::new(); filters.len()];
        for packet in 0..packets {
            if !draws.is_due(generation) {
                continue;
            }
            let is_new = draws.generation != generation;
            (draws.generation, draws.next) = (generation, u64::MAX);
            for (number, filter) in filters.iter().enumerate() {
                let chance = (packet as u32 + number as u32).wrapping_mul(0x9e37_79b9);
                if draws.takes(number, filter, is_new, chance) {
                    taken[number].push(packet);
                }
            }
        }
        taken
    }

    const fn one_of(packets_of: u32) -> Filter {
        Filter {
            until_ns: 0,
            inside: 0,
            inside_mask: 0,
            outside: 0,
            outside_mask: 0,
            inside_port: 0,
            outside_port: 0,
            protocol: 0,
            per_second: 0,
            bytes: 0,
            packets_of,
            flows_of: 0,
            seed: 0,
            details: 0,
        }
    }

    #[test]
    fn each_watcher_has_his_share_of_the_packets_and_nobody_is_asked_of_the_others() {
        let mut draws = Draws::default();
        assert_eq!(taken(&mut draws, &[], 1, 10), Vec::<Vec<u64>>::new());
        assert!(!draws.is_due(1), "nobody watches");
        let filters = [one_of(10), one_of(1000), one_of(4)];
        for (number, packets) in taken(&mut draws, &filters, 2, 100_000).iter().enumerate() {
            let expected = 100_000 / u64::from(filters[number].packets_of);
            let found = packets.len() as u64;
            assert!(
                (expected * 8 / 10..expected * 12 / 10).contains(&found),
                "{found}, not {expected}"
            );
            let most = 2 * u64::from(filters[number].packets_of);
            let gaps = packets.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(gaps.clone().all(|gap| gap < most), "a sample without end");
            assert!(gaps.clone().min() < gaps.max(), "not by chance");
        }
        // A new filter in the place of a rare one does not wait for what that one had drawn.
        let all = [one_of(1_000_000), one_of(0)];
        assert_eq!(taken(&mut draws, &all, 3, 5)[1], [0, 1, 2, 3, 4]);
        assert_eq!(taken(&mut draws, &[one_of(1)], 4, 3)[0], [0, 1, 2]);
        assert_eq!(taken(&mut draws, &[], 5, 10), Vec::<Vec<u64>>::new());
    }

    #[test]
    fn who_is_told_of_any_packet_needs_no_ends_and_who_asks_for_some_does() {
        let any = one_of(10);
        assert_eq!(any.with_ends().details, 0);
        assert!(any.fits(&Ends::default(), &Ends::default(), 0));
        for (sentence, filter) in [
            (
                "a subscriber",
                Filter {
                    inside_mask: 1,
                    ..any
                },
            ),
            (
                "a server",
                Filter {
                    outside_mask: 1,
                    ..any
                },
            ),
            (
                "his port",
                Filter {
                    inside_port: 1,
                    ..any
                },
            ),
            (
                "its port",
                Filter {
                    outside_port: 1,
                    ..any
                },
            ),
            (
                "a protocol",
                Filter {
                    protocol: 17,
                    ..any
                },
            ),
            ("some flows", Filter { flows_of: 2, ..any }),
        ] {
            assert_eq!(filter.with_ends().details, details::ENDS, "{sentence}");
        }
    }

    #[test]
    fn a_gap_is_never_none_and_less_than_twice_the_mean() {
        for (of, chance, gap) in [
            (0, u32::MAX, 1),
            (1, u32::MAX, 1),
            (2, 0, 1),
            (2, u32::MAX, 3),
            (10, 0, 1),
            (10, u32::MAX, 19),
            (10, 1 << 31, 10),
            (1_000_000, u32::MAX, 1_999_999),
        ] {
            assert_eq!(one_of(of).gap(chance), gap, "one of {of}, chance {chance}");
        }
    }

    #[test]
    fn a_filter_is_open_until_its_time() {
        let filter = Filter {
            until_ns: 100,
            ..Filter::default()
        };
        assert!(filter.is_open(100) && !filter.is_open(101));
    }
}
