//! How many ports a page takes: the fewer, the more households share an address.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{Daemon, Lab, Plan, Process, address, in_lab, run_to_end, wait_until};
use cgn_tests::skip::{lacks_program, python_with};

use crate::{PATIENCE_SECS, PROGRAM_SECS, certificate, one_address, script};

/// Things on the page from each server, and the bytes of each.
const THINGS: usize = 10;
const BYTES: usize = 20_000;
/// Connections that browsers open to one server by HTTP/1.1.
const BROWSER_CONNECTIONS: usize = 6;

/// Version, who reads it, how many things at once from each server; protocol, and ports that it takes.
const VERSIONS: [(&str, Ipv4Addr, usize, &str, usize); 3] = [
    (
        "--http1.1",
        address::subscriber(1, 11),
        BROWSER_CONNECTIONS,
        "tcp",
        BROWSER_CONNECTIONS * address::SERVERS.len(),
    ),
    (
        "--http2",
        address::subscriber(1, 12),
        THINGS,
        "tcp",
        address::SERVERS.len(),
    ),
    (
        "HTTP/3",
        address::subscriber(1, 13),
        THINGS,
        "udp",
        address::SERVERS.len(),
    ),
];

#[test]
fn ports_of_a_page_by_http_version() {
    let name = "pages::ports_of_a_page_by_http_version";
    let Some(python) = python_with(name, "aioquic") else {
        return;
    };
    if ["caddy", "curl", "openssl"]
        .iter()
        .any(|program| lacks_program(name, program))
    {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let daemon = Daemon::start(lab, &one_address())?;
        let _server = web_server(lab)?;
        for (version, reader, at_once, protocol, ports) in VERSIONS {
            let bytes = match version {
                "HTTP/3" => by_quic(lab, &python, reader)?,
                _ => by_curl(lab, version, reader, at_once)?,
            };
            let rows = daemon.mappings()?;
            let mine = rows.iter().filter(|row| row.inside == reader);
            let taken = mine.filter(|row| row.protocol == protocol).count();
            println!(
                "{version}: {THINGS} things from each of 3 servers take {taken} {protocol} ports"
            );
            ensure!(
                bytes == THINGS * BYTES * address::SERVERS.len(),
                "{version}: {bytes} bytes came"
            );
            ensure!(
                taken == ports,
                "{version}: {taken} ports, {ports} are right"
            );
        }
        Ok(())
    });
}

/// A server that speaks all three versions, on every address.
fn web_server(lab: &Lab) -> Result<Process> {
    let folder = lab.folder().join("www");
    std::fs::create_dir(&folder)?;
    for number in 1..=THINGS {
        std::fs::write(folder.join(number.to_string()), vec![number as u8; BYTES])?;
    }
    let (certificate, key) = certificate(lab)?;
    let listen = address::SERVERS.map(|server| format!("{server}:443"));
    let config = serde_json::json!({
        "admin": { "disabled": true },
        "logging": { "logs": { "default": { "level": "ERROR" } } },
        "apps": {
            // Without this it makes an authority of its own and has the whole machine trust it.
            "pki": { "certificate_authorities": { "local": { "install_trust": false } } },
            "tls": { "certificates": { "load_files": [{ "certificate": certificate, "key": key }] } },
            "http": { "servers": { "pages": {
                "listen": listen,
                "protocols": ["h1", "h2", "h3"],
                "automatic_https": { "disable": true },
                "tls_connection_policies": [{}],
                "routes": [{ "handle": [{ "handler": "file_server", "root": folder }] }],
            } } },
        },
    });
    let file = lab.folder().join("caddy.json");
    std::fs::write(&file, config.to_string())?;
    let mut command = lab.internet.command("caddy");
    command.args(["run", "--config"]).arg(&file);
    command
        .env("HOME", lab.folder())
        .env("XDG_DATA_HOME", lab.folder());
    let server = Process::start("caddy", &mut command, &lab.folder().join("caddy.log"))?;
    wait_until("the web server listens", PATIENCE_SECS, || {
        let address = address::SERVERS[2];
        let connect = || Ok(std::net::TcpStream::connect((address, 443))?);
        lab.internet.within(connect).map(|_| Some(()))
    })?;
    Ok(server)
}

/// A client for each server at the same time, as a browser has connections for each.
fn by_curl(lab: &Lab, version: &str, reader: Ipv4Addr, at_once: usize) -> Result<usize> {
    let fetch = |server: &Ipv4Addr| -> Result<usize> {
        let mut command = lab.subscribers[0].command("curl");
        command.args(["--silent", "--show-error", "--fail", "--insecure", version]);
        command.args(["--parallel", "--parallel-max", &at_once.to_string()]);
        command.args(["--noproxy", "*", "--interface", &reader.to_string()]);
        command.args([
            "--output",
            "/dev/null",
            "--write-out",
            "%{size_download}\\n",
        ]);
        command.arg(format!("https://{server}/[1-{THINGS}]"));
        let said = run_to_end(&mut command, PROGRAM_SECS)?;
        let sizes = said.lines().map(str::parse::<usize>);
        sizes.sum::<Result<_, _>>().with_context(|| said.clone())
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = address::SERVERS
            .iter()
            .map(|server| scope.spawn(move || fetch(server)))
            .collect();
        let ended = clients.into_iter().map(|client| client.join());
        ended
            .map(|bytes| bytes.unwrap_or_else(|_| anyhow::bail!("a client panicked")))
            .sum()
    })
}

fn by_quic(lab: &Lab, python: &Path, reader: Ipv4Addr) -> Result<usize> {
    let mut command = lab.subscribers[0].command(python);
    command.arg(script(lab, "quic.py", include_str!("quic.py"))?);
    command.args(["pages", &reader.to_string(), &THINGS.to_string()]);
    command.args(address::SERVERS.map(|server| server.to_string()));
    let said = run_to_end(&mut command, PROGRAM_SECS)?;
    said.trim().parse().with_context(|| said.clone())
}
