//! An identity engine on the story's world.

use std::sync::Arc;

use mandate_audit::{Outcome, Query, Record};
use mandate_core::{RequestSource, SpiffeId, SystemEntropy};
use mandate_identity::{Identity, IdentityParts, JoinToken, NodeCertificate, PresentedCertificate};
use mandate_testkit::world::World;

pub(crate) struct Office {
    pub(crate) world: World,
    pub(crate) identity: Identity,
}

/// A certificate request for a new key; `name` is what the node would like to be called.
pub(crate) fn request(name: &str) -> Vec<u8> {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    if !name.is_empty() {
        params.subject_alt_names = vec![rcgen::SanType::URI(name.try_into().unwrap())];
    }
    params.serialize_request(&key).unwrap().der().to_vec()
}

/// What the holder of that certificate shows at each call.
pub(crate) fn shown(certificate: &NodeCertificate) -> PresentedCertificate {
    PresentedCertificate { spiffe_id: certificate.spiffe_id.clone(), expires: certificate.expires }
}

/// The agent of the story.
pub(crate) fn agent() -> SpiffeId {
    mandate_testkit::story::spiffe_id("support-agent").parse().unwrap()
}

impl Office {
    pub(crate) fn open() -> Self {
        let world = World::story();
        let identity = Identity::new(IdentityParts {
            authority: Arc::clone(&world.authority),
            log: world.log.clone(),
            stops: Arc::clone(&world.stops),
            live: Arc::clone(&world.live),
            store: world.store.clone(),
            clock: world.hybrid.clone(),
            entropy: Arc::new(SystemEntropy),
        });
        Self { world, identity }
    }

    pub(crate) async fn join_token(&self) -> JoinToken {
        self.identity.create_join_token("uid:0", None).await.unwrap()
    }

    pub(crate) async fn node(&self) -> NodeCertificate {
        let token = self.join_token().await;
        self.identity.join(token.text(), &request(""), RequestSource::Other).await.unwrap()
    }

    /// The newest refusal on record.
    pub(crate) fn last_refusal(&self) -> Record {
        let query = Query { outcome: Some(Outcome::Refused), limit: Some(1), ..Query::default() };
        self.world.records(&query).into_iter().next().expect("no refusal is on record")
    }
}
