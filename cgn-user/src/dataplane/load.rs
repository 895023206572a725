//! Loading the BPF object, with its tables sized for the configuration, and
//! what of them is reached through system calls rather than memory.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::maps::{
    DevMap, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues, ProgramArray, RingBuf,
    XskMap,
};
use aya::programs::{ProgramError, ProgramFd, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use cgn_common::counters::{Counters, RealmDrops};
use cgn_common::layout::{
    self, Constants, Features, Hits, Link, MapSpec, Parts, RareProgram, VlanKey, VlanRole,
};
pub use cgn_common::path::Entry;

use super::attach;
use super::datagrams::Datagrams;
use super::diagnostics::Diagnostics;
use super::memory::{Memory, Sizes, Table};
use super::sessions::Sessions;
use super::swap::Programs;

/// The BPF object, built by `cargo xtask ebpf`.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/cgn.bpf.o");

/// The same programs over the same tables, which also tell of packets that are
/// not translated.
pub static DIAGNOSTICS_OBJECT: &[u8] =
    aya::include_bytes_aligned!("../../bpf/cgn-diagnostics.bpf.o");

/// The same programs over the same tables, which also tell of packets that somebody
/// watches; see [`super::swap`].
pub static WATCH_OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/cgn-watch.bpf.o");

/// Why the data plane could not be loaded or changed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(
        "cannot load the BPF object; it needs root (CAP_BPF, CAP_NET_ADMIN) and Linux 6.1 or later"
    )]
    Object(#[source] aya::EbpfError),
    #[error("the BPF object has no map {0}")]
    NoMap(&'static str),
    #[error("map {map}")]
    Map {
        map: &'static str,
        #[source]
        source: aya::maps::MapError,
    },
    #[error("packets cannot be redirected to interface {ifindex}")]
    Device {
        ifindex: u32,
        #[source]
        source: aya::maps::xdp::XdpMapError,
    },
    #[error("the BPF object has no program {0}")]
    NoProgram(&'static str),
    #[error("the kernel refused program {name}")]
    Verifier {
        name: &'static str,
        #[source]
        source: aya::programs::ProgramError,
    },
    #[error("the kernel did not run program {name} on a packet once more")]
    Rerun {
        name: &'static str,
        #[source]
        source: aya::programs::ProgramError,
    },
    #[error("cannot map table {map} ({elements} elements) into memory")]
    Memory {
        map: &'static str,
        elements: usize,
        #[source]
        source: io::Error,
    },
    #[error("cannot use the pin directory {path}")]
    Pin {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Name in the object of the program that begins the way of a frame, where these features are on.
#[must_use]
pub const fn program_name(entry: Entry, features: Features) -> &'static str {
    // The slow path looks at the access lists itself.
    if features.has(Features::FORCE_SLOW_PATH) {
        return match entry {
            Entry::Inside => "cgn_forced_inside",
            Entry::Outside => "cgn_forced_outside",
            Entry::Vlan => "cgn_forced_vlan",
        };
    }
    if features.has(Features::ACCESS) {
        return match entry {
            Entry::Inside => "cgn_access_inside",
            Entry::Outside => "cgn_access_outside",
            Entry::Vlan => "cgn_access_vlan",
        };
    }
    RareProgram::translator(entry).name()
}

/// A type of ours as a key or value of a BPF map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Element<T>(pub(super) T);
// SAFETY: the same bytes as T, which has no padding and is valid for any bytes.
unsafe impl<T: bytemuck::Pod> Pod for Element<T> {}

/// The loaded object and its tables.
pub struct Dataplane {
    ebpf: Ebpf,
    memory: std::sync::Arc<Memory>,
    rare_programs_are_set: bool,
}

impl Dataplane {
    /// Loads `object` ([`OBJECT`] or [`DIAGNOSTICS_OBJECT`], but for tests) with tables of these
    /// sizes and these constants.
    /// With a pin directory, maps that are pinned there are used again, and
    /// new ones are pinned.
    ///
    /// # Errors
    /// Rights, kernel, memory; see [`LoadError`].
    pub fn load(
        object: &[u8],
        sizes: Sizes,
        constants: &Constants,
        pins: Option<&Path>,
    ) -> Result<Self, LoadError> {
        Self::load_renewing(object, sizes, constants, pins, &[])
    }

    /// The same, with new tables in the place of those in `renewed` that are pinned. They are
    /// pinned beside the old ones, until [`super::attach::Pins::end_growth`].
    ///
    /// # Errors
    /// As above.
    pub fn load_renewing(
        object: &[u8],
        sizes: Sizes,
        constants: &Constants,
        pins: Option<&Path>,
        renewed: &[&MapSpec],
    ) -> Result<Self, LoadError> {
        let mut loader = EbpfLoader::new();
        let written = Element(Constants {
            parts: Parts::of_table(sizes.slab_lines),
            ..*constants
        });
        // An object of an older version, as benches load them, has nothing that could be on.
        let must_exist = *constants != Constants::PLAIN;
        loader.override_global("CONSTANTS", &written, must_exist);
        for (name, elements) in sizes.by_name() {
            loader.map_max_entries(name, elements);
        }
        if let Some(pins) = pins {
            fs::create_dir_all(pins).map_err(|source| LoadError::Pin {
                path: pins.to_owned(),
                source,
            })?;
            for spec in layout::MAPS {
                let path = match renewed.iter().any(|new| new.name == spec.name) {
                    true => attach::path_of_new(pins, spec),
                    false => pins.join(spec.name),
                };
                loader.map_pin_path(spec.name, path);
            }
        }
        let ebpf = loader.load(object).map_err(LoadError::Object)?;
        let memory = map_memory(&ebpf, sizes, constants)?;
        Ok(Self {
            ebpf,
            memory: std::sync::Arc::new(memory),
            rare_programs_are_set: false,
        })
    }

    /// The shared tables.
    #[must_use]
    pub fn memory(&self) -> &std::sync::Arc<Memory> {
        &self.memory
    }

    /// The program for `entry`, verified by the kernel at the first call, with
    /// the programs for rare packets that it jumps to.
    ///
    /// # Errors
    /// The verifier's, with its log.
    pub fn program(&mut self, entry: Entry) -> Result<&mut Xdp, LoadError> {
        if !self.rare_programs_are_set {
            for rare in RareProgram::needed(self.memory.constants.features) {
                self.set_rare_program(rare)?;
            }
            self.rare_programs_are_set = true;
        }
        let name = self.program_name(entry);
        loaded(&mut self.ebpf, name)
    }

    /// Name of the program for `entry`.
    pub(super) fn program_name(&self, entry: Entry) -> &'static str {
        program_name(entry, self.memory.constants.features)
    }

    /// Descriptors of the programs for `entries`, and of those that they jump to.
    ///
    /// # Errors
    /// The verifier's, with its log.
    pub fn programs(
        &mut self,
        entries: impl Iterator<Item = Entry>,
    ) -> Result<Programs, LoadError> {
        let mut programs = Programs {
            entries: Vec::new(),
            rare: Vec::new(),
        };
        for entry in entries {
            self.program(entry)?;
            let name = program_name(entry, self.memory.constants.features);
            let fd = descriptor(&mut self.ebpf, name)?;
            programs.entries.push((entry, fd));
        }
        for rare in RareProgram::needed(self.memory.constants.features) {
            let fd = descriptor(&mut self.ebpf, rare.name())?;
            programs.rare.push((rare, fd));
        }
        Ok(programs)
    }

    /// Has packets jump to these programs.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_rare_programs(
        &mut self,
        programs: &[(RareProgram, ProgramFd)],
    ) -> Result<(), LoadError> {
        let mut map: ProgramArray<&mut MapData> = self.map_mut(&layout::RARE)?;
        let mut all = programs.iter();
        all.try_for_each(|(rare, fd)| map.set(*rare as u32, fd, 0))
            .map_err(failed(&layout::RARE))
    }

    /// A map of the object. Can be taken once.
    ///
    /// # Errors
    /// It has none of this name, or it was taken before.
    pub(super) fn take(&mut self, spec: &'static MapSpec) -> Result<Map, LoadError> {
        self.ebpf
            .take_map(spec.name)
            .ok_or(LoadError::NoMap(spec.name))
    }

    fn set_rare_program(&mut self, rare: RareProgram) -> Result<(), LoadError> {
        let fd = descriptor(&mut self.ebpf, rare.name())?;
        let mut map: ProgramArray<&mut MapData> = self.map_mut(&layout::RARE)?;
        map.set(rare as u32, &fd, 0).map_err(failed(&layout::RARE))
    }

    /// Counters of the fast path, summed over processors.
    ///
    /// # Errors
    /// The kernel's.
    pub fn counters(&self) -> Result<Counters, LoadError> {
        let map: PerCpuArray<&MapData, Element<Counters>> = self.map(&layout::COUNTERS)?;
        sum(&map)
    }

    /// A reader of the fast path's counters for other threads.
    ///
    /// # Errors
    /// The kernel's.
    pub fn counters_reader(
        &self,
    ) -> Result<impl Fn() -> Counters + Send + Sync + 'static, LoadError> {
        let spec = &layout::COUNTERS;
        let Some(Map::PerCpuArray(data)) = self.ebpf.map(spec.name) else {
            return Err(LoadError::NoMap(spec.name));
        };
        let data = MapData::from_fd(copy_of(spec, data)?).map_err(failed(spec))?;
        let map: PerCpuArray<MapData, Element<Counters>> =
            PerCpuArray::try_from(Map::PerCpuArray(data)).map_err(failed(spec))?;
        Ok(move || sum(&map).unwrap_or_default())
    }

    /// A reader of the drops of so many realms in the fast path, by number of the realm, for other
    /// threads.
    ///
    /// # Errors
    /// The kernel's.
    pub fn realm_drops_reader(
        &self,
        realms: usize,
    ) -> Result<impl Fn() -> Vec<RealmDrops> + Send + Sync + 'static, LoadError> {
        let spec = &layout::REALM_DROPS;
        let Some(Map::PerCpuArray(data)) = self.ebpf.map(spec.name) else {
            return Err(LoadError::NoMap(spec.name));
        };
        let data = MapData::from_fd(copy_of(spec, data)?).map_err(failed(spec))?;
        let map: PerCpuArray<MapData, Element<RealmDrops>> =
            PerCpuArray::try_from(Map::PerCpuArray(data)).map_err(failed(spec))?;
        let of_realm = move |realm| {
            let mut sum = RealmDrops::ZERO;
            for drops in map.get(&realm, 0).iter().flat_map(|values| values.iter()) {
                sum.merge(&drops.0);
            }
            sum
        };
        Ok(move || (0..realms as u32).map(&of_realm).collect())
    }

    /// A reader of how often the fast path found each rule of the access lists to hold, for other
    /// threads.
    ///
    /// # Errors
    /// The kernel's.
    pub fn hits_reader(&self) -> Result<impl Fn() -> Hits + Send + Sync + 'static, LoadError> {
        let spec = &layout::HITS;
        let Some(Map::PerCpuArray(data)) = self.ebpf.map(spec.name) else {
            return Err(LoadError::NoMap(spec.name));
        };
        let data = MapData::from_fd(copy_of(spec, data)?).map_err(failed(spec))?;
        let map: PerCpuArray<MapData, Element<Hits>> =
            PerCpuArray::try_from(Map::PerCpuArray(data)).map_err(failed(spec))?;
        Ok(move || {
            let mut sum = Hits::ZERO;
            for hits in map.get(&0, 0).iter().flat_map(|values| values.iter()) {
                sum.merge(&hits.0);
            }
            sum
        })
    }

    /// Begins to count them anew.
    ///
    /// # Errors
    /// The kernel's.
    pub fn clear_hits(&mut self) -> Result<(), LoadError> {
        let spec = &layout::HITS;
        let mut map: PerCpuArray<&mut MapData, Element<Hits>> = self.map_mut(spec)?;
        let processors = map.get(&0, 0).map_err(failed(spec))?.len();
        let zero = PerCpuValues::try_from(vec![Element(Hits::ZERO); processors]);
        let zero = zero.map_err(|source| failed(spec)(aya::maps::MapError::IoError(source)))?;
        map.set(0, zero, 0).map_err(failed(spec))
    }

    /// Sets (or, with `None`, removes) the route of one very address.
    ///
    /// # Errors
    /// The kernel's: the table is full, for one.
    pub fn set_exact_route(
        &mut self,
        address: Ipv4Addr,
        value: Option<u32>,
    ) -> Result<(), LoadError> {
        let spec = &layout::EXACT_ROUTES;
        let mut map: HashMap<&mut MapData, u32, u32> = self.map_mut(spec)?;
        match value {
            Some(value) => map.insert(address.to_bits(), value, 0),
            None => match map.remove(&address.to_bits()) {
                Err(aya::maps::MapError::KeyNotFound) => Ok(()),
                result => result,
            },
        }
        .map_err(failed(spec))
    }

    /// The addresses with a route of their own.
    ///
    /// # Errors
    /// The kernel's.
    pub fn exact_routes(&self) -> Result<Vec<(Ipv4Addr, u32)>, LoadError> {
        let spec = &layout::EXACT_ROUTES;
        let map: HashMap<&MapData, u32, u32> = self.map(spec)?;
        let entries = map.iter().map(|entry| {
            let (address, value) = entry.map_err(failed(spec))?;
            Ok((Ipv4Addr::from_bits(address), value))
        });
        entries.collect()
    }

    /// The interfaces that [`Dataplane::set_link`] was told of.
    ///
    /// # Errors
    /// The kernel's.
    pub fn links(&self) -> Result<Vec<u32>, LoadError> {
        let map: HashMap<&MapData, u32, Element<Link>> = self.map(&layout::LINKS)?;
        map.keys()
            .map(|ifindex| ifindex.map_err(failed(&layout::LINKS)))
            .collect()
    }

    /// Says what an answer of `bpf_fib_lookup` with this interface means; `None`:
    /// it is not ours.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_link(&mut self, ifindex: u32, link: Option<Link>) -> Result<(), LoadError> {
        let mut map: HashMap<&mut MapData, u32, Element<Link>> = self.map_mut(&layout::LINKS)?;
        match link {
            Some(link) => map.insert(ifindex, Element(link), 0),
            None => match map.remove(&ifindex) {
                Err(aya::maps::MapError::KeyNotFound) => Ok(()),
                result => result,
            },
        }
        .map_err(failed(&layout::LINKS))
    }

    /// Says which side a VLAN of an interface leads to.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_vlan(&mut self, key: VlanKey, role: VlanRole) -> Result<(), LoadError> {
        let mut map: HashMap<&mut MapData, Element<VlanKey>, Element<VlanRole>> =
            self.map_mut(&layout::VLANS)?;
        map.insert(Element(key), Element(role), 0)
            .map_err(failed(&layout::VLANS))
    }

    /// Forgets the VLANs that an earlier daemon had and we have not.
    ///
    /// # Errors
    /// The kernel's.
    pub fn forget_vlans_but(&mut self, ours: impl Fn(VlanKey) -> bool) -> Result<(), LoadError> {
        let mut map: HashMap<&mut MapData, Element<VlanKey>, Element<VlanRole>> =
            self.map_mut(&layout::VLANS)?;
        let others: Vec<_> = map
            .keys()
            .filter(|key| key.as_ref().is_ok_and(|key| !ours(key.0)))
            .collect();
        others
            .into_iter()
            .try_for_each(|key| map.remove(&key?))
            .map_err(failed(&layout::VLANS))
    }

    /// Lets packets be redirected to `ifindex` as device number `device`.
    ///
    /// # Errors
    /// The kernel's: the interface cannot transmit XDP frames, for one.
    pub fn set_device(&mut self, device: u16, ifindex: u32) -> Result<(), LoadError> {
        let mut map: DevMap<&mut MapData> = self.map_mut(&layout::DEVICES)?;
        map.set(u32::from(device), ifindex, None, 0)
            .map_err(|source| LoadError::Device { ifindex, source })
    }

    /// Takes back the device numbers that lead elsewhere than in `ours`, so that no next hop of
    /// the last daemon sends a packet out of another interface than it meant.
    ///
    /// # Errors
    /// The kernel's.
    pub fn forget_devices_but(&mut self, ours: &[(u16, u32)]) -> Result<(), LoadError> {
        let mut map: DevMap<&mut MapData> = self.map_mut(&layout::DEVICES)?;
        for number in 0..map.len() {
            let led_to = match map.get(number, 0) {
                Ok(device) => device.if_index,
                Err(MapError::KeyNotFound) => continue,
                Err(error) => return Err(failed(&layout::DEVICES)(error)),
            };
            let is_ours = ours
                .iter()
                .any(|(device, ifindex)| (u32::from(*device), *ifindex) == (number, led_to));
            if !is_ours {
                // Interface 0 empties the slot.
                map.set(number, 0, None, 0)
                    .map_err(|source| LoadError::Device { ifindex: 0, source })?;
            }
        }
        Ok(())
    }

    /// Delivers punted packets of socket number `number` to `socket`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_socket(&mut self, number: u32, socket: &impl AsRawFd) -> Result<(), LoadError> {
        let mut map: XskMap<&mut MapData> = self.map_mut(&layout::SOCKETS)?;
        map.set(number, socket.as_raw_fd(), 0)
            .map_err(failed(&layout::SOCKETS))
    }

    /// The ring of [`cgn_common::event::Event`]s. Can be taken once.
    ///
    /// # Errors
    /// It was taken before.
    pub fn take_events(&mut self) -> Result<RingBuf<MapData>, LoadError> {
        let spec = &layout::EVENTS;
        let map = self
            .ebpf
            .take_map(spec.name)
            .ok_or(LoadError::NoMap(spec.name))?;
        RingBuf::try_from(map).map_err(failed(spec))
    }

    /// Connects the lines of [`DIAGNOSTICS_OBJECT`] with `tell`. Can be called
    /// once, before any program is loaded.
    ///
    /// # Errors
    /// It is another object, or was called before.
    pub fn diagnostics<F: Fn(&str) + Send + Sync>(
        &mut self,
        tell: F,
    ) -> Result<Diagnostics<F>, LoadError> {
        Diagnostics::of(&mut self.ebpf, tell)
    }

    fn map<'a, M>(&'a self, spec: &'static MapSpec) -> Result<M, LoadError>
    where
        M: TryFrom<&'a Map, Error = aya::maps::MapError>,
    {
        let map = self
            .ebpf
            .map(spec.name)
            .ok_or(LoadError::NoMap(spec.name))?;
        M::try_from(map).map_err(failed(spec))
    }

    fn map_mut<'a, M>(&'a mut self, spec: &'static MapSpec) -> Result<M, LoadError>
    where
        M: TryFrom<&'a mut Map, Error = aya::maps::MapError>,
    {
        let map = self
            .ebpf
            .map_mut(spec.name)
            .ok_or(LoadError::NoMap(spec.name))?;
        M::try_from(map).map_err(failed(spec))
    }
}

/// A program of the object, given to the kernel if it has not got it yet.
fn loaded<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, LoadError> {
    let program: &mut Xdp = ebpf
        .program_mut(name)
        .ok_or(LoadError::NoProgram(name))?
        .try_into()
        .map_err(|source| LoadError::Verifier { name, source })?;
    if program.fd().is_err() {
        program
            .load()
            .map_err(|source| LoadError::Verifier { name, source })?;
    }
    Ok(program)
}

/// A descriptor of its own for a program of the object.
fn descriptor(ebpf: &mut Ebpf, name: &'static str) -> Result<ProgramFd, LoadError> {
    loaded(ebpf, name)?
        .fd()
        .and_then(|fd| fd.try_clone().map_err(ProgramError::IOError))
        .map_err(|source| LoadError::Verifier { name, source })
}

/// Counters of all processors together.
fn sum<D: std::borrow::Borrow<MapData>>(
    map: &PerCpuArray<D, Element<Counters>>,
) -> Result<Counters, LoadError> {
    let mut total = Counters::ZERO;
    let values = map.get(&0, 0).map_err(failed(&layout::COUNTERS))?;
    for value in values.iter() {
        total.merge(&value.0);
    }
    Ok(total)
}

pub(super) fn failed(spec: &MapSpec) -> impl FnOnce(aya::maps::MapError) -> LoadError {
    let map = spec.name;
    move |source| LoadError::Map { map, source }
}

fn map_memory(ebpf: &Ebpf, sizes: Sizes, constants: &Constants) -> Result<Memory, LoadError> {
    Ok(Memory {
        settings: table(ebpf, &layout::SETTINGS, 1)?,
        inside_pages: table(ebpf, &layout::INSIDE_PAGES, layout::PAGES)?,
        outside_pages: table(ebpf, &layout::OUTSIDE_PAGES, layout::PAGES)?,
        subscribers: table(ebpf, &layout::SUBSCRIBERS, sizes.subscribers)?,
        further_blocks: table(ebpf, &layout::FURTHER_BLOCKS, sizes.subscribers)?,
        quotas: table(ebpf, &layout::QUOTAS, sizes.subscribers)?,
        externals: table(ebpf, &layout::EXTERNALS, sizes.externals)?,
        scatterings: table(ebpf, &layout::SCATTERINGS, sizes.scatterings)?,
        unsolicited: table(ebpf, &layout::UNSOLICITED, sizes.externals)?,
        blocks: table(ebpf, &layout::BLOCKS, sizes.blocks)?,
        slabs: table(ebpf, &layout::SLABS, sizes.slab_lines)?,
        routes: table(ebpf, &layout::ROUTES, layout::ROUTES.entries)?,
        next_hops: table(ebpf, &layout::NEXT_HOPS, layout::NEXT_HOPS.entries)?,
        sessions: sessions(ebpf)?,
        answers: table(ebpf, &layout::ANSWERS, layout::ANSWERS.entries)?,
        datagrams: datagrams(ebpf)?,
        awaited: table(ebpf, &layout::AWAITED, layout::AWAITED.entries)?,
        ids: table(ebpf, &layout::IDS, layout::IDS.entries)?,
        access: table(ebpf, &layout::ACCESS, layout::ACCESS.entries)?,
        prefixes: table(ebpf, &layout::PREFIXES, sizes.prefix_lines)?,
        realms: table(ebpf, &layout::REALMS, sizes.realm_lines)?,
        newcomers: table(ebpf, &layout::NEWCOMERS, sizes.newcomers)?,
        newcomers_ipv6: table(ebpf, &layout::NEWCOMERS_IPV6, sizes.newcomers_ipv6)?,
        flows_ipv6: table(ebpf, &layout::FLOWS_IPV6, sizes.flows_ipv6)?,
        constants: *constants,
        parts: Parts::of_table(sizes.slab_lines),
    })
}

/// A descriptor of its own for a map.
fn copy_of(spec: &'static MapSpec, data: &MapData) -> Result<OwnedFd, LoadError> {
    let copy = data.fd().as_fd().try_clone_to_owned();
    copy.map_err(|source| LoadError::Memory {
        map: spec.name,
        elements: 1,
        source,
    })
}

/// The table of sessions, through descriptors of its own.
fn sessions(ebpf: &Ebpf) -> Result<Sessions, LoadError> {
    let spec = &layout::SESSIONS;
    let Some(Map::HashMap(data)) = ebpf.map(spec.name) else {
        return Err(LoadError::NoMap(spec.name));
    };
    let map = MapData::from_fd(copy_of(spec, data)?).map_err(failed(spec))?;
    let map = HashMap::try_from(Map::HashMap(map)).map_err(failed(spec))?;
    Ok(Sessions::mapped(map, copy_of(spec, data)?))
}

/// The table of fragmented datagrams, through a descriptor of its own.
fn datagrams(ebpf: &Ebpf) -> Result<Datagrams, LoadError> {
    let spec = &layout::FRAGMENTS;
    let Some(Map::LruHashMap(data)) = ebpf.map(spec.name) else {
        return Err(LoadError::NoMap(spec.name));
    };
    let map = MapData::from_fd(copy_of(spec, data)?).map_err(failed(spec))?;
    let map = HashMap::try_from(Map::LruHashMap(map)).map_err(failed(spec))?;
    Ok(Datagrams::mapped(map))
}

fn table<T>(ebpf: &Ebpf, spec: &'static MapSpec, elements: u32) -> Result<Table<T>, LoadError> {
    let map = ebpf.map(spec.name).ok_or(LoadError::NoMap(spec.name))?;
    let elements = elements as usize;
    let memory = |source| LoadError::Memory {
        map: spec.name,
        elements,
        source,
    };
    let Map::Array(data) = map else {
        return Err(LoadError::NoMap(spec.name));
    };
    let fd: BorrowedFd<'_> = data.fd().as_fd();
    Table::mapped(fd, elements).map_err(memory)
}
