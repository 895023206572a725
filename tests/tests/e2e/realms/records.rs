//! What is on record of which realm: static ports, sessions.

use cgn_user::maplog::Event;

use super::*;

/// Deterministic pools, one for each realm: static ports without a record, which `cgn map` and `cgn log`
/// compute for the realm that is named.
#[test]
fn static_ports_are_those_of_the_realm() {
    let name = "realms::records::static_ports_are_those_of_the_realm";
    in_lab(name, &plan(), |lab| {
        connect(lab)?;
        // 256 subscribers on one address, and a share for overflow: 64512 / 257 are 3 blocks of 64 each.
        let pool = |name: &str, external: &str| {
            format!(
                "[[pool]]\nname = \"{name}\"\naddresses = [\"{external}\"]\nblock_ports = 64\nmode = \"deterministic\"\n"
            )
        };
        let toml = configuration(lab, &Settings::default())
            .replace(
                "mvno\"\nprefixes = [\"100.64.0.0/16\"]",
                "mvno\"\nprefixes = [\"100.64.1.0/24\"]",
            )
            .replacen("pool = \"other\"", "pool = \"of-mvno\"", 1)
            .replacen("pool = \"other\"", "pool = \"of-cloud\"", 1)
            + &pool("of-mvno", "203.0.113.110")
            + &pool("of-cloud", "203.0.113.111");
        let program = cgn_program()?;
        let mut daemon = Daemon::start_with(lab, &toml, &program, &["--test-clock"])?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let first_port = 1024 + u16::from(HOME.octets()[3]) * 3 * 64;
        let mut flows = Vec::new();
        for (number, realm) in [(1, "mvno"), (2, "cloud")] {
            let socket = lab::echo_from(&lab.subscribers[number], HOME)?;
            let hello = realm.as_bytes();
            let seen = lab::exchange(&socket, echo.address(), hello, true, PATIENCE_SECS)?;
            let external = Ipv4Addr::new(203, 0, 113, 109 + number as u8);
            ensure!(*seen.ip() == external, "{realm}: {seen}");
            let share = first_port..first_port + 3 * 64;
            ensure!(
                share.contains(&seen.port()),
                "{realm}: {seen}, not of {share:?}"
            );
            told_apart(&daemon, seen, realm)?;
            mapped(lab, &daemon, seen, (realm, first_port))?;
            flows.push((socket, seen));
        }
        let records = daemon.log_records()?.into_iter();
        let given = records.filter(|record| matches!(record.entry.event, Event::Allocate(_)));
        ensure!(given.count() == 0, "static ports are on record");
        daemon.process().kill();
        daemon = Daemon::start_with(lab, &toml, &program, &["--test-clock"])?;
        for (socket, seen) in &flows {
            let again = lab::exchange(socket, echo.address(), b"later", false, PATIENCE_SECS)?;
            ensure!(again == *seen, "{seen} became {again}");
        }
        let found = daemon.status()?.reconciliation;
        ensure!(
            (found.identical, found.repaired, found.incomplete) == (2, 0, 0),
            "{found:?}"
        );
        Ok(())
    });
}

/// `cgn map` says so both ways, from the configuration and from the log's records; of the first realm,
/// whose pool is dynamic, nothing.
fn mapped(
    lab: &Lab,
    daemon: &Daemon,
    seen: SocketAddrV4,
    (realm, first_port): (&str, u16),
) -> Result<()> {
    let file = lab.folder().join("cgn.toml").display().to_string();
    let root = daemon.log().display().to_string();
    let (home, asked) = (HOME.to_string(), seen.to_string());
    for source in [["--config", &file], ["--dir", &root]] {
        let ask = |arguments: &[&str]| -> Result<Value> {
            let mut command = Command::new(cgn_program()?);
            command.arg("map").args(arguments).args(source);
            Ok(serde_json::from_slice(
                &command.arg("--json").output()?.stdout,
            )?)
        };
        let forward = ask(&["forward", &home, "--realm", realm])?;
        ensure!(
            forward["external"] == seen.ip().to_string()
                && forward["first_port"] == first_port
                && forward["realm"] == realm,
            "{forward}"
        );
        let reverse = ask(&["reverse", &asked])?;
        ensure!(
            reverse["inside"] == home && reverse["realm"] == realm,
            "{reverse}"
        );
        let first = ask(&["forward", &home])?;
        ensure!(first.is_null(), "of the first realm: {first}");
    }
    Ok(())
}

/// Longer than the timer of UDP.
const OVER_SECS: u32 = 320;

/// `log.mode`: three flows of equal endpoints to one destination are three sessions, each of its realm.
#[test]
fn sessions_on_record_are_those_of_their_realm() {
    let name = "realms::records::sessions_on_record_are_those_of_their_realm";
    in_lab(name, &plan(), |lab| {
        connect(lab)?;
        let toml = configuration(lab, &Settings::default())
            .replace("[log]\n", "[log]\nmode = \"session_with_destination\"\n")
            .replace(
                "udp_mappings = 40\n",
                "udp_mappings = 40\nlog = \"session\"\n",
            );
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        for (host, (realm, _)) in lab.subscribers.iter().zip(REALMS) {
            let socket = lab::echo_from(host, HOME)?;
            let hello = realm.as_bytes();
            let seen = lab::exchange(&socket, echo.address(), hello, true, PATIENCE_SECS)
                .with_context(|| format!("the first packet of realm {realm:?}"))?;
            let (asked, root) = (seen.to_string(), daemon.log().display().to_string());
            let who = [
                "log", "who", &asked, "--proto", "udp", "--skew", "5", "--dir", &root,
            ];
            // Of the group in "cloud" mappings are logged, without the destination.
            let remote = match realm {
                "cloud" => String::new(),
                _ => echo.address().to_string(),
            };
            wait_until("its session on record", 10.0, || {
                let answer = said(&who)?;
                let Some(session) = answer[0]["sessions"].get(0) else {
                    return Ok(None);
                };
                ensure!(
                    session["realm"].as_str().unwrap_or("") == realm
                        && session["subscriber"] == HOME.to_string()
                        && session["remote"] == remote,
                    "{realm:?}: {answer}"
                );
                Ok(Some(()))
            })?;
        }
        daemon.advance_clock(OVER_SECS)?;
        let closed =
            wait_until("three that ended", 10.0, || {
                let closed = daemon.log_records()?.into_iter().filter_map(|record| {
                    match record.entry.event {
                        Event::Close(session) => Some((session.realm, session.inside)),
                        _ => None,
                    }
                });
                let mut closed: Vec<_> = closed.collect();
                closed.sort_unstable();
                Ok((closed.len() >= 3).then_some(closed))
            })?;
        ensure!(closed == [0, 1, 2].map(|realm| (realm, HOME)), "{closed:?}");
        Ok(())
    });
}
