//! The engine's parts, and what its entry points have in common.

use std::sync::{Arc, OnceLock};

use mandate_authority::Authority;
use mandate_core::uri::same;
use mandate_core::{Clock as _, Entropy, HybridClock, Issuer, RequestSource, ScopeSet, Timestamp, TrustDomain};
use mandate_delegation::{Live, Snapshot};
use mandate_stops::Stops;
use mandate_store::{Log, Store};
use mandate_token::SignatureMemo;

use crate::attempts::Attempts;
use crate::foreign::ForeignKeys;
use crate::form::{Form, FormError, is_form};
use crate::metadata;
use crate::password::{Checker, PasswordError};
use crate::refusal::Refusal;
use crate::revoke::Revokers;

/// How many verified signatures are remembered; 48 bytes each.
const MEMO_CAPACITY: usize = 32 * 1024;

/// A request to one of the form endpoints, as it came over the wire.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Where it came from.
    pub source: RequestSource,
    /// The `Content-Type` header.
    pub content_type: Option<&'a str>,
    /// Every `Authorization` header; more than one is refused.
    pub authorization: &'a [&'a str],
    /// The query of the URL. Parameters belong in the body; an OAuth parameter in the query is refused.
    pub query: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
    /// Where the engine writes the caller's name, once it is proven. A public client proves nothing.
    pub proven: Option<&'a OnceLock<Arc<str>>>,
}

impl<'a> Request<'a> {
    pub(crate) fn form(&self) -> Result<Form<'a>, Refusal> {
        // RFC 6749 §3.2: parameters are sent in the body. One beside it would be ignored, or read by somebody else.
        if let Some(query) = self.query
            && let Some(name) = Form::parse(query.as_bytes())?.oauth_parameter()
        {
            return Err(Refusal::InQuery(name));
        }
        if !is_form(self.content_type) {
            return Err(Refusal::Form(FormError::ContentType));
        }
        Ok(Form::parse(self.body)?)
    }
}

impl std::fmt::Debug for Request<'_> {
    /// Neither header nor body: both hold credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("content_type", &self.content_type).field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// The parts of an engine.
pub struct Parts {
    /// The live registry, policies, revocations; it also knows our issuer.
    pub live: Arc<Live>,
    /// The trust domain of our agents.
    pub trust_domain: TrustDomain,
    /// Who signs.
    pub authority: Arc<Authority>,
    /// Where every outcome is recorded.
    pub log: Log,
    /// The engine for acts that take authority away.
    pub stops: Arc<Stops>,
    /// Codes, secrets, replay memory.
    pub store: Store,
    /// The time, which never goes back.
    pub clock: Arc<HybridClock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// The authorization server.
pub struct Engine {
    pub(crate) live: Arc<Live>,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) authority: Arc<Authority>,
    pub(crate) log: Log,
    pub(crate) stops: Arc<Stops>,
    pub(crate) store: Store,
    pub(crate) clock: Arc<HybridClock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) memo: SignatureMemo,
    pub(crate) foreign: ForeignKeys,
    pub(crate) checker: Checker,
    pub(crate) attempts: Attempts,
    pub(crate) revokers: Revokers,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("issuer", self.issuer()).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine of these parts. Fails only if argon2id cannot be set up.
    pub fn new(parts: Parts) -> Result<Self, PasswordError> {
        let Parts { live, trust_domain, authority, log, stops, store, clock, entropy } = parts;
        let checker = Checker::new(entropy.as_ref())?;
        let attempts = Attempts::new(entropy.as_ref());
        Ok(Self {
            live,
            trust_domain,
            authority,
            log,
            stops,
            store,
            clock,
            entropy,
            memo: SignatureMemo::new(MEMO_CAPACITY),
            foreign: ForeignKeys::default(),
            checker,
            attempts,
            revokers: Revokers::default(),
        })
    }

    /// Our issuer.
    pub fn issuer(&self) -> &Issuer {
        self.live.issuer()
    }

    /// The authorization server metadata (RFC 8414), with the scopes of every registered resource except our own
    /// administration: clients ask for all scopes in the metadata, and administration is only for clients whose entry lists it.
    /// Without scopes, if all of them are too many for one request.
    pub fn metadata(&self) -> serde_json::Value {
        let snapshot = self.snapshot();
        let open = snapshot.registry.resources().filter(|resource| !same(resource.uri.as_str(), self.issuer().as_str()));
        let scopes: ScopeSet = open.flat_map(|resource| resource.scopes.iter().cloned()).collect();
        metadata::document(self.issuer(), &scopes)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.live.snapshot()
    }

    /// 32 unpredictable bytes.
    pub(crate) fn random(&self) -> [u8; 32] {
        let mut bytes = [0u8; 32];
        self.entropy.fill(&mut bytes);
        bytes
    }
}
