//! Sending mirrored frames: by an interface as they are, or to a collector by IP. Never waits: what the kernel
//! does not take at once is lost, and counted.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::config::{Mirror, MirrorTo};
use crate::dataplane::interface;

/// Packets of one system call.
const BATCH: usize = 64;
/// Bytes that wait in the kernel at most.
const SEND_BUFFER: libc::c_int = 4 << 20;
/// An interface that is gone is looked for so often.
const SEARCH: Duration = Duration::from_secs(1);

/// What one call sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub sent: u64,
    pub bytes: u64,
    pub lost: u64,
}

/// A socket for mirrored frames could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("mirror {name:?}: {step}; it needs CAP_NET_RAW: {source}")]
pub struct SenderError {
    pub name: String,
    pub step: &'static str,
    pub source: io::Error,
}

/// Where frames go.
enum Target {
    /// An interface; by its name, for it may go and come back with another number.
    Interface {
        name: String,
        address: libc::sockaddr_ll,
        searched: Option<Instant>,
    },
    Collector(libc::sockaddr_in),
}

/// The socket, and packets that are to be sent.
pub struct Sender {
    socket: OwnedFd,
    target: Target,
    queue: Vec<Vec<u8>>,
    /// Why something was lost last.
    pub error: Option<io::Error>,
}

impl Sender {
    /// Opens the socket, which needs CAP_NET_RAW; nothing later does.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(mirror: &Mirror) -> Result<Self, SenderError> {
        let failed = |step| {
            let name = mirror.name.clone();
            move |source| SenderError { name, step, source }
        };
        let is_local = mirror.to == MirrorTo::Interface;
        let (family, protocol) = match is_local {
            // Protocol 0: it receives nothing.
            true => (libc::AF_PACKET, 0),
            false => (libc::AF_INET, libc::IPPROTO_GRE),
        };
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: numbers only.
        let socket = unsafe { libc::socket(family, kind, protocol) };
        if socket < 0 {
            return Err(failed("no socket")(io::Error::last_os_error()));
        }
        // SAFETY: a descriptor of our own, just opened.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        set(&socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER)
            .or_else(|_| set(&socket, libc::SOL_SOCKET, libc::SO_SNDBUF, SEND_BUFFER))
            .map_err(failed("its buffer"))?;
        if !is_local {
            // A frame is larger than the MTU with our headers: it goes as fragments.
            let fragments = libc::IP_PMTUDISC_DONT;
            set(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, fragments)
                .map_err(failed("fragments"))?;
            // GRE of others comes here, too; nobody reads it.
            set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, 0).map_err(failed("its buffer"))?;
            if let Some(source) = mirror.source {
                bind(&socket, source).map_err(failed("its source address"))?;
            }
        }
        let target = match mirror.collector {
            Some(collector) if !is_local => Target::Collector(address_of(collector)),
            _ => Target::Interface {
                name: mirror.interface.clone(),
                address: link_address(&mirror.interface),
                searched: None,
            },
        };
        Ok(Self {
            socket,
            target,
            queue: Vec::new(),
            error: None,
        })
    }

    /// Queues a packet; with many, sends them.
    pub fn put(&mut self, packet: Vec<u8>) -> Outcome {
        self.queue.push(packet);
        match self.queue.len() {
            BATCH => self.flush(),
            _ => Outcome::default(),
        }
    }

    /// Sends what is queued.
    pub fn flush(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        let packets = std::mem::take(&mut self.queue);
        let mut rest = &packets[..];
        while !rest.is_empty() {
            self.search();
            match self.send(rest) {
                Ok(0) => break,
                Ok(sent) => {
                    let (gone, left) = rest.split_at(sent.min(rest.len()));
                    outcome.sent += gone.len() as u64;
                    outcome.bytes += gone.iter().map(|packet| packet.len() as u64).sum::<u64>();
                    rest = left;
                    self.error = None;
                }
                Err(error) => {
                    let is_own = error.raw_os_error() == Some(libc::EMSGSIZE);
                    self.error = Some(error);
                    if !is_own {
                        break;
                    }
                    // It is too large for the interface; others may not be.
                    outcome.lost += 1;
                    rest = &rest[1..];
                }
            }
        }
        outcome.lost += rest.len() as u64;
        outcome
    }

    /// Looks for an interface that is not there, or was not when it was used last.
    fn search(&mut self) {
        let Target::Interface {
            name,
            address,
            searched,
        } = &mut self.target
        else {
            return;
        };
        let is_gone = address.sll_ifindex == 0
            || self.error.as_ref().is_some_and(|error| {
                matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENODEV))
            });
        if is_gone && searched.is_none_or(|searched| searched.elapsed() >= SEARCH) {
            *searched = Some(Instant::now());
            *address = link_address(name);
        }
    }

    /// Returns how many of the first packets the kernel took.
    fn send(&self, packets: &[Vec<u8>]) -> io::Result<usize> {
        let (name, length) = match &self.target {
            Target::Interface { address, .. } => (
                std::ptr::from_ref(address).cast_mut().cast(),
                size_of::<libc::sockaddr_ll>(),
            ),
            Target::Collector(address) => (
                std::ptr::from_ref(address).cast_mut().cast(),
                size_of::<libc::sockaddr_in>(),
            ),
        };
        let mut parts: Vec<libc::iovec> = packets
            .iter()
            .map(|packet| libc::iovec {
                iov_base: packet.as_ptr().cast_mut().cast(),
                iov_len: packet.len(),
            })
            .collect();
        let message = |part| {
            // SAFETY: a message header may be all zero.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_name = name;
            message.msg_hdr.msg_namelen = length as libc::socklen_t;
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message
        };
        let mut messages: Vec<_> = parts
            .iter_mut()
            .map(|part| message(&raw mut *part))
            .collect();
        // SAFETY: messages, their parts, the packets and the address live across the call, which only
        // writes the lengths that were sent.
        let sent = unsafe {
            libc::sendmmsg(
                self.socket.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as libc::c_uint,
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

fn set(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, to: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: an integer with its length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const to).cast(),
            length,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn bind(socket: &OwnedFd, source: Ipv4Addr) -> io::Result<()> {
    let address = address_of(source);
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: an address with its length.
    match unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn address_of(address: Ipv4Addr) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: address.to_bits().to_be(),
        },
        sin_zero: [0; 8],
    }
}

/// With number 0 if the interface is not there.
fn link_address(interface: &str) -> libc::sockaddr_ll {
    // SAFETY: an address may be all zero.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_ifindex = interface::index_of(interface).unwrap_or(0) as libc::c_int;
    address
}
