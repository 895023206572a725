//! `[[mirror]]`: what is refused. Each case has a sentence, and what is wrong with the way out of it.

use super::super::mirrors::MOST;
use super::{BASE, Expected, base_and, expect};

/// A mirror to a collector, with more keys: they stand from line 24 on.
fn collected(more: &str) -> String {
    base_and(&format!(
        "[[mirror]]\nname = \"lab\"\nto = \"erspan2\"\ncollector = \"192.0.2.20\"\n{more}\n"
    ))
}

/// A mirror of nothing but these keys: they stand from line 21 on.
fn mirror(keys: &str) -> String {
    base_and(&format!("[[mirror]]\n{keys}\n"))
}

#[test]
fn keys_that_cannot_be_read() {
    let cases: [(&str, String, &[Expected<'_>]); 8] = [
        (
            "One bracket too few.",
            base_and("[mirror]\nname = \"lab\"\n"),
            &[(20, "mirror", &["is a section", "[[mirror]]"])],
        ),
        (
            "Nothing in it.",
            mirror(""),
            &[
                (20, "mirror[0].name", &["missing", "name = \"lab\""]),
                (20, "mirror[0].to", &["missing", "to = \"erspan2\""]),
            ],
        ),
        (
            "A key that there is not.",
            collected("colector = \"192.0.2.21\""),
            &[(24, "mirror[0].colector", &["unknown", "`collector`"])],
        ),
        (
            "Words that are none.",
            collected("side = \"left\"\nwhen = \"later\"\nprotocol = \"gre\"")
                .replace("erspan2", "erspan1"),
            &[
                (22, "mirror[0].to", &["\"erspan1\"", "\"erspan3\""]),
                (24, "mirror[0].side", &["\"left\"", "\"outside\""]),
                (25, "mirror[0].when", &["\"later\"", "\"after\""]),
                (26, "mirror[0].protocol", &["\"gre\"", "\"0\" to \"255\""]),
            ],
        ),
        (
            "Addresses that are none.",
            collected("source = \"192.0.2.0/24\"\ninside = \"100.64.0.1/24\"\noutside = \"::/0\"")
                .replace("\"192.0.2.20\"", "\"collector.example\""),
            &[
                (23, "mirror[0].collector", &["not an IPv4", "192.0.2.20"]),
                (24, "mirror[0].source", &["not an IPv4", "192.0.2.20"]),
                (25, "mirror[0].inside", &["host bits", "100.64.0.0/24"]),
                (26, "mirror[0].outside", &["IPv6"]),
            ],
        ),
        (
            "Numbers of other sizes.",
            collected(
                "session = 1024\npackets_of = 1000001\nflows_of = 1000001\nrate = 0\n\
                 inside_port = 65536\noutside_port = -1\npayload_bytes = 65536",
            ),
            &[
                (24, "mirror[0].session", &["is 1024", "0 to 1023"]),
                (25, "mirror[0].packets_of", &["is 1000001", "0 to 1000000"]),
                (26, "mirror[0].flows_of", &["is 1000001", "0 to 1000000"]),
                (27, "mirror[0].rate", &["is 0", "1 to 1000000"]),
                (28, "mirror[0].inside_port", &["is 65536", "0 to 65535"]),
                (29, "mirror[0].outside_port", &["is -1", "0 to 65535"]),
                (30, "mirror[0].payload_bytes", &["is 65536", "0 to 65535"]),
            ],
        ),
        (
            "A name that is no name, a key that is no text.",
            collected("anonymise_key = 7").replace("\"lab\"", "\"the lab\""),
            &[
                (21, "mirror[0].name", &["usable name", "1 to 63"]),
                (24, "mirror[0].anonymise_key", &["string", "quotes"]),
            ],
        ),
        (
            "A key elsewhere after each change of the working directory.",
            collected("anonymise_key = \"mirror.key\""),
            &[(
                24,
                "mirror[0].anonymise_key",
                &["absolute", "begin it with a slash"],
            )],
        ),
    ];
    for (sentence, text, expected) in &cases {
        expect(sentence, text, expected);
    }
}

#[test]
fn copies_that_cannot_go_where_they_are_sent() {
    let cases: [(&str, String, &[Expected<'_>]); 7] = [
        (
            "To no interface.",
            mirror("name = \"lab\"\nto = \"interface\""),
            &[(20, "mirror[0].interface", &["needs it", "\"eth2\""])],
        ),
        (
            "To no collector.",
            mirror("name = \"lab\"\nto = \"gre\""),
            &[(20, "mirror[0].collector", &["needs it", "\"192.0.2.20\""])],
        ),
        (
            "To an interface, which has no use for addresses.",
            collected("source = \"192.0.2.1\"\ninterface = \"eth2\"")
                .replace("\"erspan2\"", "\"interface\""),
            &[
                (23, "mirror[0].collector", &["no use", "another `to`"]),
                (24, "mirror[0].source", &["no use", "remove it"]),
            ],
        ),
        (
            "To a collector, which has no use for an interface.",
            collected("interface = \"eth2\""),
            &[(24, "mirror[0].interface", &["no use", "another `to`"])],
        ),
        (
            "To the CGN itself.",
            mirror("name = \"lab\"\nto = \"interface\"\ninterface = \"eth1\""),
            &[(
                23,
                "mirror[0].interface",
                &["of the CGN itself", "write another"],
            )],
        ),
        (
            "To a realm's interface.",
            base_and(&format!(
                "{REALM}[[mirror]]\nname = \"lab\"\nto = \"interface\"\ninterface = \"eth3\"\n"
            )),
            &[(31, "mirror[0].interface", &["of the CGN itself"])],
        ),
        (
            "To what is no interface.",
            mirror("name = \"lab\"\nto = \"interface\"\ninterface = \"eth/2\""),
            &[(23, "mirror[0].interface", &["slash", "`ip link`"])],
        ),
    ];
    for (sentence, text, expected) in &cases {
        expect(sentence, text, expected);
    }
}

/// Eight lines.
const REALM: &str = r#"[[realm]]
name = "mvno"
inside = [{ interface = "eth3" }]
table = 100
[[subscribers]]
prefixes = ["100.64.0.0/24"]
pool = "business"
realm = "mvno"
"#;

#[test]
fn mirrors_that_cannot_be_with_others() {
    let many: String = (0..=MOST)
        .map(|number| {
            format!("[[mirror]]\nname = \"m{number}\"\nto = \"interface\"\ninterface = \"eth2\"\n")
        })
        .collect();
    let cases: [(&str, String, &[Expected<'_>]); 5] = [
        (
            "Two of one name, and of one session of a collector.",
            collected(
                "[[mirror]]\nname = \"lab\"\nto = \"gre\"\ncollector = \"192.0.2.20\"\nsession = 1",
            ),
            &[
                (25, "mirror[1].name", &["\"lab\"", "mirror[0]", "its own"]),
                (28, "mirror[1].session", &["mirror[0]", "of its own"]),
            ],
        ),
        (
            "More than there is room for.",
            base_and(&many),
            &[(20, "mirror", &["13 mirrors", "12", "wider prefixes"])],
        ),
        (
            "Of a realm that there is not.",
            collected(&format!("realm = \"mvmo\"\n{}", REALM.trim_end())),
            &[(24, "mirror[0].realm", &["mvmo", "did you mean `mvno`"])],
        ),
        (
            "Where no packet comes by the fast path.",
            collected("[debug]\nforce_slow_path = true"),
            &[(20, "mirror", &["force_slow_path", "remove one"])],
        ),
        (
            "What is wrong elsewhere is told, too.",
            collected("rate = 0").replace("block_ports = 512", "block_ports = 500"),
            &[
                (10, "pool[0].block_ports", &["power of two"]),
                (24, "mirror[0].rate", &["1 to 1000000"]),
            ],
        ),
    ];
    assert!(BASE.contains("block_ports = 512"));
    for (sentence, text, expected) in &cases {
        expect(sentence, text, expected);
    }
}
