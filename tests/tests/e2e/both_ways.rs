//! One script of packets, once through XDP and once with everything forced to the slow path: on both
//! wires the same must come out, byte for byte but for the port and the IPv4 identification that were
//! chosen.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::harness::hex;
use cgn_tests::lab::{
    self, Capture, CapturedPacket, Daemon, Lab, Plan, RawSocket, Settings, XdpPass, address,
    cgn_program, wait_until,
};
use cgn_tests::packets::alike::Choices;
use cgn_tests::packets::{Draft, Transport, flag};

use crate::restart::detach;
use crate::{PATIENCE_SECS, in_lab, lacks_program};

type Endpoint = (Ipv4Addr, u16);

/// The whole pool.
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// Hosts whose networks nobody answers for, so that only the script is on the wires.
const CLIENT: Endpoint = (Ipv4Addr::new(100, 64, 2, 7), 6000);
const NEIGHBOUR: Endpoint = (Ipv4Addr::new(100, 64, 2, 8), 6000);
const SERVER: Endpoint = (Ipv4Addr::new(198, 18, 0, 5), 443);
const OTHER: Endpoint = (Ipv4Addr::new(198, 18, 0, 6), 4433);
/// Of the CGN's outside link.
const MTU: usize = 1280;
/// A TCP option: the most bytes of a segment are 1460.
const MSS: [u8; 4] = [2, 4, 5, 180];

#[test]
fn the_slow_path_makes_the_same_of_every_packet() {
    let name = "both_ways::the_slow_path_makes_the_same_of_every_packet";
    if lacks_program(name, "tcpdump") {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        lab.cgn.ip(&format!("link set outside mtu {MTU}\n"))?;
        lab.access.ip("route add blackhole 100.64.2.0/24\n")?;
        // What XDP sends wakes a peer with a program; GRO would show other packets than there were.
        let _passing =
            [&lab.access, &lab.internet].map(|namespace| XdpPass::attach(namespace, "uplink"));
        for namespace in [&lab.access, &lab.internet] {
            namespace.set_features("uplink", &["gro", "off"])?;
        }
        let [fast, slow] = [false, true].map(|forced| whole_script(lab, forced));
        compare(&fast?, &slow?)
    });
}

/// What a packet of the script led to.
struct Seen {
    sentence: &'static str,
    frame: CapturedPacket,
    canonical: Vec<u8>,
}

fn compare(fast: &[Seen], slow: &[Seen]) -> Result<()> {
    for (fast, slow) in fast.iter().zip(slow) {
        ensure!(
            fast.canonical == slow.canonical,
            "{}: the two paths differ\nXDP       {}\nslow path {}\nwithout what was chosen:\nXDP       {}\nslow path {}",
            fast.sentence,
            hex(&fast.frame.frame),
            hex(&slow.frame.frame),
            hex(&fast.canonical),
            hex(&slow.canonical)
        );
    }
    ensure!(
        fast.len() == slow.len() && fast.len() > 40,
        "{} packets",
        fast.len()
    );
    Ok(())
}

/// Runs the script through a new daemon, which is detached afterwards.
fn whole_script(lab: &Lab, forced: bool) -> Result<Vec<Seen>> {
    let settings = Settings {
        addresses: format!("\"{EXTERNAL}\""),
        force_slow_path: forced,
        ..Settings::default()
    };
    // On a busy machine the parts of a datagram may be seconds apart.
    let toml = settings.toml(lab) + "\n[fragments]\ntimeout_secs = 30\n";
    let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
    // The neighbours are known when the script begins.
    let found = lab::ping(
        &lab.subscribers[0],
        address::subscriber(1, 2),
        address::SERVERS[0],
        3,
        3,
    )?;
    ensure!(found.received > 0, "no ping went through");
    let before = daemon.count_of("forced")?;
    let mut stage = Stage::new(lab, forced)?;
    script(&mut stage)?;
    let sent = stage.sent;
    let seen = stage.finish()?;
    let by_slow_path = daemon.count_of("forced")? - before;
    let wanted = if forced { sent } else { 0 };
    ensure!(
        by_slow_path == wanted,
        "{by_slow_path} of {sent} packets were forced"
    );
    daemon.stop()?;
    detach(lab)?;
    Ok(seen)
}

/// One end of the CGN: packets go in by a raw socket; what comes out is captured.
struct Wire {
    raw: RawSocket,
    capture: Capture,
    read: usize,
}

impl Wire {
    fn new(lab: &Lab, namespace: &lab::Namespace, name: &str) -> Result<Self> {
        let arguments = ["-Q", "in", "--immediate-mode", "ip"];
        let file = lab.folder().join(name);
        Ok(Self {
            raw: RawSocket::open(namespace)?,
            capture: Capture::start(namespace, "uplink", &arguments, &file)?,
            read: 0,
        })
    }

    /// Waits for so many more packets.
    fn next(&mut self, count: usize) -> Result<Vec<CapturedPacket>> {
        let wanted = self.read + count;
        let what = format!("{count} packets");
        let mut all = wait_until(&what, 4.0 * PATIENCE_SECS, || {
            let all = self.capture.so_far()?;
            Ok((all.len() >= wanted).then_some(all))
        })?;
        all.truncate(wanted);
        let new = all.split_off(self.read);
        self.read = wanted;
        Ok(new)
    }

    /// Nothing more than was awaited has come.
    fn finish(self) -> Result<()> {
        let all = self.capture.finish()?;
        ensure!(
            all.len() == self.read,
            "{} packets, {} awaited",
            all.len(),
            self.read
        );
        Ok(())
    }
}

/// The CGN with a hand on either side.
struct Stage {
    inside: Wire,
    outside: Wire,
    choices: Choices,
    seen: Vec<Seen>,
    sent: u64,
}

impl Stage {
    fn new(lab: &Lab, forced: bool) -> Result<Self> {
        Ok(Self {
            inside: Wire::new(lab, &lab.access, &format!("inside-{forced}.pcap"))?,
            outside: Wire::new(lab, &lab.internet, &format!("outside-{forced}.pcap"))?,
            choices: Choices::default(),
            seen: Vec::new(),
            sent: 0,
        })
    }

    /// From inside: so many packets arrive inside, and outside; returns these.
    fn out(
        &mut self,
        sentence: &'static str,
        draft: &Draft,
        arrive: (usize, usize),
    ) -> Result<Vec<CapturedPacket>> {
        self.send(sentence, true, &[draft.bytes()], arrive)
    }

    /// From outside: it arrives inside, and nothing else does.
    fn back(&mut self, sentence: &'static str, draft: &Draft) -> Result<()> {
        self.send(sentence, false, &[draft.bytes()], (1, 0))
            .map(drop)
    }

    /// It arrives nowhere.
    fn ends(&mut self, sentence: &'static str, from_inside: bool, draft: &Draft) -> Result<()> {
        self.send(sentence, from_inside, &[draft.bytes()], (0, 0))
            .map(drop)
    }

    fn send(
        &mut self,
        sentence: &'static str,
        from_inside: bool,
        frames: &[Vec<u8>],
        (inside, outside): (usize, usize),
    ) -> Result<Vec<CapturedPacket>> {
        let wire = if from_inside {
            &self.inside
        } else {
            &self.outside
        };
        for frame in frames {
            wire.raw.send(&frame[14..])?;
            self.sent += 1;
        }
        let mut away = self.outside.next(outside).context(sentence)?;
        let mut home = self.inside.next(inside).context(sentence)?;
        // Whether XDP or the slow path was quicker with a fragment is no difference.
        away.sort_by_key(offset_of);
        home.sort_by_key(offset_of);
        for packet in away.iter().chain(&home) {
            self.note(sentence, packet)
                .with_context(|| format!("{sentence}: {}", hex(&packet.frame)))?;
        }
        Ok(away)
    }

    fn note(&mut self, sentence: &'static str, packet: &CapturedPacket) -> Result<()> {
        let ip = packet.ipv4().context("no IPv4")?;
        let is_fragment = u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0;
        if !is_fragment {
            packet.check()?;
        }
        let canonical = self.choices.canonical(&packet.frame, EXTERNAL)?;
        let frame = packet.clone();
        self.seen.push(Seen {
            sentence,
            frame,
            canonical,
        });
        Ok(())
    }

    fn finish(self) -> Result<Vec<Seen>> {
        self.inside.finish().context("inside")?;
        self.outside.finish().context("outside")?;
        Ok(self.seen)
    }
}

/// Offset of a fragment in its datagram; 0 of what is none.
fn offset_of(packet: &CapturedPacket) -> u16 {
    let fragment = packet.ipv4().and_then(|ip| ip.get(6..8)?.first_chunk());
    fragment.map_or(0, |bytes| u16::from_be_bytes(*bytes) & 0x1fff)
}

/// External port (of ICMP: identifier) of the first of these packets.
fn external_of(packets: &[CapturedPacket]) -> Result<Endpoint> {
    let ip = packets
        .first()
        .and_then(CapturedPacket::ipv4)
        .context("none left")?;
    let at = if ip[9] == 1 { 24 } else { 20 };
    let port = ip.get(at..at + 2).context("no port")?;
    Ok((EXTERNAL, u16::from_be_bytes([port[0], port[1]])))
}

/// All sorts of packets. The kernel that sends them fills in an identification of 0.
fn script(t: &mut Stage) -> Result<()> {
    let udp = udp(t)?;
    tcp(t)?;
    queries(t)?;
    errors(t, udp)?;
    fragments(t, udp)?;
    hairpins(t, udp)?;
    refused(t, udp)
}

fn udp(t: &mut Stage) -> Result<Endpoint> {
    let asked = Draft::udp(CLIENT, SERVER);
    let left = t.out(
        "a first packet, which gets its subscriber a block",
        &asked,
        (0, 1),
    )?;
    let external = external_of(&left)?;
    t.back("its answer", &asked.answer(external))?;
    t.back("a packet of a stranger", &Draft::udp(OTHER, external))?;
    t.out("to another server", &Draft::udp(CLIENT, OTHER), (0, 1))?;
    let bare = asked
        .clone()
        .with(|d| d.transport = Transport::Udp { checksum: false });
    t.out("without a checksum", &bare, (0, 1))?;
    t.back("without a checksum, inwards", &bare.answer(external))?;
    let odd = asked
        .clone()
        .with(|d| (d.payload, d.tos) = (vec![1, 2, 3], 0xb9));
    t.out("of an odd length, of another class", &odd, (0, 1))?;
    let empty = asked.clone().with(|d| d.payload.clear());
    t.out("without data", &empty, (0, 1))?;
    let options = asked
        .clone()
        .with(|d| d.options = vec![7, 7, 4, 0, 0, 0, 0, 0]);
    t.out("with IPv4 options (record route)", &options, (0, 1))?;
    let loose = asked.clone().with(|d| d.dont_fragment = false);
    t.out(
        "that may be fragmented: a fresh identification",
        &loose,
        (0, 1),
    )?;
    t.back("that may be fragmented, inwards", &loose.answer(external))?;
    Ok(external)
}

fn tcp(t: &mut Stage) -> Result<()> {
    let segment = |flags| Draft::tcp(flags, CLIENT, SERVER);
    let syn = segment(flag::SYN).with(|d| {
        d.transport = Transport::Tcp {
            flags: flag::SYN,
            options: MSS.to_vec(),
        };
        d.payload.clear();
    });
    let external = external_of(&t.out("SYN", &syn, (0, 1))?)?;
    let answer = |flags| Draft::tcp(flags, SERVER, external);
    t.back("SYN and ACK", &answer(flag::SYN | flag::ACK))?;
    t.out("ACK with data", &segment(flag::ACK), (0, 1))?;
    t.back("data", &answer(flag::ACK))?;
    t.out("FIN", &segment(flag::FIN | flag::ACK), (0, 1))?;
    t.back("FIN of the other side", &answer(flag::FIN | flag::ACK))?;
    t.back("RST", &answer(flag::RST))?;
    let stray = Draft::tcp(flag::ACK, (CLIENT.0, 6001), SERVER);
    t.out("a segment of a flow that is not known", &stray, (0, 1))?;
    let quoted = segment(flag::ACK).with(|d| d.source = external).packet();
    let error = Draft::icmp_error((11, 0), [0; 4], &quoted[..28], OTHER.0, EXTERNAL);
    t.back("time exceeded about the connection", &error)
}

fn queries(t: &mut Stage) -> Result<()> {
    let ping = Draft::ping((CLIENT.0, 99), SERVER.0);
    let external = external_of(&t.out("an echo request", &ping, (0, 1))?)?;
    t.back("its reply", &Draft::pong(SERVER.0, external))?;
    t.back("a reply of another host", &Draft::pong(OTHER.0, external))
}

fn errors(t: &mut Stage, external: Endpoint) -> Result<()> {
    let sent = Draft::udp(external, SERVER).packet();
    for (sentence, kind, rest, bytes) in [
        ("port unreachable", (3, 3), [0; 4], 28),
        (
            "fragmentation needed, all of the packet",
            (3, 4),
            [0, 0, 5, 0],
            sent.len(),
        ),
        ("parameter problem", (12, 0), [1, 0, 0, 0], 28),
    ] {
        let error = Draft::icmp_error(kind, rest, &sent[..bytes], OTHER.0, EXTERNAL);
        t.back(sentence, &error)?;
    }
    let came = Draft::udp(SERVER, CLIENT).packet();
    let error = Draft::icmp_error((3, 3), [0; 4], &came[..28], CLIENT.0, SERVER.0);
    t.out("port unreachable from inside", &error, (0, 1))?;
    let expired = Draft::udp(CLIENT, SERVER).with(|d| d.ttl = 1);
    t.out(
        "the time to live ends: the sender is told",
        &expired,
        (1, 0),
    )?;
    let large = Draft::udp(CLIENT, SERVER).with(|d| d.payload = vec![0x5a; MTU]);
    t.out(
        "too large, and not to be fragmented: the sender is told",
        &large,
        (1, 0),
    )?;
    Ok(())
}

fn fragments(t: &mut Stage, external: Endpoint) -> Result<()> {
    let large = Draft::udp(CLIENT, SERVER).with(|d| {
        (d.id, d.dont_fragment) = (77, false);
        d.payload = (0..MTU + 100).map(|at| at as u8).collect();
    });
    t.out("too large, and fragmented here", &large, (0, 2))?;
    let three = |id| large.clone().with(|d| d.id = id).fragments(520);
    t.send("three fragments", true, &three(78), (0, 3))?;
    let backwards: Vec<_> = three(79).into_iter().rev().collect();
    t.send(
        "three fragments, the first one last",
        true,
        &backwards,
        (0, 3),
    )?;
    let answer = |id| large.answer(external).with(|d| d.id = id).fragments(520);
    t.send("fragments inwards", false, &answer(80), (3, 0))?;
    let backwards: Vec<_> = answer(81).into_iter().rev().collect();
    t.send(
        "fragments inwards, the first one last",
        false,
        &backwards,
        (3, 0),
    )?;
    Ok(())
}

fn hairpins(t: &mut Stage, external: Endpoint) -> Result<()> {
    let between = Draft::udp(NEIGHBOUR, external);
    t.out(
        "to another subscriber, by his external endpoint",
        &between,
        (1, 0),
    )?;
    t.out(
        "to oneself",
        &Draft::udp((CLIENT.0, 6002), external),
        (1, 0),
    )?;
    let pieces = between.with(|d| {
        (d.id, d.dont_fragment) = (90, false);
        d.payload = vec![7; 1100];
    });
    t.send(
        "fragments to another subscriber",
        true,
        &pieces.fragments(520),
        (3, 0),
    )?;
    Ok(())
}

fn refused(t: &mut Stage, external: Endpoint) -> Result<()> {
    let stranger = Draft::udp((Ipv4Addr::new(192, 168, 7, 7), 7), SERVER);
    t.ends("from no subscriber", true, &stranger)?;
    let closed = Draft::udp(SERVER, (EXTERNAL, 1023));
    t.ends("to a port without a mapping", false, &closed)?;
    t.ends(
        "a RST of no flow",
        true,
        &Draft::tcp(flag::RST, (CLIENT.0, 7000), SERVER),
    )?;
    t.ends(
        "another protocol",
        true,
        &Draft::new(Transport::Other(47), CLIENT, SERVER),
    )?;
    let private = Draft::udp((Ipv4Addr::new(100, 64, 9, 9), 9), external);
    t.ends("a shared address from outside", false, &private)?;
    let quoted = Draft::udp(external, SERVER).packet();
    let wrong = Draft::icmp_error((3, 3), [0; 4], &quoted[..28], OTHER.0, EXTERNAL)
        .with(|d| d.payload[2] ^= 0x55);
    t.ends("an error with a wrong checksum", false, &wrong)?;
    t.out("and all goes on", &Draft::udp(CLIENT, SERVER), (0, 1))?;
    Ok(())
}
