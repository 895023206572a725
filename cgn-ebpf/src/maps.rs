//! Every map of the object, typed and sized from `cgn_common::layout`; a test
//! compares the built object with that file. No other file declares one.

use aya_ebpf::btf_maps::{
    Array, DevMap, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf, XskMap,
};
use aya_ebpf::macros::btf_map;
use cgn_common::counters::{Counters, RealmDrops};
use cgn_common::layout::{
    self, Access, BlockEntry, Constants, Datagram, External, FragmentKey, FurtherBlocks, Hits,
    Line, Link, Newcomers, NewcomersIpv6, NextHopEntry, Page, Punts, Quota, RealmLine, RouteLine,
    Scattering, SessionKey, Settings, Subscriber, Unsolicited, VlanKey, VlanRole,
};
use cgn_common::word::Word;

/// Overwritten by the loader before the kernel sees the object; constant then,
/// so that the verifier leaves out what is off.
#[unsafe(no_mangle)]
pub static CONSTANTS: Constants = Constants::PLAIN;

const MMAPABLE: usize = layout::MMAPABLE as usize;

#[btf_map]
pub static SETTINGS: Array<Settings, { layout::SETTINGS.entries as usize }, MMAPABLE> =
    Array::new();
#[btf_map]
pub static INSIDE_PAGES: Array<Page, { layout::INSIDE_PAGES.entries as usize }, MMAPABLE> =
    Array::new();
#[btf_map]
pub static OUTSIDE_PAGES: Array<Page, { layout::OUTSIDE_PAGES.entries as usize }, MMAPABLE> =
    Array::new();
#[btf_map]
pub static SUBSCRIBERS: Array<Subscriber, { layout::SUBSCRIBERS.entries as usize }, MMAPABLE> =
    Array::new();
#[btf_map]
pub static QUOTAS: Array<Quota, { layout::QUOTAS.entries as usize }, MMAPABLE> = Array::new();
#[btf_map]
pub static FURTHER_BLOCKS: Array<
    FurtherBlocks,
    { layout::FURTHER_BLOCKS.entries as usize },
    MMAPABLE,
> = Array::new();
#[btf_map]
pub static EXTERNALS: Array<External, { layout::EXTERNALS.entries as usize }, MMAPABLE> =
    Array::new();
#[btf_map]
pub static SCATTERINGS: Array<Scattering, { layout::SCATTERINGS.entries as usize }, MMAPABLE> =
    Array::new();
#[btf_map]
pub static UNSOLICITED: Array<Unsolicited, { layout::UNSOLICITED.entries as usize }, MMAPABLE> =
    Array::new();
#[btf_map]
pub static NEWCOMERS: Array<Newcomers, { layout::NEWCOMERS.entries as usize }, MMAPABLE> =
    Array::new();
#[btf_map]
pub static NEWCOMERS_IPV6: Array<
    NewcomersIpv6,
    { layout::NEWCOMERS_IPV6.entries as usize },
    MMAPABLE,
> = Array::new();
#[btf_map]
pub static FLOWS_IPV6: Array<Word, { layout::FLOWS_IPV6.entries as usize }, MMAPABLE> =
    Array::new();
#[btf_map]
pub static BLOCKS: Array<BlockEntry, { layout::BLOCKS.entries as usize }, MMAPABLE> = Array::new();
#[btf_map]
pub static SLABS: Array<Line, { layout::SLABS.entries as usize }, MMAPABLE> = Array::new();
#[btf_map]
pub static ROUTES: Array<RouteLine, { layout::ROUTES.entries as usize }, MMAPABLE> = Array::new();
#[btf_map]
pub static NEXT_HOPS: Array<NextHopEntry, { layout::NEXT_HOPS.entries as usize }, MMAPABLE> =
    Array::new();
#[btf_map]
pub static EXACT_ROUTES: HashMap<u32, u32, { layout::EXACT_ROUTES.entries as usize }> =
    HashMap::new();
#[btf_map]
pub static LINKS: HashMap<u32, Link, { layout::LINKS.entries as usize }> = HashMap::new();
#[btf_map]
pub static VLANS: HashMap<VlanKey, VlanRole, { layout::VLANS.entries as usize }> = HashMap::new();
#[btf_map]
pub static REALMS: Array<RealmLine, { layout::REALMS.entries as usize }, MMAPABLE> = Array::new();
#[btf_map]
pub static COUNTERS: PerCpuArray<Counters, { layout::COUNTERS.entries as usize }> =
    PerCpuArray::new();
#[btf_map]
pub static REALM_DROPS: PerCpuArray<RealmDrops, { layout::REALM_DROPS.entries as usize }> =
    PerCpuArray::new();
#[btf_map]
pub static DEVICES: DevMap<{ layout::DEVICES.entries as usize }> = DevMap::new();
#[btf_map]
pub static SOCKETS: XskMap<{ layout::SOCKETS.entries as usize }> = XskMap::new();
// `()`: a typed ring declares a value size of zero beside its type, which libbpf refuses.
#[btf_map]
pub static EVENTS: RingBuf<(), { layout::EVENTS.entries as usize }> = RingBuf::new();
#[btf_map]
pub static KERNEL_HOP: PerCpuArray<NextHopEntry, { layout::KERNEL_HOP.entries as usize }> =
    PerCpuArray::new();
#[btf_map]
pub static CLOCK: PerCpuArray<[u64; 2], { layout::CLOCK.entries as usize }> = PerCpuArray::new();
#[btf_map]
pub static PUNTS: Array<Punts, { layout::PUNTS.entries as usize }, MMAPABLE> = Array::new();
#[btf_map]
pub static ANSWERS: Array<Punts, { layout::ANSWERS.entries as usize }, MMAPABLE> = Array::new();
#[btf_map]
pub static HANDED: PerCpuArray<u64, { layout::HANDED.entries as usize }> = PerCpuArray::new();
#[btf_map]
pub static RARE: ProgramArray<{ layout::RARE.entries as usize }> = ProgramArray::new();
#[btf_map]
pub static SESSIONS: HashMap<SessionKey, Word, { layout::SESSIONS.entries as usize }> =
    HashMap::new();
#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, Datagram, { layout::FRAGMENTS.entries as usize }> =
    LruHashMap::new();
#[btf_map]
pub static FRAGMENT_SHARES: Array<Punts, { layout::FRAGMENT_SHARES.entries as usize }, MMAPABLE> =
    Array::new();
#[btf_map]
pub static AWAITED: Array<Word, { layout::AWAITED.entries as usize }, MMAPABLE> = Array::new();
#[btf_map]
pub static IDS: Array<Word, { layout::IDS.entries as usize }, MMAPABLE> = Array::new();
#[btf_map]
pub static ACCESS: Array<Access, { layout::ACCESS.entries as usize }, MMAPABLE> = Array::new();
#[btf_map]
pub static PREFIXES: Array<Line, { layout::PREFIXES.entries as usize }, MMAPABLE> = Array::new();
#[btf_map]
pub static HITS: PerCpuArray<Hits, { layout::HITS.entries as usize }> = PerCpuArray::new();
