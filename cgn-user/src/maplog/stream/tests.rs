//! Sinks against collectors that are there, away, slow or of the wrong name.

mod scope;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::directory::{self, HOUR_MS};
use super::super::sealer::{Retention, Sealer};
use super::super::{Entry, Event, Log, LogOptions, PortRange, ProtocolScope, ReleaseReason};
use super::*;

const BLOCKS: Kinds = Kinds {
    blocks: true,
    sessions: false,
    notices: false,
};
const START: u64 = 1_772_496_000_000;
const PATIENCE: Duration = Duration::from_secs(20);

struct Place {
    root: PathBuf,
    log: Log,
    unix_ms: u64,
    /// Number of the realm of what is written.
    realm: u16,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("cgn-sink-{}-{number}", std::process::id()));
        let options = LogOptions {
            sync: false,
            keep_released_ms: 0,
            may_lack: false,
        };
        let (log, _) = Log::open(&root, options).unwrap();
        Self {
            root,
            log,
            unix_ms: START,
            realm: 0,
        }
    }

    /// One record more, of the block with this number.
    fn write(&mut self, number: u16, is_given: bool) {
        let block = Block {
            realm: self.realm,
            inside: [100, 64, 0, number as u8].into(),
            external: [203, 0, 113, 5].into(),
            ports: PortRange::new(1024 + number * 64, 64).unwrap(),
            pool: 0,
            scope: ProtocolScope::All,
            key: 0,
        };
        let event = match is_given {
            true => Event::Allocate(block),
            false => Event::Release {
                block,
                reason: ReleaseReason::Idle,
            },
        };
        self.unix_ms += 1;
        let unix_ms = self.unix_ms;
        self.log.append(&[Entry { unix_ms, event }]).unwrap();
    }

    fn sink(&self, format: Format, transport: Transport, address: SocketAddr) -> Sink {
        self.sink_with(|options| {
            (options.format, options.transport, options.address) = (format, transport, address);
        })
    }

    fn sink_with(&self, change: impl FnOnce(&mut Options)) -> Sink {
        let mut options = Options {
            name: "collector".to_owned(),
            format: Format::JsonLines,
            transport: Transport::Tcp,
            address: ([127, 0, 0, 1], 9).into(),
            domain: 1,
            template_every: Duration::from_secs(60),
            datagram_bytes: 484,
            interim_every: None,
            kinds: BLOCKS,
            scope: None,
            host: "edge1".to_owned(),
            identities: false,
        };
        change(&mut options);
        Sink::open(&self.root, options, self.log.committed()).unwrap()
    }
}

#[test]
fn a_sink_is_sent_what_it_wants_and_the_rest_counts_as_arrived() {
    use crate::maplog::{Protocol, Session};
    let session = Session {
        external: [203, 0, 113, 5].into(),
        external_port: 1030,
        protocol: Protocol::Tcp,
        realm: 0,
        inside: [100, 64, 0, 1].into(),
        inside_port: 40_000,
        remote: None,
    };
    let all = ["allocate", "open", "close", "release"];
    for (blocks, sessions) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut place = Place::new();
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let mut sink = place.sink_with(|options| {
            (options.format, options.transport) = (Format::JsonLines, Transport::Tcp);
            options.address = address;
            options.kinds = Kinds {
                blocks,
                sessions,
                notices: false,
            };
        });
        place.write(1, true);
        for event in [Event::Open(session), Event::Close(session)] {
            let unix_ms = place.unix_ms;
            place.log.append(&[Entry { unix_ms, event }]).unwrap();
        }
        place.write(1, false);
        let until = Instant::now() + PATIENCE;
        while sink.stats().pending > 0 {
            sink.turn(Instant::now(), 0).unwrap();
            assert!(Instant::now() < until, "{:?}", sink.stats());
        }
        drop(sink);
        let mut text = String::new();
        server
            .accept()
            .unwrap()
            .0
            .read_to_string(&mut text)
            .unwrap();
        let said = |kind: &str| text.contains(&format!("\"kind\":\"{kind}\""));
        let found = all.map(said);
        assert_eq!(found, [blocks, sessions, sessions, blocks], "{text}");
    }
}

#[test]
fn notices_wait_for_a_collector_and_the_oldest_go_when_there_are_too_many() {
    use super::super::notice::What;
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let notice = |unix_ms| Notice {
        unix_ms,
        what: What::AddressesExhausted { pool: 0 },
    };
    let mut sink = place.sink_with(|options| {
        (options.address, options.kinds.notices) = (address, true);
    });
    sink.notify(vec![notice(1), notice(2)], 3);
    assert!(sink.turn(Instant::now(), 0).is_err(), "nobody listens");
    sink.notify((3..=MOST_KEPT as u64 + 1).map(notice).collect(), 0);
    assert_eq!(sink.stats().lost_notices, 3 + 1);

    let listener = TcpListener::bind(address).unwrap();
    sink.turn(Instant::now() + RETRY, 0).unwrap();
    assert_eq!(sink.stats().notices, MOST_KEPT as u64);
    drop(sink);
    let mut text = String::new();
    listener
        .accept()
        .unwrap()
        .0
        .read_to_string(&mut text)
        .unwrap();
    let times: Vec<u64> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["unix_ms"]
                .as_u64()
                .unwrap()
        })
        .collect();
    let expected: Vec<u64> = (2..=MOST_KEPT as u64 + 1).collect();
    assert_eq!(times, expected);

    // A sink that wants none gets none.
    let mut sink = place.sink_with(|options| options.kinds.notices = false);
    sink.notify(vec![notice(1)], 3);
    assert_eq!(sink.stats().lost_notices, 0);
}

/// Turns until nothing is pending.
fn deliver(sink: &mut Sink) {
    let until = Instant::now() + PATIENCE;
    // Failures on the way are what some tests are about.
    let mut last = None;
    while sink.stats().pending > 0 {
        last = sink.turn(Instant::now(), 1_772_496_000).err().or(last);
        assert!(
            Instant::now() < until,
            "{:?}, last error {last:?}",
            sink.stats()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sequence numbers of JSON lines.
fn numbers(text: &str) -> Vec<u64> {
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter_map(|line| line["sequence"].as_u64()).collect()
}

/// Accepts one connection and reads `lines` lines of it. The connection ends when the result does:
/// a collector that closes at once is sent what it has not confirmed again.
fn collect(
    listener: TcpListener,
    lines: usize,
) -> std::thread::JoinHandle<(String, BufReader<TcpStream>)> {
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(socket);
        let mut text = String::new();
        for _ in 0..lines {
            reader.read_line(&mut text).unwrap();
        }
        (text, reader)
    })
}

#[test]
fn a_new_sink_begins_with_the_next_record_and_an_old_one_where_it_was() {
    let mut place = Place::new();
    place.write(1, true);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut sink = place.sink(Format::JsonLines, Transport::Tcp, address);
    place.write(2, true);
    place.write(2, false);
    let collector = collect(listener, 2);
    deliver(&mut sink);
    assert_eq!(numbers(&collector.join().unwrap().0), [2, 3]);
    assert_eq!(sink.stats().sent, 2);
    sink.close(Instant::now()).unwrap();
    place.write(3, true);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut sink = place.sink(Format::JsonLines, Transport::Tcp, address);
    let collector = collect(listener, 1);
    deliver(&mut sink);
    assert_eq!(numbers(&collector.join().unwrap().0), [4]);
}

#[test]
fn what_a_dead_collector_missed_is_sent_when_it_is_back() {
    let mut place = Place::new();
    // A port that nobody listens on.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut sink = place.sink(Format::JsonLines, Transport::Tcp, address);
    for number in 0..50 {
        place.write(number, true);
        let before = Instant::now();
        let _ = sink.turn(Instant::now(), 0);
        assert!(
            before.elapsed() < Duration::from_secs(1),
            "a dead collector takes no time"
        );
    }
    assert_eq!((sink.stats().pending, sink.stats().sent), (50, 0));
    assert!(sink.stats().failures > 0 && !sink.stats().is_connected);
    // Sealed meanwhile: the segments are its spool.
    place.log.end_hour(START + HOUR_MS).unwrap();
    let keep = Retention {
        days: None,
        sealed_bytes: None,
        spool_bytes: u64::MAX,
    };
    Sealer::open(&place.root, keep, None)
        .unwrap()
        .turn(START)
        .unwrap();
    place.write(60, true);
    let collector = collect(TcpListener::bind(address).unwrap(), 51);
    deliver(&mut sink);
    assert_eq!(
        numbers(&collector.join().unwrap().0),
        (1..=51).collect::<Vec<_>>()
    );
    assert_eq!((sink.stats().sent, sink.stats().lost), (51, 0));
}

#[test]
fn what_a_collector_took_and_did_not_read_is_sent_again() {
    let mut place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut sink = place.sink(Format::JsonLines, Transport::Tcp, address);
    let first = collect(listener, 1);
    place.write(1, true);
    let until = Instant::now() + PATIENCE;
    while !first.is_finished() {
        let _ = sink.turn(Instant::now(), 0);
        assert!(Instant::now() < until);
    }
    first.join().unwrap();
    // The collector is gone; the sink may not know yet.
    for number in 2..20 {
        place.write(number, true);
        let _ = sink.turn(Instant::now(), 0);
    }
    let again = collect(TcpListener::bind(address).unwrap(), 18);
    deliver(&mut sink);
    let got = numbers(&again.join().unwrap().0);
    assert!(got.ends_with(&(3..=19).collect::<Vec<_>>()), "{got:?}");
    assert_eq!(sink.stats().lost, 0);
}

#[test]
fn beyond_the_spool_records_are_lost_and_counted() {
    let mut place = Place::new();
    let mut sink = place.sink_with(|_| {});
    place.write(1, true);
    place.write(2, true);
    place.log.end_hour(START + HOUR_MS).unwrap();
    let keep = Retention {
        days: None,
        sealed_bytes: None,
        spool_bytes: 0,
    };
    Sealer::open(&place.root, keep, None)
        .unwrap()
        .turn(START)
        .unwrap();
    assert_eq!(directory::segments(&place.root).unwrap().len(), 1);
    place.write(3, true);
    drop(sink);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    fs::write(place.root.join("sinks/collector.cursor"), "1\n").unwrap();
    sink = place.sink(Format::JsonLines, Transport::Tcp, address);
    let collector = collect(listener, 1);
    deliver(&mut sink);
    assert_eq!(numbers(&collector.join().unwrap().0), [3]);
    assert_eq!((sink.stats().sent, sink.stats().lost), (1, 2));
}

#[test]
fn datagrams_explain_themselves_and_a_refusal_is_noticed() {
    let mut place = Place::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = socket.local_addr().unwrap();
    let mut sink = place.sink(Format::Ipfix, Transport::Udp, address);
    for number in 0..30 {
        place.write(number, true);
    }
    deliver(&mut sink);
    let mut buffer = [0; 1500];
    let mut seen = Vec::new();
    for _ in 0..4 {
        let length = socket.recv(&mut buffer).unwrap();
        assert!(length <= 484);
        // Number of the set, and of the data records so far.
        seen.push((u16::from_be_bytes([buffer[16], buffer[17]]), buffer[11]));
    }
    // Two copies of the templates, then as many records as fit.
    assert_eq!(seen, [(2, 0), (2, 0), (256, 0), (256, 22)]);
    drop(socket);
    place.write(40, true);
    let until = Instant::now() + PATIENCE;
    while sink.stats().failures == 0 {
        let _ = sink.turn(Instant::now(), 0);
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(sink.stats().pending, 1, "the refused one has not arrived");
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    deliver(&mut sink);
    let mut sets = Vec::new();
    for _ in 0..3 {
        socket.recv(&mut buffer).unwrap();
        sets.push(buffer[16]);
    }
    assert_eq!(
        sets,
        [0, 0, 1],
        "templates first for a collector that is new"
    );
}

/// The next datagram, and the number of its first set.
fn receive(socket: &UdpSocket) -> (u16, Vec<u8>) {
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).unwrap();
    let set = u16::from_be_bytes([buffer[16], buffer[17]]);
    (set, buffer[..length].to_vec())
}

#[test]
fn datagrams_explain_their_templates_again_when_it_is_time() {
    let mut place = Place::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut sink = place.sink_with(|options| {
        (options.format, options.transport) = (Format::Ipfix, Transport::Udp);
        options.address = socket.local_addr().unwrap();
        options.template_every = Duration::from_secs(60);
    });
    let begun = Instant::now();
    let mut sets = Vec::new();
    for (number, after_secs) in [(1, 0), (2, 59), (3, 61), (4, 62)] {
        place.write(number, true);
        let at = begun + Duration::from_secs(after_secs);
        sink.turn(at, 0).unwrap();
        while sets.iter().filter(|set| **set == 256).count() < usize::from(number) {
            sets.push(receive(&socket).0);
        }
    }
    assert_eq!(sets, [2, 2, 256, 256, 2, 256, 256]);
}

#[test]
fn two_collectors_get_the_same_records_each_in_its_domain() {
    let mut place = Place::new();
    let sockets = [1, 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let mut sinks: Vec<Sink> = sockets
        .iter()
        .zip([1, 2])
        .map(|(socket, domain)| {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            place.sink_with(|options| {
                (options.format, options.transport) = (Format::Ipfix, Transport::Udp);
                options.address = socket.local_addr().unwrap();
                (options.name, options.domain) = (format!("collector-{domain}"), domain);
            })
        })
        .collect();
    for number in 0..20 {
        place.write(number, true);
    }
    sinks.iter_mut().for_each(deliver);
    let records = sockets.each_ref().map(|socket| {
        let datagrams: Vec<_> = (0..3).map(|_| receive(socket)).collect();
        datagrams[2].1.clone()
    });
    assert_eq!(records[0][16..], records[1][16..], "set header and records");
    assert_eq!(records[0].len(), 16 + 4 + 20 * 21);
    assert_eq!(
        records.map(|record| record[12..16].to_vec()),
        [vec![0, 0, 0, 1], vec![0, 0, 0, 2]]
    );
}

#[test]
fn held_blocks_are_told_again_also_after_a_start() {
    let mut place = Place::new();
    for number in 0..4 {
        place.write(number, true);
    }
    place.write(1, false);
    place.log.end_hour(START + HOUR_MS).unwrap();
    let keep = Retention {
        days: None,
        sealed_bytes: None,
        spool_bytes: 0,
    };
    Sealer::open(&place.root, keep, None)
        .unwrap()
        .turn(START)
        .unwrap();
    place.write(5, true);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut sink = place.sink_with(|options| {
        options.address = address;
        options.interim_every = Some(Duration::from_secs(3600));
    });
    let collector = collect(listener, 4);
    let until = Instant::now() + PATIENCE;
    while !collector.is_finished() {
        let _ = sink.turn(Instant::now(), 0);
        assert!(Instant::now() < until);
    }
    let (text, _) = collector.join().unwrap();
    let mut insides: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| {
            format!(
                "{} {}",
                line["kind"].as_str().unwrap(),
                line["inside"].as_str().unwrap()
            )
        })
        .collect();
    insides.sort();
    let expected = [0, 2, 3, 5].map(|number| format!("interim 100.64.0.{number}"));
    assert_eq!(insides, expected);
    assert_eq!(sink.stats().interim, 4);
}

/// `openssl s_server` with a certificate for `localhost`; what it is sent is its standard output.
fn tls_server(root: &Path, port: u16) -> Child {
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).current_dir(root);
        command
            .stderr(Stdio::null())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
    };
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.pem -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE";
    assert!(openssl(request).status().unwrap().success());
    fs::set_permissions(root.join("tls.key"), fs::Permissions::from_mode(0o600)).unwrap();
    openssl(&format!(
        "s_server -accept {port} -key tls.key -cert tls.pem -quiet -naccept 1"
    ))
    .spawn()
    .unwrap()
}

#[test]
fn syslog_over_tls_reaches_the_right_server_only() {
    let mut place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut server = tls_server(&place.root, address.port());
    let tls = |server_name: &str| {
        Transport::Tls(Trust {
            ca_file: place.root.join("tls.pem"),
            server_name: server_name.to_owned(),
        })
    };
    let wrong = tls("other.example");
    let right = tls("localhost");
    let mut sink = place.sink(Format::Syslog, right, address);
    place.write(1, true);
    deliver(&mut sink);
    sink.close(Instant::now()).unwrap();
    let mut text = String::new();
    server
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    server.wait().unwrap();
    let (length, message) = text.split_once(' ').unwrap();
    assert_eq!(length.parse::<usize>().unwrap(), message.len());
    assert!(
        message.starts_with("<134>1 2026-03-03T00:00:00.001Z edge1 cgn - allocate ["),
        "{message}"
    );
    // The same server asked by another name is refused.
    let mut server = tls_server(&place.root, address.port());
    let mut sink = place.sink(Format::Syslog, wrong, address);
    place.write(2, true);
    let until = Instant::now() + PATIENCE;
    loop {
        if let Err(SinkError::Link { source, .. }) = sink.turn(Instant::now(), 0)
            && source.to_string().contains("certificate")
        {
            break;
        }
        assert!(Instant::now() < until, "it was not refused");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(sink.stats().sent, 0);
    let _ = server.kill();
    let _ = server.wait();
    let _ = std::io::stdout().flush();
}
