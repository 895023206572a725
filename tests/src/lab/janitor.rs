//! Removal of what a laboratory made: one way for all ends.
//!
//! A small shell process is told of each thing before it is made, over a pipe. When the pipe ends,
//! it removes them all: because the laboratory was dropped, or because the process died, be it of a
//! signal, an abort or `kill -9`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};

const SCRIPT: &str = include_str!("janitor.sh");

/// Janitors at work, so that a signal can end them all in order.
static AT_WORK: Mutex<BTreeMap<u32, Child>> = Mutex::new(BTreeMap::new());

/// The janitor of one laboratory; removes everything when dropped.
#[derive(Debug)]
pub struct Janitor {
    pid: u32,
}

/// What a janitor can remove.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Namespace,
    Folder,
    Mount,
    /// A file of /proc or /sys, then a blank and what is to be written back.
    Setting,
}

impl Janitor {
    /// Starts a janitor that knows of nothing yet.
    pub fn start() -> Result<Self> {
        let child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "cgn-lab-janitor"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C goes to the whole process group; the janitor has to survive it.
            .process_group(0)
            .spawn()
            .context("cannot start /bin/sh")?;
        let pid = child.id();
        at_work().insert(pid, child);
        Ok(Self { pid })
    }

    /// Tells of a thing that is about to be made, or changed. Names have no blanks.
    pub fn will_make(&self, kind: Kind, name: impl Display) -> Result<()> {
        let kind = match kind {
            Kind::Namespace => "namespace",
            Kind::Folder => "folder",
            Kind::Mount => "mount",
            Kind::Setting => "setting",
        };
        let mut at_work = at_work();
        let stdin = at_work
            .get_mut(&self.pid)
            .and_then(|child| child.stdin.as_mut())
            .context("the laboratory is being removed")?;
        writeln!(stdin, "{kind} {name}").context("the laboratory's janitor died")
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        let child = at_work().remove(&self.pid);
        if let Some(child) = child {
            finish(child);
        }
    }
}

/// Removes everything that all janitors know of; laboratories can make no more after that.
pub fn finish_all() {
    // The lock is kept, so that a laboratory that is dropped meanwhile waits for the removal.
    let mut at_work = at_work();
    for (_, child) in std::mem::take(&mut *at_work) {
        finish(child);
    }
}

fn finish(mut child: Child) {
    drop(child.stdin.take());
    // It ends by itself within its own limits; nothing is left to do if it was killed.
    let _ = child.wait();
}

fn at_work() -> MutexGuard<'static, BTreeMap<u32, Child>> {
    // A map of children is right after every panic.
    AT_WORK.lock().unwrap_or_else(PoisonError::into_inner)
}
