//! TCP transfers in both directions whose content is checked at both ends.
//!
//! The client sends a request (how much to send, how much to return, seed), then the content. The
//! server returns its checksum of that, the address that it saw, and content of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use socket2::{Domain, Socket, Type};

use super::namespace::Namespace;

/// Bytes handed to the kernel at once; a multiple of 8.
const CHUNK: usize = 64 << 10;

/// A server; stops when dropped.
#[derive(Debug)]
pub struct TcpServer {
    address: SocketAddrV4,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a transfer was like.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// Address and port at the subscriber.
    pub local: SocketAddrV4,
    /// Address and port that the server saw.
    pub seen: SocketAddrV4,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub send_secs: f64,
    pub receive_secs: f64,
}

impl TcpServer {
    /// Starts a server in `namespace`. An idle connection is given up after `patience_secs`.
    ///
    /// # Errors
    /// The address is not there, or the port is taken.
    pub fn start(namespace: &Namespace, address: SocketAddrV4, patience_secs: f64) -> Result<Self> {
        let listener = namespace.within(|| {
            TcpListener::bind(address).with_context(|| format!("cannot bind TCP {address}"))
        })?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let patience = Duration::from_secs_f64(patience_secs);
        let thread = {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || accept(&listener, &stop, patience))
        };
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// Its address and port.
    #[must_use]
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic would have been seen as a broken transfer.
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, stop: &AtomicBool, patience: Duration) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, peer)) => {
                // A broken connection is the client's to report; the thread ends by its time-out.
                std::thread::spawn(move || answer(stream, peer, patience));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Answers requests on a connection until its end.
fn answer(mut stream: TcpStream, peer: SocketAddr, patience: Duration) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    loop {
        let mut request = [0; 24];
        stream.read_exact(&mut request)?;
        let word =
            |at: usize| u64::from_be_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|byte| request[at + byte]));
        let (upload, download, seed) = (word(0), word(8), word(16));
        let checksum = receive(&mut stream, upload)?;
        let text = format!("{checksum:016x} {peer:>21}");
        stream.write_all(text.as_bytes())?;
        send(&mut stream, download, seed ^ 1)?;
    }
}

/// Connects from `source` (or what the kernel picks) in `namespace`.
///
/// # Errors
/// No connection within `secs` seconds.
pub fn connect(
    namespace: &Namespace,
    source: Option<Ipv4Addr>,
    server: SocketAddrV4,
    secs: f64,
) -> Result<TcpStream> {
    let limit = Duration::from_secs_f64(secs);
    namespace.within(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if let Some(source) = source {
            socket.bind(&SocketAddrV4::new(source, 0).into())?;
        }
        socket
            .connect_timeout(&server.into(), limit)
            .with_context(|| format!("no TCP connection to {server} in {secs} s"))?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}

/// Sends and receives over a new connection.
///
/// # Errors
/// Content differs, or there was no progress for `secs` seconds.
pub fn transfer(
    namespace: &Namespace,
    source: Option<Ipv4Addr>,
    server: SocketAddrV4,
    (upload, download): (u64, u64),
    secs: f64,
) -> Result<Transfer> {
    let mut stream = connect(namespace, source, server, secs)?;
    converse(&mut stream, (upload, download), secs)
        .with_context(|| format!("TCP transfer with {server}"))
}

/// Sends and receives over a connection.
///
/// # Errors
/// As of [`transfer`].
pub fn converse(
    stream: &mut TcpStream,
    (upload, download): (u64, u64),
    secs: f64,
) -> Result<Transfer> {
    let limit = Duration::from_secs_f64(secs);
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let SocketAddr::V4(local) = stream.local_addr()? else {
        bail!("not an IPv4 connection");
    };
    let seed = u64::from(local.port()) << 32 | upload;
    let mut request = [0; 24];
    for (at, value) in [upload, download, seed].into_iter().enumerate() {
        request[at * 8..][..8].copy_from_slice(&value.to_be_bytes());
    }
    let start = Instant::now();
    stream.write_all(&request)?;
    let sent = send(stream, upload, seed).context("sending")?;
    let mut text = [0; 38];
    stream
        .read_exact(&mut text)
        .context("waiting for the server's checksum")?;
    let send_secs = start.elapsed().as_secs_f64();
    let text = std::str::from_utf8(&text)?;
    let (checksum, seen) = text
        .split_once(' ')
        .context("the server's answer is broken")?;
    ensure!(
        checksum == format!("{sent:016x}"),
        "the server received other content than was sent"
    );
    let start = Instant::now();
    let received = receive(stream, download).context("receiving")?;
    let receive_secs = start.elapsed().as_secs_f64();
    ensure!(
        received == expected(download, seed ^ 1),
        "the server's content arrived changed"
    );
    Ok(Transfer {
        local,
        seen: seen
            .trim()
            .parse()
            .context("the server saw no IPv4 address")?,
        sent_bytes: upload,
        received_bytes: download,
        send_secs,
        receive_secs,
    })
}

/// Content that no shift or loss leaves the same, and its checksum.
struct Content {
    state: u64,
    checksum: Checksum,
    left: u64,
}

impl Content {
    fn new(length: u64, seed: u64) -> Self {
        Self {
            state: seed | 1 << 63,
            checksum: Checksum(0),
            left: length,
        }
    }

    /// Fills a chunk; the length of what is in it, 0 at the end.
    fn fill(&mut self, chunk: &mut [u8; CHUNK]) -> usize {
        for word in chunk.as_chunks_mut::<8>().0 {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            *word = self.state.to_ne_bytes();
        }
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(CHUNK);
        self.left -= length as u64;
        self.checksum.add(&chunk[..length]);
        length
    }
}

/// Over 8 bytes at a time, each at its own place: chunks may be cut anywhere but within those.
struct Checksum(u64);

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_ne_bytes(*word));
        }
        for byte in rest {
            self.mix(u64::from(*byte));
        }
    }

    fn mix(&mut self, value: u64) {
        self.0 = (self.0 ^ value)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }
}

fn send(stream: &mut impl Write, length: u64, seed: u64) -> std::io::Result<u64> {
    let mut content = Content::new(length, seed);
    let mut chunk = Box::new([0; CHUNK]);
    loop {
        let length = content.fill(&mut chunk);
        if length == 0 {
            return Ok(content.checksum.0);
        }
        stream.write_all(&chunk[..length])?;
    }
}

fn expected(length: u64, seed: u64) -> u64 {
    // Writing to a sink cannot fail.
    send(&mut std::io::sink(), length, seed).unwrap_or_default()
}

fn receive(stream: &mut impl Read, length: u64) -> std::io::Result<u64> {
    let mut checksum = Checksum(0);
    let mut chunk = Box::new([0; CHUNK]);
    let mut left = length;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
        stream.read_exact(&mut chunk[..length])?;
        checksum.add(&chunk[..length]);
        left -= length as u64;
    }
    Ok(checksum.0)
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, expected, receive, send};

    #[test]
    fn both_ends_agree_and_every_change_shows() {
        for length in [
            0,
            1,
            7,
            8,
            9,
            CHUNK as u64 - 1,
            CHUNK as u64,
            3 * CHUNK as u64 + 5,
        ] {
            let mut wire = Vec::new();
            let sent = send(&mut wire, length, 7).expect("to memory");
            assert_eq!(wire.len() as u64, length);
            assert_eq!(sent, expected(length, 7));
            assert_eq!(receive(&mut &wire[..], length).expect("from memory"), sent);
            for at in [0, wire.len() / 2, wire.len().saturating_sub(1)] {
                let mut changed = wire.clone();
                if let Some(byte) = changed.get_mut(at) {
                    *byte ^= 1;
                    let got = receive(&mut &changed[..], length).expect("from memory");
                    assert_ne!(got, sent, "byte {at} of {length}");
                }
            }
        }
    }
}
