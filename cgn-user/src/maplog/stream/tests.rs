//! Sinks against collectors that are there, away, slow or of the wrong name.

mod datagrams;
mod delivery;
mod scope;
mod tls;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

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
