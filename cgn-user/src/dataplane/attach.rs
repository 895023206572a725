//! XDP programs on interfaces, and the pins that keep tables and programs
//! alive when the daemon dies: traffic goes on, and nothing is passed
//! untranslated.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode as AyaMode};
use cgn_common::layout::{self, Settings};

use super::load::{Dataplane, Entry, LoadError};
use super::memory::Table;
use crate::config::XdpMode;

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
    /// Word in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Native => "native",
            Mode::Generic => "generic",
        }
    }
}

const BPF_FS_MAGIC: libc::c_long = 0xcafe_4a11;

/// Where the pins are; knows what it must tidy up.
#[derive(Debug)]
pub struct Pins {
    directory: PathBuf,
    /// A BPF file system that we mounted there ourselves.
    mounted: bool,
}

impl Pins {
    /// Makes sure that `directory` is in a BPF file system: one is mounted at
    /// `/sys/fs/bpf` for directories below it, else at the directory itself.
    ///
    /// # Errors
    /// It cannot be made or mounted.
    pub fn open(directory: &Path) -> Result<Self, AttachError> {
        let failed = |source| AttachError::Mount {
            path: directory.to_owned(),
            source,
        };
        let standard = Path::new("/sys/fs/bpf");
        let mut mounted = false;
        if directory.starts_with(standard) && directory != standard {
            if !is_bpf_fs(standard) {
                mount_bpf_fs(standard).map_err(failed)?;
            }
            fs::create_dir_all(directory).map_err(failed)?;
        } else {
            fs::create_dir_all(directory).map_err(failed)?;
            if !is_bpf_fs(directory) {
                mount_bpf_fs(directory).map_err(failed)?;
                mounted = true;
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            mounted,
        })
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// First settings word of the tables that are pinned here; None without.
    #[must_use]
    pub fn layout_word(&self) -> Option<u64> {
        let path = self.directory.join(layout::SETTINGS.name);
        let map = aya::maps::MapData::from_pin(path).ok()?;
        let table: Table<Settings> = {
            use std::os::fd::AsFd;
            Table::mapped(map.fd().as_fd(), 1).ok()?
        };
        Some(table.get(0)?.layout.load())
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
            if let Ok(link) = XdpLink::try_from(FdLink::from(pinned))
                && program.attach_to_link(link).is_ok()
                && let Some(was) = was
            {
                return Ok(was);
            }
            // A link of an interface that is gone.
            let _ = fs::remove_file(&path);
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
        let _ = fs::create_dir(
            self.directory
                .join(format!("mode-{interface}-{}", mode.name())),
        );
    }

    fn mode_of(&self, interface: &str) -> Option<Mode> {
        [Mode::Native, Mode::Generic].into_iter().find(|mode| {
            self.directory
                .join(format!("mode-{interface}-{}", mode.name()))
                .is_dir()
        })
    }

    /// Removes our pins: XDP leaves the interfaces and the tables are freed
    /// when the daemon ends. Removes nothing that is not ours.
    pub fn remove(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with("link-") || layout::MAPS.iter().any(|map| map.name == name) {
                let _ = fs::remove_file(entry.path());
            } else if name.starts_with("mode-") {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }

    /// Removes the pins, the directory, and the BPF file system if we mounted it.
    pub fn close(self) {
        self.remove();
        if self.mounted {
            unmount(&self.directory);
        }
        let _ = fs::remove_dir(&self.directory);
    }
}

fn c_path(path: &Path) -> io::Result<std::ffi::CString> {
    std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

fn is_bpf_fs(path: &Path) -> bool {
    let Ok(path) = c_path(path) else { return false };
    // SAFETY: all bytes zero is a valid statfs.
    let mut info: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a valid C string and a statfs to write into.
    let result = unsafe { libc::statfs(path.as_ptr(), &raw mut info) };
    result == 0 && info.f_type as libc::c_long == BPF_FS_MAGIC
}

fn mount_bpf_fs(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: valid C strings; data may be null.
    let result = unsafe {
        libc::mount(
            c"bpf".as_ptr(),
            path.as_ptr(),
            c"bpf".as_ptr(),
            libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
            std::ptr::null(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn unmount(path: &Path) {
    if let Ok(path) = c_path(path) {
        // SAFETY: a valid C string.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}
