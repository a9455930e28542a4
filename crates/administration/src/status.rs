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

/// How long a disk may take. What it does not tell in that time is left out.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// What is running, as far as memory says.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The issuer.
    pub issuer: Issuer,
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// How many entries of each kind the registry has.
    pub registry: RegistryCounts,
    /// How many cuts are in force.
    pub cuts: u64,
    /// The keys that sign.
    pub keys: Vec<KeyItem>,
    /// The verifier key of the audit log.
    pub audit_key: String,
    /// When this is.
    pub at: Moment,
}

/// What the database says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredStatus {
    /// How many records the server's own audit log has.
    pub audit_size: u64,
    /// Every node that has ever joined.
    pub nodes: Vec<Node>,
}

impl Administration {
    /// What is running.
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
                grants: count(registry.grants().count()),
                policies: count(registry.policies().count()),
            },
            cuts: count(snapshot.revocations.len()),
            keys: self.keys(Purpose::ALL),
            audit_key: self.authority.checkpoint_vkey().to_owned(),
            at: Moment::of(&self.clock),
        }
    }

    /// What the database says, if it answers within a second.
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

    /// What `f` finds on the disk, within a second and by few threads.
    pub async fn look<T: Send + 'static>(
        &self,
        _: &Permit<act::ReadStatus>,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        self.looks.look(PATIENCE, f).await
    }
}
