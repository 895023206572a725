//! The daemon's life: killed amid a crowd, started twice, without room for its log.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cgn_tests::lab::{
    self, Daemon, Lab, Plan, Settings, TcpServer, UdpEcho, address, cgn_program, run_to_end,
    wait_until,
};
use cgn_user::maplog::Event;
use cgn_user::maplog::query::{Answer, Enquiry, Outcome, who};

use crate::{PATIENCE_SECS, SERVER, attributed, audit, block_of, in_lab};

/// Default of `hold.block_secs`.
pub(crate) const BLOCK_HOLD_MS: u64 = 120_000;

/// Interfaces of the CGN's namespace that have an XDP program.
pub(crate) fn links_with_xdp(lab: &Lab) -> Result<usize> {
    let said = run_to_end(
        lab.cgn.command("ip").args(["-details", "link"]),
        PATIENCE_SECS,
    )?;
    Ok(said
        .lines()
        .filter(|line| line.contains("prog/xdp"))
        .count())
}

#[test]
fn a_second_daemon_is_told_of_the_first() {
    in_lab(
        "life::a_second_daemon_is_told_of_the_first",
        &Plan::default(),
        |lab| {
            let daemon = Daemon::start(lab, &Settings::default())?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let inside = address::subscriber(1, 2);
            let socket = lab::echo_from(&lab.subscribers[0], inside)?;
            let seen = lab::exchange(&socket, echo.address(), b"one", false, PATIENCE_SECS)?;
            let mut second = lab.cgn.command(cgn_program()?);
            second
                .args(["run", "--config"])
                .arg(lab.folder().join("cgn.toml"));
            let Err(error) = run_to_end(&mut second, 20.0) else {
                bail!("a second daemon ran");
            };
            let said = error.to_string();
            ensure!(
                said.contains("exit status: 1")
                    && said.contains("mapping-log")
                    && said.contains("stop it first"),
                "{said}"
            );
            // It has not harmed the first one.
            let again = lab::exchange(&socket, echo.address(), b"two", false, PATIENCE_SECS)?;
            ensure!(again == seen, "{seen} became {again}");
            let fresh = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 3))?;
            lab::exchange(&fresh, echo.address(), b"new", false, PATIENCE_SECS)?;
            attributed(&daemon, inside, seen)
        },
    );
}

#[test]
fn killed_while_it_allocates() {
    in_lab("life::killed_while_it_allocates", &Plan::default(), |lab| {
        // 9 addresses with 1008 blocks each: no lack of blocks.
        let settings = Settings::default();
        let mut daemon = Daemon::start(lab, &settings)?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let tcp = TcpServer::start(&lab.internet, SERVER, 60.0)?;
        let host = &lab.subscribers[0];
        let mut stream = lab::connect(host, None, tcp.address(), PATIENCE_SECS)?;
        let before = lab::converse(&mut stream, (10_000, 10_000), PATIENCE_SECS)?;
        let mut seen_by_member: HashMap<u16, SocketAddrV4> = HashMap::new();
        for round in 0..3_u16 {
            let pause = Duration::from_millis(150 + 70 * u64::from(round));
            daemon = crash_amid_crowd(lab, daemon, &settings, &mut stream, round, pause)?;
            let during = lab::converse(&mut stream, (10_000, 10_000), PATIENCE_SECS)?;
            ensure!(during.seen == before.seen, "the open connection was moved");
            // Who was served before keeps what it had; who was not is served now.
            for index in [round * 2000, round * 2000 + 7] {
                let socket = lab::echo_from(host, address::crowd(index))?;
                let seen = lab::exchange(&socket, echo.address(), b"again", true, 10.0)?;
                seen_by_member.insert(index, seen);
            }
        }
        let records = daemon.log_records()?;
        let starts = records
            .iter()
            .filter(|record| matches!(record.entry.event, Event::Start))
            .count();
        ensure!(starts == 4, "{starts} starts in the log");
        for (index, seen) in seen_by_member {
            attributed(&daemon, address::crowd(index), seen)?;
        }
        // Packets of the crowd may still be under way.
        wait_until("tables and log agree", PATIENCE_SECS, || {
            agrees_with_log(&daemon).map(Some)
        })
    });
}

/// Kills the daemon while new subscribers come, sends over the open connection while there is
/// none, and starts another.
fn crash_amid_crowd(
    lab: &Lab,
    mut daemon: Daemon,
    settings: &Settings,
    stream: &mut TcpStream,
    round: u16,
    pause: Duration,
) -> Result<Daemon> {
    let stop = AtomicBool::new(false);
    let next = AtomicU16::new(round * 2000);
    std::thread::scope(|scope| {
        let crowd = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                let index = next
                    .fetch_add(1, Ordering::Relaxed)
                    .min(round * 2000 + 1999);
                let socket = lab::echo_from(&lab.subscribers[0], address::crowd(index))?;
                socket.send_to(b"crowd", SERVER)?;
            }
            Ok(())
        });
        std::thread::sleep(pause);
        let given = daemon.log_records()?.len();
        daemon.process().kill();
        let alone = lab::converse(stream, (10_000, 10_000), PATIENCE_SECS)
            .context("the open connection stopped with the daemon");
        drop(daemon);
        stop.store(true, Ordering::Relaxed);
        match crowd.join() {
            Ok(result) => result?,
            Err(_) => bail!("the crowd panicked"),
        }
        alone?;
        ensure!(given > 10, "only {given} records before the end");
        Daemon::start(lab, settings)
    })
}

/// Tables and log say the same.
fn agrees_with_log(daemon: &Daemon) -> Result<()> {
    let rows = daemon.blocks()?;
    let live = audit(&daemon.log_records()?, BLOCK_HOLD_MS)?;
    for row in &rows {
        let owner = live.get(&(row.external, row.first_port));
        ensure!(
            owner == Some(&row.inside),
            "{row:?}: by the log, {owner:?}'s"
        );
    }
    ensure!(
        rows.len() == live.len(),
        "{} blocks in the tables, {} by the log",
        rows.len(),
        live.len()
    );
    Ok(())
}

#[test]
fn no_room_for_the_log() {
    in_lab("life::no_room_for_the_log", &Plan::default(), |lab| {
        let disk = lab.small_disk(256 << 10)?;
        let settings = Settings {
            log_folder: Some(disk.clone()),
            ..Settings::default()
        };
        let daemon = Daemon::start(lab, &settings)?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let host = &lab.subscribers[0];
        let first = lab::echo_from(host, address::crowd(0))?;
        let seen = lab::exchange(&first, echo.address(), b"first", false, PATIENCE_SECS)?;
        fill(&disk)?;
        let before = daemon.count_of("log_unavailable")?;
        // The zeros ahead in the log, with the rest of their page, have room for two hundred records.
        let refused = (1..300_u16).find(|index| {
            lab::echo_from(host, address::crowd(*index))
                .and_then(|socket| lab::exchange(&socket, echo.address(), b"full", false, 0.5))
                .is_err()
        });
        let refused = refused.context("no new block was refused though the disk was full")?;
        daemon.wait_for_count("log_unavailable", before, 1)?;
        ensure!(
            daemon.status()?.log_refusing,
            "the status does not say that blocks are refused"
        );
        ensure!(
            block_owner(&daemon, address::crowd(refused))?.is_none(),
            "a block without log record was given"
        );
        let again = lab::exchange(&first, echo.address(), b"on", false, PATIENCE_SECS)?;
        ensure!(again == seen, "{seen} became {again}");
        std::fs::remove_file(disk.join("filler"))?;
        let late = lab::echo_from(host, address::crowd(refused))?;
        let seen = lab::exchange(&late, echo.address(), b"room", true, 10.0)
            .context("no block though there is room again")?;
        attributed(&daemon, address::crowd(refused), seen)?;
        block_of(&daemon, seen)?;
        ensure!(
            !daemon.status()?.log_refusing,
            "blocks are given again, the status denies it"
        );
        audit(&daemon.log_records()?, BLOCK_HOLD_MS).map(drop)
    });
}

/// The same with `on_full = "continue"`: nobody is refused, and the log tells of the gap, whether
/// the daemon lives until there is room again or is killed in it.
#[test]
fn no_room_for_the_log_and_on_without() {
    let name = "life::no_room_for_the_log_and_on_without";
    in_lab(name, &Plan::default(), |lab| {
        let disk = lab.small_disk(256 << 10)?;
        let settings = Settings {
            log_folder: Some(disk.clone()),
            log_on_full: "continue",
            ..Settings::default()
        };
        let toml = settings
            .toml(lab)
            .replace("[log]\n", "[log]\ngroup_ms = 5\n");
        let start = || Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"]);
        let mut daemon = start()?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let host = &lab.subscribers[0];
        let meet = |index: u16, within_secs: f64| {
            let socket = lab::echo_from(host, address::crowd(index))?;
            lab::exchange(&socket, echo.address(), b"here", false, within_secs)
        };
        let mut index = 0;
        for is_killed in [false, true] {
            fill(&disk)?;
            // The zeros ahead have room for some records yet.
            let mut seen = meet(index, PATIENCE_SECS)?;
            while daemon.status()?.log_lacking_since.is_none() {
                index += 1;
                ensure!(index < 600, "the log is never full");
                seen = meet(index, PATIENCE_SECS).context("refused for want of a log record")?;
            }
            index += 1;
            let within = meet(index, PATIENCE_SECS)?;
            let at_ms = now_ms();
            ensure!(daemon.status()?.log_lacking_records >= 2, "nothing counted");
            ensure!(!daemon.status()?.log_refusing, "nobody was refused");
            ensure!(
                daemon.metrics()?.contains("\ncgn_log_lacking 1\n"),
                "the metric denies it"
            );
            let asked = ask(&daemon, within, at_ms)?;
            ensure!(asked.outcome == Outcome::Unknown, "{asked:?}");
            if is_killed {
                daemon.process().kill();
                drop(daemon);
                std::fs::remove_file(disk.join("filler"))?;
                daemon = start()?;
            } else {
                std::fs::remove_file(disk.join("filler"))?;
            }
            wait_until("the end of the gap", 10.0, || {
                Ok(daemon.status()?.log_lacking_since.is_none().then_some(()))
            })?;
            agrees_with_log(&daemon)?;
            let again = meet(index, PATIENCE_SECS)?;
            ensure!(again.ip() == within.ip(), "{within} became {again}");
            let asked = ask(&daemon, seen, now_ms())?;
            ensure!(asked.outcome == Outcome::One, "after the gap: {asked:?}");
            let asked = ask(&daemon, within, at_ms)?;
            ensure!(asked.outcome == Outcome::Unknown, "in the gap: {asked:?}");
            index += 1;
        }
        let gaps = daemon.log_records()?.into_iter();
        let gaps = gaps.filter(|record| record.entry.event == Event::Gap);
        ensure!(gaps.count() == 2, "each gap is told once");
        Ok(())
    });
}

fn ask(daemon: &Daemon, seen: SocketAddrV4, at_ms: u64) -> Result<Answer> {
    let enquiry = Enquiry {
        external: *seen.ip(),
        port: seen.port(),
        at_ms,
        skew_ms: 0,
    };
    Ok(who(daemon.log(), &enquiry)?)
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// Fills a disk to the last byte.
fn fill(disk: &Path) -> Result<()> {
    let mut command = Command::new("dd");
    command
        .args(["if=/dev/zero", "bs=4096", "status=none"])
        .arg(format!("of={}", disk.join("filler").display()));
    // It ends with an error, as it should.
    let said = run_to_end(&mut command, PATIENCE_SECS)
        .map_or_else(|error| format!("{error:#}"), |_| String::new());
    ensure!(
        said.contains("No space left"),
        "the disk was not filled: {said}"
    );
    Ok(())
}

fn block_owner(daemon: &Daemon, inside: Ipv4Addr) -> Result<Option<Ipv4Addr>> {
    let rows = daemon.blocks()?;
    Ok(rows
        .iter()
        .find(|row| row.inside == inside)
        .map(|row| row.external))
}

#[test]
fn a_neighbour_that_comes_late() {
    in_lab(
        "life::a_neighbour_that_comes_late",
        &Plan::default(),
        |lab| {
            let daemon = Daemon::start(lab, &Settings::default())?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
            let seen = lab::exchange(&socket, echo.address(), b"one", false, PATIENCE_SECS)?;
            // The internet's router is replaced by one with another Ethernet address.
            lab.internet
                .ip("link set uplink address 02:00:00:00:00:99\n")?;
            lab.cgn.ip("neigh flush dev outside\n")?;
            let again = lab::exchange(&socket, echo.address(), b"two", true, 10.0)?;
            ensure!(again == seen, "{seen} became {again}");
            wait_until("a next hop", PATIENCE_SECS, || {
                Ok((daemon.status()?.next_hops > 0).then_some(()))
            })
        },
    );
}
