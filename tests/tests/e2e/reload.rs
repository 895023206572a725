//! `cgn reload` and SIGHUP: what is told, what is applied, and that nothing is lost.

use std::net::SocketAddrV4;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;
use cgn_tests::lab::{
    self, Daemon, Lab, Plan, Settings, UdpEcho, UdpStream, address, cgn_program, wait_until,
};
use cgn_user::dataplane::attach::Pins;

use crate::{PATIENCE_SECS, SERVER, in_lab, lacks_program};

const STREAM_SERVER: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[1], 7001);
/// Exit code of a refused reload.
const REFUSED: i32 = 3;

#[test]
fn a_reload_in_place_loses_no_packet() {
    in_lab(
        "reload::a_reload_in_place_loses_no_packet",
        &Plan::default(),
        |lab| {
            let mut daemon = Daemon::start(lab, &Settings::default())?;
            let process = daemon.process().id();
            let stream = UdpStream::start(
                (&lab.subscribers[0], address::subscriber(1, 9)),
                (&lab.internet, STREAM_SERVER),
                10_000,
            )?;
            write(lab, &blocks_per_subscriber(2).toml(lab))?;
            is_counted(&daemon)?;
            let planned = reload(lab, &["--dry-run"])?;
            tells(
                &planned,
                0,
                &[
                    "pool[lab].blocks_per_subscriber  4     2   in place            1",
                    "a dry run",
                ],
            )?;
            ensure!(
                daemon.pools()?[0].blocks_per_subscriber == 4,
                "a dry run changed something"
            );
            let done = reload(lab, &[])?;
            tells(
                &done,
                0,
                &[
                    "1 change; a new daemon takes over",
                    "ready with the new configuration",
                ],
            )?;
            ensure!(
                daemon.pools()?[0].blocks_per_subscriber == 2,
                "the new configuration does not hold"
            );
            write(lab, &blocks_per_subscriber(3).toml(lab))?;
            daemon.process().signal(libc::SIGHUP);
            wait_until("a reload by SIGHUP", 60.0, || {
                let pools = daemon.pools().unwrap_or_default();
                Ok(pools
                    .first()
                    .is_some_and(|pool| pool.blocks_per_subscriber == 3)
                    .then_some(()))
            })?;
            ensure!(
                daemon.process().id() == process && daemon.process().ended()?.is_none(),
                "it is another process"
            );
            let streamed = stream.finish()?;
            ensure!(
                streamed.lost.is_empty() && streamed.seen.len() == 1,
                "{} of {} datagrams lost, seen {:?}",
                streamed.lost.len(),
                streamed.sent,
                streamed.seen
            );
            let nothing = reload(lab, &[])?;
            tells(&nothing, 0, &["no change"])
        },
    );
}

/// RFC 6888 REQ-3: addresses come to a pool, and nobody who had one before loses a packet.
#[test]
fn a_pool_grows_without_a_lost_packet() {
    in_lab(
        "reload::a_pool_grows_without_a_lost_packet",
        &Plan::default(),
        |lab| {
            // Two addresses, with room for the blocks of four.
            let settings = |addresses: &str| Settings {
                addresses: addresses.to_owned(),
                block_ports: 1024,
                max_blocks: Some(4 * 63),
                ..Settings::default()
            };
            let small = settings(r#""203.0.113.4/31""#);
            let _daemon = Daemon::start_with(lab, &small.toml(lab), &cgn_program()?, &[])?;
            let stream = UdpStream::start(
                (&lab.subscribers[0], address::subscriber(1, 9)),
                (&lab.internet, STREAM_SERVER),
                10_000,
            )?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let kept = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 8))?;
            let seen = lab::exchange(&kept, echo.address(), b"one", false, PATIENCE_SECS)?;
            // In between the old ones and above them, so that every row of the tables moves.
            let grown = settings(r#""203.0.113.1", "203.0.113.4/31", "203.0.113.77""#);
            write(lab, &grown.toml(lab))?;
            tells(
                &reload(lab, &[])?,
                0,
                &["pool[lab].addresses", "in place", "ready with the new"],
            )?;
            let again = lab::exchange(&kept, echo.address(), b"two", false, PATIENCE_SECS)?;
            ensure!(again == seen, "{seen} became {again}");
            let streamed = stream.finish()?;
            ensure!(
                streamed.lost.is_empty() && streamed.seen.len() == 1,
                "{} of {} datagrams lost, seen {:?}",
                streamed.lost.len(),
                streamed.sent,
                streamed.seen
            );
            // New subscribers are given the new addresses, too.
            let mut externals = std::collections::BTreeSet::new();
            for host in 10..40 {
                let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, host))?;
                let seen = lab::exchange(&socket, echo.address(), b"new", true, 10.0)?;
                externals.insert(*seen.ip());
            }
            ensure!(externals.len() == 4, "only {externals:?} are used");
            // Another start finds all in its place.
            tells(&reload(lab, &[])?, 0, &["no change"])?;
            write(lab, &small.toml(lab))?;
            tells(&reload(lab, &[])?, REFUSED, &["disruptive"])
        },
    );
}

/// A daemon that dies while a pool grows leaves new tables beside the old ones, and a word of which hold (ADR 30).
#[test]
fn a_growth_that_was_cut_off_is_ended() {
    in_lab(
        "reload::a_growth_that_was_cut_off_is_ended",
        &Plan::default(),
        |lab| {
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
            let exchange = || lab::exchange(&socket, echo.address(), b"x", true, PATIENCE_SECS);
            let daemon = Daemon::start(lab, &Settings::default())?;
            let seen = exchange()?;
            daemon.stop()?;
            let pin = |name: &str| lab.pins().join(name);
            let word = Pins::left_in(lab.pins())
                .layout_word()
                .context("no tables")?;
            // Before they held: what lies beside is nothing yet, here the wrong table.
            MapData::from_pin(pin("EXTERNALS"))?.pin(pin("new-BLOCKS"))?;
            std::fs::create_dir(pin(&format!("grows-{:016x}", word ^ 1 << 40)))?;
            is_taken_over(lab)?;
            ensure!(exchange()? == seen, "cut off before");
            // While they took their places: two did, one is still beside.
            std::fs::rename(pin("BLOCKS"), pin("new-BLOCKS"))?;
            std::fs::create_dir(pin(&format!("grows-{word:016x}")))?;
            is_taken_over(lab)?;
            ensure!(exchange()? == seen, "cut off after");
            Ok(())
        },
    );
}

/// A daemon finds its one block, and leaves no trace of a growth.
fn is_taken_over(lab: &Lab) -> Result<()> {
    let daemon = Daemon::start(lab, &Settings::default())?;
    let found = daemon.status()?.reconciliation;
    ensure!((found.identical, found.orphaned) == (1, 0), "{found:?}");
    for entry in std::fs::read_dir(lab.pins())? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        let is_trace = name.starts_with("new-") || name.starts_with("grows-");
        ensure!(!is_trace, "{name} is left");
    }
    daemon.stop()?;
    Ok(())
}

/// RFC 4787 REQ-5b: what was an idle mapping of 300 s ends after 120 s once that is said.
#[test]
fn a_timer_changes_while_it_runs() {
    in_lab(
        "reload::a_timer_changes_while_it_runs",
        &Plan::default(),
        |lab| {
            let daemon = Daemon::start(lab, &Settings::default())?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
            let seen = lab::exchange(&socket, echo.address(), b"one", false, PATIENCE_SECS)?;
            daemon.advance_clock(200)?;
            std::thread::sleep(std::time::Duration::from_secs(2));
            let again = lab::exchange(&socket, echo.address(), b"two", false, PATIENCE_SECS)?;
            ensure!(
                daemon.mappings()?.len() == 1 && again == seen,
                "it ended too soon"
            );
            let toml = Settings::default().toml(lab) + "\n[timeouts]\nudp_secs = 120\n";
            write(lab, &toml)?;
            let done = reload(lab, &[])?;
            tells(&done, 0, &["timeouts.udp_secs", "in place", "ready"])?;
            ensure!(daemon.mappings()?.len() == 1, "the reload ended it");
            daemon.advance_clock(130)?;
            wait_until("the mapping ends by the new timer", 20.0, || {
                Ok(daemon.mappings()?.is_empty().then_some(()))
            })
        },
    );
}

#[test]
fn a_reload_does_no_harm_unless_it_is_told() {
    in_lab(
        "reload::a_reload_does_no_harm_unless_it_is_told",
        &Plan::default(),
        |lab| {
            let mut daemon = Daemon::start(lab, &Settings::default())?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
            let seen = lab::exchange(&socket, echo.address(), b"one", false, PATIENCE_SECS)?;
            is_counted(&daemon)?;
            let started = daemon.status()?.started;
            write(lab, "nonsense")?;
            tells(&reload(lab, &[])?, 1, &["cgn.toml:1", "not TOML"])?;
            let larger = Settings {
                block_ports: 128,
                ..Settings::default()
            };
            write(lab, &larger.toml(lab))?;
            let refused = reload(lab, &[])?;
            tells(
                &refused,
                REFUSED,
                &[
                    "pool[lab].block_ports  64    128  disruptive            1",
                    "--allow-disruption",
                ],
            )?;
            daemon.process().signal(libc::SIGHUP);
            let elsewhere = Settings::default().toml(lab).replace(
                &lab.pins().display().to_string(),
                &lab.pins().with_extension("other").display().to_string(),
            );
            let again = lab::exchange(&socket, echo.address(), b"two", false, PATIENCE_SECS)?;
            ensure!(
                again == seen && daemon.status()?.started == started,
                "a refused reload did something"
            );
            tells(
                &reload(lab, &["--allow-disruption"])?,
                0,
                &["ready with the new configuration"],
            )?;
            ensure!(
                daemon.pools()?[0].block_ports == 128,
                "the blocks are not larger"
            );
            lab::exchange(&socket, echo.address(), b"three", true, 10.0)
                .context("a new mapping in the new tables")?;
            write(
                lab,
                &elsewhere.replace("block_ports = 64", "block_ports = 128"),
            )?;
            tells(
                &reload(lab, &["--allow-disruption"])?,
                REFUSED,
                &["control.pin_directory", "needs detach"],
            )
        },
    );
}

/// The lab's configuration, with so many UDP mappings for one subscriber.
fn udp_mappings(lab: &Lab, most: u32) -> String {
    let (settings, inside) = (Settings::default().toml(lab), address::subscriber(1, 2));
    format!(
        "{settings}\n[[group]]\nname = \"basic\"\nprefixes = [\"{inside}/32\"]\nudp_mappings = {most}\n"
    )
}

#[test]
fn a_limit_of_a_group_is_changed_without_losing_a_flow() {
    in_lab(
        "reload::a_limit_of_a_group_is_changed_without_losing_a_flow",
        &Plan::default(),
        |lab| {
            let daemon = Daemon::start_with(lab, &udp_mappings(lab, 2), &cgn_program()?, &[])?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let inside = address::subscriber(1, 2);
            let sockets = (0..3).map(|_| lab::echo_from(&lab.subscribers[0], inside));
            let sockets = sockets.collect::<Result<Vec<_>>>()?;
            let exchange =
                |at: usize| lab::exchange(&sockets[at], echo.address(), b"a", false, PATIENCE_SECS);
            let seen = [exchange(0)?, exchange(1)?];
            let before = daemon.count_of("mapping_limit")?;
            sockets[2].send_to(b"beyond", echo.address())?;
            daemon.wait_for_count("mapping_limit", before, 1)?;
            let row = daemon.subscribers()?.remove(0);
            ensure!(
                row.group.as_deref() == Some("basic") && row.refusals[0].reason == "mapping_limit",
                "{row:?}"
            );
            // Another subscriber is in no group.
            for _ in 0..3 {
                let other = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 3))?;
                lab::exchange(&other, echo.address(), b"b", false, PATIENCE_SECS)?;
            }
            write(lab, &udp_mappings(lab, 3))?;
            let told = reload(lab, &[])?;
            tells(
                &told,
                0,
                &[
                    "group[basic].udp_mappings  2     3   in place",
                    "ready with the new",
                ],
            )?;
            ensure!([exchange(0)?, exchange(1)?] == seen, "a flow was lost");
            exchange(2)?;
            write(lab, &udp_mappings(lab, 1))?;
            tells(&reload(lab, &[])?, 0, &["in place", "ready with the new"])?;
            ensure!(
                [exchange(0)?, exchange(1)?] == seen,
                "a lower limit ended a flow"
            );
            Ok(())
        },
    );
}

/// Waits until the one subscriber is in the daemon's figures.
fn is_counted(daemon: &Daemon) -> Result<()> {
    wait_until("a subscriber in the figures", PATIENCE_SECS, || {
        Ok((daemon.pools()?[0].subscribers == 1).then_some(()))
    })
}

fn blocks_per_subscriber(blocks_per_subscriber: u8) -> Settings {
    Settings {
        blocks_per_subscriber,
        ..Settings::default()
    }
}

pub fn write(lab: &Lab, toml: &str) -> Result<()> {
    std::fs::write(lab.folder().join("cgn.toml"), toml).context("cgn.toml")
}

pub fn reload(lab: &Lab, arguments: &[&str]) -> Result<Output> {
    // The file may be broken, so the socket is named.
    let mut command = Command::new(cgn_program()?);
    command
        .arg("reload")
        .args(arguments)
        .arg("--socket")
        .arg(lab.folder().join("cgn.sock"));
    command.output().context("cgn reload")
}

pub fn tells(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(
        output.status.code() == Some(code),
        "exit {:?} instead of {code}; it said {said}",
        output.status.code()
    );
    for words in words {
        ensure!(said.contains(words), "{words:?} is missing in {said}");
    }
    Ok(())
}

#[test]
fn the_units_capabilities_are_enough() {
    const TEST: &str = "reload::the_units_capabilities_are_enough";
    if lacks_program(TEST, "setpriv") {
        return;
    }
    in_lab(TEST, &Plan::default(), |lab| {
        let unit = include_str!("../../../deploy/cgn.service");
        let line = unit
            .lines()
            .find_map(|line| line.strip_prefix("CapabilityBoundingSet="))
            .context("no capabilities in the unit")?;
        let set: String = line
            .split(' ')
            .map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_lowercase()))
            .collect();
        // As the service manager starts it; the process stays the same.
        let wrapper = lab.folder().join("as-in-the-unit");
        let script = format!(
            "#!/bin/sh\nexec setpriv --no-new-privs --bounding-set=-all{set} {} \"$@\"\n",
            cgn_program()?.display()
        );
        std::fs::write(&wrapper, script)?;
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755))?;
        let toml = Settings::default().toml(lab);
        let daemon = Daemon::start_with(lab, &toml, &wrapper, &["--test-clock"])?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
        let seen = lab::exchange(&socket, echo.address(), b"one", false, PATIENCE_SECS)?;
        write(lab, &blocks_per_subscriber(2).toml(lab))?;
        tells(&reload(lab, &[])?, 0, &["ready with the new configuration"])?;
        let again = lab::exchange(&socket, echo.address(), b"two", false, PATIENCE_SECS)?;
        ensure!(again == seen, "{seen} became {again}");
        // A new block, so also the log and the sockets work.
        let fresh = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 3))?;
        lab::exchange(&fresh, echo.address(), b"new", true, 10.0)?;
        drop(daemon);
        Ok(())
    });
}
