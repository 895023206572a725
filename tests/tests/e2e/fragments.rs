//! Fragments between kernel sockets, which reassemble them: in order as the kernel
//! makes them, in any other order as raw sockets send them.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use cgn_tests::lab::{
    self, Daemon, Lab, Namespace, Plan, RawSocket, Settings, UdpEcho, XdpPass, address,
    cgn_program, run_to_end, wait_until,
};
use cgn_tests::packets::Draft;

use crate::{PATIENCE_SECS, SERVER, attributed, in_lab, lacks_program, realms};

/// Bytes of data in a fragment.
const DATA: usize = 1000;

#[test]
fn a_large_ping() {
    let name = "fragments::a_large_ping";
    if lacks_program(name, "ping") {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let _daemon = Daemon::start(lab, &Settings::default())?;
        let mut command = lab.subscribers[0].command("ping");
        command
            .args(["-n", "-c", "5", "-i", "0.2", "-W", "3", "-s", "4000"])
            .arg(address::SERVERS[0].to_string());
        let said = run_to_end(&mut command, 30.0)?;
        ensure!(said.contains("5 received, 0% packet loss"), "{said}");
        Ok(())
    });
}

#[test]
fn large_datagrams_both_ways_also_to_another_subscriber() {
    in_lab(
        "fragments::large_datagrams_both_ways_also_to_another_subscriber",
        &Plan::default(),
        |lab| {
            let daemon = Daemon::start(lab, &Settings::default())?;
            // What XDP sends back where it came from wakes only a peer with a program.
            let _pass = XdpPass::attach(&lab.access, "uplink")?;
            let server = receiver(&lab.internet, SERVER)?;
            let inside = SocketAddrV4::new(address::subscriber(1, 7), 6000);
            let client = receiver(&lab.subscribers[0], inside)?;
            for bytes in [1500, 8000, 30_000] {
                let sent = pattern(bytes, bytes as u8);
                client.send_to(&sent, SERVER)?;
                let (got, seen) = receive(&server).with_context(|| format!("{bytes} out"))?;
                ensure!(got == sent, "{bytes} bytes out: {} arrived", got.len());
                attributed(&daemon, *inside.ip(), seen)?;
                server.send_to(&sent, seen)?;
                let (got, from) = receive(&client).with_context(|| format!("{bytes} in"))?;
                ensure!(
                    got == sent && from == SERVER,
                    "{bytes} bytes in: {} from {from}",
                    got.len()
                );
                let other = receiver(
                    &lab.subscribers[0],
                    SocketAddrV4::new(address::subscriber(1, 8), 6000),
                )?;
                other.send_to(&sent, seen)?;
                let (got, from) = receive(&client).with_context(|| format!("{bytes} between"))?;
                ensure!(
                    got == sent,
                    "{bytes} bytes between subscribers: {}",
                    got.len()
                );
                attributed(&daemon, address::subscriber(1, 8), from)?;
            }
            Ok(())
        },
    );
}

#[test]
fn fragments_in_every_order_and_mixed() {
    in_lab(
        "fragments::fragments_in_every_order_and_mixed",
        &Plan::default(),
        |lab| {
            let daemon = Daemon::start(lab, &Settings::default())?;
            let server = receiver(&lab.internet, SERVER)?;
            let inside = SocketAddrV4::new(address::subscriber(1, 7), 6000);
            let client = receiver(&lab.subscribers[0], inside)?;
            client.send_to(b"open", SERVER)?;
            let (_, external) = receive(&server)?;
            let out = RawSocket::open(&lab.subscribers[0])?;
            let back = RawSocket::open(&lab.internet)?;
            for (raw, from, to, end, what) in [
                (&out, inside, SERVER, &server, "outbound"),
                (&back, SERVER, external, &client, "inbound"),
            ] {
                for (number, order) in ORDERS.iter().enumerate() {
                    let draft = datagram(from, to, number as u16 + 1);
                    send(raw, &draft, order)?;
                    let (got, _) =
                        receive(end).with_context(|| format!("{what}, in the order {order:?}"))?;
                    ensure!(got == draft.payload, "{what}, {order:?}: other bytes");
                }
                // Two datagrams at once, each backwards.
                let drafts = [datagram(from, to, 100), datagram(from, to, 101)];
                for at in [2, 1, 0] {
                    drafts
                        .iter()
                        .try_for_each(|draft| send(raw, draft, &[at]))?;
                }
                let mut got = [receive(end)?.0, receive(end)?.0];
                got.sort_unstable();
                let mut wanted = drafts.map(|draft| draft.payload);
                wanted.sort_unstable();
                ensure!(got == wanted, "{what}, mixed");
                // XDP may have known all of these before the slow path saw them; one that surely waits.
                let draft = datagram(from, to, 102);
                send(raw, &draft, &[2])?;
                wait_until("a fragment is held", PATIENCE_SECS, || {
                    let held = metric(&daemon.metrics()?, "cgn_fragments_held")?;
                    Ok((held == 1).then_some(()))
                })?;
                send(raw, &draft, &[1, 0])?;
                let (got, _) = receive(end).with_context(|| format!("{what}, after a wait"))?;
                ensure!(got == draft.payload, "{what}, after a wait: other bytes");
            }
            let metrics = daemon.metrics()?;
            ensure!(metrics.contains("\ncgn_fragments_held 0\n"), "{metrics}");
            let released = metric(&metrics, "cgn_fragments_released_total")?;
            ensure!(
                released >= 2,
                "{released} of the two that waited were released"
            );
            Ok(())
        },
    );
}

/// RFC 4787 REQ-14a.
#[test]
fn a_flood_of_fragments_costs_nobody_else_one() {
    in_lab(
        "fragments::a_flood_of_fragments_costs_nobody_else_one",
        &Plan::default(),
        |lab| {
            let daemon = Daemon::start(lab, &Settings::default())?;
            let server = receiver(&lab.internet, SERVER)?;
            let inside = SocketAddrV4::new(address::subscriber(1, 7), 6000);
            let echo = UdpEcho::start(&lab.internet, SocketAddrV4::new(*SERVER.ip(), 7001))?;
            let stop = AtomicBool::new(false);
            let flooded = std::thread::scope(|scope| {
                let flood = scope.spawn(|| flood(lab, &stop));
                let others = (|| {
                    wait_until("the flood is at its limit", PATIENCE_SECS, || {
                        Ok((daemon.count_of("fragment_limit")? > 1000).then_some(()))
                    })?;
                    let raw = RawSocket::open(&lab.subscribers[0])?;
                    for id in 1..40 {
                        let draft = datagram(inside, SERVER, id);
                        send(&raw, &draft, &[2, 1, 0])?;
                        let (got, _) =
                            receive(&server).with_context(|| format!("datagram {id}"))?;
                        ensure!(got == draft.payload);
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    // New subscribers still get their blocks, and whole packets pass.
                    for host in 10..30 {
                        let socket =
                            lab::echo_from(&lab.subscribers[0], address::subscriber(1, host))?;
                        lab::exchange(&socket, echo.address(), b"whole", false, PATIENCE_SECS)?;
                    }
                    Ok(())
                })();
                stop.store(true, Ordering::Relaxed);
                let sent = flood.join().expect("no panic")?;
                others.map(|()| sent)
            })?;
            let metrics = daemon.metrics()?;
            let held = metric(&metrics, "cgn_fragments_held")?;
            ensure!(held <= 64, "{held} of {flooded} are held for one source");
            wait_until("what waited in vain is given up", PATIENCE_SECS, || {
                let held = metric(&daemon.metrics()?, "cgn_fragments_held_bytes")?;
                Ok((held == 0).then_some(()))
            })?;
            ensure!(daemon.count_of("fragment_expired")? > 0);
            Ok(())
        },
    );
}

/// Fragments without a first one, from one subscriber, as fast as it goes.
fn flood(lab: &Lab, stop: &AtomicBool) -> Result<u64> {
    let raw = RawSocket::open(&lab.subscribers[0])?;
    let from = SocketAddrV4::new(address::subscriber(1, 66), 1);
    let fragment = datagram(from, SERVER, 0)
        .fragments(DATA)
        .remove(1)
        .split_off(14);
    let (mut sent, began) = (0_u64, Instant::now());
    while !stop.load(Ordering::Relaxed) && began.elapsed() < Duration::from_secs(30) {
        let mut packet = fragment.clone();
        packet[4..6].copy_from_slice(&(sent as u16).to_be_bytes());
        // A full queue of the device is no matter.
        if raw.send(&packet).is_ok() {
            sent += 1;
        }
        if sent.is_multiple_of(64) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(sent)
}

/// Three hosts with one address (realms.rs): what waits in vain of each is counted for its realm; from outside
/// for the realm that the pool serves, if it is one, else for nobody.
#[test]
fn what_waited_in_vain_is_counted_for_its_realm() {
    let name = "fragments::what_waited_in_vain_is_counted_for_its_realm";
    in_lab(name, &realms::plan(), |lab| {
        realms::connect(lab)?;
        // Longer than the test takes; the clock is set forward.
        let toml =
            realms::configuration(lab, &Settings::default()) + "[fragments]\ntimeout_secs = 120\n";
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
        let inside = SocketAddrV4::new(realms::HOME, 6000);
        // Fragments of each that are never followed by a first one, in the order of the laboratory's hosts.
        let theirs = [("", 4), ("mvno", 2), ("cloud", 1)];
        let before = theirs.map(|(realm, _)| drops_of(&daemon, realm));
        for (host, (_, count)) in lab.subscribers.iter().zip(theirs) {
            let raw = RawSocket::open(host)?;
            for id in 1..=count {
                send(&raw, &datagram(inside, SERVER, id), &[1])?;
            }
        }
        let raw = RawSocket::open(&lab.internet)?;
        for (to, id) in [(OF_THE_FIRST, 1), (OF_TWO, 2)] {
            send(&raw, &datagram(SERVER, to, id), &[1])?;
        }
        wait_until("all are held", PATIENCE_SECS, || {
            let held = metric(&daemon.metrics()?, "cgn_fragments_held")?;
            Ok((held == 7 + 2).then_some(()))
        })?;
        daemon.advance_clock(OVER_SECS)?;
        wait_until("all are given up", PATIENCE_SECS, || {
            Ok((daemon.count_of("fragment_expired")? == 7 + 2).then_some(()))
        })?;
        for ((realm, count), before) in theirs.into_iter().zip(before) {
            let from_outside = u64::from(realm.is_empty());
            let expired = realms::dropped(&daemon, realm, "fragment_expired")?;
            ensure!(
                expired == u64::from(count) + from_outside,
                "{realm:?}: {expired} expired"
            );
            let all = drops_of(&daemon, realm)? - before?;
            ensure!(all == expired, "{realm:?}: {all} of the metric");
        }
        Ok(())
    });
}

/// Addresses of the pool of the first realm, and of the one that both others have.
const OF_THE_FIRST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 5000);
const OF_TWO: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 100), 5000);
/// Longer than fragments wait there.
const OVER_SECS: u32 = 130;

/// `cgn_realm_drops_total` of a realm.
fn drops_of(daemon: &Daemon, realm: &str) -> Result<u64> {
    let label = match realm {
        "" => "[inside]",
        realm => realm,
    };
    let name = format!("cgn_realm_drops_total{{realm=\"{label}\"}}");
    metric(&daemon.metrics()?, &name)
}

/// RFC 4787 REQ-13a.
#[test]
fn what_is_too_large_for_the_way_out_is_fragmented() {
    in_lab(
        "fragments::what_is_too_large_for_the_way_out_is_fragmented",
        &Plan::default(),
        |lab| {
            lab.cgn.ip("link set outside mtu 1280\n")?;
            let daemon = Daemon::start(lab, &Settings::default())?;
            let server = receiver(&lab.internet, SERVER)?;
            let raw = RawSocket::open(&lab.subscribers[0])?;
            let inside = SocketAddrV4::new(address::subscriber(1, 7), 6000);
            // The very first packet of a subscriber, whole; then one that is fragmented already.
            let whole = Draft::udp((*inside.ip(), 6000), (*SERVER.ip(), SERVER.port()))
                .with(|d| (d.dont_fragment, d.payload) = (false, pattern(1400, 3)));
            raw.send(&whole.packet())?;
            let (got, seen) = receive(&server)?;
            ensure!(got == whole.payload, "{} bytes arrived", got.len());
            attributed(&daemon, *inside.ip(), seen)?;
            let larger = datagram(inside, SERVER, 9).with(|d| d.payload = pattern(4000, 4));
            for fragment in larger.fragments(1440) {
                raw.send(&fragment[14..])?;
            }
            let (got, _) = receive(&server)?;
            ensure!(got == larger.payload, "{} bytes arrived", got.len());
            let split = metric(&daemon.metrics()?, "cgn_packets_split_total")?;
            ensure!(split == 3, "{split} packets were fragmented");
            Ok(())
        },
    );
}

const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

/// A datagram of three fragments. The kernel replaces identification 0.
fn datagram(from: SocketAddrV4, to: SocketAddrV4, id: u16) -> Draft {
    Draft::udp((*from.ip(), from.port()), (*to.ip(), to.port())).with(|d| {
        d.dont_fragment = false;
        d.id = id;
        d.payload = pattern(2 * DATA + 500, id as u8);
    })
}

fn pattern(bytes: usize, salt: u8) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8 ^ salt)
        .collect()
}

fn send(raw: &RawSocket, draft: &Draft, order: &[usize]) -> Result<()> {
    let fragments = draft.fragments(DATA);
    order
        .iter()
        .try_for_each(|at| raw.send(&fragments[*at][14..]))
}

fn receiver(namespace: &Namespace, at: SocketAddrV4) -> Result<UdpSocket> {
    let socket =
        namespace.within(|| UdpSocket::bind(at).with_context(|| format!("cannot bind {at}")))?;
    socket.set_read_timeout(Some(Duration::from_secs_f64(PATIENCE_SECS)))?;
    Ok(socket)
}

fn receive(socket: &UdpSocket) -> Result<(Vec<u8>, SocketAddrV4)> {
    let mut buffer = vec![0; 65_536];
    let (length, from) = socket.recv_from(&mut buffer).context("nothing arrived")?;
    buffer.truncate(length);
    match from {
        SocketAddr::V4(from) => Ok((buffer, from)),
        SocketAddr::V6(from) => bail!("from {from}"),
    }
}

/// The value of a metric, with its labels if it has some.
fn metric(page: &str, name: &str) -> Result<u64> {
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value
        .with_context(|| format!("no {name}"))?
        .parse()
        .with_context(|| name.to_owned())
}
