//! MPTCP (RFC 8684) of two kernels: its options pass as they are, and a second subflow by another
//! subscriber's address joins.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};

use anyhow::{Context as _, Result, anyhow, ensure};
use cgn_tests::lab::{
    Capture, CapturedPacket, Daemon, Lab, Namespace, Plan, XdpPass, address, in_lab, wait_until,
};
use cgn_tests::skip::{lacks_program, skip};
use etherparse::TcpHeaderSlice;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{FIRST, PATIENCE_SECS, is_of, one_address};

const SERVER: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[0], 7000);
/// The address of the second subflow: another subscriber, with ports of its own.
const OTHER: Ipv4Addr = address::subscriber(1, 9);
/// Linux's number; RFC 8684 needs none on the wire.
const IPPROTO_MPTCP: i32 = 262;
/// Kind of MPTCP's option, and its subtypes (RFC 8684 section 3).
const KIND: u8 = 30;
const MP_CAPABLE: u8 = 0;
const MP_JOIN: u8 = 1;

/// What the CGN leaves alone in a segment: number, acknowledgement, options.
type Kept = (u32, u32, Vec<u8>);

#[test]
fn mptcp_joins_a_second_subflow_and_its_options_are_untouched() {
    let name = "multipath::mptcp_joins_a_second_subflow_and_its_options_are_untouched";
    if lacks_program(name, "tcpdump") {
        return;
    }
    if let Err(error) = Socket::new(
        Domain::IPV4,
        Type::STREAM,
        Some(Protocol::from(IPPROTO_MPTCP)),
    ) {
        skip(name, &format!("the kernel has no MPTCP: {error}"));
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let daemon = Daemon::start(lab, &one_address())?;
        // With a program on the end, a capture shows the very packets.
        let _passing = [&lab.access, &lab.internet].map(|end| XdpPass::attach(end, "uplink"));
        for host in [&lab.subscribers[0], &lab.internet] {
            host.ip("mptcp limits set subflow 2 add_addr_accepted 2\n")?;
        }
        lab.subscribers[0].ip(&format!("mptcp endpoint add {OTHER} dev eth0 subflow\n"))?;
        let capture = |end: &Namespace, name: &str| {
            Capture::start(
                end,
                "uplink",
                &["--immediate-mode", "tcp"],
                &lab.folder().join(name),
            )
        };
        let inside = capture(&lab.access, "inside.pcap")?;
        let outside = capture(&lab.internet, "outside.pcap")?;
        converse(lab)?;
        let rows = daemon.mappings()?;
        for owner in [FIRST, OTHER] {
            let row = rows.iter().find(|row| row.inside == owner);
            let row = row.with_context(|| format!("no subflow of {owner}: {rows:?}"))?;
            is_of(
                &daemon,
                SocketAddrV4::new(row.external, row.external_port),
                owner,
            )?;
        }
        let [inside, outside] = [inside.finish()?, outside.finish()?].map(|all| kept(&all));
        let (inside, outside) = (inside?, outside?);
        ensure!(inside == outside, "inside {inside:?}\noutside {outside:?}");
        for subtype in [MP_CAPABLE, MP_JOIN] {
            ensure!(
                inside.iter().any(|(_, _, options)| has(options, subtype)),
                "no subtype {subtype} in {inside:?}"
            );
        }
        Ok(())
    });
}

/// A connection that is echoed on, and goes on when the second subflow is there.
fn converse(lab: &Lab) -> Result<()> {
    let listener = lab.internet.within(|| {
        let socket = mptcp()?;
        socket.set_reuse_address(true)?;
        socket.bind(&SERVER.into())?;
        socket.listen(1)?;
        Ok(TcpListener::from(socket))
    })?;
    let client = lab.subscribers[0].within(|| {
        let socket = mptcp()?;
        socket.bind(&SocketAddrV4::new(FIRST, 0).into())?;
        socket.connect_timeout(&SERVER.into(), std::time::Duration::from_secs(5))?;
        Ok(TcpStream::from(socket))
    })?;
    let (server, _) = listener.accept()?;
    client.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
    server.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
    echo(&client, &server, 1000)?;
    wait_until("the second subflow joined", PATIENCE_SECS, || {
        let joined = lab.internet.counter("MPTcpExt", "MPJoinAckRx")?;
        Ok((joined == 1).then_some(()))
    })?;
    echo(&client, &server, 1000)
}

fn mptcp() -> Result<Socket> {
    Socket::new(
        Domain::IPV4,
        Type::STREAM,
        Some(Protocol::from(IPPROTO_MPTCP)),
    )
    .context("no MPTCP socket")
}

/// Sends so much there and back.
fn echo(client: &TcpStream, server: &TcpStream, bytes: usize) -> Result<()> {
    let sent: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
    for (mut from, mut to) in [(client, server), (server, client)] {
        let mut got = vec![0; bytes];
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| from.write_all(&sent));
            to.read_exact(&mut got).context("receiving")?;
            let sending = sending.join().map_err(|_| anyhow!("the sender panicked"))?;
            sending.context("sending")
        })?;
        ensure!(got == sent, "other bytes came");
    }
    Ok(())
}

/// What must be equal on both sides, sorted.
fn kept(packets: &[CapturedPacket]) -> Result<Vec<Kept>> {
    let segments = packets.iter().filter_map(CapturedPacket::ipv4);
    let mut all = segments
        .map(|packet| {
            let header = usize::from(packet[0] & 15) * 4;
            let tcp = TcpHeaderSlice::from_slice(&packet[header..])?;
            let numbers = (tcp.sequence_number(), tcp.acknowledgment_number());
            Ok((numbers.0, numbers.1, tcp.options().to_vec()))
        })
        .collect::<Result<Vec<_>>>()?;
    all.sort();
    Ok(all)
}

/// Whether options have MPTCP's with this subtype.
fn has(mut options: &[u8], subtype: u8) -> bool {
    while let [kind, rest @ ..] = options {
        options = match (kind, rest) {
            (0, _) => return false,
            (1, _) => rest,
            (&KIND, [_, first, ..]) if first >> 4 == subtype => return true,
            (_, [length, ..]) => options
                .get(usize::from(*length).max(2)..)
                .unwrap_or_default(),
            _ => return false,
        };
    }
    false
}
