//! Whether this machine can show anything: one sentence if not.

use std::io;

use anyhow::{Result, bail};

use crate::lab::XdpPass;

/// Oldest kernel on which the CGN runs.
const OLDEST_KERNEL: (u32, u32) = (6, 1);

/// Checks what the demonstration needs of the machine.
///
/// # Errors
/// One sentence that says what is missing, and what to do.
pub fn check() -> Result<()> {
    // SAFETY: no arguments, cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        bail!(
            "the demonstration makes network namespaces and loads BPF programs, so it needs root: run it with sudo"
        );
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if parse_release(&release).is_none_or(|version| version < OLDEST_KERNEL) {
        let (major, minor) = OLDEST_KERNEL;
        bail!(
            "the kernel here is {}, and the CGN needs Linux {major}.{minor} or later",
            release.trim()
        );
    }
    if let Err(error) = XdpPass::load() {
        bail!(
            "the kernel refuses to load a BPF program ({error}): a container needs --privileged for it"
        );
    }
    // SAFETY: a new socket, closed at once.
    let socket = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW, 0) };
    if socket < 0 {
        bail!(
            "the kernel here has no AF_XDP sockets ({}): it needs CONFIG_XDP_SOCKETS",
            io::Error::last_os_error()
        );
    }
    // SAFETY: the descriptor from above, which nobody else has.
    unsafe { libc::close(socket) };
    Ok(())
}

/// Major and minor number of a kernel release such as `6.1.0-56-amd64`.
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release
        .trim()
        .split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::parse_release;

    #[test]
    fn releases_of_distributions() {
        for (release, wanted) in [
            ("6.1.0-56-amd64\n", Some((6, 1))),
            ("5.15.0-91-generic", Some((5, 15))),
            ("6.18.44-fc-v669", Some((6, 18))),
            ("7.0-rc1", Some((7, 0))),
            ("", None),
        ] {
            assert_eq!(parse_release(release), wanted, "{release:?}");
        }
    }
}
