//! What a test run must not leave behind: namespaces, pins and processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, set_child_subreaper};

/// Names of namespaces that our tests and the demonstration make.
const NAMESPACE_PREFIXES: &[&str] = &["cgn-t", "cgn-demo"];

/// Depth below /sys/fs/bpf to which pins are looked for.
const PIN_DEPTH: usize = 3;

/// What was there before the run, so that only what the run made is told.
pub struct Before {
    things: BTreeSet<String>,
}

impl Before {
    /// Looks around, and makes this process the parent of every process that a test forgets.
    pub fn look() -> Result<Self> {
        set_child_subreaper(Pid::from_raw(1)).context("cannot become the parent of orphans")?;
        Ok(Self {
            things: look_around(),
        })
    }

    /// One sentence for each thing that the run left. Nothing is removed: a person may want to look
    /// at it, and another run may own it.
    pub fn left_behind(&self) -> Vec<String> {
        let processes = orphans(std::process::id());
        look_around()
            .into_iter()
            .filter(|thing| !self.things.contains(thing))
            .chain(processes)
            .collect()
    }
}

fn look_around() -> BTreeSet<String> {
    let namespaces = names_in(Path::new("/run/netns"))
        .into_iter()
        .filter(|name| {
            NAMESPACE_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
        })
        .map(|name| format!("network namespace {name} (ip netns delete {name})"));
    namespaces
        .chain(pins(Path::new("/sys/fs/bpf"), PIN_DEPTH))
        .collect()
}

fn pins(folder: &Path, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for name in names_in(folder) {
        let path = folder.join(&name);
        if name.starts_with("cgn-") {
            found.push(format!("pin {0} (rm -r {0})", path.display()));
        } else if depth > 1 {
            found.extend(pins(&path, depth - 1));
        }
    }
    found
}

/// Names in a folder; none when it cannot be read, as where there is no bpffs.
fn names_in(folder: &Path) -> Vec<String> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Running children of a process; after a run these can only be what its tests forgot.
fn orphans(parent: u32) -> Vec<String> {
    names_in(Path::new("/proc"))
        .into_iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok())
        .filter_map(|stat| parse_stat(&stat))
        .filter(|process| process.parent == parent && process.state != 'Z')
        .map(|process| format!("process {} {}", process.pid, process.name))
        .collect()
}

#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    name: String,
    state: char,
    parent: u32,
}

/// Reads `/proc/<pid>/stat`: `pid (name) state parent ...`; the name may hold blanks and brackets.
fn parse_stat(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some(Process {
        pid: pid.parse().ok()?,
        name: name.to_owned(),
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Process, orphans, parse_stat, pins};
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_name_may_hold_anything() {
        let cases = [
            ("plain", "12 (cgn) S 7 12 12 0", Some(("cgn", 'S', 7))),
            (
                "brackets and blanks",
                "12 (a ) R (b) Z 7 1",
                Some(("a ) R (b", 'Z', 7)),
            ),
            ("cut", "12 (cgn", None),
        ];
        for (sentence, stat, wanted) in cases {
            let wanted = wanted.map(|(name, state, parent)| Process {
                pid: 12,
                name: name.to_owned(),
                state,
                parent,
            });
            assert_eq!(parse_stat(stat), wanted, "{sentence}");
        }
    }

    #[test]
    fn a_running_child_is_found() {
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .expect("sleep starts");
        let found = orphans(std::process::id());
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        let wanted = format!("process {} ", child.id());
        assert!(
            found.iter().any(|line| line.starts_with(&wanted)),
            "{found:?}"
        );
    }

    #[test]
    fn pins_are_found_by_name_at_any_depth() {
        let root = std::env::temp_dir().join(format!("cgn-xtask-pins-{}", std::process::id()));
        std::fs::create_dir_all(root.join("tc/globals/cgn-a")).expect("make folder");
        std::fs::create_dir_all(root.join("cilium")).expect("make folder");
        let found = pins(&root, 3);
        std::fs::remove_dir_all(&root).expect("our own folder");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("tc/globals/cgn-a"), "{found:?}");
    }
}
