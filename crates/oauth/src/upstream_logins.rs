//! Logins that go on, at the provider at which the person logged in: its refresh token shows whether the account
//! and the login still count there.
//!
//! A login that goes on here could otherwise outlive the account by weeks. So when a refresh token of ours is used,
//! the provider is asked, unless it said within [`UPSTREAM_ASKED`] that the login goes on. An answer that the login
//! has ended ends it for good. After an answer that says nothing the provider is not asked for [`UPSTREAM_SILENCE`].

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use mandate_core::lifetimes::{UPSTREAM_ASKED, UPSTREAM_GRACE, UPSTREAM_SILENCE};
use mandate_core::registry::{TrustedIssuer, login_key};
use mandate_core::{Secret, Timestamp, TokenId};
use mandate_single_flight::SingleFlight;
use mandate_store::Store;
use mandate_store::refresh::{self, Upstream};
use parking_lot::Mutex;

use crate::basis::Basis;
use crate::provider_refusal::ProviderRefusal;
use crate::providers::{Providers, Renewed, Silence};
use crate::refresh_tokens::StoredRefresh;
use crate::refusal::RequestRefusal;

/// How many tokens are kept that could not be stored.
const MOST_UNSTORED: usize = 4_096;

/// How many answers that say nothing are remembered. Beyond that, providers are asked again.
const MOST_SILENT: usize = 4_096;

/// Who said nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Silent {
    /// A provider, of all its logins; its key.
    Provider(String),
    /// A provider, of the login with this root.
    Login(TokenId),
}

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
    /// What said nothing, and when.
    silent: Mutex<HashMap<Silent, (Timestamp, ProviderRefusal)>>,
}

impl UpstreamLogins {
    pub(crate) fn new(basis: Basis, providers: Arc<Providers>, store: Store) -> Self {
        let (asking, unstored, silent) = (SingleFlight::default(), Mutex::default(), Mutex::default());
        Self { basis, providers, store, asking, unstored, silent }
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
        if let Some(refusal) = self.said_nothing(&key, root, now) {
            return Answer::Unknown(refusal, good);
        }
        let newer = self.unstored.lock().remove(root);
        let token = newer.clone().unwrap_or(stored);
        let tokens = match self.providers.renew(provider, &token, now).await {
            Renewed::Tokens(tokens) => tokens,
            Renewed::Ended(why) => return Answer::Ended(why),
            Renewed::Unknown(refusal, silence) => {
                self.put_back(root, newer);
                return self.unknown(refusal, silence, (provider, root), good);
            }
        };
        if tokens.id_token.is_some()
            && let Some(next) = &tokens.refresh_token
        {
            // The keys of the provider may have to be fetched first. It is not known yet whether the login goes on.
            self.keep(root, Upstream { provider: key.clone(), token: next.clone(), good }).await;
        }
        match self.providers.ended_by(provider, sub, &tokens, now).await {
            Ok(None) => {
                let upstream =
                    Upstream { provider: key, token: tokens.refresh_token.unwrap_or(token), good: now };
                self.keep(root, upstream).await;
                Answer::GoesOn
            }
            Ok(Some(why)) => Answer::Ended(why),
            Err(refusal) => {
                self.put_back(root, newer.filter(|_| tokens.refresh_token.is_none()));
                self.unknown(refusal, Silence::Login, (provider, root), good)
            }
        }
    }

    /// It is not known whether a login goes on. That is remembered, so that nobody asks again at once.
    fn unknown(
        &self,
        refusal: ProviderRefusal,
        silence: Silence,
        (provider, root): (&TrustedIssuer, &TokenId),
        good: Timestamp,
    ) -> Answer {
        tracing::warn!(error = %refusal, issuer = %provider.url, "it is not known whether a login goes on at its identity provider");
        let who = match silence {
            Silence::NotAsked => return Answer::Unknown(refusal, good),
            Silence::Provider => Silent::Provider(login_key(&provider.url)),
            Silence::Login => Silent::Login(root.clone()),
        };
        let now = self.basis.now();
        let mut silent = self.silent.lock();
        if silent.len() >= MOST_SILENT {
            silent.retain(|_, (at, _)| is_recent(*at, now));
        }
        if silent.len() < MOST_SILENT {
            silent.insert(who, (now, refusal.clone()));
        }
        drop(silent);
        Answer::Unknown(refusal_for(refusal, UPSTREAM_SILENCE), good)
    }

    /// The answer that said nothing, if there was one moments ago, of the provider or of this login.
    fn said_nothing(&self, key: &str, root: &TokenId, now: Timestamp) -> Option<ProviderRefusal> {
        let silent = self.silent.lock();
        let (at, refusal) = [Silent::Provider(key.to_owned()), Silent::Login(root.clone())]
            .iter()
            .filter_map(|who| silent.get(who))
            .find(|(at, _)| is_recent(*at, now))?;
        Some(refusal_for(refusal.clone(), UPSTREAM_SILENCE.saturating_sub(now.since(*at))))
    }

    /// A token that could not be stored still counts: it was not used, or nothing took its place.
    fn put_back(&self, root: &TokenId, newer: Option<Secret>) {
        if let Some(newer) = newer {
            self.remember(root, newer);
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

/// One from later than now is from before the clock was set back.
fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    at <= now && now.since(at) < UPSTREAM_SILENCE
}

/// The refusal with the time until the provider is asked again.
fn refusal_for(refusal: ProviderRefusal, wait: Duration) -> ProviderRefusal {
    match refusal {
        ProviderRefusal::Unavailable { error, retry_after } => {
            ProviderRefusal::Unavailable { error, retry_after: retry_after.max(wait.as_secs()).max(1) }
        }
        other => other,
    }
}
