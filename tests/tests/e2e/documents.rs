//! What the documents for operators say, done.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{Daemon, Plan, Settings, cgn_program};
use cgn_user::config::Config;

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

/// The folder of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every document, with its text.
fn documents() -> Result<Vec<(PathBuf, String)>> {
    let mut folders = vec![root().join("docs")];
    let mut files = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
        .map(|name| root().join(name))
        .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(kind) if kind == "md" => files.push(path),
                _ => {}
            }
        }
    }
    let read = |path: PathBuf| Ok((path.clone(), fs::read_to_string(path)?));
    files.into_iter().map(read).collect()
}

/// What a link calls each heading: lower case, hyphens, no punctuation.
fn headings(text: &str) -> BTreeSet<String> {
    let titles = text.lines().filter_map(|line| line.strip_prefix('#'));
    let name = |title: &str| -> String {
        let title = title.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    titles.map(name).collect()
}

#[test]
fn links_lead_to_files_and_headings() -> Result<()> {
    let mut broken = Vec::new();
    let mut links = 0;
    for (file, text) in documents()? {
        // A link may stand in two lines.
        let text = text.replace('\n', " ");
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'));
        for (target, _) in targets.filter(|(target, _)| !target.contains("://")) {
            links += 1;
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = match path {
                "" => file.clone(),
                path => file.with_file_name("").join(path),
            };
            let is_there = match heading {
                "" => path.exists(),
                heading => headings(&fs::read_to_string(&path)?).contains(heading),
            };
            if !is_there {
                broken.push(format!("{}: {target}", file.display()));
            }
        }
    }
    ensure!(links > 50, "only {links} links");
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

/// What is shown of the configuration is a configuration, by itself or with that of the README.
#[test]
fn examples_of_the_configuration_are_taken() -> Result<()> {
    let documents = documents()?;
    let blocks = documents.iter().flat_map(|(file, text)| {
        let blocks = text.split("```toml\n").skip(1);
        blocks.filter_map(move |rest| Some((file, rest.split_once("```")?.0)))
    });
    let blocks: Vec<_> = blocks.collect();
    let is_whole = |text: &str| text.starts_with("[inside]");
    let whole = blocks.iter().find(|(_, text)| is_whole(text));
    let (_, whole) = whole.context("no whole example")?;
    ensure!(blocks.len() >= 4, "only {} examples", blocks.len());
    for (file, text) in &blocks {
        let text = match is_whole(text) {
            true => (*text).to_owned(),
            false => format!("{whole}{text}"),
        };
        match Config::parse(&text) {
            Ok(checked) => ensure!(checked.warnings.is_empty(), "{:?}", checked.warnings),
            Err(errors) => anyhow::bail!("{}: {errors}\n{text}", file.display()),
        }
    }
    Ok(())
}
