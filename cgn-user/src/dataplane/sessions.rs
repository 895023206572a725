//! The table of sessions: the kernel's map, or one of our own for tests,
//! fuzzers and benches. XDP and the slow path write it, the sweep takes out.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::MapData;
use cgn_common::layout::{Session, SessionKey};
use cgn_common::word::Word;

use super::batch;
use super::load::Element;
use super::memory::Memory;

/// Sessions that one look into the table reads: some hundred microseconds.
const PART: u32 = 2048;

/// The kernel's map, as the library has it.
pub type Map = aya::maps::HashMap<MapData, Element<SessionKey>, u64>;

/// The table.
pub struct Sessions(Mutex<Home>);

enum Home {
    Kernel {
        map: Map,
        /// The same map.
        fd: OwnedFd,
    },
    Own {
        entries: BTreeMap<SessionKey, u64>,
        most: usize,
    },
    /// A view: what is written here is seen here only.
    Over {
        below: Arc<Memory>,
        entries: BTreeMap<SessionKey, u64>,
        /// Sessions that may be entered here.
        room: usize,
    },
}

impl Sessions {
    /// A table of our own with room for `most`.
    #[must_use]
    pub fn private(most: u32) -> Self {
        let (entries, most) = (BTreeMap::new(), most as usize);
        Self(Mutex::new(Home::Own { entries, most }))
    }

    /// A view of the sessions of other tables, which are never changed through
    /// it, with room for so many more.
    #[must_use]
    pub fn over(below: Arc<Memory>, room: usize) -> Self {
        let entries = BTreeMap::new();
        Self(Mutex::new(Home::Over {
            below,
            entries,
            room,
        }))
    }

    /// The kernel's map, and its descriptor.
    #[must_use]
    pub fn mapped(map: Map, fd: OwnedFd) -> Self {
        Self(Mutex::new(Home::Kernel { map, fd }))
    }

    fn home(&self) -> MutexGuard<'_, Home> {
        // No step leaves it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` on a session, if it is there, and writes back what `f` changed.
    pub fn with<R>(&self, key: &SessionKey, f: impl FnOnce(&Word) -> R) -> Option<R> {
        let mut home = self.home();
        let old = home.get(key)?;
        let word = Word::new(old);
        let result = f(&word);
        if word.load() != old {
            home.set(key, word.load());
        }
        Some(result)
    }

    /// Enters a session; false if the table is full, or has it.
    pub fn enter(&self, key: &SessionKey, session: u64) -> bool {
        self.home().enter(key, session)
    }

    /// Some of the sessions, and where to go on (None: that was all). `from` is
    /// what the last call returned.
    ///
    /// # Errors
    /// The kernel's.
    pub fn part(&self, from: Option<u32>) -> std::io::Result<batch::Part<SessionKey, Session>> {
        match &*self.home() {
            Home::Kernel { fd, .. } => {
                let (found, next) = batch::read::<SessionKey, u64>(fd.as_fd(), from, PART)?;
                let found = found.into_iter().map(|(key, word)| (key, Session(word)));
                Ok((found.collect(), next))
            }
            Home::Own { entries, .. } | Home::Over { entries, .. } => {
                let found = entries.iter().map(|(key, word)| (*key, Session(*word)));
                Ok((found.collect(), None))
            }
        }
    }

    /// Every session, in no order.
    ///
    /// # Errors
    /// The kernel's.
    pub fn all(&self) -> std::io::Result<Vec<(SessionKey, Session)>> {
        let (mut all, mut next) = self.part(None)?;
        while next.is_some() {
            let (more, after) = self.part(next)?;
            all.extend(more);
            next = after;
        }
        Ok(all)
    }

    /// Takes a session out if it is still as it was seen. A packet that changes
    /// it at the same moment wins: the session is put back.
    pub fn end(&self, key: &SessionKey, seen: Session) -> bool {
        let mut home = self.home();
        if home.get(key) != Some(seen.0) {
            return false;
        }
        match home.take(key) {
            Some(last) if last != seen.0 => {
                home.set(key, last);
                false
            }
            taken => taken.is_some(),
        }
    }
}

impl Home {
    fn get(&self, key: &SessionKey) -> Option<u64> {
        match self {
            Self::Kernel { map, .. } => map.get(&Element(*key), 0).ok(),
            Self::Own { entries, .. } => entries.get(key).copied(),
            Self::Over { below, entries, .. } => match entries.get(key) {
                Some(session) => Some(*session),
                None => below.sessions.home().get(key),
            },
        }
    }

    /// False if there is no room, or it is there.
    fn enter(&mut self, key: &SessionKey, session: u64) -> bool {
        const NOEXIST: u64 = 1;
        if let Self::Kernel { map, .. } = self {
            return map.insert(Element(*key), session, NOEXIST).is_ok();
        }
        self.get(key).is_none() && self.set(key, session)
    }

    /// False if there is no room.
    fn set(&mut self, key: &SessionKey, session: u64) -> bool {
        match self {
            Self::Kernel { map, .. } => map.insert(Element(*key), session, 0).is_ok(),
            Self::Own { entries, most } => {
                let has_room = entries.len() < *most || entries.contains_key(key);
                if has_room {
                    entries.insert(*key, session);
                }
                has_room
            }
            Self::Over { entries, room, .. } => {
                let has_room = entries.len() < *room || entries.contains_key(key);
                if has_room {
                    entries.insert(*key, session);
                }
                has_room
            }
        }
    }

    /// Takes a session out, and returns its last word.
    fn take(&mut self, key: &SessionKey) -> Option<u64> {
        match self {
            Self::Kernel { fd, .. } => batch::take(fd.as_fd(), key),
            Self::Own { entries, .. } | Self::Over { entries, .. } => entries.remove(key),
        }
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.home() {
            Home::Kernel { .. } => "Sessions(kernel)",
            Home::Own { .. } => "Sessions(own)",
            Home::Over { .. } => "Sessions(over)",
        })
    }
}
