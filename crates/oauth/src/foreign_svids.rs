//! JWT-SVIDs of other trust domains that prove an agent: as actor token, or as `spiffe_jwt`.
//!
//! The trust domain that a token names chooses the bundle, and nothing else: the token is verified with it
//! before anything is looked up by its SPIFFE ID.

use std::sync::Arc;

use mandate_core::Timestamp;
use mandate_core::registry::{AgentState, ForeignDomain};
use mandate_delegation::VerifiedActor;
use mandate_live::Snapshot;
use mandate_token::{KeySet, jwt_svid};

use crate::basis::Basis;
use crate::foreign::{ForeignKeys, KeySource};
use crate::own_tokens::OwnTokens;
use crate::platform_tokens::NotProven;

/// Verifies JWT-SVIDs of other trust domains.
pub(crate) struct ForeignSvids {
    pub(crate) basis: Basis,
    pub(crate) own: Arc<OwnTokens>,
    pub(crate) foreign: Arc<ForeignKeys>,
}

/// A JWT-SVID that names a trust domain of the registry. Nothing in it is verified.
pub(crate) struct Sent<'t> {
    token: &'t str,
    domain: Arc<ForeignDomain>,
}

/// The JWT-SVID as it was sent, if it names another trust domain that the registry has.
pub(crate) fn sent<'t>(token: &'t str, snapshot: &Snapshot) -> Option<Sent<'t>> {
    let named = jwt_svid::peek_trust_domain(token).ok()?;
    let domain = snapshot.registry.trust_domain(&named)?;
    Some(Sent { token, domain: Arc::clone(domain) })
}

impl ForeignSvids {
    /// Verifies a JWT-SVID and finds the agent whose entry names its SPIFFE ID. It may be shown again until it
    /// expires, as SPIFFE intends.
    pub(crate) async fn verify(
        &self,
        sent: &Sent<'_>,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<VerifiedActor, NotProven> {
        let Sent { token, domain } = sent;
        let verify = |keys: &KeySet| {
            let audience = self.basis.issuer().as_str();
            jwt_svid::verify_foreign(token, keys, &domain.name, audience, now, Some(self.own.memo()))
        };
        let source = KeySource::of_domain(domain);
        let svid = self.foreign.verified(&source, now, verify).await.map_err(NotProven::Token)?;
        let id = svid.spiffe_id.clone();
        // A retired agent stands for history, and is chosen only if there is no other.
        let agents = snapshot.registry.agents_of_svid(&id);
        let mut living = agents.iter().filter(|agent| agent.state != AgentState::Retired);
        let agent = match (living.next(), living.next()) {
            (Some(one), Some(other)) => {
                let (one, other) = (&one.name, &other.name);
                return Err(NotProven::Agent(format!("it would prove agent `{one}` and agent `{other}`")));
            }
            (one, _) => one.or_else(|| agents.first()),
        };
        let proven = agent.and_then(|agent| VerifiedActor::from_foreign_svid(agent, domain, svid, now));
        proven.ok_or_else(|| NotProven::Agent(format!("no entry names the SPIFFE ID {id}")))
    }
}
