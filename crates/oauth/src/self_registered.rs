//! The clients that registered themselves: finding them, and how many there may be.

use std::sync::Arc;
use std::time::Duration;

use mandate_core::{ClientId, RequestSource, SelfDescribed, Timestamp};
use mandate_store::{Effect, Store, self_registered};

use crate::refusal::RequestRefusal;
use crate::site_counts::{SiteCounts, SiteLimits};

/// The most clients that registered themselves. More than [`LIMITS`] let in within [`UNUSED`], so that
/// registrations alone do not fill it.
const MAX_CLIENTS: u64 = 10_000;
/// How long a client is kept by which nobody logs in.
const UNUSED: Duration = Duration::from_hours(24);
/// How long a client is kept after a login.
const USED: Duration = Duration::from_hours(90 * 24);
/// How often clients may register themselves.
const LIMITS: SiteLimits = SiteLimits { window: Duration::from_hours(1), of_a_site: 10, of_all: 100 };

/// The effect of a login by `client`: it is kept for longer.
pub(crate) fn used(client: &ClientId, now: Timestamp) -> Effect {
    Effect::UseClient { client: client.clone(), forget: now.plus(USED) }
}

/// The effect of a registration: the client is kept for a while.
pub(crate) fn keep(client: SelfDescribed, now: Timestamp) -> Effect {
    Effect::KeepClient { client: Box::new(client), forget: now.plus(UNUSED), most: MAX_CLIENTS }
}

/// The clients that registered themselves.
pub(crate) struct Registrations {
    store: Store,
    /// Whether clients may register themselves, and those that did may be used.
    on: bool,
    counts: SiteCounts,
}

impl Registrations {
    pub(crate) fn new(store: Store, on: bool) -> Self {
        Self { store, on, counts: SiteCounts::new(LIMITS) }
    }

    /// Counts a registration from `source`, if there may be one more.
    pub(crate) fn one_more(&self, source: RequestSource, now: Timestamp) -> bool {
        self.counts.one_more(source, now)
    }

    pub(crate) fn are_on(&self) -> bool {
        self.on
    }

    /// The client with that id, if it registered itself.
    pub(crate) async fn find(
        &self,
        id: &ClientId,
        now: Timestamp,
    ) -> Result<Option<Arc<SelfDescribed>>, RequestRefusal> {
        if !self.on || !id.is_self_registered() {
            return Ok(None);
        }
        let id = id.clone();
        let found = self.store.read("a client", move |tx| self_registered::get(tx, &id, now)).await;
        found.map(|client| client.map(Arc::new)).map_err(|error| RequestRefusal::Internal(error.to_string()))
    }
}
