//! Processes that end with the value that stands for them, by their id.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};

use super::deadline::poll;

/// How long a process may take to end after SIGTERM.
const END_SECS: f64 = 10.0;

/// Lines of a log that an error shows.
const TAIL_LINES: usize = 40;

/// A process that runs beside the test; what it prints goes to a file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it prints is appended to `log`.
    ///
    /// # Errors
    /// The program is missing, or the file cannot be written.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = append_to(log)?;
        let other = file.try_clone().context("cannot open the log twice")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(other)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its end, if it has ended.
    ///
    /// # Errors
    /// The operating system's.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("cannot wait for {}", self.name))
    }

    /// All that it printed.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last lines that it printed.
    #[must_use]
    pub fn tail(&self) -> String {
        tail_of(&self.output())
    }

    /// Waits until it has printed `text`.
    ///
    /// # Errors
    /// It ended or the time is over; the error shows what it printed.
    pub fn wait_for_output(&mut self, text: &str, secs: f64) -> Result<()> {
        let seen = poll(secs, || {
            if self.output().contains(text) {
                return Some(true);
            }
            matches!(self.child.try_wait(), Ok(Some(_))).then_some(false)
        });
        if seen == Some(true) || self.output().contains(text) {
            return Ok(());
        }
        bail!(
            "{} did not print {text:?} within {secs} s; it printed:\n{}",
            self.name,
            self.tail()
        )
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It has not ended in time; it is killed then.
    pub fn wait(&mut self, secs: f64) -> Result<ExitStatus> {
        let status = poll(secs, || self.child.try_wait().ok().flatten());
        if let Some(status) = status {
            return Ok(status);
        }
        self.kill();
        bail!(
            "{} did not end within {secs} s; it printed:\n{}",
            self.name,
            self.tail()
        )
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    /// It did not end in time; it is killed then.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(libc::SIGTERM);
        self.wait(END_SECS)
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&mut self, signal: i32) {
        if let Ok(None) = self.child.try_wait() {
            // SAFETY: our own child, which has not been waited for, so the id is still its own.
            unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} printed last:\n{}", self.name, self.tail());
        }
        if let Err(error) = self.stop() {
            eprintln!("{error:#}");
        }
    }
}

/// Runs a command for its standard output, at most `secs` seconds.
///
/// # Errors
/// It cannot be started, fails, or takes too long; the error holds what it said.
pub fn run_to_end(command: &mut Command, secs: f64) -> Result<String> {
    let shown = shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    let status = poll(secs, || child.try_wait().ok().flatten());
    if status.is_none() {
        // Our own child; what it printed so far is in the error.
        let _ = child.kill();
        let _ = child.wait();
    }
    let text = |pipe: Option<std::thread::JoinHandle<Vec<u8>>>| {
        let bytes = pipe.and_then(|thread| thread.join().ok());
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    };
    let (stdout, stderr) = (text(stdout), text(stderr));
    match status {
        Some(status) if status.success() => Ok(stdout),
        Some(status) => bail!(
            "`{shown}` failed ({status}):\n{}{}",
            tail_of(&stdout),
            tail_of(&stderr)
        ),
        None => bail!(
            "`{shown}` took longer than {secs} s:\n{}{}",
            tail_of(&stdout),
            tail_of(&stderr)
        ),
    }
}

fn collect(mut pipe: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What could be read is what there is to show.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn append_to(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn tail_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(std::ffi::OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
