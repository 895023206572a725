//! A worm in one realm, and who is told.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::sync::atomic::AtomicBool;

use cgn_common::wire::transport::flag;
use cgn_tests::packets::Draft;

use super::*;
use crate::floods::send;

/// `throttle.inside_host`: a worm in one realm is limited there and named with it; who has his address
/// elsewhere opens as before.
#[test]
fn a_worm_is_limited_in_its_realm_and_named_with_it() {
    let name = "realms::floods::a_worm_is_limited_in_its_realm_and_named_with_it";
    in_lab(name, &plan(), |lab| {
        connect(lab)?;
        let (collector, of_cloud) = (Collector::start(lab)?, Collector::start(lab)?);
        let ipfix = lab.cgn.within(|| Ok(UdpSocket::bind("127.0.0.1:0")?))?;
        ipfix.set_read_timeout(Some(Duration::from_secs_f64(PATIENCE_SECS)))?;
        // So long that within the test the limit does not give way.
        let toml = configuration(lab, &Settings::default())
            + "[throttle]\ninside_host = 40\nlimit_secs = 3600\n"
            + &collector.sink("all", "")?
            + &of_cloud.sink("cloud", "realms = [\"cloud\"]\n")?
            + &format!(
                "[[sink]]\nname = \"ipfix\"\nformat = \"ipfix\"\ntransport = \"udp\"\naddress = \"{}\"\nrealms = [\"cloud\"]\n",
                ipfix.local_addr()?
            );
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        for host in &lab.subscribers {
            let socket = lab::echo_from(host, HOME)?;
            lab::exchange(&socket, echo.address(), b"before", true, PATIENCE_SECS)?;
        }
        // It is told what its number stands for, the first time that there is a realm; of others nothing.
        let named = |name: &str, bytes: &[u8]| {
            bytes
                .windows(name.len())
                .any(|part| part == name.as_bytes())
        };
        loop {
            let mut buffer = [0; 2048];
            let length = ipfix.recv(&mut buffer).context("no name of the realm")?;
            let bytes = &buffer[..length];
            ensure!(!named("mvno", bytes), "{bytes:?}");
            if named("cloud", bytes) {
                break;
            }
        }
        let never = AtomicBool::new(false);
        let victim = |number: u64| {
            let to = (address::SERVERS[2], 445);
            Draft::tcp(flag::SYN, (HOME, 2000 + number as u16), to).packet()
        };
        let mvno = &lab.subscribers[1];
        let sent = send(mvno, 2000, Duration::from_secs(2), &never, victim)?;
        let limited = daemon.count_of("throttled")?;
        ensure!(limited > sent / 2, "{limited} of {sent} were refused");
        wait_until("the host is named", PATIENCE_SECS, || {
            let told = daemon.status()?.throttled;
            Ok((told == [format!("inside mvno/{HOME}/32")]).then_some(()))
        })?;
        let socket = daemon.socket().display().to_string();
        for (realm, verdict) in [("mvno", "drop"), ("cloud", "translate")] {
            let packet = format!("udp {HOME}:9 > {}:53", address::SERVERS[0]);
            let mut command = Command::new(cgn_program()?);
            command.args([
                "explain", &packet, "--realm", realm, "--json", "--socket", &socket,
            ]);
            let said = command.output()?.stdout;
            let explained: Value = serde_json::from_slice(&said)?;
            ensure!(explained["verdict"] == verdict, "{realm}: {explained}");
        }
        for (host, (realm, _)) in lab.subscribers.iter().zip(REALMS) {
            if realm == "mvno" {
                continue;
            }
            for number in 0..10 {
                let socket = lab::echo_from(host, HOME)?;
                lab::exchange(&socket, echo.address(), b"other", false, PATIENCE_SECS)
                    .with_context(|| format!("flow {number} of realm {realm:?}"))?;
            }
        }
        let told = collector.lines_to("notice", |line| line["kind"] == "prefix_throttled")?;
        let notice = &told[told.len() - 1];
        ensure!(
            notice["realm"] == "mvno" && notice["prefix"] == HOME.to_string(),
            "{notice}"
        );
        // The tenant's collector got his records, and where they end, and nothing of others.
        ensure!(daemon.stop()?.success(), "the daemon ended badly");
        let told = of_cloud.lines_to("the stop", |line| line["kind"] == "stop")?;
        let allocations = told.iter().filter(|line| line["kind"] == "allocate");
        ensure!(allocations.count() >= 1, "{told:?}");
        let whole_log = |line: &Value| line["inside"].is_null() && line["prefix"].is_null();
        ensure!(
            told.iter()
                .all(|line| whole_log(line) || line["realm"] == "cloud"),
            "{told:?}"
        );
        Ok(())
    });
}

/// Takes the log as lines of JSON.
struct Collector(TcpListener);

impl Collector {
    fn start(lab: &Lab) -> Result<Self> {
        let bind = || Ok(TcpListener::bind("127.0.0.1:0")?);
        Ok(Self(lab.cgn.within(bind)?))
    }

    /// The section that has it sent here, with `more` keys.
    fn sink(&self, name: &str, more: &str) -> Result<String> {
        let address = self.0.local_addr()?;
        Ok(format!(
            "[[sink]]\nname = \"{name}\"\nformat = \"jsonl\"\ntransport = \"tcp\"\naddress = \"{address}\"\n{more}"
        ))
    }

    /// The lines of the first connection, up to the one that is looked for.
    fn lines_to(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
        let (stream, _) = self.0.accept()?;
        stream.set_read_timeout(Some(Duration::from_secs_f64(PATIENCE_SECS)))?;
        let mut lines = Vec::new();
        for line in BufReader::new(stream).lines() {
            let line = line.with_context(|| format!("{what} is not among {lines:?}"))?;
            let line: Value = serde_json::from_str(&line)?;
            let is_last = is_it(&line);
            lines.push(line);
            if is_last {
                return Ok(lines);
            }
        }
        anyhow::bail!("{what} is not among {lines:?}")
    }
}
