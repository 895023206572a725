//! `cargo xtask check-deps`: which crate may depend on which, and which modules must stay pure.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::step::{self, note};
use crate::workspace;

/// Each crate of the repository and those of ours that it may depend on (design: common <- ebpf,
/// common <- user <- tests).
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("cgn-common", &[]),
    ("cgn-ebpf", &["cgn-common"]),
    ("cgn-user", &["cgn-common"]),
    ("cgn-tests", &["cgn-common", "cgn-user"]),
    ("cgn-fuzz", &["cgn-common", "cgn-user", "cgn-tests"]),
    ("xtask", &[]),
];

/// Crates of ours that may use only these of others' (but for tests).
const FOREIGN: &[(&str, &[&str])] = &[
    ("cgn-common", &["bytemuck"]),
    ("cgn-ebpf", &["aya-ebpf", "aya-log-ebpf", "bytemuck"]),
];

/// Manifests of the workspaces; the root's, and those that are built apart from it.
const WORKSPACES: &[(&str, Presence)] = &[
    ("Cargo.toml", Presence::Required),
    ("cgn-ebpf/Cargo.toml", Presence::Required),
    ("fuzz/Cargo.toml", Presence::Optional),
];

#[derive(PartialEq, Eq)]
enum Presence {
    Required,
    Optional,
}

/// Modules of `cgn-user` that decide and compute only, so that tests can run them on any clock and
/// without rights. A module is a file `<name>.rs`, a folder `<name>/`, or both.
const PURE_MODULES: &[&str] = &[
    "policy",
    "alloc",
    "config",
    "maplog/encode",
    "maplog/record",
    "slowpath/process",
];

/// Words that a pure module must not hold, and why.
const IMPURE_WORDS: &[(&str, &str)] = &[
    ("tokio", "the runtime belongs to the edges"),
    ("aya", "only dataplane touches maps and programs"),
    ("Instant", "time is passed in, so that tests can move it"),
    ("SystemTime", "time is passed in, so that tests can move it"),
    ("fs", "files are read and written by the caller"),
    ("File", "files are read and written by the caller"),
    ("TcpListener", "sockets belong to api, metrics and rings"),
    ("TcpStream", "sockets belong to api, metrics and rings"),
    ("UdpSocket", "sockets belong to api, metrics and rings"),
    ("UnixDatagram", "sockets belong to api, metrics and rings"),
    ("UnixListener", "sockets belong to api, metrics and rings"),
    ("UnixStream", "sockets belong to api, metrics and rings"),
];

/// Checks both and names every violation.
pub fn run() -> Result<()> {
    step::step("dependency directions", || {
        let root = workspace::root();
        let mut violations = crate_violations(&root)?;
        violations.extend(purity_violations(&root.join("cgn-user/src"))?);
        if !violations.is_empty() {
            bail!(
                "{} dependencies run the wrong way:\n  {}\n\
                 Remedy: move the code to the side that may know both; the rules are the tables in xtask/src/check_deps.rs.",
                violations.len(),
                violations.join("\n  ")
            );
        }
        note(format_args!(
            "all crates and {} pure modules keep to the rules",
            PURE_MODULES.len()
        ));
        Ok(())
    })
}

fn crate_violations(root: &Path) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    for (manifest, presence) in WORKSPACES {
        let manifest = root.join(manifest);
        if !manifest.exists() && *presence == Presence::Optional {
            continue;
        }
        let text = step::capture(
            workspace::cargo()
                .args([
                    "metadata",
                    "--no-deps",
                    "--format-version",
                    "1",
                    "--manifest-path",
                ])
                .arg(&manifest),
        )?;
        let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
        let packages = metadata["packages"]
            .as_array()
            .context("cargo metadata has no packages")?;
        violations.extend(packages.iter().flat_map(package_violations));
    }
    Ok(violations)
}

/// One sentence for each dependency of a package that its row in `DIRECTIONS` does not allow.
fn package_violations(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let Some((_, allowed)) = DIRECTIONS.iter().find(|(ours, _)| *ours == name) else {
        return vec![format!(
            "{name} has no row in DIRECTIONS: add it with what it may depend on"
        )];
    };
    let foreign = FOREIGN.iter().find(|(ours, _)| *ours == name);
    let no_dependencies = Vec::new();
    package["dependencies"]
        .as_array()
        .unwrap_or(&no_dependencies)
        .iter()
        .filter_map(|dependency| Some((dependency["name"].as_str()?, dependency)))
        .filter(|(depends_on, dependency)| {
            let ours = dependency["path"].is_string()
                || DIRECTIONS.iter().any(|(ours, _)| ours == depends_on);
            if ours {
                return !allowed.contains(depends_on);
            }
            let is_for_tests = dependency["kind"] == "dev";
            foreign.is_some_and(|(_, few)| !is_for_tests && !few.contains(depends_on))
        })
        .map(|(depends_on, dependency)| {
            let kind = dependency["kind"]
                .as_str()
                .map_or(String::new(), |kind| format!(" ({kind})"));
            let foreign = foreign.map_or(&[][..], |(_, few)| few);
            format!("{name} depends on {depends_on}{kind}; allowed: {allowed:?} {foreign:?}")
        })
        .collect()
}

fn purity_violations(src: &Path) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    for module in PURE_MODULES {
        let files = module_files(src, module)?;
        if files.is_empty() {
            violations.push(format!(
                "cgn-user module {module} is in PURE_MODULES but not in {}",
                src.display()
            ));
        }
        for file in files {
            let text = fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            for (line, word, reason) in impure_words(&text) {
                violations.push(format!(
                    "{}:{line}: `{word}` in a pure module: {reason}",
                    file.display()
                ));
            }
        }
    }
    Ok(violations)
}

/// The Rust files of a module except its tests, which may use clocks and files.
fn module_files(src: &Path, module: &str) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = Some(src.join(format!("{module}.rs")))
        .filter(|file| file.is_file())
        .into_iter()
        .collect();
    let mut folders = vec![src.join(module)];
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("tests.rs")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Line number, word and reason of each impure word, outside comments and inline tests.
fn impure_words(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let mut found = Vec::new();
    // By habit of this repository the tests are the last item of a file.
    let code = text
        .lines()
        .take_while(|line| line.trim() != "#[cfg(test)]");
    for (index, line) in code.enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        // Outside string literals: every second piece between quotation marks.
        let outside = code.split('"').step_by(2);
        let words = outside.flat_map(|c| c.split(|c: char| !c.is_alphanumeric() && c != '_'));
        for word in words {
            if let Some((word, reason)) = IMPURE_WORDS.iter().find(|(impure, _)| *impure == word) {
                found.push((index + 1, *word, *reason));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{impure_words, package_violations};
    use serde_json::json;

    #[test]
    fn dependencies_against_the_direction_are_named() {
        let cases = [
            (
                "user on common is the way it runs",
                json!({"name": "cgn-user", "dependencies": [{"name": "cgn-common", "path": "/c"}, {"name": "serde"}]}),
                0,
            ),
            (
                "common on user is not",
                json!({"name": "cgn-common", "dependencies": [{"name": "cgn-user", "path": "/u"}]}),
                1,
            ),
            (
                "not even for tests",
                json!({"name": "cgn-user", "dependencies": [{"name": "cgn-tests", "path": "/t", "kind": "dev"}]}),
                1,
            ),
            (
                "a path to a crate that the table does not know",
                json!({"name": "xtask", "dependencies": [{"name": "new", "path": "/n"}]}),
                1,
            ),
            (
                "common on bytemuck alone",
                json!({"name": "cgn-common", "dependencies": [{"name": "bytemuck"}, {"name": "libc"}]}),
                1,
            ),
            (
                "its tests on others, too",
                json!({"name": "cgn-common", "dependencies": [{"name": "proptest", "kind": "dev"}]}),
                0,
            ),
            (
                "a crate without a row",
                json!({"name": "new", "dependencies": []}),
                1,
            ),
        ];
        for (sentence, package, wanted) in cases {
            let violations = package_violations(&package);
            assert_eq!(violations.len(), wanted, "{sentence}: {violations:?}");
        }
    }

    #[test]
    fn impure_words_are_found_in_code_only() {
        type Found = &'static [(usize, &'static str)];
        let cases: [(&str, &str, Found); 7] = [
            ("a use", "use a;\nuse tokio::sync::mpsc;", &[(2, "tokio")]),
            (
                "a path",
                "let now = std::time::Instant::now();",
                &[(1, "Instant")],
            ),
            (
                "a socket is not an address",
                "fn f(a: SocketAddr, s: &UdpSocket) {}",
                &[(1, "UdpSocket")],
            ),
            (
                "part of a word",
                "let buffs = InstantNs(1); // layout of aya",
                &[],
            ),
            ("a comment", "/// As tokio does.\n//! fs", &[]),
            ("a text", "let path = \"/sys/fs/bpf\"; // fs", &[]),
            (
                "tests at the end",
                "fn f() {}\n#[cfg(test)]\nmod tests { use std::fs; }",
                &[],
            ),
        ];
        for (sentence, text, wanted) in cases {
            let found: Vec<_> = impure_words(text)
                .into_iter()
                .map(|(line, word, _)| (line, word))
                .collect();
            assert_eq!(found, wanted, "{sentence}");
        }
    }
}
