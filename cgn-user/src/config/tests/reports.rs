//! How errors are told: all at once, one a line.

use super::super::Config;
use super::{BASE, base_with, errors_of, expect};

/// The file of an operator's worst day.
const MANY: &str = r#"[inside]
interfac = "eth0"
vlan = [5000]
[outside]
interface = "eth1/0"
[xdp]
mode = "turbo"
[[pool]]
name = "residential"
addresses = ["203.0.113.5/28", "198.51.100.0/24"]
block_ports = "512"
watermark_percent = 20
[[pool]]
name = "residential"
addresses = ["198.51.100.9"]
[[subscribers]]
prefixes = ["198.51.0.0/16", "100.64.0.0/16"]
pool = "home"
[timeouts]
udp_secs = 30
udp_secs = 300
[metrics]
listen = "0.0.0.0:9464"
[locks]
"#;

#[test]
fn every_error_of_a_file_is_reported_at_once() {
    expect(
        "Sixteen errors of all kinds: form, value, and values together.",
        MANY,
        &[
            (2, "inside.interfac", &["`interface`"]),
            (3, "inside.vlan[0]", &["4094"]),
            (5, "outside.interface", &["slash"]),
            (7, "xdp.mode", &["turbo"]),
            (10, "pool[0].addresses[0]", &["\"203.0.113.0/28\""]),
            (11, "pool[0].block_ports", &["whole number"]),
            (12, "pool[0].watermark_percent", &["50 to 99"]),
            (14, "pool[1].name", &["pool[0]"]),
            (15, "pool[1].addresses[0]", &["pool[0].addresses[1]"]),
            (17, "subscribers[0].prefixes[0]", &["pool[0].addresses[1]"]),
            (17, "subscribers[0].prefixes[0]", &["pool[1].addresses[0]"]),
            (
                18,
                "subscribers[0].pool",
                &["\"home\"; known here: residential"],
            ),
            (20, "timeouts.udp_secs", &["120"]),
            (21, "timeouts.udp_secs", &["second time"]),
            (23, "metrics.listen", &["loopback"]),
            (24, "locks", &["unknown key"]),
        ],
    );
}

#[test]
fn errors_print_one_line_each_with_file_and_line() {
    let errors = errors_of(&base_with("512", "500").replace("eth1", ""));
    assert_eq!(
        errors.to_string(),
        "line 5: outside.interface: \"\" cannot be the name of an interface: it is empty; `ip link` lists the names\n\
         line 10: pool[0].block_ports: is 500; must be a power of two, for example 512"
    );
    assert_eq!(
        errors.in_file("/etc/cgn.toml").to_string(),
        "/etc/cgn.toml:5: outside.interface: \"\" cannot be the name of an interface: it is empty; `ip link` lists the names\n\
         /etc/cgn.toml:10: pool[0].block_ports: is 500; must be a power of two, for example 512"
    );
    let errors = errors_of("").in_file("x");
    assert!(
        errors
            .to_string()
            .starts_with("x: inside.interface: the key is missing")
    );
    let errors = errors_of("\na = ").in_file("x");
    assert!(
        errors
            .to_string()
            .starts_with("x:2: column 5: this is not TOML"),
        "{errors}"
    );
}

#[test]
fn interfaces_that_do_not_exist() {
    let checked = Config::parse(BASE).expect("valid");
    assert_eq!(checked.check_interfaces(|_| true), Ok(()));
    let errors = checked
        .check_interfaces(|name| name == "eth0")
        .expect_err("eth1 is missing")
        .in_file("cgn.toml");
    assert_eq!(
        errors.to_string(),
        "cgn.toml:5: outside.interface: there is no interface \"eth1\"; `ip link` lists those that exist"
    );
    let errors = checked
        .check_interfaces(|_| false)
        .expect_err("both are missing");
    assert_eq!(errors.problems().len(), 2);
}

#[test]
fn a_configuration_without_a_file_is_checked_as_strictly() {
    let mut config = Config::parse(BASE).expect("valid").config;
    config.pool[0].block_ports = 0;
    config.inside.vlan = vec![9999];
    config.subscribers[1].prefixes.clear();
    let errors = config.check().expect_err("three errors");
    assert_eq!(errors.problems().len(), 3, "{errors}");
    assert!(
        errors.to_string().starts_with("inside.vlan[0]: is 9999"),
        "{errors}"
    );
}
