//! IPv6 goes by to the kernel, which routes it, and prefixes of it that begin too much are limited.

use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{Daemon, Lab, Namespace, Plan, RawSocket, Settings, cgn_program, wait_until};
use cgn_tests::packets::{flag, native};

use crate::reload::{reload, tells, write};
use crate::{PATIENCE_SECS, in_lab};

/// A subscriber's host, and one in another network of his.
const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0x100, 0, 0, 0, 5);
const NEXT_DOOR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0x101, 0, 0, 0, 5);
/// A server in a network of which noise comes, too; one in the next network, and one elsewhere.
const NOISY: Ipv6Addr = Ipv6Addr::new(0x2a02, 0x100, 7, 0x1200, 0, 0, 0, 0x80);
const NEIGHBOUR: Ipv6Addr = Ipv6Addr::new(0x2a02, 0x100, 7, 0x1201, 0, 0, 0, 0x80);
const SERVER: Ipv6Addr = Ipv6Addr::new(0x2a00, 0x1450, 0, 0, 0, 0, 0, 0x2004);
/// The router's own address outside.
const ROUTER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 2, 0, 0, 0, 1);
const PORT: u16 = 7000;

/// Gives the laboratory IPv6 beside IPv4: addresses, routes, and a kernel that forwards.
fn route_ipv6(lab: &Lab) -> Result<()> {
    let host = &lab.subscribers[0];
    for namespace in [host, &lab.access, &lab.cgn, &lab.internet] {
        namespace.set_sysctl("ipv6/conf/all/disable_ipv6", "0")?;
        namespace.set_sysctl("ipv6/conf/all/accept_ra", "0")?;
    }
    for router in [&lab.access, &lab.cgn] {
        router.set_sysctl("ipv6/conf/all/forwarding", "1")?;
    }
    lab.cgn.ip(&format!(
        "addr add 2001:db8:ffff:1::1/64 dev inside nodad\naddr add {ROUTER}/64 dev outside nodad\n\
         route add 2001:db8:64::/48 via 2001:db8:ffff:1::2\nroute add default via 2001:db8:ffff:2::2\n"
    ))?;
    lab.access
        .ip("addr add 2001:db8:ffff:1::2/64 dev uplink nodad\n\
         addr add 2001:db8:ffff:3::1/64 dev sub1 nodad\n\
         route add 2001:db8:64::/48 via 2001:db8:ffff:3::2\n\
         route add default via 2001:db8:ffff:1::1\n")?;
    host.ip(&format!(
        "addr add 2001:db8:ffff:3::2/64 dev eth0 nodad\naddr add {HOME}/128 dev lo nodad\n\
         addr add {NEXT_DOOR}/128 dev lo nodad\nroute add default via 2001:db8:ffff:3::1 src {HOME}\n"
    ))?;
    lab.internet.ip(&format!(
        "addr add 2001:db8:ffff:2::2/64 dev uplink nodad\naddr add {NOISY}/128 dev lo nodad\n\
         addr add {NEIGHBOUR}/128 dev lo nodad\naddr add {SERVER}/128 dev lo nodad\n\
         route add 2001:db8:64::/48 via {ROUTER}\n"
    ))
}

/// A daemon, and a way for IPv6 that is open: a router asks for no neighbour before its own link address has
/// stood for a second or two, and a datagram is not sent again.
fn start(lab: &Lab, more: &str) -> Result<Daemon> {
    route_ipv6(lab)?;
    let daemon = Daemon::start_with(lab, &toml(lab, more), &cgn_program()?, &["--test-clock"])?;
    let first = Talk::new((&lab.internet, SERVER), (&lab.subscribers[0], HOME))?;
    wait_until("a datagram of IPv6 and its answer", PATIENCE_SECS, || {
        Ok(first.goes_on()?.then_some(()))
    })?;
    Ok(daemon)
}

/// Seconds beyond those that flows are learnt.
const LEARNT_SECS: u32 = 35;

fn toml(lab: &Lab, more: &str) -> String {
    Settings::default().toml(lab) + "\n" + more
}

/// A UDP flow between two hosts.
struct Talk {
    one: UdpSocket,
    other: UdpSocket,
}

impl Talk {
    fn new(
        (namespace, from): (&Namespace, Ipv6Addr),
        (others, to): (&Namespace, Ipv6Addr),
    ) -> Result<Self> {
        let bound = |namespace: &Namespace, address: Ipv6Addr| {
            namespace.within(|| {
                let at = SocketAddrV6::new(address, 0, 0, 0);
                let socket = UdpSocket::bind(at).with_context(|| format!("no socket at {at}"))?;
                socket.set_read_timeout(Some(Duration::from_millis(500)))?;
                Ok(socket)
            })
        };
        let (one, other) = (bound(namespace, from)?, bound(others, to)?);
        one.connect(other.local_addr()?)?;
        other.connect(one.local_addr()?)?;
        Ok(Self { one, other })
    }

    /// A datagram of the first host arrives, and the answer to it.
    fn goes_on(&self) -> Result<bool> {
        Ok(arrives(&self.one, &self.other)? && arrives(&self.other, &self.one)?)
    }
}

fn arrives(from: &UdpSocket, to: &UdpSocket) -> Result<bool> {
    from.send(b"it goes by")?;
    let mut data = [0; 32];
    Ok(to.recv(&mut data).is_ok())
}

/// A TCP connection, both ends of it.
struct Connection {
    client: TcpStream,
    server: TcpStream,
}

impl Connection {
    fn new(client: &Namespace, (namespace, server): (&Namespace, Ipv6Addr)) -> Result<Self> {
        let at = SocketAddrV6::new(server, PORT, 0, 0);
        let listener = namespace.within(|| Ok(TcpListener::bind(at)?))?;
        let client = client.within(|| {
            let limit = Duration::from_secs_f64(PATIENCE_SECS);
            Ok(TcpStream::connect_timeout(&at.into(), limit)?)
        })?;
        let (server, _) = listener.accept()?;
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(Duration::from_secs_f64(PATIENCE_SECS)))?;
        }
        Ok(Self { client, server })
    }

    fn goes_on(&mut self) -> Result<()> {
        let mut data = vec![0; 20_000];
        self.client.write_all(&[7; 20_000])?;
        self.server.read_exact(&mut data)?;
        self.server.write_all(&[8; 20_000])?;
        self.client.read_exact(&mut data)?;
        ensure!(data == [8; 20_000], "other content");
        Ok(())
    }
}

/// Sends packets number 0, 1, ... at about `per_sec` for so long.
fn send(
    namespace: &Namespace,
    per_sec: u64,
    time: Duration,
    packet: impl Fn(u64) -> Vec<u8>,
) -> Result<u64> {
    let raw = RawSocket::open_ipv6(namespace)?;
    let (began, mut sent) = (Instant::now(), 0);
    while began.elapsed() < time {
        let due = began.elapsed().as_micros() as u64 * per_sec / 1_000_000;
        for number in sent..due {
            // A queue of a device that is full for a moment is no failure of the test.
            let _ = raw.send_ipv6(native::packet(&packet(number)));
        }
        sent = sent.max(due);
        thread::sleep(Duration::from_millis(1));
    }
    Ok(sent)
}

/// New flows of a network to a host, SYNs and datagrams in turn, each of another host of it.
fn noise(number: u64, network: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
    let host = Ipv6Addr::from_bits(network.to_bits() >> 64 << 64 | u128::from(number % 5000 + 100));
    let port = 1024 + (number / 5000) as u16;
    match number.is_multiple_of(2) {
        true => native::tcp(flag::SYN, (host, port), (to, 9)),
        false => native::udp((host, port), (to, 9)),
    }
}

#[test]
fn a_noisy_network_outside_is_limited_within_a_second_and_released() {
    let name = "ipv6::a_noisy_network_outside_is_limited_within_a_second_and_released";
    in_lab(name, &Plan::default(), |lab| {
        let daemon = start(lab, "[throttle]\noutside_64 = 1000\nlimit_secs = 60\n")?;
        daemon.advance_clock(LEARNT_SECS)?;
        let (home, internet) = (&lab.subscribers[0], &lab.internet);
        let mut connection = Connection::new(home, (internet, NOISY))?;
        connection.goes_on()?;
        let begun_inside = Talk::new((home, HOME), (internet, NOISY))?;
        let begun_outside = Talk::new((internet, NOISY), (home, HOME))?;
        ensure!(begun_inside.goes_on()? && begun_outside.goes_on()?);

        // Ten thousand a second, for one second.
        let second = Duration::from_secs(1);
        let sent = send(internet, 10_000, second, |number| {
            noise(number, NOISY, HOME)
        })?;
        let limited = daemon.count_of("throttled")?;
        ensure!(
            limited > sent / 2,
            "{limited} of {sent} were refused within a second"
        );
        connection.goes_on().context("the connection")?;
        ensure!(begun_inside.goes_on()?, "a flow that a subscriber began");
        ensure!(begun_outside.goes_on()?, "a flow of the limited network");
        let prefix = "outside 2a02:100:7:1200::/64";
        wait_until("the limit is told", PATIENCE_SECS, || {
            Ok((daemon.status()?.throttled == [prefix]).then_some(()))
        })?;
        ensure!(daemon.notices("prefix_throttled")? == 1.0);
        let gauge = "cgn_throttled_prefixes{side=\"outside\",length=\"64\"}";
        ensure!(daemon.figure(gauge)? == 1.0);

        // Who begins something new: a neighbour may, subscribers may, the network itself may not, but to
        // the router.
        let fresh = |from| Talk::new((internet, from), (home, HOME));
        ensure!(fresh(NEIGHBOUR)?.goes_on()?, "a neighbour is let in");
        ensure!(
            Talk::new((home, HOME), (internet, NOISY))?.goes_on()?,
            "a subscriber's flow to it is let out, and the answer in"
        );
        let before = daemon.count_of("throttled")?;
        ensure!(!fresh(NOISY)?.goes_on()?, "the network is not");
        ensure!(daemon.count_of("throttled")? == before + 1);
        reaches_the_router(lab)?;

        daemon.advance_clock(65)?;
        wait_until("the release is told", PATIENCE_SECS, || {
            Ok((daemon.notices("prefix_released")? == 1.0).then_some(()))
        })?;
        ensure!(daemon.status()?.throttled.is_empty());
        ensure!(fresh(NOISY)?.goes_on()?, "it is let in again");
        connection.goes_on()?;
        Ok(())
    });
}

/// The limited network gets an answer of the router: that nobody is at a port of its.
fn reaches_the_router(lab: &Lab) -> Result<()> {
    let socket = lab.internet.within(|| {
        let socket = UdpSocket::bind(SocketAddrV6::new(NOISY, 0, 0, 0))?;
        socket.set_read_timeout(Some(Duration::from_secs_f64(PATIENCE_SECS)))?;
        socket.connect(SocketAddrV6::new(ROUTER, 9, 0, 0))?;
        Ok(socket)
    })?;
    socket.send(b"is anyone there?")?;
    let answer = socket.recv(&mut [0; 32]);
    let refused = answer.err().map(|error| error.kind());
    ensure!(
        refused == Some(std::io::ErrorKind::ConnectionRefused),
        "the router said {refused:?}"
    );
    Ok(())
}

#[test]
fn an_infected_network_inside_is_limited_alone_and_named() {
    let name = "ipv6::an_infected_network_inside_is_limited_alone_and_named";
    in_lab(name, &Plan::default(), |lab| {
        let daemon = start(lab, "[throttle]\ninside_64 = 40\nlimit_secs = 60\n")?;
        daemon.advance_clock(LEARNT_SECS)?;
        let (home, internet) = (&lab.subscribers[0], &lab.internet);
        let own = Talk::new((home, HOME), (internet, SERVER))?;
        let mut connection = Connection::new(home, (internet, SERVER))?;
        ensure!(own.goes_on()?);
        let sent = send(home, 2000, Duration::from_secs(2), |number| {
            noise(number, HOME, SERVER)
        })?;
        let limited = daemon.count_of("throttled")?;
        ensure!(limited > sent / 2, "{limited} of {sent} were refused");
        wait_until("the network is named", PATIENCE_SECS, || {
            let told = daemon.status()?.throttled;
            Ok((told == ["inside 2001:db8:64:100::/64"]).then_some(()))
        })?;
        ensure!(daemon.notices("prefix_throttled")? == 1.0);
        ensure!(own.goes_on()?, "what it had goes on");
        connection.goes_on()?;
        ensure!(
            !Talk::new((home, HOME), (internet, SERVER))?.goes_on()?,
            "it begins nothing"
        );
        // The networks beside it, and whoever calls it, notice nothing.
        for _ in 0..10 {
            ensure!(Talk::new((home, NEXT_DOOR), (internet, SERVER))?.goes_on()?);
            ensure!(Talk::new((internet, SERVER), (home, HOME))?.goes_on()?);
        }
        daemon.advance_clock(65)?;
        wait_until("the release is told", PATIENCE_SECS, || {
            Ok((daemon.notices("prefix_released")? == 1.0).then_some(()))
        })?;
        ensure!(Talk::new((home, HOME), (internet, SERVER))?.goes_on()?);
        Ok(())
    });
}

#[test]
fn flows_that_were_there_before_a_limit_was_set_go_on() {
    let name = "ipv6::flows_that_were_there_before_a_limit_was_set_go_on";
    in_lab(name, &Plan::default(), |lab| {
        let daemon = start(lab, "")?;
        let (home, internet) = (&lab.subscribers[0], &lab.internet);
        let flows = (0..20).map(|_| Talk::new((internet, NOISY), (home, HOME)));
        let flows = flows.collect::<Result<Vec<_>>>()?;
        let all_go_on = || -> Result<()> {
            for flow in &flows {
                ensure!(flow.goes_on()?);
            }
            Ok(())
        };
        all_go_on()?;
        let limit = |outside_64: u32| {
            write(
                lab,
                &toml(lab, &format!("[throttle]\noutside_64 = {outside_64}\n")),
            )?;
            let done = reload(lab, &[])?;
            tells(&done, 0, &["ready with the new configuration"])
        };
        limit(5)?;
        all_go_on().context("they are learnt")?;
        daemon.advance_clock(LEARNT_SECS)?;
        // What is known stays so by another reload, which learns nothing.
        limit(6)?;
        all_go_on().context("they are known")?;
        ensure!(daemon.count_of("throttled")? == 0);
        for _ in 0..10 {
            let _ = Talk::new((internet, NOISY), (home, HOME))?.goes_on()?;
        }
        ensure!(daemon.count_of("throttled")? > 0, "others are limited");
        all_go_on()?;
        Ok(())
    });
}
