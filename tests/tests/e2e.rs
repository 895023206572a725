//! End to end: real traffic between network namespaces through a running daemon.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{self, Daemon, Lab, Plan, Settings, TcpServer, UdpEcho, address};
use cgn_tests::skip;

const SERVER: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[0], 7000);

#[test]
fn smoke() -> Result<()> {
    if !skip::is_root("smoke") {
        return Ok(());
    }
    let lab = Lab::new(&Plan::default())?;
    let daemon = Daemon::start(&lab, &Settings::default())?;
    let echo = UdpEcho::start(&lab.internet, SERVER)?;
    let tcp = TcpServer::start(&lab.internet, SERVER, 10.0)?;
    let host = &lab.subscribers[0];
    let socket = lab::echo_from(host, address::subscriber(1, 5))?;
    let seen = lab::exchange(&socket, echo.address(), b"hello", true, 5.0)?;
    println!("udp seen {seen}");
    let t = lab::transfer(host, None, tcp.address(), (1 << 24, 1 << 24), 10.0)?;
    println!("{t:?}");
    let watch = lab::PingWatch::start(&lab.internet)?;
    let p = lab::ping(host, address::subscriber(1, 9), address::SERVERS[1], 77, 3)?;
    println!("{p:?} {:?}", watch.seen(&p.tag));
    for m in daemon.mappings()? { println!("{m:?}"); }
    for m in daemon.log_records()? { println!("{m}"); }
    println!("{}", daemon.metrics()?.len());
    for d in daemon.drops()? { println!("{} {} {}", d.reason, d.fast_path, d.slow_path); }
    drop(watch);
    let status = daemon.stop()?;
    ensure!(status.success(), "{status}");
    let _ = (Ipv4Addr::LOCALHOST, None::<u8>.context("x").is_ok());
    Ok(())
}
