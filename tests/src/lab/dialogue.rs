//! A process that answers each line with a line, so that a test may do something in between.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// Ended when this value ends.
#[derive(Debug)]
pub struct Dialogue {
    name: String,
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    patience: Duration,
}

impl Dialogue {
    /// Starts `command`, and waits at most `secs` seconds for each of its lines. What it writes to
    /// standard error is in the test's own.
    ///
    /// # Errors
    /// The program is missing.
    pub fn start(name: &str, command: &mut Command, secs: f64) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let input = child.stdin.take().context("it has an input")?;
        let output = child.stdout.take().context("it has an output")?;
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            // Ends with the process, or with the one who listens.
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            name: name.to_owned(),
            child,
            input,
            answers,
            patience: Duration::from_secs_f64(secs),
        })
    }

    /// Its next line.
    ///
    /// # Errors
    /// It ended, or said nothing in time.
    pub fn hear(&mut self) -> Result<String> {
        match self.answers.recv_timeout(self.patience) {
            Ok(line) => Ok(line),
            Err(error) => bail!("{}: no line: {error}", self.name),
        }
    }

    /// Says a line, and returns the answer.
    ///
    /// # Errors
    /// As of [`Dialogue::hear`].
    pub fn ask(&mut self, line: &str) -> Result<String> {
        writeln!(self.input, "{line}").with_context(|| format!("{} has ended", self.name))?;
        self.hear().with_context(|| format!("asked {line:?}"))
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
