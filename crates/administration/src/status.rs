//! What the engine knows of the state of the server.

use std::sync::Arc;
use std::time::Duration;

use mandate_api::admin::{KeyItem, RegistryCounts};
use mandate_authority::Purpose;
use mandate_core::{Issuer, TrustDomain};
use mandate_identity::Moment;
use mandate_store::nodes::{self, Node};
use mandate_store::{StoreError, records};

use crate::administration::Administration;
use crate::authorization::{Permit, act};

/// How long the disk may take. What it has not answered by then is left out.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// The running server, as far as memory shows.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The issuer of its tokens.
    pub issuer: Issuer,
    /// The trust domain of its identities.
    pub trust_domain: TrustDomain,
    /// How many entries of each kind the registry has.
    pub registry: RegistryCounts,
    /// How many cuts are in force.
    pub cuts: u64,
    /// The keys that sign now, one for each purpose.
    pub keys: Vec<KeyItem>,
    /// The verifier key of the audit log.
    pub audit_key: String,
    /// When this was read.
    pub at: Moment,
}

/// The part of the state that is in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredStatus {
    /// How many records the server's own audit log has.
    pub audit_size: u64,
    /// Every node that has ever joined.
    pub nodes: Vec<Node>,
}

impl Administration {
    /// The running server, as far as memory shows. Waits for nothing.
    pub fn overview(&self, _: &Permit<act::ReadStatus>) -> Overview {
        let snapshot = self.snapshot();
        let registry = &snapshot.registry;
        let count = |n: usize| n as u64;
        Overview {
            issuer: self.live.issuer().clone(),
            trust_domain: self.trust_domain.clone(),
            registry: RegistryCounts {
                resources: count(registry.resources().count()),
                people: count(registry.people().count()),
                agents: count(registry.agents().count()),
                clients: count(registry.clients().count()),
                issuers: count(registry.issuers().count()),
                groups: count(registry.groups().count()),
                trust_domains: count(registry.trust_domains().count()),
                grants: count(registry.grants().count()),
                policies: count(registry.policies().count()),
            },
            cuts: count(snapshot.revocations.len()),
            keys: self.keys(Purpose::ALL),
            audit_key: self.authority.checkpoint_vkey().to_owned(),
            at: Moment::of(&self.clock),
        }
    }

    /// The part of the state that is in the database. None if it does not answer within a second.
    pub async fn stored(
        self: &Arc<Self>,
        _: &Permit<act::ReadStatus>,
    ) -> Option<Result<StoredStatus, StoreError>> {
        let engine = Arc::clone(self);
        let read = move || {
            let origin = engine.authority.audit_origin();
            let (audit_size, mut nodes) = engine
                .store
                .read_blocking("read the status", |tx| Ok((records::size(tx, origin)?, nodes::list(tx)?)))?;
            for node in &mut nodes {
                node.state = engine.node_state(node);
            }
            Ok(StoredStatus { audit_size, nodes })
        };
        self.looks.look(PATIENCE, read).await
    }

    /// The result of `f`, which reads the disk. None if it takes longer than a second. Few threads wait at a
    /// time.
    pub async fn look<T: Send + 'static>(
        &self,
        _: &Permit<act::ReadStatus>,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        self.looks.look(PATIENCE, f).await
    }
}
