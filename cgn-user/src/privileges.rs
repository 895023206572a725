//! Least privilege: the daemon starts as root and gives up at once what it never needs; each
//! thread gives up what only the start needs.
//!
//! A reload executes the program again, and it must be able to load programs then; nothing gives a
//! capability back to a process that may gain none (`no_new_privs`). So the process, that is its
//! main thread, keeps what starting needs, and the threads that see packets and requests do not.

use std::collections::HashSet;
use std::io;

use caps::{CapSet, Capability, CapsHashSet};

/// What starting needs. BPF: load programs, make tables. PERFMON: the verifier lets programs
/// compare pointers. `NET_ADMIN`, `NET_RAW`: XDP and AF_XDP on interfaces, neighbours. `SYS_ADMIN`:
/// mount the BPF file system. `SYS_RESOURCE`, `IPC_LOCK`: memory of tables and sockets.
const START: &[Capability] = &[
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_SYS_RESOURCE,
    Capability::CAP_IPC_LOCK,
];

/// What a thread needs while the daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Packets, routes and tables.
    Engine,
    /// Answers to the API, and metrics: reads tables and programs.
    Front,
    /// Writes, seals and sends the mapping log.
    Log,
}

impl Work {
    const fn needs(self) -> &'static [Capability] {
        match self {
            Self::Engine => &[
                Capability::CAP_BPF,
                Capability::CAP_PERFMON,
                Capability::CAP_NET_ADMIN,
                Capability::CAP_NET_RAW,
            ],
            Self::Front => &[
                Capability::CAP_BPF,
                Capability::CAP_PERFMON,
                Capability::CAP_NET_ADMIN,
            ],
            Self::Log => &[],
        }
    }
}

/// The kernel did not take a capability away.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    #[error("cannot give up capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    #[error("cannot forbid new privileges: {0}")]
    NewPrivileges(#[source] io::Error),
}

/// Gives up, for good, every capability that starting does not need; no program that this process
/// executes gains any. Call it while there is one thread.
///
/// # Errors
/// The kernel's.
pub fn give_up() -> Result<(), PrivilegeError> {
    // Without SETPCAP the bounding set stays, and nothing can be gained from it: see below.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for capability in caps::runtime::thread_all_supported() {
            if !START.contains(&capability) {
                caps::drop(None, CapSet::Bounding, capability)?;
            }
        }
    }
    keep(START)?;
    // SAFETY: sets a flag of this process; no memory is passed.
    match unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(PrivilegeError::NewPrivileges(io::Error::last_os_error())),
    }
}

/// Narrows the calling thread to what `work` needs. That it cannot is logged: all that is lost then
/// is a second line of defence.
pub fn narrow(work: Work) {
    if let Err(error) = keep(work.needs()) {
        tracing::warn!(?work, %error, "a thread keeps more capabilities than it needs");
    }
}

/// Keeps those of `needed` that the calling thread has, and no others.
fn keep(needed: &[Capability]) -> Result<(), PrivilegeError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = needed
        .iter()
        .copied()
        .collect::<HashSet<_>>()
        .intersection(&permitted)
        .copied()
        .collect();
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())?;
    caps::set(None, CapSet::Permitted, &kept)?;
    Ok(())
}
