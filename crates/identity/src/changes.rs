//! Waking nodes when registrations, keys or bans change.

use mandate_authority::Authority;
use mandate_live::Live;
use tokio::sync::watch;

/// A subscription to all data from which a node serves.
#[derive(Clone, Debug)]
pub struct Changes {
    registry: watch::Receiver<u64>,
    keys: watch::Receiver<u64>,
    bans: watch::Receiver<u64>,
}

impl Changes {
    pub(crate) fn new(live: &Live, authority: &Authority, bans: watch::Receiver<u64>) -> Self {
        Self { registry: live.subscribe_registry(), keys: authority.subscribe(), bans }
    }

    /// Marks everything so far as seen. Returns a number that increases with every change.
    pub fn seen(&mut self) -> u64 {
        let registry = *self.registry.borrow_and_update();
        let keys = *self.keys.borrow_and_update();
        registry.wrapping_add(keys).wrapping_add(*self.bans.borrow_and_update())
    }

    /// Waits for the next change. `false`: there will be none, the server is stopping.
    pub async fn changed(&mut self) -> bool {
        tokio::select! {
            changed = self.registry.changed() => changed.is_ok(),
            changed = self.keys.changed() => changed.is_ok(),
            changed = self.bans.changed() => changed.is_ok(),
        }
    }
}
