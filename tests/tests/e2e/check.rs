//! `cgn check`: every error at once, with exit code 2.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::cgn_program;

/// Interfaces that every machine has.
const GOOD: &str = r#"
[inside]
interface = "lo"
vlan = [10]
[outside]
interface = "lo"
vlan = [20]
[[pool]]
name = "p"
addresses = ["203.0.113.0/28"]
[[subscribers]]
prefixes = ["100.64.0.0/16"]
pool = "p"
"#;

/// Runs `cgn check`: its exit code and all that it printed.
fn check(name: &str, toml: &str) -> Result<(Option<i32>, String)> {
    let file = std::env::temp_dir().join(format!("cgn-t-{}-{name}.toml", std::process::id()));
    std::fs::write(&file, toml)?;
    let output = Command::new(cgn_program()?)
        .args(["check", "--config"])
        .arg(&file)
        .output()
        .context("cannot start cgn")?;
    std::fs::remove_file(&file)?;
    let said = [output.stdout, output.stderr].concat();
    Ok((
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

#[test]
fn a_good_file() -> Result<()> {
    let (code, said) = check("good", GOOD)?;
    ensure!(code == Some(0), "exit code {code:?}: {said}");
    Ok(())
}

#[test]
fn bad_files_are_refused_with_the_key_and_exit_code_2() -> Result<()> {
    let with = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        GOOD.replacen(from, to, 1)
    };
    let overlap = "\n[[pool]]\nname = \"q\"\naddresses = [\"203.0.113.8\"]\n";
    let cases = [
        (
            "overlapping pools",
            GOOD.to_owned() + overlap,
            &["pool[1].addresses"][..],
        ),
        (
            "pool inside a subscriber prefix",
            with("203.0.113.0/28", "100.64.1.0/28"),
            &["100.64.1.0"],
        ),
        (
            "missing interface",
            with("interface = \"lo\"", "interface = \"cgn-none\""),
            &["inside.interface", "cgn-none"],
        ),
        (
            "impossible block size",
            with("name = \"p\"", "name = \"p\"\nblock_ports = 500"),
            &["pool[0].block_ports", "power of two"],
        ),
        (
            "duplicate key",
            with("name = \"p\"", "name = \"p\"\nname = \"p\""),
            &["name"],
        ),
        (
            "unknown key",
            with("name = \"p\"", "name = \"p\"\nblok_ports = 512"),
            &["blok_ports"],
        ),
        (
            "three errors at once",
            with("vlan = [10]", "vlan = [5000]")
                .replace("203.0.113.0/28", "203.0.113.1/28")
                .replace("pool = \"p\"", "pool = \"r\""),
            &["inside.vlan", "pool[0].addresses", "subscribers[0].pool"],
        ),
        ("no TOML", "[inside\n".to_owned(), &[":1:", "not TOML"]),
    ];
    for (number, (sentence, toml, wanted)) in cases.iter().enumerate() {
        let (code, said) = check(&number.to_string(), toml)?;
        ensure!(code == Some(2), "{sentence}: exit code {code:?}: {said}");
        for text in *wanted {
            ensure!(said.contains(text), "{sentence}: no {text:?} in: {said}");
        }
    }
    Ok(())
}
