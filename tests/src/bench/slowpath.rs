//! `bench slowpath`: how many new subscribers a second get their block, while
//! known subscribers lose nothing. Real packets through a laboratory: a flood of
//! first packets, each from another subscriber, and beside it a known
//! subscriber whose every datagram must be answered. Each subscriber of the flood sends once: as long as
//! it lasts, all that it brings is new.

use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::PacketBuilder;
use serde::Serialize;

use super::processor;
use crate::lab::{Daemon, Lab, Plan, Settings, UdpEcho, address, cgn_program, run_to_end};

/// The goal: blocks a second on one core.
pub const GOAL: f64 = 300_000.0;
/// The flood's subscribers, from this one on.
const FIRST: Ipv4Addr = Ipv4Addr::new(100, 66, 0, 0);
const SUBSCRIBERS: u32 = 131_072;
/// Theirs, and the laboratory's.
const PREFIX: &str = "100.64.0.0/14";
/// Where the flood's packets go to.
const FLOOD_PORT: u16 = 9;
/// The known subscriber, and the first of the flood.
const FEW: u64 = 100;
/// The whole measurement ends after so long.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often the blocks are counted. The daemon answers on the engine's processor.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Frames of the flood that may be on the link to the CGN at a time. A veth device
/// takes 256 and drops the rest, whoever's they are, before the CGN has seen them.
const MOST_ON_LINK: u64 = 128;
/// Frames that are handed over at a time.
const BATCH: usize = 64;
/// Datagrams of the known subscriber, one every so often.
const KNOWN_EVERY: Duration = Duration::from_micros(500);

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Whether each group of log records was brought to disk before its blocks were used.
    pub sync: bool,
    pub blocks: u64,
    pub seconds: f64,
    pub blocks_per_second: f64,
    /// Processor time of the engine's thread for each block; other work on the machine does not count.
    pub engine_us_per_block: f64,
    pub known_sent: u64,
    pub known_answered: u64,
    /// Frames, of anybody, that were lost on the link before the CGN.
    pub lost_before: u64,
    /// First packets that found the slow path's ring full. Their subscribers have to send again.
    pub punts_undelivered: u64,
}

/// Measures once.
///
/// # Errors
/// No rights, or the laboratory or the daemon does not work.
pub fn measure(sync: bool) -> Result<Figures> {
    let lab = Lab::new(&Plan {
        prefix: "cgn-bench",
        ..Plan::default()
    })?;
    let settings = Settings {
        addresses: "\"203.0.113.0/24\"".to_owned(),
        log_sync: sync,
        ..Settings::default()
    };
    let blocks = format!("max_blocks = {}\nblock_ports = 64", SUBSCRIBERS + 4096);
    let toml = settings
        .toml(&lab)
        .replace("block_ports = 64", &blocks)
        .replace("100.64.0.0/16", PREFIX);
    let mut daemon = Daemon::start_with(&lab, &toml, &cgn_program()?, &[])?;
    processor::keep_process(daemon.process().id(), processor::count()? - 1)?;
    let stop = AtomicBool::new(false);
    let (sent, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    let (lost_before, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let echo = UdpEcho::start(&lab.internet, SocketAddrV4::new(address::SERVERS[0], 7))?;
    end_at_the_door(&lab)?;
    let result = std::thread::scope(|scope| {
        let known = scope.spawn(|| {
            lab.subscribers[0].within(|| converse(echo.address().into(), &stop, &sent, &answered))
        });
        std::thread::sleep(Duration::from_millis(300));
        let flood = scope.spawn(|| {
            let flooded = lab.access.within(|| flood(&stop, &sent, &lost_before));
            is_over.store(true, Ordering::Relaxed);
            flooded
        });
        let rate = watch(&mut daemon, &is_over);
        stop.store(true, Ordering::Relaxed);
        join(known)?;
        join(flood)?;
        rate
    });
    let given = result?;
    // The daemon reads the kernel's counters twice a second.
    std::thread::sleep(Duration::from_secs(1));
    Ok(Figures {
        sync,
        blocks: given.blocks,
        seconds: given.seconds,
        blocks_per_second: given.blocks as f64 / given.seconds,
        engine_us_per_block: 1e6 * given.engine_secs / given.blocks as f64,
        known_sent: sent.into_inner(),
        known_answered: answered.into_inner(),
        lost_before: lost_before.into_inner(),
        punts_undelivered: daemon.count_of("punt_undelivered")?,
    })
}

/// What the flood sends ends before the internet's host looks at it: the kernel would do that, and make its
/// errors, on the processor of whoever sent the frame, which is the daemon.
fn end_at_the_door(lab: &Lab) -> Result<()> {
    let rules = format!(
        "add table netdev flood\nadd chain netdev flood door {{ type filter hook ingress device uplink priority 0; }}\n\
         add rule netdev flood door udp dport {FLOOD_PORT} drop\n"
    );
    let path = lab.folder().join("door.nft");
    std::fs::write(&path, rules)?;
    run_to_end(lab.internet.command("nft").arg("-f").arg(&path), 10.0)
        .context("nft (Debian package nftables)")?;
    Ok(())
}

/// The run of median speed, with the packets of all runs: one that is lost in any counts.
///
/// # Panics
/// If there are none.
#[must_use]
pub fn median_of(mut runs: Vec<Figures>) -> Figures {
    runs.sort_by(|a, b| a.blocks_per_second.total_cmp(&b.blocks_per_second));
    let sum = |of: fn(&Figures) -> u64| runs.iter().map(of).sum();
    Figures {
        known_sent: sum(|run| run.known_sent),
        known_answered: sum(|run| run.known_answered),
        lost_before: sum(|run| run.lost_before),
        punts_undelivered: sum(|run| run.punts_undelivered),
        ..runs[runs.len() / 2].clone()
    }
}

fn join(thread: std::thread::ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    match thread.join() {
        Ok(result) => result,
        Err(_) => bail!("a thread of the bench panicked"),
    }
}

/// What happened from the first few blocks until the flood was over.
struct Given {
    blocks: u64,
    seconds: f64,
    /// Of the engine's thread.
    engine_secs: f64,
}

/// Blocks so far, when, and processor time of the engine's thread until then.
struct Look {
    blocks: u64,
    at: Instant,
    engine_secs: f64,
}

/// Looks until the flood is over. What is given later counts for nothing: then the slow path waits for more.
fn watch(daemon: &mut Daemon, is_over: &AtomicBool) -> Result<Given> {
    let engine = processor::thread_of(daemon.process().id(), "cgn-engine")?;
    let mut looks = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let look = Look {
            blocks: allocated(daemon)?,
            at: Instant::now(),
            engine_secs: processor::seconds_of(engine)?,
        };
        if look.blocks > FEW && !is_over.load(Ordering::Relaxed) {
            looks.push(look);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let (Some(first), Some(last)) = (looks.first(), looks.last()) else {
        bail!("the flood was over before a block was given: is the machine very busy?");
    };
    let given = Given {
        blocks: last.blocks - first.blocks,
        seconds: (last.at - first.at).as_secs_f64(),
        engine_secs: last.engine_secs - first.engine_secs,
    };
    ensure!(
        given.blocks >= u64::from(SUBSCRIBERS) / 8,
        "only {} blocks in {:.2} s; too little for a figure: is the machine very busy?",
        given.blocks,
        given.seconds
    );
    Ok(given)
}

/// Allocation records so far: each block's is written before the block is used.
fn allocated(daemon: &Daemon) -> Result<u64> {
    let metrics = daemon.metrics()?;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("cgn_log_records_total{kind=\"allocate\"} "))
        .context("no metric cgn_log_records_total")?;
    Ok(line.trim().parse()?)
}

/// Sends datagrams of the known subscriber and counts the answers.
fn converse(
    server: SocketAddr,
    stop: &AtomicBool,
    sent: &AtomicU64,
    answered: &AtomicU64,
) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut buffer = [0; 256];
    while !stop.load(Ordering::Relaxed) {
        let number = sent.fetch_add(1, Ordering::Relaxed);
        socket.send(&number.to_be_bytes())?;
        if socket.recv(&mut buffer).is_ok() {
            answered.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(KNOWN_EVERY);
    }
    Ok(())
}

/// Sends one datagram after the other, each from the next subscriber, as fast as the link takes them, until each
/// has sent his or it is told to stop.
fn flood(stop: &AtomicBool, known_sent: &AtomicU64, lost: &AtomicU64) -> Result<()> {
    let socket = packet_socket("uplink")?;
    let deadline = Instant::now() + DEADLINE;
    let frames = first_packets()?;
    let before = Transmitted::read("uplink")?;
    let known_before = known_sent.load(Ordering::Relaxed);
    let mut handed_over = 0;
    let ended = || stop.load(Ordering::Relaxed) || Instant::now() >= deadline;
    for batch in frames.chunks(BATCH) {
        loop {
            if ended() {
                return Ok(());
            }
            let now = Transmitted::read("uplink")?;
            lost.store(now.dropped - before.dropped, Ordering::Relaxed);
            let known = known_sent.load(Ordering::Relaxed) - known_before;
            let left = now.packets + now.dropped - before.packets - before.dropped;
            if handed_over + known < left + MOST_ON_LINK {
                break;
            }
            std::thread::yield_now();
        }
        handed_over += send_all(&socket, batch)?;
    }
    Ok(())
}

/// The first packet of each subscriber of the flood.
fn first_packets() -> Result<Vec<Vec<u8>>> {
    let gateway = neighbour()?;
    let own = own_mac("uplink")?;
    let frame = |number| {
        let source = Ipv4Addr::from_bits(FIRST.to_bits() + number);
        let packet = PacketBuilder::ethernet2(own, gateway)
            .ipv4(source.octets(), address::SERVERS[1].octets(), 64)
            .udp(40_000, FLOOD_PORT);
        let mut frame = Vec::new();
        packet.write(&mut frame, b"first")?;
        Ok(frame)
    };
    (0..SUBSCRIBERS).map(frame).collect()
}

/// What a device of this namespace has sent and lost.
struct Transmitted {
    packets: u64,
    dropped: u64,
}

impl Transmitted {
    fn read(device: &str) -> Result<Self> {
        let table = std::fs::read_to_string("/proc/thread-self/net/dev")?;
        let figures = table
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))
            .with_context(|| format!("no device {device}"))?;
        // Eight columns of what was received stand before bytes, packets, errors, dropped.
        let mut columns = figures.split_whitespace().skip(9);
        let mut next = || {
            columns
                .next()
                .context("too few columns")?
                .parse()
                .context("no number")
        };
        let packets = next()?;
        next()?;
        Ok(Self {
            packets,
            dropped: next()?,
        })
    }
}

fn packet_socket(device: &str) -> Result<OwnedFd> {
    // SAFETY: creates a socket; the result is checked and owned.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    ensure!(socket >= 0, "packet socket: {}", io::Error::last_os_error());
    // SAFETY: a descriptor that was opened just now and that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: all bytes zero is a valid sockaddr_ll.
    let mut name: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    name.sll_family = libc::AF_PACKET as u16;
    let index = cgn_user::dataplane::interface::index_of(device).context("no such device")?;
    name.sll_ifindex = index as i32;
    // SAFETY: a valid address of the length given.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const name).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    };
    ensure!(result == 0, "bind: {}", io::Error::last_os_error());
    Ok(socket)
}

/// Number of frames that the device took.
fn send_all(socket: &OwnedFd, frames: &[Vec<u8>]) -> Result<u64> {
    let mut vectors: Vec<libc::iovec> = frames
        .iter()
        .map(|frame| libc::iovec {
            iov_base: frame.as_ptr().cast_mut().cast(),
            iov_len: frame.len(),
        })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = vectors
        .iter_mut()
        .map(|vector| {
            // SAFETY: all bytes zero is a valid message header.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect();
    // SAFETY: headers, vectors and frames live across the call.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            messages.len() as u32,
            0,
        )
    };
    // A full queue takes none, and its subscribers get no block.
    if sent < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::ENOBUFS) {
        return Err(io::Error::last_os_error().into());
    }
    Ok(sent.max(0) as u64)
}

/// Link address of the CGN, which the kernel knows: the known subscriber has
/// sent through it.
fn neighbour() -> Result<[u8; 6]> {
    let table = std::fs::read_to_string("/proc/thread-self/net/arp")?;
    let cgn = address::CGN_INSIDE.to_string();
    let line = table
        .lines()
        .find(|line| line.split_whitespace().next() == Some(cgn.as_str()))
        .context("the access router does not know the CGN's link address")?;
    parse_mac(line.split_whitespace().nth(3).unwrap_or_default())
}

fn own_mac(device: &str) -> Result<[u8; 6]> {
    let output = std::process::Command::new("ip")
        .args(["-br", "link", "show", device])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    parse_mac(text.split_whitespace().nth(2).unwrap_or_default())
}

fn parse_mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<std::result::Result<_, _>>()?;
    bytes.try_into().ok().context("no link address")
}
