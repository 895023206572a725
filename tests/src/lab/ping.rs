//! ICMP echo over raw sockets: identifiers are chosen here, and seen at the server's side.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::deadline::poll;
use super::namespace::Namespace;

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;

/// Length of an echo header and of the tag behind it.
const ECHO_BYTES: usize = 8;
const TAG_BYTES: usize = 16;

/// How long to wait for each reply.
const REPLY_WAIT: Duration = Duration::from_millis(1000);

/// How long the watch may take to see a request.
const WATCH_SECS: f64 = 2.0;

/// What a series of echo requests came to.
#[derive(Debug, Clone)]
pub struct PingOutcome {
    pub sent: u32,
    /// Replies with the right identifier, sequence number and content.
    pub received: u32,
    /// Tells these requests from others at the watch.
    pub tag: [u8; TAG_BYTES],
}

/// An ICMP echo message that came in.
#[derive(Debug, PartialEq, Eq)]
struct Echo {
    kind: u8,
    source: Ipv4Addr,
    identifier: u16,
    sequence: u16,
    tag: [u8; TAG_BYTES],
}

/// Sends `count` echo requests from `source` with `identifier`, each after the reply to the one
/// before. A first request may be lost while neighbours are resolved; that is counted as a loss.
///
/// # Errors
/// Sockets cannot be made.
pub fn ping(
    namespace: &Namespace,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    identifier: u16,
    count: u16,
) -> Result<PingOutcome> {
    let socket = namespace.within(|| {
        let socket = raw_socket()?;
        socket.bind(&SocketAddrV4::new(source, 0).into())?;
        Ok(socket)
    })?;
    let mut tag = [0; TAG_BYTES];
    tag[..4].copy_from_slice(&source.octets());
    tag[4..6].copy_from_slice(&identifier.to_be_bytes());
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos() as u64);
    tag[8..].copy_from_slice(&nanos.to_be_bytes());
    let mut received = 0;
    for sequence in 1..=count {
        let request = request(identifier, sequence, &tag);
        socket
            .send_to(&request, &SocketAddrV4::new(destination, 0).into())
            .with_context(|| format!("cannot send an echo request to {destination}"))?;
        let wanted = Echo {
            kind: ECHO_REPLY,
            source: destination,
            identifier,
            sequence,
            tag,
        };
        let end = Instant::now() + REPLY_WAIT;
        while Instant::now() < end {
            if receive(&socket).as_ref() == Some(&wanted) {
                received += 1;
                break;
            }
        }
    }
    Ok(PingOutcome {
        sent: u32::from(count),
        received,
        tag,
    })
}

/// Sees echo requests that arrive in a namespace; the kernel answers them.
#[derive(Debug)]
pub struct PingWatch {
    seen: Arc<Mutex<HashMap<[u8; TAG_BYTES], SocketAddrV4>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl PingWatch {
    /// Starts to watch.
    ///
    /// # Errors
    /// No raw socket.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let socket = namespace.within(raw_socket)?;
        let seen = Arc::new(Mutex::new(HashMap::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Some(echo) = receive(&socket).filter(|echo| echo.kind == ECHO_REQUEST) {
                        seen.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .insert(echo.tag, SocketAddrV4::new(echo.source, echo.identifier));
                    }
                }
            })
        };
        Ok(Self {
            seen,
            stop,
            thread: Some(thread),
        })
    }

    /// Address and identifier (as the port) of the last request with this tag. The reply may be
    /// faster than this watch, so it is waited for a little.
    #[must_use]
    pub fn seen(&self, tag: &[u8; TAG_BYTES]) -> Option<SocketAddrV4> {
        poll(WATCH_SECS, || {
            self.seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(tag)
                .copied()
        })
    }
}

impl Drop for PingWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic would have been seen as a missing request.
            let _ = thread.join();
        }
    }
}

fn raw_socket() -> Result<Socket> {
    let socket = Socket::new(
        Domain::IPV4,
        Type::from(libc::SOCK_RAW),
        Some(Protocol::ICMPV4),
    )
    .context("cannot open a raw ICMP socket")?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(socket)
}

fn request(identifier: u16, sequence: u16, tag: &[u8; TAG_BYTES]) -> Vec<u8> {
    let mut bytes = vec![ECHO_REQUEST, 0, 0, 0];
    bytes.extend_from_slice(&identifier.to_be_bytes());
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(tag);
    bytes.extend(0..=255_u8);
    let checksum = !internet_sum(&bytes);
    bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// One's-complement sum of 16-bit words (RFC 1071), folded.
pub(super) fn internet_sum(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks::<2>();
    let mut sum: u64 = words
        .iter()
        .map(|word| u64::from(u16::from_be_bytes(*word)))
        .sum();
    if let [last] = rest {
        sum += u64::from(*last) << 8;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The next echo message, if one comes within the socket's time-out. A raw socket gives the IPv4
/// header, too.
fn receive(socket: &Socket) -> Option<Echo> {
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let length = socket.recv(&mut buffer).ok()?;
    let bytes: Vec<u8> = buffer[..length]
        .iter()
        // SAFETY: the kernel has filled `length` bytes.
        .map(|byte| unsafe { byte.assume_init() })
        .collect();
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Option<Echo> {
    let header = usize::from(bytes.first()? & 15) * 4;
    let source: [u8; 4] = bytes.get(12..16)?.try_into().ok()?;
    let message = bytes.get(header..)?;
    let kind = *message.first()?;
    if !matches!(kind, ECHO_REPLY | ECHO_REQUEST) {
        return None;
    }
    Some(Echo {
        kind,
        source: source.into(),
        identifier: u16::from_be_bytes(message.get(4..6)?.try_into().ok()?),
        sequence: u16::from_be_bytes(message.get(6..8)?.try_into().ok()?),
        tag: message
            .get(ECHO_BYTES..ECHO_BYTES + TAG_BYTES)?
            .try_into()
            .ok()?,
    })
}
