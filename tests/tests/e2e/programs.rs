//! Programs as Debian ships them, on both sides.

use std::net::SocketAddrV4;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{
    self, Daemon, Lab, Plan, Process, Settings, UdpEcho, address, cgn_program, run_to_end,
    wait_until,
};
use serde_json::Value;

use crate::{PATIENCE_SECS, SERVER, attributed, in_lab, is_of_pool, lacks_program};

/// How long a program may take.
const PROGRAM_SECS: f64 = 30.0;

#[test]
fn ping() {
    let name = "programs::ping";
    if lacks_program(name, "ping") {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let _daemon = Daemon::start(lab, &Settings::default())?;
        let mut command = lab.subscribers[0].command("ping");
        // The Ethernet, IPv4 and ICMP headers beside 1472 bytes fill an MTU of 1500.
        command
            .args([
                "-n", "-c", "5", "-i", "0.2", "-W", "3", "-s", "1472", "-M", "do",
            ])
            .arg(address::SERVERS[0].to_string());
        let said = run_to_end(&mut command, PROGRAM_SECS)?;
        ensure!(said.contains("5 received, 0% packet loss"), "{said}");
        // 64 less one hop at the CGN and one at the access router.
        ensure!(said.contains("ttl=62"), "{said}");
        Ok(())
    });
}

#[test]
fn curl_and_a_web_server() {
    let name = "programs::curl_and_a_web_server";
    if lacks_program(name, "curl") || lacks_program(name, "python3") {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let daemon = Daemon::start(lab, &Settings::default())?;
        let content: Vec<u8> = (0..3_000_017_u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let folder = lab.folder().join("web");
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("page"), &content)?;
        let log = lab.folder().join("web.log");
        let server = address::SERVERS[1].to_string();
        let mut command = lab.internet.command("python3");
        command
            .args([
                "-u",
                "-m",
                "http.server",
                "8080",
                "--bind",
                &server,
                "--directory",
            ])
            .arg(&folder);
        let mut web = Process::start("http.server", &mut command, &log)?;
        web.wait_for_output("Serving HTTP", 15.0)?;
        for host in 5..9 {
            let source = address::subscriber(1, host).to_string();
            let page = lab.folder().join("got");
            let mut curl = lab.subscribers[0].command("curl");
            curl.args([
                "--silent",
                "--show-error",
                "--fail",
                "--noproxy",
                "*",
                "--interface",
            ])
            .arg(&source)
            .arg("--output")
            .arg(&page)
            .arg(format!("http://{server}:8080/page"));
            run_to_end(&mut curl, PROGRAM_SECS)?;
            ensure!(
                std::fs::read(&page)? == content,
                "{source} got another page"
            );
        }
        let clients = web.output();
        let seen: Vec<_> = clients
            .lines()
            .filter(|line| line.contains("GET /page"))
            .filter_map(|line| line.split(' ').next()?.parse().ok())
            .collect();
        ensure!(
            seen.len() == 4 && seen.iter().all(|client| is_of_pool(*client)),
            "the web server saw {seen:?}:\n{clients}"
        );
        ensure!(
            daemon.subscribers()?.len() == 4,
            "{:?}",
            daemon.subscribers()?
        );
        Ok(())
    });
}

#[test]
fn iperf3() {
    let name = "programs::iperf3";
    if lacks_program(name, "iperf3") {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let daemon = Daemon::start(lab, &Settings::default())?;
        let mut command = lab.internet.command("iperf3");
        command.args([
            "--server",
            "--forceflush",
            "--bind",
            &address::SERVERS[0].to_string(),
        ]);
        let mut server = Process::start("iperf3", &mut command, &lab.folder().join("iperf3.log"))?;
        server.wait_for_output("Server listening", PATIENCE_SECS)?;
        let out = client(lab, &[])?;
        let back = client(lab, &["--reverse"])?;
        for (way, result) in [("out", &out), ("back", &back)] {
            let rate = result["end"]["sum_received"]["bits_per_second"].as_f64();
            ensure!(
                rate.is_some_and(|rate| rate > 10e6),
                "TCP {way}: {rate:?} bit/s"
            );
        }
        let local = &out["start"]["connected"][0];
        let row = daemon
            .mappings()?
            .into_iter()
            .find(|row| Some(u64::from(row.inside_port)) == local["local_port"].as_u64())
            .context("iperf3's connection is not among the mappings")?;
        let external = SocketAddrV4::new(row.external, row.external_port);
        attributed(&daemon, address::subscriber(1, 2), external)?;
        // Slow enough that the server's socket has room when the machine is busy.
        let udp = client(lab, &["--udp", "--bitrate", "10M", "--length", "1000"])?;
        let sum = &udp["end"]["sum"];
        let (packets, lost) = (sum["packets"].as_u64(), sum["lost_packets"].as_u64());
        ensure!(
            packets.is_some_and(|packets| packets > 1000) && lost == Some(0),
            "UDP: {lost:?} of {packets:?} lost"
        );
        Ok(())
    });
}

fn client(lab: &Lab, arguments: &[&str]) -> Result<Value> {
    let mut command = lab.subscribers[0].command("iperf3");
    command
        .args(["--json", "--time", "1", "--client"])
        .arg(address::SERVERS[0].to_string())
        .args(arguments);
    let mut said = String::new();
    // The server takes one client at a time, and a moment to be done with it.
    wait_until("iperf3's server is free", 10.0, || {
        said = run_to_end(&mut command, PROGRAM_SECS)?;
        Ok(Some(()))
    })?;
    serde_json::from_str(&said).with_context(|| format!("iperf3 printed {said}"))
}

#[test]
fn promtool_checks_the_metrics() {
    let name = "programs::promtool_checks_the_metrics";
    if lacks_program(name, "promtool") {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let daemon = Daemon::start(lab, &Settings::default())?;
        let outcome = lab::ping(
            &lab.subscribers[0],
            address::subscriber(1, 2),
            address::SERVERS[0],
            1,
            1,
        )?;
        ensure!(outcome.received == 1, "no ping");
        let mut command = lab.cgn.command("sh");
        let address = daemon.metrics_address();
        command.args([
            "-c",
            &format!("curl --silent --fail --noproxy '*' http://{address}/metrics | promtool check metrics"),
        ]);
        let said = run_to_end(&mut command, PROGRAM_SECS)?;
        ensure!(said.trim().is_empty(), "{said}");
        ensure!(
            daemon.metrics()?.contains(
                "cgn_translated_packets_total{direction=\"outbound\",protocol=\"icmp\"} 1\n"
            ),
            "{}",
            daemon.metrics()?
        );
        Ok(())
    });
}

/// The folder with the modules of RFC 8512 and of those that it imports: their texts are not in this
/// repository.
const YANG: &str = "CGN_YANG";

/// What `cgn show ietf-nat` prints is data of RFC 8512's module, by libyang.
#[test]
fn yanglint_takes_what_is_told_by_rfc_8512() {
    let name = "programs::yanglint_takes_what_is_told_by_rfc_8512";
    if lacks_program(name, "yanglint") {
        return;
    }
    let Some(modules) = std::env::var_os(YANG) else {
        let reason = format!("no folder with ietf-nat@2019-01-10.yang and its imports in {YANG}");
        return cgn_tests::skip::skip(name, &reason);
    };
    let module = Path::new(&modules).join("ietf-nat@2019-01-10.yang");
    in_lab(name, &Plan::default(), |lab| {
        let settings = Settings::default();
        let toml = settings.toml(lab) + "[timeouts]\nshort_udp_ports = [53, 123]\n";
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &[])?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
        lab::exchange(&socket, echo.address(), b"one", true, PATIENCE_SECS)?;
        let mut show = lab.cgn.command(cgn_program()?);
        show.args(["show", "ietf-nat", "--socket"]);
        show.arg(lab.folder().join("cgn.sock"));
        let sent = "/ietf-nat:nat/instances/instance/0/statistics/traffic-statistics/sent-packets";
        let text = wait_until("a packet is told of", PATIENCE_SECS, || {
            let text = run_to_end(&mut show, PATIENCE_SECS)?;
            let tree: Value = serde_json::from_str(&text)?;
            let is_told = tree.pointer(sent).is_some_and(|count| count != "0");
            Ok(is_told.then_some(text))
        })?;
        drop(daemon);
        let data = lab.folder().join("nat.json");
        for (text, is_right) in [
            (text.clone(), true),
            // It looks: no such word in the module.
            (text.replace("\"paired\"", "\"paird\""), false),
        ] {
            std::fs::write(&data, text)?;
            let mut lint = lab.cgn.command("yanglint");
            lint.arg("-p")
                .arg(&modules)
                .args(["-f", "json", "-t", "data", "-F"]);
            lint.arg("ietf-nat:basic-nat44,napt44")
                .arg(&module)
                .arg(&data);
            let said = run_to_end(&mut lint, PROGRAM_SECS);
            ensure!(said.is_ok() == is_right, "yanglint said {said:?}");
        }
        Ok(())
    });
}
