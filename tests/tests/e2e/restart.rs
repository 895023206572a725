//! The daemon's end and return: what goes on without it, what it finds, what it refuses.

use std::net::SocketAddrV4;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use cgn_common::layout;
use cgn_tests::lab::{
    self, Daemon, Lab, Plan, Settings, Streamed, TcpServer, UdpEcho, UdpStream, address,
    cgn_program, run_to_end,
};
use cgn_user::api::rows::ReconciliationRow;
use cgn_user::dataplane::memory::Table;
use cgn_user::maplog::{Event, Record, ReleaseReason};

use crate::life::{BLOCK_HOLD_MS, links_with_xdp};
use crate::{PATIENCE_SECS, SERVER, attributed, audit, in_lab};

/// Where the numbered datagrams go.
const STREAM_SERVER: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[1], 7001);
const STREAM_PER_SEC: u64 = 10_000;

/// How a daemon ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    InOrder,
    Killed,
}

#[test]
fn twenty_restarts_lose_no_packet() {
    in_lab(
        "restart::twenty_restarts_lose_no_packet",
        &Plan::default(),
        |lab| {
            let settings = Settings::default();
            let mut daemon = Daemon::start(lab, &settings)?;
            let tcp = TcpServer::start(&lab.internet, SERVER, 60.0)?;
            let stream = UdpStream::start(
                (&lab.subscribers[0], address::subscriber(1, 9)),
                (&lab.internet, STREAM_SERVER),
                STREAM_PER_SEC,
            )?;
            let stop = AtomicBool::new(false);
            let mut restarts = Vec::new();
            let transfers = std::thread::scope(|scope| -> Result<u64> {
                let transfer = scope.spawn(|| transfer_until(lab, &tcp, &stop));
                let outcome = (0..20).try_for_each(|round| -> Result<()> {
                    let end = if round % 2 == 0 {
                        End::InOrder
                    } else {
                        End::Killed
                    };
                    let from = stream.secs();
                    daemon = restart(lab, &settings, &mut daemon, end)?;
                    restarts.push((end, from, stream.secs()));
                    // Sweeps and route changes of the new daemon are part of it.
                    std::thread::sleep(std::time::Duration::from_millis(300));
                    Ok(())
                });
                stop.store(true, Ordering::Relaxed);
                let transfers = transfer.join().map_err(|_| anyhow::anyhow!("panic"))?;
                outcome.and(transfers)
            })?;
            let streamed = stream.finish()?;
            println!(
                "{} datagrams in {:.1} s, {} transfers of 2 x 100 kB over one connection, 20 restarts",
                streamed.sent, streamed.secs, transfers
            );
            nothing_lost(&streamed, &restarts)?;
            ensure!(transfers > 20, "only {transfers} transfers");
            let seen = *streamed.seen.first().context("the server saw nobody")?;
            attributed(&daemon, address::subscriber(1, 9), seen)?;
            let records = daemon.log_records()?;
            let live = audit(&records, BLOCK_HOLD_MS)?;
            ensure!(
                live.len() == 2,
                "two subscribers have a block each: {live:?}"
            );
            let releases = records
                .iter()
                .filter(|record| matches!(record.entry.event, Event::Release { .. }));
            ensure!(releases.count() == 0, "nobody gave a block back");
            let found = daemon.status()?.reconciliation;
            let expected = ReconciliationRow {
                identical: 2,
                ..ReconciliationRow::default()
            };
            ensure!(found == expected, "at the last start: {found:?}");
            Ok(())
        },
    );
}

/// Ends the daemon and starts another.
fn restart(lab: &Lab, settings: &Settings, daemon: &mut Daemon, end: End) -> Result<Daemon> {
    match end {
        End::Killed => daemon.process().kill(),
        End::InOrder => {
            let status = daemon.process().stop()?;
            ensure!(status.success(), "the daemon ended with {status}");
        }
    }
    Daemon::start(lab, settings)
}

/// Sends and receives over one connection until it is told to stop; how often.
fn transfer_until(lab: &Lab, server: &TcpServer, stop: &AtomicBool) -> Result<u64> {
    let host = &lab.subscribers[0];
    let mut connection = lab::connect(host, None, server.address(), PATIENCE_SECS)?;
    let first = lab::converse(&mut connection, (100_000, 100_000), PATIENCE_SECS)?;
    let mut count = 1;
    while !stop.load(Ordering::Relaxed) {
        let next = lab::converse(&mut connection, (100_000, 100_000), PATIENCE_SECS)
            .with_context(|| format!("transfer {count} over the open connection"))?;
        ensure!(next.seen == first.seen, "the open connection was moved");
        count += 1;
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(count)
}

fn nothing_lost(streamed: &Streamed, restarts: &[(End, f64, f64)]) -> Result<()> {
    let lost = &streamed.lost;
    if !lost.is_empty() {
        let rate = streamed.sent as f64 / streamed.secs;
        let times: Vec<String> = lost
            .iter()
            .map(|number| format!("{number} at {:.2} s", *number as f64 / rate))
            .collect();
        bail!(
            "{} of {} datagrams lost (the server returned {}): {}\nrestarts: {restarts:.2?}",
            lost.len(),
            streamed.sent,
            streamed.served,
            times[..times.len().min(20)].join(", ")
        );
    }
    ensure!(
        streamed.seen.len() == 1,
        "the flow was moved: {:?}",
        streamed.seen
    );
    ensure!(streamed.repeated == 0, "{} came twice", streamed.repeated);
    ensure!(
        streamed.sent as f64 > 0.5 * STREAM_PER_SEC as f64 * streamed.secs,
        "only {} datagrams in {} s",
        streamed.sent,
        streamed.secs
    );
    Ok(())
}

#[test]
fn detach_ends_what_a_stop_leaves() {
    in_lab(
        "restart::detach_ends_what_a_stop_leaves",
        &Plan::default(),
        |lab| {
            let daemon = Daemon::start(lab, &Settings::default())?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
            let seen = lab::exchange(&socket, echo.address(), b"hello", false, PATIENCE_SECS)?;
            let refused = detach(lab).expect_err("a running daemon was detached");
            ensure!(
                refused.to_string().contains("stop it first"),
                "while it runs: {refused:#}"
            );
            let (log, control) = (daemon.log().to_owned(), daemon.socket().to_owned());
            let status = daemon.stop()?;
            ensure!(status.success(), "the daemon ended with {status}");
            ensure!(!control.exists(), "{} is left", control.display());
            ensure!(links_with_xdp(lab)? == 2, "XDP left with the daemon");
            let again = lab::exchange(&socket, echo.address(), b"alone", false, PATIENCE_SECS)?;
            ensure!(again == seen, "{seen} became {again}");
            let records: Vec<Record> = cgn_user::maplog::read(&log)?.collect::<Result<_, _>>()?;
            ensure!(
                audit(&records, BLOCK_HOLD_MS)?.len() == 1
                    && matches!(records.last().map(|r| r.entry.event), Some(Event::Stop)),
                "the block is still the subscriber's: {records:?}"
            );
            let said = detach(lab)?;
            ensure!(
                said == "XDP is off inside, outside; 1 block of 1 subscriber released on record\n",
                "it said {said:?}"
            );
            ensure!(links_with_xdp(lab)? == 0, "XDP is still on an interface");
            ensure!(!lab.pins().exists(), "pins left");
            let records: Vec<Record> = cgn_user::maplog::read(&log)?.collect::<Result<_, _>>()?;
            let live = audit(&records, BLOCK_HOLD_MS)?;
            ensure!(live.is_empty(), "blocks without release record: {live:?}");
            let said = detach(lab)?;
            ensure!(
                said == "XDP was on no interface; 0 blocks of 0 subscribers released on record\n",
                "a second time it said {said:?}"
            );
            Ok(())
        },
    );
}

pub(crate) fn detach(lab: &Lab) -> Result<String> {
    let mut command = Command::new(cgn_program()?);
    command
        .args(["detach", "--config"])
        .arg(lab.folder().join("cgn.toml"));
    run_to_end(&mut command, 20.0)
}

/// The same of tables that an older program made; where those have their counts it cannot know.
#[test]
fn tables_of_an_older_version_are_given_up_only_when_told() {
    in_lab(
        "restart::tables_of_an_older_version_are_given_up_only_when_told",
        &Plan::default(),
        |lab| {
            let settings = Settings::default();
            let daemon = Daemon::start(lab, &settings)?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
            let exchange = || lab::exchange(&socket, echo.address(), b"one", false, PATIENCE_SECS);
            let seen = exchange()?;
            daemon.stop()?;
            let version = |by: i64| {
                let map = aya::maps::MapData::from_pin(lab.pins().join(layout::SETTINGS.name))?;
                let table: Table<layout::Settings> = Table::mapped(map.fd().as_fd(), 1)?;
                let settings = table.get(0).context("no settings")?;
                let word = settings.layout.load();
                settings.layout.store(word.wrapping_add_signed(by));
                anyhow::Ok(())
            };
            version(-1)?;
            let refusal = Daemon::start(lab, &settings).err().context("it started")?;
            let refusal = format!("{refusal:#}");
            let (theirs, ours) = (layout::LAYOUT_VERSION - 1, layout::LAYOUT_VERSION);
            for words in [
                format!("layout version {theirs}, this program has {ours}"),
                "1 blocks of 1 subscribers and all their mappings (at most 64 of each protocol)"
                    .to_owned(),
                "Nothing was changed".to_owned(),
                "--discard-tables".to_owned(),
            ] {
                ensure!(refusal.contains(&words), "no {words:?} in {refusal}");
            }
            let again = exchange().context("the refused start did harm")?;
            ensure!(again == seen, "{seen} became {again}");
            // Back to the program that made them: as if nothing had been.
            version(1)?;
            let daemon = Daemon::start(lab, &settings)?;
            let found = daemon.status()?.reconciliation;
            ensure!((found.identical, found.orphaned) == (1, 0), "{found:?}");
            ensure!(exchange()? == seen, "the older program lost the flow");
            daemon.stop()?;
            version(-1)?;
            let arguments = ["--discard-tables"];
            let daemon = Daemon::start_with(lab, &settings.toml(lab), &cgn_program()?, &arguments)?;
            let found = daemon.status()?.reconciliation;
            ensure!((found.identical, found.orphaned) == (0, 1), "{found:?}");
            Ok(())
        },
    );
}

#[test]
fn tables_of_another_layout_are_given_up_only_when_told() {
    in_lab(
        "restart::tables_of_another_layout_are_given_up_only_when_told",
        &Plan::default(),
        |lab| {
            let daemon = Daemon::start(lab, &Settings::default())?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let inside = address::subscriber(1, 2);
            let socket = lab::echo_from(&lab.subscribers[0], inside)?;
            let seen = lab::exchange(&socket, echo.address(), b"one", false, PATIENCE_SECS)?;
            daemon.stop()?;
            let other = Settings {
                block_ports: 128,
                ..Settings::default()
            };
            let refusal = Daemon::start(lab, &other).err().context("it started")?;
            let refusal = format!("{refusal:#}");
            for words in [
                "1 blocks of 1 subscribers and all their mappings (1 ports in use)",
                "--discard-tables",
                "other pools",
            ] {
                ensure!(refusal.contains(words), "{words:?} is missing in {refusal}");
            }
            let again = lab::exchange(&socket, echo.address(), b"on", false, PATIENCE_SECS)
                .context("the refused start did harm")?;
            ensure!(again == seen, "{seen} became {again}");
            let arguments = ["--test-clock", "--discard-tables"];
            let daemon = Daemon::start_with(lab, &other.toml(lab), &cgn_program()?, &arguments)?;
            let found = daemon.status()?.reconciliation;
            ensure!(
                (found.identical, found.orphaned) == (0, 1),
                "at the start: {found:?}"
            );
            let fresh = lab::exchange(&socket, echo.address(), b"new", true, 10.0)?;
            attributed(&daemon, inside, fresh)?;
            let records = daemon.log_records()?;
            let orphans = records.iter().filter(|record| {
                matches!(
                    record.entry.event,
                    Event::Release {
                        reason: ReleaseReason::Orphan,
                        ..
                    }
                )
            });
            ensure!(orphans.count() == 1, "the lost block was not released");
            Ok(())
        },
    );
}
