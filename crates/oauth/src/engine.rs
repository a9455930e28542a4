//! The engine's parts, and what its entry points have in common.

use std::sync::Arc;

use mandate_authority::Authority;
use mandate_core::uri::same;
use mandate_core::{Clock as _, Entropy, HybridClock, Issuer, ScopeSet, Timestamp, TrustDomain};
use mandate_delegation::{Live, Snapshot};
use mandate_stops::Stops;
use mandate_store::{Log, Store};
use mandate_token::SignatureMemo;

use crate::attempts::Attempts;
use crate::foreign::ForeignKeys;
use crate::metadata;
use crate::password::{Checker, PasswordError};
use crate::revoke::Revokers;

/// How many verified signatures are remembered; 48 bytes each.
const MEMO_CAPACITY: usize = 32 * 1024;

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
