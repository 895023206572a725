use std::fs;

use cgn_common::verdict::Protocol;
use clap::{CommandFactory, Parser};

use super::check::examine;
use super::client::target;
use super::lookup::found;
use super::show::{table, text};
use super::subscriber::about;
use super::table::{Column, Table, numbers, words};
use super::{Arguments, Command, Show};
use crate::api::fixture::{Fixture, HOME, OFFICE, OTHER_HOME, Scratch};
use crate::api::rows::{MappingRow, Page, RuleRow};
use crate::api::tests::Daemon;
use crate::config::Config;

fn show(arguments: &[&str]) -> Show {
    let arguments = ["cgn", "show"].iter().chain(arguments);
    match Arguments::try_parse_from(arguments).unwrap().command {
        Command::Show(show) => show,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_command_line_is_consistent() {
    Arguments::command().debug_assert();
    for (line, is_right) in [
        ("cgn run --config cgn.toml", true),
        ("cgn run --config cgn.toml --test-clock", true),
        ("cgn run --config cgn.toml --diagnose", true),
        ("cgn run", false),
        ("cgn check --config cgn.toml --no-interfaces", true),
        ("cgn show mappings --json --socket /run/cgn/cgn.sock", true),
        (
            "cgn show blocks --config cgn.toml --external 203.0.113.1:1024",
            true,
        ),
        (
            "cgn show blocks --config cgn.toml --socket /run/cgn/cgn.sock",
            false,
        ),
        ("cgn show everything", false),
        ("cgn sample-config", true),
        ("cgn", false),
    ] {
        let parsed = Arguments::try_parse_from(line.split(' '));
        assert_eq!(parsed.is_ok(), is_right, "{line}");
    }
    let help = Arguments::try_parse_from(["cgn", "run", "--help"])
        .unwrap_err()
        .to_string();
    assert!(
        !help.contains("test-clock"),
        "an option for tests is hidden"
    );
}

#[test]
fn columns_are_aligned_words_left_numbers_right() {
    const COLUMNS: &[Column] = &[words("NAME"), numbers("COUNT"), words("LAST")];
    let row = |a: &str, b: &str, c: &str| vec![a.to_owned(), b.to_owned(), c.to_owned()];
    let table = Table::new(
        COLUMNS,
        vec![row("a", "1", ""), row("longer", "1234567", "x")],
    );
    assert_eq!(
        table.to_string(),
        "NAME      COUNT  LAST\n\
         a             1\n\
         longer  1234567  x\n"
    );
}

#[test]
fn filters_reach_the_daemon_as_they_were_typed() {
    let pairs = [
        ("pool", "a b&c=%/é".to_owned()),
        ("external", "203.0.113.1:80".to_owned()),
    ];
    assert_eq!(
        target("/v1/blocks", &pairs),
        "/v1/blocks?pool=a%20b%26c%3D%25%2F%C3%A9&external=203.0.113.1:80"
    );
    assert_eq!(target("/v1/blocks", &[]), "/v1/blocks");
}

#[test]
fn an_empty_table_says_why() {
    let nothing: Page<MappingRow> = Page {
        rows: vec![],
        next_cursor: None,
    };
    assert!(table(&nothing, true).starts_with("no mappings yet"));
    assert_eq!(table(&nothing, false), "no mapping matches\n");
}

#[test]
fn rules_are_listed_with_their_realm_and_group() {
    let row = |rule: &str, realm: Option<&str>, group: Option<&str>| RuleRow {
        place: 1,
        rule: rule.to_owned(),
        direction: "out".to_owned(),
        action: "deny".to_owned(),
        realm: realm.map(str::to_owned),
        group: group.map(str::to_owned),
        prefixes: 1,
        packets: 7,
        over_rate: None,
    };
    let mut page = Page {
        rows: vec![row("guests", None, Some("guests"))],
        next_cursor: None,
    };
    let text = table(&page, true);
    let line = "out            1  guests  deny    -      guests         1        7          -";
    assert!(text.contains(line), "{text}");
    assert!(!text.contains("without a realm"), "there is one: {text}");
    page.rows.push(row("kids", Some("mvno"), None));
    let text = table(&page, true);
    let line = "out            1  kids    deny    mvno   -              1        7          -";
    assert!(text.contains(line), "{text}");
    assert!(
        text.contains("without a realm is for packets of all"),
        "{text}"
    );
    let csv = super::csv::csv(&page.rows).unwrap();
    let mut lines = csv
        .split("\r\n")
        .map(|line| line.split(',').collect::<Vec<_>>());
    let names = lines.next().unwrap();
    let at = |name| names.iter().position(|known| *known == name).unwrap();
    let pairs: Vec<_> = lines
        .by_ref()
        .take(2)
        .map(|fields| (fields[at("realm")], fields[at("group")]))
        .collect();
    assert_eq!(pairs, [("", "guests"), ("mvno", "")], "{csv}");
}

fn busy() -> Fixture {
    let mut cgn = Fixture::new();
    cgn.give(HOME, [203, 0, 113, 2], 5);
    cgn.give(OTHER_HOME, [203, 0, 113, 2], 3);
    cgn.give(OFFICE, [198, 51, 100, 7], 125);
    for port in 0..20 {
        cgn.send(Protocol::Udp, HOME, 40_000 + port, 0);
    }
    cgn.send(Protocol::Tcp, OTHER_HOME, 50_000, 0);
    cgn.send(Protocol::Icmp, OFFICE, 7, 0);
    cgn
}

#[tokio::test]
async fn every_table_shows_what_the_daemon_has() {
    let daemon = Daemon::start("tables", busy().state(false));
    let socket = daemon.socket.to_str().unwrap();
    for (what, lines) in [
        (
            "subscribers",
            vec![
                "100.64.0.10  203.0.113.2        1     64         0        20          0  yes          residential",
                "3 subscribers.",
            ],
        ),
        (
            "blocks",
            vec![
                "198.51.100.7  65024-65535  10.0.0.1            0         0          1  2025-03-01T00:09:10.123Z         102  business",
                "3 blocks.",
            ],
        ),
        (
            "mappings",
            vec!["100.64.0.20:50000", "192.0.2.80:443", "22 mappings."],
        ),
        ("pools", vec!["residential          0 of 4", "2 pools."]),
        (
            "drops",
            vec![
                "drop    no_port               7          2  all ports of the subscriber's blocks",
                "9 packets dropped.",
            ],
        ),
        (
            "status",
            vec![
                "started       2025-03-01T00:09:10.123Z",
                "mapping log   /var/lib/cgn/log: 0 records",
            ],
        ),
    ] {
        let shown = text(&show(&[what, "--socket", socket])).await.unwrap();
        for line in lines {
            assert!(shown.contains(line), "{what}: no {line:?} in\n{shown}");
        }
        println!("$ cgn show {what}\n{shown}");
    }
}

#[tokio::test]
async fn all_about_one_subscriber() {
    let daemon = Daemon::start("one", busy().state(false));
    let socket = daemon.socket.to_str().unwrap();
    let ask = |address: &str, json: bool| {
        let mut line = vec!["cgn", "subscriber", address, "--socket", socket];
        line.extend(json.then_some("--json"));
        match Arguments::try_parse_from(line).unwrap().command {
            Command::Subscriber(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    };
    let (home, other) = (HOME.to_string(), OTHER_HOME.to_string());
    let shown = about(&ask(&home, false)).await.unwrap();
    for words in ["1 subscriber.", "block", "mapping", &home] {
        assert!(shown.contains(words), "no {words:?} in\n{shown}");
    }
    assert!(!shown.contains(&other), "another's rows in\n{shown}");
    let shown = about(&ask(&home, true)).await.unwrap();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["subscriber"]["inside"], home.as_str());
    assert!(shown["blocks"][0]["first_port"].is_u64(), "{shown}");
    let nobody = about(&ask("100.64.0.99", false)).await.unwrap();
    assert!(nobody.starts_with("100.64.0.99 has no block"), "{nobody}");
    let stranger = about(&ask("192.0.2.1", false)).await.unwrap_err();
    assert!(stranger.to_string().contains("192.0.2.1"), "{stranger}");
}

#[tokio::test]
async fn a_lookup_leads_out_and_back() {
    let daemon = Daemon::start("lookup", busy().state(false));
    let socket = daemon.socket.to_str().unwrap();
    let ask = |endpoint: &str, json: bool| {
        let mut line = vec!["cgn", "lookup", endpoint, "--socket", socket];
        line.extend(json.then_some("--json"));
        match Arguments::try_parse_from(line).unwrap().command {
            Command::Lookup(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    };
    let inside = format!("{OTHER_HOME}:50000");
    let out = found(&ask(&inside, true)).await.unwrap();
    let out: Page<MappingRow> = serde_json::from_str(&out).unwrap();
    assert!(!out.rows.is_empty(), "{inside} has no mapping");
    for row in &out.rows {
        let external = format!("{}:{}", row.external, row.external_port);
        let back = found(&ask(&external, true)).await.unwrap();
        let back: Page<MappingRow> = serde_json::from_str(&back).unwrap();
        assert!(back.rows.contains(row), "{external} does not lead back");
    }
    let row = &out.rows[0];
    let port_of_nothing = (row.external_port / 64 * 64..=u16::MAX)
        .find(|port| out.rows.iter().all(|row| row.external_port != *port))
        .unwrap();
    for (endpoint, words) in [
        (format!("{OTHER_HOME}:1"), "no mapping matches".to_owned()),
        (
            format!("{}:{port_of_nothing}", row.external),
            OTHER_HOME.to_string(),
        ),
        ("192.0.2.1".to_owned(), "192.0.2.1".to_owned()),
        (format!("{OTHER_HOME}:x"), "no port".to_owned()),
    ] {
        let said = found(&ask(&endpoint, false)).await;
        let said = said.unwrap_or_else(|error| error.to_string());
        assert!(said.contains(&words), "{endpoint}: no {words:?} in {said}");
    }
}

#[tokio::test]
async fn csv_has_a_line_of_names_and_one_for_each_row() {
    let daemon = Daemon::start("csv", busy().state(false));
    let socket = daemon.socket.to_str().unwrap();
    let shown = text(&show(&["blocks", "--csv", "--socket", socket]))
        .await
        .unwrap();
    let lines: Vec<_> = shown.split("\r\n").collect();
    assert_eq!(lines.len(), 5, "{shown}");
    let names: Vec<_> = lines[0].split(',').collect();
    assert!(
        names.contains(&"external") && names.contains(&"ports_used.tcp"),
        "{names:?}"
    );
    for line in &lines[1..4] {
        assert_eq!(line.split(',').count(), names.len(), "{line}");
    }
    let odd = [serde_json::json!({"a": "x,y", "b": "say \"hi\"", "c": null, "d": {"e": 1}})];
    let expected = "a,b,c,d.e\r\n\"x,y\",\"say \"\"hi\"\"\",,1\r\n";
    assert_eq!(super::csv::csv(&odd).unwrap(), expected, "RFC 4180");
}

#[tokio::test]
async fn limits_and_json_show_parts_and_the_whole() {
    let daemon = Daemon::start("limits", busy().state(false));
    let socket = daemon.socket.to_str().unwrap();
    let shown = |more: &[&str]| {
        let arguments = [&["mappings", "--socket", socket], more].concat();
        let arguments = show(&arguments);
        async move { text(&arguments).await.unwrap() }
    };
    let five = shown(&["--limit", "5"]).await;
    assert!(
        five.contains("5 mappings shown; there are more: --limit 0"),
        "{five}"
    );
    let all = shown(&["--limit", "0"]).await;
    assert!(all.contains("\n22 mappings.\n"), "{all}");
    let page: Page<MappingRow> = serde_json::from_str(&shown(&["--json"]).await).unwrap();
    assert_eq!((page.rows.len(), page.next_cursor), (22, None));
    let page: Page<MappingRow> =
        serde_json::from_str(&shown(&["--json", "--limit", "4"]).await).unwrap();
    assert_eq!(page.rows.len(), 4);
    assert!(page.next_cursor.is_some(), "JSON tells that there is more");
    let tcp = shown(&["--protocol", "tcp"]).await;
    assert!(tcp.contains("\n1 mapping.\n"), "{tcp}");
}

#[tokio::test]
async fn errors_say_what_to_do() {
    let scratch = Scratch::new("errors");
    let missing = scratch.0.join("missing.sock");
    let dead = scratch.0.join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let wrong = scratch.0.join("wrong.toml");
    fs::write(&wrong, "[insid]\n").unwrap();
    let daemon = Daemon::start("wrong-filter", Fixture::new().state(false));
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    for (arguments, words) in [
        (
            vec!["blocks", "--socket", &path(&missing)],
            "is the daemon running? Start it with `cgn run",
        ),
        (
            vec!["blocks", "--socket", &path(&dead)],
            "the daemon that made this socket is gone",
        ),
        (
            vec!["blocks", "--config", &path(&missing)],
            "there is no such file",
        ),
        (
            vec!["blocks", "--config", &path(&wrong)],
            "did you mean `inside`?",
        ),
        (
            vec![
                "pools",
                "--socket",
                &path(&daemon.socket),
                "--protocol",
                "udp",
            ],
            "what can be given: pool",
        ),
        (
            vec![
                "blocks",
                "--socket",
                &path(&daemon.socket),
                "--pool",
                "gold",
            ],
            "residential, business",
        ),
    ] {
        let error = text(&show(&arguments)).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn check_names_every_error_and_otherwise_says_what_the_file_provides() {
    let scratch = Scratch::new("check");
    let file = scratch.0.join("cgn.toml");
    let check = |text: &str, exists: fn(&str) -> bool| {
        fs::write(&file, text).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let is_right = examine(&file, exists, &mut out, &mut err).unwrap();
        let [out, err] = [out, err].map(|bytes| String::from_utf8(bytes).unwrap());
        println!("{out}{err}");
        (is_right, out, err)
    };
    let (is_right, out, err) = check(Config::SAMPLE, |_| true);
    assert!(is_right && err.is_empty(), "{err}");
    assert!(
        out.contains("cgn.toml: no errors\n") && out.contains("pool residential: 24 addresses"),
        "{out}"
    );

    assert!(
        out.contains("hint: ") && out.contains("127.100.in-addr.arpa"),
        "{out}"
    );
    let private = Config::SAMPLE.replace("100.64.0.0/21", "10.64.0.0/21");
    let (_, out, _) = check(&private, |_| true);
    assert!(!out.contains("in-addr.arpa"), "{out}");

    let contiguous = "port_mode = \"contiguous\"";
    for (sentence, line, other, is_hinted) in [
        ("fewer ports than a resolver wants", "", "", true),
        (
            "the most that a block can have",
            "block_ports = 512",
            "block_ports = 1024",
            false,
        ),
        (
            "few, but nobody knows which",
            contiguous,
            "port_mode = \"scattered\"",
            false,
        ),
    ] {
        let (is_right, out, err) = check(&Config::SAMPLE.replace(line, other), |_| true);
        assert!(is_right, "{sentence}: {err}");
        let hint = "hint: pool residential: a subscriber's own DNS resolver asks from 512 ports";
        assert_eq!(out.contains(hint), is_hinted, "{sentence}: {out}");
    }

    let short = Config::SAMPLE.replace("port_secs = 120", "port_secs = 10");
    let (is_right, out, err) = check(&short, |_| true);
    assert!(is_right && err.starts_with("warning: "), "{err}");
    assert!(out.contains("no errors, 1 warning\n"), "{out}");

    let (is_right, out, err) = check(Config::SAMPLE, |name| name == "eth1");
    assert!(!is_right && out.is_empty());
    assert!(
        err.contains("inside.interface") && err.contains("eth0") && err.ends_with(": 1 error\n"),
        "{err}"
    );

    let broken = Config::SAMPLE
        .replace("udp_secs = 300", "udp_secs = 3")
        .replace("mode = \"auto\"", "mood = \"auto\"");
    let (is_right, _, err) = check(&broken, |_| true);
    assert!(
        !is_right && err.ends_with(": 2 errors\n") && err.lines().count() == 3,
        "{err}"
    );
}
