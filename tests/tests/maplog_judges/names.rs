//! Names of subscribers, as tshark reads them in IPFIX, and DuckDB in sealed files.

use cgn_tests::skip::python_with;
use cgn_user::maplog::identity::{Attribute, Login, login};
use cgn_user::maplog::realms::Register;

use super::*;

/// Longer than a length of one byte tells: no text, so told in digits.
const ODD: [u8; 200] = [0xff; 200];

/// The subscriber has a block; becomes alice and releases it; another in realm 1 with a name that is no
/// text has one, too.
fn story_of_names() -> Vec<Vec<Entry>> {
    let [allocate, release] = story();
    let block = allocate.event.block().expect("a block");
    let other = Block {
        realm: 1,
        ports: PortRange::new(2048, 512).expect("ports"),
        ..block
    };
    let stay = |realm| Login {
        inside: block.inside,
        realm,
        early_secs: 0,
        nas: 1,
        session: 2,
    };
    let named = |realm, name: &[u8]| -> Vec<Entry> {
        let events = login(stay(realm), Attribute::UserName, name);
        let entries = events.into_iter().map(|event| Entry {
            unix_ms: START + 500,
            event,
        });
        entries.collect()
    };
    let other = Entry {
        event: Event::Allocate(other),
        ..allocate
    };
    vec![
        vec![allocate],
        named(0, b"alice@example.net"),
        named(1, &ODD),
        vec![release, other],
    ]
}

#[test]
fn tshark_reads_the_names_of_ipfix() {
    const TEST: &str = "tshark_reads_the_names_of_ipfix";
    if lacks(TEST, "tshark") {
        return;
    }
    let place = Place::new("names");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("an address");
    let mut log = place.log();
    Register::with(log.root(), ["mvno"].into_iter(), START).expect("a name");
    let options = Options {
        identities: true,
        datagram_bytes: 1200,
        ..options(Format::Ipfix, Transport::Udp, address, Kinds::ALL)
    };
    let mut sink = Sink::open(log.root(), options, log.committed()).expect("a sink");
    for group in story_of_names() {
        log.append(&group).expect("records");
    }
    deliver(&mut sink);
    socket.set_nonblocking(true).expect("a socket");
    let mut buffer = [0; 2048];
    let mut datagrams = Vec::new();
    while let Ok(length) = socket.recv(&mut buffer) {
        datagrams.push(buffer[..length].to_vec());
    }
    let file = place.0.join("names.pcap");
    fs::write(&file, capture(&datagrams)).expect("a capture");
    let fields = [
        "cflow.nat_event",
        "cflow.port_range_start",
        "cflow.user_name",
        "_ws.malformed",
    ];
    let text = tshark(&file, &fields);
    let told: Vec<&str> = text.lines().filter(|line| line.starts_with("16")).collect();
    let odd = format!("0x{}", "ff".repeat(200));
    assert_eq!(
        told,
        [format!(
            "16,17,16\t1024,1024,2048\talice@example.net,{odd}\t"
        )],
        "{text}"
    );
}

const READER: &str = r#"
import duckdb, sys
files = sys.argv[1] + '/*/identities-*.parquet'
rows = duckdb.sql("SELECT epoch_ms(since), event, inside, realm, attribute, identity FROM read_parquet('%s') ORDER BY ALL" % files)
for row in rows.fetchall():
    print(*(x if x != '' else '-' for x in row))
"#;

#[test]
fn duckdb_reads_the_sealed_files_of_names() {
    const TEST: &str = "duckdb_reads_the_sealed_files_of_names";
    let Some(python) = python_with(TEST, "duckdb") else {
        return;
    };
    let place = Place::new("sealed-names");
    let mut log = place.log();
    Register::with(log.root(), ["mvno"].into_iter(), START).expect("a name");
    for group in story_of_names() {
        log.append(&group).expect("records");
    }
    let stay = Login {
        inside: [100, 64, 0, 9].into(),
        realm: 0,
        early_secs: 60,
        nas: 1,
        session: 2,
    };
    let end = Entry {
        unix_ms: START + 24 * HOUR_MS,
        event: Event::Logout(stay),
    };
    log.append(&[end]).expect("a record");
    seal(&mut log, 48);
    let mut command = Command::new(python);
    let text = said(command.args(["-c", READER]).arg(log.root()));
    let odd = format!("0x{}", "ff".repeat(200));
    let mut expected: Vec<String> = ["login", "held"]
        .into_iter()
        .flat_map(|event| {
            let row = |realm, name: &str| {
                let since = START + 500;
                format!("{since} {event} 1681915913 {realm} User-Name {name}")
            };
            [row("-", "alice@example.net"), row("mvno", &odd)]
        })
        .collect();
    let since = START + 24 * HOUR_MS - 60_000;
    expected.push(format!("{since} logout 1681915913 - - -"));
    let mut told: Vec<&str> = text.lines().collect();
    expected.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, expected);
}
