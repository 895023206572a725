//! The traffic of the demonstration, from kernel sockets.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use anyhow::{Context as _, Result};

use super::facts::{Flow, Throughput};
use crate::lab::{
    Lab, Namespace, PingWatch, TcpServer, Transfer, UdpEcho, address, echo_from, exchange, ping,
    transfer,
};

/// Longest time without progress, for each flow.
const PATIENCE_SECS: f64 = 10.0;

/// Content of the TCP transfers that measure, each way, and of the others.
const LONG_BYTES: u64 = 64 << 20;
const SHORT_BYTES: u64 = 1 << 20;

/// UDP sockets of a subscriber, and of the one that shall need a second block.
const FEW_SOCKETS: usize = 8;
const MANY_SOCKETS: usize = 100;

const PINGS: u16 = 3;

/// Servers in the internet.
pub struct Servers {
    tcp: TcpServer,
    pub echo: UdpEcho,
    watch: PingWatch,
}

impl Servers {
    /// Starts them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn start(lab: &Lab) -> Result<Self> {
        let [web, games, _] = address::SERVERS;
        Ok(Self {
            tcp: TcpServer::start(&lab.internet, SocketAddrV4::new(web, 80), PATIENCE_SECS)?,
            echo: UdpEcho::start(&lab.internet, SocketAddrV4::new(games, 3478))?,
            watch: PingWatch::start(&lab.internet)?,
        })
    }
}

/// The subscriber of a namespace.
pub fn inside(number: usize) -> Ipv4Addr {
    // The demonstration has a handful.
    address::subscriber(number as u8 + 1, 2)
}

/// TCP transfers of all subscribers; that of the first is long and measures.
///
/// # Errors
/// None: what fails is in the flow.
pub fn send_tcp(lab: &Lab, servers: &Servers) -> (Vec<Flow>, Throughput) {
    let server = servers.tcp.address();
    let mut throughput = Throughput::default();
    let mut flows = Vec::new();
    for (number, host) in lab.subscribers.iter().enumerate() {
        let bytes = if number == 0 { LONG_BYTES } else { SHORT_BYTES };
        let result = transfer(host, None, server, (bytes, bytes), PATIENCE_SECS);
        if let (0, Ok(transfer)) = (number, &result) {
            throughput = rates(transfer);
        }
        let result = result.map(|transfer| (transfer.local, transfer.seen));
        flows.push(flow(
            "tcp",
            SocketAddrV4::new(inside(number), 0),
            server,
            result,
        ));
    }
    (flows, throughput)
}

fn rates(transfer: &Transfer) -> Throughput {
    let mbps = |bytes: u64, secs: f64| (bytes * 8) as f64 / secs / 1e6;
    Throughput {
        outbound_mbps: mbps(transfer.sent_bytes, transfer.send_secs),
        inbound_mbps: mbps(transfer.received_bytes, transfer.receive_secs),
    }
}

/// UDP echo from many sockets; the last subscriber opens more than a block has ports. Sockets are
/// returned so that their flows stay open.
///
/// # Errors
/// A socket cannot be opened; what fails later is in the flow.
pub fn send_udp(lab: &Lab, servers: &Servers) -> Result<(Vec<Flow>, Vec<UdpSocket>)> {
    let last = lab.subscribers.len() - 1;
    let (mut flows, mut sockets) = (Vec::new(), Vec::new());
    for (number, host) in lab.subscribers.iter().enumerate() {
        let count = if number == last {
            MANY_SOCKETS
        } else {
            FEW_SOCKETS
        };
        for _ in 0..count {
            let (flow, socket) = echo(host, inside(number), servers.echo.address())?;
            flows.push(flow);
            sockets.push(socket);
        }
    }
    Ok((flows, sockets))
}

fn echo(host: &Namespace, source: Ipv4Addr, server: SocketAddrV4) -> Result<(Flow, UdpSocket)> {
    let socket = echo_from(host, source)?;
    let SocketAddr::V4(local) = socket.local_addr()? else {
        unreachable!("the socket was bound to an IPv4 address");
    };
    let data = format!("demonstration from {local}");
    // A datagram that is lost is not sent again: none may be.
    let result = exchange(&socket, server, data.as_bytes(), false, PATIENCE_SECS);
    let flow = flow("udp", local, server, result.map(|seen| (local, seen)));
    Ok((flow, socket))
}

/// ICMP echo of all subscribers.
///
/// # Errors
/// No raw socket.
pub fn send_pings(lab: &Lab, servers: &Servers) -> Result<Vec<Flow>> {
    let server = address::SERVERS[2];
    let mut flows = Vec::new();
    for (number, host) in lab.subscribers.iter().enumerate() {
        // All have the same identifier, as hosts that just started may.
        let local = SocketAddrV4::new(inside(number), 1);
        let outcome = ping(host, *local.ip(), server, local.port(), PINGS)?;
        let seen = servers.watch.seen(&outcome.tag);
        let result = if outcome.received == outcome.sent {
            seen.context("the server's side saw no request")
        } else {
            Err(anyhow::anyhow!(
                "{} of {} pings were answered",
                outcome.received,
                outcome.sent
            ))
        };
        let result = result.map(|seen| (local, seen));
        flows.push(flow("icmp", local, SocketAddrV4::new(server, 0), result));
    }
    Ok(flows)
}

/// `result`: the subscriber's end, and the one that the server saw. Log and pool are looked at later.
fn flow(
    protocol: &'static str,
    inside: SocketAddrV4,
    server: SocketAddrV4,
    result: Result<(SocketAddrV4, SocketAddrV4)>,
) -> Flow {
    let (inside, seen, error) = match result {
        Ok((local, seen)) => (local, Some(seen), None),
        Err(error) => (inside, None, Some(format!("{error:#}"))),
    };
    Flow {
        protocol,
        inside,
        server,
        seen,
        intact: error.is_none(),
        translated: false,
        logged: false,
        error,
    }
}
