//! The engine of every operator's act.

use std::sync::Arc;

use mandate_api::admin::Recorded;
use mandate_audit::{Outcome, Record, RecordKind};
use mandate_authority::Authority;
use mandate_core::{Clock as _, Cut, Entropy, HybridClock, RecordId, RequestSource, TrustDomain};
use mandate_identity::Identity;
use mandate_live::{Live, Snapshot};
use mandate_stops::{By, Looks, Pending, Stop, Stops};
use mandate_store::{Effect, Log, Store};

use crate::error::AdministrationError;

/// How many requests may wait for the disk at the same time.
const LOOKS: usize = 4;

/// The parts that operators act on.
pub struct AdministrationParts {
    /// The snapshot that decisions read.
    pub live: Arc<Live>,
    /// The database: the registry, nodes, secrets and the log.
    pub store: Store,
    /// Where every act is recorded.
    pub log: Log,
    /// The engine of every act that takes authority away.
    pub stops: Arc<Stops>,
    /// The signing keys, which an operator can rotate.
    pub authority: Arc<Authority>,
    /// The engine of nodes and join tokens.
    pub identity: Arc<Identity>,
    /// The trust domain of the SPIFFE IDs of agents.
    pub trust_domain: TrustDomain,
    /// The time, which never goes back.
    pub clock: Arc<HybridClock>,
    /// The source of random ids, tokens and salts.
    pub entropy: Arc<dyn Entropy>,
}

/// The engine. An act that gives authority is one audit record with its effects, then a swap of the snapshot
/// that decisions read. An act that only takes authority away is a [`Stop`], which is in force first.
///
/// An act that was begun is done to its end, even if its caller goes away: a durable change must also come
/// into force.
pub struct Administration {
    pub(crate) live: Arc<Live>,
    pub(crate) store: Store,
    pub(crate) log: Log,
    pub(crate) stops: Arc<Stops>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) clock: Arc<HybridClock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) looks: Looks,
    /// Changes that give authority take turns, so that small changes do not overtake a large file again and
    /// again. Only fairness depends on it.
    pub(crate) turns: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Administration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Administration").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

impl Administration {
    /// An engine over these parts. It starts no work of its own.
    pub fn new(parts: AdministrationParts) -> Self {
        let AdministrationParts {
            live,
            store,
            log,
            stops,
            authority,
            identity,
            trust_domain,
            clock,
            entropy,
        } = parts;
        let looks = Looks::new(LOOKS);
        Self {
            live,
            store,
            log,
            stops,
            authority,
            identity,
            trust_domain,
            clock,
            entropy,
            looks,
            turns: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.live.snapshot()
    }

    /// Records the stops of entries that wait: no act that gives authority is recorded before them.
    pub(crate) async fn record_stops(&self) -> Result<(), AdministrationError> {
        self.stops
            .record_changes()
            .await
            .map_err(|error| AdministrationError::AuditUnavailable(error.to_string()))
    }

    /// Records that a caller was refused administration; for a `stranger`, within the quota of its source.
    pub async fn record_refused(
        &self,
        who: Option<String>,
        stranger: Option<RequestSource>,
        reason: &'static str,
        what: String,
    ) -> Result<(), AdministrationError> {
        let now = self.clock.now();
        let mut record = Record::new(
            RecordId::generate(now, self.entropy.as_ref()),
            now,
            RecordKind::Admin,
            Outcome::Refused,
            reason,
        );
        record.by = who;
        record.detail = Some(what);
        Ok(self.log.append_refusal(record, stranger).await?)
    }

    /// Takes authority away: in force on return, whether or not it can be recorded.
    pub(crate) fn begin(&self, stop: Stop) -> Result<Pending, AdministrationError> {
        Ok(self.stops.begin(stop, By::Operator)?)
    }
}

/// Runs what may take long on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AdministrationError> {
    tokio::task::spawn_blocking(f).await.map_err(AdministrationError::internal)
}

/// Completes an act even if the caller goes away.
pub(crate) async fn to_the_end<T: Send + 'static>(
    act: impl Future<Output = Result<T, AdministrationError>> + Send + 'static,
) -> Result<T, AdministrationError> {
    tokio::spawn(act).await.map_err(AdministrationError::internal)?
}

pub(crate) fn with_cuts(effects: impl IntoIterator<Item = Effect>, cuts: &[Cut]) -> Vec<Effect> {
    effects.into_iter().chain(cuts.iter().cloned().map(Effect::Cut)).collect()
}

/// Where a stop is recorded, in the words of the documents.
pub(crate) fn recorded(recorded: mandate_stops::Recorded) -> Recorded {
    match recorded {
        mandate_stops::Recorded::Log => Recorded::Log,
        mandate_stops::Recorded::Reserve => Recorded::Reserve,
        mandate_stops::Recorded::NotYet => Recorded::NotYet,
    }
}
