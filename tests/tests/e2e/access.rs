//! Access lists in front of the NAT, with real traffic.

use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{
    self, Daemon, Lab, Plan, Settings, TcpServer, UdpEcho, UdpStream, address, cgn_program,
};
use cgn_user::api::rows::RuleRow;

use crate::reload::{reload, tells, write};
use crate::{PATIENCE_SECS, SERVER, attributed, in_lab};

/// Another port of the same server.
const OTHER_PORT: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[0], 7001);
const OTHER_SERVER: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[1], 7002);

/// The rule with this name and direction.
fn rule(daemon: &Daemon, name: &str, direction: &str) -> Result<RuleRow> {
    let rows = daemon.rules()?;
    let mut fitting = rows.into_iter();
    fitting
        .find(|row| row.rule == name && row.direction == direction)
        .with_context(|| format!("`cgn show rules` has no {name} {direction}"))
}

fn bypass(lab: &Lab, protocol: &str, forced: bool) -> String {
    let settings = Settings {
        force_slow_path: forced,
        ..Settings::default()
    };
    settings.toml(lab)
        + &format!(
            "\n[[rule]]\nname = \"portal\"\naction = \"bypass\"\ndirection = \"out\"\n\
             destination = [\"{}/32\"]\nprotocol = \"{protocol}\"\ndestination_ports = \"{}\"\n",
            SERVER.ip(),
            SERVER.port()
        )
}

/// RFC 6888 REQ-6: the server sees the subscriber's own address; from another port a pool address.
#[test]
fn chosen_traffic_goes_untranslated_and_comes_back_so() {
    in_lab(
        "access::chosen_traffic_goes_untranslated_and_comes_back_so",
        &Plan::default(),
        |lab| {
            lab.internet.ip(&format!(
                "route add 100.64.0.0/16 via {}\n",
                address::CGN_OUTSIDE
            ))?;
            for forced in [false, true] {
                let toml = bypass(lab, "udp", forced);
                let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
                let chosen = UdpEcho::start(&lab.internet, SERVER)?;
                let other = UdpEcho::start(&lab.internet, OTHER_PORT)?;
                let inside = address::subscriber(1, 2);
                let socket = lab::echo_from(&lab.subscribers[0], inside)?;
                let own = SocketAddrV4::new(inside, socket.local_addr()?.port());
                for word in [b"one", b"two"] {
                    let seen = lab::exchange(&socket, chosen.address(), word, true, PATIENCE_SECS)?;
                    ensure!(
                        seen == own,
                        "forced {forced}: the server saw {seen}, not {own}"
                    );
                }
                ensure!(daemon.mappings()?.is_empty(), "a mapping was opened");
                let seen = lab::exchange(&socket, other.address(), b"nat", true, PATIENCE_SECS)?;
                attributed(&daemon, inside, seen)?;
                let explained = daemon.explain(&format!("udp {own} > {SERVER}"))?;
                let steps = format!("{:?}", explained.steps);
                ensure!(
                    explained.verdict == "bypass" && steps.contains("rule portal (out, bypass)"),
                    "{explained:?}"
                );
                for direction in ["out", "in"] {
                    let row = rule(&daemon, "portal", direction)?;
                    ensure!((2..=6).contains(&row.packets), "forced {forced}: {row:?}");
                }
                ensure!(daemon.stop()?.success(), "it ended badly");
                let detached = std::process::Command::new(cgn_program()?)
                    .args(["detach", "--config"])
                    .arg(lab.folder().join("cgn.toml"))
                    .status()?;
                ensure!(detached.success(), "cgn detach failed");
            }
            Ok(())
        },
    );
}

/// TCP of the kernel goes past the NAT, too, and its segments are as large as ever.
#[test]
fn a_connection_goes_past_the_nat() {
    in_lab(
        "access::a_connection_goes_past_the_nat",
        &Plan::default(),
        |lab| {
            lab.internet.ip(&format!(
                "route add 100.64.0.0/16 via {}\n",
                address::CGN_OUTSIDE
            ))?;
            let toml = bypass(lab, "tcp", false);
            let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
            let tcp = TcpServer::start(&lab.internet, SERVER, PATIENCE_SECS)?;
            let inside = Some(address::subscriber(1, 2));
            let bytes = (200_000, 200_000);
            lab::transfer(
                &lab.subscribers[0],
                inside,
                tcp.address(),
                bytes,
                PATIENCE_SECS,
            )?;
            ensure!(daemon.blocks()?.is_empty(), "a block was given");
            ensure!(rule(&daemon, "portal", "in")?.packets > 10);
            Ok(())
        },
    );
}

/// A list of prefixes in a file: a dry run tells what it changes, the reload replaces it at once, and
/// flows that it is not about lose nothing.
#[test]
fn a_list_is_replaced_without_losing_a_packet() {
    in_lab(
        "access::a_list_is_replaced_without_losing_a_packet",
        &Plan::default(),
        |lab| {
            let list = lab.folder().join("blocked.txt");
            std::fs::write(&list, "# nobody here\n198.51.100.0/24\n")?;
            let toml = Settings::default().toml(lab)
                + &format!(
                    "\n[access]\nbogons = false\n[[rule]]\nname = \"blocked\"\naction = \"deny\"\n\
                     direction = \"in\"\nsource_file = {list:?}\n"
                );
            let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
            lab::exchange(&socket, echo.address(), b"open", true, PATIENCE_SECS)?;
            let stream = UdpStream::start(
                (&lab.subscribers[0], address::subscriber(1, 9)),
                (&lab.internet, OTHER_SERVER),
                5_000,
            )?;
            std::fs::write(
                &list,
                format!("198.51.100.0/24\n{} ; the server\n", SERVER.ip()),
            )?;
            let words = [
                "rule[blocked].source_file, in the file",
                "2 prefixes",
                "in place",
            ];
            tells(&reload(lab, &["--dry-run"])?, 0, &words)?;
            lab::exchange(&socket, echo.address(), b"still", true, PATIENCE_SECS)?;
            tells(&reload(lab, &[])?, 0, &["ready with the new configuration"])?;
            let before = daemon.count_of("access_denied")?;
            socket.send_to(b"blocked", SERVER)?;
            daemon.wait_for_count("access_denied", before, 1)?;
            ensure!(rule(&daemon, "blocked", "in")?.packets >= 1);
            let streamed = stream.finish()?;
            ensure!(
                streamed.lost.is_empty(),
                "{} datagrams lost",
                streamed.lost.len()
            );
            // A list that is broken changes nothing.
            std::fs::write(&list, "198.51.100.0/24\nexample.org\n")?;
            tells(&reload(lab, &[])?, 1, &["line 2 of", "example.org"])?;
            write(lab, &toml)?;
            ensure!(daemon.status().is_ok(), "the daemon ended");
            Ok(())
        },
    );
}

/// More to one port than a rule's rate is dropped; other ports and other subscribers are not.
#[test]
fn a_subscriber_sends_so_much_to_a_port_and_no_more() {
    const RATE: u64 = 5;
    const SENT: u64 = 60;
    /// In two windows of a second, and a little more each.
    const MOST: u64 = 2 * (RATE + 1);
    in_lab(
        "access::a_subscriber_sends_so_much_to_a_port_and_no_more",
        &Plan::default(),
        |lab| {
            for forced in [false, true] {
                let settings = Settings {
                    force_slow_path: forced,
                    ..Settings::default()
                };
                let few = format!(
                    "\n[[rule]]\nname = \"few\"\naction = \"permit\"\ndirection = \"out\"\nprotocol = \"udp\"\n\
                     destination_ports = \"{}\"\nrate = {RATE}\n",
                    SERVER.port()
                );
                let toml = settings.toml(lab) + &few;
                let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
                let few = UdpEcho::start(&lab.internet, SERVER)?;
                let many = UdpEcho::start(&lab.internet, OTHER_PORT)?;
                let from = |host| lab::echo_from(&lab.subscribers[0], address::subscriber(1, host));
                let socket = from(2)?;
                lab::exchange(&socket, many.address(), b"one", true, PATIENCE_SECS)?;
                let before = daemon.count_of("rule_rate")?;
                for _ in 0..SENT {
                    socket.send_to(b"flood", few.address())?;
                }
                daemon.wait_for_count("rule_rate", before, SENT - MOST)?;
                let other = from(3)?;
                lab::exchange(&other, few.address(), b"other", true, PATIENCE_SECS)?;
                lab::exchange(&socket, many.address(), b"two", false, PATIENCE_SECS)?;
                let row = rule(&daemon, "few", "out")?;
                ensure!(
                    row.packets > SENT && row.over_rate >= Some(SENT - MOST),
                    "forced {forced}: {row:?}"
                );
                ensure!(few.answered() > 0, "forced {forced}: nothing of it came");
                daemon.stop()?;
                crate::restart::detach(lab)?;
            }
            Ok(())
        },
    );
}

/// A group is denied a server; who is in a group with a longer prefix reaches it, and whoever joins that one
/// after a reload.
#[test]
fn a_rule_of_a_group_is_for_who_is_in_it() {
    in_lab(
        "access::a_rule_of_a_group_is_for_who_is_in_it",
        &Plan::default(),
        |lab| {
            for force_slow_path in [false, true] {
                let settings = Settings {
                    force_slow_path,
                    ..Settings::default()
                };
                let toml = |staff: &str| {
                    settings.toml(lab)
                        + &format!(
                            "\n[[group]]\nname = \"guests\"\nprefixes = [\"100.64.1.0/24\"]\n\
                             [[group]]\nname = \"staff\"\nprefixes = [{staff}]\n\
                             [[rule]]\nname = \"guests\"\naction = \"deny\"\ndirection = \"out\"\n\
                             group = \"guests\"\ndestination = [\"{}/32\"]\n",
                            SERVER.ip()
                        )
                };
                let (guest, staff) = (address::subscriber(1, 2), address::subscriber(1, 3));
                let before = toml(&format!("\"{staff}/32\""));
                let daemon = Daemon::start_with(lab, &before, &cgn_program()?, &["--test-clock"])?;
                let echo = UdpEcho::start(&lab.internet, SERVER)?;
                let other = UdpEcho::start(&lab.internet, OTHER_SERVER)?;
                let [from_guest, from_staff] =
                    [guest, staff].map(|inside| lab::echo_from(&lab.subscribers[0], inside));
                let (from_guest, from_staff) = (from_guest?, from_staff?);
                let exchange = |socket, to| lab::exchange(socket, to, b"one", true, PATIENCE_SECS);
                exchange(&from_staff, echo.address())?;
                exchange(&from_guest, other.address())?;
                let (denied, answered) = (daemon.count_of("access_denied")?, echo.answered());
                from_guest.send_to(b"denied", SERVER)?;
                daemon.wait_for_count("access_denied", denied, 1)?;
                ensure!(
                    echo.answered() == answered,
                    "forced {force_slow_path}: it reached the server"
                );
                write(lab, &toml(&format!("\"{staff}/32\", \"{guest}/32\"")))?;
                let words = ["group[staff].prefixes", "in place"];
                tells(&reload(lab, &["--dry-run"])?, 0, &words)?;
                tells(&reload(lab, &[])?, 0, &["ready with the new configuration"])?;
                exchange(&from_guest, echo.address())?;
                daemon.stop()?;
                crate::restart::detach(lab)?;
            }
            Ok(())
        },
    );
}
