//! Mappings and sessions as tshark, nfdump and the crate `netflow_parser` read them, and their columns in
//! sealed files as DuckDB and pyarrow do.

use cgn_user::maplog::{Protocol, Remote, Session};

use serde_json::json;

use super::parsers::records_of_ipfix;
use super::*;
use cgn_tests::skip::python_with;

/// A mapping and a session, each with begin and end, a second apart.
fn talk() -> [Entry; 4] {
    let mapping = Session {
        external: [203, 0, 113, 5].into(),
        external_port: 1030,
        protocol: Protocol::Udp,
        realm: 0,
        inside: [100, 64, 0, 9].into(),
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
    let at = |secs: u64, event| Entry {
        unix_ms: START + secs * 1000 + 123,
        event,
    };
    [
        at(0, Event::Open(mapping)),
        at(1, Event::Open(session)),
        at(2, Event::Close(session)),
        at(3, Event::Close(mapping)),
    ]
}

/// The talk as datagrams, with the templates before it, twice.
fn sent(place: &Place, format: Format) -> Vec<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let address = socket.local_addr().expect("an address");
    let mut log = place.log();
    let kinds = Kinds {
        notices: false,
        ..Kinds::ALL
    };
    let mut sink = sink(&log, format, Transport::Udp, address, kinds);
    log.append(&talk()).expect("records");
    sink.turn(Instant::now(), (START / 1000) as u32 + 4)
        .expect("sent");
    let mut buffer = [0; 2048];
    let datagrams = (0..5).map(|_| {
        let length = socket.recv(&mut buffer).expect("a datagram");
        buffer[..length].to_vec()
    });
    datagrams.collect()
}

#[test]
fn tshark_reads_mappings_and_sessions() {
    const TEST: &str = "sessions::tshark_reads_mappings_and_sessions";
    if lacks(TEST, "tshark") {
        return;
    }
    for (format, version, events) in [
        (Format::Ipfix, "10", "8,4,5,9"),
        (Format::Netflow9, "9", "1,1,2,2"),
    ] {
        let place = Place::new(&format!("sessions-{version}"));
        let file = place.0.join("sessions.pcap");
        fs::write(&file, capture(&sent(&place, format))).expect("a capture");
        let text = tshark(
            &file,
            &[
                "cflow.version",
                "cflow.nat_event",
                "cflow.srcaddr",
                "cflow.post_natsource_ipv4_address",
                "cflow.protocol",
                "cflow.srcport",
                "cflow.post_naptsource_transport_port",
                "cflow.dstaddr",
                "cflow.dstport",
                "_ws.malformed",
            ],
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        let four = |what: &str| [what; 4].join(",");
        let expected = [
            version,
            events,
            &four("100.64.0.9"),
            &four("203.0.113.5"),
            "17,6,6,17",
            &four("40000"),
            &four("1030"),
            "192.0.2.80,192.0.2.80",
            "443,443",
        ];
        assert_eq!(lines[4].trim_end(), expected.join("\t"), "{text}");
    }
}

#[test]
fn the_crate_netflow_parser_reads_mappings_and_sessions() {
    let place = Place::new("sessions-parser");
    let records = records_of_ipfix(&sent(&place, Format::Ipfix));
    let address = |text: &str| json!({"Ip4Addr": text});
    let ends = json!({
        "SourceIpv4address": address("100.64.0.9"),
        "PostNatsourceIpv4address": address("203.0.113.5"),
    });
    let remote = json!({"DestinationIpv4address": address("192.0.2.80")});
    let expected = [
        ("Nat44BibCreate", false),
        ("Nat44SessionCreate", true),
        ("Nat44SessionDelete", true),
        ("Nat44BibDelete", false),
    ];
    assert_eq!(records.len(), expected.len(), "{records:#?}");
    for (record, (event, has_remote)) in records.iter().zip(expected) {
        assert_eq!(record["NatEvent"], json!({"NatEvent": event}), "{record:#}");
        for (field, value) in ends.as_object().expect("fields") {
            assert_eq!(&record[field], value, "{field} of {record:#}");
        }
        for (field, value) in remote.as_object().expect("fields") {
            assert_eq!(
                record.get(field),
                has_remote.then_some(value),
                "{field} of {record:#}"
            );
        }
    }
}

/// How each of them gets the rows.
const READERS: [(&str, &str); 2] = [
    (
        "duckdb",
        "import duckdb\nrows = duckdb.sql(\"SELECT epoch_ms(time), event, external, first_port, inside, protocol, inside_port, remote, remote_port FROM read_parquet(%r)\" % files).fetchall()\n",
    ),
    (
        "pyarrow",
        "import pyarrow.parquet as pq\nrows = []\nfor f in files:\n    t = pq.read_table(f)\n    t = t.set_column(0, 'time', t['time'].cast('int64'))\n    t = t.select(['time', 'event', 'external', 'first_port', 'inside', 'protocol', 'inside_port', 'remote', 'remote_port'])\n    rows += [tuple(r.values()) for r in t.to_pylist()]\n",
    ),
];

#[test]
fn other_programs_read_the_columns_of_sessions() {
    const TEST: &str = "sessions::other_programs_read_the_columns_of_sessions";
    let place = Place::new("sessions-parquet");
    let mut log = place.log();
    log.append(&talk()).expect("records");
    seal(&mut log, 1);
    let ends = "3405803781 1030 1681915913";
    let expected = format!(
        "{} open {ends} udp 40000 0 0\n{} open {ends} tcp 40000 3221226064 443\n{} close {ends} tcp 40000 3221226064 443\n{} close {ends} udp 40000 0 0\n",
        START + 123,
        START + 1_123,
        START + 2_123,
        START + 3_123,
    );
    for (module, read) in READERS {
        let Some(python) = python_with(TEST, module) else {
            continue;
        };
        let head =
            "import sys, glob\nfiles = sorted(glob.glob(sys.argv[1] + '/*/[0-2]*.parquet'))\n";
        let tail = "\nfor row in sorted(rows):\n    print(*row)\n";
        let mut command = Command::new(python);
        let text = said(
            command
                .args(["-c", &format!("{head}{read}{tail}")])
                .arg(place.0.join("log")),
        );
        assert_eq!(text, expected, "{module}");
    }
}
