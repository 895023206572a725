//! Peer to peer between two behind one address, and from outside.

use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cgn_tests::lab::{
    Daemon, Lab, XdpPass, address, cgn_program, echo_from, external_endpoint, stun_server,
    wait_until,
};
use cgn_tests::skip::lacks_program;

use crate::{
    FIRST, PATIENCE_SECS, SECOND, STUN_SERVER, UDP_SECS, is_of, keep_apart, one_address,
    outlast_udp, with_two_households,
};

/// A packet that is not here by then was dropped.
const SILENCE: Duration = Duration::from_millis(300);

/// What a keep-alive of uTorrent takes (RFC 7021 section 4).
const KEEP_ALIVE_SECS: u32 = 240;

/// The next datagram at `socket` is `data` from `peer`.
fn hears(socket: &UdpSocket, peer: SocketAddrV4, data: &[u8]) -> Result<bool> {
    let end = Instant::now() + SILENCE;
    let mut buffer = [0; 1500];
    while let left = end.saturating_duration_since(Instant::now())
        && !left.is_zero()
    {
        socket.set_read_timeout(Some(left))?;
        if let Ok((length, from)) = socket.recv_from(&mut buffer)
            && from == SocketAddr::V4(peer)
            && &buffer[..length] == data
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[test]
fn two_behind_one_address_play_with_each_other() {
    let name = "players::two_behind_one_address_play_with_each_other";
    if lacks_program(name, "turnserver") {
        return;
    }
    with_two_households(name, |lab| {
        keep_apart(lab)?;
        // A frame that XDP sends back where it came from wakes only a peer with a program.
        let _pass = XdpPass::attach(&lab.access, "uplink")?;
        let _server = stun_server(lab, &address::SERVERS[1..2])?;
        for (filtering, first_is_heard) in [
            ("endpoint-independent", true),
            ("address-dependent", false),
            ("address-and-port-dependent", false),
        ] {
            let pool = format!("filtering = \"{filtering}\"\n[[subscribers]]");
            let toml = one_address().toml(lab).replace("[[subscribers]]", &pool);
            let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
            play(lab, &daemon, first_is_heard)
                .map_err(|error| error.context(format!("filtering {filtering}")))?;
        }
        Ok(())
    });
}

/// Each learns from a STUN server how it is seen, tells the other, and both send.
fn play(lab: &Lab, daemon: &Daemon, first_is_heard: bool) -> Result<()> {
    let one = echo_from(&lab.subscribers[0], FIRST)?;
    let two = echo_from(&lab.subscribers[1], SECOND)?;
    let one_seen = external_endpoint(&one, STUN_SERVER, PATIENCE_SECS)?;
    let two_seen = external_endpoint(&two, STUN_SERVER, PATIENCE_SECS)?;
    is_of(daemon, one_seen, FIRST)?;
    is_of(daemon, two_seen, SECOND)?;
    one.send_to(b"first", two_seen)?;
    ensure!(
        hears(&two, one_seen, b"first")? == first_is_heard,
        "the first packet was to be heard: {first_is_heard}"
    );
    for round in 0..3 {
        for (from, seen, to, heard) in [
            (&two, two_seen, one_seen, &one),
            (&one, one_seen, two_seen, &two),
        ] {
            from.send_to(b"move", to)?;
            ensure!(
                hears(heard, seen, b"move")?,
                "round {round}: {to} did not hear {seen}"
            );
        }
    }
    Ok(())
}

/// RFC 7021 section 4: what is kept alive every four minutes needs a timer above them.
#[test]
fn a_mapping_kept_every_four_minutes_is_reached_from_outside() {
    let name = "players::a_mapping_kept_every_four_minutes_is_reached_from_outside";
    if lacks_program(name, "turnserver") {
        return;
    }
    with_two_households(name, |lab| {
        let daemon = Daemon::start(lab, &one_address())?;
        let _server = stun_server(lab, &address::SERVERS[1..2])?;
        let kept = echo_from(&lab.subscribers[0], FIRST)?;
        let seen = external_endpoint(&kept, STUN_SERVER, PATIENCE_SECS)?;
        let outside = lab
            .internet
            .within(|| Ok(UdpSocket::bind((address::SERVERS[2], 7000))?))?;
        let from = SocketAddrV4::new(address::SERVERS[2], 7000);
        for round in 0..3 {
            // Whoever keeps nothing alive is forgotten meanwhile: so the sweep has looked.
            let silent = echo_from(&lab.subscribers[1], SECOND)?;
            external_endpoint(&silent, STUN_SERVER, PATIENCE_SECS)?;
            daemon.advance_clock(KEEP_ALIVE_SECS)?;
            let again = external_endpoint(&kept, STUN_SERVER, PATIENCE_SECS)?;
            ensure!(again == seen, "round {round}: {seen} became {again}");
            daemon.advance_clock(UDP_SECS + 10 - KEEP_ALIVE_SECS)?;
            wait_until("the silent mapping ends", PATIENCE_SECS, || {
                let rows = daemon.mappings()?;
                Ok((!rows.iter().any(|row| row.inside == SECOND)).then_some(()))
            })?;
            outside.send_to(b"hello", seen)?;
            ensure!(hears(&kept, from, b"hello")?, "round {round}: not reached");
        }
        outlast_udp(&daemon)?;
        let before = daemon.count_of("no_mapping")?;
        outside.send_to(b"hello", seen)?;
        ensure!(!hears(&kept, from, b"hello")?, "reached without a mapping");
        daemon.wait_for_count("no_mapping", before, 1)
    });
}
