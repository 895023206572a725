//! Files that are refused for their form: syntax, keys, types. Each case has a sentence, and every
//! error that it must give.

use super::super::Config;
use super::{BASE, Expected, base_and, base_with, expect};

#[test]
fn the_base_file_is_accepted() {
    let checked = Config::parse(BASE).expect("valid");
    assert_eq!(checked.warnings, []);
}

#[test]
fn text_that_is_not_toml() {
    let cases: [(&str, String, &[Expected<'_>]); 6] = [
        (
            "A value without quotes is named with line and column, and how to write it.",
            base_with("\"eth0\"", "eth0"),
            &[(2, "", &["column 13", "must be quoted", "double quotes"])],
        ),
        (
            "Two syntax errors are both named; the meaning of the rest is not guessed at.",
            base_with("interface = \"eth0\"", "interface =")
                .replacen("vlan = []\n[[", "vlan == []\n[[", 1)
                .replace("512", "500"),
            &[(2, "", &["not TOML"]), (6, "", &["not TOML", "extra `=`"])],
        ),
        (
            "A duplicate key is named with the line of the first, and the rest is checked too.",
            base_with("512", "500\nblock_ports = 512"),
            &[
                (10, "pool[0].block_ports", &["is 500", "power of two"]),
                (
                    11,
                    "pool[0].block_ports",
                    &["column 1", "second time", "first in line 10", "delete"],
                ),
            ],
        ),
        (
            "A key that stands twice in a second element of a list of sections.",
            base_with("name = \"business\"", "name = \"business\"\nname = \"b\""),
            &[(13, "pool[1].name", &["second time", "first in line 12"])],
        ),
        (
            "A section that stands twice, with a key of the first and a wrong one.",
            base_and("[hold]\nport_secs = 200\n[hold]\nport_secs = 300\nspeed = 1\n"),
            &[
                (22, "hold", &["column 2", "second time; delete", "[[pool]]"]),
                (23, "hold.port_secs", &["first in line 21"]),
                (24, "hold.speed", &["unknown key", "known here: port_secs"]),
            ],
        ),
        (
            "A duplicate key that is written in quotes.",
            base_with("vlan = []", "vlan = []\n\"vlan\" = [1]"),
            &[(4, "inside.vlan", &["second time", "first in line 3"])],
        ),
    ];
    for (sentence, text, expected) in cases {
        expect(sentence, &text, expected);
    }
}

#[test]
fn unknown_and_missing_keys() {
    let cases: [(&str, String, &[Expected<'_>]); 14] = [
        (
            "An empty file lacks exactly what is required, and no line can be named.",
            String::new(),
            &[
                (0, "inside.interface", &["missing", "interface = \"eth0\""]),
                (0, "outside.interface", &["missing"]),
                (0, "pool", &["no pool", "[[pool]]"]),
                (0, "subscribers", &["no subscribers", "[[subscribers]]"]),
            ],
        ),
        (
            "A misspelt required key is one error, not an unknown and a missing one.",
            base_with("interface", "interfase"),
            &[(2, "inside.interfase", &["did you mean `interface`?"])],
        ),
        (
            "A misspelt section is one error; its keys are not missing as well.",
            base_with("[outside]", "[outsied]"),
            &[(4, "outsied", &["did you mean `outside`?"])],
        ),
        (
            "A plural is recognised, and the pools in it are not called missing or unknown.",
            BASE.replace("[[pool]]", "[[pools]]"),
            &[(7, "pools", &["did you mean `pool`?"])],
        ),
        (
            "A key without its unit is recognised.",
            base_and("[timeouts]\nudp = 300\n"),
            &[(21, "timeouts.udp", &["did you mean `udp_secs`?"])],
        ),
        (
            "Dashes and capitals are recognised.",
            base_with("block_ports", "BLOCK-PORTS"),
            &[(10, "pool[0].BLOCK-PORTS", &["did you mean `block_ports`?"])],
        ),
        (
            "Two exchanged letters are recognised.",
            base_with("vlan", "vlna"),
            &[(3, "inside.vlna", &["did you mean `vlan`?"])],
        ),
        (
            "One letter of three is recognised.",
            base_and("[lag]\n"),
            &[(20, "lag", &["did you mean `log`?"])],
        ),
        (
            "An unknown key whose name begins like a known one does not hide that one's error.",
            base_with("\"eth0\"", "\"\"\ninterface2 = \"eth2\""),
            &[
                (2, "inside.interface", &["it is empty"]),
                (3, "inside.interface2", &["did you mean `interface`?"]),
            ],
        ),
        (
            "A key that resembles none gets the list of those that exist.",
            base_and("[log]\ncolour = true\n"),
            &[(
                21,
                "log.colour",
                &["unknown key", "known here: directory, sync"],
            )],
        ),
        (
            "An unknown key of the whole file.",
            format!("rate = 1\n{BASE}"),
            &[(1, "rate", &["unknown key", "known here: inside, outside"])],
        ),
        (
            "An unknown key that would break the line is escaped.",
            base_with("block_ports", "\"a\\n.b\""),
            &[(10, "pool[0].\"a\\n.b\"", &["unknown key"])],
        ),
        (
            "A missing key has the line of its section.",
            base_with("name = \"business\"\n", ""),
            &[(11, "pool[1].name", &["missing", "name = \"residential\""])],
        ),
        (
            "Missing keys of one section are all named.",
            base_and("[[subscribers]]\n"),
            &[
                (20, "subscribers[2].pool", &["missing", "pool = "]),
                (20, "subscribers[2].prefixes", &["missing", "prefixes = ["]),
            ],
        ),
    ];
    for (sentence, text, expected) in cases {
        expect(sentence, &text, expected);
    }
}

#[test]
fn values_of_the_wrong_type() {
    let cases: [(&str, String, &[Expected<'_>]); 14] = [
        (
            "A number in quotes.",
            base_with("512", "\"512\""),
            &[(10, "pool[0].block_ports", &["a string", "whole number"])],
        ),
        (
            "A number with a fraction.",
            base_with("512", "512.0"),
            &[(10, "pool[0].block_ports", &["fraction", "whole number"])],
        ),
        (
            "A number as a name.",
            base_with("\"business\"", "7"),
            &[(12, "pool[1].name", &["a whole number", "double quotes"])],
        ),
        (
            "A boolean in quotes.",
            base_and("[log]\nsync = \"yes\"\n"),
            &[(21, "log.sync", &["yes", "\"full\" or \"relaxed\""])],
        ),
        (
            "A boolean as a path.",
            base_and("[log]\ndirectory = true\n"),
            &[(21, "log.directory", &["a boolean", "a string"])],
        ),
        (
            "A date as an address.",
            base_with("\"198.51.100.7\"", "1979-05-27"),
            &[(9, "pool[0].addresses[1]", &["a date or time", "a string"])],
        ),
        (
            "A single value instead of a list.",
            base_with("[\"100.64.0.0/24\"]", "\"100.64.0.0/24\""),
            &[(
                15,
                "subscribers[0].prefixes",
                &["a string", "a list in [ ]"],
            )],
        ),
        (
            "One pool in single brackets; that its name is then unknown is not an error of its own.",
            base_with("[[pool]]", "[pool]").replacen(
                "[[pool]]\nname = \"business\"\naddresses",
                "[hold]\n#",
                1,
            ),
            &[(7, "pool", &["a section", "[[pool]]", "two brackets"])],
        ),
        (
            "A list of sections instead of a section.",
            base_and("[[log]]\nsync = \"full\"\n"),
            &[(20, "log", &["a list", "a section [log]"])],
        ),
        (
            "A value instead of a section.",
            format!("hold = 3\n{BASE}"),
            &[(1, "hold", &["a whole number", "a section [hold]"])],
        ),
        (
            "A list of strings instead of sections; every element is named.",
            base_with("[inside]", "subscribers = [\"a\", \"b\"]\n[inside]")
                .split("[[subscribers]]")
                .next()
                .unwrap_or_default()
                .to_owned(),
            &[
                (1, "subscribers[0]", &["a string", "[[subscribers]]"]),
                (1, "subscribers[1]", &["a string", "[[subscribers]]"]),
            ],
        ),
        (
            "An unknown mode.",
            base_and("[xdp]\nmode = \"fast\"\n"),
            &[(
                21,
                "xdp.mode",
                &["\"fast\"", "\"auto\", \"native\" or \"generic\""],
            )],
        ),
        (
            "A listen address without a port.",
            base_and("[metrics]\nlisten = \"127.0.0.1\"\n"),
            &[(
                21,
                "metrics.listen",
                &["not ADDRESS:PORT", "127.0.0.1:9464"],
            )],
        ),
        (
            "A value that could not be read causes no second error in what depends on it.",
            base_with("512", "\"512\"\nmax_blocks = 5000000")
                .replace("\"residential\"\nadd", "5\nadd"),
            &[
                (8, "pool[0].name", &["a whole number"]),
                (10, "pool[0].block_ports", &["a string"]),
            ],
        ),
    ];
    for (sentence, text, expected) in cases {
        expect(sentence, &text, expected);
    }
}
