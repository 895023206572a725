//! The profile that RFC 6346 section 5.2 suggests: 128 ports at first, more ranges of 128 on demand, and
//! a limit on their number.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{
    Daemon, Lab, Plan, Settings, UdpEcho, address, echo_from, exchange, in_lab, wait_until,
};

use crate::{FIRST, PATIENCE_SECS, is_of, one_address};

const RANGE_PORTS: u16 = 128;
/// All that a subscriber may have, of TCP and of UDP each.
const RANGES: u8 = 6;

/// A household's sockets.
struct Household<'a> {
    lab: &'a Lab,
    echo: &'a UdpEcho,
    inside: Ipv4Addr,
    open: Vec<(UdpSocket, SocketAddrV4)>,
}

impl Household<'_> {
    /// Opens sockets until there are so many. Nothing is sent twice: not one packet may be lost.
    fn open(&mut self, count: u16) -> Result<()> {
        while self.open.len() < usize::from(count) {
            let socket = echo_from(&self.lab.subscribers[0], self.inside)?;
            let seen = exchange(&socket, self.echo.address(), b"x", false, PATIENCE_SECS)
                .with_context(|| format!("socket {} of {}", self.open.len() + 1, self.inside))?;
            self.open.push((socket, seen));
        }
        Ok(())
    }
}

#[test]
fn ranges_of_128_ports_on_demand() {
    in_lab(
        "household::ranges_of_128_ports_on_demand",
        &Plan::default(),
        |lab| {
            let settings = Settings {
                block_ports: RANGE_PORTS,
                blocks_per_subscriber: RANGES,
                ..one_address()
            };
            let daemon = Daemon::start(lab, &settings)?;
            let echo = UdpEcho::start(&lab.internet, SocketAddrV4::new(address::SERVERS[0], 7000))?;
            let home = |inside| Household {
                lab,
                echo: &echo,
                inside,
                open: Vec::new(),
            };
            let mut demanding = home(FIRST);
            // What most need is in the first range, and costs one record.
            demanding.open(RANGE_PORTS / 2)?;
            ensure!(daemon.blocks()?.len() == 1, "{:?}", daemon.blocks()?);
            for ranges in 1..=RANGES {
                demanding.open(u16::from(ranges) * RANGE_PORTS)?;
                let due = (ranges + 1).min(RANGES);
                wait_until(&format!("{due} ranges"), PATIENCE_SECS, || {
                    Ok((daemon.blocks()?.len() == usize::from(due)).then_some(()))
                })?;
            }
            let ports: HashSet<_> = demanding.open.iter().map(|(_, seen)| *seen).collect();
            ensure!(
                ports.len() == demanding.open.len(),
                "a port was given twice"
            );
            for external in &ports {
                is_of(&daemon, *external, FIRST)?;
            }
            // The limit: the next port is refused, and nobody else feels it.
            let before = daemon.count_of("no_port")?;
            let refused = echo_from(&lab.subscribers[0], FIRST)?;
            refused.send_to(b"one too many", echo.address())?;
            daemon.wait_for_count("no_port", before, 1)?;
            home(address::subscriber(1, 3)).open(RANGE_PORTS)?;
            for (socket, seen) in &demanding.open {
                let again = exchange(socket, echo.address(), b"y", false, PATIENCE_SECS)?;
                ensure!(again == *seen, "{seen} became {again}");
            }
            Ok(())
        },
    );
}
