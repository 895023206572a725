//! The whole file: its syntax, then each section, key by key, in the order of the sample.

use std::net::Ipv4Addr;

use toml::de::DeTable;

use super::fault::{Fault, Findings};
use super::limit;
use super::mirrors;
use super::notation::{AddressSpan, Ipv4Prefix};
use super::place::{KeyPath, Places};
use super::reader::{TableReader, read_table};
use super::rules;
use super::schema::{
    Config, Control, Debug, Filtering, Fragments, Group, Guard, Hold, Icmp, Identity,
    IdentityClient, Log, Metrics, Midstream, Pool, PoolMode, PortMode, Realm, Scatter, Sessions,
    Side, Sink, SinkFormat, SinkTransport, Subscribers, Tcp, Throttle, Timeouts, Xdp, XdpMode,
};
use super::value::{
    address, any_host, attribute, boolean, exhausted, filtering, integer, log_mode, log_sync,
    midstream, on_full, path, pool_mode, port_mode, sink_format, sink_sasl, sink_transport,
    socket_address, string, xdp_mode,
};
use crate::maplog::identity::Attribute;

/// Reads a file. `None` when it is not TOML; the findings say why.
///
/// What could not be read has a placeholder in the configuration and a fault in the findings.
pub(super) fn read(text: &str, findings: &mut Findings) -> (Option<Config>, Places) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let table = table.get_ref();
    let places = Places::of(text, table);
    if !report_syntax(text, &errors, &places, findings) {
        return (None, places);
    }
    let (config, found) = read_table(table, KeyPath::root(), read_config);
    findings.append(found);
    (Some(config), places)
}

/// Whether the table can be read: there are at most duplicate keys.
fn report_syntax(
    text: &str,
    errors: &[toml::de::Error],
    places: &Places,
    findings: &mut Findings,
) -> bool {
    let mut readable = true;
    let mut last_line = 0;
    let mut errors: Vec<_> = errors
        .iter()
        .map(|error| (error.span().unwrap_or_default(), error.message()))
        .collect();
    errors.sort_by_key(|(span, _)| span.start);
    for (span, message) in errors {
        let (line, column) = (
            places.line_at(span.start),
            places.column_at(text, span.start),
        );
        let key = text.get(span.clone()).unwrap_or_default();
        // The parser has no error codes; a test holds this text.
        if message == "duplicate key" {
            let path = places.path_of_duplicate(key.trim_matches(['"', '\'']), span.start);
            let first_line = places.line(&path).filter(|first| *first < line);
            findings.add_at(path, line, Fault::DuplicateKey { column, first_line });
            continue;
        }
        readable = false;
        // One slip often makes several errors in its line; the first is the true one.
        if line != last_line {
            last_line = line;
            let message = message.to_owned();
            findings.add_at(KeyPath::root(), line, Fault::Syntax { column, message });
        }
    }
    readable
}

fn read_config(file: &mut TableReader<'_>) -> Config {
    Config {
        inside: file.section("inside", "a section [inside]", read_side),
        outside: file.section("outside", "a section [outside]", read_side),
        realm: file.sections(
            "realm",
            "a section [[realm]], with two brackets",
            read_realm,
        ),
        xdp: file.section("xdp", "a section [xdp]", read_xdp),
        pool: file.sections("pool", "a section [[pool]], with two brackets", read_pool),
        subscribers: file.sections(
            "subscribers",
            "a section [[subscribers]], with two brackets",
            read_subscribers,
        ),
        group: file.sections(
            "group",
            "a section [[group]], with two brackets",
            read_group,
        ),
        access: file.section("access", "a section [access]", rules::read_access),
        rule: file.sections(
            "rule",
            "a section [[rule]], with two brackets",
            rules::read_rule,
        ),
        guard: file.section("guard", "a section [guard]", read_guard),
        throttle: file.section("throttle", "a section [throttle]", read_throttle),
        tcp: file.section("tcp", "a section [tcp]", read_tcp),
        icmp: file.section("icmp", "a section [icmp]", read_icmp),
        sessions: file.section("sessions", "a section [sessions]", read_sessions),
        fragments: file.section("fragments", "a section [fragments]", read_fragments),
        timeouts: file.section("timeouts", "a section [timeouts]", read_timeouts),
        hold: file.section("hold", "a section [hold]", read_hold),
        scatter: file.section("scatter", "a section [scatter]", read_scatter),
        log: file.section("log", "a section [log]", read_log),
        identity: file.section("identity", "a section [identity]", read_identity),
        sink: file.sections("sink", "a section [[sink]], with two brackets", read_sink),
        mirror: file.sections(
            "mirror",
            "a section [[mirror]], with two brackets",
            mirrors::read_mirror,
        ),
        metrics: file.section("metrics", "a section [metrics]", read_metrics),
        control: file.section("control", "a section [control]", read_control),
        debug: file.section("debug", "a section [debug]", read_debug),
    }
}

fn read_side(side: &mut TableReader<'_>) -> Side {
    Side {
        interface: side.required("interface", "interface = \"eth0\"", String::new(), string),
        vlan: side.list("vlan", 0, integer(&limit::VLAN_ID)),
    }
}

fn read_realm(realm: &mut TableReader<'_>) -> Realm {
    Realm {
        name: realm.required("name", "name = \"mvno\"", String::new(), string),
        inside: realm.sections(
            "inside",
            "a list of tables such as [{ interface = \"eth2\" }]",
            read_side,
        ),
        table: realm.required("table", "table = 100", 1, integer(&limit::TABLE)),
    }
}

fn read_xdp(xdp: &mut TableReader<'_>) -> Xdp {
    Xdp {
        mode: xdp.optional("mode", XdpMode::default(), xdp_mode),
    }
}

fn read_pool(pool: &mut TableReader<'_>) -> Pool {
    Pool {
        name: pool.required("name", "name = \"residential\"", String::new(), string),
        addresses: pool.required_list(
            "addresses",
            "addresses = [\"203.0.113.0/28\"]",
            AddressSpan::Single(Ipv4Addr::UNSPECIFIED),
            address,
        ),
        block_ports: pool.optional(
            "block_ports",
            Pool::default_block_ports(),
            integer(&limit::BLOCK_PORTS),
        ),
        mode: pool.optional("mode", PoolMode::default(), pool_mode),
        dynamic_factor: pool.optional(
            "dynamic_factor",
            Pool::default_dynamic_factor(),
            integer(&limit::DYNAMIC_FACTOR),
        ),
        port_mode: pool.optional("port_mode", PortMode::default(), port_mode),
        keep_parity: pool.optional("keep_parity", false, boolean),
        keep_class: pool.optional("keep_class", false, boolean),
        blocks_per_subscriber: pool.optional(
            "blocks_per_subscriber",
            Pool::default_blocks_per_subscriber(),
            integer(&limit::BLOCKS_PER_SUBSCRIBER),
        ),
        reserved_ports: pool.list("reserved_ports", 0, integer(&limit::USABLE_PORT)),
        high_percent: pool.optional(
            "high_percent",
            Pool::default_high_percent(),
            integer(&limit::PERCENT),
        ),
        low_percent: pool.optional(
            "low_percent",
            Pool::default_low_percent(),
            integer(&limit::PERCENT),
        ),
        watermark_percent: pool.optional(
            "watermark_percent",
            Pool::default_watermark_percent(),
            integer(&limit::WATERMARK_PERCENT),
        ),
        max_blocks: pool.optional("max_blocks", None, |value| {
            integer(&limit::MAX_BLOCKS)(value).map(Some)
        }),
        filtering: pool.optional("filtering", Filtering::default(), filtering),
        tcp_filtering: pool.optional("tcp_filtering", Filtering::default(), filtering),
    }
}

fn read_subscribers(subscribers: &mut TableReader<'_>) -> Subscribers {
    Subscribers {
        prefixes: subscribers.required_list(
            "prefixes",
            "prefixes = [\"100.64.0.0/16\"]",
            Ipv4Prefix::PLACEHOLDER,
            address,
        ),
        pool: subscribers.required("pool", "pool = \"residential\"", String::new(), string),
        realm: subscribers.optional("realm", String::new(), string),
    }
}

/// Keys of `[[pool]]` that one may look for in `[[group]]`.
const POOL_KEYS: [&str; 12] = [
    "addresses",
    "block_ports",
    "mode",
    "port_mode",
    "keep_parity",
    "blocks_per_subscriber",
    "watermark_percent",
    "high_percent",
    "max_blocks",
    "reserved_ports",
    "filtering",
    "tcp_filtering",
];

fn read_group(group: &mut TableReader<'_>) -> Group {
    let name = group.required("name", "name = \"basic\"", String::new(), string);
    let realm = group.optional("realm", String::new(), string);
    let prefixes = match realm.is_empty() {
        true => group.required_list(
            "prefixes",
            "prefixes = [\"100.64.0.0/24\"]",
            Ipv4Prefix::PLACEHOLDER,
            address,
        ),
        false => group.list("prefixes", Ipv4Prefix::PLACEHOLDER, address),
    };
    group.elsewhere(&POOL_KEYS, || Fault::OfPool);
    Group {
        name,
        prefixes,
        realm,
        pool: group.optional("pool", None, |value| string(value).map(Some)),
        blocks: maybe(group, "blocks", &limit::BLOCKS_PER_SUBSCRIBER),
        tcp_mappings: maybe(group, "tcp_mappings", &limit::MAPPINGS),
        udp_mappings: maybe(group, "udp_mappings", &limit::MAPPINGS),
        icmp_mappings: maybe(group, "icmp_mappings", &limit::MAPPINGS),
        sessions: maybe(group, "sessions", &limit::OWN_SESSIONS),
        new_per_second: maybe(group, "new_per_second", &limit::NEW_PER_SECOND),
        burst: maybe(group, "burst", &limit::NEW_PER_SECOND),
        udp_secs: maybe(group, "udp_secs", &limit::UDP_SECS),
        icmp_secs: maybe(group, "icmp_secs", &limit::ICMP_SECS),
        tcp_established_secs: maybe(group, "tcp_established_secs", &limit::TCP_ESTABLISHED_SECS),
        tcp_opening_secs: maybe(group, "tcp_opening_secs", &limit::TCP_TRANSITORY_SECS),
        tcp_closing_secs: maybe(group, "tcp_closing_secs", &limit::TCP_TRANSITORY_SECS),
        log: group.optional("log", None, |value| log_mode(value).map(Some)),
    }
}

/// A number that may be left out.
fn maybe<T: TryFrom<i128>>(
    table: &mut TableReader<'_>,
    key: &'static str,
    limit: &'static limit::Limit,
) -> Option<T> {
    table.optional(key, None, |value| integer(limit)(value).map(Some))
}

fn read_guard(guard: &mut TableReader<'_>) -> Guard {
    let default = Guard::default();
    Guard {
        unsolicited_per_second: guard.optional(
            "unsolicited_per_second",
            default.unsolicited_per_second,
            integer(&limit::FLOOD_RATE),
        ),
        busy_percent: guard.optional(
            "busy_percent",
            default.busy_percent,
            integer(&limit::PERCENT),
        ),
        busy_secs: guard.optional("busy_secs", default.busy_secs, integer(&limit::BUSY_SECS)),
    }
}

/// Keys that one may look for in `[throttle]`: other lengths of IPv6 prefixes.
const OTHER_LENGTHS: [&str; 6] = [
    "inside_128",
    "inside_60",
    "inside_32",
    "outside_128",
    "outside_60",
    "outside_32",
];

fn read_throttle(throttle: &mut TableReader<'_>) -> Throttle {
    let default = Throttle::default();
    throttle.elsewhere(&OTHER_LENGTHS, || Fault::LengthOfIpv6);
    let mut rate = |key| throttle.optional(key, 0, integer(&limit::FLOOD_RATE));
    Throttle {
        inside_host: rate("inside_host"),
        inside_24: rate("inside_24"),
        inside_20: rate("inside_20"),
        outside_host: rate("outside_host"),
        outside_24: rate("outside_24"),
        outside_20: rate("outside_20"),
        inside_64: rate("inside_64"),
        inside_56: rate("inside_56"),
        inside_48: rate("inside_48"),
        outside_64: rate("outside_64"),
        outside_56: rate("outside_56"),
        outside_48: rate("outside_48"),
        limit_secs: throttle.optional(
            "limit_secs",
            default.limit_secs,
            integer(&limit::THROTTLE_SECS),
        ),
    }
}

fn read_tcp(tcp: &mut TableReader<'_>) -> Tcp {
    Tcp {
        midstream: tcp.optional("midstream", Midstream::default(), midstream),
        mss_outbound: tcp.optional("mss_outbound", 0, integer(&limit::MSS_BYTES)),
        mss_inbound: tcp.optional("mss_inbound", 0, integer(&limit::MSS_BYTES)),
    }
}

fn read_sessions(sessions: &mut TableReader<'_>) -> Sessions {
    let default = Sessions::default();
    Sessions {
        max: sessions.optional("max", default.max, integer(&limit::SESSIONS)),
        time_tcp: sessions.optional("time_tcp", default.time_tcp, boolean),
    }
}

fn read_fragments(fragments: &mut TableReader<'_>) -> Fragments {
    let default = Fragments::default();
    let mut number = |key, default, limit| fragments.optional(key, default, integer(limit));
    Fragments {
        max_datagrams: number("max_datagrams", default.max_datagrams, &limit::DATAGRAMS),
        max_held: number("max_held", default.max_held, &limit::HELD_FRAGMENTS),
        max_held_kib: number("max_held_kib", default.max_held_kib, &limit::HELD_KIB),
        max_held_per_source: number(
            "max_held_per_source",
            default.max_held_per_source,
            &limit::HELD_FRAGMENTS,
        ),
        timeout_secs: number("timeout_secs", default.timeout_secs, &limit::FRAGMENT_SECS),
    }
}

fn read_timeouts(timeouts: &mut TableReader<'_>) -> Timeouts {
    let default = Timeouts::default();
    Timeouts {
        udp_secs: timeouts.optional("udp_secs", default.udp_secs, integer(&limit::UDP_SECS)),
        icmp_secs: timeouts.optional("icmp_secs", default.icmp_secs, integer(&limit::ICMP_SECS)),
        tcp_established_secs: timeouts.optional(
            "tcp_established_secs",
            default.tcp_established_secs,
            integer(&limit::TCP_ESTABLISHED_SECS),
        ),
        tcp_opening_secs: timeouts.optional(
            "tcp_opening_secs",
            default.tcp_opening_secs,
            integer(&limit::TCP_TRANSITORY_SECS),
        ),
        tcp_closing_secs: timeouts.optional(
            "tcp_closing_secs",
            default.tcp_closing_secs,
            integer(&limit::TCP_TRANSITORY_SECS),
        ),
        inbound_refresh: timeouts.optional("inbound_refresh", default.inbound_refresh, boolean),
        short_udp_ports: timeouts.list("short_udp_ports", 0, integer(&limit::WELL_KNOWN_PORT)),
        short_udp_secs: timeouts.optional(
            "short_udp_secs",
            default.short_udp_secs,
            integer(&limit::SHORT_UDP_SECS),
        ),
    }
}

fn read_icmp(icmp: &mut TableReader<'_>) -> Icmp {
    let default = Icmp::default();
    Icmp {
        time_exceeded: icmp.optional("time_exceeded", default.time_exceeded, boolean),
        fragmentation_needed: icmp.optional(
            "fragmentation_needed",
            default.fragmentation_needed,
            boolean,
        ),
        unreachable: icmp.optional("unreachable", default.unreachable, boolean),
        exhausted: icmp.optional("exhausted", default.exhausted, exhausted),
        port_unreachable: icmp.optional("port_unreachable", default.port_unreachable, boolean),
        unsolicited_syn: icmp.optional("unsolicited_syn", default.unsolicited_syn, boolean),
        each_per_second: icmp.optional(
            "each_per_second",
            default.each_per_second,
            integer(&limit::ANSWERS_TO_ONE),
        ),
        all_per_second: icmp.optional(
            "all_per_second",
            default.all_per_second,
            integer(&limit::ANSWERS_TO_ALL),
        ),
    }
}

fn read_hold(hold: &mut TableReader<'_>) -> Hold {
    let default = Hold::default();
    Hold {
        port_secs: hold.optional("port_secs", default.port_secs, integer(&limit::HOLD_SECS)),
        max_ports: hold.optional("max_ports", default.max_ports, integer(&limit::HELD_PORTS)),
        block_secs: hold.optional("block_secs", default.block_secs, integer(&limit::HOLD_SECS)),
        block_idle_secs: hold.optional(
            "block_idle_secs",
            default.block_idle_secs,
            integer(&limit::BLOCK_IDLE_SECS),
        ),
    }
}

fn read_scatter(scatter: &mut TableReader<'_>) -> Scatter {
    let default = Scatter::default();
    Scatter {
        key_days: scatter.optional("key_days", default.key_days, integer(&limit::KEY_DAYS)),
    }
}

fn read_log(log: &mut TableReader<'_>) -> Log {
    let default = Log::default();
    Log {
        directory: log.optional("directory", default.directory, path),
        sync: log.optional("sync", default.sync, log_sync),
        on_full: log.optional("on_full", default.on_full, on_full),
        mode: log.optional("mode", default.mode, log_mode),
        interim_secs: log.optional(
            "interim_secs",
            default.interim_secs,
            integer(&limit::LOG_INTERIM_SECS),
        ),
        notice_secs: log.optional(
            "notice_secs",
            default.notice_secs,
            integer(&limit::NOTICE_SECS),
        ),
        group_ms: log.optional("group_ms", default.group_ms, integer(&limit::GROUP_MS)),
        keep_days: log.optional("keep_days", default.keep_days, integer(&limit::KEEP_DAYS)),
        keep_gib: log.optional("keep_gib", default.keep_gib, integer(&limit::KEEP_GIB)),
        spool_mib: log.optional("spool_mib", default.spool_mib, integer(&limit::SPOOL_MIB)),
        sign_key: log.optional("sign_key", default.sign_key, path),
    }
}

fn read_identity(identity: &mut TableReader<'_>) -> Identity {
    let default = Identity::default();
    let attributes = identity.list("attributes", Attribute::UserName, attribute);
    Identity {
        listen: identity.optional("listen", None, |value| socket_address(value).map(Some)),
        attributes: match attributes.is_empty() && !identity.has("attributes") {
            true => default.attributes,
            false => attributes,
        },
        client: identity.sections(
            "client",
            "a section [[identity.client]], with two brackets",
            read_identity_client,
        ),
    }
}

fn read_identity_client(client: &mut TableReader<'_>) -> IdentityClient {
    IdentityClient {
        address: client.required(
            "address",
            "address = \"192.0.2.30\"",
            Ipv4Addr::UNSPECIFIED.into(),
            any_host,
        ),
        secret_file: client.required(
            "secret_file",
            "secret_file = \"/etc/cgn/radius.secret\"",
            std::path::PathBuf::new(),
            path,
        ),
        realm: client.optional("realm", String::new(), string),
    }
}

fn read_sink(sink: &mut TableReader<'_>) -> Sink {
    Sink {
        name: sink.required("name", "name = \"collector\"", String::new(), string),
        format: sink.required(
            "format",
            "format = \"ipfix\"",
            SinkFormat::Ipfix,
            sink_format,
        ),
        transport: sink.required(
            "transport",
            "transport = \"udp\"",
            SinkTransport::Udp,
            sink_transport,
        ),
        address: sink.required(
            "address",
            "address = \"192.0.2.9:4739\"",
            ([0, 0, 0, 0], 0).into(),
            socket_address,
        ),
        ca_file: sink.optional("ca_file", std::path::PathBuf::new(), path),
        server_name: sink.optional("server_name", String::new(), string),
        topic: sink.optional("topic", String::new(), string),
        sasl: sink.optional("sasl", None, |value| sink_sasl(value).map(Some)),
        user: sink.optional("user", String::new(), string),
        password_file: sink.optional("password_file", std::path::PathBuf::new(), path),
        partition: sink.optional("partition", 0, integer(&limit::PARTITION)),
        domain: sink.optional(
            "domain",
            Sink::default_domain(),
            integer(&limit::SINK_DOMAIN),
        ),
        template_secs: sink.optional(
            "template_secs",
            Sink::default_template_secs(),
            integer(&limit::TEMPLATE_SECS),
        ),
        datagram_bytes: sink.optional(
            "datagram_bytes",
            Sink::default_datagram_bytes(),
            integer(&limit::DATAGRAM_BYTES),
        ),
        interim_secs: sink.optional("interim_secs", 0, integer(&limit::INTERIM_SECS)),
        blocks: sink.optional("blocks", Sink::default_kind(), boolean),
        sessions: sink.optional("sessions", Sink::default_kind(), boolean),
        notices: sink.optional("notices", Sink::default_kind(), boolean),
        realms: sink.list("realms", String::new(), string),
    }
}

fn read_metrics(metrics: &mut TableReader<'_>) -> Metrics {
    let default = Metrics::default();
    Metrics {
        listen: metrics.optional("listen", default.listen, socket_address),
    }
}

fn read_control(control: &mut TableReader<'_>) -> Control {
    let default = Control::default();
    Control {
        socket: control.optional("socket", default.socket, path),
        pin_directory: control.optional("pin_directory", default.pin_directory, path),
        listen: control.optional("listen", None, |value| socket_address(value).map(Some)),
        cert_file: control.optional("cert_file", default.cert_file, path),
        key_file: control.optional("key_file", default.key_file, path),
        client_ca_file: control.optional("client_ca_file", default.client_ca_file, path),
    }
}

fn read_debug(debug: &mut TableReader<'_>) -> Debug {
    Debug {
        force_slow_path: debug.optional("force_slow_path", false, boolean),
    }
}
