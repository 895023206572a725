//! Rules of realms, and drops by realm.

use super::*;

/// A second server.
const OTHER: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[1], 7000);

/// Two tenants have a server each that sees their own address, which is the same; answers reach the right one.
#[test]
fn what_bypasses_in_a_realm_comes_back_to_it() {
    let name = "realms::rules::what_bypasses_in_a_realm_comes_back_to_it";
    in_lab(name, &plan(), |lab| {
        connect(lab)?;
        let back = address::CGN_OUTSIDE;
        lab.internet
            .ip(&format!("route add 100.64.0.0/16 via {back}\n"))?;
        let rule = |realm: &str, server: SocketAddrV4| {
            format!(
                "[[rule]]\nname = \"of-{realm}\"\naction = \"bypass\"\ndirection = \"out\"\nrealm = \"{realm}\"\n\
                 destination = [\"{}/32\"]\nprotocol = \"udp\"\n",
                server.ip()
            )
        };
        let echoes = [SERVER, OTHER].map(|server| UdpEcho::start(&lab.internet, server));
        let [first, second] = echoes;
        let (first, second) = (first?, second?);
        for force_slow_path in [false, true] {
            let settings = Settings {
                force_slow_path,
                ..Settings::default()
            };
            let rules = rule("mvno", SERVER) + &rule("cloud", OTHER);
            let toml = configuration(lab, &settings) + &rules;
            let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
            for (host, (realm, _)) in lab.subscribers.iter().zip(REALMS) {
                for (server, own) in [(&first, "mvno"), (&second, "cloud")] {
                    let socket = lab::echo_from(host, HOME)?;
                    let seen = lab::exchange(
                        &socket,
                        server.address(),
                        realm.as_bytes(),
                        true,
                        PATIENCE_SECS,
                    )
                    .with_context(|| format!("{realm:?} to {own}'s server"))?;
                    ensure!(
                        (*seen.ip() == HOME) == (realm == own),
                        "forced {force_slow_path}: {realm:?} was seen as {seen} by {own}'s server"
                    );
                }
            }
            let (packet, socket) = (format!("udp {HOME}:9 > {SERVER}"), daemon.socket());
            let mut command = Command::new(cgn_program()?);
            command.args(["explain", &packet, "--realm", "mvno", "--json", "--socket"]);
            let explained = run_to_end(command.arg(socket), PATIENCE_SECS)?;
            let explained: Value = serde_json::from_str(&explained)?;
            ensure!(
                explained["verdict"] == "bypass"
                    && explained["answer"]["verdict"] == "bypass"
                    && explained["answer"]["sent"]["interface"] == "mvno",
                "{explained}"
            );
            ensure!(daemon.stop()?.success(), "it ended badly");
            let mut detach = Command::new(cgn_program()?);
            let file = lab.folder().join("cgn.toml");
            run_to_end(detach.args(["detach", "--config"]).arg(file), PATIENCE_SECS)?;
        }
        Ok(())
    });
}

/// What a rule of a tenant's group denies, and what comes for a tenant's port and finds no mapping, is
/// counted for the tenant, and for nobody who has the same address.
#[test]
fn drops_are_counted_for_the_tenant() {
    let name = "realms::rules::drops_are_counted_for_the_tenant";
    in_lab(name, &plan(), |lab| {
        connect(lab)?;
        for force_slow_path in [false, true] {
            let settings = Settings {
                force_slow_path,
                ..Settings::default()
            };
            let toml = configuration(lab, &settings)
                + &format!(
                    "[[rule]]\nname = \"small\"\naction = \"deny\"\ndirection = \"out\"\ngroup = \"small\"\n\
                     destination = [\"{}/32\"]\n",
                    OTHER.ip()
                );
            let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let denied = UdpEcho::start(&lab.internet, OTHER)?;
            for (host, (realm, _)) in lab.subscribers.iter().zip(REALMS) {
                let what = || format!("forced {force_slow_path}, realm {realm:?}");
                let socket = lab::echo_from(host, HOME)?;
                let hello = realm.as_bytes();
                let seen = lab::exchange(&socket, echo.address(), hello, true, PATIENCE_SECS)
                    .with_context(what)?;
                match realm {
                    "cloud" => {
                        for _ in 0..3 {
                            socket.send_to(b"denied", OTHER)?;
                        }
                    }
                    _ => {
                        let to = denied.address();
                        lab::exchange(&socket, to, hello, true, PATIENCE_SECS)
                            .with_context(what)?;
                    }
                }
                // Another port of his block, without a mapping.
                let beside = SocketAddrV4::new(*seen.ip(), seen.port() ^ 1);
                echo.send(beside, b"for nobody")?;
                wait_until("the drops of the realm", PATIENCE_SECS, || {
                    let unasked = dropped(&daemon, realm, "no_mapping")?;
                    let denied = dropped(&daemon, realm, "access_denied")?;
                    Ok(
                        (unasked >= 1 && denied == [0, 3][usize::from(realm == "cloud")])
                            .then_some(()),
                    )
                })
                .with_context(what)?;
            }
            let page = daemon.metrics()?;
            for (realm, least) in [("[inside]", 1), ("mvno", 1), ("cloud", 4)] {
                let series = format!("cgn_realm_drops_total{{realm=\"{realm}\"}} ");
                let mut lines = page.lines().filter_map(|line| line.strip_prefix(&series));
                let count: u64 = lines.next().with_context(|| series.clone())?.parse()?;
                ensure!(count >= least, "{realm}: {count} packets");
            }
            names_whose_rule_it_is(&daemon)?;
            ensure!(daemon.stop()?.success(), "it ended badly");
            crate::restart::detach(lab)?;
        }
        Ok(())
    });
}

/// Realm and group of the rule that denies, in `cgn show rules` and in `cgn explain`.
fn names_whose_rule_it_is(daemon: &Daemon) -> Result<()> {
    let rows = daemon.rules()?;
    let [row] = &rows[..] else {
        anyhow::bail!("{rows:?}");
    };
    ensure!(
        row.realm.as_deref() == Some("cloud") && row.group.as_deref() == Some("small"),
        "{row:?}"
    );
    ensure!(row.packets == 3, "{row:?}");
    let (packet, socket) = (format!("udp {HOME}:9 > {OTHER}"), daemon.socket());
    let mut command = Command::new(cgn_program()?);
    command.args(["explain", &packet, "--realm", "cloud", "--socket"]);
    let told = run_to_end(command.arg(socket), PATIENCE_SECS)?;
    let rule = "rule small (out, deny, realm cloud, group small) is the first";
    ensure!(told.contains(rule), "{told}");
    Ok(())
}
