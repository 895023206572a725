//! What the documents for operators say, done.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{Daemon, Plan, Settings, cgn_program};

use crate::in_lab;

/// The codes of docs/operate/exit-codes.md that need no daemon, or none that answers.
#[test]
fn exit_codes_are_those_of_the_table() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("cgn-t-codes-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("log"))?;
    let name = |file: &str| folder.join(file).display().to_string();
    let program = cgn_program()?;
    let sample = Command::new(&program).arg("sample-config").output()?;
    std::fs::write(folder.join("good.toml"), &sample.stdout)?;
    std::fs::write(folder.join("bad.toml"), "[inside]\n")?;
    let (good, bad, none) = (name("good.toml"), name("bad.toml"), name("none"));
    let (log, socket) = (name("log"), name("none.sock"));
    let cases: &[(&str, &[&str], i32)] = &[
        ("it is done", &["sample-config"], 0),
        (
            "a configuration without errors",
            &["check", "--no-interfaces", "--config", &good],
            0,
        ),
        ("the command line is wrong", &["show", "everything"], 2),
        (
            "the configuration has errors",
            &["check", "--config", &bad],
            2,
        ),
        (
            "the configuration cannot be read",
            &["check", "--config", &none],
            2,
        ),
        ("it cannot start", &["run", "--config", &bad], 1),
        (
            "no daemon to show",
            &["show", "status", "--socket", &socket],
            1,
        ),
        ("no daemon to reload", &["reload", "--socket", &socket], 1),
        ("nothing to detach by", &["detach", "--config", &none], 1),
        ("no such log", &["log", "verify", &none], 1),
        (
            "no such log to ask",
            &[
                "log",
                "who",
                "203.0.113.1:4000",
                "--proto",
                "udp",
                "--dir",
                &none,
            ],
            1,
        ),
        (
            "nobody had it",
            &[
                "log",
                "who",
                "203.0.113.1:4000",
                "--proto",
                "udp",
                "--dir",
                &log,
            ],
            2,
        ),
        (
            "nobody's by a map",
            &["map", "forward", "100.64.0.1", "--config", &good],
            2,
        ),
        (
            "no map of that file",
            &["map", "reverse", "203.0.113.1:4000", "--config", &none],
            1,
        ),
        (
            "no daemon to advise",
            &["advise", "limits", "--socket", &socket],
            1,
        ),
        (
            "no Prometheus",
            &["report", "--prometheus", "127.0.0.1:1"],
            1,
        ),
        ("completions for a shell", &["completions", "bash"], 0),
        ("no such folder for the manual", &["manual", &none], 1),
    ];
    let mut wrong = Vec::new();
    for (sentence, arguments, code) in cases {
        let output = Command::new(&program).args(*arguments).output()?;
        if output.status.code() != Some(*code) {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            wrong.push(format!(
                "{sentence}: {:?} instead of {code}: {said}",
                output.status.code()
            ));
        }
    }
    std::fs::remove_dir_all(&folder)?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Those of a running daemon: a reload that is refused, and a stop.
#[test]
fn a_refused_reload_has_exit_code_3() {
    in_lab(
        "documents::a_refused_reload_has_exit_code_3",
        &Plan::default(),
        |lab| {
            let daemon = Daemon::start(lab, &Settings::default())?;
            let other = Settings {
                block_ports: 128,
                ..Settings::default()
            };
            std::fs::write(lab.folder().join("cgn.toml"), other.toml(lab))?;
            let output = Command::new(cgn_program()?)
                .args(["reload", "--socket"])
                .arg(daemon.socket())
                .output()?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(
                output.status.code() == Some(3),
                "{:?}: {said}",
                output.status
            );
            let stopped = daemon.stop()?;
            ensure!(stopped.code() == Some(0), "{stopped}");
            Ok(())
        },
    );
}

/// Every command that there is has a page in the manual, and every option of it stands there.
#[test]
fn the_manual_has_a_page_for_each_command() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("cgn-t-manual-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let made = Command::new(cgn_program()?)
        .arg("manual")
        .arg(&folder)
        .output()?;
    ensure!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let page = |name: &str| {
        let file = folder.join(name);
        std::fs::read_to_string(&file).with_context(|| format!("no {name}"))
    };
    for (name, option) in [
        ("cgn.1", "cgn\\-run"),
        ("cgn-run.1", "discard\\-tables"),
        ("cgn-show.1", "subscriber"),
        ("cgn-reload.1", "allow\\-disruption"),
        ("cgn-log-who.1", "proto"),
        ("cgn-report.1", "prometheus"),
    ] {
        let text = page(name)?;
        ensure!(text.contains(option), "{name} lacks {option}:\n{text}");
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
