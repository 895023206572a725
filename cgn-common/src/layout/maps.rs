//! Every map: its kind, its sizes, its name.

use super::Features;
use super::{
    AWAITED_SHIFT, Access, BlockEntry, Datagram, External, FragmentKey, FurtherBlocks, Hits, Line,
    Link, Newcomers, NewcomersIpv6, NextHopEntry, PAGES, Page, Punts, Quota, ROUTES_PER_LINE,
    RealmLine, RouteLine, Scattering, Session, SessionKey, Settings, Side, Subscriber, Unsolicited,
    VlanRole,
};
use crate::path::Entry;
use crate::verdict::Reason;
use crate::word::Word;

/// Kinds of BPF maps used here, with their numbers in `enum bpf_map_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MapKind {
    Hash = 1,
    Array = 2,
    ProgArray = 3,
    PerCpuArray = 6,
    LruHash = 9,
    XskMap = 17,
    DevMap = 14,
    RingBuf = 27,
}

/// `BPF_F_MMAPABLE`: user space maps the table into its memory.
pub const MMAPABLE: u32 = 1 << 10;

/// What a map must look like; `entries` is the default, overridden at load
/// where the configuration decides.
#[derive(Clone, Copy, Debug)]
pub struct MapSpec {
    pub name: &'static str,
    pub kind: MapKind,
    pub key_bytes: u32,
    pub value_bytes: u32,
    pub entries: u32,
    pub flags: u32,
}

const fn array(name: &'static str, value_bytes: usize, entries: u32) -> MapSpec {
    MapSpec {
        name,
        kind: MapKind::Array,
        key_bytes: 4,
        value_bytes: value_bytes as u32,
        entries,
        flags: MMAPABLE,
    }
}

const fn other(name: &'static str, kind: MapKind, key: u32, value: usize, entries: u32) -> MapSpec {
    MapSpec {
        name,
        kind,
        key_bytes: key,
        value_bytes: value as u32,
        entries,
        flags: 0,
    }
}

/// Every map of the object. `cgn-ebpf/src/maps.rs` declares them from this.
pub const MAPS: &[MapSpec] = &[
    SETTINGS,
    INSIDE_PAGES,
    OUTSIDE_PAGES,
    SUBSCRIBERS,
    FURTHER_BLOCKS,
    QUOTAS,
    EXTERNALS,
    SCATTERINGS,
    UNSOLICITED,
    BLOCKS,
    SLABS,
    ROUTES,
    NEXT_HOPS,
    EXACT_ROUTES,
    LINKS,
    VLANS,
    REALMS,
    COUNTERS,
    REALM_DROPS,
    DEVICES,
    SOCKETS,
    EVENTS,
    KERNEL_HOP,
    CLOCK,
    PUNTS,
    RARE,
    SESSIONS,
    ANSWERS,
    HANDED,
    FRAGMENTS,
    FRAGMENT_SHARES,
    AWAITED,
    IDS,
    ACCESS,
    PREFIXES,
    HITS,
    NEWCOMERS,
    NEWCOMERS_IPV6,
    FLOWS_IPV6,
];

pub const SETTINGS: MapSpec = array("SETTINGS", size_of::<Settings>(), 1);
pub const INSIDE_PAGES: MapSpec = array("INSIDE_PAGES", size_of::<Page>(), PAGES);
pub const OUTSIDE_PAGES: MapSpec = array("OUTSIDE_PAGES", size_of::<Page>(), PAGES);
pub const SUBSCRIBERS: MapSpec = array("SUBSCRIBERS", size_of::<Subscriber>(), 1);
/// At the same index as in `SUBSCRIBERS`.
pub const FURTHER_BLOCKS: MapSpec = array("FURTHER_BLOCKS", size_of::<FurtherBlocks>(), 1);
/// As many as `SUBSCRIBERS`.
pub const QUOTAS: MapSpec = array("QUOTAS", size_of::<Quota>(), 1);
pub const EXTERNALS: MapSpec = array("EXTERNALS", size_of::<External>(), 1);
/// As many as `EXTERNALS`; one where no pool is scattered.
pub const SCATTERINGS: MapSpec = array("SCATTERINGS", size_of::<Scattering>(), 1);
/// As many as `EXTERNALS`, at the same index.
pub const UNSOLICITED: MapSpec = array("UNSOLICITED", size_of::<Unsolicited>(), 1);
pub const BLOCKS: MapSpec = array("BLOCKS", size_of::<BlockEntry>(), 1);
pub const SLABS: MapSpec = array("SLABS", size_of::<Line>(), 1);
pub const ROUTES: MapSpec = array("ROUTES", size_of::<RouteLine>(), 65_536 / ROUTES_PER_LINE);
pub const NEXT_HOPS: MapSpec = array("NEXT_HOPS", size_of::<NextHopEntry>(), 65_536);
pub const EXACT_ROUTES: MapSpec = other("EXACT_ROUTES", MapKind::Hash, 4, 4, 65_536);
pub const LINKS: MapSpec = other("LINKS", MapKind::Hash, 4, size_of::<Link>(), 1024);
pub const VLANS: MapSpec = other("VLANS", MapKind::Hash, 8, size_of::<VlanRole>(), 4096);
/// Keys of subscribers: see [`crate::realm`].
pub const REALMS: MapSpec = array("REALMS", size_of::<RealmLine>(), 1);
pub const COUNTERS: MapSpec = other(
    "COUNTERS",
    MapKind::PerCpuArray,
    4,
    size_of::<crate::counters::Counters>(),
    1,
);
/// Drops by number of the realm, on each processor: an element for each where there are several.
pub const REALM_DROPS: MapSpec = other(
    "REALM_DROPS",
    MapKind::PerCpuArray,
    4,
    size_of::<crate::counters::RealmDrops>(),
    1,
);
/// Each processor's last answer of `bpf_fib_lookup`.
pub const KERNEL_HOP: MapSpec = other(
    "KERNEL_HOP",
    MapKind::PerCpuArray,
    4,
    size_of::<NextHopEntry>(),
    1,
);
/// Each processor's last reading of the clock: jiffies, and the coarse
/// monotonic time in nanoseconds that belongs to them.
pub const CLOCK: MapSpec = other("CLOCK", MapKind::PerCpuArray, 4, size_of::<[u64; 2]>(), 1);
/// What was punted lately for want of a route or a neighbour: see [`crate::punts`].
pub const PUNTS: MapSpec = array("PUNTS", size_of::<Punts>(), crate::punts::SLOTS);
/// Who was told lately that its packet ended: see [`crate::answers`].
pub const ANSWERS: MapSpec = array("ANSWERS", size_of::<Punts>(), crate::answers::SLOTS);
/// What a program hands over to `cgn_refused` when it jumps there: see [`Handed`].
pub const HANDED: MapSpec = other("HANDED", MapKind::PerCpuArray, 4, size_of::<u64>(), 1);
/// Sessions beside a mapping's first one. Preallocated, and it never evicts.
pub const SESSIONS: MapSpec = other(
    "SESSIONS",
    MapKind::Hash,
    size_of::<SessionKey>() as u32,
    size_of::<Session>(),
    65_536,
);
/// Datagrams whose first fragment was translated. Full, it forgets those that no
/// fragment came of for the longest time.
pub const FRAGMENTS: MapSpec = other(
    "FRAGMENTS",
    MapKind::LruHash,
    size_of::<FragmentKey>() as u32,
    size_of::<Datagram>(),
    65_536,
);
/// What fragments may ask for in a tick: see [`crate::nat::fragment`].
pub const FRAGMENT_SHARES: MapSpec = array(
    "FRAGMENT_SHARES",
    size_of::<Punts>(),
    crate::nat::fragment::SHARES,
);
/// Ticks until which first fragments are awaited in the slow path, by
/// [`FragmentKey::awaited_at`].
pub const AWAITED: MapSpec = array("AWAITED", size_of::<Word>(), 1 << AWAITED_SHIFT);
/// Counters of identifications.
pub const IDS: MapSpec = array(
    "IDS",
    size_of::<Word>(),
    1 << crate::nat::fragment::IDS_SHIFT,
);
/// What rules of access lists say. Made anew whenever programs are, as is `PREFIXES`.
pub const ACCESS: MapSpec = array("ACCESS", size_of::<Access>(), 1);
/// The addresses that they are for.
pub const PREFIXES: MapSpec = array("PREFIXES", size_of::<Line>(), 1);
/// How often each rule held, on each processor.
pub const HITS: MapSpec = other("HITS", MapKind::PerCpuArray, 4, size_of::<Hits>(), 1);
/// New sessions by the prefix of their source: see [`crate::nat::throttle`].
pub const NEWCOMERS: MapSpec = array(
    "NEWCOMERS",
    size_of::<Newcomers>(),
    crate::nat::throttle::CELLS,
);
/// The same in IPv6: see [`crate::ipv6::prefixes`].
pub const NEWCOMERS_IPV6: MapSpec = array(
    "NEWCOMERS_IPV6",
    size_of::<NewcomersIpv6>(),
    crate::ipv6::prefixes::CELLS,
);
/// Flows of IPv6 that are known: see [`crate::ipv6::flows`].
pub const FLOWS_IPV6: MapSpec = array("FLOWS_IPV6", size_of::<Word>(), crate::ipv6::flows::WORDS);
/// Interfaces to redirect to; a value is an ifindex and a program (none).
pub const DEVICES: MapSpec = other("DEVICES", MapKind::DevMap, 4, 8, 64);
/// AF_XDP sockets by `socket_base + receive queue`.
pub const SOCKETS: MapSpec = other(
    "SOCKETS",
    MapKind::XskMap,
    4,
    4,
    SOCKET_DEVICES * QUEUES_PER_DEVICE,
);
/// Ring of [`crate::event::Event`] records; `entries` is its size in bytes.
pub const EVENTS: MapSpec = other("EVENTS", MapKind::RingBuf, 0, 0, 1 << 18);

/// The programs for rare packets, by [`RareProgram`]. Empty once nobody holds it, so
/// its pin keeps rare packets going while the daemon is away.
pub const RARE: MapSpec = other(
    "RARE",
    MapKind::ProgArray,
    4,
    4,
    RareProgram::ALL.len() as u32,
);

/// Programs that others go on in, by their place in `RARE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RareProgram {
    Inside = 0,
    Outside = 1,
    FragmentInside = 2,
    FragmentOutside = 3,
    /// Packets that end here, and whose senders may be told.
    Refused = 4,
    /// Packets from inside to a pool address.
    Hairpin = 5,
    /// The translator, behind the access lists.
    TranslateInside = 6,
    TranslateOutside = 7,
    TranslateVlan = 8,
    /// Packets that a rule lets through untranslated.
    Bypass = 9,
    /// Packets that may be of Teredo, in front of the translator.
    Inspect = 10,
    /// Packets that are not IPv4, where prefixes of IPv6 are limited.
    Ipv6 = 11,
}

impl RareProgram {
    pub const ALL: [Self; 12] = [
        Self::Inside,
        Self::Outside,
        Self::FragmentInside,
        Self::FragmentOutside,
        Self::Refused,
        Self::Hairpin,
        Self::TranslateInside,
        Self::TranslateOutside,
        Self::TranslateVlan,
        Self::Bypass,
        Self::Inspect,
        Self::Ipv6,
    ];

    /// Those that packets may jump to where these features are on.
    pub fn needed(features: Features) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |program| match program {
            Self::TranslateInside
            | Self::TranslateOutside
            | Self::TranslateVlan
            | Self::Bypass
            | Self::Inspect => features.has(Features::ACCESS),
            Self::Ipv6 => features.has(Features::THROTTLE_IPV6),
            _ => true,
        })
    }

    /// The translator for frames that came in by `entry`.
    #[inline(always)]
    #[must_use]
    pub const fn translator(entry: Entry) -> Self {
        match entry {
            Entry::Inside => Self::TranslateInside,
            Entry::Outside => Self::TranslateOutside,
            Entry::Vlan => Self::TranslateVlan,
        }
    }

    /// Where a packet of this side goes on that is rare for this reason.
    #[inline(always)]
    #[must_use]
    pub const fn of(side: Side, reason: Reason) -> Self {
        let is_fragment = matches!(reason, Reason::Fragment | Reason::Oversize);
        match side {
            Side::Inside if is_fragment => Self::FragmentInside,
            Side::Inside if matches!(reason, Reason::Hairpin) => Self::Hairpin,
            Side::Outside if is_fragment => Self::FragmentOutside,
            Side::Inside => Self::Inside,
            Side::Outside => Self::Outside,
        }
    }

    /// Name of the program in the object.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inside => "cgn_rare_inside",
            Self::Outside => "cgn_rare_outside",
            Self::Refused => "cgn_refused",
            Self::Hairpin => "cgn_hairpin",
            Self::FragmentInside => "cgn_fragment_inside",
            Self::FragmentOutside => "cgn_fragment_outside",
            Self::TranslateInside => "cgn_inside",
            Self::TranslateOutside => "cgn_outside",
            Self::TranslateVlan => "cgn_vlan",
            Self::Bypass => "cgn_bypass",
            Self::Inspect => "cgn_inspect",
            Self::Ipv6 => "cgn_ipv6",
        }
    }
}

/// Element of `HANDED`: bits 0-7 the reason for which a packet ends, 8 it came from
/// outside, 9-15 the program of [`RareProgram`] where it goes on, 16-23 the realm that it bypasses the
/// translation for. Whoever jumps writes it, on the same
/// processor, right before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handed(pub u64);

impl Handed {
    #[inline(always)]
    #[must_use]
    pub const fn new(side: Side, reason: Reason) -> Self {
        let outside = matches!(side, Side::Outside) as u64;
        Self(reason as u64 | outside << 8)
    }
    #[inline(always)]
    #[must_use]
    pub const fn side(self) -> Side {
        if self.0 & 1 << 8 == 0 {
            Side::Inside
        } else {
            Side::Outside
        }
    }
    /// Of a packet of this realm that goes through untranslated.
    #[inline(always)]
    #[must_use]
    pub const fn bypassing(side: Side, realm: u8) -> Self {
        Self(Self::new(side, Reason::Internal).0 | (realm as u64) << 16)
    }
    #[inline(always)]
    #[must_use]
    pub const fn realm(self) -> u8 {
        (self.0 >> 16) as u8
    }
    /// Of a packet that goes on in this program.
    #[inline(always)]
    #[must_use]
    pub const fn on_the_way_to(side: Side, program: RareProgram) -> Self {
        Self(Self::new(side, Reason::Internal).0 | (program as u64) << 9)
    }
    /// Where the packet goes on.
    #[inline(always)]
    #[must_use]
    pub const fn program(self) -> u32 {
        (self.0 >> 9) as u32 & 0x7f
    }
    /// Number of the reason.
    #[inline(always)]
    #[must_use]
    pub const fn reason(self) -> u8 {
        self.0 as u8
    }
}

/// Devices that can have slow-path sockets.
pub const SOCKET_DEVICES: u32 = 16;
/// Receive queues of one device that can have a slow-path socket.
pub const QUEUES_PER_DEVICE: u32 = 64;
