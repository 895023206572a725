//! UDP echo: the answer tells which address and port the server saw.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::namespace::Namespace;

/// An answer that is not here after this long is asked for again.
const RETRY: Duration = Duration::from_millis(500);

/// Stands between what was sent and the address in an answer.
const SEEN: &[u8] = b" seen from ";

/// An echo server; stops when dropped.
#[derive(Debug)]
pub struct UdpEcho {
    address: SocketAddrV4,
    socket: UdpSocket,
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpEcho {
    /// Starts a server in `namespace`.
    ///
    /// # Errors
    /// The address is not there, or the port is taken.
    pub fn start(namespace: &Namespace, address: SocketAddrV4) -> Result<Self> {
        let socket = namespace.within(|| {
            UdpSocket::bind(address).with_context(|| format!("cannot bind UDP {address}"))
        })?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let thread = {
            let (socket, stop, answered) = (
                socket.try_clone()?,
                Arc::clone(&stop),
                Arc::clone(&answered),
            );
            std::thread::spawn(move || serve(&socket, &stop, &answered))
        };
        Ok(Self {
            address,
            socket,
            answered,
            stop,
            thread: Some(thread),
        })
    }

    /// Its address and port.
    #[must_use]
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Datagrams that it has answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Sends a datagram that nobody asked for.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(&self, to: SocketAddrV4, data: &[u8]) -> Result<()> {
        self.socket
            .send_to(data, to)
            .with_context(|| format!("cannot send from {} to {to}", self.address))?;
        Ok(())
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic would have been seen as a missing answer.
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, stop: &AtomicBool, answered: &AtomicU64) {
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        // Time-outs, and errors that ICMP reported.
        let Ok((length, peer)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let mut answer = buffer[..length].to_vec();
        answer.extend_from_slice(SEEN);
        answer.extend_from_slice(peer.to_string().as_bytes());
        if socket.send_to(&answer, peer).is_ok() {
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A socket in `namespace`, bound to `source` and any port.
///
/// # Errors
/// The address is not there.
pub fn echo_from(namespace: &Namespace, source: Ipv4Addr) -> Result<UdpSocket> {
    namespace.within(|| {
        UdpSocket::bind(SocketAddrV4::new(source, 0))
            .with_context(|| format!("cannot bind UDP {source}"))
    })
}

/// Sends `data` to an echo server and returns the address and port that it saw. With
/// `resend` the datagram is sent again while there is no answer; without, one loss is an error.
///
/// # Errors
/// No answer in `secs` seconds, or another one than the data that was sent.
pub fn exchange(
    socket: &UdpSocket,
    server: SocketAddrV4,
    data: &[u8],
    resend: bool,
    secs: f64,
) -> Result<SocketAddrV4> {
    let local = socket.local_addr()?;
    let end = Instant::now() + Duration::from_secs_f64(secs);
    let mut buffer = [0; 2048];
    let mut is_sent = false;
    while Instant::now() < end {
        if resend || !is_sent {
            socket
                .send_to(data, server)
                .with_context(|| format!("cannot send from {local} to {server}"))?;
            is_sent = true;
        }
        let left = end.saturating_duration_since(Instant::now());
        socket.set_read_timeout(Some(left.min(RETRY).max(Duration::from_millis(1))))?;
        match socket.recv_from(&mut buffer) {
            Ok((length, peer)) if peer == SocketAddr::V4(server) => {
                return seen_in(&buffer[..length], data)
                    .with_context(|| format!("answer of {server} to {local}"));
            }
            // Of somebody else: not for this exchange.
            Ok(_) => {}
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error).with_context(|| format!("receiving at {local}")),
        }
    }
    bail!("{local} got no answer from UDP {server} in {secs} s")
}

fn seen_in(answer: &[u8], data: &[u8]) -> Result<SocketAddrV4> {
    let text = answer
        .strip_prefix(data)
        .and_then(|rest| rest.strip_prefix(SEEN))
        .context("the answer is not what was sent")?;
    std::str::from_utf8(text)?
        .parse()
        .context("the server saw no IPv4 address")
}

/// Whether a read ended because nothing came.
fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
