//! What every part reads: the snapshot in force, the time, randomness. And the only call of `decide`.

use std::sync::Arc;

use mandate_core::{
    ClientId, Clock as _, Entropy, HybridClock, Issuer, RecordId, ResourceUri, ScopeSet, SpiffeId, Timestamp,
    TokenId,
};
use mandate_delegation::{
    DecisionRefusal, DecisionRequest, LoggedInPerson, Mandate, Withheld, decide, has_grant_for,
};
use mandate_live::{Live, Snapshot};

/// The snapshot in force, the time, and randomness. Clones share them.
#[derive(Clone)]
pub(crate) struct Basis {
    pub(crate) live: Arc<Live>,
    pub(crate) clock: Arc<HybridClock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl Basis {
    pub(crate) fn issuer(&self) -> &Issuer {
        self.live.issuer()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.live.snapshot()
    }

    pub(crate) fn random(&self) -> [u8; 32] {
        let mut bytes = [0u8; 32];
        self.entropy.fill(&mut bytes);
        bytes
    }

    /// The id of a token that is issued `now`.
    pub(crate) fn token_id(&self, now: Timestamp) -> TokenId {
        TokenId::generate(now, self.entropy.as_ref())
    }

    /// The id of a record that is made `now`.
    pub(crate) fn record_id(&self, now: Timestamp) -> RecordId {
        RecordId::generate(now, self.entropy.as_ref())
    }

    /// Whether a person who logs in for an agent has a grant for it.
    pub(crate) fn has_grant_for(
        &self,
        login: (&LoggedInPerson, &ClientId),
        agent: &SpiffeId,
        wanted: (&ResourceUri, Option<&ScopeSet>),
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<(), DecisionRefusal> {
        self.live.with_facts(snapshot, self.clock.behind(), |facts| {
            has_grant_for(login, agent, wanted, facts, now)
        })
    }

    /// Decides on `snapshot` at `now`.
    pub(crate) fn decide(
        &self,
        request: DecisionRequest,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Mandate, Withheld> {
        self.live.with_facts(snapshot, self.clock.behind(), |facts| decide(request, facts, now))
    }
}
