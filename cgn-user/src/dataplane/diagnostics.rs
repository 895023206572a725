//! What the diagnostics object says: a line for each packet that is not
//! translated, through aya-log, in the operator's words.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray};
use aya_log::EbpfLogger;
use cgn_common::diagnostics::{TALLIES, Tally};
use cgn_common::layout::MapSpec;
use cgn_common::verdict::{Effect, Reason};
use cgn_common::wire::transport;

use super::interface;
use super::load::{Element, LoadError, failed};

/// The ring of lines, by the name that aya-log gives it.
const LINES: &str = "AYA_LOGS";
/// Packets without a line are told of so often.
const SUMMARY: Duration = Duration::from_secs(1);
/// Longest wait for a line, in milliseconds: a stop is noticed so soon.
const WAIT_MS: i32 = 200;

/// A packet that was not translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    pub reason: Reason,
    /// IPv4 protocol number; 0, as are addresses and ports, if there was no IPv4 header.
    pub protocol: u8,
    pub source: (Ipv4Addr, u16),
    pub destination: (Ipv4Addr, u16),
    /// Interface and receive queue that it came by.
    pub ifindex: u32,
    pub queue: u32,
    /// Length of the frame.
    pub bytes: u32,
}

impl Line {
    /// Reads a line as `cgn-ebpf/src/diagnostics.rs` writes it; None if it is another.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let [
            "reason",
            reason,
            "protocol",
            protocol,
            "from",
            source,
            source_port,
            "to",
            destination,
            destination_port,
            "interface",
            ifindex,
            "queue",
            queue,
            "bytes",
            bytes,
        ] = words[..]
        else {
            return None;
        };
        let endpoint =
            |address: &str, port: &str| Some((address.parse().ok()?, port.parse().ok()?));
        Some(Self {
            reason: Reason::from_number(reason.parse().ok()?)?,
            protocol: protocol.parse().ok()?,
            source: endpoint(source, source_port)?,
            destination: endpoint(destination, destination_port)?,
            ifindex: ifindex.parse().ok()?,
            queue: queue.parse().ok()?,
            bytes: bytes.parse().ok()?,
        })
    }

    fn write_packet(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, destination) = (self.source, self.destination);
        if source.0.is_unspecified() && destination.0.is_unspecified() {
            return write!(f, "a frame of {} bytes", self.bytes);
        }
        match self.protocol {
            transport::ICMP => f.write_str("icmp")?,
            transport::TCP => f.write_str("tcp")?,
            transport::UDP => f.write_str("udp")?,
            other => write!(f, "protocol {other}")?,
        }
        // Other ICMP messages than echo have no identifier, which stands for the port.
        let has_ports =
            (source.1, destination.1) != (0, 0) && self.reason != Reason::UnsupportedIcmp;
        if has_ports {
            let ((from, from_port), (to, to_port)) = (source, destination);
            write!(f, " {from}:{from_port} > {to}:{to_port}")
        } else {
            write!(f, " {} > {}", source.0, destination.0)
        }
    }
}

/// As the operator reads it: `drop no_mapping: udp 8.8.8.8:53 > 203.0.113.1:4444 on eth1 queue 0`.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match self.reason.effect() {
            Effect::Drop => "drop",
            Effect::Punt => "punt",
            Effect::Pass => "pass",
        };
        write!(f, "{effect} {}: ", self.reason.name())?;
        self.write_packet(f)?;
        match interface::name_of(self.ifindex) {
            Some(name) => write!(f, " on {name} queue {}", self.queue),
            None => write!(f, " on interface {} queue {}", self.ifindex, self.queue),
        }
    }
}

/// Where aya-log puts its records.
struct Translator<F> {
    tell: F,
    heard: Arc<AtomicU64>,
}

impl<F: Fn(&str) + Send + Sync> log::Log for Translator<F> {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        self.heard.fetch_add(1, Ordering::Relaxed);
        let text = record.args().to_string();
        match Line::parse(&text) {
            Some(line) => (self.tell)(&line.to_string()),
            None => (self.tell)(&text),
        }
    }
    fn flush(&self) {}
}

/// The reader of the diagnostics object's lines. Programs can be loaded only
/// while it lives.
pub struct Diagnostics<F> {
    lines: EbpfLogger<Translator<F>>,
    tallies: PerCpuArray<MapData, Element<Tally>>,
    heard: Arc<AtomicU64>,
    /// Lines that had been written when the tallies were last read.
    written: u64,
    /// Packets of which [`Diagnostics::missed`] has told.
    missed: u64,
}

impl<F: Fn(&str) + Send + Sync> Diagnostics<F> {
    /// Connects the lines of a freshly loaded diagnostics object with `tell`.
    pub(super) fn of(ebpf: &mut Ebpf, tell: F) -> Result<Self, LoadError> {
        let spec: &MapSpec = &TALLIES;
        let tallies = ebpf
            .take_map(spec.name)
            .ok_or(LoadError::NoMap(spec.name))?;
        let heard = Arc::new(AtomicU64::new(0));
        let translator = Translator {
            tell,
            heard: Arc::clone(&heard),
        };
        let lines = EbpfLogger::init_with_logger(ebpf, translator);
        Ok(Self {
            lines: lines.map_err(|_| LoadError::NoMap(LINES))?,
            tallies: PerCpuArray::try_from(tallies).map_err(failed(spec))?,
            heard,
            written: 0,
            missed: 0,
        })
    }

    /// Hands over all lines that are there.
    pub fn flush(&mut self) {
        self.lines.flush();
    }

    /// Packets without a line since the last call: those beyond the limit, and
    /// lines that the ring had no room for, the latter known one call later.
    ///
    /// # Errors
    /// The kernel's.
    pub fn missed(&mut self) -> Result<u64, LoadError> {
        // All that was written at the last call has been heard, or never will be.
        self.flush();
        let lost = self
            .written
            .saturating_sub(self.heard.load(Ordering::Relaxed));
        let values = self.tallies.get(&0, 0).map_err(failed(&TALLIES))?;
        self.written = values.iter().map(|tally| tally.0.written).sum();
        let suppressed: u64 = values.iter().map(|tally| tally.0.suppressed).sum();
        let new = (suppressed + lost).saturating_sub(self.missed);
        self.missed += new;
        Ok(new)
    }

    /// Waits a moment for a line.
    fn wait(&self) {
        let mut fd = libc::pollfd {
            fd: self.lines.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd.
        let ready = unsafe { libc::poll(&raw mut fd, 1, WAIT_MS) };
        if ready < 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn run(mut self, tell: fn(&str), stop: &AtomicBool) {
        let mut summary = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            self.wait();
            self.flush();
            if summary.elapsed() >= SUMMARY {
                summary = Instant::now();
                match self.missed() {
                    Ok(0) => {}
                    Ok(missed) => tell(&format!("{missed} more packets dropped or punted")),
                    Err(error) => tell(&format!("packets without a line: {error}")),
                }
            }
        }
        self.flush();
    }
}

/// The thread that reads the lines; it ends with this value.
pub struct Reader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system's.
    pub fn spawn(diagnostics: Diagnostics<fn(&str)>, tell: fn(&str)) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = Arc::clone(&stop);
            std::thread::Builder::new()
                .name("cgn-diagnose".into())
                .spawn(move || diagnostics.run(tell, &stop))?
        };
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say that is not in the log already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn lines_in_the_operator_s_words() {
        // No interface has the number 0.
        for (sentence, written, wanted) in [
            (
                "UDP with its ports",
                "reason 12 protocol 17 from 8.8.8.8 53 to 203.0.113.1 4444 interface 0 queue 3 bytes 60",
                Some("drop no_mapping: udp 8.8.8.8:53 > 203.0.113.1:4444 on interface 0 queue 3"),
            ),
            (
                "a punt is not a drop",
                "reason 32 protocol 6 from 100.64.1.2 40000 to 192.0.2.1 443 interface 0 queue 0 bytes 74",
                Some(
                    "punt first_packet: tcp 100.64.1.2:40000 > 192.0.2.1:443 on interface 0 queue 0",
                ),
            ),
            (
                "the identifier of an echo stands for the port",
                "reason 12 protocol 1 from 8.8.8.8 7 to 203.0.113.1 7 interface 0 queue 0 bytes 98",
                Some("drop no_mapping: icmp 8.8.8.8:7 > 203.0.113.1:7 on interface 0 queue 0"),
            ),
            (
                "other ICMP messages have none",
                "reason 8 protocol 1 from 8.8.8.8 7 to 203.0.113.1 7 interface 0 queue 0 bytes 98",
                Some("drop unsupported_icmp: icmp 8.8.8.8 > 203.0.113.1 on interface 0 queue 0"),
            ),
            (
                "a protocol without name, a fragment",
                "reason 6 protocol 47 from 8.8.8.8 0 to 203.0.113.1 0 interface 0 queue 0 bytes 98",
                Some("drop fragment: protocol 47 8.8.8.8 > 203.0.113.1 on interface 0 queue 0"),
            ),
            (
                "what has no IPv4 header",
                "reason 0 protocol 0 from 0.0.0.0 0 to 0.0.0.0 0 interface 0 queue 0 bytes 20",
                Some("drop truncated: a frame of 20 bytes on interface 0 queue 0"),
            ),
            (
                "a number that is no reason",
                "reason 31 protocol 0 from 0.0.0.0 0 to 0.0.0.0 0 interface 0 queue 0 bytes 20",
                None,
            ),
            ("another line", "hello", None),
        ] {
            let read = Line::parse(written).map(|line| line.to_string());
            assert_eq!(read.as_deref(), wanted, "{sentence}");
        }
    }
}
