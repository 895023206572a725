//! Of whom a sink is told: of everyone, or of some realms, as a tenant may be.

use std::collections::BTreeSet;

use super::Kinds;
use crate::maplog::encode::Item;
use crate::maplog::notice::Concern;

/// Some realms, and what serves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Their numbers in the log.
    pub realms: BTreeSet<u16>,
    /// Numbers of the pools that they have.
    pub pools: BTreeSet<u16>,
}

impl Scope {
    /// Whether a sink of these realms is told. Starts, stops and gaps of the log are everyone's; floods from
    /// outside and a busy slow path are the provider's.
    fn has(&self, item: &Item) -> bool {
        match item {
            Item::Notice(notice) => match notice.what.concern() {
                Concern::Realm(realm) => self.realms.contains(&realm),
                Concern::Pool(pool) => self.pools.contains(&pool),
                Concern::Provider => false,
            },
            _ => item
                .who()
                .is_none_or(|(realm, _)| self.realms.contains(&realm)),
        }
    }
}

/// Whether a sink is sent the item.
pub(super) fn is_wanted(kinds: Kinds, scope: Option<&Scope>, item: &Item) -> bool {
    kinds.has(item) && scope.is_none_or(|scope| scope.has(item))
}
