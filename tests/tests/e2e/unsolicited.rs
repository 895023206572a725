//! SYNs from outside that nobody waits for, between the kernels of hosts (RFC 5382 REQ-2, REQ-4).

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{
    self, Daemon, Lab, Namespace, Plan, Settings, TcpServer, address, cgn_program, wait_until,
};
use socket2::{Domain, Socket, Type};

use crate::{PATIENCE_SECS, SERVER, in_lab};

/// Where a host outside calls from.
const CALLER: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[1], 9000);
/// Port of the subscriber that is called.
const CALLED: u16 = 5555;
/// How long a call may take.
const CALL: Duration = Duration::from_secs(20);

/// A socket that shares its address and port with others.
fn socket(namespace: &Namespace, from: SocketAddrV4) -> Result<Socket> {
    namespace.within(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())?;
        Ok(socket)
    })
}

/// A call that is going on.
fn call(
    namespace: &Namespace,
    from: SocketAddrV4,
    to: SocketAddrV4,
) -> Result<JoinHandle<std::io::Result<TcpStream>>> {
    let socket = socket(namespace, from)?;
    Ok(std::thread::spawn(move || {
        socket.connect_timeout(&to.into(), CALL)?;
        Ok(TcpStream::from(socket))
    }))
}

fn end<T>(call: JoinHandle<T>) -> T {
    call.join().expect("it panics nowhere")
}

/// A daemon whose pool admits nobody to a TCP mapping but whom it has called.
fn start(lab: &Lab, icmp: &str) -> Result<Daemon> {
    let filtering = "tcp_filtering = \"address-and-port-dependent\"\n[[subscribers]]";
    let toml = Settings::default()
        .toml(lab)
        .replace("[[subscribers]]", filtering);
    let toml = format!("{toml}[icmp]\n{icmp}\n");
    Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])
}

/// A figure of ICMP errors once it is `value`.
fn wait_for_figure(daemon: &Daemon, series: &str, value: u64) -> Result<()> {
    let line = format!("{series} {value}");
    wait_until(series, PATIENCE_SECS, || {
        let text = daemon.metrics()?;
        Ok(text.lines().any(|is| is == line).then_some(()))
    })
}

const TOLD: &str = "cgn_icmp_errors_sent_total{kind=\"unsolicited_syn\"}";
const CONNECTED: &str = "cgn_icmp_errors_withheld_total{reason=\"connected\"}";

#[test]
fn a_syn_that_nobody_waits_for_is_told_after_six_seconds() {
    let name = "unsolicited::a_syn_that_nobody_waits_for_is_told_after_six_seconds";
    in_lab(name, &Plan::default(), |lab| {
        let daemon = start(lab, "")?;
        let stray = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 4000);
        let before = daemon.count_of("no_mapping")?;
        let calling = call(&lab.internet, CALLER, stray)?;
        daemon.wait_for_count("no_mapping", before, 1)?;
        wait_for_figure(&daemon, "cgn_syns_held", 1)?;
        daemon.advance_clock(2)?;
        // Real time in which an answer would have come, and in which the SYN is sent again.
        std::thread::sleep(Duration::from_millis(1200));
        ensure!(!calling.is_finished(), "told within six seconds");
        daemon.advance_clock(5)?;
        let error = end(calling).err().and_then(|error| error.raw_os_error());
        ensure!(error == Some(libc::ECONNREFUSED), "{error:?}");
        wait_for_figure(&daemon, TOLD, 1)?;
        wait_for_figure(&daemon, "cgn_syns_held", 0)
    });
}

#[test]
fn silence_where_it_is_configured() {
    let name = "unsolicited::silence_where_it_is_configured";
    in_lab(name, &Plan::default(), |lab| {
        let daemon = start(lab, "unsolicited_syn = false\nport_unreachable = true")?;
        let stray = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 4000);
        let before = daemon.count_of("no_mapping")?;
        let calling = call(&lab.internet, CALLER, stray)?;
        for count in 1..=2 {
            daemon.wait_for_count("no_mapping", before, count)?;
            daemon.advance_clock(30)?;
        }
        std::thread::sleep(Duration::from_millis(500));
        ensure!(!calling.is_finished(), "told after all");
        wait_for_figure(&daemon, TOLD, 0)
    });
}

/// The caller's SYN is refused by the filter and waits; that of the subscriber from the same port
/// meets the caller while it is opening: its kernel makes one connection of the two.
#[test]
fn both_sides_open_at_once() {
    let name = "unsolicited::both_sides_open_at_once";
    in_lab(name, &Plan::default(), |lab| {
        let daemon = start(lab, "")?;
        let server = TcpServer::start(&lab.internet, SERVER, PATIENCE_SECS)?;
        let (host, inside) = (&lab.subscribers[0], address::subscriber(1, 2));
        let inside = SocketAddrV4::new(inside, CALLED);
        // Its external endpoint, as it learns it from a server.
        let mut first = end(call(host, inside, server.address())?)?;
        let external = lab::converse(&mut first, (8, 8), PATIENCE_SECS)?.seen;

        let before = daemon.count_of("filtered")?;
        let caller = call(&lab.internet, CALLER, external)?;
        daemon.wait_for_count("filtered", before, 1)?;
        daemon.advance_clock(3)?;
        ensure!(!caller.is_finished(), "it was let in, or refused");
        let called = end(call(host, inside, CALLER)?).context("the subscriber calls")?;
        let caller = end(caller).context("the caller")?;
        daemon.advance_clock(10)?;
        wait_for_figure(&daemon, CONNECTED, 1)?;
        wait_for_figure(&daemon, TOLD, 0)?;
        exchange(&called, &caller)?;
        exchange(&caller, &called)
    });
}

/// A few bytes from one end to the other.
fn exchange(mut from: &TcpStream, mut to: &TcpStream) -> Result<()> {
    use std::io::{Read as _, Write as _};
    to.set_read_timeout(Some(Duration::from_secs_f64(PATIENCE_SECS)))?;
    from.write_all(b"at once")?;
    let mut got = [0; 7];
    to.read_exact(&mut got)?;
    ensure!(&got == b"at once");
    Ok(())
}
