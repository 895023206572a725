//! The table of fragmented datagrams: the kernel's map, or one of our own for
//! tests, fuzzers and benches. XDP and the slow path enter what comes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aya::maps::{MapData, MapError};
use cgn_common::layout::{Datagram, FragmentKey};

use super::load::Element;

/// The kernel's map, as the library has it.
pub type Map = aya::maps::HashMap<MapData, Element<FragmentKey>, Element<Datagram>>;

/// The table.
pub struct Datagrams(Mutex<Home>);

enum Home {
    Kernel(Map),
    Own(BTreeMap<FragmentKey, Datagram>),
}

impl Datagrams {
    /// A table of our own. It is as large as what is entered.
    #[must_use]
    pub fn private() -> Self {
        Self(Mutex::new(Home::Own(BTreeMap::new())))
    }

    /// The kernel's map.
    #[must_use]
    pub fn mapped(map: Map) -> Self {
        Self(Mutex::new(Home::Kernel(map)))
    }

    fn home(&self) -> MutexGuard<'_, Home> {
        // No step leaves it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a datagram.
    pub fn get(&self, key: &FragmentKey) -> Option<Datagram> {
        match &*self.home() {
            Home::Kernel(map) => Some(map.get(&Element(*key), 0).ok()?.0),
            Home::Own(entries) => entries.get(key).copied(),
        }
    }

    /// Enters a datagram; false if the kernel refuses.
    pub fn enter(&self, key: &FragmentKey, datagram: Datagram) -> bool {
        match &mut *self.home() {
            Home::Kernel(map) => map.insert(Element(*key), Element(datagram), 0).is_ok(),
            Home::Own(entries) => {
                entries.insert(*key, datagram);
                true
            }
        }
    }

    /// Forgets all, for tests.
    ///
    /// # Errors
    /// The kernel's.
    pub fn clear(&self) -> Result<(), MapError> {
        match &mut *self.home() {
            Home::Kernel(map) => {
                let keys: Vec<_> = map.keys().collect::<Result<_, _>>()?;
                keys.iter().try_for_each(|key| map.remove(key))
            }
            Home::Own(entries) => {
                entries.clear();
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.home() {
            Home::Kernel(_) => "Datagrams(kernel)",
            Home::Own(_) => "Datagrams(own)",
        })
    }
}
