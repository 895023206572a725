//! The socket to a collector, and what is known to have arrived there.
//!
//! * TCP: what the other machine has acknowledged, told by the kernel (`SIOCOUTQ`).
//! * UDP: nothing tells. A datagram counts as arrived when no refusal (ICMP port unreachable)
//!   came within a second of it: a collector that is down is noticed, a lost datagram is not.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rskafka::client::SaslConfig;
use rustls::ClientConnection;

use super::format::Message;
use super::kafka::{Sasl, Topic};
use super::trust::{Client, Trust};

/// For a connection, and for a write that a collector does not read.
const PATIENCE: Duration = Duration::from_secs(3);
/// A refusal of a datagram comes sooner than this.
const REFUSAL: Duration = Duration::from_secs(1);

/// How messages travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
    Tls(Trust),
    /// A partition of a topic; the address is that of any broker of the cluster.
    Kafka {
        topic: String,
        partition: i32,
        /// None: without TLS.
        trust: Option<Trust>,
        /// None: the cluster does not ask who we are.
        sasl: Option<Sasl>,
    },
}

/// Makes connections.
pub(super) struct Connector {
    address: SocketAddr,
    transport: Transport,
    tls: Option<Client>,
    sasl: Option<SaslConfig>,
}

impl Connector {
    pub(super) fn new(transport: &Transport, address: SocketAddr) -> io::Result<Self> {
        let tls = match transport {
            Transport::Tls(trust) => Some(trust.client()?),
            Transport::Kafka { trust, .. } => {
                let trust = trust.as_ref();
                trust.map(|trust| trust.of_cluster(address)).transpose()?
            }
            Transport::Udp | Transport::Tcp => None,
        };
        let sasl = match transport {
            Transport::Kafka { sasl, .. } => sasl.as_ref().map(Sasl::config).transpose()?,
            _ => None,
        };
        Ok(Self {
            address,
            transport: transport.clone(),
            tls,
            sasl,
        })
    }

    pub(super) fn connect(&self, now: Instant) -> io::Result<Link> {
        if let Transport::Kafka {
            topic, partition, ..
        } = &self.transport
        {
            let tls = self.tls.as_ref().map(|client| Arc::clone(&client.config));
            let topic = Topic::connect(self.address, topic, *partition, tls, self.sasl.clone())?;
            return Ok(Link::Kafka(topic));
        }
        if self.transport == Transport::Udp {
            let any: IpAddr = match self.address {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(self.address)?;
            return Ok(Link::Datagrams(Datagrams {
                socket,
                waiting: VecDeque::new(),
                last: now,
            }));
        }
        let socket = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let tls = match &self.tls {
            None => None,
            Some(client) => {
                let config = Arc::clone(&client.config);
                let session = ClientConnection::new(config, client.name.clone());
                Some(Box::new(session.map_err(io::Error::other)?))
            }
        };
        let mut stream = Stream {
            socket: Counted { socket, written: 0 },
            tls,
            waiting: VecDeque::new(),
        };
        // The handshake now: a wrong certificate is no error of the first record.
        stream.flush()?;
        Ok(Link::Stream(stream))
    }
}

/// A connected collector.
pub(super) enum Link {
    Datagrams(Datagrams),
    Stream(Stream),
    Kafka(Topic),
}

impl Link {
    pub(super) fn send(&mut self, message: &Message, now: Instant) -> io::Result<()> {
        match self {
            Self::Datagrams(datagrams) => datagrams.send(message, now),
            Self::Stream(stream) => stream.send(message),
            Self::Kafka(topic) => {
                topic.send(message);
                Ok(())
            }
        }
    }

    /// Number of the record up to which everything has arrived, if that is news.
    pub(super) fn arrived(&mut self, now: Instant) -> io::Result<Option<u64>> {
        match self {
            Self::Datagrams(datagrams) => datagrams.arrived(now),
            Self::Stream(stream) => stream.arrived(),
            Self::Kafka(topic) => topic.arrived(),
        }
    }
}

pub(super) struct Datagrams {
    socket: UdpSocket,
    /// When a datagram was sent, and the number of the record after its last.
    waiting: VecDeque<(Instant, u64)>,
    last: Instant,
}

impl Datagrams {
    fn send(&mut self, message: &Message, now: Instant) -> io::Result<()> {
        if !message.bytes.is_empty() {
            self.socket.send(&message.bytes)?;
            self.last = now;
        }
        if let Some(next_sequence) = message.next_sequence {
            self.waiting.push_back((now, next_sequence));
        }
        Ok(())
    }

    fn arrived(&mut self, now: Instant) -> io::Result<Option<u64>> {
        // A refusal of an earlier datagram.
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        let mut arrived = None;
        while let Some((sent, next_sequence)) = self.waiting.front().copied() {
            if now.saturating_duration_since(sent) < REFUSAL {
                break;
            }
            self.waiting.pop_front();
            arrived = Some(next_sequence);
        }
        Ok(arrived)
    }
}

pub(super) struct Stream {
    socket: Counted,
    tls: Option<Box<ClientConnection>>,
    /// Bytes written to the socket with a message, and the number of the record after its last.
    waiting: VecDeque<(u64, u64)>,
}

impl Stream {
    fn send(&mut self, message: &Message) -> io::Result<()> {
        match &mut self.tls {
            None => self.socket.write_all(&message.bytes)?,
            Some(tls) => {
                rustls::Stream::new(tls.as_mut(), &mut self.socket).write_all(&message.bytes)?
            }
        }
        self.flush()?;
        if let Some(next_sequence) = message.next_sequence {
            self.waiting.push_back((self.socket.written, next_sequence));
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => self.socket.flush(),
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut self.socket).flush(),
        }
    }

    fn arrived(&mut self) -> io::Result<Option<u64>> {
        // Before the count: what the other side took before it closed may have been read by nobody.
        self.look_for_end()?;
        let outstanding = unacknowledged(&self.socket.socket)?;
        let acknowledged = self.socket.written.saturating_sub(outstanding);
        let mut arrived = None;
        while let Some((end, next_sequence)) = self.waiting.front().copied() {
            if end > acknowledged {
                break;
            }
            self.waiting.pop_front();
            arrived = Some(next_sequence);
        }
        Ok(arrived)
    }

    /// An error if the collector has closed the connection. What it says is not for us.
    fn look_for_end(&mut self) -> io::Result<()> {
        let ended = || Err(io::ErrorKind::ConnectionReset.into());
        self.socket.socket.set_nonblocking(true)?;
        let looked = match &mut self.tls {
            None => self.socket.socket.read(&mut [0; 512]),
            Some(tls) => tls.read_tls(&mut self.socket),
        };
        self.socket.socket.set_nonblocking(false)?;
        match looked {
            Ok(0) => return ended(),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        if let Some(tls) = &mut self.tls {
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            if state.peer_has_closed() {
                return ended();
            }
        }
        Ok(())
    }
}

/// Counts what is written.
struct Counted {
    socket: TcpStream,
    written: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.socket.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.socket.read(bytes)
    }
}

/// Bytes that the other machine has not acknowledged.
fn unacknowledged(socket: &TcpStream) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ, which is SIOCOUTQ, writes one int to where the pointer points, and
    // that lives across the call.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    match outcome {
        0 => Ok(u64::from(bytes.unsigned_abs())),
        _ => Err(io::Error::last_os_error()),
    }
}
