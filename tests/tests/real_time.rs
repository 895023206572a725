//! Timers of the daemon by the clock on the wall: the normal tests move the clock instead. Takes
//! about three minutes; `cargo xtask test --real-time`.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{self, Daemon, Lab, Plan, Settings, TcpServer, UdpEcho, address, cgn_program};
use cgn_tests::skip;

const SERVER: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[0], 7000);
const PATIENCE_SECS: f64 = 5.0;

/// A mapping may live longer than its timer by the coarseness of its stamp and the sweep.
const LATE_SECS: f64 = 15.0;

/// What is timed, and after how many idle seconds it must end.
const TIMED: [(&str, u8, f64); 4] = [
    ("icmp", 2, 60.0),
    ("udp", 2, 120.0),
    // Sends again after [`REFRESH_SECS`].
    ("udp", 3, 120.0 + REFRESH_SECS),
    // Closed by both sides at once.
    ("tcp", 2, 30.0),
];
const REFRESH_SECS: f64 = 40.0;

#[test]
fn mappings_end_when_their_timers_say() {
    if !skip::is_root("real_time::mappings_end_when_their_timers_say") {
        return;
    }
    // It is alone in its command; minutes under the lock would keep others waiting.
    let lab = Lab::beside_others(&Plan::default()).unwrap_or_else(|error| panic!("{error:#}"));
    watch(&lab).unwrap_or_else(|error| panic!("{error:#}"));
}

fn watch(lab: &Lab) -> Result<()> {
    let toml = Settings::default().toml(lab)
        + "\n[timeouts]\nudp_secs = 120\nicmp_secs = 60\ntcp_closing_secs = 30\n";
    let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &[])?;
    let host = &lab.subscribers[0];
    let echo = UdpEcho::start(&lab.internet, SERVER)?;
    let server = TcpServer::start(&lab.internet, SERVER, PATIENCE_SECS)?;
    let began = Instant::now();
    let sockets = [2, 3].map(|number| lab::echo_from(host, address::subscriber(1, number)));
    let [silent, busy] = sockets;
    let (silent, busy) = (silent?, busy?);
    for socket in [&silent, &busy] {
        lab::exchange(socket, echo.address(), b"open", false, PATIENCE_SECS)?;
    }
    let pinged = lab::ping(host, address::subscriber(1, 2), address::SERVERS[1], 3, 3)?;
    ensure!(pinged.received > 0, "no ping came back");
    let from = address::subscriber(1, 2);
    lab::transfer(
        host,
        Some(from),
        server.address(),
        (1000, 1000),
        PATIENCE_SECS,
    )?;
    let opened = began.elapsed().as_secs_f64();

    let mut ended: BTreeMap<usize, f64> = BTreeMap::new();
    let mut is_refreshed = false;
    while ended.len() < TIMED.len() {
        let mappings = daemon.mappings()?;
        let now = began.elapsed().as_secs_f64();
        for (at, (protocol, number, _)) in TIMED.iter().enumerate() {
            let inside = address::subscriber(1, *number);
            let is_there = mappings
                .iter()
                .any(|row| row.protocol == *protocol && row.inside == inside);
            if !is_there {
                ended.entry(at).or_insert(now);
            }
        }
        if !is_refreshed && now >= REFRESH_SECS {
            is_refreshed = true;
            lab::exchange(&busy, echo.address(), b"again", false, PATIENCE_SECS)?;
        }
        ensure!(now < 250.0, "still there: {mappings:?}; ended: {ended:?}");
        std::thread::sleep(Duration::from_millis(250));
    }
    for (at, (protocol, number, secs)) in TIMED.iter().enumerate() {
        let end = *ended.get(&at).context("it ended")?;
        println!("{protocol} of subscriber {number}: timer {secs} s, ended after {end:.1} s");
        ensure!(
            (*secs..=secs + opened + LATE_SECS).contains(&end),
            "{protocol} of subscriber {number} ended after {end:.1} s, {secs} are right"
        );
    }
    Ok(())
}
