//! What routes do, each different thing stored once: a full table has a million routes and a
//! few dozen different sets of paths.

use std::collections::HashMap;
use std::sync::Arc;

use super::kernel::{Path, Route, RouteKind};

/// The number of an [`Action`]. A number is given to another action only after the last route
/// with the old one is gone.
pub(super) type ActionId = u32;

/// No route, or a throw route, which counts as none.
pub(super) const NO_ROUTE: ActionId = 0;
/// The kernel must be asked.
pub(super) const KERNEL_ONLY: ActionId = 1;

/// What a route does with a packet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Action {
    pub(super) kind: RouteKind,
    pub(super) paths: Vec<Path>,
    /// A limit of the route on the size of packets, in bytes.
    pub(super) mtu: Option<u32>,
}

impl Action {
    /// What `route` does.
    pub(super) fn of(route: &Route) -> Self {
        Action {
            kind: route.kind,
            paths: route.paths.clone(),
            mtu: route.mtu,
        }
    }

    fn bare(kind: RouteKind) -> Self {
        Action {
            kind,
            paths: Vec::new(),
            mtu: None,
        }
    }
}

struct Slot {
    action: Arc<Action>,
    /// How many routes have it.
    uses: usize,
}

/// The actions of a route table.
pub(super) struct Actions {
    slots: Vec<Slot>,
    ids: HashMap<Arc<Action>, ActionId>,
    free: Vec<ActionId>,
}

impl Default for Actions {
    fn default() -> Self {
        // The two constants above; they are never released.
        let slots = [RouteKind::Throw, RouteKind::KernelOnly].map(|kind| Slot {
            action: Arc::new(Action::bare(kind)),
            uses: 1,
        });
        Actions {
            slots: slots.into(),
            ids: HashMap::new(),
            free: Vec::new(),
        }
    }
}

impl Actions {
    /// The number of `action`, counted as used once more.
    pub(super) fn acquire(&mut self, action: Action) -> ActionId {
        if let Some(&id) = self.ids.get(&action) {
            self.slots[id as usize].uses += 1;
            return id;
        }
        let action = Arc::new(action);
        let slot = Slot {
            action: Arc::clone(&action),
            uses: 1,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = slot;
                id
            }
            None => {
                self.slots.push(slot);
                // One per route at most, and the kernel cannot hold 2^32 routes.
                (self.slots.len() - 1) as ActionId
            }
        };
        self.ids.insert(action, id);
        id
    }

    /// The number of `action`, if some route has it.
    pub(super) fn find(&self, action: &Action) -> Option<ActionId> {
        self.ids.get(action).copied()
    }

    /// Counts `id` as used once less.
    pub(super) fn release(&mut self, id: ActionId) {
        let slot = &mut self.slots[id as usize];
        slot.uses -= 1;
        if slot.uses == 0 {
            self.ids.remove(&slot.action);
            self.free.push(id);
        }
    }

    /// What `id` stands for.
    pub(super) fn get(&self, id: ActionId) -> &Action {
        &self.slots[id as usize].action
    }

    /// All actions in the order of their numbers; `None` where no route has it.
    pub(super) fn all(&self) -> impl Iterator<Item = Option<&Action>> {
        self.slots
            .iter()
            .map(|slot| (slot.uses > 0).then_some(&*slot.action))
    }
}
