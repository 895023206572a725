//! `cgn capture`: files that tshark reads, with packets before and after translation, verdicts as
//! comments, and if asked for other addresses; what is missing is said.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{
    self, Daemon, Lab, Namespace, Plan, Settings, UdpEcho, address, cgn_program, run_to_end,
};
use cgn_user::watch::crypto_pan::{CryptoPan, Key};

use crate::{PATIENCE_SECS, SERVER, in_lab, lacks_program, realms};

const KEY: &str = "152217 8d33a4cf80130a5b1649907d10d8988f83797965276257 4c2d2a842202";

/// A running `cgn capture`; killed when this ends.
struct Capture {
    child: std::process::Child,
    file: PathBuf,
}

impl Capture {
    /// Returns when the watching programs are in place.
    fn start(lab: &Lab, daemon: &Daemon, name: &str, arguments: &[&str]) -> Result<Self> {
        let watches = nobody_watches(lab)?;
        let file = lab.folder().join(name);
        let mut command = capture(daemon, &file, arguments)?;
        let child = command
            .stderr(Stdio::piped())
            .spawn()
            .context("cgn capture")?;
        let capture = Self { child, file };
        lab::wait_until("the watching programs", 60.0, || {
            Ok((begun_and_ended(lab)?.0 > watches).then_some(()))
        })?;
        Ok(capture)
    }

    /// What it said, when it has ended by itself, or by Ctrl-C.
    fn said(mut self) -> Result<String> {
        let mut stderr = self.child.stderr.take().context("no stderr")?;
        let said = io::read_to_string(&mut stderr)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "cgn capture: {status}, {said}");
        Ok(said)
    }

    fn interrupt(self) -> Result<String> {
        let id = self.child.id().to_string();
        run_to_end(Command::new("kill").args(["-INT", &id]), PATIENCE_SECS)?;
        self.said()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn capture(daemon: &Daemon, file: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(cgn_program()?);
    command.args(["capture", "--socket"]).arg(daemon.socket());
    command
        .arg("--write")
        .arg(file)
        .args(["--seconds", "60"])
        .args(arguments);
    Ok(command)
}

/// How many watches have begun and ended, by the daemon's log.
fn begun_and_ended(lab: &Lab) -> Result<(usize, usize)> {
    let log = fs::read_to_string(lab.folder().join("daemon.log"))?;
    let begun = log.matches("somebody watches packets").count();
    Ok((
        begun,
        log.matches("nobody watches packets any more").count(),
    ))
}

/// Waits until the plain programs are in place; returns how many watches there were.
fn nobody_watches(lab: &Lab) -> Result<usize> {
    lab::wait_until("the plain programs", PATIENCE_SECS, || {
        let (begun, ended) = begun_and_ended(lab)?;
        Ok((begun == ended).then_some(begun))
    })
}

/// A frame, as tshark says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    comment: String,
    interface: String,
    from: String,
    to: String,
    /// Bytes of payload in the file.
    payload: usize,
}

/// All frames of a file. That checksums are good, and times in order, is checked here.
fn frames(file: &Path) -> Result<Vec<Frame>> {
    let mut command = Command::new("tshark");
    command
        .arg("-nr")
        .arg(file)
        .args(["-T", "fields", "-E", "separator=;"]);
    command.args([
        "-o",
        "ip.check_checksum:TRUE",
        "-o",
        "udp.check_checksum:TRUE",
    ]);
    for field in [
        "frame.comment",
        "frame.interface_name",
        "frame.time_epoch",
        "ip.checksum.status",
        "udp.checksum.status",
        "ip.src",
        "udp.srcport",
        "ip.dst",
        "udp.dstport",
        "udp.length",
        // Not `data.data`, which is empty where a random port is one that tshark knows, such as LISP's.
        "udp.payload",
    ] {
        command.args(["-e", field]);
    }
    let text = run_to_end(&mut command, 60.0)?;
    let mut before = 0.0;
    let mut frames = Vec::new();
    for line in text.lines().filter(|line| line.contains(';')) {
        let fields: Vec<&str> = line.split(';').collect();
        let [
            comment,
            interface,
            time,
            ip,
            udp,
            from,
            from_port,
            to,
            to_port,
            length,
            data,
        ] = fields[..]
        else {
            anyhow::bail!("{line:?}");
        };
        let time: f64 = time.parse().with_context(|| line.to_owned())?;
        let now = std::time::UNIX_EPOCH.elapsed()?.as_secs_f64();
        ensure!(
            time >= before && (now - time).abs() < 120.0,
            "{line}: {now}"
        );
        before = time;
        // 1: good; 2: unverified, for the end of the packet is missing.
        ensure!(ip == "1" && matches!(udp, "1" | "2"), "{line}");
        let whole = length.parse::<usize>().with_context(|| line.to_owned())? - 8;
        ensure!((udp == "2") == (data.len() / 2 < whole), "{line}");
        frames.push(Frame {
            comment: comment.to_owned(),
            interface: interface.to_owned(),
            from: format!("{from}:{from_port}"),
            to: format!("{to}:{to_port}"),
            payload: data.len() / 2,
        });
    }
    Ok(frames)
}

/// A subscriber with a mapping.
struct Home {
    socket: UdpSocket,
    /// The CGN's interface towards it.
    interface: &'static str,
    own: SocketAddrV4,
    seen: SocketAddrV4,
}

impl Home {
    fn new(lab: &Lab, inside: Ipv4Addr, echo: &UdpEcho) -> Result<Self> {
        Self::behind("inside", &lab.subscribers[0], inside, echo)
    }

    fn behind(
        interface: &'static str,
        host: &Namespace,
        inside: Ipv4Addr,
        echo: &UdpEcho,
    ) -> Result<Self> {
        let socket = lab::echo_from(host, inside)?;
        let own = SocketAddrV4::new(inside, socket.local_addr()?.port());
        let seen = lab::exchange(&socket, echo.address(), b"first", true, PATIENCE_SECS)?;
        Ok(Self {
            socket,
            interface,
            own,
            seen,
        })
    }

    fn exchange(&self, echo: &UdpEcho) -> Result<()> {
        lab::exchange(
            &self.socket,
            echo.address(),
            b"seven!!",
            false,
            PATIENCE_SECS,
        )?;
        Ok(())
    }

    /// One exchange on both sides, with at most so many bytes of payload.
    fn expected(&self, most: usize, name: impl Fn(SocketAddrV4) -> String) -> Vec<Frame> {
        // The server answers with what it got, and the address that it saw.
        let answer = format!("seven!! seen from {}", self.seen).len();
        let frame = |comment: &str, interface: &str, from, to| Frame {
            comment: comment.to_owned(),
            interface: interface.to_owned(),
            from: name(from),
            to: name(to),
            payload: most.min(if from == SERVER { answer } else { 7 }),
        };
        let (inside, own, seen) = (self.interface, self.own, self.seen);
        vec![
            frame("translate", inside, own, SERVER),
            frame("translated", "outside", seen, SERVER),
            frame("translate", "outside", SERVER, seen),
            frame("translated", inside, SERVER, own),
        ]
    }
}

/// The first word of each comment is the verdict; the rest differs from run to run.
fn verdicts(frames: &[Frame]) -> Vec<Frame> {
    let verdict = |frame: &Frame| Frame {
        comment: frame
            .comment
            .split(',')
            .next()
            .unwrap_or_default()
            .to_owned(),
        ..frame.clone()
    };
    frames.iter().map(verdict).collect()
}

#[test]
fn tshark_reads_both_sides_with_verdicts() {
    const TEST: &str = "capture::tshark_reads_both_sides_with_verdicts";
    if lacks_program(TEST, "tshark") {
        return;
    }
    in_lab(TEST, &Plan::default(), |lab| {
        let daemon = Daemon::start(lab, &Settings::default())?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let home = Home::new(lab, address::subscriber(1, 2), &echo)?;
        let other = Home::new(lab, address::subscriber(1, 3), &echo)?;
        let own = home.own.ip().to_string();

        let both = Capture::start(lab, &daemon, "both", &["--inside", &own, "--count", "2"])?;
        let file = both.file.clone();
        other.exchange(&echo)?;
        home.exchange(&echo)?;
        let said = both.said()?;
        ensure!(
            said.contains("4 frames in") && !said.contains("missing"),
            "{said}"
        );
        let seen = frames(&file)?;
        ensure!(
            verdicts(&seen) == home.expected(1500, |end| end.to_string()),
            "{seen:?}"
        );
        let steps = " subscriber next_hop mapping translated";
        ensure!(seen[0].comment.ends_with(steps), "{seen:?}");
        ensure!(
            fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600,
            "others may read it"
        );

        let prefix = "100.64.1.0/24";
        let arguments = [
            "--inside", prefix, "--side", "outside", "--snap", "3", "--count", "2",
        ];
        let outside = Capture::start(lab, &daemon, "outside", &arguments)?;
        let file = outside.file.clone();
        home.exchange(&echo)?;
        outside.said()?;
        let expected = home.expected(3, |end| end.to_string());
        let cut = frames(&file)?;
        ensure!(cut.len() == 2, "{cut:?}");
        for (frame, expected) in verdicts(&cut).iter().zip(&expected[1..3]) {
            ensure!(
                (&frame.from, &frame.to) == (&expected.from, &expected.to),
                "{cut:?}"
            );
            ensure!(frame.interface == "outside", "{cut:?}");
        }
        refused(lab, &daemon, &echo)
    });
}

/// What is dropped has its reason; nothing is overwritten; a key is secret.
fn refused(lab: &Lab, daemon: &Daemon, echo: &UdpEcho) -> Result<()> {
    let server = SERVER.ip().to_string();
    let dropped = Capture::start(
        lab,
        daemon,
        "dropped",
        &["--outside", &server, "--count", "1"],
    )?;
    let file = dropped.file.clone();
    echo.send("203.0.113.77:4444".parse()?, b"knock")?;
    dropped.said()?;
    let seen = frames(&file)?;
    ensure!(
        seen.len() == 1 && seen[0].comment.starts_with("drop no_mapping, "),
        "{seen:?}"
    );

    let key = lab.folder().join("open-key");
    fs::write(&key, "00".repeat(32))?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
    let open_key = key.to_string_lossy().into_owned();
    let new = lab.folder().join("new");
    for (file, arguments, words) in [
        (&file, vec!["--count", "1"], "File exists"),
        (
            &new,
            vec!["--anonymise", &open_key],
            "can be read by others",
        ),
        (&new, vec!["--rate", "0"], "from 1 to 100000"),
        (
            &new,
            vec!["--inside", "100.64.1.1/16"],
            "an address or prefix",
        ),
    ] {
        let output = capture(daemon, file, &arguments)?.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            !output.status.success() && said.contains(words),
            "{arguments:?}: {said}"
        );
        ensure!(!new.exists(), "{arguments:?} left a file");
    }
    Ok(())
}

#[test]
fn other_addresses_and_a_bounded_rate() {
    const TEST: &str = "capture::other_addresses_and_a_bounded_rate";
    if lacks_program(TEST, "tshark") {
        return;
    }
    in_lab(TEST, &Plan::default(), |lab| {
        let daemon = Daemon::start(lab, &Settings::default())?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let home = Home::new(lab, address::subscriber(1, 2), &echo)?;
        let key = KEY.replace(' ', "");
        let key_file = lab.folder().join("key");
        fs::write(&key_file, format!("{key}\n"))?;
        fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600))?;
        let pan = CryptoPan::new(&key.parse::<Key>()?);
        let names = |end: SocketAddrV4| format!("{}:{}", pan.address(*end.ip()), end.port());
        let key_file = key_file.to_string_lossy().into_owned();

        for (name, snap, payload) in [("none", None, 0), ("whole", Some("1500"), 1500)] {
            let mut arguments = vec![
                "--anonymise",
                &key_file,
                "--protocol",
                "udp",
                "--count",
                "2",
            ];
            arguments.extend(snap.iter().flat_map(|bytes| ["--snap", bytes]));
            let named = Capture::start(lab, &daemon, name, &arguments)?;
            let file = named.file.clone();
            home.exchange(&echo)?;
            named.said()?;
            let seen = frames(&file)?;
            ensure!(
                verdicts(&seen) == home.expected(payload, names),
                "{name}: {seen:?}"
            );
            let bytes = fs::read(&file)?;
            for address in [home.own.ip(), home.seen.ip(), SERVER.ip()] {
                let old = address.octets();
                ensure!(
                    !bytes.windows(4).any(|four| four == old),
                    "{name}: {address}"
                );
            }
        }

        // 60 packets at once, one of which each processor may tell of in a second.
        let slow = Capture::start(lab, &daemon, "slow", &["--protocol", "udp", "--rate", "1"])?;
        let file = slow.file.clone();
        for _ in 0..30 {
            home.exchange(&echo)?;
        }
        std::thread::sleep(std::time::Duration::from_millis(2500));
        let said = slow.interrupt()?;
        let missing = said.lines().find(|line| line.contains("are missing"));
        let missing: u64 = missing
            .and_then(|line| line.split(' ').next()?.parse().ok())
            .with_context(|| said.clone())?;
        let packets = frames(&file)?.len() as u64 / 2;
        ensure!((1..30).contains(&packets), "{packets} packets: {said}");
        ensure!(
            packets + missing >= 60,
            "{packets} and {missing} missing: {said}"
        );
        nobody_watches(lab)?;
        Ok(())
    });
}

/// Three subscribers with one address (realms.rs): `--realm` writes the packets of one of them alone, also where
/// only the external port tells whose a packet is, and names the realm in each comment.
#[test]
fn packets_of_one_realm_and_of_no_other() {
    const TEST: &str = "capture::packets_of_one_realm_and_of_no_other";
    const UNASKED: &[u8] = b"unasked";
    if lacks_program(TEST, "tshark") {
        return;
    }
    in_lab(TEST, &realms::plan(), |lab| {
        realms::connect(lab)?;
        let toml = realms::configuration(lab, &Settings::default());
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &[])?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let hosts = ["inside", "mvno", "cloud"]
            .into_iter()
            .zip(&lab.subscribers);
        let homes: Vec<Home> = hosts
            .map(|(interface, host)| Home::behind(interface, host, realms::HOME, &echo))
            .collect::<Result<_>>()?;
        let inside = realms::HOME.to_string();
        for (number, realm, ending) in [
            (1, "mvno", ", of realm mvno"),
            (0, "", ", of the first realm"),
        ] {
            let arguments = ["--inside", &inside, "--realm", realm, "--count", "3"];
            let name = format!("realm-{number}");
            let capture = Capture::start(lab, &daemon, &name, &arguments)?;
            let file = capture.file.clone();
            let home = &homes[number];
            let others = homes.iter().filter(|other| other.seen != home.seen);
            // Whoever is looked for comes last: what was taken of others would stand in front of it.
            for one in others.chain([home]) {
                one.exchange(&echo)?;
                let before = daemon.count_of("no_mapping")?;
                echo.send(beside(one.seen), UNASKED)?;
                daemon.wait_for_count("no_mapping", before, 1)?;
            }
            capture.said()?;
            let seen = frames(&file)?;
            let mut expected = home.expected(1500, |end| end.to_string());
            expected.push(Frame {
                comment: "drop no_mapping".to_owned(),
                interface: "outside".to_owned(),
                from: SERVER.to_string(),
                to: beside(home.seen).to_string(),
                payload: UNASKED.len(),
            });
            ensure!(verdicts(&seen) == expected, "{realm:?}: {seen:?}");
            ensure!(
                seen.iter().all(|frame| frame.comment.ends_with(ending)),
                "{realm:?}: {seen:?}"
            );
        }
        Ok(())
    });
}

/// Another port of the same block, without a mapping.
fn beside(seen: SocketAddrV4) -> SocketAddrV4 {
    SocketAddrV4::new(*seen.ip(), seen.port() ^ 1)
}
