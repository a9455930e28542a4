//! What providers sign for this server and counts once, remembered in the database.

use mandate_core::{Issuer, Timestamp};
use mandate_store::{StoreError, replay};

use super::{AGAIN, Providers};
use crate::provider_refusal::ProviderRefusal;

/// A token of a provider that counts once.
#[derive(Clone)]
pub(crate) struct Once {
    /// Under which name it is remembered. No client has an id with a tab in it.
    user: String,
    id: String,
    /// When it is too old to count.
    ends: Timestamp,
}

impl Once {
    pub(crate) fn logout(provider: &Issuer, id: &str, ends: Timestamp) -> Self {
        Self { user: format!("logout\t{provider}"), id: id.to_owned(), ends }
    }

    pub(crate) fn event(provider: &Issuer, id: &str, ends: Timestamp) -> Self {
        Self { user: format!("event\t{provider}"), id: id.to_owned(), ends }
    }
}

impl Providers {
    /// Whether it was used up before.
    pub(crate) async fn was_used(&self, once: &Once, now: Timestamp) -> Result<bool, ProviderRefusal> {
        let Once { user, id, .. } = once.clone();
        let seen = self.store.read("logout", move |tx| replay::is_remembered(tx, &user, &id, now)).await;
        seen.map_err(|error: StoreError| {
            tracing::error!(%error, "it cannot be seen whether a token of an identity provider was used");
            ProviderRefusal::Unavailable {
                error: "what was used cannot be seen".to_owned(),
                retry_after: AGAIN,
            }
        })
    }

    /// Uses it up, durably. What it demands is done: a failure is only logged.
    pub(crate) async fn use_up(&self, once: Once, now: Timestamp) {
        let Once { user, id, ends } = once;
        let kept = self.store.transact("logout", move |tx| replay::remember(tx, &user, &id, ends, now)).await;
        if let Err(error) = kept {
            tracing::error!(%error, "a token of an identity provider could not be remembered, and counts again");
        }
    }
}
