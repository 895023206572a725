//! Floods: an address under attack, prefixes that open too many sessions, a slow path that is
//! overloaded. What is established goes on.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cgn_common::wire::transport::flag;
use cgn_tests::bench::processor;
use cgn_tests::lab::{
    self, Daemon, Lab, Namespace, Plan, RawSocket, Settings, TcpServer, UdpEcho, UdpStream,
    address, cgn_program, wait_until,
};
use cgn_tests::packets::Draft;

use crate::{PATIENCE_SECS, SERVER, in_lab};

/// Where numbered datagrams are answered.
const STREAM: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[1], 7100);
/// A /24 outside, and a host in the next one.
const NOISY: [u8; 3] = [9, 1, 1];
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(9, 1, 2, 5);

fn start(lab: &Lab, more: &str) -> Result<Daemon> {
    let toml = Settings::default().toml(lab) + "\n" + more;
    Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])
}

/// Sends packets number 0, 1, ... at about `per_sec` until `stop`, or for so long.
pub fn send(
    namespace: &Namespace,
    per_sec: u64,
    most: Duration,
    stop: &AtomicBool,
    mut packet: impl FnMut(u64) -> Vec<u8>,
) -> Result<u64> {
    let raw = RawSocket::open(namespace)?;
    let (began, mut sent) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) && began.elapsed() < most {
        let due = began.elapsed().as_micros() as u64 * per_sec / 1_000_000;
        // A queue of a device that is full for a moment is no failure of the test.
        (sent..due).for_each(|number| drop(raw.send(&packet(number))));
        sent = sent.max(due);
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(sent)
}

/// Nothing of the stream was lost.
fn unharmed(stream: UdpStream) -> Result<()> {
    let streamed = stream.finish()?;
    let lost = streamed.lost.len();
    ensure!(streamed.sent > 100, "only {} were sent", streamed.sent);
    ensure!(lost == 0, "{lost} of {} were lost", streamed.sent);
    Ok(())
}

#[test]
fn an_address_under_attack_is_guarded_and_told() {
    let name = "floods::an_address_under_attack_is_guarded_and_told";
    in_lab(name, &Plan::default(), |lab| {
        let daemon = start(lab, "[guard]\nunsolicited_per_second = 500\n")?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let inside = address::subscriber(1, 2);
        let socket = lab::echo_from(&lab.subscribers[0], inside)?;
        let mine = *lab::exchange(&socket, echo.address(), b"one", true, PATIENCE_SECS)?.ip();
        let host = (&lab.subscribers[0], inside);
        let stream = UdpStream::start(host, (&lab.internet, STREAM), 200)?;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let attack = scope.spawn(|| {
                // From everywhere, to a port that nobody has.
                let packet = |number: u64| {
                    let [.., a, b, c] = (number * 0x1_0101).to_be_bytes();
                    let source = Ipv4Addr::new(9, a, b, c);
                    Draft::udp((source, 53), (mine, 1)).packet()
                };
                send(&lab.internet, 3000, Duration::from_secs(30), &stop, packet)
            });
            let told = wait_until("the attack is told", 15.0, || {
                let attacked = &daemon.pools()?[0].attacked;
                Ok((*attacked == mine.to_string()).then_some(()))
            });
            let more = daemon.count_of("attacked_address");
            stop.store(true, Ordering::Relaxed);
            attack.join().expect("it panics nowhere")?;
            told?;
            ensure!(more? > 500, "most of it is guarded against");
            Ok(())
        })?;
        unharmed(stream)?;
        ensure!(daemon.notices("attack_began")? == 1.0);
        ensure!(daemon.figure("cgn_attacked_addresses{pool=\"lab\"}")? == 1.0);
        ensure!(daemon.figure("cgn_unsolicited_packets_total{pool=\"lab\"}")? > 1000.0);
        // The operator's answer: nobody new gets the address.
        daemon.advance_clock(15)?;
        wait_until("the end of it is told", 15.0, || {
            Ok((daemon.notices("attack_ended")? == 1.0).then_some(()))
        })?;
        ensure!(daemon.pools()?[0].attacked.is_empty());
        let again = lab::exchange(&socket, echo.address(), b"two", true, PATIENCE_SECS)?;
        ensure!(*again.ip() == mine);
        Ok(())
    });
}

/// SYN number so many of a /24 to a mapping.
fn noise(number: u64, to: SocketAddrV4) -> Vec<u8> {
    let [a, b, c] = NOISY;
    let source = Ipv4Addr::new(a, b, c, (number % 250) as u8 + 1);
    let port = 1024 + (number / 250 % 60_000) as u16;
    Draft::tcp(flag::SYN, (source, port), (*to.ip(), to.port())).packet()
}

#[test]
fn a_noisy_prefix_outside_is_limited_within_a_second_and_released() {
    let name = "floods::a_noisy_prefix_outside_is_limited_within_a_second_and_released";
    in_lab(name, &Plan::default(), |lab| {
        let daemon = start(lab, "[throttle]\noutside_24 = 1000\nlimit_secs = 60\n")?;
        let server = TcpServer::start(&lab.internet, SERVER, 60.0)?;
        let host = &lab.subscribers[0];
        let mut stream = lab::connect(host, None, server.address(), PATIENCE_SECS)?;
        lab::converse(&mut stream, (100, 100), PATIENCE_SECS)?;
        let rows = daemon.mappings()?;
        let row = rows.iter().find(|row| row.protocol == "tcp");
        let row = row.context("the connection has a mapping")?;
        let external = SocketAddrV4::new(row.external, row.external_port);
        let never = AtomicBool::new(false);

        // Ten thousand a second, for one second.
        let second = Duration::from_secs(1);
        let sent = send(&lab.internet, 10_000, second, &never, |number| {
            noise(number, external)
        })?;
        let limited = daemon.count_of("throttled")?;
        ensure!(
            limited > sent / 2,
            "{limited} of {sent} were refused within a second"
        );
        lab::converse(&mut stream, (10_000, 10_000), PATIENCE_SECS)?;
        let [a, b, c] = NOISY;
        let prefix = format!("outside {a}.{b}.{c}.0/24");
        wait_until("the limit is told", PATIENCE_SECS, || {
            Ok((daemon.status()?.throttled == [prefix.clone()]).then_some(()))
        })?;
        ensure!(daemon.notices("prefix_throttled")? == 1.0);
        ensure!(daemon.figure("cgn_throttled_prefixes{side=\"outside\",length=\"24\"}")? == 1.0);

        // A neighbour is let in, the prefix itself is not.
        let inbound = "cgn_translated_packets_total{direction=\"inbound\",protocol=\"tcp\"}";
        let try_one = |source: Ipv4Addr, port: u16| -> Result<(f64, u64)> {
            let (refused, came) = (daemon.count_of("throttled")?, daemon.figure(inbound)?);
            let syn = Draft::tcp(flag::SYN, (source, port), (*external.ip(), external.port()));
            RawSocket::open(&lab.internet)?.send(&syn.packet())?;
            std::thread::sleep(Duration::from_millis(300));
            let refused = daemon.count_of("throttled")? - refused;
            Ok((daemon.figure(inbound)? - came, refused))
        };
        let noisy = Ipv4Addr::new(a, b, c, 9);
        ensure!(
            try_one(NEIGHBOUR, 700)? == (1.0, 0),
            "a neighbour is let in"
        );
        ensure!(try_one(noisy, 700)?.1 == 1, "the prefix is not");

        daemon.advance_clock(65)?;
        wait_until("the release is told", PATIENCE_SECS, || {
            Ok((daemon.notices("prefix_released")? == 1.0).then_some(()))
        })?;
        ensure!(daemon.status()?.throttled.is_empty());
        ensure!(try_one(noisy, 701)? == (1.0, 0), "it is let in again");
        lab::converse(&mut stream, (10_000, 10_000), PATIENCE_SECS)?;
        Ok(())
    });
}

#[test]
fn an_infected_host_inside_is_limited_alone_and_named() {
    let name = "floods::an_infected_host_inside_is_limited_alone_and_named";
    in_lab(name, &Plan::default(), |lab| {
        let daemon = start(lab, "[throttle]\ninside_host = 40\nlimit_secs = 60\n")?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let host = &lab.subscribers[0];
        let (infected, other) = (address::subscriber(1, 66), address::subscriber(1, 2));
        let own = lab::echo_from(host, infected)?;
        let seen = lab::exchange(&own, echo.address(), b"before", true, PATIENCE_SECS)?;
        // A worm: a port of its own for each victim.
        let never = AtomicBool::new(false);
        let victim = |number: u64| {
            let to = (address::SERVERS[2], 445);
            Draft::tcp(flag::SYN, (infected, 2000 + number as u16), to).packet()
        };
        let sent = send(host, 2000, Duration::from_secs(2), &never, victim)?;
        let limited = daemon.count_of("throttled")?;
        ensure!(limited > sent / 2, "{limited} of {sent} were refused");
        wait_until("the host is named", PATIENCE_SECS, || {
            let told = daemon.status()?.throttled;
            Ok((told == [format!("inside {infected}/32")]).then_some(()))
        })?;
        ensure!(daemon.notices("prefix_throttled")? == 1.0);
        let rows = daemon.mappings()?;
        let has = rows.iter().filter(|row| row.inside == infected).count();
        ensure!(has <= 130, "it has {has} mappings after two seconds");
        // What it had goes on; its neighbour notices nothing.
        let again = lab::exchange(&own, echo.address(), b"after", true, PATIENCE_SECS)?;
        ensure!(again == seen, "{seen} became {again}");
        for _ in 0..10 {
            let socket = lab::echo_from(host, other)?;
            lab::exchange(&socket, echo.address(), b"other", false, PATIENCE_SECS)?;
        }
        daemon.advance_clock(65)?;
        wait_until("the release is told", PATIENCE_SECS, || {
            Ok((daemon.notices("prefix_released")? == 1.0).then_some(()))
        })?;
        let socket = lab::echo_from(host, infected)?;
        lab::exchange(&socket, echo.address(), b"fresh", true, PATIENCE_SECS)?;
        Ok(())
    });
}

/// Thread of the daemon that serves new subscribers. It names itself, perhaps when the daemon is ready already.
fn engine_of(daemon: &mut Daemon) -> Result<libc::pid_t> {
    let process = daemon.process().id();
    wait_until("the engine has a name", PATIENCE_SECS, || {
        Ok(processor::thread_of(process, "cgn-engine").ok())
    })
}

/// Leaves the thread a hundredth of the first processor: the rest is burnt until `stop`.
fn burn(engine: libc::pid_t, stop: &AtomicBool) -> Result<()> {
    processor::keep(engine, 0)?;
    // SAFETY: a system call without pointers.
    let set = unsafe { libc::setpriority(libc::PRIO_PROCESS, engine as libc::id_t, 19) };
    ensure!(set == 0, "{}", std::io::Error::last_os_error());
    processor::stay_on(0)?;
    while !stop.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
    Ok(())
}

#[test]
fn an_overloaded_slow_path_puts_new_subscribers_off_and_recovers() {
    let name = "floods::an_overloaded_slow_path_puts_new_subscribers_off_and_recovers";
    in_lab(name, &Plan::default(), |lab| {
        // A block for everyone of the crowd.
        let settings = Settings {
            addresses: r#""203.0.113.0/25""#.to_owned(),
            max_blocks: Some(40_000),
            ..Settings::default()
        };
        let toml = settings.toml(lab) + "\n[guard]\nbusy_percent = 50\nbusy_secs = 1\n";
        let mut daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
        let engine = engine_of(&mut daemon)?;
        let host = (&lab.subscribers[0], address::subscriber(1, 2));
        let stream = UdpStream::start(host, (&lab.internet, STREAM), 200)?;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let burning = scope.spawn(|| burn(engine, &stop));
            let crowd = scope.spawn(|| {
                let packet = |number: u64| {
                    let source = address::crowd((number % 32_768) as u16);
                    let to = (*SERVER.ip(), SERVER.port());
                    Draft::udp((source, 5000), to).packet()
                };
                let most = Duration::from_secs(40);
                send(&lab.subscribers[0], 3000, most, &stop, packet)
            });
            let fell = wait_until("new subscribers are put off in steps", 30.0, || {
                let put_off = daemon.status()?.put_off_percent;
                let is_counted = daemon.count_of("overload")? > 0;
                Ok((put_off >= 20 && is_counted).then_some(()))
            });
            stop.store(true, Ordering::Relaxed);
            crowd.join().expect("it panics nowhere")?;
            burning.join().expect("it panics nowhere")?;
            fell
        })?;
        ensure!(daemon.notices("overload_began")? >= 1.0);
        wait_until("it recovers", 40.0, || {
            Ok((daemon.status()?.put_off_percent == 0).then_some(()))
        })?;
        ensure!(daemon.notices("overload_ended")? >= 1.0);
        unharmed(stream)
    });
}
