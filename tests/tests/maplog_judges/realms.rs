//! Subscribers of another realm, as tshark, nfdump and the crate `netflow_parser` read them.

use cgn_user::maplog::notice::{Notice, What};
use cgn_user::maplog::realms::Register;
use cgn_user::maplog::{Protocol, Remote, Session};
use serde_json::json;

use super::parsers::records_of_ipfix;
use super::*;

/// A log whose realms are 1, `mvno`, and 2, `cloud`.
fn log_of(place: &Place) -> Log {
    let log = place.log();
    Register::with(log.root(), ["mvno", "cloud"].into_iter(), START).expect("names");
    log
}

/// A block of the first realm, then a block, a mapping and a session of realm 2, whose subscriber has
/// the same address.
fn story_of_realms() -> [Entry; 4] {
    let [first, _] = story();
    let Event::Allocate(block) = first.event else {
        panic!("the story begins with a block");
    };
    let block = Block {
        realm: 2,
        ports: PortRange::new(1536, 512).expect("ports"),
        ..block
    };
    let mapping = Session {
        external: block.external,
        external_port: 1540,
        protocol: Protocol::Udp,
        realm: 2,
        inside: block.inside,
        inside_port: 40_000,
        remote: None,
    };
    let session = Session {
        protocol: Protocol::Tcp,
        remote: Some(Remote {
            address: [192, 0, 2, 80].into(),
            port: 443,
        }),
        ..mapping
    };
    let more = [
        Event::Allocate(block),
        Event::Open(mapping),
        Event::Open(session),
    ];
    let [b, c, d] = more.map(|event| Entry { event, ..first });
    [first, b, c, d]
}

fn notice() -> Notice {
    let what = What::SubscriberExceeded {
        realm: 2,
        pool: 0,
        inside: [100, 64, 0, 9].into(),
        most: 2048,
    };
    Notice {
        unix_ms: START + 1_500,
        what,
    }
}

/// The story as datagrams, from the first templates to the last record.
fn sent(place: &Place, format: Format) -> Vec<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("an address");
    let mut log = log_of(place);
    let mut sink = sink(&log, format, Transport::Udp, address, Kinds::ALL);
    log.append(&story_of_realms()).expect("records");
    sink.notify(vec![notice()], 0);
    sink.turn(Instant::now(), (START / 1000) as u32 + 4)
        .expect("sent");
    // On the loopback all are there when they were sent.
    socket.set_nonblocking(true).expect("a socket");
    let mut buffer = [0; 2048];
    let mut datagrams = Vec::new();
    while let Ok(length) = socket.recv(&mut buffer) {
        datagrams.push(buffer[..length].to_vec());
    }
    datagrams
}

#[test]
fn tshark_reads_numbers_and_names_of_realms() {
    const TEST: &str = "realms::tshark_reads_numbers_and_names_of_realms";
    if lacks(TEST, "tshark") {
        return;
    }
    for (format, version, events) in [
        (Format::Ipfix, "10", "16,16,8,4"),
        (Format::Netflow9, "9", "1,1,1,1"),
    ] {
        let place = Place::new(&format!("realms-{version}"));
        let file = place.0.join("realms.pcap");
        fs::write(&file, capture(&sent(&place, format))).expect("a capture");
        let text = tshark(
            &file,
            &[
                "cflow.version",
                "cflow.nat_event",
                "cflow.srcaddr",
                "cflow.ingress_vrfid",
                "cflow.vrfname",
                "_ws.malformed",
            ],
        );
        let told = |numbers: &str, who: &str| {
            let line = format!("{version}\t{numbers}\t{who}");
            text.lines()
                .filter(|found| found.trim_end() == line)
                .count()
        };
        // The names twice, beside the templates; the notice; the records, of which three are of realm 2.
        assert_eq!(told("", "\t1,2\tmvno,cloud"), 2, "{text}");
        assert_eq!(told("13", "100.64.0.9\t2"), 1, "{text}");
        let all = ["100.64.0.9"; 4].join(",");
        assert_eq!(told(events, &format!("{all}\t2,2,2")), 1, "{text}");
    }
}

#[test]
fn the_crate_netflow_parser_reads_numbers_and_names_of_realms() {
    let place = Place::new("realms-parser");
    let records = records_of_ipfix(&sent(&place, Format::Ipfix));
    let number = |value: u32| json!({"DataNumber": {"U32": value}});
    let told: Vec<_> = records
        .iter()
        .map(|record| (&record["NatEvent"]["NatEvent"], &record["IngressVrfid"]))
        .collect();
    let (first, second) = (json!(null), number(2));
    let event = |name: &str| json!(name);
    let expected = [
        (event("QuotaExceeded"), &second),
        (event("PortBlockAllocation"), &first),
        (event("PortBlockAllocation"), &second),
        (event("Nat44BibCreate"), &second),
        (event("Nat44SessionCreate"), &second),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, realm)| (name, *realm))
        .collect();
    assert_eq!(told, expected, "{records:#?}");
}

#[test]
fn nfdump_reads_the_realm_of_blocks_and_sessions() {
    const TEST: &str = "realms::nfdump_reads_the_realm_of_blocks_and_sessions";
    let place = Place::new("realms-nfdump");
    let mut log = log_of(&place);
    let send = |address| {
        let mut sink = sink(&log, Format::Netflow9, Transport::Udp, address, Kinds::ALL);
        log.append(&story_of_realms()).expect("records");
        deliver(&mut sink);
    };
    let Some(text) = nfdump(
        TEST,
        &place,
        "fmt:%nevt %sa %nsa %ivrf %pbstart %da %dp",
        send,
    ) else {
        return;
    };
    let mut rows: Vec<String> = text
        .lines()
        .filter(|line| line.contains("100.64.0.9"))
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    rows.sort();
    let ends = "ADD 100.64.0.9 203.0.113.5";
    let expected = [
        format!("{ends} 0 1024 0.0.0.0 0"),
        format!("{ends} 2 0 0.0.0.0 0"),
        format!("{ends} 2 0 192.0.2.80 443"),
        format!("{ends} 2 1536 0.0.0.0 0"),
    ];
    assert_eq!(rows, expected, "{text}");
}
