//! Foreign programs judge what the mapping log sends and stores: tshark, nfacctd and the crate
//! `netflow_parser` (IPFIX), nfcapd and nfdump (NetFlow 9), rsyslogd (syslog), DuckDB, pyarrow and
//! ClickHouse (Parquet). None of them needs root.

mod kafka;
mod names;
mod notices;
mod parsers;
mod realms;
mod sessions;
mod tables;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cgn_tests::skip;
use cgn_user::maplog::sealer::{Retention, Sealer};
use cgn_user::maplog::stream::{Format, Kinds, Options, Sink, Transport, Trust};
use cgn_user::maplog::{
    Block, Entry, Event, Log, LogOptions, PortRange, ProtocolScope, ReleaseReason,
};

/// 2026-03-03T00:00Z.
const START: u64 = 1_772_496_000_000;
const HOUR_MS: u64 = 3_600_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of a test with a log in it, removed with everything.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cgn-judge-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn log(&self) -> Log {
        let options = LogOptions {
            sync: false,
            keep_released_ms: 0,
            may_lack: false,
        };
        Log::open(&self.0.join("log"), options).expect("a log").0
    }
}

/// An allocation and a release, a second apart.
fn story() -> [Entry; 2] {
    let block = Block {
        realm: 0,
        inside: [100, 64, 0, 9].into(),
        external: [203, 0, 113, 5].into(),
        ports: PortRange::new(1024, 512).expect("ports"),
        pool: 0,
        scope: ProtocolScope::All,
        key: 0,
    };
    let reason = ReleaseReason::Idle;
    [
        Entry {
            unix_ms: START + 123,
            event: Event::Allocate(block),
        },
        Entry {
            unix_ms: START + 1_123,
            event: Event::Release { block, reason },
        },
    ]
}

/// Seals the hours of the log that began less than so many after the first.
fn seal(log: &mut Log, hours: u64) {
    log.end_hour(START + hours * HOUR_MS).expect("a segment");
    let keep = Retention {
        days: None,
        sealed_bytes: None,
        spool_bytes: 0,
    };
    let mut sealer = Sealer::open(log.root(), keep, None).expect("a sealer");
    sealer.turn(START).expect("sealed files");
}

/// A sink of the log to `address`.
fn sink(
    log: &Log,
    format: Format,
    transport: Transport,
    address: SocketAddr,
    kinds: Kinds,
) -> Sink {
    let options = options(format, transport, address, kinds);
    Sink::open(log.root(), options, log.committed()).expect("a sink")
}

fn options(format: Format, transport: Transport, address: SocketAddr, kinds: Kinds) -> Options {
    Options {
        name: "judge".to_owned(),
        format,
        transport,
        address,
        domain: 7,
        template_every: Duration::from_secs(60),
        datagram_bytes: 484,
        interim_every: None,
        kinds,
        scope: None,
        host: "edge1".to_owned(),
        identities: false,
    }
}

/// Sends the story to `address` and returns when all of it has arrived.
fn send(place: &Place, format: Format, transport: Transport, address: SocketAddr) {
    let mut log = place.log();
    let mut sink = sink(&log, format, transport, address, Kinds::ALL);
    log.append(&story()).expect("records");
    deliver(&mut sink);
}

/// Returns when all of the log has arrived.
fn deliver(sink: &mut Sink) {
    let until = Instant::now() + PATIENCE;
    while sink.stats().pending > 0 {
        let outcome = sink.turn(Instant::now(), (START / 1000) as u32 + 2);
        assert!(Instant::now() < until, "{outcome:?} {:?}", sink.stats());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What nfdump prints in `format` of what nfcapd got from `send`, which is told its address. None without
/// these programs.
fn nfdump(
    test: &str,
    place: &Place,
    format: &str,
    send: impl FnOnce(SocketAddr),
) -> Option<String> {
    if lacks(test, "nfcapd") || lacks(test, "nfdump") {
        return None;
    }
    let flows = place.0.join("flows");
    fs::create_dir(&flows).expect("a folder");
    // A port that is free now.
    let free = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = free.local_addr().expect("an address");
    drop(free);
    let port = address.port().to_string();
    let mut collector = Command::new("nfcapd")
        .args(["-b", "127.0.0.1", "-t", "60", "-p", &port, "-w"])
        .arg(&flows)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nfcapd runs");
    // Refused datagrams are sent again: no need to know when it listens.
    send(address);
    std::thread::sleep(Duration::from_millis(500));
    // SAFETY: a signal to our own child, which was not waited for yet.
    unsafe { libc::kill(collector.id() as libc::pid_t, libc::SIGTERM) };
    collector.wait().expect("nfcapd ends");
    let mut command = Command::new("nfdump");
    command.args(["-q", "-R"]).arg(&flows).args(["-o", format]);
    Some(said(&mut command))
}

/// The story and a notice of each kind as datagrams, in the order in which they are sent.
fn datagrams(place: &Place, format: Format) -> Vec<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let address = socket.local_addr().expect("an address");
    let mut log = place.log();
    let kinds = Kinds {
        sessions: false,
        ..Kinds::ALL
    };
    let mut sink = sink(&log, format, Transport::Udp, address, kinds);
    log.append(&story()).expect("records");
    sink.notify(notices::all(), 0);
    sink.turn(Instant::now(), (START / 1000) as u32 + 2)
        .expect("sent");
    drop(sink);
    let mut buffer = [0; 2048];
    // Templates of blocks and of notices twice, then the notices, then the blocks.
    let datagrams = (0..6).map(|_| {
        let length = socket.recv(&mut buffer).expect("a datagram");
        buffer[..length].to_vec()
    });
    datagrams.collect()
}

fn lacks(test: &str, program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .stdout(Stdio::null())
        .status();
    let is_there = found.is_ok_and(|status| status.success());
    if !is_there {
        skip::skip(test, &format!("{program} is not installed"));
    }
    !is_there
}

fn said(command: &mut Command) -> String {
    let output = command.output().expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// A capture file (libpcap, link type raw IP) of datagrams to port 4739.
fn capture(datagrams: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for payload in datagrams {
        let builder =
            etherparse::PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 9], 64).udp(40_000, 4739);
        let mut packet = Vec::new();
        builder.write(&mut packet, payload).expect("a packet");
        let length = packet.len() as u32;
        for word in [(START / 1000) as u32, 0, length, length] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(&packet);
    }
    file
}

/// The fields of each packet of a capture file, a line each, with tabs between.
fn tshark(file: &Path, fields: &[&str]) -> String {
    let mut command = Command::new("tshark");
    command.env("TZ", "UTC").args(["-n", "-r"]).arg(file);
    command.args(["-d", "udp.port==4739,cflow", "-T", "fields"]);
    command.args(["-E", "occurrence=a"]);
    for field in fields {
        command.args(["-e", field]);
    }
    said(&mut command)
}

#[test]
fn tshark_reads_the_block_events_of_ipfix() {
    const TEST: &str = "tshark_reads_the_block_events_of_ipfix";
    if lacks(TEST, "tshark") {
        return;
    }
    let place = Place::new("ipfix");
    let datagrams = datagrams(&place, Format::Ipfix);
    let file = place.0.join("ipfix.pcap");
    fs::write(&file, capture(&datagrams)).expect("a capture");
    let text = tshark(
        &file,
        &[
            "cflow.version",
            "cflow.od_id",
            "cflow.nat_event",
            "cflow.srcaddr",
            "cflow.post_natsource_ipv4_address",
            "cflow.port_range_start",
            "cflow.port_range_end",
            "_ws.malformed",
        ],
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 6, "{text}");
    assert_eq!(
        lines[5].trim_end(),
        "10\t7\t16,17\t100.64.0.9,100.64.0.9\t203.0.113.5,203.0.113.5\t1024,1024\t1535,1535",
        "{text}"
    );
    assert!(lines[0].starts_with("10\t7"), "{text}");
}

#[test]
fn nfdump_reads_the_blocks_of_netflow_9() {
    const TEST: &str = "nfdump_reads_the_blocks_of_netflow_9";
    let place = Place::new("netflow9");
    let format = "fmt:%nevt %sa %nsa %pbstart %pbend %pbsize";
    let send = |address| send(&place, Format::Netflow9, Transport::Udp, address);
    let Some(text) = nfdump(TEST, &place, format, send) else {
        return;
    };
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_ascii_whitespace().collect())
        .filter(|row: &Vec<&str>| row.contains(&"100.64.0.9"))
        .collect();
    let block = ["100.64.0.9", "203.0.113.5", "1024", "1535", "512"];
    assert_eq!(rows.len(), 2, "{text}");
    for (row, event) in rows.iter().zip(["ADD", "DELETE"]) {
        assert_eq!((row[0], &row[1..]), (event, &block[..]), "{text}");
    }
}

#[test]
fn rsyslogd_parses_the_structured_data_of_syslog() {
    const TEST: &str = "rsyslogd_parses_the_structured_data_of_syslog";
    if lacks(TEST, "rsyslogd") {
        return;
    }
    let place = Place::new("syslog");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = free.local_addr().expect("an address");
    drop(free);
    let folder = place.0.display();
    let template = "%protocol-version%|%timereported:::date-rfc3339%|%hostname%|%app-name%|%msgid%|%structured-data%\\n";
    let config = format!(
        "global(workDirectory=\"{folder}\")\nmodule(load=\"imtcp\")\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{}\")\n\
         template(name=\"t\" type=\"string\" string=\"{template}\")\n\
         *.* action(type=\"omfile\" file=\"{folder}/out\" template=\"t\")\n",
        address.port()
    );
    fs::write(place.0.join("rsyslog.conf"), config).expect("a configuration");
    let mut server = Command::new("rsyslogd")
        .args(["-n", "-i"])
        .arg(place.0.join("pid"))
        .arg("-f")
        .arg(place.0.join("rsyslog.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("rsyslogd runs");
    send(&place, Format::Syslog, Transport::Tcp, address);
    let until = Instant::now() + PATIENCE;
    let lines = loop {
        let text = fs::read_to_string(place.0.join("out")).unwrap_or_default();
        let lines: Vec<String> = text
            .lines()
            .filter(|l| l.contains("cgn@32473"))
            .map(str::to_owned)
            .collect();
        if lines.len() >= 2 || Instant::now() > until {
            break lines;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let _ = server.kill();
    let _ = server.wait();
    let block =
        r#"inside="100.64.0.9" external="203.0.113.5" first_port="1024" last_port="1535" pool="0""#;
    let expected = [
        format!(
            r#"1|2026-03-03T00:00:00.123Z|edge1|cgn|allocate|[cgn@32473 sequence="1" {block}]"#
        ),
        format!(
            r#"1|2026-03-03T00:00:01.123Z|edge1|cgn|release|[cgn@32473 sequence="2" {block} reason="idle"]"#
        ),
    ];
    assert_eq!(lines, expected);
}
