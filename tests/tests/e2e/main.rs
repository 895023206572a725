//! End to end: real traffic between network namespaces, through the running daemon.
//!
//! | file | what |
//! |---|---|
//! | `flows` | kernel sockets: several subscribers, endpoint independence, the router's own traffic |
//! | `both_ways` | one script through XDP and through the slow path: the same bytes on the wires |
//! | `fragments` | fragments in any order, a flood of them, packets that are to become some |
//! | `programs` | ping, curl with a web server, iperf3 |
//! | `discovery` | coturn's STUN client, nmap |
//! | `wire` | tcpdump: nothing private, right checksums |
//! | `blocks` | watermark, limit, release, hold |
//! | `icmp` | traceroute, tracepath, ping: what senders are told |
//! | `refusals` | spoofed, unsolicited, expired |
//! | `access` | access lists: bypass, deny, lists of prefixes that a reload replaces |
//! | `groups` | groups with pools of their own, and members that move |
//! | `realms` | hosts with one address on several inside interfaces |
//! | `unsolicited` | SYNs from outside that nobody waits for, simultaneous open |
//! | `withheld` | `cgn pool`: an external address is quarantined, drained, restored |
//! | `floods` | an address under attack, noisy prefixes, a slow path that is overloaded |
//! | `ipv6` | noisy prefixes of IPv6, which goes by to the kernel |
//! | `routes` | no route, no neighbour, own networks |
//! | `life` | kill -9 amid a crowd, started twice, disk full |
//! | `reload` | `cgn reload`, SIGHUP |
//! | `restart` | what goes on without a daemon, and what the next one finds; `cgn detach` |
//! | `classes` | ports below 1024 stay below, who had which port |
//! | `scattered` | scattered blocks, their keys, who had which port |
//! | `top` | `cgn top` |
//! | `trace` | `cgn trace` |
//! | `check` | `cgn check` |
//! | `explain` | `cgn explain` says what then happens |
//! | `metrics` | every metric moves; the dashboard's queries in a Prometheus |
//! | `announce` | the pool announced by BIRD, and withdrawn |
//! | `documents` | exit codes, manual pages |
//! | `privileges` | capabilities of process and threads |
//! | `deterministic` | static ports and overflow of a deterministic pool, `cgn map` |
//! | `diagnostics` | `cgn run --diagnose` |

mod access;
mod announce;
mod blocks;
mod both_ways;
mod capture;
mod check;
mod classes;
mod deterministic;
mod diagnostics;
mod discovery;
mod documents;
mod explain;
mod floods;
mod flows;
mod fragments;
mod groups;
mod icmp;
mod identity;
mod ipv6;
mod life;
mod maplog;
mod metrics;
mod mirrors;
mod privileges;
mod programs;
mod realms;
mod refusals;
mod reload;
mod remote;
mod restart;
mod routes;
mod scattered;
mod sessions_logged;
mod top;
mod trace;
mod unsolicited;
mod wire;
mod withheld;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{Daemon, address, in_lab, owner_by};
use cgn_tests::skip::lacks_program;
use cgn_user::maplog::scatter::Keyring;
use cgn_user::maplog::{Block, Event, Record, ReleaseReason};

/// Where servers listen.
const SERVER: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[0], 7000);

/// Longest wait for one answer.
const PATIENCE_SECS: f64 = 5.0;

/// Checks that what a server saw is of the pool, and by the log the subscriber's.
fn attributed(daemon: &Daemon, inside: Ipv4Addr, seen: SocketAddrV4) -> Result<()> {
    ensure!(
        is_of_pool(*seen.ip()),
        "the server saw {seen}, which is not of the pool"
    );
    let keys = Keyring::read(daemon.log())?;
    let owner = owner_by(&daemon.log_records()?, &keys, seen)?;
    ensure!(
        owner == Some(inside),
        "by the mapping log, {seen} belongs to {owner:?}; it was {inside}"
    );
    Ok(())
}

/// Addresses of the default settings' pool.
fn is_of_pool(address: Ipv4Addr) -> bool {
    matches!(address.octets(), [203, 0, 113, 0..=7 | 77])
}

/// Walks through a mapping log: no port may ever mean two subscribers, nor come to another within
/// `hold_ms` of its release. Returns the blocks that are live at the end, with their owners.
fn audit(records: &[Record], hold_ms: u64) -> Result<HashMap<(Ipv4Addr, u16), Ipv4Addr>> {
    let mut live: HashMap<(Ipv4Addr, u16), Block> = HashMap::new();
    let mut released: HashMap<(Ipv4Addr, u16), (u64, Ipv4Addr)> = HashMap::new();
    for (number, record) in records.iter().enumerate() {
        ensure!(
            record.sequence == number as u64 + 1,
            "record {number} has sequence number {}",
            record.sequence
        );
        let unix_ms = record.entry.unix_ms;
        match &record.entry.event {
            Event::Allocate(block) => {
                let key = (block.external, block.ports.first());
                if let Some(owner) = live.insert(key, *block) {
                    anyhow::bail!("{record}: the block was still {}'s", owner.inside);
                }
                if let Some((since_ms, owner)) = released.get(&key) {
                    ensure!(
                        *owner == block.inside || unix_ms >= since_ms + hold_ms,
                        "{record}: the block was {owner}'s {} ms ago",
                        unix_ms - since_ms
                    );
                }
            }
            Event::Release { block, reason } => {
                let key = (block.external, block.ports.first());
                let owner = live.remove(&key);
                ensure!(
                    owner.is_some_and(|owner| owner.inside == block.inside),
                    "{record}: the block was {owner:?}'s"
                );
                if *reason != ReleaseReason::Shutdown {
                    released.insert(key, (unix_ms, block.inside));
                }
            }
            _ => {}
        }
    }
    Ok(live
        .into_iter()
        .map(|(key, block)| (key, block.inside))
        .collect())
}

/// The block in the daemon's list that has this external address and port.
fn block_of(daemon: &Daemon, seen: SocketAddrV4) -> Result<(Ipv4Addr, u16)> {
    daemon
        .blocks()?
        .iter()
        .find(|row| {
            row.external == *seen.ip() && (row.first_port..=row.last_port).contains(&seen.port())
        })
        .map(|row| (row.external, row.first_port))
        .with_context(|| format!("`cgn show blocks` has no block with {seen}"))
}
