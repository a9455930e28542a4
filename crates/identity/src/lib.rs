//! Agent identity, the server's side: how a node joins, which attested process is which agent, and what it is
//! issued.
//!
//! A node says what it saw of a process. This crate decides, with the present registry, to which identity
//! that entitles the process. Everything that is issued or refused is first recorded in the audit log. There
//! is no gRPC here: that is in `server`.

mod changes;
mod entitlement;
mod error;
mod issue;
mod join;
mod rejoin;
mod validity;

use std::sync::Arc;
use std::time::Duration;

use mandate_audit::{Outcome, Record, RecordKind};
use mandate_authority::Authority;
use mandate_core::{Entropy, HybridClock, RecordId, RequestSource, SpiffeId, Timestamp};
use mandate_live::Live;
use mandate_sequencer::Receipt;
use mandate_stops::{Looks, Stops};
use mandate_store::{AppendError, Effect, Log, Store};

pub use changes::Changes;
pub use entitlement::{MAX_SELECTORS, NotIssuable, TooManySelectors};
pub use error::IdentityError;
pub use issue::{IssuedSvid, NodeEntry};
pub use join::{JoinToken, NodeCertificate, PresentedCertificate};
pub use validity::{Moment, has_expired};

/// How many bans may wait for the database at the same time.
const LOOKS: usize = 4;

/// What the engine is made of.
pub struct IdentityParts {
    /// Signs certificates and JWT-SVIDs.
    pub authority: Arc<Authority>,
    /// The audit log, in which everything is recorded.
    pub log: Log,
    /// The engine for acts that take authority away: it bans nodes.
    pub stops: Arc<Stops>,
    /// The snapshot in force, with the registry.
    pub live: Arc<Live>,
    /// The database, with nodes and join tokens.
    pub store: Store,
    /// The time, which never goes back.
    pub clock: Arc<HybridClock>,
    /// Randomness for join tokens, `jti` and the ids of records.
    pub entropy: Arc<dyn Entropy>,
}

/// The identity engine of one server.
pub struct Identity {
    authority: Arc<Authority>,
    log: Log,
    stops: Arc<Stops>,
    live: Arc<Live>,
    store: Store,
    clock: Arc<HybridClock>,
    entropy: Arc<dyn Entropy>,
    rejoin_grace: Duration,
    /// Looks at the database for bans.
    looks: Looks,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("trust_domain", self.authority.trust_domain())
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// An engine of these parts.
    pub fn new(parts: IdentityParts) -> Self {
        let IdentityParts { authority, log, stops, live, store, clock, entropy } = parts;
        Self {
            authority,
            log,
            stops,
            live,
            store,
            clock,
            entropy,
            rejoin_grace: Duration::ZERO,
            looks: Looks::new(LOOKS),
        }
    }

    fn record(&self, kind: RecordKind, outcome: Outcome, reason: &str, now: Timestamp) -> Record {
        Record::new(RecordId::generate(now, self.entropy.as_ref()), now, kind, outcome, reason)
    }

    async fn append(&self, record: Record, effects: Vec<Effect>) -> Result<Receipt, AppendError> {
        self.log.append(record, effects).await
    }

    /// Records a refusal and returns it. The refusal of a `stranger` is recorded within the quota of its
    /// source. If it cannot be recorded, the caller gets that error instead.
    async fn refuse<T>(
        &self,
        mut record: Record,
        stranger: Option<RequestSource>,
        detail: String,
        refusal: IdentityError,
    ) -> Result<T, IdentityError> {
        record.outcome = Outcome::Refused;
        refusal.code().clone_into(&mut record.reason);
        record.detail = Some(detail);
        match self.log.append_refusal(record, stranger).await {
            Ok(()) => Err(refusal),
            Err(failed) => Err(error::unrecorded(&failed)),
        }
    }
}

/// The node's name: the last segment of `spiffe://<trust domain>/node/<name>`.
fn node_name(id: &SpiffeId) -> Option<&str> {
    id.path().strip_prefix("/node/").filter(|name| !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::node_name;

    #[test]
    fn only_an_identity_below_node_is_a_node() {
        let name = |text: &str| node_name(&text.parse().unwrap()).map(str::to_owned);
        assert_eq!(name("spiffe://acme.example/node/n1"), Some("n1".to_owned()));
        for other in [
            "spiffe://acme.example/node",
            "spiffe://acme.example/node/a/b",
            "spiffe://acme.example/agent/n1",
            "spiffe://acme.example/nodes/n1",
        ] {
            assert_eq!(name(other), None, "{other}");
        }
    }
}
