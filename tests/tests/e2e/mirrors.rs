//! `[[mirror]]`: what comes to a collector is what matched, tshark reads it, and a mirror that cannot send harms
//! nobody.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{
    self, Capture, Daemon, Lab, Plan, Settings, UdpEcho, address, cgn_program, run_to_end,
};
use cgn_user::api::rows::MirrorRow;
use cgn_user::watch::crypto_pan::{CryptoPan, Key};

use crate::{PATIENCE_SECS, SERVER, in_lab, lacks_program, realms};

/// Where collectors are: hosts of the internet, behind the outside interface.
const COLLECTOR: Ipv4Addr = address::SERVERS[1];
const KEY: &str = "1522178d33a4cf80130a5b1649907d10d8988f837979652762574c2d2a842202";
/// Datagrams there and back.
const EXCHANGES: u64 = 20;
const INSIDE: Ipv4Addr = address::subscriber(1, 2);

fn started(lab: &Lab, mirrors: &str) -> Result<Daemon> {
    let toml = Settings::default().toml(lab) + mirrors;
    let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &[])?;
    daemon.wait_for_mirrors()?;
    Ok(daemon)
}

/// The first datagram of a new subscriber goes by the slow path.
fn exchanges(lab: &Lab, inside: Ipv4Addr, echo: &UdpEcho) -> Result<(UdpSocket, SocketAddrV4)> {
    let socket = lab::echo_from(&lab.subscribers[0], inside)?;
    let seen = lab::exchange(&socket, echo.address(), b"seven!!", true, PATIENCE_SECS)?;
    for _ in 1..EXCHANGES {
        lab::exchange(&socket, echo.address(), b"seven!!", false, PATIENCE_SECS)?;
    }
    Ok((socket, seen))
}

fn row(daemon: &Daemon, name: &str) -> Result<MirrorRow> {
    let mut all = daemon.mirrors()?.into_iter();
    all.find(|row| row.mirror == name).context("no such mirror")
}

/// Waits until a mirror has sent so many frames; none was lost or missed.
fn wait_for_sent(daemon: &Daemon, name: &str, frames: u64) -> Result<MirrorRow> {
    lab::wait_until("frames are sent", PATIENCE_SECS, || {
        Ok((row(daemon, name)?.sent >= frames).then_some(()))
    })
    .with_context(|| format!("{:?}", row(daemon, name)))?;
    let row = row(daemon, name)?;
    ensure!(
        (row.sent, row.lost, row.missed) == (frames, 0, 0),
        "not {frames} frames: {row:?}"
    );
    Ok(row)
}

/// Ends a capture once it has all that was sent: tcpdump gets its frames up to a second later.
fn finish(wire: Capture, daemon: &Daemon) -> Result<()> {
    let sent: u64 = daemon.mirrors()?.iter().map(|row| row.sent).sum();
    lab::wait_until("all copies are captured", PATIENCE_SECS, || {
        Ok((wire.so_far()?.len() as u64 >= sent).then_some(()))
    })?;
    wire.finish().map(drop)
}

/// What tshark says of each frame of a file, the fields in its order.
fn decoded(file: &Path, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut command = Command::new("tshark");
    command.arg("-nr").arg(file).args(["-Y", filter]);
    command.args(["-T", "fields", "-E", "separator=;", "-E", "aggregator=,"]);
    command.args([
        "-o",
        "ip.check_checksum:TRUE",
        "-o",
        "udp.check_checksum:TRUE",
    ]);
    for field in fields {
        command.args(["-e", field]);
    }
    let text = run_to_end(&mut command, 60.0)?;
    let lines = text.lines().filter(|line| line.contains(';'));
    Ok(lines
        .map(|line| line.split(';').map(str::to_owned).collect())
        .collect())
}

#[test]
fn tshark_decodes_what_comes_to_the_collectors() {
    const TEST: &str = "mirrors::tshark_decodes_what_comes_to_the_collectors";
    if lacks_program(TEST, "tshark") {
        return;
    }
    in_lab(TEST, &Plan::default(), |lab| {
        let mirrors = format!(
            "\n[[mirror]]\nname = \"both\"\nto = \"erspan2\"\ncollector = \"{COLLECTOR}\"\nsession = 5\n\
             inside = \"{INSIDE}/32\"\n\
             [[mirror]]\nname = \"after\"\nto = \"erspan3\"\ncollector = \"{COLLECTOR}\"\nsession = 6\n\
             inside = \"{INSIDE}/32\"\nside = \"outside\"\nwhen = \"after\"\npayload_bytes = 3\n\
             [[mirror]]\nname = \"port\"\nto = \"gre\"\ncollector = \"{COLLECTOR}\"\nsession = 7\n\
             outside = \"192.0.2.0/24\"\noutside_port = {}\nprotocol = \"udp\"\nside = \"inside\"\n",
            SERVER.port()
        );
        let daemon = started(lab, &mirrors)?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let file = lab.folder().join("collector.pcap");
        let wire = Capture::start(&lab.internet, "uplink", &["ip proto 47"], &file)?;
        let (socket, seen) = exchanges(lab, INSIDE, &echo)?;
        let own = format!("{INSIDE}:{}", socket.local_addr()?.port());
        // Another one's are in the third mirror only.
        exchanges(lab, address::subscriber(1, 3), &echo)?;
        wait_for_sent(&daemon, "both", 4 * EXCHANGES)?;
        wait_for_sent(&daemon, "after", EXCHANGES)?;
        wait_for_sent(&daemon, "port", 4 * EXCHANGES)?;
        finish(wire, &daemon)?;

        let fields = [
            "erspan.spanid",
            "erspan.version",
            "erspan.direction",
            "erspan.truncated",
            "gre.sequence_number",
            "ip.src",
            "udp.srcport",
            "ip.dst",
            "udp.dstport",
            "ip.checksum.status",
            "udp.checksum.status",
        ];
        let both = decoded(&file, "erspan.spanid == 5", &fields)?;
        ensure!(both.len() as u64 == 4 * EXCHANGES, "{} frames", both.len());
        let (ours, theirs, server) = (address::CGN_OUTSIDE, COLLECTOR, SERVER.to_string());
        let mut counts = [0; 4];
        for (number, frame) in both.iter().enumerate() {
            let (source, destination) = (inner(&frame[5], &ours)?, inner(&frame[7], &theirs)?);
            let ends = (
                format!("{source}:{}", frame[6]),
                format!("{destination}:{}", frame[8]),
            );
            let kinds = [
                (own.clone(), server.clone()),
                (seen.to_string(), server.clone()),
                (server.clone(), seen.to_string()),
                (server.clone(), own.clone()),
            ];
            let kind = kinds.iter().position(|kind| *kind == ends);
            counts[kind.with_context(|| format!("{frame:?}"))?] += 1;
            ensure!(frame[1] == "1" && frame[3] == "0", "{frame:?}");
            ensure!(frame[4] == number.to_string(), "{number}: {frame:?}");
            ensure!(
                frame[9].ends_with('1') && frame[10] == "1",
                "a checksum: {frame:?}"
            );
        }
        ensure!(counts == [EXCHANGES; 4], "{counts:?}");

        let after = decoded(&file, "erspan.spanid == 6", &fields)?;
        ensure!(after.len() as u64 == EXCHANGES, "{} frames", after.len());
        for frame in &after {
            let source = inner(&frame[5], &ours)?;
            ensure!(
                format!("{source}:{}", frame[6]) == seen.to_string(),
                "{frame:?}"
            );
            ensure!(
                (&*frame[1], &*frame[2], &*frame[3]) == ("2", "1", "1"),
                "{frame:?}"
            );
        }

        let port = decoded(
            &file,
            "gre.key == 7",
            &["gre.proto", "ip.src", "udp.payload"],
        )?;
        ensure!(port.len() as u64 == 4 * EXCHANGES, "{} frames", port.len());
        for frame in &port {
            ensure!(frame[0] == "0x6558", "{frame:?}");
            ensure!(!frame[1].contains("203.0.113."), "not inside: {frame:?}");
        }
        // Who asks for less has no watching programs any more.
        reload(lab, &daemon, &Settings::default().toml(lab))?;
        lab::wait_until("the plain programs", PATIENCE_SECS, || {
            let log = fs::read_to_string(lab.folder().join("daemon.log"))?;
            Ok(log
                .contains("nobody watches packets any more")
                .then_some(()))
        })?;
        let log = fs::read_to_string(lab.folder().join("daemon.log"))?;
        ensure!(
            log.contains("a mirror is on") && log.contains("session = 6"),
            "not in the log"
        );
        Ok(())
    });
}

/// The inner one of two addresses, of which the outer is `outer`.
fn inner<'a>(both: &'a str, outer: &Ipv4Addr) -> Result<&'a str> {
    let (first, second) = both.split_once(',').context("no tunnel")?;
    ensure!(first == outer.to_string(), "{both}: not from {outer}");
    Ok(second)
}

fn reload(lab: &Lab, daemon: &Daemon, toml: &str) -> Result<()> {
    let file = lab.folder().join("cgn.toml");
    ensure!(file.exists(), "the configuration is elsewhere");
    fs::write(file, toml)?;
    let mut command = Command::new(cgn_program()?);
    command.args(["reload", "--socket"]).arg(daemon.socket());
    run_to_end(&mut command, 60.0).map(drop)
}

#[test]
fn an_interface_gets_frames_with_other_addresses_and_samples_are_fair() {
    const TEST: &str =
        "mirrors::an_interface_gets_frames_with_other_addresses_and_samples_are_fair";
    if lacks_program(TEST, "tshark") {
        return;
    }
    in_lab(TEST, &Plan::default(), |lab| {
        lab.cgn
            .ip("link add tap type veth peer name tapped\nlink set tap up\nlink set tapped up\n")?;
        let key = lab.folder().join("key");
        fs::write(&key, KEY)?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        let mirror = |name: &str, more: &str| {
            format!(
                "[[mirror]]\nname = \"{name}\"\nto = \"interface\"\ninterface = \"tap\"\n{more}\n"
            )
        };
        let mirrors = mirror(
            "named",
            &format!(
                "anonymise_key = \"{}\"\ninside = \"{INSIDE}/32\"",
                key.display()
            ),
        ) + &mirror("packets", "packets_of = 4")
            + &mirror("flows", "flows_of = 4\nwhen = \"before\"")
            + &mirror("slow", "rate = 1");
        let daemon = started(lab, &format!("\n{mirrors}"))?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let file = lab.folder().join("tap.pcap");
        let wire = Capture::start(&lab.cgn, "tapped", &["ip"], &file)?;
        let (_socket, seen) = exchanges(lab, INSIDE, &echo)?;
        wait_for_sent(&daemon, "named", 4 * EXCHANGES)?;
        finish(wire, &daemon)?;
        let pan = CryptoPan::new(&KEY.parse::<Key>()?);
        let name = |address: &Ipv4Addr| pan.address(*address).to_string();
        let frames = decoded(
            &file,
            &format!("ip.addr == {}", name(SERVER.ip())),
            &["eth.src", "ip.src", "ip.dst", "ip.checksum.status"],
        )?;
        ensure!(
            frames.len() as u64 == 4 * EXCHANGES,
            "{} frames",
            frames.len()
        );
        let known = [name(&INSIDE), name(seen.ip()), name(SERVER.ip())];
        for frame in &frames {
            ensure!(
                frame[0] == "00:00:00:00:00:00" && frame[3] == "1",
                "{frame:?}"
            );
            ensure!(
                known.contains(&frame[1]) && known.contains(&frame[2]),
                "{frame:?}"
            );
        }

        // 60 flows of 20 datagrams each way, of subscribers of their own.
        for host in 10..70 {
            exchanges(lab, address::subscriber(1, host), &echo)?;
        }
        lab::wait_until("what was missed is counted", PATIENCE_SECS, || {
            Ok((row(&daemon, "slow")?.missed > 1000).then_some(()))
        })?;
        let all = 61 * EXCHANGES * 2;
        let packets = row(&daemon, "packets")?;
        ensure!(
            (all / 5..all / 3).contains(&packets.matched) && packets.missed == 0,
            "of {all}: {packets:?}"
        );
        let flows = row(&daemon, "flows")?;
        ensure!(
            flows.sent.is_multiple_of(2 * EXCHANGES) && (all / 12..all / 2).contains(&flows.sent),
            "whole flows, of {all}: {flows:?}"
        );
        let slow = row(&daemon, "slow")?;
        ensure!(slow.matched < 400, "one a second and processor: {slow:?}");
        Ok(())
    });
}

#[test]
fn a_mirror_that_cannot_send_harms_nobody() {
    const TEST: &str = "mirrors::a_mirror_that_cannot_send_harms_nobody";
    in_lab(TEST, &Plan::default(), |lab| {
        lab.cgn.ip("route add unreachable 192.0.2.99\n")?;
        let mirrors = "\n[[mirror]]\nname = \"dead\"\nto = \"gre\"\ncollector = \"192.0.2.99\"\n\
                       [[mirror]]\nname = \"gone\"\nto = \"interface\"\ninterface = \"later\"\n\
                       [[mirror]]\nname = \"locked\"\nto = \"gre\"\ncollector = \"127.0.0.1\"\nanonymise_key = \"/none\"\n";
        let toml = Settings::default().toml(lab) + mirrors;
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &[])?;
        lab::wait_until("both mirrors are on", 60.0, || {
            let on = daemon.mirrors()?;
            let on = on.iter().filter(|row| row.state.starts_with("on"));
            Ok((on.count() == 2).then_some(()))
        })?;
        let locked = row(&daemon, "locked")?.state;
        ensure!(
            locked.starts_with("off: ") && locked.contains("/none"),
            "{locked}"
        );
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        // Every datagram comes back, though none of its copies goes anywhere.
        exchanges(lab, INSIDE, &echo)?;
        for name in ["dead", "gone"] {
            lab::wait_until("lost frames are counted", PATIENCE_SECS, || {
                Ok((row(&daemon, name)?.lost == 4 * EXCHANGES).then_some(()))
            })
            .with_context(|| format!("{:?}", row(&daemon, name)))?;
            let row = row(&daemon, name)?;
            ensure!(row.sent == 0 && row.state.contains("lost"), "{row:?}");
        }
        // It comes later, and is found.
        lab.cgn
            .ip("link add later type veth peer name end\nlink set later up\nlink set end up\n")?;
        std::thread::sleep(std::time::Duration::from_millis(1500));
        exchanges(lab, INSIDE, &echo)?;
        lab::wait_until("the interface is found", PATIENCE_SECS, || {
            Ok((row(&daemon, "gone")?.sent == 4 * EXCHANGES).then_some(()))
        })
        .with_context(|| format!("{:?}", row(&daemon, "gone")))
    });
}

/// Three subscribers with one address (realms.rs): a mirror copies those of its realm, also where only the
/// external port tells whose a packet is.
#[test]
fn a_mirror_copies_packets_of_its_realm_and_of_no_other() {
    const TEST: &str = "mirrors::a_mirror_copies_packets_of_its_realm_and_of_no_other";
    if lacks_program(TEST, "tshark") {
        return;
    }
    in_lab(TEST, &realms::plan(), |lab| {
        realms::connect(lab)?;
        let mirror = |session: u8, more: &str| {
            format!(
                "[[mirror]]\nname = \"m{session}\"\nto = \"gre\"\ncollector = \"{COLLECTOR}\"\n\
                 session = {session}\n{more}\n"
            )
        };
        let inside = format!("inside = \"{}/32\"", realms::HOME);
        let toml = realms::configuration(lab, &Settings::default())
            + &mirror(0, &inside)
            + &mirror(1, &format!("{inside}\nrealm = \"mvno\""))
            + &mirror(2, "inside = \"100.64.0.0/10\"\nrealm = \"cloud\"");
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &[])?;
        daemon.wait_for_mirrors()?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let file = lab.folder().join("collector.pcap");
        let wire = Capture::start(&lab.internet, "uplink", &["ip proto 47"], &file)?;
        let said = ["from the first", "from the mvno", "from the cloud"];
        for (host, words) in lab.subscribers.iter().zip(said) {
            let socket = lab::echo_from(host, realms::HOME)?;
            let words = words.as_bytes();
            let seen = lab::exchange(&socket, echo.address(), words, true, PATIENCE_SECS)?;
            for _ in 1..EXCHANGES {
                lab::exchange(&socket, echo.address(), words, false, PATIENCE_SECS)?;
            }
            // To another port of his block: dropped, and his all the same.
            let before = daemon.count_of("no_mapping")?;
            let unused = SocketAddrV4::new(*seen.ip(), seen.port() ^ 1);
            echo.send(unused, &[words, b", unasked"].concat())?;
            daemon.wait_for_count("no_mapping", before, 1)?;
        }
        for session in 0..3 {
            lab::wait_until("all copies are sent", PATIENCE_SECS, || {
                let sent = row(&daemon, &format!("m{session}"))?.sent;
                Ok((sent > 4 * EXCHANGES).then_some(()))
            })?;
        }
        finish(wire, &daemon)?;
        for (session, words) in said.iter().enumerate() {
            let filter = format!("gre.key == {session}");
            let frames = decoded(&file, &filter, &["gre.key", "udp.payload"])?;
            let hex = |text: &str| -> String { text.bytes().map(|b| format!("{b:02x}")).collect() };
            let (words, unasked) = (hex(words), hex(", unasked"));
            let others = frames.iter().find(|frame| !frame[1].contains(&words));
            ensure!(others.is_none(), "of another realm: {others:?}");
            let dropped = frames.iter().filter(|frame| frame[1].contains(&unasked));
            let counts = (frames.len() as u64, dropped.count());
            ensure!(
                counts.0 > 4 * EXCHANGES && counts.1 == 1,
                "session {session}: {counts:?}"
            );
        }
        Ok(())
    });
}
