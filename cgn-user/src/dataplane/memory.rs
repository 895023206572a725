//! The shared tables as memory: mmapped BPF arrays, or plain memory of the
//! same shape for tests, fuzzers and benches.

use std::fmt;
use std::io;
use std::mem::size_of;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use bytemuck::Pod;
use cgn_common::block::page_of;
use cgn_common::layout::{
    Access, BlockEntry, Constants, External, FragmentKey, FurtherBlocks, Line, Newcomers,
    NewcomersIpv6, NextHopEntry, PAGES, Page, Parts, Punts, Quota, RealmLine, Room, RouteLine,
    Scattering, Settings, Subscriber, Unsolicited,
};
use cgn_common::nat::{class, scatter};
use cgn_common::word::Word;

use super::datagrams::Datagrams;
use super::geometry::Arrangement;
use super::sessions::Sessions;

/// A table of `T` that others read and write at the same time.
pub struct Table<T> {
    start: NonNull<T>,
    len: usize,
    /// Length of the mapping.
    bytes: usize,
}

// SAFETY: elements are only reached through `Word`s (atomic) or through the
// volatile copies of `read` and `write`; the memory lives until drop.
unsafe impl<T: Send> Send for Table<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Table<T> {}

impl<T> Table<T> {
    /// Zeroed memory of our own, for `len` elements.
    ///
    /// # Errors
    /// Out of memory.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        Self::map(
            len,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
        )
    }

    /// The elements of a BPF array that was made with `BPF_F_MMAPABLE`.
    ///
    /// # Errors
    /// The kernel's, with the table's size.
    pub fn mapped(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::map(len, libc::MAP_SHARED, map.as_raw_fd())
    }

    fn map(len: usize, flags: i32, fd: i32) -> io::Result<Self> {
        let bytes = (len * size_of::<T>()).max(1).next_multiple_of(4096);
        // SAFETY: a new mapping at an address of the kernel's choice; nothing else is touched.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                fd,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, len, bytes })
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for a table without elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline(always)]
    fn at(&self, index: usize) -> Option<NonNull<T>> {
        // SAFETY: the element lies within the mapping.
        (index < self.len).then(|| unsafe { self.start.add(index) })
    }
}

impl<T: Shared> Table<T> {
    /// Element `index`.
    #[inline(always)]
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&T> {
        // SAFETY: the element lives as long as the table, is aligned (mappings
        // begin at pages) and, being made of `Word`s, may change under us.
        self.at(index as usize).map(|p| unsafe { p.as_ref() })
    }
}

impl<T: Shared> Table<T> {
    /// Copies elements of another table, word by word: others may change them
    /// meanwhile. Those that one of the two tables has not are left out.
    pub fn copy_from(&self, other: &Self, elements: Range<u32>) {
        let words = size_of::<T>() / size_of::<u64>();
        for index in elements {
            let (Some(to), Some(from)) = (self.at(index as usize), other.at(index as usize)) else {
                return;
            };
            let (to, from) = (to.cast::<u64>(), from.cast::<u64>());
            for word in 0..words {
                // SAFETY: both elements lie within their mappings and are made of
                // words of 8 bytes; volatile, because others may write them.
                unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
            }
        }
    }
}

impl<T: Pod> Table<T> {
    /// A copy of element `index`.
    #[inline(always)]
    #[must_use]
    pub fn read(&self, index: u32) -> Option<T> {
        // SAFETY: within the mapping and aligned; any bytes are a T.
        self.at(index as usize)
            .map(|p| unsafe { p.read_volatile() })
    }

    /// Replaces element `index`; false if there is none.
    pub fn write(&self, index: u32, value: T) -> bool {
        // SAFETY: within the mapping and aligned. Only the control plane
        // writes these tables, from one thread.
        self.at(index as usize)
            .map(|p| unsafe { p.write_volatile(value) })
            .is_some()
    }
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and no reference outlives the table.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} x {} bytes)", self.len, size_of::<T>())
    }
}

/// Elements made of [`cgn_common::word::Word`]s only: sound to share.
pub trait Shared {}
impl Shared for Settings {}
impl Shared for Subscriber {}
impl Shared for FurtherBlocks {}
impl Shared for Quota {}
impl Shared for External {}
impl Shared for Scattering {}
impl Shared for BlockEntry {}
impl Shared for Line {}
impl Shared for Access {}
impl Shared for NextHopEntry {}
impl Shared for Punts {}
impl Shared for Unsolicited {}
impl Shared for Newcomers {}
impl Shared for NewcomersIpv6 {}
impl Shared for Word {}

/// Elements of the tables whose size the configuration decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    pub subscribers: u32,
    pub externals: u32,
    /// As many as externals, or 1.
    pub scatterings: u32,
    pub blocks: u32,
    pub slab_lines: u32,
    pub sessions: u32,
    pub datagrams: u32,
    pub prefix_lines: u32,
    /// See [`cgn_common::layout::realm_lines`].
    pub realm_lines: u32,
    /// The first one included.
    pub realms: u32,
    /// All cells, or 1 where no prefix is limited.
    pub newcomers: u32,
    /// The same of IPv6, and the words of the flows that are known there.
    pub newcomers_ipv6: u32,
    pub flows_ipv6: u32,
}

impl Sizes {
    /// Table name and number of elements.
    #[must_use]
    pub fn by_name(&self) -> [(&'static str, u32); 16] {
        use cgn_common::layout::{
            BLOCKS, EXTERNALS, FLOWS_IPV6, FRAGMENTS, FURTHER_BLOCKS, NEWCOMERS, NEWCOMERS_IPV6,
            PREFIXES, QUOTAS, REALM_DROPS, REALMS, SCATTERINGS, SESSIONS, SLABS, SUBSCRIBERS,
            UNSOLICITED,
        };
        [
            (SUBSCRIBERS.name, self.subscribers),
            (FURTHER_BLOCKS.name, self.subscribers),
            (QUOTAS.name, self.subscribers),
            (EXTERNALS.name, self.externals),
            (SCATTERINGS.name, self.scatterings),
            (UNSOLICITED.name, self.externals),
            (BLOCKS.name, self.blocks),
            (SLABS.name, self.slab_lines),
            (SESSIONS.name, self.sessions),
            (FRAGMENTS.name, self.datagrams),
            (PREFIXES.name, self.prefix_lines),
            (REALMS.name, self.realm_lines),
            (REALM_DROPS.name, self.realms),
            (NEWCOMERS.name, self.newcomers),
            (NEWCOMERS_IPV6.name, self.newcomers_ipv6),
            (FLOWS_IPV6.name, self.flows_ipv6),
        ]
    }
}

/// All shared tables.
#[derive(Debug)]
pub struct Memory {
    pub settings: Table<Settings>,
    pub inside_pages: Table<Page>,
    pub outside_pages: Table<Page>,
    pub subscribers: Table<Subscriber>,
    pub further_blocks: Table<FurtherBlocks>,
    /// By the same index.
    pub quotas: Table<Quota>,
    pub externals: Table<External>,
    /// By the same index; one element where no pool is scattered.
    pub scatterings: Table<Scattering>,
    /// By the same index: packets that nobody waits for.
    pub unsolicited: Table<Unsolicited>,
    pub blocks: Table<BlockEntry>,
    pub slabs: Table<Line>,
    pub routes: Table<RouteLine>,
    pub next_hops: Table<NextHopEntry>,
    pub sessions: Sessions,
    /// Who was told lately that its packet ended.
    pub answers: Table<Punts>,
    /// Fragmented datagrams on their way.
    pub datagrams: Datagrams,
    /// Ticks until which first fragments are awaited here.
    pub awaited: Table<Word>,
    /// Counters of identifications.
    pub ids: Table<Word>,
    /// What rules of access lists say, and the addresses that they are for.
    pub access: Table<Access>,
    pub prefixes: Table<Line>,
    /// Keys of subscribers by realm and address, and the reverse.
    pub realms: Table<RealmLine>,
    /// New sessions of prefixes, see [`cgn_common::nat::throttle`].
    pub newcomers: Table<Newcomers>,
    /// The same of IPv6, see [`cgn_common::ipv6::prefixes`].
    pub newcomers_ipv6: Table<NewcomersIpv6>,
    /// Flows of IPv6 that are known, see [`cgn_common::ipv6::flows`].
    pub flows_ipv6: Table<Word>,
    /// What the programs were loaded with.
    pub constants: Constants,
    /// How `slabs` is divided.
    pub parts: Parts,
}

impl Memory {
    /// Tables in memory of our own, with everything off that can be off.
    ///
    /// # Errors
    /// Out of memory.
    pub fn private(sizes: Sizes) -> io::Result<Self> {
        use cgn_common::layout::{ACCESS, ANSWERS, AWAITED, IDS, NEXT_HOPS, ROUTES};
        Ok(Self {
            settings: Table::zeroed(1)?,
            inside_pages: Table::zeroed(PAGES as usize)?,
            outside_pages: Table::zeroed(PAGES as usize)?,
            subscribers: Table::zeroed(sizes.subscribers as usize)?,
            further_blocks: Table::zeroed(sizes.subscribers as usize)?,
            quotas: Table::zeroed(sizes.subscribers as usize)?,
            externals: Table::zeroed(sizes.externals as usize)?,
            scatterings: Table::zeroed(sizes.scatterings as usize)?,
            unsolicited: Table::zeroed(sizes.externals as usize)?,
            blocks: Table::zeroed(sizes.blocks as usize)?,
            slabs: Table::zeroed(sizes.slab_lines as usize)?,
            routes: Table::zeroed(ROUTES.entries as usize)?,
            next_hops: Table::zeroed(NEXT_HOPS.entries as usize)?,
            sessions: Sessions::private(sizes.sessions),
            answers: Table::zeroed(ANSWERS.entries as usize)?,
            datagrams: Datagrams::private(),
            awaited: Table::zeroed(AWAITED.entries as usize)?,
            ids: Table::zeroed(IDS.entries as usize)?,
            access: Table::zeroed(ACCESS.entries as usize)?,
            prefixes: Table::zeroed(sizes.prefix_lines as usize)?,
            realms: Table::zeroed(sizes.realm_lines as usize)?,
            newcomers: Table::zeroed(sizes.newcomers as usize)?,
            newcomers_ipv6: Table::zeroed(sizes.newcomers_ipv6 as usize)?,
            flows_ipv6: Table::zeroed(sizes.flows_ipv6 as usize)?,
            constants: Constants::PLAIN,
            parts: Parts::of_table(sizes.slab_lines),
        })
    }

    /// Header line of a slab.
    #[must_use]
    pub fn header(&self, slab_line: u32) -> Option<&Line> {
        self.slabs.get(self.parts.header(slab_line))
    }

    /// How full the block with a slab is.
    #[must_use]
    pub fn room(&self, slab_line: u32) -> Option<Room<'_>> {
        let (line, first) = self.parts.room(slab_line);
        Some(Room::new(self.slabs.get(line)?, first))
    }

    /// The words that hold the blocks of the subscriber with this index, see
    /// [`cgn_common::layout::OwnedBlock`]: as many as one can have, those in use first.
    pub fn owned_blocks(&self, index: u32) -> impl Iterator<Item = &Word> + Clone {
        let near = self.subscribers.get(index).map(|entry| &entry.blocks);
        let further = self.further_blocks.get(index).map(|further| &further.0);
        let near = near.into_iter().flatten();
        near.chain(further.into_iter().flatten())
    }

    /// Port of a place of an address of this pool: the same where blocks are contiguous.
    #[must_use]
    pub fn port_of(&self, pool: u8, external: Ipv4Addr, place: u16) -> u16 {
        match self.arrangement(pool) {
            Arrangement::Contiguous => place,
            Arrangement::Scattered => self
                .keys(external)
                .map_or(place, |keys| scatter::port_of(keys, place)),
            Arrangement::Classes => class::port_of(place),
        }
    }

    /// Place of a port: the inverse of [`Self::port_of`].
    #[must_use]
    pub fn place_of(&self, pool: u8, external: Ipv4Addr, port: u16) -> u16 {
        match self.arrangement(pool) {
            Arrangement::Contiguous => port,
            Arrangement::Scattered => self
                .keys(external)
                .map_or(port, |keys| scatter::place_of(keys, port)),
            Arrangement::Classes => class::place_of(port),
        }
    }

    /// What stands in records of blocks of the address as their key: the number of the one that
    /// scatters them, [`class::KEY`], or 0 if they are contiguous.
    #[must_use]
    pub fn block_key(&self, pool: u8, external: Ipv4Addr) -> u8 {
        match self.arrangement(pool) {
            Arrangement::Contiguous => 0,
            Arrangement::Scattered => self.keys(external).map_or(0, |keys| keys[3] as u8),
            Arrangement::Classes => class::KEY,
        }
    }

    fn arrangement(&self, pool: u8) -> Arrangement {
        Arrangement::of_policy(self.constants.pools[usize::from(pool)])
    }

    /// Keys of an address of a scattered pool.
    fn keys(&self, external: Ipv4Addr) -> Option<[u64; 4]> {
        let address = external.to_bits();
        let index = self.outside_pages.read(page_of(address))?.index_of(address);
        Some(self.scatterings.get(index?)?.keys())
    }

    /// Nanoseconds by which the clock of the data plane is moved.
    #[must_use]
    pub fn clock_offset_ns(&self) -> u64 {
        self.settings.get(0).map_or(0, |s| s.clock_offset_ns.load())
    }

    /// Says that the first fragment of a datagram is awaited here until a tick.
    pub fn await_first(&self, key: &FragmentKey, until: u32) {
        if let Some(word) = self.awaited.get(key.awaited_at()) {
            let old = word.load();
            // A locked change. Lost to nobody: only the engine writes here.
            let _ = word.replace(old, u64::from(until));
        }
    }

    /// Sets the next-hop number of the /16 `network` (upper 16 bits of its addresses).
    pub fn set_route(&self, network: u16, number: u16) {
        use cgn_common::layout::ROUTES_PER_LINE;
        let index = u32::from(network) / ROUTES_PER_LINE;
        if let Some(mut line) = self.routes.read(index) {
            line.0[(u32::from(network) % ROUTES_PER_LINE) as usize] = number;
            self.routes.write(index, line);
        }
    }
}
