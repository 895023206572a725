//! A steady stream of numbered datagrams to a server that returns each one: what is lost on the
//! way, in either direction, is known by its number and time.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use super::namespace::Namespace;

/// What sockets may hold, so that a busy machine loses nothing there: seconds of the stream.
static BUFFER_BYTES: libc::c_int = 64 << 20;
/// Datagrams that are sent at once at most, when the sender was late: they must fit the queues
/// of the devices, which hold 256.
const MOST_AT_ONCE: u64 = 32;
/// Number of the datagrams that open the way.
const OPENING: u64 = u64::MAX;
/// How long the last answers may take.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// What became of a stream.
#[derive(Debug)]
pub struct Streamed {
    pub sent: u64,
    /// Datagrams that the server saw, each once.
    pub served: u64,
    /// Numbers without an answer.
    pub lost: Vec<u64>,
    /// Answers that came more than once.
    pub repeated: u64,
    /// Addresses and ports that the server saw.
    pub seen: BTreeSet<SocketAddrV4>,
    /// When number 0 was sent, and when the last.
    pub secs: f64,
}

/// A stream under way; ends when dropped.
#[derive(Debug)]
pub struct UdpStream {
    stop: Arc<AtomicBool>,
    stop_answers: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    served: Arc<AtomicU64>,
    start: Instant,
    sender: Option<JoinHandle<()>>,
    receiver: Option<JoinHandle<Received>>,
    server: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Received {
    answered: BTreeSet<u64>,
    repeated: u64,
    seen: BTreeSet<SocketAddrV4>,
}

impl UdpStream {
    /// Waits for a first answer, then begins to send `per_sec` datagrams a second from `source` in `host` to a server of its own
    /// at `server` in `internet`.
    ///
    /// # Errors
    /// An address is not there, the port is taken, or nothing is answered.
    pub fn start(
        (host, source): (&Namespace, Ipv4Addr),
        (internet, server): (&Namespace, SocketAddrV4),
        per_sec: u64,
    ) -> Result<Self> {
        let serving = socket(internet, server)?;
        let sending = socket(host, SocketAddrV4::new(source, 0))?;
        sending
            .connect(server)
            .with_context(|| format!("no way to {server}"))?;
        let receiving = sending.try_clone()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stop_answers = Arc::new(AtomicBool::new(false));
        let (sent, served) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let server = std::thread::spawn({
            let (stop, served) = (Arc::clone(&stop_answers), Arc::clone(&served));
            move || serve(&serving, &stop, &served)
        });
        open(&sending)?;
        let start = Instant::now();
        Ok(Self {
            sender: Some(std::thread::spawn({
                let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
                move || send(&sending, per_sec, start, &stop, &sent)
            })),
            receiver: Some(std::thread::spawn({
                let stop = Arc::clone(&stop_answers);
                move || receive(&receiving, &stop)
            })),
            server: Some(server),
            stop,
            stop_answers,
            sent,
            served,
            start,
        })
    }

    /// Seconds since the first datagram.
    #[must_use]
    pub fn secs(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Ends the stream and tells what became of it.
    ///
    /// # Errors
    /// A thread of it panicked.
    pub fn finish(mut self) -> Result<Streamed> {
        self.stop.store(true, Ordering::Relaxed);
        let secs = self.secs();
        join(self.sender.take())?;
        std::thread::sleep(LAST_ANSWERS);
        self.stop_answers.store(true, Ordering::Relaxed);
        let received = join(self.receiver.take())?;
        join(self.server.take())?;
        let sent = self.sent.load(Ordering::Relaxed);
        let answered = received.answered;
        Ok(Streamed {
            sent,
            served: self.served.load(Ordering::Relaxed),
            lost: (0..sent)
                .filter(|number| !answered.contains(number))
                .collect(),
            repeated: received.repeated,
            seen: received.seen,
            secs,
        })
    }
}

impl Drop for UdpStream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.stop_answers.store(true, Ordering::Relaxed);
    }
}

fn join<T: Default>(thread: Option<JoinHandle<T>>) -> Result<T> {
    thread.map_or_else(
        || Ok(T::default()),
        |thread| {
            thread
                .join()
                .map_err(|_| anyhow!("a thread of the stream panicked"))
        },
    )
}

/// A bound socket with room for seconds of the stream.
fn socket(namespace: &Namespace, address: SocketAddrV4) -> Result<UdpSocket> {
    let socket = namespace.within(|| {
        UdpSocket::bind(address).with_context(|| format!("cannot bind UDP {address}"))
    })?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    // SAFETY: a valid socket, and an int with its size. Without the right to do so, the
    // buffer stays as it is.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const BUFFER_BYTES).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
    Ok(socket)
}

fn send(socket: &UdpSocket, per_sec: u64, start: Instant, stop: &AtomicBool, sent: &AtomicU64) {
    let mut number = 0;
    // What a late sender leaves out, so that the rate is not exceeded afterwards.
    let mut skipped = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = start.elapsed().as_micros() as u64 * per_sec / 1_000_000 - skipped;
        skipped += (due - number).saturating_sub(MOST_AT_ONCE);
        for _ in 0..(due - number).min(MOST_AT_ONCE) {
            if socket.send(&u64::to_be_bytes(number)).is_ok() {
                number += 1;
                sent.store(number, Ordering::Relaxed);
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until the way is open: a mapping, next hops.
fn open(socket: &UdpSocket) -> Result<()> {
    let mut buffer = [0; 64];
    for _ in 0..100 {
        socket.send(&u64::to_be_bytes(OPENING))?;
        if socket.recv(&mut buffer).is_ok() {
            return Ok(());
        }
    }
    bail!("no answer to the first datagrams")
}

/// Returns each datagram with the address and port that it came from.
fn serve(socket: &UdpSocket, stop: &AtomicBool, served: &AtomicU64) {
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        let Ok((8, SocketAddr::V4(peer))) = socket.recv_from(&mut buffer) else {
            continue;
        };
        buffer[8..12].copy_from_slice(&peer.ip().octets());
        buffer[12..14].copy_from_slice(&peer.port().to_be_bytes());
        if socket.send_to(&buffer[..14], peer).is_ok() {
            served.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn receive(socket: &UdpSocket, stop: &AtomicBool) -> Received {
    let mut received = Received::default();
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        let Ok(14) = socket.recv(&mut buffer) else {
            continue;
        };
        let (number, seen) = buffer[..14].split_at(8);
        let number = u64::from_be_bytes(number.try_into().unwrap_or_default());
        if number == OPENING {
            continue;
        }
        let address = Ipv4Addr::new(seen[0], seen[1], seen[2], seen[3]);
        let port = u16::from_be_bytes([seen[4], seen[5]]);
        received.seen.insert(SocketAddrV4::new(address, port));
        let is_new = received.answered.insert(number);
        received.repeated += u64::from(!is_new);
    }
    received
}
