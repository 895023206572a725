//! THE tables: every map, what its keys and values are, bit by bit.
//!
//! User space and XDP share this memory, so each struct has its size and
//! alignment asserted here, and a test compares this file with the BTF of the
//! built object. Change anything, and [`LAYOUT_VERSION`] must change, too.
//!
//! Addresses and ports are in host order in every table unless said otherwise.

use bytemuck::{Pod, Zeroable};

use crate::limits::{MAX_BLOCKS_PER_SUBSCRIBER, SLOTS_PER_BUCKET};
use crate::verdict::Protocol;
use crate::word::Word;

/// Version of this file. Pinned tables of another version are not adopted.
pub const LAYOUT_VERSION: u32 = 2;

/// Kinds of BPF maps used here, with their numbers in `enum bpf_map_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MapKind {
    Hash = 1,
    Array = 2,
    PerCpuArray = 6,
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
    EXTERNALS,
    BLOCKS,
    SLABS,
    ROUTES,
    NEXT_HOPS,
    EXACT_ROUTES,
    LINKS,
    VLANS,
    COUNTERS,
    DEVICES,
    SOCKETS,
    EVENTS,
    KERNEL_HOP,
    CLOCK,
    PUNTS,
];

pub const SETTINGS: MapSpec = array("SETTINGS", size_of::<Settings>(), 1);
pub const INSIDE_PAGES: MapSpec = array("INSIDE_PAGES", size_of::<Page>(), PAGES);
pub const OUTSIDE_PAGES: MapSpec = array("OUTSIDE_PAGES", size_of::<Page>(), PAGES);
pub const SUBSCRIBERS: MapSpec = array("SUBSCRIBERS", size_of::<Subscriber>(), 1);
pub const EXTERNALS: MapSpec = array("EXTERNALS", size_of::<External>(), 1);
pub const BLOCKS: MapSpec = array("BLOCKS", size_of::<BlockEntry>(), 1);
pub const SLABS: MapSpec = array("SLABS", size_of::<Line>(), 1);
pub const ROUTES: MapSpec = array("ROUTES", size_of::<RouteLine>(), 65_536 / ROUTES_PER_LINE);
pub const NEXT_HOPS: MapSpec = array("NEXT_HOPS", size_of::<NextHopEntry>(), 65_536);
pub const EXACT_ROUTES: MapSpec = other("EXACT_ROUTES", MapKind::Hash, 4, 4, 65_536);
pub const LINKS: MapSpec = other("LINKS", MapKind::Hash, 4, size_of::<Link>(), 64);
pub const VLANS: MapSpec = other("VLANS", MapKind::Hash, 8, size_of::<VlanRole>(), 4096);
pub const COUNTERS: MapSpec = other(
    "COUNTERS",
    MapKind::PerCpuArray,
    4,
    size_of::<crate::counters::Counters>(),
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
/// Interfaces to redirect to; a value is an ifindex and a program (none).
pub const DEVICES: MapSpec = other("DEVICES", MapKind::DevMap, 4, 8, 64);
/// AF_XDP sockets by `socket_base + receive queue`.
pub const SOCKETS: MapSpec = other("SOCKETS", MapKind::XskMap, 4, 4, 2 * QUEUES_PER_DEVICE);
/// Ring of [`crate::event::Event`] records; `entries` is its size in bytes.
pub const EVENTS: MapSpec = other("EVENTS", MapKind::RingBuf, 0, 0, 1 << 18);

/// Receive queues of one device that can have a slow-path socket.
pub const QUEUES_PER_DEVICE: u32 = 64;

/// One element of `SETTINGS`: what user space tells every packet.
#[repr(C, align(64))]
pub struct Settings {
    /// [`LAYOUT_VERSION`] in the low half, a hash of the table sizes in the high half.
    pub layout: Word,
    /// Nanoseconds added to the monotonic clock; tests move time with it.
    pub clock_offset_ns: Word,
    /// 0; for later settings.
    pub reserved: [Word; 6],
}

/// Directory pages: an address's upper 20 bits choose the page.
pub const PAGES: u32 = 1 << 20;
/// Addresses in a page, as a shift.
pub const PAGE_SHIFT: u32 = 12;

/// Which of 4096 neighbouring addresses have an entry in the table behind the
/// directory (`SUBSCRIBERS` or `EXTERNALS`), and where. All zero: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Page {
    /// Index in the table of the address at offset `first`.
    pub base: u32,
    /// First offset (0..4096) in the page that has an entry.
    pub first: u16,
    /// One more than the last such offset.
    pub end: u16,
}

/// One external address: where its rows in `BLOCKS` stand. Bits 0-31 row of
/// block 0, 32-47 blocks of the address, 48-55 log2 of the ports of a block,
/// 56-63 pool. Zero: not a pool address.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct External(pub Word);

/// An [`External`], unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows(pub u64);

impl Rows {
    #[inline(always)]
    #[must_use]
    pub const fn new(first_row: u32, blocks: u16, block_shift: u8, pool: u8) -> Self {
        Self(
            first_row as u64
                | (blocks as u64) << 32
                | (block_shift as u64) << 48
                | (pool as u64) << 56,
        )
    }
    /// Row in `BLOCKS` of the address's block 0.
    #[inline(always)]
    #[must_use]
    pub const fn first_row(self) -> u32 {
        self.0 as u32
    }
    /// Blocks of the address.
    #[inline(always)]
    #[must_use]
    pub const fn blocks(self) -> u32 {
        (self.0 >> 32) as u32 & 0xffff
    }
    /// log2 of the ports of a block.
    #[inline(always)]
    #[must_use]
    pub const fn block_shift(self) -> u32 {
        (self.0 >> 48) as u32 & 0xff
    }
    #[inline(always)]
    #[must_use]
    pub const fn pool(self) -> u8 {
        (self.0 >> 56) as u8
    }
    /// False for an address that is in no pool.
    #[inline(always)]
    #[must_use]
    pub const fn is_pool_address(self) -> bool {
        self.0 != 0
    }
}

/// One subscriber: exactly one cache line, all that an outbound packet of an
/// established flow needs to find its slot and its external address.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Subscriber {
    /// See [`SubscriberHead`].
    pub head: Word,
    /// Random secret of the hash that places mappings in blocks. Each
    /// subscriber has its own, so that one who learns his own port choice
    /// learns nothing of another's (RFC 6056 section 4).
    pub secret: Word,
    /// See [`OwnedBlock`]; the first `block_count` are valid.
    pub blocks: [Word; MAX_BLOCKS_PER_SUBSCRIBER],
}

/// First word of a [`Subscriber`].
/// Bits 0-31 external address, 32-39 flags, 40-47 block count, 48-55 log2 of
/// the ports of a block, 56-63 pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriberHead(pub u64);

impl SubscriberHead {
    /// The address is in a subscriber prefix of the configuration.
    pub const VALID: u64 = 1 << 32;
    /// No further block can be had at the moment: refuse in the fast path.
    pub const REFUSED: u64 = 1 << 33;

    #[inline(always)]
    #[must_use]
    pub const fn new(external: u32, blocks: u8, block_shift: u8, pool: u8, flags: u64) -> Self {
        Self(
            external as u64
                | flags
                | (blocks as u64) << 40
                | (block_shift as u64) << 48
                | (pool as u64) << 56,
        )
    }
    #[inline(always)]
    #[must_use]
    pub const fn external(self) -> u32 {
        self.0 as u32
    }
    #[inline(always)]
    #[must_use]
    pub const fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }
    #[inline(always)]
    #[must_use]
    pub const fn block_count(self) -> u32 {
        (self.0 >> 40) as u32 & 0xff
    }
    #[inline(always)]
    #[must_use]
    pub const fn block_shift(self) -> u32 {
        (self.0 >> 48) as u32 & 0xff
    }
    #[inline(always)]
    #[must_use]
    pub const fn pool(self) -> u8 {
        (self.0 >> 56) as u8
    }
}

/// A block in its subscriber's line: bits 0-31 first line of its slab in
/// `SLABS` (0: none), 32-47 first port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedBlock(pub u64);

impl OwnedBlock {
    #[inline(always)]
    #[must_use]
    pub const fn new(slab_line: u32, first_port: u16) -> Self {
        Self(slab_line as u64 | (first_port as u64) << 32)
    }
    #[inline(always)]
    #[must_use]
    pub const fn slab_line(self) -> u32 {
        self.0 as u32
    }
    #[inline(always)]
    #[must_use]
    pub const fn first_port(self) -> u16 {
        (self.0 >> 32) as u16
    }
}

/// One element of `BLOCKS`: who has this block of this external address.
/// Bits 0-31 first line of its slab in `SLABS` (0: nobody has it), 32-63
/// inside address of the owner.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct BlockEntry(pub Word);

impl BlockEntry {
    #[inline(always)]
    #[must_use]
    pub const fn pack(slab_line: u32, inside: u32) -> u64 {
        slab_line as u64 | (inside as u64) << 32
    }
    /// Slab line (0: nobody has the block) and inside address.
    #[inline(always)]
    #[must_use]
    pub fn read(&self) -> (u32, u32) {
        let word = self.0.load();
        (word as u32, (word >> 32) as u32)
    }
}

/// One cache line of `SLABS`. A slab serves one block: a header line, then the
/// buckets of TCP, UDP and ICMP, one after the other.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Line(pub [Word; 8]);

impl Line {
    /// First word of slot `at` of a bucket, see [`SlotKey`].
    #[inline(always)]
    #[must_use]
    pub const fn key_at(&self, at: u32) -> &Word {
        &self.0[(2 * at as usize) & 7]
    }
    /// Second word of slot `at` of a bucket, see [`peer`].
    #[inline(always)]
    #[must_use]
    pub const fn peer_at(&self, at: u32) -> &Word {
        &self.0[(2 * at as usize + 1) & 7]
    }
    /// Of a slab's header: whether the block has a free port of `protocol`. A
    /// full block is seen from here, without a look at its slots.
    #[inline(always)]
    #[must_use]
    pub fn has_room(&self, protocol: Protocol, block_shift: u32) -> bool {
        let used = Used(self.0[header::USED].load());
        !used.closed() && used.of(protocol) < 1 << block_shift
    }
}

/// Lines of a slab whose block has `1 << block_shift` ports.
#[must_use]
pub const fn slab_lines(block_shift: u32) -> u32 {
    1 + 3 * buckets(block_shift)
}

/// Buckets of one protocol in a slab.
#[inline(always)]
#[must_use]
pub const fn buckets(block_shift: u32) -> u32 {
    (1 << block_shift) / SLOTS_PER_BUCKET
}

/// First bucket line of `protocol` in the slab that begins at `slab_line`.
#[inline(always)]
#[must_use]
pub const fn bucket_line(slab_line: u32, protocol: Protocol, block_shift: u32) -> u32 {
    slab_line + 1 + (protocol as u32) * buckets(block_shift)
}

/// Words of a slab's header line.
pub mod header {
    /// Ports in use (mappings and ports in hold), see [`super::Used`].
    pub const USED: usize = 0;
    /// Bits 0-31 inside address, 32-63 external address.
    pub const OWNER: usize = 1;
    /// Bits 0-15 first port, 16-23 log2 of ports, 24-31 pool, 32-63 subscriber index.
    pub const BLOCK: usize = 2;
    /// Unix time of the allocation in milliseconds.
    pub const ALLOCATED_MS: usize = 3;
    /// Sequence number of the allocation's log record.
    pub const LOG_SEQUENCE: usize = 4;
    /// 1 when the next block has been requested (fill watermark).
    pub const REQUESTED: usize = 5;
    /// Mappings at which the next block is requested.
    pub const WATERMARK: usize = 6;
}

/// First word of a slab header: three counters of 20 bits, one a protocol,
/// and a bit that closes the block for new mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used(pub u64);

impl Used {
    /// No new mapping may be opened in this block.
    pub const CLOSED: u64 = 1 << 63;

    /// One port of `protocol`.
    #[inline(always)]
    #[must_use]
    pub const fn one(protocol: Protocol) -> u64 {
        1 << (20 * protocol as u32)
    }
    #[inline(always)]
    #[must_use]
    pub const fn of(self, protocol: Protocol) -> u32 {
        (self.0 >> (20 * protocol as u32)) as u32 & 0xf_ffff
    }
    #[inline(always)]
    #[must_use]
    pub const fn closed(self) -> bool {
        self.0 & Self::CLOSED != 0
    }
}

/// State of a slot, the lowest 4 bits of its state and flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SlotState {
    Free = 0,
    /// Claimed, not yet known to be the only mapping of its inside port.
    Tentative = 1,
    /// The mapping ended; the port may not be used again yet (RFC 6888 REQ-8).
    Held = 2,
    /// Mapping of UDP or ICMP.
    Open = 3,
    /// TCP, RFC 7857 section 2: a SYN from inside, no answer yet.
    TcpInit = 4,
    TcpEstablished = 5,
    /// FIN seen from inside.
    TcpInsideFin = 6,
    /// FIN seen from outside.
    TcpOutsideFin = 7,
    /// FIN seen from both.
    TcpClosing = 8,
    /// After RST, or mid-stream packets without a SYN.
    TcpTransitory = 9,
}

impl SlotState {
    /// From the lowest 4 bits of `bits`; unknown values are free.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0xf {
            1 => Self::Tentative,
            2 => Self::Held,
            3 => Self::Open,
            4 => Self::TcpInit,
            5 => Self::TcpEstablished,
            6 => Self::TcpInsideFin,
            7 => Self::TcpOutsideFin,
            8 => Self::TcpClosing,
            9 => Self::TcpTransitory,
            _ => Self::Free,
        }
    }
    /// States from here on are mappings that translate packets.
    pub const FIRST_LIVE: u64 = Self::Open as u64;
    /// Name in `cgn show mappings`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Tentative => "tentative",
            Self::Held => "held",
            Self::Open => "open",
            Self::TcpInit => "init",
            Self::TcpEstablished => "established",
            Self::TcpInsideFin => "inside_fin",
            Self::TcpOutsideFin => "outside_fin",
            Self::TcpClosing => "closing",
            Self::TcpTransitory => "transitory",
        }
    }
}

/// First word of a slot: bits 0-31 last seen (ticks), 32-35 [`SlotState`],
/// 36-47 flags, 48-63 inside port. Zero is a free slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotKey(pub u64);

impl SlotKey {
    /// More than one remote endpoint uses this TCP mapping, so the state of
    /// the first session says nothing about the others.
    pub const SHARED: u64 = 1 << 36;
    const STATE: u64 = 0xf << 32;

    #[inline(always)]
    #[must_use]
    pub const fn new(inside_port: u16, state: SlotState, tick: u32) -> Self {
        Self((inside_port as u64) << 48 | (state as u64) << 32 | tick as u64)
    }
    #[inline(always)]
    #[must_use]
    pub const fn inside_port(self) -> u16 {
        (self.0 >> 48) as u16
    }
    /// Number of the [`SlotState`].
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> u64 {
        (self.0 >> 32) & 0xf
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_live(self) -> bool {
        self.state() >= SlotState::FIRST_LIVE
    }
    /// 1 if this is the live mapping of `inside_port`, else 0; without a branch.
    #[inline(always)]
    #[must_use]
    pub const fn is_live_mapping_of(self, inside_port: u16) -> u64 {
        let live = (self.state() + (0x10 - SlotState::FIRST_LIVE)) >> 4;
        self.is_of(inside_port) & live
    }
    /// 1 if this is the mapping of `inside_port`, tentative or live, else 0.
    #[inline(always)]
    #[must_use]
    pub const fn is_claim_to(self, inside_port: u16) -> u64 {
        const HELD: u64 = SlotState::Held as u64;
        let is_claim = self.state() != SlotState::Free as u64 && self.state() != HELD;
        self.is_of(inside_port) & is_claim as u64
    }
    /// 1 if the inside port is this one, else 0.
    #[inline(always)]
    const fn is_of(self, inside_port: u16) -> u64 {
        let differs = (self.0 >> 48) ^ inside_port as u64;
        differs.wrapping_sub(1) >> 63
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_free(self) -> bool {
        self.0 == 0
    }
    #[inline(always)]
    #[must_use]
    pub const fn last_seen(self) -> u32 {
        self.0 as u32
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_shared(self) -> bool {
        self.0 & Self::SHARED != 0
    }
    /// A tentative claim that another processor removed, until its owner (or
    /// the sweep, like any slot in hold) frees it.
    #[inline(always)]
    #[must_use]
    pub const fn removed(self) -> Self {
        self.with(SlotState::Held as u64, self.last_seen())
    }
    /// The same mapping with another state (as a number) and last-seen tick.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, state: u64, tick: u32) -> Self {
        Self(self.0 & !(Self::STATE | 0xffff_ffff) | state << 32 | tick as u64)
    }
}

/// Second word of a slot: bits 0-31 remote address, 32-47 remote port of the
/// first session. Bits 48-63 are the bucket's: in the first slot the number of
/// mappings that wanted this bucket, or one before it, and were placed further
/// on; in the others a [`Detour`].
pub mod peer {
    /// Remote endpoint part.
    pub const REMOTE: u64 = 0xffff_ffff_ffff;
    /// One mapping more that was placed further on.
    pub const ONE_OVERFLOW: u64 = 1 << 48;

    /// Remote endpoint as a word.
    #[inline(always)]
    #[must_use]
    pub const fn remote(address: u32, port: u16) -> u64 {
        address as u64 | (port as u64) << 32
    }
    /// Mappings that wanted this bucket and were placed further on.
    #[inline(always)]
    #[must_use]
    pub const fn overflow(word: u64) -> u64 {
        word >> 48
    }
}

/// Where a mapping stands that wanted this bucket: bits 0-9 slot of the block,
/// 10-15 tag of the mapping's hash, all inverted, so that 0 is none. Only a
/// hint that saves the walk: it may be missing, or lead to another mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detour(pub u16);

impl Detour {
    pub const NONE: Self = Self(0);
    const SLOT_BITS: u32 = 10;
    const SHIFT: u32 = 48;

    /// To slot number `slot`; of `tag` only 6 bits count.
    #[inline(always)]
    #[must_use]
    pub const fn new(tag: u32, slot: u32) -> Self {
        Self(!((tag << Self::SLOT_BITS | slot) as u16))
    }
    /// From the second word of a slot that is not the first of its bucket.
    #[inline(always)]
    #[must_use]
    pub const fn of(peer_word: u64) -> Self {
        Self((peer_word >> Self::SHIFT) as u16)
    }
    /// The second word of a slot with this detour in place of its own.
    #[inline(always)]
    #[must_use]
    pub const fn put_into(self, peer_word: u64) -> u64 {
        peer_word & peer::REMOTE | (self.0 as u64) << Self::SHIFT
    }
    #[inline(always)]
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }
    #[inline(always)]
    #[must_use]
    pub const fn tag(self) -> u32 {
        (!self.0) as u32 >> Self::SLOT_BITS
    }
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u32 {
        (!self.0) as u32 & ((1 << Self::SLOT_BITS) - 1)
    }
}
const _: () = assert!(crate::limits::MAX_BLOCK_PORTS <= 1 << Detour::SLOT_BITS);

/// Next hops of 32 neighbouring /16 networks: `ROUTES[address >> 21].0[address >> 16 & 31]`.
/// 0: not all addresses of this /16 have the same next hop; look further.
/// [`ROUTE_ELSEWHERE`] and above are no next hops.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct RouteLine(pub [u16; ROUTES_PER_LINE as usize]);
/// Networks in one [`RouteLine`].
pub const ROUTES_PER_LINE: u32 = 32;

/// In `ROUTES`: all addresses of this /16 are the router's own.
pub const ROUTE_LOCAL: u16 = u16::MAX;
/// In `ROUTES`: none of this /16 has a route that forwards.
pub const ROUTE_NONE: u16 = u16::MAX - 1;
/// In `ROUTES`: all of this /16 is behind interfaces that are not ours. Next
/// hops have smaller numbers.
pub const ROUTE_ELSEWHERE: u16 = u16::MAX - 2;

/// Value in `EXACT_ROUTES` for an address of the router itself.
pub const EXACT_LOCAL: u32 = u32::MAX;

/// Where to send a packet: everything that its new link header needs. Words,
/// because packets read an entry while user space rewrites it.
#[derive(Debug, Default)]
#[repr(C)]
pub struct NextHopEntry(pub [Word; 4]);

/// A [`NextHopEntry`], unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHop {
    pub destination_mac: [u8; 6],
    pub source_mac: [u8; 6],
    /// Interface that carries the frame (never a VLAN device).
    pub ifindex: u32,
    /// Key in `DEVICES`.
    pub device: u16,
    /// Largest IPv4 packet in bytes.
    pub mtu: u16,
    /// [`Side`] as a number; 0: this entry is empty.
    pub side: u8,
    /// VLAN tags to write.
    pub vlan_count: u8,
    /// VLAN ids to write, outermost first.
    pub vlans: [u16; 2],
    /// IPv4 address of the neighbour if its link address is not known; else 0.
    pub waits_for: u32,
}

impl NextHopEntry {
    /// Added to the side of an entry whose link address is not known, so that
    /// no packet takes it for usable.
    pub const UNRESOLVED: u8 = 0x80;

    /// Bytes 0-7 of the link header: destination MAC and the first two of the source's.
    #[inline(always)]
    #[must_use]
    pub fn mac_start(&self) -> u64 {
        self.0[0].load()
    }
    /// Bytes 8-11 of the link header, and the interface that carries the frame.
    #[inline(always)]
    #[must_use]
    pub fn mac_end_and_ifindex(&self) -> (u32, u32) {
        let word = self.0[1].load();
        (word as u32, (word >> 32) as u32)
    }
    /// Key in `DEVICES`.
    #[inline(always)]
    #[must_use]
    pub fn device(&self) -> u16 {
        self.0[2].load() as u16
    }
    /// Largest IPv4 packet in bytes.
    #[inline(always)]
    #[must_use]
    pub fn mtu(&self) -> u16 {
        (self.0[2].load() >> 16) as u16
    }
    /// [`Side`] as a number, with [`Self::UNRESOLVED`]; 0: this entry is empty.
    #[inline(always)]
    #[must_use]
    pub fn side(&self) -> u8 {
        (self.0[2].load() >> 32) as u8
    }
    /// IPv4 address of a neighbour whose link address is not known; else 0.
    #[inline(always)]
    #[must_use]
    pub fn waits_for(&self) -> u32 {
        (self.0[3].load() >> 32) as u32
    }
    /// VLAN tags to write, at most 2.
    #[inline(always)]
    #[must_use]
    pub fn vlan_count(&self) -> u32 {
        (self.0[2].load() >> 40) as u32 & 3
    }
    /// VLAN ids to write, outermost first.
    #[inline(always)]
    #[must_use]
    pub fn vlans(&self) -> [u16; 2] {
        let word = self.0[3].load();
        [word as u16, (word >> 16) as u16]
    }
    /// Everything.
    #[must_use]
    pub fn read(&self) -> NextHop {
        let [a, b, c, d, e, f, g, h] = self.mac_start().to_ne_bytes();
        let (end, ifindex) = self.mac_end_and_ifindex();
        let [i, j, k, l] = end.to_ne_bytes();
        NextHop {
            destination_mac: [a, b, c, d, e, f],
            source_mac: [g, h, i, j, k, l],
            ifindex,
            device: self.device(),
            mtu: self.mtu(),
            side: self.side() & !Self::UNRESOLVED,
            vlan_count: self.vlan_count() as u8,
            vlans: self.vlans(),
            waits_for: self.waits_for(),
        }
    }
    /// Replaces the entry. Only the link addresses of a neighbour ever change
    /// under a number; a packet in that moment may get one of each, and a
    /// switch then drops it.
    pub fn write(&self, hop: &NextHop) {
        let unresolved = if hop.waits_for == 0 {
            0
        } else {
            Self::UNRESOLVED
        };
        let last = u64::from(hop.device)
            | u64::from(hop.mtu) << 16
            | u64::from(hop.side | unresolved) << 32
            | u64::from(hop.vlan_count & 3) << 40;
        if unresolved != 0 {
            // Before the link addresses go: no packet shall take the rest for good.
            self.0[2].store(last);
        }
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (hop.destination_mac, hop.source_mac);
        self.0[0].store(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
        let end = u64::from(u32::from_ne_bytes([i, j, k, l]));
        self.0[1].store(end | u64::from(hop.ifindex) << 32);
        let vlans = u64::from(hop.vlans[0]) | u64::from(hop.vlans[1]) << 16;
        self.0[3].store(vlans | u64::from(hop.waits_for) << 32);
        self.0[2].store(last);
    }
}

/// One element of `PUNTS`: bits 0-31 punts in the tick that is in bits 32-63.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Punts(pub Word);

/// Which network an interface or VLAN leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    Inside = 1,
    Outside = 2,
}

/// Value of `LINKS`, by ifindex (also of VLAN devices): what
/// `bpf_fib_lookup` answers with becomes a next hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Link {
    pub ifindex: u32,
    pub device: u16,
    pub mtu: u16,
    pub side: u8,
    pub vlan_count: u8,
    pub vlans: [u16; 2],
    pub reserved: [u8; 2],
}

/// Key of `VLANS`: a receiving interface and its tags (0: none), outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct VlanKey {
    pub ifindex: u32,
    pub vlans: [u16; 2],
}

/// Value of `VLANS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct VlanRole {
    /// [`Side`] as a number.
    pub side: u32,
    /// First key in `SOCKETS` of the receiving interface.
    pub socket_base: u32,
}

macro_rules! shape {
    ($($type:ty: $size:literal, $align:literal;)*) => {
        $(const _: () = assert!(size_of::<$type>() == $size && align_of::<$type>() == $align);)*
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_hop_is_read_as_it_was_written() {
        let hop = NextHop {
            destination_mac: [1, 2, 3, 4, 5, 6],
            source_mac: [7, 8, 9, 10, 11, 12],
            ifindex: 0xdead_beef,
            device: 63,
            mtu: 9000,
            side: Side::Outside as u8,
            vlan_count: 2,
            vlans: [100, 4094],
            waits_for: 0,
        };
        let entry = NextHopEntry::default();
        let lost = NextHop {
            waits_for: 0xc000_0201,
            ..hop
        };
        entry.write(&lost);
        assert_eq!(entry.read(), lost);
        assert_ne!(entry.side(), hop.side, "not usable");
        entry.write(&hop);
        assert_eq!((entry.read(), entry.side()), (hop, hop.side));
        let mut start = entry.mac_start().to_ne_bytes().to_vec();
        start.extend(entry.mac_end_and_ifindex().0.to_ne_bytes());
        assert_eq!(
            start,
            (1..=12).collect::<Vec<u8>>(),
            "the link header, byte by byte"
        );
    }
}

shape! {
    Settings: 64, 64;
    Page: 8, 4;
    External: 8, 8;
    Subscriber: 64, 64;
    BlockEntry: 8, 8;
    Line: 64, 64;
    RouteLine: 64, 64;
    NextHopEntry: 32, 8;
    Punts: 8, 8;
    Link: 16, 4;
    VlanKey: 8, 4;
    VlanRole: 8, 4;
}

const _: () = assert!(core::mem::offset_of!(Subscriber, secret) == 8);
const _: () = assert!(core::mem::offset_of!(Subscriber, blocks) == 16);
