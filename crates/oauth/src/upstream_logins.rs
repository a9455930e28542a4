//! Logins that go on, at the provider at which the person logged in: its refresh token shows whether the account
//! and the login still count there.
//!
//! A login that goes on here could otherwise outlive the account by weeks. So when a refresh token of ours is used,
//! the provider is asked, at most every [`UPSTREAM_ASKED`]. An answer that the login has ended ends it for good.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use mandate_core::lifetimes::{UPSTREAM_ASKED, UPSTREAM_GRACE};
use mandate_core::registry::{TrustedIssuer, login_key};
use mandate_core::{Secret, Timestamp, TokenId};
use mandate_single_flight::SingleFlight;
use mandate_store::Store;
use mandate_store::refresh::{self, Upstream};
use parking_lot::Mutex;

use crate::basis::Basis;
use crate::provider_refusal::ProviderRefusal;
use crate::providers::{Providers, Renewed};
use crate::refresh_tokens::StoredRefresh;
use crate::refusal::RequestRefusal;

/// How many tokens are kept that could not be stored.
const MOST_UNSTORED: usize = 4_096;

/// What a provider says of a login that goes on here.
#[derive(Clone, Debug)]
enum Answer {
    /// It goes on, or the provider need not be asked.
    GoesOn,
    /// It has ended there, and why.
    Ended(&'static str),
    /// The provider does not say. It said last at this time that the login goes on.
    Unknown(ProviderRefusal, Timestamp),
    /// Our database does not say.
    Failed(String),
}

/// Why a login does not go on.
pub(crate) enum Stopped {
    /// It has ended at the provider, as this says: it is to be ended here.
    Ended(String),
    /// It cannot be said now.
    Refused(RequestRefusal),
}

/// The logins of people at providers that gave a refresh token.
pub(crate) struct UpstreamLogins {
    basis: Basis,
    providers: Arc<Providers>,
    store: Store,
    /// The questions that are on their way, one for each login. They go on without their callers: the token that a
    /// provider gives in place of another would be lost.
    asking: SingleFlight<TokenId, Answer>,
    /// Tokens that are newer than those in the database, or may be.
    unstored: Mutex<HashMap<TokenId, Secret>>,
}

impl UpstreamLogins {
    pub(crate) fn new(basis: Basis, providers: Arc<Providers>, store: Store) -> Self {
        Self { basis, providers, store, asking: SingleFlight::default(), unstored: Mutex::default() }
    }

    /// Whether a login still goes on at its provider. One without a provider, or whose provider gave no refresh
    /// token, does.
    pub(crate) async fn goes_on(self: &Arc<Self>, stored: &StoredRefresh) -> Result<(), Stopped> {
        let Some(login) = &stored.payload.login.provider else { return Ok(()) };
        let snapshot = self.basis.snapshot();
        // One at which nobody logs in any longer is asked nothing: the decision refuses its people.
        let provider = snapshot.registry.issuer(login.id.iss.as_str());
        let Some(provider) = provider.filter(|provider| provider.login.is_some()) else { return Ok(()) };
        let root = &stored.login.root;
        let question = || {
            let (this, root, sub) = (Arc::clone(self), root.clone(), login.id.sub.clone());
            let provider = TrustedIssuer::clone(provider);
            Ok::<_, Infallible>(async move { this.ask(&root, &provider, &sub).await })
        };
        let Ok(flight) = self.asking.join(root, question);
        match flight.landed().await {
            Some(Answer::GoesOn) => Ok(()),
            Some(Answer::Ended(why)) => {
                Err(Stopped::Ended(format!("the identity provider {} {why}", provider.url)))
            }
            // A provider that is away for a moment stops nobody's work.
            Some(Answer::Unknown(_, good)) if self.basis.now().since(good) < UPSTREAM_GRACE => Ok(()),
            Some(Answer::Unknown(refusal, _)) => Err(Stopped::Refused(refusal.into())),
            Some(Answer::Failed(error)) => Err(Stopped::Refused(RequestRefusal::Internal(error))),
            None => {
                let error = "a question to an identity provider was cut off".to_owned();
                Err(Stopped::Refused(RequestRefusal::Internal(error)))
            }
        }
    }

    async fn ask(&self, root: &TokenId, provider: &TrustedIssuer, sub: &str) -> Answer {
        let now = self.basis.now();
        let key = login_key(&provider.url);
        let (of, at) = (root.clone(), key.clone());
        let found = self.store.read("login at a provider", move |tx| refresh::upstream(tx, &of, &at)).await;
        let (stored, good) = match found {
            Ok(Some(Upstream { token, good, .. })) => (token, good),
            Ok(None) => return Answer::GoesOn,
            Err(error) => return Answer::Failed(error.to_string()),
        };
        if now.since(good) < UPSTREAM_ASKED {
            return Answer::GoesOn;
        }
        let newer = self.unstored.lock().remove(root);
        let token = newer.clone().unwrap_or(stored);
        match self.providers.renew(provider, sub, &token, now).await {
            Renewed::Good(next) => {
                let upstream = Upstream { provider: key, token: next.unwrap_or(token), good: now };
                self.keep(root, upstream).await;
                Answer::GoesOn
            }
            Renewed::Ended(why) => Answer::Ended(why),
            Renewed::Unknown(refusal) => {
                tracing::warn!(error = %refusal, issuer = %provider.url, "it is not known whether a login goes on at its identity provider");
                if let Some(newer) = newer {
                    self.remember(root, newer);
                }
                Answer::Unknown(refusal, good)
            }
        }
    }

    /// Stores what the provider gave, in a transaction of its own and before anything else: the token that it
    /// replaces may not count any longer, whatever becomes of the request that led to this.
    async fn keep(&self, root: &TokenId, upstream: Upstream) {
        let (of, token) = (root.clone(), upstream.token.clone());
        let keep = move |tx: &mandate_store::Tx<'_>| refresh::keep_upstream(tx, &of, &upstream);
        if let Err(error) = self.store.transact("login at a provider", keep).await {
            tracing::error!(%error, "the refresh token that an identity provider gave could not be stored; it is kept in memory");
            self.remember(root, token);
        }
    }

    fn remember(&self, root: &TokenId, token: Secret) {
        let mut unstored = self.unstored.lock();
        if unstored.len() < MOST_UNSTORED {
            unstored.insert(root.clone(), token);
        }
    }
}
