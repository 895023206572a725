//! Exhaustion, quota and threshold events, as tshark reads them (RFC 8158 sections 4.6.5 to 4.6.8).

use cgn_user::maplog::notice::{Notice, What};

use super::*;

/// One of each kind.
pub fn all() -> Vec<Notice> {
    let (pool, protocol) = (3, 6);
    let whats = [
        What::AddressesExhausted { pool },
        What::PortsExhausted {
            pool,
            external: [203, 0, 113, 5].into(),
            protocol,
        },
        What::MappingsExceeded { pool, most: 51_200 },
        What::SubscriberExceeded {
            realm: 0,
            pool,
            inside: [100, 64, 0, 9].into(),
            most: 2048,
        },
        What::PoolHigh {
            pool,
            addresses: 18,
        },
        What::PoolLow {
            pool,
            addresses: 10,
        },
    ];
    let unix_ms = START + 1_500;
    whats.map(|what| Notice { unix_ms, what }).to_vec()
}

#[test]
fn tshark_reads_each_kind_of_notice() {
    const TEST: &str = "tshark_reads_each_kind_of_notice";
    if lacks(TEST, "tshark") {
        return;
    }
    // Field, and what the one datagram of notices says in it, in the order of records.
    let expected = [
        ("cflow.nat_event", "3,12,13,13,18,18"),
        ("cflow.nat_pool_id", "3,3,3"),
        ("cflow.post_natsource_ipv4_address", "203.0.113.5"),
        ("cflow.protocol", "6"),
        ("cflow.nat_quota_exceeded_event", "2,3"),
        ("cflow.max_bib_entries", "51200"),
        ("cflow.max_entries_per_user", "2048"),
        ("cflow.srcaddr", "100.64.0.9"),
        ("cflow.nat_threshold_event", "1,2"),
        ("cflow.addresspool_highthreshold", "18"),
        ("cflow.addresspool_lowthreshold", "10"),
        ("_ws.malformed", ""),
    ];
    for (format, name) in [(Format::Ipfix, "ipfix"), (Format::Netflow9, "netflow9")] {
        let place = Place::new(&format!("notices-{name}"));
        let datagrams = datagrams(&place, format);
        let file = place.0.join("notices.pcap");
        fs::write(&file, capture(&datagrams)).expect("a capture");
        let text = tshark(&file, &expected.map(|(field, _)| field));
        let line = text.lines().nth(4).unwrap_or_default();
        let found: Vec<&str> = line.split('\t').collect();
        assert_eq!(found, expected.map(|(_, values)| values), "{name}: {text}");
    }
}
