//! XDP programs on interfaces, and the pins that keep tables and programs
//! alive when the daemon dies: traffic goes on, and nothing is passed
//! untranslated.

use std::fs;
use std::io;
use std::mem::size_of;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode as AyaMode};
use cgn_common::layout::{
    self, BlockEntry, LAYOUT_VERSION, Line, MapSpec, Parts, Room, Settings, Used,
};
use cgn_common::verdict::Protocol;

use super::load::{Dataplane, Entry, LoadError};
use super::memory::Table;
use super::{bpf_fs, growth, pinned_link};
use crate::config::XdpMode;
use crate::realms::InsideKey;

/// Why a program is not on an interface.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(
        "XDP cannot be attached to {interface}; another XDP program may be there (ip link show dev {interface}), or the driver has no native XDP (xdp.mode = \"generic\")"
    )]
    Attach {
        interface: String,
        #[source]
        source: aya::programs::ProgramError,
    },
    #[error("the XDP link of {interface} cannot be pinned at {path}")]
    Pin {
        interface: String,
        path: PathBuf,
        #[source]
        source: LinkError,
    },
    #[error("no BPF file system at {path}, and it cannot be mounted")]
    Mount {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// How XDP runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Native,
    Generic,
}

impl Mode {
    const ALL: [Self; 2] = [Self::Native, Self::Generic];

    /// Word in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Native => "native",
            Mode::Generic => "generic",
        }
    }
}

/// Begin of the name of an empty directory that is there while a pool grows.
const GROWS: &str = "grows-";

/// Where the new one of a table is pinned while a pool grows.
pub(super) fn path_of_new(directory: &Path, spec: &MapSpec) -> PathBuf {
    directory.join(format!("new-{}", spec.name))
}

/// Where the pins are.
#[derive(Debug)]
pub struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// Makes sure that `directory` is in a BPF file system: one is mounted at
    /// `/sys/fs/bpf` for directories below it, else at the directory itself.
    ///
    /// # Errors
    /// It cannot be made or mounted.
    pub fn open(directory: &Path) -> Result<Self, AttachError> {
        bpf_fs::make(directory).map_err(|source| AttachError::Mount {
            path: directory.to_owned(),
            source,
        })?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// The pins that a daemon left in `directory`; makes nothing.
    #[must_use]
    pub fn left_in(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// First settings word of the tables that are pinned here; None without.
    #[must_use]
    pub fn layout_word(&self) -> Option<u64> {
        let table: Table<Settings> = self.table(&layout::SETTINGS, Some(1))?;
        Some(table.get(0)?.layout.load())
    }

    /// The subscriber of each block in the tables that are pinned here, whatever their layout.
    #[must_use]
    pub fn block_owners(&self) -> Vec<InsideKey> {
        let used = self.used_blocks().into_iter();
        used.map(|(_, inside)| InsideKey::from_bits(inside))
            .collect()
    }

    /// Ports in use in these blocks, with those in hold, of all protocols. None if the layout is of
    /// another version: nobody knows where they are counted.
    #[must_use]
    pub fn ports_used(&self) -> Option<u64> {
        if self.layout_word()? as u32 != LAYOUT_VERSION {
            return None;
        }
        let slabs = self.table::<Line>(&layout::SLABS, None)?;
        let used = self.used_blocks().into_iter();
        let parts = Parts::of_table(slabs.len() as u32);
        let ports = used.flat_map(|(line, _)| {
            let (line, first) = parts.room(line);
            let room = slabs.get(line).map(|line| Room::new(line, first));
            let used = room.map_or(Used::NONE, Room::used);
            Protocol::ALL.map(|protocol| u64::from(used.of(protocol)))
        });
        Some(ports.sum())
    }

    /// First slab line and inside key of each block that somebody has.
    fn used_blocks(&self) -> Vec<(u32, u32)> {
        let Some(blocks) = self.table::<BlockEntry>(&layout::BLOCKS, None) else {
            return Vec::new();
        };
        let rows = (0..blocks.len() as u32).filter_map(|row| blocks.get(row));
        let entries = rows.map(BlockEntry::read);
        entries.filter(|(line, _)| *line != 0).collect()
    }

    /// Second word of the same.
    #[must_use]
    pub fn fixed_word(&self) -> Option<u64> {
        let table: Table<Settings> = self.table(&layout::SETTINGS, Some(1))?;
        Some(table.get(0)?.fixed.load())
    }

    /// Says that tables of [`growth::RENEWED`] are going to be made beside the old ones, for a
    /// layout with this word.
    ///
    /// # Errors
    /// The kernel's.
    pub fn begin_growth(&self, word: u64) -> io::Result<()> {
        self.end_growth();
        fs::create_dir(self.directory.join(format!("{GROWS}{word:016x}")))
    }

    /// Ends what [`Pins::begin_growth`] began. If the settings have the word of the new layout,
    /// the new tables take the places of the old ones, else they go. Whoever dies in between
    /// leaves it to the next daemon.
    pub fn end_growth(&self) {
        let names = self.names();
        let Some(marker) = names.iter().find(|name| name.starts_with(GROWS)) else {
            return;
        };
        let word = u64::from_str_radix(&marker[GROWS.len()..], 16).ok();
        let is_valid = word.is_some() && word == self.layout_word();
        for map in growth::RENEWED {
            let new = path_of_new(&self.directory, map);
            let _ = match is_valid {
                true => fs::rename(new, self.directory.join(map.name)),
                false => fs::remove_file(new),
            };
        }
        let _ = fs::remove_dir(self.directory.join(marker));
    }

    pub(super) fn table<T>(&self, spec: &MapSpec, elements: Option<usize>) -> Option<Table<T>> {
        let map = aya::maps::MapData::from_pin(self.directory.join(spec.name)).ok()?;
        let info = map.info().ok()?;
        if info.value_size() as usize != size_of::<T>() {
            return None;
        }
        let elements = elements.unwrap_or(info.max_entries() as usize);
        Table::mapped(map.fd().as_fd(), elements).ok()
    }

    fn link_path(&self, interface: &str) -> PathBuf {
        self.directory.join(format!("link-{interface}"))
    }

    /// Attaches the program for `entry`, or puts it in the place of the one
    /// that an earlier daemon left there, without a gap.
    ///
    /// # Errors
    /// The kernel's reason, with what can be done.
    pub fn attach(
        &self,
        dataplane: &mut Dataplane,
        entry: Entry,
        interface: &str,
        ifindex: u32,
        mode: XdpMode,
    ) -> Result<Mode, AttachError> {
        let path = self.link_path(interface);
        let program = dataplane.program(entry)?;
        if let Ok(pinned) = PinnedLink::from_pin(&path) {
            let was = self.mode_of(interface);
            // An interface that was made anew, or got another's name, has another number.
            if self.attached_to(interface) == Some(ifindex)
                && let Ok(link) = XdpLink::try_from(FdLink::from(pinned))
                && program.attach_to_link(link).is_ok()
                && let Some(was) = was
            {
                warn_of_other_mode(interface, was, mode);
                return Ok(was);
            }
            self.detach(interface);
        }
        let attach_error = |source| AttachError::Attach {
            interface: interface.to_owned(),
            source,
        };
        let (id, mode) = match mode {
            XdpMode::Native => (
                program.attach_to_if_index(ifindex, AyaMode::Driver),
                Mode::Native,
            ),
            XdpMode::Generic => (
                program.attach_to_if_index(ifindex, AyaMode::Skb),
                Mode::Generic,
            ),
            XdpMode::Auto => match program.attach_to_if_index(ifindex, AyaMode::Driver) {
                Ok(id) => (Ok(id), Mode::Native),
                Err(error) => {
                    tracing::warn!(
                        interface,
                        error = &error as &dyn std::error::Error,
                        "no native XDP here: generic mode, several times slower"
                    );
                    (
                        program.attach_to_if_index(ifindex, AyaMode::Skb),
                        Mode::Generic,
                    )
                }
            },
        };
        let link = program
            .take_link(id.map_err(attach_error)?)
            .map_err(attach_error)?;
        let pin_error = |source| AttachError::Pin {
            interface: interface.to_owned(),
            path: path.clone(),
            source,
        };
        let link = FdLink::try_from(link).map_err(pin_error)?;
        // The pin keeps the link; the descriptor may go.
        let _ = link.pin(&path).map_err(|source| AttachError::Pin {
            interface: interface.to_owned(),
            path: path.clone(),
            source: LinkError::SyscallError(match source {
                aya::pin::PinError::SyscallError(error) => error,
                other => aya::sys::SyscallError {
                    call: "pin",
                    io_error: io::Error::other(other.to_string()),
                },
            }),
        })?;
        self.note_mode(interface, mode);
        Ok(mode)
    }

    /// BPF file systems hold no plain files: the mode of a pinned link is the
    /// name of an empty directory beside it.
    fn note_mode(&self, interface: &str, mode: Mode) {
        let _ = fs::create_dir(self.mode_path(interface, mode));
    }

    fn mode_of(&self, interface: &str) -> Option<Mode> {
        let mut all = Mode::ALL.into_iter();
        all.find(|mode| self.mode_path(interface, *mode).is_dir())
    }

    fn mode_path(&self, interface: &str, mode: Mode) -> PathBuf {
        self.directory
            .join(format!("mode-{interface}-{}", mode.name()))
    }

    fn attached_to(&self, interface: &str) -> Option<u32> {
        let link = pinned_link::PinnedLink::open(&self.link_path(interface)).ok()?;
        link.ifindex().ok().filter(|ifindex| *ifindex != 0)
    }

    /// Interfaces with a link that is pinned here.
    #[must_use]
    pub fn interfaces(&self) -> Vec<String> {
        let names = self.names().into_iter();
        let mut links: Vec<String> = names
            .filter_map(|name| Some(name.strip_prefix("link-")?.to_owned()))
            .collect();
        links.sort();
        links
    }

    /// Takes the program off an interface: no packet meets it any more on return.
    pub fn detach(&self, interface: &str) {
        let path = self.link_path(interface);
        if let Ok(link) = pinned_link::PinnedLink::open(&path)
            && let Err(error) = link.detach()
        {
            // The interface is gone: nothing left to be taken off.
            tracing::debug!(
                interface,
                error = &error as &dyn std::error::Error,
                "detach"
            );
        }
        let _ = fs::remove_file(path);
        for mode in Mode::ALL {
            let _ = fs::remove_dir(self.mode_path(interface, mode));
        }
    }

    /// Unpins the access lists, so that the next programs get some of their own: those that are on
    /// interfaces keep theirs, and so no packet meets half of one list and half of another.
    pub fn remove_lists(&self) {
        for map in [
            &layout::ACCESS,
            &layout::PREFIXES,
            &layout::NEWCOMERS,
            &layout::NEWCOMERS_IPV6,
        ] {
            let _ = fs::remove_file(self.directory.join(map.name));
        }
    }

    /// True if flows of IPv6 are known in a table of so many words; one of another size is unpinned.
    #[must_use]
    pub fn keeps_flows(&self, words: u32) -> bool {
        let path = self.directory.join(layout::FLOWS_IPV6.name);
        let map = aya::maps::MapData::from_pin(&path);
        let info = map.ok().and_then(|map| map.info().ok());
        let keeps = info.is_some_and(|info| info.max_entries() == words);
        if !keeps {
            let _ = fs::remove_file(path);
        }
        keeps
    }

    /// Unpins the tables. Programs on interfaces keep theirs until others take their place.
    pub fn remove_tables(&self) {
        self.end_growth();
        for map in layout::MAPS {
            let _ = fs::remove_file(self.directory.join(map.name));
        }
    }

    /// Takes the programs off all interfaces and removes all that is ours: the pins, the
    /// directory, and the BPF file system if we mounted it. The tables are freed when the
    /// daemon ends.
    pub fn close(self) {
        for interface in self.interfaces() {
            self.detach(&interface);
        }
        self.remove_tables();
        bpf_fs::remove(&self.directory);
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten();
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }
}

fn warn_of_other_mode(interface: &str, is: Mode, wanted: XdpMode) {
    let differs = match wanted {
        XdpMode::Auto => false,
        XdpMode::Native => is != Mode::Native,
        XdpMode::Generic => is != Mode::Generic,
    };
    if differs {
        tracing::warn!(
            interface,
            mode = is.name(),
            "xdp.mode asks for another mode; this one stays until `cgn detach` and a new start"
        );
    }
}
