//! `[identity]`: what is refused, and what its keys do.

use std::net::SocketAddr;

use super::super::Config;
use super::super::difference::{Effect, differences};
use super::{BASE, Expected, base_and, expect};
use crate::maplog::identity::Attribute;

const CLIENT: &str =
    "[[identity.client]]\naddress = \"192.0.2.30\"\nsecret_file = \"/etc/secret\"\n";

fn with(keys: &str, clients: &str) -> String {
    base_and(&format!("[identity]\n{keys}\n{clients}"))
}

#[test]
fn it_is_off_unless_it_listens() {
    let config = Config::parse(BASE).expect("valid").config;
    assert_eq!(config.identity.listen, None);
    assert_eq!(config.identity.attributes, [Attribute::UserName]);
    let on = with(
        "listen = \"[::]:1813\"\nattributes = [\"3GPP-IMSI\"]",
        CLIENT,
    );
    let on = Config::parse(&on).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(on.warnings, []);
    let expected: SocketAddr = "[::]:1813".parse().unwrap();
    assert_eq!(on.config.identity.listen, Some(expected));
    assert_eq!(on.config.identity.attributes, [Attribute::Imsi]);
    // A reload that loses no packet.
    let changes = differences(&config, &on.config);
    assert!(!changes.is_empty());
    let mut effects = changes.iter().map(|change| change.effect);
    assert!(
        effects.all(|effect| effect == Effect::InPlace),
        "{changes:?}"
    );
}

#[test]
fn what_cannot_be_told_is_refused() {
    const LISTEN: &str = "listen = \"192.0.2.1:1813\"";
    let cases: [(&str, String, &[Expected<'_>]); 8] = [
        (
            "nobody may tell",
            with(LISTEN, ""),
            &[(21, "identity.listen", &["[[identity.client]]"])],
        ),
        (
            "nobody listens",
            with("", CLIENT),
            &[(22, "identity.client", &["listen = "])],
        ),
        (
            "a client without address and secret",
            with(LISTEN, "[[identity.client]]\n"),
            &[
                (22, "identity.client[0].address", &["missing", "address = "]),
                (
                    22,
                    "identity.client[0].secret_file",
                    &["missing", "secret_file = "],
                ),
            ],
        ),
        (
            "a network and a relative path",
            with(
                LISTEN,
                "[[identity.client]]\naddress = \"192.0.2.0/24\"\nsecret_file = \"secret\"\n",
            ),
            &[
                (
                    23,
                    "identity.client[0].address",
                    &["192.0.2.0/24", "IP address"],
                ),
                (24, "identity.client[0].secret_file", &["absolute"]),
            ],
        ),
        (
            "one client twice, once as IPv6",
            with(
                LISTEN,
                &format!(
                    "{CLIENT}{}",
                    CLIENT.replace("192.0.2.30", "::ffff:192.0.2.30")
                ),
            ),
            &[(26, "identity.client[1].address", &["identity.client[0]"])],
        ),
        (
            "a realm that is not there",
            with(LISTEN, &format!("{CLIENT}realm = \"mvno\"\n")),
            &[(25, "identity.client[0].realm", &["mvno"])],
        ),
        (
            "an attribute that names nobody, and one twice",
            with(
                &format!("{LISTEN}\nattributes = [\"User-Name\", \"User-Name\", \"Class\"]"),
                CLIENT,
            ),
            &[
                (22, "identity.attributes[1]", &["twice"]),
                (
                    22,
                    "identity.attributes[2]",
                    &["\"Class\"", "\"3GPP-IMSI\""],
                ),
            ],
        ),
        (
            "no attributes",
            with(&format!("{LISTEN}\nattributes = []"), CLIENT),
            &[(22, "identity.attributes", &["empty", "\"User-Name\""])],
        ),
    ];
    for (sentence, text, expected) in cases {
        expect(sentence, &text, expected);
    }
}
