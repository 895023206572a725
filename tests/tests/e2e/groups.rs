//! Groups with pools of their own: other addresses, blocks and filters, and members that move.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{
    self, Daemon, Lab, Plan, Settings, UdpEcho, UdpStream, address, cgn_program, wait_until,
};
use cgn_user::api::rows::SubscriberRow;

use crate::reload::{reload, tells, write};
use crate::withheld::pool;
use crate::{PATIENCE_SECS, SERVER, in_lab};

/// The whole pool of the group.
const BUSINESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);
const PLAIN: Ipv4Addr = address::subscriber(1, 2);
const MEMBER: Ipv4Addr = address::subscriber(1, 3);
const STREAMING: Ipv4Addr = address::subscriber(1, 9);
const OTHER_SERVER: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[1], 7001);
const STREAM_SERVER: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[2], 7002);
/// Longer than an idle UDP mapping lives, with the hold of its port and of its block.
const ALL_IS_OVER_SECS: u32 = 1000;

/// The lab's pool takes packets from anyone, with blocks of 64 ports; that of the group filters, and has
/// blocks of 128.
fn with_members(lab: &Lab, members: &[Ipv4Addr]) -> String {
    let settings = Settings {
        addresses: "\"203.0.113.1\"".to_owned(),
        ..Settings::default()
    };
    let members: Vec<String> = members.iter().map(|one| format!("\"{one}/32\"")).collect();
    format!(
        "{}\n[[pool]]\nname = \"business\"\naddresses = [\"{BUSINESS}\"]\nblock_ports = 128\n\
         filtering = \"address-dependent\"\n\
         [[group]]\nname = \"firm\"\nprefixes = [{}]\npool = \"business\"\nblocks = 1\n",
        settings.toml(lab),
        members.join(", ")
    )
}

fn row_of(daemon: &Daemon, inside: Ipv4Addr) -> Result<Option<SubscriberRow>> {
    let mut rows = daemon.subscribers()?.into_iter();
    Ok(rows.find(|row| row.inside == inside))
}

#[test]
fn a_group_has_addresses_blocks_and_filters_of_its_own() {
    in_lab(
        "groups::a_group_has_addresses_blocks_and_filters_of_its_own",
        &Plan::default(),
        |lab| {
            let toml = with_members(lab, &[MEMBER]);
            let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &[])?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let stranger = UdpEcho::start(&lab.internet, OTHER_SERVER)?;
            for (inside, is_member) in [(PLAIN, false), (MEMBER, true)] {
                let socket = lab::echo_from(&lab.subscribers[0], inside)?;
                let seen = lab::exchange(&socket, echo.address(), b"one", true, PATIENCE_SECS)?;
                ensure!((*seen.ip() == BUSINESS) == is_member, "{inside} is {seen}");
                let row = row_of(&daemon, inside)?.context("no such subscriber")?;
                let expected = if is_member {
                    ("business", 128)
                } else {
                    ("lab", 64)
                };
                ensure!((row.pool.as_str(), row.ports_usable) == expected, "{row:?}");
                ensure!(
                    row.refused == is_member,
                    "of one block it is the last: {row:?}"
                );
                let before = daemon.count_of("filtered")?;
                stranger.send(seen, b"stranger")?;
                if is_member {
                    daemon.wait_for_count("filtered", before, 1)?;
                } else {
                    wait_until("a stranger's packet", PATIENCE_SECS, || {
                        let mut buffer = [0; 64];
                        let came = socket.recv_from(&mut buffer);
                        let is_it = came.is_ok_and(|(length, _)| &buffer[..length] == b"stranger");
                        Ok(is_it.then_some(()))
                    })?;
                }
            }
            Ok(())
        },
    );
}

#[test]
fn who_joins_a_group_moves_to_its_pool_without_losing_a_flow() {
    in_lab(
        "groups::who_joins_a_group_moves_to_its_pool_without_losing_a_flow",
        &Plan::default(),
        |lab| {
            let toml = with_members(lab, &[MEMBER]);
            let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
            let stream = UdpStream::start(
                (&lab.subscribers[0], STREAMING),
                (&lab.internet, STREAM_SERVER),
                10_000,
            )?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let exchange = || {
                let socket = lab::echo_from(&lab.subscribers[0], PLAIN)?;
                lab::exchange(&socket, echo.address(), b"one", true, PATIENCE_SECS)
            };
            let kept = lab::echo_from(&lab.subscribers[0], PLAIN)?;
            let again = || lab::exchange(&kept, echo.address(), b"kept", false, PATIENCE_SECS);
            let seen = lab::exchange(&kept, echo.address(), b"kept", true, PATIENCE_SECS)?;
            ensure!(*seen.ip() != BUSINESS, "not a member yet, and {seen}");
            write(lab, &with_members(lab, &[MEMBER, PLAIN, STREAMING]))?;
            let planned = reload(lab, &["--dry-run"])?;
            // The two who join have a block; the member has none yet.
            tells(
                &planned,
                0,
                &["group[firm].prefixes", "in place            2"],
            )?;
            tells(&reload(lab, &[])?, 0, &["ready with the new"])?;
            ensure!(again()? == seen, "a flow was lost");
            let row = row_of(&daemon, PLAIN)?.context("no such subscriber")?;
            let pools = (row.pool.as_str(), row.next_pool.as_deref());
            ensure!(pools == ("lab", Some("business")), "{row:?}");
            ensure!(*exchange()?.ip() == *seen.ip(), "two addresses at once");
            let streamed = stream.finish()?;
            ensure!(
                streamed.lost.is_empty() && streamed.seen.len() == 1,
                "{} of {} datagrams lost, seen {:?}",
                streamed.lost.len(),
                streamed.sent,
                streamed.seen
            );
            // Mappings end, then the hold of their ports, then the empty block is released.
            wait_until("its last block is released", 60.0, || {
                daemon.advance_clock(ALL_IS_OVER_SECS)?;
                Ok(row_of(&daemon, PLAIN)?.is_none().then_some(()))
            })?;
            ensure!(*exchange()?.ip() == BUSINESS, "it did not move");
            let row = row_of(&daemon, PLAIN)?.context("no such subscriber")?;
            ensure!(
                (row.pool.as_str(), row.next_pool, row.ports_usable) == ("business", None, 128),
                "of another pool, or another block size"
            );
            // And back, by the file from before.
            write(lab, &toml)?;
            tells(&reload(lab, &[])?, 0, &["in place", "ready with the new"])?;
            ensure!(*exchange()?.ip() == BUSINESS, "it moved with a block");
            Ok(())
        },
    );
}

/// RFC 6269 section 5.2: who asks where an address is learns of one region, and what happens to an address
/// of one region happens to nobody in another.
#[test]
fn each_region_has_addresses_of_its_own_and_borrows_none() {
    in_lab(
        "groups::each_region_has_addresses_of_its_own_and_borrows_none",
        &Plan::default(),
        |lab| {
            let (north, south) = (Ipv4Addr::new(203, 0, 113, 76), BUSINESS);
            let settings = Settings {
                addresses: "\"203.0.113.1\"".to_owned(),
                ..Settings::default()
            };
            let region = |name: &str, prefix: &str, address: Ipv4Addr| {
                format!(
                    "[[pool]]\nname = \"{name}\"\naddresses = [\"{address}\"]\n\
                     [[group]]\nname = \"{name}\"\nprefixes = [\"{prefix}\"]\npool = \"{name}\"\n"
                )
            };
            let toml = settings.toml(lab)
                + "\n"
                + &region("north", "100.64.128.0/24", north)
                + &region("south", "100.64.129.0/24", south);
            let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &[])?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            // Of the crowd, numbers below 256 are of the north, and the next 256 of the south.
            let socket = |number| lab::echo_from(&lab.subscribers[0], address::crowd(number));
            let external = |number| {
                let hello = b"where am I";
                let seen =
                    lab::exchange(&socket(number)?, echo.address(), hello, true, PATIENCE_SECS)?;
                anyhow::Ok(*seen.ip())
            };
            for number in 0..8 {
                let seen = (external(number)?, external(256 + number)?);
                ensure!(seen == (north, south), "{number}: {seen:?}");
            }
            // Somebody lists the north's address: its newcomers get none of the south's.
            let quarantined = pool(lab, "quarantine", north)?;
            tells(
                &quarantined,
                0,
                &["goes to no new subscriber", "8 subscribers"],
            )?;
            wait_until("it is out of use", PATIENCE_SECS, || {
                let mut pools = daemon.pools()?.into_iter();
                Ok(pools.any(|row| !row.withheld.is_empty()).then_some(()))
            })?;
            // The engine looks at that once a while, so the first ones may still get a block.
            let mut newcomer = 100;
            wait_until("a newcomer of the north is refused", PATIENCE_SECS, || {
                newcomer += 1;
                let before = daemon.count_of("no_block")?;
                socket(newcomer)?.send_to(b"refused", SERVER)?;
                std::thread::sleep(std::time::Duration::from_millis(200));
                Ok((daemon.count_of("no_block")? > before).then_some(()))
            })?;
            let refused = address::crowd(newcomer);
            let blocks = daemon.blocks()?;
            ensure!(
                blocks.iter().all(|row| row.inside != refused),
                "{refused} is refused, and has a block"
            );
            ensure!(external(256 + 100)? == south, "nobody of the south is");
            ensure!(external(3)? == north, "nor who has the address");
            Ok(())
        },
    );
}
