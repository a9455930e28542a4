//! What a node is told, and what is issued to its processes.

use mandate_audit::{Outcome, RecordKind};
use mandate_authority::{ClaimsLint, JwtSvidGrant};
use mandate_core::selector::shows_all;
use mandate_core::{
    AgentName, Clock as _, KnownTerms, RequestSource, Selector, SpiffeId, Timestamp, TokenId,
};

use crate::Identity;
use crate::changes::Changes;
use crate::entitlement::{issuable, shown};
use crate::error::{IdentityError, unrecorded};
use crate::join::PresentedCertificate;

/// One identity and what a process must show to be given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEntry {
    /// The SPIFFE ID of the agent.
    pub spiffe_id: SpiffeId,
    /// The selectors that a process must show, all of them; at least one.
    pub selectors: Vec<Selector>,
    /// The agent's name in the registry.
    pub name: AgentName,
}

/// A JWT-SVID that was issued. `Debug` does not print the token.
#[derive(Clone)]
pub struct IssuedSvid {
    /// The token: a compact JWS.
    pub svid: String,
    /// Its `exp`: the first moment at which it is no longer valid.
    pub expires: Timestamp,
}

impl std::fmt::Debug for IssuedSvid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedSvid").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl Identity {
    /// A subscription to everything that [`Identity::entries_for_node`] depends on.
    pub fn subscribe(&self) -> Changes {
        Changes::new(&self.live, &self.authority, self.stops.subscribe_bans())
    }

    /// Every identity that some process of this node could be entitled to, by SPIFFE ID.
    ///
    /// Selectors name local facts (a user, a program) and no node, so every node is told of every agent that
    /// has some.
    pub async fn entries_for_node(
        &self,
        node: &PresentedCertificate,
    ) -> Result<Vec<NodeEntry>, IdentityError> {
        self.joined_node(node).await?;
        let snapshot = self.live.snapshot();
        let own = self.authority.trust_domain();
        let mut entries: Vec<NodeEntry> = snapshot
            .registry
            .agents()
            .filter(|agent| agent.spiffe_id.is_member_of(own) && issuable(agent).is_ok())
            .map(|agent| NodeEntry {
                spiffe_id: agent.spiffe_id.clone(),
                selectors: agent.selectors.clone(),
                name: agent.name.clone(),
            })
            .collect();
        entries.sort_by(|a, b| a.spiffe_id.cmp(&b.spiffe_id));
        Ok(entries)
    }

    /// Issues a JWT-SVID for a process of `node` that showed `selectors`. The entitlement is decided with the
    /// present registry, which may be newer than what the node knows. The record is durable before the
    /// signature.
    pub async fn issue_jwt_svid(
        &self,
        node: &PresentedCertificate,
        agent: &SpiffeId,
        selectors: &[String],
        audiences: Vec<String>,
    ) -> Result<IssuedSvid, IdentityError> {
        let now = self.clock.now();
        let mut record = self.record(RecordKind::Identity, Outcome::Permitted, "ok", now);
        // The node that attested the process.
        let client = Some(node.spiffe_id.shared());
        record.about = KnownTerms { client: client.clone(), ..KnownTerms::default() }.into();
        let what = format!(
            "a JWT-SVID of {agent} for {}",
            audiences.join(" ").chars().take(512).collect::<String>()
        );
        if let Err(error) = self.joined_node(node).await {
            // The holder of a certificate that is not valid is a stranger.
            return self.refuse(record, Some(RequestSource::Other), what, error).await;
        }
        if let Err(error) = self.entitled(agent, selectors) {
            return self.refuse(record, None, what, error).await;
        }
        let jti = TokenId::generate(now, self.entropy.as_ref());
        let grant = match JwtSvidGrant::new(self.authority.trust_domain(), agent.clone(), audiences, jti, now)
        {
            Ok(grant) => grant.behind(self.clock.behind()),
            Err(ClaimsLint::Audience) => {
                return self.refuse(record, None, what, IdentityError::Audience).await;
            }
            Err(other) => {
                return self.refuse(record, None, what, IdentityError::Internal(other.to_string())).await;
            }
        };
        record.about = KnownTerms { client, ..grant.known(self.authority.issuer()) }.into();
        let receipt = self.append(record, Vec::new()).await.map_err(|error| unrecorded(&error))?;
        // A node that was banned while the record was written gets nothing.
        self.still_joined(&node.spiffe_id)?;
        self.entitled(agent, selectors)?;
        let svid = self
            .authority
            .sign_jwt_svid(&grant, receipt)
            .map_err(|error| IdentityError::Internal(error.to_string()))?;
        Ok(IssuedSvid { svid, expires: grant.expires() })
    }

    fn entitled(&self, agent: &SpiffeId, selectors: &[String]) -> Result<(), IdentityError> {
        let shown = shown(selectors).map_err(|_| IdentityError::Selectors)?;
        let snapshot = self.live.snapshot();
        let agent = snapshot.registry.agent_by_id(agent).ok_or(IdentityError::AgentUnknown)?;
        issuable(agent).map_err(IdentityError::NotIssuable)?;
        if shows_all(&shown, &agent.selectors) { Ok(()) } else { Err(IdentityError::NotEntitled) }
    }
}
