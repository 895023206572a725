//! What is really on the wire to the internet.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{
    self, Capture, CapturedPacket, Daemon, Lab, Plan, Settings, TcpServer, UdpEcho, XdpPass,
    address, run_to_end,
};
use cgn_user::dataplane::interface;
use cgn_user::slowpath::rings::QueueSocket;

use crate::{PATIENCE_SECS, SERVER, in_lab, is_of_pool, lacks_program};

/// Time to live of the hosts' packets.
const HOST_TTL: u8 = 64;

#[test]
fn nothing_private_leaves_and_all_checksums_are_right() {
    let name = "wire::nothing_private_leaves_and_all_checksums_are_right";
    if lacks_program(name, "tcpdump") {
        return;
    }
    let plan = Plan {
        subscribers: 2,
        ..Plan::default()
    };
    in_lab(name, &plan, |lab| {
        let daemon = Daemon::start(lab, &Settings::default())?;
        // GRO would show merged packets with checksums that never were on the wire.
        let _pass = XdpPass::attach(&lab.internet, "uplink")?;
        lab.internet.set_features("uplink", &["gro", "off"])?;
        let capture = Capture::start(
            &lab.internet,
            "uplink",
            &[],
            &lab.folder().join("outside.pcap"),
        )?;
        send_all_sorts(lab)?;
        let packets = capture.finish()?;
        let mut from_pool = 0;
        for (number, packet) in packets.iter().enumerate() {
            from_pool += u32::from(judge(packet).with_context(|| {
                format!(
                    "packet {} of {}: {:02x?}",
                    number + 1,
                    packets.len(),
                    packet.frame
                )
            })?);
        }
        ensure!(
            from_pool > 1000,
            "only {from_pool} packets came out of the CGN"
        );
        let dropped = daemon.count_of("spoofed_source")?;
        ensure!(dropped > 0, "nothing was spoofed: the test sees too little");
        Ok(())
    });
}

/// Of frames of a socket that copies them the kernel takes 32 at a call: what is left over would wait for
/// the engine's next turns.
#[test]
fn a_burst_of_the_slow_path_leaves_at_once() {
    const BURST: u64 = 200;
    in_lab(
        "wire::a_burst_of_the_slow_path_leaves_at_once",
        &Plan::default(),
        |lab| {
            let mut socket = lab.cgn.within(|| {
                let outside = interface::index_of("outside").context("no device outside")?;
                Ok(QueueSocket::open(outside, 0)?)
            })?;
            let before = received(lab)?;
            // To everybody, of an ethertype for experiments (IEEE 802).
            let mut frame = [0xff; 60];
            frame[12..14].copy_from_slice(&0x88b5_u16.to_be_bytes());
            for number in 0..BURST {
                ensure!(socket.send(&frame), "no room for frame {number}");
            }
            socket.flush();
            let came = received(lab)? - before;
            ensure!(came >= BURST, "{came} of {BURST} frames came");
            Ok(())
        },
    );
}

/// Frames that the internet's router has received.
fn received(lab: &Lab) -> Result<u64> {
    let mut command = lab.internet.command("ip");
    command.args(["-s", "-j", "link", "show", "uplink"]);
    let links: serde_json::Value = serde_json::from_str(&run_to_end(&mut command, 10.0)?)?;
    let count = links[0]["stats64"]["rx"]["packets"].as_u64();
    count.context("no count of frames")
}

/// Of two subscribers: TCP both ways, UDP with and without checksum, pings; and spoofed packets.
fn send_all_sorts(lab: &Lab) -> Result<()> {
    let tcp = TcpServer::start(&lab.internet, SERVER, PATIENCE_SECS)?;
    let echo = UdpEcho::start(&lab.internet, SERVER)?;
    for (number, host) in lab.subscribers.iter().enumerate() {
        let inside = address::subscriber(number as u8 + 1, 2);
        for length in [0, 1, 2, 333, 1400] {
            let socket = lab::echo_from(host, inside)?;
            let data = vec![0x5a; length];
            lab::exchange(&socket, echo.address(), &data, false, PATIENCE_SECS)?;
            without_udp_checksum(&socket)?;
            lab::exchange(&socket, echo.address(), &data, false, PATIENCE_SECS)?;
        }
        lab::transfer(host, None, tcp.address(), (2 << 20, 2 << 20), PATIENCE_SECS)?;
        let outcome = lab::ping(host, inside, address::SERVERS[1], 3, 3)?;
        ensure!(outcome.received == 3, "{} of 3 pings", outcome.received);
    }
    let stranger = Ipv4Addr::new(192, 168, 7, 7);
    let host = &lab.subscribers[0];
    host.ip(&format!("addr add {stranger}/32 dev lo\n"))?;
    let socket = lab::echo_from(host, stranger)?;
    socket.send_to(b"spoofed", SocketAddrV4::new(address::SERVERS[0], 7000))?;
    Ok(())
}

/// `SO_NO_CHECK`: the kernel sends UDP checksum 0.
fn without_udp_checksum(socket: &std::net::UdpSocket) -> Result<()> {
    use std::os::fd::AsRawFd as _;
    let on: libc::c_int = 1;
    // SAFETY: an option of type int with its size.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    ensure!(
        failed == 0,
        "SO_NO_CHECK: {}",
        std::io::Error::last_os_error()
    );
    Ok(())
}

/// Checks one frame. Whether it came out of the CGN, translated.
fn judge(packet: &CapturedPacket) -> Result<bool> {
    if let Some((sender, target)) = packet.arp_addresses() {
        let link = [address::PEER, address::CGN_OUTSIDE];
        ensure!(
            link.contains(&sender) && link.contains(&target),
            "ARP of {sender} for {target}"
        );
        return Ok(false);
    }
    let (source, destination) = packet.addresses().context("neither IPv4 nor ARP")?;
    for address in [source, destination] {
        ensure!(
            !is_private(address),
            "{source} to {destination} on the wire"
        );
    }
    packet.check()?;
    if !is_of_pool(source) {
        return Ok(false);
    }
    let ttl = packet.ttl();
    ensure!(
        ttl == Some(HOST_TTL - 2),
        "time to live {ttl:?} after two hops"
    );
    Ok(true)
}

fn is_private(address: Ipv4Addr) -> bool {
    // RFC 1918 and RFC 6598.
    address.is_private() || matches!(address.octets(), [100, 64..=127, ..])
}
