//! One test laboratory at a time: tests measure time, and this is a small machine.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::deadline::wait_until;

/// Held by a test while its laboratory stands; also across processes.
const PATH: &str = "/run/cgn-lab.lock";

/// How long a test waits for the tests of its own process, and then for other processes.
const PATIENCE: Duration = Duration::from_secs(300);

/// The tests of this process take turns. The file alone is not fair: who looks at it from time to
/// time never finds it free where another gives it back only to take it again at once.
static TURNS: Turns = Turns::new();

/// The lock; given back when this value ends, also when the process dies.
#[derive(Debug)]
pub struct LabLock {
    // Closed before the next one's turn, who would wait for it.
    _file: File,
    _turn: Turn<'static>,
}

impl LabLock {
    /// Waits until no other test has a laboratory.
    ///
    /// # Errors
    /// The file cannot be opened, or the wait was too long.
    pub fn take() -> Result<Self> {
        let turn = TURNS.wait(PATIENCE)?;
        let path = Path::new(PATH);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .with_context(|| format!("cannot open {PATH}"))?;
        wait_until(
            "no other process holds the network laboratory (/run/cgn-lab.lock)",
            PATIENCE.as_secs_f64(),
            || match file.try_lock() {
                Ok(()) => Ok(Some(())),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(error.into()),
            },
        )?;
        Ok(Self {
            _file: file,
            _turn: turn,
        })
    }
}

/// A queue: who came first goes first.
#[derive(Debug)]
struct Turns {
    /// Number of the next to come, and who is there, whose turn it is in front.
    queue: Mutex<(u64, VecDeque<u64>)>,
    moved: Condvar,
}

/// One's turn, until this value ends.
#[derive(Debug)]
struct Turn<'a> {
    turns: &'a Turns,
    number: u64,
}

impl Turns {
    const fn new() -> Self {
        Self {
            queue: Mutex::new((0, VecDeque::new())),
            moved: Condvar::new(),
        }
    }

    /// Nothing panics while it holds the queue, so that it is whole whoever held it.
    fn queue(&self) -> MutexGuard<'_, (u64, VecDeque<u64>)> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the queue, and returns when all before are gone.
    ///
    /// # Errors
    /// Somebody before was still there after `patience`.
    fn wait(&self, patience: Duration) -> Result<Turn<'_>> {
        let mut queue = self.queue();
        let number = queue.0;
        queue.0 += 1;
        queue.1.push_back(number);
        // Leaves the queue whatever happens.
        let turn = Turn {
            turns: self,
            number,
        };
        let (queue, waited) = self
            .moved
            .wait_timeout_while(queue, patience, |queue| queue.1.front() != Some(&number))
            .unwrap_or_else(PoisonError::into_inner);
        drop(queue);
        if waited.timed_out() {
            bail!("another test of this process has had the network laboratory for {patience:?}");
        }
        Ok(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns
            .queue()
            .1
            .retain(|waiting| *waiting != self.number);
        self.turns.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn who_waits_goes_before_who_comes_back_at_once() {
        let turns = Turns::new();
        let had = AtomicBool::new(false);
        thread::scope(|scope| {
            let first = turns.wait(SOON).expect("a turn");
            scope.spawn(|| {
                let _turn = turns.wait(SOON).expect("a turn");
                had.store(true, Ordering::SeqCst);
            });
            while turns.queue().1.len() < 2 {
                thread::yield_now();
            }
            drop(first);
            let _again = turns.wait(SOON).expect("a turn");
            assert!(had.load(Ordering::SeqCst), "the one who waited was passed");
        });
    }

    #[test]
    fn who_loses_patience_leaves_the_queue() {
        let turns = Turns::new();
        let first = turns.wait(SOON).expect("a turn");
        assert!(turns.wait(Duration::from_millis(1)).is_err(), "two at once");
        drop(first);
        drop(turns.wait(SOON).expect("nobody is left before"));
    }
}
