//! An XDP program that passes everything: with it a veth end takes redirected frames without GRO,
//! so that a capture shows the very packets.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

use super::namespace::Namespace;

/// `r0 = XDP_PASS; exit`
const PROGRAM: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;

/// First fields of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
}

/// First fields of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// The attached program; detached when this value ends.
#[derive(Debug)]
pub struct XdpPass {
    _link: OwnedFd,
}

impl XdpPass {
    /// Attaches to a device of a namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn attach(namespace: &Namespace, device: &str) -> Result<Self> {
        let device = CString::new(device).context("the device's name has a zero in it")?;
        let program = Self::load().context("cannot load the passing program")?;
        namespace.within(|| {
            // SAFETY: a string that ends in zero.
            let ifindex = unsafe { libc::if_nametoindex(device.as_ptr()) };
            let create = LinkCreate {
                program: program.as_raw_fd() as u32,
                ifindex,
                attach_type: BPF_XDP,
                flags: 0,
            };
            let link =
                bpf(BPF_LINK_CREATE, &create).context("cannot attach the passing program")?;
            Ok(Self { _link: link })
        })
    }

    /// Loads the program alone: whether the kernel takes BPF programs from us at all.
    ///
    /// # Errors
    /// The kernel's.
    pub fn load() -> io::Result<OwnedFd> {
        let load = ProgramLoad {
            kind: BPF_PROG_TYPE_XDP,
            instructions: PROGRAM.len() as u32,
            code: PROGRAM.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
        };
        bpf(BPF_PROG_LOAD, &load)
    }
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: `attributes` are the first fields of the union for this command, with their size; the
    // kernel takes fields beyond it as zero. Pointers in it live in the caller.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    match libc::c_int::try_from(fd) {
        // SAFETY: a new descriptor that nobody else has.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
