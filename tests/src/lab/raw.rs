//! Packets as a test writes them, fragments for one.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

use super::namespace::Namespace;

/// A socket that sends whole packets with their headers, of IPv4 or of IPv6.
#[derive(Debug)]
pub struct RawSocket(OwnedFd);

impl RawSocket {
    /// Opens one for IPv4 in `namespace`.
    ///
    /// # Errors
    /// No rights.
    pub fn open(namespace: &Namespace) -> Result<Self> {
        Self::open_for(namespace, libc::AF_INET)
    }

    /// Opens one for IPv6.
    ///
    /// # Errors
    /// No rights.
    pub fn open_ipv6(namespace: &Namespace) -> Result<Self> {
        Self::open_for(namespace, libc::AF_INET6)
    }

    fn open_for(namespace: &Namespace, family: libc::c_int) -> Result<Self> {
        namespace.within(|| {
            // SAFETY: a system call without pointers.
            let fd = unsafe {
                libc::socket(
                    family,
                    libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                    libc::IPPROTO_RAW,
                )
            };
            if fd < 0 {
                return Err(io::Error::last_os_error()).context("no raw socket");
            }
            // SAFETY: a new descriptor that nobody else has.
            Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
        })
    }

    /// Sends a packet of IPv4 to the destination in its header.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(&self, packet: &[u8]) -> Result<()> {
        let to: [u8; 4] = packet
            .get(16..20)
            .and_then(|octets| octets.try_into().ok())
            .context("no IPv4 packet")?;
        // SAFETY: all bytes zero is a valid address of the kernel's plain C struct.
        let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        address.sin_family = libc::AF_INET as libc::sa_family_t;
        address.sin_addr.s_addr = u32::from(Ipv4Addr::from(to)).to_be();
        self.send_to(packet, &address)
    }

    /// The same of IPv6.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send_ipv6(&self, packet: &[u8]) -> Result<()> {
        let to: [u8; 16] = packet
            .get(24..40)
            .and_then(|octets| octets.try_into().ok())
            .context("no IPv6 packet")?;
        // SAFETY: all bytes zero is a valid address of the kernel's plain C struct.
        let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
        address.sin6_family = libc::AF_INET6 as libc::sa_family_t;
        address.sin6_addr.s6_addr = to;
        self.send_to(packet, &address)
    }

    /// `address` is one of the kernel's structs for them, of the socket's family.
    fn send_to<A>(&self, packet: &[u8], address: &A) -> Result<()> {
        // SAFETY: packet and address are valid for the call, with their lengths.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                std::ptr::from_ref(address).cast(),
                size_of::<A>() as libc::socklen_t,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error()).context("a packet was not sent");
        }
        Ok(())
    }
}
