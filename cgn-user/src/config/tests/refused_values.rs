//! Files that are refused for what they mean: addresses, limits, values together. Each case has a
//! sentence, and every error that it must give.

use super::super::Config;
use super::{BASE, Expected, base_and, base_with, expect};

#[test]
fn sinks_that_cannot_be_sent_anything() {
    let sink = |more: &str| base_and(&format!("[[sink]]\naddress = \"192.0.2.9:4739\"\n{more}\n"));
    let cases: [(&str, String, &[Expected<'_>]); 11] = [
        (
            "Nothing but an address.",
            sink(""),
            &[
                (20, "sink[0].format", &["missing", "format = "]),
                (20, "sink[0].name", &["missing", "name = "]),
                (20, "sink[0].transport", &["missing", "transport = "]),
            ],
        ),
        (
            "Words that are none.",
            sink("name = \"a/b\"\nformat = \"cef\"\ntransport = \"sctp\""),
            &[
                (22, "sink[0].name", &["usable name"]),
                (23, "sink[0].format", &["\"cef\"", "\"ipfix\""]),
                (24, "sink[0].transport", &["\"sctp\"", "\"tls\""]),
            ],
        ),
        (
            "NetFlow 9 over TCP.",
            sink("name = \"a\"\nformat = \"netflow9\"\ntransport = \"tcp\""),
            &[(24, "sink[0].transport", &["UDP only"])],
        ),
        (
            "TLS to nobody in particular.",
            sink("name = \"a\"\nformat = \"syslog\"\ntransport = \"tls\""),
            &[
                (20, "sink[0].ca_file", &["certificates"]),
                (20, "sink[0].server_name", &["name"]),
            ],
        ),
        (
            "Nor to nobody in particular of a cluster, or to an address that TLS does not know there.",
            sink(
                "name = \"a\"\nformat = \"jsonl\"\ntransport = \"kafka_tls\"\ntopic = \"cgn\"\nserver_name = \"b\"",
            )
            .replace("192.0.2.9:", "[2001:db8::9]:"),
            &[
                (20, "sink[0].ca_file", &["certificates"]),
                (21, "sink[0].address", &["IPv4"]),
            ],
        ),
        (
            "A password in clear, of nobody, from nowhere.",
            sink("name = \"a\"\nformat = \"jsonl\"\ntransport = \"kafka\"\ntopic = \"cgn\"\nsasl = \"plain\""),
            &[
                (20, "sink[0].password_file", &["password_file = "]),
                (20, "sink[0].user", &["user = "]),
                (26, "sink[0].sasl", &["kafka_tls"]),
            ],
        ),
        (
            "One for a collector that does not ask.",
            sink("name = \"a\"\nformat = \"jsonl\"\ntransport = \"tcp\"\nsasl = \"scram-sha-256\""),
            &[(25, "sink[0].sasl", &["kafka"])],
        ),
        (
            "A user and a password that nothing uses.",
            sink("name = \"a\"\nformat = \"jsonl\"\ntransport = \"kafka\"\ntopic = \"cgn\"\nuser = \"u\"\npassword_file = \"p\""),
            &[
                (26, "sink[0].user", &["sasl"]),
                (27, "sink[0].password_file", &["sasl"]),
            ],
        ),
        (
            "A certificate that nothing looks at, and a relative one.",
            sink("name = \"a\"\nformat = \"syslog\"\ntransport = \"tcp\"\nserver_name = \"b\""),
            &[(25, "sink[0].server_name", &["tls"])],
        ),
        (
            "Numbers out of range.",
            sink(
                "name = \"a\"\nformat = \"ipfix\"\ntransport = \"udp\"\ntemplate_secs = 0\ndatagram_bytes = 127\ninterim_secs = 86401",
            ),
            &[
                (25, "sink[0].template_secs", &["1 to 86400"]),
                (26, "sink[0].datagram_bytes", &["128 to 65507"]),
                (27, "sink[0].interim_secs", &["0 to 86400"]),
            ],
        ),
        (
            "Two of one name.",
            {
                let one = "name = \"a\"\nformat = \"ipfix\"\ntransport = \"udp\"\n";
                sink(&format!(
                    "{one}[[sink]]\naddress = \"192.0.2.9:4739\"\n{one}"
                ))
            },
            &[(27, "sink[1].name", &["\"a\"", "sink[0]"])],
        ),
    ];
    for (sentence, text, expected) in cases {
        expect(sentence, &text, expected);
    }
}

#[test]
fn interfaces_and_vlans() {
    let names = [
        ("An empty name.", "", "it is empty"),
        ("16 bytes.", "abcdefghijklmnop", "more than 15 bytes"),
        (
            "15 characters of 16 bytes.",
            "abcdefghijklmné",
            "more than 15 bytes",
        ),
        ("A slash.", "eth/0", "a slash or a colon"),
        ("An alias.", "eth0:1", "a slash or a colon"),
        ("A space.", "eth 0", "a space"),
        ("A line break, which is escaped.", "eth\\n0", "\"eth\\n0\""),
        ("A directory.", "..", "a directory's name"),
    ];
    for (sentence, name, fragment) in names {
        let text = base_with("eth0", name);
        expect(
            sentence,
            &text,
            &[(2, "inside.interface", &[fragment, "`ip link`"])],
        );
    }
    let cases: [(&str, String, &[Expected<'_>]); 5] = [
        (
            "VLAN IDs outside 1 to 4094, one of them too large for 16 bits.",
            base_with("vlan = []", "vlan = [0, 4095]").replacen(
                "vlan = []",
                "vlan = [70000, -1]",
                1,
            ),
            &[
                (3, "inside.vlan[0]", &["is 0", "1 to 4094"]),
                (3, "inside.vlan[1]", &["is 4095", "1 to 4094"]),
                (6, "outside.vlan[0]", &["is 70000", "1 to 4094"]),
                (6, "outside.vlan[1]", &["is -1", "1 to 4094"]),
            ],
        ),
        (
            "Three tags.",
            base_with("vlan = []", "vlan = [1, 2, 3]"),
            &[(3, "inside.vlan", &["3 VLAN IDs", "at most 2"])],
        ),
        (
            "Both sides on one interface without VLANs.",
            base_with("eth1", "eth0"),
            &[(5, "outside.interface", &["both interface \"eth0\"", "[]"])],
        ),
        (
            "Both sides on one interface with the same VLANs.",
            BASE.replace("vlan = []", "vlan = [10, 20]")
                .replace("eth1", "eth0"),
            &[(
                5,
                "outside.interface",
                &["VLAN IDs [10, 20]", "other VLAN IDs"],
            )],
        ),
        (
            "Two sides that are equal only because neither could be read.",
            BASE.replace("\"eth0\"", "0").replace("\"eth1\"", "1"),
            &[
                (2, "inside.interface", &["a whole number"]),
                (5, "outside.interface", &["a whole number"]),
            ],
        ),
    ];
    for (sentence, text, expected) in cases {
        expect(sentence, &text, expected);
    }
    for (inside, outside) in [
        ("[1]", "[2]"),
        ("[1]", "[]"),
        ("[1, 2]", "[2, 1]"),
        ("[1]", "[1, 1]"),
    ] {
        let text = base_with("vlan = []", &format!("vlan = {inside}"))
            .replacen("vlan = []", &format!("vlan = {outside}"), 1)
            .replace("eth1", "eth0");
        let result = Config::parse(&text);
        assert!(result.is_ok(), "one-armed {inside} {outside}: {result:?}");
    }
}

#[test]
fn pools_and_subscribers() {
    let cases: [(&str, String, &[Expected<'_>]); 20] = [
        (
            "A block size that is not a power of two.",
            base_with("512", "500"),
            &[(
                10,
                "pool[0].block_ports",
                &["is 500", "power of two", "for example 512"],
            )],
        ),
        (
            "Block sizes just outside the limits.",
            base_with("512", "32")
                .replace("\"business\"\na", "\"business\"\nblock_ports = 8192\na"),
            &[
                (10, "pool[0].block_ports", &["is 32", "64 to 1024"]),
                (13, "pool[1].block_ports", &["is 8192", "64 to 1024"]),
            ],
        ),
        (
            "Block sizes that fit no 16 bits, or are not positive.",
            base_with("512", "65536")
                .replace("\"business\"\na", "\"business\"\nblock_ports = -512\na"),
            &[
                (10, "pool[0].block_ports", &["is 65536", "64 to 1024"]),
                (13, "pool[1].block_ports", &["is -512", "64 to 1024"]),
            ],
        ),
        (
            "No block per subscriber, and too many.",
            base_with("block_ports = 512", "blocks_per_subscriber = 0").replace(
                "\"business\"\na",
                "\"business\"\nblocks_per_subscriber = 7\na",
            ),
            &[
                (10, "pool[0].blocks_per_subscriber", &["is 0", "1 to 6"]),
                (13, "pool[1].blocks_per_subscriber", &["is 7", "1 to 6"]),
            ],
        ),
        (
            "Watermarks just outside the limits.",
            base_with("block_ports = 512", "watermark_percent = 49").replace(
                "\"business\"\na",
                "\"business\"\nwatermark_percent = 100\na",
            ),
            &[
                (10, "pool[0].watermark_percent", &["is 49", "50 to 99"]),
                (13, "pool[1].watermark_percent", &["is 100", "50 to 99"]),
            ],
        ),
        (
            "No block at once.",
            base_with("512", "512\nmax_blocks = 0"),
            &[(11, "pool[0].max_blocks", &["is 0", "1 to"])],
        ),
        (
            "A number of blocks beyond every integer type, in hexadecimal.",
            base_with(
                "512",
                "512\nmax_blocks = 0xffff_ffff_ffff_ffff_ffff_ffff_ffff_ffff_ffff",
            ),
            &[(11, "pool[0].max_blocks", &["0xffff", "1 to 4294967295"])],
        ),
        (
            "A pool without addresses; that max_blocks exceeds it is no error of its own.",
            base_with(
                "[\"203.0.113.0/28\", \"198.51.100.7\"]",
                "[]\nmax_blocks = 5",
            ),
            &[(9, "pool[0].addresses", &["empty", "203.0.113.0/28"])],
        ),
        (
            "Subscribers without prefixes.",
            base_with("[\"100.64.0.0/24\"]", "[]"),
            &[(15, "subscribers[0].prefixes", &["empty", "100.64.0.0/16"])],
        ),
        (
            "A misspelt pool.",
            base_with("pool = \"residential\"", "pool = \"residental\""),
            &[(
                16,
                "subscribers[0].pool",
                &["no pool \"residental\"", "did you mean `residential`?"],
            )],
        ),
        (
            "A pool that resembles none.",
            base_with("pool = \"residential\"", "pool = \"mobile\""),
            &[(
                16,
                "subscribers[0].pool",
                &["no pool \"mobile\"", "residential, business"],
            )],
        ),
        (
            "A pool's name in two pools; the subscribers of the name lost are named too.",
            base_with("\"business\"", "\"residential\""),
            &[
                (12, "pool[1].name", &["also the name of pool[0]"]),
                (19, "subscribers[1].pool", &["no pool \"business\""]),
            ],
        ),
        (
            "An empty name, which is known to the subscribers who name it.",
            BASE.replace("\"business\"", "\"\""),
            &[(12, "pool[1].name", &["not a usable name", "1 to 63"])],
        ),
        (
            "A name with a line break, which is escaped wherever it is printed.",
            base_with("\"business\"", "\"busi\\nness\""),
            &[
                (12, "pool[1].name", &["\"busi\\nness\""]),
                (19, "subscribers[1].pool", &["busi\\nness"]),
            ],
        ),
        (
            "Such a name in the list of those that exist.",
            base_with("\"business\"", "\"x\\ny\""),
            &[
                (12, "pool[1].name", &["\"x\\ny\""]),
                (19, "subscribers[1].pool", &["residential, x\\ny"]),
            ],
        ),
        (
            "A block size that is a multiple of 64, but not a power of two.",
            base_with("512", "192"),
            &[(10, "pool[0].block_ports", &["is 192", "for example 256"])],
        ),
        (
            "A name of 64 letters.",
            BASE.replace("business", &"b".repeat(64)),
            &[(12, "pool[1].name", &["1 to 63"])],
        ),
        (
            "Empty lists of sections.",
            format!(
                "pool = []\nsubscribers = []\n{}",
                &BASE[..BASE.find("[[pool").unwrap_or(0)]
            ),
            &[
                (1, "pool", &["no pool"]),
                (2, "subscribers", &["no subscribers"]),
            ],
        ),
        (
            "Subscribers without any pool are told so once.",
            BASE.replace("[[pool]]", "#")
                .replace("name", "#")
                .replace("addresses", "#")
                .replace("block_ports", "#"),
            &[(0, "pool", &["there is no pool; add"])],
        ),
        (
            "A subscriber's unknown pool is not complained about when a pool's name is unreadable.",
            base_with("name = \"business\"", "name = 3"),
            &[(12, "pool[1].name", &["a whole number"])],
        ),
    ];
    for (sentence, text, expected) in cases {
        expect(sentence, &text, expected);
    }
}

#[test]
fn numbers_of_seconds() {
    // Key, greatest refused value, least accepted value.
    let floors = [
        ("timeouts", "udp_secs", 119, 120),
        ("timeouts", "icmp_secs", 59, 60),
        ("timeouts", "tcp_established_secs", 7439, 7440),
        ("timeouts", "tcp_opening_secs", 0, 1),
        ("timeouts", "tcp_closing_secs", 0, 1),
        ("hold", "port_secs", -1, 0),
        ("hold", "block_secs", -1, 0),
        ("hold", "block_idle_secs", 0, 1),
    ];
    for (section, key, refused, accepted) in floors {
        let path = format!("{section}.{key}");
        let text = |value: i64| base_and(&format!("[{section}]\n{key} = {value}\n"));
        for value in [refused, 604_801, 5_000_000_000] {
            let (is, limits) = (format!("is {value}"), format!("{accepted} to 604800"));
            let fragments: &[&str] = &[&is, &limits, "seconds"];
            expect(
                "A limit of seconds.",
                &text(value),
                &[(21, &path, fragments)],
            );
        }
        for value in [accepted, 604_800] {
            assert!(Config::parse(&text(value)).is_ok(), "{path} = {value}");
        }
    }
}

#[test]
fn the_daemon() {
    let long = format!("/{}", "s".repeat(107));
    let cases: [(&str, String, &[Expected<'_>]); 11] = [
        (
            "The API over TCP without knowing who comes.",
            base_and("[control]\nlisten = \"192.0.2.1:9465\"\nkey_file = \"/etc/cgn/api.key\"\n"),
            &[
                (
                    20,
                    "control.cert_file",
                    &["TLS needs", "daemon's certificate"],
                ),
                (20, "control.client_ca_file", &["TLS needs", "clients'"]),
            ],
        ),
        (
            "Certificates that nobody uses.",
            base_and("[control]\ncert_file = \"/etc/cgn/api.pem\"\n"),
            &[(21, "control.cert_file", &["control.listen", "remove it"])],
        ),
        (
            "An address without a port.",
            base_and("[control]\nlisten = \"192.0.2.1\"\n[metrics]\nlisten = \"127.0.0.1:1\"\n"),
            &[(21, "control.listen", &["is not ADDRESS:PORT"])],
        ),
        (
            "Metrics for the whole world.",
            base_and("[metrics]\nlisten = \"0.0.0.0:9464\"\n"),
            &[(
                21,
                "metrics.listen",
                &["0.0.0.0:9464", "\"127.0.0.1:9464\""],
            )],
        ),
        (
            "Metrics on an IPv6 address; the port is kept in the remedy.",
            base_and("[metrics]\nlisten = \"[2001:db8::1]:80\"\n"),
            &[(
                21,
                "metrics.listen",
                &["other machines", "\"127.0.0.1:80\""],
            )],
        ),
        (
            "A log whose place depends on where the daemon was started.",
            base_and("[log]\ndirectory = \"log\"\nsign_key = \"log.key\"\n"),
            &[
                (21, "log.directory", &["\"log\"", "absolute", "slash"]),
                (22, "log.sign_key", &["\"log.key\"", "absolute"]),
            ],
        ),
        (
            "A log that is kept for longer than anybody lives.",
            base_and("[log]\nkeep_days = 36501\nkeep_gib = 2000000000\nspool_mib = 1048577\n"),
            &[
                (21, "log.keep_days", &["36501", "0 to 36500"]),
                (22, "log.keep_gib", &["0 to 1073741824"]),
                (23, "log.spool_mib", &["0 to 1048576"]),
            ],
        ),
        (
            "Empty paths.",
            base_and("[control]\nsocket = \"\"\npin_directory = \"\"\n"),
            &[
                (21, "control.socket", &["absolute"]),
                (22, "control.pin_directory", &["absolute"]),
            ],
        ),
        (
            "A socket path of 108 bytes.",
            base_and(&format!("[control]\nsocket = \"{long}\"\n")),
            &[(21, "control.socket", &["108 bytes", "can have 107"])],
        ),
        (
            "The socket in the place of the log, which a start would delete.",
            base_and("[control]\nsocket = \"/var/lib/cgn/log\"\n"),
            &[(21, "control.socket", &["same file as log.directory"])],
        ),
        (
            "A socket that could not be read is not called relative.",
            base_and("[control]\nsocket = 5\n"),
            &[(21, "control.socket", &["a whole number"])],
        ),
    ];
    for (sentence, text, expected) in cases {
        expect(sentence, &text, expected);
    }
}
