//! Other readers of IPFIX: pmacct's nfacctd and the crate `netflow_parser`.

use netflow_parser::NetflowParser;
use serde_json::{Value, json};

use super::*;

#[test]
fn nfacctd_reads_the_block_events_of_ipfix() {
    const TEST: &str = "nfacctd_reads_the_block_events_of_ipfix";
    if lacks(TEST, "nfacctd") {
        return;
    }
    let place = Place::new("nfacctd");
    let free = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = free.local_addr().expect("an address");
    drop(free);
    let folder = place.0.display();
    let primitives = "name=port_start field_type=361 len=2 semantics=u_int\n\
                      name=port_end field_type=362 len=2 semantics=u_int\n";
    fs::write(place.0.join("primitives"), primitives).expect("primitives");
    let config = format!(
        "daemonize: false\nnfacctd_ip: 127.0.0.1\nnfacctd_port: {}\nplugins: print[out]\n\
         aggregate[out]: src_host, post_nat_src_host, nat_event, port_start, port_end\n\
         aggregate_primitives: {folder}/primitives\nprint_output[out]: csv\n\
         print_refresh_time[out]: 1\nprint_output_file[out]: {folder}/out\n\
         print_output_file_append[out]: true\n",
        address.port()
    );
    fs::write(place.0.join("nfacctd.conf"), config).expect("a configuration");
    let mut collector = Command::new("nfacctd")
        .arg("-f")
        .arg(place.0.join("nfacctd.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nfacctd runs");
    // Refused datagrams are sent again: no need to know when it listens.
    send(&place, Format::Ipfix, Transport::Udp, address);
    let until = Instant::now() + PATIENCE;
    let rows = loop {
        let text = fs::read_to_string(place.0.join("out")).unwrap_or_default();
        let rows: Vec<String> = text
            .lines()
            .filter(|line| line.starts_with("100."))
            .map(str::to_owned)
            .collect();
        if rows.len() >= 2 || Instant::now() > until {
            break rows;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    // Its plugin is a process of its own, which ends with it.
    // SAFETY: a signal to our own child, which was not waited for yet.
    unsafe { libc::kill(collector.id() as libc::pid_t, libc::SIGINT) };
    collector.wait().expect("nfacctd ends");
    let mut rows = rows;
    rows.sort();
    let expected = [16, 17].map(|event| format!("100.64.0.9,203.0.113.5,{event},1024,1535,0,0"));
    assert_eq!(rows, expected);
}

#[test]
fn the_crate_netflow_parser_reads_blocks_and_notices_of_ipfix() {
    let place = Place::new("parser");
    let records = records_of_ipfix(&datagrams(&place, Format::Ipfix));
    let number = |value: u32| json!({"DataNumber": {"U32": value}});
    let port = |value: u16| json!({"DataNumber": {"U16": value}});
    let expected = [
        json!({"NatEvent": {"NatEvent": "NatAddressesExhausted"}, "NatPoolId": number(3)}),
        json!({"NatEvent": {"NatEvent": "NatPortsExhausted"},
               "PostNatsourceIpv4address": {"Ip4Addr": "203.0.113.5"}}),
        json!({"NatEvent": {"NatEvent": "QuotaExceeded"}, "MaxBibentries": number(51_200)}),
        json!({"NatEvent": {"NatEvent": "QuotaExceeded"}, "MaxEntriesPerUser": number(2048),
               "SourceIpv4address": {"Ip4Addr": "100.64.0.9"}}),
        json!({"NatEvent": {"NatEvent": "ThresholdReached"}, "AddressPoolHighThreshold": number(18)}),
        json!({"NatEvent": {"NatEvent": "ThresholdReached"}, "AddressPoolLowThreshold": number(10)}),
        json!({"NatEvent": {"NatEvent": "PortBlockAllocation"}, "PortRangeStart": port(1024), "PortRangeEnd": port(1535)}),
        json!({"NatEvent": {"NatEvent": "PortBlockDeAllocation"}, "PortRangeStart": port(1024), "PortRangeEnd": port(1535)}),
    ];
    assert_eq!(records.len(), expected.len(), "{records:#?}");
    for (record, expected) in records.iter().zip(&expected) {
        for (field, value) in expected.as_object().expect("fields") {
            assert_eq!(&record[field], value, "{field} of {record:#}");
        }
    }
}

/// All data records, as the crate reads them.
pub(crate) fn records_of_ipfix(datagrams: &[Vec<u8>]) -> Vec<Value> {
    let mut parser = NetflowParser::default();
    let mut records = Vec::new();
    for datagram in datagrams {
        let parsed = parser.parse_bytes(datagram);
        assert!(parsed.error.is_none(), "{:?}", parsed.error);
        let packets = serde_json::to_value(&parsed.packets).expect("JSON");
        let sets = packets[0]["IPFix"]["flowsets"]
            .as_array()
            .expect("sets")
            .clone();
        for set in sets {
            let fields = set["body"]["Data"]["fields"].as_array();
            records.extend(fields.into_iter().flatten().map(named));
        }
    }
    records
}

/// A record as an object: the parser has a list of pairs of an element's name and its value.
fn named(fields: &Value) -> Value {
    let pairs = fields.as_array().into_iter().flatten();
    let named = pairs.filter_map(|pair| {
        let name = pair[0]["IANA"].as_str()?;
        Some((name.to_owned(), pair[1].clone()))
    });
    Value::Object(named.collect())
}
