//! Blocks of ports over time: fetched ahead, released when idle, held before another gets them.

use std::collections::HashSet;
use std::net::{SocketAddrV4, UdpSocket};

use anyhow::{Context as _, Result, bail, ensure};
use cgn_tests::lab::{self, Daemon, Lab, Plan, Settings, UdpEcho, address, wait_until};
use cgn_user::maplog::{Event, ReleaseReason};

use crate::{PATIENCE_SECS, SERVER, attributed, audit, block_of, in_lab};

/// Defaults of `[timeouts]` and `[hold]` in the configuration.
const UDP_SECS: u32 = 300;
const PORT_HOLD_SECS: u32 = 120;
const BLOCK_HOLD_SECS: u32 = 120;
const BLOCK_IDLE_SECS: u32 = 60;

#[test]
fn the_second_block_is_there_before_the_first_is_full() {
    let name = "blocks::the_second_block_is_there_before_the_first_is_full";
    in_lab(name, &Plan::default(), |lab| {
        let settings = Settings::default();
        let daemon = Daemon::start(lab, &settings)?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let inside = address::subscriber(1, 2);
        let watermark = u16::from(settings.watermark_percent) * settings.block_ports / 100;
        let mut open: Vec<(UdpSocket, SocketAddrV4)> = Vec::new();
        // Nothing is sent twice: not one packet may be lost.
        let mut open_more = |count: u16| -> Result<usize> {
            for _ in 0..count {
                let socket = lab::echo_from(&lab.subscribers[0], inside)?;
                let seen = lab::exchange(&socket, echo.address(), b"x", false, PATIENCE_SECS)
                    .with_context(|| format!("flow {}", open.len() + 1))?;
                open.push((socket, seen));
            }
            Ok(open.len())
        };
        open_more(watermark - 2)?;
        ensure!(daemon.blocks()?.len() == 1, "{:?}", daemon.blocks()?);
        open_more(3)?;
        wait_until("a second block after the watermark", PATIENCE_SECS, || {
            Ok((daemon.blocks()?.len() == 2).then_some(()))
        })?;
        open_more(40)?;
        let full = daemon.count_of("block_full")?;
        ensure!(full == 0, "{full} packets had to wait for a block");
        // Faster than the log can follow, perhaps: packets may wait, but none may be lost.
        open_more(100)?;
        let blocks = daemon.blocks()?;
        let addresses: HashSet<_> = blocks.iter().map(|row| row.external).collect();
        ensure!(addresses.len() == 1, "blocks of one subscriber: {blocks:?}");
        let used: HashSet<SocketAddrV4> = open.iter().map(|(_, seen)| *seen).collect();
        ensure!(used.len() == open.len(), "two flows had one external port");
        for (socket, seen) in &open {
            let again = lab::exchange(socket, echo.address(), b"y", false, PATIENCE_SECS)?;
            ensure!(again == *seen, "{seen} became {again}");
            attributed(&daemon, inside, *seen)?;
        }
        Ok(())
    });
}

#[test]
fn an_idle_block_is_released_and_then_held() {
    let name = "blocks::an_idle_block_is_released_and_then_held";
    in_lab(name, &Plan::default(), |lab| {
        // One address with 63 blocks: as many subscribers can have one.
        let settings = Settings {
            addresses: "\"203.0.113.5\"".to_owned(),
            block_ports: 1024,
            block_idle_secs: BLOCK_IDLE_SECS,
            ..Settings::default()
        };
        let daemon = Daemon::start(lab, &settings)?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        for index in 0..63 {
            let seen = crowd_member(lab, &echo, index, PATIENCE_SECS)?;
            block_of(&daemon, seen)?;
        }
        let late = 63;
        ensure!(
            crowd_member(lab, &echo, late, 0.5).is_err(),
            "a 64th subscriber got one of 63 blocks"
        );
        daemon.advance_clock(UDP_SECS - 10)?;
        ensure!(daemon.mappings()?.len() == 63, "mappings ended early");
        daemon.advance_clock(11)?;
        wait_until("idle mappings end", PATIENCE_SECS, || {
            Ok(daemon.mappings()?.is_empty().then_some(()))
        })?;
        daemon.advance_clock(PORT_HOLD_SECS + 1)?;
        wait_until("no port is in hold", PATIENCE_SECS, || {
            let rows = daemon.blocks()?;
            Ok(rows.iter().all(|row| row.ports_used.udp == 0).then_some(()))
        })?;
        released(&daemon, 0)?;
        daemon.advance_clock(BLOCK_IDLE_SECS + 1)?;
        wait_until("63 release records", PATIENCE_SECS, || {
            Ok(released(&daemon, 63).ok())
        })?;
        held_then_free(lab, &daemon, &echo, late)?;
        audit(&daemon.log_records()?, u64::from(BLOCK_HOLD_SECS) * 1000).map(drop)
    });
}

/// A new subscriber gets none of the blocks that were just released, but one after the hold.
fn held_then_free(lab: &Lab, daemon: &Daemon, echo: &UdpEcho, index: u16) -> Result<()> {
    wait_until("63 blocks in hold", PATIENCE_SECS, || {
        let rows = daemon.pools()?;
        Ok(rows.iter().any(|row| row.blocks_held == 63).then_some(()))
    })?;
    let before = daemon.count_of("no_block")?;
    if let Ok(seen) = crowd_member(lab, echo, index, 0.5) {
        bail!("a held block was given to another subscriber, who was seen as {seen}");
    }
    daemon.wait_for_count("no_block", before, 1)?;
    daemon.advance_clock(BLOCK_HOLD_SECS + 1)?;
    // The refusal is reconsidered from time to time.
    let seen = wait_until("a block after the hold", PATIENCE_SECS, || {
        Ok(crowd_member(lab, echo, index, 0.5).ok())
    })?;
    attributed_to_crowd(daemon, index, seen)
}

fn attributed_to_crowd(daemon: &Daemon, index: u16, seen: SocketAddrV4) -> Result<()> {
    attributed(daemon, address::crowd(index), seen)
}

/// One exchange of a member of the crowd: what the server saw.
fn crowd_member(lab: &Lab, echo: &UdpEcho, index: u16, secs: f64) -> Result<SocketAddrV4> {
    let socket = lab::echo_from(&lab.subscribers[0], address::crowd(index))?;
    lab::exchange(&socket, echo.address(), b"crowd", false, secs)
        .with_context(|| format!("member {index} of the crowd"))
}

/// Checks the number of records of blocks that were released for idleness.
fn released(daemon: &Daemon, wanted: usize) -> Result<()> {
    let records = daemon.log_records()?;
    let count = records
        .iter()
        .filter(|record| {
            matches!(
                record.entry.event,
                Event::Release {
                    reason: ReleaseReason::Idle,
                    ..
                }
            )
        })
        .count();
    ensure!(
        count == wanted,
        "{count} blocks released instead of {wanted}"
    );
    Ok(())
}

#[test]
fn a_busy_mapping_outlives_its_timer() {
    in_lab(
        "blocks::a_busy_mapping_outlives_its_timer",
        &Plan::default(),
        |lab| {
            let daemon = Daemon::start(lab, &Settings::default())?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let inside = address::subscriber(1, 2);
            let socket = lab::echo_from(&lab.subscribers[0], inside)?;
            let seen = lab::exchange(&socket, echo.address(), b"first", false, PATIENCE_SECS)?;
            for _ in 0..4 {
                daemon.advance_clock(UDP_SECS - 30)?;
                let again = lab::exchange(&socket, echo.address(), b"next", false, PATIENCE_SECS)?;
                ensure!(again == seen, "{seen} became {again} though it was in use");
            }
            Ok(())
        },
    );
}
