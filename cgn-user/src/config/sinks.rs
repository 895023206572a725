//! What `[[sink]]` sections must fulfil.

use super::fault::{Fault, Findings};
use super::limit;
use super::place::KeyPath;
use super::schema::{Config, PortMode, Sink, SinkFormat, SinkSasl, SinkTransport};
use super::validate::{check_limit, check_name};

pub(super) fn validate(config: &Config, findings: &mut Findings) {
    for (index, sink) in config.sink.iter().enumerate() {
        let section = KeyPath::from(format!("sink[{index}]"));
        check_name(section.key("name"), &sink.name, findings);
        let mut earlier = config.sink[..index].iter();
        let other = earlier.position(|earlier| earlier.name == sink.name);
        if let Some(other) = other.filter(|_| findings.sound(&section.key("name"))) {
            let name = sink.name.clone();
            let other = KeyPath::from(format!("sink[{other}]"));
            findings.add(
                section.key("name"),
                Fault::DuplicateSinkName { name, other },
            );
        }
        check_format(config, &section, sink, findings);
        check_transport(&section, sink, findings);
        check_topic(&section, sink, findings);
        check_sasl(&section, sink, findings);
        for (key, value, limit) in [
            ("template_secs", sink.template_secs, &limit::TEMPLATE_SECS),
            (
                "datagram_bytes",
                sink.datagram_bytes,
                &limit::DATAGRAM_BYTES,
            ),
            ("interim_secs", sink.interim_secs, &limit::INTERIM_SECS),
            ("partition", sink.partition, &limit::PARTITION),
        ] {
            check_limit(section.key(key), value, limit, findings);
        }
    }
}

/// The standards have ranges of ports only (RFC 8158): a scattered block would be told wrongly.
fn check_format(config: &Config, section: &KeyPath, sink: &Sink, findings: &mut Findings) {
    let key = section.key("format");
    let has_ranges = matches!(sink.format, SinkFormat::Ipfix | SinkFormat::Netflow9);
    let pool = config
        .pool
        .iter()
        .find(|pool| pool.port_mode == PortMode::Scattered);
    if let Some(pool) = pool.filter(|_| has_ranges && findings.sound(&key)) {
        let pool = pool.name.clone();
        findings.add(key, Fault::ScatteredRanges { pool });
    }
}

/// Longest name of a topic.
const TOPIC_BYTES: usize = 249;

fn check_topic(section: &KeyPath, sink: &Sink, findings: &mut Findings) {
    let (transport, topic) = (section.key("transport"), section.key("topic"));
    if !findings.sound(&transport) || !findings.sound(&topic) {
        return;
    }
    if !sink.transport.is_kafka() {
        if !sink.topic.is_empty() {
            findings.add(topic, Fault::NotKafka);
        }
        return;
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_name = (1..=TOPIC_BYTES).contains(&sink.topic.len()) && sink.topic.bytes().all(is_plain);
    if !is_name {
        findings.add(topic, Fault::Topic);
    }
    if !matches!(sink.format, SinkFormat::Jsonl | SinkFormat::Syslog) {
        findings.add(transport, Fault::KafkaFormat);
    }
}

fn check_sasl(section: &KeyPath, sink: &Sink, findings: &mut Findings) {
    let (sasl, file) = (section.key("sasl"), section.key("password_file"));
    if !findings.sound(&sasl) || !findings.sound(&section.key("transport")) {
        return;
    }
    if sink.sasl.is_some() && !sink.transport.is_kafka() {
        findings.add(sasl, Fault::NotKafka);
        return;
    }
    if sink.sasl == Some(SinkSasl::Plain) && !sink.transport.is_tls() {
        findings.add(sasl, Fault::PlainInClear);
    }
    let has_file = !sink.password_file.as_os_str().is_empty();
    for (key, has, example) in [
        ("user", !sink.user.is_empty(), "user = \"cgn\""),
        (
            "password_file",
            has_file,
            "password_file = \"/etc/cgn/kafka.password\"",
        ),
    ] {
        let key = section.key(key);
        match (sink.sasl.is_some(), has) {
            _ if !findings.sound(&key) => {}
            (true, false) => findings.add(key, Fault::SaslNeeds { example }),
            (false, true) => findings.add(key, Fault::NotSasl),
            _ => {}
        }
    }
    if has_file && !sink.password_file.is_absolute() && findings.sound(&file) {
        let path = sink.password_file.clone();
        findings.add(file, Fault::NotAbsolute { path });
    }
}

fn check_transport(section: &KeyPath, sink: &Sink, findings: &mut Findings) {
    let key = section.key("transport");
    if !findings.sound(&key) {
        return;
    }
    let (is_tls, is_kafka) = (sink.transport.is_tls(), sink.transport.is_kafka());
    let address = section.key("address");
    // The client takes for the name what is before the first colon.
    if is_tls && is_kafka && sink.address.is_ipv6() && findings.sound(&address) {
        findings.add(address, Fault::KafkaTlsAddress);
    }
    if sink.format == SinkFormat::Netflow9 && sink.transport != SinkTransport::Udp && !is_kafka {
        findings.add(key, Fault::SinkTransport);
        return;
    }
    let has_file = !sink.ca_file.as_os_str().is_empty();
    for (key, has, what, example) in [
        (
            "ca_file",
            has_file,
            "the certificates to trust",
            "ca_file = \"/etc/cgn/ca.pem\"",
        ),
        (
            "server_name",
            !sink.server_name.is_empty(),
            "the collector's name",
            "server_name = \"logs.example.net\"",
        ),
    ] {
        let key = section.key(key);
        if !findings.sound(&key) {
            continue;
        }
        match (is_tls, has) {
            (true, false) => findings.add(key, Fault::TlsNeeds { what, example }),
            (false, true) => findings.add(key, Fault::NotTls),
            _ => {}
        }
    }
    let key = section.key("ca_file");
    if findings.sound(&key) && has_file && !sink.ca_file.is_absolute() {
        let path = sink.ca_file.clone();
        findings.add(key, Fault::NotAbsolute { path });
    }
}
