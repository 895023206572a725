//! What aya does not do with a pinned link: ask it for its interface, and detach it for good.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use aya::programs::ProgramFd;

use super::bpf_fs::c_path;

// Of `enum bpf_cmd` in linux/bpf.h.
const OBJ_GET: libc::c_long = 7;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const LINK_UPDATE: libc::c_long = 29;
const LINK_DETACH: libc::c_long = 34;

/// `union bpf_attr`, as far as the commands here have it.
#[repr(C)]
#[derive(Default)]
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct Detach {
    link_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct Update {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// `struct bpf_link_info` of an XDP link.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    _padding: u32,
    ifindex: u32,
    _rest: [u32; 3],
}

/// A link that is pinned somewhere.
pub(super) struct PinnedLink(OwnedFd);

impl PinnedLink {
    /// The link that is pinned at `path`.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = c_path(path)?;
        let mut attr = ObjGet {
            pathname: path.as_ptr() as u64,
            ..ObjGet::default()
        };
        let fd = bpf(OBJ_GET, &mut attr)?;
        // SAFETY: the kernel has just made it for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The interface that the program is attached to; 0 if it is gone, or the link detached.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn ifindex(&self) -> io::Result<u32> {
        let mut info = LinkInfo::default();
        let mut attr = GetInfo {
            bpf_fd: self.number(),
            info_len: size_of::<LinkInfo>() as u32,
            info: &raw mut info as u64,
        };
        bpf(OBJ_GET_INFO_BY_FD, &mut attr)?;
        Ok(info.ifindex)
    }

    /// Takes the program off the interface: no packet meets it any more on return. (Without
    /// this the kernel does it some time after the last descriptor and pin are gone.)
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn detach(&self) -> io::Result<()> {
        let link_fd = self.number();
        bpf(LINK_DETACH, &mut Detach { link_fd }).map(drop)
    }

    /// Puts a program in the place of the one that the link holds: each packet meets the
    /// one or the other.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn update(&self, program: &ProgramFd) -> io::Result<()> {
        let mut attr = Update {
            link_fd: self.number(),
            new_prog_fd: program.as_fd().as_raw_fd() as u32,
            ..Update::default()
        };
        bpf(LINK_UPDATE, &mut attr).map(drop)
    }

    fn number(&self) -> u32 {
        self.0.as_raw_fd() as u32
    }
}

fn bpf<A>(command: libc::c_long, attr: &mut A) -> io::Result<i32> {
    // SAFETY: `attr` is laid out as the command wants it, and the kernel reads or writes no more
    // than its size. What it points to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<A>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as i32)
}
