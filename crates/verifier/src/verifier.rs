//! The check itself.

use std::fmt;
use std::sync::Arc;

use mandate_core::lifetimes::CLOCK_SKEW;
use mandate_core::{Issuer, ResourceUri, Terms, Timestamp};
use mandate_token::access_token::{self, Decoded, Expect, Profile};
use mandate_token::{SignatureMemo, TokenError};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::builder::Builder;
use crate::credentials::Presented;
use crate::decision;
use crate::keys::{Keys, Refreshed};
use crate::metadata::ResourceMetadata;
use crate::refusal::{Reason, Refusal};
use crate::route::Route;
use crate::shared::{Shared, VerifierStatus};
use crate::verified::{Verified, VerifiedCaller};

/// Checks requests to one resource. Cheap to clone; all clones share keys, revocations and memory of
/// signatures.
///
/// Its background tasks end when the last clone is dropped.
#[derive(Clone)]
pub struct Verifier {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) resource: ResourceUri,
    pub(crate) metadata: ResourceMetadata,
    pub(crate) metadata_url: String,
    pub(crate) memo: Option<SignatureMemo>,
    pub(crate) tasks: Vec<AbortHandle>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("issuer", self.issuer())
            .field("resource", &self.inner.resource)
            .finish_non_exhaustive()
    }
}

/// A refusal that is not complete yet, with the token if its signature and claims were valid.
struct Denied {
    reason: Reason,
    token: Option<Terms>,
}

impl From<Reason> for Box<Denied> {
    fn from(reason: Reason) -> Self {
        Self::new(Denied { reason, token: None })
    }
}

impl Verifier {
    /// Starts to configure a verifier for `resource`, whose tokens come from `issuer`.
    ///
    /// Both compare bytewise, except that `https://api.example` and `https://api.example/` are one resource.
    pub fn builder(issuer: Issuer, resource: ResourceUri) -> Builder {
        Builder::new(issuer, resource)
    }

    pub(crate) fn from_inner(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Checks the credentials of a request against the requirements of the route, and logs the decision.
    ///
    /// `presented` is either the one `Authorization` header (`Option<&str>`) or a [`Presented`], which
    /// contains more of the request. This waits for the network only when the token names a key that is not
    /// known yet, and then at most for one fetch.
    ///
    /// First what RFC 9068 §4 requires: type, issuer, signature, audience, time; then proof of possession,
    /// revocation, scope and actor. An agent's own token, which has no person, is refused: see
    /// [`Verifier::verify_caller`].
    pub async fn verify<'a>(
        &self,
        presented: impl Into<Presented<'a>>,
        route: &Route,
    ) -> Result<Verified, Refusal> {
        let judged = match self.judge(presented.into(), route).await {
            Ok(VerifiedCaller::ForPerson(verified)) => {
                decision::permitted(verified.terms(), verified.resource());
                return Ok(verified);
            }
            Ok(VerifiedCaller::OwnBehalf(agent)) => {
                Denied { reason: Reason::NoPerson, token: Some(agent.terms().clone()) }
            }
            Err(denied) => *denied,
        };
        Err(self.refuse(judged, route))
    }

    /// As [`Verifier::verify`], and also accepts the tokens that agents have on their own behalf. The answer
    /// says which of the two it is.
    pub async fn verify_caller<'a>(
        &self,
        presented: impl Into<Presented<'a>>,
        route: &Route,
    ) -> Result<VerifiedCaller, Refusal> {
        match self.judge(presented.into(), route).await {
            Ok(caller) => {
                decision::permitted(caller.terms(), caller.resource());
                Ok(caller)
            }
            Err(denied) => Err(self.refuse(*denied, route)),
        }
    }

    fn refuse(&self, Denied { reason, token }: Denied, route: &Route) -> Refusal {
        let refusal = Refusal::new(reason, token.as_ref(), &self.inner.metadata_url, route.scopes());
        decision::refused(&refusal, self.inner.resource.as_str(), token.as_ref());
        refusal
    }

    async fn judge(&self, presented: Presented<'_>, route: &Route) -> Result<VerifiedCaller, Box<Denied>> {
        let text = presented.bearer()?.ok_or(Reason::NoCredentials)?;
        let (token, now) = self.check_token(text).await?;
        match self.check_use(&token, route, now) {
            Ok(()) => VerifiedCaller::of(token, self.inner.resource.clone())
                .ok_or_else(|| Reason::InvalidToken("sub").into()),
            Err(reason) => Err(Box::new(Denied { reason, token: Some(token) })),
        }
    }

    /// All requirements on the token itself. Also returns the time of the check: if keys had to be fetched,
    /// that took seconds, in which the token may have expired or the feed may have become silent.
    async fn check_token(&self, text: &str) -> Result<(Terms, Timestamp), Reason> {
        let shared = &self.inner.shared;
        let max_age = shared.intervals.keys_max_age;
        let mut now = shared.clock.now();
        let keys = if let Some(keys) = shared.keys.usable(now, max_age) {
            keys
        } else {
            shared.refresh_keys(shared.intervals.unknown_key).await;
            now = shared.clock.now();
            shared.keys.usable(now, max_age).ok_or(Reason::KeysUnavailable)?
        };
        let error = match self.verify_with(&keys, text, now) {
            Ok(token) => return Ok((token, now)),
            Err(error) => error,
        };
        // Each token of ours has a `kid`, so newer keys change nothing for one without.
        if !matches!(error, TokenError::UnknownKey(Some(_))) {
            return Err(Reason::InvalidToken(error.public_code()));
        }
        let outcome = shared.refresh_keys(shared.intervals.unknown_key).await;
        now = shared.clock.now();
        let newest = shared.keys.usable(now, max_age).ok_or(Reason::KeysUnavailable)?;
        let error = match self.verify_with(&newest, text, now) {
            Ok(token) => return Ok((token, now)),
            Err(error) => error,
        };
        let asked_for_this_token = matches!(outcome, Refreshed::Fetched);
        if error.may_be_stale_keys() && !asked_for_this_token && self.may_have_a_newer_key(text, &newest, now)
        {
            return Err(Reason::KeyUnknown);
        }
        Err(Reason::InvalidToken(error.public_code()))
    }

    /// Whether the issuer may have published the token's key after it was asked for `keys`. Nothing in the
    /// token is verified, so its `iat` decides only between 401 and 503. A good token of a new key must not
    /// get 401. A token whose key was withdrawn must not get 503: its holder would repeat the request and
    /// never get a new token.
    fn may_have_a_newer_key(&self, text: &str, keys: &Keys, now: Timestamp) -> bool {
        let Ok(decoded) = Decoded::of(text) else { return false };
        if decoded.check_header(Profile::Own).is_err() {
            return false;
        }
        let Ok(token) = decoded.read() else { return false };
        let ours = token.issuer().is_ok_and(|issuer| issuer == self.issuer().as_str());
        let may_be_new =
            |issued: Timestamp| issued.plus(CLOCK_SKEW) >= keys.fetched && issued <= now.plus(CLOCK_SKEW);
        ours && token.issued().is_ok_and(may_be_new)
    }

    fn verify_with(&self, keys: &Keys, text: &str, now: Timestamp) -> Result<Terms, TokenError> {
        let issuer = self.inner.shared.client.issuer();
        let expect =
            Expect { issuer, keys: &keys.set, now, profile: Profile::Own, memo: self.inner.memo.as_ref() };
        access_token::verify(text, &expect).map(|token| token.terms)
    }

    /// Everything that depends on where and when the token is used.
    fn check_use(&self, token: &Terms, route: &Route, now: Timestamp) -> Result<(), Reason> {
        // The sole audience: an API that receives a token for several audiences could present it to the
        // others.
        if !token.audience.is_only(self.inner.resource.as_str()) {
            return Err(Reason::InvalidToken(TokenError::Audience.public_code()));
        }
        if token.cnf.is_some() {
            return Err(Reason::SenderConstrained);
        }
        let revocations = &self.inner.shared.revocations;
        // A known cut is checked before the age of the knowledge: it is final, and the caller need not try
        // again.
        if revocations.cuts(&token.facts(self.issuer())) {
            return Err(Reason::Revoked);
        }
        if route.max_age().is_some_and(|max_age| !revocations.is_fresh(now, max_age)) {
            return Err(Reason::RevocationsStale);
        }
        if let Some(missing) = route.missing(&token.scopes) {
            return Err(Reason::InsufficientScope { missing });
        }
        if !route.admits_actor(token.chain.outermost(), self.issuer()) {
            return Err(Reason::ActorNotAdmitted);
        }
        if !route.admits_tenant(token.tenant.as_ref()) {
            return Err(Reason::TenantNotAdmitted);
        }
        Ok(())
    }

    /// The issuer whose tokens are accepted.
    pub fn issuer(&self) -> &Issuer {
        self.inner.shared.client.issuer()
    }

    /// The protected resource metadata document, to be served without authentication at
    /// [`ResourceMetadata::path_and_query`]. The tower layers do it by themselves.
    pub fn metadata(&self) -> &ResourceMetadata {
        &self.inner.metadata
    }

    /// The state of the verifier's connection to its issuer, and every change of it.
    pub fn status(&self) -> watch::Receiver<VerifierStatus> {
        self.inner.shared.status.subscribe()
    }

    /// Waits until keys are known and the revocation feed is up to date. Put a time limit around it if a
    /// start without the issuer must be possible; requests are refused with 503 until then.
    pub async fn ready(&self) {
        let mut status = self.status();
        // An error would mean that the sender is gone; it is held by `self`.
        let _ = status.wait_for(VerifierStatus::is_ready).await;
    }
}
