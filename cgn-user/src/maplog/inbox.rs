//! Records that another thread wants to have in the log. The engine, which alone writes it, takes them
//! in its turns.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::event::Event;

/// A group of records, and who waits for it.
#[derive(Debug)]
pub struct Wanted {
    pub events: Vec<Event>,
    done: SyncSender<bool>,
}

impl Wanted {
    /// Tells whether it is on record.
    pub fn answer(self, is_recorded: bool) {
        // Who waits no longer need not know.
        let _ = self.done.send(is_recorded);
    }
}

/// What was not written yet.
#[derive(Debug, Default)]
pub struct Inbox(Mutex<Vec<Wanted>>);

impl Inbox {
    /// Asks for a group; what comes back tells whether it is on record.
    pub fn ask(&self, events: Vec<Event>) -> Receiver<bool> {
        let (done, answer) = sync_channel(1);
        self.locked().push(Wanted { events, done });
        answer
    }

    /// All that was asked for.
    pub fn take(&self) -> Vec<Wanted> {
        std::mem::take(&mut *self.locked())
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<Wanted>> {
        // A list is whole whatever became of who had it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
